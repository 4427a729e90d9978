//! Frames out: placed in a batch, then sent with few system calls, by whichever way the site allows.
//!
//! [`packet`] is a packet socket past the queueing discipline, [`xdp`] is AF_XDP in copy mode. A further way is a file here and a
//! variant of [`Sender`]. None of them ever asks the kernel to complete a checksum: a receiver on the same machine would believe
//! one that was never computed. Needs `CAP_NET_RAW`. Start at [`Sender`].

pub mod packet;
pub mod xdp;

use std::thread;
use std::time::{Duration, Instant};

use crate::diagnostic::{Diagnostic, Failure, Result};

pub use packet::PacketSender;
pub use xdp::XdpSender;

/// How long an interface may refuse one frame for want of room before the run is given up.
const PATIENCE: Duration = Duration::from_secs(2);

/// The shortest frame that has an Ethernet header, in bytes.
const ETHERNET: usize = 14;

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
    /// The kernel took it and dropped it at once: the peer's queue was full.
    Dropped,
}

/// Whether a frame was placed in the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It is.
    Yes,
    /// There is no room: what is placed must be sent first.
    Full,
}

/// One of the ways to send.
#[derive(Debug)]
pub enum Sender {
    /// A packet socket.
    Packet(Box<packet::Batching>),
    /// AF_XDP.
    Xdp(Box<XdpSender>),
}

impl Sender {
    /// The word for it in `[pacing] sender` and in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Packet(_) => "packet",
            Self::Xdp(_) => "xdp",
        }
    }

    /// Copies a frame into the batch, behind those that are there.
    pub fn place(&mut self, frame: &[u8]) -> Placed {
        match self {
            Self::Packet(sender) => sender.place(frame),
            Self::Xdp(sender) => sender.place(frame),
        }
    }

    /// Sends what is placed, in order, and appends for each frame what became of it; one that can't be sent keeps none behind it
    /// from being sent. Waits while the interface has no room.
    ///
    /// # Errors
    /// When the interface has had no room for 2 s, or the kernel refuses a frame for a reason that isn't the frame's; `results` then
    /// holds what became of those before.
    pub fn send(&mut self, results: &mut Vec<SendResult>) -> Result<()> {
        match self {
            Self::Packet(sender) => sender.send(results),
            Self::Xdp(sender) => sender.send(results),
        }
    }

    /// Goes the way of a frame as far as it leads without sending one, so that the first one finds it in the caches.
    pub fn warm(&mut self) {
        match self {
            Self::Packet(sender) => sender.warm(),
            Self::Xdp(sender) => sender.warm(),
        }
    }
}

/// `interface` has refused a frame for too long, or for a reason that isn't the frame's.
fn given_up(interface: &str, error: &std::io::Error) -> Failure {
    Failure::error(
        Diagnostic::error(format!("`{interface}` takes no more frames"))
            .why(error.to_string())
            .fix("look at the interface with `ip -s link`, or send more slowly: `[pacing] rate`"),
    )
}

/// How often, and since when, the interface has refused the same frame.
#[derive(Debug, Default)]
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

    /// Whether it has been too long.
    fn are_too_many(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() > PATIENCE)
    }
}
