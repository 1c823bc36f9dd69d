//! What a database error means: the one table of codes.
//!
//! Sources: PostgreSQL "Appendix A. Error Codes"; MySQL "Server Error Message
//! Reference"; MariaDB "Error Codes"; SQLite "Result and Error Codes"; and
//! live checks for the codes whose documentation leaves the effect open.

use super::DbError;
use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;

/// What an error means for the attempt that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Concurrency control refused: the whole transaction may be tried again.
    Retry,
    /// A lock was refused or waited for too long.
    Locked,
    /// Cancelled by a deadline or an administrator.
    Cancelled,
    /// The connection is gone; at COMMIT or in autocommit the effect is unknown.
    Lost,
    /// The server would not take the connection or statement: nothing started.
    NeverStarted,
    /// The node of a cluster takes no statement now, or no write: another one may.
    NotReady,
    /// A CHECK constraint or a range refused the value.
    Check,
    /// A unique key refused the row.
    Duplicate,
    /// The driver was driven wrongly: a bug of ours.
    Bug,
    /// The server cannot go on (read-only, disk full).
    Fatal,
    /// Anything else: the statement is wrong or not allowed.
    Statement,
}

impl ErrorClass {
    /// The class in words, for reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "serialization failure or deadlock",
            Self::Locked => "lock refused or waited for too long",
            Self::Cancelled => "cancelled",
            Self::Lost => "connection lost",
            Self::NeverStarted => "never started",
            Self::NotReady => "node not ready",
            Self::Check => "constraint refused the value",
            Self::Duplicate => "duplicate key",
            Self::Bug => "protocol misuse",
            Self::Fatal => "server cannot go on",
            Self::Statement => "statement refused",
        }
    }
}

/// The class of a PostgreSQL SQLSTATE.
pub fn postgres(sqlstate: &str) -> ErrorClass {
    match sqlstate {
        "40001" | "40P01" => ErrorClass::Retry,
        "55P03" => ErrorClass::Locked,
        "57014" | "25P03" | "25P04" => ErrorClass::Cancelled,
        "57P01" | "57P02" | "57P05" | "08000" | "08003" | "08006" | "08007" | "40003" => ErrorClass::Lost,
        "53300" | "57P03" | "08001" | "08004" => ErrorClass::NeverStarted,
        "23514" | "22003" => ErrorClass::Check,
        "23505" => ErrorClass::Duplicate,
        "25P02" | "26000" | "42P05" => ErrorClass::Bug,
        // A standby.
        "25006" => ErrorClass::NotReady,
        "53100" | "53200" => ErrorClass::Fatal,
        _ => ErrorClass::Statement,
    }
}

/// The class of a MySQL or MariaDB error number.
pub fn mysql(number: u16) -> ErrorClass {
    match number {
        // 1467 hides a deadlock over the AUTO-INC lock, rolled back like any
        // other (MariaDB MDEV-33593; seen on 10.11).
        // From 8002 on: TiDB, by its documentation ("Error Codes and Troubleshooting").
        1213 | 1020 | 3058 | 3101 | 1180 | 1467 | 8002 | 8005 | 8022 | 8028 | 9007 => ErrorClass::Retry,
        // Galera's node that is not in step; a member that takes no writes.
        1047 | 1290 | 1836 => ErrorClass::NotReady,
        1205 | 3572 => ErrorClass::Locked,
        1317 | 3024 | 1969 => ErrorClass::Cancelled,
        // 3100: Group Replication failed at COMMIT, before or after it told the others.
        1053 | 1927 | 2006 | 2013 | 3100 => ErrorClass::Lost,
        1040 | 1203 | 1226 | 1461 => ErrorClass::NeverStarted,
        3819 | 4025 | 1690 | 1264 => ErrorClass::Check,
        1062 => ErrorClass::Duplicate,
        1021 => ErrorClass::Fatal,
        _ => ErrorClass::Statement,
    }
}

/// Whether a code is a deadlock that the database broke. (`InnoDB` answers
/// with the same code where SERIALIZABLE refuses.)
pub fn is_deadlock(code: &str) -> bool {
    matches!(code, "40P01" | "1213" | "3058")
}

/// The class of an SQLite extended result code.
pub fn sqlite(code: i32) -> ErrorClass {
    match code {
        517 => return ErrorClass::Retry,
        275 => return ErrorClass::Check,
        2067 | 1555 => return ErrorClass::Duplicate,
        _ => {}
    }
    // The low byte is the primary code, whatever the detail above it.
    match code & 0xff {
        5 | 6 => ErrorClass::Locked,
        9 => ErrorClass::Cancelled,
        10 => ErrorClass::Lost,
        14 => ErrorClass::NeverStarted,
        8 | 13 => ErrorClass::Fatal,
        _ => ErrorClass::Statement,
    }
}

/// Classifies what sqlx reports.
pub fn classify(error: &sqlx::Error) -> DbError {
    use sqlx::Error;
    let below = |class, code: &str, message: String| DbError { class, code: code.to_owned(), message };
    match error {
        Error::Database(database) => from_database(database.as_ref()),
        Error::Io(io) => below(ErrorClass::Lost, "io", io.to_string()),
        Error::Tls(tls) => below(ErrorClass::NeverStarted, "tls", tls.to_string()),
        Error::WorkerCrashed => {
            below(ErrorClass::Lost, "worker", "the SQLite worker thread ended".to_owned())
        }
        Error::PoolTimedOut | Error::PoolClosed => below(ErrorClass::NeverStarted, "pool", error.to_string()),
        Error::Protocol(message) => below(ErrorClass::Lost, "protocol", message.clone()),
        other => below(ErrorClass::Statement, "driver", text::one_line(&other.to_string())),
    }
}

fn from_database(error: &dyn DatabaseError) -> DbError {
    let message = text::one_line(error.message());
    if let Some(mysql_error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        let number = mysql_error.number();
        // A COMMIT that failed: 149 is a deadlock, with anything else who knows.
        let is_lost = number == 1180 && !message.contains("149");
        let class = if is_lost { ErrorClass::Lost } else { mysql(number) };
        return DbError { class, code: number.to_string(), message };
    }
    let code = error.code().map(std::borrow::Cow::into_owned).unwrap_or_default();
    let is_sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
    let class = if is_sqlite { sqlite(code.parse().unwrap_or(1)) } else { postgres(&code) };
    DbError { class, code, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_that_decide_an_attempt_are_told_apart() {
        assert_eq!(postgres("40001"), ErrorClass::Retry);
        assert_eq!(postgres("55P03"), ErrorClass::Locked);
        assert_eq!(postgres("57P01"), ErrorClass::Lost);
        assert_eq!(postgres("42601"), ErrorClass::Statement);
        assert_eq!(mysql(1213), ErrorClass::Retry);
        assert_eq!(mysql(1205), ErrorClass::Locked);
        assert_eq!(mysql(1062), ErrorClass::Duplicate);
        assert_eq!(mysql(1064), ErrorClass::Statement);
        assert_eq!(mysql(1047), ErrorClass::NotReady);
        assert_eq!(sqlite(517), ErrorClass::Retry);
        assert_eq!(sqlite(5), ErrorClass::Locked);
        assert_eq!(sqlite(261), ErrorClass::Locked);
        assert_eq!(sqlite(2067), ErrorClass::Duplicate);
        assert_eq!(sqlite(1034), ErrorClass::Lost, "a failed fsync at COMMIT");
        assert_eq!(sqlite(1), ErrorClass::Statement);
    }
}
