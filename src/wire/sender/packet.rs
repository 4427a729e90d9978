//! A packet socket past the queueing discipline (packet(7)), 64 frames a system call. Start at [`PacketSender::send`].

use std::io;

use nix::sys::socket::{SockType, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::{Placed, Refusals, SendResult, given_up};
use crate::diagnostic::{Failure, Result};
use crate::host::interface::{self, InterfaceKind};
use crate::host::rtnetlink::RouteSocket;
use crate::wire::packet_socket::{BATCH, PacketSocket};

/// How often a frame that is longer than any the interface ever took is offered again before it counts as too long. A queue of
/// 1,000 frames (`netdev_max_backlog`) is empty long before.
const OFFERS: u32 = 4;

/// From this length in bytes on, the kernel may keep a frame in several pieces: less than the smallest page.
const LONG: usize = 2048;

/// The bytes that frames on their way to the peer of a veth may take in the kernel, which counts 768 of them or more for each. A peer that polls has
/// a queue of 256 frames that drops what is too much.
const UNDER_WAY_BYTES: usize = 192 * 768;

/// Sends frames on one interface.
#[derive(Debug)]
pub struct PacketSender {
    socket: PacketSocket,
    links: RouteSocket,
    interface: String,
    index: u32,
    kind: InterfaceKind,
    longest_taken: usize,
    shortest_refused: usize,
}

impl PacketSender {
    /// Opens the interface in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::diagnostic::Kind::Invalid) when there is no such interface;
    /// [`Kind::Blocked`](crate::diagnostic::Kind::Blocked) without `CAP_NET_RAW`.
    pub fn open(interface: &str) -> Result<Self> {
        let facts = interface::existing(interface)?;
        let socket = PacketSocket::open(interface, SockType::Raw)?;
        let failed = |error: &io::Error| Failure::system(format!("can't send on `{interface}`"), error);
        // Without it frames pass the queueing discipline: slower, and an interface without a link swallows them silently.
        let _ = socket.set(libc::PACKET_QDISC_BYPASS, 1);
        socket.bind(facts.index, 0).map_err(|error| failed(&error))?;
        if facts.kind == InterfaceKind::Veth {
            // The kernel doubles it (socket(7)), and lets sendmmsg wait.
            setsockopt(&socket, sockopt::SndBuf, &(UNDER_WAY_BYTES / 2)).map_err(|errno| failed(&errno.into()))?;
        }
        // A driver that never frees what it took would block sendmmsg for ever: EAGAIN then, and `PATIENCE` ends it.
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::milliseconds(200))
            .map_err(|errno| failed(&errno.into()))?;
        Ok(Self {
            socket,
            links: RouteSocket::open().map_err(|error| failed(&error))?,
            interface: interface.to_owned(),
            index: facts.index,
            kind: facts.kind,
            longest_taken: 0,
            shortest_refused: usize::MAX,
        })
    }

    /// Sends in order, and appends for each frame what became of it; one that can't be sent keeps none behind it from being sent.
    /// Waits while the interface has no room.
    ///
    /// # Errors
    /// When the interface has had no room for 2 s, or the kernel refuses a frame for a reason that isn't the frame's; `results` then
    /// holds what became of those before.
    pub fn send(&mut self, frames: &[&[u8]], results: &mut Vec<SendResult>) -> Result<()> {
        if frames.iter().any(|frame| frame.len() >= LONG) {
            self.socket.keep_heads_whole();
        }
        let mut rest = frames;
        let mut refusals = Refusals::default();
        while !rest.is_empty() {
            match self.socket.send(&rest[..self.batch(rest)]) {
                Ok(taken) => {
                    let (sent, after) = rest.split_at(taken);
                    self.longest_taken = sent.iter().map(|frame| frame.len()).fold(self.longest_taken, usize::max);
                    results.extend(sent.iter().map(|_| SendResult::Sent));
                    rest = after;
                    refusals = Refusals::default();
                }
                Err(error) => {
                    if let Some(result) = self.judge(rest[0].len(), &error, &mut refusals)? {
                        results.push(result);
                        rest = &rest[1..];
                        refusals = Refusals::default();
                    }
                }
            }
        }
        Ok(())
    }

    /// How many of the frames go into the next system call. The kernel returns the error of a call's first frame only, and offering a frame
    /// twice counts it twice in the interface's drops: so a frame that may be too long goes alone.
    fn batch(&self, frames: &[&[u8]]) -> usize {
        let known = frames.iter().take(BATCH).take_while(|frame| frame.len() <= self.longest_taken).count();
        known.max(1)
    }

    /// What the error means for the frame; `None`: offer it again.
    fn judge(&mut self, length: usize, error: &io::Error, refusals: &mut Refusals) -> Result<Option<SendResult>> {
        match error.raw_os_error() {
            Some(libc::EINTR) => Ok(None),
            Some(libc::EMSGSIZE) => Ok(Some(SendResult::TooLong)),
            Some(libc::EINVAL) => Ok(Some(SendResult::Unsendable)),
            Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => Ok(Some(SendResult::InterfaceDown)),
            Some(libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM) => self.no_room(length, error, refusals),
            _ => Err(given_up(&self.interface, error)),
        }
    }

    /// ENOBUFS is what a missing link, a peer's smaller MTU and a full queue all say.
    fn no_room(&mut self, length: usize, error: &io::Error, refusals: &mut Refusals) -> Result<Option<SendResult>> {
        let link = self.links.link_by_index(self.index);
        if !matches!(link, Ok(Some(link)) if link.running) {
            return Ok(Some(SendResult::InterfaceDown));
        }
        // A veth has no queue of its own, but its peer's CPU has one: only a length that never passed can be the reason.
        if self.kind == InterfaceKind::Veth && length > self.longest_taken {
            if length >= self.shortest_refused || refusals.count + 1 >= OFFERS {
                self.shortest_refused = self.shortest_refused.min(length);
                return Ok(Some(SendResult::TooLong));
            }
        } else if refusals.are_too_many() {
            if self.kind != InterfaceKind::Veth {
                return Err(given_up(&self.interface, error));
            }
            // A veth that refuses what it took before has a peer whose MTU was lowered: its backlog empties while we wait.
            self.longest_taken = length.saturating_sub(1);
            self.shortest_refused = length;
            return Ok(Some(SendResult::TooLong));
        }
        refusals.wait();
        Ok(None)
    }
}

/// A [`PacketSender`] with the batch that it sends.
#[derive(Debug)]
pub struct Batching {
    sender: PacketSender,
    /// Their buffers are used again.
    frames: Vec<Vec<u8>>,
    placed: usize,
}

impl From<PacketSender> for Batching {
    fn from(sender: PacketSender) -> Self {
        Self { sender, frames: Vec::new(), placed: 0 }
    }
}

impl Batching {
    pub(super) fn place(&mut self, frame: &[u8]) -> Placed {
        if self.placed == BATCH {
            return Placed::Full;
        }
        if self.placed == self.frames.len() {
            self.frames.push(Vec::with_capacity(frame.len().max(256)));
        }
        if let Some(buffer) = self.frames.get_mut(self.placed) {
            buffer.clear();
            buffer.extend_from_slice(frame);
            self.placed += 1;
        }
        Placed::Yes
    }

    pub(super) fn send(&mut self, results: &mut Vec<SendResult>) -> Result<()> {
        let mut batch: [&[u8]; BATCH] = [&[]; BATCH];
        for (slot, frame) in batch.iter_mut().zip(self.frames.iter().take(self.placed)) {
            *slot = frame;
        }
        let sent = self.sender.send(batch.get(..self.placed).unwrap_or_default(), results);
        self.placed = 0;
        sent
    }

    pub(super) fn warm(&mut self) {
        // One byte is no frame: the kernel says so (EINVAL) after most of the way.
        let _ = self.sender.send(&[&[0]], &mut Vec::new());
    }
}
