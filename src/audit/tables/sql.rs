//! The expressions that the audit's queries are made of, in each dialect.

use crate::db::Dialect;
use crate::db::catalogue::Holds;

/// A value as text.
pub fn as_text(dialect: Dialect, expression: &str) -> String {
    let name = match dialect {
        Dialect::MySql | Dialect::MariaDb => "CHAR",
        Dialect::Postgres | Dialect::Sqlite | Dialect::Null => "TEXT",
    };
    format!("CAST({expression} AS {name})")
}

/// A 64-bit whole number.
pub fn integer(dialect: Dialect, expression: &str) -> String {
    let name = match dialect {
        Dialect::Postgres => "BIGINT",
        Dialect::MySql | Dialect::MariaDb => "SIGNED",
        Dialect::Sqlite | Dialect::Null => "INTEGER",
    };
    format!("CAST({expression} AS {name})")
}

/// A whole number of 64 bits, with a sign.
pub fn whole(dialect: Dialect, expression: &str, holds: Holds) -> String {
    match (dialect, holds) {
        (Dialect::Sqlite, Holds::Int) => expression.to_owned(),
        // What subtracts is signed and wide, or a result is out of range.
        _ => integer(dialect, expression),
    }
}

/// When a number is in fractions; `None` if it cannot be.
pub fn fractions(dialect: Dialect, expression: &str, holds: Holds) -> Option<String> {
    let may_be = holds != Holds::Int || dialect == Dialect::Sqlite;
    may_be.then(|| format!("{expression} <> {}", integer(dialect, expression)))
}

/// Several texts as one.
pub fn joined(dialect: Dialect, parts: &[String]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| format!("COALESCE({part}, 'NULL')")).collect();
    match (parts.as_slice(), dialect) {
        ([], _) => "''".to_owned(),
        ([one], _) => one.clone(),
        (several, Dialect::MySql | Dialect::MariaDb) => format!("CONCAT_WS(' ', {})", several.join(", ")),
        (several, _) => several.join(" || ' ' || "),
    }
}

/// 1 where a condition holds and 0 elsewhere; 0 without one.
pub fn flag(condition: Option<&str>) -> String {
    condition.map_or_else(|| "0".to_owned(), |condition| format!("CASE WHEN {condition} THEN 1 ELSE 0 END"))
}

/// A column, or NULL where there is none.
pub fn or_null(column: Option<&String>) -> String {
    column.cloned().unwrap_or_else(|| "NULL".to_owned())
}

/// Columns for SELECT, each with a name of its own.
pub fn select(columns: &[String]) -> String {
    let named: Vec<String> =
        columns.iter().enumerate().map(|(at, column)| format!("{column} AS c{at}")).collect();
    named.join(", ")
}
