//! The audit of a shop's own tables: a mapping says which they are, one
//! read-only snapshot is summed up by the database itself, and only what does
//! not add up is looked at entry by entry.
//!
//! In reading order: [`mapping`] the file, [`resolve`] the file held against
//! the database, [`sql`] what queries are made of, [`fingerprint`] what tells a whole chain, [`read`] the snapshot and its limits, `sums` what does not add
//! up, `suspects` a closer look at it, [`trace`] where a chain of balances
//! breaks (pure), `orders` what orders break by themselves, [`moment`] when,
//! [`repair`] what would mend it,
//! [`init`] a first mapping for a database.

pub mod fingerprint;
pub mod init;
pub mod mapping;
pub mod moment;
mod orders;
pub mod read;
pub mod repair;
pub mod resolve;
pub mod sql;
mod sums;
mod suspects;
pub mod trace;

pub use mapping::Mapping;
pub use read::{Asked, Limits, audit};

use super::{Finding, FindingKind, Key};
use crate::exit::Exit;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// The verdict on a shop's own tables.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TableAudit {
    /// Something was there to be judged, and no invariant is broken.
    pub passed: bool,
    /// Whether there was anything to judge.
    pub judged: bool,
    /// The instant that all of it is of, in UTC.
    pub taken_at: String,
    /// Where the server stood: a log position or a set of transactions.
    pub position: Option<String>,
    /// Whether the server follows another one.
    pub is_replica: Option<bool>,
    /// Seconds that it was behind, where it says so.
    pub replica_lag_s: Option<f64>,
    /// SKUs in stock or in the ledger.
    pub skus: u64,
    /// Entries that were summed up.
    pub entries: u64,
    /// Units in stock.
    pub in_stock: i64,
    /// Units that the ledger says must be in stock.
    pub by_ledger: i64,
    /// Units sold beyond those that existed.
    pub oversold_units: u64,
    /// Units that the stock holds more than the ledger allows.
    pub lost_update_units: u64,
    /// Units that the stock lacks against the ledger.
    pub missing_entry_units: u64,
    /// What was not looked at, because nobody asked for it or the mapping does not say how.
    pub not_checked: Vec<String>,
    /// What can hide rows from the audit, or was cut short, so that it cannot pass.
    pub not_seen: Vec<String>,
    /// What has to be known about the rows that were seen.
    pub caveats: Vec<String>,
    /// Tables whose storage engine has no transactions, each with its engine: what is found
    /// may be the engine's doing.
    pub without_transactions: Vec<String>,
    /// What the reading took, pass by pass.
    pub passes: Vec<Pass>,
    /// How many SKUs have findings that are shown.
    pub broken_skus: u64,
    /// Those SKUs, or the first of them, the most units first.
    pub by_sku: Vec<SkuSummary>,
    /// Findings left out by --since and --until.
    pub hidden: u64,
    /// How many findings there are; the list may be a bounded part of them.
    pub findings_total: u64,
    /// The same by kind.
    pub findings_by_kind: BTreeMap<FindingKind, u64>,
    /// Broken invariants, the most units first.
    pub findings: Vec<Finding>,
}

/// What one pass over the tables took.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Pass {
    /// What it was for.
    pub name: String,
    /// Statements it sent.
    pub statements: u64,
    /// Rows that came back.
    pub rows: u64,
    /// How long it took.
    pub seconds: f64,
}

/// A SKU that does not add up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SkuSummary {
    /// The SKU.
    pub sku_id: Key,
    /// Units in stock; nothing where it has no row, or where only its orders
    /// break something and its sums agree.
    pub stock: Option<i64>,
    /// Units that the ledger says must be there; nothing where its opening
    /// balance is not known, or as above.
    pub ledger: Option<i64>,
    /// What was found.
    pub kinds: Vec<FindingKind>,
    /// The most units that one of the findings is about.
    pub units: u64,
    /// When it happened first, where that is known.
    pub first_at: Option<String>,
    /// When it happened last.
    pub last_at: Option<String>,
}

/// Findings and SKUs that are listed unless all of them are asked for.
const LISTED_MAX: usize = 1_000;

impl TableAudit {
    /// Bounds the lists; the counts stay whole.
    pub fn shorten(&mut self) {
        self.findings.truncate(LISTED_MAX);
        self.by_sku.truncate(LISTED_MAX);
    }

    /// How the command ends that found this.
    pub fn exit(&self) -> Exit {
        // What is not shown was found all the same.
        match (self.findings_total + self.hidden > 0, self.judged && self.not_seen.is_empty()) {
            (true, _) => Exit::Violation,
            (false, true) => Exit::Held,
            (false, false) => Exit::CouldNot,
        }
    }
}
