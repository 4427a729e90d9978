//! What must not outlive this process: applications and work folders, known in one place for the moment when no one is left
//! to end them in order.
//!
//! Each registers when it is made and strikes itself off when it is gone. [`clear`] is for a worker whose parent was killed.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::file;

/// One thing that must not be left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// The init of an application, a child of this process that isn't reaped yet.
    Init(u32),
    /// A work folder.
    Folder(PathBuf),
}

static REGISTER: Mutex<Vec<Leftover>> = Mutex::new(Vec::new());

fn register() -> MutexGuard<'static, Vec<Leftover>> {
    // A list of values is whole at every moment, also where a holder of the lock panicked.
    REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps an entry in the register for as long as it lives.
#[derive(Debug)]
pub(crate) struct Registered(Leftover);

impl Registered {
    pub(crate) fn new(leftover: Leftover) -> Self {
        register().push(leftover.clone());
        Self(leftover)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut register = register();
        if let Some(position) = register.iter().position(|entry| *entry == self.0) {
            register.swap_remove(position);
        }
    }
}

/// Kills every application, waits until it is gone, and removes every work folder and every file that is not complete. What can't be removed is swept by the
/// next run.
pub(super) fn clear() {
    file::discard_unfinished();
    // Kept locked: nothing new is to be started, and the process ends next.
    let register = register();
    let inits = register.iter().filter_map(|entry| match entry {
        Leftover::Init(pid) => Some(Pid::from_raw(pid.cast_signed())),
        Leftover::Folder(_) => None,
    });
    for init in inits.clone() {
        let _ = kill(init, Signal::SIGKILL);
    }
    for init in inits {
        let _ = waitpid(init, None);
    }
    for entry in register.iter() {
        let _ = match entry {
            Leftover::Folder(folder) => fs::remove_dir_all(folder),
            Leftover::Init(_) => Ok(()),
        };
    }
}
