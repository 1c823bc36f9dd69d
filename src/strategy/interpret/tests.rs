//! The step function against scripted answers: what is sent, in order.

use super::*;
use crate::db::Dialect;
use crate::strategy::StrategyFile;
use crate::workload::Line;

fn program(transactions: &str) -> Program {
    let file = StrategyFile::parse("test", &format!("summary = \"x\"\n{transactions}")).unwrap();
    Program::compile("test", &file, &Dialect::Postgres.into()).unwrap()
}

fn order(skus: &[i64]) -> Order {
    Order { id: 9, lines: skus.iter().map(|sku_id| Line { sku_id: *sku_id, quantity: 2 }).collect() }
}

/// What a statement is answered with.
enum Answer {
    Row(Vec<Value>),
    None,
    Error(ErrorClass),
}
use Answer::{Error, None as NoRow, Row};

fn row() -> Answer {
    Row(Vec::new())
}

/// Drives a machine with these answers to its statements; what was sent.
/// A refused attempt is retried while answers remain.
fn drive(machine: &mut Machine<'_>, answers: Vec<Answer>) -> Vec<String> {
    let mut answers = answers.into_iter();
    let mut sent = Vec::new();
    let error = |class| DbError { class, code: String::new(), message: String::new() };
    loop {
        match machine.action() {
            Action::Begin(sql) => sent.push(sql.to_owned()),
            Action::Think => sent.push("think".to_owned()),
            Action::Commit => sent.push("COMMIT".to_owned()),
            Action::Rollback => sent.push("ROLLBACK".to_owned()),
            Action::Done(outcome) => {
                sent.push(outcome.as_str().to_owned());
                assert_eq!(answers.count(), 0, "answers left after {sent:?}");
                return sent;
            }
            Action::Refused if answers.len() == 0 => {
                machine.give_up();
                continue;
            }
            Action::Refused => {
                sent.push("again".to_owned());
                machine.retry();
                continue;
            }
            Action::Execute(statement) => {
                let binds: Vec<String> = machine.binds(|| 0).iter().map(Value::to_text).collect();
                sent.push(format!("{} {}", statement.sql, binds.join(" ")).trim().to_owned());
                match answers.next().unwrap_or_else(|| panic!("no answer for {sent:?}")) {
                    Row(values) => machine.succeeded(Reply { matched: 1, values, rows: Vec::new() }),
                    NoRow => machine.succeeded(Reply::default()),
                    Error(class) => machine.failed(&error(class)),
                }
                continue;
            }
        }
        machine.succeeded(Reply::default());
    }
}

#[track_caller]
fn assert_sent(transactions: &str, skus: &[i64], answers: Vec<Answer>, expected: &[&str]) {
    let (program, order) = (program(transactions), order(skus));
    assert_eq!(drive(&mut Machine::new(&program, Task::of(&order, 1)), answers), expected);
}

const TWO_STEPS: &str = "[[transaction]]\n[[transaction.step]]\nsql = \"take :sku_id :quantity\"\nnone = \"sold_out\"\n\
     [[transaction.step]]\nsql = \"note :order_id :sku_id\"\nunique = \"duplicate\"\n";

#[test]
fn steps_that_name_a_line_run_line_by_line() {
    let expected =
        ["BEGIN", "take $1 $2 5 2", "note $1 $2 9 5", "take $1 $2 7 2", "note $1 $2 9 7", "COMMIT"];
    let expected: Vec<&str> = expected.into_iter().chain(["deducted"]).collect();
    assert_sent(TWO_STEPS, &[5, 7], vec![row(), row(), row(), row()], &expected);
}

#[test]
fn a_refusal_rolls_back_and_answers() {
    let answers = vec![row(), row(), NoRow];
    let expected = ["BEGIN", "take $1 $2 5 2", "note $1 $2 9 5", "take $1 $2 7 2", "ROLLBACK", "sold_out"];
    assert_sent(TWO_STEPS, &[5, 7], answers, &expected);
}

#[test]
fn errors_mean_what_the_step_says_or_an_error() {
    let after = |class| vec![row(), Error(class)];
    let expected = |outcome| ["BEGIN", "take $1 $2 5 2", "note $1 $2 9 5", "ROLLBACK", outcome];
    assert_sent(TWO_STEPS, &[5], after(ErrorClass::Duplicate), &expected("duplicate"));
    assert_sent(TWO_STEPS, &[5], after(ErrorClass::Check), &expected("error"));
    assert_sent(TWO_STEPS, &[5], after(ErrorClass::Retry), &expected("conflict"));
    assert_sent(TWO_STEPS, &[5], after(ErrorClass::Locked), &expected("conflict"));
    // A lost connection inside a transaction was surely not applied, and
    // there is nothing left to roll back.
    let lost = ["BEGIN", "take $1 $2 5 2", "note $1 $2 9 5", "error"];
    assert_sent(TWO_STEPS, &[5], after(ErrorClass::Lost), &lost);
}

#[test]
fn a_single_statement_is_sent_alone_and_may_be_lost_after_it_was_applied() {
    let one = "[[transaction]]\n[[transaction.step]]\nsql = \"take :sku_id\"\n";
    assert_sent(one, &[5], vec![row()], &["take $1 5", "deducted"]);
    assert_sent(one, &[5], vec![Error(ErrorClass::Lost)], &["take $1 5", "unknown"]);
    assert_sent(one, &[5, 6], vec![row(), row()], &["BEGIN", "take $1 5", "take $1 6", "COMMIT", "deducted"]);
    let alone = "[[transaction]]\nbegin = \"none\"\n[[transaction.step]]\nsql = \"a\"\n[[transaction.step]]\nsql = \"b\"\n";
    assert_sent(alone, &[5], vec![row(), Error(ErrorClass::Retry)], &["a", "b", "conflict"]);
}

#[test]
fn a_commit_whose_answer_says_nothing_of_its_effect_is_unknown() {
    let (program, order) = (program(TWO_STEPS), order(&[5]));
    let after = |class| {
        let mut machine = Machine::new(&program, Task::of(&order, 1));
        for _ in 0..3 {
            machine.succeeded(Reply { matched: 1, ..Reply::default() });
        }
        assert!(matches!(machine.action(), Action::Commit));
        machine.failed(&DbError { class, code: String::new(), message: String::new() });
        drive(&mut machine, Vec::new())
    };
    for class in [ErrorClass::Lost, ErrorClass::NotReady] {
        assert_eq!(after(class), ["unknown"], "{class:?}");
    }
    for class in [ErrorClass::Fatal, ErrorClass::Cancelled, ErrorClass::Statement] {
        assert_eq!(after(class), ["ROLLBACK", "unknown"], "{class:?}");
    }
    for class in [ErrorClass::Retry, ErrorClass::Locked] {
        assert_eq!(after(class), ["ROLLBACK", "conflict"], "{class:?}");
    }
    assert_eq!(after(ErrorClass::Check), ["ROLLBACK", "error"]);
}

const READ_SWAP: &str = "[[transaction]]\nname = \"read\"\n[[transaction.step]]\nsql = \"read :sku_id\"\n\
     yields = [\"seen\"]\nnone = \"sold_out\"\n[[transaction]]\nrestart = \"read\"\n[[transaction.step]]\n\
     sql = \"swap :sku_id :seen\"\nnone = \"conflict\"\n[[transaction.step]]\nsql = \"note :seen\"\n";

#[test]
fn values_yielded_per_line_stay_with_their_line_across_transactions() {
    let seen = |number| Row(vec![Value::Int(number)]);
    let answers = vec![seen(50), seen(70), row(), row(), row(), row()];
    let expected = [
        "BEGIN",
        "read $1 5",
        "read $1 7",
        "COMMIT",
        "BEGIN",
        "swap $1 $2 5 50",
        "note $1 50",
        "swap $1 $2 7 70",
        "note $1 70",
        "COMMIT",
        "deducted",
    ];
    assert_sent(READ_SWAP, &[5, 7], answers, &expected);
}

#[test]
fn a_conflict_goes_back_to_where_the_transaction_restarts() {
    let seen = |number| Row(vec![Value::Int(number)]);
    let answers = vec![seen(50), NoRow, seen(49), row(), row()];
    let expected = [
        "read $1 5",
        "BEGIN",
        "swap $1 $2 5 50",
        "ROLLBACK",
        "again",
        "read $1 5",
        "BEGIN",
        "swap $1 $2 5 49",
        "note $1 49",
        "COMMIT",
        "deducted",
    ];
    assert_sent(READ_SWAP, &[5], answers, &expected);
}

#[test]
fn a_retry_that_reads_nothing_anew_is_futile_and_one_that_reads_is_not() {
    let seen = |number| Row(vec![Value::Int(number)]);
    let order = order(&[5]);
    let stale = program(&READ_SWAP.replace("restart = \"read\"\n", ""));
    let mut machine = Machine::new(&stale, Task::of(&order, 1));
    drive(&mut machine, vec![seen(50), NoRow, NoRow, NoRow]);
    assert_eq!(machine.futile_retries(), 2);
    let fresh = program(READ_SWAP);
    let mut machine = Machine::new(&fresh, Task::of(&order, 1));
    drive(&mut machine, vec![seen(50), NoRow, seen(50), NoRow, seen(50), NoRow]);
    assert_eq!(machine.futile_retries(), 0, "the same value may have come back");
    // Asking for a lock again is not futile: it may be free by then.
    let lock =
        program("[[transaction]]\n[[transaction.step]]\nsql = \"lock :sku_id\"\nnone = \"conflict\"\n");
    let mut machine = Machine::new(&lock, Task::of(&order, 1));
    drive(&mut machine, vec![NoRow, NoRow, NoRow]);
    assert_eq!(machine.futile_retries(), 0);
}

#[test]
fn a_loop_inside_a_transaction_is_broken_off_when_its_values_stand_still() {
    let text = "[[transaction]]\n[[transaction.step]]\nname = \"read\"\nsql = \"read :sku_id\"\nyields = [\"seen\"]\n\
         [[transaction.step]]\nsql = \"swap :seen\"\nnone = \"@read\"\n";
    let (program, order) = (program(text), order(&[5]));
    let spin = |values: &[i64]| -> Vec<Answer> {
        values.iter().flat_map(|value| [Row(vec![Value::Int(*value)]), NoRow]).collect()
    };
    let mut machine = Machine::new(&program, Task::of(&order, 1));
    let sent = drive(&mut machine, spin(&[50; 11]));
    assert_eq!(machine.stuck(), Some(Stuck::SameValues));
    assert_eq!(sent.last().map(String::as_str), Some("conflict"));
    let mut machine = Machine::new(&program, Task::of(&order, 1));
    let moving: Vec<i64> = (0..i64::from(JUMPS_MAX)).collect();
    drive(&mut machine, spin(&moving));
    assert_eq!(machine.stuck(), Some(Stuck::TooManyJumps));
}

#[test]
fn transactions_that_send_an_order_to_and_fro_are_broken_off() {
    let text = "[[transaction]]\nname = \"a\"\n[[transaction.step]]\nsql = \"one\"\nnone = \"@b\"\n\
         [[transaction]]\nname = \"b\"\n[[transaction.step]]\nsql = \"two\"\nnone = \"@a\"\n";
    let (program, order) = (program(text), order(&[5]));
    let mut machine = Machine::new(&program, Task::of(&order, 1));
    let nothing: Vec<Answer> = (0..JUMPS_MAX).map(|_| NoRow).collect();
    assert_eq!(drive(&mut machine, nothing).last().map(String::as_str), Some("conflict"));
    assert_eq!(machine.stuck(), Some(Stuck::TooManyJumps));
}

#[test]
fn a_read_that_finds_nothing_leaves_no_old_value_behind() {
    let text = "[[transaction]]\n[[transaction.step]]\nsql = \"read :sku_id\"\nyields = [\"seen\"]\nnone = \"ok\"\n\
         [[transaction.step]]\nsql = \"write :seen :sku_id\"\nnone = \"conflict\"\n";
    let answers = vec![Row(vec![Value::Int(7)]), NoRow, NoRow, row()];
    let expected = [
        "BEGIN",
        "read $1 5",
        "write $1 $2 7 5",
        "ROLLBACK",
        "again",
        "BEGIN",
        "read $1 5",
        "write $1 $2  5",
        "COMMIT",
        "deducted",
    ];
    assert_sent(text, &[5], answers, &expected);
}

#[test]
fn a_jump_leaves_the_transaction_or_moves_inside_it() {
    let text = "[[transaction]]\n[[transaction.step]]\nsql = \"claim :order_id\"\nunique = \"@repeat\"\n\
         [[transaction.step]]\nsql = \"take :sku_id\"\nnone = \"@refuse\"\n\
         [[transaction.step]]\nsql = \"release\"\nthen = \"deducted\"\n\
         [[transaction.step]]\nname = \"refuse\"\nsql = \"undo\"\nthen = \"sold_out\"\n\
         [[transaction]]\nname = \"repeat\"\nthen = \"duplicate\"\n[[transaction.step]]\nsql = \"look\"\n";
    let sold = ["BEGIN", "claim $1 9", "take $1 5", "take $1 7", "release", "COMMIT", "deducted"];
    assert_sent(text, &[5, 7], vec![row(), row(), row(), row()], &sold);
    let refused = ["BEGIN", "claim $1 9", "take $1 5", "take $1 7", "undo", "COMMIT", "sold_out"];
    assert_sent(text, &[5, 7], vec![row(), row(), NoRow, row()], &refused);
    let repeated = ["BEGIN", "claim $1 9", "ROLLBACK", "look", "duplicate"];
    assert_sent(text, &[5, 7], vec![Error(ErrorClass::Duplicate), row()], &repeated);
}

const SAGA: &str = r#"
[[transaction]]
name = "reserve"
[[transaction.step]]
sql = "RESERVE"
none = "sold_out"
[[transaction]]
name = "pay"
[[transaction.step]]
sql = "PAY"
none = "sold_out"
[[transaction]]
undoes = "reserve"
[[transaction.step]]
sql = "UNRESERVE"
none = "ok"
[[transaction]]
undoes = "pay"
[[transaction.step]]
sql = "UNPAY"
none = "ok"
"#;

#[test]
fn a_saga_takes_back_what_was_done_in_reverse_order() {
    assert_sent(SAGA, &[1], vec![row(), row()], &["RESERVE", "PAY", "deducted"]);
    assert_sent(SAGA, &[1], vec![NoRow], &["RESERVE", "sold_out"]);
    let refused = vec![row(), NoRow, row()];
    assert_sent(SAGA, &[1], refused, &["RESERVE", "PAY", "UNRESERVE", "compensated"]);
    let failed = vec![row(), Error(ErrorClass::Statement), NoRow];
    assert_sent(SAGA, &[1], failed, &["RESERVE", "PAY", "UNRESERVE", "compensated"]);
    // Its answer is lost: it may have been done, so it is taken back as well.
    let lost = vec![row(), Error(ErrorClass::Lost), row(), row()];
    assert_sent(SAGA, &[1], lost, &["RESERVE", "PAY", "UNPAY", "UNRESERVE", "compensated"]);
}

#[test]
fn what_takes_back_is_tried_again_whatever_stopped_it() {
    let answers = vec![row(), NoRow, Error(ErrorClass::Statement), Error(ErrorClass::Lost), row()];
    let sent = ["RESERVE", "PAY", "UNRESERVE", "again", "UNRESERVE", "again", "UNRESERVE", "compensated"];
    assert_sent(SAGA, &[1], answers, &sent);
    let given_up = vec![row(), NoRow, Error(ErrorClass::Statement)];
    assert_sent(SAGA, &[1], given_up, &["RESERVE", "PAY", "UNRESERVE", "error"]);
}

const LOCKED: &str = r#"
[[transaction]]
name = "lock"
begin = "none"
[[transaction.step]]
sql = "LOCK"
none = "conflict"
[[transaction]]
restart = "lock"
[[transaction.step]]
sql = "WORK"
none = "sold_out"
[[transaction]]
finally = true
begin = "none"
[[transaction.step]]
sql = "UNLOCK"
"#;

#[test]
fn what_was_locked_is_released_at_the_end_of_every_attempt() {
    assert_sent(LOCKED, &[1], vec![row(), row(), row()], &["LOCK", "WORK", "UNLOCK", "deducted"]);
    assert_sent(LOCKED, &[1], vec![row(), NoRow, row()], &["LOCK", "WORK", "UNLOCK", "sold_out"]);
    let conflict = vec![row(), Error(ErrorClass::Retry), row(), row(), row(), row()];
    let sent = ["LOCK", "WORK", "UNLOCK", "again", "LOCK", "WORK", "UNLOCK", "deducted"];
    assert_sent(LOCKED, &[1], conflict, &sent);
    // A release that fails changes nothing of the answer.
    let failing = vec![row(), row(), Error(ErrorClass::Statement)];
    assert_sent(LOCKED, &[1], failing, &["LOCK", "WORK", "UNLOCK", "deducted"]);
}

#[test]
fn one_of_the_alternatives_runs_and_then_what_follows_them() {
    let program = program(
        r#"
[[transaction]]
share = 3
[[transaction.step]]
sql = "PAY"
[[transaction]]
share = 1
then = "released"
[[transaction.step]]
sql = "CANCEL"
[[transaction]]
[[transaction.step]]
sql = "SHIP"
"#,
    );
    let run = |chance, answers| {
        let task = Task { chance, ..Task::of(&order(&[1]), 1) };
        drive(&mut Machine::new(&program, task), answers)
    };
    for chance in 0..3 {
        assert_eq!(run(chance, vec![row(), row()]), ["PAY", "SHIP", "deducted"]);
    }
    assert_eq!(run(3, vec![row()]), ["CANCEL", "released"]);
}

#[test]
fn a_duplicate_carries_the_recorded_answer() {
    let program = program(
        "[[transaction]]\n[[transaction.step]]\nsql = \"ASK\"\nyields = [\"answer\"]\nthen = \"duplicate\"\n",
    );
    let mut machine = Machine::new(&program, Task::of(&order(&[1]), 1));
    assert_eq!(drive(&mut machine, vec![Row(vec!["sold_out".into()])]), ["ASK", "duplicate"]);
    assert_eq!(machine.recorded(), Some(Outcome::SoldOut));
}

#[test]
fn tokens_params_draws_and_the_time_can_be_bound() {
    let program = program(
        "params = { ttl = 30 }\ndraw = { user = { range = [1, 9] } }\n[[transaction]]\n[[transaction.step]]\nsql = \"S :token :ttl :user :now_ms :lines\"\n",
    );
    let task = Task { token: 7_000, drawn: vec![5], ..Task::of(&order(&[1]), 1) };
    let mut machine = Machine::new(&program, task);
    let bound: Vec<String> = machine.binds(|| 99).iter().map(Value::to_text).collect();
    assert_eq!(bound, ["7000", "30", "5", "99", "[{\"sku_id\":1,\"quantity\":2}]"]);
}
