//! What an audit can see of the tables it reads. "Passed" is only said of rows that were
//! seen, so whatever can hide some of them is named here.

use super::read::Source;
use super::view::{self, TableName};
use crate::db::relation::{Relation, RelationKind, answer_limit, relation};
use crate::db::replica::Standing;
use crate::db::{Dialect, Session};
use crate::text;
use anyhow::{Context, Result, bail};
use std::collections::HashSet;

/// The list of runs tells which tables are audited.
const RUNS: &str = "stockbench_run";

/// What an audit can see of the tables it reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// What can hide rows: the audit cannot pass.
    pub not_seen: Vec<String>,
    /// What has to be known about the rows that were seen.
    pub caveats: Vec<String>,
    /// MySQL and MariaDB: tables whose engine has no transactions, with the engine.
    pub without_transactions: Vec<String>,
}

/// What a table without transactions may have to do with a finding.
pub(super) fn cause(table: &str) -> String {
    format!("{table} has no transactions: what is written there is neither isolated nor rolled back")
}

/// Looks up tables, and the tables behind views. Those of `complete` are taken for whole,
/// whatever they leave out.
///
/// # Errors
/// Row-level security or a setting of the server would hide rows, or the catalogue cannot be
/// read.
pub(super) async fn of_tables(
    session: &mut dyn Session,
    dialect: Dialect,
    tables: &[TableName],
    complete: &[String],
) -> Result<Scope> {
    if let Some(limit) = answer_limit(session, dialect).await? {
        bail!(
            "the server cuts every answer to this user after {limit} rows (sql_select_limit): set it to DEFAULT, \
             or audit as another user"
        );
    }

    let mut scope = Scope::default();
    let mut known: HashSet<TableName> = tables.iter().cloned().collect();
    let mut rest: Vec<TableName> = known.iter().cloned().collect();
    rest.sort();
    while let Some((schema, name)) = rest.pop() {
        let found = relation(session, dialect, schema.as_deref(), &name).await;
        let called = called(schema.as_deref(), &name);
        // A name that is nothing was made up by the query itself.
        let Some(found) = found.with_context(|| format!("cannot tell what {called} is"))? else { continue };
        if found.hides_rows {
            bail!(
                "row-level security hides rows of {called} from this user: audit as the owner of the table, or as \
                 a role with BYPASSRLS where the policies are forced on the owner"
            );
        }
        if complete.contains(&name) {
            scope.caveats.push(format!(
                "the mapping says that {called} is complete: what it leaves out is not judged"
            ));
            continue;
        }

        scope.add(&called, &found);
        if found.kind != RelationKind::View {
            continue;
        }
        let definition =
            found.definition.as_deref().ok_or_else(|| "a text that this user may not see".to_owned());
        match definition.and_then(|definition| view::shown_whole(definition, dialect)) {
            Ok(behind) => rest.extend(behind.into_iter().filter(|table| known.insert(table.clone()))),
            Err(what) => {
                scope.not_seen.push(format!(
                    "what the view {called} leaves out of the tables behind it: it has {what}"
                ));
            }
        }
    }

    Ok(scope)
}

/// The same for the audit of our own tables, or of those that the strategy's queries name, on
/// the main database (`None`) or on a service's.
///
/// # Errors
/// As [`of_tables`].
pub(super) async fn of_source(
    session: &mut dyn Session,
    dialect: Dialect,
    source: &Source,
    service: Option<&str>,
) -> Result<Scope> {
    let mut queries = source.reads.queries_on(service);
    if service.is_none() {
        queries.push(format!("SELECT id FROM {RUNS}"));
    }
    let mut tables = Vec::new();
    let mut unreadable = Vec::new();
    for sql in queries {
        match view::named_in(&sql, dialect) {
            Some(names) => tables.extend(names),
            None => unreadable
                .push(format!("the tables that a query of the strategy reads: {}", text::one_line(&sql))),
        }
    }

    let mut scope = of_tables(session, dialect, &tables, &[]).await?;
    scope.not_seen.extend(unreadable);

    Ok(scope)
}

impl Scope {
    fn add(&mut self, called: &str, found: &Relation) {
        match found.kind {
            RelationKind::Table | RelationKind::View => {}
            RelationKind::MaterializedView => self.not_seen.push(format!(
                "what has changed since the materialized view {called} was refreshed last"
            )),
            RelationKind::Remote => self.not_seen.push(format!(
                "the table behind {called}, which is on another server: only what that one shows, as of its own time"
            )),
            RelationKind::Virtual => self
                .not_seen
                .push(format!("what the module behind the virtual table {called} leaves out")),
        }
        if found.is_temporary {
            self.not_seen.push(format!(
                "the table {called}: a temporary table of this session has its name and hides it"
            ));
        }
        for part in &found.remote_parts {
            if found.kind == RelationKind::Table {
                self.not_seen.push(format!(
                    "the table behind {part}, a part of {called} which is on another server: only what that one \
                     shows, as of its own time"
                ));
            }
        }

        if let Some(engine) = &found.engine_without_transactions {
            self.without_transactions.push(format!("{called} ({engine})"));
        }
        if !found.unlogged.is_empty() {
            let names: Vec<&str> = found.unlogged.iter().map(String::as_str).collect();
            self.caveats
                .push(format!("UNLOGGED, emptied by a crash of the server: {}", text::backquoted(&names)));
        }
        if found.is_subscribed {
            self.caveats.push(format!(
                "{called} is filled by logical replication: rows that have not arrived, or that the publication \
                 leaves out, are not judged"
            ));
        }
        if !found.namesakes.is_empty() {
            let others: Vec<&str> = found.namesakes.iter().map(String::as_str).collect();
            self.caveats.push(format!(
                "{called} is read in schema `{}`; those of the same name in {} are not",
                found.schema,
                text::backquoted(&others)
            ));
        }
    }

    /// Adds what a replica cannot know; nothing where the server follows no other one.
    pub(super) fn add_standing(&mut self, standing: &Standing) {
        if standing.is_replica != Some(true) {
            return;
        }
        let position =
            standing.position.as_ref().map_or_else(String::new, |position| format!(", at {position}"));
        self.caveats.push(format!(
            "this server is a replica{position}: rows that have not arrived there are not judged"
        ));
    }

    /// Adds what another database, or an earlier look, has shown.
    pub(super) fn merge(&mut self, other: Self) {
        for (mine, theirs) in [
            (&mut self.not_seen, other.not_seen),
            (&mut self.caveats, other.caveats),
            (&mut self.without_transactions, other.without_transactions),
        ] {
            for line in theirs {
                if !mine.contains(&line) {
                    mine.push(line);
                }
            }
        }
    }
}

fn called(schema: Option<&str>, name: &str) -> String {
    schema.map_or_else(|| format!("`{name}`"), |schema| format!("`{schema}.{name}`"))
}

/// The tables that these statements name and whose engine has no transactions, each with its
/// engine.
///
/// # Errors
/// The catalogue cannot be read.
pub async fn without_transactions(
    session: &mut dyn Session,
    dialect: Dialect,
    statements: impl Iterator<Item = String>,
) -> Result<Vec<String>> {
    if !matches!(dialect, Dialect::MySql | Dialect::MariaDb) {
        return Ok(Vec::new());
    }
    let mut names: Vec<TableName> =
        statements.filter_map(|sql| view::named_in(&sql, dialect)).flatten().collect();
    names.sort();
    names.dedup();

    let mut found = Vec::new();
    for (schema, name) in names {
        let relation = relation(session, dialect, schema.as_deref(), &name).await?;
        if let Some(engine) = relation.and_then(|relation| relation.engine_without_transactions) {
            found.push(format!("{} ({engine})", called(schema.as_deref(), &name)));
        }
    }

    Ok(found)
}
