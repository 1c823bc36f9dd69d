//! `stockbench clean`: drop our own tables and nothing else.

use super::open::{Purpose, open};
use super::to_stdout;
use crate::cli::CleanArgs;
use crate::db::{SessionSettings, schema};
use crate::exit::Exit;
use crate::report::terminal;
use anyhow::{Context, Result};

pub(super) async fn clean(args: CleanArgs) -> Result<Exit> {
    let opened = open(&args.database, &SessionSettings::default(), Purpose::Look).await?;
    to_stdout(|out| writeln!(out, "{}", terminal::database_line(&opened.database.info)))?;
    let lock = opened.database.lock().await?;
    let cleaned = schema::clean(&opened.database).await;
    lock.release().await;
    let tables = cleaned.with_context(|| format!("cannot clean {}", opened.database.url()))?;
    let dropped = if tables.is_empty() {
        "nothing was there".to_owned()
    } else {
        format!("dropped {}", tables.join(", "))
    };
    to_stdout(|out| writeln!(out, "{dropped}"))?;
    Ok(Exit::Held)
}
