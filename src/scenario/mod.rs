//! Scenarios and flags, resolved into a plan: what a run will really do.
//!
//! A scenario file holds the same names as the command line. Flags override
//! it, defaults fill what neither says, and the plan has no optional value
//! left that somebody would have to think about again.

mod stock;

use crate::db::schema::{Seed, SkuIds};
use crate::db::{Dialect, Isolation};
use crate::exit::usage;
use crate::fault::{Blow, FaultSpec, LATENCY_MAX};
use crate::load::{Delay, LoadArgs, check_rate};
use crate::outcome::OnUnknown;
use crate::report::Threshold;
use crate::shipped;
use crate::strategy::file::ExpectedAudit;
use crate::strategy::{Strategy, StrategyFile, catalogue};
use crate::text;
use crate::workload::arrivals::{Pace, Profile, Stage};
use crate::workload::orders::{LineOrder, OrderSource, Span};
use crate::workload::{Distribution, Generated, Replay};
use anyhow::{Result, anyhow, ensure};
use rand::RngExt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use stock::{Demand, Stock};

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*]
    };
}

/// The scenarios that come with stockbench: name and text.
pub const SHIPPED: &[(&str, &str)] = shipped![
    "ci-smoke",
    "flash-sale",
    "hot-and-cold",
    "multi-line-orders",
    "deadlock-order",
    "retry-storm",
    "retry-storm-forgetful",
    "reservation-expiry",
    "isolation-trap",
    "pool-exhaustion",
    "lock-timeout",
    "transaction-deadline",
    "transaction-deadline-autocommit",
    "redis-lock-expiry",
    "redis-lock-fenced-expiry",
    "redis-counter-killed",
    "saga-compensation",
    "unlogged-crash",
    "past-the-version",
    "restock-beside-sales",
    "stock-take-beside-sales",
    "stock-take-absolute-beside-sales",
    "like-toggle",
    "like-toggle-unchecked",
    "transfer",
    "transfer-naive",
    "transfer-unordered",
    "voucher",
    "voucher-naive",
];

/// A scenario file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it shows, in one line.
    pub summary: String,
    /// The databases it is for; all of them if it names none.
    #[serde(default)]
    pub databases: Vec<Dialect>,
    /// The strategy to run, a mix of several, or one written here.
    pub strategy: Option<Chosen>,
    /// Values for the params of its strategies.
    #[serde(default)]
    pub params: BTreeMap<String, i64>,
    /// How much is asked of the database.
    #[serde(default)]
    pub load: LoadArgs,
    /// What must come of it.
    #[serde(default)]
    pub expect: Expect,
}

/// What must come of a run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// A finding that must be made; by default nothing may be found.
    #[serde(default)]
    pub audit: ExpectedAudit,
    /// Figures that must stay on one side of a value.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
    /// Codes of errors that must be met; orders may end in them.
    #[serde(default)]
    pub errors: Vec<String>,
}

/// A strategy by name, or written into the scenario.
#[derive(Debug, Clone)]
pub enum Chosen {
    /// `NAME`, a path, or a mix such as `NAME@4,NAME@1`.
    Named(String),
    /// A strategy file's content.
    Inline(Box<StrategyFile>),
}

impl<'de> Deserialize<'de> for Chosen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChosenVisitor)
    }
}

/// By hand, because only so an error in an inline strategy keeps its line.
struct ChosenVisitor;

impl<'de> Visitor<'de> for ChosenVisitor {
    type Value = Chosen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a strategy, a mix of several, or a strategy")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Chosen, E> {
        Ok(Chosen::Named(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Chosen, A::Error> {
        let file = StrategyFile::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Chosen::Inline(Box::new(file)))
    }
}

impl Scenario {
    /// Finds a scenario by name, or reads the file that a path names.
    ///
    /// # Errors
    /// An unknown name (the nearest is named), or a bad file.
    pub fn load(name_or_path: &str) -> Result<Self> {
        let source = shipped::find(SHIPPED, "scenario", "scenarios", name_or_path)?;
        Self::parse(name_or_path, &source)
    }

    /// Reads a scenario from text; `name` is how errors call it.
    ///
    /// # Errors
    /// One line that names the file, the line and the nearest known key.
    pub fn parse(name: &str, source: &str) -> Result<Self> {
        text::parse_toml(name, source)
    }
}

/// What a run will really do.
#[derive(Debug)]
pub struct Plan {
    /// How stock is deducted: strategies, and their weights in the mix.
    pub mix: Vec<(Strategy, u32)>,
    /// Values for the params of these strategies.
    pub params: BTreeMap<String, i64>,
    /// The databases the scenario is for; all of them if it names none.
    pub databases: Vec<Dialect>,
    /// What must come of the run.
    pub expect: Expect,
    /// Concurrent clients.
    pub concurrency: u64,
    /// When orders start.
    pub pace: Pace,
    /// How long the load is put on beforehand.
    pub warmup: Option<Duration>,
    /// An order answered later than this is late.
    pub latency_limit: Option<Duration>,
    /// Orders to send; `None` when a duration ends the run.
    pub orders: Option<u64>,
    /// How long to go on starting orders.
    pub duration: Option<Duration>,
    /// Connections, if the user chose.
    pub connections: Option<u64>,
    /// Longest wait for a connection.
    pub acquire_timeout: Option<Duration>,
    /// How much longer a round trip to the database takes.
    pub rtt: Duration,
    /// A pause between a program's read and its write.
    pub think: Duration,
    /// The isolation level, if the user chose.
    pub isolation: Option<Isolation>,
    /// How long a lock is waited for, if the user chose.
    pub lock_timeout: Option<Duration>,
    /// How long one statement may take, if the user chose.
    pub statement_timeout: Option<Duration>,
    /// How long one transaction may take.
    pub transaction_timeout: Option<Duration>,
    /// What goes wrong on purpose.
    pub faults: Vec<FaultSpec>,
    /// Share of the orders that are delivered more than once, in percent.
    pub duplicates: u8,
    /// Attempts per order, if the user chose.
    pub max_tries: Option<u32>,
    /// Waits between attempts, if the user chose.
    pub retry_delay: Option<Delay>,
    /// What the client does when an answer is lost, if the user chose.
    pub retry_unknown: Option<OnUnknown>,
    /// How long a lost connection is opened again and again.
    pub reconnect: Duration,
    /// SKUs and units to seed.
    pub seed: Seed,
    /// Whether the stock was chosen so as to last, because nobody said how much there is.
    pub stock_lasts: bool,
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

/// How long a lost connection is opened again and again, and how long where the
/// server is taken away on purpose and comes back.
const RECONNECT: Duration = Duration::from_secs(5);
const RECONNECT_AFTER_FAULT: Duration = Duration::from_secs(60);

const CONCURRENCY: u64 = 50;

/// Clients, at most: each takes some memory before it has done anything.
const CLIENTS_MAX: u64 = 1_000_000;

const ORDERS: u64 = 2_000;
const SKUS: u64 = 3;

/// SKU positions are kept as 32-bit numbers.
const SKUS_MAX: u64 = u32::MAX as u64;

/// A drawn seed is short enough to be typed again.
const DRAWN_SEED_MAX: u64 = 1_000_000_000;

impl Plan {
    /// Resolves flags over a scenario over the strategies' own wishes over the
    /// defaults. `name` is what the scenario is called.
    ///
    /// # Errors
    /// Values that do not go together, or a file that cannot be read.
    pub fn resolve(asked: &Asked, name: &str, scenario: Option<&Scenario>) -> Result<Self> {
        let empty = Scenario::default();
        let scenario = scenario.unwrap_or(&empty);
        let by_name = |name: &str| Chosen::Named(name.to_owned());
        let chosen = asked.strategy.map(by_name).or_else(|| scenario.strategy.clone());
        let mix = match chosen.unwrap_or_else(|| by_name(catalogue::DEFAULT)) {
            Chosen::Named(names) => read_mix(&names)?,
            Chosen::Inline(file) => {
                vec![(Strategy { name: name.to_owned(), text: String::new(), file: *file }, 1)]
            }
        };
        let params: BTreeMap<String, i64> =
            scenario.params.iter().chain(asked.params).map(|(key, value)| (key.clone(), *value)).collect();
        check_params(&params, mix.iter().map(|(strategy, _)| strategy))?;
        let load = asked.load.over(&scenario.load);
        let load = if asked.as_it_is { load } else { with_wishes(load, &mix) };
        let replay = match load.replay {
            Some(ref path) => Some((path.clone(), Replay::read(path)?)),
            None => None,
        };
        check_together(&load)?;
        let duplicates = load.duplicates.unwrap_or(0);
        ensure!(duplicates <= 100, "duplicates = {duplicates}: a share in percent is at most 100");
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
        let Paced { pace, duration, concurrency } = paced(&load)?;
        let orders = match (&replay, load.orders, duration) {
            (Some((_, replay)), orders, _) => Some(orders.unwrap_or(u64::MAX).min(replay.len())),
            (None, None, Some(_)) => None,
            (None, orders, _) => Some(orders.unwrap_or(ORDERS)),
        };
        let quantity = load.quantity.unwrap_or(Span { min: 1, max: 1 });
        let dist = load.dist.unwrap_or(Distribution::Uniform);
        let (skus, warmup) = (sku_ids.len(), load.warmup);
        let demand = Demand { pace: &pace, orders, duration, warmup, skus, lines, quantity, dist };
        let asked_for = |units: u32| Stock { units: i64::from(units), lasts: false };
        let stock = load.stock.map_or_else(|| demand.stock(), asked_for);
        let batches = mix.iter().find(|(strategy, _)| strategy.file.takes_batches_only());
        let most_lines = replay.as_ref().map_or(lines.max, |(_, replay)| replay.most_lines());
        if let Some((strategy, _)) = batches {
            ensure!(
                most_lines == 1,
                "strategy {} answers many orders of one SKU together: it takes orders of one line (--lines 1)",
                strategy.name
            );
        }
        let needs_patience = load.fault.iter().any(FaultSpec::needs_patience);
        let reconnect = if needs_patience { RECONNECT_AFTER_FAULT } else { RECONNECT };
        ensure!(
            replay.is_none() || load.retry_unknown != Some(OnUnknown::NewId),
            "--retry-unknown new-id makes order ids up, and --replay brings its own"
        );
        let mut expect = scenario.expect.clone();
        expect.thresholds.extend(asked.thresholds.iter().cloned());
        Ok(Self {
            mix,
            params,
            databases: scenario.databases.clone(),
            expect,
            acquire_timeout: load.acquire_timeout,
            statement_timeout: load.statement_timeout,
            transaction_timeout: load.transaction_timeout,
            faults: load.fault,
            duplicates,
            concurrency,
            pace,
            warmup: load.warmup,
            latency_limit: load.latency_limit,
            orders,
            duration,
            connections: load.connections,
            rtt: load.rtt.unwrap_or_default(),
            think: load.think.unwrap_or_default(),
            isolation: load.isolation,
            lock_timeout: load.lock_timeout,
            max_tries: load.max_tries,
            retry_delay: load.retry_delay,
            retry_unknown: load.retry_unknown,
            reconnect: load.reconnect.unwrap_or(reconnect),
            seed: Seed { sku_ids, stock: stock.units },
            stock_lasts: stock.lasts,
            quantity,
            lines,
            line_order: load.line_order.unwrap_or(LineOrder::Sorted),
            dist,
            random_seed: load.random_seed.unwrap_or_else(|| rand::rng().random_range(1..DRAWN_SEED_MAX)),
            replay,
        })
    }

    /// Whether this befalls the server.
    pub fn has_blow(&self, blow: Blow) -> bool {
        self.faults.iter().any(|fault| matches!(fault, FaultSpec::Timed(timed) if timed.blow == blow))
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

/// Values that would contradict each other, or say nothing.
fn check_together(load: &LoadArgs) -> Result<()> {
    if load.replay.is_some() {
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
    for (value, name) in [
        (load.concurrency, "concurrency"),
        (load.connections, "connections"),
        (load.orders, "orders"),
        (load.skus, "skus"),
    ] {
        ensure!(value != Some(0), "{name} must be at least 1");
    }
    let clients = load.stages.iter().filter_map(|stage| stage.concurrency).chain(load.concurrency);
    ensure!(
        clients.chain(load.connections).all(|asked| asked <= CLIENTS_MAX),
        "concurrency and connections are at most {CLIENTS_MAX}"
    );
    ensure!(load.rtt.is_none_or(|rtt| rtt <= LATENCY_MAX), "rtt is at most {} s", LATENCY_MAX.as_secs());
    ensure!(
        load.warmup.is_none() || load.replay.is_none(),
        "--warmup has no meaning with --replay: each order of the file is sent once"
    );
    Ok(())
}

/// How much is asked over time, as [`paced`] reads it from a load.
struct Paced {
    pace: Pace,
    duration: Option<Duration>,
    concurrency: u64,
}

/// Reads the rate, the ramp, the stages and the end of a load.
fn paced(load: &LoadArgs) -> Result<Paced> {
    let clients = load.concurrency.unwrap_or(CONCURRENCY);
    if load.stages.is_empty() {
        let ramp = load.ramp.unwrap_or_default();
        ensure!(load.duration.is_none_or(|duration| ramp <= duration), "--ramp takes longer than --duration");
        ensure!(
            load.arrivals.is_none() || load.rate.is_some(),
            "--arrivals spaces the orders of an open loop: give a --rate, too"
        );
        let stage = |level| Profile::new(&[Stage { duration: load.duration, ramp, level }]);
        let pace = match load.rate {
            Some(rate) => Pace::Open {
                rate: stage(check_rate(rate).map_err(|error| anyhow!("rate: {error}"))?),
                spacing: load.arrivals.unwrap_or_default(),
            },
            None => Pace::Closed { clients: stage(as_level(clients)) },
        };
        return Ok(Paced { pace, duration: load.duration, concurrency: clients });
    }
    for (name, given) in [
        ("rate", load.rate.is_some()),
        ("ramp", load.ramp.is_some()),
        ("duration", load.duration.is_some()),
        ("orders", load.orders.is_some()),
    ] {
        ensure!(!given, "{name} beside stages: each stage says its own");
    }
    let of_rates = load.stages[0].rate.is_some();
    let mut stages = Vec::new();
    for (stage, number) in load.stages.iter().zip(1..) {
        let duration = stage.duration.filter(|duration| !duration.is_zero());
        let duration = duration.ok_or_else(|| anyhow!("stage {number} has no duration"))?;
        let ramp = stage.ramp.unwrap_or_default();
        ensure!(ramp <= duration, "stage {number}: its ramp takes longer than its duration");
        let level = match (stage.rate, stage.concurrency) {
            // A pause is a stage, too.
            (Some(0.0), None) if of_rates => 0.0,
            (Some(rate), None) if of_rates => {
                check_rate(rate).map_err(|error| anyhow!("stage {number}: {error}"))?
            }
            (None, Some(clients)) if !of_rates => as_level(clients),
            _ => {
                return Err(anyhow!(
                    "stage {number}: each stage has either a rate or a concurrency, all of them the same one"
                ));
            }
        };
        stages.push(Stage { duration: Some(duration), ramp, level });
    }
    let profile = Profile::new(&stages);
    ensure!(profile.peak() > 0.0, "all stages are pauses");
    let duration = load.stages.iter().filter_map(|stage| stage.duration).sum();
    let peak = load.stages.iter().filter_map(|stage| stage.concurrency).max();
    let pace = if of_rates {
        Pace::Open { rate: profile, spacing: load.arrivals.unwrap_or_default() }
    } else {
        Pace::Closed { clients: profile }
    };
    Ok(Paced { pace, duration: Some(duration), concurrency: peak.unwrap_or(clients) })
}

#[expect(clippy::cast_precision_loss, reason = "a number of clients")]
fn as_level(clients: u64) -> f64 {
    clients as f64
}

/// What the command line asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// A strategy or a mix.
    pub strategy: Option<&'a str>,
    /// The load.
    pub load: &'a LoadArgs,
    /// Values for params.
    pub params: &'a BTreeMap<String, i64>,
    /// Thresholds.
    pub thresholds: &'a [Threshold],
    /// Whether the load is this one and nothing else, whatever the strategies wish for
    /// themselves: so that several of them are asked the same.
    pub as_it_is: bool,
}

/// Reads `NAME`, or a mix such as `NAME@4,NAME@1`.
fn read_mix(names: &str) -> Result<Vec<(Strategy, u32)>> {
    let member = |text: &str| {
        let weighed =
            text.rsplit_once('@').and_then(|(name, weight)| Some((name, weight.parse::<u32>().ok()?)));
        let (name, weight) = weighed.unwrap_or((text, 1));
        ensure!(weight > 0, "{text}: a weight is at least 1");
        Ok((Strategy::load(name)?, weight))
    };
    let mix: Result<Vec<(Strategy, u32)>> = names.split(',').map(|text| member(text.trim())).collect();
    let mix = mix?;
    for (index, (strategy, _)) in mix.iter().enumerate() {
        ensure!(
            mix[..index].iter().all(|(other, _)| other.name != strategy.name),
            "strategy {} is in the mix twice: add its weights up",
            strategy.name
        );
    }
    Ok(mix)
}

/// # Errors
/// A param that none of the strategies has.
pub fn check_params<'s>(
    params: &BTreeMap<String, i64>,
    strategies: impl IntoIterator<Item = &'s Strategy>,
) -> Result<()> {
    let known: Vec<&str> =
        strategies.into_iter().flat_map(|strategy| strategy.file.params.keys()).map(String::as_str).collect();
    match params.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let suggestion = text::did_you_mean(key, known);
            Err(anyhow!("no strategy of this run has a param `{key}`{suggestion}"))
        }
    }
}

/// Fills in what the strategies ask for, as far as it goes together with what
/// was asked of them.
fn with_wishes(load: LoadArgs, mix: &[(Strategy, u32)]) -> LoadArgs {
    let skus = load.skus;
    mix.iter().fold(load, |load, (strategy, _)| {
        let mut wishes = strategy.file.load.clone();
        if load.replay.is_some() {
            // The file says which SKUs and how many.
            wishes = LoadArgs {
                skus: None,
                quantity: None,
                lines: None,
                dist: None,
                orders: None,
                duration: None,
                ..wishes
            };
        }
        let most = skus.and_then(|skus| i64::try_from(skus).ok()).unwrap_or(i64::MAX);
        wishes.lines = wishes.lines.map(|lines| Span { min: lines.min.min(most), max: lines.max.min(most) });
        load.over(&wishes)
    })
}

/// Resolves what the command line asks for.
///
/// # Errors
/// As [`Plan::resolve`], as the user's to mend: exit code 2.
pub fn resolve(asked: &Asked, scenario: Option<&str>) -> Result<Plan> {
    let resolve = || {
        let loaded = scenario.map(Scenario::load).transpose()?;
        Plan::resolve(asked, scenario.unwrap_or_default(), loaded.as_ref())
    };
    resolve().map_err(|error: anyhow::Error| usage(format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(strategy: Option<&str>, load: &LoadArgs, scenario: Option<&Scenario>) -> Result<Plan> {
        let (params, thresholds) = (&BTreeMap::new(), &[][..]);
        Plan::resolve(&Asked { strategy, load, params, thresholds, as_it_is: false }, "test", scenario)
    }

    #[test]
    fn every_shipped_scenario_resolves_to_a_plan() {
        for (name, _) in SHIPPED {
            let scenario = Scenario::load(name).unwrap();
            assert!(!scenario.summary.is_empty(), "{name} does not say what it shows");
            let plan = resolved(None, &LoadArgs::default(), Some(&scenario)).unwrap();
            let databases = if plan.databases.is_empty() { Dialect::ALL.to_vec() } else { plan.databases };
            for dialect in databases {
                for (strategy, _) in &plan.mix {
                    strategy.compile(&dialect.into()).unwrap();
                }
            }
        }
    }

    #[test]
    fn flags_override_the_scenario_and_the_scenario_the_defaults() {
        let source = "summary = \"x\"\nstrategy = \"cas\"\n[load]\nstock = 7\nskus = 9\nduration = \"2s\"\n";
        let scenario: Scenario = text::parse_toml("s.toml", source).unwrap();
        let flags = LoadArgs { skus: Some(4), ..LoadArgs::default() };
        let plan = resolved(None, &flags, Some(&scenario)).unwrap();
        assert_eq!((plan.mix[0].0.name.as_str(), plan.seed.stock, plan.seed.sku_ids.len()), ("cas", 7, 4));
        assert_eq!((plan.orders, plan.duration), (None, Some(Duration::from_secs(2))));
        let flags = LoadArgs { orders: Some(10), ..LoadArgs::default() };
        let plan = resolved(Some("naive"), &flags, Some(&scenario)).unwrap();
        assert_eq!((plan.mix[0].0.name.as_str(), plan.orders, plan.duration), ("naive", Some(10), None));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let refused = |flags: LoadArgs| resolved(None, &flags, None).unwrap_err().to_string();
        let both =
            LoadArgs { orders: Some(1), duration: Some(Duration::from_secs(1)), ..LoadArgs::default() };
        assert!(refused(both).contains("give one of them"));
        let lines = LoadArgs { lines: Some(Span { min: 1, max: 5 }), ..LoadArgs::default() };
        assert!(refused(lines).contains("more lines than there are SKUs"));
    }
}
