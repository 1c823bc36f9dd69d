//! What keeps a run from hurting: other tables, other runs, lost servers.

use crate::support::{
    Backend, Place, assert_one_line, block_on, database, on_every_database, outcome, place, query, signal,
    spawn, until, wait,
};
use nix::sys::signal::Signal;
use stockbench::db::SessionSettings;

on_every_database!(
    a_second_run_on_the_same_database_is_refused,
    other_tables_are_written_only_where_the_database_is_named,
    an_interrupted_run_drains_and_is_audited,
    a_statement_that_the_database_refuses_is_named_before_any_load,
    foreign_tables_survive_a_clean,
);

fn a_second_run_on_the_same_database_is_refused(place: &Place) {
    block_on(async {
        let database = database(&place.url).await;
        let lock = database.lock().await.unwrap();
        for arguments in [&["run"][..], &["seed"], &["clean"]] {
            let said = place.stockbench(arguments);
            assert_one_line(&said, 1, &["another stockbench is working on"]);
        }
        lock.release().await;
        // Who gives the right back has given it back, however soon somebody asks.
        for _ in 0..50 {
            database.lock().await.unwrap().release().await;
        }
    });
    assert_eq!(place.stockbench(&["run", "--orders", "10"]).code, 0);
}

const OWN_TABLES: &str = r#"
summary = "my shop"
[[transaction]]
[[transaction.step]]
sql = "UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id AND stock >= :quantity"
none = "sold_out"
[[transaction.step]]
sql = "UPDATE counters SET sold = sold + :quantity WHERE id = 1"
[[transaction.step]]
sql = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) SELECT :order_id, id, 'sale', 'accepted', -:quantity, stock, :run_id FROM stockbench_sku WHERE id = :sku_id"
"#;

fn other_tables_are_written_only_where_the_database_is_named(place: &Place) {
    place.execute("CREATE TABLE counters (id INT PRIMARY KEY, sold BIGINT NOT NULL)");
    place.execute("INSERT INTO counters VALUES (1, 0)");
    let file = place.write("mine.toml", OWN_TABLES);
    let said = place.stockbench(&["run", "-s", &file, "--orders", "50"]);
    assert_one_line_after_announcing(&said, &["counters", "--allow-writes"]);
    let wrong = place.stockbench(&["run", "-s", &file, "--orders", "50", "--allow-writes", "production"]);
    assert_eq!(wrong.code, 2);
    assert_eq!(query(&place.url, "SELECT sold FROM counters"), "0");
    let name = stockbench::db::DatabaseUrl::parse(&place.url).unwrap().database;
    let (code, report) = place.run(&["-s", &file, "--orders", "50", "--allow-writes", &name]);
    assert_eq!((code, outcome(&report, "deducted")), (0, 50), "{report:#}");
    assert_eq!(query(&place.url, "SELECT sold FROM counters"), "50");
}

#[track_caller]
fn assert_one_line_after_announcing(said: &crate::support::Said, fragments: &[&str]) {
    assert_one_line(said, 2, fragments);
}

fn an_interrupted_run_drains_and_is_audited(place: &Place) {
    let json = place.path("report.json");
    let report_file = json.display().to_string();
    let arguments =
        ["run", "-s", "atomic", "--stock", "1000000", "--duration", "300s", "--json", &report_file];
    // Whoever looks while a run chooses an SQLite file's journal would be in its way.
    place.execute("SELECT 1");
    let child = spawn(place.folder.path(), &place.arguments(&arguments));
    until("the first orders are sold", || {
        let sold = "SELECT count(*) FROM stockbench_ledger WHERE kind = 'sale'";
        has_tables(place) && query(&place.url, sold) != "0"
    });
    signal(&child, Signal::SIGINT);
    let said = wait(child);
    assert_eq!(said.code, 130, "{said:?}");
    assert!(said.stdout.contains("interrupted after"), "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(
        (&report["interrupted"], &report["audit"]["passed"]),
        (&true.into(), &true.into()),
        "{report:#}"
    );
    assert!(outcome(&report, "deducted") > 0);
    assert_eq!(report["deliveries"], outcome(&report, "deducted"), "an order was left undecided: {report:#}");
}

fn has_tables(place: &Place) -> bool {
    block_on(async {
        use stockbench::db::schema;
        let database = database(&place.url).await;
        let mut session = database.open(&SessionSettings::default()).await.unwrap();
        let tables = schema::our_tables(session.as_mut(), database.dialect()).await.unwrap();
        session.close().await;
        tables.len() >= 4
    })
}

fn a_statement_that_the_database_refuses_is_named_before_any_load(place: &Place) {
    let strategy = |sql: &str, yields: &str| {
        format!(
            "summary = \"x\"\n[[transaction]]\n[[transaction.step]]\nsql = \"{sql}\"\nyields = [{yields}]\n"
        )
    };
    let wrong_column =
        place.write("a.toml", &strategy("SELECT stok FROM stockbench_sku WHERE id = :sku_id", ""));
    assert_one_line(&place.stockbench(&["run", "-s", &wrong_column]), 2, &["transaction 1, step 1", "stok"]);
    let wrong_yield =
        place.write("b.toml", &strategy("SELECT stock FROM stockbench_sku WHERE id = :sku_id", "\"stok\""));
    let said = place.stockbench(&["run", "-s", &wrong_yield]);
    assert_one_line(&said, 2, &["yields `stok`; did you mean \"stock\"?"]);
}

fn foreign_tables_survive_a_clean(place: &Place) {
    place.execute("CREATE TABLE products (id INT PRIMARY KEY)");
    place.stockbench(&["run", "-s", "unkeyed", "--orders", "10"]);
    let said = place.stockbench(&["clean"]);
    assert!(said.code == 0 && said.stdout.contains("stockbench_unkeyed_ledger"), "{said:?}");
    assert!(!said.stdout.contains("products"), "{said:?}");
    assert_eq!(query(&place.url, "SELECT count(*) FROM products"), "0");
}

/// It was the server's end and not a mistake of whoever wrote them. (PostgreSQL alone waits
/// for a lock to prepare a statement, which is a moment to end it in.)
#[test]
fn a_session_that_ends_while_it_checks_statements_is_no_bad_usage() {
    let Some(place) = place(Backend::Postgres) else { return };
    place.execute("CREATE TABLE counters (id INT PRIMARY KEY, sold BIGINT NOT NULL)");
    let file = place.write("mine.toml", OWN_TABLES);
    let name = stockbench::db::DatabaseUrl::parse(&place.url).unwrap().database;
    block_on(async {
        let mut holder = database(&place.url).await.open(&SessionSettings::default()).await.unwrap();
        holder.control("BEGIN").await.unwrap();
        holder.control("LOCK TABLE counters IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let run = ["run", "-s", &file, "--orders", "10", "--allow-writes", &name];
        let child = spawn(place.folder.path(), &place.arguments(&run));
        let said = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                until("the statement that waits is ended", || {
                    query(
                        &place.url,
                        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity \
                         WHERE datname = current_database() AND wait_event_type = 'Lock'",
                    ) == "1"
                });
                wait(child)
            });
            waiting.join().unwrap()
        });
        holder.close().await;
        assert_one_line(&said, 1, &["transaction 1, step 2", "57P01"]);
    });
}

/// A user that may read and connect, and nothing more.
fn user_without_rights(place: &Place) -> Option<String> {
    let name = stockbench::db::DatabaseUrl::parse(&place.url).unwrap().database;
    match place.backend {
        Backend::Postgres => {
            place.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC");
            place.execute(&format!("CREATE ROLE guest_{name} LOGIN PASSWORD 'hunter2'"));
        }
        Backend::MySql | Backend::MariaDb => {
            place.execute(&format!("CREATE USER guest_{name}@'127.0.0.1' IDENTIFIED BY 'hunter2'"));
            place.execute(&format!("GRANT SELECT ON {name}.* TO guest_{name}@'127.0.0.1'"));
        }
        Backend::Sqlite => return None,
    }
    let mut url = url::Url::parse(&place.url).unwrap();
    url.set_username(&format!("guest_{name}")).unwrap();
    url.set_password(Some("hunter2")).unwrap();
    Some(url.to_string())
}

#[test]
fn servers_that_refuse_us_are_named_in_one_line_without_a_password() {
    for backend in [Backend::Postgres, Backend::MySql, Backend::MariaDb] {
        let Some(place) = place(backend) else { continue };
        let folder = place.folder.path();
        let run = |url: &str| crate::support::stockbench(folder, &["run", "--database-url", url]);
        let mut wrong = url::Url::parse(&place.url).unwrap();
        wrong.set_password(Some("hunter2")).unwrap();
        let said = run(wrong.as_str());
        assert_one_line(&said, 1, &["cannot connect to", "check the user and password"]);
        assert!(!said.stderr.contains("hunter2"), "{said:?}");

        let mut nobody = url::Url::parse(&place.url).unwrap();
        nobody.set_port(Some(9)).unwrap();
        assert_one_line(&run(nobody.as_str()), 1, &["is the server running?", "***"]);

        let mut missing = url::Url::parse(&place.url).unwrap();
        missing.set_path("/nowhere");
        assert_one_line(&run(missing.as_str()), 1, &["create the database first"]);

        let guest = user_without_rights(&place).unwrap();
        let said = run(&guest);
        assert_one_line(&said, 1, &["cannot create stockbench's own tables in"]);
        assert!(!said.stderr.contains("hunter2") && !said.stdout.contains("hunter2"), "{said:?}");
        assert!(std::fs::read_dir(folder).unwrap().next().is_none(), "something was left behind");
    }
}
