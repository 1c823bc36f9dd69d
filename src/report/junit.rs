//! The verdict as JUnit XML, which CI systems show: one case for each
//! invariant of the audit, for each threshold, and for the run itself.

use super::Report;
use super::threshold::Judged;
use crate::escape;
use crate::exit::Exit;
use crate::finding::FindingKind;
use crate::text;
use anyhow::Result;
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// Writes a run's verdict as JUnit XML.
///
/// A run that ends with exit code 0 has no failure in it, any other has one at
/// least.
///
/// # Errors
/// Serialisation fails, which would be a bug.
pub fn to_xml(report: &Report) -> Result<String> {
    let time = Duration::try_from_secs_f64(report.measured.elapsed_s).unwrap_or_default();
    let mut suites = [
        suite("run", vec![run_case(report)]),
        suite("audit", audit_cases(report)),
        suite("thresholds", report.thresholds.iter().map(threshold_case).collect()),
    ];
    suites[0].set_time(time);
    for (name, value) in [
        ("strategy", report.strategy.clone()),
        ("database", format!("{} {}", report.database.kind.title(), report.database.version)),
        ("random_seed", report.random_seed.to_string()),
        ("run_id", report.run_id.to_string()),
    ] {
        suites[0].add_property((name, &*escape::line(&value)));
    }
    let mut xml = quick_junit::Report::new(format!("stockbench {}", escape::line(&report.strategy)));
    xml.set_time(time);
    xml.add_test_suites(suites.into_iter().filter(|suite| suite.tests > 0));
    Ok(xml.to_string()?)
}

fn suite(name: &str, cases: Vec<TestCase>) -> TestSuite {
    let mut suite = TestSuite::new(format!("stockbench.{name}"));
    suite.add_test_cases(cases);
    suite
}

fn case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(&*escape::line(name), status);
    case.set_classname(format!("stockbench.{class}")).set_time(Duration::ZERO);
    case
}

fn failed(kind: NonSuccessKind, message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(&*escape::line(message));
    status
}

fn skipped(message: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(&*escape::line(message));
    status
}

/// Whether the run came to a verdict, and to the one that was expected.
fn run_case(report: &Report) -> TestCase {
    let status = match report.exit() {
        // Violations and thresholds have cases of their own.
        Exit::Held | Exit::Threshold => TestCaseStatus::success(),
        Exit::Violation if !expects_finding(report) => TestCaseStatus::success(),
        Exit::Violation => failed(
            NonSuccessKind::Failure,
            &format!("{} was expected, and that is not what came", report.expectation.audit),
        ),
        Exit::Interrupted => failed(NonSuccessKind::Error, "interrupted"),
        Exit::CouldNot | Exit::Usage => failed(
            NonSuccessKind::Error,
            report
                .audit_error
                .as_deref()
                .or(report.lost_server.as_deref())
                .or(report.fault_error.as_deref())
                .or(report.incomplete_file.as_deref())
                .unwrap_or("the run could not be judged: see its report"),
        ),
    };
    case("run", "the run came to a verdict", status)
}

fn expects_finding(report: &Report) -> bool {
    report.expectation.audit != "nothing" || !report.expectation.errors_met
}

fn audit_cases(report: &Report) -> Vec<TestCase> {
    let status_of = |kind: FindingKind| {
        let Some(audit) = &report.audit else { return skipped("there was no audit") };
        let found: Vec<&str> = audit
            .findings
            .iter()
            .filter(|finding| finding.kind == kind)
            .map(|finding| finding.message.as_str())
            .collect();
        match found.as_slice() {
            [] => TestCaseStatus::success(),
            [first, ..] if expects_finding(report) => {
                skipped(&format!("a finding is expected here: {first}"))
            }
            [first, more @ ..] => {
                let more = if more.is_empty() {
                    String::new()
                } else {
                    format!(" (and {})", text::count(more.len() as u64, "more finding"))
                };
                let found: Vec<_> = found.iter().map(|message| escape::line(message)).collect();
                let mut status = failed(NonSuccessKind::Failure, &format!("{first}{more}"));
                status.set_type(kind.as_str()).set_description(found.join("\n"));
                status
            }
        }
    };
    let kinds = FindingKind::ALL.into_iter().filter(|kind| kind.is_of_a_run());
    kinds.map(|kind| case("audit", kind.as_str(), status_of(kind))).collect()
}

fn threshold_case(judged: &Judged) -> TestCase {
    let status = if judged.passed {
        TestCaseStatus::success()
    } else {
        failed(NonSuccessKind::Failure, &format!("{}: missed ({})", judged.expr, judged.shown()))
    };
    case("thresholds", &judged.expr, status)
}
