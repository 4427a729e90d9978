//! How far times are shifted: the first one that is found becomes the one that the scenario names, and all others follow.

use jiff::{SignedDuration, Timestamp};

use crate::scenario::rewrite::TimeTarget;

/// What the first time becomes; `None` where times stay. "now" is this moment, for every pass over the capture.
pub(super) fn target(target: TimeTarget) -> Option<Timestamp> {
    match target {
        TimeTarget::Captured => None,
        TimeTarget::Now => Some(Timestamp::now()),
        TimeTarget::At(time) => Some(time),
    }
}

/// The shift of a pass, known with the first time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shift {
    by: Option<SignedDuration>,
    /// The first and the last time, as captured.
    captured: Option<(Timestamp, Timestamp)>,
}

impl Shift {
    /// What `time` becomes where the first one becomes `target`; `None` where that is no time.
    pub(super) fn apply(&mut self, target: Timestamp, time: Timestamp) -> Option<Timestamp> {
        let shift = *self.by.get_or_insert_with(|| target.duration_since(time));
        let (first, last) = self.captured.unwrap_or((time, time));
        self.captured = Some((first.min(time), last.max(time)));
        time.checked_add(shift).ok()
    }

    /// Goes on with the capture's first message: its times follow the last ones of the round before.
    pub(super) fn next_round(&mut self) {
        if let (Some(shift), Some((first, last))) = (&mut self.by, self.captured) {
            *shift = shift.saturating_add(last.duration_since(first)).saturating_add(SignedDuration::from_secs(1));
        }
    }
}
