//! What lies about where a command begins: files that cannot be written or are not there,
//! tables that somebody dropped, servers that are something else.

use crate::support::{
    Backend, Place, assert_one_line, block_on, chmod, execute, on_every_database, output, place, query,
    servers_are_required, stockbench, unprivileged,
};
use std::path::Path;
use stockbench::lab::{LabKind, LabServer};

on_every_database!(a_table_that_somebody_dropped_is_named_with_its_cure);

/// A file in WAL mode, with what a run has left in it, in a folder by itself.
fn file_of_a_run(place: &Place) -> std::path::PathBuf {
    let folder = place.path("shop");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("a.db");
    let url = format!("sqlite:{}", file.display());
    let said = stockbench(place.folder.path(), &["run", "-n", "50", "--database-url", &url]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!folder.join("a.db-wal").exists(), "it was closed in whole");
    chmod(place.folder.path(), 0o755);
    file
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_that_may_only_be_read_is_audited_and_left_alone() {
    let place = place(Backend::Sqlite).unwrap();
    let file = file_of_a_run(&place);
    let folder = file.parent().unwrap();
    let url = format!("sqlite:{}", file.display());
    let audit = || output(&mut unprivileged(place.folder.path(), &["audit", "--database-url", &url]));

    for (folder_mode, file_mode) in [(0o555, 0o644), (0o777, 0o444), (0o555, 0o444)] {
        chmod(&file, file_mode);
        chmod(folder, folder_mode);
        let said = audit();
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.stdout.contains("audit: passed (3 SKUs, 53 entries, 50 orders)"), "{said:?}");
        assert_eq!(names(folder), ["a.db"]);
    }

    // A log that nobody can read there is a part of the file.
    chmod(folder, 0o755);
    std::fs::write(folder.join("a.db-wal"), "").unwrap();
    chmod(folder, 0o555);
    assert_one_line(&audit(), 1, &["a.db-wal is a part of it", "copy both to a folder of your own"]);
    chmod(folder, 0o755);
}

#[test]
fn a_journal_that_cannot_be_written_ends_as_other_files_do() {
    let place = place(Backend::Sqlite).unwrap();
    chmod(place.folder.path(), 0o755);
    let folder = place.path("closed");
    std::fs::create_dir(&folder).unwrap();
    chmod(&folder, 0o555);
    let load = ["-d", "100ms", "--warmup", "0s", "--rounds", "1", "-c", "1", "--contention", "1"];
    let compare = ["compare", "-s", "atomic", "--database-url", "null:", "--journal", "closed/j.jsonl"];
    let said = output(&mut unprivileged(place.folder.path(), &[&compare[..], &load].concat()));
    assert_one_line(&said, 1, &["cannot write closed/j.jsonl: Permission denied"]);
    // What is no journal is a bad file all the same.
    let notes = place.write("notes.txt", "notes\n");
    let compare = ["compare", "-s", "atomic", "--database-url", "null:", "--journal", &notes];
    let said = stockbench(place.folder.path(), &[&compare[..], &load].concat());
    assert_one_line(&said, 2, &["this is no journal"]);
}

#[test]
fn an_exploration_begins_with_the_file_that_a_run_would_make() {
    let place = place(Backend::Sqlite).unwrap();
    let explore = |more: &[&str]| stockbench(place.folder.path(), &[&["explore"], more].concat());

    let said = explore(&["-s", "atomic", "--database-url", "sqlite:new.db"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(names(place.folder.path()), ["new.db"]);
    let said = explore(&["-s", "atomic"]);
    assert_eq!((said.code, names(place.folder.path())), (0, vec!["new.db".to_owned()]), "{said:?}");

    // One that fails leaves none behind, and takes none away.
    let wrong = "summary = 'x'\n[[transaction]]\n[[transaction.step]]\nsql = 'SELECT nothing FROM nowhere'\n";
    let wrong = place.write("wrong.toml", wrong);
    for file in ["newer.db", "new.db"] {
        let said = explore(&["-s", &wrong, "--database-url", &format!("sqlite:{file}")]);
        assert_eq!(said.code, 2, "{said:?}");
        assert_eq!(names(place.folder.path()), ["new.db", "wrong.toml"]);
    }
    let said = explore(&["-s", "atomic", "--database-url", "sqlite:nowhere/new.db"]);
    assert_one_line(&said, 1, &["there is no SQLite database at nowhere/new.db"]);
}

fn a_table_that_somebody_dropped_is_named_with_its_cure(place: &Place) {
    let run = ["run", "-n", "20"];
    assert_eq!(place.stockbench(&run).code, 0);
    place.execute("DROP TABLE stockbench_ledger");
    for command in [&run[..], &["seed"]] {
        let said = place.stockbench(command);
        assert_one_line(&said, 1, &["stockbench_ledger is gone", "`stockbench clean`"]);
    }
    assert_eq!(place.stockbench(&["clean"]).code, 0);
    assert_eq!(place.stockbench(&run).code, 0);
}

/// A user of a place's server who may connect, and what is granted later.
fn clerk(place: &Place, limits: &str) -> (String, String) {
    let mut url = url::Url::parse(&place.url).unwrap();
    let name = format!("clerk_{}", url.path().trim_start_matches('/'));
    match place.backend {
        Backend::Postgres => place.execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'x' {limits}")),
        _ => place.execute(&format!("CREATE USER {name} IDENTIFIED BY 'x' {limits}")),
    }
    url.set_username(&name).unwrap();
    url.set_password(Some("x")).unwrap();
    (name, url.to_string())
}

#[test]
fn a_missing_right_is_said_once_with_the_grant_that_helps() {
    let Some(place) = place(Backend::Postgres) else { return };
    let (name, url) = clerk(&place, "");
    let database = query(&place.url, "SELECT current_database()::text");
    for (command, what, grant) in [
        (&["run", "-n", "20"][..], "schema public", format!("SCHEMA public TO {name}")),
        (&["explore", "-s", "atomic"], "database", format!("DATABASE {database} TO {name}")),
    ] {
        let command = || stockbench(place.folder.path(), &[command, &["--database-url", &url]].concat());
        let said = command();
        let grant = format!("GRANT CREATE ON {grant}");
        assert_one_line(&said, 1, &[what, &grant]);
        assert_eq!(said.stderr.matches("permission denied").count(), 1, "{said:?}");
        place.execute(&grant);
        assert_eq!(command().code, 0, "{grant}");
    }
}

#[test]
fn a_server_that_speaks_another_protocol_is_named() {
    for (backend, scheme, fragment) in [
        (Backend::Postgres, "mysql", "a PostgreSQL server answers there: begin the URL with postgres://"),
        (Backend::Postgres, "mariadb", "a PostgreSQL server answers there: begin the URL with postgres://"),
        (Backend::MySql, "postgres", "a server of MySQL's kind answers there"),
        (Backend::MariaDb, "postgres", "a server of MySQL's kind answers there"),
    ] {
        let Some(place) = place(backend) else { continue };
        let (_, rest) = place.url.split_once("://").unwrap();
        let url = format!("{scheme}://{}", rest.split('?').next().unwrap());
        let said = stockbench(place.folder.path(), &["audit", "--database-url", &url]);
        assert_one_line(&said, 1, &[fragment]);
    }
}

#[test]
fn an_exploration_without_connections_names_its_workers() {
    for (backend, limit) in [
        (Backend::Postgres, "CONNECTION LIMIT 3"),
        (Backend::MySql, "WITH MAX_USER_CONNECTIONS 3"),
        (Backend::MariaDb, "WITH MAX_USER_CONNECTIONS 3"),
    ] {
        let Some(place) = place(backend) else { continue };
        let (name, url) = clerk(&place, limit);
        place.execute(&match backend {
            Backend::Postgres => {
                format!(
                    "GRANT CREATE ON DATABASE {} TO {name}",
                    query(&place.url, "SELECT current_database()::text")
                )
            }
            _ => format!("GRANT ALL ON *.* TO {name}"),
        });
        let said = stockbench(place.folder.path(), &["explore", "-s", "atomic", "--database-url", &url]);
        assert_one_line(&said, 1, &["explore on fewer copies of the tables at once (--workers 1)"]);
    }
}

/// A server of its own: what it makes tables with is for everybody.
#[test]
fn tables_have_transactions_whatever_the_server_makes_by_default() {
    for (backend, kind) in [(Backend::MySql, LabKind::MySql), (Backend::MariaDb, LabKind::MariaDb)] {
        let server = match block_on(LabServer::start(kind)) {
            Ok(server) => server,
            Err(error) if servers_are_required() => panic!("servers are required here: {error:#}"),
            Err(_) => continue,
        };
        let folder = tempfile::tempdir().unwrap();
        execute(&server.url, "SET GLOBAL default_storage_engine = MyISAM");
        let place = Place { folder, url: server.url.clone(), backend };

        for (strategy, code) in [("constraint", 0), ("naive", 3)] {
            let said = place.stockbench(&["explore", "-s", strategy]);
            assert_eq!(said.code, code, "{said:?}");
        }
        let (code, report) = place.run(&["-s", "reserve-confirm", "-n", "200"]);
        assert_eq!(code, 0, "{report:#}");
        // The list of migrations is made by the driver; nothing is deducted there.
        let others = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() \
                      AND engine <> 'InnoDB' AND table_name <> 'stockbench_migrations'";
        assert_eq!(query(&place.url, others), "0");
    }
}
