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
    let Ok(tokens) = Tokenizer::new(dialect_of(dialect), sql).tokenize() else { return text::one_line(sql) };
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

/// A statement without its values: what is sent, and the text of the program's step that
/// sends it, are the same then.
pub(super) fn normalized(sql: &str, dialect: Dialect) -> String {
    let Ok(tokens) = Tokenizer::new(dialect_of(dialect), sql).tokenize() else { return text::one_line(sql) };
    let mut words: Vec<String> = Vec::new();
    for token in tokens {
        let is_value = match &token {
            Token::Whitespace(_) => continue,
            Token::Placeholder(_) | Token::Number(..) | Token::SingleQuotedString(_) => true,
            Token::Word(word) => word.quote_style.is_none() && word.value.eq_ignore_ascii_case("null"),
            _ => false,
        };
        // A value may bring its own sign.
        while is_value && words.last().is_some_and(|last| last == "-") {
            words.pop();
        }
        words.push(if is_value { "?".to_owned() } else { token.to_string() });
    }
    words.join(" ").replace(" :: bigint", "")
}

fn dialect_of(dialect: Dialect) -> &'static dyn SqlDialect {
    match dialect {
        Dialect::Postgres | Dialect::Null => &PostgreSqlDialect {},
        Dialect::MySql | Dialect::MariaDb => &MySqlDialect {},
        Dialect::Sqlite => &SQLiteDialect {},
    }
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
    fn what_is_sent_and_its_step_are_the_same_without_values() {
        for (dialect, step, binds) in [
            (Dialect::Postgres, "UPDATE t SET a = -$1::bigint WHERE id = $2 AND b = 'x'", [3, 4]),
            (Dialect::MySql, "UPDATE t SET a = -? WHERE id = ? AND b = NULL", [-3, 4]),
            (Dialect::Sqlite, "UPDATE t\n SET a = ?1 + 5 WHERE id = ?2", [-3, 4]),
        ] {
            let sent = with_values(step, &binds.map(Value::Int), dialect);
            assert_eq!(normalized(&sent, dialect), normalized(step, dialect), "{sent}");
        }
        let (one, other) = ("SELECT a FROM t WHERE id = 1", "SELECT b FROM t WHERE id = 1");
        assert_ne!(normalized(one, Dialect::Sqlite), normalized(other, Dialect::Sqlite));
    }

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
