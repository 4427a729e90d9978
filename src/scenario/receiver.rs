//! `[receiver]`: the application under test.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checker;
use super::form::Value;
use super::require::Listener;
use super::{quantity, require};
use crate::diagnostic::{At, Diagnostic};

/// `[receiver]`, with legal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Program and arguments, placeholders still in them; `None`: the built-in receiver.
    pub command: Option<At<Vec<String>>>,
    /// Ready when these are bound; `None`: the UDP destinations in the plan.
    pub listens: Option<At<Vec<Listener>>>,
    /// How long it may take to bind them; `None`: 10 s.
    pub ready: Option<At<Duration>>,
    /// Queues empty, and counters unmoved, for this long.
    pub settle: Duration,
    /// The signal number that stops it (`SIGTERM` …).
    pub stop: i32,
    /// What arrived is kept in this file: a relative path that ends in `.pcapng` and stays in the report's folder.
    pub save_capture: Option<At<PathBuf>>,
}

/// The application under test. Absent: restage binds the UDP destinations itself, reads and counts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Form {
    /// Program and arguments; looked for in PATH, then in /usr/sbin and /sbin. `{work}` is an empty folder of its own.
    #[schemars(length(min = 1), example = ["nfcapd", "-p", "4739", "-w", "{work}"])]
    command: Option<Value<Vec<Value<String>>>>,
    /// It is ready when these sockets are bound. Default: the UDP destinations of the rewritten frames; [] waits for none.
    #[schemars(example = ["udp:4739"])]
    listens: Option<Value<Vec<Value<String>>>>,
    /// When it is ready.
    ready: Option<Value<ReadyForm>>,
    /// Queues empty, and counters unmoved, for this long: it has read all it got. Default: 50ms.
    #[schemars(regex(pattern = quantity::DURATION_PATTERN))]
    #[schemars(example = &"300ms")]
    settle: Option<Value<String>>,
    /// The signal that stops it. Default: SIGTERM.
    #[schemars(example = &"SIGINT")]
    stop: Option<Value<Signal>>,
    /// What arrived is kept in this pcapng, in the folder of `--report-json`.
    #[schemars(regex(pattern = r"\.pcapng$"))]
    #[schemars(example = &"arrived.pcapng")]
    save_capture: Option<Value<String>>,
}

/// When the application is ready.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ReadyForm {
    /// How long it may take to bind its sockets. Default: 10s.
    #[schemars(regex(pattern = quantity::DURATION_PATTERN))]
    #[schemars(example = &"60s")]
    within: Option<Value<String>>,
}

/// The signals that may stop an application (signal(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Signal {
    SigHup,
    SigInt,
    SigQuit,
    SigKill,
    SigUsr1,
    SigUsr2,
    #[default]
    SigTerm,
}

impl Signal {
    /// The number on Linux, the same on x86, Arm, RISC-V and POWER.
    const fn number(self) -> i32 {
        match self {
            Self::SigHup => 1,
            Self::SigInt => 2,
            Self::SigQuit => 3,
            Self::SigKill => 9,
            Self::SigUsr1 => 10,
            Self::SigUsr2 => 12,
            Self::SigTerm => 15,
        }
    }
}

/// How long it may take to bind its sockets where nothing is said.
const READY: Duration = Duration::from_secs(10);
/// How long it stays quiet where nothing is said.
const SETTLE: Duration = Duration::from_millis(50);
/// How long a queue that isn't empty may stay as it is before its datagrams count as not read, where `settle` isn't longer: a server that
/// loads its data first reads late.
const UNREAD: Duration = Duration::from_secs(10);

impl Receiver {
    /// How long it may take to bind its sockets.
    pub fn ready_within(&self) -> Duration {
        self.ready.as_ref().map_or(READY, |within| within.value)
    }

    /// How long a queue that isn't empty may stay as it is before its datagrams count as not read.
    pub fn unread_for(&self) -> Duration {
        self.settle.max(UNREAD)
    }
}

/// The legal values of `[receiver]`.
pub(super) fn check(form: Option<Value<Form>>, target: bool, checker: &mut Checker) -> Receiver {
    if let Some(form) = form.as_ref().filter(|_| target) {
        let problem = Diagnostic::error("`[receiver]` needs the lab")
            .why("with `[target]` the receiver is elsewhere: restage can't start, watch or stop it")
            .fix("remove `[receiver]`, start the application yourself, and expect `sent`; or replace `[target]` by `[lab]`");
        checker.refuse(form.span(), problem);
    }
    let form = form.map(Value::into_inner).unwrap_or_default();
    Receiver {
        command: form.command.map(|command| checker.command("receiver.command", command)),
        listens: form.listens.map(|listens| {
            let span = listens.span();
            let sockets = require::listeners("receiver.listens", listens.into_inner(), checker);
            At { value: sockets.into_iter().map(|socket| socket.value).collect(), span: Some(span) }
        }),
        ready: form
            .ready
            .and_then(|ready| ready.into_inner().within)
            .and_then(|within| checker.duration("receiver.ready.within", &within)),
        settle: form
            .settle
            .and_then(|settle| checker.duration("receiver.settle", &settle))
            .map_or(SETTLE, |at| at.value),
        stop: form.stop.map(Value::into_inner).unwrap_or_default().number(),
        save_capture: form.save_capture.and_then(|path| check_save_capture(&path, checker)),
    }
}

/// A file below the report's folder; not joined with the scenario's.
fn check_save_capture(written: &Value<String>, checker: &mut Checker) -> Option<At<PathBuf>> {
    let path = Path::new(written.get());
    let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
    let stem = written.get().strip_suffix(".pcapng");
    let is_pcapng = stem.is_some_and(|stem| !stem.is_empty() && !stem.ends_with('/'));
    let (why, fix) = if !path.components().all(inside) {
        let why = "it is kept in the folder of `--report-json`, or else in the current one, and never outside";
        (why, "name a file below that folder, like \"arrived.pcapng\"")
    } else if is_pcapng {
        return Some(written.with(path.to_path_buf()));
    } else {
        ("it is written as pcapng", "name a file that ends in .pcapng, like \"arrived.pcapng\"")
    };
    let what = format!("`receiver.save-capture` can't be \"{}\"", written.get());
    checker.refuse(written.span(), Diagnostic::error(what).why(why).fix(fix));
    None
}
