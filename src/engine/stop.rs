//! Stopping is an object: asking it to stop drains the run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// A request to end early that every client can see and wait for.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// Asks every client to finish what it has begun and start nothing more.
    pub fn ask(&self) {
        self.inner.asked.store(true, Ordering::SeqCst);
        self.inner.notify.notify_waiters();
    }

    /// Whether stopping was asked for.
    pub fn is_asked(&self) -> bool {
        self.inner.asked.load(Ordering::Relaxed)
    }

    /// Waits until stopping is asked for.
    pub async fn asked(&self) {
        let notified = self.inner.notify.notified();
        tokio::pin!(notified);
        // Registered before the check, so that no request is missed between.
        notified.as_mut().enable();
        if !self.is_asked() {
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_seen_by_those_who_wait_and_those_who_come_later() {
        let stop = Stop::default();
        let waiting = tokio::spawn({
            let stop = stop.clone();
            async move { stop.asked().await }
        });
        tokio::task::yield_now().await;
        assert!(!stop.is_asked());
        stop.ask();
        waiting.await.unwrap();
        stop.asked().await;
        assert!(stop.is_asked());
    }
}
