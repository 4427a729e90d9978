//! What is remembered of the frames while they pass.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::HashMap;
use super::checksums::Checksums;
use super::fragments::Followed;
use super::tables::{Addresses, Conversations, Ports, protocols};
use super::{
    Capture, Endpoint, Finding, Inspection, Link, MacEndpoint, Tally, TimeUnit, Times, Unlisted, Vlan, calendar, names,
    notes,
};
use crate::capture::{Format, Frame, Reader, TimeUnit as Unit};
use crate::packet::MacAddr;
use crate::packet::bytes::be16;
use crate::packet::layers::{Ip, Layers, LinkType, Network};

/// The longest layer 3 packet that an Ethernet without jumbo frames takes.
const MTU: usize = 1500;

/// The counts up to a frame.
#[derive(Debug, Default)]
pub(super) struct Pass {
    frames: u64,
    bytes_captured: u64,
    bytes_original: u64,
    longest: u32,
    links: BTreeMap<LinkType, u64>,
    times: Option<Span>,
    is_fine: bool,
    /// One of the frames for each network: its layers give the name.
    networks: HashMap<Kind, (Layers, Tally)>,
    transports: HashMap<u8, Tally>,
    tunnels: BTreeMap<&'static str, Tally>,
    vlans: BTreeMap<u16, u64>,
    /// Frames with VLAN tags that a filter can look behind, and how many of these they have at most.
    tagged: Finding,
    deepest_tag: usize,
    fragments: Followed,
    checksums: Checksums,
    truncated: Finding,
    length_zero: Finding,
    oversize: Finding,
    backwards: Finding,
    endpoints: Addresses<IpAddr>,
    macs: Addresses<MacAddr>,
    conversations: Conversations,
    ports: Ports,
}

/// What distinguishes networks.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Kind {
    Ipv4,
    Ipv6,
    Arp,
    Other(LinkType, Option<u16>),
}

/// The times of frames, in nanoseconds since 1970.
#[derive(Debug)]
struct Span {
    first: u64,
    last: u64,
    /// Of the frame before.
    before: u64,
}

impl Pass {
    /// Adds a frame.
    pub(super) fn add(&mut self, frame: &Frame<'_>) {
        let layers = Layers::find(frame.link, frame.bytes);
        self.frames += 1;
        self.bytes_captured += frame.bytes.len() as u64;
        self.bytes_original += u64::from(frame.original_length);
        self.longest = self.longest.max(frame.original_length);
        *self.links.entry(frame.link).or_default() += 1;
        self.add_time(frame);
        if (frame.bytes.len() as u64) < u64::from(frame.original_length) {
            self.truncated.add(frame.number);
        }
        if layers.packet_length(frame.original_length as usize) > MTU {
            self.oversize.add(frame.number);
        }
        let kind = match layers.network {
            Network::Ipv4(_) => Kind::Ipv4,
            Network::Ipv6(_) => Kind::Ipv6,
            Network::Arp { .. } => Kind::Arp,
            Network::None => Kind::Other(frame.link, layers.ethertype),
        };
        self.networks.entry(kind).or_insert((layers, Tally::default())).1.add(frame.original_length);
        if let Some((destination, source)) = layers.macs(frame.bytes) {
            self.macs.add(source, destination, frame.original_length);
        }
        if layers.vlan_tags > 0 && frame.link == LinkType::ETHERNET {
            self.tagged.add(frame.number);
            self.deepest_tag = self.deepest_tag.max(layers.vlan_tags);
        }
        for tag in 0..layers.vlan_tags {
            if let Some(control) = layers.vlan_tag(tag).and_then(|at| be16(frame.bytes, at)) {
                *self.vlans.entry(control & 0x0fff).or_default() += 1;
            }
        }
        if let Some(ip) = layers.network.ip() {
            self.add_ip(frame, &layers, ip);
        }
    }

    /// The unit of the time of the frame that was added last.
    pub(super) fn add_unit(&mut self, unit: Unit) {
        self.is_fine |= unit > Unit::Microsecond;
    }

    fn add_time(&mut self, frame: &Frame<'_>) {
        let now = frame.time_ns;
        let span = self.times.get_or_insert(Span { first: now, last: now, before: now });
        if now < span.before {
            self.backwards.add(frame.number);
        }
        *span = Span { first: span.first.min(now), last: span.last.max(now), before: now };
    }

    fn add_ip(&mut self, frame: &Frame<'_>, layers: &Layers, ip: &Ip) {
        let Some(addresses) = layers.addresses(frame.bytes) else { return };
        let bytes = frame.original_length;
        let own_ports = layers.ports(frame.bytes);
        let ports = self.fragments.add(ip, layers.network.datagram(frame.bytes), own_ports);
        self.transports.entry(ip.protocol).or_default().add(bytes);
        self.endpoints.add(addresses.0, addresses.1, bytes);
        self.conversations.add(layers, ip, addresses, ports, bytes);
        if let Some((_, port)) = ports {
            self.ports.add(ip.protocol, port, bytes);
        }
        if let Some(tunnel) = names::tunnel(ip.protocol, ports.map(|ports| ports.1)) {
            self.tunnels.entry(tunnel).or_default().add(bytes);
        }
        if ip.length == 0 && matches!(layers.network, Network::Ipv4(_)) {
            self.length_zero.add(frame.number);
        }
        self.checksums.add(frame, layers, ip);
    }

    /// All that was counted, with what the reader knows of the file.
    pub(super) fn finish(mut self, reader: &Reader) -> Inspection {
        let mut snaplens = Vec::new();
        for (link, snaplen) in reader.described() {
            self.links.entry(link).or_default();
            snaplens.push(snaplen);
        }
        snaplens.sort_unstable();
        snaplens.dedup();
        let (format, is_fine) = match reader.format() {
            Format::Pcap { nanoseconds } => ("pcap", nanoseconds),
            Format::Pcapng => ("pcapng", self.is_fine),
        };
        let time_unit = if is_fine { TimeUnit::Nanosecond } else { TimeUnit::Microsecond };
        let capture = Capture {
            format: format.to_owned(),
            big_endian: reader.is_big_endian(),
            modified: reader.is_modified(),
            time_unit,
        };
        let mut links: Vec<Link> = self
            .links
            .iter()
            .map(|(link, frames)| Link { number: link.0, name: names::link(*link), frames: *frames })
            .collect();
        links.sort_by_key(|link| std::cmp::Reverse(link.frames));
        let mut vlans: Vec<Vlan> = self.vlans.iter().map(|(id, frames)| Vlan { id: *id, frames: *frames }).collect();
        vlans.sort_by_key(|vlan| std::cmp::Reverse(vlan.frames));
        let unlisted = Unlisted {
            endpoints: self.endpoints.unlisted,
            macs: self.macs.unlisted,
            conversations: self.conversations.unlisted,
        };
        let fragments = self.fragments.finish();
        let conversations = self.conversations.finish();
        let tagged = notes::vlan_tags(self.tagged, self.deepest_tag, &conversations);
        let notes = notes::both_directions(&conversations).into_iter().chain(tagged).collect();
        let times = self.times.map(|span| times(&span, self.frames, self.bytes_original, time_unit));
        Inspection {
            format: 1,
            file: reader.path().display().to_string(),
            capture,
            links,
            snaplens,
            frames: self.frames,
            bytes_captured: self.bytes_captured,
            bytes_original: self.bytes_original,
            longest: self.longest,
            times,
            networks: protocols(self.networks.into_values(), |layers| names::network(&layers)),
            transports: protocols(self.transports, names::transport),
            tunnels: protocols(self.tunnels, str::to_owned),
            vlans,
            fragments,
            checksums: self.checksums.finish(),
            truncated: self.truncated,
            length_zero: self.length_zero,
            oversize: self.oversize,
            backwards: self.backwards,
            endpoints: self.endpoints.finish(|address, sent, received| Endpoint { address, sent, received }),
            macs: self.macs.finish(|address, sent, received| MacEndpoint { address, sent, received }),
            conversations,
            ports: self.ports.finish(),
            unlisted,
            notes,
            flows: None,
            damage: None,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an average needs no more than 52 bits")]
fn times(span: &Span, frames: u64, bytes: u64, unit: TimeUnit) -> Times {
    let seconds = (span.last - span.first) as f64 / 1e9;
    let rate = |amount: f64| (seconds > 0.0).then(|| amount / seconds);
    Times {
        first: calendar::rfc3339(span.first, unit),
        last: calendar::rfc3339(span.last, unit),
        seconds,
        pps: rate(frames as f64),
        bits_per_second: rate(bytes as f64 * 8.0),
    }
}
