//! What a run found, as data: the one thing that every reporter shows.

use super::Document;
use super::advice;
use super::change::{self, Means};
use super::client::ClientCost;
use super::config::Config;
use super::given_up::{self, GivenUp};
use super::measured::{Distribution, Measured, Phases, distributions, rounded};
use super::merge::Part;
use super::series::{FaultMark, Second};
use super::sold_out::{self, SoldOut};
use super::threshold::{self, Judged, Threshold};
use crate::audit::AuditReport;
use crate::db::{DatabaseInfo, Dialect};
use crate::engine::recorder::{Figures, FlowFigures};
use crate::exit::Exit;
use crate::finding::ExpectedFinding;
use crate::outcome::Outcome;
use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// The version of this shape; a field is never removed or changed without a
/// new one.
pub const SCHEMA_VERSION: u32 = 1;

/// What a run found.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
    /// Whether the run was stopped before its orders were sent.
    pub interrupted: bool,
    /// Why the run ended early, if the server was lost.
    pub lost_server: Option<String>,
    /// The threshold whose miss ended the run early, if one did.
    pub aborted_by: Option<String>,
    /// Why a file that is written while the run goes on is not complete, if it
    /// is not.
    pub incomplete_file: Option<String>,
    /// How long each phase of the run took.
    pub phases: Phases,
    /// The figures of the measured window.
    #[serde(flatten)]
    pub measured: Measured,
    /// The measured window second by second.
    pub series: Vec<Second>,
    /// What happened to servers on purpose, in order.
    pub faults: Vec<FaultMark>,
    /// Why a fault that was asked for did not happen, if one did not.
    pub fault_error: Option<String>,
    /// Where the programs' time went, statement by statement, if the run timed
    /// them.
    pub statements: Vec<StatementReport>,
    /// The programs of a mix, one by one; empty where there is only one.
    pub programs: Vec<ProgramReport>,
    /// What the background programs did, by name.
    pub flows: BTreeMap<String, FlowReport>,
    /// What the run cost on the client's side.
    pub client: ClientCost,
    /// What it counted, if it is a segment of a run: what the whole is put together from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// How many segments it was put together from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<u64>,
    /// The verdict on the data; missing only where it could not be read, and where the
    /// run has segments, which `audit` judges together.
    pub audit: Option<AuditReport>,
    /// Why there is no audit, if there is none.
    pub audit_error: Option<String>,
    /// What the figures suggest, in sentences.
    pub advice: Vec<String>,
    /// What the scenario expects of the audit and of the errors.
    pub expectation: Expectation,
    /// The thresholds, and whether they held.
    pub thresholds: Vec<Judged>,
    /// Whether everything held.
    pub passed: bool,
    /// The exit code.
    pub exit_code: u8,
}

/// One statement of a program, or what opens or ends a transaction.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StatementReport {
    /// The strategy.
    pub strategy: String,
    /// Where it stands in the strategy's file.
    pub place: String,
    /// The SQL that was sent, on one line.
    pub sql: String,
    /// Its share of the time of all statements, from 0 to 1.
    pub share: f64,
    /// From sending it to its whole reply, in microseconds, waits for locks
    /// included.
    pub latency_us: Distribution,
}

/// A Redis, as it described itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RedisInfo {
    /// Its version, in its own words.
    pub version: String,
    /// The URL, without its password.
    pub url_redacted: String,
    /// Whether it was started for this run.
    pub private: bool,
}

/// What one program of a mix did.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Expectation {
    /// The finding that must be made, or `nothing`.
    pub audit: Cow<'static, str>,
    /// Codes of errors that must be met; orders may end in them.
    pub errors: Vec<String>,
    /// Whether all of these codes were met.
    pub errors_met: bool,
    /// Orders that ended in an error of another code.
    pub unexpected_errors: u64,
    /// Whether the audit and the errors were as expected.
    pub met: bool,
}

/// Whether a code is the expected one, or one of its family: `redis` stands
/// for `redis-io`, too.
fn is_code(code: &str, expected: &str) -> bool {
    code.strip_prefix(expected).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
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
    /// How long its phases took.
    pub phases: Phases,
    /// The threshold whose miss ended it early, if one did.
    pub aborted_by: Option<Judged>,
    /// Why a file that was written meanwhile is not complete, if it is not.
    pub incomplete_file: Option<String>,
    /// It second by second.
    pub series: Vec<Second>,
    /// What happened to servers on purpose.
    pub faults: Vec<FaultMark>,
    /// Why a fault that was asked for did not happen, if one did not.
    pub fault_error: Option<String>,
    /// Its statements, if they were timed.
    pub statements: Vec<StatementReport>,
    /// Why it ended early, if the server was lost.
    pub lost_server: Option<String>,
    /// Where to look for the cause of what the audit found.
    pub hint: Option<String>,
    /// What it cost.
    pub client: ClientCost,
    /// The verdict on the data, or why there is none; `None` where segments are judged
    /// together.
    pub audit: Option<Result<AuditReport>>,
    /// What it counted, if it is a segment.
    pub part: Option<Part>,
    /// How many segments it is put together from.
    pub segments: Option<u64>,
}

impl Document for Report {}

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
        let (audit, audit_error) = match parts.audit {
            Some(Ok(audit)) => (Some(audit), None),
            Some(Err(error)) => (None, Some(format!("{error:#}"))),
            None => (None, None),
        };
        let programs =
            figures.programs.iter().zip(&parts.members).map(|(program, (strategy, weight))| ProgramReport {
                strategy: strategy.clone(),
                weight: *weight,
                outcomes: program.outcomes.clone(),
                conflicts: program.conflicts,
                latency_us: distributions(&program.order, Distribution::of),
            });
        let flow = |flow: &FlowFigures| FlowReport {
            runs: flow.runs,
            conflicts: flow.conflicts,
            errors: flow.errors,
            unfinished: flow.unfinished,
        };
        let is_expected = |code: &str| parts.expected_errors.iter().any(|expected| is_code(code, expected));
        // What must be met, the segments of a run meet together.
        let errors_met = parts.part.is_some()
            || parts
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
            audit: parts.expected.as_str().into(),
            errors: parts.expected_errors.clone(),
            met: (audit_met || parts.part.is_some() || parts.segments.is_some()) && errors_met,
            errors_met,
            unexpected_errors,
        };
        let measured = Measured::finally(figures, parts.elapsed);
        let mut advice =
            advice::of(&measured, &parts.phases, &parts.config, &parts.client, parts.database.kind);
        let given_up = GivenUp::of(&measured, audit.as_ref());
        // A retry that never reads again is a finding, which says what helps.
        let is_in_vain = figures.futile_orders > 0;
        let given_up = given_up.filter(|given_up| !given_up.sold_out_anyway() && !is_in_vain);
        advice.extend(given_up.map(|_| given_up::advice(&parts.config)));
        advice.extend(parts.hint);
        let mut report = Self {
            services: parts.services,
            redis: parts.redis,
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
            interrupted: parts.interrupted,
            lost_server: parts.lost_server,
            incomplete_file: parts.incomplete_file,
            aborted_by: parts.aborted_by.as_ref().map(|judged| judged.expr.clone()),
            phases: parts.phases,
            advice,
            measured,
            series: parts.series,
            faults: parts.faults,
            fault_error: parts.fault_error,
            statements: parts.statements,
            client: parts.client,
            part: parts.part,
            segments: parts.segments,
            audit,
            audit_error,
            passed: false,
            exit_code: 0,
        };
        report.thresholds = threshold::judge(parts.thresholds, &report)?;
        // What ended the run stays missed, whatever the end says.
        if let Some(breach) = parts.aborted_by {
            report.thresholds.retain(|judged| judged.expr != breach.expr);
            report.thresholds.push(breach);
        }
        report.settle();
        Ok(report)
    }

    /// Holds it against what it was before: a figure that is worse by more than noise
    /// is a threshold that was missed. What cannot be told is no miss, and is said.
    ///
    /// # Errors
    /// The loads differ.
    pub fn hold_against(&mut self, baseline: &Self, noise_pct: u8) -> Result<()> {
        self.advice.extend(change::caveats(baseline, self, noise_pct));
        for change in change::between(baseline, self, noise_pct)? {
            if matches!(change.means, Means::TooShort | Means::Drift) {
                let figure = change.figure;
                self.advice.push(format!("{figure}, against the baseline: {}", change.means.as_str()));
                continue;
            }
            self.thresholds.push(Judged {
                expr: format!("{} no worse than the baseline by more than {noise_pct} %", change.figure),
                value: Some(rounded(change.ratio, 1e3)),
                in_microseconds: false,
                passed: change.means != Means::Worse,
            });
        }
        self.settle();
        Ok(())
    }

    /// The orders that it gave up.
    pub(super) fn given_up(&self) -> Option<GivenUp> {
        GivenUp::of(&self.measured, self.audit.as_ref())
    }

    /// When its stock was sold out, in words; nothing where no order was refused for it.
    pub(super) fn sold_out(&self) -> Option<String> {
        let sold_out = SoldOut::of(&self.measured, self.audit.as_ref())?;
        Some(sold_out.figures(self.measured.elapsed_s))
    }

    /// How much was seeded, where that was chosen so as not to run out.
    pub(super) fn seeded_to_last(&self) -> Option<String> {
        let has_stock = self.database.kind != Dialect::Null;
        (self.config.stock_lasts && has_stock).then(|| sold_out::seeded_to_last(&self.config, &self.measured))
    }

    /// Says how it ends.
    fn settle(&mut self) {
        let exit = self.exit();
        self.passed = exit == Exit::Held;
        self.exit_code = exit as u8;
    }

    /// Whether its stock is judged together with that of others, by `audit`.
    pub const fn is_audited_elsewhere(&self) -> bool {
        self.part.is_some() || self.segments.is_some()
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        let expects_finding =
            self.expectation.audit != ExpectedFinding::Nothing.as_str() && !self.is_audited_elsewhere();
        let is_as_expected = self.expectation.met && self.audit.is_some();
        // Where nothing is kept, nothing can be found: the figures are the result.
        let measures_itself = self.database.kind == Dialect::Null && self.measured.deliveries > 0;
        let has_done_its_part =
            self.part.is_some() || self.segments.is_some() && self.measured.deliveries > 0;
        let unaudited = if measures_itself || has_done_its_part { Exit::Held } else { Exit::CouldNot };
        let found = self.audit.as_ref().map_or(unaudited, AuditReport::exit);
        let mut exit = match found {
            // What was expected was found, or it was not: both are a verdict,
            // unless the run was cut short.
            Exit::Violation | Exit::Held if expects_finding && is_as_expected => Exit::Held,
            Exit::Held if expects_finding && !self.interrupted => Exit::Violation,
            found => found,
        };
        // Work left undone can hide a violation, not excuse one.
        let is_unfinished = found != Exit::Violation && self.flows.values().any(|flow| flow.unfinished);
        let is_unfinished = is_unfinished || self.incomplete_file.is_some() || self.fault_error.is_some();
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
}
