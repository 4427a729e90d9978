//! Which MAC address this machine sends to for a destination: that of its next hop in the neighbour table (arp(7)). No privilege. Start at
//! [`next_hops`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

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
