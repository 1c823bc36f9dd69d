//! How long a task that is ready waits for its turn: when this grows, the
//! client is the limit and its latencies are its own.

use super::recorder::{LatencyUs, SAME_BOUNDS, latency_histogram, record};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;

/// How often it is measured.
const EVERY: Duration = Duration::from_millis(25);

/// A thread that wakes a task on every runtime, and the tasks, which note when
/// they came to run.
#[derive(Debug)]
pub(super) struct Probe {
    is_over: Arc<AtomicBool>,
    delays: JoinSet<LatencyUs>,
}

impl Probe {
    /// Starts measuring.
    pub(super) fn start<'r>(runtimes: impl Iterator<Item = &'r Handle>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (mut wakes, mut delays) = (Vec::new(), JoinSet::new());
        for runtime in runtimes {
            let (wake, mut woken) = unbounded_channel::<Instant>();
            wakes.push(wake);
            let noting = async move {
                let mut delays = latency_histogram();
                while let Some(sent) = woken.recv().await {
                    record(&mut delays, sent.elapsed());
                }
                delays
            };
            delays.spawn_on(noting, runtime);
        }
        let ended = Arc::clone(&is_over);
        std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) && wakes.iter().all(|wake| wake.send(Instant::now()).is_ok())
            {
                std::thread::sleep(EVERY);
            }
        });
        Self { is_over, delays }
    }

    /// The delays so far, in microseconds.
    pub(super) async fn finish(self) -> LatencyUs {
        self.is_over.store(true, Ordering::Relaxed);
        let mut all = latency_histogram();
        for delays in self.delays.join_all().await {
            all.add(delays).expect(SAME_BOUNDS);
        }
        all
    }
}
