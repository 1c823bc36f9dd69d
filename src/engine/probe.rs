//! How long a task that is ready waits for its turn: when this grows, the
//! client is the limit and its latencies are its own.

use super::recorder::{LatencyUs, SAME_BOUNDS, latency_histogram, record};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::{JoinHandle, JoinSet};

/// How often it is measured.
const EVERY: Duration = Duration::from_millis(25);

/// A task that wakes one on every runtime of clients, and those tasks, which note when
/// they came to run.
#[derive(Debug)]
pub(super) struct Probe {
    waking: JoinHandle<()>,
    delays: JoinSet<LatencyUs>,
}

impl Probe {
    /// Starts measuring.
    pub(super) fn start<'r>(runtimes: impl Iterator<Item = &'r Handle>) -> Self {
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
        let waking = tokio::spawn(async move {
            let mut turns = tokio::time::interval(EVERY);
            loop {
                turns.tick().await;
                if wakes.iter().any(|wake| wake.send(Instant::now()).is_err()) {
                    return;
                }
            }
        });
        Self { waking, delays }
    }

    /// The delays so far, in microseconds.
    pub(super) async fn finish(self) -> LatencyUs {
        // With it go the senders, and so the tasks end.
        self.waking.abort();

        let mut all = latency_histogram();
        for delays in self.delays.join_all().await {
            all.add(delays).expect(SAME_BOUNDS);
        }
        all
    }
}
