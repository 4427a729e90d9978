//! What there is to know about a network interface. No privilege. Start at [`facts`].

use serde::{Deserialize, Serialize};

use super::rtnetlink::RouteSocket;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::packet::MacAddr;

/// What kind of interface it is, as far as sending frames depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum InterfaceKind {
    Veth,
    /// Anything else that carries Ethernet frames.
    Ethernet,
    /// The loopback; it carries frames with all-zero MAC addresses.
    Loopback,
    /// No Ethernet header: tun, ppp, ip6tnl, …
    #[default]
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InterfaceFacts {
    pub name: String,
    pub index: u32,
    pub kind: InterfaceKind,
    /// Switched on (`IFF_UP`).
    pub up: bool,
    /// Switched on, and its link is there (`IFF_RUNNING`): a veth whose peer is down isn't running.
    pub running: bool,
    /// It may send (its operational state is "up", RFC 2863).
    pub operational: bool,
    /// The largest layer 3 packet, in bytes; VLAN tags don't count.
    pub mtu_bytes: u32,
    /// `None` where its addresses don't have 6 bytes.
    pub mac: Option<MacAddr>,
    pub xdp: bool,
    /// The index of the bridge, bond or VRF that takes its frames.
    pub master: Option<u32>,
    /// The index of the interface that carries it, where this is a VLAN interface.
    pub vlan_on: Option<u32>,
}

impl InterfaceFacts {
    /// One end of a veth pair that is up, with an MTU of 1500 bytes, and without an index.
    pub fn veth(name: &str, mac: MacAddr) -> Self {
        Self {
            name: name.to_owned(),
            kind: InterfaceKind::Veth,
            up: true,
            running: true,
            operational: true,
            mtu_bytes: 1500,
            mac: Some(mac),
            ..Self::default()
        }
    }
}

/// The interface of this name in the calling thread's network namespace; `None` when there is none.
pub fn facts(name: &str) -> Result<Option<InterfaceFacts>> {
    RouteSocket::open()
        .and_then(|mut socket| socket.link_by_name(name))
        .map_err(|error| Failure::system(format!("can't ask for interface `{name}`"), &error))
}

/// Every interface of the calling thread's network namespace, in the order of their indices.
pub fn all() -> Result<Vec<InterfaceFacts>> {
    let links = RouteSocket::open().and_then(|mut socket| socket.links());
    let mut links = links.map_err(|error| Failure::system("can't list the network interfaces", &error))?;
    links.sort_by_key(|link| link.index);
    Ok(links)
}

pub fn names() -> Result<Vec<String>> {
    Ok(all()?.into_iter().map(|link| link.name).collect())
}

/// The interface of this name, which must be there.
pub fn existing(name: &str) -> Result<InterfaceFacts> {
    if let Some(facts) = facts(name)? {
        return Ok(facts);
    }
    let there: Vec<_> = names()?.iter().map(|name| format!("`{name}`")).collect();
    Err(Failure::invalid(
        Diagnostic::error(format!("there is no interface `{name}`"))
            .why(format!("this network namespace has {}", there.join(", ")))
            .fix("name one of them"),
    ))
}
