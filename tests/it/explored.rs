//! What an exploration covers by itself, and what it says of the rest.

use crate::support::{Backend, Place, on_every_database, place};
use serde_json::Value;

on_every_database!(
    drawn_values_are_explored_and_not_drawn,
    few_drawn_values_are_all_explored,
    a_bare_exploration_searches_wider_by_itself,
    triggers_and_foreign_keys_come_along,
    a_proof_names_the_overlap_that_it_leaves_out,
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

/// A shop that writes its orders down, and whose trigger does the rest: it refuses what is
/// more than there is, takes the pieces and notes the movement.
const TRIGGERED: &str = "
summary = \"the shop keeps its stock by a trigger\"
[audit]
stock = \"SELECT id AS sku_id, amount AS stock FROM goods\"
ledger = false
[[invariant]]
sql = \"SELECT goods_id, sum(pieces) AS pieces FROM sold GROUP BY goods_id HAVING sum(pieces) > 3\"
says = \"{pieces} pieces of goods {goods_id} were sold\"
[[invariant]]
sql = \"SELECT g.id FROM goods g WHERE g.amount + (SELECT coalesce(sum(pieces), 0) FROM moved m WHERE m.goods_id = g.id) <> 3\"
says = \"goods {id} do not add up\"
[[transaction]]
[[transaction.step]]
sql = \"INSERT INTO sold (order_id, goods_id, pieces) VALUES (:order_id, :sku_id, :quantity)\"
check = \"sold_out\"
";

fn make_triggered_shop(place: &Place) {
    let key = |rule| format!("FOREIGN KEY (goods_id) REFERENCES goods (id) ON DELETE {rule}");
    let goods = "id INT PRIMARY KEY, amount INT NOT NULL CHECK (amount > -9), twice INT GENERATED ALWAYS AS (amount * 2) STORED";
    // A trigger of SQLite cannot refuse as a CHECK does.
    let goods = if place.backend == Backend::Sqlite { goods.replace("-9", "-1") } else { goods.to_owned() };
    place.execute(&format!("CREATE TABLE goods ({goods})"));
    place.execute(&format!(
        "CREATE TABLE moved (goods_id INT NOT NULL, pieces INT NOT NULL, {})",
        key("RESTRICT")
    ));
    let sold = "order_id BIGINT NOT NULL, goods_id INT NOT NULL, pieces INT NOT NULL";
    place.execute(&format!("CREATE TABLE sold ({sold}, {})", key("CASCADE")));
    place.execute("INSERT INTO goods (id, amount) VALUES (7, 3)");

    let take = "UPDATE goods SET amount = amount - NEW.pieces WHERE id = NEW.goods_id; \
        INSERT INTO moved (goods_id, pieces) VALUES (NEW.goods_id, NEW.pieces);";
    let too_few = "(SELECT amount FROM goods WHERE id = NEW.goods_id) < NEW.pieces";
    match place.backend {
        Backend::Postgres => {
            // What a function of the trigger calls comes along, too.
            place.execute("CREATE FUNCTION note(INT, INT) RETURNS VOID LANGUAGE sql AS 'INSERT INTO moved VALUES ($1, $2)'");
            let take = take.replace("INSERT INTO moved (goods_id, pieces) VALUES", "PERFORM note");
            place.execute(&format!(
                "CREATE FUNCTION on_sold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 PERFORM amount FROM goods WHERE id = NEW.goods_id FOR UPDATE;
                 IF {too_few} THEN RAISE EXCEPTION 'too few' USING ERRCODE = '23514'; END IF;
                 {take} RETURN NEW; END $$"
            ));
            place.execute("CREATE TRIGGER on_sold BEFORE INSERT ON sold FOR EACH ROW EXECUTE FUNCTION on_sold()");
        }
        Backend::MySql | Backend::MariaDb => place.execute(&format!(
            "CREATE TRIGGER on_sold BEFORE INSERT ON sold FOR EACH ROW BEGIN
             IF {too_few} THEN SIGNAL SQLSTATE '23514' SET MYSQL_ERRNO = 3819, MESSAGE_TEXT = 'too few'; END IF;
             {take} END"
        )),
        Backend::Sqlite => {
            place.execute(&format!("CREATE TRIGGER on_sold BEFORE INSERT ON sold BEGIN {take} END"));
        }
    }
}

fn triggers_and_foreign_keys_come_along(place: &Place) {
    make_triggered_shop(place);
    let (code, report) = explored(place, TRIGGERED, &["--no-reduce"]);
    assert_eq!(code, 0, "{report:#}");
    let outcomes = report["explored"]["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), 1, "{report:#}");
    assert_eq!(
        (&outcomes[0]["stock"][0]["stock"], &outcomes[0]["schedules"]),
        (&0.into(), &2.into()),
        "{report:#}"
    );
    assert_eq!(report["left_behind"], Value::Array(Vec::new()), "{report:#}");
    assert_eq!(crate::support::query(&place.url, "SELECT amount FROM goods WHERE id = 7"), "3");
    assert_eq!(crate::support::query(&place.url, "SELECT count(*) FROM moved"), "0");

    // Goods that are not there are refused by the foreign key, in the copies as well.
    let unknown = TRIGGERED.replace("VALUES (:order_id, :sku_id,", "VALUES (:order_id, :sku_id + 1,");
    let (code, report) = explored(place, &unknown, &["--no-widen"]);
    assert_eq!(code, 1, "{report:#}");
    assert!(report["explored"]["failed"].as_u64() > Some(0), "{report:#}");
}

/// What a trigger does elsewhere cannot be copied: then nobody is accused, and nothing proved.
#[test]
fn a_trigger_that_stays_behind_is_named_and_leaves_no_verdict() {
    let Some(place) = place(Backend::Postgres) else { return };
    make_triggered_shop(&place);
    place.execute(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
         UPDATE public.goods SET amount = 0; RETURN NEW; END $$",
    );
    place.execute("CREATE TRIGGER shout AFTER UPDATE ON sold FOR EACH ROW EXECUTE FUNCTION shout()");
    let said = place.stockbench(&["explore", "-s", &place.write("mine.toml", TRIGGERED)]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stdout.contains("PARTIAL, no verdict: no violation in 2 schedules"), "{said:?}");
    assert!(
        said.stdout.contains("trigger shout on sold (its function shout: it names public before a table)"),
        "{said:?}"
    );
}

/// Why the first witness came about, as it is told.
fn why(report: &Value) -> String {
    let witnesses = report["explored"]["witnesses"].as_array().unwrap().iter();
    let causes = witnesses.flat_map(|witness| witness["causes"].as_array().unwrap());
    causes.map(|cause| cause.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn assert_why(place: &Place, arguments: &[&str], expected: &str) {
    let (code, report) = place.explore(arguments);
    assert_eq!(code, 3, "{arguments:?}: {report:#}");
    let why = why(&report);
    assert!(why.contains(expected), "{arguments:?}: {why:?}: {report:#}");
}

/// A show with one seat, which is counted before it is taken.
fn seats(steps: &str) -> String {
    format!(
        "
summary = \"a show with one seat\"
audit = {{ ledger = false }}
[[setup]]
sql = \"DROP TABLE IF EXISTS stockbench_show\"
[[setup]]
sql = \"DROP TABLE IF EXISTS stockbench_seat\"
[[setup]]
sql = \"CREATE TABLE stockbench_show (id BIGINT PRIMARY KEY, seats BIGINT NOT NULL)\"
mysql = \"CREATE TABLE stockbench_show (id BIGINT PRIMARY KEY, seats BIGINT NOT NULL) ENGINE = InnoDB\"
[[setup]]
sql = \"CREATE TABLE stockbench_seat (order_id BIGINT NOT NULL, show_id BIGINT NOT NULL)\"
mysql = \"CREATE TABLE stockbench_seat (order_id BIGINT NOT NULL, show_id BIGINT NOT NULL) ENGINE = InnoDB\"
[[setup]]
sql = \"INSERT INTO stockbench_show (id, seats) VALUES (1, 1)\"
[[invariant]]
sql = \"SELECT show_id, count(*) AS taken FROM stockbench_seat GROUP BY show_id HAVING count(*) > 1\"
says = \"{{taken}} seats of show {{show_id}} are taken\"
[[transaction]]
{steps}
[[transaction.step]]
sql = \"INSERT INTO stockbench_seat (order_id, show_id) VALUES (:order_id, 1)\"
then = \"done\"
"
    )
}

fn step(sql: &str, more: &str) -> String {
    format!("[[transaction.step]]\nsql = \"{sql}\"\n{more}\n")
}

const COUNT: &str = "SELECT count(*) AS taken FROM stockbench_seat WHERE show_id = 1 HAVING count(*) < 1";

#[test]
fn a_number_computed_from_an_earlier_read_is_named_as_the_cause() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let cause = "client 1 sets stock to a number computed from its read one statement earlier, and client 2 changed \
                 stockbench_sku in between: let the database compute it (`stock = stock - …`)";
    assert_why(&place, &["-s", "naive"], cause);
    let said = place.stockbench(&["explore", "-s", "naive"]);
    assert!(said.stdout.contains(&format!("  why: {cause}")), "{said:?}");
}

#[test]
fn an_update_of_no_row_that_nobody_looked_at_is_named_as_the_cause() {
    let Some(place) = place(Backend::Sqlite) else { return };
    assert_why(&place, &["-s", "unchecked"], "UPDATE changed no row, and nobody looked");
}

#[test]
fn a_client_that_stopped_half_way_is_named_as_the_cause() {
    let Some(place) = place(Backend::Sqlite) else { return };
    assert_why(&place, &["-s", "unlogged", "--crashes", "1"], "stopped between two of its transactions");
}

#[test]
fn a_retry_that_does_not_read_again_is_named_as_the_cause() {
    let Some(place) = place(Backend::Sqlite) else { return };
    assert_why(&place, &["-s", "optimistic-stale"], "tries again with the numbers of its first read");
}

#[test]
fn what_needs_no_race_is_said_to_need_none() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let path = place.write("seat.toml", &seats(""));
    assert_why(&place, &["-s", &path], "no race is needed: one client after the other is enough");
}

#[test]
fn a_check_that_another_client_overtakes_is_named_as_the_cause() {
    let Some(place) = place(Backend::Postgres) else { return };
    let refused = "yields = [\"taken\"]\nnone = \"sold_out\"";
    let path = place.write("seat.toml", &seats(&step(COUNT, refused)));
    assert_why(&place, &["-s", &path], "checks with a read that locks nothing");
    let apart = format!("{}[[transaction]]\n", step(COUNT, refused));
    let path = place.write("apart.toml", &seats(&apart));
    assert_why(&place, &["-s", &path], "checks in one transaction and writes in another");
}

#[test]
fn a_locking_read_of_no_row_is_named_as_the_cause() {
    let Some(place) = place(Backend::Postgres) else { return };
    let read = step("SELECT order_id FROM stockbench_seat WHERE show_id = 1 FOR UPDATE", "none = \"@take\"");
    let steps = format!("{read}then = \"sold_out\"\n[[transaction]]\nname = \"take\"\n");
    let path = place.write("seat.toml", &seats(&steps));
    assert_why(&place, &["-s", &path], "locking read matched no row, so it locked none");
}

/// The count is what it was before the wait. The weaker lock of PostgreSQL does the same.
#[test]
fn a_lock_waited_for_inside_the_reading_statement_is_named_as_the_cause() {
    let Some(place) = place(Backend::Postgres) else { return };
    for lock in ["FOR UPDATE", "FOR NO KEY UPDATE"] {
        let read = format!(
            "SELECT e.id FROM stockbench_show e WHERE e.id = 1 AND \
             (SELECT count(*) FROM stockbench_seat s WHERE s.show_id = 1) < e.seats {lock}"
        );
        let path = place.write("seat.toml", &seats(&step(&read, "none = \"sold_out\"")));
        assert_why(&place, &["-s", &path], "waited for a lock inside the statement that reads");
    }
}

#[test]
fn a_plain_read_of_an_old_snapshot_is_named_as_the_cause() {
    let Some(place) = place(Backend::MySql) else { return };
    let first = step("SELECT seats FROM stockbench_show WHERE id = 1", "yields = [\"seats\"]");
    let lock = step("SELECT id FROM stockbench_show WHERE id = 1 FOR UPDATE", "");
    let count = step(COUNT, "yields = [\"taken\"]\nnone = \"sold_out\"");
    let path = place.write("seat.toml", &seats(&[first, lock, count].concat()));
    assert_why(&place, &["-s", &path], "still sees the snapshot of its first read");
}

#[test]
fn locks_in_opposite_orders_are_named_as_the_cause_of_a_deadlock() {
    let Some(place) = place(Backend::Postgres) else { return };
    let opposite = ["-s", "pessimistic", "--lines", "2", "--stock", "2", "--line-order", "opposite"];
    let (code, report) = place.explore(&opposite);
    assert_eq!(code, 0, "{report:#}");
    let cause = report["explored"]["deadlock"]["cause"].as_str().unwrap();
    assert!(cause.contains("take the same locks in opposite orders"), "{cause}");
}

/// What a background program does at the end is where the sum goes wrong.
#[test]
fn what_a_background_program_writes_is_in_the_witness() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let file = seats("").replace("HAVING count(*) > 1", "HAVING count(*) > 2") + "
[[flow]]
name = \"guests\"
every = \"10ms\"
[[flow.transaction]]
[[flow.transaction.step]]
sql = \"INSERT INTO stockbench_seat (order_id, show_id) SELECT -id, id FROM stockbench_show WHERE (SELECT count(*) FROM stockbench_seat) BETWEEN 2 AND 3\"
none = \"idle\"
";
    let path = place.write("seat.toml", &file);
    let (code, report) = place.explore(&["-s", &path, "--no-widen"]);
    assert_eq!(code, 3, "{report:#}");
    let steps = report["explored"]["witnesses"][0]["steps"].as_array().unwrap();
    let written = steps
        .iter()
        .filter(|step| step["client"] == 3 && step["sql"].as_str().unwrap().starts_with("INSERT"));
    assert!(written.count() > 0, "{steps:#?}");
}

/// One statement that adds a row or changes the one that is there, reading another table.
#[test]
fn statements_that_add_or_change_are_explored() {
    let merge = "MERGE INTO stockbench_tally t USING stockbench_sku s ON t.id = s.id AND s.id = :sku_id \
        WHEN MATCHED THEN UPDATE SET n = t.n + s.stock WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, s.stock)";
    let insert = "INSERT INTO stockbench_tally (id, n) VALUES (:sku_id, 1)";
    let sum = "stockbench_tally.n + (SELECT max(stock) FROM stockbench_sku)";
    let on_conflict = format!("{insert} ON CONFLICT (id) DO UPDATE SET n = {sum}");
    let on_duplicate = format!("{insert} ON DUPLICATE KEY UPDATE n = {sum}");
    for (backend, sql) in [
        (Backend::Postgres, merge),
        (Backend::Postgres, &on_conflict),
        (Backend::Sqlite, &on_conflict),
        (Backend::MySql, &on_duplicate),
        (Backend::MariaDb, &on_duplicate),
    ] {
        let Some(place) = place(backend) else { continue };
        let file = format!(
            "
summary = \"counts orders\"
audit = {{ ledger = false }}
[[setup]]
sql = \"DROP TABLE IF EXISTS stockbench_tally\"
[[setup]]
sql = \"CREATE TABLE stockbench_tally (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)\"
mysql = \"CREATE TABLE stockbench_tally (id BIGINT PRIMARY KEY, n BIGINT NOT NULL) ENGINE = InnoDB\"
[[setup]]
sql = \"INSERT INTO stockbench_tally (id, n) VALUES (1, 1)\"
[[invariant]]
sql = \"SELECT n FROM stockbench_tally WHERE n <> 3\"
says = \"{{n}} were counted, and there are three\"
[[transaction]]
begin = \"none\"
[[transaction.step]]
sql = \"{sql}\"
then = \"done\"
"
        );
        let (code, report) = explored(&place, &file, &["--no-widen"]);
        assert_eq!(code, 0, "{backend:?}: {sql}: {report:#}");
    }
}

/// Adds an entry where those that are there leave enough: in one statement, which locks nothing.
const LONE: &str = "
summary = \"adds up and takes in one statement\"
safety = \"unsafe\"
safety_note = \"two of them at once\"
audit = { ledger = false }
[[setup]]
sql = \"DROP TABLE IF EXISTS stockbench_taken\"
[[setup]]
sql = \"CREATE TABLE stockbench_taken (order_id BIGINT NOT NULL, units BIGINT NOT NULL)\"
mysql = \"CREATE TABLE stockbench_taken (order_id BIGINT NOT NULL, units BIGINT NOT NULL) ENGINE = InnoDB\"
[[invariant]]
sql = \"SELECT sum(units) AS units FROM stockbench_taken HAVING sum(units) > 1\"
says = \"{units} taken of 1\"
[[transaction]]
then = \"done\"
[[transaction.step]]
sql = \"INSERT INTO stockbench_taken (order_id, units) SELECT :order_id, :quantity FROM stockbench_sku WHERE id = :sku_id AND (SELECT coalesce(sum(units), 0) FROM stockbench_taken) < 1\"
none = \"sold_out\"
";

fn a_proof_names_the_overlap_that_it_leaves_out(place: &Place) {
    let (_, report) = explored(place, LONE, &["--no-widen"]);
    let is_named = report["not_covered"].to_string().contains("inside the server at once");
    assert_eq!(is_named, place.backend != Backend::Sqlite, "{report:#}");

    let (_, report) = place.explore(&["-s", "atomic", "--no-widen"]);
    assert!(!report["not_covered"].to_string().contains("inside the server"), "{report:#}");
}
