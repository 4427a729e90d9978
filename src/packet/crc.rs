//! CRC-32c, the checksum of SCTP (RFC 9260 §6.8, appendix A), and CRC-32, the Ethernet frame check sequence (IEEE 802.3 §3.2.9).
//!
//! A CRC is linear: the CRC of what has changed, alone, is the difference between old and new. So a wrong one stays wrong by
//! the same difference, and what was not captured needs not be known as long as it is known how long it is.

/// A reflected CRC of 32 bits, or of as many as `width` has.
pub(crate) struct Crc {
    width: u32,
    table: [u32; 256],
}

/// The frame check sequence of Ethernet.
pub(crate) const ETHERNET: Crc = Crc::new(0xedb8_8320);

/// The 16-bit frame check sequence of PPP and other HDLC-like links (RFC 1662, appendix C.2).
pub(crate) const PPP: Crc = Crc { width: 0xffff, ..Crc::new(0x8408) };

pub(crate) const SCTP: Crc = Crc::new(0x82f6_3b78);

impl Crc {
    const fn new(polynomial: u32) -> Self {
        let mut table = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            #[expect(clippy::cast_possible_truncation, reason = "below 256")]
            let mut value = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { (value >> 1) ^ polynomial } else { value >> 1 };
                bit += 1;
            }
            #[expect(clippy::indexing_slicing, reason = "below 256")]
            {
                table[byte] = value;
            }
            byte += 1;
        }
        Self { width: u32::MAX, table }
    }

    fn step(&self, state: u32, byte: u8) -> u32 {
        let [low, ..] = state.to_le_bytes();
        // An index of eight bits is always inside the table.
        (state >> 8) ^ self.table.get(usize::from(low ^ byte)).copied().unwrap_or_default()
    }

    /// The register after `bytes`, without the inversions at either end: what is linear.
    pub(crate) fn linear(&self, state: u32, bytes: impl IntoIterator<Item = u8>) -> u32 {
        bytes.into_iter().fold(state, |state, byte| self.step(state, byte))
    }

    pub(crate) fn of(&self, bytes: impl IntoIterator<Item = u8>) -> u32 {
        !self.linear(self.width, bytes) & self.width
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn all_give_the_check_values_of_the_catalogue() {
        assert_eq!(PPP.of(*b"123456789"), 0x906e);
        assert_eq!(ETHERNET.of(*b"123456789"), 0xcbf4_3926);
        assert_eq!(SCTP.of(*b"123456789"), 0xe306_9283);
    }

    proptest! {
        #[test]
        fn the_crc_of_a_change_is_the_change_of_the_crc(
            old in any::<[u8; 4]>(), new in any::<[u8; 4]>(), rest in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let whole = |start: [u8; 4]| SCTP.of(start.into_iter().chain(rest.iter().copied()));
            let change = old.into_iter().zip(new).map(|(old, new)| old ^ new);
            let difference = SCTP.linear(0, change.chain(std::iter::repeat_n(0, rest.len())));
            prop_assert_eq!(whole(old) ^ difference, whole(new));
        }
    }
}
