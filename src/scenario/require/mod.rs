//! `[require]`: what must hold before the first frame and after the last one.
//!
//! One file for each word. Start at [`Require`].

mod capability;
mod comparison;
mod interface;
mod kernel;
mod listener;
mod sysctl;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::capability::Capability;
pub use self::comparison::{Comparison, Operator, Wanted, any_of};
pub use self::interface::{InterfaceRule, Offload, OffloadRule};
pub use self::kernel::KernelRule;
pub use self::listener::{Listener, Transport};
pub use self::sysctl::SysctlRule;
use super::check::Checker;
use super::form::{Entries, OneOrMore, Scalar};
use super::topology::{LAB_RECEIVER, LAB_SENDER, Topology};
use crate::diagnostic::{At, Diagnostic};

/// What must hold before the first frame and after the last one. Only checked, never set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Require {
    /// Programs that must be found; where one is absent the scenario is skipped.
    #[schemars(example = ["nfcapd"])]
    pub commands: Vec<At<String>>,
    /// Effective values of sysctls: one, a comparison like ">= 212992", or a list of those that will do. `{receiver}` is its
    /// interface.
    #[serde(deserialize_with = "sysctl::rules")]
    #[schemars(with = "Entries<OneOrMore<Scalar>>", example = super::sysctl::example_rule())]
    pub sysctl: Vec<SysctlRule>,
    /// An interface that must be there, and how it must be; or a list of several.
    #[serde(deserialize_with = "interface::rules")]
    #[schemars(with = "OneOrMore<InterfaceRule>", example = interface::example())]
    pub interface: Vec<InterfaceRule>,
    /// The kernel's version, as a comparison: `>= 5.17`.
    #[schemars(example = &">= 5.17")]
    pub kernel: Option<At<KernelRule>>,
    /// Capabilities that restage must have, as capabilities(7) names them.
    #[schemars(example = ["CAP_BPF", "CAP_PERFMON"])]
    pub capabilities: Vec<At<Capability>>,
    /// Sockets that must be bound: `udp:4739`, `udp:192.0.2.20:4739`, `tcp:[2001:db8::20]:80`.
    #[schemars(example = ["udp:4739"])]
    pub listens: Vec<At<Listener>>,
    /// Sockets, written as for `listens`, whose packets the receiver's ruleset must not drop.
    #[schemars(example = ["udp:4739"])]
    pub firewall: Vec<At<Listener>>,
}

/// The interfaces of a topology by their placeholders.
struct Interfaces<'a> {
    receiver: &'a str,
    sender: &'a str,
    /// Whether these and the loopback are all that there are.
    lab: bool,
}

impl Require {
    /// What depends on the topology, which is `None` for a target without an interface. `far`: the interface of another machine that frames come
    /// in on, as far as it is known.
    pub(super) fn check(
        &mut self,
        topology: Option<&Topology>,
        far: Option<&At<String>>,
        target: bool,
        checker: &mut Checker,
    ) {
        let agent = topology.and_then(Topology::agent);
        let interfaces = match topology.and_then(Topology::interface) {
            // The agent's own process knows the interface.
            Some(interface) if agent.is_some() => {
                let receiver = far.map_or(LAB_RECEIVER, |far| &far.value);
                Interfaces { receiver, sender: &interface.value, lab: false }
            }
            Some(interface) => Interfaces { receiver: &interface.value, sender: &interface.value, lab: false },
            None => {
                let is_existing = topology.is_some_and(|topology| topology.existing().is_some());
                let receiver = topology.map_or(LAB_RECEIVER, Topology::receiver);
                Interfaces { receiver, sender: LAB_SENDER, lab: !target && !is_existing }
            }
        };
        if let (true, Some(first), Some(last)) =
            (topology.is_some_and(Topology::runs_already), self.firewall.first(), self.firewall.last())
        {
            let problem = Diagnostic::error("`require.firewall` needs `receiver.command`")
                .why("a probe is sent before the application starts; one that runs already would receive it")
                .fix("remove it: `restage plan` says what the ruleset there does with the frames");
            checker.refuse(first.range().start..last.range().end, problem);
        }
        let others_send = topology.is_some_and(|topology| !topology.senders().is_empty());
        if let (true, Some(first), Some(last)) = (others_send, self.firewall.first(), self.firewall.last()) {
            let problem = Diagnostic::error("`require.firewall` and `[[sender]]` exclude each other")
                .why("a probe is sent before and after the frames, and machines that send get ready for their frames alone")
                .fix("remove it: `restage plan` says what the ruleset there does with the frames");
            checker.refuse(first.range().start..last.range().end, problem);
        }
        for command in self.commands.iter().filter(|command| command.value.trim().is_empty()) {
            let problem = Diagnostic::error("`require.commands` has an empty entry");
            checker.refuse(command.range(), problem.fix("name a program, as you would type it, or remove the entry"));
        }
        for (key, sockets, whose) in [("listens", &self.listens, "sockets"), ("firewall", &self.firewall, "ruleset")] {
            if let (true, Some(first), Some(last)) = (target, sockets.first(), sockets.last()) {
                let problem = Diagnostic::error(format!("`require.{key}` needs the lab"))
                    .why(format!("with `[target]` the receiver is on another machine: restage can't see its {whose}"))
                    .fix("remove it; or replace `[target]` by `[lab]`");
                checker.refuse(first.range().start..last.range().end, problem);
            }
        }
        sysctl::check(&mut self.sysctl, interfaces.receiver, checker);
        for rule in &mut self.interface {
            rule.check(&interfaces, checker);
        }
    }
}
