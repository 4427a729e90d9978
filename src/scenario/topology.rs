//! `[lab]` and `[target]`: where the frames go.

use std::ops::Range;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checker;
use super::form::{Entries, Fields, Scalar, Value, WordOr};
use super::{address, sysctl, vocabulary};
use crate::diagnostic::{At, Diagnostic};
use crate::packet::MacAddr;

/// The lab's sender: its interface's name.
pub const LAB_SENDER: &str = "tx0";
/// The lab's receiver: its interface's name.
pub const LAB_RECEIVER: &str = "rx0";

/// The receiver's MAC in the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabMac {
    /// The destination MAC that the rewritten frames share, or the commonest.
    #[default]
    Captured,
    /// This one.
    Literal(MacAddr),
}

/// Routes back to the senders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Routes {
    /// Every source has one.
    #[default]
    Sources,
    /// These prefixes; empty for none.
    Prefixes(Vec<IpNet>),
}

/// One `sysctl` that the lab sets in the receiver's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysctlSetting {
    /// The key in dotted form, `{receiver}` already replaced by `rx0`. A dot inside an interface name is written `/`, as
    /// sysctl(8) does.
    pub key: String,
    /// What is written.
    pub value: String,
    /// The entry in the scenario.
    pub span: std::ops::Range<usize>,
}

/// An nftables ruleset, as nft(8) reads it. `{receiver}` in its text is the receiver's interface; every other brace is nft's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruleset {
    /// Its text.
    Text(String),
    /// A file with the text, joined with the scenario's folder.
    File(PathBuf),
}

/// `[lab]`, with legal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabTopology {
    /// Largest layer 3 packet of both interfaces, in bytes; 68 to 65,535.
    pub mtu: At<u32>,
    /// The receiver's addresses with their prefix lengths (an address alone is a /32 or /128); `None`: every
    /// unicast destination of the rewritten frames.
    pub addresses: Option<At<Vec<IpNet>>>,
    /// The receiver's MAC.
    pub mac: At<LabMac>,
    /// Routes back.
    pub routes: At<Routes>,
    /// Set before the interfaces come up.
    pub sysctl: Vec<SysctlSetting>,
    /// Loaded in the receiver's namespace, once its addresses and routes are there.
    pub ruleset: Option<At<Ruleset>>,
}

/// Where the frames go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// `[lab]`, or neither table.
    Lab(LabTopology),
    /// `[target] interface`.
    Target {
        /// The real interface.
        interface: At<String>,
    },
}

impl Topology {
    /// The MTU that the scenario writes down, in bytes.
    pub fn written_mtu(&self) -> Option<u32> {
        match self {
            Self::Lab(lab) => lab.mtu.span.is_some().then_some(lab.mtu.value),
            Self::Target { .. } => None,
        }
    }
}

/// The largest MTU in bytes: as much as an IPv4 packet can have.
pub const LARGEST_MTU: u32 = 65_535;
/// The smallest MTU with which an interface has IPv6 (RFC 8200, section 5).
pub const IPV6_LEAST_MTU: u32 = 1280;

/// A real interface, instead of the lab. It is used only if the command line allows it by name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TargetForm {
    /// The interface that sends.
    #[schemars(required, length(min = 1, max = 15), example = &"enp0s8")]
    interface: Option<Value<String>>,
}

/// A namespace for the sender, one for the receiver, a veth pair between them; no root needed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LabForm {
    /// Largest layer 3 packet of both interfaces, in bytes; VLAN tags don't count. Default: 1500.
    #[schemars(range(min = 68, max = 65535), example = 1500)]
    mtu: Option<Value<i64>>,
    /// The receiver's addresses. Default: every unicast destination of the rewritten frames.
    #[schemars(example = ["192.0.2.20/24"])]
    addresses: Option<Value<Vec<Value<String>>>>,
    /// The receiver's MAC: `captured` (default: the destination MAC of the rewritten frames), or an address.
    #[schemars(example = &"captured")]
    mac: Option<Value<String>>,
    /// Routes back: `sources` (default: every source has one), or a list of prefixes; [] for none.
    #[schemars(example = ["192.0.2.0/24"])]
    routes: Option<Value<WordOr<Vec<Value<String>>>>>,
    /// Set in the receiver's namespace, before the interfaces come up. `{receiver}` is its interface.
    #[schemars(example = sysctl::example_setting())]
    sysctl: Option<Entries<Scalar>>,
    /// An nftables ruleset of the receiver, or `{ file = "rules.nft" }`; `nft` loads it. `{receiver}` is its interface.
    #[schemars(example = &"table inet lab { chain in { type filter hook input priority 0; udp dport 4739 accept; drop; }; }")]
    ruleset: Option<Value<WordOr<Fields<RulesetForm>>>>,
}

/// An nftables ruleset in a file of its own.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RulesetForm {
    /// The file, relative to the scenario.
    #[schemars(required, example = &"rules.nft")]
    file: Option<Value<String>>,
}

/// The legal values of `[lab]` or `[target]`; `None` if a target has no interface.
pub(super) fn check(
    lab: Option<Value<LabForm>>,
    target: Option<Value<TargetForm>>,
    checker: &mut Checker,
) -> Option<Topology> {
    if let (Some(lab), Some(target)) = (&lab, &target) {
        let (first, later, name) = if lab.span().start < target.span().start {
            (lab.span(), target.span(), "[target]")
        } else {
            (target.span(), lab.span(), "[lab]")
        };
        exclude_each_other(first, later, name, checker);
    }
    match target {
        Some(target) if lab.is_none() => check_target(target, checker),
        _ => Some(Topology::Lab(check_lab(lab.map(Value::into_inner).unwrap_or_default(), checker))),
    }
}

fn exclude_each_other(first: Range<usize>, later: Range<usize>, name: &str, checker: &mut Checker) {
    let problem = Diagnostic::error("`[lab]` and `[target]` exclude each other")
        .label(format!("`{name}` can't be combined with line {}", checker.line(first.start)))
        .why("frames go either into the lab or out of a real interface")
        .fix("keep one of the two tables");
    checker.refuse(later, problem);
}

fn check_target(form: Value<TargetForm>, checker: &mut Checker) -> Option<Topology> {
    let table = form.span();
    let Some(interface) = form.into_inner().interface else {
        let problem = Diagnostic::error("`[target]` names no `interface`");
        let problem = problem.fix("add `interface = \"…\"`; `ip -br link` lists them");
        checker.missing("target.interface", table, problem);
        return None;
    };
    let name = interface.get();
    let Some(why) = why_no_interface(name) else {
        return Some(Topology::Target { interface: interface.into_at() });
    };
    let problem = Diagnostic::error(format!("`{name}` is not an interface")).why(why);
    checker.refuse(interface.span(), problem.fix("write a name that `ip -br link` lists"));
    None
}

/// Why no interface can have this name; `None` if one can. dev_valid_name() in the kernel: at most 15 bytes, no slash, colon or
/// white space, not a folder's own names.
pub(super) fn why_no_interface(name: &str) -> Option<String> {
    match name.chars().find(|c| c.is_whitespace() || matches!(c, '/' | ':' | '\0')) {
        Some(odd) => Some(format!("its name can't hold {odd:?}")),
        None if name.is_empty() || name == "." || name == ".." => Some("it needs a name".to_owned()),
        None if name.len() > 15 => Some(format!("its name has at most 15 bytes, this has {}", name.len())),
        None => None,
    }
}

fn check_lab(form: LabForm, checker: &mut Checker) -> LabTopology {
    let mtu = form.mtu.map_or(At::default_value(1500), |mtu| check_mtu(&mtu, checker));
    LabTopology {
        addresses: form.addresses.map(|addresses| check_addresses(addresses, mtu.value, checker)),
        mtu,
        mac: form.mac.and_then(|mac| check_mac(&mac, checker)).unwrap_or(At::default_value(LabMac::default())),
        routes: form
            .routes
            .and_then(|routes| check_routes(routes, checker))
            .unwrap_or(At::default_value(Routes::default())),
        sysctl: check_sysctl(form.sysctl, checker),
        ruleset: form.ruleset.and_then(|ruleset| check_ruleset(ruleset, checker)),
    }
}

fn check_ruleset(written: Value<WordOr<Fields<RulesetForm>>>, checker: &mut Checker) -> Option<At<Ruleset>> {
    let span = written.span();
    let ruleset = match written.into_inner() {
        WordOr::Word(text) if text.trim().is_empty() => {
            let problem = Diagnostic::error("`lab.ruleset` is empty").why("without a ruleset the lab drops nothing");
            checker.refuse(span, problem.fix("write what `nft -f` would be given, or remove the entry"));
            return None;
        }
        WordOr::Word(text) => Ruleset::Text(text),
        WordOr::Other(Fields(RulesetForm { file: Some(file) })) => {
            Ruleset::File(checker.path("lab.ruleset.file", &file)?.value)
        }
        WordOr::Other(Fields(RulesetForm { file: None })) => {
            let problem = Diagnostic::error("`lab.ruleset` names no `file`");
            let problem = problem.fix("write { file = \"rules.nft\" }, or the ruleset itself as a string");
            checker.missing("lab.ruleset.file", span, problem);
            return None;
        }
    };
    Some(At { value: ruleset, span: Some(span) })
}

fn check_mtu(written: &Value<i64>, checker: &mut Checker) -> At<u32> {
    if let Ok(mtu @ 68..=LARGEST_MTU) = u32::try_from(*written.get()) {
        return written.with(mtu);
    }
    let problem = Diagnostic::error(format!("`lab.mtu` can't be {}", written.get()))
        .why("it is from 68 (RFC 791) to 65535 bytes")
        .fix("write 1500, or 9000 for jumbo frames");
    checker.refuse(written.span(), problem);
    written.with(1500)
}

fn check_addresses(written: Value<Vec<Value<String>>>, mtu: u32, checker: &mut Checker) -> At<Vec<IpNet>> {
    let span = written.span();
    let mut addresses: Vec<IpNet> = Vec::new();
    for text in written.into_inner() {
        let problem = Diagnostic::error(format!("`lab.addresses` can't hold \"{}\"", text.get()));
        let problem = match address::network(text.get()) {
            Err(misread) => problem.why(misread.why).fix(misread.fix),
            Ok(net) if address::is_multicast_or_broadcast(&net) || net.addr().is_multicast() => problem
                .why("a group is joined by the application, it is no address of an interface")
                .fix("remove it; write the receiver's own address"),
            Ok(net) if net.addr().is_unspecified() || net.addr().is_loopback() => {
                problem.why("no packet from outside is taken for this address").fix("write the receiver's own address")
            }
            Ok(net) if net.addr().is_ipv6() && mtu < IPV6_LEAST_MTU => problem
                .why(format!("IPv6 needs an MTU of {IPV6_LEAST_MTU} or more (RFC 8200), and the MTU is {mtu}"))
                .fix(format!("set `[lab] mtu` to {IPV6_LEAST_MTU} or more, or remove the address")),
            Ok(net) if addresses.iter().any(|other| other.addr() == net.addr()) => {
                problem.why("the list has the address already").fix("remove one of them")
            }
            Ok(net) => {
                addresses.push(net);
                continue;
            }
        };
        checker.refuse(text.span(), problem);
    }
    At { value: addresses, span: Some(span) }
}

fn check_mac(written: &Value<String>, checker: &mut Checker) -> Option<At<LabMac>> {
    let text = written.get();
    if text == "captured" {
        return Some(written.with(LabMac::Captured));
    }
    let problem = Diagnostic::error(format!("`lab.mac` can't be \"{text}\""));
    let fix = "write \"captured\", or an address like \"02:00:00:00:00:02\"";
    let problem = match text.parse::<crate::packet::MacAddr>() {
        Ok(mac) if mac.is_multicast() => problem.why("a group address can't be an interface's own").fix(fix),
        Ok(mac) if mac.0 == [0; 6] => problem.why("the kernel refuses the zero address").fix(fix),
        Ok(mac) => return Some(written.with(LabMac::Literal(mac))),
        Err(why) => match vocabulary::nearest(text, ["captured"]) {
            Some(near) => problem.label(format!("did you mean \"{near}\"?")).fix(format!("write \"{near}\"")),
            None => problem.why(why).fix(fix),
        },
    };
    checker.refuse(written.span(), problem);
    None
}

fn check_routes(written: Value<WordOr<Vec<Value<String>>>>, checker: &mut Checker) -> Option<At<Routes>> {
    let span = written.span();
    let list = match written.into_inner() {
        WordOr::Word(word) if word == "sources" => return Some(At { value: Routes::Sources, span: Some(span) }),
        WordOr::Word(word) => {
            let problem = Diagnostic::error(format!("`lab.routes` can't be \"{word}\""))
                .why("it is \"sources\" or a list of prefixes")
                .fix("write \"sources\", [\"192.0.2.0/24\"], or [] for no way back");
            checker.refuse(span, problem);
            return None;
        }
        WordOr::Other(list) => list,
    };
    let mut prefixes = Vec::with_capacity(list.len());
    for text in list {
        match address::prefix(text.get()) {
            Ok(prefix) => prefixes.push(prefix),
            Err(misread) => {
                let problem = Diagnostic::error(format!("`lab.routes` can't hold \"{}\"", text.get()));
                checker.refuse(text.span(), problem.why(misread.why).fix(misread.fix));
            }
        }
    }
    Some(At { value: Routes::Prefixes(prefixes), span: Some(span) })
}

fn check_sysctl(form: Option<Entries<Scalar>>, checker: &mut Checker) -> Vec<SysctlSetting> {
    let mut settings: Vec<SysctlSetting> = Vec::new();
    for entry in form.map_or(Vec::new(), |entries| entries.0) {
        let span = entry.span();
        let value = sysctl::value(&entry.value, checker);
        let Some(key) = sysctl::key(&entry.key, LAB_RECEIVER, checker) else { continue };
        if !key.starts_with("net.") {
            let problem = Diagnostic::error(format!("the lab can't set `{key}`"))
                .why("only net.* belongs to a network namespace; this one is the whole machine's")
                .fix("set it yourself, and check it by `[require] sysctl`");
            checker.refuse(span, problem);
            continue;
        }
        if sysctl::is_new(&key, &span, settings.iter().map(|setting| (&setting.key, &setting.span)), checker) {
            settings.push(SysctlSetting { key, value, span });
        }
    }
    settings
}
