//! Where the time of a run's programs went, statement by statement.

use super::measured::{Distribution, as_f64, rounded};
use super::model::StatementReport;
use crate::engine::Member;
use crate::engine::recorder::{LatencyUs, Part, StatementKey};
use crate::strategy::Program;
use crate::text;
use std::collections::BTreeMap;

/// What the parts of a run's programs are called, and what they send.
#[derive(Debug, Default)]
pub struct StatementNames {
    names: BTreeMap<StatementKey, (String, String, String)>,
}

impl StatementNames {
    /// Of every program of a run.
    pub fn of(members: &[Member]) -> Self {
        let mut names = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            add(&mut names, index, &member.program);
        }
        Self { names }
    }

    /// Adds what the statements of a report are called, whose keys are these.
    pub fn read_back<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k StatementKey>,
        statements: &[StatementReport],
    ) {
        for (key, of) in keys.zip(statements) {
            self.names.entry(*key).or_insert_with(|| (of.strategy.clone(), of.place.clone(), of.sql.clone()));
        }
    }

    /// The statements that were timed, in the order of the programs.
    pub fn report(&self, timed: &BTreeMap<StatementKey, LatencyUs>) -> Vec<StatementReport> {
        let time = |latencies: &LatencyUs| latencies.mean() * as_f64(latencies.len());
        let whole: f64 = timed.values().map(time).sum();
        let named = timed.iter().filter_map(|(key, latencies)| Some((self.names.get(key)?, latencies)));
        named
            .map(|((strategy, place, sql), latencies)| StatementReport {
                strategy: strategy.clone(),
                place: place.clone(),
                sql: sql.clone(),
                share: rounded(time(latencies) / whole.max(1e-9), 1e3),
                latency_us: Distribution::of(latencies),
            })
            .collect()
    }
}

fn add(names: &mut BTreeMap<StatementKey, (String, String, String)>, program: usize, of: &Program) {
    for (transaction, tx) in of.transactions.iter().enumerate() {
        let called = tx.name.clone().unwrap_or_else(|| format!("transaction {}", transaction + 1));
        let begin = tx.begin.as_deref().unwrap_or_default();
        let mut insert = |part, place: String, sql: &str| {
            let key = StatementKey { program, transaction, part };
            names.insert(key, (of.name.clone(), place, text::one_line(sql)));
        };
        insert(Part::Begin, called.clone(), begin);
        for (step, of_step) in tx.steps.iter().enumerate() {
            insert(Part::Step(step), of_step.place.clone(), &of_step.statement.sql);
        }
        insert(Part::Commit, called.clone(), "COMMIT");
        insert(Part::Rollback, called, "ROLLBACK");
    }
}
