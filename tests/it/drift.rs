//! Two separate runs: what a drift of the machine alone can do is neither better nor worse, and
//! what cannot be told is no miss.

use crate::support::{Backend, Place, place, stockbench};
use serde_json::{Value, json};
use std::time::Duration;

/// A report of a run that sold so much in each of its seconds, and whose machine was so slow.
fn report(base: &Value, sold: impl Iterator<Item = f64>, slowness: f64) -> Value {
    let mut report = base.clone();
    let template = base["series"][0].clone();
    let seconds = sold.zip(1..).map(|(sold, at)| {
        let mut second = template.clone();
        second["at_s"] = json!(f64::from(at));
        second["span_s"] = json!(1.0);
        second["orders_per_s"] = json!(sold);
        // What sells less takes longer.
        let micros = Duration::from_secs_f64(10.0 / sold).as_micros();
        second["p50_us"] = json!(u64::try_from(micros).unwrap());
        second["p99_us"] = json!(u64::try_from(2 * micros).unwrap());
        second
    });
    report["series"] = seconds.collect();
    report["client"]["includes_database"] = json!(false);
    report["client"]["cpu_us_per_order"] = json!(100.0 * slowness);
    report
}

/// Twenty seconds around a level, each a little off in turn.
fn steady(level: f64) -> impl Iterator<Item = f64> {
    [0.97, 1.02, 1.0, 1.03, 0.98].into_iter().cycle().take(20).map(move |off| level * off)
}

fn base(place: &Place) -> Value {
    let (code, report) = place.run(&["-s", "atomic", "-d", "1s", "-c", "2"]);
    assert_eq!(code, 0, "{report:#}");
    report
}

fn compared(place: &Place, before: &Value, after: &Value) -> String {
    let before = place.write("before.json", &before.to_string());
    let after = place.write("after.json", &after.to_string());
    let said = stockbench(place.folder.path(), &["report", &before, &after]);
    assert_eq!(said.code, 0, "{said:?}");
    said.stdout
}

#[test]
fn equal_runs_on_a_machine_that_drifts_are_neither_better_nor_worse() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let base = base(&place);
    // Levels of five runs of one build, up to 22 % apart.
    let runs = [1_000.0, 850.0, 910.0, 1_040.0, 870.0].map(|level| report(&base, steady(level), 1.0));

    for before in &runs {
        for after in &runs {
            let said = compared(&place, before, after);
            assert!(!said.contains(": better") && !said.contains(": worse"), "{said}");
            assert!(said.contains("cannot tell a change from a drift") && said.contains("compare"), "{said}");
        }
    }
}

#[test]
fn a_run_that_wavers_by_itself_is_granted_as_much() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let base = base(&place);
    // The second half of the first run is half as fast: the machine does that by itself.
    let wavering = steady(1_000.0).take(10).chain(steady(500.0).take(10));
    let said = compared(&place, &report(&base, wavering, 1.0), &report(&base, steady(500.0), 1.0));

    assert!(!said.contains(": worse"), "{said}");
}

#[test]
fn a_change_that_no_drift_explains_is_said() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let base = base(&place);
    let (slow, fast) = (report(&base, steady(500.0), 1.0), report(&base, steady(1_000.0), 1.0));

    assert!(compared(&place, &slow, &fast).contains("sold/s +100.0 %"));
    assert_eq!(compared(&place, &slow, &fast).matches(": better").count(), 3);
    assert_eq!(compared(&place, &fast, &slow).matches(": worse").count(), 3);
}

#[test]
fn a_machine_that_was_slower_is_named_and_blamed() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let base = base(&place);
    let said = compared(&place, &report(&base, steady(1_000.0), 1.0), &report(&base, steady(500.0), 2.0));

    assert!(said.contains("the machine drifted") && said.contains("+100.0 %"), "{said}");
    assert_eq!(said.matches("as large as the machine's drift").count(), 3, "{said}");
    // It was slower, and the strategy is better all the same.
    let said = compared(&place, &report(&base, steady(500.0), 1.0), &report(&base, steady(1_000.0), 2.0));
    assert_eq!(said.matches(": better").count(), 3, "{said}");
}

#[test]
fn what_cannot_be_told_is_no_miss() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let load = ["-s", "atomic", "-d", "1s", "-c", "2"];
    let baseline = place.write("base.json", &base(&place).to_string());
    let (code, report) = place.run(&[&load[..], &["--baseline", &baseline]].concat());

    assert_eq!((code, &report["thresholds"]), (0, &json!([])), "{report:#}");
    let advice = report["advice"].to_string();
    assert!(
        advice.contains("too few seconds to tell") && advice.contains("drift of the machine"),
        "{advice}"
    );
}
