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
use crate::strategy::program::Setup;
use clap::ValueEnum;

/// What a move touches.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the move")]
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
    /// What its transaction holds by then.
    pub holds: Tables,
    /// Whether its client was not there before, or may be given its answer: that
    /// others see, too, by the clock.
    pub begins: bool,
    /// See `begins`.
    pub may_answer: bool,
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
            holds: self.holds | other.holds,
            begins: self.begins || other.begins,
            may_answer: self.may_answer || other.may_answer,
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
            let is_seen_by_the_clock = a.begins && b.may_answer;
            both.is_none() && (!a.takes_snapshot || b.publishes_any().is_none()) && !is_seen_by_the_clock
        };
        // Each takes what the other one holds: whoever comes second closes a circle.
        let closes_circle = !(self.takes & other.holds).is_none() && !(other.takes & self.holds).is_none();
        let is_known = !self.is_unknown && !other.is_unknown;
        is_known && !closes_circle && one_way(self, other) && one_way(other, self)
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
    /// Whether somebody does not wait for a lock: then it shows when PostgreSQL
    /// gives back what a failed transaction held, before its ROLLBACK.
    pub notices_locks: bool,
    /// Whether more hangs on the tables than the statements say.
    pub is_opaque: bool,
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
        let levels =
            program.all_transactions().map(|tx| tx.begin.as_deref().and_then(asked).unwrap_or(isolation));
        let levels = levels.fold((isolation, isolation), |(weakest, strongest), level| {
            (weakest.min(level), strongest.max(level))
        });
        let texts = || program.steps().map(|step| step.statement.sql.to_uppercase());
        let words = ["NOWAIT", "SKIP LOCKED", "TRY_ADVISORY", "GET_LOCK"];
        let notices_locks = texts().any(|sql| words.iter().any(|word| sql.contains(word)));
        let hangs_on = ["TRIGGER", "VIEW", "REFERENCES", "FUNCTION", "PROCEDURE", "RULE"];
        let is_opaque = program.setup.iter().any(|setup| match setup {
            Setup::Sql { sql, .. } => hangs_on.iter().any(|word| sql.to_uppercase().contains(word)),
            Setup::Script { .. } => false,
        });
        Self { dialect, isolation, levels, keyed: Tables::NONE, notices_locks, is_opaque }
    }

    /// Whether moves can be told apart by the tables they touch. PostgreSQL's
    /// SERIALIZABLE follows dependencies through reads that nobody waits for, from
    /// transaction to transaction.
    pub fn has_independence(&self) -> bool {
        let is_tracked = self.dialect == Dialect::Postgres && self.levels.1 == Isolation::Serializable;
        !is_tracked && !self.is_opaque
    }

    /// A statement inside a transaction: what it touches, and what is to be
    /// published with the transaction. `before` is what the transaction has
    /// touched so far.
    pub fn in_transaction(&self, access: Access, before: Effect) -> Effect {
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
                    reads = Tables::NONE;
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
        // at its first plain read; later reads notice nobody. A statement without a
        // table (SAVEPOINT, SELECT 1) may have fixed it or not: so it, and the one
        // after it, count as the first.
        let is_sqlite = self.dialect == Dialect::Sqlite;
        let sees_snapshot = self.levels.1 != Isolation::ReadCommitted || is_sqlite;
        let sees_only_that = self.levels.0 != Isolation::ReadCommitted || is_sqlite;
        let is_first = match self.dialect {
            Dialect::MySql | Dialect::MariaDb => !reads.is_none() && before.reads.is_none(),
            Dialect::Postgres | Dialect::Sqlite | Dialect::Null => {
                (before.reads | before.takes | before.inserts).is_none()
            }
        };
        if sees_only_that && !is_first {
            reads = Tables::NONE;
        }
        let gives_back = self.notices_locks && self.dialect == Dialect::Postgres;
        Effect {
            reads,
            takes: writes,
            inserts,
            takes_snapshot: sees_snapshot && is_first,
            publishes: if gives_back { before.takes } else { Tables::NONE },
            holds: before.takes | before.inserts,
            is_unknown: is_unknown || before.is_unknown,
            ..Effect::default()
        }
    }

    /// What the opening of a transaction locks by itself.
    pub fn begin(&self, begin: &str) -> Effect {
        let locks = self.dialect == Dialect::Sqlite
            && ["IMMEDIATE", "EXCLUSIVE"].iter().any(|word| begin.to_uppercase().contains(word));
        let takes_snapshot = begin.to_uppercase().contains("CONSISTENT SNAPSHOT");
        Effect { takes: if locks { Tables::ALL } else { Tables::NONE }, takes_snapshot, ..Effect::default() }
    }

    /// The end of a transaction that touched this.
    pub fn end(before: Effect) -> Effect {
        Effect {
            publishes: before.takes,
            publishes_inserts: before.inserts & !before.takes,
            may_answer: true,
            is_unknown: before.is_unknown,
            ..Effect::default()
        }
    }

    /// A statement that is a transaction of its own.
    pub fn alone(&self, access: Access) -> Effect {
        let made = self.in_transaction(access, Effect::default());
        // Nothing comes after it that could see a snapshot.
        Effect { takes_snapshot: false, ..made.and(Self::end(made)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::access::TableNames;

    fn at(dialect: Dialect, isolation: Isolation, keyed: Tables) -> Concurrency {
        let levels = (isolation, isolation);
        Concurrency { dialect, isolation, levels, keyed, notices_locks: false, is_opaque: false }
    }

    #[test]
    fn readers_and_entries_of_different_orders_do_not_notice_each_other() {
        let mut names = TableNames::default();
        let ledger = names.set_of("ledger");
        let rules = at(Dialect::Postgres, Isolation::ReadCommitted, ledger);
        let mut of =
            |sql: &str| rules.in_transaction(names.access_of(sql, Dialect::Postgres), Effect::default());
        let read = of("SELECT a FROM t");
        let write = of("UPDATE t SET a = 1");
        let lock = of("SELECT a FROM t FOR UPDATE");
        let entry = of("INSERT INTO ledger (id) VALUES (1)");
        let other = of("INSERT INTO other (id) VALUES (1)");
        let commit = Concurrency::end(write);
        assert!(
            read.is_independent_of(read) && read.is_independent_of(write),
            "what is not committed is not seen"
        );
        assert!(!read.is_independent_of(commit) && !commit.is_independent_of(read));
        assert!(!write.is_independent_of(lock) && !lock.is_independent_of(commit));
        assert!(entry.is_independent_of(entry) && entry.is_independent_of(Concurrency::end(entry)));
        assert!(!other.is_independent_of(other), "it may have a key that both use");
        assert!(!of("SELECT f(1)").is_independent_of(read), "what is not known counts as dependent");
    }

    #[test]
    fn whoever_closes_a_circle_comes_second() {
        let mut names = TableNames::default();
        let rules = at(Dialect::Postgres, Isolation::ReadCommitted, Tables::NONE);
        let mut access = |sql: &str| names.access_of(sql, Dialect::Postgres);
        let (a, b) = (access("UPDATE a SET n = 1"), access("UPDATE b SET n = 1"));
        let (holds_a, holds_b) =
            (rules.in_transaction(a, Effect::default()), rules.in_transaction(b, Effect::default()));
        assert!(holds_a.is_independent_of(holds_b));
        assert!(!rules.in_transaction(b, holds_a).is_independent_of(rules.in_transaction(a, holds_b)));
    }

    #[test]
    fn a_snapshot_is_fixed_by_the_first_statement_that_may_fix_it() {
        let mut names = TableNames::default();
        let rules = at(Dialect::Postgres, Isolation::RepeatableRead, Tables::NONE);
        let mut access = |sql: &str| names.access_of(sql, Dialect::Postgres);
        let savepoint = rules.in_transaction(access("SAVEPOINT a"), Effect::default());
        let first = rules.in_transaction(access("SELECT a FROM t"), savepoint);
        let later = rules.in_transaction(access("SELECT a FROM u"), savepoint.and(first));
        let elsewhere =
            Concurrency::end(rules.in_transaction(access("UPDATE u SET a = 1"), Effect::default()));
        assert!(!savepoint.is_independent_of(elsewhere) && !first.is_independent_of(elsewhere));
        assert!(later.is_independent_of(elsewhere), "it sees what the first one fixed");
    }

    #[test]
    fn innodb_locks_what_a_write_reads_and_fixes_its_snapshot_at_the_first_plain_read() {
        let mut names = TableNames::default();
        let rules = at(Dialect::MySql, Isolation::RepeatableRead, Tables::NONE);
        let mut access = |sql: &str| names.access_of(sql, Dialect::MySql);
        let copying = rules.in_transaction(access("INSERT INTO u (a) SELECT a FROM t"), Effect::default());
        let write = rules.in_transaction(access("UPDATE t SET a = 1"), Effect::default());
        assert!(!copying.takes_snapshot && !copying.is_independent_of(write));
        let read = rules.in_transaction(access("SELECT a FROM u"), copying);
        assert!(read.takes_snapshot && !read.is_independent_of(Concurrency::end(write)));
        let serializable = at(Dialect::MySql, Isolation::Serializable, Tables::NONE);
        let read = serializable.in_transaction(access("SELECT a FROM t"), Effect::default());
        assert!(!read.is_independent_of(write), "every read locks there");
    }

    #[test]
    fn sqlite_has_one_lock_and_takes_it_at_begin_immediate() {
        let mut names = TableNames::default();
        let rules = at(Dialect::Sqlite, Isolation::Serializable, Tables::NONE);
        let mut access = |sql: &str| names.access_of(sql, Dialect::Sqlite);
        let write = rules.in_transaction(access("UPDATE t SET a = 1"), Effect::default());
        let elsewhere = rules.in_transaction(access("UPDATE u SET a = 1"), Effect::default());
        assert!(!write.is_independent_of(elsewhere));
        let begin = rules.begin("BEGIN IMMEDIATE");
        assert!(!begin.is_independent_of(begin) && !Concurrency::end(begin).is_independent_of(begin));
        assert_eq!(rules.begin("BEGIN"), Effect::default());
    }
}
