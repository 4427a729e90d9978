//! What reached the packet sockets of the application: sniffers, and DHCP servers. Start at [`account`].

use std::collections::BTreeMap;

use crate::evidence::{Evidence, FilterKind, PacketSocketRecord, Sniffing};
use crate::outcome::{Amount, PacketSocket};

/// Why what a closed socket took is not known.
pub const CLOSED: &str = "the application closed its packet socket before the end";
/// How it begins to be said that the sockets are those of several programs.
pub const SEVERAL: &str = "packet sockets of several programs are there, and which one is the receiver is not known";

/// How much of the capture reached at least one of them; `None` where there is none. `runs_already`: whether somebody else started the receiver.
pub(super) fn account(runs_already: bool, evidence: &Evidence) -> Option<Amount> {
    let sniffing = &evidence.sniffing;
    let arrived = evidence.arriving.as_ref().map_or(evidence.sending.sent, |arriving| arriving.arrived);
    if sniffing.sockets.is_empty() {
        let why = "the application opened its packet socket while frames were sent";
        return (sniffing.later > 0).then(|| Amount::between(0, arrived, why));
    }
    let each: Vec<Amount> = sniffing.sockets.iter().map(|record| captured(record, arrived)).collect();
    if let [only] = each.as_slice() {
        return Some(if sniffing.later == 0 { only.clone() } else { with_later(only, arrived) });
    }
    // What one of them dropped another one may have.
    let most =
        if each.iter().any(|captured| captured.high() > sniffing.captured) { arrived } else { sniffing.captured };
    let least = if each.iter().all(|captured| captured.known().is_some()) && dropped_nothing(sniffing) {
        sniffing.captured
    } else {
        each.iter().map(Amount::low).max().unwrap_or(0)
    };
    let why = each.iter().map(Amount::why).find(|why| !why.is_empty());
    let all = Amount::between(least, most, why.unwrap_or("one packet socket may have what another one dropped"));
    let all = if runs_already { of_some_program(all, sniffing, &each) } else { all };
    Some(if sniffing.later == 0 { all } else { with_later(&all, arrived) })
}

/// What each of them has.
pub(super) fn sockets(evidence: &Evidence) -> Vec<PacketSocket> {
    let arrived = evidence.arriving.as_ref().map_or(evidence.sending.sent, |arriving| arriving.arrived);
    let of = |record: &PacketSocketRecord| PacketSocket {
        frames: captured(record, arrived),
        others: record.others,
        dropped: dropped(record).filter(|_| record.filter != FilterKind::Unknown),
        ring: record.socket.ring.is_some(),
    };
    evidence.sniffing.sockets.iter().map(of).collect()
}

/// The same where the packet sockets are those of several programs, each of which may be the receiver.
fn of_some_program(all: Amount, sniffing: &Sniffing, each: &[Amount]) -> Amount {
    let mut programs: BTreeMap<&str, u64> = BTreeMap::new();
    for (record, captured) in sniffing.sockets.iter().zip(each) {
        // One for another protocol is no socket of the capture's receiver.
        if record.taken > 0 || record.socket.protocol.is_none() {
            let least = programs.entry(&record.program).or_default();
            *least = captured.low().max(*least);
        }
    }
    if programs.len() < 2 {
        return all;
    }
    let least = programs.values().copied().min().unwrap_or_default().min(all.low());
    let names: Vec<&str> = programs.into_keys().collect();
    let why = format!("{SEVERAL}: {}", names.join(", "));
    Amount::between(least, all.high(), why)
}

fn dropped_nothing(sniffing: &Sniffing) -> bool {
    sniffing.sockets.iter().all(|record| dropped(record).is_some_and(|dropped| dropped.is_zero()))
}

/// With packet sockets that were opened later.
fn with_later(amount: &Amount, arrived: u64) -> Amount {
    Amount::between(amount.low(), arrived, "the application opened packet sockets while frames were sent")
}

/// How many frames of the capture a socket has.
fn captured(record: &PacketSocketRecord, arrived: u64) -> Amount {
    let taken = record.taken;
    match record.filter {
        FilterKind::Unknown => return Amount::between(0, arrived, "the filter of the packet socket can't be read"),
        FilterKind::None | FilterKind::Known => {}
    }
    if record.socket.fanout {
        return Amount::between(0, taken, "the application shares frames among several packet sockets (PACKET_FANOUT)");
    }
    if !record.until_end {
        return Amount::between(0, taken, CLOSED);
    }
    let Some(dropped) = dropped(record) else {
        return Amount::between(0, taken, "its receive ring may have been full, and frames of others were in it, too");
    };
    // Those that were dropped may all be others.
    let others = if record.is_among_others { u64::MAX } else { record.others + record.outgoing };
    let fewest = dropped.low().saturating_sub(others);
    let why = if dropped.why().is_empty() { "which frames it dropped is not known" } else { dropped.why() };
    Amount::between(taken.saturating_sub(dropped.high()), taken.saturating_sub(fewest), why)
}

/// How many frames a socket dropped; `None` where nothing is known of that.
fn dropped(record: &PacketSocketRecord) -> Option<Amount> {
    if record.had_room {
        return Some(Amount::exact(0));
    }
    if record.is_among_others && record.socket.ring.is_some() {
        return None;
    }
    let incoming = record.taken + record.others;
    let all = incoming + record.outgoing;
    Some(match (record.socket.ring, record.in_ring) {
        (None, _) => Amount::exact(record.drops),
        (Some(_), Some(held)) => {
            let fewest = if record.takes_outgoing == Some(true) { all } else { incoming };
            let why = "whether it takes what the receiver sends is not known";
            Amount::between(fewest.saturating_sub(held), all.saturating_sub(held), why)
        }
        (Some(ring), None) => {
            // A block holds a frame at least.
            let holds = if ring.version < 2 { ring.frames } else { ring.blocks.saturating_sub(1) };
            let why = "only the application can ask the kernel what its ring dropped, and asking resets it (PACKET_STATISTICS)";
            Amount::between(0, all.saturating_sub(holds.into()), why)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::packet_sockets::{self, PacketRing};

    fn record(ring: Option<PacketRing>) -> PacketSocketRecord {
        let socket = packet_sockets::PacketSocket {
            inode: 1,
            protocol: None,
            interface: 2,
            cooked: false,
            ring,
            fanout: false,
            filter: None,
            drops: 0,
            unread_bytes: 0,
        };
        PacketSocketRecord { taken: 40, ..PacketSocketRecord::of(socket) }
    }

    fn ring(version: u32) -> PacketRing {
        PacketRing { version, block_bytes: 1 << 18, blocks: 8, frames: 32, transmit_bytes: 0 }
    }

    #[test]
    fn what_may_have_been_dropped_is_not_counted_as_captured() {
        let plain = record(None);
        let mapped = |held| PacketSocketRecord { in_ring: Some(held), ..record(Some(ring(2))) };
        for (record, low, high) in [
            (plain.clone(), 40, 40),
            (PacketSocketRecord { drops: 3, ..plain.clone() }, 37, 37),
            (PacketSocketRecord { drops: 3, others: 2, ..plain.clone() }, 37, 39),
            (mapped(40), 40, 40),
            (mapped(30), 30, 30),
            (PacketSocketRecord { others: 5, ..mapped(45) }, 40, 40),
            (PacketSocketRecord { outgoing: 2, ..mapped(42) }, 40, 40),
            (PacketSocketRecord { outgoing: 2, ..mapped(40) }, 38, 40),
            (PacketSocketRecord { outgoing: 2, takes_outgoing: Some(true), ..mapped(30) }, 28, 30),
            // A ring of slots that was not watched holds 32.
            (record(Some(ring(1))), 32, 40),
            (PacketSocketRecord { taken: 30, ..record(Some(ring(1))) }, 30, 30),
            (record(Some(ring(2))), 7, 40),
            // One that always had room has all, whatever else was put into it.
            (PacketSocketRecord { had_room: true, ..mapped(90) }, 40, 40),
            (PacketSocketRecord { had_room: true, is_among_others: true, ..mapped(90) }, 40, 40),
            (PacketSocketRecord { is_among_others: true, ..mapped(90) }, 0, 40),
            (PacketSocketRecord { is_among_others: true, ..plain.clone() }, 40, 40),
            (PacketSocketRecord { drops: 3, is_among_others: true, ..plain.clone() }, 37, 40),
            (PacketSocketRecord { until_end: false, ..mapped(40) }, 0, 40),
            (PacketSocketRecord { filter: FilterKind::Unknown, ..mapped(40) }, 0, 50),
        ] {
            let amount = captured(&record, 50);
            assert_eq!((amount.low(), amount.high()), (low, high), "{record:?}");
            assert_eq!(amount.why().is_empty(), low == high, "{record:?}");
        }
    }

    #[test]
    fn of_several_sockets_one_is_enough() {
        let of = |sockets: Vec<PacketSocketRecord>, captured, later| {
            let sniffing = Sniffing { sockets, later, captured, udp: 0 };
            let amount = account(false, &Evidence { sniffing, ..Evidence::default() });
            amount.map(|amount| (amount.low(), amount.high()))
        };
        let plain = record(None);
        assert_eq!(of(vec![], 0, 0), None);
        assert_eq!(of(vec![plain.clone()], 40, 0), Some((40, 40)));
        let other = PacketSocketRecord { taken: 5, ..plain.clone() };
        assert_eq!(of(vec![plain.clone(), other.clone()], 45, 0), Some((45, 45)));
        assert_eq!(of(vec![PacketSocketRecord { drops: 10, ..plain }, other], 45, 0), Some((30, 45)));
    }
    #[test]
    fn of_several_programs_each_may_be_the_receiver() {
        let of = |sockets: &[(&str, u64, Option<u16>)]| {
            let of = |&(program, taken, protocol): &(&str, u64, Option<u16>)| {
                let mut record = PacketSocketRecord { taken, program: program.to_owned(), ..record(None) };
                record.socket.protocol = protocol;
                record
            };
            let sniffing = Sniffing { sockets: sockets.iter().map(of).collect(), later: 0, captured: 40, udp: 0 };
            let amount = account(true, &Evidence { sniffing, ..Evidence::default() }).expect("there are sockets");
            (amount.low(), amount.high())
        };
        assert_eq!(of(&[("a (1)", 40, None), ("b (2)", 0, None)]), (0, 40));
        assert_eq!(of(&[("a (1)", 40, None), ("b (2)", 40, None)]), (40, 40));
        assert_eq!(of(&[("a (1)", 40, None), ("a (1)", 0, None)]), (40, 40));
        assert_eq!(of(&[("a (1)", 40, None), ("lldpd (2)", 0, Some(0x88cc))]), (40, 40));
    }
}
