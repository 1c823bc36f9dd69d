//! Finds which tables a statement would write, so that nothing outside our
//! own prefix is written unless the user says so.

use super::Program;
use super::program::{Setup, Transaction};
use crate::db::Dialect;
use crate::db::schema::PREFIX;
use sqlparser::ast::{
    Expr, FromTable, ObjectName, Select, Statement, TableFactor, TableObject, TableWithJoins, Visit, Visitor,
};
use sqlparser::dialect::{MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::{Parser, ParserError};
use std::ops::ControlFlow;

/// Everything a program may write outside our own tables on a service's
/// database, in words: a table's name, or the place of a statement that could
/// not be judged.
pub fn foreign_writes(program: &Program, service: usize) -> Vec<String> {
    let dialect = program.dialect_of(service);
    let mut found = Vec::new();
    for setup in &program.setup {
        match setup {
            Setup::Sql { service: on, sql } if *on == service => {
                found.extend(foreign_writes_of("setup", sql, dialect));
            }
            _ => {}
        }
    }
    let stock = program.audit.stock.iter().map(|sql| ("audit.stock", sql));
    let pending = program.flows.iter().filter_map(|flow| Some(("pending", flow.pending.as_ref()?)));
    for (place, sql) in stock.chain(pending).filter(|_| service == 0) {
        found.extend(foreign_writes_of(place, sql, dialect));
    }
    let flows = program.flows.iter().flat_map(|flow| &flow.program.transactions);
    let on_service = |tx: &&Transaction| tx.service == service;
    for step in program.transactions.iter().chain(flows).filter(on_service).flat_map(|tx| &tx.steps) {
        let (place, text) = (step.place.as_str(), step.statement.sql.as_ref());
        if !step.statement.is_script {
            found.extend(foreign_writes_of(place, text, dialect));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The name that `--allow-writes` takes for keys that are not ours.
pub const REDIS: &str = "redis";

/// Scripts of a program whose keys may not be ours.
pub fn foreign_scripts(program: &Program) -> Vec<String> {
    let in_setup = program.setup.iter().filter_map(|setup| match setup {
        Setup::Script { script, .. } => Some(("setup", script.as_ref())),
        Setup::Sql { .. } => None,
    });
    let steps = program.steps().filter(|step| step.statement.is_script);
    let in_steps = steps.map(|step| (step.place.as_str(), step.statement.sql.as_ref()));
    let foreign = in_setup.chain(in_steps).filter(|(_, script)| !keys_are_ours(script));
    foreign
        .map(|(place, _)| format!("{place} (a key of Redis that does not begin with 'stockbench:)"))
        .collect()
}

/// Commands whose first argument is their only key.
const ONE_KEY: &[&str] = &[
    "DECR",
    "DECRBY",
    "EXPIRE",
    "GET",
    "HDEL",
    "HGET",
    "HGETALL",
    "HINCRBY",
    "HSET",
    "INCR",
    "INCRBY",
    "LINDEX",
    "LLEN",
    "LPOP",
    "LPUSH",
    "LRANGE",
    "LREM",
    "PEXPIRE",
    "RPOP",
    "RPUSH",
    "SADD",
    "SCARD",
    "SET",
    "SISMEMBER",
    "SREM",
    "STRLEN",
    "TTL",
    "ZADD",
    "ZCARD",
    "ZRANGE",
    "ZREM",
    "ZSCORE",
];

/// Commands that take any number of keys: only one is judged.
const ANY_KEYS: &[&str] = &["DEL", "EXISTS", "UNLINK"];

/// Whether a script shows, wherever it speaks to Redis, a command it is known
/// to use and a key with our prefix. What is put together elsewhere, or called
/// by another name, cannot be judged and counts as foreign.
fn keys_are_ours(script: &str) -> bool {
    if ["_G", "_ENV", "load", "getfenv", "setfenv", "require"].iter().any(|word| script.contains(word)) {
        return false;
    }
    script.split("redis").skip(1).all(|rest| {
        let call = rest.strip_prefix(".call(").or_else(|| rest.strip_prefix(".pcall("));
        call.is_some_and(call_is_ours)
    })
}

fn call_is_ours(call: &str) -> bool {
    let Some(rest) = call.strip_prefix('\'') else { return false };
    let Some((command, rest)) = rest.split_once('\'') else { return false };
    let Some(rest) = rest.trim_start().strip_prefix(',') else { return false };
    let Some(key) = rest.trim_start().strip_prefix("'stockbench:") else { return false };
    let Some((_, after)) = key.split_once('\'') else { return false };
    // The literal ends the key, or something is appended to it.
    let after = after.trim_start();
    let ends = [",", ")", ".."].iter().any(|end| after.starts_with(end));
    let argument_end = after.find([',', ')']).unwrap_or(after.len());
    let is_one_key = after[argument_end..].starts_with(')');
    let command = command.to_uppercase();
    let has_word = [" and ", " or "].iter().any(|word| after[..argument_end].contains(word));
    ends && !has_word
        && (ONE_KEY.contains(&command.as_str()) || ANY_KEYS.contains(&command.as_str()) && is_one_key)
}

/// The statements of a text, as this database would read it.
pub(super) fn parse(sql: &str, dialect: Dialect) -> Result<Vec<Statement>, ParserError> {
    match dialect {
        Dialect::Postgres | Dialect::Null => Parser::parse_sql(&PostgreSqlDialect {}, sql),
        Dialect::MySql | Dialect::MariaDb => Parser::parse_sql(&MySqlDialect {}, sql),
        Dialect::Sqlite => Parser::parse_sql(&SQLiteDialect {}, sql),
    }
}

/// Whether a function is the database's own and writes no table.
pub(super) fn is_harmless(lower_case_name: &str) -> bool {
    HARMLESS.contains(&lower_case_name)
}

/// The tables that an UPDATE or a DELETE of these may write, and whether that is
/// all that can be written.
pub(super) fn written(tables: &[TableWithJoins]) -> (Vec<&ObjectName>, bool) {
    let (mut names, mut is_known) = (Vec::new(), true);
    for table in tables {
        let joined = table.joins.iter().map(|join| &join.relation);
        for factor in std::iter::once(&table.relation).chain(joined) {
            match factor {
                TableFactor::Table { name, .. } => names.push(name),
                TableFactor::NestedJoin { table_with_joins, .. } => {
                    let (nested, all) = written(std::slice::from_ref(table_with_joins));
                    names.extend(nested);
                    is_known &= all;
                }
                // A subquery is read, never written.
                TableFactor::Derived { .. } => {}
                _ => is_known = false,
            }
        }
    }
    (names, is_known)
}

fn foreign_writes_of(place: &str, sql: &str, dialect: Dialect) -> Vec<String> {
    let Ok(statements) = parse(sql, dialect) else {
        return vec![format!("{place} (its SQL could not be judged)")];
    };
    let mut writes = Writes { place, found: Vec::new() };
    // The visitor never breaks off.
    let _: ControlFlow<()> = statements.visit(&mut writes);
    writes.found
}

struct Writes<'a> {
    place: &'a str,
    found: Vec<String>,
}

impl Visitor for Writes<'_> {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Query(_)
            | Statement::Savepoint { .. }
            | Statement::ReleaseSavepoint { .. }
            | Statement::Rollback { .. } => {}
            Statement::Insert(insert) => match &insert.table {
                TableObject::TableName(name) => self.target(name),
                _ => self.unknown(),
            },
            // MySQL may name several tables here; any of them may be written.
            Statement::Update(update) => self.targets(std::slice::from_ref(&update.table)),
            Statement::Delete(delete) => {
                let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
                self.targets(tables);
            }
            Statement::CreateTable(create) => self.target(&create.name),
            Statement::CreateIndex(create) => self.target(&create.table_name),
            Statement::Drop { names, table, .. } => {
                names.iter().chain(table).for_each(|name| self.target(name));
            }
            _ => self.unknown(),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if let Some(into) = &select.into {
            let targets = into.targets.iter().map(ToString::to_string);
            self.found.extend(targets.filter(|target| !target.to_lowercase().starts_with(PREFIX)));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expression {
            self.called(&function.name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        match table {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                self.called(name);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Functions of the databases that write no table. A function of the user's
/// own may do anything.
const HARMLESS: &[&str] = &[
    "abs",
    "avg",
    "cardinality",
    "ceil",
    "char_length",
    "clock_timestamp",
    "coalesce",
    "concat",
    "count",
    "current_timestamp",
    "database",
    "date",
    "datetime",
    "floor",
    "generate_series",
    "get_lock",
    "greatest",
    "hashtext",
    "if",
    "ifnull",
    "iif",
    "json_array_elements",
    "json_array_elements_text",
    "json_arrayagg",
    "json_each",
    "json_extract",
    "json_object",
    "json_table",
    "json_to_recordset",
    "jsonb_array_elements",
    "jsonb_to_recordset",
    "julianday",
    "lag",
    "last_insert_id",
    "lead",
    "least",
    "left",
    "length",
    "lower",
    "max",
    "min",
    "mod",
    "now",
    "nullif",
    "pg_advisory_xact_lock",
    "pg_try_advisory_xact_lock",
    "random",
    "release_all_locks",
    "release_lock",
    "round",
    "row_number",
    "sleep",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "array_agg",
    "json_agg",
    "unix_timestamp",
    "unnest",
    "upper",
];

impl Writes<'_> {
    /// A function of the user's own may do anything.
    fn called(&mut self, name: &ObjectName) {
        let name = name.to_string().to_lowercase();
        if !is_harmless(&name) {
            self.found.push(format!("{} (calls {name}(), which may write)", self.place));
        }
    }

    fn targets(&mut self, tables: &[TableWithJoins]) {
        let (names, is_known) = written(tables);
        for name in names {
            self.target(name);
        }
        if !is_known {
            self.unknown();
        }
    }

    fn target(&mut self, name: &ObjectName) {
        let last = name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.to_lowercase());
        if !last.is_some_and(|last| last.starts_with(PREFIX)) {
            self.found.push(name.to_string());
        }
    }

    fn unknown(&mut self) {
        self.found.push(format!("{} (not a plain read or write)", self.place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(dialect: Dialect, sql: &str) -> Vec<String> {
        foreign_writes_of("step 1", sql, dialect)
    }

    #[test]
    fn writes_to_our_own_tables_and_reads_of_any_are_free() {
        for sql in [
            "UPDATE stockbench_sku SET stock = stock - $1 WHERE id = $2",
            "INSERT INTO stockbench_ledger (order_id) SELECT id FROM products",
            "DELETE FROM stockbench_unit WHERE n = 1",
            "SELECT * FROM products FOR UPDATE",
            "WITH s AS (UPDATE stockbench_sku SET stock = 1 RETURNING stock) SELECT stock FROM s",
            "SAVEPOINT a",
            "CREATE TABLE stockbench_x (id BIGINT)",
        ] {
            assert_eq!(found(Dialect::Postgres, sql), [""; 0], "{sql}");
        }
    }

    #[test]
    fn writes_to_other_tables_are_named() {
        for (dialect, sql, table) in [
            (Dialect::Postgres, "UPDATE products SET stock = $1", "products"),
            (Dialect::Postgres, "WITH s AS (DELETE FROM shop.cart RETURNING 1) SELECT 1", "shop.cart"),
            (
                Dialect::MySql,
                "UPDATE stockbench_sku s JOIN products p ON s.id = p.id SET p.n = 1",
                "products",
            ),
            (Dialect::MySql, "INSERT INTO `orders` (id) VALUES (?)", "`orders`"),
            (Dialect::Postgres, "SELECT * INTO cart FROM stockbench_sku", "cart"),
            (
                Dialect::MySql,
                "UPDATE (products p JOIN stockbench_sku s ON s.id = p.id) SET p.n = 1",
                "products",
            ),
            (Dialect::Sqlite, "DELETE FROM cart", "cart"),
            (Dialect::Sqlite, "DROP TABLE cart", "cart"),
        ] {
            assert_eq!(found(dialect, sql), [table], "{sql}");
        }
    }

    #[test]
    fn a_script_must_show_its_keys() {
        for ours in [
            "return redis.call('SET', 'stockbench:lock:' .. ARGV[1], 1, 'NX')",
            "return redis.call('DEL', 'stockbench:sold')",
            "if redis.call('GET', 'stockbench:a') then return redis.call('DEL', 'stockbench:b:' .. ARGV[1]) end",
        ] {
            assert!(keys_are_ours(ours), "{ours}");
        }
        for foreign in [
            "return redis.call('SET', ARGV[1], 1)",
            "redis.pcall('FLUSHALL')",
            "local c = redis.call; c('FLUSHALL')",
            "redis['call']('SET', 'prod', 1)",
            "redis.call ('FLUSHALL')",
            "redis.call('DEL', 'stockbench:x', 'prod:y')",
            "redis.call('RENAME', 'stockbench:x', 'prod:y')",
            "redis.call('DEL', 'stockbench:' and 'prod')",
            "_G['re' .. 'dis'].call('FLUSHALL')",
        ] {
            assert!(!keys_are_ours(foreign), "{foreign}");
        }
    }

    #[test]
    fn what_cannot_be_judged_is_not_waved_through() {
        assert_eq!(found(Dialect::MySql, "CALL take_stock(?)").len(), 1);
        assert_eq!(found(Dialect::Postgres, "SELECT take_stock($1)").len(), 1);
        assert_eq!(found(Dialect::Postgres, "SELECT * FROM take_stock(1)").len(), 1);
        assert_eq!(found(Dialect::Postgres, "SELECT 1 FROM stockbench_sku, LATERAL take_stock(id)").len(), 1);
        assert_eq!(found(Dialect::MySql, "DROP INDEX stockbench_i ON orders"), ["orders"]);
        assert_eq!(found(Dialect::Postgres, "SELEC nonsense FORM").len(), 1);
    }
}
