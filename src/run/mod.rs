//! A run: testbed up, preconditions, receiver ready, send while observing, settle, stop, judge.
//!
//! [`run_scenario`] is all of it, in the process of one scenario; `Run` is the part between the plan and the evidence. [`batch`] starts such
//! processes and collects their outcomes. May use every room below.

mod ahead;
mod application;
mod arrival_writer;
pub mod batch;
pub mod board;
mod command;
mod control;
mod evidence_plan;
mod extent;
mod find;
mod foreground;
mod frame_batch;
mod observe;
mod options;
mod outcome;
mod output;
mod output_files;
mod over_time;
mod preconditions;
mod ready;
mod receiver;
pub mod remote;
mod replay;
mod replies;
mod ring_watch;
mod secrets;
pub mod sent_file;
mod setting;
mod settle;
mod setup;
mod shared;
mod show_output;
mod sniffers;
mod sockets;
mod stack;
mod step_action;
mod steps;
mod timing;
mod tracing;
pub mod turns;
pub mod watching;
mod work_watch;
pub mod worker;

pub use options::Options;

use crate::diagnostic::Result;
use crate::evidence::Evidence;
use crate::host::facts::Facts;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::scenario::pacing::Rate;
use crate::testbed::{RingSizes, Testbed};
use crate::wire::clock::WallClock;
use control::Control;
use extent::Extent;
use preconditions::Probing;
use remote::{Agents, Senders};
use replay::Replay;
use setup::Setup;
use stack::lock;
use steps::Steps;
use timing::Arrivals;

/// A run whose receiver is ready: everything is there to send.
struct Run<'a> {
    /// Its `rounds` become those that were sent.
    plan: &'a mut Plan,
    setup: Setup<'a>,
    /// The machines that send; `None` where this one does.
    senders: Option<Senders>,
}

impl<'a> Run<'a> {
    /// Brings the testbed up, and the receiver in it.
    ///
    /// # Errors
    /// As [`Setup::make`].
    fn prepare(
        scenario: &'a Scenario,
        options: &'a Options,
        plan: &'a mut Plan,
        agents: Agents,
        mut control: Control<'a>,
        facts: &'a Facts,
    ) -> Result<Self> {
        let Agents { receiver, senders } = agents;
        control.phase("lab");
        let brief = plan.brief();
        let rings = RingSizes { sender: replies::ring_size(&brief), receiver: observe::ring_size(&brief) };
        let testbed = Testbed::prepare(scenario, plan, Some(rings))?;
        let setup = match receiver {
            Some(agent) => Setup::elsewhere(scenario, options, plan, testbed, agent, control, facts)?,
            None => {
                let probing = Probing::of(scenario, plan, &testbed)?;
                Setup::make(scenario, options, &plan.brief(), probing, testbed, control, facts)?
            }
        };
        Ok(Self { plan, setup, senders })
    }

    /// Sends, waits until nothing moves any more, stops the receiver, and returns what was seen.
    fn carry_out(mut self) -> Result<Evidence> {
        let mut evidence = match self.setup.scenario.pacing.rate.value {
            _ if self.senders.is_some() => self.replay_elsewhere()?,
            Rate::MaxLossless => self.search()?,
            rate => self.replay(rate, &Extent::default(), &|| {})?,
        };
        self.setup.close(Some(self.plan), &mut evidence)?;
        Ok(evidence)
    }

    /// Sends everything at `rate`, as often as `extent` says, and waits until nothing moves any more. `sent` is called after the last send.
    fn replay(&mut self, rate: Rate, extent: &Extent, sent: &dyn Fn()) -> Result<Evidence> {
        let Self { plan, setup, .. } = self;
        let scenario = setup.scenario;
        setup.control.phase("observe");
        // A sender that doesn't work here is found before anything is sent.
        let mut opened = setup.testbed.open_sender(scenario, plan, rate)?;
        if rate == Rate::TopSpeed && setup.receiver.is_built_in() {
            setup.testbed.receive_elsewhere(&mut opened)?;
        }
        let clock = WallClock::start();
        let arrivals = Arrivals::new(clock, rate != Rate::TopSpeed);
        let mut observer = setup.observe(&plan.brief(), arrivals)?;
        setup.control.phase("replay");
        let replay = Replay::new(scenario, plan, rate, opened, &observer);
        let mut steps = Steps::new(scenario, plan, &setup.testbed, &mut observer);
        let (sending, times) = replay.run(extent, &mut setup.receiver, &mut setup.control, &mut steps)?;
        let (steps, notes) = steps.taken();
        sent();
        if let (Some(path), Some(frames)) = (&setup.options.sent, &observer.shared.sent_frames) {
            sent_file::write(path, scenario, plan, &sending, std::mem::take(&mut lock(frames)))?;
        }
        plan.rounds *= times;
        setup.control.phase("settle");
        let settled = self.settle(sending, &mut observer)?;
        let mut evidence = Evidence { steps, ..observer.evidence(settled)? };
        evidence.notes.extend(notes);
        evidence.notes.extend(clock.stepped());
        Ok(evidence)
    }

    /// Has the machines that send do so, and waits until nothing moves any more.
    fn replay_elsewhere(&mut self) -> Result<Evidence> {
        let Self { plan, setup, senders } = self;
        setup.control.phase("observe");
        let mut observer = setup.observe(&plan.brief(), Arrivals::new(WallClock::start(), false))?;
        let all = senders.as_ref().zip(setup.receiver.agent().cloned());
        let (senders, receiver) = all.expect("a scenario has machines that send only where its receiver has an agent");
        let (sending, reports) =
            senders.send(setup.scenario, setup.options, plan.frames(), &receiver, &observer, &mut setup.control)?;
        setup.control.phase("settle");
        let settled = self.settle(sending, &mut observer)?;
        Ok(Evidence { senders: reports, ..observer.evidence(settled)? })
    }
}
