//! What Linux does with the headers between IP and the transport: IPv4 options and IPv6 extension headers.
//!
//! As `ip_options_compile`, `ipv6_parse_hopopts`, `ipv6_destopt_rcv`, `ipv6_rthdr_rcv` and `ipv6_frag_rcv` of Linux 6.18 read them, which is
//! stricter than RFC 791 and RFC 8200: each row of [`Fault::rule`] was provoked. Start at [`four`] and [`six`].

use std::net::Ipv4Addr;

use crate::cause::Cause;
use crate::outcome::Stage;
use crate::packet::bytes::{be16, be32, byte};
use crate::packet::layers::protocol;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION: u8 = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Header {
    Ipv4Options,
    HopByHop,
    Destination,
    Routing,
    Fragment,
}

/// What the kernel finds wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wrong {
    /// An option that it does not know, and whose type says that the packet is to be discarded (RFC 8200 §4.2).
    UnknownOption(u8),
    /// An option of this type that it knows, with a length or a value that it does not take.
    Option(u8),
    /// More than 7 bytes of padding, or padding that is not zero.
    Padding,
    /// More options than `max_hbh_opts_number` or `max_dst_opts_number`.
    TooMany,
    /// A jumbo payload longer than the frame.
    JumboCut,
    /// It ends behind the packet.
    Cut,
    /// A routing header of this type with segments left.
    SegmentsLeft(u8),
    /// Segment routing (type 3, RPL, or type 4) that is switched off; `left`: whether segments are left.
    SwitchedOff { kind: u8, left: bool },
    /// A routing header in a packet to a group, or in a frame to a group.
    ToGroup,
    /// A second fragment header, or one in a packet without a length.
    Misplaced,
    /// A fragment that is not the last, and whose length is no multiple of 8 bytes.
    OddLength,
    /// A datagram of more than 65,535 bytes.
    TooLong,
    /// A first fragment that does not hold all headers (RFC 8200 §4.5).
    HeadersCut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fault {
    pub header: Header,
    pub wrong: Wrong,
}

/// What becomes of a packet with a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Under which name.
    pub cause: Cause,
    /// Which stage it does not reach.
    pub stage: Stage,
    /// The counter that moves; `None` where none does.
    pub counter: Option<&'static str>,
}

impl Fault {
    /// What becomes of its packet.
    pub fn rule(self) -> Rule {
        const HEADERS: Option<&str> = Some("Ip6InHdrErrors");
        use Cause::{IpInhdr, Ipv6BadExthdr, PktTooSmall, UnhandledProto};
        let stage = match self.header {
            Header::Ipv4Options | Header::HopByHop => Stage::Accepted,
            Header::Destination | Header::Routing | Header::Fragment => Stage::Delivered,
        };
        let (cause, counter) = match (self.header, self.wrong) {
            (Header::Ipv4Options, _) => (IpInhdr, Some("Ip.InHdrErrors")),
            (_, Wrong::UnknownOption(_)) => (UnhandledProto, HEADERS),
            (_, Wrong::Option(_) | Wrong::Padding | Wrong::TooMany) => (IpInhdr, HEADERS),
            (_, Wrong::JumboCut) => (PktTooSmall, HEADERS),
            (_, Wrong::SwitchedOff { .. }) => (Ipv6BadExthdr, None),
            (_, Wrong::ToGroup) => (Ipv6BadExthdr, Some("Ip6InAddrErrors")),
            _ => (Ipv6BadExthdr, HEADERS),
        };
        Rule { cause, stage, counter }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Options {
    /// Nothing that matters.
    Fine,
    Refused(Fault),
    /// A source route, with the address that is next; `None` where it is used up.
    SourceRoute(Option<Ipv4Addr>),
}

/// `ip_options_compile`, then `ip_options_rcv_srr`. `options`: the bytes behind the first 20 of the header.
pub(crate) fn four(options: &[u8]) -> Options {
    let mut rest = options;
    let mut seen = [false; 256];
    let mut route = None;
    while let [kind, tail @ ..] = rest {
        if *kind == 0 {
            break;
        }
        if *kind == 1 {
            rest = tail;
            continue;
        }
        let length = tail.first().map_or(0, |length| usize::from(*length));
        let option = rest.get(..length).filter(|option| option.len() >= 2);
        let Some(option) = option.filter(|option| !is_refused(option, &seen)) else {
            return Options::Refused(Fault { header: Header::Ipv4Options, wrong: Wrong::Option(*kind) });
        };
        if matches!(kind, 131 | 137) {
            // The kernel remembers the route, whichever of both it is.
            (seen[131], seen[137]) = (true, true);
            let next = option.get(2).and_then(|pointer| option.get(usize::from(*pointer) - 1..)?.first_chunk::<4>());
            route = Some(next.map(|address| Ipv4Addr::from(*address)));
        }
        seen[usize::from(*kind)] = true;
        rest = rest.get(length..).unwrap_or_default();
    }
    route.map_or(Options::Fine, Options::SourceRoute)
}

/// Whether IPv4 options hold a loose (131) or strict (137) source route that the kernel can read (RFC 791 §3.1).
pub fn has_source_route(options: &[u8]) -> bool {
    matches!(four(options), Options::SourceRoute(_))
}

/// Whether the kernel refuses an option whose length fits.
fn is_refused(option: &[u8], seen: &[bool; 256]) -> bool {
    let length = option.len();
    let again = option.first().is_some_and(|kind| seen[usize::from(*kind)]);
    match *option {
        // Source routes (RFC 791 §3.1).
        [131 | 137, _, pointer, ..] => pointer < 4 || again,
        [131 | 137, ..] => true,
        // Record route.
        [7, _, pointer, ..] => {
            let pointer = usize::from(pointer);
            again || pointer < 4 || pointer <= length && pointer + 3 > length
        }
        [7, ..] => true,
        // Timestamps: 4 bytes each, or 8 with addresses; beyond the end their overflow is counted in 4 bits.
        [68, _, pointer, flags, ..] => {
            let pointer = usize::from(pointer);
            let entry = if matches!(flags & 15, 1 | 3) { 7 } else { 3 };
            again || pointer < 5 || if pointer <= length { pointer + entry > length } else { flags >> 4 == 15 }
        }
        [68, ..] => true,
        // Router alert (RFC 2113).
        [148, ..] => length < 4,
        // CIPSO: no domain of interpretation is configured.
        [134, ..] => true,
        _ => false,
    }
}

/// The headers of an IPv6 packet, as far as the kernel goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Six {
    /// The protocol that the kernel looks for a handler of.
    pub(crate) protocol: u8,
    /// What it refuses.
    pub(crate) fault: Option<Fault>,
    /// Whether that is found before a fragment is put together with others.
    pub(crate) at_once: bool,
    /// Where the bytes of a fragment begin: behind its fragment header.
    pub(crate) fragment: Option<usize>,
}

/// Reads the headers of an IPv6 packet. `packet`: from its first byte to its end; `in_group`: whether the frame goes to a group.
pub(crate) fn six(packet: &[u8], in_group: bool) -> Six {
    let length = be16(packet, 4).unwrap_or(0);
    let first = byte(packet, 6).unwrap_or(NO_NEXT_HEADER);
    // Without hop-by-hop options a length of 0 is taken at its word.
    let packet = if length == 0 && first != HOP_BY_HOP { packet.get(..40).unwrap_or(packet) } else { packet };
    let to_group = in_group || byte(packet, 24) == Some(0xff);
    let mut found = Six { protocol: first, fault: None, at_once: true, fragment: None };
    let (mut at, mut has_fragment) = (40, false);
    loop {
        let header = match found.protocol {
            HOP_BY_HOP if at == 40 => Header::HopByHop,
            DESTINATION => Header::Destination,
            ROUTING => Header::Routing,
            FRAGMENT => Header::Fragment,
            _ => return found,
        };
        let units = byte(packet, at + 1).map_or(0, usize::from);
        let bytes = if header == Header::Fragment { 8 } else { 8 * (units + 1) };
        let Some(content) = packet.get(at..at + bytes) else {
            found.fault = Some(Fault { header, wrong: Wrong::Cut });
            return found;
        };
        let wrong = match header {
            Header::HopByHop | Header::Destination => options(packet, at, bytes, header),
            Header::Routing => routing(content, to_group),
            _ if has_fragment || length == 0 => Some(Wrong::Misplaced),
            _ => None,
        };
        found.fault = wrong.map(|wrong| Fault { header, wrong });
        if found.fault.is_some() {
            return found;
        }
        found.protocol = byte(content, 0).unwrap_or(NO_NEXT_HEADER);
        at += bytes;
        if header == Header::Fragment {
            has_fragment = true;
            let field = be16(content, 2).unwrap_or(0);
            if field & 0xfff9 == 0 {
                continue;
            }
            found.fragment = Some(at);
            let wrong = fragment(packet, at, field, found.protocol);
            found.fault = wrong.map(|wrong| Fault { header, wrong });
            if found.fault.is_some() || field & 0xfff8 != 0 {
                return found;
            }
            found.at_once = false;
        }
    }
}

/// `ip6_parse_tlv`.
fn options(packet: &[u8], at: usize, bytes: usize, header: Header) -> Option<Wrong> {
    const MOST_OPTIONS: usize = 8;
    let (mut at, end) = (at + 2, at + bytes);
    let (mut padding, mut count) = (0, 0);
    while at < end {
        let kind = byte(packet, at)?;
        if kind == 0 {
            (padding, at) = (padding + 1, at + 1);
            if padding > 7 {
                return Some(Wrong::Padding);
            }
            continue;
        }
        let option = byte(packet, at + 1).filter(|_| at + 1 < end).map(|length| at..at + 2 + usize::from(length));
        let Some(option) = option.filter(|option| option.end <= end) else { return Some(Wrong::Option(kind)) };
        let content = packet.get(option.start + 2..option.end).unwrap_or_default();
        at = option.end;
        if kind == 1 {
            padding += option.len();
            if padding > 7 || content.iter().any(|byte| *byte != 0) {
                return Some(Wrong::Padding);
            }
            continue;
        }
        count += 1;
        if count > MOST_OPTIONS {
            return Some(Wrong::TooMany);
        }
        padding = 0;
        let wrong = match (header, kind) {
            // Router alert (RFC 2711), IOAM (RFC 9486), the jumbo payload (RFC 2675), and CALIPSO (RFC 5570), which needs a domain of
            // interpretation.
            (Header::HopByHop, 0x05) => content.len() != 2,
            (Header::HopByHop, 0x31) => !option.start.is_multiple_of(4),
            (Header::HopByHop, 0x07) => true,
            (Header::HopByHop, 0xc2) => match jumbo(packet, option.start, content) {
                Some(Wrong::JumboCut) => return Some(Wrong::JumboCut),
                wrong => wrong.is_some(),
            },
            _ if kind >> 6 != 0 => return Some(Wrong::UnknownOption(kind)),
            _ => false,
        };
        if wrong {
            return Some(Wrong::Option(kind));
        }
    }
    None
}

/// `ipv6_hop_jumbo`. `at`: where the option begins.
fn jumbo(packet: &[u8], at: usize, content: &[u8]) -> Option<Wrong> {
    let length = be32(content, 0).unwrap_or(0);
    if content.len() != 4 || at & 3 != 2 || length <= 0xffff || be16(packet, 4) != Some(0) {
        return Some(Wrong::Option(0xc2));
    }
    (length as usize > packet.len().saturating_sub(40)).then_some(Wrong::JumboCut)
}

/// `ipv6_rthdr_rcv`, where nothing is switched on.
fn routing(content: &[u8], to_group: bool) -> Option<Wrong> {
    let (kind, left) = (byte(content, 2)?, byte(content, 3)? > 0);
    match kind {
        _ if to_group => Some(Wrong::ToGroup),
        3 | 4 => Some(Wrong::SwitchedOff { kind, left }),
        _ => left.then_some(Wrong::SegmentsLeft(kind)),
    }
}

/// `ipv6_frag_rcv` and `ip6_frag_queue`, as far as one fragment decides it. `at`: where its bytes begin; `field`: offset and flags.
fn fragment(packet: &[u8], at: usize, field: u16, next_header: u8) -> Option<Wrong> {
    let (offset, more) = (usize::from(field & 0xfff8), field & 1 == 1);
    let end = offset + packet.len() - at;
    if offset == 0 && !holds_all_headers(packet, at, next_header) {
        Some(Wrong::HeadersCut)
    } else if end > 0xffff {
        Some(Wrong::TooLong)
    } else {
        (more && !end.is_multiple_of(8)).then_some(Wrong::OddLength)
    }
}

/// `ipv6frag_thdr_truncated`: whether a first fragment holds the transport header.
fn holds_all_headers(packet: &[u8], mut at: usize, mut next_header: u8) -> bool {
    while matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION) {
        let (Some(after), Some(units)) = (byte(packet, at), byte(packet, at + 1)) else { return true };
        at += match next_header {
            FRAGMENT => 8,
            AUTHENTICATION => 4 * (usize::from(units) + 2),
            _ => 8 * (usize::from(units) + 1),
        };
        next_header = after;
    }
    let bytes = match next_header {
        NO_NEXT_HEADER => return true,
        protocol::TCP => 20,
        protocol::UDP | protocol::ICMPV6 => 8,
        _ => 1,
    };
    at + bytes <= packet.len()
}
