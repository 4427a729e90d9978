//! Routes, and the lookup of the longest prefix. Start at [`RouteTable::to`].

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_route::route::RouteType;
use serde::{Deserialize, Serialize};

/// What a route does with a packet; those of the local table come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RouteKind {
    Local,
    /// To every host in a network, this one too.
    Broadcast,
    Unicast,
    /// Thrown away without a word.
    Blackhole,
    /// Refused: host unreachable.
    Unreachable,
    /// Refused: administratively prohibited.
    Prohibit,
}

impl RouteKind {
    /// That of a route of the kernel; `None`: one that no lookup ends at.
    pub(crate) fn of(kind: RouteType) -> Option<Self> {
        Some(match kind {
            RouteType::Unicast => Self::Unicast,
            RouteType::Local | RouteType::Anycast => Self::Local,
            RouteType::Broadcast => Self::Broadcast,
            RouteType::BlackHole => Self::Blackhole,
            RouteType::Unreachable => Self::Unreachable,
            RouteType::Prohibit => Self::Prohibit,
            _ => return None,
        })
    }

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

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The destinations; for a way back, the sources.
    pub prefix: IpNet,
    pub device: String,
    pub kind: RouteKind,
    /// Of equal prefixes the lowest counts.
    pub metric: u32,
}

impl Route {
    /// A route out of an interface.
    pub fn out(prefix: IpNet, device: &str) -> Self {
        Self { prefix: prefix.trunc(), device: device.to_owned(), kind: RouteKind::Unicast, metric: 0 }
    }

    pub(crate) fn is_link_local(&self) -> bool {
        matches!(self.prefix.addr(), IpAddr::V6(address) if address.is_unicast_link_local())
    }

    /// A route of the local table.
    pub fn local(prefix: IpNet, device: &str) -> Self {
        Self { kind: RouteKind::Local, ..Self::out(prefix, device) }
    }
}

/// Routes in which the longest prefix is found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// What the receiver with these addresses has of its own: they are local, the broadcast addresses of their networks are for every host,
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

    pub fn is_local(&self, address: IpAddr) -> bool {
        self.to(address).first().is_some_and(|route| route.kind == RouteKind::Local)
    }

    /// Every route, by prefix.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }
}
