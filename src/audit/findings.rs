//! Findings: one per invariant and SKU, with its units, its orders and a
//! sentence that claims no more than was seen.

use crate::finding::FindingKind;
use crate::text;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// One broken invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// Which invariant.
    pub kind: FindingKind,
    /// The SKU it is about, where it is about one.
    pub sku_id: Option<i64>,
    /// How many orders are concerned, where that can be told.
    pub orders: u64,
    /// Those orders, or the first few of them.
    pub order_ids: Vec<i64>,
    /// Units concerned.
    pub units: u64,
    /// What happened, in a sentence.
    pub message: String,
}

/// Collects findings: counts are exact, lists are bounded unless asked for.
#[derive(Debug)]
pub struct Collector {
    orders_max: usize,
    findings_max: usize,
    by_order: BTreeMap<(FindingKind, i64), OrderFinding>,
    by_sku: Vec<Finding>,
    total_by_sku: BTreeMap<FindingKind, u64>,
}

#[derive(Debug, Default)]
struct OrderFinding {
    orders: u64,
    order_ids: Vec<i64>,
    units: u64,
}

/// Orders listed with a finding unless the full list is asked for.
const ORDERS_MAX: usize = 10;

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

    /// An order breaks an invariant at a SKU.
    pub fn order(&mut self, kind: FindingKind, sku_id: i64, order_id: i64, units: i64) {
        let finding = self.by_order.entry((kind, sku_id)).or_default();
        finding.orders += 1;
        finding.units += units.unsigned_abs();
        if finding.order_ids.len() < self.orders_max {
            finding.order_ids.push(order_id);
        }
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
            kind: FindingKind::Invariant,
            sku_id: None,
            orders: order_id.into_iter().len() as u64,
            order_ids: order_id.into_iter().collect(),
            units: 0,
            message,
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
        let by_order = self.by_order.into_iter().map(|((kind, sku_id), finding)| Finding {
            kind,
            sku_id: Some(sku_id),
            message: order_message(kind, sku_id, &finding),
            orders: finding.orders,
            order_ids: finding.order_ids,
            units: finding.units,
        });
        let mut findings: Vec<Finding> = self.by_sku.into_iter().chain(by_order).collect();
        findings.sort_by_key(|finding| (finding.kind, std::cmp::Reverse(finding.units), finding.sku_id));
        findings.truncate(self.findings_max);
        (totals, findings)
    }
}

fn order_message(kind: FindingKind, sku_id: i64, finding: &OrderFinding) -> String {
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
        _ => format!("SKU {sku_id}: {orders}, {units}"),
    }
}
