//! The command line: what can be said, and nothing done about it.

use crate::audit::tables::moment;
use crate::audit::tables::repair::Toward;
use crate::compare::matrix::ROUNDS_MAX;
use crate::db::{Dialect, Isolation};
use crate::explore::{CLIENTS_MAX, Schedule};
use crate::lab::LabSpec;
use crate::load::{LoadArgs, positive};
use crate::report::Threshold;
use crate::report::change::NOISE_PCT;
use crate::text::duration;
use crate::workload::Segment;
use crate::workload::skew::Distribution;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A concurrency stress harness for stock deduction on real databases.
#[derive(Debug, Parser)]
#[command(name = "stockbench", version, about, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 held · 1 could not run or judge · 2 bad usage or file · \
    3 the audit found a violation · 4 a threshold was missed · 130 interrupted")]
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
        stockbench run -s naive --history answers.csv\n  stockbench audit --history answers.csv\n\n\
        Example: a shop's own tables, by a mapping that you let it propose and then correct:\n\n  \
        stockbench audit --init --database-url postgres://me@localhost/shop > stock.toml\n  \
        stockbench audit --mapping stock.toml --database-url postgres://me@localhost/shop")]
    Audit(Box<AuditArgs>),
    /// Run every interleaving of a few clients on the real database, and show the one that breaks
    #[command(
        allow_negative_numbers = true,
        after_help = "Example: the interleaving of two orders for the last unit that sells it twice, and the same\n\
        question to your own SQL:\n\n  stockbench explore -s naive --lab postgres\n  \
        stockbench explore -s ./mine.toml --crashes 1 --database-url postgres://me@localhost/shop"
    )]
    Explore(Box<ExploreArgs>),
    /// Run several strategies under the same loads, round after round, and say which one to ship
    #[command(
        after_help = "Example: which strategy on a hot row and on many, near and at a distance, on two databases:\n\n  \
        stockbench compare -s optimistic,pessimistic,atomic,group-commit --contention 1,10,1000 \\\n    \
        --rtt 0s,1ms --lab postgres,mysql --journal compare.jsonl"
    )]
    Compare(Box<CompareArgs>),
    /// Show results that were kept as JSON, alone or side by side: as a page to share, or as Markdown
    #[command(
        after_help = "Example: two runs under the same load side by side, as one file that needs no network:\n\n  \
        stockbench report before.json after.json --html change.html"
    )]
    Report(ReportArgs),
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
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n\n  stockbench completions bash > /etc/bash_completion.d/stockbench")]
    Completions(CompletionsArgs),
    /// Print the man page, or that of a command
    #[command(after_help = "Example:\n\n  stockbench man run | man -l -")]
    Man(ManArgs),
}

/// Which database.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseArgs {
    /// postgres://, mysql://, mariadb:// or sqlite:, or null: to measure the harness alone; @FILE
    /// reads it from a file, - from standard input; without one, SQLite in ./stockbench.db
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Use a throwaway server of this kind, started from binaries on this machine; a version
    /// chooses among several: postgres@18
    #[arg(long, value_name = "KIND[@VERSION]")]
    pub lab: Option<LabSpec>,
    /// The lab server answers commits before they are on disk: a crash of it loses sales
    #[arg(long, requires = "lab")]
    pub lab_async_commit: bool,
    /// Wait this long for the database to come up
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub wait_for_db: Duration,
    /// The files that URLs were read from.
    #[arg(skip)]
    pub url_files: Vec<PathBuf>,
}

/// What `run` takes. Every value that is given overrides the scenario's.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
#[derive(Debug, Clone, Default, Args)]
pub struct RunArgs {
    /// Strategy: a name from `stockbench strategies`, the path of your own file, or a mix of
    /// several by weight, as in optimistic@4,restock@1
    #[arg(short, long, value_name = "NAME|FILE")]
    pub strategy: Option<String>,
    /// Scenario: a name from `stockbench scenarios`, or a path
    #[arg(long, value_name = "NAME|FILE")]
    pub scenario: Option<String>,

    /// Where.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// Redis, for the strategies that need one [default: a private one, started for the run]
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true, help_heading = "Database")]
    pub redis_url: Option<String>,
    /// A database of its own for a service of the strategy, as in orders=postgres://…
    #[arg(long, value_name = "NAME=URL", help_heading = "Database")]
    pub service: Vec<String>,

    /// How much.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Set a param of the strategy, as in lock_ms=5
    #[arg(long, value_name = "NAME=VALUE", value_parser = param, help_heading = "Load")]
    pub param: Vec<(String, i64)>,

    /// Be the K-th of N processes that share this run, on one machine or many: give each the same
    /// command line but for K and the names of files
    #[arg(long, value_name = "K/N", requires_all = ["start_at", "random_seed"], help_heading = "Load",
        conflicts_with_all = ["lab", "abort_on_breach", "baseline", "junit"])]
    pub segment: Option<Segment>,
    /// Begin at this moment, as in 2026-01-31T18:05:00Z (UTC)
    #[arg(long, value_name = "WHEN", value_parser = instant, help_heading = "Load")]
    pub start_at: Option<SystemTime>,

    /// Leave stock and ledger as they are
    #[arg(long, help_heading = "Stock")]
    pub no_seed: bool,
    /// Let the strategy write tables outside the prefix stockbench_ in the database of this name
    /// (`redis`: keys outside the prefix stockbench:)
    #[arg(long, value_name = "DATABASE", help_heading = "Stock")]
    pub allow_writes: Vec<String>,

    /// A figure of the report that must hold, as in 'p99 < 50ms'; exit code 4 if it doesn't
    #[arg(long, value_name = "EXPR", help_heading = "Output")]
    pub threshold: Vec<Threshold>,

    /// End the run as soon as a threshold from above is exceeded
    #[arg(long, help_heading = "Output")]
    pub abort_on_breach: bool,

    /// What to print on stdout
    #[arg(short, long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    pub output: Output,
    /// Time every statement: where a program's time goes, waits for locks included
    #[arg(long, help_heading = "Output")]
    pub per_statement: bool,
    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write a page to share, too: one file that loads nothing
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
    /// A report of an earlier run under the same load (`--json`); exit code 4 if a figure is worse by
    /// more than noise
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub baseline: Option<PathBuf>,
    /// A change from the baseline up to this share counts as noise, in percent [default: 25]
    #[arg(long, value_name = "PCT", requires = "baseline", value_parser = clap::value_parser!(u8).range(0..=100),
        help_heading = "Output")]
    pub noise: Option<u8>,
    /// Write the verdict as JUnit XML: a case for each invariant and each threshold
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub junit: Option<PathBuf>,
    /// Write the latencies second by second as an HdrHistogram interval log
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub hdr: Option<PathBuf>,
    /// Keep every answer, so that `audit --history` can judge the run again later
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub history: Option<PathBuf>,
    /// Serve the run's metrics to Prometheus while it goes on, as in 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS", help_heading = "Output")]
    pub metrics_listen: Option<SocketAddr>,
    /// List every order of every finding
    #[arg(long, help_heading = "Output")]
    pub full: bool,
}

/// What `compare` takes.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Strategies, with commas between them: names from `stockbench strategies`, or paths
    #[arg(short, long, value_name = "NAME|FILE,…", value_delimiter = ',', required = true)]
    pub strategy: Vec<String>,

    /// postgres://, mysql://, mariadb:// or sqlite:; @FILE reads it from a file, - from standard
    /// input; without one, SQLite in ./stockbench.db
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true, help_heading = "Database")]
    pub database_url: Option<String>,
    /// Use throwaway servers of these kinds, all at once, started from binaries on this machine;
    /// a version chooses among several: postgres@15,postgres@18
    #[arg(long, value_name = "KIND[@VERSION],…", value_delimiter = ',', help_heading = "Database")]
    pub lab: Vec<LabSpec>,
    /// Wait this long for the database to come up
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s", help_heading = "Database")]
    pub wait_for_db: Duration,
    /// The files that URLs were read from.
    #[arg(skip)]
    pub url_files: Vec<PathBuf>,
    /// Redis, for the strategies that need one [default: a private one, started for each run]
    #[arg(long, value_name = "URL", env = "REDIS_URL", hide_env_values = true, help_heading = "Database")]
    pub redis_url: Option<String>,

    /// SKUs that the clients share, one number for each load: the fewer, the hotter
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = positive, default_value = "1,100",
        help_heading = "Loads")]
    pub contention: Vec<u64>,
    /// Concurrent clients, one number for each load
    #[arg(short, long, value_name = "N,…", value_delimiter = ',', value_parser = positive, default_value = "50",
        help_heading = "Loads")]
    pub concurrency: Vec<u64>,
    /// Make every round trip to the database so much longer, one time for each load
    #[arg(long, value_name = "DURATION,…", value_delimiter = ',', value_parser = duration, default_value = "0s",
        help_heading = "Loads")]
    pub rtt: Vec<Duration>,
    /// How often every strategy is measured under every load, in an order drawn anew each time
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=i64::from(ROUNDS_MAX)),
        help_heading = "Loads")]
    pub rounds: u32,
    /// Send orders for this long
    #[arg(short, long, value_name = "DURATION", value_parser = duration, default_value = "5s", help_heading = "Loads")]
    pub duration: Duration,
    /// Put the load on for this long beforehand, without measuring it
    #[arg(short, long, value_name = "DURATION", value_parser = duration, default_value = "1s", help_heading = "Loads")]
    pub warmup: Duration,
    /// Units of each SKU [default: 2,000,000 in all, so that the stock does not run out]
    #[arg(long, value_name = "N", help_heading = "Loads")]
    pub stock: Option<u32>,
    /// Demand: uniform, zipfian[:S] or hotspot:DATA,OPS
    #[arg(long, value_name = "DIST", default_value = "uniform", help_heading = "Loads")]
    pub dist: Distribution,
    /// A pause between a program's read and its write
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s", help_heading = "Loads")]
    pub think: Duration,
    /// Connections that the clients share [default: what the database can use]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Loads")]
    pub connections: Option<u64>,
    /// Isolation level [default: the server's own]
    #[arg(long, value_name = "LEVEL", help_heading = "Loads")]
    pub isolation: Option<Isolation>,
    /// Let a strategy write tables outside the prefix stockbench_ in the database of this name
    #[arg(long, value_name = "DATABASE", help_heading = "Loads")]
    pub allow_writes: Vec<String>,
    /// Seed of the order and of every run's own seed; printed [default: drawn]
    #[arg(long, value_name = "N", help_heading = "Loads")]
    pub random_seed: Option<u64>,

    /// What to print on stdout
    #[arg(short, long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    pub output: CompareOutput,
    /// Write the comparison as JSON, too
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write a page to share, too: one file that loads nothing
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
    /// Keep every run here as it ends; with a file that is there already, go on where it stopped
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub journal: Option<PathBuf>,
}

/// What a comparison prints on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CompareOutput {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For a page or a pull request.
    Markdown,
}

/// What `report` takes.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Results of `run --json`, the first being what the others are held against; or one of
    /// `compare --json`
    #[arg(value_name = "FILE", required = true)]
    pub results: Vec<PathBuf>,
    /// Put the segments of one run together (`run --segment`), exactly: all of them are needed
    #[arg(long)]
    pub merge: bool,
    /// Write what they come to together as JSON
    #[arg(long, value_name = "FILE", requires = "merge")]
    pub json: Option<PathBuf>,
    /// Write a page of one file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print Markdown [default: where there is no --html]
    #[arg(long)]
    pub markdown: bool,
    /// A change up to this share counts as noise, in percent
    #[arg(long, value_name = "PCT", default_value_t = NOISE_PCT, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub noise: u8,
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
    /// The clients' answers, kept by `run --history`; repeatable, for the segments of one run
    #[arg(long, value_name = "FILE", conflicts_with = "mapping")]
    pub history: Vec<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// The database of a service of the strategy, as in orders=postgres://…
    #[arg(long, value_name = "NAME=URL", help_heading = "Database")]
    pub service: Vec<String>,
    /// Audit the shop's own tables, as this file maps them
    #[arg(long, value_name = "FILE", help_heading = "Your own tables")]
    pub mapping: Option<PathBuf>,
    /// Look at the database and propose a mapping
    #[arg(long, help_heading = "Your own tables", conflicts_with_all = ["mapping", "history", "output"])]
    pub init: bool,
    /// What a mapped audit takes.
    #[command(flatten)]
    pub tables: TableArgs,

    /// List every order of every finding
    #[arg(long, help_heading = "Output")]
    pub full: bool,
    /// What to print on stdout
    #[arg(short, long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    pub output: AuditOutput,
    /// Print the statements that would bring stock and ledger together, each with its reason; none
    /// is run
    #[arg(long, value_name = "FORMAT", requires = "mapping", help_heading = "Output")]
    pub repair: Option<Repair>,
    /// Which of the two is changed by them: the stock toward its ledger, or the ledger toward the stock
    #[arg(long, value_name = "SIDE", default_value = "ledger", requires = "repair", help_heading = "Output")]
    pub repair_toward: Toward,
    /// Write the entries that the findings rest on, as CSV
    #[arg(long, value_name = "FILE", requires = "mapping", help_heading = "Output")]
    pub evidence: Option<PathBuf>,
}

/// What an audit of the shop's own tables takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Your own tables")]
pub struct TableArgs {
    /// Only this SKU (repeatable)
    #[arg(long, value_name = "SKU", requires = "mapping")]
    pub sku: Vec<String>,
    /// Show findings from here: 2026-01-31, 2026-01-31T18:05 (UTC) or 2h (ago). What is summed
    /// stays whole
    #[arg(long, value_name = "WHEN", value_parser = moment::parse, requires = "mapping")]
    pub since: Option<String>,
    /// Show findings from before
    #[arg(long, value_name = "WHEN", value_parser = moment::parse, requires = "mapping")]
    pub until: Option<String>,
    /// Only sums and balance chains; not the orders
    #[arg(long, requires = "mapping")]
    pub quick: bool,
    /// Keep order ids out of the output
    #[arg(long, requires = "mapping")]
    pub redact: bool,
    /// Insist on a replica that is no further behind than this
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "mapping")]
    pub replica: Option<Duration>,
    /// Longest wait for a lock
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2s")]
    pub lock_timeout: Duration,
    /// Longest time for one statement
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2min")]
    pub statement_timeout: Duration,
    /// How long adding up one part of the ledger should take
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub part_time: Duration,
    /// Give up when the snapshot is older: it holds back vacuum and purge
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15min")]
    pub max_snapshot_age: Duration,
    /// Give up after this time
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "mapping")]
    pub max_time: Option<Duration>,
    /// Give up after this many entries
    #[arg(long, value_name = "N", value_parser = positive, requires = "mapping")]
    pub max_rows: Option<u64>,
}

/// What `explore` takes.
#[derive(Debug, Clone, Args)]
pub struct ExploreArgs {
    /// Strategy: a name from `stockbench strategies`, or the path of your own file
    #[arg(short, long, value_name = "NAME|FILE")]
    pub strategy: String,

    /// Where.
    #[command(flatten)]
    pub database: DatabaseArgs,

    /// Clients, each with one order [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=CLIENTS_MAX as i64),
        help_heading = "Orders")]
    pub clients: Option<u8>,
    /// Units in stock of each SKU, in stockbench's own tables [default: 1]
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(0..=1_000),
        help_heading = "Orders")]
    pub stock: Option<u32>,
    /// Units of each line [default: 1; of your own tables all that is in stock]
    #[arg(long, value_name = "UNITS", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Orders")]
    pub quantity: Option<u32>,
    /// Lines of each order, each of another SKU [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4),
        help_heading = "Orders")]
    pub lines: Option<u8>,
    /// The order in which lines are worked on [default: sorted]
    #[arg(long, value_name = "ORDER", help_heading = "Orders")]
    pub line_order: Option<ExploreLineOrder>,
    /// All clients deliver one and the same order
    #[arg(long, help_heading = "Orders")]
    pub same_order: bool,
    /// Background programs of the strategy that take part; repeatable [default: all of them]
    #[arg(long, value_name = "NAME", help_heading = "Orders")]
    pub flow: Vec<String>,
    /// Set a param of the strategy, as in lock_ms=5
    #[arg(long, value_name = "NAME=VALUE", value_parser = param, help_heading = "Orders")]
    pub param: Vec<(String, i64)>,
    /// The seed of what orders are given by chance
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Orders")]
    pub random_seed: u64,

    /// Isolation level [default: the strategy's, or the server's own]
    #[arg(long, value_name = "LEVEL", help_heading = "Search")]
    pub isolation: Option<Isolation>,
    /// Attempts per order [default: the strategy's own, or 4 where it goes on until decided]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "Search")]
    pub max_tries: Option<u32>,
    /// Clients that may stop for good, after any step [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=1), help_heading = "Search")]
    pub crashes: Option<u8>,
    /// Search no further once nothing was found: no client that stops, no order delivered twice, no
    /// other stock or lines; naming any of these does the same
    #[arg(long, help_heading = "Search")]
    pub no_widen: bool,
    /// Stop after so many schedules; what was not run is said
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = positive, help_heading = "Search")]
    pub max_schedules: u64,
    /// Run so many schedules drawn at random instead, where there are too many to run: no proof
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with = "schedule", help_heading = "Search")]
    pub sample: Option<u64>,
    /// Run this schedule only: the clients' numbers in the order in which they move, and x1 where
    /// client 1 stops
    #[arg(long, value_name = "MOVES", help_heading = "Search")]
    pub schedule: Option<Schedule>,
    /// Run also the schedules that nobody can tell from one that was run
    #[arg(long, help_heading = "Search")]
    pub no_reduce: bool,
    /// Explore on so many copies of the tables at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16),
        help_heading = "Search")]
    pub workers: u8,

    /// What to print
    #[arg(short, long, value_name = "FORMAT", default_value = "table", help_heading = "Output")]
    pub output: Output,
    /// Write the JSON to a file as well
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Print the first witness as a script for one terminal a client instead
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    pub emit: Option<Emit>,
}

/// The order in which the lines of explored orders are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExploreLineOrder {
    /// By SKU, in every order.
    Sorted,
    /// By SKU, and backwards in every second order.
    Opposite,
}

/// How a witness is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// As statements, with what to expect of each.
    Sql,
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
    /// Which server; a version chooses among several: postgres@18
    #[arg(value_name = "KIND[@VERSION]")]
    pub kind: LabSpec,
    /// Answer commits before they are on disk: a crash loses sales
    #[arg(long)]
    pub async_commit: bool,
}

/// What `completions` takes.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: clap_complete::Shell,
}

/// What `man` takes.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The command whose page it is [default: all of stockbench]
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
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

/// What an audit prints on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AuditOutput {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// One screen, for an incident channel.
    Summary,
}

/// How repairs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Repair {
    /// As statements.
    Sql,
}

fn instant(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339_weak(text)
        .map_err(|error| format!("{error}: write it as in 2026-01-31T18:05:00Z"))
}

fn param(text: &str) -> Result<(String, i64), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, as in lock_ms=5")?;
    let value = value.parse().map_err(|_| format!("`{value}` is not a whole number"))?;
    Ok((name.to_owned(), value))
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
