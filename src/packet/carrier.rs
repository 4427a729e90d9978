//! Link types beside Ethernet and Linux "cooked": what their frames carry, as the type field of an Ethernet header would name it.
//!
//! Numbers are those of <https://www.tcpdump.org/linktypes.html>. Start at [`find`]. A new link type is an arm there, and a name in
//! `inspect/names.rs`; nothing else.

use super::bytes::{array, be16, byte};
use super::layers::LinkType;
use super::link::{ethertype, framed};
use super::{MacAddr, crc, dot11};

/// What a frame carries, as an Ethernet header would name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Carrier {
    /// An `EtherType`, or of 802.2 the length of what follows.
    pub(crate) ethertype: u16,
    /// Where what follows it begins.
    pub(crate) payload: usize,
    /// The sender's MAC, where it was captured.
    pub(crate) source: Option<MacAddr>,
    /// The MAC that it goes to, where it was captured or follows from what was.
    pub(crate) destination: Option<MacAddr>,
    /// Where an FCS of 4 bytes ends the frame: what it covers begins here.
    pub(crate) fcs_from: Option<usize>,
}

/// Why nothing is found in a frame.
pub(super) const CUT: &str = "a frame that is cut inside its headers";
pub(super) const NO_IP: &str = "a frame that holds nothing with an EtherType";

const UNKNOWN_LINK: &str = "a frame of a link type that is not looked into";

/// Whether this is one of the link types.
pub(super) fn is_known(link: LinkType) -> bool {
    find(link, &[]) != Err(UNKNOWN_LINK)
}

/// What a frame of one of these link types carries, or what the frame is instead.
pub(super) fn find(link: LinkType, frame: &[u8]) -> Result<Carrier, &'static str> {
    match link.0 {
        // ATM with LLC (RFC 2684).
        100 => llc(frame, 0, 0).filter(|carrier| carrier.ethertype >= ethertype::FIRST).ok_or(NO_IP),
        105 | 119 | 127 | 163 => dot11::find(link.0, frame),
        192 if le32(frame, 4) == Some(105) => dot11::find(link.0, frame),
        192 => behind(le32(frame, 4), le16(frame, 2).map(usize::from), frame),
        107 => frame_relay(frame, 0).ok_or(NO_IP),
        206 => frame_relay(frame, 1).ok_or(NO_IP),
        // OpenBSD's enc, Solaris' ipnet: headers of fixed length before IP.
        109 => ip(frame, 12).ok_or(NO_IP),
        226 => ip(frame, 24).ok_or(NO_IP),
        // IP over Fibre Channel (RFC 2625): two addresses of 8 bytes, of which the last 6 are a MAC.
        122 => {
            let carrier = llc(frame, 16, 0).ok_or(CUT)?;
            let [destination, source] = [2, 10].map(|at| array(frame, at).map(MacAddr));
            Ok(Carrier { source, destination, ..carrier })
        }
        // IEEE 1394 (RFC 2734), IP over InfiniBand, MPLS.
        138 => typed(frame, 16, 18).ok_or(NO_IP),
        242 => typed(frame, 40, 44).ok_or(NO_IP),
        219 => Ok(plain(ethertype::MPLS, 0)),
        // PPP with a direction before it, or in place of the address.
        204 => ppp(frame, if array(frame, 1) == Some([0xff, 3]) { 3 } else { 1 }).ok_or(NO_IP),
        166 => ppp(frame, 2).ok_or(NO_IP),
        205 => typed(frame, 3, 5).ok_or(NO_IP),
        239 => nflog(frame).ok_or(NO_IP),
        // Apple's PKTAP.
        258 => behind(le32(frame, 8), le32(frame, 0).and_then(|length| usize::try_from(length).ok()), frame),
        // Ethernet with the tag of a switch behind its addresses.
        281 | 284 => tagged(frame, 16).ok_or(NO_IP),
        285 => tagged(frame, 20).ok_or(NO_IP),
        _ => Err(UNKNOWN_LINK),
    }
}

pub(super) const fn plain(ethertype: u16, payload: usize) -> Carrier {
    Carrier { ethertype, payload, source: None, destination: None, fcs_from: None }
}

/// A packet whose `EtherType` stands at `field`.
fn typed(frame: &[u8], field: usize, payload: usize) -> Option<Carrier> {
    be16(frame, field).filter(|ethertype| *ethertype >= ethertype::FIRST).map(|ethertype| plain(ethertype, payload))
}

/// An IP packet: its first four bits are the version.
fn ip(frame: &[u8], at: usize) -> Option<Carrier> {
    match byte(frame, at)? >> 4 {
        4 => Some(plain(ethertype::IPV4, at)),
        6 => Some(plain(ethertype::IPV6, at)),
        _ => None,
    }
}

/// 802.2 LLC with or without a SNAP header for an `EtherType` (RFC 1042, and 802.1H), which ends `trailer` bytes before the frame.
pub(super) fn llc(frame: &[u8], at: usize, trailer: usize) -> Option<Carrier> {
    if let Some([0xaa, 0xaa, 3, 0, 0, 0 | 0xf8, high, low]) = array(frame, at) {
        let ethertype = u16::from_be_bytes([high, low]);
        if ethertype >= ethertype::FIRST {
            return Some(plain(ethertype, at + 8));
        }
    }
    let length = frame.len().checked_sub(at + trailer).filter(|length| *length >= 3)?;
    u16::try_from(length).ok().filter(|length| *length < ethertype::FIRST).map(|length| plain(length, at))
}

/// IP in PPP (RFC 1661), whose protocol stands at `at`.
pub(super) fn ppp(frame: &[u8], at: usize) -> Option<Carrier> {
    match be16(frame, at)? {
        0x0021 => Some(plain(ethertype::IPV4, at + 2)),
        0x0057 => Some(plain(ethertype::IPV6, at + 2)),
        _ => None,
    }
}

/// Frame Relay (RFC 2427), or Cisco's encapsulation: an address of 2 to 4 bytes, whose last one has its lowest bit set.
fn frame_relay(frame: &[u8], at: usize) -> Option<Carrier> {
    let length = (1..4).find(|index| byte(frame, at + index).is_some_and(|byte| byte & 1 == 1))? + 1;
    let at = at + length;
    if byte(frame, at)? != 3 {
        let known = [ethertype::IPV4, ethertype::IPV6, ethertype::ARP, ethertype::MPLS];
        return typed(frame, at, at + 2).filter(|carrier| known.contains(&carrier.ethertype));
    }
    let at = if byte(frame, at + 1)? == 0 { at + 2 } else { at + 1 };
    match byte(frame, at)? {
        0xcc => Some(plain(ethertype::IPV4, at + 1)),
        0x8e => Some(plain(ethertype::IPV6, at + 1)),
        0x80 if array(frame, at + 1) == Some([0; 3]) => typed(frame, at + 4, at + 6),
        _ => None,
    }
}

/// Ethernet whose `EtherType` stands at `field`, behind a switch's tag, which goes.
fn tagged(frame: &[u8], field: usize) -> Option<Carrier> {
    let [destination, source] = [0, 6].map(|at| array(frame, at).map(MacAddr));
    be16(frame, field).map(|ethertype| Carrier { source, destination, ..plain(ethertype, field + 2) })
}

/// Linux's packet filter log: attributes of length and type, in the byte order of the machine; that of type 9 is the packet.
fn nflog(frame: &[u8]) -> Option<Carrier> {
    let packet = |number: fn(&[u8], usize) -> Option<u16>| {
        let mut at = 4;
        loop {
            let (length, kind) = (usize::from(number(frame, at)?), number(frame, at + 2)?);
            if length < 4 {
                return None;
            }
            if kind & 0x7fff == 9 {
                return ip(frame, at + 4);
            }
            at += length.next_multiple_of(4);
        }
    };
    packet(le16).or_else(|| packet(be16))
}

/// A frame of another link type, behind a header of this length.
fn behind(link: Option<u32>, length: Option<usize>, frame: &[u8]) -> Result<Carrier, &'static str> {
    let (Some(link), Some(length)) = (link.and_then(|link| u16::try_from(link).ok()), length) else { return Err(CUT) };
    let inner = frame.get(length..).ok_or(CUT)?;
    let found = match link {
        // One in the other is nothing that occurs.
        192 | 258 => None,
        1 => tagged(inner, 12),
        _ => framed(LinkType(link), inner).ok().map(|(carrier, _)| carrier),
    };
    let found = found.ok_or(NO_IP)?;
    Ok(Carrier { payload: found.payload + length, fcs_from: found.fcs_from.map(|from| from + length), ..found })
}

/// Where what the FCS at the end of a frame covers begins, where the frame says that it has one, and it is right. The frame is whole.
pub(crate) fn right_fcs(link: LinkType, frame: &[u8]) -> Option<usize> {
    let from = find(link, frame).ok()?.fcs_from?;
    let (covered, fcs) = frame.split_last_chunk()?;
    (crc::ETHERNET.of(covered.iter().skip(from).copied()).to_le_bytes() == *fcs).then_some(from)
}

pub(super) fn le16(frame: &[u8], at: usize) -> Option<u16> {
    array(frame, at).map(u16::from_le_bytes)
}

pub(super) fn le32(frame: &[u8], at: usize) -> Option<u32> {
    array(frame, at).map(u32::from_le_bytes)
}
