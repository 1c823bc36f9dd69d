//! What a database error means: the one table of codes.
//!
//! Sources: PostgreSQL "Appendix A. Error Codes"; MySQL "Server Error Message
//! Reference"; MariaDB "Error Codes"; SQLite "Result and Error Codes"; and
//! live checks for the codes whose documentation leaves the effect open. For the
//! relatives, their own documentation alone: CockroachDB "Transaction Retry Error
//! Reference" and "Common Errors and Solutions", and its list of codes; YugabyteDB
//! "Transaction error codes in YSQL"; TiDB "Error Codes and Troubleshooting".

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
        "57014" => ErrorClass::Cancelled,
        // The server ends the session: shut down, its database dropped, or (25P03,
        // 25P04, 57P05) idle or in a transaction for too long. 58C00 and 58C01 are
        // CockroachDB's, for data or a node that cannot be reached: what had been done
        // by then is not said.
        "57P01" | "57P02" | "57P04" | "57P05" | "25P03" | "25P04" | "08000" | "08003" | "08006" | "08007"
        | "40003" | "58C00" | "58C01" => ErrorClass::Lost,
        "53300" | "57P03" | "08001" | "08004" => ErrorClass::NeverStarted,
        "23514" | "22003" => ErrorClass::Check,
        "23505" => ErrorClass::Duplicate,
        "25P02" | "26000" | "42P05" => ErrorClass::Bug,
        // A standby.
        "25006" => ErrorClass::NotReady,
        "53100" | "53200" | "58030" => ErrorClass::Fatal,
        _ => ErrorClass::Statement,
    }
}

/// The class of a MySQL or MariaDB error: of its number, and where that leaves it
/// open, of its message.
pub fn mysql(number: u16, message: &str) -> ErrorClass {
    match number {
        // A COMMIT that failed: 149 is a deadlock, with anything else who knows.
        1180 if !message.contains("149") => ErrorClass::Lost,
        // 1467 hides a deadlock over the AUTO-INC lock, rolled back like any
        // other (MariaDB MDEV-33593; seen on 10.11).
        1213 | 1020 | 3058 | 3101 | 1180 | 1467 => ErrorClass::Retry,
        // Galera's node that is not in step; a member that takes no writes.
        1047 | 1290 | 1836 => ErrorClass::NotReady,
        1205 | 3572 => ErrorClass::Locked,
        1317 | 3024 | 1969 => ErrorClass::Cancelled,
        // 1158 to 1161: packets that could not be read or written. 3032, 3169, 4031: the
        // server ended the session (everybody sent away; killed; idle for too long).
        // 3100: Group Replication failed at COMMIT, before or after it told the others.
        1053 | 1158..=1161 | 1927 | 2006 | 2013 | 3032 | 3100 | 3169 | 4031 => ErrorClass::Lost,
        1040 | 1203 | 1226 | 1461 => ErrorClass::NeverStarted,
        3819 | 4025 | 1690 | 1264 => ErrorClass::Check,
        1062 => ErrorClass::Duplicate,
        1021 | 1026 | 1114 => ErrorClass::Fatal,
        // A file or an engine that failed, for whatever reason the system gave.
        3 | 1030 if is_disk_full(message) => ErrorClass::Fatal,
        8000..=9999 => tidb(number),
        _ => ErrorClass::Statement,
    }
}

/// The class of the numbers that TiDB has beside MySQL's.
fn tidb(number: u16) -> ErrorClass {
    match number {
        8002 | 8005 | 8022 | 8028 | 9007 => ErrorClass::Retry,
        // The server is behind with the tables' definitions.
        8027 => ErrorClass::NotReady,
        // Locks of others that could not be resolved in time.
        9004 => ErrorClass::Locked,
        // The transaction lived for too long.
        8229 => ErrorClass::Cancelled,
        // The cluster behind the server did not answer, was busy or not there. What
        // had been done by then is not said.
        9001 | 9002 | 9003 | 9005 | 9010 => ErrorClass::Lost,
        _ => ErrorClass::Statement,
    }
}

/// Whether a message gives the system's error 28, ENOSPC, in either server's words.
fn is_disk_full(message: &str) -> bool {
    ["errno: 28 ", "errno 28 ", "error 28 "].iter().any(|reason| message.contains(reason))
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
        Error::Io(io) => match refused_certificate(&io.to_string()) {
            Some(message) => below(ErrorClass::NeverStarted, "tls", message),
            None => below(ErrorClass::Lost, "io", without_link(&io.to_string())),
        },
        Error::Tls(tls) => below(ErrorClass::NeverStarted, "tls", tls.to_string()),
        Error::WorkerCrashed => {
            below(ErrorClass::Lost, "worker", "the SQLite worker thread ended".to_owned())
        }
        Error::PoolTimedOut | Error::PoolClosed => below(ErrorClass::NeverStarted, "pool", error.to_string()),
        Error::Protocol(message) => below(ErrorClass::Lost, "protocol", message.clone()),
        other => below(ErrorClass::Statement, "driver", text::one_line(&other.to_string())),
    }
}

/// What is wrong with a server's certificate, where that is what kept a connection
/// from being made: the driver has no kind of error for it.
fn refused_certificate(message: &str) -> Option<String> {
    let reason = message.strip_prefix("invalid peer certificate: ")?;
    let advice = if reason == "UnknownIssuer" {
        ": name the CA that signed it (sslrootcert=FILE, on MySQL and MariaDB ssl-ca=FILE)"
    } else if reason.contains("CaUsedAsEndEntity") {
        return Some(
            "the server's certificate is not accepted, for it is a CA's own: have that CA sign one for the server"
                .to_owned(),
        );
    } else {
        ""
    };
    Some(format!("the server's certificate is not accepted, {reason}{advice}"))
}

/// What the TLS library says of a connection, without the page that explains it to
/// programmers.
fn without_link(message: &str) -> String {
    message.split(": https://").next().unwrap_or(message).to_owned()
}

fn from_database(error: &dyn DatabaseError) -> DbError {
    let message = text::one_line(error.message());
    if let Some(mysql_error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        let number = mysql_error.number();
        return DbError { class: mysql(number, &message), code: number.to_string(), message };
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
    fn what_tls_has_against_a_connection_is_said_to_people() {
        let said = |text: &str| classify(&sqlx::Error::Io(std::io::Error::other(text.to_owned())));
        let lost = said("peer closed connection without sending TLS close_notify: https://docs.rs/rustls/x");
        let words = "peer closed connection without sending TLS close_notify";
        assert_eq!((lost.class, lost.message.as_str()), (ErrorClass::Lost, words));
        let refused = said("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))");
        assert_eq!((refused.class, refused.code.as_str()), (ErrorClass::NeverStarted, "tls"));
        assert!(refused.message.ends_with("have that CA sign one for the server"), "{}", refused.message);
        let unknown = said("invalid peer certificate: UnknownIssuer").message;
        assert!(unknown.contains("not accepted, UnknownIssuer: name the CA"), "{unknown}");
    }

    #[test]
    fn every_sqlstate_has_its_class() {
        let table: [(ErrorClass, &[&str]); 11] = [
            (ErrorClass::Retry, &["40001", "40P01"]),
            (ErrorClass::Locked, &["55P03"]),
            (ErrorClass::Cancelled, &["57014"]),
            (
                ErrorClass::Lost,
                &[
                    "57P01", "57P02", "57P04", "57P05", "25P03", "25P04", "08000", "08003", "08006", "08007",
                    "40003", "58C00", "58C01",
                ],
            ),
            (ErrorClass::NeverStarted, &["53300", "57P03", "08001", "08004"]),
            (ErrorClass::NotReady, &["25006"]),
            (ErrorClass::Check, &["23514", "22003"]),
            (ErrorClass::Duplicate, &["23505"]),
            (ErrorClass::Bug, &["25P02", "26000", "42P05"]),
            (ErrorClass::Fatal, &["53100", "53200", "58030"]),
            (ErrorClass::Statement, &["42601", "42P01", "23503", "XX000", ""]),
        ];
        for (class, codes) in table {
            for code in codes {
                assert_eq!(postgres(code), class, "{code}");
            }
        }
    }

    #[test]
    fn every_number_of_mysql_and_its_relatives_has_its_class() {
        let table: [(ErrorClass, &[u16]); 10] = [
            (ErrorClass::Retry, &[1213, 1020, 3058, 3101, 1467, 8002, 8005, 8022, 8028, 9007]),
            (ErrorClass::Locked, &[1205, 3572, 9004]),
            (ErrorClass::Cancelled, &[1317, 3024, 1969, 8229]),
            (
                ErrorClass::Lost,
                &[
                    1053, 1927, 2006, 2013, 3100, 1158, 1159, 1160, 1161, 4031, 3169, 3032, 9001, 9002, 9003,
                    9005, 9010,
                ],
            ),
            (ErrorClass::NeverStarted, &[1040, 1203, 1226, 1461]),
            (ErrorClass::NotReady, &[1047, 1290, 1836, 8027]),
            (ErrorClass::Check, &[3819, 4025, 1690, 1264]),
            (ErrorClass::Duplicate, &[1062]),
            (ErrorClass::Fatal, &[1021, 1026, 1114]),
            (ErrorClass::Statement, &[1064, 1146, 1030, 3, 1157, 1162, 3098, 8001, 9006, 0]),
        ];
        for (class, numbers) in table {
            for number in numbers {
                assert_eq!(mysql(*number, "in its words"), class, "{number}");
            }
        }
    }

    #[test]
    fn a_message_decides_where_the_number_leaves_it_open() {
        let deadlock = "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT";
        assert_eq!(mysql(1180, deadlock), ErrorClass::Retry);
        assert_eq!(mysql(1180, "Got error 5 - 'Input/output error' during COMMIT"), ErrorClass::Lost);
        for full in [
            "Got error 28 - 'No space left on device' from storage engine",
            "Got error 28 \"No space left on device\" from storage engine InnoDB",
            "Error writing file '/tmp/MLfd' (OS errno 28 - No space left on device)",
            "Error writing file './log' (errno: 28 \"No space left on device\")",
        ] {
            assert_eq!(mysql(1030, full), ErrorClass::Fatal, "{full}");
            assert_eq!(mysql(3, full), ErrorClass::Fatal, "{full}");
        }
        let other = "Got error 122 - 'Internal (unspecified) error in handler' from storage engine";
        assert_eq!(mysql(1030, other), ErrorClass::Statement);
        assert_eq!(mysql(3, "Error writing file './errno 280' (errno: 5 \"I/O\")"), ErrorClass::Statement);
    }

    #[test]
    fn an_sqlite_code_is_its_low_byte_where_the_detail_does_not_decide() {
        let table: [(ErrorClass, &[i32]); 9] = [
            (ErrorClass::Retry, &[517]),
            (ErrorClass::Locked, &[5, 6, 261]),
            (ErrorClass::Cancelled, &[9]),
            // 1034 is a failed fsync at COMMIT.
            (ErrorClass::Lost, &[10, 1034]),
            (ErrorClass::NeverStarted, &[14]),
            (ErrorClass::Check, &[275]),
            (ErrorClass::Duplicate, &[2067, 1555]),
            (ErrorClass::Fatal, &[8, 13]),
            (ErrorClass::Statement, &[1, 19]),
        ];
        for (class, codes) in table {
            for code in codes {
                assert_eq!(sqlite(*code), class, "{code}");
            }
        }
    }
}
