//! A schedule in words: one SQL statement a line, with its client, its values
//! and what came of it. And as a script for two terminals.

use super::event::{Event, What};
use super::problem::Problem;
use crate::db::Dialect;
use crate::escape;
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write as _;

/// One step of a witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Line {
    /// The client, from 1; background programs come after the clients.
    pub client: usize,
    /// What it sent, with its values; empty where nothing was sent.
    pub sql: String,
    /// What came of it.
    pub result: String,
}

/// What happened, a line for each statement; what a client is told stands with
/// the reply that decided it.
pub(super) fn lines(events: &[Event]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for Event { client, what } in events {
        let client = client + 1;
        let (sql, result) = match what {
            What::Replied { sql, reply } => (sql.clone(), reply.clone()),
            What::Blocks { sql } => (sql.clone(), "blocks".to_owned()),
            What::Resumes { sql, reply } => (sql.clone(), format!("resumes: {reply}")),
            What::Crashes => (String::new(), "stops for good".to_owned()),
            What::Retries => (String::new(), "tries again".to_owned()),
            What::Answered(outcome) => (String::new(), format!("is told {}", outcome.as_str())),
            What::Deadlock(_) => continue,
        };
        let is_said_before = matches!(what, What::Retries | What::Answered(_));
        match lines.last_mut() {
            Some(last) if is_said_before && last.client == client => {
                last.result = format!("{}; {result}", last.result);
            }
            _ => lines.push(Line { client, sql, result }),
        }
    }
    lines
}

/// Who waited for whom when clients waited in a circle, if they did.
pub(super) fn deadlock(events: &[Event]) -> Option<Vec<Line>> {
    events.iter().find_map(|event| match &event.what {
        What::Deadlock(waits) => Some(
            waits
                .iter()
                .enumerate()
                .map(|(at, (client, sql))| Line {
                    client: client + 1,
                    sql: sql.clone(),
                    result: format!("waits for client {}", waits[(at + 1) % waits.len()].0 + 1),
                })
                .collect(),
        ),
        _ => None,
    })
}

/// The steps as a script that can be stepped through in one terminal a client.
pub fn script(problem: &Problem, (schedule, lines): (&str, &[Line]), title: &str, start: &str) -> String {
    let mut script = String::new();
    let shell = match problem.dialect() {
        Dialect::Postgres => "psql",
        Dialect::MySql => "mysql",
        Dialect::MariaDb => "mariadb",
        Dialect::Sqlite | Dialect::Null => "sqlite3",
    };
    // Writing to a String does not fail.
    let mut say = |line: &str| writeln!(script, "{line}").unwrap_or_default();
    say(&format!("-- {}", escape::line(title)));
    say(&format!("-- schedule: {schedule}"));
    say(&format!(
        "-- One {shell} session for each client, in the order of the lines. A line that is said to"
    ));
    say("-- block does not answer: go on in the other session. It empties and fills the tables it names:");
    say("-- take a database of your own for it (`stockbench seed` makes our tables).");
    say("-- Where it begins:");
    say(start.trim_end());
    let is_server = !matches!(problem.dialect(), Dialect::Sqlite | Dialect::Null);
    if is_server {
        let level = problem.concurrency.isolation.as_sql();
        let set = match problem.dialect() {
            Dialect::Postgres => {
                format!("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level};")
            }
            _ => format!("SET SESSION TRANSACTION ISOLATION LEVEL {level};"),
        };
        say(&format!("-- In every session first:\n{set}"));
    }
    for line in lines {
        let result = escape::line(&line.result);
        if line.sql.is_empty() || line.result.starts_with("resumes") {
            say(&format!("-- client {}: {result}", line.client));
        } else {
            say(&format!("/* client {} */ {};  -- {result}", line.client, line.sql));
        }
    }
    script
}
