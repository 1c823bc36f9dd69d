//! Files that come with the binary are found by name, the user's own by path.

use crate::input::{self, CONFIG_MAX};
use crate::text;
use anyhow::{Context, Result, anyhow};
use std::path::Path;

/// The path of the user's own file, when it looks like one.
pub fn path(name_or_path: &str) -> Option<&Path> {
    let path = Path::new(name_or_path);
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    (is_toml || name_or_path.contains('/')).then_some(path)
}

/// Finds `name_or_path` among the shipped files, or on disk when it looks like
/// a path. `word` is what such a file is called, `list` the command that lists
/// the shipped ones.
///
/// # Errors
/// An unknown name (the nearest is named), or a file that cannot be read.
pub fn find(shipped: &[(&str, &str)], word: &str, list: &str, name_or_path: &str) -> Result<String> {
    if let Some(path) = path(name_or_path) {
        return input::read_to_string(path, CONFIG_MAX)
            .with_context(|| format!("cannot read {word} file {name_or_path}"));
    }
    let text = shipped.iter().find(|(name, _)| *name == name_or_path).map(|(_, text)| (*text).to_owned());
    text.ok_or_else(|| {
        let suggestion = text::did_you_mean(name_or_path, shipped.iter().map(|(name, _)| *name));
        anyhow!(
            "unknown {word} \"{name_or_path}\"{suggestion} \
             (`stockbench {list}` lists them; a file is named by its path, as in ./mine.toml)"
        )
    })
}
