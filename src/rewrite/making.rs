//! Frames that no capture has: templates of flow exports before the records that need them, and copies of all frames by more exporters.
//!
//! They take the way of captured frames through the pass. Start at [`Making::of`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksums;
use crate::capture::Frame;
use crate::packet::bytes::{array, put};
use crate::packet::checksum::Change;
use crate::packet::layers::{Layers, LinkType, Network};

/// The addresses of copies, each with room for as many as there are: what benchmarks use (RFC 2544 §C.2.2, RFC 5180 §8).
const V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0);
/// Of 198.18.0.0/15, without its first and its last one.
const MOST_V4: u32 = (1 << 17) - 2;
/// Those beyond: the space that networks of carriers share (RFC 6598), 4,194,304 addresses.
const MORE_V4: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);

/// A frame as it is to be rewritten.
#[derive(Debug, Clone)]
struct Part {
    number: u64,
    time_ns: u64,
    original_length: u32,
    link: LinkType,
    bytes: Vec<u8>,
}

/// What is made of one captured frame: frames before it, it, and the copies of them all.
#[derive(Debug, Clone, Default)]
pub(super) struct Making {
    parts: Vec<Part>,
    next: usize,
    copy: u32,
    copies: u32,
    addresses: HashMap<(IpAddr, u32), u32>,
}

/// A made frame: its bytes, and which copy it is, from 0.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) number: u64,
    pub(super) time_ns: u64,
    pub(super) original_length: u32,
    pub(super) link: LinkType,
    pub(super) bytes: Vec<u8>,
    pub(super) copy: u32,
    /// Whether it is a captured frame, or a copy of one.
    pub(super) is_captured: bool,
}

impl Making {
    /// Takes in a captured frame and what is sent before it, to be given `copies` times.
    pub(super) fn of(&mut self, frame: &Frame<'_>, before: Vec<(Vec<u8>, u32)>, copies: u32) {
        let part = |bytes, original_length| Part {
            number: frame.number,
            time_ns: frame.time_ns,
            original_length,
            link: frame.link,
            bytes,
        };
        self.parts.clear();
        self.parts.extend(before.into_iter().map(|(bytes, length)| part(bytes, length)));
        self.parts.push(part(frame.bytes.to_vec(), frame.original_length));
        (self.next, self.copy, self.copies) = (0, 0, copies.max(1));
    }

    /// Whether there is another frame.
    pub(super) fn has_next(&self) -> bool {
        self.next < self.parts.len() || (!self.parts.is_empty() && self.copy + 1 < self.copies)
    }

    /// The next frame; `None` behind the last copy.
    pub(super) fn next(&mut self) -> Option<Made> {
        if self.next == self.parts.len() {
            (self.next, self.copy) = (0, self.copy + 1);
        }
        if self.copy >= self.copies {
            return None;
        }
        let part = self.parts.get(self.next)?;
        self.next += 1;
        let is_captured = self.next == self.parts.len();
        let Part { number, time_ns, original_length, link, bytes } = part.clone();
        Some(Made { number, time_ns, original_length, link, bytes, copy: self.copy, is_captured })
    }

    /// Gives the frame of a copy the address of its exporter, with the checksums that cover it. The first copy keeps its address.
    pub(super) fn readdress(&mut self, copy: u32, link: LinkType, frame: &mut [u8]) {
        if copy == 0 {
            return;
        }
        let network = Layers::find(link, frame).network;
        let Some((source, _)) = network.addresses(frame) else { return };
        let new = self.address(source, copy);
        let change = match (&network, new) {
            (Network::Ipv4(ip), IpAddr::V4(new)) => {
                let at = ip.offset + 12;
                let old = array(frame, at).map_or(0, u32::from_be_bytes);
                put(frame, at, new.octets());
                let change = Change::double(old, new.to_bits());
                checksums::update(change, ip.offset + 10, frame);
                change
            }
            (Network::Ipv6(ip), IpAddr::V6(new)) => {
                let at = ip.offset + 8;
                let old = array(frame, at).map_or(0, u128::from_be_bytes);
                put(frame, at, new.octets());
                Change::address(old, new.to_bits())
            }
            _ => return,
        };
        checksums::update_transport(&network, change, Change::NONE, frame);
    }

    /// The address of a copy's exporter, in the order in which they are asked for: the same in each pass over a capture.
    fn address(&mut self, source: IpAddr, copy: u32) -> IpAddr {
        let next = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        let index = *self.addresses.entry((source, copy)).or_insert(next);
        match source {
            IpAddr::V4(_) if index < MOST_V4 => Ipv4Addr::from_bits(V4.to_bits() | (1 + index)).into(),
            IpAddr::V4(_) => Ipv4Addr::from_bits(MORE_V4.to_bits() | (1 + index - MOST_V4)).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(V6.to_bits() | (1 + u128::from(index))).into(),
        }
    }
}
