//! What is in a capture, for people: a head of labelled lines, then tables of endpoints, conversations and ports.

use std::fmt::Write as _;

use super::layout::{padded, visible_name};
use super::{Look, Role, paint};
use crate::figures::{count, plural, scaled, seconds, thousands};
use crate::inspect::{
    Checksum, Conversation, Endpoint, Finding, Inspection, MOST_ENTRIES, Protocol, Side, Tally, TimeUnit,
};

/// Columns of a label and the space after it.
const LABEL: usize = 13;
/// VLANs and snaplens beyond so many are counted only.
const MOST_LISTED: usize = 8;

/// The whole text, with at most `top` rows in a table.
pub fn text(found: &Inspection, top: usize, look: Look) -> String {
    let mut text = String::new();
    for (label, content) in head(found) {
        let label = paint(look.style, Role::Strong, &padded(label, LABEL));
        let _infallible = writeln!(text, "{label}{content}");
    }
    let unusual = unusual(found);
    if !unusual.is_empty() {
        let _infallible = writeln!(text, "\n{}", paint(look.style, Role::Odd, "unusual"));
        for line in unusual {
            let _infallible = writeln!(text, "  {line}");
        }
    }
    endpoints(&mut text, found, top, look);
    conversations(&mut text, found, top, look);
    ports(&mut text, found, top, look);
    text
}

fn head(found: &Inspection) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("capture", format!("{}: {}", visible_name(&found.file), format_of(found))),
        ("link type", links(found)),
        ("frames", frames(found)),
    ];
    if let Some(times) = &found.times {
        lines.push(("time", format!("{} to {}", times.first, times.last)));
        let rate = match (times.pps, times.bits_per_second) {
            (Some(pps), Some(bits)) => {
                format!("{}, on average {} and {}", seconds(times.seconds), scaled(pps, "pps"), scaled(bits, "bps"))
            }
            _ => "all at one time".to_owned(),
        };
        lines.push(("duration", rate));
    }
    if !found.networks.is_empty() {
        lines.push(("networks", protocols(&found.networks)));
    }
    if !found.transports.is_empty() {
        lines.push(("protocols", protocols(&found.transports)));
    }
    if !found.tunnels.is_empty() {
        lines.push(("tunnels", protocols(&found.tunnels)));
    }
    if !found.vlans.is_empty() {
        let rows = found.vlans.iter().map(|vlan| format!("{} ({})", vlan.id, count(vlan.frames, "frame")));
        lines.push(("VLANs", listed(rows)));
    }
    for (index, checksum) in found.checksums.iter().enumerate() {
        lines.push((if index == 0 { "checksums" } else { "" }, sums(checksum)));
    }
    lines
}

fn format_of(found: &Inspection) -> String {
    let capture = &found.capture;
    let modified = if capture.modified { ", modified (longer record headers)" } else { "" };
    let unit = match capture.time_unit {
        TimeUnit::Microsecond => "microseconds",
        TimeUnit::Nanosecond => "nanoseconds",
    };
    let order = if capture.big_endian { "big-endian" } else { "little-endian" };
    format!("{}, {unit}, {order}{modified}", capture.format)
}

fn links(found: &Inspection) -> String {
    let several = found.links.len() > 1;
    let rows = found.links.iter().map(|link| {
        let name = link.name.map_or_else(|| link.number.to_string(), |name| format!("{name} ({})", link.number));
        if several { format!("{name} {}", count(link.frames, "frame")) } else { name }
    });
    let links = if found.links.is_empty() { "none".to_owned() } else { listed(rows) };
    if found.snaplens.is_empty() {
        return links;
    }
    let snaplens = found.snaplens.iter().map(|snaplen| match snaplen {
        0 => "no limit".to_owned(),
        snaplen => thousands(u64::from(*snaplen)),
    });
    format!("{links}; snaplen {}", listed(snaplens))
}

fn frames(found: &Inspection) -> String {
    if found.frames == 0 {
        return "0".to_owned();
    }
    let longest = count(u64::from(found.longest), "byte");
    let bytes = if found.bytes_captured == found.bytes_original {
        count(found.bytes_captured, "byte")
    } else {
        format!("{} of {} on the wire", thousands(found.bytes_captured), count(found.bytes_original, "byte"))
    };
    format!("{}, {bytes}; the longest has {longest}", thousands(found.frames))
}

fn protocols(rows: &[Protocol]) -> String {
    let rows: Vec<String> = rows.iter().map(|row| format!("{} {}", row.name, thousands(row.frames))).collect();
    rows.join(", ")
}

fn sums(checksum: &Checksum) -> String {
    let mut parts = Vec::new();
    if checksum.good > 0 {
        parts.push(format!("{} good", thousands(checksum.good)));
    }
    if checksum.bad.frames > 0 {
        parts.push(format!("{} bad ({})", thousands(checksum.bad.frames), first(checksum.bad)));
    }
    if checksum.offload.frames > 0 {
        parts.push(format!("{} left to the card ({})", thousands(checksum.offload.frames), first(checksum.offload)));
    }
    if checksum.absent > 0 {
        parts.push(format!("{} absent", thousands(checksum.absent)));
    }
    if checksum.unverifiable > 0 {
        parts.push(format!("{} not verifiable", thousands(checksum.unverifiable)));
    }
    format!("{} {}", padded(checksum.of, 11), parts.join(", "))
}

/// What a replay may stumble over, a line each.
fn unusual(found: &Inspection) -> Vec<String> {
    let findings = [
        (found.truncated, "cut by the snaplen"),
        (found.oversize, "with more than 1,500 bytes of layer 3"),
        (found.length_zero, "with an IPv4 length of 0, made by segmentation offload"),
        (found.backwards, "earlier than the one before"),
    ];
    let findings = findings.into_iter().filter(|(finding, _)| finding.frames > 0);
    let mut lines: Vec<String> = findings
        .map(|(finding, what)| format!("{} {what} ({})", count(finding.frames, "frame"), first(finding)))
        .collect();
    let fragments = found.fragments;
    if fragments.frames > 0 {
        let incomplete = match fragments.incomplete {
            0 => String::new(),
            incomplete => format!(", {} of them incomplete", thousands(incomplete)),
        };
        let (fragments, datagrams) = (count(fragments.frames, "fragment"), count(fragments.datagrams, "datagram"));
        lines.push(format!("{fragments} of {datagrams}{incomplete}"));
    }
    let unlisted = found.unlisted;
    for (frames, what) in
        [(unlisted.endpoints, "endpoints"), (unlisted.macs, "MAC addresses"), (unlisted.conversations, "conversations")]
    {
        if frames > 0 {
            let frames = count(frames, "frame");
            lines.push(format!("{frames} of {what} beyond the first {}, not listed", thousands(MOST_ENTRIES as u64)));
        }
    }
    lines
}

fn first(finding: Finding) -> String {
    format!("first frame {}", thousands(finding.first.unwrap_or_default()))
}

/// Frames and bytes in columns, the bytes in brackets.
fn tally(tally: Tally) -> String {
    format!("{:>10}  {:>13}", thousands(tally.frames), thousands(tally.bytes))
}

fn title(text: &mut String, title: &str, columns: &str, width: usize, look: Look) {
    let title = paint(look.style, Role::Strong, &padded(title, width + 2));
    let _infallible = writeln!(text, "\n{title}{}", paint(look.style, Role::Faint, columns).trim_end());
}

fn more(text: &mut String, all: usize, top: usize) {
    if all > top {
        let _infallible = writeln!(text, "  … and {} more", thousands((all - top) as u64));
    }
}

/// Columns of the longest of these names.
fn widest<'a>(names: impl IntoIterator<Item = &'a String>) -> usize {
    names.into_iter().map(String::len).max().unwrap_or_default().max(22)
}

fn endpoints(text: &mut String, found: &Inspection, top: usize, look: Look) {
    let rows = |endpoints: Vec<(String, Tally, Tally)>, all: usize, noun: &str, text: &mut String| {
        if endpoints.is_empty() {
            return;
        }
        let width = widest(endpoints.iter().map(|(name, ..)| name));
        let columns = format!("{:>10}  {:>13}  {:>10}  {:>13}", "sent", "bytes", "received", "bytes");
        title(text, &format!("{} {}", thousands(all as u64), plural(all as u64, noun)), &columns, width, look);
        for (name, sent, received) in endpoints {
            let _infallible = writeln!(text, "  {}{}  {}", padded(&name, width), tally(sent), tally(received));
        }
        more(text, all, top);
    };
    let ip = |endpoint: &Endpoint| (endpoint.address.to_string(), endpoint.sent, endpoint.received);
    rows(found.endpoints.iter().take(top).map(ip).collect(), found.endpoints.len(), "endpoint", text);
    let macs = found.macs.iter().take(top);
    let macs = macs.map(|mac| (mac.address.to_string(), mac.sent, mac.received)).collect();
    rows(macs, found.macs.len(), "MAC", text);
}

fn conversations(text: &mut String, found: &Inspection, top: usize, look: Look) {
    let all = &found.conversations;
    if all.is_empty() {
        return;
    }
    let names: Vec<String> = all.iter().take(top).map(conversation).collect();
    let width = widest(&names);
    let columns = format!("{:>10}  {:>13}  {:>10}  {:>13}", "there", "bytes", "back", "bytes");
    title(text, &count(all.len() as u64, "conversation"), &columns, width, look);
    for (name, conversation) in names.iter().zip(all) {
        let back = if conversation.is_bidirectional() { tally(conversation.from_server) } else { String::new() };
        let line = format!("  {}{}  {back}", padded(name, width), tally(conversation.from_client));
        let _infallible = writeln!(text, "{}", line.trim_end());
    }
    more(text, all.len(), top);
}

fn conversation(conversation: &Conversation) -> String {
    format!("{} {} > {}", padded(&conversation.protocol, 6), side(conversation.client), side(conversation.server))
}

fn side(side: Side) -> String {
    match (side.address, side.port) {
        (address, None) => address.to_string(),
        (std::net::IpAddr::V6(address), Some(port)) => format!("[{address}]:{port}"),
        (address, Some(port)) => format!("{address}:{port}"),
    }
}

fn ports(text: &mut String, found: &Inspection, top: usize, look: Look) {
    let all = &found.ports;
    if all.is_empty() {
        return;
    }
    let columns = format!("{:>10}  {:>13}", "frames", "bytes");
    title(text, &count(all.len() as u64, "destination port"), &columns, 22, look);
    for port in all.iter().take(top) {
        let name = padded(&format!("{} {}", port.protocol, port.number), 22);
        let _infallible = writeln!(text, "  {name}{:>10}  {:>13}", thousands(port.frames), thousands(port.bytes));
    }
    more(text, all.len(), top);
}

/// The first of these, and how many there are beyond.
fn listed(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    let shown = items.iter().take(MOST_LISTED).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(MOST_LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
