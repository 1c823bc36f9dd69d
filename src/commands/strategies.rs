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
            let rows: Result<Vec<[String; 3]>> = catalogue::names().map(row).collect();
            let rows = rows?;
            to_stdout(|out| terminal::catalogue(out, &rows))?;
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

fn row(name: &str) -> Result<[String; 3]> {
    let file = Strategy::load(name)?.file;
    let safety = match file.safety {
        Some(Safety::Safe) => "safe",
        Some(Safety::Unsafe) => "unsafe",
        None => "",
    };
    let note = file.safety_note.map_or_else(String::new, |note| format!(" [unsafe: {note}]"));
    Ok([name.to_owned(), safety.to_owned(), format!("{}{note}", file.summary)])
}
