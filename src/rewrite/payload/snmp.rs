//! SNMP versions 1 and 2c (RFC 1157 §4, RFC 3416 §3): the agent's address of traps, and values of type IpAddress, which keep their length.
//! Version 3 is authenticated or encrypted, and stays.

use super::Datagram;
use crate::packet::bytes::{be16, be32, byte};

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// An address of four bytes (RFC 2578 §7.1.5).
const IP_ADDRESS: u8 = 0x40;
/// The trap of version 1.
const TRAP: u8 = 0xa4;

/// One value of ASN.1 in the basic encoding rules: where its content lies.
#[derive(Debug, Clone, Copy)]
struct Value {
    tag: u8,
    begins: usize,
    ends: usize,
}

/// Maps the addresses of a message; `None` where it is none, or of version 3.
pub(super) fn rewrite(datagram: &mut Datagram<'_>) -> Option<()> {
    let whole = datagram.bytes.len();
    let message = of(SEQUENCE, datagram.bytes, 0, whole)?;
    let version = of(INTEGER, datagram.bytes, message.begins, message.ends)?;
    if !matches!(datagram.bytes.get(version.begins..version.ends)?, [0 | 1]) {
        return None;
    }
    let community = of(OCTET_STRING, datagram.bytes, version.ends, message.ends)?;
    let pdu = value(datagram.bytes, community.ends, message.ends)?;
    let bindings = match pdu.tag {
        TRAP => {
            let enterprise = of(OBJECT_IDENTIFIER, datagram.bytes, pdu.begins, pdu.ends)?;
            let agent = of(IP_ADDRESS, datagram.bytes, enterprise.ends, pdu.ends)?;
            address(datagram, agent)?;
            // Generic trap, specific trap, time stamp.
            (0..3).try_fold(agent.ends, |at, _| value(datagram.bytes, at, pdu.ends).map(|value| value.ends))?
        }
        // Request identifier, error status and index, or what GetBulk has in their place.
        0xa0..=0xa8 => {
            (0..3).try_fold(pdu.begins, |at, _| of(INTEGER, datagram.bytes, at, pdu.ends).map(|value| value.ends))?
        }
        _ => return None,
    };
    let list = of(SEQUENCE, datagram.bytes, bindings, pdu.ends)?;
    let mut at = list.begins;
    while at < list.ends {
        let binding = of(SEQUENCE, datagram.bytes, at, list.ends)?;
        let name = of(OBJECT_IDENTIFIER, datagram.bytes, binding.begins, binding.ends)?;
        let bound = value(datagram.bytes, name.ends, binding.ends)?;
        if bound.tag == IP_ADDRESS {
            address(datagram, bound)?;
        }
        at = binding.ends;
    }
    Some(())
}

fn address(datagram: &mut Datagram<'_>, value: Value) -> Option<()> {
    if value.ends - value.begins == 4 { datagram.v4_at(value.begins) } else { None }
}

/// The value at `at`, if it has this tag.
fn of(tag: u8, bytes: &[u8], at: usize, end: usize) -> Option<Value> {
    value(bytes, at, end).filter(|value| value.tag == tag)
}

/// The value at `at`, inside of what ends at `end`: a tag of one byte, and a length of up to four (X.690 §8.1).
fn value(bytes: &[u8], at: usize, end: usize) -> Option<Value> {
    let tag = byte(bytes, at)?;
    let (begins, length) = match byte(bytes, at + 1)? {
        short @ ..=0x7f => (at + 2, usize::from(short)),
        0x81 => (at + 3, usize::from(byte(bytes, at + 2)?)),
        0x82 => (at + 4, be16(bytes, at + 2)?.into()),
        0x83 => (at + 5, (be32(bytes, at + 1)? & 0xff_ffff) as usize),
        0x84 => (at + 6, be32(bytes, at + 2)? as usize),
        _ => return None,
    };
    let ends = begins.checked_add(length)?;
    (ends <= end).then_some(Value { tag, begins, ends })
}
