//! What a schedule came to, by the same invariants as a run.

use super::play::{Futile, Told};
use super::problem::Problem;
use super::world::Ran;
use crate::audit::{self, AuditReport, ClientWitness, Finding, FindingKind, Key};
use crate::db::Session;
use crate::engine::answers::{Answers, ToldOrder};
use crate::engine::history::{Answer, History};
use crate::outcome::Outcome;
use crate::workload::Order;
use anyhow::Result;
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
    for (client, &Told { outcome, invoked, returned, .. }) in ran.told.iter().enumerate() {
        let id = problem.order_id(client, ran.serial);
        let order = || ToldOrder {
            order: Order { id, lines: problem.lines[client].clone() },
            answers: Answers::default(),
            retry_of: None,
        };
        told.entry(id).or_insert_with(order).answers.add(outcome, None);
        answers.push(Answer {
            order_id: id,
            outcome,
            recorded: None,
            retry_of: None,
            remaining: Vec::new(),
            invoked_us: invoked,
            returned_us: returned,
        });
    }
    let history = History {
        run_id: problem.source.run_id,
        started_ms: 0,
        segment: None,
        complete: true,
        told: told.into_values().collect(),
        answers,
        sessions: Vec::new(),
    };
    let told_again = history.told.clone().into_iter();
    let witness = ClientWitness::Complete;
    let report = audit::audit_on(session, &problem.source, witness, told_again, Some(&history), true).await?;
    let stock = audit::stock(session, &problem.source).await?;
    let mut findings = report.findings.clone();
    if !findings.is_empty() {
        findings.extend(swallowed(problem, ran));
    }
    findings.extend(futile(problem, ran));
    let mut kinds: Vec<FindingKind> = findings.iter().map(|finding| finding.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut outcomes: Vec<Outcome> = ran.told.iter().map(|told| told.outcome).collect();
    outcomes.sort_unstable();
    let key = OutcomeKey { told: outcomes, stock, findings: kinds };
    Ok(Judged { key, findings, summary: AuditReport::explain(&report) })
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
        Futile::Endless => format!(
            "client {client_number} went from one transaction of its program to another and back, again and again, \
             without an end"
        ),
        Futile::Retries => format!(
            "client {client_number} was refused without a chance: every retry repeated the very values that had \
             just been refused, because it does not read again"
        ),
        Futile::Alone => {
            format!("client {client_number} was refused although nobody else was there while it tried")
        }
    };
    Some(of_client(problem, ran, client, FindingKind::FutileRetry, message))
}

/// A sale that was told although a statement of its last attempt had failed: an
/// explanation where an invariant is broken, for there are errors that do not matter.
fn swallowed(problem: &Problem, ran: &Ran) -> Option<Finding> {
    let mut told = ran.told.iter().enumerate();
    let (client, error) = told.find_map(|(client, told)| Some((client, told.swallowed.as_ref()?)))?;
    let message = format!("client {} was told deducted, and this had failed: {error}", client + 1);
    Some(of_client(problem, ran, client, FindingKind::SwallowedError, message))
}

fn of_client(problem: &Problem, ran: &Ran, client: usize, kind: FindingKind, message: String) -> Finding {
    let id = problem.order_id(client, ran.serial);
    Finding { orders: 1, order_ids: vec![Key::Int(id)], ..Finding::new(kind, message) }
}
