//! Follows fragmented datagrams: which of them the capture holds whole, and whose ports a later fragment has.

use std::collections::{BTreeMap, HashMap};

use super::Fragments;
use crate::packet::layers::{Datagram, Fragment, Ip};

/// How many unfinished datagrams are followed at once; the oldest is given up for a new one.
const MOST_OPEN: usize = 4_096;

#[derive(Debug, Clone, Copy, Default)]
struct Open {
    order: u64,
    has_first: bool,
    ports: Option<(u16, u16)>,
    /// Payload bytes that came.
    have: u64,
    /// Payload bytes in all, known from the last fragment.
    whole: Option<u64>,
}

/// The datagrams that are followed.
#[derive(Debug, Default)]
pub(super) struct Followed {
    counts: Fragments,
    open: HashMap<Datagram, Open>,
    /// The open ones by age.
    ages: BTreeMap<u64, Datagram>,
}

impl Followed {
    /// Adds a packet, and returns the ports of its datagram: `ports` are its own.
    pub(super) fn add(&mut self, ip: &Ip, datagram: Option<Datagram>, ports: Option<(u16, u16)>) -> Option<(u16, u16)> {
        let Some(datagram) = datagram else { return ports };
        let (offset, last) = match ip.fragment {
            Fragment::Whole | Fragment::First { .. } => (0, false),
            Fragment::Later { offset, last, .. } => (offset, last),
        };
        self.counts.frames += 1;
        if !self.open.contains_key(&datagram) {
            self.begin(datagram);
        }
        let open = self.open.get_mut(&datagram)?;
        // By its own length: what the snaplen cut came too.
        let bytes = match ip.length {
            0 => ip.end.saturating_sub(ip.payload),
            length => (ip.offset + length).saturating_sub(ip.payload),
        };
        open.have += bytes as u64;
        if offset == 0 {
            open.has_first = true;
            open.ports = ports;
        }
        if last {
            open.whole = Some(u64::from(offset) + bytes as u64);
        }
        let (order, ports) = (open.order, open.ports);
        if open.has_first && open.whole.is_some_and(|whole| open.have >= whole) {
            self.open.remove(&datagram);
            self.ages.remove(&order);
        }
        ports
    }

    fn begin(&mut self, datagram: Datagram) {
        if self.open.len() >= MOST_OPEN
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.open.remove(&oldest);
            self.counts.incomplete += 1;
        }
        let order = self.counts.datagrams;
        self.counts.datagrams += 1;
        self.open.insert(datagram, Open { order, ..Open::default() });
        self.ages.insert(order, datagram);
    }

    /// What was found; datagrams that are still open stay incomplete.
    pub(super) fn finish(self) -> Fragments {
        let open = self.open.len() as u64;
        Fragments { incomplete: self.counts.incomplete + open, ..self.counts }
    }
}
