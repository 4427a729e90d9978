//! The transport checksum of a datagram in fragments: begun with the first of them, verified when all have come. Start at
//! [`DatagramSum::begin`].

use super::bytes::be16;
use super::checksum::{Accumulator, Change, Field, Sum, pseudo_header};
use super::ip;
use super::layers::{Network, protocol};

/// What a first fragment says of its datagram's checksum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DatagramSum {
    /// The pseudo-header without the length.
    pseudo: Accumulator,
    field: Field,
    stored: u16,
    length: Option<u16>,
    six: bool,
    may_be_offload: bool,
    /// Extension headers that stand between the fragment header and the transport.
    headers: u64,
}

/// What is known of it when the datagram is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) sum: Sum,
    /// Where it is wrong: what, as a change of the data, makes it right.
    pub(crate) mended_by: Change,
}

impl DatagramSum {
    /// `network` is a first fragment's; its bytes that are put together with others begin at `begins`.
    pub(crate) fn begin(network: &Network, frame: &[u8], begins: usize) -> Option<Self> {
        let ip = network.ip()?;
        let field = Field::find(network, frame)?;
        let six = matches!(network, Network::Ipv6(_));
        let is_known = field.verifiable && ip::pseudo_addresses(network, frame)?.known;
        // UDP-Lite may cover a part.
        let covers_all = ip.protocol != protocol::UDPLITE;
        let pseudo = if field.pseudo_header { pseudo_header(network, frame, 0)? } else { Accumulator::default() };
        (is_known && covers_all).then_some(Self {
            pseudo,
            field,
            stored: be16(frame, field.at)?,
            length: (ip.protocol == protocol::UDP).then_some(be16(frame, ip.payload + 4)?),
            six,
            may_be_offload: matches!(ip.protocol, protocol::TCP | protocol::UDP),
            headers: ip.payload.saturating_sub(begins) as u64,
        })
    }

    /// Whether UDP's length does not fit a datagram whose fragments have so many bytes together.
    pub(crate) fn has_wrong_length(&self, whole: u64) -> bool {
        let whole = whole.saturating_sub(self.headers);
        self.length.is_some_and(|length| length < 8 && (!self.six || length != 0) || u64::from(length) > whole)
    }

    pub(crate) fn is_absent(&self) -> bool {
        self.field.zero_means_none && self.stored == 0
    }

    /// All fragments are there: so many bytes with this sum, without the headers before the transport.
    pub(crate) fn verify(&self, whole: u64, payload: Accumulator) -> Verified {
        let known = |sum| Verified { sum, mended_by: Change::NONE };
        let whole = whole.saturating_sub(self.headers);
        if self.is_absent() {
            return known(if self.six { Sum::Bad } else { Sum::None });
        }
        // What follows a shorter UDP length is no part of the sum, and was added to it.
        if self.length.is_some_and(|length| u64::from(length) != whole) {
            return known(Sum::Unverifiable);
        }
        let Ok(length) = u32::try_from(whole) else { return known(Sum::Unverifiable) };
        let pseudo = if self.field.pseudo_header { self.pseudo.add(&length.to_be_bytes()) } else { self.pseudo };
        let total = payload.add_word(pseudo.fold()).fold();
        if total == 0xffff {
            return known(Sum::Good);
        }
        let right = self.field.written(!Accumulator::default().add_word(total).add_word(!self.stored).fold());
        let sum = if self.may_be_offload && self.stored == pseudo.fold() { Sum::Offload } else { Sum::Bad };
        Verified { sum, mended_by: Change::word(right, self.stored) }
    }
}
