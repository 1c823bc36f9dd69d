//! A made-up shop: thousands of SKUs, each with a history of its own, sound by
//! construction; and damage that is planted in it, with what an audit must say
//! of each.

use crate::support::Place;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// One movement of a SKU.
#[derive(Debug, Clone)]
pub struct Move {
    pub order: i64,
    pub kind: &'static str,
    pub refused: bool,
    pub delta: i64,
    pub balance: i64,
}

/// A SKU: its movements in their order, and what is in stock.
#[derive(Debug, Clone)]
pub struct Sku {
    pub id: i64,
    pub moves: Vec<Move>,
    pub stock: Option<i64>,
}

/// What an audit must find: by SKU, the kinds and their units.
pub type Expected = BTreeMap<i64, BTreeSet<(String, u64)>>;

#[derive(Debug)]
pub struct Shop {
    pub skus: Vec<Sku>,
    pub expected: Expected,
    next_order: i64,
}

/// What can be planted.
pub const DAMAGES: [&str; 17] = [
    "lost update",
    "missing entry",
    "raised by hand",
    "lowered by hand",
    "oversold",
    "below zero for a while",
    "order twice",
    "refused and sold",
    "balance rewritten",
    "release without reserve",
    "given back twice",
    "confirmed and released",
    "never settled",
    "released in part",
    "reserved and sold",
    "no stock row",
    "entries at a stuck balance",
];

impl Shop {
    /// SKUs with sound histories: sales, refusals, restocks, returns,
    /// reservations that were confirmed or released.
    pub fn sound(skus: i64, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Numbers that are no part of a time.
        let mut shop = Self { skus: Vec::new(), expected: Expected::new(), next_order: 1_000_000_000 };
        for id in 1..=skus {
            let mut sku = Sku { id, moves: Vec::new(), stock: Some(0) };
            let opening = rng.random_range(40..200);
            sku.push(0, "opening", opening);
            for _ in 0..rng.random_range(3..15) {
                let units = rng.random_range(1..5);
                let order = shop.order();
                match rng.random_range(0..10) {
                    0 => sku.push(0, "restock", 10 * units),
                    1 => sku.push_refused(order),
                    2 | 3 => {
                        sku.push(order, "reserve", -units);
                        match rng.random_range(0..3) {
                            0 => sku.push(order, "release", units),
                            1 => sku.push(order, "confirm", 0),
                            _ => {
                                sku.push(order, "confirm", 0);
                                sku.push(order, "return", units);
                            }
                        }
                    }
                    4 => {
                        sku.push(order, "sale", -units);
                        sku.push(order, "return", units);
                    }
                    5 => sku.push(0, "count", if units > 2 { units } else { -units }),
                    _ => sku.push(order, "sale", -units),
                }
            }
            shop.skus.push(sku);
        }
        shop
    }

    fn order(&mut self) -> i64 {
        self.next_order += 1;
        self.next_order
    }

    /// Plants one damage in a SKU.
    pub fn plant(&mut self, sku_id: i64, damage: &str) {
        let orders = [self.order(), self.order(), self.order()];
        let at = usize::try_from(sku_id - 1).unwrap();
        let sku = &mut self.skus[at];
        let stock = sku.balance();
        let found: Vec<(&str, u64)> = match damage {
            "lost update" => {
                // Both read the same balance; the later write undoes the first.
                sku.push(orders[0], "sale", -3);
                let undone = sku.moves.last().unwrap().clone();
                sku.moves.push(Move { order: orders[1], delta: -1, balance: stock - 1, ..undone });
                sku.push(orders[2], "sale", -1);
                vec![("lost_update", 3), ("balance_chain", 0)]
            }
            "missing entry" => {
                sku.push(orders[0], "sale", -2);
                sku.moves.pop();
                sku.stock = Some(stock - 2);
                sku.moves.push(Move {
                    order: orders[1],
                    kind: "sale",
                    refused: false,
                    delta: -1,
                    balance: stock - 3,
                });
                sku.stock = Some(stock - 3);
                vec![("missing_entry", 2), ("balance_chain", 0)]
            }
            "raised by hand" => {
                sku.stock = Some(stock + 7);
                vec![("lost_update", 7)]
            }
            "lowered by hand" => {
                sku.stock = Some(stock - 5);
                vec![("missing_entry", 5)]
            }
            "oversold" => {
                sku.push(orders[0], "sale", -stock);
                sku.push(orders[1], "sale", -4);
                vec![("oversold", 4), ("negative_stock", 4)]
            }
            "below zero for a while" => {
                sku.push(orders[0], "sale", -(stock + 2));
                sku.push(0, "restock", 20);
                vec![("oversold", 2)]
            }
            "order twice" => {
                sku.push(orders[0], "sale", -3);
                sku.push(orders[0], "sale", -3);
                vec![("duplicate_entry", 3)]
            }
            "refused and sold" => {
                sku.push_refused(orders[0]);
                sku.push(orders[0], "sale", -2);
                vec![("two_answers", 2)]
            }
            "balance rewritten" => {
                sku.push(orders[0], "sale", -1);
                sku.push(orders[1], "sale", -1);
                let middle = sku.moves.len() - 2;
                sku.moves[middle].balance -= 11;
                vec![("balance_chain", 0)]
            }
            "no stock row" => {
                sku.stock = None;
                vec![("unknown_sku", stock.unsigned_abs())]
            }
            "entries at a stuck balance" => {
                sku.push(orders[0], "sale", -1);
                let last = sku.moves.last().unwrap().clone();
                for order in &orders[1..] {
                    sku.moves.push(Move { order: *order, ..last.clone() });
                }
                vec![("entry_without_movement", 2), ("balance_chain", 0)]
            }
            other => plant_reservation(sku, orders[0], other),
        };
        let found = found.into_iter().map(|(kind, units)| (kind.to_owned(), units));
        self.expected.entry(sku_id).or_default().extend(found);
    }

    /// The entries as a database would hold them: SKUs interleaved, and now
    /// and then an entry whose number was given before the one it follows.
    pub fn entries(&self, seed: u64) -> Vec<(i64, Move)> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut all = Vec::new();
        let longest = self.skus.iter().map(|sku| sku.moves.len()).max().unwrap_or(0);
        for at in 0..longest {
            all.extend(self.skus.iter().filter_map(|sku| Some((sku.id, sku.moves.get(at)?.clone()))));
        }
        let swaps = all.len() / 50;
        for _ in 0..swaps {
            let sku = &self.skus[rng.random_range(0..self.skus.len())];
            if self.expected.contains_key(&sku.id) {
                continue;
            }
            let of_sku: Vec<usize> = (0..all.len()).filter(|index| all[*index].0 == sku.id).collect();
            let first = rng.random_range(0..of_sku.len());
            if let Some(next) = of_sku.get(first + 1) {
                all.swap(of_sku[first], *next);
            }
        }
        all
    }
}

impl Sku {
    /// What the last entry left.
    pub fn balance(&self) -> i64 {
        self.moves.last().map_or(0, |entry| entry.balance)
    }

    fn push(&mut self, order: i64, kind: &'static str, delta: i64) {
        let balance = self.balance() + delta;
        self.moves.push(Move { order, kind, refused: false, delta, balance });
        self.stock = Some(balance);
    }

    fn push_refused(&mut self, order: i64) {
        let balance = self.balance();
        self.moves.push(Move { order, kind: "sale", refused: true, delta: 0, balance });
    }
}

/// Inserts rows, many at a time.
pub fn insert(place: &Place, into: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.collect();
    for chunk in rows.chunks(1_000) {
        let mut sql = format!("INSERT INTO {into} VALUES ");
        for (at, row) in chunk.iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(sql, "{separator}({row})").unwrap();
        }
        place.execute(&sql);
    }
}

/// A moment for the n-th entry.
pub fn moment(n: usize) -> String {
    format!("2026-01-{:02} {:02}:{:02}:{:02}", 1 + n / 86_400, n / 3_600 % 24, n / 60 % 60, n % 60)
}

/// A number from a seed that tests print when they fail.
pub fn any(rng: &mut impl Rng, below: i64) -> i64 {
    rng.random_range(0..below)
}

/// Breaks what an order reserved; returns what is found of it.
fn plant_reservation(sku: &mut Sku, order: i64, damage: &str) -> Vec<(&'static str, u64)> {
    match damage {
        "release without reserve" => {
            sku.push(order, "release", 2);
            vec![("release_without_reserve", 2)]
        }
        "given back twice" => {
            sku.push(order, "reserve", -2);
            sku.push(order, "release", 2);
            sku.push(order, "return", 2);
            vec![("double_release", 2)]
        }
        "confirmed and released" => {
            sku.push(order, "reserve", -2);
            sku.push(order, "confirm", 0);
            sku.push(order, "release", 2);
            vec![("confirmed_and_released", 2)]
        }
        "never settled" => {
            sku.push(order, "reserve", -2);
            vec![("unsettled_reservation", 2)]
        }
        "released in part" => {
            sku.push(order, "reserve", -3);
            sku.push(order, "release", 1);
            vec![("unsettled_reservation", 2)]
        }
        "reserved and sold" => {
            sku.push(order, "reserve", -2);
            sku.push(order, "sale", -1);
            vec![("unsettled_reservation", 2)]
        }
        other => panic!("no damage is called {other}"),
    }
}
