//! How long a task that is ready waits for its turn: when this grows, the
//! client is the limit and its latencies are its own.

use super::recorder::{LatencyUs, latency_histogram, record};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;

/// How often it is measured.
const EVERY: Duration = Duration::from_millis(25);

/// A thread that wakes a task, and the task, which notes when it came to run.
#[derive(Debug)]
pub struct Probe {
    is_over: Arc<AtomicBool>,
    delays: JoinHandle<LatencyUs>,
}

impl Probe {
    /// Starts measuring, on the runtime that this is called on.
    pub fn start() -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (wake, mut woken) = unbounded_channel::<Instant>();
        let waker = Arc::clone(&is_over);
        std::thread::spawn(move || {
            while !waker.load(Ordering::Relaxed) && wake.send(Instant::now()).is_ok() {
                std::thread::sleep(EVERY);
            }
        });
        let delays = tokio::spawn(async move {
            let mut delays = latency_histogram();
            while let Some(sent) = woken.recv().await {
                record(&mut delays, sent.elapsed());
            }
            delays
        });
        Self { is_over, delays }
    }

    /// The delays so far, in microseconds.
    pub async fn finish(self) -> LatencyUs {
        self.is_over.store(true, Ordering::Relaxed);
        self.delays.await.expect("the probe does not panic")
    }
}
