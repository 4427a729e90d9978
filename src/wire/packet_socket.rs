//! A packet socket (packet(7)) and everything that is asked of it by raw system calls: options, binding, sendmmsg(2).
//!
//! Needs `CAP_NET_RAW` in the user namespace that owns the network namespace. Start at [`PacketSocket::open`].
#![expect(unsafe_code, reason = "nix has no TPACKET options, no sockaddr_ll from an index, and allocates for sendmmsg")]

use std::ffi::c_int;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::closing::Left;
use crate::diagnostic::{Diagnostic, Failure, Result};

/// How many frames go into one system call. Above 64 nothing is gained.
pub(super) const BATCH: usize = 64;

/// So many first bytes of each frame lie in one piece after [`PacketSocket::keep_heads_whole`].
const HEAD_BYTES: usize = 512;

/// `struct virtio_net_hdr` (linux/virtio_net.h), of a frame that neither checksum nor segmentation is left to do for.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct VirtioHeader {
    flags: u8,
    gso_type: u8,
    /// How many bytes the kernel puts into one piece.
    header_length: u16,
    gso_size: u16,
    checksum_start: u16,
    checksum_offset: u16,
}

/// `ETH_P_ALL`: a socket bound with it receives every frame.
pub(super) const EVERY_PROTOCOL: u16 = 3;

/// What the kernel counted since it was last asked.
pub(super) struct SocketCount {
    /// Frames that the socket was offered, after its filter: taken and dropped.
    pub(super) offered: u32,
    /// Frames for which it had no room.
    pub(super) dropped: u32,
}

/// An open packet socket. Receives nothing until it is bound with a protocol.
#[derive(Debug)]
pub(super) struct PacketSocket {
    descriptor: Left<OwnedFd>,
    /// Whether each frame has a [`VirtioHeader`].
    keeps_heads_whole: bool,
}

impl PacketSocket {
    /// `SockType::Raw`: frames with their Ethernet header; `SockType::Datagram`: from the network header on.
    ///
    /// # Errors
    /// [`Kind::Blocked`](crate::diagnostic::Kind::Blocked) without `CAP_NET_RAW`, and where the kernel has no packet sockets.
    pub(super) fn open(interface: &str, form: SockType) -> Result<Self> {
        match socket(AddressFamily::Packet, form, SockFlag::SOCK_CLOEXEC, None) {
            Ok(descriptor) => Ok(Self { descriptor: Left::new(descriptor), keeps_heads_whole: false }),
            Err(errno) => {
                let problem = Diagnostic::error(format!("can't open a packet socket on `{interface}`"));
                Err(match errno {
                    nix::Error::EPERM | nix::Error::EACCES => Failure::blocked(
                        problem
                            .why("packet sockets need CAP_NET_RAW in this network namespace (packet(7))")
                            .fix(grant()),
                    ),
                    nix::Error::EAFNOSUPPORT => Failure::blocked(
                        problem
                            .why("this kernel has no packet sockets (CONFIG_PACKET)")
                            .fix("load the module: `modprobe af_packet`"),
                    ),
                    other => Failure::error(problem.why(other.desc())),
                })
            }
        }
    }

    /// Sets an integer option of level `SOL_PACKET`.
    pub(super) fn set(&self, option: c_int, value: c_int) -> io::Result<()> {
        set_option(&self.descriptor, libc::SOL_PACKET, option, &value)
    }

    /// Without it, of a frame as long as a page the kernel keeps nothing but the Ethernet header where its tracepoints find it.
    pub(super) fn keep_heads_whole(&mut self) {
        self.keeps_heads_whole = self.keeps_heads_whole || self.set(libc::PACKET_VNET_HDR, 1).is_ok();
    }

    /// From now on it receives nothing but what the interface sends: `ld #type; jeq #PACKET_OUTGOING` of classic BPF.
    pub(super) fn receive_outgoing_only(&self) -> io::Result<()> {
        let packet_type = u32::from_ne_bytes((libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE).to_ne_bytes());
        self.attach_filter(&mut [
            instruction(0x20, 0, 0, packet_type),
            instruction(0x15, 0, 1, libc::PACKET_OUTGOING.into()),
            instruction(0x06, 0, 0, u32::MAX),
            instruction(0x06, 0, 0, 0),
        ])
    }

    /// A filter of classic BPF.
    fn attach_filter(&self, program: &mut [libc::sock_filter]) -> io::Result<()> {
        let len = u16::try_from(program.len()).map_err(io::Error::other)?;
        // The kernel copies the program; it is there until the call returns.
        let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
        set_option(&self.descriptor, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
    }

    /// Asks for a receive ring in the form of `PACKET_VERSION`, which must be set before.
    pub(super) fn request_ring(&self, request: &libc::tpacket_req3) -> io::Result<()> {
        set_option(&self.descriptor, libc::SOL_PACKET, libc::PACKET_RX_RING, request)
    }

    /// Binds to one interface; with `protocol` (an `EtherType`, or [`EVERY_PROTOCOL`]) it receives from now on, with 0 never.
    pub(super) fn bind(&self, index: u32, protocol: u16) -> io::Result<()> {
        // SAFETY: sockaddr_ll is plain integers and byte arrays, for which all zeros is a value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).expect("17");
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = c_int::try_from(index).expect("an interface index is a positive int");
        // SAFETY: the pointer and the length describe `address`, which lives across the call; the kernel only reads it.
        let status = unsafe {
            libc::bind(self.descriptor.as_raw_fd(), ptr::from_ref(&address).cast(), length_of::<libc::sockaddr_ll>())
        };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends frames in order, at most [`BATCH`] of them, waiting while the socket's send buffer is full. Returns how many were
    /// taken, at least 1. The error is the first frame's: the kernel keeps that of a later one to itself.
    pub(super) fn send(&self, frames: &[&[u8]]) -> io::Result<usize> {
        let count = frames.len().min(BATCH);
        // SAFETY: both are C structs of integers and pointers, for which all zeros (null pointers, no address, no control
        // messages) is a value.
        let (mut parts, mut headers): ([[libc::iovec; 2]; BATCH], [libc::mmsghdr; BATCH]) = unsafe { zeroed() };
        let mut heads = [VirtioHeader::default(); BATCH];
        for (((parts, header), head), frame) in parts.iter_mut().zip(&mut headers).zip(&mut heads).zip(frames) {
            head.header_length = u16::try_from(frame.len().min(HEAD_BYTES)).unwrap_or_default();
            let head = libc::iovec { iov_base: ptr::from_mut(head).cast(), iov_len: size_of::<VirtioHeader>() };
            let frame = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
            *parts = if self.keeps_heads_whole { [head, frame] } else { [frame, head] };
            header.msg_hdr.msg_iov = parts.as_mut_ptr();
            header.msg_hdr.msg_iovlen = if self.keeps_heads_whole { 2 } else { 1 };
        }
        // SAFETY: the first `count` headers each point to one part or two, which point to a head and to one frame; headers, parts, heads
        // and frames live across the call. The kernel reads heads and frames and writes only msg_len of the headers.
        let taken = unsafe {
            libc::sendmmsg(
                self.descriptor.as_raw_fd(),
                headers.as_mut_ptr(),
                u32::try_from(count).expect("at most 64"),
                0,
            )
        };
        usize::try_from(taken).map_err(|_| io::Error::last_os_error())
    }

    /// What was counted since the last call; the kernel begins again at 0.
    pub(super) fn count(&self) -> io::Result<SocketCount> {
        // For a socket without TPACKET_V3 the kernel writes the first two fields only (struct tpacket_stats).
        let mut counted = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
        let mut length = length_of::<libc::tpacket_stats_v3>();
        // SAFETY: the pointer and `length` describe `counted`, which is plain integers and lives across the call.
        let status = unsafe {
            libc::getsockopt(
                self.descriptor.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                ptr::from_mut(&mut counted).cast(),
                &raw mut length,
            )
        };
        if status != 0 {
            return Err(io::Error::last_os_error());
        }
        // The kernel has already added the dropped to the packets (packet_getsockopt).
        Ok(SocketCount { offered: counted.tp_packets, dropped: counted.tp_drops })
    }
}

impl Drop for PacketSocket {
    /// Until the kernel closes it, it takes nothing.
    fn drop(&mut self) {
        let _ = self.attach_filter(&mut [instruction(0x06, 0, 0, 0)]);
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// An instruction of classic BPF (`struct sock_filter`).
const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// What gives this program `CAP_NET_RAW`.
fn grant() -> String {
    if nix::unistd::geteuid().is_root() {
        return "give it to this container or service (Docker: `--cap-add NET_RAW`, systemd: `AmbientCapabilities=CAP_NET_RAW`), or replay \
                in the lab"
            .to_owned();
    }
    let program = std::env::current_exe().map_or_else(|_| "restage".to_owned(), |path| path.display().to_string());
    format!("run `sudo setcap cap_net_raw+ep {program}` once, or run restage with sudo, or replay in the lab")
}

/// setsockopt(2) with a value that holds no pointers.
pub(super) fn set_option<T: Copy>(socket: &OwnedFd, level: c_int, option: c_int, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which lives across the call; the kernel only reads it.
    let status =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(value).cast(), length_of::<T>()) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("socket options are small")
}
