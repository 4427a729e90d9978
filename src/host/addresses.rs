//! The addresses of a network namespace's interfaces (rtnetlink(7)). No privilege. Start at `all`.

use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use super::netlink::{Attributes, Channel, u32_at};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// `struct ifaddrmsg`: family u8, prefix length u8, flags u8, scope u8, index u32.
const IFADDRMSG: usize = 8;
/// Of a point-to-point link it is the other end's; without `IFA_LOCAL` it is our own.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// An address and the index of the interface that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) net: IpNet,
}

/// Every address, of both families.
pub(crate) fn all(channel: &mut Channel) -> io::Result<Vec<Address>> {
    // Family 0: all.
    channel.dump(RTM_GETADDR, &[0; IFADDRMSG], &|kind, payload| (kind == RTM_NEWADDR).then(|| read(payload))?)
}

fn read(payload: &[u8]) -> Option<Address> {
    let &[_, length, ..] = payload else { return None };
    let (mut own, mut other) = (None, None);
    for (kind, content) in Attributes(payload.get(IFADDRMSG..)?) {
        match kind {
            IFA_LOCAL => own = ip(content),
            IFA_ADDRESS => other = ip(content),
            _ => {}
        }
    }
    Some(Address { index: u32_at(payload, 4)?, net: IpNet::new(own.or(other)?, length).ok()? })
}

/// An address by the number of its bytes.
pub(crate) fn ip(content: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(content) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(content).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic(message in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = super::read(&message);
        }
    }
}
