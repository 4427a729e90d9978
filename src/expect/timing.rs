//! `lateness`, `gap-error`, `within`: how well the schedule was kept.

use std::time::Duration;

use serde_json::json;

use super::line;
use crate::diagnostic::{At, Diagnostic};
use crate::evidence::{Evidence, Sending};
use crate::figures::{count, duration, pps, seconds, seconds_apart};
use crate::outcome::{Check, CheckId, Lateness, SenderReport, TimedBy};
use crate::scenario::Scenario;
use crate::scenario::expect::{Bound, Percentile};

/// A rate that is lower than this share of the requested one is reported, ...
const KEPT: f64 = 0.9;
/// ... where at least so many frames were sent, ...
const FEWEST_FRAMES: u64 = 20;
/// ... and sending took so much longer than the schedule: a few frames are late by some 100 µs on any machine.
const EXCESS: Duration = Duration::from_millis(1);
/// Of a long replay, a smaller share is reported, ...
const KEPT_LONG: f64 = 0.98;
/// ... where it is so much time.
const EXCESS_LONG: Duration = Duration::from_millis(50);

pub(super) fn judge(scenario: &Scenario, evidence: &Evidence) -> Vec<Check> {
    let (expect, sending) = (&scenario.expect, &evidence.sending);
    let late =
        expect.lateness.value.iter().map(|bound| bounded(scenario, "lateness", bound, sending, sending.lateness));
    let gaps =
        expect.gap_error.value.iter().map(|bound| bounded(scenario, "gap-error", bound, sending, sending.gap_error));
    let within = expect.within.iter().map(|within| in_time(scenario, within, sending));
    late.chain(gaps).chain(within).collect()
}

/// One percentile. One frame alone is in time.
fn bounded(scenario: &Scenario, what: &str, bound: &Bound, sending: &Sending, measured: Option<Lateness>) -> Check {
    let most = bound.most.as_secs_f64() * 1e6;
    let actual = measured.map(|lateness| at(bound.percentile, lateness));
    let passed = actual.is_none_or(|actual| actual <= most);
    let name = format!("{what}.{}", bound.percentile.name());
    let problem = actual.filter(|_| !passed).map(|actual| {
        let (most, actual) = seconds_apart(bound.most.as_secs_f64(), actual / 1e6);
        Diagnostic::error(format!("expected `{name}` of at most {most}, it was {actual}"))
            .at(&scenario.source, Some(bound.span.clone()))
            .why(format!("{}, by {}", deviation(what), by(sending.timed_by)))
            .fix("`[pacing] precision = \"spin\"`, a slower rate, or a machine with less to do (`--jobs 1`)")
    });
    Check {
        what: CheckId::Other(name),
        expected: json!(format!("{:?}", bound.most)),
        actual: json!(actual.map(|actual| format!("{actual:.1}us"))),
        passed,
        undecided: false,
        line: line(scenario, Some(&bound.span)),
        problem,
    }
}

fn deviation(what: &str) -> &'static str {
    if what == "lateness" {
        "the sends deviate so much from the schedule, aligned to the median"
    } else {
        "the gaps between consecutive sends deviate so much from those of the schedule"
    }
}

fn by(timed_by: TimedBy) -> &'static str {
    match timed_by {
        TimedBy::Sender => "the sender's clock before each system call",
        TimedBy::Receiver => "the kernel's receive times",
    }
}

pub(super) fn timed_out(scenario: &Scenario, evidence: &Evidence) -> Option<Diagnostic> {
    let problem = Diagnostic::error(format!("the run exceeded its timeout of {}", duration(evidence.timed_out?)))
        .at(&scenario.source, scenario.timeout.as_ref().and_then(|limit| limit.span.clone()))
        .why("what was not sent or not read until then counts as NOT_SENT or NOT_READ")
        .fix("raise `timeout`, or shorten the replay with `[pacing] max-gap` or `rate`");
    Some(problem)
}

/// The replay was slower than its schedule: what to report, where that is more than noise. It fails nothing by itself.
pub(super) fn rate_not_kept(scenario: &Scenario, evidence: &Evidence) -> Option<Diagnostic> {
    if !evidence.senders.is_empty() {
        return rate_not_kept_elsewhere(scenario, &evidence.senders);
    }
    let sending = &evidence.sending;
    let scheduled = sending.scheduled_seconds.filter(|_| evidence.max_lossless.is_none())?;
    if !is_slower(sending.tried, scheduled, sending.seconds) {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "frames of a run are far below 2^53")]
    let gaps = sending.tried.saturating_sub(1) as f64;
    let (took, planned) = seconds_apart(sending.seconds, scheduled);
    let why = format!(
        "sending took {took}, the schedule {planned}, by {}: this machine, or the interface, was not fast enough",
        by(sending.timed_by)
    );
    let (requested, achieved) = (pps(gaps / scheduled), pps(gaps / sending.seconds));
    Some(
        Diagnostic::warning(format!("the rate was not kept: requested {requested}, achieved {achieved}"))
            .at(&scenario.source, scenario.pacing.rate.span.clone())
            .why(why)
            .fix("request a lower rate, or give the machine less to do at the same time (`--jobs 1`)"),
    )
}

/// The same of machines of `[[sender]]`, each by its own schedule: of those that were slower, the one that was slowest.
fn rate_not_kept_elsewhere(scenario: &Scenario, senders: &[SenderReport]) -> Option<Diagnostic> {
    let scheduled = |sender: &SenderReport| sender.scheduled_seconds.unwrap_or_default();
    let slower = || senders.iter().filter(|sender| is_slower(sender.sent, scheduled(sender), sender.seconds));
    let excess = |sender: &SenderReport| sender.seconds / scheduled(sender);
    let slowest = slower().max_by(|one, other| excess(one).total_cmp(&excess(other)))?;
    let (took, planned) = seconds_apart(slowest.seconds, scheduled(slowest));
    let others = match slower().count() - 1 {
        0 => String::new(),
        others => format!("; {} did not keep it, either", count(others as u64, "other machine")),
    };
    let why = format!(
        "sending took {took}, the schedule {planned}, by its own clock: it, or its interface `{}`, was not fast enough{others}",
        slowest.interface
    );
    Some(
        Diagnostic::warning(format!("`{}` did not keep the rate", slowest.at))
            .at(&scenario.source, scenario.pacing.rate.span.clone())
            .why(why)
            .fix("request a lower rate, give that machine less to do at the same time, or let more machines send"),
    )
}

/// Whether so many frames took so much longer than their schedule that it is worth reporting.
fn is_slower(frames: u64, scheduled: f64, seconds: f64) -> bool {
    let exceeds =
        |kept: f64, excess: Duration| scheduled < seconds * kept && seconds - scheduled >= excess.as_secs_f64();
    scheduled > 0.0 && (frames >= FEWEST_FRAMES && exceeds(KEPT, EXCESS) || exceeds(KEPT_LONG, EXCESS_LONG))
}

fn at(percentile: Percentile, lateness: Lateness) -> f64 {
    match percentile {
        Percentile::P50 => lateness.p50,
        Percentile::P90 => lateness.p90,
        Percentile::P99 => lateness.p99,
        Percentile::P999 => lateness.p999,
        Percentile::Max => lateness.max,
    }
}

/// From the first send to the last.
fn in_time(scenario: &Scenario, within: &At<Duration>, sending: &Sending) -> Check {
    let passed = sending.seconds <= within.value.as_secs_f64();
    let problem = (!passed).then(|| {
        let (most, took) = seconds_apart(within.value.as_secs_f64(), sending.seconds);
        let what = format!("expected at most {most} from the first send to the last, it took {took}");
        let problem = Diagnostic::error(what).at(&scenario.source, within.span.clone());
        match sending.scheduled_seconds.filter(|scheduled| *scheduled > within.value.as_secs_f64()) {
            Some(scheduled) => problem
                .why(format!("the schedule itself takes {}", seconds(scheduled)))
                .fix("pace faster (`[pacing] rate`, `max-gap`), or allow more"),
            None => problem
                .why("the machine, or the interface, was not fast enough")
                .fix("allow more, or give the machine less to do at the same time (`--jobs 1`)"),
        }
    });
    Check {
        what: CheckId::Other("within".to_owned()),
        expected: json!(format!("{:?}", within.value)),
        actual: json!(format!("{:.3}s", sending.seconds)),
        passed,
        undecided: false,
        line: line(scenario, within.span.as_ref()),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::is_slower;

    #[test]
    fn a_short_replay_at_half_its_rate_is_slower() {
        // 1,000 frames at 100,000 pps take 9.99 ms.
        assert!(is_slower(1_000, 0.009_99, 0.019));
        assert!(is_slower(1_000, 0.009_99, 0.0114));
    }

    #[test]
    fn some_per_cent_few_frames_and_less_than_a_millisecond_are_noise() {
        assert!(!is_slower(1_000, 0.009_99, 0.0109));
        assert!(!is_slower(3, 0.000_02, 0.002));
        assert!(!is_slower(50, 0.000_5, 0.001_4));
        assert!(!is_slower(1_000, 0.0, 0.2));
    }

    #[test]
    fn a_long_replay_is_slower_when_it_takes_two_per_cent_longer() {
        assert!(is_slower(100_000, 10.0, 10.3));
        assert!(!is_slower(100_000, 10.0, 10.1));
        assert!(!is_slower(100_000, 1.0, 1.04));
        assert!(is_slower(2, 1.0, 1.06));
    }
}
