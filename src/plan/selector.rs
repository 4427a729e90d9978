//! Which frames of a capture a scenario selects, and how many go which way. Start at [`Selector`].

use super::refuse;
use crate::capture::{Filter, Frame, FrameRanges, LARGEST_SNAPLEN};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::figures::{count, thousands};
use crate::packet::layers::{Layers, LinkType};
use crate::rewrite::{Framing, Unframed};
use crate::scenario::Scenario;
use crate::scenario::capture::Truncated;
use crate::scenario::rewrite::{OtherFrames, Oversize};

/// How many frames went which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Read from the file: up to the last frame that `[capture] frames` selects.
    pub read: u64,
    /// Left by filter and frame numbers, and not skipped.
    pub selected: u64,
    /// Skipped because the snaplen cut them.
    pub skipped_truncated: u64,
    /// Skipped because they are longer than the MTU.
    pub skipped_oversize: u64,
    /// Skipped because there is no Ethernet header for them.
    pub skipped_other: u64,
}

impl Counts {
    /// Adds those of one pass; one that was cut has counted a frame that a limit left out.
    pub(super) fn add(&mut self, of_pass: Self, cut: bool) {
        self.read += of_pass.read - u64::from(cut);
        self.selected += of_pass.selected - u64::from(cut);
        self.skipped_truncated += of_pass.skipped_truncated;
        self.skipped_oversize += of_pass.skipped_oversize;
        self.skipped_other += of_pass.skipped_other;
    }

    /// How many frames the scenario skips, and why; only the reasons that occurred.
    pub fn skipped(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let reasons = [
            (self.skipped_other, "no Ethernet header can be made"),
            (self.skipped_truncated, "cut by the snaplen"),
            (self.skipped_oversize, "longer than the MTU"),
        ];
        reasons.into_iter().filter(|(frames, _)| *frames > 0)
    }
}

/// Which frames of a capture a scenario selects.
#[derive(Debug)]
pub struct Selector<'a> {
    pub(super) scenario: &'a Scenario,
    filter: Option<Filter>,
    /// The MTU, where there is one.
    mtu: Option<u32>,
    /// What makes Ethernet headers, where they are made.
    pub(super) framing: Option<Framing>,
    /// Whether a frame over the MTU, or one that can't have a header, that nothing else happens to is refused at once.
    refuses_at_once: bool,
    /// The number of the frame that was asked about last.
    last: u64,
    /// Where frames went.
    pub counts: Counts,
    /// Why frames are not selected.
    pub left_out: LeftOut,
}

/// Why frames are not selected, beside those that are skipped.
#[derive(Debug, Clone, Default)]
pub struct LeftOut {
    /// Frames that `[capture] frames` leaves out.
    pub by_frames: u64,
    /// Frames that `[capture] filter` leaves out.
    pub by_filter: u64,
    /// Frames that are in no `[[step]]`.
    pub by_steps: FrameRanges,
    /// Frames that the filter leaves out, and would take without their VLAN tags.
    pub behind_tags: FrameRanges,
    /// How many tags these have at most.
    pub deepest_tag: usize,
    /// Whether pcap-filter(7) knows VLAN tags of the link types of all of them.
    pub filter_knows_tags: bool,
}

impl<'a> Selector<'a> {
    /// The selection of `scenario`, where an interface takes layer 3 packets of at most `mtu` bytes.
    ///
    /// # Errors
    /// A filter expression that libpcap does not take.
    pub fn new(scenario: &'a Scenario, mtu: Option<u32>) -> Result<Self> {
        let filter = match &scenario.capture.filter {
            None => None,
            Some(expression) => {
                Some(Filter::compile(&expression.value).map_err(|failure| in_filter(scenario, failure))?)
            }
        };
        let (counts, left_out) = (Counts::default(), LeftOut { filter_knows_tags: true, ..LeftOut::default() });
        Ok(Self { scenario, filter, mtu, framing: None, refuses_at_once: false, last: 0, counts, left_out })
    }

    /// Frames over the MTU are refused one by one, where `[rewrite] oversize` refuses them, and so are those without an Ethernet header;
    /// the survey refuses all of them at once.
    #[must_use]
    pub fn refusing_at_once(self) -> Self {
        Self { refuses_at_once: true, ..self }
    }

    /// Frames are given Ethernet headers.
    #[must_use]
    pub fn framing(self, framing: Framing) -> Self {
        Self { framing: Some(framing), ..self }
    }

    /// Whether `frame` is selected. Where a capture is read again, which a number that is no higher than the last one shows, the counts begin again.
    ///
    /// # Errors
    /// A cut frame where `[capture] truncated` refuses it; a filter that does not fit the frame's link type.
    pub fn takes(&mut self, frame: &Frame<'_>) -> Result<bool> {
        if frame.number <= self.last {
            self.counts = Counts::default();
            self.left_out = LeftOut { filter_knows_tags: true, ..LeftOut::default() };
        }
        self.last = frame.number;
        self.counts.read += 1;
        let capture = &self.scenario.capture;
        if let Some(frames) = &capture.frames
            && !frames.value.contains(frame.number)
        {
            self.left_out.by_frames += 1;
            return Ok(false);
        }
        if let Some(filter) = &mut self.filter
            && !filter.matches(frame).map_err(|failure| in_filter(self.scenario, failure))?
        {
            self.left_out.add(filter, frame);
            return Ok(false);
        }
        if !self.scenario.steps.is_empty() && self.scenario.step_of(frame.number).is_none() {
            self.left_out.by_steps.add(frame.number);
            return Ok(false);
        }
        if let Some(framing) = &self.framing
            && let Err(why) = framing.check(frame.link, frame.bytes)
        {
            match (self.scenario.rewrite.other_frames.value, why) {
                (OtherFrames::Skip, Unframed::Frame(_)) => {
                    self.counts.skipped_other += 1;
                    return Ok(false);
                }
                _ if self.refuses_at_once => {
                    return Err(Failure::invalid(refuse::unframed(self.scenario, frame.number, frame.link, why)));
                }
                _ => {}
            }
        }
        if (frame.bytes.len() as u64) < u64::from(frame.original_length) {
            match capture.truncated.value {
                Truncated::Refuse => return Err(truncated(self.scenario, frame)),
                Truncated::Skip => {
                    self.counts.skipped_truncated += 1;
                    return Ok(false);
                }
                Truncated::Pad if frame.original_length > LARGEST_SNAPLEN => {
                    return Err(too_long_to_pad(self.scenario, frame));
                }
                Truncated::Pad | Truncated::Send => {}
            }
        }
        match self.scenario.rewrite.oversize.value {
            Oversize::Skip if self.is_oversize(frame) => {
                self.counts.skipped_oversize += 1;
                return Ok(false);
            }
            Oversize::Refuse if self.refuses_at_once && self.is_oversize(frame) => {
                return Err(oversize(self.scenario, frame));
            }
            Oversize::Refuse | Oversize::Skip | Oversize::Truncate => {}
        }
        self.counts.selected += 1;
        Ok(true)
    }

    /// Whether `[capture] frames` selects none behind the first `read` frames.
    pub(super) fn is_past_frames(&self, read: u64) -> bool {
        self.scenario.capture.frames.as_ref().is_some_and(|frames| read >= frames.value.last())
    }

    /// Whether the packet that would be sent is longer than the MTU.
    fn is_oversize(&self, frame: &Frame<'_>) -> bool {
        let Some(mtu) = self.mtu else { return false };
        let captured = frame.bytes.len();
        let sent = match self.scenario.capture.truncated.value {
            Truncated::Pad => captured.max(frame.original_length as usize),
            Truncated::Refuse | Truncated::Skip | Truncated::Send => captured,
        };
        let framed = match &self.framing {
            Some(framing) if frame.link != LinkType::ETHERNET => framing.packet_length(frame.link, frame.bytes, sent),
            _ => None,
        };
        framed.unwrap_or_else(|| Layers::find(frame.link, frame.bytes).packet_length(sent)) > mtu as usize
    }
}

impl LeftOut {
    /// Adds a frame that the filter does not take.
    fn add(&mut self, filter: &mut Filter, frame: &Frame<'_>) {
        self.by_filter += 1;
        if filter.says_vlan {
            return;
        }
        let layers = Layers::find(frame.link, frame.bytes);
        let Some(mut bytes) = layers.without_vlan_tags(frame.bytes) else { return };
        let untagged = Frame { bytes: &mut bytes, ..*frame };
        if filter.matches(&untagged).unwrap_or(false) {
            self.behind_tags.add(frame.number);
            self.deepest_tag = self.deepest_tag.max(layers.vlan_tags);
            self.filter_knows_tags &= frame.link == LinkType::ETHERNET;
        }
    }
}

fn in_filter(scenario: &Scenario, mut failure: Failure) -> Failure {
    let span = scenario.capture.filter.as_ref().and_then(|filter| filter.span.clone());
    for problem in &mut failure.problems {
        *problem = problem.clone().at(&scenario.source, span.clone());
    }
    failure
}

fn truncated(scenario: &Scenario, frame: &Frame<'_>) -> Failure {
    let (at, span) = match &scenario.capture.truncated.span {
        Some(span) => ("refused here", Some(span.clone())),
        None => ("refused unless `truncated` says otherwise", scenario.capture.files.span()),
    };
    Failure::invalid(
        Diagnostic::error(format!(
            "frame {} was cut by the capture's snaplen: {} of {} are there",
            frame.number,
            thousands(frame.bytes.len() as u64),
            count(frame.original_length.into(), "byte")
        ))
        .at(&scenario.source, span)
        .label(at)
        .why("a cut frame can't be replayed as it was; its lengths and checksums count bytes that are not there")
        .fix("capture with `tcpdump -s 0`, or say `truncated = \"skip\"`, `\"pad\"` (zero bytes) or `\"send\"` (as it is)"),
    )
}

fn oversize(scenario: &Scenario, frame: &Frame<'_>) -> Failure {
    let (mtu, span) = scenario.topology.pair().map_or((u32::MAX, None), |lab| (lab.mtu.value, lab.mtu.span.clone()));
    Failure::invalid(
        Diagnostic::error(format!("frame {} is longer than the MTU of {}", frame.number, count(mtu.into(), "byte")))
            .at(&scenario.source, span)
            .why(format!("it has {} with its Ethernet header", count(frame.bytes.len() as u64, "byte")))
            .fix("raise the MTU, or say `[rewrite] oversize = \"skip\"` or `\"truncate\"`"),
    )
}

/// What announces more than any frame has would fill the memory.
fn too_long_to_pad(scenario: &Scenario, frame: &Frame<'_>) -> Failure {
    Failure::invalid(
        Diagnostic::error(format!(
            "frame {} can't be padded to its original length of {}",
            frame.number,
            count(frame.original_length.into(), "byte")
        ))
        .at(&scenario.source, scenario.capture.truncated.span.clone())
        .why(format!(
            "no frame is longer than {}: this capture is damaged, or made to deceive",
            count(LARGEST_SNAPLEN.into(), "byte")
        ))
        .fix("leave it out with `[capture] frames`, or say `truncated = \"skip\"`"),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Counts, Selector};
    use crate::capture::Frame;
    use crate::diagnostic::At;
    use crate::packet::layers::LinkType;
    use crate::scenario::Scenario;
    use crate::scenario::capture::Truncated;
    use crate::scenario::pacing::Limit;
    use crate::scenario::rewrite::Oversize;

    /// 8 frames.
    fn scenario() -> Scenario {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/the-rewritten-frames-are-as-reviewed.toml");
        crate::Scenario::from_file(&path).expect("a legal scenario")
    }

    #[test]
    fn a_frame_that_a_limit_left_out_is_neither_read_nor_selected() {
        let of_pass = Counts { read: 6, selected: 3, skipped_truncated: 1, skipped_oversize: 1, skipped_other: 1 };
        let mut counts = Counts::default();
        counts.add(of_pass, false);
        counts.add(of_pass, true);
        let both = Counts { read: 11, selected: 5, skipped_truncated: 2, skipped_oversize: 2, skipped_other: 2 };
        assert_eq!(counts, both);
    }

    #[test]
    fn a_limit_counts_what_is_sent() {
        let mut scenario = scenario();
        for (repeat, most, sent) in [(1, 3, 3), (1, 8, 8), (1, 9, 8), (2, 8, 8), (2, 11, 11), (2, 99, 16)] {
            scenario.pacing.repeat = At::default_value(repeat);
            scenario.pacing.limit = Some(At::default_value(Limit::Packets(most)));
            let plan = crate::plan::plan(&scenario, crate::plan::Facts::default()).expect("a plan");
            assert_eq!((plan.frames(), plan.counts.selected), (sent, sent), "{most} of {repeat} rounds");
        }
    }

    #[test]
    fn a_capture_that_is_read_again_is_counted_once_though_some_frames_are_not_asked_about() {
        let mut scenario = scenario();
        scenario.capture.truncated = At::default_value(Truncated::Skip);
        (scenario.capture.filter, scenario.capture.frames) = (None, None);
        let mut selector = Selector::new(&scenario, None).expect("no filter");
        for number in [3, 5, 3, 5, 5] {
            let mut bytes = [0; 60];
            let frame = Frame { number, time_ns: 0, original_length: 61, link: LinkType::ETHERNET, bytes: &mut bytes };
            assert!(!selector.takes(&frame).expect("it is skipped"));
        }
        assert_eq!((selector.counts.read, selector.counts.skipped_truncated), (1, 1));
    }

    #[test]
    fn cut_and_long_frames_are_selected_as_the_scenario_says() {
        use Truncated::{Pad, Refuse, Send, Skip};
        let takes = |truncated, oversize, captured: usize, original_length, mtu| {
            let mut scenario = scenario();
            scenario.capture.truncated = At::default_value(truncated);
            scenario.rewrite.oversize = At::default_value(oversize);
            scenario.capture.filter = None;
            scenario.capture.frames = None;
            let mut selector = Selector::new(&scenario, Some(mtu)).expect("no filter").refusing_at_once();
            let mut bytes = vec![0; captured];
            let frame = Frame { number: 1, time_ns: 0, original_length, link: LinkType::ETHERNET, bytes: &mut bytes };
            selector.takes(&frame).ok()
        };
        let whole = |truncated, captured, original| takes(truncated, Oversize::Truncate, captured, original, 1500);
        assert_eq!([Refuse, Skip, Pad, Send].map(|truncated| whole(truncated, 60, 60)), [Some(true); 4]);
        let cut = [Refuse, Skip, Pad, Send].map(|truncated| whole(truncated, 60, 61));
        assert_eq!(cut, [None, Some(false), Some(true), Some(true)]);
        // 14 bytes of Ethernet before 100 of the packet.
        let long = |oversize, length: u32| takes(Send, oversize, length as usize, length, 100);
        assert_eq!([114, 115].map(|length| long(Oversize::Skip, length)), [Some(true), Some(false)]);
        assert_eq!([114, 115].map(|length| long(Oversize::Refuse, length)), [Some(true), None]);
        // Padding makes it long.
        let padded = [Pad, Send].map(|truncated| takes(truncated, Oversize::Skip, 60, 115, 100));
        assert_eq!(padded, [Some(false), Some(true)]);
    }
}
