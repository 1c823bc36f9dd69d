//! Sessions on a connection that somebody else may be given next, as behind a pooler.
//!
//! A pooler such as PgBouncer hands a backend on after each transaction, with whatever was
//! set on it. So nothing here outlives a transaction: its settings are sent with its BEGIN,
//! a statement of its own is wrapped in one where it needs any, and no statement stays
//! prepared unless the pooler keeps statements apart itself.
//!
//! Sessions that only look are all of this kind, so that an audit is safe even where a
//! pooler was not recognised.

use super::postgres::{self, PostgresSession};
use super::{
    DatabaseUrl, DbError, ErrorClass, Pooler, Reply, RowHandler, Session, SessionSettings, Shape, Statement,
    Value, first_row,
};
use anyhow::Result;
use std::time::{Duration, Instant};

/// How often a statement is prepared under another name, where what somebody else left
/// prepared on the backend has the one before.
const NAMES_TRIED: usize = 100;

/// The code of a name that is taken on the backend.
const NAME_TAKEN: &str = "42P05";

/// A session whose settings last for a transaction.
pub(super) struct PooledSession {
    session: PostgresSession,
    settings: TransactionSettings,
    /// Whether statements may stay prepared.
    prepares: bool,
    in_transaction: bool,
}

/// What is set at the beginning of each transaction.
struct TransactionSettings {
    /// Sent with a BEGIN that names no isolation level of its own.
    isolation: Option<String>,
    /// Sent with every BEGIN.
    others: Vec<String>,
}

impl TransactionSettings {
    fn of(settings: &SessionSettings) -> Self {
        let isolation =
            settings.isolation.map(|level| format!("SET TRANSACTION ISOLATION LEVEL {}", level.as_sql()));

        let mut others = Vec::new();
        if settings.read_only {
            others.push("SET TRANSACTION READ ONLY".to_owned());
        }
        if let Some(timeout) = settings.lock_timeout {
            others.push(format!("SET LOCAL lock_timeout = {}", timeout.as_millis().max(1)));
        }
        if let Some(timeout) = settings.statement_timeout {
            others.push(format!("SET LOCAL statement_timeout = {}", timeout.as_millis().max(1)));
        }

        Self { isolation, others }
    }

    fn is_empty(&self) -> bool {
        self.isolation.is_none() && self.others.is_empty()
    }

    /// A BEGIN together with them, in one message.
    fn begin(&self, begin: &str) -> String {
        let names_level = begin.to_uppercase().contains("ISOLATION");
        let isolation = self.isolation.as_ref().filter(|_| !names_level);
        let settings = isolation.into_iter().chain(&self.others).map(String::as_str);
        std::iter::once(begin).chain(settings).collect::<Vec<_>>().join("; ")
    }
}

/// What a text that is sent as it is does to the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boundary {
    Begins,
    Ends,
    None,
}

impl Boundary {
    fn of(sql: &str) -> Self {
        let upper = sql.trim_start().to_uppercase();
        let is = |word: &str| {
            let rest = upper.strip_prefix(word);
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
        };

        if is("BEGIN") || is("START TRANSACTION") {
            Self::Begins
        } else if is("COMMIT") || is("END") || is("ROLLBACK") && !upper.contains(" TO ") {
            Self::Ends
        } else {
            Self::None
        }
    }
}

impl PooledSession {
    pub(super) fn new(mut session: PostgresSession, settings: &SessionSettings) -> Self {
        let prepares = settings.pooler.is_some_and(|pooler| pooler.prepares) && !settings.read_only;
        session.persistent = prepares;
        Self { session, settings: TransactionSettings::of(settings), prepares, in_transaction: false }
    }

    /// Whether a statement outside a transaction needs one around it: for the settings, or
    /// because one that is not kept prepared takes two messages, which must reach one backend.
    fn needs_transaction(&self) -> bool {
        !(self.in_transaction || self.prepares && self.settings.is_empty())
    }

    async fn begin(&mut self, begin: &str) -> Result<(), DbError> {
        let sent = self.session.control(&self.settings.begin(begin)).await;

        // A setting that is refused leaves the transaction open, and of no use.
        if let Err(error) = sent {
            if error.class != ErrorClass::Lost {
                self.session.control("ROLLBACK").await?;
            }
            return Err(error);
        }
        self.in_transaction = true;
        Ok(())
    }

    /// Ends the transaction; what the driver prepared for itself goes before.
    async fn end(&mut self, sql: &str) -> Result<(), DbError> {
        if !self.prepares {
            self.session.forget_statements().await?;
        }
        self.in_transaction = false;
        self.session.control(sql).await
    }

    /// Ends a transaction that was only opened around a statement.
    async fn finish<T>(&mut self, sent: Result<T, DbError>) -> Result<T, DbError> {
        match sent {
            Ok(reply) => self.end("COMMIT").await.map(|()| reply),
            Err(error) => {
                if error.class != ErrorClass::Lost {
                    self.end("ROLLBACK").await?;
                }
                Err(error)
            }
        }
    }

    /// Prepares a statement in the present transaction and forgets it again.
    async fn describe(&mut self, statement: &Statement) -> Result<Shape, DbError> {
        let shape = self.session.prepare(statement).await?;
        self.session.forget_statements().await?;
        Ok(shape)
    }
}

#[async_trait::async_trait]
impl Session for PooledSession {
    async fn prepare(&mut self, statement: &Statement) -> Result<Shape, DbError> {
        if self.prepares {
            return self.session.prepare(statement).await;
        }
        if self.in_transaction {
            return self.describe(statement).await;
        }

        // The driver numbers its names and never takes one twice.
        let mut tried = 0;
        loop {
            self.begin("BEGIN").await?;
            let described = self.describe(statement).await;
            if !matches!(&described, Err(error) if error.class == ErrorClass::Lost) {
                self.end("ROLLBACK").await?;
            }

            match described {
                Err(error) if error.code == NAME_TAKEN && tried < NAMES_TRIED => tried += 1,
                described => return described,
            }
        }
    }

    async fn execute(&mut self, statement: &Statement, binds: &[Value]) -> Result<Reply, DbError> {
        if !self.needs_transaction() {
            return self.session.execute(statement, binds).await;
        }

        self.begin("BEGIN").await?;
        let sent = self.session.execute(statement, binds).await;
        self.finish(sent).await
    }

    async fn control(&mut self, sql: &str) -> Result<(), DbError> {
        match Boundary::of(sql) {
            Boundary::Begins => self.begin(sql).await,
            Boundary::Ends => self.end(sql).await,
            // One message goes to one backend; only the settings need a transaction.
            Boundary::None if self.in_transaction || self.settings.is_empty() => {
                self.session.control(sql).await
            }
            Boundary::None => {
                self.begin("BEGIN").await?;
                let sent = self.session.control(sql).await;
                self.finish(sent).await
            }
        }
    }

    async fn for_each_row(&mut self, sql: &str, on_row: &mut RowHandler<'_>) -> Result<()> {
        if !self.needs_transaction() {
            return self.session.for_each_row(sql, on_row).await;
        }

        self.begin("BEGIN").await?;
        let read = self.session.for_each_row(sql, on_row).await;
        let is_lost = |error: &anyhow::Error| {
            error.downcast_ref::<DbError>().is_some_and(|error| error.class == ErrorClass::Lost)
        };
        if !read.as_ref().is_err_and(is_lost) {
            self.end(if read.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
        }
        read
    }

    async fn close(mut self: Box<Self>) {
        // A pooler would hand the rest of an open transaction on to nobody, but it may
        // close the backend for it.
        if self.in_transaction {
            drop(self.end("ROLLBACK").await);
        }
        Box::new(self.session).close().await;
    }
}

/// How long a clock may have been set forward while we connected.
const CLOCK_SLACK: Duration = Duration::from_millis(50);

/// The server process behind a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Backend {
    pid: i64,
    started: String,
    age: Duration,
}

impl Backend {
    const QUERY: &str = "SELECT pid::bigint, backend_start::text, \
         (EXTRACT(EPOCH FROM clock_timestamp() - backend_start) * 1000000)::bigint \
         FROM pg_stat_activity WHERE pid = pg_backend_pid()";

    /// The one that answers now; none where the server has no such view, as PostgreSQL's
    /// relatives may not.
    async fn of(session: &mut dyn Session) -> Option<Self> {
        let row = first_row(session, Self::QUERY).await.ok().flatten()?;
        let [pid, started, age_us] = row.as_slice() else { return None };
        let age = Duration::from_micros(u64::try_from(age_us.as_int()?).unwrap_or(0));
        Some(Self { pid: pid.as_int()?, started: started.to_text(), age })
    }

    /// Whether it was there before somebody began to connect, that long ago.
    fn is_older_than(&self, connection: Duration) -> bool {
        self.age > connection + CLOCK_SLACK
    }

    fn is(&self, other: &Self) -> bool {
        self.pid == other.pid && self.started == other.started
    }
}

/// A connection with the backend that answered it first.
struct Probe {
    session: Box<dyn Session>,
    backend: Backend,
    is_handed_on: bool,
}

impl Probe {
    async fn open(url: &DatabaseUrl) -> Option<Self> {
        let began = Instant::now();
        let mut session = postgres::open(url, &SessionSettings::READ_ONLY).await.ok()?;
        let backend = Backend::of(session.as_mut()).await?;
        let is_handed_on = backend.is_older_than(began.elapsed());
        Some(Self { session, backend, is_handed_on })
    }
}

/// Whether connections to this server are a pooler's, which hands backends from one of
/// them to the next.
///
/// A backend that is older than the connection to it was somebody else's before; so was
/// one that answers two connections, or other ones that answer the same. A pooler that is
/// idle gives its last backend again, a busy one has old backends.
pub(super) async fn recognise(url: &DatabaseUrl) -> Option<Pooler> {
    if !hands_on(url).await {
        return None;
    }

    Some(Pooler { prepares: keeps_statements_apart(url).await })
}

async fn hands_on(url: &DatabaseUrl) -> bool {
    let Some(mut first) = Probe::open(url).await else { return false };
    let Some(second) = Probe::open(url).await else {
        first.session.close().await;
        return first.is_handed_on;
    };
    let again = Backend::of(first.session.as_mut()).await;
    let is_same = again.is_some_and(|again| again.is(&first.backend));
    second.session.close().await;

    // In session mode a backend is handed on when its connection is closed.
    let third = Probe::open(url).await;
    first.session.close().await;
    let mut is_third_handed_on = false;
    if let Some(third) = third {
        is_third_handed_on = third.is_handed_on || third.backend.is(&second.backend);
        third.session.close().await;
    }

    !is_same
        || second.backend.is(&first.backend)
        || first.is_handed_on
        || second.is_handed_on
        || is_third_handed_on
}

/// Whether the pooler gives prepared statements names of its own, as PgBouncer does from
/// 1.21 on with `max_prepared_statements`.
async fn keeps_statements_apart(url: &DatabaseUrl) -> bool {
    let Ok(mut session) = postgres::connect_session(url).await else { return false };
    let mut names = Vec::new();

    // What is prepared here is the very query that asks.
    for _ in 0..NAMES_TRIED {
        let mut keep = |row: &[Value]| {
            names.push(row[0].to_text());
            Ok(())
        };
        if session.control("BEGIN").await.is_err() {
            break;
        }
        let asked = session.for_each_row("SELECT name FROM pg_prepared_statements", &mut keep).await;
        let forgot = session.forget_statements().await;
        let ended = session.control("ROLLBACK").await;
        let is_taken = asked.is_err_and(|error| {
            error.downcast_ref::<DbError>().is_some_and(|error| error.code == NAME_TAKEN)
        });
        if !is_taken || forgot.is_err() || ended.is_err() {
            break;
        }
    }
    Box::new(session).close().await;

    names.iter().any(|name| name.starts_with("PGBOUNCER_"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Isolation;

    #[test]
    fn what_begins_and_ends_a_transaction_is_told_from_what_does_not() {
        for begins in ["BEGIN", "begin isolation level serializable", "  START TRANSACTION READ ONLY"] {
            assert_eq!(Boundary::of(begins), Boundary::Begins, "{begins}");
        }
        for ends in ["COMMIT", "rollback", "END", "ROLLBACK;"] {
            assert_eq!(Boundary::of(ends), Boundary::Ends, "{ends}");
        }
        for neither in
            ["SAVEPOINT a", "ROLLBACK TO SAVEPOINT a", "ROLLBACK TO a", "UPDATE begin_ SET end = 1", "ENDED"]
        {
            assert_eq!(Boundary::of(neither), Boundary::None, "{neither}");
        }
    }

    #[test]
    fn settings_go_with_begin_and_yield_to_a_level_it_names() {
        let settings = SessionSettings {
            isolation: Some(Isolation::Serializable),
            lock_timeout: Some(Duration::from_millis(1500)),
            ..SessionSettings::READ_ONLY
        };
        let settings = TransactionSettings::of(&settings);
        assert_eq!(
            settings.begin("BEGIN"),
            "BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SET TRANSACTION READ ONLY; SET LOCAL lock_timeout = 1500"
        );
        assert_eq!(
            settings.begin("BEGIN ISOLATION LEVEL REPEATABLE READ"),
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION READ ONLY; SET LOCAL lock_timeout = 1500"
        );
        assert_eq!(TransactionSettings::of(&SessionSettings::default()).begin("BEGIN"), "BEGIN");
    }
}
