//! How long a run may take. Start at [`timeout`].

use std::time::Duration;

use super::refuse;
use crate::diagnostic::Diagnostic;
use crate::scenario::Scenario;
use crate::scenario::pacing::Rate;
use crate::scenario::step::Step;

/// How long the search for the highest rate may take where nothing is said.
const SEARCH: Duration = Duration::from_mins(2);
/// What a run may take beside the replay and the time that its application is waited for.
const REST: Duration = Duration::from_secs(10);
/// The run's limit, and what is wrong with the one that is written. Beside the replay, the application may take its time to be ready and to
/// read what is in its queues; what else a run does takes less than [`REST`].
pub(super) fn timeout(scenario: &Scenario, duration: Option<Duration>) -> (Duration, Option<Diagnostic>) {
    let receiver = &scenario.receiver;
    let planned = duration.unwrap_or_default().saturating_add(scenario.steps.iter().map(Step::waits).sum());
    let ready = receiver.written_within();
    let awaited = scenario.expect.longest_within().map_or(Duration::ZERO, |within| within.value);
    match &scenario.timeout {
        None if scenario.pacing.rate.value == Rate::MaxLossless => {
            (SEARCH.saturating_add(ready).saturating_add(awaited), None)
        }
        None => {
            let steps = scenario.steps.iter().map(|step| step.may_take(receiver)).sum();
            let waits = receiver.ready_within().saturating_add(receiver.unread_for()).saturating_add(awaited);
            let waits = waits.saturating_add(steps);
            (planned.saturating_add(waits).saturating_add(REST), None)
        }
        Some(limit) => {
            let is_short = limit.value < planned.max(ready).max(awaited);
            (limit.value, is_short.then(|| refuse::timeout(scenario, limit, planned, ready)))
        }
    }
}
