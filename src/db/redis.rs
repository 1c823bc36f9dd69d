//! Redis: the place where some strategies keep their locks and counters.
//!
//! Scripts only: a script is atomic on the server, as a statement is on a
//! database. One connection serves all clients; their scripts are pipelined.

use super::{DbError, ErrorClass, Reply, Statement, Value};
use crate::text;
use anyhow::{Context, Result, anyhow, ensure};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, IntoConnectionInfo, RedisError, Script};
use std::time::Duration;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a script may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A Redis server that has answered once.
#[derive(Clone)]
pub struct Redis {
    connection: ConnectionManager,
    /// Its version, in its own words.
    pub version: String,
    /// The number that it gave itself when it started.
    pub run_id: String,
    /// Its URL, without its password.
    pub url_redacted: String,
}

impl Redis {
    /// Connects and asks for the version.
    ///
    /// # Errors
    /// One line that names the server (never its password) and the reason.
    pub async fn connect(url: &str) -> Result<Self> {
        let url_redacted = redacted(url);
        let cannot = |error: RedisError| {
            anyhow!("cannot connect to {url_redacted}: {}", text::one_line(&error.to_string()))
        };
        let client = Client::open(url.into_connection_info().map_err(cannot)?).map_err(cannot)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let mut connection = ConnectionManager::new_with_config(client, config).await.map_err(cannot)?;
        let info: String =
            redis::cmd("INFO").arg("server").query_async(&mut connection).await.map_err(cannot)?;
        let said = |key: &str| {
            info.lines().find_map(|line| line.strip_prefix(key)).map(|said| said.trim().to_owned())
        };
        let version =
            said("redis_version:").with_context(|| format!("{url_redacted} does not say its version"))?;
        let run_id = said("run_id:").unwrap_or_default();
        Ok(Self { connection, version, run_id, url_redacted })
    }

    /// Refuses a URL whose password is not escaped: its rest would be taken for a host, and
    /// shown as one.
    ///
    /// # Errors
    /// An @ behind the host.
    pub fn check_url(url: &str) -> Result<()> {
        let is_escaped = url::Url::parse(url).is_ok_and(|url| !url[url::Position::AfterHost..].contains('@'));
        ensure!(
            is_escaped,
            "Redis URL does not parse, or has an @ after its host: write special characters of the password as %-escapes"
        );
        Ok(())
    }

    /// Lets the server compile a script without running it.
    ///
    /// # Errors
    /// The script is no Lua, or the server cannot be reached.
    pub async fn check(&self, statement: &Statement) -> Result<(), DbError> {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(statement.sql.as_bytes());
        let loaded: Result<String, RedisError> = load.query_async(&mut self.connection.clone()).await;
        loaded.map(drop).map_err(|error| classify(&error))
    }

    /// Runs a script. A reply of nil or false is no row; an array is the
    /// yielded values in order; anything else is the one value.
    ///
    /// # Errors
    /// The script fails, or the server cannot be reached.
    pub async fn execute(&self, statement: &Statement, binds: &[Value]) -> Result<Reply, DbError> {
        let script = Script::new(&statement.sql);
        let mut call = script.prepare_invoke();
        for value in binds {
            call.arg(value.to_text());
        }
        let reply = call.invoke_async(&mut self.connection.clone()).await;
        let values = match reply.map_err(|error| classify(&error))? {
            redis::Value::Nil | redis::Value::Boolean(false) => return Ok(Reply::default()),
            redis::Value::Array(values) => values.into_iter().map(value).collect(),
            single => vec![value(single)],
        };
        if values.len() < statement.columns.len() {
            let message = format!(
                "the script returned {} values, expected {}",
                values.len(),
                statement.columns.join(", ")
            );
            return Err(DbError { class: ErrorClass::Statement, code: "redis-reply".to_owned(), message });
        }
        Ok(Reply { matched: 1, values, rows: Vec::new() })
    }
}

/// Whole numbers come as text as often as not.
fn value(value: redis::Value) -> Value {
    let text = match value {
        redis::Value::Int(number) => return Value::Int(number),
        redis::Value::Nil => return Value::Null,
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        redis::Value::SimpleString(text) => text,
        other => format!("{other:?}"),
    };
    text.parse().map_or(Value::Text(text), Value::Int)
}

fn classify(error: &RedisError) -> DbError {
    let (class, code) = if error.is_connection_refusal() {
        (ErrorClass::NeverStarted, "redis-refused".to_owned())
    } else if error.is_io_error() || error.is_connection_dropped() || error.is_timeout() {
        (ErrorClass::Lost, "redis-io".to_owned())
    } else {
        (ErrorClass::Statement, format!("redis-{}", error.code().unwrap_or("error").to_lowercase()))
    };
    DbError { class, code, message: text::one_line(&error.to_string()) }
}

fn redacted(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut url) => {
            // A URL without a host can hold no password, and cannot lose one.
            let removed = url.set_password(None);
            removed.map_or_else(|()| "redis".to_owned(), |()| url.to_string())
        }
        Err(_) => "redis".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(redacted("redis://:secret@127.0.0.1:6379/"), "redis://127.0.0.1:6379/");
        assert_eq!(redacted("redis://me:secret@host/2"), "redis://me@host/2");
        assert_eq!(redacted("not a url secret"), "redis");
    }

    #[test]
    fn a_password_that_is_not_escaped_is_refused() {
        for right in ["redis://:p%40ss%2F@h:1/2?protocol=resp3", "redis://h", "redis+unix:///run/redis.sock"]
        {
            assert!(Redis::check_url(right).is_ok(), "{right}");
        }
        for wrong in ["redis://:p@ss/w@h", "redis://:p@ss#w@h", "redis://:p@ss?w@h", "not a url"] {
            let error = Redis::check_url(wrong).unwrap_err().to_string();
            assert!(error.contains("%-escapes") && !error.contains(wrong), "{error}");
        }
    }
}
