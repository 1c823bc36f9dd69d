//! A run that several processes share: whoever comes first makes the tables and enters
//! the run, the others join it. What they agree on stands in the list of runs; the
//! database's locks say who is at work. There is nobody else to ask.

use crate::cli::RunArgs;
use crate::db::schema::{self, RunRow};
use crate::db::{Database, Dialect, RunLock, Session};
use crate::engine::stop::Stop;
use crate::exit::usage;
use crate::report::change::differences;
use crate::report::config::Config;
use crate::report::progress::Progress;
use crate::scenario::Plan;
use crate::workload::Segment;
use anyhow::{Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often a lock that another segment has for a moment is asked for again.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// What the segments of a run have agreed on.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Joint {
    /// Another version may make other orders of the same seed.
    stockbench_version: String,
    start_at_ms: u64,
    random_seed: u64,
    /// The texts of the strategies, which may be files of the machines' own.
    strategies: Vec<String>,
    config: Config,
    /// Who has joined.
    taken: Vec<Segment>,
}

impl Joint {
    /// What this process was asked for.
    pub(super) fn asked(plan: &Plan, config: Config, start_at: SystemTime) -> Result<Self> {
        Ok(Self {
            stockbench_version: env!("CARGO_PKG_VERSION").to_owned(),
            start_at_ms: u64::try_from(start_at.duration_since(UNIX_EPOCH)?.as_millis())?,
            random_seed: plan.random_seed,
            strategies: plan.mix.iter().map(|(strategy, _)| strategy.text.clone()).collect(),
            config,
            taken: Vec::new(),
        })
    }

    /// The first thing in which another process was asked for something else.
    fn difference(&self, other: &Self) -> Result<Option<String>> {
        let differing = [
            (self.stockbench_version != other.stockbench_version).then_some("the version of stockbench"),
            (self.random_seed != other.random_seed).then_some("--random-seed"),
            (self.strategies != other.strategies).then_some("the text of a strategy"),
        ];
        if let Some(differing) = differing.into_iter().flatten().next() {
            return Ok(Some(differing.to_owned()));
        }
        // How many connections are free here, and which part this is, is its own affair.
        Ok(differences(&self.config, &other.config, &["segment", "connections"])?.into_iter().next())
    }
}

/// What is not for a segment is said before anything is asked of a database.
pub(super) fn check(args: &RunArgs, plan: &Plan) -> Result<()> {
    if let Some(start_at) = args.start_at
        && start_at <= SystemTime::now()
    {
        return Err(usage(
            "--start-at is past: leave time for every process to come up and open its connections",
        ));
    }
    let Some(segment) = args.segment else { return Ok(()) };
    if plan.concurrency < segment.of {
        return Err(usage(format!(
            "--segment {segment}: {} clients are too few to share, every segment needs one",
            plan.concurrency
        )));
    }
    Ok(())
}

/// Takes the right to look who is there and to join: others have it for moments only,
/// but for the one that seeds.
pub(super) async fn lock(database: &Database, start_at: SystemTime) -> Result<RunLock> {
    if matches!(database.dialect(), Dialect::Sqlite | Dialect::Null) {
        return Err(usage("--segment shares a run on a server: here one process is enough"));
    }
    let waiting = Progress::preparing("waiting for other segments to join");
    let lock = loop {
        match database.lock_beside_segments().await {
            Err(_) if SystemTime::now() < start_at => tokio::time::sleep(LOCK_POLL).await,
            lock => break lock,
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
    if let Some(differing) = joint.difference(asked)? {
        return Err(usage(format!(
            "--segment {segment}: the others of the run were asked for something else: {differing}"
        )));
    }
    if let Some(other) = joint.taken.iter().find(|taken| taken.of != segment.of) {
        return Err(usage(format!("--segment {segment}: the run has a segment {other} already")));
    }
    ensure!(!joint.taken.contains(&segment), "segment {segment} of the run has been taken already");
    Ok(Some((run, joint)))
}

/// Joins it: this segment is taken, and others may look who is there again.
pub(super) async fn enter(
    control: &mut dyn Session,
    (database, lock): (&Database, &mut RunLock),
    segment: Segment,
    (run, mut joint): (&RunRow, Joint),
) -> Result<()> {
    let own = database.lock_segment(segment.number).await?;
    joint.taken.push(segment);
    schema::keep_joint(control, database.dialect(), run.id, &serde_json::to_string(&joint)?).await?;
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
