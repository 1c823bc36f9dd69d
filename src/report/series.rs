//! The run second by second.

use super::measured::{as_f64, rounded};
use crate::engine::kept;
use crate::engine::phase::Tick;
use crate::engine::recorder::{LatencyUs, latency_histogram};
use crate::outcome::Outcome;
use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fault, as it happened to a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultMark {
    /// Seconds from the start of the measured window to when it struck.
    pub at_s: f64,
    /// What happened.
    pub fault: String,
    /// Seconds until it was over: until a server that was killed was back, until one
    /// that was paused went on.
    pub lasted_s: f64,
    /// Seconds from when it struck to the first order that began after it and was
    /// deducted; `null` when none was, or where orders are not expected to stop.
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
    /// Faults that struck in it.
    pub faults: Vec<String>,
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
            ..Self::default()
        };
        let nothing = latency_histogram();
        let deducted = figures.order.get(&Outcome::Deducted).unwrap_or(&nothing);
        second.sold(deducted, tick.span.as_secs_f64());
        second.hdr = is_part.then(|| kept::encode(deducted)).flatten();
        second
    }

    /// The same second of several processes, whose windows began together.
    ///
    /// # Errors
    /// The latencies of one of them were not kept.
    pub fn together(parts: &[&Self]) -> Result<Self> {
        let mut all = Self::default();
        let mut deducted = latency_histogram();
        for part in parts {
            let latencies = kept::decode(part.hdr.as_deref().context("a second without its latencies")?)?;
            deducted.add(latencies)?;
            all.at_s = all.at_s.max(part.at_s);
            all.span_s = all.span_s.max(part.span_s);
            all.deliveries += part.deliveries;
            all.sold_out += part.sold_out;
            all.conflicts += part.conflicts;
            all.retries += part.retries;
            all.errors += part.errors;
            all.late += part.late;
            all.skipped += part.skipped;
        }
        all.sold(&deducted, all.span_s);
        Ok(all)
    }

    fn sold(&mut self, deducted: &LatencyUs, seconds: f64) {
        self.orders_per_s = rounded(as_f64(deducted.len()) / seconds.max(1e-9), 10.0);
        self.p50_us = deducted.value_at_quantile(0.5);
        self.p99_us = deducted.value_at_quantile(0.99);
        self.max_us = deducted.max();
    }

    /// Writes each fault into the second in which it struck.
    pub fn mark(series: &mut [Self], marks: &[FaultMark]) {
        for mark in marks {
            if let Some(second) = series.iter_mut().find(|second| mark.at_s < second.at_s) {
                second.faults.push(mark.fault.clone());
            }
        }
    }
}
