//! What a database says of its tables: columns, keys, and what kind of thing
//! it is. Read from the database's own catalogue, so that names in a file can
//! be checked and quoted instead of being pasted into SQL.

use super::{Dialect, Session, Value};
use anyhow::Result;

/// A table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its schema, where it was asked for with one.
    pub schema: Option<String>,
    /// Its name.
    pub name: String,
    /// Its columns, in their order.
    pub columns: Vec<Column>,
    /// The columns of its primary key and of every other unique key that
    /// holds for all rows; the primary key comes first.
    pub unique: Vec<Vec<String>>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub holds: Holds,
    /// The type in the database's own words.
    pub type_name: String,
    /// Whether it can be NULL.
    pub nullable: bool,
    /// Whether the database takes texts for equal that differ in case.
    pub folds_case: bool,
    /// Whether an insert may leave it out: it has a default, or can be NULL.
    pub optional: bool,
}

/// What a column holds, as far as SQL has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Whole numbers.
    Int,
    /// Numbers that may have fractions.
    Decimal,
    /// Text.
    Text,
    /// Truth values.
    Bool,
    /// Moments.
    Time,
    /// Bytes that are no text.
    Bytes,
    /// Anything else; read as text.
    Other,
}

impl Table {
    /// A column by its name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The name in SQL.
    pub fn quoted(&self, dialect: Dialect) -> String {
        let schema = self.schema.as_ref().map_or_else(String::new, |schema| dialect.quote(schema) + ".");
        schema + &dialect.quote(&self.name)
    }
}

impl Holds {
    /// What a type holds, by its name in the catalogue.
    fn of(dialect: Dialect, type_name: &str) -> Self {
        let name = type_name.to_lowercase();
        let base = name.split(['(', ' ']).next().unwrap_or_default();
        if dialect == Dialect::Sqlite {
            // SQLite's rules of affinity, and the names people give to moments.
            return match name.as_str() {
                _ if name.contains("bool") => Self::Bool,
                _ if name.contains("blob") => Self::Bytes,
                _ if name.contains("int") => Self::Int,
                _ if name.contains("char") || name.contains("clob") || name.contains("text") => Self::Text,
                _ if name.contains("date") || name.contains("time") => Self::Time,
                _ if ["real", "floa", "doub", "dec", "num"].iter().any(|part| name.contains(part)) => {
                    Self::Decimal
                }
                _ => Self::Other,
            };
        }
        match base {
            "int2" | "int4" | "int8" | "tinyint" | "smallint" | "mediumint" | "int" | "integer"
            | "bigint" => Self::Int,
            "numeric" | "decimal" | "float4" | "float8" | "float" | "double" => Self::Decimal,
            "bool" => Self::Bool,
            "bytea" | "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Self::Bytes,
            "text" | "varchar" | "citext" | "char" | "tinytext" | "mediumtext" | "longtext" => Self::Text,
            "timestamp" | "timestamptz" | "date" | "datetime" | "time" => Self::Time,
            _ => Self::Other,
        }
    }
}

/// Looks a table up; `None` if there is none of that name.
///
/// # Errors
/// The catalogue cannot be read.
pub async fn table(
    session: &mut dyn Session,
    dialect: Dialect,
    schema: Option<&str>,
    name: &str,
) -> Result<Option<Table>> {
    let (columns_sql, keys_sql) = match dialect {
        Dialect::Postgres => postgres(schema, name),
        Dialect::MySql | Dialect::MariaDb => mysql(dialect, schema, name),
        Dialect::Sqlite | Dialect::Null => sqlite(schema, name),
    };
    let mut columns = Vec::new();
    let mut add = |row: &[Value]| {
        let type_name = row[1].to_text();
        let nullable = row[2].as_int() == Some(1);
        columns.push(Column {
            name: row[0].to_text(),
            holds: Holds::of(dialect, &type_name),
            type_name,
            nullable,
            optional: nullable || row[3].as_int() == Some(1),
            folds_case: row[4].as_int() == Some(1),
        });
        Ok(())
    };
    session.for_each_row(&columns_sql, &mut add).await?;
    if columns.is_empty() {
        return Ok(None);
    }
    let mut unique: Vec<Vec<String>> = Vec::new();
    let mut last = None;
    let mut add = |row: &[Value]| {
        let key = row[0].to_text();
        if last.as_ref() != Some(&key) {
            unique.push(Vec::new());
            last = Some(key);
        }
        if let Some(columns) = unique.last_mut() {
            columns.push(row[1].to_text());
        }
        Ok(())
    };
    session.for_each_row(&keys_sql, &mut add).await?;
    Ok(Some(Table { schema: schema.map(ToOwned::to_owned), name: name.to_owned(), columns, unique }))
}

/// The names of every table and view that the session sees without naming a
/// schema, our own left out.
///
/// # Errors
/// The catalogue cannot be read.
pub async fn table_names(session: &mut dyn Session, dialect: Dialect) -> Result<Vec<String>> {
    let sql = match dialect {
        Dialect::Postgres => {
            "SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND pg_catalog.pg_table_is_visible(c.oid) \
             AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
        }
        Dialect::MySql | Dialect::MariaDb => {
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1"
        }
        Dialect::Sqlite | Dialect::Null => {
            "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY 1"
        }
    };
    let mut names = Vec::new();
    let mut add = |row: &[Value]| {
        names.push(row[0].to_text());
        Ok(())
    };
    session.for_each_row(sql, &mut add).await?;
    names.retain(|name| !name.starts_with(super::schema::PREFIX));
    Ok(names)
}

fn postgres(schema: Option<&str>, name: &str) -> (String, String) {
    let name = Dialect::Postgres.literal(name);
    let visible = schema.map_or_else(
        || "pg_catalog.pg_table_is_visible(c.oid)".to_owned(),
        |schema| format!("n.nspname = {}", Dialect::Postgres.literal(schema)),
    );
    let class = format!(
        "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = {name} AND {visible}"
    );
    let columns = format!(
        "SELECT a.attname::text, COALESCE(b.typname, t.typname)::text, CASE WHEN a.attnotnull THEN 0 ELSE 1 END, \
         CASE WHEN a.atthasdef OR a.attidentity <> '' THEN 1 ELSE 0 END, \
         CASE WHEN t.typname = 'citext' THEN 1 ELSE 0 END \
         FROM {class} JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
         JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_catalog.pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype ORDER BY a.attnum"
    );
    // An index that is not valid holds for nothing yet, and one of a parent not for what its
    // children inherit.
    let keys = format!(
        "SELECT i.indexrelid::bigint, a.attname::text FROM {class} \
         JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND i.indisunique AND i.indisvalid \
         AND i.indpred IS NULL AND i.indexprs IS NULL \
         AND NOT (c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid)) \
         JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position) ON k.position <= i.indnkeyatts \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum \
         ORDER BY NOT i.indisprimary, i.indexrelid, k.position"
    );
    (columns, keys)
}

fn mysql(dialect: Dialect, schema: Option<&str>, name: &str) -> (String, String) {
    let schema = schema.map_or_else(|| "DATABASE()".to_owned(), |schema| dialect.literal(schema));
    let of_table = format!("table_schema = {schema} AND table_name = {}", dialect.literal(name));
    let columns = format!(
        "SELECT column_name, column_type, CASE is_nullable WHEN 'YES' THEN 1 ELSE 0 END, \
         CASE WHEN column_default IS NOT NULL OR extra LIKE '%auto_increment%' OR extra LIKE '%GENERATED%' THEN 1 ELSE 0 END, \
         CASE WHEN collation_name LIKE '%\\_ci' THEN 1 ELSE 0 END \
         FROM information_schema.columns WHERE {of_table} ORDER BY ordinal_position"
    );
    let keys = format!(
        "SELECT index_name, column_name FROM information_schema.statistics WHERE {of_table} AND non_unique = 0 \
         ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index"
    );
    (columns, keys)
}

fn sqlite(schema: Option<&str>, name: &str) -> (String, String) {
    let (name, schema) = (Dialect::Sqlite.literal(name), Dialect::Sqlite.literal(schema.unwrap_or("main")));
    let columns = format!(
        "SELECT name, type, CASE WHEN \"notnull\" = 0 AND pk = 0 THEN 1 ELSE 0 END, \
         CASE WHEN dflt_value IS NOT NULL OR pk > 0 THEN 1 ELSE 0 END, 0 FROM pragma_table_info({name}, {schema}) ORDER BY cid"
    );
    // A rowid that is the primary key has no index of its own.
    let keys = format!(
        "SELECT key, name FROM (\
         SELECT 0 AS place, 'primary' AS key, name, pk AS position FROM pragma_table_info({name}, {schema}) WHERE pk > 0 \
         UNION ALL SELECT 1, l.name, i.name, i.seqno FROM pragma_index_list({name}, {schema}) l, pragma_index_info(l.name, {schema}) i \
         WHERE l.\"unique\" = 1 AND l.partial = 0 AND l.origin <> 'pk') ORDER BY place, key, position"
    );
    (columns, keys)
}
