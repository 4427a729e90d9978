//! DNS (RFC 1035 §4.1, RFC 3596): the addresses of A and AAAA records, which keep their length. Names stay, also those below `in-addr.arpa`.

use super::Datagram;
use crate::packet::bytes::be16;

/// Of a message's header, in bytes.
const HEADER: usize = 12;
/// The class of the Internet, and a bit of mDNS before it: caches forget what they had of the name (RFC 6762 §10.2).
const IN: u16 = 1;
const CACHE_FLUSH: u16 = 0x8000;
const A: u16 = 1;
const AAAA: u16 = 28;
/// Records that sign the whole message (RFC 2931, RFC 8945).
const SIG: u16 = 24;
const TSIG: u16 = 250;

/// Maps the addresses of a message; `None` where it is none, or is signed.
pub(super) fn rewrite(datagram: &mut Datagram<'_>) -> Option<()> {
    let count = |at, bytes: &[u8]| be16(bytes, at);
    let questions = count(4, datagram.bytes)?;
    let records = [6, 8, 10].into_iter().map(|at| count(at, datagram.bytes).map(u32::from)).sum::<Option<u32>>()?;
    let mut at = HEADER;
    for _ in 0..questions {
        at = behind_name(datagram.bytes, at)? + 4;
    }
    for _ in 0..records {
        let fields = behind_name(datagram.bytes, at)?;
        let [kind, class] = [be16(datagram.bytes, fields)?, be16(datagram.bytes, fields + 2)?];
        let length = usize::from(be16(datagram.bytes, fields + 8)?);
        let content = fields + 10;
        at = content + length;
        match (kind, class & !CACHE_FLUSH, length) {
            (SIG | TSIG, ..) => return None,
            (A, IN, 4) => datagram.v4_at(content)?,
            (AAAA, IN, 16) => datagram.v6_at(content)?,
            _ => {}
        }
    }
    (at <= datagram.bytes.len()).then_some(())
}

/// Where what follows a name begins: labels end with an empty one, or with a pointer (RFC 1035 §4.1.4).
fn behind_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            192.. => return Some(at + 2),
            64..=191 => return None,
        }
    }
}
