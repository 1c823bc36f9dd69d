//! What goes wrong on purpose: servers killed and paused, sessions ended, answers
//! lost on the wire; and every unit accounted for afterwards.

use crate::support::{
    Backend, Place, assert_one_line, command, kinds, outcome, output, place, server, stockbench,
};
use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use stockbench::lab::LabKind;

const SERVERS: [Backend; 3] = [Backend::Postgres, Backend::MySql, Backend::MariaDb];

/// `stockbench run` on a lab server of its own; its exit code and report. Nothing of the
/// server is left behind.
fn run_in_lab(kind: LabKind, arguments: &[&str]) -> Option<(i32, Value)> {
    server(kind)?;
    let folder = tempfile::tempdir().unwrap();
    // Servers have users of their own.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    let lab = ["run", "-o", "json", "--lab", kind.as_str()];
    let mut command = command(folder.path(), &[&lab, arguments].concat());
    let said = output(command.env("TMPDIR", folder.path()));
    let report = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("{error} in {arguments:?}: {said:?}"));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
    Some((said.code, report))
}

/// Every delivery whose answer was lost was found in the ledger, or was not.
#[track_caller]
fn assert_every_unknown_is_resolved(report: &Value) {
    let audit = &report["audit"];
    let resolved =
        audit["unknown_recovered"].as_u64().unwrap() + audit["unknown_not_applied"].as_u64().unwrap();
    assert_eq!(resolved, outcome(report, "unknown"), "{report:#}");
}

fn marks<'r>(report: &'r Value, fault: &str) -> Vec<&'r Value> {
    report["faults"].as_array().unwrap().iter().filter(|mark| mark["fault"] == fault).collect()
}

const PLENTY: [&str; 6] = ["--skus", "20", "--stock", "1000000", "--random-seed", "7"];

/// So many orders that arrive in 8 s and wait for as long as a fault lasts: however slow
/// the machine is, each fault meets some of them, and some are left for the time after.
const ARRIVALS: [&str; 4] = ["--rate", "200", "-n", "1600"];

#[test]
fn a_server_that_is_killed_comes_back_and_nothing_is_lost() {
    for kind in [LabKind::Postgres, LabKind::MySql, LabKind::MariaDb] {
        let load = ["-s", "atomic", "-c", "50", "--fault", "kill-server@1s", "--fault", "kill-server@4s"];
        let Some((code, report)) = run_in_lab(kind, &[&load[..], &ARRIVALS, &PLENTY].concat()) else {
            continue;
        };
        assert_eq!(code, 0, "{kind:?}: {report:#}");
        let kills = marks(&report, "kill-server");
        assert_eq!(kills.len(), 2, "{kind:?}: {report:#}");
        let recovered = |mark: &&Value| mark["recovered_s"].as_f64().is_some_and(|took| took > 0.0);
        assert!(kills.iter().all(recovered), "{kind:?}: {kills:#?}");
        assert!(report["retries"].as_u64().unwrap() > 0, "{kind:?}: {report:#}");
        // Each of fifty connections at each of two kills: one that cannot be made is none lost.
        let of = |class: &str| report["errors_by_class"][class].as_u64().unwrap_or(0);
        assert!((1..=100).contains(&of("lost")), "{kind:?}: {report:#}");
        assert!(of("never_started") > 0, "{kind:?}: {report:#}");
        assert_eq!(outcome(&report, "error"), 0, "{kind:?}: {report:#}");
        assert_every_unknown_is_resolved(&report);
        let marked = |second: &&Value| second["faults"].to_string().contains("kill-server");
        assert!(report["series"].as_array().unwrap().iter().filter(marked).count() > 0, "{kind:?}");
    }
}

/// The proof that the check above can fail. What was answered in the last moments before
/// a kill is lost only where the server had not written it by chance.
#[test]
fn sales_that_were_answered_before_they_were_on_disk_are_found_lost() {
    let load = ["-s", "atomic", "-c", "50", "-d", "5s", "--fault", "kill-server@1s/1s", "--lab-async-commit"];
    for last in [false, false, true] {
        let Some((code, report)) = run_in_lab(LabKind::Postgres, &[&load[..], &PLENTY].concat()) else {
            return;
        };
        assert_eq!(report["database"]["durable"], false);
        if code == 0 && !last {
            continue;
        }
        assert_eq!(code, 3, "{report:#}");
        assert!(kinds(&report).contains(&"lost_sale"), "{report:#}");
        assert!(report["audit"]["lost_orders"].as_u64().unwrap() > 0, "{report:#}");
        return;
    }
}

#[test]
fn a_server_that_stands_still_goes_on() {
    let load = ["-s", "pessimistic", "-c", "20", "--fault", "pause-server@1s:1s"];
    let Some((code, report)) = run_in_lab(LabKind::Postgres, &[&load[..], &ARRIVALS, &PLENTY].concat())
    else {
        return;
    };
    assert_eq!(code, 0, "{report:#}");
    let pauses = marks(&report, "pause-server");
    assert_eq!(pauses.len(), 1);
    assert!(pauses[0]["lasted_s"].as_f64().unwrap() >= 1.0, "{pauses:#?}");
    assert!(pauses[0]["recovered_s"].as_f64().unwrap() >= 0.9, "{pauses:#?}");
}

#[test]
fn sessions_that_the_server_ends_are_opened_again() {
    for backend in SERVERS {
        let Some(place) = place(backend) else { continue };
        let load = ["-s", "pessimistic", "-c", "20", "--fault", "end-session@0s/20ms", "--reconnect", "60s"];
        let (code, report) = place.run(&[&load[..], &ARRIVALS, &PLENTY].concat());
        assert_eq!(code, 0, "{backend:?}: {report:#}");
        assert!(marks(&report, "end-session").len() > 20, "{backend:?}: {report:#}");
        assert!(report["errors_by_class"]["lost"].as_u64().unwrap() > 20, "{backend:?}: {report:#}");
        assert_eq!(outcome(&report, "error"), 0, "{backend:?}: {report:#}");
        assert_every_unknown_is_resolved(&report);
    }
}

fn cut(place: &Place, arguments: &[&str]) -> (i32, Value) {
    let load = ["-c", "20", "-n", "2000", "--skus", "5", "--stock", "100000", "--random-seed", "3"];
    place.run(&[&load[..], &["--reconnect", "60s"], arguments].concat())
}

#[test]
fn a_lost_acknowledgement_is_asked_for_again_where_orders_are_decided_once() {
    for backend in SERVERS {
        let Some(place) = place(backend) else { continue };
        for fault in ["cut-before@*:3%", "cut-during@*:3%", "cut-after@*:3%"] {
            let (code, report) = cut(&place, &["-s", "idempotent", "--fault", fault]);
            assert_eq!(code, 0, "{backend:?} {fault}: {report:#}");
            assert_eq!(outcome(&report, "unknown"), 0, "{backend:?} {fault}: {report:#}");
            assert!(report["retries"].as_u64().unwrap() > 10, "{backend:?} {fault}: {report:#}");
            let recovered = report["audit"]["unknown_recovered"].as_u64().unwrap();
            let is_after = fault.starts_with("cut-after");
            assert!(recovered > 10 || !is_after, "it had been sold: {backend:?} {fault}: {report:#}");
            // Each is an event of the run, and of its second.
            let word = fault.split('@').next().unwrap();
            let cuts = report["struck"][word].as_u64().unwrap();
            assert!(cuts > 10, "{backend:?} {fault}: {report:#}");
            let seconds = report["series"].as_array().unwrap();
            let by_second = seconds.iter().filter_map(|second| second["struck"][word].as_u64());
            assert_eq!(by_second.sum::<u64>(), cuts, "{backend:?} {fault}");
        }
    }
}

#[test]
fn where_the_wire_is_cut_decides_whether_the_order_was_sold() {
    for backend in SERVERS {
        let Some(place) = place(backend) else { continue };
        let (code, report) = cut(&place, &["-s", "atomic", "--fault", "cut-after@*:3%"]);
        assert_eq!(code, 0, "{backend:?}: {report:#}");
        let unknown = outcome(&report, "unknown");
        assert!(unknown > 10, "{backend:?}: {report:#}");
        assert_eq!(report["audit"]["unknown_recovered"], unknown, "{backend:?}: {report:#}");
        let (code, report) = cut(&place, &["-s", "atomic", "--fault", "cut-before@*:3%"]);
        assert_eq!(code, 0, "{backend:?}: {report:#}");
        let unknown = outcome(&report, "unknown");
        assert!(unknown > 10, "{backend:?}: {report:#}");
        assert_eq!(report["audit"]["unknown_not_applied"], unknown, "{backend:?}: {report:#}");
    }
}

#[test]
fn an_order_that_is_placed_again_under_a_new_id_is_sold_twice() {
    for backend in SERVERS {
        let Some(place) = place(backend) else { continue };
        let history = place.path("answers.csv").display().to_string();
        let blind = ["-s", "atomic", "--fault", "cut-after@*:3%", "--retry-unknown", "new-id"];
        let (code, report) = cut(&place, &[&blind[..], &["--history", &history]].concat());
        assert_eq!(code, 3, "{backend:?}: {report:#}");
        assert!(kinds(&report).contains(&"sold_again"), "{backend:?}: {report:#}");
        // Both orders of an intent, less those whose second answer was lost, too.
        let again = report["audit"]["findings_by_kind"]["sold_again"].as_u64().unwrap();
        assert!(again > 0, "{backend:?}: {report:#}");
        assert!(report["audit"]["duplicated_orders"].as_u64().unwrap() > 0, "{backend:?}: {report:#}");
        let said = place.stockbench(&["audit", "--history", &history, "-o", "json"]);
        assert_eq!(said.code, 3, "{backend:?}: {said:?}");
        let audit: Value = serde_json::from_str(&said.stdout).unwrap();
        assert!(kinds(&audit).contains(&"sold_again"), "{backend:?}: {audit:#}");
        // It was the client's doing, and not the strategy's.
        let load = ["run", "-c", "20", "-n", "1000", "--stock", "100000", "--random-seed", "3"];
        let said = place.stockbench(&[&load[..], &blind].concat());
        assert!(said.code == 3 && said.stdout.contains("were sold to twice"), "{backend:?}: {said:?}");
        assert!(!said.stdout.contains("stockbench explore"), "{backend:?}: {said:?}");
        // The same, and it had never reached the server: nothing was sold twice.
        let blind = ["-s", "atomic", "--fault", "cut-before@*:3%", "--retry-unknown", "new-id"];
        let (code, report) = cut(&place, &blind);
        assert_eq!(code, 0, "{backend:?}: {report:#}");
    }
}

#[test]
fn a_client_that_dies_between_its_statements_leaves_nothing_behind() {
    for backend in SERVERS {
        let Some(place) = place(backend) else { continue };
        let (code, report) = cut(&place, &["-s", "pessimistic", "--fault", "die@*:2%"]);
        assert_eq!(code, 0, "{backend:?}: {report:#}");
        assert!(outcome(&report, "unknown") > 10, "{backend:?}: {report:#}");
        assert_eq!(report["audit"]["unknown_not_applied"], outcome(&report, "unknown"), "{backend:?}");
    }
}

/// Without a transaction around them, too: what left the stock and came into no ledger is
/// found.
#[test]
fn a_client_that_dies_between_two_statements_of_its_own_leaves_a_trace() {
    let Some(place) = place(Backend::Postgres) else { return };
    let run = ["-s", "naive", "-c", "1", "-n", "400", "--stock", "1000", "--random-seed", "7"];
    let (code, report) = place.run(&[&run[..], &["--fault", "die@*:5%"]].concat());
    assert_eq!(code, 3, "{report:#}");
    let died = report["struck"]["die"].as_u64().unwrap();
    assert!(died > 0 && died == outcome(&report, "unknown"), "{report:#}");
    assert!(!kinds(&report).is_empty(), "{report:#}");
}

/// A script goes to Redis, and over no network that could be cut.
#[test]
fn only_what_goes_over_the_wire_is_cut_and_counted() {
    let Some(place) = place(Backend::Postgres) else { return };
    if server(LabKind::Redis).is_none() {
        return;
    }
    let run = ["-s", "redis-lock-pessimistic", "-c", "4", "-n", "400", "--stock", "1000"];
    let (code, report) = place.run(&[&run[..], &["--fault", "cut-after@*:5%"]].concat());
    assert_eq!(code, 0, "{report:#}");
    let struck = report["struck"]["cut-after"].as_u64().unwrap();
    assert!(struck > 0, "{report:#}");
    assert_eq!(report["errors_by_class"]["lost"], struck, "{report:#}");
}

/// What goes wrong follows from the seed, whoever of the clients gets which order.
#[test]
fn the_same_seed_strikes_the_same_orders() {
    let Some(place) = place(Backend::Postgres) else { return };
    let struck = |name: &str| {
        let history = place.path(name).display().to_string();
        let run = ["-s", "atomic", "--fault", "lose@*:5%", "--history", &history];
        let (code, report) = cut(&place, &run);
        assert_eq!(code, 0, "{report:#}");
        let answers = std::fs::read_to_string(&history).unwrap();
        let answers = answers.lines().filter(|line| !line.starts_with('#') && line.contains(",unknown,"));
        // Ids begin with the number of the run.
        let number = |line: &str| line.split(',').next().unwrap().parse::<u64>().unwrap() % 10_000_000_000;
        let mut numbers: Vec<u64> = answers.map(number).collect();
        numbers.sort_unstable();
        numbers
    };
    let (first, second) = (struck("first.csv"), struck("second.csv"));
    assert!(first.len() > 50, "{first:?}");
    assert_eq!(first, second);
}

#[test]
fn locked_rows_are_refused_in_time_and_tried_again() {
    for backend in SERVERS {
        let Some(place) = place(backend) else { continue };
        let load = ["-s", "atomic", "-c", "10", "--lock-timeout", "1s", "--fault", "lock-rows@1s:8s"];
        let (code, report) = place.run(&[&load[..], &["-r", "50", "-n", "300"], &PLENTY].concat());
        assert_eq!(code, 0, "{backend:?}: {report:#}");
        assert!(report["errors_by_class"]["locked"].as_u64().unwrap() > 0, "{backend:?}: {report:#}");
        let lock = marks(&report, "lock-rows");
        assert!(lock[0]["recovered_s"].as_f64().unwrap() > 1.0, "{backend:?}: {lock:#?}");
    }
}

#[test]
fn a_server_without_connections_to_give_is_waited_for() {
    for (kind, code_of_full) in
        [(LabKind::Postgres, "53300"), (LabKind::MySql, "1040"), (LabKind::MariaDb, "1040")]
    {
        let load = ["-s", "atomic", "-c", "20", "--fault", "take-connections@500ms:3s"];
        let cuts = ["--fault", "cut-before@*:10%"];
        let Some((code, report)) = run_in_lab(kind, &[&load[..], &cuts, &ARRIVALS, &PLENTY].concat()) else {
            continue;
        };
        assert_eq!(code, 0, "{kind:?}: {report:#}");
        assert_eq!(marks(&report, "take-connections").len(), 1, "{kind:?}: {report:#}");
        assert_eq!(outcome(&report, "error"), 0, "{kind:?}: {report:#}");
        assert!(report["errors"][code_of_full].as_u64().unwrap_or(0) > 0, "{kind:?}: {}", report["errors"]);
    }
}

/// Faults that meet: each is in the way of the other, and neither is an error.
#[test]
fn faults_go_together() {
    let load = ["-s", "pessimistic", "-c", "20", "--fault", "kill-server@1s"];
    let faults = [
        ["--fault", "end-session@0s/20ms"],
        ["--fault", "lock-rows@500ms/1s:700ms"],
        ["--fault", "take-connections@800ms:300ms"],
        ["--fault", "pause-server@1500ms:200ms"],
    ]
    .concat();
    let arguments = [&load[..], &faults, &ARRIVALS, &PLENTY].concat();
    let Some((code, report)) = run_in_lab(LabKind::Postgres, &arguments) else { return };
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(report["fault_error"], Value::Null);
    for fault in ["kill-server", "end-session", "lock-rows", "take-connections", "pause-server"] {
        assert!(!marks(&report, fault).is_empty(), "{fault}: {report:#}");
    }
    assert_every_unknown_is_resolved(&report);
}

/// The units that clients were told of and the ledger never heard of are named to the
/// last one.
#[test]
fn a_counter_that_dies_is_told_from_the_ledger_to_the_unit() {
    if server(LabKind::Redis).is_none() {
        return;
    }
    for backend in SERVERS {
        let Some(place) = place(backend) else { continue };
        let run = ["-s", "redis-counter", "-c", "20", "-n", "3000", "--stock", "100000", "--skus", "5"];
        let (code, report) = place.run(&[&run[..], &["--fault", "kill-redis@1500"]].concat());
        assert_eq!(code, 3, "{backend:?}: {report:#}");
        let kill = marks(&report, "kill-redis");
        assert!(kill.len() == 1 && kill[0]["at_s"].as_f64().unwrap() > 0.0, "{backend:?}: {kill:#?}");
        let units = |of: &str| report["audit"]["units"][of].as_i64().unwrap();
        let findings = report["audit"]["findings"].as_array().unwrap();
        let lost = findings.iter().filter(|finding| finding["kind"] == "lost_sale");
        let lost: i64 = lost.map(|finding| finding["units"].as_i64().unwrap()).sum();
        assert!(lost > 0, "{backend:?}: {report:#}");
        assert_eq!(units("told") - units("ledger"), lost, "{backend:?}: {report:#}");
    }
}

/// Nobody is to believe that a crash was survived which never came.
#[test]
fn a_fault_that_never_came_is_said() {
    let Some(place) = place(Backend::Postgres) else { return };
    let (code, report) = place.run(&["-s", "atomic", "-n", "50", "--fault", "lock-rows@1h"]);
    assert_eq!(code, 1, "{report:#}");
    let said = report["fault_error"].as_str().unwrap();
    assert!(said.contains("lock-rows@1h") && said.contains("over before it could strike"), "{said}");
}

/// Nor that Redis died after more orders than there were, nor that a server did which was
/// to die when nobody asked it any more.
#[test]
fn a_fault_whose_turn_never_came_is_said() {
    if let Some(place) = place(Backend::Postgres)
        && server(LabKind::Redis).is_some()
    {
        let run = ["-s", "redis-counter", "-n", "50", "--fault", "kill-redis@5000"];
        let (code, report) = place.run(&run);
        assert_eq!(code, 1, "{report:#}");
        assert!(report["fault_error"].as_str().unwrap().contains("kill-redis@5000"), "{report:#}");
    }
    let load = ["-s", "atomic", "-c", "4", "-d", "2s", "--fault", "pause-server@0s:4s"];
    let late = ["--fault", "kill-server@1s"];
    let Some((code, report)) = run_in_lab(LabKind::Postgres, &[&load[..], &late, &PLENTY].concat()) else {
        return;
    };
    assert_eq!(code, 1, "{report:#}");
    let said = report["fault_error"].as_str().unwrap();
    assert!(said.contains("kill-server@1s") && said.contains("over before it could strike"), "{said}");
    assert!(marks(&report, "kill-server").is_empty(), "{report:#}");

    // Nor that a disk was full which takes longer to fill than there is time.
    if nix::unistd::Uid::effective().is_root() {
        let late = ["-s", "atomic", "-c", "4", "-d", "1s", "--fault", "fill-disk@990ms:1s"];
        let Some((code, report)) = run_in_lab(LabKind::Postgres, &[&late[..], &PLENTY].concat()) else {
            return;
        };
        assert_eq!((code, marks(&report, "fill-disk").len()), (1, 0), "{report:#}");
        let said = report["fault_error"].as_str().unwrap();
        assert!(said.contains("over before it could strike"), "{said}");
    }
}

/// Where nothing is sold, what is done counts.
#[test]
fn a_restock_succeeds_again_after_a_fault() {
    let Some(place) = place(Backend::Postgres) else { return };
    let run = ["-s", "restock", "-c", "4", "-r", "50", "-n", "400", "--fault", "lock-rows@500ms:500ms"];
    let (code, report) = place.run(&run);
    assert_eq!(code, 0, "{report:#}");
    assert!(marks(&report, "lock-rows")[0]["recovered_s"].as_f64().is_some(), "{report:#}");
}

/// A lock whose server is killed is not told of for longer than it was held.
#[test]
fn a_lock_is_gone_with_its_server() {
    let load = ["-s", "atomic", "-c", "4", "--fault", "lock-rows@0s:60s", "--fault", "kill-server@6s"];
    let Some((code, report)) = run_in_lab(LabKind::Postgres, &[&load[..], &ARRIVALS, &PLENTY].concat())
    else {
        return;
    };
    assert_eq!(code, 0, "{report:#}");
    assert!(marks(&report, "lock-rows")[0]["lasted_s"].as_f64().unwrap() < 60.0, "{report:#}");
}

/// A server that is far away for a while is not lost: whoever connects waits as long as that
/// takes.
#[test]
fn a_connection_over_a_long_way_is_waited_for() {
    let Some(place) = place(Backend::Postgres) else { return };
    // Logging in takes four round trips, which are more than the 10 s that it has otherwise.
    // An order that is asked for again ends well wherever its session does.
    let load = ["-s", "idempotent", "-c", "1", "-d", "6s", "--fault", "add-latency@0s:20s+3s"];
    let (code, report) = place.run(&[&load[..], &["--fault", "end-session@1s"]].concat());
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(marks(&report, "end-session").len(), 1, "{report:#}");
    assert!(report["errors_by_class"]["lost"].as_u64() > Some(0), "{report:#}");
    assert_eq!(report["errors_by_class"]["never_started"], Value::Null, "{report:#}");
}

#[test]
fn a_longer_way_to_the_server_costs_every_order_its_round_trips() {
    let Some(place) = place(Backend::Postgres) else { return };
    let load = ["-s", "pessimistic", "-c", "1", "-n", "20", "--stock", "1000", "--skus", "1"];
    let (code, report) = place.run(&[&load[..], &["--rtt", "20ms"]].concat());
    assert_eq!(code, 0, "{report:#}");
    // BEGIN, SELECT, UPDATE, INSERT, COMMIT.
    assert!(report["latency_us"]["order"]["deducted"]["min"].as_u64().unwrap() >= 100_000, "{report:#}");
    assert_eq!(report["config"]["rtt_us"], 20_000);
}

/// Two that meet add up.
#[test]
fn a_way_that_is_longer_for_a_while_costs_the_orders_of_that_while() {
    for backend in SERVERS {
        let Some(place) = place(backend) else { continue };
        let load = ["-s", "atomic", "-c", "4", "-r", "50", "-n", "300", "--isolation", "read-committed"];
        let longer = ["--fault", "add-latency@1s:3s+30ms", "--fault", "add-latency@2s:1s+40ms"];
        let (code, report) = place.run(&[&load[..], &longer, &PLENTY].concat());
        assert_eq!(code, 0, "{backend:?}: {report:#}");
        let marks = marks(&report, "add-latency");
        assert_eq!(marks.len(), 2, "{backend:?}: {report:#}");
        // Counted from when it was really sent: whoever waits for a client waits, too.
        let latency = &report["latency_us"]["order_uncorrected"]["deducted"];
        // BEGIN may go with what follows it; an UPDATE, an INSERT and a COMMIT are three.
        assert!(latency["max"].as_u64() >= Some(3 * 70_000), "{backend:?}: {latency:#}");
        assert_eq!(report["config"]["rtt_us"], 0);
    }
}

#[test]
fn faults_that_cannot_be_are_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| stockbench(folder.path(), &[&["run"], arguments].concat());
    assert_one_line(&run(&["--fault", "kill-server@1s"]), 2, &["use --lab"]);
    assert_one_line(&run(&["--fault", "end-session@1s"]), 2, &["SQLite has no server"]);
    assert_one_line(&run(&["--fault", "take-connections@1s"]), 2, &["use --lab"]);
    assert_one_line(&run(&["--fault", "lock-rows@1s", "-s", "units"]), 2, &["keeps its stock elsewhere"]);
    let file = ["--fault", "end-session@1s", "--database-url", "sqlite:x.db"];
    assert_one_line(&run(&file), 2, &["SQLite has no server"]);
    let cluster = ["--fault", "fill-disk@1s", "--lab", "galera"];
    assert_one_line(&run(&cluster), 2, &["not for a cluster"]);
    assert_one_line(&run(&["--fault", "cut-after@*"]), 2, &["over no network"]);
    assert_one_line(&run(&["--rtt", "1ms"]), 2, &["over no network"]);
    assert_one_line(&run(&["--fault", "add-latency@1s+1ms"]), 2, &["over no network"]);
    let nothing = ["--fault", "lock-rows@1s", "--database-url", "null:"];
    assert_one_line(&run(&nothing), 2, &["null: is no server and keeps nothing"]);
    for (fault, fragment) in [
        ("kil-server@1s", "did you mean"),
        ("kill-server@soon", "is not kill-server@START"),
        ("end-session@1s:2s", "takes no time"),
        ("add-latency@1s:2s", "say how much longer"),
        ("lock-rows@1s+1ms", "adds nothing"),
        ("kill-redis@1s/1s", "is not started again"),
    ] {
        let said = run(&["--fault", fragment, "--fault", fault]);
        assert_eq!(said.code, 2, "{said:?}");
        let said = run(&["--fault", fault]);
        assert!(said.code == 2 && said.stderr.contains(fragment), "{said:?}");
    }
}

/// What a server cannot write it answers with an error, or dies of; what it had
/// acknowledged is there all the same.
#[test]
fn a_disk_that_is_full_loses_nothing_that_was_acknowledged() {
    if !nix::unistd::Uid::effective().is_root() {
        assert!(!crate::support::servers_are_required(), "a disk that can be filled takes root");
        eprintln!("*** SKIPPED: a full disk takes root");
        return;
    }
    let full_by_code = [(LabKind::Postgres, ["53100"].as_slice()), (LabKind::MariaDb, &["1021", "1114"])];
    for (kind, codes) in full_by_code {
        // Long enough for a disk that is slow to be filled and for tables to need another page.
        let load = ["-s", "atomic", "-c", "20", "-r", "200", "-n", "4000", "--fault", "fill-disk@1s:3s"];
        let Some((exit, report)) = run_in_lab(kind, &[&load[..], &PLENTY].concat()) else {
            continue;
        };
        // Orders ended in errors, which nobody had said to expect.
        assert_eq!(exit, 1, "{kind:?}: {report:#}");
        assert!(codes.iter().any(|code| report["errors"][code].as_u64() > Some(0)), "{kind:?}: {report:#}");
        let full = marks(&report, "fill-disk");
        // What there was room for while it was full says nothing of how long that took.
        assert!(full.len() == 1 && full[0]["recovered_s"].as_f64() >= Some(3.0), "{kind:?}: {report:#}");
        assert_eq!(
            (&report["audit"]["passed"], kinds(&report).len()),
            (&true.into(), 0),
            "{kind:?}: {report:#}"
        );
        assert_every_unknown_is_resolved(&report);
    }
}

#[test]
fn a_saga_whose_client_dies_says_so_in_its_file_and_is_caught() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let listed = stockbench(place.folder.path(), &["strategies"]).stdout;
    let saga = listed.lines().find(|line| line.starts_with("saga ")).unwrap();
    assert!(saga.contains("[unsafe: where a client dies in the middle"), "{saga}");

    let load = ["-s", "saga", "--fault", "die@*:5%", "--fault", "crash@order:2%", "-n", "600", "-c", "20"];
    let (code, report) = place.run(&load);
    assert_eq!(code, 3, "{report:#}");
    assert!(report["audit"]["findings_by_kind"]["invariant"].as_u64() > Some(0), "{report:#}");
}
