//! Scenarios that run side by side, each in a process of its own. Start at [`Batch::new`].

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Options;
use super::board::{Board, Label};
use super::outcome::capture_files;
use super::turns::{Rules, Stopped, Then, Turns};
use super::worker;
use crate::diagnostic::{Diagnostic, Failure, Kind, Result};
use crate::file::{Claim, Claims, stable_path};
use crate::host::program;
use crate::outcome::{Event, Outcome, now};
use crate::process::worker::{Job, News, Next, Notice, Supervisor, WorkerEnd};
use crate::scenario::Scenario;
use crate::scenario::receiver::{Clock, Program};
use crate::scenario::step::Step;
use crate::wire::trace::KernelTypes;

/// Scenarios that are checked and wait for their turn; those that can't be run have their outcome already.
#[derive(Debug)]
pub struct Batch {
    board: Board,
    /// By the index of their scenario.
    jobs: BTreeMap<usize, Prepared>,
}

/// A scenario that is ready to run.
#[derive(Debug)]
struct Prepared {
    job: worker::Job,
    runs_alone: bool,
    /// At least so long it waits, by its own words.
    waits: Duration,
}

/// How a batch ended.
#[derive(Debug)]
pub struct Ran {
    /// In the order in which the scenarios were given.
    pub outcomes: Vec<Outcome>,
    /// Whether the run was interrupted.
    pub interrupted: bool,
}

/// A scenario that is to be run, or is to be reported as one that can't be.
#[derive(Debug)]
pub struct Candidate {
    pub name: String,
    /// That it is reported under.
    pub path: PathBuf,
    pub summary: Option<String>,
    pub tags: Vec<String>,
    pub checked: Result<Scenario>,
}

/// What happens while a batch runs; scenarios are named by their index.
#[derive(Debug)]
pub enum Update<'a> {
    /// Its worker was started at this time.
    Started(usize, &'a Label, Timestamp),
    /// It reports this.
    Event(usize, &'a Event),
    Ended(usize),
    /// The outcome of this scenario is known.
    Outcome(usize, &'a Outcome),
    /// The outcome of one try is known, and the scenario is tried again.
    Tried(&'a Outcome),
    /// Someone asks by signal how far everything is.
    StatusAsked,
}

impl Batch {
    /// Prepares scenarios. `outputs`: files that the caller will write when all have run.
    ///
    /// # Errors
    /// When one of `outputs` can't be written, or would overwrite something that is read.
    pub fn new(mut scenarios: Vec<Candidate>, options: &Options, outputs: &[Claim]) -> Result<Self> {
        for candidate in &mut scenarios {
            if let Some(refused) = candidate.checked.as_ref().ok().and_then(refuse_standard_input) {
                candidate.checked = Err(refused);
            }
        }
        let usable = || scenarios.iter().filter_map(|candidate| candidate.checked.as_ref().ok());
        let mut inputs: Vec<_> = scenarios.iter().map(|one| Claim::new(&one.path, "the scenario")).collect();
        inputs.extend(usable().flat_map(Scenario::inputs));
        if !options.update_snapshots {
            inputs.extend(usable().flat_map(Scenario::snapshot_claims));
        }
        let mut claims = Claims::new(inputs)?;
        claims.write(outputs.to_vec())?;
        outputs.iter().try_for_each(Claim::try_out)?;
        let mut batch = Self { board: Board::default(), jobs: BTreeMap::new() };
        for candidate in scenarios {
            let label = label(&candidate);
            let scenario = candidate.checked.and_then(|scenario| {
                let snapshots = scenario.snapshot_claims().filter(|_| options.update_snapshots);
                let outputs: Vec<_> = snapshots.chain(scenario.kept(&options.report_folder)).collect();
                claims.write(outputs.clone())?;
                outputs.iter().try_for_each(Claim::try_out)?;
                Ok(scenario)
            });
            match scenario {
                Err(failure) => batch.board.unusable(label, failure),
                Ok(scenario) => {
                    // An agent looks on its machine.
                    let is_here = scenario.topology.agent().is_none();
                    let absent = if is_here { absent(&scenario) } else { Vec::new() };
                    if absent.is_empty() {
                        let index = batch.board.waiting(label);
                        batch.jobs.insert(index, Prepared::new(&scenario, options)?);
                    } else if options.strict {
                        batch.board.unusable(label, not_installed(&scenario, &absent));
                    } else {
                        batch.board.skipped(label, &absent);
                    }
                }
            }
        }
        if let [only] = batch.jobs.values_mut().collect::<Vec<_>>().as_mut_slice() {
            only.job.is_alone = true;
        }
        Ok(batch)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.board.names()
    }

    /// The outcomes that are known without a run, each with the index of its scenario.
    pub fn known(&self) -> impl Iterator<Item = (usize, &Outcome)> {
        self.board.known()
    }

    /// The outcomes of all scenarios, should the run be killed before another one is known.
    pub fn if_killed(&self) -> Vec<Outcome> {
        self.board.if_killed()
    }

    /// Runs everything by these rules.
    pub fn run(self, supervisor: &mut Supervisor, rules: Rules, on_update: &mut dyn FnMut(Update<'_>)) -> Ran {
        let Self { mut board, jobs } = self;
        let begun = Instant::now();
        let failed = board.outcomes().iter().filter(|outcome| outcome.verdict.is_failure()).count();
        let mut scenarios: Vec<_> = jobs.iter().collect();
        if rules.at_once > NonZeroUsize::MIN {
            // Those that are known to wait long begin first, so that none of them is left for the end.
            scenarios.sort_by_key(|(_, prepared)| Reverse(prepared.waits));
        }
        let scenarios = scenarios.into_iter().map(|(index, prepared)| (*index, prepared.runs_alone));
        let mut turns = Turns::new(rules, scenarios, failed);
        // What takes a worker a millisecond or two is the same for all.
        let kernel = if jobs.len() > 1 { KernelTypes::read_if_permitted() } else { None };
        while let Some(group) = turns.next() {
            let jobs = group
                .scenarios
                .iter()
                .filter_map(|index| Some(jobs.get(index)?.job(*index, turns.delay(*index), kernel.as_ref())));
            let supervised = supervisor.run(jobs.collect(), group.at_once.get(), &mut |notice| {
                match notice {
                    Notice::StatusAsked => on_update(Update::StatusAsked),
                    Notice::Job(index, News::Started) => {
                        let now = now();
                        if let Some(label) = board.started(index, now) {
                            on_update(Update::Started(index, label, now));
                        }
                    }
                    Notice::Job(index, News::Event(event)) => {
                        on_update(Update::Event(index, &event));
                        if let Some(outcome) = board.event(index, event, begun.elapsed()) {
                            on_update(update(turns.ended(index, outcome), index, outcome));
                        }
                    }
                    Notice::Job(index, News::Ended(WorkerEnd::NotStarted)) => turns.not_started(index),
                    Notice::Job(index, News::Ended(end)) => {
                        on_update(Update::Ended(index));
                        if let Some(outcome) = board.end(index, &end) {
                            on_update(update(turns.ended(index, outcome), index, outcome));
                        }
                        if turns.left().1.contains(&index) {
                            board.try_again(index);
                        }
                    }
                }
                if turns.is_enough() { Next::StartNoMore } else { Next::GoOn }
            });
            if let Err(failure) = supervised {
                board.give_up(&failure);
                break;
            }
            // A signal that came after the last outcome of the group.
            if supervisor.is_interrupted() {
                turns.interrupt();
            }
        }
        let stopped = turns.stopped();
        let (not_run, tried) = turns.left();
        for index in tried {
            board.no_other_try(*index).into_iter().for_each(|outcome| on_update(Update::Outcome(*index, outcome)));
        }
        // Those that could not be supervised have their outcome.
        for (index, why) in stopped.iter().flat_map(|why| not_run.iter().map(move |index| (index, *why))) {
            board.not_run(*index, why).into_iter().for_each(|outcome| on_update(Update::Outcome(*index, outcome)));
        }
        Ran { outcomes: board.outcomes(), interrupted: stopped == Some(Stopped::Interrupted) }
    }
}

fn update(then: Then, index: usize, outcome: &Outcome) -> Update<'_> {
    match then {
        Then::Done => Update::Outcome(index, outcome),
        Then::Again => Update::Tried(outcome),
    }
}

impl Candidate {
    /// A scenario that was read from its file.
    pub fn of(scenario: Scenario) -> Self {
        let Scenario { name, summary, tags, .. } = &scenario;
        let (name, summary, tags) = (name.clone(), summary.clone(), tags.clone());
        Self { name, path: scenario.source.path.clone(), summary, tags, checked: Ok(scenario) }
    }
}

fn label(candidate: &Candidate) -> Label {
    let Candidate { name, path, summary, tags, checked } = candidate;
    let captures = checked.as_ref().map(capture_files).unwrap_or_default();
    let (name, summary, tags) = (name.clone(), summary.clone(), tags.clone());
    Label { name, file: path.display().to_string(), id: stable_path(path), summary, tags, captures }
}

/// Each scenario runs in a process of its own, which reads its capture more than once.
fn refuse_standard_input(scenario: &Scenario) -> Option<Failure> {
    let file = scenario.capture.files.standard_input()?;
    Some(Failure::invalid(
        Diagnostic::error("a capture on standard input can't be replayed by `restage run`")
            .at(&scenario.source, file.span.clone())
            .why("each scenario runs in a process of its own, which reads its capture more than once; `plan` and `rewrite` take `-`")
            .fix("write it to a file, and name that"),
    ))
}

/// The programs that the scenario requires and this machine lacks.
pub(super) fn absent(scenario: &Scenario) -> Vec<&str> {
    let commands = scenario.require.commands.iter().map(|command| command.value.as_str());
    let absent = commands.filter(|command| program::find(command).is_none());
    let is_captured = |program: &Program| program.clock.value == Clock::Captured;
    let needs_clock = scenario.receiver.programs().any(is_captured) && program::faketime().is_none();
    absent.chain(needs_clock.then_some("libfaketime")).collect()
}

/// With [`Options::strict`], that programs are absent.
pub(super) fn not_installed(scenario: &Scenario, absent: &[&str]) -> Failure {
    let problem = |name: &&str| {
        let required = scenario.require.commands.iter().find(|command| command.value == **name);
        Diagnostic::error(format!("`{name}` is not installed"))
            .at(&scenario.source, required.and_then(|command| command.span.clone()))
            .why("without `--strict` the scenario is skipped")
            .fix("install it")
    };
    Failure { kind: Kind::Blocked, problems: absent.iter().map(problem).collect() }
}

impl Prepared {
    fn new(scenario: &Scenario, options: &Options) -> Result<Self> {
        let (options, delay) = (options.clone(), Duration::ZERO);
        let job = worker::Job { scenario: scenario.text(), options, delay, is_alone: false, kernel: None };
        if let Err(error) = job.line() {
            let what = format!("can't hand `{}` to a worker", scenario.source.path.display());
            let problem = Diagnostic::error(what).why(error.to_string()).fix("rename its folder: it is not UTF-8");
            return Err(Failure::invalid(problem));
        }
        let steps: Duration = scenario.steps.iter().map(Step::waits).sum();
        let waits = scenario.receiver.settle.value.saturating_add(steps);
        Ok(Self { job, runs_alone: scenario.exclusive, waits })
    }

    fn job(&self, index: usize, delay: Duration, kernel: Option<&KernelTypes>) -> Job {
        let job = worker::Job { delay, kernel: kernel.cloned(), ..self.job.clone() };
        let input = job.line().expect("it was written before");
        // Planning a large capture takes its time: only the plan says how long the run may take.
        Job { index, arguments: Vec::new(), input, limit: None }
    }
}
