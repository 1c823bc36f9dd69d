//! Whether the answers of one SKU can have been given by a correct shop. Pure.

use super::search::{Found, Needs, Operation, search};
use crate::finding::FindingKind;

/// An order that took units, or may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sale {
    /// Which order.
    pub order: i64,
    /// Units of this SKU.
    pub quantity: i64,
    /// When it was placed, in microseconds.
    pub invoked: u64,
    /// When it was known to have taken effect; `None` where that is not known.
    pub returned: Option<u64>,
    /// Whether it is known to have taken effect at all.
    pub is_certain: bool,
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
    /// Whether it asked for nothing else, so that nothing else can have been sold out.
    pub is_alone: bool,
}

/// Anything else that is known to have moved the stock: a restock, a release, a stock-take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    /// Which order.
    pub order: i64,
    /// Units that it adds.
    pub delta: i64,
    /// The earliest instant, in microseconds.
    pub invoked: u64,
    /// The latest one, where that is known.
    pub returned: Option<u64>,
    /// Whether it follows the sale of its order.
    pub follows_sale: bool,
}

/// Everything that is known of one SKU.
#[derive(Debug, Clone, Default)]
pub struct SkuHistory {
    /// Units when the run began.
    pub opening: i64,
    /// The least that it may hold: below zero where backorders are allowed.
    pub floor: i64,
    /// Orders that took units, or may have.
    pub sales: Vec<Sale>,
    /// Orders that were refused.
    pub refusals: Vec<Refusal>,
    /// What else moved it.
    pub movements: Vec<Movement>,
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

/// What was found out of one SKU.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// Answers that cannot be right.
    pub flaws: Vec<Flaw>,
    /// Whether a search for an order that explains all of them was given up.
    pub is_undecided: bool,
}

/// Checks the answers of one SKU.
///
/// Where all that moved it were sales that were answered, and either all of them or none told
/// what was left, this is exact in O(n log n). Elsewhere answers that are wrong by their times
/// alone are found as fast, and a [search](super::search) decides the rest.
pub fn check(history: &mut SkuHistory) -> Checked {
    let sales = &history.sales;
    let told = sales.iter().filter(|sale| sale.remaining.is_some()).count();
    let is_plain = history.movements.is_empty()
        && sales.iter().all(|sale| sale.is_certain && sale.returned.is_some())
        && (told == 0 || told == sales.len());
    if is_plain {
        return Checked { flaws: check_plain(history, told > 0), is_undecided: false };
    }

    let flaws = refused_too_early(history);
    if !flaws.is_empty() {
        return Checked { flaws, is_undecided: false };
    }
    let (operations, sources) = operations(history);
    match search(history.opening, &operations) {
        Found::Explanation => Checked::default(),
        Found::Contradiction(at) => Checked { flaws: vec![sources[at]], is_undecided: false },
        Found::Nothing => Checked { flaws: Vec::new(), is_undecided: true },
    }
}

/// The same where stock only fell, by sales of which every one is known.
fn check_plain(history: &mut SkuHistory, is_told: bool) -> Vec<Flaw> {
    let SkuHistory { opening, floor, sales, refusals, .. } = history;
    let mut flaws = Vec::new();
    let taken: i64 = sales.iter().map(|sale| sale.quantity).fold(0, i64::saturating_add);
    let least = opening.saturating_sub(taken);
    if least < *floor {
        let order = sales.iter().max_by_key(|sale| sale.invoked).map_or(0, |sale| sale.order);
        let quantity = floor.saturating_sub(least);
        flaws.push(Flaw { kind: FindingKind::Oversold, order, quantity, returned: 0 });
    }

    let falls = if is_told { chained(*opening, sales, &mut flaws) } else { None };
    let falls = falls.unwrap_or_else(|| earliest(*opening, sales));
    let lowest = falls.last().map_or(*opening, |(_, stock)| *stock);
    for refusal in refusals {
        // The least that it can have met: stock only falls.
        let met = falls.partition_point(|(at, _)| *at <= refusal.returned);
        let least = met.checked_sub(1).map_or(*opening, |last| falls[last].1);
        if least.saturating_sub(*floor) >= refusal.quantity {
            flaws.push(refusal.flaw(lowest.saturating_sub(*floor)));
        }
    }
    flaws
}

impl Sale {
    fn flaw(&self, kind: FindingKind) -> Flaw {
        Flaw { kind, order: self.order, quantity: self.quantity, returned: self.returned.unwrap_or(0) }
    }
}

impl Refusal {
    /// What is wrong with it, where this many could be sold all the time.
    const fn flaw(&self, always: i64) -> Flaw {
        let kind =
            if always >= self.quantity { FindingKind::Undersold } else { FindingKind::RefusedTooEarly };
        Flaw { kind, order: self.order, quantity: self.quantity, returned: self.returned }
    }
}

/// The stock after each sale at its earliest, as instants and units: each sale takes effect when
/// it is placed.
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

/// When something takes effect of all that does at one tick of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Early,
    Late,
}

/// Refusals that no order of the others can justify: at every instant of theirs enough was there,
/// even if whatever takes took at its earliest and whatever gives gave at its latest.
fn refused_too_early(history: &SkuHistory) -> Vec<Flaw> {
    // At one tick of the clock what takes may have come before a refusal, and what gives after it.
    let takes = history.sales.iter().map(|sale| (sale.invoked, Turn::Early, -sale.quantity));
    let moves = history.movements.iter().filter_map(|movement| match movement.returned {
        _ if movement.delta < 0 => Some((movement.invoked, Turn::Early, movement.delta)),
        Some(returned) => Some((returned, Turn::Late, movement.delta)),
        None => None,
    });
    let mut changes: Vec<(u64, Turn, i64)> = takes.chain(moves).collect();
    changes.sort_unstable();

    let mut least = Vec::with_capacity(changes.len() + 1);
    least.push(history.opening.saturating_sub(history.floor));
    for (_, _, delta) in &changes {
        least.push(least[least.len() - 1].saturating_add(*delta));
    }
    let least = Lowest::new(&least);
    let always = least.within(0, changes.len());

    let changes_until =
        |instant: u64| changes.partition_point(|(at, turn, _)| (*at, *turn) <= (instant, Turn::Early));
    let met =
        |refusal: &Refusal| least.within(changes_until(refusal.invoked), changes_until(refusal.returned));
    let wrong = history.refusals.iter().filter(|refusal| met(refusal) >= refusal.quantity);
    wrong.map(|refusal| refusal.flaw(always)).collect()
}

/// Gives the lowest of a range of numbers in O(log n): a tree of minima, leaves last.
struct Lowest {
    leaves: usize,
    tree: Vec<i64>,
}

impl Lowest {
    fn new(numbers: &[i64]) -> Self {
        let leaves = numbers.len();
        let mut tree = vec![i64::MAX; leaves];
        tree.extend_from_slice(numbers);
        for at in (1..leaves).rev() {
            tree[at] = tree[2 * at].min(tree[2 * at + 1]);
        }
        Self { leaves, tree }
    }

    /// The lowest from one number to another one, both included.
    fn within(&self, first: usize, last: usize) -> i64 {
        let (mut low, mut high) = (first + self.leaves, last + self.leaves + 1);
        let mut lowest = i64::MAX;
        while low < high {
            if low % 2 == 1 {
                lowest = lowest.min(self.tree[low]);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                lowest = lowest.min(self.tree[high]);
            }
            low /= 2;
            high /= 2;
        }
        lowest
    }
}

/// What the search is given, and what is wrong with each if it fits nowhere.
fn operations(history: &SkuHistory) -> (Vec<Operation>, Vec<Flaw>) {
    let floor = history.floor;
    let mut operations = Vec::new();
    let mut flaws = Vec::new();
    let mut sale_of = std::collections::HashMap::new();
    for sale in &history.sales {
        sale_of.insert(sale.order, operations.len());
        let needs = match sale.remaining {
            // Below the floor no stock fits.
            Some(remaining) if remaining >= floor => Needs::Exactly(remaining.saturating_add(sale.quantity)),
            Some(_) => Needs::AtLeast(i64::MAX),
            None => Needs::AtLeast(floor.saturating_add(sale.quantity)),
        };
        operations.push(Operation {
            needs,
            delta: -sale.quantity,
            invoked: sale.invoked,
            returned: sale.returned.unwrap_or(u64::MAX),
            is_certain: sale.is_certain,
            after: None,
        });
        let kind = if sale.remaining.is_some() { FindingKind::StaleBalance } else { FindingKind::RealTime };
        flaws.push(sale.flaw(kind));
    }

    for movement in &history.movements {
        operations.push(Operation {
            needs: Needs::Nothing,
            delta: movement.delta,
            invoked: movement.invoked,
            returned: movement.returned.unwrap_or(u64::MAX),
            is_certain: true,
            after: sale_of.get(&movement.order).copied().filter(|_| movement.follows_sale),
        });
        flaws.push(Flaw {
            kind: FindingKind::RealTime,
            order: movement.order,
            quantity: movement.delta,
            returned: 0,
        });
    }

    for refusal in history.refusals.iter().filter(|refusal| refusal.is_alone) {
        operations.push(Operation {
            needs: Needs::LessThan(floor.saturating_add(refusal.quantity)),
            delta: 0,
            invoked: refusal.invoked,
            returned: refusal.returned,
            is_certain: true,
            after: None,
        });
        flaws.push(refusal.flaw(0));
    }
    (operations, flaws)
}
