//! One client: takes the next order, sees it through, reports, takes the next.

use super::Shared;
use super::pool::Lease;
use super::recorder::{Delivery, ShardHandle};
use super::stop::Stop;
use crate::db::{DbError, ErrorClass, Reply};
use crate::outcome::Outcome;
use crate::strategy::interpret::Stuck;
use crate::strategy::{Action, Machine};
use crate::workload::Order;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sends orders until there are no more.
pub(super) async fn client(shared: Arc<Shared>, number: usize) {
    let recorder = shared.recorder.shard(number);
    while let Some(order_number) = shared.next_order() {
        let order = shared.stream.order(order_number);
        let intended = Instant::now();
        let invoked = shared.elapsed();
        let jitter = ChaCha8Rng::seed_from_u64(shared.stream.seed ^ order_number.rotate_left(32));
        let mut order_run = OrderRun {
            shared: &shared,
            recorder,
            machine: Machine::new(&shared.program, &order, shared.stream.run_id),
            lease: None,
            jitter,
            intended,
            attempt_started: None,
            attempts: 1,
            conflicts: 0,
            connection_wait: Duration::ZERO,
            backoff: Duration::ZERO,
        };
        let Some(outcome) = order_run.finish().await else { return };
        let delivery = order_run.into_delivery(outcome, &order);
        shared.answers.note(order_number, outcome);
        recorder.delivered(order.id, &delivery);
        if let Some(history) = &shared.history {
            history.add(&order, &delivery, invoked);
        }
    }
}

/// One order on its way.
struct OrderRun<'s> {
    shared: &'s Shared,
    recorder: ShardHandle<'s>,
    machine: Machine<'s>,
    lease: Option<Lease<'s>>,
    jitter: ChaCha8Rng,
    intended: Instant,
    attempt_started: Option<Instant>,
    attempts: u32,
    conflicts: u32,
    connection_wait: Duration,
    backoff: Duration,
}

impl OrderRun<'_> {
    /// Drives the program to its answer; `None` if the order never started
    /// because the server is lost or the run is being stopped.
    async fn finish(&mut self) -> Option<Outcome> {
        loop {
            match self.machine.action() {
                Action::Done(outcome) => {
                    self.end_attempt();
                    return Some(outcome);
                }
                Action::Refused => self.refused().await,
                Action::Think if self.shared.load.think.is_zero() => self.machine.succeeded(Reply::default()),
                Action::Think => {
                    pause(self.shared.load.think, &self.shared.stop).await;
                    self.machine.succeeded(Reply::default());
                }
                Action::Begin(_) | Action::Execute(_) | Action::Commit | Action::Rollback => {
                    if self.lease.is_none() && !self.take_lease().await {
                        return (self.attempts > 1).then_some(Outcome::Conflict);
                    }
                    self.send().await;
                }
            }
        }
    }

    async fn take_lease(&mut self) -> bool {
        let waiting = Instant::now();
        let lease = tokio::select! {
            biased;
            lease = self.shared.pool.lease() => lease,
            () = self.shared.stop.asked() => None,
        };
        self.connection_wait += waiting.elapsed();
        self.lease = lease;
        self.attempt_started.get_or_insert_with(Instant::now);
        self.lease.is_some()
    }

    /// Sends what the machine asks for and tells it the result.
    async fn send(&mut self) {
        let Some(lease) = self.lease.as_mut() else { return };
        let session = lease.session();
        let sent = match self.machine.action() {
            Action::Begin(sql) => session.control(sql).await.map(|()| Reply::default()),
            Action::Commit => session.control("COMMIT").await.map(|()| Reply::default()),
            Action::Rollback => session.control("ROLLBACK").await.map(|()| Reply::default()),
            Action::Execute(statement) => session.execute(statement, self.machine.binds()).await,
            Action::Think | Action::Refused | Action::Done(_) => return,
        };
        match sent {
            Ok(reply) => self.machine.succeeded(reply),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &DbError) {
        self.recorder.failed(error);
        self.machine.failed(error);
        if error.class == ErrorClass::Lost
            && let Some(lease) = self.lease.take()
        {
            lease.discard();
        }
    }

    /// Gives the connection back, waits, and tries again; or gives up.
    async fn refused(&mut self) {
        self.end_attempt();
        self.conflicts += 1;
        let delay = self.shared.retry.next_delay(self.attempts, self.intended.elapsed(), &mut self.jitter);
        let Some(delay) = delay.filter(|_| !self.shared.stop.is_asked()) else {
            self.machine.give_up();
            return;
        };
        let waiting = Instant::now();
        pause(delay, &self.shared.stop).await;
        self.backoff += waiting.elapsed();
        if self.shared.stop.is_asked() {
            self.machine.give_up();
            return;
        }
        self.attempts += 1;
        self.machine.retry();
    }

    fn end_attempt(&mut self) {
        self.lease = None;
        if let Some(started) = self.attempt_started.take() {
            self.recorder.attempt(started.elapsed());
        }
    }

    fn into_delivery(self, outcome: Outcome, order: &Order) -> Delivery {
        Delivery {
            outcome,
            units: u64::try_from(order.units()).unwrap_or(0),
            latency: self.intended.elapsed(),
            attempts: self.attempts,
            conflicts: self.conflicts + u32::from(self.machine.stuck().is_some()),
            connection_wait: self.connection_wait,
            backoff: self.backoff,
            futile_retries: self.machine.futile_retries(),
            stuck: self.machine.stuck() == Some(Stuck::SameValues),
        }
    }
}

/// Waits, unless the run is being stopped.
async fn pause(duration: Duration, stop: &Stop) {
    tokio::select! {
        () = tokio::time::sleep(duration) => {}
        () = stop.asked() => {}
    }
}
