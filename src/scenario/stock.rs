//! How many units of each SKU are seeded where nobody says. A run of so many orders is a flash
//! sale, which is to see the last unit go. One that goes on for a time, or at a rate, is there
//! to be measured: stock that runs out would end the measurement early.

use crate::workload::Distribution;
use crate::workload::arrivals::Pace;
use crate::workload::orders::Span;
use std::time::Duration;

/// Units of each SKU for a flash sale.
const FLASH_SALE: i64 = 100;

/// More orders per second than any database here has been seen to sell in a closed loop.
const CLOSED_LOOP_PER_S: f64 = 100_000.0;

/// What a run will ask for.
pub(super) struct Demand<'d> {
    pub(super) pace: &'d Pace,
    pub(super) orders: Option<u64>,
    pub(super) duration: Option<Duration>,
    pub(super) warmup: Option<Duration>,
    pub(super) skus: usize,
    pub(super) lines: Span,
    pub(super) quantity: Span,
    pub(super) dist: Distribution,
}

/// Units of each SKU, and whether they were chosen so as to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stock {
    pub(super) units: i64,
    pub(super) lasts: bool,
}

impl Demand<'_> {
    /// What is seeded where nobody says.
    pub(super) fn stock(&self) -> Stock {
        let rate = match self.pace {
            Pace::Open { rate, .. } => Some(rate.peak()),
            Pace::Closed { .. } => None,
        };
        if self.duration.is_none() && rate.is_none() {
            return Stock { units: FLASH_SALE, lasts: false };
        }

        Stock { units: self.enough(rate.unwrap_or(CLOSED_LOOP_PER_S)).max(FLASH_SALE), lasts: true }
    }

    /// All that can be asked for, spread over the SKUs with room for chance; where some are
    /// wanted more than others, each has enough for all of it.
    fn enough(&self, per_s: f64) -> i64 {
        let seconds = |duration: Option<Duration>| duration.unwrap_or_default().as_secs_f64();
        let measured = self.orders.map_or_else(|| per_s * seconds(self.duration), as_f64);
        let units =
            (measured + per_s * seconds(self.warmup)) * as_f64(self.lines.max) * as_f64(self.quantity.max);
        let per_sku = match self.dist {
            Distribution::Uniform => 2.0 * units / as_f64(self.skus.max(1)),
            Distribution::Zipfian { .. } | Distribution::Hotspot { .. } => units,
        };
        #[expect(clippy::cast_possible_truncation, reason = "no more than fits is asked for")]
        let per_sku = per_sku.ceil().min(f64::from(u32::MAX)) as i64;
        per_sku
    }
}

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "a rough number is enough")]
fn as_f64(count: impl TryInto<i64>) -> f64 {
    count.try_into().unwrap_or(i64::MAX) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::arrivals::{Profile, Spacing};

    const SECOND: Option<Duration> = Some(Duration::from_secs(1));

    fn demand(pace: &Pace) -> Demand<'_> {
        let one = Span { min: 1, max: 1 };
        Demand {
            pace,
            orders: None,
            duration: None,
            warmup: None,
            skus: 4,
            lines: one,
            quantity: one,
            dist: Distribution::Uniform,
        }
    }

    #[test]
    fn so_many_orders_are_a_flash_sale() {
        let closed = Pace::Closed { clients: Profile::constant(50.0, None) };
        let sale = Demand { orders: Some(2_000), ..demand(&closed) };
        assert_eq!(sale.stock(), Stock { units: 100, lasts: false });
    }

    #[test]
    fn what_goes_on_for_a_time_or_at_a_rate_does_not_sell_out() {
        let closed = Pace::Closed { clients: Profile::constant(50.0, SECOND) };
        assert_eq!(
            Demand { duration: SECOND, ..demand(&closed) }.stock(),
            Stock { units: 50_000, lasts: true }
        );
        let open = Pace::Open { rate: Profile::constant(500.0, SECOND), spacing: Spacing::Poisson };
        let of = |demand: Demand<'_>| demand.stock().units;
        assert_eq!(of(Demand { duration: Some(Duration::from_secs(10)), ..demand(&open) }), 2_500);
        assert_eq!(of(Demand { orders: Some(1_000), ..demand(&open) }), 500);
        let warm = Demand { orders: Some(1_000), warmup: SECOND, ..demand(&open) };
        assert_eq!(of(warm), 750);
        let skewed = Demand {
            orders: Some(1_000),
            dist: Distribution::Zipfian { s: 1.0 },
            lines: Span { min: 1, max: 2 },
            quantity: Span { min: 1, max: 5 },
            ..demand(&open)
        };
        assert_eq!(of(skewed), 10_000, "the most wanted SKU may be all that is wanted");
    }
}
