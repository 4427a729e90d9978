//! `lateness` and `gap-error`: how well sends must keep the schedule.

use std::ops::Range;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::super::form::{self, DurationText};
use crate::diagnostic::{At, Diagnostic};

/// A share of all sends, those nearest to the schedule first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Percentile {
    /// Half of them.
    P50,
    /// 90 %.
    P90,
    /// 99 %.
    P99,
    /// 99.9 %.
    P999,
    /// All of them.
    Max,
}

impl Percentile {
    /// The word of the language.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p999",
            Self::Max => "max",
        }
    }

    /// The share, above 0 and at most 1.
    pub fn quantile(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P99 => 0.99,
            Self::P999 => 0.999,
            Self::Max => 1.0,
        }
    }
}

/// What a share of the sends must keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The share.
    pub percentile: Percentile,
    /// The deviation of each is at most this; above 0.
    pub most: Duration,
    /// The duration in the scenario.
    pub span: Range<usize>,
}

/// The most for each percentile.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Form {
    /// The most of half of the sends.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "DurationText", example = &"10us")]
    p50: Option<At<Duration>>,
    /// The most of 90 % of the sends.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "DurationText", example = &"50us")]
    p90: Option<At<Duration>>,
    /// The most of 99 % of the sends.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "DurationText", example = &"100us")]
    p99: Option<At<Duration>>,
    /// The most of 99.9 % of the sends.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "DurationText", example = &"500us")]
    p999: Option<At<Duration>>,
    /// The most of all sends.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "DurationText", example = &"1ms")]
    max: Option<At<Duration>>,
}

pub(super) fn example() -> serde_json::Value {
    serde_json::json!({ "p99": "100us" })
}

/// The bounds of a table, from the smallest share to all.
pub(super) fn bounds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<At<Vec<Bound>>, D::Error> {
    let At { value: Form { p50, p90, p99, p999, max }, span } = At::deserialize(deserializer)?;
    let written = [
        (Percentile::P50, p50),
        (Percentile::P90, p90),
        (Percentile::P99, p99),
        (Percentile::P999, p999),
        (Percentile::Max, max),
    ];
    let bounds = written.into_iter().filter_map(|(percentile, most)| {
        let most = most?;
        Some(Bound { percentile, most: most.value, span: most.range() })
    });
    let value: Vec<Bound> = bounds.collect();
    if value.is_empty() {
        let problem = Diagnostic::error("`\u{2}` is empty")
            .why("it says how far sends may be off: at `p50`, `p90`, `p99`, `p999` or `max`")
            .fix("write it like \u{3} = { p99 = \"100us\" }, or leave it out");
        return Err(form::error(&problem));
    }
    Ok(At { value, span })
}
