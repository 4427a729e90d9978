//! What is fuzzed: each body takes bytes that nobody vouches for, and panics where something is promised and not kept.
//!
//! It is a module of the library only where that is fuzzed or tested: the targets beside it run these bodies under libFuzzer,
//! `tests/unit/fuzzing.rs` runs them a bounded number of times on every build.

#[cfg(test)]
#[path = "../tests/unit/fuzzing.rs"]
mod tests;

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::capture::{Format, Frame, Reader};
use crate::diagnostic::{At, Source};
use crate::flow::{Event, Templates, Within, recognise, walk};
use crate::packet::MacAddr;
use crate::packet::checksum::{Sum, ip_header_sum, transport_sum};
use crate::packet::layers::{Layers, LinkType, Network};
use crate::packet::listing;
use crate::rewrite::{Framing, Left, Pass, Rewriter, Roles, Selected, rewrite_file};
use crate::scenario::rewrite::{
    Checksums, Flows, HeaderFields, IpEntry, IpMap, Lengths, MacMap, MacTarget, NewTag, Oversize, PayloadProtocol,
    PayloadRule, PortEntry, Rewrite, Side, SideMaps, TagPosition, TimeTarget, Ttl, TunnelLayers, Vlan, VlanEntry,
};

/// Any bytes as a file: it is read to its end or to an error, every frame lies inside the file, what is in it can be told, and
/// a rewrite that names nothing gives the same bytes. `folder` is for the files that this needs.
pub fn reader(folder: &Path, bytes: &[u8]) {
    let input = folder.join("in");
    fs::write(&input, bytes).expect("the folder can be written to");
    let Ok(mut reader) = Reader::open(&input) else { return };
    let (found, failure) = crate::inspect::inspect(&mut reader);
    // What was compressed is longer, and comes out unpacked.
    if bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return;
    }
    let is_capture = failure.is_none();
    assert!(found.bytes_captured <= bytes.len() as u64, "{} bytes of {}", found.bytes_captured, bytes.len());
    let ending = if reader.format() == Format::Pcapng { "pcapng" } else { "pcap" };
    let output = folder.join("out").with_extension(ending);
    let identity = Rewriter::compile(&Rewrite::default(), &Roles::default()).expect("it needs no role");
    let source = Arc::new(Source { path: "identity.toml".into(), text: String::new() });
    let done =
        rewrite_file(&input.as_path().into(), &output, &mut |_| Ok(Selected::Yes), &Pass::new(&identity), &source);
    assert_eq!(done.is_ok(), is_capture, "{done:?}");
    // A capture without a frame makes no file.
    if done.is_ok_and(|summary| summary.written > 0) {
        assert!(fs::read(&output).expect("it was written") == bytes, "an identity rewrite changed something");
        fs::remove_file(&output).expect("it can be removed");
    } else {
        assert!(!output.exists(), "a damaged or empty capture left an output");
    }
}

/// Any bytes as a frame of any link type: every header that is found lies inside it, and it can be listed in one line.
pub fn layers(link: u16, original_length: u32, frame: &[u8]) {
    let layers = Layers::find(LinkType(link), frame);
    inside(&layers.network, frame.len());
    if let Some(quoted) = layers.quoted(frame) {
        inside(&quoted, layers.network.ip().map_or(0, |ip| ip.end));
    }
    assert!(layers.vlan_tags == 0 || 14 + 4 * layers.vlan_tags <= frame.len());
    assert_eq!(layers.network.ip().is_some(), layers.addresses(frame).is_some());
    assert_eq!(matches!(layers.network, Network::Arp { .. }), layers.arp_addresses(frame).is_some());
    let _ = (layers.macs(frame), layers.ports(frame));
    let _ = (ip_header_sum(&layers.network, frame), transport_sum(&layers.network, frame, original_length));
    let line = listing::line(1, Duration::ZERO, &layers, frame, original_length);
    assert!(!line.contains('\n') && line.is_ascii(), "{line}");
}

fn inside(network: &Network, end: usize) {
    match network {
        Network::None => {}
        Network::Arp { offset } => assert!(offset + 28 <= end),
        Network::Ipv4(ip) | Network::Ipv6(ip) => {
            assert!(ip.offset < ip.payload && ip.payload <= ip.end && ip.end <= end, "{ip:?} in {end}");
            if let Some((source, destination)) = ip.port_offsets() {
                assert!(source + 2 <= end && destination + 2 <= end);
            }
        }
    }
}

/// Any datagrams of one exporter: all that is found lies inside its datagram, nothing twice, and every field inside its record.
pub fn flows(datagrams: &[&[u8]]) {
    let (source, destination) = (([192, 0, 2, 1], 2000).into(), ([192, 0, 2, 9], 4739).into());
    let mut templates = Templates::default();
    for (place, datagram) in (1..).zip(datagrams) {
        let mut end = 0;
        let mut after = |range: &std::ops::Range<usize>| {
            assert!(
                end <= range.start && range.start <= range.end && range.end <= datagram.len(),
                "{range:?} after {end}"
            );
            end = range.end;
        };
        let mut messages = 0;
        walk(datagram, source, destination, place, &mut templates, |event| match event {
            Event::Message(header) => {
                messages += 1;
                assert!(header.body <= header.range.end && header.range.end <= datagram.len());
            }
            Event::Template { template, range, .. } => {
                after(&range);
                assert!(template.place <= place && !template.fields.is_empty());
            }
            Event::Withdrawal { .. } => {}
            Event::Undecodable { range, .. } => after(&range),
            Event::Data(set) => {
                let mut records = set.records();
                for record in records.by_ref() {
                    after(&record.range);
                    assert!(!record.range.is_empty() && record.range.end <= set.range.end);
                    let mut next = record.range.start;
                    record.each_field(|field| {
                        let range = field.range();
                        assert_eq!(datagram.get(range.clone()), Some(field.bytes));
                        assert!(record.range.start <= range.start && range.end <= record.range.end);
                        if field.within == Within::Record {
                            assert!(next <= range.start, "{range:?} before {next}");
                            next = range.end;
                        }
                        let _ = field.value().to_string();
                    });
                }
                if let Some(rest) = records.rest() {
                    after(&rest);
                }
            }
        });
        assert!(messages > 0 || recognise(datagram).is_none(), "it was recognised, and has no message");
    }
}

/// Any frame under a rewriter of many words: good sums stay good, and a second time changes nothing more, since no result is
/// in the domain of its map.
pub fn rewriter(link: u16, original_length: u32, frame: &[u8]) {
    for rewriter in REWRITERS.iter() {
        let mut pass = Pass::new(rewriter);
        let mut apply = |frame: &mut [u8]| {
            let layers = Layers::find(LinkType(link), frame);
            let before =
                (ip_header_sum(&layers.network, frame), transport_sum(&layers.network, frame, original_length));
            pass.rewrite(Frame { number: 1, time_ns: 0, original_length, link: layers.link, bytes: &mut *frame });
            let after = (ip_header_sum(&layers.network, frame), transport_sum(&layers.network, frame, original_length));
            assert!(before.0 != Sum::Good || after.0 == Sum::Good, "header sum: {after:?}");
            assert!(before.1 != Sum::Good || after.1 == Sum::Good, "transport sum: {after:?}");
        };
        let mut once = frame.to_vec();
        apply(&mut once);
        let mut twice = once.clone();
        apply(&mut twice);
        assert!(once == twice, "twice is not once");
    }
}

/// Any frame through a pass that pads, cuts, makes Ethernet headers, tags, tells clients from servers and mends lengths: what comes
/// out is no longer than what may, and a second frame goes through as well.
pub fn pass(link: u16, original_length: u32, frame: &[u8]) {
    let framing = Framing { sender: MacAddr([2, 0, 0, 0, 0, 1]), receiver: Some(MacAddr([2, 0, 0, 0, 0, 2])) };
    for rewriter in RESIZING.iter() {
        let mut pass = Pass::new(rewriter).padding().cutting(576).framing(framing);
        for number in 1..=2 {
            let mut bytes = frame.to_vec();
            let captured = Frame { number, time_ns: 0, original_length, link: LinkType(link), bytes: &mut bytes };
            let rewritten = pass.rewrite(captured);
            let layers = Layers::find(rewritten.link, rewritten.bytes);
            inside(&layers.network, rewritten.bytes.len());
            let cut = layers.packet_length(rewritten.bytes.len());
            assert!(cut <= 576, "{cut} bytes are left");
        }
    }
}

/// Any frame under a rewriter of every payload: good sums stay good, and a frame whose payload can't be decoded stays as it is.
pub fn payloads(link: u16, original_length: u32, frame: &[u8]) {
    let link = LinkType(link);
    let sums = |frame: &[u8], original_length| {
        let layers = Layers::find(link, frame);
        (ip_header_sum(&layers.network, frame), transport_sum(&layers.network, frame, original_length))
    };
    let mut pass = Pass::new(&PAYLOADS);
    let mut bytes = frame.to_vec();
    let rewritten = pass.rewrite(Frame { number: 1, time_ns: 0, original_length, link, bytes: &mut bytes });
    let (before, after) = (sums(frame, original_length), sums(rewritten.bytes, rewritten.original_length));
    assert!(before.0 != Sum::Good || after.0 == Sum::Good, "header sum: {after:?}");
    assert!(before.1 != Sum::Good || after.1 == Sum::Good, "transport sum: {after:?}");
    let new = rewritten.bytes.to_vec();
    let is_left = pass.into_stats().left(Left::Payload).frames > 0;
    let behind = Layers::find(link, frame).network.ip().map_or(frame.len(), |ip| ip.payload + 8);
    let is_as_it_was = new.len() == frame.len() && new.get(behind..) == frame.get(behind..);
    assert!(!is_left || is_as_it_was, "what can't be decoded was altered");
}

/// Every protocol on its standard ports, with maps that name all addresses.
static PAYLOADS: LazyLock<Rewriter> = LazyLock::new(|| {
    let rules = [
        (PayloadProtocol::Dns, &[53][..]),
        (PayloadProtocol::Dhcp, &[67, 68]),
        (PayloadProtocol::Snmp, &[161, 162]),
        (PayloadProtocol::Radius { secret: "secret".to_owned() }, &[1812, 1813]),
        (PayloadProtocol::Sip, &[5060]),
        (
            PayloadProtocol::Syslog {
                time: TimeTarget::Now,
                replace: vec![("[a-m]+".to_owned(), "longer".to_owned())],
            },
            &[514],
        ),
    ];
    let payload =
        rules.into_iter().map(|(protocol, ports)| PayloadRule { protocol, ports: ports.to_vec(), span: 0..0 });
    let entry = |from: &str, to: &str| {
        let prefix = |text: &str| text.parse().expect("a prefix");
        IpEntry { from: prefix(from), to: prefix(to), span: 0..0 }
    };
    let prefixes = vec![entry("0.0.0.0/0", "198.51.100.0/24"), entry("::/0", "fd00:1::/32")];
    let both = SideMaps { side: Side::Both, ip: Some(IpMap::Prefixes(prefixes)), mac: None, port: Vec::new() };
    let time = Some(At::default_value(TimeTarget::Now));
    let flows = Some(Flows { time, addresses: Some(0..0), sequence: Some(0..0), ..Flows::default() });
    let rewrite = Rewrite { payload: payload.collect(), flows, sides: vec![both], ..Rewrite::default() };
    Rewriter::compile(&rewrite, &Roles::default()).expect("it needs no role")
});

/// Rewriters that change the length of frames, or need more than the frame.
static RESIZING: LazyLock<Vec<Rewriter>> = LazyLock::new(|| {
    let prefix = |text: &str| text.parse().expect("a prefix");
    let side = |side, to| {
        let ip = IpEntry { from: prefix("0.0.0.0/0"), to: prefix(to), span: 0..0 };
        SideMaps { side, ip: Some(IpMap::Prefixes(vec![ip])), mac: None, port: Vec::new() }
    };
    let new = NewTag { tpid: 0x88a8, id: 9, priority: 1, dei: true, span: 0..0 };
    let push = Vlan::Push { tags: vec![new], position: TagPosition::Innermost };
    let rewritten = [push, Vlan::Pop { tag: None, span: 0..0 }].map(|vlan| {
        let rewrite = Rewrite {
            lengths: Lengths::Fix,
            oversize: At::default_value(Oversize::Truncate),
            layers: TunnelLayers::All,
            sides: vec![side(Side::Client, "192.0.2.0/24"), side(Side::Server, "198.51.100.0/24")],
            vlan: Some(vlan),
            ..Rewrite::default()
        };
        Rewriter::compile(&rewrite, &Roles::default()).expect("it needs no role")
    });
    rewritten.into()
});

/// The same words with checksums preserved and mended, for outer headers and for each.
static REWRITERS: LazyLock<Vec<Rewriter>> = LazyLock::new(|| {
    let ways = [
        (Checksums::Preserve, TunnelLayers::Outer),
        (Checksums::Fix, TunnelLayers::Outer),
        (Checksums::Preserve, TunnelLayers::All),
    ];
    ways.into_iter().map(|(checksums, layers)| rewriter_of(checksums, layers)).collect()
});

fn rewriter_of(checksums: Checksums, layers: TunnelLayers) -> Rewriter {
    let entry = |from: &str, to: &str| IpEntry {
        from: from.parse().expect("a prefix"),
        to: to.parse().expect("a prefix"),
        span: 0..0,
    };
    let prefixes = vec![
        entry("0.0.0.0/2", "198.51.100.0/24"),
        entry("64.0.0.0/2", "192.0.2.0/25"),
        entry("2000::/4", "fd00:1::/32"),
        entry("fe80::/10", "fd00:2::/32"),
        entry("::/8", "fd00:3::/32"),
    ];
    let ports = vec![
        PortEntry { from: 0, last: 1023, to: 40_000, span: 0..0 },
        PortEntry { from: 1024, last: 32_767, to: 40_001, span: 0..0 },
    ];
    let mac = MacMap::All(At::default_value(MacTarget::Literal(MacAddr([2, 0, 0, 0, 0, 1]))));
    let both = SideMaps { side: Side::Both, ip: Some(IpMap::Prefixes(prefixes)), mac: Some(mac), port: ports };
    let header = HeaderFields {
        ttl: Some(At::default_value(Ttl::Set(9))),
        dscp: Some(At::default_value(46)),
        flow_label: Some(At::default_value(0xabcde)),
        ..HeaderFields::default()
    };
    let entries = vec![VlanEntry { from: Some(100..=100), to: 200..=200, span: 0..0 }];
    let vlan = Vlan::Map { tag: TagPosition::Outside(1), entries };
    let sides = vec![both];
    let rewrite =
        Rewrite { checksums, layers, allow_unused: true, sides, vlan: Some(vlan), header, ..Rewrite::default() };
    Rewriter::compile(&rewrite, &Roles::default()).expect("it needs no role")
}
