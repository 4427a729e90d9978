//! Checksums: updated by what changed, so that a bad one stays bad by the same difference (RFC 1624), and made right where asked.

use crate::packet::bytes::{array, be16, put};
use crate::packet::checksum::{
    Change, Field, Sum, computed_header_sum, computed_transport_sum, ip_header_sum, transport_sum,
};
use crate::packet::layers::{Ip, Network, protocol};
use crate::packet::sctp;

/// Updates the checksum at `at`, and says what that changed.
#[inline]
pub(super) fn update(change: Change, at: usize, frame: &mut [u8]) -> Change {
    let Some(old) = be16(frame, at).filter(|_| !change.is_none()) else { return Change::NONE };
    let new = change.update(old);
    put(frame, at, new.to_be_bytes());
    Change::word(old, new)
}

/// Updates the 16-bit checksum of the transport, where the packet has it: by `pseudo_header` too if it covers one. UDP's 0 says that
/// there is none, and stays (RFC 768).
#[inline]
pub(super) fn update_transport(network: &Network, pseudo_header: Change, payload: Change, frame: &mut [u8]) -> Change {
    if pseudo_header.is_none() && payload.is_none() {
        return Change::NONE;
    }
    let Some(field) = Field::find(network, frame) else { return Change::NONE };
    let change = if field.pseudo_header { pseudo_header.and(payload) } else { payload };
    let Some(old) = be16(frame, field.at).filter(|_| !change.is_none()) else { return Change::NONE };
    if field.zero_means_none && old == 0 {
        return Change::NONE;
    }
    write(field.at, field.written(change.update(old)), frame)
}

/// Updates the checksum of SCTP, which covers the ports, that were `before`, and no address; says what that changed. `None`: it
/// can't follow, and is wrong now.
pub(super) fn update_sctp(ip: &Ip, before: [u8; 4], frame: &mut [u8]) -> Option<Change> {
    match sctp::updated(ip, before, frame)? {
        sctp::Update::Unneeded => Some(Change::NONE),
        sctp::Update::To(new, change) => {
            put(frame, sctp::field(ip), new);
            Some(change)
        }
    }
}

/// Makes every checksum of a packet right that can be known: not in fragments, in cut packets and where UDP over IPv4 has none. Says
/// what that changed.
pub(super) fn fix(network: &Network, original_length: u32, frame: &mut [u8]) -> Change {
    let Some(ip) = network.ip() else { return Change::NONE };
    let mut change = Change::NONE;
    if ip_header_sum(network, frame) == Sum::Bad
        && let Some(right) = computed_header_sum(ip, frame)
    {
        change = write(ip.offset + 10, right, frame);
    }
    if !matches!(transport_sum(network, frame, original_length), Sum::Bad | Sum::Offload) {
        return change;
    }
    if ip.protocol == protocol::SCTP {
        let (Some(old), Some(right)) = (array(frame, sctp::field(ip)), sctp::computed(ip, frame)) else {
            return change;
        };
        put(frame, sctp::field(ip), right);
        return change.and(Change::double(u32::from_be_bytes(old), u32::from_be_bytes(right)));
    }
    match (Field::find(network, frame), computed_transport_sum(network, frame)) {
        (Some(field), Some(right)) => change.and(write(field.at, right, frame)),
        _ => change,
    }
}

#[inline]
pub(super) fn write(at: usize, new: u16, frame: &mut [u8]) -> Change {
    let Some(old) = be16(frame, at) else { return Change::NONE };
    put(frame, at, new.to_be_bytes());
    Change::word(old, new)
}
