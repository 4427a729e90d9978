//! Netlink sockets, requests and replies (netlink(7)). [`super::rtnetlink`] builds on it with the types of netlink-packet-route; `sock_diag` and
//! netfilter's messages are read byte by byte, which tolerates what a newer kernel adds. Asking needs no privilege. Start at [`Channel::one`]
//! and [`Channel::dump`]; [`Channel::batch`] and [`Channel::arrived`] are for netfilter.
//!
//! Numbers are in the machine's byte order, but inside netfilter's attributes in the network's; messages and attributes are padded to
//! 4 bytes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::Socket;
use nix::sys::socket::{setsockopt, sockopt};

/// `struct nlmsghdr`: length u32, type u16, flags u16, sequence u32, port u32.
const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 0x01;
const NLM_F_ACK: u16 = 0x04;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// "Nested", in an attribute's type.
const NLA_F_NESTED: u16 = 0x8000;
/// Around a batch of one of netfilter's subsystems (`linux/netfilter/nfnetlink.h`).
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;

/// The kernel packs at most 32 KiB into one datagram of a dump (`netlink_dump`), and a reply about one link is a few KiB.
const REPLY_BYTES: usize = 64 << 10;

/// How often a dump is asked for again when the table changed under it.
const ATTEMPTS: usize = 16;

/// A netlink socket in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Socket,
    port: u32,
    sequence: u32,
    reply: Vec<u8>,
}

pub(crate) struct Request {
    pub(crate) kind: u16,
    /// Its flags, beside that it is a request.
    pub(crate) flags: u16,
    /// What follows the message header.
    pub(crate) body: Vec<u8>,
}

/// A batch that the kernel refused, whole.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Which message it did not take; `None` where it did not look at them, or could not commit.
    pub(crate) message: Option<usize>,
    pub(crate) error: io::Error,
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self { message: None, error }
    }
}

impl Channel {
    /// `protocol`: `NETLINK_ROUTE` (0), `NETLINK_SOCK_DIAG` (4), `NETLINK_NETFILTER` (12).
    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        let port = socket.bind_auto()?.port_number();
        Ok(Self { socket, port, sequence: 0, reply: Vec::with_capacity(REPLY_BYTES) })
    }

    /// The socket's address: no other netlink socket of this protocol and namespace has it at the same time.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// Asks for a receive buffer of this size; an ordinary user gets `net.core.rmem_max` at most.
    pub(crate) fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        setsockopt(&self.socket, sockopt::RcvBufForce, &bytes)
            .or_else(|_| setsockopt(&self.socket, sockopt::RcvBuf, &bytes))?;
        Ok(())
    }

    /// Has the kernel change something, and waits for its acknowledgement.
    pub(crate) fn acknowledged(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.request(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body)?;
        self.answers(|answer| (answer.kind == NLMSG_ERROR).then(|| acknowledgement(answer.payload)))?
    }

    /// Has a netfilter subsystem do all of it, or nothing.
    pub(crate) fn batch(&mut self, subsystem: u16, requests: &[Request]) -> Result<(), Refused> {
        // `struct nfgenmsg`: the resource is the subsystem.
        let around = [&[0, 0][..], &subsystem.to_be_bytes()].concat();
        let begin = self.sequence.wrapping_add(1);
        let mut batch = Vec::new();
        self.push_message(&mut batch, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, &around);
        for request in requests {
            self.push_message(&mut batch, request.kind, NLM_F_REQUEST | NLM_F_ACK | request.flags, &request.body);
        }
        let last = self.sequence;
        self.push_message(&mut batch, NFNL_MSG_BATCH_END, NLM_F_REQUEST, &around);
        self.socket.send(&batch, 0)?;
        loop {
            self.receive(0)?;
            for answer in Messages(&self.reply).filter(|message| message.kind == NLMSG_ERROR) {
                // What an earlier batch left behind is as far away as there are sequence numbers.
                let place = answer.sequence.wrapping_sub(begin);
                if place > last.wrapping_sub(begin) {
                    continue;
                }
                if let Err(error) = acknowledgement(answer.payload) {
                    let message = place.checked_sub(1).and_then(|place| usize::try_from(place).ok());
                    return Err(Refused { message, error });
                }
                if answer.sequence == last {
                    return Ok(());
                }
            }
        }
    }

    /// Reads one datagram that came without being asked for, and doesn't wait for one: `see` gets the type and the payload of each of its
    /// messages. False: there was none.
    pub(crate) fn arrived(&mut self, see: &mut dyn FnMut(u16, &[u8])) -> io::Result<bool> {
        match self.receive(libc::MSG_DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            other => other?,
        }
        for message in Messages(&self.reply) {
            see(message.kind, message.payload);
        }
        Ok(true)
    }

    /// The one reply to a question about one thing: its type and payload. `body` follows the message header.
    pub(crate) fn one(&mut self, kind: u16, body: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        self.request(kind, NLM_F_REQUEST, body)?;
        self.answers(|answer| match answer.kind {
            NLMSG_ERROR => Some(Err(error_of(answer.payload))),
            kind => Some(Ok((kind, answer.payload.to_vec()))),
        })?
    }

    /// Reads until `see` makes something of an answer to the last request.
    fn answers<T>(&mut self, mut see: impl FnMut(Message<'_>) -> Option<T>) -> io::Result<T> {
        loop {
            self.receive(0)?;
            // What an abandoned dump left behind has another sequence number.
            let answers = Messages(&self.reply).filter(|message| message.sequence == self.sequence);
            if let Some(found) = answers.into_iter().find_map(&mut see) {
                return Ok(found);
            }
        }
    }

    /// Every message of a dump that `read` makes something of. A table that changes under the dump is read again, so that what is
    /// returned was true at one time.
    pub(crate) fn dump<T>(
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

    /// `None`: the table changed, or the kernel dropped an answer.
    fn dump_once<T>(
        &mut self,
        kind: u16,
        body: &[u8],
        read: &dyn Fn(u16, &[u8]) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        let (mut found, mut torn) = (Vec::new(), false);
        self.request(kind, NLM_F_REQUEST | NLM_F_DUMP, body)?;
        let end = self.answers(|message| {
            torn |= message.flags & NLM_F_DUMP_INTR != 0;
            match message.kind {
                NLMSG_ERROR => Some(Err(error_of(message.payload))),
                // Its payload is the status of the dump: 0 or a negative error number.
                NLMSG_DONE => Some(acknowledgement(message.payload)),
                kind => {
                    found.extend(read(kind, message.payload));
                    None
                }
            }
        });
        match end {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(None),
            Err(error) | Ok(Err(error)) => Err(error),
            Ok(Ok(())) => Ok((!torn).then_some(found)),
        }
    }

    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(HEADER + body.len());
        self.push_message(&mut message, kind, flags, body);
        self.socket.send(&message, 0).map(|_| ())
    }

    /// Appends a message with the next sequence number, padded.
    fn push_message(&mut self, messages: &mut Vec<u8>, kind: u16, flags: u16, body: &[u8]) {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(HEADER + body.len()).expect("requests are a few hundred bytes");
        messages.extend(length.to_ne_bytes());
        messages.extend(kind.to_ne_bytes());
        messages.extend(flags.to_ne_bytes());
        messages.extend(self.sequence.to_ne_bytes());
        messages.extend(0u32.to_ne_bytes());
        messages.extend(body);
        messages.resize(messages.len().next_multiple_of(4), 0);
    }

    fn receive(&mut self, flags: i32) -> io::Result<()> {
        loop {
            self.reply.clear();
            match self.socket.recv(&mut self.reply, libc::MSG_TRUNC | flags) {
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

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

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
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

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

pub(crate) fn push_attribute(body: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = u16::try_from(4 + content.len()).expect("the attributes of our requests are short");
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(content);
    body.resize(body.len().next_multiple_of(4), 0);
}

pub(crate) fn push_nested(body: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    push_attribute(body, kind | NLA_F_NESTED, &inner);
}

/// A u16 in the machine's order, or `None` beyond the end.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// A u32 in the machine's order, or `None` beyond the end.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// A u64 in the machine's order, or `None` beyond the end. Attributes are aligned to 4 bytes only.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes))
}

/// The status at the beginning of an error or done message: 0, or a negative error number.
fn status_of(payload: &[u8]) -> i32 {
    payload.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes))
}

/// What an `NLMSG_ERROR` or `NLMSG_DONE` says of a change or a dump. A positive status is no error.
fn acknowledgement(payload: &[u8]) -> io::Result<()> {
    match status_of(payload) {
        0.. => Ok(()),
        status => Err(io::Error::from_raw_os_error(status.saturating_neg())),
    }
}

fn error_of(payload: &[u8]) -> io::Error {
    let answered = acknowledgement(payload).err();
    answered.unwrap_or_else(|| io::Error::other("the kernel acknowledged a question instead of answering it"))
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

    #[test]
    fn attributes_in_an_attribute_come_back() {
        let mut body = Vec::new();
        push_nested(&mut body, 4, |inner| push_attribute(inner, 1, b"counter\0"));
        let read: Vec<_> =
            Attributes(&body).flat_map(|(kind, inner)| Attributes(inner).map(move |one| (kind, one))).collect();
        assert_eq!(read, [(4, (1, &b"counter\0"[..]))]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic_or_hang(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Messages(&bytes).count() <= bytes.len());
            prop_assert!(Attributes(&bytes).count() <= bytes.len());
        }
    }
}
