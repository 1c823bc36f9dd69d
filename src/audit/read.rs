//! Reads the ledger and the stock out of one read-only snapshot and hands
//! them to the invariants, row by row.

use super::findings::Collector;
use super::history::{self, Known};
use super::nodes;
use super::orders::{OrderAudit, SideBySide};
use super::scope::{self, Scope};
use super::skus::{SkuAudit, SkuTotals};
use super::{AuditReport, ClientWitness, Entry, Units};
use crate::db::schema::RunRow;
use crate::db::{Database, Dialect, Session, Statement, Value, replica};
use crate::engine::answers::ToldOrder;
use crate::engine::history::History;
use crate::finding::FindingKind;
use crate::strategy::program::{AuditSource, ENTRY_COLUMNS, Invariant, Ledger, Query};
use crate::text;
use anyhow::{Context, Result, anyhow};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Where the audit finds the stock and the ledger.
#[derive(Debug, Clone)]
pub struct Source {
    /// What is read instead of our own tables.
    pub reads: AuditSource,
    /// The run whose answers are known; 0 when none are.
    pub run_id: i64,
    /// Services with a database of their own.
    pub services: BTreeMap<String, Database>,
}

impl Source {
    /// What the latest run used, or our own tables when there was none.
    ///
    /// # Errors
    /// The run was registered by a stockbench of another version.
    pub fn of_run(run: Option<&RunRow>) -> Result<Self> {
        let reads = match run {
            Some(run) if !run.audit_source.is_empty() => serde_json::from_str(&run.audit_source)
                .with_context(|| format!("run {} does not say how it is audited", run.id))?,
            _ => AuditSource::default(),
        };
        Ok(Self { reads, run_id: run.map_or(0, |run| run.id), services: BTreeMap::new() })
    }
}

/// The stock of every SKU, by its id.
///
/// # Errors
/// The database refuses, or the strategy's query gives something else.
pub async fn stock(session: &mut dyn Session, source: &Source) -> Result<Vec<(i64, i64)>> {
    let sql = format!("{} ORDER BY sku_id", source.reads.stock_sql());
    let mut stock = Vec::new();
    let mut keep = |row: &[Value]| {
        let number =
            |value: &Value| value.as_int().context("the stock query must give sku_id and stock as numbers");
        stock.push((number(&row[0])?, number(&row[1])?));
        Ok(())
    };
    session.for_each_row(&sql, &mut keep).await.context("cannot read the stock")?;
    Ok(stock)
}

/// The statements that open one consistent snapshot that refuses writes.
/// MySQL ignores the snapshot below REPEATABLE READ, so the level comes first.
/// PostgreSQL refuses to read what a policy would filter.
pub(super) fn snapshot(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Postgres => {
            &["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL row_security = off"]
        }
        Dialect::MySql | Dialect::MariaDb => &[
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        ],
        Dialect::Sqlite | Dialect::Null => &["BEGIN"],
    }
}

async fn snapshot_of(database: &Database) -> Result<Box<dyn Session>> {
    // One that has left its cluster would answer, too, and know nothing of what was sold since.
    let mut session = nodes::open(database).await?;
    begin(session.as_mut(), database.dialect()).await?;
    Ok(session)
}

async fn begin(session: &mut dyn Session, dialect: Dialect) -> Result<()> {
    for statement in snapshot(dialect) {
        session.control(statement).await?;
    }
    Ok(())
}

/// What can be seen of everything that the audit reads, on every database.
async fn scope_of(database: &Database, session: &mut dyn Session, source: &Source) -> Result<Scope> {
    let mut scope = scope::of_source(session, database.dialect(), source, None).await?;
    for (name, service) in &source.services {
        let mut session = snapshot_of(service).await?;
        scope.merge(scope::of_source(session.as_mut(), service.dialect(), source, Some(name)).await?);
        end_snapshot(session).await?;
    }
    if database.url().node_count() == 1 && database.info.is_multi_primary() {
        scope.caveats.push(
            "this server is one node of a cluster: what the others have and it has not applied yet is not judged \
             (name all nodes)"
                .to_owned(),
        );
    }

    Ok(scope)
}

/// One snapshot of each database.
struct Sessions<'s> {
    main: &'s mut dyn Session,
    services: BTreeMap<String, Box<dyn Session>>,
}

impl Sessions<'_> {
    /// The session of a service; one without a database of its own shares the
    /// stock's.
    fn of(&mut self, service: Option<&String>) -> &mut dyn Session {
        match service.and_then(|name| self.services.get_mut(name)) {
            Some(session) => session.as_mut(),
            None => self.main,
        }
    }

    async fn close(self) -> Result<()> {
        for session in self.services.into_values() {
            end_snapshot(session).await?;
        }
        Ok(())
    }
}

async fn end_snapshot(mut session: Box<dyn Session>) -> Result<()> {
    session.control("ROLLBACK").await?;
    session.close().await;
    Ok(())
}

/// Checks a strategy's own invariant: every row it returns is a finding.
async fn check(sessions: &mut Sessions<'_>, invariant: &Invariant, findings: &mut Collector) -> Result<()> {
    let Some(other) = &invariant.same_as else {
        let (columns, session) = prepare(sessions, &invariant.query).await?;
        let mut report = |row: &[Value]| {
            let values = || columns.iter().map(String::as_str).zip(row.iter().map(Value::to_text));
            let order = columns.iter().position(|column| column == "order_id");
            let order_id = order.and_then(|at| row.get(at)).and_then(Value::as_int);
            findings.invariant(order_id, filled_in(&invariant.says, values()));
            Ok(())
        };
        return session
            .for_each_row(&invariant.query.sql, &mut report)
            .await
            .context("cannot check an invariant");
    };
    let ours = order_ids(sessions, &invariant.query).await?;
    let theirs = order_ids(sessions, other).await?;
    for order_id in ours.symmetric_difference(&theirs) {
        let sentence = filled_in(&invariant.says, [("order_id", order_id.to_string())].into_iter());
        findings.invariant(Some(*order_id), sentence);
    }
    Ok(())
}

async fn order_ids(sessions: &mut Sessions<'_>, query: &Query) -> Result<BTreeSet<i64>> {
    let mut ids = BTreeSet::new();
    let (_, session) = prepare(sessions, query).await?;
    let mut keep = |row: &[Value]| {
        ids.insert(
            row.first().and_then(Value::as_int).context("an invariant that compares gives order ids")?,
        );
        Ok(())
    };
    session.for_each_row(&query.sql, &mut keep).await.context("cannot check an invariant")?;
    Ok(ids)
}

async fn prepare<'s>(
    sessions: &'s mut Sessions<'_>,
    query: &Query,
) -> Result<(Vec<String>, &'s mut dyn Session)> {
    let session = sessions.of(query.service.as_ref());
    let statement =
        Statement { sql: query.sql.as_str().into(), returns_rows: Some(true), ..Statement::default() };
    let shape = session.prepare(&statement).await.with_context(|| {
        let hint = query.service.as_ref().map_or_else(String::new, |name| {
            format!(" of service {name} (--service {name}=URL names its database)")
        });
        format!("cannot check an invariant{hint}")
    })?;
    Ok((shape.columns.into_iter().map(|column| column.name).collect(), session))
}

/// The sentence with `{column}` replaced by the column's value.
fn filled_in<'v>(says: &str, values: impl Iterator<Item = (&'v str, String)>) -> String {
    let fill = |sentence: String, (column, value): (&str, String)| {
        sentence.replace(&format!("{{{column}}}"), &value)
    };
    values.fold(says.to_owned(), fill)
}

/// Audits a database against what the clients were told; of a cluster every node,
/// once they are in step.
///
/// # Errors
/// The tables are not there, or the database refuses to read them.
pub async fn audit(
    database: &Database,
    source: &Source,
    witness: ClientWitness,
    told: impl Iterator<Item = ToldOrder> + Send,
    times: Option<&History>,
    full: bool,
) -> Result<AuditReport> {
    let nodes = nodes::in_step(database, source).await?;
    let mut session = nodes::open(database).await?;
    // What the server cannot say would end the transaction.
    let standing = replica::standing(session.as_mut(), database.dialect()).await;
    begin(session.as_mut(), database.dialect()).await?;
    let mut scope = scope_of(database, session.as_mut(), source).await?;
    scope.add_standing(&standing);

    let mut report = audit_on(session.as_mut(), source, witness, told, times, full).await?;
    end_snapshot(session).await?;
    report.add_scope(scope);
    report.add_nodes(nodes);
    Ok(report)
}

/// The same on a session that sees all there is to see and that nobody writes
/// beside.
///
/// # Errors
/// As [`audit`].
pub async fn audit_on(
    session: &mut dyn Session,
    source: &Source,
    witness: ClientWitness,
    told: impl Iterator<Item = ToldOrder> + Send,
    times: Option<&History>,
    full: bool,
) -> Result<AuditReport> {
    let mut findings = Collector::new(full);
    let mut orders = OrderAudit::new(source.run_id, witness);
    if times.is_some() {
        orders = orders.keeping_moves();
    }
    let mut totals = Totals::default();
    let (mut refusals_not_judged, mut skus_not_decided) = (0, 0);
    if let Some(ledger) = source.reads.ledger.as_table() {
        compare_orders(session, &ledger, told, &mut orders, &mut findings).await?;
        let (sums, skus) =
            compare_skus(session, source, &ledger, &orders, times.is_some(), &mut findings).await?;
        totals = sums;
        if let Some(History { told, answers, .. }) = times {
            // Whoever knows when each answer was given knows more.
            let moves = orders.moves.take().unwrap_or_default();
            let known = Known { openings: &skus.openings, moves: &moves, floor: 0 };
            skus_not_decided = history::judge(told, answers, known, &mut findings);
        } else {
            let lowest = |sku_id| skus.lowest.get(&sku_id).copied();
            refusals_not_judged = orders.undersold(lowest, &mut findings);
        }
    } else {
        told.for_each(|told| orders.count_only(&told));
    }
    let mut sessions = Sessions { main: session, services: BTreeMap::new() };
    for (name, database) in &source.services {
        sessions.services.insert(name.clone(), snapshot_of(database).await?);
    }
    for invariant in &source.reads.invariants {
        check(&mut sessions, invariant, &mut findings).await?;
    }
    sessions.close().await?;

    let undersold_orders = findings.orders_of(FindingKind::Undersold);
    let lost_orders = findings.orders_of(FindingKind::LostSale);
    let duplicated_orders =
        findings.orders_of(FindingKind::DuplicateEntry) + findings.orders_of(FindingKind::SoldAgain);
    let unexpected_orders = findings.orders_of(FindingKind::UnexpectedOrder);
    let (findings_by_kind, findings) = findings.finish();
    let findings_total = findings_by_kind.values().sum();
    let judged = match source.reads.ledger {
        // Without answers the invariants are all there is to judge by.
        Ledger::None => orders.decided > 0 || witness == ClientWitness::Missing,
        Ledger::Usual | Ledger::Other(_) => orders.decided > 0 && totals.skus > 0,
    };
    Ok(AuditReport {
        passed: judged && findings_total == 0,
        judged,
        client_witness: witness,
        skus: totals.skus,
        entries: totals.entries,
        orders: orders.orders,
        units: Units {
            existed: totals.sum.existed,
            told: orders.units_told,
            ledger: totals.sum.sold,
            left_stock: totals.sum.existed.saturating_sub(totals.sum.stock),
            in_stock: totals.sum.stock,
        },
        oversold_units: totals.sum.oversold.unsigned_abs(),
        undersold_orders,
        invariants: source.reads.invariants.len() as u64,
        lost_update_units: totals.sum.lost_update.unsigned_abs(),
        missing_entry_units: totals.sum.missing_entry.unsigned_abs(),
        lost_orders,
        duplicated_orders,
        unexpected_orders,
        unknown_recovered: orders.unknown_recovered,
        unknown_not_applied: orders.unknown_not_applied,
        refusals_not_judged,
        skus_not_decided,
        nodes_away: Vec::new(),
        not_seen: Vec::new(),
        caveats: Vec::new(),
        without_transactions: Vec::new(),
        findings_total,
        findings_by_kind,
        findings,
    })
}

/// What moved a SKU, in a ledger of ours.
const KINDS: [&str; 8] = ["opening", "sale", "reserve", "confirm", "release", "return", "restock", "count"];

/// Whether an entry counts.
const STATUSES: [&str; 2] = ["accepted", "rejected"];

fn entry(row: &[Value]) -> Result<Entry> {
    let [order_id, sku_id, kind, status, delta, balance, run_id] = row else {
        return Err(anyhow!("an entry has {} columns, expected {ENTRY_COLUMNS}", row.len()));
    };
    let number = |value: &Value, name| value.as_int().with_context(|| format!("an entry without {name}"));
    let order_id = number(order_id, "order_id")?;

    Ok(Entry {
        order_id,
        sku_id: number(sku_id, "sku_id")?,
        kind: known_word(kind, "kind", &KINDS, order_id)?,
        rejected: known_word(status, "status", &STATUSES, order_id)? == "rejected",
        delta: number(delta, "delta")?,
        balance: balance.as_int(),
        run_id: number(run_id, "run_id")?,
    })
}

/// A word of an entry. One that nobody has declared may mean anything, and an audit that passes
/// over it says nothing.
fn known_word(word: &Value, column: &str, known: &[&str], order_id: i64) -> Result<String> {
    let text = word.to_text();
    if known.contains(&text.as_str()) {
        return Ok(text);
    }

    let shown = if *word == Value::Null { "NULL".to_owned() } else { format!("`{}`", text::one_line(&text)) };
    let suggestion = text::did_you_mean(&text.to_lowercase(), known.iter().copied());
    Err(anyhow!(
        "order {order_id} has an entry whose {column} is {shown}: expected {}{suggestion} (a query in [audit] ledger can \
         translate words, and leave entries out)",
        text::backquoted(known)
    ))
}

async fn compare_orders(
    session: &mut dyn Session,
    ledger: &str,
    told: impl Iterator<Item = ToldOrder> + Send,
    orders: &mut OrderAudit,
    findings: &mut Collector,
) -> Result<()> {
    let mut both = SideBySide::new(told);
    let sql =
        format!("SELECT {ENTRY_COLUMNS} FROM {ledger} WHERE kind <> 'opening' ORDER BY order_id, sku_id, id");
    let mut judge = |row: &[Value]| {
        both.entry(entry(row)?, orders, findings);
        Ok(())
    };
    session.for_each_row(&sql, &mut judge).await.with_context(|| format!("cannot read {ledger}"))?;
    both.finish(orders, findings);
    Ok(())
}

#[derive(Debug, Default)]
struct Totals {
    skus: u64,
    entries: u64,
    sum: SkuTotals,
}

impl Totals {
    fn add(&mut self, sku: SkuTotals) {
        self.skus += 1;
        self.sum.existed = self.sum.existed.saturating_add(sku.existed);
        self.sum.sold = self.sum.sold.saturating_add(sku.sold);
        self.sum.stock = self.sum.stock.saturating_add(sku.stock);
        self.sum.oversold = self.sum.oversold.saturating_add(sku.oversold);
        self.sum.lost_update = self.sum.lost_update.saturating_add(sku.lost_update);
        self.sum.missing_entry = self.sum.missing_entry.saturating_add(sku.missing_entry);
    }
}

/// What the refusals of a run are judged by.
#[derive(Debug, Default)]
struct Skus {
    /// The least that each refused SKU can have held.
    lowest: HashMap<i64, i64>,
    /// Units that each SKU had when the run began; kept only where answers have times.
    openings: HashMap<i64, i64>,
    keeps_openings: bool,
}

impl Skus {
    fn add(&mut self, entry: &Entry, run_id: i64) {
        if !self.keeps_openings {
            return;
        }
        let opening = self.openings.entry(entry.sku_id).or_default();
        if entry.run_id != run_id || entry.kind == "opening" {
            *opening = opening.saturating_add(entry.delta);
        }
    }
}

/// Judges every SKU, in the ledger's order; returns the totals, and what the
/// refusals are judged by.
async fn compare_skus(
    session: &mut dyn Session,
    source: &Source,
    ledger: &str,
    orders: &OrderAudit,
    keeps_openings: bool,
    findings: &mut Collector,
) -> Result<(Totals, Skus)> {
    let mut stock: HashMap<i64, i64> = stock(session, source).await?.into_iter().collect();

    let mut totals = Totals::default();
    let mut skus = Skus { keeps_openings, ..Skus::default() };
    let mut current: Option<SkuAudit> = None;
    let finish = |sku: SkuAudit, totals: &mut Totals, skus: &mut Skus, findings: &mut Collector| {
        let sku_id = *sku.sku_id();
        let told_not_in_ledger = orders.told_not_in_ledger.get(&sku_id).copied().unwrap_or(0);
        let judged = sku.finish(told_not_in_ledger, findings);
        if let Some(least) = judged.lowest.filter(|_| orders.refused_skus.contains(&sku_id)) {
            skus.lowest.insert(sku_id, least);
        }
        totals.add(judged);
    };
    let sql = format!("SELECT {ENTRY_COLUMNS} FROM {ledger} ORDER BY sku_id");
    let mut judge = |row: &[Value]| {
        let entry = entry(row)?;
        totals.entries += 1;
        if current.as_ref().is_none_or(|sku| *sku.sku_id() != entry.sku_id) {
            let next = SkuAudit::new(entry.sku_id, stock.remove(&entry.sku_id)).during(source.run_id);
            if let Some(done) = current.replace(next) {
                finish(done, &mut totals, &mut skus, findings);
            }
        }
        skus.add(&entry, source.run_id);
        if let Some(sku) = &mut current {
            sku.entry(&entry);
        }
        Ok(())
    };
    session.for_each_row(&sql, &mut judge).await.with_context(|| format!("cannot read {ledger}"))?;
    if let Some(done) = current {
        finish(done, &mut totals, &mut skus, findings);
    }
    // Stock that no entry speaks of.
    let mut unspoken: Vec<(i64, i64)> = stock.into_iter().collect();
    unspoken.sort_unstable();
    for (sku_id, units) in unspoken {
        finish(SkuAudit::new(sku_id, Some(units)), &mut totals, &mut skus, findings);
    }
    Ok((totals, skus))
}
