//! Templates of flow exports in messages of their own: learnt from captures, and sent before the records that need them.
//!
//! Start at [`TemplateLearner::add`] and [`Templates::messages`].

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::flows::Flows;
use super::range;
use crate::capture::Frame;
use crate::flow::{Event, Format, Header, Session, Templates as Known, walk};
use crate::packet::layers::{Layers, protocol};

/// The longest message of templates, in bytes: it fits every MTU that IPv6 allows.
const MOST_BYTES: usize = 1_200;

/// Whose templates they are: format, exporter and domain.
type Whose = (Format, IpAddr, u32);

/// A definition as it was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Definition {
    is_options: bool,
    bytes: Vec<u8>,
}

/// The first definition of every template of a capture.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    definitions: HashMap<Whose, Vec<Definition>>,
    /// Whether they are from another capture, whose exporters may have other addresses.
    are_from_elsewhere: bool,
}

/// Learns the templates from the frames of a capture.
#[derive(Debug, Default)]
pub struct TemplateLearner {
    known: Known,
    seen: BTreeSet<(Whose, u16)>,
    found: Templates,
}

impl TemplateLearner {
    /// Adds a frame as it was captured.
    pub fn add(&mut self, frame: &Frame<'_>) {
        let Some((payload, [source, destination])) = export(frame) else { return };
        let Some(datagram) = frame.bytes.get(payload) else { return };
        let mut of = None;
        let Self { known, seen, found } = self;
        walk(datagram, source, destination, frame.number, known, |event| match event {
            Event::Message(header) => of = Some(whose(&header.session)),
            Event::Template { template, range, .. } => {
                if let (Some(of), Some(bytes)) = (of, datagram.get(range))
                    && seen.insert((of, template.id))
                {
                    let definition = Definition { is_options: template.is_options, bytes: bytes.to_vec() };
                    found.definitions.entry(of).or_default().push(definition);
                }
            }
            _ => {}
        });
    }

    /// All that were found.
    pub fn finish(self, are_from_elsewhere: bool) -> Templates {
        Templates { are_from_elsewhere, ..self.found }
    }
}

impl Templates {
    /// The messages that define the templates of a session, each as if it was exported right before the message with this header. None where
    /// the format has no templates, or nothing is known.
    pub(super) fn messages(&self, header: &Header) -> Vec<Vec<u8>> {
        let Some(definitions) = self.of(&header.session) else { return Vec::new() };
        let mut messages = Vec::new();
        let mut rest = definitions;
        while !rest.is_empty() {
            // At least one, however long it is.
            let mut bytes = 0;
            let fits = |definition: &&Definition| {
                bytes += definition.bytes.len();
                bytes <= MOST_BYTES
            };
            let (some, others) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            messages.extend(message(header, some));
            rest = others;
        }
        messages
    }

    fn of(&self, session: &Session) -> Option<&[Definition]> {
        let exact = self.definitions.get(&whose(session));
        let same_domain = || {
            let (format, _, domain) = whose(session);
            let mut others: Vec<_> =
                self.definitions.iter().filter(|((of, _, number), _)| (*of, *number) == (format, domain)).collect();
            others.sort_by_key(|(whose, _)| **whose);
            others.first().map(|(_, definitions)| *definitions)
        };
        let found = exact.or_else(|| if self.are_from_elsewhere { same_domain() } else { None });
        found.map(Vec::as_slice)
    }
}

fn whose(session: &Session) -> Whose {
    (session.format, session.exporter, session.domain)
}

/// Where the payload of a flow export lies in its frame, and its endpoints.
fn export(frame: &Frame<'_>) -> Option<(Range<usize>, [SocketAddr; 2])> {
    let layers = Layers::find(frame.link, frame.bytes);
    let ip = layers.network.ip().filter(|ip| ip.protocol == protocol::UDP)?;
    let (from, to) = layers.ports(frame.bytes)?;
    let (source, destination) = layers.addresses(frame.bytes)?;
    let payload = range(ip, frame)?;
    let is_export = Flows::take(frame.bytes.get(payload.clone())?, to);
    is_export.then(|| (payload, [SocketAddr::new(source, from), SocketAddr::new(destination, to)]))
}

/// The headers of a frame's messages, and where its payload lies.
pub(super) fn headers(frame: &Frame<'_>) -> Option<(Range<usize>, Vec<Header>)> {
    let (payload, [source, destination]) = export(frame)?;
    let mut headers = Vec::new();
    let datagram = frame.bytes.get(payload.clone())?;
    walk(datagram, source, destination, 0, &mut Known::default(), |event| {
        if let Event::Message(header) = event {
            headers.push(header.clone());
        }
    });
    Some((payload, headers))
}

/// A message of these definitions: NetFlow v9 (RFC 3954 §5.1), or IPFIX (RFC 7011 §3.1).
fn message(header: &Header, definitions: &[Definition]) -> Option<Vec<u8>> {
    let ids: [u16; 2] = match header.format {
        Format::NetflowV9 => [0, 1],
        Format::Ipfix => [2, 3],
        _ => return None,
    };
    let mut sets = Vec::new();
    for (id, is_options) in ids.into_iter().zip([false, true]) {
        let of_kind = definitions.iter().filter(|definition| definition.is_options == is_options);
        let mut content: Vec<u8> = of_kind.flat_map(|definition| definition.bytes.iter().copied()).collect();
        if content.is_empty() {
            continue;
        }
        content.resize(content.len().next_multiple_of(4), 0);
        sets.extend([id, u16::try_from(4 + content.len()).ok()?].map(u16::to_be_bytes).as_flattened());
        sets.extend(content);
    }
    let (seconds, _) = header.exported?;
    let sequence = header.sequence?;
    let (version, words): ([u16; 2], Vec<u32>) = if header.format == Format::NetflowV9 {
        let count = u16::try_from(definitions.len()).ok()?;
        ([9, count], vec![header.uptime_ms?, seconds, sequence, header.session.domain])
    } else {
        ([10, u16::try_from(16 + sets.len()).ok()?], vec![seconds, sequence, header.session.domain])
    };
    let words: Vec<u8> = words.into_iter().flat_map(u32::to_be_bytes).collect();
    Some([version.map(u16::to_be_bytes).as_flattened(), &words, &sets].concat())
}
