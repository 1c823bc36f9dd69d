//! The database that a command works on, and a lab server if it needs one.

use crate::cli::DatabaseArgs;
use crate::db::url::EMBEDDED_DEFAULT;
use crate::db::{Database, DatabaseUrl, Dialect, SessionSettings};
use crate::exit::usage;
use crate::lab::{LabKind, LabOptions, LabServer, LabSpec};
use crate::report::progress::Progress;
use anyhow::Result;
use std::sync::Arc;

/// A database, and the lab server it runs on; the server goes with it.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) lab: Option<Arc<LabServer>>,
}

/// Starts a lab server, saying so while it takes its time.
pub(super) async fn start_lab(lab: impl Into<LabSpec>, options: LabOptions) -> Result<LabServer> {
    let lab = lab.into();
    let progress = Progress::preparing(&format!("starting a private {lab} server"));
    let server = LabServer::start_with(lab, options).await;
    progress.finish();
    server
}

/// What a database is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To put a load on it: it may be none at all.
    Load,
    /// To put stock into it.
    Seed,
    /// To look at what is there: a missing SQLite file is an error.
    Look,
}

/// Connects to the database that the flags, the environment or the embedded
/// default name.
pub(super) async fn open(
    args: &DatabaseArgs,
    settings: &SessionSettings,
    purpose: Purpose,
) -> Result<Opened> {
    open_with(args, settings, purpose, LabOptions::default()).await
}

/// The same, with a lab server as a fault needs it.
pub(super) async fn open_with(
    args: &DatabaseArgs,
    settings: &SessionSettings,
    purpose: Purpose,
    options: LabOptions,
) -> Result<Opened> {
    let lab = match &args.lab {
        Some(lab) if lab.kind == LabKind::Redis => {
            return Err(usage("--lab redis holds no stock: use postgres, mysql or mariadb"));
        }
        Some(lab) => {
            let options = LabOptions { durable: !args.lab_async_commit, ..options };
            Some(Arc::new(start_lab(lab.clone(), options).await?))
        }
        None => None,
    };
    let given = lab.as_ref().map(|server| server.url.clone()).or_else(|| args.database_url.clone());
    let embedded_default = given.is_none();
    let parse = if lab.is_some() { DatabaseUrl::parse } else { DatabaseUrl::asked_for };
    let url =
        parse(given.as_deref().unwrap_or(EMBEDDED_DEFAULT)).map_err(|error| usage(format!("{error:#}")))?;
    if url.dialect() == Dialect::Null && purpose != Purpose::Load {
        return Err(usage("null: keeps nothing: it is for `run` alone, to measure the harness"));
    }
    if let Some(file) = url.file().filter(|file| purpose == Purpose::Look && !file.exists()) {
        let hint = if embedded_default { " (name another one with --database-url)" } else { "" };
        anyhow::bail!("there is no SQLite database at {}{hint}", file.display());
    }
    let mut database = Database::connect(&url, settings, args.wait_for_db).await?;
    database.info.embedded_default = embedded_default;
    Ok(Opened { database, lab })
}

/// Refuses what cannot be done on connections that a pooler hands on.
///
/// # Errors
/// A pooler stands between us and the server.
pub(super) fn check_no_pooler(database: &Database, what: &str) -> Result<()> {
    if database.info.pooler.is_none() {
        return Ok(());
    }
    Err(usage(format!(
        "{what} needs connections of its own, and {} is behind a pooler: name the server itself",
        database.url()
    )))
}
