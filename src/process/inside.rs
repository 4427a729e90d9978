//! The namespaces of an application: to run a program beside it, which sees its files and its processes, and to look at its files.
//!
//! Files that the application has for itself are in its mount namespace only. See `mount_namespaces(7)`, setns(2). Start at [`Inside`].

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, setns, unshare};

use super::order::Namespaces;
use crate::diagnostic::{Failure, Result};

/// The namespaces of an application, held open: those of its files and shared memory outlive it.
#[derive(Debug)]
pub struct Inside {
    mounts: File,
    memory: File,
    pids: File,
}

impl Inside {
    /// Those of the process `pid`.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let open = |name: &str| File::open(format!("/proc/{pid}/ns/{name}"));
        Ok(Self { mounts: open("mnt")?, memory: open("ipc")?, pids: open("pid")? })
    }

    pub(super) fn try_clone(&self) -> Result<Self> {
        let copy = || {
            Ok(Self {
                mounts: self.mounts.try_clone()?,
                memory: self.memory.try_clone()?,
                pids: self.pids.try_clone()?,
            })
        };
        copy().map_err(|error| Failure::system("can't copy a descriptor", &error))
    }

    pub(super) fn pids(&self) -> Result<OwnedFd> {
        self.pids.try_clone().map(OwnedFd::from).map_err(|error| Failure::system("can't copy a descriptor", &error))
    }

    /// Those that an init is to enter.
    pub(super) fn as_namespaces(&self, ended: bool) -> Namespaces {
        Namespaces::Of { mounts: self.mounts.as_raw_fd(), memory: self.memory.as_raw_fd(), ended }
    }

    /// Between fork and exec: what is executed inherits them. System calls only.
    pub(super) fn stay_open(&self) -> io::Result<()> {
        for descriptor in [&self.mounts, &self.memory] {
            fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    }

    /// Runs `look` on a thread that sees the application's files; the caller stays where it is.
    ///
    /// # Errors
    /// When the thread can't be made or can't enter.
    pub fn run<T: Send>(&self, look: impl FnOnce() -> T + Send) -> Result<T> {
        let cant = |error: &io::Error| Failure::system("can't look at the application's files", error);
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("inside".into())
                .spawn_scoped(scope, || {
                    // A thread that shares its root and its working folder with others can't change its mounts.
                    unshare(CloneFlags::CLONE_FS)?;
                    setns(&self.mounts, CloneFlags::CLONE_NEWNS)?;
                    Ok::<T, nix::Error>(look())
                })
                .map_err(|error| cant(&error))?;
            let seen = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            seen.map_err(|errno| cant(&errno.into()))
        })
    }
}
