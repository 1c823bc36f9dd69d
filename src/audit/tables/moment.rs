//! Moments as databases write them, brought to one form that sorts as text:
//! `2026-01-31 18:05:09.25`, in UTC where the database knows a zone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment in the one form. Whole numbers count from 1970, in the unit that
/// their size suggests; other texts stay as they are.
pub fn canonical(text: &str) -> String {
    let text = text.trim();
    if let Ok(number) = text.parse::<u64>() {
        let micros = match text.len() {
            ..=10 => number.saturating_mul(1_000_000),
            11..=13 => number.saturating_mul(1_000),
            14..=16 => number,
            _ => number / 1_000,
        };
        return at(UNIX_EPOCH + Duration::from_micros(micros));
    }
    let is_dated = text.get(..10).is_some_and(|date| date.chars().filter(|c| *c == '-').count() == 2);
    if !is_dated {
        return text.to_owned();
    }
    let (date, time) = text.split_at(10);
    // What follows the time is its zone, and the session is in UTC.
    let time = time.trim_start_matches(['T', ' ']);
    let end = time.find(['+', '-', 'Z', ' ']).unwrap_or(time.len());
    format!("{date} {}", &time[..end]).trim_end().to_owned()
}

/// A moment of this machine's clock in the one form.
pub fn at(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_micros(time).to_string();
    let text = text.trim_end_matches('Z').replace('T', " ");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads what `--since` and `--until` take: a date, a date and a time (UTC),
/// or how long ago.
///
/// # Errors
/// The text is none of these.
pub fn parse(text: &str) -> Result<String, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return SystemTime::now()
            .checked_sub(ago)
            .map(at)
            .ok_or_else(|| format!("`{text}` ago is too long ago"));
    }
    let spaced = text.replace('T', " ");
    let whole = match spaced.trim_end_matches('Z').len() {
        10 => format!("{spaced} 00:00:00"),
        16 => format!("{spaced}:00"),
        _ => spaced.clone(),
    };
    humantime::parse_rfc3339_weak(&whole).map(at).map_err(|_| {
        format!("`{text}` is no moment: expected 2026-01-31, 2026-01-31T18:05 (UTC) or 2h (ago)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_every_kind_come_to_one_form_that_sorts() {
        for (text, expected) in [
            ("2026-01-31 18:05:09.25+00", "2026-01-31 18:05:09.25"),
            ("2026-01-31T18:05:09Z", "2026-01-31 18:05:09"),
            ("2026-01-31", "2026-01-31"),
            ("1769882709", "2026-01-31 18:05:09"),
            ("1769882709250", "2026-01-31 18:05:09.25"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(canonical(text), expected);
        }
        assert_eq!(parse("2026-01-31T18:05").unwrap(), "2026-01-31 18:05:00");
        assert_eq!(parse("2026-01-31").unwrap(), "2026-01-31 00:00:00");
        assert!(parse("2h").unwrap() < at(SystemTime::now()));
        assert!(parse("soon").unwrap_err().contains("is no moment"));
    }
}
