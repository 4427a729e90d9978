//! `[pacing]`: when each frame is sent.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checker;
use super::form::Value;
use super::quantity::{self, ParseError};
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
    /// One frame, or burst, every so often; above 0.
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
    /// Before the frame with which this many bytes of frames would be passed.
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

/// `[pacing]`, with legal values.
#[derive(Debug, Clone, PartialEq)]
pub struct Pacing {
    /// How fast.
    pub rate: At<Rate>,
    /// Longer silences of the capture are cut to this (before `Speed` is applied).
    pub max_gap: Option<At<Duration>>,
    /// How often the whole is sent; at least 1.
    pub repeat: At<u32>,
    /// Frames sent back to back at the deadline of the first of them; at least 1, and 1 where the rate gives no deadlines.
    pub burst: At<u32>,
    /// Where sending ends before the capture does.
    pub limit: Option<At<Limit>>,
    /// How a sender waits for a deadline.
    pub precision: Precision,
    /// How frames are sent.
    pub sender: At<SenderChoice>,
}

/// When each frame is sent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Form {
    /// `captured` (default), `4x`, `10000 pps`, `250 Mbps`, `every 10ms`, `topspeed` or `max-lossless`.
    #[schemars(regex(pattern = quantity::RATE_PATTERN))]
    #[schemars(example = &"10000 pps")]
    rate: Option<Value<String>>,
    /// Longer silences of the capture are cut to this. Default: none is cut.
    #[schemars(regex(pattern = quantity::DURATION_PATTERN))]
    #[schemars(example = &"1s")]
    max_gap: Option<Value<String>>,
    /// How often the whole is sent. Default: 1.
    #[schemars(range(min = 1, max = u32::MAX), example = 3)]
    repeat: Option<Value<i64>>,
    /// Frames sent back to back at the deadline of the first of them. Default: 1.
    #[schemars(range(min = 1, max = u32::MAX), example = 10)]
    burst: Option<Value<i64>>,
    /// Where sending ends before the capture does: after `1000 packets`, `10 MiB` or `60s`. Default: nowhere.
    #[schemars(regex(pattern = quantity::LIMIT_PATTERN))]
    #[schemars(example = &"1000 packets")]
    limit: Option<Value<String>>,
    /// How a sender waits for a deadline. Default: balanced.
    #[schemars(example = &"balanced")]
    precision: Option<Value<Precision>>,
    /// How frames are sent. Default: auto.
    #[schemars(example = &"auto")]
    sender: Option<Value<SenderChoice>>,
}

/// The legal values of `[pacing]`; of a target's receiver nothing is seen.
pub(super) fn check(form: Option<Value<Form>>, is_target: bool, checker: &mut Checker) -> Pacing {
    let form = form.map(Value::into_inner).unwrap_or_default();
    let rate = form.rate.and_then(|rate| check_quantity("pacing.rate", &rate, quantity::rate, checker));
    let rate = rate.unwrap_or(At::default_value(Rate::default()));
    if let (Rate::MaxLossless, true, Some(span)) = (rate.value, is_target, &rate.span) {
        let problem = Diagnostic::error("`pacing.rate = \"max-lossless\"` needs the lab")
            .why("it looks for the highest rate without loss, and with `[target]` nothing of the receiver is seen")
            .fix("name a rate such as \"10000 pps\", or replace `[target]` by `[lab]`");
        checker.refuse(span.clone(), problem);
    }
    let instead = "write how many frames are sent back to back, or leave it out for one";
    let burst = form.burst.map(|burst| check_number("pacing.burst", instead, &burst, checker));
    let burst = burst.unwrap_or(At::default_value(1));
    if let (2.., Some(word), Some(span)) = (burst.value, rate.value.without_deadlines(), &burst.span) {
        let problem = Diagnostic::error(format!("`pacing.burst` can't be {} at rate \"{word}\"", burst.value))
            .why("a burst is sent at the deadline of its first frame, and at this rate no frame has a deadline")
            .fix("leave `burst` out, or name a rate such as \"10000 pps\"");
        checker.refuse(span.clone(), problem);
    }
    let instead = "write how often the whole is sent, or leave it out for once";
    Pacing {
        rate,
        max_gap: form.max_gap.and_then(|gap| checker.duration("pacing.max-gap", &gap)),
        repeat: form
            .repeat
            .map_or(At::default_value(1), |repeat| check_number("pacing.repeat", instead, &repeat, checker)),
        burst,
        limit: form.limit.and_then(|limit| check_quantity("pacing.limit", &limit, quantity::limit, checker)),
        precision: form.precision.map(Value::into_inner).unwrap_or_default(),
        sender: form.sender.map_or(At::default_value(SenderChoice::default()), Value::into_at),
    }
}

fn check_quantity<T>(
    key: &str,
    written: &Value<String>,
    read: fn(&str) -> Result<T, ParseError>,
    checker: &mut Checker,
) -> Option<At<T>> {
    match read(written.get()) {
        Ok(quantity) => Some(written.with(quantity)),
        Err(misread) => {
            let what = format!("`{key}` can't be \"{}\"", written.get());
            checker.refuse(written.span(), Diagnostic::error(what).why(misread.why).fix(misread.fix));
            None
        }
    }
}

/// A number from 1; `fix` says what it counts.
fn check_number(key: &str, fix: &str, written: &Value<i64>, checker: &mut Checker) -> At<u32> {
    match u32::try_from(*written.get()) {
        Ok(number) if number > 0 => written.with(number),
        _ => {
            let problem = Diagnostic::error(format!("`{key}` can't be {}", written.get()))
                .why(format!("it is from 1 to {}", u32::MAX))
                .fix(fix);
            checker.refuse(written.span(), problem);
            written.with(1)
        }
    }
}
