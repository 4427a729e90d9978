//! Where every header of a frame begins: found once, used by the rewriter, the survey, the prediction and the listing.
//!
//! The link layers are walked in `link.rs`, the IP headers in `ip.rs`. Start at [`Layers::find`].

use std::net::IpAddr;

use super::bytes::{array, be16};
use super::{MacAddr, carrier, ip, link};

pub(crate) use carrier::{Carrier, right_fcs};
pub(crate) use link::{framed, is_known, is_vlan_tag, lengths_before_ip};

/// The link type of a capture's interface (<https://www.tcpdump.org/linktypes.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback, in the byte order of the machine that captured, 0.
    pub const NULL: Self = Self(0);
    /// Ethernet (IEEE 802.3), 1.
    pub const ETHERNET: Self = Self(1);
    /// An IPv4 or IPv6 packet, 101.
    pub const RAW: Self = Self(101);
    /// Linux "cooked" capture, 113: one MAC, the sender's.
    pub const LINUX_SLL: Self = Self(113);
    /// Linux "cooked" capture version 2, 276.
    pub const LINUX_SLL2: Self = Self(276);
}

/// Bytes of a UDP header (RFC 768).
pub const UDP_HEADER: usize = 8;

/// An IP protocol number (<https://www.iana.org/assignments/protocol-numbers>).
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const DCCP: u8 = 33;
    pub const IPV6: u8 = 41;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const ETHERIP: u8 = 97;
    pub const SCTP: u8 = 132;
    pub const UDPLITE: u8 = 136;
}

/// The network layer of a frame: byte offsets into the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// No layer 3 header that we know; the frame passes untouched.
    None,
    /// An ARP packet for Ethernet and IPv4 (RFC 826) that begins at `offset`.
    Arp {
        /// First byte of the ARP packet.
        offset: usize,
    },
    /// IPv4 (RFC 791).
    Ipv4(Ip),
    /// IPv6 (RFC 8200).
    Ipv6(Ip),
}

/// An IPv4 or IPv6 header and what it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// First byte of the IP header.
    pub offset: usize,
    /// First byte after the IP header: for IPv6 after all extension headers that could be walked.
    pub payload: usize,
    /// One past the last byte of the packet by its own length field, cut to what was captured.
    pub end: usize,
    /// The packet's length in bytes by its own length field (IPv4 total length; IPv6 payload length + 40). May be beyond what
    /// was captured, and 0 where the field is 0: a packet made by segmentation offload, or an IPv6 jumbogram.
    pub length: usize,
    /// The protocol of the payload (IPv6: the last next header that was reached).
    pub protocol: u8,
    /// The fragment that this is.
    pub fragment: Fragment,
    /// IPv6 with a routing header that has segments left: offset of the final destination (RFC 8200 §8.1). IPv4 with a source
    /// route that isn't used up: offset of its last address (RFC 1122 §4.1.3.2). Else `None`.
    pub final_destination: Option<usize>,
}

/// Whether an IP packet is a fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// A whole packet.
    Whole,
    /// The first fragment, with the transport header: more follow.
    First {
        /// The identification field.
        id: u32,
    },
    /// A later fragment: no transport header.
    Later {
        /// The identification field.
        id: u32,
        /// Where its bytes belong, in bytes.
        offset: u32,
        /// Whether no fragment follows.
        last: bool,
    },
}

/// What distinguishes fragments of different datagrams (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Datagram {
    source: IpAddr,
    destination: IpAddr,
    /// 0 with IPv6, where the first fragment alone may reach the protocol.
    protocol: u8,
    id: u32,
}

/// Every header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layers {
    /// The link type that it was read with.
    pub link: LinkType,
    /// How many VLAN tags (802.1Q, 802.1ad) the frame has: after the Ethernet addresses, or in the place of the `EtherType` of a Linux
    /// "cooked" header. See [`Layers::vlan_tag`].
    pub vlan_tags: usize,
    /// The `EtherType` after the tags; `None` for 802.3 length fields and link types without one.
    pub ethertype: Option<u16>,
    /// Layer 3.
    pub network: Network,
}

impl Network {
    /// The IP header, whichever version it is.
    #[inline]
    pub fn ip(&self) -> Option<&Ip> {
        match self {
            Self::Ipv4(ip) | Self::Ipv6(ip) => Some(ip),
            Self::None | Self::Arp { .. } => None,
        }
    }

    /// Source and destination address of an IP packet.
    pub fn addresses(&self, frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
        match self {
            Self::Ipv4(ip) => {
                let source: [u8; 4] = array(frame, ip.offset + 12)?;
                Some((source.into(), array::<4>(frame, ip.offset + 16)?.into()))
            }
            Self::Ipv6(ip) => {
                let source: [u8; 16] = array(frame, ip.offset + 8)?;
                Some((source.into(), array::<16>(frame, ip.offset + 24)?.into()))
            }
            Self::None | Self::Arp { .. } => None,
        }
    }

    /// Which datagram a fragment belongs to; `None` for whole packets.
    pub fn datagram(&self, frame: &[u8]) -> Option<Datagram> {
        let ip = self.ip()?;
        let (source, destination) = self.addresses(frame)?;
        let protocol = if source.is_ipv6() { 0 } else { ip.protocol };
        match ip.fragment {
            Fragment::Whole => None,
            Fragment::First { id } | Fragment::Later { id, .. } => Some(Datagram { source, destination, protocol, id }),
        }
    }

    /// Sender and target address of an ARP packet (RFC 826).
    pub fn arp_addresses(&self, frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
        let Self::Arp { offset } = *self else { return None };
        let sender: [u8; 4] = array(frame, offset + 14)?;
        Some((sender.into(), array::<4>(frame, offset + 24)?.into()))
    }

    /// Source and destination port; `None` for a later fragment and protocols without ports.
    pub fn ports(&self, frame: &[u8]) -> Option<(u16, u16)> {
        let (source, destination) = self.ip()?.port_offsets()?;
        Some((be16(frame, source)?, be16(frame, destination)?))
    }
}

impl Ip {
    /// Offsets of the source and destination port of TCP, UDP, UDP-Lite, SCTP and DCCP: only where they were captured inside the
    /// packet, so never in a later fragment.
    pub fn port_offsets(&self) -> Option<(usize, usize)> {
        let has_ports = matches!(
            self.protocol,
            protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP | protocol::DCCP
        );
        (has_ports && !self.is_later_fragment() && self.payload + 4 <= self.end)
            .then_some((self.payload, self.payload + 2))
    }

    /// Whether this is a fragment without transport header.
    #[inline]
    pub const fn is_later_fragment(&self) -> bool {
        matches!(self.fragment, Fragment::Later { .. })
    }

    /// Whether the packet says that it is longer than what was captured of it, which ends with the frame.
    pub fn is_cut(&self, frame: &[u8]) -> bool {
        self.offset + self.length > frame.len()
    }
}

impl Layers {
    /// Finds every header of a frame that was captured with `link`. Never panics and never allocates; what can't be
    /// recognised is [`Network::None`].
    #[inline]
    pub fn find(link: LinkType, frame: &[u8]) -> Self {
        link::walk(link, frame)
    }

    /// Destination and source MAC of an Ethernet frame; `None` for other link types and less than 14 bytes.
    #[inline]
    pub fn macs(&self, frame: &[u8]) -> Option<(MacAddr, MacAddr)> {
        if self.link != LinkType::ETHERNET || frame.len() < 14 {
            return None;
        }
        Some((MacAddr(array(frame, 0)?), MacAddr(array(frame, 6)?)))
    }

    /// Where the identifier and priority of a VLAN tag are, two bytes; the outermost tag is 0. `None` where there is no such tag.
    #[inline]
    pub fn vlan_tag(&self, index: usize) -> Option<usize> {
        let (_, behind) = link::ethertype_place(self.link)?;
        (index < self.vlan_tags).then_some(behind + 4 * index)
    }

    /// Where the `EtherType` of the frame, or that of its first VLAN tag, is, and where what follows it begins; `None` for link types
    /// that have no VLAN tags, and for frames that end before that.
    pub(crate) fn ethertype_place(&self, frame: &[u8]) -> Option<(usize, usize)> {
        link::ethertype_place(self.link).filter(|(_, behind)| frame.len() >= *behind)
    }

    /// The frame without its VLAN tags; `None` where it has none.
    pub(crate) fn without_vlan_tags(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (field, behind) = self.ethertype_place(frame).filter(|_| self.vlan_tags > 0)?;
        let payload = behind + 4 * self.vlan_tags;
        let mut bare = [frame.get(..behind)?, frame.get(payload..)?].concat();
        bare.get_mut(field..field + 2)?.copy_from_slice(frame.get(payload - 2..payload)?);
        Some(bare)
    }

    /// Source and destination address of the IP packet; `None` for ARP, which has [`Layers::arp_addresses`].
    pub fn addresses(&self, frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
        self.network.addresses(frame)
    }

    /// Sender and target address of an ARP packet (RFC 826).
    pub fn arp_addresses(&self, frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
        self.network.arp_addresses(frame)
    }

    /// Source and destination port; `None` for a later fragment and protocols without ports.
    pub fn ports(&self, frame: &[u8]) -> Option<(u16, u16)> {
        self.network.ports(frame)
    }

    /// How long the layer 3 packet of a frame of `length` bytes is, as an MTU counts it: without the Ethernet header and its VLAN tags, or
    /// without what stands before IP.
    #[inline]
    pub fn packet_length(&self, length: usize) -> usize {
        let header = match (link::ethertype_place(self.link), &self.network) {
            (Some((_, behind)), _) => behind + 4 * self.vlan_tags,
            (None, Network::Ipv4(ip) | Network::Ipv6(ip)) => ip.offset,
            (None, Network::Arp { offset }) => *offset,
            (None, Network::None) => 0,
        };
        length.saturating_sub(header)
    }

    /// The packet that an ICMP or ICMPv6 error quotes (RFC 792, RFC 4443): its offsets are into the same frame, and nothing of it
    /// reaches beyond the error's own end.
    pub fn quoted(&self, frame: &[u8]) -> Option<Network> {
        ip::quoted(&self.network, frame)
    }
}
