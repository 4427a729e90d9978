//! What a run is made of before anything is sent, and what is left to do after it. Start at [`Setup`].

use std::path::PathBuf;

use super::Options;
use super::arrival_writer::ArrivalWriter;
use super::control::Control;
use super::evidence_plan::EvidencePlan;
use super::observe::{Observer, Taking};
use super::preconditions::{Preconditions, Probing};
use super::receiver::Receiver;
use super::remote::{Agent, Horizon, Near};
use super::replies::ReplyPlace;
use super::shared::Shared;
use super::timing::Arrivals;
use crate::diagnostic::Result;
use crate::evidence::Evidence;
use crate::host::facts::Facts;
use crate::ledger::identity::Digester;
use crate::plan::{Brief, Plan};
use crate::scenario::Scenario;
use crate::testbed::Testbed;
use crate::wire::clock::WallClock;

/// A testbed that is up, and a receiver in it that is ready.
pub(super) struct Setup<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) options: &'a Options,
    pub(super) testbed: Testbed,
    preconditions: Preconditions,
    probing: Probing<'a>,
    pub(super) receiver: Receiver,
    pub(super) control: Control<'a>,
    /// As they were when restage was started.
    facts: &'a Facts,
}

impl<'a> Setup<'a> {
    /// Checks the preconditions and starts the receiver.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] when a precondition does not hold or the application is not ready: nothing was sent then.
    pub(super) fn make(
        scenario: &'a Scenario,
        options: &'a Options,
        brief: &Brief,
        probing: Probing<'a>,
        testbed: Testbed,
        mut control: Control<'a>,
        facts: &'a Facts,
    ) -> Result<Self> {
        if let Some(side) = testbed.observed() {
            side.enter_thread()?;
        }
        control.phase("preconditions");
        let mut preconditions = Preconditions::before_application(scenario, &probing, &testbed, facts)?;
        control.phase("application");
        let receiver = Receiver::start(scenario, options, brief, &testbed, &mut control)?;
        preconditions.before_frames(scenario, &testbed)?;
        Ok(Self { scenario, options, testbed, preconditions, probing, receiver, control, facts })
    }

    /// Has an agent do both on another machine.
    ///
    /// # Errors
    /// As [`Self::make`].
    pub(super) fn elsewhere(
        scenario: &'a Scenario,
        options: &'a Options,
        plan: &Plan,
        testbed: Testbed,
        agent: Agent,
        mut control: Control<'a>,
        facts: &'a Facts,
    ) -> Result<Self> {
        let interface = plan.host.as_ref().map_or("", |host| &host.interface.name);
        let probing = Probing::of(scenario, plan, &testbed)?;
        let near = Near { probing: &probing, testbed: &testbed };
        agent.prepare(scenario, options, &plan.brief(), interface, near, &mut control)?;
        let (preconditions, receiver) = (Preconditions::default(), Receiver::elsewhere(agent));
        Ok(Self { scenario, options, testbed, preconditions, probing, receiver, control, facts })
    }

    /// Begins to observe the receiver's side; everything that is sent after this is seen.
    pub(super) fn observe(&self, brief: &Brief, arrivals: Arrivals) -> Result<Observer> {
        if let Some(agent) = self.receiver.agent() {
            return Observer::elsewhere(agent.clone());
        }
        let shared = if self.options.sent.is_some() { Shared::recording() } else { Shared::default() };
        self.observe_here(shared, brief, Some(ReplyPlace::Sender), arrivals)
    }

    /// The same for frames that are sent and announced by another machine.
    pub(super) fn observe_for(&self, brief: &Brief, digester: Digester, horizon: Horizon) -> Result<Observer> {
        let shared = Shared { digester, horizon, ..Shared::default() };
        // Deadlines are of the other machine's clock.
        let replies = self.scenario.expect.replies.as_ref().map(|_| ReplyPlace::Receiver);
        self.observe_here(shared, brief, replies, Arrivals::new(WallClock::start(), false))
    }

    /// Where what arrived is kept, if it is.
    fn saved(&self) -> Option<PathBuf> {
        let path = self.scenario.receiver.save_capture.as_ref()?;
        Some(self.options.report_folder.join(&path.value))
    }

    fn observe_here(
        &self,
        shared: Shared,
        brief: &Brief,
        replies: Option<ReplyPlace>,
        arrivals: Arrivals,
    ) -> Result<Observer> {
        let Self { scenario, options, testbed, .. } = self;
        let keeper = self.saved().map(|path| ArrivalWriter::create(&path)).transpose()?;
        let level = EvidencePlan::choose(scenario, brief, scenario.pacing.rate.value, options.evidence, self.facts);
        let replies = replies.map(|place| (place, *scenario));
        Observer::start(
            shared,
            testbed,
            brief,
            replies,
            Taking { arrivals, keeper, taker: None },
            level,
            &self.receiver.pids(),
        )
    }

    /// Looks at what the receiver made of the frames, stops it, and checks the preconditions again.
    pub(super) fn close(&mut self, plan: Option<&Plan>, evidence: &mut Evidence) -> Result<()> {
        let scenario = self.scenario;
        if let Some(agent) = self.receiver.agent() {
            let near = Near { probing: &self.probing, testbed: &self.testbed };
            let saved = self.saved();
            return agent.clone().close(evidence, near, saved.as_deref(), &mut self.control);
        }
        evidence.incidents.extend(self.preconditions.drift(scenario, &self.testbed, self.facts));
        self.examine_running(plan, evidence)?;
        self.control.phase("stop");
        self.receiver.stop_application(scenario, &self.testbed, &self.control, evidence)?;
        evidence.incidents.extend(self.preconditions.drift_of_firewall(scenario, &self.probing, &self.testbed));
        self.control.phase("judge");
        self.run_commands(evidence)?;
        self.control.phase("stop");
        self.receiver.stop_processes(scenario, &self.testbed, &self.control, evidence)?;
        if self.options.show_output {
            self.receiver.show_output(scenario, &self.testbed, &mut self.control);
        }
        self.control.phase("judge");
        self.examine_outputs(evidence)
    }
}
