//! `stockbench run`: seed, fire, drain, audit, report.

mod joint;
mod sabotage;
mod stage;
mod watch;

use super::files::Files;
use super::open::{Opened, Purpose, open_with};
use super::{complain, stop_on_signal, to_stderr, to_stdout, write_whole};
use crate::audit::{self, AuditReport, ClientWitness};
use crate::cli::{Output, RunArgs};
use crate::db::schema::{self, RunRow};
use crate::db::{Database, DatabaseInfo, DatabaseUrl, Dialect, RunLock, Session, SessionSettings};
use crate::engine::answers::ToldOrder;
use crate::engine::history::HistoryWriter;
use crate::engine::recorder::Figures;
use crate::engine::recovery::Recovery;
use crate::engine::retry::RetryPolicy;
use crate::engine::stop::Stop;
use crate::engine::{Engine, Finished, Load, Member, Parts, Warm};
use crate::exit::{Exit, usage};
use crate::fault::{Blow, TimedFault};
use crate::lab::{LabOptions, LabServer};
use crate::outcome::OnUnknown;
use crate::report::change::{NOISE_PCT, check_same_ground, check_same_load, did_pass};
use crate::report::client::CostMeter;
use crate::report::config::Config;
use crate::report::hdr::HdrLog;
use crate::report::measured::Phases;
use crate::report::merge::Part;
use crate::report::metrics::Metrics;
use crate::report::model::{Parts as ReportParts, RedisInfo};
use crate::report::progress::Progress;
use crate::report::series::{FaultMark, Second};
use crate::report::statements::StatementNames;
use crate::report::{Document, Report, junit, page, terminal};
use crate::scenario::{self, Asked, Plan};
use crate::strategy::Program;
use crate::text;
use crate::workload::Segment;
use crate::workload::arrivals::Pace;
use crate::workload::orders::OrderStream;
use anyhow::{Context, Result, anyhow, ensure};
use joint::Joint;
use sabotage::{RedisDeath, Sabotage, Targets};
use stage::{CONNECTIONS_SPARE, RedisStage, Stage};
pub(super) use stage::{check_isolation, named_services};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinHandle;
use watch::Watch;

/// Connections by default: more than this rarely helps one hot row, and most
/// servers have no more to give.
const CONNECTIONS_DEFAULT_MAX: u64 = 100;

/// Connections that a lab server has besides the run's, where they are to be taken.
const CONNECTIONS_LEFT: u32 = 50;

pub(super) async fn run(args: RunArgs) -> Result<Exit> {
    let params = args.param.iter().cloned().collect();
    let asked = Asked {
        strategy: args.strategy.as_deref(),
        load: &args.load,
        params: &params,
        thresholds: &args.threshold,
        as_it_is: false,
    };
    let mut plan = scenario::resolve(&asked, args.scenario.as_deref())?;
    check_files(&args, &plan)?;
    let baseline = args.baseline.as_deref().map(super::report::read_run).transpose()?;
    let expected = expected_dialect(&args);
    joint::check(&args, &plan, expected)?;
    stage::check_early(&args, &plan, expected)?;
    if let Some(stale) = args.junit.as_ref().filter(|path| path.is_file()) {
        // A run that cannot start must not leave the verdict of another one.
        std::fs::remove_file(stale).with_context(|| format!("cannot write {}", stale.display()))?;
    }
    let settings = SessionSettings { isolation: plan.isolation, ..SessionSettings::default() };
    let mut opened = open_with(&args.database, &settings, Purpose::Load, lab_options(&plan)).await?;
    let beside = Beside { of_many: None, baseline: baseline.as_ref() };
    let report = measure(&args, &mut plan, &mut opened, beside).await?;
    let rendered = report.to_json()?;
    let json = args.json.as_deref().map_or(Ok(()), |path| write_whole(path, rendered.as_bytes()));
    let html = match &args.html {
        Some(path) => {
            let named = [(report.strategy.clone(), report.clone())];
            write_whole(path, page::runs(&named, NOISE_PCT)?.as_bytes())
        }
        None => Ok(()),
    };
    let junit = match &args.junit {
        Some(path) => write_whole(path, junit::to_xml(&report)?.as_bytes()),
        None => Ok(()),
    };
    to_stdout(|out| match args.output {
        Output::Json => out.write_all(rendered.as_bytes()),
        Output::Table => terminal::run(out, &report),
    })?;
    // What was found is said first; a file that is missing comes after it.
    let mut exit = report.exit();
    if let Some(error) = &report.incomplete_file {
        complain(error);
    }
    for error in [json, html, junit].into_iter().filter_map(Result::err) {
        complain(error);
        exit = exit.worst(Exit::CouldNot);
    }
    Ok(exit)
}

/// No output may take the place of what the run reads.
fn check_files(args: &RunArgs, plan: &Plan) -> Result<()> {
    let strategies = plan.mix.iter().map(|(strategy, _)| strategy.name.as_str());

    Files::default()
        .writes("--json", args.json.as_ref())
        .writes("--html", args.html.as_ref())
        .writes("--junit", args.junit.as_ref())
        .streams("--history", args.history.as_ref())
        .streams("--hdr", args.hdr.as_ref())
        .reads_database(&args.database)
        .reads_services(&args.service)
        .reads_named("the strategy", strategies)
        .reads_named("the scenario", args.scenario.as_deref())
        .reads("the orders", plan.replay.iter().map(|(path, _)| path))
        .reads("the baseline", &args.baseline)
        .check()
}

/// What a lab server needs for the faults that are to befall it.
fn lab_options(plan: &Plan) -> LabOptions {
    let mut options = LabOptions { small_disk: plan.has_blow(Blow::FillDisk), ..LabOptions::default() };
    if plan.has_blow(Blow::TakeConnections) {
        // The fewer are left, the sooner all of them are taken.
        let own = plan.connections.unwrap_or(CONNECTIONS_DEFAULT_MAX.min(plan.concurrency));
        options.connections = u32::try_from(own).unwrap_or(u32::MAX).saturating_add(CONNECTIONS_LEFT);
    }
    options
}

/// What a run is one of, and what it is held against.
#[derive(Clone, Copy)]
pub(super) struct Beside<'b> {
    /// What stops it together with others.
    pub(super) of_many: Option<&'b Stop>,
    /// An earlier run under the same load.
    pub(super) baseline: Option<&'b Report>,
}

/// One run on a database that is open. One of many that are stopped together says
/// nothing of its own and listens to no signals.
pub(super) async fn measure(
    args: &RunArgs,
    plan: &mut Plan,
    Opened { database, lab }: &mut Opened,
    beside: Beside<'_>,
) -> Result<Report> {
    let begun = Instant::now();
    let stage = stage::prepare(args, plan, database).await?;
    if beside.of_many.is_none() {
        announce(database, stage.redis.as_ref().map(RedisStage::info).as_ref(), args.output)?;
    }
    check_baseline_early(args, plan, &stage, (beside.baseline, &database.info))?;
    let mut lock = match args.segment.and(args.start_at) {
        Some(start_at) => joint::lock(database, start_at).await?,
        None => database.lock().await?,
    };
    let ran =
        Box::pin(run_locked(args, plan, stage, (database, lab.as_ref(), &mut lock), begun, beside)).await;
    lock.release().await;
    let mut report = ran?;
    if let Some(baseline) = beside.baseline {
        report.hold_against(baseline, args.noise.unwrap_or(NOISE_PCT))?;
    }
    Ok(report)
}

/// The dialect that a lab kind or a URL promises, before anything answers.
fn expected_dialect(args: &RunArgs) -> Option<Dialect> {
    use crate::lab::LabKind;
    match args.database.lab.as_ref().map(|lab| lab.kind) {
        Some(LabKind::Postgres) => Some(Dialect::Postgres),
        Some(LabKind::MySql | LabKind::GroupReplication | LabKind::GroupReplicationSingle) => {
            Some(Dialect::MySql)
        }
        Some(LabKind::MariaDb | LabKind::Galera) => Some(Dialect::MariaDb),
        Some(LabKind::Redis) => None,
        None => match &args.database.database_url {
            None => Some(Dialect::Sqlite),
            // mysql:// may turn out to be MariaDB.
            Some(url) => {
                let url = DatabaseUrl::parse(url).ok()?;
                (url.dialect() != Dialect::MySql).then_some(url.dialect())
            }
        },
    }
}

fn announce(database: &Database, redis: Option<&RedisInfo>, output: Output) -> Result<()> {
    let database = terminal::database_line(&database.info);
    for line in std::iter::once(database).chain(redis.map(terminal::redis_line)) {
        match output {
            Output::Table => to_stdout(|out| writeln!(out, "{line}"))?,
            Output::Json => to_stderr(line),
        }
    }
    Ok(())
}

/// Seeds, lets the strategies make their own tables, checks every statement
/// against them, and enters the run into the list.
async fn make_tables(
    args: &RunArgs,
    plan: &mut Plan,
    stage: &mut Stage,
    (database, lock): (&Database, &mut RunLock),
    of_many: Option<&Stop>,
) -> Result<Made> {
    schema::migrate(database).await?;
    // What is made and checked beforehand takes the time it takes.
    let untimed = SessionSettings { lock_timeout: None, statement_timeout: None, ..stage.settings.clone() };
    let mut control = database.open(&untimed).await?;
    let made = make_tables_by(control.as_mut(), args, plan, stage, (database, lock)).await;
    let without_transactions = stage.without_transactions(control.as_mut(), database.dialect()).await;
    control.close().await;
    let (run, connections) = made?;

    let without_transactions = without_transactions?;
    if of_many.is_none() {
        say_no_transactions(&without_transactions, args.output)?;
    }

    Ok(Made { run, connections, without_transactions })
}

/// The tables of a run are there.
struct Made {
    run: RunRow,
    /// Connections of the run, over all of its segments.
    connections: u64,
    /// Tables whose engine has no transactions, each with its engine.
    without_transactions: Vec<String>,
}

/// Says before the load where a strategy cannot do what it says.
fn say_no_transactions(tables: &[String], output: Output) -> Result<()> {
    for table in tables {
        let line = terminal::no_transactions(table);
        match output {
            Output::Table => to_stdout(|out| writeln!(out, "{line}"))?,
            Output::Json => to_stderr(line),
        }
    }

    Ok(())
}

/// Also tells how many connections the run has, over all of its segments.
async fn make_tables_by(
    control: &mut dyn Session,
    args: &RunArgs,
    plan: &mut Plan,
    stage: &mut Stage,
    (database, lock): (&Database, &mut RunLock),
) -> Result<(RunRow, u64)> {
    let shared = args.segment.zip(args.start_at);
    let mut asked = None;
    let mut entered = None;
    if let Some(shared) = shared {
        let retry = stage.programs.first().map(|program| retry(plan, program));
        let joint = Joint::asked(plan, stage, database, config(args, plan, retry.as_ref(), 0), shared)?;
        entered = joint::find(control, shared.0, &joint).await?;
        asked = Some(joint);
    }
    if entered.is_none() {
        if shared.is_some() {
            let at_work = lock.segments_at_work(database.dialect()).await?;
            let at_work = Some(at_work).filter(|at_work| *at_work > 0);
            let segments = at_work.map(|at_work| text::count(at_work, "segment"));
            ensure!(
                segments.is_none(),
                "{} of another run still at work on {}",
                segments.unwrap_or_default(),
                database.url()
            );
        }
        if args.no_seed {
            stage::check_unseeded(control, stage).await?;
        } else {
            if database.dialect() != Dialect::Null {
                seed(plan, database).await?;
            }
            stage.set_up(plan, control, database).await?;
        }
    }
    if plan.replay.is_none() {
        let stocked = schema::stocked_skus(control).await?;
        let asked = usize::try_from(plan.lines.max).unwrap_or(usize::MAX);
        if !stocked.is_empty() && asked > stocked.len() {
            return Err(usage(format!(
                "--lines {} asks for more lines than there are SKUs in stock ({}): an order names each SKU once",
                plan.lines,
                stocked.len()
            )));
        }
        if !stocked.is_empty() {
            plan.seed.sku_ids = stocked;
        }
    }
    stage.verify(control, database).await?;
    let Some((segment, mut joint)) = args.segment.zip(asked) else {
        let run = register(control, plan, stage, database).await?;
        return Ok((run, connections(plan, database)?));
    };
    let (run, joint) = if let Some(entered) = entered {
        entered
    } else {
        joint.connections = joint::connections(plan, free_connections(database), segment)?;
        let run = register(control, plan, stage, database).await?;
        joint::open(control, database, segment, (&run, &joint)).await?;
        (run, joint)
    };
    joint::enter((database, lock), segment).await?;
    Ok((run, joint.connections))
}

async fn register(
    control: &mut dyn Session,
    plan: &Plan,
    stage: &Stage,
    database: &Database,
) -> Result<RunRow> {
    let audit = serde_json::to_string(&stage.audit)?;
    schema::register_run(control, database.dialect(), &mix_name(plan), audit).await
}

async fn run_locked(
    args: &RunArgs,
    plan: &mut Plan,
    mut stage: Stage,
    (database, lab, lock): (&Database, Option<&Arc<LabServer>>, &mut RunLock),
    begun: Instant,
    Beside { of_many, baseline }: Beside<'_>,
) -> Result<Report> {
    // What cannot be served or written is said before anything is changed.
    let mut watch = watch_of(args, plan, database)?;
    let made = make_tables(args, plan, &mut stage, (database, lock), of_many).await?;
    let load = load(args, plan, made.connections)?;
    let faults = stage::check_faults(plan, &stage.programs)?;
    let source = stage.source(&made.run);
    // What was made on one node must be there on the others.
    audit::nodes::must_agree(database, &source).await?;
    let redis = stage.redis.as_ref().map(RedisStage::info);
    let services = stage.service_infos();
    let members = members(plan, stage.programs);
    let config = config(args, plan, members.first().map(|member| &member.retry), load.connections as u64);
    check_baseline(baseline, &config, &database.info)?;
    let names = StatementNames::of(&members);
    let create = |path| HistoryWriter::create(path, &made.run, args.segment);
    let history = args.history.as_deref().map(create).transpose()?;
    let stream = stream(plan, &made.run);
    let recovery = Arc::new(Recovery::default());
    let redis_death = stage.redis.as_ref().and_then(|redis| redis.death(&recovery));
    let timed: Vec<TimedFault> = faults.timed().collect();
    let kills_redis_after = faults.kills_redis_after();
    let parts = Parts {
        members,
        services: stage.services,
        redis: stage.redis.as_ref().map(|stage| stage.redis.clone()),
        redis_killer: redis_death.as_ref().map(RedisDeath::killer),
        stream,
        load,
        faults,
        recovery: Arc::clone(&recovery),
        history,
    };

    let stop = of_many.cloned().unwrap_or_default();
    let signals = stop_on_signal(stop.clone(), "finishing the orders that have begun");
    let signals = of_many.is_none().then(|| tokio::spawn(signals));
    let preparing = Progress::preparing("opening connections");
    let wire = stage.settings.wire.clone();
    let engine = Engine::prepare(database.clone(), stage.settings, parts, stop.clone()).await;
    preparing.finish();
    let (engine, setup) = (engine?, begun.elapsed());
    let warm = warm_up(engine, args, plan, &stop).await?;
    let started_at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let cost = CostMeter::start();
    let targets = Targets {
        database: database.clone(),
        lab: lab.cloned(),
        redis: redis_death,
        kills_redis_after,
        wire,
        window: warm.window(),
        stop: stop.clone(),
        recovery,
    };
    let (finished, marks, carried_out) = fire(args, plan, warm, &mut watch, timed, targets).await;
    let client = cost.stop(&finished, database.dialect() == Dialect::Sqlite);
    let interrupted = stop.is_asked() && watch.breach.is_none() && !reached_its_end(plan, &finished);

    let checking = Progress::preparing("auditing");
    let phases = Phases::of(setup, &finished);
    let Finished { figures, answers, stream, elapsed, lost_server, history, sessions, .. } = finished;
    // What a segment was told is a part; the stock is everybody's.
    let told = answers.told(&stream);
    let (audit, gone) = if args.segment.is_some() {
        // Whoever has the database next must not meet what a lost connection still does.
        (None, sessions_gone(database, &source, &sessions).await)
    } else {
        (Some(judge(database, &source, &sessions, told, &figures, &made, args.full).await), Ok(()))
    };
    checking.finish();
    signals.iter().for_each(JoinHandle::abort);
    let judged = audit.as_ref().and_then(|audit| audit.as_ref().ok());
    let part = args.segment.map(|_| part_of(plan, &made.run, &figures, elapsed));
    let hint = judged.and_then(|audit| super::explore::hint(audit, &made.run.strategy, database));
    Report::new(ReportParts {
        run_id: made.run.id,
        strategy: made.run.strategy,
        members: plan.mix.iter().map(|(strategy, weight)| (strategy.name.clone(), *weight)).collect(),
        services,
        redis,
        expected: plan.expect.audit.on(&database.info),
        expected_errors: plan.expect.errors.clone(),
        thresholds: if args.segment.is_some() { &[] } else { &plan.expect.thresholds },
        database: database.info.clone(),
        config,
        random_seed: plan.random_seed,
        started_at,
        interrupted,
        figures: &figures,
        elapsed,
        phases,
        statements: names.report(&figures.statements),
        series: std::mem::take(&mut watch.series),
        faults: marks,
        fault_error: carried_out.err().map(whole),
        incomplete_file: [history, watch.finish(), gone].into_iter().find_map(Result::err).map(whole),
        aborted_by: watch.breach.take(),
        lost_server,
        hint,
        client,
        audit,
        part,
        segments: None,
    })
}

/// An error with all of its causes, in a line.
fn whole(error: anyhow::Error) -> String {
    format!("{error:#}")
}

/// What the whole is put together from, of which this run is a segment.
fn part_of(plan: &Plan, run: &RunRow, figures: &Figures, elapsed: Duration) -> Part {
    Part {
        run_started_ms: run.started_ms,
        figures: figures.clone(),
        elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        thresholds: plan.expect.thresholds.iter().map(ToString::to_string).collect(),
    }
}

/// What would be compared in vain is not even run.
fn check_baseline(baseline: Option<&Report>, config: &Config, info: &DatabaseInfo) -> Result<()> {
    let Some(baseline) = baseline else { return Ok(()) };
    let refused = |error: anyhow::Error| usage(format!("--baseline: {error:#}"));
    check_same_load(&baseline.config, config).map_err(refused)?;
    check_same_ground(&baseline.database, info).map_err(refused)?;
    if baseline.interrupted || baseline.exit() == Exit::CouldNot || !did_pass(baseline) {
        return Err(usage(
            "--baseline: it was interrupted or not judged, or its audit did not pass: it is no measure",
        ));
    }
    Ok(())
}

/// The same before anything is changed; what only the tables and the server tell, the
/// connections and SKUs that are there, is taken for the baseline's.
fn check_baseline_early(
    args: &RunArgs,
    plan: &Plan,
    stage: &Stage,
    (baseline, info): (Option<&Report>, &DatabaseInfo),
) -> Result<()> {
    let Some(was) = baseline.map(|baseline| &baseline.config) else { return Ok(()) };
    let retry = stage.programs.first().map(|program| retry(plan, program));
    let mut config = config(args, plan, retry.as_ref(), was.connections);
    if args.no_seed {
        config.skus = was.skus;
    }
    check_baseline(baseline, &config, info)
}

/// Sees the warm-up through, from the moment on that was asked for.
async fn warm_up(engine: Engine, args: &RunArgs, plan: &Plan, stop: &Stop) -> Result<Warm> {
    joint::wait(args.start_at, stop).await?;
    let warming = plan.warmup.map(|_| Progress::preparing("warming up"));
    let warm = engine.warm_up().await;
    warming.into_iter().for_each(Progress::finish);
    joint::wait_for_window(args.start_at, plan.warmup, stop).await;
    Ok(warm)
}

/// Sees the measured window through, with what goes wrong in it.
async fn fire(
    args: &RunArgs,
    plan: &Plan,
    warm: Warm,
    watch: &mut Watch,
    timed: Vec<TimedFault>,
    targets: Targets,
) -> (Finished, Vec<FaultMark>, Result<()>) {
    let orders = plan.orders.map(|orders| segment_of(args).share(orders));
    let progress = Progress::running(warm.live(), orders, plan.duration);
    let sabotage = Sabotage::start(timed.into_iter(), targets, plan.random_seed);
    let finished = warm.run(&mut |tick| watch.look(tick)).await;
    let (marks, carried_out) = sabotage.finish().await;
    Second::mark(&mut watch.series, &marks);
    progress.finish();
    (finished, marks, carried_out)
}

fn members(plan: &Plan, programs: Vec<Program>) -> Vec<Member> {
    let programs = programs.into_iter().zip(&plan.mix);
    let member = |(program, (_, weight)): (Program, &(_, u32))| Member {
        retry: retry(plan, &program),
        weight: *weight,
        program,
    };
    programs.map(member).collect()
}

fn stream(plan: &mut Plan, run: &RunRow) -> OrderStream {
    OrderStream {
        source: plan.take_order_source(),
        line_order: plan.line_order,
        seed: plan.random_seed,
        run_id: run.id,
    }
}

/// Who looks at the run while it goes on.
fn watch_of(args: &RunArgs, plan: &Plan, database: &Database) -> Result<Watch> {
    let labels = || [("strategy", mix_name(plan)), ("database", database.dialect().to_string())];
    let called = || format!("{} on {}", mix_name(plan), database.url());
    Ok(Watch {
        abort_on: if args.abort_on_breach { plan.expect.thresholds.clone() } else { Vec::new() },
        hdr: args.hdr.as_deref().map(|path| HdrLog::create(path, &called())).transpose()?,
        metrics: args.metrics_listen.map(|address| Metrics::serve(address, &labels())).transpose()?,
        clients: segment_of(args).share(plan.concurrency),
        is_part: args.segment.is_some(),
        series: Vec::new(),
        breach: None,
    })
}

/// Holds what the clients were told against what every node of the database holds,
/// once nobody of the run is there any more.
async fn judge(
    database: &Database,
    source: &audit::Source,
    sessions: &[(Option<String>, Vec<i64>)],
    told: impl Iterator<Item = ToldOrder> + Send,
    figures: &Figures,
    made: &Made,
    full: bool,
) -> Result<AuditReport> {
    ensure!(database.dialect() != Dialect::Null, "null: keeps no stock: there is nothing to audit");
    sessions_gone(database, source, sessions).await?;
    let mut audit = audit::audit(database, source, ClientWitness::Complete, told, None, full).await?;
    audit.add_futile_retries(figures);
    audit.blame_engines(&made.without_transactions);
    Ok(audit)
}

/// Waits until no session of the run is left on any of its servers.
async fn sessions_gone(
    database: &Database,
    source: &audit::Source,
    sessions: &[(Option<String>, Vec<i64>)],
) -> Result<()> {
    for (service, ids) in sessions {
        let database = service.as_ref().and_then(|name| source.services.get(name)).unwrap_or(database);
        database.sessions_gone(ids, audit::SESSIONS_PATIENCE).await?;
    }
    Ok(())
}

fn reached_its_end(plan: &Plan, finished: &Finished) -> bool {
    finished.all_sent || plan.duration.is_some_and(|duration| finished.elapsed >= duration)
}

/// The strategy's name, or the mix as it is written.
fn mix_name(plan: &Plan) -> String {
    match plan.mix.as_slice() {
        [(strategy, _)] => strategy.name.clone(),
        mix => mix
            .iter()
            .map(|(strategy, weight)| format!("{}@{weight}", strategy.name))
            .collect::<Vec<_>>()
            .join(","),
    }
}

fn retry(plan: &Plan, program: &Program) -> RetryPolicy {
    let delay = plan.retry_delay.map_or(program.delay, |delay| (delay.min, delay.max));
    RetryPolicy {
        tries: plan.max_tries.unwrap_or(program.tries),
        delay_min: delay.0,
        delay_max: delay.1,
        within: program.within,
        unknown: plan.retry_unknown.unwrap_or(program.unknown),
    }
}

async fn seed(plan: &Plan, database: &Database) -> Result<()> {
    let seeding =
        Progress::preparing(&format!("seeding {} SKUs", text::thousands(plan.seed.sku_ids.len() as u64)));
    let seeded = schema::seed(database, &plan.seed).await;
    seeding.finish();
    seeded
}

/// The part of the run that this process has.
fn segment_of(args: &RunArgs) -> Segment {
    args.segment.unwrap_or(Segment::WHOLE)
}

/// Connections that the database has left for the clients.
fn free_connections(database: &Database) -> u64 {
    u64::from(database.info.free_connections.saturating_sub(CONNECTIONS_SPARE).max(1))
}

fn connections(plan: &Plan, database: &Database) -> Result<u64> {
    if database.dialect() == Dialect::Sqlite {
        let most = u64::from(database.info.free_connections.max(1));
        return Ok(plan.connections.unwrap_or(CONNECTIONS_DEFAULT_MAX.min(most)));
    }
    let free = free_connections(database);
    match plan.connections {
        Some(asked) if asked > free => Err(anyhow!(
            "--connections {asked} is more than the {free} that {} has left",
            database.dialect().title()
        )),
        asked => Ok(asked.unwrap_or(CONNECTIONS_DEFAULT_MAX).min(free)),
    }
}

fn load(args: &RunArgs, plan: &Plan, connections: u64) -> Result<Load> {
    let segment = segment_of(args);
    let concurrency = segment.share(plan.concurrency);
    let connections = segment.share(connections).min(concurrency);
    Ok(Load {
        segment,
        concurrency: usize::try_from(concurrency)?,
        connections: usize::try_from(connections)?,
        threads: available_parallelism().map_or(1, usize::from),
        pace: plan.pace.clone(),
        warmup: plan.warmup,
        latency_limit: plan.latency_limit,
        per_statement: args.per_statement,
        orders: plan.orders,
        duplicates: plan.duplicates,
        duration: plan.duration,
        think: plan.think,
        acquire_timeout: plan.acquire_timeout,
        transaction_timeout: plan.transaction_timeout,
        reconnect: plan.reconnect,
    })
}

fn config(args: &RunArgs, plan: &Plan, retry: Option<&RetryPolicy>, connections: u64) -> Config {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let replayed = plan.replay.as_ref().map(|(path, _)| path.display().to_string());
    let of_file = |value: String| if replayed.is_some() { "as in the file".to_owned() } else { value };
    let line_order = clap::ValueEnum::to_possible_value(&plan.line_order);
    let (loop_kind, profile, rate_per_s, arrivals) = match &plan.pace {
        Pace::Closed { clients } => ("closed", clients, None, None),
        Pace::Open { rate, spacing } => ("open", rate, Some(rate.peak()), Some(*spacing)),
    };
    Config {
        segment: args.segment,
        concurrency: plan.concurrency,
        connections,
        orders: plan.orders,
        duration_s: plan.duration.map(|duration| duration.as_secs_f64()),
        skus: plan.seed.sku_ids.len() as u64,
        stock: plan.seed.stock,
        stock_lasts: plan.stock_lasts && !args.no_seed,
        quantity: of_file(plan.quantity.to_string()),
        lines: of_file(plan.lines.to_string()),
        line_order: line_order.map_or_else(String::new, |value| value.get_name().to_owned()),
        dist: of_file(plan.dist.to_string()),
        replay: replayed.clone(),
        duplicates_pct: plan.duplicates,
        faults: plan.faults.iter().map(ToString::to_string).collect(),
        params: plan.params.clone(),
        seeded: !args.no_seed,
        think_us: micros(plan.think),
        rtt_us: micros(plan.rtt),
        retry_unknown: retry.map_or(OnUnknown::Keep, |retry| retry.unknown),
        reconnect_us: micros(plan.reconnect),
        tries: retry.map_or(0, |retry| retry.tries),
        retry_delay_us: retry.map_or([0, 0], |retry| [micros(retry.delay_min), micros(retry.delay_max)]),
        lock_timeout_ms: plan.lock_timeout.map(|timeout| micros(timeout) / 1_000),
        acquire_timeout_us: plan.acquire_timeout.map(micros),
        statement_timeout_ms: plan.statement_timeout.map(|timeout| micros(timeout) / 1_000),
        transaction_timeout_us: plan.transaction_timeout.map(micros),
        loop_kind: loop_kind.into(),
        rate_per_s,
        arrivals,
        profile: profile.corners(),
        warmup_s: plan.warmup.map(|duration| duration.as_secs_f64()),
        latency_limit_us: plan.latency_limit.map(micros),
    }
}
