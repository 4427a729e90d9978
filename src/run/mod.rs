//! A run: testbed up, preconditions, receiver ready, send while observing, settle, stop, judge.
//!
//! [`run_scenario`] is all of it, in the process of one scenario; `Run` is the part between the plan and the evidence. [`batch`] starts such
//! processes and collects their outcomes. May use every room below.

mod application;
mod arrival_writer;
pub mod batch;
pub mod board;
mod command;
mod control;
mod evidence_plan;
mod find;
mod foreground;
mod observe;
mod options;
mod outcome;
mod output;
mod output_files;
mod over_time;
mod preconditions;
mod ready;
mod receiver;
mod replay;
mod replies;
mod secrets;
mod setting;
mod settle;
mod show_output;
mod sniffers;
mod sockets;
mod stack;
mod steps;
mod timing;
pub mod turns;
mod work_watch;
pub mod worker;

pub use options::Options;

use crate::diagnostic::Result;
use crate::evidence::Evidence;
use crate::host::facts::Facts;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::scenario::pacing::Rate;
use crate::testbed::Testbed;
use crate::wire::clock::WallClock;
use crate::wire::sender::Sender;
use arrival_writer::ArrivalWriter;
use control::Control;
use evidence_plan::EvidencePlan;
use observe::Observer;
use preconditions::Preconditions;
use receiver::Receiver;
use replay::{Extent, Replay};
use steps::Steps;
use timing::Arrivals;

/// A run whose receiver is ready: everything is there to send.
struct Run<'a> {
    scenario: &'a Scenario,
    options: &'a Options,
    /// Its `rounds` become those that were sent.
    plan: &'a mut Plan,
    testbed: Testbed,
    preconditions: Preconditions,
    receiver: Receiver,
    control: Control<'a>,
    /// As they were when restage was started.
    facts: &'a Facts,
}

impl<'a> Run<'a> {
    /// Brings the testbed up, checks the preconditions and starts the receiver.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] when a precondition does not hold or the application is not ready: nothing was sent then.
    fn prepare(
        scenario: &'a Scenario,
        options: &'a Options,
        plan: &'a mut Plan,
        mut control: Control<'a>,
        facts: &'a Facts,
    ) -> Result<Self> {
        control.phase("lab");
        let testbed = Testbed::prepare(scenario, plan)?;
        if let Some(side) = testbed.observed() {
            side.enter_thread()?;
        }
        control.phase("preconditions");
        let mut preconditions = Preconditions::before_application(scenario, plan, &testbed, facts)?;
        control.phase("application");
        let receiver = Receiver::start(scenario, options, plan, &testbed, &mut control)?;
        preconditions.before_frames(scenario, &testbed)?;
        Ok(Self { scenario, options, plan, testbed, preconditions, receiver, control, facts })
    }

    /// Sends, waits until nothing moves any more, stops the receiver, and returns what was seen.
    fn carry_out(mut self) -> Result<Evidence> {
        let mut evidence = match self.scenario.pacing.rate.value {
            Rate::MaxLossless => self.search()?,
            rate => self.replay(rate, &Extent::default(), &|| {})?,
        };
        evidence.incidents.extend(self.preconditions.drift(self.scenario, &self.testbed, self.facts));
        self.examine_running(&mut evidence)?;
        let scenario = self.scenario;
        self.control.phase("stop");
        self.receiver.stop_application(scenario, &self.testbed, &self.control, &mut evidence)?;
        evidence.incidents.extend(self.preconditions.drift_of_firewall(scenario, self.plan, &self.testbed));
        self.control.phase("judge");
        self.run_commands(&mut evidence)?;
        self.control.phase("stop");
        self.receiver.stop_processes(scenario, &self.testbed, &self.control, &mut evidence)?;
        if self.options.show_output {
            self.receiver.show_output(scenario, &self.testbed, &mut self.control);
        }
        self.control.phase("judge");
        self.examine_outputs(&mut evidence)?;
        Ok(evidence)
    }

    /// Sends everything at `rate`, as often as `extent` says, and waits until nothing moves any more. `sent` is called after the last send.
    fn replay(&mut self, rate: Rate, extent: &Extent, sent: &dyn Fn()) -> Result<Evidence> {
        let scenario = self.scenario;
        // A sender that doesn't work here is found before anything is sent.
        let mut opened = self.testbed.open_sender(scenario, self.plan, rate)?;
        if matches!(opened.sender, Sender::Xdp(_)) && rate == Rate::TopSpeed && self.receiver.is_built_in() {
            opened.why.push_str(self.testbed.receive_elsewhere(scenario, self.plan)?);
        }
        let writer = match &scenario.receiver.save_capture {
            Some(path) => Some(ArrivalWriter::create(&self.options.report_folder.join(&path.value))?),
            None => None,
        };
        let clock = WallClock::start();
        let level =
            EvidencePlan::choose(scenario, self.plan, scenario.pacing.rate.value, self.options.evidence, self.facts);
        let arrivals = Arrivals::new(clock, rate != Rate::TopSpeed);
        let mut observer =
            Observer::start(&self.testbed, scenario, self.plan, arrivals, writer, level, &self.receiver.pids())?;
        self.control.phase("replay");
        let replay = Replay::new(scenario, self.plan, rate, opened, &observer);
        let mut steps = Steps::new(scenario, self.plan, &self.testbed, &mut observer);
        let (sending, times) = replay.run(extent, &mut self.receiver, &mut self.control, &mut steps)?;
        let (steps, notes) = steps.taken();
        sent();
        self.plan.rounds *= times;
        self.control.phase("settle");
        let settled = self.settle(sending, &mut observer)?;
        let mut evidence = Evidence { steps, ..observer.evidence(settled)? };
        evidence.notes.extend(notes);
        evidence.notes.extend(clock.stepped());
        Ok(evidence)
    }
}
