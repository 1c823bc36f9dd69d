//! `stockbench run`: seed, fire, drain, audit, report.

use super::open::{Opened, open};
use super::to_stdout;
use crate::audit::{self, AuditReport, ClientWitness, Source};
use crate::cli::{Output, RunArgs};
use crate::db::schema::{self, RunRow};
use crate::db::{Database, Dialect, Session, SessionSettings, Shape};
use crate::engine::history::HistoryWriter;
use crate::engine::retry::RetryPolicy;
use crate::engine::stop::Stop;
use crate::engine::{Engine, Finished, Load, Parts};
use crate::exit::{Exit, usage};
use crate::report::model::{Config, CostMeter, Parts as ReportParts};
use crate::report::progress::Progress;
use crate::report::{Report, terminal};
use crate::scenario::{self, Plan};
use crate::strategy::program::Slot;
use crate::strategy::{Program, guard};
use crate::text;
use crate::workload::orders::OrderStream;
use anyhow::{Context, Result, anyhow, ensure};
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Connections by default: more than this rarely helps one hot row, and most
/// servers have no more to give.
const CONNECTIONS_DEFAULT_MAX: u64 = 100;

/// Connections kept back for the audit and for whoever watches the server.
const CONNECTIONS_SPARE: u32 = 3;

pub(super) async fn run(args: RunArgs) -> Result<Exit> {
    let mut plan = scenario::resolve(args.strategy.as_deref(), &args.load, args.scenario.as_deref())?;
    for file in [&args.json, &args.history].into_iter().flatten() {
        if !folder_of(file).is_dir() || file.is_dir() {
            return Err(usage(format!(
                "cannot write {}: no such folder, or a folder itself",
                file.display()
            )));
        }
    }
    // A file that cannot run anywhere near this database is found before one
    // is looked for.
    if let Some(expected) = expected_dialect(&args) {
        plan.strategy.compile(expected).map_err(usage)?;
    }
    let settings =
        SessionSettings { isolation: plan.isolation, lock_timeout: plan.lock_timeout, read_only: false };
    let Opened { mut database, lab: _server } = open(&args.database, &settings, true).await?;
    let program = compile(&plan, &database)?;
    let settings = SessionSettings { isolation: program.isolation.or(plan.isolation), ..settings };
    if program.isolation.is_some() {
        database.reread(&settings).await?;
    }
    guard_writes(&program, &database, args.allow_writes.as_deref())?;
    announce(&database, args.output)?;

    let lock = database.lock().await?;
    let ran = run_locked(&args, &mut plan, program, &database, settings).await;
    lock.release().await;
    let (report, history) = ran?;

    let rendered = report.to_json()?;
    let json = args.json.as_deref().map_or(Ok(()), |path| write_whole(path, &rendered));
    to_stdout(|out| match args.output {
        Output::Json => out.write_all(rendered.as_bytes()),
        Output::Table => terminal::run(out, &report),
    })?;
    // What was found is said first; a file that is missing comes after it.
    let mut exit = report.exit();
    for error in [json, history].into_iter().filter_map(Result::err) {
        writeln!(std::io::stderr(), "stockbench: {error:#}")?;
        exit = exit.worst(Exit::CouldNot);
    }
    Ok(exit)
}

/// Writes a file whole or not at all: under another name first.
fn write_whole(path: &Path, content: &str) -> Result<()> {
    let write = || -> Result<()> {
        let mut file =
            tempfile::Builder::new().permissions(readable_by_all()).tempfile_in(folder_of(path))?;
        file.write_all(content.as_bytes())?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn readable_by_all() -> Permissions {
    Permissions::from_mode(0o644)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The dialect that a lab kind or a URL promises, before anything answers.
fn expected_dialect(args: &RunArgs) -> Option<Dialect> {
    use crate::lab::LabKind;
    match args.database.lab {
        Some(LabKind::Postgres) => Some(Dialect::Postgres),
        Some(LabKind::MySql) => Some(Dialect::MySql),
        Some(LabKind::MariaDb) => Some(Dialect::MariaDb),
        Some(LabKind::Redis) => None,
        None => match &args.database.database_url {
            None => Some(Dialect::Sqlite),
            // mysql:// may turn out to be MariaDB.
            Some(url) => {
                let url = crate::db::DatabaseUrl::parse(url).ok()?;
                (url.dialect() != Dialect::MySql).then_some(url.dialect())
            }
        },
    }
}

fn compile(plan: &Plan, database: &Database) -> Result<Program> {
    let program = plan.strategy.compile(database.dialect()).map_err(usage)?;
    if let (Some(pinned), Some(asked)) = (program.isolation, plan.isolation)
        && pinned != asked
    {
        return Err(usage(format!(
            "strategy {} depends on isolation {}: leave --isolation out",
            program.name,
            pinned.as_str()
        )));
    }
    let is_serializable = plan.isolation.is_none_or(|level| level == crate::db::Isolation::Serializable);
    if database.dialect() == Dialect::Sqlite && !is_serializable {
        return Err(usage("SQLite has one isolation level, serializable: leave --isolation out"));
    }
    Ok(program)
}

/// Nothing outside our own prefix is written unless the user names the
/// database it is in.
fn guard_writes(program: &Program, database: &Database, allowed: Option<&str>) -> Result<()> {
    let foreign = guard::foreign_writes(program);
    let name = &database.url().database;
    if foreign.is_empty() || allowed == Some(name) {
        return Ok(());
    }
    Err(usage(format!(
        "strategy {} may write outside stockbench's own tables: {}; if database {name} may be changed so, \
         say --allow-writes {name}",
        program.name,
        foreign.join(", ")
    )))
}

fn announce(database: &Database, output: Output) -> Result<()> {
    let line = terminal::database_line(&database.info);
    match output {
        Output::Table => to_stdout(|out| writeln!(out, "{line}")),
        Output::Json => Ok(writeln!(std::io::stderr(), "{line}")?),
    }
}

async fn run_locked(
    args: &RunArgs,
    plan: &mut Plan,
    mut program: Program,
    database: &Database,
    settings: SessionSettings,
) -> Result<(Report, Result<()>)> {
    schema::migrate(database).await?;
    let mut control = database.open(&settings).await?;
    if args.no_seed {
        check_unseeded(control.as_mut(), &program).await?;
    } else {
        seed(plan, &program, database, control.as_mut()).await?;
    }
    verify(&mut program, control.as_mut()).await?;
    let run = register(control.as_mut(), &program, database.dialect()).await?;
    control.close().await;

    let load = load(plan, database)?;
    let delay = plan.retry_delay.map_or(program.delay, |delay| (delay.min, delay.max));
    let retry = RetryPolicy {
        tries: plan.max_tries.unwrap_or(program.tries),
        delay_min: delay.0,
        delay_max: delay.1,
        within: program.within,
    };
    let config = config(args, plan, &retry, &load);
    let history = args.history.as_deref().map(|path| HistoryWriter::create(path, &run)).transpose()?;
    let stream = OrderStream {
        source: plan.take_order_source(),
        line_order: plan.line_order,
        seed: plan.random_seed,
        run_id: run.id,
    };
    let parts = Parts { program, stream, retry, load, history };

    let stop = Stop::default();
    let watch = tokio::spawn(stop_on_signal(stop.clone()));
    let preparing = Progress::preparing("opening connections");
    let engine = Engine::prepare(database.clone(), settings, parts, stop.clone()).await;
    preparing.finish();
    let engine = engine?;
    let progress = Progress::running(engine.live(), plan.orders, plan.duration);
    let started_at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let cost = CostMeter::start();
    let finished = engine.run().await;
    progress.finish();
    let in_process = database.dialect() == Dialect::Sqlite;
    let client = cost.stop(finished.elapsed, finished.figures.deliveries(), in_process);
    let interrupted = stop.is_asked() && !reached_its_end(plan, &finished);

    let checking = Progress::preparing("auditing");
    let Finished { figures, answers, stream, elapsed, lost_server, history } = finished;
    let source = Source::of_run(Some(&run));
    let verdict =
        audit::audit(database, &source, ClientWitness::Complete, answers.told(&stream), args.full).await;
    checking.finish();
    watch.abort();
    let verdict = verdict.map(|mut verdict: AuditReport| {
        verdict.add_futile_retries(&figures);
        verdict
    });
    let report = Report::new(ReportParts {
        run_id: run.id,
        strategy: run.strategy,
        database: database.info.clone(),
        config,
        random_seed: plan.random_seed,
        started_at,
        interrupted,
        figures: &figures,
        elapsed,
        lost_server,
        client,
        audit: verdict,
    })?;
    Ok((report, history))
}

fn reached_its_end(plan: &Plan, finished: &Finished) -> bool {
    plan.orders.is_some_and(|orders| finished.figures.deliveries() >= orders)
        || plan.duration.is_some_and(|duration| finished.elapsed >= duration)
}

/// A strategy with tables of its own cannot go on from stock that another
/// strategy moved, nor the other way round.
async fn check_unseeded(control: &mut dyn Session, program: &Program) -> Result<()> {
    let latest = schema::latest_run(control).await?;
    let (stock, ledger) = latest.map_or((None, None), |run| (run.stock_query, run.ledger_table));
    ensure!(
        stock == program.stock_query && ledger == program.ledger_table,
        "the stock was last moved by a strategy with other tables than {}: leave --no-seed out",
        program.name
    );
    Ok(())
}

async fn seed(plan: &Plan, program: &Program, database: &Database, control: &mut dyn Session) -> Result<()> {
    let seeding =
        Progress::preparing(&format!("seeding {} SKUs", text::thousands(plan.seed.sku_ids.len() as u64)));
    let seeded = schema::seed(database, &plan.seed).await;
    seeding.finish();
    seeded?;
    for sql in &program.setup {
        control.control(sql).await.with_context(|| format!("{}: a setup statement failed", program.name))?;
    }
    Ok(())
}

/// Lets the database check every statement before any load is put on it.
async fn verify(program: &mut Program, control: &mut dyn Session) -> Result<()> {
    let name = program.name.clone();
    let mut text_slots = Vec::new();
    for step in program.steps_mut() {
        let is_text = |(position, slot): (usize, &Slot)| text_slots.contains(slot).then_some(position);
        step.statement.text_binds = step.binds.iter().enumerate().filter_map(is_text).collect();
        let place = format!("{name}: {}", step.place);
        let shape =
            control.prepare(&step.statement).await.map_err(|error| usage(format!("{place}: {error}")))?;
        for (column, slot) in step.statement.columns.iter().zip(&step.yields) {
            match shape.columns.iter().find(|shape| shape.name == *column) {
                Some(shape) if shape.is_text => text_slots.push(*slot),
                Some(_) => {}
                None => return Err(usage(format!("{place}: {}", not_returned(column, &shape)))),
            }
        }
        step.statement.returns_rows = Some(!shape.columns.is_empty());
    }
    Ok(())
}

fn not_returned(column: &str, shape: &Shape) -> String {
    let names: Vec<&str> = shape.columns.iter().map(|shape| shape.name.as_str()).collect();
    let suggestion = text::did_you_mean(column, names.iter().copied());
    let returned = if names.is_empty() { "no columns".to_owned() } else { text::backquoted(&names) };
    format!("yields `{column}`{suggestion}, but returns {returned}")
}

async fn register(control: &mut dyn Session, program: &Program, dialect: Dialect) -> Result<RunRow> {
    let (stock, ledger) = (program.stock_query.as_deref(), program.ledger_table.as_deref());
    schema::register_run(control, dialect, &program.name, stock, ledger).await
}

fn load(plan: &Plan, database: &Database) -> Result<Load> {
    let spare = if database.dialect() == Dialect::Sqlite { 0 } else { CONNECTIONS_SPARE };
    let free = u64::from(database.info.free_connections.saturating_sub(spare).max(1));
    let connections = match plan.connections {
        Some(asked) if asked > free && database.dialect() != Dialect::Sqlite => {
            return Err(anyhow!(
                "--connections {asked} is more than the {free} that {} has left",
                database.dialect().title()
            ));
        }
        Some(asked) => asked,
        None => CONNECTIONS_DEFAULT_MAX.min(free),
    };
    Ok(Load {
        concurrency: usize::try_from(plan.concurrency)?,
        connections: usize::try_from(connections.min(plan.concurrency))?,
        orders: plan.orders,
        duration: plan.duration,
        think: plan.think,
    })
}

fn config(args: &RunArgs, plan: &Plan, retry: &RetryPolicy, load: &Load) -> Config {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let replayed = plan.replay.as_ref().map(|(path, _)| path.display().to_string());
    let of_file = |value: String| if replayed.is_some() { "as in the file".to_owned() } else { value };
    let line_order = clap::ValueEnum::to_possible_value(&plan.line_order);
    Config {
        concurrency: plan.concurrency,
        connections: load.connections as u64,
        orders: plan.orders,
        duration_s: plan.duration.map(|duration| duration.as_secs_f64()),
        skus: plan.seed.sku_ids.len() as u64,
        stock: plan.seed.stock,
        quantity: of_file(plan.quantity.to_string()),
        lines: of_file(plan.lines.to_string()),
        line_order: line_order.map_or_else(String::new, |value| value.get_name().to_owned()),
        dist: of_file(plan.dist.to_string()),
        replay: replayed.clone(),
        seeded: !args.no_seed,
        think_us: micros(plan.think),
        tries: retry.tries,
        retry_delay_us: [micros(retry.delay_min), micros(retry.delay_max)],
        lock_timeout_ms: plan.lock_timeout.map(|timeout| micros(timeout) / 1_000),
        loop_kind: "closed",
    }
}

/// The first Ctrl-C (or SIGTERM) drains; the second stops at once.
async fn stop_on_signal(stop: Stop) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if stop.is_asked() {
            std::process::exit(Exit::Interrupted as i32);
        }
        stop.ask();
        // Nobody to tell if standard error is gone.
        drop(writeln!(
            std::io::stderr(),
            "stopping: finishing the orders that have begun (once more stops at once)"
        ));
    }
}
