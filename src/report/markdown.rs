//! Runs as Markdown, short enough for a comment on a pull request.

use super::change::{self, Change, percent};
use super::measured::Distribution;
use super::model::Report;
use super::terminal::{self, tenths};
use crate::outcome::Outcome;
use crate::text;
use anyhow::Result;

/// These runs, each with the name that it goes by; the first is what the others are
/// held against.
///
/// # Errors
/// Their loads differ.
pub fn runs(reports: &[(String, Report)], noise_pct: u8) -> Result<String> {
    let mut lines = vec![
        "| run | strategy | database | verdict | sold/s | p50 | p99 | conflicts |".to_owned(),
        "|---|---|---|---|---:|---:|---:|---:|".to_owned(),
    ];
    for (name, report) in reports {
        let latency = |of: fn(&Distribution) -> u64| {
            let sold = report.measured.latency_us.order.get(&Outcome::Deducted);
            sold.map_or_else(String::new, |sold| text::micros(of(sold)))
        };
        lines.push(format!(
            "| {} | `{}` | {} {} | {} | {} | {} | {} | {:.1} % |",
            escaped(name),
            escaped(&report.strategy),
            report.database.kind.title(),
            escaped(&report.database.version),
            escaped(&terminal::verdict(report).join("; ")),
            tenths(report.measured.goodput.orders_per_s),
            latency(|sold| sold.p50),
            latency(|sold| sold.p99),
            report.measured.conflict_rate * 100.0
        ));
    }
    if let [(base, first), others @ ..] = reports {
        for (name, other) in others {
            lines.push(format!("\n**{}** against {}:\n", escaped(name), escaped(base)));
            for change in change::between(first, other, noise_pct)? {
                lines.push(format!("- {}", in_words(&change)));
            }
            lines.extend(change::notes(first, other).iter().map(|note| format!("- {}", escaped(note))));
        }
    }
    Ok(lines.join("\n") + "\n")
}

/// `sold/s -12.3 % (-15.0 % … -9.1 %): worse`
fn in_words(change: &Change) -> String {
    let interval = change
        .interval
        .map_or_else(String::new, |(low, high)| format!(" ({} … {})", percent(low), percent(high)));
    format!("{} {}{interval}: {}", change.figure, percent(change.ratio), change.means.as_str())
}

/// What would end a cell does not.
pub(super) fn escaped(text: &str) -> String {
    text::one_line(text).replace('|', "\\|")
}
