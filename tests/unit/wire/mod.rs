//! The wire against the kernel: a veth pair between two namespaces.
//!
//! Runs as root, and again as an ordinary user in a user namespace (`an_ordinary_user_can_do_all_of_this`). More than 500 lines: every case
//! stands on the same two namespaces, and is short.

mod following;
mod namespaces;
mod ring_space;
mod taps;
mod trace;
mod xdp;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::built_in::{BuiltIn, Family};
use super::clock::{Clock, Monotonic};
use super::counters::{Counters, CountersReader};
use super::ring::{Ring, RingStatistics};
use super::sender::{PacketSender, SendResult};
use super::taps::{Among, Installed, Taps};
use crate::diagnostic::Kind;
use crate::host::interface::{self, InterfaceKind};
use crate::host::sockets::{Socket, SocketTable};
use crate::outcome::EvidenceLevel;
use crate::scenario::require::{Listener, Transport};
use namespaces::{Pair, RECEIVER_MAC, SENDER_MAC, skip, udp_frame, udp_frame_to, udp6_frame_to};

/// As much as a run asks for at least, in bytes.
const DEFAULT_BYTES: usize = 4 << 20;

/// Longer than anything takes on a busy machine; only a broken test waits for it.
const LIMIT: Duration = Duration::from_secs(20);

fn send_all(sender: &mut PacketSender, frames: &[Vec<u8>]) -> Vec<SendResult> {
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let mut results = Vec::new();
    sender.send(&frames, &mut results).unwrap();
    results
}

/// Reads until `count` frames were seen.
fn read_frames(ring: &mut Ring, count: usize) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let begin = Instant::now();
    while seen.len() < count && begin.elapsed() < LIMIT {
        ring.read(Duration::from_millis(100), &mut |frame| {
            assert_eq!(frame.original_length as usize, frame.bytes.len());
            assert!(frame.time_ns > 1_600_000_000_000_000_000);
            seen.push(frame.bytes.to_vec());
        })
        .unwrap();
    }
    seen
}

#[test]
fn ten_thousand_frames_at_top_speed_arrive_in_order_and_equal() {
    let Some(pair) = Pair::new() else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    // Room for all of them: a busy machine may keep the reader waiting for as long as they take.
    let mut ring = pair.rx.enter(|| Ring::open("rx0", 8 * DEFAULT_BYTES)).unwrap();
    let frames: Vec<_> = (0..10_000).map(|number| udp_frame(number, 4739, 4 + number as usize % 1400)).collect();
    let reader = thread::spawn(move || (read_frames(&mut ring, 10_000), ring));
    assert!(send_all(&mut sender, &frames).iter().all(|result| *result == SendResult::Sent));
    let (seen, mut ring) = reader.join().unwrap();
    assert!(seen == frames, "{} seen", seen.len());
    assert_eq!(ring.statistics().unwrap(), RingStatistics { packets: 10_000, drops: 0 });
}

#[test]
fn an_unread_ring_counts_its_drops() {
    let Some(pair) = Pair::new() else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let mut ring = pair.rx.enter(|| Ring::open("rx0", 64 << 10)).unwrap();
    let frames: Vec<_> = (0..1_000).map(|number| udp_frame(number, 4739, 1000)).collect();
    send_all(&mut sender, &frames);
    let mut count = 0;
    // What the ring has room for is two blocks of 64 KiB; all of it is ready, since the frames after it found none.
    ring.read(LIMIT, &mut |_| count += 1).unwrap();
    let statistics = ring.statistics().unwrap();
    assert_eq!(statistics.packets + statistics.drops, 1_000);
    assert_eq!(statistics.packets, count);
    assert!(statistics.drops > 800, "{statistics:?}");
    assert_eq!(ring.statistics().unwrap(), statistics, "it adds up, though the kernel begins again at 0");
}

#[test]
fn the_receivers_own_frames_are_not_seen() {
    let Some(pair) = Pair::new() else { return };
    let mut out = pair.rx.enter(|| PacketSender::open("rx0")).unwrap();
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let mut ring = pair.rx.enter(|| Ring::open("rx0", DEFAULT_BYTES)).unwrap();
    send_all(&mut out, &[udp_frame(1, 9, 100)]);
    send_all(&mut sender, &[udp_frame(2, 9, 100)]);
    assert_eq!(read_frames(&mut ring, 1), [udp_frame(2, 9, 100)]);
}

#[test]
fn vlan_tags_come_back_equal() {
    let Some(pair) = Pair::new() else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let mut ring = pair.rx.enter(|| Ring::open("rx0", DEFAULT_BYTES)).unwrap();
    let tagged = |tags: &[[u8; 4]], payload| {
        let frame = udp_frame(7, 4739, payload);
        [&frame[..12], &tags.concat(), &frame[12..]].concat()
    };
    let frames = [
        tagged(&[[0x81, 0x00, 0x60, 0x64]], 32),
        tagged(&[[0x81, 0x00, 0x00, 0x00]], 32),
        tagged(&[[0x88, 0xa8, 0xbf, 0xff]], 32),
        tagged(&[[0x88, 0xa8, 0x00, 0x0a], [0x81, 0x00, 0x00, 0x14]], 32),
        // The MTU counts the IP packet: the tag comes on top.
        tagged(&[[0x81, 0x00, 0x00, 0x64]], 1472),
        udp_frame(8, 4739, 32),
    ];
    assert_eq!(send_all(&mut sender, &frames), [SendResult::Sent; 6]);
    assert_eq!(read_frames(&mut ring, 6), frames);
}

#[test]
fn what_cant_be_sent_keeps_nothing_behind_it() {
    use SendResult::{Sent, TooLong, Unsendable};
    let Some(pair) = Pair::new() else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let mut ring = pair.rx.enter(|| Ring::open("rx0", DEFAULT_BYTES)).unwrap();
    let frames = [
        udp_frame(0, 9, 100),
        udp_frame(1, 9, 1473),
        udp_frame(2, 9, 1472),
        udp_frame(3, 9, 60_000),
        udp_frame(4, 9, 1472)[..13].to_vec(),
        Vec::new(),
        [&RECEIVER_MAC[..], &SENDER_MAC, &[0x99, 0x99]].concat(),
        udp_frame(5, 9, 200),
    ];
    let results = send_all(&mut sender, &frames);
    assert_eq!(results, [Sent, TooLong, Sent, TooLong, Unsendable, Unsendable, Sent, Sent]);
    let sent: Vec<_> =
        frames.iter().zip(results).filter(|(_, result)| *result == Sent).map(|(frame, _)| frame.clone()).collect();
    assert_eq!(read_frames(&mut ring, 4), sent);
}

#[test]
fn the_largest_frames_arrive_whole() {
    let Some(pair) = Pair::with_mtu(65_535, 65_535) else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let mut ring = pair.rx.enter(|| Ring::open("rx0", DEFAULT_BYTES)).unwrap();
    let frames: Vec<_> = (0..100).map(|number| udp_frame(number, 9, 65_507)).collect();
    assert_eq!(send_all(&mut sender, &frames[..10]), [SendResult::Sent; 10]);
    assert!(read_frames(&mut ring, 10) == frames[..10]);
}

#[test]
fn a_peer_with_a_smaller_mtu_makes_frames_too_long() {
    use SendResult::{Sent, TooLong};
    let Some(pair) = Pair::with_mtu(9000, 1500) else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let mut ring = pair.rx.enter(|| Ring::open("rx0", DEFAULT_BYTES)).unwrap();
    let frames = [1600, 100, 1600, 1472, 8000, 1600, 100].map(|payload| udp_frame(0, 9, payload));
    assert_eq!(send_all(&mut sender, &frames), [TooLong, Sent, TooLong, Sent, TooLong, TooLong, Sent]);
    assert_eq!(read_frames(&mut ring, 3).len(), 3);
    assert_eq!(ring.statistics().unwrap().packets, 3);
}

#[test]
fn a_down_or_removed_interface_is_reported_for_every_frame() {
    let Some(pair) = Pair::new() else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let mut ring = pair.rx.enter(|| Ring::open("rx0", DEFAULT_BYTES)).unwrap();
    let mut counters = pair.tx.enter(|| CountersReader::open("tx0")).unwrap();
    let frames = [udp_frame(0, 9, 100), udp_frame(1, 9, 100)];

    let before = counters.read().unwrap();
    pair.rx.ip("link set rx0 down");
    assert_eq!(send_all(&mut sender, &frames), [SendResult::InterfaceDown; 2]);
    assert!(counters.read().unwrap().since(&before).get("if.tx.dropped").is_some_and(|dropped| dropped >= 2));
    assert_eq!(ring.read(Duration::ZERO, &mut |_| ()).unwrap(), 0);

    pair.rx.ip("link set rx0 up");
    assert_eq!(send_all(&mut sender, &frames), [SendResult::Sent; 2]);
    assert_eq!(read_frames(&mut ring, 2), frames);

    pair.tx.ip("link set tx0 down");
    assert_eq!(send_all(&mut sender, &frames), [SendResult::InterfaceDown; 2]);
    pair.tx.ip("link set tx0 up");
    assert_eq!(send_all(&mut sender, &frames), [SendResult::Sent; 2]);

    pair.tx.ip("link del tx0");
    assert_eq!(send_all(&mut sender, &frames), [SendResult::InterfaceDown; 2]);
    assert_eq!(read_frames(&mut ring, 2), frames, "what came before is still there");
    assert_eq!(ring.read(Duration::from_millis(1), &mut |_| ()).unwrap(), 0);
    let after = counters.read().unwrap();
    assert_eq!(after.get("if.tx.packets"), None);
    assert!(after.get("Udp.NoPorts").is_some());
}

#[test]
fn a_waiting_read_can_be_woken() {
    let Some(pair) = Pair::new() else { return };
    let mut ring = pair.rx.enter(|| Ring::open("rx0", DEFAULT_BYTES)).unwrap();
    let waker = ring.waker();
    let begin = Instant::now();
    let reader = thread::spawn(move || ring.read(LIMIT * 10, &mut |_| ()).unwrap());
    waker.wake();
    assert_eq!(reader.join().unwrap(), 0);
    assert!(begin.elapsed() < LIMIT);
}

#[test]
fn the_built_in_receiver_reads_all_that_top_speed_brings() {
    let Some(pair) = Pair::new() else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let ports: Vec<_> = (4000..4400).flat_map(|port| [(port, Family::V4), (port, Family::V6)]).collect();
    let mut receiver = pair.rx.enter(|| BuiltIn::bind(&ports, &[], "rx0")).unwrap();
    let mut counters = pair.rx.enter(|| CountersReader::open("rx0")).unwrap();
    let before = counters.read().unwrap();
    let frames: Vec<_> = (0..20_000u16).map(|number| udp_frame(number.into(), 4000 + number % 400, 900)).collect();
    assert_eq!(receiver.drain().unwrap(), 0);
    for batch in frames.chunks(64) {
        send_all(&mut sender, batch);
        receiver.drain().unwrap();
    }
    let begin = Instant::now();
    while receiver.read() < 20_000 && begin.elapsed() < LIMIT {
        receiver.drain().unwrap();
    }
    assert_eq!(receiver.read(), 20_000);
    let moved = counters.read().unwrap().since(&before);
    assert_eq!(moved.get("Udp.InDatagrams"), Some(20_000));
    assert_eq!(moved.get("if.rx.packets"), Some(20_000));
    assert_eq!((moved.get("Udp.InErrors"), moved.get("Udp.NoPorts")), (None, None));
}

#[test]
fn the_built_in_receiver_leaves_no_wrong_checksum_unseen() {
    let Some(pair) = Pair::new() else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let mut receiver = pair.rx.enter(|| BuiltIn::bind(&[(4739, Family::V4)], &[], "rx0")).unwrap();
    let mut counters = pair.rx.enter(|| CountersReader::open("rx0")).unwrap();
    let before = counters.read().unwrap();
    // Long enough that the kernel verifies the checksum only while it is read.
    let mut wrong = udp_frame(1, 4739, 600);
    wrong[40..42].copy_from_slice(&[0x12, 0x34]);
    send_all(&mut sender, &[wrong, udp_frame(2, 4739, 600)]);
    let begin = Instant::now();
    while receiver.read() < 1 && begin.elapsed() < LIMIT {
        receiver.drain().unwrap();
    }
    let moved = counters.read().unwrap().since(&before);
    assert_eq!((moved.get("Udp.InCsumErrors"), moved.get("Udp.InDatagrams")), (Some(1), Some(1)));
}

#[test]
fn the_built_in_receiver_joins_more_groups_than_one_socket_holds() {
    let Some(pair) = Pair::new() else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let groups: Vec<IpAddr> = (1..=50)
        .flat_map(|last| [[239, 1, 1, last].into(), [0xff15, 0, 0, 0, 0, 0, 0, u16::from(last)].into()])
        .collect();
    let twice = [&groups[..], &groups].concat();
    let mut receiver = pair
        .rx
        .enter(|| {
            BuiltIn::bind(&[(4739, Family::V4), (4739, Family::V6), (4739, Family::V4), (0, Family::V4)], &twice, "rx0")
        })
        .unwrap();
    let frames: Vec<_> =
        (1..=51).map(|last| udp_frame_to([239, 1, 1, last], [1, 0, 0x5e, 1, 1, last], 0, 4739, 50)).collect();
    send_all(&mut sender, &frames);
    let frames: Vec<_> = (1..=51u8)
        .map(|last| {
            udp6_frame_to(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0, last.into()), [0x33, 0x33, 0, 0, 0, last], 4739)
        })
        .collect();
    send_all(&mut sender, &frames);
    send_all(&mut sender, &[udp_frame(0, 4739, 50)]);
    send_all(&mut sender, &[udp6_frame_to("fd00:9::2".parse().unwrap(), RECEIVER_MAC, 4739)]);
    let begin = Instant::now();
    while receiver.read() < 102 && begin.elapsed() < LIMIT {
        receiver.drain().unwrap();
    }
    let moved = pair.rx.enter(|| Counters::read("rx0")).unwrap();
    let all: Vec<_> = moved.iter().filter(|(_, value)| *value > 0).collect();
    assert_eq!(receiver.read(), 102, "2 × 50 groups and 2 unicasts; the 51st groups were not joined: {all:?}");
    assert_eq!((moved.get("Udp.InDatagrams"), moved.get("Udp6InDatagrams")), (Some(51), Some(51)));
}

#[test]
fn a_taken_port_blocks_the_built_in_receiver() {
    let Some(pair) = Pair::new() else { return };
    let _first = pair.rx.enter(|| BuiltIn::bind(&[(4739, Family::V6)], &[], "rx0")).unwrap();
    let failure = pair.rx.enter(|| BuiltIn::bind(&[(4739, Family::V6)], &[], "rx0")).unwrap_err();
    assert_eq!(failure.kind, Kind::Blocked);
    insta::assert_debug_snapshot!(failure.problems);
}

#[test]
fn counters_give_the_cause_of_a_loss() {
    let Some(pair) = Pair::new() else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    // Opened on a thread that has ended, read on one of another namespace.
    let mut counters = pair.rx.enter(|| CountersReader::open("rx0")).unwrap();
    let mut ring = pair.rx.enter(|| Ring::open("rx0", DEFAULT_BYTES)).unwrap();
    let before = counters.read().unwrap();
    let mut bad_sum = udp_frame(0, 9, 100);
    bad_sum[24] ^= 0x55;
    let frames = [
        udp_frame(0, 9, 100),
        udp_frame_to([10, 9, 0, 2], [2, 0, 0, 0, 0, 9], 0, 9, 100),
        udp_frame_to([10, 77, 0, 2], RECEIVER_MAC, 0, 9, 100),
        bad_sum,
    ];
    send_all(&mut sender, &frames);
    assert_eq!(read_frames(&mut ring, 4).len(), 4);
    let moved = counters.read().unwrap().since(&before);
    for name in ["Udp.NoPorts", "if.rx.otherhost", "Ip.InAddrErrors", "IpExt.InCsumErrors"] {
        assert_eq!(moved.get(name), Some(1), "{name}: {moved:?}");
    }
    assert_eq!(moved.get("if.rx.packets"), Some(4));
    assert_eq!(pair.rx.enter(|| Counters::read("rx0")).unwrap().get("Udp.NoPorts"), Some(1));
    assert_eq!(pair.tx.enter(|| Counters::read("tx0")).unwrap().get("Udp.NoPorts"), Some(0));
}

#[test]
fn sock_diag_shows_queue_and_drops_of_an_unread_socket() {
    let Some(pair) = Pair::new() else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    // Room for all of them, however they lie in its blocks.
    let mut ring = pair.rx.enter(|| Ring::open("rx0", 8 * DEFAULT_BYTES)).unwrap();
    let (silent, connected, dual, tcp) = pair.rx.enter(|| {
        let connected = UdpSocket::bind("127.0.0.1:5001").unwrap();
        connected.connect("127.0.0.1:5002").unwrap();
        let (dual, tcp) = (UdpSocket::bind("[::]:5003"), TcpListener::bind("[::]:5004"));
        (UdpSocket::bind("10.9.0.2:4739").unwrap(), connected, dual.unwrap(), tcp.unwrap())
    });
    let table = pair.rx.enter(SocketTable::open).unwrap();
    let count = 2_000;
    let frames: Vec<_> = (0..count).map(|number| udp_frame(number, 4739, 900)).collect();
    for batch in frames.chunks(64) {
        send_all(&mut sender, batch);
    }
    assert_eq!(read_frames(&mut ring, 2_000).len(), 2_000);

    // The ring sees a frame before the socket does.
    let state =
        |sockets: &[Socket]| sockets.iter().map(|socket| (socket.unread_bytes, socket.drops)).collect::<Vec<_>>();
    let mut sockets = table.list(Transport::Udp).unwrap();
    loop {
        std::thread::sleep(Duration::from_millis(50));
        let later = table.list(Transport::Udp).unwrap();
        let is_settled = state(&later) == state(&sockets);
        sockets = later;
        if is_settled {
            break;
        }
    }
    let at = |port| sockets.iter().find(|socket| socket.port == port).unwrap();
    let full = at(4739);
    assert_eq!(full.address, IpAddr::from([10, 9, 0, 2]));
    assert!(full.unread_bytes > 50_000 && full.buffer_bytes > 50_000 && full.drops > 100, "{full:?}");
    silent.set_nonblocking(true).unwrap();
    let mut queued = 0;
    while silent.recv(&mut [0]).is_ok() {
        queued += 1;
    }
    assert_eq!(full.drops + queued, count);
    let drained = table.list(Transport::Udp).unwrap().into_iter().find(|socket| socket.port == 4739).unwrap();
    assert_eq!((drained.unread_bytes, drained.drops), (0, full.drops));

    assert_eq!(at(5001).peer, Some(([127, 0, 0, 1].into(), 5002)));
    assert!(at(5003).address.is_ipv6() && !at(5003).v6only);
    let listener = |transport, port| Listener { transport, address: Some([10, 9, 0, 2].into()), port };
    assert!(at(5003).serves(&listener(Transport::Udp, 5003)));
    assert!(!at(5001).serves(&Listener { address: None, ..listener(Transport::Udp, 5001) }));
    let listeners = table.list(Transport::Tcp).unwrap();
    assert_eq!(listeners.len(), 1);
    assert!(listeners[0].serves(&listener(Transport::Tcp, 5004)));
    drop((connected, dual, tcp));
    assert!(table.list(Transport::Tcp).unwrap().is_empty());
}

#[test]
fn hundreds_of_sockets_are_all_listed() {
    let Some(pair) = Pair::new() else { return };
    let ports: Vec<_> = (2000..2600).flat_map(|port| [(port, Family::V4), (port, Family::V6)]).collect();
    let receiver = pair.rx.enter(|| BuiltIn::bind(&ports, &[], "rx0")).unwrap();
    let table = pair.rx.enter(SocketTable::open).unwrap();
    let listed: BTreeSet<_> =
        table.list(Transport::Udp).unwrap().iter().map(|socket| (socket.port, Family::from(socket.address))).collect();
    assert!(listed == ports.into_iter().collect(), "{} listed, {receiver:?}", listed.len());
    assert!(table.list(Transport::Udp).unwrap().iter().all(|socket| socket.address.is_ipv4() || socket.v6only));
}

#[test]
fn interface_facts_are_read() {
    let Some(pair) = Pair::with_mtu(9000, 1500) else { return };
    let (facts, lo, none, names) = pair.tx.enter(|| {
        let long = interface::facts("a-name-far-beyond-15-bytes").unwrap();
        assert_eq!(long, None);
        (
            interface::facts("tx0").unwrap(),
            interface::facts("lo").unwrap(),
            interface::facts("rx0").unwrap(),
            interface::names(),
        )
    });
    let facts = facts.unwrap();
    assert_eq!((facts.kind, facts.mtu_bytes, facts.up, facts.running), (InterfaceKind::Veth, 9000, true, true));
    assert_eq!(facts.mac.unwrap().0, SENDER_MAC);
    assert_eq!(lo.map(|lo| (lo.kind, lo.index)), Some((InterfaceKind::Loopback, 1)));
    assert_eq!(none, None, "rx0 is in the other namespace");
    assert_eq!(names.unwrap(), ["lo", "tx0"]);
    pair.rx.ip("link set rx0 down");
    let facts = pair.tx.enter(|| interface::facts("tx0")).unwrap().unwrap();
    assert_eq!((facts.up, facts.running), (true, false));
}

#[test]
fn a_missing_interface_is_named_with_those_that_are_there() {
    let Some(pair) = Pair::new() else { return };
    let failures = pair.tx.enter(|| {
        [
            PacketSender::open("eth7").map(|_| ()),
            Ring::open("eth7", DEFAULT_BYTES).map(|_| ()),
            CountersReader::open("eth7").map(|_| ()),
            BuiltIn::bind(&[], &[], "eth7").map(|_| ()),
        ]
    });
    for failure in &failures {
        assert_eq!(failure, &failures[0]);
        assert_eq!(failure.as_ref().unwrap_err().kind, Kind::Invalid);
    }
    insta::assert_debug_snapshot!(failures[0].as_ref().unwrap_err().problems);
}

/// This test binary, where every user may read it.
struct PublicCopy(std::path::PathBuf);

impl PublicCopy {
    fn new() -> Self {
        let folder =
            std::env::temp_dir().join(format!("restage-wire-{}-{:?}", std::process::id(), thread::current().id()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        // By another process: one that is started meanwhile would hold the file open for writing, so that it could not be run.
        let copied =
            Command::new("cp").arg(std::env::current_exe().unwrap()).arg(folder.join("restage-tests")).status();
        assert!(copied.unwrap().success());
        Self(folder)
    }

    /// Runs it as nobody, where we are root, behind `before`.
    fn run(&self, before: &[&str], arguments: &[&str]) -> std::io::Result<std::process::Output> {
        let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let program = self.0.join("restage-tests");
        let program = [program.to_str().unwrap()];
        let as_nobody: &[&str] = if nix::unistd::getuid().is_root() { &nobody } else { &[] };
        let words = [as_nobody, before, &program, arguments].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(&self.0).env("RESTAGE_WIRE_AGAIN", "1").env("RESTAGE_REQUIRE_LAB", "1");
        // The snapshots may lie where nobody can read them; the first run has compared them.
        command.env("INSTA_FORCE_PASS", "1").env("INSTA_UPDATE", "no").env("INSTA_WORKSPACE_ROOT", &self.0).output()
    }
}

impl Drop for PublicCopy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The name of a test of this file as libtest knows it; of `""`, what all of them begin with.
fn own(name: &str) -> String {
    format!("{}::{name}", module_path!().split_once("::").unwrap().1)
}

fn is_rerun() -> bool {
    std::env::var_os("RESTAGE_WIRE_AGAIN").is_some()
}

#[test]
fn an_ordinary_user_can_do_all_of_this() {
    if is_rerun() {
        return;
    }
    let copy = PublicCopy::new();
    let user_namespace = ["unshare", "--user", "--map-root-user", "--net"];
    match copy.run(&user_namespace, &["--exact", &own("interface_facts_are_read")]) {
        Ok(probe) if probe.status.success() => {}
        Ok(probe) => return skip(&format!("no user namespace: {}", String::from_utf8_lossy(&probe.stderr))),
        Err(error) => return skip(&format!("no `setpriv` or `unshare`: {error}")),
    }
    let again = copy.run(&user_namespace, &[&own(""), "--test-threads=1"]).unwrap();
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stdout));
}

#[test]
fn without_privilege_the_missing_capability_is_named() {
    if is_rerun() && !nix::unistd::getuid().is_root() {
        let failure = PacketSender::open("lo").map(|_| ()).unwrap_err();
        assert_eq!(failure.kind, Kind::Blocked);
        assert_eq!(Ring::open("lo", DEFAULT_BYTES).map(|_| ()).unwrap_err(), failure);
        trace::missing_capabilities_are_named();
        let Ok(Installed::Absent(reason)) = Taps::install("lo", EvidenceLevel::Packets, &[], Among::Own, None) else {
            panic!("taps without privilege")
        };
        println!("<<{failure:#?}\n{reason}>>");
    } else if !is_rerun() {
        let copy = PublicCopy::new();
        match copy.run(&[], &["--exact", &own("without_privilege_the_missing_capability_is_named"), "--nocapture"]) {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                let failure = text.split_once("<<").and_then(|(_, rest)| rest.split_once(">>"));
                let failure = failure.unwrap_or_else(|| panic!("{text}")).0;
                insta::assert_snapshot!(
                    failure.replace(&copy.0.join("restage-tests").display().to_string(), "PROGRAM")
                );
            }
            Err(error) => skip(&format!("no `setpriv`: {error}")),
        }
    }
}

/// Figures for the eye: `cargo test --release --lib -- --ignored --nocapture kernel_tests`.
#[test]
#[ignore = "measures, for minutes on a busy machine"]
fn figures() {
    let Some(pair) = Pair::new() else { return };
    let mut counters = pair.rx.enter(|| CountersReader::open("rx0")).unwrap();
    counters.read().unwrap();
    let begin = Instant::now();
    for _ in 0..1_000 {
        counters.read().unwrap();
    }
    println!("counters: {:?} a read", begin.elapsed() / 1_000);
    let table = pair.rx.enter(SocketTable::open).unwrap();
    let begin = Instant::now();
    for _ in 0..1_000 {
        table.list(Transport::Udp).unwrap();
    }
    println!("sockets: {:?} a look at none", begin.elapsed() / 1_000);

    let mut clock = Monotonic::new();
    let anchor = clock.now() + Duration::from_millis(10);
    let mut late: Vec<_> = (0..1_000)
        .map(|number| {
            let deadline = anchor + Duration::from_millis(number);
            assert!(clock.wait_until(deadline, &|| false));
            clock.now().saturating_sub(deadline)
        })
        .collect();
    late.sort_unstable();
    println!("1,000 deadlines a second: p50 {:?}, p99 {:?}, max {:?} late", late[500], late[990], late[999]);

    for (name, payload) in [("64 B", 22), ("942 B", 900)] {
        let frames: Vec<_> = (0..400_000).map(|number| udp_frame(number, 9, payload)).collect();
        let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
        for ring in [None, Some(DEFAULT_BYTES), None, Some(DEFAULT_BYTES)] {
            let (stop, stopped) = mpsc::channel::<()>();
            let ring = ring.map(|bytes| pair.rx.enter(|| Ring::open("rx0", bytes)).unwrap());
            let reader = ring.map(|mut ring| {
                thread::spawn(move || {
                    let mut seen = 0;
                    while seen < 400_000 && stopped.try_recv().is_err() {
                        seen += ring.read(Duration::from_millis(10), &mut |_| ()).unwrap();
                    }
                    (seen, ring.statistics().unwrap())
                })
            });
            let begin = Instant::now();
            let results = send_all(&mut sender, &frames);
            let seconds = begin.elapsed().as_secs_f64();
            assert!(results.iter().all(|result| *result == SendResult::Sent));
            let seen = reader.map(|reader| reader.join().unwrap());
            drop(stop);
            println!("{name}: {:.0} kpps, ring {seen:?}", 400.0 / seconds);
            assert!(seen.is_none_or(|(seen, _)| seen == 400_000));
        }
    }
}
