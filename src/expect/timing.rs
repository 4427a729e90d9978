//! `lateness`, `gap-error`, `within`: how well the schedule was kept.

use std::time::Duration;

use serde_json::json;

use super::line;
use crate::diagnostic::{At, Problem};
use crate::evidence::{Evidence, Sending};
use crate::outcome::{Check, Lateness};
use crate::scenario::Scenario;
use crate::scenario::expect::{Bound, Percentile};

pub(super) fn judge(scenario: &Scenario, evidence: &Evidence) -> Vec<Check> {
    let (expect, sending) = (&scenario.expect, &evidence.sending);
    let late = expect.lateness.iter().map(|bound| bounded(scenario, "lateness", bound, sending.lateness));
    let gaps = expect.gap_error.iter().map(|bound| bounded(scenario, "gap-error", bound, sending.gap_error));
    let within = expect.within.iter().map(|within| in_time(scenario, within, sending));
    late.chain(gaps).chain(within).collect()
}

/// One percentile. One frame alone is in time.
fn bounded(scenario: &Scenario, what: &str, bound: &Bound, measured: Option<Lateness>) -> Check {
    let most = bound.most.as_secs_f64() * 1e6;
    let actual = measured.map(|lateness| at(bound.percentile, lateness));
    let passed = actual.is_none_or(|actual| actual <= most);
    let name = format!("{what}.{}", bound.percentile.name());
    let problem = actual.filter(|_| !passed).map(|actual| {
        Problem::error(format!("expected `{name}` of at most {:?}, it was {actual:.1} µs", bound.most))
            .at(&scenario.source, Some(bound.span.clone()))
            .why(if what == "lateness" {
                "the send calls deviate so much from the schedule, aligned to the median"
            } else {
                "the gaps between consecutive sends deviate so much from those of the schedule"
            })
            .fix("`[pacing] precision = \"spin\"`, a slower rate, or a machine with less to do (`--jobs 1`)")
    });
    Check {
        what: name,
        expected: json!(format!("{:?}", bound.most)),
        actual: json!(actual.map(|actual| format!("{actual:.1}us"))),
        passed,
        line: line(scenario, Some(&bound.span)),
        problem,
    }
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
        let what =
            format!("expected the first to the last send within {:?}, it took {:.3} s", within.value, sending.seconds);
        let problem = Problem::error(what).at(&scenario.source, within.span.clone());
        match sending.scheduled_seconds.filter(|scheduled| *scheduled > within.value.as_secs_f64()) {
            Some(scheduled) => problem
                .why(format!("the schedule itself takes {scheduled:.3} s"))
                .fix("pace faster (`[pacing] rate`, `max-gap`), or allow more"),
            None => problem
                .why("the machine, or the interface, was not fast enough")
                .fix("ask for less, or give the machine less to do at the same time (`--jobs 1`)"),
        }
    });
    Check {
        what: "within".to_owned(),
        expected: json!(format!("{:?}", within.value)),
        actual: json!(format!("{:.3}s", sending.seconds)),
        passed,
        line: line(scenario, within.span.as_ref()),
        problem,
    }
}
