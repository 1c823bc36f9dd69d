//! `stockbench scenarios`: what comes with the binary.

use super::to_stdout;
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
    let rows = rows?;
    to_stdout(|out| terminal::catalogue(out, &rows))?;
    Ok(Exit::Held)
}
