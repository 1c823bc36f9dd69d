//! Medians with intervals, and whether two sets of figures differ.
//!
//! Rounds are few and their figures skewed: medians, the bootstrap's percentile
//! interval (Efron 1979) and the exact rank-sum test of Mann and Whitney (1947), which assume
//! no distribution; with several comparisons Holm's correction (1979).
//!
//! Of few rounds the bootstrap draws too narrow an interval: seven times out of eight it
//! holds the median of seven. So it is widened to the exact one that order statistics give,
//! of a median (Thompson 1936) and of a ratio (the values that the rank-sum test does not
//! refute), wherever that is the wider.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Draws of the bootstrap.
const RESAMPLES: usize = 4_000;

/// A difference is called one below this.
pub const SIGNIFICANT: f64 = 0.05;

/// Fewer rounds have no 95 % interval of a median: not even all of their range is one.
pub const ROUNDS_FOR_INTERVAL: usize = 6;

/// How rarely an interval may leave out what it is of.
const LEFT_OUT: f64 = 0.05;

/// A figure over all rounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    /// The median of the rounds.
    pub median: f64,
    /// The lower end of its 95 % interval; of fewer than six rounds, their least.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How one set of figures stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Its median, as a multiple of the other's.
    pub ratio: f64,
    /// The lower end of the ratio's 95 % interval; of fewer than four rounds, the least of
    /// their ratios.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How likely figures at least so far apart are, were there no difference; two-sided.
    pub p: f64,
}

impl Change {
    /// Whether the difference is called one.
    pub fn is_significant(&self) -> bool {
        self.p < SIGNIFICANT
    }
}

/// The median; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The most that is said of something against next to nothing.
const RATIO_MAX: f64 = 1e6;

/// One value as a multiple of another one: always a number, at most a million.
pub fn ratio(of: f64, against: f64) -> f64 {
    match (of > 0.0, against > 0.0) {
        (_, true) => (of / against).min(RATIO_MAX),
        (true, false) => RATIO_MAX,
        (false, false) => 1.0,
    }
}

/// The median with its interval. The same values give the same interval.
pub fn estimate(values: &[f64]) -> Estimate {
    let mut rng = ChaCha8Rng::seed_from_u64(values.len() as u64);
    let (low, high) = interval(|| median(&resampled(values, &mut rng)));
    let (least, most) = exact(values.to_vec(), &flips(values.len()));
    Estimate { median: median(values), low: low.min(least), high: high.max(most) }
}

/// How these figures stand to others.
pub fn change(of: &[f64], against: &[f64]) -> Change {
    let medians = |of: &[f64], against: &[f64]| ratio(median(of), median(against));
    let mut rng = ChaCha8Rng::seed_from_u64(of.len() as u64);
    let (low, high) = interval(|| {
        let of = resampled(of, &mut rng);
        medians(&of, &resampled(against, &mut rng))
    });
    let ratios = of.iter().flat_map(|one| against.iter().map(|other| ratio(*one, *other))).collect();
    let (least, most) = exact(ratios, &overtakings(of.len(), against.len()));
    let (low, high) = (low.min(least), high.max(most));
    Change { ratio: medians(of, against), low, high, p: mann_whitney(of, against) }
}

/// The middle of these values that holds what they are of in 95 % of all cases, `ways[k]`
/// being in how many of them k values lie below it; all of them where they are too few.
fn exact(mut values: Vec<f64>, ways: &[f64]) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let mut beyond = 0.0;
    let all: f64 = ways.iter().sum();
    let spared = ways.iter().take_while(|ways| {
        beyond += **ways;
        2.0 * beyond <= LEFT_OUT * all
    });
    let from = spared.count().saturating_sub(1);
    match values.get(from..values.len() - from.min(values.len())) {
        Some([only]) => (*only, *only),
        Some([least, .., most]) => (*least, *most),
        // Nothing is as wide as can be, and widens nothing.
        _ => (f64::INFINITY, f64::NEG_INFINITY),
    }
}

/// In how many of all cases k of so many values lie below their median.
fn flips(of: usize) -> Vec<f64> {
    let mut ways = vec![1.0];
    for _ in 0..of {
        let shifted = std::iter::once(0.0).chain(ways.iter().copied());
        ways = ways.iter().copied().chain([0.0]).zip(shifted).map(|(one, other)| one + other).collect();
    }
    ways
}

/// In how many of all orders of two sets without a difference k pairs have the one of the
/// first set behind.
fn overtakings(of: usize, against: usize) -> Vec<f64> {
    let ranks: Vec<usize> = (1..=of + against).collect();
    deals(&ranks, of).split_off(of * (of + 1) / 2)
}

/// The exact two-sided p of the rank-sum test: of all ways to deal the ranks out to two
/// sets of these sizes, the share whose rank sum is at least as far from the middle.
/// Equal figures share the middle of their ranks.
fn mann_whitney(of: &[f64], against: &[f64]) -> f64 {
    // Twice the rank, from 1, so that a half is whole.
    let rank = |value: &f64| -> usize {
        let all = || of.iter().chain(against);
        let below = all().filter(|other| *other < value).count();
        let equal = all().filter(|other| other.total_cmp(value).is_eq()).count();
        2 * below + equal + 1
    };
    let ranks: Vec<usize> = of.iter().chain(against).map(rank).collect();
    let of_one: usize = ranks[..of.len()].iter().sum();
    let middle = of.len() * (ranks.len() + 1);
    let ways = deals(&ranks, of.len());
    let as_far = ways.iter().enumerate().filter(|(sum, _)| sum.abs_diff(middle) >= of_one.abs_diff(middle));
    as_far.map(|(_, ways)| ways).sum::<f64>() / ways.iter().sum::<f64>()
}

/// In how many ways so many of the ranks add up to each sum.
fn deals(ranks: &[usize], of: usize) -> Vec<f64> {
    let of_all: usize = ranks.iter().sum();
    // ways[n][s]: so many sets of n of the ranks seen so far add up to s.
    let mut ways = vec![vec![0.0_f64; of_all + 1]; of + 1];
    ways[0][0] = 1.0;
    for rank in ranks {
        for size in (1..=of).rev() {
            for sum in (*rank..=of_all).rev() {
                ways[size][sum] += ways[size - 1][sum - rank];
            }
        }
    }
    ways.swap_remove(of)
}

/// The smallest p that so many rounds can come to, with so many comparisons: that of
/// figures which lie wholly apart.
pub fn least_p(rounds: usize, comparisons: usize) -> f64 {
    let rising: Vec<f64> = (0..2 * u32::try_from(rounds).unwrap_or(u32::MAX)).map(f64::from).collect();
    let (low, high) = rising.split_at(rounds);
    #[expect(clippy::cast_precision_loss, reason = "as many as there are strategies")]
    let comparisons = comparisons as f64;
    mann_whitney(low, high) * comparisons
}

/// Fewer seconds than this say nothing of a run.
const SECONDS_MIN: usize = 5;

/// A second of a run: how long it really was, which is its weight, and a figure of it.
pub type Weighed = (f64, f64);

/// The mean of seconds by their length; 0 of nothing.
pub fn mean_second(seconds: &[Weighed]) -> f64 {
    let in_all: f64 = seconds.iter().map(|(span, _)| span).sum();
    if in_all > 0.0 { seconds.iter().map(|(span, value)| span * value).sum::<f64>() / in_all } else { 0.0 }
}

/// The median of seconds by their length; 0 of nothing.
pub fn median_second(seconds: &[Weighed]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(|one, other| one.1.total_cmp(&other.1));
    let half = seconds.iter().map(|(span, _)| span).sum::<f64>() / 2.0;
    let mut passed = 0.0;
    let middle = sorted.iter().find(|(span, _)| {
        passed += span;
        passed >= half
    });
    middle.map_or(0.0, |(_, value)| *value)
}

/// The 95 % interval of the ratio of a figure of two runs' seconds. Seconds that follow each
/// other are alike, so that blocks of them are drawn (Kunsch 1989; their length the cube
/// root of the number of seconds); `None` where there are too few.
pub fn of_seconds(of: &[Weighed], against: &[Weighed], figure: fn(&[Weighed]) -> f64) -> Option<(f64, f64)> {
    // What is left at the end of a run is no second of its own.
    let whole = |seconds: &[Weighed]| seconds.iter().filter(|(span, _)| *span > 0.5).count();
    if whole(of).min(whole(against)) < SECONDS_MIN {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(of.len() as u64);
    let mut drawn = |seconds: &[Weighed]| {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "seconds of a run"
        )]
        let block = (seconds.len() as f64).cbrt().round() as usize;
        let mut drawn = Vec::with_capacity(seconds.len() + block);
        while drawn.len() < seconds.len() {
            let from = rng.random_range(0..=seconds.len() - block);
            drawn.extend_from_slice(&seconds[from..from + block]);
        }
        figure(&drawn)
    };
    Some(interval(|| ratio(drawn(of), drawn(against))))
}

/// How far a figure of one run's halves lies apart, as the larger's multiple of the
/// smaller (two batch means): what happens within a run can happen between two.
pub fn spread(seconds: &[Weighed], figure: fn(&[Weighed]) -> f64) -> f64 {
    let (first, second) = seconds.split_at(seconds.len() / 2);
    let (first, second) = (figure(first), figure(second));
    ratio(first.max(second), first.min(second))
}

/// Several tests at once, of a family of so many: each p as large as it must be for all
/// of them to be wrong together no more often than one alone.
pub fn holm(changes: &mut [&mut Change], family: usize) {
    changes.sort_by(|one, other| one.p.total_cmp(&other.p));
    let mut left = family.max(changes.len());
    let mut least = 0.0_f64;
    for change in changes {
        #[expect(clippy::cast_precision_loss, reason = "as many as there are strategies and loads")]
        let corrected = (change.p * left as f64).min(1.0);
        least = least.max(corrected);
        change.p = least;
        left -= 1;
    }
}

/// Pairs of so many: what a comparison with the best, who is chosen afterwards, is one of.
pub const fn pairs(of: usize) -> usize {
    of * of.saturating_sub(1) / 2
}

fn resampled(values: &[f64], rng: &mut impl Rng) -> Vec<f64> {
    values.iter().map(|_| *values.choose(rng).expect("there is at least this one")).collect()
}

/// The middle 95 % of what is drawn.
fn interval(draw: impl FnMut() -> f64) -> (f64, f64) {
    let mut drawn: Vec<f64> = std::iter::repeat_with(draw).take(RESAMPLES).collect();
    drawn.sort_by(f64::total_cmp);
    (drawn[RESAMPLES / 40], drawn[RESAMPLES - 1 - RESAMPLES / 40])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_lie_apart_differ_and_figures_that_do_not_do_not() {
        let slow = [100.0, 103.0, 99.0, 101.0, 98.0];
        let fast = [150.0, 149.0, 155.0, 151.0, 148.0];
        let apart = change(&fast, &slow);
        assert!((apart.ratio - 1.5).abs() < 0.01 && apart.low > 1.4 && apart.high < 1.6, "{apart:?}");
        // All of one above all of the other: 2 of the 252 ways to deal out ten ranks.
        assert!((apart.p - 2.0 / 252.0).abs() < 1e-9, "{apart:?}");
        // Two ways to a rank sum so low, and two to one so high; with equal figures eight.
        let (four, five) = ([1.1, 1.2, 1.3, 1.7], [1.4, 1.8, 1.9, 2.0, 2.1]);
        assert!((change(&four, &five).p - 4.0 / 126.0).abs() < 1e-9);
        assert!((change(&[1.0, 2.0, 2.0, 3.0], &[2.0, 4.0, 5.0, 5.0]).p - 8.0 / 70.0).abs() < 1e-9);
        let mixed = change(&[100.0, 104.0, 97.0, 102.5, 99.5], &slow);
        assert!(!mixed.is_significant() && mixed.low < 1.0 && mixed.high > 1.0, "{mixed:?}");
        assert!(!change(&[1.0], &[2.0]).is_significant());
        assert!(!change(&[], &[]).is_significant());
    }

    #[test]
    fn without_a_difference_one_is_seen_in_no_more_than_a_twentieth() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut figures = || -> Vec<f64> { (0..6).map(|_| rng.random_range(90.0..110.0)).collect() };
        let seen = (0..400).filter(|_| mann_whitney(&figures(), &figures()) < SIGNIFICANT).count();
        assert!(seen <= 25, "{seen} of 400");
    }

    /// Skewed, as figures of runs are: now and then one meets a checkpoint.
    fn skewed(rng: &mut ChaCha8Rng, of: usize) -> Vec<f64> {
        (0..of).map(|_| -rng.random_range(1e-6..1.0_f64).ln()).collect()
    }

    #[test]
    fn an_interval_holds_what_it_is_of_in_nineteen_of_twenty_cases() {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let truth = std::f64::consts::LN_2;
        for rounds in [7, 9] {
            let held = (0..200).map(|_| estimate(&skewed(&mut rng, rounds)));
            let held = held.filter(|of| of.low <= truth && truth <= of.high).count();
            assert!(held >= 186, "{held} of 200 medians of {rounds} rounds");
            let changes = (0..200).map(|_| change(&skewed(&mut rng, rounds), &skewed(&mut rng, rounds)));
            let held = changes.filter(|of| of.low <= 1.0 && 1.0 <= of.high).count();
            assert!(held >= 186, "{held} of 200 ratios of {rounds} rounds");
        }
    }

    #[test]
    fn so_few_rounds_have_no_interval() {
        let whole = |rounds: usize| flips(rounds)[0] * 2.0 <= LEFT_OUT * flips(rounds).iter().sum::<f64>();
        assert!(whole(ROUNDS_FOR_INTERVAL) && !whole(ROUNDS_FOR_INTERVAL - 1));
        // Of nine the second and the eighth: 1 - 2 (1 + 9) / 512 = 96.1 %.
        let nine = [9.0, 2.0, 7.0, 4.0, 5.0, 6.0, 3.0, 8.0, 1.0];
        assert_eq!(exact(nine.to_vec(), &flips(9)), (2.0, 8.0));
        // Of five against five the test refutes what has two of the 25 pairs beyond it.
        assert_eq!(overtakings(5, 5)[..4], [1.0, 1.0, 2.0, 3.0]);
        let pairs: Vec<f64> = (1..=25).map(f64::from).collect();
        assert_eq!(exact(pairs, &overtakings(5, 5)), (3.0, 23.0));
    }

    #[test]
    fn a_second_weighs_as_much_as_it_was_long() {
        let seconds = [(1.0, 100.0), (1.5, 60.0), (0.5, 20.0)];
        assert!((mean_second(&seconds) - 200.0 / 3.0).abs() < 1e-9);
        assert!((median_second(&seconds) - 60.0).abs() < 1e-9);
        assert!(mean_second(&[]).abs() < 1e-9 && median_second(&[]).abs() < 1e-9);
        assert_eq!(of_seconds(&seconds, &seconds, mean_second), None);
        assert!((spread(&[(1.0, 30.0), (1.0, 10.0), (1.0, 30.0)], mean_second) - 1.5).abs() < 1e-9);
        assert!((spread(&[], mean_second) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn several_comparisons_ask_more_of_each() {
        let of = |p| Change { ratio: 1.0, low: 1.0, high: 1.0, p };
        let (mut first, mut second, mut third) = (of(0.02), of(0.01), of(0.9));
        holm(&mut [&mut first, &mut second, &mut third], 3);
        assert!((second.p - 0.03).abs() < 1e-12 && (first.p - 0.04).abs() < 1e-12, "{first:?} {second:?}");
        assert!((third.p - 0.9).abs() < 1e-12);
    }

    #[test]
    fn a_median_lies_in_its_interval() {
        let values = [5.0, 1.0, 9.0, 3.0];
        let estimate = estimate(&values);
        assert!((estimate.median - 4.0).abs() < 1e-12);
        assert!(estimate.low <= estimate.median && estimate.median <= estimate.high);
        assert!(median(&[]).abs() < 1e-12);
    }
}
