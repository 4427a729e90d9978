//! `[[step]]`: the replay in parts, and what happens between them. Start at [`Step`].

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checker;
use super::form::{self, DurationText};
use super::pacing::{Pacing, Rate};
use super::receiver::{Receiver, check_name};
use crate::capture::FrameSet;
use crate::diagnostic::{At, Diagnostic};

/// A step of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub action: Action,
    /// The program that it is about; `None`: the application.
    pub process: Option<At<String>>,
    /// The word that says what is done.
    pub span: Range<usize>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sends the selected frames with these numbers.
    Frames(FrameSet),
    /// Runs a program in the receiver's surroundings, placeholders still in its words.
    Run(At<Vec<String>>),
    /// Sends a signal.
    Signal(Signal),
    Wait(Duration),
    /// Stops a program, and starts it again.
    Restart,
}

/// The signals that a step may send (signal(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Signal {
    SigHup,
    SigInt,
    SigQuit,
    SigUsr1,
    SigUsr2,
    SigTerm,
    SigCont,
    SigStop,
    SigWinch,
}

impl Signal {
    /// Its number on Linux, the same on x86, Arm, RISC-V and POWER.
    pub fn number(self) -> i32 {
        match self {
            Self::SigHup => 1,
            Self::SigInt => 2,
            Self::SigQuit => 3,
            Self::SigUsr1 => 10,
            Self::SigUsr2 => 12,
            Self::SigTerm => 15,
            Self::SigCont => 18,
            Self::SigStop => 19,
            Self::SigWinch => 28,
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_uppercase())
    }
}

/// How long a command may take by itself; it may take what is left of the run's time.
const RUN: Duration = Duration::from_secs(10);
/// How long a program has to end after its stop signal.
const STOP: Duration = Duration::from_secs(5);

impl Step {
    /// How long nothing happens in it.
    pub fn waits(&self) -> Duration {
        if let Action::Wait(time) = self.action { time } else { Duration::ZERO }
    }

    /// How long it may take, beside sending and waiting.
    pub fn may_take(&self, receiver: &Receiver) -> Duration {
        match &self.action {
            Action::Run(_) => RUN,
            Action::Restart => {
                let within =
                    receiver.named(self.process.as_ref()).map_or(Duration::ZERO, |program| program.ready.within.value);
                within.saturating_add(STOP)
            }
            Action::Frames(_) | Action::Signal(_) | Action::Wait(_) => Duration::ZERO,
        }
    }
}

impl fmt::Display for Step {
    /// As `signal SIGHUP to postgres`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.process.as_ref().map(|process| process.value.as_str());
        match &self.action {
            Action::Frames(frames) => write!(f, "frames {frames}"),
            Action::Run(command) => write!(f, "run {}", command.value.join(" ")),
            Action::Signal(signal) => {
                write!(f, "signal {signal}{}", process.map_or_else(String::new, |name| format!(" to {name}")))
            }
            Action::Wait(time) => write!(f, "wait {}", crate::figures::duration(*time)),
            Action::Restart => write!(f, "restart{}", process.map_or_else(String::new, |name| format!(" {name}"))),
        }
    }
}

/// A step of the replay: exactly one of `frames`, `run`, `signal`, `wait` and `restart`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Form {
    /// The selected frames with these numbers are sent.
    #[schemars(example = &"1-13")]
    frames: Option<At<FrameSet>>,
    /// This program is run, with these arguments, in the receiver's namespace and beside the application. Its exit status must be 0.
    #[serde(deserialize_with = "form::command")]
    #[schemars(with = "Vec<String>", length(min = 1), example = ["rndc", "-c", "{work}/rndc.conf", "reload"])]
    run: Option<At<Vec<String>>>,
    /// The application gets this signal.
    #[schemars(example = &"SIGHUP")]
    signal: Option<At<Signal>>,
    /// Nothing happens for this long.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "DurationText", example = &"2s")]
    wait: Option<At<Duration>>,
    /// The application is stopped, and started again.
    #[schemars(extend("const" = true), example = true)]
    restart: Option<At<bool>>,
    /// With `run`, `signal` and `restart`: the `[[receiver.process]]` that is meant. Default: the application.
    #[schemars(example = &"postgres")]
    process: Option<At<String>>,
}

const WORDS: [&str; 5] = ["frames", "run", "signal", "wait", "restart"];

impl Form {
    /// The words that say what is done, in the order of the file.
    fn actions(self) -> Vec<(&'static str, At<Action>)> {
        fn action<T>(
            name: &'static str,
            word: Option<At<T>>,
            of: fn(T) -> Action,
        ) -> Option<(&'static str, At<Action>)> {
            word.map(|At { value, span }| (name, At { value: of(value), span }))
        }
        let run = self.run.map(|run| At { span: run.span.clone(), value: run });
        let actions = [
            action("frames", self.frames, Action::Frames),
            action("run", run, Action::Run),
            action("signal", self.signal, Action::Signal),
            action("wait", self.wait, Action::Wait),
            action("restart", self.restart, |_| Action::Restart),
        ];
        let mut actions: Vec<_> = actions.into_iter().flatten().collect();
        actions.sort_by_key(|(_, action)| action.range().start);
        actions
    }
}

/// The legal steps; what excludes them elsewhere is refused, too.
pub(super) fn check(
    forms: Vec<At<Form>>,
    receiver: &Receiver,
    pacing: &Pacing,
    is_target: bool,
    runs_already: bool,
    checker: &mut Checker,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (index, At { value: form, span }) in forms.into_iter().enumerate() {
        let table = span.unwrap_or_default();
        let process = form.process.clone();
        if let Some(restart) = form.restart.as_ref().filter(|restart| !restart.value) {
            let problem =
                Diagnostic::error("`step.restart` can't be false").why("a step that does not restart does nothing");
            checker.refuse(restart.range(), problem.fix("write `restart = true`, or remove the step"));
        }
        let actions = form.actions();
        let Some((name, action)) = actions.first() else {
            let problem = Diagnostic::error(format!("step {} does nothing", index + 1));
            let problem = problem.fix("add one of `frames`, `run`, `signal`, `wait` and `restart`");
            checker.missing_all(&format!("step.{index}"), &WORDS, table, problem);
            continue;
        };
        for (other, second) in &actions[1..] {
            let problem = Diagnostic::error(format!("`step.{name}` and `step.{other}` exclude each other"))
                .why("a step does one thing, and the steps follow one another in the order of the file")
                .fix("write a `[[step]]` for each of them, in their order");
            checker.refuse(second.range(), problem);
        }
        check_process(name, action, process.as_ref(), receiver, (is_target, runs_already), checker);
        steps.push((index + 1, Step { span: action.range(), action: action.value.clone(), process }));
    }
    check_frames(&steps, checker);
    let steps: Vec<Step> = steps.into_iter().map(|(_, step)| step).collect();
    if let Some(first) = steps.first() {
        check_pacing(pacing, first, checker);
    }
    steps
}

/// A step that is about a program needs it.
fn check_process(
    name: &str,
    action: &At<Action>,
    process: Option<&At<String>>,
    receiver: &Receiver,
    (is_target, runs_already): (bool, bool),
    checker: &mut Checker,
) {
    let is_about_a_program = matches!(action.value, Action::Signal(_) | Action::Restart);
    if is_about_a_program && receiver.program.command.is_none() {
        let problem = Diagnostic::error(format!("`step.{name}` needs an application"));
        let problem = if runs_already {
            problem
                .why("without one the receiver runs already, and restage neither starts nor stops it")
                .fix("run a program that does it, such as `run = [\"systemctl\", \"reload\", …]`; or add `[receiver] command`")
        } else if is_target {
            problem
                .why("with `[target]` the receiver is on another machine: restage can't reach its processes")
                .fix("run a program that does it, such as `run = [\"ssh\", …]`; or replace `[target]` by `[lab]`, and add `[receiver] command`")
        } else {
            problem
                .why("restage's own receiver has nothing to reload")
                .fix("add `[receiver] command`, or remove the step")
        };
        checker.missing("receiver.command", action.range(), problem);
    }
    let Some(process) = process else { return };
    if matches!(action.value, Action::Frames(_) | Action::Wait(_)) {
        let problem = Diagnostic::error(format!("`step.process` and `step.{name}` exclude each other"))
            .why("`process` says which program `run`, `signal` and `restart` are about")
            .fix("remove `process`");
        checker.refuse_because(process.range(), action.span.as_ref(), "", problem);
    } else {
        check_name("step.process", process, receiver, checker);
    }
}

/// The parts are sent in the order of the capture, and a frame is in one of them only.
fn check_frames(steps: &[(usize, Step)], checker: &mut Checker) {
    let mut before: Option<(&Step, &FrameSet)> = None;
    for (number, step) in steps {
        let Action::Frames(frames) = &step.action else { continue };
        if let Some((earlier, earlier_frames)) = before
            && frames.first() <= earlier_frames.last()
        {
            let line = checker.line(earlier.span.start);
            let last = match earlier_frames.last() {
                u64::MAX => "has all frames to the end of the capture".to_owned(),
                last => format!("ends with frame {last}"),
            };
            let problem =
                Diagnostic::error(format!("the frames of step {number} do not follow those of the step before"))
                    .label(format!("begins with frame {}", frames.first()))
                    .why(format!("line {line} {last}; frames are sent once, in the order of the capture"))
                    .fix("let each step begin after the last frame of the step before");
            checker.refuse_because(step.span.clone(), Some(&earlier.span), "", problem);
        }
        before = Some((step, frames));
    }
    if let (None, Some((_, first))) = (before, steps.first()) {
        let problem = Diagnostic::error("no `[[step]]` sends frames").why("with steps, frames are sent only by them");
        checker.missing("step", first.span.clone(), problem.fix("add `[[step]]` with `frames = \"1-\"`"));
    }
}

/// A frame is sent once.
fn check_pacing(pacing: &Pacing, first: &Step, checker: &mut Checker) {
    let refused = [
        (pacing.repeat.value > 1).then_some(("repeat", &pacing.repeat.span, "each frame is sent in one step, once")),
        pacing.limit.as_ref().map(|limit| ("limit", &limit.span, "the steps say which frames are sent")),
        (pacing.rate.value == Rate::MaxLossless).then_some((
            "rate",
            &pacing.rate.span,
            "the search for the highest rate sends all frames many times",
        )),
    ];
    for (key, span, why) in refused.into_iter().flatten() {
        let line = checker.line(first.span.start);
        let what =
            if key == "rate" { "`pacing.rate = \"max-lossless\"`".to_owned() } else { format!("`pacing.{key}`") };
        let problem = Diagnostic::error(format!("{what} and `[[step]]` exclude each other"))
            .why(format!("{why}; line {line} begins the steps"))
            .fix(if key == "rate" { "name another rate, or remove the steps" } else { "remove one of them" });
        checker.refuse_because(span.clone().unwrap_or_default(), Some(&first.span), "", problem);
    }
}
