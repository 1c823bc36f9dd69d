//! What a run found, as data: the one thing that every reporter shows.

use super::threshold::{self, Judged, Threshold};
use crate::audit::AuditReport;
use crate::db::DatabaseInfo;
use crate::db::classify;
use crate::engine::recorder::{Figures, FlowFigures, LatencyUs};
use crate::exit::Exit;
use crate::finding::ExpectedFinding;
use crate::outcome::Outcome;
use anyhow::{Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The version of this shape; a field is never removed or changed without a
/// new one.
pub const SCHEMA_VERSION: u32 = 1;

/// What a run found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(title = "stockbench report")]
pub struct Report {
    /// The version of this shape.
    pub schema_version: u32,
    /// The version of stockbench that wrote it.
    pub stockbench_version: String,
    /// The run's number on its database; generated order ids carry it.
    pub run_id: i64,
    /// The strategy that ran, or the mix.
    pub strategy: String,
    /// The database it ran on, as it described itself.
    pub database: DatabaseInfo,
    /// The databases of services that have one of their own.
    pub services: BTreeMap<String, DatabaseInfo>,
    /// The Redis that its scripts ran on.
    pub redis: Option<RedisInfo>,
    /// What was asked of it.
    pub config: Config,
    /// The seed of all chance: with the same configuration it gives the same
    /// orders.
    pub random_seed: u64,
    /// When the first order started, in UTC.
    pub started_at: String,
    /// Seconds from the first order's start to the last answer.
    pub elapsed_s: f64,
    /// Whether the run was stopped before its orders were sent.
    pub interrupted: bool,
    /// Why the run ended early, if the server was lost.
    pub lost_server: Option<String>,
    /// Deliveries by outcome; together they are all deliveries.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// All deliveries.
    pub deliveries: u64,
    /// Executions of the program: deliveries and retries.
    pub attempts: u64,
    /// Attempts after an order's first.
    pub retries: u64,
    /// The most attempts that one order took.
    pub attempts_max: u32,
    /// Attempts refused by concurrency control.
    pub conflicts: u64,
    /// Conflicts per attempt.
    pub conflict_rate: f64,
    /// Errors by the database's code.
    pub errors: BTreeMap<String, u64>,
    /// Deadlocks that a database broke, whatever its code for them.
    pub deadlocks: u64,
    /// What these codes mean, and the database's words the first time.
    pub error_notes: BTreeMap<String, String>,
    /// What was really sold.
    pub goodput: Goodput,
    /// Latencies in microseconds.
    pub latency_us: Latencies,
    /// The programs of a mix, one by one; empty where there is only one.
    pub programs: Vec<ProgramReport>,
    /// What the background programs did, by name.
    pub flows: BTreeMap<String, FlowReport>,
    /// What the run cost on the client's side.
    pub client: ClientCost,
    /// The verdict on the data; missing only where it could not be read.
    pub audit: Option<AuditReport>,
    /// Why there is no audit, if there is none.
    pub audit_error: Option<String>,
    /// What the scenario expects of the audit and of the errors.
    pub expectation: Expectation,
    /// The thresholds, and whether they held.
    pub thresholds: Vec<Judged>,
    /// Whether everything held.
    pub passed: bool,
    /// The exit code.
    pub exit_code: u8,
}

/// A Redis, as it described itself.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RedisInfo {
    /// Its version, in its own words.
    pub version: String,
    /// The URL, without its password.
    pub url_redacted: String,
    /// Whether it was started for this run.
    pub private: bool,
}

/// What one program of a mix did.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ProgramReport {
    /// The strategy.
    pub strategy: String,
    /// Its weight in the mix.
    pub weight: u32,
    /// Deliveries by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Attempts that concurrency control refused.
    pub conflicts: u64,
    /// Order latency by outcome, in microseconds.
    pub latency_us: BTreeMap<Outcome, Distribution>,
}

/// What a background program did.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct FlowReport {
    /// Times it found work and did it.
    pub runs: u64,
    /// Attempts that concurrency control refused.
    pub conflicts: u64,
    /// Times it ended in an error.
    pub errors: u64,
    /// Whether it was given up with work left, when the run was over.
    pub unfinished: bool,
}

/// What is expected of a run beyond a sound audit.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Expectation {
    /// The finding that must be made, or `nothing`.
    pub audit: &'static str,
    /// Codes of errors that must be met; orders may end in them.
    pub errors: Vec<String>,
    /// Whether all of these codes were met.
    pub errors_met: bool,
    /// Orders that ended in an error of another code.
    pub unexpected_errors: u64,
    /// Whether the audit and the errors were as expected.
    pub met: bool,
}

/// What was asked of the database.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Config {
    /// Concurrent clients.
    pub concurrency: u64,
    /// Connections they shared.
    pub connections: u64,
    /// Orders to send.
    pub orders: Option<u64>,
    /// Seconds of starting orders.
    pub duration_s: Option<f64>,
    /// SKUs seeded or named by the orders.
    pub skus: u64,
    /// Units of each SKU.
    pub stock: i64,
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
    /// Closed: a client sends its next order when the last is answered.
    pub loop_kind: &'static str,
}

/// What was really sold, per second.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Goodput {
    /// Deducted orders per second.
    pub orders_per_s: f64,
    /// Units of them per second.
    pub units_per_s: f64,
}

/// Latencies in microseconds.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Latencies {
    /// From an order's intended start to its answer, retries and waits
    /// included, by outcome.
    pub order: BTreeMap<Outcome, Distribution>,
    /// One execution of the program, waits for a connection left out.
    pub attempt: Distribution,
    /// The waits for a connection of one delivery.
    pub connection_wait: Distribution,
    /// The waits between attempts, of deliveries that had any.
    pub backoff: Distribution,
}

/// A distribution of microseconds, to three significant digits.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
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
    /// Largest.
    pub max: u64,
    /// Values by size: upper bound of the bucket (doubling) and count.
    pub histogram: Vec<(u64, u64)>,
}

/// What the run cost on the client's side.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct ClientCost {
    /// Microseconds of processor time per delivery.
    pub cpu_us_per_order: f64,
    /// Share of this machine's processors that stockbench used, from 0 to 1.
    pub cpu_share: f64,
    /// The most memory it ever held.
    pub peak_rss_bytes: u64,
    /// Whether the database ran inside this process, and its cost is included.
    pub includes_database: bool,
}

impl Distribution {
    fn of(histogram: &LatencyUs) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        let buckets = histogram.iter_log(1, 2.0).filter(|step| step.count_since_last_iteration() > 0);
        Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: (histogram.mean() * 10.0).round() / 10.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
            histogram: buckets
                .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
                .collect(),
        }
    }
}

fn distributions(by_outcome: &BTreeMap<Outcome, LatencyUs>) -> BTreeMap<Outcome, Distribution> {
    by_outcome.iter().map(|(outcome, latency)| (*outcome, Distribution::of(latency))).collect()
}

/// Whether a code is the expected one, or one of its family: `redis` stands
/// for `redis-io`, too.
fn is_code(code: &str, expected: &str) -> bool {
    code.strip_prefix(expected).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

impl Latencies {
    fn of(figures: &Figures) -> Self {
        Self {
            order: distributions(&figures.order),
            attempt: Distribution::of(&figures.attempt),
            connection_wait: Distribution::of(&figures.connection_wait),
            backoff: Distribution::of(&figures.backoff),
        }
    }
}

/// Measures what the process itself uses between two moments.
#[derive(Debug)]
pub struct CostMeter {
    cpu_at_start: Duration,
}

impl CostMeter {
    /// Starts measuring.
    pub fn start() -> Self {
        Self { cpu_at_start: cpu_time() }
    }

    /// The cost since the start.
    pub fn stop(&self, elapsed: Duration, deliveries: u64, includes_database: bool) -> ClientCost {
        let cpu = cpu_time().saturating_sub(self.cpu_at_start);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let share = cpu.as_secs_f64() / (elapsed.as_secs_f64() * as_f64(processors as u64)).max(1e-9);
        ClientCost {
            cpu_us_per_order: rounded(cpu.as_secs_f64() * 1e6 / as_f64(deliveries.max(1)), 10.0),
            cpu_share: rounded(share.min(1.0), 1e3),
            peak_rss_bytes: peak_rss_bytes(),
            includes_database,
        }
    }
}

fn cpu_time() -> Duration {
    let time = |value: TimeVal| {
        let micros = value.tv_sec().saturating_mul(1_000_000).saturating_add(value.tv_usec());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    getrusage(UsageWho::RUSAGE_SELF)
        .map_or(Duration::ZERO, |usage| time(usage.user_time()) + time(usage.system_time()))
}

/// The most memory that this process ever held.
pub fn peak_rss_bytes() -> u64 {
    // `ru_maxrss` survives exec: a small program started by a large one
    // inherits its peak. Linux keeps this process's own in its status.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    let own_bytes: Option<u64> = own.map(|kib: u64| kib * 1024);
    own_bytes.unwrap_or_else(|| {
        let max = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss());
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        u64::try_from(max).unwrap_or(0) * unit
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

fn rounded(number: f64, scale: f64) -> f64 {
    (number * scale).round() / scale
}

/// What a report is made of.
pub struct Parts<'a> {
    /// The run's number.
    pub run_id: i64,
    /// The strategy that ran.
    pub strategy: String,
    /// The programs of the run and their weights.
    pub members: Vec<(String, u32)>,
    /// The database.
    pub database: DatabaseInfo,
    /// The databases of services that have one of their own.
    pub services: BTreeMap<String, DatabaseInfo>,
    /// The Redis that scripts ran on.
    pub redis: Option<RedisInfo>,
    /// The finding that the scenario expects.
    pub expected: ExpectedFinding,
    /// The codes of errors that it expects.
    pub expected_errors: Vec<String>,
    /// What must hold.
    pub thresholds: &'a [Threshold],
    /// What was asked of it.
    pub config: Config,
    /// The seed of all chance.
    pub random_seed: u64,
    /// When the first order started.
    pub started_at: String,
    /// Whether the run was stopped early.
    pub interrupted: bool,
    /// What the run left behind.
    pub figures: &'a Figures,
    /// How long it took.
    pub elapsed: Duration,
    /// Why it ended early, if the server was lost.
    pub lost_server: Option<String>,
    /// What it cost.
    pub client: ClientCost,
    /// The verdict on the data, or why there is none.
    pub audit: Result<AuditReport>,
}

impl Report {
    /// Puts a report together and checks the identities that hold on every run.
    ///
    /// # Errors
    /// An identity does not hold: that is a bug of stockbench, and says so.
    pub fn new(parts: Parts<'_>) -> Result<Self> {
        let figures = parts.figures;
        let deliveries = figures.deliveries();
        let bug = "a bug of stockbench, please report it";
        ensure!(
            figures.attempts == deliveries - figures.outcome(Outcome::Skipped) + figures.retries,
            "{} attempts are not {deliveries} deliveries and {} retries: {bug}",
            figures.attempts,
            figures.retries
        );
        let measured: u64 = figures.order.values().map(hdrhistogram::Histogram::len).sum();
        ensure!(measured == deliveries, "{measured} latencies of {deliveries} deliveries: {bug}");
        let seconds = parts.elapsed.as_secs_f64().max(1e-9);
        let per_second = |count: u64| rounded(as_f64(count) / seconds, 10.0);
        let (audit, audit_error) = match parts.audit {
            Ok(audit) => (Some(audit), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let programs =
            figures.programs.iter().zip(&parts.members).map(|(program, (strategy, weight))| ProgramReport {
                strategy: strategy.clone(),
                weight: *weight,
                outcomes: program.outcomes.clone(),
                conflicts: program.conflicts,
                latency_us: distributions(&program.order),
            });
        let flow = |flow: &FlowFigures| FlowReport {
            runs: flow.runs,
            conflicts: flow.conflicts,
            errors: flow.errors,
            unfinished: flow.unfinished,
        };
        let is_expected = |code: &str| parts.expected_errors.iter().any(|expected| is_code(code, expected));
        let errors_met = parts
            .expected_errors
            .iter()
            .all(|expected| figures.errors.keys().any(|code| is_code(code, expected)));
        let unexpected = figures.ended_in.iter().filter(|(code, _)| !is_expected(code));
        let unexpected_errors = unexpected.map(|(_, count)| count).sum();
        let audit_met = audit.as_ref().is_some_and(|audit| match parts.expected {
            ExpectedFinding::Nothing => audit.findings.is_empty(),
            ExpectedFinding::Kind(kind) => audit.found(kind),
        });
        let expectation = Expectation {
            audit: parts.expected.as_str(),
            errors: parts.expected_errors.clone(),
            met: audit_met && errors_met,
            errors_met,
            unexpected_errors,
        };
        let deadlocks = figures.errors.iter().filter(|(code, _)| classify::is_deadlock(code));
        let mut report = Self {
            services: parts.services,
            redis: parts.redis,
            deadlocks: deadlocks.map(|(_, error)| error.count).sum(),
            programs: programs.collect(),
            flows: figures.flows.iter().map(|(name, figures)| (name.clone(), flow(figures))).collect(),
            expectation,
            thresholds: Vec::new(),
            schema_version: SCHEMA_VERSION,
            stockbench_version: env!("CARGO_PKG_VERSION").to_owned(),
            run_id: parts.run_id,
            strategy: parts.strategy,
            database: parts.database,
            config: parts.config,
            random_seed: parts.random_seed,
            started_at: parts.started_at,
            elapsed_s: rounded(seconds, 1e3),
            interrupted: parts.interrupted,
            lost_server: parts.lost_server,
            outcomes: figures.outcomes.clone(),
            deliveries,
            attempts: figures.attempts,
            retries: figures.retries,
            attempts_max: figures.attempts_max,
            conflicts: figures.conflicts,
            conflict_rate: rounded(as_f64(figures.conflicts) / as_f64(figures.attempts.max(1)), 1e4),
            errors: figures.errors.iter().map(|(code, error)| (code.clone(), error.count)).collect(),
            error_notes: figures
                .errors
                .iter()
                .map(|(code, error)| (code.clone(), format!("{}: {}", error.class.as_str(), error.message)))
                .collect(),
            goodput: Goodput {
                orders_per_s: per_second(figures.outcome(Outcome::Deducted)),
                units_per_s: per_second(figures.units_deducted),
            },
            latency_us: Latencies::of(figures),
            client: parts.client,
            audit,
            audit_error,
            passed: false,
            exit_code: 0,
        };
        report.thresholds = threshold::judge(parts.thresholds, &report)?;
        let exit = report.exit();
        report.passed = exit == Exit::Held;
        report.exit_code = exit as u8;
        Ok(report)
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        let expects_finding = self.expectation.audit != ExpectedFinding::Nothing.as_str();
        let is_as_expected = self.expectation.met && self.audit.is_some();
        let found = self.audit.as_ref().map_or(Exit::CouldNot, AuditReport::exit);
        let mut exit = match found {
            // What was expected was found, or it was not: both are a verdict,
            // unless the run was cut short.
            Exit::Violation | Exit::Held if expects_finding && is_as_expected => Exit::Held,
            Exit::Held if expects_finding && !self.interrupted => Exit::Violation,
            found => found,
        };
        // Work left undone can hide a violation, not excuse one.
        let is_unfinished = found != Exit::Violation && self.flows.values().any(|flow| flow.unfinished);
        if self.lost_server.is_some() || self.expectation.unexpected_errors > 0 || is_unfinished {
            exit = exit.worst(Exit::CouldNot);
        }
        if !self.expectation.errors_met && !self.interrupted {
            exit = exit.worst(Exit::Violation);
        }
        if self.interrupted {
            exit = exit.worst(Exit::Interrupted);
        }
        if self.thresholds.iter().any(|threshold| !threshold.passed) {
            exit = exit.worst(Exit::Threshold);
        }
        exit
    }

    /// Deliveries that ended this way.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// Serialisation fails, which would be a bug.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The JSON Schema of a report, as kept in the repository.
    ///
    /// # Errors
    /// Serialisation fails, which would be a bug.
    pub fn json_schema() -> Result<String> {
        Ok(serde_json::to_string_pretty(&schemars::schema_for!(Self))? + "\n")
    }
}
