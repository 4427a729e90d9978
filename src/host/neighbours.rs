//! Which MAC address this machine sends to for a destination: that of its next hop in the neighbour table (arp(7)). No privilege. Start at
//! [`next_hops`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::interface;
use super::rtnetlink::RouteSocket;
use crate::diagnostic::{Failure, Result};
use crate::packet::MacAddr;

/// Where this machine sends what goes to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    pub address: IpAddr,
    pub mac: MacAddr,
}

/// The routers to other networks on an interface: where what goes to addresses for documentation (RFC 5737, RFC 3849) would go.
pub fn routers(interface: &str) -> Result<BTreeSet<IpAddr>> {
    const ELSEWHERE: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
    let Some(facts) = interface::facts(interface)? else { return Ok(BTreeSet::new()) };
    let mut socket = RouteSocket::open().map_err(|error| Failure::system("can't ask for the routes", &error))?;
    Ok(ELSEWHERE.iter().filter_map(|address| socket.gateway(*address, facts.index)).collect())
}

/// The next hops of these destinations on an interface, as far as the neighbour table knows them.
pub fn next_hops(interface: &str, destinations: &BTreeSet<IpAddr>) -> Result<BTreeMap<IpAddr, NextHop>> {
    let Some(facts) = interface::facts(interface)? else { return Ok(BTreeMap::new()) };
    let read = || -> io::Result<BTreeMap<IpAddr, NextHop>> {
        let mut socket = RouteSocket::open()?;
        let known: BTreeMap<IpAddr, MacAddr> = socket.neighbours(facts.index)?.into_iter().collect();
        let mut hops = BTreeMap::new();
        for destination in destinations {
            let address = socket.gateway(*destination, facts.index).unwrap_or(*destination);
            if let Some(mac) = known.get(&address) {
                hops.insert(*destination, NextHop { address, mac: *mac });
            }
        }
        Ok(hops)
    };
    read().map_err(|error| Failure::system("can't ask for the neighbours", &error))
}
