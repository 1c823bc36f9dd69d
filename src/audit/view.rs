//! Whether a view shows every row of the tables behind it, as far as its text tells.
//! Pure: what cannot be told counts as hiding rows.

use crate::db::Dialect;
use sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, JoinOperator, ObjectName, ObjectNamePart, Query, Select, SelectItem,
    SetExpr, SetOperator, SetQuantifier, Statement, TableFactor, TableWithJoins, visit_relations,
};
use sqlparser::dialect::{MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// A table or view as a statement names it: its schema, if it names one, and its name.
pub(super) type TableName = (Option<String>, String);

/// The tables and views that a view shows every row of; or what it has that leaves rows out
/// or changes what they say, for behind "it has".
pub(super) fn shown_whole(definition: &str, dialect: Dialect) -> Result<Vec<TableName>, String> {
    let statements = parse(definition, dialect).ok_or("a text that could not be judged")?;
    let query = match statements.as_slice() {
        [Statement::Query(query)] => query,
        [Statement::CreateView(view)] => &view.query,
        _ => return Err("a text that could not be judged".to_owned()),
    };
    let mut names = Vec::new();
    of_query(query, dialect, &mut names)?;

    Ok(names)
}

/// Every table and view that a query names; `None` where it cannot be told.
pub(super) fn named_in(sql: &str, dialect: Dialect) -> Option<Vec<TableName>> {
    let statements = parse(sql, dialect)?;
    let mut names = Vec::new();
    let _: ControlFlow<()> = visit_relations(&statements, |relation| {
        names.extend(table_name(relation, dialect));
        ControlFlow::Continue(())
    });

    Some(names)
}

fn parse(sql: &str, dialect: Dialect) -> Option<Vec<Statement>> {
    match dialect {
        Dialect::Postgres | Dialect::Null => Parser::parse_sql(&PostgreSqlDialect {}, sql),
        Dialect::MySql | Dialect::MariaDb => Parser::parse_sql(&MySqlDialect {}, sql),
        Dialect::Sqlite => Parser::parse_sql(&SQLiteDialect {}, sql),
    }
    .ok()
}

fn of_query(query: &Query, dialect: Dialect, names: &mut Vec<TableName>) -> Result<(), String> {
    if query.limit_clause.is_some() || query.fetch.is_some() {
        return Err("a LIMIT".to_owned());
    }
    if query.with.is_some() {
        return Err("a WITH".to_owned());
    }

    of_body(&query.body, dialect, names)
}

fn of_body(body: &SetExpr, dialect: Dialect, names: &mut Vec<TableName>) -> Result<(), String> {
    match body {
        SetExpr::Select(select) => of_select(select, dialect, names),
        SetExpr::Query(query) => of_query(query, dialect, names),
        SetExpr::SetOperation { op: SetOperator::Union, set_quantifier: SetQuantifier::All, left, right } => {
            of_body(left, dialect, names)?;
            of_body(right, dialect, names)
        }
        SetExpr::SetOperation { op, .. } => Err(format!("a {op}")),
        _ => Err("a text that could not be judged".to_owned()),
    }
}

fn of_select(select: &Select, dialect: Dialect, names: &mut Vec<TableName>) -> Result<(), String> {
    let is_grouped =
        !matches!(&select.group_by, GroupByExpr::Expressions(by, with) if by.is_empty() && with.is_empty());
    let clauses = [
        (select.selection.is_some() || select.prewhere.is_some(), "a WHERE"),
        (is_grouped, "a GROUP BY"),
        (select.having.is_some(), "a HAVING"),
        (select.distinct.is_some(), "a DISTINCT"),
        (select.qualify.is_some(), "a QUALIFY"),
        (select.top.is_some(), "a TOP"),
        (
            !select.connect_by.is_empty() || !select.lateral_views.is_empty(),
            "a text that could not be judged",
        ),
    ];
    if let Some((_, what)) = clauses.iter().find(|(is_there, _)| *is_there) {
        return Err((*what).to_owned());
    }

    for item in &select.projection {
        let column = match item {
            SelectItem::UnnamedExpr(column) | SelectItem::ExprWithAlias { expr: column, .. } => column,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => continue,
            SelectItem::ExprWithAliases { .. } => return Err("a text that could not be judged".to_owned()),
        };
        if !says_what_is_stored(column) {
            return Err(format!("a computed column ({item})"));
        }
    }

    match select.from.as_slice() {
        [table] => of_tables(table, dialect, names),
        [] => Err("no table".to_owned()),
        _ => Err("a join".to_owned()),
    }
}

/// Every row of the first table is shown, whatever an outer join adds to it.
fn of_tables(table: &TableWithJoins, dialect: Dialect, names: &mut Vec<TableName>) -> Result<(), String> {
    of_table(&table.relation, dialect, names)?;
    for join in &table.joins {
        if !matches!(join.join_operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_)) {
            return Err("a join".to_owned());
        }
        of_table(&join.relation, dialect, names)?;
    }

    Ok(())
}

fn of_table(table: &TableFactor, dialect: Dialect, names: &mut Vec<TableName>) -> Result<(), String> {
    match table {
        TableFactor::Table { args: Some(_), .. } | TableFactor::Function { .. } => {
            Err("a function in place of a table".to_owned())
        }
        TableFactor::Table { partitions, .. } if !partitions.is_empty() => {
            Err("a choice of partitions".to_owned())
        }
        TableFactor::Table { sample: Some(_), .. } => Err("a TABLESAMPLE".to_owned()),
        TableFactor::Table { version: Some(_), .. } => Err("a FOR SYSTEM_TIME".to_owned()),
        TableFactor::Table { name, .. } => {
            names.push(table_name(name, dialect).ok_or("a name that could not be judged")?);
            Ok(())
        }
        TableFactor::NestedJoin { table_with_joins, .. } => of_tables(table_with_joins, dialect, names),
        TableFactor::Derived { .. } => Err("a subquery".to_owned()),
        _ => Err("a text that could not be judged".to_owned()),
    }
}

/// Whether a column of a view says what a column of its table says: by itself, cast, or in a
/// sum or a difference. A function could hide anything.
fn says_what_is_stored(column: &Expr) -> bool {
    match column {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) => true,
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } | Expr::UnaryOp { expr: inner, .. } => {
            says_what_is_stored(inner)
        }
        Expr::BinaryOp { left, op: BinaryOperator::Plus | BinaryOperator::Minus, right } => {
            says_what_is_stored(left) && says_what_is_stored(right)
        }
        _ => false,
    }
}

/// The name as the catalogue has it: PostgreSQL keeps unquoted names in lower case.
fn table_name(name: &ObjectName, dialect: Dialect) -> Option<TableName> {
    let part = |part: &ObjectNamePart| {
        let ident = part.as_ident()?;
        let folds = dialect == Dialect::Postgres && ident.quote_style.is_none();
        Some(if folds { ident.value.to_lowercase() } else { ident.value.clone() })
    };
    let parts: Option<Vec<String>> = name.0.iter().map(part).collect();
    let mut parts = parts?.into_iter().rev();
    let name = parts.next()?;

    Some((parts.next(), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_that_shows_every_row_names_the_tables_behind_it() {
        for (dialect, definition, tables) in [
            (
                Dialect::Postgres,
                " SELECT product.id,\n    product.on_hand AS units\n   FROM product;",
                "product",
            ),
            (
                Dialect::Postgres,
                "SELECT p.id, (p.a - p.b) AS units FROM shop.\"Product\" p ORDER BY p.id;",
                "shop.Product",
            ),
            (Dialect::Postgres, "SELECT * FROM Old UNION ALL SELECT * FROM new;", "old new"),
            (
                Dialect::Postgres,
                "SELECT l.id, (l.q)::bigint AS q, o.state FROM (line l LEFT JOIN orders o ON ((o.id = l.o)));",
                "line orders",
            ),
            (Dialect::MySql, "select `s`.`p`.`id` AS `id`,1 AS `one` from `s`.`p`", "s.p"),
            (
                Dialect::MySql,
                "select `l`.`id` AS `id` from (`s`.`l` left join `s`.`o` on(`s`.`o`.`id` = `s`.`l`.`o`))",
                "s.l s.o",
            ),
            (Dialect::Sqlite, "CREATE VIEW v AS SELECT id, n AS units FROM p", "p"),
        ] {
            let names = shown_whole(definition, dialect).unwrap();
            let names: Vec<String> = names
                .into_iter()
                .map(|(schema, name)| {
                    schema.map_or_else(|| name.clone(), |schema| format!("{schema}.{name}"))
                })
                .collect();
            assert_eq!(names.join(" "), tables, "{definition}");
        }
    }

    #[test]
    fn a_view_that_may_hide_rows_says_by_what() {
        for (dialect, definition, what) in [
            (Dialect::Postgres, "SELECT id FROM p WHERE id > 0;", "a WHERE"),
            (Dialect::Postgres, "SELECT DISTINCT id FROM p;", "a DISTINCT"),
            (Dialect::Postgres, "SELECT id FROM p LIMIT 5;", "a LIMIT"),
            (Dialect::Postgres, "SELECT id FROM p FETCH FIRST 5 ROWS ONLY;", "a LIMIT"),
            (Dialect::Postgres, "SELECT id FROM p OFFSET 1;", "a LIMIT"),
            (Dialect::Postgres, "SELECT p.id FROM p JOIN o ON o.id = p.id;", "a join"),
            (Dialect::Postgres, "SELECT p.id FROM p, o;", "a join"),
            (Dialect::Postgres, "SELECT id, max(n) AS n FROM p GROUP BY id;", "a GROUP BY"),
            (Dialect::Postgres, "SELECT id FROM p UNION SELECT id FROM o;", "a UNION"),
            (Dialect::Postgres, "SELECT id FROM p EXCEPT SELECT id FROM o;", "a EXCEPT"),
            (Dialect::Postgres, "WITH x AS (SELECT * FROM p) SELECT * FROM x;", "a WITH"),
            (
                Dialect::Postgres,
                "SELECT id, GREATEST(n, 0) AS n FROM p;",
                "a computed column (GREATEST(n, 0) AS n)",
            ),
            (
                Dialect::Postgres,
                "SELECT id, CASE WHEN true THEN n ELSE 0 END AS n FROM p;",
                "a computed column (CASE WHEN true THEN n ELSE 0 END AS n)",
            ),
            (Dialect::Postgres, "SELECT id FROM seen();", "a function in place of a table"),
            (Dialect::Postgres, "SELECT id FROM p TABLESAMPLE system (10);", "a TABLESAMPLE"),
            (Dialect::Postgres, "SELECT x.id FROM (SELECT id FROM p) x;", "a subquery"),
            (Dialect::MySql, "select id from p partition (p0)", "a choice of partitions"),
            (Dialect::Sqlite, "CREATE VIEW v AS SELECT id FROM p WHERE n > 0", "a WHERE"),
            (Dialect::Sqlite, "not SQL at all", "a text that could not be judged"),
        ] {
            assert_eq!(shown_whole(definition, dialect), Err(what.to_owned()), "{definition}");
        }
        // PostgreSQL's ONLY leaves the children out; the parser takes it for a name, which
        // then is not found.
        let only = shown_whole("SELECT id FROM ONLY p;", Dialect::Postgres);
        assert!(only.is_err() || only == Ok(vec![(None, "only".to_owned())]), "{only:?}");
    }

    #[test]
    fn the_tables_of_a_query_are_found_wherever_they_are_named() {
        let sql = "SELECT a FROM x WHERE b IN (SELECT b FROM s.y) UNION SELECT c FROM \"Z\"";
        let named = named_in(sql, Dialect::Postgres).unwrap();
        let expected = [(None, "x"), (Some("s"), "y"), (None, "Z")];
        assert_eq!(named, expected.map(|(schema, name)| (schema.map(str::to_owned), name.to_owned())));
    }
}
