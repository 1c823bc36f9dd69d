//! Findings: one per invariant and SKU, with its units, its orders and a
//! sentence that claims no more than was seen.

use super::Key;
use crate::finding::FindingKind;
use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// One broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Which invariant.
    pub kind: FindingKind,
    /// The SKU it is about, where it is about one.
    pub sku_id: Option<Key>,
    /// How many orders are concerned, where that can be told.
    pub orders: u64,
    /// Those orders, or the first few of them.
    pub order_ids: Vec<Key>,
    /// Units concerned.
    pub units: u64,
    /// When it happened first, as the database has it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_at: Option<String>,
    /// When it happened last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<String>,
    /// What happened, in a sentence: what is certain.
    pub message: String,
    /// What it may mean: candidate causes, and what tells them apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub may_mean: Vec<Cow<'static, str>>,
    /// The entries that show it, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
}

/// One entry that a finding rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// What it has to do with the finding.
    pub role: Cow<'static, str>,
    /// Its id in the ledger, if it has one.
    pub entry_id: String,
    /// Its order, if it has one.
    pub order_id: Option<Key>,
    /// What moved: `sale`, `restock`, ...
    pub kind: String,
    /// Signed units.
    pub delta: i64,
    /// The stock after it.
    pub balance: Option<i64>,
    /// When, as the database has it.
    pub at: Option<String>,
}

impl Finding {
    /// A finding about nothing in particular yet.
    pub fn new(kind: FindingKind, message: String) -> Self {
        Self {
            kind,
            sku_id: None,
            orders: 0,
            order_ids: Vec::new(),
            units: 0,
            first_at: None,
            last_at: None,
            message,
            may_mean: kind.may_mean().iter().map(|&cause| cause.into()).collect(),
            evidence: Vec::new(),
        }
    }
}

/// Collects findings: counts are exact, lists are bounded unless asked for.
#[derive(Debug)]
pub struct Collector {
    orders_max: usize,
    findings_max: usize,
    by_order: BTreeMap<(FindingKind, Key), OrderFinding>,
    by_sku: Vec<Finding>,
    total_by_sku: BTreeMap<FindingKind, u64>,
}

#[derive(Debug, Default)]
struct OrderFinding {
    orders: u64,
    order_ids: Vec<Key>,
    units: u64,
    at: Option<(String, String)>,
}

/// Orders listed with a finding unless the full list is asked for.
pub(super) const ORDERS_MAX: usize = 10;

/// Findings listed unless the full list is asked for.
const FINDINGS_MAX: usize = 1_000;

impl Collector {
    /// A collector of bounded lists, or of full ones.
    pub fn new(full: bool) -> Self {
        let bounded = |max| if full { usize::MAX } else { max };
        Self {
            orders_max: bounded(ORDERS_MAX),
            findings_max: bounded(FINDINGS_MAX),
            by_order: BTreeMap::new(),
            by_sku: Vec::new(),
            total_by_sku: BTreeMap::new(),
        }
    }

    /// A collector of every finding, each with a few of its orders or all.
    pub fn of_every_finding(full: bool) -> Self {
        Self { findings_max: usize::MAX, ..Self::new(full) }
    }

    /// An order breaks an invariant at a SKU.
    pub fn order(&mut self, kind: FindingKind, sku_id: impl Into<Key>, order_id: impl Into<Key>, units: i64) {
        self.order_at(kind, sku_id.into(), order_id.into(), units, None);
    }

    /// The same, from one moment to another.
    pub fn order_at(
        &mut self,
        kind: FindingKind,
        sku_id: Key,
        order_id: Key,
        units: i64,
        at: Option<(String, String)>,
    ) {
        let finding = self.by_order.entry((kind, sku_id)).or_default();
        finding.orders += 1;
        finding.units += units.unsigned_abs();
        if finding.order_ids.len() < self.orders_max {
            finding.order_ids.push(order_id);
        }
        finding.at = match (finding.at.take(), at) {
            (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
            (one, other) => one.or(other),
        };
    }

    /// A SKU breaks an invariant.
    pub fn sku(&mut self, finding: Finding) {
        *self.total_by_sku.entry(finding.kind).or_default() += 1;
        if self.by_sku.len() < self.findings_max {
            self.by_sku.push(finding);
        }
    }

    /// A strategy's own invariant is broken.
    pub fn invariant(&mut self, order_id: Option<i64>, message: String) {
        self.sku(Finding {
            orders: order_id.into_iter().len() as u64,
            order_ids: order_id.into_iter().map(Key::Int).collect(),
            ..Finding::new(FindingKind::Invariant, message)
        });
    }

    /// Orders concerned by findings of a kind.
    pub fn orders_of(&self, wanted: FindingKind) -> u64 {
        self.by_order.iter().filter(|((kind, _), _)| *kind == wanted).map(|(_, finding)| finding.orders).sum()
    }

    /// How many findings there are by kind, and the list of them: the most
    /// units first.
    pub fn finish(self) -> (BTreeMap<FindingKind, u64>, Vec<Finding>) {
        let mut totals = self.total_by_sku;
        for (kind, _) in self.by_order.keys() {
            *totals.entry(*kind).or_default() += 1;
        }
        let by_order = self.by_order.into_iter().map(|((kind, sku_id), finding)| {
            let message = order_message(kind, &sku_id, &finding);
            let (first_at, last_at) = finding.at.unzip();
            Finding {
                sku_id: Some(sku_id),
                orders: finding.orders,
                order_ids: finding.order_ids,
                units: finding.units,
                first_at,
                last_at,
                ..Finding::new(kind, message)
            }
        });
        let mut findings: Vec<Finding> = self.by_sku.into_iter().chain(by_order).collect();
        findings.sort_by(|one, other| {
            let rank = |finding: &Finding| (finding.kind, std::cmp::Reverse(finding.units));
            rank(one).cmp(&rank(other)).then_with(|| one.sku_id.cmp(&other.sku_id))
        });
        findings.truncate(self.findings_max);
        (totals, findings)
    }
}

fn order_message(kind: FindingKind, sku_id: &Key, finding: &OrderFinding) -> String {
    let orders = text::count(finding.orders, "order");
    let units = text::count(finding.units, "unit");
    match kind {
        FindingKind::DuplicateEntry => {
            format!(
                "SKU {sku_id}: {orders} with more than one entry of the same kind: {units} deducted again"
            )
        }
        FindingKind::HalfOrder => {
            format!(
                "SKU {sku_id}: {orders} sold in part: {units} of this SKU are missing from an order whose other lines were sold"
            )
        }
        FindingKind::WrongQuantity => {
            format!("SKU {sku_id}: {orders} whose entries differ from what was ordered, by {units}")
        }
        FindingKind::LostSale => {
            format!(
                "SKU {sku_id}: {orders} told \"deducted\" and not in the ledger: {units} sold without an entry"
            )
        }
        FindingKind::SoldAgain => {
            format!(
                "SKU {sku_id}: {orders} sold to clients whose first order, the answer of which was lost, had been \
                 sold as well: {units} too many"
            )
        }
        FindingKind::RefusedButSold => {
            format!("SKU {sku_id}: {orders} refused to the client and sold in the ledger: {units}")
        }
        FindingKind::UnexpectedOrder => {
            format!("SKU {sku_id}: {orders} in the ledger of this run that no client placed: {units}")
        }
        FindingKind::RejectedMoved => {
            format!("SKU {sku_id}: {orders} recorded as rejected and moving stock all the same: {units}")
        }
        FindingKind::DuplicateWithoutEntry => {
            format!(
                "SKU {sku_id}: {orders} answered as decided before, and the ledger has no decision ({units})"
            )
        }
        FindingKind::TwoAnswers => {
            format!("SKU {sku_id}: {orders} told both that it was sold and that it was not: {units}")
        }
        FindingKind::DoubleRelease => {
            format!("SKU {sku_id}: {orders} that gave back more than was taken: {units}")
        }
        FindingKind::ConfirmedAndReleased => {
            format!("SKU {sku_id}: {orders} whose reservation was confirmed and released as well: {units}")
        }
        FindingKind::UnsettledReservation => {
            format!(
                "SKU {sku_id}: {orders} whose reservation was neither confirmed nor released: {units} held"
            )
        }
        FindingKind::Undersold => {
            format!(
                "SKU {sku_id}: {orders} refused as sold out while enough was in stock all the time: {units}"
            )
        }
        FindingKind::ReleaseWithoutReserve => {
            format!("SKU {sku_id}: {orders} that gave back what was never taken: {units}")
        }
        FindingKind::RefusedTooEarly => {
            format!("SKU {sku_id}: {orders} refused as sold out before the stock could have run out: {units}")
        }
        FindingKind::StaleBalance => {
            format!("SKU {sku_id}: {orders} told a balance that no order of the sales explains: {units}")
        }
        FindingKind::RealTime => {
            format!(
                "SKU {sku_id}: {orders} whose place in the chain of balances contradicts when they were \
                 placed and answered: {units}"
            )
        }
        _ => format!("SKU {sku_id}: {orders}, {units}"),
    }
}
