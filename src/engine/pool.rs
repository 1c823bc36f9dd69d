//! The connections that clients share.
//!
//! A driver's own pool pings a connection at every turn; here a session goes
//! from hand to hand as it is, and the wait for one is measured.

use super::history::HistoryWriter;
use super::recorder::Recorder;
use crate::db::{Database, DbError, Session, SessionSettings, Statement};
use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many connections are opened at once.
const OPENING_AT_ONCE: usize = 16;

/// The shortest and the longest wait before a lost connection is opened again.
const REOPEN_DELAY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A fixed number of sessions, handed out first come, first served.
pub struct SessionPool {
    database: Database,
    settings: SessionSettings,
    statements: Vec<Statement>,
    upkeep: Upkeep,
    permits: Semaphore,
    idle: Mutex<Vec<Box<dyn Session>>>,
    lost: Mutex<Option<String>>,
    /// Every session that was ever opened, by the server's number for it.
    opened: Opened,
    next_node: AtomicUsize,
}

/// How long a lost connection is opened again and again before the server counts as
/// lost: while no other one works either, in any pool of the same database.
#[derive(Debug, Clone)]
pub struct Patience {
    limit: Duration,
    made: Instant,
    /// How many milliseconds later a session last came back sound.
    alive_ms: Arc<AtomicU64>,
}

impl Patience {
    /// So long.
    pub fn new(limit: Duration) -> Self {
        Self { limit, made: Instant::now(), alive_ms: Arc::default() }
    }

    fn is_alive(&self) {
        let alive = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.alive_ms.store(alive, Ordering::Relaxed);
    }

    /// When it is over for whoever has waited since then.
    fn deadline(&self, since: Instant) -> Instant {
        let alive = self.made + Duration::from_millis(self.alive_ms.load(Ordering::Relaxed));
        since.max(alive) + self.limit
    }
}

/// What goes with connections that are lost and opened again, alike for all pools of a
/// database.
#[derive(Debug, Clone)]
pub struct Upkeep {
    /// How long that is tried.
    pub patience: Patience,
    /// Counts the errors that keep them from being opened.
    pub recorder: Arc<Recorder>,
    /// Is told of each new session, where it is the stock's database.
    pub history: Option<Arc<HistoryWriter>>,
}

/// The server's numbers for the sessions that a pool has opened so far.
pub type Opened = Arc<Mutex<Vec<i64>>>;

/// A session on loan.
pub struct Lease<'p> {
    pool: &'p SessionPool,
    session: Option<Box<dyn Session>>,
    _permit: SemaphorePermit<'p>,
}

impl SessionPool {
    /// Opens the sessions and prepares every statement on each.
    ///
    /// # Errors
    /// A connection is refused, or a statement does not prepare.
    pub async fn open(
        database: Database,
        settings: SessionSettings,
        connections: usize,
        statements: Vec<Statement>,
        upkeep: Upkeep,
    ) -> Result<Self> {
        let opened = Arc::new(Mutex::new(Vec::with_capacity(connections)));
        let next = AtomicUsize::new(0);
        let opening =
            (0..connections).map(|_| open_prepared(&database, &settings, &statements, &opened, &next));
        let idle = stream::iter(opening).buffer_unordered(OPENING_AT_ONCE);
        let idle: Vec<(Box<dyn Session>, Option<i64>)> = idle.try_collect().await?;
        let (idle, ids): (Vec<_>, Vec<Option<i64>>) = idle.into_iter().unzip();
        upkeep.note(ids.into_iter().flatten().collect());
        Ok(Self {
            database,
            settings,
            statements,
            upkeep,
            permits: Semaphore::new(connections),
            idle: Mutex::new(idle),
            lost: Mutex::new(None),
            opened,
            next_node: next,
        })
    }

    /// Waits for a session; `None` once the server is lost.
    pub async fn lease(&self) -> Option<Lease<'_>> {
        let permit = self.permits.acquire().await.ok()?;
        let idle = self.idle.lock().pop();
        let session = match idle {
            Some(session) => session,
            // Boxed, as what is rare: else every client that waits holds room for it.
            None => Box::pin(self.reopen()).await?,
        };
        Some(Lease { pool: self, session: Some(session), _permit: permit })
    }

    /// Replaces a session that was lost.
    async fn reopen(&self) -> Option<Box<dyn Session>> {
        let since = Instant::now();
        let mut delay = REOPEN_DELAY.0;
        loop {
            let opened = open_prepared(
                &self.database,
                &self.settings,
                &self.statements,
                &self.opened,
                &self.next_node,
            );
            match opened.await {
                Ok((session, id)) => {
                    self.upkeep.note(id.into_iter().collect());
                    return Some(session);
                }
                Err(error) => {
                    if let Some(refused) = error.downcast_ref::<DbError>() {
                        self.upkeep.recorder.shard(0).failed(refused);
                    }
                    *self.lost.lock() = Some(error.to_string());
                }
            }
            if self.permits.is_closed() {
                return None;
            }
            let deadline = self.upkeep.patience.deadline(since);
            if Instant::now() >= deadline {
                break;
            }
            // Drawn, so that those who were cut off together do not come back together.
            let wait = delay.mul_f64(rand::random_range(0.5..1.0));
            tokio::time::sleep(wait.min(deadline.saturating_duration_since(Instant::now()))).await;
            delay = (delay * 2).min(REOPEN_DELAY.1);
        }
        self.permits.close();
        None
    }

    /// Whether there is another node to go to.
    pub fn is_cluster(&self) -> bool {
        self.database.url().node_count() > 1
    }

    /// Why the server counts as lost, if it does.
    pub fn lost_server(&self) -> Option<String> {
        if self.permits.is_closed() { self.lost.lock().clone() } else { None }
    }

    /// The sessions opened so far, as they go on being opened.
    pub fn opened(&self) -> Opened {
        Arc::clone(&self.opened)
    }

    /// Closes every session; returns their numbers, those of lost ones too.
    pub async fn close(self) -> Vec<i64> {
        let closing = self.idle.into_inner().into_iter().map(Session::close);
        stream::iter(closing).buffer_unordered(OPENING_AT_ONCE).collect::<Vec<()>>().await;
        std::mem::take(&mut self.opened.lock())
    }
}

async fn open_prepared(
    database: &Database,
    settings: &SessionSettings,
    statements: &[Statement],
    opened: &Mutex<Vec<i64>>,
    next_node: &AtomicUsize,
) -> Result<(Box<dyn Session>, Option<i64>)> {
    // The nodes of a cluster in turn.
    let node = next_node.fetch_add(1, Ordering::Relaxed);
    let (session, id) = database.open_prepared(node, settings, statements).await?;
    opened.lock().extend(id);
    Ok((session, id))
}

impl Upkeep {
    fn note(&self, sessions: Vec<i64>) {
        if let Some(history) = self.history.as_ref().filter(|_| !sessions.is_empty()) {
            history.sessions(&sessions);
        }
    }
}

impl Lease<'_> {
    /// The session itself.
    pub fn session(&mut self) -> &mut dyn Session {
        self.session.as_deref_mut().expect("a lease holds its session until it ends")
    }

    /// Ends the loan of a session whose connection is gone.
    pub fn discard(mut self) {
        self.session = None;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.pool.upkeep.patience.is_alive();
            self.pool.idle.lock().push(session);
        }
    }
}
