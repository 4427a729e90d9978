//! `[require]`: what must hold before the first frame and after the last one.

use std::fmt;
use std::net::IpAddr;

use crate::diagnostic::At;

/// One `sysctl` whose effective value must be one of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysctlRule {
    /// Dotted key, placeholders already replaced.
    pub key: String,
    /// Allowed values, as text.
    pub allowed: Vec<String>,
    /// The entry in the scenario.
    pub span: std::ops::Range<usize>,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// UDP (RFC 768).
    Udp,
    /// TCP (RFC 9293).
    Tcp,
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

/// `[require]`, with legal values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Require {
    /// Programs that must be found; the scenario is skipped where one is absent.
    pub commands: Vec<At<String>>,
    /// Effective sysctl values.
    pub sysctl: Vec<SysctlRule>,
    /// Sockets that must be bound.
    pub listener: Vec<At<Listener>>,
}
