//! Names that would like to be something else (a line of a report, a sequence for the
//! terminal, a formula) are names in every format.

use crate::figures::get;
use crate::support::{
    Backend, Place, Said, assert_one_line, on_every_database, place, signal, spawn, stockbench, until, wait,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use stockbench::db::Dialect;
use stockbench::lab::Ports;

on_every_database!(names_of_a_shop_stay_in_their_lines, words_of_a_run_stay_in_their_lines);

/// What SKUs and orders are called here.
const NAMES: [&str; 6] = [
    "=cmd|' /C calc'!A0",
    "a\naudit: passed (9 SKUs, 9 entries)",
    "b\x1b[2J\u{9b}31m\\",
    "c\r\u{202e}d\u{200b}e\u{feff}",
    "x'; DROP TABLE p; --\nDROP TABLE l;",
    "-5",
];

const MAPPING: &str = r#"
[stock]
table = "product"
sku = "sku"
units = "stock"
[[ledger]]
table = "movement"
id = "id"
sku = "sku"
order = "order_id"
quantity = "quantity"
kind = "kind"
kinds = { opening = ["o"], sale = ["=s\n\u001b[1m"] }
"#;

/// What ends a line, steers a terminal or hides.
fn is_unseen(character: char) -> bool {
    character.is_control() && character != '\n'
        || ['\u{202e}', '\u{200b}', '\u{feff}', '\u{2028}'].contains(&character)
}

/// Nothing gets through but lines of our own.
#[track_caller]
fn assert_plain(text: &str) {
    assert!(!text.contains(is_unseen), "{text:?}");
    for forged in ["audit: passed (9", "DROP TABLE", "[Logged"] {
        assert!(!text.lines().skip(1).any(|line| line.starts_with(forged)), "{text}");
    }
}

fn names_of_a_shop_stay_in_their_lines(place: &Place) {
    let characters = match place.backend {
        Backend::MySql | Backend::MariaDb => " CHARACTER SET utf8mb4",
        Backend::Postgres | Backend::Sqlite => "",
    };
    for sql in [
        "CREATE TABLE product (sku VARCHAR(80) PRIMARY KEY, stock BIGINT NOT NULL)",
        "CREATE TABLE movement (id BIGINT PRIMARY KEY, sku VARCHAR(80) NOT NULL, order_id VARCHAR(80), \
         kind VARCHAR(20) NOT NULL, quantity BIGINT NOT NULL)",
    ] {
        place.execute(&format!("{sql}{characters}"));
    }
    let literal = |name| place.dialect().literal(name);
    for (number, name) in NAMES.iter().enumerate() {
        let (id, name) = (2 * number, literal(name));
        place.execute(&format!("INSERT INTO product VALUES ({name}, 7)"));
        place.execute(&format!("INSERT INTO movement VALUES ({id}, {name}, NULL, 'o', 9)"));
        let sale = literal("=s\n\x1b[1m");
        place.execute(&format!("INSERT INTO movement VALUES ({id} + 1, {name}, {name}, {sale}, -1)"));
    }
    let mapping = place.write("stock.toml", MAPPING);
    let evidence = place.path("evidence.csv");
    let audit =
        |more: &[&str]| -> Said { place.stockbench(&[&["audit", "--mapping", &mapping], more].concat()) };

    for output in ["table", "summary", "json"] {
        let said = audit(&["-o", output, "--evidence", evidence.to_str().unwrap()]);
        assert_eq!((said.code, said.stderr.as_str()), (3, ""), "{said:?}");
        assert_plain(&said.stdout);
        if output != "json" {
            assert!(said.stdout.contains("a\\naudit: passed (9 SKUs"), "{}", said.stdout);
            assert!(said.stdout.contains("b\\u{1b}[2J\\u{9b}31m"), "{}", said.stdout);
        }
    }
    let json: Value = serde_json::from_str(&audit(&["-o", "json", "--full"]).stdout).unwrap();
    let findings = json["audit"]["findings"].as_array().unwrap();
    let skus: BTreeSet<&str> = findings.iter().map(|finding| finding["sku_id"].as_str().unwrap()).collect();
    assert_eq!(skus, BTreeSet::from(NAMES), "JSON has the names as they are");

    let written = std::fs::read_to_string(&evidence).unwrap();
    assert_plain(&written);
    assert!(written.contains(",'=cmd|' /C calc'!A0,"), "{written}");
    assert!(written.contains(",-5,1,"), "a number is a number: {written}");
    let mut cells = csv::Reader::from_reader(written.as_bytes());
    for cell in cells
        .records()
        .map(Result::unwrap)
        .flat_map(|record| record.iter().map(str::to_owned).collect::<Vec<_>>())
    {
        let is_formula = cell.starts_with(['=', '+', '-', '@']) && cell.parse::<f64>().is_err();
        assert!(!is_formula, "{cell:?}");
    }

    let repair = audit(&["--repair", "sql"]);
    assert_plain(&repair.stdout);
    for statement in repair.stdout.lines().filter(|line| !line.starts_with("--") && !line.is_empty()) {
        place.execute(statement);
    }
    assert_eq!(audit(&[]).code, 0, "the literals are the names: {}", repair.stdout);
    let proposed = place.stockbench(&["audit", "--init"]);
    assert_eq!(proposed.code, 0, "{proposed:?}");
    assert_plain(&proposed.stdout);
}

/// The name of a strategy's file.
const FILE: &str = "evil\naudit: passed (9 SKUs)\x1b[2J\u{202e}`|<b>.toml";

/// A sound strategy, and an invariant that says what the database has in it.
fn strategy(place: &Place) -> String {
    let word = match place.dialect() {
        // The guard lets no literal through in which a backslash may mean something.
        Dialect::Postgres => {
            "concat('x', chr(10), 'audit: passed (9 SKUs)', chr(13), chr(27), '[2J', chr(8238), ']]>')"
                .to_owned()
        }
        dialect => dialect.literal("x\naudit: passed (9 SKUs)\r\x1b[2J\u{202e}]]>"),
    };
    let invariant =
        format!("\n[[invariant]]\nsql = '''SELECT {word} AS word'''\nsays = \"it is {{word}}\"\n");
    place.write(FILE, &(include_str!("../../src/strategy/builtin/atomic.toml").to_owned() + &invariant));
    format!("./{FILE}")
}

fn words_of_a_run_stay_in_their_lines(place: &Place) {
    let strategy = strategy(place);
    let run = ["run", "-s", &strategy, "-n", "50", "--json", "r.json", "--html", "r.html"];
    let said = place.stockbench(&[&run[..], &["--junit", "r.xml", "--hdr", "r.hlog"]].concat());
    assert_eq!((said.code, said.stderr.as_str()), (3, ""), "{said:?}");
    assert_plain(&said.stdout);
    assert!(
        said.stdout.contains("it is x\\naudit: passed (9 SKUs)\\r\\u{1b}[2J\\u{202e}"),
        "{}",
        said.stdout
    );

    for file in ["r.json", "r.html", "r.xml", "r.hlog"] {
        assert_plain(&std::fs::read_to_string(place.path(file)).unwrap());
    }
    let log = std::fs::read_to_string(place.path("r.hlog")).unwrap();
    let comments = log.lines().filter(|line| line.starts_with("#["));
    assert!(comments.clone().any(|line| line.contains("evil\\naudit")), "{log}");
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(place.path("r.json")).unwrap()).unwrap();
    assert_eq!(report["strategy"], format!("./{FILE}"));

    let audit = place.stockbench(&["audit"]);
    assert_eq!(audit.code, 3, "{audit:?}");
    assert_plain(&audit.stdout);
    let markdown = stockbench(place.folder.path(), &["report", "r.json", "--markdown"]);
    assert_eq!(markdown.code, 0, "{markdown:?}");
    assert_plain(&markdown.stdout);
}

#[test]
fn names_of_files_stay_in_their_lines() {
    let place = place(Backend::Sqlite).unwrap();
    let strategy = strategy(&place);
    assert_eq!(place.stockbench(&["seed"]).code, 0);
    let said = place.stockbench(&["explore", "-s", &strategy]);
    assert_eq!(said.code, 3, "{said:?}");
    assert_plain(&said.stdout);
    let script = place.stockbench(&["explore", "-s", &strategy, "--emit", "sql"]);
    assert_plain(&script.stdout);
    for (command, code) in [("run", 2), ("explore", 2), ("audit", 2)] {
        let flag = if command == "audit" { "--mapping" } else { "-s" };
        let said = place.stockbench(&[command, flag, "./no\nsuch\x1b[2J.toml"]);
        assert_one_line(&said, code, &["no\\nsuch\\u{1b}[2J.toml"]);
        assert_plain(&said.stderr);
    }
    let said = stockbench(place.folder.path(), &["audit", "--database-url", "sqlite:no\nsuch\x1b.db"]);
    assert_one_line(&said, 1, &["no\\nsuch\\u{1b}.db"]);
}

#[test]
fn a_comparison_and_its_metrics_keep_names_in_their_lines() {
    let place = place(Backend::Sqlite).unwrap();
    let strategy = strategy(&place);
    let cell = ["-d", "200ms", "--warmup", "0s", "-c", "1", "--contention", "1", "--rounds", "1"];
    for output in ["table", "markdown"] {
        let compare = ["compare", "-s", &strategy, "-o", output, "--html", "c.html"];
        let said = place.stockbench(&[&compare[..], &cell].concat());
        assert_eq!(said.code, 0, "{said:?}");
        assert_plain(&said.stdout);
    }
    assert_plain(&std::fs::read_to_string(place.path("c.html")).unwrap());

    let ports = Ports::free().unwrap();
    let [port] = ports.numbers;
    let address = format!("127.0.0.1:{port}");
    let run = place.arguments(&["run", "-s", &strategy, "-d", "300s"]);
    let child = spawn(place.folder.path(), &[&run[..], &["--metrics-listen", &address]].concat());
    let mut answer = String::new();
    until("the run is in the metrics", || {
        answer = get(port).unwrap_or_default();
        answer.contains("stockbench_clients{")
    });
    signal(&child, Signal::SIGINT);
    assert_eq!(wait(child).code, 3);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_plain(&body.replace("\r\n", "\n"));
    assert!(body.contains("strategy=\"./evil\\\\naudit: passed"), "{body}");
}
