//! What the binary says: exact words, exit codes, and one line for an error.

use crate::support::{Backend, assert_one_line, outcome, place, server, stockbench};
use serde_json::Value;
use std::fs;
use stockbench::lab::LabKind;

#[test]
fn a_bare_run_sells_and_refuses_on_the_embedded_default() {
    let folder = tempfile::tempdir().unwrap();
    let said = stockbench(folder.path(), &["run"]);
    assert_eq!(said.code, 0, "{said:?}");
    let first = said.stdout.lines().next().unwrap();
    assert!(first.starts_with("SQLite 3.") && first.contains("the embedded default"), "{first}");
    for part in ["deducted", "sold_out", "goodput", "conflicts", "audit: passed", "client", "--random-seed"] {
        assert!(said.stdout.contains(part), "{part} is missing from {}", said.stdout);
    }
    assert_eq!(said.stderr, "");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["stockbench.db"]);
}

#[test]
fn a_report_fits_the_schema_in_the_repository() {
    let place = place(Backend::Sqlite).unwrap();
    let (_, report) = place.run(&["-s", "naive", "--concurrency", "100", "--skus", "1"]);
    let schema =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schema/report.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let errors: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    let mut damaged = report.clone();
    damaged["outcomes"]["deducted"] = Value::from("many");
    assert!(!validator.is_valid(&damaged));
    // The identities, from outside.
    let deliveries: u64 =
        report["outcomes"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(report["deliveries"], deliveries);
    assert_eq!(report["attempts"].as_u64().unwrap(), deliveries + report["retries"].as_u64().unwrap());
}

#[test]
fn the_json_file_is_what_json_output_prints() {
    let place = place(Backend::Sqlite).unwrap();
    let file = place.path("report.json").display().to_string();
    let (code, printed) = place.run(&["--json", &file, "--random-seed", "5"]);
    let written: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!((code, &printed), (0, &written));
    assert_eq!(printed["random_seed"], 5);
}

#[test]
fn strategies_are_listed_shown_and_copyable() {
    let folder = tempfile::tempdir().unwrap();
    let list = stockbench(folder.path(), &["strategies"]);
    assert!(list.code == 0 && list.stdout.lines().count() >= 13, "{list:?}");
    let file = stockbench(folder.path(), &["strategies", "show", "pessimistic"]).stdout;
    fs::write(folder.path().join("mine.toml"), &file).unwrap();
    let said = stockbench(folder.path(), &["run", "-s", "./mine.toml", "-o", "json"]);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, outcome(&report, "deducted")), (0, 300));
    let sql = stockbench(folder.path(), &["strategies", "show", "pessimistic", "--dialect", "mysql"]).stdout;
    let expected = "\
-- pessimistic on MySQL, tried until decided, within 2m

-- transaction 1
START TRANSACTION;
-- for each line of the order:
SELECT stock - ? AS remaining
FROM stockbench_sku WHERE id = ? AND stock >= ? FOR UPDATE;
    -- binds quantity, sku_id, quantity; yields remaining; no row: sold_out
-- (think time)
UPDATE stockbench_sku SET stock = ? WHERE id = ?;
    -- binds remaining, sku_id
INSERT INTO stockbench_ledger (order_id, sku_id, kind, status, delta, balance, run_id)
VALUES (?, ?, 'sale', 'accepted', -?, ?, ?);
    -- binds order_id, sku_id, quantity, remaining, run_id; duplicate key: duplicate
COMMIT;
";
    assert_eq!(sql, expected);
}

#[test]
fn scenarios_are_listed_and_run_by_name_or_path() {
    let folder = tempfile::tempdir().unwrap();
    let list = stockbench(folder.path(), &["scenarios"]);
    assert!(list.stdout.contains("ci-smoke") && list.code == 0, "{list:?}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/ci-smoke.toml");
    for scenario in ["ci-smoke", path] {
        let said =
            stockbench(folder.path(), &["run", "--scenario", scenario, "--orders", "300", "-o", "json"]);
        let report: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!((said.code, outcome(&report, "deducted")), (0, 200), "{said:?}");
        assert_eq!(report["deliveries"], 300, "a flag overrides the scenario");
    }
    let typo = folder.path().join("mine.toml");
    fs::write(&typo, "summary = \"x\"\n[load]\nstok = 3\n").unwrap();
    let said = stockbench(folder.path(), &["run", "--scenario", "./mine.toml"]);
    assert_one_line(&said, 2, &["./mine.toml:3: unknown key `stok`; did you mean \"stock\"?"]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn bad_input_gets_one_line_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = files.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let step = "summary = \"x\"\n[[transaction]]\n[[transaction.step]]\n";
    let unknown_key = file("key.toml", &format!("{step}sql = \"SELECT 1\"\nnonee = \"sold_out\"\n"));
    let no_yield =
        file("bind.toml", &format!("{step}sql = \"UPDATE stockbench_sku SET stock = :remaning\"\n"));
    let no_dialect = file("dialect.toml", &format!("{step}postgres = \"SELECT 1\"\n"));
    let no_meaning = file("meaning.toml", &format!("{step}sql = \"SELECT 1\"\nnone = \"soldout\"\n"));
    let no_target = file("jump.toml", &format!("{step}sql = \"SELECT 1\"\nnone = \"@gone\"\n"));
    let ok = "[[transaction]]\n[[transaction.step]]\n";
    let invariant = "[[invariant]]\nsql = \"SELECT 1 FROM nowhere\"\nsays = \"no\"\n";
    let no_invariant = file("invariant.toml", &format!("{invariant}{ok}sql = \"SELECT 1\"\n"));
    let no_ledger = file("ledger.toml", &format!("audit = {{ ledger = false }}\n{ok}sql = \"SELECT 1\"\n"));
    let both = file("both.toml", &format!("{ok}sql = \"SELECT 1\"\nredis = \"return 1\"\n"));
    let idle = file("idle.toml", &format!("{ok}sql = \"SELECT 1\"\nnone = \"idle\"\n"));
    let no_undo = file("undo.toml", &format!("{ok}sql = \"SELECT 1\"\n[[transaction]]\nundoes = \"gone\"\n"));
    let draw = "draw = { source = { range = [1, 2] }, target = { range = [1, 2], not = \"sorce\" } }\n";
    let no_draw = file("draw.toml", &format!("{draw}{ok}sql = \"SELECT 1\"\n"));
    let flow = "[[flow]]\nname = \"f\"\nevery = \"1ms\"\n[[flow.transaction]]\n[[flow.transaction.step]]\nsql = \"SELECT 1\"\n";
    let restless = file("restless.toml", &format!("{ok}sql = \"SELECT 1\"\n{flow}"));
    let undo = "none = \"@back\"\n[[transaction]]\nname = \"back\"\nundoes = \"do\"\n";
    let to_undo = file(
        "to-undo.toml",
        &format!("[[transaction]]\nname = \"do\"\n[[transaction.step]]\nsql = \"SELECT 1\"\n{undo}"),
    );
    let answers = "sql = \"SELECT 1 AS order_id, 'deducted' AS outcome\"\nyields = [\"order_id\", \"outcome\"]\nanswers = true\n";
    let batches = file("batches.toml", &format!("batch = 5\n{ok}{answers}"));
    let no_batch =
        file("no-batch.toml", "[[transaction]]\nfor = \"batch\"\n[[transaction.step]]\nsql = \"SELECT 1\"\n");
    let single =
        "[[transaction]]\nname = \"single\"\nfor = \"order\"\n[[transaction.step]]\nsql = \"SELECT 1\"\n";
    let across = file("across.toml", &format!("batch = 5\n{ok}{answers}none = \"@single\"\n{single}"));
    let taken = file("taken.toml", &format!("params = {{ quantity = 1 }}\n{ok}sql = \"SELECT 1\"\n"));
    let wrong_key = file("key.lua.toml", &format!("{ok}redis = \"return redis.call('GET', :order_id)\"\n"));
    let inline = "summary = \"x\"\n[strategy]\nsummary = \"y\"\n\n[[strategy.setupp]]\nsql = \"x\"\n";
    let scenario_key = file("scenario.toml", inline);
    let expect = |line: &str| format!("summary = \"x\"\n[expect]\n{line}\n");
    let scenario_threshold = file("threshold.toml", &expect("thresholds = [\"p99 under 5s\"]"));
    let scenario_finding = file("finding.toml", &expect("audit = \"oversell\""));
    let not_toml = file("half.toml", "summary = \"x\n[[transac");
    let bad_line = file("orders.csv", "order_id,sku_id,quantity\n1,2,3\n2,2,many\n");
    let cases: &[(&[&str], &[&str])] = &[
        (&["-s", "optimstic"], &["unknown strategy \"optimstic\"; did you mean \"optimistic\"?"]),
        (&["-s", "./nowhere.toml"], &["cannot read strategy file ./nowhere.toml"]),
        (&["-s", &unknown_key], &["key.toml:5: unknown key `nonee`; did you mean \"none\"?"]),
        (&["-s", &no_yield], &["transaction 1, step 1: no step before it yields `:remaning`"]),
        (&["-s", &no_dialect], &["has no SQL for sqlite"]),
        (&["-s", &no_meaning], &["meaning.toml:5: unknown meaning `soldout`; did you mean \"sold_out\"?"]),
        (&["-s", &no_target], &["jump to `gone`"]),
        (&["-s", &not_toml], &["half.toml:2: unclosed array table"]),
        (&["--replay", &bad_line], &["orders.csv:3: quantity `many` is not a whole number"]),
        (&["--replay", "nowhere.csv"], &["cannot read nowhere.csv"]),
        (&["-s", &no_ledger], &["something else must judge it: add an [[invariant]]"]),
        (&["-s", &both], &["a step is SQL or a script for Redis, not both"]),
        (&["-s", &idle], &["only a flow can be `idle`"]),
        (&["-s", &no_undo], &["undoes refers to `gone`"]),
        (&["-s", &no_draw], &["there is no draw `sorce`; did you mean \"source\"?"]),
        (&["-s", &wrong_key], &["a key of Redis that does not begin with 'stockbench:"]),
        (&["-s", "atomic@0"], &["a weight is at least 1"]),
        (&["-s", "atomic@4,atomic@1"], &["strategy atomic is in the mix twice"]),
        (&["-s", "atomic@4,unkeyed@1"], &["keep their stock or ledger in different tables"]),
        (&["-s", &batches, "--lines", "1..2"], &["it takes orders of one line"]),
        (&["-s", &no_batch], &["`for = \"batch\"` needs `batch`"]),
        (&["-s", &across], &["transactions for a batch and for an order neither jump to"]),
        (
            &["-s", "redis-lock", "--param", "lock_m=5"],
            &["no strategy of this run has a param `lock_m`; did you mean \"lock_ms\"?"],
        ),
        (&["-s", "saga", "--fault", "fail@ordre"], &["no transaction `ordre`; did you mean \"order\"?"]),
        (&["-s", "saga", "--service", "ordrs=sqlite:o.db"], &["no such service; did you mean \"orders\"?"]),
        (&["-s", "saga", "--service", "postgres://me:secret@h/db?x=y"], &["--service takes NAME=URL"]),
        (&["-s", "atomic", "--fault", "kill-redis@5"], &["the strategy uses no Redis"]),
        (&["-s", "atomic", "--statement-timeout", "1s"], &["SQLite limits no statement"]),
        (&["-s", "shop-order@1,atomic@1"], &["bring different invariants"]),
        (&["-s", &restless], &["never rests: say with `none = \"idle\"`"]),
        (&["-s", &to_undo], &["transactions with `undoes` or `finally` neither jump nor are jumped to"]),
        (&["-s", &taken], &["`quantity` cannot name a param or a draw"]),
        (&["-s", "advisory"], &["strategy advisory cannot run on SQLite"]),
        (&["--scenario", &scenario_key], &["scenario.toml:5: unknown key `setupp`; did you mean \"setup\"?"]),
        (&["--scenario", &scenario_threshold], &["threshold.toml:3: `p99 under 5s` is no threshold"]),
        (
            &["--scenario", &scenario_finding],
            &["finding.toml:3: unknown finding `oversell`; did you mean \"oversold\"?"],
        ),
        (&["--scenario", "isolation-trap"], &["the scenario is for MySQL, MariaDB, not for SQLite"]),
        (&["--scenario", "flash-sail"], &["did you mean \"flash-sale\"?"]),
        (&["--lines", "1..9"], &["more lines than there are SKUs"]),
        (&["--orders", "5", "--duration", "5s"], &["give one of them"]),
        (&["--isolation", "read-committed"], &["SQLite has one isolation level"]),
        (&["--json", "nowhere/report.json"], &["cannot write nowhere/report.json"]),
        (&["--json", "both.out", "--history", "./both.out"], &["./both.out is to hold two things"]),
        (&["-c", "100000000", "-n", "1"], &["concurrency and connections are at most 1000000"]),
        (&["--rtt", "10s"], &["rtt is at most 5 s"]),
        (&["--lab", "redis"], &["holds no stock"]),
        (&["--database-url", "postgress://a/b"], &["did you mean \"postgres\"?"]),
        (&["--database-url", "sqlite::memory:"], &["cannot be shared"]),
    ];
    for (arguments, fragments) in cases {
        let said = stockbench(folder.path(), &[&["run"], *arguments].concat());
        assert_one_line(&said, 2, fragments);
        assert_eq!(said.stdout, "", "{said:?}");
    }
    // What only a database can tell comes after its name has been said.
    let said = stockbench(folder.path(), &["run", "-s", &no_invariant]);
    assert_one_line(&said, 2, &["invariant.toml: invariant 1: ", "no such table"]);
    let lines = stockbench(folder.path(), &["seed", "--skus", "1"]);
    assert_eq!(lines.code, 0);
    let lines = stockbench(folder.path(), &["run", "--no-seed", "--lines", "2"]);
    assert_one_line(&lines, 2, &["more lines than there are SKUs in stock (1)"]);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(left.is_empty() || left == ["stockbench.db"], "left behind: {left:?}");
}

#[test]
fn numbers_out_of_range_are_usage_errors() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        ["--concurrency", "0"],
        ["--concurrency", "-5"],
        ["--orders", "0"],
        ["--skus", "many"],
        ["--stock", "-1"],
        ["--quantity", "5..1"],
        ["--quantity", "0"],
        ["--duration", "soon"],
        ["--dist", "zipf"],
        ["--retry-delay", "5ms"],
        ["--duplicates", "101"],
        ["--threshold", "p99"],
        ["--threshold", "oversold_unit == 0"],
        ["--fault", "burn@x"],
        ["--param", "lock_ms"],
        ["--no-such-flag", "1"],
    ] {
        let said = stockbench(folder.path(), &["run", arguments[0], arguments[1]]);
        assert_one_line(&said, 2, &[arguments[0]]);
    }
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}

/// The commands of a text, each on one line: a backslash at the end of a line and the
/// folding of YAML join two.
fn commands_in(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let begins =
        |line: &str| line.trim_start().trim_start_matches("- run: ").trim_start().starts_with("stockbench ");
    let lines = joined.lines().filter(|line| begins(line));
    lines.map(|line| line.trim_start().trim_start_matches("- run: ").trim().to_owned()).collect()
}

#[track_caller]
fn assert_understood(line: &str) {
    use clap::Parser;
    let command = line.split([';', '|', '>']).next().unwrap();
    let words = command.split_whitespace().map(|word| word.trim_matches(['\'', '"']));
    stockbench::cli::Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
}

#[test]
fn every_command_explains_itself_with_an_example_that_is_understood() {
    use clap::CommandFactory;
    let folder = tempfile::tempdir().unwrap();
    let commands = stockbench::cli::Cli::command();
    for command in commands.get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_name();
        let said = stockbench(folder.path(), &[name, "--help"]);
        assert!(said.code == 0 && said.stdout.contains("Example:"), "{name}: {said:?}");
        let examples = commands_in(said.stdout.split_once("Example:").unwrap().1);
        assert!(examples.iter().any(|line| line.contains(name)), "{name}: {said:?}");
        for line in &examples {
            assert_understood(line);
        }
    }
}

#[test]
fn the_commands_of_the_samples_are_understood() {
    let ci = include_str!("../../docs/ci-sample.yml");
    // A folded block is one line.
    let folded = ci.replace(": >\n", ": ").lines().fold(String::new(), |text, line| {
        let goes_on = line.starts_with("          ");
        format!("{text}{}{line}", if goes_on { " " } else { "\n" })
    });
    let commands = commands_in(&folded);
    assert!(commands.len() >= 2 && commands[0].contains("--json run.json"), "{commands:?}");
    for line in &commands {
        assert_understood(line);
    }
    assert!(commands[0].contains("--allow-writes shop"), "it writes the shop's own tables");

    let job = include_str!("../../docs/segments-job.yml");
    let (_, command) = job.split_once("exec stockbench").unwrap();
    let command = command.split("env:").next().unwrap().replace('\n', " ");
    let command = command.replace("$k", "3").replace("$(START_AT)", "2026-01-31T18:05:00Z");
    assert_understood(&format!("stockbench{command}"));
}

#[test]
fn completions_and_man_pages_know_every_command() {
    use clap::CommandFactory;
    let folder = tempfile::tempdir().unwrap();
    let commands = stockbench::cli::Cli::command();
    let names: Vec<&str> = commands.get_subcommands().map(clap::Command::get_name).collect();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = stockbench(folder.path(), &["completions", shell]);
        assert!(said.code == 0 && said.stderr.is_empty(), "{shell}: {said:?}");
        let missing = names.iter().find(|name| !said.stdout.contains(**name));
        assert_eq!(missing, None, "{shell}");
    }
    let said = stockbench(folder.path(), &["man"]);
    assert!(said.code == 0 && said.stdout.contains(".TH stockbench"), "{said:?}");
    for name in names {
        let said = stockbench(folder.path(), &["man", name]);
        assert!(said.code == 0 && said.stdout.contains(".SH SYNOPSIS"), "{name}: {said:?}");
    }
    let said = stockbench(folder.path(), &["man", "compre"]);
    assert_one_line(&said, 2, &["there is no command compre; did you mean \"compare\"?"]);
    assert_one_line(&stockbench(folder.path(), &["completions", "tcsh"]), 2, &["tcsh"]);
}

#[test]
fn a_reader_that_stops_reading_changes_neither_the_files_nor_the_exit_code() {
    let place = place(Backend::Sqlite).unwrap();
    let report = place.path("report.json");
    let report_file = report.display().to_string();
    let run = ["run", "-s", "naive", "--concurrency", "100", "--skus", "1", "--json", &report_file];
    let mut child = crate::support::spawn(place.folder.path(), &place.arguments(&run));
    drop(child.stdout.take());
    let said = crate::support::wait(child);
    assert_eq!((said.code, said.stderr.as_str()), (3, ""), "{said:?}");
    assert!(fs::read_to_string(report).unwrap().contains("\"oversold\""));
}

#[test]
fn a_password_is_not_quoted_back_from_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let said = stockbench(folder.path(), &["run", "postgres://me:hunter2@h/db"]);
    assert_one_line(&said, 2, &["postgres://***@h/db"]);
    fs::write(folder.path().join(".env"), "DATABASE_URL=postgres://me:hunter2 x@h/db\n").unwrap();
    assert_one_line(&stockbench(folder.path(), &["run"]), 2, &[".env has a line that does not parse"]);
    fs::write(folder.path().join(".env"), "DATABASE_URL=postgres://me:1/hunter2@h/db\n").unwrap();
    let said = stockbench(folder.path(), &["run"]);
    assert_one_line(&said, 2, &["an @ after its host"]);
    assert!(!said.stderr.contains("hunter2"), "{said:?}");
}

#[test]
fn a_run_without_stock_is_not_a_pass() {
    let place = place(Backend::Sqlite).unwrap();
    let (code, report) = place.run(&["-s", "atomic", "--no-seed", "--orders", "20"]);
    assert_eq!((code, outcome(&report, "sold_out")), (1, 20), "{report:#}");
    assert_eq!(report["audit"]["judged"], false);
}

/// A line without its figures, units of time and frames: what stays the same from run to
/// run and from server to server.
fn shape(line: &str) -> String {
    // The version that a server gives itself.
    let line = line.find(" at postgres://").map_or(line, |at| &line[at..]);
    let masked: String = line.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
    let words = masked.split_whitespace().filter(|word| !["µs", "ms", "s"].contains(word));
    let words = words.map(|word| {
        let mut figure = word.replace("#,#", "##").replace("#.#", "##");
        while figure.contains("##") {
            figure = figure.replace("##", "#");
        }
        figure
    });
    words.collect::<Vec<String>>().join(" ")
}

#[test]
fn the_samples_of_the_readme_are_what_is_printed() {
    if server(LabKind::Postgres).is_none() {
        return;
    }
    let readme = include_str!("../../README.md");
    let mut samples = readme.split("```text\n$ stockbench ").skip(1).peekable();
    assert!(samples.peek().is_some());
    for sample in samples {
        let (command, rest) = sample.split_once('\n').unwrap();
        let folder = tempfile::tempdir().unwrap();
        let said = stockbench(folder.path(), &command.split_whitespace().collect::<Vec<&str>>());
        assert_eq!(said.code, 3, "{said:?}");
        let mut printed = said.stdout.lines().map(shape);
        let shown = rest.split("```").next().unwrap().lines();
        // Frames are as wide as the figures in them; what is left out stands in brackets.
        for line in shown.filter(|line| !line.is_empty() && !line.starts_with(['┌', '╞', '└', '('])) {
            let wanted = shape(line);
            let is_it = |line: String| match wanted.split_once("(…)") {
                Some((from, to)) => line.starts_with(from) && line.ends_with(to),
                None => line == wanted,
            };
            assert!(printed.any(is_it), "not printed, or not in this order: {wanted}\n{said:?}");
        }
    }
}
