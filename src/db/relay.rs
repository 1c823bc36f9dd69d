//! A stretch of network between a client and its server that we own: it can be
//! long (loopback hides what a round trip costs), and it can be cut around a
//! statement, so that the server has done what the client never hears of.
//!
//! One listener for each session, on loopback: what goes through it belongs to
//! that session alone, whatever is in it (TLS, too).

use super::{DbError, ErrorClass, Reply, RowHandler, Session, Shape, Statement, Value};
use anyhow::Result;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Where a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Before the server has heard of the statement.
    Before,
    /// When the server has heard of it and not answered yet.
    During,
    /// When the server has answered, and the answer has not arrived.
    After,
}

/// The network between clients and server, one for all sessions of a run.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    rtt: Duration,
    added_us: Arc<AtomicU64>,
}

impl Wire {
    /// On which every round trip takes so much longer than the network's own.
    pub fn new(rtt: Duration) -> Self {
        Self { rtt, ..Self::default() }
    }

    /// Has every round trip take so much longer still, in whole microseconds, on what is
    /// open and on what is opened, until what it returns is dropped.
    pub fn lengthen(&self, by: Duration) -> Lengthened {
        let us = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.added_us.fetch_add(us, Ordering::Relaxed);
        Lengthened { us, added_us: Arc::clone(&self.added_us) }
    }

    /// How much longer a round trip takes now.
    pub(super) fn delay(&self) -> Duration {
        self.rtt + Duration::from_micros(self.added_us.load(Ordering::Relaxed))
    }
}

/// A network that is longer than usual as long as this is kept.
#[must_use]
#[derive(Debug)]
pub struct Lengthened {
    us: u64,
    added_us: Arc<AtomicU64>,
}

impl Drop for Lengthened {
    fn drop(&mut self) {
        self.added_us.fetch_sub(self.us, Ordering::Relaxed);
    }
}

/// Chunks that are on their way at once in one direction.
const ON_THE_WAY: usize = 64;

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// What is to happen to the next chunk; 0 is nothing.
const CUT_BEFORE: u8 = 1;
const CUT_DURING: u8 = 2;
const CUT_AFTER: u8 = 3;
/// The statement has gone through, and its answer must not.
const CUT_ANSWER: u8 = 4;

/// Opens a relay to a server that takes one connection; returns its port and the
/// way to cut it.
///
/// # Errors
/// There is no free port, or the server does not answer.
pub(super) async fn open(host: &str, port: u16, wire: &Wire) -> io::Result<(u16, Scissors)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let own_port = listener.local_addr()?.port();
    let server = TcpStream::connect((host, port)).await?;
    server.set_nodelay(true)?;
    let orders = Arc::new(AtomicU8::new(0));
    let scissors = Scissors { orders: Arc::clone(&orders) };
    let wire = wire.clone();
    tokio::spawn(async move {
        let Ok((client, _)) = listener.accept().await else { return };
        drop(listener);
        if client.set_nodelay(true).is_err() {
            return;
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // The way back takes all of the round trip: whichever half it is makes no
        // difference to anybody who waits for an answer.
        let there = pass(
            from_client,
            to_server,
            || Duration::ZERO,
            |now| match now {
                CUT_BEFORE => Passage::Cut,
                CUT_DURING => Passage::LastOne,
                CUT_AFTER => {
                    orders.store(CUT_ANSWER, Ordering::Release);
                    Passage::Free
                }
                _ => Passage::Free,
            },
            &orders,
        );
        let back = pass(
            from_server,
            to_client,
            || wire.delay(),
            |now| match now {
                CUT_ANSWER => Passage::Cut,
                _ => Passage::Free,
            },
            &orders,
        );
        // Whichever direction ends, both ends of the connection are dropped.
        tokio::select! {
            () = there => {}
            () = back => {}
        }
    });
    Ok((own_port, scissors))
}

/// What becomes of a chunk.
enum Passage {
    Free,
    /// It is passed on, and nothing after it.
    LastOne,
    Cut,
}

/// Passes chunks on, each so much later than it came.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: impl Fn() -> Duration,
    passage: impl Fn(u8) -> Passage,
    orders: &AtomicU8,
) {
    let (tell, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let reading = async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(length) => length,
            };
            let passage = passage(orders.load(Ordering::Acquire));
            if matches!(passage, Passage::Cut) {
                return;
            }
            let due = Instant::now() + delay();
            if tell.send((due, buffer[..length].to_vec())).await.is_err()
                || matches!(passage, Passage::LastOne)
            {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    // What was read before the end is still written.
    tokio::join!(reading, writing);
}

/// Cuts a connection.
#[derive(Debug)]
pub(super) struct Scissors {
    orders: Arc<AtomicU8>,
}

impl Scissors {
    fn at_next(&self, cut: Cut) {
        let order = match cut {
            Cut::Before => CUT_BEFORE,
            Cut::During => CUT_DURING,
            Cut::After => CUT_AFTER,
        };
        self.orders.store(order, Ordering::Release);
    }
}

/// A session whose connection goes through a relay.
pub(super) struct WiredSession {
    pub(super) session: Box<dyn Session>,
    pub(super) scissors: Scissors,
}

#[async_trait::async_trait]
impl Session for WiredSession {
    async fn prepare(&mut self, statement: &Statement) -> Result<Shape, DbError> {
        self.session.prepare(statement).await
    }

    async fn execute(&mut self, statement: &Statement, binds: &[Value]) -> Result<Reply, DbError> {
        self.session.execute(statement, binds).await
    }

    async fn control(&mut self, sql: &str) -> Result<(), DbError> {
        self.session.control(sql).await
    }

    async fn for_each_row(&mut self, sql: &str, on_row: &mut RowHandler<'_>) -> Result<()> {
        self.session.for_each_row(sql, on_row).await
    }

    fn is_wired(&self) -> bool {
        true
    }

    fn cut_at_next(&mut self, cut: Cut) {
        self.scissors.at_next(cut);
    }

    async fn close(self: Box<Self>) {
        self.session.close().await;
    }
}

/// A relay that cannot be opened is a server that cannot be reached.
pub(super) fn unreachable(error: &io::Error) -> DbError {
    DbError { class: ErrorClass::Lost, code: "io".to_owned(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lengthens_a_wire_adds_up_and_is_gone_with_its_end() {
        let ms = Duration::from_millis;
        let wire = Wire::new(ms(1));
        let of_session = wire.clone();
        let first = wire.lengthen(ms(30));
        let second = wire.lengthen(ms(40));
        assert_eq!(of_session.delay(), ms(71));
        drop(first);
        assert_eq!(of_session.delay(), ms(41));
        drop(second);
        assert_eq!(of_session.delay(), ms(1));
    }
}
