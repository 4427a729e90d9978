//! The agent: the part of a run that is on another machine, that of the receiver or one that sends. `restage agent` is its process; a run starts it, and speaks with it over its
//! standard input and output. It ends, and cleans up, when its standard input closes. Start at [`main`].

use std::io::{Write, stdout};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::super::batch;
use super::super::control::Control;
use super::super::observe::{Observer, Settled};
use super::super::preconditions::{ProbePlace, Probing};
use super::super::setup::Setup;
use super::super::step_action::Scene;
use super::Horizon;
use super::messages::{Answer, PROTOCOL, Prepare, Request};
use super::saved::Saved;
use super::share;
use super::upstream::Upstream;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::evidence::{Evidence, Sending, StepTaken};
use crate::host::facts::Facts;
use crate::ledger::identity::Digester;
use crate::process::parent::{ParentWatch, watch_parent_lines};
use crate::process::work::WorkFolder;
use crate::scenario;
use crate::testbed::{Testbed, receiving, target};

/// From the answer to one ping to the next ping.
const PING_PAUSE: Duration = Duration::from_millis(10);
/// How often it is looked whether the answer is there.
const PING_LOOK: Duration = Duration::from_millis(1);

/// The whole process; its exit status.
pub(crate) fn main() -> i32 {
    let (sender, requests) = mpsc::channel();
    let horizon = Horizon::of_connection();
    let upstream = Arc::new(Upstream::default());
    let asked = Arc::clone(&upstream);
    let watch = watch_parent_lines(move |line| match serde_json::from_str(line) {
        // It is answered while frames are sent.
        Ok(Request::Ping { taken_in }) => asked.asked(taken_in),
        Ok(request) => drop(sender.send(Ok(request))),
        Err(error) => drop(sender.send(Err(error.to_string()))),
    });
    let served = watch.and_then(|watch| Agent { requests, watch, horizon, upstream }.serve());
    if let Err(failure) = served {
        say(&Answer::Failed(failure));
        return 1;
    }
    0
}

/// Writes one line. Whether someone reads it is noticed by the watch.
fn say(answer: &Answer) {
    let Ok(mut line) = serde_json::to_vec(answer) else { return };
    line.push(b'\n');
    let mut stdout = stdout().lock();
    let _ = stdout.write_all(&line).and_then(|()| stdout.flush());
}

pub(super) struct Agent {
    requests: Receiver<std::result::Result<Request, String>>,
    pub(super) watch: ParentWatch,
    horizon: Horizon,
    pub(super) upstream: Arc<Upstream>,
}

impl Agent {
    /// The next request; `None` when the connection is closed.
    pub(super) fn next(&self) -> Result<Option<Request>> {
        match self.requests.recv() {
            Ok(Ok(request)) => Ok(Some(request)),
            Ok(Err(why)) => {
                let what = "the agent was told something that it does not understand";
                let fix = "`restage run` starts it; it is of no use by itself";
                Err(Failure::invalid(Diagnostic::error(what).why(why).fix(fix)))
            }
            Err(_) => Ok(None),
        }
    }

    /// When to begin to send; `None` when the connection is closed.
    pub(super) fn start(&self) -> Result<Option<Instant>> {
        match self.next()? {
            Some(Request::Start { after }) => Ok(Some(Instant::now() + after)),
            Some(_) => Err(out_of_turn()),
            None => Ok(None),
        }
    }

    /// Has the run send a probe.
    fn probe(&self, place: ProbePlace) -> Result<()> {
        say(&Answer::Probe(place));
        loop {
            match self.next()? {
                Some(Request::Probed) => return Ok(()),
                // The answer to the last ping.
                Some(Request::Pong) => {}
                Some(_) => return Err(out_of_turn()),
                None => return Err(Failure::error(Diagnostic::error("the connection to the run is closed"))),
            }
        }
    }

    fn serve(self) -> Result<()> {
        while let Some(request) = self.next()? {
            match request {
                Request::Hello { .. } => say(&Answer::Hello {
                    protocol: PROTOCOL,
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    kernel: Facts::read().kernel,
                }),
                Request::Facts { interface } => {
                    say(&Answer::Facts(Box::new(receiving::host(interface.as_deref())?)));
                }
                Request::Prepare(prepare) => return self.run(*prepare),
                Request::Reach { interface, gateway, host } => {
                    let (link, host) = target::reach(&interface, gateway, *host)?;
                    say(&Answer::Reached { link, host: Box::new(host) });
                }
                Request::Share(first) => return share::send(&self, first),
                _ => return Err(out_of_turn()),
            }
        }
        Ok(())
    }

    /// The receiver's side of a run.
    fn run(self, prepare: Prepare) -> Result<()> {
        let Prepare { scenario: text, files, mut options, brief, interface, probes } = prepare;
        let files_folder = WorkFolder::create("agent")?;
        files.iter().try_for_each(|file| file.write(files_folder.work()))?;
        let scenario = scenario::check(&text.moved(files_folder.work()))?;
        let absent = batch::absent(&scenario);
        if !absent.is_empty() {
            let mut failure = batch::not_installed(&scenario, &absent);
            let here = "the receiver's part of the run is on this machine";
            failure.problems.iter_mut().for_each(|problem| problem.why = Some(here.to_owned()));
            return Err(failure);
        }
        let mut saved = scenario.receiver.save_capture.as_ref().map(|path| Saved::new(&path.value)).transpose()?;
        if let Some(saved) = &saved {
            saved.folder().clone_into(&mut options.report_folder);
        }
        let facts = Facts::read();
        let testbed = Testbed::receiving(&interface)?;
        let mut report = |event| say(&Answer::Event(event));
        let control = Control { report: &mut report, parent: &self.watch, limit: Instant::now() + brief.timeout };
        let probe = |place| self.probe(place);
        let probing = Probing::far(probes, &probe);
        let mut setup = Setup::make(&scenario, &options, &brief, probing, testbed, control, &facts)?;
        say(&Answer::Ready);
        let mut observer: Option<Observer> = None;
        let mut evidence = Evidence::default();
        while let Some(request) = self.next()? {
            match (request, &mut observer) {
                (Request::Observe { key }, None) => {
                    let observing = setup.observe_for(&brief, Digester::routed(key), self.horizon.clone())?;
                    say(&Answer::Observing { follows: observing.shared.followers.is_some() });
                    ping(&self.horizon, &observing)?;
                    observer = Some(observing);
                }
                // What was written before it has been taken in.
                (Request::Pong, _) => self.horizon.answered(),
                (Request::Announce(frames, heads), Some(observer)) => observer.shared.announce(&frames, &heads),
                (Request::Withdraw(positions), Some(observer)) => {
                    for position in positions {
                        observer.shared.withdraw(position);
                    }
                }
                (Request::Glance, Some(observer)) => say(&Answer::Glance(observer.glance()?)),
                (Request::Look, Some(observer)) => say(&Answer::Moment(Box::new(observer.look()?))),
                (Request::HasEnded, _) => say(&Answer::HasEnded(setup.receiver.has_ended()?)),
                (Request::Step(index), Some(observer)) => {
                    let Some(step) = scenario.steps.get(index) else { return Err(out_of_turn()) };
                    let mut taken = StepTaken::default();
                    let scene = Scene { scenario: &scenario, testbed: &setup.testbed, timeout: brief.timeout };
                    let (receiver, control) = (&mut setup.receiver, &mut setup.control);
                    let failure = scene.act(index, step, &mut taken, observer, receiver, control)?;
                    say(&Answer::StepTaken { ended: taken.ended, failure });
                }
                (Request::End { still, timed_out }, Some(_)) => {
                    // Everything that was announced came before.
                    self.horizon.end();
                    let Some(mut observer) = observer.take() else { continue };
                    let settled = Settled { sending: Sending::default(), moment: observer.look()?, still, timed_out };
                    evidence = observer.evidence(settled)?;
                    // By a clock of this machine.
                    evidence.arrived_over_time = None;
                    say(&Answer::Evidence(Box::new(std::mem::take(&mut evidence))));
                }
                (Request::Saved, None) => {
                    let part = saved.as_mut().map(Saved::part).transpose()?;
                    say(&Answer::Saved(part.flatten()));
                }
                (Request::Close, _) => {
                    setup.close(None, &mut evidence)?;
                    say(&Answer::Evidence(Box::new(evidence)));
                    return Ok(());
                }
                _ => return Err(out_of_turn()),
            }
        }
        // The connection was closed: what runs here is stopped.
        self.horizon.end();
        setup.close(None, &mut evidence)
    }
}

/// Asks again and again what was announced until now, on a thread of its own, until nothing more is announced.
fn ping(horizon: &Horizon, observer: &Observer) -> Result<()> {
    let (horizon, shared) = (horizon.clone(), observer.shared.clone());
    let thread = std::thread::Builder::new().name("ping".to_owned());
    let asking = thread.spawn(move || {
        // What was taken in before a question was asked is behind when it is answered.
        let mut taken_in = 0;
        while !horizon.has_ended() {
            horizon.ask();
            say(&Answer::Ping { arrived: shared.arrived(), taken_in });
            taken_in = shared.taken_in_by_all();
            while !horizon.is_answered() {
                std::thread::sleep(PING_LOOK);
            }
            std::thread::sleep(PING_PAUSE);
        }
    });
    asking.map(drop).map_err(|error| Failure::system("can't start a thread", &error))
}

pub(super) fn out_of_turn() -> Failure {
    let fix = "`restage run` starts the agent, and both are the same version";
    Failure::invalid(Diagnostic::error("the agent was asked for something that is not its turn").fix(fix))
}
