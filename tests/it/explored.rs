//! What an exploration covers by itself, and what it says of the rest.

use crate::support::{Backend, Place, on_every_database, place};
use serde_json::Value;

on_every_database!(
    drawn_values_are_explored_and_not_drawn,
    few_drawn_values_are_all_explored,
    a_bare_exploration_searches_wider_by_itself,
);

/// The exit code and the report of what must be found by itself.
fn explored(place: &Place, file: &str, more: &[&str]) -> (i32, Value) {
    let path = place.write("mine.toml", file);
    place.explore(&[&["-s", &path], more].concat())
}

/// A coupon that each customer may use once, looked up before it is written down.
const COUPON: &str = "
summary = \"a coupon for each customer, once\"
safety = \"unsafe\"
safety_note = \"two requests of one customer\"
audit = { ledger = false }
[draw]
coupon = { range = [1, 3] }
customer = { range = [100, 4000] }
[[setup]]
sql = \"DROP TABLE IF EXISTS stockbench_coupon_use\"
[[setup]]
sql = \"CREATE TABLE stockbench_coupon_use (coupon BIGINT NOT NULL, customer BIGINT NOT NULL)\"
mysql = \"CREATE TABLE stockbench_coupon_use (coupon BIGINT NOT NULL, customer BIGINT NOT NULL) ENGINE = InnoDB\"
[[invariant]]
sql = \"SELECT customer, count(*) AS uses FROM stockbench_coupon_use GROUP BY coupon, customer HAVING count(*) > 1\"
says = \"customer {customer} used a coupon {uses} times\"
[[transaction]]
begin = \"none\"
[[transaction.step]]
sql = \"SELECT count(*) AS uses FROM stockbench_coupon_use WHERE coupon = :coupon AND customer = :customer HAVING count(*) = 0\"
yields = [\"uses\"]
none = \"sold_out\"
[[transaction.step]]
sql = \"INSERT INTO stockbench_coupon_use (coupon, customer) VALUES (:coupon, :customer)\"
then = \"done\"
";

/// That two customers of 3,901 are one and the same hardly ever happens by chance.
fn drawn_values_are_explored_and_not_drawn(place: &Place) {
    for seed in ["1", "7"] {
        let (code, report) = explored(place, COUPON, &["--random-seed", seed]);
        assert_eq!(code, 3, "with --random-seed {seed}: {report:#}");
        let witness = &report["explored"]["witnesses"][0];
        let ways = witness["ways"].as_str().unwrap();
        assert!(ways.contains("client 1 draws coupon = ") && ways.contains("client 2 draws"), "{ways}");
    }

    let safe = COUPON.replace(
        "coupon BIGINT NOT NULL, customer BIGINT NOT NULL)",
        "coupon BIGINT NOT NULL, customer BIGINT NOT NULL, PRIMARY KEY (coupon, customer))",
    );
    let safe = safe.replace("then = \"done\"", "then = \"done\"\nunique = \"sold_out\"");
    let (code, report) = explored(place, &safe, &[]);
    assert_eq!(code, 0, "{report:#}");
    let drawn = &report["drawn"];
    assert_eq!(
        (&drawn["complete"], &drawn["draws"][1]["name"]),
        (&false.into(), &"customer".into()),
        "{drawn}"
    );
    assert!(drawn["possible"].as_u64() > Some(68_000_000), "{drawn}");
    let not_covered = report["not_covered"].to_string();
    assert!(not_covered.contains("drawn values: "), "{not_covered}");
    let said = place.stockbench(&["explore", "-s", &place.write("safe.toml", &safe)]);
    assert!(said.stdout.contains("not covered: drawn values: "), "{said:?}");
}

fn few_drawn_values_are_all_explored(place: &Place) {
    let few = COUPON.replace("[100, 4000]", "[5, 6]");
    let (code, report) = explored(place, &few, &[]);
    assert_eq!(code, 3, "{report:#}");
    let drawn = &report["drawn"];
    // Six values of one order, and two orders that are alike: 6 * 7 / 2.
    assert_eq!((&drawn["possible"], &drawn["complete"]), (&21.into(), &true.into()), "{drawn}");
    assert_eq!(drawn["combinations"].as_array().unwrap().len(), 21, "{drawn}");
    assert!(!report["not_covered"].to_string().contains("drawn"), "{report:#}");

    let unreduced = explored(place, &few, &["--no-reduce"]).1;
    let ways = |report: &Value| report["explored"]["outcomes"].as_array().unwrap().len();
    assert_eq!(ways(&report), ways(&unreduced), "{unreduced:#}");
}

/// Two deliveries of one order carry the same values, as in a run.
#[test]
fn a_delivered_order_carries_its_values_with_it() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let (_, report) = explored(&place, &COUPON.replace("[100, 4000]", "[5, 6]"), &["--same-order"]);
    assert_eq!(report["drawn"]["possible"], 6, "{report:#}");
}

/// The scenarios that come with stockbench, each as a strategy file.
#[test]
fn the_naive_scenarios_are_found_with_every_seed() {
    let Some(place) = place(Backend::Sqlite) else { return };
    for name in ["transfer-naive", "voucher-naive"] {
        let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let text = std::fs::read_to_string(format!("{scenario}/{name}.toml")).unwrap();
        let (_, strategy) = text.split_once("[strategy]").unwrap();
        let file = strategy.replace("[strategy.", "[").replace("[[strategy.", "[[");
        for seed in ["1", "2", "3", "4", "5", "6", "7", "8"] {
            let (code, report) = explored(&place, &file, &["--random-seed", seed]);
            assert_eq!(code, 3, "{name} with --random-seed {seed}: {report:#}");
        }
    }
}

/// What the flags of the search that found something say, the last one.
fn last_flags(report: &Value) -> &str {
    report["searches"].as_array().unwrap().last().unwrap()["flags"].as_str().unwrap()
}

fn a_bare_exploration_searches_wider_by_itself(place: &Place) {
    for (strategy, flags) in [("unlogged", "--crashes 1"), ("unkeyed", "--same-order --stock 2")] {
        let (code, report) = place.explore(&["-s", strategy]);
        assert_eq!((code, last_flags(&report)), (3, flags), "{strategy}: {report:#}");
        // The flags that it names show the same once more.
        let again: Vec<&str> = flags.split(' ').collect();
        assert_eq!(place.explore(&[&["-s", strategy], &again[..]].concat()).0, 3, "{strategy} {flags}");
        let (code, report) = place.explore(&["-s", strategy, "--no-widen"]);
        assert_eq!((code, report["searches"].as_array().unwrap().len()), (0, 1), "{strategy}: {report:#}");
    }

    let said = place.stockbench(&["explore", "-s", "saga"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("also explored, without a violation: "), "{said:?}");
    assert!(said.stdout.contains("only that client undoes its steps: add `--crashes 1`"), "{said:?}");
}

/// Without a flag an unsafe strategy is found, or what to add is said; and none is accused that
/// is safe.
#[test]
fn bare_explorations_catch_what_is_unsafe_and_accuse_nobody() {
    let Some(place) = place(Backend::Postgres) else { return };
    for name in stockbench::strategy::catalogue::names() {
        let strategy = stockbench::strategy::Strategy::load(name).unwrap();
        let program = strategy.compile(&place.dialect().into()).unwrap();
        if program.needs_redis() || program.batch.is_some() {
            continue;
        }
        let (code, report) = place.explore(&["-s", name, "--max-schedules", "1200"]);
        let not_covered = report["not_covered"].to_string();
        match strategy.file.safety.unwrap() {
            stockbench::strategy::Safety::Safe => assert_ne!(code, 3, "{name}: {report:#}"),
            stockbench::strategy::Safety::Unsafe => {
                assert!(code == 3 || not_covered.contains("add `"), "{name}: {report:#}");
            }
        }
    }
}
