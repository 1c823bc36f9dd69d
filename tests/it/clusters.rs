//! Real clusters: three nodes, clients spread over all of them, and nodes that must
//! agree in the end.

use crate::support::{Said, kinds, outcome, server, stockbench};
use serde_json::Value;
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

/// Named locks belong to a node, and so does what a statement of its own reads;
/// what is checked where it is written, the cluster certifies.
fn assert_only_what_is_local_is_caught(cluster: &LabServer) {
    for strategy in ["atomic", "optimistic"] {
        let (code, report) = run_on(cluster, &["-s", strategy]);
        assert_eq!(code, 0, "{strategy}: {report:#}");
        assert_eq!(report["database"]["nodes"], 3);
        assert!(outcome(&report, "deducted") > 0 && conflicts(&report) > 0, "{strategy}: {report:#}");
    }
    for strategy in ["advisory", "naive"] {
        let (code, report) = run_on(cluster, &["-s", strategy]);
        assert_eq!(code, 3, "{strategy}: {report:#}");
        assert!(kinds(&report).contains(&"lost_update"), "{strategy}: {report:#}");
        assert!(!kinds(&report).contains(&"nodes_differ"), "{strategy}: {report:#}");
    }
}

#[test]
fn galera_certifies_what_is_written_and_knows_no_named_locks() {
    let Some(cluster) = server(LabKind::Galera) else { return };
    assert_only_what_is_local_is_caught(cluster);
    let folder = tempfile::tempdir().unwrap();
    let explore = ["explore", "-s", "naive", "--database-url", &cluster.url];
    let said = stockbench(folder.path(), &explore);
    assert!(said.code == 2 && said.stderr.contains("name one node"), "{said:?}");

    // A node that was written to past the cluster is told from the others.
    let second = cluster.url.split(",mariadb://").nth(1).map(|rest| format!("mariadb://{rest}")).unwrap();
    crate::support::execute(
        &second,
        "SET SESSION wsrep_on = OFF; UPDATE stockbench_sku SET stock = stock - 7 WHERE id = 1",
    );
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
    crate::support::execute(
        &second,
        "SET SESSION wsrep_on = OFF; UPDATE stockbench_sku SET stock = stock + 7 WHERE id = 1",
    );
}

#[test]
fn group_replication_certifies_too_and_refuses_serializable() {
    let Some(cluster) = server(LabKind::GroupReplication) else { return };
    assert_only_what_is_local_is_caught(cluster);
    let said = said_on(cluster, &["-s", "serializable"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.stderr.contains("Group Replication refuses SERIALIZABLE"), "{said:?}");
}

#[test]
fn a_cluster_that_loses_a_node_goes_on_and_agrees_in_the_end() {
    if server(LabKind::MariaDb).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = ["run", "-o", "json", "--lab", "galera", "-s", "atomic", "-c", "60", "-d", "12s"];
    let stock = ["--skus", "20", "--stock", "100000", "--fault", "kill-server@3s"];
    let said = stockbench(folder.path(), &[&run[..], &stock].concat());
    assert_eq!(said.code, 0, "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert!(report["faults"][0]["recovered_s"].as_f64().is_some(), "{report:#}");
    assert!(report["errors_by_class"]["lost"].as_u64().unwrap() > 0, "{report:#}");
    assert_eq!(report["audit"]["nodes_away"].as_array().unwrap().len(), 0, "{report:#}");
}
