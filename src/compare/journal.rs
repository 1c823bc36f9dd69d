//! What was measured so far, a line of JSON for each run, so that a long comparison
//! goes on where it was interrupted.

use super::judge::{CameTo, Sample};
use super::matrix::Matrix;
use crate::input::{self, RESULT_MAX};
use crate::text;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// The databases, by their names in the matrix.
    servers: Servers,
}

/// What a database must still be for its figures to go on, in words.
pub type Servers = BTreeMap<String, String>;

/// A file that grows by a line for each run.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// What it was begun with, if it was.
    head: Option<Head>,
}

impl Journal {
    /// Opens a journal; what is in it already was measured for this matrix. Nothing is
    /// written before [`Journal::begin`].
    ///
    /// # Errors
    /// It is of another comparison (what differs is named) or none at all, or it
    /// cannot be written.
    pub fn open(path: &Path, matrix: &Matrix) -> Result<(Self, Vec<Sample>)> {
        let written = written(path)?;
        let whole = whole_lines(path, &written)?;
        let (head, samples) = read(path, whole, matrix)?;
        let cut_to_whole_lines = || {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            file.set_len(whole.len() as u64)?;
            Ok::<_, std::io::Error>(file)
        };
        let file = cut_to_whole_lines().with_context(|| format!("cannot write {}", path.display()))?;
        Ok((Self { path: path.to_owned(), file, head }, samples))
    }

    /// Begins it on these servers, or goes on with it, on the same ones.
    ///
    /// # Errors
    /// A server is another one than before (which is named), or the file cannot be written.
    pub fn begin(&mut self, matrix: &Matrix, servers: Servers) -> Result<()> {
        if let Some(head) = &self.head {
            let differing = servers.iter().find(|(name, server)| head.servers.get(*name) != Some(server));
            if let Some((name, server)) = differing {
                let was = head.servers.get(name).map_or("nothing", String::as_str);
                bail!(
                    "{} was begun on another server: {name} is {server} here, {was} there",
                    self.path.display()
                );
            }
            return Ok(());
        }
        let stockbench_version = env!("CARGO_PKG_VERSION").to_owned();
        self.line(&Head { stockbench_version, matrix: matrix.clone(), servers })
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
    let written = written(path)?;
    let first = whole_lines(path, &written)?.lines().next();
    Ok(first.map(|first| head(path, first)).transpose()?.map(|head| head.matrix.random_seed))
}

fn written(path: &Path) -> Result<Vec<u8>> {
    match input::read(path, RESULT_MAX) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| anyhow!("cannot read {}: {error}", path.display())),
    }
}

/// All but a line that was being written when the end came, whose run is made again. The
/// end may have come inside of a character, or inside of the head.
fn whole_lines<'w>(path: &Path, written: &'w [u8]) -> Result<&'w str> {
    let no_journal = || format!("{}:1: this is no journal of a comparison", path.display());
    let begins = HEAD_BEGINS.as_bytes();
    let common = written.len().min(begins.len());
    ensure!(written[..common] == begins[..common], no_journal());
    let end = written.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    std::str::from_utf8(&written[..end]).with_context(no_journal)
}

fn head(path: &Path, line: &str) -> Result<Head> {
    serde_json::from_str(line).map_err(|error| {
        let error = text::one_line(&error.to_string());
        anyhow!("{}:1: this is no journal of a comparison: {error}", path.display())
    })
}

fn read(path: &Path, written: &str, matrix: &Matrix) -> Result<(Option<Head>, Vec<Sample>)> {
    let mut lines = written.lines();
    let Some(first) = lines.next() else { return Ok((None, Vec::new())) };
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
            anyhow!("{}:{}: this is no run of a comparison: {error}", path.display(), number + 2)
        })?;
        // What could not be judged is run again; then the later one counts.
        samples.retain(|earlier| earlier.cell != sample.cell);
        samples.push(sample);
    }
    // So is what was refused: a flag may have been added that lets it run, and it costs nothing.
    samples.retain(|sample| matches!(sample.came_to, CameTo::Measured(_)));
    Ok((Some(head), samples))
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::sample;
    use super::super::matrix::tests::matrix;
    use super::*;

    fn servers(version: &str) -> Servers {
        Servers::from([("postgres".to_owned(), format!("PostgreSQL {version}"))])
    }

    /// A journal of this matrix that has begun, in a folder of its own.
    fn begun(matrix: &Matrix) -> (tempfile::TempDir, PathBuf, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        assert_eq!(seed_of(&path).unwrap(), None);
        let (mut journal, before) = Journal::open(&path, matrix).unwrap();
        assert!(before.is_empty());
        journal.begin(matrix, servers("15")).unwrap();
        (folder, path, journal)
    }

    #[test]
    fn a_journal_goes_on_where_it_was_cut_off() {
        let matrix = matrix(&["atomic"], &[1]);
        let (_folder, path, mut journal) = begun(&matrix);
        let one = sample("atomic", 1, 100.0);
        journal.keep(&one).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        // The end came in the middle of a line, and of a character.
        for cut in [&b"{\"cell\":{\"sett"[..], b"{\"cell\":{\"setting\":\"caf\xc3"] {
            std::fs::write(&path, [&whole[..], cut].concat()).unwrap();
            let (_, before) = Journal::open(&path, &matrix).unwrap();
            assert_eq!(before, std::slice::from_ref(&one));
        }
        let (mut journal, _) = Journal::open(&path, &matrix).unwrap();
        journal.begin(&matrix, servers("15")).unwrap();
        journal.keep(&sample("cas", 1, 2.0)).unwrap();
        let (_, before) = Journal::open(&path, &matrix).unwrap();
        assert_eq!(before.len(), 2);
        assert_eq!(seed_of(&path).unwrap(), Some(matrix.random_seed));
        // It came in the head already.
        for length in [0, 5, HEAD_BEGINS.len(), 60] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(seed_of(&path).unwrap(), None, "{length}");
            let (mut journal, before) = Journal::open(&path, &matrix).unwrap();
            journal.begin(&matrix, servers("15")).unwrap();
            assert!(before.is_empty() && seed_of(&path).unwrap().is_some(), "{length}");
        }
    }

    #[test]
    fn what_was_not_measured_is_run_again() {
        let matrix = matrix(&["atomic"], &[1]);
        let (_folder, path, mut journal) = begun(&matrix);
        let why = "--allow-writes".to_owned();
        for came_to in [CameTo::Undecided("lost".to_owned()), CameTo::Refused(why)] {
            journal.keep(&Sample { came_to, ..sample("atomic", 1, 1.0) }).unwrap();
            assert!(Journal::open(&path, &matrix).unwrap().1.is_empty());
        }
        journal.keep(&sample("atomic", 1, 2.0)).unwrap();
        assert_eq!(Journal::open(&path, &matrix).unwrap().1, [sample("atomic", 1, 2.0)]);
    }

    #[test]
    fn the_journal_of_another_comparison_is_refused_by_name() {
        let matrix = matrix(&["atomic"], &[1]);
        let (_folder, path, _) = begun(&matrix);
        let refused = |matrix: &Matrix| Journal::open(&path, matrix).unwrap_err().to_string();
        let error = refused(&super::super::matrix::tests::matrix(&["atomic"], &[10]));
        assert!(error.contains("contention: 10 here, 1 there"), "{error}");
        let files = BTreeMap::from([("atomic".to_owned(), "another".to_owned())]);
        let error = refused(&Matrix { files, ..matrix.clone() });
        assert!(error.contains("the text of atomic is another one"), "{error}");

        let (mut journal, _) = Journal::open(&path, &matrix).unwrap();
        let error = journal.begin(&matrix, servers("16")).unwrap_err().to_string();
        assert!(error.contains("postgres is PostgreSQL 16 here, PostgreSQL 15 there"), "{error}");
        let older = std::fs::read_to_string(&path).unwrap().replace(env!("CARGO_PKG_VERSION"), "0.0.9");
        std::fs::write(&path, older).unwrap();
        let error = refused(&matrix);
        assert!(error.contains("was begun by stockbench 0.0.9"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_journal_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        for notes in [&b"notes without an end"[..], b"order_id,sku_id\n", b"\xff\xfe"] {
            std::fs::write(&path, notes).unwrap();
            let error = Journal::open(&path, &matrix(&["atomic"], &[1])).unwrap_err().to_string();
            assert!(error.contains(":1: this is no journal") && !error.contains('\n'), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), notes);
        }
    }
}
