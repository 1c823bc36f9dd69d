//! What looks at a run once a second while it goes on: the time series, the
//! log of latencies, live metrics, and thresholds that end it early.

use crate::engine::phase::Tick;
use crate::report::hdr::HdrLog;
use crate::report::measured::Measured;
use crate::report::metrics::Metrics;
use crate::report::series::Second;
use crate::report::threshold::{self, Judged, Threshold};
use anyhow::Result;
use std::ops::ControlFlow;

/// Everybody who looks at a run while it goes on.
pub(super) struct Watch {
    /// What ends the run when it is breached.
    pub(super) abort_on: Vec<Threshold>,
    pub(super) hdr: Option<HdrLog>,
    pub(super) metrics: Option<Metrics>,
    pub(super) clients: u64,
    /// Whether it is a segment, whose seconds are to be added to others'.
    pub(super) is_part: bool,
    pub(super) series: Vec<Second>,
    pub(super) breach: Option<Judged>,
}

impl Watch {
    /// Looks at the figures; says whether the run may go on.
    pub(super) fn look(&mut self, tick: &Tick<'_>) -> ControlFlow<()> {
        self.series.push(Second::of(tick, self.is_part));
        if let Some(hdr) = &mut self.hdr {
            hdr.add(tick);
        }
        if let Some(metrics) = &self.metrics {
            metrics.update(tick, self.clients);
        }
        if self.breach.is_none() && !self.abort_on.is_empty() {
            let measured = Measured::of(tick.total, tick.at);
            // Figures that cannot be judged now are judged at the end.
            self.breach = threshold::first_breach(&self.abort_on, &measured).unwrap_or_default();
        }
        if self.breach.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Completes what was written.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.hdr.take().map_or(Ok(()), HdrLog::finish)
    }
}
