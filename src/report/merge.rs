//! The segments of one run put together, exactly: counts and histograms are added, and
//! every figure is worked out anew from them.

use super::change::differences;
use super::client::ClientCost;
use super::measured::{Distribution, Phases, as_f64, rounded};
use super::model::{Parts, Report};
use super::series::{self, Second};
use super::statements::StatementNames;
use super::threshold::Threshold;
use crate::engine::kept;
use crate::engine::recorder::{Figures, latency_histogram};
use crate::text;
use crate::workload::Segment;
use anyhow::{Context, Result, anyhow, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// What a segment of a run counted, for the whole to be put together from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// When the run was entered, in milliseconds since 1970: runs of other databases have
    /// the same number.
    pub run_started_ms: i64,
    /// Everything it counted: for `report --merge` to read, in whatever shape that likes.
    #[schemars(with = "serde_json::Value")]
    pub figures: Figures,
    /// Microseconds from the start of its measured window to its last answer.
    pub elapsed_us: u64,
    /// What must hold of the whole.
    pub thresholds: Vec<String>,
}

/// What segments of one run may differ in: which part they are, and their share of the
/// connections.
pub const OF_THE_PROCESS: [&str; 2] = ["segment", "connections"];

/// More than any run counts: what is above it was not counted.
const COUNT_MAX: u64 = 1 << 52;

/// Puts the segments of one run together; each has the name that errors call it by.
///
/// # Errors
/// One is missing, or they are not of one run.
pub fn together(mut reports: Vec<(String, Report)>) -> Result<Report> {
    let mut segments = Vec::new();
    for (name, report) in &reports {
        let segment = report.config.segment.filter(|segment| report.part.is_some() && segment.is_one());
        segments.push(segment.with_context(|| format!("{name} is no segment of a run"))?);
        check_counts(&serde_json::to_value(report)?).with_context(|| name.clone())?;
    }
    reports.sort_by_key(|(_, report)| report.config.segment.map(|segment| segment.number));
    let ((first_name, first), others) = reports.split_first().context("no segment is named")?;
    for (name, other) in others {
        if let Some(differing) = difference(first, other)? {
            bail!("{first_name} and {name} are not of one run: {differing}");
        }
    }
    let of = segments[0].of;
    for number in 1..=of {
        match segments.iter().filter(|segment| segment.number == number).count() {
            0 => bail!("segment {number}/{of} is missing: all segments of the run are needed"),
            1 => {}
            _ => bail!("segment {number}/{of} is named twice"),
        }
    }

    let began: Result<Vec<SystemTime>> =
        reports.iter().map(|(name, report)| began(report).with_context(|| name.clone())).collect();
    let began = began?;
    let reports: Vec<&Report> = reports.iter().map(|(_, report)| report).collect();
    let (first, parts) = (reports[0], reports.iter().filter_map(|report| report.part.as_ref()));
    let mut figures = Figures::new(first.programs.len());
    parts.clone().for_each(|part| figures.merge(part.figures.clone()));
    let mut config = first.config.clone();
    config.segment = None;
    config.connections = reports.iter().map(|report| report.config.connections).sum();
    let mut faults: Vec<_> = reports.iter().flat_map(|report| report.faults.clone()).collect();
    faults.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
    let first_began = began.iter().min().copied().context("no segment is named")?;
    let offsets =
        began.iter().map(|began| began.duration_since(first_began).unwrap_or_default().as_secs_f64());
    let series = reports.iter().map(|report| &report.series[..]);
    let mut series = series::together(&offsets.zip(series).collect::<Vec<_>>())?;
    Second::mark(&mut series, &faults);
    let thresholds = parts.clone().next().map_or(&[][..], |part| &part.thresholds);
    let thresholds: Result<Vec<Threshold>, String> = thresholds.iter().map(|text| text.parse()).collect();
    let first_of = |of: fn(&Report) -> Option<&String>| reports.iter().find_map(|report| of(report)).cloned();
    Report::new(Parts {
        run_id: first.run_id,
        strategy: first.strategy.clone(),
        members: first.programs.iter().map(|program| (program.strategy.clone(), program.weight)).collect(),
        database: first.database.clone(),
        services: first.services.clone(),
        redis: first.redis.clone(),
        expected: serde_json::from_value(first.expectation.audit.clone().into())?,
        expected_errors: first.expectation.errors.clone(),
        thresholds: &thresholds.map_err(|error| anyhow!(error))?,
        config,
        random_seed: first.random_seed,
        started_at: reports.iter().map(|report| report.started_at.clone()).min().unwrap_or_default(),
        interrupted: reports.iter().any(|report| report.interrupted),
        elapsed: elapsed(&reports, &began, first_began)?,
        phases: phases(&reports),
        aborted_by: None,
        incomplete_file: first_of(|report| report.incomplete_file.as_ref()),
        series,
        faults,
        fault_error: first_of(|report| report.fault_error.as_ref()),
        statements: statements(&reports, &figures),
        lost_server: first_of(|report| report.lost_server.as_ref()),
        hint: futile(&figures),
        client: client(&reports)?,
        audit: None,
        part: None,
        segments: Some(of),
        figures: &figures,
    })
    .context("the figures of the segments do not add up")
}

/// The first thing that two segments of one run cannot differ in.
fn difference(first: &Report, other: &Report) -> Result<Option<String>> {
    let of = |report: &Report| report.config.segment.map(|segment: Segment| segment.of);
    let part = |of: fn(&Part) -> Vec<String>| (first.part.as_ref().map(of), other.part.as_ref().map(of));
    let (thresholds, entered) =
        (part(|part| part.thresholds.clone()), part(|part| vec![part.run_started_ms.to_string()]));
    let differing = [
        (first.stockbench_version != other.stockbench_version, "the version of stockbench"),
        (first.run_id != other.run_id || first.random_seed != other.random_seed, "the run"),
        (first.strategy != other.strategy, "the strategy"),
        (of(first) != of(other), "the number of segments"),
        (first.database.kind != other.database.kind, "the database"),
        (first.database.version != other.database.version, "the database's version"),
        (first.database.isolation != other.database.isolation, "the isolation level"),
        (thresholds.0 != thresholds.1, "the thresholds"),
        (entered.0 != entered.1, "when the run was entered"),
    ];
    if let Some((_, differing)) = differing.into_iter().find(|(differs, _)| *differs) {
        return Ok(Some(differing.to_owned()));
    }
    Ok(differences(&first.config, &other.config, &OF_THE_PROCESS)?.into_iter().next())
}

/// Nothing is added up that no run can have counted.
fn check_counts(value: &Value) -> Result<()> {
    match value {
        Value::Number(number) => {
            ensure!(number.as_u64().is_none_or(|count| count <= COUNT_MAX), "{number} is no count of a run");
            Ok(())
        }
        Value::Array(values) => values.iter().try_for_each(check_counts),
        Value::Object(fields) => fields.values().try_for_each(check_counts),
        _ => Ok(()),
    }
}

/// When its measured window began.
fn began(report: &Report) -> Result<SystemTime> {
    humantime::parse_rfc3339(&report.started_at)
        .with_context(|| format!("`{}` is no moment", report.started_at))
}

/// From when the first of them began to when the last of them had its last answer.
fn elapsed(reports: &[&Report], began: &[SystemTime], first: SystemTime) -> Result<Duration> {
    let mut last = first;
    for (report, began) in reports.iter().zip(began) {
        let lasted = report.part.as_ref().map_or(0, |part| part.elapsed_us);
        let ended = began.checked_add(Duration::from_micros(lasted)).context("a moment beyond all time")?;
        last = last.max(ended);
    }
    Ok(last.duration_since(first)?)
}

/// What only the counts tell: orders that were refused in vain.
fn futile(figures: &Figures) -> Option<String> {
    (figures.futile_orders > 0).then(|| {
        format!(
            "{} ended as conflict though each retry repeated the very values that had just been refused (futile_retry)",
            text::count(figures.futile_orders, "order")
        )
    })
}

/// The longest of each, since they go on beside each other.
fn phases(reports: &[&Report]) -> Phases {
    let longest =
        |of: fn(&Phases) -> f64| reports.iter().map(|report| of(&report.phases)).fold(0.0, f64::max);
    Phases {
        setup_s: longest(|phases| phases.setup_s),
        warmup_s: longest(|phases| phases.warmup_s),
        measure_s: longest(|phases| phases.measure_s),
        drain_s: longest(|phases| phases.drain_s),
    }
}

fn statements(reports: &[&Report], figures: &Figures) -> Vec<super::model::StatementReport> {
    let mut names = StatementNames::default();
    for report in reports {
        let keys = report.part.iter().flat_map(|part| part.figures.statements.keys());
        names.read_back(keys, &report.statements);
    }
    names.report(&figures.statements)
}

/// What it cost on all machines: per order, and the most of any of them.
fn client(reports: &[&Report]) -> Result<ClientCost> {
    let mut delay = latency_histogram();
    for report in reports {
        if let Some(hdr) = &report.client.scheduling_delay_us.hdr {
            delay.add(kept::latency_from(hdr)?)?;
        }
    }
    let deliveries: u64 = reports.iter().map(|report| report.measured.deliveries).sum();
    let cpu_us: f64 = reports
        .iter()
        .map(|report| report.client.cpu_us_per_order * as_f64(report.measured.deliveries))
        .sum();
    Ok(ClientCost {
        cpu_us_per_order: rounded(cpu_us / as_f64(deliveries.max(1)), 100.0),
        cpu_share: reports.iter().map(|report| report.client.cpu_share).fold(0.0, f64::max),
        peak_rss_bytes: reports.iter().map(|report| report.client.peak_rss_bytes).max().unwrap_or(0),
        scheduling_delay_us: Distribution::whole(&delay),
        includes_database: reports.iter().any(|report| report.client.includes_database),
    })
}
