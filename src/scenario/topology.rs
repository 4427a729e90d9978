//! `[lab]`, `[target]` and `[receiver] at`: where the frames go.

use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::check::Checker;
use super::form::{Entries, Fields, Scalar, WordOr, numbers, refused, values};
use super::receiver::{AgentPlace, Place, ReceiverPlace};
use super::sender::{self, Sender, Share};
use super::{address, sysctl, vocabulary};
use crate::diagnostic::{At, Diagnostic};
use crate::packet::MacAddr;

/// The lab's sender: its interface's name.
pub const LAB_SENDER: &str = "tx0";
/// The lab's receiver: its interface's name.
pub const LAB_RECEIVER: &str = "rx0";
/// The name of the interface that restage makes in a namespace that is there already. It is not one of the names that container engines and
/// system services give to interfaces or look for.
pub const EXISTING_RECEIVER: &str = "restage0";

/// The receiver's MAC in the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LabMac {
    /// The destination MAC of the rewritten frames, or the most common one.
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
    pub span: Range<usize>,
}

/// An nftables ruleset, as nft(8) reads it. `{receiver}` in its text is the receiver's interface; every other brace is nft's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruleset {
    /// Its text.
    Text(String),
    /// A file with the text, joined with the scenario's folder.
    File(PathBuf),
}

/// Addresses, each with its place.
pub type Addresses = At<Vec<At<IpNet>>>;

/// Where the frames go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// `[lab]`, or neither table.
    Lab(LabTopology),
    /// `[target] interface`.
    Target {
        /// The real interface; where others send, that of the first of them.
        interface: At<String>,
        /// The agent on the receiver's machine; without one nothing is seen there.
        agent: Option<AgentTopology>,
        /// The machines that send; empty where this one does.
        senders: Vec<Sender>,
    },
    /// `[receiver] at`: a network namespace of this machine that is there already.
    Existing(ExistingTopology),
}

/// A network namespace that is there already, into which restage puts one end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExistingTopology {
    /// Which one.
    pub at: At<ReceiverPlace>,
    /// The veth pair. Only `mtu` and `mac` are ever written; everything else is as it is there.
    pub pair: LabTopology,
    /// Whether the receiver runs there already, and restage starts none.
    pub runs_already: bool,
}

/// A receiver on another machine, where an agent does its part of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentTopology {
    /// How the agent is started.
    pub at: At<AgentPlace>,
    /// Whether the receiver runs there already, and none is started.
    pub runs_already: bool,
}

impl Topology {
    /// What the scenario says of the lab, where restage makes the receiver's namespace.
    pub fn lab(&self) -> Option<&LabTopology> {
        match self {
            Self::Lab(lab) => Some(lab),
            Self::Target { .. } | Self::Existing(_) => None,
        }
    }

    /// What the scenario says of the veth pair between sender and receiver, where restage makes one.
    pub fn pair(&self) -> Option<&LabTopology> {
        match self {
            Self::Lab(lab) => Some(lab),
            Self::Existing(existing) => Some(&existing.pair),
            Self::Target { .. } => None,
        }
    }

    /// The namespace that is there already.
    pub fn existing(&self) -> Option<&ExistingTopology> {
        match self {
            Self::Existing(existing) => Some(existing),
            Self::Lab(_) | Self::Target { .. } => None,
        }
    }

    /// Whether the receiver was started by someone else, and restage starts none.
    pub fn runs_already(&self) -> bool {
        self.existing().is_some_and(|existing| existing.runs_already)
            || self.agent().is_some_and(|agent| agent.runs_already)
    }

    /// Says whether it was.
    pub(super) fn set_runs_already(&mut self, already: bool) {
        match self {
            Self::Existing(existing) => existing.runs_already = already,
            Self::Target { agent: Some(agent), .. } => agent.runs_already = already,
            Self::Lab(_) | Self::Target { agent: None, .. } => {}
        }
    }

    /// The agent on the receiver's machine.
    pub fn agent(&self) -> Option<&AgentTopology> {
        match self {
            Self::Target { agent, .. } => agent.as_ref(),
            Self::Lab(_) | Self::Existing(_) => None,
        }
    }

    /// The machines that send; empty where this one does.
    pub fn senders(&self) -> &[Sender] {
        match self {
            Self::Target { senders, .. } => senders,
            Self::Lab(_) | Self::Existing(_) => &[],
        }
    }

    /// How many machines send every frame.
    pub fn copies(&self) -> u64 {
        let senders = self.senders();
        if senders.iter().any(|sender| sender.share.value == Share::Copies) { senders.len() as u64 } else { 1 }
    }

    /// The real interfaces that send.
    pub fn interfaces(&self) -> impl Iterator<Item = &At<String>> {
        let own = self.interface().filter(|_| self.senders().is_empty());
        own.into_iter().chain(self.senders().iter().map(|sender| &sender.interface))
    }

    /// Whether the receiver's side can be looked at.
    pub fn is_observed(&self) -> bool {
        self.pair().is_some() || self.agent().is_some()
    }

    /// Whether the receiver has its addresses from someone else than restage.
    pub fn is_there_already(&self) -> bool {
        self.existing().is_some() || self.agent().is_some()
    }

    /// The name of the receiver's interface, where restage makes it.
    pub fn receiver(&self) -> &'static str {
        if self.existing().is_some() { EXISTING_RECEIVER } else { LAB_RECEIVER }
    }

    /// The real interface that sends.
    pub fn interface(&self) -> Option<&At<String>> {
        match self {
            Self::Lab(_) | Self::Existing(_) => None,
            Self::Target { interface, .. } => Some(interface),
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
    interface: Option<At<String>>,
}

/// A namespace for the sender, one for the receiver, a veth pair between them; no root needed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LabTopology {
    /// Largest layer 3 packet of both interfaces, in bytes; VLAN tags don't count. Default: 1500.
    #[serde(deserialize_with = "mtu")]
    #[schemars(with = "i64", range(min = 68, max = LARGEST_MTU), example = 1500)]
    pub mtu: At<u32>,
    /// The receiver's addresses. Default: every unicast destination of the rewritten frames.
    #[serde(deserialize_with = "addresses")]
    #[schemars(with = "Vec<String>", example = ["192.0.2.20/24"])]
    pub addresses: Option<Addresses>,
    /// The receiver's MAC: `captured` (the destination MAC of the rewritten frames), or an address. Default: captured.
    #[schemars(example = &"captured")]
    pub mac: At<LabMac>,
    /// Routes back: `sources` (every source has one), or a list of prefixes; [] for none. Default: sources.
    #[schemars(example = ["192.0.2.0/24"])]
    pub routes: At<Routes>,
    /// Set in the receiver's namespace, before the interfaces come up. `{receiver}` is its interface.
    #[serde(deserialize_with = "settings")]
    #[schemars(with = "Entries<Scalar>", example = sysctl::example_setting())]
    pub sysctl: Vec<SysctlSetting>,
    /// An nftables ruleset of the receiver, or `{ file = "rules.nft" }`; `nft` loads it. `{receiver}` is its interface.
    #[schemars(example = &"table inet lab { chain in { type filter hook input priority 0; udp dport 4739 accept; drop; }; }")]
    pub ruleset: Option<At<Ruleset>>,
}

impl Default for LabTopology {
    fn default() -> Self {
        Self {
            mtu: At::default_value(1500),
            addresses: None,
            mac: At::default(),
            routes: At::default(),
            sysctl: Vec::new(),
            ruleset: None,
        }
    }
}

/// An nftables ruleset in its own file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RulesetFile {
    /// The file, relative to the scenario.
    #[schemars(example = &"rules.nft")]
    file: FilePath,
}

/// A path that is not empty.
#[derive(Debug)]
struct FilePath(PathBuf);

/// An address that an interface of the lab can have.
struct LabAddress(IpNet);

/// A prefix without host bits.
struct Prefix(IpNet);

values! {
    LabAddress: String, |text: &String| lab_address(text);
    Prefix: String, |text: &String| address::prefix(text).map(Prefix);
    LabMac: String, |text: &String| lab_mac(text);
    Ruleset: WordOr<Fields<RulesetFile>>, ruleset;
    Routes: WordOr<Vec<Prefix>>, routes;
    FilePath: String, |path: &String| file_path(path);
}

numbers! {
    mtu -> At<u32>, 68..=i64::from(LARGEST_MTU), "it is from 68 (RFC 791) to 65535 bytes", "write 1500, or 9000 for jumbo frames";
}

/// Where the frames go; `None` if a target has no interface. `at`: `[receiver] at`.
pub(super) fn check(
    lab: Option<At<LabTopology>>,
    target: Option<At<TargetForm>>,
    (senders, span): (Vec<Sender>, Option<Range<usize>>),
    at: Option<At<Place>>,
    checker: &mut Checker,
) -> Option<Topology> {
    if let Some(span) = span {
        return sender::topology(
            senders,
            span,
            lab.map(|lab| lab.range()).or(target.map(|target| target.range())),
            at,
            checker,
        );
    }
    if let (Some(lab), Some(target)) = (&lab, &target) {
        let (lab, target) = (lab.range(), target.range());
        let (first, later, name) =
            if lab.start < target.start { (lab, target, "[target]") } else { (target, lab, "[lab]") };
        let problem = Diagnostic::error("`[lab]` and `[target]` exclude each other")
            .label(format!("`{name}` can't be combined with line {}", checker.line(first.start)))
            .why("frames go either into the lab or out of a real interface")
            .fix("keep one of the two tables");
        checker.refuse(later, problem);
    }
    match (target, at) {
        (Some(target), at) if lab.is_none() => check_target(target, at, checker),
        (None, Some(At { value: Place::There(place), span })) => {
            let problem = Diagnostic::error(format!("`receiver.at = \"{place}\"` needs `[target] interface`"))
                .why("the receiver is on another machine, and frames reach it by an interface of this one")
                .fix("add `[target]` with `interface = \"eth0\"`; `ip route get ADDRESS` shows which");
            checker.missing("target.interface", span.unwrap_or_default(), problem);
            None
        }
        (None, Some(At { value: Place::Here(place), span })) => {
            let at = At { value: place, span };
            let pair = lab.map(|lab| lab.value).unwrap_or_default().check(checker);
            pair.refuse_what_is_there(&at, checker);
            Some(Topology::Existing(ExistingTopology { at, pair, runs_already: true }))
        }
        _ => Some(Topology::Lab(lab.map(|lab| lab.value).unwrap_or_default().check(checker))),
    }
}

fn check_target(form: At<TargetForm>, at: Option<At<Place>>, checker: &mut Checker) -> Option<Topology> {
    let table = form.range();
    let Some(interface) = form.value.interface else {
        let problem = Diagnostic::error("`[target]` names no `interface`");
        let problem = problem.fix("add `interface = \"…\"`; `ip -br link` lists them");
        checker.missing("target.interface", table, problem);
        return None;
    };
    let agent = at.and_then(|At { value, span }| match value {
        Place::There(place) => Some(AgentTopology { at: At { value: place, span }, runs_already: true }),
        Place::Here(_) => None,
    });
    let name = &interface.value;
    let Some(why) = why_no_interface(name) else {
        return Some(Topology::Target { interface, agent, senders: Vec::new() });
    };
    let problem = Diagnostic::error(format!("`{name}` is not an interface")).why(why);
    checker.refuse(interface.range(), problem.fix("write a name that `ip -br link` lists"));
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

fn ruleset(written: &WordOr<Fields<RulesetFile>>) -> Result<Ruleset, Diagnostic> {
    match written {
        WordOr::Word(text) if text.trim().is_empty() => Err(Diagnostic::error("`\u{2}` is empty")
            .why("without a ruleset the lab drops nothing")
            .fix("write what `nft -f` would be given, or remove the entry")),
        WordOr::Word(text) => Ok(Ruleset::Text(text.clone())),
        WordOr::Other(Fields(RulesetFile { file })) => Ok(Ruleset::File(file.0.clone())),
    }
}

fn file_path(path: &str) -> Result<FilePath, Diagnostic> {
    if path.is_empty() {
        return Err(Diagnostic::error("`\u{2}` is empty").fix("name a file, relative to the scenario's folder"));
    }
    Ok(FilePath(path.into()))
}

fn lab_address(text: &str) -> Result<LabAddress, Diagnostic> {
    let net = address::network(text)?;
    if address::is_multicast_or_broadcast(&net) || net.addr().is_multicast() {
        let why = "a group is joined by the application, it is no address of an interface";
        return Err(refused(why, "remove it; write the receiver's own address"));
    }
    if net.addr().is_unspecified() || net.addr().is_loopback() {
        let why = "no packet from outside is taken for this address";
        return Err(refused(why, "write the receiver's own address"));
    }
    Ok(LabAddress(net))
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Addresses>, D::Error> {
    let list = At::<Vec<At<LabAddress>>>::deserialize(deserializer)?;
    let addresses = list.value.iter().map(|address| address.with(address.value.0)).collect();
    Ok(Some(At { value: addresses, span: list.span }))
}

fn lab_mac(text: &str) -> Result<LabMac, Diagnostic> {
    const FIX: &str = "write \"captured\", or an address like \"02:00:00:00:00:02\"";
    match text.parse::<MacAddr>() {
        _ if text == "captured" => Ok(LabMac::Captured),
        Ok(mac) if mac.is_multicast() => Err(refused("a group address can't be an interface's own", FIX)),
        Ok(mac) if mac.0 == [0; 6] => Err(refused("the kernel refuses the zero address", FIX)),
        Ok(mac) => Ok(LabMac::Literal(mac)),
        Err(why) => Err(vocabulary::suggest(refused(why, FIX), text, ["captured"], '"', FIX)),
    }
}

fn routes(written: &WordOr<Vec<Prefix>>) -> Result<Routes, Diagnostic> {
    match written {
        WordOr::Word(word) if word == "sources" => Ok(Routes::Sources),
        WordOr::Word(_) => Err(refused(
            "it is \"sources\" or a list of prefixes",
            "write \"sources\", [\"192.0.2.0/24\"], or [] for no way back",
        )),
        WordOr::Other(list) => Ok(Routes::Prefixes(list.iter().map(|prefix| prefix.0).collect())),
    }
}

fn settings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SysctlSetting>, D::Error> {
    let Entries(entries) = Entries::<sysctl::Text, sysctl::Key>::deserialize(deserializer)?;
    let settings = entries.into_iter().map(|entry| SysctlSetting {
        key: sysctl::fill(&entry.key.value.0, LAB_RECEIVER),
        span: entry.span(),
        value: entry.value.value.0,
    });
    Ok(settings.collect())
}

impl LabTopology {
    /// Refuses what would change a namespace that is there already.
    fn refuse_what_is_there(&self, at: &At<ReceiverPlace>, checker: &mut Checker) {
        let words = [
            ("addresses", self.addresses.as_ref().map(At::range)),
            ("routes", self.routes.span.clone()),
            ("sysctl", self.sysctl.first().map(|setting| setting.span.clone())),
            ("ruleset", self.ruleset.as_ref().map(At::range)),
        ];
        for (word, span) in words {
            let Some(span) = span else { continue };
            let line = checker.line(at.range().start);
            let problem = Diagnostic::error(format!("`lab.{word}` and `receiver.at` exclude each other"))
                .label(format!("can't be combined with line {line}"))
                .why("restage makes an interface in a namespace that is there already, and leaves everything else there as it is")
                .fix("remove it, and set it there yourself if it is needed; `[require]` checks that");
            checker.refuse_because(span, at.span.as_ref(), "receiver.at", problem);
        }
    }

    /// Checks values against each other, and joins the ruleset's path.
    fn check(mut self, checker: &mut Checker) -> Self {
        let mtu = self.mtu.value;
        let mut seen: Vec<IpAddr> = Vec::new();
        for address in self.addresses.iter().flat_map(|addresses| &addresses.value) {
            let ip = address.value.addr();
            let written = checker.source.text.get(address.range()).unwrap_or_default();
            let problem = Diagnostic::error(format!("`lab.addresses` can't hold {written}"));
            if ip.is_ipv6() && mtu < IPV6_LEAST_MTU {
                let why = format!("IPv6 needs an MTU of {IPV6_LEAST_MTU} or more (RFC 8200), and the MTU is {mtu}");
                let fix = format!("set `[lab] mtu` to {IPV6_LEAST_MTU} or more, or remove the address");
                checker.refuse(address.range(), problem.why(why).fix(fix));
            } else if seen.contains(&ip) {
                let problem = problem.why("the list has the address already").fix("remove one of them");
                checker.refuse(address.range(), problem);
            }
            seen.push(ip);
        }
        for setting in &self.sysctl {
            if !setting.key.starts_with("net.") {
                let problem = Diagnostic::error(format!("the lab can't set `{}`", setting.key))
                    .why("only net.* belongs to a network namespace; this one is the whole machine's")
                    .fix("set it yourself, and check it by `[require] sysctl`");
                checker.refuse(setting.span.clone(), problem);
            }
        }
        checker.twice(self.sysctl.iter().map(|setting| (setting.key.as_str(), &setting.span)));
        if let Some(At { value: Ruleset::File(file), span }) = &mut self.ruleset {
            checker.join("lab.ruleset.file", file, span.as_ref());
        }
        self
    }
}
