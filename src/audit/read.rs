//! Reads the ledger and the stock out of one read-only snapshot and hands
//! them to the invariants, row by row.

use super::findings::{Collector, FindingKind};
use super::orders::{OrderAudit, SideBySide};
use super::skus::{SkuAudit, SkuTotals};
use super::{AuditReport, ClientWitness, Entry, Units};
use crate::db::schema::{LEDGER, RunRow, STOCK_QUERY};
use crate::db::{Database, Dialect, Session, SessionSettings, Value};
use crate::engine::answers::ToldOrder;
use anyhow::{Context, Result, anyhow};
use std::collections::HashMap;

/// Where the audit finds the stock and the ledger.
#[derive(Debug, Clone)]
pub struct Source {
    /// A query giving `sku_id` and `stock`.
    pub stock_query: String,
    /// A table of the ledger's shape.
    pub ledger_table: String,
    /// The run whose answers are known; 0 when none are.
    pub run_id: i64,
}

impl Source {
    /// What the latest run used, or our own tables when there was none.
    pub fn of_run(run: Option<&RunRow>) -> Self {
        let stock_query = run.and_then(|run| run.stock_query.clone());
        let ledger_table = run.and_then(|run| run.ledger_table.clone());
        Self {
            stock_query: stock_query.unwrap_or_else(|| STOCK_QUERY.to_owned()),
            ledger_table: ledger_table.unwrap_or_else(|| LEDGER.to_owned()),
            run_id: run.map_or(0, |run| run.id),
        }
    }
}

/// The statements that open one consistent snapshot that refuses writes.
/// MySQL ignores the snapshot below REPEATABLE READ, so the level comes first.
fn snapshot(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Postgres => &["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"],
        Dialect::MySql | Dialect::MariaDb => &[
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ],
        Dialect::Sqlite => &["BEGIN"],
    }
}

/// Audits a database against what the clients were told.
///
/// # Errors
/// The tables are not there, or the database refuses to read them.
pub async fn audit(
    database: &Database,
    source: &Source,
    witness: ClientWitness,
    told: impl Iterator<Item = ToldOrder> + Send,
    full: bool,
) -> Result<AuditReport> {
    let settings = SessionSettings { read_only: true, ..SessionSettings::default() };
    let mut session = database.open(&settings).await?;
    for statement in snapshot(database.dialect()) {
        session.control(statement).await?;
    }
    let mut findings = Collector::new(full);
    let mut orders = OrderAudit::new(source.run_id, witness);
    compare_orders(session.as_mut(), source, told, &mut orders, &mut findings).await?;
    let (totals, lowest) = compare_skus(session.as_mut(), source, &orders, &mut findings).await?;
    session.control("ROLLBACK").await?;
    session.close().await;

    orders.undersold(|sku_id| lowest.get(&sku_id).copied(), &mut findings);
    let undersold_orders = findings.orders_of(FindingKind::Undersold);
    let (findings_total, findings) = findings.finish();
    let judged = orders.decided > 0 && totals.skus > 0;
    Ok(AuditReport {
        passed: judged && findings_total == 0,
        judged,
        client_witness: witness,
        skus: totals.skus,
        entries: totals.entries,
        orders: orders.orders,
        units: Units {
            existed: totals.sum.existed,
            told: orders.units_told,
            ledger: totals.sum.sold,
            left_stock: totals.sum.existed.saturating_sub(totals.sum.stock),
            in_stock: totals.sum.stock,
        },
        oversold_units: totals.sum.oversold.unsigned_abs(),
        undersold_orders,
        lost_update_units: totals.sum.lost_update.unsigned_abs(),
        missing_entry_units: totals.sum.missing_entry.unsigned_abs(),
        unknown_recovered: orders.unknown_recovered,
        unknown_not_applied: orders.unknown_not_applied,
        findings_total,
        findings,
    })
}

const ENTRY_COLUMNS: &str = "order_id, sku_id, kind, status, delta, balance, run_id";

fn entry(row: &[Value]) -> Result<Entry> {
    let [order_id, sku_id, kind, status, delta, balance, run_id] = row else {
        return Err(anyhow!("an entry has {} columns, expected {ENTRY_COLUMNS}", row.len()));
    };
    let number = |value: &Value, name| value.as_int().with_context(|| format!("an entry without {name}"));
    Ok(Entry {
        order_id: number(order_id, "order_id")?,
        sku_id: number(sku_id, "sku_id")?,
        kind: kind.to_text(),
        rejected: status.to_text() == "rejected",
        delta: number(delta, "delta")?,
        balance: balance.as_int(),
        run_id: number(run_id, "run_id")?,
    })
}

async fn compare_orders(
    session: &mut dyn Session,
    source: &Source,
    told: impl Iterator<Item = ToldOrder> + Send,
    orders: &mut OrderAudit,
    findings: &mut Collector,
) -> Result<()> {
    let mut both = SideBySide::new(told);
    let sql = format!(
        "SELECT {ENTRY_COLUMNS} FROM {} WHERE kind <> 'opening' ORDER BY order_id, sku_id, id",
        source.ledger_table
    );
    let mut judge = |row: &[Value]| {
        both.entry(entry(row)?, orders, findings);
        Ok(())
    };
    session
        .for_each_row(&sql, &mut judge)
        .await
        .with_context(|| format!("cannot read {}", source.ledger_table))?;
    both.finish(orders, findings);
    Ok(())
}

#[derive(Debug, Default)]
struct Totals {
    skus: u64,
    entries: u64,
    sum: SkuTotals,
}

impl Totals {
    fn add(&mut self, sku: SkuTotals) {
        self.skus += 1;
        self.sum.existed = self.sum.existed.saturating_add(sku.existed);
        self.sum.sold = self.sum.sold.saturating_add(sku.sold);
        self.sum.stock = self.sum.stock.saturating_add(sku.stock);
        self.sum.oversold = self.sum.oversold.saturating_add(sku.oversold);
        self.sum.lost_update = self.sum.lost_update.saturating_add(sku.lost_update);
        self.sum.missing_entry = self.sum.missing_entry.saturating_add(sku.missing_entry);
    }
}

/// Judges every SKU, in the ledger's order; returns the totals, and the least
/// that each refused SKU can have held.
async fn compare_skus(
    session: &mut dyn Session,
    source: &Source,
    orders: &OrderAudit,
    findings: &mut Collector,
) -> Result<(Totals, HashMap<i64, i64>)> {
    let mut stock: HashMap<i64, i64> = HashMap::new();
    let stock_sql = format!("SELECT sku_id, stock FROM ({}) AS stock_now", source.stock_query);
    let mut keep = |row: &[Value]| {
        let number =
            |value: &Value| value.as_int().context("the stock query must give sku_id and stock as numbers");
        stock.insert(number(&row[0])?, number(&row[1])?);
        Ok(())
    };
    session.for_each_row(&stock_sql, &mut keep).await.context("cannot read the stock")?;

    let mut totals = Totals::default();
    let mut lowest = HashMap::new();
    let mut current: Option<SkuAudit> = None;
    let mut finish = |sku: SkuAudit, totals: &mut Totals| {
        let sku_id = sku.sku_id();
        let told_not_in_ledger = orders.told_not_in_ledger.get(&sku_id).copied().unwrap_or(0);
        let judged = sku.finish(told_not_in_ledger, findings);
        if let Some(least) = judged.lowest.filter(|_| orders.refused_skus.contains(&sku_id)) {
            lowest.insert(sku_id, least);
        }
        totals.add(judged);
    };
    let sql = format!("SELECT {ENTRY_COLUMNS} FROM {} ORDER BY sku_id", source.ledger_table);
    let mut judge = |row: &[Value]| {
        let entry = entry(row)?;
        totals.entries += 1;
        if current.as_ref().is_none_or(|sku| sku.sku_id() != entry.sku_id) {
            let next = SkuAudit::new(entry.sku_id, stock.remove(&entry.sku_id));
            if let Some(done) = current.replace(next) {
                finish(done, &mut totals);
            }
        }
        if let Some(sku) = &mut current {
            sku.entry(&entry);
        }
        Ok(())
    };
    session
        .for_each_row(&sql, &mut judge)
        .await
        .with_context(|| format!("cannot read {}", source.ledger_table))?;
    if let Some(done) = current {
        finish(done, &mut totals);
    }
    // Stock that no entry speaks of.
    let mut unspoken: Vec<(i64, i64)> = stock.into_iter().collect();
    unspoken.sort_unstable();
    for (sku_id, units) in unspoken {
        finish(SkuAudit::new(sku_id, Some(units)), &mut totals);
    }
    Ok((totals, lowest))
}
