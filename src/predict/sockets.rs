//! Which socket hears a datagram, and why none does. Start at [`why_no_socket`].

use std::net::IpAddr;

use crate::host::Socket;
use crate::scenario::require::Transport;

/// Whether a UDP socket hears a datagram (`compute_score`, `__udp_is_mcast_sock`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hears {
    /// It does.
    Yes,
    /// It is connected to another peer.
    OtherPeer,
    /// It is bound to another interface.
    OtherDevice,
    /// It is bound to another address.
    OtherAddress,
    /// It leaves IPv4 alone.
    V6Only,
    /// It is an IPv4 socket, the datagram is of IPv6.
    V4Only,
    /// It is bound to another port, or not a UDP socket.
    OtherPort,
}

/// Whether a socket hears a datagram to this address and port; `source` where it is known, `interface`: where it came in.
pub fn hears(socket: &Socket, destination: IpAddr, port: u16, source: Option<(IpAddr, u16)>, interface: &str) -> Hears {
    if socket.transport != Transport::Udp || socket.port != port {
        return Hears::OtherPort;
    }
    // An IPv6 socket bound to ::ffff:192.0.2.1 is an IPv4 socket in all but name (RFC 4291 §2.5.5.2).
    match (socket.address.map(|address| address.to_canonical()), destination.to_canonical()) {
        (Some(IpAddr::V4(own)), IpAddr::V6(_)) if own.is_unspecified() => return Hears::V4Only,
        (Some(IpAddr::V4(own)), IpAddr::V4(_)) if own.is_unspecified() => {}
        (None, IpAddr::V4(_)) if socket.v6only => return Hears::V6Only,
        (None, _) => {}
        (Some(own), IpAddr::V4(_)) if own.is_unspecified() && socket.v6only => return Hears::V6Only,
        (Some(own), _) if own.is_unspecified() => {}
        (Some(own), destination) if own == destination => {}
        (Some(_), _) => return Hears::OtherAddress,
    }
    if socket.device.as_deref().is_some_and(|device| device != interface) {
        return Hears::OtherDevice;
    }
    let canonical = |(address, port): (IpAddr, u16)| (address.to_canonical(), port);
    match (socket.peer, source) {
        (Some(peer), Some(source)) if canonical(peer) != canonical(source) => Hears::OtherPeer,
        _ => Hears::Yes,
    }
}

/// Why no socket hears a datagram, and what to do; it can be asked of sockets that are planned and of those that were seen.
///
/// `source` is the datagram's, where it is known; `interface` is where it came in.
pub fn why_no_socket(
    destination: IpAddr,
    port: u16,
    source: Option<(IpAddr, u16)>,
    sockets: &[Socket],
    interface: &str,
) -> (String, String) {
    let nearest = nearest(destination, port, source, sockets, interface);
    (why(destination, port, nearest, sockets, interface), in_a_scenario(destination, port, source, nearest, sockets))
}

/// The same where the receiver is a real machine, whose application is to change and not the capture.
pub(super) fn why_no_socket_here(
    destination: IpAddr,
    port: u16,
    source: Option<(IpAddr, u16)>,
    sockets: &[Socket],
    interface: &str,
) -> (String, String) {
    let nearest = nearest(destination, port, source, sockets, interface);
    let any = if destination.is_ipv4() { "0.0.0.0" } else { "::" };
    let fix = match nearest {
        _ if port == 0 => "send to the port that the application listens on; `ss -ulnp` shows it".to_owned(),
        Some((Hears::OtherAddress, socket)) => match socket.address.filter(|address| !address.is_loopback()) {
            Some(address) => format!("let the application bind {destination} or {any}, or send to {address}"),
            None => format!("let the application bind {destination} or {any}"),
        },
        Some((reason, socket)) => let_it(reason, socket, interface),
        None => match others(sockets).next() {
            Some(other) => format!(
                "let the application listen on UDP port {port}, or send to port {}; `ss -ulnp` shows who listens where",
                other.port
            ),
            None => {
                format!("start the application that listens on UDP port {port}; `ss -ulnp` shows who listens where")
            }
        },
    };
    (why(destination, port, nearest, sockets, interface), fix)
}

/// The socket on that port that comes nearest to hearing it.
fn nearest<'a>(
    destination: IpAddr,
    port: u16,
    source: Option<(IpAddr, u16)>,
    sockets: &'a [Socket],
    interface: &str,
) -> Option<(Hears, &'a Socket)> {
    let reason = |socket: &'a Socket| (hears(socket, destination, port, source, interface), socket);
    sockets
        .iter()
        .map(reason)
        .filter(|(hears, _)| !matches!(hears, Hears::OtherPort | Hears::Yes))
        .min_by_key(|(hears, _)| *hears)
}

fn others(sockets: &[Socket]) -> impl Iterator<Item = &Socket> {
    sockets.iter().filter(|socket| socket.transport == Transport::Udp && socket.peer.is_none())
}

fn why(
    destination: IpAddr,
    port: u16,
    nearest: Option<(Hears, &Socket)>,
    sockets: &[Socket],
    interface: &str,
) -> String {
    if port == 0 {
        return "no socket can be bound to UDP port 0 (RFC 768: not used)".to_owned();
    }
    let Some((reason, socket)) = nearest else {
        let there: Vec<String> = others(sockets).take(4).map(ToString::to_string).collect();
        let there = if there.is_empty() { String::new() } else { format!("; there is {}", there.join(", ")) };
        return format!("nothing listens on UDP port {port}{there}");
    };
    match reason {
        Hears::OtherPeer => format!("the socket on UDP port {port} is connected to another peer: {socket}"),
        Hears::OtherDevice => {
            format!("the socket on UDP port {port} is bound to another interface than {interface}: {socket}")
        }
        Hears::OtherAddress => {
            format!("the socket on UDP port {port} is bound to another address than {destination}: {socket}")
        }
        Hears::V6Only => {
            format!("the socket on UDP port {port} is an IPv6 socket, and refuses IPv4 (IPV6_V6ONLY)")
        }
        Hears::V4Only => format!("the socket on UDP port {port} is an IPv4 socket, and the datagram is IPv6"),
        Hears::Yes | Hears::OtherPort => format!("nothing listens on UDP port {port}"),
    }
}

/// What the application can change.
fn let_it(reason: Hears, socket: &Socket, interface: &str) -> String {
    match reason {
        Hears::OtherPeer => {
            let peer = socket.peer.map_or_else(String::new, |(address, port)| format!(", or send from {address} port {port}"));
            format!("let the application listen with a socket that isn't connected{peer}")
        }
        Hears::OtherDevice => {
            format!("let the application bind its socket to {interface}, or to no interface (SO_BINDTODEVICE)")
        }
        Hears::V6Only => {
            "let the application switch IPV6_V6ONLY off (`sysctl net.ipv6.bindv6only` is its default), or bind 0.0.0.0 too"
                .to_owned()
        }
        Hears::V4Only => "let the application bind `::` instead, which receives both".to_owned(),
        Hears::OtherAddress | Hears::OtherPort | Hears::Yes => "let the application listen there".to_owned(),
    }
}

fn in_a_scenario(
    destination: IpAddr,
    port: u16,
    source: Option<(IpAddr, u16)>,
    nearest: Option<(Hears, &Socket)>,
    sockets: &[Socket],
) -> String {
    match nearest {
        Some((Hears::OtherAddress, Socket { address: Some(address), .. }))
            if !address.is_loopback() && address.is_ipv4() == destination.is_ipv4() =>
        {
            format!(
                "`[rewrite.destination] ip = {{ \"{destination}\" = \"{address}\" }}`, or let the application listen on any \
                 address"
            )
        }
        Some((Hears::OtherAddress, _)) => "let the application listen on any address".to_owned(),
        Some((Hears::OtherPeer, Socket { peer: Some((peer, _)), .. })) => match source {
            Some((source, _)) if source != *peer => format!(
                "`[rewrite.source] ip = {{ \"{source}\" = \"{peer}\" }}`, or let the application listen with a socket that \
                 isn't connected"
            ),
            _ => "let the application listen with a socket that isn't connected".to_owned(),
        },
        Some((reason, socket)) => let_it(reason, socket, crate::scenario::topology::LAB_RECEIVER),
        None => match others(sockets).next() {
            Some(other) if port == 0 => format!("`[rewrite.destination] port = {{ 0 = {} }}`", other.port),
            None if port == 0 => {
                "map the port to one that the application listens on: `[rewrite.destination] port = { 0 = 514 }`"
                    .to_owned()
            }
            Some(other) => format!(
                "`[rewrite.destination] port = {{ {port} = {} }}`, or let the application listen on {port}",
                other.port
            ),
            None => format!("let the application listen on {port}, or say where it listens: `[receiver] listens`"),
        },
    }
}
