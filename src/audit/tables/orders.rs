//! What orders break by themselves: the same order twice, refused and sold,
//! reservations gone wrong, entries of orders that do not exist. One query
//! groups by order and returns only those that break something.

use super::mapping::Kind;
use super::read::{Reading, TOO_LONG, pass, pseudonym};
use super::resolve::{LedgerSql, Opening};
use super::sql::{flag, integer, or_null};
use super::suspects::Suspect;
use super::{Pass, moment};
use crate::audit::{FindingKind, Key};
use crate::db::Dialect;
use anyhow::{Context, Result};

impl Reading<'_> {
    /// Entries whose order does not exist.
    pub(super) async fn orphans(&mut self, suspects: &[Suspect]) -> Result<()> {
        if suspects.iter().all(|suspect| suspect.sums.orphans == 0) {
            return Ok(());
        }
        let mut pass = pass("entries without their order".to_owned());
        for ledger in &self.resolved.ledgers {
            let Some(orphan) = &ledger.orphan else { continue };
            let (order, time) = (or_null(ledger.order.as_ref()), or_null(ledger.time.as_ref()));
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
                let at = moment::of(&row[moments_at]).zip(moment::of(&row[moments_at + 1]));
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
            let missing = match (&ledger.order, ledger.kinds.as_slice()) {
                (None, _) => Some("no order column is mapped"),
                (_, []) => Some("neither `kind` nor `is` says what its entries are"),
                _ => None,
            };
            if let Some(why) = missing {
                self.not_checked.push(format!("{}: duplicates and reservations: {why}", ledger.name));
                continue;
            }
            let mut pass = pass(format!("{}: orders", ledger.name));
            for query in OrderQuery::all(ledger, self.resolved.opening == Opening::Ledger) {
                self.orders_of(ledger, &query, &mut pass).await?;
            }
            if pass.statements > 0 {
                self.passes.push(pass);
            }
        }
        Ok(())
    }

    async fn orders_of(&mut self, ledger: &LedgerSql, query: &OrderQuery, pass: &mut Pass) -> Result<()> {
        let dialect = self.resolved.dialect;
        let order = ledger.order.as_deref().unwrap_or("NULL");
        let sql = query.sql(dialect, ledger, &self.condition(ledger, Some(&format!("{order} IS NOT NULL"))));
        (self.on_progress)(&format!("looking at the orders of {}", ledger.name), 0, 0);
        self.mark().await?;
        match self.order_rows(&sql, pass, 2 + OrderQuery::NUMBERS).await {
            Ok(rows) => {
                for (sku, order, numbers, at) in rows {
                    self.judge_order(query, &sku, &order, &OrderCounts::of(&numbers), at.as_ref());
                }
                Ok(())
            }
            // The sums stand; what could not be looked at is said.
            Err(error) if format!("{error:#}").contains(TOO_LONG) => {
                self.scope.not_seen.push(format!("the orders of {}: {error:#}", ledger.name));
                self.back_to_mark().await
            }
            Err(error) => Err(error),
        }
    }

    fn judge_order(
        &mut self,
        query: &OrderQuery,
        sku: &Key,
        order: &Key,
        counts: &OrderCounts,
        at: Option<&(String, String)>,
    ) {
        let mut report = |kind, units: i64| {
            self.findings.order_at(kind, sku.clone(), order.clone(), units, at.cloned());
        };
        // What was given back in between may be taken again.
        let repeated =
            |taken: &Taken| (taken.entries - counts.gives > 1).then(|| taken.repeated(counts.given));
        if query.finds_duplicates
            && let Some(units) = repeated(&counts.sales).or_else(|| repeated(&counts.reserves))
        {
            report(FindingKind::DuplicateEntry, units);
        }
        if !query.finds_contradictions {
            return;
        }
        let taken = counts.sales.entries + counts.reserves.entries;
        if counts.refused > 0 && counts.net < 0 {
            report(FindingKind::TwoAnswers, counts.net);
        }
        if counts.releases > 0 && taken == 0 {
            if query.sees_what_was_taken {
                report(FindingKind::ReleaseWithoutReserve, counts.net);
            }
        } else if counts.net > 0 && taken > 0 {
            report(FindingKind::DoubleRelease, counts.net);
        }
        if counts.reserves.entries > 0 && counts.confirms > 0 && counts.releases > 0 && counts.net >= 0 {
            report(FindingKind::ConfirmedAndReleased, counts.given);
        }
        let held = counts.reserves.units.saturating_sub(counts.given);
        if query.sees_settlements && counts.confirms == 0 && held > 0 {
            let is_recent = self.resolved.settle_within.zip(at).is_some_and(|(within, (first, _))| {
                let oldest = humantime::parse_rfc3339_weak(&self.taken_at)
                    .ok()
                    .and_then(|now| now.checked_sub(within))
                    .map(moment::at);
                oldest.is_some_and(|oldest| *first > oldest)
            });
            if !is_recent {
                report(FindingKind::UnsettledReservation, held);
            }
        }
    }
}

/// A query for orders that break something by themselves.
#[expect(clippy::struct_excessive_bools, reason = "each is a check of its own")]
struct OrderQuery {
    /// Grouped by line as well, where entries of one order and SKU have one.
    by_line: bool,
    finds_duplicates: bool,
    finds_contradictions: bool,
    /// Whether what a release gives back must be in this ledger.
    sees_what_was_taken: bool,
    /// Whether what settles a reservation is in this ledger.
    sees_settlements: bool,
}

impl OrderQuery {
    /// Numbers that it gives between SKU and order and the two moments.
    const NUMBERS: usize = 12;

    /// The queries that a ledger needs; none where the database's own keys
    /// leave nothing to look for.
    fn all(ledger: &LedgerSql, begins_at_zero: bool) -> Vec<Self> {
        let has = |kinds: &[Kind]| kinds.iter().any(|kind| ledger.kinds.contains(kind));
        let takes = has(&[Kind::Sale, Kind::Reserve]);
        let finds_duplicates = takes && !ledger.is_keyed;
        let finds_contradictions =
            has(&[Kind::Reserve, Kind::Release, Kind::Return]) || ledger.refused.is_some();
        let query = |by_line, finds_duplicates, finds_contradictions| Self {
            by_line,
            finds_duplicates,
            finds_contradictions,
            sees_what_was_taken: takes && begins_at_zero,
            sees_settlements: has(&[Kind::Confirm, Kind::Release]),
        };
        if ledger.line.is_some() {
            let both = [query(true, finds_duplicates, false), query(false, false, finds_contradictions)];
            both.into_iter().filter(|query| query.finds_duplicates || query.finds_contradictions).collect()
        } else if finds_duplicates || finds_contradictions {
            vec![query(false, finds_duplicates, finds_contradictions)]
        } else {
            Vec::new()
        }
    }

    fn sql(&self, dialect: Dialect, ledger: &LedgerSql, condition: &str) -> String {
        let refused = flag(ledger.refused.as_deref());
        let (line, group) = match ledger.line.as_ref().filter(|_| self.by_line) {
            Some(line) => (format!(", {line} AS line"), "sku, ord, line"),
            None => (String::new(), "sku, ord"),
        };
        let rows = format!(
            "SELECT {} AS sku, {} AS ord, {} AS kind, {} AS delta, {refused} AS refused, {} AS moment{line} FROM {}{condition}",
            ledger.sku,
            or_null(ledger.order.as_ref()),
            ledger.kind,
            ledger.delta,
            or_null(ledger.time.as_ref()),
            ledger.from,
        );
        let of = |kinds: &[Kind], more: &str| {
            let words: Vec<String> = kinds.iter().map(|kind| format!("'{}'", kind.as_str())).collect();
            format!("refused = 0 AND kind IN ({}){more}", words.join(", "))
        };
        let count = |condition: &str| format!("SUM(CASE WHEN {condition} THEN 1 ELSE 0 END)");
        let units = |condition: &str, of: &str| {
            integer(dialect, &format!("COALESCE(SUM(CASE WHEN {condition} THEN {of} ELSE 0 END), 0)"))
        };
        let (sale, reserve) = (of(&[Kind::Sale], " AND delta < 0"), of(&[Kind::Reserve], " AND delta < 0"));
        let moves = [Kind::Sale, Kind::Reserve, Kind::Confirm, Kind::Release, Kind::Return];
        let give = of(&moves, " AND delta > 0");
        let largest = |condition: &str| format!("COALESCE(MAX(CASE WHEN {condition} THEN -delta END), 0)");
        let (confirms, releases) = (count(&of(&[Kind::Confirm], "")), count(&of(&[Kind::Release], "")));
        let (refusals, net) = (count("refused = 1"), units(&of(&moves, ""), "delta"));
        let (sales, reserves, gives) = (count(&sale), count(&reserve), count(&give));
        let mut having = Vec::new();
        if self.finds_duplicates {
            having.push(format!("{sales} - {gives} > 1 OR {reserves} - {gives} > 1"));
        }
        if self.finds_contradictions {
            having.push(format!("{refusals} > 0 AND {net} < 0"));
            having.push(format!("{net} > 0 AND {sales} + {reserves} + {releases} > 0"));
            having.push(format!("{releases} > 0 AND {sales} + {reserves} = 0"));
            having.push(format!("{reserves} > 0 AND {confirms} > 0 AND {releases} > 0 AND {net} >= 0"));
            having.push(format!(
                "{confirms} = 0 AND {} > {}",
                units(&reserve, "-delta"),
                units(&give, "delta")
            ));
        }
        let numbers = [
            sales,
            units(&sale, "-delta"),
            largest(&sale),
            reserves,
            units(&reserve, "-delta"),
            largest(&reserve),
            gives,
            units(&give, "delta"),
            refusals,
            confirms,
            releases,
            net,
        ];
        debug_assert_eq!(numbers.len(), Self::NUMBERS, "the moments come after the numbers");
        format!(
            "SELECT sku, ord, {}, MIN(moment), MAX(moment) FROM ({rows}) x GROUP BY {group} HAVING ({})",
            numbers.join(", "),
            having.join(") OR (")
        )
    }
}

/// What the entries of one kind took.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    entries: i64,
    units: i64,
    largest: i64,
}

impl Taken {
    /// Units beyond the largest entry that were not given back.
    fn repeated(self, given: i64) -> i64 {
        self.units.saturating_sub(self.largest).saturating_sub(given).max(0)
    }
}

/// The numbers of an [`OrderQuery`], named.
#[derive(Debug, Clone, Copy, Default)]
struct OrderCounts {
    sales: Taken,
    reserves: Taken,
    gives: i64,
    given: i64,
    refused: i64,
    confirms: i64,
    releases: i64,
    net: i64,
}

impl OrderCounts {
    fn of(numbers: &[i64]) -> Self {
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        let taken = |from: usize| Taken { entries: at(from), units: at(from + 1), largest: at(from + 2) };
        Self {
            sales: taken(0),
            reserves: taken(3),
            gives: at(6),
            given: at(7),
            refused: at(8),
            confirms: at(9),
            releases: at(10),
            net: at(11),
        }
    }
}
