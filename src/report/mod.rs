//! Views of one versioned [`model::Report`]: the terminal, JSON and JUnit; and
//! of a run that is still going on: live progress, metrics, a log of latencies.
//!
//! In reading order: [`measured`] has the figures, [`series`] the same second by
//! second, [`client`] what they cost, [`config`] what was asked, [`advice`] what they suggest, [`given_up`]
//! counts what was refused for good, [`sold_out`] says since when nothing was left, [`model`] puts it all together, [`threshold`] judges them, [`change`] holds them against another
//! run's; the rest are the views.
//!
//! Adding a reporter is one file here that is a function of a writer and a
//! report. Anything printed is in the JSON.

pub mod advice;
pub mod change;
pub mod client;
pub mod compared;
pub mod config;
pub mod explored;
mod given_up;
mod grid;
pub mod hdr;
pub mod junit;
pub mod markdown;
pub mod measured;
pub mod merge;
pub mod metrics;
pub mod model;
pub mod page;
pub mod progress;
pub mod series;
mod sold_out;
pub mod statements;
pub mod tables;
pub mod terminal;
pub mod threshold;

pub use model::Report;
pub use threshold::Threshold;

use crate::escape;
use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

/// What is printed as JSON, in a shape that the repository keeps the schema of.
pub trait Document: Serialize + JsonSchema {
    /// It as JSON.
    ///
    /// # Errors
    /// Serialisation fails, which would be a bug.
    fn to_json(&self) -> Result<String> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        Ok(escape::json(&json).into_owned())
    }

    /// The JSON Schema of its kind.
    ///
    /// # Errors
    /// Serialisation fails, which would be a bug.
    fn json_schema() -> Result<String>
    where
        Self: Sized,
    {
        Ok(serde_json::to_string_pretty(&schemars::schema_for!(Self))? + "\n")
    }
}
