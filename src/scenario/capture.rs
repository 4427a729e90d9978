//! `[capture]`: which frames are replayed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::check::Checker;
use super::form::{self, refused, values};
use super::require::Listener;
use crate::capture::{Encoding, FileOrder, Files, FrameSet, Payloads, STANDARD_INPUT};
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
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("oneOf" = [{ "required": ["file"] }, { "required": ["files"] }, { "required": ["payloads", "to"] }]))]
pub(super) struct Form {
    /// The savefile, relative to the scenario; `-` is standard input (not for `restage run`).
    #[schemars(example = &"captures/appflow.pcapng")]
    file: Option<At<PathBuf>>,
    /// Several savefiles instead of `file`, relative to the scenario; their frames are numbered through all of them.
    #[schemars(length(min = 1), example = ["captures/a.pcap", "captures/b.pcap.gz"])]
    files: Option<At<Vec<At<PathBuf>>>>,
    /// Files of one datagram's payload each, instead of `file`; `*`, `?`, `[a-z]` and `**` as in a shell.
    #[schemars(length(min = 1), example = ["payloads/*.dat"])]
    payloads: Option<At<Vec<At<PathBuf>>>>,
    /// Where payloads are sent to: `udp:PORT` or `udp:ADDRESS:PORT`. Default address: 192.0.2.20, or 2001:db8::14 where `from` is IPv6.
    #[schemars(example = &"udp:4739")]
    to: Option<At<Listener>>,
    /// Where payloads are sent from: an address, with or without a port. Default: 192.0.2.1 or 2001:db8::1, and port 49152.
    #[schemars(with = "Option<String>", example = &"192.0.2.1")]
    from: Option<At<Origin>>,
    /// How the files hold payloads. Default: by their names, `.hex`, `.b64` or `.base64`, and raw otherwise.
    #[schemars(example = &"hex")]
    encoding: Option<At<Encoding>>,
    /// The order of the frames: that of the files, one after the other, or by their times. Default: sequence.
    #[schemars(example = &"time")]
    order: FileOrder,
    /// A pcap-filter(7) expression, exactly as tcpdump takes it; it sees the frames before they are rewritten.
    #[schemars(example = &"udp dst port 4739")]
    filter: Option<At<String>>,
    /// Frame numbers as Wireshark shows them.
    #[schemars(example = &"1-100,200,300-")]
    frames: Option<At<FrameSet>>,
    /// What happens to frames that the snaplen cut. Default: refuse.
    #[schemars(example = &"skip")]
    truncated: At<Truncated>,
    /// The SHA-256 of the file on the disk, for several files of all of them one after the other; 64 hexadecimal digits. Other content is refused.
    #[serde(deserialize_with = "sha256")]
    #[schemars(with = "String", regex(pattern = "^[0-9a-fA-F]{64}$"))]
    #[schemars(example = &"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    sha256: Option<At<String>>,
}

/// The source of payloads: an address, and a port if one is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin(IpAddr, Option<u16>);

values! {
    Origin: String, |text: &String| origin(text).ok_or_else(|| refused(
        format!("`{text}` is not an address, nor an address with a port"),
        "write \"192.0.2.1\", \"192.0.2.1:2055\", \"2001:db8::1\" or \"[2001:db8::1]:2055\"",
    ));
    FrameSet: String, |text: &String| text.parse().map_err(|why: String| refused(why, "write numbers and ranges from 1, like \"1-100,200,300-\""));
}

fn origin(text: &str) -> Option<Origin> {
    if let Ok(address) = text.parse() {
        return Some(Origin(address, None));
    }
    let socket: SocketAddr = text.parse().ok()?;
    (socket.port() > 0).then_some(Origin(socket.ip(), Some(socket.port())))
}

fn sha256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<At<String>>, D::Error> {
    let written = At::<String>::deserialize(deserializer)?;
    let digits = written.value.to_ascii_lowercase();
    let odd = digits.chars().find(|digit| !digit.is_ascii_hexdigit());
    let why = match (odd, digits.len()) {
        (None, 64) => return Ok(Some(written.with(digits))),
        (Some(odd), _) => format!("`{odd}` is no hexadecimal digit"),
        (None, length) => format!("a SHA-256 has 64 hexadecimal digits, this has {length}"),
    };
    let problem =
        Diagnostic::error("`\u{2}` is not a SHA-256").why(why).fix("paste what `sha256sum FILE` prints first");
    Err(form::error(&problem))
}

/// The legal values of `[capture]`; `top` is where a file without the table is pointed at.
pub(super) fn check(form: Option<At<Form>>, top: Range<usize>, checker: &mut Checker) -> Option<Capture> {
    let Some(At { value: form, span }) = form else {
        let problem = Diagnostic::error("the scenario has no `[capture]`")
            .why("it says which capture is replayed")
            .fix("add `[capture]` and, below it, `file = \"…\"`");
        checker.missing("capture", top, problem);
        return None;
    };
    let table = span.unwrap_or_default();
    let files = match &form.payloads {
        Some(_) => check_payloads(&form, checker)?,
        None => {
            refuse_what_payloads_have(&form, checker);
            check_files(form.file, form.files, form.order, table, checker)?
        }
    };
    let Form { filter, frames, truncated, sha256, .. } = form;
    Some(Capture { files, filter, frames, truncated, sha256 })
}

/// `file`, or `files` with `order`.
fn check_files(
    file: Option<At<PathBuf>>,
    files: Option<At<Vec<At<PathBuf>>>>,
    order: FileOrder,
    table: Range<usize>,
    checker: &mut Checker,
) -> Option<Files> {
    match (file, files) {
        (Some(file), Some(files)) => {
            let (file, files) = (file.range(), files.range());
            let (first, later) = if file.start < files.start { (file, files) } else { (files, file) };
            let problem = Diagnostic::error("`file` and `files` exclude each other")
                .label(format!("it can't be combined with line {}", checker.line(first.start)))
                .why("either one capture is replayed, or several as one")
                .fix("keep one of them; `files` can hold all names");
            checker.refuse(later, problem);
            None
        }
        (Some(file), None) if checker.is_standard_input(&file) => {
            if is_standard_input(&checker.source.path) {
                let problem = Diagnostic::error("the scenario and its capture can't both be standard input")
                    .why("what is read as the scenario is not there to be read as the capture")
                    .fix("write one of them to a file, and name that");
                checker.refuse(file.range(), problem);
            }
            Some(Files::one(file.with(PathBuf::from(STANDARD_INPUT)), order))
        }
        (Some(mut file), None) => {
            checker.join("capture.file", &mut file.value, file.span.as_ref());
            Some(Files::one(file, order))
        }
        (None, Some(files)) => check_several(files, order, checker),
        (None, None) => {
            let problem = Diagnostic::error("`[capture]` names no `file`")
                .why("it says which capture is replayed")
                .fix("add `file = \"…\"`, a path relative to the scenario's folder, or `files` with several");
            checker.missing_all("capture", &["file", "files", "payloads"], table, problem);
            None
        }
    }
}

fn check_several(mut files: At<Vec<At<PathBuf>>>, order: FileOrder, checker: &mut Checker) -> Option<Files> {
    let span = files.range();
    if files.value.is_empty() {
        let problem = Diagnostic::error("`capture.files` names no capture");
        checker.refuse(span, problem.fix("write one name or more: `files = [\"a.pcap\", \"b.pcap\"]`"));
        return None;
    }
    for file in &mut files.value {
        if checker.is_standard_input(file) {
            let problem = Diagnostic::error("`capture.files` can't hold standard input")
                .why("`-` means it only as the one `file`")
                .fix("write it to a file first, or name it `./-` if it is one");
            checker.refuse(file.range(), problem);
        } else if file.value.as_os_str().is_empty() {
            let problem = Diagnostic::error("`capture.files` holds an empty name");
            checker.refuse(file.range(), problem.fix("name a file, relative to the scenario's folder, or remove it"));
        } else {
            checker.join("capture.files", &mut file.value, file.span.as_ref());
        }
    }
    Files::several(files.value, order, span)
}

/// `payloads` with `to`, `from` and `encoding`.
fn check_payloads(form: &Form, checker: &mut Checker) -> Option<Files> {
    let payloads = form.payloads.as_ref()?;
    let other = [("file", form.file.as_ref().map(At::range)), ("files", form.files.as_ref().map(At::range))];
    for (key, span) in other.into_iter().filter_map(|(key, span)| Some((key, span?))) {
        let problem = Diagnostic::error(format!("`{key}` and `payloads` exclude each other"))
            .label(format!("line {} has the payloads", checker.line(payloads.range().start)))
            .why("either captures are replayed, or files of one datagram each")
            .fix("keep one of them");
        checker.refuse(span, problem);
    }
    let Some(to) = &form.to else {
        let problem = Diagnostic::error("`capture.to` is missing")
            .why("payloads have no headers, so the scenario says where they are sent to")
            .fix("write `to = \"udp:4739\"`, or `to = \"udp:192.0.2.20:4739\"`");
        checker.missing("capture.to", payloads.range(), problem);
        return None;
    };
    if !to.value.is_udp() {
        let problem = Diagnostic::error("`capture.to` is not UDP").why("each payload is sent in a UDP datagram");
        checker.refuse(to.range(), problem.fix(format!("write \"udp:{}\"", to.value.port)));
        return None;
    }
    let written = form.from.as_ref().map(|from| from.value);
    let is_v6 = to.value.address.or(written.map(|from| from.0)).is_some_and(|address| address.is_ipv6());
    let default = |v4: [u8; 4], host| match is_v6 {
        false => IpAddr::V4(Ipv4Addr::from(v4)),
        true => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)),
    };
    let destination = SocketAddr::new(to.value.address.unwrap_or(default([192, 0, 2, 20], 0x14)), to.value.port);
    let Origin(address, port) = written.unwrap_or(Origin(default([192, 0, 2, 1], 1), None));
    // The first port that none is registered for (RFC 6335 §6).
    let source = SocketAddr::new(address, port.unwrap_or(49_152));
    if let Some(from) = form.from.as_ref().filter(|_| source.is_ipv4() != destination.is_ipv4()) {
        let problem = Diagnostic::error("`capture.from` and `capture.to` are of two families")
            .label(format!("line {} has the destination", checker.line(to.range().start)))
            .why("a packet has two IPv4 addresses, or two IPv6 addresses");
        checker.refuse(from.range(), problem.fix("write both of one family"));
        return None;
    }
    let mut paths = Vec::new();
    for pattern in &payloads.value {
        match checker.matching("capture.payloads", pattern) {
            // Opening it says that there is none.
            matching if matching.is_empty() => {
                let mut path = pattern.clone();
                checker.join("capture.payloads", &mut path.value, path.span.as_ref());
                paths.push(path);
            }
            matching => paths.extend(matching),
        }
    }
    if paths.is_empty() {
        let problem = Diagnostic::error("`capture.payloads` names no file");
        checker.refuse(payloads.range(), problem.fix("write one name or more: `payloads = [\"*.dat\"]`"));
    }
    let encoding = form.encoding.as_ref().map(|encoding| encoding.value);
    Files::payloads(paths, Payloads { source, destination, encoding }, payloads.range())
}

/// Keys that mean nothing without `payloads`.
fn refuse_what_payloads_have(form: &Form, checker: &mut Checker) {
    let keys = [
        ("to", form.to.as_ref().map(At::range)),
        ("from", form.from.as_ref().map(At::range)),
        ("encoding", form.encoding.as_ref().map(At::range)),
    ];
    for (key, span) in keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
        let problem = Diagnostic::error(format!("`capture.{key}` has no `payloads`"))
            .why("frames of a capture have their own addresses and ports")
            .fix("change them with `[rewrite.source]` and `[rewrite.destination]`, or name `payloads`");
        checker.refuse_because(span, None, "capture.payloads", problem);
    }
}
