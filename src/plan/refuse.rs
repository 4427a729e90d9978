//! What can't be sent as asked: each with its place, why, and the way out.

use std::time::Duration;

use super::stream::{Counts, Medium};
use super::survey::Survey;
use crate::capture;
use crate::diagnostic::{At, Failure, Problem, Result};
use crate::scenario::Scenario;
use crate::scenario::site::{LARGEST_MTU, SiteWords};

/// `[capture] sha256` is not the file's.
pub(super) fn wrong_digest(scenario: &Scenario) -> Result<()> {
    let Some(pinned) = &scenario.capture.sha256 else { return Ok(()) };
    let files = &scenario.capture.files;
    let actual = capture::sha256(files.paths()).map_err(|mut failure| {
        for problem in &mut failure.problems {
            *problem = problem.clone().at(&scenario.source, files.span());
        }
        failure
    })?;
    if actual == pinned.value {
        return Ok(());
    }
    Err(Failure::invalid(
        Problem::error(format!("`{files}` is not the capture that the scenario pins"))
            .at(&scenario.source, pinned.span.clone())
            .why(format!("expected SHA-256 {}, the file has {actual}", pinned.value))
            .fix("bring the old file back, or look at the new one (`restage plan`) and pin it"),
    ))
}

/// Filter and frame numbers leave nothing.
pub(super) fn nothing_selected(scenario: &Scenario, counts: Counts) -> Result<()> {
    if counts.selected > 0 {
        return Ok(());
    }
    let capture = &scenario.capture;
    let files = &capture.files;
    let problem = if counts.read == 0 {
        Problem::error(format!("`{files}` holds no frames")).at(&scenario.source, capture.files.span())
    } else {
        let span = [
            capture.filter.as_ref().and_then(|filter| filter.span.clone()),
            capture.frames.as_ref().and_then(|frames| frames.span.clone()),
            capture.truncated.span.clone(),
            capture.files.span(),
        ];
        let why = if counts.skipped_oversize > 0 {
            format!(
                "{} frames were read, {} of them skipped since the snaplen cut them, {} since they are longer than the MTU",
                counts.read, counts.skipped_truncated, counts.skipped_oversize
            )
        } else if counts.skipped_truncated > 0 {
            format!(
                "{} frames were read, {} of them skipped since the snaplen cut them",
                counts.read, counts.skipped_truncated
            )
        } else {
            format!("{} frames were read, and none is left by `filter` and `frames`", counts.read)
        };
        Problem::error("no frame is selected")
            .at(&scenario.source, span.into_iter().flatten().next())
            .why(why)
            .fix("the filter looks at the capture before rewriting: `tcpdump -r FILE FILTER` shows what it leaves")
    };
    Err(Failure::invalid(problem))
}

/// `[pacing] limit` leaves nothing.
pub(super) fn limit_below_the_first_frame(scenario: &Scenario, counts: Counts, cut: bool) -> Result<()> {
    if !cut || counts.selected > 0 {
        return Ok(());
    }
    let span = scenario.pacing.limit.as_ref().and_then(|limit| limit.span.clone());
    Err(Failure::invalid(
        Problem::error("the limit leaves no frame")
            .at(&scenario.source, span)
            .why("sending ends before the frame that would pass it, and that is the first one")
            .fix("raise it, or count \"1000 packets\""),
    ))
}

/// Frames that no Ethernet header can be made for.
pub(super) fn not_ethernet(scenario: &Scenario, survey: &Survey, medium: &Medium) -> Option<Problem> {
    let (frame, link) = survey.not_ethernet?;
    let problem = if medium.framing.is_none() {
        Problem::error(format!("frame {frame} was captured without an Ethernet header (link type {link})"))
            .why("one is made for it, and with `[target]` nothing here knows the receiver's MAC")
            .fix("say `[rewrite.destination] mac = \"…\"`: the receiver's, or the router's on the way; `ip neigh` shows both")
    } else {
        Problem::error(format!("frame {frame} of link type {link} can't be sent over Ethernet"))
            .why("headers are made for IP of the link types NULL, LOOP, RAW, PPP, and for what has an EtherType of SLL, SLL2, C-HDLC and PPPoE")
            .fix("leave such frames out with `[capture] filter = \"ip or ip6\"` or `frames`")
    };
    Some(problem.at(&scenario.source, scenario.capture.files.span()))
}

/// What makes packets of frames that are cut.
const CUT: &str = "cut them with \"truncate\", `lengths = \"fix\"` and `checksums = \"fix\"`";

/// Frames above the MTU.
pub(super) fn oversize(scenario: &Scenario, survey: &Survey, mtu: u32) -> Option<Problem> {
    if survey.oversize.is_empty() {
        return None;
    }
    // No interface takes more.
    let raise = |how: String| if survey.longest > LARGEST_MTU { String::new() } else { format!("`{how}`, or ") };
    let (span, fix) = match &scenario.site {
        SiteWords::Lab(lab) => (
            lab.mtu.span.clone().or_else(|| scenario.capture.files.span()),
            format!(
                "{}leave them out with `[rewrite] oversize = \"skip\"`, or {CUT}",
                raise(format!("[lab] mtu = {}", survey.longest))
            ),
        ),
        SiteWords::Target { interface } => (
            interface.span.clone(),
            format!(
                "{}leave them out with `[rewrite] oversize = \"skip\"`, or {CUT}",
                raise(format!("ip link set {} mtu {}", interface.value, survey.longest))
            ),
        ),
    };
    Some(
        Problem::error(match survey.oversize.count() {
            1 => format!("1 frame is longer than the MTU of {mtu} bytes"),
            count => format!("{count} frames are longer than the MTU of {mtu} bytes"),
        })
            .at(&scenario.source, span)
            .why(format!(
                "frames {}: the longest layer 3 packet has {} bytes (often made by segmentation offload on the capturing host)",
                survey.oversize, survey.longest
            ))
            .fix(fix),
    )
}

/// A snapshot of more frames than anybody reviews.
pub(super) fn too_long_to_review(scenario: &Scenario, frames: u64) -> Problem {
    let span = scenario.expect.rewritten.as_ref().and_then(|path| path.span.clone());
    Problem::error(format!("a snapshot of {frames} frames is longer than anybody reviews"))
        .at(&scenario.source, span)
        .why(format!("at most {} frames are listed", super::MOST_LISTED))
        .fix("choose some with `[capture] frames = \"1-1000\"`")
}

/// `timeout` is shorter than the planned duration.
pub(super) fn timeout(scenario: &Scenario, limit: &At<Duration>, planned: Duration) -> Problem {
    Problem::error(format!("the timeout of {:?} is shorter than the replay, which takes {planned:?}", limit.value))
        .at(&scenario.source, limit.span.clone())
        .why("what is not sent in time is lost as NOT_SENT")
        .fix("raise `timeout`, or shorten the replay with `[pacing] max-gap` or `rate`")
}

/// An expectation on a stage that only UDP datagrams come to, where there are none.
pub(super) fn stages_without_datagrams(scenario: &Scenario, survey: &Survey) -> Vec<Problem> {
    if !survey.udp_frames.is_empty() {
        return Vec::new();
    }
    let expect = &scenario.expect;
    [("delivered", &expect.delivered), ("consumed", &expect.consumed)]
        .into_iter()
        .filter_map(|(stage, count)| count.as_ref().map(|count| (stage, count.span.clone())))
        .map(|(stage, span)| {
            Problem::error(format!("`{stage}` can't be observed: no UDP datagram is selected"))
                .at(&scenario.source, span)
                .why("the stages behind the wire are counted for UDP sockets only")
                .fix("expect `arrived`, or choose UDP with `[capture] filter`")
        })
        .collect()
}
