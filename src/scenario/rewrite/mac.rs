//! `mac = …` of a side. Start at [`check`].

use super::super::check::Checker;
use super::super::form::{Entries, Value, WordOr};
use super::super::site::SiteWords;
use super::super::{later, reading, words};
use super::{MacEntry, MacMap, MacTarget, Side, SideMaps, ambiguous, duplicate};
use crate::diagnostic::{At, Problem};
use crate::packet::MacAddr;

/// The legal values; `None` where a single one can't be read.
pub(super) fn check(
    written: Value<WordOr<Entries<String>>>,
    side: Side,
    site: Option<&SiteWords>,
    checker: &mut Checker,
) -> Option<MacMap> {
    let span = written.span();
    match written.into_inner() {
        WordOr::Word(word) => {
            let value = target(&word, side, site).map_err(|problem| checker.refuse(span.clone(), problem)).ok()?;
            Some(MacMap::All(At { value, span: Some(span) }))
        }
        WordOr::Other(entries) => {
            let mut map: Vec<MacEntry> = Vec::new();
            for entry in entries.0 {
                let from = old(entry.key.get()).map_err(|problem| checker.refuse(entry.key.span(), problem));
                let to = target(entry.value.get(), side, site)
                    .map_err(|problem| checker.refuse(entry.value.span(), problem));
                let (Ok(from), Ok(to)) = (from, to) else { continue };
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

const FORM: &str = "write \"sender\", \"receiver\", or an address like \"02:00:00:00:00:02\"";

fn old(text: &str) -> Result<MacAddr, Problem> {
    text.parse().map_err(|_| {
        Problem::error(format!("`{text}` is no MAC to map from"))
            .why("a MAC is six two-digit hexadecimal bytes with `:` or `-` between them")
            .fix("write an address of the capture, like \"00:1b:21:0a:0b:0c\"")
    })
}

fn target(text: &str, side: Side, site: Option<&SiteWords>) -> Result<MacTarget, Problem> {
    let name = format!("{side}.mac = \"{text}\"");
    match text {
        "sender" => return Ok(MacTarget::Sender),
        "receiver" if matches!(site, Some(SiteWords::Lab(_))) => return Ok(MacTarget::Receiver),
        "receiver" => {
            return Err(Problem::error(format!("`{name}` has no address to take"))
                .why("with `[target]` nothing here knows the receiver's MAC")
                .fix("write its MAC, or that of the router on the way; `ip neigh` shows both"));
        }
        _ => {}
    }
    if let Some(instead) = later::word_comes_later("rewrite.mac", text) {
        return Err(reading::not_there_yet(&name, instead));
    }
    match text.parse::<MacAddr>() {
        Ok(mac) if mac.is_group() && side != Side::Destination => {
            let problem = Problem::error(format!("`{name}` would make a group the source"))
                .why("the group bit of a source MAC is 0 (IEEE 802.3 §3.2.3)");
            Err(match side {
                Side::Both => problem.fix("move it to `[rewrite.destination]`"),
                Side::Source | Side::Destination => problem.fix(FORM),
            })
        }
        Ok(mac) => Ok(MacTarget::Literal(mac)),
        Err(_) => {
            let problem = Problem::error(format!("`{side}.mac` can't be \"{text}\""));
            Err(match words::nearest(text, ["sender", "receiver"]) {
                Some(near) => problem.label(format!("did you mean \"{near}\"?")).fix(format!("write \"{near}\"")),
                None => problem.why("it is neither a role nor a MAC address").fix(FORM),
            })
        }
    }
}

/// Reports what `both` and another side map alike.
pub(super) fn compare(one: &SideMaps, both: &SideMaps, checker: &mut Checker) {
    match (&one.mac, &both.mac) {
        (Some(MacMap::All(ours)), Some(MacMap::All(theirs))) => {
            if let (Some(ours), Some(theirs)) = (&ours.span, &theirs.span) {
                ambiguous("every MAC", (one.side, ours), (both.side, theirs), checker);
            }
        }
        (Some(MacMap::Entries(ours)), Some(MacMap::Entries(theirs))) => {
            for entry in ours {
                if let Some(other) = theirs.iter().find(|other| other.from == entry.from) {
                    let what = format!("`{}`", entry.from);
                    ambiguous(&what, (one.side, &entry.span), (both.side, &other.span), checker);
                }
            }
        }
        _ => {}
    }
}
