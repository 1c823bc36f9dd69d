//! What is explored: the program, the clients and their orders, and the rules.

use super::effect::Concurrency;
use crate::audit::Source;
use crate::db::Dialect;
use crate::strategy::Program;
use crate::strategy::access::{Access, TableNames, Tables};
use crate::strategy::interpret::{TOKENS_PER_TASK, Task};
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
        concurrency.keyed = names.set_of(crate::db::schema::LEDGER);
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
            .collect();
        let variants = variants(&program, &lines);
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
            && self.program.draws.is_empty()
    }

    /// The id of a client's order. It grows from schedule to schedule, because
    /// what a database has deleted is not gone at once; modulo small numbers it
    /// stays the same.
    pub(super) fn order_id(&self, client: usize, serial: i64) -> i64 {
        let client = if self.same_order { 0 } else { client };
        serial * 840 + i64::try_from(client).unwrap_or(0) + 1
    }

    pub(super) fn task(&self, variant: &Variant, actor: usize, serial: i64) -> Task {
        let number = i64::try_from(actor).unwrap_or(0);
        let token = (serial * 16 + number + 1) * TOKENS_PER_TASK;
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

/// Attempts where the program would go on until the order is decided.
const TRIES: u32 = 4;

/// Every choice of ways for the clients; where they order the same, it does not
/// matter who takes which.
fn variants(program: &Program, lines: &[Vec<Line>]) -> Vec<Variant> {
    let ways = program.ways();
    let all_alike = lines.windows(2).all(|pair| pair[0] == pair[1]);
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
