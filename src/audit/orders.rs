//! The invariants that hold order by order: what a client was told against
//! what the ledger says. Pure; fed with orders by ascending id.

use super::findings::Collector;
use super::{ClientWitness, Entry};
use crate::engine::answers::{Answers, ToldOrder};
use crate::finding::FindingKind;
use crate::outcome::Outcome;
use crate::workload::Line;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What moved by orders, as their SKUs and signed units.
pub type Moves = HashMap<i64, Vec<(i64, i64)>>;

/// Compares orders one at a time.
#[derive(Debug)]
pub struct OrderAudit {
    /// The run whose answers are known; 0 when none are.
    run_id: i64,
    witness: ClientWitness,
    /// Orders seen on either side.
    pub orders: u64,
    /// Units that clients were told they had bought.
    pub units_told: i64,
    /// Units told as bought and missing from the ledger, by SKU.
    pub told_not_in_ledger: HashMap<i64, i64>,
    /// Lost answers that the ledger shows as applied.
    pub unknown_recovered: u64,
    /// Lost answers that the ledger shows as not applied.
    pub unknown_not_applied: u64,
    /// Deliveries that were decided, or entries beyond the opening ones.
    pub decided: u64,
    /// Orders that were refused as sold out, by what they asked for, for
    /// [`OrderAudit::undersold`]: of a run that goes on after the stock ran out these are
    /// most of its orders.
    refused: BTreeMap<Vec<Line>, Vec<i64>>,
    /// What moved by orders that were not simply sold and told so, for whoever judges the times
    /// of answers.
    pub moves: Option<Moves>,
    /// Orders with a lost answer that the ledger shows as sold.
    recovered: HashSet<i64>,
    /// The SKUs that these refusals are about.
    pub refused_skus: HashSet<i64>,
}

impl OrderAudit {
    /// An audit of the answers of one run.
    pub fn new(run_id: i64, witness: ClientWitness) -> Self {
        Self {
            run_id,
            witness,
            orders: 0,
            units_told: 0,
            told_not_in_ledger: HashMap::new(),
            unknown_recovered: 0,
            unknown_not_applied: 0,
            decided: 0,
            refused: BTreeMap::new(),
            moves: None,
            recovered: HashSet::new(),
            refused_skus: HashSet::new(),
        }
    }

    /// The same, and keeps what the times of answers are judged by.
    #[must_use]
    pub fn keeping_moves(mut self) -> Self {
        self.moves = Some(Moves::new());
        self
    }

    /// Counts an order where there is no ledger to compare it with.
    pub fn count_only(&mut self, told: &ToldOrder) {
        self.orders += 1;
        self.decided += u64::from(has_decision(told.answers));
    }

    /// Judges one order: what its clients were told, if known, and all its
    /// entries.
    pub fn judge(&mut self, told: Option<&ToldOrder>, entries: &[Entry], findings: &mut Collector) {
        self.orders += 1;
        entries_alone(entries, findings);
        // Ids of a replayed file come back in every run: what an earlier run
        // sold says nothing of what this one answered.
        let ours: Vec<&Entry> = entries.iter().filter(|entry| entry.run_id == self.run_id).collect();
        self.keep_moves(told, &ours);
        let is_known = self.witness != ClientWitness::Missing;
        self.decided += u64::from(if is_known { !ours.is_empty() } else { !entries.is_empty() });
        match told {
            Some(told) => {
                self.judge_told(told, &ours, findings);
                // Any other answer would be a decision that a duplicate repeats.
                let is_undecided =
                    Outcome::ALL.into_iter().filter(|outcome| told.answers.has(*outcome)).all(|outcome| {
                        matches!(
                            outcome,
                            Outcome::Duplicate | Outcome::Conflict | Outcome::Error | Outcome::Unknown
                        )
                    });
                if told.answers.has(Outcome::Duplicate) && is_undecided && entries.is_empty() {
                    let (order_id, line) = (told.order.id, told.order.lines[0]);
                    findings.order(FindingKind::DuplicateWithoutEntry, line.sku_id, order_id, line.quantity);
                }
            }
            None if self.witness == ClientWitness::Complete => {
                // A restock or a stock-take is nobody's order.
                for entry in ours.into_iter().filter(|entry| is_of_sale(entry, entry.sku_id)) {
                    findings.order(FindingKind::UnexpectedOrder, entry.sku_id, entry.order_id, entry.delta);
                }
            }
            None => {}
        }
    }

    /// Keeps what moved, unless it is a sale that its client was told of.
    fn keep_moves(&mut self, told: Option<&ToldOrder>, entries: &[&Entry]) {
        let Some(moves) = &mut self.moves else { return };
        let is_told = told.is_some_and(|told| told.answers.has(Outcome::Deducted));
        if is_told && entries.iter().all(|entry| entry.delta <= 0) {
            return;
        }
        for entry in entries.iter().filter(|entry| entry.delta != 0) {
            moves.entry(entry.order_id).or_default().push((entry.sku_id, entry.delta));
        }
    }

    fn judge_told(&mut self, told: &ToldOrder, entries: &[&Entry], findings: &mut Collector) {
        let (order, answers) = (&told.order, told.answers);
        let is_ordered = |entry: &&&Entry| order.lines.iter().any(|line| line.sku_id == entry.sku_id);
        for entry in entries.iter().filter(|entry| !is_ordered(entry)) {
            findings.order(FindingKind::UnexpectedOrder, entry.sku_id, order.id, entry.delta);
        }
        let sold = |line: &Line| sold_units(entries, line.sku_id);
        let sold_lines = order.lines.iter().filter(|line| sold(line) > 0).count();
        if sold_lines > 0 && sold_lines < order.lines.len() {
            for line in order.lines.iter().filter(|line| sold(line) == 0) {
                findings.order(FindingKind::HalfOrder, line.sku_id, order.id, line.quantity);
            }
        }
        for line in order.lines.iter().filter(|line| sold(line) > 0) {
            // A second entry is reported as what it is, not as a quantity.
            let once = entries.iter().filter(|entry| is_of_sale(entry, line.sku_id)).count() == 1;
            if once && sold(line) != line.quantity {
                let difference = sold(line).saturating_sub(line.quantity);
                findings.order(FindingKind::WrongQuantity, line.sku_id, order.id, difference);
            }
        }
        // Its id is above that of the order that it repeats, which was judged before.
        if told.retry_of.is_some_and(|first| self.recovered.contains(&first)) && sold_lines > 0 {
            findings.order(FindingKind::SoldAgain, order.lines[0].sku_id, order.id, order.units());
        }
        self.decided += u64::from(has_decision(answers) && entries.is_empty());
        if answers.has(Outcome::Unknown) && sold_lines > 0 {
            self.recovered.insert(order.id);
        }
        if answers.contradict() {
            let line = order.lines[0];
            findings.order(FindingKind::TwoAnswers, line.sku_id, order.id, line.quantity);
        }
        if answers.has(Outcome::Deducted) {
            self.units_told += order.units();
            if sold_lines == 0 {
                for line in &order.lines {
                    *self.told_not_in_ledger.entry(line.sku_id).or_default() += line.quantity;
                    findings.order(FindingKind::LostSale, line.sku_id, order.id, line.quantity);
                }
            }
        } else if answers.has(Outcome::Unknown) && answers.has(Outcome::SoldOut) && sold_lines > 0 {
            // Asked again, it was refused what it had been sold.
            for line in order.lines.iter().filter(|line| sold(line) > 0) {
                findings.order(FindingKind::RefusedButSold, line.sku_id, order.id, sold(line));
            }
        } else if answers.has(Outcome::Unknown) {
            let applied = sold_lines > 0;
            self.unknown_recovered += u64::from(applied);
            self.unknown_not_applied += u64::from(!applied);
        } else if self.witness == ClientWitness::Complete || !answers.has(Outcome::Duplicate) {
            // Where some answers are missing, a duplicate may repeat one of them.
            for line in order.lines.iter().filter(|line| sold(line) > 0) {
                findings.order(FindingKind::RefusedButSold, line.sku_id, order.id, sold(line));
            }
        }
        if answers == Answers::of(Outcome::SoldOut) && sold_lines == 0 {
            self.refused_skus.extend(order.lines.iter().map(|line| line.sku_id));
            if let Some(alike) = self.refused.get_mut(&order.lines) {
                alike.push(order.id);
            } else {
                self.refused.insert(order.lines.clone(), vec![order.id]);
            }
        }
    }

    /// Finds refusals that cannot be justified, and counts those that cannot be judged.
    /// `lowest` gives the least that a SKU held during the run, or nothing where that cannot
    /// be known: a refusal is wrong when every line could have been served all the time.
    pub fn undersold(&mut self, lowest: impl Fn(i64) -> Option<i64>, findings: &mut Collector) -> u64 {
        let mut not_judged = 0;
        for (lines, orders) in std::mem::take(&mut self.refused) {
            let least = lines.iter().map(|line| Some((lowest(line.sku_id)?, line.quantity)));
            let least: Vec<Option<(i64, i64)>> = least.collect();
            if least.iter().flatten().any(|(stock, quantity)| stock < quantity) {
                continue;
            }
            if least.contains(&None) {
                not_judged += orders.len() as u64;
                continue;
            }
            for order_id in orders {
                findings.order(FindingKind::Undersold, lines[0].sku_id, order_id, lines[0].quantity);
            }
        }
        not_judged
    }
}

fn has_decision(answers: Answers) -> bool {
    Outcome::answers().any(|outcome| answers.has(outcome))
}

/// Movements that are no part of any sale.
const BESIDE_SALES: [&str; 3] = ["return", "restock", "count"];

fn is_of_sale(entry: &Entry, sku_id: i64) -> bool {
    let moves = entry.sku_id == sku_id && !entry.rejected && entry.delta != 0;
    moves && !BESIDE_SALES.contains(&entry.kind.as_str())
}

/// Units of a SKU that an order was sold: taken, and not given back before the
/// sale was complete. What a customer brings back later was sold all the same.
fn sold_units(entries: &[&Entry], sku_id: i64) -> i64 {
    let deltas = entries.iter().filter(|entry| is_of_sale(entry, sku_id)).map(|entry| entry.delta);
    deltas.fold(0, i64::saturating_sub)
}

/// What an order's entries break by themselves.
fn entries_alone(entries: &[Entry], findings: &mut Collector) {
    for (index, entry) in entries.iter().enumerate() {
        if entry.rejected && entry.delta != 0 {
            findings.order(FindingKind::RejectedMoved, entry.sku_id, entry.order_id, entry.delta);
        }
        let is_same = |other: &&Entry| other.sku_id == entry.sku_id && other.kind == entry.kind;
        if entries[..index].iter().any(|other| is_same(&other)) {
            findings.order(FindingKind::DuplicateEntry, entry.sku_id, entry.order_id, entry.delta);
        }
    }
    // Entries come by SKU: one chunk is one line of the order.
    for line in entries.chunk_by(|one, other| one.sku_id == other.sku_id) {
        reservation(line, findings);
    }
}

/// What the entries of one line say of its reservation and its returns: every unit that was
/// reserved ends in one way. Confirming moves nothing and takes what was not released.
fn reservation(entries: &[Entry], findings: &mut Collector) {
    let Some(Entry { sku_id, order_id, .. }) = entries.first() else { return };
    let of_kind =
        |kind: &'static str| entries.iter().filter(move |entry| entry.kind == kind && !entry.rejected);
    let units = |kind| of_kind(kind).fold(0_i64, |units, entry| units.saturating_add(entry.delta));
    let is_confirmed = of_kind("confirm").next().is_some();
    let (reserved, released) = (units("reserve"), units("release"));
    let is_of_order = |entry: &&Entry| !["opening", "restock", "count"].contains(&entry.kind.as_str());
    let net = entries.iter().filter(is_of_order).fold(0_i64, |net, entry| net.saturating_add(entry.delta));

    let mut report = |kind, units| findings.order(kind, *sku_id, *order_id, units);
    if net > 0 {
        report(FindingKind::DoubleRelease, net);
    }
    if is_confirmed && released > 0 && net >= 0 {
        report(FindingKind::ConfirmedAndReleased, released);
    }
    let held = reserved.saturating_add(released).saturating_add(units("return"));
    if !is_confirmed && held < 0 && reserved < 0 {
        report(FindingKind::UnsettledReservation, held);
    }
}

/// Walks two sequences of ascending order ids side by side.
#[derive(Debug)]
pub struct SideBySide<I: Iterator<Item = ToldOrder>> {
    told: std::iter::Peekable<I>,
    entries: Vec<Entry>,
}

impl<I: Iterator<Item = ToldOrder>> SideBySide<I> {
    /// Starts with what the clients were told, by ascending order id.
    pub fn new(told: I) -> Self {
        Self { told: told.peekable(), entries: Vec::new() }
    }

    /// Takes the ledger's next entry (by ascending order id) and judges every
    /// order that is complete by then.
    pub fn entry(&mut self, entry: Entry, audit: &mut OrderAudit, findings: &mut Collector) {
        if self.entries.first().is_some_and(|first| first.order_id != entry.order_id) {
            self.judge_entries(audit, findings);
        }
        self.entries.push(entry);
    }

    /// Judges whatever is left.
    pub fn finish(mut self, audit: &mut OrderAudit, findings: &mut Collector) {
        self.judge_entries(audit, findings);
        for told in self.told {
            audit.judge(Some(&told), &[], findings);
        }
    }

    fn judge_entries(&mut self, audit: &mut OrderAudit, findings: &mut Collector) {
        let Some(order_id) = self.entries.first().map(|entry| entry.order_id) else { return };
        loop {
            let side = self.told.peek().map(|told| told.order.id.cmp(&order_id));
            match side {
                Some(Ordering::Less) => audit.judge(self.told.next().as_ref(), &[], findings),
                Some(Ordering::Equal) => {
                    audit.judge(self.told.next().as_ref(), &self.entries, findings);
                    break;
                }
                Some(Ordering::Greater) | None => {
                    audit.judge(None, &self.entries, findings);
                    break;
                }
            }
        }
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Order;

    const RUN: i64 = 3;

    fn entry(order_id: i64, sku_id: i64, delta: i64) -> Entry {
        let kind = "sale".to_owned();
        Entry { order_id, sku_id, kind, rejected: false, delta, balance: None, run_id: RUN }
    }

    fn told(id: i64, lines: &[(i64, i64)], outcome: Outcome) -> ToldOrder {
        let lines =
            lines.iter().map(|(sku_id, quantity)| Line { sku_id: *sku_id, quantity: *quantity }).collect();
        ToldOrder { order: Order { id, lines }, answers: Answers::of(outcome), retry_of: None }
    }

    /// The kinds found when these orders and entries are compared, and the audit.
    fn judge(told: Vec<ToldOrder>, entries: Vec<Entry>) -> (Vec<(FindingKind, u64)>, OrderAudit) {
        let mut audit = OrderAudit::new(RUN, ClientWitness::Complete);
        let mut findings = Collector::new(false);
        let mut both = SideBySide::new(told.into_iter());
        for entry in entries {
            both.entry(entry, &mut audit, &mut findings);
        }
        both.finish(&mut audit, &mut findings);
        let kinds = findings.finish().1.iter().map(|finding| (finding.kind, finding.units)).collect();
        (kinds, audit)
    }

    #[test]
    fn answers_and_entries_that_agree_find_nothing() {
        let told = vec![
            told(1, &[(1, 2), (2, 1)], Outcome::Deducted),
            told(2, &[(1, 1)], Outcome::SoldOut),
            told(3, &[(1, 1)], Outcome::Unknown),
            told(4, &[(1, 1)], Outcome::Unknown),
            told(5, &[(1, 1)], Outcome::Duplicate),
        ];
        let earlier = Entry { run_id: RUN - 1, ..entry(5, 1, -1) };
        let entries = vec![entry(1, 1, -2), entry(1, 2, -1), entry(4, 1, -1), earlier];
        let (kinds, audit) = judge(told, entries);
        assert_eq!(kinds, []);
        assert_eq!((audit.orders, audit.units_told), (5, 3));
        assert_eq!((audit.unknown_recovered, audit.unknown_not_applied), (1, 1));
    }

    #[test]
    fn an_intent_that_was_sold_under_two_ids_is_found_and_only_that() {
        let again = |first, id| ToldOrder { retry_of: Some(first), ..told(id, &[(1, 2)], Outcome::Deducted) };
        let lost = |id| told(id, &[(1, 2)], Outcome::Unknown);
        let both = vec![entry(1, 1, -2), entry(11, 1, -2)];
        assert_eq!(judge(vec![lost(1), again(1, 11)], both.clone()).0, [(FindingKind::SoldAgain, 2)]);
        assert_eq!(judge(vec![lost(1), again(1, 11)], vec![entry(11, 1, -2)]).0, []);
        // Told so by another delivery, it was sold all the same.
        let mut told_later = lost(1);
        told_later.answers.add(Outcome::Deducted, None);
        assert_eq!(judge(vec![told_later, again(1, 11)], both).0, [(FindingKind::SoldAgain, 2)]);
        // What was given back was not sold.
        let of = |kind: &str, delta| Entry { kind: kind.to_owned(), ..entry(1, 1, delta) };
        let released = vec![of("reserve", -2), of("release", 2), entry(11, 1, -2)];
        assert_eq!(judge(vec![lost(1), again(1, 11)], released).0, []);
    }

    #[test]
    fn a_refusal_after_a_lost_answer_is_held_against_the_ledger() {
        let mut asked_again = told(1, &[(1, 2)], Outcome::Unknown);
        asked_again.answers.add(Outcome::SoldOut, None);
        let (kinds, _) = judge(vec![asked_again.clone()], vec![entry(1, 1, -2)]);
        assert_eq!(kinds, [(FindingKind::RefusedButSold, 2)]);
        assert_eq!(judge(vec![asked_again], vec![]).0, []);
    }

    #[test]
    fn a_sale_that_the_ledger_lost_is_found_and_its_units_kept() {
        let (kinds, audit) = judge(vec![told(1, &[(1, 2)], Outcome::Deducted)], vec![]);
        assert_eq!(kinds, [(FindingKind::LostSale, 2)]);
        assert_eq!(audit.told_not_in_ledger[&1], 2);
    }

    #[test]
    fn a_refusal_that_was_sold_is_found() {
        for outcome in [Outcome::SoldOut, Outcome::Conflict, Outcome::Error] {
            let (kinds, _) = judge(vec![told(1, &[(1, 2)], outcome)], vec![entry(1, 1, -2)]);
            assert_eq!(kinds, [(FindingKind::RefusedButSold, 2)], "{outcome:?}");
        }
    }

    #[test]
    fn half_an_order_is_found_whatever_the_client_was_told() {
        for outcome in [Outcome::Deducted, Outcome::Unknown] {
            let (kinds, _) = judge(vec![told(1, &[(1, 2), (2, 5)], outcome)], vec![entry(1, 1, -2)]);
            assert_eq!(kinds, [(FindingKind::HalfOrder, 5)], "{outcome:?}");
        }
    }

    #[test]
    fn a_second_entry_and_a_wrong_quantity_are_told_apart() {
        let (kinds, _) =
            judge(vec![told(1, &[(1, 2)], Outcome::Deducted)], vec![entry(1, 1, -2), entry(1, 1, -2)]);
        assert_eq!(kinds, [(FindingKind::DuplicateEntry, 2)]);
        let (kinds, _) = judge(vec![told(1, &[(1, 2)], Outcome::Deducted)], vec![entry(1, 1, -3)]);
        assert_eq!(kinds, [(FindingKind::WrongQuantity, 1)]);
    }

    #[test]
    fn an_entry_that_nobody_ordered_is_found_only_where_all_answers_are_known() {
        let (kinds, _) = judge(vec![], vec![entry(9, 1, -1)]);
        assert_eq!(kinds, [(FindingKind::UnexpectedOrder, 1)]);
        let earlier = Entry { run_id: RUN - 1, ..entry(9, 1, -1) };
        assert_eq!(judge(vec![], vec![earlier]).0, []);
    }

    #[test]
    fn what_was_taken_and_given_back_is_not_sold() {
        let back = Entry { kind: "release".to_owned(), ..entry(1, 1, 2) };
        for outcome in [Outcome::Compensated, Outcome::Released] {
            let (kinds, _) = judge(vec![told(1, &[(1, 2)], outcome)], vec![entry(1, 1, -2), back.clone()]);
            assert_eq!(kinds, [], "{outcome:?}");
        }
    }

    fn kind(kind: &str, delta: i64) -> Entry {
        Entry { kind: kind.to_owned(), ..entry(1, 1, delta) }
    }

    #[test]
    fn a_return_after_the_sale_leaves_it_a_sale() {
        let sold = [kind("reserve", -2), kind("confirm", 0), kind("return", 2)];
        let (kinds, _) = judge(vec![told(1, &[(1, 2)], Outcome::Deducted)], sold.to_vec());
        assert_eq!(kinds, []);
    }

    #[test]
    fn what_goes_wrong_with_a_reservation_is_found() {
        let found = |entries: &[Entry], outcome| judge(vec![told(1, &[(1, 2)], outcome)], entries.to_vec()).0;
        let (taken, confirmed, back) = (kind("reserve", -2), kind("confirm", 0), kind("release", 2));
        let settled = [taken.clone(), confirmed.clone()];
        assert_eq!(found(&settled, Outcome::Deducted), []);
        assert_eq!(found(&[taken.clone(), back.clone()], Outcome::Released), []);
        assert_eq!(
            found(&[taken.clone(), confirmed, back.clone()], Outcome::Released),
            [(FindingKind::ConfirmedAndReleased, 2)]
        );
        assert_eq!(
            found(std::slice::from_ref(&taken), Outcome::Deducted),
            [(FindingKind::UnsettledReservation, 2)]
        );
        // Released in part, and the rest confirmed, or held for ever.
        let part = [kind("reserve", -3), kind("release", 1)];
        assert_eq!(found(&part, Outcome::Deducted), [(FindingKind::UnsettledReservation, 2)]);
        let rest = [part.clone().as_slice(), &[kind("confirm", 0)]].concat();
        assert_eq!(found(&rest, Outcome::Deducted), []);
        // Reserved and sold beside it, which settles nothing.
        let beside = [taken.clone(), kind("sale", -2)];
        assert_eq!(found(&beside, Outcome::Deducted), [(FindingKind::UnsettledReservation, 2)]);
        let twice = [taken, back, kind("return", 1)];
        assert_eq!(found(&twice, Outcome::Released), [(FindingKind::DoubleRelease, 1)]);
        assert_eq!(found(&[kind("release", 2)], Outcome::Released)[0], (FindingKind::DoubleRelease, 2));
    }

    #[test]
    fn two_answers_to_one_order_are_found() {
        let mut both = told(1, &[(1, 2)], Outcome::Deducted);
        both.answers.add(Outcome::SoldOut, None);
        assert_eq!(judge(vec![both], vec![entry(1, 1, -2)]).0, [(FindingKind::TwoAnswers, 2)]);
        // A duplicate repeats the answer that was recorded.
        let mut repeated = told(1, &[(1, 2)], Outcome::Deducted);
        repeated.answers.add(Outcome::Duplicate, Some(Outcome::Deducted));
        assert_eq!(judge(vec![repeated.clone()], vec![entry(1, 1, -2)]).0, []);
        repeated.answers.add(Outcome::Duplicate, Some(Outcome::SoldOut));
        assert_eq!(judge(vec![repeated], vec![entry(1, 1, -2)]).0, [(FindingKind::TwoAnswers, 2)]);
    }

    #[test]
    fn a_restock_is_nobodys_order_and_no_sale() {
        let restock = kind("restock", 5);
        assert_eq!(judge(vec![], vec![restock.clone()]).0, []);
        assert_eq!(judge(vec![told(1, &[(1, 5)], Outcome::Done)], vec![restock]).0, []);
        let sold = vec![entry(1, 1, -5)];
        assert_eq!(
            judge(vec![told(1, &[(1, 5)], Outcome::Done)], sold).0,
            [(FindingKind::RefusedButSold, 5)]
        );
    }

    #[test]
    fn an_entry_for_a_sku_that_was_not_ordered_is_found() {
        for outcome in [Outcome::Deducted, Outcome::SoldOut] {
            let sold = if outcome == Outcome::Deducted { vec![entry(1, 1, -2)] } else { vec![] };
            let entries = [sold, vec![entry(1, 2, -5)]].concat();
            let (kinds, _) = judge(vec![told(1, &[(1, 2)], outcome)], entries);
            assert_eq!(kinds, [(FindingKind::UnexpectedOrder, 5)], "{outcome:?}");
        }
    }

    #[test]
    fn what_an_earlier_run_sold_is_no_answer_of_this_one() {
        let earlier = |order_id| Entry { run_id: RUN - 1, ..entry(order_id, 1, -2) };
        let (kinds, audit) = judge(vec![told(1, &[(1, 2)], Outcome::Conflict)], vec![earlier(1)]);
        assert_eq!((kinds, audit.decided), (vec![], 0));
        let (kinds, _) = judge(vec![told(1, &[(1, 2)], Outcome::Duplicate)], vec![earlier(1)]);
        assert_eq!(kinds, []);
        let (kinds, _) = judge(vec![told(1, &[(1, 2)], Outcome::Deducted)], vec![earlier(1)]);
        assert_eq!(kinds, [(FindingKind::LostSale, 2)]);
    }

    #[test]
    fn a_rejected_entry_that_moves_and_a_duplicate_without_entry_are_found() {
        let rejected = Entry { rejected: true, ..entry(1, 1, -1) };
        let (kinds, _) = judge(vec![told(1, &[(1, 1)], Outcome::SoldOut)], vec![rejected]);
        assert_eq!(kinds, [(FindingKind::RejectedMoved, 1)]);
        let (kinds, _) = judge(vec![told(1, &[(1, 1)], Outcome::Duplicate)], vec![]);
        assert_eq!(kinds, [(FindingKind::DuplicateWithoutEntry, 1)]);
    }

    #[test]
    fn a_refusal_is_an_undersell_only_when_every_line_could_have_been_served() {
        let (_, mut audit) = judge(vec![told(1, &[(1, 2), (2, 3)], Outcome::SoldOut)], vec![]);
        let mut findings = Collector::new(false);
        let stock = |one, two| move |sku_id| Some(if sku_id == 1 { one } else { two });
        let refused = audit.refused.clone();
        for (lowest, found) in [((2, 3), 1), ((2, 2), 1), ((1, 9), 1)] {
            audit.refused.clone_from(&refused);
            assert_eq!(audit.undersold(stock(lowest.0, lowest.1), &mut findings), 0);
            assert_eq!(findings.orders_of(FindingKind::Undersold), found, "{lowest:?}");
        }
        audit.refused.clone_from(&refused);
        assert_eq!(audit.undersold(|_| None, &mut findings), 1, "what cannot be judged is counted");
        assert_eq!(findings.orders_of(FindingKind::Undersold), 1);

        // One line that could not be served justifies the refusal, whatever the other was.
        audit.refused.clone_from(&refused);
        assert_eq!(audit.undersold(|sku_id| (sku_id == 1).then_some(1), &mut findings), 0);
    }
}
