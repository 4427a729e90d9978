//! What a file that is no capture looks like, so that the message can say it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::compression::Compression;
use super::{pcapng, savefile};
use crate::diagnostic::{Diagnostic, Failure};
use crate::file::similar;

/// Whether bytes are the beginning of a capture, or of something compressed as captures are.
pub(crate) fn begins_like_one(start: &[u8]) -> bool {
    savefile::begins(start) || pcapng::begins(start) || Compression::of(start).is_some()
}

/// Whether the file is there and begins like a capture.
pub(crate) fn is_named_capture(path: &Path) -> bool {
    let mut start = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && begins_like_one(&start)
}

/// A capture that can't be read.
pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let fix = match error.kind() {
        ErrorKind::NotFound => similar(path)
            .unwrap_or_else(|| "check the name; paths in a scenario count from the scenario's folder".to_owned()),
        ErrorKind::PermissionDenied => "let this user read it, and enter its folders".to_owned(),
        _ => "check the file and its disk, or copy it elsewhere".to_owned(),
    };
    let what = format!("can't read the capture `{}`", path.display());
    Failure::invalid(Diagnostic::error(what).why(error.to_string()).fix(fix))
}

/// The problem of a file that begins with `start`, which is neither pcap nor pcapng.
pub(super) fn not_a_capture(path: &Path, start: &[u8]) -> Diagnostic {
    let shown = path.display();
    if start.is_empty() {
        return Diagnostic::error(format!("`{shown}` is empty"))
            .why("a capture has at least a file header")
            .fix("capture or copy it again");
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    for (magic, what, unpack) in PACKED {
        if start.starts_with(magic) {
            let plain = name.strip_suffix(unpack.1).unwrap_or(&name);
            return Diagnostic::error(format!("`{shown}` is compressed with {what}"))
                .why("of compressed captures those of gzip and zstd are read")
                .fix(format!("unpack it first: `{} {name}`, and name `{plain}`", unpack.0));
        }
    }
    let problem = Diagnostic::error(format!("`{shown}` is not a capture"));
    for (magic, what) in OTHER_FORMATS {
        if start.starts_with(magic) {
            return problem
                .why(format!("it is {what}; pcap and pcapng are read"))
                .fix(format!("convert it: `editcap -F pcapng {name} {name}.pcapng`"));
        }
    }
    if start.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')) {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
            return problem
                .why("it looks like a scenario, which names its capture")
                .fix(format!("`restage plan {shown}` shows what it would do"));
        }
        return problem
            .why("it looks like text; pcap and pcapng are read")
            .fix("name a file that tcpdump or Wireshark wrote");
    }
    let bytes: Vec<String> = start.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    problem
        .why(format!("it begins with {}, which is neither pcap nor pcapng", bytes.join(" ")))
        .fix("name a file that tcpdump or Wireshark wrote")
}

/// Magic, name, and the program that unpacks with the ending that it takes off.
type Packed = (&'static [u8], &'static str, (&'static str, &'static str));

const PACKED: [Packed; 3] = [
    (&[0xfd, b'7', b'z', b'X', b'Z', 0], "xz", ("unxz", ".xz")),
    (b"BZh", "bzip2", ("bunzip2", ".bz2")),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4", ("unlz4", ".lz4")),
];

const OTHER_FORMATS: [(&[u8], &str); 5] = [
    (b"snoop\0\0\0", "a snoop file (RFC 1761)"),
    (b"XCP\0", "a NetXRay or Windows Sniffer file"),
    (b"RTSS", "a Microsoft Network Monitor 1 file"),
    (b"GMBU", "a Microsoft Network Monitor 2 file"),
    (b"TRSNIFF data    \x1a", "a Sniffer file"),
];
