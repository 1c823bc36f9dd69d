//! What happens while a schedule is played, with each statement as people read
//! it.

use crate::db::{Dialect, Value};
use crate::outcome::Outcome;
use crate::text;
use sqlparser::dialect::{Dialect as SqlDialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::tokenizer::{Token, Tokenizer};

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) client: usize,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// A statement was sent, and answered at once.
    Replied { sql: String, reply: String },
    /// A statement was sent and waits.
    Blocks { sql: String },
    /// A statement that waited was answered.
    Resumes { sql: String, reply: String },
    /// Clients that wait for each other, and in which statements.
    Deadlock(Vec<(usize, String)>),
    /// The client stopped for good.
    Crashes,
    /// The attempt was refused, and another one begins.
    Retries,
    /// The client was given its answer.
    Answered(Outcome),
}

/// A statement on one line, its placeholders replaced by their values.
pub(super) fn with_values(sql: &str, binds: &[Value], dialect: Dialect) -> String {
    let speaks: &dyn SqlDialect = match dialect {
        Dialect::Postgres | Dialect::Null => &PostgreSqlDialect {},
        Dialect::MySql | Dialect::MariaDb => &MySqlDialect {},
        Dialect::Sqlite => &SQLiteDialect {},
    };
    let Ok(tokens) = Tokenizer::new(speaks, sql).tokenize() else { return text::one_line(sql) };
    let mut next = 0;
    let mut line = String::new();
    for token in tokens {
        match token {
            Token::Placeholder(name) => {
                let numbered = name.strip_prefix(['$', '?']).and_then(|digits| digits.parse::<usize>().ok());
                let index = numbered.map_or(next, |number| number.saturating_sub(1));
                next += 1;
                line.push_str(&binds.get(index).map_or(name, literal));
            }
            Token::Whitespace(_) => {
                if !line.ends_with(' ') {
                    line.push(' ');
                }
            }
            token => line.push_str(&token.to_string()),
        }
    }
    line.replace("::bigint", "").trim().to_owned()
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_their_placeholders_were() {
        let binds = [Value::Int(3), Value::Text("it's".to_owned())];
        let postgres =
            with_values("UPDATE t\n  SET a = $2 WHERE id = $1 AND b = '$1'", &binds, Dialect::Postgres);
        assert_eq!(postgres, "UPDATE t SET a = 'it''s' WHERE id = 3 AND b = '$1'");
        let mysql = with_values("SELECT ? -- why\nFROM t WHERE a = ?", &binds, Dialect::MySql);
        assert_eq!(mysql, "SELECT 3 FROM t WHERE a = 'it''s'");
    }
}
