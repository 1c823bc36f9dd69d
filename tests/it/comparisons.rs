//! Several strategies under the same loads: who is ranked and who is out, what cannot
//! be run or judged, and a long comparison that is interrupted and goes on.

use crate::support::{
    Backend, Place, assert_one_line, on_every_database, place, signal, spawn, stockbench, until, wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Short runs: the figures do not matter here. On a machine that is busy with other tests
/// shorter ones may sell nothing.
const SHORT: [&str; 7] = ["compare", "-o", "json", "-d", "1s", "-w", "50ms"];

/// What goes wrong by chance need not do so at once.
const RUNS_TO_CATCH: u32 = 3;

fn compare(place: &Place, arguments: &[&str]) -> (i32, Value) {
    let said = place.stockbench(&[&SHORT[..], arguments].concat());
    let report = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("{error} in {arguments:?}: {said:?}"));
    (said.code, report)
}

fn row<'r>(report: &'r Value, setting: usize, strategy: &str) -> &'r Value {
    let rows = report["settings"][setting]["rows"].as_array().unwrap();
    rows.iter().find(|row| row["strategy"] == strategy).unwrap()
}

on_every_database!(who_was_caught_is_shown_and_not_ranked);

fn who_was_caught_is_shown_and_not_ranked(place: &Place) {
    let matrix = ["-s", "naive,atomic,cas", "--contention", "1,20", "-c", "10", "--rounds", "2"];
    let caught = |(_, report): &(i32, Value)| row(report, 0, "naive")["verdict"]["is"] == "violated";
    let mut tries = (0..RUNS_TO_CATCH).map(|_| compare(place, &matrix));
    let (code, report) = tries.find(caught).expect("naive is caught within a few runs");
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["samples"].as_array().unwrap().len(), 3 * 2 * 2);
    let naive = row(&report, 0, "naive");
    assert!(naive["wrong_units"].as_u64().unwrap() > 0 && naive["against_best"].is_null(), "{report:#}");
    assert_ne!(row(&report, 1, "naive")["verdict"]["is"], "held", "{report:#}");
    for strategy in ["atomic", "cas"] {
        assert_eq!(row(&report, 0, strategy)["verdict"]["is"], "held", "{report:#}");
        assert!(row(&report, 0, strategy)["goodput_per_s"]["median"].as_f64().unwrap() > 0.0);
    }
    // The best of those that held leads, however fast the one that was caught is.
    assert_ne!(report["settings"][0]["rows"][0]["strategy"], "naive");
    let advice = report["advice"].to_string();
    assert!(advice.contains("2 rounds cannot tell 2 strategies apart"), "{advice}");
    let schema: Value = serde_json::from_str(include_str!("../../schema/compare.schema.json")).unwrap();
    let against = jsonschema::validator_for(&schema).unwrap();
    assert!(against.is_valid(&report), "{:?}", against.iter_errors(&report).collect::<Vec<_>>());
}

#[test]
fn a_comparison_that_was_interrupted_goes_on_where_it_stopped() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let matrix = ["compare", "-s", "atomic,cas", "--contention", "3", "-c", "4", "-w", "0s", "-d", "300ms"];
    let more = ["--rounds", "5", "--journal", "runs.jsonl", "--json", "compared.json"];
    let arguments = place.arguments(&[&matrix[..], &more].concat());
    let journal = place.path("runs.jsonl");
    let kept = || std::fs::read_to_string(&journal).unwrap_or_default().lines().count();

    let child = spawn(place.folder.path(), &arguments);
    until("three runs are kept", || kept() > 3);
    signal(&child, Signal::SIGINT);
    let said = wait(child);
    assert_eq!(said.code, 130, "{said:?}");
    let before = kept();
    assert!(before < 11 && said.stdout.contains("interrupted after"), "{before}: {said:?}");
    let first: Vec<String> = std::fs::read_to_string(&journal).unwrap().lines().map(str::to_owned).collect();

    let said = stockbench(place.folder.path(), &arguments);
    assert_eq!(said.code, 0, "{said:?}");
    let whole = std::fs::read_to_string(&journal).unwrap();
    // The head, and each of the ten runs once; what was kept is there as it was.
    assert_eq!(whole.lines().count(), 11);
    assert!(whole.lines().zip(&first).all(|(now, before)| now == before));
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(place.path("compared.json")).unwrap()).unwrap();
    assert_eq!((&report["interrupted"], row(&report, 0, "cas")["runs"].as_u64()), (&false.into(), Some(5)));

    let other = place.arguments(&[&matrix[..], &["--rounds", "6", "--journal", "runs.jsonl"]].concat());
    let said = stockbench(place.folder.path(), &other);
    assert_one_line(&said, 2, &["runs.jsonl is of another comparison (rounds: 6 here, 5 there)"]);

    // Another server, and another text of a strategy, are not of one comparison.
    let durable = whole.replace("durable commits", "commits NOT durable");
    std::fs::write(&journal, durable).unwrap();
    let said = stockbench(place.folder.path(), &arguments);
    assert_one_line(&said, 2, &["runs.jsonl was begun on another server", "commits NOT durable there"]);
    let (from, to) = ("UPDATE stockbench_sku SET stock", "UPDATE stockbench_sku SET  stock");
    assert!(whole.contains(from), "the texts of built-in strategies are in the head");
    std::fs::write(&journal, whole.replace(from, to)).unwrap();
    let said = stockbench(place.folder.path(), &arguments);
    assert_one_line(&said, 2, &["runs.jsonl is of another comparison (the text of "]);
}

#[test]
fn what_was_refused_runs_once_it_is_allowed() {
    let Some(place) = place(Backend::Sqlite) else { return };
    place.run(&["-s", "atomic", "-n", "5"]);
    crate::support::execute(&place.url, "CREATE TABLE shop_log (note TEXT)");
    let text = "summary = \"writes a table of the shop\"\naudit = { ledger = false }\n\
        [[invariant]]\nsql = \"SELECT note FROM shop_log WHERE note <> 'x'\"\nsays = \"{note}\"\n\
        [[transaction]]\n[[transaction.step]]\nsql = \"INSERT INTO shop_log (note) VALUES ('x')\"\n";
    let file = place.write("mine.toml", text);
    let both = format!("atomic,{file}");
    let arguments = ["-s", &both, "--contention", "1", "-c", "2", "--rounds", "1", "--journal", "runs.jsonl"];
    let (_, report) = compare(&place, &arguments);
    assert_eq!(row(&report, 0, &file)["verdict"]["is"], "refused", "{report:#}");
    let name = stockbench::db::DatabaseUrl::parse(&place.url).unwrap().database;
    let (_, report) = compare(&place, &[&arguments[..], &["--allow-writes", &name]].concat());
    assert_ne!(row(&report, 0, &file)["verdict"]["is"], "refused", "{report:#}");
}

#[test]
fn what_cannot_be_run_is_said_and_what_cannot_be_judged_is_no_verdict() {
    let Some(sqlite) = place(Backend::Sqlite) else { return };
    let (code, report) =
        compare(&sqlite, &["-s", "advisory,atomic", "--contention", "1", "-c", "2", "--rounds", "1"]);
    assert_eq!(code, 0, "{report:#}");
    let refused = &row(&report, 0, "advisory")["verdict"];
    assert_eq!(refused["is"], "refused", "{report:#}");
    assert!(refused["why"].as_str().unwrap().contains("named locks"), "{report:#}");

    let Some(place) = place(Backend::Postgres) else { return };
    let stumbling = "summary = \"divides by nothing\"\n\
        [[transaction]]\n[[transaction.step]]\nsql = \"UPDATE stockbench_sku SET stock = stock / (:quantity - 1) WHERE id = :sku_id\"\n";
    let file = place.write("stumbling.toml", stumbling);
    let both = format!("atomic,{file}");
    let (code, report) = compare(&place, &["-s", &both, "--contention", "1", "-c", "2", "--rounds", "1"]);
    assert_eq!(code, 1, "{report:#}");
    let undecided = &row(&report, 0, &file)["verdict"];
    assert_eq!(undecided["is"], "undecided", "{report:#}");
    assert!(undecided["why"].as_str().unwrap().contains("22012"), "{report:#}");
}

#[test]
fn a_comparison_that_cannot_be_is_one_line() {
    let Some(place) = place(Backend::Sqlite) else { return };
    place.write("answers.csv", "order_id,sku_id\n");
    for (arguments, fragment) in [
        (&["-s", "atomic,optimstic"][..], "unknown strategy \"optimstic\"; did you mean \"optimistic\"?"),
        (&["-s", "atomic,cas,atomic"], "--strategy names atomic twice"),
        (&["-s", "atomic", "--lab", "redis"], "--lab redis holds no stock"),
        (&["-s", "atomic", "--json", "nowhere/c.json"], "cannot write nowhere/c.json"),
        (&["-s", "atomic", "--journal", "answers.csv"], "answers.csv:1: this is no journal of a comparison"),
    ] {
        let said = place.stockbench(&[&["compare"], arguments].concat());
        assert_one_line(&said, 2, &[fragment]);
    }
}
