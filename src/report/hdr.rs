//! The latencies of a run as an HdrHistogram interval log: one line a second
//! and outcome, for the tools that read such logs.

use crate::engine::phase::Tick;
use crate::engine::recorder::LatencyUs;
use crate::escape;
use crate::streamed::StreamedFile;
use anyhow::{Context, Result};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Writes the log while the run goes on.
///
/// Values are microseconds from an order's intended start to its answer, and
/// the tag is the outcome. In an open loop a second line for each outcome,
/// tagged `uncorrected_…`, counts from the real start.
pub struct HdrLog {
    path: PathBuf,
    /// What was logged; until the first interval tells when it began.
    head: Option<String>,
    file: StreamedFile,
    serializer: V2DeflateSerializer,
    failure: Option<anyhow::Error>,
}

impl HdrLog {
    /// Creates the file.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, run: &str) -> Result<Self> {
        let file = StreamedFile::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            head: Some(run.to_owned()),
            file,
            serializer: V2DeflateSerializer::new(),
            failure: None,
        })
    }

    /// The head of the file: times of intervals are counted from its BaseTime.
    fn begin(&mut self, run: &str, started: SystemTime) -> std::io::Result<()> {
        IntervalLogWriterBuilder::new()
            .add_comment(&format!("[Logged by stockbench {}]", env!("CARGO_PKG_VERSION")))
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(&format!(
                "[{}; values are order latencies in microseconds, tags are outcomes]",
                escape::line(run)
            ))
            .with_start_time(started)
            .with_base_time(started)
            .begin_log_with(&mut self.file, &mut self.serializer)?;
        writeln!(
            self.file,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )
    }

    /// Adds an interval. A failure is kept for [`HdrLog::finish`].
    pub fn add(&mut self, tick: &Tick<'_>) {
        if let Some(run) = self.head.take()
            && let Err(error) = self.begin(&run, SystemTime::now() - tick.at)
        {
            self.failure.get_or_insert(error.into());
        }
        let figures = tick.interval;
        let corrected =
            figures.order.iter().map(|(outcome, latencies)| (outcome.as_str().to_owned(), latencies));
        let uncorrected = figures
            .uncorrected
            .iter()
            .map(|(outcome, latencies)| (format!("uncorrected_{}", outcome.as_str()), latencies));
        for (tag, latencies) in corrected.chain(uncorrected) {
            if let Err(error) = self.write(tick, &tag, latencies) {
                self.failure.get_or_insert(error);
            }
        }
    }

    fn write(&mut self, tick: &Tick<'_>, tag: &str, latencies: &LatencyUs) -> Result<()> {
        let mut writer =
            IntervalLogWriterBuilder::new().begin_log_with(&mut self.file, &mut self.serializer)?;
        let start = tick.at.saturating_sub(tick.span);
        writer.write_histogram(latencies, start, tick.span, Tag::new(tag))?;
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// Anything that could not be written since it was created.
    pub fn finish(self) -> Result<()> {
        let finished = match self.failure {
            Some(failure) => Err(failure),
            None => self.file.finish().map_err(anyhow::Error::from),
        };
        finished.with_context(|| format!("cannot write {}", self.path.display()))
    }
}
