//! `interface`: that it is there, and how it is.

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use super::super::check::Checker;
use super::super::form::{Entries, Fields, Scalar, TableOrList, Value};
use super::super::topology::why_no_interface;
use super::super::{placeholders, vocabulary};
use super::Interfaces;
use super::comparison::Wanted;
use crate::diagnostic::{At, Diagnostic};

/// An interface that must be there. Only what is named is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceRule {
    /// Its name, placeholders already replaced.
    pub name: String,
    /// Whether it is switched on and has a link.
    pub up: Option<At<bool>>,
    /// Its MTU, in bytes.
    pub mtu: Option<At<Wanted>>,
    /// What it leaves to the card, or merges.
    pub offloads: Vec<OffloadRule>,
    /// The table in the scenario.
    pub span: Range<usize>,
}

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

/// An interface that must be there, and how it must be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Form {
    /// Its name. Default: the receiver's interface. `{sender}` is the other one of the lab.
    #[schemars(example = &"{receiver}")]
    name: Option<Value<String>>,
    /// Whether it is switched on and has a link.
    #[schemars(example = true)]
    up: Option<Value<bool>>,
    /// Its MTU in bytes, or a comparison like ">= 1500".
    #[schemars(example = 1500)]
    mtu: Option<Value<Scalar>>,
    /// Which offloads are on and which are off, by the names of `ethtool -k`.
    #[schemars(example = serde_json::json!({ "generic-receive-offload": false }))]
    offloads: Option<Offloads>,
}

/// `true` or `false` for names of offloads.
#[derive(Debug, Clone)]
struct Offloads(Entries<bool>);

impl<'de> Deserialize<'de> for Offloads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Entries::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Offloads {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Offloads".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
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
    }
}

/// An example of an interface.
pub(super) fn example() -> serde_json::Value {
    serde_json::json!({ "name": "{receiver}", "up": true, "mtu": ">= 1500" })
}

pub(super) fn check(
    written: Value<TableOrList<Form>>,
    interfaces: &Interfaces<'_>,
    checker: &mut Checker,
) -> Vec<InterfaceRule> {
    let span = written.span();
    match written.into_inner() {
        TableOrList::One(form) => vec![rule(form, span, interfaces, checker)],
        TableOrList::List(forms) => {
            if forms.is_empty() {
                let problem = Diagnostic::error("`require.interface` names no interface");
                checker.refuse(span, problem.fix("write it like [{ name = \"{receiver}\", up = true }], or remove it"));
            }
            let rules = forms.into_iter().map(|form| {
                let span = form.span();
                let Fields(form) = form.into_inner();
                rule(form, span, interfaces, checker)
            });
            rules.collect()
        }
    }
}

fn rule(form: Form, span: Range<usize>, interfaces: &Interfaces<'_>, checker: &mut Checker) -> InterfaceRule {
    InterfaceRule {
        name: form.name.map_or(interfaces.receiver.to_owned(), |name| check_name(&name, interfaces, checker)),
        up: form.up.map(Value::into_at),
        mtu: form.mtu.and_then(|mtu| check_mtu(&mtu, checker)),
        offloads: form.offloads.map_or(Vec::new(), |Offloads(entries)| check_offloads(entries, checker)),
        span,
    }
}

fn check_name(written: &Value<String>, interfaces: &Interfaces<'_>, checker: &mut Checker) -> String {
    checker.placeholders(written, &["receiver", "sender"]);
    let name = placeholders::replace(written.get(), |name| match name {
        "receiver" => Some(interfaces.receiver.to_owned()),
        "sender" => Some(interfaces.sender.to_owned()),
        _ => None,
    });
    let Interfaces { receiver, sender, lab } = *interfaces;
    if !placeholders::find(&name).is_empty() {
        // Already told.
    } else if let Some(why) = why_no_interface(&name) {
        let problem = Diagnostic::error(format!("`{name}` is not an interface")).why(why);
        checker.refuse(written.span(), problem.fix("write \"{receiver}\", or a name that `ip -br link` lists"));
    } else if lab && name != receiver && name != sender && name != "lo" {
        let problem = Diagnostic::error(format!("the lab has no interface `{name}`"))
            .why(format!(
                "its interfaces are `{receiver}`, which is {{receiver}}, `{sender}`, which is {{sender}}, and `lo`"
            ))
            .fix("write name = \"{receiver}\"; the machine's own interfaces have a part only with `[target]`");
        checker.refuse(written.span(), problem);
    }
    name
}

fn check_mtu(written: &Value<Scalar>, checker: &mut Checker) -> Option<At<Wanted>> {
    const FIX: &str = "write 1500, or a comparison like \">= 1500\"";
    let problem = |text: String| Diagnostic::error(format!("`require.interface.mtu` can't be {text}"));
    let problem = match (written.get(), Wanted::read(written.get())) {
        (Scalar::Integer(number), Ok(wanted)) if *number > 0 => return Some(written.with(wanted)),
        (Scalar::Integer(number), _) => problem(number.to_string()).why("an MTU is 1 or more").fix(FIX),
        (Scalar::Text(_), Ok(wanted @ Wanted::Compared(_))) => return Some(written.with(wanted)),
        (Scalar::Text(text), Ok(Wanted::Value(_))) if text.trim().parse::<u32>().is_ok() => {
            problem(format!("\"{text}\"")).why("a number has no quotes").fix(format!("write {}", text.trim()))
        }
        (Scalar::Text(text), Ok(Wanted::Value(_))) => {
            problem(format!("\"{text}\"")).why("it is a number of bytes or a comparison").fix(FIX)
        }
        (Scalar::Text(text), Err(misread)) => problem(format!("\"{text}\"")).why(misread.why).fix(FIX),
    };
    checker.refuse(written.span(), problem);
    None
}

fn check_offloads(entries: Entries<bool>, checker: &mut Checker) -> Vec<OffloadRule> {
    let mut rules: Vec<OffloadRule> = Vec::new();
    for entry in entries.0 {
        let (name, span) = (entry.key.get(), entry.span());
        let Some(offload) = Offload::named(name) else {
            let names = Offload::ALL.map(Offload::name);
            let problem = Diagnostic::error(format!("`require.interface.offloads` has no `{name}`"))
                .why(format!("its keys are {}", names.join(", ")));
            let known = names.into_iter().chain(Offload::ALL.map(Offload::short));
            let problem = match Offload::ALL.into_iter().find(|offload| offload.ethtool_word() == name) {
                Some(offload) => problem.fix(format!("write `{}`", offload.name())),
                None => match vocabulary::nearest(name, known) {
                    Some(near) => problem.label(format!("did you mean `{near}`?")).fix(format!("write `{near}`")),
                    None => problem.fix("remove it"),
                },
            };
            checker.refuse(entry.key.span(), problem);
            continue;
        };
        if let Some(first) = rules.iter().find(|rule| rule.offload == offload) {
            let problem = Diagnostic::error(format!("`{}` is written twice", offload.name()))
                .why(format!("line {} names it too", checker.line(first.span.start)))
                .fix("keep one of them");
            checker.refuse(span, problem);
            continue;
        }
        rules.push(OffloadRule { offload, on: *entry.value.get(), span });
    }
    rules
}
