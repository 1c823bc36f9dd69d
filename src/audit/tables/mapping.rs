//! The mapping file: which of a shop's tables and columns are the stock and
//! the ledger. Raw TOML that only validates its own shape; whether the tables
//! and columns exist is for [`super::resolve`] to find out.

use crate::input::{self, CONFIG_MAX};
use crate::text;
use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use serde::de::{self, Deserializer};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// A whole mapping file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// Where the stock is.
    pub stock: StockText,
    /// Where the movements are: a ledger, or several tables that make one.
    pub ledger: Vec<LedgerText>,
    /// Where the opening balances are.
    #[serde(default)]
    pub opening: OpeningText,
    /// How reservations are judged.
    #[serde(default)]
    pub reservations: ReservationsText,
    /// Views, and tables on other servers, of which what they show is all there is to judge.
    #[serde(default)]
    pub complete: Vec<String>,
}

/// The table that holds the stock.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockText {
    /// The schema (on MySQL, the database) of the table; otherwise the session's own.
    pub schema: Option<String>,
    /// The table or view.
    pub table: String,
    /// The column, or columns, that name the SKU.
    pub sku: Columns,
    /// The column with the units in stock; several rows of one SKU are added up.
    pub units: String,
}

/// One table of movements.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerText {
    /// The schema (on MySQL, the database) of the table; otherwise the session's own.
    pub schema: Option<String>,
    /// The table or view.
    pub table: String,
    /// The primary key: the ledger is read along it, in parts.
    pub id: Option<String>,
    /// The column, or columns, that name the SKU.
    pub sku: Columns,
    /// The column that names the order.
    pub order: Option<String>,
    /// The column that tells two entries of one order and SKU apart.
    pub line: Option<String>,
    /// The column with the units that moved.
    pub quantity: String,
    /// What the sign of the units is.
    #[serde(default)]
    pub sign: Sign,
    /// The column that says in or out, where [`Sign::ByDirection`] asks for one.
    pub direction: Option<DirectionText>,
    /// The column that says what moved the stock.
    pub kind: Option<String>,
    /// What its values mean.
    #[serde(default)]
    pub kinds: KindsText,
    /// What every entry of this table is, where no column says it.
    pub is: Option<Kind>,
    /// The column that says whether an entry counts.
    pub status: Option<String>,
    /// The values of it that count.
    #[serde(default)]
    pub counts: Vec<Word>,
    /// The values of it that record a refusal.
    #[serde(default)]
    pub refused: Vec<Word>,
    /// The column with the stock after the entry.
    pub balance: Option<String>,
    /// The column that says when.
    pub time: Option<String>,
    /// The column that says in which order; otherwise the id, or the time.
    pub sequence: Option<String>,
    /// The table of orders that the entries belong to.
    pub parent: Option<ParentText>,
}

/// The table of orders behind a table of order lines.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParentText {
    /// Its schema; otherwise the session's own.
    pub schema: Option<String>,
    /// The table.
    pub table: String,
    /// Its key.
    pub key: String,
    /// The column of the ledger that refers to it.
    pub by: String,
    /// The column that says whether the order counts, instead of the ledger's own.
    pub status: Option<String>,
    /// The column that says when, instead of the ledger's own.
    pub time: Option<String>,
}

/// In or out, in the words of a column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectionText {
    /// The column.
    pub column: String,
    /// Its values for what comes in.
    #[serde(rename = "in")]
    pub incoming: Vec<Word>,
    /// Its values for what goes out.
    pub out: Vec<Word>,
}

/// The vocabulary of a kind column, by what its values mean.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindsText {
    /// An opening balance.
    #[serde(default)]
    pub opening: Vec<Word>,
    /// A sale.
    #[serde(default)]
    pub sale: Vec<Word>,
    /// Units held for an order that is not paid yet.
    #[serde(default)]
    pub reserve: Vec<Word>,
    /// A reservation that became a sale.
    #[serde(default)]
    pub confirm: Vec<Word>,
    /// A reservation taken back, or a sale undone before it was complete.
    #[serde(default)]
    pub release: Vec<Word>,
    /// What a customer brought back.
    #[serde(rename = "return", default)]
    pub returned: Vec<Word>,
    /// New units.
    #[serde(default)]
    pub restock: Vec<Word>,
    /// A correction after counting.
    #[serde(default)]
    pub count: Vec<Word>,
    /// What moves no stock and is left out.
    #[serde(default)]
    pub ignore: Vec<Word>,
}

impl KindsText {
    /// Every kind with the values that mean it, the ignored ones left out.
    pub fn by_kind(&self) -> [(Kind, &[Word]); 8] {
        [
            (Kind::Sale, &self.sale),
            (Kind::Reserve, &self.reserve),
            (Kind::Confirm, &self.confirm),
            (Kind::Release, &self.release),
            (Kind::Return, &self.returned),
            (Kind::Restock, &self.restock),
            (Kind::Count, &self.count),
            (Kind::Opening, &self.opening),
        ]
    }

    fn is_empty(&self) -> bool {
        self.ignore.is_empty() && self.by_kind().iter().all(|(_, words)| words.is_empty())
    }
}

/// What moves stock, in stockbench's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An opening balance.
    Opening,
    /// A sale.
    Sale,
    /// Units held for an order.
    Reserve,
    /// A reservation that became a sale; moves nothing.
    Confirm,
    /// A reservation taken back, or a sale undone before it was complete.
    Release,
    /// What a customer brought back.
    Return,
    /// New units.
    Restock,
    /// A correction after counting.
    Count,
}

impl Kind {
    /// The word in SQL, reports and evidence.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Sale => "sale",
            Self::Reserve => "reserve",
            Self::Confirm => "confirm",
            Self::Release => "release",
            Self::Return => "return",
            Self::Restock => "restock",
            Self::Count => "count",
        }
    }

    /// The sign that units without one have: -1, 0 or 1.
    const fn sign(self) -> Option<i8> {
        match self {
            Self::Sale | Self::Reserve => Some(-1),
            Self::Confirm => Some(0),
            Self::Opening | Self::Release | Self::Return | Self::Restock => Some(1),
            // A correction goes either way.
            Self::Count => None,
        }
    }
}

/// What the sign of a quantity is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sign {
    /// The column is signed: out is negative.
    #[default]
    Signed,
    /// The column has no sign; everything comes in.
    In,
    /// The column has no sign; everything goes out.
    Out,
    /// The column has no sign; the kind tells.
    ByKind,
    /// The column has no sign; another column tells.
    ByDirection,
}

/// Where opening balances are; nothing said: the ledger begins at 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpeningText {
    /// `ledger`: its own entries, beginning at 0; `derive`: from the stock and
    /// the chain of balances.
    pub from: Option<OpeningFrom>,
    /// A column of the stock table.
    pub column: Option<String>,
    /// A table of its own.
    pub table: Option<String>,
    /// The schema of that table.
    pub schema: Option<String>,
    /// The column, or columns, of it that name the SKU.
    pub sku: Option<Columns>,
    /// The column of it with the units.
    pub units: Option<String>,
}

/// Where opening balances come from when no column holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OpeningFrom {
    /// The ledger begins at 0 with its own entries.
    Ledger,
    /// What the stock must have been for the ledger to lead to it.
    Derive,
}

/// How reservations are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReservationsText {
    /// How long a reservation may stay open; needs a time column. Without it,
    /// every open one is reported.
    #[serde(default, deserialize_with = "duration")]
    pub settle_within: Option<Duration>,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text::duration(&text).map(Some).map_err(de::Error::custom)
}

/// One column, or several that name a thing together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a column name, or a list of them")]
pub enum Columns {
    /// One.
    One(String),
    /// Several; their values are joined by `/`.
    Several(Vec<String>),
}

impl Columns {
    /// Their names.
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
        }
    }
}

/// A value of a column: a text, a whole number or a truth value.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "expected a text, a whole number, or true or false")]
pub enum Word {
    /// A number.
    Int(i64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::Bool(truth) => truth.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Word {
    /// The truth value that it stands for, if it does.
    pub fn as_truth(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            Self::Int(0) => Some(false),
            Self::Int(1) => Some(true),
            Self::Int(_) => None,
            Self::Text(text) => text.parse().ok(),
        }
    }
}

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// One line: the file, the place, what is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let text = input::read_to_string(path, CONFIG_MAX)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads a mapping from text; `name` is how errors call it.
    ///
    /// # Errors
    /// As [`Mapping::read`].
    pub fn parse(name: &str, source: &str) -> Result<Self> {
        let mapping: Self = text::parse_toml(name, source)?;
        mapping.check().map_err(|error| anyhow!("{name}: {error}"))?;
        Ok(mapping)
    }

    /// Holds together what the shape alone cannot.
    fn check(&self) -> Result<()> {
        ensure!(!self.ledger.is_empty(), "a mapping needs at least one [[ledger]]");
        let opening = &self.opening;
        let ways = [opening.from.is_some(), opening.column.is_some(), opening.table.is_some()];
        ensure!(
            ways.iter().filter(|way| **way).count() <= 1,
            "opening: only one of from, column and table can be given"
        );
        ensure!(
            opening.table.is_some() == (opening.sku.is_some() && opening.units.is_some()),
            "opening: table, sku and units belong together"
        );
        if opening.from == Some(OpeningFrom::Derive) {
            ensure!(
                self.ledger.len() == 1 && self.ledger[0].balance.is_some(),
                "opening.from: \"derive\" needs one [[ledger]] with a balance column"
            );
        }
        for ledger in &self.ledger {
            ledger.check().map_err(|error| anyhow!("ledger of {}: {error}", ledger.table))?;
        }
        Ok(())
    }
}

impl LedgerText {
    /// The kinds that its entries can have.
    pub fn possible_kinds(&self) -> Vec<Kind> {
        match (self.is, &self.kind, self.sign) {
            (Some(kind), ..) => return vec![kind],
            (None, None, Sign::Out) => return vec![Kind::Sale],
            (None, None, Sign::In) => return vec![Kind::Restock],
            _ => {}
        }
        let by_kind = self.kinds.by_kind();
        by_kind.iter().filter(|(_, words)| !words.is_empty()).map(|(kind, _)| *kind).collect()
    }

    /// Whether every kind has one word: only then does a key with the kind's
    /// column hold for the kind itself.
    pub fn has_one_word_a_kind(&self) -> bool {
        self.kinds.by_kind().iter().all(|(_, words)| words.len() <= 1)
    }

    /// Whether entries can be told to be refusals.
    pub fn records_refusals(&self) -> bool {
        !self.refused.is_empty()
    }

    fn check(&self) -> Result<()> {
        ensure!(
            self.kind.is_some() != self.kinds.is_empty(),
            "kind (a column) and kinds (what its values mean) belong together"
        );
        ensure!(self.is.is_none() || self.kind.is_none(), "is and kind exclude each other");
        let status =
            self.status.is_some() || self.parent.as_ref().is_some_and(|parent| parent.status.is_some());
        ensure!(
            status != self.counts.is_empty(),
            "status (a column) and counts (its values that count) belong together"
        );
        ensure!(status || self.refused.is_empty(), "refused needs a status column");
        ensure!(
            (self.sign == Sign::ByDirection) == self.direction.is_some(),
            "sign = \"by-direction\" and direction belong together"
        );
        if let Some(direction) = &self.direction {
            ensure!(
                !direction.incoming.is_empty() && !direction.out.is_empty(),
                "direction: in and out need a value each"
            );
        }
        if self.sign == Sign::ByKind {
            ensure!(
                self.is.is_some() || self.kind.is_some(),
                "sign = \"by-kind\" needs kind and kinds, or is"
            );
            for kind in self.possible_kinds() {
                ensure!(
                    kind.sign().is_some(),
                    "a {} goes either way: sign = \"by-kind\" cannot tell which; use by-direction",
                    kind.as_str()
                );
            }
        }
        let mut seen: Vec<&Word> = Vec::new();
        let by_kind = self.kinds.by_kind();
        for word in by_kind.iter().flat_map(|(_, words)| words.iter()).chain(&self.kinds.ignore) {
            ensure!(!seen.contains(&word), "kinds: `{word}` means two things");
            seen.push(word);
        }
        Ok(())
    }

    /// The sign of a kind, for [`Sign::ByKind`].
    pub fn sign_of(kind: Kind) -> i8 {
        kind.sign().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[stock]\ntable = 'product'\nsku = 'id'\nunits = 'on_hand'\n\
                         [[ledger]]\ntable = 'log'\nsku = 'product_id'\nquantity = 'change'\n";

    fn error(source: &str) -> String {
        Mapping::parse("m.toml", source).unwrap_err().to_string()
    }

    #[test]
    fn the_least_mapping_is_enough() {
        let mapping = Mapping::parse("m.toml", LEAST).unwrap();
        assert_eq!((mapping.ledger.len(), mapping.ledger[0].sign), (1, Sign::Signed));
        assert_eq!(mapping.stock.sku.names(), ["id"]);
    }

    #[test]
    fn what_does_not_belong_together_is_refused_in_one_line() {
        let cases = [
            ("kind = 'type'\n", "kind (a column) and kinds"),
            ("status = 'state'\n", "status (a column) and counts"),
            ("sign = 'by-kind'\n", "needs kind and kinds"),
            ("sign = 'by-direction'\n", "and direction belong together"),
            ("sign = 'by-kind'\nis = 'count'\n", "goes either way"),
            ("refused = ['no']\n", "refused needs a status"),
            ("kind = 'k'\nkinds = { sale = ['A'], restock = ['A'] }\n", "means two things"),
            ("kinds = { sales = ['A'] }\n", "unknown key `sales`; did you mean \"sale\"?"),
            ("quanttiy = 'q'\n", "m.toml:9: unknown key `quanttiy`; did you mean \"quantity\"?"),
            ("is = 'sal'\n", "did you mean \"sale\"?"),
            ("[opening]\nfrom = 'derive'\n", "needs one [[ledger]] with a balance"),
            ("[opening]\ntable = 'o'\n", "table, sku and units belong together"),
            ("[reservations]\nsettle_within = 'soon'\n", "is not a duration"),
        ];
        for (more, expected) in cases {
            let error = error(&format!("{LEAST}{more}"));
            assert!(error.contains(expected) && error.starts_with("m.toml"), "{more:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
