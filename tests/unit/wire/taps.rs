//! Our chains in nf_tables, in a lab: what they count, and the copies of packets that they send.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::diagnostic::Kind;
use crate::host::namespace::Namespace;
use crate::outcome::EvidenceLevel;
use crate::outcome::Hook;
use crate::testbed::network::{LabNetwork, LabPlan};
use crate::wire::clock::{Clock, Monotonic};
use crate::wire::sender::PacketSender;
use crate::wire::taps::{Among, Counts, Installed, RECORD_BYTES, Tally, Taps};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::namespaces::{RECEIVER_MAC, skip, udp_frame, udp_frame_to, udp6_frame_to, wait_for_local};
use super::{LIMIT, send_all};

/// A receiver with 10.9.0.2 and fd00:9::2; `None`, said, where the machine doesn't allow one.
fn lab() -> Option<LabNetwork> {
    let addresses = ["10.9.0.2/24", "fd00:9::2/64"].map(|address| address.parse().unwrap()).to_vec();
    let made = LabNetwork::up(&LabPlan { addresses, ..LabPlan::default() });
    let lab = made.map_err(|not_up| skip(&format!("no lab: {not_up:?}"))).ok()?;
    lab.receiver.run(|| wait_for_local("fd000009000000000000000000000002 80 ")).unwrap();
    Some(lab)
}

/// Taps on rx0; `None`, said, where the kernel has none.
fn install(lab: &LabNetwork, mode: EvidenceLevel) -> Option<Taps> {
    match lab.receiver.run(|| Taps::install("rx0", mode, &[4739], Among::Own, None)).unwrap().unwrap() {
        Installed::Taps(taps) if taps.no_records.is_some() => {
            skip(&format!("no records: {:?}", taps.no_records));
            None
        }
        Installed::Taps(taps) => Some(taps),
        Installed::Absent(reason) => {
            skip(&format!("no taps: {reason}"));
            None
        }
    }
}

fn sender(lab: &LabNetwork) -> PacketSender {
    lab.sender.run(|| PacketSender::open("tx0")).unwrap().unwrap()
}

/// Whether there are records, waiting as long for some.
fn readable(taps: &Taps, milliseconds: u16) -> bool {
    poll(&mut [PollFd::new(taps.as_fd(), PollFlags::POLLIN)], PollTimeout::from(milliseconds)).unwrap() > 0
}

/// The packets at each hook, until nothing has come for longer than the kernel gathers.
fn read_all(taps: &mut Taps) -> BTreeMap<Hook, Vec<Vec<u8>>> {
    let mut seen = BTreeMap::<Hook, Vec<Vec<u8>>>::new();
    while readable(taps, 100) {
        taps.read(&mut |hook, bytes| seen.entry(hook).or_default().push(bytes.to_vec())).unwrap();
    }
    seen
}

fn counted(counts: &Counts) -> [u64; 6] {
    Hook::ALL.map(|hook| counts.get(hook))
}

/// What `nft` prints when it runs in the namespace; `None`, said, where it can't.
fn nft(namespace: &Namespace, ruleset: &str) -> Option<String> {
    let run = || {
        let pipe = Stdio::piped;
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn()?;
        nft.stdin.take().unwrap().write_all(ruleset.as_bytes())?;
        nft.wait_with_output()
    };
    match namespace.run(run).unwrap() {
        Ok(output) if output.status.success() => Some(String::from_utf8(output.stdout).unwrap()),
        Ok(output) => {
            // A program that an ordinary user starts loses the capabilities of the user namespace.
            assert!(!nix::unistd::geteuid().is_root(), "{}", String::from_utf8_lossy(&output.stderr));
            eprintln!("skipped: nft may not");
            None
        }
        Err(error) => {
            skip(&format!("no `nft`: {error}"));
            None
        }
    }
}

/// The same packet from another source address.
fn from(source: [u8; 4], mut frame: Vec<u8>) -> Vec<u8> {
    frame[26..30].copy_from_slice(&source);
    frame[24..26].fill(0);
    let sum: u32 = frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()).to_be_bytes());
    frame
}

#[test]
fn taps_see_the_head_of_every_packet_at_every_hook_in_order() {
    let Some(lab) = lab() else { return };
    let Some(mut taps) = install(&lab, EvidenceLevel::Packets) else { return };
    let mut frames: Vec<_> = (0..300).map(|number| udp_frame(number, 4739, 4 + number as usize * 4)).collect();
    frames.push(udp6_frame_to("fd00:9::2".parse().unwrap(), RECEIVER_MAC, 4739));
    send_all(&mut sender(&lab), &frames);
    let heads: Vec<_> =
        frames.iter().map(|frame| frame[14..].iter().copied().take(RECORD_BYTES.into()).collect::<Vec<_>>()).collect();
    let seen = read_all(&mut taps);
    for hook in &Hook::ALL[..5] {
        assert!(seen[hook] == heads, "{hook:?}");
    }
    assert!(!seen.contains_key(&Hook::Forward));
    assert_eq!(counted(&taps.counts().unwrap()), [301, 301, 301, 301, 301, 0]);
    let (received, counts) = (taps.received(), taps.counts().unwrap());
    assert_eq!(counted(&received), counted(&counts));
    assert_eq!((counts.of(Tally::Udp), counts.of(Tally::OwnUdp)), (301, 0));
    assert_eq!(taps.lost(), 0);
}

/// What the receiver sends to itself is counted apart, and none of it as the capture's.
#[test]
fn own_datagrams_are_counted_apart() {
    let Some(lab) = lab() else { return };
    let Some(mut taps) = install(&lab, EvidenceLevel::Counters) else { return };
    let own = lab
        .receiver
        .run(|| {
            let to_itself = UdpSocket::bind("10.9.0.2:4739").unwrap();
            let other = UdpSocket::bind("10.9.0.2:0").unwrap();
            let group = UdpSocket::bind("239.1.2.3:5353").unwrap();
            group.join_multicast_v4(&"239.1.2.3".parse().unwrap(), &"10.9.0.2".parse().unwrap()).unwrap();
            for _ in 0..5 {
                other.send_to(b"to the capture's port", "10.9.0.2:4739").unwrap();
                other.send_to(b"to a closed port", "127.0.0.1:8125").unwrap();
                other.send_to(b"to a group", "239.1.2.3:5353").unwrap();
            }
            (to_itself, group)
        })
        .unwrap();
    send_all(&mut sender(&lab), &[udp_frame(0, 4739, 100), udp_frame(1, 4739, 100)]);
    let counts = taps.counts().unwrap();
    drop(own);
    assert_eq!(counted(&counts), [2, 2, 2, 2, 2, 0]);
    let tallies = [Tally::Udp, Tally::OwnUdp, Tally::OwnUdpLooped, Tally::OwnUdpToPorts, Tally::ClosedPorts];
    assert_eq!(tallies.map(|tally| counts.of(tally)), [2, 15, 5, 5, 5]);
}

#[test]
fn taps_count_the_same_without_sending_copies() {
    let Some(lab) = lab() else { return };
    let Some(mut taps) = install(&lab, EvidenceLevel::Counters) else { return };
    send_all(&mut sender(&lab), &[udp_frame(0, 4739, 10), udp_frame(1, 4739, 10)]);
    let before = taps.counts().unwrap();
    assert_eq!(counted(&before), [2, 2, 2, 2, 2, 0]);
    send_all(&mut sender(&lab), &[udp_frame(2, 4739, 10)]);
    assert_eq!(counted(&taps.counts().unwrap().since(&before)), [1, 1, 1, 1, 1, 0]);
    assert_eq!(taps.read(&mut |_, _| ()).unwrap(), 0);
    assert!(!readable(&taps, 0));
}

#[test]
fn taps_log_each_packet_at_each_hook() {
    let Some(lab) = lab() else { return };
    let Some(mut taps) = install(&lab, EvidenceLevel::Packets) else { return };
    let mut sender = sender(&lab);
    let mut bad_sum = udp_frame(5, 9, 100);
    bad_sum[24] ^= 0x55;
    let cases = [
        ("another MAC address", udp_frame_to([10, 9, 0, 2], [2, 0, 0, 0, 0, 9], 1, 9, 100), [1, 0, 0, 0, 0, 0]),
        ("a wrong IP checksum", bad_sum, [1, 0, 0, 0, 0, 0]),
        ("a martian source", from([127, 0, 0, 1], udp_frame(2, 9, 100)), [1, 1, 1, 0, 0, 0]),
        ("an address that isn't local", udp_frame_to([10, 77, 0, 2], RECEIVER_MAC, 3, 9, 100), [1, 1, 1, 0, 0, 0]),
        ("nothing wrong", udp_frame(4, 9, 100), [1, 1, 1, 1, 1, 0]),
    ];
    for (what, frame, expected) in cases {
        let before = taps.counts().unwrap();
        send_all(&mut sender, std::slice::from_ref(&frame));
        assert_eq!(counted(&taps.counts().unwrap().since(&before)), expected, "{what}");
        let seen = read_all(&mut taps);
        let lengths = Hook::ALL.map(|hook| seen.get(&hook).map_or(0, Vec::len) as u64);
        assert_eq!(lengths, expected, "{what}");
        assert!(seen.values().flatten().all(|bytes| *bytes == frame[14..]), "{what}");
    }
}

#[test]
fn taps_see_what_is_forwarded() {
    let Some(lab) = lab() else { return };
    let Some(mut taps) = install(&lab, EvidenceLevel::Packets) else { return };
    lab.receiver.run(|| std::fs::write("/proc/sys/net/ipv4/conf/all/forwarding", "1").unwrap()).unwrap();
    let frame = udp_frame_to([10, 77, 0, 2], RECEIVER_MAC, 3, 9, 100);
    send_all(&mut sender(&lab), &[frame]);
    assert_eq!(counted(&taps.counts().unwrap()), [1, 1, 1, 0, 0, 1]);
    assert_eq!(read_all(&mut taps)[&Hook::Forward].len(), 1);
}

#[test]
fn taps_are_before_and_after_every_rule_of_the_application() {
    let Some(lab) = lab() else { return };
    let chain = |name: &str, hook: &str, priority: i32, port: u16| {
        format!(
            "add table inet app\nadd chain inet app {name} {{ type filter hook {hook} priority {priority}; }}\n\
             add rule inet app {name} udp dport {port} drop\n"
        )
    };
    // Some are there before, and some come after.
    let before = chain("a", "input", -2_147_483_647, 1) + &chain("b", "input", 2_147_483_646, 2);
    let after = chain("c", "input", 0, 3)
        + &chain("d", "prerouting", -300, 4)
        + &chain("e", "prerouting", 2_147_483_647, 5)
        + &chain("f", "input", 2_147_483_647, 6);
    if nft(&lab.receiver, &before).is_none() {
        return;
    }
    let Some(mut taps) = install(&lab, EvidenceLevel::Counters) else { return };
    nft(&lab.receiver, &after).unwrap();
    let mut sender = sender(&lab);
    for (port, expected) in [
        (1, [1, 1, 1, 1, 0, 0]),
        (2, [1, 1, 1, 1, 0, 0]),
        (3, [1, 1, 1, 1, 0, 0]),
        (4, [1, 1, 0, 0, 0, 0]),
        (5, [1, 1, 0, 0, 0, 0]),
        (6, [1, 1, 1, 1, 0, 0]),
        (7, [1, 1, 1, 1, 1, 0]),
    ] {
        let before = taps.counts().unwrap();
        send_all(&mut sender, &[udp_frame(0, port, 10)]);
        assert_eq!(counted(&taps.counts().unwrap().since(&before)), expected, "port {port}");
    }
}

#[test]
fn taps_leave_nothing_behind_and_survive_a_flush() {
    let Some(lab) = lab() else { return };
    for mode in [EvidenceLevel::Packets, EvidenceLevel::Counters, EvidenceLevel::Packets] {
        let Some(mut taps) = install(&lab, mode) else { return };
        let Some(mut second) = install(&lab, mode) else { return };
        nft(&lab.receiver, "flush ruleset\n");
        send_all(&mut sender(&lab), &[udp_frame(0, 9, 10)]);
        for taps in [&mut taps, &mut second] {
            assert_eq!(counted(&taps.counts().unwrap()), [1, 1, 1, 1, 1, 0]);
            assert_eq!(read_all(taps).len(), if mode == EvidenceLevel::Packets { 5 } else { 0 });
        }
        drop((taps, second));
        if let Some(tables) = nft(&lab.receiver, "list tables\n") {
            assert_eq!(tables, "");
        }
    }
}

#[test]
fn taps_need_an_interface() {
    let Some(lab) = lab() else { return };
    let failure = lab
        .receiver
        .run(|| Taps::install("eth7", EvidenceLevel::Counters, &[], Among::Own, None))
        .unwrap()
        .unwrap_err();
    assert_eq!(failure.kind, Kind::Invalid);
}

#[test]
fn taps_account_for_every_one_of_100_000_packets() {
    let Some(lab) = lab() else { return };
    let Some(mut taps) = install(&lab, EvidenceLevel::Packets) else { return };
    let mut sender = sender(&lab);
    let frames: Vec<_> = (0..100_000).map(|number| udp_frame(number, 4739, 200)).collect();
    // Nobody reads while most of them are sent: more than a buffer holds.
    send_all(&mut sender, &frames[..80_000]);
    read_along(&mut taps, || drop(send_all(&mut sender, &frames[80_000..])));
    assert_eq!(counted(&taps.counts().unwrap()), [100_000, 100_000, 100_000, 100_000, 100_000, 0]);
    // What was lost at the end is told by the next record.
    send_all(&mut sender, &frames[..1]);
    read_all(&mut taps);
    let received: u64 = counted(&taps.received()).iter().sum();
    assert_eq!(received + taps.lost(), 5 * 100_001, "{received} received");
    assert!(taps.lost() > 0);
}

/// Reads records while `work` is done, and until no more come.
fn read_along(taps: &mut Taps, work: impl FnOnce() + Send) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let done = &done;
        let begin = Instant::now();
        scope.spawn(move || {
            work();
            done.store(true, Ordering::Release);
        });
        loop {
            let last = done.load(Ordering::Acquire);
            if readable(taps, 50) {
                taps.read(&mut |_, _| ()).unwrap();
            } else if last {
                break;
            }
            assert!(begin.elapsed() < LIMIT);
        }
    });
}

/// Figures for the eye: `cargo test --release --lib -- --ignored --nocapture taps_figures`.
#[test]
#[ignore = "measures, for a minute on a busy machine"]
fn taps_figures() {
    let frames: Vec<_> = (0..400_000).map(|number| udp_frame(number, 4739, 200)).collect();
    let Some(lab) = lab() else { return };
    let _receiver = lab.receiver.run(|| UdpSocket::bind("10.9.0.2:4739")).unwrap().unwrap();
    let mut sender = sender(&lab);
    for _ in 0..3 {
        let mut costs = Vec::new();
        for mode in [None, Some(EvidenceLevel::Counters)] {
            let _taps = mode.map(|mode| install(&lab, mode));
            let begin = Instant::now();
            send_all(&mut sender, &frames);
            costs.push(begin.elapsed().as_secs_f64() * 1e9 / 400_000.0);
        }
        println!("ns a frame: {:.0} without chains, {:.0} counting", costs[0], costs[1]);
    }
    for kpps in [20, 100, 1_000] {
        let Some(mut taps) = install(&lab, EvidenceLevel::Packets) else { return };
        let begin = Instant::now();
        let mut sent = Duration::ZERO;
        let mut clock = Monotonic::new();
        read_along(&mut taps, || {
            let anchor = clock.now();
            for (number, batch) in (1..).zip(frames[..200_000].chunks(kpps)) {
                send_all(&mut sender, batch);
                clock.wait_until(anchor + Duration::from_millis(number), &|| false);
            }
            sent = begin.elapsed();
        });
        let made: u64 = counted(&taps.counts().unwrap()).iter().sum();
        let received: u64 = counted(&taps.received()).iter().sum();
        println!(
            "{kpps} kpps asked, {:.0} sent: {received} of {made} records, {} thousand a second; lost {}",
            200.0 / sent.as_secs_f64(),
            u128::from(received) / begin.elapsed().as_millis(),
            taps.lost(),
        );
    }
}
