//! `[pacing]`: when each frame is sent.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checker;
use super::form::Value;
use super::{later, quantity, reading};
use crate::diagnostic::{At, Problem};

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
    /// One frame every so often; above 0.
    Every(Duration),
    /// As fast as the interface takes them.
    TopSpeed,
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
}

/// When each frame is sent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Form {
    /// `captured` (default), `4x`, `10000 pps`, `250 Mbps`, `every 10ms` or `topspeed`.
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
    /// Frames sent back to back at each deadline; this version knows 1.
    #[schemars(range(min = 1, max = 1), example = 1)]
    burst: Option<Value<i64>>,
    /// How frames are sent. Default: auto.
    #[schemars(example = &"auto")]
    sender: Option<Value<Sender>>,
}

/// How frames are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Sender {
    /// The fastest that the machine allows; in this version a packet socket.
    Auto,
    /// A packet socket.
    Packet,
}

/// The legal values of `[pacing]`.
pub(super) fn check(form: Option<Value<Form>>, checker: &mut Checker) -> Pacing {
    let form = form.map(Value::into_inner).unwrap_or_default();
    if let Some(burst) = form.burst.filter(|burst| *burst.get() != 1) {
        let instead = "leave it out, or write `burst = 1`: each frame has its own deadline";
        checker.refuse(burst.span(), reading::not_there_yet(&format!("pacing.burst = {}", burst.get()), instead));
    }
    // Every sender of this version is the packet socket.
    let (None | Some(Sender::Auto | Sender::Packet)) = form.sender.map(Value::into_inner);
    Pacing {
        rate: form.rate.and_then(|rate| check_rate(&rate, checker)).unwrap_or(At::default_value(Rate::default())),
        max_gap: form.max_gap.and_then(|gap| checker.duration("pacing.max-gap", &gap)),
        repeat: form.repeat.map_or(At::default_value(1), |repeat| check_repeat(&repeat, checker)),
    }
}

fn check_rate(written: &Value<String>, checker: &mut Checker) -> Option<At<Rate>> {
    if let Some(instead) = later::word_comes_later("pacing.rate", written.get()) {
        checker
            .refuse(written.span(), reading::not_there_yet(&format!("pacing.rate = \"{}\"", written.get()), instead));
        return None;
    }
    match quantity::rate(written.get()) {
        Ok(rate) => Some(written.with(rate)),
        Err(misread) => {
            let what = format!("`pacing.rate` can't be \"{}\"", written.get());
            checker.refuse(written.span(), Problem::error(what).why(misread.why).fix(misread.fix));
            None
        }
    }
}

fn check_repeat(written: &Value<i64>, checker: &mut Checker) -> At<u32> {
    match u32::try_from(*written.get()) {
        Ok(repeat) if repeat > 0 => written.with(repeat),
        _ => {
            let problem = Problem::error(format!("`pacing.repeat` can't be {}", written.get()))
                .why(format!("it is from 1 to {}", u32::MAX))
                .fix("write how often the whole is sent, or leave it out for once");
            checker.refuse(written.span(), problem);
            written.with(1)
        }
    }
}
