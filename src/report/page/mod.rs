//! A page to share: one file, nothing loaded from anywhere, the verdict first.

mod charts;
mod compared;
mod run;

pub use compared::comparison;
pub use run::runs;

use crate::escape;
use anyhow::Result;
use charts::{Chart, Line};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");

/// Everything around the content, whose line breaks are those of names: it has none of its own.
fn page(title: &str, content: Markup) -> String {
    let (title, content) = (escape::line(title), content.into_string());
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (PreEscaped(escape::line(&content)))
                p.faint { "This page: stockbench " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    page.into_string()
}

/// A chart with the words for it, and every point of it in a table.
fn figure(chart: &Chart, caption: &str) -> Result<Markup> {
    let svg = chart.svg()?.replace('\n', " ");
    let points = chart.points();
    let has_intervals = points.iter().any(|[.., interval]| !interval.is_empty());
    let head = ["line", chart.x_title, chart.y_title, "95 % interval"];
    let columns = if has_intervals { 4 } else { 3 };
    let rows: Vec<Vec<Markup>> =
        points.iter().map(|point| point.iter().take(columns).map(cell).collect()).collect();
    Ok(html! {
        figure {
            @if chart.lines.len() > 1 { p.legend {
                @for (number, line) in chart.lines.iter().enumerate() { span { (swatch(number)) (line.name) } " " }
            } }
            div role="img" aria-label=(format!("{caption} {}", chart.gist())) { (PreEscaped(svg)) }
            figcaption { (caption) }
            details { summary { "The same as figures" } (table(&head[..columns], &rows, 1..columns)) }
        }
    })
}

/// How the line with this number looks.
fn swatch(number: usize) -> Markup {
    html! {
        svg viewBox="0 0 32 6" aria-hidden="true" {
            line x1="0" y1="3" x2="32" y2="3" stroke=(charts::colour(number)) stroke-width="3"
                stroke-dasharray=(charts::dash(number)) {}
        }
    }
}

/// A table; columns from `numbers` on hold figures.
fn table(head: &[&str], rows: &[Vec<Markup>], numbers: std::ops::Range<usize>) -> Markup {
    let class = |column: usize| numbers.contains(&column).then_some("number");
    html! {
        div.scroll { table {
            thead { tr { @for (column, title) in head.iter().enumerate() { th scope="col" class=[class(column)] { (title) } } } }
            tbody { @for row in rows { tr {
                @for (column, cell) in row.iter().enumerate() { td class=[class(column)] { (cell) } }
            } } }
        } }
    }
}

/// Text in a cell.
fn cell(text: impl AsRef<str>) -> Markup {
    html! { (text.as_ref()) }
}

/// Seconds of a run, for an axis.
fn seconds(at: f64) -> String {
    format!("{at:.0} s")
}

/// A line without intervals.
fn line(name: &str, points: Vec<(f64, f64)>) -> Line {
    Line { name: name.to_owned(), points, intervals: Vec::new() }
}
