//! What frames of one class share, and how many they are. Start at [`ClassKey`].

use std::fmt;
use std::net::IpAddr;

use super::flaw::Flaw;
use super::tags::Tags;
use crate::capture::FrameRanges;
use crate::outcome::Stage;
use crate::packet::MacAddr;
use crate::packet::layers::protocol as ip_protocol;
use crate::predict::Disposition;

/// What layer 3 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carried {
    /// An IP packet.
    Ip {
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        /// Destination port of UDP and TCP; `None` for later fragments, and where it isn't there.
        port: Option<u16>,
    },
    /// Another `EtherType` (ARP: 0x0806), or an IP packet whose header can't be read. What is inside (IP behind MPLS labels, in a PPPoE
    /// session, in 802.2 SNAP, behind a second VLAN tag) is not looked at by the receiver's stack.
    Other {
        /// The `EtherType` that the stack looks for a handler of; `None` for 802.3 length fields.
        ethertype: Option<u16>,
    },
}

/// Everything that decides what a host does with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassKey {
    pub mac: MacAddr,
    pub tags: Tags,
    /// Whether it is of a VLAN: the stack took off a tag with an identifier, and what it carries is behind that.
    pub in_vlan: bool,
    /// What the receiver's stack finds behind the VLAN tags that it takes off.
    pub carried: Carried,
    /// Whether its TTL or hop limit is 0 or 1: a router would not send it on.
    pub spent: bool,
    pub flaw: Flaw,
}

impl fmt::Display for ClassKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.carried {
            Carried::Ip { source, destination, protocol, port } => {
                match protocol {
                    1 => f.write_str("ICMP")?,
                    2 => f.write_str("IGMP")?,
                    6 => f.write_str("TCP")?,
                    17 => f.write_str("UDP")?,
                    47 => f.write_str("GRE")?,
                    50 => f.write_str("ESP")?,
                    58 => f.write_str("ICMPv6")?,
                    89 => f.write_str("OSPF")?,
                    103 => f.write_str("PIM")?,
                    112 => f.write_str("VRRP")?,
                    132 => f.write_str("SCTP")?,
                    136 => f.write_str("UDP-Lite")?,
                    other => write!(f, "IP protocol {other}")?,
                }
                write!(f, " {source} > {destination}")?;
                port.map_or(Ok(()), |port| write!(f, " port {port}"))
            }
            Carried::Other { ethertype: Some(0x0806) } => f.write_str("ARP"),
            Carried::Other { ethertype: Some(ethertype) } => write!(f, "EtherType 0x{ethertype:04x} to {}", self.mac),
            Carried::Other { ethertype: None } => write!(f, "802.3 to {}", self.mac),
        }
    }
}

impl ClassKey {
    /// A few bits in which keys of one capture differ, cheaply.
    pub(crate) fn few_bits(&self) -> usize {
        let last = |address: IpAddr| match address {
            IpAddr::V4(address) => u32::from(address),
            IpAddr::V6(address) => (u128::from(address) & 0xffff_ffff) as u32,
        };
        let bits = match self.carried {
            Carried::Ip { source, destination, port, .. } => {
                let (source, destination) = (last(source), last(destination));
                source ^ source >> 8 ^ destination.rotate_left(3) ^ u32::from(port.unwrap_or(0)).rotate_left(5)
            }
            Carried::Other { ethertype } => u32::from(ethertype.unwrap_or(0)),
        };
        (bits ^ bits >> 16) as usize
    }

    /// The unicast address and MAC that it goes to.
    pub fn destination(&self) -> Option<(IpAddr, MacAddr)> {
        match self.carried {
            Carried::Ip { destination, .. } if !destination.is_multicast() && !self.mac.is_multicast() => {
                Some((destination, self.mac))
            }
            _ => None,
        }
    }

    pub fn source(&self) -> Option<IpAddr> {
        match self.carried {
            Carried::Ip { source, .. } => Some(source),
            Carried::Other { .. } => None,
        }
    }

    pub fn is_ipv6(&self) -> bool {
        matches!(self.carried, Carried::Ip { destination: IpAddr::V6(_), .. })
    }

    pub(crate) fn is_udp(&self) -> bool {
        matches!(self.carried, Carried::Ip { protocol: ip_protocol::UDP, .. })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    pub key: ClassKey,
    pub frames: FrameRanges,
    /// UDP datagrams among them: each whole packet is one, the fragments of one together are one.
    pub datagrams: u64,
    /// IP packets among them, whatever the protocol: each whole packet is one, the fragments of one together are one.
    pub packets: u64,
    /// How many frames its smallest packet came in: 1, unless all are fragmented.
    pub fewest_frames: u32,
    /// How many frames its largest packet came in: 1 where none is fragmented.
    pub most_frames: u32,
    /// Whether frames of other classes with the same disposition are among these; the key is that of the first then. Their protocol and, as far as
    /// there are few, their destination port are the same, their addresses differ.
    pub merged: bool,
}

impl Class {
    /// A class of unfragmented packets.
    pub fn new(key: ClassKey) -> Self {
        let frames = FrameRanges::default();
        Self { key, frames, datagrams: 0, packets: 0, fewest_frames: 1, most_frames: 1, merged: false }
    }
}

/// What classes have in common that are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Merged {
    pub(crate) disposition: Disposition,
    pub(crate) stage: Stage,
    pub(crate) flaw: Flaw,
    pub(crate) tags: Tags,
    /// Family, protocol and port of an IP packet, and whether it goes to a group.
    pub(crate) ip: Option<(bool, u8, Option<u16>, bool)>,
    pub(crate) ethertype: Option<u16>,
}
