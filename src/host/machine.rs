//! What decides on a real machine what becomes of a packet: interface, addresses, routes, groups, sockets of the calling thread's network
//! namespace. No privilege. Start at [`Machine::read`].

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

pub use super::routes::{RouteType, Table};

use super::interface::{self, InterfaceFacts, Relations};
use super::netlink::Channel;
use super::sockets::{Socket, SocketTable};
use super::{addresses, routes};
use crate::diagnostic::{Failure, Result};
use crate::scenario::require::Transport;

const NETLINK_ROUTE: isize = 0;

/// A route of the tables local, main or default, once for each of its ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineRoute {
    /// The destinations.
    pub prefix: IpNet,
    /// The table.
    pub table: Table,
    /// What it does.
    pub kind: RouteType,
    /// The interface; empty where it has none.
    pub device: String,
    /// Of equal prefixes the lowest counts.
    pub metric: u32,
}

/// A machine as seen from one of its interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The interface.
    pub interface: InterfaceFacts,
    /// Its master, and the VLAN interfaces on it.
    pub relations: Relations,
    /// The interface's addresses. Those of others are local all the same: they stand in the local table.
    pub addresses: Vec<IpNet>,
    /// All routes that a lookup may find.
    pub routes: Vec<MachineRoute>,
    /// Policy rules beyond the three that every machine has.
    pub further_rules: usize,
    /// Groups that are joined on the interface.
    pub groups: BTreeSet<IpAddr>,
    /// Every UDP socket, and every TCP socket that listens.
    pub sockets: Vec<Socket>,
}

impl Machine {
    /// Reads all of it.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::diagnostic::Kind::Invalid) when there is no such interface, with those that are;
    /// [`Kind::Blocked`](crate::diagnostic::Kind::Blocked) where the kernel can't list sockets.
    pub fn read(name: &str) -> Result<Self> {
        let interface = interface::existing(name)?;
        let unanswered = |what: &str| {
            let what = format!("can't ask for {what}");
            move |error: io::Error| Failure::system(what, &error)
        };
        let names = interface::by_index()?;
        let mut channel = Channel::open(NETLINK_ROUTE).map_err(unanswered("addresses and routes"))?;
        let addresses = addresses::all(&mut channel).map_err(unanswered("addresses"))?;
        let routes = routes::all(&mut channel).map_err(unanswered("routes"))?;
        let further_rules = routes::further_rules(&mut channel).map_err(unanswered("policy rules"))?;
        let sockets = SocketTable::open()?;
        Ok(Self {
            relations: interface::relations(interface.index)?,
            addresses: addresses.iter().filter(|found| found.index == interface.index).map(|found| found.net).collect(),
            routes: routes
                .into_iter()
                .map(|route| MachineRoute {
                    prefix: route.prefix,
                    table: route.table,
                    kind: route.kind,
                    device: names.get(&route.index).cloned().unwrap_or_default(),
                    metric: route.metric,
                })
                .collect(),
            further_rules,
            groups: groups(&interface),
            sockets: [sockets.list(Transport::Udp)?, sockets.list(Transport::Tcp)?].concat(),
            interface,
        })
    }
}

/// The groups that are joined on an interface; none where the kernel doesn't say.
fn groups(interface: &InterfaceFacts) -> BTreeSet<IpAddr> {
    let text = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let four = four_groups(&text("igmp"), interface.index).into_iter().map(IpAddr::V4);
    let six = six_groups(&text("igmp6"), interface.index).into_iter().map(IpAddr::V6);
    four.chain(six).collect()
}

/// `/proc/net/igmp`: a line for each interface, which begins with its index, and below it one for each group, in the machine's byte
/// order and hexadecimal.
fn four_groups(text: &str, index: u32) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut here = false;
    for line in text.lines() {
        let first = line.split_ascii_whitespace().next().unwrap_or_default();
        if line.starts_with(char::is_whitespace) {
            let group = u32::from_str_radix(first, 16).ok().filter(|_| here);
            found.extend(group.map(|group| Ipv4Addr::from(group.to_ne_bytes())));
        } else {
            here = first.parse() == Ok(index);
        }
    }
    found
}

/// `/proc/net/igmp6`: index, name, group.
fn six_groups(text: &str, index: u32) -> Vec<Ipv6Addr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (first, _, group) = (fields.next(), fields.next(), fields.next());
        if first.and_then(|first| first.parse().ok()) == Some(index) {
            found.extend(group.and_then(|group| u128::from_str_radix(group, 16).ok()).map(Ipv6Addr::from));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_the_interface() {
        let igmp = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\
                    \t\t\t\t010000E0     1 0:00000000\t\t0\n2\tenp0s8    :     2      V3\n\
                    \t\t\t\t010101EF     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n";
        let of = |index| four_groups(igmp, index).iter().map(ToString::to_string).collect::<Vec<_>>();
        if cfg!(target_endian = "little") {
            assert_eq!(of(2), ["239.1.1.1", "224.0.0.1"]);
            assert_eq!(of(1), ["224.0.0.1"]);
        }
        assert!(of(3).is_empty());
        let igmp6 = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n\
                     2    enp0s8          ff0200000000000000000001ff000002     1 00000004 0\n";
        assert_eq!(six_groups(igmp6, 2), ["ff02::1:ff00:2".parse::<Ipv6Addr>().unwrap()]);
    }
}
