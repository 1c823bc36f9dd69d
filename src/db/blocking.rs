//! Seeing that a session waits for another one: the server is asked, because a
//! deadline that passes says nothing.
//!
//! Sources: PostgreSQL `pg_blocking_pids`; MySQL `performance_schema.data_lock_waits`
//! and `metadata_locks` (named locks); MariaDB's InnoDB monitor, whose tables of
//! lock waits are read through a cache that a busy reader never sees refreshed.

use super::{Database, Dialect, Session, SessionSettings, Value};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// A session of its own that watches others.
pub struct Monitor {
    session: Box<dyn Session>,
    dialect: Dialect,
}

/// Who waits, and for whom as far as the server tells: by its numbers for the
/// sessions.
pub type Waits = BTreeMap<i64, Vec<i64>>;

impl Monitor {
    /// Opens it, and sees whether it is told what it needs to know.
    ///
    /// # Errors
    /// The user may not see other sessions' locks.
    pub async fn open(database: &Database) -> Result<Self> {
        let session = database.open(&SessionSettings::default()).await?;
        let mut monitor = Self { session, dialect: database.dialect() };
        let grant = match monitor.dialect {
            Dialect::MySql => {
                " (GRANT SELECT ON performance_schema.* TO the user; performance_schema must be on)"
            }
            Dialect::MariaDb => " (GRANT PROCESS ON *.* TO the user)",
            Dialect::Postgres | Dialect::Sqlite | Dialect::Null => "",
        };
        let asked = monitor.waiting(&[0], &[0]).await;
        asked.with_context(|| {
            format!("the user of {} may not see who waits for which lock{grant}", database.url())
        })?;
        Ok(monitor)
    }

    /// Those of the sessions that wait for a lock now; on PostgreSQL only those
    /// that wait for one of `ours`.
    ///
    /// # Errors
    /// The server is gone, or does not tell.
    pub async fn waiting(&mut self, sessions: &[i64], ours: &[i64]) -> Result<Waits> {
        let ids = sessions.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let mut waits = Waits::new();
        match self.dialect {
            Dialect::Postgres => {
                let sql = format!(
                    "SELECT w.pid::bigint, b.pid::bigint FROM unnest(ARRAY[{ids}]::int[]) AS w(pid), \
                     LATERAL unnest(pg_blocking_pids(w.pid)) AS b(pid)"
                );
                self.collect(&sql, &mut waits).await?;
                // Whoever is in the way from outside does not count.
                for blockers in waits.values_mut() {
                    blockers.retain(|blocker| ours.contains(blocker));
                }
                waits.retain(|_, blockers| !blockers.is_empty());
            }
            Dialect::MySql => {
                // By transaction, and from there by its lock on the table: the thread that
                // stands with a record's lock is whoever made it explicit.
                let sql = format!(
                    "SELECT DISTINCT CAST(t.processlist_id AS SIGNED), CAST(u.processlist_id AS SIGNED) \
                     FROM performance_schema.data_lock_waits w \
                     JOIN performance_schema.data_locks r ON r.lock_type = 'TABLE' \
                     AND r.engine_transaction_id = w.requesting_engine_transaction_id \
                     JOIN performance_schema.threads t ON t.thread_id = r.thread_id \
                     JOIN performance_schema.data_locks b ON b.lock_type = 'TABLE' \
                     AND b.engine_transaction_id = w.blocking_engine_transaction_id \
                     JOIN performance_schema.threads u ON u.thread_id = b.thread_id \
                     WHERE t.processlist_id IN ({ids}) \
                     UNION SELECT CAST(t.processlist_id AS SIGNED), NULL \
                     FROM performance_schema.metadata_locks m \
                     JOIN performance_schema.threads t ON t.thread_id = m.owner_thread_id \
                     WHERE m.lock_status = 'PENDING' AND t.processlist_id IN ({ids})"
                );
                self.collect(&sql, &mut waits).await?;
            }
            Dialect::MariaDb => {
                let sql = format!(
                    "SELECT CAST(id AS SIGNED), NULL FROM information_schema.processlist \
                     WHERE state = 'User lock' AND id IN ({ids})"
                );
                self.collect(&sql, &mut waits).await?;
                let mut status = String::new();
                let mut keep = |row: &[Value]| {
                    status = row.last().map(Value::to_text).unwrap_or_default();
                    Ok(())
                };
                self.session.for_each_row("SHOW ENGINE INNODB STATUS", &mut keep).await?;
                let waiting = innodb_waiting(&status).into_iter().filter(|id| sessions.contains(id));
                waits.extend(waiting.map(|id| (id, Vec::new())));
            }
            Dialect::Sqlite | Dialect::Null => {}
        }
        Ok(waits)
    }

    async fn collect(&mut self, sql: &str, waits: &mut Waits) -> Result<()> {
        let mut keep = |row: &[Value]| {
            let waiter = row.first().and_then(Value::as_int).context("a waiter has a number")?;
            waits.entry(waiter).or_default().extend(row.get(1).and_then(Value::as_int));
            Ok(())
        };
        self.session.for_each_row(sql, &mut keep).await
    }

    /// Says goodbye to the server.
    pub async fn close(self) {
        self.session.close().await;
    }
}

/// The connections that InnoDB's monitor shows in a lock wait now; what it tells
/// of the last deadlock is past.
fn innodb_waiting(status: &str) -> Vec<i64> {
    let now = status.split_once("\nTRANSACTIONS\n").map_or("", |(_, now)| now);
    let mut waiting = Vec::new();
    let mut is_waiting = false;
    for line in now.lines() {
        if line.starts_with("---TRANSACTION") {
            is_waiting = false;
        } else if line.starts_with("LOCK WAIT") {
            is_waiting = true;
        } else if let Some((_, rest)) = line.split_once("thread id ").filter(|_| is_waiting) {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            waiting.extend(digits.parse::<i64>().ok());
            is_waiting = false;
        }
    }
    waiting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitor_shows_who_waits_now_and_not_who_did() {
        let status = "\
------------------------
LATEST DETECTED DEADLOCK
------------------------
*** (1) TRANSACTION:
TRANSACTION 30, ACTIVE 0 sec starting index read
LOCK WAIT 3 lock struct(s), heap size 1128, 2 row lock(s)
MariaDB thread id 7, OS thread handle 139, query id 60 127.0.0.1 shop Statistics
------------
TRANSACTIONS
------------
Trx id counter 40
LIST OF TRANSACTIONS FOR EACH SESSION:
---TRANSACTION 38, ACTIVE 2 sec starting index read
mysql tables in use 1, locked 1
LOCK WAIT 2 lock struct(s), heap size 1128, 1 row lock(s)
MariaDB thread id 12, OS thread handle 139, query id 81 127.0.0.1 shop Statistics
SELECT stock FROM stockbench_sku WHERE id = 1 FOR UPDATE
---TRANSACTION 37, ACTIVE 2 sec
2 lock struct(s), heap size 1128, 1 row lock(s)
MariaDB thread id 11, OS thread handle 139, query id 80 127.0.0.1 shop
";
        assert_eq!(innodb_waiting(status), [12]);
        assert_eq!(innodb_waiting("nothing of the kind"), [0_i64; 0]);
    }
}
