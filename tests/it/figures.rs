//! The figures of a run: that they say what happened, and flatter nobody.

use crate::support::{
    Backend, Place, arrivals, assert_one_line, block_on, command, kinds, on_every_database, outcome, place,
    query, servers_are_required, signal, spawn, stockbench, until, wait,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quick_junit::{NonSuccessKind, Report as JUnit, TestCaseStatus};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use stockbench::engine::history::History;
use stockbench::lab::{LabKind, LabServer, Ports};

on_every_database!(
    a_warm_up_is_sold_and_audited_and_is_in_no_figure,
    an_open_loop_says_what_came_late,
    a_rate_above_the_capacity_ends_on_time_and_is_explained,
);

/// Enough stock for whatever is sold.
const AMPLE: [&str; 4] = ["--skus", "8", "--stock", "1000000"];

fn figure(report: &Value, path: &str) -> f64 {
    let found = path.split('.').fold(report, |at, name| &at[name]);
    found.as_f64().unwrap_or_else(|| panic!("no figure {path} in {report:#}"))
}

fn a_warm_up_is_sold_and_audited_and_is_in_no_figure(place: &Place) {
    let run = [&["-s", "pessimistic", "-c", "4", "-n", "40", "--warmup", "500ms"], &AMPLE[..]].concat();
    let (code, report) = place.run(&run);
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
    assert_eq!((outcome(&report, "deducted"), report["deliveries"].as_u64()), (40, Some(40)));
    assert_eq!(report["latency_us"]["order"]["deducted"]["count"], 40);
    let orders = report["audit"]["orders"].as_u64().unwrap();
    assert!(orders > 40, "the warm-up's orders are audited, too: {orders}");
    assert_eq!(report["audit"]["units"]["told"], orders, "they were told to clients like all others");
    assert!(figure(&report, "phases.warmup_s") >= 0.5, "{:#}", report["phases"]);
    assert!(figure(&report, "phases.measure_s") <= figure(&report, "elapsed_s"));
    let of_series: u64 = report["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|second| second["deliveries"].as_u64().unwrap())
        .sum();
    assert_eq!(of_series, 40, "{:#}", report["series"]);
}

fn an_open_loop_says_what_came_late(place: &Place) {
    let run = [
        &["-s", "atomic", "-c", "16", "--rate", "40", "--arrivals", "constant", "-d", "2s"],
        &["--latency-limit", "10s"][..],
        &AMPLE[..],
    ]
    .concat();
    let (code, report) = place.run(&run);
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
    assert_eq!(report["deliveries"], 80, "the arrivals are fixed beforehand: {:#}", report["outcomes"]);
    assert_eq!((report["config"]["loop_kind"].as_str(), report["late"].as_u64()), (Some("open"), Some(0)));
    assert_eq!(report["latency_us"]["schedule_lag"]["count"], 80);
    let both = ["order", "order_uncorrected"]
        .map(|clock| figure(&report, &format!("latency_us.{clock}.deducted.max")));
    assert!(both[0] >= both[1], "an order is not answered sooner by being started later: {both:?}");
    assert!(figure(&report, "elapsed_s") >= 1.9, "the window lasts as long as it was asked to");

    let (_, report) = place.run(&["-s", "atomic", "-c", "4", "-n", "20"]);
    assert_eq!(report["config"]["loop_kind"], "closed");
    assert_eq!(report["latency_us"]["order_uncorrected"], serde_json::json!({}));
}

fn a_rate_above_the_capacity_ends_on_time_and_is_explained(place: &Place) {
    // Four clients that think for 20 ms can send 200 orders/s, however fast
    // the database is.
    let load = ["-c", "4", "--think", "20ms", "--rate", "400", "-d", "3s", "--random-seed", "5"];
    let file = place.path("answers.csv").display().to_string();
    let kept = [&["-s", "pessimistic", "--history", &file], &load[..], &AMPLE].concat();
    let (code, report) = place.run(&kept);
    assert_eq!((code, kinds(&report)), (0, vec![]), "{report:#}");
    let (skipped, deducted) = (outcome(&report, "skipped"), outcome(&report, "deducted"));
    assert!(skipped > 400 && deducted > 0, "{:#}", report["outcomes"]);
    assert_eq!(report["deliveries"], arrivals(400.0, 3, 5), "{:#}", report["outcomes"]);
    let sent = History::read(Path::new(&file)).unwrap().answers;
    assert_eq!(sent.len() as u64, report["deliveries"].as_u64().unwrap() - skipped);
    let starts = || sent.iter().map(|answer| answer.invoked_us);
    let started_for = starts().max().unwrap() - starts().min().unwrap();
    assert!(started_for < 3_000_000, "no order is started after the window: {started_for}");
    let advice = report["advice"].to_string();
    assert!(advice.contains("the rate is above what the database can do"), "{advice}");
    assert!(figure(&report, "latency_us.schedule_lag.p99") > 500_000.0, "the backlog is in the lag");

    let limited = [&load[..], &["--latency-limit", "200ms"], &AMPLE].concat();
    let (_, report) = place.run(&[&["-s", "pessimistic"], &limited[..]].concat());
    // What is sent was in time when it started; a retry or a lock may delay it. How late
    // it started is what lies between the two clocks.
    let lag = |of: &str| {
        let clocks = ["order", "order_uncorrected"];
        let [order, uncorrected] =
            clocks.map(|clock| figure(&report, &format!("latency_us.{clock}.deducted.{of}")));
        order - uncorrected
    };
    assert!(outcome(&report, "skipped") > 300, "{:#}", report["outcomes"]);
    assert!(lag("mean") <= 200_000.0, "{:#}", report["latency_us"]);
}

/// The trap that a closed loop falls into: while the server stands still it
/// sends nothing, and so measures nothing.
#[test]
fn a_server_that_stands_still_is_in_the_tail_and_uncorrected_it_is_not() {
    let Some(shop) = place(Backend::MariaDb) else { return };
    let server = block_on(LabServer::start(LabKind::MariaDb)).unwrap();
    let pid = Pid::from_raw(server.server_pid().unwrap());
    // So many orders, and no window: all of them are served, however slow it goes.
    let load = ["--rate", "100", "--arrivals", "constant", "-c", "4", "-n", "1000"];
    let run =
        [&["run", "-s", "atomic", "-o", "json", "--database-url", &server.url], &load[..], &AMPLE].concat();
    let child = spawn(shop.folder.path(), &run);
    until("the load is on", || {
        let sold = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'stockbench_ledger'";
        query(&server.url, sold) == "1"
            && query(&server.url, "SELECT COUNT(*) FROM stockbench_ledger WHERE kind = 'sale'")
                .parse::<u64>()
                .unwrap()
                > 100
    });
    kill(pid, Signal::SIGSTOP).unwrap();
    // The length of the pause is what is being measured.
    std::thread::sleep(Duration::from_secs(3));
    kill(pid, Signal::SIGCONT).unwrap();
    let said = wait(child);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, kinds(&report)), (0, vec![]), "{report:#}");
    assert_eq!(outcome(&report, "deducted"), 1_000, "{:#}", report["outcomes"]);
    let p99 = |clock: &str| figure(&report, &format!("latency_us.{clock}.deducted.p99"));
    // Three hundred of a thousand arrivals came while it stood still, and the four
    // clients each sent one of them.
    assert!(p99("order") > 2_000_000.0, "{:#}", report["latency_us"]);
    assert!(p99("order_uncorrected") < p99("order") / 2.0, "{:#}", report["latency_us"]);
    assert!(figure(&report, "latency_us.order_uncorrected.deducted.max") > 2_000_000.0);
    let seconds = report["series"].as_array().unwrap();
    assert!(seconds.iter().any(|second| second["max_us"].as_u64().unwrap() > 2_000_000), "{seconds:#?}");
}

#[test]
fn a_load_goes_through_the_stages_of_its_scenario() {
    let shop = place(Backend::Sqlite).unwrap();
    let scenario = shop.write(
        "stages.toml",
        "summary = \"rise and fall\"\nstrategy = \"atomic\"\n[load]\nskus = 8\nstock = 100000\narrivals = \"constant\"\n\
         concurrency = 8\nstages = [\n  { duration = \"2s\", ramp = \"2s\", rate = 40 },\n  { duration = \"1s\", rate = 0 },\n  \
         { duration = \"1s\", rate = 20 },\n]\n",
    );
    let (code, report) = shop.run(&["--scenario", &scenario]);
    assert_eq!(
        (code, report["deliveries"].as_u64()),
        (0, Some(60)),
        "40 in a ramp to 40/s, 20 at 20/s: {report:#}"
    );
    assert_eq!(
        report["config"]["profile"],
        serde_json::json!([[0.0, 0.0], [2.0, 40.0], [2.0, 0.0], [3.0, 0.0], [3.0, 20.0], [4.0, 20.0]])
    );
    let (_, report) = shop.run(&["--scenario", &scenario, "--rate", "10", "-d", "1s"]);
    assert_eq!(report["deliveries"], 10, "flags replace the stages");

    let clients = shop.write(
        "clients.toml",
        "summary = \"more and more clients\"\nstrategy = \"atomic\"\n[load]\nthink = \"1ms\"\nskus = 8\nstock = 1000000\n\
         stages = [\n  { duration = \"1s\", concurrency = 1 },\n  { duration = \"1s\", concurrency = 8 },\n]\n",
    );
    let (code, report) = shop.run(&["--scenario", &clients]);
    assert_eq!((code, report["config"]["concurrency"].as_u64()), (0, Some(8)), "{report:#}");
    assert!(figure(&report, "phases.measure_s") >= 1.9, "{:#}", report["phases"]);
    for (stages, fragment) in [
        (
            "{ duration = \"1s\", rate = 5 }, { duration = \"1s\", concurrency = 5 }",
            "stage 2: each stage has either",
        ),
        ("{ rate = 5 }", "stage 1 has no duration"),
        ("{ duration = \"1s\", ramp = \"2s\", rate = 5 }", "its ramp takes longer"),
        ("{ duration = \"1s\", rates = 5 }", "did you mean \"rate\"?"),
        ("{ duration = \"1s\", rate = 0 }", "all stages are pauses"),
    ] {
        let bad = shop.write("bad.toml", &format!("summary = \"x\"\n[load]\nstages = [{stages}]\n"));
        assert_one_line(&shop.stockbench(&["run", "--scenario", &bad]), 2, &[fragment]);
    }
}

#[test]
fn where_the_time_goes_is_said_statement_by_statement() {
    let Some(shop) = place(Backend::Postgres) else { return };
    let hot = ["--skus", "1", "--stock", "100000", "-c", "8", "-n", "200", "--think", "5ms"];
    let (code, report) = shop.run(&[&["-s", "pessimistic", "--per-statement"], &hot[..]].concat());
    assert_eq!(code, 0, "{report:#}");
    let statements = report["statements"].as_array().unwrap();
    let sql: Vec<&str> = statements.iter().map(|statement| statement["sql"].as_str().unwrap()).collect();
    let begins = ["BEGIN", "SELECT", "UPDATE", "INSERT", "COMMIT"];
    assert!(sql.len() == 5 && sql.iter().zip(begins).all(|(sql, begin)| sql.starts_with(begin)), "{sql:?}");
    for statement in statements {
        assert_eq!(statement["latency_us"]["count"], 200, "{statement:#}");
    }
    let shares: Vec<f64> = statements.iter().map(|statement| figure(statement, "share")).collect();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 0.01, "{shares:?}");
    // Seven of eight clients wait for the row that the eighth thinks over.
    assert!(shares[1] > 0.5, "the wait for the lock is in the locking statement: {shares:?}");
    let (_, report) = shop.run(&["-s", "pessimistic", "-n", "10"]);
    assert_eq!(report["statements"], serde_json::json!([]), "only where it is asked for");
}

#[test]
fn failures_and_retries_are_counted_by_code_by_class_and_per_order() {
    let shop = place(Backend::Sqlite).unwrap();
    let (code, report) =
        shop.run(&["-s", "naive-tx", "-c", "8", "-n", "200", "--skus", "1", "--stock", "100000"]);
    assert_eq!(code, 0, "{report:#}");
    let total =
        |of: &str| report[of].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>();
    assert!(total("errors") > 0 && total("errors") == total("errors_by_class"), "{report:#}");
    let retries = &report["retries_per_order"];
    assert_eq!(retries["count"], 200);
    assert_eq!(retries["max"].as_u64().unwrap() + 1, report["attempts_max"].as_u64().unwrap());
    assert!(
        (figure(retries, "mean") * 200.0 - figure(&report, "retries")).abs() <= 20.0,
        "rounded: {retries:#}"
    );
    assert!(figure(&report, "latency_us.backoff.count") > 0.0);
    assert_eq!(report["latency_us"]["attempt_refused"]["count"], report["conflicts"]);
}

/// What a log holds in all, by tag.
fn read_log(path: &Path) -> BTreeMap<String, Histogram<u64>> {
    let text = std::fs::read(path).unwrap();
    let mut all: BTreeMap<String, Histogram<u64>> = BTreeMap::new();
    for entry in IntervalLogIterator::new(&text) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let encoded = BASE64_STANDARD.decode(interval.encoded_histogram()).unwrap();
        let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut encoded.as_slice()).unwrap();
        let tag = interval.tag().unwrap().as_str().to_owned();
        all.entry(tag).or_insert_with(|| Histogram::new(3).unwrap()).add(histogram).unwrap();
    }
    all
}

#[test]
fn the_log_of_latencies_holds_what_the_report_says_and_another_reader_agrees() {
    let shop = place(Backend::Sqlite).unwrap();
    let log = shop.path("run.hlog").display().to_string();
    let load = ["-s", "atomic", "-c", "8", "--rate", "150", "-d", "3s", "--skus", "2", "--stock", "100"];
    let (code, report) = shop.run(&[&load[..], &["--hdr", &log]].concat());
    assert_eq!(code, 0, "{report:#}");
    let logged = read_log(Path::new(&log));
    for clock in ["order", "order_uncorrected"] {
        for (outcome, told) in report["latency_us"][clock].as_object().unwrap() {
            let tag = if clock == "order" { outcome.clone() } else { format!("uncorrected_{outcome}") };
            let histogram = &logged[&tag];
            assert_eq!(histogram.len(), told["count"].as_u64().unwrap(), "{tag}");
            for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)] {
                assert_eq!(
                    histogram.value_at_quantile(quantile),
                    told[name].as_u64().unwrap(),
                    "{tag} {name}"
                );
            }
        }
    }

    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/hdrh/bin/python");
    if !python.exists() {
        assert!(!servers_are_required(), "no reader of another implementation: run `make deps`");
        std::io::stderr()
            .write_all(b"\n*** SKIPPED: reading the log with another implementation: run `make deps`\n\n")
            .unwrap();
        return;
    }
    let script = "
import sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, 3600000000, 3))
merged = {}
while (interval := reader.get_next_interval_histogram()) is not None:
    merged.setdefault(interval.get_tag(), HdrHistogram(1, 3600000000, 3)).add(interval)
for tag, histogram in merged.items():
    print(tag, histogram.get_total_count(), *(histogram.get_value_at_percentile(p) for p in (50, 90, 99, 99.9)))
";
    let said = Command::new(python).args(["-c", script, &log]).output().unwrap();
    let lines = String::from_utf8(said.stdout).unwrap();
    assert_eq!(lines.lines().count(), logged.len(), "{lines}{}", String::from_utf8_lossy(&said.stderr));
    for line in lines.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let histogram = &logged[words[0]];
        // That reader rounds the rank of a percentile, ours takes the next whole
        // one: asked for its rank, ours must find its value.
        let count = f64::from(u32::try_from(histogram.len()).unwrap());
        let rank = |quantile: f64| (quantile * count + 0.5).floor().max(1.0);
        let ours = [0.5, 0.9, 0.99, 0.999]
            .map(|quantile| histogram.value_at_quantile((rank(quantile) - 0.5) / count));
        let theirs: Vec<u64> = words[1..].iter().map(|number| number.parse().unwrap()).collect();
        assert_eq!((histogram.len(), &ours[..]), (theirs[0], &theirs[1..]), "{line}");
    }
}

fn read_junit(path: &Path) -> JUnit {
    JUnit::deserialize_from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The names of the failed cases of a suite.
fn failures<'r>(junit: &'r JUnit, suite: &str) -> Vec<&'r str> {
    let suite = junit.test_suites.iter().find(|known| known.name.as_str() == format!("stockbench.{suite}"));
    let cases = suite.map_or(&[][..], |suite| &suite.test_cases);
    let is_failure = |status: &TestCaseStatus| {
        matches!(status, TestCaseStatus::NonSuccess { kind: NonSuccessKind::Failure, .. })
    };
    cases.iter().filter(|case| is_failure(&case.status)).map(|case| case.name.as_str()).collect()
}

#[test]
fn a_missed_threshold_is_exit_4_and_a_broken_audit_as_well_is_exit_3() {
    let shop = place(Backend::Sqlite).unwrap();
    let junit = shop.path("verdict.xml");
    let path = junit.display().to_string();
    let gates = ["--threshold", "p99 < 1us", "--threshold", "outcomes.deducted == 100", "--junit", &path];
    let hot = ["-c", "32", "-n", "500", "--skus", "1", "--stock", "100"];
    let (code, report) = shop.run(&[&["-s", "atomic"], &hot[..], &gates].concat());
    assert_eq!(code, 4, "{report:#}");
    let verdict = read_junit(&junit);
    assert_eq!(failures(&verdict, "thresholds"), ["p99 < 1us"]);
    assert_eq!((failures(&verdict, "audit"), failures(&verdict, "run")), (vec![], vec![]));
    let said = shop.stockbench(&[&["run", "-s", "atomic"], &hot[..], &gates].concat());
    assert!(
        said.stdout.contains("threshold  p99 < 1us: MISSED ("),
        "the expression with its value: {}",
        said.stdout
    );

    let (code, report) = shop.run(&[&["-s", "naive"], &hot[..], &gates].concat());
    assert_eq!(code, 3, "{report:#}");
    let verdict = read_junit(&junit);
    assert!(failures(&verdict, "thresholds").contains(&"p99 < 1us"));
    assert!(failures(&verdict, "audit").contains(&"oversold"), "{:?}", failures(&verdict, "audit"));

    let (code, _) = shop.run(&["-s", "atomic", "-n", "50", "--junit", &path]);
    let verdict = read_junit(&junit);
    assert_eq!((code, verdict.failures, verdict.errors), (0, 0, 0));
}

#[test]
fn a_threshold_can_name_every_figure_and_an_unknown_one_is_refused_with_the_nearest() {
    let shop = place(Backend::Sqlite).unwrap();
    let figures = [
        "latency_us.order.sold_out.p99",
        "p9999",
        "latency_us.attempt.p9999",
        "latency_us.connection_wait.mean",
        "client.scheduling_delay_us.p99",
        "client.cpu_us_per_order",
        "goodput.units_per_s",
        "retries_per_order.mean",
        "errors_by_class.retry",
        "phases.drain_s",
        "audit.oversold_units",
        "elapsed_s",
    ];
    let gates = figures.map(|figure| format!("{figure} >= 0"));
    let gates = gates.iter().flat_map(|gate| ["--threshold", gate]);
    let (code, report) = shop.run(&["-n", "400"].into_iter().chain(gates).collect::<Vec<&str>>());
    assert_eq!(code, 0, "{:#}", report["thresholds"]);
    for (figure, told) in figures.iter().zip(report["thresholds"].as_array().unwrap()) {
        assert!(told["value"].is_number(), "{figure}: {told}");
    }
    for (figure, fragment) in [
        ("latency_us.atempt.p99", "did you mean \"attempt\"?"),
        ("latency_us.order.deductd.p99", "unknown outcome"),
        ("client.cpu", "the report has no figure `cpu`"),
        ("latency_us.attempt", "is no number of the report: name one of"),
        ("strategy", "is no number of the report"),
    ] {
        let said = shop.stockbench(&["run", "--threshold", &format!("{figure} < 1")]);
        assert_one_line(&said, 2, &[fragment]);
    }
}

#[test]
fn a_run_ends_early_where_nothing_can_mend_a_threshold_any_more() {
    let shop = place(Backend::Sqlite).unwrap();
    let load = ["-s", "atomic", "-d", "60s", "--skus", "4", "--stock", "1000000", "--abort-on-breach"];
    let gates = ["--threshold", "outcomes.deducted >= 100000000", "--threshold", "p50 < 1us"];
    let (code, report) = shop.run(&[&load[..], &gates].concat());
    assert_eq!(
        (code, report["aborted_by"].as_str()),
        (4, Some("p50 < 1us")),
        "what may still come is waited for"
    );
    assert!(figure(&report, "elapsed_s") < 60.0 && report["interrupted"] == false, "{report:#}");
    assert_eq!(kinds(&report), Vec::<&str>::new(), "it was drained and audited");
    let (code, report) =
        shop.run(&["-n", "100", "--abort-on-breach", "--threshold", "outcomes.deducted >= 1"]);
    assert_eq!((code, &report["aborted_by"]), (0, &Value::Null));
}

pub fn get(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn prometheus_can_read_a_run_while_it_goes_on() {
    let shop = place(Backend::Sqlite).unwrap();
    let ports = Ports::free().unwrap();
    let [port] = ports.numbers;
    let address = format!("127.0.0.1:{port}");
    let run = shop.arguments(&["run", "-s", "atomic", "-d", "300s", "--skus", "4", "--stock", "1000000"]);
    let child = spawn(shop.folder.path(), &[&run[..], &["--metrics-listen", &address]].concat());
    let sold = |answer: &str| {
        let line = answer
            .lines()
            .find(|line| line.starts_with("stockbench_orders_total") && line.contains("\"deducted\""))?;
        line.rsplit(' ').next()?.parse::<f64>().ok().filter(|sold| *sold > 0.0)
    };
    // They are set one after the other, once a second: all of them, some time.
    let expected = [
        "# TYPE stockbench_order_latency_seconds histogram",
        "stockbench_order_latency_seconds_bucket{strategy=\"atomic\",database=\"sqlite\",outcome=\"deducted\",le=\"+Inf\"}",
        "# TYPE stockbench_conflicts_total counter",
        "stockbench_clients{",
    ];
    until("sales and all that goes with them are in the metrics", || {
        get(port).is_some_and(|answer| {
            sold(&answer).is_some() && expected.iter().all(|part| answer.contains(part))
        })
    });
    let taken = stockbench(
        &shop.folder.path().join("."),
        &["run", "--database-url", "null:", "--metrics-listen", &address],
    );
    assert_eq!(taken.code, 1, "{taken:?}");
    assert!(taken.stderr.contains(&format!("cannot serve metrics on {address}")), "{taken:?}");
    signal(&child, Signal::SIGINT);
    assert_eq!(wait(child).code, 130);
}

#[test]
fn on_nothing_at_all_the_harness_measures_itself() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["run", "--database-url", "null:", "-o", "json", "-n", "5000", "--lines", "1..2"];
    let said = stockbench(folder.path(), &run);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, outcome(&report, "deducted")), (0, 5_000), "{report:#}");
    assert!(report["audit"].is_null() && report["database"]["kind"] == "null", "{report:#}");
    assert!(figure(&report, "client.cpu_us_per_order") > 0.0);
    assert!(figure(&report, "client.scheduling_delay_us.count") > 0.0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it leaves nothing behind");
    let said = stockbench(folder.path(), &["run", "--database-url", "null:", "-n", "10"]);
    assert!(said.stdout.ends_with("no database: this measured stockbench alone\n"), "{}", said.stdout);
    for command in [&["seed"][..], &["audit"], &["clean"]] {
        let said = stockbench(folder.path(), &[command, &["--database-url", "null:"]].concat());
        assert_one_line(&said, 2, &["null: keeps nothing"]);
    }
    let said = stockbench(folder.path(), &["run", "--database-url", "null:", "-s", "group-commit"]);
    assert_one_line(&said, 2, &["no answers for a batch"]);
}

#[test]
fn what_does_not_go_together_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, fragment) in [
        (&["--rate", "0"][..], "orders per second, above 0"),
        (&["--rate", "2000001"], "at most 1000000"),
        (&["--arrivals", "constant"], "give a --rate"),
        (&["--ramp", "5s", "--duration", "2s"], "--ramp takes longer than --duration"),
        (&["--hdr", "no/such/folder/x.hlog"], "cannot write no/such/folder/x.hlog"),
        (&["--junit", "."], "cannot write ."),
        (&["--metrics-listen", "9464"], "--metrics-listen"),
    ] {
        let said = command(folder.path(), &[&["run", "--database-url", "null:"], arguments].concat())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.code() == Some(2) && stderr.contains(fragment), "{arguments:?}: {stderr}");
    }
}

#[test]
fn orders_that_still_wait_for_a_connection_when_a_run_is_interrupted_are_not_forgotten() {
    let shop = place(Backend::Sqlite).unwrap();
    let load = ["-c", "200", "-n", "200", "--connections", "1", "--think", "300ms", "--skus", "1"];
    let run = shop.arguments(&[&["run", "-s", "pessimistic", "-o", "json"], &load[..]].concat());
    // Whoever looks while a run chooses the file's journal would be in its way.
    shop.execute("SELECT 1");
    let child = spawn(shop.folder.path(), &run);
    until("the first order is sold", || {
        query(&shop.url, "SELECT count(*) FROM sqlite_schema WHERE name = 'stockbench_ledger'") == "1"
            && query(&shop.url, "SELECT count(*) FROM stockbench_ledger WHERE kind = 'sale'") != "0"
    });
    signal(&child, Signal::SIGINT);
    let said = wait(child);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, &report["interrupted"]), (130, &Value::Bool(true)), "{report:#}");
    assert!(report["deliveries"].as_u64().unwrap() < 200, "{report:#}");
}

#[test]
fn nobody_waits_for_a_turn_in_a_ramp_once_the_orders_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let load = ["--database-url", "null:", "-c", "50", "--ramp", "60s", "-n", "1000", "-o", "json"];
    let said = stockbench(folder.path(), &[&["run"], &load[..]].concat());
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, report["deliveries"].as_u64()), (0, Some(1_000)), "{report:#}");
    // The last of the fifty has its turn after 49 fiftieths of the ramp.
    assert!(figure(&report, "elapsed_s") < 58.0, "{:#}", report["phases"]);
}

#[test]
fn an_output_that_cannot_be_completed_is_exit_1_in_the_report_and_in_junit_too() {
    let shop = place(Backend::Sqlite).unwrap();
    let junit = shop.path("verdict.xml");
    let run = ["-s", "atomic", "-n", "200", "--hdr", "/dev/full", "--junit", &junit.display().to_string()];
    let (code, report) = shop.run(&run);
    assert_eq!((code, report["exit_code"].as_u64(), &report["passed"]), (1, Some(1), &Value::Bool(false)));
    assert!(report["incomplete_file"].as_str().unwrap().starts_with("cannot write /dev/full"), "{report:#}");
    assert_eq!(read_junit(&junit).errors, 1);

    // A verdict of an earlier run does not outlive one that cannot start, and
    // what is no file stays what it is.
    let url = "postgres://nobody@127.0.0.1:1/nowhere";
    let said = stockbench(
        shop.folder.path(),
        &["run", "--database-url", url, "--junit", &junit.display().to_string(), "--json", "/dev/null"],
    );
    assert_eq!((said.code, junit.exists()), (1, false), "{said:?}");
    assert_eq!(shop.stockbench(&["run", "-n", "10", "--json", "/dev/null"]).code, 0);
    assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
}

fn sales(place: &Place) -> u64 {
    query(&place.url, "SELECT count(*) FROM stockbench_ledger WHERE kind = 'sale'").parse().unwrap()
}

/// A batch's connection is cut by the server, again and again: the batch is sent
/// once more, and where its answer was lost its orders are asked for again.
#[test]
fn a_batch_whose_connection_is_cut_loses_no_order_and_answers_none_twice() {
    let Some(shop) = place(Backend::Postgres) else { return };
    let load = ["-s", "group-commit", "-c", "64", "-d", "300s", "--skus", "1", "--stock", "1000000"];
    let run = shop.arguments(&[&["run", "-o", "json", "--duplicates", "20"], &load[..]].concat());
    let child = spawn(shop.folder.path(), &run);
    until("the load is on", || {
        query(
            &shop.url,
            "SELECT count(*) FROM information_schema.tables WHERE table_name = 'stockbench_ledger'",
        ) == "1"
            && sales(&shop) > 0
    });
    let mut cut = 0;
    until("batches were cut", || {
        cut += query(
            &shop.url,
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid() AND query LIKE '%WITH RECURSIVE%'",
        )
        .parse::<u64>()
        .unwrap();
        cut >= 5
    });
    // Whose answer was lost asks before anybody has sold that much.
    let sold = sales(&shop);
    until("the sales go on", || sales(&shop) > sold + 5_000);
    signal(&child, Signal::SIGINT);
    let said = wait(child);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(said.code, 130, "{report:#}");
    assert_eq!(kinds(&report), Vec::<&str>::new(), "{report:#}");
    assert!(
        report["errors_by_class"]["lost"].as_u64().is_some_and(|lost| lost > 0),
        "no batch was cut: {report:#}"
    );
    assert_eq!(outcome(&report, "unknown") + outcome(&report, "error"), 0, "{:#}", report["outcomes"]);
    assert!(outcome(&report, "deducted") > 0, "{:#}", report["outcomes"]);
}

/// A program that cannot answer one order of a batch takes the batch apart.
#[test]
fn a_bad_order_does_not_sink_the_batch_it_came_in() {
    let Some(shop) = place(Backend::Postgres) else { return };
    let file = stockbench::strategy::Strategy::load("group-commit").unwrap().text;
    let bad = file.replace(
        "sum(quantity) OVER w)::bigint AS upto",
        "sum(quantity / CASE quantity WHEN 7 THEN 0 ELSE 1 END) OVER w)::bigint AS upto",
    );
    assert_ne!(bad, file);
    // Without its way for single orders, every order comes in a batch.
    let only_batches = bad.split("[[transaction]]                      # an order by itself").next().unwrap();
    let strategy = shop.write("bad-sevens.toml", only_batches);
    let load = ["-c", "64", "-n", "2000", "--quantity", "1..7", "--skus", "1", "--stock", "1000000"];
    let (code, report) = shop.run(&[&["-s", &strategy], &load[..]].concat());
    assert_eq!((code, kinds(&report)), (1, vec![]), "errors are nobody's violation: {report:#}");
    let (deducted, errors) = (outcome(&report, "deducted"), outcome(&report, "error"));
    assert!(
        deducted + errors == 2_000 && (200..=380).contains(&errors),
        "a seventh: {:#}",
        report["outcomes"]
    );
}
