//! What a step of a replay does that sends nothing. Start at [`Scene::act`].

use std::time::{Duration, Instant};

use super::application::Output;
use super::command::{self, Limit};
use super::control::Control;
use super::observe::Observer;
use super::receiver::Receiver;
use crate::diagnostic::{At, Diagnostic, Result};
use crate::evidence::StepTaken;
use crate::expect::wrong_end;
use crate::figures::duration;
use crate::process::application::Around;
use crate::scenario::Scenario;
use crate::scenario::step::{Action, Signal, Step};
use crate::testbed::Testbed;

/// How often it is looked whether the run is over while nothing happens.
const LOOK: Duration = Duration::from_millis(50);

/// Where a step is taken.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) testbed: &'a Testbed,
    /// The limit of the whole run.
    pub(super) timeout: Duration,
}

impl Scene<'_> {
    /// Does what a step says; why it failed.
    pub(super) fn act(
        self,
        index: usize,
        step: &Step,
        taken: &mut StepTaken,
        observer: &mut Observer,
        receiver: &mut Receiver,
        control: &mut Control<'_>,
    ) -> Result<Option<Diagnostic>> {
        if control.is_over() {
            return Ok(Some(too_late(self.timeout)));
        }
        let process = step.process.as_ref();
        match &step.action {
            Action::Frames(_) => Ok(None),
            Action::Wait(time) => {
                let end = Instant::now() + *time;
                while Instant::now() < end {
                    if control.is_over() {
                        return Ok(Some(too_late(self.timeout)));
                    }
                    std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
                }
                Ok(None)
            }
            Action::Run(command) => self.run(index, command, process, receiver, control),
            Action::Signal(signal) => self.signal(*signal, process, receiver),
            Action::Restart => self.restart(process, taken, observer, receiver, control),
        }
    }

    fn run(
        self,
        index: usize,
        command: &At<Vec<String>>,
        process: Option<&At<String>>,
        receiver: &mut Receiver,
        control: &Control<'_>,
    ) -> Result<Option<Diagnostic>> {
        let program = command.value.first().map(String::as_str).unwrap_or_default();
        let Some(site) = receiver.site(self.scenario, self.testbed) else { return Ok(None) };
        let beside = receiver.named(process);
        let plain = site.plain_setting();
        let setting = beside.map_or(&plain, |process| process.setting.as_ref());
        let around = beside.and_then(|process| process.running.inside()).map_or(site.around(), Around::Beside);
        let output = Output::beside(site.folder, &format!("step-{}", index + 1));
        let limit = Limit { time: control.left(), whose: "which was left of the run's `timeout`" };
        let fix = "start it by hand beside the application; `restage run --keep-work` keeps what it printed";
        Ok(match command::run(site, command, setting, around, &output, &limit, control)? {
            Ok(ran) if ran.status == Some(0) => None,
            Ok(ran) => {
                let problem = Diagnostic::error(format!("`{program}` ended with {}", ran.ended));
                Some(problem.why(output.said()).fix(fix))
            }
            Err(why) => Some(Diagnostic::error(format!("`{program}` gave no result")).why(why).fix(fix)),
        })
    }

    fn signal(
        self,
        signal: Signal,
        process: Option<&At<String>>,
        receiver: &mut Receiver,
    ) -> Result<Option<Diagnostic>> {
        let Some(running) = receiver.named_mut(process) else { return Ok(None) };
        let who = running.words(self.scenario).who();
        if let Some(ended) = running.ended()?.cloned() {
            let problem = Diagnostic::error(format!("{who} had ended before it could get {signal}: {ended}"));
            return Ok(Some(problem.why(running.output.said())));
        }
        running.running.signal(signal.number())?;
        Ok(None)
    }

    fn restart(
        self,
        process: Option<&At<String>>,
        taken: &mut StepTaken,
        observer: &mut Observer,
        receiver: &mut Receiver,
        control: &mut Control<'_>,
    ) -> Result<Option<Diagnostic>> {
        let Some(pids) = receiver.named(process).map(|running| running.running.pids()) else { return Ok(None) };
        observer.before_stop(&pids)?;
        let end = receiver.stop_named(process, self.scenario, self.testbed, control)?;
        taken.ended = Some(end.report.ended.clone());
        let words = self.scenario.receiver.named(process).unwrap_or(&self.scenario.receiver.program);
        let failure = match wrong_end(self.scenario, words, &end) {
            Some(problem) => Some(problem),
            None => receiver.start_again(process, self.scenario, self.testbed, control)?.err(),
        };
        if failure.is_none() {
            observer.started_again(&receiver.pids())?;
        }
        Ok(failure)
    }
}

fn too_late(timeout: Duration) -> Diagnostic {
    Diagnostic::error("the run was over before it was done")
        .why(format!("the limit of the whole run is {}", duration(timeout)))
        .fix("raise `timeout`")
}
