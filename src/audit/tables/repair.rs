//! The statements that would bring stock and ledger together again. They are
//! printed and never run: which of the two is right, a shelf or a customer
//! knows. Each one holds its own condition, so that it moves nothing when run
//! twice, or when somebody has mended the SKU since.

use super::resolve::{Filling, LedgerSql, Opening, Resolved};
use super::{SkuSummary, TableAudit};
use crate::audit::{Finding, Key};
use crate::escape;
use std::collections::HashMap;
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
    let mut reasons: HashMap<&Key, Vec<&Finding>> = HashMap::new();
    for finding in &audit.findings {
        if let Some(sku) = &finding.sku_id {
            reasons.entry(sku).or_default().push(finding);
        }
    }
    for sku in &audit.by_sku {
        let (Some(stock), Some(ledger)) = (sku.stock, sku.ledger) else { continue };
        if stock == ledger {
            continue;
        }
        count += 1;
        text.push('\n');
        for finding in reasons.get(&sku.sku_id).into_iter().flatten() {
            writeln!(text, "-- {}: {}", finding.kind.as_str(), escape::line(&finding.message))
                .expect("a String takes any text");
        }
        let statement = match toward {
            Toward::Ledger => to_ledger(sku, stock, ledger, resolved),
            Toward::Stock => to_stock(sku, stock, ledger, resolved),
        };
        text += &statement;
    }
    if count == 0 {
        text.push_str(if audit.findings_total == 0 {
            "\n-- Stock and ledger agree: there is nothing to repair.\n"
        } else {
            "\n-- No SKU has both a stock and a ledger that differ: no statement mends what was found.\n"
        });
    }
    text
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
                sku.literal(resolved.dialect)
            )
        })
        .collect();
    match &resolved.opening {
        Opening::Ledger => {}
        Opening::Column { units, .. } => sums.push(format!("COALESCE({units}, 0)")),
        Opening::Table(query) => sums.push(format!(
            "COALESCE((SELECT units FROM ({query}) o WHERE sku = {}), 0)",
            sku.literal(resolved.dialect)
        )),
        Opening::Derive => return None,
    }
    Some(sums.join(" + "))
}

fn to_ledger(sku: &SkuSummary, stock: i64, ledger: i64, resolved: &Resolved) -> String {
    let table = &resolved.stock;
    let drift = stock - ledger;
    if !table.is_unique {
        return format!(
            "-- by hand: the stock of {} is spread over several rows\n",
            escape::line(&sku.sku_id.to_string())
        );
    }
    let below =
        if ledger < 0 { "-- the ledger is below zero: this is an oversell, and stays one\n" } else { "" };
    let units = &table.units_column;
    let now = format!("COALESCE({}, 0)", table.units);
    let change = if drift < 0 { format!("{now} + {}", -drift) } else { format!("{now} - {drift}") };
    let key = sku.sku_id.literal(resolved.dialect);
    let guard = match ledger_sum(resolved, &sku.sku_id) {
        Some(sum) => format!("{now} - ({sum}) = {drift}"),
        None => format!("{now} = {stock}"),
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
    if !resolved.stock.is_unique {
        return format!(
            "-- by hand: {delta} units are to be booked; the stock is spread over several rows\n"
        );
    }
    match (&entries.correction, ledger_sum(resolved, &sku.sku_id)) {
        (Err(why), _) => format!("-- by hand: {delta} units are to be booked, and {}\n", escape::line(why)),
        (_, None) => format!("-- by hand: {delta} units are to be booked; the opening balance was derived\n"),
        (Ok(values), Some(sum)) => insert(entries, values, &sku.sku_id, (stock, delta), resolved, &sum),
    }
}

fn insert(
    ledger: &LedgerSql,
    values: &[(String, Filling)],
    sku: &Key,
    (stock_now, delta): (i64, i64),
    resolved: &Resolved,
    sum: &str,
) -> String {
    let key = sku.literal(resolved.dialect);
    let stock = &resolved.stock;
    let fill = |filling: &Filling| match filling {
        Filling::Sku => key.clone(),
        Filling::Delta => delta.to_string(),
        Filling::Units => delta.unsigned_abs().to_string(),
        Filling::Balance => stock_now.to_string(),
        Filling::Direction(incoming, out) => {
            if delta < 0 {
                out.clone()
            } else {
                incoming.clone()
            }
        }
        Filling::Literal(literal) => literal.clone(),
    };
    let columns: Vec<&str> = values.iter().map(|(column, _)| column.as_str()).collect();
    let filled: Vec<String> = values.iter().map(|(_, filling)| fill(filling)).collect();
    let unfilled = if ledger.unfilled.is_empty() {
        String::new()
    } else {
        format!("-- fill in as well: {}\n", escape::line(&ledger.unfilled.join(", ")))
    };
    format!(
        "{unfilled}INSERT INTO {} ({}) SELECT {} FROM {} s WHERE {} = {key} AND COALESCE({}, 0) - ({sum}) = {delta};\n",
        ledger.table,
        columns.join(", "),
        filled.join(", "),
        stock.table,
        stock.sku,
        stock.units,
    )
}
