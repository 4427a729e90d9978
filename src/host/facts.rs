//! What this machine says about itself that decides whether a lab can be made, and why the kernel refused one.
//!
//! [`Facts::read`] looks; everything else is a pure function of what it saw, so that tests can feed the facts of machines
//! that aren't there. May use `diagnostic` and nix.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};

use crate::diagnostic::{Diagnostic, Failure};

/// Numbers of capabilities, see capabilities(7) and `include/uapi/linux/capability.h`.
pub mod capability {
    /// Interfaces, addresses, routes, sysctls of a network namespace.
    pub const NET_ADMIN: u32 = 12;
    /// Namespaces and mounts.
    pub const SYS_ADMIN: u32 = 21;
    /// Tracing with BPF, together with [`BPF`]; Linux 5.8.
    pub const PERFMON: u32 = 38;
    /// Loading BPF programs; Linux 5.8.
    pub const BPF: u32 = 39;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    Docker,
    Podman,
    Kubernetes,
}

impl Container {
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
            Self::Kubernetes => "Kubernetes",
        }
    }

    pub fn way_out(self) -> &'static str {
        match self {
            Self::Docker => {
                "start the container with `--security-opt seccomp=unconfined` (allows namespaces), `--security-opt \
                 apparmor=unconfined` (allows mounts) and `--security-opt systempaths=unconfined` (makes /proc/sys writable), \
                 or with `--privileged`, which does all three and more"
            }
            Self::Podman => {
                "start the container with `--security-opt seccomp=unconfined` (allows namespaces), `--security-opt \
                 label=disable` (allows mounts) and `--security-opt unmask=ALL` (makes /proc/sys writable), or with \
                 `--privileged`, which does all three and more"
            }
            Self::Kubernetes => {
                "give the container `securityContext: { privileged: true }`, or `procMount: Unmasked` with \
                 `seccompProfile: { type: Unconfined }` and `appArmorProfile: { type: Unconfined }`"
            }
        }
    }
}

/// The sysctls of the machine that decide whether a lab can be made, and how well. Only kernels of Debian and Ubuntu have
/// `kernel.unprivileged_userns_clone`, and Ubuntu's `kernel.apparmor_restrict_unprivileged_userns` since 23.10. `net.core.rmem_max` is in
/// bytes.
pub const SYSCTLS: [&str; 8] = [
    "user.max_user_namespaces",
    "user.max_net_namespaces",
    "user.max_pid_namespaces",
    "user.max_mnt_namespaces",
    "user.max_ipc_namespaces",
    "kernel.unprivileged_userns_clone",
    "kernel.apparmor_restrict_unprivileged_userns",
    "net.core.rmem_max",
];

/// The inode of the initial user namespace: `PROC_USER_INIT_INO` of the kernel.
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is effective where the kernel looks for it.
    Effective,
    /// It is effective over a user namespace, and the kernel asks for it over the machine.
    InUserNamespace,
    Absent,
}

/// What the machine says. `None` where it doesn't say (the file is absent or can't be read).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    pub uid: u32,
    /// The effective capabilities, one bit each.
    pub capabilities: u64,
    /// Whether this is not the initial user namespace: the capabilities are over what belongs to that namespace, not over the machine.
    pub in_user_namespace: bool,
    pub kernel: String,
    pub container: Option<Container>,
    pub seccomp: bool,
    /// The `AppArmor` profile of this process, such as `docker-default (enforce)`.
    pub apparmor_profile: Option<String>,
    pub proc_sys_read_only: bool,
    /// Those of [`SYSCTLS`] that this kernel has, by key.
    pub sysctls: BTreeMap<&'static str, u64>,
    /// The soft limit `RLIMIT_NOFILE`; `None`: unlimited.
    pub open_files: Option<u64>,
    /// The soft limit `RLIMIT_MEMLOCK`, in bytes; `None`: unlimited.
    pub memlock_bytes: Option<u64>,
    /// Where the program `nft` is.
    pub nft: Option<PathBuf>,
    /// Whether the kernel describes its own types, in `/sys/kernel/btf/vmlinux`.
    pub btf: bool,
}

impl Facts {
    /// Looks at this process and this machine. What can't be read is left unknown.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            capabilities: status_field(&status, "CapEff")
                .and_then(|text| u64::from_str_radix(text, 16).ok())
                .unwrap_or(0),
            in_user_namespace: !fs::metadata("/proc/self/ns/user")
                .is_ok_and(|namespace| namespace.ino() == INITIAL_USER_NAMESPACE),
            kernel: kernel_release(),
            container: container(),
            seccomp: status_field(&status, "Seccomp").is_some_and(|mode| mode != "0"),
            apparmor_profile: text_of("/proc/self/attr/apparmor/current")
                .or_else(|| text_of("/proc/self/attr/current"))
                .filter(|profile| !profile.is_empty() && profile != "unconfined"),
            proc_sys_read_only: read_only("/proc/sys"),
            sysctls: SYSCTLS.iter().filter_map(|key| Some((*key, number_of(key)?))).collect(),
            open_files: soft_limit(Resource::RLIMIT_NOFILE),
            memlock_bytes: soft_limit(Resource::RLIMIT_MEMLOCK),
            nft: super::program::find("nft"),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        }
    }

    pub fn has(&self, number: u32) -> bool {
        self.capabilities.checked_shr(number).is_some_and(|bits| bits & 1 == 1)
    }

    /// The state of the capability with this number. BPF programs, tracing and what `CAP_SYS_ADMIN` allows are checked against the
    /// initial user namespace.
    pub fn standing(&self, number: u32) -> Standing {
        let machine_only = matches!(number, capability::SYS_ADMIN | capability::PERFMON | capability::BPF);
        match self.has(number) {
            false => Standing::Absent,
            true if machine_only && self.in_user_namespace => Standing::InUserNamespace,
            true => Standing::Effective,
        }
    }

    pub fn sysctl(&self, key: &str) -> Option<u64> {
        self.sysctls.get(key).copied()
    }

    /// Why user namespaces are refused to an ordinary user by a switch of the distribution, and the ways out.
    pub(crate) fn switches_off_user_namespaces(&self) -> Vec<(String, String)> {
        let debian = self.sysctl("kernel.unprivileged_userns_clone") == Some(0);
        let ubuntu = self.sysctl("kernel.apparmor_restrict_unprivileged_userns").is_some_and(|value| value != 0);
        let debian = debian.then_some((
            "kernel.unprivileged_userns_clone = 0 keeps user namespaces from ordinary users",
            "run `sudo sysctl kernel.unprivileged_userns_clone=1`, or run restage with sudo",
        ));
        let ubuntu = ubuntu.then_some((
            "kernel.apparmor_restrict_unprivileged_userns = 1: AppArmor lets a program without a profile make a user \
             namespace, but do nothing in it",
            "run restage with sudo, or give it an AppArmor profile with the line `userns,`, or run `sudo sysctl \
             kernel.apparmor_restrict_unprivileged_userns=0`",
        ));
        debian.into_iter().chain(ubuntu).map(|(why, fix)| (why.to_owned(), fix.to_owned())).collect()
    }

    /// Whether namespaces and interfaces can be made without a user namespace.
    pub fn privileged(&self) -> bool {
        self.has(capability::SYS_ADMIN) && self.has(capability::NET_ADMIN)
    }

    /// Whether this is version 1 of the Windows Subsystem for Linux: no Linux kernel, but a translation of its system
    /// calls, without namespaces for the network. Version 2 calls itself `…-microsoft-standard-WSL2`.
    pub fn wsl1(&self) -> bool {
        self.kernel.ends_with("-Microsoft")
    }

    /// Major and minor version of the kernel.
    pub fn kernel_version(&self) -> Option<(u32, u32)> {
        let mut parts = self.kernel.split(|c: char| !c.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `unshare(CLONE_NEWUSER)`.
    UserNamespace,
    /// The first writes inside it: `setgroups`, `uid_map`, `gid_map`.
    UserMap,
    /// `unshare(CLONE_NEWNET)`.
    NetworkNamespace,
    /// `unshare(CLONE_NEWPID)`.
    PidNamespace,
    /// `unshare(CLONE_NEWIPC)`, `unshare(CLONE_NEWNS)`.
    Surroundings,
}

impl Step {
    fn what(self) -> &'static str {
        match self {
            Self::UserNamespace => "can't make a user namespace",
            Self::UserMap => "can't map the user id into a new user namespace",
            Self::NetworkNamespace => "can't make a network namespace",
            Self::PidNamespace => "can't make a pid namespace",
            Self::Surroundings => "can't make the IPC and the mount namespace of an application",
        }
    }
}

/// Why the kernel refused `step` with `errno`, and the ways out.
pub fn refusal(step: Step, errno: nix::errno::Errno, facts: &Facts) -> Failure {
    let (why, fix) = reason(step, errno, facts);
    Failure::blocked(Diagnostic::error(step.what()).why(why).fix(fix))
}

fn reason(step: Step, errno: nix::errno::Errno, facts: &Facts) -> (String, String) {
    use nix::errno::Errno;
    let denied = matches!(errno, Errno::EPERM | Errno::EACCES);
    if facts.wsl1() {
        return wsl1_refuses(facts);
    }
    if errno == Errno::ENOSPC {
        return limit(step, facts);
    }
    if matches!(errno, Errno::EINVAL | Errno::ENOSYS) {
        return (
            format!("{}: the kernel `{}` was built without this kind of namespace", errno.desc(), facts.kernel),
            "use a kernel with CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_PID_NS, as all distributions build it".into(),
        );
    }
    if let Some(container) = facts.container.filter(|_| denied && facts.seccomp) {
        return (
            format!("{}: the seccomp filter of {} refuses new namespaces", errno.desc(), container.name()),
            container.way_out().into(),
        );
    }
    if let Some(switch) = facts.switches_off_user_namespaces().into_iter().find(|_| denied) {
        return switch;
    }
    if denied && facts.in_user_namespace && step == Step::UserNamespace {
        return (
            format!(
                "{}: this process is in a user namespace, which must map its user id and its group id to have one below it",
                errno.desc()
            ),
            "map both, as `unshare --map-current-user` does, or run restage outside of it".into(),
        );
    }
    (
        if facts.seccomp {
            format!("{}; a seccomp filter applies to this process, and may be what refuses", errno.desc())
        } else {
            errno.desc().to_string()
        },
        "run restage with sudo; `restage doctor` lists what else this machine needs".into(),
    )
}

/// Why and fix under version 1 of WSL.
pub(crate) fn wsl1_refuses(facts: &Facts) -> (String, String) {
    (
        format!("this is WSL 1 (kernel `{}`): it has no network namespaces", facts.kernel),
        "move the distribution to WSL 2, in PowerShell: `wsl --set-version DISTRIBUTION 2`".into(),
    )
}

fn limit(step: Step, facts: &Facts) -> (String, String) {
    let key = match step {
        Step::UserNamespace | Step::UserMap => "user.max_user_namespaces",
        Step::NetworkNamespace => "user.max_net_namespaces",
        Step::PidNamespace => "user.max_pid_namespaces",
        Step::Surroundings if facts.sysctl("user.max_ipc_namespaces") == Some(0) => "user.max_ipc_namespaces",
        Step::Surroundings => "user.max_mnt_namespaces",
    };
    match facts.sysctl(key) {
        Some(0) => {
            (format!("{key} = 0 allows none"), format!("run `sudo sysctl {key}=15000`, or run restage with sudo"))
        }
        Some(value) => (
            format!("all that {key} = {value} allows are in use, or namespaces are nested more than 32 deep"),
            format!("end what holds them (`lsns` lists them), or raise the limit with `sudo sysctl {key}=…`"),
        ),
        None => (format!("the limit {key} is reached"), format!("raise it with `sudo sysctl {key}=15000`")),
    }
}

/// The machine's name; `localhost` where it has none.
pub fn hostname() -> String {
    text_of("/proc/sys/kernel/hostname").filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

pub fn kernel_release() -> String {
    text_of("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// A soft limit of this process; `None` where it is unlimited or unknown.
fn soft_limit(of: Resource) -> Option<u64> {
    getrlimit(of).ok().map(|(soft, _)| soft).filter(|soft| *soft != nix::libc::RLIM_INFINITY)
}

fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

fn text_of(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_matches(['\n', '\0', ' ']).to_string())
}

fn number_of(key: &str) -> Option<u64> {
    text_of(&format!("/proc/sys/{}", key.replace('.', "/")))?.parse().ok()
}

fn container() -> Option<Container> {
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        Some(Container::Kubernetes)
    } else if Path::new("/run/.containerenv").exists() {
        Some(Container::Podman)
    } else if Path::new("/.dockerenv").exists() {
        Some(Container::Docker)
    } else {
        None
    }
}

fn read_only(path: &str) -> bool {
    nix::sys::statvfs::statvfs(path).is_ok_and(|found| found.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
}
