//! `stockbench lab`: a throwaway server, until Ctrl-C.

use super::open::start_lab;
use super::{to_stderr, to_stdout};
use crate::cli::LabArgs;
use crate::exit::Exit;
use crate::lab::LabOptions;
use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

pub(super) async fn lab(args: LabArgs) -> Result<Exit> {
    let server =
        start_lab(args.kind, LabOptions { durable: !args.async_commit, ..LabOptions::default() }).await?;
    // Before the URL is out: whoever reads it may want us gone at once.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut quit = signal(SignalKind::quit())?;
    // The password opens nothing but this server, which ends with us.
    to_stdout(|out| writeln!(out, "{}", server.url))?;
    to_stderr(format_args!("in {} until Ctrl-C", server.folder.display()));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
        _ = quit.recv() => {}
    }
    drop(server);
    Ok(Exit::Held)
}
