//! The built-in receiver: binds every destination port, joins every group, reads everything, keeps nothing but the count.
//!
//! Needs no privilege but for ports under 1024. Start at [`BuiltIn::drain`].
#![expect(unsafe_code, reason = "nix joins no group by interface index, and allocates for recvmmsg")]

use std::ffi::c_int;
use std::fmt;
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockopt, setsockopt, socket, sockopt,
};

use super::packet_socket::set_option;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::interface;

/// How many datagrams one system call reads.
const BATCH: usize = 64;

/// The receive buffer that is asked for: as good as endless between two looks, and used only when filled.
const BUFFER_BYTES: usize = 64 << 20;

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl From<IpAddr> for Family {
    fn from(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl Family {
    fn wildcard(self, port: u16) -> SocketAddr {
        match self {
            Self::V4 => (Ipv4Addr::UNSPECIFIED, port).into(),
            Self::V6 => (Ipv6Addr::UNSPECIFIED, port).into(),
        }
    }

    fn socket(self) -> nix::Result<OwnedFd> {
        let family = match self {
            Self::V4 => AddressFamily::Inet,
            Self::V6 => AddressFamily::Inet6,
        };
        socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
    }
}

/// Sockets that are read and counted.
pub struct BuiltIn {
    epoll: Epoll,
    sockets: Vec<OwnedFd>,
    /// They hold the memberships; a wildcard socket receives every group that anyone on the machine has joined (`IP_MULTICAST_ALL`).
    members: Vec<OwnedFd>,
    events: Vec<EpollEvent>,
    buffer_bytes: usize,
    read: u64,
}

impl fmt::Debug for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sockets, members, buffer_bytes, read, .. } = self;
        write!(f, "BuiltIn({} sockets, {} for groups, {buffer_bytes} bytes, {read} read)", sockets.len(), members.len())
    }
}

impl BuiltIn {
    /// Binds one wildcard socket for each port and family, and joins the groups on `interface`, in the calling thread's network
    /// namespace. A port or group named twice counts once; port 0 can't be bound, and is left out.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::diagnostic::Kind::Invalid) when there is no such interface;
    /// [`Kind::Blocked`](crate::diagnostic::Kind::Blocked) when a port is taken or forbidden, a family is switched off, a group can't be
    /// joined, or the process may not open that many sockets.
    pub fn bind(ports: &[(u16, Family)], groups: &[IpAddr], interface: &str) -> Result<Self> {
        let facts = interface::existing(interface)?;
        let mut ports: Vec<_> = ports.iter().copied().filter(|(port, _)| *port != 0).collect();
        ports.sort_unstable();
        ports.dedup();
        let mut groups = groups.to_vec();
        groups.sort_unstable();
        groups.dedup();

        allow_descriptors(ports.len() + groups.len());
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
        let mut receiver = Self {
            epoll: epoll.map_err(|errno| Failure::system("can't wait for sockets (epoll)", &errno.into()))?,
            sockets: Vec::with_capacity(ports.len()),
            members: Vec::new(),
            events: vec![EpollEvent::empty(); 64],
            buffer_bytes: usize::MAX,
            read: 0,
        };
        for (port, family) in ports {
            receiver.listen(port, family).map_err(|errno| refused(family.wildcard(port), errno))?;
        }
        for group in groups {
            receiver.join(group, facts.index).map_err(|error| {
                Failure::blocked(
                    Diagnostic::error(format!("the built-in receiver can't join the group `{group}` on `{interface}`"))
                        .why(error.to_string())
                        .fix("filter these packets out with `[capture] filter`, or name a `[receiver] command`"),
                )
            })?;
        }
        Ok(receiver)
    }

    /// Reads all that is there now, and never blocks. Returns how many datagrams it read.
    ///
    /// # Errors
    /// When a socket can't be read.
    pub fn drain(&mut self) -> Result<u64> {
        let before = self.read;
        loop {
            let ready = match self.epoll.wait(&mut self.events, EpollTimeout::ZERO) {
                Ok(0) => return Ok(self.read - before),
                Ok(ready) => ready,
                Err(nix::Error::EINTR) => continue,
                Err(errno) => return Err(Failure::system("can't wait for datagrams (epoll)", &errno.into())),
            };
            for event in &self.events[..ready] {
                let at = usize::try_from(event.data()).expect("a place among the sockets");
                loop {
                    let count = discard(&self.sockets[at])
                        .map_err(|error| Failure::system("the built-in receiver can't read a datagram", &error))?;
                    self.read += u64::try_from(count).expect("at most 64");
                    if count < BATCH {
                        break;
                    }
                }
            }
        }
    }

    /// Datagrams read so far.
    #[cfg(test)]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// The smallest receive buffer of its sockets, in bytes of the kernel's own accounting: a datagram counts as the kernel's buffer for its
    /// frame and some 300 bytes, and that buffer is a power of two. What is sent between two calls of [`Self::drain`] must fit. `usize::MAX`
    /// without sockets.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    fn listen(&mut self, port: u16, family: Family) -> nix::Result<()> {
        let socket = family.socket()?;
        if family == Family::V6 {
            setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
        }
        // Beyond the machine's rmem_max only root may go.
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES)?;
        }
        bind(socket.as_raw_fd(), &SockaddrStorage::from(family.wildcard(port)))?;
        let place = u64::try_from(self.sockets.len()).expect("fewer than 2^64 sockets");
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, place))?;
        self.buffer_bytes = self.buffer_bytes.min(getsockopt(&socket, sockopt::RcvBuf)?);
        self.sockets.push(socket);
        Ok(())
    }

    /// A socket holds a limited number of memberships (`igmp_max_memberships`, 20; for IPv6 its option memory): the next takes the rest.
    fn join(&mut self, group: IpAddr, interface: u32) -> io::Result<()> {
        for fresh in [false, true] {
            if fresh || self.members.is_empty() {
                // A socket of IPv6 can join IPv4 groups as well, but not where IPv6 is switched off.
                self.members.push(Family::from(group).socket()?);
            }
            let member = self.members.last().expect("one was pushed");
            match join_group(member, group, interface) {
                Err(_) if !fresh => {}
                result => return result,
            }
        }
        unreachable!("the fresh socket's result is returned")
    }
}

/// Joins a group on one interface.
fn join_group(member: &OwnedFd, group: IpAddr, interface: u32) -> io::Result<()> {
    let interface = c_int::try_from(interface).expect("an interface index is a positive int");
    match group {
        IpAddr::V4(group) => set_option(
            member,
            libc::IPPROTO_IP,
            libc::IP_ADD_MEMBERSHIP,
            &libc::ip_mreqn {
                imr_multiaddr: libc::in_addr { s_addr: u32::from(group).to_be() },
                imr_address: libc::in_addr { s_addr: 0 },
                imr_ifindex: interface,
            },
        ),
        IpAddr::V6(group) => set_option(
            member,
            libc::IPPROTO_IPV6,
            libc::IPV6_ADD_MEMBERSHIP,
            &libc::ipv6_mreq {
                ipv6mr_multiaddr: libc::in6_addr { s6_addr: group.octets() },
                ipv6mr_interface: interface.unsigned_abs(),
            },
        ),
    }
}

/// Reads up to [`BATCH`] datagrams into nothing: the kernel still verifies the checksum of each, and counts it as read.
fn discard(socket: &OwnedFd) -> io::Result<usize> {
    // SAFETY: mmsghdr is integers and pointers, for which all zeros is a value: no address, no parts, no control messages.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
    let count = u32::try_from(BATCH).expect("64");
    // SAFETY: `headers` has `count` elements and lives across the call; they name no other memory, so the kernel writes only to them. A
    // null timeout means none.
    let read = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            ptr::null_mut(),
        )
    };
    usize::try_from(read).or_else(|_| {
        let error = io::Error::last_os_error();
        match error.kind() {
            // Nothing there, or only datagrams with wrong checksums; what a signal interrupted, the next look reads.
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
            _ => Err(error),
        }
    })
}

/// Raises the limit of open files as far as it may be, if it is too low. Where that isn't enough, the socket that is one too many says so.
fn allow_descriptors(wanted: usize) {
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(256);
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < wanted
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard);
    }
}

fn refused(address: SocketAddr, errno: nix::Error) -> Failure {
    let problem = Diagnostic::error(format!("the built-in receiver can't listen at `udp:{address}`")).why(errno.desc());
    Failure::blocked(match errno {
        nix::Error::EADDRINUSE => problem.fix("stop what listens there: `ss -ulnp` names it"),
        nix::Error::EACCES => {
            problem.fix("run as root, set net.ipv4.ip_unprivileged_port_start to 0, or map the port to one above 1023")
        }
        nix::Error::EAFNOSUPPORT => problem.fix("switch IPv6 on, or leave its packets out with `[capture] filter`"),
        nix::Error::EMFILE | nix::Error::ENFILE => {
            problem.fix("raise the limit of open files (`ulimit -Hn`), or replay fewer destination ports at a time")
        }
        _ => problem.fix("name a `[receiver] command`, or leave these packets out with `[capture] filter`"),
    })
}
