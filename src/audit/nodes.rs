//! Whether the nodes of a cluster hold the same once replication is idle.
//!
//! Each node adds up its own stock and ledger, SKU by SKU. A node may be behind for
//! a while; what still differs when patience is over is a finding.

use super::read::{Source, stock};
use super::{Finding, FindingKind, Key};
use crate::db::{Database, Session, SessionSettings, Value};
use crate::text;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long nodes may be behind before it counts.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often they are asked.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Findings, at most: every SKU of a node that is behind would be one.
const FINDINGS_MAX: usize = 20;

/// What a node holds of a SKU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Held {
    stock: Option<i64>,
    entries: i64,
    moved: i64,
}

type Holdings = BTreeMap<i64, Held>;

/// Waits until all nodes that answer hold the same; returns what still differs
/// then, and the nodes that do not answer. One server by itself always agrees.
///
/// # Errors
/// No node answers, or one of them cannot be read.
pub async fn in_step(database: &Database, source: &Source) -> Result<(Vec<Finding>, Vec<String>)> {
    if database.url().node_count() == 1 {
        return Ok((Vec::new(), Vec::new()));
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut held: Vec<(String, Holdings)> = Vec::new();
        let mut away = Vec::new();
        for (url, node) in database.each_node().await {
            match node {
                Ok(node) => match holdings(&node, source).await {
                    Ok(holdings) => held.push((url.to_string(), holdings)),
                    // A node that has not heard of the tables yet is behind.
                    Err(_) if Instant::now() < deadline => held.push((url.to_string(), Holdings::new())),
                    Err(error) => return Err(error.context(format!("cannot read {url}"))),
                },
                Err(_) => away.push(url.to_string()),
            }
        }
        let (first, others) = held.split_first().context("no node of the cluster answers")?;
        if others.iter().all(|(_, holdings)| *holdings == first.1) {
            return Ok((Vec::new(), away));
        }
        if Instant::now() >= deadline {
            let differing = others.iter().flat_map(|other| differences(first, other));
            return Ok((differing.take(FINDINGS_MAX).collect(), away));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn holdings(node: &Database, source: &Source) -> Result<Holdings> {
    let settings = SessionSettings { read_only: true, ..SessionSettings::default() };
    let mut session = node.open(&settings).await?;
    let read = read(session.as_mut(), source).await;
    session.close().await;
    read
}

async fn read(session: &mut dyn Session, source: &Source) -> Result<Holdings> {
    let mut held = Holdings::new();
    for (sku_id, units) in stock(session, source).await? {
        held.entry(sku_id).or_default().stock = Some(units);
    }
    if let Some(ledger) = source.reads.ledger.as_table() {
        let sql = format!("SELECT sku_id, COUNT(*), SUM(delta) FROM {ledger} GROUP BY sku_id");
        let mut keep = |row: &[Value]| {
            let number = |at: usize| row[at].to_text().parse::<i64>().context("a sum is a whole number");
            let of_sku = held.entry(number(0)?).or_default();
            (of_sku.entries, of_sku.moved) = (number(1)?, number(2)?);
            Ok(())
        };
        session.for_each_row(&sql, &mut keep).await?;
    }
    Ok(held)
}

fn differences<'h>(
    (home, here): &'h (String, Holdings),
    (node, there): &'h (String, Holdings),
) -> impl Iterator<Item = Finding> + 'h {
    let skus: BTreeSet<i64> = here.keys().chain(there.keys()).copied().collect();
    let differing = skus.into_iter().filter(|sku| here.get(sku) != there.get(sku));
    differing.map(move |sku_id| {
        let of = |holdings: &Holdings| holdings.get(&sku_id).copied().unwrap_or_default();
        let in_words = |held: Held| {
            let units =
                held.stock.map_or_else(|| "no stock row".to_owned(), |units| format!("{units} in stock"));
            format!("{units} and {}", text::count(held.entries.unsigned_abs(), "entry"))
        };
        let (here, there) = (of(here), of(there));
        let units = here.stock.unwrap_or(0).abs_diff(there.stock.unwrap_or(0));
        let message = format!(
            "SKU {sku_id}: {home} holds {}, {node} {}: the nodes do not agree",
            in_words(here),
            in_words(there)
        );
        Finding { sku_id: Some(Key::Int(sku_id)), units, ..Finding::new(FindingKind::NodesDiffer, message) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_with_its_units() {
        let held = |stock, entries, moved| Held { stock: Some(stock), entries, moved };
        let node =
            |name: &str, of: &[(i64, Held)]| (name.to_owned(), of.iter().copied().collect::<Holdings>());
        let one = node("one", &[(1, held(5, 2, 5)), (2, held(7, 1, 7))]);
        let other = node("other", &[(1, held(5, 2, 5)), (2, held(4, 2, 4)), (3, held(1, 1, 1))]);
        assert_eq!(differences(&one, &one).count(), 0);
        let found: Vec<Finding> = differences(&one, &other).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].units, &found[0].sku_id), (3, &Some(Key::Int(2))));
        assert_eq!(
            found[0].message,
            "SKU 2: one holds 7 in stock and 1 entry, other 4 in stock and 2 entries: the nodes do not agree"
        );
    }
}
