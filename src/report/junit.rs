//! The report for CI servers: `run --report-junit`, in the form that Jenkins reads and most others do.
//!
//! One suite for the run, one case for each scenario. A verdict of `fail` is a failure, `skipped` and `not run` are skipped,
//! `invalid`, `blocked` and `error` are errors; each carries the story that the terminal shows. The ledger stands in properties.

use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{Look, ledger, text as story, word};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::outcome::{Outcome, Report, Verdict};

/// The report as XML.
///
/// # Errors
/// [`crate::diagnostic::Kind::Error`] where the XML writer refuses something.
pub fn text(report: &Report) -> Result<String> {
    let elapsed = report.runs.iter().map(|run| run.seconds).sum();
    let mut suite = TestSuite::new("restage");
    suite.set_time(duration(elapsed));
    suite.add_test_cases(report.scenarios.iter().map(case));
    let mut file = quick_junit::Report::new("restage");
    file.set_time(duration(elapsed));
    file.add_test_suite(suite);
    // The writer leaves out control characters; XML has no place for these two either (XML 1.0 §2.2).
    file.to_string()
        .map(|text| text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}"))
        .map_err(|error| Failure::error(Diagnostic::error("can't make the JUnit report").why(error.to_string())))
}

fn case(outcome: &Outcome) -> TestCase {
    let mut case = TestCase::new(outcome.name.as_str(), status(outcome));
    case.set_classname(outcome.file.as_str());
    case.set_time(duration(outcome.seconds));
    if let Some(ledger) = &outcome.ledger {
        for (stage, packets) in ledger::stages(ledger) {
            if let Some(packets) = packets {
                case.add_property((format!("ledger.{stage}"), packets.to_string()));
            }
        }
        for loss in &ledger.losses {
            case.add_property((format!("loss.{}.{}", loss.stage, loss.cause), loss.frames.to_string()));
        }
    }
    if let Some(application) = &outcome.application {
        if !application.stdout.is_empty() {
            case.set_system_out(application.stdout.as_str());
        }
        if !application.stderr.is_empty() {
            case.set_system_err(application.stderr.as_str());
        }
    }
    case
}

fn status(outcome: &Outcome) -> TestCaseStatus {
    let mut status = match outcome.verdict {
        Verdict::Pass => return TestCaseStatus::success(),
        Verdict::Skipped | Verdict::NotRun => TestCaseStatus::skipped(),
        Verdict::Fail => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Invalid | Verdict::Blocked | Verdict::Error => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    let headline = story::headline(outcome);
    if outcome.verdict == Verdict::NotRun {
        status.set_message(format!("{}: {headline}", word(outcome.verdict)));
        return status;
    }
    status.set_message(headline);
    if outcome.verdict != Verdict::Skipped {
        status.set_type(word(outcome.verdict)).set_description(story::story(outcome, Look::FILE));
    }
    status
}

/// JUnit has no way to say "unknown": what is no duration counts as none.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
