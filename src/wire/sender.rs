//! Frames out: a packet socket past the queueing discipline, 64 frames a system call.
//!
//! Needs `CAP_NET_RAW`. Never uses `PACKET_VNET_HDR`: a receiver on the same machine would believe a checksum that nobody
//! computed. Start at [`PacketSender::send`].

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{SockType, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

use super::interface::{self, InterfaceKind, Links};
use super::packet_socket::{BATCH, PacketSocket};
use crate::diagnostic::{Failure, Problem, Result};

/// How long an interface may refuse one frame for want of room before the run is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a frame that is longer than any the interface ever took is offered again before it counts as too long. A queue of
/// 1,000 frames (`netdev_max_backlog`) is empty long before.
const OFFERS: u32 = 4;

/// What became of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendResult {
    /// The kernel took it.
    Sent,
    /// Longer than the interface or, for a veth, its peer lets through.
    TooLong,
    /// Not a frame to the kernel: under 14 bytes.
    Unsendable,
    /// The interface is down, has no link, or is gone.
    InterfaceDown,
}

/// Sends frames on one interface.
pub struct PacketSender {
    socket: PacketSocket,
    links: Links,
    interface: String,
    index: u32,
    kind: InterfaceKind,
    past_queue: bool,
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
        let past_queue = socket.set(libc::PACKET_QDISC_BYPASS, 1).is_ok();
        socket.bind(facts.index, 0).map_err(|error| failed(&error))?;
        // A driver that never frees what it took would block sendmmsg for ever: EAGAIN then, and `PATIENCE` ends it.
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::milliseconds(200))
            .map_err(|errno| failed(&errno.into()))?;
        Ok(Self {
            socket,
            links: Links::open().map_err(|error| failed(&error))?,
            interface: interface.to_owned(),
            index: facts.index,
            kind: facts.kind,
            past_queue,
            longest_taken: 0,
            shortest_refused: usize::MAX,
        })
    }

    /// Whether frames go past the queueing discipline (`PACKET_QDISC_BYPASS`, Linux 3.14).
    pub fn bypasses_queueing(&self) -> bool {
        self.past_queue
    }

    /// Sends in order, and appends for each frame what became of it; one that can't be sent keeps none behind it from being sent.
    /// Waits while the interface has no room.
    ///
    /// # Errors
    /// When the interface has had no room for 2 s, or the kernel refuses a frame for a reason that isn't the frame's; `results` then
    /// holds what became of those before.
    pub fn send(&mut self, frames: &[&[u8]], results: &mut Vec<SendResult>) -> Result<()> {
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

    /// How many of the frames go into the next system call. The kernel tells the error of a call's first frame only, and offering a frame
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
            _ => Err(self.given_up(error)),
        }
    }

    /// ENOBUFS is what a missing link, a peer's smaller MTU and a full queue all say.
    fn no_room(&mut self, length: usize, error: &io::Error, refusals: &mut Refusals) -> Result<Option<SendResult>> {
        let link = self.links.by_index(self.index);
        if !matches!(link, Ok(Some(link)) if link.running) {
            return Ok(Some(SendResult::InterfaceDown));
        }
        // A veth has no queue of its own, but its peer's CPU has one: only a length that never passed can be the reason.
        if self.kind == InterfaceKind::Veth && length > self.longest_taken {
            if length >= self.shortest_refused || refusals.count + 1 >= OFFERS {
                self.shortest_refused = self.shortest_refused.min(length);
                return Ok(Some(SendResult::TooLong));
            }
        } else if refusals.since.is_some_and(|since| since.elapsed() > PATIENCE) {
            return Err(self.given_up(error));
        }
        refusals.wait();
        Ok(None)
    }

    fn given_up(&self, error: &io::Error) -> Failure {
        Failure::error(
            Problem::error(format!("`{}` takes no more frames", self.interface))
                .why(error.to_string())
                .fix("look at the interface with `ip -s link`, or send more slowly: `[pacing] rate`"),
        )
    }
}

/// How often, and since when, the interface has refused the same frame.
#[derive(Default)]
struct Refusals {
    count: u32,
    since: Option<Instant>,
}

impl Refusals {
    /// Gives the interface time: at first hardly any, then 100 µs.
    fn wait(&mut self) {
        self.since.get_or_insert_with(Instant::now);
        self.count = self.count.saturating_add(1);
        if self.count == 1 {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros(100));
        }
    }
}
