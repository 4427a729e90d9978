//! The replay in figures. Start at [`Replay`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Loss;
use crate::cause::Cause;

/// How far something was from its schedule: absolute deviations in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lateness {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest.
    pub max: f64,
}

/// The clock that send times were read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimedBy {
    /// The sender's, right before each system call. A sender that loses its processor in between sends later than it says.
    #[default]
    Sender,
    /// The kernel's receive time of each frame at the receiver's interface: where frames have deadlines and all arrive in order.
    Receiver,
}

/// What one of the machines of `[[sender]]` sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct SenderReport {
    /// Which machine, as the scenario has it.
    pub at: String,
    /// Its interface.
    pub interface: String,
    /// Frames that its kernel accepted.
    pub sent: u64,
    /// From the first to the last send, in seconds.
    pub seconds: f64,
    /// The schedule's seconds from its first to its last send; null where frames had no deadlines.
    #[serde(default)]
    pub scheduled_seconds: Option<f64>,
    /// Of the send from the schedule, aligned to the median; null for one frame and for `topspeed`.
    pub lateness_us: Option<Lateness>,
}

/// The replay in figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Replay {
    /// How frames were sent: `packet` or `xdp`; both, with a comma between, where machines of `[[sender]]` differ.
    pub sender: String,
    /// Why so.
    pub sender_why: String,
    /// What each machine sent, where `[[sender]]` names some; empty where this one sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub senders: Vec<SenderReport>,
    /// From the first to the last send, in seconds.
    pub seconds: f64,
    /// Frames per second; null for fewer than two frames.
    pub pps: Option<f64>,
    /// Bits of frame per second; null for fewer than two frames.
    pub bits_per_second: Option<f64>,
    /// The schedule's seconds from the first to the last send; null where frames had no deadlines.
    pub scheduled_seconds: Option<f64>,
    /// Whose times the seconds, the rates and the deviations below are.
    #[serde(default)]
    pub timed_by: TimedBy,
    /// Of the send from the schedule, aligned to the median; null for one frame and for `topspeed`.
    pub lateness_us: Option<Lateness>,
    /// The same, aligned to the first frame.
    pub lateness_from_first_us: Option<Lateness>,
    /// Of the gaps between consecutive sends from those of the schedule.
    pub gap_error_us: Option<Lateness>,
    /// The deviations of `lateness-us`, counted; empty where that is null.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub lateness_histogram: Vec<LatenessBucket>,
    /// Frames by the time at which they were sent; absent where none was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub over_time: Option<OverTime>,
    /// What `rate = "max-lossless"` tried; absent for other rates.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_lossless: Option<RateSearch>,
}

/// Sends that were off their schedule by less than this, and not by less than what the bucket before says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LatenessBucket {
    /// In microseconds: 1, 2, 4, 8 …
    pub below_us: f64,
    /// How many.
    pub frames: u64,
}

/// Frames by time, in at most 64 buckets of equal length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct OverTime {
    /// How long a bucket is, in seconds.
    pub bucket_seconds: f64,
    /// Frames sent in each bucket.
    pub sent: Vec<u64>,
    /// Frames that arrived on the receiver's wire in each bucket; null where that can't be seen.
    pub arrived: Option<Vec<u64>>,
    /// Of the frames sent in each bucket, those that were lost then; null where it is not known which frames were lost, and with `repeat`.
    pub lost: Option<Vec<u64>>,
}

/// The search for the highest rate without loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RateSearch {
    /// The highest rate at which nothing was lost and no queue grew, in frames per second: what the receiver read per second, until its
    /// queues were empty; null where there was none.
    pub pps: Option<f64>,
    /// What ends it: the loss of the slowest rate that lost any; null where nothing was lost.
    pub limit: Option<Loss>,
    /// The queue that grew at the slowest rate that was too high, in words; null where packets were lost at it, or the sender was the limit.
    #[serde(default)]
    pub queued: Option<String>,
    /// Why the search ended before the rate was known to some per cent; null where it did not.
    #[serde(default)]
    pub unfinished: Option<String>,
    /// In the order in which they were made.
    pub trials: Vec<Trial>,
}

/// One trial of the search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Trial {
    /// The requested rate, in frames per second; null for top speed.
    pub asked_pps: Option<f64>,
    /// The rate that was reached.
    pub pps: f64,
    /// Frames sent.
    pub sent: u64,
    /// Frames lost.
    pub lost: u64,
    /// The cause of the most of them.
    pub cause: Option<Cause>,
    /// From the first to the last send, in seconds.
    #[serde(default)]
    pub seconds: f64,
    /// How long after the last send a socket of the receiver still had unread datagrams, in seconds.
    #[serde(default)]
    pub drain_seconds: f64,
    /// Whether the receiver kept up: nothing was lost, and its queues did not grow.
    #[serde(default)]
    pub kept_up: bool,
    /// What disturbed the trial, so that it was repeated; null where nothing did.
    #[serde(default)]
    pub disturbed: Option<String>,
}
