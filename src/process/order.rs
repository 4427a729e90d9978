//! What an init is to do before it starts its program: the namespaces that it enters or makes, and as whom the program runs.
//!
//! The side that starts the init hands it over as JSON in its arguments; secrets are in the environment only. Start at [`Order`].
#![expect(unsafe_code, reason = "descriptors are inherited by their numbers")]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

use super::surroundings::{own_mounts, own_processes};
use crate::diagnostic::Diagnostic;

/// What an init is to do before it starts its program.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) around: Namespaces,
    /// Where the program starts.
    pub(super) folder: PathBuf,
    pub(super) rights: Rights,
}

/// The namespaces of an init, beside those of its network and its processes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) enum Namespaces {
    /// Those of the process that made it.
    #[default]
    Inherited,
    /// Those of these descriptors: of a mount and an IPC namespace.
    Of {
        mounts: RawFd,
        memory: RawFd,
        /// Whether the init is in a pid namespace of its own: the files are those of the mount namespace then, but for /proc.
        has_own_processes: bool,
    },
}

/// As whom a program runs, and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rights {
    /// The account that it runs as, where that is another one.
    pub account: Option<Account>,
    /// Numbers of the capabilities that it has, beside those of root.
    pub capabilities: Vec<u32>,
    /// `RLIMIT_DATA`, in bytes.
    pub memory: Option<u64>,
    /// `RLIMIT_NOFILE`.
    pub files: Option<u64>,
}

/// An account of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// The account of this name; `None` where there is none.
    pub fn named(name: &str) -> Option<Self> {
        let user = nix::unistd::User::from_name(name).ok().flatten()?;
        Some(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() })
    }

    /// Whether this process runs as it.
    pub fn is_current(&self) -> bool {
        nix::unistd::geteuid().as_raw() == self.uid
    }
}

/// Why an init can't do what it is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refused {
    /// The kernel refuses its namespaces, with this error number.
    Namespaces(i32),
    Blocked(Box<Diagnostic>),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self::Namespaces(errno as i32)
    }
}

impl Order {
    /// Does it, in a process that has one thread.
    pub(super) fn prepare(&self) -> Result<(), Refused> {
        match &self.around {
            Namespaces::Inherited => return Ok(()),
            Namespaces::Of { mounts, memory, has_own_processes } => {
                setns(inherited(*memory), CloneFlags::CLONE_NEWIPC)?;
                setns(inherited(*mounts), CloneFlags::CLONE_NEWNS)?;
                if *has_own_processes {
                    own_mounts()?;
                    own_processes();
                }
            }
        }
        self.rights.check()?;
        nix::unistd::chdir(&self.folder).map_err(|errno| {
            let problem = Diagnostic::error(format!("the application can't start in `{}`", self.folder.display()));
            let fix = "choose another folder for `[receiver] cwd`, or remove it";
            Refused::Blocked(Box::new(problem.why(errno.desc()).fix(fix)))
        })
    }
}

/// A descriptor that was opened for this process alone.
fn inherited(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the process that made this one left it open for this purpose, and nothing else here knows of it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

impl Rights {
    fn set(&self) -> CapsHashSet {
        let all = caps::all();
        all.into_iter().filter(|capability| self.capabilities.contains(&u32::from(capability.index()))).collect()
    }

    /// Refuses capabilities that this process can't give.
    fn check(&self) -> Result<(), Refused> {
        let own = caps::read(None, CapSet::Permitted).unwrap_or_default();
        let missing: Vec<String> = self.set().difference(&own).map(Capability::to_string).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let problem = Diagnostic::error(format!("restage can't give {} to the application", missing.join(", ")))
            .why("it has none to give: this container or this service runs without it")
            .fix("start the container with it (`--cap-add`), or remove it from `[receiver] capabilities`");
        Err(Refused::Blocked(Box::new(problem)))
    }

    /// Takes them on: for a process that is to become the program. Where memory runs out, the kernel ends it before others.
    pub(super) fn take_on(&self) -> std::io::Result<()> {
        // proc_pid_oom_score_adj(5). Nothing depends on it where it can't be written.
        let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
        let limits = [(Resource::RLIMIT_DATA, self.memory), (Resource::RLIMIT_NOFILE, self.files)];
        for (resource, limit) in limits {
            if let Some(limit) = limit {
                setrlimit(resource, limit, limit)?;
            }
        }
        let set = self.set();
        if let Some(Account { name, uid, gid }) = &self.account {
            // Otherwise a user that isn't root has none any more.
            nix::sys::prctl::set_keepcaps(!set.is_empty())?;
            let name = std::ffi::CString::new(name.as_str())?;
            nix::unistd::initgroups(&name, Gid::from_raw(*gid))?;
            nix::unistd::setgid(Gid::from_raw(*gid))?;
            nix::unistd::setuid(Uid::from_raw(*uid))?;
        }
        let refused = |error: caps::errors::CapsError| std::io::Error::other(error.to_string());
        caps::set(None, CapSet::Inheritable, &set).map_err(refused)?;
        // A kernel without ambient capabilities (before 4.3) has given none.
        caps::set(None, CapSet::Ambient, &set).map_err(refused)
    }
}

/// Lets what this thread executes have its capabilities, whoever it is.
pub(super) fn hand_on_capabilities() {
    // What can't be handed on is missed by the init, which says so.
    if let Ok(own) = caps::read(None, CapSet::Permitted) {
        let _ = caps::set(None, CapSet::Inheritable, &own).and_then(|()| caps::set(None, CapSet::Ambient, &own));
    }
}
