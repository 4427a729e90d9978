//! `[capture]`: which frames are replayed.

use std::ops::Range;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checker;
use super::form::Value;
use crate::capture::{FileOrder, Files, FrameSet, STANDARD_INPUT};
use crate::diagnostic::{At, Diagnostic};
use crate::file::is_standard_input;

/// What happens to frames that the capture's snaplen cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Truncated {
    /// The run is refused.
    #[default]
    Refuse,
    /// They are not selected.
    Skip,
    /// Zero bytes are added up to the original length.
    Pad,
    /// They are sent as they are.
    Send,
}

/// `[capture]`, with legal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The savefiles, already relative to the working directory (the scenario's folder joined with what is written); `-` is
    /// standard input.
    pub files: Files,
    /// A pcap-filter(7) expression; its syntax is checked when the capture's link types are known.
    pub filter: Option<At<String>>,
    /// Frame numbers.
    pub frames: Option<At<FrameSet>>,
    /// What to do with cut frames.
    pub truncated: At<Truncated>,
    /// SHA-256 of the files, one after the other, 64 lower-case hexadecimal digits.
    pub sha256: Option<At<String>>,
}

/// The input: pcap or pcapng, also compressed with gzip or zstd.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("oneOf" = [{ "required": ["file"] }, { "required": ["files"] }]))]
pub(super) struct Form {
    /// The savefile, relative to the scenario; `-` is standard input (not for `restage run`).
    #[schemars(example = &"captures/appflow.pcapng")]
    file: Option<Value<String>>,
    /// Several savefiles instead of `file`, relative to the scenario; their frames are numbered through all of them.
    #[schemars(length(min = 1), example = ["captures/a.pcap", "captures/b.pcap.gz"])]
    files: Option<Value<Vec<Value<String>>>>,
    /// In which order the frames follow each other: as the file has them, one file after the other (sequence, the default), or by their
    /// times.
    #[schemars(example = &"time")]
    order: Option<Value<FileOrder>>,
    /// A pcap-filter(7) expression, exactly as tcpdump takes it; it looks at the capture before rewriting.
    #[schemars(example = &"udp dst port 4739")]
    filter: Option<Value<String>>,
    /// Frame numbers as Wireshark shows them.
    #[schemars(example = &"1-100,200,300-")]
    frames: Option<Value<String>>,
    /// What happens to frames that the snaplen cut. Default: refuse.
    #[schemars(example = &"skip")]
    truncated: Option<Value<Truncated>>,
    /// The SHA-256 of the file as it is on the disk, of several files one after the other, 64 hexadecimal digits: other bytes are refused.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    #[schemars(example = &"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    sha256: Option<Value<String>>,
}

/// The legal values of `[capture]`; `top` is where a file without the table is pointed at.
pub(super) fn check(form: Option<Value<Form>>, top: Range<usize>, checker: &mut Checker) -> Option<Capture> {
    let Some(form) = form else {
        let problem = Diagnostic::error("the scenario has no `[capture]`")
            .why("it says which capture is replayed")
            .fix("add `[capture]` and, below it, `file = \"…\"`");
        checker.missing("capture", top, problem);
        return None;
    };
    let table = form.span();
    let form = form.into_inner();
    let files = check_files(form.file.as_ref(), form.files, form.order.as_ref(), table, checker);
    let frames = form.frames.and_then(|frames| check_frames(&frames, checker));
    let sha256 = form.sha256.and_then(|sum| check_sum(&sum, checker));
    Some(Capture {
        files: files?,
        filter: form.filter.map(Value::into_at),
        frames,
        truncated: form.truncated.map_or(At::default_value(Truncated::default()), Value::into_at),
        sha256,
    })
}

/// `file`, or `files` with `order`.
fn check_files(
    file: Option<&Value<String>>,
    files: Option<Value<Vec<Value<String>>>>,
    order: Option<&Value<FileOrder>>,
    table: Range<usize>,
    checker: &mut Checker,
) -> Option<Files> {
    let order = order.map_or(FileOrder::default(), |order| *order.get());
    match (file, files) {
        (Some(file), Some(files)) => {
            let (first, later) = if file.span().start < files.span().start {
                (file.span(), files.span())
            } else {
                (files.span(), file.span())
            };
            let problem = Diagnostic::error("`file` and `files` exclude each other")
                .label(format!("it can't be combined with line {}", checker.line(first.start)))
                .why("either one capture is replayed, or several as one")
                .fix("keep one of them; `files` can hold all names");
            checker.refuse(later, problem);
            None
        }
        (Some(file), None) if checker.is_standard_input(file) => {
            if is_standard_input(&checker.source.path) {
                let problem = Diagnostic::error("the scenario and its capture can't both be standard input")
                    .why("what is read as the scenario is not there to be read as the capture")
                    .fix("write one of them to a file, and name that");
                checker.refuse(file.span(), problem);
                return None;
            }
            Some(Files::one(file.with(PathBuf::from(STANDARD_INPUT)), order))
        }
        (Some(file), None) => checker.path("capture.file", file).map(|path| Files::one(path, order)),
        (None, Some(files)) => check_several(files, order, checker),
        (None, None) => {
            let problem = Diagnostic::error("`[capture]` names no `file`")
                .why("it says which capture is replayed")
                .fix("add `file = \"…\"`, a path relative to the scenario's folder, or `files` with several");
            checker.missing_all("capture", &["file", "files"], table, problem);
            None
        }
    }
}

fn check_several(files: Value<Vec<Value<String>>>, order: FileOrder, checker: &mut Checker) -> Option<Files> {
    let span = files.span();
    let files = files.into_inner();
    if files.is_empty() {
        let problem = Diagnostic::error("`capture.files` names no capture");
        checker.refuse(span, problem.fix("write one name or more: `files = [\"a.pcap\", \"b.pcap\"]`"));
        return None;
    }
    let mut paths = Vec::with_capacity(files.len());
    let mut all = true;
    for file in &files {
        if checker.is_standard_input(file) {
            let problem = Diagnostic::error("`capture.files` can't hold standard input")
                .why("`-` means it only as the one `file`")
                .fix("write it to a file first, or name it `./-` if it is one");
            checker.refuse(file.span(), problem);
            all = false;
            continue;
        }
        if file.get().is_empty() {
            let problem = Diagnostic::error("`capture.files` holds an empty name");
            checker.refuse(file.span(), problem.fix("name a file, relative to the scenario's folder, or remove it"));
            all = false;
            continue;
        }
        match checker.path("capture.files", file) {
            Some(path) => paths.push(path),
            None => all = false,
        }
    }
    if all { Files::several(paths, order, span) } else { None }
}

fn check_frames(written: &Value<String>, checker: &mut Checker) -> Option<At<FrameSet>> {
    match written.get().parse() {
        Ok(frames) => Some(written.with(frames)),
        Err(why) => {
            let what = format!("`capture.frames` can't be \"{}\"", written.get());
            let fix = "write numbers and ranges from 1, like \"1-100,200,300-\"";
            checker.refuse(written.span(), Diagnostic::error(what).why(why).fix(fix));
            None
        }
    }
}

fn check_sum(written: &Value<String>, checker: &mut Checker) -> Option<At<String>> {
    let digits = written.get().to_ascii_lowercase();
    let odd = digits.chars().find(|digit| !digit.is_ascii_hexdigit());
    let why = match (odd, digits.len()) {
        (None, 64) => return Some(written.with(digits)),
        (Some(odd), _) => format!("`{odd}` is no hexadecimal digit"),
        (None, length) => format!("a SHA-256 has 64 hexadecimal digits, this has {length}"),
    };
    let problem =
        Diagnostic::error("`capture.sha256` is not a SHA-256").why(why).fix("paste what `sha256sum FILE` prints first");
    checker.refuse(written.span(), problem);
    None
}
