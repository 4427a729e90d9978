//! NetFlow v1, v5 and v7: records without templates. Their fields have the element ids of IPFIX.

use std::sync::LazyLock;

use super::element::Element;
use super::header::{Format, Header, Places};
use super::record::{Context, DataSet};
use super::template::Template;
use super::{Event, Reason};
use crate::packet::bytes::be16;

/// `paddingOctets`.
const PADDING: u16 = 210;

/// The fields that all three begin with: id and bytes.
const BEGINNING: [(u16, u16); 11] =
    [(8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2)];

static V1: LazyLock<Template> = LazyLock::new(|| template(&[(PADDING, 2), (4, 1), (5, 1), (6, 1), (PADDING, 11)]));
static V5: LazyLock<Template> =
    LazyLock::new(|| template(&[(PADDING, 1)].into_iter().chain(AFTER).chain([(PADDING, 2)]).collect::<Vec<_>>()));
/// The last field is the router that a switch bypassed.
static V7: LazyLock<Template> = LazyLock::new(|| {
    let fields = [(PADDING, 1)].into_iter().chain(AFTER).chain([(PADDING, 2)]).collect::<Vec<_>>();
    template(&fields).with(Element { enterprise: Element::OWN, id: 36 }, 4)
});

/// What follows in v5 and v7.
const AFTER: [(u16, u16); 7] = [(6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1)];

fn template(rest: &[(u16, u16)]) -> Template {
    let fields = BEGINNING.iter().chain(rest);
    fields.fold(Template::empty(), |template, (id, length)| template.with(Element::iana(*id), *length))
}

fn template_of(format: Format) -> &'static Template {
    match format {
        Format::NetflowV1 => &V1,
        Format::NetflowV7 => &V7,
        _ => &V5,
    }
}

fn header_length(format: Format) -> usize {
    if format == Format::NetflowV1 { 16 } else { 24 }
}

pub(super) fn header(header: &mut Header) {
    let (at, format) = (header.range.start, header.format);
    header.body = at + header_length(format);
    header.places = Places {
        count: Some(at + 2),
        uptime: Some(at + 4),
        seconds: Some(at + 8),
        nanoseconds: Some(at + 12),
        sequence: (format != Format::NetflowV1).then_some(at + 16),
        domain: (format == Format::NetflowV5).then_some(at + 20),
        ..Places::default()
    };
}

/// The records that the header announces and that are there.
pub(super) fn walk(datagram: &[u8], header: &Header, each: &mut impl FnMut(Event<'_>)) {
    let template = template_of(header.format);
    let length = template.fixed_length().unwrap_or(1);
    let there = (header.range.end - header.body) / length;
    let announced = header.count.unwrap_or(0) as usize;
    let end = header.body + there.min(announced) * length;
    if end > header.body {
        each(Event::Data(DataSet::of(template, header.body..end, Context::new(datagram, None))));
    }
    if end < header.range.end {
        let reason = if there < announced { Reason::BadLength } else { Reason::Trailing };
        each(Event::Undecodable { reason, range: end..header.range.end });
    }
}

pub(super) fn fits(datagram: &[u8], format: Format) -> bool {
    let most = if format == Format::NetflowV1 { 24 } else { 30 };
    let count = be16(datagram, 2).map_or(0, usize::from);
    let length = template_of(format).fixed_length().unwrap_or(0);
    (1..=most).contains(&count) && datagram.len() == header_length(format) + count * length
}
