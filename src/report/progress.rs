//! What a run shows of itself while it goes on: on standard error, and only
//! where that is a terminal.

use crate::engine::recorder::Live;
use crate::escape;
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
        bar.set_message(escape::line(what).into_owned());
        // That takes a thread, which nobody needs where nothing is drawn.
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self { bar, ticker: None }
    }

    /// Says what is being done, and how much of it is; of 0 where nobody knows.
    pub fn show(&self, what: &str, done: u64, of: u64) {
        self.show_as("{bar:24} {percent:>3}%  {msg}  left {eta}", what, done, of);
    }

    /// The same of steps that take long, with how long those that are left will take: a
    /// line that estimates it by itself takes the pauses between steps for a standstill.
    pub fn show_steps(&self, what: &str, (done, of): (u64, u64), left: Duration) {
        let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
        self.show_as("{bar:24} {percent:>3}%  {msg}", &format!("{what}  left {left}"), done, of);
    }

    fn show_as(&self, template: &str, what: &str, done: u64, of: u64) {
        let template = if of > 0 { template } else { "{spinner} {msg}" };
        if self.bar.length() != Some(of) {
            self.bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
            self.bar.set_length(of);
            self.bar.reset_eta();
        }
        self.bar.set_message(escape::line(what).into_owned());
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

/// How long so many steps will take, the ones before having taken so long; before the
/// first one, as long as is expected of each.
pub fn time_left(steps: u64, taken: &[Duration], expected: Duration) -> Duration {
    let of_one = match u32::try_from(taken.len()) {
        Ok(measured) if measured > 0 => taken.iter().sum::<Duration>() / measured,
        _ => expected,
    };
    of_one.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_was_done() {
        let seconds = Duration::from_secs;
        assert_eq!(time_left(10, &[], seconds(6)), seconds(60));
        assert_eq!(time_left(10, &[seconds(7), seconds(9)], seconds(6)), seconds(80));
        assert_eq!(time_left(0, &[seconds(7)], seconds(6)), Duration::ZERO);
    }
}
