//! Single packets on their way through the receiver's kernel: when each came in, which socket's queue it was put into, when it was read,
//! or why it was dropped. BPF programs at raw tracepoints report it by the kernel's own packet (`sk_buff`), which distinguishes equal
//! frames.
//!
//! The programs are assembled here, from what the running kernel says about its own types, so that neither a compiler nor the
//! kernel's headers are needed. All write to one ring, whose order is that of the events, across CPUs, too. Drops are counted, whatever
//! else happens. Needs `CAP_BPF` and `CAP_PERFMON` in the first user namespace, and Linux 5.17 for drops, 6.3 to follow packets. See
//! bpf(2), include/net/dropreason-core.h, Documentation/bpf/btf.rst and Documentation/bpf/ringbuf.rst. Start at [`PacketTrace::open`].
//!
//! # How a packet is recognised
//!
//! At its arrival a packet gets a position, and a table gets the address of its `sk_buff` and of its buffer, which its clones share. What is
//! dropped or consumed is looked up there. A socket's queue gets a packet in the same softirq that the packet arrived in, so that the
//! packet is the one that the CPU works on. That holds neither for batches (GRO, native XDP) nor for a packet that waited for a verdict
//! (nfqueue): there the last packet of the socket's queue is looked up, and the position is unknown if a reader was faster. Where two
//! CPUs fill one queue at once, one of them may do the other's work; the position of the datagram that was left to it is unknown, too.
//!
//! # What the kernel does (Linux 6.18)
//!
//! - A read is reported by `sock_recv_length`. A datagram that was read is freed later, perhaps on another CPU: it is consumed at
//!   `skb_defer_free_flush`, or nothing is reported.
//! - What a socket has in its queue when it is closed is dropped as `NOT_SPECIFIED` at `udp_destruct_common`.
//! - A broadcast or multicast that no socket wants is dropped as `NOT_SPECIFIED` in `__udp4_lib_mcast_deliver`, which the compiler may have
//!   made part of `__udp4_lib_rcv`, as here.
//! - A multicast for several sockets is cloned for all but the last one that the kernel finds. If a queue has no room, the clone is
//!   dropped, or the packet itself for the last socket.
//! - An ARP packet is consumed at `arp_process`.
//! - A datagram of fragments has the position of the fragment that came last. Nothing is reported of the others until then; the first
//!   one by offset is consumed at `inet_frag_reasm_prepare`, where it isn't the last one to come, and the others at `skb_release_data` when
//!   the datagram is freed, after its read. The fragment that came last may be consumed as a clone, too.
//! - A socket with `UDP_ENCAP` queues what isn't for IPsec. ESP without a state is dropped as `NOT_SPECIFIED` at `xfrm4_rcv_encap`, a
//!   keepalive of one byte at `xfrm4_udp_encap_rcv`.

mod arrival;
mod assembler;
mod btf;
mod event;
mod functions;
mod kernel;
mod layout;
mod opening;
mod program;
mod queue;
mod records;
mod syscall;
mod writer;

#[cfg(test)]
pub use event::Dropped;
pub use event::Event;
pub use functions::functions;
pub use kernel::KernelTypes;

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use self::assembler::Instruction;
use self::btf::Fault;
use self::event::{BEYOND, event};
use self::layout::{FollowingLayout, Layout};
use self::opening::{DROPS_RING_BYTES, FRAME_BYTES, LEAST_RING_BYTES, PACKETS_RING_BYTES, Refusal};
use self::records::{NoRecord, Records};
use self::writer::{CELL_BYTES, Kept, Target, VALUE_BYTES};
use super::mapping::{Access, Mapping};
use crate::diagnostic::{Diagnostic, Failure, Result};

/// At most and at least. Two for each packet that waits somewhere in the kernel; what isn't used for long makes room.
const TABLE_ENTRIES: u32 = 1 << 17;
const LEAST_TABLE_ENTRIES: u32 = 1 << 13;

/// What a [`PacketTrace`] listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only drops.
    Drops {
        /// Of so many packets of each reason there are records, which cost more than counting; further ones count as
        /// [`PacketTrace::lost`]. `None`: of all.
        most_records: Option<u32>,
    },
    /// Every packet that comes in through the interface, and every UDP socket of the namespace.
    Packets,
}

/// Listens to the kernel handling packets, until it is itself dropped.
#[derive(Debug)]
pub struct PacketTrace {
    /// A program is attached as long as this is open.
    _attached: Vec<OwnedFd>,
    programs: Vec<OwnedFd>,
    records: Records,
    /// As in [`Target::counters`].
    counters: Mapping,
    reasons: Vec<String>,
    not_followed: Option<String>,
}

/// What came of [`PacketTrace::open`].
#[derive(Debug)]
pub enum Opened {
    /// Every drop from now on is counted.
    Listening(PacketTrace),
    /// This kernel, or what this process may do, doesn't allow it; why in plain words, such as "listening to them needs CAP_BPF and
    /// CAP_PERFMON", where "them" are the kernel's drop reasons.
    Unavailable(String),
}

/// Programs, and what attaches them.
type Attached = Vec<(OwnedFd, OwnedFd)>;

impl PacketTrace {
    /// Listens to what becomes of packets that came in through one interface.
    ///
    /// `namespace` is the inode number of its network namespace (that of `/proc/thread-self/ns/net`), `interface` its index there. From
    /// which namespace this is called makes no difference. Not reported: what was dropped before it reached the interface, as a frame above
    /// its MTU; and what a VLAN interface on top of it took, once it did.
    ///
    /// `frames`: how many come in; where that is known, and they are few, less memory is taken, which takes less time.
    ///
    /// Where packets can't be followed, drops may still be reported: see [`Self::not_followed`].
    ///
    /// A datagram whose wrong checksum only its reader finds has neither socket nor device (Linux 6.18). If packets are followed it is
    /// known from its arrival. Else it is reported if the reading thread is in the namespace, or this process's own. Another process that
    /// reads from outside a socket that was opened inside loses such datagrams without a report; and this process's own are reported from every
    /// namespace, if the interface has the same index: listen in a process of one lab.
    ///
    /// # Errors
    /// When the kernel fails where it should not; all that it may refuse is [`Opened::Unavailable`].
    pub fn open(namespace: u64, interface: u32, mode: Mode, frames: Option<u64>) -> Result<Opened> {
        match Self::listen(namespace, interface, mode, frames) {
            Ok(trace) => Ok(Opened::Listening(trace)),
            Err(Refusal::Unavailable(why)) => Ok(Opened::Unavailable(why)),
            Err(Refusal::Failed(failure)) => Err(failure),
        }
    }

    fn listen(namespace: u64, interface: u32, mode: Mode, frames: Option<u64>) -> std::result::Result<Self, Refusal> {
        opening::permitted()?;
        let KernelTypes { layout, following, reasons } = KernelTypes::read()?;
        let page = opening::page_bytes()?;
        let (ring_bytes, most_records) = match mode {
            Mode::Drops { most_records } => (DROPS_RING_BYTES, most_records),
            Mode::Packets => (PACKETS_RING_BYTES, None),
        };
        let records = opening::ring(opening::of_frames(frames, FRAME_BYTES, LEAST_RING_BYTES, ring_bytes), page)?;
        let bytes = 8 * Target::counters_of(reasons.len());
        let array = syscall::array(u32::try_from(bytes).map_err(|_| Fault::Malformed)?)
            .map_err(|error| opening::refused("count dropped packets", &error))?;
        let counters = Mapping::with(array.as_fd(), bytes.next_multiple_of(page), 0, Access::Read)
            .map_err(|error| Failure::system("can't map the counters of dropped packets", &error))?;
        let target = Target {
            namespace: u32::try_from(namespace).map_err(|_| {
                Failure::error(Diagnostic::error(format!("no namespace has the inode number {namespace}")))
            })?,
            interface,
            process: opening::this_process(),
            found_late: opening::number(&reasons, "UDP_CSUM"),
            ring: records.as_fd().as_raw_fd(),
            ring_bytes: i32::try_from(records.bytes()).unwrap_or(i32::MAX),
            counters: array.as_raw_fd(),
            reasons: i32::try_from(reasons.len()).map_err(|_| Fault::Malformed)?,
            most_records: most_records.and_then(|most| i32::try_from(most).ok()),
            backlog: opening::number(&reasons, "CPU_BACKLOG"),
            kept: None,
        };
        let mut not_followed = None;
        let mut attached = Vec::new();
        if mode == Mode::Packets {
            match follow(following, &layout, &target, frames) {
                Ok(following) => attached = following,
                Err(Refusal::Unavailable(why)) => not_followed = Some(why),
                Err(failed @ Refusal::Failed(_)) => return Err(failed),
            }
        }
        if attached.is_empty() {
            attached.push(opening::attach(c"kfree_skb", program::drops(&layout, &target)?)?);
        }
        let (programs, attached) = attached.into_iter().unzip();
        Ok(Self { _attached: attached, programs, records, counters, reasons, not_followed })
    }

    /// Why packets aren't followed though it was asked for, in plain words such as "this kernel lacks the tracepoint `sk_data_ready` (Linux
    /// 6.2)"; there are only [`Event::Dropped`] then. `None` where they are, or weren't asked for.
    pub fn not_followed(&self) -> Option<&str> {
        self.not_followed.as_deref()
    }

    /// Gives every event that is there to `see`, without waiting; returns how many there were. What comes meanwhile is left to the next
    /// call. Events are in the order in which their CPUs began to write them.
    ///
    /// # Errors
    /// When the kernel hands over a record that is none.
    pub fn read(&mut self, see: &mut dyn FnMut(Event<'_>)) -> Result<usize> {
        let none = || Failure::error(Diagnostic::error("the kernel handed over a record of a packet that is none"));
        let reasons = &self.reasons;
        let mut whole = true;
        let read = self.records.read(&mut |record| match event(record, reasons) {
            Some(event) => see(event),
            None => whole = false,
        });
        match read {
            Ok(count) if whole => Ok(count),
            Ok(_) | Err(NoRecord) => Err(none()),
        }
    }

    /// How many packets were dropped since this was opened, by reason, whether their records found room or not; clones count, too.
    /// Only reasons that occurred.
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

    /// How many records, of whatever event, found no room in the ring, or were too many. Where packets are followed and this isn't 0, an
    /// event that is missing proves nothing.
    ///
    /// # Errors
    /// None so far.
    #[expect(clippy::unnecessary_wraps, reason = "a kernel may come whose counters must be asked for")]
    pub fn lost(&self) -> Result<u64> {
        Ok(self.counter(self.reasons.len() + 1))
    }

    /// How many packets came in through the interface since this was opened, whether their records found room or not: the next one has
    /// this position. 0 where packets aren't followed.
    #[cfg(test)]
    pub fn arrived(&self) -> u64 {
        self.counter(self.reasons.len() + 2)
    }

    /// How many addresses of packets the table didn't take. Where this isn't 0, drops may lack their position though it came in. When very
    /// many packets wait at once, the table forgets the oldest ones; that isn't counted.
    pub fn untracked(&self) -> u64 {
        self.counter(self.reasons.len() + 3)
    }

    /// How many events anywhere on this machine were not looked at, since they happened in an interrupt of the look at another one of
    /// the same kind.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn missed(&self) -> Result<u64> {
        let missed = self.programs.iter().map(|program| syscall::missed(program.as_fd())).sum::<std::io::Result<u64>>();
        missed.map_err(|error| Failure::system("can't ask for a BPF program", &error))
    }

    fn counter(&self, slot: usize) -> u64 {
        self.counters.long(8 * slot).load(Ordering::Relaxed)
    }
}

impl AsFd for PacketTrace {
    /// For poll(2), with a time limit of some 10 ms: it returns at once where there are records, but the kernel wakes who already waits
    /// only when an eighth of the ring is full. To be woken by every record would slow the flood down that is to be measured.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.records.as_fd()
    }
}

/// Attaches all programs.
fn follow(
    following: std::result::Result<FollowingLayout, String>,
    layout: &Layout,
    target: &Target,
    frames: Option<u64>,
) -> std::result::Result<Attached, Refusal> {
    let following = following.map_err(Refusal::Unavailable)?;
    let value = u32::from(VALUE_BYTES.unsigned_abs());
    let refused = |error| opening::refused("remember packets", &error);
    // The programs keep them open.
    let packets =
        syscall::table(value, opening::of_frames(frames, 4, LEAST_TABLE_ENTRIES, TABLE_ENTRIES)).map_err(refused)?;
    let others = syscall::table(value, LEAST_TABLE_ENTRIES).map_err(refused)?;
    let cells = syscall::per_cpu(CELL_BYTES).map_err(refused)?;
    let kept = Kept { packets: packets.as_raw_fd(), others: others.as_raw_fd(), cells: cells.as_raw_fd() };
    let with = Target { kept: Some(kept), ..*target };
    // What gives positions comes last, so that nothing that has one is missed.
    let programs: [(&CStr, Option<Vec<Instruction>>); 7] = [
        (c"kfree_skb", program::drops(layout, &with)?),
        (c"consume_skb", program::consumed(layout, &following, &with, kept)?),
        (c"napi_gro_receive_entry", arrival::batched(layout, &with, kept)?),
        (c"napi_poll", arrival::polled(layout, &with, kept)?),
        (c"sock_recv_length", queue::read(layout, &following, &with)?),
        (c"sk_data_ready", queue::queued(layout, &following, &with, kept)?),
        (c"netif_receive_skb", arrival::arrivals(layout, &following, &with, kept)?),
    ];
    programs.into_iter().map(|(tracepoint, program)| opening::attach(tracepoint, program)).collect()
}
