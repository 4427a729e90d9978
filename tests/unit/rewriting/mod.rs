//! Rewriting through the library: laws over packets that etherparse builds and bytes that nobody built, and the cases that the RFCs name.

mod cases;
mod conversations;
mod fields;
mod flows;
mod laws;
mod made_exports;
mod neighbours;
mod payloads;
mod text_payloads;
mod tunnels;

use crate::capture::Frame;
use crate::diagnostic::At;
use crate::packet::MacAddr;
use crate::packet::checksum::{Sum, ip_header_sum, transport_sum};
use crate::packet::layers::{Layers, LinkType};
use crate::rewrite::{Pass, RewriteStats, Rewriter, Roles};
use crate::scenario::rewrite::{
    Checksums, IpEntry, IpMap, MacEntry, MacMap, MacTarget, PortEntry, Rewrite, Side, SideMaps,
};
use etherparse::PacketBuilder;

/// Maps of one side that are easy to write down.
struct Maps(SideMaps);

impl Maps {
    fn of(side: Side) -> Self {
        Self(SideMaps { side, ip: None, mac: None, port: Vec::new() })
    }

    fn ip(mut self, entries: &[(&str, &str)]) -> Self {
        let prefix = |text: &str| {
            text.parse().unwrap_or_else(|_| text.parse::<std::net::IpAddr>().expect("an address or prefix").into())
        };
        let entries = entries.iter().map(|(from, to)| IpEntry { from: prefix(from), to: prefix(to), span: 0..0 });
        self.0.ip = Some(IpMap::Prefixes(entries.collect()));
        self
    }

    fn every_mac(mut self, to: MacTarget) -> Self {
        self.0.mac = Some(MacMap::All(At::default_value(to)));
        self
    }

    fn mac(mut self, from: &str, to: &str) -> Self {
        let to = MacTarget::Literal(to.parse().expect("a MAC"));
        let entry = MacEntry { from: from.parse().expect("a MAC"), to, span: 0..0 };
        self.0.mac = Some(MacMap::Entries(vec![entry]));
        self
    }

    fn ports(mut self, entries: &[(u16, u16, u16)]) -> Self {
        self.0.port = entries
            .iter()
            .map(|(from, last, to)| PortEntry { from: *from, last: *last, to: *to, span: 0..0 })
            .collect();
        self
    }
}

fn rewriter(checksums: Checksums, sides: impl IntoIterator<Item = Maps>) -> Rewriter {
    compile(&Rewrite { checksums, ..of(sides) })
}

fn of(sides: impl IntoIterator<Item = Maps>) -> Rewrite {
    Rewrite { sides: sides.into_iter().map(|maps| maps.0).collect(), ..Rewrite::default() }
}

fn compile(rewrite: &Rewrite) -> Rewriter {
    let roles = Roles {
        sender: Some(MacAddr([2, 0, 0, 0, 0, 1])),
        receiver: Some(MacAddr([2, 0, 0, 0, 0, 2])),
        gateway: None,
        addresses: None,
    };
    Rewriter::compile(rewrite, &roles).expect("both roles are known")
}

fn preserving(sides: impl IntoIterator<Item = Maps>) -> Rewriter {
    rewriter(Checksums::Preserve, sides)
}

fn length(frame: &[u8]) -> u32 {
    u32::try_from(frame.len()).expect("a short frame")
}

/// One frame of Ethernet through a pass of its own, in place.
fn apply(rewriter: &Rewriter, frame: &mut [u8]) -> RewriteStats {
    let mut pass = Pass::new(rewriter);
    rewrite_in_place(&mut pass, LinkType::ETHERNET, frame, length(frame));
    pass.into_stats()
}

/// The next frame of the pass, which must keep its length.
pub(super) fn rewrite_in_place(pass: &mut Pass<'_>, link: LinkType, bytes: &mut [u8], original_length: u32) {
    let number = pass.stats.frame() + 1;
    let rewritten = pass.rewrite(Frame { number, time_ns: 0, original_length, link, bytes });
    assert!(!rewritten.resized, "its length changed");
}

/// One frame of Ethernet through a pass of its own, with what may change its length.
fn pass(rewriter: &Rewriter, frame: &[u8]) -> (Vec<u8>, u32) {
    through(&mut Pass::new(rewriter), 1, LinkType::ETHERNET, frame, length(frame))
}

fn through(pass: &mut Pass<'_>, number: u64, link: LinkType, frame: &[u8], original_length: u32) -> (Vec<u8>, u32) {
    let mut bytes = frame.to_vec();
    let rewritten = pass.rewrite(Frame { number, time_ns: 0, original_length, link, bytes: &mut bytes });
    (rewritten.bytes.to_vec(), rewritten.original_length)
}

fn sums(frame: &[u8]) -> (Sum, Sum) {
    let layers = Layers::find(LinkType::ETHERNET, frame);
    (ip_header_sum(&layers.network, frame), transport_sum(&layers.network, frame, length(frame)))
}

/// A datagram from 10.1.2.3 port 2055 to 10.9.8.7 port 4739.
fn udp4(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0xa], [2, 0, 0, 0, 0, 0xb])
        .ipv4([10, 1, 2, 3], [10, 9, 8, 7], 64)
        .udp(2055, 4739);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).expect("it fits");
    frame
}
