//! SIP (RFC 3261) and SDP (RFC 8866): addresses in headers that route messages, and in the description of a session; the length of the body
//! follows. `Call-ID` is an identifier, and stays.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex};

use super::Datagram;

/// Headers with addresses, in lower case, and their compact forms (RFC 3261 §7.3.3).
const HEADERS: [&[u8]; 14] = [
    b"via",
    b"v",
    b"contact",
    b"m",
    b"from",
    b"f",
    b"to",
    b"t",
    b"route",
    b"record-route",
    b"path",
    b"service-route",
    b"p-asserted-identity",
    b"refer-to",
];

/// An IPv4 address, an IPv6 address in brackets, or one behind SDP's `IP6`, behind `received=` (RFC 3261 §25.1), or between blanks, as in `a=candidate`.
static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?-u)(?<v4>[0-9]{1,3}(?:\.[0-9]{1,3}){3})|\[(?<v6>[0-9A-Fa-f:.]+)\]|(?<before>[Rr]eceived=| )(?<bare>[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*)",
    )
    .expect("it is a regular expression")
});

/// Maps the addresses of a message; `None` where it is none. What keeps a connection open (RFC 5626 §3.5.1) has none.
pub(super) fn rewrite(datagram: &mut Datagram<'_>) -> Option<()> {
    let bytes = std::mem::take(datagram.bytes);
    if bytes.iter().all(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        *datagram.bytes = bytes;
        return Some(());
    }
    let blank = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = bytes.split_at_checked(blank + 4)?;
    let mut lines: Vec<Vec<u8>> = head.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let start = lines.first_mut()?;
    if !start.starts_with(b"SIP/2.0 ") && !start.trim_ascii_end().ends_with(b" SIP/2.0") {
        return None;
    }
    *start = mapped(start, datagram);
    let (mut has_addresses, mut is_sdp, mut length) = (false, false, None);
    for (index, line) in lines.iter_mut().enumerate().skip(1) {
        // A line that begins with white space continues the header before it.
        if !matches!(line.first(), Some(b' ' | b'\t')) {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let name = line.get(..colon)?.trim_ascii().to_ascii_lowercase();
            let value = line.get(colon + 1..)?.trim_ascii();
            has_addresses = HEADERS.contains(&name.as_slice());
            is_sdp |= matches!(name.as_slice(), b"content-type" | b"c")
                && value.to_ascii_lowercase().starts_with(b"application/sdp");
            if matches!(name.as_slice(), b"content-length" | b"l") {
                length = Some((index, colon, std::str::from_utf8(value).ok()?.parse::<usize>().ok()?));
            }
        }
        if has_addresses {
            *line = mapped(line, datagram);
        }
    }
    let new_body = if is_sdp { description(body, datagram) } else { body.to_vec() };
    if let Some((index, colon, announced)) = length
        && new_body.len() != body.len()
    {
        // What follows the announced body is no part of it, and a body that is cut has no length to follow.
        if announced != body.len() {
            return None;
        }
        let line = lines.get_mut(index)?;
        line.truncate(colon + 1);
        line.extend_from_slice(format!(" {}\r\n", new_body.len()).as_bytes());
    }
    *datagram.bytes = [lines.concat(), new_body].concat();
    Some(())
}

/// The lines of SDP that have addresses: origin, connection, attributes.
fn description(body: &[u8], datagram: &mut Datagram<'_>) -> Vec<u8> {
    let mut new = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        if matches!(line, [b'o' | b'c' | b'a', b'=', ..]) {
            new.extend(mapped(line, datagram));
        } else {
            new.extend_from_slice(line);
        }
    }
    new
}

/// The text with its addresses mapped. One that no map names keeps its spelling.
fn mapped(text: &[u8], datagram: &mut Datagram<'_>) -> Vec<u8> {
    let is_alphanumeric = |at: usize| text.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let is_point = |at: usize| text.get(at) == Some(&b'.');
    // A longer number, a version such as 1.2.3.4.5, or the beginning of a name, is no address.
    let is_part = |range: &Range<usize>| {
        let follows = range.start.checked_sub(1).is_some_and(|at| is_alphanumeric(at) || is_point(at));
        follows || is_alphanumeric(range.end) || (is_point(range.end) && is_alphanumeric(range.end + 1))
    };
    let replace = |found: &Captures<'_>| -> Vec<u8> {
        let whole = found.get_match();
        let word = |name| found.name(name).and_then(|word| std::str::from_utf8(word.as_bytes()).ok());
        let mut new = |address: Option<IpAddr>| address.and_then(|address| datagram.map(address));
        let v6 = |word: &str| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
        let becomes = if let Some(word) = word("v4") {
            let address = word.parse::<Ipv4Addr>().ok().filter(|_| !is_part(&whole.range()));
            new(address.map(IpAddr::V4)).map(|new| new.to_string())
        } else if let Some(word) = word("v6") {
            new(v6(word)).map(|new| format!("[{new}]"))
        } else {
            let address = word("bare").and_then(v6).filter(|_| !is_alphanumeric(whole.end()));
            new(address).map(|new| format!("{}{new}", word("before").unwrap_or_default()))
        };
        becomes.map_or_else(|| whole.as_bytes().to_vec(), String::into_bytes)
    };
    ADDRESS.replace_all(text, replace).into_owned()
}
