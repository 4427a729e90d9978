//! A connection to an agent: requests go there, answers come back, both as lines of JSON. Start at [`Connection::start`].

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::control::Control;
use super::super::stack::lock;
use super::messages::{Answer, PROTOCOL, Request};
use super::outgoing::Outgoing;
use super::push::push;
use crate::diagnostic::{At, Diagnostic, Failure, Result};
use crate::outcome::Event;
use crate::scenario::Scenario;
use crate::scenario::receiver::AgentPlace;

/// So long the agent may take to say who it is: logging in takes its time.
const LOGIN: Duration = Duration::from_secs(30);
/// So long it may take for what it does at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How often a closing connection is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(20);
/// So long it has to clean up when the connection is closed.
const CLEAN_GRACE: Duration = Duration::from_secs(8);
/// So long what the connection's program says at its end may take to get here.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// So much of what the connection's program says is kept.
const MOST_SAID: usize = 4096;
/// No message of an agent is longer, in bytes; the longest has the output of a command, or all that was seen.
const MOST_LINE: u64 = 1 << 30;

/// Which program an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::run) enum Program {
    /// The restage that is there.
    Installed,
    /// This one, which is copied there before.
    Copied,
}

/// Takes what an agent says by itself; returns what answers a request.
pub(super) type Take = Box<dyn FnMut(&Connection, Answer) -> Option<Answer> + Send>;

/// A connection to an agent, and the program that makes it.
pub(super) struct Connection {
    /// As the scenario has it.
    name: String,
    /// What its machine is in the run.
    role: &'static str,
    to: Arc<Outgoing>,
    answers: Mutex<mpsc::Receiver<Answer>>,
    events: Mutex<VecDeque<Event>>,
    said: Arc<Said>,
    child: Mutex<Child>,
    /// Why it is over before it should be.
    lost: Mutex<Option<Diagnostic>>,
}

impl Connection {
    /// Starts an agent; `role` is what its machine is in the run.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] where it can't be reached, or is another version.
    pub(super) fn start(
        place: &At<AgentPlace>,
        role: &'static str,
        scenario: &Scenario,
        program: Program,
        mut take: Take,
    ) -> Result<Arc<Self>> {
        let At { value: place, span } = place;
        let problem = |what: String| Diagnostic::error(what).at(&scenario.source, span.clone());
        let program = match place {
            // This very program.
            AgentPlace::Via(way) if way.is_empty() => "/proc/self/exe".to_owned(),
            _ if program == Program::Copied => {
                push(place).map_err(|failure| failure.at(&scenario.source, span.as_ref()))?
            }
            _ => "restage".to_owned(),
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
        let to = Arc::new(Outgoing::default());
        if let Some(stdin) = child.stdin.take() {
            let to = Arc::clone(&to);
            spawn("agent-gets", move || to.write_to(stdin))?;
        }
        let (sender, answers) = mpsc::channel();
        let said = Arc::new(Said::default());
        if let Some(stderr) = child.stderr.take() {
            let said = Arc::clone(&said);
            spawn("agent-says", move || said.gather(stderr))?;
        }
        let stdout = child.stdout.take();
        let connection = Arc::new(Self {
            name: place.to_string(),
            role,
            to,
            answers: Mutex::new(answers),
            events: Mutex::default(),
            said,
            lost: Mutex::new(None),
            child: Mutex::new(child),
        });
        if let Some(stdout) = stdout {
            let weak = Arc::downgrade(&connection);
            spawn("agent", move || {
                let mut stdout = BufReader::new(stdout);
                while let Some((line, connection)) = next_line(&mut stdout).zip(weak.upgrade()) {
                    match serde_json::from_str(&line) {
                        Ok(Answer::Event(event)) => lock(&connection.events).push_back(event),
                        Ok(answer) => {
                            if let Some(answer) = take(&connection, answer)
                                && sender.send(answer).is_err()
                            {
                                break;
                            }
                        }
                        // A shell that greets, or a program that is no agent.
                        Err(_) => connection.said.keep(&format!("{line}\n")),
                    }
                }
            })?;
        }
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let hello = connection.ask(&Request::Hello { protocol: PROTOCOL, version: version.clone() }, LOGIN);
        match hello {
            Ok(Answer::Hello { protocol, version: other, .. }) if (protocol, &other) == (PROTOCOL, &version) => {
                Ok(connection)
            }
            Ok(Answer::Hello { version: other, .. }) => {
                let what = format!("the restage of `{place}` is version {other}, and this one is {version}");
                let why = "both ends of a run are the same version";
                Err(Failure::blocked(
                    problem(what).why(why).fix("install the same on both, or let this one be copied: `--push`"),
                ))
            }
            Ok(_) => Err(connection.nonsense()),
            Err(()) => {
                let (why, fix) = connection.no_agent();
                Err(Failure::blocked(problem(format!("no agent answers from `{place}`")).why(why).fix(fix)))
            }
        }
    }

    /// As the scenario has it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What was reported since this was asked last.
    pub(super) fn events(&self) -> VecDeque<Event> {
        std::mem::take(&mut lock(&self.events))
    }

    /// An answer that was there already.
    pub(super) fn answered(&self) -> std::result::Result<Answer, mpsc::TryRecvError> {
        lock(&self.answers).try_recv()
    }

    /// Says something that has no answer.
    pub(super) fn tell(&self, request: &Request) {
        if !self.is_lost() && self.write(request).is_err() {
            self.lose();
        }
    }

    /// An answer, or the failure that the agent reports.
    pub(super) fn asked(&self, request: &Request) -> Result<Answer> {
        self.asked_unless_lost(request)?.ok_or_else(|| self.is_over())
    }

    /// The same, where the run goes on without it: `None` where the connection is lost. A late answer would be taken for that of the next request,
    /// so that none is asked for then.
    pub(super) fn asked_unless_lost(&self, request: &Request) -> Result<Option<Answer>> {
        if self.is_lost() {
            return Ok(None);
        }
        match self.ask(request, PATIENCE) {
            Ok(Answer::Failed(failure)) => Err(self.there(failure)),
            Ok(answer) => Ok(Some(answer)),
            Err(()) => {
                self.lose();
                Ok(None)
            }
        }
    }

    /// As [`Self::asked`], of what may take as long as the run; what is reported meanwhile is passed on.
    pub(super) fn asked_within_run(&self, request: &Request, control: &mut Control<'_>) -> Result<Answer> {
        if self.write(request).is_err() {
            return Err(self.is_over());
        }
        let mut over = None;
        loop {
            let answer = lock(&self.answers).recv_timeout(LOOK);
            for event in self.events() {
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
                self.close();
            }
            if control.is_over() && over.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err(self.is_over());
            }
        }
    }

    fn ask(&self, request: &Request, patience: Duration) -> std::result::Result<Answer, ()> {
        self.write(request).map_err(drop)?;
        lock(&self.answers).recv_timeout(patience).map_err(drop)
    }

    pub(super) fn is_lost(&self) -> bool {
        lock(&self.lost).is_some()
    }

    /// Why it is over before it should be.
    pub(super) fn lost(&self) -> Option<Diagnostic> {
        lock(&self.lost).clone()
    }

    /// It is over before it should be.
    pub(super) fn lose(&self) -> Diagnostic {
        let problem = || {
            let problem = Diagnostic::error(format!("the connection to `{}` was lost", self.name)).why(self.said());
            problem.fix(format!(
                "run it again; if that does not help, look at the network between, and on the {}'s machine at what ended the agent (`journalctl`)",
                self.role
            ))
        };
        lock(&self.lost).get_or_insert_with(problem).clone()
    }

    /// The failure of a run that can't go on without it.
    pub(super) fn is_over(&self) -> Failure {
        Failure::error(self.lose())
    }

    /// What went wrong on its machine.
    pub(super) fn there(&self, mut failure: Failure) -> Failure {
        for problem in failure.problems.iter_mut().filter(|problem| problem.place.is_none()) {
            problem.what = format!("on the {}'s machine (`{}`): {}", self.role, self.name, problem.what);
        }
        failure
    }

    pub(super) fn nonsense(&self) -> Failure {
        let problem = Diagnostic::error(format!("the agent of `{}` gave an answer to another question", self.name));
        Failure::error(problem.fix("report it with the scenario"))
    }

    /// What the connection's program said last.
    fn said(&self) -> String {
        let begun = Instant::now();
        while !self.said.is_all.load(Ordering::Acquire) && begun.elapsed() < LAST_WORDS {
            std::thread::sleep(LOOK);
        }
        match lock(&self.said.text).trim().lines().last() {
            Some(last) => format!("it said: {last}"),
            None if self.said.is_all.load(Ordering::Acquire) => "it ended, and said nothing".to_owned(),
            None => "it does not answer any more, and said nothing".to_owned(),
        }
    }

    /// Why no agent answers, and what to do.
    fn no_agent(&self) -> (String, &'static str) {
        let why = self.said();
        let said = lock(&self.said.text);
        // What is missing may be the way to it: a namespace, a container.
        let is_missing = said.contains("not found") || said.contains("No such file");
        let fix = if is_missing && said.contains("restage") {
            "install restage there, in the PATH of a login without a terminal, or let it be copied: `restage run --push`"
        } else {
            "try the same by hand: it must log in without a question, and find `restage` there"
        };
        (why, fix)
    }

    pub(super) fn write(&self, request: &Request) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        if self.to.push(&line) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
    }

    /// Says nothing more: the agent stops what runs there, says what it has seen, and ends.
    pub(super) fn close(&self) {
        self.to.close();
    }

    /// Closes the connection, and waits until the other end has cleaned up, which it does when its standard input closes.
    pub(super) fn hang_up(&self) {
        self.close();
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

/// What the connection's program says beside the agent's answers: the last of it.
#[derive(Default)]
struct Said {
    text: Mutex<String>,
    /// Whether its standard error is closed.
    is_all: AtomicBool,
}

impl Said {
    fn gather(&self, mut stream: impl Read) {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            self.keep(&String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()));
        }
        self.is_all.store(true, Ordering::Release);
    }

    fn keep(&self, more: &str) {
        let mut text = lock(&self.text);
        text.push_str(more);
        let over = text.ceil_char_boundary(text.len().saturating_sub(MOST_SAID));
        text.drain(..over);
    }
}

/// The next line of an agent; `None` at the end, and of a line that is longer than any of its messages.
fn next_line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let length = stream.take(MOST_LINE).read_line(&mut line).ok()?;
    (length > 0 && (line.ends_with('\n') || (length as u64) < MOST_LINE)).then_some(line)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map(drop).map_err(|error| Failure::system("can't start a thread", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_last_is_kept() {
        let said = Said::default();
        said.keep("é");
        said.keep(&"one of the first: é\n".repeat(2000));
        said.gather(&b"the last one"[..]);
        let text = lock(&said.text);
        assert!(text.ends_with("é\nthe last one") && text.len() <= MOST_SAID && text.len() > MOST_SAID - 4);
        assert!(said.is_all.load(Ordering::Acquire));
    }
}
