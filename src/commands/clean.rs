//! `stockbench clean`: drop our own tables and nothing else.

use super::open::open;
use crate::cli::CleanArgs;
use crate::db::{SessionSettings, schema};
use crate::exit::Exit;
use crate::report::terminal;
use anyhow::{Context, Result};
use std::io::Write;

pub(super) async fn clean(args: CleanArgs) -> Result<Exit> {
    let opened = open(&args.database, &SessionSettings::default(), false).await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", terminal::database_line(&opened.database.info))?;
    let lock = opened.database.lock().await?;
    let cleaned = schema::clean(&opened.database).await;
    lock.release().await;
    let tables = cleaned.with_context(|| format!("cannot clean {}", opened.database.url()))?;
    let dropped = if tables.is_empty() {
        "nothing was there".to_owned()
    } else {
        format!("dropped {}", tables.join(", "))
    };
    writeln!(out, "{dropped}")?;
    Ok(Exit::Held)
}
