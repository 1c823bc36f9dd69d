//! One order by itself: what it is given by chance, and its way through the
//! program.

use super::Shared;
use super::attempt::{Ended, Run};
use super::pool::SessionPool;
use super::recorder::ShardHandle;
use crate::strategy::interpret::Task;
use crate::workload::Order;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::time::Instant;

/// An order that is to be answered, and where.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) recorder: ShardHandle<'a>,
    pub(super) pools: &'a [SessionPool],
    pub(super) member: usize,
    pub(super) order: &'a Order,
    pub(super) number: u64,
    /// Which delivery of it this is, from 0.
    pub(super) copy: u32,
    /// How often it was asked for before, because the answer was lost.
    pub(super) asks: u32,
    pub(super) started: Instant,
}

/// Sees an order through by itself.
pub(super) async fn alone(shared: &Shared, asked: Asked<'_>) -> Option<Ended> {
    let Asked { recorder, pools, member, order, number, copy, asks, started } = asked;
    let program = &shared.members[member].program;
    let mut task = Task { token: shared.token(), ..Task::of(order, shared.stream.run_id) };
    if program.leaves_to_chance() {
        // What an order is given by chance is the same at every delivery of it.
        let mut of_order = ChaCha8Rng::seed_from_u64(shared.stream.seed ^ number.rotate_left(32));
        task.chance = of_order.next_u64();
        task.drawn = program.draw(&mut of_order);
    }
    // Each time it is sent something else may befall it, the same when the run is repeated.
    let chance = number.rotate_left(32) ^ u64::from(copy).rotate_left(16) ^ u64::from(asks);
    let run = Run::new(shared, pools, member, program, recorder, task, started);
    run.with_chance(chance).finish().await
}
