//! The one step function: what a program sends next, and what a reply means.
//!
//! A [`Machine`] is one order going through one program. It does no I/O and
//! knows no clock: the caller sends what [`Machine::action`] says and reports
//! back, so a stress run, an exploration of schedules and a test all execute
//! exactly the same program.

use super::file::Serves;
use super::program::{Goto, Program, Role, Slot, Step, Transaction};
use crate::db::{DbError, ErrorClass, Reply, Statement, Value};
use crate::outcome::Outcome;
use crate::workload::{Line, Order};

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
    /// The program jumped [`JUMPS_MAX`] times, or as often as it was allowed to.
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

/// What a program is run for: an order, a batch of them, or nothing but the
/// time (a flow).
#[derive(Debug, Clone, Default)]
pub struct Task {
    /// The order's id; 0 where there is no one order.
    pub order_id: i64,
    /// The lines that per-line steps run for.
    pub lines: Vec<Line>,
    /// The run's id.
    pub run_id: i64,
    /// A number that no other task of any run has, times 1,000: the attempts
    /// count up from it.
    pub token: i64,
    /// What alternatives are chosen by.
    pub chance: u64,
    /// The values drawn for the order.
    pub drawn: Vec<i64>,
    /// The orders of a batch: id and quantity.
    pub batch: Vec<(i64, i64)>,
}

impl Task {
    /// An order of a run, with nothing left to chance.
    pub fn of(order: &Order, run_id: i64) -> Self {
        Self { order_id: order.id, lines: order.lines.clone(), run_id, ..Self::default() }
    }
}

/// Attempts that a task's token is counted up for.
pub const TOKENS_PER_TASK: i64 = 1_000;

/// One order on its way through a program.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about where the order is")]
pub struct Machine<'p> {
    program: &'p Program,
    task: Task,
    state: State,
    /// Where the next attempt begins.
    resume: usize,
    attempt: i64,
    /// Transactions that were committed and can be taken back, in order.
    done: Vec<usize>,
    undoing: bool,
    /// Whether this attempt has released what it locked, and what comes then.
    finished: bool,
    after_finally: Option<Then>,
    /// Whether a release failed: its connection may still hold the lock.
    tainted: bool,
    answers: Vec<(i64, Outcome)>,
    recorded: Option<Outcome>,
    transaction: usize,
    step: usize,
    line: usize,
    open: bool,
    kept: Vec<Value>,
    kept_per_line: Vec<Value>,
    bound: Vec<Value>,
    jumps: u32,
    same_values: u32,
    same_values_max: u32,
    jumps_max: u32,
    reads: u32,
    last_refused: Option<Refused>,
    futile: bool,
    futile_retries: u32,
    stuck: Option<Stuck>,
    /// Whether the connection went while the attempt had certainly taken no effect.
    lost: bool,
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
    /// A task at the start of a program.
    pub fn new(program: &'p Program, task: Task) -> Self {
        let mut machine = Self {
            program,
            state: State::Begin,
            resume: 0,
            attempt: 0,
            done: Vec::new(),
            undoing: false,
            finished: false,
            after_finally: None,
            tainted: false,
            answers: Vec::new(),
            recorded: None,
            transaction: 0,
            step: 0,
            line: 0,
            open: false,
            kept: vec![Value::Null; program.slots.order],
            kept_per_line: vec![Value::Null; program.slots.line * task.lines.len()],
            task,
            bound: Vec::new(),
            jumps: 0,
            same_values: 0,
            same_values_max: SAME_VALUES_MAX,
            jumps_max: JUMPS_MAX,
            reads: 0,
            last_refused: None,
            futile: false,
            futile_retries: 0,
            stuck: None,
            lost: false,
        };
        match machine.in_sequence_from(0) {
            Some(first) => machine.enter(first),
            None => machine.follow(Then::Done(program.answer)),
        }
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

    /// The values of the statement that [`Action::Execute`] names; `now_ms`
    /// tells the time in milliseconds since 1970, where it is asked for.
    pub fn binds(&mut self, now_ms: impl FnOnce() -> i64) -> &[Value] {
        let asks_time = self.current().binds.contains(&Slot::NowMs);
        let now_ms = if asks_time { now_ms() } else { 0 };
        let mut bound = std::mem::take(&mut self.bound);
        bound.clear();
        bound.extend(self.current().binds.iter().map(|slot| match slot {
            Slot::NowMs => Value::Int(now_ms),
            slot => self.value(*slot),
        }));
        self.bound = bound;
        &self.bound
    }

    /// The name of the transaction that the action belongs to.
    pub fn transaction_name(&self) -> Option<&'p str> {
        self.tx().name.as_deref()
    }

    /// The transaction and the step in it that the action belongs to.
    pub fn position(&self) -> (usize, usize) {
        (self.transaction, self.step)
    }

    /// The service whose database the action is for.
    pub fn service(&self) -> usize {
        self.tx().service
    }

    /// Whether the action is the first of its transaction.
    pub fn starts_transaction(&self) -> bool {
        let at_start = self.step == 0 && self.line == 0 && !self.open;
        match self.state {
            State::Begin => true,
            State::Think | State::Execute => at_start,
            _ => false,
        }
    }

    /// Whether the action, if it succeeds, completes its transaction.
    pub fn completes_transaction(&self) -> bool {
        match self.state {
            State::Commit(_) => true,
            State::Execute if !self.open => {
                let last_line = self.current().line_loop.is_none() || self.line + 1 == self.task.lines.len();
                self.step + 1 == self.tx().steps.len() && last_line
            }
            _ => false,
        }
    }

    /// Whether committed transactions are being taken back: that is tried
    /// until it is done.
    pub fn is_undoing(&self) -> bool {
        self.undoing
    }

    /// Whether a release failed in this attempt, so that its connections may
    /// hold locks that nobody will give back.
    pub fn is_tainted(&self) -> bool {
        self.tainted
    }

    /// The answers to a batch, by order id.
    pub fn answers(&self) -> &[(i64, Outcome)] {
        &self.answers
    }

    /// How many units are left after each line, as the program read it; empty
    /// where it does not.
    pub fn remaining(&self) -> Vec<Option<i64>> {
        let Some(index) = self.program.remaining else { return Vec::new() };
        let lines = self.kept_per_line.chunks(self.program.slots.line);
        lines.map(|line| line.get(index).and_then(Value::as_int)).collect()
    }

    /// The answer that was recorded for an order decided before.
    pub fn recorded(&self) -> Option<Outcome> {
        self.recorded
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
            State::Commit(then) => {
                self.open = false;
                self.committed(then);
            }
            State::Rollback(then) => {
                self.open = false;
                self.follow(then);
            }
            State::Refused | State::Done(_) => {}
        }
    }

    /// Reports that the action failed in the database.
    pub fn failed(&mut self, error: &DbError) {
        self.tainted |= self.tx().role == Role::Finally;
        match self.state {
            State::Execute => self.statement_failed(error),
            State::Commit(_) if !is_rolled_back(error.class) => {
                self.open = !is_away(error.class);
                self.answer_lost();
            }
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
        self.attempt += 1;
        self.finished = false;
        self.tainted = false;
        self.lost = false;
        // What a refused attempt answered was rolled back with it.
        self.answers.clear();
        self.recorded = None;
        self.enter(self.resume);
    }

    /// Whether the attempt was not refused by the database: its connection went
    /// before anything of it could take effect.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Leaves the order refused, or a saga half undone.
    pub fn give_up(&mut self) {
        if self.futile {
            self.futile_retries += 1;
        }
        if self.undoing || self.lost && self.done.is_empty() {
            self.state = State::Done(Outcome::Error);
        } else if self.done.is_empty() {
            self.state = State::Done(Outcome::Conflict);
        } else {
            self.undoing = true;
            self.undo_next();
        }
    }

    /// Breaks a loop off sooner: after the same values were refused so often, or
    /// after so many jumps.
    #[must_use]
    pub fn breaking_off_after(mut self, same_values: u32, jumps: u32) -> Self {
        self.same_values_max = same_values;
        self.jumps_max = jumps;
        self
    }

    /// Whether a transaction is open that was begun.
    pub fn in_transaction(&self) -> bool {
        self.open
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
        let line = || self.task.lines.get(self.line).copied().unwrap_or(Line { sku_id: 0, quantity: 0 });
        match slot {
            Slot::OrderId => Value::Int(self.task.order_id),
            Slot::RunId => Value::Int(self.task.run_id),
            Slot::SkuId => Value::Int(line().sku_id),
            Slot::Quantity => Value::Int(line().quantity),
            Slot::Line => Value::Int(i64::try_from(self.line + 1).unwrap_or(i64::MAX)),
            Slot::Lines => Value::Text(json(&self.task.lines, |line| {
                format!("{{\"sku_id\":{},\"quantity\":{}}}", line.sku_id, line.quantity)
            })),
            Slot::Orders => Value::Text(json(&self.task.batch, |(id, quantity)| {
                format!("{{\"order_id\":{id},\"quantity\":{quantity}}}")
            })),
            Slot::Token => Value::Int(self.task.token + self.attempt % TOKENS_PER_TASK),
            // Only the caller knows the time.
            Slot::NowMs => Value::Null,
            Slot::Const(number) => Value::Int(number),
            Slot::Drawn(index) => Value::Int(self.task.drawn.get(index).copied().unwrap_or(0)),
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
            _ => unreachable!("the compiler keeps yields in slots of their own"),
        }
    }

    /// The transaction that runs in its turn at this place or after it; of
    /// alternatives, the one that chance chose for this task.
    fn in_sequence_from(&self, from: usize) -> Option<usize> {
        let transactions = &self.program.transactions;
        let serves = if self.task.batch.is_empty() { Serves::Order } else { Serves::Batch };
        let runs = |tx: &Transaction| tx.role == Role::Sequence && tx.serves == serves;
        let next = (from..transactions.len()).find(|index| runs(&transactions[*index]))?;
        Some(self.program.alternative(next, self.task.chance))
    }

    /// The transaction that follows the current one.
    fn next_in_sequence(&self) -> Option<usize> {
        let after = self.tx().share.map_or(self.transaction + 1, |(_, (_, end))| end);
        self.in_sequence_from(after)
    }

    fn enter(&mut self, transaction: usize) {
        self.transaction = transaction;
        self.step = 0;
        self.line = 0;
        let tx = self.tx();
        let in_sql = tx.steps.iter().filter(|step| !step.statement.is_script);
        let statements: usize = in_sql.map(|step| self.times(step)).sum();
        if tx.begin.is_some() && (statements > 1 || tx.always_begin && statements == 1) {
            self.state = State::Begin;
        } else {
            self.at_step();
        }
    }

    fn times(&self, step: &Step) -> usize {
        if step.line_loop.is_some() { self.task.lines.len() } else { 1 }
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
        if step.answers {
            self.answers.extend(reply.rows.iter().filter_map(|row| batch_answer(row)));
        }
        if step.then == Some(Outcome::Duplicate) {
            let answer =
                step.statement.columns.iter().zip(&reply.values).find(|(column, _)| *column == "answer");
            self.recorded = answer.and_then(|(_, word)| word.to_text().parse().ok());
        }
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
                if self.line + 1 < self.task.lines.len() {
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
        if let (Goto::Next, Some(outcome)) = (goto, self.current().then) {
            return self.commit(Then::Done(outcome));
        }
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
        self.stuck = if self.same_values >= self.same_values_max {
            Some(Stuck::SameValues)
        } else if self.jumps >= self.jumps_max {
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
        let depends_on_a_read = binds.iter().any(|slot| slot.is_read());
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
            ErrorClass::Retry | ErrorClass::Locked => self.refused(),
            ErrorClass::Lost | ErrorClass::NotReady => self.connection_lost(),
            _ => Then::Done(Outcome::Error),
        };
        self.end_with(then, error);
    }

    fn statement_failed(&mut self, error: &DbError) {
        let step = self.current();
        let is_ambiguous = !self.open || step.statement.is_script;
        if error.class == ErrorClass::Lost && is_ambiguous {
            self.forget_refused();
            return self.answer_lost();
        }
        if is_away(error.class) {
            self.forget_refused();
            let then = self.connection_lost();
            return self.end_with(then, error);
        }
        let goto = match error.class {
            ErrorClass::Retry => Some(Goto::Conflict),
            ErrorClass::Locked => Some(step.locked),
            ErrorClass::Duplicate => step.unique,
            ErrorClass::Check => step.check,
            _ => None,
        };
        self.forget_refused();
        self.go(goto.unwrap_or(Goto::Answer(Outcome::Error)), Some(error));
    }

    /// A statement that may have taken effect was not answered. Where it can
    /// be taken back, it is, as if it had.
    fn answer_lost(&mut self) {
        let then = if self.tx().undone_by.is_some() {
            self.done.push(self.transaction);
            Then::Done(Outcome::Error)
        } else if self.undoing {
            self.refused()
        } else {
            Then::Done(Outcome::Unknown)
        };
        self.roll_back(then);
    }

    /// A transaction whose connection is gone, or whose node takes no statements, was
    /// rolled back: it can be tried again on another one.
    fn connection_lost(&mut self) -> Then {
        self.lost = true;
        self.refused()
    }

    /// The attempt ends here, and the next one begins where the transaction
    /// says.
    fn refused(&mut self) -> Then {
        if self.tx().role != Role::Finally {
            self.resume = self.tx().restart;
        }
        Then::Refused
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
            Goto::Conflict => self.refused(),
            Goto::Answer(outcome) => Then::Done(outcome),
            Goto::Transaction(transaction) => {
                self.jumps += 1;
                if self.jumps >= self.jumps_max {
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
        if self.open && !is_away(error.class) {
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
            self.committed(then);
        }
    }

    fn committed(&mut self, then: Then) {
        if self.tx().undone_by.is_some() {
            self.done.push(self.transaction);
        }
        self.follow(then);
    }

    fn end_transaction(&mut self) {
        let then = match self.tx().role {
            // What comes then is known already.
            Role::Undo | Role::Finally => Then::Done(self.program.answer),
            Role::Sequence | Role::JumpOnly => {
                let next = || self.next_in_sequence().map(Then::Transaction);
                let then = self.tx().then.map(Then::Done).or_else(next);
                then.unwrap_or(Then::Done(self.program.answer))
            }
        };
        self.commit(then);
    }

    /// Goes on after the end of a transaction, committed or not.
    fn follow(&mut self, then: Then) {
        match (self.tx().role, then) {
            (Role::Finally, _) => return self.finally_from(self.transaction + 1),
            // An undo that did not complete is tried again, whatever stopped it.
            (Role::Undo, Then::Done(Outcome::Error | Outcome::Conflict)) => {
                let then = self.refused();
                return self.settle(then);
            }
            (Role::Undo, Then::Done(_) | Then::Transaction(_)) if self.undoing => {
                // One that answered instead of committing found nothing to undo.
                self.done.retain(|done| self.program.transactions[*done].undone_by != Some(self.transaction));
                return self.undo_next();
            }
            (_, Then::Transaction(transaction)) => return self.enter(transaction),
            _ => {}
        }
        let is_failure = matches!(
            then,
            Then::Done(Outcome::Error | Outcome::Conflict | Outcome::SoldOut | Outcome::Unknown)
        );
        if is_failure && !self.done.is_empty() {
            self.undoing = true;
            return self.undo_next();
        }
        self.settle(then);
    }

    /// Takes back the last transaction that is still done.
    fn undo_next(&mut self) {
        let undo = self.done.last().and_then(|done| self.program.transactions[*done].undone_by);
        if let Some(undo) = undo {
            return self.enter(undo);
        }
        self.undoing = false;
        self.settle(Then::Done(Outcome::Compensated));
    }

    /// Ends the attempt, once what must run at its end has run.
    fn settle(&mut self, then: Then) {
        self.after_finally = Some(then);
        if self.finished {
            return self.end_attempt();
        }
        self.finished = true;
        self.finally_from(0);
    }

    fn finally_from(&mut self, from: usize) {
        let transactions = &self.program.transactions;
        match (from..transactions.len()).find(|index| transactions[*index].role == Role::Finally) {
            Some(next) => self.enter(next),
            None => self.end_attempt(),
        }
    }

    fn end_attempt(&mut self) {
        match self.after_finally.take() {
            Some(Then::Refused) => self.state = State::Refused,
            Some(Then::Done(outcome)) => self.state = State::Done(outcome),
            Some(Then::Transaction(transaction)) => self.enter(transaction),
            None => self.state = State::Done(Outcome::Error),
        }
    }
}

/// Whether the connection takes no statement any more, so that nothing is left to roll
/// back on it.
const fn is_away(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Lost | ErrorClass::NotReady)
}

/// Whether a COMMIT that was answered so has taken no effect. A full disk, a deadline or a
/// node that leaves its cluster say nothing of that: the ledger has to.
const fn is_rolled_back(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::Retry | ErrorClass::Locked | ErrorClass::Check | ErrorClass::Duplicate)
}

fn json<T>(items: &[T], item: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(item).collect::<Vec<_>>().join(","))
}

/// One row of a batch's answers.
fn batch_answer(row: &[Value]) -> Option<(i64, Outcome)> {
    let [order_id, outcome] = row else { return None };
    let outcome = outcome.to_text().parse().ok().filter(|outcome: &Outcome| outcome.is_answer())?;
    Some((order_id.as_int()?, outcome))
}

#[cfg(test)]
mod tests;
