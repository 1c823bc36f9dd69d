//! What a name in a query really stands for: a table, a view, something on another
//! server; and what the database itself says about how far its rows can be trusted.

use super::{Dialect, Session, first_row};
use anyhow::Result;
use std::collections::BTreeSet;

/// A table, a view, or whatever else a query can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// What kind of thing it is.
    pub kind: RelationKind,
    /// The schema (on MySQL, the database) in which the name was found.
    pub schema: String,
    /// The statement behind a view; `None` where the database does not show it to this user.
    pub definition: Option<String>,
    /// Whether row-level security would hide rows of it from this user.
    pub hides_rows: bool,
    /// Whether it exists in this session only, and hides any other table of the name.
    pub is_temporary: bool,
    /// MySQL and MariaDB: its storage engine, where that one has no transactions.
    pub engine_without_transactions: Option<String>,
    /// PostgreSQL: itself or its partitions, where a crash empties them.
    pub unlogged: Vec<String>,
    /// PostgreSQL: its partitions that lie on another server.
    pub remote_parts: Vec<String>,
    /// PostgreSQL: whether logical replication fills it from another server.
    pub is_subscribed: bool,
    /// PostgreSQL: others of the same name, further down the search path.
    pub namesakes: Vec<String>,
}

/// What kind of thing a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// A table with rows of its own, partitioned or not.
    Table,
    /// A view.
    View,
    /// A view that keeps its rows until it is refreshed.
    MaterializedView,
    /// A table whose rows are on another server.
    Remote,
    /// A table whose rows a module of SQLite makes up.
    Virtual,
}

/// Looks up what a name stands for; `None` if there is nothing of that name.
///
/// # Errors
/// The catalogue cannot be read.
pub async fn relation(
    session: &mut dyn Session,
    dialect: Dialect,
    schema: Option<&str>,
    name: &str,
) -> Result<Option<Relation>> {
    match dialect {
        Dialect::Postgres => postgres(session, schema, name).await,
        Dialect::MySql | Dialect::MariaDb => mysql(session, dialect, schema, name).await,
        Dialect::Sqlite | Dialect::Null => sqlite(session, schema, name).await,
    }
}

/// How many rows the server sends of any one answer, where a setting cuts answers short
/// without an error (MySQL's and MariaDB's `sql_select_limit`).
///
/// # Errors
/// The session is gone.
pub async fn answer_limit(session: &mut dyn Session, dialect: Dialect) -> Result<Option<String>> {
    if !matches!(dialect, Dialect::MySql | Dialect::MariaDb) {
        return Ok(None);
    }
    let row = first_row(session, "SELECT CAST(@@SESSION.sql_select_limit AS CHAR)").await?;
    let limit = row.map(|row| row[0].to_text());

    Ok(limit.filter(|limit| *limit != u64::MAX.to_string()))
}

/// Whether a trigger or a rule of the database's may write more than a statement that writes
/// these tables says; their names are in lower case.
///
/// # Errors
/// The catalogue cannot be read.
pub async fn has_triggers(
    session: &mut dyn Session,
    dialect: Dialect,
    tables: &BTreeSet<String>,
) -> Result<bool> {
    if tables.is_empty() {
        return Ok(false);
    }
    let named: Vec<String> = tables.iter().map(|name| dialect.literal(name)).collect();
    let named = named.join(", ");

    let sql = match dialect {
        Dialect::Postgres => format!(
            "SELECT 1 FROM pg_catalog.pg_class c WHERE lower(c.relname) IN ({named}) AND (\
             EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) \
             OR EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1'))"
        ),
        Dialect::MySql | Dialect::MariaDb => format!(
            "SELECT 1 FROM information_schema.triggers WHERE event_object_schema = DATABASE() \
             AND lower(event_object_table) IN ({named})"
        ),
        Dialect::Sqlite | Dialect::Null => format!(
            "SELECT 1 FROM main.sqlite_schema WHERE type = 'trigger' AND lower(tbl_name) IN ({named})"
        ),
    };

    Ok(first_row(session, &sql).await?.is_some())
}

impl Relation {
    fn new(kind: RelationKind, schema: String) -> Self {
        Self {
            kind,
            schema,
            definition: None,
            hides_rows: false,
            is_temporary: false,
            engine_without_transactions: None,
            unlogged: Vec::new(),
            remote_parts: Vec::new(),
            is_subscribed: false,
            namesakes: Vec::new(),
        }
    }
}

async fn postgres(session: &mut dyn Session, schema: Option<&str>, name: &str) -> Result<Option<Relation>> {
    let name = Dialect::Postgres.literal(name);
    let is_found = schema.map_or_else(
        || "pg_catalog.pg_table_is_visible(c.oid)".to_owned(),
        |schema| format!("n.nspname = {}", Dialect::Postgres.literal(schema)),
    );
    let namesakes = if schema.is_none() {
        "o.oid <> f.oid AND s.nspname = ANY (pg_catalog.current_schemas(false))"
    } else {
        "false"
    };
    let list = |what: &str, from: &str| {
        format!("(SELECT COALESCE(string_agg({what}, E'\\n' ORDER BY {what}), '') FROM {from})")
    };
    let parts = "parts JOIN pg_catalog.pg_class p USING (oid)";
    let unlogged = list("p.relname::text", &format!("{parts} WHERE p.relpersistence = 'u'"));
    let remote = list("p.relname::text", &format!("{parts} WHERE p.relkind = 'f'"));
    let others = list(
        "s.nspname::text",
        &format!(
            "pg_catalog.pg_class o JOIN pg_catalog.pg_namespace s ON s.oid = o.relnamespace \
             WHERE o.relname = {name} AND o.relkind IN ('r', 'p', 'v', 'm', 'f') AND {namesakes}"
        ),
    );
    let sql = format!(
        "WITH RECURSIVE found AS (\
         SELECT c.oid, c.relkind, c.relpersistence, n.nspname FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = {name} AND {is_found}), \
         parts AS (SELECT oid FROM found \
         UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN parts ON i.inhparent = parts.oid) \
         SELECT f.relkind::text, f.nspname::text, \
         CASE WHEN f.relkind = 'v' THEN pg_catalog.pg_get_viewdef(f.oid) ELSE '' END, \
         CASE WHEN pg_catalog.row_security_active(f.oid) THEN 1 ELSE 0 END, \
         CASE WHEN f.relpersistence = 't' THEN 1 ELSE 0 END, {unlogged}, {remote}, \
         CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_subscription_rel r JOIN parts ON r.srrelid = parts.oid) \
         THEN 1 ELSE 0 END, {others} FROM found f"
    );
    let Some(row) = first_row(session, &sql).await? else { return Ok(None) };

    let kind = match row[0].to_text().as_str() {
        "v" => RelationKind::View,
        "m" => RelationKind::MaterializedView,
        "f" => RelationKind::Remote,
        _ => RelationKind::Table,
    };
    let is_set = |at: usize| row[at].as_int() == Some(1);
    let lines = |at: usize| row[at].to_text().lines().map(ToOwned::to_owned).collect();

    Ok(Some(Relation {
        definition: Some(row[2].to_text()).filter(|_| kind == RelationKind::View),
        hides_rows: is_set(3),
        is_temporary: is_set(4),
        unlogged: lines(5),
        remote_parts: lines(6),
        is_subscribed: is_set(7),
        namesakes: lines(8),
        ..Relation::new(kind, row[1].to_text())
    }))
}

async fn mysql(
    session: &mut dyn Session,
    dialect: Dialect,
    schema: Option<&str>,
    name: &str,
) -> Result<Option<Relation>> {
    let in_schema = schema.map_or_else(|| "DATABASE()".to_owned(), |schema| dialect.literal(schema));
    let sql = format!(
        "SELECT CAST(t.table_type AS CHAR), CAST(t.table_schema AS CHAR), CAST(v.view_definition AS CHAR), \
         CAST(t.engine AS CHAR), CAST(e.transactions AS CHAR) FROM information_schema.tables t \
         LEFT JOIN information_schema.engines e ON e.engine = t.engine \
         LEFT JOIN information_schema.views v ON v.table_schema = t.table_schema AND v.table_name = t.table_name \
         WHERE t.table_schema = {in_schema} AND t.table_name = {}",
        dialect.literal(name)
    );
    let Some(row) = first_row(session, &sql).await? else { return Ok(None) };

    let engine = row[3].to_text();
    let kind = match (row[0].to_text().as_str(), engine.to_uppercase().as_str()) {
        ("VIEW", _) => RelationKind::View,
        (_, "FEDERATED" | "CONNECT" | "SPIDER" | "S3") => RelationKind::Remote,
        _ => RelationKind::Table,
    };
    let schema = row[1].to_text();
    // A view that this user may read and not look into has an empty text.
    let definition = Some(row[2].to_text()).filter(|text| !text.is_empty());
    let is_temporary = kind != RelationKind::View && is_temporary(session, dialect, &schema, name).await?;
    let has_no_transactions = kind == RelationKind::Table && row[4].to_text() != "YES";

    Ok(Some(Relation {
        definition,
        is_temporary,
        engine_without_transactions: Some(engine).filter(|engine| has_no_transactions && !engine.is_empty()),
        ..Relation::new(kind, schema)
    }))
}

/// Whether the session has a temporary table of this name, which no catalogue lists.
async fn is_temporary(session: &mut dyn Session, dialect: Dialect, schema: &str, name: &str) -> Result<bool> {
    let sql = format!("SHOW CREATE TABLE {}.{}", dialect.quote(schema), dialect.quote(name));
    let row = first_row(session, &sql).await?;
    let made = row.and_then(|row| Some(row.get(1)?.to_text())).unwrap_or_default();

    Ok(made.starts_with("CREATE TEMPORARY"))
}

async fn sqlite(session: &mut dyn Session, schema: Option<&str>, name: &str) -> Result<Option<Relation>> {
    let schema = schema.unwrap_or("main");
    let sql = format!(
        "SELECT type, sql FROM {}.sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = lower({})",
        Dialect::Sqlite.quote(schema),
        Dialect::Sqlite.literal(name)
    );
    let Some(row) = first_row(session, &sql).await? else { return Ok(None) };

    let made = row[1].to_text();
    let is_virtual = made.get(..14).is_some_and(|start| start.eq_ignore_ascii_case("CREATE VIRTUAL"));
    let kind = match row[0].to_text().as_str() {
        "view" => RelationKind::View,
        _ if is_virtual => RelationKind::Virtual,
        _ => RelationKind::Table,
    };

    Ok(Some(Relation {
        definition: Some(made).filter(|_| kind == RelationKind::View),
        ..Relation::new(kind, schema.to_owned())
    }))
}
