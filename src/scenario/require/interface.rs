//! `interface`: that it is there, and how it is.

use std::ops::Range;

use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Deserializer};

use super::super::check::Checker;
use super::super::form::{self, Entries, Fields, OneOrMore, Scalar, keys, refused, schema, values};
use super::super::topology::why_no_interface;
use super::super::{placeholders, vocabulary};
use super::Interfaces;
use super::comparison::Wanted;
use crate::diagnostic::{At, Diagnostic};

/// An interface that must be there, and how it must be. Only what is named is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct InterfaceRule {
    /// Its name; `{sender}` is the other one of the lab. Default: {receiver}.
    #[serde(rename = "name")]
    #[schemars(example = &"{receiver}")]
    written: Option<At<InterfaceName>>,
    /// Its name, placeholders already replaced.
    #[serde(skip)]
    pub name: String,
    /// Whether it is switched on and has a link.
    #[schemars(example = true)]
    pub up: Option<At<bool>>,
    /// Its MTU in bytes, or a comparison like ">= 1500".
    #[serde(deserialize_with = "mtu")]
    #[schemars(with = "Scalar", example = 1500)]
    pub mtu: Option<At<Wanted>>,
    /// Which offloads are on and which are off, by the names of `ethtool -k`.
    #[serde(deserialize_with = "offloads")]
    #[schemars(with = "Offload", example = serde_json::json!({ "generic-receive-offload": false }))]
    pub offloads: Vec<OffloadRule>,
    /// The table in the scenario.
    #[serde(skip)]
    pub span: Range<usize>,
}

/// A name with known placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InterfaceName(String);

/// An offload that must be on or off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffloadRule {
    /// Which one.
    pub offload: Offload,
    /// How it must be.
    pub on: bool,
    /// The entry in the scenario.
    pub span: Range<usize>,
}

/// An offload that decides what a capture on the interface, or a socket behind it, sees of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// The card checks what arrives.
    RxChecksum,
    /// The card makes the checksums of what is sent.
    TxChecksum,
    /// The kernel merges what arrives.
    GenericReceive,
    /// The kernel cuts what is sent as late as it can.
    GenericSegmentation,
    /// The card cuts TCP.
    TcpSegmentation,
    /// The card merges what arrives.
    LargeReceive,
}

impl Offload {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RxChecksum,
        Self::TxChecksum,
        Self::GenericReceive,
        Self::GenericSegmentation,
        Self::TcpSegmentation,
        Self::LargeReceive,
    ];

    /// As `ethtool -k` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RxChecksum => "rx-checksumming",
            Self::TxChecksum => "tx-checksumming",
            Self::GenericReceive => "generic-receive-offload",
            Self::GenericSegmentation => "generic-segmentation-offload",
            Self::TcpSegmentation => "tcp-segmentation-offload",
            Self::LargeReceive => "large-receive-offload",
        }
    }

    /// The short name in scenarios.
    fn short(self) -> &'static str {
        match self {
            Self::RxChecksum => "rx-checksum",
            Self::TxChecksum => "tx-checksum",
            Self::GenericReceive | Self::GenericSegmentation | Self::TcpSegmentation | Self::LargeReceive => {
                self.ethtool_word()
            }
        }
    }

    /// As `ethtool -K` takes it.
    pub fn ethtool_word(self) -> &'static str {
        match self {
            Self::RxChecksum => "rx",
            Self::TxChecksum => "tx",
            Self::GenericReceive => "gro",
            Self::GenericSegmentation => "gso",
            Self::TcpSegmentation => "tso",
            Self::LargeReceive => "lro",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|offload| offload.name() == name || offload.short() == name)
    }
}

values! {
    InterfaceName: String, |name: &String| placeholders::check(name, &["receiver", "sender"]).map(|()| InterfaceName(name.clone()));
}

// The schema of a table from offloads to whether they are on.
schema!(Offload, _generator => {
    let mut properties = serde_json::Map::new();
    let mut property = |name: &str, description: String| {
        let schema = serde_json::json!({ "type": "boolean", "description": description, "examples": [false] });
        properties.insert(name.to_owned(), schema);
    };
    for offload in Offload::ALL {
        property(offload.name(), format!("Whether `ethtool -k` shows {} as on.", offload.name()));
    }
    for offload in Offload::ALL {
        property(offload.short(), format!("Short for {}.", offload.name()));
    }
    json_schema!({ "type": "object", "properties": properties, "additionalProperties": false })
});

keys! {
    Offload, |name| Offload::named(name).ok_or_else(|| unknown_offload(name));
}

/// An example of an interface.
pub(super) fn example() -> serde_json::Value {
    serde_json::json!({ "name": "{receiver}", "up": true, "mtu": ">= 1500" })
}

pub(super) fn rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<InterfaceRule>, D::Error> {
    let rules = At::<OneOrMore<Fields<InterfaceRule>>>::deserialize(deserializer)?.into_list();
    if rules.is_empty() {
        let problem = Diagnostic::error("`\u{2}` names no interface");
        return Err(form::error(&problem.fix("write it like [{ name = \"{receiver}\", up = true }], or remove it")));
    }
    Ok(rules.into_iter().map(|rule| InterfaceRule { span: rule.range(), ..rule.value.0 }).collect())
}

fn mtu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<At<Wanted>>, D::Error> {
    const FIX: &str = "write 1500, or a comparison like \">= 1500\"";
    let written = At::<Scalar>::deserialize(deserializer)?;
    let problem = match (&written.value, Wanted::read(&written.value)) {
        (Scalar::Integer(1..), Ok(wanted)) | (Scalar::Text(_), Ok(wanted @ Wanted::Compared(_))) => {
            return Ok(Some(written.with(wanted)));
        }
        (Scalar::Integer(_), _) => refused("an MTU is 1 or more", FIX),
        (Scalar::Text(text), Ok(Wanted::Value(_))) if text.trim().parse::<u32>().is_ok() => {
            refused("a number has no quotes", format!("write {}", text.trim()))
        }
        (Scalar::Text(_), Ok(Wanted::Value(_))) => refused("it is a number of bytes or a comparison", FIX),
        (Scalar::Text(_), Err(problem)) => problem.fix(FIX),
    };
    Err(form::error(&problem))
}

fn offloads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OffloadRule>, D::Error> {
    let Entries(entries) = Entries::<bool, Offload>::deserialize(deserializer)?;
    let rules = entries.into_iter().map(|entry| OffloadRule {
        offload: entry.key.value,
        on: entry.value.value,
        span: entry.span(),
    });
    Ok(rules.collect())
}

fn unknown_offload(name: &str) -> Diagnostic {
    let names = Offload::ALL.map(Offload::name);
    let problem = Diagnostic::error(format!("`require.interface.offloads` has no `{name}`"))
        .why(format!("its keys are {}", names.join(", ")));
    match Offload::ALL.into_iter().find(|offload| offload.ethtool_word() == name) {
        Some(offload) => problem.fix(format!("write `{}`", offload.name())),
        None => {
            let known = names.into_iter().chain(Offload::ALL.map(Offload::short));
            vocabulary::suggest(problem, name, known, '`', "remove it")
        }
    }
}

impl InterfaceRule {
    /// Fills in the name, which must be one of the topology's interfaces.
    pub(super) fn check(&mut self, interfaces: &Interfaces<'_>, checker: &mut Checker) {
        let Interfaces { receiver, sender, lab } = *interfaces;
        let written = self.written.as_ref().map_or("{receiver}", |written| &written.value.0);
        self.name = placeholders::replace(written, |name| match name {
            "receiver" => Some(receiver.to_owned()),
            "sender" => Some(sender.to_owned()),
            _ => None,
        });
        let name = &self.name;
        let span = self.written.as_ref().map(At::range).unwrap_or_default();
        if let Some(why) = why_no_interface(name) {
            let problem = Diagnostic::error(format!("`{name}` is not an interface")).why(why);
            checker.refuse(span, problem.fix("write \"{receiver}\", or a name that `ip -br link` lists"));
        } else if lab && name != receiver && name != sender && name != "lo" {
            let problem = Diagnostic::error(format!("the lab has no interface `{name}`"))
                .why(format!(
                    "its interfaces are `{receiver}`, which is {{receiver}}, `{sender}`, which is {{sender}}, and `lo`"
                ))
                .fix("write name = \"{receiver}\"; the machine's own interfaces can be named only with `[target]`");
            checker.refuse(span, problem);
        }
        checker.twice(self.offloads.iter().map(|rule| (rule.offload.name(), &rule.span)));
    }
}
