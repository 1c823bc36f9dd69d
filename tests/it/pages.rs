//! Results that were kept: read again, side by side, on a page that loads nothing, and
//! refused where they are not of the same load.

use crate::support::{Backend, Place, assert_one_line, place, query};
use serde_json::Value;
use stockbench::db::Dialect;
use stockbench::report::change::{self, Change, Means};
use stockbench::report::series::Second;
use stockbench::report::{Document, Report};

const SHORT: [&str; 4] = ["-c", "4", "-d", "1s"];

fn kept(place: &Place, name: &str, arguments: &[&str]) -> String {
    let path = place.path(name).display().to_string();
    let run = ["run", "-s", "atomic", "--skus", "5", "--stock", "1000000"];
    let said = place.stockbench(&[&run[..], &["--json", &path], arguments].concat());
    assert_eq!(said.code, 0, "{said:?}");
    path
}

fn report(place: &Place, arguments: &[&str]) -> crate::support::Said {
    crate::support::stockbench(place.folder.path(), &[&["report"], arguments].concat())
}

/// Nothing is loaded from anywhere, and nothing runs.
#[track_caller]
fn assert_self_contained(page: &str) {
    for outside in ["src=", "href=", "<script", "@import", "url(", "http://", "https://"] {
        // The name of SVG is no address.
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains(outside), "{outside} in {}", &page[..400]);
    }
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("prefers-color-scheme: dark"));
    assert!(page.contains("<svg") && page.contains("aria-label="), "a chart and its words");
}

#[test]
fn a_run_is_read_again_as_it_was_and_shown_on_a_page_of_its_own() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let path = kept(&place, "one.json", &[&SHORT[..], &["--html", "run.html"]].concat());
    let text = std::fs::read_to_string(&path).unwrap();
    let read: Report = serde_json::from_str(&text).unwrap();
    assert_eq!(read.to_json().unwrap(), text);
    let said = report(&place, &[&path, "--html", "page.html"]);
    assert_eq!((said.code, said.stdout.as_str()), (0, ""), "{said:?}");
    for page in ["run.html", "page.html"] {
        let page = std::fs::read_to_string(place.path(page)).unwrap();
        assert_self_contained(&page);
        assert!(page.contains("no violation in") && page.contains("99th percentile"), "{page}");
        assert!(page.contains(&format!("stockbench {}", read.stockbench_version)), "who measured it");
        // The drawings as figures, and their gist for those who do not see them.
        assert!(page.contains("The same as figures") && page.contains(": from "), "{page}");
    }
}

/// A name that would be more than text where it is not taken for text.
const HOSTILE: &str = "`<img onerror=alert(1)> | @octocat *x* [y](z)";

#[track_caller]
fn assert_harmless(page: &str, markdown: &str) {
    assert!(!page.contains("<img") && page.contains("&lt;img onerror"), "{page}");
    // Nothing is special in code, which two backticks set off here.
    let prose: String = markdown.split("``").step_by(2).collect();
    assert!(prose.contains("\\`\\<img onerror=alert(1)> \\| @<!-- -->octocat \\*x\\* \\[y\\](z)"), "{prose}");
    for bare in ["<img", "@octocat", "*x", "[y"] {
        assert!(!prose.replace(&format!("\\{bare}"), "").contains(bare), "{bare} in {prose}");
    }
}

#[test]
fn a_hostile_name_is_text_on_pages_and_in_markdown() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let path = kept(&place, "one.json", &["-n", "20"]);
    let mut run: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let name = format!("{HOSTILE}.json");
    run["strategy"] = HOSTILE.into();
    run["database"]["version"] = HOSTILE.into();
    place.write(&name, &run.to_string());
    let other = place.write("other.json", &run.to_string());
    let said = report(&place, &[&name, &other, "--html", "page.html", "--markdown"]);
    assert_eq!(said.code, 0, "{said:?}");
    let page = std::fs::read_to_string(place.path("page.html")).unwrap();
    assert_harmless(&page, &said.stdout);

    let file = format!("./{HOSTILE}.toml");
    let text = stockbench::strategy::Strategy::load("atomic").unwrap().text;
    place.write(&file, &text);
    let both = format!("atomic,{file}");
    let compare = ["compare", "-s", &both, "--contention", "1,20", "-c", "2,4", "-d", "1s", "-w", "0s"];
    let rest = ["--rounds", "1", "--html", "compared.html", "-o", "markdown"];
    let said = place.stockbench(&[&compare[..], &rest].concat());
    assert_eq!(said.code, 0, "{said:?}");
    let page = std::fs::read_to_string(place.path("compared.html")).unwrap();
    assert_harmless(&page, &said.stdout);
}

#[test]
fn two_runs_stand_side_by_side_unless_their_loads_differ() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let one = kept(&place, "one.json", &SHORT);
    let same = kept(&place, "same.json", &SHORT);
    let more = kept(&place, "more.json", &["-c", "5", "-d", "1s"]);
    let said = report(&place, &[&one, &same, "--markdown", "--html", "page.html"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains("sold/s") && said.stdout.contains("too few seconds"), "{said:?}");
    assert_self_contained(&std::fs::read_to_string(place.path("page.html")).unwrap());
    let said = report(&place, &[&one, &more]);
    assert_one_line(&said, 2, &["the loads differ", "concurrency 4 and 5"]);
    // What would be compared in vain is not even run, and nothing is seeded for it.
    let entries = || query(&place.url, "SELECT count(*) FROM stockbench_ledger");
    let before = entries();
    let said = place.stockbench(&[
        "run",
        "-s",
        "atomic",
        "--skus",
        "5",
        "--stock",
        "1000000",
        "-c",
        "4",
        "-d",
        "60s",
        "--baseline",
        &one,
    ]);
    assert_one_line(&said, 2, &["--baseline: the loads differ", "duration_s 1.0 and 60.0"]);
    assert_eq!(entries(), before);
}

/// A run's report as it is kept, with these seconds in the place of its own: how long each
/// was, what was sold in it per second, and their p99.
fn with_seconds(report: &Report, seconds: &[(f64, f64, u64)]) -> Report {
    let of = |&(span_s, orders_per_s, p99_us): &(f64, f64, u64)| Second {
        span_s,
        orders_per_s,
        p50_us: p99_us / 2,
        p99_us,
        ..Second::default()
    };
    Report { series: seconds.iter().map(of).collect(), ..report.clone() }
}

fn short_run() -> Option<Report> {
    let place = place(Backend::Sqlite)?;
    let path = kept(&place, "one.json", &["-n", "20"]);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).ok()
}

#[test]
fn a_change_and_its_interval_are_of_one_figure() {
    let Some(run) = short_run() else { return };
    let steady: Vec<(f64, f64, u64)> = (0..9).map(|n| (1.0, 100.0 + f64::from(n % 3), 5_000)).collect();
    // A look that came late, one that came early, and a second in which nothing went on.
    let late = [(1.6, 200.0, 5_000), (0.4, 200.0, 5_000), (1.0, 0.0, 0)];
    let before = with_seconds(&run, &steady);
    let after = with_seconds(&run, &[&late[..], &[(1.0, 200.0, 20_000); 12]].concat());
    let changes = change::between(&before, &after, 10).unwrap();
    for Change { figure, ratio, interval, .. } in &changes {
        let (low, high) = interval.unwrap();
        assert!(low <= *ratio && *ratio <= high, "{figure}: {ratio} in {low} to {high}");
    }
    let told: Vec<(f64, Means)> = changes.iter().map(|change| (change.after, change.means)).collect();
    assert!((told[0].0 - 2_800.0 / 15.0).abs() < 1e-9, "by their length: {told:?}");
    assert_eq!((told[0].1, told[2]), (Means::Better, (20_000.0, Means::Worse)));
    let few = with_seconds(&run, &[(1.0, 100.0, 5_000); 4]);
    let few = change::between(&few, &after, 10).unwrap();
    assert!(few.iter().all(|change| change.means == Means::TooShort && change.interval.is_none()));
}

#[test]
fn a_run_that_did_not_pass_and_other_ground_are_no_measure() {
    let Some(run) = short_run() else { return };
    let slow = with_seconds(&run, &[(1.0, 100.0, 5_000); 6]);
    let fast = with_seconds(&run, &[(1.0, 200.0, 2_000); 6]);
    let mut failed = [slow.clone(), fast.clone()];
    for report in &mut failed {
        report.audit = None;
        report.audit_error = Some("the server is gone".to_owned());
    }
    let means = |before: &Report, after: &Report| change::between(before, after, 10).unwrap()[0].means;
    assert_eq!(means(&slow, &fast), Means::Better);
    assert_eq!((means(&slow, &failed[1]), means(&fast, &failed[0])), (Means::NoWorth, Means::Worse));
    assert_eq!((means(&failed[0], &fast), means(&failed[1], &slow)), (Means::NoWorth, Means::NoWorth));

    let refused = |change: fn(&mut Report)| {
        let mut other = fast.clone();
        change(&mut other);
        change::between(&slow, &other, 10).unwrap_err().to_string()
    };
    assert!(
        refused(|other| other.database.durable = Some(false))
            .contains("durable commits and commits NOT durable")
    );
    assert!(refused(|other| other.database.kind = Dialect::Postgres).contains("SQLite and PostgreSQL"));
    assert!(refused(|other| other.database.isolation = "none".to_owned()).contains("serializable and none"));
    let mut newer = fast;
    assert!(change::notes(&slow, &newer).is_empty());
    newer.database.version = "9.9".to_owned();
    newer.stockbench_version = "99".to_owned();
    let notes = change::notes(&slow, &newer).join("\n");
    assert!(notes.contains("SQLite 9.9 after") && notes.contains("stockbench 99 after"), "{notes}");
}

#[test]
fn a_baseline_is_a_threshold() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let load = ["-c", "2", "-d", "8s", "--rate", "10", "--arrivals", "constant"];
    let path = kept(&place, "base.json", &load);
    let mut base: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let run = ["run", "-o", "json", "-s", "atomic", "--skus", "5", "--stock", "1000000", "--noise", "60"];
    let against = |name: &str| {
        let said = place.stockbench(&[&run[..], &load, &["--baseline", name]].concat());
        let report: Value =
            serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        (said.code, report)
    };
    // The same rate was sold as before.
    let (_, report) = against(&path);
    let goodput = |report: &Value| {
        let thresholds = report["thresholds"].as_array().unwrap();
        thresholds.iter().find(|judged| judged["expr"].as_str().unwrap().starts_with("sold/s")).unwrap()["passed"].clone()
    };
    assert_eq!(goodput(&report), true, "{report:#}");
    // A baseline that sold ten times as much.
    for second in base["series"].as_array_mut().unwrap() {
        second["orders_per_s"] = 100.0.into();
    }
    let better = place.write("better.json", &base.to_string());
    let (code, report) = against(&better);
    assert_eq!((code, goodput(&report)), (4, false.into()), "{report:#}");

    // What is no measure is refused before anything is run.
    let refused =
        |name: &str| place.stockbench(&[&["run"], &run[3..], &load, &["--baseline", name]].concat());
    for (field, value, fragment) in [
        ("interrupted", true.into(), "interrupted or not judged"),
        ("lost_server", "gone".into(), "interrupted or not judged"),
    ] {
        let mut bad = base.clone();
        bad[field] = value;
        let bad = place.write("bad.json", &bad.to_string());
        assert_one_line(&refused(&bad), 2, &["--baseline: ", fragment]);
    }
    base["database"]["durable"] = false.into();
    let lax = place.write("lax.json", &base.to_string());
    let durable = "commits NOT durable and durable commits";
    assert_one_line(&refused(&lax), 2, &["--baseline: the databases differ", durable]);
}

#[test]
fn a_comparison_has_a_page_and_files_that_are_no_results_are_named() {
    let Some(place) = place(Backend::Sqlite) else { return };
    let compare =
        ["compare", "-s", "naive,atomic", "--contention", "1,20", "-c", "4,8", "-d", "1s", "-w", "0s"];
    let files = ["--rounds", "2", "--json", "compared.json", "--html", "compared.html"];
    // What goes wrong by chance need not do so at once.
    let mut pages = (0..3).map(|_| {
        let said = place.stockbench(&[&compare[..], &files].concat());
        assert_eq!(said.code, 0, "{said:?}");
        std::fs::read_to_string(place.path("compared.html")).unwrap()
    });
    let direct = pages.find(|page| page.contains("FAILED: ")).expect("naive is caught within a few runs");
    assert_self_contained(&direct);
    assert!(direct.contains("Where they cross over"), "{direct}");
    assert!(direct.contains("judged at") && direct.contains("The same as figures"), "{direct}");
    assert!(!direct.contains("with 95 % intervals"), "two rounds have none: {direct}");
    let said = report(&place, &["compared.json", "--html", "again.html"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(std::fs::read_to_string(place.path("again.html")).unwrap(), direct);

    let no_json = place.write("answers.csv", "order_id,sku_id\n");
    let no_report = place.write("other.json", "{\"name\": 1}");
    assert_one_line(&report(&place, &[&no_json]), 2, &["answers.csv: this is no result"]);
    assert_one_line(&report(&place, &[&no_report]), 2, &["other.json: this is no result", "missing field"]);
    let newer = place.write("newer.json", "{\"schema_version\": 2, \"matrix\": {}}");
    assert_one_line(&report(&place, &[&newer]), 2, &["newer.json has schema_version 2, and this", "reads 1"]);
    assert_one_line(&report(&place, &["nowhere.json"]), 2, &["cannot read nowhere.json"]);
    assert_one_line(&report(&place, &["compared.json", "compared.json"]), 2, &["name one file"]);
}
