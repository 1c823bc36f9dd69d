//! One client: takes the next order, sees it through, reports, takes the next.

use super::Shared;
use super::attempt::{Ended, pause};
use super::deliveries::Next;
use super::order::{self, Asked};
use super::phase::{Phase, Start};
use super::recorder::Delivery;
use super::retry::RetryPolicy;
use crate::outcome::{OnUnknown, Outcome};
use crate::workload::Order;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sends orders until there are no more.
pub(super) async fn client(shared: Arc<Shared>, phase: Arc<Phase>, client: usize) {
    phase.ready().await;
    let recorder = phase.recorder.shard(client);
    let pools = shared.lane_of(client).pools.as_slice();
    while let Some(start) = phase.next(&shared, client).await {
        let Start { next: Next { number, copy }, intended, lag } = start;
        let order = shared.stream.order(number);
        let member = shared.member_of(number);
        let started = intended + lag.unwrap_or_default();
        let invoked = started.saturating_duration_since(shared.epoch());
        let asked = Asked { recorder, pools, member, order: &order, number, copy, asks: 0, started };
        let Some(mut ended) = answer(&shared, asked).await else {
            return phase.not_sent(&shared, client, lag);
        };
        let retry = &shared.members[member].retry;
        let is_unknown = ended.outcome == Outcome::Unknown && !ended.cut_off;
        if is_unknown && retry.unknown == OnUnknown::SameId {
            shared.lost_answer(asked, &ended, invoked);
            // Boxed, like all that is rare: every client holds room for the rest.
            ended = Box::pin(ask_again(&shared, asked, ended, retry)).await;
        }
        let delivery = delivery(member, ended, &order, intended.elapsed(), lag);
        shared.answered(recorder, number, &order, &delivery, invoked);
        if is_unknown && retry.unknown == OnUnknown::NewId {
            Box::pin(order_again(&shared, asked)).await;
        }
    }
}

/// Sees an order through; `None` if it was never sent.
async fn answer(shared: &Shared, asked: Asked<'_>) -> Option<Ended> {
    let in_batches = shared.members[asked.member].program.batch.is_some() && asked.order.lines.len() == 1;
    // Boxed: ten thousand clients should not each hold room for what only a
    // batch needs.
    if in_batches {
        Box::pin(shared.batches.answer(shared, asked)).await
    } else {
        order::alone(shared, asked).await
    }
}

/// The answer was lost: asks again under the same id until there is one, as long
/// as the order's own time allows.
async fn ask_again(shared: &Shared, asked: Asked<'_>, mut ended: Ended, retry: &RetryPolicy) -> Ended {
    let mut asks = 0;
    while ended.outcome == Outcome::Unknown && !ended.cut_off {
        asks += 1;
        let delay =
            RetryPolicy { tries: 0, ..*retry }.next_delay(asks, asked.started.elapsed(), &mut rand::rng());
        let Some(delay) = delay.filter(|_| !shared.stop.is_asked()) else { break };
        pause(delay, &shared.stop).await;
        let Some(again) = answer(shared, Asked { asks, ..asked }).await else { break };
        ended = again.after(&ended);
    }
    ended
}

/// The answer was lost: orders the same once more, as a delivery of its own.
async fn order_again(shared: &Shared, asked: Asked<'_>) {
    let order = shared.stream.order_again(asked.number);
    let started = Instant::now();
    let invoked = started.saturating_duration_since(shared.epoch());
    let again = Asked { order: &order, started, asks: 1, ..asked };
    if let Some(ended) = answer(shared, again).await {
        let delivery = delivery(asked.member, ended, &order, started.elapsed(), None);
        shared.answered_again(again, &delivery, invoked);
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
