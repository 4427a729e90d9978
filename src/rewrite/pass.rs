//! One pass over the frames of a capture: each is padded, cut, given an Ethernet header, rewritten, tagged, as the scenario says.
//!
//! Whatever keeps its length is rewritten where it lies; the others in a buffer of the pass. Start at [`Pass::rewrite`].

use std::sync::Arc;

use super::conversation::{Conversations, Sender};
use super::making::{Made, Making, Part};
use super::payload::{Payload, State};
use super::rewrite_stats::{Left, Reshaped, RewriteStats};
use super::vlan::VlanChange;
use super::{Framing, Rewriter, plain};
use crate::capture::{Frame, LARGEST_SNAPLEN, Splice, Swept};
use crate::diagnostic::{Diagnostic, Source};
use crate::packet::crc;
use crate::packet::layers::{Layers, LinkType, right_fcs};
use crate::scenario::rewrite::Oversize;

/// Rewrites the frames of one capture, one after the other.
#[derive(Debug, Clone)]
pub struct Pass<'a> {
    rewriter: &'a Rewriter,
    pub(super) stats: RewriteStats,
    /// Only where there are rules for clients and servers.
    conversations: Option<Conversations>,
    /// The longest layer 3 packet, in bytes, where longer ones are cut.
    cut_to: Option<u32>,
    framing: Option<Framing>,
    pads: bool,
    takes_every_whole_frame: bool,
    /// What is remembered of payloads, where they are rewritten.
    payloads: State,
    /// What is made of the last captured frame.
    making: Making,
    /// The last frame whose length changed.
    resized: Vec<u8>,
}

/// What a frame that [`Pass::next_made`] gives is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MadeFrame {
    /// The number of the captured frame.
    pub number: u64,
    /// Its time, in nanoseconds since 1970.
    pub time_ns: u64,
    /// Whether it is the captured frame itself.
    pub is_captured: bool,
}

/// A frame after it was rewritten.
#[derive(Debug)]
pub struct Rewritten<'a> {
    /// Its link type, which is Ethernet's where it was given a header.
    pub link: LinkType,
    /// Its bytes.
    pub bytes: &'a mut [u8],
    /// Its length on the wire, which follows the tags and headers that came or went, and is shorter where it was cut to the MTU.
    pub original_length: u32,
    /// Whether its length changed, so that it doesn't lie where it was captured.
    pub resized: bool,
}

impl<'a> Pass<'a> {
    /// A pass that changes what `rewriter` says, and neither pads frames nor makes headers.
    pub fn new(rewriter: &'a Rewriter) -> Self {
        Self {
            rewriter,
            stats: RewriteStats::new(rewriter),
            conversations: rewriter.from_server.is_some().then(Conversations::default),
            cut_to: None,
            framing: None,
            pads: false,
            takes_every_whole_frame: false,
            payloads: State::default(),
            making: Making::default(),
            resized: Vec::new(),
        }
    }

    /// Frames that the snaplen cut are padded with zero bytes to their original length, before they are rewritten; not those that
    /// announce more than [`LARGEST_SNAPLEN`].
    #[must_use]
    pub fn padding(self) -> Self {
        Self { pads: true, ..self }
    }

    /// Frames of other link types are given an Ethernet header, before they are rewritten.
    #[must_use]
    pub fn framing(self, framing: Framing) -> Self {
        Self { framing: Some(framing), ..self }
    }

    /// Where `oversize` says so, longer layer 3 packets than `mtu` bytes are cut, before they are rewritten.
    #[must_use]
    pub fn cutting(self, mtu: u32) -> Self {
        Self { cut_to: (self.rewriter.oversize == Oversize::Truncate).then_some(mtu), ..self }
    }

    /// The link type of a frame that was captured with `link`, after it is rewritten.
    pub(super) fn link_of(&self, link: LinkType) -> LinkType {
        if self.framing.is_some() { LinkType::ETHERNET } else { link }
    }

    /// Every frame that the snaplen didn't cut is selected, so that no selector needs to be asked.
    #[must_use]
    pub fn taking_every_whole_frame(self) -> Self {
        Self { takes_every_whole_frame: true, ..self }
    }

    pub(super) fn takes_every_whole_frame(&self) -> bool {
        self.takes_every_whole_frame
    }

    pub(super) fn lengthens(&self) -> bool {
        self.pads || self.rewriter.vlan.as_ref().is_some_and(VlanChange::lengthens) || self.rewriter.payloads.is_some()
    }

    /// Takes note of a frame that isn't selected: it may be the first of its conversation.
    pub fn passed_by(&mut self, frame: &Frame<'_>) {
        if let Some(conversations) = &mut self.conversations {
            conversations.sender(&Layers::find(frame.link, frame.bytes), frame.bytes);
        }
    }

    /// Rewrites a frame.
    #[inline]
    pub fn rewrite<'f>(&'f mut self, mut frame: Frame<'f>) -> Rewritten<'f> {
        self.stats.is_at(frame.number);
        if let Some(payloads) = &self.rewriter.payloads
            && let Payload::Resized(bytes, original) = self.payloads.rewrite(payloads, &mut frame, &mut self.stats)
        {
            return self.rewrite_with(bytes, original, &frame);
        }
        let common = frame.link == LinkType::ETHERNET && !self.is_padded(&frame);
        if common && self.rewrite_plainly(frame.bytes) {
            address(self.framing, frame.bytes, &mut self.stats);
            return match self.splice(frame.bytes) {
                None => in_place(frame),
                Some(splice) => self.spliced(&frame, splice),
            };
        }
        self.rewrite_any(frame)
    }

    /// Rewrites a whole Ethernet frame in place, if it is a common one, and says what else is to be done to it; else nothing.
    #[inline]
    pub fn rewrite_common(&mut self, number: u64, frame: &mut [u8], original_length: u32) -> Swept<'a> {
        if self.rewriter.payloads.is_some() {
            return Swept::Declined;
        }
        if self.rewriter.vlan.is_some() {
            return self.tag_common(number, frame, original_length);
        }
        self.rewrite_whole(number, frame, original_length)
    }

    #[inline]
    fn rewrite_whole(&mut self, number: u64, frame: &mut [u8], original_length: u32) -> Swept<'a> {
        self.stats.is_at(number);
        let is_whole = u32::try_from(frame.len()).is_ok_and(|captured| captured >= original_length);
        if !is_whole || !self.rewrite_plainly(frame) {
            return Swept::Declined;
        }
        address(self.framing, frame, &mut self.stats);
        Swept::Done
    }

    /// The same where tags are pushed or popped. Apart, so that the others don't pay for it.
    #[inline(never)]
    fn tag_common(&mut self, number: u64, frame: &mut [u8], original_length: u32) -> Swept<'a> {
        let splice = self.splice(frame);
        // Both lengths become the same.
        if splice.is_some() && u32::try_from(frame.len()) != Ok(original_length) {
            return Swept::Declined;
        }
        match (self.rewrite_whole(number, frame, original_length), splice) {
            (Swept::Done, Some(splice)) => {
                self.count_tags();
                Swept::Spliced(splice)
            }
            (swept, _) => swept,
        }
    }

    /// What pushes or pops the tags of a common frame.
    #[inline]
    fn splice(&self, frame: &[u8]) -> Option<Splice<'a>> {
        self.rewriter.vlan.as_ref()?.splice(plain::vlan_tags(frame))
    }

    fn count_tags(&mut self) {
        if let Some(vlan) = &self.rewriter.vlan {
            vlan.count(&mut self.stats);
        }
    }

    /// The frame with its tags pushed or popped.
    fn spliced(&mut self, frame: &Frame<'_>, splice: Splice<'a>) -> Rewritten<'_> {
        self.count_tags();
        splice.copy(frame.bytes, &mut self.resized);
        let original_length = splice.length(frame.original_length);
        Rewritten { link: frame.link, bytes: &mut self.resized, original_length, resized: true }
    }

    #[inline]
    fn rewrite_plainly(&mut self, frame: &mut [u8]) -> bool {
        if self.conversations.is_some() || self.cut_to.is_some() {
            return false;
        }
        self.rewriter.apply_plainly(frame, &mut self.stats)
    }

    pub(super) fn rewrite_any<'f>(&'f mut self, frame: Frame<'f>) -> Rewritten<'f> {
        let layers = Layers::find(frame.link, frame.bytes);
        if self.resizes(&frame, &layers) {
            return self.rewrite_resized(&frame, &layers);
        }
        let sender = self.sender(&layers, frame.bytes);
        let fcs = if is_cut(&frame) { None } else { right_fcs(frame.link, frame.bytes) };
        self.rewriter.apply_from(sender, &layers, frame.bytes, frame.original_length, None, &mut self.stats);
        if frame.link == LinkType::ETHERNET {
            address(self.framing, frame.bytes, &mut self.stats);
        }
        if let Some(from) = fcs
            && let Some((covered, fcs)) = frame.bytes.split_last_chunk_mut()
        {
            *fcs = crc::ETHERNET.of(covered.iter().skip(from).copied()).to_le_bytes();
        }
        in_place(frame)
    }

    /// Rewrites a frame whose payload has another length, so that these are its bytes.
    #[cold]
    fn rewrite_with(&mut self, mut bytes: Vec<u8>, original_length: u32, frame: &Frame<'_>) -> Rewritten<'_> {
        let longer = Frame { bytes: &mut bytes, original_length, ..*frame };
        let Rewritten { link, original_length, resized, .. } = self.rewrite_any(longer);
        if !resized {
            self.resized = bytes;
        }
        Rewritten { link, bytes: &mut self.resized, original_length, resized: true }
    }

    #[inline]
    fn is_padded(&self, frame: &Frame<'_>) -> bool {
        self.pads && is_cut(frame) && frame.original_length <= LARGEST_SNAPLEN
    }

    /// Whether the frame can't be rewritten where it lies.
    #[inline]
    fn resizes(&self, frame: &Frame<'_>, layers: &Layers) -> bool {
        self.is_padded(frame)
            || (self.framing.is_some() && frame.link != LinkType::ETHERNET)
            || self.cut_to.is_some_and(|mtu| layers.packet_length(frame.bytes.len()) > mtu as usize)
            || self.rewriter.vlan.as_ref().is_some_and(|vlan| vlan.resizes(layers, frame.bytes))
    }

    #[cold]
    fn rewrite_resized(&mut self, frame: &Frame<'_>, layers: &Layers) -> Rewritten<'_> {
        // Who sent it follows from the frame as it was captured, whatever becomes of it.
        let sender = self.sender(layers, frame.bytes);
        let is_padded = self.is_padded(frame);
        let bytes = &mut self.resized;
        bytes.clear();
        bytes.extend_from_slice(frame.bytes);
        let mut original = frame.original_length;
        if is_padded {
            bytes.resize(original as usize, 0);
            self.stats.reshape(Reshaped::Padded);
        }
        let (mut link, mut station) = (frame.link, None);
        if let Some(framing) = &self.framing
            && link != LinkType::ETHERNET
        {
            let captured = std::mem::take(bytes);
            match framing.frame(link, &captured, original, bytes) {
                Ok(length) => {
                    (original, link) = (length, LinkType::ETHERNET);
                    station = framing.receiver;
                    self.stats.reshape(Reshaped::Framed);
                }
                Err(_) => *bytes = captured,
            }
        }
        let mut layers = Layers::find(link, bytes);
        if let Some(mtu) = self.cut_to
            && let Some(over) = layers.packet_length(bytes.len()).checked_sub(mtu as usize).filter(|over| *over > 0)
        {
            bytes.truncate(bytes.len() - over);
            self.stats.reshape(Reshaped::Cut);
            original = u32::try_from(bytes.len()).unwrap_or(original);
            layers = Layers::find(link, bytes);
        }
        self.rewriter.apply_from(sender, &layers, bytes, original, station, &mut self.stats);
        if link == LinkType::ETHERNET {
            address(self.framing, bytes, &mut self.stats);
        }
        if let Some(vlan) = &self.rewriter.vlan {
            let longer_by = vlan.resize(&layers, bytes, &mut self.stats);
            original = longer(original, longer_by);
        }
        Rewritten { link, bytes, original_length: original, resized: true }
    }

    /// Whether frames are made that the capture doesn't have: then [`Pass::take`] takes each frame, and [`Pass::next_made`] gives what is made of it.
    pub fn makes_frames(&self) -> bool {
        self.rewriter.makes_frames()
    }

    /// Why copies of exporters have no addresses of their own, after the last frame: then the output is refused.
    pub fn problem_of_copies(&self, source: &Arc<Source>) -> Option<Diagnostic> {
        let entry = self.rewriter.payloads.as_ref().and_then(|payloads| payloads.copies_entry());
        let span = entry.and_then(|entry| self.rewriter.entries.get(entry)?.span.clone());
        Some(self.making.problem()?.at(source, span))
    }

    /// Takes in a captured frame, of which several may be made.
    pub fn take(&mut self, frame: &Frame<'_>) {
        let Some(payloads) = &self.rewriter.payloads else { return };
        self.stats.is_at(frame.number);
        let templates = self.rewriter.templates.get();
        let before = self.payloads.templates_before(payloads, templates, frame, &mut self.stats);
        self.making.of(frame, before, payloads.copies());
    }

    /// Whether [`Pass::next_made`] has another frame.
    pub fn has_made(&self) -> bool {
        self.making.has_next()
    }

    /// The next frame that is made of the last one taken in, rewritten, with its number, its time, and whether it is the captured one; `None`
    /// behind the last.
    pub fn next_made(&mut self) -> Option<(MadeFrame, Rewritten<'_>)> {
        let Made { part, copy, has_templates } = self.making.next()?;
        let Part { number, time_ns, original_length, link, mut bytes } = part;
        self.payloads.is_at(copy, has_templates);
        let frame = Frame { number, time_ns, original_length, link, bytes: &mut bytes };
        let Rewritten { link, original_length, resized, .. } = self.rewrite(frame);
        if !resized {
            self.resized = bytes;
        }
        self.making.readdress(copy, link, &mut self.resized);
        let made = MadeFrame { number, time_ns, is_captured: !has_templates && copy == 0 };
        Some((made, Rewritten { link, bytes: &mut self.resized, original_length, resized: true }))
    }

    /// Goes on after a pass over the same capture: times and sequence numbers in payloads follow those of the round before.
    pub fn continues(&mut self, before: Self) {
        self.payloads = before.payloads;
        self.payloads.next_round();
    }

    /// What is rewritten.
    pub fn rewriter(&self) -> &'a Rewriter {
        self.rewriter
    }

    /// The last frame that was [`Rewritten::resized`].
    pub fn last_resized(&self) -> &[u8] {
        &self.resized
    }

    /// What each entry did, and what was left.
    pub fn into_stats(self) -> RewriteStats {
        self.stats
    }

    /// Who sent the frame: its client, where that is not known.
    #[inline]
    fn sender(&mut self, layers: &Layers, frame: &[u8]) -> Sender {
        let Some(conversations) = &mut self.conversations else { return Sender::Client };
        conversations.sender(layers, frame).unwrap_or_else(|| {
            self.stats.leave(Left::Conversation);
            Sender::Client
        })
    }
}

/// Gives an Ethernet frame without MACs those of the framing.
#[inline]
fn address(framing: Option<Framing>, frame: &mut [u8], stats: &mut RewriteStats) {
    if framing.is_some_and(|framing| framing.address(frame)) {
        stats.reshape(Reshaped::Addressed);
    }
}

#[inline]
fn in_place(frame: Frame<'_>) -> Rewritten<'_> {
    let Frame { original_length, link, bytes, .. } = frame;
    Rewritten { link, bytes, original_length, resized: false }
}

fn is_cut(frame: &Frame<'_>) -> bool {
    (frame.bytes.len() as u64) < u64::from(frame.original_length)
}

fn longer(original: u32, by: i64) -> u32 {
    u32::try_from(i64::from(original) + by).unwrap_or(original)
}
