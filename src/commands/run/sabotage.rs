//! Lets happen to servers what a run asks for, at its times, and notes when it
//! did.
//!
//! What was begun is ended before the run goes on to its audit: a server that was
//! paused goes on, one that was killed is back.

use crate::db::database::SessionId;
use crate::db::relay::Wire;
use crate::db::{Database, DbError, Dialect, ErrorClass, Session, SessionSettings};
use crate::engine::recovery::Recovery;
use crate::engine::stop::Stop;
use crate::engine::{RedisKiller, Window};
use crate::fault::{Blow, TimedFault};
use crate::lab::LabServer;
use crate::report::measured::rounded;
use crate::report::series::FaultMark;
use anyhow::{Context, Result, anyhow, ensure};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Sessions that are taken from a server, at most.
const TAKEN_MAX: usize = 10_000;

/// How often connections that came free are taken.
const TAKE_EVERY: Duration = Duration::from_millis(1);

/// How often a lock is looked after.
const HOLD_LOOK: Duration = Duration::from_millis(100);

/// How soon a fault that is to happen once is tried again where another one was in its way.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// The number under which the death of Redis is known to the recovery.
const REDIS: usize = usize::MAX - 1;

/// Kills the Redis of a run, once, and notes when.
#[derive(Clone)]
pub(super) struct RedisDeath {
    kill: RedisKiller,
    struck: Arc<OnceLock<Instant>>,
}

impl RedisDeath {
    /// By what kills it.
    pub(super) fn new(kill: RedisKiller, recovery: &Arc<Recovery>) -> Self {
        let struck = Arc::new(OnceLock::new());
        let (recovery, noted) = (Arc::clone(recovery), Arc::clone(&struck));
        let kill = move || {
            if noted.set(Instant::now()).is_ok() {
                recovery.struck(REDIS, Instant::now());
                kill();
            }
        };
        Self { kill: Arc::new(kill), struck }
    }

    /// For whoever counts the orders after which it is to happen.
    pub(super) fn killer(&self) -> RedisKiller {
        Arc::clone(&self.kill)
    }
}

/// What a saboteur works on.
pub(super) struct Targets {
    pub(super) database: Database,
    /// The server, where this run has started it.
    pub(super) lab: Option<Arc<LabServer>>,
    pub(super) redis: Option<RedisDeath>,
    /// After how many answered orders it is to die.
    pub(super) kills_redis_after: Option<u64>,
    /// The way to the server, where it is ours.
    pub(super) wire: Option<Wire>,
    pub(super) window: Window,
    pub(super) stop: Stop,
    pub(super) recovery: Arc<Recovery>,
}

/// What goes wrong while a run goes on.
pub(super) struct Sabotage {
    work: Arc<Work>,
    tasks: JoinSet<Result<()>>,
}

struct Work {
    targets: Targets,
    seed: u64,
    marks: Mutex<Vec<(usize, FaultMark)>>,
    next: AtomicUsize,
    turn: tokio::sync::Mutex<()>,
}

impl Sabotage {
    /// Has every fault happen in its time.
    pub(super) fn start(faults: impl Iterator<Item = TimedFault>, targets: Targets, seed: u64) -> Self {
        let work = Arc::new(Work {
            targets,
            seed,
            marks: Mutex::default(),
            next: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for (number, fault) in faults.enumerate() {
            let work = Arc::clone(&work);
            tasks.spawn(async move {
                let carried_out = work.carry_out(fault, number as u64).await;
                carried_out.with_context(|| format!("--fault {fault} cannot be carried out"))
            });
        }
        Self { work, tasks }
    }

    /// Waits until what was begun is over; returns what happened, in order.
    ///
    /// # Errors
    /// A fault could not be carried out.
    pub(super) async fn finish(mut self) -> (Vec<FaultMark>, Result<()>) {
        let mut all = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.expect("a saboteur does not panic");
            if all.is_ok() {
                all = ended;
            }
        }
        let mut marks = std::mem::take(&mut *self.work.marks.lock());
        let targets = &self.work.targets;
        if let Some(struck) = targets.redis.as_ref().and_then(|redis| redis.struck.get()) {
            let mark = mark(Blow::KillRedis, targets.window.begun().await, *struck, *struck);
            marks.push((REDIS, mark));
        } else if let Some(after) = targets.kills_redis_after
            && all.is_ok()
            && !targets.stop.is_asked()
        {
            all = Err(anyhow!(
                "--fault kill-redis@{after} cannot be carried out: so many orders were not answered"
            ));
        }
        for (number, mark) in &mut marks {
            mark.recovered_s = targets.recovery.of(*number).map(|took| rounded(took.as_secs_f64(), 1e3));
        }
        marks.sort_by(|(_, one), (_, other)| one.at_s.total_cmp(&other.at_s));
        (marks.into_iter().map(|(_, mark)| mark).collect(), all)
    }
}

impl Work {
    async fn carry_out(&self, fault: TimedFault, number: u64) -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ number.rotate_left(48));
        let begun = self.targets.window.begun().await;
        let mut due = begun + fault.at;
        let mut has_struck = false;
        loop {
            tokio::select! {
                biased;
                () = self.targets.window.over() => {
                    // A run that was stopped early says so by itself.
                    ensure!(
                        has_struck || self.targets.stop.is_asked(),
                        "the run was over before it could strike: make it longer (--duration)"
                    );
                    return Ok(());
                }
                () = tokio::time::sleep_until(due.into()) => {}
            }
            has_struck |= self.strike(&fault, begun, &mut rng).await?;
            let now = Instant::now();
            due = match fault.next_due(due, now) {
                Some(next) => next,
                None if has_struck => return Ok(()),
                None => now + TRY_AGAIN,
            };
        }
    }

    /// Whether it struck.
    async fn strike(&self, fault: &TimedFault, begun: Instant, rng: &mut ChaCha8Rng) -> Result<bool> {
        // One session of many is not missed: somebody always succeeds.
        let number = (fault.blow != Blow::EndSession).then(|| self.next.fetch_add(1, Ordering::Relaxed));
        // What happens to the server itself happens one after the other.
        let turn = async { if fault.blow.is_of_server() { Some(self.turn.lock().await) } else { None } };
        let turn = tokio::select! {
            biased;
            // What strikes when nobody is there any more is met by nobody.
            () = self.targets.window.over() => return Ok(false),
            turn = turn => turn,
        };
        let struck = OnceLock::new();
        let recovers = |at: Instant| {
            if let Some(number) = number {
                self.targets.recovery.struck(number, at);
            }
        };
        let meets_some = |node: Option<usize>| {
            // What took so long to bring about is met by nobody, either.
            if self.targets.window.is_over() {
                return false;
            }
            let (at, _) = struck.get_or_init(|| (Instant::now(), node));
            if fault.blow != Blow::FillDisk {
                recovers(*at);
            }
            true
        };
        match self.deal(fault, &meets_some, rng).await {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            // Another fault was in the way: a server that is away has nothing to be taken.
            Err(error) if is_passing(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        drop(turn);
        // What notes its own death needs no mark of ours.
        let Some((struck, node)) = struck.into_inner() else { return Ok(fault.blow == Blow::KillRedis) };
        // What there was room for goes on for a while: an order tells nothing before the end.
        if fault.blow == Blow::FillDisk {
            recovers(struck);
        }
        let mark = FaultMark { node, ..mark(fault.blow, begun, struck, Instant::now()) };
        self.marks.lock().push((number.unwrap_or(usize::MAX), mark));
        Ok(true)
    }

    /// Lets a fault last, unless the run is being stopped.
    async fn last(&self, fault: &TimedFault) {
        tokio::select! {
            () = tokio::time::sleep(fault.lasts) => {}
            () = self.targets.stop.asked() => {}
        }
    }

    /// Keeps a lock while the fault lasts, or for as long as there is a session to keep it.
    async fn hold(&self, session: &mut dyn Session, fault: &TimedFault) {
        let over = Instant::now() + fault.lasts;
        while Instant::now() < over && !self.targets.stop.is_asked() {
            tokio::time::sleep_until(over.min(Instant::now() + HOLD_LOOK).into()).await;
            if session.control("SELECT 1").await.is_err() {
                return;
            }
        }
    }

    /// Lets a fault happen and sees it to its end; says so when it has struck, and learns
    /// whether anybody was there. False when there was nothing to strike.
    async fn deal(
        &self,
        fault: &TimedFault,
        struck: &(dyn Fn(Option<usize>) -> bool + Sync),
        rng: &mut ChaCha8Rng,
    ) -> Result<bool> {
        match fault.blow {
            Blow::KillServer => {
                let lab = self.lab()?;
                let node = rng.random_range(0..lab.nodes());
                lab.crash(node)?;
                // The server will give their numbers to others.
                self.targets.window.forget_sessions(|session| session.node == node);
                struck(of_cluster(lab, node));
                lab.is_back(node).await?;
            }
            Blow::PauseServer => {
                let lab = self.lab()?;
                let node = rng.random_range(0..lab.nodes());
                lab.pause(node)?;
                struck(of_cluster(lab, node));
                self.last(fault).await;
                lab.resume(node)?;
                lab.goes_on(node).await?;
            }
            Blow::EndSession => {
                let has_ended = self.end_session(rng).await?;
                if has_ended {
                    struck(None);
                }
                return Ok(has_ended);
            }
            Blow::TakeConnections => {
                let mut taken = Vec::new();
                self.take_connections(&mut taken).await?;
                if struck(None) {
                    self.keep_taking(fault, &mut taken).await;
                }
                for session in taken {
                    session.close().await;
                }
            }
            Blow::LockRows => {
                let mut session = self.lock_rows().await?;
                if struck(None) {
                    self.hold(session.as_mut(), fault).await;
                }
                // Gone with its server, it holds nothing.
                drop(session.control("ROLLBACK").await);
                session.close().await;
            }
            Blow::FillDisk => {
                let lab = self.lab()?;
                // Hundreds of megabytes are written meanwhile, and others have to go on.
                tokio::task::block_in_place(|| lab.fill_disk())?;
                if struck(None) {
                    self.last(fault).await;
                }
                lab.empty_disk()?;
                lab.is_back(0).await?;
            }
            Blow::KillRedis => {
                let redis = self.targets.redis.as_ref().context("there is no Redis of this run")?;
                (redis.kill)();
            }
            Blow::AddLatency(latency) => {
                let wire = self.targets.wire.as_ref().context("the way to the server is not ours")?;
                let lengthened = wire.lengthen(latency);
                struck(None);
                self.last(fault).await;
                drop(lengthened);
            }
        }
        Ok(true)
    }

    fn lab(&self) -> Result<&LabServer> {
        self.targets.lab.as_deref().context("only a lab server can be killed or paused: use --lab")
    }

    /// The server ends one of the run's sessions; false when it has none.
    async fn end_session(&self, rng: &mut ChaCha8Rng) -> Result<bool> {
        let known = self.targets.window.sessions();
        if known.is_empty() {
            return Ok(false);
        }
        let database = &self.targets.database;
        let SessionId { node, .. } = known[rng.random_range(0..known.len())];
        let mut session = database.open_on(node, &SessionSettings::default()).await?;
        let alive = database.sessions_beside(session.as_mut()).await?;
        let of_node = known.into_iter().filter(|session| session.node == node).map(|session| session.id);
        let (mut there, gone): (Vec<i64>, Vec<i64>) = of_node.partition(|id| alive.contains(id));
        let gone: HashSet<i64> = gone.into_iter().collect();
        self.targets.window.forget_sessions(|session| session.node == node && gone.contains(&session.id));
        if !there.is_empty() {
            there.sort_unstable();
            let chosen = there[rng.random_range(0..there.len())];
            let sql = match database.dialect() {
                Dialect::Postgres => format!("SELECT pg_terminate_backend({chosen}::int)"),
                _ => format!("KILL CONNECTION {chosen}"),
            };
            match session.control(&sql).await {
                // It may have ended by itself meanwhile.
                Err(error) if error.code != "1094" => return Err(error.into()),
                _ => {}
            }
        }
        session.close().await;
        Ok(!there.is_empty())
    }

    /// Takes connections until no node that is there has more to give.
    async fn take_connections(&self, taken: &mut Vec<Box<dyn Session>>) -> Result<()> {
        let (mut is_full, mut failure) = (false, None);
        for node in 0..self.targets.database.url().node_count() {
            let refused = loop {
                ensure!(taken.len() < TAKEN_MAX, "the server still gives connections after {TAKEN_MAX}");
                match self.targets.database.open_on(node, &SessionSettings::default()).await {
                    Ok(session) => taken.push(session),
                    Err(refused) => break refused,
                }
            };
            if is_of_full(&refused) {
                is_full = true;
            } else {
                failure.get_or_insert(refused);
            }
        }
        match failure {
            Some(failure) if !is_full => Err(failure.into()),
            _ => Ok(()),
        }
    }

    /// Takes those as well that come free while the fault lasts.
    async fn keep_taking(&self, fault: &TimedFault, taken: &mut Vec<Box<dyn Session>>) {
        let taking = async {
            loop {
                // Whatever else is in the way now may be gone the next time.
                drop(self.take_connections(taken).await);
                tokio::time::sleep(TAKE_EVERY).await;
            }
        };
        tokio::select! {
            () = taking => {}
            () = self.last(fault) => {}
        }
    }

    async fn lock_rows(&self) -> Result<Box<dyn Session>> {
        let mut session = self.open().await?;
        if self.targets.database.dialect() == Dialect::Sqlite {
            session.control("BEGIN IMMEDIATE").await?;
        } else {
            session.control("BEGIN").await?;
            let lock = "SELECT id FROM stockbench_sku ORDER BY id FOR UPDATE";
            // To the last row: some drivers stop reading at the first.
            session.for_each_row(lock, &mut |_| Ok(())).await?;
        }
        Ok(session)
    }

    async fn open(&self) -> Result<Box<dyn Session>> {
        let patient =
            SessionSettings { lock_timeout: Some(Duration::from_secs(60)), ..SessionSettings::default() };
        Ok(self.targets.database.open(&patient).await?)
    }
}

/// The number of a node, where there are several.
fn of_cluster(lab: &LabServer, node: usize) -> Option<usize> {
    (lab.nodes() > 1).then_some(node)
}

/// A fault as it is told of.
fn mark(blow: Blow, begun: Instant, struck: Instant, over: Instant) -> FaultMark {
    let seconds = |from: Instant, to: Instant| rounded(to.saturating_duration_since(from).as_secs_f64(), 1e3);
    FaultMark {
        at_s: seconds(begun, struck),
        fault: blow.as_str().to_owned(),
        node: None,
        lasted_s: seconds(struck, over),
        recovered_s: None,
    }
}

/// Whether it is for another fault, or for the load, that this one could not happen.
fn is_passing(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<DbError>();
    error.is_some_and(|error| {
        matches!(
            error.class,
            ErrorClass::Lost
                | ErrorClass::NeverStarted
                | ErrorClass::NotReady
                | ErrorClass::Retry
                | ErrorClass::Locked
                | ErrorClass::Cancelled
                | ErrorClass::Fatal
        )
    })
}

/// Whether the server refuses a connection because it has no more to give.
fn is_of_full(error: &DbError) -> bool {
    matches!(error.code.as_str(), "53300" | "1040" | "1203" | "1226")
}
