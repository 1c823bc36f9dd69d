//! `stockbench audit` on its own: with the clients' answers, without them, and
//! on tables that were damaged by hand.

use crate::support::{Backend, Place, kinds, on_every_database, outcome, signal, spawn, until};
use nix::sys::signal::Signal;
use serde_json::Value;

on_every_database!(
    damage_is_named_and_its_absence_too,
    a_history_gives_the_later_audit_the_same_verdict,
    a_killed_client_leaves_what_the_audit_names,
    refusals_that_came_too_early_are_found_by_their_times,
    an_audit_that_matched_nothing_is_not_a_pass,
    a_view_in_place_of_our_own_tables_is_not_believed,
);

fn audit(place: &Place, arguments: &[&str]) -> (i32, Value) {
    let said = place.stockbench(&[&["audit", "-o", "json"], arguments].concat());
    let output: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    (said.code, output["audit"].clone())
}

fn damage_is_named_and_its_absence_too(place: &Place) {
    let run = |strategy| {
        let (code, report) = place.run(&[
            "-s",
            strategy,
            "--skus",
            "2",
            "--stock",
            "1000",
            "--orders",
            "200",
            "--duplicates",
            "0",
        ]);
        assert_eq!(code, 0, "{report:#}");
    };
    let sale = "kind = 'sale' AND sku_id = 1 AND balance = 990";
    let one_sku = |kind: &str, audit: &Value| {
        assert_eq!(audit["findings"][0]["kind"], kind, "{audit:#}");
        assert_eq!(audit["findings"][0]["sku_id"], 1, "{audit:#}");
    };

    run("atomic");
    let (code, sound) = audit(place, &[]);
    assert_eq!((code, kinds(&sound)), (0, vec![]), "{sound:#}");
    assert_eq!(sound["client_witness"], "missing");

    place.execute(&format!("DELETE FROM stockbench_ledger WHERE {sale}"));
    let (code, deleted) = audit(place, &[]);
    assert_eq!((code, &deleted["missing_entry_units"]), (3, &1.into()));
    one_sku("missing_entry", &deleted);

    run("atomic");
    place.execute("UPDATE stockbench_sku SET stock = stock + 7 WHERE id = 1");
    let (code, changed) = audit(place, &[]);
    assert_eq!((code, kinds(&changed)), (3, vec!["lost_update"]), "{changed:#}");
    assert_eq!(changed["lost_update_units"], 7);
    one_sku("lost_update", &changed);
    place.execute("UPDATE stockbench_sku SET stock = -1 WHERE id = 1");
    assert!(kinds(&audit(place, &[]).1).contains(&"negative_stock"));

    run("atomic");
    place.execute(&format!("UPDATE stockbench_ledger SET balance = 5 WHERE {sale}"));
    let (code, balance) = audit(place, &[]);
    assert_eq!((code, kinds(&balance)), (3, vec!["balance_chain"]), "{balance:#}");
    one_sku("balance_chain", &balance);

    run("unkeyed");
    place.execute(&format!(
        "INSERT INTO stockbench_unkeyed_ledger (order_id, sku_id, kind, status, delta, balance, run_id) \
         SELECT order_id, sku_id, kind, status, delta, balance, run_id FROM stockbench_unkeyed_ledger WHERE {sale}"
    ));
    let (code, doubled) = audit(place, &[]);
    assert_eq!(code, 3);
    assert!(kinds(&doubled).contains(&"duplicate_entry"), "{doubled:#}");
}

fn a_history_gives_the_later_audit_the_same_verdict(place: &Place) {
    let history = place.path("answers.csv").display().to_string();
    for (strategy, expected) in [("naive", 3), ("atomic", 0)] {
        let (code, report) = place.run(&[
            "-s",
            strategy,
            "--concurrency",
            "100",
            "--skus",
            "1",
            "--orders",
            "500",
            "--history",
            &history,
        ]);
        assert_eq!(code, expected, "{report:#}");
        let (code, mut later) = audit(place, &["--history", &history]);
        // The times of the answers show more than their sums: the balances
        // that were told.
        let mut findings = later["findings"].as_array().unwrap().clone();
        findings.retain(|finding| finding["kind"] != "stale_balance");
        assert_eq!(findings.len() < kinds(&later).len(), strategy == "naive", "{later:#}");
        // They also tell of refusals that the balances alone cannot judge.
        for key in ["findings", "findings_total", "findings_by_kind", "refusals_not_judged"] {
            later[key] =
                if key == "findings" { findings.clone().into() } else { report["audit"][key].clone() };
        }
        assert_eq!((code, &later), (expected, &report["audit"]));
    }
    // A sale that the ledger forgot shows only against the answers.
    place.execute("DELETE FROM stockbench_ledger WHERE kind = 'sale' AND balance = 50");
    place.execute("UPDATE stockbench_sku SET stock = stock + 1");
    let (_, without) = audit(place, &[]);
    assert!(!kinds(&without).contains(&"lost_sale"), "{without:#}");
    let (code, with) = audit(place, &["--history", &history]);
    assert_eq!(code, 3);
    assert!(kinds(&with).contains(&"lost_sale"), "{with:#}");
    // The answers of another run are not compared.
    let stale = place.path("stale.csv").display().to_string();
    std::fs::rename(&history, &stale).unwrap();
    place.run(&["-s", "atomic", "--orders", "10"]);
    let said = place.stockbench(&["audit", "--history", &stale]);
    crate::support::assert_one_line(&said, 1, &["which is not the latest run"]);
}

/// SKIP LOCKED takes a locked row for a missing one; later it is really sold
/// out, so that the end alone excuses every refusal.
fn refusals_that_came_too_early_are_found_by_their_times(place: &Place) {
    let history = place.path("answers.csv").display().to_string();
    let run = |strategy: &str, orders: &str| {
        // At a rate: on a busy machine thousands are refused while one is being sold.
        let load = ["--rate", "800", "--concurrency", "8", "--skus", "1", "--stock", "5", "--think", "5ms"];
        let load = [&load[..], &["--orders", orders]].concat();
        let (_, report) = place.run(&[&["-s", strategy, "--history", &history], &load[..]].concat());
        (outcome(&report, "deducted"), kinds(&report).join(" "), audit(place, &["--history", &history]))
    };
    if place.backend != Backend::Sqlite {
        let (sold, at_the_end, (code, later)) = run("pessimistic-skip-locked", "4000");
        assert_eq!((sold, at_the_end.as_str()), (5, ""), "{later:#}");
        assert_eq!((code, kinds(&later)), (3, vec!["refused_too_early"]), "{later:#}");
        assert!(later["findings"][0]["order_ids"].as_array().unwrap().len() > 1, "{later:#}");
        assert!(!later["findings"][0]["may_mean"].as_array().unwrap().is_empty(), "{later:#}");
    }
    let (sold, _, (code, later)) = run("pessimistic", "200");
    assert_eq!((sold, code, kinds(&later)), (5, 0, vec![]), "{later:#}");
}

fn a_killed_client_leaves_what_the_audit_names(place: &Place) {
    let history = place.path("answers.csv").display().to_string();
    let arguments = [
        "run",
        "-s",
        "unlogged",
        "--fault",
        "none",
        "--concurrency",
        "8",
        "--skus",
        "8",
        "--stock",
        "100000",
        "--duration",
        "300s",
        "--think",
        "60s",
        "--history",
        &history,
    ];
    let mut child = spawn(place.folder.path(), &place.arguments(&arguments));
    let partial = format!("{history}.partial");
    // Every client that has deducted now pauses before it writes the entry.
    let deducted = "SELECT count(*) FROM stockbench_sku WHERE stock < 100000";
    until("stock was deducted", || {
        std::path::Path::new(&partial).exists() && crate::support::query(&place.url, deducted) != "0"
    });
    signal(&child, Signal::SIGKILL);
    child.wait().unwrap();
    let said = place.stockbench(&["audit", "--history", &history]);
    crate::support::assert_one_line(&said, 2, &["cannot read", "answers.csv.partial is what a run has left"]);
    let (code, found) = audit(place, &["--history", &partial]);
    assert_eq!((code, &found["client_witness"]), (3, &"cut_short".into()), "{found:#}");
    assert!(kinds(&found).contains(&"missing_entry"), "{found:#}");
}

fn an_audit_that_matched_nothing_is_not_a_pass(place: &Place) {
    if place.backend == Backend::Sqlite {
        let said = place.stockbench(&["audit"]);
        crate::support::assert_one_line(&said, 1, &["there is no SQLite database at"]);
    } else {
        let said = place.stockbench(&["audit"]);
        crate::support::assert_one_line(&said, 1, &["no stockbench tables to audit"]);
    }
    assert_eq!(place.stockbench(&["seed", "--skus", "2500", "--stock", "3"]).code, 0);
    let (code, report) = audit(place, &[]);
    assert_eq!((code, &report["judged"]), (1, &false.into()), "{report:#}");
    assert_eq!((&report["skus"], &report["entries"]), (&2_500.into(), &2_500.into()));
    let said = place.stockbench(&["clean"]);
    assert!(said.code == 0 && said.stdout.contains("stockbench_ledger"), "{said:?}");
    assert!(place.stockbench(&["clean"]).stdout.contains("nothing was there"));
}

/// Makes a run whose SKU 2 holds 7 units that nobody knows of.
fn run_and_damage(place: &Place) {
    let load = ["--skus", "2", "--stock", "1000", "--orders", "200", "--duplicates", "0"];
    let (code, report) = place.run(&[&["-s", "atomic"], &load[..]].concat());
    assert_eq!(code, 0, "{report:#}");
    place.execute("UPDATE stockbench_sku SET stock = stock + 7 WHERE id = 2");
    assert_eq!(audit(place, &[]).0, 3);
}

fn a_view_in_place_of_our_own_tables_is_not_believed(place: &Place) {
    run_and_damage(place);
    for (table, column) in [("stockbench_sku", "id"), ("stockbench_ledger", "sku_id")] {
        place.execute(&format!("ALTER TABLE {table} RENAME TO {table}_all"));
        place.execute(&format!("CREATE VIEW {table} AS SELECT * FROM {table}_all WHERE {column} = 1"));
    }
    let (code, report) = audit(place, &[]);
    assert_eq!((code, &report["passed"], kinds(&report)), (1, &false.into(), vec![]), "{report:#}");
    let not_seen = report["not_seen"].as_array().unwrap();
    assert_eq!(not_seen.len(), 2, "{report:#}");
    assert!(not_seen[0].as_str().unwrap().contains("it has a WHERE"), "{report:#}");
    let said = place.stockbench(&["audit"]);
    assert!(said.stdout.contains("audit: could not judge, not all was seen"), "{said:?}");
}

#[test]
fn row_level_security_on_our_own_tables_is_refused() {
    use crate::support::{assert_one_line, place, stockbench};
    let Some(place) = place(Backend::Postgres) else { return };
    run_and_damage(&place);
    let mut url = url::Url::parse(&place.url).unwrap();
    let reader = format!("own_{}", url.path().trim_start_matches('/'));
    place.execute(&format!("CREATE ROLE {reader} LOGIN PASSWORD 'look'"));
    place.execute(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}"));
    url.set_username(&reader).unwrap();
    url.set_password(Some("look")).unwrap();
    let audit = || stockbench(place.folder.path(), &["audit", "--database-url", url.as_str()]);
    assert_eq!(audit().code, 3);

    // The list of runs says where the stock is: nobody may hide that, either.
    let tables =
        [("stockbench_sku", "id = 1"), ("stockbench_ledger", "sku_id = 1"), ("stockbench_run", "false")];
    for (table, which) in tables {
        place.execute(&format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"));
        place.execute(&format!("CREATE POLICY only_one ON {table} USING ({which})"));
        assert_one_line(&audit(), 1, &[&format!("row-level security hides rows of `{table}`"), "BYPASSRLS"]);
        place.execute(&format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"));
    }
}

/// What the engine does is not the strategy's doing, and is said before the load.
#[test]
fn a_run_on_tables_without_transactions_says_so() {
    use crate::support::place;
    let file = r#"
summary = "deducts first and looks then"
safety = "safe"
about = "The rollback takes the deduction back, where there is one."
[expect]
audit = "nothing"
[[setup]]
sql = "DROP TABLE IF EXISTS stockbench_half"
[[setup]]
sql = "CREATE TABLE stockbench_half (id BIGINT PRIMARY KEY, stock BIGINT NOT NULL) ENGINE = MyISAM"
[[setup]]
sql = "INSERT INTO stockbench_half SELECT id, stock FROM stockbench_sku"
[audit]
stock = "SELECT id AS sku_id, stock FROM stockbench_half"
[[transaction]]
[[transaction.step]]
sql = "UPDATE stockbench_half SET stock = stock - 1 WHERE id = :sku_id"
[[transaction.step]]
sql = "SELECT stock FROM stockbench_half WHERE id = :sku_id AND stock >= 0"
none = "sold_out"
[[transaction.step]]
sql = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, run_id) VALUES (:order_id, :sku_id, 'sale', 'accepted', -1, :run_id)"
"#;
    for backend in [Backend::MySql, Backend::MariaDb] {
        let Some(place) = place(backend) else { continue };
        let strategy = place.write("half.toml", file);
        let load = [
            "run",
            "-s",
            &strategy,
            "--skus",
            "1",
            "--stock",
            "5",
            "--orders",
            "20",
            "--concurrency",
            "1",
            "--quantity",
            "1..1",
        ];
        let said = place.stockbench(&load);
        assert_eq!(said.code, 3, "{said:?}");
        let table = "`stockbench_half` (MyISAM)";
        let (before, after) = said.stdout.split_once("audit: FAILED").unwrap();
        assert!(before.contains(&format!("no transactions: {table}")), "{said:?}");
        assert!(
            after.contains(&format!("does not keep its stock in tables without transactions: {table}")),
            "{said:?}"
        );
        let (code, later) = audit(&place, &[]);
        assert_eq!((code, &later["without_transactions"][0]), (3, &table.into()), "{later:#}");
        assert!(later["findings"][0]["may_mean"][0].as_str().unwrap().starts_with(table), "{later:#}");

        // Rolled back, it would be sound.
        let sound = place.write("whole.toml", &file.replace("ENGINE = MyISAM", "ENGINE = InnoDB"));
        let said = place.stockbench(&[&["run", "-s", &sound], &load[3..]].concat());
        assert_eq!(said.code, 0, "{said:?}");
    }
}

/// A statement goes on after its client is gone: until the server has ended
/// it, nobody knows what it came to.
#[test]
fn a_later_audit_waits_for_the_sessions_of_a_killed_run() {
    use crate::support::{block_on, database, place, query, wait};
    use stockbench::db::SessionSettings;
    let Some(place) = place(Backend::Postgres) else { return };
    let history = place.path("answers.csv").display().to_string();
    assert_eq!(place.stockbench(&["seed", "--skus", "1", "--stock", "1000"]).code, 0);
    let said = block_on(async {
        let mut holder = database(&place.url).await.open(&SessionSettings::default()).await.unwrap();
        holder.control("BEGIN; SELECT * FROM stockbench_sku FOR UPDATE").await.unwrap();
        // The test's own thread is busy waiting: the rest happens on another.
        let waiting = std::thread::scope(|scope| {
            let kill_and_audit = || {
                let arguments =
                    ["run", "-s", "naive", "--no-seed", "--concurrency", "4", "--history", &history];
                let mut run = spawn(place.folder.path(), &place.arguments(&arguments));
                let blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                               AND datname = current_database()";
                until("every client waits for the row", || query(&place.url, blocked) == "4");
                signal(&run, Signal::SIGKILL);
                run.wait().unwrap();
                let partial = format!("{history}.partial");
                let audit = spawn(place.folder.path(), &place.arguments(&["audit", "--history", &partial]));
                let asking = "SELECT count(*) FROM pg_stat_activity \
                              WHERE query LIKE 'SELECT pid::bigint FROM pg_stat_activity%' \
                              AND datname = current_database()";
                until("the audit asks for the sessions", || query(&place.url, asking) == "1");
                audit
            };
            scope.spawn(kill_and_audit).join().unwrap()
        });
        holder.control("COMMIT").await.unwrap();
        holder.close().await;
        wait(waiting)
    });
    // The update went through after its client had been killed, and nobody was
    // left to write the entry.
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stdout.contains("the history file ends before its run did"), "{said:?}");
    assert!(said.stdout.contains("missing_entry: SKU 1: stock is 999"), "{said:?}");
}
