//! Parse, run, exit code.

use anyhow::Error;
use clap::Parser;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use stockbench::cli::Cli;
use stockbench::commands;
use stockbench::exit::{Exit, UsageError};

fn main() -> ExitCode {
    // A missing .env is the usual case; a broken one is told below.
    let dotenv = dotenvy::dotenv();
    let cli = Cli::parse();
    if let Err(error) = dotenv
        && !error.not_found()
    {
        return fail(&stockbench::exit::usage(format!(".env: {error}"))).into();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()).into(),
    };
    let ended = runtime.block_on(commands::dispatch(cli));
    ended.unwrap_or_else(|error| fail(&error)).into()
}

/// One line on standard error, and the exit code that goes with it.
fn fail(error: &Error) -> Exit {
    let is_broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_broken_pipe) {
        // Whoever read our output has read enough.
        return Exit::Held;
    }
    // Nobody to tell if standard error is gone.
    drop(writeln!(std::io::stderr(), "stockbench: {error:#}"));
    if error.downcast_ref::<UsageError>().is_some() { Exit::Usage } else { Exit::CouldNot }
}
