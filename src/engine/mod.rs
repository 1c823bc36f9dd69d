//! Fires orders at a database and keeps what came back.
//!
//! In reading order: [`Engine`] here is the run as a whole, [`worker`] one
//! client and one order, [`retry`] the pure rule for trying again, [`pool`]
//! the connections, [`recorder`] the figures, [`answers`] what each client was
//! told, [`stop`] how a run ends early.
//!
//! Architecture invariant: nothing in here knows the command line, a driver,
//! or how a report looks.

pub mod answers;
pub mod history;
pub mod pool;
pub mod recorder;
pub mod retry;
pub mod stop;
mod worker;

use crate::db::{Database, SessionSettings};
use crate::strategy::Program;
use crate::workload::orders::OrderStream;
use answers::AnswerBook;
use anyhow::Result;
use history::HistoryWriter;
use pool::SessionPool;
use recorder::{Figures, Live, Recorder};
use retry::RetryPolicy;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stop::Stop;

/// How much is asked of the database at once, and until when.
#[derive(Debug, Clone)]
pub struct Load {
    /// Concurrent clients.
    pub concurrency: usize,
    /// Connections that the clients share.
    pub connections: usize,
    /// Orders to send; `None` goes on until the duration has passed.
    pub orders: Option<u64>,
    /// How long to go on starting orders.
    pub duration: Option<Duration>,
    /// A pause between a program's read and its write.
    pub think: Duration,
}

/// A run, ready to start: every connection open, every statement prepared.
pub struct Engine {
    shared: Arc<Shared>,
}

/// What all clients of a run share.
pub(crate) struct Shared {
    pub(crate) program: Program,
    pub(crate) stream: OrderStream,
    pub(crate) retry: RetryPolicy,
    pub(crate) load: Load,
    pub(crate) pool: SessionPool,
    pub(crate) recorder: Recorder,
    pub(crate) answers: AnswerBook,
    pub(crate) history: Option<HistoryWriter>,
    pub(crate) stop: Stop,
    next: AtomicU64,
    started: std::sync::OnceLock<Instant>,
}

/// What a run is made of.
pub struct Parts {
    /// The compiled strategy, its statements completed by the database.
    pub program: Program,
    /// The orders.
    pub stream: OrderStream,
    /// The rule for trying again.
    pub retry: RetryPolicy,
    /// How much, how long.
    pub load: Load,
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
    /// From the first order's start to the last answer.
    pub elapsed: Duration,
    /// Why the run ended before its orders did, if the server was lost.
    pub lost_server: Option<String>,
    /// Whether the history file was completed.
    pub history: Result<()>,
}

impl Engine {
    /// Opens every connection and prepares every statement on each.
    ///
    /// # Errors
    /// A connection cannot be opened, or a statement does not prepare.
    pub async fn prepare(
        database: Database,
        settings: SessionSettings,
        parts: Parts,
        stop: Stop,
    ) -> Result<Self> {
        let pool = SessionPool::open(database, settings, parts.load.connections, &parts.program).await?;
        Ok(Self {
            shared: Arc::new(Shared {
                recorder: Recorder::new(),
                answers: AnswerBook::default(),
                history: parts.history,
                program: parts.program,
                stream: parts.stream,
                retry: parts.retry,
                load: parts.load,
                pool,
                stop,
                next: AtomicU64::new(0),
                started: std::sync::OnceLock::new(),
            }),
        })
    }

    /// The counters to show while the run goes on.
    pub fn live(&self) -> Arc<Live> {
        self.shared.recorder.live()
    }

    /// Runs to the end: starts the clock, waits for every client, closes the
    /// connections.
    pub async fn run(self) -> Finished {
        let shared = self.shared;
        let started = Instant::now();
        shared.started.get_or_init(|| started);
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..shared.load.concurrency {
            clients.spawn(worker::client(Arc::clone(&shared), number));
        }
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client does not panic");
        }
        let elapsed = started.elapsed();
        let shared = Arc::into_inner(shared).expect("every client has ended");
        let lost_server = shared.pool.lost_server();
        shared.pool.close().await;
        Finished {
            history: shared.history.map_or(Ok(()), HistoryWriter::finish),
            figures: shared.recorder.into_figures(),
            answers: shared.answers,
            stream: shared.stream,
            elapsed,
            lost_server,
        }
    }
}

impl Shared {
    /// The number of the next order to start, while there is one.
    fn next_order(&self) -> Option<u64> {
        let late = |duration| self.elapsed() >= duration;
        if self.stop.is_asked() || self.load.duration.is_some_and(late) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.load.orders.is_none_or(|orders| number < orders).then_some(number)
    }

    fn elapsed(&self) -> Duration {
        self.started.get().map_or(Duration::ZERO, Instant::elapsed)
    }
}
