//! What is known of a receiver before anything is sent: its interface, addresses, routes, sysctls and sockets. Start at [`Host`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::filter::Filter;
use super::sockets::{Arrival, Socket};
use crate::packet::MacAddr;
use crate::scenario::require::{Listener, Transport};

/// What is known of the receiver before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its interface's name.
    pub interface: String,
    /// Whether it is an interface of this machine, and not the lab's.
    pub real: bool,
    /// Whether that is the loopback, which takes loopback addresses of IPv6.
    pub loopback: bool,
    /// Whether VLAN interfaces stand on it, which take tagged frames.
    pub vlans: bool,
    /// Its MAC.
    pub mac: MacAddr,
    /// The addresses of the interface.
    pub addresses: Vec<IpNet>,
    /// Where packets go: what is local, broadcasts, ways back, ways on.
    pub routes: RouteTable,
    /// Effective rp_filter: 0, 1 strict, 2 loose.
    pub rp_filter: u8,
    /// Effective accept_local.
    pub accept_local: bool,
    /// Effective route_localnet.
    pub route_localnet: bool,
    /// Effective accept_source_route.
    pub accept_source_route: bool,
    /// Whether segment routing is switched on (`seg6_enabled` or `rpl_seg_enabled` of IPv6).
    pub segment_routing: bool,
    /// Effective drop_unicast_in_l2_multicast of IPv4.
    pub drop_unicast_in_group: bool,
    /// drop_unicast_in_l2_multicast of IPv6, where `all` has no say.
    pub drop_unicast_in_group_v6: bool,
    /// Whether it sends on what is for others.
    pub forwarding: Forwarding,
    /// disable_ipv6 of the interface.
    pub ipv6_disabled: bool,
    /// UDP sockets that will be bound, or are.
    pub sockets: Vec<Socket>,
    /// The sockets that make the receiver ready.
    pub listens: Vec<Listener>,
    /// Its packet filter.
    pub filter: Filter,
    /// Groups that will be joined on the interface; `None` where the application decides.
    pub joined: Option<BTreeSet<IpAddr>>,
}

/// Whether the receiver sends on what is for others, by family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// net.ipv4.conf.IFACE.forwarding.
    pub v4: bool,
    /// net.ipv6.conf.all.forwarding.
    pub v6: bool,
}

/// What a route does with a packet; those of the local table come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RouteKind {
    /// To this host.
    Local,
    /// To everybody in a network, this host too.
    Broadcast,
    /// Out of an interface.
    Unicast,
    /// Thrown away without a word.
    Blackhole,
    /// Refused: host unreachable.
    Unreachable,
    /// Refused: administratively prohibited.
    Prohibit,
}

impl RouteKind {
    /// The word that ip-route(8) has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Unicast => "unicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
        }
    }
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destinations; for a way back, the sources.
    pub prefix: IpNet,
    /// The interface; empty where it has none.
    pub device: String,
    /// What it does.
    pub kind: RouteKind,
    /// Of equal prefixes the lowest counts.
    pub metric: u32,
}

impl Route {
    /// A route out of an interface.
    pub fn out(prefix: IpNet, device: &str) -> Self {
        Self { prefix: prefix.trunc(), device: device.to_owned(), kind: RouteKind::Unicast, metric: 0 }
    }

    /// A route of the local table.
    pub fn local(prefix: IpNet, device: &str) -> Self {
        Self { kind: RouteKind::Local, ..Self::out(prefix, device) }
    }
}

/// Routes in which the longest prefix is found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteTable {
    /// By prefix, then in the order in which they count.
    routes: Vec<Route>,
    /// The lengths that occur, longest first.
    lengths: Vec<u8>,
}

impl FromIterator<Route> for RouteTable {
    fn from_iter<Routes: IntoIterator<Item = Route>>(routes: Routes) -> Self {
        let mut routes: Vec<Route> = routes.into_iter().collect();
        // The local table comes first, then the metric counts.
        routes.sort_by_key(|route| (route.prefix, route.kind > RouteKind::Broadcast, route.metric, route.kind));
        routes.dedup();
        let lengths: BTreeSet<u8> = routes.iter().map(|route| route.prefix.prefix_len()).collect();
        Self { routes, lengths: lengths.into_iter().rev().collect() }
    }
}

impl RouteTable {
    /// What the receiver with these addresses has of its own: they are local, the broadcast addresses of their networks are everybody's,
    /// and with `device` there is a way to each network.
    pub fn of_addresses(addresses: &[IpNet], device: &str) -> impl Iterator<Item = Route> {
        addresses.iter().flat_map(move |net| {
            let whole = net.prefix_len() == net.max_prefix_len();
            let broadcast = match net {
                IpNet::V4(net) if net.prefix_len() < 31 => Some(IpNet::from(IpAddr::V4(net.broadcast()))),
                IpNet::V4(_) | IpNet::V6(_) => None,
            };
            let broadcast = broadcast.map(|prefix| Route { kind: RouteKind::Broadcast, ..Route::out(prefix, device) });
            let network = (!whole).then(|| Route::out(*net, device));
            [Some(Route::local(net.addr().into(), device)), broadcast, network].into_iter().flatten()
        })
    }

    /// The loopback's own.
    pub fn of_loopback() -> impl Iterator<Item = Route> {
        let four: IpNet = ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8).into();
        [four, IpAddr::V6(Ipv6Addr::LOCALHOST).into()].into_iter().map(|prefix| Route::local(prefix, "lo"))
    }

    /// The best routes to an address: several where it has several ways of the same worth, none where it has none.
    pub fn to(&self, address: IpAddr) -> &[Route] {
        let width = if address.is_ipv4() { 32 } else { 128 };
        for length in self.lengths.iter().filter(|length| **length <= width) {
            let Ok(prefix) = IpNet::new(address, *length).map(|net| net.trunc()) else { continue };
            let from = self.routes.partition_point(|route| route.prefix < prefix);
            let Some(best) = self.routes.get(from).filter(|route| route.prefix == prefix) else { continue };
            let rest = self.routes.get(from..).unwrap_or_default();
            let equal = |route: &Route| (route.prefix, route.kind, route.metric) == (prefix, best.kind, best.metric);
            return rest.get(..rest.partition_point(equal)).unwrap_or_default();
        }
        &[]
    }

    /// Whether an address is local.
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.to(address).first().is_some_and(|route| route.kind == RouteKind::Local)
    }

    /// Every route, by prefix.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}

impl Host {
    /// A UDP datagram that arrives on the interface. Without a source port, it may come from any port of its source.
    pub fn arrival(&self, source: (IpAddr, Option<u16>), destination: IpAddr, port: u16) -> Arrival<'_> {
        Arrival { transport: Transport::Udp, source: Some(source), destination, port, interface: Some(&self.interface) }
    }

    /// The first IPv4 and the first IPv6 address of the interface; of IPv6, one that is not link-local before one that is.
    pub fn first_addresses(&self) -> (Option<IpAddr>, Option<IpAddr>) {
        let of = |v4: bool| self.addresses.iter().map(IpNet::addr).filter(move |address| address.is_ipv4() == v4);
        let is_link_local =
            |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        (of(true).next(), of(false).find(|address| !is_link_local(address)).or_else(|| of(false).next()))
    }
}
