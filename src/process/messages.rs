//! What an application's init and the side that started it say to each other, in datagrams over a socket. Start at [`Request`].

use std::fmt;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::order::Refused;

/// The longest message, in bytes.
pub(super) const MOST_BYTES: usize = 64 << 10;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// It ended itself, with this status.
    Exited(i32),
    Signalled(i32),
    /// It could not be started: the system's words.
    NotStarted(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Signalled(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "signal {number} ({signal})"),
                Err(_) => write!(f, "signal {number}"),
            },
            Self::NotStarted(why) => write!(f, "not started: {why}"),
        }
    }
}

/// What the init is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// The program is to end: this signal is passed on, also to what it leaves behind.
    Stop(i32),
    /// This signal is passed on, and the program goes on.
    Signal(i32),
}

/// What the init reports.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// It can't do what it is to do before.
    Refused(Refused),
    /// The program runs. What its surroundings lack.
    Started(Vec<String>),
    /// A signal was passed on: the program has it before it does anything else.
    Signalled,
    /// The program ended, and processes that it started go on.
    ProgramEnded(Ended),
    /// All has ended, or is to end, and the init ends now.
    Ended(Ended),
}
