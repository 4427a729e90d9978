//! Which MAC address this machine sends to for a destination: that of its next hop in the neighbour table (rtnetlink(7), arp(7)). No
//! privilege. Start at [`next_hops`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use super::addresses::ip;
use super::interface;
use super::netlink::{Attributes, Channel, push_attribute, u16_at, u32_at};
use crate::diagnostic::{Failure, Result};
use crate::packet::MacAddr;

const NETLINK_ROUTE: isize = 0;
const RTM_GETROUTE: u16 = 26;
/// `struct rtmsg`.
const RTMSG: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
/// A gateway of the other family: its family as u16, then its address.
const RTA_VIA: u16 = 18;
const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
/// `struct ndmsg`: family u8, padding, index i32, state u16, flags u8, type u8.
const NDMSG: usize = 12;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// Not known (yet), or given up.
const NUD_INCOMPLETE: u16 = 0x01;
const NUD_FAILED: u16 = 0x20;

/// Where this machine sends what goes to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The destination itself, or the gateway to it.
    pub address: IpAddr,
    /// Its MAC address.
    pub mac: MacAddr,
}

/// The next hops of these destinations on an interface, as far as the neighbour table knows them.
///
/// # Errors
/// When the kernel doesn't answer.
pub fn next_hops(interface: &str, destinations: &BTreeSet<IpAddr>) -> Result<BTreeMap<IpAddr, NextHop>> {
    let Some(facts) = interface::facts(interface)? else { return Ok(BTreeMap::new()) };
    let read = || -> io::Result<BTreeMap<IpAddr, NextHop>> {
        let mut channel = Channel::open(NETLINK_ROUTE)?;
        let known: BTreeMap<IpAddr, MacAddr> = channel
            .dump(RTM_GETNEIGH, &[0; NDMSG], &|kind, payload| {
                (kind == RTM_NEWNEIGH).then(|| read_neighbour(payload, facts.index))?
            })?
            .into_iter()
            .collect();
        let mut hops = BTreeMap::new();
        for destination in destinations {
            let address = gateway(&mut channel, *destination, facts.index).unwrap_or(*destination);
            if let Some(mac) = known.get(&address) {
                hops.insert(*destination, NextHop { address, mac: *mac });
            }
        }
        Ok(hops)
    };
    read().map_err(|error| Failure::system("can't ask for the neighbours", &error))
}

/// The gateway that the kernel sends by to a destination on this interface; `None` where there is none, or no route.
fn gateway(channel: &mut Channel, destination: IpAddr, index: u32) -> Option<IpAddr> {
    let mut body = vec![0; RTMSG];
    let (family, bits, address) = match destination {
        IpAddr::V4(address) => (libc::AF_INET, 32, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, 128, address.octets().to_vec()),
    };
    body[0] = u8::try_from(family).ok()?;
    body[1] = bits;
    push_attribute(&mut body, RTA_DST, &address);
    push_attribute(&mut body, RTA_OIF, &index.to_ne_bytes());
    let (_, payload) = channel.one(RTM_GETROUTE, &body).ok()?;
    Attributes(payload.get(RTMSG..)?).find_map(|(kind, content)| match kind {
        RTA_GATEWAY => ip(content),
        RTA_VIA => ip(content.get(2..)?),
        _ => None,
    })
}

fn read_neighbour(payload: &[u8], index: u32) -> Option<(IpAddr, MacAddr)> {
    let state = u16_at(payload, 8)?;
    if u32_at(payload, 4)? != index || state & (NUD_INCOMPLETE | NUD_FAILED) != 0 {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for (kind, content) in Attributes(payload.get(NDMSG..)?) {
        match kind {
            NDA_DST => address = ip(content),
            NDA_LLADDR => mac = <[u8; 6]>::try_from(content).ok().map(MacAddr),
            _ => {}
        }
    }
    Some((address?, mac?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(message in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = super::read_neighbour(&message, 1);
        }
    }
}
