//! Why no socket receives a datagram, and what to do. Start at [`why_no_socket`].

use crate::host::{Arrival, Mismatch, Socket};
use crate::scenario::require::Transport;

/// Why no socket receives a datagram, and what to do; for sockets that are expected and for those that were seen. `real`: on a real machine, not in a
/// lab.
pub fn why_no_socket(arrival: &Arrival<'_>, sockets: &[Socket], real: bool) -> (String, String) {
    let mismatches = sockets.iter().filter_map(|socket| Some((socket.mismatch(arrival)?, socket)));
    let nearest = mismatches.filter(|(why, _)| *why != Mismatch::Port).min_by_key(|(why, _)| *why);
    let others: Vec<&Socket> =
        sockets.iter().filter(|socket| socket.transport == Transport::Udp && socket.peer.is_none()).collect();
    let fix = if real { on_the_machine } else { in_a_scenario };
    let fix = fix(arrival, nearest, others.first().copied());
    (why(arrival, nearest, &others), fix)
}

fn why(arrival: &Arrival<'_>, nearest: Option<(Mismatch, &Socket)>, others: &[&Socket]) -> String {
    let Arrival { destination, port, .. } = arrival;
    if *port == 0 {
        return "no socket can be bound to UDP port 0 (RFC 768: not used)".to_owned();
    }
    let Some((mismatch, socket)) = nearest else {
        let there: Vec<String> = others.iter().take(4).map(ToString::to_string).collect();
        let there = if there.is_empty() { String::new() } else { format!("; there is {}", there.join(", ")) };
        return format!("nothing listens on UDP port {port}{there}");
    };
    let what = match mismatch {
        Mismatch::Peer => format!("is connected to another peer: {socket}"),
        Mismatch::Device => {
            format!("is bound to another interface than {}: {socket}", arrival.interface.unwrap_or_default())
        }
        Mismatch::Address => format!("is bound to another address than {destination}: {socket}"),
        Mismatch::V6Only => "is an IPv6 socket, and refuses IPv4 (IPV6_V6ONLY)".to_owned(),
        Mismatch::V4Only => "is an IPv4 socket, and the datagram is IPv6".to_owned(),
        Mismatch::Port => "has another port".to_owned(),
    };
    format!("the socket on UDP port {port} {what}")
}

/// What to change of a real machine: its application, not the capture. `other`: a socket on another port.
fn on_the_machine(arrival: &Arrival<'_>, nearest: Option<(Mismatch, &Socket)>, other: Option<&Socket>) -> String {
    let Arrival { destination, port, .. } = arrival;
    match nearest {
        _ if *port == 0 => "send to the port that the application listens on; `ss -ulnp` shows it".to_owned(),
        Some((Mismatch::Address, socket)) => {
            let any = if destination.is_ipv4() { "0.0.0.0" } else { "::" };
            let or = match socket.address {
                address if address.is_loopback() => String::new(),
                address => format!(", or send to {address}"),
            };
            format!("let the application bind {destination} or {any}{or}")
        }
        Some((mismatch, socket)) => of_the_application(arrival, mismatch, socket),
        None => {
            let start = match other {
                Some(other) => {
                    format!("let the application listen on UDP port {port}, or send to port {}", other.port)
                }
                None => format!("start the application that listens on UDP port {port}"),
            };
            format!("{start}; `ss -ulnp` shows who listens where")
        }
    }
}

fn in_a_scenario(arrival: &Arrival<'_>, nearest: Option<(Mismatch, &Socket)>, other: Option<&Socket>) -> String {
    let Arrival { source, destination, port, .. } = arrival;
    match (nearest, other) {
        (Some((Mismatch::Address, Socket { address, .. })), _)
            if !address.is_loopback() && address.is_ipv4() == destination.is_ipv4() =>
        {
            format!(
                "`[rewrite.destination] ip = {{ \"{destination}\" = \"{address}\" }}`, or let the application listen on any \
                 address"
            )
        }
        (Some((Mismatch::Address, _)), _) => "let the application listen on any address".to_owned(),
        (Some((Mismatch::Peer, Socket { peer, .. })), _) => {
            let map = match (source, peer) {
                (Some((source, _)), Some((peer, _))) if source != peer => {
                    format!("`[rewrite.source] ip = {{ \"{source}\" = \"{peer}\" }}`, or ")
                }
                _ => String::new(),
            };
            format!("{map}let the application listen with a socket that isn't connected")
        }
        (Some((mismatch, socket)), _) => of_the_application(arrival, mismatch, socket),
        (None, Some(other)) if *port == 0 => format!("`[rewrite.destination] port = {{ 0 = {} }}`", other.port),
        (None, None) if *port == 0 => {
            "map the port to one that the application listens on: `[rewrite.destination] port = { 0 = 514 }`".to_owned()
        }
        (None, Some(other)) => format!(
            "`[rewrite.destination] port = {{ {port} = {} }}`, or let the application listen on {port}",
            other.port
        ),
        (None, None) => {
            format!("let the application listen on {port}, or say where it listens: `[receiver] listens`")
        }
    }
}

/// What the application can change.
fn of_the_application(arrival: &Arrival<'_>, mismatch: Mismatch, socket: &Socket) -> String {
    match mismatch {
        Mismatch::Peer => {
            let peer = socket.peer.map(|(address, port)| format!(", or send from {address} port {port}"));
            format!("let the application listen with a socket that isn't connected{}", peer.unwrap_or_default())
        }
        Mismatch::Device => format!(
            "let the application bind its socket to {}, or to no interface (SO_BINDTODEVICE)",
            arrival.interface.unwrap_or_default()
        ),
        Mismatch::V6Only => {
            "let the application switch IPV6_V6ONLY off (`sysctl net.ipv6.bindv6only` is its default), or bind \
                             0.0.0.0 too"
                .to_owned()
        }
        Mismatch::V4Only => "let the application bind `::` instead, which receives both".to_owned(),
        Mismatch::Address | Mismatch::Port => "let the application listen there".to_owned(),
    }
}
