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
pub(super) struct Shift(Option<SignedDuration>);

impl Shift {
    /// What `time` becomes where the first one becomes `target`; `None` where that is no time.
    pub(super) fn apply(&mut self, target: Timestamp, time: Timestamp) -> Option<Timestamp> {
        let shift = *self.0.get_or_insert_with(|| target.duration_since(time));
        time.checked_add(shift).ok()
    }
}
