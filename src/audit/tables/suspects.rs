//! The second look, at suspects only: their entries one by one, and what they
//! show.

use super::read::{Reading, pass, pseudonym};
use super::sql::{as_text, flag, or_null, select};
use super::sums::Sums;
use super::trace::{Trace, Traced, derived_opening, trace};
use super::{Pass, SkuSummary, moment};
use crate::audit::findings::{Collector, ORDERS_MAX};
use crate::audit::skus::SkuAudit;
use crate::audit::{Entry, Finding, FindingKind, Key};
use crate::text;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashMap};

/// SKUs that are read entry by entry; beyond them only their sums are told.
const TRACED_SKUS_MAX: usize = 5_000;

/// Entries of one SKU that are kept to follow its chain.
const TRACED_ENTRIES_MAX: u64 = 200_000;

/// SKUs that one statement names.
pub(super) const BATCH_SKUS: usize = 500;

/// Entries that one statement fetches to be looked at.
const BATCH_ENTRIES: u64 = 100_000;

/// A SKU that does not add up.
#[derive(Debug, Clone)]
pub(super) struct Suspect {
    pub(super) sku: Key,
    pub(super) stock: Option<i64>,
    /// `None` where it has to be derived from the first entry.
    pub(super) opening: Option<i64>,
    pub(super) sums: Sums,
    /// Whether its balances form no chain.
    pub(super) is_broken: bool,
}

impl Suspect {
    /// How far the stock is off, as far as the sums can tell.
    pub(super) fn drift(&self) -> u64 {
        let expected = self.opening.unwrap_or(0).saturating_add(self.sums.delta);
        match (self.stock, self.opening) {
            (Some(stock), Some(_)) => stock.abs_diff(expected).max(expected.min(0).unsigned_abs()),
            (None, Some(_)) => expected.unsigned_abs(),
            (_, None) => 0,
        }
    }
}

impl Reading<'_> {
    /// Reads suspects entry by entry and reports what they show.
    pub(super) async fn look_at(
        &mut self,
        suspects: &[Suspect],
        by_sku: &mut BTreeMap<Key, SkuSummary>,
    ) -> Result<Units> {
        let mut totals = Units::default();
        let mut pass = pass("entries of SKUs that do not add up".to_owned());
        let (traced, others) = suspects.split_at(suspects.len().min(TRACED_SKUS_MAX));
        let mut rest = traced;
        while let Some(first) = rest.first() {
            let mut entries = first.sums.entries;
            let mut size = 1;
            while size < rest.len().min(BATCH_SKUS) && entries + rest[size].sums.entries <= BATCH_ENTRIES {
                entries += rest[size].sums.entries;
                size += 1;
            }
            let (batch, after) = rest.split_at(size);
            let mut of_sku = self.entries_of(batch, &mut pass).await?;
            for suspect in batch {
                let form = self.resolved.stock.sku_form;
                let Some(read) = of_sku.remove(&form.key(suspect.sku.clone())) else { continue };
                let is_gone = suspect.stock.is_none() && suspect.drift() == 0;
                if is_gone {
                    continue;
                }
                // What was summed up must be what was read.
                let is_whole = read.count == suspect.sums.entries;
                if is_whole && (read.is_traced || suspect.opening.is_some()) {
                    self.judge(suspect, read, by_sku, &mut totals);
                } else {
                    self.judge_by_sums(suspect, by_sku, &mut totals);
                }
            }
            rest = after;
            let done = (traced.len() - rest.len()) as u64;
            (self.on_progress)("looking at what does not add up", done, traced.len() as u64);
        }
        if pass.statements > 0 {
            self.passes.push(pass);
        }
        for suspect in others {
            self.judge_by_sums(suspect, by_sku, &mut totals);
        }
        if !others.is_empty() {
            self.not_checked.push(format!(
                "the entries of {}: only the {} that are furthest off were read entry by entry",
                text::count(others.len() as u64, "more SKU"),
                text::thousands(TRACED_SKUS_MAX as u64)
            ));
        }
        Ok(totals)
    }

    async fn entries_of(&mut self, batch: &[Suspect], pass: &mut Pass) -> Result<HashMap<Key, SkuEntries>> {
        let (dialect, form) = (self.resolved.dialect, self.resolved.stock.sku_form);
        let keys: Vec<String> = batch.iter().map(|suspect| suspect.sku.literal(dialect)).collect();
        let mut of_sku: HashMap<Key, SkuEntries> = batch
            .iter()
            .map(|suspect| {
                let is_traced = suspect.sums.entries <= TRACED_ENTRIES_MAX;
                let sku =
                    SkuAudit::opened_at(suspect.sku.clone(), suspect.stock, suspect.opening.unwrap_or(0));
                (
                    form.key(suspect.sku.clone()),
                    SkuEntries { audit: sku, entries: Vec::new(), is_traced, count: 0 },
                )
            })
            .collect();
        for ledger in &self.resolved.ledgers {
            let id = ledger.id.as_ref().map(|id| as_text(dialect, &id.key));
            let columns = [
                ledger.sku.clone(),
                or_null(id.as_ref()),
                or_null(ledger.order.as_ref()),
                ledger.kind.clone(),
                flag(ledger.refused.as_deref()),
                ledger.delta.clone(),
                or_null(ledger.balance.as_ref().map(|(balance, _)| balance)),
                or_null(ledger.time.as_ref()),
            ];
            let which = format!("{} IN ({})", ledger.sku, keys.join(", "));
            let sql = format!(
                "SELECT {} FROM {}{} ORDER BY {}",
                select(&columns),
                ledger.from,
                self.condition(ledger, Some(&which)),
                ledger.sequence
            );
            let redact = self.asked.redact;
            let is_order = ledger.id.as_ref().is_some_and(|id| ledger.order.as_ref() == Some(&id.key));
            let mut pseudonyms = std::mem::take(&mut self.pseudonyms);
            let read = self
                .query(&sql, pass, |row| {
                    let Some(sku) = Key::of(&row[0]) else { return Ok(()) };
                    let order = Key::of(&row[2]).map(|order| pseudonym(&mut pseudonyms, order, redact));
                    let Some(known) = of_sku.get_mut(&form.key(sku.clone())) else { return Ok(()) };
                    known.add(Traced {
                        // Some shops use one id for both.
                        id: if redact && is_order { String::new() } else { row[1].to_text() },
                        has_order: order.is_some(),
                        at: moment::of(&row[7]),
                        entry: Entry {
                            order_id: order.unwrap_or_else(|| Key::Text("?".into())),
                            sku_id: sku,
                            kind: row[3].to_text(),
                            rejected: row[4].as_int() == Some(1),
                            delta: row[5].as_int().unwrap_or(0),
                            balance: row[6].as_int(),
                            run_id: 0,
                        },
                    });
                    Ok(())
                })
                .await;
            self.pseudonyms = pseudonyms;
            read.with_context(|| format!("cannot read the entries of {}", ledger.name))?;
        }
        Ok(of_sku)
    }

    /// Judges a SKU by its entries.
    fn judge(
        &mut self,
        suspect: &Suspect,
        read: SkuEntries,
        by_sku: &mut BTreeMap<Key, SkuSummary>,
        totals: &mut Units,
    ) {
        let opening = suspect.opening.unwrap_or_else(|| derived_opening(&read.entries));
        let mut audit = read.audit;
        if suspect.opening.is_none() {
            // Only now is it known where the ledger begins.
            audit = SkuAudit::opened_at(suspect.sku.clone(), suspect.stock, opening);
            read.entries.iter().for_each(|entry| audit.entry(&entry.entry));
        }
        let found = if read.is_traced { trace(&read.entries, opening) } else { Trace::default() };
        let mut collected = Collector::of_every_finding(self.asked.full);
        let judged = audit.finish(0, &mut collected);
        totals.oversold += judged.oversold.unsigned_abs();
        totals.lost_update += judged.lost_update.unsigned_abs();
        totals.missing_entry += judged.missing_entry.unsigned_abs();
        let spanned = |finding: &mut Finding, at: &Option<(String, String)>| {
            (finding.first_at, finding.last_at) = at.clone().unzip();
        };
        let all_at = || {
            let moments = || read.entries.iter().filter_map(|entry| entry.at.clone());
            moments().min().zip(moments().max())
        };
        let (_, findings) = collected.finish();
        let mut went_below = found.below_zero.clone();
        for mut finding in findings {
            match finding.kind {
                FindingKind::BalanceChain
                | FindingKind::LostUpdate
                | FindingKind::MissingEntry
                | FindingKind::EntryWithoutMovement => {
                    spanned(&mut finding, &found.at);
                    finding.evidence.clone_from(&found.evidence);
                }
                FindingKind::NegativeStock | FindingKind::Oversold => {
                    spanned(&mut finding, &found.below_zero_at);
                    finding.evidence.extend(went_below.take());
                }
                FindingKind::UnknownSku => {
                    spanned(&mut finding, &all_at());
                    let orders = read.entries.iter().filter(|entry| entry.has_order);
                    let mut orders: Vec<Key> = orders.map(|entry| entry.entry.order_id.clone()).collect();
                    orders.dedup();
                    finding.orders = orders.len() as u64;
                    orders.truncate(if self.asked.full { usize::MAX } else { ORDERS_MAX });
                    finding.order_ids = orders;
                }
                _ => {}
            }
            self.findings.sku(finding);
        }
        // The stock is sound by now, and was not all the time.
        if let Some(below) = went_below
            && suspect.stock.is_some_and(|stock| stock >= 0)
        {
            let balance = below.balance.unwrap_or(0);
            let lowest = suspect.sums.lowest.unwrap_or(balance);
            let message = format!(
                "SKU {}: the stock is {} now and went below zero before: to {lowest}",
                suspect.sku,
                suspect.stock.unwrap_or(0)
            );
            let mut finding = Finding {
                sku_id: Some(suspect.sku.clone()),
                units: lowest.unsigned_abs(),
                evidence: vec![below],
                ..Finding::new(FindingKind::NegativeStock, message)
            };
            spanned(&mut finding, &found.below_zero_at);
            self.findings.sku(finding);
        }
        let ledger = opening.saturating_add(suspect.sums.delta);
        by_sku.insert(suspect.sku.clone(), summary(suspect, Some(ledger)));
    }

    /// Judges a SKU by its sums alone.
    fn judge_by_sums(
        &mut self,
        suspect: &Suspect,
        by_sku: &mut BTreeMap<Key, SkuSummary>,
        totals: &mut Units,
    ) {
        let sku = &suspect.sku;
        let mut report = |kind, units: u64, message: String| {
            self.findings.sku(Finding { sku_id: Some(sku.clone()), units, ..Finding::new(kind, message) });
        };
        let ledger = suspect.opening.map(|opening| opening.saturating_add(suspect.sums.delta));
        by_sku.insert(sku.clone(), summary(suspect, ledger));
        let Some(stock) = suspect.stock else {
            let message = format!("SKU {sku} is in the ledger and has no stock row");
            return report(FindingKind::UnknownSku, suspect.sums.delta.unsigned_abs(), message);
        };
        if stock < 0 {
            report(FindingKind::NegativeStock, stock.unsigned_abs(), format!("SKU {sku}: stock is {stock}"));
        }
        if let Some(sold) = ledger.filter(|ledger| *ledger < 0).map(i64::unsigned_abs) {
            totals.oversold += sold;
            report(FindingKind::Oversold, sold, format!("SKU {sku}: {} oversold", text::count(sold, "unit")));
        }
        if suspect.is_broken {
            let message = format!("SKU {sku}: its balances do not form one chain");
            report(FindingKind::BalanceChain, 0, message);
        }
        let is_oversold = ledger.is_some_and(|ledger| ledger < 0);
        let went_below = suspect.sums.lowest.filter(|lowest| *lowest < 0 && stock >= 0 && !is_oversold);
        if let Some(lowest) = went_below {
            let message =
                format!("SKU {sku}: the stock is {stock} now and went below zero before: to {lowest}");
            totals.oversold += lowest.unsigned_abs();
            report(FindingKind::Oversold, lowest.unsigned_abs(), message);
        }
        let Some(ledger) = ledger.filter(|ledger| *ledger != stock) else { return };
        let units = stock.abs_diff(ledger);
        let (kind, how) = if stock > ledger {
            totals.lost_update += units;
            (FindingKind::LostUpdate, "recorded and not taken")
        } else {
            totals.missing_entry += units;
            (FindingKind::MissingEntry, "left the stock without an entry")
        };
        let difference = text::count(units, "unit");
        report(
            kind,
            units,
            format!("SKU {sku}: stock is {stock}, its ledger adds up to {ledger}: {difference} {how}"),
        );
    }
}

/// Units over all SKUs.
#[derive(Debug, Default)]
pub(super) struct Units {
    pub(super) oversold: u64,
    pub(super) lost_update: u64,
    pub(super) missing_entry: u64,
}

/// The entries of one suspect, judged as they come.
#[derive(Debug)]
struct SkuEntries {
    audit: SkuAudit<Key>,
    entries: Vec<Traced>,
    is_traced: bool,
    count: u64,
}

impl SkuEntries {
    fn add(&mut self, entry: Traced) {
        self.count += 1;
        self.audit.entry(&entry.entry);
        if self.is_traced {
            self.entries.push(entry);
        }
    }
}

fn summary(suspect: &Suspect, ledger: Option<i64>) -> SkuSummary {
    SkuSummary {
        sku_id: suspect.sku.clone(),
        stock: suspect.stock,
        ledger,
        kinds: Vec::new(),
        units: 0,
        first_at: None,
        last_at: None,
    }
}
