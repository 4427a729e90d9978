//! What the receiver's stack will do with each class of frame: from the frame, the addresses, the routes, the sysctls and the sockets.
//!
//! The order of the tests is the order of the kernel's; every branch was provoked on Linux 6.18.
//! `stack` and `routing` decide, `sockets` says why no socket receives a datagram, `words` why the rest is lost, and what to do.
//! Start at [`predictions`].

mod class;
mod filter;
mod flaw;
pub(crate) mod headers;
mod refused;
mod routing;
mod sockets;
mod stack;
mod tags;
mod words;

pub use sockets::why_no_socket;
pub use words::{remedy, there};

use std::fmt;

use crate::cause::Cause;
use crate::host::Host;
use crate::outcome::Stage;
pub(crate) use class::Merged;
pub use class::{Carried, Class, ClassKey};
pub use flaw::Flaw;
pub(crate) use flaw::{flaw, ttl_expired};
pub use headers::{Fault, Header, Wrong, has_source_route};
pub use tags::Tags;
pub(crate) use tags::{Received, received};

/// What the receiver does with a frame that reaches its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// It reaches a UDP socket's queue.
    Delivered,
    /// The kernel itself takes it: ARP, ICMP, TCP and the like.
    Kernel,
    Lost(Cause),
    /// It depends on what isn't known before the run (what the application joins).
    Open,
}

impl fmt::Display for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered => f.write_str("delivered"),
            Self::Kernel => f.write_str("kernel"),
            Self::Open => f.write_str("open"),
            Self::Lost(cause) => write!(f, "lost: {}", cause.name()),
        }
    }
}

/// What a host does with a class of frames, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prediction {
    pub class: Class,
    /// What the host does with them.
    pub disposition: Disposition,
    /// The stage that they don't reach; for what isn't lost, [`Stage::Consumed`].
    pub stage: Stage,
    /// The rule with its values, or why the disposition is open; empty for what is delivered.
    pub why: String,
    /// What to do; empty for what is delivered or open.
    pub fix: String,
}

pub fn predictions(classes: Vec<Class>, host: &Host) -> Vec<Prediction> {
    classes.into_iter().map(|class| prediction(class, host)).collect()
}

pub fn prediction(class: Class, host: &Host) -> Prediction {
    let (key, most_frames) = (class.key, class.most_frames);
    let (mut disposition, mut stage) = disposition(&key, host);
    let is_seen_in_pieces = most_frames > 1 && host.filter.sees_fragments(key.is_ipv6());
    if is_seen_in_pieces && !matches!(disposition, Disposition::Lost(_)) {
        (disposition, stage) = (Disposition::Open, Stage::Consumed);
    }
    let (why, fix) = match disposition {
        Disposition::Delivered => (String::new(), String::new()),
        Disposition::Open if is_seen_in_pieces => (
            "the ruleset can't be predicted: its chains see the fragments of a datagram one by one".to_owned(),
            String::new(),
        ),
        Disposition::Open => (words::open(&key, host), String::new()),
        Disposition::Kernel => (
            "answered or absorbed by the receiver's kernel itself (ARP, ND, ICMP, IGMP, TCP); not a loss".to_owned(),
            "nothing to do; `[capture] filter = \"udp\"` leaves such frames out".to_owned(),
        ),
        Disposition::Lost(cause) => {
            // The filter drops the packet as it arrives; what is behind it sees it translated.
            let carried = if cause == Cause::NetfilterDrop { key.carried } else { goes_to(&key, host) };
            let key = ClassKey { carried, ..key };
            words::said(cause, &key, host)
        }
    };
    Prediction { class, disposition, stage, why, fix }
}

/// What the packets of a class are behind the rules that translate addresses and ports.
pub fn goes_to(key: &ClassKey, host: &Host) -> Carried {
    stack::translated(key, host).map_or(key.carried, |translated| translated.carried)
}

/// What the host does with the frames of a class, and the stage that they don't reach.
pub(super) fn disposition(key: &ClassKey, host: &Host) -> (Disposition, Stage) {
    let disposition = stack::disposition(key, host);
    let stage = match disposition {
        Disposition::Delivered | Disposition::Open | Disposition::Kernel => Stage::Consumed,
        Disposition::Lost(cause) => stack::stage(cause, key, host),
    };
    (disposition, stage)
}

#[cfg(test)]
mod tests;
