//! When the stock of a run was sold out: from then on nothing was measured but refusals.

use super::config::Config;
use super::measured::Measured;
use crate::audit::AuditReport;
use crate::text;

/// When a run found that there was no stock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum SoldOut {
    /// All of it, so many seconds after the start.
    All(f64),
    /// Of some SKUs, or none that anybody knows of: the first order was refused by then.
    InPart(f64),
}

impl SoldOut {
    /// Nothing where no order was refused for it.
    pub(super) fn of(measured: &Measured, audit: Option<&AuditReport>) -> Option<Self> {
        let first_refusal = measured.first_refusal_s?;
        let all = measured.last_sale_s.filter(|_| audit.and_then(AuditReport::units_left) == Some(0));
        Some(all.map_or(Self::InPart(first_refusal), Self::All))
    }

    /// `after 0.20 s of 6.00 s`
    pub(super) fn figures(self, elapsed_s: f64) -> String {
        match self {
            Self::All(at) => {
                format!("after {at:.2} s of {elapsed_s:.2} s: from then on orders were only refused")
            }
            Self::InPart(at) => {
                format!(
                    "not all of it: the first order was refused as sold_out after {at:.2} s of {elapsed_s:.2} s"
                )
            }
        }
    }
}

/// How much was seeded because nobody said how much there is.
pub(super) fn seeded_to_last(config: &Config, measured: &Measured) -> String {
    let units = text::count(u64::try_from(config.stock).unwrap_or(0), "unit");
    let untried = if measured.first_refusal_s.is_some() { "" } else { ", so that nobody met the last one" };
    format!("{units} of each SKU seeded, as many as do not run out{untried} (no --stock was given)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_and_a_part_are_told_apart() {
        let all = SoldOut::All(0.2).figures(6.0);
        assert_eq!(all, "after 0.20 s of 6.00 s: from then on orders were only refused");
        let part = SoldOut::InPart(0.2).figures(6.0);
        assert!(part.starts_with("not all of it") && part.ends_with("after 0.20 s of 6.00 s"), "{part}");
    }
}
