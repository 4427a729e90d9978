//! A datagram that is being put together.

use std::time::Duration;

use crate::capture::FrameRanges;
use crate::packet::checksum::{Accumulator, Sum};
use crate::packet::datagram_sum::DatagramSum;
use crate::packet::fragments::Fragments;
use crate::packet::layers::protocol as ip_protocol;
use crate::predict::{Carried, ClassKey, Flaw};

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
    /// What the first fragment says of the checksum.
    pub(super) datagram: Option<DatagramSum>,
}

impl Open {
    /// What is wrong with the whole datagram: with fragments only the receiver sees that.
    pub(super) fn flaw(&self, key: &ClassKey) -> Flaw {
        let Some(datagram) = &self.datagram else { return key.flaw };
        let whole = self.fragments.length();
        if datagram.has_wrong_length(whole) {
            return Flaw::UdpLength;
        }
        let tcp = match key.carried {
            Carried::Ip { protocol: ip_protocol::TCP, .. } => true,
            Carried::Ip { protocol: ip_protocol::UDP, .. } => false,
            // The kernel drops ICMP with a wrong sum, too; but it is the kernel's own.
            _ => return key.flaw,
        };
        let verified = datagram.verify(whole, self.sum);
        match (verified.sum, tcp) {
            (Sum::Bad, false) if datagram.is_absent() => Flaw::UdpSumAbsent,
            (Sum::Bad, false) => Flaw::UdpSum,
            (Sum::Bad, true) => Flaw::TcpSum,
            (Sum::Offload, false) => Flaw::UdpSumOffload,
            (Sum::Offload, true) => Flaw::TcpSumOffload,
            (Sum::None | Sum::Good | Sum::Unverifiable, _) => key.flaw,
        }
    }
}
