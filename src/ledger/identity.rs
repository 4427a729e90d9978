//! What identifies a frame on the wire, and a packet in the receiver's stack. Start at [`Digester`].

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twox_hash::{XxHash3_128, XxHash64};

/// The bytes of a hash's key: XXH3 takes 136 and more.
const KEY_BYTES: usize = 192;
/// The number of bytes that identify a packet.
pub const HEAD_BYTES: usize = 128;

/// What identifies equal frames: a keyed 128-bit hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Digest(u128);

impl Digest {
    /// As a file has it.
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From a file.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

/// The keyed hash of a run (XXH3). Keyed at random, so that no capture can be made to collide.
#[derive(Debug, Clone, Default)]
pub struct Digester {
    key: Key,
    /// Whether routers may be on the way: they change the MAC addresses, the TTL and the class of a packet.
    routed: bool,
}

/// The key of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Key(Arc<[u8; KEY_BYTES]>);

impl Default for Key {
    fn default() -> Self {
        let random = RandomState::new();
        let mut key = [0; KEY_BYTES];
        for (index, word) in key.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&random.hash_one(index).to_ne_bytes());
        }
        Self(Arc::new(key))
    }
}

impl Key {
    /// The one key of digests that two runs compare later. It is no secret: a capture could be made whose frames have the same.
    pub fn shared() -> Self {
        let mut key = [0; KEY_BYTES];
        for (index, word) in key.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&XxHash64::oneshot(index as u64, b"restage").to_le_bytes());
        }
        Self(Arc::new(key))
    }
}

impl TryFrom<Vec<u8>> for Key {
    type Error = String;

    fn try_from(bytes: Vec<u8>) -> Result<Self, String> {
        let key = <[u8; KEY_BYTES]>::try_from(bytes).map_err(|bytes| format!("a key of {} bytes", bytes.len()))?;
        Ok(Self(Arc::new(key)))
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Self {
        key.0.to_vec()
    }
}

impl Digester {
    /// For frames that come through a network; both ends have the same key.
    pub fn routed(key: Key) -> Self {
        Self { key, routed: true }
    }

    /// Its key, for the other end.
    pub fn key(&self) -> Key {
        self.key.clone()
    }

    /// The digest of an Ethernet frame.
    pub fn of_frame(&self, frame: &[u8]) -> Digest {
        if !self.routed {
            return self.of(frame);
        }
        let packet = packet_of(frame);
        match masked(datagram(packet)) {
            Some(packet) => self.of(&packet),
            None => self.of(frame),
        }
    }

    /// The digest of a packet's [`head`].
    pub fn of_packet(&self, packet: &[u8]) -> Digest {
        let head = head(packet);
        match masked(head).filter(|_| self.routed) {
            Some(head) => self.of(&head),
            None => self.of(head),
        }
    }

    /// The digest of bytes.
    pub fn of(&self, bytes: &[u8]) -> Digest {
        Digest(XxHash3_128::oneshot_with_secret(&self.key.0[..], bytes).expect("the key has more than 136 bytes"))
    }
}

/// What the receiver's stack sees of a frame: what follows the Ethernet header and the one VLAN tag that the kernel takes off.
pub fn packet_of(frame: &[u8]) -> &[u8] {
    let tagged = matches!(frame.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
    frame.get(if tagged { 18 } else { 14 }..).unwrap_or_default()
}

/// The part of a packet that identifies it wherever in the stack it is seen: padding behind an IP packet is cut there.
///
/// `packet`: bytes from the network header on, all or the first [`HEAD_BYTES`] at least.
pub fn head(packet: &[u8]) -> &[u8] {
    let packet = datagram(packet);
    packet.get(..HEAD_BYTES).unwrap_or(packet)
}

/// A packet without the padding behind it. An impossible length is ignored.
fn datagram(packet: &[u8]) -> &[u8] {
    let whole = match packet {
        [first, _, high, low, ..] if first >> 4 == 4 => usize::from(u16::from_be_bytes([*high, *low])),
        [first, _, _, _, high, low, ..] if first >> 4 == 6 => 40 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => packet.len(),
    };
    if whole < 20 { packet } else { packet.get(..whole).unwrap_or(packet) }
}

/// An IP packet without what routers change: the class, the TTL or hop limit, and IPv4's checksum. `None`: it is none.
fn masked(packet: &[u8]) -> Option<Vec<u8>> {
    let mut masked = packet.to_vec();
    match masked.as_mut_slice() {
        [first, class, _, _, _, _, _, _, ttl, _, sum @ ..] if *first >> 4 == 4 && sum.len() >= 10 => {
            (*class, *ttl) = (0, 0);
            sum[..2].fill(0);
        }
        // The class lies across the first two bytes, and the flow label begins in the second.
        [first, second, _, _, _, _, _, limit, addresses @ ..] if *first >> 4 == 6 && addresses.len() >= 32 => {
            (*first, *limit) = (0x60, 0);
            *second &= 0x0f;
        }
        _ => return None,
    }
    Some(masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn four(ttl: u8, class: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(20 + payload.len()).expect("short");
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, class, 0, length, 0, 1, 0, 0, ttl, 17, ttl, ttl, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_packet_is_the_same_behind_a_router() {
        let digester = Digester::routed(Key::default());
        let sent = four(64, 0, b"abc");
        let mut came = four(63, 4, b"abc");
        came[..12].fill(9);
        came.extend([0; 20]);
        assert_eq!(digester.of_frame(&sent), digester.of_frame(&came));
        assert_eq!(digester.of_packet(packet_of(&sent)), digester.of_packet(packet_of(&came)));
        assert_ne!(digester.of_frame(&sent), digester.of_frame(&four(64, 0, b"abd")));
        assert_ne!(Digester::default().of_frame(&sent), Digester::default().of_frame(&came));
    }

    #[test]
    fn both_ends_have_one_key() {
        let key = Key::default();
        let text = serde_json::to_string(&key).expect("bytes");
        let other: Key = serde_json::from_str(&text).expect("the same bytes");
        let digest = Digester::routed(key).of(b"x");
        assert_eq!(Digester::routed(other).of(b"x"), digest);
        let text = serde_json::to_string(&digest).expect("a number");
        assert_eq!(serde_json::from_str::<Digest>(&text).expect("the same number"), digest);
        assert!(serde_json::from_str::<Key>("[1,2]").is_err());
    }

    #[test]
    fn the_head_of_a_packet_ends_where_its_ip_length_says() {
        let mut packet = [0; 200];
        packet[0] = 0x45;
        packet[3] = 30;
        assert_eq!(head(&packet).len(), 30);
        packet[2] = 4;
        assert_eq!(head(&packet).len(), HEAD_BYTES);
        (packet[0], packet[2], packet[3]) = (0x60, 0, 0);
        packet[5] = 8;
        assert_eq!(head(&packet).len(), 48);
        assert_eq!(head(&[0x45, 0, 0, 3]).len(), 4);
        assert_eq!(packet_of(&[0; 13]), [0; 0]);
    }
}
