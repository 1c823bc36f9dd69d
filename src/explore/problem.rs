//! What is explored: the program, the clients and their orders, and the rules.

use super::draws::{DrawnValues, Orders, Values};
use super::effect::Concurrency;
use crate::audit::Source;
use crate::db::Dialect;
use crate::db::schema::LEDGER;
use crate::db::scratch::Attached;
use crate::strategy::Program;
use crate::strategy::access::{Access, TableNames, Tables};
use crate::strategy::interpret::{TOKENS_PER_TASK, Task};
use crate::strategy::program::Setup;
use crate::workload::Line;
use std::collections::BTreeSet;

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
    /// The seed of what is sampled.
    pub random_seed: u64,
    /// The values drawn for orders that are explored.
    pub drawn: DrawnValues,
    /// Serial number before the first schedule, which order ids are made from.
    pub first_serial: i64,
    /// Tables whose engine has no transactions, each with its engine.
    pub without_transactions: Vec<String>,
    /// What hangs on the copies of the user's tables, and what does not.
    pub attached: Attached,
    /// Whether it makes no difference which of two like clients it is: nothing is
    /// computed from the number of an order.
    are_exchangeable: bool,
    /// By program (the flows come after the main one), transaction and step.
    accesses: Vec<Vec<Vec<Access>>>,
    /// What each client is given by chance.
    pub(super) variants: Vec<Variant>,
}

/// What each client is given by chance: its way through the program's alternatives,
/// and its drawn values.
#[derive(Debug, Clone, Default)]
pub(super) struct Variant {
    clients: Vec<Chance>,
    /// In words; empty where nothing is left to chance.
    pub(super) ways: String,
}

/// What one client is given by chance.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Chance {
    /// Which way through the alternatives, and the number that leads there.
    way: (usize, u64),
    drawn: Values,
}

impl Problem {
    /// Reads what the program's statements touch.
    pub fn new(
        program: Program,
        lines: Vec<Vec<Line>>,
        mut concurrency: Concurrency,
        source: Source,
        random_seed: u64,
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
        let tries = if program.tries == 0 { TRIES } else { program.tries };
        let drawn = DrawnValues::choose(&program, Orders { count: 0, are_alike: true }, random_seed);
        let problem = Self {
            program,
            lines,
            same_order: false,
            tries,
            crashes: 0,
            reduce: true,
            concurrency,
            source,
            random_seed,
            drawn,
            first_serial: 0,
            without_transactions: Vec::new(),
            attached: Attached::default(),
            are_exchangeable: !computes_with_ids,
            accesses,
            variants: Vec::new(),
        };
        problem.with_variants()
    }

    /// Chooses anew what the clients are given by chance.
    fn with_variants(mut self) -> Self {
        let are_alike = self.are_exchangeable && self.lines.windows(2).all(|pair| pair[0] == pair[1]);
        // What an order is given by chance is the same at every delivery of it.
        let count = if self.same_order { 1 } else { self.clients() };
        self.drawn = DrawnValues::choose(&self.program, Orders { count, are_alike }, self.random_seed);
        self.variants = variants(&self, are_alike && self.reduce);
        self
    }

    /// All of them deliver one and the same order.
    #[must_use]
    pub fn with_same_order(mut self) -> Self {
        self.same_order = true;
        // Their entries have the same key.
        self.concurrency.keyed = Tables::NONE;
        self.with_variants()
    }

    /// Every schedule is run, also those that nobody can tell from another.
    #[must_use]
    pub fn without_reduction(mut self) -> Self {
        self.reduce = false;
        self.with_variants()
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

    /// Whether a statement that writes by what it reads is sent on its own: two of them that are
    /// inside the server at once may both read what was there before either wrote.
    pub fn has_lone_statements_that_read_and_write(&self) -> bool {
        let programs = (0..self.actors()).map(|actor| (actor, self.program_of(actor)));
        let transactions = programs.flat_map(|(actor, program)| {
            let numbered = program.transactions.iter().enumerate();
            numbered.map(move |(number, transaction)| (actor, number, transaction))
        });
        let mut alone = transactions.filter(|(_, _, transaction)| {
            let is_one = transaction.steps.len() == 1 && !transaction.always_begin;
            transaction.begin.is_none() || is_one
        });

        alone.any(|(actor, number, transaction)| {
            transaction.steps.iter().enumerate().any(|(index, step)| {
                let access = self.access(actor, number, index);
                let writes = !access.writes.is_none() || !access.inserts.is_none() || access.is_unknown;
                let reads = !access.reads.is_none() || step.statement.sql.to_uppercase().contains("SELECT");
                let is_read_alone = step.statement.sql.trim_start().to_uppercase().starts_with("SELECT");
                writes && reads && !is_read_alone
            })
        })
    }

    /// Whether two clients would do the same in each other's place.
    pub(super) fn are_alike(&self, variant: &Variant, one: usize, other: usize) -> bool {
        let both_order = one < self.lines.len() && other < self.lines.len();
        both_order
            && self.lines[one] == self.lines[other]
            && variant.clients[one] == variant.clients[other]
            && self.are_exchangeable
            // A trigger may compute with the number of an order.
            && !self.concurrency.is_opaque
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
        let chance = &variant.clients[actor];
        Task {
            order_id: self.order_id(actor, serial),
            lines: lines.clone(),
            run_id: self.source.run_id,
            token,
            chance: chance.way.1,
            drawn: chance.drawn.clone(),
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

/// Every choice of ways for the clients, with every combination of drawn values that
/// is explored; of those that differ only in which of like clients it is, one.
fn variants(problem: &Problem, are_alike: bool) -> Vec<Variant> {
    let ways = problem.program.ways();
    let orders = if problem.same_order { 1 } else { problem.clients() };
    let mut chosen: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..orders {
        let longer =
            chosen.iter().flat_map(|before| (0..ways.len()).map(|way| [&before[..], &[way]].concat()));
        chosen = longer.collect();
    }

    let drawn = problem.drawn.combinations.iter();
    let drawn: Vec<Vec<Values>> = if are_alike {
        drawn.cloned().collect()
    } else {
        drawn.flat_map(|values| permutations(values)).collect()
    };
    let mut known: BTreeSet<Vec<Chance>> = BTreeSet::new();
    let mut variants = Vec::new();
    for (drawn, taken) in drawn.iter().flat_map(|drawn| chosen.iter().map(move |taken| (drawn, taken))) {
        let chance =
            |(way, drawn): (&usize, &Values)| Chance { way: (*way, ways[*way].0), drawn: drawn.clone() };
        let mut clients: Vec<Chance> = taken.iter().zip(drawn).map(chance).collect();
        if are_alike {
            clients.sort();
        }

        if known.insert(clients.clone()) {
            clients.resize(problem.clients(), clients[0].clone());
            let ways = in_words(problem, &ways, &clients);
            variants.push(Variant { clients, ways });
        }
    }
    variants
}

/// The values in every order of the clients.
fn permutations(values: &[Values]) -> Vec<Vec<Values>> {
    if values.len() < 2 {
        return vec![values.to_vec()];
    }
    let with_first = |first: usize| {
        let others: Vec<Values> = [&values[..first], &values[first + 1..]].concat();
        let first = values[first].clone();
        permutations(&others).into_iter().map(move |rest| [&[first.clone()][..], &rest].concat())
    };
    (0..values.len()).flat_map(with_first).collect()
}

/// What each client takes and draws, in words.
fn in_words(problem: &Problem, ways: &[(u64, String)], clients: &[Chance]) -> String {
    let of_client = |(client, chance): (usize, &Chance)| {
        let mut words = Vec::new();
        if !ways[chance.way.0].1.is_empty() {
            words.push(format!("takes {}", ways[chance.way.0].1));
        }
        let draws = problem.program.draws.iter().zip(&chance.drawn);
        let values: Vec<String> = draws.map(|(draw, value)| format!("{} = {value}", draw.name)).collect();
        if !values.is_empty() {
            words.push(format!("draws {}", values.join(", ")));
        }
        (!words.is_empty()).then(|| format!("client {} {}", client + 1, words.join(" and ")))
    };
    clients.iter().enumerate().filter_map(of_client).collect::<Vec<_>>().join("; ")
}
