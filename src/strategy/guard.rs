//! What a program may write outside our own tables, as far as its text tells:
//! nothing outside our prefix is written unless the user says so.
//!
//! A statement is let through only in forms that are known to do nothing but read
//! and write the tables they name ([`Judgement`]). What those names stand for, only
//! the database knows: [`crate::db::bounds`] asks it.

mod functions;
mod scripts;
mod statement;
mod text;

use super::Program;
use super::program::{AuditSource, Setup};
use crate::db::Dialect;
use statement::Use;
use std::fmt;

pub(super) use functions::is_harmless;
pub use statement::{Judgement, Relation};
pub(super) use statement::{parse, written};

/// Something that a program may do outside our own tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Foreign {
    /// Writes this table.
    Table(String),
    /// Locks rows of this table, which whoever works with it would wait for.
    Locks(String),
    /// Has a statement, at this place, that cannot be bounded, and why.
    Unbounded {
        /// Where it stands in the strategy.
        place: String,
        /// What is wrong with it, after "it".
        why: String,
    },
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(name) => f.write_str(name),
            Self::Locks(name) => write!(f, "{name} (rows locked)"),
            Self::Unbounded { place, why } => write!(f, "{place} ({why})"),
        }
    }
}

/// Everything that a program may do outside our own tables on a service's database.
pub fn foreign_writes(program: &Program, service: usize) -> Vec<Foreign> {
    let dialect = program.dialect_of(service);
    let mut found = Vec::new();

    for setup in &program.setup {
        match setup {
            Setup::Sql { service: on, sql } if *on == service => {
                found.extend(foreign("setup", sql, dialect, Use::Setup));
            }
            _ => {}
        }
    }
    for (place, sql) in queries(program, service) {
        found.extend(foreign(&place, &sql, dialect, Use::Query));
    }
    let there = program.all_transactions().filter(|tx| tx.service == service);
    for step in there.flat_map(|tx| &tx.steps).filter(|step| !step.statement.is_script) {
        found.extend(foreign(&step.place, &step.statement.sql, dialect, Use::Step));
    }

    found.sort();
    found.dedup();
    found
}

/// The queries that a program brings beside its steps, on a service's database: each
/// with its place.
pub fn queries(program: &Program, service: usize) -> Vec<(String, String)> {
    let mut found = audit_queries(&program.audit, &program.services, service);
    if service == 0 {
        let pending = program.flows.iter().filter_map(|flow| flow.pending.clone());
        found.extend(pending.map(|sql| ("pending".to_owned(), sql)));
    }
    found
}

fn audit_queries(
    audit: &AuditSource,
    services: &[(String, Dialect)],
    service: usize,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if service == 0 {
        found.extend(audit.queries().into_iter().map(|(place, sql)| (place.to_owned(), sql)));
    }
    for (index, invariant) in audit.invariants.iter().enumerate() {
        for query in std::iter::once(&invariant.query).chain(&invariant.same_as) {
            let own = services.iter().position(|(name, _)| Some(name) == query.service.as_ref());
            // A service without a database of its own shares the stock's.
            if own.map_or(0, |position| position + 1) == service {
                found.push((format!("invariant {}", index + 1), query.sql.clone()));
            }
        }
    }
    found
}

/// What a statement does, by its text.
pub fn judge(sql: &str, dialect: Dialect) -> Judgement {
    statement::judge(sql, dialect, Use::Setup)
}

/// What the definition of a view does, by its text; it is refused where it may do more
/// than read.
pub fn judge_view(definition: &str, dialect: Dialect) -> Judgement {
    statement::judge_view(definition, dialect)
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
    let foreign = in_setup.chain(in_steps).filter(|(_, script)| !scripts::keys_are_ours(script));
    foreign
        .map(|(place, _)| format!("{place} (a key of Redis that does not begin with 'stockbench:)"))
        .collect()
}

fn foreign(place: &str, sql: &str, dialect: Dialect, used_as: Use) -> Vec<Foreign> {
    let judgement = statement::judge(sql, dialect, used_as);
    let unbounded = |why| Foreign::Unbounded { place: place.to_owned(), why };
    let tables = judgement.foreign.into_iter().map(Foreign::Table);
    let locks = judgement.locks.into_iter().map(Foreign::Locks);
    tables.chain(locks).chain(judgement.refusals.into_iter().map(unbounded)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(dialect: Dialect, sql: &str) -> Vec<String> {
        foreign("step 1", sql, dialect, Use::Setup).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn writes_to_our_own_tables_and_reads_of_any_are_free() {
        for sql in [
            "UPDATE stockbench_sku SET stock = stock - $1 WHERE id = $2",
            "INSERT INTO stockbench_ledger (order_id) SELECT id FROM products",
            "DELETE FROM stockbench_unit WHERE n = 1",
            "SELECT * FROM products",
            "WITH s AS (UPDATE stockbench_sku SET stock = 1 RETURNING stock) SELECT stock FROM s",
            "SAVEPOINT a",
            "CREATE TABLE stockbench_x (id BIGINT)",
            "MERGE INTO stockbench_x x USING products p ON p.id = x.id WHEN NOT MATCHED THEN INSERT (id) VALUES (1)",
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
            (Dialect::Postgres, "SELECT * FROM products FOR UPDATE", "products (rows locked)"),
            (Dialect::MySql, "INSERT INTO stockbenchx (id) VALUES (?)", "stockbenchx"),
            (Dialect::MySql, "INSERT INTO other.stockbench_sku (id) VALUES (?)", "other.stockbench_sku"),
            (Dialect::MySql, "DELETE FROM stockbench_x USING victim AS stockbench_x", "victim"),
            (
                Dialect::MySql,
                "UPDATE (products p JOIN stockbench_sku s ON s.id = p.id) SET p.n = 1",
                "products",
            ),
            (Dialect::Sqlite, "DELETE FROM cart", "cart"),
            (
                Dialect::Postgres,
                "MERGE INTO products p USING stockbench_sku s ON s.id = p.id WHEN MATCHED THEN UPDATE SET n = s.stock",
                "products",
            ),
            (Dialect::Sqlite, "DROP TABLE cart", "cart"),
        ] {
            assert_eq!(found(dialect, sql), [table], "{sql}");
        }
    }

    #[test]
    fn what_cannot_be_judged_is_not_waved_through() {
        assert_eq!(found(Dialect::MySql, "CALL take_stock(?)").len(), 1);
        assert_eq!(found(Dialect::Postgres, "SELECT take_stock($1)").len(), 1);
        assert_eq!(found(Dialect::Postgres, "SELECT * FROM take_stock(1)").len(), 1);
        assert_eq!(found(Dialect::Postgres, "SELECT 1 FROM stockbench_sku, LATERAL take_stock(id)").len(), 1);
        assert_eq!(found(Dialect::MySql, "DROP INDEX stockbench_i ON stockbench_sku").len(), 1);
        assert_eq!(found(Dialect::Postgres, "SELECT * INTO cart FROM stockbench_sku").len(), 1);
        // The Kelvin sign is no K.
        assert_eq!(found(Dialect::Postgres, "DELETE FROM \"stoc\u{212a}bench_x\"").len(), 1);
        assert_eq!(found(Dialect::Postgres, "SELEC nonsense FORM").len(), 1);
        let calls = "MERGE INTO stockbench_x x USING (SELECT take_stock(1) AS id) s ON s.id = x.id WHEN MATCHED THEN DELETE";
        assert_eq!(found(Dialect::Postgres, calls).len(), 1);
    }
}
