//! The stages of the ledger, in the order of a frame's way.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The stages of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Read from the file.
    Read,
    /// Left by filter, frames and what the scenario skips; times `repeat`.
    Selected,
    /// Rewritten.
    Rewritten,
    /// Accepted by the kernel on the sending interface.
    Sent,
    /// On the receiver's wire.
    Arrived,
    /// In the ring or queue of a packet socket of the application; beside the others: what is not there is no loss.
    Captured,
    /// Past routing and firewall.
    Accepted,
    /// Into a UDP socket's queue.
    Delivered,
    /// Read by the application.
    Consumed,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Read,
        Self::Selected,
        Self::Rewritten,
        Self::Sent,
        Self::Arrived,
        Self::Captured,
        Self::Accepted,
        Self::Delivered,
        Self::Consumed,
    ];

    /// The name as the language and the reports write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Selected => "selected",
            Self::Rewritten => "rewritten",
            Self::Sent => "sent",
            Self::Arrived => "arrived",
            Self::Captured => "captured",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Consumed => "consumed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
