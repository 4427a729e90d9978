//! What is reported of a packet, and how the programs' records are read. Start at [`Event`].

use super::writer::{
    ARRIVED_BYTES, DROPPED_BYTES, ETHERTYPE, KIND, LENGTH, LOCATION, PORT, POSITION, QUEUE, REASON, SOCKET, TIME, kind,
};

/// The name of reasons whose own names the kernel proper doesn't know: those of subsystems such as Open vSwitch.
pub(super) const BEYOND: &str = "OTHER";

/// Something that happened to a packet, in the order of the ring.
///
/// A position counts the packets that came in through the interface since the trace was opened, from 0; the host's own packets have none.
/// Times are in nanoseconds of `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// It came in. Only where packets are followed, as all that is below except [`Event::Dropped`].
    Arrived(Arrived<'a>),
    /// The kernel dropped it.
    Dropped(Dropped<'a>),
    /// The kernel is done with it and doesn't call that a loss: ICMP and ARP are answered, fragments are put together, or a broadcast
    /// has no socket. Datagrams that were read may be consumed, too, any time later: ignore this after [`Event::Queued`].
    Consumed(Consumed),
    /// It was put at the end of a UDP socket's queue.
    Queued(Queued),
    /// A call took a datagram from the head of a UDP socket's queue. Peeks don't count.
    Read(Read),
}

/// A packet that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived<'a> {
    /// Its position. With several CPUs, positions may be slightly out of order in the ring.
    pub position: u64,
    /// When.
    pub time_ns: u64,
    /// As [`Dropped::ethertype`].
    pub ethertype: u16,
    /// As [`Dropped::packet`].
    pub packet: &'a [u8],
    /// As [`Dropped::length`].
    pub length: u32,
}

/// A packet that the kernel dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped<'a> {
    /// The position of the packet. `None` where packets aren't followed, where it came in before, where it was lost before it came in
    /// (`CPU_BACKLOG`), and for the host's own packets.
    pub position: Option<u64>,
    /// Whether this is a clone of the packet, as each socket has that a multicast is for: the packet itself may fare otherwise.
    pub clone: bool,
    /// The name in `enum skb_drop_reason` without `SKB_DROP_REASON_`, such as `OTHERHOST`; `OTHER` for a subsystem's own reasons. Names
    /// differ by kernel, and old ones give `NOT_SPECIFIED` for much.
    pub reason: &'a str,
    /// The address in the kernel's code that dropped it, for [`functions`](super::functions).
    pub location: u64,
    /// The address of the socket that was to have it, where the kernel gives it (Linux 6.11); else 0.
    pub socket: u64,
    /// The kernel's view of the protocol, such as 0x0800 for IPv4; a VLAN tag that the kernel has taken off is not in it.
    pub ethertype: u16,
    /// The packet from its network header on, up to 160 bytes, and no more than lies in one piece; empty where it is not known.
    pub packet: &'a [u8],
    /// How long the packet is from its network header on, in bytes; padding counts as long as the kernel hasn't cut it off. 0 where it
    /// is not known.
    pub length: u32,
    /// When it was dropped.
    pub time_ns: u64,
}

/// A packet that the kernel is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumed {
    /// Its position.
    pub position: u64,
    /// As [`Dropped::clone`].
    pub clone: bool,
    /// As [`Dropped::location`]; 0 where the kernel doesn't give it (before Linux 6.3).
    pub location: u64,
    /// When.
    pub time_ns: u64,
}

/// A datagram that a socket has in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// The position of the packet, for one of fragments that of the fragment that came last. `None` for datagrams that didn't come in
    /// through the interface, and where that is not known (see the module's head).
    pub position: Option<u64>,
    /// The address of the socket in the kernel. It may be used again once the socket is closed.
    pub socket: u64,
    /// The local port of the socket.
    pub port: u16,
    /// When.
    pub time_ns: u64,
}

/// A read of a datagram, reported when the call returns. A call that returns 0 since the socket was shut down for reading counts, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// As [`Queued::socket`].
    pub socket: u64,
    /// When the call ended.
    pub time_ns: u64,
}

/// Reads one record of a program; `None` where it is none.
pub(super) fn event<'a>(record: &'a [u8], reasons: &'a [String]) -> Option<Event<'a>> {
    let half = |at| part(record, at).copied().map(u16::from_ne_bytes);
    let word = |at| part(record, at).copied().map(u32::from_ne_bytes);
    let long = |at| part(record, at).copied().map(u64::from_ne_bytes);
    let ethertype = || part(record, ETHERTYPE).copied().map(u16::from_be_bytes);
    let packet = |at: i16| record.get(usize::try_from(at).ok()?..);
    let time_ns = long(TIME)?;
    let position = long(POSITION)?;
    let positioned = (position != u64::MAX).then_some(position);
    let (kind, clone) = (half(KIND)? & !kind::CLONE, half(KIND)? & kind::CLONE != 0);
    Some(match kind {
        kind::ARRIVED => Event::Arrived(Arrived {
            position,
            time_ns,
            ethertype: ethertype()?,
            packet: packet(ARRIVED_BYTES)?,
            length: word(LENGTH)?,
        }),
        kind::DROPPED => {
            let reason = usize::try_from(word(REASON)?).ok()?;
            Event::Dropped(Dropped {
                position: positioned,
                clone,
                reason: reasons.get(reason).map_or(BEYOND, String::as_str),
                location: long(LOCATION)?,
                socket: long(SOCKET)?,
                ethertype: ethertype()?,
                packet: packet(DROPPED_BYTES)?,
                length: word(LENGTH)?,
                time_ns,
            })
        }
        kind::CONSUMED => Event::Consumed(Consumed { position, clone, location: long(LOCATION)?, time_ns }),
        kind::QUEUED => {
            Event::Queued(Queued { position: positioned, socket: long(QUEUE)?, port: half(PORT)?, time_ns })
        }
        kind::READ => Event::Read(Read { socket: long(QUEUE)?, time_ns }),
        _ => return None,
    })
}

fn part<const LENGTH: usize>(record: &[u8], at: i16) -> Option<&[u8; LENGTH]> {
    record.get(usize::try_from(at).ok()?..)?.first_chunk()
}
