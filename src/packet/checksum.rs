//! The internet checksum (RFC 1071), its incremental update (RFC 1624), and what the checksums of a frame say.
//!
//! Start at [`transport_sum`]; [`Accumulator`] and [`Change`] are the arithmetic.

use super::bytes::{be16, byte};
use super::layers::{Fragment, Ip, Network, protocol};
use super::{MacAddr, ip, sctp};

/// A one's complement sum that isn't folded yet (RFC 1071). Every slice added must begin at an even offset of what is summed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Accumulator(u64);

impl Accumulator {
    /// Adds big-endian words; an odd last byte is padded with zero.
    #[must_use]
    pub fn add(self, bytes: &[u8]) -> Self {
        // The sum doesn't depend on the byte order (RFC 1071 §2 B), so it is taken in the machine's, and swapped once.
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let last = match *rest {
            [] => [0; 4],
            [a] => [a, 0, 0, 0],
            [a, b] => [a, b, 0, 0],
            [a, b, c, ..] => [a, b, c, 0],
        };
        sum += u64::from(u32::from_ne_bytes(last));
        self.add_word(u16::from_be_bytes(fold(sum).to_ne_bytes()))
    }

    /// Adds one word.
    #[must_use]
    pub const fn add_word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// The folded sum; its complement is the checksum.
    pub const fn fold(self) -> u16 {
        fold(self.0)
    }
}

/// The sum of the four words of a number, with the carries added in again: of a half that is rotated onto the other the carry of the
/// lower goes into the upper, which is the sum.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// What has changed among the words that a checksum covers (RFC 1624 equation 3: the complements of the old ones and the new ones).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Change(u64);

impl Change {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// A word.
    #[must_use]
    #[inline]
    pub const fn word(old: u16, new: u16) -> Self {
        if old == new { Self::NONE } else { Self(!old as u64 + new as u64) }
    }

    /// Two words.
    #[must_use]
    #[inline]
    pub const fn double(old: u32, new: u32) -> Self {
        // 2^16 is 1 in this arithmetic, so both words of each can be added at once.
        if old == new { Self::NONE } else { Self(!old as u64 + new as u64) }
    }

    /// An IPv6 address.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the address is taken apart into its halves")]
    pub const fn address(old: u128, new: u128) -> Self {
        const fn sum(address: u128) -> u64 {
            let (high, low) = ((address >> 64) as u64, address as u64);
            (high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff)
        }
        if old == new { Self::NONE } else { Self(sum(!old) + sum(new)) }
    }

    /// A MAC address.
    #[must_use]
    #[inline]
    pub const fn mac(old: MacAddr, new: MacAddr) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (old.0, new.0);
        Self::double(u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([g, h, i, j]))
            .and(Self::word(u16::from_be_bytes([e, f]), u16::from_be_bytes([k, l])))
    }

    /// Both changes.
    #[must_use]
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Whether nothing changed.
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The checksum after the change: the one before if nothing changed. Never 0xffff otherwise, as a full sum over data that
    /// aren't all zero is never complemented to it.
    #[must_use]
    #[inline]
    pub const fn update(self, checksum: u16) -> u16 {
        if self.is_none() { checksum } else { !fold(!checksum as u64 + self.0) }
    }
}

/// What a checksum field says about its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// There is none: the protocol has none that we know, the field wasn't captured, or it is UDP's "not computed" (0, IPv4 only).
    None,
    /// Right.
    Good,
    /// Wrong.
    Bad,
    /// It is the sum of the pseudo-header alone: captured on the sender before the interface completed it (checksum or segmentation
    /// offload).
    Offload,
    /// It can't be known: a fragment, cut by the snaplen, or without a usable length.
    Unverifiable,
}

/// The header checksum of IPv4 (RFC 791); `None` for everything else.
pub fn ip_header_sum(network: &Network, frame: &[u8]) -> Sum {
    match network {
        Network::Ipv4(ip) => match frame.get(ip.offset..ip.payload) {
            Some(header) if Accumulator::default().add(header).fold() == 0xffff => Sum::Good,
            Some(_) => Sum::Bad,
            None => Sum::None,
        },
        _ => Sum::None,
    }
}

/// The checksum of TCP, UDP, UDP-Lite (RFC 3828), ICMP, ICMPv6, IGMP and SCTP (CRC-32c). `original_length` is the length of `frame` on
/// the wire: with segmentation offload nothing else says how long the packet is. For a packet in a tunnel, both end where the packet around
/// it does.
pub fn transport_sum(network: &Network, frame: &[u8], original_length: u32) -> Sum {
    let Some(ip) = network.ip() else { return Sum::None };
    if ip.protocol == protocol::SCTP {
        return sctp::sum(ip, frame);
    }
    let Some(field) = Field::find(network, frame).filter(|field| field.verifiable) else { return Sum::None };
    let Some(stored) = be16(frame, field.at) else { return Sum::None };
    if field.zero_means_none && stored == 0 {
        return if matches!(network, Network::Ipv4(_)) { Sum::None } else { Sum::Bad };
    }
    let covered = field.covered(network, frame, Including::TheField);
    if covered.is_some_and(|sum| sum.fold() == 0xffff) {
        return Sum::Good;
    }
    if matches!(ip.protocol, protocol::TCP | protocol::UDP)
        && ip.fragment == Fragment::Whole
        && offloaded(network, frame, original_length) == Some(stored)
    {
        return Sum::Offload;
    }
    if covered.is_some() { Sum::Bad } else { Sum::Unverifiable }
}

/// The value that a verifiable 16-bit transport checksum should have; 0xffff in place of 0 for UDP (RFC 768).
pub(crate) fn computed_transport_sum(network: &Network, frame: &[u8]) -> Option<u16> {
    let field = Field::find(network, frame)?;
    let computed = !field.covered(network, frame, Including::DataAlone)?.fold();
    Some(field.written(computed))
}

pub(crate) fn computed_header_sum(ip: &Ip, frame: &[u8]) -> Option<u16> {
    let before = Accumulator::default().add(frame.get(ip.offset..ip.offset + 10)?);
    Some(!before.add(frame.get(ip.offset + 12..ip.payload)?).fold())
}

/// What the sender's stack leaves for the interface to complete: the sum, not its complement, of the pseudo-header.
fn offloaded(network: &Network, frame: &[u8], original_length: u32) -> Option<u16> {
    let ip = network.ip()?;
    let length = match ip.length {
        0 => usize::try_from(original_length).ok()?.checked_sub(ip.payload)?,
        length => (ip.offset + length).checked_sub(ip.payload)?,
    };
    Some(pseudo_header(network, frame, length)?.fold())
}

/// The pseudo-header of TCP, UDP and others (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1); `length` is the transport's own.
pub(crate) fn pseudo_header(network: &Network, frame: &[u8], length: usize) -> Option<Accumulator> {
    let addresses = ip::pseudo_addresses(network, frame)?;
    let (width, ip) = match network {
        Network::Ipv4(ip) => (4, ip),
        Network::Ipv6(ip) => (16, ip),
        Network::None | Network::Arp { .. } => return None,
    };
    let length = u32::try_from(length).ok()?.to_be_bytes();
    Some(
        Accumulator::default()
            .add(frame.get(addresses.source..addresses.source + width)?)
            .add(frame.get(addresses.destination..addresses.destination + width)?)
            .add(&length)
            .add_word(u16::from(ip.protocol)),
    )
}

/// The 16-bit checksum of a transport header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) at: usize,
    /// Whether the pseudo-header, with the addresses, is part of what it covers.
    pub(crate) pseudo_header: bool,
    /// Whether 0 means that it wasn't computed, and a computed 0 is written as 0xffff.
    pub(crate) zero_means_none: bool,
    /// Whether we know all that it covers; without that it is only updated.
    pub(crate) verifiable: bool,
}

impl Field {
    /// How a computed checksum is written: 0xffff for 0 where 0 means that there is none (RFC 768).
    #[inline]
    pub(crate) fn written(&self, computed: u16) -> u16 {
        if self.zero_means_none && computed == 0 { 0xffff } else { computed }
    }

    /// The checksum of the packet's transport, where it was captured inside the packet. SCTP has none of 16 bits.
    #[inline]
    pub(crate) fn find(network: &Network, frame: &[u8]) -> Option<Self> {
        let (ip, is_v4) = match network {
            Network::Ipv4(ip) => (ip, true),
            Network::Ipv6(ip) => (ip, false),
            Network::None | Network::Arp { .. } => return None,
        };
        if ip.is_later_fragment() {
            return None;
        }
        let plain = Self { at: ip.payload, pseudo_header: true, zero_means_none: false, verifiable: true };
        let updated_only = Self { verifiable: false, ..plain };
        let field = match ip.protocol {
            protocol::TCP => Self { at: ip.payload + 16, ..plain },
            protocol::UDP => Self { at: ip.payload + 6, zero_means_none: true, ..plain },
            protocol::UDPLITE => Self { at: ip.payload + 6, ..plain },
            protocol::ICMP | protocol::IGMP if is_v4 => Self { at: ip.payload + 2, pseudo_header: false, ..plain },
            protocol::ICMPV6 if !is_v4 => Self { at: ip.payload + 2, ..plain },
            // RFC 4340 §9.1
            protocol::DCCP => Self { at: ip.payload + 6, ..updated_only },
            // RFC 5340 §A.3.1, RFC 7761 §4.9: with a pseudo-header over IPv6 only.
            89 if !is_v4 => Self { at: ip.payload + 12, ..updated_only },
            103 if !is_v4 => Self { at: ip.payload + 2, ..updated_only },
            // RFC 5798 §5.2.8: since version 3.
            112 if byte(frame, ip.payload)? >> 4 == 3 => Self { at: ip.payload + 6, ..updated_only },
            _ => return None,
        };
        (field.at + 2 <= ip.end).then_some(field)
    }

    /// The sum of everything that it covers; `None` where that isn't all there.
    fn covered(&self, network: &Network, frame: &[u8], including: Including) -> Option<Accumulator> {
        let ip = network.ip().filter(|_| self.verifiable)?;
        let bad_length = ip.offset + ip.length < ip.payload;
        if ip.fragment != Fragment::Whole || ip.is_cut(frame) || bad_length {
            return None;
        }
        let whole = ip.end.checked_sub(ip.payload)?;
        let (covered, length) = match ip.protocol {
            protocol::UDP => {
                let length = usize::from(be16(frame, ip.payload + 4)?);
                (length, length)
            }
            protocol::UDPLITE => match usize::from(be16(frame, ip.payload + 4)?) {
                0 => (whole, whole),
                covered => (covered, whole),
            },
            _ => (whole, whole),
        };
        let least = if matches!(ip.protocol, protocol::ICMP | protocol::ICMPV6) { 4 } else { 8 };
        if covered > whole || covered < least {
            return None;
        }
        let end = ip.payload + covered;
        let sum = if self.pseudo_header {
            if !ip::pseudo_addresses(network, frame)?.known {
                return None;
            }
            pseudo_header(network, frame, length)?
        } else {
            Accumulator::default()
        };
        Some(match including {
            Including::TheField => sum.add(frame.get(ip.payload..end)?),
            Including::DataAlone => sum.add(frame.get(ip.payload..self.at)?).add(frame.get(self.at + 2..end)?),
        })
    }
}

/// Whether a sum takes the checksum field in.
#[derive(Clone, Copy)]
enum Including {
    /// As a receiver does: the sum is 0xffff if the checksum is right.
    TheField,
    /// As a sender does.
    DataAlone,
}
