//! The kernel's drop reasons: frames that are lost for a known reason, and what is told about them.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use crate::host::interface;
use crate::wire::sender::PacketSender;
use crate::wire::trace::{Dropped, Event, Mode, Opened, PacketTrace, functions};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::namespaces::{Namespace, Pair, skip, udp_frame, udp_frame_to, udp6_frame_to};
use super::{LIMIT, is_rerun, send_all};

/// The MAC address of nobody.
const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const CAPABILITIES: &str = "listening to them needs CAP_BPF and CAP_PERFMON";

/// `None`, with the reason printed, where the kernel doesn't let us listen; a failure there with `RESTAGE_REQUIRE_LAB=1`, but for the
/// second run in a user namespace, which never may.
fn monitor(namespace: &Namespace, interface: &str) -> Option<PacketTrace> {
    monitor_of(namespace, interface, Mode::Drops { most_records: None })
}

/// The same in another mode.
pub(crate) fn monitor_of(namespace: &Namespace, interface: &str, mode: Mode) -> Option<PacketTrace> {
    let (inode, index) = namespace.enter(|| {
        let inode = std::fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
        (inode, interface::facts(interface).unwrap().unwrap().index)
    });
    match PacketTrace::open(inode, index, mode, None).unwrap() {
        Opened::Listening(monitor) => Some(monitor),
        Opened::Unavailable(why) if is_rerun() => {
            assert_eq!(why, CAPABILITIES);
            eprintln!("skipped: {why}");
            None
        }
        Opened::Unavailable(why) => {
            skip(&why);
            None
        }
    }
}

/// A record that outlives the ring.
#[derive(Debug)]
struct Kept {
    reason: String,
    location: u64,
    ethertype: u16,
    packet: Vec<u8>,
    length: u32,
    time_ns: u64,
}

fn kept(dropped: &Dropped<'_>) -> Kept {
    let Dropped { reason, location, ethertype, packet, length, time_ns, .. } = *dropped;
    Kept { reason: reason.to_owned(), location, ethertype, packet: packet.to_vec(), length, time_ns }
}

/// Reads what is there, which are only drops.
fn read_drops(monitor: &mut PacketTrace, see: &mut dyn FnMut(&Dropped<'_>)) {
    let mut see_event = |event: Event<'_>| match event {
        Event::Dropped(dropped) => see(&dropped),
        other => panic!("{other:?}"),
    };
    monitor.read(&mut see_event).unwrap();
}

/// Waits for `count` records.
fn records(monitor: &mut PacketTrace, count: usize) -> Vec<Kept> {
    let mut seen = Vec::new();
    let begin = Instant::now();
    while seen.len() < count && begin.elapsed() < LIMIT {
        let mut ready = [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, PollTimeout::from(5u16)).unwrap();
        let other_tests = |dropped: &Dropped<'_>| dropped.reason == "UDP_CSUM" && dropped.length != 728;
        read_drops(monitor, &mut |dropped| seen.extend((!other_tests(dropped)).then(|| kept(dropped))));
    }
    seen
}

/// Without the late checksum errors that other tests of this process read meanwhile: those count for every monitor of a process.
fn counted(monitor: &PacketTrace) -> BTreeMap<String, u64> {
    let mut counts = monitor.counts().unwrap();
    counts.remove("UDP_CSUM");
    counts
}

fn counts(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
    list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[test]
fn a_frame_for_another_mac_is_an_otherhost_event() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut monitor) = monitor(&pair.rx, "rx0") else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let frames = [
        udp_frame_to([10, 9, 0, 2], OTHER_MAC, 7, 4739, 100),
        udp_frame_to([10, 9, 0, 2], OTHER_MAC, 8, 4739, 1472),
        udp6_frame_to("fd00:9::2".parse().unwrap(), OTHER_MAC, 4739),
    ];
    let uptime = || nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    let before = uptime();
    send_all(&mut sender, &frames);
    let seen = records(&mut monitor, 3);
    let after = uptime();
    for (seen, frame) in seen.iter().zip(&frames) {
        let packet = &frame[14..];
        assert_eq!((seen.reason.as_str(), seen.length as usize), ("OTHERHOST", packet.len()));
        assert_eq!(seen.packet, packet[..packet.len().min(160)]);
        assert_eq!(seen.ethertype.to_be_bytes(), frame[12..14]);
        let time = Duration::from_nanos(seen.time_ns);
        assert!(Duration::from(before) <= time && time <= Duration::from(after), "{time:?}");
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(counted(&monitor), counts(&[("OTHERHOST", 3)]));
    assert_eq!(monitor.lost().unwrap(), 0);

    let names = functions(&seen.iter().map(|seen| seen.location).collect());
    let list = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    if list.lines().next().is_none_or(|line| line.starts_with("0000000000000000 ")) {
        assert!(names.is_empty());
    } else {
        let names = [&seen[0], &seen[2]].map(|seen| names[&seen.location].as_str());
        assert!(names[0].starts_with("ip_rcv") && names[1].starts_with("ip6_rcv"), "{names:?}");
    }
}

#[test]
fn each_loss_has_the_kernels_reason() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut monitor) = monitor(&pair.rx, "rx0") else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let mut martian = udp_frame(2, 4739, 100);
    // From 0.0.0.0; the sum of the header moves by as much.
    martian[26..30].fill(0);
    let sum = u32::from(u16::from_be_bytes([martian[24], martian[25]])) + 0x0a09 + 1;
    martian[24..26].copy_from_slice(&u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap().to_be_bytes());
    let mut bad_sum = udp_frame(3, 4739, 20);
    bad_sum[24] ^= 0x55;
    let frames = [udp_frame(1, 4739, 100), martian, bad_sum];
    send_all(&mut sender, &frames);
    let seen = records(&mut monitor, 3);
    let reasons: Vec<_> = seen.iter().map(|seen| seen.reason.as_str()).collect();
    assert_eq!(reasons, ["NO_SOCKET", "IP_INVALID_SOURCE", "IP_CSUM"]);
    for (seen, frame) in seen.iter().zip(&frames) {
        assert!(frame[14..].starts_with(&seen.packet) && seen.packet.len() >= 28, "{seen:?}");
        assert_eq!(seen.length as usize, frame.len() - 14, "{seen:?}");
    }
    assert_eq!(counted(&monitor), counts(&[("NO_SOCKET", 1), ("IP_INVALID_SOURCE", 1), ("IP_CSUM", 1)]));
}

#[test]
fn a_wrong_checksum_that_is_found_by_the_reader_counts_then() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut monitor) = monitor(&pair.rx, "rx0") else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let socket = pair.rx.enter(|| UdpSocket::bind("10.9.0.2:4739")).unwrap();
    // Long enough that the kernel verifies the checksum only while it is read.
    let mut wrong = udp_frame(1, 4739, 700);
    wrong[40..42].copy_from_slice(&[0x12, 0x34]);
    let read = || {
        let mut payload = [0; 1000];
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        assert_eq!(socket.recv(&mut payload).unwrap(), 700);
        assert_eq!(payload[..4], [0, 0, 0, 2], "the wrong one was passed over");
    };
    // On a thread in the namespace, then on this one, which is outside, but of the process that listens.
    for count in 1..=2 {
        send_all(&mut sender, &[wrong.clone(), udp_frame(2, 4739, 700)]);
        if count == 1 {
            pair.rx.enter(read)
        } else {
            read()
        }
        let seen = records(&mut monitor, 1);
        assert_eq!((seen[0].reason.as_str(), seen[0].length, seen[0].ethertype), ("UDP_CSUM", 728, 0x0800));
        assert_eq!(seen[0].packet, wrong[14..174]);
        assert!(monitor.counts().unwrap()["UDP_CSUM"] >= count);
        assert!(counted(&monitor).is_empty());
    }
}

#[test]
fn drops_elsewhere_are_not_seen() {
    let (Some(pair), Some(other)) = (Pair::new(), Pair::new()) else { return };
    let Some(mut monitor) = monitor(&pair.rx, "rx0") else { return };
    let frame = |number| udp_frame_to([10, 9, 0, 2], OTHER_MAC, number, 4739, 100);
    // The interfaces have the same index in both namespaces.
    let mut sender = other.tx.enter(|| PacketSender::open("tx0")).unwrap();
    send_all(&mut sender, &[frame(1), udp_frame(2, 4739, 100)]);
    // Over the loopback of the right namespace, and into the sender's.
    let socket = pair.rx.enter(|| UdpSocket::bind("127.0.0.1:0")).unwrap();
    pair.rx.enter(|| socket.send_to(&[1], "127.0.0.1:9")).unwrap();
    let mut back = pair.rx.enter(|| PacketSender::open("rx0")).unwrap();
    send_all(&mut back, &[frame(3)]);
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    send_all(&mut sender, &[frame(4)]);
    assert_eq!(records(&mut monitor, 1)[0].packet, frame(4)[14..]);
    assert_eq!(counted(&monitor), counts(&[("OTHERHOST", 1)]));
}

/// With a reader beside the flood, and without one.
#[test]
fn records_that_are_too_many_are_counted_as_lost() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut monitor) = monitor_of(&pair.rx, "rx0", Mode::Drops { most_records: Some(10) }) else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    send_all(&mut sender, &vec![udp_frame_to([10, 9, 0, 2], OTHER_MAC, 0, 4739, 18); 50]);
    let seen = records(&mut monitor, 10);
    let begin = Instant::now();
    while monitor.counts().unwrap().get("OTHERHOST") != Some(&50) && begin.elapsed() < LIMIT {
        thread::yield_now();
    }
    assert_eq!(counted(&monitor), counts(&[("OTHERHOST", 50)]));
    let mut more = 0;
    read_drops(&mut monitor, &mut |dropped| more += usize::from(dropped.reason == "OTHERHOST"));
    assert_eq!(seen.len() + more, 10);
    let (lost, late) = (monitor.lost().unwrap(), monitor.counts().unwrap().get("UDP_CSUM").copied().unwrap_or(0));
    assert!((40..=40 + late).contains(&lost), "{lost}, {late} of other tests");
}

#[test]
fn a_flood_is_counted_exactly() {
    const FRAMES: usize = 500_000;
    let Some(pair) = Pair::new() else { return };
    let frames = vec![udp_frame_to([10, 9, 0, 2], OTHER_MAC, 0, 4739, 18); 1000];
    for reads in [true, false] {
        let Some(mut monitor) = monitor(&pair.rx, "rx0") else { return };
        let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
        let begin = Instant::now();
        let (mut seen, took) = thread::scope(|scope| {
            let flood = scope.spawn(|| {
                for _ in 0..FRAMES / frames.len() {
                    send_all(&mut sender, &frames);
                }
                begin.elapsed()
            });
            let mut seen = 0;
            while reads && !flood.is_finished() {
                let mut ready = [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)];
                poll(&mut ready, PollTimeout::from(10u16)).unwrap();
                read_drops(&mut monitor, &mut |dropped| seen += usize::from(dropped.reason == "OTHERHOST"));
            }
            (seen, flood.join().unwrap())
        });
        // The last frames may still wait in the backlog of a CPU.
        while monitor.counts().unwrap().get("OTHERHOST") != Some(&(FRAMES as u64)) && begin.elapsed() < LIMIT {
            thread::yield_now();
        }
        assert_eq!(counted(&monitor), counts(&[("OTHERHOST", FRAMES as u64)]));
        // Counted before recorded.
        loop {
            let mut see = |dropped: &Dropped<'_>| {
                if dropped.reason == "OTHERHOST" {
                    assert_eq!((dropped.packet.len(), dropped.length), (46, 46));
                    seen += 1;
                }
            };
            read_drops(&mut monitor, &mut see);
            if seen as u64 + monitor.lost().unwrap() >= FRAMES as u64 || begin.elapsed() >= LIMIT {
                break;
            }
        }
        let lost = monitor.lost().unwrap();
        let late = monitor.counts().unwrap().get("UDP_CSUM").copied().unwrap_or(0);
        assert!(
            (FRAMES as u64..=FRAMES as u64 + late).contains(&(seen as u64 + lost)),
            "{seen} + {lost}, {late} of other tests"
        );
        assert!(reads || lost > FRAMES as u64 / 2, "{lost} of the records found no room");
        println!("{} ns a frame, {seen} records, {lost} lost", took.as_nanos() / FRAMES as u128);
    }
}

/// As nobody, in whatever user namespace.
pub(crate) fn missing_capabilities_are_named() {
    match PacketTrace::open(1, 1, Mode::Packets, None).unwrap() {
        Opened::Unavailable(why) => assert_eq!(why, CAPABILITIES),
        Opened::Listening(_) => panic!("it listens without a capability"),
    }
}

/// Figures for the eye: `cargo test --release --lib -- --ignored --nocapture kernel_tests`.
#[test]
#[ignore = "measures"]
fn figures_of_drops() {
    let Some(pair) = Pair::new() else { return };
    for _ in 0..5 {
        let begin = Instant::now();
        let Some(_monitor) = monitor(&pair.rx, "rx0") else { return };
        let opened = begin.elapsed();
        let begin = Instant::now();
        functions(&[u64::MAX].into());
        println!("open: {opened:?}, kallsyms: {:?}", begin.elapsed());
    }
    let frames = vec![udp_frame_to([10, 9, 0, 2], OTHER_MAC, 0, 4739, 18); 200_000];
    let elsewhere = Pair::new().unwrap();
    for (who, at) in [("nobody", None), ("here", Some(&pair)), ("elsewhere", Some(&elsewhere))].repeat(3) {
        let monitor = at.map(|pair| monitor(&pair.rx, "rx0").unwrap());
        let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
        let begin = Instant::now();
        send_all(&mut sender, &frames);
        let each = begin.elapsed().as_nanos() / frames.len() as u128;
        let lost = monitor.map(|monitor| monitor.lost().unwrap());
        println!("{each} ns a frame, listening: {who}, lost: {lost:?}");
    }
}
