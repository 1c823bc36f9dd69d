//! The time that statements are given (`:now_ms`). It is read off the wall once, when the run
//! begins, and goes on by itself: a wall clock that is set back in the middle would keep
//! reservations from expiring, one that is set forward would expire them at once.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that no one sets.
#[derive(Debug)]
pub(super) struct Clock {
    /// The wall's time when it was read, since 1970.
    anchor: Duration,
    read: Instant,
}

impl Clock {
    /// Reads the wall clock.
    pub(super) fn start(wall: impl FnOnce() -> SystemTime) -> Self {
        let anchor = wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { anchor, read: Instant::now() }
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        self.ms_at(Instant::now())
    }

    fn ms_at(&self, moment: Instant) -> i64 {
        let time = self.anchor + moment.saturating_duration_since(self.read);
        i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_step_of_the_wall_clock_changes_nothing() {
        let wall = Cell::new(UNIX_EPOCH + Duration::from_secs(5_000));
        let clock = Clock::start(|| wall.get());
        let at = |seconds| clock.ms_at(clock.read + Duration::from_secs(seconds));
        assert_eq!(at(0), 5_000_000);
        wall.set(UNIX_EPOCH + Duration::from_secs(1_400));
        assert_eq!(at(1), 5_001_000);
        assert!(clock.now_ms() >= 5_000_000);
        // One that stands before 1970 is a clock all the same.
        assert!(Clock::start(|| UNIX_EPOCH - Duration::from_secs(1)).now_ms() >= 0);
    }
}
