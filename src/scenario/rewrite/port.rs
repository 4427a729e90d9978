//! `port = …` of a side. Start at [`check`].

use super::super::check::Checker;
use super::super::form::{Entries, Entry};
use super::{PortEntry, Side, SideMaps, ambiguous, duplicate};
use crate::diagnostic::Diagnostic;

/// An example, for editors and messages.
pub(super) fn example() -> serde_json::Value {
    serde_json::json!({ "2055": 4739, "8000-8099": 80 })
}

/// The legal values; what can't be read is reported and left out.
pub(super) fn check(written: Entries<i64>, side: Side, checker: &mut Checker) -> Vec<PortEntry> {
    let mut map: Vec<PortEntry> = Vec::new();
    for entry in written.0 {
        let Some(entry) = check_entry(&entry, side, checker) else { continue };
        match map.iter().find(|other| overlap(other, &entry)) {
            Some(first) => duplicate(&shared(first, &entry), &first.span, &entry.span, checker),
            None => map.push(entry),
        }
    }
    map
}

fn check_entry(entry: &Entry<i64>, side: Side, checker: &mut Checker) -> Option<PortEntry> {
    let range = old(&entry.key.value).map_err(|why| {
        let problem = Diagnostic::error(format!("`{}` is no port to map from", entry.key.value)).why(why);
        let fix = "write a port like 2055, or a range like \"8000-8099\"; a list is several entries";
        checker.refuse(entry.key.range(), problem.fix(fix));
    });
    let to = u16::try_from(entry.value.value).map_err(|_| {
        let problem = Diagnostic::error(format!("`{side}.port` can't map to {}", entry.value.value));
        checker
            .refuse(entry.value.range(), problem.why("a port is from 0 to 65535").fix("write the new port, like 4739"));
    });
    let ((from, last), to) = (range.ok()?, to.ok()?);
    Some(PortEntry { from, last, to, span: entry.span() })
}

fn old(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits).ok_or_else(|| format!("`{text}` is not a port from 0 to 65535"))
    };
    let Some((first, last)) = text.split_once('-') else {
        return port(text).map(|port| (port, port));
    };
    let (first, last) = (port(first)?, port(last)?);
    if first <= last { Ok((first, last)) } else { Err("the range ends before it begins".to_owned()) }
}

fn overlap(one: &PortEntry, other: &PortEntry) -> bool {
    one.from <= other.last && other.from <= one.last
}

/// The ports that two entries share, in words.
fn shared(one: &PortEntry, other: &PortEntry) -> String {
    let (first, last) = (one.from.max(other.from), one.last.min(other.last));
    if first == last { format!("port {first}") } else { format!("ports {first} to {last}: each") }
}

/// Reports what two sides map alike.
pub(super) fn compare(one: &SideMaps, two: &SideMaps, checker: &mut Checker) {
    for entry in &one.port {
        if let Some(other) = two.port.iter().find(|other| overlap(other, entry)) {
            ambiguous(&shared(entry, other), (one.side, &entry.span), (two.side, &other.span), checker);
        }
    }
}
