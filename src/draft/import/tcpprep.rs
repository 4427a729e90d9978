//! tcpprep: which frames are of clients, and which are sent at all.

use super::options::{COMMON, Given, Opt, Options, Tables, flag, value};
use super::sheet::Sheet;
use super::shell::Word;
use super::tcprewrite::{prefix, wrong};
use super::{Cache, Import, Split};
use crate::diagnostic::{Diagnostic, Failure, Result};

const SHOWS: &str = "it only prints; `restage inspect CAPTURE` shows endpoints and conversations";
const GUESS: &str = "the client is the sender of a conversation's first frame in the capture";
const COMMENT: &str = "there is no cache file; write a comment into the scenario";

const TCPPREP: &[Opt] = &[
    value("a", "auto"),
    value("c", "cidr"),
    value("r", "regex"),
    flag("p", "port"),
    value("e", "mac"),
    flag("", "reverse"),
    value("C", "comment").not(COMMENT),
    flag("", "no-arg-comment").not(COMMENT),
    value("x", "include"),
    value("X", "exclude"),
    value("o", "cachefile"),
    value("i", "pcap"),
    value("P", "print-comment").not(SHOWS),
    value("I", "print-info").not(SHOWS),
    value("S", "print-stats").not(SHOWS),
    value("s", "services").not("ports of servers are written into a filter: `[capture] filter = \"dst port 53\"`"),
    flag("N", "nonip").not("frames without IP go to the receiver; `[capture] filter = \"ip or ip6\"` leaves them out"),
    value("R", "ratio").not(GUESS),
    value("m", "minmask").not(GUESS),
    value("M", "maxmask").not(GUESS),
    flag("w", "suppress-warnings").not("it prints less"),
];
pub(super) const ALL: Tables = &[TCPPREP, COMMON];

/// One tcpprep.
pub(super) fn import(command: &[Word], import: &mut Import) -> Result<()> {
    let options = Options::read(import.source, command, ALL, |_| None)?;
    let mut sheet = Sheet::new(import.source, Vec::new());
    sheet.untranslated_of(&options);
    let is_reversed = options.has("reverse");
    let split = if let Some(given) = options.get("cidr") {
        let prefixes: Option<Vec<_>> = given.value.split(',').map(prefix).collect();
        let prefixes = prefixes.ok_or_else(|| wrong(given, &sheet, "prefixes: `192.168.0.0/16,10.0.0.0/8`"))?;
        if is_reversed {
            let nets: Vec<_> = prefixes.iter().map(|prefix| format!("src net {prefix}")).collect();
            Split::Filter(nets.join(" or "))
        } else {
            Split::Servers(prefixes)
        }
    } else if let Some(given) = options.get("mac") {
        let hosts: Vec<_> = given.value.split(',').map(|mac| format!("ether src {mac}")).collect();
        let hosts = hosts.join(" or ");
        Split::Filter(if is_reversed { hosts } else { format!("not ({hosts})") })
    } else if options.has("port") {
        Split::Filter("dst portrange 0-1023".to_owned())
    } else {
        Split::Unknown
    };
    for name in ["auto", "regex", "port", "mac", "cidr"] {
        if let Some(given) = options.get(name) {
            sheet.remark(given, format!("`{}`: clients and servers are found otherwise", given.spelled), match name {
                "cidr" => "`--endpoints` maps these prefixes; for all else the client is the sender of a conversation's first frame in the capture",
                _ => GUESS,
            });
        }
    }
    if let Some(given) = options.get("reverse")
        && !options.has("cidr")
        && !options.has("mac")
    {
        sheet.untranslated(given, GUESS);
    }
    let mut selected = Vec::new();
    for (name, is_exclude) in [("include", false), ("exclude", true)] {
        if let Some(given) = options.get(name) {
            selected.push(rule(given, &sheet, is_exclude)?);
        }
    }
    let is_rewritten = options.get("pcap").is_some_and(|given| import.written.contains_key(&given.value));
    if let Some(given) = options.get("include").or(options.get("exclude")).filter(|_| is_rewritten) {
        sheet.remark(
            given,
            format!("`{}` was for the rewritten frames", given.spelled),
            "`[capture] filter` sees the frames as they were captured; write the captured addresses and ports",
        );
    }
    import.notes.append(&mut sheet.notes);
    let Some(output) = options.get("cachefile") else {
        if options.has("print-info") || options.has("print-stats") || options.has("print-comment") {
            return Ok(());
        }
        return Err(Failure::invalid(
            Diagnostic::error("tcpprep writes no cache file")
                .at(import.source, command.first().map(|word| word.span.clone()))
                .fix("write `-o FILE`"),
        ));
    };
    import.caches.insert(output.value.clone(), Cache { split, selected });
    Ok(())
}

/// The key of `[capture]` that does what a rule does, with its value and the option.
fn rule(given: &Given, sheet: &Sheet, is_exclude: bool) -> Result<(&'static str, String, String)> {
    let what = "a rule: `S:10.0.0.0/8`, `D:…`, `B:…`, `E:…`, `P:1-5,9` or `F:'udp port 53'`";
    let (kind, rest) = given.value.split_once(':').ok_or_else(|| wrong(given, sheet, what))?;
    let nets = |side: &str| -> Result<String> {
        let nets = rest.split(',').map(|text| Some(format!("{side} net {}", prefix(text)?)));
        let nets: Option<Vec<_>> = nets.collect();
        Ok(nets.ok_or_else(|| wrong(given, sheet, what))?.join(" or "))
    };
    let filter = match kind {
        "S" => nets("src")?,
        "D" => nets("dst")?,
        "B" => format!("({}) and ({})", nets("src")?, nets("dst")?),
        "E" => format!("{} or {}", nets("src")?, nets("dst")?),
        "F" => rest.to_owned(),
        "P" if !is_exclude => return Ok(("frames", rest.to_owned(), given.spelled.clone())),
        "P" => {
            let others = others(rest).ok_or_else(|| wrong(given, sheet, what))?;
            return Ok(("frames", others, given.spelled.clone()));
        }
        _ => return Err(wrong(given, sheet, what)),
    };
    let filter = if is_exclude { format!("not ({filter})") } else { filter };
    Ok(("filter", filter, given.spelled.clone()))
}

/// The frames that a list of numbers and ranges leaves out.
fn others(list: &str) -> Option<String> {
    let mut ranges = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
        ranges.push((first.parse::<u64>().ok()?, last));
    }
    ranges.sort_unstable();
    let (mut next, mut others) = (1, Vec::new());
    for (first, last) in ranges {
        if first > next {
            others.push(format!("{next}-{}", first - 1));
        }
        next = next.max(last.saturating_add(1));
    }
    if next < u64::MAX {
        others.push(format!("{next}-"));
    }
    (!others.is_empty()).then(|| others.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_that_are_left_are_the_gaps() {
        assert_eq!(others("3,5-7,6-9").as_deref(), Some("1-2,4-4,10-"));
        assert_eq!(others("1-4,9-").as_deref(), Some("5-8"));
        assert_eq!(others("1-"), None);
    }
}
