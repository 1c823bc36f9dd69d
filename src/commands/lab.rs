//! `stockbench lab`: a throwaway server, until Ctrl-C.

use super::open::start_lab;
use super::{EndSignals, to_stderr, to_stdout};
use crate::cli::LabArgs;
use crate::exit::Exit;
use crate::lab::LabOptions;
use anyhow::Result;

pub(super) async fn lab(args: LabArgs) -> Result<Exit> {
    let server =
        start_lab(args.kind, LabOptions { durable: !args.async_commit, ..LabOptions::default() }).await?;
    // Before the URL is out: whoever reads it may want us gone at once.
    let mut signals = EndSignals::listen()?;
    // The password opens nothing but this server, which ends with us.
    to_stdout(|out| writeln!(out, "{}", server.url))?;
    to_stderr(format_args!("in {} until Ctrl-C", server.folder.display()));
    signals.next().await;
    drop(server);
    Ok(Exit::Held)
}
