//! A program, as data: what is sent to one kind of database, in order, and what
//! each result means.

use super::file::Serves;
use crate::db::schema::{LEDGER, STOCK_QUERY};
use crate::db::{Dialect, Isolation, Statement};
use crate::outcome::{OnUnknown, Outcome};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a strategy is compiled for.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The SQL of the database that holds stock and ledger.
    pub dialect: Dialect,
    /// Services with a database of their own, and its SQL. A service that is
    /// not named here shares the stock's database.
    pub services: BTreeMap<String, Dialect>,
    /// Values for the file's params.
    pub params: BTreeMap<String, i64>,
}

impl From<Dialect> for Setting {
    fn from(dialect: Dialect) -> Self {
        Self { dialect, services: BTreeMap::new(), params: BTreeMap::new() }
    }
}

/// A strategy, ready to be interpreted on one dialect.
#[derive(Debug, Clone)]
pub struct Program {
    /// The strategy's name.
    pub name: String,
    /// The SQL of the database that holds stock and ledger.
    pub dialect: Dialect,
    /// The isolation level the strategy depends on.
    pub isolation: Option<Isolation>,
    /// Attempts per order; 0 goes on until the order is decided.
    pub tries: u32,
    /// Shortest and longest wait before the next attempt.
    pub delay: (Duration, Duration),
    /// No attempt starts later than this after the order's first.
    pub within: Duration,
    /// What the client does when an answer is lost.
    pub unknown: OnUnknown,
    /// What makes the strategy's own tables, and where.
    pub setup: Vec<Setup>,
    /// What the audit reads.
    pub audit: AuditSource,
    /// The transactions, in the order of the file.
    pub transactions: Vec<Transaction>,
    /// How many values an order keeps, and how many more for each line.
    pub slots: SlotCounts,
    /// Values whose type is text, whatever a database says of them.
    pub text_slots: Vec<Slot>,
    /// The value, yielded once per line, that tells how many units are left
    /// after it: what a step yields as `remaining`.
    pub remaining: Option<usize>,
    /// Orders of one SKU that one execution answers together.
    pub batch: Option<usize>,
    /// How long a batch waits for as many orders as the last one had.
    pub linger: Duration,
    /// Values drawn once per order, in the order of their slots.
    pub draws: Vec<Draw>,
    /// Programs that run in the background.
    pub flows: Vec<Flow>,
    /// Services with a database of their own and its SQL, from service 1;
    /// service 0 is the stock's database.
    pub services: Vec<(String, Dialect)>,
    /// The answer where the last transaction states none.
    pub answer: Outcome,
}

/// A program that runs in the background.
#[derive(Debug, Clone)]
pub struct Flow {
    /// The pause after it found nothing to do.
    pub every: Duration,
    /// A query that returns a row while there is work left to wait for.
    pub pending: Option<String>,
    /// What it runs.
    pub program: Program,
}

/// A value drawn evenly for each order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    /// Its name in the file.
    pub name: String,
    /// The smallest.
    pub min: i64,
    /// The largest.
    pub max: i64,
    /// An earlier draw that it must differ from.
    pub not: Option<usize>,
}

/// One statement that makes a strategy's own tables or keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setup {
    /// SQL, on the database of a service.
    Sql {
        /// Which database.
        service: usize,
        /// The text that is sent.
        sql: String,
    },
    /// A Lua script for Redis; once for each SKU where it binds one.
    Script {
        /// The script.
        script: Arc<str>,
        /// Where its values come from: `:stock` is a line's quantity here.
        binds: Vec<Slot>,
    },
}

/// What the audit reads of a strategy; kept with the run in the database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditSource {
    /// The query giving `sku_id` and `stock`, where it isn't the usual table.
    pub stock: Option<String>,
    /// Where the ledger is.
    pub ledger: Ledger,
    /// Queries that must return no row.
    pub invariants: Vec<Invariant>,
    /// Services that had a database of their own.
    pub services: Vec<String>,
}

impl AuditSource {
    /// The query giving `sku_id` and `stock`, in no order.
    pub fn stock_sql(&self) -> String {
        let query = self.stock.as_deref().unwrap_or(STOCK_QUERY);
        format!("SELECT sku_id, stock FROM ({query}) AS stock_now")
    }

    /// The stock and the ledger as the audit will ask for them, where they are
    /// not the usual ones.
    pub fn queries(&self) -> Vec<(&'static str, String)> {
        let stock = self.stock.as_ref().map(|_| ("audit.stock", self.stock_sql()));
        let ledger = match &self.ledger {
            Ledger::Other(_) => self
                .ledger
                .as_table()
                .map(|table| ("audit.ledger", format!("SELECT id, {ENTRY_COLUMNS} FROM {table}"))),
            Ledger::Usual | Ledger::None => None,
        };
        stock.into_iter().chain(ledger).collect()
    }

    /// Everything that the audit reads on a service with a database of its own, or (`None`)
    /// on the stock's.
    pub fn queries_on(&self, service: Option<&str>) -> Vec<String> {
        let mut queries = Vec::new();
        if let Some(ledger) = self.ledger.as_table().filter(|_| service.is_none()) {
            queries.push(self.stock_sql());
            queries.push(format!("SELECT {ENTRY_COLUMNS} FROM {ledger}"));
        }

        let has_database = |name: &&str| self.services.iter().any(|known| known == name);
        let all = self
            .invariants
            .iter()
            .flat_map(|invariant| std::iter::once(&invariant.query).chain(&invariant.same_as));
        let on_service = all.filter(|query| query.service.as_deref().filter(has_database) == service);
        queries.extend(on_service.map(|query| query.sql.clone()));

        queries
    }
}

/// What the audit reads of an entry, in this order.
pub const ENTRY_COLUMNS: &str = "order_id, sku_id, kind, status, delta, balance, run_id";

impl Ledger {
    /// The ledger as it stands in FROM, if there is one.
    pub fn as_table(&self) -> Option<String> {
        let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || "_.\"`".contains(c));
        match self {
            Self::Usual => Some(LEDGER.to_owned()),
            Self::Other(text) if is_name(text.trim()) => Some(text.clone()),
            Self::Other(query) => Some(format!("({query}) AS ledger_entries")),
            Self::None => None,
        }
    }
}

/// Where the ledger is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ledger {
    /// The usual table.
    #[default]
    Usual,
    /// A table of the ledger's shape, or a query giving its columns.
    Other(String),
    /// There is none: neither ledger nor stock is judged.
    None,
}

/// A query that must return no row, or two that must return the same ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invariant {
    /// The query.
    pub query: Query,
    /// A query that must give the same order ids.
    pub same_as: Option<Query>,
    /// A sentence for each row; `{column}` stands for the row's value.
    pub says: String,
}

/// A query, and the service it is asked of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// The text that is sent.
    pub sql: String,
    /// The service, if it isn't the stock's database.
    pub service: Option<String>,
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
    /// Its name, if jumps, restarts or faults need one.
    pub name: Option<String>,
    /// The statement that opens it; `None` sends each statement on its own.
    pub begin: Option<Arc<str>>,
    /// Whether it is opened even for one statement, for its isolation level.
    pub always_begin: bool,
    /// Whom it is for.
    pub serves: Serves,
    /// The order's answer once it is committed.
    pub then: Option<Outcome>,
    /// The transaction that a conflict in this one goes back to.
    pub restart: usize,
    /// When it runs.
    pub role: Role,
    /// Its weight, and the transactions that are its alternatives: the first
    /// of them and the one after the last.
    pub share: Option<(u32, (usize, usize))>,
    /// The transaction that takes it back.
    pub undone_by: Option<usize>,
    /// The service whose database it runs on; 0 is the stock's.
    pub service: usize,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// When a transaction runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// In its turn.
    Sequence,
    /// Only when jumped to.
    JumpOnly,
    /// Only to take another one back.
    Undo,
    /// When an attempt ends, however it ends.
    Finally,
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
    /// Whether its rows are the answers to a batch.
    pub answers: bool,
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
    /// All lines of the order, as JSON.
    Lines,
    /// All orders of the batch, as JSON.
    Orders,
    /// A number that no other attempt has.
    Token,
    /// Milliseconds since 1970, by the client's clock.
    NowMs,
    /// A number that the file or the user named.
    Const(i64),
    /// A value drawn for the order.
    Drawn(usize),
    /// A value yielded once per order.
    Order(usize),
    /// A value yielded once per line.
    PerLine(usize),
}

impl Slot {
    pub(super) const fn is_per_line(self) -> bool {
        matches!(self, Self::SkuId | Self::Quantity | Self::Line | Self::PerLine(_))
    }

    /// Whether its value was read from the database.
    pub const fn is_read(self) -> bool {
        matches!(self, Self::Order(_) | Self::PerLine(_))
    }
}

impl Program {
    /// Every step of the program and of its flows.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.all_transactions().flat_map(|tx| &tx.steps)
    }

    /// Every transaction of the program and of its flows, to be completed.
    pub fn transactions_mut(&mut self) -> impl Iterator<Item = &mut Transaction> {
        let flows = self.flows.iter_mut().flat_map(|flow| &mut flow.program.transactions);
        self.transactions.iter_mut().chain(flows)
    }

    /// Every transaction of the program and of its flows.
    pub fn all_transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.transactions.iter().chain(self.flows.iter().flat_map(|flow| &flow.program.transactions))
    }

    /// The SQL that runs on the stock's own database, its flows' and its audit's included.
    pub fn sql_on_stock(&self) -> impl Iterator<Item = String> {
        let steps = self.all_transactions().filter(|tx| tx.service == 0).flat_map(|tx| &tx.steps);
        let sql = steps.map(|step| &step.statement).filter(|statement| !statement.is_script);

        sql.map(|statement| statement.sql.to_string()).chain(self.audit.queries_on(None))
    }

    /// The statements that run on the database of a service, its flows' left
    /// out.
    pub fn statements_on(&self, service: usize) -> impl Iterator<Item = &Statement> {
        let there = self.transactions.iter().filter(move |tx| tx.service == service);
        there.flat_map(|tx| &tx.steps).map(|step| &step.statement).filter(|statement| !statement.is_script)
    }

    /// The SQL of a service's database.
    pub fn dialect_of(&self, service: usize) -> Dialect {
        service
            .checked_sub(1)
            .and_then(|index| self.services.get(index))
            .map_or(self.dialect, |(_, dialect)| *dialect)
    }

    /// Whether it needs a Redis.
    pub fn needs_redis(&self) -> bool {
        let in_setup = self.setup.iter().any(|setup| matches!(setup, Setup::Script { .. }));
        in_setup || self.steps().any(|step| step.statement.is_script)
    }

    /// Whether it locks something for a session, beyond a transaction's end.
    pub fn holds_sessions(&self) -> bool {
        self.transactions.iter().any(|tx| tx.role == Role::Finally)
    }

    /// Whether it came with the binary, rather than from a file of the user's own.
    pub fn is_built_in(&self) -> bool {
        super::catalogue::names().any(|name| name == self.name)
    }

    /// Whether an order may be sold by it; a restock or a stock-take never is.
    pub fn sells(&self) -> bool {
        let by_order = |tx: &&Transaction| matches!(tx.role, Role::Sequence | Role::JumpOnly);
        !self.transactions.iter().filter(by_order).all(|tx| tx.then == Some(Outcome::Done))
    }

    /// The names that faults may use.
    pub fn transaction_names(&self) -> impl Iterator<Item = &str> {
        self.transactions.iter().filter_map(|tx| tx.name.as_deref())
    }

    /// Whether it can handle an order by itself; a program of batches alone
    /// cannot.
    pub fn serves_orders(&self) -> bool {
        self.transactions.iter().any(|tx| tx.serves == Serves::Order)
    }

    /// Whether anything of an order is drawn for it: numbers, or which of
    /// several alternatives it takes.
    pub fn leaves_to_chance(&self) -> bool {
        !self.draws.is_empty() || self.transactions.iter().any(|tx| tx.share.is_some())
    }

    /// The numbers that an order is given by chance.
    pub fn draw(&self, rng: &mut impl Rng) -> Vec<i64> {
        let draws = &self.draws;
        let mut values: Vec<i64> = draws.iter().map(|draw| rng.random_range(draw.min..=draw.max)).collect();
        for (index, draw) in draws.iter().enumerate() {
            // The range has two values at least, so another one comes.
            while draw.not.is_some_and(|other| values[other] == values[index]) {
                values[index] = rng.random_range(draw.min..=draw.max);
            }
        }
        values
    }

    /// Of a transaction and its alternatives, the one that chance chooses.
    pub fn alternative(&self, transaction: usize, chance: u64) -> usize {
        let Some((_, (start, end))) = self.transactions[transaction].share else { return transaction };
        let weight = |index: usize| self.transactions[index].share.map_or(0, |(weight, _)| u64::from(weight));
        // Later alternatives are chosen independently of earlier ones.
        let chance = chance.rotate_left(u32::try_from(start % 64).unwrap_or(0) * 7);
        let mut left = chance % (start..end).map(weight).sum::<u64>().max(1);
        for index in start..end {
            if left < weight(index) {
                return index;
            }
            left -= weight(index);
        }
        transaction
    }

    /// A chance for each way through the alternatives, with the names of what it
    /// leads through; one without a name where there are none.
    pub fn ways(&self) -> Vec<(u64, String)> {
        // Enough to meet every way whose share is not below a percent or so.
        const CHANCES: u64 = 4_096;
        let starts: Vec<usize> = (0..self.transactions.len())
            .filter(|index| self.transactions[*index].share.is_some_and(|(_, (start, _))| start == *index))
            .collect();
        let mut ways: BTreeMap<Vec<usize>, u64> = BTreeMap::new();
        for chance in 0..if starts.is_empty() { 1 } else { CHANCES } {
            // Spread over all bits: each choice looks at others of them.
            let chance = chance.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let way = starts.iter().map(|start| self.alternative(*start, chance)).collect();
            ways.entry(way).or_insert(chance);
        }
        let name = |index: &usize| {
            self.transactions[*index].name.clone().unwrap_or_else(|| format!("#{}", index + 1))
        };
        ways.into_iter()
            .map(|(way, chance)| (chance, way.iter().map(name).collect::<Vec<_>>().join("+")))
            .collect()
    }

    /// Makes every transaction ask for the program's isolation level itself,
    /// for sessions that are shared with programs of another level.
    pub fn pin_isolation(&mut self) {
        let Some(level) = self.isolation.take() else { return };
        let dialect = self.dialect;
        for tx in self.transactions_mut() {
            if let Some(begin) = tx.begin.as_mut().filter(|_| !tx.always_begin) {
                *begin = begin_at(dialect, begin, level).into();
                tx.always_begin = true;
            }
        }
    }
}

/// BEGIN at an isolation level, in one round trip.
pub(super) fn begin_at(dialect: Dialect, begin: &str, level: Isolation) -> String {
    match dialect {
        Dialect::Postgres => format!("{begin} ISOLATION LEVEL {}", level.as_sql()),
        Dialect::MySql | Dialect::MariaDb => {
            format!("SET TRANSACTION ISOLATION LEVEL {}; {begin}", level.as_sql())
        }
        // It has one level, or none.
        Dialect::Sqlite | Dialect::Null => begin.to_owned(),
    }
}
