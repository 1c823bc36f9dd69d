//! One client: takes the next order, sees it through, reports, takes the next.

use super::Shared;
use super::attempt::{Ended, Run};
use super::batch::Asked;
use super::phase::{Phase, Start};
use super::recorder::Delivery;
use crate::outcome::Outcome;
use crate::strategy::interpret::Task;
use crate::strategy::program::Draw;
use crate::workload::Order;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;
use std::time::Duration;

/// Sends orders until there are no more.
pub(super) async fn client(shared: Arc<Shared>, phase: Arc<Phase>, client: usize) {
    phase.ready().await;
    let recorder = phase.recorder.shard(client);
    while let Some(start) = phase.next(&shared, client).await {
        let Start { number, intended, lag } = start;
        let order = shared.stream.order(number);
        let member = shared.member_of(number);
        let started = intended + lag.unwrap_or_default();
        let invoked = started.saturating_duration_since(shared.epoch());
        let asked = Asked { recorder, member, order: &order, number, started };
        let in_batches = shared.members[member].program.batch.is_some() && order.lines.len() == 1;
        let came_to = if in_batches {
            shared.batches.answer(&shared, asked).await
        } else {
            alone(&shared, asked).await
        };
        let Some(ended) = came_to else { return };
        let delivery = delivery(member, ended, &order, intended.elapsed(), lag);
        shared.answered(recorder, number, &order, &delivery, invoked);
    }
}

/// Sees an order through by itself.
pub(super) async fn alone(shared: &Shared, asked: Asked<'_>) -> Option<Ended> {
    let Asked { recorder, member, order, number, started } = asked;
    let program = &shared.members[member].program;
    let mut task = Task { token: shared.token(), ..Task::of(order, shared.stream.run_id) };
    if program.leaves_to_chance() {
        // What an order is given by chance is the same at every delivery of it.
        let mut of_order = ChaCha8Rng::seed_from_u64(shared.stream.seed ^ number.rotate_left(32));
        task.chance = of_order.next_u64();
        task.drawn = draw_all(&program.draws, &mut of_order);
    }
    Run::new(shared, member, program, recorder, task, started).finish().await
}

fn draw_all(draws: &[Draw], rng: &mut impl Rng) -> Vec<i64> {
    let mut values: Vec<i64> = draws.iter().map(|draw| rng.random_range(draw.min..=draw.max)).collect();
    for (index, draw) in draws.iter().enumerate() {
        // The range has two values at least, so another one comes.
        while draw.not.is_some_and(|other| values[other] == values[index]) {
            values[index] = rng.random_range(draw.min..=draw.max);
        }
    }
    values
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
