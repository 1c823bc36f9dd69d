//! Which SKU a line asks for: every SKU alike, a few far more than the rest.

use crate::text;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Zipf};
use std::fmt;
use std::str::FromStr;

/// How demand is spread over the SKUs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Every SKU is as likely.
    Uniform,
    /// The k-th most wanted SKU is wanted 1/k^s as often as the first.
    Zipfian {
        /// The exponent, above 0.
        s: f64,
    },
    /// A share of the SKUs receives a share of the lines.
    Hotspot {
        /// Hot share of the SKUs, above 0 and up to 1.
        data: f64,
        /// Share of the lines that go to them, from 0 to 1.
        operations: f64,
    },
}

/// The exponent of YCSB's zipfian generator.
const ZIPFIAN_DEFAULT: f64 = 0.99;

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, parameters) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let number = |text: &str| text.trim().parse::<f64>().map_err(|_| format!("`{text}` is not a number"));
        match (name, parameters) {
            ("uniform", None) => Ok(Self::Uniform),
            ("zipfian", parameter) => {
                let s = parameter.map_or(Ok(ZIPFIAN_DEFAULT), number)?;
                if s.is_finite() && s > 0.0 {
                    Ok(Self::Zipfian { s })
                } else {
                    Err("the exponent of zipfian:S must be above 0".to_owned())
                }
            }
            ("hotspot", Some(parameters)) => {
                let (data, operations) =
                    parameters.split_once(',').ok_or("hotspot needs DATA,OPS, as in hotspot:0.1,0.9")?;
                let (data, operations) = (number(data)?, number(operations)?);
                if data > 0.0 && data <= 1.0 && (0.0..=1.0).contains(&operations) {
                    Ok(Self::Hotspot { data, operations })
                } else {
                    Err("hotspot:DATA,OPS takes two shares between 0 and 1, as in hotspot:0.1,0.9".to_owned())
                }
            }
            _ => {
                let suggestion = text::did_you_mean(name, ["uniform", "zipfian", "hotspot"]);
                Err(format!("expected uniform, zipfian[:S] or hotspot:DATA,OPS{suggestion}"))
            }
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Zipfian { s } => write!(f, "zipfian:{s}"),
            Self::Hotspot { data, operations } => write!(f, "hotspot:{data},{operations}"),
        }
    }
}

/// Draws positions of SKUs; which SKUs are hot depends on the seed, so that
/// they do not lie side by side in the table.
#[derive(Debug)]
pub struct SkuPicker {
    count: usize,
    rule: Rule,
    by_rank: Vec<u32>,
}

#[derive(Debug)]
enum Rule {
    Uniform,
    Zipfian(Zipf<f64>),
    Hotspot { hot: usize, operations: f64 },
}

impl SkuPicker {
    /// A picker over `count` SKUs (at least 1, at most 2^32 - 1).
    pub fn new(distribution: Distribution, count: usize, seed: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "fewer than 2^32 SKUs")]
        let count_f64 = count as f64;
        let rule = match distribution {
            Distribution::Uniform => Rule::Uniform,
            Distribution::Zipfian { s } => {
                Rule::Zipfian(Zipf::new(count_f64, s).expect("the exponent was checked when it was parsed"))
            }
            Distribution::Hotspot { data, operations } => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a share of the count"
                )]
                let hot = ((count_f64 * data).round() as usize).clamp(1, count);
                Rule::Hotspot { hot, operations }
            }
        };
        let mut by_rank = Vec::new();
        if !matches!(rule, Rule::Uniform) {
            by_rank.extend(0..u32::try_from(count).unwrap_or(u32::MAX));
            by_rank.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        }
        Self { count, rule, by_rank }
    }

    /// A position from 0 to the number of SKUs.
    pub fn pick(&self, rng: &mut impl Rng) -> usize {
        let rank = match &self.rule {
            Rule::Uniform => return rng.random_range(0..self.count),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rank between 1 and count"
            )]
            Rule::Zipfian(zipf) => zipf.sample(rng) as usize - 1,
            Rule::Hotspot { hot, operations } => {
                if *hot == self.count || rng.random_bool(*operations) {
                    rng.random_range(0..*hot)
                } else {
                    rng.random_range(*hot..self.count)
                }
            }
        };
        self.by_rank[rank.min(self.count - 1)] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share_of_top(distribution: Distribution, count: usize, top: usize) -> f64 {
        let picker = SkuPicker::new(distribution, count, 7);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut drawn = vec![0_u32; count];
        for _ in 0..100_000 {
            drawn[picker.pick(&mut rng)] += 1;
        }
        drawn.sort_unstable_by(|a, b| b.cmp(a));
        f64::from(drawn[..top].iter().sum::<u32>()) / 100_000.0
    }

    #[test]
    fn demand_is_spread_as_the_distribution_says() {
        assert!(share_of_top(Distribution::Uniform, 100, 10) < 0.15);
        let hot = share_of_top(Distribution::Hotspot { data: 0.1, operations: 0.9 }, 100, 10);
        assert!((0.88..0.92).contains(&hot), "{hot}");
        // At exponent 1 the top 10 of 100 have H(10)/H(100) = 2.929/5.187 of the demand.
        let zipf = share_of_top(Distribution::Zipfian { s: 1.0 }, 100, 10);
        assert!((0.55..0.58).contains(&zipf), "{zipf}");
    }

    #[test]
    fn a_distribution_reads_back_as_it_is_written() {
        for text in ["uniform", "zipfian:1.2", "hotspot:0.1,0.9"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        for text in ["zipf", "zipfian:0", "zipfian:x", "hotspot", "hotspot:0,1", "uniform:3"] {
            assert!(text.parse::<Distribution>().is_err(), "{text}");
        }
    }
}
