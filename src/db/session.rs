//! The one body of [`Session`](super::Session), for each driver's own types.
//!
//! sqlx's connection types share no object-safe trait, so the body is a macro;
//! what differs (options, settings, decoding) lives with each backend.

/// Whether a column of this type yields text.
pub(super) fn is_text(type_info: &impl sqlx::TypeInfo) -> bool {
    let name = type_info.name();
    let is_number = name.contains("INT") || matches!(name, "NUMERIC" | "DECIMAL");
    !(is_number || name.starts_with("BOOL"))
}

/// Implements `Session` for a struct with a sqlx `connection`.
macro_rules! implement_session {
    ($session:ty, $decode:path, $bind_types:path) => {
        #[async_trait::async_trait]
        impl $crate::db::Session for $session {
            async fn prepare(
                &mut self,
                statement: &$crate::db::Statement,
            ) -> Result<$crate::db::Shape, $crate::db::DbError> {
                use sqlx::{Executor, SqlSafeStr, Statement as _};
                let sql = sqlx::AssertSqlSafe(std::sync::Arc::clone(&statement.sql)).into_sql_str();
                match self.connection.prepare_with(sql, &$bind_types(statement)).await {
                    Ok(prepared) => {
                        let column = |column: &_| $crate::db::ColumnShape {
                            name: sqlx::Column::name(column).to_owned(),
                            is_text: $crate::db::session::is_text(sqlx::Column::type_info(column)),
                        };
                        Ok($crate::db::Shape { columns: prepared.columns().iter().map(column).collect() })
                    }
                    Err(error) => match $crate::db::classify::classify(&error) {
                        // MySQL cannot prepare SAVEPOINT and its like; without
                        // binds they are sent as text anyway.
                        error if error.code == "1295" && statement.bind_count == 0 => {
                            Ok($crate::db::Shape { columns: Vec::new() })
                        }
                        error => Err(error),
                    },
                }
            }

            async fn execute(
                &mut self,
                statement: &$crate::db::Statement,
                binds: &[$crate::db::Value],
            ) -> Result<$crate::db::Reply, $crate::db::DbError> {
                use $crate::db::{Reply, Value, classify::classify};
                let sql = sqlx::AssertSqlSafe(std::sync::Arc::clone(&statement.sql));
                let returns_rows = statement.returns_rows.unwrap_or(!statement.columns.is_empty());
                if binds.is_empty() && !returns_rows {
                    let done = sqlx::raw_sql(sql).execute(&mut self.connection).await;
                    let matched = done.map_err(|error| classify(&error))?.rows_affected();
                    return Ok(Reply { matched, ..Reply::default() });
                }
                let mut query = sqlx::query(sql).persistent(self.persistent);
                for (position, value) in binds.iter().enumerate() {
                    query = match value {
                        Value::Null if statement.text_binds.contains(&position) => query.bind(None::<String>),
                        Value::Null => query.bind(None::<i64>),
                        Value::Int(number) => query.bind(*number),
                        Value::Text(text) => query.bind(text.as_str()),
                    };
                }
                // One stream for both kinds of reply: the driver's `execute` and
                // `fetch_all` put two more around it, at a cost that shows.
                let mut steps = sqlx::Executor::fetch_many(&mut self.connection, query);
                let (mut matched, mut rows) = (0, Vec::new());
                while let Some(step) = futures_util::TryStreamExt::try_next(&mut steps)
                    .await
                    .map_err(|error| classify(&error))?
                {
                    match step {
                        sqlx::Either::Left(done) => matched += done.rows_affected(),
                        sqlx::Either::Right(row) => rows.push(row),
                    }
                }
                if !returns_rows {
                    return Ok(Reply { matched, ..Reply::default() });
                }
                let yielded = |row| -> Result<Vec<Value>, $crate::db::DbError> {
                    let column = |column: &String| {
                        sqlx::Row::try_column(row, column.as_str()).and_then(|at| $decode(row, at.ordinal()))
                    };
                    let values: Result<Vec<Value>, _> = statement.columns.iter().map(column).collect();
                    values.map_err(|error| classify(&error))
                };
                let values = rows.first().map(yielded).transpose()?.unwrap_or_default();
                let every = if statement.all_rows { rows.as_slice() } else { &[] };
                let every: Result<Vec<Vec<Value>>, _> = every.iter().map(yielded).collect();
                Ok(Reply { matched: rows.len() as u64, values, rows: every? })
            }

            async fn control(&mut self, sql: &str) -> Result<(), $crate::db::DbError> {
                // Reads to the end like `execute`, with fewer layers around it.
                let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).fetch_optional(&mut self.connection).await;
                done.map(drop).map_err(|error| $crate::db::classify::classify(&error))
            }

            async fn for_each_row(
                &mut self,
                sql: &str,
                on_row: &mut $crate::db::RowHandler<'_>,
            ) -> anyhow::Result<()> {
                use futures_util::TryStreamExt;
                let query = sqlx::query(sqlx::AssertSqlSafe(sql)).persistent(self.persistent);
                let mut rows = query.fetch(&mut self.connection);
                let mut values = Vec::new();
                while let Some(row) =
                    rows.try_next().await.map_err(|error| $crate::db::classify::classify(&error))?
                {
                    values.clear();
                    for index in 0..row.len() {
                        values.push(
                            $decode(&row, index).map_err(|error| $crate::db::classify::classify(&error))?,
                        );
                    }
                    on_row(&values)?;
                }
                Ok(())
            }

            async fn close(self: Box<Self>) {
                // The server notices a connection that is simply gone, too.
                drop(self.connection.close().await);
            }
        }
    };
}

pub(super) use implement_session;
