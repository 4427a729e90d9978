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
pub(super) use self::listener::listeners;
pub use self::listener::{Listener, Transport};
pub use self::sysctl::SysctlRule;
use super::check::Checker;
use super::form::{Entries, ScalarOrList, TableOrList, Value};
use super::topology::{LAB_RECEIVER, LAB_SENDER, Topology};
use crate::diagnostic::{At, Diagnostic};

/// `[require]`, with legal values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Require {
    /// Programs that must be found; the scenario is skipped where one is absent.
    pub commands: Vec<At<String>>,
    /// Effective sysctl values.
    pub sysctl: Vec<SysctlRule>,
    /// Interfaces that must be there, and how.
    pub interface: Vec<InterfaceRule>,
    /// The kernel's version.
    pub kernel: Option<At<KernelRule>>,
    /// Capabilities that this process must have.
    pub capabilities: Vec<At<Capability>>,
    /// Sockets that must be bound.
    pub listens: Vec<At<Listener>>,
    /// Sockets whose packets the receiver's ruleset must not drop.
    pub firewall: Vec<At<Listener>>,
}

/// What must hold before the first frame and after the last one. Only checked, never set.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Form {
    /// Programs that must be found; where one is absent the scenario is skipped.
    #[schemars(example = ["nfcapd"])]
    commands: Option<Vec<Value<String>>>,
    /// Effective values of sysctls: one, a comparison like ">= 212992", or a list of those that will do. `{receiver}` is its
    /// interface.
    #[schemars(example = super::sysctl::example_rule())]
    sysctl: Option<Entries<ScalarOrList>>,
    /// An interface that must be there, and how it must be; or a list of several.
    #[schemars(example = interface::example())]
    interface: Option<Value<TableOrList<interface::Form>>>,
    /// The kernel's version, as a comparison: `>= 5.17`.
    #[schemars(regex(pattern = kernel::PATTERN), example = &">= 5.17")]
    kernel: Option<Value<String>>,
    /// Capabilities that restage must have, as capabilities(7) names them.
    #[schemars(example = ["CAP_BPF", "CAP_PERFMON"])]
    capabilities: Option<Vec<Value<String>>>,
    /// Sockets that must be bound: `udp:4739`, `udp:192.0.2.20:4739`, `tcp:[2001:db8::20]:80`.
    #[schemars(example = ["udp:4739"])]
    listens: Option<Value<Vec<Value<String>>>>,
    /// Sockets, written as for `listens`, whose packets the receiver's ruleset must not drop.
    #[schemars(example = ["udp:4739"])]
    firewall: Option<Value<Vec<Value<String>>>>,
}

/// The interfaces of a topology by their placeholders.
struct Interfaces<'a> {
    receiver: &'a str,
    sender: &'a str,
    /// Whether these and the loopback are all that there are.
    lab: bool,
}

/// The legal values of `[require]`; `topology` is `None` for a target without an interface.
pub(super) fn check(
    form: Option<Value<Form>>,
    topology: Option<&Topology>,
    target: bool,
    checker: &mut Checker,
) -> Require {
    let form = form.map(Value::into_inner).unwrap_or_default();
    let interfaces = match topology {
        Some(Topology::Target { interface }) => {
            Interfaces { receiver: &interface.value, sender: &interface.value, lab: false }
        }
        Some(Topology::Lab(_)) | None => Interfaces { receiver: LAB_RECEIVER, sender: LAB_SENDER, lab: !target },
    };
    let commands = form.commands.unwrap_or_default();
    for command in commands.iter().filter(|command| command.get().trim().is_empty()) {
        let problem = Diagnostic::error("`require.commands` has an empty entry");
        checker.refuse(command.span(), problem.fix("name a program, as you would type it, or remove the entry"));
    }
    let elsewhere = [("listens", &form.listens, "sockets"), ("firewall", &form.firewall, "ruleset")];
    for (key, written, whose) in elsewhere {
        if let Some(written) = written.as_ref().filter(|_| target) {
            let problem = Diagnostic::error(format!("`require.{key}` needs the lab"))
                .why(format!("with `[target]` the receiver is elsewhere: restage can't see its {whose}"))
                .fix("remove it; or replace `[target]` by `[lab]`");
            checker.refuse(written.span(), problem);
        }
    }
    let mut sockets = |key: &str, written: Option<Value<Vec<Value<String>>>>| {
        listeners(key, written.map(Value::into_inner).unwrap_or_default(), checker)
    };
    let listens = sockets("require.listens", form.listens);
    let firewall = sockets("require.firewall", form.firewall);
    Require {
        commands: commands.into_iter().map(Value::into_at).collect(),
        sysctl: sysctl::check(form.sysctl, interfaces.receiver, checker),
        interface: form.interface.map_or(Vec::new(), |written| interface::check(written, &interfaces, checker)),
        kernel: form.kernel.and_then(|written| kernel::check(&written, checker)),
        capabilities: capability::check(form.capabilities.unwrap_or_default(), checker),
        listens,
        firewall,
    }
}
