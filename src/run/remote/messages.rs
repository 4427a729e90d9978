//! What a run and the agent on the receiver's machine say to each other: each message is one line of JSON. Start at [`Request`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::Options;
use super::super::observe::{Glance, Moment};
use super::super::preconditions::ProbePlace;
use super::given_files::GivenFile;
use crate::diagnostic::{Diagnostic, Failure};
use crate::evidence::{Evidence, Sending};
use crate::host::Host;
use crate::ledger::identity::{Digest, Key};
use crate::ledger::matching::Announced;
use crate::outcome::Event;
use crate::packet::probe::Probe;
use crate::plan::{Brief, LinkFacts};
use crate::scenario::ScenarioText;

/// The version of these messages. Both ends have the same one.
pub(super) const PROTOCOL: u32 = 4;

/// What the run asks for. [`Self::Announce`], [`Self::Withdraw`] and [`Self::Pong`] have no answer, each other one has one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// Who speaks; what is said first.
    Hello { protocol: u32, version: String },
    /// What the receiver's machine is, as seen from the interface that frames come in on; `None` chooses it.
    Facts { interface: Option<String> },
    /// Check the preconditions, and start the application.
    Prepare(Box<Prepare>),
    /// The probe that [`Answer::Probe`] asks for was sent.
    Probed,
    /// Begin to observe.
    Observe { key: Key },
    /// These frames are about to be sent.
    Announce(Vec<Announced>, Vec<Digest>),
    /// The frames at these positions were announced, and are not sent.
    Withdraw(Vec<u64>),
    /// How far the frames have come.
    Glance,
    /// Everything that can be read at any time.
    Look,
    /// Whether the application has ended.
    HasEnded,
    /// Take the step with this index.
    Step(usize),
    /// Nothing more is sent, and nothing has moved for so long: what was seen.
    End { still: Duration, timed_out: Option<Duration> },
    /// The next part of the file of what arrived.
    Saved,
    /// Look at what the application made of the frames, and stop it.
    Close,
    /// The answer to a ping, behind everything that was announced before it came.
    Pong,
    /// To a machine that sends: its interface, and the receiver as it is reached by it.
    /// `gateway`: whether the router there is asked for.
    Reach { interface: String, gateway: bool, host: Box<Host> },
    /// Frames of its share, in their order.
    Share(Vec<Piece>),
    /// That was all of them: get ready to send.
    Arm(Box<Arm>),
    /// Send, this long after.
    Start { after: Duration },
    /// Asks for [`Answer::Pong`], behind everything that was announced. So many of its announcements the receiver has taken in.
    Ping { taken_in: u64 },
}

/// A frame of a share: its number in the capture, its deadline, its bytes in base64.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Piece {
    pub(super) frame: u64,
    pub(super) after_ns: u64,
    pub(super) bytes: String,
}

/// What a machine needs to send its share.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Arm {
    /// A scenario with its interface and its pacing.
    pub(super) scenario: String,
    pub(super) options: Options,
    pub(super) key: Key,
    /// Whether the receiver wants to know the heads of packets.
    pub(super) follows: bool,
    /// So many frames may be announced and not taken in.
    pub(super) most_outstanding: u64,
    /// So long it may take.
    pub(super) left: Duration,
}

/// What a run on the receiver's machine needs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Prepare {
    pub(super) scenario: ScenarioText,
    pub(super) files: Vec<GivenFile>,
    pub(super) options: Options,
    pub(super) brief: Brief,
    pub(super) interface: String,
    /// What the agent may ask for by [`Answer::Probe`].
    pub(super) probes: Vec<Vec<Probe>>,
}

/// What the agent says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    Hello {
        protocol: u32,
        version: String,
        kernel: String,
    },
    Facts(Box<Host>),
    Ready,
    /// Before the answer to [`Request::Prepare`] or [`Request::Close`]: asks for [`Request::Probed`], when this probe was sent.
    Probe(ProbePlace),
    /// Whether it wants to know the heads of packets.
    Observing {
        follows: bool,
    },
    Glance(Glance),
    Moment(Box<Moment>),
    HasEnded(bool),
    /// How the program that the step stopped had ended, and why the step failed.
    StepTaken {
        ended: Option<String>,
        failure: Option<Diagnostic>,
    },
    Evidence(Box<Evidence>),
    /// A part of the file of what arrived, in base64; `None` behind the last one.
    Saved(Option<String>),
    /// Asks for [`Request::Pong`], and says how many frames have arrived; at any time while it observes.
    Ping {
        arrived: u64,
        taken_in: u64,
    },
    /// At any time.
    Event(Event),
    /// The interface that sends, and the receiver with the MAC of the next hop.
    Reached {
        link: LinkFacts,
        host: Box<Host>,
    },
    /// These frames are about to be sent; while it sends.
    Announce(Vec<Announced>, Vec<Digest>),
    /// The frames at these positions of its announcements are not sent; while it sends.
    Withdraw(Vec<u64>),
    /// Everything that was announced before the ping is said.
    Pong,
    /// All was sent, or what the run left time for.
    Sent(Box<Sending>),
    /// Why there is no other answer. The agent ends.
    Failed(Failure),
}
