//! One file per subcommand: resolve what was asked, call, report.

mod audit;
mod audit_tables;
mod check;
mod clean;
mod compare;
mod explore;
mod files;
mod lab;
mod open;
mod report;
mod run;
mod scenarios;
mod secrets;
mod seed;
mod shell;
mod strategies;

use crate::cli::{Cli, Command};
use crate::engine::stop::Stop;
use crate::escape::Screen;
use crate::exit::Exit;
use anyhow::{Context, Result};
use std::fs::Permissions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Does what the command line asks for.
///
/// # Errors
/// One line for the user; a [`UsageError`](crate::exit::UsageError) where the
/// command line or a file is at fault.
pub async fn dispatch(mut cli: Cli) -> Result<Exit> {
    secrets::resolve(&mut cli.command)?;

    match cli.command {
        Command::Run(args) => Box::pin(run::run(*args)).await,
        Command::Seed(args) => Box::pin(seed::seed(args)).await,
        Command::Audit(args) => Box::pin(audit::audit(*args)).await,
        Command::Explore(args) => Box::pin(explore::explore(*args)).await,
        Command::Compare(args) => Box::pin(compare::compare(*args)).await,
        Command::Report(args) => report::report(args),
        Command::Strategies(args) => strategies::strategies(args),
        Command::Scenarios => scenarios::scenarios(),
        Command::Lab(args) => Box::pin(lab::lab(args)).await,
        Command::Clean(args) => Box::pin(clean::clean(args)).await,
        Command::Completions(args) => shell::completions(args.shell),
        Command::Man(args) => shell::man(args),
    }
}

/// Writes to standard output, as on a [`Screen`]: names from a database begin no line of
/// their own. A reader who has read enough and closed the pipe
/// changes nothing of what the command found.
fn to_stdout(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let mut out = Screen::new(&mut stdout);
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Writes a line to standard error. There is nobody to tell if that is gone.
fn to_stderr(line: impl std::fmt::Display) {
    drop(writeln!(Screen::new(&mut io::stderr()), "{line}"));
}

/// Writes an error to standard error: one line, whatever names are in it.
pub fn complain(error: impl std::fmt::Display) {
    to_stderr(format_args!("stockbench: {error:#}"));
}

/// Writes a file whole or not at all: under another name first. What is no file
/// (a pipe, a device) is written to as it is, and a link stays one.
fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> Result<()> {
        let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Ok(std::fs::write(path, content)?);
        }
        let readable_by_all = Permissions::from_mode(0o644);
        let mut file = tempfile::Builder::new().permissions(readable_by_all).tempfile_in(folder_of(path))?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The first Ctrl-C, SIGTERM, SIGQUIT or SIGHUP drains. Another one stops at once, unless it is
/// a SIGHUP: a terminal that is closed sends several.
async fn stop_on_signal(stop: Stop, by: &str) {
    let Ok(mut signals) = EndSignals::listen() else { return };
    loop {
        let is_hangup = signals.next().await == SignalKind::hangup();
        if stop.is_asked() {
            if is_hangup {
                continue;
            }
            std::process::exit(Exit::Interrupted as i32);
        }
        stop.ask();
        to_stderr(format_args!("stopping: {by} (once more stops at once)"));
    }
}

/// The signals that ask a process to end.
struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    /// None where whoever started us wants it ignored, as `nohup` does.
    hangup: Option<Signal>,
    quit: Option<Signal>,
}

impl EndSignals {
    fn listen() -> io::Result<Self> {
        let ignored = ignored_signals();
        let unless_ignored = |kind: SignalKind| {
            let is_ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
            (!is_ignored).then(|| signal(kind)).transpose()
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: unless_ignored(SignalKind::hangup())?,
            quit: unless_ignored(SignalKind::quit())?,
        })
    }

    /// Waits for the next one.
    async fn next(&mut self) -> SignalKind {
        async fn received(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            () = received(&mut self.hangup) => SignalKind::hangup(),
            () = received(&mut self.quit) => SignalKind::quit(),
        }
    }
}

/// Signals that are ignored in this process, a bit each from the lowest for signal 1. Where
/// the system does not say (it is Linux that does), all of them: what is not caught does
/// what it did.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(u64::MAX)
}
