//! What this process may do, and over what: capabilities(7).
//!
//! Read it before [`super::namespace::enter`]: inside a user namespace of its own, a process has every capability over what it makes,
//! and none over the machine. Start at [`Capabilities::read`].

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::facts::{Facts, capability};

/// The inode of the initial user namespace: `PROC_USER_INIT_INO` of the kernel.
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;

pub(crate) fn in_initial_user_namespace() -> bool {
    fs::metadata("/proc/self/ns/user").is_ok_and(|namespace| namespace.ino() == INITIAL_USER_NAMESPACE)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    effective: u64,
    over_machine: bool,
    root: bool,
}

/// The state of a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is effective where the kernel looks for it.
    Effective,
    /// It is effective over a user namespace, and the kernel asks for it over the machine.
    InUserNamespace,
    Absent,
}

impl Capabilities {
    pub fn read() -> Self {
        let Facts { capabilities, uid, in_user_namespace, .. } = Facts::read();
        Self::of(capabilities, !in_user_namespace, uid == 0)
    }

    pub fn of(effective: u64, over_machine: bool, root: bool) -> Self {
        Self { effective, over_machine, root }
    }

    pub fn is_root(self) -> bool {
        self.root
    }

    /// The state of the capability with this number. BPF programs, tracing and what `CAP_SYS_ADMIN` allows are checked against the
    /// initial user namespace.
    pub fn standing(self, number: u32) -> Standing {
        let machine_only = matches!(number, capability::SYS_ADMIN | capability::PERFMON | capability::BPF);
        match self.effective.checked_shr(number).is_some_and(|bits| bits & 1 == 1) {
            false => Standing::Absent,
            true if machine_only && !self.over_machine => Standing::InUserNamespace,
            true => Standing::Effective,
        }
    }
}
