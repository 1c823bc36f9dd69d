//! A server is not waited for without an end.
//!
//! One that stands still, or a network that swallows what is sent, answers nothing at
//! all, and a driver waits for it for ever. Here every statement has a limit of its own,
//! far above what a lock or a large query may take; after it the connection counts as
//! lost, as if it had been cut.

use super::relay::Cut;
use super::{DbError, ErrorClass, Reply, RowHandler, Session, SessionSettings, Shape, Statement, Value};
use anyhow::Result;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// How long a statement may go without any answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// The same for what only reads: an audit may sort a large table before its first row.
const READ_WITHIN: Duration = Duration::from_secs(900);

/// How much longer than a limit of the server's own, which is the better answer.
const SPARE: Duration = Duration::from_secs(30);

/// How long a goodbye may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// The limit of a session with these settings.
fn limit(settings: &SessionSettings) -> Duration {
    let own = settings.statement_timeout.max(settings.lock_timeout);
    let least = if settings.read_only { READ_WITHIN } else { ANSWER_WITHIN };
    own.map_or(least, |own| least.max(own.saturating_add(SPARE)))
}

/// Waits for what a connection without a [`Session`] around it answers.
///
/// # Errors
/// It answers nothing.
pub(super) async fn answer<T>(answer: impl Future<Output = T>) -> Result<T, DbError> {
    tokio::time::timeout(ANSWER_WITHIN, answer).await.map_err(|_| no_answer(ANSWER_WITHIN))
}

fn no_answer(limit: Duration) -> DbError {
    DbError {
        class: ErrorClass::Lost,
        code: "no-answer".to_owned(),
        message: format!("the server gave no answer for {} s", limit.as_secs()),
    }
}

/// A session with an end to its patience.
pub(super) struct PatientSession {
    session: Box<dyn Session>,
    limit: Duration,
    /// Its server has not answered once: what else it says belongs to that statement.
    is_lost: bool,
}

impl PatientSession {
    pub(super) fn new(session: Box<dyn Session>, settings: &SessionSettings) -> Self {
        Self { session, limit: limit(settings), is_lost: false }
    }

    async fn within<T>(
        limit: Duration,
        is_lost: &mut bool,
        sent: impl Future<Output = Result<T, DbError>>,
    ) -> Result<T, DbError> {
        if *is_lost {
            return Err(no_answer(limit));
        }
        tokio::time::timeout(limit, sent).await.unwrap_or_else(|_| {
            *is_lost = true;
            Err(no_answer(limit))
        })
    }
}

#[async_trait::async_trait]
impl Session for PatientSession {
    async fn prepare(&mut self, statement: &Statement) -> Result<Shape, DbError> {
        Self::within(self.limit, &mut self.is_lost, self.session.prepare(statement)).await
    }

    async fn execute(&mut self, statement: &Statement, binds: &[Value]) -> Result<Reply, DbError> {
        Self::within(self.limit, &mut self.is_lost, self.session.execute(statement, binds)).await
    }

    async fn control(&mut self, sql: &str) -> Result<(), DbError> {
        Self::within(self.limit, &mut self.is_lost, self.session.control(sql)).await
    }

    /// The limit is that of the wait for the next row.
    async fn for_each_row(&mut self, sql: &str, on_row: &mut RowHandler<'_>) -> Result<()> {
        if self.is_lost {
            return Err(no_answer(self.limit).into());
        }
        let last = parking_lot::Mutex::new(Instant::now());
        let mut on_row = |row: &[Value]| {
            *last.lock() = Instant::now();
            on_row(row)
        };
        let mut reading = self.session.for_each_row(sql, &mut on_row);
        loop {
            let deadline = *last.lock() + self.limit;
            if let Ok(read) = tokio::time::timeout_at(deadline, &mut reading).await {
                return read;
            }
            if *last.lock() + self.limit <= Instant::now() {
                break;
            }
        }
        drop(reading);
        self.is_lost = true;
        Err(no_answer(self.limit).into())
    }

    fn cut_at_next(&mut self, cut: Cut) {
        self.session.cut_at_next(cut);
    }

    async fn close(self: Box<Self>) {
        if !self.is_lost {
            // The server notices a connection that is simply gone, too.
            drop(tokio::time::timeout(CLOSE_WITHIN, self.session.close()).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(4);

    /// Answers nothing any more after so many rows, which come slowly.
    struct Still {
        rows: usize,
    }

    #[async_trait::async_trait]
    impl Session for Still {
        async fn prepare(&mut self, _: &Statement) -> Result<Shape, DbError> {
            std::future::pending().await
        }

        async fn execute(&mut self, _: &Statement, _: &[Value]) -> Result<Reply, DbError> {
            std::future::pending().await
        }

        async fn control(&mut self, _: &str) -> Result<(), DbError> {
            std::future::pending().await
        }

        async fn for_each_row(&mut self, _: &str, on_row: &mut RowHandler<'_>) -> Result<()> {
            for _ in 0..self.rows {
                tokio::time::sleep(LIMIT / 4).await;
                on_row(&[Value::Int(1)])?;
            }
            std::future::pending().await
        }

        async fn close(self: Box<Self>) {
            std::future::pending::<()>().await;
        }
    }

    #[tokio::test]
    async fn a_server_that_answers_nothing_is_lost_in_the_end() {
        let limit = Duration::from_millis(20);
        let mut session = PatientSession { session: Box::new(Still { rows: 0 }), limit, is_lost: false };
        let error = session.control("COMMIT").await.unwrap_err();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Lost, "no-answer"));
        // Whatever it still says is the answer to another question.
        session.limit = Duration::MAX;
        assert!(session.execute(&Statement::default(), &[]).await.is_err());
        Box::new(session).close().await;
    }

    #[tokio::test]
    async fn rows_that_come_slowly_are_waited_for_and_others_are_not() {
        let still = Box::new(Still { rows: 5 });
        let mut session = PatientSession { session: still, limit: LIMIT, is_lost: false };
        let mut seen = 0;
        let mut count = |_: &[Value]| {
            seen += 1;
            Ok(())
        };
        let error = session.for_each_row("SELECT 1", &mut count).await.unwrap_err();
        assert_eq!((seen, error.downcast_ref::<DbError>().unwrap().class), (5, ErrorClass::Lost));
    }

    #[test]
    fn a_limit_of_the_servers_own_comes_first() {
        let settings = SessionSettings::default();
        assert_eq!(limit(&settings), ANSWER_WITHIN);
        let long = SessionSettings { lock_timeout: Some(Duration::from_secs(600)), ..settings.clone() };
        assert_eq!(limit(&long), Duration::from_secs(630));
        assert_eq!(limit(&SessionSettings { read_only: true, ..settings.clone() }), READ_WITHIN);
    }
}
