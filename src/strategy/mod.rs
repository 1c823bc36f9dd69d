//! Strategies: ways to deduct stock, written as data.
//!
//! In reading order: [`file`] is what a strategy file may say, [`program`] is
//! what is made of it (pure data), `compile` makes it, [`interpret`] is the one
//! step function that every caller drives, [`catalogue`] holds the built-in
//! files, [`guard`] finds the tables a program writes and [`access`] how a
//! statement uses them, [`show`] prints them.
//!
//! Architecture invariant: nothing in here does I/O or knows a driver, and no
//! strategy's name appears in Rust outside the catalogue and tests.

pub mod access;
pub mod catalogue;
mod compile;
pub mod file;
pub mod guard;
pub mod interpret;
pub mod program;
pub mod show;
mod sql;

pub use file::{Control, Safety, StrategyFile};
pub use interpret::{Action, Machine};
pub use program::{Program, Setting};

use crate::shipped;
use anyhow::Result;

/// A strategy as chosen by the user: its name and the file behind it.
#[derive(Debug, Clone)]
pub struct Strategy {
    /// A catalogue name, or the path of the user's own file.
    pub name: String,
    /// The file's text, as `strategies show` prints it.
    pub text: String,
    /// The parsed text.
    pub file: StrategyFile,
}

impl Strategy {
    /// Finds a built-in strategy by name, or reads the file that a path names.
    ///
    /// # Errors
    /// An unknown name (the nearest is named), an unreadable file, or a file
    /// that breaks the format.
    pub fn load(name_or_path: &str) -> Result<Self> {
        let text = shipped::find(catalogue::BUILT_IN, "strategy", "strategies", name_or_path)?;
        let file = StrategyFile::parse(name_or_path, &text)?;
        let name = name_or_path.to_owned();
        Ok(Self { name, text, file })
    }

    /// The program this strategy sends in a setting.
    ///
    /// # Errors
    /// The dialect cannot express the strategy, or the file is inconsistent.
    pub fn compile(&self, setting: &Setting) -> Result<Program> {
        Program::compile(&self.name, &self.file, setting)
    }
}
