//! `restage inspect` over captures made here, and over real ones where they lie beside the clone, in `../shared/captures`.

#![expect(clippy::print_stdout, reason = "a test that can't run says why")]

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use restage::capture::Reader;
use restage::packet::checksum::Accumulator;
use serde_json::Value;

/// A folder that is removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn with(name: &str, bytes: &[u8]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("restage-inspect-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder in the temporary folder");
        fs::write(folder.join(name), bytes).expect("it can be written");
        Self(folder)
    }

    /// `restage inspect` in this folder.
    fn inspect(&self, arguments: &[&str], input: Stdio) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_restage"));
        command.arg("inspect").args(arguments).current_dir(&self.0).stdin(input).env("NO_COLOR", "1");
        command.output().expect("restage runs")
    }

    /// Status, standard output, and standard error below a line.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.inspect(arguments, Stdio::null());
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        format!("status {}\n{stdout}--- standard error\n{stderr}", output.status.code().expect("it ended"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ethernet(ethertype: u16, rest: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 0xb, 2, 0, 0, 0, 0, 0xa], ethertype.to_be_bytes().as_slice(), rest].concat()
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The sum of a pseudo-header.
fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Accumulator {
    let length = u16::try_from(length).expect("a short packet");
    let sum = Accumulator::default().add(&bytes(source)).add(&bytes(destination));
    sum.add_word(length).add_word(u16::from(protocol))
}

/// An IP packet; of IPv4 with this identification, and flags and offset.
fn ip(source: &str, destination: &str, protocol: u8, (id, flags): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let (source, destination): (IpAddr, IpAddr) = (source.parse().expect("one"), destination.parse().expect("one"));
    let length = u16::try_from(payload.len()).expect("a short packet");
    if source.is_ipv6() {
        let start = [&[0x60, 0, 0, 0], length.to_be_bytes().as_slice(), &[protocol, 64]].concat();
        return ethernet(0x86dd, &[start, bytes(source), bytes(destination), payload.to_vec()].concat());
    }
    let mut header = vec![0x45, 0];
    header.extend([20 + length, id, flags].into_iter().flat_map(u16::to_be_bytes));
    header.extend([64, protocol, 0, 0]);
    header.extend([bytes(source), bytes(destination)].concat());
    let sum = !Accumulator::default().add(&header).fold();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    ethernet(0x0800, &[&header, payload].concat())
}

/// What a checksum field holds.
#[derive(Clone, Copy)]
enum Held {
    Right,
    Wrong,
    LeftToTheCard,
}

fn udp(source: (&str, u16), destination: (&str, u16), held: Held, payload: &[u8]) -> Vec<u8> {
    let addresses = (source.0.parse().expect("one"), destination.0.parse().expect("one"));
    let length = u16::try_from(8 + payload.len()).expect("a short datagram");
    let mut datagram: Vec<u8> = [source.1, destination.1, length, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    datagram.extend(payload);
    let pseudo = pseudo(addresses.0, addresses.1, 17, datagram.len());
    let sum = match held {
        Held::Right => !pseudo.add(&datagram).fold(),
        Held::Wrong => 0x0bad,
        Held::LeftToTheCard => pseudo.fold(),
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    ip(source.0, destination.0, 17, (1, 0), &datagram)
}

fn tcp(source: (&str, u16), destination: (&str, u16)) -> Vec<u8> {
    let addresses = (source.0.parse().expect("one"), destination.0.parse().expect("one"));
    let mut segment: Vec<u8> = [source.1, destination.1].into_iter().flat_map(u16::to_be_bytes).collect();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0]);
    let sum = !pseudo(addresses.0, addresses.1, 6, segment.len()).add(&segment).fold();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    ip(source.0, destination.0, 6, (1, 0x4000), &segment)
}

fn tagged(frame: &[u8], id: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &id.to_be_bytes(), &frame[12..]].concat()
}

/// A frame, its length on the wire, and its time in microseconds.
type Captured = (Vec<u8>, usize, u64);

/// Something of everything.
fn mixed() -> Vec<Captured> {
    let (a, b) = (("10.1.0.1", 40_000), ("10.1.0.53", 53));
    let (a6, b6) = (("2001:db8::1", 40_000), ("2001:db8::53", 53));
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 0xa, 10, 1, 0, 1][..], &[0; 6], &[10, 1, 0, 53]].concat();
    let whole = udp(a, ("10.1.0.9", 514), Held::Right, &[7; 40]);
    let fragment = |id, flags, range: std::ops::Range<usize>| ip(a.0, "10.1.0.9", 17, (id, flags), &whole[34..][range]);
    let mut segment = tcp(a, ("10.1.0.80", 80));
    segment[16..18].fill(0);
    let header_sum = {
        segment[24..26].fill(0);
        !Accumulator::default().add(&segment[14..34]).fold()
    };
    segment[24..26].copy_from_slice(&header_sum.to_be_bytes());
    let frames = [
        ethernet(0x0806, &arp),
        udp(a, b, Held::Right, b"a query"),
        udp(b, a, Held::Right, b"a longer answer"),
        udp(a6, b6, Held::Right, b"a query"),
        udp(b6, a6, Held::Right, b"a longer answer"),
        tcp(a, ("10.1.0.80", 80)),
        fragment(7, 0x2000, 0..24),
        fragment(7, 3, 24..48),
        fragment(8, 0x2000, 0..24),
        tagged(&udp(a, ("10.1.0.9", 514), Held::Right, b"tagged"), 100),
        udp(a, ("10.1.0.9", 514), Held::Right, &[1; 100]),
        udp(a, ("10.1.0.9", 514), Held::Wrong, b"wrong"),
        udp(a, ("10.1.0.9", 514), Held::LeftToTheCard, b"left"),
        ip(a.0, "10.1.0.9", 1, (1, 0), &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
        segment,
        ip(a.0, "10.1.0.9", 47, (1, 0), &[0, 0, 8, 0]),
        ethernet(0x88cc, &[0; 46]),
    ];
    let mut captured: Vec<Captured> =
        frames.into_iter().enumerate().map(|(at, frame)| (frame.clone(), frame.len(), 250_000 * at as u64)).collect();
    captured[10].0.truncate(60);
    captured[13].2 = 1;
    captured[14].1 = 2974;
    captured
}

/// A pcap file in microseconds.
fn pcap(frames: &[Captured]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
    for (frame, length, time) in frames {
        for field in [1_700_000_000 + time / 1_000_000, time % 1_000_000, frame.len() as u64, *length as u64] {
            file.extend(u32::try_from(field).expect("small").to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

#[test]
fn the_first_screen_tells_what_is_in_a_capture() {
    insta::assert_snapshot!(Folder::with("mixed.pcap", &pcap(&mixed())).told(&["mixed.pcap"]));
}

#[test]
fn the_json_has_every_row() {
    insta::assert_snapshot!(Folder::with("mixed.pcap", &pcap(&mixed())).told(&["mixed.pcap", "--json", "--top", "1"]));
}

#[test]
fn longer_tables_say_how_many_more_there_are() {
    insta::assert_snapshot!(Folder::with("mixed.pcap", &pcap(&mixed())).told(&["mixed.pcap", "--top", "2"]));
}

#[test]
fn a_damaged_capture_is_shown_up_to_the_damage() {
    let file = pcap(&mixed()[..3]);
    let folder = Folder::with("cut.pcap", &file[..file.len() - 5]);
    insta::assert_snapshot!(folder.told(&["cut.pcap"]));
    let output = folder.inspect(&["cut.pcap", "--json"], Stdio::null());
    let found: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!((output.status.code(), &found["frames"], &found["damage"]["frame"]), (Some(2), &2.into(), &3.into()));
}

#[test]
fn what_is_no_capture_has_nothing_to_show() {
    let folder = Folder::with("text.pcap", b"these are no packets");
    insta::assert_snapshot!(format!("{}\n{}", folder.told(&["text.pcap"]), folder.told(&["missing.pcap"])));
}

#[test]
fn a_capture_without_frames_has_a_format_all_the_same() {
    insta::assert_snapshot!(Folder::with("empty.pcap", &pcap(&[])).told(&["empty.pcap"]));
}

#[test]
fn standard_input_is_read_as_it_comes() {
    let folder = Folder::with("mixed.pcap", &pcap(&mixed()));
    let path = folder.0.join("mixed.pcap");
    let by_name = folder.inspect(&["mixed.pcap", "--json"], Stdio::null());
    let redirected = folder.inspect(&["-", "--json"], File::open(&path).expect("it is there").into());
    let mut cat = Command::new("cat").arg(&path).stdout(Stdio::piped()).spawn().expect("cat runs");
    let piped = folder.inspect(&["-", "--json"], cat.stdout.take().expect("it is piped").into());
    cat.wait().expect("cat ends");
    for output in [redirected, piped] {
        let text = String::from_utf8(output.stdout).expect("it is UTF-8");
        assert_eq!(text.replacen("\"file\": \"-\"", "\"file\": \"mixed.pcap\"", 1).as_bytes(), by_name.stdout);
    }
}

#[test]
fn more_conversations_than_are_told_apart_are_counted() {
    let over = 10;
    let mut frames = Vec::new();
    for at in 0..u32::try_from(restage::inspect::MOST_ENTRIES).expect("small") + over {
        let source = std::net::Ipv4Addr::from(0x0a00_0000 + at).to_string();
        let frame = ip(&source, "10.255.0.1", 253, (1, 0), &[]);
        frames.push((frame.clone(), frame.len(), u64::from(at)));
    }
    let folder = Folder::with("many.pcap", &pcap(&frames));
    let mut reader = Reader::open(&folder.0.join("many.pcap")).expect("a capture");
    let (found, failure) = restage::inspect::inspect(&mut reader);
    assert!(failure.is_none());
    assert_eq!((found.conversations.len(), found.unlisted.conversations), (65_536, u64::from(over)));
    // The destination is one of them, and was there early enough.
    assert_eq!((found.endpoints.len(), found.unlisted.endpoints), (65_536, u64::from(over) + 1));
    assert_eq!(found.frames, 65_546);
}

#[test]
fn real_captures_have_as_many_frames_as_their_index_says() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    let Ok(index) = fs::read_to_string(corpus.join("INDEX.jsonl")) else {
        println!("skipped: there are no captures at {}", corpus.display());
        return;
    };
    let mut wrong = Vec::new();
    let mut seen = 0;
    for line in index.lines() {
        let entry: Value = serde_json::from_str(line).expect("a line of the index is JSON");
        let Some(wanted) = entry["packets_readable"].as_u64().filter(|_| entry["kind"] == "capture") else { continue };
        let path = corpus.join(entry["path"].as_str().expect("a path"));
        let Ok(mut reader) = Reader::open(&path) else {
            if wanted > 0 {
                wrong.push(format!("{}: not opened, {wanted} packets", path.display()));
            }
            continue;
        };
        seen += 1;
        let (found, failure) = restage::inspect::inspect(&mut reader);
        let by_network: u64 = found.networks.iter().map(|network| network.frames).sum();
        let by_link: u64 = found.links.iter().map(|link| link.frames).sum();
        let adds_up = by_network == found.frames && by_link == found.frames;
        if found.frames != wanted || failure.is_some() != found.damage.is_some() || !adds_up {
            wrong.push(format!("{}: {} frames, not {wanted}; {by_network}, {by_link}", path.display(), found.frames));
        }
        let ending = failure.is_some();
        let is_broken = entry["damage"].as_str().is_some_and(|damage| !damage.starts_with("capinfos"));
        if ending != is_broken {
            wrong.push(format!("{}: ends early: {ending}, {}", path.display(), entry["damage"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 400, "{seen} captures");
}
