//! What is run: every strategy under every load on every database, in rounds whose
//! order is drawn, so that whatever drifts meanwhile meets all of them alike.

use crate::text;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most rounds that can be asked for.
pub const ROUNDS_MAX: u32 = 50;

/// What is compared, and under which loads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// The strategies, by name or path.
    pub strategies: Vec<String>,
    /// The databases: kinds of lab servers, or a URL without its password.
    pub databases: Vec<String>,
    /// Contention: SKUs that the clients share, the fewer the hotter.
    pub skus: Vec<u64>,
    /// Added to every round trip to the database, in microseconds.
    pub rtt_us: Vec<u64>,
    /// Concurrent clients.
    pub concurrency: Vec<u64>,
    /// How often each cell is measured.
    pub rounds: u32,
    /// The rest of the load, which is the same for all, by flag.
    pub load: BTreeMap<String, String>,
    /// The text of each strategy, those that are built in too: another stockbench may have
    /// other ones under the same names.
    pub files: BTreeMap<String, String>,
    /// The seed of the order and of every run's own seed.
    pub random_seed: u64,
}

/// A load on a database, under which strategies are held against each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Setting {
    /// The database.
    pub database: String,
    /// Added to every round trip, in microseconds.
    pub rtt_us: u64,
    /// Concurrent clients.
    pub concurrency: u64,
    /// SKUs that they share.
    pub skus: u64,
}

/// A database, and how far away it was made.
pub fn place(database: &str, rtt_us: u64) -> String {
    match rtt_us {
        0 => database.to_owned(),
        rtt => format!("{database}, {} more a round trip", text::micros(rtt)),
    }
}

/// One run of one strategy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    /// Where and under which load.
    pub setting: Setting,
    /// The strategy.
    pub strategy: String,
    /// The round, from 1.
    pub round: u32,
    /// The run's own seed.
    pub random_seed: u64,
}

impl Matrix {
    /// Every load on every database, in the order of tables.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for database in &self.databases {
            for &rtt_us in &self.rtt_us {
                for &concurrency in &self.concurrency {
                    for &skus in &self.skus {
                        settings.push(Setting { database: database.clone(), rtt_us, concurrency, skus });
                    }
                }
            }
        }
        settings
    }

    /// How many runs there are in all.
    pub fn runs(&self) -> usize {
        let settings = self.databases.len() * self.rtt_us.len() * self.concurrency.len() * self.skus.len();
        settings * self.strategies.len() * self.rounds as usize
    }

    /// Every run, round by round; the same seed gives the same order.
    pub fn cells(&self) -> Vec<Cell> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.random_seed);
        let mut cells = Vec::new();
        for round in 1..=self.rounds {
            let from = cells.len();
            for setting in self.settings() {
                for strategy in &self.strategies {
                    let random_seed = rng.random_range(1..1_000_000_000);
                    let (setting, strategy) = (setting.clone(), strategy.clone());
                    cells.push(Cell { setting, strategy, round, random_seed });
                }
            }
            cells[from..].shuffle(&mut rng);
        }
        cells
    }

    /// The first thing in which another matrix differs, in words.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let in_words = |matrix: &Self| -> Vec<(&'static str, String)> {
            let numbers = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
            let mut words = vec![
                ("strategies", matrix.strategies.join(",")),
                ("databases", matrix.databases.join(",")),
                ("contention", numbers(&matrix.skus)),
                ("rtt (in microseconds)", numbers(&matrix.rtt_us)),
                ("concurrency", numbers(&matrix.concurrency)),
                ("rounds", matrix.rounds.to_string()),
                ("random seed", matrix.random_seed.to_string()),
            ];
            let load = matrix.load.iter().map(|(flag, value)| format!("--{flag} {value}"));
            words.push(("load", load.collect::<Vec<_>>().join(" ")));
            words
        };
        let differing = in_words(self).into_iter().zip(in_words(other)).find(|(one, other)| one != other);
        let text = || self.files.iter().find(|(name, text)| other.files.get(*name) != Some(text));
        differing
            .map(|((what, one), (_, other))| format!("{what}: {one} here, {other} there"))
            .or_else(|| text().map(|(name, _)| format!("the text of {name} is another one")))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn matrix(strategies: &[&str], skus: &[u64]) -> Matrix {
        Matrix {
            strategies: strategies.iter().map(|&name| name.to_owned()).collect(),
            databases: vec!["postgres".to_owned()],
            skus: skus.to_vec(),
            rtt_us: vec![0],
            concurrency: vec![50],
            rounds: 3,
            load: BTreeMap::new(),
            files: BTreeMap::new(),
            random_seed: 5,
        }
    }

    #[test]
    fn every_round_has_every_cell_once_in_an_order_of_its_own() {
        let matrix = matrix(&["naive", "atomic", "cas"], &[1, 10]);
        let cells = matrix.cells();
        assert_eq!((cells.len(), matrix.runs()), (3 * 3 * 2, 3 * 3 * 2));
        let round = |number: u32| -> Vec<(u64, String)> {
            let of_round = cells.iter().filter(|cell| cell.round == number);
            of_round.map(|cell| (cell.setting.skus, cell.strategy.clone())).collect()
        };
        let sorted = |mut cells: Vec<(u64, String)>| {
            cells.sort();
            cells
        };
        assert_eq!(sorted(round(1)), sorted(round(3)));
        assert_ne!(round(1), round(2));
        assert_eq!(matrix.cells(), cells);
        let seeds: std::collections::BTreeSet<u64> = cells.iter().map(|cell| cell.random_seed).collect();
        assert_eq!(seeds.len(), cells.len());
    }

    #[test]
    fn what_differs_is_named() {
        let one = matrix(&["naive"], &[1]);
        assert_eq!(one.difference(&one), None);
        let hotter = Matrix { skus: vec![1, 2], ..one.clone() };
        assert_eq!(one.difference(&hotter).as_deref(), Some("contention: 1 here, 1,2 there"));
        let files = BTreeMap::from([("naive".to_owned(), "another".to_owned())]);
        let difference = Matrix { files, ..one.clone() }.difference(&one);
        assert_eq!(difference.as_deref(), Some("the text of naive is another one"));
    }
}
