//! `stockbench strategies`: the catalogue, a file, or the SQL that is sent.

use super::to_stdout;
use crate::cli::{StrategiesArgs, StrategiesCommand};
use crate::exit::{Exit, usage};
use crate::report::terminal;
use crate::strategy::{Safety, Strategy, catalogue, show};
use anyhow::Result;

pub(super) fn strategies(args: StrategiesArgs) -> Result<Exit> {
    match args.command.unwrap_or(StrategiesCommand::List) {
        StrategiesCommand::List => {
            let rows: Result<Vec<[String; 4]>> = catalogue::names().map(row).collect();
            let rows = rows?;
            to_stdout(|out| terminal::catalogue(out, ["STRATEGY", "SAFETY", "NODES", "SUMMARY"], &rows))?;
        }
        StrategiesCommand::Show { name, dialect } => {
            let strategy = Strategy::load(&name).map_err(|error| usage(format!("{error:#}")))?;
            let text = match dialect {
                None => strategy.text,
                Some(dialect) => show::program(&strategy.compile(&dialect.into()).map_err(usage)?),
            };
            to_stdout(|out| out.write_all(text.as_bytes()))?;
        }
    }
    Ok(Exit::Held)
}

/// Name, safety, safety with clients on several nodes, summary.
fn row(name: &str) -> Result<[String; 4]> {
    let file = Strategy::load(name)?.file;
    let in_words = |safety: Option<Safety>| safety.map_or_else(String::new, |safety| safety.to_string());
    let note = file.safety_note.map_or_else(String::new, |note| format!(" [unsafe: {note}]"));
    let on_nodes = in_words(file.several_nodes.or(file.safety));
    Ok([name.to_owned(), in_words(file.safety), on_nodes, format!("{}{note}", file.summary)])
}
