//! A comparison: as data, and for people, on a terminal or as Markdown.

use super::Document;
use super::grid::Grid;
use super::markdown::{code, escaped};
use super::model::SCHEMA_VERSION;
use crate::compare::advice;
use crate::compare::judge::{CalledUnsafe, CameTo, Judged, Row, Sample, Verdict, judge};
use crate::compare::matrix::{Matrix, Setting, place};
use crate::compare::stats::{Change, Estimate, ROUNDS_FOR_INTERVAL};
use crate::db::DatabaseInfo;
use crate::exit::Exit;
use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What `compare -o json` prints.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(title = "stockbench comparison")]
pub struct CompareReport {
    /// The version of this shape.
    pub schema_version: u32,
    /// The version of stockbench that wrote it.
    pub stockbench_version: String,
    /// When it was judged, in UTC: after the last of its runs.
    #[serde(default)]
    pub judged_at: String,
    /// What was asked.
    pub matrix: Matrix,
    /// The databases, as they described themselves, by their names in the matrix.
    pub databases: BTreeMap<String, DatabaseInfo>,
    /// Every load on every database, with the strategies in the order of their goodput.
    pub settings: Vec<Judged>,
    /// What follows, in sentences.
    pub advice: Vec<String>,
    /// Every run.
    pub samples: Vec<Sample>,
    /// Whether it ended before every run was made.
    pub interrupted: bool,
    /// The exit code.
    pub exit_code: u8,
}

impl CompareReport {
    /// Judges what was measured.
    pub fn new(
        matrix: Matrix,
        samples: Vec<Sample>,
        called_unsafe: &CalledUnsafe,
        controls: &advice::Controls,
        databases: BTreeMap<String, DatabaseInfo>,
    ) -> Self {
        let settings = judge(&matrix, &samples, called_unsafe);
        let mut report = Self {
            schema_version: SCHEMA_VERSION,
            stockbench_version: env!("CARGO_PKG_VERSION").to_owned(),
            judged_at: String::new(),
            advice: advice::of(&settings, controls),
            interrupted: samples.len() < matrix.runs(),
            matrix,
            databases,
            settings,
            samples,
            exit_code: 0,
        };
        report.exit_code = report.exit() as u8;
        report
    }

    /// How the command ends: 0 where every run was judged, whatever was found, and one
    /// was measured.
    pub fn exit(&self) -> Exit {
        let undecided = |sample: &Sample| matches!(sample.came_to, CameTo::Undecided(_));
        let measured = |sample: &Sample| matches!(sample.came_to, CameTo::Measured(_));
        if self.interrupted {
            Exit::Interrupted
        } else if self.samples.iter().any(undecided) || !self.samples.iter().any(measured) {
            Exit::CouldNot
        } else {
            Exit::Held
        }
    }

    /// When it was judged, for behind a version: `, 2026-01-31`.
    pub fn dated(&self) -> String {
        let day = self.judged_at.split('T').next().filter(|day| !day.is_empty());
        day.map_or_else(String::new, |day| format!(", {day}"))
    }

    /// What was found under a load.
    pub fn judged(&self, setting: &Setting) -> Option<&Judged> {
        self.settings.iter().find(|judged| judged.setting == *setting)
    }

    /// Rows that could not be judged, over all loads.
    pub fn open_rows(&self) -> u64 {
        self.settings.iter().flat_map(Judged::open).count() as u64
    }
}

impl Document for CompareReport {}

/// What a load's table shows.
pub(super) const HEAD: [&str; 10] = [
    "strategy",
    "sold/s",
    "to the best",
    "p50",
    "p99",
    "conflicts",
    "retries/order",
    "given up",
    "units wrong",
    "verdict",
];

/// The columns of [`HEAD`] that hold figures.
pub(super) const FIGURES: std::ops::Range<usize> = 1..9;

/// What its figures are.
pub(super) fn legend(rounds: u32) -> String {
    let intervals = if has_intervals(rounds as usize) {
        "medians of the rounds (their 95 % intervals: bootstrap, no narrower than the exact ones)".to_owned()
    } else {
        format!("medians of the rounds; 95 % intervals take at least {ROUNDS_FOR_INTERVAL}")
    };
    format!(
        "{intervals}; * p < 0.05, ** p < 0.01, *** p < 0.001 (exact rank-sum test against the fastest, corrected \
        for all pairs of a load by Holm; the intervals are not); p50 and p99 are of what was sold, given up is the share of \
        orders that ended as conflict; units wrong are those of the worst round"
    )
}

/// Writes a comparison for a terminal.
///
/// # Errors
/// The writer fails.
pub fn terminal(out: &mut dyn Write, report: &CompareReport) -> io::Result<()> {
    write(out, report, Style { is_markdown: false })
}

/// Writes a comparison as Markdown.
///
/// # Errors
/// The writer fails.
pub fn markdown(out: &mut dyn Write, report: &CompareReport) -> io::Result<()> {
    write(out, report, Style { is_markdown: true })
}

/// How things are set off from each other.
#[derive(Debug, Clone, Copy)]
struct Style {
    is_markdown: bool,
}

impl Style {
    const fn heading(self) -> &'static str {
        if self.is_markdown { "### " } else { "" }
    }

    fn table(self, head: &[&str], figures: std::ops::Range<usize>) -> Grid {
        let table = if self.is_markdown { Grid::markdown(head) } else { Grid::new(head) };
        table.unbounded().figures(figures)
    }

    fn name(self, strategy: &str) -> String {
        if self.is_markdown { code(strategy) } else { strategy.to_owned() }
    }

    fn text(self, text: &str) -> String {
        if self.is_markdown { escaped(text) } else { text.to_owned() }
    }
}

fn write(out: &mut dyn Write, report: &CompareReport, style: Style) -> io::Result<()> {
    for (name, info) in &report.databases {
        let (kind, durable) = (info.kind.title(), info.durability());
        let line = format!("{name}: {kind} {}, isolation {}, {durable}", info.version, info.isolation);
        writeln!(out, "- {}", style.text(&line))?;
    }
    let load: Vec<String> =
        report.matrix.load.iter().map(|(flag, value)| format!("--{flag} {value}")).collect();
    writeln!(
        out,
        "- {} in an order drawn anew for each ({}; --random-seed {})",
        text::count(report.matrix.rounds.into(), "round"),
        style.text(&load.join(" ")),
        report.matrix.random_seed
    )?;
    writeln!(out, "- stockbench {}{}", report.stockbench_version, report.dated())?;
    for judged in &report.settings {
        setting(out, judged, style)?;
    }
    heat_maps(out, report, style)?;
    if !report.advice.is_empty() {
        headline(out, style, "What follows")?;
        report.advice.iter().try_for_each(|sentence| writeln!(out, "- {}", style.text(sentence)))?;
    }
    closing(out, report)
}

fn setting(out: &mut dyn Write, judged: &Judged, style: Style) -> io::Result<()> {
    headline(out, style, &title(&judged.setting))?;
    let mut table = style.table(&HEAD, FIGURES);
    for row in &judged.rows {
        let mut cells = cells(row);
        cells[0] = style.name(&row.strategy);
        // The others are figures.
        if let Some(verdict) = cells.last_mut() {
            *verdict = style.text(verdict);
        }
        table.add_row(cells);
    }
    table.write(out)
}

fn headline(out: &mut dyn Write, style: Style, text: &str) -> io::Result<()> {
    writeln!(out)?;
    writeln!(out, "{}{}", style.heading(), style.text(text))?;
    writeln!(out)
}

pub(super) fn title(setting: &Setting) -> String {
    format!(
        "{}: {}, {}",
        place(&setting.database, setting.rtt_us),
        text::count(setting.skus, "SKU"),
        text::count(setting.concurrency, "client")
    )
}

/// A row of a load's table, under [`HEAD`].
pub(super) fn cells(row: &Row) -> Vec<String> {
    let name = row.strategy.clone();
    if row.runs == 0 {
        let mut cells = vec![name];
        cells.extend(std::iter::repeat_n(String::new(), FIGURES.len()));
        cells.push(in_words(&row.verdict));
        return cells;
    }
    let wrong = if row.wrong_units == 0 { String::new() } else { text::thousands(row.wrong_units) };
    let against = match (&row.against_best, row.held()) {
        (Some(change), _) => percent(change, row.runs),
        (None, true) => "the best".to_owned(),
        (None, false) => "not ranked".to_owned(),
    };
    vec![
        name,
        rate(&row.goodput_per_s, row.runs),
        against,
        text::micros_of(row.p50_us.median),
        text::micros_of(row.p99_us.median),
        format!("{:.1} %", row.conflict_rate.median * 100.0),
        format!("{:.2}", row.retries_per_order.median),
        format!("{:.1} %", row.given_up.median * 100.0),
        wrong,
        in_words(&row.verdict),
    ]
}

/// Whether intervals are shown: of fewer rounds there are none.
pub(super) const fn has_intervals(rounds: usize) -> bool {
    rounds >= ROUNDS_FOR_INTERVAL
}

fn rate(estimate: &Estimate, rounds: usize) -> String {
    let Estimate { median, low, high } = estimate;
    if !has_intervals(rounds) {
        return per_second(*median);
    }
    format!("{} ({}–{})", per_second(*median), per_second(*low), per_second(*high))
}

pub(super) fn per_second(rate: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded, and never negative"
    )]
    let whole = rate.round().max(0.0) as u64;
    text::thousands(whole)
}

/// A change in percent with its interval, if it has one, and as many stars as it has earned.
fn percent(change: &Change, rounds: usize) -> String {
    let stars = match change.p {
        p if p < 0.001 => " ***",
        p if p < 0.01 => " **",
        p if p < 0.05 => " *",
        _ => "",
    };
    let of = |ratio: f64| format!("{:+.0}", (ratio - 1.0) * 100.0);
    if !has_intervals(rounds) {
        return format!("{} %{stars}", of(change.ratio));
    }
    format!("{} % ({} … {}){stars}", of(change.ratio), of(change.low), of(change.high))
}

fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Held => "held".to_owned(),
        Verdict::NotCaughtHere => "unsafe, not caught here".to_owned(),
        Verdict::Violated { findings } => {
            // The kinds are in the order of their weight.
            let first = findings.keys().next().map_or("", |kind| kind.as_str());
            let more = findings.len().saturating_sub(1);
            if more == 0 { format!("FAILED: {first}") } else { format!("FAILED: {first} (+{more})") }
        }
        Verdict::Refused { why } => format!("refused: {why}"),
        Verdict::Undecided { why } => format!("not judged: {why}"),
        Verdict::SoldNothing => "sells nothing".to_owned(),
        Verdict::Missing => "not run yet".to_owned(),
    }
}

/// Contention by clients: who is fastest there of those that held, and how fast.
fn heat_maps(out: &mut dyn Write, report: &CompareReport, style: Style) -> io::Result<()> {
    let Matrix { skus, concurrency, .. } = &report.matrix;
    if skus.len() < 2 || concurrency.len() < 2 {
        return Ok(());
    }
    for database in &report.matrix.databases {
        for &rtt_us in &report.matrix.rtt_us {
            let place = place(database, rtt_us);
            headline(out, style, &format!("Fastest of those that held, sold/s: {place}"))?;
            let clients: Vec<String> =
                concurrency.iter().map(|&clients| text::count(clients, "client")).collect();
            let head: Vec<&str> = std::iter::once("SKUs").chain(clients.iter().map(String::as_str)).collect();
            let mut table = style.table(&head, 0..1);
            for &skus in skus {
                let cell = |&concurrency: &u64| {
                    let setting = Setting { database: database.clone(), rtt_us, concurrency, skus };
                    let best = report.judged(&setting).map(Judged::best).unwrap_or_default();
                    let names: Vec<String> = best.iter().map(|row| style.name(&row.strategy)).collect();
                    best.first().map_or_else(String::new, |first| {
                        format!("{} {}", names.join(" = "), per_second(first.goodput_per_s.median))
                    })
                };
                let row = std::iter::once(text::thousands(skus)).chain(concurrency.iter().map(cell));
                table.add_row(row);
            }
            table.write(out)?;
        }
    }
    Ok(())
}

fn closing(out: &mut dyn Write, report: &CompareReport) -> io::Result<()> {
    let total = report.matrix.runs();
    writeln!(out)?;
    writeln!(out, "{}", legend(report.matrix.rounds))?;
    let open = report.open_rows();
    if open > 0 {
        writeln!(out, "not judged: {}, which are missing from the rankings", text::count(open, "row"))?;
    }
    if report.interrupted {
        writeln!(out, "interrupted after {} of {total} runs", report.samples.len())?;
    }
    Ok(())
}
