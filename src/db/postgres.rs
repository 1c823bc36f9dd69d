//! PostgreSQL sessions.

use super::credentials::{self, Lookup, Server};
use super::pooled::PooledSession;
use super::tls::{Tls, TlsMode, Verified};
use super::url::DatabaseUrl;
use super::{
    DatabaseInfo, DbError, Dialect, ErrorClass, Session, SessionSettings, Statement, Value,
    classify::classify, first_row, relative,
};
use crate::text;
use anyhow::{Context, Result, ensure};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode, PgTypeInfo};
use sqlx::{Column, ConnectOptions, Connection, Row, TypeInfo, ValueRef};
use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// What our sessions are called in `pg_stat_activity`.
pub(super) const APPLICATION: &str = "stockbench";

/// An open connection.
pub(super) struct PostgresSession {
    pub(super) connection: PgConnection,
    /// Whether statements stay prepared on the server.
    pub(super) persistent: bool,
}

super::session::implement_session!(PostgresSession, decode, bind_types);

impl PostgresSession {
    /// Leaves no statement prepared on the server.
    pub(super) async fn forget_statements(&mut self) -> Result<(), DbError> {
        if self.connection.cached_statements_size() == 0 {
            return Ok(());
        }
        self.connection.clear_cached_statements().await.map_err(|error| classify(&error))
    }
}

async fn is_standby(session: &mut dyn Session) -> Result<bool, DbError> {
    let query = Statement {
        sql: "SELECT 1 WHERE pg_is_in_recovery()".into(),
        returns_rows: Some(true),
        ..Statement::default()
    };
    Ok(session.execute(&query, &[]).await?.matched > 0)
}

fn options(url: &DatabaseUrl) -> Result<PgConnectOptions, sqlx::Error> {
    let options = PgConnectOptions::from_str(url.secret())?;
    // A pooler need not know the last one, and no fraction is read here.
    Ok(options.application_name(APPLICATION).extra_float_digits(None).disable_statement_logging())
}

/// Checks what the environment says where the URL says nothing: the driver takes a mode that
/// it does not know for none at all, and would not verify what the user wants verified.
pub(super) fn check_environment(url: &DatabaseUrl) -> Result<()> {
    let is_said = ["sslmode=", "ssl-mode="].iter().any(|mode| url.secret().contains(mode));
    let mode = std::env::var("PGSSLMODE").unwrap_or_default();
    ensure!(
        is_said || mode.is_empty() || PgSslMode::from_str(&mode).is_ok(),
        "PGSSLMODE is \"{}\": expected disable, allow, prefer, require, verify-ca or verify-full",
        text::one_line(&mode)
    );
    Ok(())
}

pub(super) async fn open(url: &DatabaseUrl, settings: &SessionSettings) -> Result<Box<dyn Session>, DbError> {
    let mut session = connect_session(url).await?;
    let mut session: Box<dyn Session> = if settings.read_only || settings.pooler.is_some() {
        check_transactions(&mut session).await?;
        Box::new(PooledSession::new(session, settings))
    } else {
        own(session, settings).await?
    };

    if settings.writes_on_node && is_standby(session.as_mut()).await? {
        return Err(super::takes_no_writes("25006"));
    }
    Ok(session)
}

/// A pooler lets everybody in, and has them wait for a backend at the first statement; one in
/// statement mode refuses BEGIN, or hangs up.
async fn check_transactions(session: &mut PostgresSession) -> Result<(), DbError> {
    if let Err(error) = session.control("BEGIN").await {
        let message = format!(
            "{}: a pooler in statement mode refuses BEGIN so; use its transaction mode, or name the server itself",
            error.message
        );
        return Err(DbError { class: ErrorClass::Fatal, message, ..error });
    }
    session.control("ROLLBACK").await
}

/// A session that is ours from beginning to end, so that its settings may be, too.
async fn own(mut session: PostgresSession, settings: &SessionSettings) -> Result<Box<dyn Session>, DbError> {
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

    if !set.is_empty() {
        session.control(&set.join("; ")).await?;
    }
    Ok(Box::new(session))
}

/// A session with nothing set on it.
pub(super) async fn connect_session(url: &DatabaseUrl) -> Result<PostgresSession, DbError> {
    let connection = connect(url).await.map_err(|error| classify(&error))?;
    Ok(PostgresSession { connection, persistent: true })
}

async fn connect(url: &DatabaseUrl) -> Result<PgConnection, sqlx::Error> {
    options(url)?.connect().await
}

/// A connection for what the [`Session`] trait has no words for.
pub(super) async fn connect_raw(url: &DatabaseUrl) -> Result<PgConnection> {
    connect(url).await.map_err(|error| classify(&error).into())
}

/// Where something was to be made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Database,
    Schema,
}

/// Names the GRANT that would have let something be made there, where it is that which is
/// missing.
pub(super) async fn name_grant(session: &mut dyn Session, error: DbError, place: Place) -> DbError {
    if error.code != "42501" {
        return error;
    }
    let lacks = match place {
        Place::Database => {
            "SELECT format('DATABASE %I TO %I', current_database(), current_user) \
             WHERE NOT has_database_privilege(current_database(), 'CREATE')"
        }
        Place::Schema => {
            "SELECT format('SCHEMA %I TO %I', current_schema(), current_user) \
             WHERE NOT has_schema_privilege(current_schema(), 'CREATE')"
        }
    };
    // One that cannot be asked any more leaves the error as it is.
    match first_row(session, lacks).await {
        Ok(Some(row)) => {
            let message = format!("{}: its owner can GRANT CREATE ON {}", error.message, row[0].to_text());
            DbError { message, ..error }
        }
        _ => error,
    }
}

/// Where a connection goes; none where that is a socket of this machine.
pub(super) fn address(url: &DatabaseUrl) -> Option<(String, u16)> {
    let options = options(url).ok()?;
    let host = options.get_host();
    let is_socket = options.get_socket().is_some() || host.starts_with('/');
    (!is_socket).then(|| (host.to_owned(), options.get_port()))
}

/// Looks the password for a connection up in a password file.
pub(super) fn password_in(file: &Path, url: &DatabaseUrl) -> Result<Lookup> {
    // What does not fit together is said with a better place when it is parsed.
    let Ok(options) = options(url) else { return Ok(Lookup::Nothing) };
    let socket = options.get_socket().map(|folder| folder.to_string_lossy());
    let server = Server {
        host: socket.as_deref().unwrap_or_else(|| options.get_host()),
        port: options.get_port(),
        database: options.get_database().unwrap_or_else(|| options.get_username()),
        user: options.get_username(),
    };
    credentials::password(file, server)
}

/// What is asked of a connection, by the URL or else by the environment.
pub(super) fn tls_mode(url: &DatabaseUrl) -> Result<TlsMode, sqlx::Error> {
    let (word, verified) = match options(url)?.get_ssl_mode() {
        PgSslMode::Disable => ("disable", Verified::None),
        PgSslMode::Allow => ("allow", Verified::None),
        PgSslMode::Prefer => ("prefer", Verified::None),
        PgSslMode::Require => ("require", Verified::None),
        PgSslMode::VerifyCa => ("verify-ca", Verified::Ca),
        PgSslMode::VerifyFull => ("verify-full", Verified::Identity),
    };
    let required = !matches!(word, "disable" | "allow" | "prefer");
    Ok(TlsMode { word, required, verified })
}

/// The settings that change results.
const SETTINGS: [&str; 6] = [
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "deadlock_timeout",
    "max_connections",
    "lock_timeout",
];

/// The settings that are asked for beside them.
const ASIDE: [&str; 3] = ["server_version", "transaction_isolation", "superuser_reserved_connections"];

pub(super) async fn info(url: &DatabaseUrl, session: &mut dyn Session) -> Result<DatabaseInfo> {
    let version = first_row(session, "SELECT version()").await?.context("the server has no version")?;
    let names: Vec<&str> = SETTINGS.into_iter().chain(ASIDE).collect();
    // A setting that a relative does not have is NULL then, and no error.
    let asked: Vec<String> = names.iter().map(|name| format!("current_setting('{name}', true)")).collect();
    let row = first_row(session, &format!("SELECT {}", asked.join(", "))).await?;
    let row = row.context("the server described itself with no row")?;
    let is_set = |(name, value): (&&str, &Value)| {
        (*value != Value::Null).then(|| ((*name).to_owned(), value.to_text()))
    };
    let settings = names.iter().zip(&row).filter_map(is_set).collect();
    // Relatives need not have these views.
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
    let connected = first_row(session, connected).await.ok().flatten().and_then(|row| row[0].as_int());
    let tls = "SELECT COALESCE(version, '') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let tls = first_row(session, tls).await.ok().flatten().map(|row| row[0].to_text());
    let tls = Tls::new(tls_mode(url)?, tls);
    Ok(describe(url, &version[0].to_text(), settings, connected.unwrap_or(0), tls))
}

/// What a server is by its answers.
fn describe(
    url: &DatabaseUrl,
    version: &str,
    mut settings: BTreeMap<String, String>,
    connected: i64,
    tls: Tls,
) -> DatabaseInfo {
    let [server_version, isolation, reserved] = ASIDE.map(|name| settings.remove(name));
    let number = |text: Option<&String>| text.and_then(|text| text.parse::<i64>().ok());
    let max = number(settings.get("max_connections"));
    let reserved = number(reserved.as_ref()).unwrap_or(0);
    let on = |name: &str| settings.get(name).is_some_and(|value| value != "off");
    let relative = relative::of(version);
    DatabaseInfo {
        kind: Dialect::Postgres,
        // CockroachDB names the PostgreSQL there that it is compatible with.
        version: match version.strip_prefix("CockroachDB ") {
            Some(own) => own.split(" (").next().unwrap_or(own).to_owned(),
            None => server_version.unwrap_or_else(|| version.to_owned()),
        },
        tls: Some(tls),
        pooler: None,
        isolation: isolation.unwrap_or_default().replace(' ', "-"),
        url_redacted: url.to_string(),
        nodes: 1,
        // The settings of a relative say nothing of how it keeps what was committed.
        durable: relative.is_none().then(|| on("fsync") && on("synchronous_commit")),
        embedded_default: false,
        free_connections: relative::free_connections(max, reserved + connected),
        relative: relative.map(Into::into),
        settings,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn described(version: &str, settings: &[(&str, &str)]) -> DatabaseInfo {
        let url = DatabaseUrl::parse("postgres://me:s3cret@h/shop?sslmode=require").unwrap();
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let tls = Tls::new(tls_mode(&url).unwrap(), None);
        describe(&url, version, settings.collect(), 5, tls)
    }

    #[test]
    fn a_server_is_what_it_says_of_itself() {
        let info = described(
            "PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu, compiled by gcc",
            &[
                ("server_version", "15.18 (Debian 15.18-0+deb12u1)"),
                ("transaction_isolation", "read committed"),
                ("superuser_reserved_connections", "3"),
                ("max_connections", "100"),
                ("fsync", "on"),
                ("synchronous_commit", "off"),
            ],
        );
        assert_eq!((info.version.as_str(), info.relative.as_ref()), ("15.18 (Debian 15.18-0+deb12u1)", None));
        assert_eq!((info.isolation.as_str(), info.durable), ("read-committed", Some(false)));
        assert_eq!((info.free_connections, info.has_advisory_locks()), (92, true));
        assert_eq!(info.settings.len(), 3);
    }

    #[test]
    fn a_relative_lacks_settings_and_is_named() {
        let cockroach = described(
            "CockroachDB CCL v25.2.1 (x86_64-pc-linux-gnu, built 2025/06/04 17:21:48, go1.23.7)",
            &[
                ("server_version", "13.0.0"),
                ("transaction_isolation", "serializable"),
                ("synchronous_commit", "on"),
                ("lock_timeout", "0"),
            ],
        );
        assert_eq!(cockroach.relative.as_deref(), Some("CockroachDB"));
        assert_eq!(
            (cockroach.version.as_str(), cockroach.isolation.as_str()),
            ("CCL v25.2.1", "serializable")
        );
        assert_eq!((cockroach.durable, cockroach.free_connections), (None, u32::MAX));
        assert!(!cockroach.has_advisory_locks());
        for (version, has_locks) in [("15.2-YB-2025.1.0.0-b0", true), ("11.2-YB-2024.2.3.0-b0", false)] {
            let settings = [
                ("server_version", version),
                ("transaction_isolation", "repeatable read"),
                ("superuser_reserved_connections", "3"),
                ("max_connections", "300"),
            ];
            let yugabyte = described(&format!("PostgreSQL {version} on x86_64-pc-linux-gnu"), &settings);
            assert_eq!(yugabyte.relative.as_deref(), Some("YugabyteDB"));
            assert_eq!((yugabyte.version.as_str(), yugabyte.free_connections), (version, 292));
            assert_eq!(yugabyte.has_advisory_locks(), has_locks, "{version}");
        }
    }
}
