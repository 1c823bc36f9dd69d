//! A place of its own for an exploration: beside the user's tables, never in
//! them, and brought back to where it began as often as need be.
//!
//! On PostgreSQL it is a schema, on MySQL and MariaDB a database, for SQLite a
//! file; its name begins with our prefix, and it is dropped at the end.

use super::attached::{Attachment, AttachmentKind, RESETTING};
use super::schema::PREFIX;
use super::{Database, Dialect, ErrorClass, Session, SessionSettings, Value, postgres};
use anyhow::{Context, Result, bail};
use rand::RngExt;
use std::fmt::Write as _;
use tempfile::TempDir;

/// What the copies are called at the front that a reset starts from.
const START: &str = "start_of_";

/// Rows of a user's own table that are copied at most.
pub const ROWS_MAX: i64 = 10_000;

/// Rows of a table that are written into a script at most.
const ROWS_SHOWN: i64 = 100;

/// What hangs on copied tables, as far as it came along.
#[derive(Debug, Clone, Default)]
pub struct Attached {
    /// What did.
    pub taken: Vec<Attachment>,
    /// What did not, and why.
    pub left_behind: Vec<String>,
}

impl Attached {
    /// Whether every foreign key came along.
    pub fn keeps_references(&self) -> bool {
        !self.left_behind.iter().any(|what| what.starts_with("foreign key"))
    }

    fn triggers(&self) -> impl Iterator<Item = (&Attachment, &str)> {
        self.taken.iter().filter_map(|attachment| match &attachment.kind {
            AttachmentKind::Trigger(name) => Some((attachment, name.as_str())),
            AttachmentKind::ForeignKey | AttachmentKind::Rule => None,
        })
    }

    /// The tables in an order in which each stands before those that it refers to.
    fn children_first(&self, mut tables: Vec<String>) -> Vec<String> {
        let keys = self.taken.iter().filter(|attachment| attachment.kind == AttachmentKind::ForeignKey);
        let keys: Vec<&Attachment> = keys.collect();
        let mut ordered = Vec::new();
        while !tables.is_empty() {
            let is_referred_to = |table: &String| {
                keys.iter().any(|key| {
                    key.table != *table
                        && key.needs.contains(&table.to_lowercase())
                        && tables.contains(&key.table)
                })
            };
            // In a circle any is as good as another.
            let next = tables.iter().position(|table| !is_referred_to(table)).unwrap_or(0);
            ordered.push(tables.remove(next));
        }
        ordered
    }
}

/// Tables of its own for one exploration.
pub struct Scratch {
    /// The database as seen from inside.
    pub database: Database,
    outside: Database,
    name: String,
    /// Holds a lock of its name, so that nobody drops it meanwhile.
    holder: Option<Box<dyn Session>>,
    /// Where SQLite's file is.
    _folder: Option<TempDir>,
}

impl Scratch {
    /// What every scratch is called at the front.
    pub const NAME: &'static str = "stockbench_explore_";

    /// Creates an empty one.
    ///
    /// # Errors
    /// The user may not create a schema or a database there.
    pub async fn create(database: &Database, number: usize) -> Result<Self> {
        // Processes of two machines may have one number.
        let chance: u32 = rand::rng().random();
        let name = format!("{}{}_{number}_{chance:08x}", Self::NAME, std::process::id());
        let mut folder = None;
        let url = match database.dialect() {
            Dialect::Sqlite => {
                let made = tempfile::Builder::new().prefix(Self::NAME).tempdir()?;
                let url = format!("sqlite:{}", made.path().join("scratch.db").display());
                folder = Some(made);
                super::DatabaseUrl::parse(&url)?
            }
            _ => database.url().inside(&name)?,
        };
        let mut holder = None;
        if database.dialect() != Dialect::Sqlite {
            let kind = if database.dialect() == Dialect::Postgres { "SCHEMA" } else { "DATABASE" };
            let mut session = database.open(&SessionSettings::default()).await?;
            Self::take(session.as_mut(), database.dialect(), &name).await?;
            if let Err(error) = session.control(&format!("CREATE {kind} {name}")).await {
                let error = postgres::name_grant(session.as_mut(), error, postgres::Place::Database).await;
                let place = format!("cannot make a scratch {} in {}", kind.to_lowercase(), database.url());
                return Err(anyhow::Error::new(error).context(place));
            }
            holder = Some(session);
        }
        let mut inside = database.connect_beside(&url).await?;
        inside.info.url_redacted.clone_from(&database.info.url_redacted);
        Ok(Self { database: inside, outside: database.clone(), name, holder, _folder: folder })
    }

    /// Takes the lock of a scratch's name; false if somebody has it.
    async fn take(session: &mut dyn Session, dialect: Dialect, name: &str) -> Result<bool> {
        let sql = match dialect {
            Dialect::Postgres => {
                format!("SELECT CASE WHEN pg_try_advisory_lock(hashtext('{name}')) THEN 1 ELSE 0 END")
            }
            _ => format!("SELECT GET_LOCK('{name}', 0)"),
        };
        Ok(super::first_row(session, &sql).await?.and_then(|row| row[0].as_int()) == Some(1))
    }

    /// Copies a table of the user's own: its shape and its rows, all of them or
    /// those that a condition names. What hangs on it comes with [`Self::attach`].
    ///
    /// # Errors
    /// It is not there, may not be read, or is too large.
    pub async fn copy(&self, table: &str, condition: Option<&str>) -> Result<()> {
        let mut session = self.outside.open(&SessionSettings::default()).await?;
        let copied = self.copy_by(session.as_mut(), table, condition).await;
        session.close().await;
        copied.with_context(|| format!("cannot copy {table} for the exploration"))
    }

    async fn copy_by(&self, session: &mut dyn Session, table: &str, condition: Option<&str>) -> Result<()> {
        let rows = match condition {
            Some(condition) => format!("{table} WHERE {condition}"),
            None => table.to_owned(),
        };
        if is_large(session, &rows).await? {
            bail!(
                "there are more than {ROWS_MAX} rows of it for these SKUs: explore on a database with a few rows of \
                 it, as a developer's own"
            );
        }
        let inside = format!("{}.{table}", self.name);
        match self.outside.dialect() {
            Dialect::Postgres => {
                let kind = format!("SELECT relkind::text FROM pg_class WHERE oid = to_regclass('{table}')");
                let kind = super::first_row(session, &kind).await?.map(|row| row[0].to_text());
                if !matches!(kind.as_deref(), Some("r" | "p")) {
                    bail!("it is no table: name the tables behind it in the strategy");
                }
                session.control(&format!("CREATE TABLE {inside} (LIKE {table} INCLUDING ALL)")).await?;
                // In one message they are one transaction: rows that a policy would leave out are
                // refused, and the setting ends with it.
                session
                    .control(&format!(
                        "SET LOCAL row_security = off; \
                         INSERT INTO {inside} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {rows}",
                        columns = self.columns_inside(table).await?
                    ))
                    .await?;
                self.own_sequences(session, table).await?;
            }
            Dialect::MySql | Dialect::MariaDb => {
                session.control(&format!("CREATE TABLE {inside} LIKE {table}")).await?;
                let columns = self.columns_inside(table).await?;
                session
                    .control(&format!("INSERT INTO {inside} ({columns}) SELECT {columns} FROM {rows}"))
                    .await?;
            }
            Dialect::Sqlite => {
                // The table before its indexes; triggers stay behind.
                let made = format!(
                    "SELECT sql FROM sqlite_master WHERE type IN ('table', 'index') AND sql IS NOT NULL \
                     AND lower(tbl_name) = lower('{}') ORDER BY type DESC",
                    table.replace('\'', "''")
                );
                let made = names(session, &made).await?;
                let file = self.outside.url().file().context("an SQLite database is a file")?;
                let mut own = self.database.open(&SessionSettings::default()).await?;
                own.control(&format!(
                    "ATTACH '{}' AS outside",
                    file.display().to_string().replace('\'', "''")
                ))
                .await?;
                for sql in made {
                    own.control(&sql).await?;
                }
                own.control("PRAGMA foreign_keys = off").await?;
                let columns = self.columns(own.as_mut(), table).await?.join(", ");
                let copying =
                    format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM outside.{rows}");
                own.control(&copying).await?;
                own.control("DETACH outside").await?;
                own.close().await;
            }
            Dialect::Null => {}
        }
        Ok(())
    }

    async fn columns_inside(&self, table: &str) -> Result<String> {
        let mut own = self.database.open(&SessionSettings::default()).await?;
        let columns = self.columns(own.as_mut(), table).await;
        own.close().await;
        Ok(columns?.join(", "))
    }

    /// Makes what hangs on the copied tables hang on the copies, too.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn attach(&self, attachments: &[Attachment], copied: &[String]) -> Result<Attached> {
        let mut attached = Attached::default();
        let mut session = self.database.open(&SessionSettings::default()).await?;
        for attachment in attachments {
            let is_there = |name: &&String| name.starts_with(PREFIX) || copied.contains(name);
            let missing = attachment.needs.iter().find(|name| !is_there(name));
            let missing = missing.map(|name| format!("{name} is not copied"));
            let mut refused = attachment.refused.clone().or(missing);
            for sql in &attachment.sql {
                if refused.is_none() {
                    refused = session.control(sql).await.err().map(|error| error.to_string());
                }
            }
            match refused {
                Some(why) => attached.left_behind.push(format!("{} ({why})", attachment.title)),
                None => attached.taken.push(attachment.clone()),
            }
        }
        session.close().await;
        Ok(attached)
    }

    /// A copy would go on drawing from the user's own sequences.
    async fn own_sequences(&self, session: &mut dyn Session, table: &str) -> Result<()> {
        let columns = format!(
            "SELECT column_name::text FROM information_schema.columns WHERE table_schema = '{}' \
             AND table_name = '{table}' AND column_default LIKE 'nextval(%'",
            self.name
        );
        for column in names(session, &columns).await? {
            let (inside, sequence) =
                (format!("{}.{table}", self.name), format!("{}.{table}_{column}_own", self.name));
            let set = format!(
                "CREATE SEQUENCE {sequence}; \
                 SELECT setval('{sequence}', (SELECT coalesce(max(\"{column}\"), 0) + 1 FROM {inside}), false); \
                 ALTER TABLE {inside} ALTER COLUMN \"{column}\" SET DEFAULT nextval('{sequence}')"
            );
            session.control(&set).await?;
        }
        Ok(())
    }

    /// Remembers every table as it is now; returns the statements that bring
    /// those tables back to it.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn remember(&self, attached: &Attached) -> Result<String> {
        let mut session = self.database.open(&SessionSettings::default()).await?;
        let reset = self.remember_by(session.as_mut(), attached).await;
        session.close().await;
        reset.context("cannot remember where the exploration begins")
    }

    async fn remember_by(&self, session: &mut dyn Session, attached: &Attached) -> Result<String> {
        let dialect = self.database.dialect();
        let (mut reset, after) = self.around_reset(attached);
        let mut fill = Vec::new();
        for table in attached.children_first(self.tables(session).await?) {
            let columns = self.columns(session, &table).await?.join(", ");
            let (now, start) = (self.quoted(&table), self.quoted(&format!("{START}{table}")));
            match dialect {
                // Not in one statement: that takes the server's own engine, and none where
                // transactions are numbered (GTID).
                Dialect::MySql | Dialect::MariaDb => {
                    session.control(&format!("CREATE TABLE {start} LIKE {now}")).await?;
                    let fill = format!("INSERT INTO {start} ({columns}) SELECT {columns} FROM {now}");
                    session.control(&fill).await?;
                }
                _ => {
                    session.control(&format!("CREATE TABLE {start} AS SELECT {columns} FROM {now}")).await?;
                }
            }
            let count = format!("SELECT count(*) FROM {start}");
            let rows = super::first_row(session, &count).await?.and_then(|row| row[0].as_int());
            write!(reset, "; DELETE FROM {now}")?;
            if rows != Some(0) {
                let overriding = self.overriding();
                fill.push(format!("INSERT INTO {now} ({columns}){overriding} SELECT {columns} FROM {start}"));
            }
        }

        // Those that are referred to come back first.
        for sql in fill.iter().rev().chain(&after) {
            write!(reset, "; {sql}")?;
        }
        for sql in self.counters(session).await? {
            write!(reset, "; {sql}")?;
        }
        Ok(reset)
    }

    /// What begins and ends bringing the tables back: triggers do nothing meanwhile, and
    /// rows may stand without those that they refer to.
    fn around_reset(&self, attached: &Attached) -> (String, Vec<String>) {
        let mut before = Vec::new();
        let mut after = Vec::new();
        match self.database.dialect() {
            Dialect::MySql | Dialect::MariaDb => {
                before.push("SET FOREIGN_KEY_CHECKS = 0".to_owned());
                before.push(format!("SET {RESETTING} = 1"));
                before.push("START TRANSACTION".to_owned());
                after.push("COMMIT".to_owned());
                after.push(format!("SET {RESETTING} = NULL"));
            }
            Dialect::Postgres => {
                before.push("BEGIN".to_owned());
                if !attached.taken.is_empty() {
                    before.push("SET CONSTRAINTS ALL DEFERRED".to_owned());
                    after.push("SET CONSTRAINTS ALL IMMEDIATE".to_owned());
                }
                for (trigger, name) in attached.triggers() {
                    let (table, name) = (&trigger.table, Dialect::Postgres.quote(name));
                    before.push(format!("ALTER TABLE {table} DISABLE TRIGGER {name}"));
                    after.push(format!("ALTER TABLE {table} ENABLE TRIGGER {name}"));
                }
                after.push("COMMIT".to_owned());
            }
            Dialect::Sqlite | Dialect::Null => {
                before.push("BEGIN".to_owned());
                for (trigger, name) in attached.triggers() {
                    before.push(format!("DROP TRIGGER {}", Dialect::Sqlite.quote(name)));
                    after.extend(trigger.sql.iter().cloned());
                }
                after.push("COMMIT".to_owned());
            }
        }
        (before.join("; "), after)
    }

    /// The tables that an exploration may change.
    async fn tables(&self, session: &mut dyn Session) -> Result<Vec<String>> {
        let sql = match self.database.dialect() {
            Dialect::Sqlite => {
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            }
            Dialect::MySql | Dialect::MariaDb => {
                "SELECT CAST(table_name AS CHAR) FROM information_schema.tables \
                 WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'"
            }
            Dialect::Postgres | Dialect::Null => {
                "SELECT table_name::text FROM information_schema.tables \
                 WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
            }
        };
        let mut tables = names(session, sql).await?;
        let is_bookkeeping = |name: &str| ["stockbench_migrations", "stockbench_run"].contains(&name);
        tables.retain(|name| !is_bookkeeping(name) && !name.starts_with(START));
        Ok(tables)
    }

    /// The columns of a table that a statement may fill, quoted.
    async fn columns(&self, session: &mut dyn Session, table: &str) -> Result<Vec<String>> {
        let sql = match self.database.dialect() {
            Dialect::Sqlite => "SELECT name FROM pragma_table_info('{}')",
            Dialect::MySql | Dialect::MariaDb => {
                "SELECT CAST(column_name AS CHAR) FROM information_schema.columns WHERE \
                 table_schema = DATABASE() AND table_name = '{}' AND extra NOT LIKE '%GENERATED%' \
                 ORDER BY ordinal_position"
            }
            Dialect::Postgres | Dialect::Null => {
                "SELECT column_name::text FROM information_schema.columns WHERE \
                 table_schema = current_schema() AND table_name = '{}' AND is_generated = 'NEVER' \
                 ORDER BY ordinal_position"
            }
        };
        let columns = names(session, &sql.replace("{}", &table.replace('\'', "''"))).await?;
        Ok(columns.iter().map(|name| self.quoted(name)).collect())
    }

    /// What lets a statement fill columns that the database would number.
    fn overriding(&self) -> &'static str {
        if self.database.dialect() == Dialect::Postgres { " OVERRIDING SYSTEM VALUE" } else { "" }
    }

    fn quoted(&self, name: &str) -> String {
        match self.database.dialect() {
            Dialect::MySql | Dialect::MariaDb => format!("`{name}`"),
            _ => format!("\"{name}\""),
        }
    }

    /// Statements that fill the tables as they are now, for people.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn script(&self) -> Result<String> {
        let mut session = self.database.open(&SessionSettings::default()).await?;
        let script = self.script_by(session.as_mut()).await;
        session.close().await;
        script.context("cannot read where the exploration begins")
    }

    async fn script_by(&self, session: &mut dyn Session) -> Result<String> {
        let mut script = String::new();
        for table in self.tables(session).await? {
            let columns = self.columns(session, &table).await?;
            let table = self.quoted(&table);
            let literal = |column: &String| match self.database.dialect() {
                Dialect::MySql | Dialect::MariaDb => format!("QUOTE({column})"),
                Dialect::Sqlite => format!("quote({column})"),
                Dialect::Postgres | Dialect::Null => format!("quote_nullable({column}::text)"),
            };
            let values: Vec<String> = columns.iter().map(literal).collect();
            let rows = match self.database.dialect() {
                Dialect::MySql | Dialect::MariaDb => format!("CONCAT_WS(', ', {})", values.join(", ")),
                _ => values.join(" || ', ' || "),
            };
            let sql = format!("SELECT {rows} FROM {table} LIMIT {}", ROWS_SHOWN + 1);
            let rows = names(session, &sql).await?;
            writeln!(script, "DELETE FROM {table};")?;
            if i64::try_from(rows.len())? > ROWS_SHOWN {
                writeln!(script, "-- and fill it as it was: more than {ROWS_SHOWN} rows")?;
            } else if !rows.is_empty() {
                let columns = columns.join(", ");
                let rows = rows.join("),\n  (");
                writeln!(script, "INSERT INTO {table} ({columns}){} VALUES\n  ({rows});", self.overriding())?;
            }
        }
        Ok(script)
    }

    /// What brings counters back that no rollback does.
    async fn counters(&self, session: &mut dyn Session) -> Result<Vec<String>> {
        match self.database.dialect() {
            Dialect::Postgres => {
                let sequences = "SELECT format('SELECT setval(%L, %s, %L)', quote_ident(sequencename), \
                     coalesce(last_value, start_value), last_value IS NOT NULL) FROM pg_sequences \
                     WHERE schemaname = current_schema()";
                names(session, sequences).await
            }
            Dialect::MySql | Dialect::MariaDb => {
                // Our own ledger's numbers mean nothing to anybody.
                let tables = "SELECT CAST(table_name AS CHAR) FROM information_schema.tables WHERE \
                     table_schema = DATABASE() AND auto_increment IS NOT NULL AND table_name NOT LIKE 'stockbench\\_%'";
                let mut sql = Vec::new();
                for table in names(session, tables).await? {
                    let next = format!(
                        "SELECT CAST(auto_increment AS SIGNED) FROM information_schema.tables \
                         WHERE table_schema = DATABASE() AND table_name = '{table}'"
                    );
                    let next =
                        super::first_row(session, &next).await?.and_then(|row| row[0].as_int()).unwrap_or(1);
                    sql.push(format!("ALTER TABLE `{table}` AUTO_INCREMENT = {next}"));
                }
                Ok(sql)
            }
            Dialect::Sqlite => {
                let there = "SELECT name FROM sqlite_master WHERE name = 'sqlite_sequence'";
                if names(session, there).await?.is_empty() {
                    return Ok(Vec::new());
                }
                session
                    .control(&format!(
                        "CREATE TABLE {START}counters AS SELECT name, seq FROM sqlite_sequence"
                    ))
                    .await?;
                let back =
                    format!("INSERT INTO sqlite_sequence (name, seq) SELECT name, seq FROM {START}counters");
                Ok(vec!["DELETE FROM sqlite_sequence".to_owned(), back])
            }
            Dialect::Null => Ok(Vec::new()),
        }
    }

    /// Drops those that an exploration has left behind which was ended by force; returns
    /// their names.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn drop_left(session: &mut dyn Session, dialect: Dialect) -> Result<Vec<String>> {
        let sql = match dialect {
            Dialect::Sqlite | Dialect::Null => return Ok(Vec::new()),
            _ => "SELECT CAST(schema_name AS CHAR(64)) FROM information_schema.schemata",
        };
        let mut dropped = Vec::new();

        for name in names(session, sql).await? {
            let name = name.trim_end();
            if name.starts_with(Self::NAME) && Self::drop_dead(session, dialect, name).await? {
                dropped.push(name.to_owned());
            }
        }
        Ok(dropped)
    }

    /// Drops one unless somebody is at work in it; whether it did.
    async fn drop_dead(session: &mut dyn Session, dialect: Dialect, name: &str) -> Result<bool> {
        if dialect != Dialect::Postgres {
            let is_dead = Self::take(session, dialect, name).await?;
            if is_dead {
                session.control(&Self::drop_sql(dialect, name)).await?;
            }
            return Ok(is_dead);
        }

        // The lock must not outlive this: the connection may be a pooler's.
        session.control("BEGIN").await?;
        let sql = format!("SELECT CASE WHEN pg_try_advisory_xact_lock(hashtext('{name}')) THEN 1 ELSE 0 END");
        let is_dead = super::first_row(session, &sql).await?.and_then(|row| row[0].as_int()) == Some(1);
        if is_dead {
            session.control(&Self::drop_sql(dialect, name)).await?;
        }
        session.control("COMMIT").await?;
        Ok(is_dead)
    }

    /// What drops one; whoever made it may have been faster.
    pub fn drop_sql(dialect: Dialect, name: &str) -> String {
        match dialect {
            Dialect::Postgres => format!("DROP SCHEMA IF EXISTS {name} CASCADE"),
            _ => format!("DROP DATABASE IF EXISTS {name}"),
        }
    }

    /// Drops it, over a new connection where the one that holds its lock was cut meanwhile.
    ///
    /// # Errors
    /// The server is gone, or refuses; the error says what is left and what removes it.
    pub async fn drop(self) -> Result<()> {
        let Some(mut holder) = self.holder else { return Ok(()) };
        let sql = Self::drop_sql(self.outside.dialect(), &self.name);

        let mut dropped = holder.control(&sql).await;
        holder.close().await;
        if dropped.as_ref().is_err_and(|error| error.class == ErrorClass::Lost) {
            dropped = match self.outside.open(&SessionSettings::default()).await {
                Ok(mut session) => {
                    let dropped = session.control(&sql).await;
                    session.close().await;
                    dropped
                }
                Err(error) => Err(error),
            };
        }

        dropped.with_context(|| {
            format!(
                "cannot drop {}, which is left in {} (`stockbench clean` removes it)",
                self.name,
                self.outside.url()
            )
        })
    }
}

/// Whether there are more rows than are copied.
///
/// # Errors
/// The table may not be read.
pub async fn is_large(session: &mut dyn Session, rows: &str) -> Result<bool> {
    let count = format!("SELECT count(*) FROM (SELECT 1 FROM {rows} LIMIT {}) AS few", ROWS_MAX + 1);
    let count = super::first_row(session, &count).await?.and_then(|row| row[0].as_int());
    Ok(count.unwrap_or(0) > ROWS_MAX)
}

async fn names(session: &mut dyn Session, sql: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut keep = |row: &[Value]| {
        names.push(row[0].to_text());
        Ok(())
    };
    session.for_each_row(sql, &mut keep).await?;
    Ok(names)
}
