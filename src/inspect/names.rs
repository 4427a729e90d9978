//! The usual names of link types, EtherTypes and IP protocols.

use crate::packet::layers::{Layers, LinkType, Network, protocol};

/// The name in <https://www.tcpdump.org/linktypes.html>, without `LINKTYPE_`, of the link types that are met.
pub(super) fn link(link: LinkType) -> Option<&'static str> {
    Some(match link.0 {
        0 => "NULL",
        1 => "ETHERNET",
        6 => "IEEE802_5",
        7 => "ARCNET_BSD",
        8 => "SLIP",
        9 => "PPP",
        10 => "FDDI",
        50 => "PPP_HDLC",
        51 => "PPP_ETHER",
        100 => "ATM_RFC1483",
        101 => "RAW",
        104 => "C_HDLC",
        105 => "IEEE802_11",
        107 => "FRELAY",
        108 => "LOOP",
        113 => "LINUX_SLL",
        114 => "LTALK",
        117 => "PFLOG",
        119 => "IEEE802_11_PRISM",
        122 => "IP_OVER_FC",
        127 => "IEEE802_11_RADIOTAP",
        129 => "ARCNET_LINUX",
        143 => "DOCSIS",
        147 => "USER0",
        163 => "IEEE802_11_AVS",
        187 => "BLUETOOTH_HCI_H4",
        189 => "USB_LINUX",
        192 => "PPI",
        195 => "IEEE802_15_4_WITHFCS",
        201 => "BLUETOOTH_HCI_H4_WITH_PHDR",
        204 => "PPP_WITH_DIR",
        209 => "IPMB_LINUX",
        220 => "USB_LINUX_MMAPPED",
        227 => "CAN_SOCKETCAN",
        228 => "IPV4",
        229 => "IPV6",
        230 => "IEEE802_15_4_NOFCS",
        239 => "NFLOG",
        249 => "USBPCAP",
        253 => "NETLINK",
        276 => "LINUX_SLL2",
        _ => return None,
    })
}

/// What layer 3 of a frame is.
pub(super) fn network(layers: &Layers) -> String {
    match (layers.network, layers.ethertype) {
        (Network::Ipv4(_), _) => "IPv4".to_owned(),
        (Network::Ipv6(_), _) => "IPv6".to_owned(),
        (Network::Arp { .. }, _) => "ARP".to_owned(),
        (Network::None, Some(0x0800 | 0x86dd)) => "IP, malformed or cut".to_owned(),
        (Network::None, Some(0x0806)) => "ARP, malformed or cut".to_owned(),
        (Network::None, Some(0x8847 | 0x8848)) => "MPLS".to_owned(),
        (Network::None, Some(0x8863)) => "PPPoE discovery".to_owned(),
        (Network::None, Some(0x8864)) => "PPPoE session".to_owned(),
        (Network::None, Some(0x888e)) => "802.1X".to_owned(),
        (Network::None, Some(0x8809)) => "slow protocols (LACP)".to_owned(),
        (Network::None, Some(0x88cc)) => "LLDP".to_owned(),
        (Network::None, Some(0x88e5)) => "MACsec".to_owned(),
        (Network::None, Some(ethertype)) => format!("EtherType {ethertype:#06x}"),
        (Network::None, None) if layers.link == LinkType::ETHERNET => "802.3".to_owned(),
        (Network::None, None) => "not known".to_owned(),
    }
}

/// An IP protocol.
pub(super) fn transport(number: u8) -> String {
    let name = match number {
        protocol::ICMP => "ICMP",
        protocol::IGMP => "IGMP",
        4 => "IP-in-IP",
        protocol::TCP => "TCP",
        protocol::UDP => "UDP",
        protocol::DCCP => "DCCP",
        41 => "IPv6-in-IP",
        47 => "GRE",
        protocol::ESP => "ESP",
        protocol::AH => "AH",
        protocol::ICMPV6 => "ICMPv6",
        89 => "OSPF",
        103 => "PIM",
        112 => "VRRP",
        115 => "L2TP",
        protocol::SCTP => "SCTP",
        protocol::UDPLITE => "UDP-Lite",
        other => return format!("IP protocol {other}"),
    };
    name.to_owned()
}

/// The tunnel that an IP packet with this protocol, to this port, is of.
pub(super) fn tunnel(number: u8, port: Option<u16>) -> Option<&'static str> {
    match (number, port) {
        (4, _) => Some("IP-in-IP"),
        (41, _) => Some("IPv6-in-IP"),
        (47, _) => Some("GRE"),
        (protocol::UDP, Some(4789 | 8472)) => Some("VXLAN"),
        (protocol::UDP, Some(6081)) => Some("Geneve"),
        _ => None,
    }
}
