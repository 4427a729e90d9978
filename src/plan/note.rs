//! What is odd about a capture, or was chosen: shown with the plan, and stops nothing.

use std::net::IpAddr;

use super::selector::LeftOut;
use super::stream::Medium;
use super::survey::Survey;
use crate::capture;
use crate::diagnostic::Diagnostic;
use crate::figures::{agree, count, numbered};
use crate::rewrite::{Framing, Left, RewriteStats};
use crate::scenario::Scenario;
use crate::scenario::rewrite::Checksums;

/// "2 frames have this, and are treated so", with the `verb` for one and for several.
fn frames_are(frames: u64, verb: (&str, &str), this: &str, treated: &str) -> String {
    let (verb, are) = (agree(frames, verb.0, verb.1), agree(frames, "is", "are"));
    format!("{} {verb} {this}, and {are} {treated}", count(frames, "frame"))
}

/// Frames that were captured without an Ethernet header.
pub(super) fn framed(frames: u64, medium: &Medium) -> Option<Diagnostic> {
    let Framing { sender, receiver } = medium.framing;
    let receiver = receiver.map(|receiver| format!(", or else {receiver}")).unwrap_or_default();
    if frames == 0 {
        return None;
    }
    let what = frames_are(frames, ("was", "were"), "captured without an Ethernet header", "given one");
    Some(Diagnostic::note(what).why(format!(
        "from the captured sender's MAC, or else {sender}, to the captured destination's{receiver}; multicasts and broadcasts to theirs"
    )))
}

/// Frames that were captured on a device without addresses.
pub(super) fn addressed(frames: u64, medium: &Medium) -> Option<Diagnostic> {
    let Framing { sender, receiver } = medium.framing;
    let receiver = receiver.filter(|_| frames > 0)?;
    let what = frames_are(frames, ("has", "have"), "the destination MAC 00:00:00:00:00:00", "given another one");
    Some(Diagnostic::note(what).why(format!(
        "no interface but a loopback can have it; they go from {sender} to {receiver}, multicasts and broadcasts to theirs"
    )))
}

/// Frames that are out of order by their times.
pub(super) fn backwards(frames: u64) -> Diagnostic {
    let what = frames_are(frames, ("has", "have"), "an earlier time than a frame before", "sent at once");
    Diagnostic::note(what)
        .why(
            "frames are sent in the order of the file; each keeps its offset from the first one where that is not past",
        )
        .fix("`[capture] order = \"time\"` sends them by their times")
}

/// Checksums that the capturing host's card was to make.
pub(super) fn offload(scenario: &Scenario, survey: &Survey) -> Option<Diagnostic> {
    if survey.offload.is_empty() || scenario.rewrite.checksums == Checksums::Fix {
        return None;
    }
    let frames = survey.offload.count();
    Some(
        Diagnostic::note(format!(
            "the {} of {} {} left to the capturing host's card",
            agree(frames, "checksum", "checksums"),
            count(frames, "frame"),
            agree(frames, "was", "were")
        ))
        .why(format!("{}: only the sum of the pseudo-header is there", numbered("frame", &survey.offload.shown())))
        .fix("`[rewrite] checksums = \"fix\"` makes them"),
    )
}

/// Frames whose group became a single address, and whose MAC is still the group's.
pub fn group_mac(scenario: &Scenario, stats: &RewriteStats) -> Option<Diagnostic> {
    let mac = stats.first_group_mac()?;
    let left = stats.left(Left::GroupMac);
    let what = match left.frames {
        1 => "1 frame is sent to one host now, and its destination MAC is still the multicast MAC".to_owned(),
        frames => {
            format!("{frames} frames are sent to one host now, and their destination MACs are still multicast MACs")
        }
    };
    let (new, whose) = match scenario.topology.interface() {
        None => ("receiver", ""),
        Some(_) => ("…", ", with the MAC of the receiver or of the router on the way"),
    };
    Some(
        Diagnostic::warning(what)
            .why(format!(
                "the first is frame {}, to {mac}: only an entry changes a MAC, and hosts may drop a unicast packet in such a frame (RFC 1122 §3.3.6); TCP always does",
                left.first_frame
            ))
            .fix(format!("`[rewrite.destination] mac = {{ \"{mac}\" = \"{new}\" }}`{whose}")),
    )
}

/// Frames that the filter leaves out, and would take without their VLAN tags.
pub fn behind_tags(scenario: &Scenario, left_out: &LeftOut) -> Option<Diagnostic> {
    let (why, fix) = tagged(scenario, left_out)?;
    let tagged = left_out.behind_tags.count();
    let what =
        format!("the filter leaves out {} that {} a VLAN tag", count(tagged, "frame"), agree(tagged, "has", "have"));
    let span = scenario.capture.filter.as_ref().and_then(|filter| filter.span.clone());
    Some(Diagnostic::note(what).at(&scenario.source, span).why(why).fix(fix))
}

/// Why the filter does not take them, and what to write instead.
pub(super) fn tagged(scenario: &Scenario, left_out: &LeftOut) -> Option<(String, String)> {
    let filter = scenario.capture.filter.as_ref().filter(|_| !left_out.behind_tags.is_empty())?;
    let frames = &left_out.behind_tags;
    let why = format!(
        "it looks behind VLAN tags only where it says `vlan`; without their tags it would take {}",
        numbered("frame", &frames.shown())
    );
    let fix = if left_out.filter_knows_tags {
        let expression = capture::behind_tags(&filter.value, left_out.deepest_tag);
        let quote = if expression.contains(['"', '\\']) { '\'' } else { '"' };
        format!("`filter = {quote}{expression}{quote}` takes them too")
    } else {
        format!("choose them with `frames = \"{frames}\"` instead: pcap-filter(7) has no `vlan` for this link type")
    };
    Some((why, fix))
}

/// What a replay of TCP is worth to an application.
pub(super) const NO_CONNECTION: &str =
    "a replayed TCP stream reaches no application: the receiver's kernel has no such connection";

/// Selected frames that no step sends.
pub(super) fn in_no_step(scenario: &Scenario, left_out: &LeftOut) -> Option<Diagnostic> {
    let left = &left_out.by_steps;
    let span = scenario.steps.first().map(|step| step.span.clone());
    (!left.is_empty()).then(|| {
        Diagnostic::note(frames_are(left.count(), ("is", "are"), "in no `[[step]]`", "not sent"))
            .at(&scenario.source, span)
            .why(format!("{} selected, and with steps only their frames are sent", numbered("frame", &left.shown())))
            .fix("add a step with them; `frames = \"14-\"` are all from frame 14 on")
    })
}

/// TCP segments, which a user may expect to reach an application: a warning where there is nothing else. A sniffer gets them.
pub(super) fn tcp(scenario: &Scenario, survey: &Survey, is_lab: bool) -> Option<Diagnostic> {
    let receiver = &scenario.receiver;
    if survey.tcp_frames == 0 || is_lab && receiver.program.command.is_none() || receiver.only_sniffs() {
        return None;
    }
    let new = if survey.udp_frames.is_empty() { Diagnostic::warning } else { Diagnostic::note };
    let segments = match survey.tcp_frames {
        1 => "1 TCP segment is".to_owned(),
        more => format!("{more} TCP segments are"),
    };
    let seen = if is_lab { "`accepted` shows how far they come; " } else { "" };
    Some(
        new(format!("{segments} sent, and {NO_CONNECTION}"))
            .at(&scenario.source, receiver.program.span())
            .why("a connection needs answers that fit the receiver's own sequence numbers (RFC 9293, section 3.4), and a replay has none")
            .fix(format!("{seen}a TCP server gets data from a client that speaks its protocol")),
    )
}

/// With a target, only sending is observed.
pub(super) fn target(interface: &str, survey: &Survey, source: Option<IpAddr>) -> Diagnostic {
    let (filter, listen) = match survey.udp_ports.first() {
        Some((port, _)) => (format!(" 'udp port {port}'"), format!("udp:{port}")),
        None => (String::new(), "udp:PORT".to_owned()),
    };
    let from = source.map_or_else(String::new, |source| format!(" --from {source}"));
    Diagnostic::note(format!("with `[target]` only sending is observed: what becomes of the frames beyond `{interface}` is not known"))
        .why("the receiver is on another machine")
        .fix(format!(
            "on the receiver, `tcpdump -ni INTERFACE{filter}` shows whether they come, and `restage doctor --interface INTERFACE --listen \
             {listen}{from}` whether a socket gets them"
        ))
}
