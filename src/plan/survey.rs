//! The survey: what one pass over a capture's rewritten frames says, in bounded memory.
//!
//! Frames are put into classes by everything that decides what becomes of them; `predict` decides that when the site's addresses are
//! known. Where there are more classes than [`MOST_CLASSES`], a second pass, which knows the site, puts the frames of the further ones
//! together by their fate ([`Survey::at`]).

mod open;
mod reassembly;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::capture::FrameRanges;
use crate::flow::Format;
use crate::host::Host;
use crate::packet::MacAddr;
use crate::packet::checksum::{Accumulator, Sum, transport_sum};
use crate::packet::datagram_sum::DatagramSum;
use crate::packet::fragments::{Came, Fragments};
use crate::packet::layers::{Datagram, Fragment, Ip, LinkType, Network, UDP_HEADER, protocol as ip_protocol};
use crate::predict::{
    self, Carried, Class, ClassKey, Flaw, Merged, Received, Tags, flaw, headers, received, ttl_expired,
};
use crate::rewrite::Prepared;
use crate::rewrite::Unframed;
use open::Open;
pub use reassembly::Reassembly;

/// Hashing takes most of the time where there are many classes; foldhash is faster than SipHash, and seeded at random as well.
type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// How many classes are distinguished; frames of further ones are counted together, and reported so.
pub const MOST_CLASSES: usize = 16_384;
/// How many places of classes are found without hashing.
const RECENT: usize = 256;
/// How many addresses or MACs are remembered.
pub const MOST_ENDPOINTS: usize = 65_536;
/// How many unfinished fragmented datagrams are followed at once.
const MOST_OPEN_DATAGRAMS: usize = 4_096;

/// What one pass over the rewritten frames says.
#[derive(Debug, Clone)]
pub struct Survey {
    classes: Vec<Class>,
    places: HashMap<ClassKey, usize>,
    /// Places of classes that occurred lately, by a few bits of their keys: most frames find theirs without hashing.
    recent: [usize; RECENT],
    /// The receiver, where it is known.
    host: Option<Host>,
    /// Places of the classes that others were put together in.
    merged: HashMap<Merged, usize>,
    /// Frames of classes beyond [`MOST_CLASSES`], where the site isn't known.
    pub unclassed: FrameRanges,
    /// Unicast destination addresses.
    pub destinations: BTreeSet<IpAddr>,
    /// Whether there were more.
    pub destinations_cut: bool,
    /// Group destination addresses.
    pub groups: BTreeSet<IpAddr>,
    /// UDP destination ports, by whether the address is IPv6.
    pub udp_ports: BTreeSet<(u16, bool)>,
    /// Those of the last frame that has some: most frames repeat them.
    last_destination: Option<IpAddr>,
    last_udp_port: Option<(u16, bool)>,
    /// Unicast destination MACs, with their counts.
    pub macs: BTreeMap<MacAddr, u64>,
    /// Frames whose layer 3 packet is longer than the MTU.
    pub oversize: FrameRanges,
    /// The longest layer 3 packet, in bytes.
    pub longest: u32,
    /// Frames of UDP datagrams (fragments too).
    pub udp_frames: FrameRanges,
    /// Those of them that are inside something that the receiver's stack does not look into, such as MPLS.
    pub hidden_udp_frames: FrameRanges,
    /// Frames that are no part of a UDP datagram.
    pub other_frames: FrameRanges,
    /// TCP segments.
    pub tcp_frames: u64,
    /// Whether a UDP datagram may be a flow export: its first bytes say so, or it is in fragments.
    pub may_have_flows: bool,
    /// Frames whose TCP or UDP checksum was left to an offloading interface.
    pub offload: FrameRanges,
    /// Bytes of all frames.
    pub bytes: u64,
    /// The first fragment that the receiver's stack puts together with others.
    pub fragment: Option<u64>,
    /// The first frame that no Ethernet header was made for, and why.
    pub unframed: Option<(u64, LinkType, Unframed)>,
    open: HashMap<Datagram, Open>,
    order: u64,
    reassembly: Reassembly,
}

/// What a frame adds to the counts of its class.
#[derive(Debug, Clone, Copy)]
struct Counted {
    datagrams: u64,
    packets: u64,
}

impl Counted {
    /// No IP packet, or a part of one that is counted elsewhere.
    const NOTHING: Self = Self { datagrams: 0, packets: 0 };

    /// A packet, or all fragments of one.
    fn packet(key: &ClassKey) -> Self {
        Self { datagrams: u64::from(key.is_udp()), packets: 1 }
    }
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            classes: Vec::new(),
            places: HashMap::default(),
            recent: [usize::MAX; RECENT],
            host: None,
            merged: HashMap::default(),
            unclassed: FrameRanges::default(),
            destinations: BTreeSet::new(),
            destinations_cut: false,
            groups: BTreeSet::new(),
            udp_ports: BTreeSet::new(),
            last_destination: None,
            last_udp_port: None,
            macs: BTreeMap::new(),
            oversize: FrameRanges::default(),
            longest: 0,
            udp_frames: FrameRanges::default(),
            hidden_udp_frames: FrameRanges::default(),
            other_frames: FrameRanges::default(),
            tcp_frames: 0,
            may_have_flows: false,
            offload: FrameRanges::default(),
            bytes: 0,
            fragment: None,
            unframed: None,
            open: HashMap::default(),
            order: 0,
            reassembly: Reassembly::default(),
        }
    }
}

impl Survey {
    /// A survey for a receiver that is known, where it is, with this timeout of its reassembly.
    pub fn at(host: Option<Host>, reassembly: Reassembly) -> Self {
        Self { host, reassembly, ..Self::default() }
    }

    /// Adds a frame as it will be sent over an interface of this MTU, so long after the first one.
    pub fn add(&mut self, frame: &Prepared<'_>, mtu: u32, after: Duration) {
        self.bytes += frame.bytes.len() as u64;
        if let Some(why) = frame.unframed {
            self.unframed.get_or_insert((frame.number, frame.layers.link, why));
        }
        let packet = u32::try_from(frame.layers.packet_length(frame.bytes.len())).unwrap_or(u32::MAX);
        self.longest = self.longest.max(packet);
        if packet > mtu {
            self.oversize.add(frame.number);
        }
        let Some((mac, _)) = frame.layers.macs(frame.bytes) else {
            let carried = Carried::Other { ethertype: None };
            self.other_frames.add(frame.number);
            let flaw = Flaw::NoEthernetHeader;
            let key =
                ClassKey { mac: MacAddr::default(), tags: Tags::None, in_vlan: false, carried, spent: false, flaw };
            return self.put(key, frame.number, Counted::NOTHING);
        };
        if !mac.is_multicast() && (self.macs.len() < MOST_ENDPOINTS || self.macs.contains_key(&mac)) {
            *self.macs.entry(mac).or_default() += 1;
        }
        let seen = received(&frame.layers, frame.bytes);
        match frame.layers.network {
            Network::Ipv4(ip) | Network::Ipv6(ip) => self.add_ip(frame, ip, mac, seen, after),
            Network::Arp { .. } | Network::None => {
                self.other_frames.add(frame.number);
                self.add_other(frame, mac, seen);
            }
        }
    }

    /// A frame in which the receiver's stack finds no IP packet that it can read.
    fn add_other(&mut self, frame: &Prepared<'_>, mac: MacAddr, seen: Received) {
        let Received { tags, in_vlan, ethertype } = seen;
        let broken = matches!(ethertype, Some(0x0800 | 0x86dd));
        // What follows the Ethernet header and the tags that the kernel takes off is long enough for an IPv6 header, and has another version.
        let packet = frame.bytes.get(frame.bytes.len().saturating_sub(frame.layers.packet_length(frame.bytes.len()))..);
        let another = packet.is_some_and(|packet| packet.len() >= 40 && packet[0] >> 4 != 6);
        let flaw = match ethertype {
            Some(0x86dd) if another => Flaw::Version,
            _ if broken => Flaw::Header,
            _ => Flaw::None,
        };
        let key = ClassKey { mac, tags, in_vlan, carried: Carried::Other { ethertype }, spent: false, flaw };
        self.put(key, frame.number, Counted { datagrams: 0, packets: u64::from(broken) });
    }

    fn add_ip(&mut self, frame: &Prepared<'_>, ip: Ip, mac: MacAddr, seen: Received, after: Duration) {
        let Some((source, destination)) = frame.layers.addresses(frame.bytes) else { return };
        if self.last_destination == Some(destination) {
            // It is there already.
        } else if destination.is_multicast() {
            if self.groups.len() < MOST_ENDPOINTS {
                self.groups.insert(destination);
            }
        } else if !is_limited_broadcast(destination) && !destination.is_loopback() {
            if self.destinations.len() < MOST_ENDPOINTS {
                self.destinations.insert(destination);
            } else {
                self.destinations_cut |= !self.destinations.contains(&destination);
            }
        }
        self.last_destination = Some(destination);
        let port = frame.layers.ports(frame.bytes).map(|(_, port)| port);
        let udp = ip.protocol == ip_protocol::UDP;
        if udp {
            self.udp_frames.add(frame.number);
            self.may_have_flows = self.may_have_flows || may_be_flows(frame.bytes, ip);
            let port = port.map(|port| (port, destination.is_ipv6()));
            if let Some(port) = port.filter(|_| port != self.last_udp_port) {
                self.udp_ports.insert(port);
                self.last_udp_port = Some(port);
            }
        } else {
            self.other_frames.add(frame.number);
            self.tcp_frames += u64::from(ip.protocol == ip_protocol::TCP);
        }
        if !matches!((seen.ethertype, source), (Some(0x0800), IpAddr::V4(_)) | (Some(0x86dd), IpAddr::V6(_))) {
            if udp {
                self.hidden_udp_frames.add(frame.number);
            }
            return self.add_other(frame, mac, seen);
        }
        let Received { tags, in_vlan, .. } = seen;
        let packet = frame.bytes.get(ip.offset..ip.end).unwrap_or_default();
        let six = destination.is_ipv6().then(|| headers::six(packet, mac.is_multicast()));
        let protocol = six.as_ref().map_or(ip.protocol, |six| six.protocol);
        let port = port.filter(|_| protocol == ip.protocol);
        let carried = Carried::Ip { source, destination, protocol, port };
        let flaw = flaw(frame, ip, six.as_ref());
        let key = ClassKey { mac, tags, in_vlan, carried, spent: ttl_expired(frame, ip), flaw };
        let left_to_the_card = match key.flaw {
            Flaw::UdpSumOffload | Flaw::TcpSumOffload => true,
            // What is found before the checksum hides it.
            Flaw::Header | Flaw::Length | Flaw::LengthCaptured | Flaw::HeaderSum | Flaw::SourceRoute(_)
                if ip.protocol == ip_protocol::TCP =>
            {
                transport_sum(&frame.layers.network, frame.bytes, frame.original_length) == Sum::Offload
            }
            _ => false,
        };
        if left_to_the_card {
            self.offload.add(frame.number);
        }
        // Fragments that the kernel refuses one by one, before it puts them together; and those behind a header that it does not look into.
        let at_once = six.as_ref().is_none_or(|six| six.at_once);
        let is_hidden = six.as_ref().is_some_and(|six| six.fragment.is_none());
        match ip.fragment {
            _ if is_hidden => self.put(key, frame.number, Counted::packet(&key)),
            Fragment::First { .. } | Fragment::Later { .. } if matches!(flaw, Flaw::Refused(_)) && at_once => {
                self.put(key, frame.number, Counted { datagrams: 0, packets: 1 });
            }
            Fragment::Whole => self.put(key, frame.number, Counted::packet(&key)),
            // It is dropped before reassembly; the other fragments of its datagram wait for it until they time out.
            Fragment::First { .. } | Fragment::Later { .. }
                if matches!(key.flaw, Flaw::HeaderSum | Flaw::Length | Flaw::LengthCaptured | Flaw::Header) =>
            {
                self.put(key, frame.number, Counted::NOTHING);
            }
            Fragment::First { .. } | Fragment::Later { .. } => {
                let begins = six.and_then(|six| six.fragment).map_or(ip.payload, |begins| ip.offset + begins);
                self.add_fragment(frame, key, ip, begins, after);
            }
        }
    }

    /// `begins`: where the bytes begin that are put together with those of other fragments.
    fn add_fragment(&mut self, frame: &Prepared<'_>, key: ClassKey, ip: Ip, begins: usize, after: Duration) {
        let (offset, last) = match ip.fragment {
            Fragment::Later { offset, last, .. } => (offset, last),
            Fragment::First { .. } | Fragment::Whole => (0, false),
        };
        let Some(datagram) = frame.layers.network.datagram(frame.bytes) else { return };
        self.fragment.get_or_insert(frame.number);
        let six = matches!(frame.layers.network, Network::Ipv6(_));
        if let Some(open) = self.open.get(&datagram) {
            let age = after.saturating_sub(open.begun);
            if self.reassembly.is_over(six, age) {
                self.give_up(datagram, Flaw::FragmentMissing);
            } else {
                self.reassembly.joined(age);
            }
        }
        if self.open.len() >= MOST_OPEN_DATAGRAMS
            && !self.open.contains_key(&datagram)
            && let Some(oldest) = self.open.iter().min_by_key(|(_, open)| open.order).map(|(datagram, _)| *datagram)
        {
            self.give_up(oldest, Flaw::FragmentMissing);
        }
        self.order += 1;
        let bytes = ip.end.saturating_sub(begins) as u64;
        let open = self.open.entry(datagram).or_insert_with(|| Open {
            any: key,
            key: None,
            frames: FrameRanges::default(),
            fragments: Fragments::default(),
            order: self.order,
            begun: after,
            sum: Accumulator::default(),
            datagram: None,
        });
        let came = open.fragments.add(u64::from(offset), bytes, last);
        if came == Came::Again {
            let key = ClassKey { flaw: Flaw::FragmentRepeated, ..key };
            return self.put(key, frame.number, Counted::NOTHING);
        }
        open.frames.add(frame.number);
        let payload = if offset == 0 { ip.payload } else { begins };
        open.sum = open.sum.add(frame.bytes.get(payload..ip.end).unwrap_or_default());
        if offset == 0 {
            open.key = Some(key);
            open.datagram = DatagramSum::begin(&frame.layers.network, frame.bytes, begins);
        }
        let whole = open.fragments.is_whole();
        match (came, open.key) {
            (Came::Overlapping, _) => self.give_up(datagram, Flaw::FragmentOverlaps),
            (_, Some(key)) if whole => {
                if let Some(open) = self.open.remove(&datagram) {
                    self.reassembly.whole(after.saturating_sub(open.begun));
                    let key = ClassKey { flaw: open.flaw(&key), ..key };
                    self.put_all(key, &open.frames, Counted::packet(&key));
                }
            }
            _ => {}
        }
    }

    /// The datagram stays unfinished.
    fn give_up(&mut self, datagram: Datagram, flaw: Flaw) {
        let Some(open) = self.open.remove(&datagram) else { return };
        let key = ClassKey { flaw, ..open.key.unwrap_or(open.any) };
        self.put_all(key, &open.frames, Counted::packet(&key));
    }

    fn put(&mut self, key: ClassKey, number: u64, counted: Counted) {
        match self.class(key) {
            Some(class) => {
                class.frames.add(number);
                class.datagrams += counted.datagrams;
                class.packets += counted.packets;
                if counted.packets > 0 {
                    class.fewest_frames = 1;
                    class.most_frames = class.most_frames.max(1);
                }
            }
            None => self.unclassed.add(number),
        }
    }

    fn put_all(&mut self, key: ClassKey, frames: &FrameRanges, counted: Counted) {
        match self.class(key) {
            Some(class) => {
                class.frames.merge(frames);
                class.datagrams += counted.datagrams;
                class.packets += counted.packets;
                if counted.packets > 0 {
                    let each = u32::try_from(frames.count()).unwrap_or(u32::MAX);
                    class.fewest_frames = class.fewest_frames.min(each);
                    class.most_frames = class.most_frames.max(each);
                }
            }
            None => self.unclassed.merge(frames),
        }
    }

    /// The class of this key, which begins with its first frame. Where there are too many, the one of its fate, or `None` where the
    /// receiver isn't known.
    fn class(&mut self, key: ClassKey) -> Option<&mut Class> {
        let slot = key.few_bits() % RECENT;
        let recent = self.recent[slot];
        if self.classes.get(recent).is_some_and(|class| class.key == key && !class.merged) {
            return self.classes.get_mut(recent);
        }
        let place = match self.places.get(&key) {
            Some(place) => *place,
            None if self.places.len() < MOST_CLASSES => {
                self.places.insert(key, self.classes.len());
                self.classes.push(Class { fewest_frames: u32::MAX, most_frames: 0, ..Class::new(key) });
                self.classes.len() - 1
            }
            None => {
                let place = self.place_by_fate(key)?;
                return self.classes.get_mut(place);
            }
        };
        self.recent[slot] = place;
        self.classes.get_mut(place)
    }

    /// The place of the class that a key beyond the limit is put to.
    fn place_by_fate(&mut self, key: ClassKey) -> Option<usize> {
        let (disposition, stage) = predict::disposition(&key, self.host.as_ref()?);
        let (ip, ethertype) = match key.carried {
            Carried::Ip { destination, protocol, port, .. } => {
                // Once there are many of these as well, ports are put together, too.
                let port = port.filter(|_| self.merged.len() < MOST_CLASSES);
                (Some((destination.is_ipv6(), protocol, port, destination.is_multicast())), None)
            }
            Carried::Other { ethertype } => (None, ethertype),
        };
        let merged = Merged { disposition, stage, flaw: key.flaw, tags: key.tags, ip, ethertype };
        Some(*self.merged.entry(merged).or_insert_with(|| {
            self.classes.push(Class { fewest_frames: u32::MAX, most_frames: 0, merged: true, ..Class::new(key) });
            self.classes.len() - 1
        }))
    }

    /// Whether datagrams of which fragments are missing wait for them: what is sent next may complete them.
    pub fn awaits_fragments(&self) -> bool {
        !self.open.is_empty()
    }

    /// Where the IP packets come from that the receiver's stack finds, as far as their classes are distinguished.
    pub fn sources(&self) -> BTreeSet<IpAddr> {
        let source = |key: &ClassKey| match key.carried {
            Carried::Ip { source, .. } => Some(source),
            Carried::Other { .. } => None,
        };
        self.places.keys().chain(self.open.values().map(|open| &open.any)).filter_map(source).collect()
    }

    /// What the fragments need of the receiver's reassembly.
    pub fn reassembly(&self) -> &Reassembly {
        &self.reassembly
    }

    /// All classes, in the order of their first frames. Datagrams that are still unfinished stay so.
    pub fn finish(&mut self) -> Vec<Class> {
        let unfinished: Vec<Datagram> = self.open.keys().copied().collect();
        for datagram in unfinished {
            self.give_up(datagram, Flaw::FragmentMissing);
        }
        let mut classes = std::mem::take(&mut self.classes);
        self.places.clear();
        self.merged.clear();
        for class in &mut classes {
            // Where nothing but repeated fragments is in it, no packet is counted.
            class.most_frames = class.most_frames.max(1);
            class.fewest_frames = class.fewest_frames.min(class.most_frames);
            // Rounds through the capture begin again at the first frame.
            class.frames = FrameRanges::union([&class.frames]);
        }
        classes.sort_by_key(|class| (class.frames.first(), class.key));
        classes
    }
}

fn may_be_flows(frame: &[u8], ip: Ip) -> bool {
    ip.fragment != Fragment::Whole || Format::claimed(frame, ip.payload + UDP_HEADER).is_some()
}

/// 255.255.255.255 (RFC 919 §7).
pub fn is_limited_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

#[cfg(test)]
mod tests;
