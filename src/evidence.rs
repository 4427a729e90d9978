//! What was sent and what was seen: data, from which the ledger is a pure function.
//!
//! Filled by `execute`, read by `ledger` and `expect`. Start at [`Evidence`].

mod pairs;
mod programs;
mod series;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use programs::{ApplicationEnd, ProgramEnd, StepTaken};
pub use series::Series;
pub use texts::{Cell, Difference, Found, LinesFound, Output, Selected, StoredRow, StoredRows, Text, WaitEnd, Waited};

use serde::{Deserialize, Serialize};

use crate::capture::FrameRanges;
use crate::diagnostic::Diagnostic;
use crate::host::Socket;
use crate::host::packet_sockets::PacketSocket;
use crate::outcome::{Amount, Hook, Lateness, LatenessBucket, Layers, RateSearch, SenderReport, TimedBy};
use crate::packet::exchange::Answers;

/// The packets that came in by other interfaces than the receiver's, among the counters.
pub const OTHERS: &str = "others.rx.packets";
/// Why a number of a namespace that others use is not known exactly.
const SHARED: &str =
    "others send to the receiver as well, and its kernel counts their packets together with the capture's";

/// What became of the frames on the sending side.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sending {
    /// Accepted by the kernel.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Refused: longer than an MTU.
    pub too_long: FrameRanges,
    /// Refused: no Ethernet header.
    pub unsendable: FrameRanges,
    /// Refused: the interface is down or gone.
    pub interface_down: FrameRanges,
    /// Taken and dropped at once, since the peer had no room.
    pub dropped: FrameRanges,
    /// Frames that were to be sent, or were.
    pub tried: u64,
    /// Whether `[pacing] limit` ended it, where only sending shows when.
    pub limited: bool,
    /// How frames were sent: a word of `[pacing] sender`.
    pub sender: String,
    /// Why so.
    pub sender_why: String,
    /// Not tried before the run ended.
    pub not_sent: FrameRanges,
    /// From the start that several machines have in common to the first send; 0 where this one sends alone.
    pub begun_after: Duration,
    /// From that start to when the first send was due.
    pub due_after: Duration,
    /// From the first to the last send, without what was paused.
    pub seconds: f64,
    /// From the last send of a part of the replay to the first of the next one, all of them together.
    pub paused: Duration,
    /// The schedule's seconds; `None` without deadlines.
    pub scheduled_seconds: Option<f64>,
    /// Deviation from the schedule, aligned to the median; `None` for one frame and at top speed.
    pub lateness: Option<Lateness>,
    /// The same, aligned to the first frame.
    pub lateness_from_first: Option<Lateness>,
    /// Deviation of the gaps between consecutive sends.
    pub gap_error: Option<Lateness>,
    /// The deviations of `lateness`, counted.
    pub lateness_histogram: Vec<LatenessBucket>,
    /// When frames were sent, by the monotonic clock.
    pub over_time: Series,
    /// Whose times these are, and those of `seconds`.
    pub timed_by: TimedBy,
}

/// What was on the receiver's wire.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Arriving {
    /// Frames equal to one that was sent.
    pub arrived: u64,
    /// Sent, and not seen.
    pub missing: FrameRanges,
    /// Seen, equal to none that was sent, and in no missing frame's place.
    pub foreign: u64,
    /// Seen once more than they were sent.
    pub duplicated: u64,
    /// The first such frame.
    pub first_duplicated: Option<u64>,
    /// Of the missing: those in whose place a frame of the same length and other bytes came.
    pub altered: FrameRanges,
    /// Frames that came after one that was sent later.
    pub reordered: u64,
    /// The first such frame.
    pub first_reordered: Option<u64>,
}

/// What the kernel said of a packet that it dropped; what such packets share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct DropKind {
    /// The reason's name, without `SKB_DROP_REASON_`.
    pub reason: String,
    /// The function that dropped it, where the machine shows its addresses.
    pub function: Option<String>,
    /// 4, 6, or 0 where it is no IP packet.
    pub version: u8,
    /// The IP protocol; 0 where it is no IP packet. Of IPv6 the next header.
    pub protocol: u8,
    /// Whether it goes to a group.
    pub to_group: bool,
    /// Whether it carries a source-route option.
    pub source_route: bool,
}

/// Packets that the kernel dropped alike.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dropped {
    /// How many.
    pub packets: u64,
    /// Those of them that are frames of this run.
    pub frames: FrameRanges,
    /// Whether other frames were identical to some of them, so that which of those it was is an assumption.
    pub assumed: bool,
}

/// What became of a packet that was followed from its arrival.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ending {
    /// The application read it.
    Read,
    /// It is in a socket's queue.
    Unread,
    /// It was in a socket's queue when the socket was closed.
    Closed,
    /// The kernel dropped it.
    Dropped(DropKind),
    /// The kernel used it up without losing it.
    Used {
        /// The kernel's function, where the machine shows its addresses.
        function: Option<String>,
        /// Whether it is an IP packet.
        ip: bool,
        /// Whether it is a UDP datagram, or a part of one.
        udp: bool,
    },
    /// It is a fragment of a datagram that was not whole at the end.
    Incomplete,
    /// Nothing was said of it after it arrived.
    Unseen {
        /// As in [`Self::Used`].
        ip: bool,
        /// As in [`Self::Used`].
        udp: bool,
    },
}

/// How far frames were seen, and why the kernel dropped them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Followed {
    /// Frames by the last hook that they were seen at; only where each packet was tapped, and every record came.
    #[serde(with = "pairs::optional")]
    pub last: Option<BTreeMap<Option<Hook>, FrameRanges>>,
    /// The keys of `last` that have frames to which others were identical that ended elsewhere: which is which is an assumption.
    pub last_assumed: BTreeSet<Option<Hook>>,
    /// Packets by what the kernel said of them.
    #[serde(with = "pairs")]
    pub drops: BTreeMap<DropKind, Dropped>,
    /// Frames by what became of them; `None` where packets were not followed one by one, or a record is missing.
    #[serde(with = "pairs::optional")]
    pub ends: Option<BTreeMap<Ending, FrameRanges>>,
}

/// What was seen in the receiver's stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Packets from outside that passed each hook that has a tap; `None` where there are no taps.
    pub hooks: Option<BTreeMap<Hook, u64>>,
    /// UDP at the end of the input hook; `None` where there are no taps.
    pub udp: Option<UdpInput>,
    /// Packets by the kernel's reason, whatever the records lost; `None` where they were not listened to.
    pub reasons: Option<BTreeMap<String, u64>>,
    /// What the records say of single frames.
    pub followed: Followed,
    /// The chains of the receiver's packet filter that may drop packets, beside ours: `filter input (hook input, 3 rules, policy drop)`.
    pub filters: Vec<String>,
    /// How that was seen.
    pub layers: Layers,
}

/// UDP packets at the end of the input hook: those from outside, and those that the receiver sent to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UdpInput {
    /// From outside: what the capture brought. A fragment counts where it isn't reassembled yet (IPv6).
    pub captured: u64,
    /// That the receiver sent to itself, over `lo` or looped back.
    pub own: u64,
    /// Those of them that were looped back: its own multicast and broadcast.
    pub own_looped: u64,
    /// Those of [`Self::own`] that go to a port that the capture has datagrams for; `None` where there are too many ports to count.
    pub own_to_ports: Option<u64>,
    /// Those of them that came while a program was stopped and started again: what its sockets had not read by then is gone with them.
    #[serde(default)]
    pub own_at_stops: u64,
    /// The receiver's own datagrams to closed ports, by the ICMP messages that they were answered with.
    pub own_unreachable: u64,
    /// Those of [`Self::own`] that others sent, by other interfaces, to this host alone.
    pub foreign: u64,
    /// By how much these numbers moved while the counters were read: they may be off by so many.
    pub unsteady: u64,
}

/// A UDP socket of the receiver, as it was seen during the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketRecord {
    /// The socket when it was last seen; its drops are those during the run.
    pub socket: Socket,
    /// Whether it was there before the first frame was sent; of a program that was started again, before the first frame after that.
    pub from_start: bool,
    /// Whether it was still there at the end, or when its program was stopped to be started again, with nothing in its queue.
    pub until_end: bool,
    /// How often a program had been started again when it was seen first and last.
    pub lives: (u32, u32),
    /// Whether the kernel takes datagrams out of it (`UDP_ENCAP`), as far as its process could be asked.
    pub encapsulates: bool,
    /// Bytes that were in its queue before the run: what others had sent.
    pub unread_before: u32,
    /// Bytes that are in its queue and came after all of the capture's was read; they are not in the socket's unread bytes.
    pub unread_of_others: u32,
}

impl SocketRecord {
    /// A socket that was there all the time.
    #[cfg(test)]
    pub fn of(socket: Socket) -> Self {
        Self {
            socket,
            from_start: true,
            until_end: true,
            encapsulates: false,
            unread_before: 0,
            unread_of_others: 0,
            lives: (0, 0),
        }
    }

    /// Whether the kernel takes what comes in, or may take some of it.
    pub fn takes_for_the_kernel(&self) -> bool {
        self.encapsulates || self.socket.inode == 0
    }
}

/// What the receiver sent back, as it was on the sender's end of the wire or, on another machine, where it left that.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Replies {
    /// UDP datagrams from addresses of the receiver: the application's.
    pub datagrams: u64,
    /// ICMP errors: whether ICMPv6, type, code.
    #[serde(with = "crate::packet::pairs")]
    pub errors: BTreeMap<(bool, u8, u8), u64>,
    /// Everything else, by its protocol: what the receiver's kernel sends by itself. `None` where others send there, too.
    #[serde(skip)]
    pub others: Option<BTreeMap<&'static str, u64>>,
    /// The datagrams that `[expect.replies] filter` takes; all without one.
    pub taken: u64,
    /// The ICMP errors that it takes.
    pub taken_errors: u64,
    /// Those that it takes, by what they answer.
    pub answers: Answers,
    /// Frames that found no room in the ring.
    pub lost: u64,
}

/// What is known of the filter of a packet socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterKind {
    /// There is none.
    None,
    /// It was run on each frame.
    Known,
    /// It can't be read, or asks the kernel for what is not known here.
    Unknown,
}

/// A packet socket of the application, as it was seen during the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketSocketRecord {
    /// As it was when observing began.
    pub socket: PacketSocket,
    pub filter: FilterKind,
    /// Whether it wants what the receiver sends; `None` where its process can't be asked.
    pub takes_outgoing: Option<bool>,
    /// Frames of the capture that it was offered, and that its filter takes.
    pub taken: u64,
    /// Other frames that came in, likewise.
    pub others: u64,
    /// Frames that the receiver sent, likewise, where it is not known to ignore those.
    pub outgoing: u64,
    /// Frames that were put into its ring; `None` where that can't be counted.
    pub in_ring: Option<u64>,
    /// Whether its ring had room for a frame at each moment, as far as is known.
    pub had_room: bool,
    /// Whether it was offered frames that are counted nowhere here: of other interfaces, or sent by others.
    pub is_among_others: bool,
    /// Frames that it dropped, where it has no ring.
    pub drops: u64,
    /// Whether it was still there at the end, or when its program was stopped to be started again.
    pub until_end: bool,
    /// The program that has it, as `tcpdump (4711)`; empty where that can't be known.
    pub program: String,
}

impl PacketSocketRecord {
    /// Of a socket that was offered nothing yet.
    pub fn of(socket: PacketSocket) -> Self {
        let (taken, others, outgoing, drops) = (0, 0, 0, 0);
        let takes_outgoing = None;
        Self {
            socket,
            filter: FilterKind::None,
            takes_outgoing,
            taken,
            others,
            outgoing,
            in_ring: None,
            had_room: false,
            is_among_others: false,
            drops,
            until_end: true,
            program: String::new(),
        }
    }
}

/// What the application's packet sockets on the receiver's interface took.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sniffing {
    /// Those that were there when observing began.
    pub sockets: Vec<PacketSocketRecord>,
    /// How many came later.
    pub later: u64,
    /// Frames of the capture that at least one of them was offered, and takes.
    pub captured: u64,
    /// Those of them that are UDP.
    pub udp: u64,
}

/// Everything that was seen of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// What each of the machines that send says, where the scenario names some.
    pub senders: Vec<SenderReport>,
    /// The sending side.
    pub sending: Sending,
    /// The receiver's wire; `None` where it can't be observed, or the ring lost frames.
    pub arriving: Option<Arriving>,
    /// When they came, by the monotonic clock; `None` where that is not known.
    pub arrived_over_time: Option<Series>,
    /// How the counters of the receiver's namespace moved; `None` with a target.
    pub counters: Option<BTreeMap<String, u64>>,
    /// The receiver's stack; `None` with a target.
    pub stack: Option<Stack>,
    /// What the receiver sent back; `None` with a target, and of another machine where nothing is expected of it.
    pub replies: Option<Replies>,
    /// What packet sockets of the application took; nothing without any.
    pub sniffing: Sniffing,
    /// Whether an XDP program was attached to the receiver's interface at the end.
    pub xdp: bool,
    /// The receiver's UDP sockets, each that was seen.
    pub sockets: Vec<SocketRecord>,
    /// How long nothing of the capture's had moved when the run ended.
    pub still: Duration,
    /// The run's limit came before everything was accounted for.
    pub timed_out: Option<Duration>,
    /// The steps of the replay that were taken, in their order.
    pub steps: Vec<StepTaken>,
    /// The programs of the receiver, in the order in which they ended or were stopped.
    pub ends: Vec<ProgramEnd>,
    /// What went wrong with the preconditions while it ran; each fails the run.
    pub incidents: Vec<Diagnostic>,
    /// Why nothing more is known, where the receiver's machine could not be reached any more.
    pub lost_connection: Option<Diagnostic>,
    /// What is worth knowing and fails nothing.
    pub notes: Vec<Diagnostic>,
    /// What `rate = "max-lossless"` tried.
    pub max_lossless: Option<RateSearch>,
    /// What each `[[expect.command]]` came to, by its index.
    pub commands: BTreeMap<usize, Output>,
    /// What each `[[expect.output]]` looks at, by its index.
    pub outputs: BTreeMap<usize, Output>,
}

impl Evidence {
    /// The step that failed.
    pub fn failed_step(&self) -> Option<&StepTaken> {
        self.steps.iter().find(|step| step.failure.is_some())
    }

    /// Whether a program of the receiver ended before its stop signal.
    pub fn has_ended_early(&self) -> bool {
        self.ends.iter().any(|end| !end.ending.stopped)
    }

    /// Whether others send to the receiver as well.
    pub fn is_shared(&self) -> bool {
        self.counters.as_ref().is_some_and(|counters| counters.contains_key(OTHERS))
    }

    /// How many packets others sent to the receiver's namespace, by other interfaces; a huge number where that is not known.
    pub fn others(&self) -> u64 {
        self.counter(OTHERS)
    }

    /// A counter of the namespace, of which some may be what others sent.
    pub fn shared(&self, count: u64) -> Amount {
        Amount::between(count.saturating_sub(self.others()), count, SHARED)
    }

    /// How far a counter moved; 0 where it did not, or there are none.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.as_ref().and_then(|counters| counters.get(name)).copied().unwrap_or(0)
    }
}
