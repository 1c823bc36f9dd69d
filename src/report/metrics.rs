//! A run as Prometheus sees it, brought up to date once a second.

use crate::engine::phase::Tick;
use crate::engine::recorder::{Figures, LatencyUs};
use crate::escape;
use crate::outcome::Outcome;
use crate::text;
use anyhow::{Result, anyhow};
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use std::net::SocketAddr;
use tokio::task::JoinHandle;

/// Upper bounds of the buckets, in seconds: 100 µs to 30 s.
const BUCKETS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0,
];

/// Serves the metrics of one run until it is dropped.
pub struct Metrics {
    recorder: PrometheusRecorder,
    server: JoinHandle<()>,
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Metrics {
    /// Starts serving on an address, for any path.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn serve(address: SocketAddr, labels: &[(&str, String)]) -> Result<Self> {
        let failed = |error: &dyn std::fmt::Display| {
            anyhow!("cannot serve metrics on {address}: {}", text::one_line(&error.to_string()))
        };
        let mut builder = PrometheusBuilder::new()
            .with_http_listener(address)
            .set_buckets(&BUCKETS)
            .map_err(|error| failed(&error))?;
        for (name, value) in labels {
            builder = builder.add_global_label(*name, &*escape::line(value));
        }
        let (recorder, exporter) = builder.build().map_err(|error| failed(&error))?;
        // All counters are there from the start, at 0: rates need a beginning.
        metrics::with_local_recorder(&recorder, || {
            describe();
            counters(&Figures::new(1));
        });
        let server = tokio::spawn(async move {
            // It ends with the task only.
            drop(exporter.await);
        });
        Ok(Self { recorder, server })
    }

    /// Brings the metrics up to date.
    pub fn update(&self, tick: &Tick<'_>, clients: u64) {
        metrics::with_local_recorder(&self.recorder, || {
            counters(tick.total);
            for (outcome, latencies) in &tick.interval.order {
                observe("stockbench_order_latency_seconds", *outcome, latencies);
            }
            for (outcome, latencies) in &tick.interval.uncorrected {
                observe("stockbench_order_latency_uncorrected_seconds", *outcome, latencies);
            }
            #[expect(clippy::cast_precision_loss, reason = "a number of clients")]
            gauge!("stockbench_clients").set(clients as f64);
        });
        // What was observed is added up now, not at the next scrape: nobody
        // may ever scrape.
        self.recorder.handle().run_upkeep();
    }
}

fn describe() {
    describe_counter!("stockbench_orders_total", "Deliveries of orders, by how they ended");
    describe_counter!("stockbench_units_deducted_total", "Units of deducted orders");
    describe_counter!("stockbench_attempts_total", "Executions of the program");
    describe_counter!("stockbench_retries_total", "Attempts after an order's first");
    describe_counter!("stockbench_conflicts_total", "Attempts that concurrency control refused");
    describe_counter!("stockbench_late_total", "Orders answered later than the latency limit");
    describe_counter!("stockbench_errors_total", "Errors of the database, by its code");
    describe_gauge!("stockbench_clients", "Clients of the run");
    describe_histogram!(
        "stockbench_order_latency_seconds",
        Unit::Seconds,
        "From an order's intended start to its answer"
    );
    describe_histogram!(
        "stockbench_order_latency_uncorrected_seconds",
        Unit::Seconds,
        "From an order's real start to its answer, in an open loop"
    );
}

fn counters(total: &Figures) {
    for outcome in Outcome::ALL {
        counter!("stockbench_orders_total", "outcome" => outcome.as_str()).absolute(total.outcome(outcome));
    }
    counter!("stockbench_units_deducted_total").absolute(total.units_deducted);
    counter!("stockbench_attempts_total").absolute(total.attempts);
    counter!("stockbench_retries_total").absolute(total.retries);
    counter!("stockbench_conflicts_total").absolute(total.conflicts);
    counter!("stockbench_late_total").absolute(total.late);
    for (code, error) in &total.errors {
        counter!("stockbench_errors_total", "code" => escape::line(code).into_owned(), "class" => error.class.as_str())
            .absolute(error.count);
    }
}

fn observe(name: &'static str, outcome: Outcome, latencies: &LatencyUs) {
    let histogram = histogram!(name, "outcome" => outcome.as_str());
    for step in latencies.iter_recorded() {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of at most an hour")]
        let seconds = step.value_iterated_to() as f64 / 1e6;
        histogram
            .record_many(seconds, usize::try_from(step.count_since_last_iteration()).unwrap_or(usize::MAX));
    }
}
