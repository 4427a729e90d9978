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
use crate::process::application::{Application, Ended, Start};
use crate::process::surroundings::Surroundings;
use crate::testbed::network::{LabNetwork, LabPlan};

/// The hidden verb that makes a lab and tells how that went.
pub(crate) const VERB: &str = "__probe-lab";

/// A lab takes milliseconds.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// The kernel's default of `net.core.rmem_max`, in bytes.
const USUAL_RMEM_MAX: u64 = 212_992;

/// What the frames of `AF_XDP` take at most, in bytes, for each scenario that runs at the same time.
const XDP_MEMORY: u64 = 2 << 20;

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// Something doesn't work, or works less well.
    Bad,
    /// It couldn't be found out.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// How it stands.
    pub state: State,
    /// What was seen, and what it means.
    pub why: String,
    /// What to do; always there where something doesn't work.
    pub fix: Option<String>,
}

/// What trying to make a lab came to.
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

/// What the facts and the try mean, the most important first.
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
    let mut all = vec![lab];
    all.extend(obstacles);
    all.extend(application(tried));
    all.push(kernel(facts));
    all.push(drop_reasons(facts));
    all.push(nft(facts));
    all.push(receive_buffers(facts));
    all.push(locked_memory(facts));
    all.extend(open_files(facts));
    all
}

fn good(what: &str, why: impl Into<String>) -> Finding {
    Finding { what: what.into(), state: State::Good, why: why.into(), fix: None }
}

fn bad(what: &str, why: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { what: what.into(), state: State::Bad, why: why.into(), fix: Some(fix.into()) }
}

fn unknown(what: &str, why: impl Into<String>) -> Finding {
    Finding { what: what.into(), state: State::Unknown, why: why.into(), fix: None }
}

fn lab(facts: &Facts, tried: &Tried) -> Finding {
    let what = "a lab";
    match tried {
        Tried::Up { user_namespace, lab_us, program_us, .. } => {
            let how = if *user_namespace { "in a user namespace" } else { "with its capabilities" };
            let took = |microseconds: &u64| duration(Duration::from_micros(*microseconds));
            good(
                what,
                format!(
                    "user {} can make one {how}: up in {}, a program started and ended in {}",
                    facts.uid,
                    took(lab_us),
                    took(program_us)
                ),
            )
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

/// What a container engine forbids by default. Nothing is said where it forbids nothing.
fn container(facts: &Facts) -> Option<Finding> {
    let container = facts.container?;
    let mut forbidden = Vec::new();
    if facts.seccomp {
        forbidden.push("its seccomp filter refuses namespaces to who has no CAP_SYS_ADMIN".to_string());
    }
    if let Some(profile) = &facts.apparmor_profile {
        forbidden.push(format!("the AppArmor profile `{profile}` refuses mounts"));
    }
    if facts.proc_sys_read_only {
        forbidden.push("/proc/sys is read-only, so that a lab's sysctls can't be set".to_string());
    }
    if forbidden.is_empty() {
        return None;
    }
    let what = format!("the container ({})", container.name());
    Some(bad(&what, forbidden.join("; "), container.way_out()))
}

/// What keeps user namespaces from an ordinary user. Nothing is said of them to root, who needs none.
fn user_namespaces(facts: &Facts) -> Vec<Finding> {
    let what = "user namespaces";
    if facts.wsl1() {
        let (why, fix) = facts::wsl1_refuses(facts);
        return vec![bad("WSL", why, fix)];
    }
    let mut all = Vec::new();
    for (key, value) in [
        ("user.max_user_namespaces", facts.max_user_namespaces.filter(|_| !facts.privileged())),
        ("user.max_net_namespaces", facts.max_net_namespaces),
        ("user.max_pid_namespaces", facts.max_pid_namespaces),
    ] {
        if value == Some(0) {
            let fix = format!("run `sudo sysctl {key}=15000`, or run restage with sudo");
            all.push(bad(key, format!("{key} = 0 allows none"), fix));
        }
    }
    if facts.privileged() {
        return all;
    }
    if facts.unprivileged_userns_clone == Some(0) {
        let (why, fix) = facts::userns_clone_refuses();
        all.push(bad(what, why, fix));
    }
    if facts.apparmor_restrict_unprivileged_userns.is_some_and(|value| value != 0) {
        let (why, fix) = facts::apparmor_refuses();
        all.push(bad(what, why, fix));
    }
    if all.is_empty() {
        all.push(match facts.max_user_namespaces {
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

fn application(tried: &Tried) -> Vec<Finding> {
    let Tried::Up { lacks, .. } = tried else { return Vec::new() };
    let fix = "nothing, unless the application looks there; outside of containers this doesn't happen";
    lacks.iter().map(|lack| bad("the application's surroundings", lack.clone(), fix)).collect()
}

/// What newer kernels have that older ones lack, newest first: version, what it is for.
const KERNEL_FEATURES: [((u32, u32), &str); 3] = [
    ((5, 19), "the count of frames for another MAC address, `rx_otherhost_dropped`, came with 5.19"),
    ((5, 17), "reasons of dropped packets came with 5.17"),
    ((4, 11), "binding ports below 1024 without privilege, `ip_unprivileged_port_start`, came with 4.11"),
];

fn kernel(facts: &Facts) -> Finding {
    let what = "the kernel";
    let Some(version) = facts.kernel_version() else {
        return unknown(what, format!("`{}` is not a version that can be read", facts.kernel));
    };
    let lacking: Vec<&str> =
        KERNEL_FEATURES.iter().filter(|(since, _)| version < *since).map(|(_, feature)| *feature).collect();
    if lacking.is_empty() {
        return good(what, format!("{} has all that restage can use", facts.kernel));
    }
    let fix = if version < (4, 11) {
        "use a kernel of 5.19 or newer: this one can't make a lab"
    } else {
        "use a kernel of 5.19 or newer; on this one, causes of loss come from taps, counters and prediction"
    };
    bad(what, format!("this is {}: {}", facts.kernel, lacking.join("; ")), fix)
}

fn drop_reasons(facts: &Facts) -> Finding {
    let what = "the kernel's drop reasons";
    if facts.kernel_version().is_some_and(|version| version < (5, 17)) {
        return bad(
            what,
            format!("they came with 5.17, and this is {}", facts.kernel),
            "use a kernel of 5.17 or newer",
        );
    }
    if !facts.btf {
        return bad(
            what,
            "this kernel doesn't describe its types: /sys/kernel/btf/vmlinux is absent",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF, as most distributions build it",
        );
    }
    let effective = facts.has(capability::SYS_ADMIN) || facts.has(capability::BPF) && facts.has(capability::PERFMON);
    if effective && facts.in_user_namespace {
        return bad(
            what,
            "listening to them needs CAP_BPF and CAP_PERFMON over the machine, and this process has them in a user namespace only; \
             without, causes of loss come from taps, counters and prediction",
            "run restage with sudo outside of the user namespace, where that matters",
        );
    }
    if effective {
        return good(what, "this process may load the program that listens to them");
    }
    bad(
        what,
        "listening to them needs CAP_BPF and CAP_PERFMON; without, causes of loss come from taps, counters and prediction",
        "run restage with sudo, where that matters",
    )
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
    let explain = |bytes: u64| {
        format!("net.core.rmem_max = {bytes}: an application that asks for more gets this; a lab can't change it")
    };
    match facts.rmem_max_bytes {
        Some(bytes) if bytes < USUAL_RMEM_MAX => bad(
            what,
            explain(bytes),
            format!(
                "run `sudo sysctl net.core.rmem_max={USUAL_RMEM_MAX}` or more, or bursts are lost (SOCKET_RCVBUFF)"
            ),
        ),
        Some(bytes) => good(what, explain(bytes)),
        None => unknown(what, "net.core.rmem_max can't be read"),
    }
}

fn locked_memory(facts: &Facts) -> Finding {
    let what = "locked memory";
    match facts.memlock_bytes {
        Some(bytes) if bytes < XDP_MEMORY && (facts.in_user_namespace || !facts.privileged()) => bad(
            what,
            format!(
                "RLIMIT_MEMLOCK = {bytes} bytes: too little for AF_XDP, so that frames are sent through packet sockets"
            ),
            "run `ulimit -l 8192` (as root, or in limits.conf), where the rate matters",
        ),
        Some(bytes) => good(what, format!("RLIMIT_MEMLOCK = {bytes} bytes, shared by all that this user runs")),
        None => good(what, "RLIMIT_MEMLOCK is unlimited"),
    }
}

/// How many descriptors a run with all its evidence has, and a few for what it starts with.
const OPEN_FILES: u64 = 64;

/// Nothing is said of a limit that is high enough.
fn open_files(facts: &Facts) -> Option<Finding> {
    let limit = facts.open_files.filter(|limit| *limit < OPEN_FILES)?;
    Some(bad(
        "open files",
        format!("RLIMIT_NOFILE = {limit}: a run opens up to {OPEN_FILES} files and sockets"),
        "run `ulimit -n 1024`",
    ))
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
    let mut application = Application::start(
        &Start {
            program: &program::find("true").unwrap_or_else(|| "/bin/true".into()),
            arguments: &[],
            folder: Path::new("/"),
            surroundings: Surroundings::default(),
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
