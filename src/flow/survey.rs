//! Counts what flow exports hold, for each exporter, in bounded memory.
//!
//! Start at [`Survey::add`].

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use jiff::Timestamp;

use super::element::Element;
use super::exports::Sum;
use super::found::{FlowExporter, FlowExports, FlowField, FlowTemplate, Numbers, Undecodable};
use super::header::{Header, Session, Sessions};
use super::record::{Kind, Record, Within};
use super::sequence::{Counted, Sequence, Step};
use super::template::{FieldSpec, Template, Templates};
use super::value::Value;
use super::{Event, Reason, walk};

/// How many exporters are distinguished, and how many templates, sources of samples and intervals of each; what comes beyond is left out.
const MOST_EXPORTERS: usize = 65_536;
const MOST_TEMPLATES: usize = 4_096;
const MOST_INTERVALS: usize = 16;
/// How many fields the listed templates of all exporters have, each template counted as two more, and how many ids of sets that can't be read are
/// listed of all exporters. Exports are untrusted.
const MOST_FIELDS: usize = if cfg!(test) { 1 << 15 } else { 1 << 20 };
const MOST_UNREAD: usize = if cfg!(test) { 1 << 12 } else { 1 << 18 };
/// `samplingInterval`, `samplerRandomInterval`, `samplingPacketInterval` and `samplingPacketSpace`.
const INTERVAL: Element = Element::iana(34);
const RANDOM_INTERVAL: Element = Element::iana(50);
const PACKET_INTERVAL: Element = Element::iana(305);
const PACKET_SPACE: Element = Element::iana(306);

/// Counts what flow exports hold.
#[derive(Debug, Default)]
pub struct Survey {
    templates: Templates,
    sessions: Sessions,
    /// By the number of their session.
    exporters: Vec<Account>,
    datagrams: u64,
    unlisted: u64,
    listed: Listed,
    /// Whether only definitions are read, and what lacks one.
    skims: bool,
}

/// The counts of one exporter.
#[derive(Debug, Default)]
struct Account {
    messages: u64,
    exported: Option<((u32, u32), (u32, u32))>,
    records: u64,
    options_records: u64,
    counter_samples: u64,
    unreadable_lists: u64,
    sequence: Sequence,
    gaps: Numbers,
    sources: HashMap<(Kind, u64), Sequence>,
    sample_gaps: Numbers,
    sampling: BTreeSet<u64>,
    /// With the serials of their definitions.
    templates: BTreeMap<u16, (u64, FlowTemplate)>,
    undecodable: BTreeMap<Reason, Undecodable>,
}

/// How much is in the lists of all exporters, and what is in none.
#[derive(Debug, Default)]
struct Listed {
    fields: usize,
    unread: usize,
    unlisted_templates: u64,
    unlisted_undecodable: u64,
}

/// A record with where it comes from.
#[derive(Debug)]
pub struct FlowRecord<'a> {
    /// Whose it is.
    pub session: &'a Session,
    /// When it was exported, in seconds and nanoseconds since 1970; `None` with sFlow.
    pub exported: Option<(u32, u32)>,
    /// Milliseconds since the exporter started, at that time; `None` with IPFIX.
    pub uptime_ms: Option<u32>,
    /// The record.
    pub record: Record<'a>,
}

impl Survey {
    /// One that reads definitions of templates, and finds the sets that lack one: it counts no records, and passes none on.
    pub(super) fn of_definitions() -> Self {
        Self { skims: true, ..Self::default() }
    }

    /// Adds a datagram that is a flow export, and passes on its records. `frame` is the number of its frame.
    pub fn add(
        &mut self,
        datagram: &[u8],
        source: SocketAddr,
        destination: SocketAddr,
        frame: u64,
        mut each: impl FnMut(&FlowRecord<'_>),
    ) {
        self.datagrams += 1;
        let Self { templates, sessions, exporters, unlisted, listed, skims, .. } = self;
        let mut message = None::<Message>;
        walk(datagram, source, destination, frame, templates, |event| {
            if let Event::Message(header) = &event {
                if let Some(message) = message.take() {
                    message.end(exporters, frame);
                }
                let Some(number) = sessions.number(&header.session, MOST_EXPORTERS) else {
                    *unlisted += 1;
                    return;
                };
                if number == exporters.len() {
                    exporters.push(Account::default());
                }
                message = Some(Message { header: (*header).clone(), number, counted: (!*skims).then_some(0) });
                return;
            }
            if *skims && matches!(event, Event::Data(_)) {
                return;
            }
            let Some(message) = &mut message else { return };
            if let Some(account) = exporters.get_mut(message.number) {
                account.add(event, message, frame, listed, &mut each);
            }
        });
        if let Some(message) = message {
            message.end(exporters, frame);
        }
    }

    /// All that was counted.
    pub fn finish(self) -> FlowExports {
        let mut accounts: Vec<(Session, Account)> = self.sessions.into_list().into_iter().zip(self.exporters).collect();
        accounts.sort_by_key(|(_, account)| std::cmp::Reverse(account.messages));
        FlowExports {
            datagrams: self.datagrams,
            damaged: Sum::default(),
            incomplete: 0,
            exporters: accounts.into_iter().map(|(session, account)| account.finish(&session)).collect(),
            unlisted: self.unlisted,
            unlisted_templates: self.listed.unlisted_templates,
            unlisted_undecodable: self.listed.unlisted_undecodable,
        }
    }
}

/// The message that is read.
struct Message {
    header: Header,
    /// Of its session.
    number: usize,
    /// What the sequence number counts in it; `None` where something can't be read.
    counted: Option<u32>,
}

impl Message {
    fn end(self, exporters: &mut [Account], frame: u64) {
        let Some(account) = exporters.get_mut(self.number) else { return };
        account.messages += 1;
        if let Some(now) = self.header.exported {
            let (first, _) = account.exported.unwrap_or((now, now));
            account.exported = Some((first, now));
        }
        if let Some(interval) = self.header.sampling.map(|sampling| sampling & 0x3fff).filter(|interval| *interval > 0)
        {
            account.sample(interval.into());
        }
        let counted = self.header.format.counted(self.counted);
        if let Some(number) = self.header.sequence {
            account.gaps.add(account.sequence.add(number, counted), frame);
        }
    }
}

impl Numbers {
    fn add(&mut self, step: Step, frame: u64) {
        match step {
            Step::Expected => {}
            Step::Gap(missing) => {
                self.gaps += 1;
                self.missing += u64::from(missing);
                self.first_gap.get_or_insert(frame);
            }
            Step::Back => {
                self.back += 1;
                self.first_back.get_or_insert(frame);
            }
        }
    }
}

impl Account {
    fn add(
        &mut self,
        event: Event<'_>,
        message: &mut Message,
        frame: u64,
        listed: &mut Listed,
        each: &mut impl FnMut(&FlowRecord<'_>),
    ) {
        match event {
            Event::Message(_) => {}
            Event::Template { template, .. } => {
                self.define(template, frame, listed);
                if let Some(missing) = self.undecodable.get_mut(&Reason::NoTemplate(template.id)) {
                    missing.template_comes.get_or_insert(frame);
                }
            }
            Event::Withdrawal { id } => {
                if let Some((_, template)) = self.templates.get_mut(&id) {
                    template.withdrawals += 1;
                }
            }
            Event::Undecodable { reason, range } => {
                if reason.hides_records() {
                    message.counted = None;
                }
                self.miss(reason, range.len(), frame, listed);
            }
            Event::Data(set) => {
                let mut records = set.records();
                let mut count = 0;
                for record in records.by_ref() {
                    count += 1;
                    self.add_record(record, &message.header, each);
                }
                let missing = records.rest();
                message.counted = message.counted.filter(|_| missing.is_none()).map(|counted| counted + count);
                if let Some(rest) = missing {
                    self.miss(Reason::BadLength, rest.len(), frame, listed);
                }
                if let Some((_, template)) = set.template().and_then(|template| self.templates.get_mut(&template.id)) {
                    template.records += u64::from(count);
                }
                if let Some((source, number)) = set.sample_sequence()
                    && (self.sources.len() < MOST_TEMPLATES || self.sources.contains_key(&(set.kind(), source)))
                {
                    let sequence = self.sources.entry((set.kind(), source)).or_default();
                    self.sample_gaps.add(sequence.add(number, Some(1)), frame);
                }
            }
        }
    }

    /// Lists a template, or what it is from now on.
    fn define(&mut self, template: &Template, frame: u64, listed: &mut Listed) {
        let known = self.templates.get_mut(&template.id);
        if let Some((serial, known)) = known
            && *serial == template.serial
        {
            known.definitions += 1;
            return;
        }
        let before = self.templates.remove(&template.id).map(|(_, known)| known);
        listed.fields -= before.as_ref().map_or(0, |known| known.fields.len() + 2);
        let size = template.fields.len() + 2;
        if self.templates.len() >= MOST_TEMPLATES || listed.fields + size > MOST_FIELDS {
            listed.unlisted_templates += 1;
            return;
        }
        listed.fields += size;
        let mut new = FlowTemplate::new(template, frame);
        if let Some(before) = before {
            let is_other = before.fields != new.fields || before.options != new.options;
            let FlowTemplate { first, definitions, withdrawals, records, .. } = before;
            let (definitions, changes) = (definitions + 1, before.changes + u64::from(is_other));
            new = FlowTemplate { first, definitions, changes, withdrawals, records, ..new };
        }
        self.templates.insert(template.id, (template.serial, new));
    }

    fn add_record(&mut self, record: Record<'_>, header: &Header, each: &mut impl FnMut(&FlowRecord<'_>)) {
        match record.kind() {
            Kind::Flow => self.records += 1,
            Kind::Options => self.options_records += 1,
            Kind::Counters => self.counter_samples += 1,
        }
        // Lists may hold what can't be read, options and samples the sampling.
        let looks = record.template().is_none_or(|template| template.is_options || template.has_lists());
        if looks {
            let (mut interval, mut space) = (0, 0);
            let unreadable = record.each_field(|field| {
                if field.within == Within::Record
                    && let Value::Unsigned(number) = field.value()
                {
                    match field.element {
                        INTERVAL | RANDOM_INTERVAL => self.sample(number),
                        PACKET_INTERVAL => interval = number,
                        PACKET_SPACE => space = number,
                        _ => {}
                    }
                }
            });
            self.unreadable_lists += unreadable as u64;
            // So many of these are sampled, so many not (RFC 5477 §8.3.1).
            if let Some(one_of) = interval.checked_add(space).and_then(|all| all.checked_div(interval)) {
                self.sample(one_of);
            }
        }
        each(&FlowRecord { session: &header.session, exported: header.exported, uptime_ms: header.uptime_ms, record });
    }

    fn sample(&mut self, interval: u64) {
        if interval > 0 && self.sampling.len() < MOST_INTERVALS {
            self.sampling.insert(interval);
        }
    }

    fn miss(&mut self, reason: Reason, bytes: usize, frame: u64, listed: &mut Listed) {
        let missed = match self.undecodable.entry(reason) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if reason.has_id() && listed.unread >= MOST_UNREAD => {
                listed.unlisted_undecodable += 1;
                return;
            }
            Entry::Vacant(new) => {
                listed.unread += usize::from(reason.has_id());
                let template = if let Reason::NoTemplate(id) = reason { Some(id) } else { None };
                let (why, first) = (String::new(), frame);
                new.insert(Undecodable { why, reason, template, sets: 0, bytes: 0, first, template_comes: None })
            }
        };
        missed.sets += 1;
        missed.bytes += bytes as u64;
    }

    fn finish(self, session: &Session) -> FlowExporter {
        let samples = !self.sources.is_empty();
        let of = session.format.counts();
        let exported = self.exported.map(|(first, last)| (time(first), time(last)));
        FlowExporter {
            version: session.format.name(),
            format: session.format,
            address: session.exporter,
            port: session.port,
            collector: session.collector,
            agent: session.agent,
            domain: session.domain,
            messages: self.messages,
            exported,
            records: self.records,
            options_records: self.options_records,
            counter_samples: self.counter_samples,
            unreadable_lists: self.unreadable_lists,
            sequence: of.map(|of| Numbers { of: of.name(), ..self.gaps }),
            samples: samples.then_some(Numbers { of: Counted::Sample.name(), ..self.sample_gaps }),
            sampling: self.sampling.into_iter().collect(),
            templates: self.templates.into_values().map(|(_, template)| template).collect(),
            undecodable: self
                .undecodable
                .into_values()
                .map(|part| Undecodable { why: part.reason.to_string(), ..part })
                .collect(),
        }
    }
}

impl FlowTemplate {
    fn new(template: &Template, first: u64) -> Self {
        let name = |field: &FieldSpec| field.element.to_string();
        let fields = template.fields.iter();
        let fields =
            fields.map(|field| FlowField { name: name(field), length: field.length, scope: field.scope }).collect();
        let options = template.is_options;
        Self { id: template.id, options, first, definitions: 1, changes: 0, withdrawals: 0, fields, records: 0 }
    }
}

/// An export time as RFC 3339; as it is where it is no time.
fn time((seconds, nanoseconds): (u32, u32)) -> String {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or_default().min(999_999_999);
    let time = Timestamp::new(seconds.into(), nanoseconds).expect("32 bits of seconds end in the year 2106");
    time.to_string()
}
