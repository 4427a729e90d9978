//! Single packets, followed from the interface to the socket.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::Instant;

use crate::wire::sender::PacketSender;
use crate::wire::trace::{Event, Mode, PacketTrace, functions};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, bind, recv, setsockopt, socket, sockopt,
};

use super::namespaces::{Pair, skip, udp_frame, udp_frame_to};
use super::trace::monitor_of;
use super::{LIMIT, send_all};

const PORT: u16 = 4739;
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);
const GROUP_MAC: [u8; 6] = [1, 0, 0x5e, 1, 1, 1];
const BROADCAST_MAC: [u8; 6] = [0xff; 6];

/// An event that outlives the ring, without times.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Arrived { position: u64, ethertype: u16, packet: Vec<u8>, length: u32 },
    Dropped { position: Option<u64>, clone: bool, reason: String, location: u64 },
    Consumed { position: u64, clone: bool, location: u64 },
    Queued { position: Option<u64>, socket: u64, port: u16 },
    Read { socket: u64 },
}

fn seen(event: Event<'_>) -> Seen {
    match event {
        Event::Arrived(arrived) => Seen::Arrived {
            position: arrived.position,
            ethertype: arrived.ethertype,
            packet: arrived.packet.to_vec(),
            length: arrived.length,
        },
        Event::Dropped(dropped) => Seen::Dropped {
            position: dropped.position,
            clone: dropped.clone,
            reason: dropped.reason.to_owned(),
            location: dropped.location,
        },
        Event::Consumed(consumed) => {
            Seen::Consumed { position: consumed.position, clone: consumed.clone, location: consumed.location }
        }
        Event::Queued(queued) => Seen::Queued { position: queued.position, socket: queued.socket, port: queued.port },
        Event::Read(read) => Seen::Read { socket: read.socket },
    }
}

/// A trace with what it has told so far.
struct Followed {
    trace: PacketTrace,
    seen: Vec<Seen>,
}

impl Followed {
    fn open(pair: &Pair) -> Option<Self> {
        let trace = monitor_of(&pair.rx, "rx0", Mode::Packets)?;
        if let Some(why) = trace.not_followed() {
            skip(why);
            return None;
        }
        Some(Self { trace, seen: Vec::new() })
    }

    /// Reads until so many events are of this kind.
    fn await_events(&mut self, count: usize, is: impl Fn(&Seen) -> bool) {
        let begin = Instant::now();
        loop {
            self.trace.read(&mut |event| self.seen.push(seen(event))).unwrap();
            if self.seen.iter().filter(|event| is(event)).count() >= count {
                return;
            }
            assert!(
                begin.elapsed() < LIMIT,
                "{:?} {:?} of {:?}",
                self.consumed(),
                self.dropped(),
                functions(&self.seen.iter().filter_map(location).collect())
            );
            poll(&mut [PollFd::new(self.trace.as_fd(), PollFlags::POLLIN)], PollTimeout::from(2u16)).unwrap();
        }
    }

    fn await_arrivals(&mut self, count: usize) {
        self.await_events(count, |event| matches!(event, Seen::Arrived { .. }));
    }

    fn await_reads(&mut self, count: usize) {
        self.await_events(count, |event| matches!(event, Seen::Read { .. }));
    }

    fn await_queued(&mut self, count: usize) {
        self.await_events(count, |event| matches!(event, Seen::Queued { .. }));
    }

    fn await_dropped(&mut self, count: usize) {
        self.await_events(count, |event| matches!(event, Seen::Dropped { position: Some(_), .. }));
    }

    /// The positions that each socket has in its queue, in order.
    fn queues(&self) -> BTreeMap<u64, Vec<Option<u64>>> {
        let mut queues: BTreeMap<u64, Vec<Option<u64>>> = BTreeMap::new();
        for event in &self.seen {
            if let Seen::Queued { position, socket, .. } = event {
                queues.entry(*socket).or_default().push(*position);
            }
        }
        queues
    }

    fn only_queue(&self) -> Vec<Option<u64>> {
        let queues = self.queues();
        assert_eq!(queues.len(), 1, "{:#?}", self.seen);
        queues.into_values().next().unwrap()
    }

    fn reads(&self) -> usize {
        self.seen.iter().filter(|event| matches!(event, Seen::Read { .. })).count()
    }

    /// Positions and reasons.
    fn dropped(&self) -> Vec<(u64, &str)> {
        let mut dropped = Vec::new();
        for event in &self.seen {
            if let Seen::Dropped { position: Some(position), reason, .. } = event {
                dropped.push((*position, reason.as_str()));
            }
        }
        dropped
    }

    /// Positions, and the names of the functions, where they can be told.
    fn consumed(&self) -> Vec<(u64, Option<String>)> {
        let locations: BTreeSet<u64> = self.seen.iter().filter_map(location).collect();
        let names = functions(&locations);
        let one = |event: &_| match event {
            Seen::Consumed { position, location, .. } => Some((*position, names.get(location).cloned())),
            _ => None,
        };
        self.seen.iter().filter_map(one).collect()
    }

    fn complete(&self) {
        assert_eq!((self.trace.lost().unwrap(), self.trace.untracked()), (0, 0));
    }
}

fn location(event: &Seen) -> Option<u64> {
    match event {
        Seen::Dropped { location, .. } | Seen::Consumed { location, .. } => Some(*location),
        _ => None,
    }
}

/// A socket for any address and port 4739, which may be shared, and what else is asked for.
fn shared(pair: &Pair, group: bool) -> UdpSocket {
    pair.rx.enter(|| {
        let made = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), None).unwrap();
        setsockopt(&made, sockopt::ReuseAddr, &true).unwrap();
        bind(made.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT))).unwrap();
        let made = UdpSocket::from(made);
        if group {
            made.join_multicast_v4(&GROUP, &Ipv4Addr::new(10, 9, 0, 2)).unwrap();
        }
        made.set_read_timeout(Some(LIMIT)).unwrap();
        made
    })
}

fn sender(pair: &Pair) -> PacketSender {
    pair.tx.enter(|| PacketSender::open("tx0")).unwrap()
}

/// How many datagrams can be read at once.
fn drain(socket: &UdpSocket) -> usize {
    socket.set_nonblocking(true).unwrap();
    let mut count = 0;
    loop {
        match socket.recv(&mut [0; 2000]) {
            Ok(_) => count += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return count;
            }
        }
    }
}

#[test]
fn equal_frames_are_distinguished_when_a_queue_is_full() {
    const FRAMES: usize = 20;
    let Some(pair) = Pair::new() else { return };
    let Some(mut followed) = Followed::open(&pair) else { return };
    let receiver = shared(&pair, false);
    setsockopt(&receiver, sockopt::RcvBuf, &4096).unwrap();
    let frame = udp_frame(1, PORT, 400);
    send_all(&mut sender(&pair), &vec![frame.clone(); FRAMES]);
    followed.await_arrivals(FRAMES);
    followed
        .await_events(FRAMES, |event| matches!(event, Seen::Queued { .. } | Seen::Dropped { position: Some(_), .. }));
    let read = drain(&receiver);
    assert!(0 < read && read < FRAMES, "{read}");
    followed.await_reads(read);
    assert_eq!(followed.only_queue(), (0..read as u64).map(Some).collect::<Vec<_>>());
    let lost: Vec<_> = (read as u64..FRAMES as u64).map(|position| (position, "SOCKET_RCVBUFF")).collect();
    assert_eq!(followed.dropped(), lost);
    assert_eq!(followed.reads(), read);
    let arrived: Vec<_> = followed.seen.iter().filter(|event| matches!(event, Seen::Arrived { .. })).cloned().collect();
    let expected =
        |position| Seen::Arrived { position, ethertype: 0x0800, packet: frame[14..174].to_vec(), length: 428 };
    assert_eq!(arrived, (0..FRAMES as u64).map(expected).collect::<Vec<_>>());
    assert!(followed.seen.iter().all(|event| !matches!(event, Seen::Queued { port, .. } if *port != PORT)));
    assert_eq!(followed.trace.arrived(), FRAMES as u64);
    followed.complete();
}

#[test]
fn a_peek_is_no_read() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut followed) = Followed::open(&pair) else { return };
    let receiver = shared(&pair, false);
    send_all(&mut sender(&pair), &[udp_frame(1, PORT, 10), udp_frame(2, PORT, 10)]);
    for _ in 0..3 {
        receiver.peek(&mut [0; 100]).unwrap();
    }
    // What is cut off is read all the same.
    receiver.recv(&mut [0; 4]).unwrap();
    receiver.peek(&mut [0; 100]).unwrap();
    receiver.recv(&mut [0; 100]).unwrap();
    receiver.set_nonblocking(true).unwrap();
    receiver.recv(&mut [0; 100]).unwrap_err();
    let errors = recv(receiver.as_raw_fd(), &mut [0; 100], MsgFlags::MSG_ERRQUEUE);
    assert!(errors.is_err());
    followed.await_reads(2);
    let socket = *followed.queues().keys().next().unwrap();
    let on_socket: Vec<_> =
        followed.seen.iter().filter(|event| matches!(event, Seen::Queued { .. } | Seen::Read { .. })).collect();
    assert_eq!(followed.only_queue(), [Some(0), Some(1)]);
    assert_eq!(on_socket[2..], [&Seen::Read { socket }, &Seen::Read { socket }]);
    followed.complete();
}

#[test]
fn a_multicast_comes_into_the_queue_of_each_socket() {
    const FRAMES: usize = 5;
    let Some(pair) = Pair::new() else { return };
    let Some(mut followed) = Followed::open(&pair) else { return };
    let receivers = [shared(&pair, true), shared(&pair, true)];
    let frame = udp_frame_to(GROUP.octets(), GROUP_MAC, 1, PORT, 100);
    send_all(&mut sender(&pair), &vec![frame; FRAMES]);
    for receiver in &receivers {
        for _ in 0..FRAMES {
            receiver.recv(&mut [0; 200]).unwrap();
        }
    }
    followed.await_reads(2 * FRAMES);
    let queues: Vec<_> = followed.queues().into_values().collect();
    let all: Vec<_> = (0..FRAMES as u64).map(Some).collect();
    assert_eq!(queues, [all.clone(), all]);
    followed.complete();
}

/// Each socket has its own room: what one of them has none for is dropped as a clone, or as the packet itself.
#[test]
fn a_multicast_is_dropped_for_one_socket_and_queued_for_the_other() {
    const FRAMES: usize = 20;
    let Some(pair) = Pair::new() else { return };
    for small in [0, 1] {
        let Some(mut followed) = Followed::open(&pair) else { return };
        let receivers = [shared(&pair, true), shared(&pair, true)];
        setsockopt(&receivers[small], sockopt::RcvBuf, &4096).unwrap();
        send_all(&mut sender(&pair), &vec![udp_frame_to(GROUP.octets(), GROUP_MAC, 1, PORT, 400); FRAMES]);
        followed.await_events(2 * FRAMES, |event| {
            matches!(event, Seen::Queued { .. } | Seen::Dropped { position: Some(_), .. })
        });
        let read = drain(&receivers[small]);
        assert_eq!(drain(&receivers[1 - small]), FRAMES);
        followed.await_reads(FRAMES + read);
        let mut queues: Vec<_> = followed.queues().into_values().collect();
        queues.sort_by_key(Vec::len);
        let positions = |count: usize| (0..count as u64).map(Some).collect::<Vec<_>>();
        assert_eq!(queues, [positions(read), positions(FRAMES)]);
        let lost: Vec<_> = (read as u64..FRAMES as u64).map(|position| (position, "SOCKET_RCVBUFF")).collect();
        assert_eq!(followed.dropped(), lost);
        let clones = followed.seen.iter().filter(|event| matches!(event, Seen::Dropped { clone: true, .. })).count();
        assert!([0, FRAMES - read].contains(&clones), "{clones}");
        println!("socket {small}: {clones} clones of {} dropped", FRAMES - read);
    }
}

#[test]
fn what_a_closed_socket_leaves_unread_is_dropped() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut followed) = Followed::open(&pair) else { return };
    let receiver = shared(&pair, false);
    send_all(&mut sender(&pair), &vec![udp_frame(1, PORT, 100); 5]);
    for _ in 0..2 {
        receiver.recv(&mut [0; 200]).unwrap();
    }
    followed.await_queued(5);
    drop(receiver);
    followed.await_dropped(3);
    let positions: Vec<_> = followed.dropped().iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, [2, 3, 4]);
    let locations: BTreeSet<u64> = followed.seen.iter().filter_map(location).collect();
    println!("{:?} {:?}", followed.dropped(), functions(&locations));
    followed.complete();
}

#[test]
fn the_hosts_own_packets_have_no_position() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut followed) = Followed::open(&pair) else { return };
    let receiver = shared(&pair, true);
    let own = pair.rx.enter(|| {
        let own = UdpSocket::bind("10.9.0.2:0").unwrap();
        own.set_multicast_loop_v4(true).unwrap();
        own
    });
    let mut sender = sender(&pair);
    for _ in 0..3 {
        send_all(&mut sender, &[udp_frame(1, PORT, 100)]);
        receiver.recv(&mut [0; 200]).unwrap();
        own.send_to(&[1; 100], ("10.9.0.2", PORT)).unwrap();
        receiver.recv(&mut [0; 200]).unwrap();
        own.send_to(&[2; 100], (GROUP, PORT)).unwrap();
        receiver.recv(&mut [0; 200]).unwrap();
        send_all(&mut sender, &[udp_frame_to(GROUP.octets(), GROUP_MAC, 1, PORT, 100)]);
        receiver.recv(&mut [0; 200]).unwrap();
    }
    followed.await_reads(12);
    let expected: Vec<_> = (0..3).flat_map(|round| [Some(2 * round), None, None, Some(2 * round + 1)]).collect();
    assert_eq!(followed.only_queue(), expected);
    assert_eq!(followed.trace.arrived(), 6);
    followed.complete();
}

/// What is for everyone, and no socket wants: the kernel calls it dropped without a reason, or consumed.
#[test]
fn what_no_socket_is_for_ends_all_the_same() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut followed) = Followed::open(&pair) else { return };
    let mut arp = [&BROADCAST_MAC[..], &[2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1]].concat();
    arp.extend([10, 9, 0, 1, 0, 0, 0, 0, 0, 0, 10, 9, 0, 2]);
    arp.resize(60, 0);
    let frames = [
        udp_frame_to([10, 9, 0, 255], BROADCAST_MAC, 1, 9, 100),
        udp_frame_to([224, 0, 0, 1], [1, 0, 0x5e, 0, 0, 1], 1, 9, 100),
        arp,
    ];
    send_all(&mut sender(&pair), &frames);
    followed.await_events(3, |event| matches!(event, Seen::Consumed { .. } | Seen::Dropped { position: Some(_), .. }));
    let names = functions(&followed.seen.iter().filter_map(location).collect());
    let mut ends = Vec::new();
    for event in &followed.seen {
        match event {
            Seen::Consumed { position, location, .. } => ends.push((*position, "CONSUMED", names.get(location))),
            Seen::Dropped { position: Some(position), reason, location, .. } => {
                ends.push((*position, reason.as_str(), names.get(location)));
            }
            _ => {}
        }
    }
    assert_eq!(ends.iter().map(|(position, ..)| *position).collect::<Vec<_>>(), [0, 1, 2]);
    let ended = |at: usize, as_what: &[&str], starts: &str| {
        let (_, how, name) = ends[at];
        assert!(as_what.contains(&how) && name.is_none_or(|name| name.starts_with(starts)), "{ends:?}");
    };
    for at in [0, 1] {
        // __udp4_lib_mcast_deliver, which may be part of __udp4_lib_rcv.
        ended(at, &["NOT_SPECIFIED", "CONSUMED"], "__udp4_lib_");
    }
    ended(2, &["CONSUMED"], "arp_");
    followed.complete();
}

/// The frame in three fragments.
fn fragments(frame: &[u8], number: u16) -> Vec<Vec<u8>> {
    let (ethernet, ip, payload) = (&frame[..14], &frame[14..34], &frame[34..]);
    let piece = (payload.len() / 3).next_multiple_of(8);
    let chunks: Vec<_> = payload.chunks(piece).collect();
    let fragment = |(at, chunk): (usize, &&[u8])| {
        let mut ip = ip.to_vec();
        ip[2..4].copy_from_slice(&u16::try_from(20 + chunk.len()).unwrap().to_be_bytes());
        ip[4..6].copy_from_slice(&number.to_be_bytes());
        let more = u16::from(at + 1 < chunks.len()) << 13;
        ip[6..8].copy_from_slice(&(more | u16::try_from(at * piece / 8).unwrap()).to_be_bytes());
        ip[10..12].fill(0);
        let sum: u32 = ip.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        ip[10..12].copy_from_slice(&(!u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()).to_be_bytes());
        [ethernet, &ip, chunk].concat()
    };
    chunks.iter().enumerate().map(fragment).collect()
}

#[test]
fn a_fragmented_datagram_has_the_position_of_the_fragment_that_came_last() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut followed) = Followed::open(&pair) else { return };
    let receiver = shared(&pair, false);
    let mut sender = sender(&pair);
    for (number, order) in [(1, [0, 1, 2]), (2, [2, 1, 0]), (3, [1, 2, 0]), (4, [0, 2, 1])] {
        let fragments = fragments(&udp_frame(1, PORT, 1000), number);
        send_all(&mut sender, &order.map(|at: usize| fragments[at].clone()));
        assert_eq!(receiver.recv(&mut [0; 2000]).unwrap(), 1000);
    }
    followed.await_reads(4);
    println!("{:?} {:?}", followed.consumed(), followed.dropped());
    assert_eq!(followed.only_queue(), [Some(2), Some(5), Some(8), Some(11)]);
    assert_eq!(followed.dropped(), []);
    let last = |position: &u64| position % 3 == 2;
    assert!(
        followed
            .consumed()
            .iter()
            .all(|(position, name)| !last(position) || name.as_ref().is_none_or(|name| !name.starts_with("inet_frag")))
    );
    followed.complete();
}

/// Each CPU may put the other one's datagram into the queue; that one's position is not known then, and no other one is told.
#[test]
fn two_cpus_that_fill_one_queue_mix_nothing_up() {
    const FRAMES: usize = 20_000;
    let Some(pair) = Pair::new() else { return };
    let Some(mut followed) = Followed::open(&pair) else { return };
    let receiver = shared(&pair, false);
    setsockopt(&receiver, sockopt::RcvBufForce, &(64 << 20)).unwrap();
    let frames: Vec<_> = (0..FRAMES).map(|_| udp_frame(1, PORT, 20)).collect();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| send_all(&mut sender(&pair), &frames));
        }
    });
    followed.await_queued(2 * FRAMES);
    let queue = followed.only_queue();
    let known: BTreeSet<u64> = queue.iter().copied().flatten().collect();
    let unknown = queue.iter().filter(|position| position.is_none()).count();
    println!("{unknown} unknown");
    assert_eq!(known.len() + unknown, 2 * FRAMES);
    assert!(known.last().is_some_and(|last| *last < 2 * FRAMES as u64));
    assert!(unknown < FRAMES / 10, "{unknown}");
    followed.complete();
}

/// The reader finds the wrong checksum, outside of the namespace.
#[test]
fn a_wrong_checksum_that_is_found_by_the_reader_has_its_position() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut followed) = Followed::open(&pair) else { return };
    let receiver = shared(&pair, false);
    // Of another length than in the other test of it: both are heard by every trace of the process.
    let right = udp_frame(1, PORT, 600);
    let mut wrong = right.clone();
    wrong[40..42].copy_from_slice(&[0x12, 0x34]);
    send_all(&mut sender(&pair), &[right.clone(), wrong, right]);
    for _ in 0..2 {
        receiver.recv(&mut [0; 1000]).unwrap();
    }
    followed.await_reads(2);
    assert_eq!(followed.only_queue(), [Some(0), Some(1), Some(2)]);
    assert_eq!(followed.dropped(), [(1, "UDP_CSUM")]);
    assert_eq!(followed.reads(), 2);
}
