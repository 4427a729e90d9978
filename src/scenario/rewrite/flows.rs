//! `[rewrite.flows]`: what changes in flow exports. Start at [`check`].

use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::super::check::Checker;
use super::super::form::{self, numbers};
use super::TimeTarget;
use crate::capture::{FileOrder, Files};
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
    /// Templates that are sent before the records that need them.
    pub templates: Option<SentTemplates>,
    /// How many exporters there are for each captured one, more than one.
    pub copies: Option<At<NonZeroU32>>,
}

/// Templates that are sent before the records that need them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentTemplates {
    /// The key in the scenario.
    pub span: Range<usize>,
    /// After which time, in the capture's, they are sent again.
    pub repeat_every: Option<Duration>,
    /// The capture that has them, where that is another one.
    pub from: Option<Files>,
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

/// Whether templates are sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Templates {
    /// They are where they were captured.
    #[default]
    Captured,
    /// Those of an exporter are sent before its first message, too, in datagrams of their own.
    First,
}

/// More exporters than this have no addresses.
const MOST_COPIES: i64 = 65_536;

numbers! {
    copies -> Option<At<u32>>, 1..=MOST_COPIES, "`copies` is a number from 1 to 65536",
        "write how many exporters there are for each captured one, like 1000";
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
    /// Whether each exporter's templates are sent before its first message, in datagrams of their own. Default: captured.
    #[schemars(example = &"first")]
    templates: At<Templates>,
    /// With `templates`: after which time in the capture they are sent again.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "form::DurationText", example = &"30s")]
    repeat_every: Option<At<Duration>>,
    /// With `templates`: the capture that has them, relative to the scenario. Default: the capture that is replayed.
    #[schemars(example = &"captures/with-templates.pcap")]
    from: Option<At<PathBuf>>,
    /// How many exporters there are for each captured one, with addresses and domains of their own. Default: 1.
    #[serde(deserialize_with = "copies")]
    #[schemars(with = "Option<i64>", range(min = 1, max = MOST_COPIES), example = 1000)]
    copies: Option<At<u32>>,
}

/// The legal values; `None` where nothing changes.
pub(super) fn check(written: At<Form>, checker: &mut Checker) -> Option<Flows> {
    let table = written.range();
    let Form { time, addresses, sequence, templates, repeat_every, from, copies } = written.value;
    let spans = [
        time.as_ref().map(At::range),
        addresses.span.clone(),
        sequence.span.clone(),
        templates.span.clone(),
        repeat_every.as_ref().map(At::range),
        from.as_ref().map(At::range),
        copies.as_ref().map(At::range),
    ];
    if spans.iter().all(Option::is_none) {
        let problem = Diagnostic::error("`[rewrite.flows]` changes nothing")
            .fix("write `time`, `addresses`, `sequence`, `templates` or `copies`, or remove the table");
        let keys = ["time", "addresses", "sequence", "templates", "repeat-every", "from", "copies"];
        checker.missing_all("rewrite.flows", &keys, table, problem);
    }
    if let Some(At { value: TimeTarget::At(target), .. }) = &time
        && u32::try_from(target.as_second()).is_err()
    {
        let span = time.as_ref().map(At::range).unwrap_or_default();
        let problem = Diagnostic::error(format!("`rewrite.flows.time` can't be {target}"))
            .why("flow exports have the seconds since 1970 in 32 bits, up to 2106-02-07T06:28:15Z")
            .fix("write a time from 1970 to 2106");
        checker.refuse(span, problem);
    }
    let templates = check_templates(&templates, repeat_every, from, checker);
    let flows = Flows {
        time: time.filter(|time| time.value != TimeTarget::Captured),
        addresses: (addresses.value == Addresses::Follow).then(|| addresses.range()),
        sequence: (sequence.value == Sequence::Renumber).then(|| sequence.range()),
        templates,
        copies: copies
            .filter(|copies| copies.value > 1)
            .and_then(|copies| Some(copies.with(NonZeroU32::new(copies.value)?))),
    };
    (flows != Flows::default()).then_some(flows)
}

fn check_templates(
    templates: &At<Templates>,
    repeat_every: Option<At<Duration>>,
    from: Option<At<PathBuf>>,
    checker: &mut Checker,
) -> Option<SentTemplates> {
    if templates.value == Templates::Captured {
        let keys = [("repeat-every", repeat_every.as_ref().map(At::range)), ("from", from.as_ref().map(At::range))];
        for (key, span) in keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
            let problem = Diagnostic::error(format!("`rewrite.flows.{key}` has no `templates = \"first\"`"))
                .why("it says which templates are sent, or how often, and none are")
                .fix("write `templates = \"first\"`, too, or remove it");
            checker.refuse_because(span, templates.span.as_ref(), "rewrite.flows.templates", problem);
        }
        return None;
    }
    let from = from.map(|mut from| {
        checker.join("rewrite.flows.from", &mut from.value, from.span.as_ref());
        Files::one(from, FileOrder::Sequence)
    });
    Some(SentTemplates { span: templates.range(), repeat_every: repeat_every.map(|every| every.value), from })
}
