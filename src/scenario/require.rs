//! `[require]`: what must hold before the first frame and after the last one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checker;
use super::form::{Entries, Scalar, ScalarOrList, Value};
use super::sysctl;
use crate::diagnostic::{At, Problem};

/// One `sysctl` whose effective value must be one of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysctlRule {
    /// Dotted key, placeholders already replaced.
    pub key: String,
    /// Allowed values, as text.
    pub allowed: Vec<String>,
    /// The entry in the scenario.
    pub span: std::ops::Range<usize>,
}

/// A UDP or TCP socket that must be bound: `udp:4739`, `udp:192.0.2.20:4739`, `udp:[2001:db8::1]:4739`, `tcp:…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    /// Transport protocol.
    pub transport: Transport,
    /// The address that must be served; `None`: any.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

/// A transport protocol with listening sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// UDP (RFC 768).
    Udp,
    /// TCP (RFC 9293).
    Tcp,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.transport {
            Transport::Udp => "udp:",
            Transport::Tcp => "tcp:",
        })?;
        match self.address {
            None => {}
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
        }
        write!(f, "{}", self.port)
    }
}

impl FromStr for Listener {
    type Err = String;

    /// Reads what [`Display`](fmt::Display) writes; the error is the reason.
    fn from_str(text: &str) -> Result<Self, String> {
        let (transport, rest) = text.split_once(':').ok_or("the transport is missing: udp or tcp, then a colon")?;
        let transport = match transport {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            other => return Err(format!("`{other}` is not udp or tcp")),
        };
        let (address, port) = match rest.rsplit_once(':') {
            None => (None, rest),
            Some((address, port)) => (Some(listener_address(address)?), port),
        };
        match port.parse() {
            Ok(0) | Err(_) => Err(format!("`{port}` is not a port from 1 to 65535")),
            Ok(port) => Ok(Self { transport, address, port }),
        }
    }
}

fn listener_address(text: &str) -> Result<IpAddr, String> {
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse().map(IpAddr::V6).map_err(|_| format!("`{inner}` is not an IPv6 address"));
    }
    if text.parse::<Ipv6Addr>().is_ok() || text.contains(':') {
        return Err("an IPv6 address stands in brackets".to_owned());
    }
    text.parse().map(IpAddr::V4).map_err(|_| format!("`{text}` is not an IPv4 address"))
}

/// `[require]`, with legal values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Require {
    /// Programs that must be found; the scenario is skipped where one is absent.
    pub commands: Vec<At<String>>,
    /// Effective sysctl values.
    pub sysctl: Vec<SysctlRule>,
    /// Sockets that must be bound.
    pub listener: Vec<At<Listener>>,
}

/// What must hold before the first frame and after the last one. Only checked, never set.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Form {
    /// Programs that must be found; where one is absent the scenario is skipped.
    #[schemars(example = ["nfcapd"])]
    commands: Option<Vec<Value<String>>>,
    /// Effective values of sysctls: one, or a list of those that will do. `{receiver}` is its interface.
    #[schemars(example = sysctl::example_rule())]
    sysctl: Option<Entries<ScalarOrList>>,
    /// Sockets that must be bound: `udp:4739`, `udp:192.0.2.20:4739`, `tcp:[2001:db8::1]:80`.
    #[schemars(example = ["udp:4739"])]
    listener: Option<Value<Vec<Value<String>>>>,
}

/// The legal values of `[require]`; `receiver` is the receiving interface, or the target's.
pub(super) fn check(form: Option<Value<Form>>, target: bool, receiver: &str, checker: &mut Checker) -> Require {
    let form = form.map(Value::into_inner).unwrap_or_default();
    let commands = form.commands.unwrap_or_default();
    for command in commands.iter().filter(|command| command.get().trim().is_empty()) {
        let problem = Problem::error("`require.commands` has an empty entry");
        checker.refuse(command.span(), problem.fix("name a program, as you would type it, or remove the entry"));
    }
    if let Some(listener) = form.listener.as_ref().filter(|_| target) {
        let problem = Problem::error("`require.listener` needs the lab")
            .why("with `[target]` the receiver is elsewhere: restage can't see its sockets")
            .fix("remove it; or replace `[target]` by `[lab]`");
        checker.refuse(listener.span(), problem);
    }
    let listener = form.listener.map(Value::into_inner).unwrap_or_default();
    Require {
        commands: commands.into_iter().map(Value::into_at).collect(),
        sysctl: check_sysctl(form.sysctl, receiver, checker),
        listener: listeners("require.listener", listener, checker),
    }
}

fn check_sysctl(form: Option<Entries<ScalarOrList>>, receiver: &str, checker: &mut Checker) -> Vec<SysctlRule> {
    let mut rules: Vec<SysctlRule> = Vec::new();
    for entry in form.map_or(Vec::new(), |entries| entries.0) {
        let span = entry.span();
        let allowed: Vec<String> = entry.value.get().0.iter().map(Scalar::to_string).collect();
        if allowed.is_empty() {
            let problem = Problem::error(format!("no value is allowed for `{}`", entry.key.get()));
            checker
                .refuse(span.clone(), problem.fix("write the values that will do, like [0, 2]; or remove the entry"));
        }
        let Some(key) = sysctl::key(&entry.key, receiver, checker) else { continue };
        if sysctl::is_new(&key, &span, rules.iter().map(|rule| (&rule.key, &rule.span)), checker) {
            rules.push(SysctlRule { key, allowed, span });
        }
    }
    rules
}

/// Reads a list of sockets; what can't be read is reported and left out.
pub(super) fn listeners(key: &str, written: Vec<Value<String>>, checker: &mut Checker) -> Vec<At<Listener>> {
    let mut sockets = Vec::with_capacity(written.len());
    for text in written {
        match text.get().parse() {
            Ok(socket) => sockets.push(text.with(socket)),
            Err(why) => {
                let problem = Problem::error(format!("`{key}` can't hold \"{}\"", text.get())).why(why).fix(
                    "write \"udp:4739\", \"udp:192.0.2.20:4739\" or \"udp:[2001:db8::1]:4739\", or the same with tcp",
                );
                checker.refuse(text.span(), problem);
            }
        }
    }
    sockets
}
