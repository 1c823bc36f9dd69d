//! `stockbench report`: results that were kept as JSON, as a page or as Markdown.

use super::{check_writable, to_stdout, write_whole};
use crate::cli::ReportArgs;
use crate::exit::{Exit, usage};
use crate::report::compared::{self, CompareReport};
use crate::report::{Document, Report, markdown, merge, page, terminal};
use crate::text;
use anyhow::Result;
use serde::de::DeserializeOwned;
use std::path::Path;

/// What a file holds.
enum Kept {
    Run(Box<Report>),
    Comparison(Box<CompareReport>),
}

pub(super) fn report(args: ReportArgs) -> Result<Exit> {
    check_writable(args.html.iter().chain(&args.json))?;
    let mut runs: Vec<(String, Report)> = Vec::new();
    let mut comparisons = Vec::new();
    for path in &args.results {
        match read(path)? {
            Kept::Run(report) => runs.push((path.display().to_string(), *report)),
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
    let text =
        std::fs::read_to_string(path).map_err(|error| usage(format!("cannot read {name}: {error}")))?;
    let wrong = |error: serde_json::Error| {
        let error = text::one_line(&error.to_string());
        usage(format!("{name}: this is no result of `run --json` or `compare --json`: {error}"))
    };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(wrong)?;
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
