//! The run's end of the connection to an agent: the receiver is on that machine. Start at [`Agent::start`].

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::Options;
use super::super::control::Control;
use super::super::observe::{Glance, Moment, Settled};
use super::super::stack::lock;
use super::given_files;
use super::messages::{Answer, PROTOCOL, Prepare, Request};
use super::outgoing::Outgoing;
use super::push::push;
use crate::diagnostic::{At, Diagnostic, Failure, Result};
use crate::evidence::{Evidence, StepTaken};
use crate::figures::count;
use crate::host::Host;
use crate::ledger::identity::{Digest, Digester, Key};
use crate::ledger::matching::Announced;
use crate::outcome::Event;
use crate::plan::Brief;
use crate::scenario::Scenario;
use crate::scenario::receiver::AgentPlace;

/// So long the agent may take to say who it is: logging in takes its time.
const LOGIN: Duration = Duration::from_secs(30);
/// So long it may take for what it does at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a closing connection is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// So long it has to clean up when the connection is closed.
const CLEAN_GRACE: Duration = Duration::from_secs(8);
/// So many frames may be announced that it may still wait for: half of those that it can tell apart.
const MOST_OUTSTANDING: u64 = 1 << 15;
/// So much of what the connection's program says is kept.
const MOST_SAID: u64 = 4096;

/// The agent on the receiver's machine, as the run sees it. All clones are the same connection.
#[derive(Clone)]
pub(in crate::run) struct Agent(Arc<Connection>);

struct Connection {
    /// As the scenario has it.
    name: String,
    to: Arc<Outgoing>,
    answers: Mutex<mpsc::Receiver<Answer>>,
    heard: Arc<Heard>,
    child: Mutex<Child>,
    follows: AtomicBool,
    announced: AtomicU64,
    /// Whether more was announced than the agent can tell apart, so that what arrived is not known.
    overrun: AtomicBool,
    /// Why it is over before it should be.
    lost: Mutex<Option<Diagnostic>>,
    last: Mutex<Glance>,
}

/// What the thread that reads has heard, beside answers.
#[derive(Default)]
struct Heard {
    arrived: AtomicU64,
    taken: AtomicU64,
    events: Mutex<VecDeque<Event>>,
    said: Mutex<String>,
}

impl Agent {
    /// Starts the agent of a scenario whose receiver is on another machine. `copies`: this program is copied there before.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] where it can't be reached, or is another version.
    pub(in crate::run) fn start(place: &At<AgentPlace>, scenario: &Scenario, copies: bool) -> Result<Self> {
        let At { value: place, span } = place;
        let problem = |what: String| Diagnostic::error(what).at(&scenario.source, span.clone());
        let program = if copies {
            push(place).map_err(|failure| failure.at(&scenario.source, span.as_ref()))?
        } else {
            "restage".to_owned()
        };
        let command = place.command(&[&program, "agent"]);
        let (name, arguments) = command.split_first().expect("a place has a command");
        let mut child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                let fix = format!(
                    "install it, or reach the machine in another way: `via = [\"COMMAND\", …]` in place of `{place}`"
                );
                Failure::blocked(problem(format!("can't start `{name}`")).why(error.to_string()).fix(fix))
            })?;
        let heard = Arc::new(Heard::default());
        let to = Arc::new(Outgoing::default());
        if let Some(stdin) = child.stdin.take() {
            let to = Arc::clone(&to);
            spawn("agent-gets", move || to.write_to(stdin))?;
        }
        let (sender, answers) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            let heard = Arc::clone(&heard);
            spawn("agent-says", move || gather(stderr, &heard.said))?;
        }
        let connection = Arc::new(Connection {
            name: place.to_string(),
            to,
            answers: Mutex::new(answers),
            heard: Arc::clone(&heard),
            follows: AtomicBool::new(false),
            announced: AtomicU64::new(0),
            overrun: AtomicBool::new(false),
            lost: Mutex::new(None),
            last: Mutex::new(Glance::default()),
            child: Mutex::new(child),
        });
        let stdout = lock(&connection.child).stdout.take();
        if let Some(stdout) = stdout {
            let weak = Arc::downgrade(&connection);
            spawn("agent", move || {
                for line in BufReader::new(stdout).lines() {
                    let Ok(line) = line else { break };
                    match serde_json::from_str(&line) {
                        Ok(Answer::Ping { arrived, taken }) => {
                            heard.arrived.store(arrived, Ordering::Release);
                            heard.taken.store(taken, Ordering::Release);
                            let Some(connection) = weak.upgrade() else { break };
                            let _ = connection.write(&Request::Pong);
                        }
                        Ok(Answer::Event(event)) => lock(&heard.events).push_back(event),
                        Ok(answer) => {
                            if sender.send(answer).is_err() {
                                break;
                            }
                        }
                        // A shell that greets, or a program that is no agent.
                        Err(_) => {
                            let mut said = lock(&heard.said);
                            said.push_str(&line);
                            said.push('\n');
                        }
                    }
                }
            })?;
        }
        let agent = Self(connection);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = agent.ask(&Request::Hello { protocol: PROTOCOL, version: version.clone() }, LOGIN);
        match hello {
            Ok(Answer::Hello { protocol, version: other, .. }) if (protocol, &other) == (PROTOCOL, &version) => {
                Ok(agent)
            }
            Ok(Answer::Hello { version: other, .. }) => {
                let what = format!("the restage of `{place}` is version {other}, and this one is {version}");
                let why = "both ends of a run are the same version";
                Err(Failure::blocked(
                    problem(what).why(why).fix("install the same on both, or let this one be copied: `--push`"),
                ))
            }
            Ok(_) => Err(agent.nonsense()),
            Err(()) => Err(Failure::blocked(agent.unreachable(problem(format!("no agent answers from `{place}`"))))),
        }
    }

    /// What the receiver's machine is.
    pub(in crate::run) fn facts(&self, scenario: &Scenario) -> Result<Host> {
        let interface = scenario.receiver.interface.as_ref().map(|interface| interface.value.clone());
        match self.asked(&Request::Facts { interface })? {
            Answer::Facts(host) => Ok(*host),
            _ => Err(self.nonsense()),
        }
    }

    /// Has the preconditions checked and the application started there.
    pub(in crate::run) fn prepare(
        &self,
        scenario: &Scenario,
        options: &Options,
        brief: &Brief,
        interface: &str,
        control: &mut Control<'_>,
    ) -> Result<()> {
        let prepare = Prepare {
            scenario: scenario.text().on_interface(interface),
            files: given_files::of(scenario)?,
            options: options.clone(),
            brief: brief.clone(),
            interface: interface.to_owned(),
        };
        match self.asked_within_run(&Request::Prepare(Box::new(prepare)), control)? {
            Answer::Ready => Ok(()),
            _ => Err(self.nonsense()),
        }
    }

    /// Begins to observe; what the frames are announced by.
    pub(in crate::run) fn observe(&self) -> Result<Digester> {
        let key = Key::default();
        match self.asked(&Request::Observe { key: key.clone() })? {
            Answer::Observing { follows } => {
                self.0.follows.store(follows, Ordering::Release);
                Ok(Digester::routed(key))
            }
            _ => Err(self.nonsense()),
        }
    }

    /// Whether it wants to know the heads of packets.
    pub(in crate::run) fn follows(&self) -> bool {
        self.0.follows.load(Ordering::Acquire)
    }

    pub(in crate::run) fn announce(&self, frames: &[Announced], heads: &[Digest]) {
        let announced = self.0.announced.fetch_add(frames.len() as u64, Ordering::AcqRel);
        if announced.saturating_sub(self.taken()) > 2 * MOST_OUTSTANDING {
            self.0.overrun.store(true, Ordering::Release);
        }
        self.tell(&Request::Announce(frames.to_vec(), heads.to_vec()));
    }

    /// Of how many announcements the agent waits for nothing any more.
    pub(in crate::run) fn taken(&self) -> u64 {
        self.0.heard.taken.load(Ordering::Acquire)
    }

    /// Whether more may be announced: it tells so many frames apart at once.
    pub(in crate::run) fn has_room(&self) -> bool {
        self.0.announced.load(Ordering::Acquire).saturating_sub(self.taken()) < MOST_OUTSTANDING
    }

    pub(in crate::run) fn withdraw(&self, position: u64) {
        self.tell(&Request::Withdraw(vec![position]));
    }

    /// How many frames had arrived when that was said last.
    pub(in crate::run) fn arrived(&self) -> u64 {
        self.0.heard.arrived.load(Ordering::Acquire)
    }

    /// How far the frames have come; after the connection was lost, what was known last.
    pub(in crate::run) fn glance(&self) -> Result<Glance> {
        if !self.is_lost() {
            match self.ask(&Request::Glance, PATIENCE) {
                Ok(Answer::Glance(glance)) => *lock(&self.0.last) = glance,
                Ok(Answer::Failed(failure)) => return Err(failure),
                Ok(_) => return Err(self.nonsense()),
                Err(()) => self.lose(),
            }
        }
        Ok(lock(&self.0.last).clone())
    }

    pub(in crate::run) fn look(&self) -> Result<Moment> {
        if !self.is_lost() {
            match self.ask(&Request::Look, PATIENCE) {
                Ok(Answer::Moment(moment)) => return Ok(*moment),
                Ok(Answer::Failed(failure)) => return Err(failure),
                Ok(_) => return Err(self.nonsense()),
                Err(()) => self.lose(),
            }
        }
        Ok(Moment { arrived: self.arrived(), ..Moment::default() })
    }

    pub(in crate::run) fn has_ended(&self) -> Result<bool> {
        match self.ask(&Request::HasEnded, PATIENCE) {
            Ok(Answer::HasEnded(ended)) => Ok(ended),
            Ok(Answer::Failed(failure)) => Err(failure),
            Ok(_) => Err(self.nonsense()),
            Err(()) => Ok(false),
        }
    }

    /// Takes a step there; why it failed.
    pub(in crate::run) fn step(
        &self,
        index: usize,
        taken: &mut StepTaken,
        control: &mut Control<'_>,
    ) -> Result<Option<Diagnostic>> {
        match self.asked_within_run(&Request::Step(index), control)? {
            Answer::StepTaken { ended, failure } => {
                taken.ended = ended;
                Ok(failure)
            }
            _ => Err(self.nonsense()),
        }
    }

    /// Ends observing, and says what was seen.
    pub(in crate::run) fn evidence(&self, settled: Settled) -> Result<Evidence> {
        let Settled { sending, still, timed_out, .. } = settled;
        let asked = if self.is_lost() { None } else { self.ask(&Request::End { still, timed_out }, PATIENCE).ok() };
        match asked {
            Some(Answer::Evidence(evidence)) => {
                let arriving = evidence.arriving.clone().filter(|_| !self.0.overrun.load(Ordering::Acquire));
                Ok(Evidence { sending, arriving, ..*evidence })
            }
            Some(Answer::Failed(failure)) => Err(failure),
            Some(_) => Err(self.nonsense()),
            None => {
                self.lose();
                Ok(Evidence { sending, still, timed_out, ..Evidence::default() })
            }
        }
    }

    /// Has everything stopped and examined there, and ends the connection.
    pub(in crate::run) fn close(&self, evidence: &mut Evidence, control: &mut Control<'_>) -> Result<()> {
        if !self.is_lost() {
            match self.asked_within_run(&Request::Close, control) {
                Ok(Answer::Evidence(closed)) => {
                    let Evidence { incidents, notes, ends, commands, outputs, .. } = *closed;
                    evidence.incidents.extend(incidents);
                    evidence.notes.extend(notes);
                    evidence.ends.extend(ends);
                    evidence.commands.extend(commands);
                    evidence.outputs.extend(outputs);
                }
                Ok(_) => return Err(self.nonsense()),
                Err(failure) if !self.is_lost() => return Err(failure),
                Err(_) => {}
            }
        }
        evidence.lost_connection.clone_from(&lock(&self.0.lost));
        self.0.hang_up();
        Ok(())
    }

    pub(in crate::run) fn is_lost(&self) -> bool {
        lock(&self.0.lost).is_some()
    }

    fn tell(&self, request: &Request) {
        if !self.is_lost() && self.0.write(request).is_err() {
            self.lose();
        }
    }

    /// An answer, or the failure that the agent reports.
    fn asked(&self, request: &Request) -> Result<Answer> {
        match self.ask(request, PATIENCE) {
            Ok(Answer::Failed(failure)) => Err(self.there(failure)),
            Ok(answer) => Ok(answer),
            Err(()) => Err(self.is_over()),
        }
    }

    /// The same, of what may take as long as the run; what is reported meanwhile is passed on.
    fn asked_within_run(&self, request: &Request, control: &mut Control<'_>) -> Result<Answer> {
        if self.0.write(request).is_err() {
            return Err(self.is_over());
        }
        let mut over = None;
        loop {
            let answer = lock(&self.0.answers).recv_timeout(LOOK);
            for event in lock(&self.0.heard.events).drain(..) {
                (control.report)(event);
            }
            match answer {
                Ok(Answer::Failed(failure)) => return Err(self.there(failure)),
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Disconnected) => return Err(self.is_over()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if control.is_interrupted() {
                // The agent stops what runs there, and says what it has seen.
                self.0.to.close();
            }
            if control.is_over() && over.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err(self.is_over());
            }
        }
    }

    fn ask(&self, request: &Request, patience: Duration) -> std::result::Result<Answer, ()> {
        self.0.write(request).map_err(drop)?;
        lock(&self.0.answers).recv_timeout(patience).map_err(drop)
    }

    fn lose(&self) {
        let mut lost = lock(&self.0.lost);
        if lost.is_none() {
            let problem = Diagnostic::error(format!("the connection to `{}` was lost", self.0.name));
            let arrived = count(self.arrived(), "frame");
            let known =
                format!("the ledger is what was known until then; {arrived} had arrived when that was said last");
            *lost = Some(self.unreachable(problem).why(known));
        }
    }

    /// The connection is over before anything was sent.
    fn is_over(&self) -> Failure {
        self.lose();
        Failure::error(self.unreachable(Diagnostic::error(format!("the connection to `{}` was lost", self.0.name))))
    }

    /// What went wrong on the receiver's machine.
    fn there(&self, mut failure: Failure) -> Failure {
        for problem in failure.problems.iter_mut().filter(|problem| problem.place.is_none()) {
            problem.what = format!("on the receiver's machine (`{}`): {}", self.0.name, problem.what);
        }
        failure
    }

    fn nonsense(&self) -> Failure {
        let problem = Diagnostic::error(format!("the agent of `{}` gave an answer to another question", self.0.name));
        Failure::error(problem.fix("report it with the scenario"))
    }

    /// With what the connection's program said.
    fn unreachable(&self, problem: Diagnostic) -> Diagnostic {
        // What it says comes with its end.
        std::thread::sleep(LOOK);
        let said = lock(&self.0.heard.said).trim().to_owned();
        let last = said.lines().last().unwrap_or_default().to_owned();
        let fix = if said.contains("not found") || said.contains("No such file") {
            "install restage there, in the PATH of a login without a terminal, or let it be copied: `restage run --push`"
        } else {
            "try the same by hand: it must log in without a question, and find `restage` there"
        };
        let why = if said.is_empty() { "it said nothing".to_owned() } else { format!("it said: {last}") };
        problem.why(why).fix(fix)
    }
}

impl Connection {
    fn write(&self, request: &Request) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        if self.to.push(&line) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
    }

    /// Closes the connection, and waits until the other end has cleaned up, which it does when its standard input closes.
    fn hang_up(&self) {
        self.to.close();
        let begun = Instant::now();
        let mut child = lock(&self.child);
        while begun.elapsed() < CLEAN_GRACE && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hang_up();
    }
}

fn gather(mut stream: impl Read, said: &Mutex<String>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let mut said = lock(said);
        if (said.len() as u64) < MOST_SAID {
            said.push_str(&String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()));
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map(drop).map_err(|error| Failure::system("can't start a thread", &error))
}
