//! From a scenario to its outcome: planned, run, accounted for and judged, in this process.

use std::path::Path;
use std::time::Instant;

use super::control::Control;
use super::over_time::over_time;
use super::remote::{Program, facts_and_agents};
use super::secrets::Secrets;
use super::{Options, Run, sent_file};
use crate::capture;
use crate::cause::Cause;
use crate::diagnostic::{At, Diagnostic, Failure, Place, Result};
use crate::evidence::{Evidence, ProgramEnd};
use crate::expect::{self, Judgement, Snapshots};
use crate::host::facts::Facts;
use crate::ledger;
use crate::outcome::{CaptureFile, Event, Outcome, Replay, Step, StepResult, Verdict};
use crate::plan;
use crate::process::parent::watch_parent;
use crate::scenario::Scenario;
use crate::testbed::Testbed;

/// Runs a scenario and reports what happens. It must be called in a process that has one thread and whose standard input closes when the run is to
/// end: see [`super::worker`].
pub fn run_scenario(scenario: &Scenario, options: &Options, report: &mut dyn FnMut(Event)) -> Outcome {
    let mut captures = capture_files(scenario);
    if options.capture_digests {
        // Before the plan, which says how long the run may take. Where a capture can't be read, the plan says why.
        for (capture, path) in captures.iter_mut().zip(scenario.capture.files.paths()) {
            capture.sha256 = capture::sha256([path]).ok();
        }
    }
    let mut outcome = judged(scenario, options, report)
        .unwrap_or_else(|failure| failed(&scenario.name, &scenario.source.path, failure));
    outcome.captures = captures;
    Secrets::of(scenario).redact(&mut outcome);
    outcome
}

/// The outcome of a scenario that was not run to its end.
pub(super) fn failed(name: &str, file: &Path, failure: Failure) -> Outcome {
    Outcome { problems: failure.problems, ..Outcome::blank(name, file, failure.kind.into()) }
}

/// From a legal scenario to its outcome.
fn judged(scenario: &Scenario, options: &Options, report: &mut dyn FnMut(Event)) -> Result<Outcome> {
    let begun = Instant::now();
    let facts = Facts::read();
    sent_file::check(scenario, options)?;
    Testbed::allow(scenario, &options.allow_interfaces, options.allow_host)?;
    let program = if options.push { Program::Copied } else { Program::Installed };
    let (there, agents) = facts_and_agents(scenario, program)?;
    let there = plan::Facts { allowed: options.allow_destinations.clone(), ..there };
    let mut plan = plan::plan(scenario, there)?;
    Testbed::limit(scenario, &plan, options.allow_rate)?;
    plan.notes.extend(Testbed::warnings(scenario, &plan)?);
    // Before there are threads: a process with several can't enter a user namespace.
    Testbed::enter(scenario)?;
    let parent = watch_parent()?;
    let mut limit = begun + plan.timeout;
    if let Some(senders) = &agents.senders {
        // It takes as long as the network does, and is none of the run's time.
        let handing_over = Instant::now();
        report(Event::Phase { name: "shares".to_owned() });
        plan.notes.extend(senders.hand_over(scenario, &plan, &parent)?);
        limit += handing_over.elapsed();
    }
    report(Event::Planned {
        frames: plan.frames(),
        seconds: plan.duration.map(|duration| duration.as_secs_f64()),
        timeout: plan.timeout.as_secs_f64(),
    });
    let control = Control { report, parent: &parent, limit };
    let executed = Run::prepare(scenario, options, &mut plan, agents, control, &facts).and_then(Run::carry_out);
    let interrupted = parent.parent_is_gone();
    let mut evidence = match executed {
        // Whatever the result: an application that was stopped before it listened did not fail to.
        Err(_) if interrupted => {
            let problems = vec![interruption().why("nothing was sent yet")];
            return Ok(Outcome { problems, interrupted, ..of_scenario(scenario, Verdict::Error) });
        }
        executed => executed?,
    };
    if evidence.sending.limited {
        // What the limit left out was never selected.
        plan.cut_to(scenario, evidence.sending.tried)?;
    }
    if evidence.replies.as_ref().is_some_and(ledger::replies::came) {
        plan.find_questions(scenario)?;
    }
    let mut ledger = ledger::account(scenario, &plan, &evidence);
    let replies = ledger::replies::account(&plan, &evidence);
    let mut replay = figures(&evidence);
    let once = scenario.pacing.repeat.value == 1 && plan.rounds == 1;
    replay.over_time = over_time(&evidence, &ledger, once);
    let judgement = if interrupted {
        // A search that was cut short has found nothing.
        replay.max_lossless = None;
        for loss in ledger.losses.iter_mut().filter(|loss| loss.cause == Cause::NotSent) {
            "the run was interrupted before it was sent".clone_into(&mut loss.why);
            "run it again, to its end".clone_into(&mut loss.fix);
        }
        let why = "the run was asked to stop before this scenario had ended; nothing is judged, the ledger is what was seen until then";
        Judgement::error(interruption().why(why))
    } else if let Some(lost) = evidence.lost_connection.take() {
        Judgement::error(lost)
    } else if let Some(contradiction) = ledger::contradiction(&ledger) {
        Judgement::error(does_not_add_up(&contradiction, &evidence))
    } else {
        let snapshots = match (options.update_snapshots, options.propose_snapshots) {
            (true, _) => Snapshots::Update,
            (false, true) => Snapshots::Propose,
            (false, false) => Snapshots::Compare,
        };
        let mut judgement = expect::judge(scenario, &plan, &evidence, &mut ledger, snapshots);
        judgement.problems.splice(0..0, plan.notes);
        judgement
    };
    // The last end of each: a program may have been started again.
    let of = |name: Option<&At<String>>| {
        let is_it = |end: &&ProgramEnd| end.process.as_ref() == name.map(|name| &name.value);
        evidence.ends.iter().rev().find(is_it).map(|end| end.report.clone())
    };
    Ok(Outcome {
        replies,
        replay: Some(replay),
        rewrite: plan::rewrite_report(&plan.rewriter, &plan.stats),
        ledger: Some(ledger),
        steps: steps(scenario, &evidence),
        checks: judgement.checks,
        application: of(None),
        processes: scenario.receiver.processes.iter().filter_map(|process| of(process.name.as_ref())).collect(),
        problems: judgement.problems,
        interrupted,
        ..of_scenario(scenario, judgement.verdict)
    })
}

/// The steps of the replay, and what became of each.
fn steps(scenario: &Scenario, evidence: &Evidence) -> Vec<Step> {
    let all = scenario.steps.iter().enumerate();
    let step = all.map(|(index, step)| {
        let taken = evidence.steps.iter().find(|taken| taken.index == index);
        let result = match taken {
            Some(taken) if taken.failure.is_some() => StepResult::Failed,
            Some(taken) if !taken.is_cut => StepResult::Done,
            _ => StepResult::NotDone,
        };
        Step {
            number: index + 1,
            line: Place::new(&scenario.source, step.span.clone()).line,
            what: step.to_string(),
            result,
            seconds: taken.map(|taken| taken.seconds),
            sent: taken.and_then(|taken| taken.sent),
            ended: taken.and_then(|taken| taken.ended.clone()),
        }
    });
    step.collect()
}

fn interruption() -> Diagnostic {
    Diagnostic::error("interrupted")
}

/// A mistake in restage: such a ledger decides nothing.
fn does_not_add_up(contradiction: &str, evidence: &Evidence) -> Diagnostic {
    let stack = evidence.stack.as_ref();
    Diagnostic::error(format!("internal error: the ledger does not add up: {contradiction}"))
        .why(format!(
            "this is a mistake in restage, not in the scenario; it saw: counters {:?}; hooks {:?}; UDP {:?}; drop reasons {:?}; sockets \
             {:?}",
            evidence.counters,
            stack.map(|stack| &stack.hooks),
            stack.map(|stack| stack.udp),
            stack.map(|stack| &stack.reasons),
            evidence.sockets
        ))
        .fix("report it with the scenario and this message")
}

/// The replay in figures.
fn figures(evidence: &Evidence) -> Replay {
    let sending = &evidence.sending;
    #[expect(clippy::cast_precision_loss, reason = "frames and bits of a run are far below 2^53")]
    let per_second = |count: u64| (sending.sent > 1 && sending.seconds > 0.0).then(|| count as f64 / sending.seconds);
    Replay {
        sender: sending.sender.clone(),
        sender_why: sending.sender_why.clone(),
        senders: evidence.senders.clone(),
        seconds: sending.seconds,
        pps: per_second(sending.sent),
        bits_per_second: per_second(sending.bytes * 8),
        scheduled_seconds: sending.scheduled_seconds,
        timed_by: sending.timed_by,
        lateness_us: sending.lateness,
        lateness_histogram: sending.lateness_histogram.clone(),
        over_time: None,
        lateness_from_first_us: sending.lateness_from_first,
        gap_error_us: sending.gap_error,
        max_lossless: evidence.max_lossless.clone(),
    }
}

fn of_scenario(scenario: &Scenario, verdict: Verdict) -> Outcome {
    Outcome::blank(&scenario.name, &scenario.source.path, verdict)
}

/// The scenario's captures, not read yet.
pub(super) fn capture_files(scenario: &Scenario) -> Vec<CaptureFile> {
    let files = scenario.capture.files.paths();
    files.map(|path| CaptureFile { file: path.display().to_string(), sha256: None }).collect()
}
