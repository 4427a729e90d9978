//! Packets that no capture has: IP (RFC 791, RFC 8200) around a transport, with right checksums. Start at [`udp`].

use std::net::{IpAddr, SocketAddr};

use super::checksum::Accumulator;
use super::layers::protocol;

/// The longest payload of a UDP datagram over IPv4, in bytes: RFC 791's total length without both headers.
pub(crate) const LARGEST_OVER_IPV4: usize = 65_507;
/// The longest payload of a UDP datagram over IPv6, in bytes: RFC 768's length without its header; no jumbograms.
pub(crate) const LARGEST_OVER_IPV6: usize = 65_527;

/// The IP packet of a UDP datagram (RFC 768). `None` where the addresses are of two families, or the payload is longer than
/// [`LARGEST_OVER_IPV4`] or [`LARGEST_OVER_IPV6`].
pub(crate) fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(8 + payload.len()).ok()?;
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()];
    let before = [ports.as_flattened(), &length.to_be_bytes()].concat();
    packet(source.ip(), destination.ip(), protocol::UDP, &before, payload)
}

/// The IP packet of a transport of this number, of which `before` stands before its checksum, with an even length, and `behind` after it.
pub(super) fn packet(source: IpAddr, destination: IpAddr, number: u8, before: &[u8], behind: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(before.len() + 2 + behind.len()).ok()?;
    let (header, addresses) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let addresses = [source.octets(), destination.octets()].concat();
            let total = length.checked_add(20)?;
            // Identification 1, don't fragment, TTL 64.
            let start = [&[0x45, 0][..], &total.to_be_bytes(), &[0, 1, 0x40, 0, 64, number]].concat();
            let sum = !Accumulator::default().add(&start).add(&addresses).fold();
            ([&start[..], &sum.to_be_bytes()].concat(), addresses)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let addresses = [source.octets(), destination.octets()].concat();
            ([&[0x60, 0, 0, 0][..], &length.to_be_bytes(), &[number, 64]].concat(), addresses)
        }
        _ => return None,
    };
    let pseudo = Accumulator::default().add(&addresses).add_word(u16::from(number)).add_word(length);
    // A sum of zero would say that there is none (RFC 768).
    let sum = match !pseudo.add(before).add(behind).fold() {
        0 => 0xffff,
        sum => sum,
    };
    Some([&header, &addresses, before, &sum.to_be_bytes(), behind].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::checksum::{Sum, ip_header_sum, transport_sum};
    use crate::packet::layers::{Layers, LinkType};

    #[test]
    fn a_datagram_has_right_lengths_and_checksums_up_to_the_longest() {
        for (source, destination, largest) in [
            ("192.0.2.1:5000", "192.0.2.2:4739", LARGEST_OVER_IPV4),
            ("[2001:db8::1]:5000", "[2001:db8::2]:4739", LARGEST_OVER_IPV6),
        ] {
            let (source, destination) = (source.parse().expect("an address"), destination.parse().expect("an address"));
            for length in [0, 1, 2, 1473, largest] {
                let packet = udp(source, destination, &vec![0x5a; length]).expect("it fits");
                let layers = Layers::find(LinkType::RAW, &packet);
                assert_eq!(layers.ports(&packet), Some((5000, 4739)));
                let whole = u32::try_from(packet.len()).expect("it is short");
                assert_eq!(transport_sum(&layers.network, &packet, whole), Sum::Good);
                assert!(matches!(ip_header_sum(&layers.network, &packet), Sum::Good | Sum::None));
            }
            assert_eq!(udp(source, destination, &vec![0; largest + 1]), None);
        }
    }
}
