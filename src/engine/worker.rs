//! One client: takes the next order, sees it through, reports, takes the next.

use super::Shared;
use super::attempt::Ended;
use super::order::{self, Asked};
use super::phase::{Phase, Start};
use super::recorder::Delivery;
use crate::outcome::Outcome;
use crate::workload::Order;
use std::sync::Arc;
use std::time::Duration;

/// Sends orders until there are no more.
pub(super) async fn client(shared: Arc<Shared>, phase: Arc<Phase>, client: usize) {
    phase.ready().await;
    let recorder = phase.recorder.shard(client);
    let pools = shared.lane_of(client).pools.as_slice();
    while let Some(start) = phase.next(&shared, client).await {
        let Start { number, intended, lag } = start;
        let order = shared.stream.order(number);
        let member = shared.member_of(number);
        let started = intended + lag.unwrap_or_default();
        let invoked = started.saturating_duration_since(shared.epoch());
        let asked = Asked { recorder, pools, member, order: &order, number, started };
        let in_batches = shared.members[member].program.batch.is_some() && order.lines.len() == 1;
        // Boxed: ten thousand clients should not each hold room for what only a
        // batch needs.
        let came_to = if in_batches {
            Box::pin(shared.batches.answer(&shared, asked)).await
        } else {
            order::alone(&shared, asked).await
        };
        let Some(ended) = came_to else {
            return phase.not_sent(&shared, client, lag);
        };
        let delivery = delivery(member, ended, &order, intended.elapsed(), lag);
        shared.answered(recorder, number, &order, &delivery, invoked);
    }
}

fn delivery(
    program: usize,
    ended: Ended,
    order: &Order,
    latency: Duration,
    lag: Option<Duration>,
) -> Delivery {
    Delivery {
        program,
        outcome: ended.outcome,
        error: ended.error,
        recorded: ended.recorded.filter(|_| ended.outcome == Outcome::Duplicate),
        remaining: if ended.outcome == Outcome::Deducted { ended.remaining } else { Vec::new() },
        units: u64::try_from(order.units()).unwrap_or(0),
        latency,
        lag,
        attempts: ended.attempts,
        conflicts: ended.conflicts,
        connection_wait: ended.connection_wait,
        backoff: ended.backoff,
        futile_retries: ended.futile_retries,
        stuck: ended.stuck,
    }
}
