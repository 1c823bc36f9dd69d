//! What hangs on a user's tables beside their rows, columns and indexes: triggers with
//! their functions, and foreign keys. An exploration takes it along into its copies,
//! and names what stays behind.

use super::{Dialect, Session, Value, first_row};
use anyhow::Result;
use std::collections::BTreeSet;

/// Set in a session of MySQL or MariaDB while copies are brought back to where they began:
/// triggers there cannot be switched off, and do nothing then.
pub(super) const RESETTING: &str = "@stockbench_resetting";

/// Something that hangs on a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The table.
    pub table: String,
    /// What it is called, with its kind.
    pub title: String,
    /// What it is.
    pub kind: AttachmentKind,
    /// The statements that make it, where names without a schema are names of copies.
    pub sql: Vec<String>,
    /// The tables that it needs.
    pub needs: BTreeSet<String>,
    /// Why it cannot come along, if it cannot.
    pub refused: Option<String>,
}

/// What can hang on a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachmentKind {
    /// A trigger of this name.
    Trigger(String),
    /// A foreign key.
    ForeignKey,
    /// A rule that rewrites statements.
    Rule,
}

/// Everything that hangs on a table, in the order in which it is made.
///
/// # Errors
/// The catalogue cannot be read.
pub async fn attachments(
    session: &mut dyn Session,
    dialect: Dialect,
    table: &str,
) -> Result<Vec<Attachment>> {
    let known = Known::read(session, dialect).await?;
    match dialect {
        Dialect::Postgres => postgres(session, table, &known).await,
        Dialect::MySql | Dialect::MariaDb => mysql(session, table, &known).await,
        Dialect::Sqlite => sqlite(session, table, &known).await,
        Dialect::Null => Ok(Vec::new()),
    }
}

/// Names that a body may use.
struct Known {
    tables: BTreeSet<String>,
    functions: BTreeSet<String>,
    schemas: BTreeSet<String>,
}

impl Known {
    async fn read(session: &mut dyn Session, dialect: Dialect) -> Result<Self> {
        let none = "SELECT '' WHERE 1 = 0";
        let [tables, functions, schemas] = match dialect {
            Dialect::Postgres => [
                "SELECT relname::text FROM pg_class WHERE relkind IN ('r', 'p') AND pg_table_is_visible(oid) \
                 AND relnamespace <> 'pg_catalog'::regnamespace",
                "SELECT DISTINCT p.proname::text FROM pg_proc p WHERE pg_function_is_visible(p.oid) \
                 AND p.pronamespace <> 'pg_catalog'::regnamespace AND NOT EXISTS (\
                 SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')",
                "SELECT nspname::text FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' \
                 AND nspname <> 'information_schema'",
            ],
            Dialect::MySql | Dialect::MariaDb => [
                "SELECT CAST(table_name AS CHAR) FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'",
                "SELECT CAST(routine_name AS CHAR) FROM information_schema.routines \
                 WHERE routine_schema = DATABASE()",
                "SELECT CAST(schema_name AS CHAR) FROM information_schema.schemata \
                 WHERE schema_name NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')",
            ],
            Dialect::Sqlite | Dialect::Null => [
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'",
                none,
                none,
            ],
        };
        Ok(Self {
            tables: lower_names(session, tables).await?,
            functions: lower_names(session, functions).await?,
            schemas: lower_names(session, schemas).await?,
        })
    }

    /// The tables that a text names.
    fn tables_in(&self, text: &str) -> BTreeSet<String> {
        words(text).filter(|word| self.tables.contains(word)).collect()
    }

    /// The functions of the user's own that a text calls.
    fn functions_in(&self, text: &str) -> BTreeSet<String> {
        words(text).filter(|word| self.functions.contains(word)).collect()
    }

    /// Why a body would reach past the copies, if it would.
    fn escape_of(&self, body: &str) -> Option<String> {
        let text: String = body.to_lowercase().replace(['"', '`'], "");
        let schema = self.schemas.iter().find(|schema| {
            text.match_indices(&format!("{schema}.")).any(|(at, _)| {
                !text[..at]
                    .ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '.')
            })
        });
        if let Some(schema) = schema {
            return Some(format!("it names {schema} before a table"));
        }
        let risky = ["execute", "search_path", "dblink", "set_config", "copy"];
        let word = words(&text).find(|word| risky.contains(&word.as_str()));
        word.map(|word| format!("what it does with {word} cannot be judged"))
    }
}

/// The words of a text, in lower case.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    let words =
        text.split(|character: char| !character.is_alphanumeric() && character != '_' && character != '$');
    words.filter(|word| !word.is_empty()).map(str::to_lowercase)
}

async fn rows(session: &mut dyn Session, sql: &str) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    let mut keep = |row: &[Value]| {
        rows.push(row.iter().map(Value::to_text).collect());
        Ok(())
    };
    session.for_each_row(sql, &mut keep).await?;
    Ok(rows)
}

async fn lower_names(session: &mut dyn Session, sql: &str) -> Result<BTreeSet<String>> {
    Ok(rows(session, sql).await?.into_iter().map(|row| row[0].to_lowercase()).collect())
}

async fn postgres(session: &mut dyn Session, table: &str, known: &Known) -> Result<Vec<Attachment>> {
    let of = format!("to_regclass({})", Dialect::Postgres.literal(table));
    let keys = format!(
        "SELECT quote_ident(conname), pg_get_constraintdef(oid, true), confrelid::regclass::text \
         FROM pg_constraint WHERE contype = 'f' AND conrelid = {of} ORDER BY conname"
    );
    let mut found: Vec<Attachment> =
        rows(session, &keys).await?.iter().map(|key| postgres_key(table, key)).collect();

    let triggers = format!(
        "SELECT t.tgname::text, pg_get_triggerdef(t.oid, true), p.proname::text \
         FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid \
         WHERE t.tgrelid = {of} AND NOT t.tgisinternal AND t.tgenabled NOT IN ('D', 'R') ORDER BY t.tgname"
    );
    for trigger in rows(session, &triggers).await? {
        let [name, definition, function] = &trigger[..] else { continue };
        let mut attachment = Attachment {
            table: table.to_owned(),
            title: format!("trigger {name} on {table}"),
            kind: AttachmentKind::Trigger(name.clone()),
            sql: Vec::new(),
            needs: known.tables_in(definition),
            refused: None,
        };
        postgres_functions(session, known, &mut attachment, [function.to_lowercase(), definition.clone()])
            .await?;
        attachment.sql.push(definition.clone());
        found.push(attachment);
    }

    let rules = format!("SELECT rulename::text FROM pg_rewrite WHERE ev_class = {of}");
    for rule in rows(session, &rules).await? {
        found.push(Attachment {
            table: table.to_owned(),
            title: format!("rule {} on {table}", rule[0]),
            kind: AttachmentKind::Rule,
            sql: Vec::new(),
            needs: BTreeSet::new(),
            refused: Some("rules are not copied".to_owned()),
        });
    }
    Ok(found)
}

fn postgres_key(table: &str, key: &[String]) -> Attachment {
    let (name, definition, referenced) = (&key[0], &key[1], &key[2]);
    // While the copies are brought back, children stand without their parents for a moment.
    let (definition, suffix) = match definition.strip_suffix(" NOT VALID") {
        Some(definition) => (definition, " NOT VALID"),
        None => (definition.as_str(), ""),
    };
    let deferrable = if definition.contains(" DEFERRABLE") { "" } else { " DEFERRABLE" };
    Attachment {
        table: table.to_owned(),
        title: format!("foreign key {name} of {table}"),
        kind: AttachmentKind::ForeignKey,
        sql: vec![format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}{deferrable}{suffix}")],
        needs: BTreeSet::from([referenced.to_lowercase()]),
        refused: referenced.contains('.').then(|| format!("{referenced} is in another schema")),
    }
}

/// Adds the functions of the user's own that texts call, and those that these call.
async fn postgres_functions(
    session: &mut dyn Session,
    known: &Known,
    attachment: &mut Attachment,
    texts: [String; 2],
) -> Result<()> {
    let mut waiting: BTreeSet<String> = texts.iter().flat_map(|text| known.functions_in(text)).collect();
    let mut seen = BTreeSet::new();
    while let Some(name) = waiting.pop_first() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let sql = format!(
            "SELECT n.nspname::text, quote_ident(n.nspname), l.lanname::text, p.prosrc, pg_get_functiondef(p.oid) \
             FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang \
             WHERE lower(p.proname) = {} AND p.prokind IN ('f', 'p') AND pg_function_is_visible(p.oid)",
            Dialect::Postgres.literal(&name)
        );
        for function in rows(session, &sql).await? {
            let [_, schema, language, body, definition] = &function[..] else { continue };
            let made = definition.replacen(&format!(" {schema}."), " ", 1);
            let settings = made.split_once(" AS ").map_or(made.as_str(), |(head, _)| head);
            let escape = if ["plpgsql", "sql"].contains(&language.as_str()) {
                known.escape_of(body).or_else(|| known.escape_of(settings))
            } else {
                Some(format!("it is written in {language}"))
            };
            if let Some(why) = escape {
                attachment.refused.get_or_insert(format!("its function {name}: {why}"));
            }
            attachment.needs.extend(known.tables_in(body));
            waiting.extend(known.functions_in(body));
            attachment.sql.insert(0, made);
        }
    }
    Ok(())
}

async fn mysql(session: &mut dyn Session, table: &str, known: &Known) -> Result<Vec<Attachment>> {
    let made = first_row(session, &format!("SHOW CREATE TABLE {table}")).await?;
    let made = made.and_then(|row| Some(row.get(1)?.to_text())).unwrap_or_default();
    let keys = made.lines().map(|line| line.trim().trim_end_matches(','));
    let keys = keys.filter(|line| line.starts_with("CONSTRAINT ") && line.contains(" FOREIGN KEY "));
    let mut found: Vec<Attachment> = keys.map(|key| mysql_key(table, key)).collect();

    let triggers = format!(
        "SELECT CAST(trigger_name AS CHAR), CAST(action_timing AS CHAR), CAST(event_manipulation AS CHAR), \
         CAST(action_statement AS CHAR) FROM information_schema.triggers \
         WHERE event_object_schema = DATABASE() AND event_object_table = {} ORDER BY action_order",
        Dialect::MySql.literal(table)
    );
    for trigger in rows(session, &triggers).await? {
        let [name, timing, event, body] = &trigger[..] else { continue };
        let calls = known.functions_in(body).into_iter().next();
        let calls = calls.map(|function| format!("it calls {function}"));
        let body = body.trim().trim_end_matches(';');
        found.push(Attachment {
            table: table.to_owned(),
            title: format!("trigger {name} on {table}"),
            kind: AttachmentKind::Trigger(name.clone()),
            sql: vec![format!(
                "CREATE TRIGGER {} {timing} {event} ON {table} FOR EACH ROW IF {RESETTING} IS NULL THEN {body}; END IF",
                Dialect::MySql.quote(name)
            )],
            needs: known.tables_in(body),
            refused: known.escape_of(body).or(calls),
        });
    }
    Ok(found)
}

fn mysql_key(table: &str, key: &str) -> Attachment {
    let referenced = key.split_once(" REFERENCES ").map_or("", |(_, rest)| rest);
    let referenced = referenced.split(" (").next().unwrap_or_default().replace('`', "");
    let name = key.split('`').nth(1).unwrap_or_default();
    Attachment {
        table: table.to_owned(),
        title: format!("foreign key {name} of {table}"),
        kind: AttachmentKind::ForeignKey,
        sql: vec![format!("ALTER TABLE {table} ADD {key}")],
        needs: BTreeSet::from([referenced.to_lowercase()]),
        refused: referenced.contains('.').then(|| format!("{referenced} is in another database")),
    }
}

async fn sqlite(session: &mut dyn Session, table: &str, known: &Known) -> Result<Vec<Attachment>> {
    let name = Dialect::Sqlite.literal(table);
    let keys = format!("SELECT DISTINCT \"table\" FROM pragma_foreign_key_list({name})");
    let keys = rows(session, &keys).await?.into_iter().map(|key| Attachment {
        table: table.to_owned(),
        title: format!("foreign key of {table} to {}", key[0]),
        kind: AttachmentKind::ForeignKey,
        // It stands in the table's own text.
        sql: Vec::new(),
        needs: BTreeSet::from([key[0].to_lowercase()]),
        refused: None,
    });
    let mut found: Vec<Attachment> = keys.collect();

    let triggers = format!(
        "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower({name}) ORDER BY name"
    );
    for trigger in rows(session, &triggers).await? {
        let [name, made] = &trigger[..] else { continue };
        found.push(Attachment {
            table: table.to_owned(),
            title: format!("trigger {name} on {table}"),
            kind: AttachmentKind::Trigger(name.clone()),
            sql: vec![made.clone()],
            needs: known.tables_in(made),
            refused: None,
        });
    }
    Ok(found)
}
