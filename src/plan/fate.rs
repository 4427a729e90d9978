//! What the receiver's stack will do with each class of frame: from the frame, the addresses, the routes, the sysctls and the sockets.
//!
//! The order of the tests is the order of the kernel's; every branch stands on a case that was provoked on Linux 6.18.
//! `site` is what is known of the receiver, `stack` and `routing` decide, `sockets` tells why nobody hears, `words` and `remedy` say it.
//! Start at [`fates`].

mod remedy;
mod routing;
pub mod site;
mod sockets;
mod stack;
mod words;

pub use site::{Forwarding, Route, RouteKind, RouteTable, Site, Socket};
pub use sockets::{Hears, hears, why_no_socket};

use super::frame_ranges::FrameRanges;
use super::survey::{Class, ClassKey};
use crate::cause::Cause;
use crate::outcome::Stage;

/// What becomes of a frame once it is on the receiver's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// It comes into a UDP socket's queue.
    Delivered,
    /// The kernel itself takes it: ARP, ICMP, TCP and the like.
    Kernel,
    /// It is lost.
    Lost(Cause),
    /// It depends on what isn't known before the run (what the application joins).
    Open,
}

/// A class of frames with its end, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// What they share.
    pub key: ClassKey,
    /// The frames.
    pub frames: FrameRanges,
    /// UDP datagrams among them.
    pub datagrams: u64,
    /// IP packets among them: each whole packet is one, the fragments of one together are one; 0 for what isn't IP.
    pub packets: u64,
    /// The fewest frames that one of the datagrams has; 1 where it isn't fragmented.
    pub fewest_frames: u32,
    /// The most.
    pub most_frames: u32,
    /// What becomes of them.
    pub end: End,
    /// The stage that they don't come to; for what isn't lost, [`Stage::Consumed`].
    pub stage: Stage,
    /// The rule with its values; empty for what is delivered.
    pub why: String,
    /// What to do; empty for what is delivered.
    pub fix: String,
}

/// The fate of every class.
pub fn fates(classes: Vec<Class>, site: &Site) -> Vec<Fate> {
    classes.into_iter().map(|class| fate(class, site)).collect()
}

/// The fate of a class.
pub fn fate(class: Class, site: &Site) -> Fate {
    let Class { key, frames, datagrams, packets } = class;
    let end = stack::end(&key, site);
    let (stage, why, fix) = match end {
        End::Delivered | End::Open => (Stage::Consumed, String::new(), String::new()),
        End::Kernel => {
            let row = Cause::Kernel.row();
            (Stage::Consumed, row.why.to_owned(), row.fix.to_owned())
        }
        End::Lost(cause) => (stack::stage(cause, &key), words::why(cause, &key, site), remedy::fix(cause, &key, site)),
    };
    let each = u32::try_from(frames.count() / datagrams.max(1)).unwrap_or(u32::MAX).max(1);
    let even = u64::from(each) * datagrams == frames.count();
    let (fewest_frames, most_frames) = if even { (each, each) } else { (1, u32::try_from(frames.count()).unwrap_or(u32::MAX)) };
    Fate { key, frames, datagrams, packets, fewest_frames, most_frames, end, stage, why, fix }
}

#[cfg(test)]
mod tests;
