//! Parse, run, exit code.

// Tests may unwrap; what ships says what it expects.
#![warn(clippy::unwrap_used)]

use anyhow::Error;
use clap::Parser;
use std::io::Write;
use std::process::ExitCode;
use stockbench::cli::Cli;
use stockbench::commands;
use stockbench::exit::{Exit, UsageError, usage};

/// The driver allocates at every statement; here that is the client's cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A missing .env is the usual case; a broken one is told below.
    let dotenv = dotenvy::dotenv();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return fail(&usage(one_line(&error))).into(),
        Err(help) => help.exit(),
    };
    if let Err(error) = dotenv
        && !error.not_found()
    {
        // Its own words would quote the line, and the line may hold a password.
        let what = if matches!(error, dotenvy::Error::Io(_)) {
            "cannot be read"
        } else {
            "has a line that does not parse"
        };
        return fail(&usage(format!(".env {what}"))).into();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()).into(),
    };
    let ended = runtime.block_on(commands::dispatch(cli));
    ended.unwrap_or_else(|error| fail(&error)).into()
}

/// What clap says of a bad command line, without its paragraphs.
fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let lines = rendered.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<&str> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    without_passwords(said.join("; ").trim_start_matches("error: "))
}

/// A URL given without its flag is quoted back: not with what stands before
/// its host.
fn without_passwords(text: &str) -> String {
    let masked = |word: &str| match (word.split_once("://"), word.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        _ => word.to_owned(),
    };
    text.split(' ').map(masked).collect::<Vec<_>>().join(" ")
}

/// One line on standard error, and the exit code that goes with it.
fn fail(error: &Error) -> Exit {
    // Nobody to tell if standard error is gone.
    drop(writeln!(std::io::stderr(), "stockbench: {error:#}"));
    if error.downcast_ref::<UsageError>().is_some() { Exit::Usage } else { Exit::CouldNot }
}
