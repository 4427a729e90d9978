//! `[rewrite.payload]`: what changes in the payloads of UDP datagrams. Start at [`check`].

use std::ops::Range;

use jiff::Timestamp;
use regex::bytes::RegexBuilder;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::check::Checker;
use super::super::form::{Entries, Switch, refused, values};
use crate::diagnostic::{At, Diagnostic};

/// A protocol whose datagrams are looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadRule {
    /// Which, and how.
    pub protocol: PayloadProtocol,
    /// The UDP ports that mark its datagrams, as captured: at least one, and none of another rule.
    pub ports: Vec<u16>,
    /// Its value in the scenario.
    pub span: Range<usize>,
}

/// A protocol, with what its rewriting needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadProtocol {
    /// RFC 1035.
    Dns,
    /// RFC 2131.
    Dhcp,
    /// RFC 1157, RFC 3416.
    Snmp,
    /// RFC 2865, RFC 2866.
    Radius {
        /// What client and server share.
        secret: String,
    },
    /// RFC 3261, RFC 8866.
    Sip,
    /// RFC 3164, RFC 5424.
    Syslog {
        /// What its times become.
        time: TimeTarget,
        /// Regular expressions that compile, and what their matches become, in the order of the file.
        replace: Vec<(String, String)>,
    },
}

/// What the first time of a capture becomes; all others are shifted by as much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeTarget {
    /// What it was: nothing is shifted.
    #[default]
    Captured,
    /// The time at which the capture is first read.
    Now,
    /// This.
    At(Timestamp),
}

values! {
    TimeTarget: String, |text: &String| match text.as_str() {
        "captured" => Ok(Self::Captured),
        "now" => Ok(Self::Now),
        other => other.parse().map(Self::At).map_err(|error: jiff::Error| refused(
            if is_too_late(other, &error) {
                format!("`{other}` is after 9999-12-30T22:00:00Z, the last time that can be read")
            } else {
                format!("`{other}` is not a time in the form of RFC 3339")
            },
            "write \"now\", \"captured\" or a time like \"2026-01-01T00:00:00Z\"",
        )),
    };
    Port: i64, |port: &i64| u16::try_from(*port).map(Self).map_err(|_| refused(
        format!("{port} is not a port from 0 to 65535"),
        "write a port like 5353",
    )), { "type": "integer", "format": "uint16", "minimum": 0, "maximum": 65535 };
}

/// A UDP port.
#[derive(Debug, Clone, Copy)]
struct Port(u16);

/// Whether it is the year that is wrong: RFC 3339 has four digits for it, and the last hours of 9999 are another year elsewhere.
fn is_too_late(text: &str, error: &jiff::Error) -> bool {
    let year = text.trim_start_matches('+');
    let (digits, rest) = year.split_at(year.find(|c: char| !c.is_ascii_digit()).unwrap_or(year.len()));
    (digits.len() > 4 && rest.starts_with('-')) || (text.starts_with("9999-12-3") && error.is_range())
}

/// What changes in the payloads of UDP datagrams. Addresses in them follow the `ip` maps of all tables.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("minProperties" = 1))]
pub(super) struct Form {
    /// A and AAAA records of DNS messages. Default ports: 53.
    #[schemars(example = true)]
    dns: Option<At<Switch<PortsForm>>>,
    /// Addresses in DHCP messages and their options. Default ports: 67 and 68.
    #[schemars(example = true)]
    dhcp: Option<At<Switch<PortsForm>>>,
    /// The agent's address of SNMP version 1 traps, and values of type IpAddress. Default ports: 161 and 162.
    #[schemars(example = true)]
    snmp: Option<At<Switch<PortsForm>>>,
    radius: Option<At<RadiusForm>>,
    /// Addresses in the headers of SIP messages and in SDP. Default ports: 5060.
    #[schemars(example = true)]
    sip: Option<At<Switch<PortsForm>>>,
    syslog: Option<At<SyslogForm>>,
}

/// Which datagrams.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct PortsForm {
    /// The UDP ports that mark its datagrams, source or destination, as captured.
    #[schemars(length(min = 1), example = [5353])]
    ports: Option<At<Vec<Port>>>,
}

/// Addresses in RADIUS attributes; the authenticators follow. Default ports: 1812, 1813 and 3799.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["secret"]))]
struct RadiusForm {
    /// The secret that client and server share.
    #[schemars(example = &"testing123")]
    secret: Option<At<String>>,
    /// The UDP ports that mark its datagrams, source or destination, as captured.
    #[schemars(length(min = 1), example = [1645, 1646])]
    ports: Option<At<Vec<Port>>>,
}

/// Text and times of syslog messages. Default ports: 514.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct SyslogForm {
    /// What the first message's time becomes: `now`, a time of RFC 3339, or `captured`. All others are shifted by as much. Default: captured.
    #[schemars(with = "Option<String>", example = &"now")]
    time: Option<At<TimeTarget>>,
    /// Regular expressions, and what their matches become; `$1` is the first group.
    #[schemars(example = example())]
    replace: Option<Entries<String>>,
    /// The UDP ports that mark its datagrams, source or destination, as captured.
    #[schemars(length(min = 1), example = [1514])]
    ports: Option<At<Vec<Port>>>,
}

/// An example, for editors and messages.
fn example() -> serde_json::Value {
    serde_json::json!({ "host=(\\S+)": "host=lab-$1" })
}

/// The legal rules; what is odd is reported.
pub(super) fn check(written: At<Form>, checker: &mut Checker) -> Vec<PayloadRule> {
    use PayloadProtocol::{Dhcp, Dns, Radius, Sip, Snmp, Syslog};
    let table = written.range();
    let Form { dns, dhcp, snmp, radius, sip, syslog } = written.value;
    let switches = [&dns, &dhcp, &snmp, &sip];
    let is_empty = radius.is_none() && syslog.is_none() && switches.iter().all(|switch| switch.is_none());
    let mut rules = Vec::new();
    let mut add = |protocol, ports: Option<At<Vec<Port>>>, standard: &[u16], span, checker: &mut Checker| {
        let ports = match ports {
            None => standard.to_vec(),
            Some(ports) if ports.value.is_empty() => {
                let problem = Diagnostic::error("`ports` names no port");
                checker.refuse(ports.range(), problem.fix(format!("write some, or leave it out for {standard:?}")));
                return;
            }
            Some(ports) => ports.value.into_iter().map(|port| port.0).collect(),
        };
        rules.push(PayloadRule { protocol, ports, span });
    };
    for (form, protocol, standard) in
        [(dns, Dns, &[53][..]), (dhcp, Dhcp, &[67, 68]), (snmp, Snmp, &[161, 162]), (sip, Sip, &[5060])]
    {
        let Some(form) = form else { continue };
        let span = form.range();
        if let Some(PortsForm { ports }) = form.value.into_option() {
            add(protocol, ports, standard, span, checker);
        }
    }
    if let Some(form) = radius {
        let span = form.range();
        match form.value.secret {
            Some(secret) => {
                add(Radius { secret: secret.value }, form.value.ports, &[1812, 1813, 3799], span, checker);
            }
            None => {
                let problem = Diagnostic::error("`rewrite.payload.radius.secret` is missing")
                    .why("the authenticators of RADIUS are made with it (RFC 2865 §3)")
                    .fix("write `radius = { secret = \"…\" }`");
                checker.missing("rewrite.payload.radius.secret", span, problem);
            }
        }
    }
    if let Some(form) = syslog {
        let span = form.range();
        let SyslogForm { time, replace, ports } = form.value;
        if time.is_none() && replace.is_none() {
            let problem = Diagnostic::error("`[rewrite.payload.syslog]` changes nothing")
                .fix("write `time = \"now\"`, or `replace = { 'PATTERN' = \"TEXT\" }`, or remove the table");
            checker.missing_all("rewrite.payload.syslog", &["time", "replace"], span.clone(), problem);
        }
        let replace = replace.map_or(Vec::new(), |entries| replacements(entries, checker));
        let time = time.map_or(TimeTarget::default(), |time| time.value);
        add(Syslog { time, replace }, ports, &[514], span, checker);
    }
    share_no_port(&rules, checker);
    if is_empty {
        let problem = Diagnostic::error("`[rewrite.payload]` names no protocol");
        let problem = problem.fix("write one, such as `dns = true`, or remove the table");
        let keys = ["dns", "dhcp", "snmp", "radius", "sip", "syslog"];
        checker.missing_all("rewrite.payload", &keys, table, problem);
    }
    rules
}

fn replacements(entries: Entries<String>, checker: &mut Checker) -> Vec<(String, String)> {
    let legal = entries.0.into_iter().filter_map(|entry| {
        if let Err(wrong) = pattern(&entry.key.value) {
            // The crate's message is several lines, with its own caret; the last one says what is wrong.
            let message = wrong.to_string();
            let why = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let problem = Diagnostic::error(format!("`{}` is not a regular expression", entry.key.value)).why(why);
            let fix = "mend it; its syntax is https://docs.rs/regex/latest/regex/#syntax, and 'single quotes' keep backslashes";
            checker.refuse(entry.key.range(), problem.fix(fix));
            return None;
        }
        Some((entry.key.value, entry.value.value))
    });
    legal.collect()
}

/// Compiles a regular expression over bytes, in which `^` and `$` are the ends of lines.
pub(crate) fn pattern(text: &str) -> Result<regex::bytes::Regex, regex::Error> {
    RegexBuilder::new(text).multi_line(true).build()
}

/// Reports a port that marks the datagrams of two protocols.
fn share_no_port(rules: &[PayloadRule], checker: &mut Checker) {
    for (index, rule) in rules.iter().enumerate() {
        for other in rules.iter().take(index) {
            let Some(port) = rule.ports.iter().find(|port| other.ports.contains(port)) else { continue };
            let (first, later) = if other.span.start < rule.span.start { (other, rule) } else { (rule, other) };
            let problem = Diagnostic::error(format!("port {port} marks the datagrams of two protocols"))
                .label(format!("line {} names it too", checker.line(first.span.start)))
                .fix("give one of them other `ports`");
            checker.refuse(later.span.clone(), problem);
        }
    }
}

impl PayloadProtocol {
    /// Its key in `[rewrite.payload]`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Dhcp => "dhcp",
            Self::Snmp => "snmp",
            Self::Radius { .. } => "radius",
            Self::Sip => "sip",
            Self::Syslog { .. } => "syslog",
        }
    }
}
