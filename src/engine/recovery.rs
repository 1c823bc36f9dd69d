//! How long it takes after a fault until an order succeeds again.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Faults that nobody has recovered from yet, and those that somebody has.
#[derive(Debug, Default)]
pub struct Recovery {
    /// So that an order has nothing to lock as long as nothing goes wrong.
    is_awaited: AtomicBool,
    faults: Mutex<Struck>,
}

#[derive(Debug, Default)]
struct Struck {
    /// Those that nobody has recovered from, each with its number.
    open: Vec<(usize, Instant)>,
    /// How long it took, by their numbers.
    recovered: HashMap<usize, Duration>,
}

impl Recovery {
    /// Notes that the fault with this number has struck, and when.
    pub fn struck(&self, number: usize, at: Instant) {
        self.faults.lock().open.push((number, at));
        self.is_awaited.store(true, Ordering::Release);
    }

    /// Notes that an attempt has succeeded which began then. One that began before
    /// a fault says nothing about it: its reply may have been on its way.
    pub fn succeeded(&self, began: Instant) {
        if !self.is_awaited.load(Ordering::Acquire) {
            return;
        }
        let Struck { open, recovered } = &mut *self.faults.lock();
        let over = open.extract_if(.., |(_, struck)| *struck <= began);
        recovered.extend(over.map(|(number, struck)| (number, struck.elapsed())));
        if open.is_empty() {
            self.is_awaited.store(false, Ordering::Release);
        }
    }

    /// From the fault with this number to the first success after it.
    pub fn of(&self, number: usize) -> Option<Duration> {
        self.faults.lock().recovered.get(&number).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_that_began_after_the_fault_ends_it() {
        let recovery = Recovery::default();
        let before = Instant::now();
        recovery.succeeded(before);
        recovery.struck(7, Instant::now());
        recovery.succeeded(before);
        assert_eq!(recovery.of(7), None);
        recovery.succeeded(Instant::now());
        let took = recovery.of(7).unwrap();
        recovery.succeeded(Instant::now());
        assert_eq!(recovery.of(7), Some(took), "the first success counts");
        assert_eq!(recovery.of(8), None);
    }
}
