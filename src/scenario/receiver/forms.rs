//! `[receiver]` and `[[receiver.process]]` as they are written. Start at [`Form`].

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::super::check::Checker;
use super::super::form::{self, DurationText, Entries, refused, values};
use super::super::require::Capability;
use super::at::Place;
use super::environment::{self, Exit, Variable, VariableValue};
use super::files::{self, File, FileContent};
use super::limits::{self, Clock, Limits};
use super::listens::Listens;
use super::program::Program;
use super::ready::Ready;
use super::{AgentPlace, Receiver};
use crate::diagnostic::{At, Diagnostic};

/// Makes a table that has the words of a program, beside its own.
macro_rules! with_program {
    ($(#[$meta:meta])* $visible:vis struct $name:ident { $($(#[$own_meta:meta])* $own:ident: $own_type:ty,)* }) => {
        $(#[$meta])*
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        $visible struct $name {
            /// Program and arguments; looked for in PATH, then in /usr/sbin and /sbin. `{work}` is an empty folder for it.
            #[serde(default, deserialize_with = "form::command")]
            #[schemars(with = "Vec<String>", length(min = 1), example = ["nfcapd", "-p", "4739", "-w", "{work}"])]
            command: Option<At<Vec<String>>>,
            $($(#[$own_meta])* $own: $own_type,)*
            /// When it is ready.
            #[serde(default)]
            ready: Ready,
            /// Variables of its environment, beside those that restage has: a text, or `{ from-env = "NAME" }` for a secret that restage's own
            /// environment has.
            #[serde(default, deserialize_with = "environment::variables")]
            #[schemars(with = "Entries<VariableValue>", example = environment::example())]
            env: Vec<Variable>,
            /// Files that are written before it starts: in `{work}`, or in an `/etc` of its own. A text, or another file with some texts replaced.
            #[serde(default, deserialize_with = "files::files")]
            #[schemars(with = "Entries<FileContent>", example = files::example())]
            files: Vec<File>,
            /// The account that it runs as, where root runs restage.
            #[serde(default, deserialize_with = "limits::user")]
            #[schemars(with = "limits::AccountName", example = &"bind")]
            user: Option<At<String>>,
            /// Capabilities over the lab that it has though it isn't root, as capabilities(7) names them.
            #[serde(default)]
            #[schemars(example = ["CAP_NET_RAW"])]
            capabilities: Vec<At<Capability>>,
            /// What it may take of the machine.
            #[serde(default)]
            limits: Limits,
            /// The time that it sees: "now", or "captured": its clock starts at the time of the capture's first frame, by libfaketime. Default: now.
            #[serde(default)]
            #[schemars(example = &"captured")]
            clock: At<Clock>,
            /// The folder that it starts in, placeholders still in it. Default: {work}.
            #[serde(default, deserialize_with = "environment::cwd")]
            #[schemars(with = "String", example = &"{work}")]
            cwd: Option<At<String>>,
            /// The signal that stops it. Default: SIGTERM.
            #[serde(default = "sigterm", deserialize_with = "stop")]
            #[schemars(with = "Signal", extend("default" = "SIGTERM"), example = &"SIGINT")]
            stop: i32,
            /// How it must end when it is stopped: its exit status, or "any". Default: any that is no crash, with a note where it isn't 0.
            #[serde(default)]
            #[schemars(example = 0)]
            exit: Option<At<Exit>>,
        }

        impl $name {
            /// What it says of the program; the other words stay.
            fn program(&mut self) -> Program {
                Program {
                    name: None,
                    command: self.command.take(),
                    listens: self.listens.take(),
                    ready: std::mem::take(&mut self.ready),
                    env: std::mem::take(&mut self.env),
                    files: std::mem::take(&mut self.files),
                    user: self.user.take(),
                    capabilities: std::mem::take(&mut self.capabilities),
                    limits: std::mem::take(&mut self.limits),
                    clock: std::mem::take(&mut self.clock),
                    cwd: self.cwd.take(),
                    stop: self.stop,
                    exit: self.exit.take(),
                }
            }
        }
    };
}

with_program! {
    /// The application under test. Absent: restage binds the UDP destinations itself, reads and counts.
    #[derive(Debug, Deserialize, JsonSchema)]
    pub(in crate::scenario) struct Form {
        /// Where it is, if not in the lab: `host`, `netns:NAME`, `pid:NUMBER`, `container:NAME` or `compose:SERVICE`. Without a `command` it runs
        /// there already.
        #[serde(default)]
        #[schemars(example = &"netns:collector")]
        at: Option<At<Place>>,
        /// It is ready when these sockets are bound. Default: the UDP destinations of the rewritten frames; [] waits for none. `packet:{receiver}`:
        /// a packet socket on its interface, as sniffers have.
        #[serde(default)]
        #[schemars(example = ["udp:4739"])]
        listens: Option<At<Listens>>,
        /// Folders that are empty at first and its own, beside /tmp and /dev/shm, which always are.
        #[serde(default, deserialize_with = "files::private")]
        #[schemars(with = "Vec<String>", example = ["/run", "/var/log"])]
        private: Vec<At<PathBuf>>,
        /// Queues empty, and counters unmoved, for this long: it has read all it got. Default: 50ms.
        #[serde(default = "settle", deserialize_with = "form::duration")]
        #[schemars(with = "DurationText", example = &"300ms")]
        settle: At<Duration>,
        /// What arrived is kept in this pcapng, in the folder of `--report-json`.
        #[serde(default, deserialize_with = "save_capture")]
        #[schemars(with = "String", regex(pattern = r"\.pcapng$"), example = &"arrived.pcapng")]
        save_capture: Option<At<PathBuf>>,
        /// A command that connects its standard input and output with those of the words behind it, which it runs on the receiver's machine.
        #[serde(default, deserialize_with = "form::command")]
        #[schemars(with = "Vec<String>", length(min = 1), example = ["ssh", "-J", "jump", "lab2", "sudo", "-n"])]
        via: Option<At<Vec<String>>>,
        /// The interface of the receiver's machine that frames come in on. Default: the only one that is up, or the one that the login came in on.
        #[serde(default)]
        #[schemars(with = "String", length(min = 1, max = 15), example = &"eth1")]
        interface: Option<At<String>>,
        /// More processes, started one after the other before the application, each when the one before is ready.
        #[serde(default)]
        process: Vec<At<ProcessForm>>,
    }
}

with_program! {
    /// A process beside the application: a database, a message queue.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[schemars(extend("required" = ["name", "command"]))]
    struct ProcessForm {
        /// Its name in messages and reports.
        #[serde(default)]
        #[schemars(example = &"postgres")]
        name: Option<At<Name>>,
        /// It is ready when these sockets are bound. Default: none.
        #[serde(default)]
        #[schemars(example = ["tcp:5432"])]
        listens: Option<At<Listens>>,
    }
}

impl Default for Form {
    fn default() -> Self {
        Self::deserialize(toml::Table::new()).expect("every key has a default")
    }
}

impl Form {
    /// Where the receiver is, if not in the lab.
    pub(in crate::scenario) fn place(&self) -> Option<At<Place>> {
        let via = self
            .via
            .as_ref()
            .map(|via| At { value: Place::There(AgentPlace::Via(via.value.clone())), span: via.span.clone() });
        self.at.clone().or(via)
    }

    pub(super) fn into_receiver(mut self) -> Receiver {
        let processes = std::mem::take(&mut self.process).into_iter().map(|At { mut value, .. }| Program {
            name: value.name.take().map(|At { value: Name(name), span }| At { value: name, span }),
            ..value.program()
        });
        Receiver {
            processes: processes.collect(),
            program: self.program(),
            private: self.private,
            settle: self.settle,
            save_capture: self.save_capture,
            interface: self.interface,
        }
    }

    /// Words about another machine that contradict each other, or have no use.
    pub(super) fn check_place(&self, checker: &mut Checker) {
        if let (Some(at), Some(via)) = (&self.at, &self.via) {
            let problem = Diagnostic::error("`receiver.at` and `receiver.via` exclude each other")
                .why("both say where the receiver is, and `via` how it is reached")
                .fix("remove one of them");
            checker.refuse_because(via.range(), at.span.as_ref(), "receiver.at", problem);
        }
        let is_far = self.place().is_some_and(|place| matches!(place.value, Place::There(_)));
        if let Some(interface) = self.interface.as_ref().filter(|_| !is_far) {
            let problem = Diagnostic::error("`receiver.interface` is for a receiver on another machine")
                .why("on this machine restage makes the interface")
                .fix("remove it, or add `at = \"ssh:HOST\"`");
            checker.refuse(interface.range(), problem);
        }
    }

    /// What is wrong with a process as it is written.
    pub(super) fn check_processes(&self, checker: &mut Checker) {
        for (index, At { value: process, span }) in self.process.iter().enumerate() {
            let span = span.clone().unwrap_or_default();
            let mut missing = |key: &str, problem: Diagnostic| {
                checker.missing(&format!("receiver.process.{index}.{key}"), span.clone(), problem);
            };
            if process.name.is_none() {
                let problem = Diagnostic::error("`[[receiver.process]]` has no `name`");
                missing(
                    "name",
                    problem.why("messages and reports name it").fix("add a name like `name = \"postgres\"`"),
                );
            }
            if process.command.is_none() {
                let problem = Diagnostic::error("`[[receiver.process]]` has no `command`");
                missing("command", problem.fix("add `command = [\"PROGRAM\", \"ARGUMENT\"]`"));
            }
            if let Some(span) = &process.limits.work.span {
                let problem = Diagnostic::error("`receiver.process.limits.work` can't be set for one process")
                    .why("all of them share {work}, and are stopped when it holds too much");
                checker.refuse(span.clone(), problem.fix("write it in `[receiver] limits`"));
            }
            if let (Some(ready), Some(exit)) = (&process.ready.exit, &process.exit) {
                let problem = Diagnostic::error("`exit` and `ready.exit` exclude each other")
                    .why("a process that is ready when it has ended gets no stop signal");
                checker.refuse_because(exit.range(), ready.span.as_ref(), "", problem.fix("remove one of them"));
            }
        }
        let names = self.process.iter().filter_map(|process| process.value.name.as_ref());
        let names: Vec<_> = names.map(|name| (name.value.0.as_str(), name.range())).collect();
        checker.twice(names.iter().map(|(name, span)| (*name, span)));
    }
}

/// The name of a process: a word that can be the name of a file.
#[derive(Debug)]
pub(super) struct Name(pub(super) String);

values! {
    Name: String, |text: &String| name(text), { "type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$" };
}

/// No name is longer.
const LONGEST_NAME: usize = 64;

fn name(text: &str) -> Result<Name, Diagnostic> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > LONGEST_NAME || text.starts_with(['-', '.']) || !text.chars().all(legal) {
        let why = "the files with its output are called after it";
        let fix = "write a word of letters, digits, `-`, `_` and `.`, like \"postgres\"";
        return Err(refused(why, fix));
    }
    Ok(Name(text.to_owned()))
}

fn settle() -> At<Duration> {
    At::default_value(Duration::from_millis(50))
}

/// The signals that may stop a program (signal(7)).
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Signal {
    SigHup,
    SigInt,
    SigQuit,
    SigKill,
    SigUsr1,
    SigUsr2,
    SigTerm,
}

/// SIGTERM's number.
const SIGTERM: i32 = 15;

fn sigterm() -> i32 {
    SIGTERM
}

/// The signal's number on Linux, the same on x86, Arm, RISC-V and POWER.
fn stop<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    Ok(match Signal::deserialize(deserializer)? {
        Signal::SigHup => 1,
        Signal::SigInt => 2,
        Signal::SigQuit => 3,
        Signal::SigKill => 9,
        Signal::SigUsr1 => 10,
        Signal::SigUsr2 => 12,
        Signal::SigTerm => SIGTERM,
    })
}

/// A file below the report's folder; not joined with the scenario's.
fn save_capture<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<At<PathBuf>>, D::Error> {
    let written = At::<String>::deserialize(deserializer)?;
    let path = Path::new(&written.value);
    let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    let stem = written.value.strip_suffix(".pcapng");
    let is_pcapng = stem.is_some_and(|stem| !stem.is_empty() && !stem.ends_with('/'));
    let problem = if !path.components().all(inside) {
        let why = "it is kept in the folder of `--report-json`, or else in the current one, and never outside";
        refused(why, "name a file below that folder, like \"arrived.pcapng\"")
    } else if is_pcapng {
        return Ok(Some(written.with(path.to_path_buf())));
    } else {
        refused("it is written as pcapng", "name a file that ends in .pcapng, like \"arrived.pcapng\"")
    };
    Err(form::error(&problem))
}
