//! Prints a strategy as exactly the SQL that is sent, in order.

use super::compile::built_in_name;
use super::file::Serves;
use super::program::{Flow, Goto, Program, Role, Setup, Slot, Step, Transaction};
use crate::outcome::Outcome;
use std::fmt::Write as _;

/// The program in words: one statement after the other, with what their
/// results mean.
pub fn program(program: &Program) -> String {
    let mut text = String::new();
    let tries = match program.tries {
        0 => format!("until decided, within {}", humantime::format_duration(program.within)),
        1 => "once".to_owned(),
        tries => format!("at most {tries} times"),
    };
    let mut line = |content: &str| writeln!(text, "{content}").expect("a String takes any text");
    line(&format!("-- {} on {}, tried {tries}", program.name, program.dialect.title()));
    if let Some(isolation) = program.isolation {
        line(&format!("-- isolation: {}", isolation.as_sql()));
    }
    if let Some(orders) = program.batch {
        let linger = humantime::format_duration(program.linger);
        line(&format!(
            "-- at most {orders} orders of one SKU at a time, waiting {linger} for as many as the last time"
        ));
    }
    for setup in &program.setup {
        match setup {
            Setup::Sql { service, sql } => {
                line(&format!("-- once, after seeding{}\n{};", on_service(program, *service), sql.trim()));
            }
            Setup::Script { script, binds } => {
                let each = if binds.contains(&Slot::SkuId) { "for each SKU" } else { "once" };
                line(&format!("-- {each}, after seeding, on Redis\n{}", script.trim()));
            }
        }
    }
    for (index, tx) in program.transactions.iter().enumerate() {
        line("");
        line(&transaction(program, index, tx));
    }
    for flow in &program.flows {
        line("");
        line(&background(flow));
    }
    text
}

fn background(flow: &Flow) -> String {
    let every = humantime::format_duration(flow.every);
    let mut lines =
        vec![format!("-- in the background, {every} after it found nothing to do: {}", flow.program.name)];
    let transactions = flow.program.transactions.iter().enumerate();
    lines.extend(transactions.map(|(index, tx)| transaction(&flow.program, index, tx)));
    if let Some(pending) = &flow.pending {
        lines.push(format!("-- after the last order, until this returns no row:\n{};", pending.trim()));
    }
    lines.join("\n")
}

fn on_service(program: &Program, service: usize) -> String {
    let name = service.checked_sub(1).and_then(|index| program.services.get(index));
    name.map_or_else(String::new, |(name, _)| format!(", on service {name}"))
}

fn when(program: &Program, index: usize, tx: &Transaction) -> String {
    let share = tx.share.map_or_else(String::new, |(weight, (start, end))| {
        let weights = program.transactions[start..end].iter().filter_map(|tx| tx.share);
        format!(", for {weight} of {} orders", weights.map(|(weight, _)| weight).sum::<u32>())
    });
    let role = match tx.role {
        Role::Sequence if program.batch.is_some() && tx.serves == Serves::Order => {
            ", for an order that comes alone or has several lines".to_owned()
        }
        Role::Sequence => String::new(),
        Role::JumpOnly => ", only when jumped to".to_owned(),
        Role::Finally => ", when an attempt ends".to_owned(),
        Role::Undo => {
            let undone = program.transactions.iter().position(|other| other.undone_by == Some(index));
            format!(", to take back {}", undone.map_or_else(String::new, |undone| label(program, undone)))
        }
    };
    format!("{share}{role}{}", on_service(program, tx.service))
}

fn label(program: &Program, index: usize) -> String {
    program.transactions[index].name.clone().unwrap_or_else(|| format!("transaction {}", index + 1))
}

fn transaction(program: &Program, index: usize, tx: &Transaction) -> String {
    let restart = match tx.restart {
        restart if restart == index => String::new(),
        restart => format!(", a conflict goes back to {}", label(program, restart)),
    };
    let mut lines = vec![format!("-- {}{}{restart}", label(program, index), when(program, index, tx))];
    let is_one_statement =
        matches!(tx.steps.as_slice(), [only] if only.line_loop.is_none()) && !tx.always_begin;
    let in_redis = !tx.steps.is_empty() && tx.steps.iter().all(|step| step.statement.is_script);
    let is_one_per_line =
        matches!(tx.steps.as_slice(), [only] if only.line_loop.is_some()) && !tx.always_begin;
    match &tx.begin {
        _ if in_redis => lines.push("-- on Redis".to_owned()),
        _ if tx.steps.is_empty() => lines.push("-- nothing is sent".to_owned()),
        None => lines.push("-- each statement on its own (autocommit)".to_owned()),
        Some(begin) if is_one_statement => lines.push(format!("-- one statement: sent without {begin}")),
        Some(begin) if is_one_per_line => lines.push(format!("{begin}; -- not for an order of one line")),
        Some(begin) => lines.push(format!("{begin};")),
    }
    let mut in_loop = false;
    for step in &tx.steps {
        match (step.line_loop, in_loop) {
            (Some(_), false) => lines.push("-- for each line of the order:".to_owned()),
            (None, true) => lines.push("-- end of the lines".to_owned()),
            _ => {}
        }
        in_loop = step.line_loop.is_some();
        lines.push(statement(program, tx, step));
    }
    if tx.begin.is_some() && !is_one_statement && !in_redis && !tx.steps.is_empty() {
        lines.push("COMMIT;".to_owned());
    }
    if let Some(outcome) = tx.then {
        lines.push(format!("-- then: {}", outcome.as_str()));
    }
    lines.join("\n")
}

fn statement(program: &Program, tx: &Transaction, step: &Step) -> String {
    let mut notes = Vec::new();
    let binds: Vec<String> = step.binds.iter().map(|slot| bind_name(program, *slot)).collect();
    if !binds.is_empty() {
        notes.push(format!("binds {}", binds.join(", ")));
    }
    if !step.statement.columns.is_empty() {
        notes.push(format!("yields {}", step.statement.columns.join(", ")));
    }
    let meanings = [
        ("no row", Some(step.none)),
        ("duplicate key", step.unique),
        ("failed check", step.check),
        ("lock refused", (step.locked != Goto::Conflict).then_some(step.locked)),
    ];
    for (what, goto) in meanings {
        match goto {
            None | Some(Goto::Next) => {}
            Some(goto) => notes.push(format!("{what}: {}", destination(program, tx, goto))),
        }
    }
    if let Some(outcome) = step.then {
        notes.push(format!("then commit: {}", outcome.as_str()));
    }
    let think = if step.think { "-- (think time)\n" } else { "" };
    let notes = if notes.is_empty() { String::new() } else { format!("\n    -- {}", notes.join("; ")) };
    format!("{think}{};{notes}", step.statement.sql)
}

fn destination(program: &Program, tx: &Transaction, goto: Goto) -> String {
    match goto {
        Goto::Next => "go on".to_owned(),
        Goto::Conflict => "conflict".to_owned(),
        Goto::Answer(Outcome::Skipped) => "idle".to_owned(),
        Goto::Answer(outcome) => outcome.as_str().to_owned(),
        Goto::Step(index) => format!("back to {}", tx.steps[index].place),
        Goto::Transaction(index) => format!("roll back, then {}", label(program, index)),
    }
}

fn bind_name(program: &Program, slot: Slot) -> String {
    if let Slot::Const(number) = slot {
        return number.to_string();
    }
    let yielded = || {
        program.steps().find_map(|step| {
            let at = step.yields.iter().position(|known| *known == slot)?;
            Some(step.statement.columns[at].clone())
        })
    };
    let drawn = || if matches!(slot, Slot::Drawn(_)) { "a drawn value".to_owned() } else { String::new() };
    built_in_name(slot).map(str::to_owned).or_else(yielded).unwrap_or_else(drawn)
}
