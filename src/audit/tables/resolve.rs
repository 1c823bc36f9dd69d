//! A mapping held against a database: every name checked in the catalogue and
//! quoted, every column turned into the expression that stockbench's own words
//! need.

use super::mapping::{Columns, Kind, LedgerText, Mapping, OpeningFrom, ParentText, Sign, Word};
use super::sql::{as_text, flag, fractions, integer, joined, whole};
use crate::audit::Key;
use crate::db::catalogue::{self, Column, Holds, Table};
use crate::db::{Dialect, Session};
use crate::exit::usage;
use crate::text;
use anyhow::Result;
use std::time::Duration;

/// A mapping in SQL.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The SQL it is in.
    pub dialect: Dialect,
    /// Where the stock is.
    pub stock: StockSql,
    /// Where the movements are.
    pub ledgers: Vec<LedgerSql>,
    /// Where the opening balances are.
    pub opening: Opening,
    /// How long a reservation may stay open.
    pub settle_within: Option<Duration>,
    /// Every table and view that is read: its schema, if the mapping names it, and its name.
    pub tables: Vec<(Option<String>, String)>,
    /// Those of which the mapping says that what they show is all there is.
    pub complete: Vec<String>,
}

/// The stock in SQL.
#[derive(Debug, Clone)]
pub struct StockSql {
    /// The table, quoted.
    pub table: String,
    /// The SKU of a row.
    pub sku: String,
    /// What a SKU is.
    pub sku_form: KeyForm,
    /// Its units, whole.
    pub units: String,
    /// The units column itself, quoted.
    pub units_column: String,
    /// Whether a row is in fractions of a unit; `None` if none can be.
    pub fractions: Option<String>,
    /// Whether a SKU has one row.
    pub is_unique: bool,
}

/// Where opening balances are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// In the ledger, which begins at 0.
    Ledger,
    /// Derived from the chain of balances.
    Derive,
    /// In a column of the stock table.
    Column {
        /// Its units, whole.
        units: String,
        /// Whether a row is in fractions of a unit; `None` if none can be.
        fractions: Option<String>,
    },
    /// In a table of their own: the query that gives SKU, units, and whether
    /// these are in fractions.
    Table(String),
}

/// One table of movements in SQL. `e` is the entry, `p` its order.
#[derive(Debug, Clone)]
pub struct LedgerSql {
    /// The table as a person calls it.
    pub name: String,
    /// The table and its order's, for FROM.
    pub from: String,
    /// The table alone, quoted.
    pub table: String,
    /// The primary key, if it is mapped.
    pub id: Option<IdSql>,
    /// The SKU.
    pub sku: String,
    /// The order.
    pub order: Option<String>,
    /// What tells two entries of one order and SKU apart.
    pub line: Option<String>,
    /// What moved the stock, in our words.
    pub kind: String,
    /// Signed units, whole.
    pub delta: String,
    /// What must hold for an entry to be looked at.
    pub looked_at: Option<String>,
    /// Whether an entry is a refusal.
    pub refused: Option<String>,
    /// Whether an entry says something that the mapping has no word for.
    pub unmapped: Option<String>,
    /// What such an entry says.
    pub unmapped_words: String,
    /// Whether an entry is in fractions of a unit.
    pub fractions: Option<String>,
    /// The stock after the entry, whole, and whether it can be missing.
    pub balance: Option<(String, bool)>,
    /// When, as text.
    pub time: Option<String>,
    /// What entries are ordered by.
    pub sequence: String,
    /// Whether an entry's order does not exist.
    pub orphan: Option<String>,
    /// The kinds that can occur.
    pub kinds: Vec<Kind>,
    /// Whether the database itself refuses the same order, SKU and kind twice.
    pub is_keyed: bool,
    /// What a correcting entry is made of: the columns and their values; or why
    /// there can be none.
    pub correction: Result<Vec<(String, Filling)>, String>,
    /// Columns that a correcting entry must have and the mapping does not name.
    pub unfilled: Vec<String>,
}

/// A primary key in SQL.
#[derive(Debug, Clone)]
pub struct IdSql {
    /// The column.
    pub column: String,
    /// The key as a number or a text.
    pub key: String,
    /// Whether it is a whole number.
    pub is_int: bool,
    /// Whether it can be NULL.
    pub nullable: bool,
}

/// What SKUs are in every table of a mapping, so that they can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyForm {
    /// Whole numbers.
    pub is_int: bool,
    /// Texts of which the database takes upper and lower case for equal.
    pub folds_case: bool,
    /// Bytes, as hexadecimal text.
    pub is_bytes: bool,
}

impl KeyForm {
    /// The SKU as one of the keys that sums are kept under: texts that the
    /// database takes for equal are one key.
    pub fn key(self, sku: Key) -> Key {
        match sku {
            Key::Text(text) if self.folds_case => Key::Text(text.trim_end().to_lowercase().into()),
            sku => sku,
        }
    }
}

/// A value of a correcting entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filling {
    /// The SKU.
    Sku,
    /// The signed difference.
    Delta,
    /// The difference without its sign.
    Units,
    /// The stock after it.
    Balance,
    /// One literal for what comes in, another for what goes out.
    Direction(String, String),
    /// A literal.
    Literal(String),
}

struct Resolver<'a> {
    session: &'a mut dyn Session,
    dialect: Dialect,
    file: &'a str,
    /// Tables that were looked up.
    tables: Vec<Table>,
    /// How SKUs are compared; known once every table has been looked up.
    form: KeyForm,
}

/// Holds a mapping against a database; `file` is how errors call the mapping.
///
/// # Errors
/// One line that names the place in the mapping and what the database has.
pub async fn resolve(
    session: &mut dyn Session,
    dialect: Dialect,
    file: &str,
    mapping: &Mapping,
) -> Result<Resolved> {
    let form = KeyForm { is_int: false, folds_case: false, is_bytes: false };
    let mut resolver = Resolver { session, dialect, file, tables: Vec::new(), form };
    let stock_table = resolver.table("stock", mapping.stock.schema.as_deref(), &mapping.stock.table).await?;
    resolver.form = resolver.form(mapping, &stock_table).await?;
    let stock = resolver.stock(mapping, &stock_table)?;
    let opening = resolver.opening(mapping, &stock_table).await?;
    let mut ledgers = Vec::new();
    for ledger in &mapping.ledger {
        ledgers.push(resolver.ledger(ledger).await?);
    }
    let tables: Vec<(Option<String>, String)> =
        resolver.tables.into_iter().map(|table| (table.schema, table.name)).collect();
    let stranger = mapping.complete.iter().find(|name| tables.iter().all(|(_, table)| table != *name));
    if let Some(name) = stranger {
        return Err(usage(format!("{file}: complete: `{name}` is no table or view of this mapping")));
    }

    Ok(Resolved {
        dialect,
        stock,
        ledgers,
        opening,
        settle_within: mapping.reservations.settle_within,
        tables,
        complete: mapping.complete.clone(),
    })
}

impl Resolver<'_> {
    async fn table(&mut self, place: &str, schema: Option<&str>, name: &str) -> Result<Table> {
        let is_it = |table: &&Table| table.schema.as_deref() == schema && table.name == name;
        if let Some(known) = self.tables.iter().find(is_it) {
            return Ok(known.clone());
        }
        if let Some(table) = catalogue::table(self.session, self.dialect, schema, name).await? {
            self.tables.push(table.clone());
            return Ok(table);
        }
        let known = catalogue::table_names(self.session, self.dialect).await?;
        let suggestion = text::did_you_mean(name, known.iter().map(String::as_str));
        let of_schema = schema.map_or_else(String::new, |schema| format!(" in schema `{schema}`"));
        Err(usage(format!(
            "{}: {place}.table: this user sees no table or view `{name}`{of_schema}{suggestion}",
            self.file
        )))
    }

    /// How the SKUs of stock, ledgers and opening balances can be compared.
    async fn form(&mut self, mapping: &Mapping, stock: &Table) -> Result<KeyForm> {
        let mut columns: Vec<Column> = Vec::new();
        let mut add = |resolver: &Self, place: &str, table: &Table, names: &Columns| -> Result<()> {
            for name in names.names() {
                columns.push(resolver.column(place, table, name)?.clone());
            }
            Ok(())
        };
        add(self, "stock.sku", stock, &mapping.stock.sku)?;
        for ledger in &mapping.ledger {
            let table = self.table("ledger", ledger.schema.as_deref(), &ledger.table).await?;
            add(self, &place(ledger, "sku"), &table, &ledger.sku)?;
        }
        if let (Some(name), Some(sku)) = (&mapping.opening.table, &mapping.opening.sku) {
            let table = self.table("opening", mapping.opening.schema.as_deref(), name).await?;
            add(self, "opening.sku", &table, sku)?;
        }
        let is_bytes = |column: &Column| column.holds == Holds::Bytes;
        if columns.iter().any(is_bytes) && !columns.iter().all(is_bytes) {
            return Err(self.error("sku", "some of the tables name SKUs by bytes and others do not"));
        }
        Ok(KeyForm {
            is_int: mapping.stock.sku.names().len() == 1
                && columns.iter().all(|column| column.holds == Holds::Int),
            folds_case: columns.iter().any(|column| column.folds_case),
            is_bytes: columns.iter().any(is_bytes),
        })
    }

    fn column<'t>(&self, place: &str, table: &'t Table, name: &str) -> Result<&'t Column> {
        table.column(name).ok_or_else(|| {
            let known: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            let suggestion = text::did_you_mean(name, known.iter().copied());
            usage(format!(
                "{}: {place}: `{}` has no column `{name}`{suggestion} (it has {})",
                self.file,
                table.name,
                text::backquoted(&known)
            ))
        })
    }

    fn error(&self, place: &str, what: &str) -> anyhow::Error {
        usage(format!("{}: {place}: {what}", self.file))
    }

    fn stock(&self, mapping: &Mapping, table: &Table) -> Result<StockSql> {
        let stock = &mapping.stock;
        let units = self.column("stock.units", table, &stock.units)?;
        self.expect_number("stock.units", table, units)?;
        Ok(StockSql {
            table: table.quoted(self.dialect),
            sku: self.sku("stock.sku", "s", table, &stock.sku)?,
            sku_form: self.form,
            units: whole(self.dialect, &self.of("s", units), units.holds),
            units_column: self.dialect.quote(&units.name),
            fractions: fractions(self.dialect, &self.of("s", units), units.holds),
            is_unique: is_unique(table, stock.sku.names().iter().map(String::as_str)),
        })
    }

    async fn opening(&mut self, mapping: &Mapping, stock: &Table) -> Result<Opening> {
        let opening = &mapping.opening;
        if let Some(name) = &opening.column {
            let column = self.column("opening.column", stock, name)?;
            self.expect_number("opening.column", stock, column)?;
            let column = (self.of("s", column), column.holds);
            return Ok(Opening::Column {
                units: whole(self.dialect, &column.0, column.1),
                fractions: fractions(self.dialect, &column.0, column.1),
            });
        }
        if let (Some(name), Some(sku), Some(units)) = (&opening.table, &opening.sku, &opening.units) {
            let table = self.table("opening", opening.schema.as_deref(), name).await?;
            let sku = self.sku("opening.sku", "o", &table, sku)?;
            let units = self.column("opening.units", &table, units)?;
            self.expect_number("opening.units", &table, units)?;
            let (units, holds) = (self.of("o", units), units.holds);
            let in_parts = flag(fractions(self.dialect, &units, holds).as_deref());
            let units = integer(self.dialect, &format!("SUM({})", whole(self.dialect, &units, holds)));
            return Ok(Opening::Table(format!(
                "SELECT {sku} AS sku, {units} AS units, MAX({in_parts}) AS parts FROM {} o GROUP BY {sku}",
                table.quoted(self.dialect)
            )));
        }
        Ok(match opening.from {
            Some(OpeningFrom::Derive) => Opening::Derive,
            Some(OpeningFrom::Ledger) | None => Opening::Ledger,
        })
    }

    fn sku(&self, place: &str, alias: &str, table: &Table, columns: &Columns) -> Result<String> {
        let columns: Result<Vec<&Column>> =
            columns.names().iter().map(|name| self.column(place, table, name)).collect();
        match columns?.as_slice() {
            [] => Err(self.error(place, "names no column")),
            [one] if self.form.is_int => Ok(self.of(alias, one)),
            [one] => Ok(self.text_of(alias, one)),
            several => {
                let part = |column: &&Column| format!("COALESCE({}, '')", self.text_of(alias, column));
                let parts: Vec<String> = several.iter().map(part).collect();
                Ok(match self.dialect {
                    Dialect::MySql | Dialect::MariaDb => format!("CONCAT({})", parts.join(", '/', ")),
                    Dialect::Postgres | Dialect::Sqlite | Dialect::Null => {
                        format!("({})", parts.join(" || '/' || "))
                    }
                })
            }
        }
    }

    /// A column that names something: a number, or a text.
    fn key(&self, alias: &str, column: &Column) -> String {
        match column.holds {
            Holds::Int => self.of(alias, column),
            _ => self.text_of(alias, column),
        }
    }

    /// A column that names something, as text.
    fn text_of(&self, alias: &str, column: &Column) -> String {
        let (dialect, name) = (self.dialect, self.of(alias, column));
        match (column.holds, dialect) {
            (Holds::Text, _) => name,
            (Holds::Bytes, Dialect::Postgres) => format!("encode({name}, 'hex')"),
            (Holds::Bytes, _) => format!("LOWER(HEX({name}))"),
            // 1.00 names the same thing as 1.
            (Holds::Decimal, Dialect::Postgres) => as_text(dialect, &format!("CAST({name} AS NUMERIC(60))")),
            (Holds::Decimal, Dialect::MySql | Dialect::MariaDb) => {
                as_text(dialect, &format!("CAST({name} AS DECIMAL(60))"))
            }
            (Holds::Decimal, Dialect::Sqlite | Dialect::Null) => as_text(dialect, &integer(dialect, &name)),
            (Holds::Int | Holds::Bool | Holds::Time | Holds::Other, _) => as_text(dialect, &name),
        }
    }

    fn of(&self, alias: &str, column: &Column) -> String {
        format!("{alias}.{}", self.dialect.quote(&column.name))
    }

    fn expect_number(&self, place: &str, table: &Table, column: &Column) -> Result<()> {
        // SQLite stores what it is given, whatever the column is called.
        let is_number = matches!(column.holds, Holds::Int | Holds::Decimal);
        if is_number || self.dialect == Dialect::Sqlite {
            return Ok(());
        }
        Err(self.error(
            place,
            &format!("`{}` of `{}` is {}, expected a number", column.name, table.name, column.type_name),
        ))
    }

    /// Whether a column has one of these values.
    fn is_one_of(&self, place: &str, alias: &str, column: &Column, words: &[Word]) -> Result<String> {
        let literal = |word: &Word| {
            self.literal(column, word).ok_or_else(|| {
                let what = format!("`{}` holds {}, not `{word}`", column.name, column.type_name);
                self.error(place, &what)
            })
        };
        let literals: Result<Vec<String>> = words.iter().map(literal).collect();
        let column =
            if column.holds == Holds::Bool { self.of(alias, column) } else { self.key(alias, column) };
        Ok(format!("{column} IN ({})", literals?.join(", ")))
    }

    /// A word as a literal that a column can be compared with; `None` if the
    /// column cannot hold it.
    fn literal(&self, column: &Column, word: &Word) -> Option<String> {
        let text = match (column.holds, word) {
            (Holds::Bool, word) if self.dialect == Dialect::Postgres => {
                return word.as_truth().map(|truth| truth.to_string().to_uppercase());
            }
            (Holds::Bool, word) => return word.as_truth().map(|truth| i64::from(truth).to_string()),
            (Holds::Int, Word::Int(number)) => return Some(number.to_string()),
            (Holds::Int, Word::Bool(truth)) => return Some(i64::from(*truth).to_string()),
            (Holds::Int, Word::Text(_)) => return None,
            (_, Word::Int(number)) => number.to_string(),
            (_, Word::Bool(truth)) => truth.to_string(),
            (_, Word::Text(text)) => text.clone(),
        };
        Some(self.dialect.literal(&text))
    }

    async fn ledger(&mut self, text: &LedgerText) -> Result<LedgerSql> {
        let dialect = self.dialect;
        let table = self.table("ledger", text.schema.as_deref(), &text.table).await?;
        let parent = match &text.parent {
            Some(parent) => {
                Some((parent, self.table("ledger.parent", parent.schema.as_deref(), &parent.table).await?))
            }
            None => None,
        };
        let parts = LedgerParts { resolver: self, text, table: &table, parent: parent.as_ref() };
        let id = parts.optional("id", text.id.as_ref())?;
        let order = parts.optional("order", text.order.as_ref())?;
        let line = parts.optional("line", text.line.as_ref())?;
        let kind = parts.optional("kind", text.kind.as_ref())?;
        let balance = parts.optional("balance", text.balance.as_ref())?;
        let sequence = parts.optional("sequence", text.sequence.as_ref())?;
        let quantity = parts.column("quantity", &text.quantity)?;
        self.expect_number(&place(text, "quantity"), &table, quantity)?;
        if let Some(balance) = balance {
            self.expect_number(&place(text, "balance"), &table, balance)?;
        }
        let (kind_sql, kind_conditions) = self.kind(text, kind, &place(text, "kinds"))?;
        let status = parts.status()?;
        let delta = parts.delta(quantity, &kind_conditions)?;
        let delta = match &status.refused {
            Some(refused) => format!("(CASE WHEN {refused} THEN 0 ELSE {delta} END)"),
            None => delta,
        };
        let mut looked_at: Vec<String> = status.counted.into_iter().collect();
        if let Some(kind) = kind.filter(|_| !text.kinds.ignore.is_empty()) {
            let ignored = self.is_one_of(&place(text, "kinds.ignore"), "e", kind, &text.kinds.ignore)?;
            looked_at.push(format!("NOT COALESCE({ignored}, FALSE)"));
        }
        let (unmapped, unmapped_words) = parts.unmapped(quantity, kind)?;
        // A refusal moves nothing, whatever its quantity says.
        let unmapped = match (&status.refused, unmapped) {
            (Some(refused), Some(unmapped)) => {
                Some(format!("({unmapped} AND NOT COALESCE({refused}, FALSE))"))
            }
            (_, unmapped) => unmapped,
        };
        let time = parts.time()?;
        let time_column = time.map(|(alias, column)| self.of(alias, column));
        let by: Vec<String> = match sequence {
            Some(sequence) => vec![self.of("e", sequence)],
            None => time_column.into_iter().chain(id.map(|id| self.of("e", id))).collect(),
        };
        let (from, orphan) = parts.from()?;
        let kind_column = kind.filter(|_| text.has_one_word_a_kind());
        let identity = [order, line, kind_column].into_iter().flatten().map(|column| column.name.as_str());
        let identity = identity.chain(text.sku.names().iter().map(String::as_str));
        let whole_units = [Some(quantity), balance].into_iter().flatten();
        let fractions: Vec<String> = whole_units
            .filter_map(|column| fractions(dialect, &self.of("e", column), column.holds))
            .collect();
        let keeps =
            |balance: &Column| (whole(dialect, &self.of("e", balance), balance.holds), balance.nullable);
        Ok(LedgerSql {
            name: text.table.clone(),
            from,
            table: table.quoted(dialect),
            id: id.map(|id| IdSql {
                column: self.of("e", id),
                key: self.key("e", id),
                is_int: id.holds == Holds::Int,
                nullable: id.nullable,
            }),
            sku: self.sku(&place(text, "sku"), "e", &table, &text.sku)?,
            order: order.map(|order| self.key("e", order)),
            line: line.map(|line| self.key("e", line)),
            kind: kind_sql,
            delta,
            looked_at: (!looked_at.is_empty()).then(|| looked_at.join(" AND ")),
            refused: status.refused,
            unmapped,
            unmapped_words,
            fractions: (!fractions.is_empty()).then(|| format!("({})", fractions.join(" OR "))),
            balance: balance.map(keeps),
            time: time.map(|(alias, column)| as_text(dialect, &self.of(alias, column))),
            sequence: if by.is_empty() { "1".to_owned() } else { by.join(", ") },
            orphan,
            kinds: text.possible_kinds(),
            is_keyed: order.is_some() && is_unique(&table, identity),
            correction: self.correction(text, &table),
            unfilled: unfilled(text, &table),
        })
    }

    fn is_none_of(&self, place: &str, column: &Column, words: &[Word]) -> Result<String> {
        let known = self.is_one_of(place, "e", column, words)?;
        Ok(if column.nullable { format!("({known}) IS NOT TRUE") } else { format!("NOT ({known})") })
    }

    /// The kind in our words, and the condition of each.
    fn kind(
        &self,
        text: &LedgerText,
        column: Option<&Column>,
        place: &str,
    ) -> Result<(String, Vec<(Kind, String)>)> {
        let Some(column) = column else {
            // A movement of which nothing is said goes by its sign.
            let kind = match (text.is, text.sign) {
                (Some(kind), _) => format!("'{}'", kind.as_str()),
                (None, Sign::Out) => "'sale'".to_owned(),
                (None, Sign::In) => "'restock'".to_owned(),
                (None, _) => "'count'".to_owned(),
            };
            return Ok((kind, Vec::new()));
        };
        let mut conditions = Vec::new();
        for (kind, words) in text.kinds.by_kind().into_iter().filter(|(_, words)| !words.is_empty()) {
            conditions.push((kind, self.is_one_of(place, "e", column, words)?));
        }
        let when = |(kind, condition): &(Kind, String)| format!(" WHEN {condition} THEN '{}'", kind.as_str());
        let when: String = conditions.iter().map(when).collect();
        if when.is_empty() {
            return Err(self.error(place, "every value is ignored"));
        }
        Ok((format!("CASE{when} ELSE 'unmapped' END"), conditions))
    }

    fn correction(&self, ledger: &LedgerText, table: &Table) -> Result<Vec<(String, Filling)>, String> {
        let dialect = self.dialect;
        let quote = |name: &str| dialect.quote(name);
        // Every word was compared with its column before.
        let literal = |column: &str, word: &Word| {
            table.column(column).and_then(|column| self.literal(column, word)).unwrap_or_default()
        };
        let Columns::One(sku) = &ledger.sku else {
            return Err("its SKU is made of several columns".to_owned());
        };
        if self.form.is_bytes {
            return Err("its SKU is bytes".to_owned());
        }
        let mut values = vec![(quote(sku), Filling::Sku)];
        let units = match ledger.sign {
            Sign::Signed => Filling::Delta,
            Sign::ByDirection => Filling::Units,
            Sign::In | Sign::Out | Sign::ByKind => {
                return Err("its quantities have no sign of their own".to_owned());
            }
        };
        values.push((quote(&ledger.quantity), units));
        if let Some(direction) = &ledger.direction {
            let column = &direction.column;
            let one = |words: &[Word]| literal(column, &words[0]);
            values.push((quote(column), Filling::Direction(one(&direction.incoming), one(&direction.out))));
        }
        if let Some(kind) = &ledger.kind {
            let Some(word) = ledger.kinds.count.first() else {
                return Err("no kind of entry is mapped as `count`".to_owned());
            };
            values.push((quote(kind), Filling::Literal(literal(kind, word))));
        }
        if let (Some(status), Some(word)) = (&ledger.status, ledger.counts.first()) {
            values.push((quote(status), Filling::Literal(literal(status, word))));
        }
        if let Some(balance) = &ledger.balance {
            values.push((quote(balance), Filling::Balance));
        }
        if ledger.parent.is_some() {
            return Err("its entries belong to orders".to_owned());
        }
        Ok(values)
    }
}

/// A place in the mapping, as errors call it.
fn place(text: &LedgerText, key: &str) -> String {
    format!("ledger of {}: {key}", text.table)
}

/// One ledger of the mapping, its table, and its table of orders.
struct LedgerParts<'r, 's> {
    resolver: &'r Resolver<'s>,
    text: &'r LedgerText,
    table: &'r Table,
    parent: Option<&'r (&'r ParentText, Table)>,
}

/// Which entries count, and which are refusals.
struct Status {
    counted: Option<String>,
    refused: Option<String>,
}

impl<'r> LedgerParts<'r, '_> {
    fn column(&self, key: &str, name: &str) -> Result<&'r Column> {
        self.resolver.column(&place(self.text, key), self.table, name)
    }

    fn optional(&self, key: &str, name: Option<&String>) -> Result<Option<&'r Column>> {
        name.map(|name| self.column(key, name)).transpose()
    }

    fn of_parent(&self, key: &str, name: Option<&String>) -> Result<Option<(&'static str, &'r Column)>> {
        let Some((_, table)) = self.parent else { return Ok(None) };
        let column = |name: &String| self.resolver.column(&place(self.text, key), table, name);
        Ok(name.map(column).transpose()?.map(|column| ("p", column)))
    }

    fn time(&self) -> Result<Option<(&'static str, &'r Column)>> {
        let of_parent =
            self.of_parent("parent.time", self.parent.and_then(|(parent, _)| parent.time.as_ref()))?;
        let own = self.optional("time", self.text.time.as_ref())?.map(|column| ("e", column));
        Ok(of_parent.or(own))
    }

    fn status(&self) -> Result<Status> {
        let of_parent =
            self.of_parent("parent.status", self.parent.and_then(|(parent, _)| parent.status.as_ref()))?;
        let own = self.optional("status", self.text.status.as_ref())?.map(|column| ("e", column));
        let Some((alias, column)) = of_parent.or(own) else {
            return Ok(Status { counted: None, refused: None });
        };
        let is_one_of =
            |key: &str, words: &[Word]| self.resolver.is_one_of(&place(self.text, key), alias, column, words);
        let mut counted = is_one_of("counts", &self.text.counts)?;
        let mut refused = None;
        if self.text.records_refusals() {
            let condition = is_one_of("refused", &self.text.refused)?;
            counted = format!("({counted} OR {condition})");
            refused = Some(condition);
        }
        // An order that is not there has no status either.
        if let Some((parent, table)) = self.parent.filter(|_| alias == "p") {
            let key = self.resolver.column(&place(self.text, "parent.key"), table, &parent.key)?;
            counted = format!("({counted} OR {} IS NULL)", self.resolver.of("p", key));
        }
        Ok(Status { counted: Some(counted), refused })
    }

    fn delta(&self, quantity: &Column, kinds: &[(Kind, String)]) -> Result<String> {
        let units = whole(self.resolver.dialect, &self.resolver.of("e", quantity), quantity.holds);
        Ok(match self.text.sign {
            Sign::Signed | Sign::In => units,
            Sign::Out => format!("(-{units})"),
            Sign::ByKind => {
                let signed = |kind: Kind| match LedgerText::sign_of(kind) {
                    -1 => format!("(-{units})"),
                    0 => format!("(0 * {units})"),
                    _ => units.clone(),
                };
                let when =
                    |(kind, condition): &(Kind, String)| format!(" WHEN {condition} THEN {}", signed(*kind));
                match self.text.is {
                    Some(kind) => signed(kind),
                    None => format!("(CASE{} END)", kinds.iter().map(when).collect::<String>()),
                }
            }
            Sign::ByDirection => {
                let (_, out, incoming) = self.direction()?.expect("the file was checked for it");
                format!("(CASE WHEN {out} THEN -{units} WHEN {incoming} THEN {units} END)")
            }
        })
    }

    /// The direction's column, and its conditions for out and in.
    fn direction(&self) -> Result<Option<(&'r Column, String, String)>> {
        let Some(text) = &self.text.direction else { return Ok(None) };
        let column = self.column("direction", &text.column)?;
        let is = |words| self.resolver.is_one_of(&place(self.text, "direction"), "e", column, words);
        Ok(Some((column, is(&text.out)?, is(&text.incoming)?)))
    }

    /// When an entry says what the mapping has no word for, and what it says.
    fn unmapped(&self, quantity: &Column, kind: Option<&Column>) -> Result<(Option<String>, String)> {
        let (resolver, dialect) = (self.resolver, self.resolver.dialect);
        let mut conditions = Vec::new();
        let mut words = Vec::new();
        if quantity.nullable {
            conditions.push(format!("{} IS NULL", resolver.of("e", quantity)));
            words.push(as_text(dialect, &resolver.of("e", quantity)));
        }
        if let Some(kind) = kind {
            let kinds = &self.text.kinds;
            let by_kind = kinds.by_kind();
            let all: Vec<Word> =
                by_kind.iter().flat_map(|(_, words)| words.iter()).chain(&kinds.ignore).cloned().collect();
            conditions.push(resolver.is_none_of(&place(self.text, "kinds"), kind, &all)?);
            words.push(as_text(dialect, &resolver.of("e", kind)));
        }
        if let (Some((column, ..)), Some(text)) = (self.direction()?, &self.text.direction) {
            let all = [text.out.clone(), text.incoming.clone()].concat();
            conditions.push(resolver.is_none_of(&place(self.text, "direction"), column, &all)?);
            words.push(as_text(dialect, &resolver.of("e", column)));
        }
        let any = (!conditions.is_empty()).then(|| format!("({})", conditions.join(" OR ")));
        Ok((any, joined(dialect, &words)))
    }

    /// The tables for FROM, and when an entry's order does not exist.
    fn from(&self) -> Result<(String, Option<String>)> {
        let (resolver, dialect) = (self.resolver, self.resolver.dialect);
        let entries = format!("{} e", self.table.quoted(dialect));
        let Some((text, table)) = self.parent else { return Ok((entries, None)) };
        let key = resolver.column(&place(self.text, "parent.key"), table, &text.key)?;
        let by = self.column("parent.by", &text.by)?;
        // A view has no keys, and is believed.
        if !table.unique.is_empty() && !table.unique.contains(&vec![key.name.clone()]) {
            let what = format!(
                "`{}` of `{}` is not unique: an entry would count several times",
                key.name, table.name
            );
            return Err(resolver.error(&place(self.text, "parent.key"), &what));
        }
        let (key, by) = (resolver.of("p", key), resolver.of("e", by));
        let joined = format!("{entries} LEFT JOIN {} p ON {key} = {by}", table.quoted(dialect));
        Ok((joined, Some(format!("({by} IS NOT NULL AND {key} IS NULL)"))))
    }
}

/// Columns that a new entry must have and the mapping does not name.
fn unfilled(text: &LedgerText, table: &Table) -> Vec<String> {
    let direction = text.direction.as_ref().map(|direction| &direction.column);
    let filled =
        [Some(&text.quantity), text.kind.as_ref(), text.status.as_ref(), text.balance.as_ref(), direction];
    let filled: Vec<&String> = filled.into_iter().flatten().chain(text.sku.names()).collect();
    let missing = table.columns.iter().filter(|column| !column.optional && !filled.contains(&&column.name));
    missing.map(|column| column.name.clone()).collect()
}

/// Whether no two rows can have the same values in these columns.
fn is_unique<'a>(table: &Table, columns: impl Iterator<Item = &'a str>) -> bool {
    let columns: Vec<&str> = columns.collect();
    table.unique.iter().any(|key| key.iter().all(|column| columns.contains(&column.as_str())))
        && columns.iter().all(|name| table.column(name).is_some_and(|column| !column.nullable))
}
