//! SQLite sessions: write-ahead log, durable commits, one thread each.

use super::frozen::Frozen;
use super::url::DatabaseUrl;
use super::{
    DatabaseInfo, DbError, Dialect, ErrorClass, Session, SessionSettings, Statement, Value,
    classify::classify, first_row,
};
use crate::exit::NO_THREADS;
use anyhow::{Context, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{Column, ConnectOptions, Connection, Row, TypeInfo, ValueRef};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// How long a writer waits for another one, unless the run says otherwise.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Writers take turns on one file: more connections only wait longer.
const CONNECTIONS_MAX: u32 = 16;

/// An open connection.
pub(super) struct SqliteSession {
    pub(super) connection: SqliteConnection,
    /// Whether statements stay prepared on the server.
    persistent: bool,
}

super::session::implement_session!(SqliteSession, decode, bind_types);

pub(super) async fn open(url: &DatabaseUrl, settings: &SessionSettings) -> Result<SqliteSession, DbError> {
    let opening = async {
        let options = SqliteConnectOptions::from_str(url.secret())?
            .busy_timeout(settings.lock_timeout.unwrap_or(BUSY_TIMEOUT))
            .disable_statement_logging();
        let options = if settings.read_only {
            let is_frozen = Frozen::of(url).is_some();
            options.create_if_missing(false).immutable(is_frozen).pragma("query_only", "on")
        } else {
            options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
        };
        options.connect().await
    };
    let connection = opening.await.map_err(|error: sqlx::Error| connect_error(&error))?;
    Ok(SqliteSession { connection, persistent: true })
}

/// Each connection has a thread of its own, which is all that the system can refuse it.
fn connect_error(error: &sqlx::Error) -> DbError {
    match error {
        // SQLite's own errors of this kind have no number of the system's.
        sqlx::Error::Io(refused) if refused.raw_os_error().is_some() => DbError {
            class: ErrorClass::NeverStarted,
            code: "threads".to_owned(),
            message: format!("{NO_THREADS}: {refused}"),
        },
        error => classify(error),
    }
}

/// The file that a URL names, its %-escapes read.
pub(super) fn file(url: &DatabaseUrl) -> Option<PathBuf> {
    let options = SqliteConnectOptions::from_str(url.secret()).ok()?;
    Some(options.get_filename().to_owned())
}

/// A connection for what the [`Session`] trait has no words for.
pub(super) async fn connect_raw(url: &DatabaseUrl) -> Result<SqliteConnection> {
    Ok(open(url, &SessionSettings::default()).await?.connection)
}

pub(super) async fn info(url: &DatabaseUrl, session: &mut dyn Session) -> Result<DatabaseInfo> {
    let mut read = async |sql: &str| -> Result<String> {
        Ok(first_row(session, sql).await?.context("SQLite answered with no row")?[0].to_text())
    };
    let version = read("SELECT sqlite_version()").await?;
    let journal_mode = read("PRAGMA journal_mode").await?;
    let synchronous = read("PRAGMA synchronous").await?;
    let busy_timeout = read("PRAGMA busy_timeout").await?;
    Ok(DatabaseInfo {
        relative: None,
        tls: None,
        pooler: None,
        kind: Dialect::Sqlite,
        version,
        isolation: "serializable".to_owned(),
        url_redacted: url.to_string(),
        nodes: 1,
        // FULL (2) and EXTRA (3) sync the write-ahead log at every commit.
        durable: Some(matches!(synchronous.as_str(), "2" | "3")),
        embedded_default: false,
        free_connections: CONNECTIONS_MAX,
        settings: [
            ("journal_mode", journal_mode),
            ("synchronous", synchronous),
            ("busy_timeout_ms", busy_timeout),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
    })
}

fn decode(row: &SqliteRow, index: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let type_name = raw.type_info().name().to_owned();
    Ok(match type_name.as_str() {
        "INTEGER" | "BOOLEAN" => Value::Int(row.try_get_unchecked(index)?),
        "TEXT" => Value::Text(row.try_get_unchecked(index)?),
        other => {
            let column = row.column(index).name();
            return Err(sqlx::Error::Decode(
                format!("column {column} is {other}: cast it to INTEGER or TEXT").into(),
            ));
        }
    })
}

/// SQLite takes each bind's type as it comes.
fn bind_types(_: &Statement) -> Vec<sqlx::sqlite::SqliteTypeInfo> {
    Vec::new()
}
