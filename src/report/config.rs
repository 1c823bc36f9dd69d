//! What a run was asked to do: two reports of the same configuration can be
//! compared.

use crate::outcome::OnUnknown;
use crate::workload::Segment;
use crate::workload::arrivals::Spacing;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What was asked of the database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Config {
    /// The part of the run that this process had; what follows is of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
    /// Concurrent clients.
    pub concurrency: u64,
    /// Connections they shared; of a segment, its own.
    pub connections: u64,
    /// Orders to send.
    pub orders: Option<u64>,
    /// Seconds of starting orders.
    pub duration_s: Option<f64>,
    /// SKUs seeded or named by the orders.
    pub skus: u64,
    /// Units of each SKU.
    pub stock: i64,
    /// Whether that many were chosen so that the stock does not run out, because none was asked
    /// for: what happens at the last units was not tried then.
    #[serde(default)]
    pub stock_lasts: bool,
    /// Units per line.
    pub quantity: String,
    /// Lines per order.
    pub lines: String,
    /// The order in which lines were worked on.
    pub line_order: String,
    /// How demand was spread over the SKUs.
    pub dist: String,
    /// The file the orders came from.
    pub replay: Option<String>,
    /// Share of the orders that were delivered more than once, in percent.
    pub duplicates_pct: u8,
    /// What went wrong on purpose.
    pub faults: Vec<String>,
    /// Params of the strategy that were set.
    pub params: BTreeMap<String, i64>,
    /// Whether the stock was seeded for this run.
    pub seeded: bool,
    /// Microseconds of pause between a program's read and its write.
    pub think_us: u64,
    /// How much longer a round trip to the database was made, in microseconds.
    pub rtt_us: u64,
    /// What clients did when an answer was lost.
    pub retry_unknown: OnUnknown,
    /// How long a lost connection was opened again and again, in microseconds.
    pub reconnect_us: u64,
    /// Attempts per order; 0 goes on until it is decided.
    pub tries: u32,
    /// Shortest and longest wait before the next attempt, in microseconds.
    pub retry_delay_us: [u64; 2],
    /// Milliseconds a lock was waited for, if the run chose.
    pub lock_timeout_ms: Option<u64>,
    /// Longest wait for a connection in microseconds, if the run chose.
    pub acquire_timeout_us: Option<u64>,
    /// Milliseconds one statement might take, if the run chose.
    pub statement_timeout_ms: Option<u64>,
    /// Microseconds one transaction might take, if the run chose.
    pub transaction_timeout_us: Option<u64>,
    /// `closed`: a client sends its next order when the last is answered.
    /// `open`: orders start when they arrive.
    pub loop_kind: Cow<'static, str>,
    /// The highest rate of arrivals of an open loop, in orders per second.
    pub rate_per_s: Option<f64>,
    /// How they were spaced.
    pub arrivals: Option<Spacing>,
    /// How the load went over time: pairs of a time in seconds and the clients
    /// or orders per second there, with a straight line between them.
    pub profile: Vec<(f64, f64)>,
    /// Seconds of warm-up asked for.
    pub warmup_s: Option<f64>,
    /// An order answered later than this many microseconds counted as late.
    pub latency_limit_us: Option<u64>,
}
