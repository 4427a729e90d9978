//! Whom the frames of a real interface reach, and how many of them in a second: what is beyond the limits has to be allowed.
//!
//! Start at [`Reach::add`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;

use crate::rewrite::Prepared;
use crate::scenario::pacing::{Pacing, Rate};

/// How far frames go, and how fast.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Prefixes that frames may go to beside those that are nobody's in particular.
    allowed: Vec<IpNet>,
    /// The first frame that goes elsewhere, and its destination.
    pub beyond: Option<(u64, IpAddr)>,
    /// How many frames go elsewhere.
    pub frames_beyond: u64,
    frames: u64,
    /// The second that the last deadline was in, counted from the start, and the frames of it.
    second: u64,
    in_second: u64,
    /// How many frames are due in the busiest second; all of them at top speed.
    pub busiest: u64,
}

impl Reach {
    pub(super) fn new(allowed: &[IpNet]) -> Self {
        Self { allowed: allowed.to_vec(), ..Self::default() }
    }

    /// Adds a frame that is due at this deadline, if it has one.
    pub(super) fn add(&mut self, frame: &Prepared<'_>, deadline: Option<Duration>) {
        let destination = frame.layers.addresses(frame.bytes).map(|(_, destination)| destination);
        self.add_one(frame.number, destination, deadline);
    }

    fn add_one(&mut self, frame: u64, destination: Option<IpAddr>, deadline: Option<Duration>) {
        self.frames += 1;
        if let Some(destination) = destination.filter(|address| !self.may_go_to(*address)) {
            self.beyond.get_or_insert((frame, destination));
            self.frames_beyond += 1;
        }
        let second = deadline.unwrap_or_default().as_secs();
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second += 1;
        self.busiest = self.busiest.max(self.in_second);
    }

    fn may_go_to(&self, destination: IpAddr) -> bool {
        is_local(destination) || self.allowed.iter().any(|prefix| prefix.contains(&destination))
    }

    /// All of it is sent so often, in this time each; without a time, as fast as possible.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rate is above 0, and a part of a frame is none"
    )]
    pub(super) fn repeat(&mut self, pacing: &Pacing, rounds: u64, once: Option<Duration>, copies: u64) {
        let all = self.frames.saturating_mul(rounds);
        let in_a_second = match (pacing.rate.value, once) {
            (Rate::PacketsPerSecond(rate), _) => rate.ceil() as u64,
            (Rate::Every(interval), _) => (f64::from(pacing.burst.value) / interval.as_secs_f64()).ceil() as u64,
            // Rounds that follow one another in less than a second.
            (_, Some(once)) if rounds > 1 && once < Duration::from_secs(1) => {
                (self.frames as f64 / once.as_secs_f64().max(1e-9)).ceil() as u64
            }
            (_, Some(_)) => self.busiest,
            (_, None) => all,
        };
        self.busiest = in_a_second.min(all).saturating_mul(copies);
    }
}

/// Whether an address is none that a host somewhere on the Internet has: private (RFC 1918, RFC 4193), link-local (RFC 3927, RFC 4291), loopback,
/// unspecified, for documentation (RFC 5737, RFC 3849, RFC 9637) or benchmarks (RFC 2544, RFC 5180), limited broadcast, or a multicast group whose
/// scope is the site at most (RFC 2365, RFC 5771, RFC 7346).
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_local_ipv4(address),
        IpAddr::V6(address) => address.to_ipv4_mapped().map_or_else(|| is_local_ipv6(address), is_local_ipv4),
    }
}

fn is_local_ipv4(address: Ipv4Addr) -> bool {
    match address.octets() {
        [198, 18 | 19, ..] => true,
        [224, 0, 0, _] | [239, 255, ..] => true,
        _ => {
            address.is_private()
                || address.is_link_local()
                || address.is_loopback()
                || address.is_unspecified()
                || address.is_documentation()
                || address.is_broadcast()
        }
    }
}

fn is_local_ipv6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Documentation and benchmarks.
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] | [0x2001, 2, 0, ..] => true,
        // The scope of a group is its fourth hexadecimal digit: 5 is the site.
        [0xff00..=0xffff, ..] => address.octets()[1] & 0x0f <= 5,
        _ => {
            address.is_unique_local()
                || address.is_unicast_link_local()
                || address.is_loopback()
                || address.is_unspecified()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::At;

    fn pacing(rate: Rate, burst: u32) -> Pacing {
        Pacing { rate: At::default_value(rate), burst: At::default_value(burst), ..Pacing::default() }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn an_address_that_a_host_elsewhere_may_have_is_not_local() {
        let local = "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 169.254.1.1 127.0.0.1 0.0.0.0 255.255.255.255 192.0.2.1 198.51.100.1 203.0.113.1 \
                     198.18.0.1 198.19.255.255 224.0.0.5 239.255.1.1 fc00::1 fdff::1 fe80::1 ::1 :: 2001:db8::1 3fff::1 3fff:fff::1 2001:2::1 ff02::1 \
                     ff15::1 ::ffff:10.0.0.1";
        for text in local.split_whitespace() {
            assert!(is_local(address(text)), "{text}");
        }
        let elsewhere = "9.255.255.255 11.0.0.1 172.32.0.1 192.167.1.1 198.17.0.1 198.20.0.1 192.0.3.1 8.8.8.8 224.0.1.1 239.192.0.1 232.1.1.1 \
                         2001:4860::1 2001:db9::1 2001:2:1::1 3fff:1000::1 fec0::1 ff08::1 ff0e::1 ::ffff:8.8.8.8";
        for text in elsewhere.split_whitespace() {
            assert!(!is_local(address(text)), "{text}");
        }
    }

    #[test]
    fn the_first_frame_to_an_address_that_is_not_allowed_is_kept() {
        let mut reach = Reach::new(&["8.8.0.0/16".parse().expect("a prefix")]);
        for (frame, to) in [(3, "10.0.0.1"), (5, "8.8.8.8"), (7, "9.9.9.9"), (8, "2620:fe::9")] {
            reach.add_one(frame, Some(address(to)), None);
        }
        reach.add_one(9, None, None);
        assert_eq!((reach.beyond, reach.frames_beyond), (Some((7, address("9.9.9.9"))), 2));
    }

    #[test]
    fn the_busiest_second_counts_what_is_due_in_it() {
        let of = |rate, burst, rounds, deadlines_ms: &[u64]| {
            let mut reach = Reach::default();
            let has_deadlines = !matches!(rate, Rate::TopSpeed);
            for at in deadlines_ms {
                reach.add_one(1, None, has_deadlines.then(|| Duration::from_millis(*at)));
            }
            let once = has_deadlines.then(|| Duration::from_millis(*deadlines_ms.last().expect("one")));
            reach.repeat(&pacing(rate, burst), rounds, once, 1);
            reach.busiest
        };
        assert_eq!(of(Rate::Captured, 1, 1, &[0, 10, 1_200, 1_300, 1_400, 2_500]), 3);
        assert_eq!(of(Rate::Captured, 1, 2, &[0, 10, 1_200, 1_300, 1_400, 2_500]), 3);
        // Ten rounds of 100 ms, and of none.
        assert_eq!(of(Rate::Captured, 1, 1_000, &[0, 50, 100]), 30);
        assert_eq!(of(Rate::Captured, 1, 1_000, &[0]), 1_000);
        assert_eq!(of(Rate::TopSpeed, 1, 7, &[0, 0, 0]), 21);
        assert_eq!(of(Rate::PacketsPerSecond(10_000.0), 1, 1_000_000, &[0, 0]), 10_000);
        assert_eq!(of(Rate::PacketsPerSecond(10_000.0), 1, 1, &[0, 0]), 2);
        assert_eq!(of(Rate::Every(Duration::from_millis(10)), 7, 1_000, &[0, 0]), 700);
    }
}
