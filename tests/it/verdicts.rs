//! What a clean answer must mean: histories that were called sound and are not.

use crate::support::{Place, kinds, on_every_database, outcome};

on_every_database!(
    a_sale_below_zero_is_oversold_although_goods_come_in_later,
    a_refusal_is_judged_although_stock_also_rose,
    sales_beside_restocks_are_right_by_their_times,
    a_refusal_is_judged_although_orders_were_given_back,
    a_word_that_nobody_declared_is_no_verdict,
);

/// Sells what is not there.
const BELOW_ZERO: &str = r#"
summary = "deducts without any check"
[[transaction]]
[[transaction.step]]
sql = "UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id"
[[transaction.step]]
sql = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) SELECT :order_id, id, 'sale', 'accepted', -:quantity, stock, :run_id FROM stockbench_sku WHERE id = :sku_id"
unique = "duplicate"
"#;

fn a_sale_below_zero_is_oversold_although_goods_come_in_later(place: &Place) {
    let file = place.write("below.toml", BELOW_ZERO);
    let load = ["-c", "1", "-n", "12", "--skus", "1", "--stock", "5", "--random-seed", "1"];
    let (code, _) = place.run(&[&["-s", &file], &load[..]].concat());
    assert_eq!(code, 3);

    // The same rows, and then enough comes in.
    place.execute("UPDATE stockbench_sku SET stock = stock + 100 WHERE id = 1");
    place.execute(
        "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) \
         SELECT 0, id, 'restock', 'accepted', 100, stock, 0 FROM stockbench_sku WHERE id = 1",
    );
    let said = place.stockbench(&["audit", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, kinds(&report)), (3, vec!["oversold"]), "{report:#}");
    assert_eq!(report["audit"]["oversold_units"], 7);
}

fn a_refusal_is_judged_although_stock_also_rose(place: &Place) {
    // Refuses orders of one unit as long as there are fewer than 1,000.
    let refuses = BELOW_ZERO.replace(
        "WHERE id = :sku_id\"\n[[",
        "WHERE id = :sku_id AND stock >= 1000\"\nnone = \"sold_out\"\n[[",
    );
    let file = place.write("refuses.toml", &refuses);
    let mix = format!("{file}@3,restock@1");
    let (code, report) = place.run(&[
        "-s",
        &mix,
        "-c",
        "4",
        "-n",
        "80",
        "--skus",
        "1",
        "--stock",
        "500",
        "--random-seed",
        "1",
    ]);
    assert!(outcome(&report, "sold_out") > 20 && outcome(&report, "done") > 5, "{report:#}");
    assert_eq!((code, kinds(&report)), (3, vec!["undersold"]), "{report:#}");
    assert_eq!(report["audit"]["undersold_orders"], outcome(&report, "sold_out"));

    // By the times of the answers, too; and what the clients of a part of them were told accuses
    // nobody of the rest.
    let history = place.path("answers.csv").display().to_string();
    let load = ["-c", "4", "-n", "80", "--skus", "1", "--stock", "500", "--history", &history];
    let (_, report) = place.run(&[&["-s", &mix], &load[..]].concat());
    let said = place.stockbench(&["audit", "--history", &history, "-o", "json"]);
    let later: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, kinds(&later)), (3, vec!["undersold"]), "{later:#}");
    assert_eq!(later["audit"]["undersold_orders"], outcome(&report, "sold_out"));
    assert_eq!(later["audit"]["skus_not_decided"], 0);
}

fn sales_beside_restocks_are_right_by_their_times(place: &Place) {
    let history = place.path("answers.csv").display().to_string();
    let load = ["-c", "4", "-n", "200", "--skus", "2", "--stock", "10", "--history", &history];
    let (code, report) = place.run(&[&["-s", "atomic@5,restock@1"], &load[..]].concat());
    assert!(outcome(&report, "sold_out") > 5 && outcome(&report, "done") > 5, "{report:#}");
    assert_eq!(code, 0, "{report:#}");

    let said = place.stockbench(&["audit", "--history", &history]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.stdout.contains("not decided"), "{said:?}");

    // A history that ends early knows nothing of what was sold after it.
    let whole = std::fs::read_to_string(&history).unwrap();
    let part: Vec<&str> = whole.lines().take(120).collect();
    let partial = place.write("part.csv", &(part.join("\n") + "\n"));
    let said = place.stockbench(&["audit", "--history", &partial]);
    assert_eq!(said.code, 0, "{said:?}");

    // One sale that is told as a refusal: what was there at its time shows it.
    let sold = whole.lines().skip(2).find(|line| line.contains(",deducted,")).unwrap();
    let order = sold.split(',').next().unwrap();
    place.execute(&format!("UPDATE stockbench_sku SET stock = stock + (SELECT -SUM(delta) FROM stockbench_ledger WHERE order_id = {order}) WHERE id IN (SELECT sku_id FROM stockbench_ledger WHERE order_id = {order})"));
    place.execute(&format!("DELETE FROM stockbench_ledger WHERE order_id = {order}"));
    let told = place.write("told.csv", &whole.replace(sold, &sold.replace(",deducted,", ",sold_out,")));
    let said = place.stockbench(&["audit", "--history", &told, "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(said.code, 3, "{report:#}");
    assert!(
        kinds(&report).contains(&"refused_too_early") || kinds(&report).contains(&"undersold"),
        "{report:#}"
    );
}

fn a_refusal_is_judged_although_orders_were_given_back(place: &Place) {
    let gives_back = r#"
summary = "gives one order in four back, and refuses all others although the stock is full"
[[transaction]]
name = "refuse"
share = 3
[[transaction.step]]
sql = "SELECT stock AS s FROM stockbench_sku WHERE id = :sku_id AND stock > 100000000"
yields = ["s"]
none = "sold_out"
[[transaction.step]]
sql = "UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id"
[[transaction]]
name = "take and give back"
share = 1
then = "released"
[[transaction.step]]
sql = "UPDATE stockbench_sku SET stock = stock - :quantity WHERE id = :sku_id"
[[transaction.step]]
sql = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) SELECT :order_id, id, 'sale', 'accepted', -:quantity, stock, :run_id FROM stockbench_sku WHERE id = :sku_id"
[[transaction.step]]
sql = "UPDATE stockbench_sku SET stock = stock + :quantity WHERE id = :sku_id"
[[transaction.step]]
sql = "INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) SELECT :order_id, id, 'release', 'accepted', :quantity, stock, :run_id FROM stockbench_sku WHERE id = :sku_id"
"#;
    let file = place.write("gives-back.toml", gives_back);
    let load = ["-c", "1", "-n", "60", "--skus", "1", "--stock", "50", "--random-seed", "1"];
    let (code, report) = place.run(&[&["-s", &file], &load[..]].concat());
    assert!(outcome(&report, "released") > 5 && outcome(&report, "sold_out") > 20, "{report:#}");
    assert_eq!((code, report["audit"]["undersold_orders"].as_u64()), (3, Some(outcome(&report, "sold_out"))));
    assert_eq!(report["audit"]["refusals_not_judged"], 0);

    // Without balances nobody can know what was there: said, and not passed over.
    let blind = gives_back.replace("stock, :run_id", "NULL, :run_id");
    let file = place.write("blind.toml", &blind);
    let (_, report) = place.run(&[&["-s", &file], &load[..]].concat());
    assert_eq!(report["audit"]["refusals_not_judged"], outcome(&report, "sold_out"), "{report:#}");
}

fn a_word_that_nobody_declared_is_no_verdict(place: &Place) {
    let audit = |column: &str, word: &str| {
        let columns = "order_id, sku_id, kind, status, delta, balance, run_id";
        let columns = columns
            .replace(column, &format!("CASE kind WHEN 'sale' THEN {word} ELSE {column} END AS {column}"));
        format!("[audit]\nledger = \"SELECT id, {columns} FROM stockbench_ledger\"\n")
    };
    for (column, word, said) in [
        ("kind", "'SALE'", "kind is `SALE`: expected `opening`, `sale`, "),
        ("kind", "'SALE'", "did you mean \"sale\"?"),
        ("status", "'cancelled'", "status is `cancelled`: expected `accepted`, `rejected`"),
        ("status", "NULL", "status is NULL: expected `accepted`, `rejected`"),
    ] {
        let file = place.write("words.toml", &format!("{BELOW_ZERO}{}", audit(column, word)));
        let said_by =
            place.stockbench(&["run", "-s", &file, "-n", "5", "-c", "1", "--stock", "50", "--skus", "1"]);
        assert_eq!(said_by.code, 1, "{said_by:?}");
        assert!(said_by.stdout.contains(said), "{said_by:?}");
    }
}
