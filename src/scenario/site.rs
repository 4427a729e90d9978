//! `[lab]` and `[target]`: where the frames go.

use ipnet::IpNet;

use crate::diagnostic::At;
use crate::packet::MacAddr;

/// The receiver's MAC in the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabMac {
    /// The destination MAC that the rewritten frames share, or the commonest.
    #[default]
    Captured,
    /// This one.
    Literal(MacAddr),
}

/// Routes back to the senders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Routes {
    /// Every source has one.
    #[default]
    Sources,
    /// These prefixes; empty for none.
    Prefixes(Vec<IpNet>),
}

/// One `sysctl` that the lab sets in the receiver's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysctlSetting {
    /// The key in dotted form, `{receiver}` already replaced by `rx0`. A dot inside an interface name is written `/`, as
    /// sysctl(8) does.
    pub key: String,
    /// What is written.
    pub value: String,
    /// The entry in the scenario.
    pub span: std::ops::Range<usize>,
}

/// `[lab]`, with legal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabWords {
    /// Largest layer 3 packet of both interfaces, in bytes; 68 to 65,535.
    pub mtu: At<u32>,
    /// The receiver's addresses with their prefix lengths (an address alone is a /32 or /128); `None`: every
    /// unicast destination of the rewritten frames.
    pub addresses: Option<At<Vec<IpNet>>>,
    /// The receiver's MAC.
    pub mac: At<LabMac>,
    /// Routes back.
    pub routes: At<Routes>,
    /// Set before the interfaces come up.
    pub sysctl: Vec<SysctlSetting>,
}

/// Where the frames go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiteWords {
    /// `[lab]`, or neither table.
    Lab(LabWords),
    /// `[target] interface`.
    Target {
        /// The real interface.
        interface: At<String>,
    },
}
