//! Text that a server could read otherwise than our parser does: refused before
//! it is parsed, so that what is judged is what runs.

use crate::db::Dialect;

/// Why a text may mean something else to the server than to the parser.
pub(super) fn ambiguity(sql: &str, dialect: Dialect) -> Option<&'static str> {
    let is_mysql = matches!(dialect, Dialect::MySql | Dialect::MariaDb);
    let is_control = |(at, c): (usize, char)| match c {
        '\n' | '\t' => false,
        '\r' => !sql[at..].starts_with("\r\n"),
        _ => c.is_control(),
    };

    if sql.char_indices().any(is_control) {
        return Some("has a control character in it");
    }
    if sql.contains('\\') && dialect != Dialect::Sqlite {
        return Some("has a backslash in it, whose meaning depends on the server's settings");
    }
    if sql.contains('"') && is_mysql {
        return Some(
            "has double quotes, which mark a text or a name by the server's sql_mode: use single quotes or backticks",
        );
    }

    outside_of_quotes(sql, dialect)
}

/// The same for what has a meaning only outside of quotes.
fn outside_of_quotes(sql: &str, dialect: Dialect) -> Option<&'static str> {
    let is_mysql = matches!(dialect, Dialect::MySql | Dialect::MariaDb);
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\'' | '"' | '`' => match after.split_once(c) {
                Some((_, after)) => after,
                None => return Some("has a quote that does not end"),
            },
            '/' if after.starts_with('*') => {
                let Some((comment, after)) = after[1..].split_once("*/") else {
                    return Some("has a comment that does not end");
                };
                // `/*!` and `/*M!` run on the server, and `/*+` changes settings.
                if comment.starts_with(['!', '+']) || comment.starts_with("M!") || comment.contains("/*") {
                    return Some("has a comment that the server may run, or nest");
                }
                after
            }
            '-' if after.starts_with('-') => {
                if is_mysql && !after[1..].is_empty() && !after[1..].starts_with([' ', '\t', '\n', '\r']) {
                    return Some("has -- without a space after it, which is no comment for every server");
                }
                after.split_once('\n').map_or("", |(_, after)| after)
            }
            '#' if is_mysql => after.split_once('\n').map_or("", |(_, after)| after),
            '$' if !after.starts_with(|next: char| next.is_ascii_digit()) && dialect != Dialect::Sqlite => {
                return Some("has a $ that begins no bind");
            }
            '&' if dialect == Dialect::Postgres && after.starts_with(['\'', '"']) => {
                return Some("has a text or a name with Unicode escapes");
            }
            '@' if is_mysql => return Some("uses a session variable"),
            _ if !c.is_ascii() => return Some("has a character outside of ASCII that is not in quotes"),
            _ => after,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_plain_on_every_database() {
        for dialect in Dialect::ALL {
            for sql in [
                "SELECT 'it''s /*! fine */', 'größe' FROM t -- a comment\nWHERE a = 1 /* another */",
                "SELECT 1 /* größe */\r\n",
                "SELECT 1 --",
            ] {
                assert_eq!(ambiguity(sql, dialect), None, "{dialect}: {sql}");
            }
        }
    }

    #[test]
    fn text_that_two_readers_read_differently_is_refused() {
        use Dialect::{MariaDb, MySql, Postgres, Sqlite};
        for (dialect, sql) in [
            (MySql, "UPDATE a /*! , b */ SET x = 1"),
            (MariaDb, "UPDATE a /*M! , b */ SET x = 1"),
            (MariaDb, "UPDATE a /*M!100100 , b */ SET x = 1"),
            (MySql, "SELECT /*+ SET_VAR(sql_mode = 'ANSI_QUOTES') */ 1"),
            (Postgres, "SELECT 1 /* /* */ DELETE FROM victim -- */"),
            (Postgres, "SELECT 1 -- \r; DELETE FROM victim"),
            (Postgres, "SELECT $$'$$, 'x'"),
            (Postgres, "SELECT $a$'$a$"),
            (Postgres, "DELETE FROM U&\"v!0069ctim\" UESCAPE '!'"),
            (Postgres, "SELECT 'a\\'"),
            (Postgres, "SELECT 1 /* open"),
            (Postgres, "SELECT 'open"),
            (Postgres, "DELETE FROM stockbench_x\u{a0}y"),
            (MySql, "SELECT 1--1"),
            (MySql, "SELECT \"a\""),
            (MySql, "SELECT @x := 1"),
            (Sqlite, "SELECT 1\0"),
        ] {
            assert!(ambiguity(sql, dialect).is_some(), "{dialect}: {sql}");
        }
    }
}
