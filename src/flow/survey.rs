//! What flow exports hold, counted for each exporter: the form that `inspect --flows` writes as JSON, and that expectations are judged by.
//!
//! Start at [`Survey::add`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::element::Element;
use super::exports::Sum;
use super::header::{Format, Header, Session, Sessions};
use super::record::{Kind, Record, Within};
use super::sequence::{Counted, Sequence, Step};
use super::template::{Template, Templates};
use super::value::Value;
use super::{Event, Reason, walk};

/// How many exporters are distinguished, and how many templates and intervals of each; what comes beyond is left out.
const MOST_EXPORTERS: usize = 65_536;
const MOST_TEMPLATES: usize = 4_096;
const MOST_INTERVALS: usize = 16;
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
    /// Whether only definitions are read, and what lacks one.
    skims: bool,
}

/// What flow exports hold.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct FlowExports {
    /// Datagrams that were read as flow exports.
    pub datagrams: u64,
    /// Those whose lengths contradict each other, or that the snaplen cut; what can be read of them is counted.
    pub damaged: Sum,
    /// UDP datagrams in IP fragments that the capture does not hold whole, of whatever kind: they are not read.
    pub incomplete: u64,
    /// Exporters, those with most messages first. NetFlow v9: one for each source address, source id (RFC 3954 §5.1) and collector. Others: one for
    /// each source address, port and observation domain, or engine, or sub-agent, and collector.
    pub exporters: Vec<FlowExporter>,
    /// Messages of exporters beyond the first 65,536, which are in no other number.
    pub unlisted: u64,
}

/// What one exporter sent.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct FlowExporter {
    /// `NetFlow v5`, `IPFIX` and so on.
    pub version: &'static str,
    /// The same, for programs of this crate.
    #[serde(skip)]
    #[schemars(skip)]
    pub format: Format,
    /// The address that it sent from.
    pub address: IpAddr,
    /// The port that it sent from; null with NetFlow v9, where it does not distinguish.
    pub port: Option<u16>,
    /// Where it sent to.
    pub collector: SocketAddr,
    /// sFlow: the address by which the agent calls itself.
    pub agent: Option<IpAddr>,
    /// Observation domain, source id, engine type × 256 + engine id, or sub-agent; 0 where there is none.
    pub domain: u32,
    /// Messages.
    pub messages: u64,
    /// The export time of the first message and of the last, RFC 3339; null with sFlow, which has none.
    pub exported: Option<(String, String)>,
    /// Records of flows and of sampled packets.
    pub records: u64,
    /// Records of options.
    pub options_records: u64,
    /// Samples of counters (sFlow).
    pub counter_samples: u64,
    /// Lists in records that can't be read (RFC 6313).
    pub unreadable_lists: u64,
    /// What the sequence numbers say; null with NetFlow v1, which has none.
    pub sequence: Option<Numbers>,
    /// What those of the sources of samples say (sFlow).
    pub samples: Option<Numbers>,
    /// One packet of so many was sampled, by the headers, options and samples; at most 16.
    pub sampling: Vec<u64>,
    /// Templates, by id.
    pub templates: Vec<FlowTemplate>,
    /// What can't be read, by reason.
    pub undecodable: Vec<Undecodable>,
}

/// What sequence numbers say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Numbers {
    /// What they count: `flow`, `message`, `record`, `datagram` or `sample`.
    pub of: &'static str,
    /// How often some are missing.
    pub gaps: u64,
    /// How many are missing in all.
    pub missing: u64,
    /// The frame behind the first gap; null without one.
    pub first_gap: Option<u64>,
    /// How often a number is lower than the one before: in another order, again, or the exporter has started anew.
    pub back: u64,
    /// The first frame where it is; null without one.
    pub first_back: Option<u64>,
}

/// A template, as it was defined last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct FlowTemplate {
    /// Its id.
    pub id: u16,
    /// Whether its records are options.
    pub options: bool,
    /// The frame of its first definition.
    pub first: u64,
    /// How often it was defined.
    pub definitions: u64,
    /// How often the id was defined with other fields than before.
    pub changes: u64,
    /// How often it was withdrawn, which has no effect over UDP (RFC 7011 §8.4).
    pub withdrawals: u64,
    /// Its fields.
    pub fields: Vec<FlowField>,
    /// Its records.
    pub records: u64,
}

/// A field of a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct FlowField {
    /// The element's name, or `e5951id128` for id 128 of enterprise 5951 where it has none.
    pub name: String,
    /// Bytes; null where each record says how many.
    pub length: Option<u16>,
    /// Whether it is a scope.
    pub scope: bool,
}

/// Bytes that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Undecodable {
    /// Why.
    pub why: String,
    /// The same, for programs of this crate.
    #[serde(skip)]
    #[schemars(skip)]
    pub reason: Reason,
    /// The template that is missing; null for other reasons.
    pub template: Option<u16>,
    /// Sets, or parts of a message.
    pub sets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first frame with one.
    pub first: u64,
    /// Where the template is missing: the frame that defines it later; null if none does.
    pub template_comes: Option<u64>,
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
    templates: BTreeMap<u16, FlowTemplate>,
    undecodable: BTreeMap<Reason, Undecodable>,
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
        let Self { templates, sessions, exporters, unlisted, skims, .. } = self;
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
                message = Some(Message { header: (*header).clone(), number, counted: Some(0) });
                return;
            }
            if *skims && matches!(event, Event::Data(_)) {
                return;
            }
            let Some(message) = &mut message else { return };
            if let Some(account) = exporters.get_mut(message.number) {
                account.add(event, message, frame, &mut each);
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
        }
    }
}

impl FlowExports {
    /// Sets, and messages or parts of them, that can't be decoded; bytes behind the last record hold nothing that is missed.
    pub fn undecodable(&self) -> u64 {
        let is_missed = |part: &&Undecodable| part.reason != Reason::Trailing;
        self.sum(|exporter| exporter.undecodable.iter().filter(is_missed).map(|part| part.sets).sum())
    }

    /// The sum of one count over all exporters.
    pub fn sum(&self, count: impl Fn(&FlowExporter) -> u64) -> u64 {
        self.exporters.iter().map(count).sum()
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
    fn add(&mut self, event: Event<'_>, message: &mut Message, frame: u64, each: &mut impl FnMut(&FlowRecord<'_>)) {
        match event {
            Event::Message(_) => {}
            Event::Template { template, is_other, .. } => {
                if self.templates.len() < MOST_TEMPLATES || self.templates.contains_key(&template.id) {
                    let known = self.templates.entry(template.id).or_insert_with(|| FlowTemplate::new(template, frame));
                    known.definitions += 1;
                    if is_other {
                        known.changes += 1;
                        known.fields = fields(template);
                        known.options = template.is_options;
                    }
                }
                if let Some(missing) = self.undecodable.get_mut(&Reason::NoTemplate(template.id)) {
                    missing.template_comes.get_or_insert(frame);
                }
            }
            Event::Withdrawal { id } => {
                if let Some(template) = self.templates.get_mut(&id) {
                    template.withdrawals += 1;
                }
            }
            Event::Undecodable { reason, range } => {
                if reason.hides_records() {
                    message.counted = None;
                }
                self.miss(reason, range.len(), frame);
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
                    self.miss(Reason::BadLength, rest.len(), frame);
                }
                if let Some(template) = set.template().and_then(|template| self.templates.get_mut(&template.id)) {
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

    fn miss(&mut self, reason: Reason, bytes: usize, frame: u64) {
        if self.undecodable.len() >= MOST_TEMPLATES && !self.undecodable.contains_key(&reason) {
            return;
        }
        let template = if let Reason::NoTemplate(id) = reason { Some(id) } else { None };
        let why = reason.to_string();
        let new = Undecodable { why, reason, template, sets: 0, bytes: 0, first: frame, template_comes: None };
        let missed = self.undecodable.entry(reason).or_insert(new);
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
            templates: self.templates.into_values().collect(),
            undecodable: self.undecodable.into_values().collect(),
        }
    }
}

impl FlowTemplate {
    fn new(template: &Template, first: u64) -> Self {
        let fields = fields(template);
        let options = template.is_options;
        Self { id: template.id, options, first, definitions: 0, changes: 0, withdrawals: 0, fields, records: 0 }
    }
}

fn fields(template: &Template) -> Vec<FlowField> {
    let fields = template.fields.iter();
    fields
        .map(|field| FlowField { name: field.element.to_string(), length: field.length, scope: field.scope })
        .collect()
}

/// An export time as RFC 3339; as it is where it is no time.
fn time((seconds, nanoseconds): (u32, u32)) -> String {
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or_default().min(999_999_999);
    let time = Timestamp::new(seconds.into(), nanoseconds).expect("32 bits of seconds end in the year 2106");
    time.to_string()
}

/// As a message says it.
impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoTemplate(id) => write!(f, "no template {id} was defined before"),
            Self::ReservedSet(id) => write!(f, "the set id {id} is reserved"),
            Self::BadTemplate => f.write_str(
                "a template definition is not whole, has an id below 256, or more than 64 fields without bytes",
            ),
            Self::TooManyTemplates => f.write_str("a template is not kept, since there are too many"),
            Self::EmptyTemplate(id) => write!(f, "records of template {id} have no bytes"),
            Self::BadLength => f.write_str("a length does not fit"),
            Self::Trailing => f.write_str("bytes behind the end"),
        }
    }
}
