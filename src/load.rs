//! The load of a run, in the same words as flags of the command line, in a
//! scenario's `[load]` and in a strategy's.

use crate::db::Isolation;
use crate::fault::FaultSpec;
use crate::outcome::OnUnknown;
use crate::text::duration;
use crate::workload::arrivals::Spacing;
use crate::workload::orders::{LineOrder, Span};
use crate::workload::skew::Distribution;
use clap::Args;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The load of a run: as flags, or in a file under the same names.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[command(next_help_heading = "Load")]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LoadArgs {
    /// Concurrent clients [default: 50]
    #[arg(short, long, value_name = "N", value_parser = positive)]
    pub concurrency: Option<u64>,
    /// Orders to send [default: 2000, or the whole file with --replay]
    #[arg(short = 'n', long, value_name = "N", value_parser = positive)]
    pub orders: Option<u64>,
    /// Send orders for this long instead
    #[arg(short, long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub duration: Option<Duration>,
    /// Open loop: this many orders arrive per second, however the database is doing [default: a
    /// closed loop, where each client sends its next order when the last one is answered]
    #[arg(short, long, value_name = "PER_SECOND", value_parser = rate)]
    pub rate: Option<f64>,
    /// How arrivals of an open loop are spaced [default: poisson]
    #[arg(long, value_name = "SPACING")]
    pub arrivals: Option<Spacing>,
    /// Raise the rate, or the number of clients, from nothing over this time
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub ramp: Option<Duration>,
    /// Stages that the load goes through: in a scenario only.
    #[arg(skip)]
    pub stages: Vec<StageSpec>,
    /// Put the load on for this long beforehand, without measuring it; its orders take stock, too
    #[arg(short, long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub warmup: Option<Duration>,
    /// Orders answered later than this are counted as late; in an open loop, those that are later
    /// before they start are skipped
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub latency_limit: Option<Duration>,
    /// Connections that the clients share [default: what the database can use]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub connections: Option<u64>,
    /// Longest wait for a connection [default: none]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub acquire_timeout: Option<Duration>,
    /// Make every round trip to the database so much longer (loopback hides what it costs)
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub rtt: Option<Duration>,
    /// A pause between a program's read and its write
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub think: Option<Duration>,
    /// Isolation level [default: the server's own]
    #[arg(long, value_name = "LEVEL")]
    pub isolation: Option<Isolation>,
    /// How long a lock is waited for [default: the server's own]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub lock_timeout: Option<Duration>,
    /// How long one statement may take [default: the server's own]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub statement_timeout: Option<Duration>,
    /// How long one transaction may take before it is rolled back [default: any time]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub transaction_timeout: Option<Duration>,
    /// Attempts per order; 0 goes on until it is decided [default: the strategy's own]
    #[arg(long, value_name = "N")]
    pub max_tries: Option<u32>,
    /// Shortest and longest wait before the next attempt [default: the strategy's own]
    #[arg(long, value_name = "MIN,MAX", value_parser = delay)]
    #[serde(with = "as_text")]
    pub retry_delay: Option<Delay>,
    /// What the client does when an answer is lost [default: the strategy's own, or keep]
    #[arg(long, value_name = "WHAT")]
    pub retry_unknown: Option<OnUnknown>,
    /// How long a lost connection is opened again and again [default: 5s, or 60s where a fault
    /// takes the server away, or far away]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub reconnect: Option<Duration>,
    /// What goes wrong on purpose, repeatable: FAULT@TRANSACTION[:PCT%] (fail, lose, crash, die,
    /// cut-before, cut-during, cut-after; * is any transaction), or FAULT@START[/EVERY][:LASTING]
    /// (kill-server, pause-server, end-session, take-connections, lock-rows, fill-disk, kill-redis,
    /// add-latency, which also says +LATENCY), or none
    #[arg(long, value_name = "FAULT")]
    pub fault: Vec<FaultSpec>,

    /// SKUs to seed [default: 3]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Stock")]
    pub skus: Option<u64>,
    /// Units of each SKU [default: 100; with --duration or --rate as many as do not run out]
    #[arg(long, value_name = "N", help_heading = "Stock")]
    pub stock: Option<u32>,
    /// Units per line, as in 1..5 [default: 1]
    #[arg(long, value_name = "A..B", help_heading = "Orders")]
    #[serde(with = "as_text")]
    pub quantity: Option<Span>,
    /// Lines per order, as in 1..4 [default: 1]
    #[arg(long, value_name = "A..B", help_heading = "Orders")]
    #[serde(with = "as_text")]
    pub lines: Option<Span>,
    /// The order in which an order's lines are worked on [default: sorted]
    #[arg(long, value_name = "ORDER", help_heading = "Orders")]
    pub line_order: Option<LineOrder>,
    /// Demand: uniform, zipfian[:S] or hotspot:DATA,OPS [default: uniform]
    #[arg(long, value_name = "DIST", help_heading = "Orders")]
    #[serde(with = "as_text")]
    pub dist: Option<Distribution>,
    /// Send the orders of a CSV file: order_id,sku_id,quantity[,ordered_at]
    #[arg(long, value_name = "FILE", help_heading = "Orders")]
    pub replay: Option<PathBuf>,
    /// Share of the orders that are delivered two or more times, in percent [default: 0]
    #[arg(long, value_name = "PCT", value_parser = clap::value_parser!(u8).range(0..=100), help_heading = "Orders")]
    pub duplicates: Option<u8>,
    /// Seed of all chance; printed, so that a run can be repeated [default: drawn]
    #[arg(long, value_name = "N", help_heading = "Orders")]
    pub random_seed: Option<u64>,
}

impl LoadArgs {
    /// These values where they are given, the other's elsewhere.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        // Exhaustive, so that a new flag cannot be forgotten here. A flag that
        // says how the run ends replaces both of the scenario's ways.
        let ends_run = self.orders.is_some() || self.duration.is_some();
        // Stages say how much and how long: who says either anew replaces them.
        let stages_clients = other.stages.iter().any(|stage| stage.concurrency.is_some());
        let is_staged_anew = ends_run
            || self.rate.is_some()
            || self.ramp.is_some()
            || stages_clients && self.concurrency.is_some();
        Self {
            concurrency: self.concurrency.or(other.concurrency),
            orders: if ends_run { self.orders } else { other.orders },
            duration: if ends_run { self.duration } else { other.duration },
            rate: self.rate.or(other.rate),
            arrivals: self.arrivals.or(other.arrivals),
            ramp: self.ramp.or(other.ramp),
            stages: if is_staged_anew || !self.stages.is_empty() {
                self.stages.clone()
            } else {
                other.stages.clone()
            },
            warmup: self.warmup.or(other.warmup),
            latency_limit: self.latency_limit.or(other.latency_limit),
            connections: self.connections.or(other.connections),
            acquire_timeout: self.acquire_timeout.or(other.acquire_timeout),
            rtt: self.rtt.or(other.rtt),
            think: self.think.or(other.think),
            isolation: self.isolation.or(other.isolation),
            lock_timeout: self.lock_timeout.or(other.lock_timeout),
            statement_timeout: self.statement_timeout.or(other.statement_timeout),
            transaction_timeout: self.transaction_timeout.or(other.transaction_timeout),
            max_tries: self.max_tries.or(other.max_tries),
            retry_delay: self.retry_delay.or(other.retry_delay),
            retry_unknown: self.retry_unknown.or(other.retry_unknown),
            reconnect: self.reconnect.or(other.reconnect),
            fault: if self.fault.is_empty() { other.fault.clone() } else { self.fault.clone() },
            skus: self.skus.or(other.skus),
            stock: self.stock.or(other.stock),
            quantity: self.quantity.or(other.quantity),
            lines: self.lines.or(other.lines),
            line_order: self.line_order.or(other.line_order),
            dist: self.dist.or(other.dist),
            replay: self.replay.clone().or_else(|| other.replay.clone()),
            duplicates: self.duplicates.or(other.duplicates),
            random_seed: self.random_seed.or(other.random_seed),
        }
    }
}

/// A stage of a load, in a scenario: it goes linearly from the level before to
/// its own and stays there.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct StageSpec {
    /// How long it lasts, the way there included.
    #[serde(with = "as_text")]
    pub duration: Option<Duration>,
    /// How long the way there takes; at once, if it does not say.
    #[serde(with = "as_text")]
    pub ramp: Option<Duration>,
    /// Orders per second.
    pub rate: Option<f64>,
    /// Clients.
    pub concurrency: Option<u64>,
}

/// The most orders per second that can be asked for.
const RATE_MAX: f64 = 1e6;

/// Checks a number of orders per second.
///
/// # Errors
/// It is not above 0, or above a million.
pub fn check_rate(rate: f64) -> Result<f64, String> {
    if rate > 0.0 && rate <= RATE_MAX {
        Ok(rate)
    } else {
        Err("expected orders per second, above 0 and at most 1000000".to_owned())
    }
}

fn rate(text: &str) -> Result<f64, String> {
    check_rate(text.trim_end_matches("/s").parse().unwrap_or(f64::NAN))
}

/// The shortest and the longest wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// Shortest.
    pub min: Duration,
    /// Longest.
    pub max: Duration,
}

fn delay(text: &str) -> Result<Delay, String> {
    let (min, max) = text.split_once(',').ok_or("expected MIN,MAX, as in 1ms,20ms")?;
    let delay = Delay { min: duration(min)?, max: duration(max)? };
    if delay.min > delay.max {
        return Err("the shortest wait is longer than the longest".to_owned());
    }
    Ok(delay)
}

/// Reads a whole number from 1.
///
/// # Errors
/// The text is something else.
pub fn positive(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("expected a whole number from 1".to_owned()),
    }
}

/// In a file these values are written as on the command line.
mod as_text {
    use super::{Delay, Distribution, Duration, Span};
    use serde::{Deserialize, Deserializer, de::Error};

    pub(super) trait FromText: Sized {
        fn from_text(text: &str) -> Result<Self, String>;
    }

    impl FromText for Duration {
        fn from_text(text: &str) -> Result<Self, String> {
            super::duration(text)
        }
    }

    impl FromText for Delay {
        fn from_text(text: &str) -> Result<Self, String> {
            super::delay(text)
        }
    }

    impl FromText for Span {
        fn from_text(text: &str) -> Result<Self, String> {
            text.parse()
        }
    }

    impl FromText for Distribution {
        fn from_text(text: &str) -> Result<Self, String> {
            text.parse()
        }
    }

    pub(super) fn deserialize<'de, T: FromText, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::from_text(&text).map(Some).map_err(D::Error::custom)
    }
}
