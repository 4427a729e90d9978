//! Records and their fields, each with where it is in the datagram.

use std::ops::Range;

use super::element::{Element, Type};
use super::template::{Template, Templates};
use super::value::Value;
use super::{lists, section, sflow};
use crate::packet::bytes::{be16, byte};

/// The length byte that says that two more bytes have the length (RFC 7011 §7).
const LONG: u8 = 255;

/// What is needed to read a record: the datagram, and the templates that lists may name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub datagram: &'a [u8],
    templates: Option<(&'a Templates, u32)>,
}

impl<'a> Context<'a> {
    pub(super) fn new(datagram: &'a [u8], templates: Option<(&'a Templates, u32)>) -> Self {
        Self { datagram, templates }
    }

    pub(super) fn template(&self, id: u16) -> Option<&'a Template> {
        let (templates, session) = self.templates?;
        templates.get(session, id)
    }
}

/// Records one after the other, of one template, or a sample of sFlow.
#[derive(Debug, Clone)]
pub struct DataSet<'a> {
    /// The records in the datagram, with the padding behind them and without the header of their set.
    pub range: Range<usize>,
    shape: Shape<'a>,
    context: Context<'a>,
}

/// What says which fields there are.
#[derive(Debug, Clone, Copy)]
enum Shape<'a> {
    Template(&'a Template),
    Sample(sflow::Sample),
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A flow, or a sampled packet.
    Flow,
    /// Options: about the exporter.
    Options,
    /// Counters of an interface (sFlow).
    Counters,
}

/// The records of a set.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    set: DataSet<'a>,
    at: usize,
}

/// A record.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// It in the datagram.
    pub range: Range<usize>,
    shape: Shape<'a>,
    context: Context<'a>,
}

/// What a field is inside of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// The record.
    Record,
    /// A list in a field of the record (RFC 6313).
    List,
    /// The headers of a packet that a field of the record has. Such fields are in no template, and checksums may cover them.
    Section,
}

/// A field of a record.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// What it is.
    pub element: Element,
    /// What its bytes mean.
    pub kind: Type,
    /// What it is inside of.
    pub within: Within,
    /// Its first byte in the datagram.
    pub at: usize,
    /// Its bytes, without what says their number.
    pub bytes: &'a [u8],
}

impl<'a> Field<'a> {
    /// Where it is in the datagram.
    pub fn range(&self) -> Range<usize> {
        self.at..self.at + self.bytes.len()
    }

    /// What it says.
    pub fn value(&self) -> Value<'a> {
        Value::read(self.kind, self.bytes)
    }
}

impl<'a> DataSet<'a> {
    pub(super) fn of(template: &'a Template, range: Range<usize>, context: Context<'a>) -> Self {
        Self { range, shape: Shape::Template(template), context }
    }

    pub(super) fn sample(sample: sflow::Sample, range: Range<usize>, context: Context<'a>) -> Self {
        Self { range, shape: Shape::Sample(sample), context }
    }

    /// Its template; `None` for a sample of sFlow.
    pub fn template(&self) -> Option<&'a Template> {
        match self.shape {
            Shape::Template(template) => Some(template),
            Shape::Sample(_) => None,
        }
    }

    /// The source and the sequence number of a sample of sFlow.
    pub fn sample_sequence(&self) -> Option<(u64, u32)> {
        match self.shape {
            Shape::Template(_) => None,
            Shape::Sample(sample) => Some((sample.source, sample.sequence)),
        }
    }

    /// What its records are about.
    pub fn kind(&self) -> Kind {
        self.shape.kind()
    }

    /// Its records, one after the other; [`Records::rest`] says what is behind the last.
    pub fn records(&self) -> Records<'a> {
        Records { set: self.clone(), at: self.range.start }
    }
}

impl Shape<'_> {
    fn kind(&self) -> Kind {
        match self {
            Shape::Template(template) if template.is_options => Kind::Options,
            Shape::Template(_) => Kind::Flow,
            Shape::Sample(sample) if sample.is_flow => Kind::Flow,
            Shape::Sample(_) => Kind::Counters,
        }
    }
}

impl Records<'_> {
    /// The bytes behind the last record that can't be read, after the iteration: a record that goes beyond the set. `None` for padding.
    pub fn rest(&self) -> Option<Range<usize>> {
        let Shape::Template(template) = self.set.shape else { return None };
        let end = self.set.range.end;
        (end - self.at >= template.shortest().max(1)).then_some(self.at..end)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let DataSet { range, shape, context } = &self.set;
        let end = match shape {
            Shape::Template(template) => record_end(context.datagram, self.at, range.end, template)?,
            Shape::Sample(_) => (self.at < range.end).then_some(range.end)?,
        };
        let record = Record { range: self.at..end, shape: *shape, context: *context };
        self.at = end;
        Some(record)
    }
}

/// Where the record at `at` ends; `None` where none fits before `end`.
pub(super) fn record_end(bytes: &[u8], at: usize, end: usize, template: &Template) -> Option<usize> {
    if template.shortest() == 0 {
        return None;
    }
    let last = match template.fixed_length() {
        Some(length) => at + length,
        None => template.fields.iter().try_fold(at, |at, field| {
            let (start, length) = field_place(bytes, at, field.length)?;
            Some(start + length)
        })?,
    };
    (last <= end).then_some(last)
}

/// First byte and length of the field at `at`; the datagram may end before.
pub(super) fn field_place(bytes: &[u8], at: usize, length: Option<u16>) -> Option<(usize, usize)> {
    Some(match length {
        Some(length) => (at, length.into()),
        None => match byte(bytes, at)? {
            LONG => (at + 3, be16(bytes, at + 1)?.into()),
            length => (at + 1, length.into()),
        },
    })
}

impl<'a> Record<'a> {
    /// Its template; `None` for a sample of sFlow.
    pub fn template(&self) -> Option<&'a Template> {
        match self.shape {
            Shape::Template(template) => Some(template),
            Shape::Sample(_) => None,
        }
    }

    /// What it is about.
    pub fn kind(&self) -> Kind {
        self.shape.kind()
    }

    /// Passes on its fields in order. Behind a list come the fields of the list, and behind the headers of a packet theirs. Returns how many
    /// lists can't be read.
    pub fn each_field(&self, mut each: impl FnMut(Field<'a>)) -> usize {
        let mut unreadable = 0;
        match self.shape {
            Shape::Template(template) => {
                template_fields(self.context, self.range.clone(), template, Within::Record, &mut |field| {
                    each(field);
                    section::fields(&field, &mut each);
                    unreadable += lists::fields(self.context, &field, 0, &mut each);
                });
            }
            Shape::Sample(sample) => sflow::fields(self.context.datagram, self.range.clone(), sample, &mut |field| {
                each(field);
                section::fields(&field, &mut each);
            }),
        }
        unreadable
    }
}

/// The fields of one record of a template, without what is inside of them.
pub(super) fn template_fields<'a>(
    context: Context<'a>,
    range: Range<usize>,
    template: &Template,
    within: Within,
    each: &mut impl FnMut(Field<'a>),
) {
    let mut at = range.start;
    for spec in &template.fields {
        let Some((start, length)) = field_place(context.datagram, at, spec.length) else { return };
        at = start + length;
        let Some(bytes) = context.datagram.get(start..at).filter(|_| at <= range.end) else { return };
        each(Field { element: spec.element, kind: spec.kind, within, at: start, bytes });
    }
}
