//! A page to share: one file, nothing loaded from anywhere, the verdict first.

mod charts;
mod compared;
mod run;

pub use compared::comparison;
pub use run::runs;

use anyhow::Result;
use charts::{Chart, Line};
use maud::{DOCTYPE, Markup, PreEscaped, html};

const STYLE: &str = include_str!("page.css");

/// Everything around the content.
fn page(title: &str, content: &Markup) -> String {
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
                (content)
                p.faint { "stockbench " (env!("CARGO_PKG_VERSION")) }
            }
        }
    };
    page.into_string()
}

/// A chart with the words for it. Its figures are in a table beside it.
fn figure(chart: &Chart, caption: &str) -> Result<Markup> {
    let svg = chart.svg()?;
    Ok(html! {
        figure {
            @if chart.lines.len() > 1 { p.legend {
                @for (number, line) in chart.lines.iter().enumerate() {
                    span { i style=(format!("background: {}", charts::colour(number))) {} (line.name) } " "
                }
            } }
            div role="img" aria-label=(caption) { (PreEscaped(svg)) }
            figcaption { (caption) }
        }
    })
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

/// A rate, for an axis.
fn rate(per_second: f64) -> String {
    if per_second >= 10_000.0 { format!("{:.0} k", per_second / 1e3) } else { format!("{per_second:.0}") }
}

/// A line without intervals.
fn line(name: &str, points: Vec<(f64, f64)>) -> Line {
    Line { name: name.to_owned(), points, intervals: Vec::new() }
}
