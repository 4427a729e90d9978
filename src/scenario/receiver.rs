//! `[receiver]`: the application under test.
//!
//! One file for each group of words. Start at [`Receiver`].

mod environment;
mod files;
mod limits;
mod listens;
mod ready;

use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

pub use self::environment::{Exit, Variable, VariableValue};
pub use self::files::{File, FileContent, render};
pub use self::limits::{Clock, Limits};
pub use self::listens::Listens;
pub use self::ready::Ready;
use super::check::Checker;
use super::form::{self, DurationText, Entries, refused};
use super::require::Capability;
use crate::diagnostic::{At, Diagnostic};

/// The application under test. Absent: restage binds the UDP destinations itself, reads and counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Receiver {
    /// Program and arguments; looked for in PATH, then in /usr/sbin and /sbin. `{work}` is an empty folder for it.
    #[serde(deserialize_with = "form::command")]
    #[schemars(with = "Vec<String>", length(min = 1), example = ["nfcapd", "-p", "4739", "-w", "{work}"])]
    pub command: Option<At<Vec<String>>>,
    /// It is ready when these sockets are bound. Default: the UDP destinations of the rewritten frames; [] waits for none. `packet:{receiver}`:
    /// a packet socket on its interface, as sniffers have.
    #[schemars(example = ["udp:4739"])]
    pub listens: Option<At<Listens>>,
    /// When it is ready.
    pub ready: Ready,
    /// Variables of its environment, beside those that restage has: a text, or `{ from-env = "NAME" }` for a secret that restage's own
    /// environment has.
    #[serde(deserialize_with = "environment::variables")]
    #[schemars(with = "Entries<VariableValue>", example = environment::example())]
    pub env: Vec<Variable>,
    /// Files that are written before it starts: in `{work}`, or in an `/etc` of its own. A text, or another file with some texts replaced.
    #[serde(deserialize_with = "files::files")]
    #[schemars(with = "Entries<FileContent>", example = files::example())]
    pub files: Vec<File>,
    /// Folders that are empty at first and its own, beside /tmp and /dev/shm, which always are.
    #[serde(deserialize_with = "files::private")]
    #[schemars(with = "Vec<String>", example = ["/run", "/var/log"])]
    pub private: Vec<At<PathBuf>>,
    /// The account that it runs as, where root runs restage.
    #[serde(deserialize_with = "limits::user")]
    #[schemars(with = "limits::AccountName", example = &"bind")]
    pub user: Option<At<String>>,
    /// Capabilities over the lab that it has though it isn't root, as capabilities(7) names them.
    #[schemars(example = ["CAP_NET_RAW"])]
    pub capabilities: Vec<At<Capability>>,
    /// What it may take of the machine.
    pub limits: Limits,
    /// The time that it sees: "now", or "captured": its clock starts at the time of the capture's first frame, by libfaketime. Default: now.
    #[schemars(example = &"captured")]
    pub clock: At<Clock>,
    /// The folder that it starts in, placeholders still in it. Default: {work}.
    #[serde(deserialize_with = "environment::cwd")]
    #[schemars(with = "String", example = &"{work}")]
    pub cwd: Option<At<String>>,
    /// Queues empty, and counters unmoved, for this long: it has read all it got. Default: 50ms.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "DurationText", example = &"300ms")]
    pub settle: At<Duration>,
    /// The signal that stops it. Default: SIGTERM.
    #[serde(deserialize_with = "stop")]
    #[schemars(with = "Signal", extend("default" = "SIGTERM"), example = &"SIGINT")]
    pub stop: i32,
    /// How it must end when it is stopped: its exit status, or "any". Default: any that is no crash, with a note where it isn't 0.
    #[schemars(example = 0)]
    pub exit: Option<At<Exit>>,
    /// What arrived is kept in this pcapng, in the folder of `--report-json`.
    #[serde(deserialize_with = "save_capture")]
    #[schemars(with = "String", regex(pattern = r"\.pcapng$"), example = &"arrived.pcapng")]
    pub save_capture: Option<At<PathBuf>>,
}

/// The signals that may stop an application (signal(7)).
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

/// How long a queue that isn't empty may stay as it is before its datagrams count as not read, where `settle` isn't longer: a server that
/// loads its data first reads late.
const UNREAD: Duration = Duration::from_secs(10);

impl Default for Receiver {
    fn default() -> Self {
        Self {
            command: None,
            listens: None,
            ready: Ready::default(),
            env: Vec::new(),
            files: Vec::new(),
            private: Vec::new(),
            user: None,
            capabilities: Vec::new(),
            limits: Limits::default(),
            clock: At::default(),
            cwd: None,
            settle: At::default_value(Duration::from_millis(50)),
            stop: SIGTERM,
            exit: None,
            save_capture: None,
        }
    }
}

impl Receiver {
    /// Those of its words that say something about an application, and where.
    fn words_of_an_application(&self) -> Vec<(&'static str, Range<usize>)> {
        fn of<T>(key: &'static str, word: Option<&At<T>>) -> Option<(&'static str, Range<usize>)> {
            word.map(|word| (key, word.range()))
        }
        let words = [
            of("ready.output", self.ready.output.as_ref()),
            of("ready.command", self.ready.command.as_ref()),
            of("ready.file", self.ready.file.as_ref()),
            of("env", self.env.first().map(|variable| &variable.value)),
            of("files", self.files.first().map(|file| &file.name)),
            of("private", self.private.first()),
            of("user", self.user.as_ref()),
            of("capabilities", self.capabilities.first()),
            of("clock", self.clock.span.is_some().then_some(&self.clock)),
            of("cwd", self.cwd.as_ref()),
            of("exit", self.exit.as_ref()),
        ];
        words.into_iter().flatten().collect()
    }

    /// Whether it takes frames from a packet socket, and listens on no other.
    pub fn only_sniffs(&self) -> bool {
        self.listens.as_ref().is_some_and(|listens| listens.value.packet && listens.value.sockets.is_empty())
    }

    /// How long it may take to be ready.
    pub fn ready_within(&self) -> Duration {
        self.ready.within.value
    }

    /// How long a queue that isn't empty may stay as it is before its datagrams count as not read.
    pub fn unread_for(&self) -> Duration {
        self.settle.value.max(UNREAD)
    }
}

/// Refuses the table where the receiver is elsewhere, and words about an application where there is none.
pub(super) fn check(table: Option<At<Receiver>>, is_target: bool, checker: &mut Checker) -> Receiver {
    if let Some(table) = table.as_ref().filter(|_| is_target) {
        let problem = Diagnostic::error("`[receiver]` needs the lab")
            .why("with `[target]` the receiver is on another machine: restage can't start, observe or stop it")
            .fix("remove `[receiver]`, start the application yourself, and expect `sent`; or replace `[target]` by `[lab]`");
        checker.refuse(table.range(), problem);
        return Receiver::default();
    }
    let mut receiver = table.map(|table| table.value).unwrap_or_default();
    receiver.files.iter_mut().for_each(|file| file.check(checker));
    if receiver.command.is_none() {
        for (key, span) in receiver.words_of_an_application() {
            let problem = Diagnostic::error(format!("`receiver.{key}` needs `receiver.command`"))
                .why("without an application restage receives the frames itself")
                .fix("add `command = [\"PROGRAM\", \"ARGUMENT\"]` to `[receiver]`, or remove this");
            checker.missing("receiver.command", span, problem);
        }
    }
    receiver
}
