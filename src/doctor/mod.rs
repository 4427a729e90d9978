//! What this machine can and can't do, why, and what to do about it.
//!
//! [`probe`] looks and tries; [`findings`] is a pure function of what that saw. Start there.

pub mod questions;

#[cfg(test)]
#[path = "../../tests/unit/doctor/mod.rs"]
mod findings_tests;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use crate::diagnostic::{Failure, Result};
use crate::figures::duration;
use crate::host::facts::{self, Facts, capability};
use crate::host::namespace::{self, Privilege};
use crate::host::program;
use crate::process::application::{Application, Around, Ended, Start};
use crate::process::inside::Inside;
use crate::process::order::Rights;
use crate::process::surroundings::Surroundings;
use crate::testbed::network::{LabNetwork, LabPlan};

/// The hidden verb that makes a lab and reports how that went.
pub(crate) const VERB: &str = "__probe-lab";

/// A lab takes milliseconds.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// The kernel's default of `net.core.rmem_max`, in bytes.
const USUAL_RMEM_MAX: u64 = 212_992;

/// What the frames of `AF_XDP` take at most, in bytes, for each scenario that runs at the same time.
const XDP_MEMORY: u64 = 2 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// Something doesn't work, or works less well.
    Bad,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub what: String,
    pub state: State,
    /// What was seen, and what it means.
    pub why: String,
    /// What to do; always there where something doesn't work.
    pub fix: Option<String>,
}

/// The result of trying to make a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tried {
    /// A lab came up, and a program ran in it.
    Up {
        /// Whether that took a user namespace.
        user_namespace: bool,
        /// How long the namespaces and everything in them took, in microseconds.
        lab_us: u64,
        /// How long a program took from start to end, in microseconds.
        program_us: u64,
        /// What the program's surroundings lacked.
        lacks: Vec<String>,
    },
    /// It was refused.
    Refused(Failure),
    /// It couldn't be found out, and why.
    Unclear(String),
}

/// Looks at this machine, and tries to make a lab in a process of its own.
pub fn probe() -> Vec<Finding> {
    findings(&Facts::read(), &try_lab())
}

/// What the facts and the attempt mean, the most important first.
pub fn findings(facts: &Facts, tried: &Tried) -> Vec<Finding> {
    let lab = lab(facts, tried);
    let obstacles: Vec<Finding> = match tried {
        Tried::Up { .. } => Vec::new(),
        // What the refusal says already isn't said again. A container's obstacles are more than the first that refused.
        Tried::Refused(_) | Tried::Unclear(_) => {
            let others = user_namespaces(facts).into_iter().filter(|obstacle| obstacle.fix != lab.fix);
            container(facts).into_iter().chain(others).collect()
        }
    };
    let lacks = if let Tried::Up { lacks, .. } = tried { lacks.as_slice() } else { &[] };
    let fix = "nothing, unless the application looks there; outside of containers this doesn't happen";
    let surroundings = lacks.iter().map(|lack| bad("the application's surroundings", lack.clone(), fix));
    let always = [kernel, drop_reasons, nft, receive_buffers, locked_memory].map(|check| check(facts));
    let first = std::iter::once(lab).chain(obstacles).chain(surroundings);
    first.chain(always).chain(open_files(facts)).collect()
}

fn good(what: impl Into<String>, why: impl Into<String>) -> Finding {
    Finding { what: what.into(), state: State::Good, why: why.into(), fix: None }
}

fn bad(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { what: what.into(), state: State::Bad, why: why.into(), fix: Some(fix.into()) }
}

fn unknown(what: impl Into<String>, why: impl Into<String>) -> Finding {
    Finding { what: what.into(), state: State::Unknown, why: why.into(), fix: None }
}

fn lab(facts: &Facts, tried: &Tried) -> Finding {
    let what = "a lab";
    match tried {
        Tried::Up { user_namespace, lab_us, program_us, .. } => {
            let how = if *user_namespace { "in a user namespace" } else { "with its capabilities" };
            let [lab, program] = [lab_us, program_us].map(|time| duration(Duration::from_micros(*time)));
            let user = facts.uid;
            good(what, format!("user {user} can make one {how}: up in {lab}, a program started and ended in {program}"))
        }
        Tried::Refused(failure) => {
            let first = failure.problems.first();
            let why = first.map_or_else(String::new, |problem| match &problem.why {
                Some(why) => format!("{}: {why}", problem.what),
                None => problem.what.clone(),
            });
            let fix = first.and_then(|problem| problem.fix.clone());
            bad(what, why, fix.unwrap_or_else(|| "run restage with sudo".into()))
        }
        Tried::Unclear(why) => unknown(what, why.clone()),
    }
}

/// What a container engine forbids by default; nothing where it forbids nothing.
fn container(facts: &Facts) -> Option<Finding> {
    let container = facts.container?;
    let seccomp = facts.seccomp.then(|| "its seccomp filter refuses namespaces to who has no CAP_SYS_ADMIN".to_owned());
    let profile = facts.apparmor_profile.as_ref().map(|name| format!("the AppArmor profile `{name}` refuses mounts"));
    let read_only =
        facts.proc_sys_read_only.then(|| "/proc/sys is read-only, so that a lab's sysctls can't be set".to_owned());
    let forbidden: Vec<String> = [seccomp, profile, read_only].into_iter().flatten().collect();
    let what = format!("the container ({})", container.name());
    (!forbidden.is_empty()).then(|| bad(what, forbidden.join("; "), container.way_out()))
}

/// What keeps user namespaces from an ordinary user. Root needs none.
fn user_namespaces(facts: &Facts) -> Vec<Finding> {
    let what = "user namespaces";
    if facts.wsl1() {
        let (why, fix) = facts::wsl1_refuses(facts);
        return vec![bad("WSL", why, fix)];
    }
    let limits = ["user.max_user_namespaces", "user.max_net_namespaces", "user.max_pid_namespaces"];
    let none = limits.into_iter().skip(usize::from(facts.privileged())).filter(|key| facts.sysctl(key) == Some(0));
    let mut all: Vec<Finding> = none
        .map(|key| {
            let fix = format!("run `sudo sysctl {key}=15000`, or run restage with sudo");
            bad(key, format!("{key} = 0 allows none"), fix)
        })
        .collect();
    if facts.privileged() {
        return all;
    }
    all.extend(facts.switches_off_user_namespaces().into_iter().map(|(why, fix)| bad(what, why, fix)));
    if all.is_empty() {
        all.push(match facts.sysctl("user.max_user_namespaces") {
            Some(limit) => good(what, format!("user.max_user_namespaces = {limit}, and nothing else known forbids them")),
            None => bad(
                what,
                "this kernel has no /proc/sys/user/max_user_namespaces: it is built without user namespaces, or older than 4.9",
                "run restage with sudo, or use a newer kernel with CONFIG_USER_NS",
            ),
        });
    }
    all
}

/// What newer kernels have that older ones lack, newest first: version, what it is for.
const KERNEL_FEATURES: [((u32, u32), &str); 3] = [
    ((5, 19), "the count of frames for another MAC address, `rx_otherhost_dropped`, came with 5.19"),
    ((5, 17), "reasons of dropped packets came with 5.17"),
    ((4, 11), "binding ports below 1024 without privilege, `ip_unprivileged_port_start`, came with 4.11"),
];

fn kernel(facts: &Facts) -> Finding {
    let (what, kernel) = ("the kernel", &facts.kernel);
    let Some(version) = facts.kernel_version() else {
        return unknown(what, format!("`{kernel}` is not a version that can be read"));
    };
    let lacking: Vec<&str> =
        KERNEL_FEATURES.iter().filter(|(since, _)| version < *since).map(|(_, feature)| *feature).collect();
    if lacking.is_empty() {
        return good(what, format!("{kernel} has all that restage can use"));
    }
    let fix = if version < (4, 11) {
        "use a kernel of 5.19 or newer: this one can't make a lab"
    } else {
        "use a kernel of 5.19 or newer; on this one, causes of loss come from taps, counters and prediction"
    };
    bad(what, format!("this is {kernel}: {}", lacking.join("; ")), fix)
}

fn drop_reasons(facts: &Facts) -> Finding {
    let effective = facts.has(capability::SYS_ADMIN) || facts.has(capability::BPF) && facts.has(capability::PERFMON);
    let obstacles = [
        (
            facts.kernel_version().is_some_and(|version| version < (5, 17)),
            format!("they came with 5.17, and this is {}", facts.kernel),
            "use a kernel of 5.17 or newer",
        ),
        (
            !facts.btf,
            "this kernel doesn't describe its types: /sys/kernel/btf/vmlinux is absent".to_owned(),
            "use a kernel built with CONFIG_DEBUG_INFO_BTF, as most distributions build it",
        ),
        (
            !effective,
            "listening to them needs CAP_BPF and CAP_PERFMON; without, causes of loss come from taps, counters and prediction"
                .to_owned(),
            "run restage with sudo, where that matters",
        ),
        (
            facts.in_user_namespace,
            "listening to them needs CAP_BPF and CAP_PERFMON over the machine, and this process has them in a user namespace only; \
             without, causes of loss come from taps, counters and prediction"
                .to_owned(),
            "run restage with sudo outside of the user namespace, where that matters",
        ),
    ];
    let what = "the kernel's drop reasons";
    match obstacles.into_iter().find(|(is_there, ..)| *is_there) {
        Some((_, why, fix)) => bad(what, why, fix),
        None => good(what, "this process may load the program that listens to them"),
    }
}

fn nft(facts: &Facts) -> Finding {
    match &facts.nft {
        Some(path) => good("nft", format!("{}: rulesets can be loaded into a lab", path.display())),
        None => bad(
            "nft",
            "there is no program `nft`, in PATH or in /usr/sbin: `[lab] ruleset` can't be used",
            "install the package `nftables`, if you want to test with a firewall",
        ),
    }
}

fn receive_buffers(facts: &Facts) -> Finding {
    let what = "receive buffers";
    let Some(bytes) = facts.sysctl("net.core.rmem_max") else {
        return unknown(what, "net.core.rmem_max can't be read");
    };
    let why =
        format!("net.core.rmem_max = {bytes}: an application that asks for more gets this; a lab can't change it");
    if bytes >= USUAL_RMEM_MAX {
        return good(what, why);
    }
    let fix = "or more, or bursts are lost (SOCKET_RCVBUFF)";
    bad(what, why, format!("run `sudo sysctl net.core.rmem_max={USUAL_RMEM_MAX}` {fix}"))
}

fn locked_memory(facts: &Facts) -> Finding {
    let what = "locked memory";
    let Some(bytes) = facts.memlock_bytes else { return good(what, "RLIMIT_MEMLOCK is unlimited") };
    if bytes >= XDP_MEMORY || facts.privileged() && !facts.in_user_namespace {
        return good(what, format!("RLIMIT_MEMLOCK = {bytes} bytes, shared by all that this user runs"));
    }
    let why = "too little for AF_XDP, so that frames are sent through packet sockets";
    let fix = "run `ulimit -l 8192` (as root, or in limits.conf), where the rate matters";
    bad(what, format!("RLIMIT_MEMLOCK = {bytes} bytes: {why}"), fix)
}

/// How many descriptors a run with all its evidence has, and a few for what it starts with.
const OPEN_FILES: u64 = 64;

/// Nothing is said of a limit that is high enough.
fn open_files(facts: &Facts) -> Option<Finding> {
    let limit = facts.open_files.filter(|limit| *limit < OPEN_FILES)?;
    let why = format!("RLIMIT_NOFILE = {limit}: a run opens up to {OPEN_FILES} files and sockets");
    Some(bad("open files", why, "run `ulimit -n 1024`"))
}

/// Makes a lab in a process of its own, since this one may have threads, and stays where it is.
fn try_lab() -> Tried {
    run_probe().unwrap_or_else(|error| Tried::Unclear(format!("the process that tries didn't answer: {error}")))
}

fn run_probe() -> io::Result<Tried> {
    let mut child = Command::new("/proc/self/exe")
        .arg0(crate::process::NAME)
        .arg(VERB)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut answer = Vec::new();
    let mut read = || -> io::Result<()> {
        let Some(stdout) = child.stdout.as_mut() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let end = Instant::now() + PROBE_LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            if poll(&mut [PollFd::new(std::os::fd::AsFd::as_fd(stdout), PollFlags::POLLIN)], left)? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut part = [0; 4096];
            match stdout.read(&mut part)? {
                0 => return Ok(()),
                length => answer.extend(part.iter().take(length)),
            }
        }
    };
    let read = read();
    // It has ended, or is of no use any more.
    let _ = child.kill();
    child.wait()?;
    read?;
    Ok(serde_json::from_slice(&answer)?)
}

/// The hidden verb [`VERB`]: makes a lab, runs a program in it, writes a [`Tried`] to standard output.
pub(crate) fn probe_main() -> i32 {
    let tried = make_lab().unwrap_or_else(Tried::Refused);
    let written = serde_json::to_vec(&tried).map_err(io::Error::from).and_then(|json| io::stdout().write_all(&json));
    i32::from(written.is_err())
}

fn make_lab() -> Result<Tried> {
    let privilege = namespace::enter()?;
    let lab = LabNetwork::up(&LabPlan::default())?;
    let start = Instant::now();
    let null = || {
        File::options().write(true).open("/dev/null").map_err(|error| Failure::system("can't open /dev/null", &error))
    };
    let inside = Inside::new(&Surroundings::default(), &lab.receiver)?;
    let mut application = Application::start(
        &Start {
            program: &program::find("true").unwrap_or_else(|| "/bin/true".into()),
            arguments: &[],
            folder: Path::new("/"),
            environment: &[],
            rights: &Rights::default(),
            most_output: None,
            surroundings: Around::In(&inside),
            stdout: null()?,
            stderr: null()?,
        },
        &lab.receiver,
    )?;
    let lacks = application.notes().to_vec();
    let ended = application.wait(PROBE_LIMIT)?;
    if ended != Some(Ended::Exited(0)) {
        let how = ended.map_or_else(|| "it doesn't end".to_string(), |ended| ended.to_string());
        return Ok(Tried::Unclear(format!("the program `true` fails in a lab: {how}")));
    }
    let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Ok(Tried::Up {
        user_namespace: privilege == Privilege::UserNamespace,
        lab_us: microseconds(lab.took),
        program_us: microseconds(start.elapsed()),
        lacks,
    })
}
