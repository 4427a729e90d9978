//! `[pacing]`: when each frame is sent.

use std::time::Duration;

use crate::diagnostic::At;

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
