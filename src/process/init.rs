//! Pid 1 of an application's pid namespace: starts the program, passes signals on, reaps, reports, and ends with it.
//!
//! A program that ends with status 0 while processes that it started go on went into the background, as daemons do: the init ends with the
//! last of them then. What a program leaves behind when it was asked to stop is asked to stop as well.
//!
//! A program that is pid 1 itself ignores every signal that it has no handler for; that is why this one is its parent.
//! When it ends, the kernel kills whatever is left in the namespace. The other side is [`super::application`].
#![expect(unsafe_code, reason = "pre_exec, and kill and wait for real-time signals too, which nix doesn't know")]

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{MsgFlags, recv, send};

use super::messages::{Ended, MOST_BYTES, Report, Request};
use super::order::Order;
use crate::scenario::topology::{EXISTING_RECEIVER, LAB_RECEIVER};

/// The hidden verb that this runs as.
pub(crate) const VERB: &str = "__init";

/// Runs the program that `arguments` name, with the control socket as standard input. Only
/// [`super::application::Application::start`] calls it, in a pid namespace of its own.
pub(crate) fn main(arguments: &[OsString]) -> i32 {
    match Init::new().and_then(|mut init| init.run(arguments)) {
        Ok(()) => 0,
        // The control socket is closed or broken: who made this is gone.
        Err(_) => 1,
    }
}

struct Init {
    control: OwnedFd,
    signals: SignalFd,
}

impl Init {
    fn new() -> io::Result<Self> {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // Where there is no pid namespace, what is orphaned comes back here.
        nix::sys::prctl::set_child_subreaper(true)?;
        // A session of its own: Ctrl-C on the terminal is restage's business.
        nix::unistd::setsid()?;
        SigSet::all().thread_block()?;
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        // A copy that closes on exec; the program gets /dev/null in its place.
        let control = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self { control, signals })
    }

    fn run(&mut self, arguments: &[OsString]) -> io::Result<()> {
        let [order, program, rest @ ..] = arguments else {
            return self.report(&Report::Ended(Ended::NotStarted("no program named".into())));
        };
        let order: Order = serde_json::from_slice(order.as_encoded_bytes())?;
        if let Err(refused) = order.prepare() {
            return self.report(&Report::Refused(refused));
        }
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::null());
        let rights = order.rights;
        // SAFETY: this process has one thread, so that anything may be called after fork.
        unsafe { command.pre_exec(move || rights.take_on().and_then(|()| signals_as_new())) };
        let program = match command.spawn() {
            Ok(child) => child.id().cast_signed(),
            Err(error) => return self.report(&Report::Ended(Ended::NotStarted(error.to_string()))),
        };
        // The output belongs to the program alone: a reader of its pipe sees the end when the program closes it.
        let null = fs::OpenOptions::new().write(true).open("/dev/null")?;
        nix::unistd::dup2_stdout(&null)?;
        nix::unistd::dup2_stderr(&null)?;
        self.report(&Report::Started(lacks()))?;
        let mut family = Family { program, ended: None, after_stop: false, left_others: false, stop_signal: None };
        loop {
            let known = family.ended.is_some();
            if let Some(ended) = family.reap()? {
                if family.left_others && !known {
                    // They ended before this one could look.
                    self.report(&Report::ProgramEnded(ended.clone()))?;
                }
                return self.report(&Report::Ended(ended));
            }
            if let Some(ended) = family.ended.clone().filter(|_| !known) {
                self.report(&Report::ProgramEnded(ended))?;
                if let Some(signal) = family.stop_signal {
                    family.pass_on(signal)?;
                }
            }
            let mut waiting = [
                PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut waiting, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let [control, signals] = waiting.map(|one| one.any().unwrap_or(false));
            if control {
                match self.read_request()? {
                    Request::Stop(signal) => family.stop(signal)?,
                    Request::Signal(signal) => {
                        family.pass_on(signal)?;
                        self.report(&Report::Signalled)?;
                    }
                }
            }
            if signals {
                // One record may be for several children: reap finds them all.
                while self.signals.read_signal()?.is_some() {}
            }
        }
    }

    fn read_request(&self) -> io::Result<Request> {
        let mut bytes = vec![0; MOST_BYTES];
        let length = recv(self.control.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
        bytes.truncate(length);
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        let bytes = serde_json::to_vec(report)?;
        send(self.control.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }
}

/// The program, and the processes that it started.
struct Family {
    program: libc::pid_t,
    /// How the program ended, where others go on; in the background, how the last one of those did.
    ended: Option<Ended>,
    /// Whether the program ended after it was asked to stop: then only its own end counts.
    after_stop: bool,
    /// Whether others ended after the program.
    left_others: bool,
    /// The last signal that was to stop it.
    stop_signal: Option<i32>,
}

impl Family {
    fn stop(&mut self, signal: i32) -> io::Result<()> {
        self.stop_signal = Some(signal);
        self.pass_on(signal)
    }

    /// Sends the program a signal; once it has ended, every process that it left.
    fn pass_on(&mut self, signal: i32) -> io::Result<()> {
        // kill(2): of -1, all processes of the pid namespace but this one. Without a namespace, of 0, those of this process group: this one
        // blocks every signal.
        let others = if nix::unistd::getpid().as_raw() == 1 { -1 } else { 0 };
        let to = if self.ended.is_some() { others } else { self.program };
        // SAFETY: kill(2) takes no pointers.
        match unsafe { libc::kill(to, signal) } {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                // The last one has ended, and is about to be reaped.
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
                error => Err(error),
            },
        }
    }

    /// Reaps every child that has ended. How it all ended, once it has: with the program, unless that went into the background or was
    /// asked to stop, and others go on.
    fn reap(&mut self) -> io::Result<Option<Ended>> {
        loop {
            let mut status = 0;
            // SAFETY: waitpid(2) writes one integer to `status`, which lives until it returns.
            let pid = match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
                0 => return Ok(None),
                -1 => match io::Error::last_os_error() {
                    error if error.raw_os_error() == Some(libc::ECHILD) => return Ok(self.ended.take()),
                    error => return Err(error),
                },
                pid => pid,
            };
            let status = ExitStatus::from_raw(status);
            let by_signal = || Ended::Signalled(status.signal().unwrap_or_default());
            let ended = status.code().map_or_else(by_signal, Ended::Exited);
            if pid == self.program {
                self.after_stop = self.stop_signal.is_some();
                if !self.after_stop && ended != Ended::Exited(0) {
                    return Ok(Some(ended));
                }
                self.ended = Some(ended);
            } else if let Some(before) = &self.ended {
                self.left_others = true;
                if !self.after_stop && !self.is_crash(before) {
                    self.ended = Some(ended);
                }
            }
        }
    }

    /// Whether a signal that was not to stop it ended it.
    fn is_crash(&self, ended: &Ended) -> bool {
        matches!(ended, Ended::Signalled(number) if self.stop_signal != Some(*number))
    }
}

/// No signal ignored, none blocked, as after login; and it ends with its init.
fn signals_as_new() -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the default action is no function that could be called at a wrong time. SIGKILL, SIGSTOP and the C
        // library's own two can't be changed: an error says only that.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    Ok(SigSet::empty().thread_set_mask()?)
}

/// What the program's surroundings lack, in words; see [`super::application`].
fn lacks() -> Vec<String> {
    let mut lacks = Vec::new();
    if fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() != "1") {
        lacks.push("the application sees the processes of the machine: this system allows no new /proc".into());
    }
    let is_there = |interface: &str| fs::exists(format!("/sys/class/net/{interface}")).unwrap_or(false);
    if ![LAB_RECEIVER, EXISTING_RECEIVER].iter().any(|interface| is_there(interface)) {
        lacks.push("the application sees the interfaces of the machine in /sys: this system allows no new /sys".into());
    }
    lacks
}
