//! `[expect.flows]`: what the flow exports hold that are sent; and `flows` of a rule: the same records, as the collector stored them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::super::check::Checker;
use super::super::form::{Entries, Scalar, keys, values};
use super::super::require::Wanted;
use super::super::vocabulary;
use super::how_many::HowMany;
use crate::diagnostic::{At, Diagnostic};
use crate::flow::{Element, Type, Value};
use crate::packet::MacAddr;

/// What flow exports (NetFlow, IPFIX, sFlow) hold, as they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FlowCounts {
    /// Records of flows, and of sampled packets: a number, or a comparison like ">= 3".
    #[schemars(example = 1401)]
    pub records: Option<At<HowMany>>,
    /// Records of options.
    #[schemars(example = 3)]
    pub options: Option<At<HowMany>>,
    /// Templates, those of each exporter counted by their ids.
    #[schemars(example = 6)]
    pub templates: Option<At<HowMany>>,
    /// Exporters: addresses, ports and observation domains.
    #[schemars(example = 3)]
    pub exporters: Option<At<HowMany>>,
    /// Sets that can't be decoded, since their template comes later or never, or since their lengths do not fit.
    #[schemars(example = 0)]
    pub undecodable: Option<At<HowMany>>,
    /// Records with certain values.
    pub fields: Vec<At<FieldRule>>,
}

/// Records with these values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FieldRule {
    /// They have these values: each key is an information element of IANA's registry, or like `e5951id128`. A value is a number, a text, an
    /// address, a network like "192.0.2.0/24", or a comparison like ">= 1000".
    #[serde(rename = "match", deserialize_with = "matching")]
    #[schemars(with = "Entries<FieldValue>", example = example_match())]
    pub matching: Vec<FieldMatch>,
    /// How many such records there are: a number, or a comparison like ">= 5". Default: ">= 1".
    #[schemars(example = 10)]
    pub count: Option<At<HowMany>>,
}

/// An element and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMatch {
    pub element: Element,
    pub value: FieldValue,
}

/// What a field must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldValue {
    /// This, as it is written in JSON; or what a comparison says of a number.
    Value(Wanted),
    /// An address in this network.
    Network(IpNet),
}

impl FieldValue {
    /// The same, as values of this type are written in the end.
    fn of(self, kind: Type) -> Self {
        let Self::Value(Wanted::Value(text)) = self else { return self };
        let written = match kind {
            Type::Mac => text.parse().ok().map(|mac: MacAddr| mac.to_string()),
            Type::Seconds | Type::Milliseconds | Type::Microseconds | Type::Nanoseconds => {
                text.parse().ok().map(|time: Timestamp| time.to_string())
            }
            Type::Octets => Some(text.to_ascii_lowercase()),
            _ => None,
        };
        Self::Value(Wanted::Value(written.unwrap_or(text)))
    }

    /// Whether a field is such.
    pub fn holds(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Value(wanted) => wanted.holds(&value.to_string()),
            Self::Network(network) => matches!(value, Value::Ip(address) if network.contains(address)),
        }
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(wanted) => wanted.fmt(f),
            Self::Network(network) => network.fmt(f),
        }
    }
}

values! {
    FieldValue: Scalar, field_value, { "type": ["integer", "string"] };
}

fn field_value(written: &Scalar) -> Result<FieldValue, Diagnostic> {
    let text = written.to_string();
    if let Ok(address) = text.parse::<IpAddr>() {
        // As addresses are written in the end.
        return Ok(FieldValue::Value(Wanted::Value(address.to_string())));
    }
    match text.parse::<IpNet>() {
        Ok(network) => Ok(FieldValue::Network(network)),
        Err(_) => Ok(FieldValue::Value(Wanted::read(written)?)),
    }
}

/// Records as a collector stored them, compared with those that were sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StoredFlows {
    /// Whose form it has.
    #[schemars(example = &"nfdump-json")]
    pub format: At<StoredFormat>,
    /// What a record is found by. Default: `source`, `destination`, `source-port`, `destination-port` and `protocol`, as far as the collector
    /// stores them.
    #[serde(default)]
    #[schemars(example = ["source", "destination-port"])]
    pub key: Vec<At<Column>>,
    /// What must be equal in records with the same key. Default: `packets` and `bytes`, as far as the collector stores them.
    #[serde(default)]
    #[schemars(example = ["bytes"])]
    pub compare: Option<Vec<At<Column>>>,
    /// The names of columns or keys that are not those of the format; for `csv` and `json` of all.
    #[serde(default, deserialize_with = "columns")]
    #[schemars(with = "Entries<String>", example = example_columns())]
    pub columns: Vec<(Column, String)>,
}

/// The form of stored records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum StoredFormat {
    /// `nfdump -o json`.
    NfdumpJson,
    /// `nfdump -o csv`, with or without its head.
    NfdumpCsv,
    /// pmacct's (nfacctd, sfacctd) JSON.
    PmacctJson,
    /// pmacct's CSV.
    PmacctCsv,
    /// goflow2's JSON.
    Goflow2Json,
    /// JSON of Logstash's netflow codec.
    LogstashJson,
    /// The same by its codec rubydebug.
    LogstashRubydebug,
    /// JSON of Telegraf's input netflow.
    TelegrafJson,
    /// JSON objects; `columns` names their keys.
    Json,
    /// CSV with a head; `columns` names its columns.
    Csv,
}

/// What collectors store of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Column {
    /// The source address.
    Source,
    /// The destination address.
    Destination,
    /// The source port.
    SourcePort,
    /// The destination port.
    DestinationPort,
    /// The protocol: its number, or a name like `tcp`.
    Protocol,
    /// Packets.
    Packets,
    /// Bytes.
    Bytes,
    /// The type of service.
    Tos,
    /// The interface by which it came in.
    Input,
    /// The interface by which it went out.
    Output,
    /// The source's autonomous system.
    SourceAs,
    /// The destination's autonomous system.
    DestinationAs,
    /// The next hop.
    NextHop,
    /// The exporter's address.
    Exporter,
    /// When it began, to the second.
    Start,
    /// When it ended, to the second.
    End,
}

impl StoredFormat {
    /// Whether records with equal keys are one there, with their sums.
    pub fn has_sums(self) -> bool {
        matches!(self, Self::PmacctJson | Self::PmacctCsv)
    }
}

impl Column {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 16] = [
        Self::Source,
        Self::Destination,
        Self::SourcePort,
        Self::DestinationPort,
        Self::Protocol,
        Self::Packets,
        Self::Bytes,
        Self::Tos,
        Self::Input,
        Self::Output,
        Self::SourceAs,
        Self::DestinationAs,
        Self::NextHop,
        Self::Exporter,
        Self::Start,
        Self::End,
    ];
    /// What a record is found by where nothing else is said.
    pub const KEY: [Self; 5] =
        [Self::Source, Self::Destination, Self::SourcePort, Self::DestinationPort, Self::Protocol];
    /// What is compared where nothing else is said.
    pub const COMPARED: [Self; 2] = [Self::Packets, Self::Bytes];

    /// As the language writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
            Self::SourcePort => "source-port",
            Self::DestinationPort => "destination-port",
            Self::Protocol => "protocol",
            Self::Packets => "packets",
            Self::Bytes => "bytes",
            Self::Tos => "tos",
            Self::Input => "input",
            Self::Output => "output",
            Self::SourceAs => "source-as",
            Self::DestinationAs => "destination-as",
            Self::NextHop => "next-hop",
            Self::Exporter => "exporter",
            Self::Start => "start",
            Self::End => "end",
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An element in the place of a key.
struct ElementKey(Element);

/// A column in the place of a key.
struct ColumnKey(Column);

keys! {
    ElementKey, element;
    ColumnKey, column;
}

fn element(name: &str) -> Result<ElementKey, Diagnostic> {
    Element::named(name).map(ElementKey).ok_or_else(|| {
        let problem = Diagnostic::error(format!("unknown information element `{name}`"))
            .why("an element has a name of IANA's IPFIX registry or of a vendor's");
        let other = "write it by its numbers: `e5951id128` is id 128 of enterprise 5951; `restage inspect --flows` shows the elements";
        vocabulary::suggest(problem, name, Element::names(), '`', other)
    })
}

fn column(name: &str) -> Result<ColumnKey, Diagnostic> {
    Column::ALL.into_iter().find(|column| column.name() == name).map(ColumnKey).ok_or_else(|| {
        let problem = Diagnostic::error(format!("unknown column `{name}`"));
        let all = Column::ALL.map(Column::name);
        vocabulary::suggest(problem, name, all, '`', format!("write one of {}", all.join(", ")))
    })
}

fn matching<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FieldMatch>, D::Error> {
    let Entries(entries) = Entries::<FieldValue, ElementKey>::deserialize(deserializer)?;
    let matches = entries.into_iter().map(|entry| {
        let element = entry.key.value.0;
        FieldMatch { element, value: entry.value.value.of(element.kind()) }
    });
    Ok(matches.collect())
}

fn columns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Column, String)>, D::Error> {
    let Entries(entries) = Entries::<String, ColumnKey>::deserialize(deserializer)?;
    Ok(entries.into_iter().map(|entry| (entry.key.value.0, entry.value.value)).collect())
}

fn example_match() -> serde_json::Value {
    serde_json::json!({ "destinationTransportPort": 443 })
}

fn example_columns() -> serde_json::Value {
    serde_json::json!({ "source": "src_ip", "bytes": "octets" })
}

impl FlowCounts {
    pub(super) fn check(flows: &At<Self>, checker: &mut Checker) {
        if flows.value == Self::default() {
            let problem = Diagnostic::error("`[expect.flows]` checks nothing")
                .fix("add `records`, `options`, `templates`, `exporters`, `undecodable` or `fields`");
            let keys = ["records", "options", "templates", "exporters", "undecodable", "fields"];
            checker.missing_all("expect.flows", &keys, flows.range(), problem);
        }
        for (index, rule) in flows.value.fields.iter().enumerate().filter(|(_, rule)| rule.value.matching.is_empty()) {
            let problem = Diagnostic::error("`expect.flows.fields` has an entry that matches every record")
                .why("it has no `match`")
                .fix("add `match = { destinationTransportPort = 443 }`; `records` counts all");
            checker.missing_all(&format!("expect.flows.fields.{index}"), &["match"], rule.range(), problem);
        }
    }
}

impl StoredFlows {
    pub(super) fn check(flows: &At<Self>, checker: &mut Checker) {
        let Self { format, key, columns, .. } = &flows.value;
        if matches!(format.value, StoredFormat::Json | StoredFormat::Csv) && columns.is_empty() {
            let problem = Diagnostic::error("`flows` does not say what the names of its columns mean")
                .why("the formats `json` and `csv` have no names of their own")
                .fix("add `columns = { source = \"src\", destination = \"dst\", bytes = \"octets\" }` with its names");
            checker.missing("columns", flows.range(), problem);
        }
        if let Some(twice) =
            key.iter().enumerate().find(|(at, column)| key.iter().take(*at).any(|other| other.value == column.value))
        {
            let problem = Diagnostic::error(format!("`{}` is in `key` twice", twice.1.value)).fix("remove one of them");
            checker.refuse(twice.1.range(), problem);
        }
    }
}

#[cfg(test)]
#[path = "../../../tests/unit/flow_words.rs"]
mod tests;
