//! Fires orders at a database and keeps what came back.
//!
//! In reading order: [`Engine`] here is the run as a whole, [`phase`] one
//! stretch of it with a clock of its own, [`deliveries`] says which order comes
//! next, [`worker`] is one client, [`order`] one order by itself, [`attempt`]
//! sees one execution of a program through, [`clock`] the time that it is given, [`batch`] gathers orders that are
//! answered together, [`flow`] runs in the background, [`retry`] is the pure
//! rule for trying again, [`lane`] a thread of clients, [`pool`] its connections,
//! [`recorder`] the figures, [`kept`] their histograms as text, [`recovery`] how soon orders succeed again after a
//! fault, [`probe`] how long a task that is ready waits for its turn, [`answers`] what
//! each client was told, [`stop`] how a run ends early.
//!
//! Architecture invariant: nothing in here knows the command line, a driver,
//! or how a report looks.

pub mod answers;
mod attempt;
mod batch;
mod clock;
pub mod deliveries;
mod flow;
pub mod history;
pub mod kept;
mod lane;
mod order;
pub mod phase;
pub mod pool;
mod probe;
pub mod recorder;
pub mod recovery;
pub mod retry;
pub mod stop;
mod worker;

use crate::db::database::SessionId;
use crate::db::redis::Redis;
use crate::db::{Database, SessionSettings};
use crate::fault::Faults;
use crate::outcome::Outcome;
use crate::strategy::Program;
use crate::strategy::interpret::TOKENS_PER_TASK;
use crate::workload::arrivals::Pace;
use crate::workload::orders::OrderStream;
use crate::workload::{Order, Segment};
use answers::AnswerBook;
use anyhow::Result;
use attempt::Ended;
use batch::Batches;
use clock::Clock;
use deliveries::Deliveries;
use futures_util::FutureExt;
use history::HistoryWriter;
use lane::Lane;
use order::Asked;
use phase::{Observer, Phase, Stretch};
use pool::{Opened, Patience, SessionPool, Upkeep};
use probe::Probe;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recorder::{Delivery, Figures, LatencyUs, Live, Recorder, ShardHandle};
use recovery::Recovery;
use retry::RetryPolicy;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use stop::Stop;
use tokio::task::JoinSet;

/// How much is asked of the database at once, and until when.
#[derive(Debug, Clone)]
pub struct Load {
    /// Which part of the run this process has: orders, arrivals and clients of its own.
    pub segment: Segment,
    /// Concurrent clients of this process.
    pub concurrency: usize,
    /// Connections that these clients share, on each database.
    pub connections: usize,
    /// Threads that carry the clients, at most.
    pub threads: usize,
    /// When orders start.
    pub pace: Pace,
    /// How long the same load is put on beforehand, without being measured.
    pub warmup: Option<Duration>,
    /// An order answered later than this is late; in an open loop it is not
    /// even started when it is later already.
    pub latency_limit: Option<Duration>,
    /// Whether each statement is timed.
    pub per_statement: bool,
    /// Orders to send in the whole run; `None` goes on until the duration has passed.
    pub orders: Option<u64>,
    /// Share of the orders that are delivered more than once, in percent.
    pub duplicates: u8,
    /// How long to go on starting orders.
    pub duration: Option<Duration>,
    /// A pause between a program's read and its write.
    pub think: Duration,
    /// Longest wait for a connection.
    pub acquire_timeout: Option<Duration>,
    /// How long a transaction may take before it is rolled back.
    pub transaction_timeout: Option<Duration>,
    /// How long a lost connection is opened again and again before the server counts
    /// as lost.
    pub reconnect: Duration,
}

/// One program of a run, and its share of the orders.
pub struct Member {
    /// The compiled strategy, its statements completed by the database.
    pub program: Program,
    /// Its weight among the programs of the run.
    pub weight: u32,
    /// The rule for trying again.
    pub retry: RetryPolicy,
}

/// A service with a database of its own.
pub struct Service {
    /// Its name in the strategy's file.
    pub name: String,
    /// Its database.
    pub database: Database,
    /// Connections that it can give, at most.
    pub connections: usize,
}

/// Kills the Redis of a run.
pub type RedisKiller = Arc<dyn Fn() + Send + Sync>;

/// A run, ready to start: every connection open, every statement prepared.
pub struct Engine {
    shared: Arc<Shared>,
    warmup: Option<Arc<Phase>>,
    window: Arc<Phase>,
}

/// What all clients of a run share.
pub(crate) struct Shared {
    members: Vec<Member>,
    weights: u64,
    stream: OrderStream,
    load: Load,
    faults: Faults,
    lanes: Vec<Lane>,
    /// The flows' own connections, to the databases of a lane: a sweeper must not
    /// queue behind those it sweeps up after.
    flow_pools: Vec<SessionPool>,
    service_names: Vec<String>,
    redis: Option<Redis>,
    redis_killer: Option<RedisKiller>,
    /// What the background programs count, and whoever opens lost connections again.
    background: Arc<Recorder>,
    answers: AnswerBook,
    history: Option<Arc<HistoryWriter>>,
    stop: Stop,
    /// Asked for once every client has ended.
    drain: Stop,
    deliveries: Deliveries,
    /// Orders that a client had taken and never sent.
    unsent: AtomicU64,
    batches: Batches,
    tokens: AtomicU64,
    recovery: Arc<Recovery>,
    /// When the first order could start: the zero of the history's times.
    epoch: OnceLock<Instant>,
    clock: Clock,
}

/// What a run is made of.
pub struct Parts {
    /// The programs, and how the orders are shared among them.
    pub members: Vec<Member>,
    /// Services with databases of their own.
    pub services: Vec<Service>,
    /// Where scripts run.
    pub redis: Option<Redis>,
    /// How that Redis is killed, if a fault says so.
    pub redis_killer: Option<RedisKiller>,
    /// The orders.
    pub stream: OrderStream,
    /// How much, how long.
    pub load: Load,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// What has gone wrong, and whether orders succeed again.
    pub recovery: Arc<Recovery>,
    /// Where every answer is kept for a later audit.
    pub history: Option<HistoryWriter>,
}

/// What a run leaves behind.
pub struct Finished {
    /// The figures of all clients.
    pub figures: Figures,
    /// What the clients were told.
    pub answers: AnswerBook,
    /// The orders, which can be told again.
    pub stream: OrderStream,
    /// From the start of the measured window to the last answer.
    pub elapsed: Duration,
    /// From the start of the measured window to when its last order started.
    pub started_for: Duration,
    /// How long the warm-up took, until its last answer.
    pub warmed_for: Duration,
    /// How long clients that were ready waited for their turn, in microseconds.
    pub scheduling_delay: LatencyUs,
    /// Whether every order was sent as often as it was to be.
    pub all_sent: bool,
    /// Why the run ended before its orders did, if the server was lost.
    pub lost_server: Option<String>,
    /// The sessions that the run had, by service (the stock's has no name) and
    /// the server's numbers for them.
    pub sessions: Vec<(Option<String>, Vec<i64>)>,
    /// Whether the history file was completed.
    pub history: Result<()>,
}

/// Tasks whose tokens carry a run's number.
const TASKS_PER_RUN: i64 = 10_000_000_000;

impl Engine {
    /// Opens every connection and prepares every statement on each.
    ///
    /// # Errors
    /// A connection cannot be opened, a statement does not prepare, or the system gives
    /// no thread.
    pub async fn prepare(
        database: Database,
        settings: SessionSettings,
        parts: Parts,
        stop: Stop,
    ) -> Result<Self> {
        let flows: usize = parts.members.iter().map(|member| member.program.flows.len()).sum();
        let (mut flow_pools, mut service_names) = (Vec::new(), Vec::new());
        let scarcest = parts.services.iter().map(|service| service.connections).min();
        let connections = scarcest.map_or(parts.load.connections, |most| most.min(parts.load.connections));
        let mut lanes = Lane::start_all(&parts.load, connections)?;
        let in_all = lanes.len();
        let background = Arc::new(Recorder::new(parts.members.len(), None));
        let history = parts.history.map(Arc::new);
        let of_stock = std::iter::once((None, database, usize::MAX));
        let of_services = parts.services.into_iter();
        let of_services =
            of_services.map(|service| (Some(service.name), service.database, service.connections));
        for (service, database, most) in of_stock.chain(of_services) {
            let (mut statements, mut of_flows) = (Vec::new(), Vec::new());
            for program in parts.members.iter().map(|member| &member.program) {
                let own = |name: &String| program.services.iter().position(|(known, _)| known == name);
                let Some(index) = service.as_ref().map_or(Some(0), |name| own(name).map(|at| at + 1)) else {
                    continue;
                };
                statements.extend(program.statements_on(index).cloned());
                let programs = program.flows.iter().map(|flow| &flow.program);
                of_flows.extend(programs.flat_map(|flow| flow.statements_on(index)).cloned());
            }
            let connections = parts.load.connections.min(most);
            // A service may well be a replica that takes no writes.
            let settings =
                SessionSettings { writes_on_node: database.url().node_count() > 1, ..settings.clone() };
            let upkeep = Upkeep {
                patience: Patience::new(parts.load.reconnect),
                recorder: Arc::clone(&background),
                history: history.clone().filter(|_| service.is_none()),
            };
            for (number, lane) in lanes.iter_mut().enumerate() {
                let own = lane::share(connections, number, in_all);
                lane.open(database.clone(), settings.clone(), own, statements.clone(), upkeep.clone())
                    .await?;
            }
            flow_pools.push(SessionPool::open(database, settings, flows, of_flows, upkeep).await?);
            service_names.extend(service);
        }
        let seed = parts.stream.seed;
        let phase = |warmup| Phase::new(&parts.load, parts.members.len(), seed, warmup).map(Arc::new);
        let window = phase(None)?;
        let warmup = parts.load.warmup.map(|warmup| phase(Some(warmup))).transpose()?;
        let shared = Shared {
            background,
            weights: parts.members.iter().map(|member| u64::from(member.weight)).sum(),
            members: parts.members,
            answers: AnswerBook::default(),
            history,
            deliveries: Deliveries::new(parts.load.duplicates, seed, parts.load.segment),
            unsent: AtomicU64::new(0),
            recovery: parts.recovery,
            tokens: AtomicU64::new(0),
            stream: parts.stream,
            load: parts.load,
            faults: parts.faults,
            lanes,
            flow_pools,
            service_names,
            redis: parts.redis,
            redis_killer: parts.redis_killer,
            stop,
            drain: Stop::default(),
            batches: Batches::default(),
            epoch: OnceLock::new(),
            clock: Clock::start(SystemTime::now),
        };
        Ok(Self { shared: Arc::new(shared), warmup, window })
    }

    /// Starts the background programs, and puts the load on for as long as its
    /// warm-up is to last; ends when all of that is answered.
    ///
    /// Orders of the warm-up are sold and audited like all others; nothing of
    /// them is in the figures.
    pub async fn warm_up(self) -> Warm {
        let Self { shared, warmup, window } = self;
        shared.epoch();
        let mut flows = JoinSet::new();
        for (member, program) in shared.members.iter().map(|member| &member.program).enumerate() {
            for flow in 0..program.flows.len() {
                flows.spawn(flow::run(Arc::clone(&shared), member, flow));
            }
        }
        let mut warmed_for = Duration::ZERO;
        if let Some(phase) = warmup {
            let clients = clients(&shared, &phase);
            warmed_for = phase.run(&shared, clients, &mut |_| ControlFlow::Continue(())).await.elapsed;
        }
        Warm { shared, window, flows, warmed_for }
    }
}

/// When the measured window begins and ends, and the sessions in it.
#[derive(Clone)]
pub struct Window {
    phase: Arc<Phase>,
    sessions: Vec<Opened>,
}

impl Window {
    /// Waits until it begins; returns when that was.
    pub async fn begun(&self) -> Instant {
        self.phase.begun().await
    }

    /// Waits until no more orders start.
    pub async fn over(&self) {
        self.phase.is_over().await;
    }

    /// Whether no more orders start.
    pub fn is_over(&self) -> bool {
        self.over().now_or_never().is_some()
    }

    /// These of the run's sessions are gone.
    pub fn forget_sessions(&self, are_gone: impl Fn(SessionId) -> bool) {
        let stays = |number: &i64| !are_gone(SessionId::from_number(*number));
        self.sessions.iter().for_each(|opened| opened.lock().retain(stays));
    }

    /// The run's sessions on the stock's database that were opened so far and are not
    /// known to be gone.
    pub fn sessions(&self) -> Vec<SessionId> {
        let of_pool = |opened: &Opened| opened.lock().iter().copied().map(SessionId::from_number).collect();
        self.sessions.iter().flat_map::<Vec<SessionId>, _>(of_pool).collect()
    }
}

/// A run whose measured window is about to begin.
pub struct Warm {
    shared: Arc<Shared>,
    window: Arc<Phase>,
    flows: JoinSet<()>,
    warmed_for: Duration,
}

impl Warm {
    /// The counters to show while the measured window goes on.
    pub fn live(&self) -> Arc<Live> {
        self.window.recorder.live()
    }

    /// The measured window, for whoever has to do with its times.
    pub fn window(&self) -> Window {
        let lanes = self.shared.lanes.iter().map(|lane| &lane.pools[0]);
        let sessions = lanes.chain(self.shared.flow_pools.first()).map(SessionPool::opened).collect();
        Window { phase: Arc::clone(&self.window), sessions }
    }

    /// Runs to the end: starts the clock, waits for every client and then for
    /// every background program, closes the connections. The observer looks at
    /// the figures once a second.
    pub async fn run(self, observer: &mut Observer<'_>) -> Finished {
        let Self { shared, window, mut flows, warmed_for } = self;
        shared.deliveries.begin(shared.load.orders);
        let clients = clients(&shared, &window);
        let probe = Probe::start(shared.lanes.iter().map(Lane::runtime));
        let Stretch { mut figures, elapsed, started_for } = window.run(&shared, clients, observer).await;
        let scheduling_delay = probe.finish().await;
        shared.drain.ask();
        while let Some(ended) = flows.join_next().await {
            ended.expect("a flow does not panic");
        }
        figures.merge_background(shared.background.take());
        let shared = Arc::into_inner(shared).expect("every client and every flow has ended");
        let mut pools = shared.lanes.iter().flat_map(|lane| &lane.pools);
        let lost_server = pools.find_map(SessionPool::lost_server);
        let mut sessions = Vec::new();
        for pool in shared.flow_pools {
            sessions.push(pool.close().await);
        }
        for lane in shared.lanes {
            for (all, own) in sessions.iter_mut().zip(lane.close().await) {
                all.extend(own);
            }
        }
        let history = shared.history.map(|history| Arc::into_inner(history).expect("every pool is closed"));
        let service_names = std::iter::once(None).chain(shared.service_names.into_iter().map(Some));
        Finished {
            history: history.map_or(Ok(()), HistoryWriter::finish),
            figures,
            answers: shared.answers,
            stream: shared.stream,
            elapsed,
            started_for,
            warmed_for,
            scheduling_delay,
            all_sent: shared.deliveries.is_exhausted() && shared.unsent.into_inner() == 0,
            lost_server,
            sessions: service_names.zip(sessions).collect(),
        }
    }
}

/// Every client of a phase, on its way to where they gather.
fn clients(shared: &Arc<Shared>, phase: &Arc<Phase>) -> JoinSet<()> {
    let mut clients = JoinSet::new();
    for number in 0..shared.load.concurrency {
        let client = worker::client(Arc::clone(shared), Arc::clone(phase), number);
        clients.spawn_on(client, shared.lane_of(number).runtime());
    }
    clients
}

impl Shared {
    /// The lane of a client.
    fn lane_of(&self, client: usize) -> &Lane {
        &self.lanes[client % self.lanes.len()]
    }

    /// The program that handles an order, however often it is delivered.
    fn member_of(&self, number: u64) -> usize {
        if self.members.len() == 1 {
            return 0;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.stream.seed.rotate_left(17));
        rng.set_stream(number);
        let mut left = rng.random_range(0..self.weights);
        for (index, member) in self.members.iter().enumerate() {
            match left.checked_sub(member.weight.into()) {
                Some(rest) => left = rest,
                None => return index,
            }
        }
        0
    }

    /// A number that no other task has, times the attempts it may take.
    fn token(&self) -> i64 {
        let number = self.load.segment.in_whole(self.tokens.fetch_add(1, Ordering::Relaxed));
        let task = self.stream.run_id.wrapping_mul(TASKS_PER_RUN).wrapping_add_unsigned(number);
        task.wrapping_mul(TOKENS_PER_TASK)
    }

    /// The pool of a program's service.
    fn pool_of(&self, program: &Program, service: usize) -> usize {
        let name = service.checked_sub(1).and_then(|index| program.services.get(index));
        let pool = name.and_then(|(name, _)| self.service_names.iter().position(|known| known == name));
        pool.map_or(0, |index| index + 1)
    }

    /// Keeps an answer: for the audit, the report and the history file.
    fn answered(
        &self,
        recorder: ShardHandle<'_>,
        number: u64,
        order: &Order,
        delivery: &Delivery,
        invoked: Duration,
    ) {
        self.answers.note(number, delivery.outcome, delivery.recorded);
        let before = recorder.delivered(order.id, delivery);
        if let Some(history) = &self.history {
            history.add(order, delivery, invoked, None);
        }
        if self.faults.kills_redis_after().is_some_and(|after| before + 1 >= after)
            && let Some(kill) = &self.redis_killer
        {
            kill();
        }
    }

    /// Keeps that the answer to an order was lost, before it is asked for again under
    /// the same id: the ledger tells what the first attempt came to.
    fn lost_answer(&self, asked: Asked<'_>, ended: &Ended, invoked: Duration) {
        self.answers.note(asked.number, Outcome::Unknown, None);
        if let Some(history) = &self.history {
            let lost = Delivery::lost(asked.member, asked.started.elapsed(), ended.attempts);
            history.add(asked.order, &lost, invoked, None);
        }
    }

    /// The same for what was ordered again under a new id.
    fn answered_again(&self, asked: Asked<'_>, delivery: &Delivery, invoked: Duration) {
        self.answers.note_again(asked.number, delivery.outcome, delivery.recorded);
        asked.recorder.delivered(asked.order.id, delivery);
        if let Some(history) = &self.history {
            history.add(asked.order, delivery, invoked, Some(self.stream.order(asked.number).id));
        }
    }

    fn epoch(&self) -> Instant {
        *self.epoch.get_or_init(Instant::now)
    }
}
