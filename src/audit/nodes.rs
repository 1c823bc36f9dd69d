//! Whether the nodes of a cluster hold the same once replication is idle.
//!
//! Each node adds up its own stock and ledger, SKU by SKU. A node may be behind for
//! a while; what still differs when nothing moves any more is a finding. A node that has
//! left its cluster, or does not answer, has no say: it is named, and nobody can know
//! whether it agrees.

use super::read::{Source, stock};
use super::{Finding, FindingKind, Key};
use crate::db::{
    Database, DatabaseUrl, DbError, Dialect, ErrorClass, Session, SessionSettings, Value, first_row,
};
use crate::text;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long nodes may differ while none of them changes, before it counts.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long they may differ at all.
const PATIENCE_MAX: Duration = Duration::from_secs(600);

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
    /// Differs where entries of the same size are of other orders.
    fingerprint: i128,
}

type Holdings = BTreeMap<i64, Held>;

/// What a comparison of nodes came to.
#[derive(Debug, Default)]
pub struct Compared {
    /// What they still differ in.
    pub differing: Vec<Finding>,
    /// Nodes that could not be asked, and why.
    pub away: Vec<String>,
}

/// Waits until all nodes that can be asked hold the same; says what still differs
/// then. One server by itself always agrees.
///
/// # Errors
/// No node answers, or one of them cannot be read.
pub async fn in_step(database: &Database, source: &Source) -> Result<Compared> {
    if database.url().node_count() == 1 {
        return Ok(Compared::default());
    }
    let begun = Instant::now();
    let (mut last, mut moved) = (Vec::new(), begun);
    loop {
        let is_over = moved.elapsed() >= PATIENCE || begun.elapsed() >= PATIENCE_MAX;
        let (mut held, mut away) = (Vec::new(), Vec::new());
        for (url, node) in database.each_node().await {
            match ask(&url, node, source, is_over).await? {
                Ok(holdings) => held.push((url.to_string(), holdings)),
                Err(why) => away.push(format!("{url} ({why})")),
            }
        }
        ensure!(!held.is_empty(), "no node of the cluster can be asked: {}", away.join(", "));
        let known: Vec<(&String, &Holdings)> =
            held.iter().filter_map(|(url, holdings)| Some((url, holdings.as_ref()?))).collect();
        if known.len() == held.len() && known.iter().all(|(_, holdings)| *holdings == known[0].1) {
            return Ok(Compared { differing: Vec::new(), away });
        }
        if is_over {
            let differing = known[1..].iter().flat_map(|other| differences(known[0], *other));
            return Ok(Compared { differing: differing.take(FINDINGS_MAX).collect(), away });
        }
        if held != last {
            (last, moved) = (held, Instant::now());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// A session that reads on the first node that has not left its cluster, as far as one is
/// there.
///
/// # Errors
/// No node answers.
pub async fn open(database: &Database) -> Result<Box<dyn Session>> {
    for node in 0..database.url().node_count() {
        let Ok(mut session) = database.open_on(node, &SessionSettings::READ_ONLY).await else { continue };
        if left(session.as_mut(), database.dialect()).await.is_none() {
            return Ok(session);
        }
        session.close().await;
    }
    Ok(database.open(&SessionSettings::READ_ONLY).await?)
}

/// Waits until all nodes hold the same.
///
/// # Errors
/// One that names what they differ in, or a node that could not be asked.
pub async fn must_agree(database: &Database, source: &Source) -> Result<()> {
    let Compared { differing, away } = in_step(database, source).await?;
    ensure!(away.is_empty(), "a node of the cluster is not there: {}", away.join(", "));
    let differs = differing.first().map(|finding| &finding.message);
    ensure!(differs.is_none(), "before the first order: {}", differs.map_or("", String::as_str));
    Ok(())
}

/// What a node holds, or why it has no say; nothing of one that has not heard of the
/// tables yet, which is behind and agrees with nobody.
async fn ask(
    url: &DatabaseUrl,
    node: Result<Database>,
    source: &Source,
    is_over: bool,
) -> Result<Result<Option<Holdings>, String>> {
    let node = match node {
        Ok(node) => node,
        // It is there: a standby cancels queries that are in the way of what it repeats.
        Err(error) if !is_over && is_cancelled(&error) => return Ok(Ok(None)),
        Err(error) => return Ok(Err(text::one_line(&format!("{error:#}")))),
    };
    match holdings(&node, source).await {
        Ok(holdings) => Ok(holdings.map(Some)),
        Err(_) if !is_over => Ok(Ok(None)),
        Err(error) => Err(error.context(format!("cannot read {url}"))),
    }
}

fn is_cancelled(error: &anyhow::Error) -> bool {
    let class = error.downcast_ref::<DbError>().map(|error| error.class);
    matches!(class, Some(ErrorClass::Retry | ErrorClass::Cancelled))
}

async fn holdings(node: &Database, source: &Source) -> Result<Result<Holdings, String>> {
    let mut session = node.open(&SessionSettings::READ_ONLY).await?;
    let held = match left(session.as_mut(), node.dialect()).await {
        Some(state) => Ok(Err(format!("it has left its cluster: {state}"))),
        None => read(session.as_mut(), node, source).await.map(Ok),
    };
    session.close().await;
    held
}

/// The state of a node that goes on answering without its cluster; none where it is a
/// member of one, of no cluster that we know, or does not let itself be asked.
async fn left(session: &mut dyn Session, dialect: Dialect) -> Option<String> {
    let states = match dialect {
        Dialect::MySql => {
            // One that was started again and has not joined has no name there, either.
            "SELECT member_state FROM performance_schema.replication_group_members \
             WHERE member_id IN (@@server_uuid, '') AND member_state NOT IN ('ONLINE', 'RECOVERING') \
             AND @@GLOBAL.group_replication_group_name <> ''"
        }
        // One that has never been in a cluster is as disconnected as one that has left it.
        Dialect::MariaDb => {
            "SELECT variable_value FROM information_schema.global_status \
             WHERE variable_name = 'WSREP_CLUSTER_STATUS' AND variable_value NOT IN ('Primary', '') \
             AND @@GLOBAL.wsrep_on = 1"
        }
        Dialect::Postgres | Dialect::Sqlite | Dialect::Null => return None,
    };
    let row = first_row(session, states).await.ok()??;
    row.first().map(Value::to_text)
}

/// A whole number that stands for what an entry says, whatever types its columns have.
fn hash(node: &Database) -> &'static str {
    match node.dialect() {
        // By CockroachDB's documentation, for it was never met: its CONCAT_WS takes texts only.
        Dialect::Postgres if node.info.relative.as_deref() == Some("CockroachDB") => {
            "fnv32(CONCAT(order_id, '|', delta, '|', kind))"
        }
        Dialect::Postgres => "hashtextextended(CONCAT_WS('|', order_id, delta, kind), 0)",
        Dialect::MySql | Dialect::MariaDb | Dialect::Sqlite | Dialect::Null => {
            // CRC-32 is linear: alone, other orders could well add up to the same.
            "CRC32(CONCAT_WS('|', order_id, delta, kind)) * CRC32(CONCAT_WS('|', kind, delta, order_id))"
        }
    }
}

async fn read(session: &mut dyn Session, node: &Database, source: &Source) -> Result<Holdings> {
    let mut held = Holdings::new();
    for (sku_id, units) in stock(session, source).await? {
        held.entry(sku_id).or_default().stock = Some(units);
    }
    if let Some(ledger) = source.reads.ledger.as_table() {
        let hash = hash(node);
        let sql = format!(
            "SELECT sku_id, COUNT(*), SUM(delta), SUM({hash}) \
             FROM {ledger} GROUP BY sku_id"
        );
        let mut keep = |row: &[Value]| {
            let number = |at: usize| row[at].to_text().parse::<i64>().context("a sum is a whole number");
            let of_sku = held.entry(number(0)?).or_default();
            (of_sku.entries, of_sku.moved) = (number(1)?, number(2)?);
            of_sku.fingerprint = row[3].to_text().parse().context("a sum is a whole number")?;
            Ok(())
        };
        session.for_each_row(&sql, &mut keep).await?;
    }
    Ok(held)
}

fn differences<'h>(
    (home, here): (&'h String, &'h Holdings),
    (node, there): (&'h String, &'h Holdings),
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
        let (own, others) = (in_words(here), in_words(there));
        let of_others = if own == others { ", of other orders" } else { "" };
        let message =
            format!("SKU {sku_id}: {home} holds {own}, {node} {others}{of_others}: the nodes do not agree");
        Finding { sku_id: Some(Key::Int(sku_id)), units, ..Finding::new(FindingKind::NodesDiffer, message) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_with_its_units() {
        let held =
            |stock, entries, moved| Held { stock: Some(stock), entries, moved, fingerprint: moved.into() };
        let node =
            |name: &str, of: &[(i64, Held)]| (name.to_owned(), of.iter().copied().collect::<Holdings>());
        let differing = |(home, here): &(String, Holdings), (node, there): &(String, Holdings)| {
            differences((home, here), (node, there)).collect::<Vec<Finding>>()
        };
        let one = node("one", &[(1, held(5, 2, 5)), (2, held(7, 1, 7))]);
        let other = node("other", &[(1, held(5, 2, 5)), (2, held(4, 2, 4)), (3, held(1, 1, 1))]);
        assert!(differing(&one, &one).is_empty());
        let found = differing(&one, &other);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].units, &found[0].sku_id), (3, &Some(Key::Int(2))));
        assert_eq!(
            found[0].message,
            "SKU 2: one holds 7 in stock and 1 entry, other 4 in stock and 2 entries: the nodes do not agree"
        );
        // As many entries, as large, and not the same ones.
        let others = node("others", &[(1, held(5, 2, 5)), (2, Held { fingerprint: 8, ..held(7, 1, 7) })]);
        let found = differing(&one, &others);
        assert_eq!((found.len(), found[0].units), (1, 0));
        assert!(found[0].message.contains("of other orders"), "{}", found[0].message);
    }
}
