//! The space in a receive ring, as the sending thread sees it.

use std::time::{Duration, Instant};

use crate::wire::ring::Ring;
use crate::wire::sender::PacketSender;

use super::{LIMIT, Pair, send_all, udp_frame};

/// What the sending thread counts is at least what the kernel takes: a ring that it fills half by its count has room for all.
#[test]
fn frames_that_are_counted_as_half_a_ring_fit_into_it() {
    let Some(pair) = Pair::with_mtu(65_535, 65_535) else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    // The longest frame, frames of 9 kB, the largest of which two fit into a block, short ones, and all of them in turn.
    for lengths in [&[65_507][..], &[9_000], &[65_300, 65_400], &[100], &[65_507, 100, 9_000, 1_400, 33_000]] {
        if !(0..100).any(|_| fit_by_half(&pair, &mut sender, lengths)) {
            println!("{lengths:?} not tested: the machine is too busy to send so many frames at once");
        }
    }
}

/// That none of so many frames of these lengths is dropped; false where sending them took so long that it proves nothing: the kernel
/// passes on a block 2 ms after its first frame, full or not.
fn fit_by_half(pair: &Pair, sender: &mut PacketSender, lengths: &[usize]) -> bool {
    let mut ring = pair.rx.enter(|| Ring::open("rx0", 4 << 20)).unwrap();
    let space = ring.space();
    assert!(space.half_is_free() && space.is_read());
    let mut frames = Vec::new();
    let mut bytes = 0;
    for (number, length) in (0..).zip(lengths.iter().cycle()) {
        let frame = udp_frame(number, 4739, *length);
        bytes += space.frame_bytes(frame.len());
        if bytes > space.bytes() / 2 {
            break;
        }
        frames.push(frame);
    }
    let begun = Instant::now();
    // Nothing reads meanwhile.
    for some in frames.chunks(8) {
        send_all(sender, some);
    }
    if begun.elapsed() > Duration::from_millis(20) {
        return false;
    }
    let mut seen = 0;
    while seen < frames.len() {
        let read = ring.read(LIMIT, &mut |frame| assert_eq!(frame.original_length as usize, frame.bytes.len()));
        let read = read.unwrap();
        assert!(read > 0, "{lengths:?}: {seen} of {}", frames.len());
        seen += read;
    }
    assert_eq!(ring.statistics().unwrap().drops, 0, "{lengths:?}");
    assert!(space.is_read());
    true
}

#[test]
fn an_unread_ring_is_full_before_it_drops_frames() {
    let Some(pair) = Pair::new() else { return };
    let mut sender = pair.tx.enter(|| PacketSender::open("tx0")).unwrap();
    let mut ring = pair.rx.enter(|| Ring::open("rx0", 1 << 20)).unwrap();
    let space = ring.space();
    let mut sent = 0;
    while space.half_is_free() {
        assert!(sent < 10_000, "it never filled");
        send_all(&mut sender, &[udp_frame(sent, 4739, 1_000)]);
        sent += 1;
    }
    assert!(!space.is_read());
    assert_eq!(ring.statistics().unwrap().drops, 0);
    ring.read(LIMIT, &mut |_| ()).unwrap();
    assert!(space.half_is_free());
}
