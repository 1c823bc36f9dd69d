//! What the figures of a run suggest: who was the limit, and what to change.
//! Sentences for people, each with the figures it rests on.

use super::client::ClientCost;
use super::config::Config;
use super::measured::{Distribution, Measured, Phases, as_f64};
use crate::db::Dialect;
use crate::outcome::Outcome;
use crate::text;
use crate::workload::Segment;

/// A run that was shorter, or sent less, says nothing about its limits.
const ELAPSED_S_MIN: f64 = 1.0;
const DELIVERIES_MIN: u64 = 100;

/// From this share of the machine on, the client has no room left.
const CPU_SHARE_FULL: f64 = 0.8;

/// A wait for a turn counts from here on, in microseconds...
const DELAY_US_MIN: u64 = 1_000;

/// ...and from this share of a sale's latency.
const DELAY_SHARE: f64 = 0.2;

/// From this share of a sale's latency on, the wait for a connection is what
/// was measured.
const WAIT_SHARE: f64 = 0.5;

/// What the figures suggest.
pub(super) fn of(
    measured: &Measured,
    phases: &Phases,
    config: &Config,
    client: &ClientCost,
    kind: Dialect,
) -> Vec<String> {
    // Too little to say anything about.
    if measured.elapsed_s < ELAPSED_S_MIN || measured.deliveries < DELIVERIES_MIN {
        return Vec::new();
    }
    let latency = &measured.latency_us;
    let sales = latency.order.get(&Outcome::Deducted);
    let served = latency.order_uncorrected.get(&Outcome::Deducted).or(sales);
    // More clients would only wait for the same connections.
    let queue = too_few_connections(latency.connection_wait.p50, served, config)
        .or_else(|| too_few_clients(measured, phases, config));
    client_bound(client, served, kind).into_iter().chain(queue).collect()
}

/// Whether the client, not the database, was the limit.
fn client_bound(client: &ClientCost, sales: Option<&Distribution>, kind: Dialect) -> Option<String> {
    // What runs in this process, or does nothing, leaves no other limit.
    if client.includes_database || kind == Dialect::Null {
        return None;
    }
    let delay = client.scheduling_delay_us.p50;
    let waits =
        delay >= DELAY_US_MIN && sales.is_some_and(|sales| as_f64(delay) >= DELAY_SHARE * as_f64(sales.p50));
    let is_full = client.cpu_share >= CPU_SHARE_FULL;
    (waits || is_full).then(|| {
        format!(
            "the client was the limit, not the database: stockbench used {:.0} % of this machine, and a task that \
             was ready waited {} for its turn (median). Use fewer clients, or a faster machine of its own",
            client.cpu_share * 100.0,
            text::micros(delay),
        )
    })
}

/// By Little's law, clients = arrivals per second × time in service.
fn too_few_clients(measured: &Measured, phases: &Phases, config: &Config) -> Option<String> {
    config.rate_per_s?;
    let served = measured.latency_us.order_uncorrected.values();
    let (count, time) =
        served.fold((0, 0.0), |(count, time), of| (count + of.count, time + of.mean * as_f64(of.count)));
    let mean_s = time / as_f64(count.max(1)) / 1e6;
    // What was offered on average, ramps and pauses included.
    let rate = as_f64(measured.deliveries) / phases.measure_s.max(1e-3);
    let needed = rate * mean_s;
    let skipped = measured.count(Outcome::Skipped);
    let lag = &measured.latency_us.schedule_lag;
    let clients = config.segment.unwrap_or(Segment::WHOLE).share(config.concurrency);
    (needed > as_f64(clients)).then(|| {
        format!(
            "{:.0} orders/s that take {} each keep {:.0} clients busy, and there were {}: orders waited for a client, \
             {} at the 99th percentile, and {} were skipped. If more clients do not help, the rate is above what the \
             database can do",
            rate,
            text::micros_of(mean_s * 1e6),
            needed.ceil(),
            text::thousands(clients),
            text::micros(lag.p99),
            text::thousands(skipped),
        )
    })
}

fn too_few_connections(wait: u64, sales: Option<&Distribution>, config: &Config) -> Option<String> {
    let sales = sales?;
    let is_most = sales.p50 > 0 && as_f64(wait) >= WAIT_SHARE * as_f64(sales.p50);
    (is_most && wait >= DELAY_US_MIN).then(|| {
        format!(
            "a sale spent {} of its {} waiting for one of {} connections (medians): that is the queue in front of \
             the database, see --connections",
            text::micros(wait),
            text::micros(sales.p50),
            text::thousands(config.connections),
        )
    })
}
