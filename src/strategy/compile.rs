//! A strategy's file, checked and compiled for the databases it will run on:
//! every text chosen, every bind found, every jump landed.

use super::file::{
    DrawText, FlowText, InvariantText, LedgerText, PerDialect, Serves, SetupText, StepText, StrategyFile,
    Target, TransactionText,
};
use super::program::{
    AuditSource, Draw, Flow, Goto, Invariant, Ledger, Program, Query, Role, Setting, Setup, Slot, SlotCounts,
    Step, Transaction, begin_at,
};
use super::sql::{Piece, pieces};
use crate::db::{Dialect, Statement};
use crate::outcome::{OnUnknown, Outcome};
use crate::text;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// The binds of a program that handles orders.
static ORDER_BINDS: &[(&str, Slot)] = &[
    ("order_id", Slot::OrderId),
    ("run_id", Slot::RunId),
    ("sku_id", Slot::SkuId),
    ("quantity", Slot::Quantity),
    ("line", Slot::Line),
    ("lines", Slot::Lines),
    ("token", Slot::Token),
    ("now_ms", Slot::NowMs),
];

/// The binds of a program that handles many orders of one SKU at once.
static BATCH_BINDS: &[(&str, Slot)] = &[
    ("orders", Slot::Orders),
    ("run_id", Slot::RunId),
    ("sku_id", Slot::SkuId),
    ("token", Slot::Token),
    ("now_ms", Slot::NowMs),
];

/// The binds of a background program.
static FLOW_BINDS: &[(&str, Slot)] =
    &[("run_id", Slot::RunId), ("token", Slot::Token), ("now_ms", Slot::NowMs)];

/// The column that tells a client how many units are left after its line.
const REMAINING: &str = "remaining";

/// The binds of a setup script.
static SETUP_BINDS: &[(&str, Slot)] = &[("sku_id", Slot::SkuId), ("stock", Slot::Quantity)];

fn built_in(name: &str) -> bool {
    ORDER_BINDS.iter().chain(BATCH_BINDS).chain(SETUP_BINDS).any(|(known, _)| *known == name)
}

/// The name of a value that is always there.
pub(super) fn built_in_name(slot: Slot) -> Option<&'static str> {
    let known = ORDER_BINDS.iter().chain(BATCH_BINDS);
    known.clone().find(|(_, known)| *known == slot).map(|(name, _)| *name)
}

impl Program {
    /// Compiles a strategy for a dialect, its services and params.
    ///
    /// # Errors
    /// One line that names the strategy, the step and what is wrong: no text
    /// for the dialect, a bind that nothing yields, a jump to nowhere.
    pub fn compile(name: &str, file: &StrategyFile, setting: &Setting) -> Result<Self> {
        let dialect = setting.dialect;
        if let Some(reason) = file.refused.get(dialect) {
            bail!("strategy {name} cannot run on {}: {reason}", dialect.title());
        }
        let scope = Scope::new(name, file, setting)?;
        let mut compiler = Compiler::new(&scope, ORDER_BINDS, &file.transaction);
        let transactions = compiler.transactions()?;
        let remaining = compiler.yields.iter().find_map(|(name, slot)| match slot {
            Slot::PerLine(index) if name == REMAINING => Some(*index),
            _ => None,
        });
        let (slots, text_slots) = (compiler.slots, compiler.text_slots);
        let flows: Result<Vec<Flow>> = file.flow.iter().map(|flow| scope.flow(flow)).collect();
        let setup: Result<Vec<Option<Setup>>> =
            file.setup.iter().enumerate().map(|(index, text)| scope.setup(index, text)).collect();
        let program = Self {
            name: name.to_owned(),
            dialect,
            isolation: file.isolation.get(dialect).copied(),
            tries: file.retry.tries,
            delay: file.retry.delay,
            within: file.retry.within,
            unknown: file.retry.unknown,
            setup: setup?.into_iter().flatten().collect(),
            audit: scope.audit()?,
            transactions,
            slots,
            text_slots,
            remaining,
            batch: file.batch.map(|orders| usize::try_from(orders.max(1)).unwrap_or(1)),
            linger: file.linger,
            draws: scope.draws.clone(),
            flows: flows?,
            services: scope.services.clone(),
            answer: Outcome::Deducted,
        };
        let answering =
            program.transactions.iter().flat_map(|tx| &tx.steps).filter(|step| step.answers).count();
        ensure!(
            answering == usize::from(program.batch.is_some()),
            "{name}: a batch has exactly one step with `answers = true`, and nothing else has one"
        );
        ensure!(
            program.batch.is_some() || program.transactions.iter().all(|tx| tx.serves == Serves::Order),
            "{name}: `for = \"batch\"` needs `batch`, the most orders that are answered together"
        );
        let states = |tx: &Transaction| tx.then.is_some() || tx.steps.iter().any(|step| step.then.is_some());
        ensure!(
            !program.transactions.iter().filter(|tx| tx.serves == Serves::Batch).any(states),
            "{name}: a batch has no `then`: each of its orders has an answer of its own"
        );
        Ok(program)
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

/// The transactions that a transaction's steps jump to.
fn jumps(tx: &Transaction) -> impl Iterator<Item = usize> {
    let gotos =
        tx.steps.iter().flat_map(|step| [Some(step.none), step.unique, step.check, Some(step.locked)]);
    gotos.filter_map(|goto| match goto {
        Some(Goto::Transaction(index)) => Some(index),
        _ => None,
    })
}

/// A transaction that another one jumps to is not part of the sequence.
fn mark_jump_only(transactions: &mut [Transaction]) {
    let jumped_to: Vec<usize> = transactions.iter().flat_map(jumps).collect();
    for index in jumped_to.into_iter().filter(|index| *index > 0) {
        if transactions[index].role == Role::Sequence {
            transactions[index].role = Role::JumpOnly;
        }
    }
}

/// Neighbours with a share are alternatives.
fn mark_alternatives(transactions: &mut [Transaction]) {
    let mut start = 0;
    while start < transactions.len() {
        let len = transactions[start..].iter().take_while(|tx| tx.share.is_some()).count();
        for tx in &mut transactions[start..start + len] {
            tx.share = tx.share.map(|(weight, _)| (weight, (start, start + len)));
        }
        start += len.max(1);
    }
}

/// What every part of a file can refer to.
struct Scope<'f> {
    name: &'f str,
    file: &'f StrategyFile,
    setting: &'f Setting,
    params: BTreeMap<&'f str, i64>,
    draw_names: Vec<&'f str>,
    draws: Vec<Draw>,
    /// Services with a database of their own, and its SQL.
    services: Vec<(String, Dialect)>,
}

impl<'f> Scope<'f> {
    fn new(name: &'f str, file: &'f StrategyFile, setting: &'f Setting) -> Result<Self> {
        let mut params: BTreeMap<&str, i64> =
            file.params.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        for (key, value) in &setting.params {
            // A mix may hold the param in another of its programs.
            if let Some(known) = params.get_mut(key.as_str()) {
                *known = *value;
            }
        }
        let draw_names: Vec<&str> = file.draw.keys().map(String::as_str).collect();
        let mut own = file.params.keys().chain(file.draw.keys());
        if let Some(taken) =
            own.find(|key| built_in(key) || file.params.contains_key(*key) && file.draw.contains_key(*key))
        {
            bail!("{name}: `{taken}` cannot name a param or a draw: it is always there, or named twice");
        }
        let draws: Result<Vec<Draw>> =
            file.draw.iter().map(|(key, draw)| compile_draw(name, &file.draw, key, draw)).collect();
        let named = file.transaction.iter().chain(file.flow.iter().flat_map(|flow| &flow.transaction));
        let named = named
            .filter_map(|tx| tx.service.as_ref())
            .chain(file.setup.iter().filter_map(|setup| setup.service.as_ref()));
        let mut services: Vec<(String, Dialect)> =
            named.filter_map(|service| Some((service.clone(), *setting.services.get(service)?))).collect();
        services.sort_unstable();
        services.dedup();
        Ok(Self { name, file, setting, params, draw_names, draws: draws?, services })
    }

    /// The number of a service, and the SQL of its database.
    fn service(&self, name: Option<&String>) -> (usize, Dialect) {
        let own = name.and_then(|name| {
            let index = self.services.iter().position(|(known, _)| known == name)?;
            Some((index + 1, self.services[index].1))
        });
        own.unwrap_or((0, self.setting.dialect))
    }

    fn flow(&self, flow: &'f FlowText) -> Result<Flow> {
        let mut compiler = Compiler::new(self, FLOW_BINDS, &flow.transaction);
        let place = format!("{}: flow {}", self.name, flow.name);
        let transactions = compiler.transactions()?;
        let mut gotos = transactions.iter().flat_map(|tx| &tx.steps).map(|step| step.none);
        ensure!(
            gotos.any(|goto| goto == Goto::Answer(Outcome::Skipped)),
            "{place} never rests: say with `none = \"idle\"` when it finds nothing to do"
        );
        Ok(Flow {
            every: flow.every,
            pending: flow
                .pending
                .as_ref()
                .map(|sql| self.query(sql, None, &place).map(|query| query.sql))
                .transpose()?,
            program: Program {
                name: flow.name.clone(),
                dialect: self.setting.dialect,
                isolation: None,
                tries: 0,
                delay: self.file.retry.delay,
                within: self.file.retry.within,
                unknown: OnUnknown::Keep,
                setup: Vec::new(),
                audit: AuditSource::default(),
                transactions,
                slots: compiler.slots,
                text_slots: compiler.text_slots,
                remaining: None,
                batch: None,
                linger: Duration::ZERO,
                draws: Vec::new(),
                flows: Vec::new(),
                services: self.services.clone(),
                answer: Outcome::Done,
            },
        })
    }

    fn setup(&self, index: usize, text: &'f SetupText) -> Result<Option<Setup>> {
        let place = format!("setup {}", index + 1);
        if let Some(script) = &text.redis {
            let compiler = Compiler::new(self, SETUP_BINDS, &[]);
            let (script, binds) = compiler.binds(script, &place, Placeholders::Script)?;
            return Ok(Some(Setup::Script { script: script.into(), binds }));
        }
        let (service, dialect) = self.service(text.service.as_ref());
        let sql = text.text(dialect).with_context(|| no_text(self.name, dialect, &place))?;
        if sql.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(Setup::Sql { service, sql: self.inline_params(sql, &place)? }))
    }

    /// Setup and audit take their params as plain numbers.
    fn inline_params(&self, sql: &str, place: &str) -> Result<String> {
        let mut text = String::with_capacity(sql.len());
        for piece in pieces(sql.trim()) {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Bind(name) => {
                    let value = self.params.get(name).with_context(|| {
                        let suggestion = text::did_you_mean(name, self.params.keys().copied());
                        format!("{}: {place}: `:{name}` is no param of the file{suggestion}", self.name)
                    })?;
                    text.push_str(&value.to_string());
                }
            }
        }
        Ok(text)
    }

    fn query(&self, sql: &PerDialect<String>, service: Option<&String>, place: &str) -> Result<Query> {
        let (_, dialect) = self.service(service);
        let sql = sql.get(dialect).with_context(|| no_text(self.name, dialect, place))?;
        Ok(Query { sql: self.inline_params(sql, place)?, service: service.cloned() })
    }

    fn audit(&self) -> Result<AuditSource> {
        let audit = &self.file.audit;
        let text = |sql: &PerDialect<String>, key| self.query(sql, None, key).map(|query| query.sql);
        let invariant = |(index, invariant): (usize, &InvariantText)| -> Result<Invariant> {
            let place = format!("invariant {}", index + 1);
            let same_as = invariant.same_as.as_ref();
            let same_as = same_as.map(|sql| self.query(sql, invariant.same_as_service.as_ref(), &place));
            Ok(Invariant {
                query: self.query(&invariant.sql, invariant.service.as_ref(), &place)?,
                same_as: same_as.transpose()?,
                says: invariant.says.clone(),
            })
        };
        let invariants: Result<Vec<Invariant>> =
            self.file.invariant.iter().enumerate().map(invariant).collect();
        let invariants = invariants?;
        let ledger = match &audit.ledger {
            LedgerText::Usual => Ledger::Usual,
            LedgerText::Other(sql) => Ledger::Other(text(sql, "audit.ledger")?),
            LedgerText::None => Ledger::None,
        };
        ensure!(
            ledger != Ledger::None || !invariants.is_empty(),
            "{}: without a ledger something else must judge it: add an [[invariant]]",
            self.name
        );
        let stock = audit.stock.as_ref().map(|sql| text(sql, "audit.stock")).transpose()?;
        Ok(AuditSource { stock, ledger, invariants, services: Vec::new() })
    }
}

/// One of a file's draws. What it must differ from is free itself, so that
/// drawing again always ends.
fn compile_draw(name: &str, draws: &BTreeMap<String, DrawText>, key: &str, draw: &DrawText) -> Result<Draw> {
    let [min, max] = draw.range;
    ensure!(min <= max, "{name}: draw {key}: {min} is above {max}: write the smaller number first");
    let free = Draw { name: key.to_owned(), min, max, not: None };
    let Some(other) = &draw.not else { return Ok(free) };
    let position = draws.keys().position(|known| known == other).with_context(|| {
        let suggestion = text::did_you_mean(other, draws.keys().map(String::as_str));
        format!("{name}: draw {key}: there is no draw `{other}`{suggestion}")
    })?;
    ensure!(
        draws[other].not.is_none() && min < max,
        "{name}: draw {key} cannot differ from `{other}`: `not` names a draw without a `not`, \
         and the range needs two values"
    );
    Ok(Draw { not: Some(position), ..free })
}

/// How a statement writes its placeholders.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Placeholders {
    Sql(Dialect),
    Script,
}

/// Compiles the steps in order, knowing what was yielded before.
struct Compiler<'f> {
    scope: &'f Scope<'f>,
    known: &'static [(&'static str, Slot)],
    texts: &'f [TransactionText],
    yields: Vec<(String, Slot)>,
    slots: SlotCounts,
    text_slots: Vec<Slot>,
}

impl<'f> Compiler<'f> {
    fn new(
        scope: &'f Scope<'f>,
        known: &'static [(&'static str, Slot)],
        texts: &'f [TransactionText],
    ) -> Self {
        let text_slots = vec![Slot::Lines, Slot::Orders];
        Self { scope, known, texts, yields: Vec::new(), slots: SlotCounts::default(), text_slots }
    }

    fn name(&self) -> &'f str {
        self.scope.name
    }

    fn transactions(&mut self) -> Result<Vec<Transaction>> {
        let texts = self.texts;
        ensure!(!texts.is_empty(), "{}: no [[transaction]]: a program needs one", self.name());
        let compiled: Result<Vec<Transaction>> =
            texts.iter().enumerate().map(|(index, text)| self.transaction(index, text)).collect();
        let mut transactions = compiled?;
        mark_jump_only(&mut transactions);
        mark_alternatives(&mut transactions);
        for (index, text) in texts.iter().enumerate() {
            let Some(undone) = &text.undoes else { continue };
            let place = text.name.clone().unwrap_or_else(|| format!("transaction {}", index + 1));
            let undone =
                self.find_transaction(undone).ok_or_else(|| self.nowhere(&place, "undoes refers", undone))?;
            ensure!(
                transactions[undone].undone_by.is_none()
                    && matches!(transactions[undone].role, Role::Sequence | Role::JumpOnly),
                "{}: {place}: what it undoes is undone already, or is itself there to end something",
                self.name()
            );
            transactions[undone].undone_by = Some(index);
        }
        ensure!(
            transactions.iter().any(|tx| tx.role == Role::Sequence),
            "{}: no transaction runs by itself",
            self.name()
        );
        self.check_roles(&transactions)?;
        self.check_serves(&transactions)?;
        Ok(transactions)
    }

    /// What takes back or releases is entered by the machine alone.
    fn check_roles(&self, transactions: &[Transaction]) -> Result<()> {
        for tx in transactions {
            let own = matches!(tx.role, Role::Undo | Role::Finally);
            for target in jumps(tx).chain(std::iter::once(tx.restart).filter(|_| !own)) {
                ensure!(
                    !own && matches!(transactions[target].role, Role::Sequence | Role::JumpOnly),
                    "{}: transactions with `undoes` or `finally` neither jump nor are jumped to",
                    self.name()
                );
            }
        }
        Ok(())
    }

    /// A batch has other values than an order: neither goes on with the
    /// transactions of the other.
    fn check_serves(&self, transactions: &[Transaction]) -> Result<()> {
        for tx in transactions {
            for target in jumps(tx).chain([tx.restart]) {
                ensure!(
                    transactions[target].serves == tx.serves,
                    "{}: transactions for a batch and for an order neither jump to nor restart at each other",
                    self.name()
                );
            }
        }
        Ok(())
    }

    fn transaction(&mut self, index: usize, text: &'f TransactionText) -> Result<Transaction> {
        let place = text.name.clone().unwrap_or_else(|| format!("transaction {}", index + 1));
        let in_batches = self.scope.file.batch.is_some() && !self.is_flow();
        let serves = text.serves.unwrap_or(if in_batches { Serves::Batch } else { Serves::Order });
        if !self.is_flow() {
            self.known = if serves == Serves::Batch { BATCH_BINDS } else { ORDER_BINDS };
        }
        let (service, dialect) = self.scope.service(text.service.as_ref());
        let mut present = Vec::new();
        for (i, step) in text.step.iter().enumerate() {
            let step_place = match &step.name {
                Some(step_name) => format!("{place}, step {step_name}"),
                None => format!("{place}, step {}", i + 1),
            };
            if let Some(script) = &step.redis {
                ensure!(
                    step.text(dialect).is_none(),
                    "{}: {step_place}: a step is SQL or a script for Redis, not both",
                    self.name()
                );
                present.push((step, step_place, script.as_str()));
                continue;
            }
            let sql = step.text(dialect).with_context(|| no_text(self.name(), dialect, &step_place))?;
            if !sql.trim().is_empty() {
                present.push((step, step_place, sql));
            }
        }
        let names: Vec<Option<&str>> = present.iter().map(|(step, ..)| step.name.as_deref()).collect();
        let mut steps = Vec::new();
        for (step, step_place, sql) in present {
            steps.push(self.step(step, step_place, sql, dialect, (index, serves), &names)?);
        }
        number_line_loops(&mut steps);
        let restart = match &text.restart {
            Some(target) => {
                self.find_transaction(target).ok_or_else(|| self.nowhere(&place, "restart", target))?
            }
            None => index,
        };
        let begin = text.begin.get(dialect).map_or_else(|| dialect.begin(), String::as_str).trim();
        ensure!(
            begin == "none" || opens_a_transaction(begin),
            "{}: {place}: `begin` is \"none\" or one BEGIN or START TRANSACTION, not `{}`",
            self.name(),
            text::one_line(begin)
        );
        let level = text.isolation.get(dialect).copied();
        ensure!(
            level.is_none() || begin != "none",
            "{}: {place}: an isolation level needs a transaction, and `begin` is \"none\"",
            self.name()
        );
        let begin = match level {
            Some(level) => begin_at(dialect, begin, level),
            None => begin.to_owned(),
        };
        let role = match (&text.undoes, text.finally) {
            (Some(_), true) => bail!("{}: {place}: `undoes` and `finally` exclude each other", self.name()),
            (Some(_), false) => Role::Undo,
            (None, true) => Role::Finally,
            (None, false) => Role::Sequence,
        };
        ensure!(
            text.share.is_none_or(|weight| weight > 0 && role == Role::Sequence),
            "{}: {place}: `share` is a weight from 1, of a transaction that runs in its turn",
            self.name()
        );
        Ok(Transaction {
            name: text.name.clone(),
            always_begin: level.is_some(),
            begin: (begin != "none").then(|| begin.into()),
            serves,
            then: text.then,
            restart,
            role,
            share: text.share.map(|weight| (weight, (index, index + 1))),
            undone_by: None,
            service,
            steps,
        })
    }

    fn step(
        &mut self,
        text: &'f StepText,
        place: String,
        sql: &str,
        dialect: Dialect,
        (transaction, serves): (usize, Serves),
        names: &[Option<&str>],
    ) -> Result<Step> {
        let is_script = text.redis.is_some();
        let placeholders = if is_script { Placeholders::Script } else { Placeholders::Sql(dialect) };
        let (sql, binds) = self.binds(sql, &place, placeholders)?;
        // A batch has one SKU and no lines to loop over.
        let per_line = serves == Serves::Order && binds.iter().any(|slot| slot.is_per_line());
        for column in &text.text {
            ensure!(
                is_script && text.yields.contains(column),
                "{}: {place}: `text` names what a script for Redis yields, and `{column}` is not that",
                self.name()
            );
        }
        let kept = if text.answers { &[][..] } else { &text.yields };
        let yields: Result<Vec<Slot>> =
            kept.iter().map(|column| self.keep(column, per_line, &place)).collect();
        let yields = yields?;
        if text.answers {
            ensure!(
                text.yields == ["order_id", "outcome"],
                "{}: {place}: a step with `answers = true` yields order_id and outcome, in this order",
                self.name()
            );
        }
        let texts = text.yields.iter().zip(&yields).filter(|(column, _)| text.text.contains(column));
        let texts: Vec<Slot> = texts.map(|(_, slot)| *slot).collect();
        self.text_slots.extend(texts);
        let goto = |target: &Option<Target>| -> Result<Option<Goto>> {
            let Some(target) = target else { return Ok(None) };
            Ok(Some(match target {
                Target::Continue => Goto::Next,
                Target::Conflict => Goto::Conflict,
                Target::Idle => {
                    ensure!(self.is_flow(), "{}: {place}: only a flow can be `idle`", self.name());
                    Goto::Answer(Outcome::Skipped)
                }
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
                self.name()
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
                all_rows: text.answers,
                is_script,
                returns_rows: is_script.then_some(true),
                ..Statement::default()
            },
            answers: text.answers,
            place,
            binds,
            yields,
        })
    }

    /// Replaces `:name` by the dialect's placeholders.
    fn binds(&self, sql: &str, place: &str, placeholders: Placeholders) -> Result<(String, Vec<Slot>)> {
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
            let is_numbered = match placeholders {
                Placeholders::Sql(dialect) => dialect.numbers_placeholders(),
                Placeholders::Script => true,
            };
            let number = if let Some(position) = known.filter(|_| is_numbered) {
                position + 1
            } else {
                slots.push(slot);
                slots.len()
            };
            match placeholders {
                Placeholders::Sql(dialect) => text.push_str(&dialect.placeholder(number)),
                Placeholders::Script => write!(text, "ARGV[{number}]")?,
            }
        }
        Ok((text, slots))
    }

    fn is_flow(&self) -> bool {
        std::ptr::eq(self.known, FLOW_BINDS)
    }

    /// What is there before any step has run.
    fn given(&self, name: &str) -> Option<Slot> {
        let built_in = self.known.iter().find(|(known, _)| *known == name).map(|(_, slot)| *slot);
        let param = || self.scope.params.get(name).map(|value| Slot::Const(*value));
        // Only an order has draws of its own.
        let draws =
            if std::ptr::eq(self.known, ORDER_BINDS) { self.scope.draw_names.as_slice() } else { &[] };
        let of_order = || draws.iter().position(|known| *known == name).map(Slot::Drawn);
        built_in.or_else(param).or_else(of_order)
    }

    fn find_bind(&self, name: &str, place: &str) -> Result<Slot> {
        let yielded = || self.yields.iter().find(|(known, _)| known == name).map(|(_, slot)| *slot);
        self.given(name).or_else(yielded).ok_or_else(|| {
            let known: Vec<&str> = self.known.iter().map(|(known, _)| *known).collect();
            let yielded = self.yields.iter().map(|(known, _)| known.as_str());
            let params = self.scope.params.keys().copied();
            let all = known
                .iter()
                .copied()
                .chain(yielded)
                .chain(params)
                .chain(self.scope.draw_names.iter().copied());
            anyhow!(
                "{}: {place}: no step before it yields `:{name}`{} (always there: {})",
                self.name(),
                text::did_you_mean(name, all),
                text::backquoted(&known)
            )
        })
    }

    /// Gives a yielded column a place to be kept in.
    fn keep(&mut self, column: &str, per_line: bool, place: &str) -> Result<Slot> {
        if self.given(column).is_some() {
            bail!("{}: {place}: `{column}` is always there and cannot be yielded", self.name());
        }
        if let Some((_, slot)) = self.yields.iter().find(|(known, _)| known == column) {
            ensure!(
                slot.is_per_line() == per_line,
                "{}: {place}: `{column}` is yielded once per line in one step and once per order in another",
                self.name()
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
        self.texts.iter().position(|tx| tx.name.as_deref() == Some(target))
    }

    fn nowhere(&self, place: &str, what: &str, target: &str) -> anyhow::Error {
        let steps = self.texts.iter().flat_map(|tx| &tx.step).filter_map(|step| step.name.as_deref());
        let transactions = self.texts.iter().filter_map(|tx| tx.name.as_deref());
        let suggestion = text::did_you_mean(target, transactions.chain(steps));
        anyhow!(
            "{}: {place}: {what} to `{target}`, which is neither a step of this transaction \
             nor another transaction on {}{suggestion}",
            self.name(),
            self.scope.setting.dialect
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
