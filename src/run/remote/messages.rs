//! What a run and the agent on the receiver's machine say to each other: each message is one line of JSON. Start at [`Request`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::Options;
use super::super::observe::{Glance, Moment};
use super::given_files::GivenFile;
use crate::diagnostic::{Diagnostic, Failure};
use crate::evidence::Evidence;
use crate::host::Host;
use crate::ledger::identity::{Digest, Key};
use crate::ledger::matching::Announced;
use crate::outcome::Event;
use crate::plan::Brief;
use crate::scenario::ScenarioText;

/// The version of these messages. Both ends have the same one.
pub(super) const PROTOCOL: u32 = 1;

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
    /// Look at what the application made of the frames, and stop it.
    Close,
    /// The answer to a ping, behind everything that was announced before it came.
    Pong,
}

/// What a run on the receiver's machine needs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Prepare {
    pub(super) scenario: ScenarioText,
    pub(super) files: Vec<GivenFile>,
    pub(super) options: Options,
    pub(super) brief: Brief,
    pub(super) interface: String,
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
    /// Asks for [`Request::Pong`], and says how many frames have arrived; at any time while it observes.
    Ping {
        arrived: u64,
        taken: u64,
    },
    /// At any time.
    Event(Event),
    /// Why there is no other answer. The agent ends.
    Failed(Failure),
}
