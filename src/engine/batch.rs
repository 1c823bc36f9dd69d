//! Gathers orders for one SKU that are answered in one transaction.
//!
//! The first client to come leads: it takes what has gathered, runs the
//! program for all of them, hands out the answers, and hands the lead to the
//! next one that waits. So nobody waits for a batch to fill, and batches grow
//! by themselves while the database is busy.

use super::Shared;
use super::attempt::{Ended, Run};
use super::recorder::ShardHandle;
use crate::outcome::Outcome;
use crate::strategy::interpret::Task;
use crate::workload::{Line, Order};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use tokio::sync::oneshot;

/// Which program, which SKU.
type Key = (usize, i64);

/// The orders that wait for a batch, by program and SKU. A key that is there
/// has a leader.
#[derive(Default)]
pub(super) struct Batches {
    waiting: Mutex<HashMap<Key, VecDeque<Waiting>>>,
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
    /// Answers an order together with others.
    pub(super) async fn answer(
        &self,
        shared: &Shared,
        recorder: ShardHandle<'_>,
        member: usize,
        order: &Order,
    ) -> Option<Ended> {
        let key = (member, order.lines[0].sku_id);
        let own = (order.id, order.lines[0].quantity);
        let turn = {
            let mut waiting = self.waiting.lock();
            if let Some(queue) = waiting.get_mut(&key) {
                let (tell, turn) = oneshot::channel();
                queue.push_back(Waiting { order: own, tell });
                Some(turn)
            } else {
                waiting.insert(key, VecDeque::new());
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
        self.lead(shared, recorder, key, own).await
    }

    async fn lead(
        &self,
        shared: &Shared,
        recorder: ShardHandle<'_>,
        key: Key,
        own: (i64, i64),
    ) -> Option<Ended> {
        let member = &shared.members[key.0];
        let others = self.take(key, member.program.batch.unwrap_or(1) - 1);
        let batch: Vec<(i64, i64)> =
            std::iter::once(own).chain(others.iter().map(|other| other.order)).collect();
        let lines = vec![Line { sku_id: key.1, quantity: 0 }];
        let task =
            Task { lines, run_id: shared.stream.run_id, token: shared.token(), batch, ..Task::default() };
        let ended = Run::new(shared, key.0, &member.program, recorder, task).finish().await;
        for other in others {
            let answer = ended.as_ref().map(|ended| ended.of(other.order.0));
            // A client that is gone needs no answer.
            drop(other.tell.send(Turn::Answered(answer)));
        }
        self.pass_on(key);
        ended.map(|ended| ended.of(own.0))
    }

    fn take(&self, key: Key, at_most: usize) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock();
        let Some(queue) = waiting.get_mut(&key) else { return Vec::new() };
        let count = queue.len().min(at_most);
        queue.drain(..count).collect()
    }

    /// Gives the lead to the next one that waits, or gives it up.
    fn pass_on(&self, key: Key) {
        let mut waiting = self.waiting.lock();
        let Some(queue) = waiting.get_mut(&key) else { return };
        while let Some(next) = queue.pop_front() {
            if next.tell.send(Turn::Lead).is_ok() {
                return;
            }
        }
        waiting.remove(&key);
    }
}

impl Ended {
    /// What the batch came to for one of its orders.
    fn of(&self, order_id: i64) -> Self {
        let answer = self.answers.iter().find(|(id, _)| *id == order_id).map(|(_, outcome)| *outcome);
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
