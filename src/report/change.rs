//! How one run stands to another one under the same load: the change of its figures,
//! with the interval that the seconds of both runs give. The change and its interval are
//! of one figure: what is worked out from the seconds once is worked out from them again
//! as they are drawn.
//!
//! One run each says nothing of what differs from run to run (that is what `compare`
//! repeats them for). So a change counts only where its interval leaves out "none", and
//! it is larger than what separate runs are granted on top of what the halves of either run
//! differ by: what drifts within a run drifts between runs as well. Where stockbench's own
//! work took longer, the machine was slower, and as large a change is not the strategy's.

use super::config::Config;
use super::measured::as_f64;
use super::model::Report;
use super::series::Second;
use crate::compare::stats::{self, Weighed};
use crate::db::{DatabaseInfo, Dialect};
use crate::exit::Exit;
use anyhow::{Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;

/// What separate runs are granted by default for the drift of the machine, in percent.
pub const NOISE_PCT: u8 = 25;

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
    /// The 95 % interval of the ratio, if both runs had enough seconds.
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
    /// The machine itself was as much slower or faster, by what stockbench's own work took.
    Drift,
    /// For the better.
    Better,
    /// For the worse.
    Worse,
    /// For the better, of a run whose audit failed or was not made; or any change from
    /// such a run.
    NoWorth,
}

impl Means {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooShort => "too few seconds to tell",
            Self::Noise => "within the noise",
            Self::Drift => "as large as the machine's drift: cannot be told",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoWorth => "of no worth: an audit did not pass",
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

/// Runs on different ground are not compared, either: another kind of database, another
/// isolation level, commits that are durable in one of them.
///
/// # Errors
/// Names what differs.
pub fn check_same_ground(before: &DatabaseInfo, after: &DatabaseInfo) -> Result<()> {
    let ground =
        |info: &DatabaseInfo| [info.kind.title(), &info.isolation, info.durability()].map(str::to_owned);
    let pairs = ground(before).into_iter().zip(ground(after));
    let differing: Vec<String> =
        pairs.filter(|(one, other)| one != other).map(|(one, other)| format!("{one} and {other}")).collect();
    if !differing.is_empty() {
        bail!("the databases differ, so their figures are not compared: {}", differing.join(", "));
    }
    Ok(())
}

/// What differs between two runs and may be what is asked about: the versions.
pub fn notes(before: &Report, after: &Report) -> Vec<String> {
    let version = |report: &Report| format!("{} {}", report.database.kind.title(), report.database.version);
    let tool = |report: &Report| format!("stockbench {}", report.stockbench_version);
    let pairs = [(version(before), version(after)), (tool(before), tool(after))];
    let differing = pairs.into_iter().filter(|(was, is)| was != is);
    differing.map(|(was, is)| format!("{was} before, {is} after: the change may be theirs")).collect()
}

/// What has to be known about figures of separate runs.
pub fn caveats(before: &Report, after: &Report, noise_pct: u8) -> Vec<String> {
    let mut said = vec![format!(
        "two separate runs cannot tell a change from a drift of the machine between them: a change counts beyond \
         {noise_pct} % on top of what the halves of either run differ by. `stockbench compare` measures in turns, and can"
    )];
    if let Some(slowdown) = slowdown(before, after).filter(|slowdown| (slowdown - 1.0).abs() > DRIFT_SAID) {
        said.push(format!(
            "the machine drifted: an attempt took stockbench itself {:.1} µs of CPU before and {:.1} µs after ({}), which \
             is no work of the database's",
            cpu_us_per_attempt(before),
            cpu_us_per_attempt(after),
            percent(slowdown)
        ));
    }
    said
}

/// From this change of its own work on, a drift of the machine is worth a sentence.
const DRIFT_SAID: f64 = 0.1;

/// How much longer stockbench's own work took, where it is the same work: the same strategy,
/// and no database in the same process.
fn slowdown(before: &Report, after: &Report) -> Option<f64> {
    let is_alone = !before.client.includes_database && !after.client.includes_database;
    let (was, is) = (cpu_us_per_attempt(before), cpu_us_per_attempt(after));
    (is_alone && before.strategy == after.strategy && was > 0.0 && is > 0.0).then(|| stats::ratio(is, was))
}

fn cpu_us_per_attempt(report: &Report) -> f64 {
    let measured = &report.measured;
    report.client.cpu_us_per_order * as_f64(measured.deliveries) / as_f64(measured.attempts.max(1))
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
    of_second: fn(&Second) -> f64,
    of_seconds: fn(&[Weighed]) -> f64,
}

const FIGURES: [Figure; 3] = [
    // The mean of all seconds by their length: what the run sold in all.
    Figure {
        name: "sold/s",
        more_is_better: true,
        of_second: |second| second.orders_per_s,
        of_seconds: stats::mean_second,
    },
    Figure {
        name: "p50 of the median second",
        more_is_better: false,
        of_second: |second| as_f64(second.p50_us),
        of_seconds: stats::median_second,
    },
    Figure {
        name: "p99 of the median second",
        more_is_better: false,
        of_second: |second| as_f64(second.p99_us),
        of_seconds: stats::median_second,
    },
];

/// The changes from one run to another one; `noise_pct` is the share that both are
/// granted, in percent.
///
/// # Errors
/// As [`check_same_load`] and [`check_same_ground`].
pub fn between(before: &Report, after: &Report, noise_pct: u8) -> Result<Vec<Change>> {
    check_same_load(&before.config, &after.config)?;
    check_same_ground(&before.database, &after.database)?;
    let noise = f64::from(noise_pct) / 100.0;
    let slowdown = slowdown(before, after).unwrap_or(1.0);
    let change = |figure: &Figure| {
        // Where nothing was sold nothing took any time.
        let seconds = |report: &Report| -> Vec<Weighed> {
            let all = report.series.iter().map(|second| (second.span_s, (figure.of_second)(second)));
            all.filter(|(_, value)| figure.more_is_better || *value > 0.0).collect()
        };
        let seconds = (seconds(before), seconds(after));
        let values = ((figure.of_seconds)(&seconds.0), (figure.of_seconds)(&seconds.1));
        let ratio = stats::ratio(values.1, values.0);
        let interval = stats::of_seconds(&seconds.1, &seconds.0, figure.of_seconds);
        let worth = |is_better: bool| match (is_better, did_pass(before), did_pass(after)) {
            (_, false, _) | (true, _, false) => Means::NoWorth,
            (true, ..) => Means::Better,
            (false, ..) => Means::Worse,
        };
        let spread = |seconds: &[Weighed]| stats::spread(seconds, figure.of_seconds);
        let spread = spread(&seconds.0).max(spread(&seconds.1));
        // A slower machine sells less and answers later.
        let by_machine = if figure.more_is_better { 1.0 / slowdown } else { slowdown };
        let is_beyond = |allowed: f64, change: f64| change > allowed * spread;
        let means = match interval {
            None => Means::TooShort,
            Some((low, _)) if low > 1.0 && is_beyond(1.0 + noise, ratio) => {
                let is_drift = !is_beyond(1.0 + noise, ratio / by_machine.max(1.0));
                if is_drift { Means::Drift } else { worth(figure.more_is_better) }
            }
            Some((_, high)) if high < 1.0 && ratio * spread < 1.0 - noise => {
                let is_drift = ratio * spread / by_machine.min(1.0) >= 1.0 - noise;
                if is_drift { Means::Drift } else { worth(!figure.more_is_better) }
            }
            Some(_) => Means::Noise,
        };
        Change { figure: figure.name, before: values.0, after: values.1, ratio, interval, means }
    };
    Ok(FIGURES.iter().map(change).collect())
}

/// Whether nothing was found against a run, by an audit that could be made.
pub fn did_pass(report: &Report) -> bool {
    match &report.audit {
        Some(audit) => audit.exit() == Exit::Held,
        // Segments are judged together, and where nothing is kept the figures are the result.
        None => report.audit_error.is_none() || report.database.kind == Dialect::Null,
    }
}
