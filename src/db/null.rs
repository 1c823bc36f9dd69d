//! A session that does nothing and answers at once: what a run on it costs is
//! the harness's own cost.

use super::url::DatabaseUrl;
use super::{
    ColumnShape, DatabaseInfo, DbError, Dialect, Reply, RowHandler, Session, Shape, Statement, Value,
};
use std::collections::BTreeMap;

/// More clients than connections would wait for nothing.
const CONNECTIONS_MAX: u32 = 1_000_000;

/// A session with nothing behind it.
pub(super) struct NullSession;

#[async_trait::async_trait]
impl Session for NullSession {
    async fn prepare(&mut self, statement: &Statement) -> Result<Shape, DbError> {
        let column = |name: &String| ColumnShape { name: name.clone(), is_text: false };
        Ok(Shape { columns: statement.columns.iter().map(column).collect() })
    }

    /// One row, and the number 1 in each of its columns: every order is sold.
    async fn execute(&mut self, statement: &Statement, _: &[Value]) -> Result<Reply, DbError> {
        let values = statement.columns.iter().map(|_| Value::Int(1)).collect();
        Ok(Reply { matched: 1, values, rows: Vec::new() })
    }

    async fn control(&mut self, _: &str) -> Result<(), DbError> {
        Ok(())
    }

    async fn for_each_row(&mut self, _: &str, _: &mut RowHandler<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    async fn close(self: Box<Self>) {}
}

pub(super) fn info(url: &DatabaseUrl) -> DatabaseInfo {
    DatabaseInfo {
        relative: None,
        tls: None,
        pooler: None,
        kind: Dialect::Null,
        version: String::from("(no database)"),
        isolation: String::from("none"),
        url_redacted: url.to_string(),
        nodes: 0,
        durable: Some(false),
        embedded_default: false,
        free_connections: CONNECTIONS_MAX,
        settings: BTreeMap::new(),
    }
}
