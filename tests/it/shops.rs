//! What shops do beyond one deduction: deliver twice, fail half-way, mix
//! programs, keep tables of their own.

use crate::support::{Backend, Place, assert_one_line, kinds, on_every_database, outcome, place, query};
use serde_json::Value;

on_every_database!(
    every_order_counts_once_however_often_it_is_delivered,
    a_saga_holds_whatever_step_fails,
    a_saga_holds_with_a_database_for_each_service,
    an_undo_that_cannot_be_completed_is_reported_as_what_it_is,
    a_mix_is_told_apart_and_adds_up,
    programs_of_different_isolation_can_be_mixed,
    a_shops_own_tables_are_judged_by_its_own_mapping,
    a_late_transaction_is_rolled_back_whole,
    a_batch_answers_every_order_once,
    a_lock_in_redis_holds_as_long_as_it_lasts,
    thresholds_and_expectations_decide_the_exit_code,
    what_has_no_ledger_is_judged_by_its_invariants,
);

fn units(report: &Value, name: &str) -> i64 {
    report["audit"]["units"][name].as_i64().unwrap()
}

fn every_order_counts_once_however_often_it_is_delivered(place: &Place) {
    let load =
        ["--duplicates", "30", "--stock", "5000", "--lines", "1..3", "--quantity", "1..3", "--orders", "500"];
    for strategy in ["idempotent", "idempotent-savepoint", "units"] {
        let (code, report) = place.run(&[&["-s", strategy], &load[..]].concat());
        assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
        assert_eq!(outcome(&report, "deducted"), 500, "{report:#}");
        let again = outcome(&report, "duplicate");
        assert!(again > 100 && again + 500 == report["deliveries"].as_u64().unwrap(), "{report:#}");
        assert_eq!(units(&report, "told"), units(&report, "left_stock"));
        assert_eq!(units(&report, "told"), units(&report, "ledger"));
    }
}

const STEPS: [&str; 4] = ["reserve", "order", "notify", "ship"];

fn a_saga_holds_whatever_step_fails(place: &Place) {
    for step in STEPS {
        for mishap in ["fail", "lose"] {
            let fault = format!("{mishap}@{step}:30%");
            let (_, report) =
                place.run(&["-s", "saga", "--fault", &fault, "--stock", "160", "--orders", "400"]);
            assert_eq!(kinds(&report), [""; 0], "{fault}: {report:#}");
            let undone = if (mishap, step) == ("fail", "reserve") { "error" } else { "compensated" };
            assert!(outcome(&report, undone) > 50, "{fault}: {report:#}");
            assert_eq!(outcome(&report, "unknown"), 0, "{fault}: {report:#}");
        }
    }
}

fn a_saga_holds_with_a_database_for_each_service(place: &Place) {
    let Some(orders) = crate::support::place(place.backend) else { return };
    let notify = format!("notify=sqlite:{}", place.path("notify.db").display());
    let service = format!("orders={}", orders.url);
    let services = ["--service", &service, "--service", &notify];
    let faults =
        ["--fault", "lose@order:10%", "--fault", "fail@notify:10%", "--stock", "200", "--orders", "600"];
    let (code, report) = place.run(&[&["-s", "saga"], &services[..], &faults].concat());
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
    assert!(outcome(&report, "compensated") > 20, "{report:#}");
    let placed = query(&orders.url, "SELECT count(*) FROM stockbench_order WHERE state = 'shipped'");
    assert_eq!(placed, outcome(&report, "deducted").to_string());
    assert_eq!(report["services"]["notify"]["kind"], "sqlite");
    // With one connection each, nobody may hold one while waiting for another.
    let narrow =
        ["--connections", "1", "--fault", "fail@ship:20%", "--fault", "fail@cancel:50%", "--orders", "100"];
    let (code, report) = place.run(&[&["-s", "saga"], &services[..], &narrow].concat());
    assert_eq!((code, kinds(&report), outcome(&report, "unknown")), (0, vec![], 0), "{report:#}");
    // An audit later needs to be told of the services' databases, too.
    let said = place.stockbench(&["audit"]);
    assert_one_line(&said, 1, &["--service orders=URL"]);
    let said = place.stockbench(&[&["audit"], &services[..]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    orders.execute("UPDATE stockbench_order SET state = 'cancelled' WHERE state = 'shipped'");
    let said = place.stockbench(&[&["audit", "-o", "json"], &services[..]].concat());
    assert!(said.code == 3 && said.stdout.contains("\"invariant\""), "{said:?}");
}

const HALF_A_SAGA: &str = r#"
retry = { within = "{WITHIN}" }
[[transaction]]
name = "reserve"
[[transaction.step]]
sql = "UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id AND stock >= :quantity"
none = "sold_out"
[[transaction.step]]
sql = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) SELECT :order_id, id, 'sale', 'accepted', -:quantity, stock, :run_id FROM stockbench_sku WHERE id = :sku_id"
[[transaction]]
name = "pay"
[[transaction.step]]
sql = "SELECT 1 AS one"
[[transaction]]
name = "unreserve"
undoes = "reserve"
[[transaction.step]]
sql = "UPDATE stockbench_sku SET stock = stock + :quantity WHERE id = :sku_id"
[[transaction.step]]
sql = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) SELECT :order_id, id, 'release', 'accepted', :quantity, stock, :run_id FROM stockbench_sku WHERE id = :sku_id"
"#;

fn an_undo_that_cannot_be_completed_is_reported_as_what_it_is(place: &Place) {
    let run = |within: &str, undo: &str| {
        let file = place.write("half.toml", &HALF_A_SAGA.replace("{WITHIN}", within));
        place.run(&[
            "-s",
            &file,
            "--fault",
            "fail@pay:20%",
            "--fault",
            undo,
            "--stock",
            "100",
            "--orders",
            "200",
        ])
    };
    let (code, report) = run("60s", "fail@unreserve:50%");
    assert_eq!((code, kinds(&report)), (0, vec![]), "tried until it is done: {report:#}");
    assert!(outcome(&report, "compensated") > 10, "{report:#}");
    let (code, report) = run("200ms", "fail@unreserve:100%");
    assert_eq!((code, outcome(&report, "compensated")), (3, 0), "{report:#}");
    assert!(kinds(&report).iter().all(|kind| *kind == "refused_but_sold"), "{report:#}");
    assert!(outcome(&report, "error") > 10, "{report:#}");
}

fn a_mix_is_told_apart_and_adds_up(place: &Place) {
    let (code, report) =
        place.run(&["-s", "atomic@3,restock@1", "--stock", "50", "--orders", "800", "--random-seed", "1"]);
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
    let programs = report["programs"].as_array().unwrap();
    let count = |index: usize| {
        programs[index]["outcomes"].as_object().unwrap().values().filter_map(Value::as_u64).sum::<u64>()
    };
    assert_eq!((&programs[0]["strategy"], &programs[1]["strategy"]), (&"atomic".into(), &"restock".into()));
    assert_eq!(count(0) + count(1), 800);
    assert!((150..250).contains(&count(1)), "a quarter restocks: {report:#}");
    assert_eq!(programs[1]["outcomes"]["done"], report["outcomes"]["done"]);
    assert!(programs[0]["latency_us"]["deducted"]["p99"].as_u64().unwrap() > 0);
}

fn programs_of_different_isolation_can_be_mixed(place: &Place) {
    let mix = "serializable@1,pessimistic@1";
    let (code, report) = place.run(&["-s", mix, "--stock", "100", "--orders", "1000", "--concurrency", "20"]);
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
    assert_eq!(outcome(&report, "deducted"), 300, "{report:#}");
}

/// A shop as an ORM would have it: products, orders and an inventory log with
/// names of their own. `{ID}` is the way a database counts up.
const SHOP: [&str; 2] = [
    "CREATE TABLE product (id BIGINT PRIMARY KEY, on_hand BIGINT NOT NULL)",
    "CREATE TABLE inventory_log ({ID}, order_no BIGINT NOT NULL, product_id BIGINT NOT NULL, change_amount BIGINT NOT NULL, remaining BIGINT NOT NULL)",
];

const OWN_SHOP: &str = r#"
summary = "our shop's own checkout"

[audit]
stock = "SELECT id AS sku_id, on_hand AS stock FROM product"
ledger = """
SELECT id, order_no AS order_id, product_id AS sku_id, 'sale' AS kind, 'accepted' AS status,
       change_amount AS delta, remaining AS balance, (SELECT max(id) FROM stockbench_run) AS run_id
FROM inventory_log
UNION ALL
SELECT 0, 0, id, 'opening', 'accepted', 30, 30, 0 FROM product"""

[[setup]]
sql = "DELETE FROM inventory_log"
[[setup]]
sql = "UPDATE product SET on_hand = 30"
[[setup]]
sql = "DELETE FROM stockbench_sku"
[[setup]]
sql = "INSERT INTO stockbench_sku (id, stock) SELECT id, on_hand FROM product"

[[transaction]]
[[transaction.step]]
sql = "SELECT on_hand - :quantity AS remaining FROM product WHERE id = :sku_id AND on_hand >= :quantity {LOCK}"
yields = ["remaining"]
none = "sold_out"
[[transaction.step]]
think = true
sql = "UPDATE product SET on_hand = :remaining WHERE id = :sku_id"
[[transaction.step]]
sql = "INSERT INTO inventory_log (order_no, product_id, change_amount, remaining) VALUES (:order_id, :sku_id, -:quantity, :remaining)"
"#;

fn a_shops_own_tables_are_judged_by_its_own_mapping(place: &Place) {
    let id = match place.backend {
        Backend::Postgres => "id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        Backend::MySql | Backend::MariaDb => "id BIGINT AUTO_INCREMENT PRIMARY KEY",
        Backend::Sqlite => "id INTEGER PRIMARY KEY",
    };
    for table in SHOP {
        place.execute(&table.replace("{ID}", id));
    }
    place.execute("INSERT INTO product (id, on_hand) VALUES (4711, 1), (4712, 1)");
    let (lock, begin) = match place.backend {
        Backend::Sqlite => ("", "[[transaction]]\nbegin = \"BEGIN IMMEDIATE\"\n"),
        _ => ("FOR UPDATE", "[[transaction]]\n"),
    };
    let sound = OWN_SHOP.replace("{LOCK}", lock).replace("[[transaction]]\n", begin);
    let sound = place.write("shop.toml", &sound);
    let racy =
        OWN_SHOP.replace("{LOCK}", "").replace("[[transaction]]\n", "[[transaction]]\nbegin = \"none\"\n");
    let racy = place.write("racy.toml", &racy);
    let load = ["--orders", "200", "--think", "1ms"];
    let refused = place.stockbench(&[&["run", "-s", &sound], &load[..]].concat());
    assert_one_line(&refused, 2, &["inventory_log, product", "--allow-writes"]);

    let name = stockbench::db::DatabaseUrl::parse(&place.url).unwrap().database;
    let run = |file: &str| place.run(&[&["-s", file, "--allow-writes", &name], &load[..]].concat());
    let (code, report) = run(&sound);
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
    assert_eq!(
        (outcome(&report, "deducted"), report["config"]["skus"].as_u64()),
        (60, Some(2)),
        "{report:#}"
    );
    assert_eq!(units(&report, "existed"), 60);
    // The mapping stays with the run: an audit later follows it, too.
    assert_eq!(place.stockbench(&["audit"]).code, 0);
    place.execute("UPDATE product SET on_hand = 1 WHERE id = 4711");
    assert_eq!(place.stockbench(&["audit"]).code, 3);
    let (code, report) = run(&racy);
    assert!(code == 3 && kinds(&report).contains(&"oversold"), "{report:#}");
}

fn a_late_transaction_is_rolled_back_whole(place: &Place) {
    let load = ["--transaction-timeout", "5ms", "--think", "10ms", "--skus", "50", "--orders", "100"];
    let (code, report) = place.run(&[&["-s", "pessimistic"], &load[..]].concat());
    assert_eq!((code, kinds(&report), outcome(&report, "error")), (1, vec![], 100), "{report:#}");
    assert_eq!(
        (report["errors"]["deadline"].as_u64(), units(&report, "left_stock")),
        (Some(100), 0),
        "{report:#}"
    );
    // Each statement on its own: what had been done by then stays done. There is time for
    // one line, and not to think twice.
    let load = ["--transaction-timeout", "3s", "--think", "2s", "--skus", "50", "-c", "8", "--orders", "8"];
    let (code, report) = place.run(&[&["-s", "naive", "--lines", "2"], &load[..]].concat());
    assert_eq!(code, 3, "{report:#}");
    assert!(kinds(&report).contains(&"half_order") && units(&report, "left_stock") > 0, "{report:#}");
    if place.backend == Backend::Sqlite {
        return;
    }
    // A statement that waits for a lock longer than it may.
    assert_eq!(place.stockbench(&["seed"]).code, 0);
    let hold = "UPDATE stockbench_sku SET stock = stock";
    let waits = ["-s", "pessimistic", "--no-seed", "--orders", "4", "--statement-timeout", "2s"];
    let (code, report) = while_held(place, hold, || place.run(&waits));
    assert_eq!((code, outcome(&report, "error")), (1, 4), "{report:#}");
    let codes: Vec<&str> = report["errors"].as_object().unwrap().keys().map(String::as_str).collect();
    assert!(["57014", "3024", "1969"].contains(&codes[0]), "{report:#}");
}

/// Does something while another session holds locks.
fn while_held<T: Send>(place: &Place, sql: &str, work: impl FnOnce() -> T + Send) -> T {
    crate::support::block_on(async {
        let database = crate::support::database(&place.url).await;
        let mut session = database.open(&stockbench::db::SessionSettings::default()).await.unwrap();
        session.control(database.dialect().begin()).await.unwrap();
        session.control(sql).await.unwrap();
        let done = work();
        session.control("ROLLBACK").await.unwrap();
        session.close().await;
        done
    })
}

fn a_batch_answers_every_order_once(place: &Place) {
    let load =
        ["--skus", "2", "--stock", "500", "--orders", "3000", "--concurrency", "200", "--quantity", "1..3"];
    let (code, report) = place.run(&[&["-s", "group-commit"], &load[..]].concat());
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
    assert_eq!(outcome(&report, "deducted") + outcome(&report, "sold_out"), 3_000, "{report:#}");
    assert_eq!(
        (units(&report, "told"), units(&report, "in_stock")),
        (1_000, 0),
        "exact at the last unit: {report:#}"
    );
    assert_eq!(units(&report, "ledger"), 1_000);

    // Orders of several lines go their own way, between the batches; copies get
    // the recorded answer on both ways, and so do those that lost it.
    let mixed = ["--lines", "1..3", "--skus", "4", "--stock", "300", "--quantity", "1..3", "-c", "100"];
    let more = ["--orders", "1500", "--duplicates", "30"];
    let faults = ["--fault", "lose@batch:10%", "--fault", "lose@alone:5%", "--fault", "crash@batch:2%"];
    let (_, report) = place.run(&[&["-s", "group-commit"], &mixed[..], &more, &faults].concat());
    assert_eq!(kinds(&report), Vec::<&str>::new(), "{report:#}");
    assert!(
        outcome(&report, "deducted") > 0 && outcome(&report, "duplicate") > 0,
        "{:#}",
        report["outcomes"]
    );
    assert!(report["errors"]["fault-lose"].as_u64().unwrap() > 0, "{:#}", report["errors"]);
}

fn a_lock_in_redis_holds_as_long_as_it_lasts(place: &Place) {
    let (code, report) = place.run(&[
        "-s",
        "redis-lock",
        "--param",
        "lock_ms=60000",
        "--orders",
        "100",
        "--think",
        "1ms",
        "--skus",
        "1",
        "--stock",
        "60",
    ]);
    assert_eq!((code, kinds(&report), outcome(&report, "deducted")), (0, vec![], 60), "{report:#}");
    assert_eq!(report["redis"]["private"], true);
}

fn thresholds_and_expectations_decide_the_exit_code(place: &Place) {
    let run = |strategy: &str, more: &[&str]| {
        place.run(&[&["-s", strategy, "--skus", "1", "--stock", "50", "--orders", "200"], more].concat())
    };
    let held = ["--threshold", "oversold_units == 0", "--threshold", "outcomes.deducted == 50"];
    assert_eq!(run("atomic", &held).0, 0);
    let (code, report) = run("atomic", &["--threshold", "p99 < 1us", "--threshold", "conflict_rate < 30%"]);
    assert_eq!((code, &report["thresholds"][0]["passed"]), (4, &false.into()), "{report:#}");
    assert_eq!(report["thresholds"][1]["passed"], true);
    assert_eq!(run("naive", &["--threshold", "p99 < 1us"]).0, 3, "a violation speaks first");
    let expecting = |strategy: &str, finding: &str| {
        let scenario = format!(
            "summary = \"x\"\nstrategy = \"{strategy}\"\n[load]\nstock = 50\nskus = 1\norders = 300\n[expect]\naudit = \"{finding}\"\n"
        );
        place.run(&["--scenario", &place.write("mine.toml", &scenario)])
    };
    assert_eq!(expecting("naive", "oversold").0, 0);
    assert_eq!(expecting("naive", "undersold").0, 3, "another violation than the expected one");
    let (code, report) = expecting("atomic", "oversold");
    assert_eq!((code, &report["expectation"]["met"]), (3, &false.into()), "{report:#}");
}

fn what_has_no_ledger_is_judged_by_its_invariants(place: &Place) {
    let (code, report) = place.run(&["--scenario", "transfer", "--orders", "100"]);
    assert_eq!((code, report["audit"]["entries"].as_u64()), (0, Some(0)), "{report:#}");
    let said = place.stockbench(&["audit"]);
    assert!(said.code == 0 && said.stdout.contains("no ledger: judged by"), "{said:?}");
    place.execute("UPDATE stockbench_account SET balance = balance + 1 WHERE id = 1");
    let said = place.stockbench(&["audit"]);
    assert!(said.code == 3 && said.stdout.contains("✗ invariant"), "{said:?}");
}

#[test]
fn a_redis_of_the_users_own_is_used_and_a_wrong_one_named() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let redis = crate::support::server(stockbench::lab::LabKind::Redis);
    let Some(redis) = redis else { return };
    let url = ["--redis-url", &redis.url];
    let (code, report) = place.run(&[&["-s", "redis-counter", "--orders", "500"], &url[..]].concat());
    assert_eq!(
        (code, outcome(&report, "deducted"), &report["redis"]["private"]),
        (0, 300, &false.into()),
        "{report:#}"
    );
    let password = redis.url.split_once(':').unwrap().1.split_once('@').unwrap().0.trim_start_matches("//:");
    assert!(!report.to_string().contains(password));
    let said =
        place.stockbench(&[&["run", "-s", "redis-counter", "--fault", "kill-redis@5"], &url[..]].concat());
    assert_one_line(&said, 2, &["leave --redis-url out"]);
    let said =
        place.stockbench(&["run", "-s", "redis-counter", "--redis-url", "redis://:secret@127.0.0.1:1/"]);
    assert_one_line(&said, 1, &["cannot connect to redis://127.0.0.1:1/"]);
}
