//! Looks for an order in which the operations on one SKU explain every answer. Pure.
//!
//! Each operation takes effect at one instant between its invocation and its return, so one that
//! has returned comes before every one that was invoked later (linearizability; J. M. Wing and
//! C. Gong, *Testing and Verifying Concurrent Objects*, 1993). The search takes one enabled
//! operation after the other and turns back where nothing is enabled; a set of operations that
//! it has been at leads to the same stock again and is not tried twice (G. Lowe, *Testing for
//! Linearizability*, 2017). Three facts about a stock keep it short:
//!
//! - a refusal changes nothing, so it is taken as soon as it is justified;
//! - of operations that do and need the same, the one that must take effect first goes first,
//!   because any explanation still holds with the two exchanged;
//! - a balance that was told says which stock there was, so of the others only the few kinds that
//!   differ in what they do are tried.
//!
//! Without turning back this takes O(n log n); a budget ends a search that turns back too often,
//! for in general the question is as hard as adding up a subset of numbers.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

/// What an operation needs of the stock in order to take effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Needs {
    /// This stock: its client was told what was left.
    Exactly(i64),
    /// At least as much.
    AtLeast(i64),
    /// Nothing.
    Nothing,
    /// Less: it was refused.
    LessThan(i64),
}

impl Needs {
    const fn are_met(self, stock: i64) -> bool {
        match self {
            Self::Exactly(units) => stock == units,
            Self::AtLeast(units) => stock >= units,
            Self::Nothing => true,
            Self::LessThan(units) => stock < units,
        }
    }

    /// Whether the stock has to rise first.
    const fn are_above(self, stock: i64) -> bool {
        match self {
            Self::Exactly(units) | Self::AtLeast(units) => units > stock,
            Self::Nothing | Self::LessThan(_) => false,
        }
    }
}

/// Something that took effect on one SKU, or may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) needs: Needs,
    /// Units that it adds.
    pub(super) delta: i64,
    pub(super) invoked: u64,
    /// The latest instant at which it took effect; `u64::MAX` where that is not known.
    pub(super) returned: u64,
    /// Whether it is known to have taken effect.
    pub(super) is_certain: bool,
    /// The operation that must have taken effect before this one.
    pub(super) after: Option<usize>,
}

/// What a search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// An order that explains every answer.
    Explanation,
    /// There is none. This operation is one that could not be placed where the most others were.
    Contradiction(usize),
    /// The budget was spent.
    Nothing,
}

/// Operations taken per operation there is, before a search is given up.
const TRIES_PER_OPERATION: usize = 4;

/// The same for a history of any length.
const TRIES_MIN: usize = 200_000;

/// Searches for an order of the operations, beginning with this stock.
pub(super) fn search(opening: i64, operations: &[Operation]) -> Found {
    let budget = TRIES_MIN + TRIES_PER_OPERATION * operations.len();
    Search::new(opening, operations).run(budget)
}

/// Pending operations that do and need the same. Operations that others come after are each a
/// class of their own, for they cannot be exchanged.
type Class = (Needs, i64, usize);

/// No operation in particular.
const ANY: usize = usize::MAX;

/// How promising an operation is, the most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Promise {
    /// It needs the very stock that there is.
    Exact,
    /// It has to take effect before all that are still to be invoked.
    Urgent,
    /// It moves the stock towards what that one needs.
    Helpful,
    None,
}

/// A point of the search.
#[derive(Debug)]
struct Point {
    /// What is still to be tried there, the most promising last.
    untried: Vec<usize>,
    /// Where we were before: what was done since is on the trail from here.
    before: Before,
}

/// Where the search stood.
#[derive(Debug, Clone, Copy)]
struct Before {
    trail: usize,
    stock: i64,
    first_due: usize,
}

/// What was done and can be undone.
#[derive(Debug, Clone, Copy)]
enum Done {
    Arrived,
    Taken(usize),
}

struct Search<'o> {
    operations: &'o [Operation],
    by_invocation: Vec<usize>,
    /// Those that must be taken, by when they must.
    by_return: Vec<usize>,
    has_followers: Vec<bool>,
    /// Numbers that stand for operations in the number of a set of them.
    marks: Vec<u128>,

    is_taken: Vec<bool>,
    stock: i64,
    set: u128,
    arrived: usize,
    first_due: usize,
    pending: BTreeMap<Class, BTreeSet<(u64, usize)>>,
    trail: Vec<Done>,
    certain_taken: usize,
}

impl<'o> Search<'o> {
    fn new(opening: i64, operations: &'o [Operation]) -> Self {
        let mut by_invocation: Vec<usize> = (0..operations.len()).collect();
        by_invocation.sort_by_key(|at| operations[*at].invoked);
        let mut by_return: Vec<usize> =
            (0..operations.len()).filter(|at| operations[*at].is_certain).collect();
        by_return.sort_by_key(|at| operations[*at].returned);

        let mut has_followers = vec![false; operations.len()];
        for before in operations.iter().filter_map(|operation| operation.after) {
            has_followers[before] = true;
        }
        // Random, so that no history can be made whose sets are taken for one another.
        let (low, high) = (RandomState::new(), RandomState::new());
        let mark = |at: usize| u128::from(low.hash_one(at)) << 64 | u128::from(high.hash_one(at));

        Self {
            operations,
            by_invocation,
            by_return,
            has_followers,
            marks: (0..operations.len()).map(mark).collect(),
            is_taken: vec![false; operations.len()],
            stock: opening,
            set: 0,
            arrived: 0,
            first_due: 0,
            pending: BTreeMap::new(),
            trail: Vec::new(),
            certain_taken: 0,
        }
    }

    fn run(mut self, mut budget: usize) -> Found {
        let mut seen: HashSet<u128> = HashSet::new();
        let mut stuck = (0, self.by_return.first().copied().unwrap_or(0));
        let before = self.before();
        self.settle();
        let mut points = vec![Point { untried: self.candidates(), before }];

        while let Some(point) = points.last_mut() {
            let Some(urgent) = self.urgent() else { return Found::Explanation };
            if self.certain_taken >= stuck.0 {
                stuck = (self.certain_taken, urgent);
            }
            let Some(next) = point.untried.pop() else {
                let before = point.before;
                points.pop();
                self.back_to(before);
                continue;
            };
            if budget == 0 {
                return Found::Nothing;
            }
            budget -= 1;

            let before = self.before();
            self.take(next);
            self.settle();
            if seen.insert(self.set) {
                points.push(Point { untried: self.candidates(), before });
            } else {
                self.back_to(before);
            }
        }

        Found::Contradiction(stuck.1)
    }

    /// The operation that has to take effect before all that are still to be invoked.
    fn urgent(&self) -> Option<usize> {
        self.by_return.get(self.first_due).copied()
    }

    const fn before(&self) -> Before {
        Before { trail: self.trail.len(), stock: self.stock, first_due: self.first_due }
    }

    /// What can take effect now, one of each class, the most promising last.
    fn candidates(&self) -> Vec<usize> {
        let Some(urgent) = self.urgent() else { return Vec::new() };
        let needs = self.operations[urgent].needs;
        let rises = needs.are_above(self.stock);
        let is_blocked = !needs.are_met(self.stock);

        let exact = Needs::Exactly(self.stock);
        let exact = self.pending.range((exact, i64::MIN, 0)..=(exact, i64::MAX, ANY));
        let (first, last) = ((Needs::AtLeast(i64::MIN), i64::MIN, 0), (Needs::Nothing, i64::MAX, ANY));
        let others = self.pending.range(first..=last);
        let firsts = exact.chain(others).filter_map(|(_, of_class)| of_class.first());
        let mut enabled: Vec<(Promise, u64, usize)> = firsts
            .filter(|(_, at)| self.is_enabled(*at))
            .map(|(returned, at)| {
                let Operation { needs, delta, .. } = self.operations[*at];
                let helps = is_blocked && if rises { delta > 0 } else { delta < 0 };
                let promise = match needs {
                    Needs::Exactly(_) => Promise::Exact,
                    _ if *at == urgent => Promise::Urgent,
                    _ if helps => Promise::Helpful,
                    _ => Promise::None,
                };
                (promise, *returned, *at)
            })
            .collect();
        enabled.sort_unstable_by(|one, other| other.cmp(one));
        enabled.into_iter().map(|(_, _, at)| at).collect()
    }

    fn is_enabled(&self, at: usize) -> bool {
        let operation = &self.operations[at];
        operation.needs.are_met(self.stock) && operation.after.is_none_or(|before| self.is_taken[before])
    }

    fn class(&self, at: usize) -> Class {
        let operation = &self.operations[at];
        let is_its_own = self.has_followers[at] || operation.after.is_some();
        (operation.needs, operation.delta, if is_its_own { at } else { ANY })
    }

    /// Takes refusals as long as there are some that are justified, and lets everything in that
    /// could have been invoked by now.
    fn settle(&mut self) {
        loop {
            while self.urgent().is_some_and(|urgent| self.is_taken[urgent]) {
                self.first_due += 1;
            }
            let now = self.urgent().map_or(u64::MAX, |urgent| self.operations[urgent].returned);
            while let Some(next) = self.by_invocation.get(self.arrived).copied() {
                if self.operations[next].invoked > now {
                    break;
                }
                self.arrived += 1;
                self.insert(next);
                self.trail.push(Done::Arrived);
            }

            let refused = self.pending.last_key_value().and_then(|(class, of)| Some((*class, *of.first()?)));
            match refused {
                Some(((Needs::LessThan(units), ..), (_, refusal))) if self.stock < units => {
                    self.take(refusal);
                }
                _ => return,
            }
        }
    }

    fn insert(&mut self, at: usize) {
        self.pending.entry(self.class(at)).or_default().insert((self.operations[at].returned, at));
    }

    fn remove(&mut self, at: usize) {
        let class = self.class(at);
        if let Some(of_class) = self.pending.get_mut(&class) {
            of_class.remove(&(self.operations[at].returned, at));
            if of_class.is_empty() {
                self.pending.remove(&class);
            }
        }
    }

    fn take(&mut self, at: usize) {
        self.remove(at);
        self.mark(at, true);
        self.stock = self.stock.saturating_add(self.operations[at].delta);
        self.trail.push(Done::Taken(at));
    }

    fn mark(&mut self, at: usize, is_taken: bool) {
        self.is_taken[at] = is_taken;
        self.set ^= self.marks[at];
        if self.operations[at].is_certain {
            self.certain_taken = if is_taken { self.certain_taken + 1 } else { self.certain_taken - 1 };
        }
    }

    /// Undoes everything since.
    fn back_to(&mut self, before: Before) {
        for done in self.trail.split_off(before.trail).into_iter().rev() {
            match done {
                Done::Arrived => {
                    self.arrived -= 1;
                    self.remove(self.by_invocation[self.arrived]);
                }
                Done::Taken(at) => {
                    self.mark(at, false);
                    self.insert(at);
                }
            }
        }
        self.stock = before.stock;
        self.first_due = before.first_due;
    }
}
