//! What a schedule came to, by the same invariants as a run.

use super::problem::Problem;
use super::world::{Futile, Ran, Told};
use crate::audit::{self, AuditReport, ClientWitness, Finding, FindingKind, Key};
use crate::db::{Session, Value};
use crate::engine::answers::{Answers, ToldOrder};
use crate::engine::history::{Answer, History};
use crate::outcome::Outcome;
use crate::workload::Order;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// What is left when a schedule is over.
#[derive(Debug, Clone)]
pub(super) struct Judged {
    /// Everything that tells two schedules apart afterwards, whoever of like
    /// clients it was.
    pub(super) key: OutcomeKey,
    pub(super) findings: Vec<Finding>,
    /// What the three witnesses say.
    pub(super) summary: String,
}

/// What clients were told, what is left, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OutcomeKey {
    pub(super) told: Vec<Outcome>,
    pub(super) stock: Vec<(i64, i64)>,
    pub(super) findings: Vec<FindingKind>,
}

/// Reads what the schedule left and holds it against what was told.
pub(super) async fn judge(problem: &Problem, session: &mut dyn Session, ran: &Ran) -> Result<Judged> {
    let mut told: BTreeMap<i64, ToldOrder> = BTreeMap::new();
    let mut answers = Vec::new();
    for (client, Told { outcome, invoked, returned, .. }) in ran.told.iter().copied().enumerate() {
        let id = problem.order_id(client, ran.serial);
        let order = || ToldOrder {
            order: Order { id, lines: problem.lines[client].clone() },
            answers: Answers::default(),
        };
        told.entry(id).or_insert_with(order).answers.add(outcome, None);
        answers.push(Answer {
            order_id: id,
            outcome,
            remaining: Vec::new(),
            invoked_us: invoked,
            returned_us: returned,
        });
    }
    let history = History {
        run_id: problem.source.run_id,
        started_ms: 0,
        complete: true,
        told: told.into_values().collect(),
        answers,
        sessions: Vec::new(),
    };
    let told_again = history.told.clone().into_iter();
    let witness = ClientWitness::Complete;
    let report = audit::audit_on(session, &problem.source, witness, told_again, Some(&history), true).await?;
    let stock = stock(problem, session).await?;
    let mut findings = report.findings.clone();
    findings.extend(futile(problem, ran));
    let mut kinds: Vec<FindingKind> = findings.iter().map(|finding| finding.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut outcomes: Vec<Outcome> = ran.told.iter().map(|told| told.outcome).collect();
    outcomes.sort_unstable();
    let key = OutcomeKey { told: outcomes, stock, findings: kinds };
    Ok(Judged { key, findings, summary: AuditReport::explain(&report) })
}

async fn stock(problem: &Problem, session: &mut dyn Session) -> Result<Vec<(i64, i64)>> {
    let sql =
        format!("SELECT sku_id, stock FROM ({}) AS stock_now ORDER BY sku_id", problem.source.stock_query());
    let mut stock = Vec::new();
    let mut keep = |row: &[Value]| {
        stock.extend(row[0].as_int().zip(row[1].as_int()));
        Ok(())
    };
    session.for_each_row(&sql, &mut keep).await.context("cannot read the stock")?;
    Ok(stock)
}

fn futile(problem: &Problem, ran: &Ran) -> Option<Finding> {
    let (client, why) =
        ran.told.iter().enumerate().find_map(|(client, told)| Some((client, told.futile?)))?;
    let client_number = client + 1;
    let message = match why {
        Futile::Loop => format!(
            "client {client_number} went round a loop inside one transaction that re-read the same values and had \
             them refused again: the transaction's snapshot does not move"
        ),
        Futile::Retries => format!(
            "client {client_number} was refused without a chance: every retry repeated the very values that had \
             just been refused, because it does not read again"
        ),
        Futile::Alone => {
            format!("client {client_number} was refused although nobody else was there while it tried")
        }
    };
    let id = problem.order_id(client, ran.serial);
    Some(Finding {
        orders: 1,
        order_ids: vec![Key::Int(id)],
        ..Finding::new(FindingKind::FutileRetry, message)
    })
}
