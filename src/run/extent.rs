//! How often the frames of a plan are sent: as the scenario says or, while a rate is searched for, as long as it takes. Start at [`Extent`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often a plan's frames are sent.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// Repeat until sending has taken this long; zero: once.
    pub(super) least: Duration,
    /// Once this is true, not again.
    pub(super) stop: Option<Arc<AtomicBool>>,
}

impl Extent {
    /// Whether the frames are sent as often as the scenario says.
    pub(super) fn is_once(&self) -> bool {
        self.least.is_zero() && self.stop.is_none()
    }

    /// Whether sending has taken as long as it should.
    pub(super) fn is_over(&self, sending: Duration) -> bool {
        sending >= self.least || self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Acquire))
    }
}
