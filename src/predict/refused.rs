//! What is said of a header between IP and the transport that the kernel refuses: why, and what to do. Start at [`words`].

use super::words::Words;
use crate::host::sysctl;
use crate::predict::{Fault, Header, Wrong};

/// Why, what to do in a scenario, and what on a real machine, where the packets come in on `interface`.
pub(super) fn words(fault: Fault, interface: &str) -> Words {
    const OPTION: &str = "send without that option";
    const HEADER: &str = "send without that header";
    const FRAGMENTS: &str = "send fragments as RFC 8200 §4.5 has them";
    let (header, filter) = name_and_filter(fault.header);
    let mut scenario = format!("leave such packets out: `[capture] filter = \"{filter}\"`");
    let mut switched_on = None;
    let (why, machine) = match fault.wrong {
        Wrong::UnknownOption(kind) => (
            format!(
                "the {header} hold option 0x{kind:02x}, which the kernel does not know; the first two bits of its type say that the packet \
                 is discarded then (RFC 8200 §4.2)"
            ),
            OPTION,
        ),
        Wrong::Option(0x07) if fault.header == Header::HopByHop => (
            "the hop-by-hop options hold a CALIPSO label (RFC 5570), and the receiver has no domain of interpretation for it".to_owned(),
            OPTION,
        ),
        Wrong::Option(134) if fault.header == Header::Ipv4Options => {
            ("the IPv4 options hold a CIPSO label, and the receiver has no domain of interpretation for it".to_owned(), OPTION)
        }
        Wrong::Option(kind) => (
            format!("option 0x{kind:02x} of the {header} has a length, a place or a value that the kernel does not take"),
            OPTION,
        ),
        Wrong::Padding => (
            format!("the {header} hold more than 7 bytes of padding in a row, or padding that is not zero (RFC 4942 §2.1.9.5)"),
            HEADER,
        ),
        Wrong::TooMany => (
            format!("the {header} hold more than 8 options (net.ipv6.max_hbh_opts_number, max_dst_opts_number)"),
            HEADER,
        ),
        Wrong::JumboCut => {
            ("the jumbo payload option says more bytes than the frame holds (RFC 2675 §3)".to_owned(), HEADER)
        }
        Wrong::Cut => (format!("the {header} end behind the packet"), HEADER),
        Wrong::SegmentsLeft(kind) => (
            format!(
                "a routing header of type {kind} has segments left, and the receiver follows none of that type (RFC 5095, RFC 8200 §4.4)"
            ),
            HEADER,
        ),
        Wrong::SwitchedOff { kind, left } => {
            let (protocol, name) =
                if kind == 3 { ("RPL (RFC 6554)", "rpl_seg_enabled") } else { ("segment routing (RFC 8754)", "seg6_enabled") };
            if !left {
                scenario = format!(
                    "`[lab] sysctl = {{ \"net.ipv6.conf.all.{name}\" = 1, \"net.ipv6.conf.{{receiver}}.{name}\" = 1 }}`, or {scenario}"
                );
                let interface = sysctl::name(interface);
                switched_on = Some(format!("`sysctl -w net.ipv6.conf.all.{name}=1 net.ipv6.conf.{interface}.{name}=1`"));
            }
            (format!("the packet has a routing header of {protocol}, which is switched off ({name} = 0)"), HEADER)
        }
        Wrong::ToGroup => (
            "the packet has a routing header, and it or its frame goes to a group: the kernel takes that from no sender".to_owned(),
            HEADER,
        ),
        Wrong::Misplaced => {
            ("a fragment header follows another one, or the packet has a length of 0".to_owned(), FRAGMENTS)
        }
        Wrong::OddLength => (
            "the fragment is not the last of its datagram, and its length is no multiple of 8 bytes (RFC 8200 §4.5)".to_owned(),
            FRAGMENTS,
        ),
        Wrong::TooLong => {
            ("the fragment ends beyond 65,535 bytes, the longest datagram (RFC 8200 §4.5)".to_owned(), FRAGMENTS)
        }
        Wrong::HeadersCut => (
            "the first fragment does not hold all headers up to the transport's (RFC 8200 §4.5)".to_owned(),
            FRAGMENTS,
        ),
    };
    Words { why: Some(why), scenario: Some(scenario), machine: Some(switched_on.unwrap_or_else(|| machine.to_owned())) }
}

/// What such a header is called, and a filter that leaves packets with one out.
fn name_and_filter(header: Header) -> (&'static str, &'static str) {
    match header {
        Header::Ipv4Options => ("IPv4 options", "not (ip[0] & 15 > 5)"),
        Header::HopByHop => ("hop-by-hop options", "not ip6 protochain 0"),
        Header::Destination => ("destination options", "not ip6 protochain 60"),
        Header::Routing => ("bytes of the routing header", "not ip6 protochain 43"),
        Header::Fragment => ("bytes of the fragment header", "not ip6 protochain 44"),
    }
}
