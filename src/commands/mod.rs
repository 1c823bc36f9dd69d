//! One file per subcommand: resolve what was asked, call, report.

mod audit;
mod clean;
mod lab;
mod open;
mod run;
mod scenarios;
mod seed;
mod strategies;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use anyhow::Result;
use std::io::{self, ErrorKind, Write};

/// Does what the command line asks for.
///
/// # Errors
/// One line for the user; a [`UsageError`](crate::exit::UsageError) where the
/// command line or a file is at fault.
pub async fn dispatch(cli: Cli) -> Result<Exit> {
    match cli.command {
        Command::Run(args) => run::run(*args).await,
        Command::Seed(args) => seed::seed(args).await,
        Command::Audit(args) => audit::audit(args).await,
        Command::Strategies(args) => strategies::strategies(args),
        Command::Scenarios => scenarios::scenarios(),
        Command::Lab(args) => lab::lab(args).await,
        Command::Clean(args) => clean::clean(args).await,
    }
}

/// Writes to standard output. A reader who has read enough and closed the pipe
/// changes nothing of what the command found.
fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
