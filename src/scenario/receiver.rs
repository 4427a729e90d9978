//! `[receiver]`: the application under test, and the processes beside it.
//!
//! One file for each group of words. Start at [`Receiver`].

mod agent;
mod at;
mod environment;
mod files;
mod forms;
mod limits;
mod listens;
mod program;
mod ready;

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

pub use self::agent::AgentPlace;
pub(super) use self::at::Place;
pub use self::at::ReceiverPlace;
pub use self::environment::{Exit, VariableValue};
pub use self::files::{File, FileContent, render};
pub(super) use self::forms::Form;
pub use self::limits::{Clock, Size};
#[cfg(test)]
pub use self::listens::Listens;
pub use self::program::Program;
use super::check::Checker;
use super::require::Listener;
use super::vocabulary;
use crate::diagnostic::{At, Diagnostic};

/// The application under test, and the processes beside it. Without a command restage binds the UDP destinations itself, reads and counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// The application; without a command restage itself.
    pub program: Program,
    /// More processes, in the order in which they are started: before the application.
    pub processes: Vec<Program>,
    /// Folders that are empty at first and their own, beside /tmp and /dev/shm, which always are.
    pub private: Vec<At<PathBuf>>,
    /// Queues empty, and counters unmoved, for this long: the application has read all it got.
    pub settle: At<Duration>,
    /// What arrived is kept in this pcapng, in the folder of `--report-json`.
    pub save_capture: Option<At<PathBuf>>,
    /// The interface of the other machine that frames come in on.
    pub interface: Option<At<String>>,
}

/// How long a queue that isn't empty may stay as it is before its datagrams count as not read, where `settle` isn't longer: a server that
/// loads its data first reads late.
const UNREAD: Duration = Duration::from_secs(10);

impl Default for Receiver {
    fn default() -> Self {
        Form::default().into_receiver()
    }
}

impl Receiver {
    /// All programs, in the order in which they are started.
    pub fn programs(&self) -> impl DoubleEndedIterator<Item = &Program> {
        self.processes.iter().chain([&self.program])
    }

    /// The process of this name; without a name, the application.
    pub fn named(&self, name: Option<&At<String>>) -> Option<&Program> {
        let Some(name) = name else { return Some(&self.program) };
        self.processes.iter().find(|process| process.name.as_ref().is_some_and(|own| own.value == name.value))
    }

    /// Whether the scenario says that the application is to be observed by no socket, and no process has one for the capture.
    pub fn has_no_sockets(&self) -> bool {
        self.program.listens.as_ref().is_some_and(|listens| listens.value.sockets.is_empty())
            && !self.processes.iter().flat_map(Program::named_sockets).any(Listener::is_udp)
    }

    /// Whether the scenario says that it takes frames from packet sockets.
    pub fn listens_on_packets(&self) -> bool {
        self.program.listens.as_ref().is_some_and(|listens| listens.value.packet)
    }

    /// Whether it takes frames from packet sockets, and listens on no other for them.
    pub fn only_sniffs(&self) -> bool {
        self.has_no_sockets() && self.listens_on_packets()
    }

    /// How long all of them may take to be ready, one after the other.
    pub fn ready_within(&self) -> Duration {
        self.programs().map(|program| program.ready.within.value).sum()
    }

    /// The same, where it is written.
    pub fn written_within(&self) -> Duration {
        let written = self.programs().map(|program| &program.ready.within).filter(|within| within.span.is_some());
        written.map(|within| within.value).sum()
    }

    /// How long a queue that isn't empty may stay as it is before its datagrams count as not read.
    pub fn unread_for(&self) -> Duration {
        self.settle.value.max(UNREAD)
    }

    /// Those of its words that say something about an application, and where.
    fn words_of_an_application(&self) -> Vec<(&'static str, Range<usize>)> {
        fn of<T>(key: &'static str, word: Option<&At<T>>) -> Option<(&'static str, Range<usize>)> {
            word.map(|word| (key, word.range()))
        }
        let Program { ready, env, files, user, capabilities, clock, cwd, exit, .. } = &self.program;
        let words = [
            of("ready.output", ready.output.as_ref()),
            of("ready.command", ready.command.as_ref()),
            of("ready.file", ready.file.as_ref()),
            of("env", env.first().map(|variable| &variable.value)),
            of("files", files.first().map(|file| &file.name)),
            of("private", self.private.first()),
            of("user", user.as_ref()),
            of("capabilities", capabilities.first()),
            of("clock", clock.span.is_some().then_some(clock)),
            of("cwd", cwd.as_ref()),
            of("exit", exit.as_ref()),
            of("process", self.processes.first().and_then(|process| process.name.as_ref())),
        ];
        words.into_iter().flatten().collect()
    }
}

/// Refuses the table where the receiver is elsewhere, and words about an application where there is none.
pub(super) fn check(table: Option<At<Form>>, is_target: bool, checker: &mut Checker) -> Receiver {
    if let Some(table) = table.as_ref().filter(|_| is_target) {
        let problem = Diagnostic::error("`[receiver]` needs the lab")
            .why("with `[target]` the receiver is on another machine: restage can't start, observe or stop it")
            .fix("remove `[receiver]`, start the application yourself, and expect `sent`; or replace `[target]` by `[lab]`");
        checker.refuse(table.range(), problem);
        return Receiver::default();
    }
    let Some(form) = table.map(|table| table.value) else { return Receiver::default() };
    let runs_already = form.place().is_some();
    form.check_processes(checker);
    form.check_place(checker);
    let mut receiver = form.into_receiver();
    if receiver.program.command.is_none() {
        for (key, span) in receiver.words_of_an_application() {
            let problem = Diagnostic::error(format!("`receiver.{key}` needs `receiver.command`"))
                .why(if runs_already {
                    "without it the receiver runs already, and restage neither starts nor stops it"
                } else {
                    "without an application restage receives the frames itself"
                })
                .fix("add `command = [\"PROGRAM\", \"ARGUMENT\"]` to `[receiver]`, or remove this");
            checker.missing("receiver.command", span, problem);
        }
    }
    if let Some(exit) = &receiver.program.ready.exit {
        let problem = Diagnostic::error("`receiver.ready.exit` is for `[[receiver.process]]` only")
            .why("the application receives the frames, and can't have ended before they are sent");
        checker.refuse(exit.range(), problem.fix("remove it, or make the program that ends a `[[receiver.process]]`"));
    }
    check_files(&mut receiver, checker);
    receiver
}

/// The name of a process that another table says.
pub(super) fn check_name(key: &str, name: &At<String>, receiver: &Receiver, checker: &mut Checker) {
    if receiver.named(Some(name)).is_some() {
        return;
    }
    let known: Vec<&str> =
        receiver.processes.iter().filter_map(|process| process.name.as_ref()).map(|name| name.value.as_str()).collect();
    let problem = Diagnostic::error(format!("`{key}` can't be \"{}\"", name.value));
    let without = "remove it: without it the application is meant";
    let problem = if known.is_empty() {
        problem.why("it names a `[[receiver.process]]`, and there is none").fix(without)
    } else {
        let problem = problem.why(format!("no `[[receiver.process]]` has this name; there is {}", known.join(", ")));
        vocabulary::suggest(problem, &name.value, known, '"', format!("write one of these, or {without}"))
    };
    checker.refuse_because(name.range(), None, "receiver.process", problem);
}

/// A file is written once, whichever program it is for.
fn check_files(receiver: &mut Receiver, checker: &mut Checker) {
    let mut named: Vec<(String, Range<usize>)> = Vec::new();
    for program in receiver.processes.iter_mut().chain([&mut receiver.program]) {
        let table = program.table();
        for file in &mut program.files {
            file.check(table, checker);
            named.push((file.name.value.to_string_lossy().into_owned(), file.name.range()));
        }
    }
    named.sort_by_key(|(_, span)| span.start);
    checker.twice(named.iter().map(|(name, span)| (name.as_str(), span)));
}
