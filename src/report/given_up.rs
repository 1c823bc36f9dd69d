//! Orders that were given up: refused by concurrency control until their tries or their time
//! ran out. No audit calls that a violation, and a shop that does it while it still has
//! stock sells less than it could.

use super::config::Config;
use super::measured::Measured;
use crate::audit::AuditReport;
use crate::outcome::Outcome;
use crate::text;

/// The orders that a run gave up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GivenUp {
    orders: u64,
    deliveries: u64,
    /// Their share of all orders, from 0 to 1.
    share: f64,
    /// Units in stock when the run was over, where the audit knows.
    units_left: Option<u64>,
}

impl GivenUp {
    /// Nothing where no order was given up.
    pub(super) fn of(measured: &Measured, audit: Option<&AuditReport>) -> Option<Self> {
        let orders = measured.count(Outcome::Conflict);
        (orders > 0).then(|| Self {
            orders,
            deliveries: measured.deliveries,
            share: measured.given_up,
            units_left: audit.and_then(AuditReport::units_left),
        })
    }

    /// Whether nothing was left that these orders could have bought.
    pub(super) fn sold_out_anyway(&self) -> bool {
        self.units_left == Some(0)
    }

    /// `1,994 orders (99.7 %), with 294 units left in stock`
    pub(super) fn figures(&self) -> String {
        let stock = match self.units_left {
            None => String::new(),
            Some(0) => "; the stock was sold out all the same".to_owned(),
            Some(units) => format!(", with {} left in stock", text::count(units, "unit")),
        };
        format!("{} ({}){stock}", text::count(self.orders, "order"), percent(self.share))
    }

    /// What the verdict says of it.
    pub(super) fn verdict(&self) -> String {
        let left = self.units_left.map_or_else(String::new, |units| {
            let were = if units == 1 { "was" } else { "were" };
            format!(" while {} {were} left in stock", text::count(units, "unit"))
        });
        format!(
            "{} of {} orders ({}) GIVEN UP as conflict{left}",
            text::thousands(self.orders),
            text::thousands(self.deliveries),
            percent(self.share)
        )
    }
}

/// What helps against orders that are given up.
pub(super) fn advice(config: &Config) -> String {
    let clients = text::count(config.concurrency, "client");
    let skus = text::count(config.skus, "SKU");
    let [shortest, longest] = config.retry_delay_us.map(text::micros);
    let limit = match config.tries {
        0 => "when the time for their retries was over".to_owned(),
        1 => "after their only try".to_owned(),
        tries => format!("after {tries} tries, {shortest} to {longest} apart"),
    };

    format!(
        "orders were given up {limit}: {clients} on {skus} refuse each other faster than they sell. What helps: more \
         tries and longer waits (--max-tries 0 tries until an order is decided, --retry-delay 20ms,500ms), fewer clients \
         at once, or a strategy that waits for its turn: one that locks the row before it reads, or deducts in one \
         statement"
    )
}

/// A share in percent; one that is not nothing does not look like it.
pub(super) fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.0005 { "under 0.1 %".to_owned() } else { format!("{:.1} %", share * 100.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: GivenUp = GivenUp { orders: 1_994, deliveries: 2_000, share: 0.997, units_left: Some(294) };

    #[test]
    fn the_figures_say_how_many_and_what_was_left() {
        assert_eq!(MANY.figures(), "1,994 orders (99.7 %), with 294 units left in stock");
        let one = GivenUp { orders: 1, deliveries: 50_000, share: 0.000_02, units_left: Some(1) };
        assert_eq!(one.figures(), "1 order (under 0.1 %), with 1 unit left in stock");
        let sold_out = GivenUp { units_left: Some(0), ..MANY };
        assert_eq!(sold_out.figures(), "1,994 orders (99.7 %); the stock was sold out all the same");
        assert!(sold_out.sold_out_anyway() && !MANY.sold_out_anyway());
    }

    #[test]
    fn the_verdict_is_loud_and_claims_no_stock_that_nobody_counted() {
        let said = "1,994 of 2,000 orders (99.7 %) GIVEN UP as conflict";
        assert_eq!(MANY.verdict(), format!("{said} while 294 units were left in stock"));
        assert_eq!(GivenUp { units_left: None, ..MANY }.verdict(), said);
    }

    #[test]
    fn a_small_share_is_not_nothing() {
        assert_eq!(percent(0.000_02), "under 0.1 %");
        assert_eq!(percent(0.0), "0.0 %");
    }
}
