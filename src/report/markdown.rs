//! Runs as Markdown, short enough for a comment on a pull request.

use super::change::{self, Change, percent};
use super::measured::Distribution;
use super::model::Report;
use super::terminal::{self, tenths};
use crate::escape;
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
        "| run | strategy | database | verdict | sold/s | p50 | p99 | conflicts | given up |".to_owned(),
        "|---|---|---|---|---:|---:|---:|---:|---:|".to_owned(),
    ];
    for (name, report) in reports {
        let latency = |of: fn(&Distribution) -> u64| {
            let sold = report.measured.latency_us.order.get(&Outcome::Deducted);
            sold.map_or_else(String::new, |sold| text::micros(of(sold)))
        };
        lines.push(format!(
            "| {} | {} | {} {} | {} | {} | {} | {} | {:.1} % | {} |",
            escaped(name),
            code(&report.strategy),
            report.database.kind.title(),
            escaped(&report.database.version),
            escaped(&terminal::verdict(report).join("; ")),
            tenths(report.measured.goodput.orders_per_s),
            latency(|sold| sold.p50),
            latency(|sold| sold.p99),
            report.measured.conflict_rate * 100.0,
            report.given_up().map_or_else(String::new, |given_up| escaped(&given_up.figures())),
        ));
    }
    for (name, report) in reports {
        let sold_out = report.sold_out().map(|sold_out| format!("sold out {sold_out}"));
        for said in sold_out.into_iter().chain(report.seeded_to_last()) {
            lines.push(format!("\n{}: {}", escaped(name), escaped(&said)));
        }
    }
    if let [(base, first), others @ ..] = reports {
        for (name, other) in others {
            lines.push(format!("\n**{}** against {}:\n", escaped(name), escaped(base)));
            for change in change::between(first, other, noise_pct)? {
                lines.push(format!("- {}", in_words(&change)));
            }
            let caveats = change::caveats(first, other, noise_pct);
            lines.extend(caveats.iter().map(|caveat| format!("- {}", escaped(caveat))));
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

/// Text that Markdown shows as it is, on one line: nothing in it ends a cell, opens a tag,
/// a link or a code span, or calls somebody by name. What stands between letters or before
/// a space is none of these and is left alone, so that prose stays readable.
pub(super) fn escaped(text: &str) -> String {
    let text = text::one_line(text);
    let text = escape::line(&text);
    let mut escaped = String::with_capacity(text.len());
    let mut before = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let after = characters.peek().copied();
        let is_word = |beside: Option<char>| beside.is_some_and(char::is_alphanumeric);
        let is_between = is_word(before) && is_word(after);
        let opens = after.is_some_and(|after| !after.is_whitespace());
        match character {
            // A backslash would not keep a name from being called.
            '@' if !is_word(before) => escaped.push_str("@<!-- -->"),
            '|' | '`' | '\\' | '[' | ']' | '*' => escaped.extend(['\\', character]),
            '_' if !is_between => escaped.push_str("\\_"),
            '<' | '&' if opens => escaped.extend(['\\', character]),
            _ => escaped.push(character),
        }
        before = Some(character);
    }
    escaped
}

/// A name as code, in a cell: as many backticks around it as none within it can end.
pub(super) fn code(name: &str) -> String {
    let name = escape::line(&text::one_line(name)).replace('|', "\\|");
    let longest = name.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    format!("{fence}{space}{name}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_text() {
        for (name, shown) in [
            ("<img src=x onerror=alert(1)>", "\\<img src=x onerror=alert(1)>"),
            ("a | b\nc", "a \\| b c"),
            ("`x` *y* _z_", "\\`x\\` \\*y\\* \\_z\\_"),
            ("[click](http://x) &lt;", "\\[click\\](http://x) \\&lt;"),
            ("@octocat me@localhost", "@<!-- -->octocat me@localhost"),
            ("a\u{202e}b\x1b[2J", "a\\\\u{202e}b\\\\u{1b}\\[2J"),
            ("lost_update, p < 0.001, a\\b", "lost_update, p < 0.001, a\\\\b"),
        ] {
            assert_eq!(escaped(name), shown);
        }
    }

    #[test]
    fn a_name_with_backticks_stays_code() {
        assert_eq!(code("atomic"), "`atomic`");
        assert_eq!(code("a|b\n.toml"), "`a\\|b .toml`");
        assert_eq!(code("a``b`"), "``` a``b` ```");
    }
}
