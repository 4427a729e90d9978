//! Lengths that IP and UDP headers announce, made right where they can't be: 0 or shorter than the header (segmentation offload), or
//! beyond the end of the frame.
//!
//! The checksum of the IPv4 header follows; those of the transports don't: a sender computes them over the packet that it means.

use super::checksums;
use super::rewrite_stats::{Left, RewriteStats};
use crate::packet::bytes::{be16, put};
use crate::packet::checksum::Change;
use crate::packet::ip;
use crate::packet::layers::{Fragment, Ip, Network, protocol};

/// Makes the lengths of a packet right, where `original_length` is where its frame ended on the wire; the packet as it is then, and
/// what has changed. `None` where nothing has.
pub(super) fn fix(
    network: &Network,
    original_length: u32,
    frame: &mut [u8],
    stats: &mut RewriteStats,
) -> Option<(Network, Change)> {
    let original = usize::try_from(original_length).unwrap_or(usize::MAX).max(frame.len());
    let changed = match network {
        Network::Ipv4(ip) => {
            let there = original.checked_sub(ip.offset)?;
            let wrong = ip.length < ip.payload - ip.offset || ip.length > there;
            let length = if wrong { announce(ip.offset + 2, there, frame, stats) } else { Change::NONE };
            length.and(checksums::update(length, ip.offset + 10, frame))
        }
        Network::Ipv6(ip) => {
            let there = original.checked_sub(ip.offset + 40)?;
            let wrong = ip.length == 0 || ip.length > there + 40;
            if wrong { announce(ip.offset + 4, there, frame, stats) } else { Change::NONE }
        }
        Network::None | Network::Arp { .. } => Change::NONE,
    };
    let packet = ip::find(frame, network.ip()?.offset);
    let datagram = packet.ip().map_or(Change::NONE, |ip| udp(ip, frame, stats));
    let changed = changed.and(datagram);
    (!changed.is_none()).then_some((packet, changed))
}

/// The length of a datagram that isn't fragmented.
fn udp(ip: &Ip, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    if ip.protocol != protocol::UDP || ip.fragment != Fragment::Whole || ip.length == 0 {
        return Change::NONE;
    }
    let Some(there) = (ip.offset + ip.length).checked_sub(ip.payload) else { return Change::NONE };
    match be16(frame, ip.payload + 4).map(usize::from) {
        Some(length) if length < 8 || length > there => announce(ip.payload + 4, there, frame, stats),
        _ => Change::NONE,
    }
}

fn announce(at: usize, length: usize, frame: &mut [u8], stats: &mut RewriteStats) -> Change {
    let (Some(old), Ok(new)) = (be16(frame, at), u16::try_from(length)) else {
        stats.leave(Left::Length);
        return Change::NONE;
    };
    put(frame, at, new.to_be_bytes());
    Change::word(old, new)
}
