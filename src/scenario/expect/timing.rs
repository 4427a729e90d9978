//! `lateness` and `gap-error`: how well sends must keep the schedule.

use std::ops::Range;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::check::Checker;
use super::super::form::Value;
use super::super::pacing::Rate;
use super::super::quantity;
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
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Form {
    /// The most of half of the sends.
    #[schemars(regex(pattern = quantity::DURATION_PATTERN))]
    #[schemars(example = &"10us")]
    p50: Option<Value<String>>,
    /// The most of 90 % of the sends.
    #[schemars(regex(pattern = quantity::DURATION_PATTERN))]
    #[schemars(example = &"50us")]
    p90: Option<Value<String>>,
    /// The most of 99 % of the sends.
    #[schemars(regex(pattern = quantity::DURATION_PATTERN))]
    #[schemars(example = &"100us")]
    p99: Option<Value<String>>,
    /// The most of 99.9 % of the sends.
    #[schemars(regex(pattern = quantity::DURATION_PATTERN))]
    #[schemars(example = &"500us")]
    p999: Option<Value<String>>,
    /// The most of all sends.
    #[schemars(regex(pattern = quantity::DURATION_PATTERN))]
    #[schemars(example = &"1ms")]
    max: Option<Value<String>>,
}

pub(super) fn example() -> serde_json::Value {
    serde_json::json!({ "p99": "100us" })
}

/// The bounds of the table `path`, from the smallest share to all.
pub(super) fn check(path: &str, form: Option<Value<Form>>, rate: &At<Rate>, checker: &mut Checker) -> Vec<Bound> {
    let Some(form) = form else { return Vec::new() };
    let table = form.span();
    if let Some(word) = rate.value.without_deadlines() {
        let problem = Diagnostic::error(format!("`{path}` needs a schedule"))
            .why(format!("at rate \"{word}\" no frame has a time at which it is due"))
            .fix("name a rate such as \"10000 pps\" in `[pacing]`, or expect `within`");
        checker.refuse_because(table.clone(), rate.span.as_ref(), "pacing.rate", problem);
    }
    let Form { p50, p90, p99, p999, max } = form.into_inner();
    let written = [
        (Percentile::P50, p50),
        (Percentile::P90, p90),
        (Percentile::P99, p99),
        (Percentile::P999, p999),
        (Percentile::Max, max),
    ];
    if written.iter().all(|(_, most)| most.is_none()) {
        let key = path.rsplit('.').next().unwrap_or(path);
        let problem = Diagnostic::error(format!("`{path}` is empty"))
            .why("it says how far sends may be off: at `p50`, `p90`, `p99`, `p999` or `max`")
            .fix(format!("write it like {key} = {{ p99 = \"100us\" }}, or leave it out"));
        checker.missing_all(path, &written.each_ref().map(|(percentile, _)| percentile.name()), table, problem);
    }
    let bounds = written.into_iter().filter_map(|(percentile, most)| {
        let most = most?;
        let span = most.span();
        let most = checker.duration(&format!("{path}.{}", percentile.name()), &most)?;
        Some(Bound { percentile, most: most.value, span })
    });
    bounds.collect()
}
