//! The page of one run, or of several side by side.

use super::super::change::{self, Change, Means, percent};
use super::super::compared;
use super::super::measured::{Distribution, as_f64};
use super::super::model::Report;
use super::super::terminal::{self, tenths};
use super::charts::{Chart, Line};
use super::{cell, figure, line, page, seconds, table};
use crate::audit::{AuditReport, Finding};
use crate::exit::Exit;
use crate::outcome::Outcome;
use crate::text;
use anyhow::Result;
use maud::{Markup, html};

/// Findings that are spelled out; all of them are in the JSON.
const FINDINGS_SHOWN: usize = 20;

/// Orders of a finding that are named.
const ORDERS_SHOWN: usize = 12;

/// The page of these runs, each with the name that it goes by; the first is what the
/// others are held against.
///
/// # Errors
/// Their loads differ, or a report holds what is no histogram.
pub fn runs(reports: &[(String, Report)], noise_pct: u8) -> Result<String> {
    let title = match reports {
        [(_, only)] => format!("{} on {}", only.strategy, only.database.kind.title()),
        _ => "Runs side by side".to_owned(),
    };
    let content = html! {
        h1 { (title) }
        @for (name, report) in reports { (verdict(name, report, reports.len() > 1)) }
        @if let [(base, first), others @ ..] = reports {
            @for (name, other) in others { (changes(base, first, name, other, noise_pct)?) }
        }
        h2 { "Latency" }
        (latency(reports)?)
        h2 { "Goodput over time" }
        (over_time(reports)?)
        h2 { "Outcomes" }
        (outcomes(reports))
        (findings(reports))
        h2 { "Configuration" }
        (configuration(reports)?)
    };
    Ok(page(&title, content))
}

fn verdict(name: &str, report: &Report, is_named: bool) -> Markup {
    let exit = report.exit();
    let given_up = report.given_up();
    let is_given_up = given_up.is_some_and(|given_up| !given_up.sold_out_anyway());
    let class = if exit == Exit::Held && !is_given_up { "good" } else { "bad" };
    let mut lines = terminal::verdict(report);
    let last = lines.pop().unwrap_or_default();
    let audit = report.audit.as_ref();
    html! {
        div.verdict.(class) {
            @if is_named { strong { (name) ": " } }
            strong { (last) }
            @for line in lines { p { (line) } }
            @if let Some(audit) = audit { p { (witnesses(audit)) } }
            @if let Some(sold_out) = report.sold_out() { p { "Sold out " (sold_out) "." } }
            @if let Some(seeded) = report.seeded_to_last() { p { "Stock: " (seeded) "." } }
            @if let Some(error) = &report.audit_error { p { "No audit: " (error) } }
        }
        dl.figures {
            (tile("sold per second", &tenths(report.measured.goodput.orders_per_s)))
            @if let Some(sold) = report.measured.latency_us.order.get(&Outcome::Deducted) {
                (tile("median latency", &text::micros(sold.p50)))
                (tile("99th percentile", &text::micros(sold.p99)))
            }
            (tile("conflicts", &format!("{:.1} %", report.measured.conflict_rate * 100.0)))
            @if let Some(given_up) = given_up { (tile("given up", &given_up.figures())) }
            (tile("clients", &text::thousands(report.config.concurrency)))
            (tile("SKUs", &text::thousands(report.config.skus)))
        }
    }
}

fn tile(name: &str, value: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

fn witnesses(audit: &AuditReport) -> String {
    let units = &audit.units;
    let count = |units: i64| text::count(units.unsigned_abs(), "unit");
    format!(
        "Clients were told {} sold, the ledger records {}, {} left the stock; {} existed, {} remain.",
        count(units.told),
        text::thousands(units.ledger.unsigned_abs()),
        text::thousands(units.left_stock.unsigned_abs()),
        text::thousands(units.existed.unsigned_abs()),
        text::thousands(units.in_stock.unsigned_abs()),
    )
}

/// What changed from one run to another one, if they can be compared.
fn changes(base: &str, before: &Report, name: &str, after: &Report, noise_pct: u8) -> Result<Markup> {
    let changes = change::between(before, after, noise_pct)?;
    let row = |change: &Change| -> Vec<Markup> {
        let value = |value: f64| match change.figure {
            "sold/s" => tenths(value),
            _ => text::micros_of(value),
        };
        let interval = change
            .interval
            .map_or_else(String::new, |(low, high)| format!("{} … {}", percent(low), percent(high)));
        let class = match change.means {
            Means::Worse | Means::NoWorth => "bad",
            Means::Better => "good",
            Means::Noise | Means::Drift | Means::TooShort => "faint",
        };
        let word = change.means.as_str();
        let cells = [
            change.figure.to_owned(),
            value(change.before),
            value(change.after),
            percent(change.ratio),
            interval,
        ];
        cells.into_iter().map(cell).chain([html! { span.(class) { (word) } }]).collect()
    };
    let rows: Vec<Vec<Markup>> = changes.iter().map(row).collect();
    Ok(html! {
        h2 { (name) " against " (base) }
        (table(&["figure", base, name, "change", "95 % interval", ""], &rows, 1..5))
        p.faint {
            "The changes and their intervals come from the seconds of both runs: of what was sold their mean, of latencies "
            "their median, which is not the percentile of the whole run. A change counts where the interval leaves out none."
        }
        @for caveat in change::caveats(before, after, noise_pct) { p { (caveat) } }
        @for note in change::notes(before, after) { p.faint { (note) } }
    })
}

/// The latency of sold orders by percentile.
fn latency(reports: &[(String, Report)]) -> Result<Markup> {
    let mut lines = Vec::new();
    for (name, report) in reports {
        for (outcome, distribution) in &report.measured.latency_us.order {
            let is_answer = matches!(outcome, Outcome::Deducted | Outcome::SoldOut | Outcome::Conflict);
            if let Some(points) = percentile_curve(distribution)?.filter(|_| is_answer) {
                let name = match (reports.len(), outcome) {
                    (1, outcome) => outcome.as_str().to_owned(),
                    (_, Outcome::Deducted) => name.clone(),
                    _ => continue,
                };
                lines.push(line(&name, points));
            }
        }
    }
    let chart = Chart {
        x_title: "percentile",
        y_title: "latency",
        x_label: &|nines| if nines < 0.5 { "0".to_owned() } else { format!("{} %", percentile(nines)) },
        y_label: &|log| text::micros_of(10.0_f64.powf(log)),
        x_steps: Some(7),
        y_from: None,
        lines: &lines,
        marks: &[],
    };
    let rows = reports.iter().flat_map(|(name, report)| {
        report.measured.latency_us.order.iter().map(move |(outcome, latency)| {
            let values = [latency.p50, latency.p90, latency.p99, latency.p999, latency.p9999, latency.max];
            let words = [name.clone(), outcome.as_str().to_owned(), text::thousands(latency.count)];
            words.into_iter().chain(values.map(text::micros)).map(cell).collect()
        })
    });
    let rows: Vec<Vec<Markup>> = rows.collect();
    let head = ["run", "outcome", "orders", "p50", "p90", "p99", "p99.9", "p99.99", "max"];
    Ok(html! {
        @if !lines.is_empty() {
            (figure(&chart, "Order latency by percentile, from the intended start to the answer, retries and waits included; both axes are logarithmic.")?)
        }
        (table(&head, &rows, 2..9))
    })
}

/// `99.9` for three nines.
fn percentile(nines: f64) -> String {
    let share = 100.0 - 100.0 / 10.0_f64.powf(nines);
    let digits = if nines > 2.5 { nines.round() - 2.0 } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful of digits")]
    let digits = digits.max(0.0) as usize;
    format!("{share:.digits$}")
}

/// Points of a distribution: how many nines, and the logarithm of the latency there.
fn percentile_curve(distribution: &Distribution) -> Result<Option<Vec<(f64, f64)>>> {
    let Some(histogram) = distribution.kept()?.filter(|histogram| !histogram.is_empty()) else {
        return Ok(None);
    };
    let most = as_f64(histogram.len()).log10();
    let steps = (0..=60).map(|step| f64::from(step) / 10.0).take_while(|nines| *nines <= most);
    let point = |nines: f64| {
        let latency = histogram.value_at_quantile(1.0 - 10.0_f64.powf(-nines));
        (nines, as_f64(latency.max(1)).log10())
    };
    Ok(Some(steps.map(point).collect()))
}

fn over_time(reports: &[(String, Report)]) -> Result<Markup> {
    let lines: Vec<Line> = reports
        .iter()
        .map(|(name, report)| {
            // A rest of a second is no rate.
            let whole = report.series.iter().filter(|second| second.span_s > 0.5);
            line(name, whole.map(|second| (second.at_s, second.orders_per_s)).collect())
        })
        .collect();
    let faults = || reports.iter().flat_map(|(_, report)| &report.faults);
    let marks: Vec<f64> = faults().map(|mark| mark.at_s).collect();
    let chart = Chart {
        x_title: "time",
        y_title: "orders sold per second",
        x_label: &seconds,
        y_label: &compared::per_second,
        x_steps: None,
        y_from: Some(0.0),
        lines: &lines,
        marks: &marks,
    };
    let caption = if marks.is_empty() {
        "Orders sold in each second of the measured window."
    } else {
        "Orders sold in each second of the measured window; dashed lines are faults."
    };
    let rows: Vec<Vec<Markup>> = faults()
        .map(|mark| {
            let recovered = mark.recovered_s.map_or_else(|| "-".to_owned(), |after| format!("{after:.2} s"));
            let cells = [
                format!("{:.1} s", mark.at_s),
                mark.fault.clone(),
                format!("{:.2} s", mark.lasted_s),
                recovered,
            ];
            cells.into_iter().map(cell).collect()
        })
        .collect();
    Ok(html! {
        (figure(&chart, caption)?)
        @if !rows.is_empty() { (table(&["at", "fault", "lasted", "succeeded again after"], &rows, 2..4)) }
    })
}

fn outcomes(reports: &[(String, Report)]) -> Markup {
    let row = |(name, report): &(String, Report)| -> Vec<Vec<Markup>> {
        let measured = &report.measured;
        let outcomes = measured.outcomes.iter().map(|(outcome, count)| (outcome.as_str().to_owned(), *count));
        let errors = measured.errors.iter().map(|(code, count)| {
            let note = measured.error_notes.get(code).map_or("", String::as_str);
            (format!("error {code}: {note}"), *count)
        });
        let more = [("retries".to_owned(), measured.retries), ("conflicts".to_owned(), measured.conflicts)];
        let struck = measured.struck.iter().map(|(fault, count)| (format!("fault {fault}"), *count));
        let counts = outcomes.chain(more).chain(struck).chain(errors);
        counts.map(|(what, count)| vec![cell(name), cell(what), cell(text::thousands(count))]).collect()
    };
    let rows: Vec<Vec<Markup>> = reports.iter().flat_map(row).collect();
    table(&["run", "what", "count"], &rows, 2..3)
}

fn findings(reports: &[(String, Report)]) -> Markup {
    let with = reports.iter().filter_map(|(name, report)| {
        let audit = report.audit.as_ref().filter(|audit| !audit.findings.is_empty())?;
        Some((name, audit))
    });
    html! {
        @for (name, audit) in with {
            h2 { "Findings of " (name) }
            p { (text::count(audit.findings_total, "finding")) }
            @for (number, finding) in audit.findings.iter().take(FINDINGS_SHOWN).enumerate() {
                // What a kind may mean is said with the first of it.
                @let is_new = audit.findings[..number].iter().all(|earlier| earlier.kind != finding.kind);
                (one_finding(finding, is_new))
            }
            @if audit.findings_total > FINDINGS_SHOWN as u64 { p.faint { "The others are in the JSON." } }
        }
    }
}

fn one_finding(finding: &Finding, is_new: bool) -> Markup {
    let orders: Vec<String> = finding.order_ids.iter().take(ORDERS_SHOWN).map(ToString::to_string).collect();
    html! {
        h3.bad { (finding.kind.as_str()) @if finding.units > 0 { ", " (text::count(finding.units, "unit")) } }
        p { (finding.message) }
        @if !orders.is_empty() {
            p.faint { "Orders " code { (orders.join(", ")) } @if finding.orders > orders.len() as u64 { " and others" } }
        }
        @for cause in finding.may_mean.iter().filter(|_| is_new) { p.faint { "It may mean: " (cause) } }
    }
}

fn configuration(reports: &[(String, Report)]) -> Result<Markup> {
    let mut rows: Vec<Vec<Markup>> = Vec::new();
    for (name, report) in reports {
        let mut add = |what: &str, value: String| {
            rows.push(vec![cell(name), cell(what), html! { code { (value) } }]);
        };
        add("measured by", format!("stockbench {}", report.stockbench_version));
        add("strategy", report.strategy.clone());
        add("database", terminal::database_line(&report.database));
        for (service, info) in &report.services {
            add(&format!("service {service}"), terminal::database_line(info));
        }
        if let Some(redis) = &report.redis {
            add("Redis", terminal::redis_line(redis));
        }
        add("started", report.started_at.clone());
        add("random seed", report.random_seed.to_string());
        if let serde_json::Value::Object(config) = serde_json::to_value(&report.config)? {
            for (what, value) in config.iter().filter(|(_, value)| !value.is_null()) {
                add(what, value.to_string());
            }
        }
        for (what, value) in &report.database.settings {
            add(what, value.clone());
        }
    }
    Ok(html! { details { summary { "Everything that was asked, and what the database is set to" }
    (table(&["run", "what", "value"], &rows, 0..0)) } })
}
