//! `mac = …` of a side. Start at [`check`].

use std::ops::Range;

use super::super::check::Checker;
use super::super::form::{Entries, WordOr};
use super::super::topology::Topology;
use super::super::vocabulary;
use super::{MacEntry, MacMap, MacTarget, Side, SideMaps, ambiguous, duplicate};
use crate::diagnostic::{At, Diagnostic};
use crate::packet::MacAddr;

/// The legal values; `None` where a single one can't be read.
pub(super) fn check(
    written: At<WordOr<Entries<String>>>,
    side: Side,
    topology: Option<&Topology>,
    checker: &mut Checker,
) -> Option<MacMap> {
    let span = written.range();
    match written.value {
        WordOr::Word(word) => {
            let value = check_new(&word, span.clone(), side, topology, checker)?;
            Some(MacMap::All(At { value, span: Some(span) }))
        }
        WordOr::Other(entries) => {
            let mut map: Vec<MacEntry> = Vec::new();
            for entry in entries.0 {
                let from = check_old(&entry.key, checker);
                let to = check_new(&entry.value.value, entry.value.range(), side, topology, checker);
                let (Some(from), Some(to)) = (from, to) else { continue };
                let span = entry.span();
                match map.iter().find(|other| other.from == from) {
                    Some(first) => duplicate(&format!("`{from}`"), &first.span, &span, checker),
                    None => map.push(MacEntry { from, to, span }),
                }
            }
            Some(MacMap::Entries(map))
        }
    }
}

const FORM: &str = "write \"sender\", \"receiver\", \"gateway\", or an address like \"02:00:00:00:00:02\"";

fn check_old(written: &At<String>, checker: &mut Checker) -> Option<MacAddr> {
    let mac = written.value.parse().ok();
    if mac.is_none() {
        let problem = Diagnostic::error(format!("`{}` is no MAC to map from", written.value))
            .why("a MAC is six two-digit hexadecimal bytes with `:` or `-` between them")
            .fix("write an address of the capture, like \"00:1b:21:0a:0b:0c\"");
        checker.refuse(written.range(), problem);
    }
    mac
}

fn check_new(
    word: &str,
    span: Range<usize>,
    side: Side,
    topology: Option<&Topology>,
    checker: &mut Checker,
) -> Option<MacTarget> {
    let name = format!("{side}.mac = \"{word}\"");
    let problem = match (word, word.parse::<MacAddr>()) {
        ("sender", _) => return Some(MacTarget::Sender),
        ("receiver", _) if topology.is_some_and(Topology::is_observed) => {
            return Some(MacTarget::Receiver);
        }
        ("receiver", _) => Diagnostic::error(format!("`{name}` has no address to take"))
            .why("with `[target]` restage doesn't know the receiver's MAC")
            .fix("write its MAC, or that of the router on the way; `ip neigh` shows both"),
        ("gateway", _) if topology.is_none_or(|topology| topology.interface().is_some()) => {
            return Some(MacTarget::Gateway);
        }
        ("gateway", _) => Diagnostic::error(format!("`{name}` needs a real interface"))
            .why("it is the router on the way, and no router is between the two ends of a veth pair")
            .fix("write \"receiver\""),
        (_, Ok(mac)) if mac.is_multicast() && side != Side::Destination => {
            Diagnostic::error(format!("`{name}` would make a group the source"))
                .why("the group bit of a source MAC is 0 (IEEE 802.3 §3.2.3)")
                .fix(if matches!(side, Side::Both | Side::Server) {
                    "move it to `[rewrite.destination]`"
                } else {
                    FORM
                })
        }
        (_, Ok(mac)) if mac == MacAddr::default() && side != Side::Source => {
            Diagnostic::error(format!("`{name}` is an address that no receiver has"))
                .why("no interface but a loopback can have the MAC of zeros")
                .fix(FORM)
        }
        (_, Ok(mac)) => return Some(MacTarget::Literal(mac)),
        (_, Err(_)) => {
            let problem = Diagnostic::error(format!("`{side}.mac` can't be \"{word}\""));
            let problem = problem.why("it is neither a role nor a MAC address");
            vocabulary::suggest(problem, word, ["sender", "receiver", "gateway"], '"', FORM)
        }
    };
    checker.refuse(span, problem);
    None
}

/// Reports what two sides map alike.
pub(super) fn compare(one: &SideMaps, two: &SideMaps, checker: &mut Checker) {
    match (&one.mac, &two.mac) {
        (Some(MacMap::All(ours)), Some(MacMap::All(theirs))) => {
            if let (Some(ours), Some(theirs)) = (&ours.span, &theirs.span) {
                ambiguous("every MAC", (one.side, ours), (two.side, theirs), checker);
            }
        }
        (Some(MacMap::Entries(ours)), Some(MacMap::Entries(theirs))) => {
            for entry in ours {
                if let Some(other) = theirs.iter().find(|other| other.from == entry.from) {
                    let what = format!("`{}`", entry.from);
                    ambiguous(&what, (one.side, &entry.span), (two.side, &other.span), checker);
                }
            }
        }
        _ => {}
    }
}
