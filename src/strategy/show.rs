//! Prints a strategy as exactly the SQL that is sent, in order.

use super::program::{BUILT_IN_BINDS, Goto, Program, Slot, Step, Transaction};
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
    for sql in &program.setup {
        line(&format!("-- once, after seeding\n{};", sql.trim()));
    }
    for (index, tx) in program.transactions.iter().enumerate() {
        line("");
        line(&transaction(program, index, tx));
    }
    text
}

fn transaction(program: &Program, index: usize, tx: &Transaction) -> String {
    let name = tx.name.clone().unwrap_or_else(|| format!("transaction {}", index + 1));
    let jump_only = if tx.jump_only { ", only when jumped to" } else { "" };
    let restart = match tx.restart {
        restart if restart == index => String::new(),
        restart => {
            let target = &program.transactions[restart];
            let number = || format!("transaction {}", restart + 1);
            format!(", a conflict goes back to {}", target.name.clone().unwrap_or_else(number))
        }
    };
    let mut lines = vec![format!("-- {name}{jump_only}{restart}")];
    let is_one_statement = matches!(tx.steps.as_slice(), [only] if only.line_loop.is_none());
    let is_one_per_line = matches!(tx.steps.as_slice(), [only] if only.line_loop.is_some());
    match &tx.begin {
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
    if tx.begin.is_some() && !is_one_statement {
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
        Goto::Answer(outcome) => outcome.as_str().to_owned(),
        Goto::Step(index) => format!("back to {}", tx.steps[index].place),
        Goto::Transaction(index) => {
            let name = program.transactions[index].name.clone();
            format!("roll back, then {}", name.unwrap_or_else(|| format!("transaction {}", index + 1)))
        }
    }
}

fn bind_name(program: &Program, slot: Slot) -> String {
    let built_in =
        BUILT_IN_BINDS.iter().find(|(_, known)| *known == slot).map(|(name, _)| (*name).to_owned());
    let yielded = || {
        program.steps().find_map(|step| {
            let at = step.yields.iter().position(|known| *known == slot)?;
            Some(step.statement.columns[at].clone())
        })
    };
    built_in.or_else(yielded).unwrap_or_default()
}
