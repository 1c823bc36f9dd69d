//! A strategy whose tables the audit does not read is refused before it is judged, and not
//! accused of what nobody looked at.

use crate::support::{Backend, Place, Said, on_every_database};

on_every_database!(
    tables_of_ones_own_need_an_audit_of_ones_own,
    a_ledger_of_ones_own_needs_a_query_of_its_own,
    tables_beside_those_that_are_read_are_fine,
    a_view_stands_for_its_table,
    a_background_program_may_move_the_stock,
    a_trigger_may_move_the_stock,
    an_audit_that_could_not_be_made_is_what_the_last_line_says,
    an_exploration_and_a_comparison_accuse_nobody_of_it,
);

/// Sales on tables of the strategy's own, without a word of where the audit is to look.
const SALES: &str = r#"
[[setup]]
sql = "DROP TABLE IF EXISTS stockbench_sale"
[[setup]]
sql = "DROP TABLE IF EXISTS stockbench_shelf"
[[setup]]
sql = "CREATE TABLE stockbench_shelf (sku BIGINT NOT NULL PRIMARY KEY, units BIGINT NOT NULL, opening BIGINT NOT NULL)"
[[setup]]
sql = "INSERT INTO stockbench_shelf (sku, units, opening) SELECT id, stock, stock FROM stockbench_sku"
[[setup]]
sql = "CREATE TABLE stockbench_sale (order_id BIGINT NOT NULL, sku BIGINT NOT NULL, units BIGINT NOT NULL, PRIMARY KEY (order_id, sku))"

[[transaction]]
begin = { sqlite = "BEGIN IMMEDIATE" }
[[transaction.step]]
sql = "UPDATE stockbench_shelf SET units = units - :quantity WHERE sku = :sku_id AND units >= :quantity"
none = "sold_out"
[[transaction.step]]
sql = "INSERT INTO stockbench_sale (order_id, sku, units) VALUES (:order_id, :sku_id, :quantity)"
unique = "duplicate"
"#;

const STOCK: &str = r#"stock = "SELECT sku AS sku_id, units AS stock FROM stockbench_shelf""#;

const LEDGER: &str = r#"ledger = """
SELECT order_id AS id, order_id, sku AS sku_id, 'sale' AS kind, 'accepted' AS status, -units AS delta, NULL AS balance,
       (SELECT max(id) FROM stockbench_run) AS run_id FROM stockbench_sale
UNION ALL
SELECT 0, 0, sku, 'opening', 'accepted', opening, opening, 0 FROM stockbench_shelf""""#;

fn strategy(place: &Place, name: &str, audit: &[&str], rest: &str) -> String {
    let audit = if audit.is_empty() { String::new() } else { format!("[audit]\n{}\n", audit.join("\n")) };
    place.write(name, &format!("summary = \"a shelf\"\n{audit}{rest}"))
}

fn run(place: &Place, file: &str) -> Said {
    place.stockbench(&["run", "-s", file, "--orders", "60", "--concurrency", "4"])
}

#[track_caller]
fn assert_refused(said: &Said, fragments: &[&str]) {
    assert_eq!(said.code, 2, "{said:?}");
    let error = said.stderr.lines().find(|line| line.starts_with("stockbench: ")).unwrap_or_default();
    for fragment in fragments.iter().chain(&["[audit]"]) {
        assert!(error.contains(fragment), "expected {fragment:?} in {said:?}");
    }
}

fn tables_of_ones_own_need_an_audit_of_ones_own(place: &Place) {
    let file = strategy(place, "bare.toml", &[], SALES);
    let said = run(place, &file);
    let wanted =
        ["writes `stockbench_sale`, `stockbench_shelf`", "`stockbench_sku`", "stock = ", "ledger = "];
    assert_refused(&said, &wanted);

    let (code, report) = place.run(&["-s", &strategy(place, "told.toml", &[STOCK, LEDGER], SALES)]);
    assert_eq!((code, &report["audit"]["passed"]), (0, &true.into()), "{report:#}");
    // Without a ledger, the stock is not judged either.
    let invariant = "
[[invariant]]
sql = \"SELECT sku FROM stockbench_shelf WHERE units < 0\"
says = \"{sku}\"
";
    let none = strategy(place, "none.toml", &["ledger = false"], &[invariant, SALES].concat());
    assert_eq!(run(place, &none).code, 0);
}

fn a_ledger_of_ones_own_needs_a_query_of_its_own(place: &Place) {
    let file = strategy(place, "half.toml", &[STOCK], SALES);
    let said = run(place, &file);

    assert_refused(&said, &["writes `stockbench_sale`", "the ledger from `stockbench_ledger`", "ledger = "]);
    assert!(!said.stderr.contains("stock = "), "{said:?}");
}

fn an_audit_that_could_not_be_made_is_what_the_last_line_says(place: &Place) {
    let ledger = LEDGER.replace("'accepted'", "'cancelled'");
    let said = run(place, &strategy(place, "words.toml", &[STOCK, &ledger], SALES));

    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(said.stdout.lines().last(), Some("could not judge: the audit could not be made"), "{said:?}");
}

/// Writes the usual entry; what is left over is not looked up.
const ENTRY: &str = r#"
[[transaction.step]]
sql = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) SELECT :order_id, id, 'sale', 'accepted', -:quantity, NULL, :run_id FROM stockbench_sku WHERE id = :sku_id"
unique = "duplicate"
"#;

fn tables_beside_those_that_are_read_are_fine(place: &Place) {
    let note = r#"
[[setup]]
sql = "DROP TABLE IF EXISTS stockbench_note"
[[setup]]
sql = "CREATE TABLE stockbench_note (order_id BIGINT NOT NULL)"
[[transaction]]
[[transaction.step]]
sql = "UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id AND stock >= :quantity"
none = "sold_out"
[[transaction.step]]
sql = "INSERT INTO stockbench_note (order_id) VALUES (:order_id)"
"#;
    let file = strategy(place, "note.toml", &[], &[note, ENTRY].concat());

    assert_eq!(run(place, &file).code, 0);
}

fn a_view_stands_for_its_table(place: &Place) {
    place.execute(
        "CREATE TABLE shelf (sku BIGINT PRIMARY KEY, units BIGINT NOT NULL, opening BIGINT NOT NULL)",
    );
    place.execute("CREATE VIEW on_the_shelf AS SELECT sku, units FROM shelf");
    place.execute(
        "CREATE TABLE sale (order_id BIGINT NOT NULL, sku BIGINT NOT NULL, units BIGINT NOT NULL, \
         PRIMARY KEY (order_id, sku))",
    );
    let sales = r#"
[[setup]]
sql = "DELETE FROM sale"
[[setup]]
sql = "DELETE FROM shelf"
[[setup]]
sql = "INSERT INTO shelf (sku, units, opening) SELECT id, stock, stock FROM stockbench_sku"
[[transaction]]
begin = { sqlite = "BEGIN IMMEDIATE" }
[[transaction.step]]
sql = "UPDATE shelf SET units = units - :quantity WHERE sku = :sku_id AND units >= :quantity"
none = "sold_out"
[[transaction.step]]
sql = "INSERT INTO sale (order_id, sku, units) VALUES (:order_id, :sku_id, :quantity)"
"#;
    let stock = STOCK.replace("stockbench_shelf", "on_the_shelf");
    let ledger = LEDGER.replace("stockbench_sale", "sale").replace("stockbench_shelf", "shelf");
    let file = strategy(place, "view.toml", &[&stock, &ledger], sales);

    let said = place.stockbench(&["run", "-s", &file, "--orders", "60", "--allow-writes", &name(place)]);

    assert_eq!(said.code, 0, "{said:?}");
}

fn a_background_program_may_move_the_stock(place: &Place) {
    let queue = r#"
[[setup]]
sql = "DROP TABLE IF EXISTS stockbench_queue"
[[setup]]
sql = "CREATE TABLE stockbench_queue (order_id BIGINT NOT NULL PRIMARY KEY, sku BIGINT NOT NULL, units BIGINT NOT NULL)"
[[transaction]]
begin = { sqlite = "BEGIN IMMEDIATE" }
[[transaction.step]]
sql = "INSERT INTO stockbench_queue (order_id, sku, units) VALUES (:order_id, :sku_id, :quantity)"
unique = "duplicate"
[[flow]]
name = "worker"
every = "5ms"
pending = "SELECT order_id FROM stockbench_queue LIMIT 1"
[[flow.transaction]]
[[flow.transaction.step]]
sql = "SELECT order_id AS number, sku, units FROM stockbench_queue ORDER BY order_id LIMIT 1"
yields = ["number", "sku", "units"]
none = "idle"
[[flow.transaction.step]]
sql = "DELETE FROM stockbench_queue WHERE order_id = :number"
[[flow.transaction.step]]
sql = "UPDATE stockbench_sku SET stock = stock - :units WHERE id = :sku"
[[flow.transaction.step]]
sql = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) VALUES (:number, :sku, 'sale', 'accepted', -:units, NULL, :run_id)"
"#;
    let file = strategy(place, "queue.toml", &[], queue);

    let said = place.stockbench(&["run", "-s", &file, "--orders", "20", "--concurrency", "2"]);

    assert_eq!(said.code, 0, "{said:?}");
}

fn a_trigger_may_move_the_stock(place: &Place) {
    assert_eq!(place.stockbench(&["seed"]).code, 0);
    place.execute("CREATE TABLE cart (order_id BIGINT NOT NULL, sku BIGINT NOT NULL, units BIGINT NOT NULL)");
    let cart = r#"
[[transaction]]
begin = { sqlite = "BEGIN IMMEDIATE" }
[[transaction.step]]
sql = "SELECT stock FROM stockbench_sku WHERE id = :sku_id AND stock >= :quantity FOR UPDATE"
sqlite = "SELECT stock FROM stockbench_sku WHERE id = :sku_id AND stock >= :quantity"
yields = ["stock"]
none = "sold_out"
[[transaction.step]]
sql = "INSERT INTO cart (order_id, sku, units) VALUES (:order_id, :sku_id, :quantity)"
"#;
    let file = strategy(place, "cart.toml", &[], &[cart, ENTRY].concat());
    let run = || place.stockbench(&["run", "-s", &file, "--orders", "60", "--allow-writes", &name(place)]);
    assert_refused(&run(), &["writes `cart`", "the stock from `stockbench_sku`"]);

    let moves = "UPDATE stockbench_sku SET stock = stock - NEW.units WHERE id = NEW.sku";
    match place.backend {
        Backend::Postgres => {
            place.execute(&format!(
                "CREATE FUNCTION take() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {moves}; RETURN NEW; END $$"
            ));
            place.execute("CREATE TRIGGER take AFTER INSERT ON cart FOR EACH ROW EXECUTE FUNCTION take()");
        }
        Backend::MySql | Backend::MariaDb => {
            place.execute(&format!("CREATE TRIGGER take AFTER INSERT ON cart FOR EACH ROW {moves}"));
        }
        Backend::Sqlite => {
            place.execute(&format!("CREATE TRIGGER take AFTER INSERT ON cart BEGIN {moves}; END"));
        }
    }
    let said = run();
    assert_eq!(said.code, 0, "{said:?}");
}

fn an_exploration_and_a_comparison_accuse_nobody_of_it(place: &Place) {
    let file = strategy(place, "bare.toml", &[], SALES);

    assert_refused(&place.stockbench(&["explore", "-s", &file]), &["`stockbench_shelf`"]);
    let both = format!("{file},atomic");
    let compared = place.stockbench(&["compare", "-s", &both, "--duration", "1s", "--rounds", "1"]);
    // Of several strategies the others are measured all the same.
    assert_eq!(compared.code, 0, "{compared:?}");
    assert!(compared.stdout.contains("the audit would read the stock from"), "{compared:?}");
    assert!(!compared.stdout.contains("oversold"), "{compared:?}");
}

/// What `--allow-writes` calls the database.
fn name(place: &Place) -> String {
    stockbench::db::DatabaseUrl::parse(&place.url).unwrap().database
}
