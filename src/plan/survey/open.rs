//! A datagram that is being put together.

use std::net::IpAddr;
use std::time::Duration;

use super::class::{Carried, ClassKey};
use super::flaw::Flaw;
use super::fragments::Fragments;
use crate::packet::checksum::Accumulator;
use crate::packet::layers::protocol as ip_protocol;
use crate::plan::frame_ranges::FrameRanges;

/// A datagram of which not all fragments came.
#[derive(Debug, Clone)]
pub(super) struct Open {
    /// Key of the fragment that came first.
    pub(super) any: ClassKey,
    /// Key of the datagram's class when it is whole; from the first fragment.
    pub(super) key: Option<ClassKey>,
    pub(super) frames: FrameRanges,
    pub(super) fragments: Fragments,
    pub(super) order: u64,
    /// When the first one is sent.
    pub(super) begun: Duration,
    /// The sum of the bytes that came.
    pub(super) sum: Accumulator,
    /// Length and checksum of the UDP header.
    pub(super) udp: Option<(u16, u16)>,
}

impl Open {
    /// What is wrong with the whole datagram: with fragments only the receiver of UDP sees that.
    pub(super) fn flaw(&self, key: &ClassKey) -> Flaw {
        let (Some((length, stored)), Carried::Ip { source, destination, .. }) = (self.udp, key.carried) else {
            return key.flaw;
        };
        let whole = self.fragments.length();
        if length < 8 && (source.is_ipv4() || length != 0) || u64::from(length) > whole {
            return Flaw::UdpLength;
        }
        if stored == 0 {
            return if source.is_ipv4() { key.flaw } else { Flaw::UdpSumAbsent };
        }
        // What stands behind a shorter UDP length is no part of the sum, and was not told apart.
        if u64::from(length) != whole {
            return key.flaw;
        }
        let address = |address: IpAddr, sum: Accumulator| match address {
            IpAddr::V4(address) => sum.add(&address.octets()),
            IpAddr::V6(address) => sum.add(&address.octets()),
        };
        let pseudo = address(destination, address(source, Accumulator::default()));
        let pseudo = pseudo.add_word(u16::from(ip_protocol::UDP)).add_word(length);
        let sum = self.sum.add_word(pseudo.fold()).fold();
        if sum == 0xffff {
            key.flaw
        } else if stored == pseudo.fold() {
            Flaw::UdpSumOffload
        } else {
            Flaw::UdpSum
        }
    }
}
