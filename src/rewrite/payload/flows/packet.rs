//! The headers of a sampled packet in a field: its addresses, and the checksums that cover them, as far as they were sampled.

use std::ops::Range;

use super::Datagram;
use crate::packet::bytes::{array, be16, be32, put};
use crate::packet::checksum::{Change, Field};
use crate::packet::layers::{Layers, LinkType, Network};

/// Maps the addresses of the packet that begins with `link` and lies at `range` of the datagram, whose bytes were `captured`.
pub(super) fn map(link: LinkType, range: Range<usize>, captured: &[u8], datagram: &mut Datagram<'_>) {
    let Some(section) = captured.get(range.clone()) else { return };
    let network = Layers::find(link, section).network;
    let (change, header_checksum) = match &network {
        Network::Ipv4(ip) => {
            let [source, destination] = [12, 16].map(|at| v4(range.start + ip.offset + at, datagram));
            (source.and(destination), Some(ip.offset + 10))
        }
        Network::Ipv6(ip) => {
            let [source, destination] = [8, 24].map(|at| v6(range.start + ip.offset + at, datagram));
            (source.and(destination), None)
        }
        Network::None | Network::Arp { .. } => return,
    };
    if let Some((at, old)) = header_checksum.and_then(|at| Some((at, be16(section, at)?))) {
        put(datagram.bytes, range.start + at, change.update(old).to_be_bytes());
    }
    let field = Field::find(&network, section).filter(|field| field.pseudo_header && !change.is_none());
    if let Some((field, old)) = field.and_then(|field| Some((field, be16(section, field.at)?)))
        && !(field.zero_means_none && old == 0)
    {
        put(datagram.bytes, range.start + field.at, field.written(change.update(old)).to_be_bytes());
    }
}

fn v4(at: usize, datagram: &mut Datagram<'_>) -> Change {
    let Some(old) = be32(datagram.bytes, at) else { return Change::NONE };
    let new = datagram.v4_at(at).and_then(|()| be32(datagram.bytes, at));
    new.map_or(Change::NONE, |new| Change::double(old, new))
}

fn v6(at: usize, datagram: &mut Datagram<'_>) -> Change {
    let Some(old) = array(datagram.bytes, at) else { return Change::NONE };
    let new = datagram.v6_at(at).and_then(|()| array(datagram.bytes, at));
    new.map_or(Change::NONE, |new| Change::address(u128::from_be_bytes(old), u128::from_be_bytes(new)))
}
