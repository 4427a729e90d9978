//! The classic BPF filter of another program's packet socket, run on frames as that socket is offered them (packet(7), `net/core/filter.c` and
//! `Documentation/networking/filter.rst` of Linux). Start at [`SocketFilter::new`].

use super::bpf::{Instruction, Program, load};

/// The lowest offset that is none into the packet: `SKF_LL_OFF`.
const OUTSIDE: u32 = 0xffe0_0000;
/// `SKF_NET_OFF`: from here on, offsets from the network header.
const NETWORK: u32 = 0xfff0_0000;
/// `SKF_AD_OFF`: from here on, what the kernel knows of the packet.
const ANCILLARY: u32 = 0xffff_f000;
const PROTOCOL: u32 = ANCILLARY;
const PACKET_TYPE: u32 = ANCILLARY + 4;
const VLAN_TAG: u32 = ANCILLARY + 44;
const VLAN_TAG_PRESENT: u32 = ANCILLARY + 48;
const VLAN_PROTOCOL: u32 = ANCILLARY + 60;

/// A frame on an interface, as a packet socket there is offered it: its outer VLAN tag is taken off.
#[derive(Debug, Clone)]
pub struct Offered {
    /// From the Ethernet header on.
    frame: Vec<u8>,
    /// TPID and TCI of the tag.
    tag: Option<(u16, u16)>,
    /// `PACKET_HOST`, `PACKET_OTHERHOST`, … (packet(7)).
    kind: u8,
}

impl Offered {
    /// Of a frame with its tag in it, on the interface with this MAC address; `outgoing`: that interface sends it.
    pub fn new(frame: &[u8], mac: [u8; 6], outgoing: bool) -> Self {
        let mut bytes = frame.to_vec();
        let word =
            |at: usize| frame.get(at..at + 2).and_then(|bytes| bytes.first_chunk().copied()).map(u16::from_be_bytes);
        let tag = word(12).zip(word(14)).filter(|(protocol, _)| matches!(protocol, 0x8100 | 0x88a8));
        if tag.is_some() {
            bytes.drain(12..16);
        }
        let kind = match frame.get(..6) {
            _ if outgoing => 4,
            Some(destination) if destination == mac => 0,
            Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => 1,
            Some([first, ..]) if first & 1 != 0 => 2,
            _ => 3,
        };
        Self { frame: bytes, tag, kind }
    }

    /// The `EtherType` behind the tag; 4 (`ETH_P_802_2`) for an 802.3 length (`eth_type_trans`).
    pub fn protocol(&self) -> u16 {
        let field = load(&self.frame, 12, 0x28).unwrap_or(0);
        u16::try_from(field).ok().filter(|field| *field >= 0x600).unwrap_or(4)
    }
}

/// A filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFilter(Program);

impl SocketFilter {
    /// Of instructions: code, the two jumps, constant. `None` where one asks the kernel for what this machine does not know.
    pub fn new(instructions: &[(u16, u8, u8, u32)]) -> Option<Self> {
        let of = |&(code, jump_true, jump_false, k)| Instruction { code, jump_true, jump_false, k };
        let instructions: Vec<Instruction> = instructions.iter().map(of).collect();
        let known = |instruction: &Instruction| {
            let is_load = instruction.code & 0x07 <= 1;
            let is_outside = matches!(instruction.code & 0xe0, 0x20 | 0x40) && instruction.k >= OUTSIDE;
            let known = [PROTOCOL, PACKET_TYPE, VLAN_TAG, VLAN_TAG_PRESENT, VLAN_PROTOCOL];
            let is_network = (NETWORK..ANCILLARY).contains(&instruction.k) && instruction.code & 0xe0 == 0x20;
            !(is_load && is_outside) || is_network || known.contains(&instruction.k)
        };
        instructions.iter().all(known).then_some(Self(Program(instructions)))
    }

    /// Whether it takes the frame. `cooked`: the socket gets frames from the network header on (`SOCK_DGRAM`).
    pub fn takes(&self, offered: &Offered, cooked: bool) -> bool {
        let network = offered.frame.get(14..).unwrap_or_default();
        let data = if cooked { network } else { offered.frame.as_slice() };
        let outside = |k: u32, code: u16| match k {
            PROTOCOL => Some(offered.protocol().into()),
            PACKET_TYPE => Some(offered.kind.into()),
            VLAN_TAG => Some(offered.tag.map_or(0, |(_, control)| control).into()),
            VLAN_TAG_PRESENT => Some(offered.tag.is_some().into()),
            VLAN_PROTOCOL => Some(offered.tag.map_or(0, |(protocol, _)| protocol).into()),
            NETWORK..ANCILLARY => load(network, k - NETWORK, code),
            _ => None,
        };
        self.0.run_with(data, u32::try_from(data.len()).unwrap_or(u32::MAX), outside) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a frame whose value at `k` is `wanted`.
    fn equal(code: u16, k: u32, wanted: u32) -> Option<SocketFilter> {
        SocketFilter::new(&[(code, 0, 0, k), (0x15, 0, 1, wanted), (0x06, 0, 0, 0xffff), (0x06, 0, 0, 0)])
    }

    #[test]
    fn a_filter_sees_the_frame_without_its_tag_and_what_the_kernel_knows_of_it() {
        let mac = [2, 0, 0, 0, 0, 2];
        let plain = [&mac[..], &[2, 0, 0, 0, 0, 1, 8, 0, 0x45, 7]].concat();
        let tagged = [&mac[..], &[2, 0, 0, 0, 0, 1, 0x81, 0, 0x20, 5, 8, 0, 0x45, 7]].concat();
        let other = [&[2, 9, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 7][..]].concat();
        let offered = |frame: &[u8]| Offered::new(frame, mac, false);
        for (frame, code, k, cooked, expected) in [
            (&plain, 0x28, 12, false, 0x800),
            (&tagged, 0x28, 12, false, 0x800),
            (&plain, 0x30, 1, true, 7),
            (&plain, 0x30, NETWORK + 1, false, 7),
            (&plain, 0x28, PROTOCOL, true, 0x800),
            (&plain, 0x20, PACKET_TYPE, false, 0),
            (&other, 0x20, PACKET_TYPE, false, 3),
            (&plain, 0x20, VLAN_TAG_PRESENT, false, 0),
            (&tagged, 0x20, VLAN_TAG_PRESENT, false, 1),
            (&tagged, 0x20, VLAN_TAG, false, 0x2005),
            (&tagged, 0x20, VLAN_PROTOCOL, false, 0x8100),
        ] {
            let filter = equal(code, k, expected).expect("it is known");
            assert!(filter.takes(&offered(frame), cooked), "{code:#x} {k:#x} of {frame:x?}");
            let filter = equal(code, k, expected + 1).expect("it is known");
            assert!(!filter.takes(&offered(frame), cooked), "{code:#x} {k:#x} of {frame:x?}");
        }
        assert_eq!(Offered::new(&plain, mac, true).kind, 4);
        // The processor, and an offset from the network header that is computed.
        assert_eq!(equal(0x20, ANCILLARY + 36, 0), None);
        assert_eq!(equal(0x50, NETWORK, 0), None);
    }
}
