//! Frames that no capture has: templates of flow exports before the records that need them, and copies of all frames by more exporters.
//!
//! They take the way of captured frames through the pass. Start at [`Making::of`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksums;
use crate::capture::Frame;
use crate::diagnostic::Diagnostic;
use crate::figures::thousands;
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
/// Both together, without the first one of the second.
const MOST_ADDRESSES: u32 = MOST_V4 + (1 << 22) - 1;

/// A frame as it is to be rewritten.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) time_ns: u64,
    pub(super) original_length: u32,
    pub(super) link: LinkType,
    pub(super) bytes: Vec<u8>,
}

/// What is made of one captured frame: frames before it, it, and the copies of them all.
#[derive(Debug, Clone, Default)]
pub(super) struct Making {
    parts: Vec<Part>,
    next: usize,
    copy: u32,
    copies: u32,
    addresses: HashMap<(IpAddr, u32), IpAddr>,
    /// How many addresses were asked for.
    asked: u32,
    /// The source of a frame that is no copy, and the place of its address among those of copies: the first place that such a source has.
    taken: Option<(u32, IpAddr)>,
}

/// A frame to be rewritten, and which copy it is, from 0.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) part: Part,
    pub(super) copy: u32,
    /// Whether it has templates that were put before a captured frame, or is a copy of such a frame.
    pub(super) has_templates: bool,
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
        let part = self.parts.get(self.next)?.clone();
        self.next += 1;
        Some(Made { part, copy: self.copy, has_templates: self.next < self.parts.len() })
    }

    /// Gives the frame of a copy the address of its exporter, with the checksums that cover it. The first copy keeps its address.
    pub(super) fn readdress(&mut self, copy: u32, link: LinkType, frame: &mut [u8]) {
        let network = Layers::find(link, frame).network;
        let Some((source, _)) = network.addresses(frame) else { return };
        if copy == 0 {
            let place = place(source).map(|place| (place, source));
            self.taken = self.taken.into_iter().chain(place).min();
            return;
        }
        let Some(new) = self.address(source, copy) else { return };
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

    /// Why not every copy has an address of its own, after the last frame.
    pub(super) fn problem(&self) -> Option<Diagnostic> {
        if self.asked > MOST_ADDRESSES {
            let why = format!(
                "each copy of each source of the selected frames has an address of its own, and there are at most {} of them: 198.18.0.0/15 and \
                 100.64.0.0/10, or as many of 2001:2::/48",
                thousands(MOST_ADDRESSES.into())
            );
            let problem = Diagnostic::error("there are more copies of exporters than addresses for them").why(why);
            return Some(
                problem.fix("write fewer `copies`, or select the frames of fewer sources with `[capture] filter`"),
            );
        }
        let (_, source) = self.taken.filter(|(place, _)| *place < self.asked)?;
        Some(
            Diagnostic::error(format!("a copy would have the address of the source `{source}`"))
                .why(
                    "copies have the addresses from 198.18.0.1 on, then those from 100.64.0.1 on, or those from 2001:2::1 on, and a collector \
                     takes exporters with one address for one",
                )
                .fix("map this source to another address in `[rewrite.source]`, or leave its frames out with `[capture] filter`"),
        )
    }

    /// The address of a copy's exporter, in the order in which they are asked for: the same in each pass over a capture. `None` where all are taken.
    fn address(&mut self, source: IpAddr, copy: u32) -> Option<IpAddr> {
        if let Some(known) = self.addresses.get(&(source, copy)) {
            return Some(*known);
        }
        let index = self.asked;
        self.asked = self.asked.saturating_add(1);
        if index >= MOST_ADDRESSES {
            return None;
        }
        let new = match source {
            IpAddr::V4(_) if index < MOST_V4 => Ipv4Addr::from_bits(V4.to_bits() | (1 + index)).into(),
            IpAddr::V4(_) => Ipv4Addr::from_bits(MORE_V4.to_bits() | (1 + index - MOST_V4)).into(),
            IpAddr::V6(_) => Ipv6Addr::from_bits(V6.to_bits() | (1 + u128::from(index))).into(),
        };
        self.addresses.insert((source, copy), new);
        Some(new)
    }
}

/// The place of an address among those that copies have, from 0.
fn place(address: IpAddr) -> Option<u32> {
    let place = match address {
        IpAddr::V4(address) => {
            let within = |first: Ipv4Addr, most: u32| {
                address.to_bits().checked_sub(first.to_bits() + 1).filter(|place| *place < most)
            };
            within(V4, MOST_V4).or_else(|| Some(MOST_V4 + within(MORE_V4, MOST_ADDRESSES - MOST_V4)?))
        }
        IpAddr::V6(address) => {
            address.to_bits().checked_sub(V6.to_bits() + 1).and_then(|place| u32::try_from(place).ok())
        }
    };
    place.filter(|place| *place < MOST_ADDRESSES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_addresses_of_copies_are_as_different_as_the_first() {
        let source = IpAddr::from([10, 0, 0, 1]);
        let address = |asked| {
            let mut making = Making { asked, ..Making::default() };
            let given = [1, 2].map(|copy| making.address(source, copy).map(|address| address.to_string()));
            (given, making.address(source, 1).is_some(), making.problem().is_some())
        };
        let some = |first: &str, second: &str| ([first, second].map(|text| Some(text.to_owned())), true, false);
        assert_eq!(address(0), some("198.18.0.1", "198.18.0.2"));
        assert_eq!(address(MOST_V4 - 1), some("198.19.255.254", "100.64.0.1"));
        assert_eq!(address(MOST_ADDRESSES - 2), some("100.127.255.254", "100.127.255.255"));
        assert_eq!(address(MOST_ADDRESSES - 1), ([Some("100.127.255.255".to_owned()), None], true, true));
    }

    #[test]
    fn the_place_of_an_address_is_where_it_is_given_to_a_copy() {
        for (asked, source) in [(0, [10, 0, 0, 1]), (MOST_V4 - 1, [10, 0, 0, 1]), (MOST_V4, [10, 0, 0, 1])] {
            for source in [IpAddr::from(source), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
                let given = Making { asked, ..Making::default() }.address(source, 1);
                assert_eq!(given.and_then(place), Some(asked), "{given:?}");
            }
        }
        let others = [
            "198.18.0.0",
            "198.19.255.255",
            "198.17.255.255",
            "100.64.0.0",
            "100.128.0.0",
            "2001:2::",
            "2001:2:1::1",
            "::1",
        ];
        assert!(others.into_iter().all(|other| place(other.parse().expect("an address")).is_none()));
    }
}
