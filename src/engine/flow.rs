//! A background program: expiry, write-back, restock. It works while it finds
//! work, sleeps when it finds none, and outlives the last client until nothing
//! is left to wait for.

use super::Shared;
use super::attempt::Run;
use super::recorder::FlowFigures;
use crate::db::{DbError, Dialect, ErrorClass, Reply, Session, Statement};
use crate::outcome::Outcome;
use crate::strategy::interpret::Task;
use crate::strategy::program::Flow;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a flow may go on after the last client without getting anything
/// done.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);

/// How long it may go on at all, however much it gets done.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// Errors in a row after which a flow that is being drained gives up.
const ERRORS_MAX: u32 = 20;

/// Runs a flow until the run is over and nothing is left for it to do.
pub(super) async fn run(shared: Arc<Shared>, member: usize, flow: usize) {
    let flow = &shared.members[member].program.flows[flow];
    let recorder = shared.background.shard(0);
    let mut idle_since: Option<Instant> = None;
    let mut draining_since: Option<Instant> = None;
    let mut errors_in_row = 0;
    loop {
        let is_draining = shared.drain.is_asked();
        let outcome = once(&shared, member, flow).await;
        errors_in_row = if outcome == Some(Outcome::Error) { errors_in_row + 1 } else { 0 };
        let drained_for = is_draining.then(|| draining_since.get_or_insert_with(Instant::now).elapsed());
        let is_overdue = drained_for.is_some_and(|drained| drained > DRAIN_MAX);
        if outcome == Some(Outcome::Done) && !is_overdue {
            idle_since = None;
            continue;
        }
        if !is_draining {
            tokio::select! {
                () = tokio::time::sleep(flow.every) => {}
                () = shared.drain.asked() => {}
            }
            continue;
        }
        if outcome == Some(Outcome::Skipped) && !is_pending(&shared, flow).await {
            return;
        }
        let waited = idle_since.get_or_insert_with(Instant::now).elapsed();
        if is_overdue || waited > DRAIN_WITHIN || errors_in_row >= ERRORS_MAX || outcome.is_none() {
            recorder.flowed(&flow.program.name, FlowFigures { unfinished: true, ..FlowFigures::default() });
            return;
        }
        tokio::time::sleep(flow.every).await;
    }
}

/// Runs the flow's program once; `None` if there was no connection for it.
async fn once(shared: &Shared, member: usize, flow: &Flow) -> Option<Outcome> {
    let task = Task { run_id: shared.stream.run_id, token: shared.token(), ..Task::default() };
    let recorder = shared.background.shard(0);
    let run = Run::new(shared, &shared.flow_pools, member, &flow.program, recorder, task, Instant::now());
    let ended = run.in_background().finish().await?;
    recorder.flowed(
        &flow.program.name,
        FlowFigures {
            runs: u64::from(ended.outcome == Outcome::Done),
            conflicts: ended.conflicts.into(),
            errors: u64::from(ended.outcome == Outcome::Error),
            unfinished: false,
        },
    );
    Some(ended.outcome)
}

/// Runs a query where the database itself refuses to write.
async fn in_read_only(
    session: &mut dyn Session,
    dialect: Dialect,
    query: &Statement,
) -> Result<Reply, DbError> {
    session.control(dialect.begin_read_only()).await?;
    let reply = session.execute(query, &[]).await;
    session.control("ROLLBACK").await?;
    reply
}

/// Whether there is work left to wait for; a server that cannot be asked may have
/// some.
async fn is_pending(shared: &Shared, flow: &Flow) -> bool {
    let Some(sql) = &flow.pending else { return false };
    let query = Statement { sql: sql.as_str().into(), returns_rows: Some(true), ..Statement::default() };
    let Some(mut lease) = shared.flow_pools[0].lease().await else { return false };
    match in_read_only(lease.session(), flow.program.dialect, &query).await {
        Ok(reply) => reply.matched > 0,
        Err(error) => {
            if error.class == ErrorClass::Lost {
                lease.discard();
            }
            true
        }
    }
}
