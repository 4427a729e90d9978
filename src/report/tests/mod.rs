//! Every shape that an outcome can have, as every format shows it. The outcomes are made by hand; the snapshots are
//! what users see.

mod html;
mod junit;
mod outcomes;

use insta::assert_snapshot;

use super::{Look, github, job_summary, json, tap, text};
use crate::diagnostic::Style;
use crate::outcome::{Outcome, Report, RunFacts};

fn stories(outcomes: &[Outcome], look: Look) -> String {
    let all: Vec<_> = outcomes.iter().map(|outcome| text::story(outcome, look)).collect();
    all.join("\n==\n\n")
}

fn story(outcome: &Outcome) -> String {
    text::story(outcome, Look::FILE)
}

fn report(scenarios: Vec<Outcome>) -> Report {
    let run = RunFacts {
        version: "0.1.0".to_owned(),
        started: "2026-01-02T03:04:05Z".parse().unwrap(),
        seconds: 3.21,
        hostname: "ci-1".to_owned(),
        kernel: "6.18.0".to_owned(),
    };
    Report::of_run(run, scenarios)
}

#[test]
fn lines_make_a_table() {
    let outcomes = outcomes::all();
    let width = text::name_width(outcomes.iter().map(|outcome| outcome.name.as_str()));
    let lines: String = outcomes.iter().map(|outcome| text::line(outcome, width, Look::FILE)).collect();
    assert_snapshot!(lines);
}

#[test]
fn the_first_line_is_the_reason_why_a_collector_gets_nothing() {
    assert_snapshot!(story(&outcomes::rp_filter()));
}

#[test]
fn several_losses_stand_where_they_happened_and_add_up() {
    assert_snapshot!(story(&outcomes::several_losses()));
}

#[test]
fn what_nothing_explains_is_said_to_be_unexplained() {
    assert_snapshot!(story(&outcomes::unexplained()));
}

#[test]
fn what_the_receivers_kernel_keeps_is_no_loss() {
    assert_snapshot!(story(&outcomes::kernel_and_foreign()));
}

#[test]
fn a_stage_that_cannot_be_seen_is_not_a_number() {
    assert_snapshot!(stories(&[outcomes::target(), outcomes::tcp(), outcomes::accepted_unseen()], Look::FILE));
}

#[test]
fn what_stops_a_run_before_it_sends_is_told_whole() {
    assert_snapshot!(stories(&[outcomes::invalid(), outcomes::blocked()], Look::FILE));
}

#[test]
fn an_application_that_failed_is_quoted() {
    assert_snapshot!(stories(&[outcomes::application_died(), outcomes::silent_application()], Look::FILE));
}

#[test]
fn a_step_that_failed_is_the_headline_among_the_steps() {
    assert_snapshot!(stories(&[outcomes::a_step_fails()], Look::FILE));
}

#[test]
fn a_failed_check_without_words_is_told_by_its_figures() {
    assert_snapshot!(story(&outcomes::bare_check()));
}

#[test]
fn what_is_expected_is_marked_and_has_no_remedy() {
    assert_snapshot!(stories(
        &[outcomes::not_accepted(), outcomes::wrong_output(), outcomes::not_decided()],
        Look::FILE
    ));
}

#[test]
fn a_narrow_terminal_wraps_sentences_under_themselves() {
    assert_snapshot!(text::story(&outcomes::rp_filter(), Look { style: Style::Plain, width: 60 }));
}

#[test]
fn colours_mark_verdicts_and_losses_and_end_with_each_line() {
    let look = Look { style: Style::Colour, width: 100 };
    let mut outcome = outcomes::several_losses();
    outcome.checks.clear();
    let text = text::line(&outcomes::pass(), 0, look) + &text::story(&outcome, look);
    for line in text.lines().filter(|line| line.contains('\u{1b}')) {
        assert!(line.contains("\u{1b}[0m"), "{line:?}");
    }
    assert_snapshot!(text.replace('\u{1b}', "^"));
}

#[test]
fn a_summary_counts_every_verdict_that_occurs() {
    let all = outcomes::all();
    let summaries = [
        text::summary(&all, 3.21, 38, Look::FILE),
        text::summary(&all[..1], 0.31, 0, Look::FILE),
        text::summary(&[], 0.01, 2, Look::FILE),
    ];
    assert_snapshot!(summaries.concat());
}

/// An outcome after tries that did not pass.
fn after(earlier_tries: Vec<Outcome>, outcome: Outcome) -> Outcome {
    Outcome { earlier_tries, ..outcome }
}

#[test]
fn a_scenario_that_passed_at_a_retry_is_flaky_in_every_report() {
    let flaky = after(vec![outcomes::rp_filter(), outcomes::blocked()], outcomes::pass());
    let broken = after(vec![outcomes::blocked()], outcomes::rp_filter());
    let lines = [
        text::try_line(&outcomes::rp_filter(), 20, Look::FILE),
        text::try_line(&after(vec![outcomes::rp_filter()], outcomes::blocked()), 20, Look::FILE),
        text::line(&flaky, 20, Look::FILE),
        text::line(&broken, 20, Look::FILE),
        text::summary(&[flaky.clone(), broken.clone(), outcomes::pass()], 1.0, 0, Look::FILE),
        text::story(&broken, Look::FILE),
        github::annotations(&[flaky.clone(), outcomes::pass()], None),
        tap::text(&report(vec![flaky.clone()])),
    ];
    assert_snapshot!(lines.join("\n"));
    let report = report(vec![flaky, broken]);
    assert_eq!((report.counts.pass, report.counts.flaky), (1, 1));
    let read: Report = serde_json::from_str(&json::text(&report).expect("it is JSON")).expect("it is a report");
    assert_eq!(read, report);
}

#[test]
fn the_json_report_names_places_and_carries_no_file() {
    let scenarios = vec![outcomes::rp_filter(), outcomes::skipped(), outcomes::invalid()];
    let text = json::text(&report(scenarios)).unwrap();
    assert!(!text.contains(outcomes::SCENARIO), "no scenario's text in the report");
    assert_snapshot!(text);
}

#[test]
fn an_outcome_is_read_back_from_json_as_it_was_written() {
    for outcome in outcomes::all() {
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
    }
}

#[test]
fn an_annotation_points_at_the_line() {
    assert_snapshot!(github::annotations(&outcomes::all(), None));
}

#[test]
fn a_job_summary_shows_first_what_did_not_pass() {
    let outcomes = vec![outcomes::pass(), outcomes::rp_filter(), outcomes::blocked(), outcomes::skipped()];
    assert_snapshot!(job_summary::text(&report(outcomes)));
}

#[test]
fn nothing_in_a_job_summary_is_markdown_that_a_scenario_wrote() {
    let odd = "|a| `b` </summary><script>alert(1)</script> **c** [d](e) # f & @g\n```\n~~~";
    let mut outcome = outcomes::blocked();
    outcome.name = odd.to_owned();
    outcome.problems[0].what = odd.to_owned();
    outcome.problems[0].why = Some("in a code block: ````` </details>".to_owned());
    assert_snapshot!(job_summary::text(&report(vec![outcome])));
}

#[test]
fn a_job_summary_stays_below_the_limit() {
    let mut outcome = outcomes::rp_filter();
    outcome.name = "x".repeat(10_000);
    let text = job_summary::text(&report(vec![outcome; 40]));
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
    assert!(text.contains("scenarios not shown"));
}

#[test]
fn tap_has_a_point_for_each_outcome() {
    assert_snapshot!(tap::text(&report(outcomes::all())));
}

#[test]
fn a_tap_report_has_a_line_for_each_point_whatever_a_scenario_is_called() {
    let odd = "a # SKIP b \\ c\nok 7 - d\n...\n---";
    let mut failed = outcomes::rp_filter();
    failed.name = odd.to_owned();
    failed.problems.push(crate::diagnostic::Diagnostic::error(format!("{odd}\u{1b}[31m\u{feff}")));
    let mut skipped = outcomes::skipped();
    skipped.skipped = Some(odd.to_owned());
    assert_snapshot!(tap::text(&report(vec![failed, skipped])));
    assert!(tap::text(&report(Vec::new())).starts_with("TAP version 14\n1..0 # SKIP"));
}
