//! Which drawn values are explored: every combination where they are few, and a
//! sample of them beyond. Pure.
//!
//! The sample is every combination of a few values of each range, its ends first:
//! a race needs clients that meet on one value, or pass each other by a hair, and
//! seldom the very value 7. A few combinations from the whole ranges come on top.

use crate::strategy::Program;
use crate::strategy::program::Draw;
use crate::text;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeSet;

/// Combinations that are explored where there are more.
const SAMPLE_MAX: u64 = 60;

/// Combinations of a sample that come from the whole ranges.
const FROM_WHOLE_RANGES: u64 = 8;

/// The values of one order, one for each draw.
pub type Values = Vec<i64>;

/// The drawn values that an exploration tries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DrawnValues {
    /// What is drawn for each order.
    pub draws: Vec<DrawnValue>,
    /// Combinations of values over all clients that are explored.
    pub explored: u64,
    /// Combinations that there are, at most.
    pub possible: u64,
    /// Whether every one of them is explored.
    pub complete: bool,
    /// The combinations that are explored: of each the clients' values, in the order of
    /// `draws`.
    pub combinations: Vec<Vec<Values>>,
}

/// One of the values that are drawn for each order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DrawnValue {
    /// Its name.
    pub name: String,
    /// The smallest value it can have.
    pub min: i64,
    /// The largest.
    pub max: i64,
    /// The values of which every combination is explored.
    pub combined: Vec<i64>,
}

/// Whose values are combined.
#[derive(Debug, Clone, Copy)]
pub(super) struct Orders {
    /// Orders that have values of their own.
    pub(super) count: usize,
    /// Whether it makes no difference which of them has which values.
    pub(super) are_alike: bool,
}

impl DrawnValues {
    /// Chooses the values; the seed decides those that come from the whole ranges.
    pub(super) fn choose(program: &Program, orders: Orders, random_seed: u64) -> Self {
        let draws = &program.draws;
        let possible = combinations(possible_values(draws), orders);
        let widths = widths(draws, orders, if possible <= SAMPLE_MAX { possible } else { SAMPLE_MAX });
        let domains: Vec<Vec<i64>> =
            draws.iter().zip(&widths).map(|(draw, width)| domain(draw, *width)).collect();
        let mut combined = combine(&values(draws, &domains), orders);

        if possible > SAMPLE_MAX {
            let more =
                (0..FROM_WHOLE_RANGES).map(|stream| from_ranges(program, orders, (random_seed, stream)));
            combined.extend(more);
        }
        if orders.are_alike {
            for clients in &mut combined {
                clients.sort();
            }
        }
        let mut known = BTreeSet::new();
        combined.retain(|clients| known.insert(clients.clone()));
        // Clients that meet on the same values race most.
        combined.sort_by_key(|clients| clients.iter().collect::<BTreeSet<_>>().len());

        let explored = combined.len() as u64;
        let draws = draws.iter().zip(domains).map(|(draw, mut combined)| {
            combined.sort_unstable();
            DrawnValue { name: draw.name.clone(), min: draw.min, max: draw.max, combined }
        });
        Self {
            draws: draws.collect(),
            explored,
            possible,
            complete: possible <= SAMPLE_MAX,
            combinations: combined,
        }
    }
}

impl DrawnValues {
    /// What is drawn, and which values are explored, in words; nothing where nothing is
    /// drawn.
    pub fn in_words(&self, random_seed: u64) -> Option<String> {
        if self.draws.is_empty() {
            return None;
        }
        let ranges = self.draws.iter().map(|draw| format!("{} {}..{}", draw.name, draw.min, draw.max));
        let ranges = ranges.collect::<Vec<_>>().join(", ");
        if self.complete {
            return Some(format!(
                "{ranges}; every one of {} is explored",
                text::count(self.possible, "combination")
            ));
        }

        let combined = self.draws.iter().map(|draw| {
            let values: Vec<String> = draw.combined.iter().map(ToString::to_string).collect();
            format!("{} {}", draw.name, values.join(" or "))
        });
        Some(format!(
            "{ranges}; of at most {} {} are explored: every one of {}, and {FROM_WHOLE_RANGES} drawn from the whole \
             ranges (--random-seed {random_seed})",
            text::count(self.possible, "combination"),
            text::thousands(self.explored),
            combined.collect::<Vec<_>>().join(", ")
        ))
    }

    /// What of the drawn values is not explored, if anything.
    pub fn not_covered(&self) -> Option<String> {
        (!self.complete).then(|| {
            format!(
                "drawn values: {} of at most {} were explored",
                text::thousands(self.explored),
                text::count(self.possible, "combination")
            )
        })
    }
}

fn size(draw: &Draw) -> u64 {
    draw.max.abs_diff(draw.min).saturating_add(1)
}

/// How many values one order can be given, at most.
fn possible_values(draws: &[Draw]) -> u64 {
    draws.iter().fold(1, |product: u64, draw| {
        let is_same_range = |other: usize| (draws[other].min, draws[other].max) == (draw.min, draw.max);
        let excluded = u64::from(draw.not.is_some_and(is_same_range));
        product.saturating_mul(size(draw) - excluded)
    })
}

/// How many combinations so many values are over the orders.
fn combinations(values: u64, orders: Orders) -> u64 {
    let count = orders.count as u64;
    if !orders.are_alike {
        return (0..count).fold(1, |product: u64, _| product.saturating_mul(values));
    }
    let chosen = (0..u128::from(count)).try_fold(1_u128, |product, taken| {
        Some(product.checked_mul(u128::from(values) + taken)? / (taken + 1))
    });
    chosen.and_then(|chosen| u64::try_from(chosen).ok()).unwrap_or(u64::MAX)
}

/// How many values of each range are combined: as many as the limit allows, shared
/// evenly.
fn widths(draws: &[Draw], orders: Orders, max: u64) -> Vec<u64> {
    // What differs from another value needs a second one.
    let mut widths: Vec<u64> = draws.iter().map(|draw| if draw.not.is_some() { 2 } else { 1 }).collect();
    let count = |widths: &[u64]| {
        let domains: Vec<Vec<i64>> =
            draws.iter().zip(widths).map(|(draw, width)| domain(draw, *width)).collect();
        combinations(values(draws, &domains).len() as u64, orders)
    };

    let mut grew = true;
    while grew {
        grew = false;
        for index in 0..draws.len() {
            let mut wider = widths.clone();
            wider[index] += 1;
            if wider[index] <= size(&draws[index]) && count(&wider) <= max {
                widths = wider;
                grew = true;
            }
        }
    }
    widths
}

/// So many values of a range: its ends, and then those next to them.
fn domain(draw: &Draw, width: u64) -> Vec<i64> {
    let step = |number: u64| i64::try_from(number / 2).unwrap_or(i64::MAX);
    let value = |number: u64| {
        if number.is_multiple_of(2) { draw.min + step(number) } else { draw.max - step(number) }
    };
    (0..width.min(size(draw))).map(value).collect()
}

/// Every way to give one order values out of the domains.
fn values(draws: &[Draw], domains: &[Vec<i64>]) -> Vec<Values> {
    let longer = |known: Vec<Values>, domain: &Vec<i64>| -> Vec<Values> {
        let with_each = |before: &Values| {
            let before = before.clone();
            domain.iter().map(move |value| before.iter().copied().chain([*value]).collect())
        };
        known.iter().flat_map(with_each).collect()
    };
    let mut all = domains.iter().fold(vec![Vec::new()], longer);
    let differs = |values: &Values, (index, draw): (usize, &Draw)| {
        draw.not.is_none_or(|other| values[other] != values[index])
    };
    all.retain(|values| draws.iter().enumerate().all(|draw| differs(values, draw)));
    all
}

/// Every way to share values out among the orders.
fn combine(values: &[Values], orders: Orders) -> Vec<Vec<Values>> {
    let mut chosen: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..orders.count {
        let longer = chosen.iter().flat_map(|before| {
            let from = if orders.are_alike { before.last().copied().unwrap_or(0) } else { 0 };
            (from..values.len()).map(move |index| before.iter().copied().chain([index]).collect())
        });
        chosen = longer.collect();
    }
    chosen.into_iter().map(|chosen| chosen.into_iter().map(|index| values[index].clone()).collect()).collect()
}

fn from_ranges(program: &Program, orders: Orders, (seed, stream): (u64, u64)) -> Vec<Values> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    (0..orders.count).map(|_| program.draw(&mut rng)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(range: (i64, i64), not: Option<usize>) -> Draw {
        Draw { name: "a".to_owned(), min: range.0, max: range.1, not }
    }

    const ALIKE: Orders = Orders { count: 2, are_alike: true };
    const APART: Orders = Orders { count: 2, are_alike: false };

    #[test]
    fn combinations_are_counted_as_they_are_made() {
        let draws = [draw((1, 3), None), draw((1, 3), Some(0))];
        let domains: Vec<Vec<i64>> = draws.iter().map(|draw| domain(draw, 3)).collect();
        let values = values(&draws, &domains);
        assert_eq!((values.len() as u64, possible_values(&draws)), (6, 6));
        assert_eq!(combine(&values, ALIKE).len() as u64, combinations(6, ALIKE));
        assert_eq!(combine(&values, APART).len() as u64, combinations(6, APART));
        assert_eq!((combinations(6, ALIKE), combinations(6, APART)), (21, 36));
        assert_eq!(combinations(u64::MAX, APART), u64::MAX);
        assert_eq!(combinations(u64::MAX, Orders { count: 4, are_alike: true }), u64::MAX);
    }

    #[test]
    fn a_sample_takes_the_ends_of_each_range_first() {
        let draws = [draw((1, 12), None), draw((1, 12), Some(0)), draw((1, 30), None)];
        let widths = widths(&draws, ALIKE, SAMPLE_MAX);
        assert!(widths.iter().all(|width| *width >= 2), "{widths:?}");
        assert_eq!(domain(&draws[0], 3), [1, 12, 2]);
        assert_eq!(domain(&draw((i64::MIN, i64::MAX), None), 2), [i64::MIN, i64::MAX]);
        assert_eq!(domain(&draw((5, 5), None), 3), [5]);
    }
}
