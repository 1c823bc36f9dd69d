//! The order stream: the n-th order is a function of the seed and n, whoever
//! asks for it and whenever.

use super::skew::{Distribution, SkuPicker};
use super::{Line, Order, QUANTITY_MAX, Replay};
use crate::db::schema::SkuIds;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Generated ids are the run's number times this, plus the order's number, so
/// that "70000000042" reads as order 42 of run 7. They stay below 2^53, which
/// every JSON reader keeps exact, for 900,000 runs.
pub const ORDERS_PER_RUN: i64 = 10_000_000_000;

/// What a client orders again under a new id has the number of the first order and
/// this: no run has so many orders.
const ORDERED_AGAIN: i64 = ORDERS_PER_RUN / 2;

/// A range of whole numbers, both ends included: `3` or `1..5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The smallest, at least 1.
    pub min: i64,
    /// The largest.
    pub max: i64,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let parsed = text.trim().parse::<i64>().ok().filter(|number| (1..=QUANTITY_MAX).contains(number));
            parsed.ok_or_else(|| format!("`{text}` is not a whole number from 1 to {QUANTITY_MAX}"))
        };
        let (min, max) = match text.split_once("..") {
            Some((min, max)) => (number(min)?, number(max.trim_start_matches('='))?),
            None => (number(text)?, number(text)?),
        };
        if min > max {
            return Err(format!("{min} is above {max}: write the smaller number first"));
        }
        Ok(Self { min, max })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max { write!(f, "{}", self.min) } else { write!(f, "{}..{}", self.min, self.max) }
    }
}

/// The order in which an order's lines are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LineOrder {
    /// By SKU, so that orders lock in the same order.
    Sorted,
    /// As they were drawn, or as they stand in the file.
    Given,
    /// At random: what a shop does that does not think of it.
    Shuffled,
}

/// Where orders come from.
#[derive(Debug)]
pub enum OrderSource {
    /// Made up, from the random seed.
    Generated(Generated),
    /// Read from a file.
    Replayed(Replay),
}

/// Draws for a line's SKU before the next unused one is taken instead.
const DRAWS_PER_LINE: usize = 32;

/// Made-up orders.
#[derive(Debug)]
pub struct Generated {
    sku_ids: SkuIds,
    picker: SkuPicker,
    lines: Span,
    quantity: Span,
}

impl Generated {
    /// Orders of `lines` distinct SKUs, `quantity` units of each.
    pub fn new(sku_ids: SkuIds, distribution: Distribution, lines: Span, quantity: Span, seed: u64) -> Self {
        let picker = SkuPicker::new(distribution, sku_ids.len(), seed);
        Self { sku_ids, picker, lines, quantity }
    }

    fn lines(&self, rng: &mut ChaCha8Rng) -> Vec<Line> {
        let wanted = usize::try_from(rng.random_range(self.lines.min..=self.lines.max)).unwrap_or(1);
        let mut lines: Vec<Line> = Vec::with_capacity(wanted);
        while lines.len() < wanted {
            let sku_id = self.unused_sku(&lines, rng);
            lines.push(Line { sku_id, quantity: rng.random_range(self.quantity.min..=self.quantity.max) });
        }
        lines
    }

    /// A SKU that no line names yet. Where demand is so skewed that drawing
    /// finds none, the next one in the table serves.
    fn unused_sku(&self, lines: &[Line], rng: &mut ChaCha8Rng) -> i64 {
        let is_unused = |sku_id: &i64| lines.iter().all(|line| line.sku_id != *sku_id);
        let mut position = self.picker.pick(rng);
        for _ in 0..DRAWS_PER_LINE {
            let sku_id = self.sku_ids.get(position);
            if is_unused(&sku_id) {
                return sku_id;
            }
            position = self.picker.pick(rng);
        }
        let count = self.sku_ids.len();
        let mut following = (0..count).map(|step| self.sku_ids.get((position + step) % count));
        following.find(is_unused).expect("an order has no more lines than there are SKUs")
    }
}

/// The stream of orders that a run sends, by number from 0.
#[derive(Debug)]
pub struct OrderStream {
    /// Where they come from.
    pub source: OrderSource,
    /// How their lines are ordered.
    pub line_order: LineOrder,
    /// The seed that all chance comes from.
    pub seed: u64,
    /// The run's number, for generated ids.
    pub run_id: i64,
}

impl OrderStream {
    /// The n-th order once more, under an id of its own.
    pub fn order_again(&self, n: u64) -> Order {
        let order = self.order(n);
        Order { id: order.id + ORDERED_AGAIN, ..order }
    }

    /// The n-th order, always the same.
    pub fn order(&self, n: u64) -> Order {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(n);
        let mut order = match &self.source {
            OrderSource::Generated(generated) => {
                let number = i64::try_from(n + 1).unwrap_or(i64::MAX);
                Order { id: self.run_id * ORDERS_PER_RUN + number, lines: generated.lines(&mut rng) }
            }
            OrderSource::Replayed(replay) => replay.order(n),
        };
        match self.line_order {
            LineOrder::Sorted => order.lines.sort_unstable(),
            LineOrder::Given => {}
            LineOrder::Shuffled => order.lines.shuffle(&mut rng),
        }
        order
    }

    /// How many orders there are, if they end by themselves.
    pub fn orders(&self) -> Option<u64> {
        match &self.source {
            OrderSource::Generated(_) => None,
            OrderSource::Replayed(replay) => Some(replay.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u64) -> OrderStream {
        let span = |min, max| Span { min, max };
        let generated = Generated::new(SkuIds::UpTo(20), Distribution::Uniform, span(1, 4), span(1, 9), seed);
        OrderStream {
            source: OrderSource::Generated(generated),
            line_order: LineOrder::Sorted,
            seed,
            run_id: 7,
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_orders_in_any_sequence() {
        let forwards: Vec<Order> = (0..100).map(|n| stream(42).order(n)).collect();
        let backwards: Vec<Order> = (0..100).rev().map(|n| stream(42).order(n)).collect();
        assert!(forwards.iter().eq(backwards.iter().rev()));
        assert_ne!(forwards, (0..100).map(|n| stream(43).order(n)).collect::<Vec<_>>());
        assert_eq!(forwards[41].id, 70_000_000_042);
    }

    #[test]
    fn orders_have_the_lines_and_quantities_asked_for() {
        for n in 0..500 {
            let order = stream(1).order(n);
            assert!((1..=4).contains(&order.lines.len()));
            assert!(order.lines.iter().all(|line| (1..=9).contains(&line.quantity)));
            assert!(order.lines.is_sorted_by(|a, b| a.sku_id < b.sku_id), "sorted and distinct");
        }
    }

    #[test]
    fn spans_are_read_and_bad_ones_refused() {
        assert_eq!("3".parse(), Ok(Span { min: 3, max: 3 }));
        assert_eq!("1..5".parse(), Ok(Span { min: 1, max: 5 }));
        for text in ["0", "-1", "5..1", "0..3", "x", "1..", ""] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
