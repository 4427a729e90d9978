//! `[pacing]`: when each frame is sent.

use std::ops::RangeInclusive;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checker;
use super::form::{self, DurationText, numbers, values};
use super::quantity;
use crate::diagnostic::{At, Diagnostic};

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Rate {
    /// At the capture's own times.
    #[default]
    Captured,
    /// At the capture's times, this many times as fast; finite and above 0.
    Speed(f64),
    /// Frames per second; finite and above 0.
    PacketsPerSecond(f64),
    /// Bits of frame per second; finite and above 0.
    BitsPerSecond(f64),
    /// One frame, or burst, per interval; above 0.
    Every(Duration),
    /// As fast as the interface takes them.
    TopSpeed,
    /// The highest that the receiver takes without loss.
    MaxLossless,
}

impl Rate {
    /// The word of a rate that gives frames no deadlines, so that there is no schedule to keep.
    pub(super) fn without_deadlines(self) -> Option<&'static str> {
        match self {
            Self::TopSpeed => Some("topspeed"),
            Self::MaxLossless => Some("max-lossless"),
            Self::Captured | Self::Speed(_) | Self::PacketsPerSecond(_) | Self::BitsPerSecond(_) | Self::Every(_) => {
                None
            }
        }
    }
}

/// Where sending ends before the capture does; counted over all repetitions, and above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// After this many frames.
    Packets(u64),
    /// Before the frame that would exceed this many bytes of frames.
    Bytes(u64),
    /// With the last frame that is due within this time of the first.
    Duration(Duration),
}

/// How a sender waits for a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// It never sleeps while a deadline is near: one core is busy.
    Spin,
    /// It sleeps until 300 µs before the deadline, then spins.
    #[default]
    Balanced,
    /// It sleeps as long as it can: some tens of microseconds late.
    Frugal,
}

/// How frames are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SenderChoice {
    /// `AF_XDP` at top speed in the lab where it works, else a packet socket.
    #[default]
    Auto,
    /// A packet socket, past the queueing discipline.
    Packet,
    /// `AF_XDP` in copy mode.
    Xdp,
}

impl Precision {
    /// As a scenario has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Balanced => "balanced",
            Self::Frugal => "frugal",
        }
    }
}

impl SenderChoice {
    /// As a scenario has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Packet => "packet",
            Self::Xdp => "xdp",
        }
    }
}

/// When each frame is sent.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pacing {
    /// `captured`, `4x`, `10000 pps`, `250 Mbps`, `every 10ms`, `topspeed` or `max-lossless`. Default: captured.
    #[schemars(example = &"10000 pps")]
    pub rate: At<Rate>,
    /// Longer gaps in the capture are shortened to this, before `4x` is applied. Default: no limit.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "DurationText", example = &"1s")]
    pub max_gap: Option<At<Duration>>,
    /// How often the frames are sent. Default: 1.
    #[serde(deserialize_with = "repeat")]
    #[schemars(with = "i64", range(min = 1, max = u32::MAX), example = 3)]
    pub repeat: At<u32>,
    /// Frames sent back to back at the deadline of the first of them. Default: 1.
    #[serde(deserialize_with = "burst")]
    #[schemars(with = "i64", range(min = 1, max = u32::MAX), example = 10)]
    pub burst: At<u32>,
    /// Where sending ends before the capture does: after `1000 packets`, `10 MiB` or `60s`. Default: nowhere.
    #[schemars(example = &"1000 packets")]
    pub limit: Option<At<Limit>>,
    /// How a sender waits for a deadline. Default: balanced.
    #[schemars(example = &"balanced")]
    pub precision: Precision,
    /// How frames are sent. Default: auto.
    #[schemars(example = &"auto")]
    pub sender: At<SenderChoice>,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            rate: At::default(),
            max_gap: None,
            repeat: At::default_value(1),
            burst: At::default_value(1),
            limit: None,
            precision: Precision::default(),
            sender: At::default(),
        }
    }
}

values! {
    Rate: String, |text: &String| quantity::rate(text), { "type": "string", "pattern": quantity::RATE_PATTERN };
    Limit: String, |text: &String| quantity::limit(text), { "type": "string", "pattern": quantity::LIMIT_PATTERN };
}

const U32: RangeInclusive<i64> = 1..=u32::MAX as i64;
const WHY_U32: &str = "it is from 1 to 4294967295";

numbers! {
    repeat -> At<u32>, U32, WHY_U32, "write how often the whole is sent, or leave it out for once";
    burst -> At<u32>, U32, WHY_U32, "write how many frames are sent back to back, or leave it out for one";
}

impl Pacing {
    /// A real interface is not flooded; a burst needs deadlines.
    pub(super) fn check(&self, is_target: bool, runs_already: bool, checker: &mut Checker) {
        if self.rate.value == Rate::MaxLossless && is_target {
            let problem = Diagnostic::error("`pacing.rate = \"max-lossless\"` needs the lab")
                .why("it searches for the highest rate by trials that begin at top speed, and a real interface gets no more frames than `--allow-rate` says")
                .fix("name a rate such as \"10000 pps\", or replace `[target]` by `[lab]`");
            checker.refuse(self.rate.range(), problem);
        }
        if self.rate.value == Rate::MaxLossless && runs_already {
            let problem = Diagnostic::error("`pacing.rate = \"max-lossless\"` needs `receiver.command`")
                .why("it sends more than the receiver takes, and one that runs already would lose what others send to it")
                .fix("name a rate such as \"10000 pps\", or let restage start the receiver: `command = [\"PROGRAM\"]`");
            checker.refuse(self.rate.range(), problem);
        }
        if let (2.., Some(word)) = (self.burst.value, self.rate.value.without_deadlines()) {
            let problem = Diagnostic::error(format!("`pacing.burst` can't be {} at rate \"{word}\"", self.burst.value))
                .why("a burst is sent at the deadline of its first frame, and at this rate no frame has a deadline")
                .fix("leave `burst` out, or name a rate such as \"10000 pps\"");
            checker.refuse(self.burst.range(), problem);
        }
    }
}
