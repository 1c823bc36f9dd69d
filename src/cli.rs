//! The command line: what can be said, and nothing done about it.

use crate::db::{Dialect, Isolation};
use crate::lab::LabKind;
use crate::text::duration;
use crate::workload::orders::{LineOrder, Span};
use crate::workload::skew::Distribution;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// A concurrency stress harness for stock deduction on real databases.
#[derive(Debug, Parser)]
#[command(name = "stockbench", version, about, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 held · 1 could not run or judge · 2 bad usage or file · \
    3 the audit found a violation · 130 interrupted")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Seed, fire concurrent orders with a strategy, audit, report
    #[command(
        allow_negative_numbers = true,
        after_help = "Example: sell 1,000 units of one SKU to 5,000 orders of 500 clients on a throwaway\n\
        PostgreSQL, and see whether every unit is accounted for:\n\n  \
        stockbench run -s optimistic --lab postgres -c 500 --skus 1 --stock 1000 --orders 5000"
    )]
    Run(Box<RunArgs>),
    /// Replace the stock and its ledger in stockbench's own tables
    #[command(
        allow_negative_numbers = true,
        after_help = "Example:\n\n  stockbench seed --skus 1000000 --stock 50 --database-url postgres://me@localhost/shop"
    )]
    Seed(SeedArgs),
    /// Check the stock against its ledger and the clients' answers, read-only
    #[command(after_help = "Example: run with a history file, and judge it again later:\n\n  \
        stockbench run -s naive --history answers.csv\n  stockbench audit --history answers.csv")]
    Audit(AuditArgs),
    /// List the strategies, or show one as a file or as SQL
    #[command(
        after_help = "Example: the SQL that `cas` sends to MySQL, and a file to start your own from:\n\n  \
        stockbench strategies show cas --dialect mysql\n  stockbench strategies show cas > mine.toml"
    )]
    Strategies(StrategiesArgs),
    /// List the scenarios that come with stockbench
    #[command(after_help = "Example:\n\n  stockbench scenarios\n  stockbench run --scenario flash-sale")]
    Scenarios,
    /// Start a private, throwaway database server and keep it until Ctrl-C
    #[command(
        after_help = "Example: in one terminal, then use the URL it prints in another:\n\n  stockbench lab postgres"
    )]
    Lab(LabArgs),
    /// Drop stockbench's own tables and nothing else
    #[command(after_help = "Example:\n\n  stockbench clean --database-url mysql://me@localhost/shop")]
    Clean(CleanArgs),
}

/// Which database.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// postgres://, mysql://, mariadb:// or sqlite:; without one, SQLite in ./stockbench.db
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Use a throwaway server of this kind, started from binaries on this machine
    #[arg(long, value_name = "KIND")]
    pub lab: Option<LabKind>,
    /// Wait this long for the database to come up
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub wait_for_db: Duration,
}

/// What `run` takes. Every value that is given overrides the scenario's.
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Strategy: a name from `stockbench strategies`, or the path of your own file
    #[arg(short, long, value_name = "NAME|FILE")]
    pub strategy: Option<String>,
    /// Scenario: a name from `stockbench scenarios`, or a path
    #[arg(long, value_name = "NAME|FILE")]
    pub scenario: Option<String>,

    /// Where.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// How much.
    #[command(flatten)]
    pub load: LoadArgs,

    /// Leave stock and ledger as they are
    #[arg(long, help_heading = "Stock")]
    pub no_seed: bool,
    /// Let the strategy write tables outside the prefix stockbench_ in the database of this name
    #[arg(long, value_name = "DATABASE", help_heading = "Stock")]
    pub allow_writes: Option<String>,

    /// What to print on stdout
    #[arg(short, long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    pub output: Output,
    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Keep every answer, so that `audit --history` can judge the run again later
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub history: Option<PathBuf>,
    /// List every order of every finding
    #[arg(long, help_heading = "Output")]
    pub full: bool,
}

/// The load of a run: given as flags, or by a scenario file under the same names.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[command(next_help_heading = "Load")]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LoadArgs {
    /// Concurrent clients [default: 50]
    #[arg(short, long, value_name = "N", value_parser = positive)]
    pub concurrency: Option<u64>,
    /// Orders to send [default: 2000, or the whole file with --replay]
    #[arg(short = 'n', long, value_name = "N", value_parser = positive)]
    pub orders: Option<u64>,
    /// Send orders for this long instead
    #[arg(short, long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub duration: Option<Duration>,
    /// Connections that the clients share [default: what the database can use]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub connections: Option<u64>,
    /// A pause between a program's read and its write
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub think: Option<Duration>,
    /// Isolation level [default: the server's own]
    #[arg(long, value_name = "LEVEL")]
    pub isolation: Option<Isolation>,
    /// How long a lock is waited for [default: the server's own]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    #[serde(with = "as_text")]
    pub lock_timeout: Option<Duration>,
    /// Attempts per order; 0 goes on until it is decided [default: the strategy's own]
    #[arg(long, value_name = "N")]
    pub max_tries: Option<u32>,
    /// Shortest and longest wait before the next attempt [default: the strategy's own]
    #[arg(long, value_name = "MIN,MAX", value_parser = delay)]
    #[serde(with = "as_text")]
    pub retry_delay: Option<Delay>,

    /// SKUs to seed [default: 3]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Stock")]
    pub skus: Option<u64>,
    /// Units of each SKU [default: 100]
    #[arg(long, value_name = "N", help_heading = "Stock")]
    pub stock: Option<u32>,
    /// Units per line, as in 1..5 [default: 1]
    #[arg(long, value_name = "A..B", help_heading = "Orders")]
    #[serde(with = "as_text")]
    pub quantity: Option<Span>,
    /// Lines per order, as in 1..4 [default: 1]
    #[arg(long, value_name = "A..B", help_heading = "Orders")]
    #[serde(with = "as_text")]
    pub lines: Option<Span>,
    /// The order in which an order's lines are worked on [default: sorted]
    #[arg(long, value_name = "ORDER", help_heading = "Orders")]
    pub line_order: Option<LineOrder>,
    /// Demand: uniform, zipfian[:S] or hotspot:DATA,OPS [default: uniform]
    #[arg(long, value_name = "DIST", help_heading = "Orders")]
    #[serde(with = "as_text")]
    pub dist: Option<Distribution>,
    /// Send the orders of a CSV file: order_id,sku_id,quantity[,ordered_at]
    #[arg(long, value_name = "FILE", help_heading = "Orders")]
    pub replay: Option<PathBuf>,
    /// Seed of all chance; printed, so that a run can be repeated [default: drawn]
    #[arg(long, value_name = "N", help_heading = "Orders")]
    pub random_seed: Option<u64>,
}

/// What `seed` takes.
#[derive(Debug, Args)]
pub struct SeedArgs {
    /// Where.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// SKUs to seed
    #[arg(long, value_name = "N", value_parser = positive, default_value = "3")]
    pub skus: u64,
    /// Units of each SKU
    #[arg(long, value_name = "N", default_value = "100")]
    pub stock: u32,
    /// Seed the SKUs that this CSV file names instead
    #[arg(long, value_name = "FILE", conflicts_with = "skus")]
    pub replay: Option<PathBuf>,
}

/// What `audit` takes.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Where.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The clients' answers, kept by `run --history`
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// List every order of every finding
    #[arg(long)]
    pub full: bool,
    /// What to print on stdout
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Output,
}

/// What `strategies` takes.
#[derive(Debug, Args)]
pub struct StrategiesArgs {
    /// List them, or show one.
    #[command(subcommand)]
    pub command: Option<StrategiesCommand>,
}

/// List strategies, or show one.
#[derive(Debug, Subcommand)]
pub enum StrategiesCommand {
    /// List the built-in strategies
    List,
    /// Print a strategy's file, or with a dialect exactly the SQL that is sent
    Show {
        /// A built-in strategy, or the path of your own file
        #[arg(value_name = "NAME|FILE")]
        name: String,
        /// Print the SQL that is sent to this database
        #[arg(long, value_name = "DIALECT")]
        dialect: Option<Dialect>,
    },
}

/// What `lab` takes.
#[derive(Debug, Args)]
pub struct LabArgs {
    /// Which server
    pub kind: LabKind,
}

/// What `clean` takes.
#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Where.
    #[command(flatten)]
    pub database: DatabaseArgs,
}

/// What is printed on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// The shortest and the longest wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// Shortest.
    pub min: Duration,
    /// Longest.
    pub max: Duration,
}

fn delay(text: &str) -> Result<Delay, String> {
    let (min, max) = text.split_once(',').ok_or("expected MIN,MAX, as in 1ms,20ms")?;
    let delay = Delay { min: duration(min)?, max: duration(max)? };
    if delay.min > delay.max {
        return Err("the shortest wait is longer than the longest".to_owned());
    }
    Ok(delay)
}

fn positive(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err("expected a whole number from 1".to_owned()),
    }
}

/// In a scenario these values are written as on the command line.
mod as_text {
    use super::{Delay, Distribution, Duration, Span};
    use serde::{Deserialize, Deserializer, de::Error};

    pub(super) trait FromText: Sized {
        fn from_text(text: &str) -> Result<Self, String>;
    }

    impl FromText for Duration {
        fn from_text(text: &str) -> Result<Self, String> {
            super::duration(text)
        }
    }

    impl FromText for Delay {
        fn from_text(text: &str) -> Result<Self, String> {
            super::delay(text)
        }
    }

    impl FromText for Span {
        fn from_text(text: &str) -> Result<Self, String> {
            text.parse()
        }
    }

    impl FromText for Distribution {
        fn from_text(text: &str) -> Result<Self, String> {
            text.parse()
        }
    }

    pub(super) fn deserialize<'de, T: FromText, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::from_text(&text).map(Some).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
