//! The invariants that hold SKU by SKU: what the ledger says against what the
//! stock says. Pure; fed with a SKU's entries in any order.

use super::findings::{Collector, Finding};
use super::{Entry, Key};
use crate::finding::FindingKind;
use crate::text;
use std::collections::HashMap;

/// One SKU's entries, added up.
#[derive(Debug)]
pub struct SkuAudit<K = i64> {
    sku_id: K,
    stock: Option<i64>,
    // Wide, so that no ledger can make the sums wrap round to something sound.
    sum: i128,
    existed: i128,
    sold: i128,
    chain: Option<Chain<K>>,
    /// Where the chain begins: 0, unless the ledger has no opening entries.
    opening: i64,
    /// Whether stock only fell, opening balance aside.
    only_sales: bool,
}

/// What one SKU adds to the totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SkuTotals {
    /// Units that ever existed.
    pub existed: i64,
    /// Units sold by the ledger, net of what came back.
    pub sold: i64,
    /// Units in stock.
    pub stock: i64,
    /// Units sold beyond those that existed.
    pub oversold: i64,
    /// Units the stock holds more than the ledger allows.
    pub lost_update: i64,
    /// Units the stock lacks against the ledger.
    pub missing_entry: i64,
    /// The least it can have held, where that can be told from its end.
    pub lowest: Option<i64>,
}

impl<K: Clone + Into<Key>> SkuAudit<K> {
    /// A SKU and its stock row, if it has one.
    pub fn new(sku_id: K, stock: Option<i64>) -> Self {
        Self::opened_at(sku_id, stock, 0)
    }

    /// The same for a ledger that does not begin with an opening entry.
    pub fn opened_at(sku_id: K, stock: Option<i64>, opening: i64) -> Self {
        let chain = Some(Chain { balances: HashMap::new() });
        let units = i128::from(opening);
        Self { sku_id, stock, sum: units, existed: units, sold: 0, chain, opening, only_sales: true }
    }

    /// Which SKU this is.
    pub const fn sku_id(&self) -> &K {
        &self.sku_id
    }

    /// Takes one of its entries.
    pub fn entry(&mut self, entry: &Entry<K>) {
        if entry.rejected && entry.delta == 0 {
            return;
        }
        let delta = i128::from(entry.delta);
        self.sum += delta;
        match entry.kind.as_str() {
            "sale" => self.sold -= delta,
            "opening" => self.existed += delta,
            "release" => {
                self.only_sales = false;
                self.sold -= delta;
            }
            _ => {
                self.only_sales = false;
                if delta > 0 {
                    self.existed += delta;
                } else {
                    self.sold -= delta;
                }
            }
        }
        match (entry.delta, entry.balance) {
            (0, _) => {}
            (delta, Some(balance)) => {
                if let Some(chain) = &mut self.chain {
                    chain.add(balance.saturating_sub(delta), balance, self.stock, &entry.order_id);
                }
            }
            // One unknown balance, and nothing can be said of the others.
            (_, None) => self.chain = None,
        }
    }

    /// Judges the SKU. `told_not_in_ledger` are units that clients were told
    /// they had bought and that no entry knows of.
    pub fn finish(self, told_not_in_ledger: i64, findings: &mut Collector) -> SkuTotals {
        let sku_id: Key = self.sku_id.into();
        let (sum, existed, sold) = (narrow(self.sum), narrow(self.existed), narrow(self.sold));
        let mut report = |kind, units: i64, order_ids: Vec<Key>, message: String| {
            findings.sku(Finding {
                sku_id: Some(sku_id.clone()),
                orders: order_ids.len() as u64,
                order_ids,
                units: units.unsigned_abs(),
                ..Finding::new(kind, message)
            });
        };
        let units = |units: i64| text::count(units.unsigned_abs(), "unit");
        let Some(stock) = self.stock else {
            report(
                FindingKind::UnknownSku,
                sum,
                Vec::new(),
                format!("SKU {sku_id} is in the ledger and has no stock row"),
            );
            return SkuTotals { existed, sold, ..SkuTotals::default() };
        };
        let taken = sold.saturating_add(told_not_in_ledger);
        let totals = SkuTotals {
            existed,
            sold,
            stock,
            oversold: taken.saturating_sub(existed).max(0),
            lost_update: stock.saturating_sub(sum).max(0),
            missing_entry: sum.saturating_sub(stock).max(0),
            lowest: (self.only_sales && stock == sum && stock >= 0).then_some(stock),
        };
        if totals.oversold > 0 {
            let message = format!(
                "SKU {sku_id}: {} sold, {} existed: {} oversold",
                text::thousands(taken.unsigned_abs()),
                text::thousands(existed.unsigned_abs()),
                text::thousands(totals.oversold.unsigned_abs())
            );
            report(FindingKind::Oversold, totals.oversold, Vec::new(), message);
        }
        if stock < 0 {
            report(FindingKind::NegativeStock, stock, Vec::new(), format!("SKU {sku_id}: stock is {stock}"));
        }
        let breaks =
            self.chain.map(|chain| chain.breaks_between(self.opening, sum, stock)).unwrap_or_default();
        if totals.lost_update > 0 {
            let difference = units(totals.lost_update);
            let (kind, why) = if breaks.all_at_final_balance {
                (
                    FindingKind::EntryWithoutMovement,
                    "entries were written at a balance that no longer moved, as when an update that matched no row \
                     goes unnoticed",
                )
            } else {
                (
                    FindingKind::LostUpdate,
                    "entries exist for deductions that another write undid, or that never happened",
                )
            };
            let message = format!(
                "SKU {sku_id}: stock is {stock}, its ledger adds up to {sum}: {difference} recorded and not taken: {why}"
            );
            report(kind, totals.lost_update, breaks.orders.clone(), message);
        }
        if totals.missing_entry > 0 {
            let message = format!(
                "SKU {sku_id}: stock is {stock}, its ledger adds up to {}: {} left the stock without an entry",
                sum,
                units(totals.missing_entry)
            );
            report(FindingKind::MissingEntry, totals.missing_entry, Vec::new(), message);
        }
        if breaks.count > 0 {
            report(
                FindingKind::BalanceChain,
                0,
                breaks.orders.clone(),
                format!("SKU {sku_id}: {}", breaks.sentence()),
            );
        }
        totals
    }
}

fn narrow(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

/// The balances of a SKU's entries as a graph: each entry leads from the
/// balance before it to the balance after it. Sound entries form one path from
/// nothing to the final balance, whatever order they were written in, so every
/// balance is left as often as it is reached. (The degree condition of an
/// Eulerian path; entries that only exchange places are not told apart.)
#[derive(Debug)]
struct Chain<K> {
    balances: HashMap<i64, Degree<K>>,
}

#[derive(Debug)]
struct Degree<K> {
    reached: i64,
    left: i64,
    left_for_stock: i64,
    orders: [Option<K>; 2],
}

impl<K> Default for Degree<K> {
    fn default() -> Self {
        Self { reached: 0, left: 0, left_for_stock: 0, orders: [None, None] }
    }
}

#[derive(Debug, Default)]
struct Breaks {
    /// Balances that are left more often than reached, or the reverse.
    count: u64,
    /// Entries beyond the one that could have continued from their balance.
    surplus: i64,
    /// The highest balance that too many entries continue from.
    first: Option<i64>,
    /// Orders that continue from that balance, at most two.
    orders: Vec<Key>,
    /// Whether every entry too many claims the balance that is in stock.
    all_at_final_balance: bool,
}

impl<K: Clone + Into<Key>> Chain<K> {
    fn add(&mut self, before: i64, after: i64, stock: Option<i64>, order_id: &K) {
        let from = self.balances.entry(before).or_default();
        from.left += 1;
        from.left_for_stock += i64::from(Some(after) == stock);
        if let Some(free) = from.orders.iter_mut().find(|order| order.is_none()) {
            *free = Some(order_id.clone());
        }
        self.balances.entry(after).or_default().reached += 1;
    }

    /// A chain that is whole up to the ledger's own sum is whole, whatever the
    /// stock; one that isn't is measured against where the stock really ended.
    fn breaks_between(&self, first: i64, sum: i64, stock: i64) -> Breaks {
        let breaks = self.breaks(first, sum);
        if breaks.count == 0 { breaks } else { self.breaks(first, stock) }
    }

    fn breaks(&self, start: i64, last: i64) -> Breaks {
        let mut breaks = Breaks { all_at_final_balance: true, ..Breaks::default() };
        for (&balance, degree) in &self.balances {
            let expected = i64::from(balance == start) - i64::from(balance == last);
            let surplus = degree.left - degree.reached - expected;
            breaks.count += u64::from(surplus != 0);
            // A lost update leaves the balance behind that it undid.
            breaks.all_at_final_balance &= surplus >= 0 || balance == last;
            if surplus > 0 {
                breaks.surplus += surplus;
                breaks.all_at_final_balance &= degree.left_for_stock >= surplus;
                if breaks.first.is_none_or(|first| balance > first) {
                    breaks.first = Some(balance);
                    breaks.orders = degree.orders.iter().flatten().cloned().map(Into::into).collect();
                }
            }
        }
        breaks.all_at_final_balance &= breaks.surplus > 0;
        breaks
    }
}

impl Breaks {
    fn sentence(&self) -> String {
        let broken = text::count(self.count, "balance");
        match (self.first, self.orders.as_slice()) {
            (Some(first), [one, other]) => {
                format!(
                    "the chain breaks at {broken}, first at {first}, from which orders {one} and {other} both continue"
                )
            }
            (Some(first), [one]) => {
                format!(
                    "the chain breaks at {broken}: order {one} continues from {first}, which no entry leads to"
                )
            }
            _ => format!("the chain breaks at {broken}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of SKU 1: (order, delta, balance), an opening balance first.
    fn judge(
        stock: i64,
        opening: i64,
        sales: &[(i64, i64, i64)],
        told: i64,
    ) -> (Vec<FindingKind>, SkuTotals) {
        let mut audit = SkuAudit::new(1, Some(stock));
        let entry = |order_id, kind: &str, delta, balance| Entry {
            order_id,
            sku_id: 1,
            kind: kind.to_owned(),
            rejected: false,
            delta,
            balance: Some(balance),
            run_id: 1,
        };
        audit.entry(&entry(0, "opening", opening, opening));
        for (order, delta, balance) in sales {
            audit.entry(&entry(*order, "sale", *delta, *balance));
        }
        let mut findings = Collector::new(false);
        let totals = audit.finish(told, &mut findings);
        (findings.finish().1.iter().map(|finding| finding.kind).collect(), totals)
    }

    #[test]
    fn a_sound_sku_has_no_findings_in_whatever_order_entries_were_written() {
        let (kinds, totals) = judge(6, 10, &[(2, -3, 6), (1, -1, 9)], 0);
        assert_eq!(kinds, []);
        assert_eq!(
            totals,
            SkuTotals { existed: 10, sold: 4, stock: 6, lowest: Some(6), ..SkuTotals::default() }
        );
    }

    #[test]
    fn a_lost_update_is_found_with_its_fork() {
        // Both read 10; the second write undoes the first; a third goes on.
        let (kinds, totals) = judge(8, 10, &[(1, -1, 9), (2, -1, 9), (3, -1, 8)], 0);
        assert_eq!(kinds, [FindingKind::LostUpdate, FindingKind::BalanceChain]);
        assert_eq!(totals.lost_update, 1);
        assert_eq!(totals.lowest, None);
    }

    #[test]
    fn entries_at_a_stuck_balance_are_told_from_lost_updates() {
        let (kinds, totals) = judge(0, 2, &[(1, -1, 1), (2, -1, 0), (3, -1, 0), (4, -1, 0)], 0);
        let expected = [FindingKind::Oversold, FindingKind::EntryWithoutMovement, FindingKind::BalanceChain];
        assert_eq!(kinds, expected);
        assert_eq!((totals.oversold, totals.lost_update), (2, 2));
    }

    #[test]
    fn a_missing_entry_and_a_negative_stock_are_found() {
        let (kinds, totals) = judge(8, 10, &[(1, -1, 9)], 0);
        assert_eq!(kinds, [FindingKind::MissingEntry]);
        assert_eq!(totals.missing_entry, 1);
        let (kinds, _) = judge(-1, 1, &[(1, -1, 0), (2, -1, -1)], 0);
        assert_eq!(kinds, [FindingKind::Oversold, FindingKind::NegativeStock]);
    }

    #[test]
    fn units_told_as_sold_count_as_oversold_even_without_an_entry() {
        let (kinds, totals) = judge(0, 1, &[(1, -1, 0)], 3);
        assert_eq!(kinds, [FindingKind::Oversold]);
        assert_eq!(totals.oversold, 3);
    }

    #[test]
    fn a_broken_balance_is_found_while_the_sums_agree() {
        let (kinds, totals) = judge(8, 10, &[(1, -1, 5), (2, -1, 8)], 0);
        assert_eq!(kinds, [FindingKind::BalanceChain]);
        assert_eq!((totals.lost_update, totals.missing_entry), (0, 0));
    }

    #[test]
    fn a_sku_without_a_stock_row_is_found() {
        let mut audit = SkuAudit::new(1, None);
        let kind = "sale".to_owned();
        audit.entry(&Entry {
            order_id: 1,
            sku_id: 1,
            kind,
            rejected: false,
            delta: -1,
            balance: None,
            run_id: 1,
        });
        let mut findings = Collector::new(false);
        audit.finish(0, &mut findings);
        assert_eq!(findings.finish().1[0].kind, FindingKind::UnknownSku);
    }
}
