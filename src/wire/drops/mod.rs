//! The packets that the kernel drops, each with the kernel's own reason: a BPF program at the tracepoint `kfree_skb`.
//!
//! The program is assembled here, from what the running kernel tells about its own types, so that neither a compiler nor the
//! kernel's headers are needed. It counts every packet, whatever else happens, and puts a record of it into a ring. Needs
//! `CAP_BPF` and `CAP_PERFMON` in the first user namespace, and Linux 5.17. See bpf(2), include/net/dropreason-core.h,
//! Documentation/bpf/btf.rst and Documentation/bpf/ringbuf.rst. Start at [`DropMonitor::open`].

mod assembler;
mod btf;
mod functions;
mod program;
mod records;
mod syscall;

pub use functions::functions;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

use nix::sys::stat::{major, minor};
use nix::sys::utsname::uname;
use nix::unistd::{SysconfVar, sysconf};

use self::assembler::{Assembler, Instruction};
use self::btf::{Btf, Fault};
use self::program::{ETHERTYPE, HEAD_BYTES, LENGTH, LOCATION, Layout, Process, REASON, TIME, Target};
use self::records::{NoRecord, Records};
use super::mapping::{Access, Mapping};
use crate::diagnostic::{Failure, Problem, Result};

/// Room for some 80,000 of the smallest packets, or 40,000 of those that are cut.
const RING_BYTES: u32 = 8 << 20;
/// A ring is halved down to this where memory is short.
const LEAST_RING_BYTES: u32 = 256 << 10;
const TYPES: &str = "/sys/kernel/btf/vmlinux";
const TRACEPOINT: &std::ffi::CStr = c"kfree_skb";
/// The name of reasons whose own names the kernel proper doesn't know: those of subsystems such as Open vSwitch.
const BEYOND: &str = "OTHER";
/// The last lines of a verifier's log that say what it refuses.
const LOG_LINES: usize = 3;

/// A packet that the kernel dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped<'a> {
    /// The name in `enum skb_drop_reason` without `SKB_DROP_REASON_`, such as `OTHERHOST`; `OTHER` for a subsystem's own reasons. Names
    /// differ by kernel, and old ones give `NOT_SPECIFIED` for much.
    pub reason: &'a str,
    /// The address in the kernel's code that dropped it, for [`functions`].
    pub location: u64,
    /// The kernel's view of the protocol, such as 0x0800 for IPv4; a VLAN tag that the kernel has taken off is not in it.
    pub ethertype: u16,
    /// The packet from its network header on, up to 160 bytes, and no more than lies in one piece; empty where it can't be told.
    pub packet: &'a [u8],
    /// How long the packet is from its network header on, in bytes; padding counts as long as the kernel hasn't cut it off. 0 where it
    /// can't be told.
    pub length: u32,
    /// When it was dropped, in nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
}

/// Listens to the kernel dropping packets, until it is itself dropped.
#[derive(Debug)]
pub struct DropMonitor {
    /// The program is attached as long as this is open.
    _attached: OwnedFd,
    program: OwnedFd,
    records: Records,
    /// As in [`Target::counters`].
    counters: Mapping,
    reasons: Vec<String>,
}

/// What came of [`DropMonitor::open`].
#[derive(Debug)]
pub enum Opened {
    /// Every drop from now on is counted.
    Listening(DropMonitor),
    /// This kernel, or what this process may do, doesn't allow it; why in plain words, such as "listening to them needs CAP_BPF and
    /// CAP_PERFMON", where "them" are the kernel's drop reasons.
    Unavailable(String),
}

/// Why there is no monitor.
enum Refusal {
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

impl DropMonitor {
    /// Listens to drops of packets that came in through one interface.
    ///
    /// `namespace` is the inode number of its network namespace (that of `/proc/thread-self/ns/net`), `interface` its index there. From
    /// which namespace this is called makes no difference. Not heard: what was dropped before it came to the interface, as a frame above
    /// its MTU.
    ///
    /// `most_records`: of so many packets of each reason there are records, which cost more than counting; further ones count as
    /// [`Self::lost`]. `None`: of all.
    ///
    /// A datagram whose wrong checksum only its reader finds has neither socket nor device (Linux 6.18). It is heard if the reading
    /// thread is in the namespace, or this process's own. Another process that reads from outside a socket that was opened inside
    /// loses such datagrams unheard; and this process's own are heard from every namespace, if the interface has the same index: listen
    /// in a process of one lab.
    ///
    /// # Errors
    /// When the kernel fails where it should not; all that it may refuse is [`Opened::Unavailable`].
    pub fn open(namespace: u64, interface: u32, most_records: Option<u32>) -> Result<Opened> {
        match Self::listen(namespace, interface, most_records) {
            Ok(monitor) => Ok(Opened::Listening(monitor)),
            Err(Refusal::Unavailable(why)) => Ok(Opened::Unavailable(why)),
            Err(Refusal::Failed(failure)) => Err(failure),
        }
    }

    fn listen(namespace: u64, interface: u32, most_records: Option<u32>) -> std::result::Result<Self, Refusal> {
        permitted()?;
        let types = types()?;
        let btf = Btf::read(&types, &program::WANTED)?;
        if program::arguments(&btf)? < 3 {
            return Err(Refusal::Unavailable(format!("they came with Linux 5.17, and this is {}", release())));
        }
        let layout = Layout::read(&btf)?;
        let reasons = program::reasons(&btf)?;
        let page = page_bytes()?;
        let records = ring(page)?;
        let slots = u32::try_from(reasons.len()).ok().and_then(|count| i32::try_from(count).ok().zip(Some(count)));
        let (count, slots) = slots.ok_or(Fault::Malformed)?;
        let array = syscall::array(8 * (slots + 2)).map_err(|error| refused("count dropped packets", &error))?;
        let bytes = (8 * (reasons.len() + 2)).next_multiple_of(page);
        let counters = Mapping::with(array.as_fd(), bytes, 0, Access::Read)
            .map_err(|error| Failure::system("can't map the counters of dropped packets", &error))?;
        let target = Target {
            namespace: u32::try_from(namespace).map_err(|_| {
                Failure::error(Problem::error(format!("no namespace has the inode number {namespace}")))
            })?,
            interface,
            process: this_process(),
            found_late: number(&reasons, "UDP_CSUM"),
            ring: records.as_fd().as_raw_fd(),
            ring_bytes: i32::try_from(records.bytes()).unwrap_or(i32::MAX),
            counters: array.as_raw_fd(),
            reasons: count,
            most_records: most_records.and_then(|most| i32::try_from(most).ok()),
            backlog: number(&reasons, "CPU_BACKLOG"),
        };
        let program = assembled(program::program(&layout, &target)?)?;
        let loaded = syscall::load(&program).map_err(|error| unloaded(&program, &error))?;
        let attached = syscall::attach(TRACEPOINT, loaded.as_fd())
            .map_err(|error| refused("listen to the tracepoint `kfree_skb`", &error))?;
        Ok(Self { _attached: attached, program: loaded, records, counters, reasons })
    }

    /// Gives every record that is there to `see`, without waiting; returns how many there were. What comes meanwhile is left to the next
    /// call. Records are in the order in which their CPUs began to write them.
    ///
    /// # Errors
    /// When the kernel hands over a record that is none.
    pub fn read(&mut self, see: &mut dyn FnMut(&Dropped<'_>)) -> Result<usize> {
        let none = || Failure::error(Problem::error("the kernel handed over a record of a drop that is none"));
        let reasons = &self.reasons;
        let mut whole = true;
        let read = self.records.read(&mut |record| match dropped(record, reasons) {
            Some(dropped) => see(&dropped),
            None => whole = false,
        });
        match read {
            Ok(count) if whole => Ok(count),
            Ok(_) | Err(NoRecord) => Err(none()),
        }
    }

    /// How many packets were dropped since this was opened, by reason, whether their records found room or not. Only reasons
    /// that occurred.
    ///
    /// # Errors
    /// None so far.
    #[expect(clippy::unnecessary_wraps, reason = "a kernel may come whose counters must be asked for")]
    pub fn counts(&self) -> Result<BTreeMap<String, u64>> {
        let names = self.reasons.iter().map(String::as_str).chain([BEYOND]);
        let mut counts = BTreeMap::new();
        for (slot, name) in names.enumerate() {
            let count = self.counter(slot);
            if count > 0 {
                *counts.entry(name.to_owned()).or_default() += count;
            }
        }
        Ok(counts)
    }

    /// How many records found no room in the ring, or were too many.
    ///
    /// # Errors
    /// None so far.
    #[expect(clippy::unnecessary_wraps, reason = "a kernel may come whose counters must be asked for")]
    pub fn lost(&self) -> Result<u64> {
        Ok(self.counter(self.reasons.len() + 1))
    }

    /// How many drops anywhere on this machine were not looked at, since they happened in an interrupt of the look at another one.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn missed(&self) -> Result<u64> {
        syscall::missed(self.program.as_fd()).map_err(|error| Failure::system("can't ask for a BPF program", &error))
    }

    fn counter(&self, slot: usize) -> u64 {
        self.counters.long(8 * slot).load(Ordering::Relaxed)
    }
}

impl AsFd for DropMonitor {
    /// For poll(2), with a time limit of some 10 ms: it returns at once where there are records, but the kernel wakes who already waits
    /// only when an eighth of the ring is full. To be woken by every record would slow the flood down that is to be measured.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.records.as_fd()
    }
}

fn number(reasons: &[String], name: &str) -> Option<i32> {
    reasons.iter().position(|reason| reason == name).and_then(|at| i32::try_from(at).ok())
}

/// `None` where /proc doesn't tell.
fn this_process() -> Option<Process> {
    let namespace = fs::metadata("/proc/self/ns/pid").ok()?;
    // As the kernel itself writes the numbers of a device.
    let device = major(namespace.dev()) << 20 | minor(namespace.dev());
    let namespace = (u32::try_from(device).ok()?, u32::try_from(namespace.ino()).ok()?);
    Some(Process { id: std::process::id(), namespace })
}

/// Tries the smallest program of the kind: cheap, and it needs what the real one needs.
fn permitted() -> std::result::Result<(), Refusal> {
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
    program.ok_or_else(|| Failure::error(Problem::error("the program that listens to drops has a jump to nowhere")))
}

/// What bpf(2) says where it is not for us, apart from what should not be.
fn refused(what: &str, error: &io::Error) -> Refusal {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            Refusal::Unavailable("listening to them needs CAP_BPF and CAP_PERFMON".to_owned())
        }
        Some(libc::ENOSYS) => Refusal::Unavailable("this kernel is built without bpf(2)".to_owned()),
        Some(libc::ENOENT) => Refusal::Unavailable("this kernel has no tracepoint `kfree_skb`".to_owned()),
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
        _ => refused("load the program that listens to dropped packets", error),
    }
}

fn types() -> std::result::Result<Vec<u8>, Refusal> {
    fs::read(TYPES).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Refusal::Unavailable(format!("{TYPES} is absent")),
        io::ErrorKind::PermissionDenied => Refusal::Unavailable(format!("{TYPES} can't be read: {error}")),
        _ => Refusal::Failed(Failure::system(format!("can't read `{TYPES}`"), &error)),
    })
}

fn page_bytes() -> Result<usize> {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| usize::try_from(bytes).ok());
    page.ok_or_else(|| Failure::error(Problem::error("the system doesn't tell its page size")))
}

/// The largest ring that there is memory for.
fn ring(page: usize) -> std::result::Result<Records, Refusal> {
    let mut bytes = RING_BYTES;
    loop {
        let made = syscall::ring(bytes).and_then(|ring| Records::of(ring, bytes as usize, page));
        match made {
            Err(error) if short_of_memory(&error) && bytes > LEAST_RING_BYTES => bytes /= 2,
            made => return made.map_err(|error| refused("make a ring for records of drops", &error)),
        }
    }
}

/// EPERM is what kernels say where the limit of locked memory is reached.
fn short_of_memory(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EPERM | libc::EAGAIN))
}

/// `5.15` of `5.15.0-91-generic`.
fn release() -> String {
    let Ok(names) = uname() else { return "older".to_owned() };
    let release = names.release().to_string_lossy();
    release.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
}

/// Reads one record of the program's.
fn dropped<'a>(record: &'a [u8], reasons: &'a [String]) -> Option<Dropped<'a>> {
    let reason = usize::try_from(u32::from_ne_bytes(*part(record, REASON)?)).ok()?;
    Some(Dropped {
        reason: reasons.get(reason).map_or(BEYOND, String::as_str),
        location: u64::from_ne_bytes(*part(record, LOCATION)?),
        ethertype: u16::from_be_bytes(*part(record, ETHERTYPE)?),
        packet: record.get(usize::try_from(HEAD_BYTES).ok()?..)?,
        length: u32::from_ne_bytes(*part(record, LENGTH)?),
        time_ns: u64::from_ne_bytes(*part(record, TIME)?),
    })
}

fn part<const LENGTH: usize>(record: &[u8], at: i16) -> Option<&[u8; LENGTH]> {
    record.get(usize::try_from(at).ok()?..)?.first_chunk()
}
