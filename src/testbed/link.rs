//! What a lab changes over rtnetlink: links, addresses, neighbours, routes.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use crate::figures::duration;
use crate::host::rtnetlink::{RouteSocket, TABLE_LOCAL, family};
use crate::packet::MacAddr;

/// One end of a veth pair, before it exists.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) name: &'a str,
    pub(super) mac: MacAddr,
}

impl RouteSocket {
    /// Makes a veth pair, `here` in this namespace and `there` in the other one, both down.
    pub(super) fn make_veth(
        &mut self,
        here: End<'_>,
        there: End<'_>,
        other: BorrowedFd<'_>,
        mtu: u32,
    ) -> io::Result<()> {
        let mut peer = attributes_of(there, mtu);
        peer.attributes.push(LinkAttribute::NetNsFd(other.as_raw_fd()));
        let mut link = attributes_of(here, mtu);
        link.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]));
        self.change(&RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// The interface's index in this namespace.
    pub(super) fn index(&mut self, name: &str) -> io::Result<u32> {
        self.link_by_name(name)?.map(|link| link.index).ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// Waits until the interface is up, has a carrier and may send. A veth interface is so at once where the kernel, asked
    /// for its state, first does what it had put off (since Linux 6.9), and soon everywhere else.
    pub(super) fn wait_operational(&mut self, name: &str, limit: Duration) -> io::Result<()> {
        let end = Instant::now() + limit;
        while !self.link_by_name(name)?.is_some_and(|link| link.operational) {
            if Instant::now() > end {
                return Err(io::Error::other(format!("`{name}` has no carrier after {}", duration(limit))));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    pub(super) fn bring_up(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.change(&RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Moves an interface into another namespace, where it is down. Its addresses and routes are lost.
    pub(super) fn move_link(&mut self, index: u32, to: BorrowedFd<'_>) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes = vec![LinkAttribute::NetNsFd(to.as_raw_fd())];
        self.change(&RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Removes an interface; of a veth pair, both ends.
    pub(super) fn remove_link(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        self.change(&RouteNetlinkMessage::DelLink(link), 0)
    }

    /// Lets the kernel split what is to be split before the interface and not behind it: each packet on it is one datagram.
    pub(super) fn split_segments(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes = vec![LinkAttribute::GsoMaxSegs(1)];
        self.change(&RouteNetlinkMessage::SetLink(link), 0)
    }

    /// Gives the interface an address. The prefix's own route is left out, since it would need ARP.
    pub(super) fn add_address(&mut self, index: u32, address: IpNet) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = index;
        message.attributes = vec![
            AddressAttribute::Local(address.addr()),
            AddressAttribute::Address(address.addr()),
            AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
        ];
        self.change(&RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Makes every address of `prefix` the machine's own, without listing them.
    pub(super) fn add_local(&mut self, index: u32, prefix: IpNet) -> io::Result<()> {
        let mut route = route_to(prefix, index);
        route.header.table = TABLE_LOCAL;
        route.header.kind = RouteType::Local;
        route.header.scope = RouteScope::Host;
        self.change(&RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// A route to `prefix` by way of `gateway`, which is taken to be on the link whatever the addresses say.
    pub(super) fn add_route(&mut self, index: u32, prefix: IpNet, gateway: IpAddr) -> io::Result<()> {
        let mut route = route_to(prefix, index);
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.kind = RouteType::Unicast;
        route.header.scope = RouteScope::Universe;
        route.header.flags = RouteFlags::Onlink;
        route.attributes.push(RouteAttribute::Gateway(gateway.into()));
        self.change(&RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// A neighbour whose MAC address is never asked for.
    pub(super) fn add_neighbour(&mut self, index: u32, address: IpAddr, mac: MacAddr) -> io::Result<()> {
        let mut neighbour = NeighbourMessage::default();
        neighbour.header.family = family(address);
        neighbour.header.ifindex = index;
        neighbour.header.state = NeighbourState::Permanent;
        neighbour.attributes = vec![
            NeighbourAttribute::Destination(match address {
                IpAddr::V4(address) => NeighbourAddress::Inet(address),
                IpAddr::V6(address) => NeighbourAddress::Inet6(address),
            }),
            NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        ];
        self.change(&RouteNetlinkMessage::NewNeighbour(neighbour), NLM_F_CREATE | NLM_F_REPLACE)
    }
}

fn attributes_of(end: End<'_>, mtu: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.attributes = vec![
        LinkAttribute::IfName(end.name.into()),
        LinkAttribute::Address(end.mac.0.to_vec()),
        LinkAttribute::Mtu(mtu),
    ];
    link
}

fn route_to(prefix: IpNet, index: u32) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family(prefix.addr());
    route.header.destination_prefix_length = prefix.prefix_len();
    route.header.protocol = RouteProtocol::Static;
    route.attributes.push(RouteAttribute::Oif(index));
    if prefix.prefix_len() > 0 {
        route.attributes.push(RouteAttribute::Destination(prefix.network().into()));
    }
    route
}
