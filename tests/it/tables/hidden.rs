//! Rows that an audit of a shop's tables cannot see: whatever hides the broken ones, the
//! audit does not pass. In every test SKU 2 is broken and SKU 1 is sound.

use super::{audit, said};
use crate::support::{
    Backend, Place, Said, assert_one_line, block_on, database, execute, on_every_database, place, query,
    servers_are_required, stockbench,
};
use serde_json::Value;
use stockbench::db::SessionSettings;
use stockbench::db::relation::relation;
use stockbench::lab::{LabKind, LabServer};

on_every_database!(a_view_that_leaves_rows_out_is_named, a_view_that_shows_every_row_is_believed,);

/// A shop of two SKUs, the second of which holds 89 units too many.
fn make(place: &Place) {
    make_with(place, "");
}

fn make_with(place: &Place, options: &str) {
    for sql in [
        format!("CREATE TABLE product (id BIGINT PRIMARY KEY, on_hand BIGINT NOT NULL){options}"),
        format!(
            "CREATE TABLE movement (id BIGINT PRIMARY KEY, product_id BIGINT NOT NULL, change_amount BIGINT NOT NULL){options}"
        ),
        "INSERT INTO product VALUES (1, 8), (2, 99)".to_owned(),
        "INSERT INTO movement VALUES (1, 1, 10), (2, 1, -2), (3, 2, 10)".to_owned(),
    ] {
        place.execute(&sql);
    }
}

fn mapping(stock: &str, ledger: &str) -> String {
    format!(
        "[stock]\ntable = '{stock}'\nsku = 'id'\nunits = 'on_hand'\n[[ledger]]\ntable = '{ledger}'\nid = 'id'\n\
         sku = 'product_id'\nquantity = 'change_amount'\n"
    )
}

fn list<'a>(audit: &'a Value, field: &str) -> Vec<&'a str> {
    audit[field].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
}

#[track_caller]
fn assert_not_seen(place: &Place, mapping: &str, expected: &[&str]) {
    let (code, report) = audit(place, mapping, &[]);
    assert_eq!((code, &report["passed"]), (1, &false.into()), "{report:#}");
    assert_eq!(list(&report, "not_seen"), expected);
}

/// The broken SKU is seen.
#[track_caller]
fn assert_found(place: &Place, mapping: &str) {
    let (code, report) = audit(place, mapping, &[]);
    assert_eq!((code, &report["lost_update_units"]), (3, &89.into()), "{report:#}");
}

fn a_view_that_leaves_rows_out_is_named(place: &Place) {
    make(place);
    place.execute("CREATE VIEW open_product AS SELECT id, on_hand FROM product WHERE id = 1");
    place.execute("CREATE VIEW open_movement AS SELECT * FROM movement WHERE product_id = 1");
    place.execute("CREATE VIEW shown_product AS SELECT * FROM open_product");
    let leaves_out =
        |view: &str| format!("what the view `{view}` leaves out of the tables behind it: it has a WHERE");
    let (product, movement) = (leaves_out("open_product"), leaves_out("open_movement"));
    let product = match place.backend {
        // These name the tables behind a view with their database.
        Backend::MySql | Backend::MariaDb => {
            let database = stockbench::db::DatabaseUrl::parse(&place.url).unwrap().database;
            [product.clone(), leaves_out(&format!("{database}.open_product"))]
        }
        _ => [product.clone(), product],
    };

    let filtered = mapping("open_product", "open_movement");
    assert_not_seen(place, &filtered, &[&product[0], &movement]);
    let text = said(place, &filtered, &[]);
    assert!(text.stdout.contains("audit: could not judge, not all was seen (1 SKU, 2 entries)"), "{text:?}");
    assert!(text.stdout.contains(&format!("  not seen: {movement}")), "{text:?}");
    // A view of a view.
    assert_not_seen(place, &mapping("shown_product", "open_movement"), &[&product[1], &movement]);

    // What is wrong in what was seen is wrong all the same.
    place.execute("CREATE VIEW others AS SELECT * FROM product WHERE id > 1");
    let (code, report) = audit(place, &mapping("others", "movement"), &[]);
    assert_eq!((code, list(&report, "not_seen").len()), (3, 1), "{report:#}");

    // Whoever says that it is meant so is believed, and reminded.
    let meant = format!("complete = ['open_product', 'open_movement']\n{filtered}");
    let (code, report) = audit(place, &meant, &[]);
    assert_eq!(
        (code, list(&report, "not_seen").len(), list(&report, "caveats").len()),
        (0, 0, 2),
        "{report:#}"
    );
    let stranger = format!("complete = ['product']\n{filtered}");
    assert_one_line(
        &said(place, &stranger, &[]),
        2,
        &["complete: `product` is no table or view of this mapping"],
    );
}

fn a_view_that_shows_every_row_is_believed(place: &Place) {
    make(place);
    place.execute("CREATE VIEW all_product AS SELECT p.id, p.on_hand AS on_hand FROM product p");
    place.execute(
        "CREATE VIEW all_movement AS SELECT id, product_id, change_amount FROM movement \
         UNION ALL SELECT m.id, m.product_id, m.change_amount FROM movement m LEFT JOIN product p ON p.id = m.product_id \
         WHERE 1 = 0",
    );
    assert_found(place, &mapping("all_product", "movement"));
    place.execute("UPDATE product SET on_hand = 10 WHERE id = 2");
    let (code, report) = audit(place, &mapping("all_product", "movement"), &[]);
    assert_eq!((code, list(&report, "not_seen").len()), (0, 0), "{report:#}");
    // One WHERE in one half of it is enough.
    assert_eq!(audit(place, &mapping("all_product", "all_movement"), &[]).0, 1);
}

/// A user of the server with a password, and the URL that it comes by.
fn user(place: &Place, name: &str, rights: &[&str]) -> String {
    let mut url = url::Url::parse(&place.url).unwrap();
    let shop = url.path().trim_start_matches('/').to_owned();
    let user = format!("{name}_{shop}");
    let create = match place.backend {
        Backend::Postgres => format!("CREATE ROLE {user} LOGIN PASSWORD 'look'"),
        _ => format!("CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'look'"),
    };
    place.execute(&create);
    let whom = if place.backend == Backend::Postgres { user.clone() } else { format!("{user}@'127.0.0.1'") };
    for right in rights {
        place.execute(&right.replace("USER", &whom).replace("SHOP", &shop));
    }
    url.set_username(&user).unwrap();
    url.set_password(Some("look")).unwrap();

    url.to_string()
}

fn audit_as(place: &Place, url: &str, mapping: &str) -> Said {
    let file = place.write("stock.toml", mapping);
    stockbench(place.folder.path(), &["audit", "--mapping", &file, "--database-url", url])
}

#[test]
fn row_level_security_is_refused_instead_of_filtered() {
    let Some(place) = place(Backend::Postgres) else { return };
    make(&place);
    let rights = ["GRANT SELECT ON ALL TABLES IN SCHEMA public TO USER"];
    let reader = user(&place, "clerk", &rights);
    let all = mapping("product", "movement");
    assert_eq!(audit_as(&place, &reader, &all).code, 3);

    // The ledger of SKU 2 is hidden together with its stock.
    for (table, column) in [("product", "id"), ("movement", "product_id")] {
        place.execute(&format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"));
        place.execute(&format!("CREATE POLICY only_one ON {table} USING ({column} = 1)"));
    }
    let refusal = ["row-level security hides rows of `product` from this user", "BYPASSRLS"];
    assert_one_line(&audit_as(&place, &reader, &all), 1, &refusal);

    // Who may pass the policies by sees everything: a superuser, BYPASSRLS, the owner.
    assert_found(&place, &all);
    let bypassing = user(&place, "auditor", &[rights[0], "ALTER ROLE USER BYPASSRLS"]);
    assert_eq!(audit_as(&place, &bypassing, &all).code, 3);
    let owner =
        user(&place, "owner", &["ALTER TABLE product OWNER TO USER", "ALTER TABLE movement OWNER TO USER"]);
    assert_eq!(audit_as(&place, &owner, &all).code, 3);

    // A view reads with its owner's rights, or with those of whoever asks.
    place.execute("CREATE VIEW all_product AS SELECT id, on_hand FROM product");
    place.execute("CREATE VIEW all_movement AS SELECT id, product_id, change_amount FROM movement");
    place.execute("GRANT SELECT ON all_product, all_movement TO PUBLIC");
    let views = mapping("all_product", "all_movement");
    place.execute("ALTER VIEW all_product SET (security_invoker = on)");
    assert_one_line(&audit_as(&place, &reader, &views), 1, &["row-level security"]);

    place.execute("ALTER TABLE movement FORCE ROW LEVEL SECURITY");
    assert_one_line(&audit_as(&place, &owner, &all), 1, &["row-level security hides rows of `movement`"]);
}

/// A part of a table would be explored as if it were all of it.
#[test]
fn rows_that_a_policy_hides_are_not_left_out_of_an_exploration() {
    let Some(place) = place(Backend::Postgres) else { return };
    make(&place);
    let strategy = place.write(
        "shop.toml",
        r#"
summary = "one statement on the shop's own table"
safety = "safe"
about = "As in the shop."
[expect]
audit = "nothing"
[audit]
stock = "SELECT id AS sku_id, on_hand AS stock FROM product"
[[transaction]]
[[transaction.step]]
sql = "UPDATE product SET on_hand = on_hand - :quantity WHERE id = :sku_id AND on_hand >= :quantity"
none = "sold_out"
[[transaction.step]]
sql = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, run_id) VALUES (:order_id, :sku_id, 'sale', 'accepted', -:quantity, :run_id)"
"#,
    );
    let rights =
        ["GRANT SELECT ON ALL TABLES IN SCHEMA public TO USER", "GRANT CREATE ON DATABASE SHOP TO USER"];
    let clerk = user(&place, "explorer", &rights);
    place.execute("ALTER TABLE product ENABLE ROW LEVEL SECURITY");
    place.execute("CREATE POLICY only_one ON product USING (id = 1)");
    let said = stockbench(place.folder.path(), &["explore", "-s", &strategy, "--database-url", &clerk]);
    assert_one_line(&said, 1, &["cannot copy product for the exploration", "row-level security"]);
}

#[test]
fn rights_on_some_columns_are_no_audit_of_all() {
    for (backend, code, fragments) in [
        (Backend::Postgres, 1, ["permission denied", "SELECT on every row"]),
        (Backend::MySql, 2, ["`product` has no column `on_hand`", "it has `id`"]),
        (Backend::MariaDb, 2, ["`product` has no column `on_hand`", "it has `id`"]),
    ] {
        let Some(place) = place(backend) else { continue };
        make(&place);
        let [product, movement] = match backend {
            Backend::Postgres => ["product", "movement"],
            _ => ["SHOP.product", "SHOP.movement"],
        };
        let rights = [
            format!("GRANT SELECT (id) ON {product} TO USER"),
            format!("GRANT SELECT ON {movement} TO USER"),
        ];
        let clerk = user(&place, "columns", &[&rights[0], &rights[1]]);
        assert_one_line(&audit_as(&place, &clerk, &mapping("product", "movement")), code, &fragments);
    }
}

#[test]
fn a_view_whose_text_is_not_shown_is_not_believed() {
    for backend in [Backend::MySql, Backend::MariaDb] {
        let Some(place) = place(backend) else { continue };
        make(&place);
        place.execute("CREATE VIEW some_product AS SELECT * FROM product WHERE id = 1");
        place.execute("CREATE VIEW some_movement AS SELECT * FROM movement WHERE product_id = 1");
        let rights =
            ["GRANT SELECT ON SHOP.some_product TO USER", "GRANT SELECT ON SHOP.some_movement TO USER"];
        let clerk = user(&place, "views", &rights);
        let said = audit_as(&place, &clerk, &mapping("some_product", "some_movement"));
        assert_eq!(said.code, 1, "{backend:?}: {said:?}");
        assert!(
            said.stdout.contains(
                "`some_movement` leaves out of the tables behind it: it has a text that this user may not see"
            ),
            "{backend:?}: {said:?}"
        );
    }
}

#[test]
fn partitions_are_seen_through_their_parent_whatever_their_own_rights() {
    let Some(place) = place(Backend::Postgres) else { return };
    for sql in [
        "CREATE TABLE product (id BIGINT PRIMARY KEY, on_hand BIGINT NOT NULL)",
        "CREATE TABLE movement (id BIGINT, product_id BIGINT NOT NULL, change_amount BIGINT NOT NULL) PARTITION BY LIST (product_id)",
        "CREATE TABLE movement_1 PARTITION OF movement FOR VALUES IN (1)",
        "CREATE TABLE movement_2 PARTITION OF movement FOR VALUES IN (2)",
        "INSERT INTO product VALUES (1, 8), (2, 99)",
        "INSERT INTO movement VALUES (1, 1, 10), (2, 1, -2), (3, 2, 10)",
        // No right on it, and a policy of its own: neither counts for whoever asks the parent.
        "ALTER TABLE movement_2 ENABLE ROW LEVEL SECURITY",
    ] {
        place.execute(sql);
    }
    let clerk = user(&place, "parts", &["GRANT SELECT ON product, movement TO USER"]);
    let said = audit_as(&place, &clerk, &mapping("product", "movement"));
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.stdout.contains("SKU 2: stock is 99, its ledger adds up to 10"), "{said:?}");
}

/// A key of a parent table does not hold for the rows of its children, nor one that could
/// not be completed for any: duplicates must be looked for.
#[test]
fn keys_that_do_not_hold_excuse_no_duplicates() {
    let Some(place) = place(Backend::Postgres) else { return };
    let says = "order = 'order_id'\nis = 'sale'\nsign = 'out'\n[opening]\ncolumn = 'opened'\n";
    let keyed = mapping("product", "movement") + says;
    let table = "(id BIGINT PRIMARY KEY, product_id BIGINT NOT NULL, order_id BIGINT NOT NULL, change_amount BIGINT NOT NULL";
    place.execute(
        "CREATE TABLE product (id BIGINT PRIMARY KEY, opened BIGINT NOT NULL, on_hand BIGINT NOT NULL)",
    );
    place.execute("INSERT INTO product VALUES (1, 10, 6)");

    place.execute(&format!("CREATE TABLE movement {table}, UNIQUE (order_id, product_id))"));
    place.execute("CREATE TABLE movement_old () INHERITS (movement)");
    place.execute("INSERT INTO movement VALUES (1, 1, 7, 2)");
    place.execute("INSERT INTO movement_old VALUES (2, 1, 7, 2)");
    let (code, report) = audit(&place, &keyed, &[]);
    assert_eq!((code, &report["findings"][0]["kind"]), (3, &"duplicate_entry".into()), "{report:#}");

    place.execute("DROP TABLE movement CASCADE");
    place.execute(&format!("CREATE TABLE movement {table})"));
    place.execute("INSERT INTO movement VALUES (1, 1, 7, 2), (2, 1, 7, 2)");
    // The index stays behind, and is not valid.
    let failed = block_on(async {
        let mut session = database(&place.url).await.open(&SessionSettings::default()).await.unwrap();
        session.control("CREATE UNIQUE INDEX CONCURRENTLY once ON movement (order_id, product_id)").await
    });
    assert_eq!(failed.unwrap_err().code, "23505");
    let (code, report) = audit(&place, &keyed, &[]);
    assert_eq!((code, &report["findings"][0]["kind"]), (3, &"duplicate_entry".into()), "{report:#}");
}

#[test]
fn what_is_stale_or_elsewhere_is_named() {
    let Some(place) = place(Backend::Postgres) else { return };
    make(&place);
    place.execute("UPDATE product SET on_hand = 10 WHERE id = 2");
    place.execute("CREATE MATERIALIZED VIEW known_product AS SELECT * FROM product");
    place.execute("UPDATE product SET on_hand = 99 WHERE id = 2");
    assert_not_seen(
        &place,
        &mapping("known_product", "movement"),
        &["what has changed since the materialized view `known_product` was refreshed last"],
    );

    // The other server is this one, and its user sees SKU 1 alone.
    let url = url::Url::parse(&place.url).unwrap();
    let shop = url.path().trim_start_matches('/');
    user(&place, "far", &["GRANT SELECT ON ALL TABLES IN SCHEMA public TO USER"]);
    for sql in [
        "ALTER TABLE product ENABLE ROW LEVEL SECURITY".to_owned(),
        "CREATE POLICY only_one ON product USING (id = 1)".to_owned(),
        "ALTER TABLE movement ENABLE ROW LEVEL SECURITY".to_owned(),
        "CREATE POLICY only_one ON movement USING (product_id = 1)".to_owned(),
        "CREATE EXTENSION postgres_fdw".to_owned(),
        format!(
            "CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{}', dbname '{shop}')",
            url.port().unwrap()
        ),
        format!("CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user 'far_{shop}', password 'look')"),
        "CREATE FOREIGN TABLE far_product (id BIGINT, on_hand BIGINT) SERVER far OPTIONS (table_name 'product')".to_owned(),
        "CREATE TABLE movements (id BIGINT, product_id BIGINT, change_amount BIGINT) PARTITION BY LIST (product_id)".to_owned(),
        "CREATE FOREIGN TABLE far_movement PARTITION OF movements DEFAULT SERVER far OPTIONS (table_name 'movement')".to_owned(),
    ] {
        place.execute(&sql);
    }
    let elsewhere = "which is on another server: only what that one shows, as of its own time";
    assert_not_seen(
        &place,
        &mapping("far_product", "movements"),
        &[
            &format!("the table behind far_movement, a part of `movements` {elsewhere}"),
            &format!("the table behind `far_product`, {elsewhere}"),
        ],
    );
}

#[test]
fn what_a_crash_empties_and_what_bears_the_same_name_is_said() {
    let Some(place) = place(Backend::Postgres) else { return };
    make(&place);
    place.execute("UPDATE product SET on_hand = 10 WHERE id = 2");
    place.execute("ALTER TABLE movement SET UNLOGGED");
    let name = place.url.rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    place.execute("CREATE SCHEMA old");
    place.execute("CREATE TABLE old.product (id BIGINT PRIMARY KEY, on_hand BIGINT NOT NULL)");
    place.execute("INSERT INTO old.product VALUES (1, 7)");
    place.execute(&format!("ALTER DATABASE {name} SET search_path = public, old"));

    let (code, report) = audit(&place, &mapping("product", "movement"), &[]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!(
        list(&report, "caveats"),
        [
            "`product` is read in schema `public`; those of the same name in `old` are not",
            "UNLOGGED, emptied by a crash of the server: `movement`",
        ]
    );
}

/// Whoever used a pooled connection before may have left a table on it.
#[test]
fn a_temporary_table_is_told_from_the_one_that_it_hides() {
    for backend in [Backend::Postgres, Backend::MySql, Backend::MariaDb] {
        let Some(place) = place(backend) else { continue };
        make(&place);
        let [before, after] = block_on(async {
            let database = database(&place.url).await;
            let mut session = database.open(&SessionSettings::default()).await.unwrap();
            let before =
                relation(session.as_mut(), database.dialect(), None, "product").await.unwrap().unwrap();
            session
                .control("CREATE TEMPORARY TABLE product (id BIGINT PRIMARY KEY, on_hand BIGINT)")
                .await
                .unwrap();
            let after =
                relation(session.as_mut(), database.dialect(), None, "product").await.unwrap().unwrap();
            [before.is_temporary, after.is_temporary]
        });
        assert_eq!([before, after], [false, true], "{backend:?}");
    }
}

#[test]
fn an_engine_without_transactions_is_named_before_anyone_is_blamed() {
    for backend in [Backend::MySql, Backend::MariaDb] {
        let Some(place) = place(backend) else { continue };
        make_with(&place, " ENGINE = MyISAM");
        let (code, report) = audit(&place, &mapping("product", "movement"), &[]);
        assert_eq!(code, 3, "{report:#}");
        assert_eq!(list(&report, "without_transactions"), ["`product` (MyISAM)", "`movement` (MyISAM)"]);
        let causes = list(&report["findings"][0], "may_mean");
        assert_eq!(
            causes[0],
            "`product` (MyISAM) has no transactions: what is written there is neither isolated nor rolled back"
        );
        let text = said(&place, &mapping("product", "movement"), &[]);
        assert!(
            text.stdout.contains("  no transactions: `movement` (MyISAM): nothing is isolated"),
            "{text:?}"
        );
    }
}

/// What a server does by default is not what stockbench relies on: tables without
/// transactions, and answers that are cut without a word.
#[test]
fn settings_of_the_server_neither_make_our_tables_nor_cut_its_answers() {
    for kind in [LabKind::MySql, LabKind::MariaDb] {
        let server = match block_on(LabServer::start(kind)) {
            Ok(server) => server,
            Err(error) if servers_are_required() => panic!("{error:#}"),
            Err(_) => continue,
        };
        let backend = if kind == LabKind::MySql { Backend::MySql } else { Backend::MariaDb };
        execute(&server.url, "CREATE DATABASE shop");
        let mut url = url::Url::parse(&server.url).unwrap();
        url.set_path("shop");
        let place = Place { folder: tempfile::tempdir().unwrap(), url: url.to_string(), backend };

        place.execute("SET GLOBAL default_storage_engine = MyISAM");
        let load = ["-s", "units", "--skus", "1", "--stock", "5", "--orders", "10"];
        let (code, report) = place.run(&load);
        assert_eq!((code, list(&report["audit"], "without_transactions")), (0, vec![]), "{report:#}");
        let engine = "SELECT engine FROM information_schema.tables WHERE table_name = 'stockbench_unit'";
        assert_eq!(query(&place.url, engine), "InnoDB");

        // Forty SKUs, and the broken one is the last.
        make(&place);
        let others: Vec<String> = (3..40).map(|sku| format!("({sku}, 0)")).collect();
        place.execute(&format!("INSERT INTO product VALUES {}, (40, 89)", others.join(", ")));
        place.execute("UPDATE product SET on_hand = 10 WHERE id = 2");
        assert_found(&place, &mapping("product", "movement"));
        place.execute("SET GLOBAL sql_select_limit = 20");
        let cut = said(&place, &mapping("product", "movement"), &[]);
        let refusal = "the server cuts every answer to this user after 20 rows (sql_select_limit)";
        assert_one_line(&cut, 1, &[refusal]);
    }
}

/// One table tells SKUs apart that another takes for one.
#[test]
fn skus_that_only_some_tables_tell_apart_are_not_added_up() {
    for backend in [Backend::MySql, Backend::MariaDb] {
        let Some(place) = place(backend) else { continue };
        for sql in [
            "CREATE TABLE product (id VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, on_hand BIGINT NOT NULL)",
            "CREATE TABLE movement (id BIGINT PRIMARY KEY, product_id VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL, change_amount BIGINT NOT NULL)",
            // Both are wrong by 2 units, and their sum is right.
            "INSERT INTO product VALUES ('A', 12), ('a', 0)",
            "INSERT INTO movement VALUES (1, 'A', 10), (2, 'a', 2)",
        ] {
            place.execute(sql);
        }
        let said = said(&place, &mapping("product", "movement"), &[]);
        assert_one_line(&said, 1, &["from another SKU of that spelling", "they cannot be compared"]);
    }
}
