//! What the thread that sends and those that observe share: which frames are sent, and how many of them were seen. Start at [`Shared`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::remote::{Agent, Horizon, Outstanding, Upstream};
use super::stack::{self, lock};
use crate::ledger::identity::{Digest, Digester, Key, packet_of};
use crate::ledger::matching::Announced;
use crate::wire::ring::RingSpace;

/// What the sending thread and the ring's thread share.
#[derive(Clone, Default)]
pub(super) struct Shared {
    pub(super) digester: Digester,
    /// The stack's; `None` where it is not observed.
    pub(super) followers: Option<Arc<Mutex<stack::Announcements>>>,
    pub(super) board: Arc<Board>,
    /// `None` where nothing is observed.
    pub(super) ring: Option<RingSpace>,
    /// How many announcements each of the threads that observe has taken in: that of the ring, that of the stack.
    pub(super) taken: Arc<[AtomicU64; 2]>,
    /// How far announcements are there, where they come from elsewhere.
    pub(super) horizon: Horizon,
    /// What identifies each frame that was sent, in their order; `None` where no one asks.
    pub(super) sent_frames: Option<SentFrames>,
    /// Where they go, if not to threads of this process.
    pub(super) far: Option<Far>,
}

/// Who takes announcements on another machine.
#[derive(Clone)]
pub(super) enum Far {
    /// The agent of the receiver.
    Receiver(Agent),
    /// The run; this machine is one of those that send.
    Run(Arc<Upstream>),
}

impl Far {
    fn follows(&self) -> bool {
        match self {
            Self::Receiver(agent) => agent.follows(),
            Self::Run(upstream) => upstream.follows(),
        }
    }

    fn announce(&self, frames: &[Announced], heads: &[Digest]) {
        match self {
            Self::Receiver(agent) => agent.announce(frames, heads),
            Self::Run(upstream) => upstream.announce(frames, heads),
        }
    }

    fn withdraw(&self, position: u64) {
        match self {
            Self::Receiver(agent) => agent.withdraw(position),
            Self::Run(upstream) => upstream.withdraw(position),
        }
    }

    /// How many frames were seen, as far as that is said here.
    fn arrived(&self) -> u64 {
        match self {
            Self::Receiver(agent) => agent.arrived(),
            Self::Run(_) => 0,
        }
    }

    fn outstanding(&self) -> &Outstanding {
        match self {
            Self::Receiver(agent) => agent.outstanding(),
            Self::Run(upstream) => &upstream.outstanding,
        }
    }

    fn has_room(&self) -> bool {
        match self {
            Self::Receiver(agent) => agent.has_room(),
            Self::Run(upstream) => upstream.has_room(),
        }
    }
}

/// What identifies a frame that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Identity {
    /// On the wire; the same for all where nothing looks for them.
    pub(super) frame: Digest,
    /// In the receiver's stack, where that is observed.
    pub(super) head: Option<Digest>,
}

/// Identifies the frames that are sent, on whatever thread.
pub(super) struct Identifier {
    digester: Digester,
    frames: bool,
    heads: bool,
}

impl Identifier {
    pub(super) fn of(&self, frame: &[u8]) -> Identity {
        Identity {
            frame: if self.frames { self.digester.of_frame(frame) } else { Digest::default() },
            head: self.heads.then(|| self.digester.of_packet(packet_of(frame))),
        }
    }
}

/// Frames with what identifies each.
pub(super) type SentFrames = Arc<Mutex<Vec<(u64, Digest)>>>;

#[derive(Default)]
pub(super) struct Board {
    /// What was announced and the ring's thread has not taken yet.
    pub(super) announcements: Mutex<Announcements>,
    pub(super) arrived: AtomicU64,
    /// Bytes that the ring held for frames that were read.
    pub(super) seen_bytes: AtomicU64,
}

#[derive(Default)]
pub(super) struct Announcements {
    pub(super) frames: Vec<Announced>,
    /// Positions of frames that were announced, and not sent.
    pub(super) withdrawn: Vec<u64>,
    /// Deadlines of frames that were sent, in nanoseconds of the monotonic clock; empty at top speed.
    pub(super) due_ns: Vec<u64>,
}

impl Shared {
    /// Remembers what identifies each frame that is sent, so that it is known on another machine.
    pub(super) fn recording() -> Self {
        Self { sent_frames: Some(Arc::default()), ..Self::routed() }
    }

    /// Frames are identified as another run identifies them, too.
    pub(super) fn routed() -> Self {
        Self { digester: Digester::routed(Key::shared()), ..Self::default() }
    }

    /// What identifies the packet of a frame in the receiver's stack; nothing where the stack is not observed.
    pub(super) fn head_of(&self, frame: &[u8]) -> Option<Digest> {
        self.follows().then(|| self.digester.of_packet(packet_of(frame)))
    }

    fn follows(&self) -> bool {
        self.followers.is_some() || self.far.as_ref().is_some_and(Far::follows)
    }

    /// What identifies the frames that are sent. `observed`: whether anything looks for them.
    pub(super) fn identifier(&self, observed: bool) -> Identifier {
        let (digester, frames) = (self.digester.clone(), observed || self.sent_frames.is_some());
        Identifier { digester, frames, heads: self.follows() }
    }

    pub(super) fn announce(&self, frames: &[Announced], heads: &[Digest]) {
        if let Some(far) = &self.far {
            return far.announce(frames, heads);
        }
        lock(&self.board.announcements).frames.extend_from_slice(frames);
        if let Some(followers) = &self.followers {
            lock(followers).frames.extend(heads.iter().zip(frames).map(|(head, announced)| (*head, announced.frame)));
        }
    }

    pub(super) fn withdraw(&self, position: u64) {
        if let Some(far) = &self.far {
            return far.withdraw(position);
        }
        lock(&self.board.announcements).withdrawn.push(position);
        if let Some(followers) = &self.followers {
            lock(followers).withdrawn.push(position);
        }
    }

    /// Whether the receiver's machine can't be reached any more.
    pub(super) fn is_lost(&self) -> bool {
        matches!(&self.far, Some(Far::Receiver(agent)) if agent.is_lost())
    }

    /// How many of the sent frames were seen.
    pub(super) fn arrived(&self) -> u64 {
        if let Some(far) = &self.far {
            return far.arrived();
        }
        self.board.arrived.load(Ordering::Acquire)
    }

    /// Frames with these deadlines were sent, in this order.
    pub(super) fn sent(&self, due: impl IntoIterator<Item = Duration>) {
        // Clocks of two machines can't be compared.
        if self.far.is_some() {
            return;
        }
        let nanoseconds = |due: Duration| u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
        lock(&self.board.announcements).due_ns.extend(due.into_iter().map(nanoseconds));
    }

    /// What a frame of this length takes in the ring.
    pub(super) fn ring_bytes(&self, length: usize) -> u64 {
        self.ring.as_ref().map_or(0, |ring| ring.frame_bytes(length))
    }

    /// What grows while the receiver's side takes in what was sent: the bytes that the ring has held so far; of one elsewhere, announcements.
    pub(super) fn progress(&self) -> u64 {
        if let Some(far) = &self.far {
            return far.outstanding().taken_in();
        }
        self.board.seen_bytes.load(Ordering::Acquire)
    }

    /// How much may be on its way to the ring: half of it, so that the other half holds frames of others and blocks that are not full.
    pub(super) fn under_way_bytes(&self) -> u64 {
        self.ring.as_ref().map_or(u64::MAX, |ring| ring.bytes() / 2)
    }

    /// Whether the ring has room for more, after this many of its bytes were sent.
    pub(super) fn has_room(&self, sent_bytes: u64) -> bool {
        if let Some(far) = &self.far {
            return far.has_room();
        }
        let Some(ring) = &self.ring else { return true };
        sent_bytes.saturating_sub(self.progress()) <= ring.bytes() / 2 && ring.half_is_free()
    }

    /// How many announcements all threads that observe have taken in.
    pub(super) fn taken_in_by_all(&self) -> u64 {
        let [ring, stack] = &*self.taken;
        let ring = ring.load(Ordering::Acquire);
        if self.followers.is_some() { ring.min(stack.load(Ordering::Acquire)) } else { ring }
    }

    /// Whether all that the kernel has put into the ring is read.
    pub(super) fn is_read(&self) -> bool {
        self.ring.as_ref().is_none_or(RingSpace::is_read)
    }
}
