//! Rewriting a whole capture into another file, in one pass at the speed of copying it.
//!
//! The bytes are patched where they were read and written from there, so everything that isn't rewritten comes out as it went in:
//! comments, options, unknown blocks, the digits of times. Start at [`rewrite_file`].

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::output::{Ending, buffered};
use super::{Learner, Pass, RewriteStats, Rewritten, Seen, unused_problems};
use crate::capture::{Captures, CopiedFcs, Files, Format, Frame, SectionLengths, TimeUnit, Writer};
use crate::diagnostic::{Diagnostic, Failure, Kind, Result, Source};
use crate::file::{Replacement, is_stream, unwritable};
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
/// What `select` says; [`Kind::Invalid`] when the input is damaged, when an entry matches no frame, or when the output's format
/// can't hold the frames. Then nothing of the output is left; only of a stream, the frames before the damage.
pub fn rewrite_file(
    files: &Files,
    output: &Path,
    select: &mut dyn FnMut(&Frame<'_>) -> Result<Selected>,
    pass: &Pass<'_>,
    source: &Arc<Source>,
) -> Result<Summary> {
    Job { files, select, pass, source }.rewrite(output)
}

/// What is rewritten, and how.
struct Job<'a> {
    files: &'a Files,
    select: &'a mut dyn FnMut(&Frame<'_>) -> Result<Selected>,
    pass: &'a Pass<'a>,
    source: &'a Arc<Source>,
}

#[derive(Debug, Clone, Copy)]
enum Written {
    /// As a copy of the input.
    Copy,
    /// Anew.
    Pcap { link: LinkType, nanoseconds: bool },
    /// Anew.
    Pcapng { nanoseconds: bool },
}

impl Written {
    fn sink(self, file: Box<dyn Write + Send>, lengths: SectionLengths) -> io::Result<Sink> {
        Ok(match self {
            Self::Copy => Sink::Copy(file, lengths),
            Self::Pcap { link, nanoseconds } => Sink::Convert(Writer::pcap(file, link, nanoseconds, None)?),
            Self::Pcapng { nanoseconds } => Sink::Convert(Writer::pcapng(file, nanoseconds)?),
        })
    }
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

/// Where the frames of one pass go.
enum Sink {
    /// They are only rewritten.
    Nowhere,
    /// To a copy of the input, whose sections announce this.
    Copy(Box<dyn Write + Send>, SectionLengths),
    /// To a file that is written anew.
    Convert(Writer<Box<dyn Write + Send>>),
}

impl Job<'_> {
    fn rewrite(mut self, output: &Path) -> Result<Summary> {
        let is_stream = is_stream(output);
        let ending = Ending::of(output);
        let mut captures = self.open()?;
        let Ending { format, compression } = match ending {
            Err(_) if is_stream => {
                let format = captures.format_of_copy().unwrap_or_else(|| narrowest(&captures));
                Ending { format, compression: None }
            }
            ending => ending?,
        };
        let written = self.written(&captures, format)?;
        let mut announced = SectionLengths::Kept;
        if is_stream {
            // What a stream was given can't be taken back, so what can be refused is looked for first.
            let (summary, lengths) = self.run(captures, Sink::Nowhere)?;
            if summary.written == 0 {
                return Ok(summary);
            }
            if self.pass.rewriter().asks_for_fragments(&summary.stats) {
                self.learn_fragments()?;
            }
            self.refuse_unused(&summary.stats)?;
            announced = lengths;
            captures = self.open()?;
        }
        loop {
            let (replacement, file) = Replacement::begin(output)?;
            let unwritable = |error| unwritable(output, &error);
            let file = buffered(file, compression).map_err(unwritable)?;
            let sink = written.sink(file, announced).map_err(unwritable)?;
            let (summary, lengths) = self.run(captures, sink)?;
            if summary.written == 0 {
                return Ok(summary);
            }
            if self.pass.rewriter().asks_for_fragments(&summary.stats) {
                self.learn_fragments()?;
                captures = self.open()?;
                continue;
            }
            self.refuse_unused(&summary.stats)?;
            if lengths == announced || is_stream {
                replacement.publish()?;
                return Ok(summary);
            }
            // Only a file with section lengths, which are rare, is read once more.
            announced = lengths;
            captures = self.open()?;
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

    /// How the captures are written to a file of this format.
    fn written(&mut self, captures: &Captures, format: Format) -> Result<Written> {
        let is_pcapng = format == Format::Pcapng;
        if captures.format_of_copy().is_some_and(|format| (format == Format::Pcapng) == is_pcapng)
            && !self.changes_a_link()?
            && !self.pass.makes_frames()
        {
            return Ok(Written::Copy);
        }
        if is_pcapng {
            let microseconds = Format::Pcap { nanoseconds: false };
            let nanoseconds = captures.heads().iter().any(|head| head.format != microseconds);
            return Ok(Written::Pcapng { nanoseconds });
        }
        let (link, nanoseconds) = self.pcap_header()?;
        Ok(Written::Pcap { link, nanoseconds })
    }

    /// Whether a frame gets another link type, which a copy can't say.
    fn changes_a_link(&mut self) -> Result<bool> {
        let changes = |link| self.pass.link_of(link) != link;
        let mut captures = self.open()?;
        if captures.heads().iter().all(|head| !changes(head.link.unwrap_or(LinkType::NULL))) {
            return Ok(false);
        }
        while let Some(frame) = captures.next_frame()? {
            if changes(frame.link) && (self.select)(&frame)? == Selected::Yes {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// One pass over the input, and what the sections of its copy can announce.
    fn run(&mut self, mut captures: Captures, sink: Sink) -> Result<(Summary, SectionLengths)> {
        let mut pass = self.pass.clone();
        let (mut read, mut written, mut made) = (0, 0, 0);
        let mut writer = None;
        let mut lengths = SectionLengths::Kept;
        match sink {
            Sink::Nowhere => {}
            Sink::Copy(copy, announced) => {
                lengths = announced;
                let fixes = pass.rewriter().checksums == Checksums::Fix;
                captures.copy_to(copy, announced, if fixes { CopiedFcs::IsFixed } else { CopiedFcs::Follows });
                if pass.lengthens() {
                    captures.raise_snaplen();
                }
            }
            Sink::Convert(converting) => writer = Some(converting),
        }
        let mut options = Vec::new();
        loop {
            if writer.is_none() && pass.takes_every_whole_frame() {
                let swept = captures.sweep(|number, frame, original| pass.rewrite_common(number, frame, original));
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
            let (number, time_ns) = (frame.number, frame.time_ns);
            if let Some(writer) = &writer {
                options.clear();
                captures.packet_options(&mut options);
                if writer.format() == Format::Pcapng && captures.time_unit() == TimeUnit::Finer {
                    return Err(too_fine(number));
                }
            }
            if pass.makes_frames() {
                pass.take(&captures.current());
                while let Some((frame, Rewritten { link, bytes, original_length, .. })) = pass.next_made() {
                    made += u64::from(!frame.is_captured);
                    if let Some(writer) = &mut writer {
                        let frame = Frame { number, time_ns, original_length, link, bytes };
                        let written = writer.write_with(&frame, &options);
                        written.map_err(|error| unconvertible(captures.path(), number, &error))?;
                    }
                }
                continue;
            }
            let Rewritten { link, bytes, original_length, resized } = pass.rewrite(captures.current());
            if let Some(writer) = &mut writer {
                let frame = Frame { number, time_ns, original_length, link, bytes };
                writer.write_with(&frame, &options).map_err(|error| unconvertible(captures.path(), number, &error))?;
            } else if resized {
                captures.replace(pass.last_resized(), original_length)?;
            }
        }
        captures.finish_copy()?;
        let mut lost_blocks = 0;
        match writer {
            Some(writer) => {
                writer.finish().map_err(|error| Failure::system("writing the capture failed", &error))?;
                lost_blocks = captures.other_blocks();
            }
            None if captures.contradicts_a_section() => lengths = SectionLengths::Unknown,
            None => {}
        }
        let captured = written;
        written += made;
        Ok((Summary { read, written, captured, lost_blocks, stats: pass.into_stats() }, lengths))
    }

    /// What a pcap file for the selected frames must announce: their one link type, and nanoseconds if one of them has any.
    fn pcap_header(&mut self) -> Result<(LinkType, bool)> {
        let mut captures = self.open()?;
        let mut only = None;
        let mut unit = TimeUnit::Microsecond;
        while let Some(frame) = captures.next_frame()? {
            if (self.select)(&frame)? == Selected::No {
                continue;
            }
            let (number, link) = (frame.number, self.pass.link_of(frame.link));
            if *only.get_or_insert(link) != link {
                let first = only.map_or(0, |link| link.0);
                return Err(Failure::invalid(
                    Diagnostic::error("frames of several link types don't fit a .pcap file")
                        .why(format!(
                            "the first has link type {first}, frame {number} has {}; pcap has one for all",
                            link.0
                        ))
                        .fix("name the output .pcapng, or choose frames of one link type with `filter` or `frames`"),
                ));
            }
            unit = unit.max(captures.time_unit());
            if unit == TimeUnit::Finer {
                return Err(Failure::invalid(
                    Diagnostic::error(format!("the time of frame {number} doesn't fit a .pcap file"))
                        .why("it is counted finer than in nanoseconds, which pcap can't say")
                        .fix("name the output .pcapng"),
                ));
            }
        }
        Ok((only.unwrap_or(LinkType::ETHERNET), unit == TimeUnit::Nanosecond))
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

fn too_fine(number: u64) -> Failure {
    Failure::invalid(
        Diagnostic::error(format!("the time of frame {number} is finer than the output's"))
            .why("it is counted finer than in nanoseconds, and files that differ or are merged by time are written in nanoseconds")
            .fix("rewrite the files one by one, or pcapng files with `order = \"sequence\"`: then they are copied"),
    )
}

fn unconvertible(input: &Path, number: u64, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidInput {
        let what = format!("frame {number} of `{}` doesn't fit the output's format", input.display());
        return Failure::invalid(Diagnostic::error(what).why(error.to_string()).fix("name the output .pcapng"));
    }
    Failure::system("writing the capture failed", error)
}
