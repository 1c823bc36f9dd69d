//! `stockbench scenarios`: what comes with the binary.

use crate::exit::Exit;
use crate::report::terminal;
use crate::scenario::{SHIPPED, Scenario};
use anyhow::Result;

pub(super) fn scenarios() -> Result<Exit> {
    let row = |(name, _): &(&str, &str)| -> Result<[String; 3]> {
        let scenario = Scenario::load(name)?;
        Ok([(*name).to_owned(), scenario.strategy.unwrap_or_default(), scenario.summary])
    };
    let rows: Result<Vec<[String; 3]>> = SHIPPED.iter().map(row).collect();
    terminal::catalogue(&mut std::io::stdout().lock(), &rows?)?;
    Ok(Exit::Held)
}
