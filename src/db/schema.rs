//! Our own tables: migrating, seeding and dropping them, and the list of runs
//! that moved the stock since it was seeded.
//!
//! Architecture invariant: every table named here carries the prefix
//! `stockbench_`, and nothing else is ever dropped.

use super::classify::classify;
use super::patient::answer;
use super::scratch::Scratch;
use super::{
    Database, DatabaseUrl, DbError, Dialect, Session, SessionSettings, Statement, Value, first_row, mysql,
    postgres, sqlite,
};
use anyhow::{Context, Result, bail};
use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::{Connection, Executor};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What every table of ours is called at the front.
pub const PREFIX: &str = "stockbench_";

/// The ledger of every strategy that does not bring its own.
pub const LEDGER: &str = "stockbench_ledger";

/// The stock of every strategy that does not bring its own.
pub const STOCK_QUERY: &str = "SELECT id AS sku_id, stock FROM stockbench_sku";

/// Those that the migrations make.
const OUR_TABLES: [&str; 3] = ["stockbench_sku", "stockbench_ledger", "stockbench_run"];

const MIGRATIONS_TABLE: &str = "stockbench_migrations";

/// Rows in one multi-row insert. MySQL takes packets of 64 MiB and SQLite
/// statements of 1 MB; a thousand rows of two numbers are far below both.
const ROWS_PER_INSERT: usize = 1_000;

/// Bytes of COPY text sent at a time.
const COPY_CHUNK: usize = 1 << 20;

/// A run that moved the stock since it was last seeded.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// Its number, which its order ids carry.
    pub id: i64,
    /// The strategy it ran.
    pub strategy: String,
    /// What the audit reads, as JSON.
    pub audit_source: String,
    /// When it started, in milliseconds since 1970.
    pub started_ms: i64,
}

/// The SKUs to seed: their ids, and the units of each.
#[derive(Debug, Clone)]
pub struct Seed {
    /// Which SKUs.
    pub sku_ids: SkuIds,
    /// Units of each.
    pub stock: i64,
}

/// Which SKUs there are.
#[derive(Debug, Clone)]
pub enum SkuIds {
    /// 1 to this number.
    UpTo(i64),
    /// These, ascending.
    These(Arc<[i64]>),
}

impl SkuIds {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::UpTo(last) => usize::try_from(*last).unwrap_or(0),
            Self::These(ids) => ids.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id at a position from 0.
    pub fn get(&self, index: usize) -> i64 {
        match self {
            Self::UpTo(_) => i64::try_from(index + 1).unwrap_or(i64::MAX),
            Self::These(ids) => ids[index],
        }
    }

    /// Every id, ascending.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// Creates or updates our tables.
///
/// # Errors
/// The user may not create tables, a migration of a newer stockbench is there, or somebody
/// has dropped a table that was made before.
pub async fn migrate(database: &Database) -> Result<()> {
    if database.dialect() == Dialect::Null {
        return Ok(());
    }
    let url = &database.writable_node().await?;
    let migrated = match database.dialect() {
        Dialect::Postgres => migrate_postgres(url).await,
        Dialect::MySql | Dialect::MariaDb => {
            apply(sqlx::migrate!("migrations/mysql"), answer(mysql::connect_raw(url)).await??).await
        }
        Dialect::Sqlite | Dialect::Null => {
            apply(sqlx::migrate!("migrations/sqlite"), answer(sqlite::connect_raw(url)).await??).await
        }
    };

    let mut session = database.open(&SessionSettings::default()).await?;
    let checked = match migrated {
        Ok(()) => check_all_there(session.as_mut()).await,
        Err(error) => match error.downcast::<DbError>() {
            Ok(error) => {
                Err(postgres::name_grant(session.as_mut(), error, postgres::Place::Schema).await.into())
            }
            Err(error) => Err(error),
        },
    };
    session.close().await;
    checked.with_context(|| format!("cannot create stockbench's own tables in {url}"))
}

/// What was migrated once is not made again, whoever has dropped it since.
async fn check_all_there(session: &mut dyn Session) -> Result<()> {
    for table in OUR_TABLES {
        let asked = session.control(&format!("SELECT 1 FROM {table} WHERE 1 = 0")).await;
        match asked {
            Err(error) if is_no_such_table(&error) => bail!(
                "{table} is gone, and {MIGRATIONS_TABLE} says that it was made: drop the rest with `stockbench \
                 clean`, and run again"
            ),
            asked => asked?,
        }
    }
    Ok(())
}

/// SQLite has no code of its own for it.
fn is_no_such_table(error: &DbError) -> bool {
    matches!(error.code.as_str(), "42P01" | "1146")
        || error.code == "1" && error.message.starts_with("no such table")
}

/// In one transaction, so that all of it reaches one backend of a pooler, which keeps nothing
/// that was prepared for it.
async fn migrate_postgres(url: &DatabaseUrl) -> Result<()> {
    let mut connection = answer(postgres::connect_raw(url)).await??;
    let mut tx = answer(connection.begin()).await??;

    let migrated =
        answer(ours(sqlx::migrate!("migrations/postgres")).run_direct(None, &mut *tx, false)).await?;

    answer(tx.clear_cached_statements()).await??;
    match migrated {
        Ok(()) => answer(tx.commit()).await??,
        Err(error) => {
            answer(tx.rollback()).await??;
            return Err(said_once(error));
        }
    }
    Ok(answer(connection.close()).await??)
}

async fn apply<C: Connection + Migrate>(migrator: Migrator, mut connection: C) -> Result<()> {
    answer(ours(migrator).run_direct(None, &mut connection, false)).await?.map_err(said_once)?;
    // One that is dropped goes when it likes, and SQLite's last one takes the journal with it.
    Ok(answer(connection.close()).await??)
}

/// The driver's errors say the same as the one in them, and that one says it with its code.
fn said_once(error: MigrateError) -> anyhow::Error {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(&error).into(),
        other => other.into(),
    }
}

fn ours(mut migrator: Migrator) -> Migrator {
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    // Our own run lock is held: the driver's would only add a second one.
    migrator.set_locking(false);
    migrator
}

/// Runs a statement that a strategy prepares its tables with. A table gets an engine with
/// transactions, whatever the server takes by itself, unless the statement names one.
///
/// # Errors
/// The database refuses.
pub async fn run_setup(session: &mut dyn Session, dialect: Dialect, sql: &str) -> Result<()> {
    let takes_other = match dialect {
        Dialect::MySql | Dialect::MariaDb => {
            let other = "SELECT 1 FROM DUAL WHERE @@default_storage_engine <> 'InnoDB'";
            first_row(session, other).await?.is_some()
        }
        _ => false,
    };
    if !takes_other {
        return Ok(session.control(sql).await?);
    }
    session.control("SET SESSION default_storage_engine = InnoDB").await?;
    let done = session.control(sql).await;
    let reset = session.control("SET SESSION default_storage_engine = DEFAULT").await;
    Ok(done.and(reset)?)
}

/// Replaces the stock and the ledger: every SKU with its units, and an opening
/// entry for each.
///
/// # Errors
/// The database refuses; on PostgreSQL and SQLite nothing has changed then.
pub async fn seed(database: &Database, seed: &Seed) -> Result<()> {
    seed_rows(database, seed).await.with_context(|| format!("cannot seed {}", database.url()))
}

async fn seed_rows(database: &Database, seed: &Seed) -> Result<()> {
    if database.dialect() == Dialect::Postgres {
        return copy_rows(database, seed).await;
    }
    let mut session = database.open(&SessionSettings::default()).await?;
    let begin = database.dialect().begin();
    // TRUNCATE commits by itself, so it comes before the transaction.
    let emptying = match database.dialect() {
        Dialect::Sqlite | Dialect::Null => {
            [begin, "DELETE FROM stockbench_sku", "DELETE FROM stockbench_ledger"]
        }
        _ => ["TRUNCATE TABLE stockbench_sku", "TRUNCATE TABLE stockbench_ledger", begin],
    };
    for statement in emptying {
        session.control(statement).await?;
    }
    let mut sql = String::new();
    for (index, sku_id) in seed.sku_ids.iter().enumerate() {
        sql.push_str(if sql.is_empty() { "INSERT INTO stockbench_sku (id, stock) VALUES " } else { ", " });
        write!(sql, "({sku_id}, {})", seed.stock)?;
        if (index + 1).is_multiple_of(ROWS_PER_INSERT) || index + 1 == seed.sku_ids.len() {
            session.control(&sql).await?;
            sql.clear();
        }
    }
    session.control(OPENING_ENTRIES).await?;
    session.control(FORGET_RUNS).await?;
    session.control("COMMIT").await?;
    session.close().await;
    Ok(())
}

const OPENING_ENTRIES: &str = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) \
     SELECT 0, id, 'opening', 'accepted', stock, stock, 0 FROM stockbench_sku ORDER BY id";

const FORGET_RUNS: &str = "UPDATE stockbench_run SET since_seed = 0 WHERE since_seed = 1";

async fn copy_rows(database: &Database, seed: &Seed) -> Result<()> {
    let mut connection = answer(postgres::connect_raw(&database.writable_node().await?)).await??;
    let mut tx = answer(connection.begin()).await??;
    answer(tx.execute("TRUNCATE stockbench_sku, stockbench_ledger RESTART IDENTITY")).await??;
    let mut copy = answer(tx.copy_in_raw("COPY stockbench_sku (id, stock) FROM STDIN")).await??;
    let mut chunk = String::with_capacity(COPY_CHUNK + 64);
    for sku_id in seed.sku_ids.iter() {
        writeln!(chunk, "{sku_id}\t{}", seed.stock)?;
        if chunk.len() >= COPY_CHUNK {
            answer(copy.send(chunk.as_bytes())).await??;
            chunk.clear();
        }
    }
    answer(copy.send(chunk.as_bytes())).await??;
    answer(copy.finish()).await??;
    answer(tx.execute(OPENING_ENTRIES)).await??;
    answer(tx.execute(FORGET_RUNS)).await??;
    answer(tx.commit()).await??;
    // Without statistics the planner guesses, and autovacuum comes too late. Not
    // so the ledger: it would be known as small, and plans that read it whole
    // would be kept while it grows.
    answer(connection.execute("ANALYZE stockbench_sku")).await??;
    answer(connection.close()).await??;
    Ok(())
}

/// Enters a run into the list and gives it its number.
///
/// # Errors
/// The database refuses.
pub async fn register_run(
    session: &mut dyn Session,
    dialect: Dialect,
    strategy: &str,
    audit_source: String,
) -> Result<RunRow> {
    let last = first_row(session, "SELECT max(id) FROM stockbench_run").await?;
    let id = last.and_then(|row| row[0].as_int()).unwrap_or(0) + 1;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
    let started_ms = i64::try_from(now.as_millis())?;
    let insert = admin_statement(
        dialect,
        "INSERT INTO stockbench_run (id, strategy, audit_source, started_ms, since_seed) VALUES (",
        4,
        ", 1)",
    );
    let binds = [id.into(), strategy.into(), audit_source.as_str().into(), started_ms.into()];
    session.execute(&insert, &binds).await?;
    Ok(RunRow { id, strategy: strategy.to_owned(), audit_source, started_ms })
}

/// What the processes that share a run have agreed on, if they do.
///
/// # Errors
/// The database refuses.
pub async fn joint(session: &mut dyn Session, run_id: i64) -> Result<Option<String>> {
    let row = first_row(session, &format!("SELECT joint FROM stockbench_run WHERE id = {run_id}")).await?;
    Ok(row.map(|row| row[0].to_text()).filter(|joint| !joint.is_empty()))
}

/// Keeps what they have agreed on.
///
/// # Errors
/// The database refuses.
pub async fn keep_joint(session: &mut dyn Session, dialect: Dialect, run_id: i64, joint: &str) -> Result<()> {
    let update =
        admin_statement(dialect, "UPDATE stockbench_run SET joint = ", 1, &format!(" WHERE id = {run_id}"));
    session.execute(&update, &[joint.into()]).await?;
    Ok(())
}

/// `head`, a placeholder for each bind, `tail`.
fn admin_statement(dialect: Dialect, head: &str, binds: usize, tail: &str) -> Statement {
    let placeholders: Vec<String> = (1..=binds).map(|number| dialect.placeholder(number)).collect();
    Statement {
        sql: format!("{head}{}{tail}", placeholders.join(", ")).into(),
        bind_count: binds,
        returns_rows: Some(false),
        ..Statement::default()
    }
}

/// The latest run since the stock was seeded, if there was one.
///
/// # Errors
/// Our tables are not there, or the database refuses.
pub async fn latest_run(session: &mut dyn Session) -> Result<Option<RunRow>> {
    let sql = "SELECT id, strategy, audit_source, started_ms FROM stockbench_run \
               WHERE since_seed = 1 ORDER BY id DESC LIMIT 1";
    let Some(row) = first_row(session, sql).await? else { return Ok(None) };
    let [id, strategy, audit_source, started_ms] = row.as_slice() else {
        bail!("stockbench_run has an unexpected shape");
    };
    Ok(Some(RunRow {
        id: id.as_int().context("a run without a number")?,
        strategy: strategy.to_text(),
        audit_source: audit_source.to_text(),
        started_ms: started_ms.as_int().context("a run without a start")?,
    }))
}

/// The SKUs that are in stock now: what a strategy's setup made of the seed.
///
/// # Errors
/// The database refuses.
pub async fn stocked_skus(session: &mut dyn Session) -> Result<SkuIds> {
    let summary = first_row(session, "SELECT count(*), min(id), max(id) FROM stockbench_sku").await?;
    let numbers: Vec<Option<i64>> = summary.unwrap_or_default().iter().map(Value::as_int).collect();
    if let [Some(count), Some(1), Some(max)] = numbers[..]
        && count == max
    {
        return Ok(SkuIds::UpTo(max));
    }
    let mut ids = Vec::new();
    let mut keep = |row: &[Value]| {
        ids.push(row[0].as_int().context("a SKU without a number")?);
        Ok(())
    };
    session.for_each_row("SELECT id FROM stockbench_sku ORDER BY id", &mut keep).await?;
    Ok(SkuIds::These(ids.into()))
}

/// The tables of ours that are in the database.
///
/// # Errors
/// The database refuses.
pub async fn our_tables(session: &mut dyn Session, dialect: Dialect) -> Result<Vec<String>> {
    let sql = match dialect {
        Dialect::Postgres => {
            "SELECT table_name::text FROM information_schema.tables \
             WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY 1"
        }
        Dialect::MySql | Dialect::MariaDb => {
            "SELECT table_name FROM information_schema.tables \
             WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' ORDER BY 1"
        }
        Dialect::Sqlite | Dialect::Null => "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1",
    };
    let mut tables = Vec::new();
    session
        .for_each_row(sql, &mut |row| {
            let table = row[0].to_text();
            if table.starts_with(PREFIX) {
                tables.push(table);
            }
            Ok(())
        })
        .await?;
    Ok(tables)
}

/// Drops every table of ours and nothing else; returns their names.
///
/// # Errors
/// The database refuses.
pub async fn clean(database: &Database) -> Result<Vec<String>> {
    let mut session = database.open(&SessionSettings::default()).await?;
    let tables = our_tables(session.as_mut(), database.dialect()).await?;
    for table in &tables {
        session.control(&format!("DROP TABLE {}", database.dialect().quote(table))).await?;
    }
    let mut dropped = tables;
    dropped.extend(Scratch::drop_left(session.as_mut(), database.dialect()).await?);
    session.close().await;
    Ok(dropped)
}
