//! Scenarios and flags, resolved into a plan: what a run will really do.
//!
//! A scenario file holds the same names as the command line. Flags override
//! it, defaults fill what neither says, and the plan has no optional value
//! left that somebody would have to think about again.

use crate::cli::{Delay, LoadArgs};
use crate::db::Isolation;
use crate::db::schema::{Seed, SkuIds};
use crate::exit::usage;
use crate::shipped;
use crate::strategy::{Strategy, catalogue};
use crate::text;
use crate::workload::orders::{LineOrder, OrderSource, Span};
use crate::workload::{Distribution, Generated, Replay};
use anyhow::{Result, ensure};
use rand::RngExt;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*]
    };
}

/// The scenarios that come with stockbench: name and text.
pub const SHIPPED: &[(&str, &str)] = shipped!["ci-smoke", "flash-sale", "multi-line-orders"];

/// A scenario file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// What it shows, in one line.
    pub summary: String,
    /// The strategy to run.
    pub strategy: Option<String>,
    /// How much is asked of the database.
    #[serde(default)]
    pub load: LoadArgs,
}

impl Scenario {
    /// Finds a scenario by name, or reads the file that a path names.
    ///
    /// # Errors
    /// An unknown name (the nearest is named), or a bad file.
    pub fn load(name_or_path: &str) -> Result<Self> {
        let source = shipped::find(SHIPPED, "scenario", "scenarios", name_or_path)?;
        text::parse_toml(name_or_path, &source)
    }
}

/// What a run will really do.
#[derive(Debug)]
pub struct Plan {
    /// How stock is deducted.
    pub strategy: Strategy,
    /// Concurrent clients.
    pub concurrency: u64,
    /// Orders to send; `None` when a duration ends the run.
    pub orders: Option<u64>,
    /// How long to go on starting orders.
    pub duration: Option<Duration>,
    /// Connections, if the user chose.
    pub connections: Option<u64>,
    /// A pause between a program's read and its write.
    pub think: Duration,
    /// The isolation level, if the user chose.
    pub isolation: Option<Isolation>,
    /// How long a lock is waited for, if the user chose.
    pub lock_timeout: Option<Duration>,
    /// Attempts per order, if the user chose.
    pub max_tries: Option<u32>,
    /// Waits between attempts, if the user chose.
    pub retry_delay: Option<Delay>,
    /// SKUs and units to seed.
    pub seed: Seed,
    /// Units per line of generated orders.
    pub quantity: Span,
    /// Lines per generated order.
    pub lines: Span,
    /// The order in which lines are worked on.
    pub line_order: LineOrder,
    /// How demand is spread over the SKUs.
    pub dist: Distribution,
    /// The seed of all chance.
    pub random_seed: u64,
    /// Orders read from a file, and which file.
    pub replay: Option<(PathBuf, Replay)>,
}

const CONCURRENCY: u64 = 50;
const ORDERS: u64 = 2_000;
const SKUS: u64 = 3;
const STOCK: u32 = 100;

/// SKU positions are kept as 32-bit numbers.
const SKUS_MAX: u64 = u32::MAX as u64;

/// A drawn seed is short enough to be typed again.
const DRAWN_SEED_MAX: u64 = 1_000_000_000;

impl Plan {
    /// Resolves flags over a scenario over the defaults.
    ///
    /// # Errors
    /// Values that do not go together, or a file that cannot be read.
    pub fn resolve(strategy: Option<&str>, flags: &LoadArgs, scenario: Option<&Scenario>) -> Result<Self> {
        let empty = Scenario::default();
        let scenario = scenario.unwrap_or(&empty);
        let strategy = strategy.or(scenario.strategy.as_deref()).unwrap_or(catalogue::DEFAULT);
        let strategy = Strategy::load(strategy)?;
        let load = flags.over(&scenario.load);
        let replay = match load.replay {
            Some(path) => Some((path.clone(), Replay::read(&path)?)),
            None => None,
        };
        if replay.is_some() {
            for (flag, given) in [
                ("--skus", load.skus.is_some()),
                ("--quantity", load.quantity.is_some()),
                ("--lines", load.lines.is_some()),
                ("--dist", load.dist.is_some()),
            ] {
                ensure!(!given, "{flag} has no meaning with --replay: the file says which SKUs and how many");
            }
        }
        ensure!(
            load.orders.is_none() || load.duration.is_none(),
            "--orders and --duration both end the run: give one of them"
        );
        let skus = load.skus.unwrap_or(SKUS);
        ensure!(skus <= SKUS_MAX, "--skus {skus} is more than {}", text::thousands(SKUS_MAX));
        let lines = load.lines.unwrap_or(Span { min: 1, max: 1 });
        let sku_ids = match &replay {
            Some((_, replay)) => SkuIds::These(replay.sku_ids()),
            None => SkuIds::UpTo(i64::try_from(skus)?),
        };
        ensure!(
            replay.is_some() || usize::try_from(lines.max)? <= sku_ids.len(),
            "--lines {lines} asks for more lines than there are SKUs ({skus}): an order names each SKU once"
        );
        let orders = match (&replay, load.orders, load.duration) {
            (Some((_, replay)), orders, _) => Some(orders.unwrap_or(u64::MAX).min(replay.len())),
            (None, None, Some(_)) => None,
            (None, orders, _) => Some(orders.unwrap_or(ORDERS)),
        };
        Ok(Self {
            strategy,
            concurrency: load.concurrency.unwrap_or(CONCURRENCY),
            orders,
            duration: load.duration,
            connections: load.connections,
            think: load.think.unwrap_or_default(),
            isolation: load.isolation,
            lock_timeout: load.lock_timeout,
            max_tries: load.max_tries,
            retry_delay: load.retry_delay,
            seed: Seed { sku_ids, stock: i64::from(load.stock.unwrap_or(STOCK)) },
            quantity: load.quantity.unwrap_or(Span { min: 1, max: 1 }),
            lines,
            line_order: load.line_order.unwrap_or(LineOrder::Sorted),
            dist: load.dist.unwrap_or(Distribution::Uniform),
            random_seed: load.random_seed.unwrap_or_else(|| rand::rng().random_range(1..DRAWN_SEED_MAX)),
            replay,
        })
    }

    /// The source of the run's orders.
    pub fn take_order_source(&mut self) -> OrderSource {
        match self.replay.take() {
            Some((_, replay)) => OrderSource::Replayed(replay),
            None => OrderSource::Generated(Generated::new(
                self.seed.sku_ids.clone(),
                self.dist,
                self.lines,
                self.quantity,
                self.random_seed,
            )),
        }
    }
}

impl LoadArgs {
    /// These values where they are given, the other's elsewhere.
    fn over(&self, other: &Self) -> Self {
        // Exhaustive, so that a new flag cannot be forgotten here. A flag that
        // says how the run ends replaces both of the scenario's ways.
        let ends_run = self.orders.is_some() || self.duration.is_some();
        Self {
            concurrency: self.concurrency.or(other.concurrency),
            orders: if ends_run { self.orders } else { other.orders },
            duration: if ends_run { self.duration } else { other.duration },
            connections: self.connections.or(other.connections),
            think: self.think.or(other.think),
            isolation: self.isolation.or(other.isolation),
            lock_timeout: self.lock_timeout.or(other.lock_timeout),
            max_tries: self.max_tries.or(other.max_tries),
            retry_delay: self.retry_delay.or(other.retry_delay),
            skus: self.skus.or(other.skus),
            stock: self.stock.or(other.stock),
            quantity: self.quantity.or(other.quantity),
            lines: self.lines.or(other.lines),
            line_order: self.line_order.or(other.line_order),
            dist: self.dist.or(other.dist),
            replay: self.replay.clone().or_else(|| other.replay.clone()),
            random_seed: self.random_seed.or(other.random_seed),
        }
    }
}

/// Resolves what the command line asks for.
///
/// # Errors
/// As [`Plan::resolve`], as the user's to mend: exit code 2.
pub fn resolve(strategy: Option<&str>, flags: &LoadArgs, scenario: Option<&str>) -> Result<Plan> {
    let resolve = || {
        let scenario = scenario.map(Scenario::load).transpose()?;
        Plan::resolve(strategy, flags, scenario.as_ref())
    };
    resolve().map_err(|error: anyhow::Error| usage(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_scenario_resolves_to_a_plan() {
        for (name, _) in SHIPPED {
            let scenario = Scenario::load(name).unwrap();
            assert!(!scenario.summary.is_empty(), "{name} does not say what it shows");
            Plan::resolve(None, &LoadArgs::default(), Some(&scenario)).unwrap();
        }
    }

    #[test]
    fn flags_override_the_scenario_and_the_scenario_the_defaults() {
        let source = "summary = \"x\"\nstrategy = \"cas\"\n[load]\nstock = 7\nskus = 9\nduration = \"2s\"\n";
        let scenario: Scenario = text::parse_toml("s.toml", source).unwrap();
        let flags = LoadArgs { skus: Some(4), ..LoadArgs::default() };
        let plan = Plan::resolve(None, &flags, Some(&scenario)).unwrap();
        assert_eq!((plan.strategy.name.as_str(), plan.seed.stock, plan.seed.sku_ids.len()), ("cas", 7, 4));
        assert_eq!((plan.orders, plan.duration), (None, Some(Duration::from_secs(2))));
        let flags = LoadArgs { orders: Some(10), ..LoadArgs::default() };
        let plan = Plan::resolve(Some("naive"), &flags, Some(&scenario)).unwrap();
        assert_eq!((plan.strategy.name.as_str(), plan.orders, plan.duration), ("naive", Some(10), None));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let refused = |flags: LoadArgs| Plan::resolve(None, &flags, None).unwrap_err().to_string();
        let both =
            LoadArgs { orders: Some(1), duration: Some(Duration::from_secs(1)), ..LoadArgs::default() };
        assert!(refused(both).contains("give one of them"));
        let lines = LoadArgs { lines: Some(Span { min: 1, max: 5 }), ..LoadArgs::default() };
        assert!(refused(lines).contains("more lines than there are SKUs"));
    }
}
