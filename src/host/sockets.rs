//! The UDP sockets and TCP listeners of a network namespace, with their queues and drops (`sock_diag`), and which packets a socket receives.
//!
//! No privilege. Start at [`SocketTable::list`] and [`Socket::mismatch`].

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::netlink::{Attributes, Channel, u32_at};
use super::rtnetlink::RouteSocket;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::scenario::require::{Listener, Transport};

const NETLINK_SOCK_DIAG: isize = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `struct inet_diag_msg`: family u8, state u8, timer u8, retrans u8, then `struct inet_diag_sockid` (ports u16 big-endian, addresses
/// 16 bytes each, interface u32, cookie u64), expires u32, receive queue u32, send queue u32, uid u32, inode u32.
const INET_DIAG_MSG: usize = 72;
/// An array of u32: bytes in the receive queue, receive buffer, …; the drops are the ninth.
const INET_DIAG_SKMEMINFO: u16 = 7;
const SKMEMINFO_RECEIVE_BUFFER: usize = 1;
const SKMEMINFO_DROPS: usize = 8;
/// One byte, for IPv6 sockets that aren't connected.
const INET_DIAG_SKV6ONLY: u16 = 11;
const STATE_LISTEN: u32 = 10;

/// A bound UDP socket or a TCP listener, seen or expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    pub transport: Transport,
    /// The address that it is bound to; `0.0.0.0` is any IPv4 address, `::` any of both families, unless `v6only`.
    pub address: IpAddr,
    pub port: u16,
    /// Whether an IPv6 socket refuses IPv4 (`IPV6_V6ONLY`).
    pub v6only: bool,
    /// The only peer that it receives from.
    pub peer: Option<(IpAddr, u16)>,
    /// The only interface that it receives on.
    pub device: Option<String>,
    /// Its inode, which names it in `/proc/PID/fd`; 0 for the kernel's own sockets (VXLAN, L2TP, WireGuard), and for expected ones.
    pub inode: u32,
    pub uid: u32,
    /// Unread bytes in its queue, with the kernel's own overhead.
    pub unread_bytes: u32,
    /// The limit of [`Self::unread_bytes`].
    pub buffer_bytes: u32,
    /// Datagrams that it dropped: no room, its filter, or a wrong checksum found while reading.
    pub drops: u32,
}

/// A packet at a host, as far as it decides which sockets receive it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival<'a> {
    pub transport: Transport,
    /// Its source address, and its source port where that is known; `None`: any peer, so that no connected socket receives it.
    pub source: Option<(IpAddr, Option<u16>)>,
    pub destination: IpAddr,
    pub port: u16,
    /// The interface on which it arrives; `None`: any, so that sockets bound to an interface may receive it.
    pub interface: Option<&'a str>,
}

/// Why a socket doesn't receive a packet (`compute_score`, `__udp_is_mcast_sock`); the nearest to receiving it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mismatch {
    Peer,
    Device,
    Address,
    /// It is an IPv6 socket that refuses IPv4.
    V6Only,
    /// It is an IPv4 socket, and the packet is IPv6.
    V4Only,
    /// It is bound to another port, or has another transport.
    Port,
}

impl Socket {
    /// What keeps the socket from receiving a packet; `None`: it receives it.
    pub fn mismatch(&self, arrival: &Arrival<'_>) -> Option<Mismatch> {
        if (self.transport, self.port) != (arrival.transport, arrival.port) {
            return Some(Mismatch::Port);
        }
        // An IPv6 socket bound to ::ffff:192.0.2.1 is an IPv4 socket in all but name (RFC 4291 §2.5.5.2).
        match (self.address.to_canonical(), arrival.destination.to_canonical()) {
            (own, destination) if own == destination => {}
            (IpAddr::V4(own), IpAddr::V6(_)) if own.is_unspecified() => return Some(Mismatch::V4Only),
            (IpAddr::V6(own), IpAddr::V4(_)) if own.is_unspecified() && self.v6only => return Some(Mismatch::V6Only),
            (own, _) if own.is_unspecified() => {}
            _ => return Some(Mismatch::Address),
        }
        if let (Some(own), Some(interface)) = (&self.device, arrival.interface)
            && own != interface
        {
            return Some(Mismatch::Device);
        }
        let (address, port) = self.peer?;
        let is_peer = arrival.source.is_some_and(|(source, source_port)| {
            source.to_canonical() == address.to_canonical() && source_port.is_none_or(|source_port| source_port == port)
        });
        (!is_peer).then_some(Mismatch::Peer)
    }

    pub fn receives(&self, arrival: &Arrival<'_>) -> bool {
        self.mismatch(arrival).is_none()
    }

    /// Whether the socket receives from any peer what is sent to the listener's address and port. A listener without an address may be bound
    /// to any.
    pub fn serves(&self, listener: &Listener) -> bool {
        let Listener { transport, address, port } = *listener;
        let destination = address.unwrap_or(self.address);
        self.receives(&Arrival { transport, source: None, destination, port, interface: None })
    }
}

impl From<Listener> for Socket {
    /// The socket that a listener in a scenario expects.
    fn from(Listener { transport, address, port }: Listener) -> Self {
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        Self {
            transport,
            address: address.filter(|address| !address.is_unspecified()).unwrap_or(any),
            port,
            v6only: false,
            peer: None,
            device: None,
            inode: 0,
            uid: 0,
            unread_bytes: 0,
            buffer_bytes: 0,
            drops: 0,
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Some(self.address).filter(|address| *address != IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        write!(f, "{}", Listener { transport: self.transport, address, port: self.port })?;
        if self.v6only && address.is_none() {
            f.write_str(" (IPv6 only)")?;
        }
        if let Some((address, port)) = self.peer {
            write!(f, " connected to {address} port {port}")?;
        }
        match &self.device {
            Some(device) => write!(f, " on {device}"),
            None => Ok(()),
        }
    }
}

/// The sockets of one network namespace, listed again and again, from any thread.
pub struct SocketTable(Mutex<Table>);

struct Table {
    sockets: Channel,
    links: RouteSocket,
    /// Interfaces that sockets are bound to, by index.
    devices: HashMap<u32, String>,
}

impl SocketTable {
    /// Opens the table of the calling thread's network namespace.
    pub fn open() -> Result<Self> {
        let open = || -> io::Result<Table> {
            let (sockets, links) = (Channel::open(NETLINK_SOCK_DIAG)?, RouteSocket::open()?);
            Ok(Table { sockets, links, devices: HashMap::new() })
        };
        let table = open().map_err(|error| Failure::system("can't ask for sockets (sock_diag)", &error))?;
        Ok(Self(Mutex::new(table)))
    }

    /// Every UDP socket, or every TCP socket that listens, of IPv4 and IPv6. A dual-stack socket is an IPv6 one.
    ///
    /// # Errors
    /// When the kernel doesn't answer, or can't (`udp_diag` and `tcp_diag` are modules).
    pub fn list(&self, transport: Transport) -> Result<Vec<Socket>> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let question = request(family, transport);
            match table.sockets.dump(SOCK_DIAG_BY_FAMILY, &question, &|kind, message| read(kind, message, transport)) {
                Ok(sockets) => found.extend(sockets),
                // A kernel without IPv6 has no handler for it, but one with it has both.
                Err(error) if family == libc::AF_INET6 && error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(unanswered(transport, &error)),
            }
        }
        Ok(found
            .into_iter()
            .map(|(socket, device)| Socket { device: (device != 0).then(|| table.device(device)), ..socket })
            .collect())
    }

    /// The addresses that TCP and UDP sockets are connected to; not those of the loopback.
    ///
    /// # Errors
    /// As [`Self::list`].
    pub fn peers(&self) -> Result<BTreeSet<IpAddr>> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut peers = BTreeSet::new();
        for (family, transport) in [libc::AF_INET, libc::AF_INET6]
            .into_iter()
            .flat_map(|family| [Transport::Udp, Transport::Tcp].map(|transport| (family, transport)))
        {
            let mut question = request(family, transport);
            question[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
            match table.sockets.dump(SOCK_DIAG_BY_FAMILY, &question, &|kind, message| read(kind, message, transport)) {
                Ok(sockets) => {
                    peers.extend(sockets.into_iter().filter_map(|(socket, _)| Some(socket.peer?.0.to_canonical())))
                }
                Err(error) if family == libc::AF_INET6 && error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(unanswered(transport, &error)),
            }
        }
        peers.retain(|peer| !peer.is_loopback() && !peer.is_unspecified());
        Ok(peers)
    }

    /// The first of these listeners that no socket serves; see [`Socket::serves`].
    pub fn first_unserved<'a>(&self, listeners: &'a [Listener]) -> Result<Option<&'a Listener>> {
        if listeners.is_empty() {
            return Ok(None);
        }
        let sockets = [self.list(Transport::Udp)?, self.list(Transport::Tcp)?].concat();
        Ok(listeners.iter().find(|listener| !sockets.iter().any(|socket| socket.serves(listener))))
    }
}

impl Table {
    /// The name of an interface; `#INDEX` where it is gone.
    fn device(&mut self, index: u32) -> String {
        let links = &mut self.links;
        let name = || {
            let link = links.link_by_index(index).ok().flatten();
            link.map_or_else(|| format!("#{index}"), |link| link.name)
        };
        self.devices.entry(index).or_insert_with(name).clone()
    }
}

fn unanswered(transport: Transport, error: &io::Error) -> Failure {
    let (name, module) = match transport {
        Transport::Udp => ("UDP", "udp_diag"),
        Transport::Tcp => ("TCP", "tcp_diag"),
    };
    let what = format!("can't list {name} sockets (sock_diag)");
    if error.raw_os_error() == Some(libc::ENOENT) {
        return Failure::blocked(
            Diagnostic::error(what)
                .why(format!("the kernel has no `{module}`"))
                .fix(format!("load the module: `modprobe {module}`")),
        );
    }
    Failure::system(what, error)
}

/// `struct inet_diag_req_v2`: family u8, protocol u8, extensions u8, pad u8, states u32, `struct inet_diag_sockid` (48 bytes, 0: any).
fn request(family: i32, transport: Transport) -> [u8; 56] {
    let mut body = [0; 56];
    body[0] = u8::try_from(family).expect("2 or 10");
    let (protocol, states) = match transport {
        Transport::Udp => (17, u32::MAX),
        Transport::Tcp => (6, 1 << STATE_LISTEN),
    };
    body[1] = protocol;
    body[2] = 1 << (INET_DIAG_SKMEMINFO - 1);
    body[4..8].copy_from_slice(&states.to_ne_bytes());
    body
}

/// Reads one `struct inet_diag_msg` with its attributes, and the index of its interface; `None` when it isn't one.
fn read(kind: u16, message: &[u8], transport: Transport) -> Option<(Socket, u32)> {
    if kind != SOCK_DIAG_BY_FAMILY {
        return None;
    }
    let family = i32::from(*message.first()?);
    let port = |offset: usize| message.get(offset..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    let address = |offset: usize| {
        let bytes: &[u8; 16] = message.get(offset..)?.first_chunk()?;
        Some(match family {
            libc::AF_INET => IpAddr::from(Ipv4Addr::from(*bytes.first_chunk::<4>()?)),
            _ => IpAddr::from(Ipv6Addr::from(*bytes)),
        })
    };
    let peer_port = port(6)?;
    let mut socket = Socket {
        address: address(8)?,
        peer: address(24).filter(|_| peer_port != 0).map(|address| (address, peer_port)),
        inode: u32_at(message, 68)?,
        uid: u32_at(message, 64)?,
        unread_bytes: u32_at(message, 56)?,
        ..Listener { transport, address: None, port: port(4)? }.into()
    };
    for (kind, content) in Attributes(message.get(INET_DIAG_MSG..)?) {
        match kind {
            INET_DIAG_SKMEMINFO => {
                socket.buffer_bytes = u32_at(content, 4 * SKMEMINFO_RECEIVE_BUFFER).unwrap_or(0);
                socket.drops = u32_at(content, 4 * SKMEMINFO_DROPS).unwrap_or(0);
            }
            INET_DIAG_SKV6ONLY if family == libc::AF_INET6 => {
                socket.v6only = content.first().is_some_and(|byte| *byte != 0)
            }
            _ => {}
        }
    }
    Some((socket, u32_at(message, 40)?))
}

/// Whether a process has this socket; `false` as well where the process can't be asked.
pub fn has_socket(pid: u32, inode: u32) -> bool {
    super::borrow::descriptor_of(pid, inode).is_some()
}

/// The processes that have one of these sockets, as far as this user may know.
pub fn owners(inodes: &[u32]) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| inodes.iter().any(|inode| has_socket(*pid, *inode))).collect()
}

/// Whether a process's UDP socket, named by its inode, is an encapsulation socket (`UDP_ENCAP`, udp(7)): the kernel takes datagrams out of
/// it before the process can read them. `false` as well where the process can't be asked, which takes the right to trace it.
pub fn encapsulates(pid: u32, inode: u32) -> bool {
    super::borrow::descriptor_of(pid, inode)
        .and_then(|number| super::borrow::socket_of(pid, number))
        .is_some_and(|socket| super::borrow::encapsulates(&socket))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    fn socket(transport: Transport, address: &str, v6only: bool) -> Socket {
        let listener = Listener { transport, address: None, port: 4739 };
        Socket { address: address.parse().unwrap(), v6only, ..listener.into() }
    }

    #[test]
    fn a_socket_serves_what_the_kernel_would_give_it() {
        let udp = |address, v6only| socket(Transport::Udp, address, v6only);
        let sockets = [
            udp("0.0.0.0", false),
            udp("192.0.2.20", false),
            udp("127.0.0.1", false),
            udp("::", false),
            udp("::", true),
            udp("::ffff:192.0.2.20", false),
            udp("2001:db8::1", false),
            Socket { peer: Some(("192.0.2.1".parse().unwrap(), 9)), ..udp("0.0.0.0", false) },
            socket(Transport::Tcp, "::", false),
        ];
        let wanted = ["any", "192.0.2.20", "0.0.0.0", "2001:db8::1", "::", "::ffff:192.0.2.20"];
        let mut table = String::new();
        for socket in &sockets {
            write!(table, "{socket} (address {}):", socket.address).unwrap();
            let (transport, other) = match socket.transport {
                Transport::Udp => (Transport::Udp, Transport::Tcp),
                Transport::Tcp => (Transport::Tcp, Transport::Udp),
            };
            for wanted in wanted {
                let listener = Listener { transport, address: wanted.parse().ok(), port: 4739 };
                if socket.serves(&listener) {
                    write!(table, " {wanted}").unwrap();
                }
                assert!(!socket.serves(&Listener { port: 4740, ..listener }), "another port");
                assert!(!socket.serves(&Listener { transport: other, ..listener }), "another transport");
            }
            table += "\n";
        }
        insta::assert_snapshot!(table);
    }

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let whole = message.len() >= INET_DIAG_MSG;
            prop_assert_eq!(read(SOCK_DIAG_BY_FAMILY, &message, Transport::Udp).is_some(), whole);
        }
    }
}
