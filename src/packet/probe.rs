//! A frame that asks one question: does a packet to this address and port come through?

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::layers::protocol;
use super::{MacAddr, made};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Source and destination MAC.
    pub macs: (MacAddr, MacAddr),
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port, of the same family.
    pub destination: SocketAddr,
    /// A TCP segment with SYN, or else a UDP datagram without payload.
    pub tcp: bool,
}

impl Probe {
    /// The frame: Ethernet, IP (RFC 791, RFC 8200), UDP (RFC 768) or TCP (RFC 9293), all checksums right. `None` where the addresses
    /// are of two families.
    pub fn frame(&self) -> Option<Vec<u8>> {
        // What stands before and behind the transport checksum.
        let ports = [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()].concat();
        let (number, before, behind): (u8, Vec<u8>, &[u8]) = if self.tcp {
            // Sequence number 1, no acknowledgement, 5 words, SYN, window 64,240; no urgent pointer.
            (protocol::TCP, [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xfa, 0xf0]].concat(), &[0, 0])
        } else {
            (protocol::UDP, [&ports[..], &[0, 8]].concat(), &[])
        };
        let packet = made::packet(self.source.ip(), self.destination.ip(), number, &before, behind)?;
        let ethertype = if self.source.is_ipv4() { 0x0800_u16 } else { 0x86dd };
        let (from, to) = self.macs;
        Some([&to.0[..], &from.0, &ethertype.to_be_bytes(), &packet].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::checksum::{Sum, ip_header_sum, transport_sum};
    use crate::packet::layers::{Layers, LinkType};

    #[test]
    fn a_probe_is_a_whole_packet_with_right_checksums() {
        let macs = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        for (source, destination) in
            [("192.0.2.1:5000", "192.0.2.2:4739"), ("[2001:db8::1]:5000", "[2001:db8::2]:4739")]
        {
            for tcp in [false, true] {
                let (source, destination) =
                    (source.parse().expect("an address"), destination.parse().expect("an address"));
                let frame = Probe { macs, source, destination, tcp }.frame().expect("one family");
                let layers = Layers::find(LinkType::ETHERNET, &frame);
                let length = u32::try_from(frame.len()).expect("short");
                assert_eq!(transport_sum(&layers.network, &frame, length), Sum::Good);
                assert!(matches!(ip_header_sum(&layers.network, &frame), Sum::Good | Sum::None));
                assert_eq!(layers.ports(&frame), Some((5000, 4739)));
                assert_eq!(layers.macs(&frame), Some((macs.1, macs.0)));
            }
        }
        let (source, destination) = ("192.0.2.1:1".parse().expect("one"), "[::1]:1".parse().expect("one"));
        assert_eq!(Probe { macs, source, destination, tcp: false }.frame(), None);
    }
}
