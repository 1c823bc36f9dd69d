//! Whether a correct shop could have given these answers at these times: SKU
//! by SKU, in O(n log n). Pure.
//!
//! A shop is correct if every order can be thought to take effect at one
//! instant between its invocation and its return (linearizability; Herlihy and
//! Wing, 1990), and each answer is right at that instant. For a stock that is
//! only taken from this needs no search. Without balances, let every sale take
//! effect as early and every refusal as late as it can: that is the least
//! stock a refusal can have met. With balances, the balances themselves say in
//! which order the sales took effect, and each one's earliest instant follows.
//!
//! What is not known weakens a conclusion and never creates one: an order
//! whose effect is uncertain counts as taken from its invocation on, and
//! units that came in during the run are left out.

use super::findings::Collector;
use crate::engine::answers::ToldOrder;
use crate::engine::history::Answer;
use crate::finding::FindingKind;
use crate::outcome::Outcome;
use std::collections::{HashMap, HashSet};

/// An order that took units, or may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sale {
    /// Which order.
    pub order: i64,
    /// Units of this SKU.
    pub quantity: i64,
    /// When it was placed, in microseconds.
    pub invoked: u64,
    /// When it was answered; `None` where that is not known, or whether it
    /// took anything at all.
    pub returned: Option<u64>,
    /// How many were left after it, as the client was told.
    pub remaining: Option<i64>,
}

/// An order that was refused as sold out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Which order.
    pub order: i64,
    /// Units of this SKU.
    pub quantity: i64,
    /// When it was placed, in microseconds.
    pub invoked: u64,
    /// When it was answered.
    pub returned: u64,
}

/// An answer that no correct shop could have given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flaw {
    /// What is wrong with it.
    pub kind: FindingKind,
    /// Which order.
    pub order: i64,
    /// Units of this SKU.
    pub quantity: i64,
    /// When it was answered, for a refusal.
    pub returned: u64,
}

/// What the ledger says of a SKU beside the orders of the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Start {
    /// Units when the run began; less what was counted away during it.
    pub opening: i64,
    /// Whether something other than sales moved it during the run.
    pub is_open: bool,
}

/// Checks every answer of a run. `starts` are the SKUs whose beginning is
/// known; `applied` are orders that moved stock by the ledger though their
/// clients were not told so.
#[expect(clippy::implicit_hasher, reason = "there is one caller, and it has the usual one")]
pub fn judge(
    told: &[ToldOrder],
    answers: &[Answer],
    starts: &HashMap<i64, Start>,
    applied: &HashSet<i64>,
    findings: &mut Collector,
) {
    let mut by_order: Vec<&Answer> = answers.iter().collect();
    by_order.sort_by_key(|answer| (answer.order_id, answer.invoked_us));
    let mut by_sku: HashMap<i64, (Vec<Sale>, Vec<Refusal>)> = HashMap::new();
    let mut deliveries = by_order.as_slice();
    for ToldOrder { order, .. } in told {
        let start = deliveries.partition_point(|answer| answer.order_id < order.id);
        let len = deliveries[start..].partition_point(|answer| answer.order_id == order.id);
        let (of_order, rest) = deliveries[start..].split_at(len);
        deliveries = rest;
        let Some(invoked) = of_order.first().map(|answer| answer.invoked_us) else { continue };
        let of = |outcome| move |answer: &&&Answer| answer.outcome == outcome;
        let sold = of_order.iter().find(of(Outcome::Deducted));
        let returned = of_order.iter().filter(of(Outcome::Deducted)).map(|answer| answer.returned_us).max();
        let may_have = [Outcome::Released, Outcome::Compensated, Outcome::Unknown, Outcome::Error];
        let has_taken = sold.is_some()
            || applied.contains(&order.id)
            || of_order.iter().any(|answer| may_have.contains(&answer.outcome));
        for (index, line) in order.lines.iter().enumerate() {
            let (sales, refusals) = by_sku.entry(line.sku_id).or_default();
            if has_taken {
                let remaining = sold.and_then(|answer| *answer.remaining.get(index)?);
                let quantity = line.quantity;
                sales.push(Sale { order: order.id, quantity, invoked, returned, remaining });
            }
            let refused = of_order.iter().filter(of(Outcome::SoldOut));
            refusals.extend(refused.map(|answer| Refusal {
                order: order.id,
                quantity: line.quantity,
                invoked: answer.invoked_us,
                returned: answer.returned_us,
            }));
        }
    }
    // A refusal is wrong when every line of the order could have been served.
    let mut refused: HashMap<(i64, u64), Vec<(i64, Flaw)>> = HashMap::new();
    for (sku_id, (mut sales, refusals)) in by_sku {
        let Some(start) = starts.get(&sku_id) else { continue };
        for flaw in check(start.opening, !start.is_open, &mut sales, &refusals) {
            match flaw.kind {
                FindingKind::Undersold | FindingKind::RefusedTooEarly => {
                    refused.entry((flaw.order, flaw.returned)).or_default().push((sku_id, flaw));
                }
                // The sums tell it already, with its units.
                FindingKind::Oversold => {}
                kind => findings.order(kind, sku_id, flaw.order, flaw.quantity),
            }
        }
    }
    let mut refused: Vec<_> = refused.into_iter().collect();
    refused.sort_unstable_by_key(|(key, _)| *key);
    for ((order_id, _), flaws) in refused {
        let at = told.binary_search_by_key(&order_id, |told| told.order.id);
        let Some(order) = at.ok().map(|at| &told[at].order).filter(|order| order.lines.len() == flaws.len())
        else {
            continue;
        };
        let always = flaws.iter().all(|(_, flaw)| flaw.kind == FindingKind::Undersold);
        let kind = if always { FindingKind::Undersold } else { FindingKind::RefusedTooEarly };
        findings.order(kind, order.lines[0].sku_id, order_id, order.lines[0].quantity);
    }
}

impl Sale {
    fn flaw(&self, kind: FindingKind) -> Flaw {
        Flaw { kind, order: self.order, quantity: self.quantity, returned: self.returned.unwrap_or(0) }
    }
}

/// Checks the answers of one SKU that began with `opening` units. `is_closed`
/// says that nothing but these orders moved the stock; otherwise balances are
/// not looked at.
pub fn check(opening: i64, is_closed: bool, sales: &mut [Sale], refusals: &[Refusal]) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let taken: i64 = sales.iter().filter(|sale| sale.returned.is_some()).map(|sale| sale.quantity).sum();
    if taken > opening && is_closed {
        let last = sales.iter().max_by_key(|sale| sale.invoked).map_or(0, |sale| sale.order);
        flaws.push(Flaw { kind: FindingKind::Oversold, order: last, quantity: taken - opening, returned: 0 });
    }
    let is_chained =
        is_closed && sales.iter().all(|sale| sale.returned.is_some() && sale.remaining.is_some());
    let falls = if is_chained { chained(opening, sales, &mut flaws) } else { None };
    let falls = falls.unwrap_or_else(|| earliest(opening, sales));
    let lowest = falls.last().map_or(opening, |(_, stock)| *stock);
    for refusal in refusals {
        // The least that it can have met: stock only falls.
        let met = falls.partition_point(|(at, _)| *at <= refusal.returned);
        let least = met.checked_sub(1).map_or(opening, |last| falls[last].1);
        if least >= refusal.quantity {
            let kind = if lowest >= refusal.quantity {
                FindingKind::Undersold
            } else {
                FindingKind::RefusedTooEarly
            };
            let Refusal { order, quantity, returned, .. } = *refusal;
            flaws.push(Flaw { kind, order, quantity, returned });
        }
    }
    flaws
}

/// The stock after each sale at its earliest, as instants and units: each sale
/// takes effect when it is placed.
fn earliest(opening: i64, sales: &mut [Sale]) -> Vec<(u64, i64)> {
    sales.sort_unstable_by_key(|sale| (sale.invoked, sale.order));
    let mut stock = opening;
    let fall = |sale: &Sale| {
        stock = stock.saturating_sub(sale.quantity);
        (sale.invoked, stock)
    };
    sales.iter().map(fall).collect()
}

/// The same in the order that the balances tell; `None` if they form no chain.
fn chained(opening: i64, sales: &mut [Sale], flaws: &mut Vec<Flaw>) -> Option<Vec<(u64, i64)>> {
    sales.sort_unstable_by_key(|sale| (std::cmp::Reverse(sale.remaining), sale.invoked, sale.order));
    let mut stock = opening;
    let mut is_whole = true;
    for sale in sales.iter() {
        let after = sale.remaining.unwrap_or(0);
        if stock.saturating_sub(sale.quantity) != after {
            flaws.push(sale.flaw(FindingKind::StaleBalance));
            is_whole = false;
        }
        stock = after;
    }
    if !is_whole {
        return None;
    }
    let mut now = 0;
    let mut falls = Vec::with_capacity(sales.len());
    for sale in sales.iter() {
        now = now.max(sale.invoked);
        if sale.returned.is_some_and(|returned| now > returned) {
            flaws.push(sale.flaw(FindingKind::RealTime));
        }
        falls.push((now, sale.remaining.unwrap_or(0)));
    }
    Some(falls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn sale(order: i64, quantity: i64, invoked: u64, returned: u64, remaining: Option<i64>) -> Sale {
        Sale { order, quantity, invoked, returned: Some(returned), remaining }
    }

    fn refusal(order: i64, quantity: i64, invoked: u64, returned: u64) -> Refusal {
        Refusal { order, quantity, invoked, returned }
    }

    fn kinds(opening: i64, sales: &[Sale], refusals: &[Refusal]) -> Vec<(FindingKind, i64)> {
        let flaws = check(opening, true, &mut sales.to_vec(), refusals);
        flaws.into_iter().map(|flaw| (flaw.kind, flaw.order)).collect()
    }

    #[test]
    fn a_refusal_while_enough_was_there_is_found_and_told_from_one_too_early() {
        let sales = [sale(1, 2, 10, 20, None)];
        assert_eq!(kinds(5, &sales, &[refusal(2, 3, 0, 30)]), [(FindingKind::Undersold, 2)]);
        assert_eq!(kinds(5, &sales, &[refusal(2, 4, 0, 5)]), [(FindingKind::RefusedTooEarly, 2)]);
        // The sale may have come first.
        assert_eq!(kinds(5, &sales, &[refusal(2, 4, 0, 10)]), []);
    }

    #[test]
    fn balances_that_form_no_chain_are_stale() {
        let sales = [sale(1, 1, 0, 9, Some(4)), sale(2, 1, 0, 9, Some(4))];
        assert_eq!(kinds(5, &sales, &[]), [(FindingKind::StaleBalance, 2)]);
    }

    #[test]
    fn a_balance_from_the_future_contradicts_the_clock() {
        // Answered before the sale was placed that it says came first.
        let sales = [sale(1, 1, 0, 5, Some(3)), sale(2, 1, 10, 20, Some(4))];
        assert_eq!(kinds(5, &sales, &[]), [(FindingKind::RealTime, 1)]);
    }

    #[test]
    fn balances_show_refusals_that_times_alone_would_excuse() {
        // Sale 1 came second, after sale 2 was placed at 50.
        let sales = [sale(1, 1, 0, 60, Some(0)), sale(2, 1, 50, 60, Some(1))];
        assert_eq!(kinds(2, &sales, &[refusal(3, 2, 0, 40)]), [(FindingKind::RefusedTooEarly, 3)]);
        let silent = sales.map(|sale| Sale { remaining: None, ..sale });
        assert_eq!(kinds(2, &silent, &[refusal(3, 2, 0, 40)]), []);
    }

    #[test]
    fn what_is_not_known_excuses_a_refusal_and_accuses_nobody() {
        let unknown = Sale { returned: None, ..sale(1, 5, 0, 0, None) };
        assert_eq!(kinds(5, &[unknown], &[refusal(2, 1, 1, 2)]), []);
        assert_eq!(kinds(3, &[unknown], &[]), []);
        let flaws = check(1, false, &mut [sale(1, 2, 0, 1, Some(9))], &[]);
        assert_eq!(flaws, [], "other movements may have brought units in");
    }

    /// What one client was told of one order.
    #[derive(Debug, Clone, Copy)]
    enum Told {
        Sold(Sale),
        Refused(Refusal),
    }

    impl Told {
        fn interval(self) -> (u64, u64) {
            match self {
                Self::Sold(sale) => (sale.invoked, sale.returned.unwrap_or(u64::MAX)),
                Self::Refused(refusal) => (refusal.invoked, refusal.returned),
            }
        }
    }

    /// Tries every order of the operations that real time allows.
    fn is_possible(stock: i64, left: &[Told]) -> bool {
        left.is_empty()
            || (0..left.len()).any(|next| {
                let (invoked, _) = left[next].interval();
                // Nobody who was answered before it was placed may come later.
                let is_next = left.iter().all(|other| other.interval().1 >= invoked);
                let mut rest = left.to_vec();
                rest.remove(next);
                is_next
                    && match left[next] {
                        Told::Sold(sale) => {
                            let after = stock - sale.quantity;
                            let is_told = sale.remaining.is_none_or(|remaining| remaining == after);
                            after >= 0 && is_told && is_possible(after, &rest)
                        }
                        Told::Refused(refusal) => stock < refusal.quantity && is_possible(stock, &rest),
                    }
            })
    }

    fn history(rng: &mut ChaCha8Rng, with_balances: bool) -> (i64, Vec<Told>) {
        let opening = rng.random_range(0..6);
        let told = (1..=rng.random_range(1..7))
            .map(|order| {
                let invoked = rng.random_range(0..12);
                let returned = invoked + rng.random_range(0..8);
                let quantity = rng.random_range(1..4);
                if rng.random_range(0..3) > 0 {
                    let remaining = with_balances.then(|| rng.random_range(0..5));
                    Told::Sold(sale(order, quantity, invoked, returned, remaining))
                } else {
                    Told::Refused(refusal(order, quantity, invoked, returned))
                }
            })
            .collect();
        (opening, told)
    }

    /// What a correct shop answers when every order takes effect somewhere in
    /// its time.
    fn answered(rng: &mut ChaCha8Rng, with_balances: bool) -> (i64, Vec<Told>) {
        let mut stock = rng.random_range(0..8);
        let opening = stock;
        let mut instants: Vec<u64> = (0..rng.random_range(1..8)).map(|_| rng.random_range(0..20)).collect();
        instants.sort_unstable();
        let told = (1..)
            .zip(instants)
            .map(|(order, instant)| {
                let quantity = rng.random_range(1..4);
                let invoked = instant - rng.random_range(0..=instant.min(5));
                let returned = instant + rng.random_range(0..6);
                if quantity <= stock {
                    stock -= quantity;
                    Told::Sold(sale(order, quantity, invoked, returned, with_balances.then_some(stock)))
                } else {
                    Told::Refused(refusal(order, quantity, invoked, returned))
                }
            })
            .collect();
        (opening, told)
    }

    fn split(told: &[Told]) -> (Vec<Sale>, Vec<Refusal>) {
        let mut split = (Vec::new(), Vec::new());
        for told in told {
            match told {
                Told::Sold(sale) => split.0.push(*sale),
                Told::Refused(refusal) => split.1.push(*refusal),
            }
        }
        split
    }

    #[test]
    fn the_verdict_is_that_of_trying_everything() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut counts = [[0; 2]; 2];
        for round in 0..40_000_u32 {
            let with_balances = round % 2 == 0;
            // Random answers are mostly wrong, a shop's own always right, and
            // one changed answer is the hard case.
            let (opening, mut told) = if round % 3 == 0 {
                history(&mut rng, with_balances)
            } else {
                answered(&mut rng, with_balances)
            };
            if round % 3 == 2 {
                let changed = rng.random_range(0..told.len());
                told[changed] = match told[changed] {
                    Told::Sold(sale) => Told::Refused(refusal(
                        sale.order,
                        sale.quantity,
                        sale.invoked,
                        sale.returned.unwrap_or(0),
                    )),
                    Told::Refused(refused) => {
                        let shorter = refused.returned - (refused.returned - refused.invoked) / 2;
                        Told::Refused(Refusal { returned: shorter, ..refused })
                    }
                };
            }
            let (mut sales, refusals) = split(&told);
            let flaws = check(opening, true, &mut sales, &refusals);
            let possible = is_possible(opening, &told);
            assert_eq!(flaws.is_empty(), possible, "round {round}: {opening} {told:?}: {flaws:?}");
            counts[usize::from(with_balances)][usize::from(possible)] += 1;
        }
        assert!(counts.iter().flatten().all(|count| *count > 2_000), "each side is tried: {counts:?}");
    }

    #[test]
    fn an_unknown_outcome_never_accuses_a_shop_that_was_right() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        for round in 0..10_000 {
            let (opening, told) = answered(&mut rng, round % 2 == 0);
            let (mut sales, refusals) = split(&told);
            for sale in &mut sales {
                if rng.random_range(0..3) == 0 {
                    (sale.returned, sale.remaining) = (None, None);
                }
            }
            let flaws = check(opening, true, &mut sales, &refusals);
            assert_eq!(flaws, [], "round {round}: {opening} {told:?}");
        }
    }
}
