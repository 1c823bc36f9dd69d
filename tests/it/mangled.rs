//! Bad input by the hundred: files that were right once, with pieces cut out,
//! doubled, swapped and replaced. Whatever comes of it, nothing panics, nothing
//! hangs, and what is refused is refused in one line.
//!
//! The corpus is what ships (strategies, scenarios) and the few files in
//! `tests/corpus`. Most inputs go to the library's readers; some go to the binary, which
//! must also choose the right exit code. `make fuzz` tries many more, from another seed.

use crate::support::{Backend, output, place};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use stockbench::audit::tables::mapping::Mapping;
use stockbench::db::{DatabaseUrl, Dialect};
use stockbench::engine::history::History;
use stockbench::explore::Schedule;
use stockbench::fault::FaultSpec;
use stockbench::report::threshold::Threshold;
use stockbench::scenario::Scenario;
use stockbench::strategy::{Strategy as Deduction, StrategyFile};
use stockbench::workload::Replay;

/// Inputs of each kind, unless `STOCKBENCH_MANGLED` says how many.
const CASES: u32 = 400;

/// The binary is tried with one in so many.
const BINARY_SHARE: u32 = 8;

/// How long the binary may take for one input, in seconds.
const BINARY_PATIENCE_S: &str = "60";

fn number_in(variable: &str) -> Option<u32> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn cases() -> u32 {
    number_in("STOCKBENCH_MANGLED").unwrap_or(CASES)
}

/// The same inputs every time, unless `STOCKBENCH_MANGLED_SEED` names others.
fn rng() -> TestRng {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&number_in("STOCKBENCH_MANGLED_SEED").unwrap_or(0).to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
}

/// What is put into a text: what parsers stumble over.
const PIECES: [&str; 24] = [
    "",
    " ",
    "\n",
    "\r",
    "\"",
    "'",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ":",
    "@",
    "%",
    "-1",
    "0",
    "1e400",
    "9223372036854775808",
    "NaN",
    "\u{0}",
    "\u{feff}",
    "Ünïcödé 🛒",
    "'; DROP TABLE stockbench_sku; --",
];

/// One change to a text, at places that are chosen when its length is known.
#[derive(Debug, Clone)]
enum Change {
    Cut(Index, Index),
    Double(Index, Index),
    Insert(Index, &'static str),
    SwapLines(Index, Index),
    End(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    prop_oneof![
        (place(), place()).prop_map(|(from, to)| Change::Cut(from, to)),
        (place(), place()).prop_map(|(from, to)| Change::Double(from, to)),
        (place(), prop::sample::select(&PIECES[..])).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (place(), place()).prop_map(|(one, other)| Change::SwapLines(one, other)),
        place().prop_map(Change::End),
    ]
}

/// A short stretch of a text: at most 40 characters from the first place on.
fn stretch(text: &str, from: Index, length: Index) -> (usize, usize) {
    let borders: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let from = from.index(borders.len());
    let to = (from + length.index(40)).min(borders.len() - 1);
    (borders[from], borders[to])
}

fn changed(text: &str, change: &Change) -> String {
    match change {
        Change::Cut(from, length) => {
            let (from, to) = stretch(text, *from, *length);
            format!("{}{}", &text[..from], &text[to..])
        }
        Change::Double(from, length) => {
            let (from, to) = stretch(text, *from, *length);
            format!("{}{}{}", &text[..to], &text[from..to], &text[to..])
        }
        Change::Insert(at, piece) => {
            let (at, _) = stretch(text, *at, *at);
            format!("{}{piece}{}", &text[..at], &text[at..])
        }
        Change::SwapLines(one, other) => {
            let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
            if !lines.is_empty() {
                let (one, other) = (one.index(lines.len()), other.index(lines.len()));
                lines.swap(one, other);
            }
            lines.concat()
        }
        Change::End(at) => {
            let (at, _) = stretch(text, *at, *at);
            text[..at].to_owned()
        }
    }
}

/// Reads mangled texts, which are refused in one line or are still right.
#[track_caller]
fn mangle<T, E: Display>(what: &str, corpus: &[String], read: impl Fn(&str) -> Result<T, E>) {
    for text in corpus {
        assert!(read(text).is_ok(), "the corpus is right: {:#}\n{text}", read(text).err().unwrap());
    }
    let refused = mangle_each(what, corpus, cases(), |text| match read(text) {
        Ok(_) => Ok(false),
        Err(error) => {
            let line = format!("{error:#}");
            let is_line = !line.trim().is_empty() && line.lines().count() == 1;
            if is_line && !line.contains("panicked") { Ok(true) } else { Err(line) }
        }
    });
    assert!(refused > cases() / 20, "mangling hardly does anything: {refused} of {} were refused", cases());
}

/// Tries so many mangled texts; `read` tells whether one was refused, or what is wrong with
/// how it was. Returns how many were refused.
#[track_caller]
fn mangle_each(
    what: &str,
    corpus: &[String],
    cases: u32,
    read: impl Fn(&str) -> Result<bool, String>,
) -> u32 {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, rng());
    let refused = std::cell::Cell::new(0);
    let mangled = (prop::sample::select(corpus.to_vec()), prop::collection::vec(change(), 1..5));

    let outcome = runner.run(&mangled, |(text, changes)| {
        let text = changes.iter().fold(text, |text, change| changed(&text, change));
        match read(&text) {
            Ok(was_refused) => refused.set(refused.get() + u32::from(was_refused)),
            Err(wrong) => prop_assert!(false, "{wrong} for:\n{text}"),
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{what}: {error}");
    }
    if number_in("STOCKBENCH_MANGLED").is_some() {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{what}: {cases} inputs, {} refused", refused.get()).unwrap();
    }
    refused.get()
}

/// The same through the binary, by a command that takes the file's path last. It says no
/// more than one line of error, ends with one of these exit codes, and ends in time.
#[track_caller]
fn mangle_binary(what: &str, corpus: &[String], name: &str, arguments: &[&str], codes: &[i32]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let cases = (cases() / BINARY_SHARE).max(1);
    let refused = mangle_each(what, corpus, cases, |text| {
        std::fs::write(&path, text).unwrap();
        let mut command = Command::new("timeout");
        command.args(["--signal=KILL", BINARY_PATIENCE_S, env!("CARGO_BIN_EXE_stockbench")]);
        command.args(arguments).arg(&path).current_dir(folder.path()).stdin(Stdio::null());
        let said = output(command.env_remove("DATABASE_URL").env_remove("RUST_BACKTRACE"));

        let is_refused = [1, 2].contains(&said.code);
        let lines = said.stderr.lines().count();
        let is_one_line = lines == 1 && said.stderr.starts_with("stockbench: ");
        let is_right = codes.contains(&said.code) && (is_one_line || lines == 0);
        if is_right { Ok(is_refused) } else { Err(format!("{said:?}")) }
    });
    assert!(refused > 0, "nothing was refused");
}

fn files(folder: &str, extension: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{error}: {}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == extension)).collect();
    paths.sort();
    assert!(!paths.is_empty(), "nothing in {}", folder.display());
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

fn lines(of: &[&str]) -> Vec<String> {
    of.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn strategy_files() {
    mangle("strategies", &files("src/strategy/builtin", "toml"), |text| {
        let file = StrategyFile::parse("mine.toml", text)?;
        let strategy = Deduction { name: "mine.toml".to_owned(), text: text.to_owned(), file };
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::MariaDb, Dialect::Sqlite] {
            if strategy.file.refused.get(dialect).is_none() {
                strategy.compile(&dialect.into())?;
            }
        }
        anyhow::Ok(())
    });
}

#[test]
fn scenario_files() {
    mangle("scenarios", &files("scenarios", "toml"), |text| Scenario::parse("mine.toml", text));
}

#[test]
fn mapping_files() {
    mangle("mappings", &files("tests/corpus", "toml"), |text| Mapping::parse("stock.toml", text));
}

#[test]
fn order_files() {
    mangle("orders", &files("tests/corpus", "csv"), |text| Replay::parse("orders.csv", text.as_bytes()));
}

#[test]
fn history_files() {
    mangle("histories", &files("tests/corpus", "history"), |text| {
        History::parse("answers.history", text.as_bytes())
    });
}

#[test]
fn thresholds() {
    let corpus = [
        "p99 < 50ms",
        "oversold_units == 0",
        "conflict_rate < 0.3",
        "goodput.orders_per_s >= 1000",
        "latency_us.order.sold_out.p50 <= 2ms",
        "rate(late) < 1%",
    ];
    let right: Vec<String> =
        lines(&corpus).into_iter().filter(|line| line.parse::<Threshold>().is_ok()).collect();
    assert!(right.len() >= 4, "{right:?}");
    mangle("thresholds", &right, str::parse::<Threshold>);
}

#[test]
fn database_urls() {
    let corpus = [
        "postgres://me:secret@localhost:5432/shop?sslmode=require",
        "mysql://me@[::1]/shop",
        "mariadb://me:p%40ss@db.example.org:3307/shop?ssl-mode=VERIFY_IDENTITY",
        "sqlite:./shop.db",
    ];
    mangle("database URLs", &lines(&corpus), |text| {
        let url = DatabaseUrl::parse(text)?;
        // What is shown of it is asked for, too.
        anyhow::ensure!(
            !format!("{url} {:?} {}", url.address(), url.checks_host()).contains("secret"),
            "shown"
        );
        anyhow::Ok(())
    });
}

#[test]
fn faults_and_schedules() {
    let faults = [
        "fail@order:5%",
        "cut-after@*:1%",
        "kill-redis@500",
        "kill-server@5s/10s",
        "pause-server@1m/20s:3s",
        "add-latency@5s:1s+2ms",
    ];
    mangle("faults", &lines(&faults), str::parse::<FaultSpec>);
    mangle("schedules", &lines(&["1 1 2 2 1", "1,2,x1,2", "1 2 3 4 4 3 2 1"]), str::parse::<Schedule>);
}

/// Strategies that are SQL alone, and end soon.
fn plain_strategies() -> Vec<String> {
    let is_plain =
        |text: &String| !text.contains("redis") && !text.contains("[[flow") && !text.contains("[batch");
    files("src/strategy/builtin", "toml").into_iter().filter(is_plain).collect()
}

#[test]
fn strategy_files_through_the_binary() {
    let run = ["run", "--max-tries", "3", "-n", "20", "-c", "4", "--database-url", "sqlite:shop.db", "-s"];
    mangle_binary("strategies that are run", &plain_strategies(), "mine.toml", &run, &[0, 1, 2, 3]);
    let show = ["strategies", "show", "--dialect", "mysql"];
    mangle_binary(
        "strategies that are shown",
        &files("src/strategy/builtin", "toml"),
        "mine.toml",
        &show,
        &[0, 2],
    );
    let explore = ["explore", "--max-schedules", "20", "-s"];
    mangle_binary("strategies that are explored", &plain_strategies(), "mine.toml", &explore, &[0, 1, 2, 3]);
}

#[test]
fn scenario_files_through_the_binary() {
    // Null is no server: nothing is hurt and nothing waits, and a run ends with its orders.
    let run = ["run", "-n", "20", "-c", "4", "--database-url", "null:", "--scenario"];
    let is_short =
        |text: &String| !text.contains("stages") && !text.contains("[[flow") && !text.contains("redis");
    let scenarios: Vec<String> = files("scenarios", "toml").into_iter().filter(is_short).collect();
    mangle_binary("scenarios that are run", &scenarios, "plan.toml", &run, &[0, 1, 2, 3, 4]);
}

#[test]
fn order_and_history_files_through_the_binary() {
    let orders = files("tests/corpus", "csv");
    mangle_binary("orders that are seeded", &orders, "orders.csv", &["seed", "--replay"], &[0, 2]);
    let run = ["run", "--max-tries", "3", "--replay"];
    mangle_binary("orders that are run", &orders, "orders.csv", &run, &[0, 1, 2, 3]);
    // There is no database that a right one could be of.
    mangle_binary(
        "histories that are audited",
        &files("tests/corpus", "history"),
        "answers.csv",
        &["audit", "--history"],
        &[1, 2],
    );
}

#[test]
fn mapping_files_through_the_binary() {
    let place = place(Backend::Sqlite).unwrap();
    place.execute("CREATE TABLE products (id INTEGER PRIMARY KEY, stock INTEGER)");
    let audit = ["audit", "--database-url", &place.url, "--mapping"];
    mangle_binary(
        "mappings that are audited",
        &files("tests/corpus", "toml"),
        "stock.toml",
        &audit,
        &[0, 1, 2, 3],
    );
}

#[test]
fn results_through_the_binary() {
    let place = place(Backend::Sqlite).unwrap();
    let (_, report) = place.run(&["-n", "50"]);
    let result = serde_json::to_string_pretty(&report).unwrap();
    mangle_binary("results", std::slice::from_ref(&result), "run.json", &["report"], &[0, 2]);
    let html = ["report", "--html", "page.html"];
    mangle_binary("results as pages", &[result], "run.json", &html, &[0, 2]);
}
