//! Real captures of 185 protocols, many broken on purpose: all are read, rewritten and filtered as they must be.
//!
//! They are no part of the project, so that these tests are left out unless they are asked for:
//! `RESTAGE_CAPTURES=FOLDER cargo test --lib -- --ignored real_captures`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::capture::{Filter, Format, Reader};
use crate::diagnostic::{Kind, Source};
use crate::inspect::inspect;
use crate::packet::checksum::{Sum, ip_header_sum, transport_sum};
use crate::packet::layers::{Fragment, Layers, LinkType, Network, protocol};
use crate::packet::listing;
use crate::rewrite::{Pass, Rewriter, Roles, Selected, rewrite_file};
use crate::scenario::rewrite::{IpEntry, IpMap, PortEntry, Rewrite, Side, SideMaps};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use serde_json::Value;

use super::tests::rewrite_in_place;

/// The folder of the captures.
fn corpus() -> PathBuf {
    std::env::var_os("RESTAGE_CAPTURES").expect("RESTAGE_CAPTURES names the folder of the captures").into()
}

/// A capture of the index.
struct Indexed {
    path: PathBuf,
    /// How many packets can be read before the first damage.
    packets: u64,
    damage: Option<String>,
}

impl Indexed {
    /// Whether the file itself is broken: capinfos also complains about contents that it doesn't know.
    fn is_broken(&self) -> bool {
        self.damage.as_ref().is_some_and(|damage| !damage.starts_with("capinfos"))
    }
}

fn index(corpus: &Path) -> Vec<Indexed> {
    let text = fs::read_to_string(corpus.join("INDEX.jsonl")).expect("the index can be read");
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of the index is JSON"));
    let captures: Vec<Indexed> = entries
        .filter(|entry| entry["kind"] == "capture")
        .map(|entry| Indexed {
            path: corpus.join(entry["path"].as_str().expect("a path")),
            packets: entry["packets_readable"].as_u64().unwrap_or(0),
            damage: entry["damage"].as_str().map(str::to_owned),
        })
        .collect();
    assert!(captures.len() > 400, "{} captures", captures.len());
    captures
}

/// How many frames were read, and the message where that ended early.
fn read(path: &Path) -> (u64, Option<String>) {
    let message = |failure: crate::diagnostic::Failure| {
        assert_eq!(failure.kind, Kind::Invalid, "{failure:?}");
        let problem = &failure.problems[0];
        format!("{}: {}", problem.what, problem.why.clone().unwrap_or_default())
    };
    let mut reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(failure) => return (0, Some(message(failure))),
    };
    let mut frames = 0;
    loop {
        match reader.next_frame() {
            Ok(Some(_)) => frames += 1,
            Ok(None) => return (frames, None),
            Err(failure) => return (frames, Some(message(failure))),
        }
    }
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn every_whole_capture_is_read_to_its_end() {
    let corpus = corpus();
    let mut wrong = Vec::new();
    for capture in index(&corpus).iter().filter(|capture| capture.damage.is_none()) {
        let (frames, message) = read(&capture.path);
        if frames != capture.packets || message.is_some() {
            wrong.push(format!("{}: {frames} of {} frames, {message:?}", capture.path.display(), capture.packets));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn every_broken_capture_ends_with_its_frame_and_byte() {
    let corpus = corpus();
    let mut wrong = Vec::new();
    for capture in index(&corpus).iter().filter(|capture| capture.is_broken()) {
        let (frames, message) = read(&capture.path);
        let message = message.unwrap_or_default();
        let names_the_place =
            message.contains(&format!("damaged at frame {}", frames + 1)) && message.contains("at byte ");
        let is_no_capture = frames == 0 && (message.contains("is not a capture") || message.contains("is damaged: "));
        if frames != capture.packets || !(names_the_place || is_no_capture) {
            wrong.push(format!(
                "{}: {frames} of {} frames, `{message}`, {:?}",
                capture.path.display(),
                capture.packets,
                capture.damage
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Calls `each` with every frame that can be read.
fn frames(corpus: &Path, mut each: impl FnMut(&Path, u64, &Layers, &mut [u8], u32)) {
    for capture in index(corpus) {
        let Ok(mut reader) = Reader::open(&capture.path) else { continue };
        while let Ok(Some(frame)) = reader.next_frame() {
            let layers = Layers::find(frame.link, frame.bytes);
            each(&capture.path, frame.number, &layers, frame.bytes, frame.original_length);
        }
    }
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn the_layers_are_those_that_etherparse_finds() {
    let corpus = corpus();
    let mut compared = 0;
    frames(&corpus, |path, number, layers, frame, _| {
        if layers.link != LinkType::ETHERNET {
            return;
        }
        let Ok(theirs) = SlicedPacket::from_ethernet(frame) else { return };
        let addresses = match &theirs.net {
            Some(NetSlice::Ipv4(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            Some(NetSlice::Ipv6(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            _ => return,
        };
        assert_eq!(layers.addresses(frame), Some(addresses), "{} frame {number}", path.display());
        let ports = match &theirs.transport {
            Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
            Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
            _ => return,
        };
        // It walks the authentication header of IPv4 too, which is opaque here.
        if layers.network.ip().is_some_and(|ip| ip.protocol == protocol::AH) {
            return;
        }
        assert_eq!(layers.ports(frame), Some(ports), "{} frame {number}", path.display());
        compared += 1;
    });
    assert!(compared > 1000, "{compared} frames compared");
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn every_frame_can_be_listed_in_one_line() {
    let corpus = corpus();
    frames(&corpus, |path, number, layers, frame, original_length| {
        let line = listing::line(number, std::time::Duration::ZERO, layers, frame, original_length);
        assert!(!line.contains('\n') && line.is_ascii(), "{}: {line}", path.display());
    });
}

/// A rewriter that swaps addresses and ports with their neighbours: applied twice it changes nothing.
fn swapping() -> Rewriter {
    let entry = |from: String, to: String| IpEntry {
        from: from.parse().expect("a prefix"),
        to: to.parse().expect("a prefix"),
        span: 0..0,
    };
    let mut prefixes: Vec<IpEntry> =
        (1..=223_u8).map(|first| entry(format!("{first}.0.0.0/8"), format!("{}.0.0.0/8", first ^ 1))).collect();
    prefixes.remove(0);
    prefixes.extend(
        [("2000::/4", "3000::/4"), ("3000::/4", "2000::/4"), ("fe80::/16", "fe81::/16"), ("fe81::/16", "fe80::/16")]
            .map(|(from, to)| entry(from.to_owned(), to.to_owned())),
    );
    let ports = (0..=u16::MAX).map(|port| PortEntry { from: port, last: port, to: port ^ 1, span: 0..0 }).collect();
    let both = SideMaps { side: Side::Both, ip: Some(IpMap::Prefixes(prefixes)), mac: None, port: ports };
    let rewrite = Rewrite { allow_unused: true, sides: vec![both], ..Rewrite::default() };
    Rewriter::compile(&rewrite, &Roles::default()).expect("it needs no role")
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn good_sums_stay_good_and_bad_ones_bad() {
    let corpus = corpus();
    let rewriter = swapping();
    let mut pass = Pass::new(&rewriter);
    let mut compared: BTreeMap<String, u64> = BTreeMap::new();
    frames(&corpus, |path, number, layers, frame, original_length| {
        // A sum that offloading left is no checksum: updated like one, it is neither.
        let before = (ip_header_sum(&layers.network, frame), transport_sum(&layers.network, frame, original_length));
        rewrite_in_place(&mut pass, layers.link, frame, original_length);
        let after = (ip_header_sum(&layers.network, frame), transport_sum(&layers.network, frame, original_length));
        let place = format!("{} frame {number}", path.display());
        assert_eq!(before.0, after.0, "{place}");
        if before.1 != Sum::Offload {
            assert_eq!(before.1, after.1, "{place}");
        }
        *compared.entry(format!("{:?}", before.1)).or_default() += 1;
    });
    assert!(compared["Good"] > 1000 && compared["Bad"] > 10, "{compared:?}");
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn swapping_twice_gives_the_frame_back() {
    let corpus = corpus();
    let rewriter = swapping();
    let mut pass = Pass::new(&rewriter);
    let mut changed = 0;
    frames(&corpus, |path, number, layers, frame, original_length| {
        let before = frame.to_vec();
        rewrite_in_place(&mut pass, layers.link, frame, original_length);
        changed += u64::from(before != frame);
        rewrite_in_place(&mut pass, layers.link, frame, original_length);
        if before == frame {
            return;
        }
        // RFC 1624: 0xffff and 0 are the same sum, and an update writes 0; so does one that it passes on to the sum around it.
        let differences: Vec<usize> = (0..before.len()).filter(|at| before[*at] != frame[*at]).collect();
        let zeros = differences.iter().all(|at| before[*at] == 0xff && frame[*at] == 0);
        assert!(zeros, "{} frame {number}: bytes {differences:?}", path.display());
    });
    assert!(changed > 1000, "{changed} frames changed");
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn a_rewrite_that_names_nothing_changes_no_byte() {
    let corpus = corpus();
    let rewriter = Rewriter::compile(&Rewrite::default(), &Roles::default()).expect("it needs no role");
    let source = Arc::new(Source { path: "identity.toml".into(), text: String::new() });
    let folder = std::env::temp_dir().join(format!("restage-identity-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder in the temporary folder");
    for capture in index(&corpus) {
        let Ok(reader) = Reader::open(&capture.path) else { continue };
        let ending = if reader.format() == Format::Pcapng { "pcapng" } else { "pcap" };
        let output = folder.join("out").with_extension(ending);
        let result = rewrite_file(
            &capture.path.as_path().into(),
            &output,
            &mut |_| Ok(Selected::Yes),
            &Pass::new(&rewriter),
            &source,
        );
        match result {
            Ok(summary) if summary.read == 0 => {}
            Ok(summary) => {
                assert_eq!(summary.read, summary.written);
                // A capture without a frame makes no file.
                if summary.read == 0 {
                    continue;
                }
                let same = fs::read(&capture.path).expect("the capture") == fs::read(&output).expect("the output");
                assert!(same, "{}", capture.path.display());
                fs::remove_file(&output).expect("the output can be removed");
            }
            Err(failure) => assert!(capture.damage.is_some(), "{}: {failure:?}", capture.path.display()),
        }
        assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 0, "{} left something", capture.path.display());
    }
    fs::remove_dir(&folder).expect("the folder can be removed");
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn filters_take_what_libpcaps_own_tests_want() {
    let corpus = corpus();
    let text = fs::read_to_string(corpus.join("filters/bpf_goldens.json")).expect("the goldens can be read");
    let goldens: Vec<Value> = serde_json::from_str(&text).expect("the goldens are JSON");
    let mut wrong = Vec::new();
    let mut right = 0;
    for golden in goldens.iter().filter(|golden| golden["installed_libpcap_1_10_3"] == "agrees") {
        let expression = golden["expr"].as_str().expect("an expression");
        let mut reader = Reader::open(&corpus.join(golden["capture"].as_str().expect("a path"))).expect("it opens");
        let taken: Result<Vec<u64>, _> = Filter::compile(expression).and_then(|mut filter| {
            let mut taken = Vec::new();
            while let Some(frame) = reader.next_frame()? {
                if filter.matches(&frame)? {
                    taken.push(frame.number);
                }
            }
            Ok(taken)
        });
        let wanted: Vec<u64> = golden["accept"].as_array().expect("numbers").iter().filter_map(Value::as_u64).collect();
        match taken {
            Ok(taken) if taken == wanted => right += 1,
            other => wrong.push(format!("{expression}: {other:?}, not {wanted:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(right > 30, "{right} goldens");
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn later_fragments_keep_every_byte_of_their_payload() {
    let corpus = corpus();
    let rewriter = swapping();
    let mut pass = Pass::new(&rewriter);
    let mut fragments = 0;
    frames(&corpus, |path, number, layers, frame, original_length| {
        let (Network::Ipv4(ip) | Network::Ipv6(ip)) = layers.network else { return };
        if !matches!(ip.fragment, Fragment::Later { .. }) {
            return;
        }
        fragments += 1;
        let before = frame[ip.payload..].to_vec();
        rewrite_in_place(&mut pass, layers.link, frame, original_length);
        assert_eq!(before, frame[ip.payload..], "{} frame {number}", path.display());
    });
    assert!(fragments > 10, "{fragments} fragments");
}

#[test]
#[ignore = "needs captures that are no part of the project: RESTAGE_CAPTURES names their folder"]
fn inspections_have_as_many_frames_as_the_index() {
    let corpus = corpus();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for capture in index(&corpus) {
        let (path, wanted) = (capture.path.display(), capture.packets);
        let Ok(mut reader) = Reader::open(&capture.path) else {
            if wanted > 0 {
                wrong.push(format!("{path}: not opened, {wanted} packets"));
            }
            continue;
        };
        seen += 1;
        let (found, failure) = inspect(&mut reader);
        let by_network: u64 = found.networks.iter().map(|network| network.frames).sum();
        let by_link: u64 = found.links.iter().map(|link| link.frames).sum();
        let adds_up = by_network == found.frames && by_link == found.frames;
        // Where Wireshark stops too, the index has counted without looking.
        if capture.damage.is_some() && !capture.is_broken() {
            assert!(adds_up, "{path}");
            continue;
        }
        if found.frames != wanted || failure.is_some() != found.damage.is_some() || !adds_up {
            wrong.push(format!("{path}: {} frames, not {wanted}; {by_network}, {by_link}", found.frames));
        }
        if failure.is_some() != capture.is_broken() {
            wrong.push(format!("{path}: {failure:?}, {:?}", capture.damage));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 400, "{seen} captures");
}
