//! Files of one datagram's payload each, read as captures of one frame: what bug reports contain.
//!
//! The frames are IP packets without a link layer, so that they get an Ethernet header as other such frames do. Start at [`Payloads`].

use std::io::Cursor;
use std::net::SocketAddr;
use std::path::Path;

use base64::DecodeError;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Frame, Reader, Writer};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::figures::thousands;
use crate::file::{misspelt, read_bytes};
use crate::packet::layers::LinkType;
use crate::packet::made;

/// The time from one payload to the next, in nanoseconds: files have none of their own.
const APART_NS: u64 = 1_000_000;

/// How a file holds the bytes of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// As they are.
    Raw,
    /// Two hexadecimal digits each; white space, `:`, `-` and `,` between them, and `0x` before them, mean nothing.
    Hex,
    /// Base64 (RFC 4648 §4); line ends mean nothing.
    Base64,
}

/// The datagrams that payloads are sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payloads {
    /// Source address and port.
    pub source: SocketAddr,
    /// Destination address and port, of the same family.
    pub destination: SocketAddr,
    /// How the files hold the payloads; `None`: as their names end, `.hex`, `.b64` or `.base64`, and raw otherwise.
    pub encoding: Option<Encoding>,
}

impl Payloads {
    /// The file at `path`, the `index`th from 0, as a capture of one frame.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::diagnostic::Kind::Invalid) when it can't be read or decoded, or is too long for a datagram.
    pub(super) fn reader(&self, path: &Path, index: usize) -> Result<Reader> {
        let payload = self.payload(path)?;
        let Some(mut packet) = made::udp(self.source, self.destination, &payload) else {
            return Err(self.too_long(path, payload.len()));
        };
        let frame = Frame {
            number: 1,
            time_ns: index as u64 * APART_NS,
            original_length: u32::try_from(packet.len()).expect("an IP packet has less than 64 KiB and a header"),
            link: LinkType::RAW,
            bytes: &mut packet,
        };
        let capture = Writer::pcap(Vec::new(), LinkType::RAW, false, None).and_then(|mut writer| {
            writer.write_with(&frame, &[])?;
            writer.finish()
        });
        let capture = capture.map_err(|error| Failure::system("putting a payload into a frame failed", &error))?;
        Reader::in_memory(path, Cursor::new(capture))
    }

    fn payload(&self, path: &Path) -> Result<Vec<u8>> {
        if !path.exists() {
            let problem = Diagnostic::error(format!("no payload matches `{}`", path.display()));
            return Err(Failure::invalid(
                problem.why("`[capture] payloads` names files of one datagram each").fix(misspelt(path)),
            ));
        }
        let written = read_bytes(path)?;
        let decoded = match self.encoding.unwrap_or_else(|| Encoding::of(path)) {
            Encoding::Raw => return Ok(written),
            Encoding::Hex => hex(&written),
            Encoding::Base64 => base64(&written),
        };
        decoded.map_err(|why| {
            let problem = Diagnostic::error(format!("can't read the payload `{}`", path.display())).why(why);
            Failure::invalid(problem.fix("mend it, or say with `[capture] encoding` what it is: raw, hex or base64"))
        })
    }

    fn too_long(&self, path: &Path, length: usize) -> Failure {
        let (most, family) =
            if self.source.is_ipv4() { (made::LARGEST_OVER_IPV4, "IPv4") } else { (made::LARGEST_OVER_IPV6, "IPv6") };
        let (length, most) = (thousands(length as u64), thousands(most as u64));
        Failure::invalid(
            Diagnostic::error(format!("the payload `{}` is too long", path.display()))
                .why(format!("it has {length} bytes, and a UDP datagram over {family} has {most} at most"))
                .fix("write one datagram to each file; name a capture with `file`"),
        )
    }
}

impl Encoding {
    fn of(path: &Path) -> Self {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        match ending.to_str() {
            Some("hex") => Self::Hex,
            Some("b64" | "base64") => Self::Base64,
            _ => Self::Raw,
        }
    }
}

/// The bytes that hexadecimal digits stand for, or why they stand for none.
fn hex(text: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 2);
    let (mut line, mut high) = (1, None);
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let digit = char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (digit, high) {
            (Some(0), None) if matches!(after.first(), Some(b'x' | b'X')) => rest = after.get(1..).unwrap_or_default(),
            (Some(digit), None) => high = Some(digit),
            (Some(digit), Some(before)) => {
                bytes.push(before << 4 | digit);
                high = None;
            }
            (None, Some(_)) => return Err(format!("line {line}: a byte has two hexadecimal digits, here is one")),
            (None, None) if byte == b'\n' => line += 1,
            (None, None) if byte.is_ascii_whitespace() || matches!(byte, b':' | b'-' | b',') => {}
            (None, None) => {
                return Err(format!("line {line}: `{}` is no hexadecimal digit", byte.escape_ascii()));
            }
        }
    }
    if high.is_some() {
        return Err(format!("line {line}: it ends with half a byte"));
    }
    Ok(bytes)
}

/// Base64 whose padding may be left out.
const PADDED_OR_NOT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes that base64 stands for, padded or not, or why it stands for none.
fn base64(text: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    PADDED_OR_NOT.decode(&digits).map_err(|error| match error {
        DecodeError::InvalidByte(at, odd) => {
            format!("character {}, `{}`, is not one of base64", at + 1, odd.escape_ascii())
        }
        _ => format!("its {} characters of base64 don't end as base64 does", digits.len()),
    })
}
