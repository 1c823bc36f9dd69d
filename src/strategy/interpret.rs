//! The one step function: what a program sends next, and what a reply means.
//!
//! A [`Machine`] is one order going through one program. It does no I/O and
//! knows no clock: the caller sends what [`Machine::action`] says and reports
//! back, so a stress run, an exploration of schedules and a test all execute
//! exactly the same program.

use super::program::{Goto, Program, Slot, Step, Transaction};
use crate::db::{DbError, ErrorClass, Reply, Statement, Value};
use crate::outcome::Outcome;
use crate::workload::Order;

/// A loop inside a transaction that has the same values refused this often in
/// a row will not converge: its snapshot cannot change.
pub const SAME_VALUES_MAX: u32 = 10;

/// Backward jumps and jumps to other transactions in one attempt, however much
/// the values change.
pub const JUMPS_MAX: u32 = 1_000;

/// What the caller must do next.
#[derive(Debug)]
pub enum Action<'m> {
    /// Send this control statement (BEGIN in some form).
    Begin(&'m str),
    /// Wait for the run's think time.
    Think,
    /// Send this statement with [`Machine::binds`].
    Execute(&'m Statement),
    /// Send COMMIT.
    Commit,
    /// Send ROLLBACK.
    Rollback,
    /// The attempt was refused: call [`Machine::retry`] or [`Machine::give_up`].
    Refused,
    /// The order is answered.
    Done(Outcome),
}

/// Why a machine gave an order up although it could have gone on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// The loop inside a transaction keeps meeting the same refused values.
    SameValues,
    /// The loop inside a transaction went round [`JUMPS_MAX`] times.
    TooManyJumps,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Begin,
    Think,
    Execute,
    Commit(Then),
    Rollback(Then),
    Refused,
    Done(Outcome),
}

/// What follows the end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Transaction(usize),
    Refused,
    Done(Outcome),
}

/// One order on its way through a program.
#[derive(Debug)]
pub struct Machine<'p> {
    program: &'p Program,
    order: &'p Order,
    run_id: i64,
    state: State,
    transaction: usize,
    step: usize,
    line: usize,
    open: bool,
    kept: Vec<Value>,
    kept_per_line: Vec<Value>,
    bound: Vec<Value>,
    jumps: u32,
    same_values: u32,
    reads: u32,
    last_refused: Option<Refused>,
    futile: bool,
    futile_retries: u32,
    stuck: Option<Stuck>,
}

/// A statement that matched no row, with the values it was sent with.
#[derive(Debug)]
struct Refused {
    transaction: usize,
    step: usize,
    binds: Vec<Value>,
    reads: u32,
}

impl<'p> Machine<'p> {
    /// An order at the start of a program.
    pub fn new(program: &'p Program, order: &'p Order, run_id: i64) -> Self {
        let mut machine = Self {
            program,
            order,
            run_id,
            state: State::Begin,
            transaction: 0,
            step: 0,
            line: 0,
            open: false,
            kept: vec![Value::Null; program.slots.order],
            kept_per_line: vec![Value::Null; program.slots.line * order.lines.len()],
            bound: Vec::new(),
            jumps: 0,
            same_values: 0,
            reads: 0,
            last_refused: None,
            futile: false,
            futile_retries: 0,
            stuck: None,
        };
        machine.enter(0);
        machine
    }

    /// What to do next.
    pub fn action(&self) -> Action<'p> {
        match self.state {
            State::Begin => Action::Begin(self.tx().begin.as_deref().unwrap_or_default()),
            State::Think => Action::Think,
            State::Execute => Action::Execute(&self.current().statement),
            State::Commit(_) => Action::Commit,
            State::Rollback(_) => Action::Rollback,
            State::Refused => Action::Refused,
            State::Done(outcome) => Action::Done(outcome),
        }
    }

    /// The values of the statement that [`Action::Execute`] names.
    pub fn binds(&mut self) -> &[Value] {
        let mut bound = std::mem::take(&mut self.bound);
        bound.clear();
        bound.extend(self.current().binds.iter().map(|slot| self.value(*slot)));
        self.bound = bound;
        &self.bound
    }

    /// Reports that the action succeeded; `reply` counts for a statement only.
    pub fn succeeded(&mut self, reply: Reply) {
        match self.state {
            State::Begin => {
                self.open = true;
                self.at_step();
            }
            State::Think => self.state = State::Execute,
            State::Execute if reply.matched == 0 => self.matched_none(),
            State::Execute => self.matched(reply),
            State::Commit(then) | State::Rollback(then) => {
                self.open = false;
                self.follow(then);
            }
            State::Refused | State::Done(_) => {}
        }
    }

    /// Reports that the action failed in the database.
    pub fn failed(&mut self, error: &DbError) {
        match self.state {
            State::Execute => self.statement_failed(error),
            State::Commit(_) if error.class == ErrorClass::Lost => self.state = State::Done(Outcome::Unknown),
            State::Begin | State::Commit(_) => self.control_failed(error),
            // A rollback fails only with its connection, and that rolls back too.
            State::Rollback(then) => {
                self.open = false;
                self.follow(then);
            }
            State::Think | State::Refused | State::Done(_) => {}
        }
    }

    /// Starts the next attempt, where the program says a conflict goes back to.
    pub fn retry(&mut self) {
        if self.futile {
            self.futile_retries += 1;
        }
        self.jumps = 0;
        self.same_values = 0;
        self.enter(self.tx().restart);
    }

    /// Leaves the order refused.
    pub fn give_up(&mut self) {
        if self.futile {
            self.futile_retries += 1;
        }
        self.state = State::Done(Outcome::Conflict);
    }

    /// Why the order was given up inside an attempt, if it was.
    pub fn stuck(&self) -> Option<Stuck> {
        self.stuck
    }

    /// How many attempts repeated the very values that had just been refused,
    /// without reading anything in between.
    pub fn futile_retries(&self) -> u32 {
        self.futile_retries
    }

    fn tx(&self) -> &'p Transaction {
        &self.program.transactions[self.transaction]
    }

    fn current(&self) -> &'p Step {
        &self.tx().steps[self.step]
    }

    fn value(&self, slot: Slot) -> Value {
        let line = &self.order.lines[self.line];
        match slot {
            Slot::OrderId => Value::Int(self.order.id),
            Slot::RunId => Value::Int(self.run_id),
            Slot::SkuId => Value::Int(line.sku_id),
            Slot::Quantity => Value::Int(line.quantity),
            Slot::Line => Value::Int(i64::try_from(self.line + 1).unwrap_or(i64::MAX)),
            Slot::Order(index) => self.kept[index].clone(),
            Slot::PerLine(index) => self.kept_per_line[self.line * self.program.slots.line + index].clone(),
        }
    }

    fn keep(&mut self, slot: Slot, value: Value) {
        match slot {
            Slot::Order(index) => self.kept[index] = value,
            Slot::PerLine(index) => {
                self.kept_per_line[self.line * self.program.slots.line + index] = value;
            }
            Slot::OrderId | Slot::RunId | Slot::SkuId | Slot::Quantity | Slot::Line => {}
        }
    }

    fn enter(&mut self, transaction: usize) {
        self.transaction = transaction;
        self.step = 0;
        self.line = 0;
        let tx = self.tx();
        let statements: usize = tx.steps.iter().map(|step| self.times(step)).sum();
        if tx.begin.is_some() && statements > 1 {
            self.state = State::Begin;
        } else {
            self.at_step();
        }
    }

    fn times(&self, step: &Step) -> usize {
        if step.line_loop.is_some() { self.order.lines.len() } else { 1 }
    }

    /// Stands before the current step, or at the transaction's end.
    fn at_step(&mut self) {
        self.state = match self.tx().steps.get(self.step) {
            None => {
                self.end_transaction();
                return;
            }
            Some(step) if step.think => State::Think,
            Some(_) => State::Execute,
        };
    }

    fn matched(&mut self, reply: Reply) {
        let step = self.current();
        self.reads += u32::from(!step.yields.is_empty());
        for (slot, value) in step.yields.iter().zip(reply.values) {
            self.keep(*slot, value);
        }
        match step.then {
            Some(outcome) => self.commit(Then::Done(outcome)),
            None => self.advance(),
        }
    }

    fn advance(&mut self) {
        match self.current().line_loop {
            Some((start, end)) if self.step + 1 == end => {
                if self.line + 1 < self.order.lines.len() {
                    self.line += 1;
                    self.step = start;
                } else {
                    self.line = 0;
                    self.step = end;
                }
            }
            _ => self.step += 1,
        }
        self.at_step();
    }

    fn matched_none(&mut self) {
        let goto = self.current().none;
        let backward = matches!(goto, Goto::Step(step) if step <= self.step);
        if goto == Goto::Conflict || backward {
            self.note_refused();
        }
        if !backward {
            // Nothing was read: what an earlier turn read must not be used.
            for slot in &self.current().yields {
                self.keep(*slot, Value::Null);
            }
            self.go(goto, None);
            return;
        }
        self.jumps += 1;
        self.stuck = if self.same_values >= SAME_VALUES_MAX {
            Some(Stuck::SameValues)
        } else if self.jumps >= JUMPS_MAX {
            Some(Stuck::TooManyJumps)
        } else {
            None
        };
        match self.stuck {
            Some(_) => self.roll_back(Then::Done(Outcome::Conflict)),
            None => self.go(goto, None),
        }
    }

    /// Remembers the values that were refused. The very same values again mean
    /// a loop that makes no progress; if nothing was even read in between, the
    /// attempt could not have succeeded. Only values that were read count: a
    /// lock that is asked for again may well be free by then.
    fn note_refused(&mut self) {
        let binds = &self.current().binds;
        let depends_on_a_read = binds.iter().any(|slot| matches!(slot, Slot::Order(_) | Slot::PerLine(_)));
        if !depends_on_a_read {
            return self.forget_refused();
        }
        let binds = binds.iter().map(|slot| self.value(*slot)).collect();
        let refused = Refused { transaction: self.transaction, step: self.step, binds, reads: self.reads };
        let last = self.last_refused.as_ref().filter(|last| {
            (last.transaction, last.step) == (refused.transaction, refused.step)
                && last.binds == refused.binds
        });
        self.futile = last.is_some_and(|last| last.reads == refused.reads);
        self.same_values = if last.is_some() { self.same_values + 1 } else { 0 };
        self.last_refused = Some(refused);
    }

    fn forget_refused(&mut self) {
        self.futile = false;
        self.same_values = 0;
        self.last_refused = None;
    }

    fn control_failed(&mut self, error: &DbError) {
        self.forget_refused();
        let then = match error.class {
            ErrorClass::Retry | ErrorClass::Locked => Then::Refused,
            _ => Then::Done(Outcome::Error),
        };
        self.end_with(then, error);
    }

    fn statement_failed(&mut self, error: &DbError) {
        let step = self.current();
        let goto = match error.class {
            ErrorClass::Retry => Some(Goto::Conflict),
            ErrorClass::Locked => Some(step.locked),
            ErrorClass::Duplicate => step.unique,
            ErrorClass::Check => step.check,
            ErrorClass::Lost if !self.open => Some(Goto::Answer(Outcome::Unknown)),
            _ => None,
        };
        self.forget_refused();
        self.go(goto.unwrap_or(Goto::Answer(Outcome::Error)), Some(error));
    }

    fn go(&mut self, goto: Goto, error: Option<&DbError>) {
        let then = match goto {
            Goto::Next => return self.advance(),
            Goto::Step(step) => {
                // A jump inside the line's own loop stays with the line.
                if self.tx().steps[step].line_loop != self.current().line_loop {
                    self.line = 0;
                }
                self.step = step;
                return self.at_step();
            }
            Goto::Conflict => Then::Refused,
            Goto::Answer(outcome) => Then::Done(outcome),
            Goto::Transaction(transaction) => {
                self.jumps += 1;
                if self.jumps >= JUMPS_MAX {
                    self.stuck = Some(Stuck::TooManyJumps);
                    Then::Done(Outcome::Conflict)
                } else {
                    Then::Transaction(transaction)
                }
            }
        };
        match error {
            Some(error) => self.end_with(then, error),
            None => self.roll_back(then),
        }
    }

    /// Ends the transaction after an error: there is nothing to roll back on
    /// a lost connection.
    fn end_with(&mut self, then: Then, error: &DbError) {
        if self.open && error.class != ErrorClass::Lost {
            self.state = State::Rollback(then);
        } else {
            self.open = false;
            self.follow(then);
        }
    }

    fn roll_back(&mut self, then: Then) {
        if self.open {
            self.state = State::Rollback(then);
        } else {
            self.follow(then);
        }
    }

    fn commit(&mut self, then: Then) {
        if self.open {
            self.state = State::Commit(then);
        } else {
            self.follow(then);
        }
    }

    fn end_transaction(&mut self) {
        let next = || {
            let rest = self.program.transactions.iter().enumerate().skip(self.transaction + 1);
            rest.filter(|(_, tx)| !tx.jump_only).map(|(index, _)| Then::Transaction(index)).next()
        };
        let then = self.tx().then.map(Then::Done).or_else(next).unwrap_or(Then::Done(Outcome::Deducted));
        self.commit(then);
    }

    fn follow(&mut self, then: Then) {
        match then {
            Then::Transaction(transaction) => self.enter(transaction),
            Then::Refused => self.state = State::Refused,
            Then::Done(outcome) => self.state = State::Done(outcome),
        }
    }
}

#[cfg(test)]
mod tests;
