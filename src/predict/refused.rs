//! What is said of a header between IP and the transport that the kernel refuses: why, and what to do. Start at [`why`] and [`fix`].

use crate::host::sysctl;
use crate::predict::{Fault, Header, Wrong};

pub(super) fn why(fault: Fault) -> String {
    let (header, _) = name_and_filter(fault.header);
    match fault.wrong {
        Wrong::UnknownOption(kind) => format!(
            "the {header} hold option 0x{kind:02x}, which the kernel does not know; the first two bits of its type say that the packet is \
             discarded then (RFC 8200 §4.2)"
        ),
        Wrong::Option(0x07) if fault.header == Header::HopByHop => {
            "the hop-by-hop options hold a CALIPSO label (RFC 5570), and the receiver has no domain of interpretation for it".to_owned()
        }
        Wrong::Option(134) if fault.header == Header::Ipv4Options => {
            "the IPv4 options hold a CIPSO label, and the receiver has no domain of interpretation for it".to_owned()
        }
        Wrong::Option(kind) => {
            format!("option 0x{kind:02x} of the {header} has a length, a place or a value that the kernel does not take")
        }
        Wrong::Padding => {
            format!("the {header} hold more than 7 bytes of padding in a row, or padding that is not zero (RFC 4942 §2.1.9.5)")
        }
        Wrong::TooMany => format!("the {header} hold more than 8 options (net.ipv6.max_hbh_opts_number, max_dst_opts_number)"),
        Wrong::JumboCut => "the jumbo payload option says more bytes than the frame holds (RFC 2675 §3)".to_owned(),
        Wrong::Cut => format!("the {header} end behind the packet"),
        Wrong::SegmentsLeft(kind) => format!(
            "a routing header of type {kind} has segments left, and the receiver follows none of that type (RFC 5095, RFC 8200 §4.4)"
        ),
        Wrong::SwitchedOff { kind, .. } => {
            let (protocol, sysctl) = segment_routing(kind);
            format!("the packet has a routing header of {protocol}, which is switched off ({sysctl} = 0)")
        }
        Wrong::ToGroup => {
            "the packet has a routing header, and it or its frame goes to a group: the kernel takes that from no sender".to_owned()
        }
        Wrong::Misplaced => "a fragment header follows another one, or the packet has a length of 0".to_owned(),
        Wrong::OddLength => {
            "the fragment is not the last of its datagram, and its length is no multiple of 8 bytes (RFC 8200 §4.5)".to_owned()
        }
        Wrong::TooLong => "the fragment ends beyond 65,535 bytes, the longest datagram (RFC 8200 §4.5)".to_owned(),
        Wrong::HeadersCut => {
            "the first fragment does not hold all headers up to the transport's (RFC 8200 §4.5)".to_owned()
        }
    }
}

/// What to do in a scenario.
pub(super) fn fix(fault: Fault) -> String {
    let (_, filter) = name_and_filter(fault.header);
    let leave_out = format!("leave such packets out: `[capture] filter = \"{filter}\"`");
    match fault.wrong {
        Wrong::SwitchedOff { kind, left: false } => {
            let sysctl = segment_routing(kind).1;
            format!(
                "`[lab] sysctl = {{ \"net.ipv6.conf.all.{sysctl}\" = 1, \"net.ipv6.conf.{{receiver}}.{sysctl}\" = 1 }}`, or {leave_out}"
            )
        }
        _ => leave_out,
    }
}

/// What to do on a real machine; `interface` is where the packets come in.
pub(super) fn on_the_machine(fault: Fault, interface: &str) -> String {
    match fault.wrong {
        Wrong::SwitchedOff { kind, left: false } => {
            let (name, interface) = (segment_routing(kind).1, sysctl::name(interface));
            format!("`sysctl -w net.ipv6.conf.all.{name}=1 net.ipv6.conf.{interface}.{name}=1`")
        }
        Wrong::OddLength | Wrong::TooLong | Wrong::Misplaced | Wrong::HeadersCut => {
            "send fragments as RFC 8200 §4.5 has them".to_owned()
        }
        Wrong::UnknownOption(_) | Wrong::Option(_) => "send without that option".to_owned(),
        _ => "send without that header".to_owned(),
    }
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

/// The protocol of a segment routing header, and its sysctl.
fn segment_routing(kind: u8) -> (&'static str, &'static str) {
    if kind == 3 { ("RPL (RFC 6554)", "rpl_seg_enabled") } else { ("segment routing (RFC 8754)", "seg6_enabled") }
}
