//! What there is to know about a network interface (rtnetlink(7)). No privilege. Start at [`facts`].

use std::collections::HashMap;
use std::io;

use super::netlink::{Attributes, Channel, push_attribute, u16_at, u32_at};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::packet::MacAddr;

const NETLINK_ROUTE: isize = 0;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
/// `struct ifinfomsg`: family u8, pad u8, type u16, index i32, flags u32, change u32.
const IFINFOMSG: usize = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_XDP: u16 = 43;
/// One byte: how a program is attached, 0 for none.
const IFLA_XDP_ATTACHED: u16 = 2;
const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 0x40;
/// `IFNAMSIZ` with the closing zero.
const NAME_BYTES: usize = 16;

/// What kind of interface it is, as far as sending frames depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceKind {
    /// One end of a veth pair.
    Veth,
    /// Anything else that carries Ethernet frames.
    Ethernet,
    /// The loopback; it carries frames with all-zero MAC addresses.
    Loopback,
    /// No Ethernet header: tun, ppp, ip6tnl, …
    Other,
}

/// One interface, at the time of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// Its name.
    pub name: String,
    /// Its index, from 1.
    pub index: u32,
    /// What it is.
    pub kind: InterfaceKind,
    /// Switched on (`IFF_UP`).
    pub up: bool,
    /// Switched on, and its link is there (`IFF_RUNNING`): a veth whose peer is down isn't running.
    pub running: bool,
    /// The largest layer 3 packet, in bytes; VLAN tags don't count.
    pub mtu_bytes: u32,
    /// `None` where its addresses don't have 6 bytes.
    pub mac: Option<MacAddr>,
    /// Whether an XDP program is attached to it.
    pub xdp: bool,
}

/// The interface of this name in the calling thread's network namespace; `None` when there is none.
///
/// # Errors
/// [`Kind::Error`](crate::diagnostic::Kind::Error) when the kernel doesn't answer.
pub fn facts(name: &str) -> Result<Option<InterfaceFacts>> {
    Links::open()
        .and_then(|mut links| links.by_name(name))
        .map_err(|error| Failure::system(format!("can't ask for interface `{name}`"), &error))
}

/// The names of all interfaces of the calling thread's network namespace, in the order of their indices.
///
/// # Errors
/// [`Kind::Error`](crate::diagnostic::Kind::Error) when the kernel doesn't answer.
pub fn names() -> Result<Vec<String>> {
    let mut links = all()?;
    links.sort_by_key(|link| link.index);
    Ok(links.into_iter().map(|link| link.name).collect())
}

/// The names of all interfaces of the calling thread's network namespace by their indices.
///
/// # Errors
/// [`Kind::Error`](crate::diagnostic::Kind::Error) when the kernel doesn't answer.
pub fn by_index() -> Result<HashMap<u32, String>> {
    Ok(all()?.into_iter().map(|link| (link.index, link.name)).collect())
}

/// How an interface stands to others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relations {
    /// The bridge, bond or VRF that takes its frames.
    pub master: Option<String>,
    /// The VLAN interfaces that stand on it.
    pub vlans: Vec<String>,
}

/// How the interface of this index stands to the others of the calling thread's network namespace.
///
/// # Errors
/// [`Kind::Error`](crate::diagnostic::Kind::Error) when the kernel doesn't answer.
pub fn relations(index: u32) -> Result<Relations> {
    let related = Links::open().and_then(|mut links| {
        links.0.dump(RTM_GETLINK, &[0; IFINFOMSG], &|kind, payload| {
            (kind == RTM_NEWLINK).then(|| read_related(payload))?
        })
    });
    let related = related.map_err(|error| Failure::system("can't list the network interfaces", &error))?;
    let master = related.iter().find(|link| link.index == index).and_then(|link| link.master);
    Ok(Relations {
        master: related.iter().find(|link| Some(link.index) == master).map(|link| link.name.clone()),
        vlans: related
            .iter()
            .filter(|link| link.vlan && link.below == Some(index))
            .map(|link| link.name.clone())
            .collect(),
    })
}

/// A link with its relations, by index.
struct Related {
    name: String,
    index: u32,
    master: Option<u32>,
    below: Option<u32>,
    vlan: bool,
}

fn read_related(payload: &[u8]) -> Option<Related> {
    let InterfaceFacts { name, index, .. } = read(payload)?;
    let mut related = Related { name, index, master: None, below: None, vlan: false };
    for (kind, content) in Attributes(payload.get(IFINFOMSG..)?) {
        match kind {
            IFLA_MASTER => related.master = u32_at(content, 0),
            IFLA_LINK => related.below = u32_at(content, 0),
            IFLA_LINKINFO => {
                related.vlan = Attributes(content).any(|(kind, name)| kind == IFLA_INFO_KIND && text(name) == b"vlan");
            }
            _ => {}
        }
    }
    Some(related)
}

/// Every interface by index.
///
/// # Errors
/// [`Kind::Error`](crate::diagnostic::Kind::Error) when the kernel doesn't answer.
pub fn all() -> Result<Vec<InterfaceFacts>> {
    let links = Links::open().and_then(|mut links| links.all());
    links.map_err(|error| Failure::system("can't list the network interfaces", &error))
}

/// The interface of this name, which must be there.
///
/// # Errors
/// [`Kind::Invalid`](crate::diagnostic::Kind::Invalid) when it isn't, with those that are.
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

/// Questions about links, asked in the network namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Links(Channel);

impl Links {
    pub(crate) fn open() -> io::Result<Self> {
        Channel::open(NETLINK_ROUTE).map(Self)
    }

    pub(crate) fn by_name(&mut self, name: &str) -> io::Result<Option<InterfaceFacts>> {
        if name.is_empty() || name.len() >= NAME_BYTES || name.contains('\0') {
            return Ok(None);
        }
        let mut body = vec![0; IFINFOMSG];
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        push_attribute(&mut body, IFLA_IFNAME, &text);
        self.ask(&body)
    }

    pub(crate) fn by_index(&mut self, index: u32) -> io::Result<Option<InterfaceFacts>> {
        let mut body = [0; IFINFOMSG];
        body[4..8].copy_from_slice(&index.to_ne_bytes());
        self.ask(&body)
    }

    fn all(&mut self) -> io::Result<Vec<InterfaceFacts>> {
        self.0.dump(RTM_GETLINK, &[0; IFINFOMSG], &|kind, payload| (kind == RTM_NEWLINK).then(|| read(payload))?)
    }

    fn ask(&mut self, body: &[u8]) -> io::Result<Option<InterfaceFacts>> {
        match self.0.one(RTM_GETLINK, body) {
            Ok((RTM_NEWLINK, payload)) => Ok(read(payload)),
            Ok((kind, _)) => Err(io::Error::other(format!("answered by a message of type {kind}"))),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Reads an `RTM_NEWLINK` message; `None` when it isn't whole or names nothing.
fn read(payload: &[u8]) -> Option<InterfaceFacts> {
    let hardware = u16_at(payload, 2)?;
    let flags = u32_at(payload, 8)?;
    let mut facts = InterfaceFacts {
        name: String::new(),
        index: u32_at(payload, 4)?,
        kind: match hardware {
            libc::ARPHRD_ETHER => InterfaceKind::Ethernet,
            libc::ARPHRD_LOOPBACK => InterfaceKind::Loopback,
            _ => InterfaceKind::Other,
        },
        up: flags & IFF_UP != 0,
        running: flags & IFF_UP != 0 && flags & IFF_RUNNING != 0,
        mtu_bytes: 0,
        mac: None,
        xdp: false,
    };
    for (kind, content) in Attributes(payload.get(IFINFOMSG..)?) {
        match kind {
            IFLA_IFNAME => facts.name = String::from_utf8_lossy(text(content)).into_owned(),
            IFLA_ADDRESS => facts.mac = content.try_into().ok().map(MacAddr),
            IFLA_MTU => facts.mtu_bytes = u32_at(content, 0)?,
            IFLA_XDP => {
                let attached = |(kind, how): (u16, &[u8])| kind == IFLA_XDP_ATTACHED && how.first() != Some(&0);
                facts.xdp = Attributes(content).any(attached);
            }
            IFLA_LINKINFO
                if Attributes(content).any(|(kind, name)| kind == IFLA_INFO_KIND && text(name) == b"veth") =>
            {
                facts.kind = InterfaceKind::Veth;
            }
            _ => {}
        }
    }
    (!facts.name.is_empty()).then_some(facts)
}

/// A string attribute without its closing zero.
fn text(content: &[u8]) -> &[u8] {
    content.split(|byte| *byte == 0).next().unwrap_or_default()
}
