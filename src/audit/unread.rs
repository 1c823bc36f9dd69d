//! Whether an audit reads what a strategy writes. One that does not would judge tables that
//! nobody has touched, and accuse a correct strategy of selling without moving its stock.

use super::view;
use crate::db::relation::{RelationKind, has_triggers, relation};
use crate::db::{Dialect, Session};
use crate::strategy::program::{AuditSource, Ledger};
use crate::strategy::{Program, guard};
use crate::text;
use anyhow::Result;
use std::collections::BTreeSet;

/// Why the audit cannot judge what these programs write, and what to write into `[audit]`;
/// nothing where it reads it, or where that cannot be told.
///
/// # Errors
/// The catalogue cannot be read.
pub async fn why_unread(
    session: &mut dyn Session,
    dialect: Dialect,
    programs: &[Program],
    audit: &AuditSource,
) -> Result<Option<String>> {
    // Without a ledger only the invariants judge; null: keeps nothing.
    let Some(ledger) = audit.ledger.as_table().filter(|_| dialect != Dialect::Null) else {
        return Ok(None);
    };
    let mut reads = Reads {
        stock: Tables::of(std::iter::once((audit.stock_sql(), dialect)), Part::Relations),
        ledger: Tables::of(std::iter::once((format!("SELECT 1 FROM {ledger}"), dialect)), Part::Relations),
    };

    for (names, mut writes) in writers(programs) {
        // The text alone settles nearly every case, without a question to the database.
        if reads.missed_by(&writes).is_none() {
            continue;
        }
        for tables in [&mut writes, &mut reads.stock, &mut reads.ledger] {
            tables.look_behind_views(session, dialect).await?;
        }
        if has_triggers(session, dialect, &writes.names).await? {
            continue;
        }
        if let Some(missed) = reads.missed_by(&writes) {
            return Ok(Some(reads.refusal(&names, &writes, missed, audit)));
        }
    }

    Ok(None)
}

/// The programs that must each move the stock, and what each of them writes. Where nobody sells,
/// it is enough that one of them moves it.
fn writers(programs: &[Program]) -> Vec<(String, Tables)> {
    let sellers: Vec<&[Program]> =
        programs.iter().filter(|program| program.sells()).map(std::slice::from_ref).collect();
    let groups = if sellers.is_empty() { vec![programs] } else { sellers };

    groups
        .into_iter()
        .map(|group| {
            let names: Vec<&str> = group.iter().map(|program| program.name.as_str()).collect();
            (names.join(", "), Tables::of(group.iter().flat_map(statements), Part::Writes))
        })
        .collect()
}

/// What a program and its background programs send, and the SQL it is in.
fn statements(program: &Program) -> impl Iterator<Item = (String, Dialect)> {
    program.all_transactions().flat_map(|tx| {
        let dialect = program.dialect_of(tx.service);
        let sql = tx.steps.iter().map(|step| &step.statement).filter(|statement| !statement.is_script);

        sql.map(move |statement| (statement.sql.to_string(), dialect))
    })
}

/// The last part of a name as a statement has it, without its quotes.
fn bare(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.trim_matches(['"', '`']).to_lowercase()
}

/// What of a statement counts.
#[derive(Clone, Copy)]
enum Part {
    /// Every table it names.
    Relations,
    /// The tables it changes.
    Writes,
}

/// Tables by their names alone, in lower case.
#[derive(Default)]
struct Tables {
    names: BTreeSet<String>,
    /// Whether a text, or something behind a name, may reach further ones.
    may_be_more: bool,
}

impl Tables {
    fn of(statements: impl Iterator<Item = (String, Dialect)>, part: Part) -> Self {
        let mut tables = Self::default();
        for (sql, dialect) in statements {
            let judgement = guard::judge(&sql, dialect);
            let named = match part {
                Part::Relations => judgement.relations,
                Part::Writes => judgement.writes,
            };
            tables.names.extend(named.into_iter().map(|table| table.name.to_lowercase()));
            // Empty in a query.
            tables.names.extend(judgement.foreign.iter().map(|table| bare(table)));
            tables.may_be_more |= !judgement.refusals.is_empty();
        }
        tables
    }

    /// Adds the tables behind views.
    async fn look_behind_views(&mut self, session: &mut dyn Session, dialect: Dialect) -> Result<()> {
        let mut rest: Vec<String> = self.names.iter().cloned().collect();
        while let Some(name) = rest.pop() {
            let Some(found) = relation(session, dialect, None, &name).await? else { continue };
            if found.kind == RelationKind::Table {
                continue;
            }
            let behind = found.definition.and_then(|definition| view::named_in(&definition, dialect));
            let Some(behind) = behind else {
                self.may_be_more = true;
                continue;
            };
            let names = behind.into_iter().map(|(_, name)| name.to_lowercase());
            rest.extend(names.filter(|name| self.names.insert(name.clone())));
        }

        Ok(())
    }

    fn meets(&self, other: &Self) -> bool {
        self.may_be_more || other.may_be_more || !self.names.is_disjoint(&other.names)
    }
}

/// What the audit reads.
struct Reads {
    stock: Tables,
    ledger: Tables,
}

/// What the audit reads and the strategy does not write.
#[derive(Clone, Copy)]
enum Missed {
    Stock,
    Ledger,
}

impl Reads {
    /// A program that writes nothing but what is read is judged, whatever it forgets.
    fn missed_by(&self, writes: &Tables) -> Option<Missed> {
        self.unread(writes).next()?;

        if !self.stock.meets(writes) {
            Some(Missed::Stock)
        } else if !self.ledger.meets(writes) {
            Some(Missed::Ledger)
        } else {
            None
        }
    }

    fn unread<'w>(&'w self, writes: &'w Tables) -> impl Iterator<Item = &'w str> {
        let is_read = |name: &&String| self.stock.names.contains(*name) || self.ledger.names.contains(*name);
        writes.names.iter().filter(move |name| !is_read(name)).map(String::as_str)
    }

    fn refusal(&self, program: &str, writes: &Tables, missed: Missed, audit: &AuditSource) -> String {
        let unread: Vec<&str> = self.unread(writes).collect();
        let (what, read) = match missed {
            Missed::Stock => ("stock", &self.stock),
            Missed::Ledger => ("ledger", &self.ledger),
        };
        let read: Vec<&str> = read.names.iter().map(String::as_str).collect();
        let stock = "stock = \"SELECT … AS sku_id, … AS stock FROM …\"";
        let ledger = "ledger = \"SELECT … AS id, … AS order_id, … AS sku_id, … AS kind, … AS status, … AS \
                      delta, … AS balance, … AS run_id FROM …\"";
        let missing = match (missed, &audit.ledger) {
            (Missed::Stock, Ledger::Usual) => format!("{stock} and {ledger}"),
            (Missed::Stock, _) => stock.to_owned(),
            (Missed::Ledger, _) => ledger.to_owned(),
        };

        format!(
            "strategy {program} writes {}, but the audit would read the {what} from {}, which the strategy never \
             writes: put into [audit] {missing}, or ledger = false where only its [[invariant]]s are to judge",
            text::backquoted(&unread),
            text::backquoted(&read),
        )
    }
}
