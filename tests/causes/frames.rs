//! Frames as bytes, right ones and those that are wrong on purpose, and the classic pcap file that holds them.
//!
//! Start at [`Packet`]: five of one kind differ by the number in their payload.

use std::net::IpAddr;

/// The receiver's MAC address.
pub(crate) const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The sender's.
pub(crate) const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];

const TCP: u8 = 6;
const UDP: u8 = 17;
/// IPv6 fragment header.
const FRAGMENT: u8 = 44;

/// A checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    Right,
    Wrong,
    Zero,
}

/// One frame in the capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    pub(crate) bytes: Vec<u8>,
    /// What the capture says of its length on the wire.
    pub(crate) length: usize,
}

/// A kind of frame. What isn't said is right.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    to: [u8; 6],
    from: [u8; 6],
    vlan: Option<u16>,
    ethertype: Option<u16>,
    source: IpAddr,
    destination: IpAddr,
    version: Option<u8>,
    ttl: u8,
    options: Vec<u8>,
    headers: Option<(u8, Vec<u8>)>,
    header_sum: Sum,
    protocol: u8,
    /// TCP's flags.
    flags: u8,
    port: u16,
    sum: Sum,
    udp_length: Option<u16>,
    payload: usize,
    trailer: usize,
}

/// Where a piece belongs in its datagram.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u16,
    more: bool,
}

/// A UDP datagram over IPv4 that comes from 10.9.0.1 port 5000 to 10.9.0.2 port 9999.
pub(crate) fn v4() -> Packet {
    Packet {
        to: RECEIVER,
        from: SENDER,
        vlan: None,
        ethertype: None,
        source: address("10.9.0.1"),
        destination: address("10.9.0.2"),
        version: None,
        ttl: 64,
        options: Vec::new(),
        headers: None,
        header_sum: Sum::Right,
        protocol: UDP,
        flags: 0,
        port: 9999,
        sum: Sum::Right,
        udp_length: None,
        payload: 32,
        trailer: 0,
    }
}

/// The same over IPv6, from fd09::1 to fd09::2.
pub(crate) fn v6() -> Packet {
    v4().source("fd09::1").destination("fd09::2")
}

/// A TCP segment over IPv4.
pub(crate) fn tcp(flags: u8) -> Packet {
    Packet { protocol: TCP, flags, ..v4() }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

impl Packet {
    pub(crate) fn mac(self, to: [u8; 6]) -> Self {
        Self { to, ..self }
    }

    pub(crate) fn source_mac(self, from: [u8; 6]) -> Self {
        Self { from, ..self }
    }

    pub(crate) fn source(self, source: &str) -> Self {
        Self { source: address(source), ..self }
    }

    pub(crate) fn destination(self, destination: &str) -> Self {
        Self { destination: address(destination), ..self }
    }

    pub(crate) fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    pub(crate) fn vlan(self, id: u16) -> Self {
        Self { vlan: Some(id), ..self }
    }

    pub(crate) fn ethertype(self, ethertype: u16) -> Self {
        Self { ethertype: Some(ethertype), ..self }
    }

    pub(crate) fn version(self, version: u8) -> Self {
        Self { version: Some(version), ..self }
    }

    /// TTL or hop limit.
    pub(crate) fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// IPv4 options, a multiple of four bytes.
    pub(crate) fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    /// IPv6 extension headers, and what the first of them is; the last one's next header is the protocol's.
    pub(crate) fn headers(self, first: u8, headers: &[u8]) -> Self {
        Self { headers: Some((first, headers.to_vec())), ..self }
    }

    pub(crate) fn header_sum(self, header_sum: Sum) -> Self {
        Self { header_sum, ..self }
    }

    /// Another protocol than UDP; what follows the IP header is the payload alone.
    pub(crate) fn protocol(self, protocol: u8) -> Self {
        Self { protocol, ..self }
    }

    /// The checksum of UDP or TCP.
    pub(crate) fn sum(self, sum: Sum) -> Self {
        Self { sum, ..self }
    }

    pub(crate) fn udp_length(self, length: u16) -> Self {
        Self { udp_length: Some(length), ..self }
    }

    /// Bytes after the transport header.
    pub(crate) fn payload(self, payload: usize) -> Self {
        Self { payload, ..self }
    }

    /// A payload that makes the whole IP packet so long.
    pub(crate) fn packet_length(self, length: usize) -> Self {
        let headers = if self.source.is_ipv4() { 20 } else { 40 } + 8;
        self.payload(length - headers)
    }

    /// Bytes after the IP packet.
    pub(crate) fn trailer(self, trailer: usize) -> Self {
        Self { trailer, ..self }
    }

    /// `count` frames.
    pub(crate) fn times(&self, count: usize) -> Vec<Captured> {
        (1..=count).map(|number| whole(self.frame(number))).collect()
    }

    /// `count` frames of which the capture holds the first bytes only.
    pub(crate) fn cut(&self, count: usize, bytes: usize) -> Vec<Captured> {
        let mut frames = self.times(count);
        for frame in &mut frames {
            frame.bytes.truncate(bytes);
        }
        frames
    }

    /// `count` frames that were so short on the wire.
    pub(crate) fn short(&self, count: usize, bytes: usize) -> Vec<Captured> {
        self.cut(count, bytes).into_iter().map(|frame| whole(frame.bytes)).collect()
    }

    /// One datagram in three fragments.
    pub(crate) fn fragments(&self) -> [Captured; 3] {
        let segment = self.clone().payload(3 * 64 - 8).segment(1);
        let piece = |index: u16| {
            let start = usize::from(index) * 64;
            let place = Place { offset: index * 64, more: index < 2 };
            whole(self.ethernet(&self.ip(&segment[start..start + 64], 7, Some(place))))
        };
        [piece(0), piece(1), piece(2)]
    }

    fn frame(&self, number: usize) -> Vec<u8> {
        self.ethernet(&self.ip(&self.segment(number), number, None))
    }

    /// What follows the IP header.
    fn segment(&self, number: usize) -> Vec<u8> {
        let payload: Vec<u8> = format!("datagram {number:5} ").bytes().cycle().take(self.payload).collect();
        let (mut segment, sum_at) = match self.protocol {
            UDP => {
                let length = self.udp_length.unwrap_or_else(|| short(8 + payload.len()));
                ([5000, self.port, length, 0].into_iter().flat_map(u16::to_be_bytes).collect::<Vec<u8>>(), 6)
            }
            TCP => {
                let mut header = [5000, self.port].into_iter().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
                header.extend(u32::try_from(number).expect("few").to_be_bytes());
                header.extend([0, 0, 0, 0, 0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
                (header, 16)
            }
            _ => return payload,
        };
        segment.extend(payload);
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let mut summed = [octets(self.source), octets(self.destination)].concat();
        summed.extend([0, self.protocol]);
        summed.extend(short(segment.len()).to_be_bytes());
        summed.extend(&segment);
        let sum = chosen(self.sum, checksum(&summed));
        segment[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    fn ip(&self, segment: &[u8], number: usize, place: Option<Place>) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = 20 + self.options.len();
                let words = u8::try_from(header / 4).expect("at most 15");
                let mut packet = vec![self.version.unwrap_or(4) << 4 | words, 0];
                packet.extend(short(header + segment.len()).to_be_bytes());
                packet.extend(short(number).to_be_bytes());
                let place = place.map_or(0, |place| (place.offset / 8) | if place.more { 0x2000 } else { 0 });
                packet.extend(place.to_be_bytes());
                packet.extend([self.ttl, self.protocol, 0, 0]);
                packet.extend(source.octets());
                packet.extend(destination.octets());
                packet.extend(&self.options);
                let sum = chosen(self.header_sum, checksum(&packet));
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
                packet.extend(segment);
                packet
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let fragment = place.map_or(Vec::new(), |place| {
                    let mut header = vec![self.protocol, 0];
                    header.extend((place.offset | u16::from(place.more)).to_be_bytes());
                    header.extend(u32::try_from(number).expect("few").to_be_bytes());
                    header
                });
                let mut packet = vec![0x60, 0, 0, 0];
                let next = if fragment.is_empty() { self.protocol } else { FRAGMENT };
                let (next, headers) = self.headers.clone().unwrap_or((next, Vec::new()));
                packet.extend(short(headers.len() + fragment.len() + segment.len()).to_be_bytes());
                packet.extend([next, self.ttl]);
                packet.extend(source.octets());
                packet.extend(destination.octets());
                packet.extend(headers);
                packet.extend(fragment);
                packet.extend(segment);
                packet
            }
            _ => unreachable!("both addresses of a test's packet are of one family"),
        }
    }

    fn ethernet(&self, packet: &[u8]) -> Vec<u8> {
        let mut frame = [self.to, self.from].concat();
        if let Some(id) = self.vlan {
            frame.extend(0x8100_u16.to_be_bytes());
            frame.extend(id.to_be_bytes());
        }
        let family = if self.source.is_ipv4() { 0x0800 } else { 0x86dd };
        frame.extend(self.ethertype.unwrap_or(family).to_be_bytes());
        frame.extend(packet);
        frame.extend(std::iter::repeat_n(0xaa, self.trailer));
        frame
    }
}

fn whole(bytes: Vec<u8>) -> Captured {
    Captured { length: bytes.len(), bytes }
}

fn short(length: usize) -> u16 {
    u16::try_from(length).expect("a frame of a test is short")
}

fn chosen(sum: Sum, right: u16) -> u16 {
    match sum {
        Sum::Right => right,
        // 0 would be "none" in UDP, and 0x0101 away is never the other zero of ones' complement.
        Sum::Wrong if right == 0x0101 => 1,
        Sum::Wrong => right.wrapping_sub(0x0101),
        Sum::Zero => 0,
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    !short((folded as usize & 0xffff) + (folded as usize >> 16))
}

/// A classic pcap file, one millisecond between frames.
pub(crate) fn pcap(frames: &[Captured]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0]);
    for (frame, index) in frames.iter().zip(0_u32..) {
        let lengths = [frame.bytes.len(), frame.length].map(|length| u32::from(short(length)));
        for field in [1_700_000_000, index * 1000, lengths[0], lengths[1]] {
            file.extend(field.to_le_bytes());
        }
        file.extend(&frame.bytes);
    }
    file
}
