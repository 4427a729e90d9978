//! A process for each scenario: the side that starts and watches workers.
//!
//! A worker is this program again, as `__worker …`. It writes one [`Event`] a line to its standard output; its standard input
//! is a pipe that gives it its job in one line, and closes when the run is interrupted or the parent is gone, however it went. Start at
//! [`Supervisor`]; the side of the worker is [`super::parent`].
#![expect(unsafe_code, reason = "pre_exec: a worker doesn't inherit the signals that its parent blocks")]

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

use super::NAME;
use super::application::Ended;
use super::signals::{self, Signals};
use crate::diagnostic::{Failure, Result};
use crate::outcome::Event;

/// The hidden verb of a worker.
pub const VERB: &str = "__worker";

/// After its own time limit a worker has this long to begin to stop and judge what it has, before it is killed.
const JUDGE_GRACE: Duration = Duration::from_secs(2);

/// So long each phase may take after the time limit: stopping the application, each command, judging.
const PHASE_GRACE: Duration = Duration::from_mins(1);

/// After its last event a worker has this long to clean up.
const CLEAN_GRACE: Duration = Duration::from_secs(5);

/// After an interruption the workers have this long to stop their applications and to say what they have seen.
const INTERRUPT_GRACE: Duration = Duration::from_secs(8);

/// A worker that has closed its standard output is polled at this interval.
const CLOSED_PIPE_WAIT: Duration = Duration::from_millis(20);

/// So much of a worker's standard error is kept.
const STDERR_BYTES: usize = 4096;

/// An event that is longer is none.
const EVENT_BYTES: usize = 64 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its number, for the caller.
    pub index: usize,
    /// What follows `__worker`.
    pub arguments: Vec<OsString>,
    /// What [`super::parent::job`] gives to the worker: one line, without its end.
    pub input: String,
    /// How long it may take until it has a plan; `None`: for ever. The plan then says how long it may take from there.
    pub limit: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerEnd {
    Finished,
    /// It ended without an outcome.
    Crashed {
        how: String,
        stderr: String,
    },
    /// It was killed, since it had no outcome in time.
    TimedOut {
        /// What it was given.
        limit: Duration,
    },
    /// The run was interrupted before it had an outcome.
    Interrupted,
    /// It was never started, since [`Next::StartNoMore`] was said or the run was interrupted.
    NotStarted,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// Something of the job with this index.
    Job(usize, News),
    /// SIGUSR1 arrived: the progress is asked for.
    StatusAsked,
}

/// What is new of one job.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    Started,
    /// Its worker says this.
    Event(Event),
    Ended(WorkerEnd),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    GoOn,
    /// Let the running workers end, and start no other.
    StartNoMore,
}

/// What runs workers, and takes the signals of the process as long as it lives: SIGINT, SIGTERM and SIGHUP end the workers in order, a second one
/// at once; SIGUSR1 is passed on. They are blocked in the thread that made it, so make it where no other thread takes signals (threads that are
/// started by this one don't).
#[derive(Debug)]
pub struct Supervisor {
    signals: Signals,
    interrupted: bool,
}

impl Supervisor {
    /// # Errors
    /// When the signals can't be taken over.
    pub fn new() -> Result<Self> {
        Ok(Self { signals: Signals::block()?, interrupted: false })
    }

    /// Whether a signal has asked for the end so far, while workers ran or after that.
    pub fn is_interrupted(&mut self) -> bool {
        // Where the signals can't be read, none is known.
        let signals = self.signals.take().unwrap_or_default();
        self.interrupted |= signals.into_iter().any(signals::interrupts);
        self.interrupted
    }

    /// Runs `jobs`, at most `at_once` at a time and at least one, and reports what happens. Returns how each ended, in the order of
    /// `jobs`.
    ///
    /// # Errors
    /// When a worker can't be started; the others are killed then.
    pub fn run(
        &mut self,
        jobs: Vec<Job>,
        at_once: usize,
        on_notice: &mut dyn FnMut(Notice) -> Next,
    ) -> Result<Vec<WorkerEnd>> {
        let mut workers = Workers {
            ends: jobs.iter().map(|_| None).collect(),
            waiting: jobs.into_iter().enumerate().collect(),
            running: Vec::new(),
            left_out: Vec::new(),
            interrupted: false,
            mask: self.signals.mask_before,
            on_notice,
        };
        while workers.start_up_to(at_once.max(1))? {
            let signalled = workers.wait(&self.signals)?;
            for signal in signalled {
                workers.signalled(signal);
            }
            workers.listen();
            workers.kill_late();
            workers.collect()?;
        }
        for index in std::mem::take(&mut workers.left_out) {
            workers.notify(Notice::Job(index, News::Ended(WorkerEnd::NotStarted)));
        }
        self.interrupted |= workers.interrupted;
        Ok(workers.ends.into_iter().map(|end| end.unwrap_or(WorkerEnd::NotStarted)).collect())
    }
}

struct Workers<'a> {
    /// In the order of the jobs.
    ends: Vec<Option<WorkerEnd>>,
    /// With their place in that order.
    waiting: VecDeque<(usize, Job)>,
    running: Vec<Running>,
    /// The numbers of those that are never started.
    left_out: Vec<usize>,
    interrupted: bool,
    /// The signals that a worker blocks: those that the caller did.
    mask: SigSet,
    on_notice: &'a mut dyn FnMut(Notice) -> Next,
}

impl Workers<'_> {
    /// Starts what may be started; whether anything runs. A worker that has reported its outcome only closes descriptors, and makes room for
    /// another one.
    fn start_up_to(&mut self, at_once: usize) -> Result<bool> {
        let takes_a_place = |worker: &&Running| !worker.has_outcome;
        while self.running.iter().filter(takes_a_place).count() < at_once && self.running.len() < 2 * at_once {
            let Some((place, job)) = self.waiting.pop_front() else { break };
            let index = job.index;
            self.running.push(Running::start(place, &job, self.mask)?);
            self.notify(Notice::Job(index, News::Started));
        }
        Ok(!self.running.is_empty())
    }

    fn notify(&mut self, notice: Notice) {
        if (self.on_notice)(notice) == Next::StartNoMore {
            self.start_no_more();
        }
    }

    /// Waits until a worker says something or ends, a time limit passes, or a signal comes; gives the signals.
    fn wait(&self, signals: &Signals) -> Result<Vec<Signal>> {
        let descriptors = self.running.iter().flat_map(Running::descriptors);
        let mut waiting: Vec<PollFd> = descriptors.map(|one| PollFd::new(one, PollFlags::POLLIN)).collect();
        waiting.push(signals.readable());
        let now = Instant::now();
        // One that has closed its pipes is about to end. SIGCHLD reports it, unless a thread of the caller's took it.
        let about_to_end = self.running.iter().any(|worker| worker.stdout.is_none()).then(|| now + CLOSED_PIPE_WAIT);
        let first_deadline = self.running.iter().filter_map(|worker| worker.deadline).chain(about_to_end).min();
        let timeout = first_deadline.map_or(PollTimeout::NONE, |end| {
            let left = end.saturating_duration_since(now).as_micros().div_ceil(1000);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut waiting, timeout) {
            Ok(_) | Err(Errno::EINTR) => signals.take(),
            Err(errno) => Err(Failure::system("can't wait for the workers", &errno.into())),
        }
    }

    fn start_no_more(&mut self) {
        self.left_out.extend(self.waiting.drain(..).map(|(_, job)| job.index));
    }

    fn signalled(&mut self, signal: Signal) {
        match signal {
            signal if signals::interrupts(signal) => self.interrupt(),
            signals::STATUS => self.notify(Notice::StatusAsked),
            // The workers are looked at whenever anything comes.
            _ => {}
        }
    }

    fn interrupt(&mut self) {
        self.start_no_more();
        let now = Instant::now();
        for worker in &mut self.running {
            // The worker sees its pipe close. One that is still planning has seen nothing that could be kept.
            worker.parent = None;
            worker.deadline = Some(if self.interrupted || !worker.has_plan { now } else { now + INTERRUPT_GRACE });
            worker.verdict_if_killed = WorkerEnd::Interrupted;
        }
        self.interrupted = true;
    }

    /// Reads what the workers have written.
    fn listen(&mut self) {
        for place in 0..self.running.len() {
            let Some(worker) = self.running.get_mut(place) else { break };
            let index = worker.index;
            for event in worker.read_events(self.interrupted) {
                self.notify(Notice::Job(index, News::Event(event)));
            }
        }
    }

    fn kill_late(&mut self) {
        let now = Instant::now();
        for worker in self.running.iter_mut().filter(|worker| worker.deadline.is_some_and(|deadline| deadline <= now)) {
            worker.kill(worker.verdict_if_killed.clone());
        }
    }

    /// Takes the workers that have ended.
    fn collect(&mut self) -> Result<()> {
        let mut place = 0;
        while let Some(worker) = self.running.get_mut(place) {
            let ended = worker.child.try_wait().map_err(|error| Failure::system("can't wait for a worker", &error))?;
            let Some(status) = ended else {
                place += 1;
                continue;
            };
            let mut worker = self.running.swap_remove(place);
            for event in worker.read_events(self.interrupted) {
                self.notify(Notice::Job(worker.index, News::Event(event)));
            }
            let end = worker.end(status, self.interrupted);
            if end != WorkerEnd::Finished {
                // Its folder is not in use now. What is still in use, or can't be removed yet, is swept by the next run.
                let _ = super::work::sweep();
            }
            if let Some(slot) = self.ends.get_mut(worker.place) {
                *slot = Some(end.clone());
            }
            self.notify(Notice::Job(worker.index, News::Ended(end)));
        }
        Ok(())
    }
}

/// One worker that runs. Dropping it kills it.
struct Running {
    place: usize,
    index: usize,
    child: Child,
    /// Closing it asks the worker to stop.
    parent: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    /// What came after the last whole line.
    unread: Vec<u8>,
    stderr_tail: Vec<u8>,
    deadline: Option<Instant>,
    /// What it means when the deadline passes.
    verdict_if_killed: WorkerEnd,
    /// Why it was killed.
    killed: Option<WorkerEnd>,
    has_plan: bool,
    has_outcome: bool,
}

impl Running {
    fn start(place: usize, job: &Job, mask: SigSet) -> Result<Self> {
        let cant = |error: std::io::Error| Failure::system("can't start a worker", &error);
        let mut command = Command::new("/proc/self/exe");
        // SAFETY: the closure makes one system call, and allocates nothing.
        unsafe { command.pre_exec(move || Ok(mask.thread_set_mask()?)) };
        let mut child = command
            .arg0(NAME)
            .arg(VERB)
            .args(&job.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C on the terminal goes to the parent alone.
            .process_group(0)
            .spawn()
            .map_err(cant)?;
        let (parent, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut worker = Self {
            place,
            index: job.index,
            child,
            parent,
            stdout,
            stderr,
            unread: Vec::new(),
            stderr_tail: Vec::new(),
            deadline: job.limit.map(|limit| Instant::now() + limit),
            verdict_if_killed: WorkerEnd::TimedOut { limit: job.limit.unwrap_or_default() },
            killed: None,
            has_plan: false,
            has_outcome: false,
        };
        if let Some(parent) = worker.parent.as_mut().filter(|_| !job.input.is_empty()) {
            // It reads this first. One that has ended by now says itself why.
            let _ = parent.write_all(job.input.as_bytes()).and_then(|()| parent.write_all(b"\n"));
        }
        for descriptor in worker.descriptors() {
            fcntl(descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| cant(errno.into()))?;
        }
        Ok(worker)
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.stdout.iter().map(AsFd::as_fd).chain(self.stderr.iter().map(AsFd::as_fd)).collect()
    }

    /// Reads what there is without waiting, and gives the events in it.
    fn read_events(&mut self, interrupted: bool) -> Vec<Event> {
        take(&mut self.stderr, &mut self.stderr_tail);
        let surplus = self.stderr_tail.len().saturating_sub(STDERR_BYTES);
        self.stderr_tail.drain(..surplus);
        take(&mut self.stdout, &mut self.unread);
        let mut events = Vec::new();
        while let Some(length) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=length).collect();
            match serde_json::from_slice(&line) {
                Ok(event) => {
                    self.note(&event, interrupted);
                    events.push(event);
                }
                Err(error) => self.kill(self.crashed(format!("it wrote a line that is no event: {error}"))),
            }
        }
        if self.unread.len() > EVENT_BYTES {
            self.kill(self.crashed("it wrote a line without an end".into()));
        }
        events
    }

    /// What an event means for the time limit.
    fn note(&mut self, event: &Event, interrupted: bool) {
        let limit = match event {
            Event::Planned { timeout, .. } => {
                // A plan that says nonsense says no limit.
                let Ok(limit) = Duration::try_from_secs_f64(*timeout) else { return };
                self.has_plan = true;
                self.verdict_if_killed = WorkerEnd::TimedOut { limit };
                limit.checked_add(JUDGE_GRACE)
            }
            Event::Phase { .. } if self.has_plan && !interrupted => {
                self.deadline = self.deadline.max(Some(Instant::now() + PHASE_GRACE));
                return;
            }
            Event::Ended { .. } => {
                self.has_outcome = true;
                Some(CLEAN_GRACE)
            }
            Event::Phase { .. } | Event::Progress { .. } | Event::Output { .. } | Event::Kept { .. } => return,
        };
        if !interrupted {
            self.deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        }
    }

    fn kill(&mut self, why: WorkerEnd) {
        if self.killed.is_none() {
            self.killed = Some(why);
            self.deadline = None;
            // It fails only where the worker is gone already.
            let _ = self.child.kill();
        }
    }

    fn crashed(&self, how: String) -> WorkerEnd {
        WorkerEnd::Crashed { how, stderr: String::from_utf8_lossy(&self.stderr_tail).into_owned() }
    }

    fn end(&mut self, status: ExitStatus, interrupted: bool) -> WorkerEnd {
        if self.has_outcome {
            return WorkerEnd::Finished;
        }
        let by_signal = || Ended::Signalled(status.signal().unwrap_or_default());
        match self.killed.take() {
            Some(WorkerEnd::Crashed { how, .. }) => self.crashed(how),
            Some(end) => end,
            None if interrupted => WorkerEnd::Interrupted,
            None => self.crashed(status.code().map_or_else(by_signal, Ended::Exited).to_string()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only where the worker is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Appends what can be read without waiting; closes the pipe at its end.
fn take<R: Read>(pipe: &mut Option<R>, into: &mut Vec<u8>) {
    let Some(open) = pipe else { return };
    match open.read_to_end(into) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        // The end; any other error says no more than that nothing comes any more.
        _ => *pipe = None,
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn a_signal_that_comes_after_the_last_worker_ends_nothing() {
        let mut supervisor = Supervisor::new().expect("the kernel has no reason to refuse");
        assert!(supervisor.run(Vec::new(), 1, &mut |_| Next::GoOn).expect("nothing can fail").is_empty());
        assert!(!supervisor.is_interrupted());
        for _twice in 0..2 {
            raise(Signal::SIGTERM).expect("a signal of this process");
            assert!(supervisor.is_interrupted());
        }
    }
}
