//! The survey: what one pass over a capture's rewritten frames says, in bounded memory.
//!
//! Frames are put into classes by everything that decides their fate; the fate itself is told by `fate`, when the site's
//! addresses are known.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::frame_ranges::FrameRanges;
use super::stream::Prepared;
use crate::packet::MacAddr;
use crate::packet::checksum::{Sum, ip_header_sum, transport_sum};
use crate::packet::layers::{Datagram, Fragment, Ip, Network, protocol as ip_protocol};

/// How many classes are told apart; frames of further ones are counted together, and said.
pub const MOST_CLASSES: usize = 16_384;
/// How many places of classes are found without hashing.
const RECENT: usize = 256;
/// How many addresses or MACs are remembered.
pub const MOST_ENDPOINTS: usize = 65_536;
/// How many unfinished fragmented datagrams are followed at once.
const MOST_OPEN_DATAGRAMS: usize = 4_096;

/// What is wrong with a packet whoever receives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// Nothing that shows.
    None,
    /// Under 14 bytes.
    NoEthernetHeader,
    /// The IP header is too short, of the wrong version, or its lengths contradict each other.
    Header,
    /// The IP length is beyond the end of the frame.
    Length,
    /// The IPv4 header checksum is wrong.
    HeaderSum,
    /// A source-route option.
    SourceRoute,
    /// The UDP length does not fit the packet.
    UdpLength,
    /// The UDP checksum is wrong.
    UdpSum,
    /// The UDP checksum was left to an offloading interface: stored is the pseudo-header's sum.
    UdpSumOffload,
    /// UDP over IPv6 without a checksum.
    UdpSumAbsent,
    /// A fragment of a datagram that the capture does not hold whole.
    FragmentMissing,
}

/// What layer 3 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carried {
    /// An IP packet.
    Ip {
        /// Source address.
        source: IpAddr,
        /// Destination address.
        destination: IpAddr,
        /// IP protocol.
        protocol: u8,
        /// Destination port of UDP and TCP; `None` for later fragments, and where it isn't there.
        port: Option<u16>,
    },
    /// Another `EtherType` (ARP: 0x0806), or an IP packet whose header can't be read.
    Other {
        /// `None` for 802.3 length fields.
        ethertype: Option<u16>,
    },
}

/// Everything that decides a frame's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassKey {
    /// Destination MAC.
    pub mac: MacAddr,
    /// Whether it has VLAN tags.
    pub tagged: bool,
    /// Layer 3.
    pub carried: Carried,
    /// What is wrong with it.
    pub flaw: Flaw,
}

impl ClassKey {
    /// A few bits in which keys of one capture differ, cheaply.
    fn few_bits(&self) -> usize {
        let last = |address: IpAddr| match address {
            IpAddr::V4(address) => u32::from(address),
            IpAddr::V6(address) => (u128::from(address) & 0xffff_ffff) as u32,
        };
        let bits = match self.carried {
            Carried::Ip { source, destination, port, .. } => {
                let (source, destination) = (last(source), last(destination));
                source ^ source >> 8 ^ destination.rotate_left(3) ^ u32::from(port.unwrap_or(0)).rotate_left(5)
            }
            Carried::Other { ethertype } => u32::from(ethertype.unwrap_or(0)),
        };
        (bits ^ bits >> 16) as usize
    }

    fn is_udp(&self) -> bool {
        matches!(self.carried, Carried::Ip { protocol: ip_protocol::UDP, .. })
    }
}

/// A class and the frames in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// What they share.
    pub key: ClassKey,
    /// The frames.
    pub frames: FrameRanges,
    /// UDP datagrams among them: each whole packet is one, the fragments of one together are one.
    pub datagrams: u64,
}

/// What one pass over the rewritten frames says.
#[derive(Debug, Clone)]
pub struct Survey {
    classes: Vec<Class>,
    places: HashMap<ClassKey, usize>,
    /// Places of classes that occurred lately, by a few bits of their keys: most frames find theirs without hashing.
    recent: [usize; RECENT],
    /// Frames of classes beyond [`MOST_CLASSES`].
    pub unclassed: FrameRanges,
    /// Unicast destination addresses.
    pub destinations: BTreeSet<IpAddr>,
    /// Whether there were more.
    pub destinations_cut: bool,
    /// Group destination addresses.
    pub groups: BTreeSet<IpAddr>,
    /// UDP destination ports, by whether the address is IPv6.
    pub udp_ports: BTreeSet<(u16, bool)>,
    /// Unicast destination MACs, with their counts.
    pub macs: BTreeMap<MacAddr, u64>,
    /// Frames whose layer 3 packet is longer than the MTU.
    pub oversize: FrameRanges,
    /// The longest layer 3 packet, in bytes.
    pub longest: u32,
    /// Frames of UDP datagrams (fragments too).
    pub udp_frames: FrameRanges,
    /// Frames that are no part of a UDP datagram.
    pub other_frames: FrameRanges,
    /// TCP segments.
    pub tcp_frames: u64,
    /// Frames whose TCP or UDP checksum was left to an offloading interface.
    pub offload: FrameRanges,
    /// Bytes of all frames.
    pub bytes: u64,
    /// Frames whose link type is not Ethernet.
    pub not_ethernet: Option<(u64, u16)>,
    open: HashMap<Datagram, Open>,
    order: u64,
}

#[derive(Debug, Clone)]
struct Open {
    /// Key of the fragment that came first.
    any: ClassKey,
    /// Key of the datagram's class when it is whole; from the first fragment.
    key: Option<ClassKey>,
    frames: FrameRanges,
    /// Payload bytes that came.
    have: u64,
    /// Payload bytes in all, known from the last fragment.
    whole: Option<u64>,
    order: u64,
}

impl Default for Survey {
    fn default() -> Self {
        Self {
            classes: Vec::new(),
            places: HashMap::new(),
            recent: [usize::MAX; RECENT],
            unclassed: FrameRanges::default(),
            destinations: BTreeSet::new(),
            destinations_cut: false,
            groups: BTreeSet::new(),
            udp_ports: BTreeSet::new(),
            macs: BTreeMap::new(),
            oversize: FrameRanges::default(),
            longest: 0,
            udp_frames: FrameRanges::default(),
            other_frames: FrameRanges::default(),
            tcp_frames: 0,
            offload: FrameRanges::default(),
            bytes: 0,
            not_ethernet: None,
            open: HashMap::new(),
            order: 0,
        }
    }
}

impl Survey {
    /// Adds a frame as it will be sent over an interface of this MTU.
    pub fn add(&mut self, frame: &Prepared<'_>, mtu: u32) {
        self.bytes += frame.bytes.len() as u64;
        if frame.layers.link != crate::packet::layers::LinkType::ETHERNET {
            self.not_ethernet.get_or_insert((frame.number, frame.layers.link.0));
        }
        let packet = u32::try_from(frame.layers.packet_length(frame.bytes.len())).unwrap_or(u32::MAX);
        self.longest = self.longest.max(packet);
        if packet > mtu {
            self.oversize.add(frame.number);
        }
        let Some((mac, _)) = frame.layers.macs(frame.bytes) else {
            let carried = Carried::Other { ethertype: None };
            self.other_frames.add(frame.number);
            let key = ClassKey { mac: MacAddr::default(), tagged: false, carried, flaw: Flaw::NoEthernetHeader };
            return self.put(key, frame.number, 0);
        };
        if !mac.is_group() && (self.macs.len() < MOST_ENDPOINTS || self.macs.contains_key(&mac)) {
            *self.macs.entry(mac).or_default() += 1;
        }
        let tagged = frame.layers.vlan_tags > 0;
        match frame.layers.network {
            Network::Ipv4(ip) | Network::Ipv6(ip) => self.add_ip(frame, ip, mac, tagged),
            Network::Arp { .. } | Network::None => {
                self.other_frames.add(frame.number);
                let broken = matches!(frame.layers.ethertype, Some(0x0800 | 0x86dd));
                let carried = Carried::Other { ethertype: frame.layers.ethertype };
                let flaw = if broken { Flaw::Header } else { Flaw::None };
                self.put(ClassKey { mac, tagged, carried, flaw }, frame.number, 0);
            }
        }
    }

    fn add_ip(&mut self, frame: &Prepared<'_>, ip: Ip, mac: MacAddr, tagged: bool) {
        let Some((source, destination)) = frame.layers.addresses(frame.bytes) else { return };
        if destination.is_multicast() {
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
        let port = frame.layers.ports(frame.bytes).map(|(_, port)| port);
        let udp = ip.protocol == ip_protocol::UDP;
        if udp {
            self.udp_frames.add(frame.number);
            if let Some(port) = port {
                self.udp_ports.insert((port, destination.is_ipv6()));
            }
        } else {
            self.other_frames.add(frame.number);
            self.tcp_frames += u64::from(ip.protocol == ip_protocol::TCP);
        }
        let carried = Carried::Ip { source, destination, protocol: ip.protocol, port };
        let key = ClassKey { mac, tagged, carried, flaw: flaw(frame, ip) };
        let left_to_the_card = key.flaw == Flaw::UdpSumOffload
            || ip.protocol == ip_protocol::TCP
                && transport_sum(&frame.layers, frame.bytes, frame.original_length) == Sum::Offload;
        if left_to_the_card {
            self.offload.add(frame.number);
        }
        match ip.fragment {
            Fragment::Whole => self.put(key, frame.number, u64::from(udp)),
            Fragment::First { .. } | Fragment::Later { .. } if matches!(key.flaw, Flaw::HeaderSum | Flaw::Length) => {
                self.put(key, frame.number, 0);
            }
            Fragment::First { .. } => self.add_fragment(frame, key, 0, false, ip),
            Fragment::Later { offset, last, .. } => self.add_fragment(frame, key, offset, last, ip),
        }
    }

    fn add_fragment(&mut self, frame: &Prepared<'_>, key: ClassKey, offset: u32, last: bool, ip: Ip) {
        let Some(datagram) = frame.layers.network.datagram(frame.bytes) else { return };
        if self.open.len() >= MOST_OPEN_DATAGRAMS
            && !self.open.contains_key(&datagram)
            && let Some(oldest) = self.open.iter().min_by_key(|(_, open)| open.order).map(|(datagram, _)| *datagram)
        {
            self.give_up(oldest);
        }
        self.order += 1;
        let bytes = ip.end.saturating_sub(ip.payload) as u64;
        let open = self.open.entry(datagram).or_insert_with(|| Open {
            any: key,
            key: None,
            frames: FrameRanges::default(),
            have: 0,
            whole: None,
            order: self.order,
        });
        open.frames.add(frame.number);
        open.have += bytes;
        if offset == 0 {
            open.key = Some(key);
        }
        if last {
            open.whole = Some(u64::from(offset) + bytes);
        }
        if let (Some(key), Some(whole)) = (open.key, open.whole)
            && open.have >= whole
            && let Some(open) = self.open.remove(&datagram)
        {
            self.put_all(key, &open.frames, u64::from(key.is_udp()));
        }
    }

    /// The datagram stays unfinished.
    fn give_up(&mut self, datagram: Datagram) {
        let Some(open) = self.open.remove(&datagram) else { return };
        let key = ClassKey { flaw: Flaw::FragmentMissing, ..open.key.unwrap_or(open.any) };
        self.put_all(key, &open.frames, u64::from(key.is_udp()));
    }

    fn put(&mut self, key: ClassKey, number: u64, datagrams: u64) {
        match self.class(key) {
            Some(class) => {
                class.frames.add(number);
                class.datagrams += datagrams;
            }
            None => self.unclassed.add(number),
        }
    }

    fn put_all(&mut self, key: ClassKey, frames: &FrameRanges, datagrams: u64) {
        match self.class(key) {
            Some(class) => {
                class.frames.merge(frames);
                class.datagrams += datagrams;
            }
            None => self.unclassed.merge(frames),
        }
    }

    /// The class of this key, which begins with its first frame; `None` where there are too many.
    fn class(&mut self, key: ClassKey) -> Option<&mut Class> {
        let recent = &mut self.recent[key.few_bits() % RECENT];
        if self.classes.get(*recent).is_none_or(|class| class.key != key) {
            let fits = self.classes.len() < MOST_CLASSES;
            *recent = match self.places.get(&key) {
                Some(place) => *place,
                None if fits => {
                    self.places.insert(key, self.classes.len());
                    self.classes.push(Class { key, frames: FrameRanges::default(), datagrams: 0 });
                    self.classes.len() - 1
                }
                None => return None,
            };
        }
        self.classes.get_mut(*recent)
    }

    /// All classes, in the order of their first frames. Datagrams that are still unfinished stay so.
    pub fn finish(&mut self) -> Vec<Class> {
        let unfinished: Vec<Datagram> = self.open.keys().copied().collect();
        for datagram in unfinished {
            self.give_up(datagram);
        }
        let mut classes = std::mem::take(&mut self.classes);
        self.places.clear();
        classes.sort_by_key(|class| (class.frames.first(), class.key));
        classes
    }
}

/// 255.255.255.255 (RFC 919 §7).
pub fn is_limited_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_broadcast())
}

fn flaw(frame: &Prepared<'_>, ip: Ip) -> Flaw {
    let captured = frame.bytes.len();
    let four = matches!(frame.layers.network, Network::Ipv4(_));
    if four && ip.length < ip.payload.saturating_sub(ip.offset) {
        return Flaw::Header;
    }
    if four && ip_header_sum(&frame.layers, frame.bytes) == Sum::Bad {
        return Flaw::HeaderSum;
    }
    if ip.offset + ip.length > captured {
        return Flaw::Length;
    }
    if four && has_source_route(frame.bytes.get(ip.offset + 20..ip.payload).unwrap_or_default()) {
        return Flaw::SourceRoute;
    }
    if ip.protocol != ip_protocol::UDP || ip.fragment != Fragment::Whole {
        return Flaw::None;
    }
    let Some(udp) = frame.bytes.get(ip.payload..ip.end) else { return Flaw::UdpLength };
    let &[_, _, _, _, high, low, sum_high, sum_low, ..] = udp else { return Flaw::UdpLength };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < 8 && (four || length != 0) || length > udp.len() {
        return Flaw::UdpLength;
    }
    if !four && [sum_high, sum_low] == [0, 0] {
        return Flaw::UdpSumAbsent;
    }
    match transport_sum(&frame.layers, frame.bytes, u32::try_from(captured).unwrap_or(u32::MAX)) {
        Sum::Bad => Flaw::UdpSum,
        Sum::Offload => Flaw::UdpSumOffload,
        Sum::None | Sum::Good | Sum::Unverifiable => Flaw::None,
    }
}

/// Whether IPv4 options hold a loose (131) or strict (137) source route (RFC 791 §3.1).
fn has_source_route(options: &[u8]) -> bool {
    let mut rest = options;
    while let [kind, tail @ ..] = rest {
        match (*kind, tail) {
            (0, _) => return false,
            (1, _) => rest = tail,
            (131 | 137, _) => return true,
            (_, [length, ..]) if *length >= 2 => rest = rest.get(usize::from(*length)..).unwrap_or_default(),
            _ => return false,
        }
    }
    false
}
