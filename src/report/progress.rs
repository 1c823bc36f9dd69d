//! What a run shows of itself while it goes on: on standard error, and only
//! where that is a terminal.

use crate::engine::recorder::Live;
use crate::text;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often the line is drawn anew.
const TICK: Duration = Duration::from_millis(200);

/// One line may be about a part of what another one is about: they share the screen.
static SCREEN: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));

/// The line below the cursor; gone when finished.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    ticker: Option<JoinHandle<()>>,
}

impl Progress {
    /// A line that says what is being prepared.
    pub fn preparing(what: &str) -> Self {
        let bar = SCREEN.add(ProgressBar::no_length());
        bar.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is a constant"));
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(TICK);
        Self { bar, ticker: None }
    }

    /// Says what is being done, and how much of it is; of 0 where nobody knows.
    pub fn show(&self, what: &str, done: u64, of: u64) {
        let template = if of > 0 { "{bar:24} {percent:>3}%  {msg}  left {eta}" } else { "{spinner} {msg}" };
        if self.bar.length() != Some(of) {
            self.bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
            self.bar.set_length(of);
            self.bar.reset_eta();
        }
        self.bar.set_message(what.to_owned());
        self.bar.set_position(done);
    }

    /// A line that follows a run's counters until `orders` are answered or
    /// `duration` has passed.
    pub fn running(live: Arc<Live>, orders: Option<u64>, duration: Option<Duration>) -> Self {
        let bar = SCREEN.add(orders.map_or_else(ProgressBar::no_length, ProgressBar::new));
        let template = match orders {
            Some(_) => "{bar:24} {percent:>3}%  {msg}  left {eta}",
            None => "{spinner} {msg}",
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
        let ticker = (!bar.is_hidden()).then(|| {
            let bar = bar.clone();
            tokio::spawn(async move { follow(&bar, &live, duration).await })
        });
        Self { bar, ticker }
    }

    /// Takes the line away.
    pub fn finish(self) {
        if let Some(ticker) = self.ticker {
            ticker.abort();
        }
        self.bar.finish_and_clear();
    }
}

async fn follow(bar: &ProgressBar, live: &Live, duration: Option<Duration>) {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    let mut last = (Instant::now(), 0_u64);
    let mut rate = 0;
    loop {
        ticks.tick().await;
        let deducted = live.deducted.load(Relaxed);
        let since = last.0.elapsed();
        if since >= Duration::from_secs(1) {
            let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
            rate = (deducted - last.1) * 1_000 / millis;
            last = (Instant::now(), deducted);
        }
        let left = duration.map(|duration| {
            let left = duration.saturating_sub(started.elapsed());
            format!("  left {} s", left.as_secs())
        });
        bar.set_position(live.deliveries.load(Relaxed));
        bar.set_message(format!(
            "{} orders, {}/s sold, {} sold out, {} conflicts, {} retries{}",
            text::thousands(live.deliveries.load(Relaxed)),
            text::thousands(rate),
            text::thousands(live.sold_out.load(Relaxed)),
            text::thousands(live.conflicts.load(Relaxed)),
            text::thousands(live.retries.load(Relaxed)),
            left.unwrap_or_default(),
        ));
    }
}
