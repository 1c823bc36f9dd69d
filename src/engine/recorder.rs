//! Counts and histograms of a run: memory stays flat however long it lasts.
//!
//! What is recorded is taken out once a second, looked at as an interval of
//! its own (a time series, a log, live metrics), and added to the whole: so
//! nothing is recorded twice.

use super::kept;
use crate::db::{DbError, ErrorClass};
use crate::fault::Mishap;
use crate::outcome::Outcome;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Latencies are kept in microseconds up to an hour, to three digits.
const LATENCY_US_MAX: u64 = 3_600_000_000;
const LATENCY_DIGITS: u8 = 3;

/// More retries than this are counted as this many.
const RETRIES_MAX: u64 = 1_000_000;

/// A histogram of microseconds.
pub type LatencyUs = Histogram<u64>;

/// An empty histogram of microseconds.
pub fn latency_histogram() -> LatencyUs {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS).expect("the bounds are constants")
}

/// An empty histogram of retries.
pub(super) fn retries_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, RETRIES_MAX, LATENCY_DIGITS).expect("the bounds are constants")
}

/// Adds a duration to a histogram.
pub fn record(histogram: &mut LatencyUs, duration: Duration) {
    let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(us.clamp(1, LATENCY_US_MAX));
}

fn record_by<K: Ord>(histograms: &mut BTreeMap<K, LatencyUs>, key: K, duration: Duration) {
    record(histograms.entry(key).or_insert_with(latency_histogram), duration);
}

fn merge_by<K: Ord>(histograms: &mut BTreeMap<K, LatencyUs>, others: BTreeMap<K, LatencyUs>) {
    for (key, other) in others {
        histograms.entry(key).or_insert_with(latency_histogram).add(other).expect(SAME_BOUNDS);
    }
}

/// Why histograms of one kind can always be added.
pub(super) const SAME_BOUNDS: &str = "all histograms of a kind have the same bounds";

/// One delivery, from its intended start to its answer.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Which program of the mix handled it.
    pub program: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// The code of the error it ended in, if it did.
    pub error: Option<String>,
    /// The answer it repeats, for an order that was decided before.
    pub recorded: Option<Outcome>,
    /// How many units the client was told are left after each line.
    pub remaining: Vec<Option<i64>>,
    /// Units over all lines of its order.
    pub units: u64,
    /// From the intended start to the answer, waits and retries included.
    pub latency: Duration,
    /// From the intended start to the real one; in a closed loop they are the
    /// same.
    pub lag: Option<Duration>,
    /// Attempts, the first included.
    pub attempts: u32,
    /// Attempts that concurrency control refused.
    pub conflicts: u32,
    /// Waits for a connection, added up.
    pub connection_wait: Duration,
    /// Waits between attempts, added up.
    pub backoff: Duration,
    /// Attempts that repeated the very values refused just before.
    pub futile_retries: u32,
    /// Whether a loop inside a transaction was given up.
    pub stuck: bool,
}

impl Delivery {
    /// An attempt whose answer was lost, and which is asked for again.
    pub fn lost(program: usize, latency: Duration, attempts: u32) -> Self {
        Self {
            program,
            outcome: Outcome::Unknown,
            latency,
            lag: None,
            attempts,
            ..Self::skipped(Duration::ZERO)
        }
    }

    /// An order that was never sent: it was `lag` late already.
    pub fn skipped(lag: Duration) -> Self {
        Self {
            program: 0,
            outcome: Outcome::Skipped,
            error: None,
            recorded: None,
            remaining: Vec::new(),
            units: 0,
            latency: lag,
            lag: Some(lag),
            attempts: 0,
            conflicts: 0,
            connection_wait: Duration::ZERO,
            backoff: Duration::ZERO,
            futile_retries: 0,
            stuck: false,
        }
    }
}

/// A statement of a program of the run, or what opens and ends a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StatementKey {
    /// Which program of the mix.
    pub program: usize,
    /// Which of its transactions.
    pub transaction: usize,
    /// What of that.
    pub part: Part,
}

/// A part of a transaction, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    /// BEGIN, in whatever form.
    Begin,
    /// The n-th step's statement.
    Step(usize),
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
}

/// How often an error was met.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorCount {
    /// What it means.
    pub class: ErrorClass,
    /// How often.
    pub count: u64,
    /// The database's words, the first time.
    pub message: String,
}

/// What one program of a mix did.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ProgramFigures {
    /// Deliveries by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Attempts that concurrency control refused.
    pub conflicts: u64,
    /// Order latency by outcome.
    #[serde(with = "kept::by_key")]
    pub order: BTreeMap<Outcome, LatencyUs>,
}

/// What a background program did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowFigures {
    /// Times it found work and did it.
    pub runs: u64,
    /// Attempts that concurrency control refused.
    pub conflicts: u64,
    /// Times it ended in an error.
    pub errors: u64,
    /// Whether it was given up with work left, when the run was over.
    pub unfinished: bool,
}

/// Everything that a run counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Figures {
    /// Deliveries by outcome.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Attempts.
    pub attempts: u64,
    /// Attempts after an order's first.
    pub retries: u64,
    /// Attempts that concurrency control refused.
    pub conflicts: u64,
    /// The most attempts that one order took.
    pub attempts_max: u32,
    /// Units of deducted orders.
    pub units_deducted: u64,
    /// When the last order was deducted, from the start of the window.
    #[serde(default)]
    pub last_sale: Option<Duration>,
    /// When the first one was refused because not enough was in stock.
    #[serde(default)]
    pub first_refusal: Option<Duration>,
    /// Order latency by outcome, from the intended start.
    #[serde(with = "kept::by_key")]
    pub order: BTreeMap<Outcome, LatencyUs>,
    /// The same from the real start, where that is another: in an open loop.
    #[serde(with = "kept::by_key")]
    pub uncorrected: BTreeMap<Outcome, LatencyUs>,
    /// From the intended start to the real one, in an open loop.
    #[serde(with = "kept::latency")]
    pub schedule_lag: LatencyUs,
    /// Orders answered later than the limit after their intended start.
    pub late: u64,
    /// Attempt latency.
    #[serde(with = "kept::latency")]
    pub attempt: LatencyUs,
    /// Attempt latency of those that concurrency control refused.
    #[serde(with = "kept::latency")]
    pub refused_attempt: LatencyUs,
    /// Latency of single statements, where the run asks for it.
    #[serde(with = "kept::by_key")]
    pub statements: BTreeMap<StatementKey, LatencyUs>,
    /// Retries, one value a delivery.
    #[serde(with = "kept::retries")]
    pub retries_per_order: Histogram<u64>,
    /// Waits for a connection, one value a delivery.
    #[serde(with = "kept::latency")]
    pub connection_wait: LatencyUs,
    /// Waits between attempts, one value a delivery that had any.
    #[serde(with = "kept::latency")]
    pub backoff: LatencyUs,
    /// Errors by the database's code.
    pub errors: BTreeMap<String, ErrorCount>,
    /// Deliveries that ended in an error, by its code.
    pub ended_in: BTreeMap<String, u64>,
    /// Faults that befell transactions, by their word.
    pub struck: BTreeMap<String, u64>,
    /// Deliveries that ended as conflict although every retry of theirs was
    /// futile: it repeated the very values refused just before.
    pub futile_orders: u64,
    /// Those of them that looped inside one transaction.
    pub stuck_orders: u64,
    /// Futile retries of those deliveries.
    pub futile_retries: u64,
    /// A few of those orders.
    pub futile_sample: Vec<i64>,
    /// The programs of a mix, one by one; empty where there is only one.
    pub programs: Vec<ProgramFigures>,
    /// The background programs, by name.
    pub flows: BTreeMap<String, FlowFigures>,
}

/// Orders named as examples of a finding.
const SAMPLE: usize = 10;

impl Figures {
    /// Nothing counted yet, for a run of so many programs.
    pub fn new(programs: usize) -> Self {
        Self {
            programs: vec![ProgramFigures::default(); if programs > 1 { programs } else { 0 }],
            flows: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            attempts: 0,
            retries: 0,
            conflicts: 0,
            attempts_max: 0,
            units_deducted: 0,
            last_sale: None,
            first_refusal: None,
            order: BTreeMap::new(),
            uncorrected: BTreeMap::new(),
            schedule_lag: latency_histogram(),
            late: 0,
            attempt: latency_histogram(),
            refused_attempt: latency_histogram(),
            statements: BTreeMap::new(),
            retries_per_order: retries_histogram(),
            connection_wait: latency_histogram(),
            backoff: latency_histogram(),
            errors: BTreeMap::new(),
            ended_in: BTreeMap::new(),
            struck: BTreeMap::new(),
            futile_orders: 0,
            stuck_orders: 0,
            futile_retries: 0,
            futile_sample: Vec::new(),
        }
    }

    /// Deliveries that ended this way.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }

    /// All deliveries.
    pub fn deliveries(&self) -> u64 {
        self.outcomes.values().sum()
    }

    fn delivered(&mut self, order_id: i64, delivery: &Delivery, limit: Option<Duration>) {
        *self.outcomes.entry(delivery.outcome).or_default() += 1;
        self.attempts += u64::from(delivery.attempts);
        self.retries += u64::from(delivery.attempts.saturating_sub(1));
        self.conflicts += u64::from(delivery.conflicts);
        self.attempts_max = self.attempts_max.max(delivery.attempts);
        if let Some(code) = &delivery.error {
            *self.ended_in.entry(code.clone()).or_default() += 1;
        }
        if delivery.outcome == Outcome::Deducted {
            self.units_deducted += delivery.units;
        }
        record_by(&mut self.order, delivery.outcome, delivery.latency);
        if let Some(lag) = delivery.lag {
            record(&mut self.schedule_lag, lag);
            if delivery.outcome != Outcome::Skipped {
                record_by(&mut self.uncorrected, delivery.outcome, delivery.latency.saturating_sub(lag));
            }
        }
        if delivery.outcome == Outcome::Skipped {
            return;
        }
        self.late += u64::from(limit.is_some_and(|limit| delivery.latency > limit));
        self.retries_per_order.saturating_record(delivery.attempts.saturating_sub(1).into());
        if let Some(program) = self.programs.get_mut(delivery.program) {
            *program.outcomes.entry(delivery.outcome).or_default() += 1;
            program.conflicts += u64::from(delivery.conflicts);
            record_by(&mut program.order, delivery.outcome, delivery.latency);
        }
        record(&mut self.connection_wait, delivery.connection_wait);
        if !delivery.backoff.is_zero() {
            record(&mut self.backoff, delivery.backoff);
        }
        let all_futile = delivery.attempts > 1 && delivery.futile_retries == delivery.attempts - 1;
        if delivery.outcome == Outcome::Conflict && (all_futile || delivery.stuck) {
            self.futile_orders += 1;
            self.stuck_orders += u64::from(delivery.stuck);
            self.futile_retries += u64::from(delivery.futile_retries);
            if self.futile_sample.len() < SAMPLE {
                self.futile_sample.push(order_id);
            }
        }
    }

    /// Notes when stock was sold, and when there was none.
    fn answered_at(&mut self, outcome: Outcome, at: Duration) {
        match outcome {
            Outcome::Deducted => self.last_sale = self.last_sale.max(Some(at)),
            Outcome::SoldOut => self.first_refusal = earliest(self.first_refusal, Some(at)),
            _ => {}
        }
    }

    fn failed(&mut self, error: &DbError) {
        let entry = self.errors.entry(error.code.clone()).or_insert_with(|| ErrorCount {
            class: error.class,
            count: 0,
            message: error.message.clone(),
        });
        entry.count += 1;
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, other: Self) {
        add_counts(&mut self.outcomes, other.outcomes);
        self.attempts += other.attempts;
        self.retries += other.retries;
        self.conflicts += other.conflicts;
        self.attempts_max = self.attempts_max.max(other.attempts_max);
        self.units_deducted += other.units_deducted;
        self.last_sale = self.last_sale.max(other.last_sale);
        self.first_refusal = earliest(self.first_refusal, other.first_refusal);
        self.late += other.late;
        merge_by(&mut self.order, other.order);
        merge_by(&mut self.uncorrected, other.uncorrected);
        merge_by(&mut self.statements, other.statements);
        for (own, other) in [
            (&mut self.schedule_lag, other.schedule_lag),
            (&mut self.attempt, other.attempt),
            (&mut self.refused_attempt, other.refused_attempt),
            (&mut self.retries_per_order, other.retries_per_order),
            (&mut self.connection_wait, other.connection_wait),
            (&mut self.backoff, other.backoff),
        ] {
            own.add(other).expect(SAME_BOUNDS);
        }
        self.merge_errors(other.errors);
        add_counts(&mut self.ended_in, other.ended_in);
        add_counts(&mut self.struck, other.struck);
        self.futile_orders += other.futile_orders;
        self.stuck_orders += other.stuck_orders;
        self.futile_retries += other.futile_retries;
        self.futile_sample.extend(other.futile_sample);
        self.futile_sample.truncate(SAMPLE);
        for (program, other) in self.programs.iter_mut().zip(other.programs) {
            program.conflicts += other.conflicts;
            add_counts(&mut program.outcomes, other.outcomes);
            merge_by(&mut program.order, other.order);
        }
        self.merge_flows(other.flows);
    }

    /// Adds what the background programs did and met: not their attempts,
    /// which are no orders'.
    pub fn merge_background(&mut self, other: Self) {
        self.merge_errors(other.errors);
        add_counts(&mut self.struck, other.struck);
        self.merge_flows(other.flows);
    }

    fn merge_errors(&mut self, others: BTreeMap<String, ErrorCount>) {
        for (code, error) in others {
            let entry = self.errors.entry(code).or_insert_with(|| ErrorCount { count: 0, ..error.clone() });
            entry.count += error.count;
        }
    }

    fn merge_flows(&mut self, others: BTreeMap<String, FlowFigures>) {
        for (name, other) in others {
            self.flows.entry(name).or_default().add(other);
        }
    }
}

impl FlowFigures {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.conflicts += other.conflicts;
        self.errors += other.errors;
        self.unfinished |= other.unfinished;
    }
}

fn earliest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

fn add_counts<K: Ord>(counts: &mut BTreeMap<K, u64>, others: BTreeMap<K, u64>) {
    for (key, count) in others {
        *counts.entry(key).or_default() += count;
    }
}

/// Counters to look at while the run goes on.
#[derive(Debug, Default)]
pub struct Live {
    /// Deliveries ended.
    pub deliveries: AtomicU64,
    /// Those that were answered, and not skipped.
    pub answered: AtomicU64,
    /// Those that were deducted.
    pub deducted: AtomicU64,
    /// Those that were sold out.
    pub sold_out: AtomicU64,
    /// Attempts refused.
    pub conflicts: AtomicU64,
    /// Attempts after the first.
    pub retries: AtomicU64,
}

/// Takes in what clients report; sharded, so that they rarely wait.
#[derive(Debug)]
pub struct Recorder {
    shards: Vec<Mutex<Figures>>,
    programs: usize,
    latency_limit: Option<Duration>,
    /// When its window began.
    began: OnceLock<Instant>,
    live: Arc<Live>,
}

impl Recorder {
    /// A recorder for so many programs, with a shard for each processor.
    pub fn new(programs: usize, latency_limit: Option<Duration>) -> Self {
        let shards = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = (0..shards).map(|_| Mutex::new(Figures::new(programs))).collect();
        Self { shards, programs, latency_limit, began: OnceLock::new(), live: Arc::default() }
    }

    /// Starts its clock, once; returns when that was.
    pub fn start(&self) -> Instant {
        *self.began.get_or_init(Instant::now)
    }

    /// The counters to show while the run goes on.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// One client's view of the recorder.
    pub fn shard(&self, client: usize) -> ShardHandle<'_> {
        ShardHandle {
            figures: &self.shards[client % self.shards.len()],
            latency_limit: self.latency_limit,
            began: &self.began,
            live: &self.live,
        }
    }

    /// Everything that was recorded since it was last taken.
    pub fn take(&self) -> Figures {
        let mut all = Figures::new(self.programs);
        for shard in &self.shards {
            let fresh = Figures::new(self.programs);
            all.merge(std::mem::replace(&mut *shard.lock(), fresh));
        }
        all
    }
}

/// One client's view of the recorder.
#[derive(Debug, Clone, Copy)]
pub struct ShardHandle<'r> {
    figures: &'r Mutex<Figures>,
    latency_limit: Option<Duration>,
    began: &'r OnceLock<Instant>,
    live: &'r Live,
}

impl ShardHandle<'_> {
    /// Counts one attempt, refused by concurrency control or not.
    pub fn attempt(&self, latency: Duration, is_refused: bool) {
        let mut figures = self.figures.lock();
        record(&mut figures.attempt, latency);
        if is_refused {
            record(&mut figures.refused_attempt, latency);
        }
    }

    /// Counts one statement.
    pub fn statement(&self, key: StatementKey, latency: Duration) {
        record_by(&mut self.figures.lock().statements, key, latency);
    }

    /// Counts an error that the database answered with.
    pub fn failed(&self, error: &DbError) {
        self.figures.lock().failed(error);
    }

    /// Counts a fault that befell a transaction.
    pub fn struck(&self, mishap: Mishap) {
        *self.figures.lock().struck.entry(mishap.as_str().to_owned()).or_default() += 1;
    }

    /// Counts what a background program did.
    pub fn flowed(&self, name: &str, figures: FlowFigures) {
        self.figures.lock().flows.entry(name.to_owned()).or_default().add(figures);
    }

    /// Counts a delivery; returns how many had been answered before it.
    pub fn delivered(&self, order_id: i64, delivery: &Delivery) -> u64 {
        let add = |counter: &AtomicU64, n: u64| counter.fetch_add(n, Ordering::Relaxed);
        let is_started = delivery.outcome != Outcome::Skipped;
        let before = add(&self.live.answered, is_started.into());
        add(&self.live.deliveries, 1);
        if delivery.conflicts > 0 {
            add(&self.live.conflicts, delivery.conflicts.into());
        }
        if delivery.attempts > 1 {
            add(&self.live.retries, (delivery.attempts - 1).into());
        }
        match delivery.outcome {
            Outcome::Deducted => add(&self.live.deducted, 1),
            Outcome::SoldOut => add(&self.live.sold_out, 1),
            _ => 0,
        };
        let mut figures = self.figures.lock();
        figures.delivered(order_id, delivery, self.latency_limit);
        if let Some(began) = self.began.get() {
            figures.answered_at(delivery.outcome, began.elapsed());
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(outcome: Outcome, attempts: u32) -> Delivery {
        Delivery {
            program: 0,
            outcome,
            error: None,
            recorded: None,
            remaining: Vec::new(),
            units: 2,
            latency: Duration::from_millis(3),
            lag: None,
            attempts,
            conflicts: attempts - 1,
            connection_wait: Duration::ZERO,
            backoff: Duration::ZERO,
            futile_retries: 0,
            stuck: false,
        }
    }

    #[test]
    fn shards_add_up_to_what_was_reported() {
        let recorder = Recorder::new(1, None);
        for client in 0..10 {
            recorder.shard(client).delivered(1, &delivery(Outcome::Deducted, 3));
            recorder.shard(client).delivered(2, &delivery(Outcome::SoldOut, 1));
        }
        let figures = recorder.take();
        assert_eq!(recorder.take().deliveries(), 0, "what was taken is gone");
        assert_eq!(figures.deliveries(), 20);
        assert_eq!(figures.outcome(Outcome::Deducted), 10);
        assert_eq!((figures.attempts, figures.retries, figures.conflicts), (40, 20, 20));
        assert_eq!(figures.units_deducted, 20);
        assert_eq!(figures.order[&Outcome::Deducted].len(), 10);
        assert_eq!(figures.attempts_max, 3);
        assert_eq!((figures.retries_per_order.max(), figures.retries_per_order.len()), (2, 20));
    }

    #[test]
    fn in_an_open_loop_both_latencies_are_kept_and_what_comes_late_is_counted() {
        let recorder = Recorder::new(1, Some(Duration::from_millis(2)));
        let waited = Delivery { lag: Some(Duration::from_millis(1)), ..delivery(Outcome::Deducted, 1) };
        recorder.shard(0).delivered(1, &waited);
        recorder.shard(1).delivered(2, &Delivery::skipped(Duration::from_millis(9)));
        let figures = recorder.take();
        let max = |latencies: &LatencyUs| latencies.max() / 1_000;
        assert_eq!(max(&figures.order[&Outcome::Deducted]), 3);
        assert_eq!(max(&figures.uncorrected[&Outcome::Deducted]), 2);
        assert!(!figures.uncorrected.contains_key(&Outcome::Skipped), "it has no real start");
        assert_eq!((figures.schedule_lag.len(), max(&figures.schedule_lag)), (2, 9));
        assert_eq!((figures.late, figures.attempts, figures.units_deducted), (1, 1, 2));
    }
}
