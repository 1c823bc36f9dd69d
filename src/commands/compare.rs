//! `stockbench compare`: several strategies under the same loads, round after round.

use super::files::Files;
use super::open::{Opened, Purpose, open};
use super::run::{Beside, measure};
use super::{stop_on_signal, to_stdout, write_whole};
use crate::cli::{CompareArgs, CompareOutput, DatabaseArgs, RunArgs};
use crate::compare::journal::{self, Journal, Servers};
use crate::compare::judge::{CalledUnsafe, CameTo, Figures, Sample};
use crate::compare::matrix::{Cell, Matrix};
use crate::db::url::EMBEDDED_DEFAULT;
use crate::db::{DatabaseUrl, SessionSettings};
use crate::engine::stop::Stop;
use crate::exit::{Exit, UsageError, usage};
use crate::lab::{LabKind, LabSpec};
use crate::load::LoadArgs;
use crate::outcome::Outcome;
use crate::report::compared::{self, CompareReport};
use crate::report::progress::{Progress, time_left};
use crate::report::{Document, Report, page, terminal};
use crate::scenario::{self, Asked, Plan};
use crate::strategy::{Safety, Strategy};
use crate::text;
use anyhow::Result;
use rand::RngExt;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// Units of stock in all, where nobody says how many: more than a cell can sell.
const UNITS_IN_ALL: u64 = 2_000_000;

/// One database of the matrix, open for as long as the comparison goes on.
struct Place {
    label: String,
    opened: Opened,
}

pub(super) async fn compare(args: CompareArgs) -> Result<Exit> {
    Files::default()
        .writes("--json", args.json.as_ref())
        .writes("--html", args.html.as_ref())
        .writes("--journal", args.journal.as_ref())
        .reads_database(&database_args(&args, args.lab.first().cloned()))
        .reads_named("the strategy", args.strategy.iter().map(String::as_str))
        .check()?;
    let strategies = strategies(&args.strategy)?;
    let matrix = matrix(&args, &strategies)?;
    for cell in matrix.cells().iter().filter(|cell| cell.round == 1) {
        plan(&args, cell)?;
    }
    let opened = args.journal.as_deref().map(|path| Journal::open(path, &matrix)).transpose();
    let (mut journal, samples) = opened.map_err(bad_journal)?.unzip();
    let mut samples = samples.unwrap_or_default();

    let places = places(&args).await?;
    if let Some(journal) = &mut journal {
        journal.begin(&matrix, servers(&places)).map_err(bad_journal)?;
    }
    measure_all(&args, &matrix, &places, &mut journal, &mut samples).await?;

    let databases =
        places.iter().map(|place| (place.label.clone(), place.opened.database.info.clone())).collect();
    let called_unsafe = called_unsafe(&strategies, &places);
    let controls =
        strategies.iter().filter_map(|strategy| Some((strategy.name.clone(), strategy.file.control?)));
    let mut report = CompareReport::new(matrix, samples, &called_unsafe, &controls.collect(), databases);
    report.judged_at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let rendered = report.to_json()?;
    let json = args.json.as_deref().map_or(Ok(()), |path| write_whole(path, rendered.as_bytes()));
    let html = match &args.html {
        Some(path) => write_whole(path, page::comparison(&report)?.as_bytes()),
        None => Ok(()),
    };
    to_stdout(|out| match args.output {
        CompareOutput::Json => out.write_all(rendered.as_bytes()),
        CompareOutput::Table => compared::terminal(out, &report),
        CompareOutput::Markdown => compared::markdown(out, &report),
    })?;
    json.and(html)?;
    Ok(report.exit())
}

/// Makes the runs that are missing, until somebody stops it.
async fn measure_all(
    args: &CompareArgs,
    matrix: &Matrix,
    places: &[Place],
    journal: &mut Option<Journal>,
    samples: &mut Vec<Sample>,
) -> Result<()> {
    let stop = Stop::default();
    let signals = tokio::spawn(stop_on_signal(stop.clone(), "ending the run that has begun"));
    let cells = matrix.cells();
    let left: Vec<&Cell> =
        cells.iter().filter(|cell| samples.iter().all(|sample| sample.cell != **cell)).collect();
    let progress = Progress::preparing("comparing");
    let mut taken = Vec::new();
    for (number, cell) in left.iter().enumerate() {
        let (done, of) = (number as u64, left.len() as u64);
        let time_left = time_left(of - done, &taken, args.warmup + args.duration);
        progress.show_steps(&in_words(cell), (done, of), time_left);
        let begun = Instant::now();
        let came_to = match changed(matrix, &cell.strategy) {
            Some(changed) => CameTo::Undecided(changed),
            None => Box::pin(came_to(args, cell, places, &stop)).await,
        };
        // What was interrupted was not measured.
        if stop.is_asked() {
            break;
        }
        // What was refused took no time, and says nothing of what is left.
        if matches!(came_to, CameTo::Measured(_)) {
            taken.push(begun.elapsed());
        }
        let sample = Sample { cell: (*cell).clone(), came_to };
        if let Some(journal) = journal {
            journal.keep(&sample)?;
        }
        samples.push(sample);
    }
    progress.finish();
    signals.abort();
    Ok(())
}

/// A file that is no journal of this comparison is a bad file; one that cannot be written is as
/// any other that cannot.
fn bad_journal(error: anyhow::Error) -> anyhow::Error {
    if error.root_cause().is::<io::Error>() { error } else { usage(format!("{error:#}")) }
}

/// What the databases must still be for a journal to go on.
fn servers(places: &[Place]) -> Servers {
    let server = |place: &Place| {
        let info = &place.opened.database.info;
        let (kind, durable) = (info.kind.title(), info.durability());
        (place.label.clone(), format!("{kind} {}, isolation {}, {durable}", info.version, info.isolation))
    };
    places.iter().map(server).collect()
}

/// Who is unsafe by its own word, on one node or on several.
fn called_unsafe(strategies: &[Strategy], places: &[Place]) -> CalledUnsafe {
    let mut called_unsafe = CalledUnsafe::new();
    for Place { label, opened } in places {
        let info = &opened.database.info;
        let on_several = info.nodes > 1 && info.single_primary() != Some(true);
        for Strategy { name, file, .. } in strategies {
            let safety = file.several_nodes.filter(|_| on_several).or(file.safety);
            if safety == Some(Safety::Unsafe) {
                called_unsafe.insert((label.clone(), name.clone()));
            }
        }
    }
    called_unsafe
}

/// In their order, each once.
fn sorted<T: Ord>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    values.into_iter().collect::<BTreeSet<T>>().into_iter().collect()
}

fn strategies(names: &[String]) -> Result<Vec<Strategy>> {
    let mut strategies: Vec<Strategy> = Vec::new();
    for name in names {
        let strategy = Strategy::load(name).map_err(|error| usage(format!("{error:#}")))?;
        if strategies.iter().any(|known| known.name == strategy.name) {
            return Err(usage(format!("--strategy names {name} twice")));
        }
        strategies.push(strategy);
    }
    Ok(strategies)
}

fn matrix(args: &CompareArgs, strategies: &[Strategy]) -> Result<Matrix> {
    let journaled = args.journal.as_deref().map(journal::seed_of).transpose();
    let journaled = journaled.map_err(bad_journal)?.flatten();
    if args.lab.iter().any(|lab| lab.kind == LabKind::Redis) {
        return Err(usage("--lab redis holds no stock: use postgres, mysql or mariadb"));
    }
    let databases = match (&args.lab[..], &args.database_url) {
        ([], None) => vec![EMBEDDED_DEFAULT.to_owned()],
        ([], Some(url)) => {
            let url = DatabaseUrl::asked_for(url).map_err(|error| usage(format!("{error:#}")))?;
            vec![url.to_string()]
        }
        (labs, _) => labs.iter().map(LabSpec::to_string).collect(),
    };
    if sorted(&databases).len() < databases.len() {
        return Err(usage("--lab names a server twice"));
    }
    let micros = |rtt: &Duration| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
    let in_words = |duration: Duration| humantime::format_duration(duration).to_string();
    let mut load = BTreeMap::from([
        ("duration", in_words(args.duration)),
        ("warmup", in_words(args.warmup)),
        ("think", in_words(args.think)),
        ("dist", args.dist.to_string()),
    ]);
    load.extend(args.stock.map(|stock| ("stock", stock.to_string())));
    load.extend(args.connections.map(|connections| ("connections", connections.to_string())));
    load.extend(args.isolation.map(|isolation| ("isolation", isolation.as_str().to_owned())));
    Ok(Matrix {
        strategies: strategies.iter().map(|strategy| strategy.name.clone()).collect(),
        databases,
        skus: sorted(args.contention.iter().copied()),
        rtt_us: sorted(args.rtt.iter().map(micros)),
        concurrency: sorted(args.concurrency.iter().copied()),
        rounds: args.rounds,
        load: load.into_iter().map(|(flag, value)| (flag.to_owned(), value)).collect(),
        files: strategies.iter().map(|strategy| (strategy.name.clone(), strategy.text.clone())).collect(),
        random_seed: args
            .random_seed
            .or(journaled)
            .unwrap_or_else(|| rand::rng().random_range(1..1_000_000_000)),
    })
}

/// The database of the URL, or a lab server.
fn database_args(args: &CompareArgs, lab: Option<LabSpec>) -> DatabaseArgs {
    DatabaseArgs {
        database_url: args.database_url.clone().filter(|_| lab.is_none()),
        lab,
        lab_async_commit: false,
        wait_for_db: args.wait_for_db,
        url_files: args.url_files.clone(),
    }
}

/// Opens every database of the matrix, one after the other.
async fn places(args: &CompareArgs) -> Result<Vec<Place>> {
    let labs: Vec<Option<LabSpec>> =
        if args.lab.is_empty() { vec![None] } else { args.lab.iter().cloned().map(Some).collect() };
    let mut places = Vec::new();
    for lab in labs {
        let label = lab.as_ref().map(LabSpec::to_string);
        let database = database_args(args, lab);
        let settings = SessionSettings { isolation: args.isolation, ..SessionSettings::default() };
        let opened = open(&database, &settings, Purpose::Load).await?;
        let label = label.unwrap_or_else(|| opened.database.url().to_string());
        places.push(Place { label, opened });
    }
    Ok(places)
}

/// What a cell is run with: exactly what the matrix says, whatever the strategy's file
/// wishes for itself.
fn plan(args: &CompareArgs, cell: &Cell) -> Result<Plan> {
    let in_all = UNITS_IN_ALL.div_ceil(cell.setting.skus);
    let load = LoadArgs {
        concurrency: Some(cell.setting.concurrency),
        duration: Some(args.duration),
        warmup: Some(args.warmup).filter(|warmup| !warmup.is_zero()),
        connections: args.connections,
        rtt: Some(Duration::from_micros(cell.setting.rtt_us)),
        think: Some(args.think),
        isolation: args.isolation,
        skus: Some(cell.setting.skus),
        stock: args.stock.or_else(|| u32::try_from(in_all).ok()),
        dist: Some(args.dist),
        random_seed: Some(cell.random_seed),
        ..LoadArgs::default()
    };
    let (params, thresholds) = (BTreeMap::new(), Vec::new());
    let strategy = Some(cell.strategy.as_str());
    scenario::resolve(
        &Asked { strategy, load: &load, params: &params, thresholds: &thresholds, as_it_is: true },
        None,
    )
}

/// A file that is another one than when the comparison began is not of it.
fn changed(matrix: &Matrix, strategy: &str) -> Option<String> {
    let text = matrix.files.get(strategy)?;
    let is_same = Strategy::load(strategy).is_ok_and(|now| now.text == *text);
    (!is_same).then(|| format!("{strategy} was changed during the comparison"))
}

/// Runs one cell.
async fn came_to(args: &CompareArgs, cell: &Cell, places: &[Place], stop: &Stop) -> CameTo {
    let undecided = |error: anyhow::Error| match error.downcast_ref::<UsageError>() {
        Some(refused) => CameTo::Refused(text::one_line(&refused.to_string())),
        None => CameTo::Undecided(text::one_line(&format!("{error:#}"))),
    };
    let Some(place) = places.iter().find(|place| place.label == cell.setting.database) else {
        return CameTo::Undecided(format!("there is no database {}", cell.setting.database));
    };
    let run = RunArgs {
        redis_url: args.redis_url.clone(),
        allow_writes: args.allow_writes.clone(),
        ..RunArgs::default()
    };
    let mut plan = match plan(args, cell) {
        Ok(plan) => plan,
        Err(error) => return undecided(error),
    };
    let mut opened = Opened { database: place.opened.database.clone(), lab: place.opened.lab.clone() };
    match measure(&run, &mut plan, &mut opened, Beside { of_many: Some(stop), baseline: None }).await {
        Ok(report) => figures(&report),
        Err(error) => undecided(error),
    }
}

fn figures(report: &Report) -> CameTo {
    let measured = &report.measured;
    let Some(audit) = &report.audit else {
        return CameTo::Undecided(report.audit_error.clone().unwrap_or_default());
    };
    if report.exit() == Exit::CouldNot {
        return CameTo::Undecided(why(report));
    }
    let sold = measured.latency_us.order.get(&Outcome::Deducted).cloned().unwrap_or_default();
    CameTo::Measured(Figures {
        goodput_per_s: measured.goodput.orders_per_s,
        p50_us: sold.p50,
        p99_us: sold.p99,
        conflict_rate: measured.conflict_rate,
        retries_per_order: measured.retries_per_order.mean,
        wrong_units: audit.oversold_units.max(audit.lost_update_units + audit.missing_entry_units),
        sold_out: measured.count(Outcome::SoldOut),
        given_up: measured.given_up,
        units_left: audit.units_left(),
        findings: audit.findings_by_kind.clone(),
    })
}

/// Why a run could not be judged.
fn why(report: &Report) -> String {
    let why = terminal::verdict(report).pop().unwrap_or_default();
    let met: Vec<String> =
        report.measured.errors.iter().map(|(code, count)| format!("{code} {count} times")).collect();
    if met.is_empty() { why } else { format!("{why} (met: {})", met.join(", ")) }
}

/// What is being run, for the progress line.
fn in_words(cell: &Cell) -> String {
    let setting = &cell.setting;
    format!(
        "round {}: {} on {}, {}, {}",
        cell.round,
        cell.strategy,
        setting.database,
        text::count(setting.skus, "SKU"),
        text::count(setting.concurrency, "client")
    )
}
