//! A capture with something of everything, built byte by byte.

use std::net::IpAddr;

/// The one's complement sum of big-endian words (RFC 1071).
#[derive(Default)]
struct Accumulator(u64);

impl Accumulator {
    fn add(self, bytes: &[u8]) -> Self {
        let word = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        Self(self.0 + bytes.chunks(2).map(word).sum::<u64>())
    }

    fn add_word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word))
    }

    fn fold(&self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        u16::try_from((once & 0xffff) + (once >> 16)).expect("a small sum")
    }
}

fn ethernet(ethertype: u16, rest: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa], ethertype.to_be_bytes().as_slice(), rest].concat()
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The sum of a pseudo-header.
fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Accumulator {
    let length = u16::try_from(length).expect("a short packet");
    let sum = Accumulator::default().add(&bytes(source)).add(&bytes(destination));
    sum.add_word(length).add_word(u16::from(protocol))
}

/// An IP packet; of IPv4 with this identification, and flags and offset.
pub(crate) fn ip(source: &str, destination: &str, protocol: u8, (id, flags): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let (source, destination): (IpAddr, IpAddr) = (source.parse().expect("one"), destination.parse().expect("one"));
    let length = u16::try_from(payload.len()).expect("a short packet");
    if source.is_ipv6() {
        let start = [&[0x60, 0, 0, 0], length.to_be_bytes().as_slice(), &[protocol, 64]].concat();
        return ethernet(0x86dd, &[start, bytes(source), bytes(destination), payload.to_vec()].concat());
    }
    let mut header = vec![0x45, 0];
    header.extend([20 + length, id, flags].into_iter().flat_map(u16::to_be_bytes));
    header.extend([64, protocol, 0, 0]);
    header.extend([bytes(source), bytes(destination)].concat());
    let sum = !Accumulator::default().add(&header).fold();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    ethernet(0x0800, &[&header, payload].concat())
}

/// What a checksum field holds.
#[derive(Clone, Copy)]
enum Held {
    Right,
    Wrong,
    LeftToTheCard,
}

fn udp(source: (&str, u16), destination: (&str, u16), held: Held, payload: &[u8]) -> Vec<u8> {
    let addresses = (source.0.parse().expect("one"), destination.0.parse().expect("one"));
    let length = u16::try_from(8 + payload.len()).expect("a short datagram");
    let mut datagram: Vec<u8> = [source.1, destination.1, length, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    datagram.extend(payload);
    let pseudo = pseudo(addresses.0, addresses.1, 17, datagram.len());
    let sum = match held {
        Held::Right => !pseudo.add(&datagram).fold(),
        Held::Wrong => 0x0bad,
        Held::LeftToTheCard => pseudo.fold(),
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    ip(source.0, destination.0, 17, (1, 0), &datagram)
}

fn tcp(source: (&str, u16), destination: (&str, u16)) -> Vec<u8> {
    let addresses = (source.0.parse().expect("one"), destination.0.parse().expect("one"));
    let mut segment: Vec<u8> = [source.1, destination.1].into_iter().flat_map(u16::to_be_bytes).collect();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0]);
    let sum = !pseudo(addresses.0, addresses.1, 6, segment.len()).add(&segment).fold();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ip(source.0, destination.0, 6, (1, 0x4000), &segment)
}

fn tagged(frame: &[u8], id: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &id.to_be_bytes(), &frame[12..]].concat()
}

/// A frame, its length on the wire, and its time in microseconds.
pub(crate) type Captured = (Vec<u8>, usize, u64);

/// Something of everything.
pub(crate) fn mixed() -> Vec<Captured> {
    let (a, b) = (("10.1.0.1", 40_000), ("10.1.0.53", 53));
    let (a6, b6) = (("2001:db8::1", 40_000), ("2001:db8::53", 53));
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xa, 10, 1, 0, 1][..], &[0; 6], &[10, 1, 0, 53]].concat();
    let whole = udp(a, ("10.1.0.9", 514), Held::Right, &[7; 40]);
    let fragment = |id, flags, range: std::ops::Range<usize>| ip(a.0, "10.1.0.9", 17, (id, flags), &whole[34..][range]);
    let mut segment = tcp(a, ("10.1.0.80", 80));
    segment[16..18].fill(0);
    let header_sum = {
        segment[24..26].fill(0);
        !Accumulator::default().add(&segment[14..34]).fold()
    };
    segment[24..26].copy_from_slice(&header_sum.to_be_bytes());
    let frames = [
        ethernet(0x0806, &arp),
        udp(a, b, Held::Right, b"a query"),
        udp(b, a, Held::Right, b"a longer answer"),
        udp(a6, b6, Held::Right, b"a query"),
        udp(b6, a6, Held::Right, b"a longer answer"),
        tcp(a, ("10.1.0.80", 80)),
        fragment(7, 0x2000, 0..24),
        fragment(7, 3, 24..48),
        fragment(8, 0x2000, 0..24),
        tagged(&udp(a, ("10.1.0.9", 514), Held::Right, b"tagged"), 100),
        udp(a, ("10.1.0.9", 514), Held::Right, &[1; 100]),
        udp(a, ("10.1.0.9", 514), Held::Wrong, b"wrong"),
        udp(a, ("10.1.0.9", 514), Held::LeftToTheCard, b"left"),
        ip(a.0, "10.1.0.9", 1, (1, 0), &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
        segment,
        ip(a.0, "10.1.0.9", 47, (1, 0), &[0, 0, 8, 0]),
        ethernet(0x88cc, &[0; 46]),
    ];
    let mut captured: Vec<Captured> =
        frames.into_iter().enumerate().map(|(at, frame)| (frame.clone(), frame.len(), 250_000 * at as u64)).collect();
    captured[10].0.truncate(60);
    captured[13].2 = 1;
    captured[14].1 = 2974;
    captured
}

/// A pcap file in microseconds.
pub(crate) fn pcap(frames: &[Captured]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
    for (frame, length, time) in frames {
        for field in [1_700_000_000 + time / 1_000_000, time % 1_000_000, frame.len() as u64, *length as u64] {
            file.extend(u32::try_from(field).expect("small").to_le_bytes());
        }
        file.extend(frame);
    }
    file
}
