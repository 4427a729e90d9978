//! Rewriting a whole capture into another file, in one pass at the speed of copying it.
//!
//! The bytes are patched where they were read and written from there, so everything that isn't rewritten comes out as it went in:
//! comments, options, unknown blocks, the digits of times. Start at [`rewrite_file`].

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Hits, Pass, Rewriter, Rewritten, Seen, unused_problems};
use crate::capture::{Format, Frame, Reader, TimeUnit, Writer};
use crate::diagnostic::{Failure, Kind, Problem, Result, Source};
use crate::packet::layers::{Layers, LinkType};

/// Where a rewritten capture goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output<'a> {
    /// A file, whose format follows its ending: `.pcap` or `.pcapng`. It is there only when all of it was written.
    Path(&'a Path),
    /// Standard output, in the format of the input.
    Stdout,
}

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
    /// What each map entry hit, and what was left.
    pub hits: Hits,
}

/// Rewrites the capture `input`. `select` says of each frame, not yet rewritten, whether it is kept; it may be asked again for the
/// same frames, and must then say the same. `pass` is one that hasn't begun. `source` is the scenario, for messages.
///
/// # Errors
/// What `select` says; [`Kind::Invalid`] when the input is damaged, when an entry matches no frame, or when the output's format
/// can't hold the frames. Then nothing of the output is left; only of standard output, the frames before the damage.
pub fn rewrite_file(
    input: &Path,
    output: &Output<'_>,
    select: &mut dyn FnMut(&Frame<'_>) -> Result<Selected>,
    pass: &Pass<'_>,
    source: &Arc<Source>,
) -> Result<Summary> {
    let reader = Reader::open(input)?;
    match output {
        Output::Stdout => {
            // What was printed can't be taken back, so what can be refused is looked for first.
            let summary = run(reader, Sink::Nowhere, select, pass.clone())?;
            refuse_unused(input, &summary.hits, select, pass.rewriter(), source)?;
            let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from);
            let stdout = stdout.map_err(|error| Failure::system("can't write to standard output", &error))?;
            run(Reader::open(input)?, Sink::Copy(buffered(stdout)), select, pass.clone())
        }
        Output::Path(path) => {
            let format = format_of(path)?;
            let (beside, file) = Beside::create(path)?;
            let file = buffered(file);
            let sink = match (reader.format(), format) {
                (Format::Pcap { .. }, Format::Pcap { .. }) | (Format::Pcapng, Format::Pcapng) => Sink::Copy(file),
                (Format::Pcap { nanoseconds }, Format::Pcapng) => {
                    Sink::Convert(Writer::pcapng(file, nanoseconds).map_err(|error| unwritable(path, &error))?)
                }
                (Format::Pcapng, Format::Pcap { .. }) => {
                    let (link, nanoseconds) = pcap_header(Reader::open(input)?, select)?;
                    Sink::Convert(
                        Writer::pcap(file, link, nanoseconds, None).map_err(|error| unwritable(path, &error))?,
                    )
                }
            };
            let summary = run(reader, sink, select, pass.clone())?;
            refuse_unused(input, &summary.hits, select, pass.rewriter(), source)?;
            beside.publish()?;
            Ok(summary)
        }
    }
}

/// Where the frames of one pass go.
enum Sink {
    /// They are only rewritten.
    Nowhere,
    /// To a copy of the input.
    Copy(Box<dyn Write + Send>),
    /// To a file of the other format.
    Convert(Writer<Box<dyn Write + Send>>),
}

/// One pass over the input.
fn run(
    mut reader: Reader,
    sink: Sink,
    select: &mut dyn FnMut(&Frame<'_>) -> Result<Selected>,
    mut pass: Pass<'_>,
) -> Result<Summary> {
    let (mut read, mut written) = (0, 0);
    let mut writer = None;
    match sink {
        Sink::Nowhere => {}
        Sink::Copy(copy) => reader.copy_to(copy),
        Sink::Convert(converting) => writer = Some(converting),
    }
    let path = reader.path().to_path_buf();
    while let Some(frame) = reader.next_frame()? {
        read += 1;
        if select(&frame)? == Selected::No {
            pass.passed_by(&frame);
            reader.leave_out()?;
            continue;
        }
        written += 1;
        let (number, time_ns, link) = (frame.number, frame.time_ns, frame.link);
        let Rewritten { bytes, original_length, resized, .. } = pass.rewrite(frame);
        if let Some(writer) = &mut writer {
            let frame = Frame { number, time_ns, original_length, link, bytes };
            writer.write(&frame).map_err(|error| unconvertible(&path, number, &error))?;
        } else if resized {
            reader.replace(pass.last_resized(), original_length)?;
        }
    }
    reader.finish_copy()?;
    if let Some(writer) = writer {
        writer.finish().map_err(|error| Failure::system("writing the capture failed", &error))?;
    }
    Ok(Summary { read, written, hits: pass.into_hits() })
}

/// What a pcap file for the selected frames must announce: their one link type, and nanoseconds if one of them has any.
fn pcap_header(mut reader: Reader, select: &mut dyn FnMut(&Frame<'_>) -> Result<Selected>) -> Result<(LinkType, bool)> {
    let mut only = None;
    let mut unit = TimeUnit::Microsecond;
    while let Some(frame) = reader.next_frame()? {
        if select(&frame)? == Selected::No {
            continue;
        }
        let (number, link) = (frame.number, frame.link);
        if *only.get_or_insert(link) != link {
            let first = only.map_or(0, |link| link.0);
            return Err(Failure::invalid(
                Problem::error("frames of several link types don't fit a .pcap file")
                    .why(format!(
                        "the first has link type {first}, frame {number} has {}; pcap has one for all",
                        link.0
                    ))
                    .fix("name the output .pcapng, or choose frames of one link type with `filter` or `frames`"),
            ));
        }
        unit = unit.max(reader.time_unit());
        if unit == TimeUnit::Finer {
            return Err(Failure::invalid(
                Problem::error(format!("the time of frame {number} doesn't fit a .pcap file"))
                    .why("it is counted finer than in nanoseconds, which pcap can't say")
                    .fix("name the output .pcapng"),
            ));
        }
    }
    Ok((only.unwrap_or(LinkType::ETHERNET), unit == TimeUnit::Nanosecond))
}

/// Only when an entry hit nothing is the capture read again, for the addresses that are there.
fn refuse_unused(
    input: &Path,
    hits: &Hits,
    select: &mut dyn FnMut(&Frame<'_>) -> Result<Selected>,
    rewriter: &Rewriter,
    source: &Arc<Source>,
) -> Result<()> {
    if rewriter.allows_unused() || hits.unused(rewriter).next().is_none() {
        return Ok(());
    }
    let mut seen = Seen::default();
    let mut reader = Reader::open(input)?;
    while let Some(frame) = reader.next_frame()? {
        if select(&frame)? == Selected::Yes {
            seen.add(&Layers::find(frame.link, frame.bytes), frame.bytes);
        }
    }
    Err(Failure { kind: Kind::Invalid, problems: unused_problems(rewriter, hits, source, &seen) })
}

fn format_of(path: &Path) -> Result<Format> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("pcap") => Ok(Format::Pcap { nanoseconds: false }),
        Some("pcapng") => Ok(Format::Pcapng),
        _ => Err(Failure::invalid(
            Problem::error(format!("`{}` doesn't say in which format it is to be written", path.display()))
                .why("the format follows the ending")
                .fix("end its name in .pcap or .pcapng, or write to standard output with `-`"),
        )),
    }
}

/// The runs of kept bytes are as long as the reader's buffer, and pass this one by; where frames are left out it gathers them.
fn buffered(file: File) -> Box<dyn Write + Send> {
    Box::new(BufWriter::with_capacity(64 << 10, file))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::system(format!("can't write `{}`", path.display()), error)
}

fn unconvertible(input: &Path, number: u64, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidInput {
        let what = format!("frame {number} of `{}` doesn't fit the output's format", input.display());
        return Failure::invalid(Problem::error(what).why(error.to_string()).fix("name the output .pcapng"));
    }
    Failure::system("writing the capture failed", error)
}

/// A file that is written beside its target, and takes the target's name when it is complete. Dropped before, it is removed.
struct Beside {
    target: PathBuf,
    partial: Option<PathBuf>,
}

impl Beside {
    fn create(target: &Path) -> Result<(Self, File)> {
        let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let partial = target.with_file_name(format!(".{name}.{}.partial", std::process::id()));
        let file = File::create_new(&partial).map_err(|error| unwritable(target, &error))?;
        Ok((Self { target: target.to_path_buf(), partial: Some(partial) }, file))
    }

    fn publish(mut self) -> Result<()> {
        let Some(partial) = self.partial.take() else { return Ok(()) };
        fs::rename(&partial, &self.target).map_err(|error| {
            self.partial = Some(partial);
            unwritable(&self.target, &error)
        })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // There is nobody to tell; the error that led here is on its way.
            let _ = fs::remove_file(partial);
        }
    }
}
