//! The page of a comparison.

use super::super::compared::{self, CompareReport};
use super::charts::{self, Chart, Line};
use super::{cell, figure, page, table};
use crate::compare::judge::{Judged, Row, Verdict};
use crate::compare::matrix::{Setting, place};
use crate::compare::stats::Estimate;
use crate::text;
use anyhow::Result;
use maud::{Markup, html};

/// The page of a comparison.
///
/// # Errors
/// A chart cannot be drawn, which would be a bug.
pub fn comparison(report: &CompareReport) -> Result<String> {
    let title = format!("{} compared", report.matrix.strategies.join(", "));
    let content = html! {
        h1 { "Which one to ship: " (report.matrix.strategies.join(", ")) }
        div.verdict {
            strong { "What follows" }
            @if report.advice.is_empty() { p { "Nothing yet: no load has two strategies that held." } }
            ul { @for sentence in &report.advice { li { (sentence) } } }
        }
        @if report.interrupted { p.bad { "The comparison was interrupted: " (report.samples.len()) " runs were made." } }
        @let open = report.open_rows();
        @if open > 0 { p.bad { (text::count(open, "row")) " could not be judged, and are missing from the rankings." } }
        (heat_maps(report))
        (crossovers(report)?)
        h2 { "Every load" }
        @for judged in &report.settings { (setting(judged)) }
        p.faint { (compared::legend(report.matrix.rounds)) }
        h2 { "Configuration" }
        (configuration(report))
    };
    Ok(page(&title, content))
}

/// The colour of a strategy, the same on the whole page.
fn colour(report: &CompareReport, strategy: &str) -> String {
    let number = report.matrix.strategies.iter().position(|name| name == strategy).unwrap_or(0);
    charts::colour(number)
}

/// Contention by clients: who is fastest there of those that held.
fn heat_maps(report: &CompareReport) -> Markup {
    let matrix = &report.matrix;
    html! {
        @for database in &matrix.databases { @for &rtt_us in &matrix.rtt_us {
            h2 { "Fastest of those that kept the stock: " (place(database, rtt_us)) }
            div.scroll { table.heat {
                thead { tr { th scope="col" { "SKUs" } @for &clients in &matrix.concurrency { th scope="col" { (text::count(clients, "client")) } } } }
                tbody { @for &skus in &matrix.skus { tr {
                    th scope="row" { (text::thousands(skus)) }
                    @for &concurrency in &matrix.concurrency {
                        (heat(report, &Setting { database: database.clone(), rtt_us, concurrency, skus }))
                    }
                } } }
            } }
        } }
        p.faint { "Orders sold per second by the fastest; a name beside it cannot be told from it." }
    }
}

fn heat(report: &CompareReport, setting: &Setting) -> Markup {
    let judged = report.judged(setting);
    let best = judged.map(Judged::best).unwrap_or_default();
    let Some(first) = best.first() else {
        let is_open = judged.is_none_or(|judged| !judged.open().is_empty());
        return html! { td.faint { (if is_open { "not judged" } else { "none held" }) } };
    };
    let colour = colour(report, &first.strategy);
    let names: Vec<&str> = best.iter().map(|row| row.strategy.as_str()).collect();
    html! {
        td style=(format!("background: color-mix(in srgb, {colour} 22%, var(--back))")) {
            strong { (names.join(" = ")) } br; (compared::per_second(first.goodput_per_s.median))
        }
    }
}

/// Goodput and conflicts over contention, a pair of charts for each database, round trip
/// and number of clients.
fn crossovers(report: &CompareReport) -> Result<Markup> {
    let matrix = &report.matrix;
    if matrix.skus.len() < 2 {
        return Ok(html! {});
    }
    let mut charts = Vec::new();
    for database in &matrix.databases {
        for &rtt_us in &matrix.rtt_us {
            for &concurrency in &matrix.concurrency {
                let title = format!("{}, {}", place(database, rtt_us), text::count(concurrency, "client"));
                let is_here = |judged: &&Judged| {
                    let setting = &judged.setting;
                    (&setting.database, setting.rtt_us, setting.concurrency)
                        == (database, rtt_us, concurrency)
                };
                let here: Vec<&Judged> = report.settings.iter().filter(is_here).collect();
                charts.push(goodput(report, &title, &here)?);
                charts.push(conflicts(report, &title, &here)?);
            }
        }
    }
    Ok(html! { h2 { "Where they cross over" } @for chart in charts { (chart) } })
}

/// The least goodput that has a place on a logarithmic axis: an order a second.
const GOODPUT_LEAST: f64 = 1.0;

fn goodput(report: &CompareReport, title: &str, here: &[&Judged]) -> Result<Markup> {
    let rounds = report.matrix.rounds;
    // What reaches down to nothing reaches down to the bottom.
    let log = |per_s: f64| per_s.max(GOODPUT_LEAST).log10();
    let of_row = |row: &Row| {
        let Estimate { median, low, high } = row.goodput_per_s;
        (log(median), compared::has_intervals(row.runs).then(|| (log(low), log(high))))
    };
    let intervals = if compared::has_intervals(rounds as usize) { " with 95 % intervals" } else { "" };
    let caption = format!(
        "{title}: goodput over contention, medians of {}{intervals}. Strategies that were caught are in it and out of the ranking.",
        text::count(rounds.into(), "round")
    );
    let y_title = "orders sold per second (logarithmic)";
    let y_label = |log: f64| compared::per_second(10.0_f64.powf(log));
    figure(&chart(y_title, &y_label, None, &lines(report, here, of_row)), &caption)
}

/// What contention comes to: the rate of conflicts, which differs from strategy to strategy.
fn conflicts(report: &CompareReport, title: &str, here: &[&Judged]) -> Result<Markup> {
    let caption = format!("{title}: the rate of conflicts over the same contention, medians.");
    let lines = lines(report, here, |row| (row.conflict_rate.median * 100.0, None));
    figure(&chart("attempts refused", &|percent| format!("{percent:.1} %"), Some(0.0), &lines), &caption)
}

fn chart<'c>(
    y_title: &'c str,
    y_label: &'c dyn Fn(f64) -> String,
    y_from: Option<f64>,
    lines: &'c [Line],
) -> Chart<'c> {
    Chart {
        x_title: "SKUs that the clients share (logarithmic)",
        y_title,
        x_label: &|log| compared::per_second(10.0_f64.powf(log)),
        y_label,
        x_steps: Some(7),
        y_from,
        lines,
        marks: &[],
    }
}

/// Each strategy over contention: its figure, and the figure's interval if it has one.
fn lines(
    report: &CompareReport,
    here: &[&Judged],
    of_row: impl Fn(&Row) -> (f64, Option<(f64, f64)>),
) -> Vec<Line> {
    let mut by_skus = here.to_vec();
    by_skus.sort_by_key(|judged| judged.setting.skus);
    let line = |strategy: &String| {
        let mut line = Line { name: strategy.clone(), points: Vec::new(), intervals: Vec::new() };
        for judged in &by_skus {
            let Some(row) = judged.row(strategy).filter(|row| row.runs > 0) else { continue };
            let (figure, interval) = of_row(row);
            #[expect(clippy::cast_precision_loss, reason = "a number of SKUs, for a chart")]
            let skus = judged.setting.skus as f64;
            line.points.push((skus.log10(), figure));
            line.intervals.push(interval);
        }
        line
    };
    report.matrix.strategies.iter().map(line).collect()
}

fn setting(judged: &Judged) -> Markup {
    let rows: Vec<Vec<Markup>> = judged.rows.iter().map(cells).collect();
    html! { h3 { (compared::title(&judged.setting)) } (table(&compared::HEAD, &rows, compared::FIGURES)) }
}

fn cells(row: &Row) -> Vec<Markup> {
    let class = match row.verdict {
        Verdict::Held => "good",
        Verdict::Violated { .. } => "bad",
        _ => "faint",
    };
    let mut cells: Vec<Markup> = compared::cells(row).into_iter().map(cell).collect();
    if let Some(verdict) = cells.pop() {
        cells.push(html! { span.(class) { (verdict) } });
    }
    cells
}

fn configuration(report: &CompareReport) -> Markup {
    let matrix = &report.matrix;
    let mut rows = vec![
        vec![cell("measured by"), cell(format!("stockbench {}", report.stockbench_version))],
        vec![cell("judged at"), cell(&report.judged_at)],
        vec![cell("rounds"), cell(matrix.rounds.to_string())],
        vec![cell("random seed"), cell(matrix.random_seed.to_string())],
    ];
    rows.extend(matrix.load.iter().map(|(flag, value)| vec![cell(flag), cell(value)]));
    for (name, info) in &report.databases {
        rows.push(vec![cell(name), cell(super::super::terminal::database_line(info))]);
        rows.extend(
            info.settings.iter().map(|(what, value)| vec![cell(format!("{name}: {what}")), cell(value)]),
        );
    }
    table(&["what", "value"], &rows, 0..0)
}
