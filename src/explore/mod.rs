//! Every interleaving of a few clients, on the real database.
//!
//! A stress run hopes to meet the race; this looks for it. Each client has a
//! connection and the same interpreter as in a run; one statement at a time,
//! in every order that the database allows, and the invariants after each.
//! In reading order: [`schedule`] is who moves when, [`problem`] what is
//! explored, [`draws`] with which drawn values, `world` has the connections, `play`
//! plays one schedule on them and notes its `event`s, [`effect`] says which moves can
//! be swapped, `search` which schedules are played, [`rows`] what is copied of large
//! tables, `judge` what came of one, [`witness`] tells it to people and `cause`
//! why, [`widen`] what
//! is searched when nothing was found.
//!
//! What is found is found on the server itself: a witness is a schedule that
//! happened, and can be made to happen again.

mod cause;
pub mod draws;
pub mod effect;
mod event;
mod judge;
mod play;
pub mod problem;
pub mod rows;
pub mod schedule;
mod search;
pub mod widen;
pub mod witness;
mod world;

pub use problem::Problem;
pub use schedule::{Move, Schedule};

use crate::audit::{Finding, FindingKind};
use crate::db::{Database, SessionSettings};
use crate::engine::stop::Stop;
use crate::outcome::Outcome;
use anyhow::{Result, anyhow};
use judge::{Judged, OutcomeKey};
use parking_lot::Mutex;
use schemars::JsonSchema;
use search::Search;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use world::{Branch, Diverged, Ran, World};

/// Clients of an exploration, at most.
pub const CLIENTS_MAX: usize = 4;

/// How often a schedule that went another way is tried again.
const REPEATS: usize = 20;

/// Schedules that are tried to make a witness simpler.
const SIMPLER_MAX: usize = 60;

/// Where one worker plays: tables of its own, and what brings them back.
#[derive(Debug)]
pub struct Stage {
    /// The database as seen from inside.
    pub database: Database,
    /// The statements that bring its tables back to where they began.
    pub reset: String,
}

/// What is to be run.
#[derive(Debug, Clone)]
pub enum Which {
    /// Every schedule, as far as so many.
    Every {
        /// Schedules, at most.
        max: u64,
    },
    /// So many, each option drawn at random.
    Sample(u64),
    /// This one.
    One(Schedule),
}

/// What an exploration found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Explored {
    /// Schedules that were run to their end.
    pub schedules: u64,
    /// Schedules that were begun and broken off, because what would follow had
    /// been seen.
    pub pruned: u64,
    /// Whether every schedule was run, or one that nobody can tell from it.
    pub complete: bool,
    /// Why not, if not.
    pub cut_short: Option<String>,
    /// How they ended, the most frequent first.
    pub outcomes: Vec<OutcomeCount>,
    /// Schedules in which a move let several clients go on at once: which of them
    /// was first, the server decided.
    pub raced: u64,
    /// Beginnings of schedules that could not be reached again, because the server
    /// goes another way with the same moves mostly; that way was explored.
    pub unrepeated: u64,
    /// Schedules that broke an invariant.
    pub violations: u64,
    /// For each invariant that was broken, the schedule that is understood at
    /// once.
    pub witnesses: Vec<Witness>,
    /// Schedules in which clients waited for each other in a circle.
    pub deadlocks: u64,
    /// One of them: who waits in which statement for whom.
    pub deadlock: Option<Circle>,
    /// Errors of the database over all schedules, by code.
    pub errors: BTreeMap<String, u64>,
    /// Orders that were given up because their attempts were used up.
    pub undecided: u64,
    /// Orders, and background programs, that ended in an error that the program has
    /// no way with.
    pub failed: u64,
    /// Seconds that it took.
    pub elapsed_s: f64,
}

/// One way for a schedule to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OutcomeCount {
    /// What the clients were told, in no order.
    pub told: Vec<Outcome>,
    /// What was left of each SKU.
    pub stock: Vec<SkuStock>,
    /// The invariants that were broken.
    pub findings: Vec<FindingKind>,
    /// Schedules that ended so.
    pub schedules: u64,
    /// One of them.
    pub schedule: String,
}

/// A SKU and what is left of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SkuStock {
    /// Which SKU.
    pub sku_id: i64,
    /// Units.
    pub stock: i64,
}

/// A schedule that breaks an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Witness {
    /// Which invariant.
    pub kind: FindingKind,
    /// The moves, as `--schedule` takes them.
    pub schedule: String,
    /// How often another client goes on than the one that moved last.
    pub switches: usize,
    /// Which way each client takes, where the program has alternatives, and the values
    /// that were drawn for its order.
    pub ways: String,
    /// What was sent, and what came of it.
    pub steps: Vec<witness::Line>,
    /// Why it came to this, as far as the steps tell, and what to do about it.
    pub causes: Vec<String>,
    /// Everything that is wrong at the end.
    pub findings: Vec<Finding>,
    /// What the three witnesses say at the end.
    pub at_the_end: String,
}

/// Clients that wait for each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Circle {
    /// The moves, as `--schedule` takes them.
    pub schedule: String,
    /// Who waits in which statement for whom.
    pub waits: Vec<witness::Line>,
    /// Why, and what to do about it.
    pub cause: String,
}

/// Counts, for whoever watches.
#[derive(Debug, Default)]
pub struct Progress {
    /// Schedules run so far.
    pub schedules: AtomicU64,
    /// Those that broke an invariant.
    pub violations: AtomicU64,
}

/// Explores on as many stages as are there, one worker each.
///
/// # Errors
/// The server is gone, does not tell who waits for whom, or answers what cannot
/// be judged, before anything was found out.
pub async fn explore(
    problem: &Problem,
    stages: Vec<Stage>,
    settings: SessionSettings,
    which: &Which,
    stop: &Stop,
    progress: &Progress,
) -> Result<Explored> {
    let begun = Instant::now();
    let search = match which {
        Which::Every { max } => Search::every(problem.variants.len(), *max),
        Which::Sample(count) => Search::sample(problem.variants.len(), *count, problem.random_seed),
        Which::One(_) => Search::nothing(),
    };
    let serial = AtomicI64::new(problem.first_serial + 1);
    let exploration = Exploration { problem, stop, progress, search, tally: Mutex::default(), serial };
    let mut worlds = Vec::new();
    for stage in stages {
        worlds.push(World::open(problem, stage.database, settings.clone(), stage.reset).await?);
    }
    if let Which::One(schedule) = which {
        exploration.replay(&mut worlds[0], schedule).await?;
    } else {
        futures_util::future::join_all(worlds.iter_mut().map(|world| exploration.work(world))).await;
    }
    let witnesses = match worlds.first_mut() {
        Some(world) => exploration.witnesses(world).await,
        None => Vec::new(),
    };
    for world in worlds {
        world.close().await;
    }
    exploration.finish(witnesses, which, begun.elapsed())
}

/// An exploration while it goes on.
struct Exploration<'e> {
    problem: &'e Problem,
    stop: &'e Stop,
    progress: &'e Progress,
    search: Search,
    tally: Mutex<Tally>,
    serial: AtomicI64,
}

/// What was seen so far.
#[derive(Default)]
struct Tally {
    schedules: u64,
    pruned: u64,
    raced: u64,
    unrepeated: u64,
    violations: u64,
    deadlocks: u64,
    undecided: u64,
    failed: u64,
    outcomes: BTreeMap<OutcomeKey, (u64, Schedule)>,
    errors: BTreeMap<String, u64>,
    best: BTreeMap<FindingKind, (Ran, Judged)>,
    deadlock: Option<(Schedule, Vec<witness::Line>)>,
    failure: Option<anyhow::Error>,
}

impl Exploration<'_> {
    async fn work(&self, world: &mut World<'_>) {
        while let Some(branch) = self.search.next().await {
            match self.play(world, &branch).await {
                Ok((ran, judged)) => {
                    self.search.ran(&branch, &ran);
                    self.add(ran, judged);
                }
                Err(error) => match error.downcast::<Diverged>() {
                    Ok(diverged) => {
                        self.tally.lock().unrepeated += 1;
                        self.search.lost(&branch, diverged);
                    }
                    Err(error) => {
                        self.tally.lock().failure.get_or_insert(error);
                        self.search.close();
                    }
                },
            }
        }
    }

    /// Runs a branch and judges it. The server may go another way with the same
    /// moves now and then (which of two is the victim of a deadlock): it is given
    /// another chance.
    async fn play(&self, world: &mut World<'_>, branch: &Branch) -> Result<(Ran, Option<Judged>)> {
        let mut tries = 0;
        let ran = loop {
            let serial = self.serial.fetch_add(1, Ordering::Relaxed);
            match world.run(branch, serial, self.stop).await {
                Ok(ran) => break ran,
                Err(error) if tries < REPEATS && error.is::<Diverged>() => tries += 1,
                Err(error) => return Err(error),
            }
        };
        if ran.pruned {
            return Ok((ran, None));
        }
        let judged = Some(judge::judge(self.problem, world.control.as_mut(), &ran).await?);
        Ok((ran, judged))
    }

    async fn replay(&self, world: &mut World<'_>, schedule: &Schedule) -> Result<()> {
        let mut possible = false;
        for variant in 0..self.problem.variants.len() {
            let branch = Branch { variant, moves: schedule.0.clone(), ..Branch::default() };
            match self.play(world, &branch).await {
                Ok((ran, judged)) => {
                    possible = true;
                    self.add(ran, judged);
                }
                Err(error) if error.is::<Diverged>() && self.problem.variants.len() > 1 => {}
                Err(error) => return Err(error),
            }
        }
        if possible { Ok(()) } else { Err(anyhow!("the schedule {schedule} is not possible here")) }
    }

    fn add(&self, ran: Ran, judged: Option<Judged>) {
        let mut tally = self.tally.lock();
        let Some(judged) = judged else {
            tally.pruned += 1;
            return;
        };
        tally.schedules += 1;
        tally.raced += u64::from(ran.raced);
        self.progress.schedules.fetch_add(1, Ordering::Relaxed);
        for (code, count) in &ran.errors {
            *tally.errors.entry(code.clone()).or_default() += count;
        }
        let count = |outcome| ran.told.iter().filter(|told| told.outcome == outcome).count() as u64;
        tally.undecided += count(Outcome::Conflict);
        tally.failed += count(Outcome::Error) + u64::from(ran.flow_failed);
        let seen = tally.outcomes.entry(judged.key.clone()).or_insert_with(|| (0, ran.schedule.clone()));
        seen.0 += 1;
        if ran.schedule.effort() < seen.1.effort() {
            seen.1 = ran.schedule.clone();
        }
        if let Some(waits) = witness::deadlock(&ran.events) {
            tally.deadlocks += 1;
            let is_simpler =
                tally.deadlock.as_ref().is_none_or(|(best, _)| ran.schedule.effort() < best.effort());
            if is_simpler {
                tally.deadlock = Some((ran.schedule.clone(), waits));
            }
        }
        if judged.findings.is_empty() {
            return;
        }
        tally.violations += 1;
        self.progress.violations.fetch_add(1, Ordering::Relaxed);
        for kind in &judged.key.findings {
            let is_simpler = |(best, _): &(Ran, Judged)| ran.schedule.effort() < best.schedule.effort();
            if tally.best.get(kind).is_none_or(is_simpler) {
                tally.best.insert(*kind, (ran.clone(), judged.clone()));
            }
        }
    }

    /// The simplest schedule found for each broken invariant, told.
    async fn witnesses(&self, world: &mut World<'_>) -> Vec<Witness> {
        let best = std::mem::take(&mut self.tally.lock().best);
        let mut witnesses: Vec<Witness> = Vec::new();
        for (kind, found) in best {
            let (ran, judged) = self.simplest(world, kind, found).await;
            let already = |known: &Witness| known.schedule == ran.schedule.to_string();
            if witnesses.iter().any(|known| already(known) && known.findings.iter().any(|f| f.kind == kind)) {
                continue;
            }
            let steps = witness::lines(&ran.events);
            witnesses.push(Witness {
                kind,
                causes: cause::causes(self.problem, &steps),
                switches: ran.schedule.switches(),
                schedule: ran.schedule.to_string(),
                ways: self.problem.variants[ran.variant].ways.clone(),
                steps,
                findings: judged.findings,
                at_the_end: judged.summary,
            });
        }
        witnesses
    }

    /// Moves single steps next to others of their client as long as that breaks
    /// the same invariant with fewer switches.
    async fn simplest(
        &self,
        world: &mut World<'_>,
        kind: FindingKind,
        mut best: (Ran, Judged),
    ) -> (Ran, Judged) {
        let mut tried = 0;
        let mut improved = true;
        while improved && !self.stop.is_asked() {
            improved = false;
            for candidate in best.0.schedule.neighbours() {
                if tried >= SIMPLER_MAX || candidate.effort() >= best.0.schedule.effort() {
                    continue;
                }
                tried += 1;
                if let Some(found) = self.again(world, kind, best.0.variant, &candidate).await {
                    best = found;
                    improved = true;
                    break;
                }
            }
        }
        // Once more, with small order ids.
        self.serial.store(self.problem.first_serial, Ordering::Relaxed);
        let schedule = best.0.schedule.clone();
        self.again(world, kind, best.0.variant, &schedule).await.unwrap_or(best)
    }

    async fn again(
        &self,
        world: &mut World<'_>,
        kind: FindingKind,
        variant: usize,
        schedule: &Schedule,
    ) -> Option<(Ran, Judged)> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let branch = Branch { variant, moves: schedule.0.clone(), ..Branch::default() };
        // What is not possible is not simpler.
        let ran = world.run(&branch, serial, self.stop).await.ok()?;
        let judged = judge::judge(self.problem, world.control.as_mut(), &ran).await.ok()?;
        judged.findings.iter().any(|finding| finding.kind == kind).then_some((ran, judged))
    }

    fn finish(self, witnesses: Vec<Witness>, which: &Which, elapsed: Duration) -> Result<Explored> {
        let left = self.search.left();
        let (is_sample, is_one) = (matches!(which, Which::Sample(_)), matches!(which, Which::One(_)));
        let tally = self.tally.into_inner();
        let cut_short = match tally.failure {
            Some(error) if tally.schedules == 0 && !self.stop.is_asked() => return Err(error),
            Some(_) if self.stop.is_asked() => Some("interrupted".to_owned()),
            Some(error) => Some(format!("{error:#}")),
            None if left > 0 => {
                Some("--max-schedules was reached before every schedule had been run".to_owned())
            }
            None if is_sample => Some("as many were drawn at random as were asked for".to_owned()),
            None => None,
        };
        let mut outcomes: Vec<OutcomeCount> = tally
            .outcomes
            .into_iter()
            .map(|(key, (schedules, schedule))| OutcomeCount {
                told: key.told,
                stock: key.stock.into_iter().map(|(sku_id, stock)| SkuStock { sku_id, stock }).collect(),
                findings: key.findings,
                schedules,
                schedule: schedule.to_string(),
            })
            .collect();
        outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.schedules));
        Ok(Explored {
            schedules: tally.schedules,
            pruned: tally.pruned,
            complete: cut_short.is_none() && !is_one,
            cut_short,
            outcomes,
            raced: tally.raced,
            unrepeated: tally.unrepeated,
            violations: tally.violations,
            witnesses,
            deadlocks: tally.deadlocks,
            deadlock: tally.deadlock.map(|(schedule, waits)| Circle {
                schedule: schedule.to_string(),
                cause: cause::of_deadlock(&waits),
                waits,
            }),
            errors: tally.errors,
            undecided: tally.undecided,
            failed: tally.failed,
            elapsed_s: elapsed.as_secs_f64(),
        })
    }
}
