//! Whether a correct shop could have given these answers at these times: SKU by SKU.
//!
//! A shop is correct if every order can be thought to take effect at one instant between its
//! invocation and its return (linearizability; M. Herlihy and J. Wing, 1990), and each answer is
//! right at that instant. For a stock that is only taken from this needs no search. Without
//! balances, let every sale take effect as early and every refusal as late as it can: that is the
//! least stock a refusal can have met. With balances, the balances themselves say in which order
//! the sales took effect, and each one's earliest instant follows. Where units came in as well,
//! or something is not known, a [search] looks for an order that explains all answers.
//!
//! What is not known weakens what depends on it and nothing else. The ledger knows more than the
//! clients: an order whose answer was lost took effect if it has an entry and did not if it has
//! none.

mod check;
mod search;
#[cfg(test)]
mod tests;

pub use check::{Checked, Flaw, Movement, Refusal, Sale, SkuHistory, check};

use super::findings::Collector;
use super::orders::Moves;
use crate::engine::answers::ToldOrder;
use crate::engine::history::Answer;
use crate::finding::FindingKind;
use crate::outcome::Outcome;
use std::collections::{BTreeSet, HashMap};

/// What the ledger says of a run's SKUs and orders, beside what their clients were told.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// Units of each SKU when the run began.
    pub openings: &'k HashMap<i64, i64>,
    /// What moved by orders that were not simply sold and told so.
    pub moves: &'k Moves,
    /// The least that a SKU may hold: below zero where backorders are allowed.
    pub floor: i64,
}

/// Checks every answer of a run. Returns the number of SKUs of which nothing was found and
/// for whose answers no explanation was found, either.
pub fn judge(told: &[ToldOrder], answers: &[Answer], known: Known<'_>, findings: &mut Collector) -> u64 {
    let mut undecided = 0;
    // A refusal is wrong when every line of the order could have been served.
    let mut refused: HashMap<(i64, u64), Vec<(i64, Flaw)>> = HashMap::new();
    for (sku_id, mut history) in by_sku(told, answers, known) {
        let checked = check(&mut history);
        undecided += u64::from(checked.is_undecided);
        for flaw in checked.flaws {
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
    undecided
}

/// Sorts what is known by SKU. SKUs whose beginning is not known are left out.
fn by_sku(told: &[ToldOrder], answers: &[Answer], known: Known<'_>) -> HashMap<i64, SkuHistory> {
    let new = |opening: &i64| SkuHistory { opening: *opening, floor: known.floor, ..SkuHistory::default() };
    let mut skus: HashMap<i64, SkuHistory> =
        known.openings.iter().map(|(sku_id, opening)| (*sku_id, new(opening))).collect();

    let mut by_order: Vec<&Answer> = answers.iter().collect();
    by_order.sort_by_key(|answer| (answer.order_id, answer.invoked_us));
    let mut deliveries = by_order.as_slice();
    let mut answered = BTreeSet::new();
    for told in told {
        let start = deliveries.partition_point(|answer| answer.order_id < told.order.id);
        let len = deliveries[start..].partition_point(|answer| answer.order_id == told.order.id);
        let (of_order, rest) = deliveries[start..].split_at(len);
        deliveries = rest;
        if of_order.is_empty() {
            continue;
        }
        let moves = known.moves.get(&told.order.id).map_or(&[][..], Vec::as_slice);
        if !moves.is_empty() {
            answered.insert(told.order.id);
        }
        add_order(&mut skus, &told.order.lines, told.order.id, of_order, moves);
    }

    // Orders of which no answer is known: whatever they did, they did at some time.
    for (order, moves) in known.moves.iter().filter(|(order, _)| !answered.contains(order)) {
        for (sku_id, delta) in moves {
            if let Some(sku) = skus.get_mut(sku_id) {
                let (order, delta) = (*order, *delta);
                sku.movements.push(Movement {
                    order,
                    delta,
                    invoked: 0,
                    returned: None,
                    follows_sale: false,
                });
            }
        }
    }
    skus
}

/// Adds what is known of one order: its answers in the order in which they were asked for, and
/// what moved by it.
fn add_order(
    skus: &mut HashMap<i64, SkuHistory>,
    lines: &[crate::workload::Line],
    order: i64,
    answers: &[&Answer],
    moves: &[(i64, i64)],
) {
    let has = |outcome| answers.iter().any(|answer| answer.outcome == outcome);
    let invoked = answers[0].invoked_us;
    // It took effect before the first answer that says so.
    let settling = [Outcome::Deducted, Outcome::Released, Outcome::Compensated, Outcome::Done];
    let settled = answers.iter().filter(|answer| settling.contains(&answer.outcome));
    let returned = settled.map(|answer| answer.returned_us).min();
    let sold = answers.iter().find(|answer| answer.outcome == Outcome::Deducted);
    // It may have taken what it gave back without an entry for either.
    let may_have_taken = [Outcome::Released, Outcome::Compensated, Outcome::Error].into_iter().any(has);

    for (index, line) in lines.iter().enumerate() {
        let Some(sku) = skus.get_mut(&line.sku_id) else { continue };
        let is_first = lines[..index].iter().all(|other| other.sku_id != line.sku_id);
        let of_sku = moves.iter().filter(|(sku_id, _)| is_first && *sku_id == line.sku_id);
        let taken = of_sku.clone().map(|(_, delta)| (*delta).min(0)).fold(0, i64::saturating_add);
        let sale = |quantity, returned, is_certain, remaining| Sale {
            order,
            quantity,
            invoked,
            returned,
            is_certain,
            remaining,
        };
        let sale = if let Some(sold) = sold {
            let remaining = sold.remaining.get(index).copied().flatten();
            Some(sale(line.quantity, returned, true, remaining))
        } else if taken < 0 {
            Some(sale(taken.saturating_neg(), returned, true, None))
        } else if may_have_taken {
            Some(sale(line.quantity, None, false, None))
        } else {
            None
        };
        sku.sales.extend(sale);

        // What a sale gave back may come back at any time after it.
        let follows_sale = sale.is_some();
        let given = of_sku.filter(|(_, delta)| *delta > 0);
        sku.movements.extend(given.map(|(_, delta)| Movement {
            order,
            delta: *delta,
            invoked,
            returned: returned.filter(|_| !follows_sale),
            follows_sale,
        }));

        let refused = answers.iter().filter(|answer| answer.outcome == Outcome::SoldOut);
        sku.refusals.extend(refused.map(|answer| Refusal {
            order,
            quantity: line.quantity,
            invoked: answer.invoked_us,
            returned: answer.returned_us,
            is_alone: lines.len() == 1,
        }));
    }

    for (sku_id, delta) in moves {
        let is_ordered = lines.iter().any(|line| line.sku_id == *sku_id);
        if let Some(sku) = skus.get_mut(sku_id).filter(|_| !is_ordered) {
            let (delta, returned) = (*delta, None);
            sku.movements.push(Movement { order, delta, invoked, returned, follows_sale: false });
        }
    }
}
