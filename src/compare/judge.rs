//! What the rounds came to, setting by setting: who kept the stock, and who of those
//! was fastest.

use super::matrix::{Cell, Matrix, Setting};
use super::stats::{self, Change, Estimate};
use crate::finding::FindingKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What one run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Which run.
    pub cell: Cell,
    /// What came of it.
    pub came_to: CameTo,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CameTo {
    /// It was measured, and its audit made.
    Measured(Figures),
    /// It cannot be run there, and why.
    Refused(String),
    /// It could not be judged, and why.
    Undecided(String),
}

/// The figures of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Sold orders per second.
    pub goodput_per_s: f64,
    /// Median latency of sold orders, in microseconds.
    pub p50_us: u64,
    /// Their 99th percentile.
    pub p99_us: u64,
    /// Attempts that concurrency control refused, from 0 to 1.
    pub conflict_rate: f64,
    /// Attempts after the first, for each order.
    pub retries_per_order: f64,
    /// Units sold twice, lost or made up, as the audit adds them up.
    pub wrong_units: u64,
    /// Orders refused because not enough was in stock.
    #[serde(default)]
    pub sold_out: u64,
    /// Orders that ended as conflict, their tries exhausted, from 0 to 1: no latency of
    /// what was sold tells of them.
    #[serde(default)]
    pub given_up: f64,
    /// Units in stock when the run was over, where the audit knows.
    #[serde(default)]
    pub units_left: Option<u64>,
    /// What the audit found.
    pub findings: BTreeMap<FindingKind, u64>,
}

/// What is said of a strategy in a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Verdict {
    /// Every audit passed: it is in the ranking.
    Held,
    /// Every audit passed here, but not elsewhere on this database, or its own file
    /// calls it unsafe.
    NotCaughtHere,
    /// An audit found something.
    Violated {
        /// What, over all rounds.
        findings: BTreeMap<FindingKind, u64>,
    },
    /// It cannot be run there.
    Refused {
        /// Why.
        why: String,
    },
    /// A run could not be judged.
    Undecided {
        /// Why.
        why: String,
    },
    /// It sells nothing, so that it has no place in the ranking.
    SoldNothing,
    /// Nothing was measured yet.
    Missing,
}

/// A strategy in a setting, over all rounds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Row {
    /// The strategy.
    pub strategy: String,
    /// Runs that were measured.
    pub runs: usize,
    /// Sold orders per second.
    pub goodput_per_s: Estimate,
    /// Median latency of sold orders, in microseconds.
    pub p50_us: Estimate,
    /// Their 99th percentile.
    pub p99_us: Estimate,
    /// Attempts that concurrency control refused, from 0 to 1.
    pub conflict_rate: Estimate,
    /// Attempts after the first, for each order.
    pub retries_per_order: Estimate,
    /// Orders that ended as conflict, from 0 to 1.
    #[serde(default)]
    pub given_up: Estimate,
    /// Units in stock when the run was over, the least of any round.
    #[serde(default)]
    pub units_left: Option<u64>,
    /// Units sold twice, lost or made up, the most of any round.
    pub wrong_units: u64,
    /// Runs in which the stock ran out: goodput counts what was sold.
    pub ran_out: usize,
    /// Its goodput against the fastest of those that held; none for that one, and for
    /// those out of the ranking. The p is corrected for all of the setting's (Holm).
    pub against_best: Option<Change>,
    /// What is said of it.
    pub verdict: Verdict,
    /// Goodput, round by round.
    #[serde(skip)]
    pub goodputs: Vec<f64>,
}

impl Row {
    /// Whether it is in the ranking.
    pub fn held(&self) -> bool {
        self.verdict == Verdict::Held
    }
}

/// The strategies under one load on one database, the fastest of those that held first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// Where and under which load.
    pub setting: Setting,
    /// The strategies.
    pub rows: Vec<Row>,
}

impl Judged {
    /// Those that held, the fastest first.
    pub fn ranking(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.held())
    }

    /// The fastest of those that held, and those that cannot be told from it.
    pub fn best(&self) -> Vec<&Row> {
        let is_best = |row: &&Row| row.against_best.is_none_or(|change| !change.is_significant());
        self.ranking().filter(is_best).collect()
    }

    /// Those that are missing from the ranking though nothing was found against them.
    pub fn open(&self) -> Vec<&str> {
        let is_open = |row: &&Row| matches!(row.verdict, Verdict::Undecided { .. } | Verdict::Missing);
        self.rows.iter().filter(is_open).map(|row| row.strategy.as_str()).collect()
    }

    /// A strategy's row.
    pub fn row(&self, strategy: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.strategy == strategy)
    }
}

/// Databases, and the strategies whose files call them unsafe there.
pub type CalledUnsafe = BTreeSet<(String, String)>;

/// Judges every setting.
pub fn judge(matrix: &Matrix, samples: &[Sample], called_unsafe: &CalledUnsafe) -> Vec<Judged> {
    let caught = |database: &str, strategy: &str| {
        called_unsafe.contains(&(database.to_owned(), strategy.to_owned()))
            || samples.iter().any(|sample| {
                let is_it = sample.cell.setting.database == database && sample.cell.strategy == strategy;
                is_it && matches!(&sample.came_to, CameTo::Measured(figures) if !figures.findings.is_empty())
            })
    };
    let judged = |setting: Setting| {
        let of_setting: Vec<&Sample> =
            samples.iter().filter(|sample| sample.cell.setting == setting).collect();
        let row = |strategy: &String| {
            let of_row = of_setting.iter().filter(|sample| sample.cell.strategy == *strategy);
            let mut row = row(strategy, of_row.map(|sample| &sample.came_to));
            if row.held() && caught(&setting.database, strategy) {
                row.verdict = Verdict::NotCaughtHere;
            }
            row
        };
        let mut rows: Vec<Row> = matrix.strategies.iter().map(row).collect();
        rank(&mut rows);
        Judged { setting, rows }
    };
    matrix.settings().into_iter().map(judged).collect()
}

fn row<'s>(strategy: &str, came_to: impl Iterator<Item = &'s CameTo>) -> Row {
    let mut measured = Vec::new();
    let mut findings: BTreeMap<FindingKind, u64> = BTreeMap::new();
    let mut other = None;
    for came_to in came_to {
        match came_to {
            CameTo::Measured(figures) => {
                for (kind, count) in &figures.findings {
                    *findings.entry(*kind).or_default() += count;
                }
                measured.push(figures);
            }
            CameTo::Refused(why) => other = Some(Verdict::Refused { why: why.clone() }),
            CameTo::Undecided(why) => other = Some(Verdict::Undecided { why: why.clone() }),
        }
    }
    let verdict = match other {
        // What was found stays found, whatever else went wrong.
        _ if !findings.is_empty() => Verdict::Violated { findings },
        Some(other) => other,
        None if measured.is_empty() => Verdict::Missing,
        None if measured.iter().all(|figures| figures.goodput_per_s <= 0.0) => Verdict::SoldNothing,
        None => Verdict::Held,
    };
    let of = |figure: fn(&Figures) -> f64| -> Vec<f64> {
        measured.iter().map(|figures| figure(figures)).collect()
    };
    let estimate =
        |figure| if measured.is_empty() { Estimate::default() } else { stats::estimate(&of(figure)) };
    Row {
        strategy: strategy.to_owned(),
        runs: measured.len(),
        goodput_per_s: estimate(|figures| figures.goodput_per_s),
        p50_us: estimate(|figures| micros(figures.p50_us)),
        p99_us: estimate(|figures| micros(figures.p99_us)),
        conflict_rate: estimate(|figures| figures.conflict_rate),
        retries_per_order: estimate(|figures| figures.retries_per_order),
        given_up: estimate(|figures| figures.given_up),
        units_left: measured.iter().filter_map(|figures| figures.units_left).min(),
        wrong_units: measured.iter().map(|figures| figures.wrong_units).max().unwrap_or(0),
        ran_out: measured.iter().filter(|figures| figures.sold_out > 0).count(),
        against_best: None,
        verdict,
        goodputs: of(|figures| figures.goodput_per_s),
    }
}

#[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 microseconds")]
const fn micros(latency: u64) -> f64 {
    latency as f64
}

/// Those that held first, the fastest of them first of all.
fn rank(rows: &mut [Row]) {
    rows.sort_by(|one, other| {
        let by_goodput = other.goodput_per_s.median.total_cmp(&one.goodput_per_s.median);
        other.held().cmp(&one.held()).then(by_goodput)
    });
    let Some((best, others)) = rows.split_first_mut() else { return };
    let held = 1 + others.iter().filter(|row| row.held()).count();
    let mut changes: Vec<&mut Change> = others
        .iter_mut()
        .filter(|row| row.held())
        .map(|row| row.against_best.insert(stats::change(&row.goodputs, &best.goodputs)))
        .collect();
    stats::holm(&mut changes, stats::pairs(held));
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::matrix::tests::matrix;
    use super::*;

    pub(crate) fn sample(strategy: &str, skus: u64, goodput_per_s: f64) -> Sample {
        let setting = Setting { database: "postgres".to_owned(), rtt_us: 0, concurrency: 50, skus };
        Sample {
            cell: Cell { setting, strategy: strategy.to_owned(), round: 1, random_seed: 1 },
            came_to: CameTo::Measured(Figures {
                goodput_per_s,
                p50_us: 100,
                p99_us: 900,
                conflict_rate: 0.1,
                retries_per_order: 0.2,
                wrong_units: 0,
                sold_out: 0,
                given_up: 0.0,
                units_left: None,
                findings: BTreeMap::new(),
            }),
        }
    }

    pub(crate) fn samples(strategy: &str, skus: u64, goodput: f64) -> impl Iterator<Item = Sample> {
        [0.98, 1.0, 1.01, 0.99, 1.02].into_iter().map(move |by| sample(strategy, skus, goodput * by))
    }

    #[test]
    fn the_fastest_of_those_that_held_leads_and_who_was_caught_is_out() {
        let mut all: Vec<Sample> = samples("naive", 1, 900.0).collect();
        all.extend(samples("cas", 1, 100.0));
        all.extend(samples("atomic", 1, 200.0));
        if let CameTo::Measured(figures) = &mut all[2].came_to {
            figures.findings.insert(FindingKind::LostUpdate, 3);
            figures.wrong_units = 40;
        }
        // Where nobody met, nothing was found: it is out all the same.
        all.extend(samples("naive", 10, 900.0));
        all.extend(samples("atomic", 10, 500.0));
        let judged = judge(&matrix(&["naive", "cas", "atomic"], &[1, 10]), &all, &CalledUnsafe::new());
        let ranking: Vec<&str> = judged[0].ranking().map(|row| row.strategy.as_str()).collect();
        assert_eq!(ranking, ["atomic", "cas"]);
        assert_eq!(judged[0].best().len(), 1);
        let behind = judged[0].row("cas").unwrap().against_best.unwrap();
        assert!((behind.ratio - 0.5).abs() < 0.01 && behind.is_significant(), "{behind:?}");
        let naive = judged[0].row("naive").unwrap();
        assert_eq!((naive.wrong_units, naive.against_best), (40, None));
        assert!(matches!(&naive.verdict, Verdict::Violated { findings } if findings.len() == 1));
        assert_eq!(judged[1].row("naive").unwrap().verdict, Verdict::NotCaughtHere);
        assert_eq!(judged[1].row("cas").unwrap().verdict, Verdict::Missing);
        assert_eq!(judged[1].ranking().count(), 1);
    }

    #[test]
    fn what_is_called_unsafe_is_out_and_what_cannot_be_told_apart_leads_together() {
        let mut all: Vec<Sample> = samples("cas", 1, 100.0).collect();
        all.extend(samples("atomic", 1, 100.5));
        all.extend(samples("naive", 1, 300.0));
        let called_unsafe = CalledUnsafe::from([("postgres".to_owned(), "naive".to_owned())]);
        let judged = judge(&matrix(&["naive", "cas", "atomic"], &[1]), &all, &called_unsafe);
        assert_eq!(judged[0].best().len(), 2);
        assert_eq!(judged[0].row("naive").unwrap().verdict, Verdict::NotCaughtHere);
    }

    #[test]
    fn a_run_that_could_not_be_judged_is_out_and_says_why() {
        let mut all: Vec<Sample> = samples("cas", 1, 100.0).collect();
        all[1].came_to = CameTo::Undecided("the server is lost".to_owned());
        let judged = judge(&matrix(&["cas"], &[1]), &all, &CalledUnsafe::new());
        assert_eq!(judged[0].rows[0].verdict, Verdict::Undecided { why: "the server is lost".to_owned() });
        assert_eq!((judged[0].rows[0].runs, judged[0].best().len()), (4, 0));
    }
}
