//! Whether a server follows another one, how far behind it is, and where it
//! stands in its log.

use super::{Dialect, Session, Statement, Value, first_row};
use crate::text;
use anyhow::Result;
use std::time::Duration;

/// What a server says of its place in a replication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether it follows another one; `None` where it does not say.
    pub is_replica: Option<bool>,
    /// How far behind it is; `None` for a primary, or when replication stands.
    pub lag: Option<Duration>,
    /// Where it stands: a log position or a set of transactions.
    pub position: Option<String>,
    /// Why it does not say.
    pub why_unknown: Option<String>,
}

/// Asks a server where it stands. What the user may not see stays unknown.
pub async fn standing(session: &mut dyn Session, dialect: Dialect) -> Standing {
    let asked = match dialect {
        Dialect::Postgres => postgres(session).await,
        Dialect::MySql => mysql(session, "SHOW REPLICA STATUS", "@@GLOBAL.gtid_executed").await,
        Dialect::MariaDb => mysql(session, "SHOW SLAVE STATUS", "@@GLOBAL.gtid_current_pos").await,
        Dialect::Sqlite | Dialect::Null => Ok(Standing { is_replica: Some(false), ..Standing::default() }),
    };
    asked.unwrap_or_else(|error| Standing {
        why_unknown: Some(text::one_line(&format!("{error:#}"))),
        ..Standing::default()
    })
}

async fn postgres(session: &mut dyn Session) -> Result<Standing> {
    // Nothing left to replay is no lag, however long ago the last change was.
    let sql = "SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END, \
         CAST(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS TEXT), \
         CASE WHEN NOT pg_is_in_recovery() THEN NULL \
         WHEN pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() \
         AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0 \
         ELSE CAST(EXTRACT(EPOCH FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000 AS BIGINT) END";
    let row = first_row(session, sql).await?.unwrap_or_default();
    let [recovery, position, lag] = row.as_slice() else { return Ok(Standing::default()) };
    Ok(Standing {
        is_replica: Some(recovery.as_int() == Some(1)),
        lag: lag.as_int().map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0))),
        position: (*position != Value::Null).then(|| position.to_text()),
        why_unknown: None,
    })
}

async fn mysql(session: &mut dyn Session, status: &str, position: &str) -> Result<Standing> {
    let position = first_row(session, &format!("SELECT {position}")).await;
    let position = position.ok().flatten().map(|row| text::one_line(&row[0].to_text()));
    let statement = Statement { sql: status.into(), returns_rows: Some(true), ..Statement::default() };
    let shape = session.prepare(&statement).await?;
    let behind = ["Seconds_Behind_Source", "Seconds_Behind_Master"];
    let at = shape.columns.iter().position(|column| behind.contains(&column.name.as_str()));
    let row = first_row(session, status).await?;
    let lag = row.as_ref().zip(at).and_then(|(row, at)| row.get(at)?.as_int());
    Ok(Standing {
        is_replica: Some(row.is_some()),
        lag: lag.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0))),
        position: position.filter(|position| !position.is_empty()),
        why_unknown: None,
    })
}
