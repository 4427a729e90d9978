//! Flow exports: NetFlow v1, v5, v7 and v9 (RFC 3954), IPFIX (RFC 7011, 7012, 6313, 5103) and sFlow version 5.
//!
//! Pure functions of bytes. [`walk`] goes through a datagram and passes on its messages, template definitions and sets of records, in their order,
//! with where each is in the datagram; what a template means is kept in [`Templates`], which learns while it goes. A [`Record`] passes on its fields.
//! Nothing is allocated but for a template that is new.
//!
//! One file for each format: `fixed` (NetFlow v1, v5 and v7), `v9`, `ipfix`, `sflow`. `element` and `elements.csv` have the names, `value` the
//! values, `lists` what is nested in a field, `section` the headers of sampled packets, `sequence` what the sequence numbers say. May use `packet`.

#![warn(clippy::indexing_slicing)]

mod element;
mod exports;
mod fixed;
mod found;
mod header;
mod ipfix;
mod lists;
mod record;
mod section;
mod sequence;
mod sets;
mod sflow;
mod survey;
mod template;
#[cfg(test)]
mod tests;
mod v9;
mod value;

pub use element::{Element, Type};
pub use exports::{Flows, goes_to_a_collector, is_export};
pub use found::{FlowExporter, FlowExports, FlowTemplate, Numbers, Undecodable};
#[cfg(any(fuzzing, test))]
pub use header::recognise;
pub use header::{Format, Header, Session};
pub use record::{DataSet, Field, Kind, Within};
pub use survey::FlowRecord;
#[cfg(test)]
pub use survey::Survey;
pub use template::{Template, Templates};
pub use value::Value;

use std::net::SocketAddr;
use std::ops::Range;

/// What [`walk`] passes on, in the order of the datagram.
#[derive(Debug)]
pub enum Event<'a> {
    /// A message begins.
    Message(&'a Header),
    /// A template was defined, and is known from now on.
    Template {
        /// What it is from now on.
        template: &'a Template,
        /// Its definition in the datagram.
        range: Range<usize>,
    },
    /// A template was withdrawn: ignored, as RFC 7011 §8.4 wants over UDP. The id is 2 or 3 where all templates or options templates are meant.
    Withdrawal {
        /// The id.
        id: u16,
    },
    /// Records, with the template that is known for them.
    Data(DataSet<'a>),
    /// Bytes that can't be read.
    Undecodable {
        /// Why.
        reason: Reason,
        /// They, without the header of their set.
        range: Range<usize>,
    },
}

/// Why bytes can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// No template with this id was defined before.
    NoTemplate(u16),
    /// The id of the set is reserved (RFC 7011 §3.3.2).
    ReservedSet(u16),
    /// A template definition that is not whole or has no sense.
    BadTemplate,
    /// A template that is not kept, since as many as may be are kept already.
    TooManyTemplates,
    /// The template has records of no bytes, so that their number is not known.
    EmptyTemplate(u16),
    /// A length that goes beyond what there is, or is too short for its own header.
    BadLength,
    /// Bytes behind the last message, record or sample.
    Trailing,
}

impl Reason {
    /// Whether it is about one id of sets, so that there are many such reasons.
    const fn has_id(self) -> bool {
        matches!(self, Self::NoTemplate(_) | Self::ReservedSet(_) | Self::EmptyTemplate(_))
    }

    /// Whether there may be records in the bytes: padding between messages holds none, nor does the definition of a template.
    pub const fn hides_records(self) -> bool {
        !matches!(self, Self::Trailing | Self::BadTemplate | Self::TooManyTemplates)
    }
}

/// Goes through a datagram that was sent from `source` to `destination`; `place` is kept with the templates that are learnt (a frame number).
///
/// Whatever version the datagram claims is believed: [`recognise`] says whether it is a flow export at all. Never panics. Every range is inside
/// `datagram`, and nothing but the fields of nested lists and sampled headers is inside another field.
pub fn walk(
    datagram: &[u8],
    source: SocketAddr,
    destination: SocketAddr,
    place: u64,
    templates: &mut Templates,
    mut each: impl FnMut(Event<'_>),
) {
    let mut at = 0;
    while let Some(header) = Header::read(datagram, at, source, destination) {
        each(Event::Message(&header));
        match header.format {
            Format::NetflowV1 | Format::NetflowV5 | Format::NetflowV7 => fixed::walk(datagram, &header, &mut each),
            Format::NetflowV9 | Format::Ipfix => sets::walk(datagram, &header, place, templates, &mut each),
            Format::Sflow5 => sflow::walk(datagram, &header, &mut each),
        }
        at = header.range.end;
        // Only IPFIX has a length, so that another message may follow.
        if header.format != Format::Ipfix {
            return;
        }
    }
    if at < datagram.len() {
        each(Event::Undecodable { reason: Reason::Trailing, range: at..datagram.len() });
    }
}
