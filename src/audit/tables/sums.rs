//! The first look at everything: what each SKU's entries add up to, part by
//! part, and whether that is what is in stock. Who does not add up is suspect.

use super::Pass;
use super::fingerprint::Fingerprint;
use super::read::{Reading, TOO_LONG, pass};
use super::resolve::{IdSql, LedgerSql, Opening};
use super::sql::{flag, integer, select};
use super::suspects::{BATCH_SKUS, Suspect};
use crate::audit::{Finding, FindingKind, Key};
use crate::text;
use anyhow::{Context, Result, anyhow, bail};
use std::collections::{HashMap, HashSet};
use std::time::Instant;

/// Entries of the first part; the time it takes says how large the next can be.
const FIRST_PART: u64 = 50_000;

/// How much larger a part may be than the one before.
const GROWTH_MAX: f64 = 256.0;

/// What the entries of one SKU add up to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) entries: u64,
    pub(super) delta: i64,
    pub(super) fingerprint: Fingerprint,
    /// Entries that moved and keep no balance.
    pub(super) unbalanced: i64,
    pub(super) lowest: Option<i64>,
    pub(super) orphans: i64,
    /// Units at the beginning, where no stock row says them.
    pub(super) opening: i64,
}

impl Reading<'_> {
    /// Adds up every ledger, part by part.
    pub(super) async fn sum_up(&mut self) -> Result<HashMap<Key, Sums>> {
        let mut sums = HashMap::new();
        for ledger in &self.resolved.ledgers {
            let mut pass = pass(format!("{}: sums and chains", ledger.name));
            if let Some(id) = ledger.id.as_ref().filter(|id| id.is_int) {
                self.sum_by_parts(ledger, id, &mut pass, &mut sums).await?;
            } else {
                (self.on_progress)(&format!("adding up {}", ledger.name), 0, 0);
                self.sum_part(ledger, None, &mut pass, &mut sums).await?;
            }
            self.passes.push(pass);
            if self.nameless > 0 {
                let entries = text::count(std::mem::take(&mut self.nameless), "entry");
                let message = format!("{}: {entries} without a SKU", ledger.name);
                self.findings.sku(Finding::new(FindingKind::Orphan, message));
            }
        }
        Ok(sums)
    }

    async fn sum_by_parts(
        &mut self,
        ledger: &LedgerSql,
        IdSql { column: id, nullable, .. }: &IdSql,
        pass: &mut Pass,
        sums: &mut HashMap<Key, Sums>,
    ) -> Result<()> {
        let mut bounds = None;
        let sql = format!("SELECT MIN({id}), MAX({id}) FROM {} e", ledger.table);
        self.query(&sql, pass, |row| {
            bounds = row[0].as_int().zip(row[1].as_int());
            Ok(())
        })
        .await?;
        let Some((first, last)) = bounds else {
            // No entry, or ids that 64 bits with a sign do not hold.
            return self.sum_part(ledger, None, pass, sums).await;
        };
        let what = format!("adding up {}", ledger.name);
        let all = last.abs_diff(first).saturating_add(1);
        let mut after = i128::from(first) - 1;
        let mut width = FIRST_PART;
        while after < i128::from(last) {
            let up_to = (after + i128::from(width)).min(i128::from(last));
            let mut part = format!("{id} > {after} AND {id} <= {up_to}");
            if *nullable && after < i128::from(first) {
                part = format!("{id} IS NULL OR {part}");
            }
            self.mark().await?;
            let started = Instant::now();
            let mut of_part = HashMap::new();
            match self.sum_part(ledger, Some(&part), pass, &mut of_part).await {
                Ok(()) => {}
                Err(error) if width > 1_000 && error.to_string().contains(TOO_LONG) => {
                    width /= 8;
                    self.back_to_mark().await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if sums.is_empty() {
                *sums = of_part;
            } else {
                for (sku, part) in of_part {
                    merge(sums.entry(sku).or_default(), part);
                }
            }
            after = up_to;
            (self.on_progress)(&what, u64::try_from(after - i128::from(first)).unwrap_or(all), all);
            let ratio = self.asked.limits.part_time.as_secs_f64() / started.elapsed().as_secs_f64().max(1e-3);
            width = scaled(width, ratio.clamp(1.0 / GROWTH_MAX, GROWTH_MAX));
        }
        Ok(())
    }

    async fn sum_part(
        &mut self,
        ledger: &LedgerSql,
        part: Option<&str>,
        pass: &mut Pass,
        sums: &mut HashMap<Key, Sums>,
    ) -> Result<()> {
        let dialect = self.resolved.dialect;
        let delta = &ledger.delta;
        let count_if = |condition: &str| format!("COALESCE(SUM(CASE WHEN {condition} THEN 1 ELSE 0 END), 0)");
        let mut columns = vec![
            ledger.sku.clone(),
            "COUNT(*)".to_owned(),
            integer(dialect, &format!("COALESCE(SUM({delta}), 0)")),
        ];
        columns.extend(match &ledger.balance {
            Some((balance, may_be_missing)) => [
                format!("MIN({balance})"),
                if *may_be_missing {
                    count_if(&format!("{balance} IS NULL AND {delta} <> 0"))
                } else {
                    "0".to_owned()
                },
            ],
            None => ["NULL".to_owned(), "COUNT(*)".to_owned()],
        });
        for condition in [&ledger.unmapped, &ledger.fractions, &ledger.orphan] {
            columns.push(condition.as_deref().map_or_else(|| "0".to_owned(), count_if));
        }
        if let Some((balance, _)) = &ledger.balance {
            columns.extend(Fingerprint::of_entries(dialect, &format!("{balance} - {delta}"), balance));
        }
        let sql = format!(
            "SELECT {} FROM {}{} GROUP BY {}",
            select(&columns),
            ledger.from,
            self.condition(ledger, part),
            ledger.sku
        );
        let (mut unmapped, mut fractions, mut nameless, mut entries) = (0, 0, 0, 0);
        let form = self.resolved.stock.sku_form;
        let result = self
            .query(&sql, pass, |row| {
                let number = |at: usize| row[at].as_int().unwrap_or(0);
                let count = u64::try_from(number(1)).unwrap_or(0);
                entries += count;
                unmapped += number(5);
                fractions += number(6);
                let part = Sums {
                    entries: count,
                    delta: row[2].as_int().context("the ledger adds up to more than 64 bits hold")?,
                    lowest: row[3].as_int(),
                    unbalanced: number(4),
                    orphans: number(7),
                    fingerprint: Fingerprint::read(&row[8..]),
                    opening: 0,
                };
                match Key::of(&row[0]) {
                    Some(sku) => merge(sums.entry(form.key(sku)).or_default(), part),
                    None => nameless += number(1),
                }
                Ok(())
            })
            .await;
        result.with_context(|| format!("cannot add up {}", ledger.name))?;
        self.entries += entries;
        if unmapped > 0 {
            return Err(self.unmapped(ledger, unmapped, part).await);
        }
        if fractions > 0 {
            bail!(
                "{}: {} with fractions of a unit: stockbench counts whole units only",
                ledger.name,
                text::count(fractions.unsigned_abs(), "entry")
            );
        }
        self.nameless += nameless.unsigned_abs();
        Ok(())
    }

    /// Says what the mapping has no words for.
    async fn unmapped(&mut self, ledger: &LedgerSql, count: i64, part: Option<&str>) -> anyhow::Error {
        let condition = ledger.unmapped.as_deref().unwrap_or("FALSE");
        let narrowed = part.map_or_else(|| condition.to_owned(), |part| format!("{condition} AND {part}"));
        let sql = format!(
            "SELECT DISTINCT {} AS words FROM {}{} LIMIT 5",
            ledger.unmapped_words,
            ledger.from,
            self.condition(ledger, Some(&narrowed))
        );
        let mut words = Vec::new();
        let mut pass = pass("unmapped".to_owned());
        let listed = self
            .query(&sql, &mut pass, |row| {
                words.push(format!("`{}`", row[0].to_text()));
                Ok(())
            })
            .await;
        match listed {
            Ok(()) => anyhow!(
                "{}: {} with words that the mapping does not know: {} (kinds.ignore leaves entries out)",
                ledger.name,
                text::count(count.unsigned_abs(), "entry"),
                words.join(", ")
            ),
            Err(error) => error,
        }
    }

    /// Compares the sums with the stock, SKU by SKU.
    pub(super) async fn compare(&mut self, mut sums: HashMap<Key, Sums>) -> Result<Stocked> {
        let mut openings = self.openings().await?;
        let form = self.resolved.stock.sku_form;
        let resolved = self.resolved;
        let sql = self.stock_sql();
        let mut pass = pass("stock".to_owned());
        let mut stocked = Stocked::default();
        let mut to_derive: HashMap<i64, Vec<(Suspect, Fingerprint)>> = HashMap::new();
        let mut odd = OddRows::default();
        let mut folded: HashSet<Key> = HashSet::new();
        let derive = resolved.opening == Opening::Derive;
        let keeps_balances = resolved.ledgers.iter().any(|ledger| ledger.balance.is_some());
        (self.on_progress)("comparing with the stock", 0, 0);
        let read = self
            .query(&sql, &mut pass, |row| {
                let Some(sku) = Key::of(&row[0]) else {
                    odd.nameless += 1;
                    return Ok(());
                };
                let number = |at: usize| row[at].as_int().unwrap_or(0);
                let units = row[1].as_int().context("the stock of a SKU is more than 64 bits hold")?;
                odd.fractional += u64::from(number(2) > 0);
                let end = Fingerprint::read(&row[4..][..Fingerprint::COLUMNS]);
                let known = form.key(sku.clone());
                if form.folds_case && !folded.insert(known.clone()) {
                    odd.taken_for_one.get_or_insert_with(|| sku.clone());
                }
                let sums = sums.remove(&known).unwrap_or_default();
                stocked.skus += 1;
                stocked.in_stock = stocked.in_stock.saturating_add(units);
                let (opening, start) = openings
                    .remove(&known)
                    .unwrap_or_else(|| (number(3), Fingerprint::read(&row[4 + Fingerprint::COLUMNS..])));
                let is_kept = keeps_balances && sums.unbalanced == 0 && sums.entries > 0;
                odd.unchained += u64::from(keeps_balances && sums.unbalanced > 0);
                if derive {
                    stocked.by_ledger = stocked.by_ledger.saturating_add(units);
                    let start = units.saturating_sub(sums.delta);
                    let suspect = Suspect { sku, stock: Some(units), opening: None, sums, is_broken: false };
                    if units < 0 || sums.lowest.is_some_and(|lowest| lowest < 0) || sums.orphans > 0 {
                        stocked.suspects.push(suspect);
                    } else if is_kept {
                        to_derive.entry(start).or_default().push((suspect, end));
                    }
                    return Ok(());
                }
                let expected = opening.saturating_add(sums.delta);
                stocked.by_ledger = stocked.by_ledger.saturating_add(expected);
                let is_broken = is_kept && sums.fingerprint != end - start;
                let went_below = sums.lowest.is_some_and(|lowest| lowest < 0);
                if units != expected
                    || units < 0
                    || expected < 0
                    || is_broken
                    || went_below
                    || sums.orphans > 0
                {
                    stocked.suspects.push(Suspect {
                        sku,
                        stock: Some(units),
                        opening: Some(opening),
                        sums,
                        is_broken,
                    });
                }
                Ok(())
            })
            .await;
        read.context("cannot read the stock")?;
        self.judge_odd(odd, derive)?;
        self.derived(to_derive, &mut pass, &mut stocked.suspects).await?;
        self.passes.push(pass);
        // Entries and opening balances of SKUs that have no stock row: where
        // nothing is left of them, nothing is missing.
        for (sku, (opening, _)) in openings {
            sums.entry(sku).or_default().opening = opening;
        }
        for (sku, sums) in sums {
            stocked.skus += 1;
            let left = sums.opening.saturating_add(sums.delta);
            stocked.by_ledger = stocked.by_ledger.saturating_add(left);
            if left != 0 || sums.orphans > 0 {
                let opening = Some(sums.opening);
                stocked.suspects.push(Suspect { sku, stock: None, opening, sums, is_broken: false });
            }
        }
        stocked
            .suspects
            .sort_by(|one, other| other.drift().cmp(&one.drift()).then_with(|| one.sku.cmp(&other.sku)));
        Ok(stocked)
    }

    /// Refuses rows that cannot be added up; names those that could not be judged.
    fn judge_odd(&mut self, odd: OddRows, derive: bool) -> Result<()> {
        let table = &self.resolved.stock.table;
        if let Some(sku) = odd.taken_for_one {
            bail!(
                "{table} tells `{sku}` from another SKU of that spelling and another table of the mapping does not \
                 (the collation of its column): they cannot be compared"
            );
        }
        if odd.nameless > 0 {
            let rows = text::count(odd.nameless, "row");
            self.scope.not_seen.push(format!("{rows} of {table} without a SKU"));
        }
        if odd.fractional > 0 {
            bail!(
                "{}: {} with fractions of a unit in stock: stockbench counts whole units only",
                table,
                text::count(odd.fractional, "SKU")
            );
        }
        if odd.unchained > 0 {
            let chains = format!(
                "the chains of {} with entries that keep no balance",
                text::count(odd.unchained, "SKU")
            );
            if derive {
                self.scope.not_seen.push(format!("{chains}: nothing can be said of them"));
            } else {
                self.not_checked.push(format!("{chains}: only their sums were compared"));
            }
        }

        Ok(())
    }

    /// The query for SKU, units and opening balance, with their fingerprints.
    fn stock_sql(&self) -> String {
        let resolved = self.resolved;
        let (dialect, stock) = (resolved.dialect, &resolved.stock);
        let total = |units: &str| {
            if stock.is_unique {
                format!("COALESCE({units}, 0)")
            } else {
                integer(dialect, &format!("COALESCE(SUM({units}), 0)"))
            }
        };
        let units = total(&stock.units);
        let (opening, of_opening) = match &resolved.opening {
            Opening::Column { units, fractions } => (Some(total(units)), fractions.as_ref()),
            _ => (None, None),
        };
        let in_fractions: Vec<&str> =
            [stock.fractions.as_ref(), of_opening].into_iter().flatten().map(String::as_str).collect();
        let in_fractions = (!in_fractions.is_empty()).then(|| in_fractions.join(" OR "));
        let fractions = flag(in_fractions.as_deref());
        let fractions = if stock.is_unique { fractions } else { format!("MAX({fractions})") };
        let opening = opening.unwrap_or_else(|| integer(dialect, "0"));
        let mut columns = vec![stock.sku.clone(), units.clone(), fractions, opening.clone()];
        columns.extend(Fingerprint::of_balance(dialect, &units));
        columns.extend(Fingerprint::of_balance(dialect, &opening));
        let filter =
            self.sku_filter(&stock.sku).map_or_else(String::new, |filter| format!(" WHERE {filter}"));
        let group = if stock.is_unique { String::new() } else { format!(" GROUP BY {}", stock.sku) };
        format!("SELECT {} FROM {} s{filter}{group}", select(&columns), stock.table)
    }

    /// Opening balances that have a table of their own, and their fingerprints.
    async fn openings(&mut self) -> Result<HashMap<Key, (i64, Fingerprint)>> {
        let mut openings = HashMap::new();
        let Opening::Table(query) = &self.resolved.opening else { return Ok(openings) };
        let sql = format!(
            "SELECT sku, units, parts, {} FROM ({query}) o",
            select(&Fingerprint::of_balance(self.resolved.dialect, "units"))
        );
        let form = self.resolved.stock.sku_form;
        let mut fractional = 0_u64;
        let mut pass = pass("opening balances".to_owned());
        self.query(&sql, &mut pass, |row| {
            fractional += u64::from(row[2].as_int() == Some(1));
            if let Some(sku) = Key::of(&row[0]) {
                let units = row[1].as_int().unwrap_or(0);
                openings.insert(form.key(sku), (units, Fingerprint::read(&row[3..])));
            }
            Ok(())
        })
        .await
        .context("cannot read the opening balances")?;
        if fractional > 0 {
            let skus = text::count(fractional, "SKU");
            bail!("opening: {skus} with fractions of a unit: stockbench counts whole units only");
        }
        self.passes.push(pass);
        Ok(openings)
    }

    /// Where opening balances are derived, a chain is whole if it leads from
    /// what the stock minus the entries comes to.
    async fn derived(
        &mut self,
        by_start: HashMap<i64, Vec<(Suspect, Fingerprint)>>,
        pass: &mut Pass,
        suspects: &mut Vec<Suspect>,
    ) -> Result<()> {
        let starts: Vec<i64> = by_start.keys().copied().collect();
        let dialect = self.resolved.dialect;
        let mut hashes = HashMap::new();
        for some in starts.chunks(BATCH_SKUS) {
            let each = some.iter().map(|start| {
                let start = integer(dialect, &start.to_string());
                let hash = Fingerprint::of_balance(dialect, &start);
                format!("SELECT {start} AS start, {}", select(&hash))
            });
            let sql = each.collect::<Vec<_>>().join(" UNION ALL ");
            self.query(&sql, pass, |row| {
                hashes.insert(row[0].as_int().unwrap_or(0), Fingerprint::read(&row[1..]));
                Ok(())
            })
            .await?;
        }
        for (start, all) in by_start {
            let start = hashes.get(&start).copied().unwrap_or_default();
            let broken = all.into_iter().filter(|(suspect, end)| suspect.sums.fingerprint != *end - start);
            suspects.extend(broken.map(|(suspect, _)| Suspect { is_broken: true, ..suspect }));
        }
        Ok(())
    }
}

/// Stock rows with which something is amiss.
#[derive(Debug, Default)]
struct OddRows {
    /// Rows in fractions of a unit.
    fractional: u64,
    /// SKUs with entries that keep no balance.
    unchained: u64,
    /// Rows without a SKU.
    nameless: u64,
    /// A SKU that another table does not tell from another one.
    taken_for_one: Option<Key>,
}

/// What the comparison with the stock comes to.
#[derive(Debug, Default)]
pub(super) struct Stocked {
    pub(super) suspects: Vec<Suspect>,
    pub(super) skus: u64,
    pub(super) in_stock: i64,
    pub(super) by_ledger: i64,
}

fn merge(sums: &mut Sums, part: Sums) {
    sums.entries += part.entries;
    sums.delta = sums.delta.saturating_add(part.delta);
    sums.fingerprint = sums.fingerprint.plus(part.fingerprint);
    sums.unbalanced += part.unbalanced;
    sums.orphans += part.orphans;
    sums.lowest = match (sums.lowest, part.lowest) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a width only has to be about right"
)]
fn scaled(width: u64, ratio: f64) -> u64 {
    ((width as f64 * ratio) as u64).max(1_000)
}
