//! Lists inside fields (RFC 6313): of values of one element, and of records of templates.

use super::element::{Element, Type};
use super::ipfix;
use super::record::{Context, Field, Within, field_place, record_end, template_fields};
use crate::packet::bytes::be16;

/// How deep lists may be nested; deeper ones are not read.
const DEEPEST: usize = 8;
/// Bytes of the semantic that each list begins with (RFC 6313 §4.4).
const SEMANTIC: usize = 1;

/// Passes on the fields of a list, and of lists inside; nothing where the field is none. Returns how many lists can't be read.
pub(super) fn fields<'a>(
    context: Context<'a>,
    list: &Field<'a>,
    depth: usize,
    each: &mut impl FnMut(Field<'a>),
) -> usize {
    let range = list.range();
    // An absent list has no bytes at all.
    if !list.kind.is_list() || range.is_empty() {
        return 0;
    }
    if depth >= DEEPEST {
        return 1;
    }
    let read = match list.kind {
        Type::BasicList => basic(context, list, depth, each),
        Type::SubTemplateList => be16(context.datagram, range.start + SEMANTIC)
            .filter(|_| range.len() >= SEMANTIC + 2)
            .and_then(|id| records(context, id, range.start + SEMANTIC + 2, range.end, depth, each)),
        _ => multi(context, list, depth, each),
    };
    read.unwrap_or(1)
}

/// A basicList (§4.5.1): an element, its length, and values up to the end.
fn basic<'a>(context: Context<'a>, list: &Field<'a>, depth: usize, each: &mut impl FnMut(Field<'a>)) -> Option<usize> {
    let end = list.range().end;
    let specifier = ipfix::field(context.datagram, list.at + SEMANTIC).filter(|field| field.end <= end)?;
    let element: Element = specifier.element;
    let length = (specifier.length != u16::MAX).then_some(specifier.length);
    let mut at = specifier.end;
    let mut unreadable = 0;
    while at < end {
        let (start, length) = field_place(context.datagram, at, length)?;
        let next = start + length;
        // Values of no bytes would never end.
        if next > end || next == at {
            return None;
        }
        let bytes = context.datagram.get(start..next)?;
        let field = Field { element, kind: element.kind(), within: Within::List, at: start, bytes };
        each(field);
        unreadable += fields(context, &field, depth + 1, each);
        at = next;
    }
    Some(unreadable)
}

/// A subTemplateMultiList (§4.5.3): several template ids, each with the length of its records.
fn multi<'a>(context: Context<'a>, list: &Field<'a>, depth: usize, each: &mut impl FnMut(Field<'a>)) -> Option<usize> {
    /// Bytes of id and length, which counts them too.
    const HEAD: usize = 4;
    let end = list.range().end;
    let mut at = list.at + SEMANTIC;
    let mut unreadable = 0;
    while at < end {
        let id = be16(context.datagram, at)?;
        let length = usize::from(be16(context.datagram, at + 2)?);
        if length < HEAD || at + length > end {
            return None;
        }
        unreadable += records(context, id, at + HEAD, at + length, depth, each).unwrap_or(1);
        at += length;
    }
    Some(unreadable)
}

/// Records of one template, from `at` to `end`. `None` where the template is not known, or a record does not fit.
fn records<'a>(
    context: Context<'a>,
    id: u16,
    mut at: usize,
    end: usize,
    depth: usize,
    each: &mut impl FnMut(Field<'a>),
) -> Option<usize> {
    let template = context.template(id)?;
    let mut unreadable = 0;
    while at < end {
        let next = record_end(context.datagram, at, end, template)?;
        template_fields(context, at..next, template, Within::List, &mut |field| {
            each(field);
            unreadable += fields(context, &field, depth + 1, each);
        });
        at = next;
    }
    Some(unreadable)
}
