//! Lab servers: private, and gone however we go.

use crate::support::{
    Backend, assert_one_line, block_on, command, outcome, place, query, signal, spawn, until, wait,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use stockbench::lab::{LabKind, LabServer};

/// Starts `stockbench lab postgres`; its folder, and the server's process id.
fn lab(folder: &std::path::Path) -> (std::process::Child, std::path::PathBuf, i32) {
    let mut child = spawn(folder, &["lab", "postgres"]);
    let mut url = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
    assert!(url.starts_with("postgres://stockbench:"), "{url}");
    let mut place = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut place).unwrap();
    let place = place.strip_prefix("in ").unwrap().strip_suffix(" until Ctrl-C\n").unwrap();
    let pid = std::fs::read_to_string(std::path::Path::new(place).join("server.pid")).unwrap();
    (child, place.into(), pid.trim().parse().unwrap())
}

fn is_running(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

#[test]
fn a_lab_server_is_gone_after_every_kind_of_end() {
    // Starting one through the shared code first says whether there can be one.
    if place(Backend::Postgres).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for how in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGKILL] {
        let (child, place, pid) = lab(folder.path());
        assert!(is_running(pid) && place.exists());
        signal(&child, how);
        wait(child);
        until(&format!("the server is gone after {how}"), || !is_running(pid) && !place.exists());
    }
}

#[test]
fn a_server_that_does_not_start_shows_its_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("redis-server");
    std::fs::write(&broken, "#!/bin/sh\n[ \"$1\" = --version ] || echo 'no room for my data'\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&broken, mode).unwrap();
    let said =
        command(folder.path(), &["lab", "redis"]).env("STOCKBENCH_REDIS_SERVER", &broken).output().unwrap();
    let stderr = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(
        stderr.contains("the redis lab server did not start") && stderr.contains("no room for my data"),
        "{stderr}"
    );
}

#[test]
fn a_missing_binary_is_named_with_the_way_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("mysqld").display().to_string();
    for arguments in [&["lab", "mysql"][..], &["run", "--lab", "mysql"]] {
        let output = command(folder.path(), arguments).env("STOCKBENCH_MYSQLD", &missing).output().unwrap();
        let said = crate::support::Said {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert_one_line(&said, 1, &["STOCKBENCH_MYSQLD", "not a usable mysql server"]);
    }
    let output = command(folder.path(), &["run", "--lab", "mysql", "-n", "1"])
        .env_remove("STOCKBENCH_MYSQLD")
        .env_remove("STOCKBENCH_DEPS")
        .env("PATH", "")
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // A MySQL in one of the usual places would be found without a PATH.
    if output.status.code() == Some(1) {
        assert!(stderr.contains("install it"), "{stderr}");
    }
}

#[test]
fn a_version_chooses_among_the_servers() {
    if place(Backend::Postgres).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let version = |lab: &str| {
        let said =
            crate::support::stockbench(folder.path(), &["run", "--lab", lab, "-n", "10", "-o", "json"]);
        let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        report["database"]["version"].as_str().unwrap().to_owned()
    };

    let first = version("postgres");
    let major = first.split('.').next().unwrap();
    let of_major = version(&format!("postgres@{major}"));
    assert_eq!(of_major.split('.').next(), Some(major), "{of_major}");
}

#[test]
fn a_version_that_is_not_there_is_answered_with_those_that_are() {
    // An unpacked server of a version that no machine has.
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join(".deps/postgres-99/bin");
    std::fs::create_dir_all(&programs).unwrap();
    for program in ["postgres", "initdb"] {
        let path = programs.join(program);
        std::fs::write(&path, "#!/bin/sh\necho 'postgres (PostgreSQL) 99.1'\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let run = |lab: &str| {
        let mut command = command(folder.path(), &["run", "--lab", lab, "-n", "1"]);
        crate::support::output(command.env_remove("STOCKBENCH_DEPS"))
    };

    let named = format!("99.1 ({})", programs.join("postgres").canonicalize().unwrap().display());
    assert_one_line(&run("postgres@98"), 1, &["no postgres 98 on this machine: found", &named, "/.deps"]);
    assert_one_line(&run("postgres@99.2"), 1, &["no postgres 99.2", &named]);
    assert_one_line(&run("postgres@new"), 2, &["'postgres@new'", "`new` is no version"]);
    assert_one_line(&run("galera@10.11"), 2, &["a cluster takes no version: use galera"]);
}

#[test]
fn every_kind_of_lab_server_answers() {
    if place(Backend::Postgres).is_none() {
        return;
    }
    let redis = block_on(LabServer::start(LabKind::Redis));
    let required = std::env::var_os("CI").is_some();
    match redis {
        Ok(server) => assert!(server.url.starts_with("redis://:"), "{}", server.url),
        Err(error) => assert!(!required, "{error:#}"),
    }
}

#[test]
fn a_run_on_a_lab_server_needs_nothing_else() {
    if place(Backend::Postgres).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let said = crate::support::stockbench(folder.path(), &["run", "--lab", "postgres", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, outcome(&report, "deducted")), (0, 300), "{said:?}");
    assert_eq!(report["database"]["durable"], true);
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "something was left behind");
}

#[test]
fn a_server_that_dies_under_load_is_said_to_be_lost() {
    if place(Backend::Postgres).is_none() {
        return;
    }
    let server = block_on(LabServer::start(LabKind::Postgres)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["run", "--stock", "1000000", "--duration", "300s", "--database-url", &server.url];
    let child = spawn(folder.path(), &arguments);
    let sold =
        "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'stockbench_ledger' AND n_live_tup > 100";
    until("orders are sold", || query(&server.url, sold) == "1");
    kill(Pid::from_raw(server.server_pid().unwrap()), Signal::SIGKILL).unwrap();
    let said = wait(child);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains("the server was lost"), "{said:?}");
    let is_open = said.stdout.contains("│ error") || said.stdout.contains("│ unknown");
    assert!(is_open, "orders that were under way are neither sold nor refused: {said:?}");
    assert!(said.stdout.contains("audit: could not be made"), "{said:?}");
}

#[test]
fn a_lab_server_that_is_still_being_made_is_gone_too() {
    if place(Backend::Postgres).is_none() {
        return;
    }
    // Its folder is told apart by a temporary directory of its own.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    let is_empty = || std::fs::read_dir(folder.path()).unwrap().next().is_none();
    for how in [Signal::SIGTERM, Signal::SIGKILL] {
        let child = command(folder.path(), &["lab", "postgres"])
            .env("TMPDIR", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let is_being_made = || {
            let mut found = std::fs::read_dir(folder.path()).unwrap();
            found.any(|entry| entry.unwrap().path().join("server.pid").exists())
        };
        until("the data folder is being made", is_being_made);
        signal(&child, how);
        wait(child);
        until(&format!("its folder is gone after {how}"), is_empty);
    }
}

#[test]
fn snapshot_isolation_refuses_on_mariadb_what_repeatable_read_lets_through() {
    if place(Backend::MariaDb).is_none() {
        return;
    }
    // A server of its own: the setting is everybody's.
    let server = block_on(LabServer::start(LabKind::MariaDb)).unwrap();
    crate::support::execute(&server.url, "SET GLOBAL innodb_snapshot_isolation = ON");
    let folder = tempfile::tempdir().unwrap();
    let hot = [
        "-s",
        "naive-tx",
        "--isolation",
        "repeatable-read",
        "--skus",
        "1",
        "--stock",
        "200",
        "--orders",
        "1000",
    ];
    let run = ["run", "-o", "json", "--database-url", &server.url];
    let said = crate::support::stockbench(folder.path(), &[&run[..], &hot].concat());
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, outcome(&report, "deducted")), (0, 200), "{report:#}");
    assert_eq!(report["database"]["settings"]["innodb_snapshot_isolation"], "ON");
    assert!(report["errors"]["1020"].as_u64().unwrap_or(0) > 0, "nothing was refused: {report:#}");

    // What a scenario expects there is not what it expects elsewhere.
    let said =
        crate::support::stockbench(folder.path(), &[&run[..], &["--scenario", "isolation-trap"]].concat());
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, &report["expectation"]["audit"]), (0, &"nothing".into()), "{report:#}");
}

/// MySQL and MariaDB delete every temporary table that they find when they start.
#[test]
fn servers_share_no_folder_for_temporary_tables() {
    for backend in [Backend::MySql, Backend::MariaDb] {
        let Some(place) = place(backend) else { continue };
        let folder = query(&place.url, "SELECT @@GLOBAL.tmpdir");
        assert!(folder.contains("stockbench-lab-"), "{backend:?}: {folder}");
    }
}
