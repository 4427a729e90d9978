//! What the caller of a run decides, beside the scenario.

use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::outcome::EvidenceLevel;

/// What the caller of a run decides, beside the scenario. Everything has a default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Options {
    /// Real interfaces that scenarios with `[target] interface` may send on: frames there reach other hosts.
    pub allow_interfaces: Vec<String>,
    /// Where their frames may go beside private, link-local, loopback and documentation addresses, and groups whose scope is the site at most.
    pub allow_destinations: Vec<IpNet>,
    /// How many of their frames may be due in one second; `None`: 10,000.
    pub allow_rate: Option<u64>,
    /// Whether scenarios with `[receiver] at` may use the network namespace that this process is in: an interface, addresses and routes are added
    /// there for the run.
    pub allow_host: bool,
    /// Where programs that a scenario requires are not installed, it is blocked, not skipped.
    pub strict: bool,
    /// Write the snapshots of `[expect] rewritten` instead of comparing with them.
    pub update_snapshots: bool,
    /// Where a snapshot is missing or different, write the new one beside it, as `NAME.new`, for `restage review`.
    pub propose_snapshots: bool,
    /// Write what identifies each frame that is sent into this file, for `restage watch --sent` where the receiver is.
    pub sent: Option<PathBuf>,
    /// Copy this program to the machine of a receiver that is elsewhere, where it has none.
    pub push: bool,
    /// How closely the receiver's stack is looked at; `None`: as closely as the rate allows.
    pub evidence: Option<EvidenceLevel>,
    /// Keep what applications wrote, in their folders.
    pub keep_work: bool,
    /// Read each capture once more, and put its SHA-256 into the outcome.
    pub capture_digests: bool,
    /// Report all that applications print.
    pub show_output: bool,
    /// The folder that what is saved goes to; empty: the current one.
    pub report_folder: PathBuf,
}
