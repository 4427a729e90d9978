//! How the application ended: what of it fails a run, and what is only worth knowing.
//!
//! It should run until its stop signal, and then end by that signal or by itself. A signal that restage did not send, an exit status that
//! stands for one, and the exit of a sanitizer or a panic fail the run, whatever was consumed. Start at [`judge`].

use std::sync::LazyLock;

use regex::Regex;
use serde_json::json;

use super::line;
use crate::diagnostic::Diagnostic;
use crate::evidence::{ApplicationEnd, Evidence, ProgramEnd};
use crate::figures::size;
use crate::outcome::{Application, Check, CheckId};
use crate::scenario::Scenario;
use crate::scenario::receiver::{Exit, Program};
use crate::scenario::step::{Action, Step};

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

/// Judges how the application and the processes beside it ended. `others_failed`: whether another expectation is not met. An application that
/// ends with status 0 before its stop signal may have read all that it wanted; it fails the run only where something is missing. A process is
/// there for the application, and runs until it is stopped.
pub(super) fn judge(scenario: &Scenario, evidence: &Evidence, others_failed: bool) -> Vec<Check> {
    let ends = evidence.ends.iter().filter_map(|end| Some((end, program_of(scenario, end)?)));
    ends.filter_map(|(end, program)| judge_end(scenario, program, end, others_failed)).collect()
}

/// The program that ended.
fn program_of<'a>(scenario: &'a Scenario, end: &ProgramEnd) -> Option<&'a Program> {
    scenario.receiver.programs().find(|program| program.name.as_ref().map(|name| &name.value) == end.process.as_ref())
}

/// What is wrong with the end of a program that was stopped to be started again.
pub fn wrong_end(scenario: &Scenario, program: &Program, end: &ProgramEnd) -> Option<Diagnostic> {
    match what_fails(scenario, program, end) {
        Some(Failing::Always(problem) | Failing::WithOthers(problem)) => Some(problem),
        None => judge_exit(scenario, program, end)?.problem,
    }
}

fn judge_end(scenario: &Scenario, program: &Program, end: &ProgramEnd, others_failed: bool) -> Option<Check> {
    if end.is_judged {
        return None;
    }
    let span = program.span();
    let (problem, span) = match what_fails(scenario, program, end) {
        Some(Failing::Always(problem)) => (problem, span),
        Some(Failing::WithOthers(problem)) if others_failed => (problem, span),
        Some(Failing::WithOthers(_)) => return None,
        None => return judge_exit(scenario, program, end),
    };
    let expected = if end.ending.stopped { "ends after its stop signal" } else { "runs until its stop signal" };
    Some(Check {
        what: id(program),
        expected: json!(expected),
        actual: json!(end.report.ended),
        passed: false,
        undecided: false,
        line: line(scenario, span.as_ref()),
        problem: Some(problem.at(&scenario.source, span)),
    })
}

fn id(program: &Program) -> CheckId {
    program.name.as_ref().map_or(CheckId::Application, |name| CheckId::Process(name.value.clone()))
}

/// Judges its end, which is no crash, by `exit`.
fn judge_exit(scenario: &Scenario, program: &Program, end: &ProgramEnd) -> Option<Check> {
    let exit = program.exit.as_ref()?;
    let Exit::Status(wanted) = exit.value else { return None };
    let ProgramEnd { ending, report, .. } = end;
    // Only its stop signal remains, which a shell shows as a status.
    let passed = ending.status.or(ending.signal.map(|signal| BY_SIGNAL + signal)) == Some(wanted);
    let expected = format!("exit status {wanted}");
    let problem = || {
        let what =
            format!("{} ended with {} after its stop signal, and not with {expected}", program.who(), report.ended);
        let instead = ending.signal.map_or(ending.status, |signal| Some(BY_SIGNAL + signal));
        let instead = instead.map_or_else(String::new, |status| format!("`exit = {status}`, or "));
        Diagnostic::error(what)
            .why(report.said())
            .fix(format!("look why; if it ends so when all is well, write {instead}`exit = \"any\"`"))
            .at(&scenario.source, exit.span.clone())
    };
    Some(Check {
        what: id(program),
        expected: json!(expected),
        actual: json!(report.ended),
        passed,
        undecided: false,
        line: line(scenario, exit.span.as_ref()),
        problem: (!passed).then(problem),
    })
}

/// What is worth knowing of how they ended, and fails nothing.
pub(super) fn ended_oddly(scenario: &Scenario, evidence: &Evidence) -> Vec<Diagnostic> {
    let ends = evidence.ends.iter().filter_map(|end| Some((end, program_of(scenario, end)?)));
    ends.filter_map(|(end, program)| Some(oddly(scenario, program, end)?.at(&scenario.source, program.span())))
        .collect()
}

fn oddly(scenario: &Scenario, program: &Program, end: &ProgramEnd) -> Option<Diagnostic> {
    let who = program.who();
    match what_fails(scenario, program, end) {
        Some(Failing::Always(_)) => None,
        Some(Failing::WithOthers(_)) => Some(
            Diagnostic::note(format!("{who} ended before its stop signal, with exit status 0"))
                .why("it may have read all that it wanted"),
        ),
        // A status that is written is a check, and "any" needs no note.
        None if program.exit.is_some() || program.ready.exit.is_some() => None,
        None => {
            let status = end.ending.status.filter(|status| *status != 0 && *status != BY_SIGNAL + program.stop)?;
            Some(
                Diagnostic::note(format!("{who} ended with exit status {status} after its stop signal"))
                    .why("many programs do so when they are stopped, and its output shows no crash: it fails nothing"),
            )
        }
    }
}

enum Failing {
    Always(Diagnostic),
    /// Only where something is missing.
    WithOthers(Diagnostic),
}

fn what_fails(scenario: &Scenario, program: &Program, end: &ProgramEnd) -> Option<Failing> {
    let ProgramEnd { ending, report, .. } = end;
    let (stop, who) = (program.stop, program.who());
    if ending.wrote_too_much {
        return Some(Failing::Always(wrote_too_much(scenario, program)));
    }
    if !ending.stopped {
        let gone = if ending.background {
            format!("{who}, which went into the background, ended")
        } else {
            format!("{who} ended")
        };
        let problem = Diagnostic::error(format!("{gone} in the middle of the run: {}", report.ended))
            .why(report.said())
            .fix(match &ending.full {
                Some(work) => format!(
                    "the file system of `{{work}}`, `{}`, is full: free space there, or set `TMPDIR`",
                    work.display()
                ),
                None if ending.signal.is_some() => {
                    sent_by_step(scenario, end).unwrap_or_else(|| how_to_look(ending).to_owned())
                }
                None => format!("it should run until it gets its stop signal: {}", ending.remedy),
            });
        let is_application = program.name.is_none();
        return Some(if is_application && ending.status == Some(0) {
            Failing::WithOthers(problem)
        } else {
            Failing::Always(problem)
        });
    }
    // It had done its work before the first frame.
    if program.ready.exit.is_some() {
        return None;
    }
    if let Some(grace) = ending.killed_after {
        let problem = Diagnostic::error(format!(
            "{who} did not end within {} s of its stop signal, and was killed",
            grace.as_secs()
        ));
        let problem = problem
            .why(format!("signal {stop} was sent to it"))
            .fix(format!("choose the signal that it ends with: `[{}] stop = \"SIGINT\"`", program.table()));
        return Some(Failing::Always(problem));
    }
    let crashed = crash(ending, report, stop)?;
    let what = match ending.signal {
        Some(signal) if !CRASHES.iter().any(|(crash, _)| *crash == signal) => {
            format!("{who} was ended by a signal that restage did not send: {crashed}")
        }
        _ => format!("{who} crashed after its stop signal: {crashed}"),
    };
    Some(Failing::Always(Diagnostic::error(what).why(report.said()).fix(how_to_look(ending))))
}

/// What to do about a signal that ended a program, where a step sends it.
fn sent_by_step(scenario: &Scenario, end: &ProgramEnd) -> Option<String> {
    let is_it = |step: &Step| match step.action {
        Action::Signal(signal) => {
            Some(signal.number()) == end.ending.signal
                && step.process.as_ref().map(|process| &process.value) == end.process.as_ref()
        }
        _ => false,
    };
    let index = scenario.steps.iter().position(is_it)?;
    let Action::Signal(signal) = scenario.steps.get(index)?.action else { return None };
    Some(format!(
        "step {} sent it {signal}, which ends a program that has no handler for it: send another one, or let it wait until the program is ready",
        index + 1
    ))
}

/// A program that was killed because more was written into `{work}` than its limit.
pub fn wrote_too_much(scenario: &Scenario, program: &Program) -> Diagnostic {
    let most = size(scenario.receiver.program.limits.work.value.bytes);
    let what = if scenario.receiver.processes.is_empty() {
        format!("{} wrote more than {most} into `{{work}}`, and was killed", program.who())
    } else {
        format!("{} was killed: more than {most} were written into `{{work}}`", program.who())
    };
    Diagnostic::error(what)
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
