//! Finds `:name` binds in SQL text, so that one text serves every dialect.
//!
//! Not a parser: it only knows what is *not* a bind (quoted text, comments,
//! `::casts`, `:=`), which is the same everywhere.

/// A piece of a statement's text.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text that is sent as it is.
    Text(&'a str),
    /// The name of a bind, without its colon.
    Bind(&'a str),
}

/// Splits a statement at its binds.
pub fn pieces(sql: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut text_from, mut at) = (0, 0);
    while at < sql.len() {
        let rest = &sql[at..];
        let opaque = opaque_len(rest);
        if opaque > 0 {
            at += opaque;
        } else if let Some(name) = bind_name(rest) {
            pieces.push(Piece::Text(&sql[text_from..at]));
            pieces.push(Piece::Bind(name));
            at += 1 + name.len();
            text_from = at;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    pieces.push(Piece::Text(&sql[text_from..]));
    pieces
}

/// The name of the bind that `rest` opens with, if it does.
fn bind_name(rest: &str) -> Option<&str> {
    let name = rest.strip_prefix(':')?;
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
    let name = &name[..end];
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then_some(name)
}

/// How many bytes of `rest` open with something that cannot hold a bind.
fn opaque_len(rest: &str) -> usize {
    let until = |opening: usize, closing: &str| {
        rest[opening..].find(closing).map_or(rest.len(), |at| opening + at + closing.len())
    };
    match rest.as_bytes() {
        [b'\'', ..] => until(1, "'"),
        [b'"', ..] => until(1, "\""),
        [b'`', ..] => until(1, "`"),
        [b'-', b'-', ..] => until(2, "\n"),
        [b'/', b'*', ..] => until(2, "*/"),
        [b':', b':' | b'=', ..] => 2,
        [b'$', ..] => {
            let tag_end = rest[1..].find('$').map(|at| at + 2);
            match tag_end {
                Some(end) if rest[1..end - 1].chars().all(|c| c.is_alphanumeric() || c == '_') => {
                    until(end, &rest[..end])
                }
                _ => 0,
            }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binds(sql: &str) -> Vec<&str> {
        let bind = |piece| match piece {
            Piece::Bind(name) => Some(name),
            Piece::Text(_) => None,
        };
        pieces(sql).into_iter().filter_map(bind).collect()
    }

    #[test]
    fn binds_are_found_and_look_alikes_are_not() {
        assert_eq!(binds("UPDATE t SET a = a - :q WHERE id=:id"), ["q", "id"]);
        assert_eq!(binds("SELECT :a::int, ':b', \":c\", `:d` -- :e\n, :f /* :g */"), ["a", "f"]);
        assert_eq!(binds("SET @x := 1"), [""; 0]);
        assert_eq!(binds("SELECT 'it''s :no' , :yes"), ["yes"]);
        assert_eq!(binds("SELECT $$ :no $$, $tag$ :no $tag$, :yes"), ["yes"]);
        assert_eq!(binds("SELECT 12:30, 'unclosed :x"), [""; 0]);
    }

    #[test]
    fn the_pieces_put_together_are_the_text() {
        let sql = "SELECT é, :a FROM t WHERE x = ':no' AND y = :b";
        let whole: String = pieces(sql)
            .into_iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Bind(name) => format!(":{name}"),
            })
            .collect();
        assert_eq!(whole, sql);
    }
}
