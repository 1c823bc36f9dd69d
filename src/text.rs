//! Words for people: nearest names, one-line file errors, readable numbers.

use anyhow::{Result, anyhow};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The known name nearest to a mistyped one, if any is near enough to suggest.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= name.chars().count().max(3) / 2)
        .map(|(_, name)| name)
}

/// `; did you mean "NAME"?`, or nothing when no known name is near.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |name| format!("; did you mean \"{name}\"?"))
}

/// `` `a`, `b`, `c` ``
pub fn backquoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Parses TOML into a shape; `name` is how errors call the source.
///
/// # Errors
/// One line: the file, the line, what is wrong and the nearest known name.
pub fn parse_toml<T: DeserializeOwned>(name: &str, source: &str) -> Result<T> {
    toml::from_str(source).map_err(|error| {
        let line = error.span().map(|span| line_of(source, span.start));
        let place = line.map_or_else(|| name.to_owned(), |line| format!("{name}:{line}"));
        anyhow!("{place}: {}", with_suggestion(error.message()))
    })
}

fn line_of(source: &str, offset: usize) -> usize {
    source.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// Serde lists every name it would have taken; a reader wants the nearest.
fn with_suggestion(message: &str) -> String {
    let message = message.trim().replace('\n', " ");
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match (message.split_once(", expected"), quoted.split_first()) {
        (Some((what, _)), Some((word, known))) if message.starts_with("unknown") => {
            let suggestion = did_you_mean(word, known.iter().copied());
            let known = backquoted(known);
            let what =
                what.replace("unknown field", "unknown key").replace("unknown variant", "unknown value");
            format!("{what}{suggestion} (known: {known})")
        }
        _ => message,
    }
}

/// The longest duration that a flag or a file may ask for.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads a duration such as `500ms`, `10s` or `2min`, up to a day.
///
/// # Errors
/// The text is something else.
pub fn duration(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text).ok().filter(|duration| *duration <= DURATION_MAX);
    parsed.ok_or_else(|| format!("`{text}` is not a duration up to a day, such as 500ms, 10s or 2min"))
}

/// Any text on one line.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `1,234,567`
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A number with its sign if it is below zero, and thousands apart.
pub fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", thousands(number.unsigned_abs()))
}

/// `1 unit`, `2,000 units`, `3 entries`, `0 switches`
pub fn count(number: u64, noun: &str) -> String {
    let number_text = thousands(number);
    let hisses = ["s", "x", "ch", "sh"].iter().any(|end| noun.ends_with(end));
    match noun.strip_suffix('y') {
        _ if number == 1 => format!("{number_text} {noun}"),
        Some(stem) => format!("{number_text} {stem}ies"),
        None if hisses => format!("{number_text} {noun}es"),
        None => format!("{number_text} {noun}s"),
    }
}

/// Microseconds at a readable precision: `870 µs`, `12.3 ms`, `4.56 s`.
pub fn micros(us: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits at most")]
    let us = us as f64;
    micros_of(us)
}

/// Microseconds, and parts of them, as [`micros`] shows them.
pub fn micros_of(us: f64) -> String {
    match us {
        _ if us < 1_000.0 => format!("{us:.0} µs"),
        _ if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        _ if us < 1_000_000.0 => format!("{:.1} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn nouns_follow_their_number() {
        assert_eq!(count(1, "retry"), "1 retry");
        assert_eq!(count(0, "unit"), "0 units");
        assert_eq!(count(2_000, "entry"), "2,000 entries");
    }

    #[test]
    fn a_mistyped_name_finds_its_neighbour_and_nonsense_finds_none() {
        let known = ["pessimistic", "optimistic", "cas"];
        assert_eq!(nearest("optimstic", known), Some("optimistic"));
        assert_eq!(nearest("zzzzzzzz", known), None);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_its_neighbour() {
        #[derive(serde::Deserialize, Debug)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "only its keys matter")]
        struct Shape {
            stock: u32,
            orders: u32,
        }
        let error = parse_toml::<Shape>("mine.toml", "orders = 1\nstok = 2\n").unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("mine.toml:2: unknown key `stok`; did you mean \"stock\"?"), "{error}");
    }
}
