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

/// The noise that runs are granted by default: a tenth.
pub const NOISE: f64 = 0.10;

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
    /// The lower end of the 95 % interval of the ratio of their median seconds; 0 where
    /// the seconds are too few.
    pub low: f64,
    /// The upper end; infinite where the seconds are too few.
    pub high: f64,
    /// Whether more is better.
    pub more_is_better: bool,
    /// Whether it counts.
    pub counts: bool,
}

impl Change {
    /// Whether it counts, and is for the worse.
    pub fn is_worse(&self) -> bool {
        self.counts && (self.ratio < 1.0) == self.more_is_better
    }
}

/// What belongs to a strategy rather than to the load it was under.
const OF_THE_STRATEGY: [&str; 4] = ["tries", "retry_delay_us", "retry_unknown", "params"];

/// Runs under different loads are not compared.
///
/// # Errors
/// Names what differs.
pub fn check_same_load(before: &Config, after: &Config) -> Result<()> {
    let fields = |config: &Config| -> Result<serde_json::Map<String, Value>> {
        match serde_json::to_value(config)? {
            Value::Object(fields) => Ok(fields),
            _ => Ok(serde_json::Map::new()),
        }
    };
    let (before, after) = (fields(before)?, fields(after)?);
    let differing: Vec<String> = before
        .iter()
        .filter(|(name, value)| !OF_THE_STRATEGY.contains(&name.as_str()) && after.get(*name) != Some(*value))
        .map(|(name, value)| format!("{name} {value} and {}", after.get(name).unwrap_or(&Value::Null)))
        .collect();
    if !differing.is_empty() {
        bail!("the loads differ, so their figures are not compared: {}", differing.join(", "));
    }
    Ok(())
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

/// The changes from one run to another one; `noise` is the share that both are granted.
///
/// # Errors
/// As [`check_same_load`].
pub fn between(before: &Report, after: &Report, noise: f64) -> Result<Vec<Change>> {
    check_same_load(&before.config, &after.config)?;
    let change = |figure: &Figure| {
        // The last second is shorter, and the run is ending in it.
        let seconds = |report: &Report| -> Vec<f64> {
            let whole = report.series.iter().filter(|second| second.span_s > 0.9);
            whole.map(figure.of_second).collect()
        };
        let values = ((figure.of_run)(before), (figure.of_run)(after));
        let ratio = values.1 / values.0.max(f64::MIN_POSITIVE);
        let (low, high) =
            stats::of_seconds(&seconds(after), &seconds(before)).unwrap_or((0.0, f64::INFINITY));
        let counts = (low > 1.0 || high < 1.0) && (ratio - 1.0).abs() > noise;
        Change {
            figure: figure.name,
            before: values.0,
            after: values.1,
            ratio,
            low,
            high,
            more_is_better: figure.more_is_better,
            counts,
        }
    };
    Ok(FIGURES.iter().map(change).collect())
}
