//! The threads that carry the clients.
//!
//! Each lane is a runtime of one thread, with its own share of the clients and
//! of the connections. What a client does from one order to the next then never
//! leaves its thread: threads that share their tasks wake each other at almost
//! every reply, and that costs as much as the work itself.

use super::Load;
use super::pool::{SessionPool, Upkeep};
use crate::db::{Database, SessionSettings, Statement};
use crate::exit::NO_THREADS;
use anyhow::{Context, Result};
use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A lane with fewer connections sleeps more often than it works.
const CONNECTIONS_PER_LANE: usize = 8;

/// One thread, and what the clients on it share.
pub(super) struct Lane {
    /// The connections: the stock's database first, then the services'.
    pub(super) pools: Vec<SessionPool>,
    runtime: Handle,
    /// The thread ends when this is dropped.
    alive: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Lane {
    /// As many lanes as are of use to a load on these connections; the fewest
    /// that one of its databases can give.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start_all(load: &Load, connections: usize) -> Result<Vec<Self>> {
        let useful = connections.div_ceil(CONNECTIONS_PER_LANE);
        let count = load.threads.min(useful).min(load.concurrency).max(1);
        (0..count).map(|_| Self::start().context(NO_THREADS)).collect()
    }

    fn start() -> io::Result<Self> {
        let (alive, ended) = oneshot::channel::<()>();
        let (ready, made) = mpsc::channel();
        // The runtime is made on its thread: without one it could not even be dropped here.
        let carry = move || match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                if ready.send(Ok(runtime.handle().clone())).is_ok() {
                    // Nothing is ever sent: the other end is dropped.
                    drop(runtime.block_on(ended));
                }
            }
            // Nobody waits for it but us.
            Err(error) => drop(ready.send(Err(error))),
        };
        let thread = thread::Builder::new().name("clients".to_owned()).spawn(carry)?;

        let runtime = made.recv().map_err(io::Error::other)??;
        Ok(Self { pools: Vec::new(), runtime, alive, thread })
    }

    /// Opens connections to one more database. They belong to the runtime that
    /// they are opened on.
    ///
    /// # Errors
    /// A connection is refused, or a statement does not prepare.
    pub(super) async fn open(
        &mut self,
        database: Database,
        settings: SessionSettings,
        connections: usize,
        statements: Vec<Statement>,
        upkeep: Upkeep,
    ) -> Result<()> {
        let opening = self.runtime.spawn(async move {
            SessionPool::open(database, settings, connections, statements, upkeep).await
        });
        self.pools.push(opening.await.context("a lane ended early")??);
        Ok(())
    }

    /// The runtime of this lane's clients.
    pub(super) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Closes the connections and ends the thread; returns the sessions' numbers,
    /// by database.
    pub(super) async fn close(self) -> Vec<Vec<i64>> {
        let mut sessions = Vec::with_capacity(self.pools.len());
        for pool in self.pools {
            sessions.push(pool.close().await);
        }
        drop(self.alive);
        self.thread.join().expect("a lane does not panic");
        sessions
    }
}

/// What falls to one of several when so many are dealt out in turn.
pub(super) const fn share(all: usize, number: usize, of: usize) -> usize {
    (all + of - 1 - number) / of
}
