//! The whole catalogue and every scenario, on every database: what is expected
//! of each, what the audit found, and the verdict.
//!
//! `make catalogue` keeps the table as docs/catalogue.md; STOCKBENCH_ROUNDS
//! says how often every cell is run.

use crate::support::{Backend, Place, place};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use stockbench::db::Dialect;
use stockbench::finding::{ExpectedFinding, FindingKind};
use stockbench::scenario::{SHIPPED, Scenario};
use stockbench::strategy::{Safety, Strategy, catalogue};

const BACKENDS: [(Backend, Dialect); 4] = [
    (Backend::Postgres, Dialect::Postgres),
    (Backend::MySql, Dialect::MySql),
    (Backend::MariaDb, Dialect::MariaDb),
    (Backend::Sqlite, Dialect::Sqlite),
];

/// What a run on one database came to; nothing where it cannot run.
type Cell = Option<Result<String, Wrong>>;

/// What is not as expected.
struct Wrong {
    /// Whether what was expected did not happen, and nothing else is wrong.
    is_missed: bool,
    why: String,
}

impl Wrong {
    fn new(why: String) -> Self {
        Self { is_missed: false, why }
    }
}

fn rounds() -> u32 {
    std::env::var("STOCKBENCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

/// Runs every row on every database, the databases side by side.
fn table(
    rows: &[&'static str],
    cell: impl Fn(&'static str, &Place, Dialect) -> Cell + Sync,
) -> Vec<Vec<Cell>> {
    let column = |(backend, dialect): (Backend, Dialect)| -> Vec<Cell> {
        let Some(place) = place(backend) else { return rows.iter().map(|_| None).collect() };
        let rounds = 0..rounds();
        rows.iter()
            .map(|row| rounds.clone().map(|_| cell(row, &place, dialect)).reduce(worse).flatten())
            .collect()
    };
    std::thread::scope(|scope| {
        let columns = BACKENDS.map(|backend| scope.spawn(move || column(backend)));
        columns.map(|column| column.join().unwrap()).into()
    })
}

fn worse(one: Cell, other: Cell) -> Cell {
    if matches!(one, Some(Err(_))) { one } else { other }
}

fn judge(
    place: &Place,
    arguments: &[&str],
    want: ExpectedFinding,
    code: i32,
) -> (Result<String, Wrong>, Value) {
    let (exit, report) = place.run(arguments);
    let found = report["audit"]["findings_by_kind"].as_object().cloned().unwrap_or_default();
    let as_wanted = match want {
        ExpectedFinding::Nothing => found.is_empty(),
        ExpectedFinding::Kind(kind) => found.contains_key(kind.as_str()),
    };
    let also: Vec<&str> = found.keys().map(String::as_str).filter(|kind| *kind != want.as_str()).collect();
    let found = match (as_wanted, also.is_empty()) {
        (true, true) => want.as_str().to_owned(),
        (true, false) => format!("{} (also {})", want.as_str(), also.join(", ")),
        (false, _) => also.join(", "),
    };
    let is_met = as_wanted && exit == code;
    let cell = if is_met {
        Ok(found)
    } else {
        // The gist in one line, before the whole.
        let gist = ["outcomes", "errors", "expectation", "lost_server", "audit_error"]
            .map(|key| report[key].to_string())
            .join(" ");
        let is_missed = want != ExpectedFinding::Nothing && found.is_empty();
        let want = want.as_str();
        let why =
            format!("expected {want} and exit {code}, found {found} and exit {exit}: {gist}: {report:#}");
        Err(Wrong { is_missed, why })
    };
    (cell, report)
}

/// What goes wrong by chance need not do so in the first run: on a machine that is busy
/// enough nobody gets in between.
const RUNS_TO_CATCH: u32 = 3;

/// A strategy that is not safe must be caught within a few runs. Whatever else is wrong
/// is wrong at once.
fn strategy_cell(name: &str, place: &Place, dialect: Dialect) -> Cell {
    let file = Strategy::load(name).unwrap().file;
    if file.refused.get(dialect).is_some() {
        return None;
    }
    let want = file.expect.audit.on(&place.info());
    Some(caught(|| one_run(name, place, dialect, want)))
}

fn caught(one_run: impl Fn() -> Result<String, Wrong>) -> Result<String, Wrong> {
    let mut cell = one_run();
    for run in 2..=RUNS_TO_CATCH {
        if cell.as_ref().is_err_and(|wrong| wrong.is_missed) {
            cell = one_run().map(|found| format!("{found}, in run {run}"));
        }
    }
    cell
}

fn one_run(name: &str, place: &Place, dialect: Dialect, want: ExpectedFinding) -> Result<String, Wrong> {
    let file = Strategy::load(name).unwrap().file;
    let code = if want == ExpectedFinding::Nothing { 0 } else { 3 };
    let history = place.path("answers.csv").display().to_string();
    let (cell, report) = judge(place, &["-s", name, "--history", &history], want, code);
    let cell = cell.and_then(|found| {
        // With the times of the answers the audit knows more, and of a sound
        // run nothing else.
        let later = place.stockbench(&["audit", "--history", &history, "-o", "json"]);
        let asks_for_services = later.code == 1 && later.stderr.contains("name it with --service");
        // What only the run itself can know is not in the file.
        let is_of_the_run = want == ExpectedFinding::Kind(FindingKind::FutileRetry);
        let is_same = later.code == code || asks_for_services || is_of_the_run;
        if is_same { Ok(found) } else { Err(Wrong::new(format!("with its history: {later:?}"))) }
    });
    if !file.expect.deadlocks.contains(&dialect) {
        return cell;
    }
    let deadlocks = report["deadlocks"].as_u64().unwrap();
    match cell {
        Ok(found) if deadlocks > 0 => Ok(format!("{found}; deadlocks")),
        Ok(_) => {
            let why = format!("expected deadlocks and met {}: {report:#}", report["errors"]);
            Err(Wrong { is_missed: true, why })
        }
        error => error,
    }
}

fn scenario_cell(name: &str, place: &Place, dialect: Dialect) -> Cell {
    let scenario = Scenario::load(name).unwrap();
    if !scenario.databases.is_empty() && !scenario.databases.contains(&dialect) {
        return None;
    }
    let want = scenario.expect.audit.on(&place.info());
    Some(caught(|| judge(place, &["--scenario", name], want, 0).0))
}

fn markdown(heading: &str, rows: &[(String, String)], columns: &[Vec<Cell>]) -> String {
    let mut text = format!("| {heading} | |");
    for (_, dialect) in BACKENDS {
        write!(text, " {} |", dialect.title()).unwrap();
    }
    text.push_str("\n|---|---|---|---|---|---|\n");
    for (index, (name, note)) in rows.iter().enumerate() {
        write!(text, "| `{name}` | {note} |").unwrap();
        for column in columns {
            let cell = match &column[index] {
                None => "–".to_owned(),
                Some(Ok(found)) => format!("✓ {found}"),
                Some(Err(_)) => "✗".to_owned(),
            };
            write!(text, " {cell} |").unwrap();
        }
        text.push('\n');
    }
    text
}

/// Characters of what is wrong with a cell that stand beneath the table.
const GIST: usize = 1_500;

/// Prints a table, keeps it when asked to, and fails with every cell that is
/// not as expected.
fn report(part: &str, names: &[&str], text: &str, columns: &[Vec<Cell>]) {
    if let Some(folder) = std::env::var_os("STOCKBENCH_WRITE_CATALOGUE") {
        std::fs::write(std::path::Path::new(&folder).join(format!("{part}.md")), text).unwrap();
    }
    let mut wrong = String::new();
    for ((_, dialect), column) in BACKENDS.iter().zip(columns) {
        for (name, cell) in names.iter().zip(column) {
            if let Some(Err(Wrong { why, .. })) = cell {
                writeln!(wrong, "{name} on {dialect}: {why}").unwrap();
            }
        }
    }
    // Past the test runner, which keeps what passes quiet, with the gist of what is
    // wrong beneath it: a log may be cut before the whole.
    let gist =
        wrong.lines().filter(|line| line.contains(": expected ") || line.contains(": with its history: "));
    let gist: String = gist.map(|line| line.chars().take(GIST).chain(['\n']).collect::<String>()).collect();
    std::io::stdout().write_all(format!("\n{text}\n{gist}").as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_strategy_is_judged_as_its_file_says() {
    let names: Vec<&'static str> = catalogue::names().collect();
    let columns = table(&names, strategy_cell);
    let row = |name: &&str| {
        let file = Strategy::load(name).unwrap().file;
        let safety = if file.safety == Some(Safety::Safe) { "safe" } else { "unsafe" };
        let but = if file.safety == Some(Safety::Safe) { "; unsafe " } else { ": " };
        let note = file.safety_note.map_or_else(String::new, |note| format!("{but}{note}"));
        let on_nodes =
            file.several_nodes.map_or_else(String::new, |safety| format!("; {safety} on several nodes"));
        ((*name).to_owned(), format!("{safety}{note}{on_nodes}"))
    };
    let rows: Vec<(String, String)> = names.iter().map(row).collect();
    report("strategies", &names, &markdown("strategy", &rows, &columns), &columns);
}

#[test]
fn every_scenario_comes_out_as_it_says() {
    let names: Vec<&'static str> = SHIPPED.iter().map(|(name, _)| *name).collect();
    let columns = table(&names, scenario_cell);
    let row = |name: &&str| ((*name).to_owned(), Scenario::load(name).unwrap().summary);
    let rows: Vec<(String, String)> = names.iter().map(row).collect();
    report("scenarios", &names, &markdown("scenario", &rows, &columns), &columns);
}
