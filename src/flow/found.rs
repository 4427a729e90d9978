//! What was found in flow exports: the form that `inspect --flows` writes as JSON, and that expectations are judged by. Start at [`FlowExports`].

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::Serialize;

use super::Reason;
use super::exports::Sum;
use super::header::Format;

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
    /// Definitions of templates that are in no list: those of an exporter beyond its first 4,096 templates, and those beyond 1,048,576 fields of all
    /// exporters, where a template counts as two more.
    pub unlisted_templates: u64,
    /// Sets that can't be read and are in no list: those beyond the first 262,144 set ids of all exporters.
    pub unlisted_undecodable: u64,
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

impl FlowExports {
    /// Sets, and messages or parts of them, that can't be decoded; bytes behind the last record hold nothing that is missed.
    pub fn undecodable(&self) -> u64 {
        let is_missed = |part: &&Undecodable| part.reason != Reason::Trailing;
        let listed = self.sum(|exporter| exporter.undecodable.iter().filter(is_missed).map(|part| part.sets).sum());
        listed + self.unlisted_undecodable
    }

    /// The sum of one count over all exporters.
    pub fn sum(&self, count: impl Fn(&FlowExporter) -> u64) -> u64 {
        self.exporters.iter().map(count).sum()
    }
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
