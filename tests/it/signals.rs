//! Whoever asks a run to end gets its report and its audit.

use crate::support::{
    Backend, Place, Said, command, on_every_database, outcome, place, query, signal, spawn, until, wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::process::{Child, Command, Stdio};

on_every_database!(every_signal_that_ends_a_run_drains_and_audits_it);

/// A run that goes on until it is ended, whatever it sells.
fn run<'a>(place: &'a Place, strategy: &'a str) -> Vec<&'a str> {
    place.arguments(&["run", "-s", strategy, "--stock", "1000000", "-d", "300s", "-o", "json"])
}

fn sales(place: &Place) -> u64 {
    query(&place.url, "SELECT count(*) FROM stockbench_ledger WHERE kind = 'sale'").parse().unwrap()
}

/// Starts a run on fresh tables, and waits until it sells.
fn started(place: &Place, start: impl FnOnce() -> Child) -> Child {
    assert_eq!(place.stockbench(&["seed"]).code, 0);
    let child = start();
    until("the first orders are sold", || sales(place) > 0);
    child
}

#[track_caller]
fn assert_drained(said: &Said) {
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(said.code, 130, "{said:?}");
    assert!(report["interrupted"] == true && report["audit"]["passed"] == true, "{report:#}");
    assert!(outcome(&report, "deducted") > 0, "{report:#}");
    assert_eq!(report["deliveries"], outcome(&report, "deducted"), "an order is undecided: {report:#}");
    assert_eq!(said.stderr.matches("stopping: ").count(), 1, "{said:?}");
}

fn every_signal_that_ends_a_run_drains_and_audits_it(place: &Place) {
    for how in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        let child = started(place, || spawn(place.folder.path(), &run(place, "atomic")));
        signal(&child, how);
        assert_drained(&wait(child));
    }
}

#[test]
fn a_violation_is_told_after_a_hangup_too() {
    let Some(place) = place(Backend::Postgres) else { return };
    assert_eq!(place.stockbench(&["seed"]).code, 0);
    let child = spawn(place.folder.path(), &[&run(&place, "naive")[..], &["--skus", "1"]].concat());
    until("some units are sold twice", || sales(&place) > 1_000);
    signal(&child, Signal::SIGHUP);
    let said = wait(child);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, &report["interrupted"]), (3, &true.into()), "{report:#}");
}

/// A terminal that is closed tells everybody in it, and so does its shell.
#[test]
fn a_second_hangup_does_not_cut_the_audit_short() {
    let place = place(Backend::Sqlite).unwrap();
    let run = [&run(&place, "atomic")[..], &["--think", "50ms"]].concat();
    let child = started(&place, || spawn(place.folder.path(), &run));
    for _ in 0..3 {
        signal(&child, Signal::SIGHUP);
    }
    assert_drained(&wait(child));
}

#[test]
fn a_run_under_nohup_outlives_its_terminal() {
    let place = place(Backend::Sqlite).unwrap();
    let child = started(&place, || {
        let mut nohup = Command::new("nohup");
        let run = command(place.folder.path(), &run(&place, "atomic"));
        nohup.arg(run.get_program()).args(run.get_args()).current_dir(place.folder.path());
        nohup.env_remove("DATABASE_URL").stdin(Stdio::null());
        nohup.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    signal(&child, Signal::SIGHUP);
    let sold = sales(&place);
    until("the run goes on", || sales(&place) > sold + 200);
    signal(&child, Signal::SIGTERM);
    assert_drained(&wait(child));
}
