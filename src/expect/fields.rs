//! Two listings of frames compared field by field. Start at [`differences`].
//!
//! A line of `packet::listing` has its fields apart by two spaces or more; most begin with their name.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::figures::{agree, count};

/// How many frames are shown.
const MOST_SHOWN: usize = 16;

/// What differs between the frames of two listings: each with its fields, both values shown. `None` where a line is no frame's.
pub(super) fn differences(reviewed: &str, now: &str, all: &str) -> Option<String> {
    let (reviewed, now) = (by_key(reviewed)?, by_key(now)?);
    let mut differing = 0;
    let mut shown = String::new();
    let keys: std::collections::BTreeSet<&(u64, &str)> = reviewed.keys().chain(now.keys()).collect();
    for key in keys {
        let told = match (reviewed.get(key), now.get(key)) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(old), Some(new)) => changes(old, new),
            (Some(_), None) => "is no longer there".to_owned(),
            (None, Some(new)) => format!("is new: {}", new.trim()),
            (None, None) => continue,
        };
        differing += 1;
        if differing <= MOST_SHOWN {
            let _infallible = write!(shown, "\n{}: {told}", key.1);
        }
    }
    let differ = agree(differing as u64, "differs", "differ");
    let mut text = format!("{} {differ}", count(differing as u64, "line"));
    text.push_str(&shown);
    if differing > MOST_SHOWN {
        let _infallible = write!(text, "\n… and {} more: {all}", differing - MOST_SHOWN);
    }
    Some(text)
}

/// The lines of a listing by what they are of: `frame 3`, `frames 10001-11000`.
fn by_key(listing: &str) -> Option<BTreeMap<(u64, &str), &str>> {
    let mut lines = BTreeMap::new();
    for line in listing.lines() {
        let trimmed = line.trim_start();
        let name =
            if trimmed.starts_with("frames ") { trimmed.split("  ").next()? } else { trimmed.split(' ').next()? };
        let number: u64 = name.trim_start_matches("frames ").split('-').next()?.parse().ok()?;
        if lines.insert((number, name), line).is_some() {
            return None;
        }
    }
    Some(lines)
}

/// The fields of a frame that are not the same.
fn changes(old: &str, new: &str) -> String {
    let (old, new) = (fields(old), fields(new));
    let mut told = Vec::new();
    for (name, value) in &old {
        match new.iter().find(|(other, _)| other == name) {
            Some((_, other)) if other == value => {}
            Some((_, other)) => told.push(format!("{name} {value} → {other}")),
            None => told.push(format!("no {name} (was {value})")),
        }
    }
    let is_new = |(name, _): &&(String, String)| !old.iter().any(|(other, _)| other == name);
    told.extend(new.iter().filter(is_new).map(|(name, value)| format!("{name} {value} is new")));
    told.join("; ")
}

/// Names and values of a line.
fn fields(line: &str) -> Vec<(String, String)> {
    if let Some((_, digest)) = line.split_once("  sha256 ").filter(|_| line.starts_with("frames ")) {
        return vec![("sha256".to_owned(), digest.to_owned())];
    }
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: &str| {
        let twice = fields.iter().filter(|(other, _)| other.split('#').next() == Some(name)).count();
        let name = if twice == 0 { name.to_owned() } else { format!("{name}#{}", twice + 1) };
        fields.push((name, value.to_owned()));
    };
    let mut columns = line.split_whitespace();
    let (_, time, length) = (columns.next(), columns.next().unwrap_or_default(), columns.next().unwrap_or_default());
    add("time", time);
    add("length", length);
    let rest = line.find(length).map_or("", |at| &line[at + length.len()..]);
    for field in rest.split("  ").map(str::trim).filter(|field| !field.is_empty()) {
        match (field.split_once(" > "), field.split_once(' ')) {
            (Some((from, to)), _) => {
                let is_mac = |text: &str| text.len() == 17 && text.bytes().filter(|byte| *byte == b':').count() == 5;
                let kind = if is_mac(from) { " MAC" } else { "" };
                add(&format!("source{kind}"), from);
                add(&format!("destination{kind}"), to);
            }
            (None, Some((name, value))) => add(name, value),
            (None, None) => add("protocol", field),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "     1    0.000000000   530B  02:00:00:00:14:14 > 02:00:00:00:00:02  192.0.2.11:41111 > 192.0.2.200:4740  udp  ttl 61  payload 488B 9726c62c
     2    0.000580377   530B  02:00:00:00:14:14 > 02:00:00:00:00:02  192.0.2.12:42222 > 192.0.2.200:4740  udp  ttl 61  payload 488B b9fc9b7f
frames 10001-11000  sha256 0011223344556677
";

    #[test]
    fn each_field_that_changed_is_shown_with_both_values() {
        let now = LINES
            .replace("192.0.2.11:41111", "198.51.100.1:41111")
            .replacen("ttl 61", "ttl 60", 1)
            .replace("  payload 488B b9", "  tos 0x10  payload 488B b9")
            .replace("0011", "ffff");
        let expected = "3 lines differ\n1: source 192.0.2.11:41111 → 198.51.100.1:41111; ttl 61 → 60\n2: tos 0x10 is new\n\
                        frames 10001-11000: sha256 0011223344556677 → ffff223344556677";
        assert_eq!(differences(LINES, &now, "").as_deref(), Some(expected));
        let fewer = LINES.lines().next().expect("a line");
        assert!(differences(LINES, fewer, "").expect("frames").contains("\n2: is no longer there"));
        assert_eq!(differences("a\n", "b\n", ""), None);
    }
}
