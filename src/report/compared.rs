//! A comparison: as data, and for people, on a terminal or as Markdown.

use super::Document;
use super::markdown::escaped;
use super::model::SCHEMA_VERSION;
use crate::compare::advice;
use crate::compare::judge::{CalledUnsafe, CameTo, Judged, Row, Sample, Verdict, judge};
use crate::compare::matrix::{Matrix, Setting, place};
use crate::compare::stats::{Change, Estimate};
use crate::db::DatabaseInfo;
use crate::exit::Exit;
use crate::text;
use comfy_table::presets::{ASCII_MARKDOWN, UTF8_BORDERS_ONLY};
use comfy_table::{CellAlignment, ContentArrangement, Table, TableStyle};
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
            advice: advice::of(&settings, controls),
            interrupted: samples.len() < matrix.cells().len(),
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
pub(super) const HEAD: [&str; 9] = [
    "strategy",
    "sold/s (95 %)",
    "to the best",
    "p50",
    "p99",
    "conflicts",
    "retries/order",
    "units wrong",
    "verdict",
];

/// What its figures are.
pub(super) const LEGEND: &str = "medians of the rounds with their 95 % intervals (bootstrap); * p < 0.05, \
    ** p < 0.01, *** p < 0.001 (exact rank-sum test against the fastest, corrected for all pairs of a load by Holm)";

/// Writes a comparison for a terminal.
///
/// # Errors
/// The writer fails.
pub fn terminal(out: &mut dyn Write, report: &CompareReport) -> io::Result<()> {
    write(out, report, Style { heading: "", item: "- ", code: "", preset: UTF8_BORDERS_ONLY })
}

/// Writes a comparison as Markdown.
///
/// # Errors
/// The writer fails.
pub fn markdown(out: &mut dyn Write, report: &CompareReport) -> io::Result<()> {
    write(out, report, Style { heading: "### ", item: "- ", code: "`", preset: ASCII_MARKDOWN })
}

/// How things are set off from each other.
#[derive(Debug, Clone, Copy)]
struct Style {
    heading: &'static str,
    item: &'static str,
    code: &'static str,
    preset: TableStyle,
}

impl Style {
    fn table(self, head: &[String], numbers: std::ops::Range<usize>) -> Table {
        let mut table = Table::new();
        table.load_style(self.preset).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
        for column in table.column_iter_mut().skip(numbers.start).take(numbers.len()) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn name(self, strategy: &str) -> String {
        format!("{}{strategy}{}", self.code, self.code)
    }
}

fn write(out: &mut dyn Write, report: &CompareReport, style: Style) -> io::Result<()> {
    for (name, info) in &report.databases {
        let (kind, durable) = (info.kind.title(), info.durability());
        writeln!(out, "{}{name}: {kind} {}, {durable}", style.item, info.version)?;
    }
    let load: Vec<String> =
        report.matrix.load.iter().map(|(flag, value)| format!("--{flag} {value}")).collect();
    writeln!(
        out,
        "{}{} in an order drawn anew for each ({}; --random-seed {})",
        style.item,
        text::count(report.matrix.rounds.into(), "round"),
        load.join(" "),
        report.matrix.random_seed
    )?;
    for judged in &report.settings {
        setting(out, judged, style)?;
    }
    heat_maps(out, report, style)?;
    if !report.advice.is_empty() {
        writeln!(out, "\n{}What follows\n", style.heading)?;
        report.advice.iter().try_for_each(|sentence| writeln!(out, "{}{sentence}", style.item))?;
    }
    closing(out, report)
}

fn setting(out: &mut dyn Write, judged: &Judged, style: Style) -> io::Result<()> {
    writeln!(out, "\n{}{}\n", style.heading, title(&judged.setting))?;
    let mut table = style.table(&HEAD.map(str::to_owned), 1..8);
    for row in &judged.rows {
        let mut cells = cells(row);
        cells[0] = style.name(&row.strategy);
        if style.preset == ASCII_MARKDOWN {
            for cell in &mut cells {
                *cell = escaped(cell);
            }
        }
        table.add_row(cells);
    }
    writeln!(out, "{table}")
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
        cells.extend(std::iter::repeat_n(String::new(), 7));
        cells.push(in_words(&row.verdict));
        return cells;
    }
    let wrong = if row.wrong_units == 0 { String::new() } else { text::thousands(row.wrong_units) };
    let against = match (&row.against_best, row.held()) {
        (Some(change), _) => percent(change),
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
        wrong,
        in_words(&row.verdict),
    ]
}

/// An interval is shown from so many rounds on; of fewer it is their range.
const ROUNDS_FOR_INTERVAL: usize = 5;

fn rate(estimate: &Estimate, rounds: usize) -> String {
    let Estimate { median, low, high } = estimate;
    if rounds < ROUNDS_FOR_INTERVAL {
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

/// A change in percent with its interval, and as many stars as it has earned.
fn percent(change: &Change) -> String {
    let stars = match change.p {
        p if p < 0.001 => " ***",
        p if p < 0.01 => " **",
        p if p < 0.05 => " *",
        _ => "",
    };
    let of = |ratio: f64| format!("{:+.0}", (ratio - 1.0) * 100.0);
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
            writeln!(
                out,
                "\n{}Fastest of those that held, sold/s: {}\n",
                style.heading,
                place(database, rtt_us)
            )?;
            let head = std::iter::once("SKUs".to_owned())
                .chain(concurrency.iter().map(|&clients| text::count(clients, "client")));
            let mut table = style.table(&head.collect::<Vec<_>>(), 0..1);
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
            writeln!(out, "{table}")?;
        }
    }
    Ok(())
}

fn closing(out: &mut dyn Write, report: &CompareReport) -> io::Result<()> {
    let total = report.matrix.cells().len();
    writeln!(out, "\n{LEGEND}")?;
    let open = report.open_rows();
    if open > 0 {
        writeln!(out, "not judged: {}, which are missing from the rankings", text::count(open, "row"))?;
    }
    if report.interrupted {
        writeln!(out, "interrupted after {} of {total} runs", report.samples.len())?;
    }
    Ok(())
}
