//! Which bytes of a fragmented datagram came, as `ip_frag_queue`, `ip6_frag_queue` and `inet_frag_queue_insert` count them.
//!
//! Provoked on Linux 6.18, equal for both families: a fragment whose bytes came before is dropped alone (`DUP_FRAG`), and its datagram
//! goes on. One that overlaps others, or that contradicts the datagram's end, ends the datagram: the kernel gives the reason
//! `NOT_SPECIFIED` for that fragment, counts one in `ReasmFails`, and frees the fragments before it without a reason. What comes later of
//! the same datagram begins a new one.

/// How a fragment stands to those that came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// None of its bytes was there.
    New,
    /// All of its bytes were there: the kernel drops it, and the datagram lives on.
    Again,
    /// Some of its bytes were there, or it contradicts where the datagram ends: the kernel gives the datagram up.
    Overlapping,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Fragments {
    /// From and to, in rising order; none touches the next.
    runs: Vec<(u64, u64)>,
    length: u64,
    /// Whether the last fragment came, so that the length is the datagram's.
    last_came: bool,
}

impl Fragments {
    /// Takes a fragment in, unless it was there or overlaps.
    pub(crate) fn add(&mut self, offset: u64, bytes: u64, last: bool) -> Came {
        // All but the last have a multiple of 8 bytes (RFC 791 §3.2); the kernel leaves the rest out.
        let end = if last { offset + bytes } else { (offset + bytes) & !7 };
        let contradicts = if last {
            end < self.length || self.last_came && end != self.length
        } else {
            self.last_came && end > self.length
        };
        if contradicts || end <= offset {
            return Came::Overlapping;
        }
        let next = self.runs.partition_point(|run| run.1 <= offset);
        let meets = self.runs.get(next).filter(|run| run.0 < end);
        match meets {
            Some(run) if run.0 <= offset && end <= run.1 => return Came::Again,
            Some(_) => return Came::Overlapping,
            None => {}
        }
        self.length = self.length.max(end);
        self.last_came |= last;
        let joins_next = self.runs.get(next).is_some_and(|run| run.0 == end);
        let before = next.checked_sub(1).filter(|before| self.runs.get(*before).is_some_and(|run| run.1 == offset));
        match before.and_then(|before| self.runs.get_mut(before)) {
            Some(run) => run.1 = end,
            None => self.runs.insert(next, (offset, end)),
        }
        if joins_next {
            let here = if before.is_some() { next } else { next + 1 };
            let (_, end) = self.runs.remove(here);
            if let Some(run) = here.checked_sub(1).and_then(|run| self.runs.get_mut(run)) {
                run.1 = end;
            }
        }
        Came::New
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.last_came && self.runs == [(0, self.length)]
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Came, Fragments};

    #[test]
    fn a_datagram_is_whole_when_its_fragments_came_in_any_order() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut fragments = Fragments::default();
            for (place, part) in order.into_iter().enumerate() {
                assert!(!fragments.is_whole(), "{order:?}");
                assert_eq!(fragments.add(part * 8, 8, part == 2), Came::New, "{order:?} at {place}");
            }
            assert!(fragments.is_whole(), "{order:?}");
        }
    }

    #[test]
    fn what_was_there_is_dropped_and_what_overlaps_ends_the_datagram() {
        let mut fragments = Fragments::default();
        assert_eq!(fragments.add(0, 16, false), Came::New);
        assert_eq!(fragments.add(0, 16, false), Came::Again);
        assert_eq!(fragments.add(8, 8, false), Came::Again);
        assert_eq!(fragments.add(8, 16, false), Came::Overlapping);
        assert_eq!(fragments.add(32, 8, true), Came::New);
        assert_eq!(fragments.add(24, 16, false), Came::Overlapping);
        assert!(!fragments.is_whole());
    }

    #[test]
    fn a_fragment_that_contradicts_the_end_ends_the_datagram() {
        let mut fragments = Fragments::default();
        assert_eq!(fragments.add(64, 32, true), Came::New);
        assert_eq!(fragments.add(96, 8, false), Came::Overlapping);
        assert_eq!(fragments.add(32, 32, true), Came::Overlapping);
        assert_eq!(fragments.add(96, 8, true), Came::Overlapping);
        assert_eq!(fragments.add(0, 0, false), Came::Overlapping);
        assert_eq!(fragments.add(0, 67, false), Came::New);
        assert!(fragments.is_whole());
    }

    proptest! {
        #[test]
        fn runs_stay_apart_and_in_order(parts in proptest::collection::vec((0u64..64, 0u64..16), 0..40)) {
            let mut fragments = Fragments::default();
            for (offset, bytes) in parts {
                fragments.add(offset * 8, bytes * 8, false);
            }
            prop_assert!(fragments.runs.is_sorted_by(|before, after| before.1 < after.0));
        }
    }
}
