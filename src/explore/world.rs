//! The connections of one worker, and the schedules that are played on them: each
//! begins on tables that were brought back to where they began, makes a branch's
//! moves, and goes on to the end.

use super::effect::Effect;
use super::event::Event;
use super::play::{Play, Told};
use super::problem::Problem;
use super::schedule::{Move, Schedule};
use crate::db::blocking::Monitor;
use crate::db::{Database, Dialect, Session, SessionSettings};
use crate::engine::stop::Stop;
use anyhow::{Result, bail, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Moves of one schedule, at most: programs end long before.
const MOVES_MAX: usize = 2_000;

/// A part of the search: the moves that lead there, and those that need not be
/// made from there on because all that follows from them was seen elsewhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Branch {
    /// Which way each client takes through the program's alternatives.
    pub(super) variant: usize,
    /// Every option is drawn at random, from this seed.
    pub(super) dice: Option<u64>,
    pub(super) moves: Vec<Move>,
    /// How everybody stood after each move but the last when this branch was met.
    pub(super) signs: Vec<u64>,
    pub(super) asleep: Vec<(Move, Effect)>,
}

/// What could have been done at one point of a schedule.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// What was done comes first.
    pub(super) options: Vec<(Move, Effect)>,
    pub(super) asleep: Vec<(Move, Effect)>,
}

/// One schedule, as it went.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    pub(super) schedule: Schedule,
    /// How everybody stood after each move.
    pub(super) signs: Vec<u64>,
    /// The points after the branch's own moves.
    pub(super) nodes: Vec<Node>,
    /// Whether it ended early, because all that follows was seen elsewhere.
    pub(super) pruned: bool,
    pub(super) events: Vec<Event>,
    /// By client; background programs are told nothing.
    pub(super) told: Vec<Told>,
    /// Whether a move let several clients go on at once, so that the server chose
    /// which of them was first.
    pub(super) raced: bool,
    /// Whether a background program ended in an error.
    pub(super) flow_failed: bool,
    /// Errors of the database, by code.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) variant: usize,
    /// Serial number of the schedule, which its order ids carry.
    pub(super) serial: i64,
}

/// A client's connection.
pub(super) struct Seat {
    pub(super) session: Box<dyn Session>,
    pub(super) id: Option<i64>,
}

/// The connections of one worker, on tables of its own.
pub(super) struct World<'p> {
    pub(super) problem: &'p Problem,
    pub(super) database: Database,
    settings: SessionSettings,
    reset: String,
    pub(super) control: Box<dyn Session>,
    pub(super) monitor: Option<Monitor>,
    pub(super) seats: Vec<Option<Seat>>,
}

impl<'p> World<'p> {
    /// Opens the connections.
    ///
    /// # Errors
    /// The server refuses one, or does not tell who waits for whom.
    pub(super) async fn open(
        problem: &'p Problem,
        database: Database,
        settings: SessionSettings,
        reset: String,
    ) -> Result<Self> {
        let mut control = database.open(&SessionSettings::default()).await?;
        let monitor = match database.dialect() {
            Dialect::Sqlite => None,
            _ => Some(Monitor::open(&database).await?),
        };
        relax(control.as_mut(), database.dialect()).await;
        let mut world = Self { problem, database, settings, reset, control, monitor, seats: Vec::new() };
        for number in 0..world.problem.actors() {
            let seat = world.seat(number).await?;
            world.seats.push(Some(seat));
        }
        Ok(world)
    }

    async fn seat(&self, number: usize) -> Result<Seat> {
        let steps = self.problem.program_of(number).transactions.iter().flat_map(|tx| &tx.steps);
        let statements = steps.map(|step| &step.statement);
        let (mut session, id) = self.database.open_prepared(0, &self.settings, statements).await?;
        relax(session.as_mut(), self.database.dialect()).await;
        if self.database.dialect() == Dialect::Sqlite && self.problem.attached.keeps_references() {
            session.control("PRAGMA foreign_keys = on").await?;
        }
        Ok(Seat { session, id })
    }

    /// Runs one schedule from the start: the branch's moves, and then on to the
    /// end, always taking the first option that is not asleep.
    ///
    /// # Errors
    /// The server is gone or answered what cannot be judged; the branch's moves
    /// are not possible; the exploration is being stopped.
    pub(super) async fn run(&mut self, branch: &Branch, serial: i64, stop: &Stop) -> Result<Ran> {
        for number in 0..self.seats.len() {
            if self.seats[number].is_none() {
                self.seats[number] = Some(self.seat(number).await?);
            }
        }
        self.control.control(&self.reset).await?;
        let mut play = Play::new(self, branch.variant, serial);
        let mut asleep: Vec<(Move, Effect)> = Vec::new();
        let mut signs = Vec::new();
        let mut nodes = Vec::new();
        let mut pruned = false;
        let mut dice = branch.dice.map(ChaCha8Rng::seed_from_u64);
        loop {
            if stop.is_asked() {
                play.abandon().await?;
                bail!("interrupted");
            }
            let depth = play.moves.len();
            let options = play.options();
            if options.is_empty() {
                break;
            }
            let next = if let Some(next) = branch.moves.get(depth) {
                let stands_otherwise = branch.signs.get(..depth).is_some_and(|known| known != signs);
                if stands_otherwise || options.iter().all(|(option, _)| option != next) {
                    let done = play.moves.clone();
                    play.abandon().await?;
                    return Err(Diverged { done, signs, next: *next }.into());
                }
                if depth + 1 == branch.moves.len() {
                    asleep.clone_from(&branch.asleep);
                }
                *next
            } else if let Some(dice) = &mut dice {
                options[dice.random_range(0..options.len())].0
            } else {
                let is_asleep =
                    |option: &(Move, Effect)| asleep.iter().any(|(sleeper, _)| *sleeper == option.0);
                let awake: Vec<(Move, Effect)> =
                    options.into_iter().filter(|option| !is_asleep(option)).collect();
                let Some(first) = awake.first().copied() else {
                    play.abandon().await?;
                    pruned = true;
                    break;
                };
                nodes.push(Node { options: awake, asleep: asleep.clone() });
                asleep.retain(|(sleeper, effect)| {
                    sleeper.client() != first.0.client() && effect.is_independent_of(first.1)
                });
                first.0
            };
            ensure!(depth < MOVES_MAX, "a schedule of more than {MOVES_MAX} moves: it has no end");
            if let Err(error) = play.make(next).await {
                play.hang_up();
                return Err(error);
            }
            signs.push(play.sign());
        }
        if !pruned && let Err(error) = play.drain().await {
            play.hang_up();
            return Err(error);
        }
        Ok(Ran {
            schedule: Schedule(std::mem::take(&mut play.moves)),
            signs,
            nodes,
            pruned,
            told: play.told(),
            raced: play.raced,
            flow_failed: play.flow_failed,
            events: std::mem::take(&mut play.events),
            errors: std::mem::take(&mut play.errors),
            variant: branch.variant,
            serial,
        })
    }

    /// Closes the connections.
    pub(super) async fn close(self) {
        for seat in self.seats.into_iter().flatten() {
            seat.session.close().await;
        }
        if let Some(monitor) = self.monitor {
            monitor.close().await;
        }
        self.control.close().await;
    }
}

/// What is only slow, and changes no outcome, is turned off where we may.
async fn relax(session: &mut dyn Session, dialect: Dialect) {
    let statements: &[&str] = match dialect {
        Dialect::Postgres => &["SET synchronous_commit = off", "SET deadlock_timeout = '1ms'"],
        Dialect::MySql | Dialect::MariaDb => &["SET SESSION innodb_lock_wait_timeout = 600"],
        // Copies of tables may stand without those that they refer to.
        Dialect::Sqlite => &["PRAGMA synchronous = off", "PRAGMA foreign_keys = off"],
        Dialect::Null => &[],
    };
    for statement in statements {
        // Without the right to do so it is only slower.
        session.control(statement).await.unwrap_or_default();
    }
}

/// The server went another way with the same moves.
#[derive(Debug, thiserror::Error)]
#[error("after the moves {}, client {} cannot move here", Schedule(done.clone()), next.client() + 1)]
pub(super) struct Diverged {
    pub(super) done: Vec<Move>,
    /// How everybody stood after each of them, this time.
    pub(super) signs: Vec<u64>,
    next: Move,
}
