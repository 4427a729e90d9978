//! What the application made of it: the commands of `[[expect.command]]`, the files of `[[expect.output]]`.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::application::{self, Site};
use super::command::{self, Limit};
use super::control::Control;
use super::output_files::{self, examine_whole};
use super::setting::Setting;
use super::setup::Setup;
use crate::diagnostic::Result;
use crate::evidence::{Evidence, Output, WaitEnd, Waited};
use crate::expect::{Given, command_holds, output_holds};
use crate::plan::Plan;
use crate::process::application::Around;
use crate::scenario::Scenario;
use crate::scenario::expect::{CommandCheck, OutputCheck};

/// How long a command has, whatever the run's limit leaves; where it is run again and again, no run has more.
const LEAST: Duration = Duration::from_secs(10);
/// How often it is looked whether the run is interrupted meanwhile.
const LOOK: Duration = Duration::from_millis(50);
/// How much longer than a round of looks the pause after it is: waiting takes little of the machine, whatever a look costs.
const PAUSE_FACTOR: u32 = 10;

/// A check, with its place in the scenario.
#[derive(Debug, Clone, Copy)]
enum Subject<'a> {
    Command(usize, &'a CommandCheck),
    Output(usize, &'a OutputCheck),
}

impl<'a> Subject<'a> {
    /// All of them, in the order in which they are looked at.
    fn all(scenario: &'a Scenario) -> impl Iterator<Item = Self> {
        let commands = scenario.expect.command.iter().enumerate().map(|(index, check)| Self::Command(index, check));
        commands.chain(scenario.expect.output.iter().enumerate().map(|(index, check)| Self::Output(index, check)))
    }

    fn is_of_running(self) -> bool {
        match self {
            Self::Command(_, check) => check.is_of_running(),
            Self::Output(_, check) => check.is_of_running(),
        }
    }

    /// How long it is waited for; `None` where it is looked at once.
    fn within(self) -> Option<Duration> {
        let within = match self {
            Self::Command(_, check) => check.within.as_ref(),
            Self::Output(_, check) => check.within.as_ref(),
        };
        within.map(|within| within.value)
    }

    fn holds(self, scenario: &Scenario, output: &Output, given: Option<&Given>) -> bool {
        match self {
            Self::Command(_, check) => command_holds(scenario, check, output, given),
            Self::Output(_, check) => output_holds(scenario, check, output, given),
        }
    }

    fn record(self, output: Output, evidence: &mut Evidence) {
        match self {
            Self::Command(index, _) => evidence.commands.insert(index, output),
            Self::Output(index, _) => evidence.outputs.insert(index, output),
        };
    }
}

impl Setup<'_> {
    /// Looks at what is to be looked at while the application runs, again and again where it may take its time.
    /// Without a plan it is not known which flows were sent: what compares them has all its time.
    pub(super) fn examine_running(&mut self, plan: Option<&Plan>, evidence: &mut Evidence) -> Result<()> {
        let scenario = self.scenario;
        let mut pending: Vec<_> = Subject::all(scenario).filter(|subject| subject.is_of_running()).collect();
        if pending.is_empty() {
            return Ok(());
        }
        self.control.phase("expect");
        let given = plan.map(|plan| Given::read(scenario, plan, None)).transpose()?.flatten();
        let begun = Instant::now();
        let mut looks = 0;
        while !pending.is_empty() && !self.control.is_interrupted() {
            let round = Instant::now();
            let ended = self.receiver.has_ended()?;
            let timed_out = self.control.is_over();
            looks += 1;
            let mut open = Vec::new();
            for subject in pending {
                let waited = begun.elapsed();
                let mut output = self.look(subject, !ended)?;
                let is_over = |within| waited >= within || ended || timed_out;
                match subject.within() {
                    Some(within) if !is_over(within) && !subject.holds(scenario, &output, given.as_ref()) => {
                        open.push(subject)
                    }
                    within => {
                        output.waited = within.map(|within| Waited {
                            time: waited,
                            looks,
                            until: match (waited >= within, ended) {
                                (true, _) => WaitEnd::Within,
                                (false, true) => WaitEnd::ApplicationEnded,
                                (false, false) => WaitEnd::Timeout,
                            },
                        });
                        subject.record(output, evidence);
                    }
                }
            }
            pending = open;
            let earliest = pending.iter().filter_map(|subject| subject.within()).min().unwrap_or_default();
            let next = Instant::now()
                + (round.elapsed() * PAUSE_FACTOR).max(LOOK).min(earliest.saturating_sub(begun.elapsed()));
            while Instant::now() < next && !self.control.is_over() && !self.receiver.has_ended()? {
                std::thread::sleep(LOOK.min(next.saturating_duration_since(Instant::now())));
            }
        }
        Ok(())
    }

    /// Runs all other commands, after the application has stopped: while the processes beside it still run.
    pub(super) fn run_commands(&mut self, evidence: &mut Evidence) -> Result<()> {
        self.examine_stopped(|subject| matches!(subject, Subject::Command(..)), evidence)
    }

    /// Looks at all other output, after everything has stopped.
    pub(super) fn examine_outputs(&mut self, evidence: &mut Evidence) -> Result<()> {
        self.examine_stopped(|subject| matches!(subject, Subject::Output(..)), evidence)
    }

    fn examine_stopped(&mut self, is_due: impl Fn(Subject<'_>) -> bool, evidence: &mut Evidence) -> Result<()> {
        let of_stopped = Subject::all(self.scenario).filter(|subject| !subject.is_of_running());
        for subject in of_stopped.filter(|subject| is_due(*subject)) {
            if self.control.is_interrupted() {
                break;
            }
            let output = self.look(subject, false)?;
            subject.record(output, evidence);
        }
        Ok(())
    }

    /// Looks once. `runs`: whether the application is to be there.
    fn look(&mut self, subject: Subject<'_>, runs: bool) -> Result<Output> {
        // Each command has its time.
        if !runs || self.control.is_over() {
            self.control.phase(if subject.is_of_running() { "expect" } else { "judge" });
        }
        let Self { scenario, testbed, receiver, control, .. } = self;
        let Some(site) = receiver.site(scenario, testbed) else {
            return Ok(Output::failed("there is no application"));
        };
        match subject {
            Subject::Command(_, check) => {
                let process = receiver.application();
                let setting =
                    process.map_or_else(|| Rc::new(site.plain_setting()), |process| Rc::clone(&process.setting));
                let inside = process.and_then(|process| process.running.inside());
                let around = inside.map_or(site.around(), if runs { Around::Beside } else { Around::In });
                run(check, site, &setting, around, control)
            }
            Subject::Output(_, check) => {
                Ok(match output_files::examine(check, site, receiver.named(check.process.as_ref()))? {
                    Ok(stdout) => Output { stdout, ..Output::default() },
                    Err(why) => Output::failed(why),
                })
            }
        }
    }
}

fn run(
    check: &CommandCheck,
    site: Site<'_>,
    setting: &Setting,
    around: Around<'_>,
    control: &Control<'_>,
) -> Result<Output> {
    let left = control.left();
    let limit = match check.within {
        Some(_) => Limit { time: LEAST, whose: "the most for one run of a command that is repeated" },
        None if left > LEAST => Limit { time: left, whose: "which was left of the run's `timeout`" },
        None => Limit { time: LEAST, whose: "the least that a command has" },
    };
    let output = application::Output::beside(site.folder, "check");
    let ran = match command::run(site, &check.run, setting, around, &output, &limit, control)? {
        Ok(ran) => ran,
        Err(why) => return Ok(Output::failed(why)),
    };
    let [cut_stdout, cut_stderr] = ran.discarded;
    let most = site.scenario.receiver.program.limits.output.value;
    let stdout = examine_whole(&check.stdout, &output.stdout, cut_stdout, most);
    match (stdout, examine_whole(&check.stderr, &output.stderr, cut_stderr, most)) {
        (Ok(stdout), Ok(stderr)) => Ok(Output { stdout, stderr, status: ran.status, ..Output::default() }),
        (Err(why), _) | (_, Err(why)) => Ok(Output::failed(why)),
    }
}
