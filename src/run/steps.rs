//! The steps of a replay: what happens between its parts. Before a step that sends nothing, all that was sent is read, or nothing moves any more.
//! Start at [`Steps::take`].

use std::time::{Duration, Instant};

use super::application::Output;
use super::command::{self, Limit};
use super::control::Control;
use super::observe::Observer;
use super::receiver::Receiver;
use super::replay::Next;
use super::settle::{self, Until};
use crate::diagnostic::{At, Diagnostic, Result};
use crate::evidence::{Sending, StepTaken};
use crate::expect::wrong_end;
use crate::figures::{count, duration};
use crate::plan::Plan;
use crate::process::application::Around;
use crate::scenario::Scenario;
use crate::scenario::step::{Action, Signal, Step};
use crate::testbed::Testbed;

/// How often it is looked whether the run is over while nothing happens.
const LOOK: Duration = Duration::from_millis(50);

/// The steps of a replay, and how far they were taken.
pub(super) struct Steps<'a> {
    scenario: &'a Scenario,
    plan: &'a Plan,
    testbed: &'a Testbed,
    observer: &'a mut Observer,
    /// The next one.
    next: usize,
    part: Option<Part>,
    taken: Vec<StepTaken>,
    notes: Vec<Diagnostic>,
}

/// The part of the replay that is being sent.
struct Part {
    index: usize,
    begun: Instant,
    sent_before: u64,
    tried_before: u64,
    /// The last frame that was sent.
    last_frame: u64,
}

impl<'a> Steps<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        plan: &'a Plan,
        testbed: &'a Testbed,
        observer: &'a mut Observer,
    ) -> Self {
        Self { scenario, plan, testbed, observer, next: 0, part: None, taken: Vec::new(), notes: Vec::new() }
    }

    /// Those that were taken, and what is worth knowing of them.
    pub(super) fn taken(self) -> (Vec<StepTaken>, Vec<Diagnostic>) {
        (self.taken, self.notes)
    }

    /// Whether this frame, the next one that is sent, begins another part; it is remembered otherwise.
    pub(super) fn begin_part(&mut self, frame: u64) -> bool {
        if self.scenario.steps.is_empty() {
            return false;
        }
        match &mut self.part {
            Some(part) if self.scenario.step_of(frame) == Some(part.index) => {
                part.last_frame = frame;
                false
            }
            _ => true,
        }
    }

    /// Takes the steps before the part that begins with this frame. Everything before it was sent.
    pub(super) fn take(
        &mut self,
        frame: u64,
        sending: &Sending,
        receiver: &mut Receiver,
        control: &mut Control<'_>,
    ) -> Result<Next> {
        let Some(index) = self.scenario.step_of(frame) else { return Ok(Next::GoOn) };
        if self.take_until(index, sending, receiver, control)? == Next::Stop {
            return Ok(Next::Stop);
        }
        self.next = index + 1;
        let (sent_before, tried_before) = (sending.sent, sending.tried);
        self.part = Some(Part { index, begun: Instant::now(), sent_before, tried_before, last_frame: frame });
        Ok(Next::GoOn)
    }

    /// Takes those that are left, when sending has ended.
    pub(super) fn take_last(
        &mut self,
        sending: &Sending,
        receiver: &mut Receiver,
        control: &mut Control<'_>,
    ) -> Result<()> {
        // A part that was not sent to its end is followed by no step.
        self.take_until(self.scenario.steps.len(), sending, receiver, control).map(drop)
    }

    fn take_until(
        &mut self,
        end: usize,
        sending: &Sending,
        receiver: &mut Receiver,
        control: &mut Control<'_>,
    ) -> Result<Next> {
        let last_frame = self.end_part(sending);
        let mut settled = last_frame.is_none();
        for index in self.next..end {
            if self.taken.iter().any(|taken| taken.failure.is_some()) {
                return Ok(Next::Stop);
            }
            let Some(step) = self.scenario.steps.get(index).filter(|step| !matches!(step.action, Action::Frames(_)))
            else {
                continue;
            };
            if let (false, Some(frame)) = (settled, last_frame) {
                self.settle(index, frame, sending, receiver, control)?;
                settled = true;
            }
            control.phase("step");
            let begun = Instant::now();
            let mut taken = StepTaken { index, ..StepTaken::default() };
            let failure = self.act(index, step, &mut taken, receiver, control)?;
            taken.seconds = begun.elapsed().as_secs_f64();
            taken.failure =
                failure.map(|problem| named(index, problem).at(&self.scenario.source, Some(step.span.clone())));
            let failed = taken.failure.is_some();
            self.taken.push(taken);
            self.next = index + 1;
            if failed {
                return Ok(Next::Stop);
            }
        }
        control.phase("replay");
        Ok(Next::GoOn)
    }

    /// Ends the part that was sent, and says which its last frame was.
    fn end_part(&mut self, sending: &Sending) -> Option<u64> {
        let part = self.part.take()?;
        self.taken.push(StepTaken {
            index: part.index,
            seconds: part.begun.elapsed().as_secs_f64(),
            sent: Some(sending.sent - part.sent_before),
            is_cut: self.plan.steps.get(part.index).is_some_and(|step| sending.tried - part.tried_before < step.frames),
            ..StepTaken::default()
        });
        Some(part.last_frame)
    }

    /// Waits until what was sent is read.
    fn settle(
        &mut self,
        index: usize,
        last_frame: u64,
        sending: &Sending,
        receiver: &mut Receiver,
        control: &mut Control<'_>,
    ) -> Result<()> {
        control.phase("settle");
        let until = Until::PartWith(last_frame);
        let waited = settle::wait(until, self.scenario, self.plan, sending, receiver, control, self.observer)?;
        if waited.unread_bytes > 0 {
            let what = format!(
                "step {} began while {} were unread in the sockets of the application",
                index + 1,
                count(waited.unread_bytes, "byte")
            );
            let span = self.scenario.steps.get(index).map(|step| step.span.clone());
            self.notes.push(
                Diagnostic::note(what)
                    .at(&self.scenario.source, span)
                    .why(format!("they had not moved for {}", duration(waited.still)))
                    .fix("if the application only pauses for so long, raise `[receiver] settle`"),
            );
        }
        Ok(())
    }

    /// Does what a step says; why it failed.
    fn act(
        &mut self,
        index: usize,
        step: &Step,
        taken: &mut StepTaken,
        receiver: &mut Receiver,
        control: &mut Control<'_>,
    ) -> Result<Option<Diagnostic>> {
        if control.is_over() {
            return Ok(Some(too_late(self.plan)));
        }
        let process = step.process.as_ref();
        match &step.action {
            Action::Frames(_) => Ok(None),
            Action::Wait(time) => {
                let end = Instant::now() + *time;
                while Instant::now() < end {
                    if control.is_over() {
                        return Ok(Some(too_late(self.plan)));
                    }
                    std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
                }
                Ok(None)
            }
            Action::Run(command) => self.run(index, command, process, receiver, control),
            Action::Signal(signal) => self.signal(*signal, process, receiver),
            Action::Restart => self.restart(process, taken, receiver, control),
        }
    }

    fn run(
        &self,
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
        &self,
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
        &mut self,
        process: Option<&At<String>>,
        taken: &mut StepTaken,
        receiver: &mut Receiver,
        control: &mut Control<'_>,
    ) -> Result<Option<Diagnostic>> {
        let Some(pids) = receiver.named(process).map(|running| running.running.pids()) else { return Ok(None) };
        self.observer.before_stop(&pids)?;
        let end = receiver.stop_named(process, self.scenario, self.testbed, control)?;
        taken.ended = Some(end.report.ended.clone());
        let words = self.scenario.receiver.named(process).unwrap_or(&self.scenario.receiver.program);
        let failure = match wrong_end(self.scenario, words, &end) {
            Some(problem) => Some(problem),
            None => receiver.start_again(process, self.scenario, self.testbed, control)?.err(),
        };
        if failure.is_none() {
            self.observer.started_again(&receiver.pids())?;
        }
        Ok(failure)
    }
}

/// The problem, with the number of its step.
fn named(index: usize, problem: Diagnostic) -> Diagnostic {
    Diagnostic { what: format!("step {} failed: {}", index + 1, problem.what), ..problem }
}

fn too_late(plan: &Plan) -> Diagnostic {
    Diagnostic::error("the run was over before it was done")
        .why(format!("the limit of the whole run is {}", duration(plan.timeout)))
        .fix("raise `timeout`")
}
