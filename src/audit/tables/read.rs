//! Reads a shop's tables out of one read-only snapshot, within limits, and
//! judges what comes back.
//!
//! The database adds up; what travels is one row for each SKU and part of the
//! ledger. A sum of fingerprints tells whether the balances of a SKU's entries
//! form one chain. Only SKUs that do not add up are read entry by entry.

use super::moment;
use super::resolve::{self, LedgerSql, Resolved};
use super::sums::Stocked;
use super::{Mapping, Pass, SkuSummary, TableAudit};
use crate::audit::findings::Collector;
use crate::audit::read::snapshot;
use crate::audit::scope::{self, Scope};
use crate::audit::{Finding, Key};
use crate::db::replica::{self, Standing};
use crate::db::{Database, DbError, Dialect, Session, SessionSettings, Value, first_row};
use crate::exit::usage;
use crate::text;
use anyhow::{Context, Result, anyhow, bail};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// What an audit may cost the database.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest wait for a lock.
    pub lock_timeout: Duration,
    /// Longest time one statement may take.
    pub statement_timeout: Duration,
    /// How long one part of the ledger should take to add up.
    pub part_time: Duration,
    /// The age at which the snapshot is given up: it holds back vacuum and purge.
    pub snapshot_age: Duration,
    /// How long all of it may take.
    pub max_time: Option<Duration>,
    /// How many entries may be read.
    pub max_rows: Option<u64>,
}

/// What is asked of an audit.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The limits.
    pub limits: Limits,
    /// The server must be a replica and no further behind than this.
    pub replica: Option<Duration>,
    /// Only these SKUs.
    pub skus: Vec<String>,
    /// Only findings that happened, or went on, from here.
    pub since: Option<String>,
    /// Only findings that began before.
    pub until: Option<String>,
    /// Order ids are replaced by numbers of the audit's own.
    pub redact: bool,
    /// Only the sums and the chains.
    pub quick: bool,
    /// Every order of every finding.
    pub full: bool,
}

/// Told what is being done, and how much of how much of it is.
pub type OnProgress<'p> = &'p (dyn Fn(&str, u64, u64) + Sync);

/// Audits the tables that a mapping names; `file` is how errors call it.
///
/// # Errors
/// The mapping does not fit the database, a limit is reached, or the database
/// cannot be read.
pub async fn audit(
    database: &Database,
    file: &str,
    mapping: &Mapping,
    asked: &Asked,
    on_progress: OnProgress<'_>,
) -> Result<(TableAudit, Resolved)> {
    let settings = SessionSettings {
        lock_timeout: Some(asked.limits.lock_timeout),
        statement_timeout: Some(asked.limits.statement_timeout),
        ..SessionSettings::READ_ONLY
    };
    let mut session = database.open(&settings).await?;
    let resolved = resolve::resolve(session.as_mut(), database.dialect(), file, mapping).await?;
    if let Some(sku) =
        asked.skus.iter().find(|sku| resolved.stock.sku_form.is_int && sku.parse::<i64>().is_err())
    {
        return Err(usage(format!("--sku {sku}: SKUs are whole numbers here")));
    }
    let standing = replica::standing(session.as_mut(), database.dialect()).await;
    expect_replica(&standing, asked.replica)?;
    let audit = Reading::begin(session, &resolved, asked, on_progress).await?.finish(standing).await?;
    Ok((audit, resolved))
}

fn expect_replica(standing: &Standing, lag_max: Option<Duration>) -> Result<()> {
    let Some(lag_max) = lag_max else { return Ok(()) };
    let at_most = humantime::format_duration(lag_max);
    match (standing.is_replica, standing.lag) {
        (Some(false), _) => bail!("--replica: this server follows no other one: it is a primary"),
        (None, _) => bail!(
            "--replica: the server does not say whether it is a replica ({})",
            standing.why_unknown.as_deref().unwrap_or("no reason given")
        ),
        (Some(true), None) => {
            bail!("--replica: the server does not know how far it is behind: is replication running?")
        }
        (Some(true), Some(lag)) if lag > lag_max => {
            bail!(
                "--replica: the server is {:.1} s behind, at most {at_most} was asked for",
                lag.as_secs_f64()
            )
        }
        (Some(true), Some(_)) => Ok(()),
    }
}

pub(super) struct Reading<'a> {
    pub(super) session: Box<dyn Session>,
    pub(super) resolved: &'a Resolved,
    pub(super) asked: &'a Asked,
    pub(super) on_progress: OnProgress<'a>,
    pub(super) started: Instant,
    pub(super) taken_at: String,
    pub(super) entries: u64,
    pub(super) passes: Vec<Pass>,
    pub(super) not_checked: Vec<String>,
    pub(super) scope: Scope,
    pub(super) findings: Collector,
    /// The numbers that stand for order ids.
    pub(super) pseudonyms: HashMap<Key, usize>,
    /// Entries of the ledger at hand that name no SKU.
    pub(super) nameless: u64,
}

impl<'a> Reading<'a> {
    /// Opens the snapshot.
    async fn begin(
        mut session: Box<dyn Session>,
        resolved: &'a Resolved,
        asked: &'a Asked,
        on_progress: OnProgress<'a>,
    ) -> Result<Self> {
        let dialect = resolved.dialect;
        let settings = settings(dialect, &asked.limits);
        for statement in snapshot(dialect).iter().copied().chain(settings.iter().map(String::as_str)) {
            session.control(statement).await.map_err(|error| explain(&error))?;
        }
        let sql = match dialect {
            Dialect::Postgres => {
                "SELECT CAST(now() AS TEXT), current_setting('transaction_isolation'), current_setting('transaction_read_only')"
            }
            Dialect::MySql => "SELECT CAST(UTC_TIMESTAMP(6) AS CHAR), @@session.transaction_isolation, 'on'",
            Dialect::MariaDb => "SELECT CAST(UTC_TIMESTAMP(6) AS CHAR), @@session.tx_isolation, 'on'",
            // The first read of a table is what takes the snapshot.
            Dialect::Sqlite | Dialect::Null => {
                "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now'), 'repeatable read', 'on' FROM (SELECT count(*) FROM sqlite_schema)"
            }
        };
        let row = first_row(session.as_mut(), sql).await?.context("the server answered with no row")?;
        let level = row[1].to_text().to_lowercase().replace('-', " ");
        if level != "repeatable read" || row[2].to_text() != "on" {
            bail!(
                "the server opened a {level} transaction instead of a read-only snapshot: nothing was read"
            );
        }
        let scope = scope::of_tables(session.as_mut(), dialect, &resolved.tables, &resolved.complete).await?;
        Ok(Self {
            session,
            resolved,
            asked,
            on_progress,
            started: Instant::now(),
            taken_at: moment::canonical(&row[0].to_text()),
            entries: 0,
            passes: Vec::new(),
            not_checked: Vec::new(),
            scope,
            findings: Collector::of_every_finding(asked.full),
            pseudonyms: HashMap::new(),
            nameless: 0,
        })
    }

    async fn finish(mut self, standing: Standing) -> Result<TableAudit> {
        let sums = self.sum_up().await?;
        let Stocked { suspects, skus, in_stock, by_ledger } = self.compare(sums).await?;
        let mut by_sku: BTreeMap<Key, SkuSummary> = BTreeMap::new();
        let totals = self.look_at(&suspects, &mut by_sku).await?;
        self.orphans(&suspects).await?;
        if self.asked.quick {
            self.not_checked.push("orders (duplicates, refusals, reservations): --quick".to_owned());
        } else {
            self.orders().await?;
        }
        self.session.control("ROLLBACK").await.map_err(|error| explain(&error))?;
        self.session.close().await;

        let (_, mut findings) = self.findings.finish();
        let before = findings.len() as u64;
        findings.retain(|finding| is_shown(finding, self.asked));
        let hidden = before - findings.len() as u64;
        let mut findings_by_kind = BTreeMap::new();
        for finding in &findings {
            *findings_by_kind.entry(finding.kind).or_default() += 1;
        }
        let by_sku = summaries(&findings, by_sku);
        let judged = skus > 0 && self.entries > 0;
        let findings_total = findings.len() as u64;
        let Scope { not_seen, caveats, without_transactions } = self.scope;
        for finding in &mut findings {
            finding
                .may_mean
                .splice(0..0, without_transactions.iter().map(|table| scope::cause(table).into()));
        }
        Ok(TableAudit {
            passed: judged && findings_total + hidden == 0 && not_seen.is_empty(),
            judged,
            taken_at: self.taken_at,
            position: standing.position,
            is_replica: standing.is_replica,
            replica_lag_s: standing.lag.map(|lag| lag.as_secs_f64()),
            skus,
            entries: self.entries,
            in_stock,
            by_ledger,
            oversold_units: totals.oversold,
            lost_update_units: totals.lost_update,
            missing_entry_units: totals.missing_entry,
            not_checked: self.not_checked,
            not_seen,
            caveats,
            without_transactions,
            passes: self.passes,
            broken_skus: by_sku.len() as u64,
            by_sku,
            hidden,
            findings_total,
            findings_by_kind,
            findings,
        })
    }

    /// Refuses to go on when a limit is reached.
    fn check_limits(&self) -> Result<()> {
        let limits = &self.asked.limits;
        let age = self.started.elapsed();
        let read = text::count(self.entries, "entry");
        if age > limits.snapshot_age {
            bail!(
                "gave up after {read}: the snapshot is older than {} and holds back vacuum or purge \
                 (--max-snapshot-age; --sku narrows the audit)",
                humantime::format_duration(limits.snapshot_age)
            );
        }
        if let Some(max) = limits.max_time.filter(|max| age > *max) {
            bail!("gave up after {read}: --max-time {} is over", humantime::format_duration(max));
        }
        if let Some(max) = limits.max_rows.filter(|max| self.entries > *max) {
            bail!("gave up after {read}: --max-rows {max} is reached");
        }
        Ok(())
    }

    /// Sends one query; what it costs is added to a pass.
    pub(super) async fn query(
        &mut self,
        sql: &str,
        pass: &mut Pass,
        mut on_row: impl FnMut(&[Value]) -> Result<()> + Send,
    ) -> Result<()> {
        self.check_limits()?;
        let started = Instant::now();
        let mut rows = 0;
        let mut count = |row: &[Value]| {
            rows += 1;
            on_row(row)
        };
        // A statement may not outlive the limits either.
        let limits = &self.asked.limits;
        let most = limits.max_time.unwrap_or(limits.snapshot_age).min(limits.snapshot_age);
        let left = most.saturating_sub(self.started.elapsed());
        let done = tokio::time::timeout(left, self.session.for_each_row(sql, &mut count)).await;
        let Ok(done) = done else {
            self.check_limits()?;
            bail!("gave up: the time is over");
        };
        pass.statements += 1;
        pass.rows += rows;
        pass.seconds += started.elapsed().as_secs_f64();
        done.map_err(|error| match error.downcast_ref::<DbError>() {
            Some(error) => explain(error),
            None => error,
        })
    }

    /// Marks where the transaction can go on after a statement that failed. On
    /// PostgreSQL it would be over otherwise, and its snapshot with it.
    pub(super) async fn mark(&mut self) -> Result<()> {
        self.on_postgres("SAVEPOINT mark").await
    }

    /// Goes on from the mark.
    pub(super) async fn back_to_mark(&mut self) -> Result<()> {
        self.on_postgres("ROLLBACK TO SAVEPOINT mark").await
    }

    async fn on_postgres(&mut self, sql: &str) -> Result<()> {
        if self.resolved.dialect == Dialect::Postgres {
            self.session.control(sql).await.map_err(|error| explain(&error))?;
        }
        Ok(())
    }

    /// WHERE, with what the mapping, the flags and the caller ask for.
    pub(super) fn condition(&self, ledger: &LedgerSql, more: Option<&str>) -> String {
        let mut all: Vec<String> = ledger.looked_at.iter().cloned().collect();
        all.extend(self.sku_filter(&ledger.sku));
        all.extend(more.map(|more| format!("({more})")));
        if all.is_empty() { String::new() } else { format!(" WHERE {}", all.join(" AND ")) }
    }

    pub(super) fn sku_filter(&self, sku: &str) -> Option<String> {
        let skus = &self.asked.skus;
        let literals: Vec<String> = skus.iter().map(|sku| self.resolved.dialect.literal(sku)).collect();
        (!skus.is_empty()).then(|| format!("{sku} IN ({})", literals.join(", ")))
    }
}

/// The words of [`explain`] for a statement that ran out of time.
pub(super) const TOO_LONG: &str = "took longer than --statement-timeout";

/// What a statement's failure means for an audit.
fn explain(error: &DbError) -> anyhow::Error {
    if error.message.contains("conflict with recovery") {
        return anyhow!(
            "the standby cancelled the audit to go on replaying ({}): raise max_standby_streaming_delay or set \
             hot_standby_feedback there, or audit the primary",
            error.code
        );
    }
    match error.code.as_str() {
        "57014" | "3024" | "1969" => anyhow!("a statement {TOO_LONG} ({})", text::one_line(&error.message)),
        "55P03" | "1205" => anyhow!(
            "a table is locked, as by a change of its columns, for longer than --lock-timeout ({})",
            error.code
        ),
        "42501" | "1142" | "1143" => {
            anyhow!(
                "{} ({}): the audit needs SELECT on every row of the mapped tables",
                text::one_line(&error.message),
                error.code
            )
        }
        "25P03" | "25P04" | "57P05" => anyhow!("the server ended the audit's transaction ({})", error.code),
        _ => anyhow!("{}", text::one_line(&error.to_string())),
    }
}

/// What a snapshot is read with: what keeps it from outliving us, and times in
/// UTC.
fn settings(dialect: Dialect, limits: &Limits) -> Vec<String> {
    let seconds = limits.snapshot_age.as_secs().max(1);
    match dialect {
        Dialect::Postgres => vec![
            // A client that hangs must not hold the snapshot.
            "SET LOCAL idle_in_transaction_session_timeout = '60s'".to_owned(),
            "SET LOCAL TimeZone = 'UTC'".to_owned(),
            // One group for each SKU fits; compiling costs more than it saves.
            "SET LOCAL work_mem = '64MB'".to_owned(),
            "SET LOCAL jit = off".to_owned(),
        ],
        Dialect::MySql | Dialect::MariaDb => vec![
            format!("SET SESSION lock_wait_timeout = {}", limits.lock_timeout.as_secs().max(1)),
            format!("SET SESSION wait_timeout = {}", seconds.min(60)),
            "SET SESSION time_zone = '+00:00'".to_owned(),
        ],
        Dialect::Sqlite | Dialect::Null => Vec::new(),
    }
}

pub(super) fn pass(name: String) -> Pass {
    Pass { name, statements: 0, rows: 0, seconds: 0.0 }
}

/// An order id, or the number that stands for it.
pub(super) fn pseudonym(known: &mut HashMap<Key, usize>, order: Key, redact: bool) -> Key {
    if !redact {
        return order;
    }
    let next = known.len() + 1;
    Key::Text(format!("order-{}", known.entry(order).or_insert(next)).into())
}

/// Whether a finding falls into the time that was asked for; one that has no
/// time is always shown.
fn is_shown(finding: &Finding, asked: &Asked) -> bool {
    let after = |since: &String| finding.last_at.as_ref().is_none_or(|last| last >= since);
    let before = |until: &String| finding.first_at.as_ref().is_none_or(|first| first < until);
    asked.since.as_ref().is_none_or(after) && asked.until.as_ref().is_none_or(before)
}

/// The SKUs of the findings, the most units first.
fn summaries(findings: &[Finding], mut known: BTreeMap<Key, SkuSummary>) -> Vec<SkuSummary> {
    let mut by_sku: BTreeMap<&Key, SkuSummary> = BTreeMap::new();
    for finding in findings {
        let Some(sku) = &finding.sku_id else { continue };
        let summary = by_sku.entry(sku).or_insert_with(|| {
            known.remove(sku).unwrap_or_else(|| SkuSummary {
                sku_id: sku.clone(),
                stock: None,
                ledger: None,
                kinds: Vec::new(),
                units: 0,
                first_at: None,
                last_at: None,
            })
        });
        if !summary.kinds.contains(&finding.kind) {
            summary.kinds.push(finding.kind);
        }
        summary.units = summary.units.max(finding.units);
        summary.first_at = summary.first_at.iter().chain(&finding.first_at).min().cloned();
        summary.last_at = summary.last_at.iter().chain(&finding.last_at).max().cloned();
    }
    let mut summaries: Vec<SkuSummary> = by_sku.into_values().collect();
    summaries.sort_by(|one, other| other.units.cmp(&one.units).then_with(|| one.sku_id.cmp(&other.sku_id)));
    summaries
}
