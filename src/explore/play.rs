//! One schedule while it is played: what each client's program sends, and what
//! the server lets it do.
//!
//! Nothing is guessed from a deadline. After each statement everybody who has
//! something on its way has either answered or is waiting by the server's own
//! account; SQLite says BUSY instead, and is asked again when somebody has moved.

use super::effect::{Concurrency, Effect};
use super::event::{Event, What, with_values};
use super::problem::{ROUNDS_MAX, Variant};
use super::schedule::Move;
use super::world::{Seat, World};
use crate::db::blocking::Waits;
use crate::db::{DbError, Dialect, ErrorClass, Reply, Statement, Value};
use crate::outcome::Outcome;
use crate::strategy::interpret::{Machine, Stuck};
use crate::strategy::{Action, Program};
use anyhow::{Context, Result, bail, ensure};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// How long a reply is waited for before the server is asked whether it will
/// come; doubled each time.
const GRACE: Duration = Duration::from_millis(1);

/// The longest of those waits.
const GRACE_MAX: Duration = Duration::from_millis(20);

/// A statement that neither answers nor waits for this long cannot be judged.
const PATIENCE: Duration = Duration::from_secs(60);

/// PostgreSQL looks for a circle once in a wait, `deadlock_timeout` after it began
/// (1 ms here), and whoever looks is the victim. After this long a waiting client
/// has looked, and the one that closes a circle later on is the victim for sure.
const HAS_LOOKED: Duration = Duration::from_millis(5);

/// A loop inside a transaction that has the same values refused this often will
/// not converge; each turn of it is a place for others to move.
const SAME_VALUES_MAX: u32 = 3;

/// A program that goes from one transaction to another this often does not end:
/// each turn in vain takes another client's success, and there are few of them.
const JUMPS_MAX: u32 = 20;

/// The client's clock, and the background programs', an hour later: whatever
/// expires has expired for them.
const NOW_MS: i64 = 1_800_000_000_000;
const LATER_MS: i64 = NOW_MS + 3_600_000;

/// The SQLite code of a lock that is held by somebody else.
const BUSY: &str = "5";

/// What a client was told, and when: in moves.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) outcome: Outcome,
    pub(super) invoked: u64,
    pub(super) returned: u64,
    /// Whether it was refused in vain.
    pub(super) futile: Option<Futile>,
    /// The error that its program took for its success, and the statement.
    pub(super) swallowed: Option<String>,
}

/// Why an order was refused in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Futile {
    /// A loop inside one transaction meets the same refused values.
    Loop,
    /// The program goes round and round.
    Endless,
    /// Every retry repeated values that had just been refused.
    Retries,
    /// An attempt was refused though nobody else was there.
    Alone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    /// Its next statement can be sent.
    Idle,
    /// Sent, and the server lets it wait.
    Waiting,
    /// SQLite refused it; it is sent again when somebody has moved.
    Parked,
    Done(Outcome),
    Crashed,
}

/// What is on its way.
#[derive(Debug, Clone, Copy)]
enum Sent {
    /// In a transaction.
    Inside(Effect),
    /// The end of one.
    End,
    /// On its own.
    Alone,
}

struct Actor<'p> {
    program: &'p Program,
    machine: Machine<'p>,
    state: State,
    /// What its transaction has touched.
    before: Effect,
    sent: Option<Sent>,
    /// The text of what is on its way, for people.
    sql: String,
    /// Whether a BEGIN went out with it.
    begun: Option<String>,
    started: Option<usize>,
    ended: usize,
    attempts: u32,
    /// When it was last seen to begin to wait.
    waits_since: Instant,
    /// The last error of its attempt, with its statement.
    error: Option<String>,
    /// Whether nobody else was there since the attempt began.
    alone: bool,
    refused_alone: bool,
}

type Flight = BoxFuture<'static, (usize, Seat, Result<Reply, DbError>)>;

/// One schedule while it is played.
pub(super) struct Play<'w, 'p> {
    world: &'w mut World<'p>,
    actors: Vec<Actor<'p>>,
    in_flight: FuturesUnordered<Flight>,
    ids: Vec<Option<i64>>,
    pub(super) moves: Vec<Move>,
    /// Who waited in which statement before the last move.
    waiting_before: Vec<(usize, String)>,
    pub(super) events: Vec<Event>,
    pub(super) errors: BTreeMap<String, u64>,
    /// A connection that is gone: nothing can be said of this schedule.
    lost: Option<DbError>,
    /// Clients that went on since the last move was made, and whether there were
    /// ever several.
    resumed: usize,
    pub(super) raced: bool,
    /// Whether a background program ended in an error.
    pub(super) flow_failed: bool,
    /// Clients that may still stop for good.
    crashes: usize,
    variant: &'p Variant,
    serial: i64,
}

impl<'w, 'p> Play<'w, 'p> {
    pub(super) fn new(world: &'w mut World<'p>, variant: usize, serial: i64) -> Self {
        let problem = world.problem;
        let variant = &problem.variants[variant];
        let actors = (0..problem.actors()).map(|number| {
            let program = problem.program_of(number);
            let task = problem.task(variant, number, serial, 0);
            Actor {
                program,
                machine: Machine::new(program, task).breaking_off_after(SAME_VALUES_MAX, JUMPS_MAX),
                state: State::Idle,
                before: Effect::default(),
                sent: None,
                sql: String::new(),
                begun: None,
                started: None,
                ended: 0,
                attempts: 1,
                waits_since: Instant::now(),
                error: None,
                alone: true,
                refused_alone: false,
            }
        });
        let mut play = Self {
            actors: actors.collect(),
            in_flight: FuturesUnordered::new(),
            ids: world.seats.iter().map(|seat| seat.as_ref().and_then(|seat| seat.id)).collect(),
            moves: Vec::new(),
            waiting_before: Vec::new(),
            lost: None,
            resumed: 0,
            raced: false,
            flow_failed: false,
            events: Vec::new(),
            errors: BTreeMap::new(),
            crashes: problem.crashes,
            variant,
            serial,
            world,
        };
        for number in 0..play.actors.len() {
            play.settle(number);
        }
        play
    }

    /// How everybody stands, as a number.
    pub(super) fn sign(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for actor in &self.actors {
            (actor.state, actor.attempts, actor.machine.position()).hash(&mut hasher);
        }
        hasher.finish()
    }

    fn dialect(&self) -> Dialect {
        self.world.database.dialect()
    }

    /// What can be done now; the client that moved last comes first, so that the
    /// first schedules are those with the fewest switches.
    pub(super) fn options(&self) -> Vec<(Move, Effect)> {
        let mut able: Vec<usize> = Vec::new();
        for (number, actor) in self.actors.iter().enumerate() {
            // Of clients that are alike and have not begun, the first one begins.
            let has_twin = actor.started.is_none()
                && self.world.problem.reduce
                && able.iter().any(|other| {
                    self.actors[*other].started.is_none()
                        && self.world.problem.are_alike(self.variant, *other, number)
                });
            if actor.state == State::Idle && !has_twin {
                able.push(number);
            }
        }
        if let Some(last) = self.moves.last() {
            able.sort_by_key(|number| (*number != last.client(), *number));
        }
        let steps = able.iter().map(|number| (Move::Step(*number), self.effect(*number)));
        let may_crash = |number: &&usize| {
            self.crashes > 0
                && **number < self.world.problem.clients()
                && self.actors[**number].started.is_some()
        };
        let crashes = able.iter().filter(may_crash);
        steps
            .chain(crashes.map(|number| (Move::Crash(*number), self.with_waiters(self.crash_of(*number)))))
            .collect()
    }

    /// What the client's next statement touches.
    fn effect(&self, number: usize) -> Effect {
        let actor = &self.actors[number];
        let concurrency = &self.world.problem.concurrency;
        if !self.world.problem.reduce || !concurrency.has_independence() {
            return Effect { is_unknown: true, ..Effect::default() };
        }
        let begins = actor.started.is_none();
        self.with_waiters(Effect { begins, ..self.own_effect(actor, number) })
    }

    fn own_effect(&self, actor: &Actor<'_>, number: usize) -> Effect {
        let concurrency = &self.world.problem.concurrency;
        let (transaction, step) = actor.machine.position();
        let access = self.world.problem.access(number, transaction, step);
        match actor.machine.action() {
            Action::Begin(begin) => {
                let made = concurrency.in_transaction(access, Effect::default());
                let locks = concurrency.begin(begin);
                made.and(locks)
            }
            Action::Think | Action::Execute(_) if actor.machine.in_transaction() => {
                concurrency.in_transaction(access, actor.before)
            }
            Action::Think | Action::Execute(_) => concurrency.alone(access),
            Action::Commit | Action::Rollback => self.end_of(number),
            Action::Refused | Action::Done(_) => Effect::default(),
        }
    }

    fn end_of(&self, number: usize) -> Effect {
        if !self.world.problem.reduce || !self.world.problem.concurrency.has_independence() {
            return Effect { is_unknown: true, ..Effect::default() };
        }
        Concurrency::end(self.actors[number].before)
    }

    /// A client that stops gives back what it held, by name, too.
    fn crash_of(&self, number: usize) -> Effect {
        let holds = self.actors[number].program.holds_sessions();
        let end = self.end_of(number);
        Effect { is_unknown: end.is_unknown || holds, ..end }
    }

    /// Those who wait may be let go on by a move, or be chosen as the victim of a
    /// deadlock that it closes: then their part belongs to it.
    fn with_waiters(&self, effect: Effect) -> Effect {
        let waiting = self.actors.iter().enumerate();
        let waiting = waiting.filter(|(_, actor)| matches!(actor.state, State::Waiting | State::Parked));
        waiting.fold(effect, |effect, (number, actor)| {
            let pending = match actor.sent {
                Some(Sent::Inside(pending)) => pending,
                _ => self.own_effect(actor, number),
            };
            effect.and(pending).and(Concurrency::end(actor.before.and(pending)))
        })
    }

    pub(super) async fn make(&mut self, next: Move) -> Result<()> {
        let number = next.client();
        self.moves.push(next);
        let at = self.moves.len() - 1;
        self.actors[number].started.get_or_insert(at);
        let waiting = self.actors.iter().enumerate().filter(|(_, actor)| actor.state == State::Waiting);
        self.waiting_before = waiting.map(|(number, actor)| (number, actor.sql.clone())).collect();
        self.resumed = 0;
        let mut others_there = false;
        for (other, actor) in self.actors.iter_mut().enumerate() {
            let is_there = actor.started.is_some() && !matches!(actor.state, State::Done(_) | State::Crashed);
            if other != number && is_there {
                actor.alone = false;
                others_there = true;
            }
        }
        self.actors[number].alone &= !others_there;
        match next {
            Move::Step(_) => {
                self.let_waiters_look(number).await;
                self.send(number).await?;
            }
            Move::Crash(_) => self.crash(number).await?,
        }
        self.watch().await?;
        self.ask_again().await?;
        match self.lost.take() {
            Some(error) => Err(anyhow::Error::new(error).context("a connection was lost")),
            None => Ok(()),
        }
    }

    /// Before a statement that may close a circle: else the victim would depend on
    /// how busy the machine is, and a schedule could not be run again.
    async fn let_waiters_look(&self, number: usize) {
        let may_wait = self.actors[number].machine.in_transaction()
            && matches!(self.actors[number].machine.action(), Action::Execute(_) | Action::Think);
        if self.dialect() != Dialect::Postgres || !may_wait {
            return;
        }
        let waiting = self.actors.iter().filter(|actor| actor.state == State::Waiting);
        if let Some(last) = waiting.map(|actor| actor.waits_since).max() {
            tokio::time::sleep_until((last + HAS_LOOKED).into()).await;
        }
    }

    fn push(&mut self, client: usize, what: What) {
        self.events.push(Event { client, what });
    }

    /// Sends the client's next statement, with the BEGIN before it.
    async fn send(&mut self, number: usize) -> Result<()> {
        let mut opening = Effect::default();
        loop {
            let effect = self.own_effect(&self.actors[number], number).and(opening);
            let actor = &mut self.actors[number];
            let is_flow = number >= self.world.problem.clients();
            let now = if is_flow { LATER_MS } else { NOW_MS };
            let seat = self.world.seats[number].as_mut().context("a client without a connection")?;
            let (statement, binds) = match actor.machine.action() {
                Action::Begin(sql) => {
                    let begun = seat.session.control(sql).await;
                    match begun {
                        Ok(()) => {
                            opening = self.world.problem.concurrency.begin(sql);
                            actor.begun = Some(sql.to_owned());
                            actor.machine.succeeded(Reply::default());
                            continue;
                        }
                        Err(error) => {
                            let sql = sql.to_owned();
                            self.refused_begin(number, sql, &error);
                            return Ok(());
                        }
                    }
                }
                Action::Think => {
                    actor.machine.succeeded(Reply::default());
                    continue;
                }
                Action::Execute(statement) => {
                    actor.sent =
                        Some(if actor.machine.in_transaction() { Sent::Inside(effect) } else { Sent::Alone });
                    (Some(statement.clone()), actor.machine.binds(|| now).to_vec())
                }
                Action::Commit | Action::Rollback => {
                    actor.sent = Some(Sent::End);
                    (None, Vec::new())
                }
                Action::Refused | Action::Done(_) => bail!("client {} has nothing to send", number + 1),
            };
            let control = match actor.machine.action() {
                Action::Rollback => "ROLLBACK",
                _ => "COMMIT",
            };
            let text = statement.as_ref().map_or_else(
                || control.to_owned(),
                |statement| with_values(&statement.sql, &binds, self.world.database.dialect()),
            );
            actor.sql = match actor.begun.take() {
                Some(begin) => format!("{begin}; {text}"),
                None => text,
            };
            let seat = self.world.seats[number].take().context("a client without a connection")?;
            self.in_flight.push(fly(number, seat, statement, binds, control).boxed());
            return Ok(());
        }
    }

    fn refused_begin(&mut self, number: usize, sql: String, error: &DbError) {
        if self.dialect() == Dialect::Sqlite && error.code == BUSY {
            self.park(number, sql);
            return;
        }
        self.count(error);
        self.push(number, What::Replied { sql, reply: error.to_string() });
        self.actors[number].machine.failed(error);
        self.settle(number);
    }

    fn count(&mut self, error: &DbError) {
        *self.errors.entry(error.code.clone()).or_default() += 1;
    }

    fn park(&mut self, number: usize, sql: String) {
        let actor = &mut self.actors[number];
        actor.sql.clone_from(&sql);
        if actor.state != State::Parked {
            actor.state = State::Parked;
            self.push(number, What::Blocks { sql });
        }
    }

    /// Until everybody who has something on its way has answered or is known to
    /// wait.
    async fn watch(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let ours: Vec<i64> = self.ids.iter().copied().flatten().collect();
        let mut grace = GRACE;
        loop {
            match tokio::time::timeout(grace, self.in_flight.next()).await {
                Ok(Some(reply)) => {
                    self.replied(reply);
                    grace = GRACE;
                    continue;
                }
                Ok(None) => return Ok(()),
                Err(_) => {}
            }
            let on_their_way: Vec<usize> = (0..self.actors.len())
                .filter(|number| self.world.seats[*number].is_none() && self.actors[*number].sent.is_some())
                .collect();
            let ids: Vec<i64> = on_their_way.iter().filter_map(|number| self.ids[*number]).collect();
            let waits = match &mut self.world.monitor {
                Some(monitor) => {
                    monitor.waiting(&ids, &ours).await.context("cannot see who waits for whom")?
                }
                None => Waits::new(),
            };
            // The answer may have come while the server was asked.
            if let Some(Some(reply)) = self.in_flight.next().now_or_never() {
                self.replied(reply);
                grace = GRACE;
                continue;
            }
            if ids.iter().all(|id| waits.contains_key(id)) && ids.len() == on_their_way.len() {
                for number in &on_their_way {
                    self.blocks(*number);
                }
                let nobody_can_move = self.actors.iter().all(|actor| actor.state != State::Idle);
                let circle = circle(&waits);
                if !nobody_can_move && circle.is_none() {
                    return Ok(());
                }
                self.note_deadlock(&on_their_way, circle);
                let left = deadline.saturating_duration_since(Instant::now());
                let reply = tokio::time::timeout(left, self.in_flight.next()).await;
                let reply = reply
                    .ok()
                    .flatten()
                    .context("clients wait for each other, and the server ends it not")?;
                self.replied(reply);
                grace = GRACE;
                continue;
            }
            ensure!(
                Instant::now() < deadline,
                "a statement neither answered nor waited for a lock within {} s: {}",
                PATIENCE.as_secs(),
                on_their_way.first().map_or("", |number| self.actors[*number].sql.as_str())
            );
            grace = (grace * 2).min(GRACE_MAX);
        }
    }

    fn blocks(&mut self, number: usize) {
        if self.actors[number].state != State::Waiting {
            self.actors[number].state = State::Waiting;
            self.actors[number].waits_since = Instant::now();
            let sql = self.actors[number].sql.clone();
            self.push(number, What::Blocks { sql });
        }
    }

    /// Who waits for whom, in their order as far as the server tells it.
    fn note_deadlock(&mut self, waiting: &[usize], circle: Option<Vec<i64>>) {
        let client_of = |id: &i64| self.ids.iter().position(|known| *known == Some(*id));
        let known: Option<Vec<usize>> = circle.and_then(|ids| ids.iter().map(client_of).collect());
        let circle = known.unwrap_or_else(|| waiting.to_vec());
        let waits: Vec<_> = circle.iter().map(|number| (*number, self.actors[*number].sql.clone())).collect();
        if waits.len() > 1 {
            self.push(circle[0], What::Deadlock(waits));
        }
    }

    fn replied(&mut self, (number, seat, reply): (usize, Seat, Result<Reply, DbError>)) {
        self.world.seats[number] = Some(seat);
        let is_sqlite = self.dialect() == Dialect::Sqlite;
        let actor = &mut self.actors[number];
        let sql = actor.sql.clone();
        let was_waiting = matches!(actor.state, State::Waiting | State::Parked);
        if let Err(error) = &reply
            && is_sqlite
            && error.code == BUSY
            && actor.before == Effect::default()
        {
            // In a transaction that has read, SQLite refuses at once: it will not wait.
            self.park(number, sql);
            return;
        }
        match actor.sent.take() {
            Some(Sent::Inside(effect)) => actor.before = actor.before.and(effect),
            Some(Sent::End) => actor.before = Effect::default(),
            Some(Sent::Alone) | None => {}
        }
        if let Err(error) = &reply {
            actor.error = Some(format!("{sql} (error {})", error.code));
        }
        let is_end = matches!(actor.machine.action(), Action::Commit | Action::Rollback);
        let lets_go = is_end || reply.is_err() || !actor.machine.in_transaction();
        actor.state = State::Idle;
        // SQLite's are asked one after the other, by us; and whoever is the victim of
        // a deadlock goes nowhere.
        let is_victim = reply.as_ref().err().is_some_and(is_deadlock);
        self.resumed += usize::from(was_waiting && !is_sqlite && !is_victim);
        self.raced |= self.resumed > 1;
        let said = said(actor, &reply);
        if lets_go {
            // Whoever waited for this one may wait for another one now.
            let waiting = self.actors.iter_mut().filter(|actor| actor.state == State::Waiting);
            waiting.for_each(|actor| actor.waits_since = Instant::now());
        }
        let actor = &mut self.actors[number];
        match reply {
            Ok(reply) => actor.machine.succeeded(reply),
            Err(error) => {
                actor.machine.failed(&error);
                if error.class == ErrorClass::Lost {
                    self.lost = Some(error.clone());
                }
                // It is one, though the server chose before anybody saw it wait.
                self.count(&error);
                if is_deadlock(&error) {
                    self.closed_deadlock(number, &sql);
                }
            }
        }
        let what =
            if was_waiting { What::Resumes { sql, reply: said } } else { What::Replied { sql, reply: said } };
        self.push(number, what);
        self.settle(number);
    }

    /// A deadlock that was ended in the moment it was closed.
    fn closed_deadlock(&mut self, victim: usize, sql: &str) {
        let is_noted = matches!(self.events.last(), Some(Event { what: What::Deadlock(_), .. }));
        if is_noted {
            return;
        }
        let closing = self.moves.last().map_or(victim, |last| last.client());
        let mut waits = self.waiting_before.clone();
        for number in [closing, victim] {
            if waits.iter().all(|(known, _)| *known != number) {
                let own = if number == victim { sql } else { &self.actors[number].sql };
                waits.push((number, own.to_owned()));
            }
        }
        self.push(victim, What::Deadlock(waits));
    }

    /// Decides what a refusal leads to, until the client has something to send or
    /// is done.
    fn settle(&mut self, number: usize) {
        loop {
            let tries = self.world.problem.tries;
            let actor = &mut self.actors[number];
            match actor.machine.action() {
                Action::Refused => {
                    actor.refused_alone |= actor.alone;
                    let is_flow = number >= self.world.problem.clients();
                    if (actor.attempts < tries && !is_flow) || actor.machine.is_undoing() {
                        actor.attempts += 1;
                        actor.alone = true;
                        actor.error = None;
                        actor.machine.retry();
                        self.push(number, What::Retries);
                    } else {
                        actor.machine.give_up();
                    }
                }
                Action::Done(outcome) => {
                    actor.state = State::Done(outcome);
                    actor.ended = self.moves.len();
                    self.push(number, What::Answered(outcome));
                    return;
                }
                _ => return,
            }
        }
    }

    /// SQLite keeps no queue: whoever was refused a lock asks again when somebody
    /// has moved.
    async fn ask_again(&mut self) -> Result<()> {
        loop {
            let parked: Vec<usize> =
                (0..self.actors.len()).filter(|number| self.actors[*number].state == State::Parked).collect();
            if parked.is_empty() {
                return Ok(());
            }
            let mut went_on = false;
            for number in &parked {
                self.send(*number).await?;
                self.watch().await?;
                went_on |= self.actors[*number].state != State::Parked;
            }
            let nobody_can_move = self.actors.iter().all(|actor| actor.state != State::Idle);
            if !went_on && !nobody_can_move {
                return Ok(());
            }
            if !went_on {
                // They would all wait for their whole timeout: the first one gives up.
                let busy = DbError {
                    class: ErrorClass::Locked,
                    code: BUSY.to_owned(),
                    message: "database is locked".to_owned(),
                };
                let actor = &mut self.actors[parked[0]];
                actor.state = State::Idle;
                actor.sent = None;
                actor.machine.failed(&busy);
                self.count(&busy);
                self.settle(parked[0]);
            }
        }
    }

    /// The client is gone: what it had open is rolled back, what it held by name
    /// is given back by the server.
    async fn crash(&mut self, number: usize) -> Result<()> {
        self.push(number, What::Crashes);
        self.crashes -= 1;
        let holds = self.actors[number].program.holds_sessions();
        let actor = &mut self.actors[number];
        actor.state = State::Crashed;
        actor.ended = self.moves.len();
        actor.before = Effect::default();
        if holds {
            let seat = self.world.seats[number].take().context("a client without a connection")?;
            seat.session.close().await;
            let ids: Vec<i64> = seat.id.into_iter().collect();
            self.world.database.sessions_gone(&ids, PATIENCE).await?;
        } else if actor.machine.in_transaction()
            && let Some(seat) = &mut self.world.seats[number]
        {
            seat.session.control("ROLLBACK").await?;
        }
        Ok(())
    }

    /// Gives up where nothing can be said any more: the connections are dropped,
    /// and the server rolls back what was open on them.
    pub(super) fn hang_up(&mut self) {
        self.in_flight = FuturesUnordered::new();
        self.world.seats.iter_mut().for_each(|seat| *seat = None);
    }

    /// Gives up in the middle: everything open is rolled back.
    pub(super) async fn abandon(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for number in 0..self.actors.len() {
                let holds = self.actors[number].program.holds_sessions();
                let is_open = self.actors[number].machine.in_transaction();
                let Some(seat) = &mut self.world.seats[number] else { continue };
                if is_open && self.actors[number].state != State::Crashed {
                    // What has failed is rolled back already.
                    seat.session.control("ROLLBACK").await.unwrap_or_default();
                }
                if holds && self.world.database.dialect() != Dialect::Postgres {
                    seat.session.control("DO RELEASE_ALL_LOCKS()").await.unwrap_or_default();
                }
                self.actors[number].state = State::Crashed;
            }
            if self.in_flight.is_empty() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.in_flight.next()).await {
                Ok(Some((number, seat, _))) => {
                    self.world.seats[number] = Some(seat);
                    self.actors[number].state = State::Idle;
                }
                Ok(None) => return Ok(()),
                Err(_) => bail!("a statement does not end, though everybody else has let go"),
            }
        }
    }

    /// Lets the background programs finish what is left, as a run does at its
    /// end.
    pub(super) async fn drain(&mut self) -> Result<()> {
        for number in self.world.problem.clients()..self.actors.len() {
            for round in 1..ROUNDS_MAX {
                let program = self.actors[number].program;
                let task = self.world.problem.task(self.variant, number, self.serial, round);
                self.actors[number].machine = Machine::new(program, task);
                self.actors[number].state = State::Idle;
                let (moves, events) = (self.moves.len(), self.events.len());
                while self.actors[number].state == State::Idle {
                    self.send(number).await?;
                    self.watch().await?;
                }
                self.moves.truncate(moves);
                self.flow_failed |= self.actors[number].state == State::Done(Outcome::Error);
                if self.actors[number].state != State::Done(Outcome::Done) {
                    // A look that found nothing to do explains nothing.
                    self.events.truncate(events);
                    break;
                }
            }
        }
        Ok(())
    }

    pub(super) fn told(&self) -> Vec<Told> {
        let clients = self.actors.iter().take(self.world.problem.clients());
        clients
            .map(|actor| {
                let outcome = match actor.state {
                    State::Done(outcome) => outcome,
                    _ => Outcome::Unknown,
                };
                let repeated = actor.attempts > 1 && actor.machine.futile_retries() == actor.attempts - 1;
                let futile = match actor.machine.stuck() {
                    Some(Stuck::SameValues) => Some(Futile::Loop),
                    Some(Stuck::TooManyJumps) => Some(Futile::Endless),
                    None if repeated => Some(Futile::Retries),
                    None if actor.refused_alone => Some(Futile::Alone),
                    None => None,
                };
                Told {
                    outcome,
                    invoked: 2 * actor.started.unwrap_or(0) as u64,
                    returned: 2 * actor.ended as u64 + 1,
                    futile: futile.filter(|_| outcome == Outcome::Conflict),
                    swallowed: actor.error.clone().filter(|_| outcome == Outcome::Deducted),
                }
            })
            .collect()
    }
}

async fn fly(
    number: usize,
    mut seat: Seat,
    statement: Option<Statement>,
    binds: Vec<Value>,
    control: &'static str,
) -> (usize, Seat, Result<Reply, DbError>) {
    let reply = match &statement {
        Some(statement) => seat.session.execute(statement, &binds).await,
        None => seat.session.control(control).await.map(|()| Reply::default()),
    };
    (number, seat, reply)
}

/// What a reply says, in a few words.
fn said(actor: &Actor<'_>, reply: &Result<Reply, DbError>) -> String {
    let reply = match reply {
        Err(error) => return format!("error {}: {}", error.code, crate::text::one_line(&error.message)),
        Ok(reply) => reply,
    };
    let Action::Execute(statement) = actor.machine.action() else { return "ok".to_owned() };
    if reply.matched > 0 && !statement.columns.is_empty() {
        let values = statement.columns.iter().zip(&reply.values);
        let values: Vec<String> =
            values.map(|(name, value)| format!("{name} = {}", value.to_text())).collect();
        return values.join(", ");
    }
    crate::text::count(reply.matched, "row")
}

fn is_deadlock(error: &DbError) -> bool {
    // 1205 and 55P03 are waits that took too long; 40001 is a snapshot.
    ["40P01", "1213", "3058"].contains(&error.code.as_str())
}

/// Sessions that wait for each other in a circle, each for the next.
fn circle(waits: &Waits) -> Option<Vec<i64>> {
    waits.keys().find_map(|start| {
        // Breadth first: the shortest way back to where it began.
        let mut ways: VecDeque<Vec<i64>> = VecDeque::from([vec![*start]]);
        let mut reached: BTreeSet<i64> = BTreeSet::new();
        while let Some(way) = ways.pop_front() {
            for next in waits.get(way.last()?).into_iter().flatten() {
                if next == start {
                    return Some(way);
                }
                if reached.insert(*next) {
                    ways.push_back(way.iter().copied().chain([*next]).collect());
                }
            }
        }
        None
    })
}
