//! `stockbench scenarios`: what comes with the binary.

use super::to_stdout;
use crate::exit::Exit;
use crate::report::terminal;
use crate::scenario::{Chosen, SHIPPED, Scenario};
use anyhow::Result;

pub(super) fn scenarios() -> Result<Exit> {
    let row = |(name, _): &(&str, &str)| -> Result<[String; 3]> {
        let scenario = Scenario::load(name)?;
        let strategy = match scenario.strategy {
            Some(Chosen::Named(name)) => name,
            Some(Chosen::Inline(_)) => "its own".to_owned(),
            None => String::new(),
        };
        Ok([(*name).to_owned(), strategy, scenario.summary])
    };
    let rows: Result<Vec<[String; 3]>> = SHIPPED.iter().map(row).collect();
    let rows = rows?;
    to_stdout(|out| terminal::catalogue(out, ["SCENARIO", "STRATEGY", "SUMMARY"], &rows))?;
    Ok(Exit::Held)
}
