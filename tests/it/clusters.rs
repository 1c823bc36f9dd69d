//! Real clusters: three nodes, clients spread over all of them, and nodes that must
//! agree in the end.

use crate::support::{
    Backend, Said, assert_one_line, block_on, execute, kinds, outcome, place, server, stockbench, until,
};
use crate::tables::standby::standby_of;
use serde_json::Value;
use std::time::Duration;
use stockbench::db::{Database, DatabaseUrl, SessionSettings};
use stockbench::lab::{LabKind, LabServer};

/// `stockbench run` on a cluster with 300 clients; its exit code and report.
fn run_on(cluster: &LabServer, arguments: &[&str]) -> (i32, Value) {
    let said = said_on(cluster, arguments);
    let report = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("{error} in {arguments:?}: {said:?}"));
    (said.code, report)
}

fn said_on(cluster: &LabServer, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    let run = ["run", "-o", "json", "--database-url", &cluster.url, "-c", "300", "-d", "3s"];
    let stock = ["--skus", "5", "--stock", "100000"];
    stockbench(folder.path(), &[&run[..], &stock, arguments].concat())
}

fn conflicts(report: &Value) -> u64 {
    report["errors_by_class"]["retry"].as_u64().unwrap_or(0)
}

/// What happens by chance need not happen in the first run: on a machine that is busy
/// enough nobody gets in anybody's way.
const RUNS_TO_SEE: u32 = 3;

/// Runs a strategy until it has been seen what it does; `looks` holds every run to what
/// must not be otherwise in any.
fn assert_seen(cluster: &LabServer, strategy: &str, looks: impl Fn(i32, &Value) -> bool) {
    let is_seen = (0..RUNS_TO_SEE).any(|_| {
        let (code, report) = run_on(cluster, &["-s", strategy]);
        assert_eq!(report["database"]["nodes"], 3);
        looks(code, &report)
    });
    assert!(is_seen, "{strategy}: not in {RUNS_TO_SEE} runs");
}

/// Named locks belong to a node, and so does what a statement of its own reads;
/// what is checked where it is written, the cluster certifies.
fn assert_only_what_is_local_is_caught(cluster: &LabServer) {
    for strategy in ["atomic", "optimistic"] {
        assert_seen(cluster, strategy, |code, report| {
            assert!(code == 0 && outcome(report, "deducted") > 0, "{strategy}: {report:#}");
            conflicts(report) > 0
        });
    }
    for strategy in ["advisory", "naive"] {
        assert_seen(cluster, strategy, |code, report| {
            let found = kinds(report);
            assert_eq!(code, if found.is_empty() { 0 } else { 3 }, "{strategy}: {report:#}");
            assert!(!found.contains(&"nodes_differ"), "{strategy}: {report:#}");
            found.contains(&"lost_update")
        });
    }
}

#[test]
fn galera_certifies_what_is_written_and_knows_no_named_locks() {
    let Some(cluster) = server(LabKind::Galera) else { return };
    assert_only_what_is_local_is_caught(cluster);
    let folder = tempfile::tempdir().unwrap();
    let locks = said_on(cluster, &["-s", "atomic", "--fault", "lock-rows@1s"]);
    assert_one_line(&locks, 2, &["lock-rows locks rows on one node"]);
    let explore = ["explore", "-s", "naive", "--database-url", &cluster.url];
    let said = stockbench(folder.path(), &explore);
    assert!(said.code == 2 && said.stderr.contains("name one node"), "{said:?}");

    // A node that was written to past the cluster is told from the others.
    let second = cluster.url.split(",mariadb://").nth(1).map(|rest| format!("mariadb://{rest}")).unwrap();
    execute(&second, "SET SESSION wsrep_on = OFF; UPDATE stockbench_sku SET stock = stock - 7 WHERE id = 1");
    let said = stockbench(folder.path(), &["audit", "-o", "json", "--database-url", &cluster.url]);
    assert_eq!(said.code, 3, "{said:?}");
    let audit: Value = serde_json::from_str(&said.stdout).unwrap();
    let finding = audit["audit"]["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["kind"] == "nodes_differ");
    let finding = finding.unwrap_or_else(|| panic!("{audit:#}"));
    assert_eq!((&finding["sku_id"], &finding["units"]), (&1.into(), &7.into()));
    execute(&second, "SET SESSION wsrep_on = OFF; UPDATE stockbench_sku SET stock = stock + 7 WHERE id = 1");

    assert_eq!(run_on(cluster, &["-s", "atomic"]).0, 0);
    // Without one of its nodes nobody knows whether all agree: nothing passes, and no
    // strategy is blamed for it.
    let fourth = format!("{},mariadb://nobody@127.0.0.1:1/stockbench", cluster.url);
    let said = stockbench(folder.path(), &["audit", "-o", "json", "--database-url", &fourth]);
    assert_eq!(said.code, 1, "{said:?}");
    let audit: Value = serde_json::from_str(&said.stdout).unwrap();
    let away = audit["audit"]["nodes_away"].as_array().unwrap();
    assert!(away.len() == 1 && away[0].as_str().unwrap().contains("127.0.0.1:1"), "{audit:#}");
    assert_eq!((&audit["audit"]["passed"], kinds(&audit).len()), (&false.into(), 0), "{audit:#}");
    let run = ["run", "-s", "atomic", "--skus", "5", "--stock", "100", "-n", "10", "--database-url", &fourth];
    assert_one_line(&stockbench(folder.path(), &run), 1, &["a node of the cluster is not there"]);
    let mapping = folder.path().join("m.toml").display().to_string();
    std::fs::write(&mapping, include_str!("../corpus/inventory_log.toml")).unwrap();
    let tables = ["audit", "--mapping", &mapping, "--database-url", &cluster.url];
    assert_one_line(&stockbench(folder.path(), &tables), 2, &["name one node"]);
}

#[test]
fn group_replication_certifies_too_and_refuses_serializable() {
    let Some(cluster) = server(LabKind::GroupReplication) else { return };
    assert_only_what_is_local_is_caught(cluster);
    let said = said_on(cluster, &["-s", "serializable"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("Group Replication refuses SERIALIZABLE"), "{said:?}");
    assert_who_is_not_back_has_no_say(cluster);
}

/// A member that was started again answers before it has joined its group, and knows
/// nothing of what was sold meanwhile: no strategy is blamed for it, nor does it pass.
#[track_caller]
fn assert_who_is_not_back_has_no_say(cluster: &LabServer) {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("told.csv").display().to_string();
    let (first, others) = cluster.url.split_once(',').unwrap();
    let run_at = |url: &str| {
        let run = ["run", "-s", "atomic", "--skus", "50", "--stock", "100", "-c", "2", "-n", "100"];
        stockbench(folder.path(), &[&run[..], &["--history", &history, "--database-url", url]].concat())
    };
    let said = run_at(&cluster.url);
    assert_eq!(said.code, 0, "{said:?}");
    cluster.crash(0).unwrap();
    until("the member answers", || {
        let settings = SessionSettings::default();
        block_on(Database::connect(&DatabaseUrl::parse(first).unwrap(), &settings, Duration::ZERO)).is_ok()
    });
    let said = run_at(others);
    assert_eq!(said.code, 0, "{said:?}");
    let audit = ["audit", "-o", "json", "--history", &history, "--database-url", &cluster.url];
    let said = stockbench(folder.path(), &audit);
    assert_eq!(said.code, 1, "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"));
    let away = report["audit"]["nodes_away"].as_array().unwrap();
    assert!(away.len() == 1 && away[0].as_str().unwrap().contains("left its cluster"), "{report:#}");
    assert!(kinds(&report).is_empty(), "{report:#}");
    block_on(cluster.is_back(0)).unwrap();
    let said = stockbench(folder.path(), &audit);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_cluster_that_loses_a_node_goes_on_and_agrees_in_the_end() {
    if server(LabKind::MariaDb).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // A rate and no window: what arrives after the fault is served, however long it lasts.
    let run = ["run", "-o", "json", "--lab", "galera", "-s", "atomic", "-c", "60", "-r", "100", "-n", "600"];
    let stock = ["--skus", "20", "--stock", "100000", "--fault", "kill-server@3s"];
    let said = stockbench(folder.path(), &[&run[..], &stock].concat());
    assert_eq!(said.code, 0, "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_gone_on(&report);
}

/// Every order was sold, or its answer was lost, or its two minutes were over before a
/// group had let go of its member; and all nodes are there in the end.
#[track_caller]
fn assert_gone_on(report: &Value) {
    let known: u64 = ["deducted", "unknown", "conflict"].iter().map(|told| outcome(report, told)).sum();
    assert_eq!(report["deliveries"], known, "{report:#}");
    assert!(outcome(report, "deducted") > known / 2, "{report:#}");
    assert!(report["faults"][0]["recovered_s"].as_f64().is_some(), "{report:#}");
    assert!(report["errors_by_class"]["lost"].as_u64() > Some(0), "{report:#}");
    assert_eq!(report["audit"]["nodes_away"].as_array().unwrap().len(), 0, "{report:#}");
}

/// A run on a group of three whose first member is killed: this seed has chosen it.
fn without_the_first(group: &str, load: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let run = ["run", "-o", "json", "--lab", group, "-s", "atomic", "--random-seed", SEED_OF_THE_FIRST];
    // As long as a group may need to let go of it.
    let fault = ["--fault", "kill-server@2s", "--reconnect", "300s"];
    let said = stockbench(folder.path(), &[&run[..], &fault, load].concat());
    assert_eq!(said.code, 0, "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["faults"][0]["node"], 0, "{report:#}");
    assert_gone_on(&report);
}

const SEED_OF_THE_FIRST: &str = "2";

#[test]
fn a_group_goes_on_without_one_of_its_members() {
    if server(LabKind::MySql).is_none() {
        return;
    }
    // Clients are on every node, and a third of them on this one.
    let spread = ["-c", "300", "-r", "30", "-n", "300", "--skus", "1000", "--stock", "1000"];
    without_the_first("group-replication", &spread);
}

#[test]
fn a_group_with_one_primary_goes_on_without_it() {
    if server(LabKind::MySql).is_none() {
        return;
    }
    let load = ["-c", "30", "-r", "100", "-n", "400", "--skus", "20", "--stock", "100000"];
    without_the_first("group-replication-single", &load);
}

/// What is in no cluster has not left one: two ways to one plain server agree.
#[test]
fn plain_servers_named_as_nodes_have_left_no_cluster() {
    for backend in [Backend::MySql, Backend::MariaDb, Backend::Postgres] {
        let Some(place) = place(backend) else { continue };
        let twice = format!("{0},{0}", place.url);
        let run = ["run", "-o", "json", "-s", "atomic", "-n", "200", "--database-url", &twice];
        let said = stockbench(place.folder.path(), &run);
        assert_eq!(said.code, 0, "{backend:?}: {said:?}");
        let report: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(report["database"]["nodes"], 2, "{backend:?}: {report:#}");
        assert_eq!(report["audit"]["nodes_away"].as_array().unwrap().len(), 0, "{backend:?}: {report:#}");
    }
}

#[test]
fn a_standby_takes_no_orders_and_what_was_read_there_is_caught() {
    let Some(place) = place(Backend::Postgres) else { return };
    let database = DatabaseUrl::parse(&place.url).unwrap().database;
    let standby = standby_of(&server(LabKind::Postgres).unwrap().url, &database, "-1");
    let standby_url = DatabaseUrl::parse(&standby.url).unwrap();
    until("the standby answers", || {
        let settings = SessionSettings::default();
        block_on(Database::connect(&standby_url, &settings, Duration::ZERO)).is_ok()
    });
    let run = ["run", "-o", "json", "--skus", "1", "--stock", "100000", "-n", "300", "--database-url"];
    let both = format!("{},{}", standby.url, place.url);
    let said = stockbench(place.folder.path(), &[&run[..], &[&both, "-s", "atomic"]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((outcome(&report, "deducted"), &report["database"]["nodes"]), (300, &2.into()), "{report:#}");

    // One client alone, in nobody's way, sells what the standby does not know to be sold:
    // it is behind by many orders' time.
    execute(&standby.url, "ALTER SYSTEM SET recovery_min_apply_delay = '1s'");
    execute(&standby.url, "SELECT pg_reload_conf()");
    let service = format!("replica={}", standby.url);
    let alone = [&place.url, "-s", "read-replica", "-c", "1"];
    let said = stockbench(place.folder.path(), &[&run[..], &alone].concat());
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(kinds(&report).is_empty(), "{report:#}");
    let said = stockbench(place.folder.path(), &[&run[..], &alone, &["--service", &service]].concat());
    assert_eq!(said.code, 3, "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(report["audit"]["lost_update_units"].as_u64() > Some(0), "{report:#}");

    // The same where the standby is one of the cluster's nodes as well.
    let beside = ["-s", "read-replica", "-c", "4", "--service", &service];
    let said = stockbench(place.folder.path(), &[&run[..], &[&both], &beside].concat());
    assert_eq!(said.code, 3, "{said:?}");
}
