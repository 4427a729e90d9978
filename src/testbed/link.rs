//! rtnetlink, as much of it as a lab needs: links, addresses, neighbours, routes. See rtnetlink(7).
//!
//! One request, one answer, on a blocking socket that stays in the network namespace of the thread that opened it. May use
//! nix and the netlink crates.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::figures::duration;
use crate::packet::MacAddr;

/// `RT_TABLE_LOCAL` of `linux/rtnetlink.h`: the table that says which addresses are this machine's own.
const TABLE_LOCAL: u8 = 255;

/// `RTNLGRP_LINK` of `linux/rtnetlink.h`: the group that is told about interfaces.
const GROUP_LINK: u32 = 1;

/// One end of a veth pair, before it exists.
#[derive(Debug, Clone, Copy)]
pub(super) struct End<'a> {
    pub(super) name: &'a str,
    pub(super) mac: MacAddr,
}

/// A connection to the kernel's routing tables and interfaces, in one network namespace.
pub(super) struct RouteSocket {
    socket: Socket,
    /// Says when an interface changes.
    changes: Socket,
    sequence: u32,
}

impl RouteSocket {
    /// Opened in the calling thread's network namespace, where it stays.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        let mut changes = Socket::new(NETLINK_ROUTE)?;
        changes.bind_auto()?;
        changes.add_membership(GROUP_LINK)?;
        Ok(Self { socket, changes, sequence: 0 })
    }

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
        self.ask(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// The interface's index in this namespace.
    pub(super) fn index(&mut self, name: &str) -> io::Result<u32> {
        self.link(name).map(|link| link.header.index)
    }

    /// Waits until the interface is up, has a carrier and may send. A veth interface is so at once where the kernel, asked
    /// for its state, first does what it had put off (since Linux 6.9), and soon everywhere else.
    pub(super) fn wait_operational(&mut self, name: &str, limit: Duration) -> io::Result<()> {
        let end = Instant::now() + limit;
        while !self.link(name)?.attributes.contains(&LinkAttribute::OperState(State::Up)) {
            let left = PollTimeout::try_from(end.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::MAX);
            let mut waiting = [PollFd::new(self.changes.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waiting, left)? == 0 {
                return Err(io::Error::other(format!("`{name}` has no carrier after {}", duration(limit))));
            }
            self.changes.recv_from_full()?;
        }
        Ok(())
    }

    fn link(&mut self, name: &str) -> io::Result<LinkMessage> {
        let mut question = LinkMessage::default();
        question.attributes.push(LinkAttribute::IfName(name.into()));
        match self.ask(RouteNetlinkMessage::GetLink(question), 0)? {
            Some(RouteNetlinkMessage::NewLink(link)) => Ok(link),
            _ => Err(io::Error::other("the kernel did not describe the interface")),
        }
    }

    /// Brings an interface up.
    pub(super) fn bring_up(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.ask(RouteNetlinkMessage::SetLink(link), 0).map(drop)
    }

    /// Lets the kernel split what is to be split before the interface and not behind it: each packet on it is one datagram.
    pub(super) fn split_segments(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.attributes = vec![LinkAttribute::GsoMaxSegs(1)];
        self.ask(RouteNetlinkMessage::SetLink(link), 0).map(drop)
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
        self.ask(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Makes every address of `prefix` the machine's own, without listing them.
    pub(super) fn add_local(&mut self, index: u32, prefix: IpNet) -> io::Result<()> {
        let mut route = route_to(prefix, index);
        route.header.table = TABLE_LOCAL;
        route.header.kind = RouteType::Local;
        route.header.scope = RouteScope::Host;
        self.ask(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// A route to `prefix` by way of `gateway`, which is taken to be on the link whatever the addresses say.
    pub(super) fn add_route(&mut self, index: u32, prefix: IpNet, gateway: IpAddr) -> io::Result<()> {
        let mut route = route_to(prefix, index);
        route.header.table = RouteHeader::RT_TABLE_MAIN;
        route.header.kind = RouteType::Unicast;
        route.header.scope = RouteScope::Universe;
        route.header.flags = RouteFlags::Onlink;
        route.attributes.push(RouteAttribute::Gateway(gateway.into()));
        self.ask(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE).map(drop)
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
        self.ask(RouteNetlinkMessage::NewNeighbour(neighbour), NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Sends one request and reads up to its acknowledgement; gives what came before that.
    fn ask(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answer = None;
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
                let length = (message.header.length as usize).next_multiple_of(4).max(4);
                rest = rest.get(length..).unwrap_or_default();
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answer),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(inner) => answer = Some(inner),
                    _ => {}
                }
            }
        }
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

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
