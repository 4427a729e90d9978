//! Where every header of a frame begins: found once, used by the rewriter, the survey, the prediction and the listing.

/// The link type of a capture's interface (<https://www.tcpdump.org/linktypes.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u16);

impl LinkType {
    /// Ethernet (IEEE 802.3), 1.
    pub const ETHERNET: Self = Self(1);
}

/// An IP protocol number (<https://www.iana.org/assignments/protocol-numbers>).
pub mod protocol {
    #![expect(missing_docs, reason = "the names are the registry's own")]
    pub const ICMP: u8 = 1;
    pub const IGMP: u8 = 2;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ICMPV6: u8 = 58;
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
    /// was captured, and 0 for an IPv4 packet made by segmentation offload.
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

/// Every header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layers {
    /// The link type that it was read with.
    pub link: LinkType,
    /// How many 802.1Q or 802.1ad tags stand after the Ethernet addresses (at byte 12, 4 bytes each).
    pub vlan_tags: usize,
    /// The `EtherType` after the tags; `None` for 802.3 length fields and link types without one.
    pub ethertype: Option<u16>,
    /// Layer 3.
    pub network: Network,
}
