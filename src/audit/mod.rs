//! Reconciles three witnesses: what the clients were told, what the ledger
//! says, and what the stock says.
//!
//! [`read`] streams the ledger and the stock out of one read-only snapshot,
//! [`scope`] says what of it could not be seen, [`orders`] and [`skus`] hold the invariants (pure), [`findings`] collects
//! what they break.

pub mod findings;
pub mod history;
pub mod key;
pub mod nodes;
pub mod orders;
pub mod read;
pub mod scope;
pub mod skus;
pub mod tables;
pub mod unread;
mod view;

pub use crate::finding::FindingKind;
pub use findings::Finding;
pub use key::Key;
pub use read::{Source, audit, audit_on, stock};

use crate::engine::recorder::Figures;
use crate::exit::Exit;
use crate::text;
use schemars::JsonSchema;
use scope::Scope;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One entry of a ledger: of our own, whose ids are numbers, or of a shop's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<K = i64> {
    /// The order it belongs to; in our own ledger, 0 for an opening balance.
    pub order_id: K,
    /// The SKU that moved.
    pub sku_id: K,
    /// What moved it: `opening`, `sale`, ...
    pub kind: String,
    /// Whether it is a refusal kept for the record.
    pub rejected: bool,
    /// Signed units.
    pub delta: i64,
    /// The stock after it, where the strategy keeps it.
    pub balance: Option<i64>,
    /// The run that wrote it.
    pub run_id: i64,
}

/// How long an audit waits for the sessions of a run to end.
pub const SESSIONS_PATIENCE: Duration = Duration::from_secs(30);

/// How much the clients' witness can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientWitness {
    /// Every answer of the run is known.
    Complete,
    /// The history file ends before the run did.
    CutShort,
    /// No answers are known: the ledger and the stock are compared alone.
    Missing,
}

/// What the three witnesses say, in units, over all SKUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Units {
    /// Units that ever existed: opening balances and whatever was added.
    pub existed: i64,
    /// Units that clients were told they had bought.
    pub told: i64,
    /// Units that the ledger records as sold, net of what came back.
    pub ledger: i64,
    /// Units that left the stock.
    pub left_stock: i64,
    /// Units in stock now.
    pub in_stock: i64,
}

/// The verdict of an audit.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AuditReport {
    /// Something was there to be judged, and no invariant is broken.
    pub passed: bool,
    /// Whether there was anything to judge.
    pub judged: bool,
    /// What the clients' witness can say.
    pub client_witness: ClientWitness,
    /// SKUs in stock or in the ledger.
    pub skus: u64,
    /// Entries in the ledger, opening balances included.
    pub entries: u64,
    /// Distinct orders, told of or in the ledger.
    pub orders: u64,
    /// What the three witnesses say.
    pub units: Units,
    /// Units sold beyond those that existed.
    pub oversold_units: u64,
    /// Orders refused while enough was there all the time.
    pub undersold_orders: u64,
    /// Units that the stock holds more than the ledger allows.
    pub lost_update_units: u64,
    /// Units that the stock lacks against the ledger.
    pub missing_entry_units: u64,
    /// The strategy's own invariants that were checked as well.
    pub invariants: u64,
    /// Acknowledged sales that the ledger does not have: *lost*, as Jepsen calls them. Here
    /// and in the next two an order counts once for each of its SKUs.
    pub lost_orders: u64,
    /// Sales that took effect more than once: *duplicated*.
    pub duplicated_orders: u64,
    /// Orders in the ledger that no client placed: *unexpected*.
    pub unexpected_orders: u64,
    /// Lost answers that the ledger shows as applied: *recovered*.
    pub unknown_recovered: u64,
    /// Lost answers that the ledger shows as not applied.
    pub unknown_not_applied: u64,
    /// Refusals of which nobody can know whether enough was there: the stock of their SKUs
    /// rose as well as fell, and balances are missing or do not form a chain.
    pub refusals_not_judged: u64,
    /// SKUs of whose answers nothing wrong was found, and no order of events that explains
    /// them, either: the search for one was given up.
    #[serde(default)]
    pub skus_not_decided: u64,
    /// Nodes of the cluster that could not be asked, and why: whether they agree is not
    /// known, so that the audit cannot pass.
    pub nodes_away: Vec<String>,
    /// What can hide rows from the audit (a view that filters, a table on another server), so
    /// that it cannot pass.
    #[serde(default)]
    pub not_seen: Vec<String>,
    /// What has to be known about the rows that were seen.
    #[serde(default)]
    pub caveats: Vec<String>,
    /// Tables whose storage engine has no transactions, each with its engine: what is found
    /// may be the engine's doing.
    #[serde(default)]
    pub without_transactions: Vec<String>,
    /// How many findings there are; the list may be a bounded part of them.
    pub findings_total: u64,
    /// The same by kind.
    pub findings_by_kind: BTreeMap<FindingKind, u64>,
    /// Broken invariants, the most units first.
    pub findings: Vec<Finding>,
}

impl AuditReport {
    /// Adds what the comparison of a cluster's nodes has shown.
    fn add_nodes(&mut self, nodes::Compared { differing, away }: nodes::Compared) {
        self.passed &= away.is_empty();
        self.nodes_away = away;
        if differing.is_empty() {
            return;
        }
        self.findings_total += differing.len() as u64;
        self.findings_by_kind.insert(FindingKind::NodesDiffer, differing.len() as u64);
        self.findings.splice(0..0, differing);
        self.passed = false;
    }

    /// Adds what could not be seen, and what has to be known about the rest.
    fn add_scope(&mut self, scope: Scope) {
        self.passed &= scope.not_seen.is_empty();
        self.not_seen = scope.not_seen;
        self.caveats = scope.caveats;
        self.blame_engines(&scope.without_transactions);
    }

    /// Names tables whose engine has no transactions as what findings may come from.
    pub fn blame_engines(&mut self, tables: &[String]) {
        let is_new = |table: &&String| !self.without_transactions.contains(table);
        let new: Vec<String> = tables.iter().filter(is_new).cloned().collect();
        for finding in &mut self.findings {
            finding.may_mean.splice(0..0, new.iter().map(|table| scope::cause(table).into()));
        }
        self.without_transactions.extend(new);
    }

    /// Adds what only the run itself can know: orders that were refused in
    /// vain because every retry repeated values that had just been refused.
    pub fn add_futile_retries(&mut self, figures: &Figures) {
        if figures.futile_orders == 0 {
            return;
        }
        let orders = text::count(figures.futile_orders, "order");
        let message = if figures.stuck_orders > 0 {
            format!(
                "{orders} ended as conflict: a loop inside one transaction re-read the same values and had them \
                 refused again each time, because the transaction's snapshot does not move; \
                 {} kept a row locked while it spun",
                text::count(figures.stuck_orders, "order")
            )
        } else {
            format!(
                "{orders} ended as conflict without a chance: each of their {} repeated the very values that \
                 had just been refused, because the retry does not read again",
                text::count(figures.futile_retries, "retry")
            )
        };
        self.findings.insert(
            0,
            Finding {
                orders: figures.futile_orders,
                order_ids: figures.futile_sample.iter().copied().map(Key::Int).collect(),
                ..Finding::new(FindingKind::FutileRetry, message)
            },
        );
        self.findings_total += 1;
        self.findings_by_kind.insert(FindingKind::FutileRetry, 1);
        self.passed = false;
    }

    /// Whether there is a finding of this kind.
    pub fn found(&self, kind: FindingKind) -> bool {
        self.findings_by_kind.contains_key(&kind)
    }

    /// Units in stock, where there is a ledger and so a stock that was judged.
    pub fn units_left(&self) -> Option<u64> {
        (self.entries > 0).then(|| u64::try_from(self.units.in_stock).unwrap_or(0))
    }

    /// How a command ends that found this.
    pub fn exit(&self) -> Exit {
        let is_whole = self.nodes_away.is_empty() && self.not_seen.is_empty();
        match (self.findings.is_empty(), self.judged && is_whole) {
            (false, _) => Exit::Violation,
            (true, true) => Exit::Held,
            (true, false) => Exit::CouldNot,
        }
    }

    /// The three witnesses in one sentence.
    pub fn explain(&self) -> String {
        if self.entries == 0 && self.invariants > 0 {
            return format!("no ledger: judged by {} alone", text::count(self.invariants, "invariant"));
        }
        let Units { existed, told, ledger, left_stock, in_stock } = self.units;
        let told = match self.client_witness {
            ClientWitness::Missing => String::new(),
            _ => format!("clients were told {} units sold, ", text::signed(told)),
        };
        format!(
            "{told}the ledger records {}, {} left the stock ({} existed, {} remain)",
            text::signed(ledger),
            text::signed(left_stock),
            text::signed(existed),
            text::signed(in_stock)
        )
    }
}
