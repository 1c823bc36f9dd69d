//! A run that several processes share: whoever comes first makes the tables and enters
//! the run, the others join it. What they agree on stands in the list of runs; the
//! database's locks say who is at work. There is nobody else to ask.

use super::CONNECTIONS_DEFAULT_MAX;
use super::stage::Stage;
use crate::cli::RunArgs;
use crate::db::schema::{self, RunRow};
use crate::db::{Database, Dialect, RunLock, Session};
use crate::engine::Service;
use crate::engine::stop::Stop;
use crate::exit::usage;
use crate::fault::FaultSpec;
use crate::input::{self, ORDERS_MAX};
use crate::report::change::differences;
use crate::report::config::Config;
use crate::report::merge::OF_THE_PROCESS;
use crate::report::progress::Progress;
use crate::scenario::Plan;
use crate::text;
use crate::workload::Segment;
use anyhow::{Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often a lock that another segment has for a moment is asked for again.
const LOCK_POLL: Duration = Duration::from_millis(500);

/// Connections beside the clients' that a segment has while it comes up: its lock, and one
/// to look around.
const CONNECTIONS_ASIDE: u64 = 2;

/// What the segments of a run have agreed on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Joint {
    /// Another version may make other orders of the same seed.
    stockbench_version: String,
    start_at_ms: u64,
    random_seed: u64,
    /// How many segments there are.
    of: u64,
    /// What the strategies are, how the orders are shared among them, and what is expected
    /// of them: they may come from files of the machines' own.
    strategies: u64,
    /// Where services have databases of their own.
    services: Vec<String>,
    /// Which Redis it is, by the number that it gave itself when it started.
    redis: Option<String>,
    /// Connections that were asked for.
    asked_connections: Option<u64>,
    /// The content of the file that the orders come from.
    replay: Option<u64>,
    isolation: String,
    /// The nodes of a cluster in their order, since locks belong to a node.
    nodes: Vec<String>,
    config: Config,
    /// Connections of all segments together, as whoever came first saw them free.
    pub(super) connections: u64,
}

impl Joint {
    /// What this process was asked for.
    pub(super) fn asked(
        plan: &Plan,
        stage: &Stage,
        database: &Database,
        config: Config,
        (segment, start_at): (Segment, SystemTime),
    ) -> Result<Self> {
        let nodes = database.url().nodes();
        let files: Vec<_> = plan.mix.iter().map(|(strategy, weight)| (&strategy.file, weight)).collect();
        let named = |service: &Service| format!("{}={}", service.name, service.database.url());
        let replay = plan.replay.as_ref().map(|(path, _)| input::read(path, ORDERS_MAX)).transpose()?;
        Ok(Self {
            stockbench_version: env!("CARGO_PKG_VERSION").to_owned(),
            start_at_ms: u64::try_from(start_at.duration_since(UNIX_EPOCH)?.as_millis())?,
            random_seed: plan.random_seed,
            of: segment.of,
            strategies: digest(&format!("{files:?} {:?}", plan.expect)),
            services: stage.services.iter().map(named).collect(),
            redis: stage.redis.as_ref().map(|stage| stage.redis.run_id.clone()),
            asked_connections: plan.connections,
            replay: replay.map(|content| digest(&content)),
            isolation: database.info.isolation.clone(),
            nodes: if nodes.len() > 1 { nodes.iter().map(ToString::to_string).collect() } else { Vec::new() },
            config,
            connections: 0,
        })
    }

    /// The first thing in which another process was asked for something else.
    fn difference(&self, other: &Self) -> Result<Option<String>> {
        let differing = [
            (self.of != other.of, "the number of segments"),
            (self.stockbench_version != other.stockbench_version, "the version of stockbench"),
            (self.random_seed != other.random_seed, "--random-seed"),
            (
                self.strategies != other.strategies,
                "the content of a strategy, its share of the orders, or what is expected of it",
            ),
            (self.services != other.services, "the databases of services (--service)"),
            (self.redis != other.redis, "the Redis (--redis-url)"),
            (self.asked_connections != other.asked_connections, "--connections"),
            (self.replay != other.replay, "the content of the file with the orders"),
            (self.isolation != other.isolation, "the isolation level"),
            (self.nodes != other.nodes, "the nodes of the cluster, or their order"),
        ];
        if let Some((_, differing)) = differing.into_iter().find(|(differs, _)| *differs) {
            return Ok(Some(differing.to_owned()));
        }
        Ok(differences(&self.config, &other.config, &OF_THE_PROCESS)?.into_iter().next())
    }
}

/// The same content has the same digest in the same version of stockbench.
fn digest(content: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// What is not for a segment is said before anything is asked of a database.
pub(super) fn check(args: &RunArgs, plan: &Plan, expected: Option<Dialect>) -> Result<()> {
    if let Some(start_at) = args.start_at
        && start_at <= SystemTime::now()
    {
        return Err(usage(
            "--start-at is past: leave time for every process to come up and open its connections",
        ));
    }
    let Some(segment) = args.segment else { return Ok(()) };
    let refused = |why: String| Err(usage(format!("--segment {segment}: {why}")));
    if matches!(expected, Some(Dialect::Sqlite | Dialect::Null)) {
        return refused("segments share a run on a server; here one process is enough".to_owned());
    }
    if let Some(fault) = plan.faults.iter().find(|fault| matches!(fault, FaultSpec::Timed(_))) {
        return refused(format!(
            "--fault {fault} befalls the server or the way to it, which every segment would do: leave it out"
        ));
    }
    if let Some(threshold) = plan.expect.thresholds.iter().find(|threshold| threshold.is_of_audit()) {
        return refused(format!(
            "the threshold `{threshold}` is of the audit, which is made when all have ended"
        ));
    }
    for (what, how_many) in [("clients", Some(plan.concurrency)), ("orders", plan.orders)] {
        if let Some(how_many) = how_many.filter(|how_many| *how_many < segment.of) {
            return refused(format!("{how_many} {what} are too few to share, every segment needs one"));
        }
    }
    Ok(())
}

/// Takes the right to look who is there and to join: others have it for moments only,
/// but for the one that seeds.
pub(super) async fn lock(database: &Database, start_at: SystemTime) -> Result<RunLock> {
    let waiting = Progress::preparing("waiting for another segment");
    let lock = loop {
        match database.try_lock().await {
            Ok(None) if SystemTime::now() < start_at => tokio::time::sleep(LOCK_POLL).await,
            Ok(None) => {
                break Err(anyhow!("another stockbench is working on {} at --start-at", database.url()));
            }
            Ok(Some(lock)) => break Ok(lock),
            Err(error) => break Err(error),
        }
    };
    waiting.finish();
    lock
}

/// The run that others have entered already, if this process was asked for the same.
pub(super) async fn find(
    control: &mut dyn Session,
    segment: Segment,
    asked: &Joint,
) -> Result<Option<(RunRow, Joint)>> {
    let Some(run) = schema::latest_run(control).await? else { return Ok(None) };
    let Some(text) = schema::joint(control, run.id).await? else { return Ok(None) };
    // Another version's agreement is none of ours.
    let Ok(joint) = serde_json::from_str::<Joint>(&text) else { return Ok(None) };
    if joint.start_at_ms != asked.start_at_ms {
        return Ok(None);
    }
    match joint.difference(asked)? {
        Some(differing) => Err(usage(format!(
            "--segment {segment}: the others of the run were asked for something else: {differing}"
        ))),
        None => Ok(Some((run, joint))),
    }
}

/// Decides for all segments how many connections they have, and lets them find the run.
pub(super) async fn open(
    control: &mut dyn Session,
    database: &Database,
    segment: Segment,
    (run, joint): (&RunRow, &Joint),
) -> Result<()> {
    ensure!(
        joint.connections >= segment.of,
        "{} has {} left, too few for {} segments",
        database.dialect().title(),
        text::count(joint.connections, "connection"),
        segment.of
    );
    schema::keep_joint(control, database.dialect(), run.id, &serde_json::to_string(joint)?).await
}

/// Connections for all segments: what was asked for, or what is free beside what each of
/// them has aside.
pub(super) fn connections(plan: &Plan, free: u64, segment: Segment) -> Result<u64> {
    let free = free.saturating_sub(CONNECTIONS_ASIDE * segment.of);
    match plan.connections {
        Some(asked) if asked > free => {
            bail!("--connections {asked} is more than the {free} that are left for {} segments", segment.of)
        }
        asked => Ok(asked.unwrap_or(CONNECTIONS_DEFAULT_MAX).min(free)),
    }
}

/// From here on this process is its segment, and others may look who is there: the
/// database knows by the lock, and forgets with it.
pub(super) async fn enter((database, lock): (&Database, &mut RunLock), segment: Segment) -> Result<()> {
    let own = database.lock_segment(segment.number).await?;
    std::mem::replace(lock, own).release().await;
    Ok(())
}

/// Waits until the common moment, or until the run is stopped.
///
/// # Errors
/// It is past already: the others have begun.
pub(super) async fn wait(start_at: Option<SystemTime>, stop: &Stop) -> Result<()> {
    let Some(start_at) = start_at else { return Ok(()) };
    let left = start_at.duration_since(SystemTime::now()).map_err(|late| {
        anyhow!(
            "ready {:.1} s after --start-at: choose a later moment, so that every process has its connections open by then",
            late.duration().as_secs_f64()
        )
    })?;
    let waiting =
        Progress::preparing(&format!("waiting for {}", humantime::format_rfc3339_seconds(start_at)));
    tokio::select! {
        () = tokio::time::sleep(left) => {}
        () = stop.asked() => {}
    }
    waiting.finish();
    Ok(())
}

/// From a common moment on, the measured window begins so much after the warm-up's time
/// is over: its last answers come meanwhile.
const SETTLE: Duration = Duration::from_secs(1);

/// Waits until the measured windows of all segments begin, if there is a common moment.
pub(super) async fn wait_for_window(start_at: Option<SystemTime>, warmup: Option<Duration>, stop: &Stop) {
    let begins = start_at.zip(warmup).map(|(start_at, warmup)| start_at + warmup + SETTLE);
    // Whose last answers took longer begins late; its figures say when.
    let left = begins.and_then(|begins| begins.duration_since(SystemTime::now()).ok());
    tokio::select! {
        () = tokio::time::sleep(left.unwrap_or_default()) => {}
        () = stop.asked() => {}
    }
}
