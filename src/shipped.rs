//! Files that come with the binary are found by name, the user's own by path.

use crate::text;
use anyhow::{Context, Result, anyhow};

/// Finds `name_or_path` among the shipped files, or on disk when it looks like
/// a path. `word` is what such a file is called, `list` the command that lists
/// the shipped ones.
///
/// # Errors
/// An unknown name (the nearest is named), or a file that cannot be read.
pub fn find(shipped: &[(&str, &str)], word: &str, list: &str, name_or_path: &str) -> Result<String> {
    let is_toml = std::path::Path::new(name_or_path).extension().is_some_and(|extension| extension == "toml");
    if is_toml || name_or_path.contains('/') {
        return std::fs::read_to_string(name_or_path)
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
