//! Balances that were rewritten so that they look whole to a sum of weak hashes.

use super::{Small, audit, found};
use crate::support::{Place, block_on, database, on_every_database};
use stockbench::audit::tables::fingerprint::Fingerprint;
use stockbench::db::{SessionSettings, Value};

on_every_database!(fingerprints_of_small_balances_collide_no_more_than_chance, forged_balances_are_found);

/// Balances from 0 whose fingerprints are compared.
const BALANCES: usize = 100_001;

/// The fingerprints of the balances from 0 on, by the server's own arithmetic.
fn fingerprints(place: &Place) -> Vec<Fingerprint> {
    block_on(async {
        let database = database(&place.url).await;
        let mut session = database.open(&SessionSettings::default()).await.unwrap();
        let digits =
            (0..10).map(|digit| format!("SELECT {digit} AS n")).collect::<Vec<_>>().join(" UNION ALL ");
        let places = (0..6).map(|at| format!("({digits}) d{at}")).collect::<Vec<_>>().join(", ");
        let number = (0..6).map(|at| format!("d{at}.n * {}", 10_i64.pow(at))).collect::<Vec<_>>().join(" + ");
        let numbers = format!("SELECT {number} AS b FROM {places}");
        let columns = Fingerprint::of_balance(database.dialect(), "b").join(", ");
        let sql = format!("SELECT {columns} FROM ({numbers}) t WHERE b < {BALANCES} ORDER BY b");

        let mut found = Vec::with_capacity(BALANCES);
        let mut keep = |row: &[Value]| {
            found.push(Fingerprint::read(row));
            Ok(())
        };
        session.for_each_row(&sql, &mut keep).await.unwrap();
        session.close().await;
        found
    })
}

fn fingerprints_of_small_balances_collide_no_more_than_chance(place: &Place) {
    let of = fingerprints(place);
    assert_eq!(of.len(), BALANCES);

    // Sales of 1 to 100 units: an entry that is taken for another one. Among ten million numbers
    // of 62 bits chance gives 0.00001 pairs.
    let mut sales = Vec::with_capacity(100 * BALANCES);
    for units in 1..=100 {
        let after = of.iter().zip(&of[units..]);
        sales.extend(after.map(|(after, before)| *after - *before));
    }
    assert_eq!(collisions(sales), 0);

    // Two sales of a unit whose balances were both rewritten, one up and one down.
    let bends = of.windows(3).map(|of| (of[2] - of[1]) - (of[1] - of[0]));
    assert_eq!(collisions(bends.collect()), 0);
}

/// How many are the same as another one.
fn collisions(mut fingerprints: Vec<Fingerprint>) -> usize {
    fingerprints.sort_unstable();
    fingerprints.windows(2).filter(|pair| pair[0] == pair[1]).count()
}

fn forged_balances_are_found(place: &Place) {
    for (forged, what) in [
        ([(8_i64, 1_i64), (5, -1)].as_slice(), "two balances, one up and one down"),
        (&[(7, 4_294_967_296)], "a wrap of 32 bits"),
        (&[(7, 4_294_967_297)], "a fold of 64 bits to 32"),
        (&[(7, -14)], "another sign"),
    ] {
        // Ten units, and eight sales of one.
        let sales = (1..9).map(|id| format!("({id}, 1, -1, {})", 10 - id));
        let entries: Vec<String> = std::iter::once("(0, 1, 10, 10)".to_owned()).chain(sales).collect();
        let small = Small {
            tables: [
                "id BIGINT PRIMARY KEY, n BIGINT NOT NULL",
                "id BIGINT PRIMARY KEY, sku BIGINT NOT NULL, q BIGINT NOT NULL, balance BIGINT NOT NULL",
            ],
            stock: "(1, 2)",
            entries: &entries.join(", "),
            says: "balance = 'balance'",
        };
        let mapping = small.make(place);
        let (code, report) = audit(place, &mapping, &[]);
        assert_eq!(code, 0, "{what}: {report:#}");

        for (balance, by) in forged {
            place.execute(&format!("UPDATE l SET balance = balance + {by} WHERE balance = {balance}"));
        }
        let (code, report) = audit(place, &mapping, &[]);
        let is_found = found(&report)[&1].iter().any(|(kind, _)| kind == "balance_chain");
        assert!(code == 3 && is_found, "{what}: {report:#}");
    }
}
