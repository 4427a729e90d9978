//! IPFIX (RFC 7011): header and template definitions. Its sets are walked in `sets`.

use super::element::Element;
use super::header::{Format, Header, Places};
use super::sets;
use super::template::{Definition, RawField};
use crate::packet::bytes::{be16, be32};

/// Bytes of the header (RFC 7011 §3.1).
pub(super) const HEADER: usize = 16;
/// The id of a set of templates, and of one of options templates (§3.3.2).
pub(super) const TEMPLATES: u16 = 2;
pub(super) const OPTIONS_TEMPLATES: u16 = 3;
/// The bit of an element's id that an enterprise number follows (§3.2).
const ENTERPRISE: u16 = 0x8000;

/// `None` where the length is shorter than the header.
pub(super) fn header(header: &mut Header, bytes: &[u8]) -> Option<()> {
    let at = header.range.start;
    let length = usize::from(be16(bytes, at + 2)?);
    if length < HEADER {
        return None;
    }
    header.body = at + HEADER;
    header.range.end = header.range.end.min(at + length);
    header.places = Places {
        length: Some(at + 2),
        seconds: Some(at + 4),
        sequence: Some(at + 8),
        domain: Some(at + 12),
        ..Places::default()
    };
    Some(())
}

/// The definition that begins at `at` and ends before `end`; one without fields is a withdrawal (§8.1). `None` where none fits.
pub(super) fn definition(bytes: &[u8], at: usize, end: usize, options: bool) -> Option<Definition> {
    let (id, count) = (be16(bytes, at)?, be16(bytes, at + 2)?);
    if count == 0 {
        return (at + 4 <= end).then_some(Definition { id, options, scopes: 0, count: 0, body: at + 4, end: at + 4 });
    }
    let (scopes, body) = if options { (be16(bytes, at + 4)?, at + 6) } else { (0, at + 4) };
    // An options template has a scope (§3.4.2.2); some exporters leave it out.
    if scopes > count {
        return None;
    }
    let mut last = body;
    for _ in 0..count {
        last = field(bytes, last)?.end;
        if last > end {
            return None;
        }
    }
    Some(Definition { id, options, scopes, count: count.into(), body, end: last })
}

/// The field specifier at `at`.
pub(super) fn field(bytes: &[u8], at: usize) -> Option<RawField> {
    let (id, length) = (be16(bytes, at)?, be16(bytes, at + 2)?);
    if id & ENTERPRISE == 0 {
        return Some(RawField { element: Element::iana(id), length, end: at + 4 });
    }
    let element = Element { enterprise: be32(bytes, at + 4)?, id: id & !ENTERPRISE };
    Some(RawField { element, length, end: at + 8 })
}

/// Whether the datagram is one message, or several, to its last byte.
pub(super) fn fits(datagram: &[u8]) -> bool {
    let mut at = 0;
    while at < datagram.len() {
        let Some(length) = be16(datagram, at + 2).map(usize::from) else { return false };
        let end = at + length;
        if Format::claimed(datagram, at) != Some(Format::Ipfix)
            || length < HEADER
            || !sets::fit(datagram, at + HEADER, end, Format::Ipfix)
        {
            return false;
        }
        at = end;
    }
    true
}
