//! The audit of a shop's own tables, for people: on a terminal, on one screen
//! for an incident channel, and as a list of entries.

use super::Document;
use super::client::peak_rss_bytes;
use super::grid::Grid;
use super::model::SCHEMA_VERSION;
use super::terminal::{NOT_ALL_SEEN, scope};
use crate::audit::findings::Evidence;
use crate::audit::tables::{SkuSummary, TableAudit};
use crate::audit::{Finding, Key};
use crate::db::DatabaseInfo;
use crate::escape;
use crate::text;
use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, Write};

/// What `audit --mapping -o json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "stockbench audit of a shop's own tables")]
pub struct TablesReport<'a> {
    /// The version of this shape.
    schema_version: u32,
    /// The version of stockbench that wrote it.
    stockbench_version: &'static str,
    /// The database, as it described itself.
    database: &'a DatabaseInfo,
    /// The most memory that stockbench held.
    peak_rss_bytes: u64,
    /// The verdict.
    audit: &'a TableAudit,
}

impl Document for TablesReport<'_> {}

impl<'a> TablesReport<'a> {
    /// The verdict on a database.
    pub fn new(database: &'a DatabaseInfo, audit: &'a TableAudit) -> Self {
        let (schema_version, stockbench_version) = (SCHEMA_VERSION, env!("CARGO_PKG_VERSION"));
        Self { schema_version, stockbench_version, database, peak_rss_bytes: peak_rss_bytes(), audit }
    }
}

/// SKUs and findings that are shown; all of them are in the JSON.
const SKUS_SHOWN: usize = 15;
const FINDINGS_SHOWN: usize = 12;

/// SKUs of the summary for one screen.
const SKUS_IN_SUMMARY: usize = 5;

fn verdict(audit: &TableAudit) -> String {
    match (audit.passed, audit.judged) {
        (true, _) => "passed".to_owned(),
        (false, false) if audit.findings_total + audit.hidden == 0 => "nothing to judge".to_owned(),
        (false, true) if audit.findings_total + audit.hidden == 0 => NOT_ALL_SEEN.to_owned(),
        (false, _) if audit.findings_total == 0 => "FAILED, though not in this time".to_owned(),
        (false, _) => {
            format!(
                "FAILED ({} in {})",
                text::count(audit.findings_total, "finding"),
                text::count(audit.broken_skus, "SKU")
            )
        }
    }
}

fn signed(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", text::thousands(number.unsigned_abs()))
}

fn head(out: &mut dyn Write, database: &DatabaseInfo, audit: &TableAudit) -> io::Result<()> {
    writeln!(out, "{} {} at {}", database.kind.title(), database.version, database.url_redacted)?;
    let position = audit.position.as_ref().map_or_else(String::new, |position| format!(", at {position}"));
    let role = match (audit.is_replica, audit.replica_lag_s) {
        (Some(true), Some(lag)) => format!(", a replica {lag:.1} s behind"),
        (Some(true), None) => ", a replica whose lag is not known".to_owned(),
        _ => String::new(),
    };
    writeln!(out, "one snapshot, read-only, of {} UTC{position}{role}", audit.taken_at)?;
    writeln!(out)?;
    writeln!(
        out,
        "audit: {} ({}, {})",
        verdict(audit),
        text::count(audit.skus, "SKU"),
        text::count(audit.entries, "entry")
    )?;
    writeln!(out, "  {} units in stock, {} by the ledger", signed(audit.in_stock), signed(audit.by_ledger))?;
    for (what, units) in [
        ("oversold units", audit.oversold_units),
        ("units recorded and not taken (lost updates)", audit.lost_update_units),
        ("units that left without an entry", audit.missing_entry_units),
    ] {
        if units > 0 {
            writeln!(out, "  {what}: {}", text::thousands(units))?;
        }
    }
    if audit.hidden > 0 {
        writeln!(out, "  outside --since and --until: {}", text::count(audit.hidden, "more finding"))?;
    }
    for what in &audit.not_checked {
        writeln!(out, "  not checked: {what}")?;
    }
    scope(out, &audit.not_seen, &audit.caveats, &audit.without_transactions)
}

/// Stock and ledger in words; empty where the sums agree and only orders break
/// something.
fn units_of(sku: &SkuSummary) -> [String; 2] {
    if (sku.stock, sku.ledger) == (None, None) {
        return Default::default();
    }
    [sku.stock, sku.ledger].map(|number| number.map_or_else(|| "none".to_owned(), signed))
}

fn worst(audit: &TableAudit, rows: usize) -> Grid {
    let mut table = Grid::new(&["SKU", "stock", "ledger", "units", "found", "first", "last"]);
    for sku in audit.by_sku.iter().take(rows) {
        let kinds: Vec<&str> = sku.kinds.iter().map(|kind| kind.as_str()).collect();
        let [stock, ledger] = units_of(sku);
        table.add_row([
            sku.sku_id.to_string(),
            stock,
            ledger,
            text::thousands(sku.units),
            kinds.join(", "),
            sku.first_at.clone().unwrap_or_default(),
            sku.last_at.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// Writes the verdict on a shop's own tables.
///
/// # Errors
/// The writer fails.
pub fn audit(out: &mut dyn Write, database: &DatabaseInfo, audit: &TableAudit) -> io::Result<()> {
    head(out, database, audit)?;
    if !audit.by_sku.is_empty() {
        writeln!(out)?;
        worst(audit, SKUS_SHOWN).write(out)?;
        let more = audit.broken_skus.saturating_sub(SKUS_SHOWN as u64);
        if more > 0 {
            writeln!(out, "… and {}: see the JSON (-o json)", text::count(more, "more SKU"))?;
        }
    }
    let mut explained = Vec::new();
    let mut shown: &[Evidence] = &[];
    for finding in worst_findings(audit).take(FINDINGS_SHOWN) {
        show(out, finding, shown)?;
        shown = &finding.evidence;
        if !finding.may_mean.is_empty() && !explained.contains(&finding.kind) {
            explained.push(finding.kind);
            writeln!(out, "    may mean:")?;
            for cause in &finding.may_mean {
                writeln!(out, "    - {cause}")?;
            }
        }
    }
    let more = audit.findings_total.saturating_sub(FINDINGS_SHOWN as u64);
    if more > 0 {
        writeln!(out)?;
        writeln!(out, "… and {}: see the JSON (-o json)", text::count(more, "more finding"))?;
    }
    writeln!(out)?;
    for pass in &audit.passes {
        writeln!(
            out,
            "{:>8.2} s  {} ({}, {})",
            pass.seconds,
            pass.name,
            text::count(pass.statements, "statement"),
            text::count(pass.rows, "row")
        )?;
    }
    Ok(())
}

/// The findings of the worst SKU first.
fn worst_findings(audit: &TableAudit) -> impl Iterator<Item = &Finding> {
    let without = audit.findings.iter().filter(|finding| finding.sku_id.is_none());
    let by_sku = audit.by_sku.iter().take(FINDINGS_SHOWN).flat_map(|sku| {
        audit.findings.iter().filter(move |finding| finding.sku_id.as_ref() == Some(&sku.sku_id))
    });
    by_sku.chain(without)
}

/// Writes a finding; the evidence that stands just above is not repeated.
fn show(out: &mut dyn Write, finding: &Finding, shown: &[Evidence]) -> io::Result<()> {
    let orders: Vec<String> = finding.order_ids.iter().map(Key::to_string).collect();
    let more = if finding.orders > orders.len() as u64 { ", …" } else { "" };
    let orders =
        if orders.is_empty() { String::new() } else { format!(" (orders {}{more})", orders.join(", ")) };
    writeln!(out)?;
    writeln!(out, "  ✗ {}: {}{orders}", finding.kind.as_str(), finding.message)?;
    match (&finding.first_at, &finding.last_at) {
        (Some(first), Some(last)) if first == last => writeln!(out, "    at {first}")?,
        (Some(first), Some(last)) => writeln!(out, "    from {first} to {last}")?,
        _ => {}
    }
    for evidence in finding.evidence.iter().filter(|_| finding.evidence != shown) {
        let balance = evidence.balance.map_or_else(String::new, |balance| format!(" → {balance}"));
        let order = evidence.order_id.as_ref().map_or_else(String::new, |order| format!(", order {order}"));
        let at = evidence.at.as_ref().map_or_else(String::new, |at| format!(", {at}"));
        writeln!(
            out,
            "    entry {}: {} {:+}{balance}{order}{at}   {}",
            evidence.entry_id, evidence.kind, evidence.delta, evidence.role
        )?;
    }
    Ok(())
}

/// Writes one screen for an incident channel.
///
/// # Errors
/// The writer fails.
pub fn summary(out: &mut dyn Write, database: &DatabaseInfo, audit: &TableAudit) -> io::Result<()> {
    head(out, database, audit)?;
    for sku in audit.by_sku.iter().take(SKUS_IN_SUMMARY) {
        let kinds: Vec<&str> = sku.kinds.iter().map(|kind| kind.as_str()).collect();
        let [stock, ledger] = units_of(sku);
        let units =
            if stock.is_empty() { String::new() } else { format!(" stock {stock}, ledger {ledger}:") };
        let since = sku.first_at.as_ref().map_or_else(String::new, |first| format!(", first {first}"));
        writeln!(out, "- SKU {}:{units} {}{since}", sku.sku_id, kinds.join(", "))?;
    }
    let more = audit.broken_skus.saturating_sub(SKUS_IN_SUMMARY as u64);
    if more > 0 {
        writeln!(out, "- and {}", text::count(more, "more SKU"))?;
    }
    if let Some(finding) = worst_findings(audit).find(|finding| !finding.may_mean.is_empty()) {
        writeln!(out, "{} may mean:", finding.kind.as_str())?;
        for cause in &finding.may_mean {
            writeln!(out, "- {cause}")?;
        }
    }
    Ok(())
}

/// Writes the entries that findings rest on, as CSV that a spreadsheet can open: no cell
/// is a formula.
///
/// # Errors
/// The writer fails.
pub fn evidence(out: impl Write, audit: &TableAudit) -> Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record([
        "finding", "kind", "sku", "units", "message", "role", "entry_id", "order_id", "movement", "delta",
        "balance", "at",
    ])?;
    for (finding, number) in audit.findings.iter().zip(1_u64..) {
        let sku = finding.sku_id.as_ref().map_or_else(String::new, Key::to_string);
        let start = [
            number.to_string(),
            finding.kind.as_str().to_owned(),
            sku,
            finding.units.to_string(),
            finding.message.clone(),
        ];
        let number = |number: Option<i64>| number.map_or_else(String::new, |number| number.to_string());
        let mut rows: Vec<[String; 7]> = finding
            .evidence
            .iter()
            .map(|entry| {
                [
                    entry.role.to_string(),
                    entry.entry_id.clone(),
                    entry.order_id.as_ref().map_or_else(String::new, Key::to_string),
                    entry.kind.clone(),
                    entry.delta.to_string(),
                    number(entry.balance),
                    entry.at.clone().unwrap_or_default(),
                ]
            })
            .collect();
        let of_order = |order: &Key| {
            let [role, id, _, kind, delta, balance, at] = <[String; 7]>::default();
            [role + "order", id, order.to_string(), kind, delta, balance, at]
        };
        rows.extend(finding.order_ids.iter().map(of_order));
        if rows.is_empty() {
            rows.push(<[String; 7]>::default());
        }
        for row in rows {
            csv.write_record(start.iter().chain(&row).map(|text| escape::cell(text).into_owned()))?;
        }
    }
    csv.flush()?;
    Ok(())
}
