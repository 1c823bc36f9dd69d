//! How one run stands to another one under the same load: the change of its figures,
//! with the interval that the seconds of both runs give.
//!
//! One run each says nothing of what differs from run to run (that is what `compare`
//! repeats them for). So a change counts only where its interval leaves out "none" and
//! it is larger than the noise that runs on the machine are granted.

use super::config::Config;
use super::measured::{Distribution, as_f64};
use super::model::Report;
use super::series::Second;
use crate::compare::stats;
use crate::outcome::Outcome;
use anyhow::{Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;

/// The noise that runs are granted by default, in percent.
pub const NOISE_PCT: u8 = 10;

/// The change of a figure from one run to another one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The figure's name.
    pub figure: &'static str,
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
    /// After, as a multiple of before.
    pub ratio: f64,
    /// The 95 % interval of the ratio of their median seconds, if they had enough.
    pub interval: Option<(f64, f64)>,
    /// What is said of it.
    pub means: Means,
}

/// `-12.3 %`, of what is 0.877 times what it was.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}

/// What a change means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// One of the runs was too short to say.
    TooShort,
    /// It may be none at all.
    Noise,
    /// For the better.
    Better,
    /// For the worse.
    Worse,
    /// For the better, of a run whose audit failed.
    NoWorth,
}

impl Means {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "too few seconds to tell",
            Self::Noise => "within the noise",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoWorth => "of no worth: the audit failed",
        }
    }
}

/// What belongs to a strategy rather than to the load it was under.
const OF_THE_STRATEGY: [&str; 4] = ["tries", "retry_delay_us", "retry_unknown", "params"];

/// Runs under different loads are not compared.
///
/// # Errors
/// Names what differs.
pub fn check_same_load(before: &Config, after: &Config) -> Result<()> {
    let differing = differences(before, after, &OF_THE_STRATEGY)?;
    if !differing.is_empty() {
        bail!("the loads differ, so their figures are not compared: {}", differing.join(", "));
    }
    Ok(())
}

/// In what two configurations differ, in words, apart from what does not matter.
///
/// # Errors
/// Serialisation fails, which would be a bug.
pub fn differences(before: &Config, after: &Config, apart_from: &[&str]) -> Result<Vec<String>> {
    let fields = |config: &Config| -> Result<serde_json::Map<String, Value>> {
        match serde_json::to_value(config)? {
            Value::Object(fields) => Ok(fields),
            _ => Ok(serde_json::Map::new()),
        }
    };
    let (before, after) = (fields(before)?, fields(after)?);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of = |fields: &serde_json::Map<String, Value>, name: &str| {
        fields.get(name).cloned().unwrap_or(Value::Null)
    };
    Ok(names
        .into_iter()
        .filter(|name| !apart_from.contains(&name.as_str()) && of(&before, name) != of(&after, name))
        .map(|name| format!("{name} {} and {}", of(&before, name), of(&after, name)))
        .collect())
}

/// A figure that two runs are compared by.
struct Figure {
    name: &'static str,
    more_is_better: bool,
    of_run: fn(&Report) -> f64,
    of_second: fn(&Second) -> f64,
}

const FIGURES: [Figure; 3] = [
    Figure {
        name: "sold/s",
        more_is_better: true,
        of_run: |report| report.measured.goodput.orders_per_s,
        of_second: |second| second.orders_per_s,
    },
    Figure {
        name: "p50",
        more_is_better: false,
        of_run: |report| sold(report, |latency| latency.p50),
        of_second: |second| as_f64(second.p50_us),
    },
    Figure {
        name: "p99",
        more_is_better: false,
        of_run: |report| sold(report, |latency| latency.p99),
        of_second: |second| as_f64(second.p99_us),
    },
];

/// A latency of what was sold, in microseconds.
fn sold(report: &Report, of: fn(&Distribution) -> u64) -> f64 {
    as_f64(report.measured.latency_us.order.get(&Outcome::Deducted).map_or(0, of))
}

/// The changes from one run to another one; `noise_pct` is the share that both are
/// granted, in percent.
///
/// # Errors
/// As [`check_same_load`].
pub fn between(before: &Report, after: &Report, noise_pct: u8) -> Result<Vec<Change>> {
    let noise = f64::from(noise_pct) / 100.0;
    check_same_load(&before.config, &after.config)?;
    let is_void = after.audit.as_ref().is_some_and(|audit| !audit.findings.is_empty());
    let change = |figure: &Figure| {
        // The last second is shorter, and the run is ending in it; where nothing was
        // sold nothing took any time.
        let seconds = |report: &Report| -> Vec<f64> {
            let whole = report.series.iter().filter(|second| second.span_s > 0.9);
            whole.map(figure.of_second).filter(|value| figure.more_is_better || *value > 0.0).collect()
        };
        let values = ((figure.of_run)(before), (figure.of_run)(after));
        let ratio = stats::ratio(values.1, values.0);
        let interval = stats::of_seconds(&seconds(after), &seconds(before));
        let means = match interval {
            None => Means::TooShort,
            // The seconds and the whole say the same.
            Some((low, _)) if low > 1.0 && ratio > 1.0 + noise => better(figure.more_is_better, is_void),
            Some((_, high)) if high < 1.0 && ratio < 1.0 - noise => better(!figure.more_is_better, is_void),
            Some(_) => Means::Noise,
        };
        Change { figure: figure.name, before: values.0, after: values.1, ratio, interval, means }
    };
    Ok(FIGURES.iter().map(change).collect())
}

const fn better(is_better: bool, is_void: bool) -> Means {
    match (is_better, is_void) {
        (false, _) => Means::Worse,
        (true, true) => Means::NoWorth,
        (true, false) => Means::Better,
    }
}
