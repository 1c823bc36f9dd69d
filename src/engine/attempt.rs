//! One execution of a program, from its first statement to its answer:
//! connections taken and given back, deadlines kept, faults let happen,
//! refused attempts tried again.

use super::Shared;
use super::pool::{Lease, SessionPool};
use super::recorder::{Part, ShardHandle, StatementKey};
use super::retry::RetryPolicy;
use super::stop::Stop;
use crate::db::relay::Cut;
use crate::db::{DbError, ErrorClass, Reply, Statement};
use crate::fault::{self, Mishap};
use crate::outcome::Outcome;
use crate::strategy::interpret::{Stuck, Task};
use crate::strategy::{Action, Machine, Program};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::time::{Duration, Instant};

/// Keeps these draws apart from those of the orders themselves.
const STREAM: u64 = 1 << 62;

/// What an order comes to whose client stopped in the middle.
const CUT_OFF: Outcome = Outcome::Unknown;

/// A program on its way, for an order, a batch or a flow.
pub(super) struct Run<'s> {
    shared: &'s Shared,
    program: &'s Program,
    /// Which program of the mix it is, or belongs to.
    member: usize,
    recorder: ShardHandle<'s>,
    machine: Machine<'s>,
    pools: &'s [SessionPool],
    /// One for each database, as far as they are needed.
    leases: Vec<Option<Lease<'s>>>,
    /// Seeded when something is first left to chance, which is rare.
    rng: Option<Box<ChaCha8Rng>>,
    /// What tells this task's chances from others'.
    chance: u64,
    started: Instant,
    attempt_started: Option<Instant>,
    transaction_started: Option<Instant>,
    /// Whether anything was sent: what has begun is seen through.
    begun: bool,
    attempts: u32,
    undo_attempts: u32,
    /// Attempts whose connection went: they count against no limit of tries.
    lost_attempts: u32,
    conflicts: u32,
    last_error: Option<(String, ErrorClass)>,
    connection_wait: Duration,
    backoff: Duration,
}

/// What a program came to.
#[derive(Clone)]
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    /// The code of the error it ended in, if it did.
    pub(super) error: Option<String>,
    pub(super) error_class: Option<ErrorClass>,
    pub(super) recorded: Option<Outcome>,
    /// How many units are left after each line; read for the history only.
    pub(super) remaining: Vec<Option<i64>>,
    pub(super) answers: Vec<(i64, Outcome)>,
    pub(super) attempts: u32,
    pub(super) conflicts: u32,
    pub(super) connection_wait: Duration,
    pub(super) backoff: Duration,
    pub(super) futile_retries: u32,
    pub(super) stuck: bool,
    /// Whether the client stopped for good in the middle.
    pub(super) cut_off: bool,
}

impl Ended {
    /// What an order came to that was asked for once more.
    pub(super) fn after(self, first: &Self) -> Self {
        Self {
            attempts: self.attempts + first.attempts,
            conflicts: self.conflicts + first.conflicts,
            connection_wait: self.connection_wait + first.connection_wait,
            backoff: self.backoff + first.backoff,
            futile_retries: self.futile_retries + first.futile_retries,
            ..self
        }
    }
}

impl<'s> Run<'s> {
    /// A task before its first statement, which was started just now; `program`
    /// is the member's own or one of its flows.
    pub(super) fn new(
        shared: &'s Shared,
        pools: &'s [SessionPool],
        member: usize,
        program: &'s Program,
        recorder: ShardHandle<'s>,
        task: Task,
        started: Instant,
    ) -> Self {
        Self {
            shared,
            program,
            member,
            recorder,
            chance: task.token.unsigned_abs(),
            machine: Machine::new(program, task),
            pools,
            leases: pools.iter().map(|_| None).collect(),
            rng: None,
            started,
            attempt_started: None,
            transaction_started: None,
            begun: false,
            attempts: 1,
            undo_attempts: 0,
            lost_attempts: 0,
            conflicts: 0,
            last_error: None,
            connection_wait: Duration::ZERO,
            backoff: Duration::ZERO,
        }
    }

    /// What is left to chance follows from this number and the run's seed.
    pub(super) fn with_chance(mut self, chance: u64) -> Self {
        self.chance = chance;
        self
    }

    /// A flow goes on when the run is being stopped: it finishes what others have
    /// left to it.
    pub(super) fn in_background(mut self) -> Self {
        self.begun = true;
        self
    }

    /// Drives the program to its answer; `None` if it never started because
    /// the server is lost or the run is being stopped.
    pub(super) async fn finish(mut self) -> Option<Ended> {
        let mut cut_off = false;
        let outcome = loop {
            match self.machine.action() {
                Action::Done(outcome) => break outcome,
                Action::Refused => self.refused().await,
                Action::Think => {
                    if !self.shared.load.think.is_zero() {
                        pause(self.shared.load.think, &self.shared.stop).await;
                    }
                    self.machine.succeeded(Reply::default());
                }
                Action::Execute(statement) if statement.is_script => {
                    if !self.send(None).await {
                        cut_off = true;
                        break CUT_OFF;
                    }
                }
                Action::Begin(_) | Action::Execute(_) | Action::Commit | Action::Rollback => {
                    let pool = self.shared.pool_of(self.program, self.machine.service());
                    if self.leases[pool].is_none() && !self.take_lease(pool).await {
                        if !self.begun {
                            return None;
                        }
                        continue;
                    }
                    if !self.send(Some(pool)).await {
                        cut_off = true;
                        break CUT_OFF;
                    }
                }
            }
        };
        if matches!(outcome, Outcome::Deducted | Outcome::Done)
            && !self.is_flow()
            && let Some(began) = self.attempt_started
        {
            self.shared.recovery.succeeded(began);
        }
        self.end_attempt(outcome == Outcome::Conflict);
        let (error, error_class) = self.last_error.filter(|_| outcome == Outcome::Error).unzip();
        Some(Ended {
            outcome,
            error,
            error_class,
            recorded: self.machine.recorded(),
            remaining: if self.shared.history.is_some() { self.machine.remaining() } else { Vec::new() },
            answers: self.machine.answers().to_vec(),
            attempts: self.attempts,
            conflicts: self.conflicts + u32::from(self.machine.stuck().is_some()),
            connection_wait: self.connection_wait,
            backoff: self.backoff,
            futile_retries: self.machine.futile_retries(),
            stuck: self.machine.stuck() == Some(Stuck::SameValues),
            cut_off,
        })
    }

    /// Takes a connection to a database. Without one, an order that has begun
    /// is told so.
    async fn take_lease(&mut self, pool: usize) -> bool {
        // Nobody waits for one database while holding another, or two orders
        // could wait for each other. What is locked for a session is kept.
        if !self.program.holds_sessions() {
            self.leases.iter_mut().for_each(|lease| *lease = None);
        }
        let waiting = Instant::now();
        let limit = self.shared.load.acquire_timeout;
        let lease = self.pools[pool].lease();
        let lease = async {
            match limit {
                Some(limit) => tokio::time::timeout(limit, lease).await.map_err(|_| limit),
                None => Ok(lease.await),
            }
        };
        let taken = if self.begun {
            lease.await
        } else {
            tokio::select! {
                biased;
                taken = lease => taken,
                () = self.shared.stop.asked() => Ok(None),
            }
        };
        let now = Instant::now();
        self.connection_wait += now.saturating_duration_since(waiting);
        self.attempt_started.get_or_insert(now);
        let why = match taken {
            Ok(Some(lease)) => {
                self.leases[pool] = Some(lease);
                return true;
            }
            Ok(None) if !self.begun => return false,
            Ok(None) => "the server is lost".to_owned(),
            Err(limit) => {
                self.begun = true;
                format!("no connection was free within {}", humantime::format_duration(limit))
            }
        };
        let code = "pool".to_owned();
        self.failed(&DbError { class: ErrorClass::NeverStarted, code, message: why }, None);
        false
    }

    /// Sends what the machine asks for and tells it the result; false when the
    /// client stops here for good.
    async fn send(&mut self, pool: Option<usize>) -> bool {
        if self.is_too_late() || self.is_failed_on_purpose() {
            return true;
        }
        if self.dies_on_purpose() {
            self.leases.iter_mut().filter_map(Option::take).for_each(Lease::discard);
            return false;
        }
        self.begun = true;
        self.attempt_started.get_or_insert_with(Instant::now);
        let completes = self.machine.completes_transaction();
        let name = self.machine.transaction_name();
        let cut = if completes && self.shared.faults.cut_wires() && self.is_wired(pool) {
            [Cut::Before, Cut::During, Cut::After]
                .into_iter()
                .find(|&cut| self.strikes(Mishap::Cut(cut), name))
        } else {
            None
        };
        let timed = self.shared.load.per_statement.then(|| (self.statement_key(), Instant::now()));
        let sent = match self.machine.action() {
            Action::Execute(statement) if statement.is_script => {
                // Boxed: clients without scripts need no room for them.
                Box::pin(self.run_script(statement)).await
            }
            action => {
                let session = pool.and_then(|pool| self.leases[pool].as_mut()).map(Lease::session);
                let Some(session) = session else { return true };
                if let Some(cut) = cut {
                    session.cut_at_next(cut);
                }
                match action {
                    Action::Begin(sql) => session.control(sql).await.map(|()| Reply::default()),
                    Action::Commit => session.control("COMMIT").await.map(|()| Reply::default()),
                    Action::Rollback => session.control("ROLLBACK").await.map(|()| Reply::default()),
                    Action::Execute(statement) => {
                        session.execute(statement, self.machine.binds(|| self.shared.clock.now_ms())).await
                    }
                    Action::Think | Action::Refused | Action::Done(_) => return true,
                }
            }
        };
        if let Some((Some(key), started)) = timed {
            self.recorder.statement(key, started.elapsed());
        }
        if completes && sent.is_ok() && self.shared.faults.strike_transactions() {
            if self.strikes(Mishap::Crash, name) {
                self.leases.iter_mut().filter_map(Option::take).for_each(Lease::discard);
                return false;
            }
            if self.strikes(Mishap::Lose, name) {
                self.failed(&fault::answer_lost(), pool);
                return true;
            }
        }
        match sent {
            Ok(reply) => self.machine.succeeded(reply),
            Err(error) => self.failed(&error, pool),
        }
        true
    }

    /// Whether what is about to be sent goes over a network of ours.
    fn is_wired(&mut self, pool: Option<usize>) -> bool {
        let lease = pool.and_then(|pool| self.leases[pool].as_mut());
        lease.is_some_and(|lease| lease.session().is_wired())
    }

    /// What is about to be sent, if it belongs to an order.
    fn statement_key(&self) -> Option<StatementKey> {
        let (transaction, step) = self.machine.position();
        let part = match self.machine.action() {
            Action::Begin(_) => Part::Begin,
            Action::Execute(_) => Part::Step(step),
            Action::Commit => Part::Commit,
            Action::Rollback => Part::Rollback,
            Action::Think | Action::Refused | Action::Done(_) => return None,
        };
        (!self.is_flow()).then_some(StatementKey { program: self.member, transaction, part })
    }

    /// Whether it belongs to no order, but to what goes on beside them.
    fn is_flow(&self) -> bool {
        !std::ptr::eq(self.program, &raw const self.shared.members[self.member].program)
    }

    async fn run_script(&mut self, statement: &Statement) -> Result<Reply, DbError> {
        match &self.shared.redis {
            Some(redis) => redis.execute(statement, self.machine.binds(|| self.shared.clock.now_ms())).await,
            None => Err(DbError {
                class: ErrorClass::Bug,
                code: "redis".to_owned(),
                message: "a script, and no Redis".to_owned(),
            }),
        }
    }

    /// Whether the transaction has had its time: then it is rolled back.
    fn is_too_late(&mut self) -> bool {
        let Some(limit) = self.shared.load.transaction_timeout else { return false };
        if self.machine.starts_transaction() {
            self.transaction_started = Some(Instant::now());
            return false;
        }
        let may_end = matches!(self.machine.action(), Action::Execute(_) | Action::Commit);
        let is_late = self.transaction_started.is_some_and(|started| started.elapsed() > limit);
        if !may_end || !is_late {
            return false;
        }
        let message = format!("the transaction took longer than {}", humantime::format_duration(limit));
        self.failed(&DbError { class: ErrorClass::Cancelled, code: "deadline".to_owned(), message }, None);
        true
    }

    fn is_failed_on_purpose(&mut self) -> bool {
        let is_failed = self.shared.faults.strike_transactions()
            && self.machine.starts_transaction()
            && self.strikes(Mishap::Fail, self.machine.transaction_name());
        if is_failed {
            self.begun = true;
            self.failed(&fault::failed(), None);
        }
        is_failed
    }

    /// Whether the client stops here for good, between two statements of a transaction or
    /// of what is as good as one.
    fn dies_on_purpose(&mut self) -> bool {
        let is_statement = matches!(self.machine.action(), Action::Execute(_) | Action::Commit);
        is_statement
            && !self.machine.starts_transaction()
            && self.shared.faults.strike_transactions()
            && self.strikes(Mishap::Die, self.machine.transaction_name())
    }

    /// Whether this mishap befalls the transaction now; then it is counted.
    fn strikes(&mut self, mishap: Mishap, transaction: Option<&str>) -> bool {
        let shared = self.shared;
        let has_struck = shared.faults.strike(mishap, transaction, self.rng());
        if has_struck {
            self.recorder.struck(mishap);
        }
        has_struck
    }

    /// Counts an error and tells the machine; a lost connection is not used
    /// again.
    fn failed(&mut self, error: &DbError, pool: Option<usize>) {
        let is_cluster = || self.pools.iter().any(SessionPool::is_cluster);
        if error.class == ErrorClass::NotReady && !is_cluster() {
            // There is no other node: it will not take the next attempt either.
            let error = DbError { class: ErrorClass::Fatal, ..error.clone() };
            return self.failed(&error, pool);
        }
        self.recorder.failed(error);
        self.last_error = Some((error.code.clone(), error.class));
        if matches!(error.class, ErrorClass::Lost | ErrorClass::NotReady)
            && let Some(lease) = pool.and_then(|pool| self.leases[pool].take())
        {
            lease.discard();
        }
        self.machine.failed(error);
    }

    /// Gives the connections back, waits, and tries again; or gives up. What
    /// is being taken back is tried until its time is over.
    async fn refused(&mut self) {
        let is_lost = self.machine.is_lost();
        self.end_attempt(!is_lost);
        self.conflicts += u32::from(!is_lost);
        self.lost_attempts += u32::from(is_lost);
        let is_undoing = self.machine.is_undoing();
        self.undo_attempts += u32::from(is_undoing);
        let (attempts, tries) = match (is_undoing, is_lost) {
            (true, _) => (self.undo_attempts, 0),
            (false, true) => (self.lost_attempts, 0),
            (false, false) => (self.attempts - self.lost_attempts, self.retry().tries),
        };
        let retry = RetryPolicy { tries, ..self.retry() };
        let no_server = self.pools.iter().any(|pool| pool.lost_server().is_some());
        let may_go_on = !no_server && (is_undoing || !self.shared.stop.is_asked());
        let elapsed = self.started.elapsed();
        let delay = retry.next_delay(attempts, elapsed, self.rng());
        let Some(delay) = delay.filter(|_| may_go_on) else {
            return self.machine.give_up();
        };
        let waiting = Instant::now();
        if is_undoing {
            tokio::time::sleep(delay).await;
        } else {
            pause(delay, &self.shared.stop).await;
        }
        self.backoff += waiting.elapsed();
        if !is_undoing && self.shared.stop.is_asked() {
            return self.machine.give_up();
        }
        self.attempts += 1;
        self.machine.retry();
    }

    /// Waits and faults differ from task to task, and are the same when the run
    /// is repeated with its seed.
    fn rng(&mut self) -> &mut ChaCha8Rng {
        let (seed, chance) = (self.shared.stream.seed, self.chance);
        self.rng.get_or_insert_with(|| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(chance | STREAM);
            Box::new(rng)
        })
    }

    fn retry(&self) -> RetryPolicy {
        self.shared.members[self.member].retry
    }

    fn end_attempt(&mut self, is_refused: bool) {
        for lease in self.leases.iter_mut().filter_map(Option::take) {
            if self.machine.is_tainted() {
                lease.discard();
            }
        }
        self.transaction_started = None;
        if let Some(started) = self.attempt_started.take() {
            self.recorder.attempt(started.elapsed(), is_refused);
        }
    }
}

/// Waits, unless the run is being stopped.
pub(super) async fn pause(duration: Duration, stop: &Stop) {
    tokio::select! {
        () = tokio::time::sleep(duration) => {}
        () = stop.asked() => {}
    }
}
