//! What is ordered: seeded and pure, so that a run can be repeated and its
//! orders told again without having been kept.
//!
//! [`skew`] chooses SKUs, [`orders`] makes the n-th order, [`replay`] reads
//! orders from a file, [`segment`] says which of them are one process's. No I/O but the reading of that file.

pub mod arrivals;
pub mod orders;
pub mod replay;
pub mod segment;
pub mod skew;

use rand::{Rng, RngExt};

pub use orders::{Generated, OrderSource, Span};
pub use replay::Replay;
pub use segment::Segment;
pub use skew::Distribution;

/// Units in one line, at most: sums over any order stay far from overflow.
pub const QUANTITY_MAX: i64 = 1_000_000_000;

/// One purchase: all of its lines or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its id, the same for every delivery of it.
    pub id: i64,
    /// What is wanted, at least one line.
    pub lines: Vec<Line>,
}

/// One SKU of an order and how many units of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Which SKU.
    pub sku_id: i64,
    /// Units, at least one.
    pub quantity: i64,
}

impl Order {
    /// Units over all lines.
    pub fn units(&self) -> i64 {
        self.lines.iter().map(|line| line.quantity).sum()
    }
}

/// Whether something happens that happens this often, in percent.
pub fn chance(percent: u8, rng: &mut impl Rng) -> bool {
    rng.random_range(0..100_u8) < percent
}
