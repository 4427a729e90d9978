//! Opening a trace: what the kernel may refuse, and what it has room for. Start at [`Refusal`].
#![expect(unsafe_code, reason = "the kernel's types lie in mapped memory")]

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::{major, minor};
use nix::sys::utsname::uname;
use nix::unistd::{SysconfVar, sysconf};

use super::assembler::{Assembler, Instruction};
use super::btf::Fault;
use super::records::Records;
use super::syscall;
use super::writer::Process;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::wire::mapping::Mapping;

/// Room for some 80,000 of the smallest packets, or 40,000 of those that are cut.
pub(super) const DROPS_RING_BYTES: u32 = 8 << 20;
/// The same for twice as many packets, with the records of each.
pub(super) const PACKETS_RING_BYTES: u32 = 32 << 20;
/// Of fewer frames than these hold a ring is smaller. A frame has a few records, and what the application sends itself has some, too.
pub(super) const FRAME_BYTES: u32 = 2 << 10;
/// The smallest ring, also where memory is short.
pub(super) const LEAST_RING_BYTES: u32 = 1 << 20;
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// The last lines of a verifier's log that say what it refuses.
const LOG_LINES: usize = 3;

/// Why there is no trace.
pub(super) enum Refusal {
    Unavailable(String),
    Failed(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Unavailable(format!("{TYPES} can't be used: {fault}"))
    }
}

/// Loads a program, and attaches it to a raw tracepoint. Returns the program and its attachment; it runs as long as both are open.
pub(super) fn attach(
    tracepoint: &std::ffi::CStr,
    program: Option<Vec<Instruction>>,
) -> std::result::Result<(OwnedFd, OwnedFd), Refusal> {
    let program = assembled(program)?;
    let loaded = syscall::load(&program).map_err(|error| unloaded(&program, &error))?;
    let attached = syscall::attach(tracepoint, loaded.as_fd()).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => {
            Refusal::Unavailable(format!("this kernel has no tracepoint `{}`", tracepoint.to_string_lossy()))
        }
        _ => refused(&format!("listen to the tracepoint `{}`", tracepoint.to_string_lossy()), &error),
    })?;
    Ok((loaded, attached))
}

pub(super) fn number(reasons: &[String], name: &str) -> Option<i32> {
    reasons.iter().position(|reason| reason == name).and_then(|at| i32::try_from(at).ok())
}

/// `None` where /proc doesn't say.
pub(super) fn this_process() -> Option<Process> {
    let namespace = fs::metadata("/proc/self/ns/pid").ok()?;
    // As the kernel itself writes the numbers of a device.
    let device = major(namespace.dev()) << 20 | minor(namespace.dev());
    let namespace = (u32::try_from(device).ok()?, u32::try_from(namespace.ino()).ok()?);
    Some(Process { id: std::process::id(), namespace })
}

/// Tries the smallest program of the kind: cheap, and it needs what the real one needs.
pub(super) fn permitted() -> std::result::Result<(), Refusal> {
    let mut nothing = Assembler::default();
    nothing.exit();
    match syscall::load(&assembled(nothing.finish())?) {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(Refusal::Unavailable(
            "this kernel is built without BPF programs at tracepoints (CONFIG_BPF_EVENTS)".to_owned(),
        )),
        Err(error) => Err(refused("load a BPF program", &error)),
    }
}

fn assembled(program: Option<Vec<Instruction>>) -> Result<Vec<Instruction>> {
    program.ok_or_else(|| Failure::error(Diagnostic::error("a program that listens to packets has a jump to nowhere")))
}

/// What bpf(2) says where it is not for us, apart from what should not be.
pub(super) fn refused(what: &str, error: &io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            Refusal::Unavailable("listening to them needs CAP_BPF and CAP_PERFMON".to_owned())
        }
        Some(libc::ENOSYS) => Refusal::Unavailable("this kernel is built without bpf(2)".to_owned()),
        _ => Refusal::Failed(Failure::system(format!("can't {what}"), error)),
    }
}

/// Why the kernel didn't take the program. That of the permission has been asked before.
fn unloaded(program: &[Instruction], error: &io::Error) -> Refusal {
    let log = syscall::refusal(program);
    let mut lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // "processed 17 insns …", whatever the result.
    lines.pop_if(|line| line.starts_with("processed "));
    match lines.get(lines.len().saturating_sub(LOG_LINES)..) {
        Some(last @ [_, ..]) => Refusal::Unavailable(format!(
            "the kernel's verifier refuses the program that listens ({error}): {}",
            last.join("; ")
        )),
        _ => refused("load a program that listens to packets", error),
    }
}

/// What so many frames need, each so much: a power of two, `most` for frames that are not known.
pub(super) fn of_frames(frames: Option<u64>, each: u32, least: u32, most: u32) -> u32 {
    let wanted = frames.and_then(|frames| u32::try_from(frames).ok()?.checked_mul(each)?.checked_next_power_of_two());
    wanted.map_or(most, |wanted| wanted.clamp(least, most))
}

/// The kernel's description of its own types.
pub(super) enum Types {
    /// Linux 6.16 and later: 6 MB that are not copied.
    Mapped(Mapping),
    Read(Vec<u8>),
}

impl Types {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            // SAFETY: the kernel never writes to its types, and lets no one else do so.
            Self::Mapped(mapping) => unsafe { mapping.bytes() },
            Self::Read(bytes) => bytes,
        }
    }
}

pub(super) fn types() -> std::result::Result<Types, Refusal> {
    let mapped = fs::File::open(TYPES).and_then(|file| {
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        Mapping::private(file.as_fd(), length)
    });
    if let Ok(mapped) = mapped {
        return Ok(Types::Mapped(mapped));
    }
    fs::read(TYPES).map(Types::Read).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Refusal::Unavailable(format!("{TYPES} is absent")),
        io::ErrorKind::PermissionDenied => Refusal::Unavailable(format!("{TYPES} can't be read: {error}")),
        _ => Refusal::Failed(Failure::system(format!("can't read `{TYPES}`"), &error)),
    })
}

pub(super) fn page_bytes() -> Result<usize> {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| usize::try_from(bytes).ok());
    page.ok_or_else(|| Failure::error(Diagnostic::error("the system does not report its page size")))
}

/// The largest ring that there is memory for, of at most so many bytes, a power of two.
pub(super) fn ring(bytes: u32, page: usize) -> std::result::Result<Records, Refusal> {
    let mut bytes = bytes;
    loop {
        let made = syscall::ring(bytes).and_then(|ring| Records::of(ring, bytes as usize, page));
        match made {
            Err(error) if short_of_memory(&error) && bytes > LEAST_RING_BYTES => bytes /= 2,
            made => return made.map_err(|error| refused("make a ring for records of packets", &error)),
        }
    }
}

/// EPERM is what kernels say where the limit of locked memory is reached.
fn short_of_memory(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EPERM | libc::EAGAIN))
}

/// `5.15` of `5.15.0-91-generic`.
pub(super) fn release() -> String {
    let Ok(names) = uname() else { return "older".to_owned() };
    let release = names.release().to_string_lossy();
    release.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}
