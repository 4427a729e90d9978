//! What can't be sent as asked: each with its place, why, and the way out.

use std::path::Path;
use std::time::Duration;

use super::note::{self, NO_CONNECTION};
use super::questions::{Question, Questions};
use super::selector::{Counts, LeftOut};
use super::survey::Survey;
use super::{MOST_LISTED, PlannedStep};
use crate::capture;
use crate::diagnostic::{At, Diagnostic, Failure, Result};
use crate::figures::{agree, count, duration, numbered, thousands};
use crate::packet::layers::{LinkType, protocol as ip_protocol};
use crate::predict::{Carried, Class};
use crate::rewrite::Unframed;
use crate::scenario::Scenario;
use crate::scenario::expect::Count;
use crate::scenario::require::{Listener, Transport};
use crate::scenario::rewrite::Oversize;
use crate::scenario::step::Action;
use crate::scenario::topology::LARGEST_MTU;

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
        Diagnostic::error(format!("`{files}` is not the capture that the scenario pins"))
            .at(&scenario.source, pinned.span.clone())
            .why(format!("expected SHA-256 {}, the file has {actual}", pinned.value))
            .fix("bring the old file back, or look at the new one (`restage plan`) and pin it"),
    ))
}

/// `[expect.replies] filter` is not a pcap-filter expression.
///
/// # Errors
/// With its place.
pub fn reply_filter(scenario: &Scenario) -> Result<()> {
    let filter = scenario.expect.replies.as_ref().and_then(|replies| replies.value.filter.as_ref());
    let Some(filter) = filter else { return Ok(()) };
    capture::Filter::compile(&filter.value)
        .map(|_| ())
        .map_err(|failure| failure.at(&scenario.source, filter.span.as_ref()))
}

/// `[expect.replies]` is about questions or captured answers, and there are none.
pub(super) fn replies(scenario: &Scenario, questions: &Questions) -> Result<()> {
    let Some(At { value: expected, .. }) = &scenario.expect.replies else { return Ok(()) };
    let of_questions = expected.count.as_ref().filter(|count| matches!(count.value, Count::All | Count::Percent(_)));
    let refused = |problem: Diagnostic, span| Err(Failure::invalid(problem.at(&scenario.source, span)));
    if let Some(count) = of_questions
        && questions.list.is_empty()
    {
        let problem = Diagnostic::error("no selected frame asks for an answer")
            .why("only UDP datagrams can be answered, and of those no response, trap or acknowledgement")
            .fix("select the requests by `[capture] filter`, such as \"udp dst port 53\", or write a number");
        return refused(problem, count.span.clone());
    }
    let is_answered = |question: &Question| {
        question.captured.iter().any(|asked| questions.captured.to(asked, question.to_group).answers > 0)
    };
    if let Some(like) = &expected.like
        && !questions.list.iter().any(is_answered)
    {
        let problem = Diagnostic::error("the capture has no answer to a selected frame")
            .why("`like = \"captured\"` compares what is sent back with the answers in the capture, also with those that `filter` leaves out")
            .fix("name a capture of both directions, or review the answers once: `snapshot = \"snapshots/replies.snap\"`");
        return refused(problem, like.span.clone());
    }
    if let Some(snapshot) = &expected.snapshot
        && questions.list.len() as u64 > MOST_LISTED
    {
        return refused(too_long_to_review(scenario, questions.list.len() as u64), snapshot.span.clone());
    }
    Ok(())
}

/// Why no frame is selected: the capture has none, `frames` or `filter` leave none, or all are skipped.
pub fn nothing_selected(scenario: &Scenario, counts: Counts, left_out: &LeftOut) -> Failure {
    let capture = &scenario.capture;
    let files = &capture.files;
    let chosen = counts.read - left_out.by_frames;
    let (problem, span) = if counts.read == 0 {
        let problem = Diagnostic::error(format!("`{files}` holds no frames"));
        (problem.why("there is nothing to replay or rewrite").fix("name a capture that has some"), files.span())
    } else if chosen == 0 {
        let problem = Diagnostic::error("`frames` names no frame of the capture")
            .why(format!("`{files}` has {}", frames(counts.read)))
            .fix(match counts.read {
                1 => "write \"1\", or leave `frames` out".to_owned(),
                last => format!("write numbers up to {last}, like \"1-{last}\""),
            });
        (problem, capture.frames.as_ref().and_then(|frames| frames.span.clone()))
    } else if !left_out.by_steps.is_empty() && chosen == left_out.by_filter + left_out.by_steps.count() {
        let problem = Diagnostic::error("no `[[step]]` names a selected frame")
            .why(format!(
                "frames {} are selected, and with steps only their frames are sent",
                left_out.by_steps.shown()
            ))
            .fix("write these numbers into `frames` of a step");
        (problem, scenario.steps.first().map(|step| step.span.clone()))
    } else if chosen == left_out.by_filter {
        (filtered(scenario, counts, left_out), capture.filter.as_ref().and_then(|filter| filter.span.clone()))
    } else {
        let mut skipped: Vec<String> = counts
            .skipped()
            .map(|(skipped, why)| format!("{} {} skipped: {why}", thousands(skipped), agree(skipped, "is", "are")))
            .collect();
        if left_out.by_filter > 0 {
            skipped.push(format!("`filter` leaves out {}", left_out.by_filter));
        }
        let (truncated, oversize) = (counts.skipped_truncated > 0, counts.skipped_oversize > 0);
        let fixes = [
            truncated.then_some("`[capture] truncated = \"pad\"` or `\"send\"` keeps those that the snaplen cut"),
            (counts.skipped_other > 0).then_some("name a capture with frames that go over Ethernet"),
            oversize.then_some("`[rewrite] oversize = \"truncate\"` or a larger `[lab] mtu` keeps those above the MTU"),
        ];
        let mut fixes: Vec<&str> = fixes.into_iter().flatten().collect();
        if fixes.is_empty() {
            fixes.push("choose a capture with frames that can be sent over Ethernet");
        }
        let span = if truncated { capture.truncated.span.clone() } else { scenario.rewrite.oversize.span.clone() };
        let why = format!("of {}, {}", frames(chosen), skipped.join(", and "));
        (Diagnostic::error("every selected frame is skipped").why(why).fix(fixes.join("; ")), span)
    };
    Failure::invalid(problem.at(&scenario.source, span.or_else(|| files.span())))
}

fn frames(number: u64) -> String {
    count(number, "frame")
}

/// The filter takes no frame.
fn filtered(scenario: &Scenario, counts: Counts, left_out: &LeftOut) -> Diagnostic {
    let files = &scenario.capture.files;
    let problem = Diagnostic::error("no frame passes the filter");
    if let Some((why, fix)) = note::tagged(scenario, left_out) {
        return problem.why(why).fix(fix);
    }
    let file = files.paths().next().unwrap_or(Path::new("FILE")).display();
    let inspect = if files.are_payloads() {
        "`[capture] to` and `from` have them".to_owned()
    } else {
        format!("`restage inspect {file}` shows what the capture holds")
    };
    if scenario.capture.frames.is_none() {
        return problem
            .why(format!(
                "`{files}` has {}, and it takes none of them; it sees them before they are rewritten",
                frames(counts.read)
            ))
            .fix(format!("name addresses and ports that are there: {inspect}"));
    }
    problem
        .why(format!("`frames` selects {}, and it takes none of them", frames(left_out.by_filter)))
        .fix(format!("choose other `frames`, or name addresses and ports that these have: {inspect}"))
}

/// `[pacing] limit` is less than the first frame, which has `length` bytes.
pub(super) fn limit_below_the_first_frame(scenario: &Scenario, length: usize) -> Failure {
    let span = scenario.pacing.limit.as_ref().and_then(|limit| limit.span.clone());
    Failure::invalid(
        Diagnostic::error("the limit leaves no frame")
            .at(&scenario.source, span)
            .why(format!(
                "sending ends before the frame that would pass it, and the first one has {}",
                count(length as u64, "byte")
            ))
            .fix(format!("write at least `limit = \"{length} B\"`, or count frames: `limit = \"1 packet\"`")),
    )
}

/// Steps whose frames are not in the capture, or not selected.
pub(super) fn steps_without_frames(scenario: &Scenario, planned: &[PlannedStep]) -> Vec<Diagnostic> {
    let steps = scenario.steps.iter().zip(planned).enumerate();
    let empty = steps.filter(|(_, (step, planned))| matches!(step.action, Action::Frames(_)) && planned.frames == 0);
    empty
        .map(|(index, (step, _))| {
            Diagnostic::error(format!("step {} sends no frame", index + 1))
                .at(&scenario.source, Some(step.span.clone()))
                .why("none of the selected frames of the capture has one of these numbers")
                .fix("compare them with what `restage inspect` and `[capture] filter` say, or remove the step")
        })
        .collect()
}

/// A frame that no Ethernet header can be made for.
pub(super) fn unframed(scenario: &Scenario, frame: u64, link: LinkType, why: Unframed) -> Diagnostic {
    let link = link.0;
    let problem = match why {
        Unframed::NoReceiver => Diagnostic::error(format!(
            "frame {frame} was captured without an Ethernet header (link type {link})"
        ))
        .why("one is made for it, and with `[target]` restage doesn't know the receiver's MAC")
        .fix("say `[rewrite.destination] mac = \"…\"`: the receiver's, or the router's on the way; `ip neigh` shows both"),
        Unframed::Frame(what) => {
            Diagnostic::error(format!("frame {frame} of link type {link} can't be sent over Ethernet"))
                .why(format!("it is {what}"))
                .fix("`[rewrite] other-frames = \"skip\"` leaves out such frames")
        }
    };
    problem.at(&scenario.source, scenario.capture.files.span())
}

/// What makes packets of frames that are cut.
const CUT: &str = "cut them with \"truncate\", `lengths = \"fix\"` and `checksums = \"fix\"`";

/// Frames above the MTU.
pub(super) fn oversize(scenario: &Scenario, survey: &Survey, mtu: u32) -> Option<Diagnostic> {
    if survey.oversize.is_empty() {
        return None;
    }
    let over = survey.oversize.count();
    // No interface takes more.
    let raise = |how: String| if survey.longest > LARGEST_MTU { String::new() } else { format!("`{how}`, or ") };
    let written = scenario.topology.pair().and_then(|lab| lab.mtu.span.clone());
    let (span, raised) = match scenario.topology.interface() {
        Some(interface) => {
            (interface.span.clone(), raise(format!("ip link set {} mtu {}", interface.value, survey.longest)))
        }
        None => (written.or_else(|| scenario.capture.files.span()), raise(format!("[lab] mtu = {}", survey.longest))),
    };
    // What was left out was too long as it was captured.
    let (reason, remedy) = match scenario.rewrite.oversize.value {
        Oversize::Skip => (
            "; its payload became longer, and `oversize = \"skip\"` looks at frames as they were captured",
            "leave them out with `[capture] filter`".to_owned(),
        ),
        Oversize::Refuse | Oversize::Truncate => (
            " (often made by segmentation offload on the capturing host)",
            format!("leave them out with `[rewrite] oversize = \"skip\"`, or {CUT}"),
        ),
    };
    Some(
        Diagnostic::error(format!(
            "{} {} longer than the MTU of {}",
            count(over, "frame"),
            agree(over, "is", "are"),
            count(mtu.into(), "byte")
        ))
        .at(&scenario.source, span)
        .why(format!(
            "{}: the longest layer 3 packet has {}{reason}",
            numbered("frame", &survey.oversize.shown()),
            count(survey.longest.into(), "byte")
        ))
        .fix(format!("{raised}{remedy}")),
    )
}

/// Fragments that several machines send at the same time: the receiver takes those of one for another's.
pub(super) fn fragments_of_copies(scenario: &Scenario, survey: &Survey) -> Option<Diagnostic> {
    let first = survey.fragment.filter(|_| scenario.topology.copies() > 1)?;
    let sender = scenario.topology.senders().first()?;
    Some(
        Diagnostic::error("`share = \"copies\"` can't send fragments")
            .at(&scenario.source, sender.share.span.clone())
            .why(format!(
                "frame {first} is a fragment; those of all machines have the same addresses and identification, so that the receiver would put together \
                 fragments of different ones"
            ))
            .fix("leave fragments out (`[capture] filter = \"not (ip[6:2] & 0x3fff != 0 or ip6[6] = 44)\"`), or write `share = \"exporters\"`"),
    )
}

/// A snapshot of more frames than a person reviews.
pub(super) fn too_long_to_review(scenario: &Scenario, frames: u64) -> Diagnostic {
    let span = scenario.expect.rewritten.as_ref().and_then(|path| path.span.clone());
    Diagnostic::error(format!("a snapshot of {} is too long to review", count(frames, "frame")))
        .at(&scenario.source, span)
        .why(format!("at most {} are listed", count(super::MOST_LISTED, "frame")))
        .fix("choose some with `[capture] frames = \"1-1000\"`")
}

/// `timeout` is shorter than the planned duration, or than what the application may take before or after it.
pub(super) fn timeout(scenario: &Scenario, limit: &At<Duration>, planned: Duration, ready: Duration) -> Diagnostic {
    let not_sent = "what is not sent in time is lost as NOT_SENT";
    let (takes, why, shorten) = if limit.value < planned {
        let takes = format!("the replay, which takes {}", duration(planned));
        (takes, not_sent, "shorten the replay with `[pacing] max-gap` or `rate`")
    } else if limit.value < ready {
        let takes = format!("what the application may take to be ready, {}", duration(ready));
        (takes, not_sent, "lower `[receiver] ready`")
    } else {
        let within = scenario.expect.longest_within().map_or(Duration::ZERO, |within| within.value);
        let takes = format!("what a check may take, {}", duration(within));
        (takes, "all waiting ends with the run", "lower the `within` of that check")
    };
    Diagnostic::error(format!("the timeout of {} is shorter than {takes}", duration(limit.value)))
        .at(&scenario.source, limit.span.clone())
        .why(why)
        .fix(format!("raise `timeout`, or {shorten}"))
}

/// Output that is expected of a TCP server which gets nothing: no UDP is sent, and TCP to a port that it listens on.
pub(super) fn output_of_a_tcp_server(scenario: &Scenario, survey: &Survey, classes: &[Class]) -> Option<Diagnostic> {
    let gets = |listener: &&Listener| {
        let to_it = |class: &Class| match class.key.carried {
            Carried::Ip { protocol, port, .. } => protocol == ip_protocol::TCP && port == Some(listener.port),
            Carried::Other { .. } => false,
        };
        listener.transport == Transport::Tcp && classes.iter().any(to_it)
    };
    let (check, server) = scenario.expect.output.iter().filter(|_| survey.udp_frames.is_empty()).find_map(|check| {
        let program = scenario.receiver.named(check.process.as_ref())?;
        Some((check, program.named_sockets().iter().find(gets)?))
    })?;
    Some(
        Diagnostic::error(format!("what the server on `{server}` makes of the frames can't be expected: it gets none"))
            .at(&scenario.source, check.from.span.clone())
            .why(NO_CONNECTION)
            .fix("remove `[[expect.output]]` and expect `accepted`, which is how far the segments come; test the server with a client that speaks its protocol"),
    )
}

/// An expectation on a stage that only UDP datagrams come to, where there are none.
pub(super) fn stages_without_datagrams(scenario: &Scenario, survey: &Survey) -> Vec<Diagnostic> {
    if !survey.udp_frames.is_empty() {
        return Vec::new();
    }
    let expect = &scenario.expect;
    [("delivered", &expect.delivered), ("consumed", &expect.consumed)]
        .into_iter()
        .filter_map(|(stage, count)| count.as_ref().map(|count| (stage, count.span.clone())))
        .map(|(stage, span)| {
            Diagnostic::error(format!("`{stage}` can't be observed: no UDP datagram is selected"))
                .at(&scenario.source, span)
                .why(if survey.tcp_frames > 0 {
                    format!("these stages are counted for UDP sockets only, and {NO_CONNECTION}")
                } else {
                    "these stages are counted for UDP sockets only".to_owned()
                })
                .fix("expect `accepted` or `arrived`, or choose UDP with `[capture] filter`")
        })
        .collect()
}
