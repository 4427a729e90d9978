//! The routes and policy rules of a network namespace (rtnetlink(7)). No privilege. Start at [`all`].

use std::io;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::addresses::ip;
use super::netlink::{Attributes, Channel, u16_at, u32_at};

const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTM_NEWRULE: u16 = 32;
const RTM_GETRULE: u16 = 34;
/// `struct rtmsg`: family u8, destination length u8, source length u8, tos u8, table u8, protocol u8, scope u8, type u8, flags u32;
/// `struct fib_rule_hdr` is as long.
const RTMSG: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PRIORITY: u16 = 6;
const RTA_MULTIPATH: u16 = 9;
const RTA_TABLE: u16 = 15;
const FRA_PRIORITY: u16 = 6;
/// `struct rtnexthop`: length u16, flags u8, hops u8, interface i32; attributes follow.
const RTNEXTHOP: usize = 8;
/// Its nexthop is gone: the lookup passes it over.
const RTNH_F_DEAD: u32 = 1;
/// An entry of a cache.
const RTM_F_CLONED: u32 = 0x200;

/// Which table a route stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Local addresses and broadcasts; it comes first.
    Local,
    /// Main and default.
    Main,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteType {
    /// Out of an interface.
    Unicast,
    /// To this host; IPv6's anycast addresses too.
    Local,
    /// To everybody.
    Broadcast,
    /// Thrown away.
    Blackhole,
    /// Refused.
    Unreachable,
    /// Refused, administratively.
    Prohibit,
}

/// A route, once for each of its ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) prefix: IpNet,
    pub(crate) table: Table,
    pub(crate) kind: RouteType,
    /// The interface's index; 0 where it has none.
    pub(crate) index: u32,
    pub(crate) metric: u32,
}

/// Every route of the tables local, main and default that a lookup may find.
pub(crate) fn all(channel: &mut Channel) -> io::Result<Vec<Route>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let routes = channel.dump(RTM_GETROUTE, &header(family), &|kind, payload| {
            (kind == RTM_NEWROUTE).then(|| read(payload))?.filter(|routes| !routes.is_empty())
        })?;
        found.extend(routes.into_iter().flatten());
    }
    Ok(found)
}

/// How many policy rules there are beyond the three that look the tables up in their order.
pub(crate) fn further_rules(channel: &mut Channel) -> io::Result<usize> {
    let mut further = 0;
    for family in [libc::AF_INET, libc::AF_INET6] {
        let priorities = channel.dump(RTM_GETRULE, &header(family), &|kind, payload| {
            let is_ours = kind == RTM_NEWRULE && payload.first().copied().map(i32::from) == Some(family);
            is_ours.then(|| {
                let mut attributes = Attributes(payload.get(RTMSG..).unwrap_or_default());
                attributes
                    .find(|(kind, _)| *kind == FRA_PRIORITY)
                    .and_then(|(_, content)| u32_at(content, 0))
                    .unwrap_or(0)
            })
        })?;
        further += priorities.into_iter().filter(|priority| !matches!(priority, 0 | 32_766 | 32_767)).count();
    }
    Ok(further)
}

fn header(family: i32) -> [u8; RTMSG] {
    let mut header = [0; RTMSG];
    header[0] = u8::try_from(family).expect("2 or 10");
    header
}

fn read(payload: &[u8]) -> Option<Vec<Route>> {
    let &[family, length, _, _, table, _, _, kind, ..] = payload else { return None };
    if u32_at(payload, 8)? & (RTM_F_CLONED | RTNH_F_DEAD) != 0 {
        return None;
    }
    let kind = match kind {
        1 => RouteType::Unicast,
        2 | 4 => RouteType::Local,
        3 => RouteType::Broadcast,
        6 => RouteType::Blackhole,
        7 => RouteType::Unreachable,
        8 => RouteType::Prohibit,
        // Multicast, throw, nat, xresolve.
        _ => return None,
    };
    let default: IpNet = match i32::from(family) {
        libc::AF_INET => Ipv4Net::default().into(),
        libc::AF_INET6 => Ipv6Net::default().into(),
        _ => return None,
    };
    let (mut prefix, mut table, mut metric) = (default, u32::from(table), 0);
    let mut indices = Vec::new();
    for (attribute, content) in Attributes(payload.get(RTMSG..)?) {
        match attribute {
            RTA_DST => prefix = IpNet::new(ip(content)?, length).ok()?,
            RTA_OIF => indices.extend(u32_at(content, 0)),
            RTA_PRIORITY => metric = u32_at(content, 0)?,
            RTA_TABLE => table = u32_at(content, 0)?,
            RTA_MULTIPATH => indices.extend(next_hops(content)),
            _ => {}
        }
    }
    let table = match table {
        255 => Table::Local,
        // RT_TABLE_DEFAULT, RT_TABLE_MAIN.
        253 | 254 => Table::Main,
        _ => return None,
    };
    if indices.is_empty() {
        indices.push(0);
    }
    // ff00::/8 stands in the local table as unicast (until 5.x) or multicast: groups are joined, not routed.
    if matches!(prefix.addr(), IpAddr::V6(address) if address.is_multicast()) {
        return None;
    }
    Some(indices.into_iter().map(|index| Route { prefix, table, kind, index, metric }).collect())
}

/// The interfaces of a route with several ways that are alive.
fn next_hops(mut content: &[u8]) -> Vec<u32> {
    let mut indices = Vec::new();
    while let Some(length) = u16_at(content, 0).map(usize::from).filter(|length| *length >= RTNEXTHOP) {
        let flags = content.get(2).copied().unwrap_or(0);
        indices.extend(u32_at(content, 4).filter(|_| u32::from(flags) & RTNH_F_DEAD == 0));
        content = content.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    indices
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(message in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = super::read(&message);
            let _ = super::next_hops(&message);
        }
    }
}
