//! Bad input by the hundred: files that were right once, with pieces cut out,
//! doubled, swapped and replaced. Whatever comes of it, nothing panics, nothing
//! hangs, and what is refused is refused in one line.
//!
//! The corpus is what ships (strategies, scenarios) and the few files in
//! `tests/corpus`.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use std::fmt::Display;
use std::path::Path;
use stockbench::audit::tables::mapping::Mapping;
use stockbench::db::{DatabaseUrl, Dialect};
use stockbench::engine::history::History;
use stockbench::explore::Schedule;
use stockbench::fault::FaultSpec;
use stockbench::report::threshold::Threshold;
use stockbench::scenario::Scenario;
use stockbench::strategy::{Strategy as Deduction, StrategyFile};
use stockbench::workload::Replay;

/// Files that each kind of input is made from.
const CASES: u32 = 400;

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

/// Reads mangled texts; says how many of them were refused.
#[track_caller]
fn mangle<T, E: Display>(corpus: &[String], read: impl Fn(&str) -> Result<T, E>) {
    for text in corpus {
        assert!(read(text).is_ok(), "the corpus is right: {:#}\n{text}", read(text).err().unwrap());
    }
    let mut runner = TestRunner::new(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let refused = std::cell::Cell::new(0);
    let mangled = (prop::sample::select(corpus.to_vec()), prop::collection::vec(change(), 1..5));
    let outcome = runner.run(&mangled, |(text, changes)| {
        let text = changes.iter().fold(text, |text, change| changed(&text, change));
        if let Err(error) = read(&text) {
            refused.set(refused.get() + 1);
            let line = format!("{error:#}");
            prop_assert!(!line.trim().is_empty() && line.lines().count() == 1, "{line:?} for:\n{text}");
            prop_assert!(!line.contains("panicked"), "{line}");
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(
        refused.get() > CASES / 20,
        "mangling hardly does anything: {} of {CASES} were refused",
        refused.get()
    );
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
    mangle(&files("src/strategy/builtin", "toml"), |text| {
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
    mangle(&files("scenarios", "toml"), |text| Scenario::parse("mine.toml", text));
}

#[test]
fn mapping_files() {
    mangle(&files("tests/corpus", "toml"), |text| Mapping::parse("stock.toml", text));
}

#[test]
fn order_files() {
    mangle(&files("tests/corpus", "csv"), |text| Replay::parse("orders.csv", text.as_bytes()));
}

#[test]
fn history_files() {
    mangle(&files("tests/corpus", "history"), |text| History::parse("answers.history", text.as_bytes()));
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
    mangle(&right, str::parse::<Threshold>);
}

#[test]
fn database_urls() {
    let corpus = [
        "postgres://me:secret@localhost:5432/shop?sslmode=require",
        "mysql://me@[::1]/shop",
        "mariadb://me:p%40ss@db.example.org:3307/shop?ssl-mode=VERIFY_IDENTITY",
        "sqlite:./shop.db",
    ];
    mangle(&lines(&corpus), |text| {
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
    mangle(&lines(&faults), str::parse::<FaultSpec>);
    mangle(&lines(&["1 1 2 2 1", "1,2,x1,2", "1 2 3 4 4 3 2 1"]), str::parse::<Schedule>);
}
