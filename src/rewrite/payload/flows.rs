//! Flow exports: times, addresses and sequence numbers, in place, over what [`walk`] finds.
//!
//! For each template it is found out once which fields change, so that most records cost no more than these. Start at [`Flows::rewrite`].

mod packet;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use jiff::Timestamp;

use super::Datagram;
use super::time;
use crate::flow::{
    DataSet, Event, Field, Format, Header, Kind, Session, Template, Templates, Type, Within, goes_to_a_collector,
    is_export, walk,
};
use crate::packet::bytes::{array, be32, put};
use crate::scenario::rewrite::Flows as Words;

/// How many exporters and sources of samples are numbered, and how many exporters are sent their templates. Exports are untrusted.
const MOST_NUMBERED: usize = if cfg!(test) { 1 << 12 } else { 1 << 20 };
const MOST_EXPORTERS: usize = 65_536;
/// How many fields the plans of all templates have, before those of templates that were defined anew are forgotten.
const MOST_PLANNED: usize = 1 << 21;

/// What changes, each with its entry.
#[derive(Debug, Clone)]
pub(super) struct Flows {
    time: Option<(Timestamp, usize)>,
    addresses: Option<usize>,
    sequence: Option<usize>,
    /// Templates are sent first, and again after so many nanoseconds.
    templates: Option<(usize, Option<u64>)>,
    /// How many exporters there are for each captured one, with the entry.
    copies: Option<(u32, usize)>,
}

/// What is remembered from one datagram to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    templates: Templates,
    plans: Plans,
    /// Seconds from a captured time to the new one.
    shift: Option<i64>,
    /// The first and the last export time, as captured.
    exported: Option<(i64, i64)>,
    numbers: HashMap<Numbered, Numbers>,
    /// When templates of a session were sent last, in nanoseconds since 1970.
    templates_sent: HashMap<Session, u64>,
    /// Which copy the next datagram is of, from 0.
    copy: u32,
    /// Whether it is made, and none that was captured.
    is_made: bool,
}

/// What changes in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    V4,
    V6,
    Seconds,
    Milliseconds,
    /// Seconds of NTP, and a fraction.
    Ntp,
}

/// What changes in the records of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Plan {
    /// These fields, at their places in the record.
    At(Vec<(usize, Edit)>),
    /// Fields that have no fixed place, or are inside of others.
    EachField,
}

/// What changes in the records of each template.
#[derive(Debug, Clone, Default)]
struct Plans {
    /// By the serial of a template.
    by_serial: HashMap<u64, Plan, foldhash::fast::RandomState>,
    /// How many fields these have, and a few more.
    size: usize,
    /// Of NetFlow v1, v5 and v7, whose templates have none.
    fixed: HashMap<Format, Plan>,
}

/// What is numbered: the messages of an exporter, or the samples of one kind of one of its sources; and of which copy.
type Numbered = (Session, Option<(Kind, u64)>, u32);

/// The sequence numbers of one exporter, or of one source of samples.
#[derive(Debug, Clone, Copy, Default)]
struct Numbers {
    /// What the next message has; `None` where the records of the last one could not be counted.
    next: Option<u32>,
    /// From a captured number to the new one.
    shift: u32,
}

impl Numbers {
    /// The new number of a message that had this one, where made messages are put between and nothing else changes.
    fn push(&mut self, captured: u32, is_made: bool) -> u32 {
        let new = captured.wrapping_add(self.shift);
        self.shift = self.shift.wrapping_add(u32::from(is_made));
        new
    }

    /// The new number of a message that had this one, and that counts `counted` up to the next.
    fn number(&mut self, captured: u32, counted: Option<u32>) -> u32 {
        let new = self.next.unwrap_or_else(|| captured.wrapping_add(self.shift));
        self.shift = new.wrapping_sub(captured);
        self.next = counted.map(|counted| new.wrapping_add(counted));
        new
    }
}

/// How a datagram was decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decoded {
    /// To its last byte.
    Whole,
    /// Not all: what was not, stays.
    InPart,
}

/// What a datagram is.
#[derive(Debug, Clone, Copy)]
struct Place {
    copy: u32,
    is_made: bool,
}

/// A message while it is walked, and how many records it has so far; `None` where that can't be known.
type Message = Option<(Header, Option<u32>)>;

impl Flows {
    /// The words of a scenario, whose entries `entry` makes; "now" is this moment.
    pub(super) fn new(words: &Words, mut entry: impl FnMut(&'static str, &Range<usize>) -> usize) -> Self {
        let time = words.time.as_ref().and_then(|written| {
            let span = written.span.clone().unwrap_or_default();
            Some((time::target(written.value)?, entry("time", &span)))
        });
        let addresses = words.addresses.as_ref().map(|span| entry("addresses", span));
        let sequence = words.sequence.as_ref().map(|span| entry("sequence", span));
        let templates = words.templates.as_ref().map(|templates| {
            let every = templates.repeat_every.map(|every| u64::try_from(every.as_nanos()).unwrap_or(u64::MAX));
            (entry("templates", &templates.span), every)
        });
        let copies = words
            .copies
            .as_ref()
            .map(|copies| (copies.value.get(), entry("copies", copies.span.as_ref().unwrap_or(&(0..0)))));
        Self { time, addresses, sequence, templates, copies }
    }

    /// How many exporters there are for each captured one.
    pub(super) fn copies(&self) -> u32 {
        self.copies.map_or(1, |(copies, _)| copies)
    }

    /// The entry that has exporters copied.
    pub(super) fn copies_entry(&self) -> Option<usize> {
        self.copies.map(|(_, entry)| entry)
    }

    /// The entry that has templates sent first.
    pub(super) fn templates_entry(&self) -> Option<usize> {
        self.templates.map(|(entry, _)| entry)
    }

    /// Whether templates are sent before the message with this header, which was captured at this time; remembers that they are. `None` where there
    /// are too many exporters.
    pub(super) fn sends_templates(&self, state: &mut State, header: &Header, time_ns: u64) -> Option<bool> {
        let Some((_, every)) = self.templates else { return Some(false) };
        let sent = state.templates_sent.get(&header.session);
        let is_due = match sent {
            None if state.templates_sent.len() >= MOST_EXPORTERS => return None,
            None => true,
            Some(sent) => every.is_some_and(|every| time_ns >= sent.saturating_add(every)),
        };
        if is_due {
            state.templates_sent.insert(header.session, time_ns);
        }
        Some(is_due)
    }

    /// Whether a datagram is a flow export; `None` as payload where it is cut or in fragments.
    pub(super) fn take(payload: Option<&[u8]>, destination: u16) -> bool {
        payload.map_or_else(|| goes_to_a_collector(destination), |payload| is_export(payload, destination))
    }

    /// Rewrites a datagram; `captured` are its bytes before. `None` where it has no message.
    pub(super) fn rewrite(&self, state: &mut State, captured: &[u8], datagram: &mut Datagram<'_>) -> Option<Decoded> {
        let [source, destination] = datagram.endpoints.map(|(address, port)| SocketAddr::new(address, port));
        let State { templates, plans, shift, exported, numbers, copy, is_made, .. } = state;
        let at = Place { copy: *copy, is_made: *is_made };
        let mut decoded = Decoded::Whole;
        let mut message: Message = None;
        walk(captured, source, destination, 0, templates, |event| match event {
            Event::Message(header) => {
                self.renumber(numbers, message.take(), at, datagram);
                self.header(header, at.copy, shift, exported, datagram);
                message = Some((header.clone(), Some(0)));
            }
            Event::Data(set) => {
                let Some((header, records)) = &mut message else { return };
                let plan = self.plan(plans, &set, header.format);
                let (count, of_set) = self.records(&set, plan, captured, *shift, datagram);
                *records = records.zip(count).map(|(records, count)| records.wrapping_add(count));
                if of_set == Decoded::InPart {
                    decoded = Decoded::InPart;
                }
                if self.sequence.is_some()
                    && let Some((source, number)) = set.sample_sequence()
                {
                    match numbered(numbers, (header.session, Some((set.kind(), source)), at.copy)) {
                        Some(numbers) => {
                            put(datagram.bytes, set.range.start, numbers.number(number, Some(1)).to_be_bytes());
                        }
                        None => datagram.keeps_a_number = true,
                    }
                }
            }
            Event::Undecodable { reason, .. } => {
                decoded = Decoded::InPart;
                if let Some((_, records)) = &mut message
                    && reason.hides_records()
                {
                    *records = None;
                }
            }
            Event::Template { .. } | Event::Withdrawal { .. } => {}
        });
        message.as_ref()?;
        self.renumber(numbers, message, at, datagram);
        Some(decoded)
    }

    /// Numbers a message, when all of its records are counted.
    fn renumber(
        &self,
        numbers: &mut HashMap<Numbered, Numbers>,
        message: Message,
        place: Place,
        datagram: &mut Datagram<'_>,
    ) {
        let Some((header, records)) = message else { return };
        // Messages of templates are numbered by NetFlow v9 alone.
        let is_pushed = self.templates.is_some() && header.format == Format::NetflowV9;
        if self.sequence.is_none() && !is_pushed {
            return;
        }
        let (Some(at), Some(captured)) = (header.places.sequence, header.sequence) else { return };
        let counted = header.format.counted(records);
        let Some(numbers) = numbered(numbers, (header.session, None, place.copy)) else {
            datagram.keeps_a_number = true;
            return;
        };
        let new = match self.sequence {
            Some(_) => numbers.number(captured, counted),
            None => numbers.push(captured, place.is_made),
        };
        put(datagram.bytes, at, new.to_be_bytes());
        datagram.hits.extend(self.sequence);
    }

    /// The header of a message: its export time, and the agent of sFlow.
    fn header(
        &self,
        header: &Header,
        copy: u32,
        shift: &mut Option<i64>,
        exported: &mut Option<(i64, i64)>,
        datagram: &mut Datagram<'_>,
    ) {
        if let (Some((_, entry)), Some(at)) = (self.copies, header.places.domain) {
            let domain = header.session.domain.wrapping_add(copy);
            match header.format {
                Format::NetflowV5 => {
                    put(datagram.bytes, at, domain.to_be_bytes()[2..].first_chunk().copied().unwrap_or([0; 2]))
                }
                _ => put(datagram.bytes, at, domain.to_be_bytes()),
            }
            datagram.hits.push(entry);
        }
        if let Some((target, entry)) = self.time
            && let (Some((seconds, _)), Some(at)) = (header.exported, header.places.seconds)
        {
            let captured = i64::from(seconds);
            let (first, last) = exported.get_or_insert((captured, captured));
            (*first, *last) = ((*first).min(captured), (*last).max(captured));
            let shift = *shift.get_or_insert(target.as_second() - captured);
            if let Ok(new) = u32::try_from(captured + shift) {
                put(datagram.bytes, at, new.to_be_bytes());
                datagram.hits.push(entry);
            }
        }
        if let (Some(entry), Some(agent), Some(at)) = (self.addresses, header.session.agent, header.places.agent) {
            let before = datagram.hits.len();
            let mapped = match agent {
                IpAddr::V4(_) => datagram.v4_at(at),
                IpAddr::V6(_) => datagram.v6_at(at),
            };
            debug_assert!(mapped.is_some(), "the header has its agent");
            if datagram.hits.len() > before {
                datagram.hits.push(entry);
            }
        }
    }

    /// What changes in the records of a set, found out once for each template.
    fn plan<'p>(&self, plans: &'p mut Plans, set: &DataSet<'_>, format: Format) -> &'p Plan {
        let Some(template) = set.template() else { return &Plan::EachField };
        if template.serial == 0 {
            return plans.fixed.entry(format).or_insert_with(|| self.plan_of(template));
        }
        let Plans { by_serial, size, .. } = plans;
        if *size > MOST_PLANNED {
            by_serial.clear();
            *size = 0;
        }
        by_serial.entry(template.serial).or_insert_with(|| {
            let plan = self.plan_of(template);
            *size += 1 + if let Plan::At(places) = &plan { places.len() } else { 0 };
            plan
        })
    }

    /// Which fields of a template's records change.
    fn plan_of(&self, template: &Template) -> Plan {
        let mut places = Vec::new();
        for spec in &template.fields {
            if spec.kind.is_list() || spec.element.packet_link().is_some() {
                return Plan::EachField;
            }
            let Some(edit) = self.edit(spec.kind, spec.length.map(usize::from)) else { continue };
            match (spec.offset, spec.length) {
                (Some(offset), Some(_)) => places.push((offset, edit)),
                _ => return Plan::EachField,
            }
        }
        Plan::At(places)
    }

    /// What changes in a field of this type and length; a length of `None` is not known before.
    fn edit(&self, kind: Type, length: Option<usize>) -> Option<Edit> {
        let (edit, wanted, is_asked) = match kind {
            Type::Ipv4 => (Edit::V4, 4, self.addresses.is_some()),
            Type::Ipv6 => (Edit::V6, 16, self.addresses.is_some()),
            Type::Seconds => (Edit::Seconds, 4, self.time.is_some()),
            Type::Milliseconds => (Edit::Milliseconds, 8, self.time.is_some()),
            Type::Microseconds | Type::Nanoseconds => (Edit::Ntp, 8, self.time.is_some()),
            _ => return None,
        };
        (is_asked && length.is_none_or(|length| length == wanted)).then_some(edit)
    }

    /// Rewrites the records of a set, and counts them; `None` where what is behind the last can't be read. A list that can't be read hides no
    /// record.
    fn records(
        &self,
        set: &DataSet<'_>,
        plan: &Plan,
        captured: &[u8],
        shift: Option<i64>,
        datagram: &mut Datagram<'_>,
    ) -> (Option<u32>, Decoded) {
        let mut records = set.records();
        let (mut count, mut unreadable) = (0, 0);
        let before = datagram.hits.len();
        for record in records.by_ref() {
            count += 1;
            match plan {
                Plan::At(places) => {
                    for (offset, edit) in places {
                        edit.apply(record.range.start + offset, shift, datagram);
                    }
                }
                Plan::EachField => {
                    unreadable += record.each_field(|field| self.each_field(&field, captured, shift, datagram));
                }
            }
        }
        if let Some(entry) = self.addresses.filter(|_| datagram.hits.len() > before) {
            datagram.hits.push(entry);
        }
        let count = records.rest().is_none().then_some(count);
        (count, if unreadable == 0 && count.is_some() { Decoded::Whole } else { Decoded::InPart })
    }

    fn each_field(&self, field: &Field<'_>, captured: &[u8], shift: Option<i64>, datagram: &mut Datagram<'_>) {
        if let Some(link) = field.element.packet_link() {
            if self.addresses.is_some() {
                packet::map(link, field.range(), captured, datagram);
            }
        } else if field.within != Within::Section
            && let Some(edit) = self.edit(field.kind, Some(field.bytes.len()))
        {
            edit.apply(field.at, shift, datagram);
        }
    }
}

/// The numbers of what this is; `None` where there are too many already, so that captured numbers stay.
fn numbered(numbers: &mut HashMap<Numbered, Numbers>, of: Numbered) -> Option<&mut Numbers> {
    let is_full = numbers.len() >= MOST_NUMBERED;
    match numbers.entry(of) {
        Entry::Occupied(known) => Some(known.into_mut()),
        Entry::Vacant(_) if is_full => None,
        Entry::Vacant(new) => Some(new.insert(Numbers::default())),
    }
}

impl Edit {
    /// Changes the field at `at`. A time of zero means that there is none, and stays; so does one that the field couldn't hold.
    #[inline]
    fn apply(self, at: usize, shift: Option<i64>, datagram: &mut Datagram<'_>) {
        let shift = shift.unwrap_or(0);
        match self {
            Self::V4 => _ = datagram.v4_at(at),
            Self::V6 => _ = datagram.v6_at(at),
            Self::Seconds => {
                let old = be32(datagram.bytes, at).filter(|old| *old != 0);
                if let Some(new) = old.and_then(|old| u32::try_from(i64::from(old) + shift).ok()) {
                    put(datagram.bytes, at, new.to_be_bytes());
                }
            }
            Self::Milliseconds => {
                let old = array(datagram.bytes, at).map(u64::from_be_bytes).filter(|old| *old != 0);
                if let Some(new) = old.and_then(|old| old.checked_add_signed(shift.checked_mul(1000)?)) {
                    put(datagram.bytes, at, new.to_be_bytes());
                }
            }
            // Its seconds begin anew every 136 years (RFC 5905 §6).
            Self::Ntp => {
                if let Some(old) = array(datagram.bytes, at).map(u64::from_be_bytes).filter(|old| *old != 0) {
                    put(datagram.bytes, at, old.wrapping_add_signed(shift << 32).to_be_bytes());
                }
            }
        }
    }
}

impl State {
    /// Which copy of the captured exporters the next datagram is of, and whether it is made.
    pub(super) fn is_at(&mut self, copy: u32, is_made: bool) {
        (self.copy, self.is_made) = (copy, is_made);
    }

    /// Goes on with the capture's first datagram: its times follow the last ones of the round before, and templates are sent first again.
    pub(super) fn next_round(&mut self) {
        self.templates_sent.clear();
        if let (Some(shift), Some((first, last))) = (&mut self.shift, self.exported) {
            *shift += last - first + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_in_templates_that_were_defined_anew_is_forgotten() {
        let flows = Flows { time: None, addresses: Some(0), sequence: None, templates: None, copies: None };
        let (mut plans, mut templates) = (Plans::default(), Templates::default());
        let side = SocketAddr::from(([192, 0, 2, 1], 4739));
        // IPFIX: template 256 has one address, and there is one record of it.
        let mut plan = |element: u8, is_full: bool| {
            let template = [0, 2, 0, 12, 1, 0, 0, 1, 0, element, 0, 4];
            let datagram = [&[0, 10, 0, 36][..], &[0; 12], &template, &[1, 0, 0, 8, 10, 0, 0, 1]].concat();
            if is_full {
                plans.size = MOST_PLANNED + 1;
            }
            walk(&datagram, side, side, 0, &mut templates, |event| {
                if let Event::Data(set) = event {
                    assert_eq!(flows.plan(&mut plans, &set, Format::Ipfix), &Plan::At(vec![(0, Edit::V4)]));
                }
            });
            (plans.by_serial.len(), plans.size)
        };
        let plans = [plan(8, false), plan(12, false), plan(12, false), plan(8, true), plan(12, false)];
        assert_eq!(plans, [(1, 2), (2, 4), (2, 4), (1, 2), (2, 4)]);
    }
}
