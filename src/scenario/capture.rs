//! `[capture]`: which frames are replayed.

use std::ops::Range;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checker;
use super::form::Value;
use crate::capture::FrameSet;
use crate::diagnostic::{At, Problem};

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
    /// The savefile, already relative to the working directory (the scenario's folder joined with what is written).
    pub file: At<PathBuf>,
    /// A pcap-filter(7) expression; its syntax is checked when the capture's link types are known.
    pub filter: Option<At<String>>,
    /// Frame numbers.
    pub frames: Option<At<FrameSet>>,
    /// What to do with cut frames.
    pub truncated: At<Truncated>,
    /// SHA-256 of the file, 64 lower-case hexadecimal digits.
    pub sha256: Option<At<String>>,
}

/// The input: pcap or pcapng, also compressed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Form {
    /// The savefile, relative to the scenario.
    #[schemars(required, example = &"captures/appflow.pcapng")]
    file: Option<Value<String>>,
    /// A pcap-filter(7) expression, exactly as tcpdump takes it; it looks at the capture before rewriting.
    #[schemars(example = &"udp dst port 4739")]
    filter: Option<Value<String>>,
    /// Frame numbers as Wireshark shows them.
    #[schemars(example = &"1-100,200,300-")]
    frames: Option<Value<String>>,
    /// What happens to frames that the snaplen cut. Default: refuse.
    #[schemars(example = &"skip")]
    truncated: Option<Value<Truncated>>,
    /// The SHA-256 of the file, 64 hexadecimal digits: another file is refused.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    #[schemars(example = &"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    sha256: Option<Value<String>>,
}

/// The legal values of `[capture]`; `top` is where a file without the table is pointed at.
pub(super) fn check(form: Option<Value<Form>>, top: Range<usize>, checker: &mut Checker) -> Option<Capture> {
    let Some(form) = form else {
        let problem = Problem::error("the scenario has no `[capture]`")
            .why("it says which capture is replayed")
            .fix("add `[capture]` and, below it, `file = \"…\"`");
        checker.missing("capture", top, problem);
        return None;
    };
    let table = form.span();
    let form = form.into_inner();
    let file = if let Some(file) = &form.file {
        checker.path("capture.file", file)
    } else {
        let problem = Problem::error("`[capture]` names no `file`")
            .why("it says which capture is replayed")
            .fix("add `file = \"…\"`, a path relative to the scenario's folder");
        checker.missing("capture.file", table, problem);
        None
    };
    let frames = form.frames.and_then(|frames| check_frames(&frames, checker));
    let sha256 = form.sha256.and_then(|sum| check_sum(&sum, checker));
    Some(Capture {
        file: file?,
        filter: form.filter.map(Value::into_at),
        frames,
        truncated: form.truncated.map_or(At::default_value(Truncated::default()), Value::into_at),
        sha256,
    })
}

fn check_frames(written: &Value<String>, checker: &mut Checker) -> Option<At<FrameSet>> {
    match written.get().parse() {
        Ok(frames) => Some(written.with(frames)),
        Err(why) => {
            let what = format!("`capture.frames` can't be \"{}\"", written.get());
            let fix = "write numbers and ranges from 1, like \"1-100,200,300-\"";
            checker.refuse(written.span(), Problem::error(what).why(why).fix(fix));
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
        Problem::error("`capture.sha256` is not a SHA-256").why(why).fix("paste what `sha256sum FILE` prints first");
    checker.refuse(written.span(), problem);
    None
}
