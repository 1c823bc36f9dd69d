//! What is searched besides what was asked for, once that has broken nothing: a client
//! that stops, an order delivered twice, stock for everybody, several lines. Pure.
//!
//! A search is fair only where the program promises what it asks. No program is
//! accused of what it never said it could do: what is left out for that reason comes
//! with the flag that explores it.

use crate::outcome::{OnUnknown, Outcome};
use crate::strategy::program::{Goto, Slot};
use crate::strategy::{Program, StrategyFile};

/// Schedules of each further search, at most.
pub const SCHEDULES_MAX: u64 = 1_000;

/// Copies of the tables that each further search is made on, at most: it is short, and
/// making them takes longer.
pub const WORKERS_MAX: u8 = 2;

/// What one search is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Clients, each with one order.
    pub clients: u8,
    /// Units in stock of each SKU, in stockbench's own tables.
    pub stock: u32,
    /// Units of each line; none is one, or of the user's own tables all there are.
    pub quantity: Option<u32>,
    /// Lines of each order.
    pub lines: u8,
    /// Whether every second order has its lines backwards.
    pub is_opposite: bool,
    /// Whether all clients deliver one and the same order.
    pub same_order: bool,
    /// Clients that may stop for good.
    pub crashes: u8,
}

/// A search beyond what was asked for.
#[derive(Debug, Clone)]
pub struct Wider {
    /// What is new in it, in words.
    pub what: &'static str,
    /// The flags that ask for it.
    pub flags: &'static str,
    /// What it is about.
    pub scope: Scope,
}

/// The further searches, and what none of them may ask.
#[derive(Debug, Clone, Default)]
pub struct Widening {
    /// The searches, in their order.
    pub searches: Vec<Wider>,
    /// What is left out, each with the flag that explores it.
    pub left_out: Vec<String>,
}

impl Widening {
    /// What is fair to ask of a program after a search of this scope. On the user's own
    /// tables the stock is what it is.
    pub fn of(program: &Program, file: &StrategyFile, plain: Scope, on_own_tables: bool) -> Self {
        let mut widening = Self::default();
        if !program.flows.is_empty() {
            let alone = Scope { clients: 1, ..plain };
            widening.add("one client beside the background programs", "--clients 1", alone);
        }
        widening.more_stock(program, plain, on_own_tables);
        widening.crashes(program, plain);
        widening.deliveries(program, file, plain, on_own_tables);
        if takes_lines(program) {
            widening.add("orders of two lines", "--lines 2", Scope { lines: 2, ..plain });
        }
        widening
    }

    fn add(&mut self, what: &'static str, flags: &'static str, scope: Scope) {
        self.searches.push(Wider { what, flags, scope });
    }

    fn more_stock(&mut self, program: &Program, plain: Scope, on_own_tables: bool) {
        let counts_units = program.steps().any(|step| {
            step.binds.iter().any(|slot| matches!(slot, Slot::SkuId | Slot::Quantity | Slot::Lines))
        });
        if counts_units && on_own_tables {
            self.add("one unit of what is in stock", "--quantity 1", enough(plain, true));
        } else if counts_units {
            self.add("stock for both orders", "--stock 2", enough(plain, false));
        }
    }

    fn crashes(&mut self, program: &Program, plain: Scope) {
        let is_undone_by_the_client = program.transactions.iter().any(|tx| tx.undone_by.is_some());
        if !is_undone_by_the_client {
            self.add("one client that stops anywhere", "--crashes 1", Scope { crashes: 1, ..plain });
            return;
        }
        self.left_out.push(
            "a client that stops half-way, because only that client undoes its steps: add `--crashes 1`"
                .to_owned(),
        );
        self.left_out.push(
            "a transaction that fails and makes the ones before it be undone: `stockbench run --fault \
             fail@TRANSACTION:10%` meets that"
                .to_owned(),
        );
    }

    fn deliveries(&mut self, program: &Program, file: &StrategyFile, plain: Scope, on_own_tables: bool) {
        let twice = Scope { same_order: true, ..plain };
        let expects_duplicates =
            file.load.duplicates.is_some_and(|percent| percent > 0) || program.unknown == OnUnknown::SameId;
        if !expects_duplicates && !knows_duplicates(program) {
            self.left_out.push(
                "one order delivered twice, because nothing in the program says that it can be: add `--same-order`"
                    .to_owned(),
            );
            return;
        }

        let what = "one order delivered twice, with stock for both";
        let flags = if on_own_tables { "--same-order --quantity 1" } else { "--same-order --stock 2" };
        self.add(what, flags, enough(twice, on_own_tables));
        if !expects_duplicates {
            self.left_out.push(
                "whether the second delivery of an order gets the answer of the first one: add `--same-order`"
                    .to_owned(),
            );
            return;
        }
        self.add("one order delivered twice", "--same-order", twice);
        if !on_own_tables && !program.flows.is_empty() {
            let empty = Scope { stock: 0, ..twice };
            self.add(
                "one order delivered twice, with stock that comes later",
                "--same-order --stock 0",
                empty,
            );
        }
    }
}

/// A scope in which no client takes what another one needs.
fn enough(scope: Scope, on_own_tables: bool) -> Scope {
    let units = u32::from(scope.clients);
    if on_own_tables { Scope { quantity: Some(1), ..scope } } else { Scope { stock: units, ..scope } }
}

/// Whether it can answer that an order was there before.
fn knows_duplicates(program: &Program) -> bool {
    let is_duplicate = |goto: &Goto| *goto == Goto::Answer(Outcome::Duplicate);
    let in_steps = program.steps().any(|step| {
        let ways = [Some(&step.none), step.unique.as_ref(), step.check.as_ref()];
        ways.into_iter().flatten().any(is_duplicate) || step.then == Some(Outcome::Duplicate)
    });
    in_steps || program.transactions.iter().any(|tx| tx.then == Some(Outcome::Duplicate))
}

/// Whether orders of several lines differ from one another in what they send.
fn takes_lines(program: &Program) -> bool {
    let mut steps = program.transactions.iter().flat_map(|tx| &tx.steps);
    steps.any(|step| step.line_loop.is_some() || step.binds.contains(&Slot::Lines))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Dialect;
    use crate::strategy::Strategy;

    const PLAIN: Scope = Scope {
        clients: 2,
        stock: 1,
        quantity: None,
        lines: 1,
        is_opposite: false,
        same_order: false,
        crashes: 0,
    };

    fn flags_of(name: &str) -> (Vec<&'static str>, String) {
        let strategy = Strategy::load(name).unwrap();
        let program = strategy.compile(&Dialect::Postgres.into()).unwrap();
        let widening = Widening::of(&program, &strategy.file, PLAIN, false);
        (widening.searches.iter().map(|wider| wider.flags).collect(), widening.left_out.join("\n"))
    }

    #[test]
    fn no_program_is_asked_what_it_never_promised() {
        let (flags, left_out) = flags_of("atomic");
        assert_eq!(flags, ["--stock 2", "--crashes 1", "--same-order --stock 2", "--lines 2"]);
        assert!(left_out.contains("the answer of the first one: add `--same-order`"), "{left_out}");
        let (flags, left_out) = flags_of("saga");
        assert!(!flags.contains(&"--crashes 1") && left_out.contains("add `--crashes 1`"), "{left_out}");
    }

    #[test]
    fn who_expects_duplicates_is_asked_for_the_same_answer() {
        let (flags, _) = flags_of("idempotent");
        assert!(flags.contains(&"--same-order"), "{flags:?}");
        let (flags, _) = flags_of("idempotent-forgetful");
        assert!(flags.contains(&"--same-order --stock 0"), "{flags:?}");
        let (flags, _) = flags_of("unkeyed");
        assert!(flags.contains(&"--same-order --stock 2"), "{flags:?}");
    }
}
