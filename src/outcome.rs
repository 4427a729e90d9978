//! What a run comes to: the verdict, the ledger, every check. Data only; `report/` shows it, the JSON report is its serde form.

mod amount;
mod check;
mod packet_socket;
mod phase;
mod replay;
mod replies;
mod report;
mod rewrite_report;
mod step;

use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use amount::Amount;
pub use check::{Check, CheckId};
pub use packet_socket::PacketSocket;
pub use phase::Phase;
pub(crate) use phase::Phases;
pub use replay::{Lateness, LatenessBucket, OverTime, RateSearch, Replay, SenderReport, TimedBy, Trial};
pub use replies::{IcmpErrors, Replies};
pub use report::{Counts, Message, Report, RunFacts, now};
pub use rewrite_report::{LeftFrames, ReshapedFrames, RewriteEntry, RewriteReport};
pub use step::{Step, StepResult};

pub use crate::cause::Stage;

use crate::cause::Cause;
use crate::diagnostic::{Diagnostic, Kind};

/// The result of a scenario. Ordered by exit status; `Skipped` never counts as passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// A program that the scenario needs is absent.
    Skipped,
    /// Every expectation met.
    Pass,
    /// An expectation was not met.
    Fail,
    /// The scenario or its capture can't be used.
    Invalid,
    /// A precondition is not met, or a permission is missing.
    Blocked,
    /// The run ended before its turn: it was interrupted, or `--max-fail` ended it.
    #[serde(rename = "not run")]
    NotRun,
    /// The system failed while running, or the run was interrupted.
    Error,
}

impl Verdict {
    /// Whether a scenario with it was run or refused and did not pass.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Pass | Self::Skipped | Self::NotRun => false,
            Self::Fail | Self::Invalid | Self::Blocked | Self::Error => true,
        }
    }
}

impl From<Kind> for Verdict {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Invalid => Self::Invalid,
            Kind::Blocked => Self::Blocked,
            Kind::Error => Self::Error,
        }
    }
}

/// Where our taps look into the receiver's stack, in the order of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// The interface's netdev ingress hook, before any protocol.
    Ingress,
    /// Before every other chain of the prerouting hook.
    PreroutingFirst,
    /// After them: what follows is routing.
    PreroutingLast,
    /// Before every other chain of the input hook: routed to this host.
    InputFirst,
    /// After them: what follows is the transport protocol.
    InputLast,
    /// After every other chain of the forward hook: on its way elsewhere.
    Forward,
}

impl Hook {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::Ingress, Self::PreroutingFirst, Self::PreroutingLast, Self::InputFirst, Self::InputLast, Self::Forward];
}

/// The evidence for a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The kernel's own drop reason.
    Kernel,
    /// Counters, queues and what was seen on the wire.
    Stage,
    /// The frame, the addresses, the routes, the sysctls, the sockets.
    Predicted,
}

/// Packets that reached the stage before and not this one, with one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Loss {
    /// The stage that they did not reach.
    pub stage: Stage,
    /// The name in Linux's `enum skb_drop_reason`, one of ours where there is none, or `unexplained`.
    pub cause: Cause,
    /// How many frames.
    pub frames: Amount,
    /// The evidence.
    pub evidence: Layer,
    /// Which frames, as ranges like `1-40,57`; null where the evidence is only a count. Complete up to 4,096 ranges: a longer list ends with
    /// `,…`.
    #[serde(rename = "frame-numbers")]
    pub numbers: Option<String>,
    /// Whether `frame-numbers` is an assumption: among identical frames, the evidence does not show which of them were lost.
    #[serde(rename = "frame-numbers-assumed", skip_serializing_if = "is_false", default)]
    pub numbers_assumed: bool,
    /// Whether it is expected, so that it fails nothing: `[expect]` allows it, or expects nothing of this stage.
    #[serde(skip_serializing_if = "is_false", default)]
    pub expected: bool,
    /// The rule and the values behind it.
    pub why: String,
    /// What to do; to be ignored where the loss is expected.
    pub fix: String,
}

/// Frames that the receiver's kernel answers or absorbs itself (ARP, ND, ICMP, IGMP, MLD, TCP). They are no loss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Absorbed {
    /// The stage that they did not reach.
    pub stage: Stage,
    /// How many frames.
    pub frames: Amount,
    /// The evidence.
    pub evidence: Layer,
    /// Which frames, as in a loss.
    #[serde(rename = "frame-numbers")]
    pub numbers: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(run: &usize) -> bool {
    *run == 0
}

/// How closely the taps look into the receiver's stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceLevel {
    /// Not at all.
    #[default]
    Off,
    /// Count the packets that pass the input hook.
    Input,
    /// Count the packets that pass each hook.
    Counters,
    /// Record each packet at each hook.
    Packets,
}

/// The evidence for the ledger's losses, beside the prediction.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Layers {
    /// How closely the taps looked.
    pub taps: EvidenceLevel,
    /// Why so.
    pub taps_why: String,
    /// Records of packets at the taps that found no room; then the counters alone are believed.
    pub taps_lost: u64,
    /// Whether each packet was followed by the kernel's tracepoints, from its arrival to a socket, a reader or a drop.
    #[serde(default)]
    pub followed: bool,
    /// Why not; empty where they were.
    #[serde(default)]
    pub followed_why: String,
    /// What to do so that each packet is followed; `None` where each was, or nothing helps.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub closer: Option<String>,
    /// Whether the kernel's own drop reasons were listened to.
    pub kernel: bool,
    /// Why not; empty where they were.
    pub kernel_why: String,
    /// Records of dropped packets that found no room, or were left out at top speed; their reasons are counted all the same.
    pub kernel_lost: u64,
    /// Drops anywhere on the machine that were not looked at, since they happened while another one was.
    pub kernel_missed: u64,
}

/// Layers of evidence that say different things of one cause, in packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Disagreement {
    /// The cause.
    pub cause: Cause,
    /// By the kernel's drop reasons; null where they don't say.
    pub kernel: Option<u64>,
    /// By counters and taps; null where they don't say.
    pub stage: Option<u64>,
    /// By the prediction; null where it doesn't say.
    pub predicted: Option<u64>,
}

/// Every frame at every stage. A stage that cannot be observed is null; one that the evidence leaves open is a range.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// Frames that were read from the file, up to the last one that `[capture] frames` selects; times `repeat`.
    pub read: u64,
    /// Selected.
    pub selected: u64,
    /// Rewritten.
    pub rewritten: u64,
    /// Sent.
    pub sent: u64,
    /// Arrived.
    pub arrived: Option<Amount>,
    /// Offered to a packet socket of the application (a sniffer's), taken by its filter, and not dropped; null where it has none.
    #[serde(default)]
    pub captured: Option<Amount>,
    /// Accepted.
    pub accepted: Option<Amount>,
    /// Delivered.
    pub delivered: Option<Amount>,
    /// Consumed.
    pub consumed: Option<Amount>,
    /// Frames on the receiver's wire that this run did not send.
    pub foreign: u64,
    /// Frames on the receiver's wire that came once more than they were sent.
    pub duplicated: u64,
    /// Frames that came after one that was sent later; null where several machines sent, whose clocks are not compared.
    pub reordered: Option<u64>,
    /// Frames that were sent, and in whose place one of the same length with other bytes arrived. They did not arrive.
    pub altered: u64,
    /// What was lost between two stages.
    pub losses: Vec<Loss>,
    /// What the receiver's kernel absorbed between two stages, which is no loss.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub absorbed: Vec<Absorbed>,
    /// The packet sockets of the application on the receiver's interface, one by one.
    #[serde(rename = "packet-sockets", skip_serializing_if = "Vec::is_empty", default)]
    pub packet_sockets: Vec<PacketSocket>,
    /// The evidence for the losses behind the wire; null with a target.
    #[serde(default)]
    pub layers: Option<Layers>,
    /// Where two layers say different things; absent where none do.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub disagreements: Vec<Disagreement>,
}

/// The application under test, or a process beside it, as it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Application {
    /// The name of a process; absent for the application.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Program and arguments as started.
    pub command: Vec<String>,
    /// How it ended, in words: `exit status 0`, `signal 15 (SIGTERM)`.
    pub ended: String,
    /// The last lines of its standard output, at most 4 KiB.
    pub stdout: String,
    /// The last lines of its standard error, at most 4 KiB.
    pub stderr: String,
}

impl Application {
    /// The last five lines of what it wrote, in words: of standard error, or of standard output where that is empty.
    pub fn said(&self) -> String {
        let text = [&self.stderr, &self.stdout].into_iter().find(|text| !text.trim().is_empty());
        let Some(text) = text else { return "it said nothing".to_owned() };
        let lines: Vec<&str> = text.trim_end().lines().collect();
        format!("it said: {}", lines.get(lines.len().saturating_sub(5)..).unwrap_or_default().join("\n"))
    }
}

/// A capture that a scenario names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureFile {
    /// The scenario's folder, as given, and the path that it names.
    pub file: String,
    /// The SHA-256 of the file as it lies on the disk, in 64 hexadecimal digits; null where it was not read.
    pub sha256: Option<String>,
}

/// The result of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// The scenario's name.
    pub name: String,
    /// Its file, as given.
    pub file: String,
    /// Its file by a path that is the same whatever path was given: from the nearest folder above it that has `restage.toml`, or else from the
    /// root of its Git repository; absolute where there is neither.
    pub id: String,
    /// Its summary; null where it has none.
    #[serde(default)]
    pub summary: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Its captures; empty where the scenario can't be used.
    #[serde(default)]
    pub captures: Vec<CaptureFile>,
    /// Its verdict.
    pub verdict: Verdict,
    /// Which of the report's runs it is from, counted from 0; absent for the first.
    #[serde(skip_serializing_if = "is_first", default)]
    pub run: usize,
    /// When its worker was started; null where none was.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// From the start of its worker to its end, in seconds.
    pub seconds: f64,
    /// Where that time went, in the order in which the phases began; absent where nothing was planned.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub phases: Vec<Phase>,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub skipped: Option<String>,
    /// What is wrong, odd, or was chosen.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub problems: Vec<Diagnostic>,
    /// Null where nothing was sent.
    pub ledger: Option<Ledger>,
    /// What the receiver sent back; absent where nothing was, and nothing is expected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replies: Option<Replies>,
    /// Null where nothing was sent.
    pub replay: Option<Replay>,
    /// What the scenario's maps did; absent where there is nothing to say, and where the capture was not planned.
    #[serde(skip_serializing_if = "RewriteReport::is_empty", default)]
    pub rewrite: RewriteReport,
    /// The steps of the replay; absent where all was sent at once.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub steps: Vec<Step>,
    /// Every expectation.
    pub checks: Vec<Check>,
    /// Null without a `[receiver] command`, or before it was started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub application: Option<Application>,
    /// The processes beside it, in the order in which they were started; absent without any.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub processes: Vec<Application>,
    /// Whether the run was interrupted before the scenario had ended.
    #[serde(skip_serializing_if = "is_false", default)]
    pub interrupted: bool,
    /// The tries before this one, which did not pass: with `--retries`. A scenario that passes after them is flaky.
    #[serde(rename = "earlier-tries", skip_serializing_if = "Vec::is_empty", default)]
    pub earlier_tries: Vec<Outcome>,
}

impl Outcome {
    /// One of which nothing but the verdict is known.
    pub(crate) fn blank(name: &str, file: &Path, verdict: Verdict) -> Self {
        Self {
            name: name.to_owned(),
            file: file.display().to_string(),
            id: String::new(),
            summary: None,
            tags: Vec::new(),
            captures: Vec::new(),
            verdict,
            run: 0,
            started: None,
            seconds: 0.0,
            phases: Vec::new(),
            skipped: None,
            problems: Vec::new(),
            ledger: None,
            replies: None,
            replay: None,
            rewrite: RewriteReport::default(),
            steps: Vec::new(),
            checks: Vec::new(),
            application: None,
            processes: Vec::new(),
            interrupted: false,
            earlier_tries: Vec::new(),
        }
    }

    /// Whether it passed at a retry.
    pub fn is_flaky(&self) -> bool {
        self.verdict == Verdict::Pass && !self.earlier_tries.is_empty()
    }
}

/// What a worker reports to the process that started it, one JSON object a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// The plan is made: how many frames, for how long.
    Planned {
        /// Frames to send.
        frames: u64,
        /// From the first to the last, in seconds; null for `topspeed`.
        seconds: Option<f64>,
        /// After this long the worker judges what it has, in seconds.
        timeout: f64,
    },
    /// What happens now: `delay` before a retry, `lab`, `preconditions`, `application`, `replay`, `settle`, `stop`, `judge`.
    Phase {
        /// One of the words above.
        name: String,
    },
    /// What the application printed, where that is asked for: whole lines, in their order.
    Output {
        /// `stdout` or `stderr`; of a process with its name before, `postgres stdout`.
        stream: String,
        /// The lines, each with its end.
        text: String,
    },
    /// The application's files stay there, where that is asked for.
    Kept {
        /// The folder of the run: `{work}` is `work` in it, and the output beside that.
        folder: String,
    },
    /// How far the replay is.
    Progress {
        /// Frames sent.
        sent: u64,
        /// Frames seen on the receiver's wire; null where that can't be seen.
        arrived: Option<u64>,
    },
    /// The end.
    Ended {
        /// The result.
        outcome: Box<Outcome>,
    },
}
