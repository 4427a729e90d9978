//! The sets of NetFlow v9 and IPFIX (RFC 3954 §5, RFC 7011 §3.3): template definitions are learnt, data gets its template.

use std::ops::Range;

use super::header::{Format, Header};
use super::record::{Context, DataSet};
use super::template::{Definition, Templates};
use super::{Event, Reason, ipfix, v9};
use crate::packet::bytes::be16;

/// Bytes of a set's header: id and length.
const HEADER: usize = 4;
/// The first id of a template (RFC 7011 §3.4.1).
const FIRST_TEMPLATE: u16 = 256;

/// A set, without its header.
struct Set {
    id: u16,
    range: Range<usize>,
}

/// The set at `at`; `None` where its length does not fit before `end`.
fn set(bytes: &[u8], at: usize, end: usize) -> Option<Set> {
    let (id, length) = (be16(bytes, at)?, usize::from(be16(bytes, at + 2)?));
    (length >= HEADER && at + length <= end).then(|| Set { id, range: at + HEADER..at + length })
}

/// Goes through the sets of a message.
pub(super) fn walk(
    datagram: &[u8],
    header: &Header,
    place: u64,
    templates: &mut Templates,
    each: &mut impl FnMut(Event<'_>),
) {
    let session = templates.session(&header.session);
    let (is_template, is_options) = match header.format {
        Format::NetflowV9 => (v9::TEMPLATES, v9::OPTIONS_TEMPLATES),
        _ => (ipfix::TEMPLATES, ipfix::OPTIONS_TEMPLATES),
    };
    let (mut at, end) = (header.body, header.range.end);
    while at < end {
        let Some(set) = set(datagram, at, end) else {
            // Padding that is too short for a set belongs to nothing, and harms nothing.
            let rest = datagram.get(at..end).unwrap_or_default();
            if rest.len() >= HEADER || rest.iter().any(|byte| *byte != 0) {
                each(Event::Undecodable { reason: Reason::BadLength, range: at..end });
            }
            return;
        };
        at = set.range.end;
        if set.id == is_template || set.id == is_options {
            let options = set.id == is_options;
            learn(datagram, header, session, place, set.range, options, templates, each);
        } else if set.id < FIRST_TEMPLATE {
            each(Event::Undecodable { reason: Reason::ReservedSet(set.id), range: set.range });
        } else {
            match templates.get(session, set.id) {
                None => each(Event::Undecodable { reason: Reason::NoTemplate(set.id), range: set.range }),
                Some(template) if template.shortest() == 0 => {
                    each(Event::Undecodable { reason: Reason::EmptyTemplate(set.id), range: set.range });
                }
                Some(template) => {
                    let context = Context::new(datagram, Some((templates, session)));
                    each(Event::Data(DataSet::of(template, set.range, context)));
                }
            }
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "they are those of `walk`, and the set")]
fn learn(
    datagram: &[u8],
    header: &Header,
    session: u32,
    place: u64,
    set: Range<usize>,
    options: bool,
    templates: &mut Templates,
    each: &mut impl FnMut(Event<'_>),
) {
    let mut at = set.start;
    while at + HEADER <= set.end {
        let rest = datagram.get(at..set.end).unwrap_or_default();
        // Padding.
        if rest.iter().all(|byte| *byte == 0) {
            return;
        }
        let definition: Option<Definition> = match header.format {
            Format::NetflowV9 => v9::definition(datagram, at, set.end, options),
            _ => ipfix::definition(datagram, at, set.end, options),
        };
        let Some(definition) = definition else {
            each(Event::Undecodable { reason: Reason::BadTemplate, range: at..set.end });
            return;
        };
        let range = at..definition.end;
        at = definition.end;
        if definition.count == 0 {
            each(Event::Withdrawal { id: definition.id });
        } else if definition.id < FIRST_TEMPLATE {
            each(Event::Undecodable { reason: Reason::BadTemplate, range });
        } else {
            let fields = definition.fields(datagram, header.format);
            match templates.learn(session, &definition, fields, place) {
                Ok(()) => {
                    if let Some(template) = templates.get(session, definition.id) {
                        each(Event::Template { template, range });
                    }
                }
                Err(reason) => each(Event::Undecodable { reason, range }),
            }
        }
    }
}

/// Whether sets fill the bytes from `at` to `end`, and at least one does.
pub(super) fn fit(bytes: &[u8], at: usize, end: usize, format: Format) -> bool {
    let first = if format == Format::NetflowV9 { v9::TEMPLATES } else { ipfix::TEMPLATES };
    let mut next = at;
    while let Some(set) = set(bytes, next, end) {
        if set.id < FIRST_TEMPLATE && set.id != first && set.id != first + 1 {
            return false;
        }
        next = set.range.end;
    }
    next > at && end <= bytes.len() && next + HEADER > end
}
