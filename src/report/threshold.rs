//! Thresholds: figures of the report that must stay on one side of a value.

use super::Report;
use super::measured::Measured;
use crate::outcome::Outcome;
use crate::text;
use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

/// A figure, a comparison and a value, as in `p99 < 50ms`.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    figure: String,
    comparison: Comparison,
    value: f64,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
    NotEqual,
}

/// Longer signs first, so that `<=` is not read as `<`.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

/// A bare one of these is the order latency of what was deducted.
const LATENCIES: [&str; 8] = ["min", "mean", "p50", "p90", "p99", "p999", "p9999", "max"];

/// What came of a threshold.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// The threshold as it was written.
    pub expr: String,
    /// The figure; missing where the run has none, and then it fails.
    pub value: Option<f64>,
    /// Whether that figure is a duration in microseconds.
    pub in_microseconds: bool,
    /// Whether it held.
    pub passed: bool,
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text::one_line(text);
        let shape = "expected FIGURE <|<=|>|>=|==|!= VALUE, as in 'p99 < 50ms' or 'oversold_units == 0'";
        let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
            let (figure, value) = text.split_once(sign)?;
            Some((figure.trim(), *comparison, value.trim()))
        });
        let (figure, comparison, value) =
            found.ok_or_else(|| format!("`{text}` is no threshold: {shape}"))?;
        let number = number(value, figure).ok_or_else(|| {
            format!(
                "`{text}`: `{value}` is neither a number, a share such as 30% nor a duration such as 50ms"
            )
        })?;
        check_figure(figure).map_err(|error| format!("`{text}`: {error}"))?;
        Ok(Self { figure: figure.to_owned(), comparison, value: number, text })
    }
}

/// A value in the unit of its figure.
fn number(text: &str, figure: &str) -> Option<f64> {
    let finite = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    if let Some(percent) = text.strip_suffix('%') {
        let is_time = LATENCIES.contains(&figure) || figure.contains("_us.");
        return finite(percent).filter(|_| !is_time).map(|percent| percent / 100.0);
    }
    let plain = finite(text);
    let per_second = match figure.rsplit('.').next().unwrap_or_default() {
        name if name.ends_with("_s") => 1.0,
        name if name.ends_with("_ms") => 1e3,
        _ => 1e6,
    };
    plain.or_else(|| text::duration(text).ok().map(|duration| duration.as_secs_f64() * per_second))
}

/// Follows a reference to a type of its own.
fn followed<'s>(schema: &'s Value, root: &'s Value) -> &'s Value {
    let of_option = schema["anyOf"].get(0).filter(|_| schema.get("$ref").is_none());
    let schema = of_option.unwrap_or(schema);
    match schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        Some(name) => &root["$defs"][name],
        None => schema,
    }
}

/// Whether a figure of this first name is one of the audit's, by the report's schema.
fn is_of_audit(first: &str, root: &Value) -> bool {
    let audit = &root["$defs"]["AuditReport"];
    root["properties"].get(first).is_none() && audit["properties"].get(first).is_some()
}

/// Every name of a figure must be one of the report's, and its last a number.
fn check_figure(figure: &str) -> Result<(), String> {
    let root = serde_json::to_value(schemars::schema_for!(Report)).unwrap_or_default();
    if LATENCIES.contains(&figure) {
        return Ok(());
    }
    let names = |object: &Value| -> Vec<String> {
        object["properties"].as_object().map_or_else(Vec::new, |known| known.keys().cloned().collect())
    };
    let unknown = |name: &str, known: &[String]| {
        let suggestion = text::did_you_mean(name, known.iter().map(String::as_str));
        Err(format!("the report has no figure `{name}`{suggestion}"))
    };
    let first = figure.split('.').next().unwrap_or_default();
    let audit = &root["$defs"]["AuditReport"];
    let mut at = if is_of_audit(first, &root) { audit } else { &root };
    for (depth, name) in figure.split('.').enumerate() {
        at = followed(at, &root);
        if let Some(next) = at["properties"].get(name) {
            at = next;
        } else if at.get("additionalProperties").is_some_and(Value::is_object) {
            // What is counted under it has no fixed names, but for outcomes.
            let by_outcome = matches!(first, "outcomes") || figure.contains(".order");
            if by_outcome {
                name.parse::<Outcome>()?;
            }
            at = &at["additionalProperties"];
        } else {
            let mut known = names(at);
            if depth == 0 {
                known.extend(names(audit));
                known.extend(LATENCIES.map(str::to_owned));
            }
            return unknown(name, &known);
        }
    }
    let at = followed(at, &root);
    let types: Vec<&str> = match &at["type"] {
        Value::String(name) => vec![name],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if types.iter().any(|name| matches!(*name, "integer" | "number")) {
        return Ok(());
    }
    let known = names(at);
    let hint = if known.is_empty() { String::new() } else { format!(": name one of {}", known.join(", ")) };
    Err(format!("`{figure}` is no number of the report{hint}"))
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Judged {
    /// The figure's value for people.
    pub fn shown(&self) -> String {
        match self.value {
            None => "the run has no such figure".to_owned(),
            Some(value) if self.in_microseconds => text::micros_of(value),
            Some(value) => value.to_string(),
        }
    }
}

/// Figures that only grow while a run goes on.
const GROWING: [&str; 9] = [
    "outcomes",
    "errors",
    "errors_by_class",
    "deliveries",
    "attempts",
    "retries",
    "conflicts",
    "late",
    "elapsed_s",
];

impl Threshold {
    /// Whether a miss ends a run early: a limit from above that is exceeded, or
    /// a count that has outgrown its number. What is to be reached may still be.
    fn ends_at(&self, value: f64) -> bool {
        let mut names = self.figure.split('.');
        let grows = names.next().is_some_and(|first| GROWING.contains(&first))
            || matches!(self.figure.rsplit('.').next(), Some("count" | "max"))
            || matches!(self.figure.as_str(), "attempts_max" | "deadlocks");
        match self.comparison {
            Comparison::Below | Comparison::AtMost => true,
            Comparison::Equal => grows && value > self.value,
            Comparison::Above | Comparison::AtLeast | Comparison::NotEqual => false,
        }
    }

    /// Whether its figure is one of the audit's.
    pub fn is_of_audit(&self) -> bool {
        let first = self.figure.split('.').next().unwrap_or_default();
        first == "audit"
            || is_of_audit(first, &serde_json::to_value(schemars::schema_for!(Report)).unwrap_or_default())
    }

    fn judge(&self, report: &Value) -> Judged {
        let value = self.find(report);
        let passed = value.is_some_and(|value| {
            let is_equal = (value - self.value).abs() < f64::EPSILON;
            match self.comparison {
                Comparison::Below => value < self.value,
                Comparison::AtMost => value <= self.value,
                Comparison::Above => value > self.value,
                Comparison::AtLeast => value >= self.value,
                Comparison::Equal => is_equal,
                Comparison::NotEqual => !is_equal,
            }
        });
        let in_microseconds = LATENCIES.contains(&self.figure.as_str()) || self.figure.contains("_us.");
        Judged { expr: self.text.clone(), value, in_microseconds, passed }
    }

    fn find(&self, report: &Value) -> Option<f64> {
        let path = match self.figure.as_str() {
            bare if LATENCIES.contains(&bare) => format!("latency_us.order.deducted.{bare}"),
            path => path.to_owned(),
        };
        let walk = |root: &Value| path.split('.').try_fold(root.clone(), |at, name| at.get(name).cloned());
        let found = walk(report).or_else(|| walk(&report["audit"]));
        // What was counted by name and never met was met no time.
        let counted =
            ["outcomes.", "errors.", "errors_by_class."].iter().any(|counts| path.starts_with(counts));
        found.and_then(|value| value.as_f64()).or_else(|| counted.then_some(0.0))
    }
}

/// The first threshold whose breach ends a run that still goes on. One whose figure is not there yet is not
/// judged.
///
/// # Errors
/// The figures cannot be written as JSON, which would be a bug.
pub fn first_breach(thresholds: &[Threshold], measured: &Measured) -> Result<Option<Judged>> {
    let figures = serde_json::to_value(measured).context("figures are JSON")?;
    Ok(thresholds.iter().find_map(|threshold| {
        let judged = threshold.judge(&figures);
        let ends = judged.value.is_some_and(|value| threshold.ends_at(value));
        (ends && !judged.passed).then_some(judged)
    }))
}

/// Judges thresholds by a report.
///
/// # Errors
/// The report cannot be written as JSON, which would be a bug.
pub fn judge(thresholds: &[Threshold], report: &Report) -> Result<Vec<Judged>> {
    let report = serde_json::to_value(report).context("a report is JSON")?;
    Ok(thresholds.iter().map(|threshold| threshold.judge(&report)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(threshold: &str) -> bool {
        let report = json!({
            "conflict_rate": 0.25,
            "outcomes": { "deducted": 3 },
            "audit": { "oversold_units": 0 },
            "latency_us": { "order": { "deducted": { "p99": 49_000 } } },
        });
        threshold.parse::<Threshold>().unwrap().judge(&report).passed
    }

    #[test]
    fn figures_are_found_by_path_by_short_name_and_in_the_audit() {
        assert!(holds("p99 < 50ms") && !holds("p99 < 0.04s") && holds("p99 == 49000"));
        assert!(holds("conflict_rate <= 25%") && !holds("conflict_rate < 0.25"));
        assert!(holds("oversold_units == 0") && !holds("oversold_units != 0"));
        assert!(holds("outcomes.deducted >= 3") && holds("outcomes.conflict == 0"));
    }

    #[test]
    fn a_figure_without_a_value_fails() {
        assert!(!holds("p50 < 1h") && !holds("p50 > 0"));
    }

    #[test]
    fn what_is_no_threshold_is_refused() {
        let error = |text: &str| text.parse::<Threshold>().unwrap_err();
        assert!(error("p99").contains("is no threshold"));
        assert!(error("p99 < fast").contains("neither a number"));
        assert!(error("p99 < 50%").contains("neither a number"), "a latency is no share");
        assert!(error("conflict_rate < nan%").contains("neither a number"));
        assert!(error("outcomes.dedcuted == 0").contains("unknown outcome"));
        assert!(error("oversold_unit == 0").contains("did you mean \"oversold_units\"?"));
    }
}
