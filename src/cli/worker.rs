//! `restage __worker`: the process of one scenario. Plans, executes, judges, and tells its parent in JSON lines.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use super::run::evidence_level;
use super::status::Status;
use crate::cause::Cause;
use crate::diagnostic::{Diagnostic, Failure, Kind, Result};
use crate::evidence::Evidence;
use crate::expect::{self, Snapshots};
use crate::figures::duration;
use crate::ledger;
use crate::outcome::{Event, EvidenceLevel, Outcome, Replay, Verdict};
use crate::plan;
use crate::process::parent::{job, watch_parent};
use crate::run::{self, Session};
use crate::scenario::{self, Scenario, ScenarioText};

/// What the command line of a run says to its workers.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Real interfaces that may be sent on.
    #[arg(long = "allow-interface")]
    allow_interface: Vec<String>,
    /// Where what is kept goes.
    #[arg(long, default_value = ".")]
    report_folder: std::path::PathBuf,
    /// Write snapshots anew.
    #[arg(long)]
    update_snapshots: bool,
    /// How closely the receiver's stack is looked at.
    #[arg(long, default_value = "auto", value_parser = evidence_level())]
    evidence: std::option::Option<EvidenceLevel>,
}

/// Runs one scenario.
pub(super) fn run(arguments: &Arguments) -> Status {
    let begun = Instant::now();
    let mut tell = |event: Event| {
        // A parent that is gone is noticed by the watch; there is nobody to tell then.
        let mut stdout = std::io::stdout().lock();
        let _ = serde_json::to_writer(&mut stdout, &event)
            .map_err(std::io::Error::from)
            .and_then(|()| stdout.write_all(b"\n"));
        let _ = stdout.flush();
    };
    let mut outcome = match job().and_then(|job| scenario::check(&text(&job)?)) {
        Ok(scenario) => {
            let path = scenario.source.path.clone();
            run_scenario(&scenario, arguments, &mut tell)
                .unwrap_or_else(|failure| refused(&scenario.name, &path, failure))
        }
        // The parent has checked it, and knows its name.
        Err(failure) => refused("", Path::new(""), failure),
    };
    outcome.seconds = begun.elapsed().as_secs_f64();
    tell(Event::Ended { outcome: Box::new(outcome) });
    Status::Pass
}

/// The scenario that the parent has read.
fn text(job: &str) -> Result<ScenarioText> {
    serde_json::from_str(job)
        .map_err(|error| Failure::error(Diagnostic::error("the parent gave no scenario").why(error.to_string())))
}

/// From a legal scenario to its outcome.
fn run_scenario(scenario: &Scenario, arguments: &Arguments, tell: &mut dyn FnMut(Event)) -> Result<Outcome> {
    let begun = Instant::now();
    let target = run::target_facts(scenario, &arguments.allow_interface)?;
    let mut plan = plan::plan(scenario, target.as_ref(), run::listed_ruleset(scenario))?;
    plan.notes.extend(run::foreign_macs(scenario, &plan)?);
    tell(Event::Planned {
        frames: plan.frames(),
        seconds: plan.duration.map(|duration| duration.as_secs_f64()),
        timeout: plan.timeout.as_secs_f64(),
    });
    // Namespaces first: a process with threads can't enter a user namespace.
    let capabilities = run::enter(scenario)?;
    let parent = watch_parent()?;
    let mut session = Session {
        tell,
        parent: &parent,
        capabilities,
        limit: begun + plan.timeout,
        report_folder: &arguments.report_folder,
        level: arguments.evidence,
    };
    let executed = run::execute(scenario, &mut plan, &mut session);
    let interrupted = parent.parent_is_gone();
    let evidence = match executed {
        // Whatever it came to: an application that was stopped before it listened did not fail to.
        Err(_) if interrupted => return Err(Failure::error(interruption().why("nothing was sent yet"))),
        executed => executed?,
    };
    if evidence.sending.limited {
        // What the limit left out was never selected.
        plan.cut_to(scenario, evidence.sending.tried)?;
    }
    let mut ledger = ledger::account(scenario, &plan, &evidence);
    if interrupted {
        let why = "the run was asked to stop before this scenario had ended; nothing is judged, the ledger is what was seen until then";
        for loss in ledger.losses.iter_mut().filter(|loss| loss.cause == Cause::NotSent) {
            "the run was interrupted before it was sent".clone_into(&mut loss.why);
            "run it again, to its end".clone_into(&mut loss.fix);
        }
        return Ok(Outcome {
            problems: vec![interruption().why(why)],
            // A search that was cut short has found nothing.
            replay: Some(Replay { max_lossless: None, ..figures(&evidence) }),
            ledger: Some(ledger),
            application: evidence.application,
            ..outcome(&scenario.name, &scenario.source.path, Verdict::Error)
        });
    }
    if let Some(contradiction) = ledger::contradiction(&ledger) {
        return Ok(Outcome {
            problems: vec![does_not_add_up(&contradiction, &evidence)],
            replay: Some(figures(&evidence)),
            ledger: Some(ledger),
            application: evidence.application,
            ..outcome(&scenario.name, &scenario.source.path, Verdict::Error)
        });
    }
    let snapshots = if arguments.update_snapshots { Snapshots::Update } else { Snapshots::Compare };
    let checks = expect::judge(scenario, &plan, &evidence, &mut ledger, snapshots);
    let verdict = expect::verdict(&checks, &evidence);
    let mut problems = plan.notes;
    problems.extend(evidence.timed_out.map(|limit| {
        Diagnostic::error(format!("the run exceeded its timeout of {}", duration(limit)))
            .at(&scenario.source, scenario.timeout.as_ref().and_then(|limit| limit.span.clone()))
            .why("what was not sent or not read until then counts as NOT_SENT or NOT_READ")
            .fix("raise `timeout`, or shorten the replay with `[pacing] max-gap` or `rate`")
    }));
    problems.extend(evidence.incidents.iter().cloned());
    problems.extend(evidence.notes.iter().cloned());
    problems.extend(expect::ended_oddly(scenario, &evidence).filter(|_| verdict == Verdict::Pass));
    problems.extend(expect::rate_not_kept(scenario, &evidence));
    Ok(Outcome {
        replay: Some(figures(&evidence)),
        ledger: Some(ledger),
        checks,
        application: evidence.application,
        problems,
        ..outcome(&scenario.name, &scenario.source.path, verdict)
    })
}

fn interruption() -> Diagnostic {
    Diagnostic::error("interrupted")
}

/// A mistake in restage: no verdict can stand on such a ledger.
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
        seconds: sending.seconds,
        pps: per_second(sending.sent),
        bits_per_second: per_second(sending.bytes * 8),
        scheduled_seconds: sending.scheduled_seconds,
        timed_by: sending.timed_by,
        lateness_us: sending.lateness,
        lateness_from_first_us: sending.lateness_from_first,
        gap_error_us: sending.gap_error,
        max_lossless: evidence.max_lossless.clone(),
    }
}

fn refused(name: &str, file: &Path, failure: Failure) -> Outcome {
    let verdict = match failure.kind {
        Kind::Invalid => Verdict::Invalid,
        Kind::Blocked => Verdict::Blocked,
        Kind::Error => Verdict::Error,
    };
    Outcome { problems: failure.problems, ..outcome(name, file, verdict) }
}

fn outcome(name: &str, file: &Path, verdict: Verdict) -> Outcome {
    Outcome {
        name: name.to_owned(),
        file: file.display().to_string(),
        verdict,
        seconds: 0.0,
        skipped: None,
        problems: Vec::new(),
        ledger: None,
        replay: None,
        checks: Vec::new(),
        application: None,
    }
}
