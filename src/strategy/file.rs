//! The strategy file: raw TOML that only validates its own shape.
//!
//! The meaning (which steps run per line, where a jump lands, whether a bind
//! is ever yielded) is given by [`super::program`], once for every caller.

use crate::db::{Dialect, Isolation};
use crate::outcome::Outcome;
use crate::text;
use anyhow::Result;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A whole strategy file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyFile {
    /// One line for the catalogue.
    pub summary: String,
    /// What it is, when to use it, its trap, its source.
    #[serde(default)]
    pub about: String,
    /// Whether it keeps the invariants under contention. Files of the user's
    /// own need not say.
    pub safety: Option<Safety>,
    /// Where it is unsafe, or what makes it so, in a few words.
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
    /// Statements that make the strategy's own tables, run after seeding.
    #[serde(default)]
    pub setup: Vec<StatementText>,
    /// What the audit reads where it isn't the usual tables.
    #[serde(default)]
    pub audit: AuditSource,
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
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 0,
            delay: (Duration::from_millis(1), Duration::from_millis(500)),
            within: Duration::from_secs(120),
        }
    }
}

/// Where the audit finds the strategy's stock and ledger.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSource {
    /// A query giving `sku_id` and `stock`.
    pub stock: Option<String>,
    /// A table of the ledger's shape.
    pub ledger: Option<String>,
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
    /// The order's answer once this transaction is committed.
    pub then: Option<Outcome>,
    /// The transaction a conflict goes back to (by default this one).
    pub restart: Option<String>,
    /// The statements, in order.
    #[serde(default)]
    pub step: Vec<StepText>,
}

/// One `[[transaction.step]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepText {
    /// What a jump calls it.
    pub name: Option<String>,
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
    /// The columns of its first row, which later steps may bind.
    #[serde(default)]
    pub yields: Vec<String>,
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

/// One `[[setup]]` statement.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatementText {
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
}

/// What a statement's special result means for the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nothing special: go on.
    Continue,
    /// The attempt was refused by concurrency control: roll back, try again.
    Conflict,
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
            _ => match word.parse::<Outcome>() {
                Ok(outcome) if outcome.is_answer() => Ok(Self::Answer(outcome)),
                _ => {
                    let answers = Outcome::answers().map(Outcome::as_str);
                    let known: Vec<&str> = ["ok", "conflict"].into_iter().chain(answers).collect();
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
                let each = [
                    (Dialect::Postgres, each.postgres),
                    (Dialect::MySql, each.mysql),
                    (Dialect::MariaDb, each.mariadb),
                    (Dialect::Sqlite, each.sqlite),
                ];
                let each = each.into_iter().filter_map(|(d, value)| Some((d, value?))).collect();
                Ok(Self { all: None, each })
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

/// The text that a dialect takes from a step or a setup statement.
macro_rules! text_for {
    ($statement:ty) => {
        impl $statement {
            /// The text for a dialect: its own, its family's, or the common one.
            pub fn text(&self, dialect: Dialect) -> Option<&str> {
                let own = |dialect| match dialect {
                    Dialect::Postgres => self.postgres.as_deref(),
                    Dialect::MySql => self.mysql.as_deref(),
                    Dialect::MariaDb => self.mariadb.as_deref(),
                    Dialect::Sqlite => self.sqlite.as_deref(),
                };
                own(dialect).or_else(|| dialect.falls_back_to().and_then(own)).or(self.sql.as_deref())
            }
        }
    };
}
text_for!(StepText);
text_for!(StatementText);

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
