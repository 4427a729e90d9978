//! How the application ended: what of it fails a run, and what is only worth knowing.
//!
//! It should run until its stop signal, and then end by that signal or by itself. A signal that restage did not send, an exit status that
//! stands for one, and the exit of a sanitizer or a panic fail the run, whatever was consumed. Start at [`judge`].

use std::sync::LazyLock;

use regex::Regex;
use serde_json::json;

use super::line;
use crate::diagnostic::Diagnostic;
use crate::evidence::{ApplicationEnd, Evidence};
use crate::figures::size;
use crate::outcome::{Application, Check, CheckId};
use crate::scenario::Scenario;
use crate::scenario::receiver::Exit;

/// Signals that end a program which did something wrong, or that the kernel kills (signal(7)).
const CRASHES: [(i32, &str); 8] = [
    (4, "SIGILL"),
    (5, "SIGTRAP"),
    (6, "SIGABRT"),
    (7, "SIGBUS"),
    (8, "SIGFPE"),
    (9, "SIGKILL"),
    (11, "SIGSEGV"),
    (31, "SIGSYS"),
];
/// What a shell adds to the number of the signal that ended its command.
const BY_SIGNAL: i32 = 128;
/// The exit status of a Rust program that panicked.
const RUST_PANIC: i32 = 101;

/// Lines by which sanitizers, valgrind and language runtimes report a crash.
static CRASH_REPORT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let lines = [
        r"\w+Sanitizer: ",
        r": runtime error: ",
        r"panicked at ",
        r"^panic: ",
        r"^goroutine \d+ \[",
        r"^Traceback \(most recent call last\)",
        r"stack smashing detected",
        r"ERROR SUMMARY: [1-9]",
    ];
    Regex::new(&format!("(?m)^.*(?:{}).*$", lines.join("|"))).ok()
});

/// Judges how it ended. `others_failed`: whether another expectation is not met. An application that ends with status 0 before its stop
/// signal may have read all that it wanted; it fails the run only where something is missing.
pub(super) fn judge(scenario: &Scenario, evidence: &Evidence, others_failed: bool) -> Option<Check> {
    let (ending, application) = (evidence.ending.as_ref()?, evidence.application.as_ref()?);
    let span = scenario.receiver.command.as_ref().and_then(|command| command.span.clone());
    let (problem, span) = match what_fails(scenario, ending, application) {
        Some(Failing::Always(problem)) => (problem, span),
        Some(Failing::WithOthers(problem)) if others_failed => (problem, span),
        Some(Failing::WithOthers(_)) => return None,
        None => return judge_exit(scenario, ending, application),
    };
    let expected = if ending.stopped { "ends after its stop signal" } else { "runs until its stop signal" };
    Some(Check {
        what: CheckId::Application,
        expected: json!(expected),
        actual: json!(application.ended),
        passed: false,
        undecided: false,
        line: line(scenario, span.as_ref()),
        problem: Some(problem.at(&scenario.source, span)),
    })
}

/// Judges its end, which is no crash, by `[receiver] exit`.
fn judge_exit(scenario: &Scenario, ending: &ApplicationEnd, application: &Application) -> Option<Check> {
    let exit = scenario.receiver.exit.as_ref()?;
    let Exit::Status(wanted) = exit.value else { return None };
    // Only its stop signal remains, which a shell shows as a status.
    let passed = ending.status.or(ending.signal.map(|signal| BY_SIGNAL + signal)) == Some(wanted);
    let expected = format!("exit status {wanted}");
    let problem = || {
        let what =
            format!("the application ended with {} after its stop signal, and not with {expected}", application.ended);
        let instead = ending.signal.map_or(ending.status, |signal| Some(BY_SIGNAL + signal));
        let instead = instead.map_or_else(String::new, |status| format!("`exit = {status}`, or "));
        Diagnostic::error(what)
            .why(application.said())
            .fix(format!("look why; if it ends so when all is well, write {instead}`exit = \"any\"`"))
            .at(&scenario.source, exit.span.clone())
    };
    Some(Check {
        what: CheckId::Application,
        expected: json!(expected),
        actual: json!(application.ended),
        passed,
        undecided: false,
        line: line(scenario, exit.span.as_ref()),
        problem: (!passed).then(problem),
    })
}

/// What is worth knowing of how it ended, and fails nothing.
pub(super) fn ended_oddly(scenario: &Scenario, evidence: &Evidence) -> Option<Diagnostic> {
    let (ending, application) = (evidence.ending.as_ref()?, evidence.application.as_ref()?);
    let note = match what_fails(scenario, ending, application) {
        Some(Failing::Always(_)) => return None,
        Some(Failing::WithOthers(_)) => {
            Diagnostic::note("the application ended before its stop signal, with exit status 0")
                .why("it may have read all that it wanted")
        }
        // A status that is written is a check, and "any" needs no note.
        None if scenario.receiver.exit.is_some() => return None,
        None => {
            let status =
                ending.status.filter(|status| *status != 0 && *status != BY_SIGNAL + scenario.receiver.stop)?;
            Diagnostic::note(format!("the application ended with exit status {status} after its stop signal"))
                .why("many programs do so when they are stopped, and its output shows no crash: it fails nothing")
        }
    };
    let span = scenario.receiver.command.as_ref().and_then(|command| command.span.clone());
    Some(note.at(&scenario.source, span))
}

enum Failing {
    Always(Diagnostic),
    /// Only where something is missing.
    WithOthers(Diagnostic),
}

fn what_fails(scenario: &Scenario, ending: &ApplicationEnd, application: &Application) -> Option<Failing> {
    let stop = scenario.receiver.stop;
    if ending.wrote_too_much {
        return Some(Failing::Always(wrote_too_much(scenario)));
    }
    if !ending.stopped {
        let gone = if ending.background {
            "the application, which went into the background, ended"
        } else {
            "the application ended"
        };
        let problem = Diagnostic::error(format!("{gone} in the middle of the run: {}", application.ended))
            .why(application.said())
            .fix(match &ending.full {
                Some(work) => format!(
                    "the file system of `{{work}}`, `{}`, is full: free space there, or set `TMPDIR`",
                    work.display()
                ),
                None if ending.signal.is_some() => how_to_look(ending).to_owned(),
                None => format!("it should run until it gets its stop signal: {}", ending.remedy),
            });
        return Some(if ending.status == Some(0) { Failing::WithOthers(problem) } else { Failing::Always(problem) });
    }
    if let Some(grace) = ending.killed_after {
        let problem = Diagnostic::error(format!(
            "the application did not end within {} s of its stop signal, and was killed",
            grace.as_secs()
        ));
        let problem = problem
            .why(format!("signal {stop} was sent to it"))
            .fix("choose the signal that it ends with: `[receiver] stop = \"SIGINT\"`");
        return Some(Failing::Always(problem));
    }
    let crashed = crash(ending, application, stop)?;
    let what = match ending.signal {
        Some(signal) if !CRASHES.iter().any(|(crash, _)| *crash == signal) => {
            format!("the application was ended by a signal that restage did not send: {crashed}")
        }
        _ => format!("the application crashed after its stop signal: {crashed}"),
    };
    Some(Failing::Always(Diagnostic::error(what).why(application.said()).fix(how_to_look(ending))))
}

/// An application that was killed because it wrote more into `{work}` than its limit.
pub fn wrote_too_much(scenario: &Scenario) -> Diagnostic {
    let most = size(scenario.receiver.limits.work.value.bytes);
    Diagnostic::error(format!("the application wrote more than {most} into `{{work}}`, and was killed"))
        .why("this is the limit by `[receiver] limits`, `work`")
        .fix("let it write less, or raise the limit: `limits = { work = \"16 GiB\" }`")
}

fn how_to_look(ending: &ApplicationEnd) -> &'static str {
    if ending.signal == Some(9) || ending.status == Some(BY_SIGNAL + 9) {
        "restage did not kill it: look into `dmesg` whether the kernel did, since memory ran out"
    } else {
        "start it by hand with the same input and the same stop signal, and look at its core dump or its output"
    }
}

/// The crash that an end after the stop signal stands for, in words.
fn crash(ending: &ApplicationEnd, application: &Application, stop: i32) -> Option<String> {
    if let Some(signal) = ending.signal {
        return (signal != stop).then(|| application.ended.clone());
    }
    let status = ending.status.filter(|status| *status != 0 && *status != BY_SIGNAL + stop)?;
    if let Some((_, name)) = CRASHES.iter().find(|(signal, _)| BY_SIGNAL + signal == status) {
        return Some(format!("exit status {status}, which means {name}"));
    }
    if status == RUST_PANIC {
        return Some(format!("exit status {status}, which means a panic of Rust"));
    }
    let report = CRASH_REPORT.as_ref()?;
    let line = [&application.stderr, &application.stdout].into_iter().find_map(|text| report.find(text))?;
    Some(format!("exit status {status}, with a crash in its output: {}", line.as_str().trim()))
}
