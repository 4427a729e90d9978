//! The kernel's interfaces, addresses, routes, policy rules and neighbours: rtnetlink(7), by the types of netlink-packet-route. Reading needs no
//! privilege. Start at [`RouteSocket`].

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{
    NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator, ParseableParametrized,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkHeader, LinkInfo, LinkLayerType, LinkMessage, LinkXdp, State, XdpAttached,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHopFlags, RouteVia,
};
use netlink_packet_route::rule::{RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::interface::{InterfaceFacts, InterfaceKind};
use super::netlink::Channel;
use super::routes::{Route, RouteKind};
use crate::packet::MacAddr;

const LINK_HEADER: usize = 16;
/// `IFNAMSIZ` with the closing zero.
const NAME_BYTES: usize = 16;
/// `RT_TABLE_LOCAL` and `RT_TABLE_DEFAULT` of `linux/rtnetlink.h`; `RT_TABLE_MAIN` is between them.
pub(crate) const TABLE_LOCAL: u8 = 255;
const TABLE_DEFAULT: u8 = 253;
/// The priorities of the rules that look up the tables local, main and default.
const USUAL_RULES: [u32; 3] = [0, 32_766, 32_767];

/// A connection to the routing tables and interfaces of the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct RouteSocket(Channel);

impl RouteSocket {
    pub(crate) fn open() -> io::Result<Self> {
        Channel::open(NETLINK_ROUTE).map(Self)
    }

    /// Has the kernel change something. `flags`: `NLM_F_CREATE` and the like.
    pub(crate) fn change(&mut self, message: &RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.0.acknowledged(message.message_type(), flags, &bytes(message))
    }

    pub(crate) fn link_by_name(&mut self, name: &str) -> io::Result<Option<InterfaceFacts>> {
        if name.is_empty() || name.len() >= NAME_BYTES || name.contains('\0') {
            return Ok(None);
        }
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.into()));
        self.link(question)
    }

    pub(crate) fn link_by_index(&mut self, index: u32) -> io::Result<Option<InterfaceFacts>> {
        let mut question = LinkMessage::default();
        question.header.index = index;
        self.link(question)
    }

    fn link(&mut self, question: LinkMessage) -> io::Result<Option<InterfaceFacts>> {
        let question = RouteNetlinkMessage::GetLink(question);
        match self.0.one(question.message_type(), &bytes(&question)) {
            Ok((_, payload)) => Ok(read_link(&payload)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn links(&mut self) -> io::Result<Vec<InterfaceFacts>> {
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.0.dump(question.message_type(), &bytes(&question), &|_, payload| read_link(payload))
    }

    pub(crate) fn addresses(&mut self) -> io::Result<Vec<(u32, IpNet)>> {
        self.dump(&RouteNetlinkMessage::GetAddress(AddressMessage::default()), &|message| match message {
            RouteNetlinkMessage::NewAddress(message) => read_address(&message),
            _ => None,
        })
    }

    /// Every route of the tables local, main and default that a lookup may find, once for each of its next hops. `names`: the interfaces
    /// by index.
    pub(crate) fn routes(&mut self, names: &HashMap<u32, String>) -> io::Result<Vec<Route>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            let routes = self.dump(&RouteNetlinkMessage::GetRoute(question), &|message| match message {
                RouteNetlinkMessage::NewRoute(message) => read_route(&message, names),
                _ => None,
            })?;
            found.extend(routes.into_iter().flatten());
        }
        Ok(found)
    }

    /// The prefixes of all routes of all tables, once for each next hop, with its gateway; `None` where there is no gateway.
    pub(crate) fn gateways(&mut self) -> io::Result<Vec<(IpNet, Option<IpAddr>)>> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            let routes = self.dump(&RouteNetlinkMessage::GetRoute(question), &|message| match message {
                RouteNetlinkMessage::NewRoute(message) => read_gateways(&message),
                _ => None,
            })?;
            found.extend(routes.into_iter().flatten());
        }
        Ok(found)
    }

    /// How many policy rules there are beyond the three that look up the tables local, main and default.
    pub(crate) fn further_rules(&mut self) -> io::Result<usize> {
        let mut further = 0;
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RuleMessage::default();
            question.header.family = family;
            let priorities = self.dump(&RouteNetlinkMessage::GetRule(question), &|message| {
                let RouteNetlinkMessage::NewRule(message) = message else { return None };
                let priority = message.attributes.iter().find_map(|attribute| match attribute {
                    RuleAttribute::Priority(priority) => Some(*priority),
                    _ => None,
                });
                (message.header.family == family).then_some(priority.unwrap_or(0))
            })?;
            further += priorities.iter().filter(|priority| !USUAL_RULES.contains(priority)).count();
        }
        Ok(further)
    }

    /// The neighbours on an interface whose MAC addresses are known.
    pub(crate) fn neighbours(&mut self, index: u32) -> io::Result<Vec<(IpAddr, MacAddr)>> {
        self.dump(&RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()), &|message| match message {
            RouteNetlinkMessage::NewNeighbour(message) if message.header.ifindex == index => read_neighbour(&message),
            _ => None,
        })
    }

    /// The gateway to a destination on an interface; `None` where there is none, or no route.
    pub(crate) fn gateway(&mut self, destination: IpAddr, index: u32) -> Option<IpAddr> {
        let mut question = RouteMessage::default();
        question.header.address_family = family(destination);
        question.header.destination_prefix_length = IpNet::from(destination).prefix_len();
        question.attributes = vec![RouteAttribute::Destination(destination.into()), RouteAttribute::Oif(index)];
        let question = RouteNetlinkMessage::GetRoute(question);
        let (kind, payload) = self.0.one(question.message_type(), &bytes(&question)).ok()?;
        let RouteNetlinkMessage::NewRoute(message) = decode(kind, &payload).ok()? else { return None };
        gateway_among(&message.attributes)
    }

    fn dump<T>(
        &mut self,
        question: &RouteNetlinkMessage,
        read: &dyn Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let read = |kind, payload: &[u8]| match decode(kind, payload) {
            Ok(message) => read(message).map(Ok),
            Err(error) => Some(Err(error)),
        };
        self.0.dump(question.message_type(), &bytes(question), &read)?.into_iter().collect()
    }
}

pub(crate) fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn bytes(message: &RouteNetlinkMessage) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn decode(kind: u16, payload: &[u8]) -> io::Result<RouteNetlinkMessage> {
    let mut header = NetlinkHeader::default();
    header.message_type = kind;
    RouteNetlinkMessage::deserialize(&header, payload).map_err(io::Error::other)
}

/// Reads an `RTM_NEWLINK` message; `None` when it isn't whole or has no name. What drivers add differs from kernel to kernel, so an attribute
/// that can't be read is left out, and is not an error of the message.
fn read_link(payload: &[u8]) -> Option<InterfaceFacts> {
    let header = LinkHeader::parse(payload).ok()?;
    let up = header.flags.contains(LinkFlags::Up);
    let mut facts = InterfaceFacts {
        index: header.index,
        kind: match header.link_layer_type {
            LinkLayerType::Ether => InterfaceKind::Ethernet,
            LinkLayerType::Loopback => InterfaceKind::Loopback,
            _ => InterfaceKind::Other,
        },
        up,
        running: up && header.flags.contains(LinkFlags::Running),
        ..InterfaceFacts::default()
    };
    let (mut below, mut is_vlan) = (None, false);
    for attribute in NlasIterator::new(payload.get(LINK_HEADER..)?).map_while(Result::ok) {
        match LinkAttribute::parse_with_param(&attribute, header.interface_family) {
            Ok(LinkAttribute::IfName(name)) => facts.name = name,
            Ok(LinkAttribute::Address(address)) => facts.mac = address.try_into().ok().map(MacAddr),
            Ok(LinkAttribute::OperState(state)) => facts.operational = state == State::Up,
            Ok(LinkAttribute::Mtu(mtu)) => facts.mtu_bytes = mtu,
            Ok(LinkAttribute::Controller(index)) => facts.master = Some(index),
            Ok(LinkAttribute::Link(index)) => below = Some(index),
            Ok(LinkAttribute::Xdp(attributes)) => {
                let is_attached = |one: &LinkXdp| matches!(one, LinkXdp::Attached(how) if *how != XdpAttached::None);
                facts.xdp = attributes.iter().any(is_attached);
            }
            Ok(LinkAttribute::LinkInfo(attributes)) if attributes.contains(&LinkInfo::Kind(InfoKind::Veth)) => {
                facts.kind = InterfaceKind::Veth;
            }
            Ok(LinkAttribute::LinkInfo(attributes)) => is_vlan = attributes.contains(&LinkInfo::Kind(InfoKind::Vlan)),
            _ => {}
        }
    }
    facts.vlan_on = below.filter(|_| is_vlan);
    (!facts.name.is_empty()).then_some(facts)
}

fn read_address(message: &AddressMessage) -> Option<(u32, IpNet)> {
    let (mut own, mut other) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            // Of a point-to-point link it is the other end's; where there is no local one, it is our own.
            AddressAttribute::Address(address) => other = Some(*address),
            _ => {}
        }
    }
    Some((message.header.index, IpNet::new(own.or(other)?, message.header.prefix_len).ok()?))
}

fn read_route(message: &RouteMessage, names: &HashMap<u32, String>) -> Option<Vec<Route>> {
    let RouteHeader { address_family, destination_prefix_length: length, table, flags, kind, .. } = message.header;
    let kind = RouteKind::of(kind)?;
    // An entry of a cache, and one whose next hop is gone, are passed over by a lookup.
    if flags.intersects(RouteFlags::Cloned | RouteFlags::Dead) {
        return None;
    }
    let mut prefix: IpNet = match address_family {
        AddressFamily::Inet => Ipv4Net::default().into(),
        AddressFamily::Inet6 => Ipv6Net::default().into(),
        _ => return None,
    };
    let (mut table, mut metric, mut indices) = (u32::from(table), 0, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => prefix = IpNet::new(ip(address)?, length).ok()?.trunc(),
            RouteAttribute::Oif(index) => indices.push(*index),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::MultiPath(hops) => {
                let alive = hops.iter().filter(|hop| !hop.flags.contains(RouteNextHopFlags::Dead));
                indices.extend(alive.map(|hop| hop.interface_index));
            }
            _ => {}
        }
    }
    // ff00::/8 is in the local table as unicast (until 5.x) or multicast: groups are joined, not routed.
    if !(u32::from(TABLE_DEFAULT)..=u32::from(TABLE_LOCAL)).contains(&table)
        || matches!(prefix.addr(), IpAddr::V6(address) if address.is_multicast())
    {
        return None;
    }
    if indices.is_empty() {
        indices.push(0);
    }
    let device = |index: u32| names.get(&index).cloned().unwrap_or_default();
    Some(indices.into_iter().map(|index| Route { prefix, device: device(index), kind, metric }).collect())
}

fn gateway_among(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(gateway) => ip(gateway),
        RouteAttribute::Via(RouteVia::Inet(gateway)) => Some((*gateway).into()),
        RouteAttribute::Via(RouteVia::Inet6(gateway)) => Some((*gateway).into()),
        _ => None,
    })
}

fn read_gateways(message: &RouteMessage) -> Option<Vec<(IpNet, Option<IpAddr>)>> {
    let mut prefix: IpNet = match message.header.address_family {
        AddressFamily::Inet => Ipv4Net::default().into(),
        AddressFamily::Inet6 => Ipv6Net::default().into(),
        _ => return None,
    };
    let mut gateways = vec![gateway_among(&message.attributes)];
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                prefix = IpNet::new(ip(address)?, message.header.destination_prefix_length).ok()?.trunc();
            }
            RouteAttribute::MultiPath(hops) => {
                gateways = hops.iter().map(|hop| gateway_among(&hop.attributes)).collect();
            }
            _ => {}
        }
    }
    Some(gateways.into_iter().map(|gateway| (prefix, gateway)).collect())
}

fn read_neighbour(message: &NeighbourMessage) -> Option<(IpAddr, MacAddr)> {
    if matches!(message.header.state, NeighbourState::Incomplete | NeighbourState::Failed) {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(four)) => address = Some(IpAddr::from(*four)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(six)) => address = Some(IpAddr::from(*six)),
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr);
            }
            _ => {}
        }
    }
    Some((address?, mac?))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(four) => Some((*four).into()),
        RouteAddress::Inet6(six) => Some((*six).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(message in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = super::read_link(&message);
        }
    }
}
