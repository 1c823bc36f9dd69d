//! `stockbench audit --mapping` and `--init`: the shop's own tables.

use super::files::Files;
use super::open::{Opened, Purpose, open};
use super::{to_stdout, write_whole};
use crate::audit::tables::{self, Asked, Limits, Mapping, init as proposal, repair};
use crate::cli::{AuditArgs, AuditOutput, Repair};
use crate::db::{Dialect, SessionSettings};
use crate::exit::{Exit, usage};
use crate::report::Document;
use crate::report::progress::Progress;
use crate::report::tables as views;
use anyhow::Result;
use std::path::Path;

pub(super) async fn init(args: &AuditArgs) -> Result<Exit> {
    let limits = SessionSettings {
        lock_timeout: Some(args.tables.lock_timeout),
        statement_timeout: Some(args.tables.statement_timeout),
        ..SessionSettings::READ_ONLY
    };
    let opened = open(&args.database, &SessionSettings::READ_ONLY, Purpose::Look).await?;
    check_one_node(&opened)?;
    let mut session = opened.database.open(&limits).await?;
    let proposed = proposal::propose(session.as_mut(), opened.database.dialect()).await;
    session.close().await;
    let proposed = proposed?;
    to_stdout(|out| out.write_all(proposed.as_bytes()))?;
    Ok(Exit::Held)
}

/// The others would be believed to agree.
fn check_one_node(opened: &Opened) -> Result<()> {
    if opened.database.url().node_count() > 1 {
        return Err(usage(
            "an audit of your own tables reads one server: name one node, and then the others",
        ));
    }
    Ok(())
}

pub(super) async fn audit(args: &AuditArgs, file: &Path) -> Result<Exit> {
    let mapping = Mapping::read(file).map_err(|error| usage(format!("{error:#}")))?;
    Files::default()
        .writes("--evidence", args.evidence.as_ref())
        .reads("the mapping", [file])
        .reads_database(&args.database)
        .check()?;
    let flags = &args.tables;
    let asked = Asked {
        limits: Limits {
            lock_timeout: flags.lock_timeout,
            statement_timeout: flags.statement_timeout,
            part_time: flags.part_time,
            snapshot_age: flags.max_snapshot_age,
            max_time: flags.max_time,
            max_rows: flags.max_rows,
        },
        replica: flags.replica,
        skus: flags.sku.clone(),
        since: flags.since.clone(),
        until: flags.until.clone(),
        redact: flags.redact,
        quick: flags.quick,
        full: args.full,
    };
    let opened = open(&args.database, &SessionSettings::READ_ONLY, Purpose::Look).await?;
    check_one_node(&opened)?;
    let database = &opened.database;
    if flags.replica.is_some() && database.dialect() == Dialect::Sqlite {
        return Err(usage("--replica: SQLite has no replicas"));
    }
    let progress = Progress::preparing("auditing");
    let show = |what: &str, done: u64, of: u64| progress.show(what, done, of);
    let name = file.display().to_string();
    let audited = tables::audit(database, &name, &mapping, &asked, &show).await;
    progress.finish();
    database.check_at_rest()?;
    let (mut verdict, resolved) = audited?;

    if let Some(path) = &args.evidence {
        let mut csv = Vec::new();
        views::evidence(&mut csv, &verdict)?;
        write_whole(path, &csv)?;
    }
    if args.repair == Some(Repair::Sql) {
        let statements = repair::sql(&verdict, &resolved, args.repair_toward);
        to_stdout(|out| out.write_all(statements.as_bytes()))?;
        return Ok(verdict.exit());
    }
    if !args.full {
        verdict.shorten();
    }
    let json = views::TablesReport::new(&database.info, &verdict).to_json()?;
    to_stdout(|out| match args.output {
        AuditOutput::Table => views::audit(out, &database.info, &verdict),
        AuditOutput::Summary => views::summary(out, &database.info, &verdict),
        AuditOutput::Json => out.write_all(json.as_bytes()),
    })?;
    Ok(verdict.exit())
}
