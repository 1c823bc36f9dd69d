//! `stockbench explore`: every interleaving of a few clients, on tables that are
//! made for it.

use super::check::Checker;
use super::files::Files;
use super::open::{Opened, Purpose, check_no_pooler, open};
use super::run::check_isolation;
use super::{complain, stop_on_signal, to_stderr, to_stdout, write_whole};
use crate::audit::{self, AuditReport, Source, scope};
use crate::cli::{ExploreArgs, ExploreLineOrder, Output};
use crate::db::attached::{Attachment, attachments};
use crate::db::database::is_out_of_connections;
use crate::db::schema::{self, PREFIX, RunRow, Seed, SkuIds};
use crate::db::scratch::{self, Attached, Scratch};
use crate::db::{Database, DatabaseUrl, Dialect, Isolation, Session, SessionSettings};
use crate::engine::stop::Stop;
use crate::exit::{Exit, usage};
use crate::explore::effect::Concurrency;
use crate::explore::rows::sku_column;
use crate::explore::widen::{self, Scope, Widening};
use crate::explore::{self, Explored, Problem, Progress as Counts, Stage, Which};
use crate::report::Document;
use crate::report::explored::{self, Config, ExploreReport, Search};
use crate::report::progress::Progress;
use crate::report::terminal;
use crate::scenario::check_params;
use crate::strategy::access::{TableNames, reaches_outside};
use crate::strategy::program::Setup;
use crate::strategy::{Program, Setting, Strategy, guard};
use crate::text;
use crate::workload::Line;
use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use futures_util::future::try_join_all;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::{TempDir, TempPath};

/// How often the line that shows the progress is drawn anew.
const TICK: Duration = Duration::from_millis(200);

/// Where the order ids of schedules begin on copies of a user's tables, which hold
/// orders of their own; they fit into 32 bits for a million schedules.
const FOREIGN_SERIAL: i64 = 1_000_000;

pub(super) async fn explore(args: ExploreArgs) -> Result<Exit> {
    let strategy = Strategy::load(&args.strategy).map_err(|error| usage(format!("{error:#}")))?;
    Files::default()
        .writes("--json", args.json.as_ref())
        .reads_database(&args.database)
        .reads_named("the strategy", [args.strategy.as_str()])
        .check()?;

    let created = created_file(&args)?;
    let (mut opened, _folder) = open_beside(&args).await?;
    if opened.database.url().node_count() > 1 {
        return Err(usage("an exploration asks one server who waits for whom: name one node"));
    }
    let database = &mut opened.database;
    let program = compile(&args, &strategy, database)?;
    let settings = settings(&args, &program, database).await?;
    // Before anything is made that must not be left behind.
    let stop = Stop::default();
    let signals = tokio::spawn(stop_on_signal(stop.clone(), "ending the schedules that have begun"));
    let line = terminal::database_line(&database.info);
    match args.output {
        Output::Table if args.emit.is_none() => to_stdout(|out| writeln!(out, "{line}"))?,
        _ => to_stderr(&line),
    }
    let foreign = foreign_tables(&program, database).await?;
    let explorer = Explorer { args: &args, program, database, settings, foreign, stop: &stop };
    let found = explorer.search_wider(&strategy).await;
    signals.abort();
    let (found, searches, not_covered) = found?;
    if let Some(created) = created {
        created.keep()?;
    }
    report(&args, &opened.database, found, searches, not_covered)
}

/// What one command explores, search after search.
struct Explorer<'e> {
    args: &'e ExploreArgs,
    program: Program,
    database: &'e Database,
    settings: SessionSettings,
    foreign: Vec<Foreign>,
    stop: &'e Stop,
}

/// What one search came to.
struct Found {
    scope: Scope,
    explored: Explored,
    problem: Problem,
    /// Statements that fill the tables as they were.
    start: String,
}

impl Found {
    /// Whether it found nothing in every schedule, or in as many as were to be run.
    fn has_found_nothing(&self, max_schedules: u64) -> bool {
        let Explored { complete, schedules, pruned, violations, failed, .. } = self.explored;
        violations == 0 && failed == 0 && (complete || schedules + pruned >= max_schedules)
    }
}

impl Explorer<'_> {
    /// The search that was asked for, and wider ones where it found nothing: returns the
    /// one to tell of, all of them in short, and what is left out.
    async fn search_wider(&self, strategy: &Strategy) -> Result<(Found, Vec<Search>, Vec<String>)> {
        let plain = scope(self.args);
        let mut found = self.search(plain, self.args.max_schedules, self.args.workers).await?;
        let mut searches = vec![Search::new("as asked for", "", &found.explored)];
        let on_own_tables = !self.foreign.is_empty();
        let widening = Widening::of(&self.program, &strategy.file, plain, on_own_tables);
        if !widens(self.args) || !found.has_found_nothing(self.args.max_schedules) || self.stop.is_asked() {
            return Ok((found, searches, Vec::new()));
        }

        let mut left_out = widening.left_out;
        for wider in widening.searches {
            let max = widen::SCHEDULES_MAX.min(self.args.max_schedules);
            let workers = widen::WORKERS_MAX.min(self.args.workers);
            let next = match self.search(wider.scope, max, workers).await {
                Ok(next) => next,
                Err(_) if self.stop.is_asked() => break,
                Err(error) => {
                    left_out.push(format!("{} ({}): {error:#}", wider.what, wider.flags));
                    continue;
                }
            };
            let search = Search::new(wider.what, wider.flags, &next.explored);
            left_out.extend(search.not_covered());
            searches.push(search);
            if next.explored.violations > 0 {
                found = next;
                break;
            }
        }
        Ok((found, searches, left_out))
    }

    /// One search, on tables that are made for it.
    async fn search(&self, scope: Scope, max_schedules: u64, workers: u8) -> Result<Found> {
        let mut scratches = Vec::new();
        let found = self.search_in(scope, (max_schedules, workers), &mut scratches).await;
        for scratch in scratches {
            // What was found is told all the same; `clean` drops what is left.
            if let Err(error) = scratch.drop().await {
                complain(error);
            }
        }
        found.map_err(|error| {
            if self.args.workers > 1 && is_out_of_connections(&error) {
                anyhow!("{error:#}: explore on fewer copies of the tables at once (--workers 1)")
            } else {
                error
            }
        })
    }

    /// What hangs on the user's tables.
    async fn attachments(&self) -> Result<Vec<Attachment>> {
        let mut session = self.database.open(&SessionSettings::READ_ONLY).await?;
        let mut all = Vec::new();
        for table in &self.foreign {
            all.extend(attachments(session.as_mut(), self.database.dialect(), &table.name).await?);
        }
        session.close().await;
        Ok(all)
    }

    async fn search_in(
        &self,
        scope: Scope,
        (max_schedules, workers): (u64, u8),
        scratches: &mut Vec<Scratch>,
    ) -> Result<Found> {
        let (args, database) = (self.args, self.database);
        let mut program = self.program.clone();
        let is_foreign = !self.foreign.is_empty();
        let copies = copies(scope, &program, database, &self.foreign).await?;
        let preparing = Progress::preparing("making tables to explore on");
        let workers = if args.schedule.is_some() { 1 } else { usize::from(workers) };
        for number in 0..workers {
            scratches.push(Scratch::create(database, number).await?);
        }
        let attachments = self.attachments().await?;
        let made =
            scratches.iter().map(|scratch| make_tables(scope, &program, scratch, (&copies, &attachments)));
        let Made { run, reset, attached } = try_join_all(made).await?.swap_remove(0);

        let mut session = scratches[0].database.open(&SessionSettings::default()).await?;
        verify(&mut program, session.as_mut()).await?;
        let without_transactions =
            scope::without_transactions(session.as_mut(), database.dialect(), program.sql_on_stock()).await?;
        let lines = lines(scope, &program, session.as_mut(), is_foreign).await?;
        session.close().await;
        let start = if args.emit.is_some() { scratches[0].script().await? } else { String::new() };
        let stage = |scratch: &Scratch| Stage { database: scratch.database.clone(), reset: reset.clone() };
        let stages = scratches.iter().map(stage).collect();
        preparing.finish();

        let mut problem = problem((args, scope), program, database, &run, lines, is_foreign)?;
        problem.without_transactions = without_transactions;
        problem.concurrency.is_opaque |= !attached.taken.is_empty();
        problem.attached = attached;
        let which = match (&args.schedule, args.sample) {
            (Some(schedule), _) => Which::One(schedule.clone()),
            (None, Some(count)) => Which::Sample(count),
            (None, None) => Which::Every { max: max_schedules },
        };
        let explored = watched(&problem, stages, self.settings.clone(), &which, self.stop).await?;
        Ok(Found { scope, explored, problem, start })
    }
}

/// Explores while a line shows how far it is.
async fn watched(
    problem: &Problem,
    stages: Vec<Stage>,
    settings: SessionSettings,
    which: &Which,
    stop: &Stop,
) -> Result<Explored> {
    let counts = Counts::default();
    let progress = Progress::preparing("exploring");
    let showing = async {
        loop {
            tokio::time::sleep(TICK).await;
            let (schedules, violations) =
                (counts.schedules.load(Ordering::Relaxed), counts.violations.load(Ordering::Relaxed));
            let schedules = text::count(schedules, "schedule");
            progress.show(&format!("{schedules}, {violations} of them break an invariant"), 0, 0);
        }
    };
    let explored = tokio::select! {
        explored = explore::explore(problem, stages, settings, which, stop, &counts) => explored,
        () = showing => unreachable!("it is shown until the exploration ends"),
    };
    progress.finish();
    explored
}

/// Whether more is searched than what was asked for: nobody said what exactly.
fn widens(args: &ExploreArgs) -> bool {
    let names_orders = args.clients.is_some()
        || args.stock.is_some()
        || args.quantity.is_some()
        || args.lines.is_some()
        || args.line_order.is_some()
        || args.same_order
        || !args.flow.is_empty();
    let names_schedules = args.crashes.is_some() || args.sample.is_some() || args.schedule.is_some();
    !names_orders && !names_schedules && !args.no_reduce && !args.no_widen
}

/// What was asked for.
fn scope(args: &ExploreArgs) -> Scope {
    Scope {
        clients: args.clients.unwrap_or(2),
        stock: args.stock.unwrap_or(1),
        quantity: args.quantity,
        lines: args.lines.unwrap_or(1),
        is_opposite: args.line_order == Some(ExploreLineOrder::Opposite),
        same_order: args.same_order,
        crashes: args.crashes.unwrap_or(0),
    }
}

/// Where to look for the interleaving behind what an audit found, if it found
/// anything and the strategy can be explored.
pub(super) fn hint(audit: &AuditReport, strategy: &str, database: &Database) -> Option<String> {
    // Where transactions are none, no interleaving of them explains anything.
    if !audit.without_transactions.is_empty() {
        return None;
    }
    if !audit.findings_by_kind.keys().any(|kind| kind.is_of_a_strategy(database.info.durable)) {
        return None;
    }
    let program = Strategy::load(strategy).ok()?.compile(&database.dialect().into()).ok()?;
    let can_be_asked = database.url().node_count() == 1 && database.info.pooler.is_none();
    (can_be_asked && why_not(&program).is_none()).then(|| {
        format!(
            "`stockbench explore -s {strategy}` runs interleavings of two orders on copies of the tables, and shows one \
             that breaks an invariant if so few orders can (--crashes 1 lets a client stop, --same-order delivers one \
             order twice)"
        )
    })
}

/// Why a program cannot be explored, as far as its text tells.
fn why_not(program: &Program) -> Option<String> {
    let name = &program.name;
    if program.needs_redis() {
        return Some(format!("{name} needs a Redis: only what is SQL alone can be explored"));
    }
    if program.batch.is_some() {
        return Some(format!(
            "{name} answers orders in batches, which gather by time: it cannot be explored"
        ));
    }
    let outside = statements(program)
        .find_map(|sql| reaches_outside(&sql, program.dialect).map(|why| (why, text::one_line(&sql))));
    if let Some((why, sql)) = outside {
        return Some(format!(
            "{name} {why}: an exploration works on copies of tables, and a name with its schema would pass them by (in: \
             {sql})"
        ));
    }
    // Other tables may be written and locked: they are copies.
    let unbounded = guard::foreign_writes(program, 0).into_iter().find_map(|foreign| match foreign {
        guard::Foreign::Unbounded { .. } => Some(foreign.to_string()),
        guard::Foreign::Table(_) | guard::Foreign::Locks(_) => None,
    });
    unbounded.map(|unbounded| {
        format!(
            "{name} may do more than read and write tables, and an exploration works on copies of tables alone: {unbounded}"
        )
    })
}

/// Everything that a program sends, and that is asked on its behalf.
fn statements(program: &Program) -> impl Iterator<Item = String> {
    let steps = program.steps().map(|step| step.statement.sql.to_string());
    let setup = program.setup.iter().filter_map(|setup| match setup {
        Setup::Sql { sql, .. } => Some(sql.clone()),
        Setup::Script { .. } => None,
    });
    let queries = program.audit.queries().into_iter().map(|(_, sql)| sql);
    let invariants = program.audit.invariants.iter().map(|invariant| invariant.query.sql.clone());

    steps.chain(setup).chain(queries).chain(invariants)
}

/// The SQLite file that was asked for, where it is not there: an empty one, as `run` begins
/// with. It goes again unless it is kept.
fn created_file(args: &ExploreArgs) -> Result<Option<TempPath>> {
    let Some(url) = args.database.database_url.as_deref().filter(|_| args.database.lab.is_none()) else {
        return Ok(None);
    };
    let Some(file) = DatabaseUrl::asked_for(url).ok().and_then(|url| url.file()) else { return Ok(None) };
    match File::create_new(&file) {
        Ok(_) => Ok(Some(TempPath::try_from_path(std::path::absolute(&file)?)?)),
        // It is there, or there is no place for it: opening it tells.
        Err(_) => Ok(None),
    }
}

/// The database that the scratch is made beside: without one, a file that nobody
/// else knows.
async fn open_beside(args: &ExploreArgs) -> Result<(Opened, Option<TempDir>)> {
    let mut beside = args.database.clone();
    let mut folder = None;
    if beside.database_url.is_none() && beside.lab.is_none() {
        let made = tempfile::Builder::new().prefix(Scratch::NAME).tempdir()?;
        let file = made.path().join("empty.db");
        std::fs::write(&file, "")?;
        beside.database_url = Some(format!("sqlite:{}", file.display()));
        folder = Some(made);
    }
    // Read only: an SQLite file would be switched to another journal.
    let mut opened = open(&beside, &SessionSettings::READ_ONLY, Purpose::Look).await?;
    check_no_pooler(&opened.database, "an exploration")?;
    if folder.is_some() {
        opened.database.info.embedded_default = true;
        "a file of its own".clone_into(&mut opened.database.info.url_redacted);
    }
    Ok((opened, folder))
}

fn compile(args: &ExploreArgs, strategy: &Strategy, database: &Database) -> Result<Program> {
    let params: BTreeMap<String, i64> = args.param.iter().cloned().collect();
    check_params(&params, [strategy]).map_err(usage)?;
    let setting = Setting { dialect: database.dialect(), services: BTreeMap::new(), params };
    let mut program = strategy.compile(&setting).map_err(usage)?;
    for name in &args.flow {
        let known = || program.flows.iter().map(|flow| flow.program.name.as_str());
        if !known().any(|known| known == name) {
            let suggestion = text::did_you_mean(name, known());
            return Err(usage(format!("{} has no background program `{name}`{suggestion}", program.name)));
        }
    }
    program.flows.retain(|flow| args.flow.is_empty() || args.flow.contains(&flow.program.name));
    match why_not(&program) {
        Some(why) => Err(usage(why)),
        None => Ok(program),
    }
}

/// What the clients' sessions are opened with; the database is asked again what
/// they get.
async fn settings(args: &ExploreArgs, program: &Program, database: &mut Database) -> Result<SessionSettings> {
    check_isolation(program, args.isolation, database.dialect())?;
    let is_sqlite = database.dialect() == Dialect::Sqlite;
    let isolation = program.isolation.or(args.isolation);
    if isolation.is_some() {
        let level = SessionSettings { isolation, ..SessionSettings::default() };
        let shown = database.info.url_redacted.clone();
        database.reread(&level).await?;
        database.info.url_redacted = shown;
    }
    Ok(SessionSettings {
        isolation,
        // SQLite is asked again instead of waiting.
        lock_timeout: is_sqlite.then_some(Duration::ZERO),
        ..SessionSettings::default()
    })
}

/// A table of the user's, of which a copy is made.
struct Foreign {
    name: String,
    is_large: bool,
}

/// Tables that are not our own and are there: the exploration works on copies.
async fn foreign_tables(program: &Program, database: &Database) -> Result<Vec<Foreign>> {
    let mut names = TableNames::default();
    for sql in statements(program) {
        names.access_of(&sql, database.dialect());
    }
    let mut session = database.open(&SessionSettings::READ_ONLY).await?;
    let mut foreign = Vec::new();
    // DUAL stands for no table at all.
    let is_ours = |name: &String| name.starts_with(PREFIX) || name == "dual";
    let mut waiting: VecDeque<String> = names.names().iter().filter(|name| !is_ours(name)).cloned().collect();
    while let Some(name) = waiting.pop_front() {
        if foreign.iter().any(|known: &Foreign| known.name == name) {
            continue;
        }
        // What is no table there is a name that the statement makes itself, or an
        // error that the database will tell better.
        let is_there =
            session.for_each_row(&format!("SELECT 1 FROM {name} WHERE 1 = 0"), &mut |_| Ok(())).await;
        if is_there.is_err() {
            continue;
        }
        let is_large = scratch::is_large(session.as_mut(), &name).await?;
        let is_named = names.names().contains(&name);
        if is_large && !is_named {
            // What needs it is left behind, and said.
            continue;
        }
        for attachment in attachments(session.as_mut(), database.dialect(), &name).await? {
            waiting.extend(attachment.needs.into_iter().filter(|needed| !is_ours(needed)));
        }
        foreign.push(Foreign { name, is_large });
    }
    session.close().await;
    Ok(foreign)
}

/// What is copied of the user's tables: all their rows, or of large ones those of
/// the SKUs that are ordered.
async fn copies(
    scope: Scope,
    program: &Program,
    database: &Database,
    foreign: &[Foreign],
) -> Result<Vec<(String, Option<String>)>> {
    let mut skus: Vec<String> = Vec::new();
    if foreign.iter().any(|table| table.is_large) {
        let mut session = database.open(&SessionSettings::READ_ONLY).await?;
        let lines = lines(scope, program, session.as_mut(), true).await;
        session.close().await;
        skus = lines?.iter().flatten().map(|line| line.sku_id.to_string()).collect();
        skus.sort_unstable();
        skus.dedup();
    }
    let copy = |Foreign { name, is_large }: &Foreign| {
        if !is_large {
            return Ok((name.clone(), None));
        }
        let column = sku_column(program, name, database.dialect()).with_context(|| {
            format!(
                "{name} has more than {} rows, and no statement of {} compares a column of it with :sku_id: which \
                 of them are needed cannot be told, so explore on a database with a few",
                scratch::ROWS_MAX,
                program.name
            )
        })?;
        Ok((name.clone(), Some(format!("{column} IN ({})", skus.join(", ")))))
    };
    foreign.iter().map(copy).collect()
}

/// A scratch with its tables.
struct Made {
    run: RunRow,
    /// What brings the tables back to where they began.
    reset: String,
    attached: Attached,
}

/// Fills a scratch: our tables, copies of the user's with what hangs on them, what the
/// strategy makes.
async fn make_tables(
    scope: Scope,
    program: &Program,
    scratch: &Scratch,
    (copies, attachments): (&[(String, Option<String>)], &[Attachment]),
) -> Result<Made> {
    let database = &scratch.database;
    schema::migrate(database).await?;
    let seed = Seed { sku_ids: SkuIds::UpTo(scope.lines.into()), stock: scope.stock.into() };
    schema::seed(database, &seed).await?;
    for (table, condition) in copies {
        scratch.copy(table, condition.as_deref()).await?;
    }
    let names: Vec<String> = copies.iter().map(|(table, _)| table.clone()).collect();
    let attached = scratch.attach(attachments, &names).await?;
    let mut session = database.open(&SessionSettings::default()).await?;
    for setup in &program.setup {
        if let Setup::Sql { sql, .. } = setup {
            let made = schema::run_setup(session.as_mut(), database.dialect(), sql).await;
            made.with_context(|| format!("{}: a setup statement failed", program.name))?;
        }
    }
    let audit = serde_json::to_string(&program.audit)?;
    let run = schema::register_run(session.as_mut(), database.dialect(), &program.name, audit).await?;
    session.close().await;
    let reset = scratch.remember(&attached).await?;
    Ok(Made { run, reset, attached })
}

async fn verify(program: &mut Program, control: &mut dyn Session) -> Result<()> {
    let mut checker = Checker { control, sessions: BTreeMap::new() };
    checker.program(program).await?;
    checker.audit(&program.name, &program.audit).await?;
    if !program.is_built_in() {
        checker.bounds(program, 0).await?;
    }
    checker.is_read(std::slice::from_ref(program), &program.audit, program.dialect).await
}

/// What each client orders: of our own tables the first SKUs, of the user's the
/// first that are in stock.
async fn lines(
    scope: Scope,
    program: &Program,
    session: &mut dyn Session,
    is_foreign: bool,
) -> Result<Vec<Vec<Line>>> {
    let source = Source { reads: program.audit.clone(), run_id: 0, services: BTreeMap::new() };
    let mut stock = audit::stock(session, &source).await?;
    stock.retain(|(_, units)| !is_foreign || *units > 0);
    if stock.len() < usize::from(scope.lines) {
        bail!(
            "only {} in stock to order from: the tables need a few rows",
            text::count(stock.len() as u64, "SKU")
        );
    }
    let line = |(sku_id, units): &(i64, i64)| {
        let all = if is_foreign { *units } else { 1 };
        Line { sku_id: *sku_id, quantity: scope.quantity.map_or(all, i64::from) }
    };
    let sorted: Vec<Line> = stock.iter().take(scope.lines.into()).map(line).collect();
    let of_client = |client: u8| {
        let mut lines = sorted.clone();
        if scope.is_opposite && client % 2 == 1 {
            lines.reverse();
        }
        lines
    };
    Ok((0..scope.clients).map(of_client).collect())
}

fn problem(
    (args, scope): (&ExploreArgs, Scope),
    program: Program,
    database: &Database,
    run: &RunRow,
    lines: Vec<Vec<Line>>,
    is_foreign: bool,
) -> Result<Problem> {
    let level = Isolation::value_variants().iter().find(|level| level.as_str() == database.info.isolation);
    let level =
        level.copied().with_context(|| format!("{} is no isolation level", database.info.isolation))?;
    let source = Source { reads: program.audit.clone(), run_id: run.id, services: BTreeMap::new() };
    let concurrency = Concurrency::of(&program, database.dialect(), level);
    let mut problem = Problem::new(program, lines, concurrency, source, args.random_seed);
    if scope.same_order {
        problem = problem.with_same_order();
    }
    problem.tries = args.max_tries.unwrap_or(problem.tries);
    problem.crashes = usize::from(scope.crashes);
    if args.no_reduce {
        problem = problem.without_reduction();
    }
    problem.first_serial = if is_foreign { FOREIGN_SERIAL } else { 0 };
    Ok(problem)
}

fn report(
    args: &ExploreArgs,
    database: &Database,
    found: Found,
    searches: Vec<Search>,
    not_covered: Vec<String>,
) -> Result<Exit> {
    let Found { scope, explored, problem, start } = found;
    let config = Config {
        clients: scope.clients,
        same_order: scope.same_order,
        flows: problem.program.flows.iter().map(|flow| flow.program.name.clone()).collect(),
        orders: problem.lines.iter().map(|lines| lines.iter().map(explored::line).collect()).collect(),
        stock: scope.stock,
        max_tries: problem.tries,
        crashes: scope.crashes,
        reduced: problem.reduce,
        random_seed: args.random_seed,
        params: args.param.iter().cloned().collect(),
        max_schedules: args.max_schedules,
        sample: args.sample,
        schedule: args.schedule.as_ref().map(ToString::to_string),
        without_transactions: problem.without_transactions.clone(),
    };
    let mut report = ExploreReport::new(&problem, database.info.clone(), config, explored);
    report.searches = searches;
    report.not_covered.extend(not_covered);
    let json = report.to_json()?;
    if let Some(path) = &args.json {
        write_whole(path, json.as_bytes())?;
    }
    to_stdout(|out| match (args.emit, args.output) {
        (Some(_), _) => out.write_all(report.script(&problem, &start).as_bytes()),
        (None, Output::Table) => explored::print(out, &report),
        (None, Output::Json) => out.write_all(json.as_bytes()),
    })?;
    Ok(report.exit())
}
