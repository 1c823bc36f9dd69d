//! Which tables a statement reads, writes or adds to, as far as its text tells.

use super::guard;
use crate::db::Dialect;
use sqlparser::ast::{
    BinaryOperator, Expr, FromTable, Insert, ObjectName, Query, SetExpr, Statement, TableFactor, TableObject,
    TableWithJoins, Value as SqlValue, Visit, Visitor,
};
use std::collections::HashMap;
use std::ops::{BitAnd, BitOr, ControlFlow, Not};

/// A set of tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tables(u64);

/// The place of locks that have only a name.
const NAMED_LOCKS: u32 = 63;

impl Tables {
    /// No table.
    pub const NONE: Self = Self(0);
    /// Every table there may be.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether it is empty.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Tables {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Tables {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Tables {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// What a statement does to which tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// Read without a lock.
    pub reads: Tables,
    /// Rows changed or locked.
    pub writes: Tables,
    /// Rows added, and nothing else.
    pub inserts: Tables,
    /// Whether it may do more than its text says.
    pub is_unknown: bool,
}

/// What a statement may reach that its own tables are not: names with a schema or
/// a database before them, and text that cannot be read. An exploration works on
/// copies, which such a statement would pass by.
pub fn reaches_outside(sql: &str, dialect: Dialect) -> Option<String> {
    let Ok(statements) = guard::parse(sql, dialect) else { return Some("cannot be judged".to_owned()) };
    let mut seen = Seen::default();
    // The visitor never breaks off.
    let _: ControlFlow<()> = statements.visit(&mut seen);
    let named = statements.iter().flat_map(|statement| match statement {
        Statement::Drop { names, table, .. } => names.iter().chain(table).map(lower).collect(),
        Statement::CreateTable(create) => vec![lower(&create.name)],
        Statement::CreateIndex(create) => vec![lower(&create.table_name)],
        Statement::Insert(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::Merge(_)
        | Statement::Query(_) => Vec::new(),
        // Whatever else it is: any dot in it may be one too many.
        other => vec![other.to_string()],
    });
    let mut all = seen.relations.into_iter().chain(seen.functions).chain(named);
    all.find(|name| name.contains('.')).map(|name| format!("names {name}"))
}

/// The tables of a program, each with its place in a [`Tables`].
#[derive(Debug, Default)]
pub struct TableNames {
    names: Vec<String>,
}

impl TableNames {
    /// Every table that was met, in the order it was met in.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// One table as a set.
    pub fn set_of(&mut self, name: &str) -> Tables {
        let name = name.to_lowercase();
        let known = self.names.iter().position(|known| *known == name);
        let index = known.unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        // One too many shares a place: they count as one table then.
        Tables(1 << (u32::try_from(index).unwrap_or(0) % NAMED_LOCKS))
    }

    /// What a statement does.
    pub fn access_of(&mut self, sql: &str, dialect: Dialect) -> Access {
        let Ok(statements) = guard::parse(sql, dialect) else {
            return Access { is_unknown: true, ..Access::default() };
        };
        let mut seen = Seen { dialect: Some(dialect), ..Seen::default() };
        // The visitor never breaks off.
        let _: ControlFlow<()> = statements.visit(&mut seen);
        let mut access = Access { is_unknown: seen.is_unknown, ..Access::default() };
        let mut times: HashMap<String, usize> = HashMap::new();
        for name in &seen.relations {
            *times.entry(name.clone()).or_default() += 1;
        }
        for name in &seen.writes {
            access.writes = access.writes | self.set_of(name);
        }
        for name in &seen.inserts {
            access.inserts = access.inserts | self.set_of(name);
        }
        for name in seen.writes.iter().chain(&seen.inserts) {
            // Once as the target; whatever is named more often is read as well.
            if let Some(times) = times.get_mut(name) {
                *times = times.saturating_sub(1);
            }
        }
        for (name, _) in times.iter().filter(|(_, times)| **times > 0) {
            access.reads = access.reads | self.set_of(name);
        }
        if seen.locks {
            access.writes = access.writes | access.reads;
        }
        if seen.named_locks {
            access.writes = access.writes | Tables(1 << NAMED_LOCKS);
        }
        access
    }
}

/// The column of a table that a statement compares with this text by `=`, or
/// inserts it into.
pub fn column_that_is(sql: &str, text: &str, table: &str, dialect: Dialect) -> Option<String> {
    let statements = guard::parse(sql, dialect).ok()?;
    let mut seen = Compared { text, table, ..Compared::default() };
    // The visitor never breaks off.
    let _: ControlFlow<()> = statements.visit(&mut seen);
    let is_alone = seen.relations == 1;
    let of_table = |(qualifier, _): &&(Option<String>, String)| match qualifier {
        Some(qualifier) => seen.called.contains(qualifier),
        None => is_alone && !seen.called.is_empty(),
    };
    seen.columns.iter().find(of_table).map(|(_, column)| column.clone())
}

/// Columns that are compared with a text, and the names that a table goes by.
#[derive(Default)]
struct Compared<'t> {
    text: &'t str,
    table: &'t str,
    called: Vec<String>,
    relations: usize,
    /// With what stands before the dot.
    columns: Vec<(Option<String>, String)>,
}

impl Compared<'_> {
    fn is_text(&self, expression: &Expr) -> bool {
        match expression {
            Expr::Value(value) => {
                matches!(&value.value, SqlValue::SingleQuotedString(text) if text == self.text)
            }
            Expr::Cast { expr, .. } | Expr::Nested(expr) => self.is_text(expr),
            _ => false,
        }
    }
}

impl Visitor for Compared<'_> {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        if let Statement::Insert(Insert { table: TableObject::TableName(name), columns, source, .. }) =
            statement
            && let Some(SetExpr::Values(values)) = source.as_deref().map(|query| &*query.body)
        {
            for (column, value) in values.rows.iter().flat_map(|row| columns.iter().zip(row.iter())) {
                if self.is_text(value) {
                    self.columns.push((Some(lower(name)), column.to_string()));
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.relations += 1;
        if lower(relation) == self.table {
            self.called.push(self.table.to_owned());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias: Some(alias), .. } = factor
            && lower(name) == self.table
        {
            self.called.push(alias.name.value.to_lowercase());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = expression else {
            return ControlFlow::Continue(());
        };
        for (column, value) in [(left, right), (right, left)] {
            match column.as_ref() {
                Expr::Identifier(column) if self.is_text(value) => {
                    self.columns.push((None, column.to_string()));
                }
                Expr::CompoundIdentifier(names) if self.is_text(value) => {
                    if let [table, column] = names.as_slice() {
                        self.columns.push((Some(table.value.to_lowercase()), column.to_string()));
                    }
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }
}

#[derive(Default)]
struct Seen {
    /// The database, where it matters which functions are its own.
    dialect: Option<Dialect>,
    /// Every table, as often as it is named.
    relations: Vec<String>,
    functions: Vec<String>,
    writes: Vec<String>,
    inserts: Vec<String>,
    locks: bool,
    named_locks: bool,
    is_unknown: bool,
}

impl Seen {
    fn inserted(&mut self, insert: &Insert) {
        let adds_only = insert.on.is_none() && !insert.replace_into;
        match &insert.table {
            TableObject::TableName(name) if adds_only => self.inserts.push(lower(name)),
            TableObject::TableName(name) => self.writes.push(lower(name)),
            _ => self.is_unknown = true,
        }
    }

    fn written(&mut self, tables: &[TableWithJoins]) {
        let (names, is_known) = guard::written(tables);
        self.writes.extend(names.into_iter().map(lower));
        self.is_unknown |= !is_known;
    }

    fn called(&mut self, name: &ObjectName) {
        let name = name.to_string().to_lowercase();
        self.named_locks |= name.contains("lock");
        self.is_unknown |= self.dialect.is_none_or(|dialect| !guard::is_harmless(&name, dialect));
        self.functions.push(name);
    }
}

/// Without its quotes: a name and the same name in quotes are one table, or two
/// that count as one.
fn lower(name: &ObjectName) -> String {
    name.to_string().to_lowercase().replace(['"', '`'], "")
}

impl Visitor for Seen {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Query(_) | Statement::Savepoint { .. } | Statement::ReleaseSavepoint { .. } => {}
            Statement::Insert(insert) => self.inserted(insert),
            Statement::Update(update) => self.written(std::slice::from_ref(&update.table)),
            Statement::Delete(delete) => {
                let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
                self.written(tables);
            }
            Statement::Merge(merge) => match &merge.table {
                TableFactor::Table { name, .. } => self.writes.push(lower(name)),
                _ => self.is_unknown = true,
            },
            // A rollback to a savepoint gives locks back, whichever.
            _ => self.is_unknown = true,
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.locks |= !query.locks.is_empty();
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.relations.push(lower(relation));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expression {
            self.called(&function.name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        match table {
            TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
                self.called(name);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_says_what_it_reads_locks_and_adds() {
        let mut names = TableNames::default();
        let sku = names.set_of("stockbench_sku");
        let ledger = names.set_of("stockbench_ledger");
        let mut of = |dialect, sql| {
            let Access { reads, writes, inserts, is_unknown } = names.access_of(sql, dialect);
            assert!(!is_unknown, "{sql}");
            (reads, writes, inserts)
        };
        let none = Tables::NONE;
        assert_eq!(
            of(Dialect::Postgres, "SELECT stock FROM stockbench_sku WHERE id = $1"),
            (sku, none, none)
        );
        let locking = "SELECT stock FROM stockbench_sku WHERE id = ? FOR UPDATE";
        assert_eq!(of(Dialect::MySql, locking), (sku, sku, none));
        assert_eq!(of(Dialect::Sqlite, "UPDATE stockbench_sku SET stock = 1"), (none, sku, none));
        let both = "INSERT INTO stockbench_ledger (order_id) SELECT id FROM stockbench_sku";
        assert_eq!(of(Dialect::Postgres, both), (sku, none, ledger));
        let once = "INSERT INTO stockbench_ledger (order_id) SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM stockbench_ledger)";
        assert_eq!(of(Dialect::Postgres, once), (ledger, none, ledger));
        let upsert = "INSERT INTO stockbench_ledger (id) VALUES (1) ON CONFLICT DO NOTHING";
        assert_eq!(of(Dialect::Postgres, upsert), (none, ledger, none));
        let cte = "WITH s AS (UPDATE stockbench_sku SET stock = 1 RETURNING id)
            INSERT INTO stockbench_ledger (sku_id) SELECT id FROM s";
        let (_, writes, inserts) = of(Dialect::Postgres, cte);
        assert_eq!((writes, inserts), (sku, ledger));
        assert_eq!(of(Dialect::Postgres, "SAVEPOINT a"), (none, none, none));
        let merge = "MERGE INTO stockbench_ledger l USING stockbench_sku s ON s.id = l.sku_id
            WHEN MATCHED THEN UPDATE SET balance = s.stock";
        assert_eq!(of(Dialect::Postgres, merge), (sku, ledger, none));
    }

    #[test]
    fn the_column_of_a_text_is_found_with_its_table() {
        let of = |sql, table| column_that_is(sql, "it", table, Dialect::Postgres);
        assert_eq!(of("SELECT n FROM goods WHERE no = 'it' AND n > 1", "goods").as_deref(), Some("no"));
        assert_eq!(of("SELECT n FROM goods WHERE no = 'it'", "sold"), None);
        assert_eq!(of("SELECT n FROM goods WHERE no = 'that'", "goods"), None);
        let joined = "SELECT 1 FROM goods g JOIN sold s ON s.no = g.no WHERE CAST('it' AS int) = s.no";
        assert_eq!(of(joined, "sold").as_deref(), Some("no"));
        assert_eq!(of(joined, "goods"), None);
        assert_eq!(of("SELECT 1 FROM goods g, sold s WHERE no = 'it'", "goods"), None, "whose is it?");
        assert_eq!(of("INSERT INTO sold (a, b) VALUES (1, 'it')", "sold").as_deref(), Some("b"));
        assert_eq!(of("UPDATE goods SET n = 1 WHERE \"No\" = ('it')", "goods").as_deref(), Some("\"No\""));
    }

    #[test]
    fn names_that_lead_elsewhere_are_seen() {
        for sql in [
            "SELECT a FROM public.goods",
            "SELECT public.take(1)",
            "DROP TABLE IF EXISTS public.goods",
            "CALL shop.take(1)",
            "CREATE TABLE shop.x (id INT)",
            "WITH x AS (DELETE FROM shop.cart RETURNING 1) SELECT 1",
            "nonsense",
            "MERGE INTO shop.goods g USING sold s ON s.id = g.id WHEN MATCHED THEN DELETE",
        ] {
            assert!(reaches_outside(sql, Dialect::Postgres).is_some(), "{sql}");
        }
        for sql in ["SELECT g.a FROM goods g WHERE g.a = 1.5", "CREATE INDEX i ON goods (a)", "SAVEPOINT a"] {
            assert_eq!(reaches_outside(sql, Dialect::Postgres), None, "{sql}");
        }
    }

    #[test]
    fn what_is_not_understood_may_do_anything() {
        let mut names = TableNames::default();
        for sql in ["CALL take(1)", "SELECT take(1)", "ROLLBACK TO SAVEPOINT a", "nonsense"] {
            assert!(names.access_of(sql, Dialect::Postgres).is_unknown, "{sql}");
        }
        let lock = names.access_of("SELECT pg_advisory_xact_lock($1)", Dialect::Postgres);
        assert!(!lock.is_unknown && !lock.writes.is_none());
    }
}
