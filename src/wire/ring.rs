//! Frames in: a `TPACKET_V3` receive ring on one interface, shared with the kernel (packet(7), and
//! `Documentation/networking/packet_mmap.rst` of Linux).
//!
//! The kernel fills blocks, and hands one over when it is full or 2 ms old; a block is read in place and handed back. Needs
//! `CAP_NET_RAW`. Start at [`Ring::read`].
#![expect(unsafe_code, reason = "the ring is memory shared with the kernel")]

mod size;

use std::ffi::c_int;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use nix::sys::socket::{SockType, getsockopt, sockopt};
use nix::sys::time::TimeSpec;

pub use size::RingSize;

use super::mapping::Mapping;
use super::packet_socket::{EVERY_PROTOCOL, PacketSocket};
use super::poll::Waker;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::interface;
use crate::host::netlink::{u16_at, u32_at};

/// `enum tpacket_versions`.
const TPACKET_V3: c_int = 2;

/// A half-filled block is handed over after this time. While frames come slowly each takes a block for itself, so blocks × this is how
/// long the reader may sleep.
const RETIRE_MILLISECONDS: u32 = 2;

/// Where frames come fast enough to fill blocks, a ring of so many blocks is looked at this often, rather than whenever a block is full: the processor
/// that takes frames in would pay for waking the reader, on a virtual machine with a tenth of its time or more.
const BUSY_PAUSE: Duration = Duration::from_micros(200);
const BUSY_BLOCKS: usize = 16;

/// Where `block_status` of `struct tpacket_block_desc` stands: after version u32 and offset to private u32.
const BLOCK_STATUS: usize = offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, block_status);
const BLOCK_FRAMES: usize = offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, num_pkts);
const BLOCK_FIRST: usize =
    offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt);

/// `struct tpacket3_hdr` is followed, aligned to 16, by the frame's `struct sockaddr_ll`.
const ADDRESS: usize = size_of::<libc::tpacket3_hdr>().next_multiple_of(libc::TPACKET_ALIGNMENT);

/// The header of a block, in bytes (`BLK_HDR_LEN` of `net/packet/internal.h`).
const BLOCK_HEADER: usize = 48;

/// What stands before an Ethernet frame in a block, in bytes: `tp_mac` of `tpacket_rcv`, which aligns the network header to 16.
const FRAME_HEADER: usize =
    (ADDRESS + size_of::<libc::sockaddr_ll>() + 16).next_multiple_of(libc::TPACKET_ALIGNMENT) - ETHERNET_HEADER;
const ETHERNET_HEADER: usize = 14;

/// `struct virtio_net_hdr`, which stands before a frame where `PACKET_VNET_HDR` is set, in bytes; and where the kind of its segments and their
/// length are in it.
const VIRTUAL_HEADER: usize = 10;
const SEGMENT_KIND: usize = 1;
const SEGMENT_BYTES: usize = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`.
const UDP_SEGMENTS: u8 = 5;

/// Frames in a block begin at multiples of this (`V3_ALIGNMENT`).
const FRAME_ALIGNMENT: usize = 8;

/// The space in a ring, as a thread sees it that sends frames to it and does not read it.
#[derive(Clone)]
pub struct RingSpace {
    memory: Arc<Mapping>,
    /// The block that the reader reads next.
    next: Arc<AtomicUsize>,
    block_bytes: usize,
    block_count: usize,
}

impl RingSpace {
    /// The bytes of the ring.
    pub fn bytes(&self) -> u64 {
        (self.block_bytes * self.block_count) as u64
    }

    /// What a frame of `length` bytes takes in the ring, with its headers and its part of the unused end of a block. A frame that is
    /// longer than half a block takes a block.
    pub fn frame_bytes(&self, length: usize) -> u64 {
        let frame = (FRAME_HEADER + length).next_multiple_of(FRAME_ALIGNMENT);
        let usable = self.block_bytes - BLOCK_HEADER;
        let per_block = (usable / frame).max(1);
        // The next frame opens a new block where less than its own length is left.
        let unused = if per_block == 1 { usable } else { frame + frame * frame / (usable - frame) };
        unused.min(self.block_bytes) as u64
    }

    /// Whether at least half of the blocks are free, or are being filled. A block that the kernel has handed over takes its whole room
    /// until the reader gives it back, however few frames it holds.
    pub fn half_is_free(&self) -> bool {
        self.is_free(self.block_count / 2)
    }

    /// Whether the reader has read every block that the kernel has handed over.
    pub fn is_read(&self) -> bool {
        self.is_free(0)
    }

    /// Whether the kernel has not yet handed over the block that is so many blocks after the next one.
    fn is_free(&self, ahead: usize) -> bool {
        let block = (self.next.load(Ordering::Acquire) + ahead) % self.block_count;
        let status = self.memory.word(block * self.block_bytes + BLOCK_STATUS).load(Ordering::Acquire);
        status & libc::TP_STATUS_USER == 0
    }
}

/// One frame, as it was on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The frame from its Ethernet header on, with the VLAN tag put back that the kernel moved to the auxiliary data.
    pub bytes: &'a [u8],
    /// Its length on the wire, tag included; more than `bytes` where the ring's blocks are smaller than the frame.
    pub original_length: u32,
    /// When the kernel took it, in nanoseconds since 1970 (`CLOCK_REALTIME`).
    pub time_ns: u64,
    /// Of a UDP datagram that becomes several behind this: how many bytes of its payload each of them carries. 0 of others, and where that is not
    /// said.
    pub segment_bytes: u16,
}

/// What the kernel counted since the ring was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingStatistics {
    /// Frames put into the ring.
    pub packets: u64,
    /// Frames for which it had no room.
    pub drops: u64,
}

/// What a ring gets of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

/// A receive ring on one interface: of the frames that come in there, or of those that it sends.
pub struct Ring {
    /// Before the socket: whoever gives up the last of both closes it.
    memory: Arc<Mapping>,
    socket: PacketSocket,
    block_bytes: usize,
    block_count: usize,
    next: Arc<AtomicUsize>,
    filters_outgoing: bool,
    has_virtual_headers: bool,
    waker: Waker,
    /// Whether the block that was read last was handed over because it was full.
    is_busy: bool,
    /// Whether the reader is woken for each block, however fast they come.
    wakes_always: bool,
    counted: RingStatistics,
    tagged: Vec<u8>,
}

/// A receive ring that is on no interface yet.
pub struct UnboundRing {
    ring: Ring,
    interface: String,
    size: RingSize,
}

impl UnboundRing {
    /// What was asked for.
    pub fn size(&self) -> RingSize {
        self.size
    }

    /// Puts it on its interface, in the calling thread's network namespace, which must be that in which it was made; every frame that comes from
    /// now on is seen.
    ///
    /// # Errors
    /// As [`Ring::open`].
    pub fn bind(self) -> Result<Ring> {
        let Self { ring, interface, .. } = self;
        let index = interface::existing(&interface)?.index;
        ring.socket
            .bind(index, EVERY_PROTOCOL)
            .map_err(|error| Failure::system(format!("can't make a receive ring on `{interface}`"), &error))?;
        Ok(ring)
    }
}

impl Ring {
    /// Opens a ring of about this size, or as much of it as the kernel grants, in the calling thread's network namespace; every frame that comes from now on is seen.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::diagnostic::Kind::Invalid) when there is no such interface;
    /// [`Kind::Blocked`](crate::diagnostic::Kind::Blocked) without `CAP_NET_RAW`, or when the kernel grants no memory.
    pub fn open(interface: &str, size: impl Into<RingSize>) -> Result<Self> {
        let facts = interface::existing(interface)?;
        Self::unbound(interface, facts.mtu_bytes, size.into(), &|| ())?.bind()
    }

    /// The same for an interface that may not be there yet, and will have this MTU. Nothing is seen before it is bound. The kernel takes 10 ms or so to
    /// make a ring, or 0.3 ms while a process holds the lock of the network configuration (rtnl): what it waits for is hurried then (`synchronize_net`
    /// in net/core/dev.c of Linux). `ready` is called before it begins.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn unbound(interface: &str, mtu_bytes: u32, size: RingSize, ready: &dyn Fn()) -> Result<UnboundRing> {
        Self::make(interface, mtu_bytes, size, Way::In, ready)
    }

    /// Opens a ring of the frames that an interface sends.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_sent(interface: &str, size: RingSize) -> Result<Self> {
        let facts = interface::existing(interface)?;
        Self::make(interface, facts.mtu_bytes, size, Way::Out, &|| ())?.bind()
    }

    fn make(interface: &str, mtu_bytes: u32, size: RingSize, way: Way, ready: &dyn Fn()) -> Result<UnboundRing> {
        let socket = PacketSocket::open(interface, SockType::Raw)?;
        let failed = |error: &io::Error| Failure::system(format!("can't make a receive ring on `{interface}`"), error);
        socket.set(libc::PACKET_VERSION, TPACKET_V3).map_err(|error| failed(&error))?;
        let (filters_outgoing, has_virtual_headers) = match way {
            // Linux 4.20. Without it what the interface sends arrives too, and is recognized by its packet type.
            Way::In => (socket.set(libc::PACKET_IGNORE_OUTGOING, 1).is_err(), false),
            Way::Out => {
                socket.receive_outgoing_only().map_err(|error| failed(&error))?;
                // They say in which segments a frame is sent. Before Linux 6.2 there is no word for those of UDP: such a frame is counted as dropped.
                (false, socket.set(libc::PACKET_VNET_HDR, 1).is_ok())
            }
        };

        let block_bytes = size.block_bytes(mtu_bytes);
        let number = |value: usize| u32::try_from(value).expect("the ring is at most 1 GiB");
        let mut block_count = (size.bytes / block_bytes).clamp(2, (1 << 30) / block_bytes);
        ready();
        // Ring memory counts neither as locked (RLIMIT_MEMLOCK) nor as socket memory: only where the machine has none left it is refused.
        loop {
            let request = libc::tpacket_req3 {
                tp_block_size: number(block_bytes),
                tp_block_nr: number(block_count),
                // TPACKET_V3 packs frames of any length; the kernel only checks that these two fit the blocks.
                tp_frame_size: 2048,
                tp_frame_nr: number(block_bytes / 2048 * block_count),
                tp_retire_blk_tov: RETIRE_MILLISECONDS,
                tp_sizeof_priv: 0,
                tp_feature_req_word: 0,
            };
            match socket.request_ring(&request) {
                Ok(()) => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && block_count > 2 => {
                    block_count = (block_count / 2).max(2);
                }
                Err(error) => return Err(refused(interface, block_bytes * block_count, &error)),
            }
        }
        let length = block_bytes * block_count;
        let memory =
            Mapping::of(socket.as_fd(), length, 0).map_err(|error| refused(interface, length, &error)).map(Arc::new)?;
        let waker = Waker::new().map_err(|error| failed(&error))?;
        let ring = Self {
            socket,
            memory,
            block_bytes,
            block_count,
            next: Arc::default(),
            filters_outgoing,
            has_virtual_headers,
            waker,
            is_busy: false,
            wakes_always: false,
            counted: RingStatistics::default(),
            tagged: Vec::new(),
        };
        Ok(UnboundRing { ring, interface: interface.to_owned(), size })
    }

    /// Has the reader woken for each block, however fast they come: it and a kernel thread that takes frames in keep the processor awake for each other.
    pub fn wake_for_each_block(&mut self) {
        self.wakes_always = true;
    }

    /// The space in it, for the thread that sends.
    pub fn space(&self) -> RingSpace {
        RingSpace {
            memory: Arc::clone(&self.memory),
            next: Arc::clone(&self.next),
            block_bytes: self.block_bytes,
            block_count: self.block_count,
        }
    }

    /// The inode of its socket, as `sock_diag` has it; 0 where it can't be asked.
    pub fn inode(&self) -> u64 {
        nix::sys::stat::fstat(&self.socket).map_or(0, |facts| facts.st_ino)
    }

    /// Another thread's means to end a waiting [`Ring::read`].
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Gives every frame that is there to `each`, in the order of arrival; where none is, waits until some are, the waker is called, or
    /// `timeout` is over. Returns how many frames there were. A frame shows up at most some 4 ms after it came.
    ///
    /// # Errors
    /// When the kernel doesn't let us wait, or hands over a block that is no block.
    pub fn read(&mut self, timeout: Duration, each: &mut dyn FnMut(Seen<'_>)) -> Result<usize> {
        if !self.ready() {
            self.wait(timeout).map_err(|error| Failure::system("can't wait for frames", &error))?;
        }
        let mut count = 0;
        // One round at most: a reader that is slower than the wire must come back, too.
        for _ in 0..self.block_count {
            if !self.ready() {
                break;
            }
            count += self.read_block(each)?;
        }
        Ok(count)
    }

    /// What the kernel counted since the ring was opened.
    ///
    /// # Errors
    /// When the kernel doesn't answer.
    pub fn statistics(&mut self) -> Result<RingStatistics> {
        let count = self.socket.count().map_err(|error| Failure::system("can't read the ring's statistics", &error))?;
        self.counted.packets += u64::from(count.offered.saturating_sub(count.dropped));
        self.counted.drops += u64::from(count.dropped);
        Ok(self.counted)
    }

    /// Whether the next block is ours.
    fn ready(&self) -> bool {
        self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    fn status(&self) -> &AtomicU32 {
        self.memory.word(self.next.load(Ordering::Relaxed) * self.block_bytes + BLOCK_STATUS)
    }

    /// Waits for a block, the waker or the time; forgets the wake-up and the socket's error.
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let is_busy = std::mem::take(&mut self.is_busy) && self.block_count >= BUSY_BLOCKS && timeout > BUSY_PAUSE;
        if is_busy && !self.wakes_always {
            let waker = PollFd::new(self.waker.as_fd(), PollFlags::POLLIN);
            if ppoll(&mut [waker], Some(TimeSpec::from(BUSY_PAUSE)), None) == Ok(0) && self.ready() {
                return Ok(());
            }
        }
        let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
        let timeout = i32::try_from(milliseconds).ok().and_then(|time| PollTimeout::try_from(time).ok());
        let mut both = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN | PollFlags::POLLERR),
            PollFd::new(self.waker.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut both, timeout.unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let [socket, waker] = both.map(|each| each.revents().unwrap_or(PollFlags::empty()));
        if waker.contains(PollFlags::POLLIN) {
            // Non-blocking: EAGAIN when a second reader of the same ring was quicker, which can't be.
            self.waker.forget();
        }
        if socket.contains(PollFlags::POLLERR) {
            // ENETDOWN: the interface went down. Reading the error clears it, so that the next poll waits again.
            getsockopt(&self.socket, sockopt::SocketError)?;
        }
        Ok(())
    }

    /// Reads the next block, which must be ready, and hands it back.
    fn read_block(&mut self, each: &mut dyn FnMut(Seen<'_>)) -> Result<usize> {
        let next = self.next.load(Ordering::Relaxed);
        let start = self.memory.at(next * self.block_bytes, self.block_bytes);
        // SAFETY: `at` checked that the block is inside the mapping, which outlives the slice: both end in this function. The block is
        // ours (TP_STATUS_USER, read with Acquire), and the kernel writes to it only after the store below.
        let block = unsafe { std::slice::from_raw_parts(start.as_ptr(), self.block_bytes) };
        let mut count = 0;
        self.is_busy = self.status().load(Ordering::Acquire) & libc::TP_STATUS_BLK_TMO == 0;
        let whole = frames_of(block, &mut |frame| {
            if self.filters_outgoing && frame.packet_type == libc::PACKET_OUTGOING {
                return;
            }
            count += 1;
            let segment_bytes = if self.has_virtual_headers { frame.segment_bytes() } else { 0 };
            each(Seen { segment_bytes, ..frame.seen(&mut self.tagged) });
        });
        self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next.store((next + 1) % self.block_count, Ordering::Release);
        match whole {
            Some(()) => Ok(count),
            None => Err(Failure::error(Diagnostic::error(
                "the kernel handed over a block of frames that is no TPACKET_V3 block",
            ))),
        }
    }
}

fn refused(interface: &str, bytes: usize, error: &io::Error) -> Failure {
    Failure::blocked(
        Diagnostic::error(format!("the kernel grants no receive ring of {} KiB on `{interface}`", bytes >> 10))
            .why(error.to_string())
            .fix("free memory, or raise the memory limit of the container or cgroup"),
    )
}

/// One frame of a block, as the kernel describes it (`struct tpacket3_hdr`).
struct Frame<'a> {
    bytes: &'a [u8],
    original_length: u32,
    time_ns: u64,
    /// TPID and TCI of the tag that was taken off.
    tag: Option<[u8; 4]>,
    packet_type: u8,
    /// What stands before it.
    before: &'a [u8],
}

impl<'a> Frame<'a> {
    /// As its virtual header says.
    fn segment_bytes(&self) -> u16 {
        let is_udp = self.before.get(SEGMENT_KIND) == Some(&UDP_SEGMENTS);
        u16_at(self.before, SEGMENT_BYTES).filter(|_| is_udp).unwrap_or(0)
    }

    /// With the tag at byte 12, for which `tagged` lends the room.
    fn seen(&self, tagged: &'a mut Vec<u8>) -> Seen<'a> {
        let (bytes, tag_length) = match (self.tag, self.bytes.split_at_checked(12)) {
            (Some(tag), Some((addresses, rest))) => {
                tagged.clear();
                tagged.extend_from_slice(addresses);
                tagged.extend_from_slice(&tag);
                tagged.extend_from_slice(rest);
                (tagged.as_slice(), 4)
            }
            _ => (self.bytes, 0),
        };
        let original_length = self.original_length.saturating_add(tag_length);
        Seen { bytes, original_length, time_ns: self.time_ns, segment_bytes: 0 }
    }
}

/// Gives each frame of the block to `each`; `None` when an offset leads out of it.
fn frames_of<'a>(block: &'a [u8], each: &mut dyn FnMut(Frame<'a>)) -> Option<()> {
    let mut left = u32_at(block, BLOCK_FRAMES)?;
    let mut offset = u32_at(block, BLOCK_FIRST)?;
    while left > 0 {
        let header = block.get(usize::try_from(offset).ok()?..)?;
        each(frame_at(header)?);
        left -= 1;
        // 0 for the last one.
        let next = u32_at(header, offset_of!(libc::tpacket3_hdr, tp_next_offset)).filter(|next| *next > 0 || left == 0);
        offset = offset.checked_add(next?)?;
    }
    Some(())
}

/// The frame whose header stands at the beginning of `header`.
fn frame_at(header: &[u8]) -> Option<Frame<'_>> {
    use libc::{sockaddr_ll, tpacket_hdr_variant1, tpacket3_hdr};
    const VLAN: usize = offset_of!(tpacket3_hdr, hv1);
    let length = usize::try_from(u32_at(header, offset_of!(tpacket3_hdr, tp_snaplen))?).ok()?;
    let start = usize::from(u16_at(header, offset_of!(tpacket3_hdr, tp_mac))?);
    let status = u32_at(header, offset_of!(tpacket3_hdr, tp_status))?;
    let seconds = u32_at(header, offset_of!(tpacket3_hdr, tp_sec))?;
    let nanoseconds = u32_at(header, offset_of!(tpacket3_hdr, tp_nsec))?;
    let tag = if status & libc::TP_STATUS_VLAN_VALID == 0 {
        None
    } else {
        let control = u32_at(header, VLAN + offset_of!(tpacket_hdr_variant1, tp_vlan_tci))?;
        let protocol = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
            0x8100
        } else {
            u16_at(header, VLAN + offset_of!(tpacket_hdr_variant1, tp_vlan_tpid))?
        };
        let ([a, b], [.., c, d]) = (protocol.to_be_bytes(), control.to_be_bytes());
        Some([a, b, c, d])
    };
    Some(Frame {
        bytes: header.get(start..start.checked_add(length)?)?,
        before: header.get(start.saturating_sub(VIRTUAL_HEADER)..start)?,
        original_length: u32_at(header, offset_of!(tpacket3_hdr, tp_len))?,
        time_ns: u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds),
        tag,
        packet_type: *header.get(ADDRESS + offset_of!(sockaddr_ll, sll_pkttype))?,
    })
}

#[cfg(test)]
#[path = "../../tests/unit/ring_blocks.rs"]
mod tests;
