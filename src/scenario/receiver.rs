//! `[receiver]`: the application under test.

use std::time::Duration;

use super::require::Listener;
use crate::diagnostic::At;

/// `[receiver]`, with legal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Program and arguments, placeholders still in them; `None`: the built-in receiver.
    pub command: Option<At<Vec<String>>>,
    /// Ready when these are bound; `None`: the UDP destinations in the plan.
    pub listens: Option<At<Vec<Listener>>>,
    /// Queues empty, and counters unmoved, for this long.
    pub settle: Duration,
    /// The signal number that stops it (`SIGTERM` …).
    pub stop: i32,
}
