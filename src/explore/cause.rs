//! Why a schedule breaks an invariant, in a sentence to act on: what the program's text
//! and what happened say together. Pure. It says nothing where it is not sure.

use super::event::normalized;
use super::problem::Problem;
use super::witness::Line;
use crate::db::{Dialect, Isolation};
use crate::strategy::program::{Goto, Slot, Step};

/// A statement of a schedule, with the step of the program that sent it.
struct Sent<'a> {
    line: &'a Line,
    /// Its transaction and its step in the program.
    at: Option<(usize, usize)>,
    step: Option<&'a Step>,
}

/// What explains these steps, the most telling first.
pub(super) fn causes(problem: &Problem, lines: &[Line]) -> Vec<String> {
    let sent: Vec<Sent> = lines.iter().map(|line| sent(problem, line)).collect();
    let clients = 1..=problem.actors();
    let of_client = |client| {
        [
            stale_number(&sent, client),
            unlooked_rows(&sent, client),
            empty_lock(&sent, client),
            lock_inside_read(&sent, client),
            old_snapshot(problem, &sent, client),
            check_elsewhere(&sent, client),
            blind_retry(&sent, client),
            half_done(&sent, client),
        ]
    };
    // One client explains it; the other one would say the same.
    let kinds = clients.map(of_client).collect::<Vec<_>>();
    let first_of = |kind: usize| kinds.iter().find_map(|of_client| of_client[kind].clone());
    no_race(&sent).into_iter().chain((0..8).filter_map(first_of)).collect()
}

/// The sentence for clients that wait for each other.
pub(super) fn of_deadlock(waits: &[Line]) -> String {
    let clients: Vec<String> = waits.iter().map(|wait| wait.client.to_string()).collect();
    format!(
        "clients {} take the same locks in opposite orders: take them in one order, as by sorting the lines of an \
         order by SKU, or by always locking the same table first",
        clients.join(" and ")
    )
}

fn sent<'a>(problem: &'a Problem, line: &'a Line) -> Sent<'a> {
    let dialect = problem.dialect();
    let text = normalized(statement_of(&line.sql), dialect);
    let program = problem.program_of(line.client - 1);
    let steps = program.transactions.iter().enumerate().flat_map(|(transaction, tx)| {
        tx.steps.iter().enumerate().map(move |(index, step)| ((transaction, index), step))
    });
    let mut matching = steps.filter(|(_, step)| normalized(&step.statement.sql, dialect) == text);
    let found = matching.next();
    Sent { line, at: found.map(|(at, _)| at), step: found.map(|(_, step)| step) }
}

/// Without the BEGIN that went out with it.
fn statement_of(sql: &str) -> &str {
    let is_begin = |begin: &str| {
        let begin = begin.to_uppercase();
        ["BEGIN", "START", "SET TRANSACTION"].iter().any(|word| begin.starts_with(word))
    };
    match sql.split_once("; ") {
        Some((begin, rest)) if is_begin(begin) => statement_of(rest),
        _ => sql,
    }
}

impl Sent<'_> {
    fn verb(&self) -> String {
        statement_of(&self.line.sql).split_whitespace().next().unwrap_or_default().to_uppercase()
    }

    fn text(&self) -> String {
        statement_of(&self.line.sql).to_uppercase()
    }

    fn writes(&self) -> bool {
        ["UPDATE", "INSERT", "DELETE", "REPLACE", "MERGE"].contains(&self.verb().as_str())
    }

    fn locks_a_read(&self) -> bool {
        let text = self.text();
        self.verb() == "SELECT"
            && [" FOR UPDATE", " FOR SHARE", " FOR NO KEY", " LOCK IN SHARE"]
                .iter()
                .any(|lock| text.contains(lock))
    }

    fn is_plain_read(&self) -> bool {
        self.verb() == "SELECT" && !self.locks_a_read()
    }

    fn result(&self) -> &str {
        self.line.result.trim_start_matches("resumes: ")
    }

    fn matched_nothing(&self) -> bool {
        self.result().starts_with("0 rows")
    }

    /// The table that it writes, as far as its text tells.
    fn table(&self) -> Option<String> {
        let text = statement_of(&self.line.sql).to_lowercase();
        let mut words = text.split(|c: char| c.is_whitespace() || c == '(').filter(|word| !word.is_empty());
        words
            .find(|word| !["update", "insert", "into", "delete", "from", "replace"].contains(word))
            .map(str::to_owned)
    }

    fn changes_rows(&self) -> bool {
        self.writes()
            && !self.matched_nothing()
            && !self.result().starts_with("error")
            && self.line.result != "blocks"
    }
}

/// Whether another client changed rows of this table between two statements.
fn other_between(sent: &[Sent], (from, to): (usize, usize), client: usize, table: &str) -> Option<usize> {
    let between = sent.get(from + 1..to)?.iter();
    let mut others = between.filter(|other| other.line.client != client && other.changes_rows());
    others.find(|other| other.table().as_deref() == Some(table)).map(|other| other.line.client)
}

fn position(sent: &[Sent], client: usize, is_it: impl Fn(usize, &Sent) -> bool) -> Option<usize> {
    let mut own = sent.iter().enumerate().filter(|(_, each)| each.line.client == client);
    own.find(|(index, each)| is_it(*index, each)).map(|(index, _)| index)
}

fn own_statements(sent: &[Sent], (from, to): (usize, usize), client: usize) -> usize {
    sent[from..to].iter().filter(|each| each.line.client == client && !each.line.sql.is_empty()).count()
}

/// A write of a number that was computed from what its client had read before.
fn stale_number(sent: &[Sent], client: usize) -> Option<String> {
    sent.iter().enumerate().filter(|(_, write)| write.line.client == client && write.verb() == "UPDATE").find_map(
        |(at, write)| {
            let step = write.step?;
            let table = write.table()?;
            let is_read_here = |read: &Sent| {
                read.step.is_some_and(|read| read.yields.iter().any(|slot| slot.is_read() && step.binds.contains(slot)))
            };
            let (from, read) = sent[..at]
                .iter()
                .enumerate()
                .rev()
                .find(|(_, read)| read.line.client == client && read.verb() == "SELECT" && is_read_here(read))?;
            // What its WHERE compares with the old number is refused where that has changed.
            let matched = !write.matched_nothing() && !write.result().starts_with("error");
            let other = other_between(sent, (from, at), client, &table).filter(|_| matched)?;
            let column = assigned_column(statement_of(&write.line.sql))?;
            let distance = own_statements(sent, (from, at), client);
            let earlier = if distance == 1 { "one statement".to_owned() } else { format!("{distance} statements") };
            let lock = if read.locks_a_read() { "" } else { ", or lock the row when you read it (FOR UPDATE)" };
            Some(format!(
                "client {client} sets {column} to a number computed from its read {earlier} earlier, and client {other} \
                 changed {table} in between: let the database compute it (`{column} = {column} - …`){lock}"
            ))
        },
    )
}

/// The first column that an UPDATE sets.
fn assigned_column(sql: &str) -> Option<String> {
    let at = sql.to_uppercase().find(" SET ")?;
    let column = sql.get(at + 5..)?.split('=').next()?.trim();
    Some(column.rsplit('.').next().unwrap_or(column).replace(['"', '`'], "")).filter(|name| !name.is_empty())
}

/// A write that changed nothing, after which the program went on as if it had.
fn unlooked_rows(sent: &[Sent], client: usize) -> Option<String> {
    let at = position(sent, client, |_, each| {
        let goes_on = each.step.is_some_and(|step| step.none == Goto::Next && step.then.is_none());
        let is_update = ["UPDATE", "DELETE"].contains(&each.verb().as_str());
        is_update && each.matched_nothing() && goes_on
    })?;
    let is_sold = |each: &Sent| each.line.client == client && each.line.result.contains("is told deducted");
    sent[at..].iter().any(is_sold).then(|| {
        format!(
            "client {client}'s {} changed no row, and nobody looked: check how many rows it changed, and refuse the \
             order where there are none",
            sent[at].verb()
        )
    })
}

/// A read that was to lock, and found nothing that it could.
fn empty_lock(sent: &[Sent], client: usize) -> Option<String> {
    let at = position(sent, client, |_, each| each.locks_a_read() && each.matched_nothing())?;
    let later =
        position(sent, client, |index, each| index > at && each.verb() == "INSERT" && each.changes_rows())?;
    let other = sent.iter().find(|other| {
        other.line.client != client && other.verb() == "INSERT" && other.table() == sent[later].table()
    })?;
    Some(format!(
        "client {client}'s locking read matched no row, so it locked none, and client {} inserted as well: give the \
         table a unique key, or lock a row that is there before",
        other.line.client
    ))
}

/// A statement that waited for a lock after it had read.
fn lock_inside_read(sent: &[Sent], client: usize) -> Option<String> {
    let at = position(sent, client, |_, each| {
        let text = each.text();
        let reads_beside = match each.verb().as_str() {
            "SELECT" => {
                text.matches("SELECT").count() > 1
                    || ["SUM(", "COUNT(", "MAX("].iter().any(|sum| text.contains(sum))
            }
            "UPDATE" | "INSERT" | "DELETE" => text.contains("SELECT"),
            _ => false,
        };
        each.line.result == "blocks" && reads_beside
    })?;
    let resumed =
        position(sent, client, |index, each| index > at && each.line.result.starts_with("resumes: "))?;
    let succeeded = !sent[resumed].result().starts_with("error") && !sent[resumed].matched_nothing();
    succeeded.then(|| {
        format!(
            "client {client} waited for a lock inside the statement that reads: it went on with what it had read \
             before the wait. Take the lock in a statement of its own, and read in the next one"
        )
    })
}

/// A plain read after the lock that shows what was there before it.
fn old_snapshot(problem: &Problem, sent: &[Sent], client: usize) -> Option<String> {
    let is_innodb = matches!(problem.dialect(), Dialect::MySql | Dialect::MariaDb);
    if !is_innodb || problem.concurrency.isolation != Isolation::RepeatableRead {
        return None;
    }
    let first = position(sent, client, |_, each| each.is_plain_read())?;
    let locked = position(sent, client, |index, each| index > first && each.locks_a_read())?;
    let begins_anew = |range: std::ops::Range<usize>| {
        sent[range]
            .iter()
            .any(|each| each.line.client == client && ["COMMIT", "ROLLBACK"].contains(&each.verb().as_str()))
    };
    let again = position(sent, client, |index, each| index > locked && each.is_plain_read())?;
    let changed = sent[first..again].iter().any(|other| other.line.client != client && other.changes_rows());
    (changed && !begins_anew(first..again)).then(|| {
        format!(
            "client {client} reads without a lock after it has taken one, and still sees the snapshot of its first \
             read: read with FOR UPDATE, or take the lock before anything is read"
        )
    })
}

/// A check that holds no longer when its client writes.
fn check_elsewhere(sent: &[Sent], client: usize) -> Option<String> {
    let check = position(sent, client, |_, each| {
        let refuses =
            each.step.is_some_and(|step| matches!(step.none, Goto::Answer(_) | Goto::Transaction(_)));
        each.is_plain_read() && refuses && !each.matched_nothing()
    })?;
    let checked = sent[check].text().to_lowercase();
    let is_checked =
        |each: &Sent| each.changes_rows() && each.table().is_some_and(|table| checked.contains(&table));
    let write = position(sent, client, |index, each| index > check && is_checked(each))?;
    let uses_the_check = sent[write]
        .step?
        .binds
        .iter()
        .any(|slot| slot.is_read() && sent[check].step.is_some_and(|step| step.yields.contains(slot)));
    // Written meanwhile, or before and not yet committed when it was checked.
    let is_unseen = |at: usize| {
        let other = sent[at].line.client;
        let commits = |each: &Sent| each.line.client == other && each.verb() == "COMMIT";
        at > check || sent[check..].iter().any(commits) && !sent[at..check].iter().any(commits)
    };
    let mut others = (0..write).filter(|at| sent[*at].line.client != client && is_checked(&sent[*at]));
    let other = sent[others.find(|at| is_unseen(*at))?].line.client;
    if uses_the_check {
        return None;
    }

    Some(if sent[check].at?.0 == sent[write].at?.0 {
        format!(
            "client {client} checks with a read that locks nothing, and does not see what client {other} writes \
             meanwhile: put the condition into the WHERE of the statement that writes, or let the check lock (FOR UPDATE) a \
             row that every client must pass"
        )
    } else {
        format!(
            "client {client} checks in one transaction and writes in another, and client {other} writes in between: put \
             the condition into the WHERE of the statement that writes, or both into one transaction with a lock"
        )
    })
}

/// Orders that break it one after the other.
fn no_race(sent: &[Sent]) -> Option<String> {
    let mut clients: Vec<usize> = sent.iter().map(|each| each.line.client).collect();
    clients.dedup();
    let is_serial = (1..clients.len()).all(|at| !clients[..at].contains(&clients[at]));
    let nobody_stops = !sent.iter().any(|each| each.line.result.contains("stops for good"));
    (is_serial && clients.len() > 1 && nobody_stops).then(|| {
        "no race is needed: one client after the other is enough, so it is the program itself that lets it through"
            .to_owned()
    })
}

/// A retry that sends the old numbers again.
fn blind_retry(sent: &[Sent], client: usize) -> Option<String> {
    let retried = position(sent, client, |_, each| each.line.result.contains("tries again"))?;
    let next = position(sent, client, |index, each| index > retried && !each.line.sql.is_empty())?;
    let read_before =
        position(sent, client, |index, each| index < retried && each.verb() == "SELECT").is_some();
    let binds_read = sent[next].step.is_some_and(|step| step.binds.iter().any(|slot: &Slot| slot.is_read()));
    (read_before && sent[next].writes() && binds_read).then(|| {
        format!(
            "client {client} tries again with the numbers of its first read, which had just been refused: let every \
             attempt begin with the read"
        )
    })
}

/// A client that stopped when a part of its work was committed.
fn half_done(sent: &[Sent], client: usize) -> Option<String> {
    let stopped = position(sent, client, |_, each| each.line.result.contains("stops for good"))?;
    let commits = |each: &Sent| {
        each.line.client == client && each.verb() == "COMMIT" && each.result().starts_with("ok")
    };
    let is_committed = sent[..stopped].iter().any(commits);
    is_committed.then(|| {
        format!(
            "client {client} stopped between two of its transactions, and what the first one did stays without the \
             second: do both in one transaction, or let something finish what was begun"
        )
    })
}
