//! A part of a run: several processes, on one machine or many, share its clients, its
//! connections, its orders and their arrivals, so that together they are that run.
//!
//! What has a number in the whole run (an order, an arrival, a client) belongs to the
//! segment that the number leaves when it is divided by the number of segments.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The most segments that a run can have.
pub const SEGMENTS_MAX: u64 = 256;

/// The k-th of n parts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct Segment {
    /// Which one, from 1.
    pub number: u64,
    /// How many there are.
    pub of: u64,
}

impl Segment {
    /// All of a run.
    pub const WHOLE: Self = Self { number: 1, of: 1 };

    /// Whether there can be such a one.
    pub const fn is_one(&self) -> bool {
        1 <= self.number && self.number <= self.of && self.of <= SEGMENTS_MAX
    }

    /// The number in the whole run of what is this segment's own `own`-th, from 0.
    pub const fn in_whole(self, own: u64) -> u64 {
        own.saturating_mul(self.of).saturating_add(self.number - 1)
    }

    /// How many of so many are this segment's; those of all segments add up to all.
    pub const fn share(self, all: u64) -> u64 {
        all / self.of + (self.number <= all % self.of) as u64
    }
}

impl FromStr for Segment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(number, of)| {
            Some(Self { number: number.trim().parse().ok()?, of: of.trim().parse().ok()? })
        });
        parsed.filter(Self::is_one).ok_or_else(|| {
            format!(
                "expected K/N, as in 2/8: the K-th of N segments, of which there are at most {SEGMENTS_MAX}"
            )
        })
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn segments_are_disjoint_and_together_the_whole() {
        for (of, all) in [(1, 7), (3, 7), (8, 8), (8, 80), (8, 5), (5, 0)] {
            let segments = (1..=of).map(|number| Segment { number, of });
            let numbers: Vec<u64> = segments
                .flat_map(|segment| (0..segment.share(all)).map(move |own| segment.in_whole(own)))
                .collect();
            assert_eq!(numbers.len() as u64, all);
            assert!(numbers.into_iter().collect::<BTreeSet<u64>>().into_iter().eq(0..all));
        }
    }

    #[test]
    fn what_is_no_segment_is_refused() {
        assert_eq!("2/8".parse(), Ok(Segment { number: 2, of: 8 }));
        assert_eq!("2/8".parse::<Segment>().unwrap().to_string(), "2/8");
        for text in ["0/8", "9/8", "8", "/", "a/b", "-1/2", "1/0", "1/257", ""] {
            assert!(text.parse::<Segment>().is_err(), "{text}");
        }
    }
}
