//! How long the receiver waits for the fragments of a datagram, and how long those of the capture need.
//!
//! The kernel counts from the first fragment that comes (`ipfrag_time`, `ip6frag_time`); later ones don't lengthen it. Start at
//! [`Reassembly`].

use std::time::Duration;

/// Linux's default of `net.ipv4.ipfrag_time`: no datagram that takes longer is waited for.
const LONGEST: Duration = Duration::from_secs(30);
/// The lab's timeout where the fragments of each datagram follow each other.
const SHORTEST: Duration = Duration::from_secs(1);
/// How much later than planned a fragment may come.
const LATE: Duration = Duration::from_millis(500);

/// The timeout of the receiver's reassembly, and what was seen of fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reassembly {
    v4: Duration,
    v6: Duration,
    /// The longest time from the first to the last fragment of a datagram that was put together.
    longest_whole: Duration,
    /// The longest time between a fragment and the first one of its datagram.
    longest_join: Duration,
}

impl Default for Reassembly {
    fn default() -> Self {
        Self::new(LONGEST, LONGEST)
    }
}

impl Reassembly {
    /// A receiver with these timeouts, by family.
    pub fn new(v4: Duration, v6: Duration) -> Self {
        Self { v4, v6, longest_whole: Duration::ZERO, longest_join: Duration::ZERO }
    }

    /// The longer of both timeouts.
    pub fn timeout(&self) -> Duration {
        self.v4.max(self.v6)
    }

    /// The timeout that puts every datagram together which the longest timeout does, in whole seconds. `paused`: how long sending may stop between.
    pub fn needed(&self, paused: Duration) -> Duration {
        match self.longest_whole {
            Duration::ZERO => SHORTEST,
            span => Duration::from_secs((span + paused + LATE).as_secs() + 1).max(SHORTEST),
        }
    }

    /// Whether a receiver with other timeouts would do the same with all these fragments.
    pub fn is_the_same_with(&self, other: &Self) -> bool {
        self.longest_join + LATE < other.v4.min(other.v6) || (self.v4, self.v6) == (other.v4, other.v6)
    }

    /// Whether a datagram whose first fragment is so old is given up.
    pub(super) fn is_over(&self, six: bool, age: Duration) -> bool {
        age >= if six { self.v6 } else { self.v4 }
    }

    /// A fragment came so long after the first one of its datagram.
    pub(super) fn joined(&mut self, age: Duration) {
        self.longest_join = self.longest_join.max(age);
    }

    /// A datagram was put together so long after its first fragment.
    pub(super) fn whole(&mut self, age: Duration) {
        self.longest_whole = self.longest_whole.max(age);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Reassembly;

    #[test]
    fn the_timeout_outlasts_the_slowest_datagram() {
        let needed = |millis: u64| {
            let mut reassembly = Reassembly::default();
            reassembly.whole(Duration::from_millis(millis));
            reassembly.needed(Duration::ZERO).as_secs()
        };
        assert_eq!([0, 1, 400, 500, 1_000, 1_499, 1_500, 29_000].map(needed), [1, 1, 1, 2, 2, 2, 3, 30]);
    }

    #[test]
    fn only_fragments_that_come_late_depend_on_the_timeout() {
        let short = Reassembly::new(Duration::from_secs(1), Duration::from_secs(1));
        let mut reassembly = Reassembly::default();
        assert!(reassembly.is_the_same_with(&short));
        reassembly.joined(Duration::from_millis(499));
        assert!(reassembly.is_the_same_with(&short));
        reassembly.joined(Duration::from_millis(600));
        assert!(!reassembly.is_the_same_with(&short));
    }
}
