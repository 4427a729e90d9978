//! The checksum of SCTP: CRC-32c (RFC 9260 §6.8), and in captures from before 2003 Adler-32 (RFC 2960 §6.8).
//!
//! It covers the SCTP packet alone, so an address never changes it.

use super::bytes::array;
use super::checksum::{Change, Sum};
use super::crc;
use super::layers::{Fragment, Ip};

const FIELD: usize = 8;
const HEADER: usize = 12;

/// What the checksum says; either kind may be right.
pub(super) fn sum(ip: &Ip, frame: &[u8]) -> Sum {
    let Some(stored) = stored(ip, frame) else { return Sum::None };
    match whole(ip, frame) {
        None => Sum::Unverifiable,
        Some(packet) if crc32c(packet) == stored || adler32(packet) == stored => Sum::Good,
        Some(_) => Sum::Bad,
    }
}

/// The CRC-32c that the packet should have, in the order of the wire; `None` where not all of it is there.
pub(crate) fn computed(ip: &Ip, frame: &[u8]) -> Option<[u8; 4]> {
    whole(ip, frame).map(crc32c)
}

pub(crate) fn field(ip: &Ip) -> usize {
    ip.payload + FIELD
}

/// The checksum that says of the packet, as it is in `frame`, the same as the stored one says of the packet when its first four bytes,
/// the ports, were `before`. `None`: the packet is a fragment or says no usable length.
pub(crate) fn updated(ip: &Ip, before: [u8; 4], frame: &[u8]) -> Option<Update> {
    let changed = array(frame, ip.payload).filter(|after| *after != before);
    let (Some(after), Some(stored)) = (changed, stored(ip, frame)) else { return Some(Update::Unneeded) };
    let length = (ip.offset + ip.length).checked_sub(ip.payload + HEADER)? + HEADER;
    if ip.fragment != Fragment::Whole {
        return None;
    }
    let new = match whole(ip, frame) {
        Some(packet) if adler32_of(before.into_iter().chain(without_field(packet).skip(4))) == stored => {
            adler32(packet)
        }
        // The CRC of the change alone: what follows the ports hasn't changed, so it needs not have been captured.
        _ => {
            let change = before.into_iter().zip(after).map(|(before, after)| before ^ after);
            let difference = crc::SCTP.linear(0, change.chain(std::iter::repeat_n(0, length - 4)));
            (u32::from_le_bytes(stored) ^ difference).to_le_bytes()
        }
    };
    Some(Update::To(new, Change::double(u32::from_be_bytes(stored), u32::from_be_bytes(new))))
}

/// What has to be done to a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Update {
    /// Nothing that it covers changed, or it wasn't captured.
    Unneeded,
    /// It becomes this, which is this change of words.
    To([u8; 4], Change),
}

fn stored(ip: &Ip, frame: &[u8]) -> Option<[u8; 4]> {
    array(frame, field(ip)).filter(|_| !ip.is_later_fragment() && ip.payload + HEADER <= ip.end)
}

fn whole<'a>(ip: &Ip, frame: &'a [u8]) -> Option<&'a [u8]> {
    if ip.fragment != Fragment::Whole || ip.is_cut(frame) || ip.length == 0 {
        return None;
    }
    frame.get(ip.payload..ip.end).filter(|packet| packet.len() >= HEADER)
}

/// The packet with zero in place of the checksum.
fn without_field(packet: &[u8]) -> impl Iterator<Item = u8> {
    packet.iter().enumerate().map(|(at, byte)| if (FIELD..HEADER).contains(&at) { 0 } else { *byte })
}

fn crc32c(packet: &[u8]) -> [u8; 4] {
    crc::SCTP.of(without_field(packet)).to_le_bytes()
}

fn adler32(packet: &[u8]) -> [u8; 4] {
    adler32_of(without_field(packet))
}

/// RFC 1950 §9.
fn adler32_of(bytes: impl Iterator<Item = u8>) -> [u8; 4] {
    const BASE: u32 = 65521;
    let (low, high) = bytes.fold((1, 0), |(low, high), byte| {
        let low = (low + u32::from(byte)) % BASE;
        (low, (high + low) % BASE)
    });
    (high << 16 | low).to_be_bytes()
}
