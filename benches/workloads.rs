//! The captures that are measured, made here: the same bytes on every machine.
//!
//! All addresses are in the prefixes that [`crate::programs`] maps, and all checksums are right. Start at [`Workload::write`].

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

/// The sender's address in every frame.
pub(crate) const SOURCE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// What is in a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Datagrams of 900 bytes from 40 exporters to one collector, in frames of 942.
    Ipfix,
    /// Datagrams in frames of 64 bytes, between many hosts.
    Small,
    /// IPv4 and IPv6; TCP, UDP and ICMP; VLAN tags and fragments; frames of 64, 576 and 1500 bytes, 7 : 4 : 1.
    Mixed,
    /// As [`Workload::Ipfix`], in frames of 100 bytes.
    Short,
}

/// How a capture is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// With times in microseconds.
    Pcap,
    /// The same, of one section.
    Pcapng,
}

impl Format {
    /// What a file of Ethernet frames begins with.
    fn header(self) -> Vec<u8> {
        let words: &[u32] = match self {
            // Magic number, version 2.4, two zeros, snaplen, link type.
            Self::Pcap => &[0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1],
            // A section header of version 1.0 and unknown length; an interface description: link type, snaplen.
            Self::Pcapng => &[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28, 1, 20, 1, 262_144, 20],
        };
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Writes a frame, at a time in microseconds since 1970.
    fn write(self, time: u64, frame: &[u8], file: &mut impl io::Write) -> io::Result<()> {
        let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let length = u32::try_from(frame.len()).map_err(too_long)?;
        let padding = length.next_multiple_of(4) - length;
        let block = 32 + length + padding;
        let (first, second) = match self {
            Self::Pcap => (time / 1_000_000, time % 1_000_000),
            Self::Pcapng => (time >> 32, time & 0xffff_ffff),
        };
        let times = [u32::try_from(first).map_err(too_long)?, u32::try_from(second).map_err(too_long)?];
        // An enhanced packet block of interface 0 has its length at both ends.
        let before: &[u32] = if self == Self::Pcapng { &[6, block, 0] } else { &[] };
        for word in before.iter().copied().chain(times).chain([length, length]) {
            file.write_all(&word.to_le_bytes())?;
        }
        file.write_all(frame)?;
        if self == Self::Pcapng {
            file.write_all([0, 0, 0].get(..padding as usize).unwrap_or_default())?;
            file.write_all(&block.to_le_bytes())?;
        }
        Ok(())
    }
}

impl Workload {
    /// Writes a capture of that many frames, ten microseconds apart.
    ///
    /// # Errors
    /// What the file says.
    pub(crate) fn write(self, frames: u64, format: Format, path: &Path) -> io::Result<()> {
        self.write_at((1..=frames).map(|number| number * 10_000), format, path)
    }

    /// Writes a capture with a frame at each of these times, in nanoseconds after the first second of the capture.
    ///
    /// # Errors
    /// What the file says.
    pub(crate) fn write_at(self, times_ns: impl Iterator<Item = u64>, format: Format, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
        file.write_all(&format.header())?;
        let mut maker = Maker { random: Random(0x9e37_79b9_7f4a_7c15), frame: Vec::new(), later: None, made: 0 };
        for time_ns in times_ns {
            maker.make(self);
            format.write(1_700_000_000_000_000 + time_ns / 1_000, &maker.frame, &mut file)?;
        }
        file.flush()
    }

    /// About how many bytes of a file each frame takes, not less.
    pub(crate) fn bytes_per_frame(self) -> u64 {
        match self {
            Self::Ipfix => 980,
            Self::Small => 100,
            Self::Mixed => 400,
            Self::Short => 140,
        }
    }
}

/// Xorshift64 (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `limit`, which is small.
    fn below(&mut self, limit: u8) -> u8 {
        u8::try_from((self.next() >> 32) % u64::from(limit.max(1))).unwrap_or_default()
    }
}

mod protocol {
    pub(super) const ICMP: u8 = 1;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const ICMPV6: u8 = 58;
}

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const IPV6: usize = 40;

/// Makes one frame after the other.
struct Maker {
    random: Random,
    frame: Vec<u8>,
    /// The second fragment of the datagram whose first one was made last.
    later: Option<Vec<u8>>,
    made: u64,
}

impl Maker {
    fn make(&mut self, workload: Workload) {
        self.made += 1;
        match workload {
            Workload::Ipfix => self.export(942),
            Workload::Short => self.export(100),
            Workload::Small => {
                let (source, destination) = self.hosts();
                self.begin(None, 0x0800);
                self.ipv4(protocol::UDP, 64 - ETHERNET, source, destination);
                self.transport(protocol::UDP, 64, [1024, 5000]);
            }
            Workload::Mixed => self.mixed(),
        }
    }

    /// One datagram of an exporter: a header as RFC 7011 has it, and records of which the first bytes differ.
    fn export(&mut self, length: usize) {
        let exporter = self.random.below(40);
        self.begin(None, 0x0800);
        self.ipv4(protocol::UDP, length - ETHERNET, [10, exporter % 5, exporter / 5, 10], [10, 5, 0, 1]);
        let payload = ETHERNET + IPV4 + 8;
        self.frame.resize(length, 0);
        let message = length - payload;
        self.put(payload, &[0, 10]);
        self.put(payload + 2, &be16(message));
        self.put(payload + 8, &self.made.to_be_bytes()[4..]);
        self.put(payload + 15, &[exporter]);
        self.put(payload + 16, &[1, 0]);
        self.put(payload + 18, &be16(message - 16));
        for record in (payload + 20..length - 7).step_by(44) {
            let varying = self.random.next().to_be_bytes();
            self.put(record, &varying);
        }
        self.transport(protocol::UDP, length, [2055, 4739]);
    }

    fn mixed(&mut self) {
        if let Some(later) = self.later.take() {
            self.frame = later;
            return;
        }
        let length = match self.random.below(12) {
            0..7 => 64,
            7..11 => 576,
            _ => 1500,
        };
        let vlan = (self.random.below(10) == 0).then(|| u16::from(self.random.below(100)) + 1);
        let is_v6 = self.random.below(10) < 3;
        let protocol = match self.random.below(10) {
            0..6 => protocol::TCP,
            6..9 => protocol::UDP,
            _ if is_v6 => protocol::ICMPV6,
            _ => protocol::ICMP,
        };
        let ports = [1024 + u16::from(self.random.below(250)), u16::from(self.random.below(100))];
        let (source, destination) = self.hosts();
        self.begin(vlan, if is_v6 { 0x86dd } else { 0x0800 });
        let network = self.frame.len();
        let header = if protocol == protocol::TCP { 20 } else { 8 };
        let length = length.max(network + header + if is_v6 { IPV6 } else { IPV4 });
        if is_v6 {
            self.ipv6(protocol, length - network, source, destination);
        } else {
            self.ipv4(protocol, length - network, source, destination);
        }
        self.transport(protocol, length, ports);
        if !is_v6 && protocol == protocol::UDP && length >= 576 && self.random.below(4) == 0 {
            self.split(network);
        }
    }

    /// Addresses in the mapped prefixes.
    fn hosts(&mut self) -> ([u8; 4], [u8; 4]) {
        let [a, b, c, d, e, f, ..] = self.random.next().to_be_bytes();
        ([10, e % 5, a, b], [10, 5 + f % 5, c, d])
    }

    fn begin(&mut self, vlan: Option<u16>, ethertype: u16) {
        self.frame.clear();
        self.frame.extend([2, 0, 0, 0, 0, 1]);
        self.frame.extend(SOURCE_MAC);
        if let Some(vlan) = vlan {
            self.frame.extend([0x81, 0]);
            self.frame.extend(vlan.to_be_bytes());
        }
        self.frame.extend(ethertype.to_be_bytes());
    }

    /// The header (RFC 791) of a packet of `length` bytes.
    fn ipv4(&mut self, protocol: u8, length: usize, source: [u8; 4], destination: [u8; 4]) {
        let at = self.frame.len();
        let id = &self.made.to_be_bytes()[6..];
        self.frame.extend([0x45, 0]);
        self.frame.extend(be16(length));
        self.frame.extend_from_slice(id);
        self.frame.extend([0, 0, 64, protocol, 0, 0]);
        self.frame.extend(source);
        self.frame.extend(destination);
        self.finish_ipv4(at);
    }

    fn finish_ipv4(&mut self, at: usize) {
        self.put(at + 10, &[0, 0]);
        let sum = checksum(sum(&self.frame[at..at + IPV4]));
        self.put(at + 10, &sum);
    }

    /// The header (RFC 8200) of a packet of `length` bytes, in prefixes of documentation (RFC 3849).
    fn ipv6(&mut self, protocol: u8, length: usize, source: [u8; 4], destination: [u8; 4]) {
        self.frame.extend([0x60, 0, 0, 0]);
        self.frame.extend(be16(length - IPV6));
        self.frame.extend([protocol, 64]);
        for (site, host) in [(1, source), (2, destination)] {
            self.frame.extend([0x20, 1, 0x0d, 0xb8, 0, site, 0, 0, 0, 0, 0, 0]);
            self.frame.extend(host);
        }
    }

    /// What stands behind the IP header that was made last, up to `length`, with its checksum.
    fn transport(&mut self, protocol: u8, length: usize, ports: [u16; 2]) {
        let network = if self.frame[12..14] == [0x81, 0] { ETHERNET + 4 } else { ETHERNET };
        let is_v6 = self.frame[network] >> 4 == 6;
        let (at, addresses) = if is_v6 { (network + IPV6, network + 8) } else { (network + IPV4, network + 12) };
        let made = self.frame.len().max(at + 20).min(length);
        self.frame.resize(made, 0);
        while self.frame.len() < length {
            let random = self.random.next().to_be_bytes();
            let room = length - self.frame.len();
            self.frame.extend_from_slice(&random[..room.min(8)]);
        }
        let [source, destination] = ports.map(u16::to_be_bytes);
        let checksum_at = match protocol {
            protocol::UDP => {
                self.put(at + 4, &be16(length - at));
                at + 6
            }
            protocol::TCP => {
                // Five words of header, ACK, a window.
                self.put(at + 12, &[0x50, 0x10, 0x20, 0]);
                at + 16
            }
            _ => at + 2,
        };
        if matches!(protocol, protocol::UDP | protocol::TCP) {
            self.put(at, &source);
            self.put(at + 2, &destination);
        } else {
            // An echo request.
            self.put(at, &[if is_v6 { 128 } else { 8 }, 0]);
        }
        self.put(checksum_at, &[0, 0]);
        let pseudo_header = match protocol {
            protocol::ICMP => 0,
            _ => sum(&self.frame[addresses..at]) + u64::from(protocol) + (length - at) as u64,
        };
        let sum = match checksum(pseudo_header + sum(&self.frame[at..])) {
            // UDP takes zero for none.
            [0, 0] if protocol == protocol::UDP => [0xff; 2],
            sum => sum,
        };
        self.put(checksum_at, &sum);
    }

    /// Makes two fragments of the packet whose IPv4 header is at `network`; the second is the next frame.
    fn split(&mut self, network: usize) {
        let payload = network + IPV4;
        let first = (self.frame.len() - payload) / 2 / 8 * 8;
        let mut later = self.frame[..payload].to_vec();
        later.extend_from_slice(&self.frame[payload + first..]);
        self.frame.truncate(payload + first);
        self.put(network + 6, &[0x20, 0]);
        self.put(network + 2, &be16(IPV4 + first));
        self.finish_ipv4(network);
        std::mem::swap(&mut self.frame, &mut later);
        self.put(network + 6, &be16(first / 8));
        let length = be16(self.frame.len() - network);
        self.put(network + 2, &length);
        self.finish_ipv4(network);
        std::mem::swap(&mut self.frame, &mut later);
        self.later = Some(later);
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.frame[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn be16(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("frames are short").to_be_bytes()
}

/// The sum of RFC 1071, not yet folded.
fn sum(bytes: &[u8]) -> u64 {
    let (words, odd) = bytes.as_chunks::<2>();
    let words: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    words + odd.first().map_or(0, |byte| u64::from(*byte) << 8)
}

/// The checksum of that sum.
fn checksum(mut sum: u64) -> [u8; 2] {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).map_or(0, |sum| !sum).to_be_bytes()
}
