//! A database as a whole: connecting, what it is, and who may use it now.

use super::frozen::{self, Frozen};
use super::relay::{self, Wire, WiredSession};
use super::{
    DatabaseInfo, DatabaseUrl, DbError, Dialect, ErrorClass, Pooler, Session, SessionSettings, Statement,
    greeting, mysql, null, patient::PatientSession, pooled, postgres, sqlite, url,
};
use crate::text;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many round trips over a network of ours that takes, at most: TLS, authentication, and
/// what a session is set to.
const CONNECT_ROUND_TRIPS: u32 = 10;

/// How often a server is asked whether sessions are gone.
const SESSIONS_POLL: Duration = Duration::from_millis(20);

/// The number of a session whose backend is a pooler's, and so not its own.
pub const POOLED_SESSION: i64 = 0;

/// Opens the transaction that holds a run's lock behind a pooler, under a name that tells it
/// from the run's own work.
const HOLD_TRANSACTION: &str = "BEGIN; SET LOCAL application_name = 'stockbench lock'; \
     SET LOCAL idle_in_transaction_session_timeout = 0";

/// How long a connection may take before it is looked at what answers there.
const SUSPICIOUS_AFTER: Duration = Duration::from_secs(1);

/// How often a database that is not there yet is asked again.
const CONNECT_RETRY: Duration = Duration::from_millis(250);

/// A database that has answered once.
#[derive(Debug, Clone)]
pub struct Database {
    url: DatabaseUrl,
    /// What it is read as where it is a file that cannot be written.
    frozen: Option<Frozen>,
    /// What it said of itself.
    pub info: DatabaseInfo,
}

impl Database {
    /// Connects, asking again until `wait` has passed, and reads back what
    /// the database is and whether a pooler stands in between.
    ///
    /// # Errors
    /// One line that names the database (never its password) and the reason.
    pub async fn connect(url: &DatabaseUrl, settings: &SessionSettings, wait: Duration) -> Result<Self> {
        // Until more is known nothing is left on a connection.
        let mut database = Self::connect_as(url, settings, Some(Pooler::UNKNOWN), wait).await?;

        database.info.pooler = recognise_pooler(url).await?;
        Ok(database)
    }

    /// The same where it is known already what stands in between.
    async fn connect_as(
        url: &DatabaseUrl,
        settings: &SessionSettings,
        pooler: Option<Pooler>,
        wait: Duration,
    ) -> Result<Self> {
        let settings = &SessionSettings { pooler, ..settings.clone() };
        let deadline = Instant::now() + wait;
        let frozen = if settings.read_only { Frozen::of(url) } else { None };
        loop {
            match open_if_spoken(url, settings).await? {
                Ok(mut session) => {
                    let info = read_info(url, session.as_mut()).await;
                    session.close().await;
                    let mut info = info.map_err(|error| explain_inspect(url, error))?;
                    info.nodes = u32::try_from(url.node_count())?;
                    info.url_redacted = url.to_string();
                    info.pooler = pooler;
                    return Ok(Self { url: url.clone(), frozen, info });
                }
                Err(error) if is_worth_waiting(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(CONNECT_RETRY).await;
                }
                Err(error) => return Err(ConnectError::new(url, error, wait).into()),
            }
        }
    }

    /// Makes sure that what was read was read whole. A file that cannot be written is read
    /// without locks, so that nothing keeps others from writing to it meanwhile.
    ///
    /// # Errors
    /// Somebody has written to it.
    pub fn check_at_rest(&self) -> Result<()> {
        self.frozen.as_ref().map_or(Ok(()), Frozen::check)
    }

    /// Reads back what a session with these settings really gets.
    ///
    /// # Errors
    /// The connection is refused, or the database cannot be asked.
    pub async fn reread(&mut self, settings: &SessionSettings) -> Result<()> {
        let embedded_default = self.info.embedded_default;
        let reread = Self::connect_as(&self.url, settings, self.info.pooler, Duration::ZERO).await?;
        self.info = reread.info;
        self.info.embedded_default = embedded_default;
        Ok(())
    }

    /// Another database of the same server, reached in the same way.
    ///
    /// # Errors
    /// The connection is refused, or the database cannot be asked.
    pub(super) async fn connect_beside(&self, url: &DatabaseUrl) -> Result<Self> {
        Self::connect_as(url, &SessionSettings::default(), self.info.pooler, Duration::ZERO).await
    }

    /// A pooler that lets us wait has given all of its backends away.
    fn explain_wait(&self, error: DbError) -> DbError {
        if self.info.pooler.is_none() || error.code != NO_ANSWER {
            return error;
        }
        let message = format!(
            "{}: the pooler has no more backends for us (fewer --connections, or a larger pool)",
            error.message
        );
        DbError { message, ..error }
    }

    fn settings(&self, settings: &SessionSettings) -> SessionSettings {
        SessionSettings { pooler: self.info.pooler, ..settings.clone() }
    }

    /// Opens one more session; in a cluster on the first node that is there.
    ///
    /// # Errors
    /// Whatever kept the connection from being made, classified.
    pub async fn open(&self, settings: &SessionSettings) -> Result<Box<dyn Session>, DbError> {
        open(&self.url, &self.settings(settings)).await.map_err(|error| self.explain_wait(error))
    }

    /// Opens one more session on this node of the cluster and no other.
    ///
    /// # Errors
    /// The node does not answer, or there is none of this number.
    pub async fn open_on(
        &self,
        node: usize,
        settings: &SessionSettings,
    ) -> Result<Box<dyn Session>, DbError> {
        match self.url.nodes().get(node) {
            Some(url) => open_one(url, &self.settings(settings)).await,
            None => Err(no_node()),
        }
    }

    /// Opens one more session; in a cluster on this node, or the next one that is
    /// there.
    async fn open_at(
        &self,
        node: usize,
        settings: &SessionSettings,
    ) -> Result<(Box<dyn Session>, usize), DbError> {
        let nodes = self.url.nodes();
        let settings = self.settings(settings);
        let mut failure = None;
        for step in 0..nodes.len() {
            let node = (node + step) % nodes.len();
            match open_one(&nodes[node], &settings).await {
                Ok(session) => return Ok((session, node)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(no_node))
    }

    /// The first node of the cluster that takes writes, for what has to be made there.
    ///
    /// # Errors
    /// No node answers that takes writes.
    pub(super) async fn writable_node(&self) -> Result<DatabaseUrl, DbError> {
        let nodes = self.url.nodes();
        if let [only] = &nodes[..] {
            return Ok(only.clone());
        }
        let settings = SessionSettings { writes_on_node: true, ..SessionSettings::default() };
        let (session, node) = self.open_at(0, &settings).await?;
        session.close().await;
        Ok(nodes[node].clone())
    }

    /// This database and another one, as nodes of one cluster.
    #[must_use]
    pub fn beside(&self, other: &Self) -> Self {
        Self { url: self.url.beside(&other.url), frozen: None, info: self.info.clone() }
    }

    /// Each node of the cluster by itself, as far as it answers, with its URL.
    pub async fn each_node(&self) -> Vec<(DatabaseUrl, Result<Self>)> {
        let mut nodes = Vec::new();
        for url in self.url.nodes() {
            let node = self.connect_beside(&url).await;
            nodes.push((url, node));
        }
        nodes
    }

    /// Opens a session that has prepared these statements, with the server's number
    /// for it; in a cluster on this node, or the next one that is there, which the
    /// number tells, too ([`SessionId`]).
    ///
    /// # Errors
    /// The connection is refused, or a statement does not prepare.
    pub async fn open_prepared(
        &self,
        node: usize,
        settings: &SessionSettings,
        statements: impl IntoIterator<Item = &Statement>,
    ) -> Result<(Box<dyn Session>, Option<i64>)> {
        let opened = self.open_at(node, settings).await;
        let (mut session, node) = opened.map_err(|error| self.explain_wait(error))?;
        let id = self.session_id(session.as_mut()).await?.map(|id| SessionId { node, id }.to_number());
        // What a pooler's backends forget at once was checked before.
        if self.info.pooler.is_none_or(|pooler| pooler.prepares) {
            for statement in statements {
                session.prepare(statement).await?;
            }
        }
        Ok((session, id))
    }

    /// The number by which the server knows a session: [`POOLED_SESSION`] where it is a
    /// pooler's, none where the database is in this process.
    ///
    /// # Errors
    /// The session is gone.
    pub async fn session_id(&self, session: &mut dyn Session) -> Result<Option<i64>> {
        if self.info.pooler.is_some() {
            return Ok(Some(POOLED_SESSION));
        }
        let sql = match self.dialect() {
            Dialect::Postgres => "SELECT pg_backend_pid()",
            Dialect::MySql | Dialect::MariaDb => "SELECT CONNECTION_ID()",
            Dialect::Sqlite | Dialect::Null => return Ok(None),
        };
        Ok(super::first_row(session, sql).await?.and_then(|row| row[0].as_int()))
    }

    /// Waits until the server has ended these sessions. A statement goes on
    /// after its client is gone: what it does is decided only then.
    ///
    /// # Errors
    /// Some of them are still there when `patience` is over.
    pub async fn sessions_gone(&self, ids: &[i64], patience: Duration) -> Result<()> {
        if ids.contains(&POOLED_SESSION) {
            self.pooled_sessions_idle(patience).await?;
        }
        let nodes = self.url.nodes();
        for (number, url) in nodes.iter().enumerate() {
            let of_node = |number_of: &i64| {
                let SessionId { node, id } = SessionId::from_number(*number_of);
                (node == number && id != POOLED_SESSION).then_some(id)
            };
            let ids: Vec<i64> = ids.iter().filter_map(of_node).collect();
            if !ids.is_empty() {
                self.gone_from(url, &ids, patience).await?;
            }
        }
        Ok(())
    }

    /// The sessions beside the asking one that its server has now, by its numbers for
    /// them; those of other programs (PostgreSQL) or of other databases (MySQL, MariaDB)
    /// are left out.
    ///
    /// # Errors
    /// The session is gone.
    pub async fn sessions_beside(&self, session: &mut dyn Session) -> Result<HashSet<i64>> {
        let sql = match self.dialect() {
            Dialect::Postgres => {
                "SELECT pid::bigint FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
                 AND application_name = current_setting('application_name')"
            }
            // One that is ending may have let go of its database.
            Dialect::MySql | Dialect::MariaDb => {
                "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE id <> CONNECTION_ID() \
                 AND (db = DATABASE() OR db IS NULL)"
            }
            Dialect::Sqlite | Dialect::Null => return Ok(HashSet::new()),
        };
        let mut beside = HashSet::new();
        let mut keep = |row: &[super::Value]| {
            beside.extend(row[0].as_int());
            Ok(())
        };
        session.for_each_row(sql, &mut keep).await?;
        Ok(beside)
    }

    /// Waits until no backend does anything for us any more: a pooler keeps its backends,
    /// and each carries the name of whom it works for.
    async fn pooled_sessions_idle(&self, patience: Duration) -> Result<()> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state <> 'idle' \
             AND datname = current_database() AND application_name = current_setting('application_name')";
        let deadline = Instant::now() + patience;
        let mut session = self.open(&SessionSettings::READ_ONLY).await?;

        let busy = loop {
            let busy = super::first_row(session.as_mut(), sql).await?.and_then(|row| row[0].as_int());
            let busy = busy.unwrap_or(0).unsigned_abs();
            if busy == 0 || Instant::now() >= deadline {
                break busy;
            }
            tokio::time::sleep(SESSIONS_POLL).await;
        };
        session.close().await;

        ensure_gone(&self.url, busy)
    }

    async fn gone_from(&self, url: &DatabaseUrl, ids: &[i64], patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let mut session = match open_one(url, &SessionSettings::default()).await {
            Ok(session) => session,
            // A node that is gone took its sessions with it; one that is only too busy to
            // answer did not.
            Err(error) if self.url.node_count() > 1 && error.code == NO_CONNECTION => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let left = loop {
            let beside = self.sessions_beside(session.as_mut()).await?;
            let left = ids.iter().filter(|id| beside.contains(*id)).count() as u64;
            if left == 0 || Instant::now() >= deadline {
                break left;
            }
            tokio::time::sleep(SESSIONS_POLL).await;
        };
        session.close().await;

        ensure_gone(url, left)
    }

    /// The URL, without its password when shown.
    pub const fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// The SQL it speaks.
    pub const fn dialect(&self) -> Dialect {
        self.info.kind
    }

    /// Takes the right to be the only one that works on this database.
    ///
    /// # Errors
    /// Another stockbench holds it, a segment of a run is at work, or the database
    /// cannot be asked.
    pub async fn lock(&self) -> Result<RunLock> {
        let mut lock = self.try_lock().await?.with_context(|| taken(&self.url))?;
        // Who cannot be asked has no segments: they could not join there either.
        if lock.segments_at_work(self.dialect()).await.unwrap_or(0) > 0 {
            lock.release().await;
            bail!("{}", taken(&self.url));
        }
        Ok(lock)
    }

    /// The same while segments of a run may be at work; none where another stockbench
    /// holds it.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn try_lock(&self) -> Result<Option<RunLock>> {
        if let Some(file) = self.url.file() {
            return Ok(LockFile::take(&file)?.map(|file| RunLock { holder: LockHolder::File(file) }));
        }
        // Where there is no lock to be had, nothing keeps another stockbench away.
        if self.dialect() == Dialect::Null || !self.info.has_advisory_locks() {
            return Ok(Some(RunLock { holder: LockHolder::Nobody }));
        }
        let query = match self.dialect() {
            Dialect::Postgres if self.info.pooler.is_some() => {
                "SELECT CASE WHEN pg_try_advisory_xact_lock(hashtext('stockbench run')) THEN 1 ELSE 0 END"
            }
            Dialect::Postgres => {
                "SELECT CASE WHEN pg_try_advisory_lock(hashtext('stockbench run')) THEN 1 ELSE 0 END"
            }
            _ => "SELECT GET_LOCK(LEFT(CONCAT('stockbench run ', DATABASE()), 64), 0)",
        };
        self.lock_by(query).await
    }

    /// Takes the right to be this segment of a run, beside others.
    ///
    /// # Errors
    /// Another process is this segment, or the database cannot be asked.
    pub async fn lock_segment(&self, number: u64) -> Result<RunLock> {
        ensure!(
            self.info.has_advisory_locks(),
            "--segment: {} has no locks by which segments know of each other",
            self.info.relative.as_deref().unwrap_or(self.dialect().title())
        );
        let query = match self.dialect() {
            Dialect::Postgres => format!(
                "SELECT CASE WHEN pg_try_advisory_lock(hashtext('stockbench run'), {number}) THEN 1 ELSE 0 END"
            ),
            _ => format!(
                "SELECT GET_LOCK(CONCAT(LEFT(CONCAT('stockbench segment ', DATABASE()), 60), ' ', {number}), 0)"
            ),
        };
        self.lock_by(&query)
            .await?
            .with_context(|| format!("segment {number} of a run is at work on {} already", self.url))
    }

    /// Asks for a lock on a session of its own; none where another has it.
    async fn lock_by(&self, query: &str) -> Result<Option<RunLock>> {
        let mut session = self.open(&SessionSettings::default()).await?;
        let give_back = match self.dialect() {
            Dialect::Postgres if self.info.pooler.is_some() => "ROLLBACK",
            Dialect::Postgres => "SELECT pg_advisory_unlock_all()",
            _ => "DO RELEASE_ALL_LOCKS()",
        };
        if self.info.pooler.is_some() {
            session.control(HOLD_TRANSACTION).await?;
        }
        let row = super::first_row(session.as_mut(), query).await?.unwrap_or_default();
        if row.first().and_then(super::Value::as_int) != Some(1) {
            session.close().await;
            return Ok(None);
        }
        Ok(Some(RunLock { holder: LockHolder::Session(session, give_back) }))
    }
}

fn ensure_gone(url: &DatabaseUrl, left: u64) -> Result<()> {
    ensure!(
        left == 0,
        "{} of the run still open on {url}: what they are doing is not decided yet (wait, or look there what \
         holds them up)",
        text::count(left, "session")
    );
    Ok(())
}

fn taken(url: &DatabaseUrl) -> String {
    format!("another stockbench is working on {url}: wait for it to end, or use another database")
}

/// A session as it is counted in a run: the node of the cluster it is on, and the
/// server's number for it, in one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionId {
    /// The node, from 0 in the order of the URLs.
    pub node: usize,
    /// The server's number.
    pub id: i64,
}

/// Servers count their sessions in 32 bits.
const NODE_SHIFT: u32 = 40;

impl SessionId {
    fn to_number(self) -> i64 {
        i64::try_from(self.node).unwrap_or(0) << NODE_SHIFT | self.id
    }

    /// Takes a number apart.
    pub fn from_number(number: i64) -> Self {
        let node = usize::try_from(number >> NODE_SHIFT).unwrap_or(0);
        Self { node, id: number & ((1 << NODE_SHIFT) - 1) }
    }
}

fn no_node() -> DbError {
    DbError {
        class: ErrorClass::NeverStarted,
        code: "node".to_owned(),
        message: "there is no node".to_owned(),
    }
}

/// Who hands on the connections to this database.
///
/// # Errors
/// A pooler or a proxy through which nothing here can be done safely.
async fn recognise_pooler(url: &DatabaseUrl) -> Result<Option<Pooler>> {
    let nodes = url.nodes();
    for node in &nodes {
        let recognised = match node.family {
            url::Family::Postgres => pooled::recognise(node).await,
            url::Family::MySql => {
                ensure!(
                    !mysql::is_proxied(node).await,
                    "{node} is a proxy that shares connections among its clients: name the server itself"
                );
                None
            }
            url::Family::Sqlite | url::Family::Null => None,
        };
        if recognised.is_some() {
            ensure!(
                nodes.len() == 1,
                "{node} is a pooler, which does not say which node it leads to: name the nodes of the cluster themselves"
            );
            return Ok(recognised);
        }
    }
    Ok(None)
}

/// The first node of a cluster that is there, and takes writes where it is to be
/// written to.
async fn open(url: &DatabaseUrl, settings: &SessionSettings) -> Result<Box<dyn Session>, DbError> {
    let settings =
        &SessionSettings { writes_on_node: url.node_count() > 1 && !settings.read_only, ..settings.clone() };
    let mut failure = None;
    for node in url.nodes() {
        match open_one(&node, settings).await {
            Ok(session) => return Ok(session),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(no_node))
}

async fn open_one(url: &DatabaseUrl, settings: &SessionSettings) -> Result<Box<dyn Session>, DbError> {
    let added = settings.wire.as_ref().map(Wire::delay).unwrap_or_default();
    let within = CONNECT_TIMEOUT + added * CONNECT_ROUND_TRIPS;
    let opening = async {
        let Some((wire, (host, port))) = settings.wire.as_ref().zip(url.address()) else {
            return open_directly(url, settings).await;
        };
        let (port, scissors) =
            relay::open(&host, port, wire).await.map_err(|error| relay::unreachable(&error))?;
        let session = open_directly(&url.through(port), settings).await?;
        Ok(Box::new(WiredSession { session, scissors }) as Box<dyn Session>)
    };
    let opened = tokio::time::timeout(within, opening).await.unwrap_or_else(|_| {
        Err(DbError {
            class: ErrorClass::NeverStarted,
            code: NO_ANSWER.to_owned(),
            message: format!("no answer within {} s", within.as_secs()),
        })
    });
    opened.map_err(not_opened)
}

/// The code of a connection that could not be made.
const NO_CONNECTION: &str = "connect";

/// The code of one that was not made in time.
const NO_ANSWER: &str = "timeout";

/// A connection that could not be made is none that was lost: nothing had begun on it.
fn not_opened(error: DbError) -> DbError {
    match error.class {
        ErrorClass::Lost => {
            DbError { class: ErrorClass::NeverStarted, code: NO_CONNECTION.to_owned(), ..error }
        }
        _ => error,
    }
}

async fn open_directly(url: &DatabaseUrl, settings: &SessionSettings) -> Result<Box<dyn Session>, DbError> {
    let session = match url.family {
        url::Family::Postgres => postgres::open(url, settings).await?,
        url::Family::MySql => Box::new(mysql::open(url, settings).await?) as Box<dyn Session>,
        // What is in this process waits for nobody longer than it is told to.
        url::Family::Sqlite => return Ok(Box::new(sqlite::open(url, settings).await?)),
        url::Family::Null => return Ok(Box::new(null::NullSession)),
    };
    Ok(Box::new(PatientSession::new(session, settings)))
}

async fn read_info(url: &DatabaseUrl, session: &mut dyn Session) -> Result<DatabaseInfo> {
    match url.family {
        url::Family::Postgres => postgres::info(url, session).await,
        url::Family::MySql => mysql::info(url, session).await,
        url::Family::Sqlite => sqlite::info(url, session).await,
        url::Family::Null => Ok(null::info(url)),
    }
}

/// A server that is starting answers differently from one that refuses us.
fn is_worth_waiting(error: &DbError) -> bool {
    error.class == ErrorClass::NeverStarted
}

/// Opens a session, unless the server turns out to speak another protocol than the URL says.
async fn open_if_spoken(
    url: &DatabaseUrl,
    settings: &SessionSettings,
) -> Result<Result<Box<dyn Session>, DbError>> {
    let refused = |what| Err(anyhow!("cannot connect to {url}: {what}"));
    if url.node_count() > 1 {
        return Ok(open(url, settings).await);
    }
    let is_other = async {
        // A connection that only listens counts as an aborted one on a server of MySQL's kind.
        tokio::time::sleep(SUSPICIOUS_AFTER).await;
        match greeting::other(url).await {
            Some(what) => what,
            None => std::future::pending().await,
        }
    };
    match url.family {
        // Such a client waits for the first word of a server that waits for the client's.
        url::Family::MySql => tokio::select! {
            opened = open(url, settings) => Ok(opened),
            what = is_other => refused(what),
        },
        url::Family::Postgres => match open(url, settings).await {
            Err(error) if error.code == NO_CONNECTION => match greeting::other(url).await {
                Some(what) => refused(what),
                None => Ok(Err(error)),
            },
            opened => Ok(opened),
        },
        url::Family::Sqlite | url::Family::Null => Ok(open(url, settings).await),
    }
}

/// A database that could not be connected to, in one line.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {url}: {}{advice}", text::one_line(&reason.to_string()))]
pub struct ConnectError {
    url: String,
    /// What it, or the way to it, said.
    pub reason: DbError,
    advice: String,
}

impl ConnectError {
    fn new(url: &DatabaseUrl, reason: DbError, wait: Duration) -> Self {
        let advice = match reason.code.as_str() {
            NO_CONNECTION | NO_ANSWER if wait.is_zero() => {
                ": is the server running? (--wait-for-db 30s waits for it)"
            }
            NO_CONNECTION | NO_ANSWER => ": it did not come up in time",
            "28P01" | "28000" | "1045" => ": check the user and password in the URL",
            "3D000" | "1049" => ": create the database first",
            _ => "",
        };
        let ignored_file = url.ignored_file().map_or_else(String::new, |why| format!(" ({why})"));
        Self { url: url.to_string(), reason, advice: format!("{advice}{ignored_file}") }
    }
}

/// Whether an error says that the server, or its user, has no more connections to give.
pub fn is_out_of_connections(error: &anyhow::Error) -> bool {
    let connecting = error.downcast_ref::<ConnectError>().map(|error| &error.reason);
    let reason = connecting.or_else(|| error.downcast_ref::<DbError>());
    reason.is_some_and(|reason| matches!(reason.code.as_str(), "53300" | "1040" | "1203" | "1226"))
}

fn explain_inspect(url: &DatabaseUrl, error: anyhow::Error) -> anyhow::Error {
    let advice = match error.downcast_ref::<DbError>().map(|error| error.code.as_str()) {
        // Cannot be opened, and its variants "directory is read-only", "cannot be recovered".
        Some("14" | "8" | "264" | "520" | "1544") => frozen::advice(url),
        _ => None,
    };
    match advice {
        Some(advice) => anyhow!("cannot inspect {url}: {error:#}{advice}"),
        None => error.context(format!("cannot inspect {url}")),
    }
}

/// The right to be the only run on a database; given back by `release`, or by
/// the database itself when the process ends.
#[derive(Debug)]
pub struct RunLock {
    holder: LockHolder,
}

enum LockHolder {
    /// A session that has it, and the statement that gives it back.
    Session(Box<dyn Session>, &'static str),
    File(LockFile),
    /// Nothing is kept, so nobody can be in the way.
    Nobody,
}

impl std::fmt::Debug for LockHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Session(..) => f.write_str("Session"),
            Self::File(file) => file.fmt(f),
            Self::Nobody => f.write_str("Nobody"),
        }
    }
}

/// Segments that are at work on this database, by the locks that they hold.
const SEGMENTS_AT_WORK_POSTGRES: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND objsubid = 2 \
     AND classid = (hashtext('stockbench run')::bigint & 4294967295)::oid";
const SEGMENTS_AT_WORK_MYSQL: &str = "WITH RECURSIVE segment(number) AS \
     (SELECT 1 UNION ALL SELECT number + 1 FROM segment WHERE number < 256) \
     SELECT COUNT(IS_USED_LOCK(CONCAT(LEFT(CONCAT('stockbench segment ', DATABASE()), 60), ' ', number))) FROM segment";

impl RunLock {
    /// How many segments of a run are at work.
    ///
    /// # Errors
    /// The database cannot be asked.
    pub async fn segments_at_work(&mut self, dialect: Dialect) -> Result<u64> {
        let LockHolder::Session(session, _) = &mut self.holder else { return Ok(0) };
        let query =
            if dialect == Dialect::Postgres { SEGMENTS_AT_WORK_POSTGRES } else { SEGMENTS_AT_WORK_MYSQL };
        let row = super::first_row(session.as_mut(), query).await?;
        Ok(row.and_then(|row| row[0].as_int()).unwrap_or(0).unsigned_abs())
    }

    /// Gives the right back.
    pub async fn release(self) {
        match self.holder {
            LockHolder::Session(mut session, give_back) => {
                // A server notices that a session has ended a while after it has. If it
                // is gone already, so is the lock.
                drop(tokio::time::timeout(CONNECT_TIMEOUT, session.control(give_back)).await);
                session.close().await;
            }
            LockHolder::File(file) => drop(file),
            LockHolder::Nobody => {}
        }
    }
}

/// SQLite has no lock that outlives a transaction: a file beside it serves.
#[derive(Debug)]
struct LockFile {
    path: PathBuf,
    _locked: File,
}

impl LockFile {
    fn take(database: &Path) -> Result<Option<Self>> {
        let mut path = database.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
            let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
            if file.try_lock().is_err() {
                return Ok(None);
            }
            // The last holder may have removed the file between our two calls.
            let ours = file.metadata()?.ino();
            if std::fs::metadata(&path).is_ok_and(|there| there.ino() == ours) {
                return Ok(Some(Self { path, _locked: file }));
            }
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Removed while still locked, so that nobody else holds this name.
        drop(std::fs::remove_file(&self.path));
    }
}
