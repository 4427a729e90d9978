//! DHCP (RFC 2131 §2, RFC 2132): the addresses of the header, and of options that hold some.

use super::Datagram;
use crate::packet::bytes::{array, byte};

/// `ciaddr`, `yiaddr`, `siaddr`, `giaddr`.
const ADDRESSES: [usize; 4] = [12, 16, 20, 24];
/// Behind `chaddr`, `sname` and `file`.
const COOKIE: usize = 236;
/// A digest over the message (RFC 3118).
const AUTHENTICATION: u8 = 90;
/// Relay agent information (RFC 3046), whose suboptions 5 (RFC 3527) and 11 (RFC 5107) are addresses.
const RELAY_AGENT: u8 = 82;

/// Maps the addresses of a message; `None` where it is none, or is authenticated. BOOTP's vendor area without the cookie is not looked into.
pub(super) fn rewrite(datagram: &mut Datagram<'_>) -> Option<()> {
    if !matches!(byte(datagram.bytes, 0)?, 1 | 2) || datagram.bytes.len() < COOKIE {
        return None;
    }
    for at in ADDRESSES {
        datagram.v4_at(at)?;
    }
    if array(datagram.bytes, COOKIE) != Some([99, 130, 83, 99]) {
        return Some(());
    }
    let end = datagram.bytes.len();
    options(datagram, COOKIE + 4, end, |datagram, code, at, end| match code {
        AUTHENTICATION => None,
        RELAY_AGENT => options(datagram, at, end, |datagram, code, at, end| match code {
            5 | 11 => addresses(datagram, at, end),
            _ => Some(()),
        }),
        code if holds_addresses(code) => addresses(datagram, at, end),
        _ => Some(()),
    })
}

/// Options that are lists of IPv4 addresses, or of pairs of them (RFC 2132, RFC 2241, RFC 3011, RFC 5192, RFC 5417, RFC 5859, and NetInfo's of
/// RFC 3679), but not masks.
const fn holds_addresses(code: u8) -> bool {
    matches!(code, 3..=11 | 16 | 28 | 32 | 33 | 41 | 42 | 44 | 45 | 48..=50 | 54 | 65 | 68..=76 | 85 | 112 | 118 | 136 | 138 | 150)
}

/// Calls `each` with every option between `at` and `end`: its code, and where its value begins and ends.
fn options(
    datagram: &mut Datagram<'_>,
    mut at: usize,
    end: usize,
    each: impl Fn(&mut Datagram<'_>, u8, usize, usize) -> Option<()>,
) -> Option<()> {
    while at < end {
        match byte(datagram.bytes, at)? {
            0 => at += 1,
            255 => break,
            code => {
                let value = at + 2;
                at = value + usize::from(byte(datagram.bytes, at + 1).filter(|_| at + 1 < end)?);
                if at > end {
                    return None;
                }
                each(datagram, code, value, at)?;
            }
        }
    }
    Some(())
}

fn addresses(datagram: &mut Datagram<'_>, at: usize, end: usize) -> Option<()> {
    if !(end - at).is_multiple_of(4) {
        return None;
    }
    (at..end).step_by(4).try_for_each(|at| datagram.v4_at(at))
}
