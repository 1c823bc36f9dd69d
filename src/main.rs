//! Parse, run, exit code.

// Tests may unwrap; what ships says what it expects.
#![warn(clippy::unwrap_used)]
// A command is one future, with everything that it waits for inside.
#![recursion_limit = "256"]

use anyhow::{Context, Error, Result};
use clap::Parser;
use std::backtrace::Backtrace;
use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use stockbench::cli::Cli;
use stockbench::db::url::masked;
use stockbench::exit::{Exit, NO_THREADS, UsageError, usage};
use stockbench::{arguments, commands, dotenv};
use tokio::runtime::Builder;

/// The driver allocates at every statement; here that is the client's cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    panic::set_hook(Box::new(end_by_panic));

    let ended = arguments::take().map_err(usage).and_then(run);
    ended.unwrap_or_else(|error| fail(&error)).into()
}

fn run(arguments: Vec<OsString>) -> Result<Exit> {
    // A bad command line is said first.
    let dotenv = dotenv::load();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return Err(usage(one_line(&error))),
        Err(help) => help.exit(),
    };
    dotenv?;

    check_threads().context(NO_THREADS)?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(commands::dispatch(cli))
}

/// The runtime panics where the system gives it no thread, so its threads are tried first.
fn check_threads() -> io::Result<()> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut waiting = Vec::with_capacity(workers);
    for _ in 0..workers {
        let (alive, ended) = mpsc::channel::<()>();
        // It waits until the other end is dropped.
        let thread = thread::Builder::new().spawn(move || ended.recv().is_ok())?;
        waiting.push((alive, thread));
    }
    for (alive, thread) in waiting {
        drop(alive);
        drop(thread.join());
    }
    Ok(())
}

/// One line for what must not happen. Nobody may wait for a thread that is gone, so all
/// of them end; servers that were started end with them.
fn end_by_panic(panic: &PanicHookInfo<'_>) {
    if std::env::var_os("RUST_BACKTRACE").is_some_and(|wanted| wanted != "0") {
        drop(writeln!(io::stderr(), "{}", Backtrace::force_capture()));
    }
    let said = panic.payload_as_str().unwrap_or("no reason given");
    let place = panic.location().map_or_else(String::new, |place| format!(" ({place})"));
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    commands::complain(if is_about_threads(&said) {
        format!("{NO_THREADS}: {said}")
    } else {
        format!("internal error, please report it: {said}{place}")
    });
    std::process::exit(Exit::CouldNot as i32);
}

/// Whether a panic says that a thread could not be started: its stacks are memory, too.
fn is_about_threads(said: &str) -> bool {
    said.contains("spawn") && said.contains("thread") || said.contains("alternative stack")
}

/// What clap says of a bad command line, without its paragraphs.
fn one_line(error: &clap::Error) -> String {
    let rendered = error.render().to_string();
    let lines = rendered.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let said: Vec<&str> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("For more information")).collect();
    masked(said.join("; ").trim_start_matches("error: "))
}

/// One line on standard error, and the exit code that goes with it.
fn fail(error: &Error) -> Exit {
    commands::complain(error);
    if error.downcast_ref::<UsageError>().is_some() { Exit::Usage } else { Exit::CouldNot }
}
