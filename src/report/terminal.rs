//! The report for people.

use super::grid::Grid;
use super::measured::Distribution;
use super::model::{RedisInfo, Report};
use super::series::FaultMark;
use crate::audit::{AuditReport, ClientWitness, Finding, FindingKind};
use crate::db::{DatabaseInfo, Dialect, Pooler};
use crate::exit::Exit;
use crate::fault::Blow;
use crate::finding::ExpectedFinding;
use crate::outcome::Outcome;
use crate::text;
use crate::workload::Segment;
use std::io::{self, Write};

/// Findings shown on the terminal; all of them are in the JSON.
const FINDINGS_SHOWN: usize = 12;

/// Columns of the longest bar.
const BAR: u64 = 40;

/// Which database this is: the first line of every command's output.
pub fn database_line(info: &DatabaseInfo) -> String {
    let (title, durable) = (info.kind.title(), info.durability());
    let name = info.relative.as_deref().unwrap_or(title);
    let relative = info.relative.as_ref().map_or_else(String::new, |_| {
        format!(
            " (it speaks {title}: nothing here was tested on it, its errors are classified from its documentation)"
        )
    });
    let tls = info.tls.as_ref().map_or_else(String::new, |tls| format!(", {tls}"));
    let pooler = match info.pooler {
        Some(Pooler { prepares: true }) => ", behind a pooler that keeps prepared statements apart",
        Some(Pooler { prepares: false }) => ", behind a pooler",
        None => "",
    };
    let default =
        if info.embedded_default { " (the embedded default: no database URL was given)" } else { "" };
    format!(
        "{name} {}{relative} at {}{pooler}, isolation {}, {durable}{tls}{default}",
        info.version, info.url_redacted, info.isolation
    )
}

/// Which Redis this is.
pub fn redis_line(redis: &RedisInfo) -> String {
    let private = if redis.private { " (started for this run: no --redis-url was given)" } else { "" };
    format!("Redis {} at {}{private}", redis.version, redis.url_redacted)
}

/// Writes a run's report.
///
/// # Errors
/// The writer fails.
pub fn run(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    writeln!(out)?;
    outcomes(out, report)?;
    programs(out, report)?;
    throughput(out, report)?;
    let settings: Vec<String> =
        report.database.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !settings.is_empty() {
        writeln!(out, "settings   {}", settings.join(" "))?;
    }
    latencies(out, report)?;
    errors(out, report)?;
    faults(out, report)?;
    match (&report.audit, &report.audit_error) {
        (Some(verdict), _) => audit(out, verdict)?,
        (None, _) if report.database.kind == Dialect::Null || report.is_audited_elsewhere() => {}
        (None, error) => {
            writeln!(out)?;
            writeln!(out, "audit: could not be made: {}", error.as_deref().unwrap_or("unknown"))?;
        }
    }
    client(out, report)?;
    thresholds(out, report)?;
    writeln!(out)?;
    verdict(report).iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// The programs of a mix, and what ran in the background.
fn programs(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    if !report.programs.is_empty() {
        let mut table = table(&["program", "outcome", "orders", "p50", "p99", "max"]);
        for program in &report.programs {
            let mut name = format!("{}@{}", program.strategy, program.weight);
            for (outcome, count) in &program.outcomes {
                let latency = program.latency_us.get(outcome).cloned().unwrap_or_default();
                let mut row =
                    vec![std::mem::take(&mut name), outcome.as_str().to_owned(), text::thousands(*count)];
                row.extend([latency.p50, latency.p99, latency.max].map(text::micros));
                table.add_row(row);
            }
        }
        table.write(out)?;
    }
    for (name, flow) in &report.flows {
        let (runs, conflicts) = (text::count(flow.runs, "time"), text::count(flow.conflicts, "conflict"));
        writeln!(
            out,
            "background {name}: did its work {runs}, {conflicts}, {}",
            text::count(flow.errors, "error")
        )?;
    }
    Ok(())
}

fn thresholds(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    for threshold in &report.thresholds {
        let word = if threshold.passed { "held" } else { "MISSED" };
        writeln!(out, "threshold  {}: {word} ({})", threshold.expr, threshold.shown())?;
    }
    Ok(())
}

/// What was found, and whose doing it is.
fn violation(report: &Report) -> String {
    let kinds: Vec<FindingKind> =
        report.audit.iter().flat_map(|audit| audit.findings_by_kind.keys().copied()).collect();
    let is_of_others = !kinds.iter().any(|kind| kind.is_of_a_strategy(report.database.durable));
    match &kinds[..] {
        [FindingKind::SoldAgain] => {
            "VIOLATION: clients that ordered again under a new id were sold to twice".to_owned()
        }
        [FindingKind::LostSale] | [FindingKind::LostSale, FindingKind::SoldAgain] if is_of_others => {
            "VIOLATION: sales were lost after they had been acknowledged: commits are not durable".to_owned()
        }
        _ => {
            let engines = report.audit.iter().flat_map(|audit| &audit.without_transactions);
            let engines: Vec<&str> = engines.map(String::as_str).collect();
            if engines.is_empty() {
                return format!("VIOLATION: {} does not keep its stock", report.strategy);
            }
            format!(
                "VIOLATION: {} does not keep its stock in tables without transactions: {}",
                report.strategy,
                engines.join(", ")
            )
        }
    }
}

/// What happened to servers and transactions on purpose, and how soon orders went on.
fn faults(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let mut kinds: Vec<&str> = report.faults.iter().map(|mark| mark.fault.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for kind in kinds {
        let marks: Vec<&FaultMark> = report.faults.iter().filter(|mark| mark.fault == kind).collect();
        let mut recovered: Vec<f64> = marks.iter().filter_map(|mark| mark.recovered_s).collect();
        recovered.sort_by(f64::total_cmp);
        let after = match recovered.as_slice() {
            // One session of many is not missed.
            [] if kind == Blow::EndSession.as_str() => String::new(),
            [] => ", no order succeeded after it".to_owned(),
            [one] => format!(", an order succeeded again {one:.2} s after it"),
            [.., most] => {
                format!(
                    ", an order succeeded again {:.2} s after it (median; {most:.2} s at most)",
                    recovered[recovered.len() / 2]
                )
            }
        };
        writeln!(out, "fault      {kind}: {}{after}", text::count(marks.len() as u64, "time"))?;
    }
    for (fault, count) in &report.measured.struck {
        writeln!(out, "fault      {fault}: befell {}", text::count(*count, "transaction"))?;
    }
    for asked in report.config.faults.iter().filter(|asked| *asked != "none") {
        let word = asked.split('@').next().unwrap_or_default();
        let has_struck =
            report.measured.struck.contains_key(word) || report.faults.iter().any(|mark| mark.fault == word);
        if !has_struck {
            writeln!(out, "fault      {asked}: did not strike")?;
        }
    }
    report.fault_error.iter().try_for_each(|error| writeln!(out, "fault      {error}"))
}

fn table(head: &[&str]) -> Grid {
    Grid::new(head).figures(1..head.len())
}

fn outcomes(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let mut table = table(&["outcome", "orders", "p50", "p90", "p99", "p99.9", "p99.99", "max"]);
    for outcome in Outcome::ALL {
        if let Some(latency) = report.measured.latency_us.order.get(&outcome) {
            let mut row = vec![outcome.as_str().to_owned(), text::thousands(report.measured.count(outcome))];
            row.extend(percentiles(latency));
            table.add_row(row);
        }
    }
    table.write(out)
}

fn percentiles(latency: &Distribution) -> [String; 6] {
    [latency.p50, latency.p90, latency.p99, latency.p999, latency.p9999, latency.max].map(text::micros)
}

fn throughput(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let is_void = report.audit.as_ref().is_some_and(|audit| !audit.findings.is_empty());
    let void = if is_void { ", of no worth: the audit failed" } else { "" };
    let (config, phases) = (&report.config, &report.phases);
    writeln!(
        out,
        "goodput    {} orders/s, {} units/s over {:.2} s{void}",
        tenths(report.measured.goodput.orders_per_s),
        tenths(report.measured.goodput.units_per_s),
        report.measured.elapsed_s,
    )?;
    if let Some(given_up) = report.given_up() {
        writeln!(out, "given up   {}", given_up.figures())?;
    }
    if let Some(sold_out) = report.sold_out() {
        writeln!(out, "sold out   {sold_out}")?;
    }
    if let Some(seeded) = report.seeded_to_last() {
        writeln!(out, "stock      {seeded}")?;
    }
    let spacing = config.arrivals.unwrap_or_default().as_str();
    let pace = match config.rate_per_s {
        Some(rate) => format!("open loop: {rate} orders/s, {spacing} arrivals"),
        None => "closed loop: each client sends its next order when the last is answered".to_owned(),
    };
    let staged = if config.profile.len() > 2 { ", in stages" } else { "" };
    writeln!(
        out,
        "load       {pace}{staged} ({}, {}{})",
        text::count(config.segment.unwrap_or(Segment::WHOLE).share(config.concurrency), "client"),
        text::count(config.connections, "connection"),
        config.segment.map_or_else(String::new, |segment| format!(", segment {segment}")),
    )?;
    writeln!(
        out,
        "phases     setup {:.2} s, warm-up {:.2} s, measured {:.2} s, drained in {:.2} s",
        phases.setup_s, phases.warmup_s, phases.measure_s, phases.drain_s
    )?;
    if config.rate_per_s.is_some() || config.latency_limit_us.is_some() {
        late(out, report)?;
    }
    writeln!(
        out,
        "attempts   {}: {} and {} (at most {} for one order)",
        text::thousands(report.measured.attempts),
        text::count(report.measured.deliveries - report.measured.count(Outcome::Skipped), delivered(report)),
        text::count(report.measured.retries, "retry"),
        report.measured.attempts_max,
    )?;
    writeln!(
        out,
        "conflicts  {} ({:.1} % of attempts)",
        text::thousands(report.measured.conflicts),
        report.measured.conflict_rate * 100.0
    )
}

/// What came too late, and what was too late to start.
fn late(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let limit = report.config.latency_limit_us;
    let answered = limit.map_or_else(
        || "no --latency-limit".to_owned(),
        |limit| {
            let late = text::thousands(report.measured.late);
            format!("{late} answered later than {}", text::micros(limit))
        },
    );
    let skipped = text::thousands(report.measured.count(Outcome::Skipped));
    let lag = &report.measured.latency_us.schedule_lag;
    writeln!(
        out,
        "late       {answered}; {skipped} skipped: too late to start, or still waiting when the time was over; \
         started late by {} (p50), {} (p99)",
        text::micros(lag.p50),
        text::micros(lag.p99)
    )
}

/// `1,234.5`
pub(super) fn tenths(number: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate, not negative, shown to a tenth"
    )]
    let tenths = (number * 10.0).round() as u64;
    format!("{}.{}", text::thousands(tenths / 10), tenths % 10)
}

fn latencies(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let mut table = table(&["latency", "count", "p50", "p90", "p99", "p99.9", "p99.99", "max"]);
    let latency = &report.measured.latency_us;
    let rows = [
        ("start (schedule lag)", &latency.schedule_lag),
        ("attempt", &latency.attempt),
        ("attempt, refused", &latency.attempt_refused),
        ("wait for a connection", &latency.connection_wait),
        ("backoff", &latency.backoff),
    ];
    for (name, distribution) in rows.into_iter().filter(|(_, distribution)| distribution.count > 0) {
        let mut row = vec![name.to_owned(), text::thousands(distribution.count)];
        row.extend(percentiles(distribution));
        table.add_row(row);
    }
    writeln!(out)?;
    table.write(out)?;
    uncorrected(out, report)?;
    statements(out, report)?;
    let Some(deducted) = latency.order.get(&Outcome::Deducted) else { return Ok(()) };
    let highest = deducted.histogram.iter().map(|(_, count)| *count).max().unwrap_or(1);
    writeln!(out, "\norder latency, deducted")?;
    for (up_to, count) in &deducted.histogram {
        let bar = "█".repeat(usize::try_from((count * BAR).div_ceil(highest)).unwrap_or(0));
        writeln!(out, "  {:>10}  {bar} {}", format!("≤ {}", text::micros(*up_to)), text::thousands(*count))?;
    }
    Ok(())
}

/// In an open loop: what a clock that starts with the sending would have said.
fn uncorrected(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let latency = &report.measured.latency_us;
    let both =
        |outcome: Outcome| Some((latency.order.get(&outcome)?, latency.order_uncorrected.get(&outcome)?));
    let Some((corrected, uncorrected)) = both(Outcome::Deducted) else { return Ok(()) };
    let mut table = table(&["deducted, counted", "p50", "p90", "p99", "p99.9", "p99.99", "max"]);
    for (name, distribution) in
        [("from the intended start", corrected), ("from the real start (uncorrected)", uncorrected)]
    {
        let mut row = vec![name.to_owned()];
        row.extend(percentiles(distribution));
        table.add_row(row);
    }
    writeln!(out)?;
    table.write(out)
}

/// Columns of a statement's text.
const SQL_SHOWN: usize = 48;

fn statements(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    if report.statements.is_empty() {
        return Ok(());
    }
    let mut table = table(&["statement", "count", "time", "p50", "p99", "max"]);
    for statement in &report.statements {
        let sql: String = statement.sql.chars().take(SQL_SHOWN).collect();
        let cut = if sql.len() < statement.sql.len() { "…" } else { "" };
        let latency = &statement.latency_us;
        let share = format!("{:.1} %", statement.share * 100.0);
        let mut row = vec![format!("{}: {sql}{cut}", statement.place), text::thousands(latency.count), share];
        row.extend([latency.p50, latency.p99, latency.max].map(text::micros));
        table.add_row(row);
    }
    writeln!(out)?;
    table.write(out)
}

fn errors(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    if report.measured.errors.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nerrors, by the database's code")?;
    for (code, count) in &report.measured.errors {
        let note = report.measured.error_notes.get(code).map_or("", String::as_str);
        writeln!(out, "  {code:>7}  {:>9}  {note}", text::thousands(*count))?;
    }
    Ok(())
}

/// The verdict where nothing is wrong in what was seen, and not all was.
pub(super) const NOT_ALL_SEEN: &str = "could not judge, not all was seen";

/// Writes an audit's verdict.
///
/// # Errors
/// The writer fails.
pub fn audit(out: &mut dyn Write, audit: &AuditReport) -> io::Result<()> {
    let word = match (audit.passed, audit.judged) {
        (true, _) => "passed",
        (false, false) if audit.findings.is_empty() => "nothing to judge",
        (false, true) if audit.findings.is_empty() && !audit.not_seen.is_empty() => NOT_ALL_SEEN,
        (false, true) if audit.findings.is_empty() => "could not be completed",
        (false, _) => "FAILED",
    };
    writeln!(out)?;
    writeln!(
        out,
        "audit: {word} ({}, {}, {})",
        text::count(audit.skus, "SKU"),
        text::count(audit.entries, "entry"),
        text::count(audit.orders, "order"),
    )?;
    writeln!(out, "  {}", audit.explain())?;
    match audit.client_witness {
        ClientWitness::Complete => {}
        ClientWitness::CutShort => {
            writeln!(
                out,
                "  the history file ends before its run did: entries it does not know of are not judged"
            )?;
        }
        ClientWitness::Missing => {
            writeln!(
                out,
                "  missing witness: what the clients were told (keep it with `run --history FILE`, \
                 then `audit --history FILE`)"
            )?;
        }
    }
    if audit.refusals_not_judged > 0 {
        writeln!(
            out,
            "  {} not judged: the ledger's balances do not tell the least that was there",
            text::count(audit.refusals_not_judged, "refusal")
        )?;
    }
    if audit.skus_not_decided > 0 {
        writeln!(
            out,
            "  {} not decided: the search for an order of events that explains their answers was given up",
            text::count(audit.skus_not_decided, "SKU")
        )?;
    }
    for node in &audit.nodes_away {
        writeln!(out, "  node {node} was not compared: whether it agrees is not known")?;
    }
    scope(out, &audit.not_seen, &audit.caveats, &audit.without_transactions)?;
    let [lost, duplicated, unexpected] =
        [audit.lost_orders, audit.duplicated_orders, audit.unexpected_orders].map(text::thousands);
    let (recovered, not_applied) = (audit.unknown_recovered, audit.unknown_not_applied);
    if recovered + not_applied + audit.lost_orders + audit.duplicated_orders + audit.unexpected_orders > 0 {
        let (recovered, not_applied) = (text::thousands(recovered), text::thousands(not_applied));
        writeln!(
            out,
            "  acknowledged and lost {lost}, duplicated {duplicated}, unexpected {unexpected}; \
             lost answers: {recovered} recovered (applied), {not_applied} not applied"
        )?;
    }
    for (what, count) in [
        ("oversold units", audit.oversold_units),
        ("lost-update units", audit.lost_update_units),
        ("missing-entry units", audit.missing_entry_units),
        ("undersold orders", audit.undersold_orders),
    ] {
        if count > 0 {
            writeln!(out, "  {what}: {}", text::thousands(count))?;
        }
    }
    findings(out, audit)
}

/// Writes what an audit could not see, and what has to be known about the rest.
pub(super) fn scope(
    out: &mut dyn Write,
    not_seen: &[String],
    caveats: &[String],
    without_transactions: &[String],
) -> io::Result<()> {
    for what in not_seen {
        writeln!(out, "  not seen: {what}")?;
    }
    for table in without_transactions {
        writeln!(out, "  {}", no_transactions(table))?;
    }
    for caveat in caveats {
        writeln!(out, "  note: {caveat}")?;
    }
    Ok(())
}

/// What is said of a table whose engine has no transactions.
pub fn no_transactions(table: &str) -> String {
    format!("no transactions: {table}: nothing is isolated or rolled back there, and no snapshot holds it")
}

fn findings(out: &mut dyn Write, audit: &AuditReport) -> io::Result<()> {
    for finding in audit.findings.iter().take(FINDINGS_SHOWN) {
        writeln!(out, "  ✗ {}: {}{}", finding.kind.as_str(), finding.message, sample(finding))?;
    }
    let more = audit.findings_total.saturating_sub(FINDINGS_SHOWN as u64);
    if more > 0 {
        writeln!(out, "  … and {} more: see the JSON (-o json)", text::count(more, "finding"))?;
    }
    Ok(())
}

fn sample(finding: &Finding) -> String {
    if finding.order_ids.is_empty() || finding.kind == FindingKind::BalanceChain {
        return String::new();
    }
    let shown: Vec<String> = finding.order_ids.iter().map(ToString::to_string).collect();
    let more = if finding.orders > finding.order_ids.len() as u64 { ", …" } else { "" };
    format!(" (orders {}{more})", shown.join(", "))
}

fn client(out: &mut dyn Write, report: &Report) -> io::Result<()> {
    let client = &report.client;
    let includes = if client.includes_database { ", SQLite's own work included" } else { "" };
    writeln!(out)?;
    writeln!(
        out,
        "client     {:.1} µs of CPU per order, {:.0} % of this machine, {} MB at its peak{includes}; a ready \
         task waited {} (p50), {} (p99)",
        client.cpu_us_per_order,
        client.cpu_share * 100.0,
        client.peak_rss_bytes / 1_000_000,
        text::micros(client.scheduling_delay_us.p50),
        text::micros(client.scheduling_delay_us.p99),
    )?;
    for advice in &report.advice {
        writeln!(out, "note       {advice}")?;
    }
    writeln!(out, "repeat     --random-seed {}", report.random_seed)
}

/// What came of the run: what was expected of it, and the verdict last.
pub(crate) fn verdict(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let expected = &report.expectation;
    if expected.audit != "nothing" || !expected.errors.is_empty() {
        let errors = if expected.errors.is_empty() {
            String::new()
        } else {
            format!(" and errors {}", expected.errors.join(", "))
        };
        let met = match expected.met {
            _ if report.is_audited_elsewhere() => "which the audit will tell",
            true => "and so it came",
            false => "and that is NOT what came",
        };
        lines.push(format!("expected: {}{errors}, {met}", expected.audit));
    }
    if let Some(expr) = &report.aborted_by {
        lines.push(format!("ended early: `{expr}` was missed"));
    }
    let given_up = report.given_up().filter(|given_up| !given_up.sold_out_anyway());
    let given_up = given_up.map(|given_up| given_up.verdict());
    match (given_up, is_plain(report)) {
        (Some(given_up), true) => {
            lines.push(format!(
                "no violation, but {given_up}: a stress run can refute a strategy, never prove it"
            ));
        }
        (given_up, _) => {
            lines.extend(given_up);
            lines.push(last_word(report));
        }
    }
    lines
}

/// Whether all is well and nothing special was asked for.
fn is_plain(report: &Report) -> bool {
    report.exit() == Exit::Held
        && report.database.kind != Dialect::Null
        && !report.is_audited_elsewhere()
        && report.expectation.audit == ExpectedFinding::Nothing.as_str()
}

/// What was counted: where no order comes twice, it has one delivery.
const fn delivered(report: &Report) -> &'static str {
    if report.config.duplicates_pct == 0 { "order" } else { "delivery" }
}

fn last_word(report: &Report) -> String {
    let orders = text::count(report.measured.deliveries, delivered(report));
    let error = report.expectation.unexpected_errors;
    let expected = &report.expectation;
    match report.exit() {
        Exit::Held if report.database.kind == Dialect::Null => {
            "no database: this measured stockbench alone".to_owned()
        }
        Exit::Held if report.part.is_some() => {
            let segment = report.config.segment.map(|segment| segment.to_string()).unwrap_or_default();
            format!(
                "segment {segment} has done its part: `stockbench report --merge` puts the segments together, \
                 `stockbench audit --history FILE ...` judges the stock"
            )
        }
        Exit::Held if let Some(segments) = report.segments => {
            format!("{segments} segments, {orders}: `stockbench audit --history FILE ...` judges the stock")
        }
        Exit::Held if expected.audit != "nothing" => {
            format!("{} was caught, as the scenario expects", report.strategy)
        }
        Exit::Violation
            if expected.audit != "nothing"
                && report.audit.as_ref().is_some_and(|audit| audit.findings.is_empty()) =>
        {
            format!("NOT CAUGHT: the audit found nothing where {} was expected", expected.audit)
        }
        Exit::Threshold => "a threshold was missed".to_owned(),
        Exit::Held => {
            format!("no violation in {orders}: a stress run can refute a strategy, never prove it")
        }
        Exit::Violation => violation(report),
        Exit::Interrupted => {
            let audited = if report.audit.is_some() { " and audited" } else { "" };
            format!("interrupted after {orders}: what was started was finished{audited}")
        }
        _ => match &report.lost_server {
            Some(reason) => format!("could not finish: the server was lost ({reason})"),
            None if report.flows.values().any(|flow| flow.unfinished) => {
                "could not judge: a background program was given up with work left".to_owned()
            }
            None if report.fault_error.is_some() => {
                "could not judge: a fault that was asked for did not happen".to_owned()
            }
            None if report.audit_error.is_some() => "could not judge: the audit could not be made".to_owned(),
            None if error > 0 => {
                format!("could not judge: {} ended in an error", text::count(error, "order"))
            }
            None if report.audit.as_ref().is_some_and(|audit| !audit.nodes_away.is_empty()) => {
                "could not judge: a node of the cluster could not be asked".to_owned()
            }
            None if report.audit.as_ref().is_some_and(|audit| !audit.not_seen.is_empty()) => {
                "could not judge: the audit could not see every row".to_owned()
            }
            None => "could not judge: nothing was decided".to_owned(),
        },
    }
}

/// What comes with the binary, a line each; the last column is as wide as it is.
///
/// # Errors
/// The writer fails.
pub fn catalogue<const COLUMNS: usize>(
    out: &mut dyn Write,
    head: [&str; COLUMNS],
    rows: &[[String; COLUMNS]],
) -> io::Result<()> {
    let head = head.map(str::to_owned);
    let lines = || std::iter::once(&head).chain(rows);
    for line in lines() {
        let padded = |(column, cell): (usize, &String)| {
            let width = lines().map(|line| line[column].chars().count()).max().unwrap_or(0);
            format!("{cell:width$}")
        };
        let cells: Vec<String> = line.iter().enumerate().map(padded).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
