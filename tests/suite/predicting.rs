//! What `restage plan` says before a run, and that the run in the lab comes to the same.

use std::fs;
use std::path::PathBuf;

use crate::common::{User, both, fresh_folder, restage, run, users};
use serde_json::{Value, json};

const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 2];
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn sum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).expect("folded")).to_be_bytes()
}

fn half(number: usize) -> [u8; 2] {
    u16::try_from(number).expect("small").to_be_bytes()
}

/// An IPv4 packet to 10.9.0.2; `fragment` is the field with flags and offset.
fn packet(source: [u8; 4], protocol: u8, id: usize, fragment: usize, payload: &[u8]) -> Vec<u8> {
    let mut header = [&[0x45, 0][..], &half(20 + payload.len()), &half(id), &half(fragment)].concat();
    header.extend([64, protocol, 0, 0]);
    header.extend(source);
    header.extend([10, 9, 0, 2]);
    let checksum = sum(&header);
    header[10..12].copy_from_slice(&checksum);
    [header, payload.to_vec()].concat()
}

/// A UDP datagram to port 5514 without a checksum.
fn udp(payload: &[u8]) -> Vec<u8> {
    [&half(5000)[..], &half(5514), &half(8 + payload.len()), &[0, 0], payload].concat()
}

/// A frame to the receiver, in which `header` follows the MACs.
fn frame(header: &[u8], packet: &[u8]) -> Vec<u8> {
    [&RECEIVER, &SENDER, header, packet].concat()
}

fn datagram() -> Vec<u8> {
    packet([10, 9, 0, 1], 17, 1, 0, &udp(&[7; 40]))
}

/// A folder with `in.pcap`, whose frames are a millisecond apart, and `s.toml`.
fn scenario(frames: &[Vec<u8>], rest: &str) -> PathBuf {
    let mut file =
        [0xa1b2_c3d4_u32.to_le_bytes().as_slice(), &[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0]]
            .concat();
    for (index, frame) in (0_u32..).zip(frames) {
        let length = u32::try_from(frame.len()).expect("short");
        let millis = 1_700_000_000_000_u64 + u64::from(index);
        let seconds = u32::try_from(millis / 1_000).expect("before 2106");
        let micros = u32::try_from(millis % 1_000 * 1_000).expect("below a second");
        for field in [seconds, micros, length, length] {
            file.extend(field.to_le_bytes());
        }
        file.extend(frame);
    }
    let folder = fresh_folder("predicting");
    fs::write(folder.join("in.pcap"), file).expect("it can be written");
    fs::write(folder.join("s.toml"), format!("format = 1\n[capture]\nfile = \"in.pcap\"\n{rest}"))
        .expect("it can be written");
    folder
}

/// The fates of a plan: frames, end and how many.
fn fates(folder: &std::path::Path) -> Vec<(String, String, u64)> {
    let output =
        restage(User::Caller).args(["plan", "--json"]).arg(folder.join("s.toml")).output().expect("restage runs");
    assert!(output.status.success(), "{}", both(&output));
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let fates = plan["predictions"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    fates.map(|fate| (text(&fate["frame-numbers"]), text(&fate["end"]), fate["frames"].as_u64().unwrap_or(0))).collect()
}

fn fate(frames: &str, end: &str, packets: u64) -> (String, String, u64) {
    (frames.to_owned(), end.to_owned(), packets)
}

#[test]
fn encapsulated_packets_are_unhandled_and_priority_tags_are_removed() {
    let unhandled = "lost: UNHANDLED_PROTO";
    let cases: [(&[u8], &str); 9] = [
        (&[0x08, 0x00], "delivered"),
        (&[0x81, 0, 0, 0, 8, 0], "delivered"),
        (&[0x88, 0xa8, 0xa0, 0, 0x81, 0, 0, 0, 8, 0], "delivered"),
        (&[0x81, 0, 0, 5, 8, 0], "lost: OTHERHOST"),
        (&[0x81, 0, 0, 0, 0x81, 0, 0, 5, 8, 0], "lost: OTHERHOST"),
        (&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0], unhandled),
        (&[0x88, 0x47, 0, 0, 1, 64], unhandled),
        (&[0x88, 0x64, 0x11, 0, 0, 1, 0, 70, 0, 0x21], unhandled),
        (&[0, 76, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0], unhandled),
    ];
    for (header, end) in cases {
        let folder = scenario(&[frame(header, &datagram())], "");
        assert_eq!(fates(&folder), [fate("1", end, 1)], "{header:02x?}");
        for user in users() {
            let run = run(*user, [folder.join("s.toml")]);
            let consumed = u64::from(end == "delivered");
            assert_eq!(
                run.report["scenarios"][0]["ledger"]["consumed"],
                json!(consumed),
                "{header:02x?} as {user:?}: {}",
                run.text
            );
        }
    }
}

#[test]
fn what_a_raw_socket_may_take_is_open() {
    for protocol in [47, 50, 88, 89, 103, 112, 132, 136] {
        let folder = scenario(&[frame(&[8, 0], &packet([10, 9, 0, 1], protocol, 1, 0, &[0; 40]))], "");
        assert_eq!(fates(&folder), [fate("1", "open", 1)], "protocol {protocol}");
    }
}

#[test]
fn a_hundred_thousand_sources_leave_no_frame_without_a_fate() {
    let segment = [0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0];
    let frames: Vec<Vec<u8>> = (0..100_000_u32)
        .map(|number| {
            let [_, a, b, c] = number.to_be_bytes();
            let source = [20, a, b, c];
            let mut segment = segment.to_vec();
            let pseudo = [&source[..], &[10, 9, 0, 2, 0, 6, 0, 20], &segment].concat();
            segment[16..18].copy_from_slice(&sum(&pseudo));
            frame(&[8, 0], &packet(source, 6, 1, 0, &segment))
        })
        .chain([frame(&[8, 0], &datagram())])
        .collect();
    let folder = scenario(&frames, "");
    let of = |end: &str| fates(&folder).iter().filter(|fate| fate.1 == end).map(|fate| fate.2).sum::<u64>();
    assert_eq!((of("kernel"), of("delivered")), (100_000, 1));
    // Sources that are lost for a reason of their own stay apart.
    let local = frame(&[8, 0], &packet([10, 9, 0, 2], 17, 1, 0, &udp(&[7; 40])));
    let folder = scenario(&[frames, vec![local]].concat(), "");
    let lost = fates(&folder).into_iter().filter(|fate| fate.1.starts_with("lost")).collect::<Vec<_>>();
    assert_eq!(lost, [fate("100002", "lost: IP_LOCAL_SOURCE", 1)]);
}

/// A datagram of 8 + 40 bytes in three fragments.
fn fragments(id: usize) -> [Vec<u8>; 3] {
    let udp = udp(&[7; 40]);
    [(0, 16, 0x2000), (16, 32, 0x2002), (32, 48, 4)]
        .map(|(from, to, field)| frame(&[8, 0], &packet([10, 9, 0, 1], 17, id, field, &udp[from..to])))
}

#[test]
fn repeated_fragments_of_an_incomplete_datagram_are_there_already() {
    let [first, _, last] = fragments(1);
    let folder = scenario(&[vec![first, last], fragments(2).to_vec()].concat(), "[pacing]\nrepeat = 3\n");
    let expected = [
        fate("1-2", "lost: FRAG_REASM_TIMEOUT", 2),
        fate("1", "lost: DUP_FRAG", 2),
        fate("2", "lost: DUP_FRAG", 2),
        fate("3-5", "delivered", 9),
    ];
    let mut found = fates(&folder);
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(found, expected);
    for user in users() {
        let run = run(*user, [folder.join("s.toml")]);
        assert_eq!(run.report["scenarios"][0]["ledger"]["consumed"], 9, "as {user:?}: {}", run.text);
    }
}

#[test]
fn a_round_completes_what_the_one_before_left_open() {
    // The last fragment comes first: the two of each round are there when the third of the next comes.
    let [first, middle, last] = fragments(1);
    let folder = scenario(&[last.clone(), first.clone()], "[pacing]\nrepeat = 2\n");
    assert_eq!(fates(&folder).iter().map(|fate| fate.2).sum::<u64>(), 4);
    let folder = scenario(&[middle, last, first], "[pacing]\nrepeat = 2\n");
    assert_eq!(fates(&folder), [fate("1-3", "delivered", 3)], "each round is whole, and is surveyed once");
}

#[test]
fn the_lab_waits_for_fragments_as_long_as_they_take() {
    let folder = scenario(&fragments(1), "[pacing]\nrate = \"every 700ms\"\n");
    assert_eq!(fates(&folder), [fate("1-3", "delivered", 3)]);
    for user in users() {
        let run = run(*user, [folder.join("s.toml")]);
        assert_eq!(run.report["scenarios"][0]["ledger"]["consumed"], 3, "as {user:?}: {}", run.text);
    }
    // What the scenario sets stays.
    let fixed = "[lab]\nsysctl = { \"net.ipv4.ipfrag_time\" = 1 }\n[pacing]\nrate = \"every 700ms\"\n";
    let lost = |frames, packets| fate(frames, "lost: FRAG_REASM_TIMEOUT", packets);
    assert_eq!(fates(&scenario(&fragments(1), fixed)), [lost("1-2", 2), lost("3", 1)]);
}

#[test]
fn the_receiver_of_a_plan_for_an_interface_is_that_interface() {
    let to_the_receiver = "[lab]\naddresses = [\"192.0.2.20\"]\n[rewrite.destination]\nip = \"receiver\"\n";
    let folder = scenario(&[frame(&[8, 0], &datagram())], to_the_receiver);
    let plan = |more: &[&str]| {
        let output = restage(User::Caller).arg("plan").args(more).arg(folder.join("s.toml")).output();
        both(&output.expect("restage runs"))
    };
    let (lab, interface) = (plan(&[]), plan(&["--interface", "lo"]));
    assert!(lab.contains("> 192.0.2.20 port"), "{lab}");
    assert!(interface.contains("> 127.0.0.1 port"), "{interface}");
}
