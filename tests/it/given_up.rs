//! Orders that are given up while stock remains: no violation, and nothing to be proud of.

use crate::support::{Backend, Place, on_every_database, outcome, place, stockbench};
use serde_json::Value;

on_every_database!(
    orders_given_up_while_stock_remains_are_a_headline,
    a_threshold_can_name_what_was_given_up,
);

/// Time between reading and writing: of those that read together, one sells.
const RACE: &str = "-s optimistic --think 5ms --skus 1 --stock 500 --concurrency 10 --orders 100";

fn race<'a>(more: &[&'a str]) -> Vec<&'a str> {
    RACE.split(' ').chain(more.iter().copied()).collect()
}

fn read(path: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn orders_given_up_while_stock_remains_are_a_headline(place: &Place) {
    let file = place.path("run.json").display().to_string();
    let said = place.stockbench(&[&["run"], &race(&["--max-tries", "1", "--json", &file])[..]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    let (shown, report) = (said.stdout, read(&file));

    let given_up = outcome(&report, "conflict");
    let left = report["audit"]["units"]["in_stock"].as_i64().unwrap();
    assert!(given_up > 0, "no contention: {report:#}");
    assert_eq!(left, 500 - outcome(&report, "deducted").cast_signed(), "{report:#}");
    let share = report["given_up"].as_f64().unwrap();
    assert!((share - f64::from(u32::try_from(given_up).unwrap()) / 100.0).abs() < 1e-9, "{report:#}");

    let figures = format!("({:.1} %), with {left} units left in stock", share * 100.0);
    let verdict = format!(
        "no violation, but {given_up} of 100 orders ({:.1} %) GIVEN UP as conflict while {left} units were left in stock",
        share * 100.0
    );
    assert!(shown.contains(&figures), "{figures} is missing from {shown}");
    assert!(shown.lines().last().unwrap().starts_with(&verdict), "{verdict} is not the end of {shown}");
    assert!(shown.contains("after their only try") && shown.contains("--retry-delay"), "{shown}");

    let markdown = stockbench(place.folder.path(), &["report", &file]).stdout;
    assert!(markdown.contains("| given up |") && markdown.contains(&figures), "{markdown}");
    let page = place.path("page.html").display().to_string();
    assert_eq!(stockbench(place.folder.path(), &["report", &file, "--html", &page]).code, 0);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<dt>given up</dt>") && page.contains(&verdict), "{page}");
}

fn a_threshold_can_name_what_was_given_up(place: &Place) {
    let (code, report) = place.run(&race(&["--max-tries", "1", "--threshold", "given_up < 1%"]));
    assert_eq!(code, 4, "{report:#}");
    assert_eq!(report["thresholds"][0]["value"], report["given_up"]);

    let (code, report) = place.run(&race(&["--max-tries", "0", "--threshold", "given_up < 1%"]));
    assert_eq!((code, report["given_up"].as_f64()), (0, Some(0.0)), "{report:#}");
}

#[test]
fn a_comparison_says_who_gave_up_what_it_could_have_sold() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let compared = [
        "compare",
        "-s",
        "optimistic",
        "--think",
        "5ms",
        "--concurrency",
        "20",
        "--rounds",
        "1",
        "--duration",
        "1s",
        "--warmup",
        "0s",
    ];
    let said = place.stockbench(&compared);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("optimistic gave up "), "{said:?}");
    assert!(said.stdout.contains("were left in stock"), "{said:?}");
}
