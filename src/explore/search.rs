//! Which schedules are run: every one, or one of each set that nobody can tell
//! apart.
//!
//! A branch is a schedule's beginning. Running it plays it to its end, taking
//! the first option at each point; every other option there becomes a branch of
//! its own. Sleep sets (Godefroid, "Partial-Order Methods for the Verification of
//! Concurrent Systems", 1996) keep what was seen from being seen again: once a
//! move has been explored from a point, it need not be made after its
//! neighbours' moves either, until one comes that it depends on.

use super::Move;
use super::effect::Effect;
use super::world::{Branch, Diverged, Node, Ran};
use parking_lot::Mutex;
use std::collections::HashSet;
use tokio::sync::Notify;

/// Branches that wait to be run, for several workers.
pub(super) struct Search {
    inner: Mutex<Inner>,
    changed: Notify,
    max: u64,
}

#[derive(Default)]
struct Inner {
    /// Last in, first out: the search goes deep first.
    waiting: Vec<Branch>,
    running: usize,
    taken: u64,
    /// Beginnings that are explored as the server takes them mostly.
    retraced: HashSet<(usize, Vec<u64>)>,
    closed: bool,
}

impl Search {
    /// Every schedule, as far as so many.
    pub(super) fn every(variants: usize, max: u64) -> Self {
        Self::of((0..variants).rev().map(|variant| Branch { variant, ..Branch::default() }).collect(), max)
    }

    /// So many schedules drawn at random; they leave no branches.
    pub(super) fn sample(variants: usize, count: u64, seed: u64) -> Self {
        let draw = |number: u64| Branch {
            variant: usize::try_from(number).unwrap_or(0) % variants,
            dice: Some(seed ^ number.rotate_left(32)),
            ..Branch::default()
        };
        Self::of((0..count).map(draw).collect(), count)
    }

    /// None by itself.
    pub(super) fn nothing() -> Self {
        Self::of(Vec::new(), 0)
    }

    fn of(waiting: Vec<Branch>, max: u64) -> Self {
        let inner = Inner { waiting, ..Inner::default() };
        Self { inner: Mutex::new(inner), changed: Notify::new(), max }
    }

    /// The next branch; `None` when there is none left, or as many
    /// were taken as may be.
    pub(super) async fn next(&self) -> Option<Branch> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before looking, so that nothing is missed in between.
            changed.as_mut().enable();
            {
                let mut inner = self.inner.lock();
                if inner.closed || inner.taken >= self.max {
                    return None;
                }
                if let Some(branch) = inner.waiting.pop() {
                    inner.running += 1;
                    inner.taken += 1;
                    return Some(branch);
                }
                if inner.running == 0 {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// A branch was run: what it leaves to be run is taken in.
    pub(super) fn ran(&self, branch: &Branch, ran: &Ran) {
        let mut inner = self.inner.lock();
        let at = branch.moves.len();
        for (depth, node) in ran.nodes.iter().enumerate() {
            let before = (&ran.schedule.0[..at + depth], &ran.signs[..at + depth]);
            inner.waiting.extend(others(branch.variant, before, node));
        }
        inner.running -= 1;
        drop(inner);
        self.changed.notify_waiters();
    }

    /// A branch could not be run, because the server goes another way with these
    /// moves than it did once: what follows from that way is explored instead.
    pub(super) fn lost(&self, branch: &Branch, Diverged { done, signs, .. }: Diverged) {
        let mut inner = self.inner.lock();
        if inner.retraced.insert((branch.variant, signs.clone())) {
            let Branch { variant, .. } = *branch;
            inner.waiting.push(Branch { variant, moves: done, signs, ..Branch::default() });
        }
        inner.running -= 1;
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Nobody takes another branch.
    pub(super) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.running = inner.running.saturating_sub(1);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Branches that were not taken.
    pub(super) fn left(&self) -> usize {
        self.inner.lock().waiting.len()
    }
}

/// The other options of a point, each with what need not be made after it.
fn others<'n>(
    variant: usize,
    (moves, signs): (&'n [Move], &'n [u64]),
    node: &'n Node,
) -> impl Iterator<Item = Branch> + 'n {
    // The last of them first: what is taken next lies on top.
    (1..node.options.len()).rev().map(move |index| {
        let (next, effect) = node.options[index];
        let seen = node.asleep.iter().chain(&node.options[..index]);
        let stays = |(sleeper, seen): &&(Move, Effect)| {
            sleeper.client() != next.client() && seen.is_independent_of(effect)
        };
        let asleep = seen.filter(stays).copied().collect();
        let moves = moves.iter().copied().chain([next]).collect();
        Branch { variant, dice: None, moves, signs: signs.to_vec(), asleep }
    })
}
