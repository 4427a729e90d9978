//! Rewriting a whole capture into another file, in one pass at the speed of copying it.
//!
//! The bytes are patched where they were read and written from there, so everything that isn't rewritten comes out as it went in:
//! comments, options, unknown blocks, the digits of times. Start at [`rewrite_file`].

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::output::{Ending, writer};
use super::{Learner, Pass, RewriteStats, Rewritten, Seen, unused_problems};
use crate::capture::{Captures, CopiedFcs, Files, Format, Frame, SectionLengths, TimeUnit, Writer};
use crate::diagnostic::{Diagnostic, Failure, Kind, Result, Source};
use crate::file::{Replacement, WriteError, is_stream, unwritable};
use crate::packet::layers::{Layers, LinkType};
use crate::scenario::rewrite::Checksums;

/// Whether a frame is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// It is rewritten and written.
    Yes,
    /// It is left out.
    No,
}

/// What was done.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Frames in the input.
    pub read: u64,
    /// Frames in the output.
    pub written: u64,
    /// Those of them that the input has.
    pub captured: u64,
    /// Blocks of pcapng files that hold no packet, and are not in an output that was written anew.
    pub lost_blocks: u64,
    /// What each map entry hit, and what was left.
    pub stats: RewriteStats,
}

/// Rewrites the captures `files` into `output`. `select` says of each frame, not yet rewritten, whether it is kept; it may be asked again
/// for the same frames, and must then say the same. `pass` is one that hasn't begun. `source` is the scenario, for messages.
///
/// Where no frame is selected, nothing is written, and no file is made.
///
/// The output's format follows its ending: `.pcap` or `.pcapng`, each also with `.gz` or `.zst`. It is there only when all of it was
/// written. A stream (`/dev/stdout`, a pipe) needs no ending: it then has the format of the input, not compressed; pcapng where the files
/// differ.
///
/// Files of one format, one after the other, are copied, so that all else that they say is kept; what differs or is merged by time
/// is written anew.
///
/// # Errors
/// What `select` says; [`Kind::Invalid`] when the input is damaged, when an entry matches no frame, when copies of exporters have no addresses of
/// their own, or when the output's format can't hold the frames. Then nothing of the output is left.
pub fn rewrite_file(
    files: &Files,
    output: &Path,
    select: &mut dyn FnMut(&Frame<'_>) -> Result<Selected>,
    pass: &Pass<'_>,
    source: &Arc<Source>,
) -> Result<Summary> {
    Job { files, output, select, pass, source }.rewrite()
}

/// What is rewritten, and how.
struct Job<'a> {
    files: &'a Files,
    output: &'a Path,
    select: &'a mut dyn FnMut(&Frame<'_>) -> Result<Selected>,
    pass: &'a Pass<'a>,
    source: &'a Arc<Source>,
}

/// How the output is written.
#[derive(Debug, Clone, Copy)]
enum Written {
    /// As a copy of the input.
    Copy,
    /// Anew, with the link type of the first frame, and with times in nanoseconds if that frame's is, or if this says so.
    Pcap { nanoseconds: bool },
    /// Anew.
    Pcapng { nanoseconds: bool },
}

/// Of captures that can't be copied into one: pcap, if all are of that format and have one link type.
fn narrowest(captures: &Captures) -> Format {
    let mut links = captures.heads().iter().map(|head| head.link);
    let first = links.next().flatten();
    if first.is_some() && links.all(|link| link == first) {
        Format::Pcap { nanoseconds: false }
    } else {
        Format::Pcapng
    }
}

/// What one pass over the input came to.
enum Passed {
    /// Everything is written; and what the sections of a copy can announce.
    Whole(Box<Summary>, SectionLengths),
    /// A frame can't be written in this way, but in that one.
    Otherwise(Written),
    /// The checksum of a datagram in fragments is in the first of them, and known with the last.
    NeedsFragments,
}

impl Job<'_> {
    fn rewrite(mut self) -> Result<Summary> {
        let output = self.output;
        let is_stream = is_stream(output);
        let ending = Ending::of(output);
        let captures = self.open()?;
        let Ending { format, compression } = match ending {
            Err(_) if is_stream => {
                let format = captures.format_of_copy().unwrap_or_else(|| narrowest(&captures));
                Ending { format, compression: None }
            }
            ending => ending?,
        };
        let mut written = self.written(&captures, format);
        let mut opened = Some(captures);
        let mut announced = SectionLengths::Kept;
        // What a stream was given can't be taken back, so what can be refused is looked for first.
        let mut tries = is_stream;
        loop {
            let captures = opened.take().map_or_else(|| self.open(), Ok)?;
            let (replacement, file, failed) = if tries {
                (None, Box::new(io::sink()) as Box<dyn Write + Send>, WriteError::default())
            } else {
                let (replacement, file) = Replacement::begin(output)?;
                let (file, failed) = writer(file, compression).map_err(|error| unwritable(output, &error))?;
                (Some(replacement), file, failed)
            };
            let passed = self.run(captures, file, written, announced);
            let passed = passed.map_err(|failure| failed.get().map_or(failure, |error| unwritable(output, error)))?;
            let (summary, lengths) = match passed {
                Passed::Whole(summary, lengths) => (*summary, lengths),
                Passed::Otherwise(otherwise) => {
                    written = otherwise;
                    continue;
                }
                Passed::NeedsFragments => {
                    self.learn_fragments()?;
                    continue;
                }
            };
            if summary.written == 0 {
                return Ok(summary);
            }
            self.refuse_unused(&summary.stats)?;
            if let Some(replacement) = replacement
                && (is_stream || lengths == announced)
            {
                replacement.publish()?;
                return Ok(summary);
            }
            // Only a file with section lengths, which are rare, is read once more.
            announced = lengths;
            tries = false;
        }
    }

    fn open(&self) -> Result<Captures> {
        Captures::open(self.files, self.source)
    }

    /// Calls `each` with every selected frame, as it was captured.
    fn each_selected(&mut self, mut each: impl FnMut(&Frame<'_>)) -> Result<()> {
        let mut captures = self.open()?;
        while let Some(frame) = captures.next_frame()? {
            if (self.select)(&frame)? == Selected::Yes {
                each(&frame);
            }
        }
        Ok(())
    }

    /// How the captures are written to a file of this format, as far as that can be known before they are read.
    fn written(&self, captures: &Captures, format: Format) -> Written {
        let is_pcapng = format == Format::Pcapng;
        let is_copied = captures.format_of_copy().is_some_and(|format| (format == Format::Pcapng) == is_pcapng);
        let changes = |link| self.pass.link_of(link) != link;
        if is_copied && !captures.heads().iter().any(|head| head.link.is_some_and(changes)) && !self.pass.makes_frames()
        {
            return Written::Copy;
        }
        anew(captures, format)
    }

    /// One pass over the input.
    fn run(
        &mut self,
        mut captures: Captures,
        file: Box<dyn Write + Send>,
        written_as: Written,
        announced: SectionLengths,
    ) -> Result<Passed> {
        let mut pass = self.pass.clone();
        let (mut read, mut written, mut made) = (0, 0, 0);
        let mut lengths = SectionLengths::Kept;
        let (mut pcap, mut first_link) = (None, LinkType::ETHERNET);
        let mut writer = None;
        match written_as {
            Written::Copy => {
                lengths = announced;
                let fixes = pass.rewriter().checksums == Checksums::Fix;
                captures.copy_to(file, announced, if fixes { CopiedFcs::IsFixed } else { CopiedFcs::Follows });
                if pass.lengthens() {
                    captures.raise_snaplen();
                }
            }
            Written::Pcap { nanoseconds } => pcap = Some((file, nanoseconds)),
            Written::Pcapng { nanoseconds } => {
                writer = Some(Writer::pcapng(file, nanoseconds).map_err(|error| unwritable(self.output, &error))?)
            }
        }
        let mut options = Vec::new();
        loop {
            if pass.rewriter().asks_for_fragments(&pass.stats) {
                return Ok(Passed::NeedsFragments);
            }
            if matches!(written_as, Written::Copy) && pass.takes_every_whole_frame() {
                let swept = captures.sweep(|number, frame, original| pass.rewrite_common(number, frame, original))?;
                read += swept;
                written += swept;
            }
            let Some(frame) = captures.next_frame()? else { break };
            read += 1;
            if (self.select)(&frame)? == Selected::No {
                pass.passed_by(&frame);
                captures.leave_out()?;
                continue;
            }
            written += 1;
            let (number, time_ns, captured_link) = (frame.number, frame.time_ns, frame.link);
            let (link, unit) = (pass.link_of(captured_link), captures.time_unit());
            if let Some((file, nanoseconds)) = pcap.take() {
                let nanoseconds = nanoseconds || unit == TimeUnit::Nanosecond;
                writer =
                    Some(Writer::pcap(file, link, nanoseconds, None).map_err(|error| unwritable(self.output, &error))?);
                first_link = link;
            }
            match writer.as_ref().map(Writer::format) {
                None if link != captured_link => return Ok(Passed::Otherwise(anew(&captures, Format::Pcapng))),
                Some(Format::Pcap { nanoseconds }) => {
                    fits_pcap(number, [first_link, link], unit)?;
                    if unit == TimeUnit::Nanosecond && !nanoseconds {
                        return Ok(Passed::Otherwise(Written::Pcap { nanoseconds: true }));
                    }
                }
                Some(Format::Pcapng) if unit == TimeUnit::Finer => return Err(too_fine(number)),
                None | Some(Format::Pcapng) => {}
            }
            if writer.is_some() {
                options.clear();
                captures.packet_options(&mut options);
            }
            if pass.makes_frames() {
                pass.take(&captures.current());
                while let Some((frame, Rewritten { link, bytes, original_length, .. })) = pass.next_made() {
                    made += u64::from(!frame.is_captured);
                    if let Some(writer) = &mut writer {
                        let frame = Frame { number, time_ns, original_length, link, bytes };
                        let written = writer.write_with(&frame, &options);
                        written.map_err(|error| unconvertible([captures.path(), self.output], number, &error))?;
                    }
                }
                continue;
            }
            let Rewritten { link, bytes, original_length, resized } = pass.rewrite(captures.current());
            if let Some(writer) = &mut writer {
                let frame = Frame { number, time_ns, original_length, link, bytes };
                writer
                    .write_with(&frame, &options)
                    .map_err(|error| unconvertible([captures.path(), self.output], number, &error))?;
            } else if resized {
                captures.replace(pass.last_resized(), original_length)?;
            }
        }
        if let Some(problem) = pass.problem_of_copies(self.source) {
            return Err(Failure::invalid(problem));
        }
        captures.finish_copy()?;
        let mut lost_blocks = 0;
        match writer {
            Some(writer) => {
                writer.finish().map_err(|error| unwritable(self.output, &error))?;
                lost_blocks = captures.other_blocks();
            }
            None if captures.contradicts_a_section() => lengths = SectionLengths::Unknown,
            None => {}
        }
        let captured = written;
        written += made;
        let summary = Summary { read, written, captured, lost_blocks, stats: pass.into_stats() };
        Ok(Passed::Whole(Box::new(summary), lengths))
    }

    /// The checksum of a datagram in fragments is in the first of them and known with the last: a pass of its own learns it.
    fn learn_fragments(&mut self) -> Result<()> {
        let mut learner = Learner::default();
        self.each_selected(|frame| learner.add(frame))?;
        self.pass.rewriter().learn(learner.finish());
        Ok(())
    }

    /// Only when an entry matched nothing is the capture read again, for the addresses in it.
    fn refuse_unused(&mut self, stats: &RewriteStats) -> Result<()> {
        let rewriter = self.pass.rewriter();
        if rewriter.allows_unused() || stats.unused(rewriter).next().is_none() {
            return Ok(());
        }
        let mut seen = Seen::new(rewriter);
        self.each_selected(|frame| seen.add(&Layers::find(frame.link, frame.bytes), frame.bytes))?;
        Err(Failure { kind: Kind::Invalid, problems: unused_problems(rewriter, stats, self.source, &seen) })
    }
}

/// How captures are written where they can't be copied.
fn anew(captures: &Captures, format: Format) -> Written {
    let microseconds = Format::Pcap { nanoseconds: false };
    match format {
        Format::Pcap { nanoseconds } => Written::Pcap { nanoseconds },
        Format::Pcapng => {
            Written::Pcapng { nanoseconds: captures.heads().iter().any(|head| head.format != microseconds) }
        }
    }
}

/// Whether a pcap file can hold a frame, beside the first one with its link type.
fn fits_pcap(number: u64, [first, link]: [LinkType; 2], unit: TimeUnit) -> Result<()> {
    if first != link {
        let why = format!("the first has link type {}, frame {number} has {}; pcap has one for all", first.0, link.0);
        return Err(Failure::invalid(
            Diagnostic::error("frames of several link types don't fit a .pcap file")
                .why(why)
                .fix("name the output .pcapng, or choose frames of one link type with `filter` or `frames`"),
        ));
    }
    if unit == TimeUnit::Finer {
        return Err(Failure::invalid(
            Diagnostic::error(format!("the time of frame {number} doesn't fit a .pcap file"))
                .why("it is counted finer than in nanoseconds, which pcap can't say")
                .fix("name the output .pcapng"),
        ));
    }
    Ok(())
}

fn too_fine(number: u64) -> Failure {
    Failure::invalid(
        Diagnostic::error(format!("the time of frame {number} is finer than the output's"))
            .why("it is counted finer than in nanoseconds, and files that differ or are merged by time are written in nanoseconds")
            .fix("rewrite the files one by one, or pcapng files with `order = \"sequence\"`: then they are copied"),
    )
}

fn unconvertible([input, output]: [&Path; 2], number: u64, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidInput {
        let what = format!("frame {number} of `{}` doesn't fit the output's format", input.display());
        return Failure::invalid(Diagnostic::error(what).why(error.to_string()).fix("name the output .pcapng"));
    }
    unwritable(output, error)
}
