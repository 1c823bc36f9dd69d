//! The `.env` file: variables that the environment does not have.

use crate::exit::usage;
use crate::input::{CONFIG_MAX, Input};
use anyhow::Result;
use std::path::PathBuf;

/// The nearest `.env`, in this folder or one above it.
pub fn find() -> Option<PathBuf> {
    let folder = std::env::current_dir().ok()?;
    folder.ancestors().map(|folder| folder.join(".env")).find(|file| file.is_file())
}

/// Sets the variables of the nearest `.env`, if there is one.
///
/// # Errors
/// It cannot be read or does not parse. No line of it is quoted: it may hold a password.
pub fn load() -> Result<()> {
    let Some(file) = find() else { return Ok(()) };

    let file =
        Input::open(&file, CONFIG_MAX).map_err(|error| usage(format!(".env cannot be read: {error}")))?;
    dotenvy::from_read(file).map_err(|error| match error {
        dotenvy::Error::Io(error) => usage(format!(".env cannot be read: {error}")),
        _ => usage(".env has a line that does not parse"),
    })
}
