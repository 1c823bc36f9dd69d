//! When a refused order is tried again: a pure rule.

use crate::outcome::OnUnknown;
use rand::{Rng, RngExt};
use std::time::Duration;

/// The rule for trying a refused order again.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts per order; 0 goes on until the order is decided.
    pub tries: u32,
    /// Shortest wait before the next attempt.
    pub delay_min: Duration,
    /// Longest wait before the next attempt.
    pub delay_max: Duration,
    /// No attempt starts later than this after the order's first.
    pub within: Duration,
    /// What the client does when an answer is lost.
    pub unknown: OnUnknown,
}

impl RetryPolicy {
    /// How long to wait before the next attempt, or `None` when the order is
    /// to be given up after `attempts` of them.
    ///
    /// The wait is drawn evenly between the shortest one and a ceiling that doubles with
    /// each attempt. That is "full jitter" (M. Brooker, "Exponential Backoff And Jitter",
    /// AWS Architecture Blog, 2015) with the shortest wait as its base, and as a floor
    /// that the article does not have.
    pub fn next_delay(&self, attempts: u32, elapsed: Duration, rng: &mut impl Rng) -> Option<Duration> {
        if (self.tries > 0 && attempts >= self.tries) || elapsed >= self.within {
            return None;
        }
        let doublings = attempts.saturating_sub(1).min(20);
        let ceiling = (self.delay_min.max(Duration::from_micros(1)) * 2)
            .saturating_mul(1 << doublings)
            .min(self.delay_max)
            .max(self.delay_min);
        Some(rng.random_range(self.delay_min..=ceiling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const POLICY: RetryPolicy = RetryPolicy {
        tries: 3,
        delay_min: Duration::from_millis(1),
        delay_max: Duration::from_millis(10),
        within: Duration::from_secs(1),
        unknown: OnUnknown::Keep,
    };

    #[test]
    fn tries_and_time_are_both_limits() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert!(POLICY.next_delay(2, Duration::ZERO, &mut rng).is_some());
        assert!(POLICY.next_delay(3, Duration::ZERO, &mut rng).is_none());
        assert!(POLICY.next_delay(1, Duration::from_secs(1), &mut rng).is_none());
        let endless = RetryPolicy { tries: 0, ..POLICY };
        assert!(endless.next_delay(1_000_000, Duration::ZERO, &mut rng).is_some());
    }

    #[test]
    fn waits_stay_between_the_shortest_and_the_longest_and_grow() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let policy = RetryPolicy { tries: 0, ..POLICY };
        let mut longest_at = |attempts| {
            let draws = (0..1_000).filter_map(|_| policy.next_delay(attempts, Duration::ZERO, &mut rng));
            let draws: Vec<Duration> = draws.collect();
            assert!(draws.iter().all(|delay| (policy.delay_min..=policy.delay_max).contains(delay)));
            draws.into_iter().max().unwrap()
        };
        assert!(longest_at(1) <= Duration::from_millis(2));
        assert!(longest_at(9) > Duration::from_millis(8));
    }
}
