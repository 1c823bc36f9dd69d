//! The statements that would bring stock and ledger together again. They are
//! printed and never run: which of the two is right, a shelf or a customer
//! knows. Each one holds its own condition, so that it moves nothing when run
//! twice, or when somebody has mended the SKU since.

use super::resolve::{LedgerSql, Opening, Resolved};
use super::{SkuSummary, TableAudit};
use crate::audit::Key;
use crate::db::Dialect;
use std::fmt::Write as _;

/// Which of the two is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Toward {
    /// The stock is set to what the ledger adds up to.
    Ledger,
    /// The ledger gets an entry that brings it to the stock.
    Stock,
}

/// The statements for every SKU that does not add up, with their reasons.
pub fn sql(audit: &TableAudit, resolved: &Resolved, toward: Toward) -> String {
    let mut text = format!(
        "-- Statements that bring {}; of the snapshot at {} (UTC).\n\
         -- None of them was run. Read each reason first: goods that were really sold, or really are\n\
         -- on the shelf, decide which side is right.\n",
        match toward {
            Toward::Ledger => "the stock to what the ledger adds up to",
            Toward::Stock => "the ledger to what is in stock",
        },
        audit.taken_at
    );
    let mut count = 0;
    for sku in &audit.by_sku {
        let (Some(stock), Some(ledger)) = (sku.stock, sku.ledger) else { continue };
        if stock == ledger {
            continue;
        }
        count += 1;
        let reasons = audit.findings.iter().filter(|finding| finding.sku_id.as_ref() == Some(&sku.sku_id));
        text.push('\n');
        for finding in reasons {
            writeln!(text, "-- {}: {}", finding.kind.as_str(), one_line(&finding.message))
                .expect("a String takes any text");
        }
        let statement = match toward {
            Toward::Ledger => to_ledger(sku, stock, ledger, resolved),
            Toward::Stock => to_stock(sku, stock, ledger, resolved),
        };
        text += &statement;
    }
    if count == 0 {
        text.push_str("\n-- Stock and ledger agree: there is nothing to repair.\n");
    }
    text
}

/// A sentence may carry text of the database: no line of it may leave its comment.
fn one_line(message: &str) -> String {
    message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn literal(dialect: Dialect, key: &Key) -> String {
    match key {
        Key::Int(number) => number.to_string(),
        Key::Text(text) => dialect.literal(text),
    }
}

/// What the ledger adds up to for a SKU, as SQL.
fn ledger_sum(resolved: &Resolved, sku: &Key) -> Option<String> {
    let mut sums: Vec<String> = resolved
        .ledgers
        .iter()
        .map(|ledger| {
            let counted =
                ledger.looked_at.as_ref().map_or_else(String::new, |looked_at| format!(" AND {looked_at}"));
            format!(
                "(SELECT COALESCE(SUM({}), 0) FROM {} WHERE {} = {}{counted})",
                ledger.delta,
                ledger.from,
                ledger.sku,
                literal(resolved.dialect, sku)
            )
        })
        .collect();
    match &resolved.opening {
        Opening::Ledger => {}
        Opening::Column(column) => sums.push(column.clone()),
        Opening::Table(query) => sums.push(format!(
            "COALESCE((SELECT units FROM ({query}) o WHERE sku = {}), 0)",
            literal(resolved.dialect, sku)
        )),
        Opening::Derive => return None,
    }
    Some(sums.join(" + "))
}

fn to_ledger(sku: &SkuSummary, stock: i64, ledger: i64, resolved: &Resolved) -> String {
    let table = &resolved.stock;
    let drift = stock - ledger;
    if !table.is_unique {
        return format!("-- by hand: the stock of {} is spread over several rows\n", sku.sku_id);
    }
    let below =
        if ledger < 0 { "-- the ledger is below zero: this is an oversell, and stays one\n" } else { "" };
    let units = &table.units_column;
    let change = if drift < 0 { format!("s.{units} + {}", -drift) } else { format!("s.{units} - {drift}") };
    let key = literal(resolved.dialect, &sku.sku_id);
    let guard = match ledger_sum(resolved, &sku.sku_id) {
        Some(sum) => format!("{} - ({sum}) = {drift}", table.units),
        None => format!("{} = {stock}", table.units),
    };
    format!(
        "{below}UPDATE {} AS s SET {units} = {change} WHERE {} = {key} AND {guard};\n",
        table.table, table.sku
    )
}

fn to_stock(sku: &SkuSummary, stock: i64, ledger: i64, resolved: &Resolved) -> String {
    let delta = stock - ledger;
    let [entries] = resolved.ledgers.as_slice() else {
        return format!("-- by hand: several tables make the ledger; {delta} units are to be booked\n");
    };
    match (&entries.correction, ledger_sum(resolved, &sku.sku_id)) {
        (Err(why), _) => format!("-- by hand: {delta} units are to be booked, and {why}\n"),
        (_, None) => format!("-- by hand: {delta} units are to be booked; the opening balance was derived\n"),
        (Ok(values), Some(sum)) => insert(entries, values, sku, delta, resolved, &sum),
    }
}

fn insert(
    ledger: &LedgerSql,
    values: &[(String, String)],
    sku: &SkuSummary,
    delta: i64,
    resolved: &Resolved,
    sum: &str,
) -> String {
    let key = literal(resolved.dialect, &sku.sku_id);
    let stock = &resolved.stock;
    let fill = |value: &str| value.replace("{sku}", &key).replace("{delta}", &delta.to_string());
    let columns: Vec<&str> = values.iter().map(|(column, _)| column.as_str()).collect();
    let filled: Vec<String> = values.iter().map(|(_, value)| fill(value)).collect();
    let unfilled = if ledger.unfilled.is_empty() {
        String::new()
    } else {
        format!("-- fill in as well: {}\n", ledger.unfilled.join(", "))
    };
    format!(
        "{unfilled}INSERT INTO {} ({}) SELECT {} FROM {} s WHERE {} = {key} AND {} - ({sum}) = {delta};\n",
        ledger.table,
        columns.join(", "),
        filled.join(", "),
        stock.table,
        stock.sku,
        stock.units,
    )
}
