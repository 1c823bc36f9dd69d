//! What is explored: the program, the clients and their orders, and the rules.

use super::effect::Concurrency;
use crate::audit::Source;
use crate::db::Dialect;
use crate::db::schema::LEDGER;
use crate::strategy::Program;
use crate::strategy::access::{Access, TableNames, Tables};
use crate::strategy::interpret::{TOKENS_PER_TASK, Task};
use crate::strategy::program::Setup;
use crate::workload::Line;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What is explored.
#[derive(Debug)]
pub struct Problem {
    /// The program, checked by the database.
    pub program: Program,
    /// What each client orders.
    pub lines: Vec<Vec<Line>>,
    /// Whether all of them deliver one and the same order.
    pub same_order: bool,
    /// Attempts per order, at most.
    pub tries: u32,
    /// Clients that may stop for good.
    pub crashes: usize,
    /// Whether schedules that nobody can tell apart are run once.
    pub reduce: bool,
    /// How the database keeps transactions apart.
    pub concurrency: Concurrency,
    /// What the audit reads.
    pub source: Source,
    /// What is drawn for orders.
    pub random_seed: u64,
    /// Serial number before the first schedule, which order ids are made from.
    pub first_serial: i64,
    /// Tables whose engine has no transactions, each with its engine.
    pub without_transactions: Vec<String>,
    /// Whether it makes no difference which of two like clients it is: nothing is
    /// drawn for them, nor computed from the number of an order.
    are_exchangeable: bool,
    /// By program (the flows come after the main one), transaction and step.
    accesses: Vec<Vec<Vec<Access>>>,
    /// Ways through the program's alternatives, one for each client.
    pub(super) variants: Vec<Variant>,
}

/// Which way each client takes where the program has alternatives.
#[derive(Debug, Clone, Default)]
pub(super) struct Variant {
    chances: Vec<u64>,
    /// In words; empty where there is one way only.
    pub(super) ways: String,
}

impl Problem {
    /// Reads what the program's statements touch.
    pub fn new(
        program: Program,
        lines: Vec<Vec<Line>>,
        mut concurrency: Concurrency,
        source: Source,
    ) -> Self {
        let mut names = TableNames::default();
        let dialect = concurrency.dialect;
        let ledger = names.set_of(LEDGER);
        let programs = std::iter::once(&program).chain(program.flows.iter().map(|flow| &flow.program));
        let accesses = programs
            .map(|program| {
                let of_step = |sql: &str, names: &mut TableNames| names.access_of(sql, dialect);
                let transactions = program.transactions.iter();
                let of_transactions = transactions.map(|tx| {
                    tx.steps.iter().map(|step| of_step(&step.statement.sql, &mut names)).collect::<Vec<_>>()
                });
                of_transactions.collect::<Vec<_>>()
            })
            .collect::<Vec<_>>();
        let is_named = |setup: &Setup| matches!(setup, Setup::Sql { sql, .. } if sql.contains(LEDGER));
        let flows_add = |accesses: &[Vec<Vec<Access>>]| {
            accesses.iter().skip(1).flatten().flatten().any(|access| !(access.inserts & ledger).is_none())
        };
        // A background program adds entries of the clients' orders, under their keys.
        if !program.setup.iter().any(is_named) && !flows_add(&accesses) {
            concurrency.keyed = ledger;
        }
        let computes_with_ids = {
            let words = ["%", "MOD(", " DIV ", "&", "HASH", "CRC32"];
            let mut texts = program.steps().map(|step| step.statement.sql.to_uppercase());
            texts.any(|sql| words.iter().any(|word| sql.contains(word)))
        };
        let are_exchangeable = program.draws.is_empty() && !computes_with_ids;
        let variants = variants(&program, &lines, are_exchangeable);
        let tries = if program.tries == 0 { TRIES } else { program.tries };
        Self {
            program,
            lines,
            same_order: false,
            tries,
            crashes: 0,
            reduce: true,
            concurrency,
            source,
            random_seed: 0,
            first_serial: 0,
            without_transactions: Vec::new(),
            are_exchangeable,
            accesses,
            variants,
        }
    }

    /// All of them deliver one and the same order.
    #[must_use]
    pub fn with_same_order(mut self) -> Self {
        self.same_order = true;
        // Their entries have the same key.
        self.concurrency.keyed = Tables::NONE;
        self
    }

    /// Every schedule is run, also those that nobody can tell from another.
    #[must_use]
    pub fn without_reduction(mut self) -> Self {
        self.reduce = false;
        self.variants = variants(&self.program, &self.lines, false);
        self
    }

    /// Clients with an order.
    pub fn clients(&self) -> usize {
        self.lines.len()
    }

    /// Those, and the background programs.
    pub(super) fn actors(&self) -> usize {
        self.lines.len() + self.program.flows.len()
    }

    pub(super) fn program_of(&self, actor: usize) -> &Program {
        match actor.checked_sub(self.lines.len()) {
            Some(flow) => &self.program.flows[flow].program,
            None => &self.program,
        }
    }

    pub(super) fn access(&self, actor: usize, transaction: usize, step: usize) -> Access {
        let program = actor.checked_sub(self.lines.len()).map_or(0, |flow| flow + 1);
        let of_transaction = self.accesses[program].get(transaction);
        of_transaction.and_then(|steps| steps.get(step)).copied().unwrap_or_default()
    }

    /// Whether two clients would do the same in each other's place.
    pub(super) fn are_alike(&self, variant: &Variant, one: usize, other: usize) -> bool {
        let both_order = one < self.lines.len() && other < self.lines.len();
        both_order
            && self.lines[one] == self.lines[other]
            && variant.chances[one] == variant.chances[other]
            && self.are_exchangeable
    }

    /// The id of a client's order. It grows from schedule to schedule, because
    /// what a database has deleted is not gone at once; modulo small numbers it
    /// stays the same.
    pub(super) fn order_id(&self, client: usize, serial: i64) -> i64 {
        let client = if self.same_order { 0 } else { client };
        serial * 840 + i64::try_from(client).unwrap_or(0) + 1
    }

    /// What an actor does; a background program for the n-th time.
    pub(super) fn task(&self, variant: &Variant, actor: usize, serial: i64, round: i64) -> Task {
        let number = i64::try_from(actor).unwrap_or(0);
        let token = ((serial * 16 + number + 1) * ROUNDS_MAX + round) * TOKENS_PER_TASK;
        let Some(lines) = self.lines.get(actor) else {
            return Task { run_id: self.source.run_id, token, ..Task::default() };
        };
        let mut rng = ChaCha8Rng::seed_from_u64(self.random_seed);
        rng.set_stream(actor as u64);
        Task {
            order_id: self.order_id(actor, serial),
            lines: lines.clone(),
            run_id: self.source.run_id,
            token,
            chance: variant.chances[actor],
            drawn: self.program.draw(&mut rng),
            batch: Vec::new(),
        }
    }

    /// The SQL it is in.
    pub fn dialect(&self) -> Dialect {
        self.concurrency.dialect
    }
}

/// Times that a background program may run in one schedule.
pub(super) const ROUNDS_MAX: i64 = 100;

/// Attempts where the program would go on until the order is decided.
const TRIES: u32 = 4;

/// Every choice of ways for the clients; where they order the same, it does not
/// matter who takes which.
fn variants(program: &Program, lines: &[Vec<Line>], are_exchangeable: bool) -> Vec<Variant> {
    let ways = program.ways();
    let all_alike = are_exchangeable && lines.windows(2).all(|pair| pair[0] == pair[1]);
    let mut chosen: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in lines {
        let longer = chosen.iter().flat_map(|before| {
            let from = if all_alike { before.last().copied().unwrap_or(0) } else { 0 };
            (from..ways.len()).map(move |way| before.iter().copied().chain([way]).collect())
        });
        chosen = longer.collect();
    }
    let variant = |chosen: Vec<usize>| Variant {
        chances: chosen.iter().map(|way| ways[*way].0).collect(),
        ways: chosen
            .iter()
            .enumerate()
            .filter(|(_, way)| !ways[**way].1.is_empty())
            .map(|(client, way)| format!("client {} takes {}", client + 1, ways[*way].1))
            .collect::<Vec<_>>()
            .join(", "),
    };
    chosen.into_iter().map(variant).collect()
}
