//! What the receiver sent back, in figures. Start at [`Replies`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::figures::thousands;

/// What the receiver sent back on the same wire. Where frames were lost while they were looked at, numbers are null.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Replies {
    /// UDP datagrams of the application.
    pub datagrams: Option<u64>,
    /// Answers that the selected frames ask for: one for each question and round. A repetition of a question that has an identifier (DNS,
    /// RADIUS, SNMP, SIP, NTP, DHCP) is no other question.
    pub questions: Option<u64>,
    /// Those of them that came.
    pub answered: Option<u64>,
    /// ICMP errors of the receiver's kernel.
    pub icmp_errors: Option<Vec<IcmpErrors>>,
    /// Frames that the receiver's kernel sent by itself, by protocol: `arp`, `icmpv6` (neighbour discovery, MLD) …
    pub kernel: Option<BTreeMap<String, u64>>,
    /// Why numbers are null; null where they are not.
    pub why: Option<String>,
}

/// ICMP errors of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct IcmpErrors {
    /// Whether they are ICMPv6.
    pub ipv6: bool,
    /// The type.
    pub r#type: u8,
    /// The code.
    pub code: u8,
    /// What it means: `port unreachable`.
    pub name: String,
    /// How many.
    pub frames: u64,
}

impl Replies {
    /// The ICMP errors in words: `12 × port unreachable`; empty where there are none.
    pub fn errors_in_words(&self) -> String {
        let errors = self.icmp_errors.iter().flatten();
        let words: Vec<String> = errors.map(|error| format!("{} × {}", thousands(error.frames), error.name)).collect();
        words.join(", ")
    }
}
