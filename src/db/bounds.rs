//! What the names in a statement stand for, by the database's own catalogue: a
//! table of ours may be a view of somebody else's table, and a harmless function
//! may have been replaced by one that writes.
//!
//! Architecture invariant: nothing is run. PostgreSQL resolves a statement by
//! parsing it into a function that is rolled back at once.

use super::{Dialect, Session, Statement, Value};
use crate::strategy::guard::{Judgement, Relation, judge_view};
use anyhow::Result;
use std::collections::BTreeSet;

/// Why the database does not bound a statement to reading, and to writing our own
/// tables; nothing if it does. `judgement` is what the statement's text tells.
///
/// # Errors
/// The catalogue cannot be read.
pub async fn why_unbounded(
    session: &mut dyn Session,
    dialect: Dialect,
    statement: &Statement,
    judgement: &Judgement,
) -> Result<Option<String>> {
    match dialect {
        Dialect::Null => Ok(None),
        Dialect::Postgres => in_postgres(session, statement, judgement).await,
        Dialect::MySql | Dialect::MariaDb => in_mysql(session, dialect, judgement).await,
        Dialect::Sqlite => in_sqlite(session, judgement).await,
    }
}

/// The first row's text of each of these queries, until one has a row.
async fn first_reason(session: &mut dyn Session, queries: &[String]) -> Result<Option<String>> {
    for sql in queries {
        if let Some(row) = super::first_row(session, sql).await? {
            return Ok(Some(row[0].to_text()));
        }
    }
    Ok(None)
}

/// The function that PostgreSQL parses a statement into.
const JUDGED: &str = "pg_temp.stockbench_judged";

/// Built-in functions that PostgreSQL calls volatile and that change nothing
/// beyond the transaction.
const VOLATILE: &str = "'random', 'clock_timestamp', 'timeofday', 'gen_random_uuid', 'currval', 'lastval', \
    'pg_advisory_xact_lock', 'pg_advisory_xact_lock_shared', 'pg_try_advisory_xact_lock', \
    'pg_try_advisory_xact_lock_shared'";

/// Objects below this number are PostgreSQL's own.
const FIRST_OWN_OID: &str = "16384";

async fn in_postgres(
    session: &mut dyn Session,
    statement: &Statement,
    judgement: &Judgement,
) -> Result<Option<String>> {
    if judgement.is_control {
        return Ok(None);
    }
    session.control("BEGIN").await?;
    let found = resolve_in_postgres(session, statement, judgement).await;
    session.control("ROLLBACK").await?;
    found
}

async fn resolve_in_postgres(
    session: &mut dyn Session,
    statement: &Statement,
    judgement: &Judgement,
) -> Result<Option<String>> {
    if !judgement.makes_tables {
        let is_text = |position| statement.text_binds.contains(&position);
        let types = (0..statement.bind_count).map(|bind| if is_text(bind) { "text" } else { "bigint" });
        let types: Vec<&str> = types.collect();
        let function = format!(
            "CREATE FUNCTION {JUDGED}({}) RETURNS void LANGUAGE SQL BEGIN ATOMIC {}\n; END",
            types.join(", "),
            statement.sql
        );
        if let Err(error) = session.control(&function).await {
            return Ok(Some(format!("cannot be resolved by this server: {error}")));
        }
        let reason = first_reason(session, &[postgres_calls()]).await?;
        if reason.is_some() {
            return Ok(reason);
        }
    }

    let named =
        judgement.writes.iter().map(|table| Dialect::Postgres.literal(&format!("\"{}\"", table.name)));
    let writes: Vec<String> = named.map(|name| postgres_writes(&name)).collect();
    // A table that is about to be made is not there yet.
    first_reason(session, &writes).await
}

/// What a parsed statement reaches: functions and tables, through views and
/// row-level security as well, by the numbers in the parse trees.
fn postgres_calls() -> String {
    format!(
        "WITH RECURSIVE body (tree) AS (
            SELECT prosqlbody::text FROM pg_catalog.pg_proc WHERE oid = '{JUDGED}'::pg_catalog.regproc),
        reached (relid) AS (
            SELECT m[1]::oid FROM body, pg_catalog.regexp_matches(tree, ':relid ([0-9]+)', 'g') m
            UNION
            SELECT m[1]::oid FROM reached JOIN pg_catalog.pg_rewrite r ON r.ev_class = relid,
                pg_catalog.regexp_matches(r.ev_action::text, ':relid ([0-9]+)', 'g') m
            WHERE relid >= {FIRST_OWN_OID}),
        trees (tree) AS (
            SELECT tree FROM body
            UNION ALL
            SELECT r.ev_action::text FROM reached JOIN pg_catalog.pg_rewrite r ON r.ev_class = relid
            WHERE relid >= {FIRST_OWN_OID}
            UNION ALL
            SELECT concat(p.polqual::text, p.polwithcheck::text) FROM reached
            JOIN pg_catalog.pg_class c ON c.oid = relid AND c.relrowsecurity
            JOIN pg_catalog.pg_policy p ON p.polrelid = relid),
        called (number) AS (
            SELECT m[1]::oid FROM trees,
                pg_catalog.regexp_matches(tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid|tsmhandler) ([0-9]+)', 'g') m
            UNION
            SELECT o.oprcode::oid FROM trees,
                pg_catalog.regexp_matches(tree, ':(?:opno|eqop|sortop) ([0-9]+)', 'g') m
            JOIN pg_catalog.pg_operator o ON o.oid = m[1]::oid)
        SELECT 'calls ' || p.oid::pg_catalog.regprocedure::text || ', which may do anything'
        FROM called JOIN pg_catalog.pg_proc p ON p.oid = number
        WHERE CASE WHEN p.oid < {FIRST_OWN_OID}
            THEN p.provolatile = 'v' AND p.proname NOT IN ({VOLATILE})
            ELSE {NOT_OF_AN_EXTENSION} END
        UNION ALL
        SELECT 'casts to a domain, whose check may call a function' FROM trees
        WHERE pg_catalog.strpos(tree, '{{COERCETODOMAIN') > 0
        UNION ALL
        SELECT 'reads ' || c.relname || ', which is on another server' FROM reached
        JOIN pg_catalog.pg_class c ON c.oid = relid WHERE c.relkind = 'f'"
    )
}

/// A function that is not an extension's own code without side effects.
const NOT_OF_AN_EXTENSION: &str = "p.provolatile = 'v' OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e'
    AND l.lanname IN ('c', 'internal'))";

/// Why writing a table of this name, a literal, would not stay in it.
fn postgres_writes(name: &str) -> String {
    format!(
        "WITH target AS (SELECT * FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass({name})),
        trees (tree) AS (
            SELECT adbin::text FROM target t JOIN pg_catalog.pg_attrdef ON adrelid = t.oid
            UNION ALL SELECT conbin::text FROM target t JOIN pg_catalog.pg_constraint ON conrelid = t.oid
            UNION ALL SELECT concat(indexprs::text, indpred::text)
                FROM target t JOIN pg_catalog.pg_index ON indrelid = t.oid)
        SELECT 'writes ' || relname || ', which ' || why FROM (
            SELECT relname, CASE WHEN relkind <> 'r' OR relispartition THEN 'is no plain table'
                WHEN EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhrelid = t.oid OR inhparent = t.oid)
                THEN 'shares its rows with another table'
                WHEN EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = t.oid AND NOT tgisinternal)
                THEN 'has a trigger'
                WHEN EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = t.oid) THEN 'has a rule'
                WHEN EXISTS (SELECT FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class other
                    ON other.oid = CASE k.conrelid WHEN t.oid THEN k.confrelid ELSE k.conrelid END
                    WHERE k.contype = 'f' AND t.oid IN (k.conrelid, k.confrelid)
                    AND pg_catalog.left(other.relname::text, 11) <> 'stockbench_')
                THEN 'has a foreign key to or from a table that is not stockbench''s own'
                WHEN EXISTS (SELECT FROM trees,
                    pg_catalog.regexp_matches(tree, ':(?:funcid|opfuncid) ([0-9]+)', 'g') m
                    JOIN pg_catalog.pg_proc p ON p.oid = m[1]::oid
                    WHERE p.oid >= {FIRST_OWN_OID} AND ({NOT_OF_AN_EXTENSION}))
                THEN 'calls a function in a default, a check or an index' END AS why
            FROM target t) judged WHERE why IS NOT NULL"
    )
}

/// Engines that keep rows of their own and nobody else's.
const ENGINES: &[&str] = &["InnoDB", "MyISAM", "Aria", "MEMORY", "ROCKSDB", "PERFORMANCE_SCHEMA", "CSV"];

async fn in_mysql(
    session: &mut dyn Session,
    dialect: Dialect,
    judgement: &Judgement,
) -> Result<Option<String>> {
    let mut reasons = Vec::new();
    for table in &judgement.writes {
        reasons.extend(mysql_writes(dialect, &table.name));
    }
    if let Some(reason) = first_reason(session, &reasons).await? {
        return Ok(Some(reason));
    }

    let mut reached = Reached::new(judgement);
    loop {
        if let Some(reason) = first_reason(session, &mysql_routines(dialect, &reached.calls)).await? {
            return Ok(Some(reason));
        }
        let Some(relation) = reached.next() else { return Ok(None) };
        let of_table = mysql_table(dialect, &relation);
        let kind = format!(
            "SELECT CAST(table_type AS CHAR), CAST(COALESCE(engine, '') AS CHAR) \
             FROM information_schema.tables WHERE {of_table}"
        );
        let kind = super::first_row(session, &kind).await?;
        let Some([kind, engine]) = kind.as_deref() else {
            if judgement.makes_tables {
                continue;
            }
            return Ok(Some(format!("names {}, which is no table that can be looked up", relation.name)));
        };
        match (kind.to_text().as_str(), engine.to_text()) {
            ("BASE TABLE", engine) if ENGINES.iter().any(|known| engine.eq_ignore_ascii_case(known)) => {}
            ("BASE TABLE", engine) => {
                let name = &relation.name;
                return Ok(Some(format!("names {name}, whose engine {engine} may keep rows elsewhere")));
            }
            ("SYSTEM VIEW", _) => {}
            ("VIEW", _) => {
                let definition = format!(
                    "SELECT CAST(view_definition AS CHAR) FROM information_schema.views WHERE {of_table}"
                );
                if let Some(reason) = reached.follow(session, dialect, &relation, &definition).await? {
                    return Ok(Some(reason));
                }
            }
            (kind, _) => return Ok(Some(format!("names {}, which is a {kind}", relation.name))),
        }
    }
}

fn mysql_table(dialect: Dialect, relation: &Relation) -> String {
    let schema =
        relation.schema.as_ref().map_or_else(|| "DATABASE()".to_owned(), |name| dialect.literal(name));
    format!("table_schema = {schema} AND table_name = {}", dialect.literal(&relation.name))
}

/// Functions of the user's own that are called like these.
fn mysql_routines(dialect: Dialect, calls: &BTreeSet<String>) -> Vec<String> {
    let names: Vec<String> = calls.iter().map(|name| dialect.literal(name)).collect();
    let found = format!(
        "SELECT CONCAT('calls ', routine_name, '(), which may do anything') FROM information_schema.routines \
         WHERE routine_type = 'FUNCTION' AND LOWER(routine_name) IN ({})",
        names.join(", ")
    );
    if names.is_empty() { Vec::new() } else { vec![found] }
}

/// Why writing a table would not stay in it.
fn mysql_writes(dialect: Dialect, name: &str) -> [String; 3] {
    let literal = dialect.literal(name);
    let writes = format!("SELECT CONCAT('writes ', {literal}, ', which ");
    [
        format!(
            "{writes}is no plain table') FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_name = {literal} AND table_type <> 'BASE TABLE'"
        ),
        format!(
            "{writes}has a trigger') FROM information_schema.triggers \
             WHERE event_object_schema = DATABASE() AND event_object_table = {literal}"
        ),
        format!(
            "{writes}has a foreign key to or from a table that is not stockbench''s own') \
             FROM information_schema.key_column_usage WHERE referenced_table_name IS NOT NULL AND (\
             table_schema = DATABASE() AND table_name = {literal} AND LEFT(referenced_table_name, 11) <> 'stockbench_' \
             OR referenced_table_schema = DATABASE() AND referenced_table_name = {literal} \
             AND LEFT(table_name, 11) <> 'stockbench_')"
        ),
    ]
}

async fn in_sqlite(session: &mut dyn Session, judgement: &Judgement) -> Result<Option<String>> {
    let mut reasons = Vec::new();
    for table in &judgement.writes {
        reasons.extend(sqlite_writes(&table.name));
    }
    if let Some(reason) = first_reason(session, &reasons).await? {
        return Ok(Some(reason));
    }

    let mut reached = Reached::new(judgement);
    while let Some(relation) = reached.next() {
        let is_catalogue =
            ["sqlite_schema", "sqlite_master"].contains(&relation.name.to_ascii_lowercase().as_str());
        if is_catalogue {
            continue;
        }
        let literal = Dialect::Sqlite.literal(&relation.name);
        let definition = format!("SELECT sql FROM sqlite_schema WHERE name = {literal} COLLATE NOCASE");
        let kind = format!("SELECT type, sql FROM sqlite_schema WHERE name = {literal} COLLATE NOCASE");
        let kind = super::first_row(session, &kind).await?;
        let Some([kind, sql]) = kind.as_deref() else {
            if judgement.makes_tables {
                continue;
            }
            return Ok(Some(format!("names {}, which is no table that can be looked up", relation.name)));
        };
        match kind.to_text().as_str() {
            "table" if !sql.to_text().to_ascii_uppercase().starts_with("CREATE VIRTUAL") => {}
            "view" => {
                let reason = reached.follow(session, Dialect::Sqlite, &relation, &definition).await?;
                if reason.is_some() {
                    return Ok(reason);
                }
            }
            _ => return Ok(Some(format!("names {}, which is no plain table", relation.name))),
        }
    }
    Ok(None)
}

/// Why writing a table would not stay in it.
fn sqlite_writes(name: &str) -> [String; 3] {
    let literal = Dialect::Sqlite.literal(name);
    let writes = format!("SELECT 'writes ' || {literal} || ', which ");
    [
        format!(
            "{writes}is no plain table' FROM sqlite_schema WHERE name = {literal} COLLATE NOCASE AND type <> 'table'"
        ),
        format!(
            "{writes}has a trigger' FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = {literal} COLLATE NOCASE"
        ),
        format!(
            "{writes}has a foreign key to or from a table that is not stockbench''s own' \
             FROM sqlite_schema m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table' AND (\
             m.name = {literal} COLLATE NOCASE AND substr(lower(f.\"table\"), 1, 11) <> 'stockbench_' \
             OR f.\"table\" = {literal} COLLATE NOCASE AND substr(lower(m.name), 1, 11) <> 'stockbench_')"
        ),
    ]
}

/// What a statement reaches by name, through views as well.
struct Reached {
    left: Vec<Relation>,
    seen: BTreeSet<Relation>,
    calls: BTreeSet<String>,
}

impl Reached {
    fn new(judgement: &Judgement) -> Self {
        Self {
            left: judgement.relations.clone(),
            seen: BTreeSet::new(),
            calls: judgement.calls.iter().cloned().collect(),
        }
    }

    /// One that has not been looked at.
    fn next(&mut self) -> Option<Relation> {
        while let Some(relation) = self.left.pop() {
            if self.seen.insert(relation.clone()) {
                return Some(relation);
            }
        }
        None
    }

    /// Takes in what a view reads and calls; says why where that has no bounds.
    async fn follow(
        &mut self,
        session: &mut dyn Session,
        dialect: Dialect,
        view: &Relation,
        definition: &str,
    ) -> Result<Option<String>> {
        let definition = super::first_row(session, definition).await?;
        let definition = definition.and_then(|row| row.into_iter().next()).unwrap_or(Value::Null).to_text();
        if definition.is_empty() {
            return Ok(Some(format!("reads the view {}, whose definition may not be looked at", view.name)));
        }
        let judgement = judge_view(&definition, dialect);
        if let Some(why) = judgement.refusals.first() {
            return Ok(Some(format!("reads the view {}, which {why}", view.name)));
        }
        let of_view = |mut relation: Relation| {
            relation.schema = relation.schema.or_else(|| view.schema.clone());
            relation
        };
        self.left.extend(judgement.relations.into_iter().map(of_view));
        self.calls.extend(judgement.calls);
        Ok(None)
    }
}
