//! `stockbench audit --mapping`: planted damage is found, and nothing else; a
//! sound shop raises no alarm; and the audit hurts nobody.

mod forged;
mod hidden;
mod shop;
pub(crate) mod standby;

use crate::support::{Backend, Place, Said, assert_one_line, on_every_database, outcome, place, spawn, wait};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use shop::{DAMAGES, Expected, Shop, insert, moment};
use std::collections::BTreeMap;

on_every_database!(
    planted_damage_is_found_and_nothing_else,
    a_sound_shop_raises_no_alarm,
    a_ledger_with_movement_types_is_judged,
    order_lines_and_receipts_are_judged_without_a_ledger,
    a_log_without_opening_entries_is_judged,
    odd_shapes_of_sound_shops_raise_no_alarm,
    names_of_every_type_are_compared_as_the_database_does,
    what_lies_in_several_tables_is_put_together,
    what_hides_in_odd_shapes_is_found,
    what_is_shown_can_be_narrowed_and_what_is_summed_cannot,
    the_first_divergent_entry_is_shown_with_its_neighbours,
    repairs_are_printed_and_work,
    writers_at_full_speed_raise_no_alarm_and_are_not_blocked,
    a_mapping_that_does_not_fit_is_refused_in_one_line,
    a_mapping_is_proposed_and_works,
    limits_end_an_audit_in_one_line,
);

/// A ledger with everything: signed, with kinds, refusals and balances.
fn make(place: &Place, shop: &Shop, seed: u64) {
    let (id, time) = match place.backend {
        Backend::Postgres => ("BIGINT PRIMARY KEY", "TIMESTAMPTZ"),
        Backend::MySql | Backend::MariaDb => ("BIGINT PRIMARY KEY", "DATETIME(3)"),
        Backend::Sqlite => ("INTEGER PRIMARY KEY", "TEXT"),
    };
    for sql in [
        "DROP TABLE IF EXISTS product",
        "DROP TABLE IF EXISTS movement",
        "CREATE TABLE product (id BIGINT PRIMARY KEY, on_hand BIGINT NOT NULL)",
        &format!(
            "CREATE TABLE movement (id {id}, product_id BIGINT NOT NULL, order_id BIGINT, type VARCHAR(16) NOT NULL, \
             state VARCHAR(16) NOT NULL, change_amount BIGINT NOT NULL, remaining BIGINT NOT NULL, created_at {time} NOT NULL)"
        ),
        "CREATE INDEX movement_of ON movement (product_id)",
    ] {
        place.execute(sql);
    }
    let stocked = shop.skus.iter().filter_map(|sku| Some(format!("{}, {}", sku.id, sku.stock?)));
    insert(place, "product", stocked);
    let rows = shop.entries(seed).into_iter().enumerate().map(|(n, (sku, entry))| {
        let order = if entry.order == 0 { "NULL".to_owned() } else { entry.order.to_string() };
        let state = if entry.refused { "refused" } else { "done" };
        format!(
            "{}, {sku}, {order}, '{}', '{state}', {}, {}, '{}'",
            n + 1,
            entry.kind.to_uppercase(),
            entry.delta,
            entry.balance,
            moment(n)
        )
    });
    insert(place, "movement", rows);
}

const MAPPING: &str = r#"
[stock]
table = "product"
sku = "id"
units = "on_hand"

[[ledger]]
table = "movement"
id = "id"
sku = "product_id"
order = "order_id"
quantity = "change_amount"
kind = "type"
kinds = { opening = ["OPENING"], sale = ["SALE"], reserve = ["RESERVE"], confirm = ["CONFIRM"], release = ["RELEASE"], return = ["RETURN"], restock = ["RESTOCK"], count = ["COUNT"] }
status = "state"
counts = ["done"]
refused = ["refused"]
balance = "remaining"
time = "created_at"
"#;

fn audit(place: &Place, mapping: &str, more: &[&str]) -> (i32, Value) {
    let said = said(place, mapping, &[&["-o", "json", "--full"], more].concat());
    let output: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    (said.code, output["audit"].clone())
}

fn said(place: &Place, mapping: &str, more: &[&str]) -> Said {
    let file = place.write("stock.toml", mapping);
    place.stockbench(&[&["audit", "--mapping", &file], more].concat())
}

/// What was found, by SKU: the kinds and their units.
fn found(audit: &Value) -> Expected {
    let mut found = Expected::new();
    for finding in audit["findings"].as_array().unwrap() {
        let kind = finding["kind"].as_str().unwrap().to_owned();
        let sku = finding["sku_id"].as_i64().unwrap_or_else(|| panic!("{finding:#}"));
        found.entry(sku).or_default().insert((kind, finding["units"].as_u64().unwrap()));
    }
    found
}

/// A shop in a few rows: stock `p`, ledger `l`, orders `o`, and what the mapping
/// says beyond SKU, units and quantity.
struct Small<'a> {
    tables: [&'a str; 2],
    stock: &'a str,
    entries: &'a str,
    says: &'a str,
}

impl Small<'_> {
    fn make(&self, place: &Place) -> String {
        for table in ["p", "l"] {
            place.execute(&format!("DROP TABLE IF EXISTS {table}"));
        }
        place.execute(&format!("CREATE TABLE p ({})", self.tables[0]));
        place.execute(&format!("CREATE TABLE l ({})", self.tables[1]));
        place.execute(&format!("INSERT INTO p VALUES {}", self.stock));
        place.execute(&format!("INSERT INTO l VALUES {}", self.entries));
        let (ledger, rest) = self.says.split_at(self.says.find("[opening]").unwrap_or(self.says.len()));
        // A key that is given replaces the usual one.
        let sku = if ledger.contains("sku = ") { "" } else { "sku = 'sku'" };
        let of_stock = if ledger.contains("sku = ") { "['a', 'b']" } else { "'id'" };
        format!(
            "[stock]\ntable = 'p'\nsku = {of_stock}\nunits = 'n'\n[[ledger]]\ntable = 'l'\nid = 'id'\n{sku}\nquantity = 'q'\n{ledger}\n{rest}"
        )
    }
}

const KINDS: &str = "order = 'oid'\nkind = 'k'\nkinds = { restock = ['IN'], sale = ['S'], reserve = ['RES'], \
                     release = ['REL'], confirm = ['CON'], return = ['R'] }";

const PLAIN: [&str; 2] = [
    "id BIGINT PRIMARY KEY, n BIGINT NOT NULL",
    "id BIGINT PRIMARY KEY, sku BIGINT, oid BIGINT, k VARCHAR(9), q BIGINT",
];

fn odd_shapes_of_sound_shops_raise_no_alarm(place: &Place) {
    let small = |tables, stock, entries, says| Small { tables, stock, entries, says };
    let cases = vec![
        // Given back in parts; expired and tried again; sold, undone, sold again.
        small(
            PLAIN,
            "(1, 8)",
            "(1,1,NULL,'IN',10),(2,1,7,'RES',-4),(3,1,7,'REL',1),(4,1,7,'REL',1),(5,1,7,'CON',0)",
            KINDS,
        ),
        small(
            PLAIN,
            "(1, 8)",
            "(1,1,NULL,'IN',10),(2,1,7,'RES',-2),(3,1,7,'REL',2),(4,1,7,'RES',-2),(5,1,7,'CON',0)",
            KINDS,
        ),
        small(PLAIN, "(1, 8)", "(1,1,NULL,'IN',10),(2,1,7,'S',-2),(3,1,7,'REL',2),(4,1,7,'S',-2)", KINDS),
        small(PLAIN, "(1, 10)", "(1,1,NULL,'IN',10),(2,1,7,'S',-2),(3,1,7,'S',2)", KINDS),
        // A SKU that is gone, and of which nothing is left.
        small(PLAIN, "(1, 8)", "(1,1,NULL,'IN',8),(2,2,NULL,'IN',4),(3,2,7,'S',-4)", KINDS),
        // A part of the SKU that can be missing.
        small(
            [
                "a BIGINT NOT NULL, b VARCHAR(9), n BIGINT NOT NULL",
                "id BIGINT PRIMARY KEY, a BIGINT NOT NULL, b VARCHAR(9), q BIGINT NOT NULL",
            ],
            "(1, NULL, 5), (1, 'red', 3)",
            "(1, 1, NULL, 5), (2, 1, 'red', 3)",
            "sku = ['a', 'b']",
        ),
        // Numbers here and texts there.
        small(
            [
                "id BIGINT PRIMARY KEY, n BIGINT NOT NULL",
                "id BIGINT PRIMARY KEY, sku VARCHAR(9) NOT NULL, q BIGINT NOT NULL",
            ],
            "(1, 5), (2, 7)",
            "(1, '1', 5), (2, '2', 7)",
            "",
        ),
        small(
            [
                "id BIGINT PRIMARY KEY, n BIGINT NOT NULL",
                "id BIGINT PRIMARY KEY, sku DECIMAL(10, 2) NOT NULL, q SMALLINT NOT NULL, b SMALLINT NOT NULL",
            ],
            "(1, 32000)",
            "(1, 1, 32000, 32000), (2, 1, -1, 31999), (3, 1, 1, 32000)",
            "balance = 'b'",
        ),
        // A refusal without a quantity.
        small(
            PLAIN,
            "(1, 10)",
            "(1,1,NULL,'IN',10),(2,1,7,'S',NULL)",
            &*format!("{KINDS}\nstatus = 'k'\ncounts = ['IN']\nrefused = ['S']").leak(),
        ),
    ];
    for case in cases {
        assert_sound(place, &case.make(place));
    }
}

/// What SKUs are called: bytes, texts whose case does not count, padded texts;
/// and truth values.
fn names_of_every_type_are_compared_as_the_database_does(place: &Place) {
    let is_mysql = matches!(place.backend, Backend::MySql | Backend::MariaDb);
    let small = |tables, stock, entries, says| Small { tables, stock, entries, says };
    let mut cases = Vec::new();
    let bytes = match place.backend {
        Backend::Postgres => ["'\\xff01'", "'\\xfe01'", "BYTEA"],
        Backend::Sqlite => ["X'ff01'", "X'fe01'", "BLOB"],
        _ => ["X'ff01'", "X'fe01'", "BINARY(2)"],
    };
    let [one, other, kind] = bytes;
    let tables = [
        format!("id {kind} NOT NULL, n BIGINT NOT NULL, PRIMARY KEY (id)"),
        format!("id BIGINT PRIMARY KEY, sku {kind} NOT NULL, q BIGINT NOT NULL"),
    ];
    let (stock, entries) = (format!("({one}, 5), ({other}, 7)"), format!("(1, {one}, 5), (2, {other}, 7)"));
    cases.push(small([&tables[0], &tables[1]], &stock, &entries, ""));
    let text = [
        "id VARCHAR(9) PRIMARY KEY, n BIGINT NOT NULL",
        "id BIGINT PRIMARY KEY, sku VARCHAR(9) NOT NULL, q BIGINT NOT NULL, b BIGINT NOT NULL",
    ];
    if is_mysql {
        let entries = "(1, 'abc', 10, 10), (2, 'ABC', -2, 8), (3, 'Abc', -1, 7)";
        cases.push(small(text, "('ABC', 7)", entries, "balance = 'b'"));
    }
    if place.backend == Backend::Postgres {
        let padded = ["id CHAR(10) PRIMARY KEY, n BIGINT NOT NULL", text[1]];
        cases.push(small(padded, "('A1', 5)", "(1, 'A1', 5, 5)", ""));
    }
    let truth = [
        "id BIGINT PRIMARY KEY, n BIGINT NOT NULL",
        "id BIGINT PRIMARY KEY, sku BIGINT NOT NULL, q BIGINT NOT NULL, ok BOOLEAN NOT NULL",
    ];
    cases.push(small(truth, "(1, 5)", "(1, 1, 5, TRUE), (2, 1, 9, FALSE)", "status = 'ok'\ncounts = [true]"));
    cases.push(small(truth, "(1, 5)", "(1, 1, 5, TRUE), (2, 1, 9, FALSE)", "status = 'ok'\ncounts = [1]"));
    for case in cases {
        assert_sound(place, &case.make(place));
    }
}

fn what_lies_in_several_tables_is_put_together(place: &Place) {
    // An entry that belongs to no order is nobody's orphan.
    place.execute("DROP TABLE IF EXISTS o");
    place.execute("CREATE TABLE o (id BIGINT PRIMARY KEY, st VARCHAR(9) NOT NULL)");
    place.execute("INSERT INTO o VALUES (7, 'paid'), (8, 'open')");
    let says =
        "order = 'oid'\ncounts = ['paid']\nparent = { table = 'o', key = 'id', by = 'oid', status = 'st' }";
    let entries = "(1,1,NULL,'IN',10),(2,1,7,'S',-2),(3,1,8,'S',-5)";
    let case = Small { tables: PLAIN, stock: "(1, 8)", entries, says };
    assert_sound(place, &case.make(place));
    // Reserved here, released there.
    let mapping = Small {
        tables: PLAIN,
        stock: "(1, 10)",
        entries: "(1,1,7,NULL,2)",
        says: "order = 'oid'\nis = 'release'",
    };
    let mapping = mapping.make(place);
    place.execute("DROP TABLE IF EXISTS r");
    place.execute(
        "CREATE TABLE r (id BIGINT PRIMARY KEY, sku BIGINT NOT NULL, oid BIGINT NOT NULL, q BIGINT NOT NULL)",
    );
    place.execute("INSERT INTO r VALUES (1, 1, 7, 2)");
    let both = format!(
        "{mapping}\n[[ledger]]\ntable = 'r'\nid = 'id'\nsku = 'sku'\norder = 'oid'\nquantity = 'q'\nsign = 'out'\nis = 'reserve'\n[[ledger]]\ntable = 'p'\nsku = 'id'\nquantity = 'n'\nis = 'opening'\n"
    );
    assert_sound(place, &both);
}

fn what_hides_in_odd_shapes_is_found(place: &Place) {
    let small = |tables, stock, entries, says| Small { tables, stock, entries, says }.make(place);
    // Ids that are NULL belong to the ledger as well.
    let ids = if place.backend == Backend::Sqlite { "id INT UNIQUE" } else { "id BIGINT UNIQUE" };
    let nullable = [
        "id BIGINT PRIMARY KEY, n BIGINT NOT NULL",
        &*format!("{ids}, sku BIGINT, oid BIGINT, q BIGINT").leak(),
    ];
    let mapping = small(nullable, "(1, 9)", "(1,1,NULL,10),(NULL,1,7,-2)", "");
    assert_broken(place, &mapping, &[("lost_update", "1", 1)]);
    // Sales without a kind are sales all the same.
    let mapping = small(PLAIN, "(1, -4)", "(1,1,7,NULL,2),(2,1,7,NULL,2)", "order = 'oid'\nsign = 'out'");
    assert_broken(
        place,
        &mapping,
        &[("oversold", "1", 4), ("negative_stock", "1", 4), ("duplicate_entry", "1", 2)],
    );
    // More came back than was sold.
    let mapping =
        small(PLAIN, "(1, 12)", "(1,1,NULL,'IN',10),(2,1,7,'S',-2),(3,1,7,'R',2),(4,1,7,'R',2)", KINDS);
    assert_broken(place, &mapping, &[("double_release", "1", 2)]);
    // Two words for one kind: a key with the word does not hold for the kind.
    let keyed = [
        "id BIGINT PRIMARY KEY, n BIGINT NOT NULL",
        "id BIGINT PRIMARY KEY, sku BIGINT NOT NULL, oid BIGINT NOT NULL, k VARCHAR(9) NOT NULL, q BIGINT NOT NULL, UNIQUE (oid, sku, k)",
    ];
    let says = "order = 'oid'\nkind = 'k'\nkinds = { opening = ['IN'], sale = ['WEB', 'POS'] }";
    let mapping = small(keyed, "(1, 6)", "(1,1,0,'IN',10),(2,1,7,'WEB',-2),(3,1,7,'POS',-2)", says);
    assert_broken(place, &mapping, &[("duplicate_entry", "1", 2)]);
    // A SKU that only an opening balance speaks of.
    let says = "[opening]\ntable = 'l'\nsku = 'oid'\nunits = 'q'";
    let mapping = small(PLAIN, "(1, 0)", "(1,1,2,NULL,0),(2,1,3,NULL,0)", says);
    place.execute("UPDATE l SET q = 0");
    assert_sound(place, &mapping);
    place.execute("DROP TABLE IF EXISTS opened");
    place.execute("CREATE TABLE opened (oid BIGINT NOT NULL, q BIGINT NOT NULL)");
    place.execute("INSERT INTO opened VALUES (3, 50)");
    let mapping = mapping.replace("[opening]\ntable = 'l'", "[opening]\ntable = 'opened'");
    assert_broken(place, &mapping, &[("unknown_sku", "3", 50)]);
}

/// The differences only: the whole would be pages.
#[track_caller]
fn assert_found(audit: &Value, expected: &Expected, what: &str) {
    let found = found(audit);
    let missing: BTreeMap<_, _> =
        expected.iter().filter(|(sku, kinds)| found.get(sku) != Some(kinds)).collect();
    let others: BTreeMap<_, _> =
        found.iter().filter(|(sku, kinds)| expected.get(sku) != Some(kinds)).collect();
    assert!(missing.is_empty() && others.is_empty(), "{what}: expected {missing:?}, found {others:?}");
}

fn planted_damage_is_found_and_nothing_else(place: &Place) {
    // Each kind alone, among sound SKUs: exactly it is found, with its units.
    let mut shop = Shop::sound(2_000, 1);
    for (number, damage) in DAMAGES.iter().enumerate() {
        for copy in 0..5 {
            shop.plant(7 + 100 * i64::try_from(number).unwrap() + 13 * copy, damage);
        }
    }
    make(place, &shop, 2);
    let (code, report) = audit(place, MAPPING, &[]);
    assert_eq!(code, 3);
    assert_found(&report, &shop.expected, "each alone");
    // Orders are named where they are known.
    for finding in report["findings"].as_array().unwrap() {
        let names_orders = ["duplicate_entry", "two_answers", "double_release", "unsettled_reservation"];
        if names_orders.contains(&finding["kind"].as_str().unwrap()) {
            assert_eq!(finding["order_ids"].as_array().unwrap().len(), 1, "{finding:#}");
            assert!(finding["first_at"].is_string(), "{finding:#}");
        }
    }

    // Mixed: several in one SKU, wherever the sum of their units stays theirs.
    let mut shop = Shop::sound(1_500, 3);
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let together =
        ["order twice", "refused and sold", "given back twice", "never settled", "confirmed and released"];
    for number in 0..40 {
        let sku = 1 + 37 * number;
        for damage in together {
            if shop::any(&mut rng, 2) == 0 {
                shop.plant(sku, damage);
            }
        }
        shop.plant(
            sku,
            ["lost update", "missing entry", "balance rewritten"][usize::try_from(number % 3).unwrap()],
        );
    }
    make(place, &shop, 5);
    let (code, report) = audit(place, MAPPING, &[]);
    assert_eq!(code, 3);
    assert_found(&report, &shop.expected, "mixed");
}

fn a_sound_shop_raises_no_alarm(place: &Place) {
    for seed in [11, 12] {
        let shop = Shop::sound(2_500, seed);
        make(place, &shop, seed);
        let (code, report) = audit(place, MAPPING, &[]);
        assert_eq!((code, found(&report)), (0, Expected::new()), "seed {seed}");
        assert_eq!(report["skus"], 2_500);
        assert_eq!(report["in_stock"], report["by_ledger"]);
        // Without opening entries, by what the chain of balances says.
        place.execute("DELETE FROM movement WHERE type = 'OPENING'");
        let derived = format!("{MAPPING}\n[opening]\nfrom = \"derive\"\n");
        let (code, report) = audit(place, &derived, &[]);
        assert_eq!((code, found(&report)), (0, Expected::new()), "seed {seed}, derived");
    }
}

/// The findings of an audit: kind, SKU and units.
fn listed(audit: &Value) -> Vec<(String, String, u64)> {
    let findings = audit["findings"].as_array().unwrap().iter();
    let told = |finding: &Value| {
        let kind = finding["kind"].as_str().unwrap().to_owned();
        (kind, finding["sku_id"].to_string(), finding["units"].as_u64().unwrap())
    };
    findings.map(told).collect()
}

#[track_caller]
fn assert_sound(place: &Place, mapping: &str) {
    let (code, report) = audit(place, mapping, &[]);
    assert_eq!((code, listed(&report)), (0, vec![]), "{mapping}");
}

#[track_caller]
fn assert_broken(place: &Place, mapping: &str, expected: &[(&str, &str, u64)]) {
    let (code, report) = audit(place, mapping, &[]);
    let expected: Vec<(String, String, u64)> =
        expected.iter().map(|(kind, sku, units)| ((*kind).to_owned(), (*sku).to_owned(), *units)).collect();
    assert_eq!((code, listed(&report)), (3, expected), "{mapping}");
}

/// As in ERPNext: no sign on the quantity, a movement type, decimals, an item
/// and a warehouse, entries that can be cancelled; names with spaces.
fn a_ledger_with_movement_types_is_judged(place: &Place) {
    let quote = |name: &str| place.dialect().quote(name);
    let (ledger, bin) = (quote("tabStock Ledger Entry"), quote("tabBin"));
    for sql in [
        format!(
            "CREATE TABLE {bin} (item_code VARCHAR(40) NOT NULL, warehouse VARCHAR(40) NOT NULL, actual_qty DECIMAL(21,9) NOT NULL, PRIMARY KEY (item_code, warehouse))"
        ),
        format!(
            "CREATE TABLE {ledger} (name VARCHAR(40) PRIMARY KEY, item_code VARCHAR(40), warehouse VARCHAR(40), voucher_no VARCHAR(40), movement VARCHAR(20) NOT NULL, qty DECIMAL(21,9) NOT NULL, qty_after DECIMAL(21,9), is_cancelled INT NOT NULL)"
        ),
        format!(
            "INSERT INTO {bin} VALUES ('CHAIR', 'North', 7), ('CHAIR', 'South', 3), ('O''Brien \\ lamp', 'North', 2)"
        ),
        format!(
            "INSERT INTO {ledger} VALUES ('a1', 'CHAIR', 'North', 'REC-1', 'Receipt', 10, 10, 0), ('a2', 'CHAIR', 'North', 'DN-1', 'Issue', 3, 7, 0), \
             ('a3', 'CHAIR', 'South', 'REC-2', 'Receipt', 3, 3, 0), ('a4', 'CHAIR', 'South', 'DN-9', 'Issue', 2, 1, 1), \
             ('a5', 'O''Brien \\ lamp', 'North', 'REC-3', 'Receipt', 2, 2, 0)"
        ),
    ] {
        // A backslash in a plain literal means itself but for MySQL.
        let mysql = matches!(place.backend, Backend::MySql | Backend::MariaDb);
        place.execute(&if mysql { sql.replace('\\', "\\\\") } else { sql });
    }
    let erp = r#"
        [stock]
        table = "tabBin"
        sku = ["item_code", "warehouse"]
        units = "actual_qty"
        [[ledger]]
        table = "tabStock Ledger Entry"
        id = "name"
        sku = ["item_code", "warehouse"]
        order = "voucher_no"
        quantity = "qty"
        sign = "by-kind"
        kind = "movement"
        kinds = { restock = ["Receipt"], sale = ["Issue"] }
        status = "is_cancelled"
        counts = [0]
        balance = "qty_after""#;
    assert_sound(place, erp);
    place.execute(&format!(
        "UPDATE {bin} SET actual_qty = 9 WHERE warehouse = 'North' AND item_code <> 'CHAIR'"
    ));
    assert_broken(place, erp, &[("lost_update", "\"O'Brien \\\\ lamp/North\"", 7)]);
    let one = said(place, erp, &["--sku", "CHAIR/North"]);
    assert_eq!(one.code, 0, "{one:?}");
    // Half a unit is not counted as anything.
    place.execute(&format!("UPDATE {ledger} SET qty = 2.5 WHERE name = 'a3'"));
    assert_one_line(&said(place, erp, &[]), 1, &["fractions of a unit", "tabStock Ledger Entry"]);
}

/// Cancelled orders count for nothing, and every line of an order for itself.
fn order_lines_and_receipts_are_judged_without_a_ledger(place: &Place) {
    for sql in [
        "CREATE TABLE goods (id BIGINT PRIMARY KEY, stock BIGINT NOT NULL, opening_stock BIGINT NOT NULL)",
        "CREATE TABLE sales_order (id BIGINT PRIMARY KEY, status VARCHAR(16) NOT NULL, placed VARCHAR(32))",
        "CREATE TABLE order_line (id BIGINT PRIMARY KEY, order_id BIGINT NOT NULL, line_no BIGINT NOT NULL, goods_id BIGINT NOT NULL, quantity BIGINT NOT NULL)",
        "CREATE TABLE receipt (id BIGINT PRIMARY KEY, goods_id BIGINT NOT NULL, quantity BIGINT NOT NULL)",
        "INSERT INTO goods VALUES (1, 6, 10), (2, 25, 5)",
        "INSERT INTO sales_order VALUES (100, 'paid', '2026-01-01 10:00:00'), (101, 'cancelled', '2026-01-01 11:00:00'), (102, 'paid', '2026-01-02 10:00:00')",
        "INSERT INTO order_line VALUES (1, 100, 1, 1, 1), (2, 100, 2, 1, 3), (3, 101, 1, 1, 5), (4, 102, 1, 2, 2)",
        "INSERT INTO receipt VALUES (1, 2, 22)",
    ] {
        place.execute(sql);
    }
    let lines = r#"
        [stock]
        table = "goods"
        sku = "id"
        units = "stock"
        [opening]
        column = "opening_stock"
        [[ledger]]
        table = "order_line"
        id = "id"
        sku = "goods_id"
        order = "order_id"
        line = "line_no"
        quantity = "quantity"
        sign = "out"
        is = "sale"
        counts = ["paid"]
        parent = { table = "sales_order", key = "id", by = "order_id", status = "status", time = "placed" }
        [[ledger]]
        table = "receipt"
        id = "id"
        sku = "goods_id"
        quantity = "quantity"
        sign = "in"
        is = "restock""#;
    assert_sound(place, lines);
    place.execute("INSERT INTO order_line VALUES (5, 102, 1, 2, 2)");
    place.execute("UPDATE goods SET stock = stock - 2 WHERE id = 2");
    assert_broken(place, lines, &[("duplicate_entry", "2", 2)]);
    place.execute("INSERT INTO order_line VALUES (6, 999, 1, 1, 4)");
    place.execute("UPDATE goods SET stock = stock - 4 WHERE id = 1");
    assert_broken(place, lines, &[("duplicate_entry", "2", 2), ("orphan", "1", 4)]);
    place.execute("UPDATE goods SET stock = stock - 1 WHERE id = 1");
    assert_broken(
        place,
        lines,
        &[("missing_entry", "1", 1), ("duplicate_entry", "2", 2), ("orphan", "1", 4)],
    );
}

/// As Django and Tortoise projects keep it.
fn a_log_without_opening_entries_is_judged(place: &Place) {
    for sql in [
        "CREATE TABLE article (id BIGINT PRIMARY KEY, stock BIGINT NOT NULL)",
        "CREATE TABLE inventory_log (id BIGINT PRIMARY KEY, product_id BIGINT NOT NULL, change_amount INT NOT NULL, remaining INT NOT NULL)",
        "INSERT INTO article VALUES (1, 46), (2, 8), (3, 5)",
        "INSERT INTO inventory_log VALUES (1, 1, -2, 48), (2, 2, -1, 9), (3, 1, -2, 46), (4, 2, -1, 8)",
    ] {
        place.execute(sql);
    }
    let log = r#"
        [stock]
        table = "article"
        sku = "id"
        units = "stock"
        [opening]
        from = "derive"
        [[ledger]]
        table = "inventory_log"
        id = "id"
        sku = "product_id"
        quantity = "change_amount"
        balance = "remaining""#;
    assert_sound(place, log);
    place.execute("INSERT INTO inventory_log VALUES (5, 2, -1, 8)");
    assert_broken(place, log, &[("entry_without_movement", "2", 1), ("balance_chain", "2", 0)]);
    place.execute("UPDATE article SET stock = 45 WHERE id = 1");
    assert_broken(
        place,
        log,
        &[("entry_without_movement", "2", 1), ("missing_entry", "1", 1), ("balance_chain", "2", 0)],
    );
}

fn what_is_shown_can_be_narrowed_and_what_is_summed_cannot(place: &Place) {
    let mut shop = Shop::sound(60, 21);
    shop.plant(5, "order twice");
    shop.plant(50, "lost update");
    shop.plant(51, "raised by hand");
    make(place, &shop, 22);
    let (_, all) = audit(place, MAPPING, &[]);
    let at = |kind: &str| {
        let mut findings = all["findings"].as_array().unwrap().iter();
        findings.find(|finding| finding["kind"] == kind).unwrap()["first_at"].as_str().unwrap().to_owned()
    };
    let (twice, lost) = (at("duplicate_entry"), at("balance_chain"));
    let kinds = |arguments: &[&str]| -> Vec<String> {
        let (code, report) = audit(place, MAPPING, arguments);
        assert_eq!(
            code,
            if report["findings"].as_array().unwrap().is_empty() { 1 } else { 3 },
            "{arguments:?}"
        );
        // Whatever is shown, all of it was summed.
        if !arguments.contains(&"--sku") {
            assert_eq!(report["entries"], all["entries"]);
            assert_eq!(report["in_stock"], all["in_stock"]);
        }
        let kinds = report["findings_by_kind"].as_object().unwrap().keys();
        kinds.map(String::clone).collect()
    };
    // What has no time is always shown.
    assert_eq!(kinds(&["--since", "2030-01-01"]), ["lost_update"]);
    assert_eq!(kinds(&["--until", "2000-01-01"]), ["lost_update"]);
    let (earlier, later) = if twice < lost { (twice, lost) } else { (lost, twice) };
    assert!(
        kinds(&["--since", &earlier]).len() == 3 && kinds(&["--since", &later]).len() < 4,
        "{earlier} {later}"
    );
    assert_eq!(kinds(&["--sku", "5"]), ["duplicate_entry"]);
    assert_eq!(kinds(&["--sku", "50", "--quick"]), ["balance_chain", "lost_update"]);

    // Order ids can be kept out of everything that is said.
    let order = shop.skus[4].moves.last().unwrap().order.to_string();
    let evidence = place.path("evidence.csv").display().to_string();
    let plain = said(place, MAPPING, &["--evidence", &evidence]);
    assert!(plain.stdout.contains(&format!("(orders {order})")), "{}", plain.stdout);
    assert!(std::fs::read_to_string(&evidence).unwrap().contains(&format!(",{order},")));
    for output in ["table", "json", "summary"] {
        let redacted =
            said(place, MAPPING, &["--redact", "-o", output, "--sku", "5", "--evidence", &evidence]);
        let written = std::fs::read_to_string(&evidence).unwrap();
        // As a number of its own: its digits may stand in a duration.
        let says = |text: &str| text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == order);
        assert!(!says(&redacted.stdout) && !says(&written), "{}", redacted.stdout);
        assert!(written.contains("order-1"), "{written}");
    }
    let summary = said(place, MAPPING, &["-o", "summary"]);
    assert!(
        summary.stdout.lines().count() <= 24 && summary.stdout.contains("- SKU 51: stock"),
        "{}",
        summary.stdout
    );
}

fn the_first_divergent_entry_is_shown_with_its_neighbours(place: &Place) {
    let mut shop = Shop::sound(20, 31);
    shop.plant(9, "lost update");
    make(place, &shop, 32);
    let (_, report) = audit(place, MAPPING, &[]);
    let findings = report["findings"].as_array().unwrap();
    let chain = findings.iter().find(|finding| finding["kind"] == "balance_chain").unwrap();
    let orders: Vec<i64> = shop.skus[8].moves.iter().rev().take(3).map(|entry| entry.order).collect();
    let evidence = chain["evidence"].as_array().unwrap();
    let divergent = evidence.iter().find(|entry| entry["role"] == "continues from it as well").unwrap();
    let sibling = evidence.iter().find(|entry| entry["role"] == "continues from it").unwrap();
    let next = evidence.iter().find(|entry| entry["role"] == "the entry after").unwrap();
    assert_eq!(divergent["order_id"], orders[1], "{chain:#}");
    assert_eq!(sibling["order_id"], orders[2], "{chain:#}");
    assert_eq!(next["order_id"], orders[0], "{chain:#}");
    assert_eq!(chain["first_at"], divergent["at"], "{chain:#}");
    assert!(chain["may_mean"].as_array().unwrap().len() > 1, "{chain:#}");
}

fn repairs_are_printed_and_work(place: &Place) {
    let mapping = r#"
        [stock]
        table = "item"
        sku = "id"
        units = "units"
        [[ledger]]
        table = "log"
        sku = "item_id"
        quantity = "change_amount"
        kind = "type"
        kinds = { opening = ["OPENING"], sale = ["SALE"], count = ["COUNT"] }"#;
    for toward in ["ledger", "stock"] {
        for sql in [
            "DROP TABLE IF EXISTS item",
            "DROP TABLE IF EXISTS log",
            "CREATE TABLE item (id BIGINT PRIMARY KEY, units BIGINT NOT NULL)",
            "CREATE TABLE log (item_id BIGINT NOT NULL, change_amount BIGINT NOT NULL, type VARCHAR(9) NOT NULL)",
            "INSERT INTO item VALUES (1, 10), (2, 12), (3, 5)",
            "INSERT INTO log VALUES (1, 10, 'OPENING'), (2, 10, 'OPENING'), (2, -1, 'SALE'), (3, 10, 'OPENING')",
        ] {
            place.execute(sql);
        }
        let repair = said(place, mapping, &["--repair", "sql", "--repair-toward", toward]);
        assert_eq!(repair.code, 3, "{repair:?}");
        assert!(repair.stdout.contains("-- lost_update: SKU 2: stock is 12"), "{}", repair.stdout);
        let (_, untouched) = audit(place, mapping, &[]);
        assert_eq!(untouched["findings_total"], 2, "printing changes nothing");
        // Twice is as good as once: each statement holds its own condition.
        for _ in 0..2 {
            for statement in repair.stdout.lines().filter(|line| !line.starts_with("--") && !line.is_empty())
            {
                place.execute(statement);
            }
        }
        let (code, repaired) = audit(place, mapping, &[]);
        assert_eq!((code, found(&repaired)), (0, Expected::new()), "toward {toward}: {}", repair.stdout);
        assert_eq!(repaired["in_stock"], if toward == "ledger" { 29 } else { 27 });
    }
    // What no mapping can know is left to a person.
    make(place, &Shop::sound(5, 41), 42);
    place.execute("UPDATE product SET on_hand = on_hand + 3 WHERE id = 2");
    let repair = said(place, MAPPING, &["--repair", "sql", "--repair-toward", "stock"]);
    let missing = if place.backend == Backend::Sqlite { "created_at" } else { "id, created_at" };
    assert!(repair.stdout.contains(&format!("-- fill in as well: {missing}\n")), "{}", repair.stdout);
}

fn writers_at_full_speed_raise_no_alarm_and_are_not_blocked(place: &Place) {
    let mapping = r#"
        [stock]
        table = "stockbench_sku"
        sku = "id"
        units = "stock"
        [[ledger]]
        table = "stockbench_ledger"
        id = "id"
        sku = "sku_id"
        order = "order_id"
        quantity = "delta"
        kind = "kind"
        kinds = { opening = ["opening"], sale = ["sale"] }
        status = "status"
        counts = ["accepted"]
        refused = ["rejected"]
        balance = "balance""#;
    assert_eq!(place.stockbench(&["seed", "--skus", "20", "--stock", "100000"]).code, 0);
    let json = place.path("run.json").display().to_string();
    let arguments = [
        "run",
        "-s",
        "pessimistic",
        "--no-seed",
        "--concurrency",
        "8",
        "--lines",
        "1..3",
        "--duration",
        "4s",
        "--json",
        &json,
    ];
    let writers = spawn(place.folder.path(), &place.arguments(&arguments));
    let mut audits = 0;
    let mut growing = Vec::new();
    while !std::path::Path::new(&json).exists() {
        let (code, report) = audit(place, mapping, &[]);
        assert_eq!((code, found(&report)), (0, Expected::new()), "audit {audits}");
        growing.push(report["entries"].as_u64().unwrap());
        audits += 1;
        assert!(audits < 1_000, "the writers do not end");
    }
    let done = wait(writers);
    assert_eq!(done.code, 0, "{done:?}");
    let run: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    // They wrote between the audits and met no error because of them.
    assert!(growing.windows(2).any(|pair| pair[0] < pair[1]), "{growing:?}");
    assert!(outcome(&run, "deducted") > 0 && run["errors"].as_object().unwrap().is_empty(), "{run:#}");
}

fn a_mapping_that_does_not_fit_is_refused_in_one_line(place: &Place) {
    let quote = |name: &str| place.dialect().quote(name);
    let (order, select, odd) = (quote("order"), quote("select"), quote("a \"b\" `c` 'd'"));
    for sql in [
        format!("CREATE TABLE {order} (id BIGINT PRIMARY KEY, {select} BIGINT NOT NULL, {odd} BIGINT NOT NULL, name VARCHAR(20))"),
        "CREATE TABLE log (id BIGINT PRIMARY KEY, sku BIGINT NOT NULL, change_amount BIGINT NOT NULL, kind VARCHAR(9))".to_owned(),
        format!("INSERT INTO {order} VALUES (1, 5, 5, 'a')"),
        "INSERT INTO log VALUES (1, 1, 5, 'in')".to_owned(),
        format!("CREATE VIEW stock_view AS SELECT id, {select} AS units FROM {order}"),
    ] {
        place.execute(&sql);
    }
    let mapping = |stock: &str, sku: &str, units: &str, ledger: &str| {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        format!(
            "[stock]\ntable = {}\nsku = {}\nunits = {}\n[[ledger]]\ntable = 'log'\nid = 'id'\nsku = 'sku'\n{ledger}\n",
            quoted(stock),
            quoted(sku),
            quoted(units)
        )
    };
    let change = "quantity = 'change_amount'";
    // Reserved words, quotes in names, and a view are all right.
    for (stock, units) in [("order", "select"), ("order", "a \"b\" `c` 'd'"), ("stock_view", "units")] {
        let said = said(place, &mapping(stock, "id", units, change), &[]);
        assert_eq!(said.code, 0, "{stock}.{units}: {said:?}");
    }
    let bad = [
        (mapping("ordr", "id", "select", change), vec!["no table or view `ordr`", "did you mean \"order\"?"]),
        (
            mapping("order", "idd", "select", change),
            vec!["stock.sku", "no column `idd`", "did you mean \"id\"?"],
        ),
        (mapping("order", "id", "x; DROP TABLE log", change), vec!["no column `x; DROP TABLE log`"]),
        (
            mapping("order", "id", "select", "quantity = 'change_amont'"),
            vec!["did you mean \"change_amount\"?"],
        ),
        (
            mapping("order", "id", "select", "quantity = 'change_amount'\nbalance = 'left'"),
            vec!["ledger of log: balance"],
        ),
        (
            mapping("order", "id", "select", "quantity = 'change_amount'\nquantityy = 'x'"),
            vec!["stock.toml:10", "did you mean \"quantity\"?"],
        ),
    ];
    for (text, fragments) in bad {
        assert_one_line(&said(place, &text, &[]), 2, &fragments);
    }
    if place.backend != Backend::Sqlite {
        let text = mapping("order", "id", "name", change);
        assert_one_line(&said(place, &text, &[]), 2, &["stock.units", "expected a number"]);
    }
    // A value that nobody mapped is not passed over.
    let text = mapping(
        "order",
        "id",
        "select",
        "quantity = 'change_amount'\nkind = 'kind'\nkinds = { sale = ['out'] }",
    );
    assert_one_line(
        &said(place, &text, &[]),
        1,
        &["1 entry with words that the mapping does not know: `in`"],
    );
    let missing = place.stockbench(&["audit", "--mapping", "missing.toml"]);
    assert_one_line(&missing, 2, &["cannot read missing.toml"]);
}

fn a_mapping_is_proposed_and_works(place: &Place) {
    make(place, &Shop::sound(50, 51), 52);
    let proposed = place.stockbench(&["audit", "--init"]);
    assert_eq!(proposed.code, 0, "{proposed:?}");
    for line in [
        "table = \"product\"",
        "units = \"on_hand\"",
        "table = \"movement\"",
        "balance = \"remaining\"",
        "# Its values: \"CONFIRM\"",
    ] {
        assert!(proposed.stdout.contains(line), "{line}: {}", proposed.stdout);
    }
    // As a person would correct it.
    let known = &MAPPING[MAPPING.find("kinds = ").unwrap()..MAPPING.find("balance = ").unwrap()];
    let mut corrected: Vec<&str> =
        proposed.stdout.lines().filter(|line| !line.starts_with("kinds = ")).collect();
    let at = corrected.iter().position(|line| line.starts_with("kind = ")).unwrap();
    corrected.insert(at + 1, known);
    let (code, report) = audit(place, &corrected.join("\n"), &[]);
    assert_eq!((code, found(&report)), (0, Expected::new()), "{}", proposed.stdout);
}

fn limits_end_an_audit_in_one_line(place: &Place) {
    make(place, &Shop::sound(500, 61), 62);
    assert_one_line(&said(place, MAPPING, &["--max-rows", "10"]), 1, &["gave up after", "--max-rows 10"]);
    assert_one_line(&said(place, MAPPING, &["--max-time", "0s"]), 1, &["--max-time 0s is over"]);
    assert_one_line(&said(place, MAPPING, &["--max-snapshot-age", "0s"]), 1, &["holds back vacuum or purge"]);
    assert_one_line(&said(place, MAPPING, &["--since", "soon"]), 2, &["is no moment"]);
    let replica = said(place, MAPPING, &["--replica", "10s"]);
    let (code, words) =
        if place.backend == Backend::Sqlite { (2, "SQLite has no replicas") } else { (1, "it is a primary") };
    assert_one_line(&replica, code, &[words]);
}

/// What a locked table and a user with few rights come to.
#[test]
fn a_reader_with_select_alone_is_enough_and_a_lock_is_not_waited_for() {
    use crate::support::{block_on, database};
    use stockbench::db::SessionSettings;
    for backend in [Backend::Postgres, Backend::MySql, Backend::MariaDb] {
        let Some(place) = place(backend) else { continue };
        make(&place, &Shop::sound(50, 71), 72);
        let mut url = url::Url::parse(&place.url).unwrap();
        let shop = url.path().trim_start_matches('/').to_owned();
        let user = format!("reader_{shop}");
        let grants = match backend {
            Backend::Postgres => {
                format!(
                    "CREATE ROLE {user} LOGIN PASSWORD 'look'; GRANT SELECT ON product, movement TO {user}"
                )
            }
            _ => format!(
                "CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'look'; GRANT SELECT ON {shop}.product TO {user}@'127.0.0.1'; \
                 GRANT SELECT ON {shop}.movement TO {user}@'127.0.0.1'"
            ),
        };
        for grant in grants.split("; ") {
            place.execute(grant);
        }
        url.set_username(&user).unwrap();
        url.set_password(Some("look")).unwrap();
        let file = place.write("stock.toml", MAPPING);
        let reading = ["audit", "--mapping", &file, "--database-url", url.as_str()];
        let said = crate::support::stockbench(place.folder.path(), &reading);
        assert_eq!(said.code, 0, "{backend:?}: {said:?}");
        assert!(!said.stdout.contains("look@"), "{said:?}");

        // Somebody changes the table's columns and has not committed.
        block_on(async {
            let mut holder = database(&place.url).await.open(&SessionSettings::default()).await.unwrap();
            let lock = match backend {
                Backend::Postgres => ["BEGIN", "LOCK TABLE movement IN ACCESS EXCLUSIVE MODE"],
                _ => ["SELECT 1", "LOCK TABLES movement WRITE"],
            };
            for statement in lock {
                holder.control(statement).await.unwrap();
            }
            let arguments = [&reading[..], &["--lock-timeout", "1s"]].concat();
            let folder = place.folder.path();
            let said = std::thread::scope(|scope| {
                scope.spawn(|| crate::support::stockbench(folder, &arguments)).join().unwrap()
            });
            assert_one_line(&said, 1, &["a table is locked"]);
            holder.close().await;
        });
    }
}

#[test]
fn the_mapping_of_the_readme_is_one() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mappings: Vec<&str> = blocks.filter(|block| block.starts_with("[stock]")).collect();
    assert_eq!(mappings.len(), 1);
    stockbench::audit::tables::Mapping::parse("README.md", mappings[0]).unwrap();
}
