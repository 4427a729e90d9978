//! Payloads of UDP datagrams: addresses, times and texts in them, one file for each protocol.
//!
//! A protocol gets a copy of the payload, and says `None` where it can't be decoded: then the datagram stays as it was, and is counted. What it
//! changed is put into the frame, with lengths and checksums. Start at [`State::rewrite`].

mod dhcp;
mod dns;
mod flows;
mod radius;
mod sip;
mod snmp;
mod syslog;
mod templates;
mod time;

pub use templates::{TemplateLearner, Templates};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use self::flows::{Decoded, Flows};
use super::Table;
use super::prefix::PrefixMap;
use super::rewrite_stats::{Left, RewriteStats};
use crate::capture::Frame;
use crate::packet::bytes::{array, be16, put};
use crate::packet::checksum::{Accumulator, Change, Field};
use crate::packet::crc;
use crate::packet::layers::{Fragment, Ip, Layers, Network, lengths_before_ip, protocol, right_fcs};
use crate::scenario::rewrite::{PayloadProtocol, PayloadRule, Rewrite};

/// The protocols that a scenario asks for, and the maps of addresses in them.
#[derive(Debug, Clone)]
pub(super) struct Payloads {
    rules: Vec<Rule>,
    /// Ports, and their rule's place.
    ports: Vec<(u16, usize)>,
    maps: AddressMaps,
    /// What changes in flow exports, whatever port they go to.
    flows: Option<Flows>,
}

/// One protocol, and its entry.
#[derive(Debug, Clone)]
struct Rule {
    protocol: Protocol,
    entry: usize,
}

#[derive(Debug, Clone)]
enum Protocol {
    Dns,
    Dhcp,
    Snmp,
    Radius(radius::Secret),
    Sip,
    Syslog(syslog::Syslog),
}

/// What addresses become wherever a payload has them: the prefixes of all tables.
#[derive(Debug, Clone)]
pub(super) struct AddressMaps {
    pub(super) v4: PrefixMap<u32>,
    pub(super) v6: PrefixMap<u128>,
}

impl AddressMaps {
    /// What an address becomes, and by which entry. The unspecified one means that there is none, and stays.
    fn map(&self, address: IpAddr) -> Option<(IpAddr, usize)> {
        match address {
            _ if address.is_unspecified() => None,
            IpAddr::V4(old) => {
                self.v4.map(old.to_bits()).map(|(new, entry)| (IpAddr::V4(Ipv4Addr::from_bits(new)), entry))
            }
            IpAddr::V6(old) => {
                self.v6.map(old.to_bits()).map(|(new, entry)| (IpAddr::V6(Ipv6Addr::from_bits(new)), entry))
            }
        }
    }
}

impl Payloads {
    /// How many exporters there are for each captured one.
    pub(super) fn copies(&self) -> u32 {
        self.flows.as_ref().map_or(1, Flows::copies)
    }

    /// The entry that has exporters copied.
    pub(super) fn copies_entry(&self) -> Option<usize> {
        self.flows.as_ref().and_then(Flows::copies_entry)
    }

    /// Whether frames are made that the capture doesn't have.
    pub(super) fn makes_frames(&self) -> bool {
        self.flows.as_ref().is_some_and(|flows| flows.copies() > 1 || flows.templates_entry().is_some())
    }

    /// What a scenario says, whose entries `entry` makes; `None` where it says nothing.
    pub(super) fn new(
        rewrite: &Rewrite,
        maps: AddressMaps,
        mut entry: impl FnMut(Table, &'static str, &Range<usize>) -> usize,
    ) -> Option<Self> {
        let rules = &rewrite.payload;
        let ports =
            rules.iter().enumerate().flat_map(|(index, rule)| rule.ports.iter().map(move |port| (*port, index)));
        let ports = ports.collect();
        let compile = |rule: &PayloadRule| Rule {
            protocol: match &rule.protocol {
                PayloadProtocol::Dns => Protocol::Dns,
                PayloadProtocol::Dhcp => Protocol::Dhcp,
                PayloadProtocol::Snmp => Protocol::Snmp,
                PayloadProtocol::Radius { secret } => Protocol::Radius(radius::Secret::new(secret)),
                PayloadProtocol::Sip => Protocol::Sip,
                PayloadProtocol::Syslog { time, replace } => Protocol::Syslog(syslog::Syslog::new(*time, replace)),
            },
            entry: entry(Table::Payload, rule.protocol.word(), &rule.span),
        };
        let rules: Vec<Rule> = rules.iter().map(compile).collect();
        let flows = rewrite.flows.as_ref();
        let flows = flows.map(|words| Flows::new(words, |word, span| entry(Table::Flows, word, span)));
        (!rules.is_empty() || flows.is_some()).then_some(Self { rules, ports, maps, flows })
    }

    fn rule(&self, ports: [u16; 2]) -> Option<&Rule> {
        let [source, destination] = ports;
        let of = |wanted| self.ports.iter().find(|(port, _)| *port == wanted);
        let (_, index) = of(destination).or_else(|| of(source))?;
        self.rules.get(*index)
    }
}

/// A payload while a protocol rewrites it.
pub(super) struct Datagram<'a> {
    /// Its bytes, to be changed.
    pub(super) bytes: &'a mut Vec<u8>,
    /// When it was captured, in nanoseconds since 1970.
    pub(super) time_ns: u64,
    /// Source and destination, with ports, as captured.
    pub(super) endpoints: [(IpAddr, u16); 2],
    maps: &'a AddressMaps,
    hits: &'a mut Vec<usize>,
    /// Whether a sequence number in it stays, since there are too many.
    keeps_a_number: bool,
}

impl Datagram<'_> {
    /// What an address in it becomes; `None` where no map names it.
    pub(super) fn map(&mut self, address: IpAddr) -> Option<IpAddr> {
        let (new, entry) = self.maps.map(address)?;
        self.hits.push(entry);
        Some(new)
    }

    /// Maps the IPv4 address at `at`; `None` where it doesn't lie in the payload.
    pub(super) fn v4_at(&mut self, at: usize) -> Option<()> {
        let old: [u8; 4] = array(self.bytes, at)?;
        if let Some(IpAddr::V4(new)) = self.map(IpAddr::from(old)) {
            put(self.bytes, at, new.octets());
        }
        Some(())
    }

    /// Maps the IPv6 address at `at`; `None` where it doesn't lie in the payload.
    pub(super) fn v6_at(&mut self, at: usize) -> Option<()> {
        let old: [u8; 16] = array(self.bytes, at)?;
        if let Some(IpAddr::V6(new)) = self.map(IpAddr::from(old)) {
            put(self.bytes, at, new.octets());
        }
        Some(())
    }
}

/// What is remembered from one datagram to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    radius: radius::Requests,
    shift: time::Shift,
    flows: flows::State,
    bytes: Vec<u8>,
    hits: Vec<usize>,
}

/// What became of a frame's payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// Nothing, or its length stayed.
    InPlace,
    /// These are the frame's bytes now, and its length on the wire.
    Resized(Vec<u8>, u32),
}

impl State {
    /// Frames with templates that are to be sent before a captured one, each with its length on the wire.
    pub(super) fn templates_before(
        &mut self,
        payloads: &Payloads,
        templates: Option<&Templates>,
        frame: &Frame<'_>,
        stats: &mut RewriteStats,
    ) -> Vec<(Vec<u8>, u32)> {
        let (Some(flows), Some(templates)) = (&payloads.flows, templates) else { return Vec::new() };
        let Some((range, headers)) = templates::headers(frame) else { return Vec::new() };
        let network = Layers::find(frame.link, frame.bytes).network;
        let mut made = Vec::new();
        for header in &headers {
            let is_due = flows.sends_templates(&mut self.flows, header, frame.time_ns);
            if is_due != Some(false) && templates.are_missing(&header.session, is_due.is_none()) {
                stats.leave(Left::FlowTemplates);
            }
            if is_due != Some(true) {
                continue;
            }
            for message in templates.messages(header, frame.number) {
                let mut bytes = frame.bytes.to_vec();
                let mut envelope = Frame { bytes: &mut bytes, ..*frame };
                let original_length = envelope.original_length;
                match replaced(&network, range.clone(), &message, &mut envelope) {
                    Some(Payload::Resized(bytes, original)) => made.push((bytes, original)),
                    Some(Payload::InPlace) => made.push((bytes, original_length)),
                    None => {}
                }
            }
        }
        if let Some(entry) = flows.templates_entry().filter(|_| !made.is_empty()) {
            stats.count(entry);
        }
        made
    }

    /// Which copy of the captured exporters the next frames are of, and whether they are made.
    pub(super) fn is_at(&mut self, copy: u32, is_made: bool) {
        self.flows.is_at(copy, is_made);
    }

    /// Goes on with the first frame of the capture, for its next round.
    pub(super) fn next_round(&mut self) {
        self.shift.next_round();
        self.flows.next_round();
    }

    /// Rewrites the payload of a frame's own UDP datagram, if a rule names one of its ports.
    pub(super) fn rewrite(&mut self, payloads: &Payloads, frame: &mut Frame<'_>, stats: &mut RewriteStats) -> Payload {
        let layers = Layers::find(frame.link, frame.bytes);
        let Some(ip) = layers.network.ip().filter(|ip| ip.protocol == protocol::UDP) else { return Payload::InPlace };
        let Some((source, destination)) = layers.ports(frame.bytes) else { return Payload::InPlace };
        let rule = payloads.rule([source, destination]);
        if rule.is_none() && payloads.flows.is_none() {
            return Payload::InPlace;
        }
        let range = range(ip, frame);
        if rule.is_none() {
            let payload = range.clone().and_then(|range| frame.bytes.get(range));
            if !Flows::take(payload, destination) {
                return Payload::InPlace;
            }
        }
        let Some(range) = range else {
            stats.leave(Left::CutPayload);
            return Payload::InPlace;
        };
        let (Some(captured), Some(addresses)) = (frame.bytes.get(range.clone()), layers.addresses(frame.bytes)) else {
            return Payload::InPlace;
        };
        self.bytes.clear();
        self.bytes.extend_from_slice(captured);
        self.hits.clear();
        let mut datagram = Datagram {
            bytes: &mut self.bytes,
            time_ns: frame.time_ns,
            endpoints: [(addresses.0, source), (addresses.1, destination)],
            maps: &payloads.maps,
            hits: &mut self.hits,
            keeps_a_number: false,
        };
        let decoded = match (rule, &payloads.flows) {
            (Some(rule), _) => match &rule.protocol {
                Protocol::Dns => dns::rewrite(&mut datagram),
                Protocol::Dhcp => dhcp::rewrite(&mut datagram),
                Protocol::Snmp => snmp::rewrite(&mut datagram),
                Protocol::Radius(secret) => radius::rewrite(secret, &mut self.radius, &mut datagram),
                Protocol::Sip => sip::rewrite(&mut datagram),
                Protocol::Syslog(syslog) => syslog.rewrite(&mut self.shift, &mut datagram),
            },
            (None, Some(flows)) => flows.rewrite(&mut self.flows, captured, &mut datagram).map(|decoded| {
                if decoded == Decoded::InPart {
                    stats.leave(Left::FlowRecords);
                }
            }),
            (None, None) => None,
        };
        if datagram.keeps_a_number {
            stats.leave(Left::FlowNumber);
        }
        if decoded.is_none() {
            stats.leave(Left::Payload);
            return Payload::InPlace;
        }
        let is_changed = self.bytes != captured;
        let payload = if is_changed {
            let Some(replaced) = replaced(&layers.network, range, &self.bytes, frame) else {
                stats.leave(Left::Length);
                return Payload::InPlace;
            };
            replaced
        } else {
            Payload::InPlace
        };
        if let Some(rule) = rule.filter(|_| is_changed || !self.hits.is_empty()) {
            stats.count(rule.entry);
        }
        self.hits.iter().for_each(|entry| stats.count(*entry));
        payload
    }
}

/// Where the payload of a UDP datagram lies; `None` where it is cut, in fragments, or has no usable length.
fn range(ip: &Ip, frame: &Frame<'_>) -> Option<Range<usize>> {
    let length = usize::from(be16(frame.bytes, ip.payload + 4)?);
    let end = ip.payload.checked_add(length)?;
    (ip.fragment == Fragment::Whole && ip.length > 0 && length >= 8 && end <= ip.end).then_some(ip.payload + 8..end)
}

/// Puts `new` in the place of the payload at `range`, with the lengths and checksums of UDP and IP, and the lengths before IP: a checksum that was
/// wrong stays wrong. `None` where the packet would be too long for its length fields.
fn replaced(network: &Network, range: Range<usize>, new: &[u8], frame: &mut Frame<'_>) -> Option<Payload> {
    let (ip, is_v4) = match network {
        Network::Ipv4(ip) => (ip, true),
        Network::Ipv6(ip) => (ip, false),
        Network::None | Network::Arp { .. } => return None,
    };
    let fcs = right_fcs(frame.link, frame.bytes);
    let sum = |bytes: &[u8]| Accumulator::default().add(bytes).fold();
    let mut change = Change::word(sum(frame.bytes.get(range.clone())?), sum(new));
    let mut resized = None;
    if new.len() == range.len() {
        frame.bytes.get_mut(range.clone())?.copy_from_slice(new);
    } else {
        let udp_length = u16::try_from(8 + new.len()).ok()?;
        let ip_field = if is_v4 { ip.offset + 2 } else { ip.offset + 4 };
        let old_length = be16(frame.bytes, ip_field)?;
        let ip_length = u16::try_from((usize::from(old_length) + new.len()).checked_sub(range.len())?).ok()?;
        let original = u32::try_from((frame.original_length as usize + new.len()).checked_sub(range.len())?).ok()?;
        let before = lengths_before_ip(frame.link, frame.bytes);
        let mut bytes = [frame.bytes.get(..range.start)?, new, frame.bytes.get(range.end..)?].concat();
        let old_udp_length = be16(&bytes, ip.payload + 4)?;
        put(&mut bytes, ip.payload + 4, udp_length.to_be_bytes());
        put(&mut bytes, ip_field, ip_length.to_be_bytes());
        for (at, most) in before.into_iter().flatten() {
            let length = (usize::from(be16(&bytes, at)?) + new.len()).checked_sub(range.len())?;
            let length = u16::try_from(length).ok().filter(|length| *length <= most)?;
            put(&mut bytes, at, length.to_be_bytes());
        }
        if is_v4 {
            let header = be16(&bytes, ip.offset + 10)?;
            let new_header = Change::word(old_length, ip_length).update(header);
            put(&mut bytes, ip.offset + 10, new_header.to_be_bytes());
        }
        // The length is in UDP's header, and in the pseudo-header (RFC 768, RFC 8200 §8.1).
        let length = Change::word(old_udp_length, udp_length);
        change = change.and(length).and(length);
        resized = Some((bytes, original));
    }
    let bytes: &mut [u8] = match &mut resized {
        Some((bytes, _)) => bytes,
        None => frame.bytes,
    };
    if let Some(field) = Field::find(network, bytes)
        && let Some(old) = be16(bytes, field.at).filter(|old| *old != 0)
    {
        put(bytes, field.at, field.written(change.update(old)).to_be_bytes());
    }
    if let Some(from) = fcs
        && let Some((covered, fcs)) = bytes.split_last_chunk_mut()
    {
        *fcs = crc::ETHERNET.of(covered.iter().skip(from).copied()).to_le_bytes();
    }
    Some(resized.map_or(Payload::InPlace, |(bytes, original)| Payload::Resized(bytes, original)))
}
