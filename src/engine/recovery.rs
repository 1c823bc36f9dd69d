//! How long it takes after a fault until an order succeeds again.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Faults that nobody has recovered from yet, and those that somebody has.
#[derive(Debug, Default)]
pub struct Recovery {
    /// So that an order has nothing to lock as long as nothing goes wrong.
    is_awaited: AtomicBool,
    faults: Mutex<Vec<Fault>>,
}

#[derive(Debug)]
struct Fault {
    number: usize,
    struck: Instant,
    recovered: Option<Duration>,
}

impl Recovery {
    /// Notes that the fault with this number has just struck.
    pub fn struck(&self, number: usize) {
        self.faults.lock().push(Fault { number, struck: Instant::now(), recovered: None });
        self.is_awaited.store(true, Ordering::Release);
    }

    /// Notes that an attempt has succeeded which began then. One that began before
    /// a fault says nothing about it: its reply may have been on its way.
    pub fn succeeded(&self, began: Instant) {
        if !self.is_awaited.load(Ordering::Acquire) {
            return;
        }
        let mut faults = self.faults.lock();
        for fault in faults.iter_mut().filter(|fault| fault.recovered.is_none() && fault.struck <= began) {
            fault.recovered = Some(fault.struck.elapsed());
        }
        if faults.iter().all(|fault| fault.recovered.is_some()) {
            self.is_awaited.store(false, Ordering::Release);
        }
    }

    /// From the fault with this number to the first success after it.
    pub fn of(&self, number: usize) -> Option<Duration> {
        self.faults.lock().iter().find(|fault| fault.number == number)?.recovered
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
        recovery.struck(7);
        recovery.succeeded(before);
        assert_eq!(recovery.of(7), None);
        recovery.succeeded(Instant::now());
        let took = recovery.of(7).unwrap();
        recovery.succeeded(Instant::now());
        assert_eq!(recovery.of(7), Some(took), "the first success counts");
        assert_eq!(recovery.of(8), None);
    }
}
