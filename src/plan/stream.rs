//! The frames of a scenario as they will be sent: read, selected, rewritten, one at a time.
//!
//! The survey, the replay, the snapshot and `plan` all read this one stream, so they can't disagree.

use std::ops::ControlFlow;

use super::selector::{Counts, LeftOut, Selector};
use super::templates::learn_templates;
use crate::capture::{Captures, Frame, Swept};
use crate::diagnostic::{Diagnostic, Result};
use crate::packet::layers::{Layers, LinkType};
use crate::rewrite::{Framing, Pass, Prepared, RewriteStats, Rewriter, Rewritten};
use crate::scenario::Scenario;
use crate::scenario::capture::Truncated;
use crate::scenario::rewrite::Oversize;

/// What the sending interface takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Medium {
    /// Largest layer 3 packet, in bytes.
    pub mtu: u32,
    /// The addresses of Ethernet headers that are made.
    pub framing: Framing,
}

/// Reads a scenario's capture once.
pub struct Stream<'a> {
    captures: Captures,
    selector: Selector<'a>,
    pass: Pass<'a>,
    medium: Medium,
    /// Whether every whole frame is selected.
    sweeps: bool,
    /// The last frame whose length changed in a sweep.
    spliced: Vec<u8>,
}

/// A frame as it is sent, borrowed until the next one is read.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Its number in the capture.
    pub number: u64,
    /// Its time in the capture, in nanoseconds since 1970.
    pub time_ns: u64,
    original_length: u32,
    link: LinkType,
    /// What is sent.
    pub bytes: &'a [u8],
}

impl<'a> Outgoing<'a> {
    fn new(number: u64, time_ns: u64, rewritten: Rewritten<'a>) -> Self {
        let Rewritten { bytes, original_length, link, .. } = rewritten;
        Self { number, time_ns, original_length, link, bytes }
    }

    /// The same with its headers.
    fn prepared(self, framing: Option<Framing>) -> Prepared<'a> {
        let Self { number, time_ns, original_length, link, bytes } = self;
        let layers = Layers::find(link, bytes);
        let unframed = framing.and_then(|framing| framing.check(link, bytes).err());
        Prepared { number, time_ns, original_length, layers, bytes, unframed }
    }
}

impl<'a> Stream<'a> {
    /// Opens the capture.
    ///
    /// # Errors
    /// It can't be read, or is no capture; a filter that libpcap does not take.
    pub fn open(scenario: &'a Scenario, rewriter: &'a Rewriter, medium: &Medium) -> Result<Self> {
        learn_templates(scenario, rewriter)?;
        let pass = pass(scenario, rewriter, Some(medium.mtu)).framing(medium.framing);
        let selector = Selector::new(scenario, Some(medium.mtu))?.framing(medium.framing);
        let sweeps = scenario.selects_every_frame() && scenario.rewrite.oversize.value != Oversize::Skip;
        Ok(Self { captures: open_capture(scenario)?, selector, pass, medium: *medium, sweeps, spliced: Vec::new() })
    }

    /// Begins with the first frame again, for the next round of a replay.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn begin_again(&mut self) -> Result<()> {
        let next = Self::open(self.selector.scenario, self.pass.rewriter(), &self.medium)?;
        let before = std::mem::replace(self, next);
        self.pass.continues(before.pass);
        Ok(())
    }

    /// What each map entry did.
    pub fn into_stats(self) -> RewriteStats {
        self.pass.into_stats()
    }

    /// Why exporters that `[rewrite.flows] copies` made have no addresses of their own.
    pub(super) fn problem_of_copies(&self) -> Option<Diagnostic> {
        self.pass.problem_of_copies(&self.selector.scenario.source)
    }

    /// Why frames were not selected so far.
    pub fn left_out(&self) -> &LeftOut {
        &self.selector.left_out
    }

    /// Where frames went so far.
    pub fn counts(&self) -> Counts {
        self.selector.counts
    }

    /// The next selected frame, rewritten. The last one that `[capture] frames` selects ends the stream: what is behind it is not read.
    ///
    /// # Errors
    /// Damage in the capture (with record and offset), a refused frame.
    pub fn next_frame(&mut self) -> Result<Option<Prepared<'_>>> {
        let framing = self.selector.framing;
        Ok(self.next_outgoing(&|| true)?.map(|frame| frame.prepared(framing)))
    }

    /// The same without a look at its headers; `None` also where `goes_on`, which is asked at each captured frame, says no.
    ///
    /// # Errors
    /// As [`Self::next_frame`].
    pub fn next_outgoing(&mut self, goes_on: &dyn Fn() -> bool) -> Result<Option<Outgoing<'_>>> {
        if !self.pass.has_made() && self.selector.is_past_frames(self.captures.frames_read()) {
            return Ok(None);
        }
        self.next_after(&mut |_, _| if goes_on() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    }

    /// Gives `each` the number and the bytes of the next frames, `most` of them at most, as far as they are common ones that are there already: that
    /// takes little more than to look at them. What follows is the next frame of [`Self::next_outgoing`].
    ///
    /// # Errors
    /// As [`Self::next_frame`].
    pub fn sweep(&mut self, most: u64, mut each: impl FnMut(u64, &[u8])) -> Result<()> {
        if !self.sweeps {
            return Ok(());
        }
        let (pass, spliced, mut left) = (&mut self.pass, &mut self.spliced, most);
        let swept = self.captures.sweep(|number, bytes, original_length| {
            if left == 0 {
                return Swept::Declined;
            }
            match pass.rewrite_common(number, bytes, original_length) {
                Swept::Declined => return Swept::Declined,
                Swept::Done => each(number, bytes),
                Swept::Spliced(splice) => {
                    splice.copy(bytes, spliced);
                    each(number, spliced);
                }
            }
            left -= 1;
            Swept::Done
        })?;
        self.selector.counts.read += swept;
        self.selector.counts.selected += swept;
        Ok(())
    }

    /// As [`Self::next_frame`], to the end of the capture, or until `see` breaks; it gets each frame on the way as it was captured, and whether it is
    /// selected.
    ///
    /// # Errors
    /// As [`Self::next_frame`].
    pub fn next_frame_after(
        &mut self,
        see: &mut dyn FnMut(&Frame<'_>, bool) -> ControlFlow<()>,
    ) -> Result<Option<Prepared<'_>>> {
        let framing = self.selector.framing;
        Ok(self.next_after(see)?.map(|frame| frame.prepared(framing)))
    }

    fn next_after(&mut self, see: &mut dyn FnMut(&Frame<'_>, bool) -> ControlFlow<()>) -> Result<Option<Outgoing<'_>>> {
        loop {
            if self.pass.has_made() {
                // Those that are no captured frame count as if they were.
                let Some((made, rewritten)) = self.pass.next_made() else { return Ok(None) };
                if !made.is_captured {
                    self.selector.counts.read += 1;
                    self.selector.counts.selected += 1;
                }
                return Ok(Some(Outgoing::new(made.number, made.time_ns, rewritten)));
            }
            let Some(frame) = self.captures.next_frame()? else { return Ok(None) };
            let is_selected = self.selector.takes(&frame)?;
            if see(&frame, is_selected).is_break() {
                return Ok(None);
            }
            if !is_selected {
                self.pass.passed_by(&frame);
                continue;
            }
            if !self.pass.makes_frames() {
                break;
            }
            self.pass.take(&frame);
        }
        let frame = self.captures.current();
        let Frame { number, time_ns, .. } = frame;
        Ok(Some(Outgoing::new(number, time_ns, self.pass.rewrite(frame))))
    }
}

/// The pass that rewrites the selected frames of a scenario, where an interface takes layer 3 packets of at most `mtu` bytes.
pub fn pass<'a>(scenario: &Scenario, rewriter: &'a Rewriter, mtu: Option<u32>) -> Pass<'a> {
    let mut pass = Pass::new(rewriter);
    if scenario.capture.truncated.value == Truncated::Pad {
        pass = pass.padding();
    }
    if scenario.selects_every_frame() && mtu.is_none() {
        pass = pass.taking_every_whole_frame();
    }
    match mtu {
        Some(mtu) => pass.cutting(mtu),
        None => pass,
    }
}

/// Opens a scenario's capture; a failure points at the line that names it.
///
/// # Errors
/// It can't be read, or is no capture.
pub fn open_capture(scenario: &Scenario) -> Result<Captures> {
    Captures::open(&scenario.capture.files, &scenario.source)
}
