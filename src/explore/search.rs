//! Which schedules are run: every one, or one of each set that nobody can tell
//! apart.
//!
//! A branch is a schedule's beginning. Running it plays it to its end, taking
//! the first option at each point; every other option there becomes a branch of
//! its own. Sleep sets (Godefroid, "Partial-Order Methods for the Verification of
//! Concurrent Systems", 1996) keep what was seen from being seen again: once a
//! move has been explored from a point, it need not be made after its
//! neighbours' moves either, until one comes that it depends on.

use super::world::{Branch, Node, Ran};
use parking_lot::Mutex;
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
    closed: bool,
}

impl Search {
    pub(super) fn new(variants: usize, max: u64) -> Self {
        let roots = (0..variants).rev().map(|variant| Branch { variant, ..Branch::default() });
        let inner = Inner { waiting: roots.collect(), ..Inner::default() };
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
            let before = &ran.schedule.0[..at + depth];
            inner.waiting.extend(others(branch.variant, before, node));
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
    before: &'n [super::Move],
    node: &'n Node,
) -> impl Iterator<Item = Branch> + 'n {
    // The last of them first: what is taken next lies on top.
    (1..node.options.len()).rev().map(move |index| {
        let (next, effect) = node.options[index];
        let seen = node.asleep.iter().chain(&node.options[..index]);
        let asleep = seen.filter(|(_, seen)| seen.is_independent_of(effect)).copied().collect();
        Branch { variant, moves: before.iter().copied().chain([next]).collect(), asleep }
    })
}
