//! `ip = …` of a side. Start at [`check`].

use std::net::IpAddr;
use std::ops::Range;

use ipnet::IpNet;

use super::super::check::Checker;
use super::super::form::{Entries, Entry, WordOr};
use super::super::topology::Topology;
use super::super::{address, vocabulary};
use super::{IpEntry, IpMap, Side, SideMaps, ambiguous, duplicate};
use crate::diagnostic::{At, Diagnostic};

/// An example, for editors and messages.
pub(super) fn example() -> serde_json::Value {
    serde_json::json!({ "10.44.1.0/24": "192.0.2.0/24" })
}

/// The legal values; `None` where the word can't be resolved.
pub(super) fn check(
    written: At<WordOr<Entries<String>>>,
    side: Side,
    topology: Option<&Topology>,
    checker: &mut Checker,
) -> Option<IpMap> {
    let span = written.range();
    match written.value {
        WordOr::Word(word) if word == "receiver" => receiver(span, side, topology, checker),
        WordOr::Word(word) => {
            let problem = Diagnostic::error(format!("`{side}.ip` can't be \"{word}\""))
                .why("it is a map of addresses, or \"receiver\" for the first address of `[lab]`");
            let problem = if word.parse::<IpAddr>().is_ok() {
                let all = if word.contains(':') { "::/0" } else { "0.0.0.0/0" };
                problem.fix(format!("write {{ \"{all}\" = \"{word}\" }}, which maps every address of this family"))
            } else {
                let fix = "write a map like { \"10.44.1.0/24\" = \"192.0.2.0/24\" }";
                vocabulary::suggest(problem, &word, ["receiver"], '"', fix)
            };
            checker.refuse(span, problem);
            None
        }
        WordOr::Other(entries) => {
            let mut map: Vec<IpEntry> = Vec::new();
            for entry in entries.0 {
                let Some(entry) = check_entry(&entry, side, checker) else { continue };
                match map.iter().find(|other| other.from == entry.from) {
                    Some(first) => duplicate(&format!("`{}`", entry.from), &first.span, &entry.span, checker),
                    None => map.push(entry),
                }
            }
            Some(IpMap::Prefixes(map))
        }
    }
}

fn receiver(span: Range<usize>, side: Side, topology: Option<&Topology>, checker: &mut Checker) -> Option<IpMap> {
    let problem = Diagnostic::error(format!("`{side}.ip = \"receiver\"` has no address to take"));
    if topology.is_some_and(Topology::is_there_already) {
        // The addresses that it has are known when the namespace is looked at.
        return Some(IpMap::Receiver { v4: None, v6: None, span });
    }
    let Some(lab) = topology.and_then(Topology::lab) else {
        let problem = problem
            .why("with `[target]` restage doesn't know the receiver's address")
            .fix("write a map, like { \"0.0.0.0/0\" = \"192.0.2.20\" } with the receiver's address");
        checker.refuse(span, problem);
        return None;
    };
    let addresses = lab.addresses.as_ref().map_or(&[][..], |addresses| &addresses.value);
    let first = |v4: bool| addresses.iter().map(|address| address.value.addr()).find(|address| address.is_ipv4() == v4);
    let (v4, v6) = (first(true), first(false));
    if v4.is_none() && v6.is_none() {
        let problem = problem
            .why("it is the first address of `[lab] addresses`, which must then be written")
            .fix("add `addresses = [\"192.0.2.20/24\"]` to `[lab]`");
        let cause = lab.addresses.as_ref().and_then(|addresses| addresses.span.clone());
        checker.refuse_because(span, cause.as_ref(), "lab.addresses", problem);
        return None;
    }
    Some(IpMap::Receiver { v4, v6, span })
}

fn check_entry(entry: &Entry<String>, side: Side, checker: &mut Checker) -> Option<IpEntry> {
    let from = read(&entry.key, "is no prefix to map from", checker);
    let to = read(&entry.value, "is no prefix to map to", checker);
    let (from, to) = (from?, to?);
    let span = entry.span();
    let arrow = format!("`{}` can't become `{}`", entry.key.value, entry.value.value);
    let families = from.addr().is_ipv4() == to.addr().is_ipv4();
    let problem = if !families {
        Diagnostic::error(arrow)
            .why("one is IPv4, the other IPv6: a map keeps the family")
            .fix("write a prefix of the same family")
    } else if to.prefix_len() < from.prefix_len() {
        Diagnostic::error(arrow)
            .why(format!(
                "the new prefix has {} bits, the old one {}: bits of the host would be lost",
                to.prefix_len(),
                from.prefix_len()
            ))
            .fix(longer(&to, from.prefix_len()))
    } else if address::is_multicast_or_broadcast(&to) && matches!(side, Side::Source | Side::Client) {
        Diagnostic::error(arrow)
            .why("a group is never a source (RFC 1122 §3.2.1.3, RFC 4291 §2.7)")
            .fix("write the address of one host")
    } else if address::is_multicast_or_broadcast(&to)
        && !address::is_multicast_or_broadcast(&from)
        && side != Side::Destination
    {
        Diagnostic::error(arrow)
            .why(format!(
                "`{}` maps sources too, and a group is never a source (RFC 1122 §3.2.1.3, RFC 4291 §2.7)",
                side.word()
            ))
            .fix("move the entry to `[rewrite.destination]`")
    } else {
        return Some(IpEntry { from, to, span });
    };
    checker.refuse(span, problem);
    None
}

/// How the new prefix is made as long as the old one.
fn longer(to: &IpNet, length: u8) -> String {
    match IpNet::new(to.addr(), length) {
        Ok(net) => format!("write \"{net}\", or a longer prefix"),
        Err(_) => "write a longer prefix".to_owned(),
    }
}

fn read(written: &At<String>, what: &str, checker: &mut Checker) -> Option<IpNet> {
    let prefix = address::prefix(&written.value);
    prefix
        .map_err(|mut problem| {
            problem.what = format!("`{}` {what}", written.value);
            checker.refuse(written.range(), problem);
        })
        .ok()
}

/// Reports what two sides map alike.
pub(super) fn compare(one: &SideMaps, two: &SideMaps, checker: &mut Checker) {
    match (&one.ip, &two.ip) {
        (Some(IpMap::Prefixes(ours)), Some(IpMap::Prefixes(theirs))) => {
            for entry in ours {
                if let Some(other) = theirs.iter().find(|other| other.from == entry.from) {
                    let what = format!("`{}`", entry.from);
                    ambiguous(&what, (one.side, &entry.span), (two.side, &other.span), checker);
                }
            }
        }
        (Some(IpMap::Receiver { span: ours, .. }), Some(IpMap::Receiver { span: theirs, .. })) => {
            ambiguous("every address", (one.side, ours), (two.side, theirs), checker);
        }
        _ => {}
    }
}
