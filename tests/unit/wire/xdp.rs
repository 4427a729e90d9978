//! AF_XDP sends what a packet socket sends, and says the same of what can't be sent.

use std::thread;

use crate::wire::ring::Ring;
use crate::wire::sender::{Placed, SendResult, Sender, XdpSender};

use super::namespaces::{Pair, udp_frame};
use super::{DEFAULT_BYTES, read_frames, skip};

/// A sender on tx0; `None`, said, where the kernel has no AF_XDP.
fn open(pair: &Pair) -> Option<Sender> {
    match pair.tx.enter(|| XdpSender::open("tx0")) {
        Ok(sender) => Some(Sender::Xdp(Box::new(sender))),
        Err(failure) => {
            skip(&format!("no AF_XDP: {failure:?}"));
            None
        }
    }
}

fn send(sender: &mut Sender, frames: &[Vec<u8>]) -> Vec<SendResult> {
    let mut results = Vec::new();
    for frame in frames {
        while sender.place(frame) == Placed::Full {
            sender.send(&mut results).unwrap();
        }
    }
    sender.send(&mut results).unwrap();
    results
}

#[test]
fn twenty_thousand_frames_by_af_xdp_arrive_in_order_and_equal() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut sender) = open(&pair) else { return };
    let mut ring = pair.rx.enter(|| Ring::open("rx0", 16 << 20)).unwrap();
    let frames: Vec<_> = (0..20_000).map(|number| udp_frame(number, 4739, 4 + number as usize % 1400)).collect();
    let reader = thread::spawn(move || (read_frames(&mut ring, 20_000), ring));
    sender.warm();
    assert!(send(&mut sender, &frames).iter().all(|result| *result == SendResult::Sent));
    let (seen, mut ring) = reader.join().unwrap();
    assert_eq!(ring.statistics().unwrap().drops, 0);
    assert!(seen == frames);
}

#[test]
fn what_af_xdp_cant_send_keeps_nothing_behind_it() {
    use SendResult::{Sent, TooLong, Unsendable};
    let Some(pair) = Pair::new() else { return };
    let Some(mut sender) = open(&pair) else { return };
    let mut ring = pair.rx.enter(|| Ring::open("rx0", DEFAULT_BYTES)).unwrap();
    let frames = [
        udp_frame(0, 9, 100),
        udp_frame(1, 9, 1473),
        udp_frame(2, 9, 1472),
        udp_frame(3, 9, 60_000),
        udp_frame(4, 9, 1472)[..13].to_vec(),
        Vec::new(),
        udp_frame(5, 9, 200),
    ];
    let results = send(&mut sender, &frames);
    assert_eq!(results, [Sent, TooLong, Sent, TooLong, Unsendable, Unsendable, Sent]);
    assert_eq!(read_frames(&mut ring, 3), [frames[0].clone(), frames[2].clone(), frames[6].clone()]);
}

#[test]
fn a_peer_with_a_smaller_mtu_makes_frames_too_long_for_af_xdp() {
    use SendResult::{Sent, TooLong};
    let Some(pair) = Pair::with_mtu(9000, 1500) else { return };
    let Some(mut sender) = open(&pair) else { return };
    let mut ring = pair.rx.enter(|| Ring::open("rx0", DEFAULT_BYTES)).unwrap();
    let frames = [100, 1600, 1472, 1600, 100].map(|payload| udp_frame(0, 9, payload));
    assert_eq!(send(&mut sender, &frames), [Sent, TooLong, Sent, TooLong, Sent]);
    assert_eq!(read_frames(&mut ring, 3).len(), 3);
}

#[test]
fn af_xdp_reports_a_down_link_and_sends_no_stale_frames() {
    let Some(pair) = Pair::new() else { return };
    let Some(mut sender) = open(&pair) else { return };
    let mut ring = pair.rx.enter(|| Ring::open("rx0", DEFAULT_BYTES)).unwrap();
    let frames = [udp_frame(1, 9, 100), udp_frame(2, 9, 100), udp_frame(3, 9, 100)];
    pair.tx.ip("link set tx0 down");
    assert_eq!(send(&mut sender, &frames), [SendResult::InterfaceDown; 3]);
    pair.tx.ip("link set tx0 up");
    pair.rx.ip("link set rx0 down");
    assert_eq!(send(&mut sender, &frames), [SendResult::InterfaceDown; 3]);
    pair.rx.ip("link set rx0 up");
    let later = [udp_frame(4, 9, 100)];
    assert_eq!(send(&mut sender, &later), [SendResult::Sent]);
    assert_eq!(read_frames(&mut ring, 1), later);
    pair.tx.ip("link delete tx0");
    assert_eq!(send(&mut sender, &frames), [SendResult::InterfaceDown; 3]);
}
