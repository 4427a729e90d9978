//! What a plan has to know of the place where a scenario runs. Start at [`Facts`].

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::host::{Existing, Filter, Host};
use crate::packet::MacAddr;

/// What is known of the place where a scenario runs, before it is planned.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The sending interface, where it is there already.
    pub sender: Option<LinkFacts>,
    /// The packet filter of the receiver that the scenario describes.
    pub filter: Filter,
    /// A host that stands for what the scenario calls the receiver.
    pub receiver: Option<Host>,
    /// The network namespace that the receiver is in, where that is there already.
    pub existing: Option<Existing>,
    /// Where the frames of a real interface may go, beside addresses that no host elsewhere has.
    pub allowed: Vec<IpNet>,
}

/// What is known of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFacts {
    /// Its MAC.
    pub mac: MacAddr,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The MAC of the router to other networks that is reached by it, where it was asked for.
    pub gateway: Option<MacAddr>,
}
