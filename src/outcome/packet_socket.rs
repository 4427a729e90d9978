//! A packet socket of the application, in figures. Start at [`PacketSocket`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Amount;

/// A packet socket (packet(7)) of the application on the receiver's interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PacketSocket {
    /// Frames of the capture that reached its ring or queue.
    pub frames: Amount,
    /// Frames of others that it was offered, and that its filter takes.
    pub others: u64,
    /// Frames that it had no room for; null where its filter can't be read.
    pub dropped: Option<Amount>,
    /// Whether it has a ring that is shared with the kernel.
    pub ring: bool,
}
