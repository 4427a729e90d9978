//! `AF_XDP` in copy mode (`Documentation/networking/af_xdp.rst` of Linux): descriptors in a ring name frames in memory that is shared
//! with the kernel, and one system call sends a batch without copying a message header for each.
//!
//! The memory (UMEM) is cut into segments; a batch fills one, and a segment is filled again when the kernel has given back all of its
//! frames. It counts against `RLIMIT_MEMLOCK`, which all of a user's processes share. Works in a user namespace, for it takes no more
//! than `CAP_NET_RAW`. Start at [`XdpSender`].
#![expect(unsafe_code, reason = "AF_XDP has no safe wrapper: options, binding, rings in shared memory")]

use std::ffi::c_int;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::Ordering;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{ETHERNET, Placed, Refusals, SendResult, given_up};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::interface::{self, InterfaceKind};
use crate::host::rtnetlink::RouteSocket;
use crate::wire::mapping::Mapping;
use crate::wire::packet_socket::set_option;

/// The longest frame, in bytes: a chunk of memory is a page at most.
pub const LONGEST: usize = 4096;

/// The shared memory: 1 MiB, of the 8 MiB that a user may usually lock.
const SEGMENTS: usize = 16;
const SEGMENT_BYTES: usize = 64 << 10;
const MEMORY_BYTES: usize = SEGMENTS * SEGMENT_BYTES;

/// How many frames go into one batch: above, nothing is gained.
const BATCH: usize = 64;
/// Entries of each ring, a power of two.
const RING: u32 = 256;
/// So many frames may be on their way. A veth whose peer polls has a queue of 256 that drops what is too much, and a processor's backlog
/// is 1,000.
const UNDER_WAY: usize = 192;

/// `XDP_MAX_TX_SKB_BUDGET`, since Linux 6.17: how many frames one system call sends, at most those of the ring; 32 without it.
const XDP_MAX_TX_SKB_BUDGET: c_int = 9;

/// One frame of the batch.
#[derive(Debug, Clone, Copy)]
enum Entry {
    /// In the shared memory.
    Frame { address: usize, length: usize },
    /// Not to be sent.
    Refused(SendResult),
}

/// Sends frames on one interface.
#[derive(Debug)]
pub struct XdpSender {
    socket: OwnedFd,
    memory: Mapping,
    transmit: Ring,
    completion: Ring,
    links: RouteSocket,
    interface: String,
    index: u32,
    /// The longest frame without and with a VLAN tag is the MTU and 14 or 18 bytes.
    mtu_bytes: usize,
    is_veth: bool,
    /// The longest frame that was not dropped.
    longest_taken: usize,
    entries: Vec<Entry>,
    /// Frames of each segment that the kernel has not given back.
    under_way: [usize; SEGMENTS],
    segment: usize,
    filled: usize,
}

impl XdpSender {
    /// Opens the interface in the calling thread's network namespace, and binds to its first queue.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::diagnostic::Kind::Invalid) when there is no such interface;
    /// [`Kind::Blocked`](crate::diagnostic::Kind::Blocked) where the kernel or the interface has no `AF_XDP`, the memory that may be
    /// locked is too little, or `CAP_NET_RAW` is missing.
    pub fn open(interface: &str) -> Result<Self> {
        let facts = interface::existing(interface)?;
        let blocked = |step: &str, error: &io::Error| {
            let problem =
                Diagnostic::error(format!("AF_XDP does not work on `{interface}`: {step}")).why(error.to_string());
            Failure::blocked(match error.raw_os_error() {
                Some(libc::ENOBUFS | libc::ENOMEM) => problem
                    .why(format!(
                        "{error}: {} KiB count against RLIMIT_MEMLOCK, which a user's processes share",
                        MEMORY_BYTES >> 10
                    ))
                    .fix("raise the limit (`ulimit -l`), or say `[pacing] sender = \"packet\"`"),
                _ => problem.fix("say `[pacing] sender = \"packet\"`, or leave it out"),
            })
        };
        let memory = Mapping::anonymous(MEMORY_BYTES).map_err(|error| blocked("no memory", &error))?;
        // SAFETY: socket(2) takes no pointers.
        let descriptor = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if descriptor < 0 {
            return Err(blocked("no socket", &io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was just opened and nothing else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) {
            // Where it may not be raised, the registration below says what that means.
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
        }
        let umem = UmemRegistration {
            address: memory.at(0, MEMORY_BYTES).as_ptr() as u64,
            length: MEMORY_BYTES as u64,
            chunk_size: u32::try_from(LONGEST).expect("4096"),
            headroom: 0,
            flags: libc::XDP_UMEM_UNALIGNED_CHUNK_FLAG,
            metadata_length: 0,
        };
        set(&socket, libc::XDP_UMEM_REG, &umem).map_err(|error| blocked("its memory is refused", &error))?;
        for option in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
            set(&socket, option, &RING).map_err(|error| blocked("a ring is refused", &error))?;
        }
        // Older kernels send 32 frames a call, and are asked again.
        let _ = set(&socket, XDP_MAX_TX_SKB_BUDGET, &RING);
        let rings = || -> io::Result<(Ring, Ring)> {
            let offsets = offsets(&socket)?;
            let transmit = Ring::new(&socket, &offsets.tx, size_of::<libc::xdp_desc>(), libc::XDP_PGOFF_TX_RING)?;
            let page = libc::off_t::try_from(libc::XDP_UMEM_PGOFF_COMPLETION_RING).map_err(io::Error::other)?;
            Ok((transmit, Ring::new(&socket, &offsets.cr, size_of::<u64>(), page)?))
        };
        let (transmit, completion) = rings().map_err(|error| blocked("its rings can't be mapped", &error))?;
        bind(&socket, facts.index).map_err(|error| blocked("it can't be bound", &error))?;
        Ok(Self {
            socket,
            memory,
            transmit,
            completion,
            links: RouteSocket::open().map_err(|error| blocked("its link can't be watched", &error))?,
            interface: interface.to_owned(),
            index: facts.index,
            mtu_bytes: usize::try_from(facts.mtu_bytes).unwrap_or(usize::MAX),
            is_veth: facts.kind == InterfaceKind::Veth,
            longest_taken: 0,
            entries: Vec::with_capacity(BATCH),
            under_way: [0; SEGMENTS],
            segment: 0,
            filled: 0,
        })
    }

    pub(super) fn place(&mut self, frame: &[u8]) -> Placed {
        if self.entries.len() == BATCH {
            return Placed::Full;
        }
        if let Some(result) = self.refusal(frame) {
            self.entries.push(Entry::Refused(result));
            return Placed::Yes;
        }
        if self.filled + frame.len() > SEGMENT_BYTES {
            return Placed::Full;
        }
        let address = self.segment * SEGMENT_BYTES + self.filled;
        let room = self.memory.at(address, frame.len());
        // SAFETY: `at` checked that the room is inside the mapping. No descriptor names it: the kernel has given back all frames of the
        // segment before it was begun, and what was placed since ends at `filled`. `frame` is no part of the mapping, from which
        // nothing is borrowed.
        unsafe { ptr::copy_nonoverlapping(frame.as_ptr(), room.as_ptr(), frame.len()) };
        self.filled += frame.len();
        self.entries.push(Entry::Frame { address, length: frame.len() });
        Placed::Yes
    }

    /// What the kernel would say of the frame by another way; by this one it is not known which frame it is about.
    fn refusal(&self, frame: &[u8]) -> Option<SendResult> {
        if frame.len() < ETHERNET {
            return Some(SendResult::Unsendable);
        }
        let tagged = matches!(frame, [_, _, _, _, _, _, _, _, _, _, _, _, 0x81, 0x00, ..]);
        let longest = self.mtu_bytes.saturating_add(ETHERNET + if tagged { 4 } else { 0 }).min(LONGEST);
        (frame.len() > longest).then_some(SendResult::TooLong)
    }

    pub(super) fn send(&mut self, results: &mut Vec<SendResult>) -> Result<()> {
        let first = results.len();
        results.extend(self.entries.iter().map(|entry| match entry {
            Entry::Refused(result) => *result,
            Entry::Frame { .. } => SendResult::Sent,
        }));
        let mut named = Vec::with_capacity(self.entries.len());
        for (index, entry) in self.entries.iter().enumerate() {
            if let Entry::Frame { address, length } = *entry {
                self.transmit.put_descriptor(named.len(), address as u64, length);
                named.push((first + index, length));
            }
        }
        self.under_way[self.segment] += named.len();
        self.transmit.publish(named.len());
        self.entries.clear();
        let sent = self.kick(&named, results);
        // Half a segment is room for half a batch: the next one begins in a fresh one.
        let fresh = if self.filled > SEGMENT_BYTES / 2 { self.next_segment() } else { Ok(()) };
        sent.and(fresh)
    }

    pub(super) fn warm(&mut self) {
        // There is nothing to send, which the kernel finds out at the end of the way.
        let _ = self.transmit_now();
        self.reclaim();
    }

    /// Lets the kernel send all that the ring names; `named` says which result belongs to each, and its length.
    fn kick(&mut self, named: &[(usize, usize)], results: &mut [SendResult]) -> Result<()> {
        let mut refusals = Refusals::default();
        loop {
            let answer = self.transmit_now();
            self.reclaim();
            let left = self.transmit.unread();
            let done = named.len().saturating_sub(left);
            match answer.as_ref().map_err(io::Error::raw_os_error) {
                // The frame before the next one was taken and dropped: its peer is down, or has no room.
                Err(Some(libc::EBUSY)) => {
                    if let Some((&(slot, length), before)) = named.get(..done).and_then(<[_]>::split_last) {
                        results[slot] = self.dropped(length, before, results);
                    }
                    refusals = Refusals::default();
                }
                Err(Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV)) => {
                    for (slot, _) in named.get(done..).unwrap_or_default() {
                        results[*slot] = SendResult::InterfaceDown;
                    }
                    // Those that it has not read must not go when it is up again.
                    self.under_way[self.segment] = self.under_way[self.segment].saturating_sub(left);
                    self.transmit.spoil_unread(left);
                    return Ok(());
                }
                Ok(()) | Err(Some(libc::EINTR)) => {}
                Err(Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM)) => {
                    if refusals.are_too_many() {
                        return Err(given_up(&self.interface, &io::Error::from_raw_os_error(libc::EAGAIN)));
                    }
                    refusals.wait();
                }
                Err(_) => {
                    let error = answer.err().unwrap_or_else(io::Error::last_os_error);
                    return Err(given_up(&self.interface, &error));
                }
            }
            if left == 0 {
                let taken = |(slot, length): &(usize, usize)| (results[*slot] == SendResult::Sent).then_some(*length);
                self.longest_taken = named.iter().filter_map(taken).fold(self.longest_taken, usize::max);
            }
            if left == 0 && self.under_way.iter().sum::<usize>() <= UNDER_WAY - BATCH {
                return Ok(());
            }
            if left == 0 {
                // What is on its way comes back by itself.
                if refusals.are_too_many() {
                    return Err(given_up(&self.interface, &io::Error::from_raw_os_error(libc::EAGAIN)));
                }
                self.await_completion(&mut refusals);
                return Ok(());
            }
        }
    }

    /// Why the kernel took a frame of this length and dropped it at once. A peer with a smaller MTU lets through what is not longer.
    /// `before` are the frames of the batch that went before it.
    fn dropped(&mut self, length: usize, before: &[(usize, usize)], results: &[SendResult]) -> SendResult {
        let passed = |(slot, passed): &(usize, usize)| *passed >= length && results[*slot] == SendResult::Sent;
        if !self.is_running() {
            SendResult::InterfaceDown
        } else if self.is_veth && length > self.longest_taken && !before.iter().any(passed) {
            SendResult::TooLong
        } else {
            SendResult::Dropped
        }
    }

    /// Waits until there is room for a further batch, or no frame comes back any more.
    fn await_completion(&mut self, refusals: &mut Refusals) {
        while self.under_way.iter().sum::<usize>() > UNDER_WAY - BATCH && !refusals.are_too_many() {
            std::thread::yield_now();
            refusals.since.get_or_insert_with(std::time::Instant::now);
            self.reclaim();
        }
    }

    /// Goes on in a segment that is all ours: of several the one that was used last, which is still in the cache.
    fn next_segment(&mut self) -> Result<()> {
        let mut refusals = Refusals::default();
        loop {
            self.reclaim();
            if let Some(free) = self.under_way.iter().position(|under_way| *under_way == 0) {
                (self.segment, self.filled) = (free, 0);
                return Ok(());
            }
            if refusals.are_too_many() {
                return Err(given_up(&self.interface, &io::Error::other("it gives no memory back")));
            }
            refusals.wait();
        }
    }

    /// Takes back what the kernel is done with.
    fn reclaim(&mut self) {
        for _ in 0..self.completion.unread() {
            let address = self.completion.take_address();
            let segment = usize::try_from(address).map_or(usize::MAX, |address| address / SEGMENT_BYTES);
            if let Some(under_way) = self.under_way.get_mut(segment) {
                *under_way = under_way.saturating_sub(1);
            }
        }
    }

    fn is_running(&mut self) -> bool {
        matches!(self.links.link_by_index(self.index), Ok(Some(link)) if link.running)
    }

    fn transmit_now(&self) -> io::Result<()> {
        // SAFETY: without a message there is no memory to name.
        let answer =
            unsafe { libc::sendto(self.socket.as_raw_fd(), ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// `struct xdp_umem_reg`. Before Linux 6.8 the last word was padding.
#[repr(C)]
#[derive(Clone, Copy)]
struct UmemRegistration {
    address: u64,
    length: u64,
    chunk_size: u32,
    headroom: u32,
    flags: u32,
    metadata_length: u32,
}

/// A ring that is shared with the kernel: positions rise for ever, and stand for the entry at their lowest bits.
#[derive(Debug)]
struct Ring {
    memory: Mapping,
    producer: usize,
    consumer: usize,
    entries: usize,
    entry_bytes: usize,
}

impl Ring {
    fn new(
        socket: &OwnedFd,
        offsets: &libc::xdp_ring_offset,
        entry_bytes: usize,
        page: libc::off_t,
    ) -> io::Result<Self> {
        let number = |value: u64| usize::try_from(value).map_err(io::Error::other);
        let entries = number(offsets.desc)?;
        let memory = Mapping::of(socket.as_fd(), entries + RING as usize * entry_bytes, page)?;
        Ok(Self {
            memory,
            producer: number(offsets.producer)?,
            consumer: number(offsets.consumer)?,
            entries,
            entry_bytes,
        })
    }

    /// Entries that were produced and not consumed.
    fn unread(&self) -> usize {
        let consumed = self.memory.word(self.consumer).load(Ordering::Acquire);
        self.memory.word(self.producer).load(Ordering::Acquire).wrapping_sub(consumed) as usize
    }

    fn entry(&self, position: u32) -> ptr::NonNull<u8> {
        self.memory.at(self.entries + (position % RING) as usize * self.entry_bytes, self.entry_bytes)
    }

    /// Writes the descriptor that is `ahead` of the next one; the kernel looks at it when it is published.
    fn put_descriptor(&mut self, ahead: usize, address: u64, length: usize) {
        let next = self.memory.word(self.producer).load(Ordering::Relaxed);
        let position = next.wrapping_add(u32::try_from(ahead).expect("a batch is small"));
        let descriptor =
            libc::xdp_desc { addr: address, len: u32::try_from(length).expect("at most 4096"), options: 0 };
        // SAFETY: `entry` checked that a descriptor's bytes are inside the mapping; entries are aligned to 8, as the kernel lays them
        // out. Only published entries are read by the kernel, and this one is not.
        unsafe { self.entry(position).cast::<libc::xdp_desc>().as_ptr().write(descriptor) };
    }

    fn publish(&mut self, count: usize) {
        let next = self.memory.word(self.producer).load(Ordering::Relaxed);
        let next = next.wrapping_add(u32::try_from(count).expect("a batch is small"));
        self.memory.word(self.producer).store(next, Ordering::Release);
    }

    /// Makes descriptors invalid that were published and not read, so that the kernel skips them. In copy mode it reads them only
    /// while a system call of ours runs.
    fn spoil_unread(&mut self, count: usize) {
        let end = self.memory.word(self.producer).load(Ordering::Relaxed);
        for back in 1..=u32::try_from(count).unwrap_or(RING).min(RING) {
            let descriptor = libc::xdp_desc { addr: MEMORY_BYTES as u64, len: 1, options: 0 };
            // SAFETY: as in `put_descriptor`; no system call of this socket runs, so the kernel reads nothing now.
            unsafe { self.entry(end.wrapping_sub(back)).cast::<libc::xdp_desc>().as_ptr().write(descriptor) };
        }
    }

    /// Takes the next address, of which there must be one.
    fn take_address(&mut self) -> u64 {
        let next = self.memory.word(self.consumer).load(Ordering::Relaxed);
        // SAFETY: `entry` checked that 8 bytes are inside the mapping, aligned to 8 as the kernel lays them out; the producer's position,
        // read with Acquire in `unread`, is past this entry, so the kernel doesn't write to it until it is consumed below.
        let address = unsafe { self.entry(next).cast::<u64>().as_ptr().read() };
        self.memory.word(self.consumer).store(next.wrapping_add(1), Ordering::Release);
        address
    }
}

fn set<T: Copy>(socket: &OwnedFd, option: c_int, value: &T) -> io::Result<()> {
    set_option(socket, libc::SOL_XDP, option, value)
}

/// Where in each ring's mapping what stands.
fn offsets(socket: &OwnedFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: the struct is plain integers, for which all zeros is a value.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::xdp_mmap_offsets>()).expect("128");
    // SAFETY: the pointer and `length` describe `offsets`, which lives across the call.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_MMAP_OFFSETS,
            ptr::from_mut(&mut offsets).cast(),
            &raw mut length,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    // Before Linux 5.4 the offsets had no flags, and fewer bytes.
    if (length as usize) < size_of::<libc::xdp_mmap_offsets>() {
        return Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    }
    Ok(offsets)
}

fn bind(socket: &OwnedFd, index: u32) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: u16::try_from(libc::AF_XDP).expect("44"),
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: index,
        sxdp_queue_id: 0,
        sxdp_shared_umem_fd: 0,
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_xdp>()).expect("16");
    // SAFETY: the pointer and the length describe `address`, which lives across the call; the kernel only reads it.
    let status = unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&address).cast(), length) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const _: () = assert!(offset_of!(libc::xdp_desc, len) == 8 && size_of::<libc::xdp_desc>() == 16);
