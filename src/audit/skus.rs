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
    /// The sale that led deepest below zero, and the one that led there first.
    below_zero: Option<BelowZero<K>>,
    /// The run whose refusals are judged, where there is one.
    run: Option<RunBalances>,
}

/// Sales that led below zero.
#[derive(Debug)]
struct BelowZero<K> {
    lowest: i64,
    /// The highest of their balances, and its order: the first of them.
    first: (i64, K),
}

/// What the entries of one run say of the stock while it went on.
#[derive(Debug)]
struct RunBalances {
    run_id: i64,
    /// What it began with: runs follow one another.
    began_with: i128,
    lowest: Option<i64>,
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
    /// The least it can have held during the run, where the ledger tells: by its end where
    /// stock only fell, else by its balances.
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
        Self {
            sku_id,
            stock,
            sum: units,
            existed: units,
            sold: 0,
            chain,
            opening,
            only_sales: true,
            below_zero: None,
            run: None,
        }
    }

    /// The same, with an eye on the least that there was during a run.
    #[must_use]
    pub fn during(mut self, run_id: i64) -> Self {
        self.run = Some(RunBalances { run_id, began_with: i128::from(self.opening), lowest: None });
        self
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
        self.watch_run(entry);
        self.watch_zero(entry);

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

    fn watch_run(&mut self, entry: &Entry<K>) {
        let Some(run) = &mut self.run else { return };
        if entry.run_id != run.run_id {
            run.began_with += i128::from(entry.delta);
        } else if let Some(balance) = entry.balance {
            run.lowest = Some(run.lowest.map_or(balance, |lowest| lowest.min(balance)));
        }
    }

    /// A sale that leads below zero sold what was not there, whatever comes in later.
    fn watch_zero(&mut self, entry: &Entry<K>) {
        let sells = entry.delta < 0 && SELLING.contains(&entry.kind.as_str());
        let Some(balance) = entry.balance.filter(|balance| sells && *balance < 0) else { return };

        let below = self
            .below_zero
            .get_or_insert_with(|| BelowZero { lowest: balance, first: (balance, entry.order_id.clone()) });
        below.lowest = below.lowest.min(balance);
        if balance > below.first.0 {
            below.first = (balance, entry.order_id.clone());
        }
    }

    /// The least that the stock held during the run, by balances that are all known and
    /// form one chain.
    fn lowest_by_balances(&self, stock: i64, breaks: &Breaks) -> Option<i64> {
        let run = self.run.as_ref()?;
        let is_whole = self.chain.is_some() && breaks.count == 0 && i128::from(stock) == self.sum;
        let began_with = narrow(run.began_with);
        is_whole.then(|| run.lowest.map_or(began_with, |lowest| lowest.min(began_with)))
    }

    /// Judges the SKU. `told_not_in_ledger` are units that clients were told
    /// they had bought and that no entry knows of.
    pub fn finish(mut self, told_not_in_ledger: i64, findings: &mut Collector) -> SkuTotals {
        let sku_id: Key = self.sku_id.clone().into();
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
        let opening = self.opening;
        let chain = self.chain.as_mut();
        let breaks = chain.map(|chain| chain.breaks_between(opening, sum, stock)).unwrap_or_default();
        let by_end = (self.only_sales && stock == sum && stock >= 0).then_some(stock);
        let beyond = taken.saturating_sub(existed).max(0);
        let depth = self.below_zero.as_ref().map_or(0, |below| below.lowest.saturating_neg());
        let totals = SkuTotals {
            existed,
            sold,
            stock,
            oversold: beyond.max(depth),
            lost_update: stock.saturating_sub(sum).max(0),
            missing_entry: sum.saturating_sub(stock).max(0),
            lowest: by_end.or_else(|| self.lowest_by_balances(stock, &breaks)),
        };

        if let Some(below) = self.below_zero.filter(|_| depth > beyond) {
            let (balance, order_id) = below.first;
            let order_id: Key = order_id.into();
            let message = format!(
                "SKU {sku_id}: sales led below zero, to {}, first to {balance} by order {order_id}: {} oversold when they \
                 were sold",
                below.lowest,
                units(depth)
            );
            report(FindingKind::Oversold, depth, vec![order_id], message);
        } else if beyond > 0 {
            let message = format!(
                "SKU {sku_id}: {} sold, {} existed: {} oversold",
                text::signed(taken),
                text::signed(existed),
                text::thousands(totals.oversold.unsigned_abs())
            );
            report(FindingKind::Oversold, totals.oversold, Vec::new(), message);
        }

        if stock < 0 {
            report(FindingKind::NegativeStock, stock, Vec::new(), format!("SKU {sku_id}: stock is {stock}"));
        }

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

/// Kinds of entries by which an order takes units.
const SELLING: [&str; 2] = ["sale", "reserve"];

fn narrow(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX })
}

/// The balances of a SKU's entries as a graph: each entry leads from the
/// balance before it to the balance after it. Sound entries form one path from
/// nothing to the final balance, whatever order they were written in, so every
/// balance is left as often as it is reached, and all of them hang together. (Euler's
/// two conditions for a path that uses each entry once, L. Euler 1736 and C. Hierholzer
/// 1873; entries that only exchange places are not told apart.)
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
    /// A balance that this one hangs together with; the root of a set is its own.
    linked_to: i64,
}

impl<K> Degree<K> {
    const fn of(balance: i64) -> Self {
        Self { reached: 0, left: 0, left_for_stock: 0, orders: [None, None], linked_to: balance }
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
    /// The highest balance of entries that lead in a circle of their own, which no path from
    /// the beginning meets.
    apart: Option<i64>,
}

impl<K: Clone + Into<Key>> Chain<K> {
    fn add(&mut self, before: i64, after: i64, stock: Option<i64>, order_id: &K) {
        let from = self.balances.entry(before).or_insert_with(|| Degree::of(before));
        from.left += 1;
        from.left_for_stock += i64::from(Some(after) == stock);
        if let Some(free) = from.orders.iter_mut().find(|order| order.is_none()) {
            *free = Some(order_id.clone());
        }
        self.balances.entry(after).or_insert_with(|| Degree::of(after)).reached += 1;

        let (from, to) = (self.root(before), self.root(after));
        if let Some(degree) = self.balances.get_mut(&from) {
            degree.linked_to = to;
        }
    }

    /// What a balance hangs together with; two balances that do have one root.
    fn root(&mut self, balance: i64) -> i64 {
        let mut at = balance;
        while let Some(next) =
            self.balances.get(&at).map(|degree| degree.linked_to).filter(|next| *next != at)
        {
            // Halving the way each time keeps all ways short (R. E. Tarjan, J. van Leeuwen 1984).
            let beyond = self.balances.get(&next).map_or(next, |degree| degree.linked_to);
            if let Some(degree) = self.balances.get_mut(&at) {
                degree.linked_to = beyond;
            }
            at = beyond;
        }
        at
    }

    /// A chain that is whole up to the ledger's own sum is whole, whatever the
    /// stock; one that isn't is measured against where the stock really ended.
    fn breaks_between(&mut self, first: i64, sum: i64, stock: i64) -> Breaks {
        let breaks = self.breaks(first, sum);
        if breaks.count > 0 { self.breaks(first, stock) } else { self.circles(first) }
    }

    /// What is not connected to where the chain begins, where every balance is left as often as
    /// it is reached.
    fn circles(&mut self, start: i64) -> Breaks {
        let balances: Vec<i64> = self.balances.keys().copied().collect();
        let path = self.root(start);
        let apart: Vec<i64> = balances.into_iter().filter(|balance| self.root(*balance) != path).collect();

        let highest = apart.iter().max().copied();
        let orders = highest.and_then(|balance| self.balances.get(&balance));
        let orders = orders.iter().flat_map(|degree| degree.orders.iter().flatten());
        Breaks {
            count: apart.len() as u64,
            apart: highest,
            orders: orders.cloned().map(Into::into).collect(),
            ..Breaks::default()
        }
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
        if let Some(balance) = self.apart {
            let orders: Vec<String> = self.orders.iter().map(|order| format!("order {order}")).collect();
            return format!(
                "entries at {broken}, {balance} the highest ({}), lead in a circle that no other entry leads to",
                orders.join(", ")
            );
        }
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

    /// An entry of SKU 1 and run 1.
    fn entry(order_id: i64, kind: &str, delta: i64, balance: Option<i64>) -> Entry {
        let kind = kind.to_owned();
        Entry { order_id, sku_id: 1, kind, rejected: false, delta, balance, run_id: 1 }
    }

    /// Entries of SKU 1: (order, delta, balance), an opening balance first.
    fn judge(
        stock: i64,
        opening: i64,
        sales: &[(i64, i64, i64)],
        told: i64,
    ) -> (Vec<FindingKind>, SkuTotals) {
        let mut audit = SkuAudit::new(1, Some(stock));
        audit.entry(&entry(0, "opening", opening, Some(opening)));
        for (order, delta, balance) in sales {
            audit.entry(&entry(*order, "sale", *delta, Some(*balance)));
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
    fn a_sale_below_zero_stays_oversold_when_goods_come_in_later() {
        let mut audit = SkuAudit::new(1, Some(10)).during(1);
        for entry in [
            entry(0, "opening", 2, Some(2)),
            entry(1, "sale", -3, Some(-1)),
            entry(2, "sale", -4, Some(-5)),
            entry(0, "restock", 15, Some(10)),
        ] {
            audit.entry(&entry);
        }

        let mut findings = Collector::new(false);
        let totals = audit.finish(0, &mut findings);

        let findings = findings.finish().1;
        assert_eq!(findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [FindingKind::Oversold]);
        assert_eq!((totals.oversold, findings[0].units, totals.lowest), (5, 5, Some(-5)));
        assert_eq!(findings[0].order_ids, [Key::Int(1)]);
    }

    #[test]
    fn entries_that_lead_in_a_circle_of_their_own_are_found() {
        let (kinds, _) = judge(9, 10, &[(1, -1, 9), (2, -1, 999), (3, 1, 1000)], 0);
        assert_eq!(kinds, [FindingKind::BalanceChain]);
        let (kinds, _) = judge(9, 10, &[(1, -1, 9), (2, -1, 8), (3, 1, 9)], 0);
        assert_eq!(kinds, [], "a circle that the path meets is no damage");
    }

    #[test]
    fn the_least_there_was_is_known_by_balances_where_stock_also_rose() {
        let audited = |balances: [Option<i64>; 3]| {
            let mut audit = SkuAudit::new(1, Some(12)).during(7);
            let of_run =
                |run_id, kind: &str, delta, balance| Entry { run_id, ..entry(1, kind, delta, balance) };

            // An earlier run had less; this one never fell below 8.
            for entry in [
                of_run(0, "opening", 20, Some(20)),
                of_run(6, "sale", -19, Some(1)),
                of_run(6, "restock", 9, Some(10)),
                of_run(7, "sale", -2, balances[0]),
                of_run(7, "restock", 5, balances[1]),
                of_run(7, "sale", -1, balances[2]),
            ] {
                audit.entry(&entry);
            }
            let mut findings = Collector::new(false);
            audit.finish(0, &mut findings).lowest
        };
        assert_eq!(audited([Some(8), Some(13), Some(12)]), Some(8));
        assert_eq!(audited([Some(8), None, Some(12)]), None, "a balance is missing");
        assert_eq!(audited([Some(8), Some(13), Some(11)]), None, "the chain is broken");
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
