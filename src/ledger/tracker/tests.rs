//! What events come to, without a kernel.

use super::*;

/// A UDP datagram over IPv4, whole or a fragment.
fn packet(identification: u8, fragment: u16) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x45;
    packet[3] = 40;
    packet[5] = identification;
    packet[6..8].copy_from_slice(&fragment.to_be_bytes());
    packet[9] = protocol::UDP;
    packet
}

fn kind(reason: &str) -> DropKind {
    DropKind { reason: reason.to_owned(), version: 4, protocol: protocol::UDP, ..DropKind::default() }
}

/// Packets that arrived as frames 1, 2, …
fn arrived(packets: &[Vec<u8>]) -> PacketTracker {
    let mut tracker = PacketTracker::default();
    for (position, packet) in (0..).zip(packets) {
        tracker.arrive(position, Some(position + 1), packet);
    }
    tracker
}

fn drop_as(tracker: &mut PacketTracker, position: u64, reason: &str, clone: bool, is_fragment: bool) {
    tracker.drop_packet(position, &PacketDrop { kind: &kind(reason), location: 1, clone, is_fragment });
}

/// The endings with their frames, in words.
fn endings(tracker: PacketTracker, talks: bool) -> Option<Vec<String>> {
    let ends = tracker.finish(&BTreeMap::new(), talks).ok()?;
    let word = |ending: &Ending| match ending {
        Ending::Dropped(kind) => kind.reason.clone(),
        Ending::Used { .. } => "used".to_owned(),
        Ending::Unseen { .. } => "unseen".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    };
    Some(ends.iter().map(|(ending, frames)| format!("{} {frames}", word(ending))).collect())
}

#[test]
fn a_queue_is_read_in_order_and_own_datagrams_take_their_turn() {
    let mut tracker = arrived(&[packet(1, 0), packet(2, 0), packet(3, 0)]);
    tracker.queue(Some(0), 7);
    tracker.queue(None, 7);
    tracker.queue(Some(1), 7);
    drop_as(&mut tracker, 2, "SOCKET_RCVBUFF", false, false);
    tracker.read(7);
    tracker.read(7);
    assert_eq!(endings(tracker, true), Some(vec!["read 1".into(), "unread 2".into(), "SOCKET_RCVBUFF 3".into()]));
}

#[test]
fn a_read_may_be_recorded_before_its_datagram() {
    let mut tracker = arrived(&[packet(1, 0), packet(2, 0)]);
    tracker.read(7);
    tracker.queue(Some(0), 7);
    tracker.queue(Some(1), 7);
    assert_eq!(endings(tracker, false), Some(vec!["read 1".into(), "unread 2".into()]));
}

#[test]
fn of_several_sockets_one_reader_is_enough() {
    let mut tracker = arrived(&[packet(1, 0), packet(2, 0)]);
    for position in [0, 1] {
        tracker.queue(Some(position), 7);
        tracker.queue(Some(position), 8);
    }
    tracker.read(8);
    for clone in [true, false] {
        drop_as(&mut tracker, 1, "NOT_SPECIFIED", clone, false);
    }
    assert_eq!(endings(tracker, false), Some(vec!["read 1".into(), "closed 2".into()]));
}

#[test]
fn a_full_socket_takes_nothing_from_another_one() {
    let mut tracker = arrived(&[packet(1, 0)]);
    tracker.queue(Some(0), 7);
    drop_as(&mut tracker, 0, "SOCKET_RCVBUFF", false, false);
    tracker.read(7);
    assert_eq!(endings(tracker, false), Some(vec!["read 1".into()]));
}

#[test]
fn fragments_end_as_the_last_one_that_arrived() {
    let pieces = [packet(1, 0x2000), packet(1, 0x2032), packet(1, 0x0064)];
    let mut tracker = arrived(&pieces);
    tracker.use_up(0, 5);
    tracker.queue(Some(2), 7);
    tracker.read(7);
    assert_eq!(endings(tracker, false), Some(vec!["read 1-3".into()]));
    let mut tracker = arrived(&pieces);
    drop_as(&mut tracker, 2, "SOCKET_RCVBUFF", false, false);
    drop_as(&mut tracker, 1, "NOT_SPECIFIED", false, true);
    assert_eq!(endings(tracker, false), Some(vec!["SOCKET_RCVBUFF 1-3".into()]));
}

#[test]
fn a_fragment_that_a_rule_drops_leaves_the_others_waiting() {
    let mut tracker = arrived(&[packet(1, 0x2000), packet(1, 0x0032)]);
    drop_as(&mut tracker, 1, "NETFILTER_DROP", false, true);
    assert_eq!(endings(tracker, false), Some(vec!["NETFILTER_DROP 2".into(), "incomplete 1".into()]));
}

#[test]
fn what_is_said_of_a_packet_after_its_drop_is_about_another_one() {
    let mut tracker = arrived(&[packet(1, 0), packet(2, 0)]);
    drop_as(&mut tracker, 1, "IP_RPFILTER", false, false);
    drop_as(&mut tracker, 1, "OTHERHOST", false, false);
    tracker.queue(Some(0), 7);
    tracker.read(7);
    assert_eq!(endings(tracker, false), Some(vec!["read 1".into(), "IP_RPFILTER 2".into()]));
}

#[test]
fn a_datagram_without_a_position_is_placed_only_where_that_is_certain() {
    let unknown = |talks| {
        let mut tracker = arrived(&[packet(1, 0), packet(2, 0)]);
        tracker.queue(Some(0), 7);
        tracker.queue(None, 7);
        tracker.read(7);
        tracker.read(7);
        endings(tracker, talks)
    };
    assert_eq!(unknown(false), Some(vec!["read 1-2".into()]));
    assert_eq!(unknown(true), None);
    // Another one that nothing is known of, of whoever sent it: which of the two was queued is not certain.
    let mut tracker = arrived(&[packet(1, 0)]);
    tracker.arrive(1, None, &packet(2, 0));
    tracker.queue(None, 7);
    tracker.read(7);
    let why = tracker.finish(&BTreeMap::new(), false).unwrap_err();
    assert_eq!(why, "1 datagram was queued without saying which, and nothing is known of 2 that came in");
}

#[test]
fn an_arrival_without_a_record_makes_the_rest_unknown() {
    let mut tracker = arrived(&[packet(1, 0)]);
    tracker.arrive(2, Some(3), &packet(3, 0));
    assert_eq!(endings(tracker, false), None);
}

#[test]
fn what_came_in_before_the_capture_needs_no_record() {
    let mut tracker = PacketTracker::beginning(2);
    tracker.arrive(2, Some(1), &packet(1, 0));
    // Records may be out of order, and a socket may take what came in before.
    tracker.arrive(1, None, &packet(9, 0));
    tracker.queue(Some(1), 7);
    tracker.queue(Some(2), 7);
    tracker.read(7);
    tracker.read(7);
    assert_eq!(endings(tracker, false), Some(vec!["read 1".into()]));
}

#[test]
fn a_missed_event_shows() {
    type Step = fn(&mut PacketTracker);
    let is_conclusive = |steps: &[Step]| {
        let mut tracker = arrived(&[packet(1, 0), packet(2, 0)]);
        for step in steps {
            step(&mut tracker);
        }
        tracker.is_conclusive(false)
    };
    let one: Step = |tracker| tracker.queue(Some(0), 7);
    let other: Step = |tracker| tracker.queue(Some(1), 7);
    let read: Step = |tracker| tracker.read(7);
    assert!(is_conclusive(&[one, read, other, read]));
    assert!(!is_conclusive(&[one, read, other]), "a read is missed");
    assert!(!is_conclusive(&[one, read, read]), "a datagram in a queue is missed");
    assert!(!is_conclusive(&[one, read]), "a drop is missed");
    let unknown: Step = |tracker| tracker.queue(None, 7);
    assert!(is_conclusive(&[one, unknown, read, read]), "another processor queued it");
    assert!(!is_conclusive(&[one, unknown, read]), "a read of what another processor queued is missed");
    let again: Step = |tracker| tracker.queue(Some(0), 8);
    let read_again: Step = |tracker| tracker.read(8);
    let copied = [one, again, unknown, read, read, read_again];
    assert!(!is_conclusive(&copied), "of two sockets' copies one may be what was queued without a position");
}
