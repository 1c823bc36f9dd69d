//! What the harness itself costs per order, on a session that does nothing.
//!
//! `cargo bench` prints nanoseconds; docs/harness-cost.md says how to read them.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use stockbench::db::schema::SkuIds;
use stockbench::db::{Database, DatabaseUrl, Dialect, Reply, SessionSettings, Value};
use stockbench::engine::recorder::{Delivery, Recorder};
use stockbench::engine::retry::RetryPolicy;
use stockbench::engine::stop::Stop;
use stockbench::engine::{Engine, Load, Member, Parts};
use stockbench::fault::Faults;
use stockbench::outcome::Outcome;
use stockbench::strategy::interpret::Task;
use stockbench::strategy::{Action, Machine, Program, Strategy, catalogue};
use stockbench::workload::arrivals::{Arrivals, Pace, Profile, Spacing};
use stockbench::workload::orders::{LineOrder, OrderSource, OrderStream, Span};
use stockbench::workload::{Distribution, Generated};
use tokio::runtime::{Builder, Runtime};

const SKUS: i64 = 1_000_000;

fn stream(skus: i64, distribution: Distribution) -> OrderStream {
    let one = Span { min: 1, max: 1 };
    let generated = Generated::new(SkuIds::UpTo(skus), distribution, one, one, 7);
    OrderStream {
        source: OrderSource::Generated(generated),
        line_order: LineOrder::Sorted,
        seed: 7,
        run_id: 1,
    }
}

fn program() -> Program {
    let strategy = Strategy::load(catalogue::DEFAULT).expect("the default strategy is built in");
    strategy.compile(&Dialect::Null.into()).expect("it compiles")
}

fn load(orders: u64, pace: Pace) -> Load {
    Load {
        segment: stockbench::workload::Segment::WHOLE,
        concurrency: 64,
        connections: 64,
        threads: 1,
        pace,
        warmup: None,
        latency_limit: None,
        per_statement: false,
        orders: Some(orders),
        duplicates: 0,
        duration: None,
        think: Duration::ZERO,
        acquire_timeout: None,
        transaction_timeout: None,
        reconnect: Duration::ZERO,
    }
}

/// A whole run of so many orders; only the measured window counts.
fn run(runtime: &Runtime, load: Load) -> Duration {
    runtime.block_on(async {
        let url = DatabaseUrl::parse("null:").expect("a URL");
        let settings = SessionSettings::default();
        let database = Database::connect(&url, &settings, Duration::ZERO).await.expect("nothing can fail");
        let program = program();
        let retry = RetryPolicy {
            tries: program.tries,
            delay_min: program.delay.0,
            delay_max: program.delay.1,
            within: program.within,
            unknown: program.unknown,
        };
        let parts = Parts {
            members: vec![Member { program, weight: 1, retry }],
            services: Vec::new(),
            redis: None,
            redis_killer: None,
            stream: stream(10_000, Distribution::Uniform),
            load,
            faults: Faults::default(),
            recovery: Arc::default(),
            history: None,
        };
        let engine = Engine::prepare(database, settings, parts, Stop::default()).await.expect("it prepares");
        engine.warm_up().await.run(&mut |_| ControlFlow::Continue(())).await.elapsed
    })
}

/// One thread, so that the time that passes is the time that it works.
fn order_loop(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let closed = || Pace::Closed { clients: Profile::constant(64.0, None) };
    criterion.bench_function("order loop, closed", |bencher| {
        bencher.iter_custom(|orders| run(&runtime, load(orders, closed())));
    });
    let timed = |orders| Load { per_statement: true, ..load(orders, closed()) };
    criterion.bench_function("order loop, every statement timed", |bencher| {
        bencher.iter_custom(|orders| run(&runtime, timed(orders)));
    });
}

fn order_stream(criterion: &mut Criterion) {
    for (name, distribution) in [
        ("draw an order, uniform over 1,000,000 SKUs", Distribution::Uniform),
        ("draw an order, zipfian over 1,000,000 SKUs", Distribution::Zipfian { s: 0.99 }),
        ("draw an order, hotspot over 1,000,000 SKUs", Distribution::Hotspot { data: 0.1, operations: 0.9 }),
    ] {
        let stream = stream(SKUS, distribution);
        let mut number = 0;
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                number += 1;
                black_box(stream.order(number))
            });
        });
    }
    let rate = Profile::constant(1e5, None);
    let mut arrivals = Arrivals::new(rate, Spacing::Poisson, 7);
    criterion.bench_function("draw a poisson arrival", |bencher| bencher.iter(|| black_box(arrivals.next())));
}

fn recorder(criterion: &mut Criterion) {
    let recorder = Recorder::new(1, None);
    let delivery = Delivery {
        outcome: Outcome::Deducted,
        latency: Duration::from_micros(3_217),
        lag: None,
        attempts: 1,
        ..Delivery::skipped(Duration::ZERO)
    };
    criterion.bench_function("record a delivery and its attempt", |bencher| {
        bencher.iter(|| {
            recorder.shard(0).attempt(black_box(Duration::from_micros(3_101)), false);
            recorder.shard(0).delivered(1, black_box(&delivery))
        });
    });
}

fn interpreter(criterion: &mut Criterion) {
    let program = program();
    let stream = stream(10_000, Distribution::Uniform);
    let order = stream.order(1);
    criterion.bench_function("interpret an order", |bencher| {
        bencher.iter(|| {
            let mut machine = Machine::new(&program, Task::of(black_box(&order), 1));
            loop {
                match machine.action() {
                    Action::Done(outcome) => break outcome,
                    Action::Execute(statement) => {
                        let values = statement.columns.iter().map(|_| Value::Int(1)).collect();
                        black_box(machine.binds(|| 0));
                        machine.succeeded(Reply { matched: 1, values, rows: Vec::new() });
                    }
                    _ => machine.succeeded(Reply::default()),
                }
            }
        });
    });
}

criterion_group!(harness, order_loop, order_stream, recorder, interpreter);
criterion_main!(harness);
