//! What the code must keep to, checked on the code itself.

use std::fs;
use std::path::{Path, PathBuf};
use stockbench::report::compared::CompareReport;
use stockbench::report::explored::ExploreReport;
use stockbench::report::tables::TablesReport;
use stockbench::report::{Document, Report};
use stockbench::strategy::catalogue;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Every source file: its path below `src`, and its text without its tests.
fn sources() -> Vec<(String, String)> {
    let src = root().join("src");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let tests = ["#[cfg(test)]\nmod tests", "#[cfg(test)]\npub(crate) mod tests"];
        let end = tests.iter().filter_map(|tests| text.find(tests)).min().unwrap_or(text.len());
        let text = text[..end].to_owned();
        (path.strip_prefix(&src).unwrap().display().to_string(), text)
    };
    rust_files(&src).into_iter().map(read).collect()
}

#[track_caller]
fn only_in(needles: &[&str], allowed: &[&str]) {
    for (path, text) in sources() {
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for needle in needles {
            let is_allowed = allowed.iter().any(|prefix| path.starts_with(prefix));
            assert!(is_allowed || !code.contains(needle), "{needle} in src/{path}");
        }
    }
}

#[test]
fn the_driver_is_named_only_where_databases_are() {
    only_in(&["sqlx::"], &["db/"]);
}

#[test]
fn only_reports_and_commands_print() {
    only_in(&["println!", "io::stdout", "eprintln!"], &["report/", "commands/", "main.rs"]);
}

#[test]
fn names_reach_a_reader_escaped_only() {
    only_in(&["comfy_table::"], &["report/grid.rs"]);
    // The backtrace of a panic has lines of its own.
    only_in(&["io::stdout()", "io::stderr()"], &["commands/mod.rs", "report/progress.rs", "main.rs"]);
    // A screen takes a line break before a value for a part of the value.
    for (path, text) in sources() {
        let calls = text.split("writeln!(").skip(1);
        for call in calls.filter(|call| call.trim_start().starts_with("out,")) {
            let literal = call.split('"').nth(1).unwrap_or_default();
            assert!(
                !literal.contains("\\n") || !literal.contains('{'),
                "src/{path}: {literal:?} is two lines: write each by itself"
            );
        }
    }
}

#[test]
fn the_pure_parts_do_no_input_or_output() {
    for pure in [
        "audit/orders.rs",
        "audit/skus.rs",
        "audit/findings.rs",
        "audit/history.rs",
        "audit/tables/trace.rs",
        "audit/tables/repair.rs",
        "compare/advice.rs",
        "compare/judge.rs",
        "compare/matrix.rs",
        "compare/stats.rs",
        "explore/effect.rs",
        "explore/schedule.rs",
        "explore/problem.rs",
        "explore/witness.rs",
        "strategy/",
        "workload/",
        "fault/",
        "engine/retry.rs",
        "engine/deliveries.rs",
    ] {
        for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with(pure)) {
            let reads_files = ["strategy/catalogue.rs", "workload/replay.rs"].contains(&path.as_str());
            for needle in ["tokio::", "std::net", "Instant::now", "std::fs"] {
                assert!(
                    reads_files && needle == "std::fs" || !text.contains(needle),
                    "{needle} in src/{path}"
                );
            }
        }
    }
}

#[test]
fn no_strategy_is_named_in_code() {
    for (path, text) in sources().into_iter().filter(|(path, _)| path != "strategy/catalogue.rs") {
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        for name in catalogue::names() {
            // A worked example in a help text is prose.
            let named = code.contains(&format!("\"{name}\""));
            // An isolation level, a kind of entry and what is counted go by the
            // same words.
            let is_other_word = ["serializable", "restock", "units"].contains(&name);
            assert!(!named || is_other_word, "strategy {name} is named in src/{path}");
        }
    }
}

#[test]
fn every_file_says_why_it_exists() {
    for folder in ["src", "tests"] {
        for path in rust_files(&root().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("//!"), "{} does not open with //!", path.display());
        }
    }
}

#[test]
fn the_schema_in_the_repository_is_the_one_of_the_code() {
    for (name, current) in [
        ("schema/report.schema.json", Report::json_schema().unwrap()),
        ("schema/audit.schema.json", TablesReport::json_schema().unwrap()),
        ("schema/compare.schema.json", CompareReport::json_schema().unwrap()),
        ("schema/explore.schema.json", ExploreReport::json_schema().unwrap()),
    ] {
        let path = root().join(name);
        if std::env::var_os("STOCKBENCH_WRITE_SCHEMA").is_some() {
            fs::write(&path, &current).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == current, "{name} is out of date: STOCKBENCH_WRITE_SCHEMA=1 cargo test the_schema");
    }
}

/// Whatever engine a server takes by default, transactions are there.
#[test]
fn tables_that_strategies_and_scenarios_make_are_innodb() {
    let folders =
        ["src/strategy/builtin", "scenarios"].map(|folder| fs::read_dir(root().join(folder)).unwrap());
    let mut made = 0;
    for file in folders.into_iter().flatten() {
        let path = file.unwrap().path();
        let text: toml::Table = fs::read_to_string(&path).unwrap().parse().unwrap();
        let strategy = text.get("strategy").and_then(toml::Value::as_table).unwrap_or(&text);
        let setup = strategy.get("setup").and_then(toml::Value::as_array).into_iter().flatten();
        for statement in setup {
            let sql = statement.get("mysql").or_else(|| statement.get("sql")).and_then(toml::Value::as_str);
            let Some(sql) = sql.filter(|sql| sql.contains("CREATE TABLE")) else { continue };
            assert!(sql.ends_with("ENGINE = InnoDB"), "{}: {sql}", path.display());
            made += 1;
        }
    }
    assert!(made > 20, "{made} tables");
}

#[test]
fn the_readme_names_every_strategy_and_scenario() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let chinese = fs::read_to_string(root().join("README.zh-CN.md")).unwrap();
    for name in catalogue::names() {
        assert!(readme.contains(&format!("`{name}`")), "README.md does not name {name}");
        assert!(chinese.contains(&format!("`{name}`")), "README.zh-CN.md does not name {name}");
    }
    for (name, _) in stockbench::scenario::SHIPPED {
        assert!(readme.contains(&format!("`{name}`")), "README.md does not name {name}");
    }
    for file in fs::read_dir(root().join("scenarios")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let shipped = stockbench::scenario::SHIPPED.iter().any(|(known, _)| *known == name);
        assert!(shipped, "scenarios/{name}.toml is not listed");
    }
}

#[test]
fn the_commands_of_the_readme_are_understood() {
    for readme in ["README.md", "README.zh-CN.md"] {
        assert_commands_are_understood(readme);
    }
}

fn assert_commands_are_understood(name: &str) {
    use clap::Parser;
    let readme = fs::read_to_string(root().join(name)).unwrap();
    let mut commands = 0;
    for line in readme.lines().map(str::trim).filter(|line| line.starts_with("stockbench ")) {
        let words = line.split(" #").next().unwrap().split(" > ").next().unwrap().split_whitespace();
        let words = words.map(|word| word.trim_matches('\''));
        stockbench::cli::Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        commands += 1;
    }
    assert!(commands >= 10, "{name} shows {commands} commands");
}
