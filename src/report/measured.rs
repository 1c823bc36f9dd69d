//! What a run measured, in figures: the part of a report that is there while
//! the run still goes on, so that a threshold can be judged early.

use crate::db::classify::{self, ErrorClass};
use crate::engine::recorder::{Figures, LatencyUs};
use crate::engine::{Finished, kept};
use crate::outcome::Outcome;
use anyhow::Result;
use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The figures of a run, of its measured window alone.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Seconds from the start of the measured window to the last answer.
    pub elapsed_s: f64,
    /// Deliveries by outcome; together they are all deliveries.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// All deliveries.
    pub deliveries: u64,
    /// Executions of the program: deliveries that were started, and retries.
    pub attempts: u64,
    /// Attempts after an order's first.
    pub retries: u64,
    /// The most attempts that one order took.
    pub attempts_max: u32,
    /// Retries, one value a delivery that was started.
    pub retries_per_order: Distribution,
    /// Orders answered later than the latency limit after their intended start.
    pub late: u64,
    /// Attempts refused by concurrency control.
    pub conflicts: u64,
    /// Conflicts per attempt.
    pub conflict_rate: f64,
    /// Deliveries given up as `conflict`, their tries or their time exhausted, from 0 to 1 of
    /// all; `audit.units.in_stock` tells what was left.
    #[serde(default)]
    pub given_up: f64,
    /// Seconds from the start of the measured window to the first order that was refused
    /// because not enough was in stock.
    #[serde(default)]
    pub first_refusal_s: Option<f64>,
    /// Seconds to the last order that was deducted: where nothing is in stock any more, it was
    /// sold out by then.
    #[serde(default)]
    pub last_sale_s: Option<f64>,
    /// Errors by the database's code.
    pub errors: BTreeMap<String, u64>,
    /// Errors by what they mean for an attempt.
    pub errors_by_class: BTreeMap<ErrorClass, u64>,
    /// Deadlocks that a database broke, whatever its code for them.
    pub deadlocks: u64,
    /// How often each fault befell a transaction, by its word.
    #[serde(default)]
    pub struck: BTreeMap<String, u64>,
    /// What these codes mean, and the database's words the first time.
    pub error_notes: BTreeMap<String, String>,
    /// What was really sold.
    pub goodput: Goodput,
    /// Latencies in microseconds.
    pub latency_us: Latencies,
}

/// How long each phase of a run took, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
pub struct Phases {
    /// Seeding, and opening and preparing every connection.
    pub setup_s: f64,
    /// The warm-up, until its last answer.
    pub warmup_s: f64,
    /// The measured window: while orders were started.
    pub measure_s: f64,
    /// From then until the last answer.
    pub drain_s: f64,
}

impl Phases {
    /// Of a run that has ended.
    pub fn of(setup: Duration, finished: &Finished) -> Self {
        let seconds = |duration: Duration| rounded(duration.as_secs_f64(), 1e3);
        Self {
            setup_s: seconds(setup),
            warmup_s: seconds(finished.warmed_for),
            measure_s: seconds(finished.started_for),
            drain_s: seconds(finished.elapsed.saturating_sub(finished.started_for)),
        }
    }
}

/// What was really sold, per second.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Goodput {
    /// Deducted orders per second.
    pub orders_per_s: f64,
    /// Units of them per second.
    pub units_per_s: f64,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Latencies {
    /// From an order's intended start to its answer, retries and waits
    /// included, by outcome.
    pub order: BTreeMap<Outcome, Distribution>,
    /// The same from its real start, in an open loop: it hides the time that an
    /// order waited for a client, and is shown to say how much that is.
    pub order_uncorrected: BTreeMap<Outcome, Distribution>,
    /// From an order's intended start to its real one, in an open loop.
    pub schedule_lag: Distribution,
    /// One execution of the program, waits for a connection left out.
    pub attempt: Distribution,
    /// The same of those attempts that concurrency control refused.
    pub attempt_refused: Distribution,
    /// The waits for a connection of one delivery.
    pub connection_wait: Distribution,
    /// The waits between attempts, of deliveries that had any.
    pub backoff: Distribution,
}

/// A distribution of whole numbers, to three significant digits.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Values.
    pub count: u64,
    /// Smallest.
    pub min: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p999: u64,
    /// 99.99th percentile.
    pub p9999: u64,
    /// Largest.
    pub max: u64,
    /// Values by size: upper bound of the bucket (doubling) and count.
    pub histogram: Vec<(u64, u64)>,
    /// All of it, as HdrHistogram's second format in base64: what reports are put
    /// together from without loss, and what curves are drawn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdr: Option<String>,
}

impl Distribution {
    /// Of a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        let buckets = histogram.iter_log(1, 2.0).filter(|step| step.count_since_last_iteration() > 0);
        Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: rounded(histogram.mean(), 10.0),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max(),
            histogram: buckets
                .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
                .collect(),
            hdr: None,
        }
    }

    /// Of a histogram, all of which is kept.
    pub fn whole(histogram: &Histogram<u64>) -> Self {
        Self { hdr: kept::encode(histogram), ..Self::of(histogram) }
    }

    /// The histogram, if all of it was kept.
    ///
    /// # Errors
    /// What was kept is no histogram.
    pub fn kept(&self) -> Result<Option<Histogram<u64>>> {
        self.hdr.as_deref().map(kept::decode).transpose()
    }
}

/// How a histogram is told: [`Distribution::of`] or [`Distribution::whole`].
pub(super) type Told = fn(&Histogram<u64>) -> Distribution;

/// Distributions by outcome.
pub(super) fn distributions(
    by_outcome: &BTreeMap<Outcome, LatencyUs>,
    told: Told,
) -> BTreeMap<Outcome, Distribution> {
    by_outcome.iter().map(|(outcome, latency)| (*outcome, told(latency))).collect()
}

impl Measured {
    /// The figures of a window that has lasted this long.
    pub fn of(figures: &Figures, elapsed: Duration) -> Self {
        Self::told(figures, elapsed, Distribution::of)
    }

    /// The figures of a run that has ended, with every distribution whole.
    pub fn finally(figures: &Figures, elapsed: Duration) -> Self {
        Self::told(figures, elapsed, Distribution::whole)
    }

    fn told(figures: &Figures, elapsed: Duration, told: Told) -> Self {
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let per_second = |count: u64| rounded(as_f64(count) / seconds, 10.0);
        let errors = figures.errors.iter();
        let deadlocks = errors.clone().filter(|(code, _)| classify::is_deadlock(code));
        let mut errors_by_class = BTreeMap::new();
        for error in figures.errors.values() {
            *errors_by_class.entry(error.class).or_default() += error.count;
        }
        Self {
            elapsed_s: rounded(seconds, 1e3),
            outcomes: figures.outcomes.clone(),
            deliveries: figures.deliveries(),
            attempts: figures.attempts,
            retries: figures.retries,
            attempts_max: figures.attempts_max,
            retries_per_order: told(&figures.retries_per_order),
            late: figures.late,
            conflicts: figures.conflicts,
            conflict_rate: rounded(as_f64(figures.conflicts) / as_f64(figures.attempts.max(1)), 1e4),
            given_up: rounded(
                as_f64(figures.outcome(Outcome::Conflict)) / as_f64(figures.deliveries().max(1)),
                1e6,
            ),
            first_refusal_s: figures.first_refusal.map(in_seconds),
            last_sale_s: figures.last_sale.map(in_seconds),
            errors: errors.clone().map(|(code, error)| (code.clone(), error.count)).collect(),
            errors_by_class,
            deadlocks: deadlocks.map(|(_, error)| error.count).sum(),
            struck: figures.struck.clone(),
            error_notes: errors
                .map(|(code, error)| (code.clone(), format!("{}: {}", error.class.as_str(), error.message)))
                .collect(),
            goodput: Goodput {
                orders_per_s: per_second(figures.outcome(Outcome::Deducted)),
                units_per_s: per_second(figures.units_deducted),
            },
            latency_us: Latencies {
                order: distributions(&figures.order, told),
                order_uncorrected: distributions(&figures.uncorrected, told),
                schedule_lag: told(&figures.schedule_lag),
                attempt: told(&figures.attempt),
                attempt_refused: told(&figures.refused_attempt),
                connection_wait: told(&figures.connection_wait),
                backoff: told(&figures.backoff),
            },
        }
    }

    /// Deliveries that ended this way.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }
}

fn in_seconds(moment: Duration) -> f64 {
    rounded(moment.as_secs_f64(), 1e3)
}

/// A count as a number that can be divided.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}

/// Rounded to `1 / scale`.
pub fn rounded(number: f64, scale: f64) -> f64 {
    (number * scale).round() / scale
}
