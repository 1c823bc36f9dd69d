//! What orders break by themselves: the same order twice, refused and sold,
//! reservations gone wrong, entries of orders that do not exist. One query
//! groups by order and returns only those that break something.

use super::mapping::Kind;
use super::read::{Reading, TOO_LONG, pass, pseudonym};
use super::resolve::{LedgerSql, integer};
use super::suspects::Suspect;
use super::{Pass, moment};
use crate::audit::{FindingKind, Key};
use crate::db::{Dialect, Value};
use anyhow::{Context, Result};
use std::fmt::Write as _;

impl Reading<'_> {
    /// Entries whose order does not exist.
    pub(super) async fn orphans(&mut self, suspects: &[Suspect]) -> Result<()> {
        if suspects.iter().all(|suspect| suspect.sums.orphans == 0) {
            return Ok(());
        }
        let mut pass = pass("entries without their order".to_owned());
        for ledger in &self.resolved.ledgers {
            let Some(orphan) = &ledger.orphan else { continue };
            let order = ledger.order.clone().unwrap_or_else(|| "NULL".to_owned());
            let time = ledger.time.clone().unwrap_or_else(|| "NULL".to_owned());
            let sql = format!(
                "SELECT {sku} AS c0, {order} AS c1, {units} AS c2, MIN({time}) AS c3, MAX({time}) AS c4 FROM {}{} GROUP BY {sku}{}",
                ledger.from,
                self.condition(ledger, Some(orphan)),
                if ledger.order.is_some() { format!(", {order}") } else { String::new() },
                sku = ledger.sku,
                units = integer(self.resolved.dialect, &format!("COALESCE(SUM({}), 0)", ledger.delta)),
            );
            let found = self.order_rows(&sql, &mut pass, 3).await?;
            for (sku, order, numbers, at) in found {
                self.findings.order_at(FindingKind::Orphan, sku, order, numbers[0], at);
            }
        }
        self.passes.push(pass);
        Ok(())
    }

    /// Rows of SKU, order, numbers and two moments.
    async fn order_rows(
        &mut self,
        sql: &str,
        pass: &mut Pass,
        moments_at: usize,
    ) -> Result<Vec<(Key, Key, Vec<i64>, Option<(String, String)>)>> {
        let redact = self.asked.redact;
        let mut pseudonyms = std::mem::take(&mut self.pseudonyms);
        let mut rows = Vec::new();
        let read = self
            .query(sql, pass, |row| {
                let Some(sku) = Key::of(&row[0]) else { return Ok(()) };
                let order = Key::of(&row[1])
                    .map_or_else(|| Key::Text("?".into()), |order| pseudonym(&mut pseudonyms, order, redact));
                let numbers = row[2..moments_at].iter().map(|value| value.as_int().unwrap_or(0)).collect();
                let moment =
                    |value: &Value| (*value != Value::Null).then(|| moment::canonical(&value.to_text()));
                let at = moment(&row[moments_at]).zip(moment(&row[moments_at + 1]));
                rows.push((sku, order, numbers, at));
                Ok(())
            })
            .await;
        self.pseudonyms = pseudonyms;
        read.context("cannot read the orders")?;
        Ok(rows)
    }

    /// What orders break by themselves: duplicates, refusals that were sold,
    /// reservations.
    pub(super) async fn orders(&mut self) -> Result<()> {
        for ledger in &self.resolved.ledgers {
            let Some(order) = &ledger.order else {
                let missing =
                    format!("{}: duplicates and reservations: no order column is mapped", ledger.name);
                self.not_checked.push(missing);
                continue;
            };
            let Some(query) = OrderQuery::of(ledger, order) else { continue };
            let mut pass = pass(format!("{}: orders", ledger.name));
            let sql = query.sql(
                self.resolved.dialect,
                ledger,
                &self.condition(ledger, Some(&format!("{order} IS NOT NULL"))),
            );
            (self.on_progress)(&format!("looking at the orders of {}", ledger.name), 0, 0);
            let rows = self.order_rows(&sql, &mut pass, 2 + OrderQuery::NUMBERS).await;
            match rows {
                Ok(rows) => {
                    for (sku, order, numbers, at) in rows {
                        self.judge_order(ledger, &sku, &order, &numbers, at.as_ref());
                    }
                }
                // The sums stand; what could not be looked at is said.
                Err(error) if format!("{error:#}").contains(TOO_LONG) => {
                    self.not_checked.push(format!("{}: orders: {error:#}", ledger.name));
                    if self.resolved.dialect == Dialect::Postgres {
                        // The transaction is over with its statement.
                        self.passes.push(pass);
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
            self.passes.push(pass);
        }
        Ok(())
    }

    fn judge_order(
        &mut self,
        ledger: &LedgerSql,
        sku: &Key,
        order: &Key,
        numbers: &[i64],
        at: Option<&(String, String)>,
    ) {
        let mut report = |kind, units: i64| {
            self.findings.order_at(kind, sku.clone(), order.clone(), units, at.cloned());
        };
        let counts = OrderCounts::of(numbers);
        if !ledger.is_keyed && counts.repeated > 0 {
            report(FindingKind::DuplicateEntry, counts.repeated_units);
        }
        if counts.refused > 0 && counts.net < 0 {
            report(FindingKind::TwoAnswers, counts.net);
        }
        if counts.releases > 0 && counts.taken == 0 {
            report(FindingKind::ReleaseWithoutReserve, counts.net);
        } else if counts.net > 0 && counts.taken > 0 {
            report(FindingKind::DoubleRelease, counts.net);
        }
        if counts.confirms > 0 && counts.releases > 0 && counts.reserves > 0 {
            report(FindingKind::ConfirmedAndReleased, counts.net);
        }
        let settles = [Kind::Confirm, Kind::Release].iter().any(|kind| ledger.kinds.contains(kind));
        if settles && counts.reserves > 0 && counts.confirms == 0 && counts.releases == 0 {
            let is_recent = self.resolved.settle_within.zip(at).is_some_and(|(within, (first, _))| {
                let oldest = humantime::parse_rfc3339_weak(&self.taken_at)
                    .ok()
                    .and_then(|now| now.checked_sub(within))
                    .map(moment::at);
                oldest.is_some_and(|oldest| *first > oldest)
            });
            if !is_recent {
                report(FindingKind::UnsettledReservation, counts.net);
            }
        }
    }
}

/// The query for orders that break something by themselves.
pub(super) struct OrderQuery {
    duplicates: Vec<Kind>,
    has_reservations: bool,
    has_refusals: bool,
}

impl OrderQuery {
    /// Numbers that it gives between SKU and order and the two moments.
    const NUMBERS: usize = 8;

    /// `None` where the database's own keys leave nothing to look for.
    fn of(ledger: &LedgerSql, order: &str) -> Option<Self> {
        debug_assert!(!order.is_empty(), "an order column is an expression");
        let once = [Kind::Sale, Kind::Reserve, Kind::Confirm, Kind::Release];
        let kinds = ledger.kinds.iter().copied();
        let duplicates = kinds.filter(|kind| once.contains(kind) && !ledger.is_keyed).collect();
        let query = Self {
            duplicates,
            has_reservations: [Kind::Reserve, Kind::Release].iter().any(|kind| ledger.kinds.contains(kind)),
            has_refusals: ledger.refused.is_some(),
        };
        let is_needed = !query.duplicates.is_empty() || query.has_reservations || query.has_refusals;
        is_needed.then_some(query)
    }

    fn sql(&self, dialect: Dialect, ledger: &LedgerSql, condition: &str) -> String {
        let order = ledger.order.as_deref().unwrap_or("NULL");
        let none = || "NULL".to_owned();
        let refused = ledger.refused.as_ref();
        let is_refused = refused
            .map_or_else(|| "0".to_owned(), |refused| format!("CASE WHEN {refused} THEN 1 ELSE 0 END"));
        let mut rows = format!(
            "SELECT {} AS sku, {order} AS ord, {} AS kind, {} AS delta, {is_refused} AS refused, {} AS moment",
            ledger.sku,
            ledger.kind,
            ledger.delta,
            ledger.time.clone().unwrap_or_else(none),
        );
        let mut group = "sku, ord".to_owned();
        if let Some(line) = &ledger.line {
            write!(rows, ", {line} AS line").expect("a String takes any text");
            group += ", line";
        }
        write!(rows, " FROM {}{condition}", ledger.from).expect("a String takes any text");
        let one_of = |kinds: &[Kind]| {
            let words: Vec<String> = kinds.iter().map(|kind| format!("'{}'", kind.as_str())).collect();
            format!("(refused = 0 AND kind IN ({}))", words.join(", "))
        };
        let count = |condition: &str| format!("SUM(CASE WHEN {condition} THEN 1 ELSE 0 END)");
        let units = |condition: &str| {
            integer(dialect, &format!("COALESCE(SUM(CASE WHEN {condition} THEN delta ELSE 0 END), 0)"))
        };
        // Of the entries of a kind, all but the largest are too many.
        let repeated = |of: &dyn Fn(Kind) -> String| {
            let each: Vec<String> = self.duplicates.iter().copied().map(of).collect();
            if each.is_empty() { "0".to_owned() } else { each.join(" + ") }
        };
        let too_many = repeated(&|kind| {
            let count = count(&one_of(&[kind]));
            format!("(CASE WHEN {count} > 1 THEN {count} - 1 ELSE 0 END)")
        });
        let too_many_units = repeated(&|kind| {
            let of_kind = one_of(&[kind]);
            format!(
                "({} - COALESCE(MAX(CASE WHEN {of_kind} THEN ABS(delta) END), 0))",
                integer(
                    dialect,
                    &format!("COALESCE(SUM(CASE WHEN {of_kind} THEN ABS(delta) ELSE 0 END), 0)")
                )
            )
        });
        let taken = count(&one_of(&[Kind::Sale, Kind::Reserve]));
        let reserves = count(&one_of(&[Kind::Reserve]));
        let confirms = count(&one_of(&[Kind::Confirm]));
        let releases = count(&one_of(&[Kind::Release]));
        let refusals = count("refused = 1");
        let net = units(&one_of(&[Kind::Sale, Kind::Reserve, Kind::Confirm, Kind::Release, Kind::Return]));
        let mut having = Vec::new();
        if !self.duplicates.is_empty() {
            having.push(format!("{too_many} > 0"));
        }
        if self.has_refusals {
            having.push(format!("({refusals} > 0 AND {net} < 0)"));
        }
        if self.has_reservations {
            having.push(format!("({net} > 0 AND {taken} + {releases} > 0)"));
            having.push(format!("({releases} > 0 AND {taken} = 0)"));
            having.push(format!("({reserves} > 0 AND {confirms} > 0 AND {releases} > 0)"));
            having.push(format!("({reserves} > 0 AND {confirms} + {releases} = 0)"));
        }
        format!(
            "SELECT sku, ord, {too_many}, {too_many_units}, {refusals}, {taken}, {reserves}, {confirms}, {releases}, {net}, \
             MIN(moment), MAX(moment) FROM ({rows}) x GROUP BY {group} HAVING {}",
            having.join(" OR ")
        )
    }
}

/// The numbers of [`OrderQuery`], named.
pub(super) struct OrderCounts {
    repeated: i64,
    repeated_units: i64,
    refused: i64,
    taken: i64,
    reserves: i64,
    confirms: i64,
    releases: i64,
    net: i64,
}

impl OrderCounts {
    fn of(numbers: &[i64]) -> Self {
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        Self {
            repeated: at(0),
            repeated_units: at(1),
            refused: at(2),
            taken: at(3),
            reserves: at(4),
            confirms: at(5),
            releases: at(6),
            net: at(7),
        }
    }
}
