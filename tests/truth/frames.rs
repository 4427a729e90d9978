//! Frames whose payload carries a number, so that the application can say which datagrams it read.

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) const RECEIVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const RECEIVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);
const SENDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const RECEIVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x20);
const SENDER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The port that the capture's datagrams go to.
pub(crate) const PORT: u16 = 4739;
/// What begins the payload of the capture's datagrams; their number follows, big-endian.
pub(crate) const MARK: &[u8; 4] = b"CAP:";

/// The Internet checksum (RFC 1071), of the test's own.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice")
}

/// An Ethernet frame.
pub(crate) fn ethernet(to: [u8; 6], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    [&to[..], &SENDER_MAC, &ethertype.to_be_bytes(), packet].concat()
}

/// An IPv4 packet in a frame to the receiver, or to the group or broadcast address that it goes to.
pub(crate) fn ipv4(protocol: u8, to: Ipv4Addr, identification: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(u16::try_from(20 + payload.len()).expect("a short packet").to_be_bytes());
    header.extend(identification.to_be_bytes());
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(SENDER.octets());
    header.extend(to.octets());
    let sum = internet_checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let [_, b, c, d] = to.octets();
    let mac = match to {
        _ if to.is_multicast() => [1, 0, 0x5e, b & 0x7f, c, d],
        _ if d == 255 => [0xff; 6],
        _ => RECEIVER_MAC,
    };
    ethernet(mac, 0x0800, &[header, payload.to_vec()].concat())
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(u16::try_from(payload.len()).expect("a short packet").to_be_bytes());
    header.extend([next, 64]);
    header.extend(SENDER_V6.octets());
    header.extend(RECEIVER_V6.octets());
    ethernet(RECEIVER_MAC, 0x86dd, &[header, payload.to_vec()].concat())
}

/// A datagram with the number `number`, and its checksum for these addresses.
fn udp(addresses: &[u8], port: u16, number: u32, bytes: usize) -> Vec<u8> {
    let payload = [&MARK[..], &number.to_be_bytes(), &vec![b'x'; bytes]].concat();
    let length = u16::try_from(8 + payload.len()).expect("a short datagram").to_be_bytes();
    let source = u16::try_from(1000 + number % 7).expect("a port").to_be_bytes();
    let header = [&source[..], &port.to_be_bytes(), &length, &[0, 0]].concat();
    let mut datagram = [header, payload].concat();
    let sum = internet_checksum(&[addresses, &[0, 17], &length, &datagram].concat());
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// A datagram to this address and port.
pub(crate) fn datagram_to(number: u32, to: Ipv4Addr, port: u16, bytes: usize) -> Vec<u8> {
    let addresses = [SENDER.octets(), to.octets()].concat();
    ipv4(17, to, 0, 0, &udp(&addresses, port, number, bytes))
}

/// A datagram to the receiver.
pub(crate) fn datagram(number: u32) -> Vec<u8> {
    datagram_to(number, RECEIVER, PORT, 20)
}

/// The same over IPv6.
pub(crate) fn datagram_v6(number: u32) -> Vec<u8> {
    let addresses = [SENDER_V6.octets(), RECEIVER_V6.octets()].concat();
    ipv6(17, &udp(&addresses, PORT, number, 20))
}

/// Bytes of a fragment's payload.
const PART: usize = 400;

/// A datagram in three fragments, in order.
pub(crate) fn fragments(number: u32) -> Vec<Vec<u8>> {
    let addresses = [SENDER.octets(), RECEIVER.octets()].concat();
    let whole = udp(&addresses, PORT, number, 3 * PART - 20);
    let identification = u16::try_from(100 + number).expect("few datagrams");
    let piece = |(place, part): (usize, &[u8])| {
        let more = if (place + 1) * PART < whole.len() { 0x2000 } else { 0 };
        let offset = u16::try_from(place * PART / 8).expect("a short datagram");
        ipv4(17, RECEIVER, identification, offset | more, part)
    };
    whole.chunks(PART).enumerate().map(piece).collect()
}

/// The same over IPv6.
pub(crate) fn fragments_v6(number: u32) -> Vec<Vec<u8>> {
    let addresses = [SENDER_V6.octets(), RECEIVER_V6.octets()].concat();
    let whole = udp(&addresses, PORT, number, 3 * PART - 20);
    let piece = |(place, part): (usize, &[u8])| {
        let more = u16::from((place + 1) * PART < whole.len());
        let offset = u16::try_from(place * PART).expect("a short datagram") | more;
        let header = [&[17, 0][..], &offset.to_be_bytes(), &(100 + number).to_be_bytes()].concat();
        ipv6(44, &[&header, part].concat())
    };
    whole.chunks(PART).enumerate().map(piece).collect()
}

/// A classic pcap file of Ethernet frames (pcap-savefile(5)).
pub(crate) fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (frame, number) in frames.iter().zip(0_u32..) {
        let length = u32::try_from(frame.len()).expect("a frame");
        for word in [1_700_000_000, number * 10, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}
