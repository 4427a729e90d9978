//! `listens` and `firewall`: sockets, as `udp:4739`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::super::form::{refused, values};

const FIX: &str = "write \"udp:4739\", \"udp:192.0.2.20:4739\" or \"udp:[2001:db8::1]:4739\", or the same with tcp";

values! {
    Listener: String, |text: &String| text.parse().map_err(|why: String| refused(why, FIX));
}

/// A UDP or TCP socket that must be bound: `udp:4739`, `udp:192.0.2.20:4739`, `udp:[2001:db8::1]:4739`, `tcp:…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// Transport protocol.
    pub transport: Transport,
    /// The address that must be served; `None`: any.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// A transport protocol with listening sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// UDP (RFC 768).
    Udp,
    /// TCP (RFC 9293).
    Tcp,
}

impl Listener {
    pub fn is_udp(&self) -> bool {
        self.transport == Transport::Udp
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.transport {
            Transport::Udp => "udp:",
            Transport::Tcp => "tcp:",
        })?;
        match self.address {
            None => {}
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
        }
        write!(f, "{}", self.port)
    }
}

impl FromStr for Listener {
    type Err = String;

    /// Reads what [`Display`](fmt::Display) writes; the error is the reason.
    fn from_str(text: &str) -> Result<Self, String> {
        let (transport, rest) = text.split_once(':').ok_or("the transport is missing: udp or tcp, then a colon")?;
        let transport = match transport {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            other => return Err(format!("`{other}` is not udp or tcp")),
        };
        let (address, port) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((address, port)) => (Some(listener_address(address)?), port),
        };
        match port.parse() {
            Ok(0) | Err(_) => Err(format!("`{port}` is not a port from 1 to 65535")),
            Ok(port) => Ok(Self { transport, address, port }),
        }
    }
}

fn listener_address(text: &str) -> Result<IpAddr, String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse().map(IpAddr::V6).map_err(|_| format!("`{inner}` is not an IPv6 address"));
    }
    if text.parse::<Ipv6Addr>().is_ok() || text.contains(':') {
        return Err("an IPv6 address is written in brackets".to_owned());
    }
    text.parse().map(IpAddr::V4).map_err(|_| format!("`{text}` is not an IPv4 address"))
}
