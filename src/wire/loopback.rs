//! How many UDP datagrams went over the loopback of the namespace: its counters hold them, the ledger leaves them out.
//!
//! Needs `CAP_NET_RAW`. Start at [`LoopbackCount::datagrams`].

use std::io;

use nix::sys::socket::{SockType, setsockopt, sockopt};

use super::interface;
use super::packet_socket::{EVERY_PROTOCOL, PacketSocket};
use crate::diagnostic::{Failure, Result};
use crate::packet::layers::protocol;

/// Counts while it is open.
pub struct LoopbackCount {
    socket: PacketSocket,
    datagrams: u64,
}

impl LoopbackCount {
    /// Counts from now on, on `lo` of the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Kind::Blocked`](crate::diagnostic::Kind::Blocked) without `CAP_NET_RAW`.
    pub fn open() -> Result<Self> {
        let facts = interface::existing("lo")?;
        let socket = PacketSocket::open("lo", SockType::Datagram)?;
        let failed = |error: &io::Error| Failure::system("can't count what passes the loopback", error);
        socket.attach_filter(&udp_arriving()).map_err(|error| failed(&error))?;
        // Nobody reads the socket: what passes the filter is counted whether there is room for it or not, so the less the better.
        setsockopt(&socket, sockopt::RcvBuf, &0).map_err(|errno| failed(&errno.into()))?;
        socket.bind(facts.index, EVERY_PROTOCOL).map_err(|error| failed(&error))?;
        Ok(Self { socket, datagrams: 0 })
    }

    /// UDP datagrams since it was opened, each once; one that is fragmented counts by its first fragment.
    ///
    /// # Errors
    /// When the kernel doesn't tell.
    pub fn datagrams(&mut self) -> Result<u64> {
        let count =
            self.socket.count().map_err(|error| Failure::system("can't count what passed the loopback", &error))?;
        self.datagrams += u64::from(count.offered);
        Ok(self.datagrams)
    }
}

/// Classic BPF (`linux/filter.h`) over a packet from its network header on: UDP over IPv4 or IPv6, but no later fragment, and not
/// `PACKET_OUTGOING`, since the loopback shows each packet twice.
fn udp_arriving() -> [libc::sock_filter; 18] {
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    /// Offsets from here on are facts about the packet instead of its bytes (`SKF_AD_OFF`, -0x1000).
    const FACT: u32 = 0xffff_f000;
    /// The next header value of IPv6's fragment header.
    const FRAGMENT_HEADER: u32 = 44;
    const FACT_PROTOCOL: u32 = FACT;
    const FACT_PACKET_TYPE: u32 = FACT + 4;
    let step = |code: u32, yes: u8, no: u8, value: u32| libc::sock_filter {
        code: u16::try_from(code).expect("operation codes are below 0x100"),
        jt: yes,
        jf: no,
        k: value,
    };
    [
        step(LOAD_BYTE, 0, 0, FACT_PACKET_TYPE),
        step(EQUAL, 15, 0, u32::from(libc::PACKET_OUTGOING)),
        step(LOAD_HALF, 0, 0, FACT_PROTOCOL),
        step(EQUAL, 5, 0, 0x86dd),
        step(EQUAL, 0, 12, 0x0800),
        // IPv4: bits 3 to 15 of byte 6 are the fragment's offset, byte 9 the protocol (RFC 791 §3.1).
        step(LOAD_HALF, 0, 0, 6),
        step(ANY_BIT, 10, 0, 0x1fff),
        step(LOAD_BYTE, 0, 0, 9),
        step(EQUAL, 7, 8, u32::from(protocol::UDP)),
        // IPv6: byte 6 is the next header; a fragment header after the 40 bytes has its own next header in byte 40 and its
        // offset in the first 13 bits of byte 42 (RFC 8200 §3, §4.5).
        step(LOAD_BYTE, 0, 0, 6),
        step(EQUAL, 5, 0, u32::from(protocol::UDP)),
        step(EQUAL, 0, 5, FRAGMENT_HEADER),
        step(LOAD_HALF, 0, 0, 42),
        step(ANY_BIT, 3, 0, 0xfff8),
        step(LOAD_BYTE, 0, 0, 40),
        step(EQUAL, 0, 1, u32::from(protocol::UDP)),
        step(RETURN, 0, 0, 1),
        step(RETURN, 0, 0, 0),
    ]
}
