//! Datagrams in IP fragments put together again (RFC 791 §3.2, RFC 8200 §4.5), in bounded memory. Start at [`Reassembly::add`].

use std::collections::{BTreeMap, HashMap};

use super::fragments::{Came, Fragments};
use super::layers::{Datagram, Fragment, Ip};

/// How many datagrams are open at once; the oldest is given up for a new one.
const MOST_OPEN: usize = 1_024;

/// The datagrams of which some fragments came.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    open: HashMap<Datagram, Open>,
    /// The open ones by age.
    ages: BTreeMap<u64, Datagram>,
    next: u64,
    given_up: u64,
}

#[derive(Debug, Default)]
struct Open {
    age: u64,
    came: Fragments,
    payload: Vec<u8>,
}

impl Reassembly {
    /// Adds a fragment of `datagram`, and returns the payload of IP once all of it came.
    pub(crate) fn add(&mut self, datagram: Datagram, ip: &Ip, frame: &[u8]) -> Option<Vec<u8>> {
        let (offset, last) = match ip.fragment {
            Fragment::Whole | Fragment::First { .. } => (0, false),
            Fragment::Later { offset, last, .. } => (offset as usize, last),
        };
        let bytes = frame.get(ip.payload..ip.end).filter(|_| !ip.is_cut(frame))?;
        if !self.open.contains_key(&datagram) {
            if self.open.len() >= MOST_OPEN
                && let Some((_, oldest)) = self.ages.pop_first()
            {
                self.open.remove(&oldest);
                self.given_up += 1;
            }
            self.ages.insert(self.next, datagram);
            self.open.insert(datagram, Open { age: self.next, ..Open::default() });
            self.next += 1;
        }
        let open = self.open.get_mut(&datagram)?;
        match open.came.add(offset as u64, bytes.len() as u64, last) {
            Came::Again => return None,
            // The kernel gives such a datagram up.
            Came::Overlapping => {
                self.ages.remove(&open.age);
                self.open.remove(&datagram);
                self.given_up += 1;
                return None;
            }
            Came::New => {}
        }
        let end = offset + bytes.len();
        if open.payload.len() < end {
            open.payload.resize(end, 0);
        }
        open.payload.get_mut(offset..end)?.copy_from_slice(bytes);
        if !open.came.is_whole() {
            return None;
        }
        self.ages.remove(&open.age);
        self.open.remove(&datagram).map(|open| open.payload)
    }

    /// How many datagrams are not whole.
    pub(crate) fn incomplete(&self) -> u64 {
        self.given_up + self.open.len() as u64
    }
}
