//! What a run costs on the client's side, and whether the client was its limit.

use super::measured::{Distribution, as_f64, rounded};
use crate::engine::Finished;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the run cost on the client's side.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ClientCost {
    /// Microseconds of processor time per delivery.
    pub cpu_us_per_order: f64,
    /// Share of this machine's processors that stockbench used, from 0 to 1.
    pub cpu_share: f64,
    /// The most memory it ever held.
    pub peak_rss_bytes: u64,
    /// How long a task that was ready waited for its turn, in microseconds,
    /// measured forty times a second: part of every latency.
    pub scheduling_delay_us: Distribution,
    /// Whether the database ran inside this process, and its cost is included.
    pub includes_database: bool,
}

/// Measures what the process itself uses between two moments.
#[derive(Debug)]
pub struct CostMeter {
    cpu_at_start: Duration,
}

impl CostMeter {
    /// Starts measuring.
    pub fn start() -> Self {
        Self { cpu_at_start: cpu_time() }
    }

    /// The cost since the start.
    pub fn stop(self, run: &Finished, includes_database: bool) -> ClientCost {
        let (elapsed, deliveries) = (run.elapsed, run.figures.deliveries());
        let cpu = cpu_time().saturating_sub(self.cpu_at_start);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let share = cpu.as_secs_f64() / (elapsed.as_secs_f64() * as_f64(processors as u64)).max(1e-9);
        ClientCost {
            cpu_us_per_order: rounded(cpu.as_secs_f64() * 1e6 / as_f64(deliveries.max(1)), 100.0),
            cpu_share: rounded(share.min(1.0), 1e3),
            peak_rss_bytes: peak_rss_bytes(),
            scheduling_delay_us: Distribution::whole(&run.scheduling_delay),
            includes_database,
        }
    }
}

fn cpu_time() -> Duration {
    let time = |value: TimeVal| {
        let micros = value.tv_sec().saturating_mul(1_000_000).saturating_add(value.tv_usec());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    };
    getrusage(UsageWho::RUSAGE_SELF)
        .map_or(Duration::ZERO, |usage| time(usage.user_time()) + time(usage.system_time()))
}

/// The most memory that this process ever held.
pub fn peak_rss_bytes() -> u64 {
    // `ru_maxrss` survives exec: a small program started by a large one
    // inherits its peak. Linux keeps this process's own in its status.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let own = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    let own_bytes: Option<u64> = own.map(|kib: u64| kib * 1024);
    own_bytes.unwrap_or_else(|| {
        let max = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| usage.max_rss());
        let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
        u64::try_from(max).unwrap_or(0) * unit
    })
}
