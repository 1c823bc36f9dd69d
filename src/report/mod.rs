//! Views of one versioned [`model::Report`]: the terminal and JSON, and the
//! live progress of a run that is still going on.
//!
//! Adding a reporter is one file here that is a function of a writer and a
//! report. Anything printed is in the JSON.

pub mod model;
pub mod progress;
pub mod tables;
pub mod terminal;
pub mod threshold;

pub use model::Report;
pub use threshold::Threshold;
