//! What was measured so far, a line of JSON for each run, so that a long comparison
//! goes on where it was interrupted.

use super::judge::{CameTo, Sample};
use super::matrix::Matrix;
use crate::text;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// What the first line begins with, however early its writing was cut off.
const HEAD_BEGINS: &str = "{\"stockbench_version\"";

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// Figures of different versions are not of one comparison.
    stockbench_version: String,
    matrix: Matrix,
}

/// A file that grows by a line for each run.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens a journal; what is in it already was measured for this matrix.
    ///
    /// # Errors
    /// It is of another comparison (what differs is named) or none at all, or it
    /// cannot be written.
    pub fn open(path: &Path, matrix: &Matrix) -> Result<(Self, Vec<Sample>)> {
        let written = match std::fs::read_to_string(path) {
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => bail!("cannot read {}: {error}", path.display()),
        };
        // A line that was being written when the end came is measured again.
        let whole = written.rfind('\n').map_or("", |end| &written[..=end]);
        ensure!(
            !whole.is_empty() || written.is_empty() || written.starts_with(HEAD_BEGINS),
            "{}:1: this is no journal of a comparison",
            path.display()
        );
        let samples = read(path, whole, matrix)?;
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        file.set_len(whole.len() as u64)?;
        let mut journal = Self { path: path.to_owned(), file };
        if whole.is_empty() {
            let head =
                Head { stockbench_version: env!("CARGO_PKG_VERSION").to_owned(), matrix: matrix.clone() };
            journal.line(&head)?;
        }
        Ok((journal, samples))
    }

    /// Keeps what one run came to.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&mut self, sample: &Sample) -> Result<()> {
        self.line(sample)
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(line)? + "\n";
        self.file.write_all(line.as_bytes()).with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// The seed of the journal's comparison, for whoever names none.
///
/// # Errors
/// As [`Journal::open`].
pub fn seed_of(path: &Path) -> Result<Option<u64>> {
    let Ok(written) = std::fs::read_to_string(path) else { return Ok(None) };
    let Some((first, _)) = written.split_once('\n') else { return Ok(None) };
    Ok(Some(head(path, first)?.matrix.random_seed))
}

fn head(path: &Path, line: &str) -> Result<Head> {
    serde_json::from_str(line).map_err(|error| {
        let error = text::one_line(&error.to_string());
        anyhow::anyhow!("{}:1: this is no journal of a comparison: {error}", path.display())
    })
}

fn read(path: &Path, written: &str, matrix: &Matrix) -> Result<Vec<Sample>> {
    let mut lines = written.lines();
    let Some(first) = lines.next() else { return Ok(Vec::new()) };
    let head = head(path, first)?;
    let version = env!("CARGO_PKG_VERSION");
    ensure!(
        head.stockbench_version == version,
        "{} was begun by stockbench {}, this is {version}: figures of two versions are not of one comparison",
        path.display(),
        head.stockbench_version
    );
    if let Some(difference) = matrix.difference(&head.matrix) {
        bail!(
            "{} is of another comparison ({difference}): ask the same again, or name another file",
            path.display()
        );
    }
    let mut samples: Vec<Sample> = Vec::new();
    for (number, line) in lines.enumerate() {
        let sample: Sample = serde_json::from_str(line).map_err(|error| {
            let error = text::one_line(&error.to_string());
            anyhow::anyhow!("{}:{}: this is no run of a comparison: {error}", path.display(), number + 2)
        })?;
        // What could not be judged is run again; then the later one counts.
        samples.retain(|earlier| earlier.cell != sample.cell);
        samples.push(sample);
    }
    samples.retain(|sample| !matches!(sample.came_to, CameTo::Undecided(_)));
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::sample;
    use super::super::matrix::tests::matrix;
    use super::*;

    #[test]
    fn a_journal_goes_on_where_it_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let matrix = matrix(&["atomic"], &[1]);
        assert_eq!(seed_of(&path).unwrap(), None);
        let (mut journal, before) = Journal::open(&path, &matrix).unwrap();
        assert!(before.is_empty());
        let one = sample("atomic", 1, 100.0);
        journal.keep(&one).unwrap();
        drop(journal);
        // The end came in the middle of a line.
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"cell\":{\"sett");
        std::fs::write(&path, &text).unwrap();
        let (mut journal, before) = Journal::open(&path, &matrix).unwrap();
        assert_eq!(before, std::slice::from_ref(&one));
        let undecided = Sample { came_to: CameTo::Undecided("lost".to_owned()), ..sample("cas", 1, 1.0) };
        journal.keep(&undecided).unwrap();
        let (mut journal, before) = Journal::open(&path, &matrix).unwrap();
        assert_eq!(before, std::slice::from_ref(&one), "what could not be judged is run again");
        journal.keep(&sample("cas", 1, 2.0)).unwrap();
        let (_, before) = Journal::open(&path, &matrix).unwrap();
        assert_eq!(before.len(), 2);
        assert_eq!(seed_of(&path).unwrap(), Some(matrix.random_seed));
    }

    #[test]
    fn the_journal_of_another_comparison_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        Journal::open(&path, &matrix(&["atomic"], &[1])).unwrap();
        let error = Journal::open(&path, &matrix(&["atomic"], &[10])).unwrap_err().to_string();
        assert!(error.contains("contention: 10 here, 1 there"), "{error}");
        std::fs::write(&path, "notes without an end").unwrap();
        assert!(Journal::open(&path, &matrix(&["atomic"], &[1])).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "notes without an end");
        std::fs::write(&path, "order_id,sku_id\n").unwrap();
        let error = Journal::open(&path, &matrix(&["atomic"], &[1])).unwrap_err().to_string();
        assert!(error.contains(":1: this is no journal") && !error.contains('\n'), "{error}");
    }
}
