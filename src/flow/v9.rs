//! NetFlow v9 (RFC 3954): header and template definitions. Its sets are walked in `sets`.

use super::element::Element;
use super::header::{Header, Places};
use super::template::{Definition, RawField};
use crate::packet::bytes::be16;

/// Bytes of the header (RFC 3954 §5.1).
pub(super) const HEADER: usize = 20;
/// The id of a set of templates, and of one of options templates (§5.2, §6.1).
pub(super) const TEMPLATES: u16 = 0;
pub(super) const OPTIONS_TEMPLATES: u16 = 1;

pub(super) fn header(header: &mut Header) {
    let at = header.range.start;
    header.body = at + HEADER;
    header.places = Places {
        count: Some(at + 2),
        uptime: Some(at + 4),
        seconds: Some(at + 8),
        sequence: Some(at + 12),
        domain: Some(at + 16),
        ..Places::default()
    };
}

/// The definition that begins at `at` and ends before `end`; `None` where none fits.
pub(super) fn definition(bytes: &[u8], at: usize, end: usize, options: bool) -> Option<Definition> {
    let id = be16(bytes, at)?;
    let (scopes, fields, body) = if options {
        // Lengths in bytes, not counts (§6.1).
        let (scopes, fields) = (be16(bytes, at + 2)?, be16(bytes, at + 4)?);
        if scopes % 4 != 0 || fields % 4 != 0 {
            return None;
        }
        (scopes / 4, fields / 4, at + 6)
    } else {
        (0, be16(bytes, at + 2)?, at + 4)
    };
    let count = usize::from(scopes) + usize::from(fields);
    let last = body + 4 * count;
    (count > 0 && last <= end).then_some(Definition { id, options, scopes, count, body, end: last })
}

/// The field of a definition at `at`.
pub(super) fn field(bytes: &[u8], at: usize, scope: bool) -> Option<RawField> {
    let enterprise = if scope { Element::V9_SCOPE } else { 0 };
    let element = Element { enterprise, id: be16(bytes, at)? };
    Some(RawField { element, length: be16(bytes, at + 2)?, end: at + 4 })
}
