//! What every strategy must show under contention, on every database.

use crate::support::{Backend, Place, kinds, on_every_database, outcome};
use serde_json::Value;

on_every_database!(
    safe_strategies_sell_exactly_what_was_there,
    optimistic_oversells_nothing_in_three_tries,
    a_stale_version_is_retried_in_vain_and_said_so,
    naive_is_caught,
    naive_in_a_transaction_depends_on_the_isolation,
    an_unchecked_update_is_caught,
    a_loop_inside_one_transaction_converges_or_is_broken_off,
    orders_of_several_lines_are_all_or_nothing,
    lines_in_random_order_deadlock_on_servers_and_are_retried,
    an_order_delivered_again_counts_once_only_with_a_key,
    the_same_seed_sends_the_same_orders,
);

/// One SKU, five times as many orders as units, from many clients.
const HOT: [&str; 8] = ["--concurrency", "100", "--skus", "1", "--stock", "200", "--orders", "1000"];

fn run_hot(place: &Place, strategy: &str, more: &[&str]) -> (i32, Value) {
    place.run(&[&["-s", strategy], &HOT[..], more].concat())
}

#[track_caller]
fn assert_exact(code: i32, report: &Value) {
    assert_eq!((code, kinds(report)), (0, vec![]), "{report:#}");
    assert_eq!((outcome(report, "deducted"), outcome(report, "sold_out")), (200, 800), "{report:#}");
    let units = &report["audit"]["units"];
    for witness in ["existed", "told", "ledger", "left_stock"] {
        assert_eq!(units[witness], 200, "{witness}: {units}");
    }
}

fn safe_strategies_sell_exactly_what_was_there(place: &Place) {
    for strategy in [
        "pessimistic",
        "pessimistic-nowait",
        "cas",
        "atomic",
        "atomic-returning",
        "serializable",
        "constraint",
        "advisory",
        "buckets",
        "units",
    ] {
        let file = stockbench::strategy::Strategy::load(strategy).unwrap().file;
        if file.refused.get(place.dialect()).is_none() {
            let (code, report) = run_hot(place, strategy, &[]);
            assert_exact(code, &report);
        }
    }
}

fn optimistic_oversells_nothing_in_three_tries(place: &Place) {
    let (code, report) = run_hot(place, "optimistic", &[]);
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
    let decided = outcome(&report, "deducted") + outcome(&report, "sold_out") + outcome(&report, "conflict");
    assert_eq!(decided, 1_000);
    assert!(report["conflicts"].as_u64().unwrap() > 0, "no contention: {report:#}");
    let (code, report) = run_hot(place, "optimistic", &["--max-tries", "0"]);
    assert_exact(code, &report);
}

fn a_stale_version_is_retried_in_vain_and_said_so(place: &Place) {
    let (code, report) = run_hot(place, "optimistic-stale", &["--think", "2ms"]);
    assert_eq!((code, kinds(&report)), (3, vec!["futile_retry"]), "{report:#}");
    assert_eq!(report["audit"]["oversold_units"], 0);
    let futile = report["audit"]["findings"][0]["orders"].as_u64().unwrap();
    assert!((1..=outcome(&report, "conflict")).contains(&futile), "{report:#}");
}

fn naive_is_caught(place: &Place) {
    let (code, report) = run_hot(place, "naive", &[]);
    assert_eq!(code, 3);
    assert_eq!(kinds(&report), ["oversold", "lost_update", "balance_chain"]);
    assert_oversold_by_lost_updates(&report);
}

#[track_caller]
fn assert_oversold_by_lost_updates(report: &Value) {
    let audit = &report["audit"];
    let units = |name: &str| audit["units"][name].as_i64().unwrap();
    assert!(units("told") > 200, "{audit:#}");
    assert_eq!(audit["oversold_units"], units("told") - 200);
    assert_eq!(units("told"), units("ledger"));
    // What was recorded and did not leave the stock is what was lost.
    assert_eq!(audit["lost_update_units"], units("ledger") - units("left_stock"));
}

fn naive_in_a_transaction_depends_on_the_isolation(place: &Place) {
    let oversells = |level: &str| {
        matches!(
            (place.backend, level),
            (Backend::Postgres, "read-committed")
                | (Backend::MySql | Backend::MariaDb, "read-committed" | "repeatable-read")
        )
    };
    let levels: &[&str] = match place.backend {
        Backend::Sqlite => &["serializable"],
        _ => &["read-committed", "repeatable-read", "serializable"],
    };
    for level in levels {
        let (code, report) = run_hot(place, "naive-tx", &["--isolation", level, "--retry-delay", "1ms,2s"]);
        assert_eq!(report["database"]["isolation"], *level);
        if oversells(level) {
            assert_eq!(code, 3, "{level}: {report:#}");
            assert_oversold_by_lost_updates(&report);
        } else {
            assert_exact(code, &report);
            assert!(report["conflicts"].as_u64().unwrap() > 0, "{level} refused nothing");
        }
    }
}

fn an_unchecked_update_is_caught(place: &Place) {
    let (code, report) = run_hot(place, "unchecked", &[]);
    assert_eq!(code, 3);
    assert_eq!(kinds(&report), ["oversold", "entry_without_movement", "balance_chain"]);
    assert_eq!(report["audit"]["units"]["left_stock"], 200);
    assert_eq!(report["audit"]["oversold_units"], 800);
}

fn a_loop_inside_one_transaction_converges_or_is_broken_off(place: &Place) {
    let (code, report) = run_hot(place, "cas-in-tx", &[]);
    match place.backend {
        Backend::MySql | Backend::MariaDb => {
            assert_eq!((code, kinds(&report)), (3, vec!["futile_retry"]), "{report:#}");
            let message = report["audit"]["findings"][0]["message"].as_str().unwrap();
            assert!(message.contains("snapshot does not move"), "{message}");
            let (code, report) = run_hot(place, "cas-in-tx", &["--isolation", "read-committed"]);
            assert_exact(code, &report);
        }
        Backend::Postgres | Backend::Sqlite => assert_exact(code, &report),
    }
}

const BASKETS: [&str; 10] =
    ["--skus", "20", "--lines", "2..5", "--quantity", "1..3", "--orders", "600", "--dist", "zipfian:0.8"];

fn orders_of_several_lines_are_all_or_nothing(place: &Place) {
    for strategy in ["pessimistic", "atomic", "atomic-returning", "cas"] {
        let (code, report) = place.run(&[&["-s", strategy, "--stock", "60"], &BASKETS[..]].concat());
        assert_eq!((code, kinds(&report)), (0, vec![]), "{strategy}: {report:#}");
        assert!(
            outcome(&report, "deducted") > 0 && outcome(&report, "sold_out") > 0,
            "{strategy}: {report:#}"
        );
        assert!(
            report["errors"].get("1213").or(report["errors"].get("40P01")).is_none(),
            "{strategy}: {report:#}"
        );
    }
}

fn lines_in_random_order_deadlock_on_servers_and_are_retried(place: &Place) {
    // Few orders: PostgreSQL looks for a deadlock only after a while.
    let shuffled = ["-s", "pessimistic", "--line-order", "shuffled", "--think", "1ms", "--concurrency", "8"];
    let baskets = ["--skus", "10", "--stock", "5000", "--lines", "2..5", "--orders", "50"];
    let (code, report) = place.run(&[&shuffled[..], &baskets].concat());
    assert_eq!((code, outcome(&report, "deducted")), (0, 50), "{report:#}");
    let deadlock = match place.backend {
        Backend::Postgres => "40P01",
        Backend::MySql | Backend::MariaDb => "1213",
        // One writer at a time cannot deadlock.
        Backend::Sqlite => return assert_eq!(report["errors"], serde_json::json!({})),
    };
    assert!(report["errors"][deadlock].as_u64().unwrap_or(0) > 0, "no deadlock: {report:#}");
}

fn an_order_delivered_again_counts_once_only_with_a_key(place: &Place) {
    let orders: Vec<String> = (1..=50).map(|id| format!("{id},1,1\n{id},2,1\n")).collect();
    let file = place.write("orders.csv", &format!("order_id,sku_id,quantity\n{}", orders.concat()));
    let deliver = |strategy: &str, more: &[&str]| {
        place.run(&[&["-s", strategy, "--replay", &file, "--stock", "1000"], more].concat())
    };
    deliver("atomic", &[]);
    let (code, again) = deliver("atomic", &["--no-seed"]);
    assert_eq!((code, outcome(&again, "duplicate")), (0, 50), "{again:#}");
    assert_eq!(again["audit"]["units"]["left_stock"], 100);

    let (code, first) = deliver("unkeyed", &["--duplicates", "0"]);
    assert_eq!((code, outcome(&first, "deducted")), (0, 50), "{first:#}");
    let (code, again) = deliver("unkeyed", &["--no-seed", "--duplicates", "0"]);
    assert_eq!((code, kinds(&again)), (3, vec!["duplicate_entry"; 2]), "{again:#}");
    assert_eq!(again["audit"]["units"]["left_stock"], 200);
}

fn the_same_seed_sends_the_same_orders(place: &Place) {
    let totals = || {
        let (code, report) =
            place.run(&[&["-s", "atomic", "--stock", "5000", "--random-seed", "7"], &BASKETS[..]].concat());
        assert_eq!((code, outcome(&report, "deducted")), (0, 600));
        let per_sku = crate::support::query(
            &place.url,
            "SELECT CAST(sum(id * stock) AS CHAR(20)) FROM stockbench_sku WHERE stock > 0",
        );
        (report["audit"]["units"]["told"].as_i64(), per_sku)
    };
    assert_eq!(totals(), totals());
}
