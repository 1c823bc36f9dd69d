//! The strategy file: raw TOML that only validates its own shape.
//!
//! The meaning (which steps run per line, where a jump lands, whether a bind
//! is ever yielded) is given by [`super::program`], once for every caller.

use crate::db::{DatabaseInfo, Dialect, Isolation};
use crate::finding::ExpectedFinding;
use crate::load::LoadArgs;
use crate::outcome::{OnUnknown, Outcome};
use crate::text;
use anyhow::Result;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A whole strategy file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyFile {
    /// One line for the catalogue.
    #[serde(default)]
    pub summary: String,
    /// What it is, when to use it, its trap, its source.
    #[serde(default)]
    pub about: String,
    /// Whether it keeps the invariants under contention. Files of the user's
    /// own need not say.
    pub safety: Option<Safety>,
    /// The same with clients on several nodes of a cluster, where it differs.
    pub several_nodes: Option<Safety>,
    /// Which of the two classic ways it goes, where it goes one of them.
    pub control: Option<Control>,
    /// Where it is unsafe, or what makes it so, in a few words; of a safe one, what it does not
    /// survive.
    pub safety_note: Option<String>,
    /// Why a dialect cannot express it, a sentence for each such dialect.
    #[serde(default)]
    pub refused: PerDialect<String>,
    /// The isolation level that the strategy depends on; a run cannot change it.
    #[serde(default)]
    pub isolation: PerDialect<Isolation>,
    /// How often, how fast and how long a conflicted order is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// Named whole numbers, which every statement may bind.
    #[serde(default)]
    pub params: BTreeMap<String, i64>,
    /// Values drawn once per order, which every step may bind.
    #[serde(default)]
    pub draw: BTreeMap<String, DrawText>,
    /// Orders of one SKU that one execution answers together.
    pub batch: Option<u32>,
    /// How long a batch waits for as many orders as the last one had.
    #[serde(default, deserialize_with = "duration")]
    pub linger: Duration,
    /// Statements that make the strategy's own tables, run after seeding.
    #[serde(default)]
    pub setup: Vec<SetupText>,
    /// What the audit reads where it isn't the usual tables.
    #[serde(default)]
    pub audit: AuditText,
    /// Queries that must return no row once the run is over.
    #[serde(default)]
    pub invariant: Vec<InvariantText>,
    /// The load under which it shows what it is, unless the run says otherwise.
    #[serde(default)]
    pub load: LoadArgs,
    /// What the audit must say of it under that load.
    #[serde(default)]
    pub expect: StrategyExpect,
    /// The program, in order.
    pub transaction: Vec<TransactionText>,
    /// Programs that run in the background.
    #[serde(default)]
    pub flow: Vec<FlowText>,
}

/// What the audit must say of a strategy under its own load.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyExpect {
    /// A finding, or nothing.
    #[serde(default)]
    pub audit: ExpectedAudit,
    /// Where deadlocks must be met.
    #[serde(default)]
    pub deadlocks: Vec<Dialect>,
}

/// A value drawn evenly for each order.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrawText {
    /// The smallest and the largest value.
    pub range: [i64; 2],
    /// Another drawn value that this one must differ from.
    pub not: Option<String>,
}

/// One `[[invariant]]`: a query that must return no row, or two queries that
/// must return the same order ids.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvariantText {
    /// The query.
    pub sql: PerDialect<String>,
    /// The service it is asked of.
    pub service: Option<String>,
    /// A query that must give the same order ids.
    pub same_as: Option<PerDialect<String>>,
    /// The service that one is asked of.
    pub same_as_service: Option<String>,
    /// A sentence for each row; `{column}` stands for the row's value.
    pub says: String,
}

/// One `[[flow]]`: a program that runs in the background, again and again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowText {
    /// What reports call it.
    pub name: String,
    /// The pause after it found nothing to do.
    #[serde(deserialize_with = "duration")]
    pub every: Duration,
    /// A query that returns a row while there is work left to wait for.
    pub pending: Option<PerDialect<String>>,
    /// The program, in order.
    pub transaction: Vec<TransactionText>,
}

/// Whether a strategy keeps every invariant under contention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Safety {
    /// Nothing may be found by the audit.
    Safe,
    /// Ships in order to be caught.
    Unsafe,
}

/// The two classic ways to meet others over a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Control {
    /// Locks what it reads, and writes afterwards.
    Pessimistic,
    /// Writes if nobody was faster since it read, and tries again if somebody was.
    Optimistic,
}

impl fmt::Display for Safety {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Safe => "safe",
            Self::Unsafe => "unsafe",
        })
    }
}

/// The retry rule of a strategy.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts per order; 0 goes on until the order is decided.
    pub tries: u32,
    /// Shortest and longest wait before the next attempt.
    #[serde(deserialize_with = "delay")]
    pub delay: (Duration, Duration),
    /// No attempt starts later than this after the order's first.
    #[serde(deserialize_with = "duration")]
    pub within: Duration,
    /// What the client does when an answer is lost.
    pub unknown: OnUnknown,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 0,
            delay: (Duration::from_millis(1), Duration::from_millis(500)),
            within: Duration::from_secs(120),
            unknown: OnUnknown::Keep,
        }
    }
}

/// Where the audit finds the strategy's stock and ledger.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditText {
    /// A query giving `sku_id` and `stock`.
    pub stock: Option<PerDialect<String>>,
    /// The ledger, if it isn't the usual one.
    #[serde(default)]
    pub ledger: LedgerText,
}

/// Where the ledger is.
#[derive(Debug, Clone, Default)]
pub enum LedgerText {
    /// The usual table.
    #[default]
    Usual,
    /// A table of the ledger's shape, or a query giving its columns.
    Other(PerDialect<String>),
    /// There is none (`false`): neither ledger nor stock is judged.
    None,
}

impl<'de> Deserialize<'de> for LedgerText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_untagged::UntaggedEnumVisitor::new()
            .expecting("a table, a query, one of them per dialect, or false")
            .bool(|kept| if kept { Ok(Self::Usual) } else { Ok(Self::None) })
            .string(|word| Ok(Self::Other(PerDialect { all: Some(word.to_owned()), each: Vec::new() })))
            .map(|map| map.deserialize().map(|each: EachDialect<String>| Self::Other(each.into())))
            .deserialize(deserializer)
    }
}

impl StrategyFile {
    /// Whether it handles orders in batches and not otherwise: those have one
    /// line.
    pub fn takes_batches_only(&self) -> bool {
        self.batch.is_some() && !self.transaction.iter().any(|tx| tx.serves == Some(Serves::Order))
    }
}

/// Whom a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serves {
    /// Many orders of one SKU together.
    Batch,
    /// One order: it came alone, or has several lines, or the strategy knows no
    /// batches.
    Order,
}

/// One `[[transaction]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionText {
    /// What a jump or a restart calls it.
    pub name: Option<String>,
    /// The statement that opens it; `"none"` leaves each statement on its own.
    #[serde(default)]
    pub begin: PerDialect<String>,
    /// The isolation level of this transaction alone.
    #[serde(default)]
    pub isolation: PerDialect<Isolation>,
    /// Whether it is for a batch or for an order by itself; in a strategy with
    /// `batch` the former, elsewhere the latter, unless it says.
    #[serde(rename = "for")]
    pub serves: Option<Serves>,
    /// The order's answer once this transaction is committed.
    pub then: Option<Outcome>,
    /// The transaction a conflict goes back to (by default this one).
    pub restart: Option<String>,
    /// Its weight among the alternatives that stand next to it.
    pub share: Option<u32>,
    /// The transaction that this one takes back; runs only for that.
    pub undoes: Option<String>,
    /// Runs when an attempt ends, however it ends.
    #[serde(default)]
    pub finally: bool,
    /// The service whose database it runs on.
    pub service: Option<String>,
    /// The statements, in order.
    #[serde(default)]
    pub step: Vec<StepText>,
}

/// A struct with a statement's text per dialect and fields of its own: serde
/// cannot flatten one struct into another and refuse unknown keys at once.
macro_rules! with_texts {
    ($(#[$attribute:meta])* pub struct $name:ident { $($(#[$field_attribute:meta])* pub $field:ident: $type:ty,)* }) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The statement for every dialect that has no text of its own.
            pub sql: Option<String>,
            /// The statement on PostgreSQL; `""` is nothing to do there.
            pub postgres: Option<String>,
            /// The statement on MySQL, and on MariaDB unless it has its own.
            pub mysql: Option<String>,
            /// The statement on MariaDB.
            pub mariadb: Option<String>,
            /// The statement on SQLite.
            pub sqlite: Option<String>,
            /// A Lua script for Redis, whatever the database.
            pub redis: Option<String>,
            $($(#[$field_attribute])* pub $field: $type,)*
        }

        impl $name {
            /// The SQL for a dialect: its own, its family's, or the common one.
            pub fn text(&self, dialect: Dialect) -> Option<&str> {
                let own = |dialect| match dialect {
                    Dialect::Postgres => self.postgres.as_deref(),
                    Dialect::MySql => self.mysql.as_deref(),
                    Dialect::MariaDb => self.mariadb.as_deref(),
                    Dialect::Sqlite => self.sqlite.as_deref(),
                    Dialect::Null => None,
                };
                own(dialect).or_else(|| dialect.falls_back_to().and_then(own)).or(self.sql.as_deref())
            }
        }
    };
}

with_texts! {
    /// One `[[transaction.step]]`.
    pub struct StepText {
        /// What a jump calls it.
        pub name: Option<String>,
        /// The columns of its first row, which later steps may bind.
        #[serde(default)]
        pub yields: Vec<String>,
        /// Which of a script's yields are text; a script cannot say so itself.
        #[serde(default)]
        pub text: Vec<String>,
        /// Whether its rows are the answers to a batch: `order_id`, `outcome`.
        #[serde(default)]
        pub answers: bool,
        /// Waits for the run's think time before this statement.
        #[serde(default)]
        pub think: bool,
        /// What no row found, or no row matched, means.
        pub none: Option<Target>,
        /// What a duplicate key means.
        pub unique: Option<Target>,
        /// What a failed CHECK constraint means.
        pub check: Option<Target>,
        /// What a refused or timed-out lock means.
        pub locked: Option<Target>,
        /// The order's answer once this statement succeeded; commits.
        pub then: Option<Outcome>,
    }
}

with_texts! {
    /// One `[[setup]]` statement.
    pub struct SetupText {
        /// The service whose database it is for.
        pub service: Option<String>,
    }
}

/// What a statement's special result means for the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nothing special: go on.
    Continue,
    /// The attempt was refused by concurrency control: roll back, try again.
    Conflict,
    /// A flow found nothing to do.
    Idle,
    /// Roll back; this is the order's answer.
    Answer(Outcome),
    /// Go to a step of this transaction, or roll back and run another one.
    Jump(String),
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        if let Some(name) = word.strip_prefix('@') {
            return Ok(Self::Jump(name.to_owned()));
        }
        match word.as_str() {
            "ok" => Ok(Self::Continue),
            "conflict" => Ok(Self::Conflict),
            "idle" => Ok(Self::Idle),
            _ => match word.parse::<Outcome>() {
                Ok(outcome) if outcome.is_answer() => Ok(Self::Answer(outcome)),
                _ => {
                    let answers = Outcome::answers().map(Outcome::as_str);
                    let known: Vec<&str> = ["ok", "conflict", "idle"].into_iter().chain(answers).collect();
                    Err(de::Error::custom(format!(
                        "unknown meaning `{word}`, expected `@NAME` or one of {}",
                        text::backquoted(&known)
                    )))
                }
            },
        }
    }
}

/// A value for all dialects, or one for each.
#[derive(Debug, Clone)]
pub struct PerDialect<T> {
    all: Option<T>,
    each: Vec<(Dialect, T)>,
}

impl<T> Default for PerDialect<T> {
    fn default() -> Self {
        Self { all: None, each: Vec::new() }
    }
}

impl<T> PerDialect<T> {
    /// The value for a dialect. MariaDB takes MySQL's unless it has its own.
    pub fn get(&self, dialect: Dialect) -> Option<&T> {
        let own = |wanted| self.each.iter().find(|(d, _)| *d == wanted).map(|(_, value)| value);
        own(dialect).or_else(|| dialect.falls_back_to().and_then(own)).or(self.all.as_ref())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for PerDialect<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_untagged::UntaggedEnumVisitor::new()
            .expecting("a text, or a table with one text per dialect")
            .string(|word| {
                let value = de::value::StrDeserializer::new(word);
                Ok(Self { all: Some(T::deserialize(value)?), each: Vec::new() })
            })
            .map(|map| {
                let each: EachDialect<T> = map.deserialize()?;
                Ok(each.into())
            })
            .deserialize(deserializer)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EachDialect<T> {
    postgres: Option<T>,
    mysql: Option<T>,
    mariadb: Option<T>,
    sqlite: Option<T>,
}

impl<T> From<EachDialect<T>> for PerDialect<T> {
    fn from(each: EachDialect<T>) -> Self {
        let each = [
            (Dialect::Postgres, each.postgres),
            (Dialect::MySql, each.mysql),
            (Dialect::MariaDb, each.mariadb),
            (Dialect::Sqlite, each.sqlite),
        ];
        Self { all: None, each: each.into_iter().filter_map(|(d, value)| Some((d, value?))).collect() }
    }
}

/// The finding that an audit must make: one for all databases, or one for each.
///
/// MariaDB has two entries where `innodb_snapshot_isolation` decides: on by default from
/// 11.6, it makes another database of it.
#[derive(Debug, Clone, Default)]
pub struct ExpectedAudit {
    by_dialect: PerDialect<ExpectedFinding>,
    mariadb_snapshot_isolation: Option<ExpectedFinding>,
}

impl ExpectedAudit {
    /// What must be found on this database; nothing, where the file doesn't say.
    pub fn on(&self, database: &DatabaseInfo) -> ExpectedFinding {
        self.mariadb_snapshot_isolation
            .filter(|_| database.has_snapshot_isolation())
            .or_else(|| self.by_dialect.get(database.kind).copied())
            .unwrap_or(ExpectedFinding::Nothing)
    }
}

impl<'de> Deserialize<'de> for ExpectedAudit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_untagged::UntaggedEnumVisitor::new()
            .expecting("a finding, or a table with one finding per dialect")
            .string(|word| {
                let finding = ExpectedFinding::deserialize(de::value::StrDeserializer::new(word))?;
                let by_dialect = PerDialect { all: Some(finding), each: Vec::new() };
                Ok(Self { by_dialect, mariadb_snapshot_isolation: None })
            })
            .map(|map| {
                let each: EachFinding = map.deserialize()?;
                Ok(each.into())
            })
            .deserialize(deserializer)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EachFinding {
    postgres: Option<ExpectedFinding>,
    mysql: Option<ExpectedFinding>,
    mariadb: Option<ExpectedFinding>,
    mariadb_snapshot_isolation: Option<ExpectedFinding>,
    sqlite: Option<ExpectedFinding>,
}

impl From<EachFinding> for ExpectedAudit {
    fn from(each: EachFinding) -> Self {
        let EachFinding { postgres, mysql, mariadb, mariadb_snapshot_isolation, sqlite } = each;
        let by_dialect = EachDialect { postgres, mysql, mariadb, sqlite }.into();
        Self { by_dialect, mariadb_snapshot_isolation }
    }
}

impl StrategyFile {
    /// Parses a file's text; `name` is how errors call it.
    ///
    /// # Errors
    /// One line that names the file, the line and the nearest known key.
    pub fn parse(name: &str, source: &str) -> Result<Self> {
        text::parse_toml(name, source)
    }
}

fn parse_duration<E: de::Error>(word: &str) -> Result<Duration, E> {
    text::duration(word).map_err(E::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?)
}

fn delay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(Duration, Duration), D::Error> {
    let [min, max] = <[String; 2]>::deserialize(deserializer)?;
    let (min, max) = (parse_duration(&min)?, parse_duration(&max)?);
    if min > max {
        return Err(de::Error::custom("the shortest delay is longer than the longest"));
    }
    Ok((min, max))
}
