//! The UDP sockets and TCP listeners of a network namespace, with their queues and drops (`sock_diag`).
//!
//! No privilege. Start at [`SocketTable::udp`] and [`serves`].

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use super::netlink::{Attributes, Channel, u32_at};
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
/// `TCP_LISTEN`.
const STATE_LISTEN: u32 = 10;

/// A UDP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpSocket {
    /// The address that it is bound to; `0.0.0.0` or `::` for any.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The only peer that it hears, where it is connected.
    pub peer: Option<(IpAddr, u16)>,
    /// The index of the only interface that it hears; 0 for any.
    pub interface: u32,
    /// Whether an IPv6 socket leaves IPv4 alone; `None` for IPv4 sockets, and where it is connected.
    pub v6only: Option<bool>,
    /// Names the socket in `/proc/PID/fd`.
    pub inode: u32,
    /// Who made it.
    pub uid: u32,
    /// What waits to be read, with the kernel's own overhead.
    pub receive_queue_bytes: u32,
    /// The limit of that.
    pub receive_buffer_bytes: u32,
    /// Datagrams dropped since the socket was made: no room, its filter, or a wrong checksum found while reading.
    pub drops: u32,
}

/// A TCP socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpListener {
    /// The address that it is bound to; `0.0.0.0` or `::` for any.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The index of the only interface that it hears; 0 for any.
    pub interface: u32,
    /// Whether an IPv6 socket leaves IPv4 alone; `None` for IPv4 sockets.
    pub v6only: Option<bool>,
    /// Names the socket in `/proc/PID/fd`.
    pub inode: u32,
    /// Who made it.
    pub uid: u32,
}

/// The sockets of one network namespace, asked again and again, from any thread.
pub struct SocketTable(Mutex<Channel>);

impl SocketTable {
    /// Opens the table of the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel gives no netlink socket.
    pub fn open() -> Result<Self> {
        match Channel::open(NETLINK_SOCK_DIAG) {
            Ok(channel) => Ok(Self(Mutex::new(channel))),
            Err(error) => Err(Failure::system("can't ask for sockets (sock_diag)", &error)),
        }
    }

    /// Every UDP socket, IPv4 and IPv6. A dual-stack socket is an IPv6 one.
    ///
    /// # Errors
    /// When the kernel doesn't answer, or can't (`udp_diag` is a module).
    pub fn udp(&self) -> Result<Vec<UdpSocket>> {
        self.both_families(Transport::Udp, u32::MAX).map(|entries| entries.into_iter().map(Entry::into_udp).collect())
    }

    /// The first of these listeners that no socket serves; see [`serves`].
    ///
    /// # Errors
    /// As [`Self::udp`].
    pub fn first_unserved<'a>(&self, listeners: &'a [Listener]) -> Result<Option<&'a Listener>> {
        if listeners.is_empty() {
            return Ok(None);
        }
        let (udp, tcp) = (self.udp()?, self.tcp_listeners()?);
        Ok(listeners.iter().find(|listener| {
            !udp.iter().any(|socket| serves(socket, listener)) && !tcp.iter().any(|socket| serves(socket, listener))
        }))
    }

    /// Every TCP socket that listens, IPv4 and IPv6.
    ///
    /// # Errors
    /// As [`Self::udp`].
    pub fn tcp_listeners(&self) -> Result<Vec<TcpListener>> {
        self.both_families(Transport::Tcp, 1 << STATE_LISTEN)
            .map(|entries| entries.into_iter().map(Entry::into_tcp).collect())
    }

    fn both_families(&self, transport: Transport, states: u32) -> Result<Vec<Entry>> {
        let mut channel = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            match channel.dump(SOCK_DIAG_BY_FAMILY, &request(family, transport, states), &read) {
                Ok(found) => entries.extend(found),
                // A kernel without IPv6 has no handler for it, but one with it has both.
                Err(error) if family == libc::AF_INET6 && error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(unanswered(transport, &error)),
            }
        }
        Ok(entries)
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
fn request(family: i32, transport: Transport, states: u32) -> [u8; 56] {
    let mut body = [0; 56];
    body[0] = u8::try_from(family).expect("2 or 10");
    body[1] = match transport {
        Transport::Udp => 17,
        Transport::Tcp => 6,
    };
    body[2] = 1 << (INET_DIAG_SKMEMINFO - 1);
    body[4..8].copy_from_slice(&states.to_ne_bytes());
    body
}

/// What a socket of either transport has.
struct Entry {
    address: IpAddr,
    port: u16,
    peer: Option<(IpAddr, u16)>,
    interface: u32,
    v6only: Option<bool>,
    inode: u32,
    uid: u32,
    receive_queue_bytes: u32,
    receive_buffer_bytes: u32,
    drops: u32,
}

impl Entry {
    fn into_udp(self) -> UdpSocket {
        let Self { address, port, peer, interface, v6only, inode, uid, .. } = self;
        let Self { receive_queue_bytes, receive_buffer_bytes, drops, .. } = self;
        UdpSocket {
            address,
            port,
            peer,
            interface,
            v6only,
            inode,
            uid,
            receive_queue_bytes,
            receive_buffer_bytes,
            drops,
        }
    }

    fn into_tcp(self) -> TcpListener {
        let Self { address, port, interface, v6only, inode, uid, .. } = self;
        TcpListener { address, port, interface, v6only, inode, uid }
    }
}

/// Reads one `struct inet_diag_msg` with its attributes; `None` when it isn't one.
fn read(kind: u16, message: &[u8]) -> Option<Entry> {
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
    let mut entry = Entry {
        address: address(8)?,
        port: port(4)?,
        peer: address(24).filter(|_| peer_port != 0).map(|address| (address, peer_port)),
        interface: u32_at(message, 40)?,
        v6only: None,
        inode: u32_at(message, 68)?,
        uid: u32_at(message, 64)?,
        receive_queue_bytes: u32_at(message, 56)?,
        receive_buffer_bytes: 0,
        drops: 0,
    };
    for (kind, content) in Attributes(message.get(INET_DIAG_MSG..)?) {
        match kind {
            INET_DIAG_SKMEMINFO => {
                entry.receive_buffer_bytes = u32_at(content, 4 * SKMEMINFO_RECEIVE_BUFFER).unwrap_or(0);
                entry.drops = u32_at(content, 4 * SKMEMINFO_DROPS).unwrap_or(0);
            }
            INET_DIAG_SKV6ONLY if family == libc::AF_INET6 => entry.v6only = content.first().map(|byte| *byte != 0),
            _ => {}
        }
    }
    Some(entry)
}

/// Where a socket hears; what [`serves`] looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// UDP or TCP.
    pub transport: Transport,
    /// `0.0.0.0` or `::` for any.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Hears one peer only.
    pub connected: bool,
    /// As in [`UdpSocket::v6only`]; `None` on an IPv6 socket counts as false, the kernel's default.
    pub v6only: Option<bool>,
}

impl From<&UdpSocket> for Bound {
    fn from(socket: &UdpSocket) -> Self {
        let UdpSocket { address, port, v6only, .. } = *socket;
        Self { transport: Transport::Udp, address, port, connected: socket.peer.is_some(), v6only }
    }
}

impl From<&TcpListener> for Bound {
    fn from(socket: &TcpListener) -> Self {
        let TcpListener { address, port, v6only, .. } = *socket;
        Self { transport: Transport::Tcp, address, port, connected: false, v6only }
    }
}

/// Whether the socket hears what is sent to the listener's address and port: `::` serves IPv4 too, unless it is IPv6 only; a connected
/// socket serves its peer alone, and so nobody. A listener without an address is served by any. The socket's interface isn't
/// looked at.
pub fn serves<'a, Socket>(socket: &'a Socket, listener: &Listener) -> bool
where
    Bound: From<&'a Socket>,
{
    let bound = Bound::from(socket);
    if bound.transport != listener.transport || bound.port != listener.port || bound.connected {
        return false;
    }
    let Some(wanted) = listener.address else { return true };
    // An IPv6 socket bound to ::ffff:192.0.2.1 is an IPv4 socket in all but name (RFC 4291 §2.5.5.2).
    match (bound.address.to_canonical(), wanted.to_canonical()) {
        (IpAddr::V4(own), IpAddr::V4(wanted)) => own.is_unspecified() || own == wanted,
        (IpAddr::V6(own), IpAddr::V6(wanted)) => own.is_unspecified() || own == wanted,
        (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && bound.v6only != Some(true),
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    }
}

/// Whether a process's UDP socket, named by its inode, is an encapsulation socket (`UDP_ENCAP`, udp(7)): the kernel takes datagrams out of
/// it before the process can read them. `false` as well where the process can't be asked, which takes the right to trace it.
pub fn encapsulates(pid: u32, inode: u32) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let name = format!("socket:[{inode}]");
    let is_it =
        |entry: &fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == name.as_str());
    let number = entries.flatten().find(is_it).and_then(|entry| entry.file_name().to_str()?.parse().ok());
    number
        .and_then(|number| super::borrow::socket_of(pid, number))
        .is_some_and(|socket| super::borrow::encapsulates(&socket))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

    fn udp(address: &str, v6only: Option<bool>) -> UdpSocket {
        UdpSocket {
            address: address.parse().unwrap(),
            port: 4739,
            peer: None,
            interface: 0,
            v6only,
            inode: 1,
            uid: 0,
            receive_queue_bytes: 0,
            receive_buffer_bytes: 0,
            drops: 0,
        }
    }

    #[test]
    fn a_socket_serves_what_the_kernel_would_give_it() {
        let sockets = [
            udp("0.0.0.0", None),
            udp("192.0.2.20", None),
            udp("127.0.0.1", None),
            udp("::", Some(false)),
            udp("::", Some(true)),
            udp("::ffff:192.0.2.20", Some(false)),
            udp("2001:db8::1", Some(false)),
            UdpSocket { peer: Some(("192.0.2.1".parse().unwrap(), 9)), ..udp("0.0.0.0", None) },
        ];
        let wanted = ["any", "192.0.2.20", "0.0.0.0", "2001:db8::1", "::", "::ffff:192.0.2.20"];
        let mut table = String::new();
        for socket in &sockets {
            let UdpSocket { address, v6only, peer, .. } = socket;
            write!(table, "{address} v6only={v6only:?} connected={}:", peer.is_some()).unwrap();
            for wanted in wanted {
                let listener = Listener { transport: Transport::Udp, address: wanted.parse().ok(), port: 4739 };
                if serves(socket, &listener) {
                    write!(table, " {wanted}").unwrap();
                }
                assert!(!serves(socket, &Listener { port: 4740, ..listener }), "another port");
                assert!(!serves(socket, &Listener { transport: Transport::Tcp, ..listener }), "another transport");
            }
            table += "\n";
        }
        insta::assert_snapshot!(table);
    }

    #[test]
    fn a_tcp_listener_serves_tcp() {
        let UdpSocket { address, port, v6only, .. } = udp("::", Some(false));
        let socket = TcpListener { address, port, interface: 0, v6only, inode: 1, uid: 0 };
        let listener = Listener { transport: Transport::Tcp, address: Some("192.0.2.1".parse().unwrap()), port };
        assert!(serves(&socket, &listener));
        assert!(!serves(&socket, &Listener { transport: Transport::Udp, ..listener }));
    }

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(message in proptest::collection::vec(any::<u8>(), 0..200)) {
            let whole = message.len() >= INET_DIAG_MSG;
            prop_assert_eq!(read(SOCK_DIAG_BY_FAMILY, &message).is_some(), whole);
        }
    }
}
