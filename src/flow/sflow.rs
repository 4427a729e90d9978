//! sFlow version 5: samples of packets and of counters (<https://sflow.org/sflow_version_5.txt>). Everything in it is a multiple of 4 bytes.
//!
//! What it says of a packet has the element ids of IPFIX. Formats of records that are not known are passed over.

use std::ops::Range;

use super::element::Element;
use super::header::{Header, Places};
use super::record::{Context, DataSet, Field, Within};
use super::section;
use super::{Event, Reason};
use crate::packet::bytes::be32;

/// Formats of samples, all of enterprise 0.
const FLOW: u32 = 1;
const COUNTERS: u32 = 2;
const FLOW_EXPANDED: u32 = 3;
const COUNTERS_EXPANDED: u32 = 4;
/// Types of addresses; what is not known has no bytes.
const UNKNOWN: u32 = 0;
const IPV4: u32 = 1;
const IPV6: u32 = 2;

/// A sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub is_flow: bool,
    is_expanded: bool,
    /// Type and index of what was sampled.
    pub source: u64,
    pub sequence: u32,
}

/// `None` where the agent's address is of no known type.
pub(super) fn header(header: &mut Header, bytes: &[u8]) -> Option<()> {
    let agent = header.range.start + 8;
    let length = address_length(be32(bytes, header.range.start + 4)?)?;
    let at = agent + length;
    header.body = at + 16;
    header.places = Places {
        agent: Some(agent),
        domain: Some(at),
        sequence: Some(at + 4),
        uptime: Some(at + 8),
        count: Some(at + 12),
        ..Places::default()
    };
    Some(())
}

fn address_length(kind: u32) -> Option<usize> {
    match kind {
        IPV4 => Some(4),
        IPV6 => Some(16),
        _ => None,
    }
}

/// Format and contents of the sample or record at `at`; `None` where it does not fit before `end`.
fn opaque(bytes: &[u8], at: usize, end: usize) -> Option<(u32, Range<usize>)> {
    let (format, length) = (be32(bytes, at)?, be32(bytes, at + 4)? as usize);
    let start = at + 8;
    (start.checked_add(length)? <= end).then(|| (format, start..start + length))
}

/// The samples that the header announces.
pub(super) fn walk(datagram: &[u8], header: &Header, each: &mut impl FnMut(Event<'_>)) {
    let (mut at, end) = (header.body, header.range.end);
    for _ in 0..header.count.unwrap_or(0) {
        let Some((format, range)) = opaque(datagram, at, end) else {
            each(Event::Undecodable { reason: Reason::BadLength, range: at..end });
            return;
        };
        at = range.end;
        match sample(datagram, format, &range) {
            Some(sample) => {
                each(Event::Data(DataSet::sample(sample, range, Context::new(datagram, None))));
            }
            None if matches!(format, FLOW | COUNTERS | FLOW_EXPANDED | COUNTERS_EXPANDED) => {
                each(Event::Undecodable { reason: Reason::BadLength, range });
            }
            // Of another format: nothing is wrong with it.
            None => {}
        }
    }
    if at < end {
        each(Event::Undecodable { reason: Reason::Trailing, range: at..end });
    }
}

fn sample(bytes: &[u8], format: u32, range: &Range<usize>) -> Option<Sample> {
    let (is_flow, is_expanded) = match format {
        FLOW => (true, false),
        COUNTERS => (false, false),
        FLOW_EXPANDED => (true, true),
        COUNTERS_EXPANDED => (false, true),
        _ => return None,
    };
    let word = |index: usize| be32(bytes, range.start + 4 * index);
    let first = word(1)?;
    let source = if is_expanded { u64::from(first) << 32 | u64::from(word(2)?) } else { first.into() };
    let sample = Sample { is_flow, is_expanded, source, sequence: word(0)? };
    (range.start + sample.head() <= range.end).then_some(sample)
}

impl Sample {
    /// Bytes before the first record; the last 4 are their number.
    fn head(self) -> usize {
        4 * match (self.is_flow, self.is_expanded) {
            (true, false) => 8,
            (true, true) => 11,
            (false, false) => 3,
            (false, true) => 4,
        }
    }
}

/// Passes on the fields of a sample.
pub(super) fn fields<'a>(bytes: &'a [u8], range: Range<usize>, sample: Sample, each: &mut impl FnMut(Field<'a>)) {
    let mut reader = Cursor { bytes, at: range.start, end: range.end, each };
    let own = |id| Element { enterprise: Element::OWN, id };
    reader.at += if sample.is_expanded { 12 } else { 8 };
    if sample.is_flow {
        reader.pass(Element::iana(34), 4);
        reader.pass(own(32), 4);
        reader.pass(own(33), 4);
        for interface in [10, 14] {
            // Expanded: a format before the value.
            reader.at += if sample.is_expanded { 4 } else { 0 };
            reader.pass(Element::iana(interface), 4);
        }
    }
    let count = reader.word().unwrap_or(0);
    for _ in 0..count {
        let Some((format, contents)) = opaque(bytes, reader.at, range.end) else { return };
        reader.end = contents.end;
        reader.at = contents.start;
        if sample.is_flow {
            flow_record(&mut reader, format)
        } else {
            counter_record(&mut reader, format)
        };
        (reader.at, reader.end) = (contents.end, range.end);
    }
}

/// What was sampled: a header, or what it says. `None` at the end of what there is.
fn flow_record<'a>(reader: &mut Cursor<'a, '_, impl FnMut(Field<'a>)>, format: u32) -> Option<()> {
    let iana = Element::iana;
    match format {
        // sampled_header: protocol, length of the frame, bytes removed, the header.
        1 => {
            let protocol = reader.word()?;
            reader.pass(iana(312), 4)?;
            reader.word()?;
            let length = reader.word()? as usize;
            let element = match protocol {
                1 => iana(section::FRAME),
                11 | 12 => iana(section::PACKET),
                _ => return None,
            };
            reader.pass(element, length)
        }
        // sampled_ethernet: length, source and destination MAC (each filled to 8 bytes), type.
        2 => {
            reader.pass(iana(312), 4)?;
            for mac in [56, 80] {
                reader.pass(iana(mac), 6)?;
                reader.at += 2;
            }
            reader.pass(iana(256), 4)
        }
        // sampled_ipv4.
        3 => {
            for (id, length) in [(224, 4), (4, 4), (8, 4), (12, 4), (7, 4), (11, 4), (6, 4), (5, 4)] {
                reader.pass(iana(id), length)?;
            }
            Some(())
        }
        // sampled_ipv6.
        4 => {
            for (id, length) in [(224, 4), (4, 4), (27, 16), (28, 16), (7, 4), (11, 4), (6, 4)] {
                reader.pass(iana(id), length)?;
            }
            reader.pass(Element { enterprise: Element::OWN, id: 35 }, 4)
        }
        // extended_switch: VLAN and priority of each side.
        1001 => {
            for id in [58, 244, 59] {
                reader.pass(iana(id), 4)?;
            }
            Some(())
        }
        // extended_router: next hop, and how many bits each address has in its route.
        1002 => {
            let is_ipv6 = reader.address(15, 62)?;
            let masks = if is_ipv6 { [29, 30] } else { [9, 13] };
            masks.into_iter().try_for_each(|id| reader.pass(iana(id), 4))
        }
        // extended_gateway: next hop, AS of the router, of the source and of the peer, path, communities, preference.
        1003 => {
            reader.address(18, 63)?;
            reader.word()?;
            reader.pass(iana(16), 4)?;
            reader.pass(iana(129), 4)?;
            let segments = reader.word()?;
            for segment in 1..=segments {
                reader.word()?;
                let systems = reader.word()?;
                for system in 1..=systems {
                    if segment == segments && system == systems {
                        reader.pass(iana(17), 4)?;
                    } else {
                        reader.word()?;
                    }
                }
            }
            let communities = reader.word()?;
            for _ in 0..communities {
                reader.pass(iana(483), 4)?;
            }
            reader.pass(Element { enterprise: Element::OWN, id: 34 }, 4)
        }
        _ => None,
    }
}

/// The generic counters of an interface; other formats are passed over.
fn counter_record<'a>(reader: &mut Cursor<'a, '_, impl FnMut(Field<'a>)>, format: u32) -> Option<()> {
    if format != 1 {
        return None;
    }
    (1..=19).try_for_each(|id| {
        // ifSpeed, ifInOctets and ifOutOctets.
        let length = if matches!(id, 3 | 6 | 13) { 8 } else { 4 };
        reader.pass(Element { enterprise: Element::OWN, id }, length)
    })
}

/// Reads on from a place, and passes on fields. At the end of what there is, nothing more is read.
struct Cursor<'a, 'e, E> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    each: &'e mut E,
}

impl<'a, E: FnMut(Field<'a>)> Cursor<'a, '_, E> {
    fn word(&mut self) -> Option<u32> {
        let word = be32(self.bytes, self.at).filter(|_| self.at + 4 <= self.end)?;
        self.at += 4;
        Some(word)
    }

    /// A field of `length` bytes.
    fn pass(&mut self, element: Element, length: usize) -> Option<()> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.end)?;
        let bytes = self.bytes.get(self.at..end)?;
        (self.each)(Field { element, kind: element.kind(), within: Within::Record, at: self.at, bytes });
        self.at = end;
        Some(())
    }

    /// An address, with its type before it: one of two elements, or none. Whether it is IPv6; `None` also for a type that there isn't.
    fn address(&mut self, ipv4: u16, ipv6: u16) -> Option<bool> {
        let kind = self.word()?;
        if kind == UNKNOWN {
            return Some(false);
        }
        let length = address_length(kind)?;
        self.pass(Element::iana(if kind == IPV6 { ipv6 } else { ipv4 }), length)?;
        Some(kind == IPV6)
    }
}

/// Whether the samples that the header announces fill the datagram.
pub(super) fn fits(datagram: &[u8]) -> bool {
    let Some(length) = be32(datagram, 4).and_then(address_length) else { return false };
    let Some(count) = be32(datagram, 8 + length + 12) else { return false };
    let mut at = 8 + length + 16;
    for _ in 0..count {
        let Some((_, range)) = opaque(datagram, at, datagram.len()) else { return false };
        at = range.end;
    }
    count > 0 && at == datagram.len()
}
