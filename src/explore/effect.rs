//! What a move touches, and whether two moves can be swapped without anybody
//! noticing. Pure.
//!
//! Two moves of different clients are independent if, from every state in which
//! both are possible, they can be made in either order with the same result and
//! neither lets the other one wait, fail or go on. The relation here is by
//! whole tables and leans to one side: what is not known counts as dependent,
//! which costs schedules and hides none.

use crate::db::{Dialect, Isolation};
use crate::strategy::Program;
use crate::strategy::access::{Access, Tables};
use clap::ValueEnum;

/// What a move touches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effect {
    /// Read as committed, without a lock.
    pub reads: Tables,
    /// Written or locked.
    pub takes: Tables,
    /// Only added to, with keys of its own.
    pub inserts: Tables,
    /// What others see anew, or can lock, once the move is made.
    pub publishes: Tables,
    /// The part of it that was only added to.
    pub publishes_inserts: Tables,
    /// Whether it fixes what its transaction will see.
    pub takes_snapshot: bool,
    /// Whether it may touch anything.
    pub is_unknown: bool,
}

impl Effect {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            reads: self.reads | other.reads,
            takes: self.takes | other.takes,
            inserts: self.inserts | other.inserts,
            publishes: self.publishes | other.publishes,
            publishes_inserts: self.publishes_inserts | other.publishes_inserts,
            takes_snapshot: self.takes_snapshot || other.takes_snapshot,
            is_unknown: self.is_unknown || other.is_unknown,
        }
    }

    fn publishes_any(self) -> Tables {
        self.publishes | self.publishes_inserts
    }

    /// Whether nobody can tell which of the two was made first.
    pub fn is_independent_of(self, other: Self) -> bool {
        let one_way = |a: Self, b: Self| {
            let touched_by_b = b.reads | b.takes | b.publishes_any();
            let both = (a.takes & (b.takes | b.inserts))
                | (a.publishes & (touched_by_b | b.inserts))
                | (a.publishes_inserts & touched_by_b);
            both.is_none() && (!a.takes_snapshot || b.publishes_any().is_none())
        };
        !self.is_unknown && !other.is_unknown && one_way(self, other) && one_way(other, self)
    }
}

/// How a database sees to it that transactions do not disturb each other.
#[derive(Debug, Clone, Copy)]
pub struct Concurrency {
    /// The database.
    pub dialect: Dialect,
    /// The level that sessions have; of SQLite there is one.
    pub isolation: Isolation,
    /// The weakest and the strongest level that a transaction asks for.
    levels: (Isolation, Isolation),
    /// Tables of which every client adds rows with keys of its own.
    pub keyed: Tables,
}

impl Concurrency {
    /// How a program's transactions are kept apart in sessions of this level.
    pub fn of(program: &Program, dialect: Dialect, isolation: Isolation) -> Self {
        let asked = |begin: &str| {
            let begin = begin.to_uppercase();
            Isolation::value_variants()
                .iter()
                .copied()
                .find(|level| begin.contains(&format!("ISOLATION LEVEL {}", level.as_sql())))
        };
        let flows = program.flows.iter().map(|flow| &flow.program);
        let transactions = std::iter::once(program).chain(flows).flat_map(|program| &program.transactions);
        let levels = transactions.map(|tx| tx.begin.as_deref().and_then(asked).unwrap_or(isolation));
        let levels = levels.fold((isolation, isolation), |(weakest, strongest), level| {
            (weakest.min(level), strongest.max(level))
        });
        Self { dialect, isolation, levels, keyed: Tables::NONE }
    }

    /// Whether moves can be told apart by the tables they touch. PostgreSQL's
    /// SERIALIZABLE follows dependencies through reads that nobody waits for, from
    /// transaction to transaction.
    pub fn has_independence(&self) -> bool {
        !(self.dialect == Dialect::Postgres && self.levels.1 == Isolation::Serializable)
    }

    /// A statement inside a transaction: what it touches, and what is to be
    /// published with the transaction. `before` is what the transaction has
    /// touched so far, nothing at its first statement.
    pub fn in_transaction(&self, access: Access, before: Effect, is_first: bool) -> Effect {
        let Access { mut reads, mut writes, mut inserts, is_unknown } = access;
        match self.dialect {
            // One lock for all of it.
            Dialect::Sqlite => {
                let all = reads | writes | inserts;
                if !(writes | inserts).is_none() {
                    writes = Tables::ALL;
                }
                inserts = Tables::NONE;
                reads = if all.is_none() { Tables::NONE } else { Tables::ALL };
            }
            Dialect::MySql | Dialect::MariaDb => {
                // What a write reads it locks, and at SERIALIZABLE every read does.
                if !(writes | inserts).is_none() || self.levels.1 == Isolation::Serializable {
                    writes = writes | reads;
                }
            }
            Dialect::Postgres | Dialect::Null => {}
        }
        // Whoever has locked gaps of a table waits with his insert for others who
        // have, and who has not, does not.
        let is_free = self.keyed & !(before.takes | writes);
        writes = writes | (inserts & !is_free);
        inserts = inserts & is_free;
        // A transaction that sees one snapshot fixes it at its first statement, InnoDB
        // at its first plain read; later reads notice nobody.
        let is_sqlite = self.dialect == Dialect::Sqlite;
        let sees_snapshot = self.levels.1 != Isolation::ReadCommitted || is_sqlite;
        let sees_only_that = self.levels.0 != Isolation::ReadCommitted || is_sqlite;
        let is_first = match self.dialect {
            Dialect::MySql | Dialect::MariaDb => !reads.is_none() && before.reads.is_none(),
            Dialect::Postgres | Dialect::Sqlite | Dialect::Null => is_first,
        };
        if sees_only_that && !is_first {
            reads = Tables::NONE;
        }
        Effect {
            reads,
            takes: writes,
            inserts,
            takes_snapshot: sees_snapshot && is_first,
            is_unknown,
            ..Effect::default()
        }
    }

    /// What the opening of a transaction locks by itself.
    pub fn begin(&self, begin: &str) -> Effect {
        let locks = self.dialect == Dialect::Sqlite
            && ["IMMEDIATE", "EXCLUSIVE"].iter().any(|word| begin.to_uppercase().contains(word));
        Effect { takes: if locks { Tables::ALL } else { Tables::NONE }, ..Effect::default() }
    }

    /// The end of a transaction that touched this.
    pub fn end(before: Effect) -> Effect {
        Effect {
            publishes: before.takes,
            publishes_inserts: before.inserts & !before.takes,
            is_unknown: before.is_unknown,
            ..Effect::default()
        }
    }

    /// A statement that is a transaction of its own.
    pub fn alone(&self, access: Access) -> Effect {
        let made = self.in_transaction(access, Effect::default(), true);
        // Nothing comes after it that could see a snapshot.
        Effect { takes_snapshot: false, ..made.and(Self::end(made)) }
    }
}
