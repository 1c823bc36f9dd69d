//! Databases, behind one small trait: the only place that names sqlx.
//!
//! In reading order: this file has the words (dialects, values, replies,
//! errors, the [`Session`] trait), [`classify`] the one table of error codes,
//! [`database`] a database that can be connected to, prepared, seeded and
//! locked, [`catalogue`] what it says of its tables, [`relation`] what a name really stands for,
//! [`bounds`] whether a statement keeps to reading and to our own tables, [`schema`] our own tables,
//! then one file per backend;
//! [`relative`] knows those that speak another one's protocol.

pub mod attached;
pub mod blocking;
pub mod bounds;
pub mod catalogue;
pub mod classify;
mod credentials;
pub mod database;
mod frozen;
mod greeting;
mod mysql;
mod null;
mod patient;
mod pooled;
mod postgres;
pub mod redis;
pub mod relation;
mod relative;
pub mod relay;
pub mod replica;
pub mod schema;
pub mod scratch;
mod session;
mod sqlite;
mod tls;
pub mod url;

pub use classify::ErrorClass;
pub use database::{Database, RunLock};
pub use tls::{Tls, Verified};
pub use url::DatabaseUrl;

use crate::escape;
use async_trait::async_trait;
use relay::{Cut, Wire};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

/// The SQL that a database speaks.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL.
    #[value(name = "mysql")]
    MySql,
    /// MariaDB: MySQL's dialect with differences of its own.
    #[value(name = "mariadb")]
    MariaDb,
    /// SQLite.
    Sqlite,
    /// None at all: a session that does nothing, to measure the harness alone.
    #[value(skip)]
    Null,
}

/// Arguments that a function of SQLite takes, in the versions that take the fewest.
const SQLITE_ARGUMENTS_MAX: usize = 100;

impl Dialect {
    /// Every dialect, in the order tables show them.
    pub const ALL: [Self; 4] = [Self::Postgres, Self::MySql, Self::MariaDb, Self::Sqlite];

    /// The word in files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
            Self::Sqlite => "sqlite",
            Self::Null => "null",
        }
    }

    /// The product's own spelling.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::MySql => "MySQL",
            Self::MariaDb => "MariaDB",
            Self::Sqlite => "SQLite",
            Self::Null => "null",
        }
    }

    /// The dialect whose texts it takes where it has none of its own.
    pub const fn falls_back_to(self) -> Option<Self> {
        match self {
            Self::MariaDb => Some(Self::MySql),
            // Something must be parsed and bound, if not answered.
            Self::Null => Some(Self::Postgres),
            Self::Postgres | Self::MySql | Self::Sqlite => None,
        }
    }

    /// The statement that opens a transaction.
    pub const fn begin(self) -> &'static str {
        match self {
            Self::Postgres | Self::Sqlite | Self::Null => "BEGIN",
            Self::MySql | Self::MariaDb => "START TRANSACTION",
        }
    }

    /// The statement that opens a transaction in which the server refuses to write.
    /// SQLite has none: a connection reads only, or writes.
    pub const fn begin_read_only(self) -> &'static str {
        match self {
            Self::Postgres => "BEGIN READ ONLY",
            Self::MySql | Self::MariaDb => "START TRANSACTION READ ONLY",
            Self::Sqlite | Self::Null => "BEGIN",
        }
    }

    /// Whether placeholders carry a number, so that one value is sent once.
    pub const fn numbers_placeholders(self) -> bool {
        matches!(self, Self::Postgres | Self::Sqlite | Self::Null)
    }

    /// The placeholder of the bind with this number, from 1.
    pub fn placeholder(self, number: usize) -> String {
        match self {
            Self::Postgres | Self::Null => format!("${number}"),
            Self::MySql | Self::MariaDb => "?".to_owned(),
            Self::Sqlite => format!("?{number}"),
        }
    }

    /// A text as a literal, in which every character can be seen.
    pub fn literal(self, text: &str) -> String {
        let is_plain = !text.contains(escape::is_unseen);
        match self {
            // Whether a backslash escapes depends on settings; as bytes it cannot.
            Self::MySql | Self::MariaDb if !is_plain || text.contains('\\') => {
                let mut hex = String::with_capacity(2 * text.len());
                for byte in text.bytes() {
                    write!(hex, "{byte:02X}").expect("a String takes any text");
                }
                format!("_utf8mb4 X'{hex}'")
            }
            Self::Postgres if !is_plain || text.contains('\\') => {
                let text = text.replace('\\', "\\\\").replace('\'', "''");
                format!("E'{}'", escape::sql_string(&text))
            }
            Self::Sqlite if !is_plain => {
                let codes: Vec<String> =
                    text.chars().map(|character| u32::from(character).to_string()).collect();
                let parts: Vec<String> = codes
                    .chunks(SQLITE_ARGUMENTS_MAX)
                    .map(|codes| format!("char({})", codes.join(", ")))
                    .collect();
                format!("({})", parts.join(" || "))
            }
            _ => format!("'{}'", text.replace('\'', "''")),
        }
    }

    /// Quotes an identifier.
    pub fn quote(self, identifier: &str) -> String {
        match self {
            Self::MySql | Self::MariaDb => format!("`{}`", identifier.replace('`', "``")),
            Self::Postgres | Self::Sqlite | Self::Null => format!("\"{}\"", identifier.replace('"', "\"\"")),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A transaction isolation level.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    ReadCommitted,
    /// The transaction sees one snapshot.
    RepeatableRead,
    /// As if transactions ran one after another.
    Serializable,
}

impl Isolation {
    /// The level in SQL.
    pub const fn as_sql(self) -> &'static str {
        match self {
            Self::ReadCommitted => "READ COMMITTED",
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        }
    }

    /// The word on the command line and in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read-committed",
            Self::RepeatableRead => "repeatable-read",
            Self::Serializable => "serializable",
        }
    }
}

/// A value sent to or read from a database. Integers are signed 64-bit on
/// every database: an unsigned bind changes what MySQL computes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A whole number.
    Int(i64),
    /// Text.
    Text(String),
}

impl Value {
    /// The number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            Self::Null => None,
        }
    }

    /// The text of the value, empty for NULL.
    pub fn to_text(&self) -> String {
        match self {
            Self::Null => String::new(),
            Self::Int(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A statement with the dialect's own placeholders.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    /// The text that is sent.
    pub sql: Arc<str>,
    /// How many placeholders it has.
    pub bind_count: usize,
    /// Which of its binds are text, by position; the others are numbers.
    /// Yielded text is known once a database has named its columns' types.
    pub text_binds: Vec<usize>,
    /// The columns to read of its first row, in order.
    pub columns: Vec<String>,
    /// Whether it answers with rows; `None` until a database has said so.
    pub returns_rows: Option<bool>,
    /// Whether all of its rows are wanted, not only the first.
    pub all_rows: bool,
    /// Whether it is a Lua script for Redis rather than SQL.
    pub is_script: bool,
}

/// What a program needs of a statement's reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Rows returned, or rows matched by a write.
    pub matched: u64,
    /// The yielded columns of the first row, in the order of `yields`.
    pub values: Vec<Value>,
    /// The yielded columns of every row, where all were asked for.
    pub rows: Vec<Vec<Value>>,
}

/// A database error, classified once.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message} ({code})")]
pub struct DbError {
    /// What it means for an attempt.
    pub class: ErrorClass,
    /// The database's own code: SQLSTATE, MySQL's number or SQLite's
    /// extended code; a word for errors below the database.
    pub code: String,
    /// The database's own words, on one line.
    pub message: String,
}

/// A node of a cluster that only follows the others, by the code that it would
/// answer a write with.
fn takes_no_writes(code: &str) -> DbError {
    let message = "this node takes no writes".to_owned();
    DbError { class: ErrorClass::NotReady, code: code.to_owned(), message }
}

/// What a database is, read back from the database itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DatabaseInfo {
    /// Which database.
    pub kind: Dialect,
    /// Its version, in its own words.
    pub version: String,
    /// A database that speaks this one's protocol and is another: its errors are
    /// classified from its documentation, nothing was tested on it.
    pub relative: Option<Cow<'static, str>>,
    /// What protects its connections; `null` where no server is connected to.
    pub tls: Option<Tls>,
    /// The pooler that its connections go through; `null` where they reach the server itself.
    #[serde(default)]
    pub pooler: Option<Pooler>,
    /// The isolation level that transactions really get.
    pub isolation: String,
    /// The URL, without its password.
    pub url_redacted: String,
    /// Nodes of the cluster that the run uses.
    pub nodes: u32,
    /// Whether a commit survives a crash of the machine, as configured; `null` where
    /// no setting says so.
    pub durable: Option<bool>,
    /// Whether this is the embedded default, chosen because no URL was given.
    pub embedded_default: bool,
    /// The settings that change results, by the database's own names.
    pub settings: BTreeMap<String, String>,
    /// How many connections it has left for us.
    #[serde(skip)]
    pub free_connections: u32,
}

impl DatabaseInfo {
    /// Whether commits are durable, in words.
    pub const fn durability(&self) -> &'static str {
        match self.durable {
            Some(true) => "durable commits",
            Some(false) => "commits NOT durable",
            None => "durability not known",
        }
    }

    /// Whether it is a MariaDB that refuses to overwrite what a transaction's snapshot
    /// has not seen (`innodb_snapshot_isolation`, on by default from 11.6).
    pub fn has_snapshot_isolation(&self) -> bool {
        self.settings.get("innodb_snapshot_isolation").is_some_and(|set| set == "ON")
    }

    /// Whether one member alone takes writes, in a group that has to say so.
    pub fn single_primary(&self) -> Option<bool> {
        self.settings.get("group_replication_single_primary_mode").map(|set| set == "ON")
    }

    /// Whether it is a node of a cluster in which every node takes writes, as far as the
    /// server can say so.
    pub fn is_multi_primary(&self) -> bool {
        self.single_primary() == Some(false) || self.settings.get("wsrep_on").is_some_and(|set| set == "ON")
    }
}

/// Something between us and the server that hands backends from one connection to the
/// next, as PgBouncer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pooler {
    /// Whether it keeps the prepared statements of its connections apart, so that they may
    /// be used.
    pub prepares: bool,
}

impl Pooler {
    /// One that may be there, and of which nothing is known.
    pub(crate) const UNKNOWN: Self = Self { prepares: false };
}

/// What a session is opened with.
#[derive(Debug, Clone, Default)]
pub struct SessionSettings {
    /// The isolation level; `None` leaves the server's default.
    pub isolation: Option<Isolation>,
    /// How long a lock may be waited for; `None` leaves the server's default.
    pub lock_timeout: Option<Duration>,
    /// How long one statement may take; `None` leaves the server's default.
    pub statement_timeout: Option<Duration>,
    /// Refuses every write.
    pub read_only: bool,
    /// The network that the connection goes through, where it is ours.
    pub wire: Option<Wire>,
    /// Passes over nodes of a cluster that take no writes.
    pub writes_on_node: bool,
    /// The pooler that the connection goes through, as [`Database`] has found out.
    pub pooler: Option<Pooler>,
}

impl SessionSettings {
    /// Those of a session that looks and changes nothing.
    pub const READ_ONLY: Self = Self {
        isolation: None,
        lock_timeout: None,
        statement_timeout: None,
        read_only: true,
        wire: None,
        writes_on_node: false,
        pooler: None,
    };
}

/// What a prepared statement looks like to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The columns it returns; empty for a plain write.
    pub columns: Vec<ColumnShape>,
}

/// A column of a prepared statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnShape {
    /// Its name.
    pub name: String,
    /// Whether its values are text rather than whole numbers.
    pub is_text: bool,
}

/// What takes a query's rows, one at a time.
pub type RowHandler<'h> = dyn for<'r> FnMut(&'r [Value]) -> anyhow::Result<()> + Send + 'h;

/// One connection, owned by one client at a time.
#[async_trait]
pub trait Session: Send {
    /// Prepares a statement, so that its first use costs nothing more.
    async fn prepare(&mut self, statement: &Statement) -> Result<Shape, DbError>;

    /// Sends one statement and reads its whole reply.
    async fn execute(&mut self, statement: &Statement, binds: &[Value]) -> Result<Reply, DbError>;

    /// Sends text as it is (BEGIN, COMMIT, SET, DDL), without preparing it.
    async fn control(&mut self, sql: &str) -> Result<(), DbError>;

    /// Streams every row of a query; a row is the query's columns in order.
    async fn for_each_row(&mut self, sql: &str, on_row: &mut RowHandler<'_>) -> anyhow::Result<()>;

    /// Whether its network is ours, so that it can be cut.
    fn is_wired(&self) -> bool {
        false
    }

    /// Has the connection cut around the next statement, where its network is ours.
    fn cut_at_next(&mut self, _cut: Cut) {}

    /// Says goodbye to the server.
    async fn close(self: Box<Self>);
}

/// Reads the first row of a query, if there is one.
///
/// # Errors
/// The database refuses the query.
pub async fn first_row(session: &mut dyn Session, sql: &str) -> anyhow::Result<Option<Vec<Value>>> {
    let mut first = None;
    session
        .for_each_row(sql, &mut |row| {
            first.get_or_insert_with(|| row.to_vec());
            Ok(())
        })
        .await?;
    Ok(first)
}
