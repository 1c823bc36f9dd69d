//! What one statement reads and writes. Only forms that are known to do nothing
//! else are let through; every other one is refused.

use super::functions::is_harmless;
use super::text;
use crate::db::Dialect;
use crate::db::schema::PREFIX;
use sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, ColumnOption, CreateIndex, CreateTable, CreateTableOptions,
    DataType, Delete, Expr, FromTable, GeneratedAs, Insert, JoinOperator, Merge, ObjectName, ObjectType,
    Query, Select, SelectFlavor, SetExpr, SqlOption, Statement, TableAlias, TableConstraint, TableFactor,
    TableObject, TableWithJoins, UnaryOperator, Update, UpdateTableFromKind, Value, ValueWithSpan, Visit,
    Visitor, visit_relations,
};
use sqlparser::dialect::{MySqlDialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Tokenizer};
use std::ops::ControlFlow;

/// What a statement is for, and so what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Makes a strategy's own tables.
    Setup,
    /// A step of a transaction.
    Step,
    /// Only reads.
    Query,
}

/// A table or view that a statement names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Relation {
    /// Its schema, or its database on MySQL and MariaDB, where it is named.
    pub schema: Option<String>,
    /// Its name as the database keeps it.
    pub name: String,
}

/// What a statement does, as far as its text tells.
#[derive(Debug, Default)]
pub struct Judgement {
    /// Everything it reads or writes, names of its own CTEs left out.
    pub relations: Vec<Relation>,
    /// What it changes rows of.
    pub writes: Vec<Relation>,
    /// The functions it calls, in lower case.
    pub calls: Vec<String>,
    /// Tables outside our prefix that it writes, as it names them.
    pub foreign: Vec<String>,
    /// Why it is not one of the forms that are let through.
    pub refusals: Vec<String>,
    /// Tables outside our prefix whose rows it locks.
    pub locks: Vec<String>,
    /// Whether it makes or drops a table or an index.
    pub makes_tables: bool,
    /// Whether it only sets a savepoint, or goes back to one.
    pub is_control: bool,
}

/// The statements of a text, as this database would read it.
pub(in crate::strategy) fn parse(sql: &str, dialect: Dialect) -> Result<Vec<Statement>, ParserError> {
    match dialect {
        Dialect::Postgres | Dialect::Null => parse_postgres(sql),
        Dialect::MySql | Dialect::MariaDb => Parser::parse_sql(&MySqlDialect {}, sql),
        Dialect::Sqlite => Parser::parse_sql(&SQLiteDialect {}, sql),
    }
}

/// The parser does not know PostgreSQL's weaker row locks, which lock the same rows: NO KEY
/// UPDATE is read as UPDATE, and KEY SHARE as SHARE.
fn parse_postgres(sql: &str) -> Result<Vec<Statement>, ParserError> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, sql).tokenize()?;
    let is_word = |token: &Token, word: &str| matches!(token, Token::Word(known) if known.quote_style.is_none() && known.value.eq_ignore_ascii_case(word));
    let written: Vec<&Token> = tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))).collect();
    let reads = |at: usize, words: &[&str]| {
        let there = written.get(at..at + words.len());
        there.is_some_and(|there| there.iter().zip(words).all(|(token, word)| is_word(token, word)))
    };

    let mut known: Vec<Token> = Vec::with_capacity(written.len());
    let mut at = 0;
    while at < written.len() {
        known.push(written[at].clone());
        at += if reads(at, &["FOR", "NO", "KEY", "UPDATE"]) {
            3
        } else if reads(at, &["FOR", "KEY", "SHARE"]) {
            2
        } else {
            1
        };
    }
    Parser::new(&dialect).with_tokens(known).parse_statements()
}

/// The tables that an UPDATE or a DELETE of these may write, and whether that is
/// all that can be written.
pub(in crate::strategy) fn written(tables: &[TableWithJoins]) -> (Vec<&ObjectName>, bool) {
    let (mut names, mut is_known) = (Vec::new(), true);
    for table in tables {
        let joined = table.joins.iter().map(|join| &join.relation);
        for factor in std::iter::once(&table.relation).chain(joined) {
            match factor {
                TableFactor::Table { name, .. } => names.push(name),
                TableFactor::NestedJoin { table_with_joins, .. } => {
                    let (nested, all) = written(std::slice::from_ref(table_with_joins));
                    names.extend(nested);
                    is_known &= all;
                }
                // A subquery is read, never written.
                TableFactor::Derived { .. } => {}
                _ => is_known = false,
            }
        }
    }
    (names, is_known)
}

/// Judges one statement by its text alone.
pub(super) fn judge(sql: &str, dialect: Dialect, used_as: Use) -> Judgement {
    let refused = |why: String| Judgement { refusals: vec![why], ..Judgement::default() };
    if let Some(why) = text::ambiguity(sql, dialect) {
        return refused(why.to_owned());
    }
    let statement = match parse(sql, dialect).as_deref() {
        Ok([statement]) => statement.clone(),
        Ok([]) => return Judgement::default(),
        Ok(_) => return refused("is more than one statement".to_owned()),
        Err(_) => return refused("is SQL that could not be judged".to_owned()),
    };

    let mut judge = Judge::new(dialect, used_as);
    // The visitor never breaks off.
    let _: ControlFlow<()> = statement.visit(&mut judge);
    judge.finish()
}

/// Judges the definition of a view, or the statement that makes it: it must only
/// read, as a query of a strategy's must.
pub(super) fn judge_view(definition: &str, dialect: Dialect) -> Judgement {
    match parse(definition, dialect).as_deref() {
        Ok([Statement::CreateView(view)]) => judge(&view.query.to_string(), dialect, Use::Query),
        _ => judge(definition, dialect, Use::Query),
    }
}

struct Judge {
    dialect: Dialect,
    used_as: Use,
    judgement: Judgement,
    /// Names of CTEs, which hide tables of the same name.
    ctes: Vec<String>,
}

impl Judge {
    fn new(dialect: Dialect, used_as: Use) -> Self {
        Self { dialect, used_as, judgement: Judgement::default(), ctes: Vec::new() }
    }

    fn finish(self) -> Judgement {
        let is_mysql = self.is_mysql();
        let mut found = self.judgement;

        for written in &found.writes {
            if self.ctes.contains(&written.name.to_ascii_lowercase()) {
                found.refusals.push(format!("writes through the name of a CTE, {}", written.name));
            }
        }

        let is_no_table = |relation: &Relation| {
            let name = relation.name.to_ascii_lowercase();
            let is_dual = is_mysql && name == "dual";
            relation.schema.is_none() && (is_dual || self.ctes.contains(&name))
        };
        found.relations.retain(|relation| !is_no_table(relation));
        for names in [&mut found.relations, &mut found.writes] {
            names.sort();
            names.dedup();
        }
        found.refusals.sort();
        found.refusals.dedup();
        found
    }

    fn is_mysql(&self) -> bool {
        matches!(self.dialect, Dialect::MySql | Dialect::MariaDb)
    }

    fn refuse(&mut self, why: impl Into<String>) {
        self.judgement.refusals.push(why.into());
    }

    fn require(&mut self, is_plain: bool, why: &str) {
        if !is_plain {
            self.refuse(why);
        }
    }

    /// The name as the database keeps it: PostgreSQL folds what is not quoted.
    fn relation(&self, name: &ObjectName) -> Option<Relation> {
        let mut parts = Vec::new();
        for part in &name.0 {
            let ident = part.as_ident()?;
            let folds = self.dialect == Dialect::Postgres && ident.quote_style.is_none();
            parts.push(if folds { ident.value.to_ascii_lowercase() } else { ident.value.clone() });
        }
        let name = parts.pop()?;
        Some(Relation { schema: parts.pop(), name }).filter(|_| parts.is_empty())
    }

    fn write(&mut self, name: &ObjectName) {
        match self.relation(name) {
            Some(relation) if is_ours(&relation) => self.judgement.writes.push(relation),
            _ => self.judgement.foreign.push(name.to_string()),
        }
    }

    fn write_all(&mut self, tables: &[TableWithJoins]) {
        let (names, is_known) = written(tables);
        for name in names {
            self.write(name);
        }
        self.require(is_known, "writes something that is no table");
    }

    fn statement(&mut self, statement: &Statement) {
        let writes = !matches!(statement, Statement::Query(_));
        self.require(!writes || self.used_as != Use::Query, "is to read, and is not a query");
        match statement {
            Statement::Query(_) => {}
            Statement::Savepoint { .. }
            | Statement::ReleaseSavepoint { .. }
            | Statement::Rollback { chain: false, savepoint: Some(_) } => self.judgement.is_control = true,
            Statement::Insert(insert) => self.insert(insert),
            Statement::Update(update) => self.update(update),
            Statement::Delete(delete) => self.delete(delete),
            Statement::Merge(merge) => self.merge(merge),
            Statement::CreateTable(create) => self.create_table(create),
            Statement::CreateIndex(create) => self.create_index(create),
            Statement::Drop { object_type, names, cascade, purge, temporary, table, .. } => {
                self.makes_tables();
                let is_plain = !cascade && !purge && !temporary && table.is_none();
                self.require(
                    *object_type == ObjectType::Table && is_plain,
                    "drops something else than a table, or with what depends on it",
                );
                names.iter().chain(table).for_each(|name| self.write(name));
            }
            _ => self.refuse("is not a plain read or write"),
        }
    }

    fn merge(&mut self, merge: &Merge) {
        let Merge { merge_token: _, optimizer_hints, into: _, table, source: _, on: _, clauses: _, output } =
            merge;
        self.require(optimizer_hints.is_empty(), "has a hint");
        self.require(output.is_none(), "writes what it changed somewhere else");
        match table {
            TableFactor::Table { name, args: None, .. } => self.write(name),
            _ => self.refuse("writes something that is no table"),
        }
    }

    fn makes_tables(&mut self) {
        self.judgement.makes_tables = true;
        self.require(self.used_as == Use::Setup, "makes or drops a table, which only [[setup]] may");
    }

    fn insert(&mut self, insert: &Insert) {
        let Insert {
            insert_token: _,
            optimizer_hints,
            or: _,
            ignore: _,
            into: _,
            table,
            table_alias: _,
            columns: _,
            overwrite,
            source: _,
            assignments: _,
            partitioned,
            after_columns,
            has_table_keyword,
            on: _,
            returning: _,
            output,
            replace_into: _,
            priority: _,
            insert_alias: _,
            settings,
            format_clause,
            multi_table_insert_type,
            multi_table_into_clauses,
            multi_table_when_clauses,
            multi_table_else_clause,
        } = insert;
        let is_plain = optimizer_hints.is_empty()
            && !overwrite
            && partitioned.is_none()
            && after_columns.is_empty()
            && !has_table_keyword
            && output.is_none()
            && settings.is_none()
            && format_clause.is_none()
            && multi_table_insert_type.is_none()
            && multi_table_into_clauses.is_empty()
            && multi_table_when_clauses.is_empty()
            && multi_table_else_clause.is_none();
        self.require(is_plain, "is not a plain INSERT");

        match table {
            TableObject::TableName(name) => self.write(name),
            _ => self.refuse("inserts into something that is no table"),
        }
    }

    fn update(&mut self, update: &Update) {
        let Update {
            update_token: _,
            optimizer_hints,
            table,
            assignments: _,
            from,
            selection: _,
            returning: _,
            output,
            or: _,
            order_by: _,
            limit: _,
        } = update;
        let is_plain = optimizer_hints.is_empty()
            && output.is_none()
            && !matches!(from, Some(UpdateTableFromKind::BeforeSet(_)));
        self.require(is_plain, "is not a plain UPDATE");

        // MySQL may name several tables here; any of them may be written.
        self.write_all(std::slice::from_ref(table));
    }

    fn delete(&mut self, delete: &Delete) {
        let Delete {
            delete_token: _,
            optimizer_hints,
            tables,
            from,
            using,
            selection: _,
            returning: _,
            output,
            order_by: _,
            limit: _,
        } = delete;
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
        self.require(optimizer_hints.is_empty() && output.is_none(), "is not a plain DELETE");

        // MySQL's targets may be aliases: any table that is joined may be meant.
        self.write_all(from);
        if self.is_mysql() {
            self.write_all(using.as_deref().unwrap_or_default());
        } else {
            self.require(tables.is_empty(), "is not a plain DELETE");
        }
    }

    fn create_table(&mut self, create: &CreateTable) {
        self.makes_tables();
        self.write(&create.name);
        let plain = CreateTableBuilder::new(create.name.clone())
            .if_not_exists(create.if_not_exists)
            .unlogged(create.unlogged)
            .columns(create.columns.clone())
            .constraints(create.constraints.clone())
            .table_options(create.table_options.clone())
            .without_rowid(create.without_rowid)
            .strict(create.strict)
            .build();
        self.require(*create == plain, "is not a plain CREATE TABLE (columns, constraints and an engine)");
        self.require(
            are_plain_options(&create.table_options),
            "is a CREATE TABLE with options: only a storage engine that keeps its rows itself, \
             a character set and a collation may be named",
        );

        for column in &create.columns {
            // A sequence of its own, and no type.
            let is_serial = ["serial", "bigserial", "smallserial"]
                .iter()
                .any(|known| column.data_type.to_string().eq_ignore_ascii_case(known));
            if !is_serial {
                self.data_type(&column.data_type);
            }
            for option in &column.options {
                self.column_option(&option.option);
            }
        }
        for constraint in &create.constraints {
            match constraint {
                TableConstraint::Unique(_)
                | TableConstraint::PrimaryKey(_)
                | TableConstraint::Check(_)
                | TableConstraint::Index(_) => {}
                TableConstraint::ForeignKey(key) => self.references(&key.foreign_table),
                _ => self.refuse("has a constraint that could not be judged"),
            }
        }
    }

    fn column_option(&mut self, option: &ColumnOption) {
        match option {
            ColumnOption::ForeignKey(key) => self.references(&key.foreign_table),
            ColumnOption::Null
            | ColumnOption::NotNull
            | ColumnOption::Default(_)
            | ColumnOption::PrimaryKey(_)
            | ColumnOption::Unique(_)
            | ColumnOption::Check(_)
            | ColumnOption::CharacterSet(_)
            | ColumnOption::Collation(_)
            | ColumnOption::Comment(_)
            | ColumnOption::OnUpdate(_)
            | ColumnOption::Generated {
                generated_as: GeneratedAs::Always | GeneratedAs::ByDefault | GeneratedAs::ExpStored,
                ..
            } => {}
            ColumnOption::DialectSpecific(tokens)
                if tokens.iter().all(|token| {
                    let word = token.to_string();
                    ["auto_increment", "autoincrement"].iter().any(|known| word.eq_ignore_ascii_case(known))
                }) => {}
            _ => self.refuse("has a column that could not be judged"),
        }
    }

    /// A foreign key locks the rows it points at, and keeps them from going.
    fn references(&mut self, table: &ObjectName) {
        if !self.relation(table).is_some_and(|relation| is_ours(&relation)) {
            self.refuse(format!("has a foreign key to {table}"));
        }
    }

    fn create_index(&mut self, create: &CreateIndex) {
        self.makes_tables();
        self.write(&create.table_name);
        let CreateIndex {
            name: _,
            table_name: _,
            using: _,
            columns,
            unique: _,
            concurrently: _,
            r#async,
            if_not_exists: _,
            include: _,
            nulls_distinct: _,
            with,
            predicate: _,
            index_options: _,
            alter_options,
        } = create;
        let is_plain = !r#async
            && with.is_empty()
            && alter_options.is_empty()
            && columns.iter().all(|column| column.operator_class.is_none());
        self.require(is_plain, "is not a plain CREATE INDEX");
    }

    fn query(&mut self, query: &Query) {
        let Query {
            with,
            body,
            order_by: _,
            limit_clause: _,
            fetch: _,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        let ctes = with.iter().flat_map(|with| &with.cte_tables);
        for cte in ctes {
            self.ctes.push(cte.alias.name.value.to_ascii_lowercase());
            self.require(cte.from.is_none(), "has a CTE that could not be judged");
        }
        let is_plain = for_clause.is_none()
            && settings.is_none()
            && format_clause.is_none()
            && pipe_operators.is_empty();
        self.require(is_plain, "is not a plain query");
        self.body(body);

        if !locks.is_empty() {
            self.require(self.used_as != Use::Query, "is to read, and locks rows");
            // The names are not looked up among the CTEs: outside of one its name may
            // be a table's.
            let _: ControlFlow<()> = visit_relations(body.as_ref(), |name| {
                if !self.relation(name).is_some_and(|relation| is_ours(&relation)) {
                    self.judgement.locks.push(name.to_string());
                }
                ControlFlow::Continue(())
            });
        }
    }

    fn body(&mut self, body: &SetExpr) {
        match body {
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left);
                self.body(right);
            }
            // What is inside is visited by itself.
            SetExpr::Select(_)
            | SetExpr::Query(_)
            | SetExpr::Values(_)
            | SetExpr::Insert(_)
            | SetExpr::Update(_)
            | SetExpr::Delete(_) => {}
            SetExpr::Merge(_) | SetExpr::Table(_) => self.refuse("is not a plain query"),
        }
    }

    fn select(&mut self, select: &Select) {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct: _,
            select_modifiers: _,
            top,
            top_before_distinct: _,
            projection: _,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by: _,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        self.require(into.is_none(), "writes what it selects INTO something");
        let is_plain = optimizer_hints.is_empty()
            && top.is_none()
            && exclude.is_none()
            && lateral_views.is_empty()
            && prewhere.is_none()
            && connect_by.is_empty()
            && cluster_by.is_empty()
            && distribute_by.is_empty()
            && sort_by.is_empty()
            && qualify.is_none()
            && value_table_mode.is_none()
            && *flavor == SelectFlavor::Standard;
        self.require(is_plain, "is not a plain SELECT");
        for join in from.iter().flat_map(|table| &table.joins) {
            self.require(
                !join.global && is_plain_join(&join.join_operator),
                "has a join that could not be judged",
            );
        }
    }

    fn table_factor(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality: _,
                partitions,
                json_path,
                sample,
                index_hints: _,
            } => {
                self.alias(alias.as_ref());
                if args.is_some() {
                    self.call(name);
                }
                let is_plain = with_hints.is_empty()
                    && version.is_none()
                    && partitions.is_empty()
                    && json_path.is_none()
                    && sample.is_none();
                self.require(is_plain, "names a table in a way that could not be judged");
            }
            TableFactor::Function { name, alias, .. } => {
                self.alias(alias.as_ref());
                self.call(name);
            }
            TableFactor::UNNEST { alias, .. } => self.alias(alias.as_ref()),
            TableFactor::Derived { sample: None, .. }
            | TableFactor::NestedJoin { .. }
            | TableFactor::JsonTable { .. } => {}
            _ => self.refuse("reads something that is no table"),
        }
    }

    fn call(&mut self, name: &ObjectName) {
        let lower = name.to_string().to_ascii_lowercase();
        if is_harmless(&lower, self.dialect) {
            self.judgement.calls.push(lower);
        } else {
            self.refuse(format!("calls {name}(), which may do anything"));
        }
    }

    fn expression(&mut self, expression: &Expr) {
        match expression {
            Expr::Function(function) => {
                self.require(
                    !function.uses_odbc_syntax,
                    "calls a function in a way that could not be judged",
                );
                self.call(&function.name);
            }
            Expr::BinaryOp { op, .. }
            | Expr::AnyOp { compare_op: op, .. }
            | Expr::AllOp { compare_op: op, .. } => {
                let is_operator = !matches!(
                    op,
                    BinaryOperator::Custom(_)
                        | BinaryOperator::PGCustomBinaryOperator(_)
                        | BinaryOperator::Assignment
                        | BinaryOperator::Match
                );
                self.require(is_operator, "uses an operator that may do anything");
            }
            Expr::UnaryOp { op, .. } => {
                let is_plain = matches!(
                    op,
                    UnaryOperator::Plus
                        | UnaryOperator::Minus
                        | UnaryOperator::Not
                        | UnaryOperator::BangNot
                        | UnaryOperator::BitwiseNot
                );
                self.require(is_plain, "uses an operator that may do anything");
            }
            Expr::Cast { data_type, format: None, .. } => self.data_type(data_type),
            Expr::Convert { data_type, styles, .. } if styles.is_empty() => {
                if let Some(data_type) = data_type {
                    self.data_type(data_type);
                }
            }
            Expr::TypedString(typed) if !typed.uses_odbc_syntax => self.data_type(&typed.data_type),
            Expr::CompoundFieldAccess { access_chain, .. } => {
                let only_elements =
                    access_chain.iter().all(|access| matches!(access, AccessExpr::Subscript(_)));
                self.require(only_elements, "reads a field of an expression, which may call a function");
            }
            Expr::CompoundIdentifier(parts) => {
                self.require(parts.len() <= 3, "names a column in a way that could not be judged");
            }
            // The character set of a literal.
            Expr::Prefixed { prefix, .. } if self.is_mysql() && prefix.value.starts_with('_') => {}
            Expr::Identifier(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::SimilarTo { .. }
            | Expr::RLike { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Overlay { .. }
            | Expr::Collate { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..) => {}
            _ => self.refuse("has an expression that could not be judged"),
        }
    }

    fn value(&mut self, value: &Value) {
        let is_plain = matches!(
            value,
            Value::Number(..)
                | Value::SingleQuotedString(_)
                | Value::HexStringLiteral(_)
                | Value::DoubleQuotedString(_)
                | Value::Boolean(_)
                | Value::Null
                | Value::Placeholder(_)
        );
        self.require(is_plain, "has a literal that could not be judged");
    }

    /// A cast to a type of the user's own may call a function. (The other databases
    /// have no such types.)
    fn data_type(&mut self, data_type: &DataType) {
        if let DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::Qualified(element, _),
        ) = data_type
        {
            return self.data_type(element);
        }
        let is_own = !matches!(self.dialect, Dialect::Postgres | Dialect::Null)
            || matches!(
                data_type,
                DataType::Character(_)
                    | DataType::Char(_)
                    | DataType::CharacterVarying(_)
                    | DataType::CharVarying(_)
                    | DataType::Varchar(_)
                    | DataType::Uuid
                    | DataType::Numeric(_)
                    | DataType::Decimal(_)
                    | DataType::Dec(_)
                    | DataType::Float(_)
                    | DataType::SmallInt(_)
                    | DataType::Int2(_)
                    | DataType::Int4(_)
                    | DataType::Int8(_)
                    | DataType::Int(_)
                    | DataType::Integer(_)
                    | DataType::BigInt(_)
                    | DataType::Float4
                    | DataType::Float8
                    | DataType::Real
                    | DataType::DoublePrecision
                    | DataType::Bool
                    | DataType::Boolean
                    | DataType::Date
                    | DataType::Time(..)
                    | DataType::Timestamp(..)
                    | DataType::Interval { .. }
                    | DataType::JSON
                    | DataType::JSONB
                    | DataType::Text
                    | DataType::Bytea
                    | DataType::Bit(_)
                    | DataType::BitVarying(_)
            );
        if !is_own {
            self.refuse(format!("uses the type {data_type}, which may call a function"));
        }
    }

    fn alias(&mut self, alias: Option<&TableAlias>) {
        let types =
            alias.into_iter().flat_map(|alias| &alias.columns).filter_map(|column| column.data_type.as_ref());
        types.for_each(|data_type| self.data_type(data_type));
    }
}

impl Visitor for Judge {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        self.statement(statement);
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.query(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.select(select);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        match self.relation(name) {
            Some(relation) => self.judgement.relations.push(relation),
            None => self.refuse(format!("names {name} in a way that could not be judged")),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        self.table_factor(factor);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        self.expression(expression);
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<()> {
        self.value(&value.value);
        ControlFlow::Continue(())
    }
}

/// A table of ours where the session would look for it.
fn is_ours(relation: &Relation) -> bool {
    relation.schema.is_none() && relation.name.starts_with(PREFIX)
}

/// Engines that keep a table's rows in a table of their own.
const ENGINES: [&str; 5] = ["innodb", "myisam", "aria", "memory", "rocksdb"];

fn are_plain_options(options: &CreateTableOptions) -> bool {
    let is_plain = |option: &SqlOption| match option {
        SqlOption::NamedParenthesizedList(list) => {
            let name = list.name.as_ref().unwrap_or(&list.key);
            list.key.value.eq_ignore_ascii_case("engine")
                && list.values.is_empty()
                && ENGINES.contains(&name.value.to_ascii_lowercase().as_str())
        }
        SqlOption::KeyValue { key, .. } => {
            let key = key.value.to_ascii_lowercase();
            ["charset", "character set", "collate", "auto_increment", "row_format"]
                .iter()
                .any(|known| key == *known || key == format!("default {known}"))
        }
        SqlOption::Comment(_) => true,
        _ => false,
    };
    match options {
        CreateTableOptions::None => true,
        CreateTableOptions::Plain(options) => options.iter().all(is_plain),
        CreateTableOptions::With(options) => options.iter().all(
            |option| matches!(option, SqlOption::KeyValue { key, .. } if key.value.eq_ignore_ascii_case("fillfactor")),
        ),
        CreateTableOptions::Options(_) | CreateTableOptions::TableProperties(_) => false,
    }
}

fn is_plain_join(operator: &JoinOperator) -> bool {
    matches!(
        operator,
        JoinOperator::Join(_)
            | JoinOperator::Inner(_)
            | JoinOperator::Left(_)
            | JoinOperator::LeftOuter(_)
            | JoinOperator::Right(_)
            | JoinOperator::RightOuter(_)
            | JoinOperator::FullOuter(_)
            | JoinOperator::CrossJoin(_)
            | JoinOperator::StraightJoin(_)
    )
}
