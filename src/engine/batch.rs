//! Gathers orders for one SKU that are answered in one transaction.
//!
//! The first client to come leads: it takes what has gathered, runs the
//! program for all of them, hands out the answers, and hands the lead to the
//! next one that waits. Batches grow by themselves while the database is busy;
//! where the last one was large its clients are about to come back, and the
//! next one lingers a little for them. An order that finds nobody to be
//! together with goes its own way, if the program has one.

use super::Shared;
use super::attempt::{Ended, Run};
use super::order::{self, Asked};
use crate::db::ErrorClass;
use crate::outcome::Outcome;
use crate::strategy::interpret::Task;
use crate::workload::Line;
use parking_lot::Mutex;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, oneshot};

/// Which program, which SKU.
type Key = (usize, i64);

/// The orders that wait for a batch, by program and SKU.
#[derive(Default)]
pub(super) struct Batches {
    gathering: Mutex<HashMap<Key, Gathering>>,
}

/// What gathers behind a leader.
#[derive(Default)]
struct Gathering {
    waiting: VecDeque<Waiting>,
    /// How many orders the last batch had.
    last: usize,
    /// Whether there is a leader; without one the next to come is it.
    is_led: bool,
    /// How many the leader waits for, and how it is told.
    wanted: usize,
    complete: Arc<Notify>,
}

struct Waiting {
    order: (i64, i64),
    tell: oneshot::Sender<Turn>,
}

/// What a waiting client is told.
enum Turn {
    /// Its order was answered, or never started.
    Answered(Option<Ended>),
    /// It leads the next batch.
    Lead,
}

impl Batches {
    /// Answers an order of one line, together with others if there are any.
    pub(super) async fn answer(&self, shared: &Shared, asked: Asked<'_>) -> Option<Ended> {
        let key = (asked.member, asked.order.lines[0].sku_id);
        let own = (asked.order.id, asked.order.lines[0].quantity);
        let turn = {
            let mut gathering = self.gathering.lock();
            let gathering = gathering.entry(key).or_default();
            if gathering.is_led {
                let (tell, turn) = oneshot::channel();
                gathering.waiting.push_back(Waiting { order: own, tell });
                if gathering.waiting.len() == gathering.wanted {
                    gathering.complete.notify_one();
                }
                Some(turn)
            } else {
                gathering.is_led = true;
                None
            }
        };
        if let Some(turn) = turn {
            match turn.await {
                Ok(Turn::Answered(ended)) => return ended,
                Ok(Turn::Lead) => {}
                Err(_) => return None,
            }
        }
        self.linger(shared, key).await;
        self.lead(shared, asked, key, own).await
    }

    /// Waits until as many are there as in the last batch, for a while.
    async fn linger(&self, shared: &Shared, key: Key) {
        let patience = shared.members[key.0].program.linger;
        let complete = {
            let mut gathering = self.gathering.lock();
            let gathering = gathering.entry(key).or_default();
            gathering.wanted = gathering.last.saturating_sub(1);
            if patience.is_zero() || gathering.waiting.len() >= gathering.wanted {
                return;
            }
            gathering.complete = Arc::default();
            Arc::clone(&gathering.complete)
        };
        // Whether all came or the time is over makes no difference.
        drop(tokio::time::timeout(patience, complete.notified()).await);
    }

    async fn lead(&self, shared: &Shared, asked: Asked<'_>, key: Key, own: (i64, i64)) -> Option<Ended> {
        let program = &shared.members[key.0].program;
        let others = self.take(key, program.batch.unwrap_or(1) - 1);
        if others.is_empty() && program.serves_orders() {
            let ended = order::alone(shared, asked).await;
            self.pass_on(key);
            return ended;
        }
        let batch: Vec<(i64, i64)> =
            std::iter::once(own).chain(others.iter().map(|other| other.order)).collect();
        let decided = decide(shared, asked, key, &batch).await;
        for other in others {
            // A client that is gone needs no answer.
            drop(other.tell.send(Turn::Answered(decided.get(&other.order.0).cloned())));
        }
        self.pass_on(key);
        decided.get(&own.0).cloned()
    }

    fn take(&self, key: Key, at_most: usize) -> Vec<Waiting> {
        let mut gathering = self.gathering.lock();
        let Some(gathering) = gathering.get_mut(&key) else { return Vec::new() };
        let count = gathering.waiting.len().min(at_most);
        gathering.last = count + 1;
        gathering.wanted = 0;
        gathering.waiting.drain(..count).collect()
    }

    /// Gives the lead to the next one that waits, or gives it up. Only what was
    /// wanted by many is remembered, so that a million SKUs cost nothing.
    fn pass_on(&self, key: Key) {
        let mut all = self.gathering.lock();
        let Entry::Occupied(mut entry) = all.entry(key) else { return };
        let gathering = entry.get_mut();
        while let Some(next) = gathering.waiting.pop_front() {
            if next.tell.send(Turn::Lead).is_ok() {
                return;
            }
        }
        gathering.is_led = false;
        if gathering.last <= 1 {
            entry.remove();
        }
    }
}

/// Runs a batch. One that the database refuses for what is in it is taken apart,
/// so that a bad order does not sink its neighbours.
async fn decide(shared: &Shared, asked: Asked<'_>, key: Key, batch: &[(i64, i64)]) -> HashMap<i64, Ended> {
    let mut decided = HashMap::with_capacity(batch.len());
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        let lines = vec![Line { sku_id: key.1, quantity: 0 }];
        let batch = part.to_vec();
        let task =
            Task { lines, run_id: shared.stream.run_id, token: shared.token(), batch, ..Task::default() };
        let program = &shared.members[key.0].program;
        let run = Run::new(shared, asked.pools, key.0, program, asked.recorder, task, Instant::now());
        // What never started has no answer to give.
        let Some(ended) = run.finish().await else { continue };
        let refuses_content = matches!(
            ended.error_class,
            Some(ErrorClass::Statement | ErrorClass::Check | ErrorClass::Duplicate)
        );
        if ended.outcome == Outcome::Error && refuses_content && part.len() > 1 {
            let (first, second) = part.split_at(part.len() / 2);
            // The last one pushed is the next: first come, first served.
            parts.extend([second, first]);
            continue;
        }
        let answers: HashMap<i64, Outcome> = ended.answers.iter().copied().collect();
        for (id, _) in part {
            decided.insert(*id, ended.of(answers.get(id).copied()));
        }
    }
    decided
}

impl Ended {
    /// What a batch came to for an order that was given this answer.
    fn of(&self, answer: Option<Outcome>) -> Self {
        let outcome = match self.outcome {
            // The batch was carried out: an order it does not speak of was not.
            Outcome::Deducted => answer.unwrap_or(Outcome::Error),
            failed => failed,
        };
        Self {
            outcome,
            error: self.error.clone(),
            recorded: None,
            remaining: Vec::new(),
            answers: Vec::new(),
            ..*self
        }
    }
}
