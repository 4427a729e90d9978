//! Templates of flow exports in messages of their own: learnt from captures, and sent before the records that need them.
//!
//! Start at [`TemplateLearner::add`] and [`Templates::messages`].

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::flows::Flows;
use super::range;
use crate::capture::Frame;
use crate::flow::{Event, Format, Header, Session, Templates as Known, walk};
use crate::packet::layers::{Layers, protocol};

/// The longest message of templates, in bytes: it fits every MTU that IPv6 allows.
const MOST_BYTES: usize = 1_200;

/// So many definitions of an exporter are kept, and so many bytes of those of all exporters. Exports are untrusted.
const MOST_DEFINITIONS: usize = 4_096;
const MOST_KEPT_BYTES: usize = 64 << 20;

/// Whose templates they are: format, exporter and domain.
type Whose = (Format, IpAddr, u32);

/// A definition as it was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Definition {
    id: u16,
    /// The frame that it is in.
    frame: u64,
    is_options: bool,
    bytes: Vec<u8>,
}

/// The definitions of an exporter.
#[derive(Debug, Clone, Default)]
struct Kept {
    /// In the order of the capture.
    definitions: Vec<Definition>,
    /// Whether there are others, which are too many.
    lacks_some: bool,
}

/// The definitions of every template of a capture, without those that say the same again.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    kept: HashMap<Whose, Kept>,
    /// How many bytes they take.
    bytes: usize,
    /// Whether they are from another capture, whose exporters may have other addresses.
    are_from_elsewhere: bool,
}

/// Learns the templates from the frames of a capture.
#[derive(Debug, Default)]
pub struct TemplateLearner {
    known: Known,
    found: Templates,
}

impl TemplateLearner {
    /// Adds a frame as it was captured.
    pub fn add(&mut self, frame: &Frame<'_>) {
        let Some((payload, endpoints)) = export(frame) else { return };
        if let Some(datagram) = frame.bytes.get(payload) {
            self.learn(datagram, endpoints, frame.number);
        }
    }

    fn learn(&mut self, datagram: &[u8], [source, destination]: [SocketAddr; 2], frame: u64) {
        let mut of = None;
        let Self { known, found } = self;
        walk(datagram, source, destination, frame, known, |event| match event {
            Event::Message(header) => of = Some(whose(&header.session)),
            Event::Template { template, range, .. } => {
                let (Some(of), Some(bytes)) = (of, datagram.get(range)) else { return };
                let Kept { definitions, lacks_some } = found.kept.entry(of).or_default();
                let (id, is_options) = (template.id, template.is_options);
                let last = definitions.iter().rev().find(|last| last.id == id);
                let is_new = last.is_none_or(|last| last.bytes != bytes || last.is_options != is_options);
                let size = size_of::<Definition>() + bytes.len();
                if is_new && (definitions.len() >= MOST_DEFINITIONS || found.bytes + size > MOST_KEPT_BYTES) {
                    *lacks_some = true;
                } else if is_new {
                    found.bytes += size;
                    let bytes = bytes.to_vec();
                    definitions.push(Definition { id, frame, is_options, bytes });
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
    /// The messages that define the templates of a session, each as if it was exported right before the message with this header, in this frame of
    /// the capture. Of each template it is the definition that is in force there or, where none is yet, the next one. None where the format has no
    /// templates, or nothing is known.
    pub(super) fn messages(&self, header: &Header, frame: u64) -> Vec<Vec<u8>> {
        let Some(all) = self.of(&header.session) else { return Vec::new() };
        let mut in_force: Vec<Definition> = Vec::new();
        for definition in &all.definitions {
            // Frames of another capture are in no order with these.
            let is_before = definition.frame < frame && !self.are_from_elsewhere;
            match in_force.iter_mut().find(|known| known.id == definition.id) {
                Some(known) if is_before => *known = definition.clone(),
                Some(_) => {}
                None => in_force.push(definition.clone()),
            }
        }
        let mut messages = Vec::new();
        let mut rest = in_force.as_slice();
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

    /// Whether templates of a session are not sent; `at_all`: none are.
    pub(super) fn are_missing(&self, session: &Session, at_all: bool) -> bool {
        self.of(session).is_some_and(|kept| at_all || kept.lacks_some)
    }

    fn of(&self, session: &Session) -> Option<&Kept> {
        let exact = self.kept.get(&whose(session));
        let same_domain = || {
            let (format, _, domain) = whose(session);
            let mut others: Vec<_> =
                self.kept.iter().filter(|((of, _, number), _)| (*of, *number) == (format, domain)).collect();
            others.sort_by_key(|(whose, _)| **whose);
            others.first().map(|(_, kept)| *kept)
        };
        exact.or_else(|| if self.are_from_elsewhere { same_domain() } else { None })
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
    let is_export = Flows::take(frame.bytes.get(payload.clone()), to);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exporter_whose_templates_are_not_all_kept_lacks_some() {
        let side = SocketAddr::from(([192, 0, 2, 1], 4739));
        let header = [&[0, 10, 0, 28][..], &[0; 12]].concat();
        // IPFIX: templates with one field.
        let lacks = |definitions: u16, bytes: usize| {
            let mut learner =
                TemplateLearner { found: Templates { bytes, ..Templates::default() }, ..Default::default() };
            let mut whose = None;
            for id in 256..256 + definitions {
                let template = [2, 12, id, 1, 8, 4].map(u16::to_be_bytes);
                learner.learn(&[header.as_slice(), template.as_flattened()].concat(), [side; 2], id.into());
            }
            walk(&header, side, side, 0, &mut Known::default(), |event| {
                if let Event::Message(header) = event {
                    whose = Some(header.session);
                }
            });
            learner.finish(false).are_missing(&whose.expect("a message"), false)
        };
        assert_eq!([lacks(4_096, 0), lacks(4_097, 0)], [false, true]);
        assert_eq!([lacks(1, MOST_KEPT_BYTES - 100), lacks(1, MOST_KEPT_BYTES)], [false, true]);
    }
}
