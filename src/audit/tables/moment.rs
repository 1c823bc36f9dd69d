//! Moments as databases write them, brought to one form that sorts as text:
//! `2026-01-31 18:05:09.25`, in UTC where the database knows a zone.

use crate::db::Value;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment in the one form. Whole numbers count from 1970, in the unit that
/// their size suggests; other texts stay as they are.
pub fn canonical(text: &str) -> String {
    let text = text.trim();
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    if let (Ok(_), Ok(number)) = (whole.parse::<u64>(), text.parse::<f64>()) {
        let unit = match whole.len() {
            ..=10 => 1.0,
            11..=13 => 1e3,
            14..=16 => 1e6,
            _ => 1e9,
        };
        return Duration::try_from_secs_f64(number / unit)
            .map_or_else(|_| text.to_owned(), |since| at(UNIX_EPOCH + since));
    }
    let is_dated = text.get(..10).is_some_and(|date| date.chars().filter(|c| *c == '-').count() == 2);
    if !is_dated {
        return text.to_owned();
    }
    let (date, time) = text.split_at(10);
    let time = time.trim_start_matches(['T', ' ']);
    let end = time.find(['+', '-', 'Z', ' ']).unwrap_or(time.len());
    let plain = format!("{date} {}", &time[..end]).trim_end().to_owned();
    match (humantime::parse_rfc3339_weak(&plain), offset(time[end..].trim())) {
        (Ok(local), Some((is_east, offset))) if !offset.is_zero() => {
            at(if is_east { local - offset } else { local + offset })
        }
        _ => plain,
    }
}

/// The moment in a column; `None` where it is NULL.
pub fn of(value: &Value) -> Option<String> {
    (*value != Value::Null).then(|| canonical(&value.to_text()))
}

/// How far a zone such as `+01`, `-0530` or `+05:30` is from UTC, and whether
/// to its east.
fn offset(zone: &str) -> Option<(bool, Duration)> {
    let digits: String = zone.get(1..)?.chars().filter(char::is_ascii_digit).collect();
    let hours: u64 = digits.get(..2)?.parse().ok()?;
    let minutes: u64 = digits.get(2..4).map_or(Some(0), |minutes| minutes.parse().ok())?;
    let is_east = zone.starts_with('+');
    (is_east || zone.starts_with('-')).then(|| (is_east, Duration::from_secs(60 * (60 * hours + minutes))))
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
            ("2026-01-31T18:05:09-05:30", "2026-01-31 23:35:09"),
            ("2026-01-31 18:05:09+02", "2026-01-31 16:05:09"),
            ("1769882709.25", "2026-01-31 18:05:09.25"),
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
