//! A first scenario of a capture. Start at [`of_capture`].

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::direction::Direction;
use super::{Draft, Table, list};
use crate::figures::{agree, count, duration};
use crate::inspect::{Finding, Inspection};

/// Captures up to this long are replayed at their own times.
const SHORT: Duration = Duration::from_secs(10);
/// The rate of longer ones, in frames a second, and that of those which would take longer than [`PATIENCE`] with it.
const STEADY: u64 = 1_000;
const FAST: u64 = 10_000;
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;
const MTU: u32 = 1_500;
const JUMBO_MTU: u32 = 9_000;
const LARGEST_MTU: u32 = 65_535;

/// What a draft does without, where the capture can't be replayed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concession {
    /// A filter: libpcap's look into fewer link types and headers than restage does.
    Filter,
    /// Frames that no Ethernet header can be made for.
    OtherFrames,
    /// One MAC for all: the selected frames may have no unicast one.
    Mac,
}

/// What the user wants otherwise than the capture suggests.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// The application with its arguments.
    pub(crate) command: &'a [String],
    /// A pcap-filter(7) expression.
    pub(crate) filter: Option<&'a str>,
    /// As `[pacing] rate`.
    pub(crate) rate: Option<&'a str>,
    /// The application reads from a packet socket.
    pub(crate) sniffer: bool,
    /// Every question must be answered.
    pub(crate) replies: bool,
    /// What it does without.
    pub(crate) concessions: &'a [Concession],
}

/// A scenario that replays this capture, which it names by `path`.
pub(crate) fn of_capture(inspection: &Inspection, path: &Path, wanted: &Wanted<'_>) -> Draft {
    let direction = if wanted.concessions.contains(&Concession::Filter) {
        Direction { frames: inspection.frames, ..Direction::default() }
    } else {
        Direction::of(inspection, !wanted.command.is_empty() && wanted.filter.is_none() && !wanted.sniffer)
    };
    let mut draft = Draft::default();
    draft.push(Table::new("").key("format", "1").text("summary", &summary(inspection, &direction, wanted)));
    draft.push(capture(inspection, path, &direction, wanted));
    draft.push(rewrite(inspection, wanted));
    if direction.vlan_tags > 0 {
        let pop = Table::new("[rewrite.vlan]").comment(
            "The frames have VLAN tags, and the lab's interface has no VLAN: without this they reach no socket.",
        );
        draft.push(pop.key("pop", "true"));
    }
    draft.extend(maps(inspection, &direction, wanted));
    if inspection.longest > MTU + ETHERNET {
        let mtu = inspection.longest.saturating_sub(ETHERNET).clamp(JUMBO_MTU, LARGEST_MTU);
        let lab = Table::new("[lab]").comment(format!(
            "The longest frame has {}, more than an MTU of 1500 takes.",
            count(inspection.longest.into(), "byte")
        ));
        draft.push(lab.key("mtu", mtu.to_string()));
    }
    draft.push(pacing(inspection, &direction, wanted));
    draft.push(receiver(&direction, wanted));
    draft.push(if wanted.sniffer { captured() } else { expect(&direction) });
    if wanted.replies {
        draft.push(Table::new("[expect.replies]").comment("Each question is answered.").text("count", "all"));
    } else if direction.has_answers && !direction.ports.is_empty() && !wanted.sniffer {
        draft.push(
            Table::new("")
                .comment("The capture has answers. The application's answers can be compared with them:")
                .comment("[expect.replies]")
                .comment("count = \"all\"")
                .comment("like  = \"captured\""),
        );
    }
    draft
}

fn summary(inspection: &Inspection, direction: &Direction, wanted: &Wanted<'_>) -> String {
    if wanted.sniffer {
        return format!("A sniffer captures {}", count(inspection.frames, "frame"));
    }
    if wanted.filter.is_some() {
        return "The frames that the filter selects reach the receiver".to_owned();
    }
    let ports: Vec<String> = direction.ports.iter().map(|port| format!("udp:{port}")).collect();
    match (ports.as_slice(), &direction.other_protocol) {
        ([], Some(protocol)) => format!("{} of {protocol} and others arrive", count(direction.frames, "frame")),
        ([], None) => format!("{} arrive", count(inspection.frames, "frame")),
        (ports, _) => {
            let datagrams = count(direction.frames, if direction.frames == 1 { "frame goes" } else { "frame" });
            let go = if direction.frames == 1 { "" } else { " go" };
            format!("{datagrams}{go} to {}", ports.join(", "))
        }
    }
}

/// `path` is how the scenario names it.
fn capture(inspection: &Inspection, path: &Path, direction: &Direction, wanted: &Wanted<'_>) -> Table {
    let mut table = Table::new("[capture]");
    table = table.comment(match &inspection.times {
        Some(times) => {
            let span = duration(Duration::from_secs_f64(times.seconds));
            let begin = times.first.split('.').next().unwrap_or_default();
            format!("{} in {span}, from {begin} UTC.", count(inspection.frames, "frame"))
        }
        None => "It has no frames.".to_owned(),
    });
    table = table.text("file", &path.display().to_string());
    if wanted.concessions.contains(&Concession::Filter) {
        table = table.because("All frames are replayed: a pcap-filter(7) expression can't look into them.");
    } else if let Some(filter) = wanted.filter {
        table = table.text("filter", filter);
    } else if let Some(filter) = direction.filter.as_ref().filter(|_| !wanted.sniffer) {
        table = table.text("filter", filter).because(format!(
            "A pcap-filter(7) expression. This one selects {} of {}: {}.",
            direction.frames,
            count(inspection.frames, "frame"),
            if direction.has_answers {
                "the questions, without their answers, which would have the receiver's own address as source"
            } else {
                "those that go to a receiver"
            }
        ));
        if !direction.other_ports.is_empty() {
            let some: Vec<String> = direction.other_ports.iter().take(10).map(u16::to_string).collect();
            let more = direction.other_ports.len() - some.len();
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let ports = agree(direction.other_ports.len() as u64, "port", "ports");
            table = table.because(format!("Left out: what goes to UDP {ports} {}{more}.", some.join(", ")));
        }
    }
    let Finding { frames: cut, .. } = inspection.truncated;
    if cut > 0 {
        let most = 2 * cut > inspection.frames;
        table = table.text("truncated", if most { "pad" } else { "skip" }).because(format!(
            "The snaplen cut {}. \"skip\" leaves them out, \"pad\" fills them up with zeros, \"refuse\" (the default) sends nothing.",
            count(cut, "frame")
        ));
    }
    table
}

fn rewrite(inspection: &Inspection, wanted: &Wanted<'_>) -> Table {
    let mut table = Table::new("[rewrite]");
    if wanted.concessions.contains(&Concession::OtherFrames) {
        table = table.text("other-frames", "skip").because("Frames that can't go over Ethernet are left out.");
    }
    let unfinished: u64 = inspection.checksums.iter().map(|checksum| checksum.offload.frames).sum();
    if unfinished > 0 {
        table = table.text("checksums", "fix").because(format!(
            "{} captured before the network card completed {} checksum.",
            count(unfinished, if unfinished == 1 { "packet was" } else { "packet" }),
            if unfinished == 1 { "its" } else { "their" },
        ));
    }
    if inspection.length_zero.frames > 0 {
        table = table.text("lengths", "fix").because(format!(
            "{} an IPv4 total length of 0, as segmentation offload leaves it.",
            count(
                inspection.length_zero.frames,
                if inspection.length_zero.frames == 1 { "packet has" } else { "packet" }
            )
        ));
    }
    if inspection.longest > LARGEST_MTU + ETHERNET {
        table = table.text("oversize", "skip").because("Longer frames than the largest MTU can't be sent.");
    }
    table
}

/// How addresses are changed: only loopback addresses have to be.
fn maps(inspection: &Inspection, direction: &Direction, wanted: &Wanted<'_>) -> Vec<Table> {
    let is_used = |address: &IpAddr| inspection.endpoints.iter().any(|endpoint| endpoint.address == *address);
    let loopback: Vec<&IpAddr> =
        direction.servers.iter().filter(|server| server.is_loopback() && is_used(server)).collect();
    if let [address] = loopback.as_slice() {
        let (source, destination) =
            if address.is_ipv4() { ("192.0.2.1", "192.0.2.20") } else { ("2001:db8::1", "2001:db8::20") };
        let map = |to: &str| format!("{{ \"{address}\" = \"{to}\" }}");
        return vec![
            Table::new("[rewrite.source]")
                .comment("It was captured on the loopback interface, whose addresses no other interface takes.")
                .key("ip", map(source)),
            Table::new("[rewrite.destination]").key("ip", map(destination)),
        ];
    }
    let destinations =
        inspection.macs.iter().filter(|mac| mac.received.frames > 0 && !mac.address.is_multicast()).count();
    // Answers go to a MAC, too.
    if destinations > 1 + usize::from(direction.has_answers)
        && direction.servers.iter().any(|server| !server.is_multicast())
        && !wanted.concessions.contains(&Concession::Mac)
    {
        let mac = Table::new("[rewrite.destination]")
            .comment("The frames go to several MAC addresses, and the receiver has one. `ip = { … }` changes addresses likewise.");
        return vec![mac.text("mac", "receiver")];
    }
    vec![example_of_a_map(direction)]
}

fn example_of_a_map(direction: &Direction) -> Table {
    let table = Table::new("").comment(
        "Addresses stay as they were captured, and the lab's receiver has those that the frames go to. To change one:",
    );
    let example = |address: &IpAddr| match address {
        IpAddr::V4(address) => format!("ip = {{ \"{address}\" = \"192.0.2.20\" }}"),
        IpAddr::V6(address) => format!("ip = {{ \"{address}\" = \"2001:db8::20\" }}"),
    };
    let unicast =
        |address: &&IpAddr| !address.is_multicast() && !matches!(address, IpAddr::V4(four) if four.is_broadcast());
    let first = direction.servers.iter().find(unicast).copied().unwrap_or(IpAddr::from([10, 0, 0, 1]));
    table.comment("[rewrite.destination]").comment(example(&first))
}

fn pacing(inspection: &Inspection, direction: &Direction, wanted: &Wanted<'_>) -> Table {
    let table = Table::new("[pacing]");
    if let Some(rate) = wanted.rate {
        return table.text("rate", rate);
    }
    let span = inspection.times.as_ref().map_or(0.0, |times| times.seconds);
    if span <= SHORT.as_secs_f64() {
        return table
            .text("rate", "captured")
            .because("The times of the capture. Others: \"1000 pps\", \"4x\", \"topspeed\".");
    }
    let rate = if direction.frames > STEADY * PATIENCE.as_secs() { FAST } else { STEADY };
    let captured = duration(Duration::from_secs_f64(span));
    table.text("rate", &format!("{rate} pps")).because(format!(
        "At its own times (\"captured\") it takes {captured}; `max-gap = \"100ms\"` shortens long silences then."
    ))
}

fn receiver(direction: &Direction, wanted: &Wanted<'_>) -> Table {
    let listens = list(direction.ports.iter().map(|port| format!("udp:{port}")));
    if wanted.command.is_empty() {
        let port = direction.ports.first().copied().unwrap_or(4739);
        return Table::new("")
            .comment("restage itself receives and counts the datagrams. An application takes its place here; {work} is an empty folder for it:")
            .comment("[receiver]")
            .comment(format!("command = [\"collector\", \"--port\", \"{port}\", \"--output\", \"{{work}}\"]"))
            .comment(format!("listens = {}", if direction.ports.is_empty() { "[\"udp:4739\"]" } else { &listens }));
    }
    let table = Table::new("[receiver]").key("command", list(wanted.command));
    let table = if wanted.sniffer {
        let ready = "It is ready when it has a packet socket on the interface; that takes a capability, which it gets in the lab.";
        let table = table.key("listens", list(["packet:{receiver}"])).because(ready);
        table.key("capabilities", list(["CAP_NET_RAW"]))
    } else if wanted.filter.is_some() || direction.ports.is_empty() {
        table
    } else {
        table
            .key("listens", listens)
            .because("It is ready when these are bound. A sniffer has [\"packet:{receiver}\"].")
    };
    table.comment("What the application prints is shown when it fails, and can be checked: [[expect.output]], [[expect.command]].")
}

fn captured() -> Table {
    let why = "Taken by its packet socket. What the stack of the receiver's kernel does with the frames doesn't matter to a sniffer.";
    Table::new("[expect]").text("captured", "all").because(why)
}

fn expect(direction: &Direction) -> Table {
    let table = Table::new("[expect]");
    if direction.ports.is_empty() {
        table
            .text("arrived", "all")
            .because("On the receiver's interface. Only UDP datagrams are followed into an application.")
    } else {
        table
            .text("consumed", "all")
            .because("Read from their socket by the application. A loss before fails the scenario, with its cause.")
    }
}
