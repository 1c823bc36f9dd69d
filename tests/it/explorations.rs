//! Every interleaving of a few clients on real databases: what is found, that
//! reduction hides nothing, and that no proof is claimed where there is none.

use crate::support::{Backend, Place, assert_one_line, on_every_database, place, signal, spawn, until, wait};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;

on_every_database!(
    two_orders_for_the_last_unit_are_sold_twice_by_naive,
    a_schedule_can_be_run_again,
    reduction_hides_no_outcome,
    a_race_points_to_its_interleaving,
    numbers_that_no_rollback_takes_back_begin_anew,
    a_check_before_the_lock_is_found,
    an_update_nobody_looks_at_is_found,
    an_entry_in_a_second_transaction_is_found_when_a_client_stops,
    the_users_own_tables_are_copied_and_never_touched,
    of_a_large_table_the_rows_of_the_skus_are_copied,
    one_client_stops_at_most,
    an_error_taken_for_success_is_named,
    a_program_without_an_end_is_found,
);

impl Place {
    /// `stockbench explore` on this place's database; its exit code and report.
    pub fn explore(&self, arguments: &[&str]) -> (i32, Value) {
        // An SQLite file that is not there would be a slip of the pen.
        self.execute("SELECT 1");
        let said = self.stockbench(&[&["explore", "-o", "json"], arguments].concat());
        let report = serde_json::from_str(&said.stdout)
            .unwrap_or_else(|error| panic!("{error} in {arguments:?}: {said:?}"));
        (said.code, report)
    }
}

/// How the schedules ended, whichever they were.
fn outcomes(report: &Value) -> BTreeSet<String> {
    let outcomes = report["explored"]["outcomes"].as_array().unwrap().iter();
    outcomes
        .map(|outcome| format!("{} {} {}", outcome["told"], outcome["stock"], outcome["findings"]))
        .collect()
}

fn broken(report: &Value) -> BTreeSet<&str> {
    let outcomes = report["explored"]["outcomes"].as_array().unwrap().iter();
    outcomes
        .flat_map(|outcome| outcome["findings"].as_array().unwrap())
        .map(|kind| kind.as_str().unwrap())
        .collect()
}

fn steps(report: &Value, kind: &str) -> Vec<Value> {
    let witnesses = report["explored"]["witnesses"].as_array().unwrap();
    let witness = witnesses.iter().find(|witness| witness["kind"] == kind);
    let witness = witness.unwrap_or_else(|| panic!("no witness for {kind}: {report:#}"));
    witness["steps"].as_array().unwrap().clone()
}

fn count(report: &Value, name: &str) -> u64 {
    report["explored"][name].as_u64().unwrap()
}

fn two_orders_for_the_last_unit_are_sold_twice_by_naive(place: &Place) {
    let (code, report) = place.explore(&["-s", "naive"]);
    assert_eq!(code, 3, "{report:#}");
    assert!(broken(&report).contains("oversold"), "{report:#}");
    assert_eq!(report["explored"]["complete"], true);
    let steps = steps(&report, "oversold");
    assert_eq!(
        steps.iter().filter(|step| step["result"].as_str().unwrap().ends_with("is told deducted")).count(),
        2,
        "{steps:#?}"
    );
    assert!(steps.len() <= 8 && report["explored"]["witnesses"][0]["switches"] == 1, "{steps:#?}");
    let third = place.explore(&["-s", "naive", "--clients", "3", "--quantity", "1", "--stock", "2"]);
    assert_eq!(third.0, 3, "{:#}", third.1);
    assert!(broken(&third.1).contains("oversold"), "{:#}", third.1);
}

fn a_schedule_can_be_run_again(place: &Place) {
    let (_, found) = place.explore(&["-s", "naive"]);
    let schedule = found["explored"]["witnesses"][0]["schedule"].as_str().unwrap();
    let (code, again) = place.explore(&["-s", "naive", "--schedule", schedule]);
    assert_eq!((code, count(&again, "schedules")), (3, 1), "{again:#}");
    assert_eq!(steps(&again, "oversold"), steps(&found, "oversold"));
    let serial = place.explore(&["-s", "naive", "--schedule", "1 1 1 2"]);
    assert_eq!(serial.0, 0, "{:#}", serial.1);
    let said = place.stockbench(&["explore", "-s", "naive", "--schedule", "1 1 1 1 2"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("client 1 cannot move here"), "{said:?}");
    let script = place.stockbench(&["explore", "-s", "naive", "--emit", "sql"]);
    assert_eq!(script.code, 3, "{script:?}");
    assert!(
        script.stdout.contains("/* client 2 */ UPDATE stockbench_sku SET stock = 0 WHERE id = 1;"),
        "{script:?}"
    );
}

/// Wherever all schedules are few enough to be run, running fewer of them finds
/// the same outcomes.
fn reduction_hides_no_outcome(place: &Place) {
    let levels: &[&str] = match place.backend {
        Backend::Sqlite => &["serializable"],
        // At the level between them every strategy is compared, below.
        _ => &["read-committed", "serializable"],
    };
    let mut saved = 0;
    for level in levels {
        for strategy in ["naive-tx", "pessimistic", "cas"] {
            let explore = ["-s", strategy, "--isolation", level, "--workers", "2"];
            let (_, all) = place.explore(&[&explore[..], &["--no-reduce"]].concat());
            assert_eq!(all["explored"]["complete"], true, "{strategy} at {level}: {all:#}");
            let (_, few) = place.explore(&explore);
            assert_eq!(outcomes(&few), outcomes(&all), "{strategy} at {level}");
            assert!(count(&few, "schedules") <= count(&all, "schedules"));
            saved += count(&all, "schedules") - count(&few, "schedules");
        }
        let crashing = ["-s", "unlogged", "--crashes", "1", "--isolation", level];
        let (_, all) = place.explore(&[&crashing[..], &["--no-reduce"]].concat());
        let (_, few) = place.explore(&crashing);
        assert_eq!(outcomes(&few), outcomes(&all), "unlogged with a crash at {level}");
    }
    assert!(saved > 0, "nothing was reduced: {saved}");
}

/// With more clients there are too many to run; a sample of all of them shows
/// nothing that was not found with fewer.
#[test]
fn a_sample_of_all_schedules_shows_nothing_new() {
    let Some(place) = place(Backend::Postgres) else { return };
    let explore = ["explore", "-o", "json", "-s", "optimistic", "--clients", "3", "--stock", "2"];
    let (code, few) = place.explore(&explore[3..]);
    assert_eq!((code, &few["explored"]["complete"]), (0, &true.into()), "{few:#}");
    assert_nothing_was_hidden(&place, &few, &explore);
    let (code, sample) = place.explore(&["-s", "optimistic", "--sample", "5"]);
    assert_eq!((code, &sample["passed"]), (1, &false.into()), "a sample is no proof: {sample:#}");
}

fn a_race_points_to_its_interleaving(place: &Place) {
    let (code, report) = place.run(&["-s", "naive", "--skus", "1", "--stock", "20", "-n", "200"]);
    assert_eq!(code, 3, "{report:#}");
    assert!(report["advice"].to_string().contains("stockbench explore -s naive"), "{report:#}");
    let said = place.stockbench(&["audit"]);
    assert!(said.stdout.contains("stockbench explore -s naive"), "{said:?}");
    let (_, report) = place.run(&["-s", "atomic", "-n", "200"]);
    assert!(!report["advice"].to_string().contains("explore"), "{report:#}");
}

#[test]
fn what_a_killed_exploration_leaves_is_cleaned() {
    for backend in [Backend::Postgres, Backend::MariaDb] {
        let Some(place) = place(backend) else { continue };
        let endless = ["explore", "-s", "optimistic", "--clients", "4", "--stock", "4", "--no-reduce"];
        let mut child = spawn(place.folder.path(), &place.arguments(&endless));
        let prefix = format!("stockbench_explore_{}_0", child.id());
        let there = || {
            let sql = format!(
                "SELECT count(*) FROM information_schema.schemata WHERE schema_name LIKE '{prefix}%'"
            );
            crate::support::query(&place.url, &sql) == "1"
        };
        until("the scratch is made", there);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(there(), "nobody was left to drop it");
        let said = place.stockbench(&["clean"]);
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.stdout.contains(&prefix) && !there(), "{said:?}");
    }
}

/// A strategy of the user's own, on stockbench's tables.
fn own(steps: &str) -> String {
    format!("summary = \"mine\"\nsafety = \"unsafe\"\nsafety_note = \"somewhere\"\n{steps}")
}

const ENTRY: &str = "
[[transaction.step]]
sql = \"\"\"
INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id)
VALUES (:order_id, :sku_id, 'sale', 'accepted', -:quantity, NULL, :run_id)\"\"\"
";

fn a_check_before_the_lock_is_found(place: &Place) {
    let file = own(&format!(
        "
[[transaction]]
[[transaction.step]]
sql = \"SELECT stock AS seen FROM stockbench_sku WHERE id = :sku_id AND stock >= :quantity\"
yields = [\"seen\"]
none = \"sold_out\"
[[transaction.step]]
sql = \"SELECT id FROM stockbench_sku WHERE id = :sku_id FOR UPDATE\"
sqlite = \"\"
yields = [\"id\"]
[[transaction.step]]
sql = \"UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id\"
{ENTRY}"
    ));
    let path = place.write("mine.toml", &file);
    let (code, report) = place.explore(&["-s", &path]);
    if place.backend == Backend::Sqlite {
        // It has one writer at a time, and refuses one whose snapshot is old.
        assert_eq!((code, broken(&report)), (0, BTreeSet::new()), "{report:#}");
        return;
    }
    assert_eq!(code, 3, "{report:#}");
    assert!(steps(&report, "oversold").len() < 12, "{report:#}");
}

fn an_update_nobody_looks_at_is_found(place: &Place) {
    let file = own(&format!(
        "
[[transaction]]
[[transaction.step]]
sql = \"UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id AND stock >= :quantity\"
none = \"ok\"
{ENTRY}"
    ));
    let path = place.write("mine.toml", &file);
    let (code, report) = place.explore(&["-s", &path]);
    assert_eq!(code, 3, "{report:#}");
    assert!(steps(&report, "oversold").len() < 12, "{report:#}");
}

fn an_entry_in_a_second_transaction_is_found_when_a_client_stops(place: &Place) {
    let file = own(&format!(
        "
[[transaction]]
[[transaction.step]]
sql = \"UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id AND stock >= :quantity\"
none = \"sold_out\"
[[transaction]]
{ENTRY}"
    ));
    let path = place.write("mine.toml", &file);
    let (code, report) = place.explore(&["-s", &path, "--no-widen"]);
    assert_eq!((code, broken(&report)), (0, BTreeSet::new()), "{report:#}");
    let (code, report) = place.explore(&["-s", &path, "--crashes", "1"]);
    assert_eq!(code, 3, "{report:#}");
    let steps = steps(&report, "missing_entry");
    assert!(steps.len() < 12 && steps.iter().any(|step| step["result"] == "stops for good"), "{steps:#?}");
}

fn the_users_own_tables_are_copied_and_never_touched(place: &Place) {
    place.execute("CREATE TABLE goods (id INT PRIMARY KEY, amount INT NOT NULL)");
    place.execute("CREATE TABLE sold (order_id BIGINT NOT NULL, goods_id INT NOT NULL, pieces INT NOT NULL)");
    place.execute("INSERT INTO goods (id, amount) VALUES (7, 3), (8, 0)");
    let file = own("
[audit]
stock = \"SELECT id AS sku_id, amount AS stock FROM goods\"
ledger = false
[[invariant]]
sql = \"SELECT id, amount FROM goods WHERE amount < 0\"
says = \"goods {id} are at {amount}\"
[[transaction]]
[[transaction.step]]
sql = \"SELECT amount FROM goods WHERE id = :sku_id AND amount >= :quantity\"
yields = [\"amount\"]
none = \"sold_out\"
[[transaction.step]]
sql = \"UPDATE goods SET amount = amount - :quantity WHERE id = :sku_id\"
[[transaction.step]]
sql = \"INSERT INTO sold (order_id, goods_id, pieces) VALUES (:order_id, :sku_id, :quantity)\"
");
    let path = place.write("mine.toml", &file);
    let (code, report) = place.explore(&["-s", &path]);
    assert_eq!(report["config"]["orders"][0][0]["quantity"], 3, "all that is in stock: {report:#}");
    if place.backend == Backend::Sqlite {
        assert_eq!(code, 0, "{report:#}");
    } else {
        assert_eq!(code, 3, "{report:#}");
        let findings = report["explored"]["witnesses"][0]["findings"].to_string();
        assert!(findings.contains("goods 7 are at -3"), "{findings}");
    }
    assert_eq!(crate::support::query(&place.url, "SELECT amount FROM goods WHERE id = 7"), "3");
    assert_eq!(crate::support::query(&place.url, "SELECT count(*) FROM sold"), "0");
}

fn of_a_large_table_the_rows_of_the_skus_are_copied(place: &Place) {
    place.execute("CREATE TABLE goods (id INT PRIMARY KEY, amount INT NOT NULL)");
    place.execute("CREATE TABLE sold (order_id BIGINT NOT NULL, goods_id INT NOT NULL, pieces INT NOT NULL)");
    let numbers = "SELECT a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n";
    let digit = |name| {
        let digits: Vec<String> = (1..10).map(|digit| format!("UNION ALL SELECT {digit}")).collect();
        format!("(SELECT 0 AS n {}) {name}", digits.join(" "))
    };
    let from = ["a", "b", "c", "d", "e"].map(digit).join(", ");
    place.execute(&format!("INSERT INTO goods (id, amount) {numbers}, 1 FROM {from} WHERE e.n < 2"));
    let file = |read: &str| {
        own(&format!(
            "
[audit]
stock = \"SELECT id AS sku_id, amount AS stock FROM goods\"
ledger = false
[[invariant]]
sql = \"SELECT id, amount FROM goods WHERE amount < 0\"
says = \"goods {{id}} are at {{amount}}\"
[[transaction]]
[[transaction.step]]
sql = \"UPDATE goods SET amount = amount - :quantity WHERE {read}\"
none = \"sold_out\"
[[transaction.step]]
sql = \"INSERT INTO sold (order_id, goods_id, pieces) VALUES (:order_id, :sku_id, :quantity)\"
"
        ))
    };
    let path = place.write("mine.toml", &file("id = :sku_id"));
    let (code, report) = place.explore(&["-s", &path]);
    assert_eq!(code, 3, "{report:#}");
    assert!(broken(&report).contains("invariant"), "{report:#}");
    let outcome = &report["explored"]["outcomes"][0];
    assert_eq!(outcome["stock"].as_array().unwrap().len(), 1, "one SKU was copied: {outcome:#}");
    let script = place.stockbench(&["explore", "-s", &path, "--emit", "sql"]);
    let filled = script.stdout.split_once("INSERT INTO").map(|(_, rest)| rest.lines().nth(1).unwrap().trim());
    assert!(filled.is_some_and(|row| row.contains('0') && row.ends_with(");")), "{script:?}");
    let path = place.write("mine.toml", &file("id BETWEEN :sku_id AND :sku_id"));
    let said = place.stockbench(&["explore", "-s", &path]);
    assert_one_line(&said, 1, &["goods has more than 10000 rows", "compares a column of it with :sku_id"]);
}

fn one_client_stops_at_most(place: &Place) {
    let (_, report) = place.explore(&["-s", "unlogged", "--crashes", "1", "--no-reduce"]);
    let outcomes = report["explored"]["outcomes"].as_array().unwrap();
    let stopped = |outcome: &Value| {
        let told = outcome["told"].as_array().unwrap();
        told.iter().filter(|told| *told == "unknown").count()
    };
    assert_eq!(outcomes.iter().map(stopped).max(), Some(1), "{report:#}");
}

/// A key that is taken already means that somebody else was first, not that the
/// order was sold.
fn an_error_taken_for_success_is_named(place: &Place) {
    place.execute("CREATE TABLE last_one (sku_id INT PRIMARY KEY, order_id BIGINT NOT NULL)");
    let file = own(&format!(
        "
[[transaction]]
[[transaction.step]]
sql = \"INSERT INTO last_one (sku_id, order_id) VALUES (:sku_id, :order_id)\"
unique = \"deducted\"
[[transaction.step]]
sql = \"UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id\"
{ENTRY}"
    ));
    let path = place.write("mine.toml", &file);
    let (code, report) = place.explore(&["-s", &path]);
    assert_eq!(code, 3, "{report:#}");
    let broken = broken(&report);
    assert!(broken.contains("lost_sale") && broken.contains("swallowed_error"), "{report:#}");
    let findings = report["explored"]["witnesses"][0]["findings"].to_string();
    assert!(findings.contains("was told deducted, and this had failed: "), "{findings}");
    assert!(findings.contains("INSERT INTO last_one"), "{findings}");
}

fn a_program_without_an_end_is_found(place: &Place) {
    let ask = |name: &str, next: &str| {
        format!(
            "
[[transaction]]
name = \"{name}\"
[[transaction.step]]
sql = \"UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id AND stock >= :quantity\"
none = \"@{next}\"
then = \"deducted\"
"
        )
    };
    let file = own(&[ask("ask", "again"), ask("again", "ask")].concat());
    let path = place.write("mine.toml", &file);
    let (code, report) = place.explore(&["-s", &path, "--max-schedules", "20"]);
    assert_eq!(code, 3, "{report:#}");
    let findings = report["explored"]["witnesses"].to_string();
    assert!(findings.contains("without an end"), "{findings}");
}

#[test]
fn opposite_lines_deadlock_and_sorted_ones_do_not() {
    for backend in [Backend::Postgres, Backend::MySql, Backend::MariaDb] {
        let Some(place) = place(backend) else { continue };
        let explore = ["-s", "pessimistic", "--lines", "2", "--stock", "2"];
        let (code, report) = place.explore(&[&explore[..], &["--line-order", "opposite"]].concat());
        assert_eq!(code, 0, "{backend:?}: {report:#}");
        assert!(count(&report, "deadlocks") > 0, "{backend:?}: {report:#}");
        let waits = report["explored"]["deadlock"]["waits"].as_array().unwrap();
        let in_words: Vec<String> =
            waits.iter().map(|wait| format!("{} {}", wait["client"], wait["result"])).collect();
        assert!(in_words.contains(&"1 \"waits for client 2\"".to_owned()), "{backend:?}: {in_words:?}");
        assert!(in_words.contains(&"2 \"waits for client 1\"".to_owned()), "{backend:?}: {in_words:?}");
        let (code, report) = place.explore(&explore);
        assert_eq!((code, count(&report, "deadlocks")), (0, 0), "{backend:?}: {report:#}");
    }
}

#[test]
fn a_loop_on_one_snapshot_is_shown_where_there_is_one() {
    for backend in [Backend::MySql, Backend::MariaDb] {
        let Some(place) = place(backend) else { continue };
        let explore = ["-s", "cas-in-tx", "--stock", "2"];
        let (code, report) = place.explore(&[&explore[..], &["--isolation", "repeatable-read"]].concat());
        assert_eq!((code, broken(&report)), (3, BTreeSet::from(["futile_retry"])), "{backend:?}: {report:#}");
        let steps = steps(&report, "futile_retry");
        let is_same_read = |step: &&Value| step["sql"].as_str().unwrap().contains("SELECT stock");
        let reads: Vec<&Value> = steps.iter().filter(is_same_read).map(|step| &step["result"]).collect();
        assert!(
            reads.len() >= 3 && reads.iter().skip(1).all(|read| *read == reads[0]),
            "{backend:?}: {steps:#?}"
        );
        let (code, report) = place.explore(&[&explore[..], &["--isolation", "read-committed"]].concat());
        assert_eq!((code, broken(&report)), (0, BTreeSet::new()), "{backend:?}: {report:#}");
    }
}

/// What is cut short claims nothing.
#[test]
fn a_part_is_no_proof() {
    let Some(place) = place(Backend::Postgres) else { return };
    let said = place.stockbench(&["explore", "-s", "atomic", "--no-reduce", "--max-schedules", "3"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains("PARTIAL, no proof: no violation in 3 schedules"), "{said:?}");
    assert!(!said.stdout.contains("no violation in any"), "{said:?}");

    let endless =
        ["explore", "-s", "optimistic", "--clients", "4", "--stock", "4", "--no-reduce", "-o", "json"];
    let child = spawn(place.folder.path(), &place.arguments(&endless));
    scratch_is(&place, true);
    signal(&child, Signal::SIGINT);
    let said = wait(child);
    assert_eq!(said.code, 1, "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&report["explored"]["cut_short"], &report["passed"]), (&"interrupted".into(), &false.into()));
    scratch_is(&place, false);
}

fn scratch_is(place: &Place, there: bool) {
    let schemas =
        "SELECT count(*) FROM information_schema.tables t WHERE table_name = 'start_of_stockbench_sku'
        AND table_schema LIKE 'stockbench_explore_%'";
    until("the scratch is made, or gone", || (crate::support::query(&place.url, schemas) != "0") == there);
}

#[test]
fn whoever_may_not_see_locks_is_told_so() {
    for (backend, grant) in
        [(Backend::MySql, "GRANT SELECT ON performance_schema.*"), (Backend::MariaDb, "GRANT PROCESS")]
    {
        let Some(mut place) = place(backend) else { continue };
        place.execute("CREATE USER blind IDENTIFIED BY 'blind'");
        place.execute("GRANT ALL ON `stockbench\\_explore\\_%`.* TO blind");
        let name = url::Url::parse(&place.url).unwrap().path().trim_matches('/').to_owned();
        place.execute(&format!("GRANT ALL ON {name}.* TO blind"));
        let mut url = url::Url::parse(&place.url).unwrap();
        url.set_username("blind").unwrap();
        url.set_password(Some("blind")).unwrap();
        let open = std::mem::replace(&mut place.url, url.to_string());
        let said = place.stockbench(&["explore", "-s", "atomic"]);
        place.url = open;
        place.execute("DROP USER blind");
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.stderr.contains("may not see who waits for which lock"), "{said:?}");
        assert!(said.stderr.contains(grant), "{said:?}");
    }
}

#[test]
fn a_server_that_dies_leaves_no_proof() {
    let folder = tempfile::tempdir().unwrap();
    if crate::support::server(stockbench::lab::LabKind::Postgres).is_none() {
        return;
    }
    let server =
        crate::support::block_on(stockbench::lab::LabServer::start(stockbench::lab::LabKind::Postgres))
            .unwrap();
    let explore = ["explore", "-s", "optimistic", "--clients", "4", "--stock", "4", "--no-reduce"];
    let child = spawn(folder.path(), &[&explore[..], &["--database-url", &server.url]].concat());
    let schemas =
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 'start_of_stockbench_sku'";
    until("it explores", || crate::support::query(&server.url, schemas) == "4");
    server.kill().unwrap();
    let said = wait(child);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(!said.stdout.contains("no violation in any"), "{said:?}");
    assert!(!said.stderr.contains("panicked"), "{said:?}");
}

#[test]
fn whoever_waits_for_locks_in_two_orders_is_seen_from_both_ends() {
    let Some(place) = place(Backend::Postgres) else { return };
    let explore = [
        "explore",
        "-o",
        "json",
        "-s",
        "reserve-deadlock",
        "--clients",
        "1",
        "--flow",
        "expire",
        "--max-tries",
        "1",
    ];
    let (_, few) = place.explore(&explore[3..]);
    assert_nothing_was_hidden(&place, &few, &explore);
}

#[test]
fn a_name_with_its_schema_would_pass_the_copies_by() {
    let Some(place) = place(Backend::Postgres) else { return };
    place.execute("CREATE TABLE goods (id INT PRIMARY KEY, amount INT NOT NULL)");
    for sql in [
        "UPDATE public.goods SET amount = amount - :quantity WHERE id = :sku_id",
        "CALL public.take(:sku_id)",
    ] {
        let path = place
            .write("mine.toml", &own(&format!("[[transaction]]\n[[transaction.step]]\nsql = \"{sql}\"\n")));
        let said = place.stockbench(&["explore", "-s", &path]);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.stderr.contains("with its schema would pass them by"), "{said:?}");
    }
}

fn numbers_that_no_rollback_takes_back_begin_anew(place: &Place) {
    let number = match place.backend {
        Backend::Postgres => "id SERIAL PRIMARY KEY",
        Backend::Sqlite => "id INTEGER PRIMARY KEY AUTOINCREMENT",
        Backend::MySql | Backend::MariaDb => "id INT AUTO_INCREMENT PRIMARY KEY",
    };
    place.execute(&format!("CREATE TABLE tickets ({number}, order_id BIGINT NOT NULL)"));
    let file = own("
[audit]
ledger = false
[[invariant]]
sql = \"SELECT id FROM tickets WHERE id > 2\"
says = \"ticket {id} was given out, and there are two\"
[[transaction]]
begin = \"none\"
[[transaction.step]]
sql = \"INSERT INTO tickets (order_id) VALUES (:order_id)\"
");
    let path = place.write("mine.toml", &file);
    let (code, report) = place.explore(&["-s", &path, "--no-reduce"]);
    assert_eq!((code, count(&report, "schedules")), (0, 2), "{report:#}");
    place.execute("INSERT INTO tickets (order_id) VALUES (7)");
    assert_eq!(
        crate::support::query(&place.url, "SELECT max(id) FROM tickets"),
        "1",
        "nobody drew from the original"
    );
}

#[test]
fn what_cannot_be_explored_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let explore =
        |arguments: &[&str]| crate::support::stockbench(folder.path(), &[&["explore"], arguments].concat());
    assert_one_line(&explore(&["-s", "redis-lock"]), 2, &["needs a Redis", "SQL alone"]);
    assert_one_line(&explore(&["-s", "group-commit"]), 2, &["in batches"]);
    assert_one_line(&explore(&["-s", "atomc"]), 2, &["did you mean"]);
    assert_one_line(&explore(&["-s", "naive", "--schedule", "1 5"]), 2, &["`5` is no move"]);
    assert_one_line(
        &explore(&["-s", "naive", "--isolation", "read-committed"]),
        2,
        &["SQLite has one isolation level"],
    );
    assert_one_line(&explore(&["-s", "advisory"]), 2, &["no named locks"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it leaves nothing behind");
}

/// What shows a strategy's weakness to two clients, beside the last unit. A
/// background program is the second one where there is one: with two more the
/// schedules are thousands.
fn arguments_of(strategy: &str) -> &'static [&'static str] {
    match strategy {
        "unlogged" => &["--crashes", "1"],
        "unkeyed" => &["--same-order"],
        "reserve-confirm" | "reserve-unchecked" | "reserve-deadlock" => {
            &["--clients", "1", "--flow", "expire"]
        }
        "pessimistic-skip-locked" | "buckets-ungathered" | "cas-in-tx" => &["--stock", "2"],
        _ => &[],
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    backend: Backend,
    isolation: &'static str,
    /// MariaDB's writers are refused what their snapshot has not seen.
    snapshot: bool,
}

/// Where two clients must be able to break an invariant, and nowhere else.
fn must_break(strategy: &str, level: Level) -> bool {
    let is_innodb = matches!(level.backend, Backend::MySql | Backend::MariaDb);
    let below = |isolation: &str| {
        let rank = ["read-committed", "repeatable-read", "serializable"];
        let of = |level: &str| rank.iter().position(|known| *known == level);
        of(level.isolation) < of(isolation)
    };
    match strategy {
        "naive"
        | "read-replica"
        | "unchecked"
        | "unlogged"
        | "unkeyed"
        | "pessimistic-skip-locked"
        | "optimistic-stale"
        | "buckets-ungathered"
        | "unchecked-restock"
        | "stock-take-absolute"
        | "reserve-unchecked" => true,
        "naive-tx" if is_innodb => below("serializable") && (below("repeatable-read") || !level.snapshot),
        "naive-tx" => level.backend == Backend::Postgres && below("repeatable-read"),
        "cas-in-tx" => is_innodb && level.isolation == "repeatable-read" && !level.snapshot,
        _ => false,
    }
}

/// One strategy at one level: what it came to, or nothing where it cannot run.
fn explored(place: &Place, strategy: &str, level: Level, checks_reduction: bool) -> Option<String> {
    let file = stockbench::strategy::Strategy::load(strategy).unwrap().file;
    if file.refused.get(place.dialect()).is_some() {
        return None;
    }
    place.execute("SELECT 1");
    let explore = ["explore", "-s", strategy, "--isolation", level.isolation, "-o", "json", "--no-widen"];
    let limits = ["--max-schedules", "1000000"];
    let said = place.stockbench(&[&explore[..], &limits, arguments_of(strategy)].concat());
    if said.code == 2 && said.stderr.contains("depends on isolation") {
        return None;
    }
    let report: Value = serde_json::from_str(&said.stdout)
        .unwrap_or_else(|error| panic!("{error}: {strategy} at {level:?}: {said:?}"));
    let code = if must_break(strategy, level) { 3 } else { 0 };
    assert_eq!(said.code, code, "{strategy} at {level:?}: {report:#}");
    if checks_reduction {
        assert_nothing_was_hidden(place, &report, &[&explore[..], arguments_of(strategy)].concat());
    }
    let schedules = count(&report, "schedules");
    let pruned = count(&report, "pruned");
    let deadlocks = if count(&report, "deadlocks") > 0 { ", deadlocks" } else { "" };
    let kinds = broken(&report).into_iter().collect::<Vec<_>>().join(", ");
    let kinds = if kinds.is_empty() { "✓".to_owned() } else { format!("**{kinds}**") };
    Some(format!("{kinds} {schedules}+{pruned}{deadlocks}"))
}

/// All schedules, or a sample of them where they are many, end in no way that the
/// reduced exploration did not find.
#[track_caller]
fn assert_nothing_was_hidden(place: &Place, few: &Value, explore: &[&str]) {
    let of = |more: &[&str]| -> Value {
        let said = place.stockbench(&[explore, &["--no-reduce"], more].concat());
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    };
    let all = of(&["--max-schedules", "2000"]);
    // Which of several that may go on is first, is the server's choice.
    if [few, &all].iter().any(|report| count(report, "raced") + count(report, "unrepeated") > 0) {
        return;
    }
    if all["explored"]["complete"] == true {
        assert_eq!(outcomes(few), outcomes(&all), "{explore:?}");
        return;
    }
    let sample = of(&["--sample", "200"]);
    let new: Vec<_> = outcomes(&sample).difference(&outcomes(few)).cloned().collect();
    assert!(new.is_empty() && count(&sample, "schedules") == 200, "{explore:?}: {new:?}");
}

/// Every strategy that is SQL alone, with two clients: an invariant breaks where
/// its file says so, and nowhere else. `make explore-matrix` does it at every
/// isolation level and keeps the table as docs/explore-matrix.md.
#[test]
fn every_strategy_breaks_where_it_is_unsafe_and_nowhere_else() {
    let target = std::env::var_os("STOCKBENCH_WRITE_EXPLORE_MATRIX");
    let is_whole = target.is_some();
    let is_explored = |name: &&str| {
        let strategy = stockbench::strategy::Strategy::load(name).unwrap();
        let program = strategy.compile(&stockbench::db::Dialect::Postgres.into()).unwrap();
        !program.needs_redis() && program.batch.is_none()
    };
    let strategies: Vec<&str> = stockbench::strategy::catalogue::names().filter(is_explored).collect();
    let levels: &[&str] = match target {
        Some(_) => &["read-committed", "repeatable-read", "serializable"],
        None => &["repeatable-read"],
    };
    let column = |backend: Backend, levels: &[&'static str]| -> Vec<(Level, Vec<Option<String>>)> {
        let Some(place) = place(backend) else { return Vec::new() };
        let snapshot = place.info().has_snapshot_isolation();
        let at = |isolation: &&'static str| {
            let level = Level { backend, isolation, snapshot };
            (level, strategies.iter().map(|strategy| explored(&place, strategy, level, !is_whole)).collect())
        };
        levels.iter().map(at).collect()
    };
    let columns: Vec<(Level, Vec<Option<String>>)> = std::thread::scope(|scope| {
        let backends = [Backend::Postgres, Backend::MySql, Backend::MariaDb, Backend::Sqlite];
        let levels_of = |backend| if backend == Backend::Sqlite { &["serializable"] } else { levels };
        let columns = backends.map(|backend| scope.spawn(move || column(backend, levels_of(backend))));
        columns.into_iter().flat_map(|column| column.join().unwrap()).collect()
    });
    let Some(path) = target else { return };
    let mut columns = columns;
    if let Some(server) = crate::support::server(stockbench::lab::LabKind::MariaDb) {
        // The setting that this version does not have by default.
        crate::support::execute(
            &server.url,
            "SET GLOBAL innodb_snapshot_isolation = NOT @@GLOBAL.innodb_snapshot_isolation",
        );
        columns.extend(column(Backend::MariaDb, &["repeatable-read"]));
    }
    std::fs::write(path, table(&strategies, &columns)).unwrap();
}

/// Markdown, a column for each database and level.
fn table(strategies: &[&str], columns: &[(Level, Vec<Option<String>>)]) -> String {
    let short = |level: &Level| match (level.isolation, level.snapshot) {
        ("read-committed", _) => "RC",
        ("repeatable-read", false) => "RR",
        ("repeatable-read", true) => "RR, snapshot isolation",
        _ => "serializable",
    };
    let head = columns.iter().map(|(level, _)| format!("{:?} {}", level.backend, short(level)));
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = row(std::iter::once("strategy".to_owned()).chain(head).collect());
    text.push_str(&row(vec!["---".to_owned(); columns.len() + 1]));
    for (index, strategy) in strategies.iter().enumerate() {
        let name = [&[*strategy], arguments_of(strategy)].concat().join(" ");
        let cells = columns.iter().map(|(_, cells)| cells[index].clone().unwrap_or_else(|| "–".to_owned()));
        text.push_str(&row(std::iter::once(format!("`{name}`")).chain(cells).collect()));
    }
    text
}
