//! `capabilities`: what this process must be allowed to do, by the names of capabilities(7).

use super::super::form::values;
use super::super::vocabulary;
use crate::diagnostic::Diagnostic;

values! {
    Capability: String, |name: &String| read(name);
}

/// A capability, by its number and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// Its bit in the sets of a process (`linux/capability.h`).
    pub number: u32,
    /// `CAP_…`
    pub name: &'static str,
}

/// Every capability of Linux 5.9 and later, by its number.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

impl Capability {
    fn named(name: &str) -> Option<Self> {
        (0..).zip(NAMES).find(|(_, known)| *known == name).map(|(number, name)| Self { number, name })
    }
}

fn read(name: &str) -> Result<Capability, Diagnostic> {
    if let Some(capability) = Capability::named(name) {
        return Ok(capability);
    }
    let problem = Diagnostic::error(format!("there is no capability `{name}`"))
        .why("they are named as in capabilities(7), in capital letters, beginning with CAP_");
    let whole = if name.to_uppercase().starts_with("CAP_") { name.to_owned() } else { format!("CAP_{name}") };
    let known = if name.trim().is_empty() { &[][..] } else { &NAMES };
    let fix = "write a name like \"CAP_BPF\"; capabilities(7) lists them";
    Err(vocabulary::suggest(problem, &whole, known.iter().copied(), '"', fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_kernels() {
        for (name, number) in
            [("CAP_CHOWN", 0), ("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_PERFMON", 38), ("CAP_BPF", 39)]
        {
            assert_eq!(Capability::named(name), Some(Capability { number, name }));
        }
        assert_eq!(Capability::named("cap_bpf"), None);
    }
}
