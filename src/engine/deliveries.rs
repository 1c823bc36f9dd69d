//! Which order is delivered next: each once, or a share of them two or more
//! times, some right behind the first and some much later.

use crate::workload::{Segment, chance};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};

/// One more copy follows another with this probability, in percent.
const ANOTHER_COPY: u8 = 25;

/// Copies that come later come at most this many orders later.
const LATER_MAX: u64 = 500;

/// Keeps the draws of copies apart from those of the orders themselves.
const STREAM: u64 = 1 << 63;

/// The deliveries of a run, in the order in which they start.
#[derive(Debug)]
pub struct Deliveries {
    /// The number of the order after the last one.
    end: AtomicU64,
    duplicates: u8,
    seed: u64,
    segment: Segment,
    /// Counts this segment's own orders, as `end` and the copies do.
    next: AtomicU64,
    /// When each copy is due, of which order, and which copy it is.
    copies: Mutex<BinaryHeap<Reverse<(u64, u64, u32)>>>,
}

/// One delivery of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Next {
    /// The order's number in the whole run.
    pub number: u64,
    /// Which delivery of it this is, from 0.
    pub copy: u32,
}

impl Deliveries {
    /// Endlessly many of this segment; `duplicates` percent of them more than once.
    pub fn new(duplicates: u8, seed: u64, segment: Segment) -> Self {
        let (end, next) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        Self { end, duplicates, seed, segment, next, copies: Mutex::default() }
    }

    /// From here on this segment's share of `orders`, or endlessly many; what was to
    /// come again does not.
    pub fn begin(&self, orders: Option<u64>) {
        self.copies.lock().clear();
        let next = self.next.load(Ordering::Relaxed);
        let end = orders.map_or(u64::MAX, |orders| next.saturating_add(self.segment.share(orders)));
        self.end.store(end, Ordering::Relaxed);
    }

    /// What to deliver next; `None` when all has been.
    pub fn next(&self) -> Option<Next> {
        self.next_own().map(|(own, copy)| Next { number: self.segment.in_whole(own), copy })
    }

    fn next_own(&self) -> Option<(u64, u32)> {
        if self.duplicates == 0 {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            return self.is_order(number).then_some((number, 0));
        }
        let mut copies = self.copies.lock();
        let number = self.next.load(Ordering::Relaxed);
        let is_due = copies.peek().is_some_and(|Reverse((due, ..))| *due <= number);
        if is_due || !self.is_order(number) {
            return copies.pop().map(|Reverse((_, number, copy))| (number, copy));
        }
        self.next.store(number + 1, Ordering::Relaxed);
        copies.extend((1..).zip(self.copies_of(number)).map(|(copy, due)| Reverse((due, number, copy))));
        Some((number, 0))
    }

    /// Whether every order has been delivered as often as it is to be.
    pub fn is_exhausted(&self) -> bool {
        !self.is_order(self.next.load(Ordering::Relaxed)) && self.copies.lock().is_empty()
    }

    fn is_order(&self, number: u64) -> bool {
        number < self.end.load(Ordering::Relaxed)
    }

    /// After how many orders each further copy of an order is due. Which orders have
    /// copies is the same however many segments there are.
    fn copies_of(&self, number: u64) -> Vec<u64> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.segment.in_whole(number) | STREAM);
        let mut copies = Vec::new();
        let mut is_copied = chance(self.duplicates, &mut rng);
        while is_copied {
            // Half of them at once, so that copies meet each other.
            let later = if chance(50, &mut rng) { 0 } else { rng.random_range(1..=LATER_MAX) };
            copies.push(number + 1 + later / self.segment.of);
            is_copied = chance(ANOTHER_COPY, &mut rng);
        }
        copies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn delivered(orders: u64, duplicates: u8) -> BTreeMap<u64, u64> {
        delivered_by(Segment::WHOLE, orders, duplicates)
    }

    fn delivered_by(segment: Segment, orders: u64, duplicates: u8) -> BTreeMap<u64, u64> {
        let deliveries = Deliveries::new(duplicates, 7, segment);
        deliveries.begin(Some(orders));
        let (mut times, mut seen) = (BTreeMap::new(), BTreeSet::new());
        while let Some(Next { number, copy }) = deliveries.next() {
            assert!(seen.insert((number, copy)), "copy {copy} of {number} came twice");
            *times.entry(number).or_default() += 1;
        }
        times
    }

    #[test]
    fn without_duplicates_every_order_comes_once() {
        assert!(delivered(1_000, 0).into_iter().eq((0..1_000).map(|number| (number, 1))));
    }

    #[test]
    fn with_duplicates_that_share_of_the_orders_comes_again() {
        let times = delivered(10_000, 30);
        assert_eq!(times.len(), 10_000, "every order comes at least once");
        let again = times.values().filter(|times| **times > 1).count();
        assert!((2_700..3_300).contains(&again), "{again}");
        assert!(times.values().any(|times| *times > 2));
        assert_eq!(times, delivered(10_000, 30), "the same seed delivers alike");
    }

    #[test]
    fn segments_deliver_together_what_one_process_does() {
        for duplicates in [0, 30] {
            let mut together = BTreeMap::new();
            for number in 1..=8 {
                together.extend(delivered_by(Segment { number, of: 8 }, 1_001, duplicates));
            }
            assert_eq!(together, delivered(1_001, duplicates));
        }
    }

    #[test]
    fn a_new_beginning_counts_anew_and_goes_on_with_the_numbers() {
        let deliveries = Deliveries::new(100, 7, Segment::WHOLE);
        deliveries.begin(None);
        let warm: Vec<u64> = (0..50).filter_map(|_| deliveries.next()).map(|next| next.number).collect();
        deliveries.begin(Some(10));
        let numbers: Vec<u64> = std::iter::from_fn(|| deliveries.next()).map(|next| next.number).collect();
        assert!(numbers.iter().all(|number| !warm.contains(number)), "no copy of what came before");
        let first = numbers[0];
        assert!((first..first + 10).all(|number| numbers.contains(&number)));
        assert!(deliveries.is_exhausted());
    }

    #[test]
    fn copies_come_both_at_once_and_later() {
        let deliveries = Deliveries::new(100, 7, Segment::WHOLE);
        deliveries.begin(Some(2_000));
        let mut places: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for place in 0.. {
            let Some(Next { number, .. }) = deliveries.next() else { break };
            places.entry(number).or_default().push(place);
        }
        let gaps: Vec<u64> = places.values().map(|places| places[1] - places[0]).collect();
        assert!(gaps.iter().filter(|gap| **gap < 4).count() > 500);
        assert!(gaps.iter().filter(|gap| **gap > 100).count() > 500);
    }
}
