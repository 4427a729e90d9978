//! A program in the receiver's namespace, with everything that it starts, so that none of it outlives this process.
//!
//! The program is the child of a small `init` of ours, which is pid 1 of a pid namespace: when that init ends,
//! the kernel kills everything in the namespace. The init is killed when the thread that made it ends (`PR_SET_PDEATHSIG`) and
//! ends by itself when its control socket closes. The two speak in datagrams over that socket: `Request`s go down,
//! `Report`s come up. See `pid_namespaces(7)`, `unix(7)`. Start reading at [`Application::start`].
#![expect(unsafe_code, reason = "pre_exec: the child's namespaces are set up between fork and exec")]

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use super::inside::Inside;
use super::leftover::{Leftover, Registered};
pub use super::messages::Ended;
use super::messages::{MOST_BYTES, Report, Request};
use super::order::{Namespaces, Order, Refused, Rights, hand_on_capabilities};
use super::pump::Pump;
use super::surroundings::dies_with_its_maker;
use super::{NAME, init};
use crate::diagnostic::{Failure, Result};
use crate::host::facts::{Facts, Step, capability, refusal};
use crate::host::namespace::Namespace;

/// What is to be started, and where.
#[derive(Debug)]
pub struct Start<'a> {
    /// The program's file, as [`crate::host::program::find`] finds it.
    pub program: &'a Path,
    pub arguments: &'a [String],
    /// Where it starts.
    pub folder: &'a Path,
    /// Variables of its environment, beside this process's own.
    pub environment: &'a [(String, String)],
    pub surroundings: Around<'a>,
    pub rights: &'a Rights,
    /// Where its output goes.
    pub stdout: File,
    pub stderr: File,
    /// How many bytes of each are kept; what exceeds them is read and discarded. `None`: the program writes to the files itself.
    pub most_output: Option<u64>,
}

/// What a program finds around it. Where restage has no namespaces, as beside a target that it may only send to, all of them are the machine.
#[derive(Debug, Clone, Copy)]
pub enum Around<'a> {
    /// What this process finds, but for its processes.
    Machine,
    /// These files, and processes of its own.
    In(&'a Inside),
    /// The files and the processes of a program that runs there; it ends with that one.
    Beside(&'a Inside),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    pub ended: Ended,
    /// Whether it had to be killed, since it did not end in time.
    pub killed: bool,
}

/// A program that was started, with everything that it started. Dropping it kills all of it.
#[derive(Debug)]
pub struct Application {
    init: Child,
    /// Whether it has no pid namespace of its own, so that what it started has to be killed one by one.
    is_guest: bool,
    /// Its namespaces, where it has some of its own.
    inside: Option<Inside>,
    /// Until the init is killed, and before it is reaped.
    registered: Option<Registered>,
    control: OwnedFd,
    ended: Option<Ended>,
    /// How the program ended, where processes that it started went on.
    program: Option<Ended>,
    notes: Vec<String>,
    pump: Option<Pump>,
    /// How many bytes of standard output and standard error were discarded.
    discarded: [u64; 2],
    /// Lives as long as the application: the init dies with the thread that made it.
    keeper: Option<Keeper>,
}

/// The thread that made an init. It ends when `release` is dropped.
#[derive(Debug)]
struct Keeper {
    release: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Application {
    /// Starts a program in this network namespace; when this returns, it runs, or [`Application::ended`] says why it doesn't. Its standard input is
    /// /dev/null, no signal is blocked or ignored, and it is not on the terminal. Like a
    /// daemon that an ordinary user starts, it has no capabilities where this process isn't root: exec drops them. The bounding
    /// set is left alone, so that programs with file capabilities (`dumpcap`, `ping`) work as they do elsewhere.
    ///
    /// # Errors
    /// When the init can't be made. That the program itself can't be started is no error here, but [`Ended::NotStarted`].
    pub fn start(start: &Start<'_>, namespace: &Namespace) -> Result<Self> {
        let (control, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| Failure::system("can't make a socket pair", &errno.into()))?;
        // A command beside a target, where restage may send and nothing else, gets no namespaces of its own.
        let is_bare = !Facts::read().has(capability::SYS_ADMIN);
        let pids = match start.surroundings {
            _ if is_bare => Pids::Machine,
            Around::Machine | Around::In(_) => Pids::New,
            Around::Beside(inside) => inside.pids()?.map_or(Pids::New, Pids::Of),
        };
        let is_guest = !matches!(pids, Pids::New);
        let (pump, stdout, stderr) = match start.most_output {
            Some(most) => {
                let (pump, [stdout, stderr]) = Pump::start([copy(&start.stdout)?, copy(&start.stderr)?], most)?;
                (Some(pump), stdout, stderr)
            }
            None => (None, copy(&start.stdout)?.into(), copy(&start.stderr)?.into()),
        };
        let mut command = init_command(start, other, is_bare)?;
        command.stdout(stdout).stderr(stderr);
        let receiver = namespace.as_fd().try_clone_to_owned();
        let receiver = receiver.map_err(|error| Failure::system("can't copy a descriptor", &error))?;
        let (init, keeper) = keep(command, Namespace::from(receiver), pids)?;
        let registered = Some(Registered::new(Leftover::Init(init.id())));
        let notes = Vec::new();
        let mut application = Self {
            init,
            is_guest,
            inside: None,
            registered,
            control,
            ended: None,
            program: None,
            notes,
            pump,
            discarded: [0; 2],
            keeper: Some(keeper),
        };
        match application.receive(None)? {
            Some(Report::Started(notes)) => {
                application.notes = notes;
                if !is_guest {
                    // One that ended at once has none any more.
                    application.inside = Inside::of(application.init.id()).ok();
                }
            }
            Some(Report::Ended(ended)) => application.finish(ended)?,
            Some(Report::Refused(Refused::Blocked(problem))) => return Err(Failure::blocked(*problem)),
            Some(Report::Refused(Refused::Namespaces(number))) => {
                return Err(match Errno::from_raw(number) {
                    // Of what happens there only namespaces have such a limit.
                    Errno::ENOSPC => refusal(Step::Surroundings, Errno::ENOSPC, &Facts::read()),
                    errno => Failure::system("can't start the application's init", &errno.into()),
                });
            }
            Some(Report::Signalled | Report::ProgramEnded(_)) | None => {
                return Err(Failure::system("the application's init says nothing", &io::ErrorKind::TimedOut.into()));
            }
        }
        Ok(application)
    }

    /// What the program's surroundings lack, in words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many bytes of its standard output and its standard error were discarded, once it has ended.
    pub fn discarded(&self) -> [u64; 2] {
        self.discarded
    }

    /// What can kill it from another thread.
    pub fn killer(&self) -> Result<Killer> {
        let control = self.control.try_clone();
        control.map(Killer).map_err(|error| Failure::system("can't copy a descriptor", &error))
    }

    /// The namespaces that it runs in, for what is to run or look beside it; `None` where it has none of its own, or ended at once.
    pub fn inside(&self) -> Option<&Inside> {
        self.inside.as_ref()
    }

    /// Whether the program has ended while processes that it started went on. Unless it was asked to stop before, it went into the
    /// background: its status was 0 then.
    pub fn has_left_others(&self) -> bool {
        self.program.is_some()
    }

    /// Whether all of it has ended, and how: the end of the program, or, where that went into the background, of the last process that it
    /// left; of one of those that a signal ended, where that is no stop signal.
    pub fn ended(&mut self) -> Result<Option<Ended>> {
        self.wait(Duration::ZERO)
    }

    /// Waits for the end of all of it, at most for `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<Ended>> {
        let end = Instant::now() + limit;
        while self.ended.is_none() && self.wait_for_report(end)? {}
        Ok(self.ended.clone())
    }

    /// Waits for the end of the program itself, at most for `limit`, and kills what it left behind.
    pub fn wait_for_program(&mut self, limit: Duration) -> Result<Option<Ended>> {
        let end = Instant::now() + limit;
        while self.ended.is_none() && self.program.is_none() && self.wait_for_report(end)? {}
        if let (None, Some(ended)) = (&self.ended, self.program.clone()) {
            self.finish(ended)?;
        }
        Ok(self.ended.clone())
    }

    /// Takes the next report; false when there was none until `end`.
    fn wait_for_report(&mut self, end: Instant) -> Result<bool> {
        match self.receive(Some(end.saturating_duration_since(Instant::now())))? {
            Some(Report::Ended(ended)) => self.finish(ended)?,
            Some(Report::ProgramEnded(ended)) => self.program = Some(ended),
            Some(Report::Started(_) | Report::Refused(_) | Report::Signalled) => {}
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Sends the program `signal`, and what it leaves behind too, and waits for the end of all for `grace`, then kills everything.
    /// Nothing of it is left when this returns.
    pub fn stop(&mut self, signal: i32, grace: Duration) -> Result<Stopped> {
        if let Some(ended) = self.wait(Duration::ZERO)? {
            return Ok(Stopped { ended, killed: false });
        }
        self.request(Request::Stop(signal))?;
        let background = self.program.is_some();
        if let Some(ended) = self.wait(grace)? {
            return Ok(Stopped { ended, killed: false });
        }
        if let Some(ended) = self.program.clone().filter(|_| !background) {
            // The program itself ended as asked; what it left behind did not.
            self.finish(ended.clone())?;
            return Ok(Stopped { ended, killed: false });
        }
        self.finish(Ended::Signalled(nix::libc::SIGKILL))?;
        Ok(Stopped { ended: Ended::Signalled(nix::libc::SIGKILL), killed: true })
    }

    /// Sends the program a signal that is not to end it; where it is in the background, all its processes. Nothing happens where all have ended.
    /// When this returns, it has it.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        if self.ended()?.is_none() {
            self.request(Request::Signal(signal))?;
        }
        while self.ended.is_none() {
            match self.receive(None)? {
                Some(Report::Signalled) => break,
                Some(Report::Ended(ended)) => self.finish(ended)?,
                Some(Report::ProgramEnded(ended)) => self.program = Some(ended),
                Some(Report::Started(_) | Report::Refused(_)) | None => {}
            }
        }
        Ok(())
    }

    fn request(&self, request: Request) -> Result<()> {
        match say(&self.control, request) {
            // EPIPE: it ended in this moment, and its report waits in the socket.
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(Failure::system("can't reach the application's init", &errno.into())),
        }
    }

    /// The processes in it, as this process sees them; without the init.
    pub fn pids(&self) -> Vec<u32> {
        if self.ended.is_some() { Vec::new() } else { descendants(self.init.id()) }
    }

    /// Whether each thread of its processes sleeps, so that none is about to do something.
    pub fn sleeps(&self) -> bool {
        self.pids().into_iter().all(|pid| {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let states = threads.filter_map(|thread| {
                let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
                Some(stat.rsplit_once(") ")?.1.starts_with('S'))
            });
            states.into_iter().all(|sleeps| sleeps)
        })
    }

    /// Waits for the init's next report; `None` for ever.
    fn receive(&mut self, limit: Option<Duration>) -> Result<Option<Report>> {
        let unreachable = |errno: Errno| Failure::system("can't reach the application's init", &errno.into());
        let end = limit.map(|limit| Instant::now() + limit);
        loop {
            let left = end.map_or(PollTimeout::NONE, |end| {
                // Rounded up, so that the last millisecond isn't spent in turning round.
                let left = end.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            match poll(&mut [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)], left) {
                Ok(0) if end.is_some_and(|end| Instant::now() >= end) => return Ok(None),
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(unreachable(errno)),
            }
            let mut bytes = vec![0; MOST_BYTES];
            let length = recv(self.control.as_raw_fd(), &mut bytes, MsgFlags::empty()).map_err(unreachable)?;
            if length == 0 {
                // The init was killed before it could report.
                return Ok(Some(Report::Ended(Ended::Signalled(nix::libc::SIGKILL))));
            }
            bytes.truncate(length);
            return serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| Failure::system("can't read a report of the application's init", &error.into()));
        }
    }

    /// Kills what is left, waits until it is gone, and ends the keeper.
    fn finish(&mut self, ended: Ended) -> Result<()> {
        self.ended = Some(ended);
        self.registered = None;
        // Where it has no pid namespace, what it has started outlives its init.
        if self.is_guest {
            descendants(self.init.id()).into_iter().for_each(kill_quietly);
        }
        let reaped = self.init.kill().and_then(|()| self.init.wait());
        if let Some(pump) = self.pump.take() {
            self.discarded = pump.finish();
        }
        if let Some(Keeper { release, thread }) = self.keeper.take() {
            drop(release);
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        reaped.map(drop).map_err(|error| Failure::system("can't end the application's init", &error))
    }
}

fn say(control: &OwnedFd, request: Request) -> nix::Result<usize> {
    let bytes = serde_json::to_vec(&request).map_err(|_| Errno::EINVAL)?;
    send(control.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL)
}

/// Kills an application through its init.
#[derive(Debug)]
pub struct Killer(OwnedFd);

impl Killer {
    pub fn kill(&self) {
        // It fails only where the application has ended.
        let _ = say(&self.0, Request::Stop(nix::libc::SIGKILL));
    }
}

impl AsFd for Application {
    /// Readable when the application has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // An error can't be reported here; the init dies with this process anyway.
            let _ = self.finish(Ended::Signalled(nix::libc::SIGKILL));
        }
    }
}

fn copy(file: &File) -> Result<File> {
    file.try_clone().map_err(|error| Failure::system("can't copy a descriptor", &error))
}

/// The command of the init: this program again, with the control socket as its standard input.
fn init_command(start: &Start<'_>, control: OwnedFd, is_bare: bool) -> Result<Command> {
    let (around, inherited) = match start.surroundings {
        Around::Machine => (Namespaces::Inherited, None),
        _ if is_bare => (Namespaces::Inherited, None),
        Around::In(inside) | Around::Beside(inside) => {
            let inside = inside.try_clone()?;
            let has_own_processes = matches!(start.surroundings, Around::In(_));
            (inside.as_namespaces(has_own_processes), Some(inside))
        }
    };
    let order = Order { around, folder: start.folder.to_owned(), rights: start.rights.clone() };
    let order = serde_json::to_string(&order)
        .map_err(|error| Failure::system("can't hand an order to the application's init", &error.into()))?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(NAME)
        .arg(init::VERB)
        .arg(order)
        .arg(start.program)
        .args(start.arguments)
        .current_dir(start.folder)
        .envs(start.environment.iter().map(|(name, value)| (name, value)))
        .stdin(control);
    let for_init = move || {
        dies_with_its_maker()?;
        inherited.as_ref().map_or(Ok(()), Inside::stay_open)
    };
    // SAFETY: the closure runs in the child of a process that may have threads: it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(for_init) };
    Ok(command)
}

/// The pid namespace of an init.
enum Pids {
    Machine,
    /// A new one, whose pid 1 it is.
    New,
    /// That of an application that runs.
    Of(OwnedFd),
}

/// Starts `command` from a thread of its own, in the receiver's namespace and in this pid namespace. The thread lives until it is released.
fn keep(mut command: Command, receiver: Namespace, pids: Pids) -> Result<(Child, Keeper)> {
    let (sender, spawned_init) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let thread = thread::Builder::new().name("keeper".into()).spawn(move || {
        let spawned = receiver.enter_thread().and_then(|()| {
            match &pids {
                Pids::Machine => {}
                Pids::New => unshare(CloneFlags::CLONE_NEWPID)
                    .map_err(|errno| refusal(Step::PidNamespace, errno, &Facts::read()))?,
                Pids::Of(pids) => setns(pids, CloneFlags::CLONE_NEWPID)
                    .map_err(|errno| Failure::system("can't enter the application's namespaces", &errno.into()))?,
            }
            hand_on_capabilities();
            command.spawn().map_err(|error| Failure::system("can't start the application's init", &error))
        });
        // The command holds the init's end of the control socket: closed here, so that its end is seen.
        drop((command, receiver));
        if sender.send(spawned).is_ok() {
            // Nothing is ever sent: this ends when the application lets go.
            let _ = released.recv();
        }
    });
    let thread = thread.map_err(|error| Failure::system("can't start a thread", &error))?;
    let init = spawned_init
        .recv()
        .unwrap_or_else(|_| Err(Failure::system("the keeper", &io::ErrorKind::BrokenPipe.into())))?;
    Ok((init, Keeper { release, thread }))
}

/// Kills a process that may be gone.
fn kill_quietly(pid: u32) {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
}

/// All processes below `ancestor`, by the parents that /proc names. What is orphaned in a pid namespace becomes its init's
/// child, so that nothing gets away.
fn descendants(ancestor: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // pid (name) state parent …: the name may hold anything, so the fields begin after the last parenthesis.
            Some((pid, stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?))
        })
        .collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, its_parent)| *its_parent == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}
