//! PostgreSQL sessions.

use super::url::DatabaseUrl;
use super::{
    DatabaseInfo, DbError, Dialect, Session, SessionSettings, Statement, Value, classify::classify, first_row,
};
use anyhow::{Context, Result};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgTypeInfo};
use sqlx::{Column, ConnectOptions, Connection, Row, TypeInfo, ValueRef};
use std::str::FromStr;

/// What our sessions are called in `pg_stat_activity`.
pub(super) const APPLICATION: &str = "stockbench";

/// An open connection.
pub(super) struct PostgresSession {
    pub(super) connection: PgConnection,
}

super::session::implement_session!(PostgresSession, decode, bind_types);

impl PostgresSession {
    async fn is_standby(&mut self) -> Result<bool, DbError> {
        let query = Statement {
            sql: "SELECT 1 WHERE pg_is_in_recovery()".into(),
            returns_rows: Some(true),
            ..Statement::default()
        };
        Ok(self.execute(&query, &[]).await?.matched > 0)
    }
}

fn options(url: &DatabaseUrl) -> Result<PgConnectOptions, sqlx::Error> {
    let options = PgConnectOptions::from_str(url.secret())?;
    Ok(options.application_name(APPLICATION).disable_statement_logging())
}

pub(super) async fn open(url: &DatabaseUrl, settings: &SessionSettings) -> Result<PostgresSession, DbError> {
    let connection = connect(url).await.map_err(|error| classify(&error))?;
    let mut session = PostgresSession { connection };
    if settings.writes_on_node && session.is_standby().await? {
        return Err(super::takes_no_writes("25006"));
    }
    let mut set = Vec::new();
    if let Some(level) = settings.isolation {
        set.push(format!("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {}", level.as_sql()));
    }
    if let Some(timeout) = settings.lock_timeout {
        set.push(format!("SET lock_timeout = {}", timeout.as_millis().max(1)));
    }
    if let Some(timeout) = settings.statement_timeout {
        set.push(format!("SET statement_timeout = {}", timeout.as_millis().max(1)));
    }
    if settings.read_only {
        set.push("SET default_transaction_read_only = on".to_owned());
    }
    if !set.is_empty() {
        session.control(&set.join("; ")).await?;
    }
    Ok(session)
}

async fn connect(url: &DatabaseUrl) -> Result<PgConnection, sqlx::Error> {
    options(url)?.connect().await
}

/// A connection for what the [`Session`] trait has no words for.
pub(super) async fn connect_raw(url: &DatabaseUrl) -> Result<PgConnection> {
    connect(url).await.map_err(|error| classify(&error).into())
}

pub(super) async fn info(url: &DatabaseUrl, session: &mut dyn Session) -> Result<DatabaseInfo> {
    const SETTINGS: [&str; 6] = [
        "fsync",
        "synchronous_commit",
        "full_page_writes",
        "deadlock_timeout",
        "max_connections",
        "lock_timeout",
    ];
    let settings = SETTINGS.map(|name| format!("current_setting('{name}')")).join(", ");
    let sql = format!(
        "SELECT current_setting('server_version'), current_setting('transaction_isolation'), \
         current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint \
         - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), {settings}"
    );
    let row = first_row(session, &sql).await?.context("the server described itself with no row")?;
    let texts: Vec<String> = row.iter().map(Value::to_text).collect();
    let settings: std::collections::BTreeMap<String, String> =
        SETTINGS.iter().map(|name| (*name).to_owned()).zip(texts[3..].iter().cloned()).collect();
    let on = |name: &str| settings.get(name).is_some_and(|value| value != "off");
    let version = first_row(session, "SELECT version()").await?;
    let version = version.map(|row| row[0].to_text()).unwrap_or_default();
    // Relatives have no such view.
    let tls =
        first_row(session, "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl").await;
    let tls = tls.ok().flatten().map(|row| row[0].to_text());
    Ok(DatabaseInfo {
        relative: super::relative(&version).map(Into::into),
        tls,
        kind: Dialect::Postgres,
        version: texts[0].clone(),
        isolation: texts[1].replace(' ', "-"),
        url_redacted: url.to_string(),
        nodes: 1,
        durable: on("fsync") && on("synchronous_commit"),
        embedded_default: false,
        free_connections: row[2].as_int().and_then(|free| u32::try_from(free).ok()).unwrap_or(0),
        settings,
    })
}

fn decode(row: &PgRow, index: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let type_name = raw.type_info().name().to_owned();
    Ok(match type_name.as_str() {
        "INT8" => Value::Int(row.try_get(index)?),
        "INT4" => Value::Int(row.try_get::<i32, _>(index)?.into()),
        "INT2" => Value::Int(row.try_get::<i16, _>(index)?.into()),
        "BOOL" => Value::Int(row.try_get::<bool, _>(index)?.into()),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" => Value::Text(row.try_get(index)?),
        // What sum() makes of BIGINT.
        "NUMERIC" => {
            let number: sqlx::types::Decimal = row.try_get(index)?;
            let text = number.normalize().to_string();
            text.parse().map_or(Value::Text(text), Value::Int)
        }
        "VOID" => Value::Null,
        other => {
            let column = row.column(index).name();
            return Err(sqlx::Error::Decode(
                format!("column {column} is {other}: cast it to BIGINT or TEXT").into(),
            ));
        }
    })
}

/// PostgreSQL resolves operators by the types of the binds, which are said
/// when the statement is prepared: numbers are always BIGINT.
fn bind_types(statement: &Statement) -> Vec<PgTypeInfo> {
    let type_of = |position: usize| {
        let is_text = statement.text_binds.contains(&position);
        if is_text {
            <String as sqlx::Type<sqlx::Postgres>>::type_info()
        } else {
            <i64 as sqlx::Type<sqlx::Postgres>>::type_info()
        }
    };
    (0..statement.bind_count).map(type_of).collect()
}
