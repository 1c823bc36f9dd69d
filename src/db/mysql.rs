//! MySQL and MariaDB sessions: one protocol, two servers.

use super::tls::{Tls, TlsMode, Verified};
use super::url::DatabaseUrl;
use super::{
    DatabaseInfo, DbError, Dialect, Session, SessionSettings, Statement, Value, classify::classify,
    first_row, relative,
};
use anyhow::{Context, Result};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlSslMode};
use sqlx::{Column, ConnectOptions, Connection, Row, TypeInfo, ValueRef};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

/// An open connection.
pub(super) struct MySqlSession {
    pub(super) connection: MySqlConnection,
    /// Whether statements stay prepared on the server.
    persistent: bool,
}

super::session::implement_session!(MySqlSession, decode, bind_types);

impl MySqlSession {
    async fn is_read_only(&mut self) -> Result<bool, DbError> {
        Ok(self.value("CAST(@@GLOBAL.read_only AS SIGNED)").await?.as_int() == Some(1))
    }

    async fn version(&mut self) -> Result<String, DbError> {
        Ok(self.value("VERSION()").await?.to_text())
    }

    /// What an expression comes to.
    async fn value(&mut self, expression: &str) -> Result<Value, DbError> {
        let query = Statement {
            sql: format!("SELECT {expression} AS value_of").into(),
            columns: vec!["value_of".to_owned()],
            returns_rows: Some(true),
            ..Statement::default()
        };
        Ok(self.execute(&query, &[]).await?.values.into_iter().next().unwrap_or(Value::Null))
    }
}

/// The driver would otherwise change `sql_mode` and the time zone, and with
/// them what the user's own SQL means.
fn options(url: &DatabaseUrl) -> Result<MySqlConnectOptions, sqlx::Error> {
    let options = MySqlConnectOptions::from_str(url.secret())?;
    Ok(options
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .disable_statement_logging())
}

async fn connect(url: &DatabaseUrl) -> Result<MySqlConnection, sqlx::Error> {
    options(url)?.connect().await
}

/// A connection for what the [`Session`] trait has no words for.
pub(super) async fn connect_raw(url: &DatabaseUrl) -> Result<MySqlConnection> {
    connect(url).await.map_err(|error| classify(&error).into())
}

pub(super) async fn open(url: &DatabaseUrl, settings: &SessionSettings) -> Result<MySqlSession, DbError> {
    let connection = connect(url).await.map_err(|error| classify(&error))?;
    let mut session = MySqlSession { connection, persistent: true };
    if settings.writes_on_node && session.is_read_only().await? {
        return Err(super::takes_no_writes("1290"));
    }
    if let Some(level) = settings.isolation {
        session.control(&format!("SET SESSION TRANSACTION ISOLATION LEVEL {}", level.as_sql())).await?;
    }
    if let Some(timeout) = settings.lock_timeout {
        // The server counts whole seconds, and at least one.
        let seconds = timeout.as_secs_f64().ceil().max(1.0);
        // Of rows, and of tables that somebody changes meanwhile.
        let limits = format!("innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}");
        session.control(&format!("SET SESSION {limits}")).await?;
    }
    if let Some(timeout) = settings.statement_timeout {
        let version = session.version().await?;
        session.control(&statement_timeout(version.contains("MariaDB"), timeout)).await?;
    }
    if settings.read_only {
        session.control("SET SESSION TRANSACTION READ ONLY").await?;
    }
    Ok(session)
}

/// Whether a proxy answers that shares connections among its clients: one that numbers
/// sessions itself (ProxySQL answers a bare `SELECT CONNECTION_ID()` so), or that leads two of
/// our connections to one session.
pub(super) async fn is_proxied(url: &DatabaseUrl) -> bool {
    let own = async || {
        let mut session = MySqlSession { connection: connect(url).await.ok()?, persistent: false };
        let bare = first_row(&mut session, "SELECT CONNECTION_ID()").await.ok()??[0].as_int();
        let computed = first_row(&mut session, "SELECT CONNECTION_ID() + 0").await.ok()??[0].as_int();
        Some((session, bare, computed))
    };
    let Some((first, bare, computed)) = own().await else { return false };
    let second = own().await;

    let is_shared = second.as_ref().is_some_and(|(_, other, other_computed)| {
        *other == bare || *other_computed == computed || other != other_computed
    });
    Box::new(first).close().await;
    if let Some((second, ..)) = second {
        Box::new(second).close().await;
    }
    is_shared || bare != computed
}

/// MariaDB limits every statement, MySQL only those that read: there, what a
/// write can wait for is a lock.
fn statement_timeout(is_mariadb: bool, timeout: Duration) -> String {
    if is_mariadb {
        format!("SET SESSION max_statement_time = {}", timeout.as_secs_f64().max(0.001))
    } else {
        format!("SET SESSION max_execution_time = {}", timeout.as_millis().max(1))
    }
}

/// The variables that change results, by either server's name.
const VARIABLES: &str = "'transaction_isolation', 'tx_isolation', 'innodb_flush_log_at_trx_commit', 'sync_binlog', \
    'log_bin', 'innodb_snapshot_isolation', 'innodb_lock_wait_timeout', 'max_connections', 'sql_mode', \
    'wsrep_on', 'wsrep_sync_wait', 'group_replication_single_primary_mode'";

/// Where a connection goes; none where that is a socket of this machine.
pub(super) fn address(url: &DatabaseUrl) -> Option<(String, u16)> {
    let options = options(url).ok()?;
    options.get_socket().is_none().then(|| (options.get_host().to_owned(), options.get_port()))
}

/// What the URL asks of a connection.
pub(super) fn tls_mode(url: &DatabaseUrl) -> Result<TlsMode, sqlx::Error> {
    let (word, verified) = match options(url)?.get_ssl_mode() {
        MySqlSslMode::Disabled => ("DISABLED", Verified::None),
        MySqlSslMode::Preferred => ("PREFERRED", Verified::None),
        MySqlSslMode::Required => ("REQUIRED", Verified::None),
        MySqlSslMode::VerifyCa => ("VERIFY_CA", Verified::Ca),
        MySqlSslMode::VerifyIdentity => ("VERIFY_IDENTITY", Verified::Identity),
    };
    let required = !matches!(word, "DISABLED" | "PREFERRED");
    Ok(TlsMode { word, required, verified })
}

pub(super) async fn info(url: &DatabaseUrl, session: &mut dyn Session) -> Result<DatabaseInfo> {
    let version =
        first_row(session, "SELECT VERSION()").await?.context("the server has no version")?[0].to_text();
    let mut settings = BTreeMap::new();
    let sql = format!("SHOW SESSION VARIABLES WHERE Variable_name IN ({VARIABLES})");
    session
        .for_each_row(&sql, &mut |row| {
            settings.insert(row[0].to_text(), row[1].to_text());
            Ok(())
        })
        .await?;
    let connected = first_row(session, "SHOW GLOBAL STATUS LIKE 'Threads_connected'").await?;
    let connected = connected.and_then(|row| row[1].as_int()).unwrap_or(0);
    let tls = first_row(session, "SHOW SESSION STATUS LIKE 'Ssl_version'").await?;
    let tls = Tls::new(tls_mode(url)?, tls.and_then(|row| row.get(1).map(Value::to_text)));
    describe(url, version, settings, connected, tls)
}

/// What a server is by its answers.
fn describe(
    url: &DatabaseUrl,
    version: String,
    mut settings: BTreeMap<String, String>,
    connected: i64,
    tls: Tls,
) -> Result<DatabaseInfo> {
    let isolation = settings
        .remove("transaction_isolation")
        .or_else(|| settings.remove("tx_isolation"))
        .context("the server names no isolation level")?;
    settings.remove("tx_isolation");
    let max = settings.get("max_connections").and_then(|max| max.parse().ok());
    let is = |name: &str, value: &str| settings.get(name).is_some_and(|set| set == value);
    let is_durable =
        is("innodb_flush_log_at_trx_commit", "1") && (is("log_bin", "OFF") || is("sync_binlog", "1"));
    let relative = relative::of(&version);
    Ok(DatabaseInfo {
        kind: if version.contains("MariaDB") { Dialect::MariaDb } else { Dialect::MySql },
        tls: Some(tls),
        pooler: None,
        isolation: isolation.to_lowercase(),
        url_redacted: url.to_string(),
        nodes: 1,
        // TiDB has these variables for compatibility only.
        durable: relative.is_none().then_some(is_durable),
        embedded_default: false,
        free_connections: relative::free_connections(max, connected),
        relative: relative.map(Into::into),
        version,
        settings,
    })
}

fn decode(row: &MySqlRow, index: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let type_name = raw.type_info().name().to_owned();
    Ok(match type_name.as_str() {
        "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" | "YEAR" => {
            Value::Int(row.try_get_unchecked(index)?)
        }
        name if name.ends_with("UNSIGNED") => {
            let number: u64 = row.try_get_unchecked(index)?;
            i64::try_from(number).map_or_else(|_| Value::Text(number.to_string()), Value::Int)
        }
        // SUM() is a DECIMAL, which travels as text.
        "DECIMAL" => {
            let text: String = row.try_get_unchecked(index)?;
            text.parse().map_or(Value::Text(text), Value::Int)
        }
        "VARCHAR" | "CHAR" | "TEXT" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT" | "ENUM" | "SET"
        | "VARBINARY" | "BINARY" | "BLOB" | "LONGBLOB" | "JSON" => Value::Text(row.try_get_unchecked(index)?),
        other => {
            let column = row.column(index).name();
            return Err(sqlx::Error::Decode(
                format!("column {column} is {other}: cast it to SIGNED or CHAR").into(),
            ));
        }
    })
}

/// MySQL takes each bind's type as it comes.
fn bind_types(_: &Statement) -> Vec<sqlx::mysql::MySqlTypeInfo> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(version: &str, settings: &[(&str, &str)]) -> DatabaseInfo {
        let url = DatabaseUrl::parse("mysql://me:s3cret@h/shop?ssl-mode=required").unwrap();
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let tls = Tls::new(tls_mode(&url).unwrap(), Some("TLSv1.3".to_owned()));
        describe(&url, version.to_owned(), settings.collect(), 5, tls).unwrap()
    }

    #[test]
    fn a_server_is_what_it_says_of_itself() {
        let settings = [
            ("transaction_isolation", "REPEATABLE-READ"),
            ("max_connections", "151"),
            ("innodb_flush_log_at_trx_commit", "1"),
            ("log_bin", "ON"),
            ("sync_binlog", "1"),
        ];
        let info = described("9.7.4-2", &settings);
        assert_eq!((info.kind, info.relative.as_ref()), (Dialect::MySql, None));
        assert_eq!((info.durable, info.free_connections), (Some(true), 146));
        assert_eq!(info.isolation, "repeatable-read");
        let tls = info.tls.unwrap();
        assert_eq!(tls.to_string(), "TLSv1.3 (sslmode=REQUIRED, certificate not verified)");
        let settings = [("tx_isolation", "READ-COMMITTED"), ("max_connections", "3")];
        let info = described("10.11.19-MariaDB-0+deb12u1", &settings);
        assert_eq!((info.kind, info.durable, info.free_connections), (Dialect::MariaDb, Some(false), 0));
    }

    #[test]
    fn tidb_has_no_limit_of_connections_by_default() {
        let settings = [
            ("transaction_isolation", "REPEATABLE-READ"),
            ("max_connections", "0"),
            ("innodb_flush_log_at_trx_commit", "1"),
            ("log_bin", "OFF"),
        ];
        let info = described("8.0.11-TiDB-v8.5.0", &settings);
        assert_eq!((info.relative.as_deref(), info.kind), (Some("TiDB"), Dialect::MySql));
        assert_eq!((info.free_connections, info.durable), (u32::MAX, None));
        assert!(info.has_advisory_locks());
        assert!(!described("5.7.25-TiDB-v5.4.3", &settings).has_advisory_locks());
    }
}
