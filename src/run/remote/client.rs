//! The run's end of the connection to the agent on the receiver's machine. Start at [`Agent::start`].

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use super::super::Options;
use super::super::control::Control;
use super::super::observe::{Glance, Moment, Settled};
use super::super::preconditions::Probing;
use super::super::stack::lock;
use super::connection::{Connection, Program};
use super::messages::{Answer, Prepare, Request};
use super::outstanding::Outstanding;
use super::relay::Relay;
use super::{given_files, saved};
use crate::diagnostic::{At, Diagnostic, Result};
use crate::evidence::{Evidence, StepTaken};
use crate::figures::count;
use crate::host::Host;
use crate::ledger::identity::{Digest, Digester, Key};
use crate::ledger::matching::Announced;
use crate::plan::Brief;
use crate::scenario::Scenario;
use crate::scenario::receiver::AgentPlace;
use crate::testbed::Testbed;

/// So many frames may be announced that it may still wait for: half of those that it can tell apart.
pub(super) const MOST_OUTSTANDING: u64 = 1 << 15;

/// The agent on the receiver's machine, as the run sees it. All clones are the same connection.
#[derive(Clone)]
pub(in crate::run) struct Agent(Arc<Inner>);

struct Inner {
    connection: Arc<Connection>,
    state: Arc<State>,
    follows: AtomicBool,
    /// Whether more was announced than the agent can tell apart, so that what arrived is not known.
    overrun: AtomicBool,
    last: Mutex<Glance>,
}

/// What the agent needs of this machine.
#[derive(Clone, Copy)]
pub(in crate::run) struct Near<'a> {
    /// The probes that it may want to be sent.
    pub(in crate::run) probing: &'a Probing<'a>,
    /// Where they are sent.
    pub(in crate::run) testbed: &'a Testbed,
}

/// What the agent says again and again.
#[derive(Default)]
struct State {
    arrived: AtomicU64,
    outstanding: Outstanding,
    /// Where announcements come from, where others send.
    relay: OnceLock<Weak<Relay>>,
}

impl Agent {
    /// Starts the agent of a scenario whose receiver is on another machine.
    ///
    /// # Errors
    /// As [`Connection::start`].
    pub(in crate::run) fn start(place: &At<AgentPlace>, scenario: &Scenario, program: Program) -> Result<Self> {
        let state = Arc::new(State::default());
        let heard = Arc::clone(&state);
        let take = move |connection: &Connection, answer| match answer {
            Answer::Ping { arrived, taken_in } => {
                heard.arrived.store(arrived, Ordering::Release);
                heard.outstanding.take_in(taken_in);
                match heard.relay.get().map(Weak::upgrade) {
                    Some(relay) => relay.iter().for_each(|relay| relay.asked(taken_in)),
                    None => connection.tell(&Request::Pong),
                }
                None
            }
            answer => Some(answer),
        };
        let connection = Connection::start(place, "receiver", scenario, program, Box::new(take))?;
        Ok(Self(Arc::new(Inner {
            connection,
            state,
            follows: AtomicBool::new(false),
            overrun: AtomicBool::new(false),
            last: Mutex::new(Glance::default()),
        })))
    }

    /// From now on announcements come from others: they are asked before a ping is answered.
    pub(super) fn relay(&self, relay: &Arc<Relay>) {
        // It is set once, when sending begins.
        let _ = self.0.state.relay.set(Arc::downgrade(relay));
    }

    /// Everything that was announced before is there.
    pub(super) fn pong(&self) {
        self.0.connection.tell(&Request::Pong);
    }

    /// What the receiver's machine is.
    pub(in crate::run) fn facts(&self, scenario: &Scenario) -> Result<Host> {
        let interface = scenario.receiver.interface.as_ref().map(|interface| interface.value.clone());
        match self.0.connection.asked(&Request::Facts { interface })? {
            Answer::Facts(host) => Ok(*host),
            _ => Err(self.0.connection.nonsense()),
        }
    }

    /// Asks for what may take as long as the run; meanwhile the probes are sent that the agent wants.
    fn asked_with_probes(&self, mut request: Request, near: Near<'_>, control: &mut Control<'_>) -> Result<Answer> {
        loop {
            match self.0.connection.asked_within_run(&request, control)? {
                Answer::Probe(place) => near.probing.send(place, near.testbed)?,
                answer => return Ok(answer),
            }
            request = Request::Probed;
        }
    }

    /// Has the preconditions checked and the application started there.
    pub(in crate::run) fn prepare(
        &self,
        scenario: &Scenario,
        options: &Options,
        brief: &Brief,
        interface: &str,
        near: Near<'_>,
        control: &mut Control<'_>,
    ) -> Result<()> {
        let prepare = Prepare {
            scenario: scenario.text().on_interface(interface),
            files: given_files::of(scenario)?,
            options: options.clone(),
            brief: brief.clone(),
            interface: interface.to_owned(),
            probes: near.probing.probes().to_vec(),
        };
        match self.asked_with_probes(Request::Prepare(Box::new(prepare)), near, control)? {
            Answer::Ready => Ok(()),
            _ => Err(self.0.connection.nonsense()),
        }
    }

    /// Begins to observe; what the frames are announced by.
    pub(in crate::run) fn observe(&self) -> Result<Digester> {
        let key = Key::default();
        match self.0.connection.asked(&Request::Observe { key: key.clone() })? {
            Answer::Observing { follows } => {
                self.0.follows.store(follows, Ordering::Release);
                Ok(Digester::routed(key))
            }
            _ => Err(self.0.connection.nonsense()),
        }
    }

    /// Whether it wants to know the heads of packets.
    pub(in crate::run) fn follows(&self) -> bool {
        self.0.follows.load(Ordering::Acquire)
    }

    pub(in crate::run) fn announce(&self, frames: &[Announced], heads: &[Digest]) {
        if !self.outstanding().has_room(2 * MOST_OUTSTANDING) {
            self.0.overrun.store(true, Ordering::Release);
        }
        self.outstanding().announce(frames);
        self.0.connection.tell(&Request::Announce(frames.to_vec(), heads.to_vec()));
    }

    /// What was announced to it.
    pub(in crate::run) fn outstanding(&self) -> &Outstanding {
        &self.0.state.outstanding
    }

    /// Whether more may be announced: it tells so many frames apart at once.
    pub(in crate::run) fn has_room(&self) -> bool {
        self.outstanding().has_room(MOST_OUTSTANDING)
    }

    pub(in crate::run) fn withdraw(&self, position: u64) {
        self.0.connection.tell(&Request::Withdraw(vec![position]));
    }

    /// How many frames had arrived when that was said last.
    pub(in crate::run) fn arrived(&self) -> u64 {
        self.0.state.arrived.load(Ordering::Acquire)
    }

    /// How far the frames have come; after the connection was lost, what was known last.
    pub(in crate::run) fn glance(&self) -> Result<Glance> {
        match self.0.connection.asked_unless_lost(&Request::Glance)? {
            Some(Answer::Glance(glance)) => *lock(&self.0.last) = glance,
            Some(_) => return Err(self.0.connection.nonsense()),
            None => {}
        }
        Ok(lock(&self.0.last).clone())
    }

    /// Whether the application may read past its UDP sockets, as far as that was known at the last glance.
    pub(in crate::run) fn reads_past_sockets(&self) -> bool {
        lock(&self.0.last).reads_past_sockets
    }

    pub(in crate::run) fn look(&self) -> Result<Moment> {
        match self.0.connection.asked_unless_lost(&Request::Look)? {
            Some(Answer::Moment(moment)) => Ok(*moment),
            Some(_) => Err(self.0.connection.nonsense()),
            None => Ok(Moment { arrived: self.arrived(), ..Moment::default() }),
        }
    }

    /// Whether the application has ended, as far as that is known.
    pub(in crate::run) fn has_ended(&self) -> Result<bool> {
        match self.0.connection.asked_unless_lost(&Request::HasEnded)? {
            Some(Answer::HasEnded(ended)) => Ok(ended),
            Some(_) => Err(self.0.connection.nonsense()),
            None => Ok(false),
        }
    }

    /// Takes a step there; why it failed.
    pub(in crate::run) fn step(
        &self,
        index: usize,
        taken: &mut StepTaken,
        control: &mut Control<'_>,
    ) -> Result<Option<Diagnostic>> {
        match self.0.connection.asked_within_run(&Request::Step(index), control)? {
            Answer::StepTaken { ended, failure } => {
                taken.ended = ended;
                Ok(failure)
            }
            _ => Err(self.0.connection.nonsense()),
        }
    }

    /// Ends observing, and says what was seen.
    pub(in crate::run) fn evidence(&self, settled: Settled) -> Result<Evidence> {
        let Settled { sending, still, timed_out, .. } = settled;
        match self.0.connection.asked_unless_lost(&Request::End { still, timed_out })? {
            Some(Answer::Evidence(evidence)) => {
                let arriving = evidence.arriving.clone().filter(|_| !self.0.overrun.load(Ordering::Acquire));
                Ok(Evidence { sending, arriving, ..*evidence })
            }
            Some(_) => Err(self.0.connection.nonsense()),
            None => Ok(Evidence { sending, still, timed_out, ..Evidence::default() }),
        }
    }

    /// Has everything stopped and examined there, and ends the connection. `saved`: where the file of what arrived goes.
    pub(in crate::run) fn close(
        &self,
        evidence: &mut Evidence,
        near: Near<'_>,
        saved: Option<&Path>,
        control: &mut Control<'_>,
    ) -> Result<()> {
        if let Some(path) = saved.filter(|_| !self.is_lost()) {
            match saved::fetch(&self.0.connection, path, control) {
                Err(failure) if !self.is_lost() => return Err(failure),
                // What is said of a lost connection is said once.
                Ok(()) | Err(_) => {}
            }
        }
        if !self.is_lost() {
            match self.asked_with_probes(Request::Close, near, control) {
                Ok(Answer::Evidence(closed)) => {
                    let Evidence { incidents, notes, ends, commands, outputs, .. } = *closed;
                    evidence.incidents.extend(incidents);
                    evidence.notes.extend(notes);
                    evidence.ends.extend(ends);
                    evidence.commands.extend(commands);
                    evidence.outputs.extend(outputs);
                }
                Ok(_) => return Err(self.0.connection.nonsense()),
                Err(failure) if !self.is_lost() => return Err(failure),
                Err(_) => {}
            }
        }
        evidence.lost_connection = self.0.connection.lost().map(|problem| {
            let known = if evidence.arriving.is_some() {
                "the ledger is what was known until then".to_owned()
            } else {
                let arrived = count(self.arrived(), "frame");
                format!("what was seen there is lost with it; {arrived} had arrived when that was said last")
            };
            let why = problem.why.iter().cloned().chain([known]).collect::<Vec<_>>().join("; ");
            problem.why(why)
        });
        self.0.connection.hang_up();
        Ok(())
    }

    pub(in crate::run) fn is_lost(&self) -> bool {
        self.0.connection.is_lost()
    }
}
