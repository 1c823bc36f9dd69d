//! The run second by second.

use super::measured::{as_f64, rounded};
use crate::engine::kept;
use crate::engine::phase::Tick;
use crate::engine::recorder::{LatencyUs, latency_histogram};
use crate::outcome::Outcome;
use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A fault, as it happened to a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultMark {
    /// Seconds from the start of the measured window to when it struck.
    pub at_s: f64,
    /// What happened.
    pub fault: String,
    /// Which node of a cluster it struck, from 0 in the order of the URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<usize>,
    /// Seconds until it was over: until a server that was killed was back, until one
    /// that was paused went on.
    pub lasted_s: f64,
    /// Seconds from when it struck to the first order that began after it and was
    /// deducted or done, after a full disk to the first one once there was room again;
    /// `null` when none was, or where orders are not expected to stop.
    pub recovered_s: Option<f64>,
}

/// One second of a run; the last one may be shorter.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct Second {
    /// Seconds from the start of the measured window to the end of this one.
    pub at_s: f64,
    /// How long it was, in seconds.
    pub span_s: f64,
    /// Deliveries that ended in it.
    pub deliveries: u64,
    /// Orders deducted per second.
    pub orders_per_s: f64,
    /// Median latency of those, in microseconds, from the intended start.
    pub p50_us: u64,
    /// Their 99th percentile.
    pub p99_us: u64,
    /// Their largest.
    pub max_us: u64,
    /// Refused because not enough was in stock.
    pub sold_out: u64,
    /// Attempts refused by concurrency control.
    pub conflicts: u64,
    /// Attempts after an order's first.
    pub retries: u64,
    /// Errors that the database answered with.
    pub errors: u64,
    /// Answered later than the latency limit.
    pub late: u64,
    /// Never started: too late already.
    pub skipped: u64,
    /// Faults that struck a server in it.
    pub faults: Vec<String>,
    /// How often each fault befell a transaction in it, by its word.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub struck: BTreeMap<String, u64>,
    /// All latencies of what was deducted, where seconds of several processes are to be
    /// put together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hdr: Option<String>,
}

impl Second {
    /// What was counted since the last look; with all of its latencies where they are
    /// to be added to others'.
    pub fn of(tick: &Tick<'_>, is_part: bool) -> Self {
        let figures = tick.interval;
        let mut second = Self {
            at_s: rounded(tick.at.as_secs_f64(), 1e3),
            span_s: rounded(tick.span.as_secs_f64(), 1e3),
            deliveries: figures.deliveries(),
            sold_out: figures.outcome(Outcome::SoldOut),
            conflicts: figures.conflicts,
            retries: figures.retries,
            errors: figures.errors.values().map(|error| error.count).sum(),
            late: figures.late,
            skipped: figures.outcome(Outcome::Skipped),
            struck: figures.struck.clone(),
            ..Self::default()
        };
        let nothing = latency_histogram();
        let deducted = figures.order.get(&Outcome::Deducted).unwrap_or(&nothing);
        second.sold(deducted, as_f64(deducted.len()) / tick.span.as_secs_f64().max(1e-9));
        second.hdr = is_part.then(|| kept::encode(deducted)).flatten();
        second
    }

    fn sold(&mut self, deducted: &LatencyUs, orders_per_s: f64) {
        self.orders_per_s = rounded(orders_per_s, 10.0);
        self.p50_us = deducted.value_at_quantile(0.5);
        self.p99_us = deducted.value_at_quantile(0.99);
        self.max_us = deducted.max();
    }

    /// Writes each fault into the second in which it struck; one that struck after the
    /// last answer into the last one.
    pub fn mark(series: &mut [Self], marks: &[FaultMark]) {
        for mark in marks {
            let at = series.iter().position(|second| mark.at_s < second.at_s);
            let at = at.unwrap_or(series.len().saturating_sub(1));
            if let Some(second) = series.get_mut(at) {
                second.faults.push(mark.fault.clone());
            }
        }
    }
}

/// The seconds of several processes as those of one run: each with how long after the
/// first of them its window began.
///
/// # Errors
/// The latencies of a second were not kept.
pub fn together(parts: &[(f64, &[Second])]) -> Result<Vec<Second>> {
    let mut all: BTreeMap<u64, Vec<(usize, f64, &Second)>> = BTreeMap::new();
    for (process, (offset, seconds)) in parts.iter().enumerate() {
        for second in *seconds {
            // Where its middle lies: a look that came late covers two of them.
            let middle = (offset + second.at_s - second.span_s / 2.0).max(0.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run")]
            all.entry(middle as u64).or_default().push((process, offset + second.at_s, second));
        }
    }
    all.into_values().map(|same| one(&same)).collect()
}

/// The same second of several processes, each with its number and when it ended. A process
/// may have looked twice in it, or ended early in it: so it is as long as it was where it
/// was longest, and its rate is what was sold in all by that.
fn one(parts: &[(usize, f64, &Second)]) -> Result<Second> {
    let mut all = Second::default();
    let mut deducted = latency_histogram();
    let mut spans: BTreeMap<usize, f64> = BTreeMap::new();
    for (process, end_s, part) in parts {
        deducted.add(kept::latency_from(part.hdr.as_deref().context("a second without its latencies")?)?)?;
        *spans.entry(*process).or_default() += part.span_s;
        all.at_s = all.at_s.max(rounded(*end_s, 1e3));
        all.deliveries += part.deliveries;
        all.sold_out += part.sold_out;
        all.conflicts += part.conflicts;
        all.retries += part.retries;
        all.errors += part.errors;
        all.late += part.late;
        all.skipped += part.skipped;
        for (fault, count) in &part.struck {
            *all.struck.entry(fault.clone()).or_default() += count;
        }
    }
    let longest = spans.into_values().fold(0.0, f64::max);
    all.span_s = rounded(longest, 1e3);
    all.sold(&deducted, as_f64(deducted.len()) / longest.max(1e-9));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second in which so many were sold, as a process keeps it.
    fn second(at_s: f64, span_s: f64, sold: u64) -> Second {
        let mut latencies = latency_histogram();
        latencies.record_n(1_000, sold).unwrap();
        let mut second = Second { at_s, span_s, deliveries: sold, ..Second::default() };
        second.sold(&latencies, as_f64(sold) / span_s);
        second.hdr = kept::encode(&latencies);
        second
    }

    #[test]
    fn the_rate_of_a_second_is_what_all_sold_in_it_by_how_long_it_was() {
        // One looked twice in its second second, the other one ended early in it.
        let one = [second(1.0, 1.0, 100), second(1.4, 0.4, 40), second(2.0, 0.6, 60)];
        let other = [second(1.0, 1.0, 50), second(1.1, 0.1, 30)];
        let all = together(&[(0.0, &one), (0.01, &other)]).unwrap();
        let told: Vec<(f64, f64)> = all.iter().map(|second| (second.span_s, second.orders_per_s)).collect();
        assert_eq!(told, [(1.0, 150.0), (1.0, 130.0)]);
        assert_eq!((all[1].deliveries, all[1].at_s, all[1].p50_us > 0), (130, 2.0, true));
    }
}
