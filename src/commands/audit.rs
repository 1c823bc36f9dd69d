//! `stockbench audit`: judge what is in the tables, with or without the
//! clients' answers.

use super::audit_tables;
use super::explore;
use super::open::{Purpose, open};
use super::run::named_services;
use super::to_stdout;
use crate::audit::{self, AuditReport, ClientWitness, Source};
use crate::cli::{AuditArgs, AuditOutput};
use crate::db::schema;
use crate::db::{Database, DatabaseInfo, DatabaseUrl, SessionSettings};
use crate::engine::history::History;
use crate::escape;
use crate::exit::{Exit, usage};
use crate::report::progress::Progress;
use crate::report::terminal;
use crate::text;
use anyhow::{Context, Result, bail};
use serde::Serialize;

/// What `audit -o json` prints.
#[derive(Debug, Serialize)]
struct AuditJson<'a> {
    schema_version: u32,
    database: &'a DatabaseInfo,
    audit: &'a AuditReport,
    passed: bool,
}

pub(super) async fn audit(args: AuditArgs) -> Result<Exit> {
    if args.init {
        return audit_tables::init(&args).await;
    }
    if let Some(mapping) = &args.mapping {
        return audit_tables::audit(&args, mapping).await;
    }
    let parts: Result<Vec<History>> = args.history.iter().map(|path| History::read(path)).collect();
    let history = parts.and_then(History::join).map_err(|error| usage(format!("{error:#}")))?;
    let opened = open(&args.database, &SessionSettings::READ_ONLY, Purpose::Look).await?;
    let database = &opened.database;
    let mut session = audit::nodes::open(database).await?;
    let latest = schema::latest_run(session.as_mut()).await.with_context(|| {
        format!("{} has no stockbench tables to audit (`stockbench run` makes them)", database.url())
    })?;
    session.close().await;
    let mut source = Source::of_run(latest.as_ref())?;
    let witness = match &history {
        None => ClientWitness::Missing,
        Some(history) => {
            let is_latest = latest
                .as_ref()
                .is_some_and(|run| run.id == history.run_id && run.started_ms == history.started_ms);
            if !is_latest {
                bail!(
                    "the history file is of run {}, which is not the latest run on {}: its answers cannot be compared",
                    history.run_id,
                    database.url()
                );
            }
            source.run_id = history.run_id;
            if history.complete { ClientWitness::Complete } else { ClientWitness::CutShort }
        }
    };
    let named = named_services(&args.service)?;
    let known = &source.reads.services;
    if let Some((name, _)) = named.iter().find(|(name, _)| !known.contains(name)) {
        let suggestion = text::did_you_mean(name, known.iter().map(String::as_str));
        return Err(usage(format!("--service {name}: the run had no such service{suggestion}")));
    }
    if let Some(name) = known.iter().find(|name| named.iter().all(|(given, _)| given != *name)) {
        bail!("service {name} of the run had a database of its own: name it with --service {name}=URL");
    }
    for (name, url) in named {
        let url =
            DatabaseUrl::asked_for(&url).map_err(|error| usage(format!("--service {name}: {error:#}")))?;
        let database =
            Database::connect(&url, &SessionSettings::READ_ONLY, args.database.wait_for_db).await?;
        source.services.insert(name, database);
    }
    let checking = Progress::preparing("auditing");
    if let Some(history) = &history {
        database.sessions_gone(&history.sessions, audit::SESSIONS_PATIENCE).await?;
    }
    let told = history.iter().flat_map(|history| history.told.iter().cloned());
    let times = history.as_ref().filter(|history| history.segment.is_none());
    let verdict = audit::audit(database, &source, witness, told, times, args.full).await;
    checking.finish();
    database.check_at_rest()?;
    let verdict = verdict?;

    let hint = latest.as_ref().and_then(|run| explore::hint(&verdict, &run.strategy, database));
    let schema_version = crate::report::model::SCHEMA_VERSION;
    let output =
        AuditJson { schema_version, database: &database.info, audit: &verdict, passed: verdict.passed };
    let json = serde_json::to_string_pretty(&output)? + "\n";
    let json = escape::json(&json);
    to_stdout(|out| match args.output {
        AuditOutput::Table | AuditOutput::Summary => {
            writeln!(out, "{}", terminal::database_line(&database.info))?;
            terminal::audit(out, &verdict)?;
            hint.iter().try_for_each(|hint| writeln!(out, "note       {hint}"))
        }
        AuditOutput::Json => out.write_all(json.as_bytes()),
    })?;
    Ok(verdict.exit())
}
