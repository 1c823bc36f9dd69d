//! `stockbench completions` and `stockbench man`: what a package installs beside the
//! binary, from the command line itself.

use super::to_stdout;
use crate::cli::{Cli, ManArgs};
use crate::exit::{Exit, usage};
use crate::text;
use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;

const NAME: &str = "stockbench";

pub(super) fn completions(shell: Shell) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    to_stdout(|out| out.write_all(&script))?;
    Ok(Exit::Held)
}

pub(super) fn man(args: ManArgs) -> Result<Exit> {
    let mut cli = Cli::command();
    cli.build();
    let command = match &args.command {
        None => cli,
        Some(name) => {
            let names: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
            let known = cli.get_subcommands().find(|command| command.get_name() == name);
            known.cloned().ok_or_else(|| {
                let suggestion = text::did_you_mean(name, names);
                usage(format!("there is no command {}{suggestion}", text::one_line(name)))
            })?
        }
    };
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    to_stdout(|out| out.write_all(&page))?;
    Ok(Exit::Held)
}
