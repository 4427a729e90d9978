//! `[rewrite.flows]`: what changes in flow exports. Start at [`check`].

use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::check::Checker;
use super::TimeTarget;
use crate::diagnostic::{At, Diagnostic};

/// What changes in flow exports, each with its place in the scenario.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Flows {
    /// What the first export time becomes; never [`TimeTarget::Captured`].
    pub time: Option<At<TimeTarget>>,
    /// Whether addresses in records follow the maps.
    pub addresses: Option<Range<usize>>,
    /// Whether messages are numbered anew.
    pub sequence: Option<Range<usize>>,
}

/// Whether addresses follow the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Addresses {
    /// They stay.
    #[default]
    Captured,
    /// They follow the `ip` maps of all tables.
    Follow,
}

/// Whether messages are numbered anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Sequence {
    /// They keep their numbers.
    #[default]
    Captured,
    /// Each exporter's begin with the first that it has, and go on without a gap.
    Renumber,
}

/// What changes in flow exports: NetFlow v1, v5, v7 and v9, IPFIX and sFlow, whatever port they go to.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(extend("minProperties" = 1))]
pub(super) struct Form {
    /// What the first export time becomes: `now`, a time of RFC 3339, or `captured`. All other times are shifted by as much. Default: captured.
    #[schemars(with = "Option<String>", example = &"now")]
    time: Option<At<TimeTarget>>,
    /// Whether addresses in records follow the `ip` maps of all tables. Default: captured.
    #[schemars(example = &"follow")]
    addresses: At<Addresses>,
    /// Whether messages are numbered anew, without gaps. Default: captured.
    #[schemars(example = &"renumber")]
    sequence: At<Sequence>,
}

/// The legal values; `None` where nothing changes.
pub(super) fn check(written: At<Form>, checker: &mut Checker) -> Option<Flows> {
    let table = written.range();
    let Form { time, addresses, sequence } = written.value;
    let spans = [time.as_ref().map(At::range), addresses.span.clone(), sequence.span.clone()];
    if spans.iter().all(Option::is_none) {
        let problem = Diagnostic::error("`[rewrite.flows]` changes nothing")
            .fix("write `time`, `addresses` or `sequence`, or remove the table");
        checker.missing_all("rewrite.flows", &["time", "addresses", "sequence"], table, problem);
    }
    let flows = Flows {
        time: time.filter(|time| time.value != TimeTarget::Captured),
        addresses: (addresses.value == Addresses::Follow).then(|| addresses.range()),
        sequence: (sequence.value == Sequence::Renumber).then(|| sequence.range()),
    };
    (flows != Flows::default()).then_some(flows)
}
