//! The line from a run to the process that started it: reports to it, and its requests to stop.

use std::time::{Duration, Instant};

use crate::outcome::Event;
use crate::process::parent::ParentWatch;

/// The line to the process that started the run.
pub(super) struct Control<'a> {
    pub(super) report: &'a mut dyn FnMut(Event),
    pub(super) parent: &'a ParentWatch,
    /// When the run is judged as it is.
    pub(super) limit: Instant,
}

impl Control<'_> {
    pub(super) fn phase(&mut self, name: &str) {
        (self.report)(Event::Phase { name: name.to_owned() });
    }

    /// Whether the run was interrupted, or the process that started it is gone.
    pub(super) fn is_interrupted(&self) -> bool {
        self.parent.parent_is_gone()
    }

    /// Whether to send and wait no more.
    pub(super) fn is_over(&self) -> bool {
        self.is_interrupted() || Instant::now() >= self.limit
    }

    /// What is left of the run's time.
    pub(super) fn left(&self) -> Duration {
        self.limit.saturating_duration_since(Instant::now())
    }
}
