//! The packet sockets (packet(7)) of a network namespace: sniffers, DHCP servers, and restage's own (`linux/packet_diag.h`).
//!
//! Listing takes no privilege, but for the filters: those take `CAP_NET_ADMIN`. Start at [`PacketSocketTable::list`].

use std::io;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use super::netlink::{Attributes, Channel, u16_at, u32_at};
use crate::diagnostic::{Diagnostic, Failure, Result};

const NETLINK_SOCK_DIAG: isize = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `struct packet_diag_msg`: family u8, type u8, protocol u16 in the machine's order, inode u32, cookie u64.
const PACKET_DIAG_MSG: usize = 16;
/// Of `pdiag_show`: info, ring configuration, fanout, memory, filter.
const SHOW: u32 = 0x01 | 0x04 | 0x08 | 0x10 | 0x20;
/// `struct packet_diag_info`: interface u32, version of the ring u32, …
const PACKET_DIAG_INFO: u16 = 0;
/// `struct packet_diag_ring`: block size, blocks, frame size, frames, each u32, …
const PACKET_DIAG_RX_RING: u16 = 2;
const PACKET_DIAG_TX_RING: u16 = 3;
const PACKET_DIAG_FANOUT: u16 = 4;
/// An array of u32; the drops are the ninth. Only a socket without a ring counts them here (`tpacket_rcv` of `net/packet/af_packet.c`).
const PACKET_DIAG_MEMINFO: u16 = 6;
const SKMEMINFO_RMEM_ALLOC: usize = 0;
const SKMEMINFO_DROPS: usize = 8;
/// An array of `struct sock_filter`.
const PACKET_DIAG_FILTER: u16 = 7;
const SOCK_FILTER: usize = 8;
/// `SOCK_DGRAM`.
const DATAGRAM: u8 = 2;
/// `ETH_P_ALL`.
const EVERY_PROTOCOL: u16 = 3;

/// An instruction of classic BPF (`struct sock_filter`): code, how many are skipped where a test holds and where it does not, constant.
pub type Instruction = (u16, u8, u8, u32);

/// A packet socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketSocket {
    /// Its inode, which names it in `/proc/PID/fd`.
    pub inode: u32,
    /// The `EtherType` that it receives; `None`: all. A socket with 0 receives nothing, and is not listed.
    pub protocol: Option<u16>,
    /// The interface that it is bound to; 0: all of them.
    pub interface: u32,
    /// Whether it receives frames from the network header on (`SOCK_DGRAM`).
    pub cooked: bool,
    pub ring: Option<PacketRing>,
    /// Whether it shares frames with others (`PACKET_FANOUT`).
    pub fanout: bool,
    /// Its classic BPF program; `None` where it has none, or one of extended BPF.
    pub filter: Option<Vec<Instruction>>,
    /// Frames that it dropped, if it has no ring: those of a ring only its owner can ask for, which resets them.
    pub drops: u32,
    /// What waits in its queue, if it has no ring, as the kernel counts it.
    pub unread_bytes: u32,
}

/// The receive ring of a packet socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketRing {
    /// `enum tpacket_versions`: 2 is `TPACKET_V3`.
    pub version: u32,
    pub block_bytes: u32,
    pub blocks: u32,
    /// Slots for frames, which `TPACKET_V3` does not have.
    pub frames: u32,
    /// Bytes of the transmit ring, which is mapped with it.
    pub transmit_bytes: usize,
}

/// The packet sockets of one network namespace, listed again and again.
#[derive(Debug)]
pub struct PacketSocketTable(Channel);

impl PacketSocketTable {
    /// Opens the table of the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel has no `sock_diag`.
    pub fn open() -> Result<Self> {
        let channel = Channel::open(NETLINK_SOCK_DIAG);
        channel.map(Self).map_err(|error| Failure::system("can't ask for packet sockets (sock_diag)", &error))
    }

    /// Every packet socket that receives.
    ///
    /// # Errors
    /// When the kernel doesn't answer, or can't (`af_packet_diag` is a module).
    pub fn list(&mut self) -> Result<Vec<PacketSocket>> {
        self.0.dump(SOCK_DIAG_BY_FAMILY, &request(), &read).map_err(|error| unanswered(&error))
    }
}

fn unanswered(error: &io::Error) -> Failure {
    let what = "can't list packet sockets (sock_diag)";
    if error.raw_os_error() == Some(libc::ENOENT) {
        return Failure::blocked(
            Diagnostic::error(what)
                .why("the kernel has no `af_packet_diag`")
                .fix("load the module: `modprobe af_packet_diag`"),
        );
    }
    Failure::system(what, error)
}

/// `struct packet_diag_req`: family u8, protocol u8, pad u16, inode u32, show u32, cookie u64.
fn request() -> [u8; 20] {
    let mut body = [0; 20];
    body[0] = u8::try_from(libc::AF_PACKET).expect("17");
    body[8..12].copy_from_slice(&SHOW.to_ne_bytes());
    body
}

/// Reads one `struct packet_diag_msg` with its attributes.
fn read(kind: u16, message: &[u8]) -> Option<PacketSocket> {
    let protocol = u16_at(message, 2).filter(|protocol| kind == SOCK_DIAG_BY_FAMILY && *protocol != 0)?;
    let mut socket = PacketSocket {
        inode: u32_at(message, 4)?,
        protocol: (protocol != EVERY_PROTOCOL).then_some(protocol),
        interface: 0,
        cooked: *message.get(1)? == DATAGRAM,
        ring: None,
        fanout: false,
        filter: None,
        drops: 0,
        unread_bytes: 0,
    };
    let (mut version, mut transmit_bytes) = (0, 0);
    for (kind, content) in Attributes(message.get(PACKET_DIAG_MSG..)?) {
        let number = |index: usize| u32_at(content, 4 * index).unwrap_or(0);
        match kind {
            PACKET_DIAG_INFO => (socket.interface, version) = (number(0), number(1)),
            PACKET_DIAG_RX_RING if number(1) > 0 => {
                let (block_bytes, blocks, frames) = (number(0), number(1), number(3));
                socket.ring = Some(PacketRing { version, block_bytes, blocks, frames, transmit_bytes: 0 });
            }
            PACKET_DIAG_TX_RING => transmit_bytes = number(0) as usize * number(1) as usize,
            PACKET_DIAG_FANOUT => socket.fanout = true,
            PACKET_DIAG_MEMINFO => {
                (socket.unread_bytes, socket.drops) = (number(SKMEMINFO_RMEM_ALLOC), number(SKMEMINFO_DROPS));
            }
            PACKET_DIAG_FILTER => socket.filter = filter(content),
            _ => {}
        }
    }
    if let Some(ring) = &mut socket.ring {
        (ring.version, ring.transmit_bytes) = (version, transmit_bytes);
    }
    Some(socket)
}

/// An array of `struct sock_filter`: code u16, jumps u8 each, k u32; `None` where it is empty.
fn filter(content: &[u8]) -> Option<Vec<Instruction>> {
    let instruction = |bytes: &[u8]| Some((u16_at(bytes, 0)?, *bytes.get(2)?, *bytes.get(3)?, u32_at(bytes, 4)?));
    let instructions: Option<Vec<_>> = content.chunks_exact(SOCK_FILTER).map(instruction).collect();
    instructions.filter(|instructions| !instructions.is_empty())
}

/// A descriptor for the socket of one of these processes, named by its inode. The socket lives as long as it is open. `None` without the
/// right to trace the process.
pub fn borrow(pids: &[u32], inode: u32) -> Option<OwnedFd> {
    pids.iter().find_map(|pid| super::borrow::socket_of(*pid, super::borrow::descriptor_of(*pid, inode)?))
}

/// Whether a socket has a filter of extended BPF, which can't be read.
pub fn has_extended_filter(socket: &OwnedFd) -> bool {
    super::borrow::has_extended_filter(socket)
}

/// Whether a socket gets what its interface sends (`PACKET_IGNORE_OUTGOING`).
pub fn takes_outgoing(socket: &OwnedFd) -> bool {
    super::borrow::takes_outgoing(socket)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::netlink::push_attribute;

    #[test]
    fn a_socket_is_read_with_its_ring_and_its_filter() {
        let mut message = vec![17, 3, 3, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>();
        push_attribute(&mut message, PACKET_DIAG_INFO, &words(&[5, 2, 0, 0, 0, 1]));
        push_attribute(&mut message, PACKET_DIAG_RX_RING, &words(&[1 << 18, 8, 1 << 18, 8, 250, 0, 0]));
        push_attribute(&mut message, PACKET_DIAG_MEMINFO, &words(&[768, 0, 0, 0, 0, 0, 0, 0, 7]));
        push_attribute(&mut message, PACKET_DIAG_FILTER, &[6, 0, 0, 0, 0, 0, 4, 0]);
        let ring = PacketRing { version: 2, block_bytes: 1 << 18, blocks: 8, frames: 8, transmit_bytes: 0 };
        let filter = vec![(6, 0, 0, 0x0004_0000)];
        let expected = PacketSocket {
            inode: 9,
            protocol: None,
            interface: 5,
            cooked: false,
            ring: Some(ring),
            fanout: false,
            filter: Some(filter),
            drops: 7,
            unread_bytes: 768,
        };
        assert_eq!(read(SOCK_DIAG_BY_FAMILY, &message), Some(expected));
        // Bound to no protocol, it receives nothing.
        message[2] = 0;
        assert_eq!(read(SOCK_DIAG_BY_FAMILY, &message), None);
    }

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(SOCK_DIAG_BY_FAMILY, &message);
        }
    }
}
