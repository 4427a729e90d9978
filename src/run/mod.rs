//! The run: lab up, preconditions, application ready, send while observing, settle, stop, and what was seen.
//!
//! Nothing is judged here: the way ends in [`Evidence`]. May use `lab`, `wire` and `plan`. Start at [`execute`].

mod arrival_writer;
mod evidence_plan;
mod find;
mod foreground;
mod observe;
mod output;
mod preconditions;
mod receiver;
mod replay;
mod settle;
mod site;
mod sockets;
mod stack;
mod timing;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::diagnostic::Result;
use crate::evidence::Evidence;
use crate::host::capabilities::Capabilities;
use crate::outcome::{Event, EvidenceLevel};
use crate::plan::Plan;
use crate::process::parent::ParentWatch;
use crate::scenario::Scenario;
use crate::scenario::pacing::Rate;
use crate::wire::clock::WallClock;
use crate::wire::sender::Sender;
use arrival_writer::ArrivalWriter;
use evidence_plan::EvidencePlan;
use observe::Observer;
use preconditions::Preconditions;
use receiver::Receiver;
use replay::{Extent, Replay};
use site::Site;

pub use site::{enter, foreign_macs, listed_ruleset, named_target, target_facts};

/// Who is told what happens, and who can end it.
pub struct Session<'a> {
    /// Takes events.
    pub tell: &'a mut dyn FnMut(Event),
    /// Tells when the process that started this one is gone.
    pub parent: &'a ParentWatch,
    /// What restage was allowed to do when it was started.
    pub capabilities: Capabilities,
    /// When the run is judged as it stands.
    pub limit: Instant,
    /// Where what is kept goes.
    pub report_folder: &'a Path,
    /// How level the receiver's stack is to be looked at; `None`: as the rate allows.
    pub level: Option<EvidenceLevel>,
}

impl Session<'_> {
    fn phase(&mut self, name: &str) {
        (self.tell)(Event::Phase { name: name.to_owned() });
    }

    /// Whether to send and wait no more.
    fn is_over(&self) -> bool {
        self.parent.parent_is_gone() || Instant::now() >= self.limit
    }

    /// What is left of the run's time.
    fn left(&self) -> Duration {
        self.limit.saturating_duration_since(Instant::now())
    }
}

/// Executes a plan. `rate = "max-lossless"` changes how often the plan's frames are sent: its rounds are then those of the trial that the evidence is
/// of.
///
/// # Errors
/// [`crate::diagnostic::Kind::Blocked`] when a precondition does not hold or the application does not come up: nothing was
/// sent then. [`crate::diagnostic::Kind::Error`] when the system fails on the way.
pub fn execute(scenario: &Scenario, plan: &mut Plan, session: &mut Session<'_>) -> Result<Evidence> {
    session.phase("lab");
    let site = Site::up(scenario, plan)?;
    site.enter_receiver()?;
    session.phase("preconditions");
    let mut preconditions = Preconditions::before_application(scenario, plan, &site, session.capabilities)?;
    session.phase("application");
    let mut receiver = Receiver::start(scenario, plan, &site, session)?;
    preconditions.before_frames(scenario, &site)?;
    let mut evidence = match scenario.pacing.rate.value {
        Rate::MaxLossless => find::search(scenario, plan, &site, &mut receiver, session)?,
        rate => replay_for(scenario, plan, rate, &Extent::default(), &|| {}, &site, &mut receiver, session)?,
    };
    evidence.incidents.extend(preconditions.drift(scenario, &site, session.capabilities));
    session.phase("stop");
    receiver.stop(scenario, session, &mut evidence)?;
    evidence.incidents.extend(preconditions.drift_of_firewall(scenario, plan, &site));
    session.phase("judge");
    output::collect(scenario, &site, &receiver, session, &mut evidence)?;
    receiver.remove();
    Ok(evidence)
}

/// Sends everything at `rate`, as often as `extent` says, and waits until nothing moves any more. The plan's rounds become those that were
/// sent. `sent` is called after the last send.
#[expect(clippy::too_many_arguments, reason = "the parts of one run")]
fn replay_for(
    scenario: &Scenario,
    plan: &mut Plan,
    rate: Rate,
    extent: &Extent,
    sent: &dyn Fn(),
    site: &Site,
    receiver: &mut Receiver,
    session: &mut Session<'_>,
) -> Result<Evidence> {
    // A sender that doesn't work here is found before anything is sent.
    let mut opened = site.open_sender(scenario, plan, rate)?;
    if matches!(opened.sender, Sender::Xdp(_)) && rate == Rate::TopSpeed && receiver.is_built_in() {
        opened.why.push_str(site.receive_elsewhere(scenario, plan)?);
    }
    let keeper = match &scenario.receiver.save_capture {
        Some(path) => Some(ArrivalWriter::create(&session.report_folder.join(&path.value))?),
        None => None,
    };
    let clock = WallClock::start();
    let level = EvidencePlan::choose(scenario, plan, scenario.pacing.rate.value, session.level, session.capabilities);
    let mut observer = Observer::start(site, plan, rate, keeper, level, clock, &receiver.pids())?;
    session.phase("replay");
    let (sending, times) = Replay::new(scenario, plan, rate, site, opened, &observer).run(extent, receiver, session)?;
    sent();
    plan.rounds *= times;
    session.phase("settle");
    let settled = settle::settle(scenario, plan, sending, receiver, &mut observer, session)?;
    let mut evidence = observer.evidence(settled)?;
    evidence.notes.extend(clock.stepped());
    Ok(evidence)
}
