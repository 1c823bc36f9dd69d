//! A strategy compiled for one dialect: what is sent, in order, and what each
//! result means. Checked as far as it can be without a database.

use super::file::{StepText, StrategyFile, Target, TransactionText};
use super::sql::{Piece, pieces};
use crate::db::{Dialect, Isolation, Statement};
use crate::outcome::Outcome;
use crate::text;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::sync::Arc;
use std::time::Duration;

/// A strategy, ready to be interpreted on one dialect.
#[derive(Debug, Clone)]
pub struct Program {
    /// The strategy's name.
    pub name: String,
    /// The dialect its statements are written for.
    pub dialect: Dialect,
    /// The isolation level the strategy depends on.
    pub isolation: Option<Isolation>,
    /// Attempts per order; 0 goes on until the order is decided.
    pub tries: u32,
    /// Shortest and longest wait before the next attempt.
    pub delay: (Duration, Duration),
    /// No attempt starts later than this after the order's first.
    pub within: Duration,
    /// Statements that make the strategy's own tables.
    pub setup: Vec<String>,
    /// The query giving `sku_id` and `stock`, where it isn't the usual table.
    pub stock_query: Option<String>,
    /// The ledger's table, where it isn't the usual one.
    pub ledger_table: Option<String>,
    /// The transactions, in the order of the file.
    pub transactions: Vec<Transaction>,
    /// How many values an order keeps, and how many more for each line.
    pub slots: SlotCounts,
}

/// How many yielded values a running program keeps.
#[derive(Debug, Clone, Copy, Default)]
pub struct SlotCounts {
    /// Once per order.
    pub order: usize,
    /// Once per line.
    pub line: usize,
}

/// A transaction of a program.
#[derive(Debug, Clone)]
pub struct Transaction {
    /// Its name, if jumps or restarts need one.
    pub name: Option<String>,
    /// The statement that opens it; `None` sends each statement on its own.
    pub begin: Option<Arc<str>>,
    /// The order's answer once it is committed.
    pub then: Option<Outcome>,
    /// The transaction that a conflict in this one goes back to.
    pub restart: usize,
    /// Whether it runs only when jumped to.
    pub jump_only: bool,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// A step of a transaction: one statement, and what its results mean.
#[derive(Debug, Clone)]
pub struct Step {
    /// Where it stands in the strategy, for errors.
    pub place: String,
    /// The statement that is sent.
    pub statement: Statement,
    /// Where each placeholder's value comes from, in order.
    pub binds: Vec<Slot>,
    /// Where the columns it yields are kept, in order.
    pub yields: Vec<Slot>,
    /// For a step that runs once per line: the first step of its loop and the
    /// step after it.
    pub line_loop: Option<(usize, usize)>,
    /// Whether the think time is waited before it.
    pub think: bool,
    /// What no row means.
    pub none: Goto,
    /// What a duplicate key means; `None` is an error.
    pub unique: Option<Goto>,
    /// What a failed CHECK means; `None` is an error.
    pub check: Option<Goto>,
    /// What a refused lock means.
    pub locked: Goto,
    /// The order's answer once it succeeded.
    pub then: Option<Outcome>,
}

/// Where a step's result leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goto {
    /// To the next step.
    Next,
    /// Roll back and try again.
    Conflict,
    /// Roll back; the order's answer.
    Answer(Outcome),
    /// To a step of this transaction.
    Step(usize),
    /// Roll back, then run this transaction.
    Transaction(usize),
}

/// Where a value comes from or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The order's id.
    OrderId,
    /// The run's id.
    RunId,
    /// The line's SKU.
    SkuId,
    /// The line's quantity in units.
    Quantity,
    /// The line's number in its order, from 1.
    Line,
    /// A value yielded once per order.
    Order(usize),
    /// A value yielded once per line.
    PerLine(usize),
}

/// The binds that every program has.
pub const BUILT_IN_BINDS: [(&str, Slot); 5] = [
    ("order_id", Slot::OrderId),
    ("run_id", Slot::RunId),
    ("sku_id", Slot::SkuId),
    ("quantity", Slot::Quantity),
    ("line", Slot::Line),
];

impl Slot {
    const fn is_per_line(self) -> bool {
        matches!(self, Self::SkuId | Self::Quantity | Self::Line | Self::PerLine(_))
    }
}

impl Program {
    /// Compiles a strategy for a dialect.
    ///
    /// # Errors
    /// One line that names the strategy, the step and what is wrong: no text
    /// for the dialect, a bind that nothing yields, a jump to nowhere.
    pub fn compile(name: &str, file: &StrategyFile, dialect: Dialect) -> Result<Self> {
        if let Some(reason) = file.refused.get(dialect) {
            bail!("strategy {name} cannot run on {}: {reason}", dialect.title());
        }
        ensure!(!file.transaction.is_empty(), "{name}: no [[transaction]]: a program needs one");
        let texts = file.setup.iter().enumerate().map(|(i, setup)| {
            setup.text(dialect).with_context(|| no_text(name, dialect, &format!("setup {}", i + 1)))
        });
        let setup: Result<Vec<&str>> = texts.collect();
        let setup = setup?.into_iter().filter(|sql| !sql.trim().is_empty()).map(str::to_owned).collect();
        let mut compiler = Compiler { name, dialect, file, yields: Vec::new(), slots: SlotCounts::default() };
        let transactions: Result<Vec<Transaction>> =
            file.transaction.iter().enumerate().map(|(i, tx)| compiler.transaction(i, tx)).collect();
        Ok(Self {
            name: name.to_owned(),
            dialect,
            isolation: file.isolation.get(dialect).copied(),
            tries: file.retry.tries,
            delay: file.retry.delay,
            within: file.retry.within,
            setup,
            stock_query: file.audit.stock.clone(),
            ledger_table: file.audit.ledger.clone(),
            transactions: mark_jump_only(transactions?),
            slots: compiler.slots,
        })
    }

    /// Every step of the program, in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.transactions.iter().flat_map(|tx| &tx.steps)
    }

    /// Every step of the program, to be completed by a database.
    pub fn steps_mut(&mut self) -> impl Iterator<Item = &mut Step> {
        self.transactions.iter_mut().flat_map(|tx| &mut tx.steps)
    }
}

fn no_text(name: &str, dialect: Dialect, place: &str) -> String {
    format!("{name}: {place} has no SQL for {dialect}: add `{dialect} = \"…\"` or `sql = \"…\"`")
}

fn opens_a_transaction(begin: &str) -> bool {
    let upper = begin.to_uppercase();
    (upper.starts_with("BEGIN") || upper.starts_with("START TRANSACTION"))
        && upper.chars().all(|c| c.is_ascii_alphanumeric() || " ,_".contains(c))
}

/// A transaction that another one jumps to is not part of the sequence.
fn mark_jump_only(mut transactions: Vec<Transaction>) -> Vec<Transaction> {
    let jumps: Vec<usize> = transactions
        .iter()
        .flat_map(|tx| &tx.steps)
        .flat_map(|step| [Some(step.none), step.unique, step.check, Some(step.locked)])
        .filter_map(|goto| match goto {
            Some(Goto::Transaction(index)) => Some(index),
            _ => None,
        })
        .collect();
    for index in jumps {
        transactions[index].jump_only = index > 0;
    }
    transactions
}

/// Compiles the steps in order, knowing what was yielded before.
struct Compiler<'f> {
    name: &'f str,
    dialect: Dialect,
    file: &'f StrategyFile,
    yields: Vec<(String, Slot)>,
    slots: SlotCounts,
}

impl<'f> Compiler<'f> {
    fn transaction(&mut self, index: usize, text: &'f TransactionText) -> Result<Transaction> {
        let place = text.name.clone().unwrap_or_else(|| format!("transaction {}", index + 1));
        let mut present = Vec::new();
        for (i, step) in text.step.iter().enumerate() {
            let step_place = match &step.name {
                Some(step_name) => format!("{place}, step {step_name}"),
                None => format!("{place}, step {}", i + 1),
            };
            let sql =
                step.text(self.dialect).with_context(|| no_text(self.name, self.dialect, &step_place))?;
            if !sql.trim().is_empty() {
                present.push((step, step_place, sql));
            }
        }
        let names: Vec<Option<&str>> = present.iter().map(|(step, ..)| step.name.as_deref()).collect();
        let mut steps = Vec::new();
        for (step, step_place, sql) in present {
            steps.push(self.step(step, step_place, sql, index, &names)?);
        }
        number_line_loops(&mut steps);
        let restart = match &text.restart {
            Some(target) => {
                self.find_transaction(target).with_context(|| self.nowhere(&place, "restart", target))?
            }
            None => index,
        };
        let begin = text.begin.get(self.dialect).map_or_else(|| self.dialect.begin(), String::as_str).trim();
        ensure!(
            begin == "none" || opens_a_transaction(begin),
            "{}: {place}: `begin` is \"none\" or one BEGIN or START TRANSACTION, not `{}`",
            self.name,
            text::one_line(begin)
        );
        Ok(Transaction {
            name: text.name.clone(),
            begin: (begin != "none").then(|| begin.into()),
            then: text.then,
            restart,
            jump_only: false,
            steps,
        })
    }

    fn step(
        &mut self,
        text: &'f StepText,
        place: String,
        sql: &str,
        transaction: usize,
        names: &[Option<&str>],
    ) -> Result<Step> {
        let (sql, binds) = self.binds(sql, &place)?;
        let per_line = binds.iter().any(|slot| slot.is_per_line());
        let yields: Result<Vec<Slot>> =
            text.yields.iter().map(|column| self.keep(column, per_line, &place)).collect();
        let goto = |target: &Option<Target>| -> Result<Option<Goto>> {
            let Some(target) = target else { return Ok(None) };
            Ok(Some(match target {
                Target::Continue => Goto::Next,
                Target::Conflict => Goto::Conflict,
                Target::Answer(outcome) => Goto::Answer(*outcome),
                Target::Jump(name) => self.jump(name, transaction, names, &place)?,
            }))
        };
        let after_error = |key: &str, target: &Option<Target>| -> Result<Option<Goto>> {
            let goto = goto(target)?;
            ensure!(
                !matches!(goto, Some(Goto::Step(_) | Goto::Next)),
                "{}: {place}: `{key}` follows a failed statement, which ends the transaction: \
                 it must be an outcome, `conflict`, or a jump to another transaction",
                self.name
            );
            Ok(goto)
        };
        Ok(Step {
            none: goto(&text.none)?.unwrap_or(Goto::Next),
            unique: after_error("unique", &text.unique)?,
            check: after_error("check", &text.check)?,
            locked: after_error("locked", &text.locked)?.unwrap_or(Goto::Conflict),
            then: text.then,
            think: text.think,
            line_loop: per_line.then_some((0, 0)),
            statement: Statement {
                sql: sql.into(),
                bind_count: binds.len(),
                columns: text.yields.clone(),
                ..Statement::default()
            },
            place,
            binds,
            yields: yields?,
        })
    }

    /// Replaces `:name` by the dialect's placeholders.
    fn binds(&self, sql: &str, place: &str) -> Result<(String, Vec<Slot>)> {
        let mut text = String::with_capacity(sql.len());
        let mut slots: Vec<Slot> = Vec::new();
        for piece in pieces(sql.trim()) {
            let name = match piece {
                Piece::Text(part) => {
                    text.push_str(part);
                    continue;
                }
                Piece::Bind(name) => name,
            };
            let slot = self.find_bind(name, place)?;
            let known = slots.iter().position(|known| *known == slot);
            let number = if let Some(position) = known.filter(|_| self.dialect.numbers_placeholders()) {
                position + 1
            } else {
                slots.push(slot);
                slots.len()
            };
            text.push_str(&self.dialect.placeholder(number));
        }
        Ok((text, slots))
    }

    fn find_bind(&self, name: &str, place: &str) -> Result<Slot> {
        let built_in = BUILT_IN_BINDS.iter().find(|(known, _)| *known == name).map(|(_, slot)| *slot);
        let yielded = || self.yields.iter().find(|(known, _)| known == name).map(|(_, slot)| *slot);
        built_in.or_else(yielded).ok_or_else(|| {
            let known = BUILT_IN_BINDS.map(|(known, _)| known);
            let yielded = self.yields.iter().map(|(known, _)| known.as_str());
            let suggestion = text::did_you_mean(name, known.into_iter().chain(yielded));
            anyhow!(
                "{}: {place}: no step before it yields `:{name}`{suggestion} (always there: {})",
                self.name,
                text::backquoted(&known)
            )
        })
    }

    /// Gives a yielded column a place to be kept in.
    fn keep(&mut self, column: &str, per_line: bool, place: &str) -> Result<Slot> {
        if BUILT_IN_BINDS.iter().any(|(known, _)| *known == column) {
            bail!("{}: {place}: `{column}` is always there and cannot be yielded", self.name);
        }
        if let Some((_, slot)) = self.yields.iter().find(|(known, _)| known == column) {
            ensure!(
                slot.is_per_line() == per_line,
                "{}: {place}: `{column}` is yielded once per line in one step and once per order in another",
                self.name
            );
            return Ok(*slot);
        }
        let slot = if per_line {
            self.slots.line += 1;
            Slot::PerLine(self.slots.line - 1)
        } else {
            self.slots.order += 1;
            Slot::Order(self.slots.order - 1)
        };
        self.yields.push((column.to_owned(), slot));
        Ok(slot)
    }

    fn jump(&self, target: &str, transaction: usize, names: &[Option<&str>], place: &str) -> Result<Goto> {
        if let Some(step) = names.iter().position(|name| *name == Some(target)) {
            return Ok(Goto::Step(step));
        }
        match self.find_transaction(target) {
            Some(index) if index != transaction => Ok(Goto::Transaction(index)),
            _ => Err(self.nowhere(place, "jump", target)),
        }
    }

    fn find_transaction(&self, target: &str) -> Option<usize> {
        self.file.transaction.iter().position(|tx| tx.name.as_deref() == Some(target))
    }

    fn nowhere(&self, place: &str, what: &str, target: &str) -> anyhow::Error {
        let steps =
            self.file.transaction.iter().flat_map(|tx| &tx.step).filter_map(|step| step.name.as_deref());
        let transactions = self.file.transaction.iter().filter_map(|tx| tx.name.as_deref());
        let suggestion = text::did_you_mean(target, transactions.chain(steps));
        anyhow!(
            "{}: {place}: {what} to `{target}`, which is neither a step of this transaction \
             nor another transaction on {}{suggestion}",
            self.name,
            self.dialect
        )
    }
}

/// Consecutive per-line steps form one loop that runs line by line.
fn number_line_loops(steps: &mut [Step]) {
    let mut start = 0;
    while start < steps.len() {
        let is_line_step = |step: &&Step| step.line_loop.is_some();
        let len = steps[start..].iter().take_while(is_line_step).count();
        for step in &mut steps[start..start + len] {
            step.line_loop = Some((start, start + len));
        }
        start += len.max(1);
    }
}
