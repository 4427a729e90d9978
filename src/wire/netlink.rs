//! Netlink requests and their replies (netlink(7)), byte by byte: the few messages that the wire needs are small, and a message
//! read by hand tolerates what a newer kernel adds. No privilege. Start at [`Channel::one`] and [`Channel::dump`].
//!
//! All numbers are in the machine's byte order; messages and attributes are padded to 4 bytes.

use std::io;

use netlink_sys::Socket;

/// `struct nlmsghdr`: length u32, type u16, flags u16, sequence u32, port u32.
const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// The kernel packs at most 32 KiB into one datagram of a dump (`netlink_dump`), and a reply about one link is a few KiB.
const REPLY_BYTES: usize = 64 << 10;

/// How often a dump is asked for again when the table changed under it.
const ATTEMPTS: usize = 16;

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Channel {
    socket: Socket,
    sequence: u32,
    reply: Vec<u8>,
}

impl Channel {
    /// `protocol`: `NETLINK_ROUTE` (0), `NETLINK_SOCK_DIAG` (4).
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        Ok(Self { socket, sequence: 0, reply: Vec::with_capacity(REPLY_BYTES) })
    }

    /// The one reply to a question about one thing: its type and payload. `body` stands after the message header.
    pub(super) fn one(&mut self, kind: u16, body: &[u8]) -> io::Result<(u16, &[u8])> {
        self.request(kind, NLM_F_REQUEST, body)?;
        loop {
            self.receive()?;
            let found = Messages(&self.reply).find(|message| message.sequence == self.sequence).map(|message| {
                let end = message.payload.as_ptr().addr() - self.reply.as_ptr().addr() + message.payload.len();
                (message.kind, end - message.payload.len()..end)
            });
            if let Some((kind, range)) = found {
                let payload = &self.reply[range];
                return match kind {
                    NLMSG_ERROR => Err(error_of(payload)),
                    _ => Ok((kind, payload)),
                };
            }
        }
    }

    /// Every message of a dump that `read` makes something of. A table that changes under the dump is read again, so that what is
    /// returned was true at one time.
    pub(super) fn dump<T>(
        &mut self,
        kind: u16,
        body: &[u8],
        read: &dyn Fn(u16, &[u8]) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..ATTEMPTS {
            if let Some(found) = self.dump_once(kind, body, read)? {
                return Ok(found);
            }
        }
        Err(io::Error::other("the table changed each of the 16 times that it was read"))
    }

    /// `None`: the table changed, or the kernel had no room for an answer.
    fn dump_once<T>(
        &mut self,
        kind: u16,
        body: &[u8],
        read: &dyn Fn(u16, &[u8]) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        let mut found = Vec::new();
        let mut torn = false;
        self.request(kind, NLM_F_REQUEST | NLM_F_DUMP, body)?;
        loop {
            match self.receive() {
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(None),
                other => other?,
            }
            // What an abandoned dump left behind has another sequence number.
            for message in Messages(&self.reply).filter(|message| message.sequence == self.sequence) {
                torn |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR => return Err(error_of(message.payload)),
                    // Its payload is the status of the dump: 0 or a negative error number.
                    NLMSG_DONE if status_of(message.payload) < 0 => return Err(error_of(message.payload)),
                    NLMSG_DONE => return Ok((!torn).then_some(found)),
                    kind => found.extend(read(kind, message.payload)),
                }
            }
        }
    }

    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + body.len()).expect("requests are a few dozen bytes");
        let mut message = Vec::with_capacity(HEADER + body.len());
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        self.socket.send(&message, 0).map(|_| ())
    }

    fn receive(&mut self) -> io::Result<()> {
        loop {
            self.reply.clear();
            match self.socket.recv(&mut self.reply, libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(length) if length > self.reply.len() => {
                    return Err(io::Error::other(format!("a netlink message of {length} bytes was cut")));
                }
                Ok(_) => return Ok(()),
            }
        }
    }
}

/// One message of a datagram.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// The messages of a datagram; ends at the first that isn't whole.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(u32_at(self.0, 0)?).ok()?;
        let message = self.0.get(..length).filter(|_| length >= HEADER)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message {
            kind: u16_at(message, 4)?,
            flags: u16_at(message, 6)?,
            sequence: u32_at(message, 8)?,
            payload: &message[HEADER..],
        })
    }
}

/// The attributes (`struct nlattr`: length u16, type u16) of a payload after its fixed header: type and content.
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = usize::from(u16_at(self.0, 0)?);
        // The two highest bits say "nested" and "network byte order".
        let kind = u16_at(self.0, 2)? & 0x3fff;
        let content = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, content))
    }
}

/// Appends one attribute, padded.
pub(super) fn push_attribute(body: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = u16::try_from(4 + content.len()).expect("the attributes of our requests are short");
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(content);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// A u16 in the machine's order, or `None` beyond the end.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// A u32 in the machine's order, or `None` beyond the end.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// A u64 in the machine's order, or `None` beyond the end. Attributes are aligned to 4 bytes only.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

/// The status at the beginning of an error or done message: 0, or a negative error number.
fn status_of(payload: &[u8]) -> i32 {
    payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes))
}

fn error_of(payload: &[u8]) -> io::Error {
    match status_of(payload) {
        0 => io::Error::other("the kernel acknowledged a question instead of answering it"),
        status => io::Error::from_raw_os_error(status.saturating_neg()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_attribute_comes_back_as_it_was_written() {
        let mut body = Vec::new();
        push_attribute(&mut body, 3, b"tx0\0");
        push_attribute(&mut body, 7, b"abcde");
        push_attribute(&mut body, 9, b"");
        let read: Vec<_> = Attributes(&body).collect();
        assert_eq!(read, [(3, &b"tx0\0"[..]), (7, &b"abcde"[..]), (9, &b""[..])]);
        assert_eq!(body.len() % 4, 0);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic_or_hang(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Messages(&bytes).count() <= bytes.len());
            prop_assert!(Attributes(&bytes).count() <= bytes.len());
        }
    }
}
