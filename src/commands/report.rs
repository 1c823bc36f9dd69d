//! `stockbench report`: results that were kept as JSON, as a page or as Markdown.

use super::files::Files;
use super::{to_stdout, write_whole};
use crate::cli::ReportArgs;
use crate::exit::{Exit, usage};
use crate::input::{self, RESULT_MAX};
use crate::report::compared::{self, CompareReport};
use crate::report::model::SCHEMA_VERSION;
use crate::report::{Document, Report, markdown, merge, page, terminal};
use crate::text;
use anyhow::Result;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a file holds.
enum Kept {
    Run(Box<Report>),
    Comparison(Box<CompareReport>),
}

pub(super) fn report(args: ReportArgs) -> Result<Exit> {
    Files::default()
        .writes("--html", args.html.as_ref())
        .writes("--json", args.json.as_ref())
        .reads("a result that is read", &args.results)
        .check()?;
    let mut runs: Vec<(String, Report)> = Vec::new();
    let mut comparisons = Vec::new();
    for (path, name) in args.results.iter().zip(names(&args.results)) {
        match read(path)? {
            Kept::Run(report) => runs.push((name, *report)),
            Kept::Comparison(report) => comparisons.push(*report),
        }
    }
    if args.merge {
        if !comparisons.is_empty() {
            return Err(usage(
                "--merge puts segments of a run together, and one of the files is a comparison",
            ));
        }
        return merge_segments(&args, runs);
    }
    let comparison = match (&runs[..], &comparisons[..]) {
        ([], [only]) => Some(only),
        ([], _) => return Err(usage("a comparison is a page of its own: name one file")),
        (_, []) => None,
        _ => return Err(usage("runs and comparisons are not shown on one page: name files of one kind")),
    };
    let refused = |error: anyhow::Error| usage(format!("{error:#}"));
    if let Some(path) = &args.html {
        let html = match comparison {
            Some(comparison) => page::comparison(comparison)?,
            None => page::runs(&runs, args.noise).map_err(refused)?,
        };
        write_whole(path, html.as_bytes())?;
    }
    if args.markdown || args.html.is_none() {
        if let Some(comparison) = comparison {
            to_stdout(|out| compared::markdown(out, comparison))?;
        } else {
            let markdown = markdown::runs(&runs, args.noise).map_err(refused)?;
            to_stdout(|out| out.write_all(markdown.as_bytes()))?;
        }
    }
    Ok(Exit::Held)
}

/// What files are called: by their own names, unless two have the same one in different
/// folders.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let whole = || paths.iter().map(|path| path.display().to_string());
    let files: Option<Vec<String>> =
        paths.iter().map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    let files = files.unwrap_or_default();
    let distinct: BTreeSet<&String> = files.iter().collect();
    if distinct.len() == paths.len() { files } else { whole().collect() }
}

/// Puts the segments of a run together, and shows them as that run.
fn merge_segments(args: &ReportArgs, segments: Vec<(String, Report)>) -> Result<Exit> {
    let report = merge::together(segments).map_err(|error| usage(format!("--merge: {error:#}")))?;
    if let Some(path) = &args.json {
        write_whole(path, report.to_json()?.as_bytes())?;
    }
    let named = [(report.strategy.clone(), report)];
    if let Some(path) = &args.html {
        write_whole(path, page::runs(&named, args.noise)?.as_bytes())?;
    }
    let [(_, report)] = &named;
    if args.markdown {
        let markdown = markdown::runs(&named, args.noise)?;
        to_stdout(|out| out.write_all(markdown.as_bytes()))?;
    } else {
        to_stdout(|out| {
            writeln!(out, "{}", terminal::database_line(&report.database))?;
            terminal::run(out, report)
        })?;
    }
    Ok(report.exit())
}

/// Reads the report of a run.
///
/// # Errors
/// As a bad file's: one line that names it.
pub(super) fn read_run(path: &Path) -> Result<Report> {
    match read(path)? {
        Kept::Run(report) => Ok(*report),
        Kept::Comparison(_) => Err(usage(format!("{}: this is a comparison, not one run", path.display()))),
    }
}

/// Reads a result.
///
/// # Errors
/// One line: the file, and why it is no result of stockbench.
fn read(path: &Path) -> Result<Kept> {
    let name = path.display();
    let text = input::read_to_string(path, RESULT_MAX)
        .map_err(|error| usage(format!("cannot read {name}: {error}")))?;
    let wrong = |error: serde_json::Error| {
        let error = text::one_line(&error.to_string());
        usage(format!("{name}: this is no result of `run --json` or `compare --json`: {error}"))
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(wrong)?;
    // Another shape is named as one, before a field is found missing in it.
    if let Some(version) = value.get("schema_version").filter(|version| **version != SCHEMA_VERSION) {
        return Err(usage(format!(
            "{name} has schema_version {version}, and this stockbench reads {SCHEMA_VERSION}: use the one that wrote it"
        )));
    }
    if value.get("matrix").is_some() {
        Ok(Kept::Comparison(parsed(&text).map_err(wrong)?))
    } else {
        Ok(Kept::Run(parsed(&text).map_err(wrong)?))
    }
}

/// From the text and not from a value, so that an error has its line.
fn parsed<T: DeserializeOwned>(text: &str) -> serde_json::Result<Box<T>> {
    serde_json::from_str(text).map(Box::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_by_their_own_names_where_these_differ() {
        let names = |paths: [&str; 2]| names(&paths.map(PathBuf::from));
        assert_eq!(names(["a/before.json", "b/after.json"]), ["before.json", "after.json"]);
        assert_eq!(names(["a/run.json", "b/run.json"]), ["a/run.json", "b/run.json"]);
    }
}
