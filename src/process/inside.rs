//! The files and the shared memory that the programs of a receiver have in common, in namespaces of their own.
//!
//! They are made once, and held open: a program enters them when it is started, and they outlive it. Each program has its own processes; another
//! one can be started beside them. See `mount_namespaces(7)`, setns(2). Start at [`Inside::new`].

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, setns, unshare};

use super::order::Namespaces;
use super::surroundings::Surroundings;
use crate::diagnostic::{Failure, Result};
use crate::host::namespace::Namespace;

/// Namespaces, held open: those of files and shared memory, and where a program runs there, of its processes.
#[derive(Debug)]
pub struct Inside {
    mounts: File,
    memory: File,
    pids: Option<File>,
}

impl Inside {
    /// Makes new ones with these surroundings, where interfaces are those of this network namespace. No process is in them.
    ///
    /// # Errors
    /// As [`Surroundings::enter`].
    pub fn new(surroundings: &Surroundings, interfaces: &Namespace) -> Result<Self> {
        on_a_thread(|| {
            interfaces.enter_thread()?;
            surroundings.enter()?;
            let open = |name: &str| File::open(format!("/proc/thread-self/ns/{name}"));
            let opened = open("mnt").and_then(|mounts| Ok(Self { mounts, memory: open("ipc")?, pids: None }));
            opened.map_err(|error| Failure::system("can't open a namespace", &error))
        })?
    }

    /// Those of the process `pid`.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let open = |name: &str| File::open(format!("/proc/{pid}/ns/{name}"));
        Ok(Self { mounts: open("mnt")?, memory: open("ipc")?, pids: Some(open("pid")?) })
    }

    pub(super) fn try_clone(&self) -> Result<Self> {
        let copy = || {
            Ok(Self {
                mounts: self.mounts.try_clone()?,
                memory: self.memory.try_clone()?,
                pids: self.pids.as_ref().map(File::try_clone).transpose()?,
            })
        };
        copy().map_err(|error| Failure::system("can't copy a descriptor", &error))
    }

    /// The namespace of the processes there; `None` where no program runs.
    pub(super) fn pids(&self) -> Result<Option<OwnedFd>> {
        let copy = self.pids.as_ref().map(|pids| pids.try_clone().map(OwnedFd::from)).transpose();
        copy.map_err(|error| Failure::system("can't copy a descriptor", &error))
    }

    /// Those that an init is to enter. `has_own_processes`: whether it has a pid namespace of its own.
    pub(super) fn as_namespaces(&self, has_own_processes: bool) -> Namespaces {
        Namespaces::Of { mounts: self.mounts.as_raw_fd(), memory: self.memory.as_raw_fd(), has_own_processes }
    }

    /// Between fork and exec: what is executed inherits them. System calls only.
    pub(super) fn stay_open(&self) -> io::Result<()> {
        for descriptor in [&self.mounts, &self.memory] {
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    }

    /// Runs `look` on a thread that sees the files; the caller stays where it is.
    ///
    /// # Errors
    /// When the thread can't be made or can't enter.
    pub fn run<T: Send>(&self, look: impl FnOnce() -> T + Send) -> Result<T> {
        let seen = on_a_thread(|| {
            // A thread that shares its root and its working folder with others can't change its mounts.
            unshare(CloneFlags::CLONE_FS)?;
            setns(&self.mounts, CloneFlags::CLONE_NEWNS)?;
            Ok::<T, nix::Error>(look())
        })?;
        seen.map_err(|errno| Failure::system("can't look at the application's files", &errno.into()))
    }
}

/// Runs something on a thread of its own, which may enter namespaces.
fn on_a_thread<T: Send>(run: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("inside".into()).spawn_scoped(scope, run);
        let thread = thread.map_err(|error| Failure::system("can't start a thread", &error))?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
