//! One run shared by several processes: together they send the same orders, sell the same
//! units and are judged as one, and what they measured is put together exactly.

use crate::support::{
    Backend, Place, Said, arrivals, assert_one_line, on_every_database, outcome, place, server, signal,
    spawn, stockbench, until, wait,
};
use hdrhistogram::Histogram;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, SystemTime};
use stockbench::lab::LabKind;

const OF: usize = 8;

/// How long before the common moment the processes are started. They come up one after the
/// other; where that takes longer, all of them are started once more.
const LEADS_S: [u64; 3] = [12, 60, 180];

/// Nothing here lasts as long as that.
const HOUR_S: u64 = 3_600;

fn moment_in(seconds: u64) -> String {
    humantime::format_rfc3339_seconds(SystemTime::now() + Duration::from_secs(seconds)).to_string()
}

/// Starts a segment; what it leaves is named by its number.
fn start(folder: &Path, number: usize, at: &str, load: &[&str]) -> Child {
    let segment = format!("{number}/{OF}");
    let (json, history) = (format!("{number}.json"), format!("{number}.csv"));
    let own = ["run", "--segment", &segment, "--start-at", at, "--json", &json, "--history", &history];
    spawn(folder, &[&own[..], load].concat())
}

fn names(ending: &str) -> Vec<String> {
    (1..=OF).map(|number| format!("{number}.{ending}")).collect()
}

/// Runs all segments at once and sees that each did its part.
fn run_all(folder: &Path, load: &[&str]) {
    let are_ready = LEADS_S.into_iter().any(|lead| {
        let at = moment_in(lead);
        let children: Vec<Child> = (1..=OF).map(|number| start(folder, number, &at, load)).collect();
        let all: Vec<Said> = children.into_iter().map(wait).collect();
        let late = |said: &Said| said.code != 0 && said.stderr.contains("--start-at");
        for said in all.iter().filter(|said| !late(said)) {
            assert_eq!(said.code, 0, "{said:?}");
            assert!(said.stdout.contains("has done its part"), "{said:?}");
        }
        !all.iter().any(late)
    });
    assert!(are_ready, "{LEADS_S:?} seconds were not enough to open the connections");
}

fn read(folder: &Path, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

/// The segments put together, as JSON.
fn merged(folder: &Path) -> Value {
    let names = names("json");
    let files: Vec<&str> = names.iter().map(String::as_str).collect();
    let said = stockbench(folder, &[&["report", "--merge", "--json", "all.json"], &files[..]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("8 segments"), "{said:?}");
    read(folder, "all.json")
}

/// The audit of what all segments were told.
fn audited(folder: &Path, url: &str) -> Value {
    let names = names("csv");
    let histories = names.iter().flat_map(|name| ["--history", name]);
    let audit = ["audit", "-o", "json", "--database-url", url];
    let said = stockbench(folder, &audit.into_iter().chain(histories).collect::<Vec<&str>>());
    assert_eq!(said.code, 0, "{said:?}");
    serde_json::from_str::<Value>(&said.stdout).unwrap()["audit"].take()
}

/// Every latency that a history tells of an outcome, in microseconds, a fraction of one
/// too long at most.
fn samples(folder: &Path, outcome: &str) -> Vec<u64> {
    let texts = names("csv").into_iter().map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
    let mut samples = Vec::new();
    for text in texts {
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split(',').collect();
            if fields[2] == outcome {
                let moment = |field: &str| field.parse::<u64>().unwrap();
                samples.push(moment(fields[6]) - 1 - moment(fields[5]));
            }
        }
    }
    samples
}

const LOAD: [&str; 14] = [
    "-s",
    "idempotent",
    "-n",
    "4000",
    "-c",
    "16",
    "--skus",
    "5",
    "--stock",
    "600",
    "--random-seed",
    "7",
    "--duplicates",
    "10",
];

fn eight_segments_are_one_run(place: &Place) {
    let folder = place.folder.path();
    if place.backend == Backend::Sqlite {
        let segment = ["run", "--segment", "1/2", "--start-at", &moment_in(HOUR_S)];
        assert_one_line(&place.stockbench(&[&segment[..], &LOAD].concat()), 2, &["--segment", "server"]);
        return;
    }
    let (code, whole) = place.run(&LOAD);
    assert_eq!(code, 0, "{whole:#}");

    run_all(folder, &place.arguments(&LOAD));
    let all = merged(folder);
    let audit = audited(folder, &place.url);
    assert_eq!(all["outcomes"], whole["outcomes"]);
    assert!(outcome(&all, "sold_out") > 0 && outcome(&all, "duplicate") > 0, "{}", all["outcomes"]);
    assert_eq!((&all["deliveries"], &all["segments"]), (&whole["deliveries"], &OF.into()));
    for figure in ["units", "entries", "orders", "skus", "findings", "client_witness", "passed", "judged"] {
        assert_eq!(audit[figure], whole["audit"][figure], "{figure}: {audit:#}");
    }

    // One recorder fed the same samples.
    let samples = samples(folder, "deducted");
    assert_eq!(samples.len() as u64, outcome(&all, "deducted"));
    let mut recorder = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).unwrap();
    for sample in &samples {
        recorder.record((*sample).max(1)).unwrap();
    }
    let told = &all["latency_us"]["order"]["deducted"];
    let bounds = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];
    for (name, quantile) in bounds {
        let (told, exact) = (told[name].as_u64().unwrap(), recorder.value_at_quantile(quantile));
        // The history's microseconds begin and end on whole ones.
        let one_more = recorder.next_non_equivalent(told + 1);
        assert!(told <= exact && exact <= one_more, "{name}: {told} and {exact}");
    }
    let seconds = all["series"].as_array().unwrap();
    let deliveries: u64 = seconds.iter().map(|second| second["deliveries"].as_u64().unwrap()).sum();
    assert_eq!(deliveries, all["deliveries"].as_u64().unwrap());

    // What is not all of one run is not put together.
    let merge = |files: &[&str]| stockbench(folder, &[&["report", "--merge"], files].concat());
    assert_one_line(&merge(&["1.json", "2.json"]), 2, &["segment 3/8 is missing"]);
    assert_one_line(&merge(&["1.json", "1.json"]), 2, &["segment 1/8 is named twice"]);
    assert_one_line(&merge(&["all.json"]), 2, &["all.json is no segment"]);
    mangled(folder);
    let said = place.stockbench(&["audit", "-o", "json", "--history", "1.csv", "--history", "2.csv"]);
    assert!(said.stdout.contains("cut_short"), "{said:?}");
    let twice = place.stockbench(&["audit", "--history", "1.csv", "--history", "1.csv"]);
    assert_one_line(&twice, 2, &["segment 1/8", "two history files"]);
}

/// Files that nobody wrote are refused in one line, whatever they hold.
fn mangled(folder: &Path) {
    let names = names("json");
    let text = std::fs::read_to_string(folder.join("1.json")).unwrap();
    let good: Value = serde_json::from_str(&text).unwrap();
    let bend = |path: &[&str], value: Value| {
        let mut bent = good.clone();
        *path.iter().fold(&mut bent, |at, name| &mut at[*name]) = value;
        std::fs::write(folder.join("1.json"), bent.to_string()).unwrap();
        let files: Vec<&str> = names.iter().map(String::as_str).collect();
        let said = stockbench(folder, &[&["report", "--merge"], &files[..]].concat());
        assert_one_line(&said, 2, &["1.json"]);
    };
    bend(&["config", "segment", "number"], 0.into());
    bend(&["config", "segment", "number"], 9.into());
    bend(&["config", "think_us"], 5.into());
    bend(&["part", "figures", "attempts"], u64::MAX.into());
    bend(&["part", "figures", "attempt"], "bm9uZQ==".into());
    bend(&["part", "run_started_ms"], 1.into());
    bend(&["started_at"], "then".into());
    std::fs::write(folder.join("1.json"), text).unwrap();
}

on_every_database!(eight_segments_are_one_run);

#[test]
fn segments_join_only_what_they_were_asked_for_and_nobody_else_comes_between() {
    let Some(place) = place(Backend::Postgres) else { return };
    let folder = place.folder.path();
    let at = moment_in(HOUR_S);
    let load = place.arguments(&LOAD);
    let first = start(folder, 1, &at, &load);
    until("the run is entered", || folder.join("1.csv.partial").exists());
    let segment_at = |segment: &str, at: &str, more: &[&str]| {
        let own = ["run", "--segment", segment, "--start-at", at];
        stockbench(folder, &[&own[..], &load, more].concat())
    };
    let segment = |segment: &str, more: &[&str]| segment_at(segment, &at, more);
    assert_one_line(&segment("1/8", &[]), 1, &["segment 1 of a run is at work", "already"]);
    assert_one_line(&segment("2/9", &[]), 2, &["asked for something else: the number of segments"]);
    assert_one_line(&segment("2/8", &["--isolation", "serializable"]), 2, &["the isolation level"]);
    assert_one_line(&segment("2/8", &["--think", "1ms"]), 2, &["asked for something else", "think_us"]);
    assert_one_line(&segment("2/8", &["--connections", "9"]), 2, &["something else: --connections"]);
    assert_one_line(&place.stockbench(&["run", "-s", "atomic"]), 1, &["another stockbench is working"]);
    assert_one_line(&place.stockbench(&["clean"]), 1, &["another stockbench is working"]);
    signal(&first, Signal::SIGINT);
    let said = wait(first);
    assert_eq!(said.code, 130, "{said:?}");
    assert_one_line(&segment_at("2/8", "2026-01-01T00:00:00Z", &[]), 2, &["--start-at is past"]);
    // Nobody is at work any more.
    assert_eq!(place.stockbench(&["run", "-s", "atomic"]).code, 0);
    let few = ["run", "--segment", "1/99", "--start-at", &at, "-c", "16", "--random-seed", "1"];
    assert_one_line(&place.stockbench(&few), 2, &["16 clients are too few to share"]);
    let of_audit =
        ["run", "--segment", "1/2", "--start-at", &at, "--random-seed", "1", "--scenario", "ci-smoke"];
    assert_one_line(&place.stockbench(&of_audit), 2, &["--segment 1/2", "is of the audit"]);
    let flow = ["run", "--segment", "1/2", "--start-at", &at, "--random-seed", "1", "-s", "reserve-confirm"];
    assert_one_line(&place.stockbench(&flow), 2, &["--segment", "[[flow]]"]);
    let blow =
        ["run", "--segment", "1/2", "--start-at", &at, "--random-seed", "1", "--fault", "lock-rows@1s"];
    assert_one_line(&place.stockbench(&blow), 2, &["--segment", "lock-rows@1s", "befalls the server"]);
}

#[test]
fn an_open_loop_and_its_warm_up_are_shared_on_a_cluster() {
    let Some(cluster) = server(LabKind::Galera) else { return };
    let folder = tempfile::tempdir().unwrap();
    let seed = 3;
    let load = ["-s", "atomic", "-d", "4s", "-w", "1s", "-c", "32", "--rate", "100", "--random-seed", "3"];
    // Of the whole: each segment has an eighth of them.
    let stock = ["--skus", "50", "--stock", "100000", "--threshold", "deliveries > 200"];
    run_all(folder.path(), &[&load[..], &stock, &["--database-url", &cluster.url]].concat());
    let all = merged(folder.path());
    let audit = audited(folder.path(), &cluster.url);
    assert_eq!((&audit["passed"], &audit["client_witness"]), (&true.into(), &"complete".into()));
    // The arrivals of the whole are fixed by the seed, whoever sends them; what a busy
    // cluster did not get to is skipped.
    assert_eq!(all["deliveries"], arrivals(100.0, 4, seed), "{}", all["outcomes"]);
    assert_eq!(all["thresholds"][0]["passed"], true, "{}", all["thresholds"]);
    let sent = all["deliveries"].as_u64().unwrap() - outcome(&all, "skipped");
    let warm = audit["orders"].as_u64().unwrap() - sent;
    // The warm-up has other arrivals than the window.
    assert!((1..=arrivals(100.0, 1, seed ^ 1)).contains(&warm), "{warm}");
}
