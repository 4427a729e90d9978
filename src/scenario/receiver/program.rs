//! A program of the receiver: what `[receiver]` and `[[receiver.process]]` have in common. Start at [`Program`].

use std::ops::Range;

use super::super::require::{Capability, Listener};
use super::environment::{Exit, Variable};
use super::files::File;
use super::limits::{Clock, Limits};
use super::listens::Listens;
use super::ready::Ready;
use crate::diagnostic::At;

/// A program of the receiver: the application, or a process beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The name of a process; `None` for the application.
    pub name: Option<At<String>>,
    /// The program and its arguments, placeholders still in them; `None` where restage itself receives. A process always has one.
    pub command: Option<At<Vec<String>>>,
    /// The sockets that it binds before it is ready. `None`: of the application, the UDP destinations of the rewritten frames; of a process,
    /// none.
    pub listens: Option<At<Listens>>,
    /// What else must hold before it is ready.
    pub ready: Ready,
    /// Variables of its environment, beside those that restage has.
    pub env: Vec<Variable>,
    /// Files that are written before the first program starts.
    pub files: Vec<File>,
    /// The account that it runs as, where root runs restage.
    pub user: Option<At<String>>,
    /// Capabilities over the lab that it has though it isn't root.
    pub capabilities: Vec<At<Capability>>,
    /// What it may take of the machine.
    pub limits: Limits,
    /// The time that it sees.
    pub clock: At<Clock>,
    /// The folder that it starts in, placeholders still in it; `None`: `{work}`.
    pub cwd: Option<At<String>>,
    /// The number of the signal that stops it.
    pub stop: i32,
    /// How it must end when it is stopped; `None`: in any way that is no crash.
    pub exit: Option<At<Exit>>,
}

impl Program {
    /// The application or a process, in words.
    pub fn who(&self) -> String {
        self.name.as_ref().map_or_else(|| "the application".to_owned(), |name| format!("the process `{}`", name.value))
    }

    /// The table that it is written in.
    pub fn table(&self) -> &'static str {
        if self.name.is_none() { "receiver" } else { "receiver.process" }
    }

    /// Where its command is written.
    pub fn span(&self) -> Option<Range<usize>> {
        self.command.as_ref().and_then(|command| command.span.clone())
    }

    /// The UDP and TCP sockets that its scenario names.
    pub fn named_sockets(&self) -> &[Listener] {
        self.listens.as_ref().map(|listens| listens.value.sockets.as_slice()).unwrap_or_default()
    }
}
