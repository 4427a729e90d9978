//! Captures that were taken in unusual places, or of unusual traffic: they can be run as they are, or the message's own words lead there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{User, both, fresh_folder, restage, run, users};
use etherparse::PacketBuilder;
use serde_json::Value;

/// No address, as on `lo`.
const NONE: [u8; 6] = [0; 6];
const SENDER: [u8; 6] = [2, 0xaa, 0, 0, 0, 1];
const RECEIVER: [u8; 6] = [2, 0xaa, 0, 0, 0, 2];

/// A datagram to port 5514 in an Ethernet frame.
fn datagram(to_mac: [u8; 6], from: &str, to: &str, bytes: usize) -> Vec<u8> {
    let from_mac = if to_mac == NONE { NONE } else { SENDER };
    let link = PacketBuilder::ethernet2(from_mac, to_mac);
    let packet = match (from.parse(), to.parse(), from.parse(), to.parse()) {
        (Ok(from), Ok(to), _, _) => link.ipv4(std::net::Ipv4Addr::octets(&from), std::net::Ipv4Addr::octets(&to), 64),
        (_, _, Ok(from), Ok(to)) => link.ipv6(std::net::Ipv6Addr::octets(&from), std::net::Ipv6Addr::octets(&to), 64),
        _ => panic!("{from} and {to} are no pair of addresses"),
    };
    let mut frame = Vec::new();
    packet.udp(5000, 5514).write(&mut frame, &vec![7; bytes]).expect("it is short enough");
    frame
}

/// A pcap file of this link type, whose frames have these times in milliseconds.
fn pcap(link: u8, frames: impl IntoIterator<Item = (u32, Vec<u8>)>) -> Vec<u8> {
    let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, link, 0, 0, 0];
    for (millis, frame) in frames {
        let length = u32::try_from(frame.len()).expect("short");
        for field in [1_700_000_000 + millis / 1_000, millis % 1_000 * 1_000, length, length] {
            file.extend(field.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

/// A folder with `in.pcap` and `s.toml`.
fn scenario(capture: &[u8], rest: &str) -> PathBuf {
    let folder = fresh_folder("odd");
    fs::write(folder.join("in.pcap"), capture).expect("it can be written");
    write(&folder, rest);
    folder
}

fn write(folder: &Path, rest: &str) {
    let text = format!("format = 1\n[capture]\nfile = \"in.pcap\"\n{rest}");
    fs::write(folder.join("s.toml"), text).expect("it can be written");
}

fn ethernet(frames: &[Vec<u8>]) -> Vec<u8> {
    pcap(1, (0..).zip(frames.iter().cloned()))
}

fn plan(folder: &Path) -> Value {
    let output =
        restage(User::Caller).args(["plan", "--json"]).arg(folder.join("s.toml")).output().expect("restage runs");
    assert!(output.status.success(), "{}", both(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// It is planned and run as every user, and everything is consumed.
fn passes(folder: &Path) {
    let fates = &plan(folder)["predictions"];
    let all_delivered = fates.as_array().expect("a list").iter().all(|fate| fate["end"] == "delivered");
    assert!(all_delivered, "{fates:#}");
    for user in users() {
        let run = run(*user, [folder.join("s.toml")]);
        assert_eq!(run.status, 0, "as {user:?}: {}", run.text);
    }
}

/// The words in backticks of the first fix that the plan has, as tables of a scenario.
fn remedy(folder: &Path) -> String {
    let plan = plan(folder);
    let fix = plan["predictions"][0]["fix"].as_str().expect("a fix").to_owned();
    let quoted = fix.split('`').skip(1).step_by(2);
    quoted.map(|words| words.replacen("] ", "]\n", 1) + "\n").collect()
}

#[test]
fn frames_without_macs_reach_the_receiver() {
    for (from, to) in [("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "239.1.2.3"), ("10.0.0.1", "255.255.255.255")] {
        let folder = scenario(&ethernet(&[datagram(NONE, from, to, 40)]), "");
        passes(&folder);
        let reshaped = plan(&folder)["rewrite"]["reshaped"][0].clone();
        assert_eq!(reshaped["how"], "given MAC addresses, since theirs are zero");
    }
    // An entry that names the zeros counts them first.
    let named = "[rewrite.destination]\nmac = { \"00:00:00:00:00:00\" = \"receiver\" }\n";
    let folder = scenario(&ethernet(&[datagram(NONE, "10.0.0.1", "10.0.0.2", 40)]), named);
    passes(&folder);
    assert_eq!(plan(&folder)["rewrite"]["entries"][0]["frames"], 1);
}

#[test]
fn frames_that_are_given_a_mac_go_where_the_captured_ones_go() {
    let real = || datagram(RECEIVER, "10.0.0.1", "10.0.0.2", 40);
    let without = || datagram(NONE, "10.0.0.1", "10.0.0.2", 40);
    passes(&scenario(&ethernet(&[without(), without(), real()]), ""));
    // A map to the receiver, too.
    let other = datagram([2, 0xaa, 0, 0, 0, 7], "10.0.0.1", "10.0.0.2", 40);
    let map = "[rewrite.destination]\nmac = { \"02:aa:00:00:00:07\" = \"receiver\" }\n";
    passes(&scenario(&ethernet(&[other.clone(), other, real()]), map));
    let made = ethernet_of(1, &[without(), real()], "");
    assert_eq!(made[0][..6], RECEIVER);
}

#[test]
fn a_capture_of_loopback_addresses_passes_with_the_remedy_that_the_plan_names() {
    for (loopback, cause) in [("127.0.0.1", "IP_LOCALNET"), ("::1", "IP_INHDR")] {
        let folder = scenario(&ethernet(&[datagram(NONE, loopback, loopback, 40)]), "");
        assert_eq!(plan(&folder)["predictions"][0]["end"], format!("lost: {cause}"));
        let words = remedy(&folder);
        write(&folder, &words);
        passes(&folder);
    }
}

#[test]
fn the_sender_has_another_mac_than_the_receiver() {
    let ours = [2, 0, 0, 0, 0, 1];
    passes(&scenario(&ethernet(&[datagram(ours, "10.0.0.1", "10.0.0.2", 40)]), ""));
    let said = "[rewrite.destination]\nmac = \"receiver\"\n[rewrite.source]\nmac = \"sender\"\n\
                [lab]\nmac = \"02:00:00:00:00:01\"\n";
    passes(&scenario(&ethernet(&[datagram(RECEIVER, "10.0.0.1", "10.0.0.2", 40)]), said));
}

#[test]
fn link_local_traffic_runs_whatever_its_addresses() {
    let of = |from: &str, to: &str| datagram(RECEIVER, from, to, 40);
    // The last is the address that rx0 gives itself, by its MAC.
    let six = ["fe80::1", "fe80::2", "fe80::aa:ff:fe00:2"].map(|to| of("fe80::9", to));
    let four = ["169.254.0.1", "169.254.0.2", "169.254.255.255"].map(|to| of("169.254.0.9", to));
    passes(&scenario(&ethernet(&[six, four].concat()), ""));
    let many: Vec<_> = (1..=300).map(|host| of("fe80::1:1", &format!("fe80::{host:x}"))).collect();
    passes(&scenario(&ethernet(&many), ""));
    for own in ["fe80::1/64", "fe80::/127", "169.254.0.1/16", "169.254.0.2/30"] {
        let lab = format!("[lab]\naddresses = [\"10.0.0.2\", \"{own}\"]\n");
        passes(&scenario(&ethernet(&[of("169.254.0.9", "10.0.0.2")]), &lab));
    }
}

#[test]
fn a_capture_of_groups_gives_the_receiver_an_address_of_each_family() {
    let four = datagram([1, 0, 0x5e, 1, 2, 3], "192.0.2.20", "239.1.2.3", 40);
    let six = datagram([0x33, 0x33, 0, 0, 0, 0xfb], "fe80::5", "ff02::fb", 40);
    let addresses = |frames: &[Vec<u8>]| {
        let folder = scenario(&ethernet(frames), "");
        passes(&folder);
        plan(&folder)["addresses"].clone()
    };
    // 192.0.2.20 is the source of a packet.
    assert_eq!(addresses(&[four.clone(), six]), serde_json::json!(["192.0.2.21/32", "2001:db8::14/128"]));
    assert_eq!(addresses(&[four]), serde_json::json!(["192.0.2.21/32"]));
}

#[test]
fn frames_of_several_pages_are_accounted_for() {
    let frames: Vec<_> =
        [100, 4_200, 9_000, 65_507].map(|bytes| datagram(RECEIVER, "10.0.0.1", "10.0.0.2", bytes)).into();
    passes(&scenario(&ethernet(&frames), "[lab]\nmtu = 65535\n"));
}

#[test]
fn a_frame_that_is_cut_to_the_mtu_is_mended_by_its_lengths() {
    let frames = [datagram(RECEIVER, "10.0.0.1", "10.0.0.2", 4_000)];
    let folder = scenario(&ethernet(&frames), "[rewrite]\noversize = \"truncate\"\n");
    let plan = plan(&folder);
    let fate = &plan["predictions"][0];
    assert_eq!(fate["why"], "the IP length field says more bytes than the frame has");
    assert_eq!(fate["fix"], "`[rewrite] lengths = \"fix\"` with `checksums = \"fix\"`, or leave the frames out");
    write(&folder, "[rewrite]\noversize = \"truncate\"\nlengths = \"fix\"\nchecksums = \"fix\"\n");
    passes(&folder);
}

#[test]
fn ipv6_with_a_small_mtu_is_predicted_and_found() {
    let frames = [datagram(RECEIVER, "10.0.0.1", "10.0.0.2", 40), datagram(RECEIVER, "2001:db8::1", "2001:db8::2", 40)];
    let folder = scenario(&ethernet(&frames), "[lab]\nmtu = 1000\n[expect]\nlosses = { IPV6DISABLED = 1 }\n");
    for user in users() {
        let run = run(*user, [folder.join("s.toml")]);
        assert_eq!(run.status, 0, "as {user:?}: {}", run.text);
    }
}

#[test]
fn times_that_go_back_do_not_stretch_the_replay() {
    let frame = || datagram(RECEIVER, "10.0.0.1", "10.0.0.2", 40);
    let swapped = (0..50).flat_map(|pair| [(2 * pair + 1, frame()), (2 * pair, frame())]);
    let folder = scenario(&pcap(1, swapped), "");
    let planned = plan(&folder);
    assert_eq!(planned["seconds"], 0.098);
    write(&folder, "order = \"time\"\n");
    assert_eq!(plan(&folder)["seconds"], 0.099);
    passes(&folder);
}

/// An 802.11 frame behind a radiotap header: `control` and `flags` of the frame, the addresses in its header, what follows the header.
fn radiotap(radio: &[u8], [control, flags]: [u8; 2], addresses: &[[u8; 6]], rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + radio.len()).expect("short").to_le_bytes();
    let present = if radio.is_empty() { 0 } else { 2 };
    let mut frame = [&[0, 0][..], &length, &[present, 0, 0, 0], radio, &[control, flags, 0, 0]].concat();
    let (first, fourth) = addresses.split_at(3);
    frame.extend(first.as_flattened());
    frame.extend([0x10, 0]);
    frame.extend(fourth.as_flattened());
    frame.extend(rest);
    frame
}

/// LLC and SNAP, and the packet of an Ethernet frame.
fn snap(frame: &[u8]) -> Vec<u8> {
    [&[0xaa, 0xaa, 3, 0, 0, 0], &frame[12..]].concat()
}

/// The Ethernet frames that `restage rewrite` makes of a capture.
fn ethernet_of(link: u8, frames: &[Vec<u8>], rest: &str) -> Vec<Vec<u8>> {
    let rest = format!("[rewrite]\nlink-layer = \"ethernet\"\n{rest}");
    let folder = scenario(&pcap(link, (0..).zip(frames.iter().cloned())), &rest);
    let out = folder.join("out.pcap");
    let output =
        restage(User::Caller).arg("rewrite").arg(folder.join("s.toml")).arg("-o").arg(&out).output().expect("it runs");
    assert!(output.status.success(), "{}", both(&output));
    let file = fs::read(&out).expect("it is written");
    assert_eq!(file[20..24], [1, 0, 0, 0], "Ethernet");
    let mut records = &file[24..];
    let mut made = Vec::new();
    while let Some((header, after)) = records.split_first_chunk::<16>() {
        let length = u32::from_le_bytes(header[8..12].try_into().expect("four bytes")) as usize;
        made.push(after[..length].to_vec());
        records = &after[length..];
    }
    made
}

#[test]
fn frames_of_802_11_become_ethernet_whatever_their_header() {
    let bss = [2, 0xbb, 0, 0, 0, 9];
    let frame = datagram(RECEIVER, "10.0.0.1", "10.0.0.2", 40);
    let body = snap(&frame);
    let behind = |more: &[u8]| [more, &body].concat();
    let with_fcs = |mut frame: Vec<u8>| {
        frame.extend([1, 2, 3, 4]);
        frame
    };
    let cases = [
        // To an access point, from one, between two, without one; QoS, with HT control, padded; with an FCS.
        radiotap(&[], [0x08, 1], &[bss, SENDER, RECEIVER], &body),
        radiotap(&[], [0x08, 2], &[RECEIVER, bss, SENDER], &body),
        radiotap(&[], [0x08, 3], &[bss, bss, RECEIVER, SENDER], &body),
        radiotap(&[], [0x08, 0], &[RECEIVER, SENDER, bss], &body),
        radiotap(&[0], [0x88, 1], &[bss, SENDER, RECEIVER], &behind(&[0, 0])),
        radiotap(&[0], [0x88, 0x81], &[bss, SENDER, RECEIVER], &behind(&[0, 0, 1, 2, 3, 4])),
        radiotap(&[0x20], [0x88, 1], &[bss, SENDER, RECEIVER], &behind(&[0, 0, 0, 0])),
        with_fcs(radiotap(&[0x10], [0x08, 1], &[bss, SENDER, RECEIVER], &body)),
    ];
    assert_eq!(ethernet_of(127, &cases, ""), vec![frame.clone(); cases.len()]);
    passes(&scenario(&pcap(127, (0..).zip(cases)), ""));
    // 802.2 without SNAP is 802.3.
    let tree = [&[0x42, 0x42, 3][..], &[0; 35]].concat();
    let made = ethernet_of(127, &[radiotap(&[], [0x08, 1], &[bss, SENDER, RECEIVER], &tree)], "");
    assert_eq!(made, [[&RECEIVER[..], &SENDER, &[0, 38], &tree].concat()]);
}

#[test]
fn frames_that_can_not_become_ethernet_are_left_out_where_asked() {
    let bss = [2, 0xbb, 0, 0, 0, 9];
    let frame = datagram(RECEIVER, "10.0.0.1", "10.0.0.2", 40);
    let body = snap(&frame);
    let of = |radio: &[u8], control, rest: &[u8]| radiotap(radio, control, &[bss, SENDER, RECEIVER], rest);
    let mut fragment = of(&[], [0x08, 1], &body);
    fragment[8 + 22] |= 1;
    let others = [
        (of(&[], [0x80, 0], &body), "an 802.11 frame that holds no data, such as a beacon or an acknowledgement"),
        (of(&[], [0x48, 1], &[]), "an 802.11 frame that holds no data, such as a beacon or an acknowledgement"),
        (of(&[], [0x08, 0x41], &body), "an encrypted 802.11 frame"),
        (of(&[], [0x08, 5], &body), "a fragment of an 802.11 frame"),
        (fragment, "a fragment of an 802.11 frame"),
        (of(&[], [0x88, 1], &[&[0x80, 0], &body[..]].concat()), "an 802.11 frame with several packets in it (A-MSDU)"),
        (of(&[0x40], [0x08, 1], &body), "an 802.11 frame that was received with a wrong FCS"),
        (vec![0, 0, 8, 0, 0, 0, 0, 0, 8], "a frame that is cut inside its headers"),
    ];
    let good = of(&[], [0x08, 1], &body);
    for (other, why) in &others {
        let folder = scenario(&pcap(127, [(0, good.clone()), (1, other.clone())]), "");
        let output = restage(User::Caller).arg("plan").arg(folder.join("s.toml")).output().expect("restage runs");
        let said = both(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("frame 2 of link type 127 can't be sent over Ethernet"), "{said}");
        assert!(said.contains(&format!("= why: it is {why}\n")), "{why}: {said}");
        assert!(said.contains("= fix: `[rewrite] other-frames = \"skip\"` leaves out such frames"), "{said}");
    }
    let all: Vec<_> = [good].into_iter().chain(others.map(|(other, _)| other)).collect();
    assert_eq!(ethernet_of(127, &all, "other-frames = \"skip\"\n"), [frame]);
    let folder = scenario(&pcap(127, (0..).zip(all)), "[rewrite]\nother-frames = \"skip\"\n");
    let plan = plan(&folder);
    assert_eq!((&plan["selected"], &plan["skipped-other"]), (&1.into(), &8.into()));
    passes(&folder);
}

#[test]
fn other_link_types_are_given_the_headers_that_a_run_sends() {
    let frame = datagram(RECEIVER, "10.0.0.1", "10.0.0.2", 40);
    let packet = &frame[14..];
    let behind = |before: &[u8]| [before, packet].concat();
    let lab = [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]].concat();
    let without_macs = [
        (101, behind(&[])),
        (107, behind(&[0x18, 0x41, 3, 0xcc])),
        (107, behind(&[0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 8, 0])),
        (107, behind(&[0x18, 0x41, 8, 0])),
        (204, behind(&[1, 0xff, 3, 0, 0x21])),
        (166, behind(&[0, 3, 0, 0x21])),
        (239, behind(&[2, 0, 0, 0, 8, 0, 1, 0, 8, 0, 0, 0, 72, 0, 9, 0])),
        (192, behind(&[0, 0, 8, 0, 101, 0, 0, 0])),
    ];
    for (link, captured) in without_macs {
        assert_eq!(ethernet_of(link, &[captured], ""), [[&lab, &frame[12..]].concat()], "link type {link}");
    }
    let with_macs = [
        (122, [&[0; 2][..], &RECEIVER, &[0; 2], &SENDER, &snap(&frame)].concat()),
        (192, [&[0, 0, 8, 0, 1, 0, 0, 0][..], &frame].concat()),
    ];
    for (link, captured) in with_macs {
        assert_eq!(ethernet_of(link, &[captured], ""), std::slice::from_ref(&frame), "link type {link}");
    }
    // A MAC map sees the header that was made; without it, the message says how there would be one.
    let to = "[rewrite.destination]\nmac = \"02:00:00:00:00:09\"\n";
    let mapped = ethernet_of(101, &[packet.to_vec()], to);
    assert_eq!(mapped[0][..6], [2, 0, 0, 0, 0, 9]);
    let folder = scenario(&pcap(101, [(0, packet.to_vec())]), to);
    let mut rewrite = restage(User::Caller);
    rewrite.arg("rewrite").arg(folder.join("s.toml")).arg("-o").arg(folder.join("out.pcap"));
    let said = both(&rewrite.output().expect("it runs"));
    assert!(said.contains("= fix: `[rewrite] link-layer = \"ethernet\"`"), "{said}");
}

/// CRC-32 of IEEE 802.3, bit by bit.
fn crc(bytes: &[u8]) -> [u8; 4] {
    let step = |sum: u32, bit| (sum >> 1) ^ if (sum ^ bit) & 1 == 1 { 0xedb8_8320 } else { 0 };
    let sum = bytes.iter().flat_map(|byte| (0..8).map(move |bit| u32::from(*byte >> bit))).fold(u32::MAX, step);
    (!sum).to_le_bytes()
}

#[test]
fn an_fcs_of_802_11_follows_what_is_rewritten_in_its_frame() {
    let frame = |from: &str, fcs: fn(&[u8]) -> [u8; 4]| {
        let body = snap(&datagram(RECEIVER, from, "10.0.0.2", 40));
        let mut frame = radiotap(&[0x10], [0x08, 1], &[[2, 0xbb, 0, 0, 0, 9], SENDER, RECEIVER], &body);
        frame.extend(fcs(&frame[9..]));
        frame
    };
    let wrong = |_: &[u8]| [1, 2, 3, 4];
    let rest = "[rewrite.source]\nip = { \"10.0.0.1\" = \"192.0.2.1\" }\n";
    let folder = scenario(&pcap(127, [(0, frame("10.0.0.1", crc)), (1, frame("10.0.0.1", wrong))]), rest);
    let out = folder.join("out.pcap");
    let mut rewrite = restage(User::Caller);
    let output = rewrite.arg("rewrite").arg(folder.join("s.toml")).arg("-o").arg(&out).output().expect("it runs");
    assert!(output.status.success(), "{}", both(&output));
    let expected = pcap(127, [(0, frame("192.0.2.1", crc)), (1, frame("192.0.2.1", wrong))]);
    assert!(fs::read(&out).expect("it is written") == expected, "the second one stays wrong");
}
