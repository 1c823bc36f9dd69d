//! What a run says of where to look next.

use crate::support::{Backend, assert_one_line, place};

#[test]
fn the_hint_promises_only_what_explore_can_do() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let file_on = |table: &str| {
        format!(
            "summary = \"reads, then writes what it has read\"\n\
             [[transaction]]\nbegin = \"none\"\n[[transaction.step]]\n\
             sql = \"SELECT stock - :quantity AS rest FROM {table} WHERE id = :sku_id AND stock >= :quantity\"\n\
             yields = [\"rest\"]\nnone = \"sold_out\"\n[[transaction.step]]\nthink = true\n\
             sql = \"UPDATE {table} SET stock = :rest WHERE id = :sku_id\"\n[[transaction.step]]\n\
             sql = \"INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id) VALUES \
             (:order_id, :sku_id, 'sale', 'accepted', -:quantity, NULL, :run_id)\"\n"
        )
    };
    let race = ["--skus", "1", "--stock", "200", "-n", "200", "-c", "16", "--think", "2ms"];
    let name = stockbench::db::DatabaseUrl::parse(&place.url).unwrap().database;
    for (file, table, can) in
        [("plain.toml", "stockbench_sku", true), ("schema.toml", "main.stockbench_sku", false)]
    {
        let file = place.write(file, &file_on(table));
        let (code, report) = place.run(&[&["-s", &file, "--allow-writes", &name], &race[..]].concat());
        assert_eq!(code, 3, "{report:#}");
        let hints = report["advice"].to_string().contains("stockbench explore");
        assert_eq!(hints, can, "{report:#}");
        let explored = place.stockbench(&["explore", "-s", &file]);
        if can {
            assert_eq!(explored.code, 3, "{explored:?}");
        } else {
            assert_one_line(&explored, 2, &["a name with its schema would pass them by"]);
        }
    }
}
