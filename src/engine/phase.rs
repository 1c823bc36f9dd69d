//! One stretch of a run, with a clock and figures of its own: the warm-up, or
//! the measured window. It says which order starts next, and when.
//!
//! In an open loop the arrivals are fixed beforehand. A pacer counts those that
//! are due, clients take them up one by one in their order, and how late each
//! of them is by then is part of its latency. The backlog is a number, so it
//! cannot outgrow the memory.

use super::deliveries::Next;
use super::recorder::{Delivery, Figures, Recorder};
use super::stop::Stop;
use super::{Load, Shared};
use crate::exit::NO_THREADS;
use crate::workload::arrivals::{Arrivals, Pace, Profile};
use anyhow::{Context, Result};
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{Barrier, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How often the figures are taken out of the recorder.
const TICK: Duration = Duration::from_secs(1);

/// The pacer looks this often whether it is still wanted.
const PACER_NAP: Duration = Duration::from_millis(20);

/// One stretch of a run.
pub(crate) struct Phase {
    pub(super) recorder: Recorder,
    /// How long orders are started.
    window: Option<Duration>,
    gate: Gate,
    latency_limit: Option<Duration>,
    /// Where clients gather, so that the clock starts when all of them are there.
    ready: Barrier,
    /// Asked for when the clock starts.
    clock: Stop,
    /// When the last order was started.
    closed: OnceLock<Duration>,
    /// Tells those who wait for their turn that none will come.
    over: Stop,
}

enum Gate {
    /// Each client sends its next order when the last one is answered; so many
    /// clients over time.
    Closed(Profile),
    /// Orders start when they arrive.
    Open(Box<Open>),
}

struct Open {
    /// As many permits as arrivals are due and not taken up.
    due: Semaphore,
    /// The arrivals not taken up yet.
    arrivals: Mutex<Arrivals>,
    /// All of them, for the pacer.
    paced: Mutex<Option<Arrivals>>,
    pacer: Mutex<Option<Pacer>>,
}

/// The thread that makes arrivals due. It is there before the clock starts: a system that
/// gives no thread is found out before there is any load.
struct Pacer {
    begin: mpsc::Sender<Arc<Phase>>,
    /// Ends with the thread.
    ended: oneshot::Receiver<()>,
}

impl Pacer {
    fn start() -> Result<Self> {
        let (begin, phase) = mpsc::channel::<Arc<Phase>>();
        let (ending, ended) = oneshot::channel();
        let pace = move || {
            // Without a phase there will be none.
            if let Ok(phase) = phase.recv() {
                phase.pace();
            }
            drop(ending);
        };
        thread::Builder::new().name("pacer".to_owned()).spawn(pace).context(NO_THREADS)?;
        Ok(Self { begin, ended })
    }

    /// Lets it work; ends when the phase does.
    async fn pace(self, phase: Arc<Phase>) {
        if self.begin.send(phase).is_ok() {
            // Nothing is ever sent: the other end is dropped.
            drop(self.ended.await);
        }
    }
}

/// An order that a client is to send now.
pub(super) struct Start {
    pub(super) next: Next,
    /// When it was to start.
    pub(super) intended: Instant,
    /// How long ago that was, in an open loop.
    pub(super) lag: Option<Duration>,
}

/// What was counted since the last look, and in all.
pub struct Tick<'t> {
    /// Time since the measured window began.
    pub at: Duration,
    /// Time since the last look.
    pub span: Duration,
    /// What was counted in that time.
    pub interval: &'t Figures,
    /// What has been counted since the window began.
    pub total: &'t Figures,
}

/// Looks at the figures once a second; may say that the run is to end.
pub type Observer<'o> = dyn FnMut(&Tick<'_>) -> ControlFlow<()> + Send + 'o;

/// What a stretch came to.
pub(super) struct Stretch {
    pub(super) figures: Figures,
    /// From its start to the last answer.
    pub(super) elapsed: Duration,
    /// From its start to when the last order was started.
    pub(super) started_for: Duration,
}

impl Phase {
    /// The measured window of a load, or its warm-up: at the level that the
    /// window's first stage comes to.
    ///
    /// # Errors
    /// The system gives no thread for the pacer of an open loop.
    pub(super) fn new(load: &Load, programs: usize, seed: u64, warmup: Option<Duration>) -> Result<Self> {
        let profile = |profile: &Profile| match warmup {
            Some(duration) => Profile::constant(profile.first_level(), Some(duration)),
            None => profile.clone(),
        };
        let gate = match &load.pace {
            Pace::Closed { clients } => Gate::Closed(profile(clients)),
            Pace::Open { rate, spacing } => {
                let arrivals = Arrivals::new(profile(rate), *spacing, seed ^ u64::from(warmup.is_some()));
                let arrivals = arrivals.of_segment(load.segment);
                Gate::Open(Box::new(Open {
                    due: Semaphore::new(0),
                    paced: Mutex::new(Some(arrivals.clone())),
                    arrivals: Mutex::new(arrivals),
                    pacer: Mutex::new(Some(Pacer::start()?)),
                }))
            }
        };
        Ok(Self {
            recorder: Recorder::new(programs, load.latency_limit),
            window: warmup.or(load.duration),
            gate,
            latency_limit: load.latency_limit,
            ready: Barrier::new(load.concurrency + 1),
            closed: OnceLock::new(),
            clock: Stop::default(),
            over: Stop::default(),
        })
    }

    /// Makes arrivals due until the phase is over, in an open loop.
    async fn paced(self: Arc<Self>) {
        let Gate::Open(open) = &self.gate else { return };
        let pacer = open.pacer.lock().take();
        if let Some(pacer) = pacer {
            pacer.pace(Arc::clone(&self)).await;
        }
    }

    /// Sees every client through to its end: the clock starts when all of them are
    /// ready, and what has begun is finished.
    pub(super) async fn run(
        self: Arc<Self>,
        shared: &Shared,
        mut clients: JoinSet<()>,
        observer: &mut Observer<'_>,
    ) -> Stretch {
        self.ready.wait().await;
        let started = self.start();
        self.clock.ask();
        let pacer = tokio::spawn(Arc::clone(&self).paced());
        let mut total = Figures::new(shared.members.len());
        let mut last = Duration::ZERO;
        let mut look = |at: Duration, total: &mut Figures| {
            let mut interval = self.recorder.take();
            interval.merge_background(shared.background.take());
            total.merge(interval.clone());
            let tick = Tick { at, span: at.saturating_sub(last), interval: &interval, total };
            last = at;
            if observer(&tick).is_break() {
                shared.stop.ask();
            }
        };
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                ended = clients.join_next() => match ended {
                    Some(ended) => ended.expect("a client does not panic"),
                    None => break,
                },
                _ = ticks.tick() => look(started.elapsed(), &mut total),
                () = self.window_over(started), if self.closed.get().is_none() => self.close(),
                () = shared.stop.asked(), if self.closed.get().is_none() => self.close(),
            }
        }
        let elapsed = started.elapsed();
        self.close();
        pacer.await.expect("the pacer does not panic");
        self.skip_rest(shared);
        look(elapsed, &mut total);
        let started_for = self.closed.get().copied().unwrap_or(elapsed);
        Stretch { figures: total, elapsed, started_for }
    }

    /// Waits until the window is over; for ever, if something else ends it.
    async fn window_over(&self, started: Instant) {
        match self.window {
            Some(window) => tokio::time::sleep_until((started + window).into()).await,
            None => std::future::pending().await,
        }
    }

    fn start(&self) -> Instant {
        self.recorder.start()
    }

    /// Waits until the clock has started; returns when it did.
    pub(super) async fn begun(&self) -> Instant {
        self.clock.asked().await;
        self.start()
    }

    /// Waits until no more orders start.
    pub(super) async fn is_over(&self) {
        self.over.asked().await;
    }

    fn elapsed(&self) -> Duration {
        self.start().elapsed()
    }

    /// Starts no more orders.
    fn close(&self) {
        self.closed.get_or_init(|| self.elapsed());
        self.over.ask();
        if let Gate::Open(open) = &self.gate {
            open.due.close();
        }
    }

    /// Waits until every client is there.
    pub(super) async fn ready(&self) {
        self.ready.wait().await;
        self.start();
    }

    /// The next order that this client is to send; `None` when there is none.
    pub(super) async fn next(&self, shared: &Shared, client: usize) -> Option<Start> {
        match &self.gate {
            Gate::Closed(clients) => self.next_closed(shared, clients, client).await,
            Gate::Open(open) => self.next_open(shared, open, client).await,
        }
    }

    async fn next_closed(&self, shared: &Shared, clients: &Profile, client: usize) -> Option<Start> {
        loop {
            let now = self.elapsed();
            let is_over = self.over.is_asked()
                || shared.stop.is_asked()
                || self.window.is_some_and(|window| now >= window);
            #[expect(clippy::cast_precision_loss, reason = "a number of clients")]
            let in_whole = shared.load.segment.in_whole(client as u64) as f64;
            let turn = clients.next_above(in_whole, now);
            if is_over {
                self.close();
            }
            let turn = turn.filter(|_| !is_over)?;
            if turn <= now {
                let next = self.take_order(shared)?;
                return Some(Start { next, intended: self.start() + now, lag: None });
            }
            super::attempt::pause(turn.saturating_sub(now), &self.over).await;
        }
    }

    async fn next_open(&self, shared: &Shared, open: &Open, client: usize) -> Option<Start> {
        loop {
            open.due.acquire().await.ok()?.forget();
            let (at, next) = {
                let mut arrivals = open.arrivals.lock();
                (arrivals.next()?, self.take_order(shared)?)
            };
            let intended = self.start() + at;
            let lag = intended.elapsed();
            let is_over = self.window.is_some_and(|window| at + lag >= window);
            if !is_over && self.latency_limit.is_none_or(|limit| lag <= limit) {
                return Some(Start { next, intended, lag: Some(lag) });
            }
            self.skip(client, lag);
            if is_over {
                self.close();
                return None;
            }
        }
    }

    fn take_order(&self, shared: &Shared) -> Option<Next> {
        let next = shared.deliveries.next();
        if next.is_none() {
            self.close();
        }
        next
    }

    /// Counts an order that was taken up and never sent, because the run is
    /// being stopped or the server is lost.
    pub(super) fn not_sent(&self, shared: &Shared, client: usize, lag: Option<Duration>) {
        shared.unsent.fetch_add(1, Ordering::Relaxed);
        if let Some(lag) = lag {
            self.skip(client, lag);
        }
    }

    fn skip(&self, client: usize, lag: Duration) {
        self.recorder.shard(client).delivered(0, &Delivery::skipped(lag));
    }

    /// Counts what was due and nobody got to before the window closed.
    fn skip_rest(&self, shared: &Shared) {
        let (Gate::Open(open), Some(closed)) = (&self.gate, self.closed.get()) else { return };
        let mut arrivals = open.arrivals.lock();
        while let Some(at) = arrivals.next().filter(|at| at < closed) {
            if shared.deliveries.next().is_none() {
                return;
            }
            self.skip(0, closed.saturating_sub(at));
        }
    }

    /// Makes arrivals due at their times, until the phase is over. A thread of
    /// its own: the timers of the clients' runtime are too coarse.
    fn pace(&self) {
        let Gate::Open(open) = &self.gate else { return };
        let Some(arrivals) = open.paced.lock().take() else { return };
        for at in arrivals {
            if !self.sleep_until(at, open) {
                return;
            }
            open.due.add_permits(1);
        }
    }

    /// Whether the moment came before the end of the phase.
    fn sleep_until(&self, at: Duration, open: &Open) -> bool {
        loop {
            if open.due.is_closed() {
                return false;
            }
            let left = at.saturating_sub(self.elapsed());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(PACER_NAP));
        }
    }
}
