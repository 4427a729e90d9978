//! The steps of a replay: what happens between its parts. Before a step that sends nothing, all that was sent is read, or nothing moves any more.
//! Start at [`Steps::take`].

use std::time::Instant;

use super::control::Control;
use super::observe::Observer;
use super::receiver::Receiver;
use super::replay::Next;
use super::settle::{self, Until};
use super::step_action::Scene;
use crate::diagnostic::{Diagnostic, Result};
use crate::evidence::{Sending, StepTaken};
use crate::figures::{count, duration};
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::scenario::step::Action;
use crate::testbed::Testbed;

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
            let scene = Scene { scenario: self.scenario, testbed: self.testbed, timeout: self.plan.timeout };
            let failure = match receiver.agent().filter(|_| !matches!(step.action, Action::Wait(_))).cloned() {
                Some(agent) => agent.step(index, &mut taken, control)?,
                None => scene.act(index, step, &mut taken, self.observer, receiver, control)?,
            };
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
}

/// The problem, with the number of its step.
fn named(index: usize, problem: Diagnostic) -> Diagnostic {
    Diagnostic { what: format!("step {} failed: {}", index + 1, problem.what), ..problem }
}
