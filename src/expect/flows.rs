//! `[expect.flows]`, and `flows` of a rule: what the flow exports hold that the receiver was given, and whether the collector stored it.
//!
//! Counted are the rewritten frames that the run was to send, without those that the ledger names as lost: so a set is decodable if the receiver
//! got its template before it. Start at [`Given::read`].

use std::ops::Range;

use serde_json::json;

use super::line;
use super::stored_flows::Records;
use crate::capture::FrameSet;
use crate::diagnostic::{At, Diagnostic, Result};
use crate::figures::{agree, count, plural, thousands};
use crate::flow::{FlowExports, FlowRecord, Flows, Kind};
use crate::outcome::{Check, CheckId, Ledger};
use crate::plan::{Plan, Stream};
use crate::scenario::Scenario;
use crate::scenario::expect::{FieldMatch, FieldRule, FieldValue, FlowCounts, HowMany};
use crate::scenario::require::Wanted;

/// What the receiver was given.
#[derive(Debug)]
pub struct Given {
    exports: FlowExports,
    /// Records that each rule of `fields` matches.
    matched: Vec<u64>,
    /// Frames that were lost, and are in no count.
    lost: u64,
    /// How many more were lost, at least and at most, and it is not known which: all of them are counted.
    unknown: (u64, u64),
    /// The records of flows; nothing where no rule compares them.
    pub(super) records: Records,
}

impl Given {
    /// Reads the frames as they are sent, where an expectation asks what they hold. `ledger`: which of them were lost.
    ///
    /// # Errors
    /// When the capture can't be read.
    pub fn read(scenario: &Scenario, plan: &Plan, ledger: Option<&Ledger>) -> Result<Option<Self>> {
        let compares = scenario.expect.compares_flows();
        if scenario.expect.flows.is_none() && !compares {
            return Ok(None);
        }
        let rules = scenario.expect.flows.as_ref().map(|flows| flows.value.fields.as_slice()).unwrap_or_default();
        let repeat = scenario.pacing.repeat.value;
        // Else several frames that are sent have one number, and it is not known which of them was lost.
        let is_numbered = repeat == 1 && !plan.rewriter.makes_frames();
        let (lost, unknown) = ledger.map(|ledger| lost(ledger, is_numbered)).unwrap_or_default();
        let mut given = Self {
            exports: Flows::default().finish(),
            matched: vec![0; rules.len()],
            lost: 0,
            unknown,
            records: Records::default(),
        };
        let (mut flows, mut left) = (Flows::default(), plan.frames());
        let mut stream = Stream::open(scenario, &plan.rewriter, &plan.medium)?;
        for round in 0..repeat {
            if round > 0 {
                stream.begin_again()?;
            }
            while left > 0
                && let Some(frame) = stream.next_frame()?
            {
                left -= 1;
                if lost.iter().any(|lost| lost.contains(frame.number)) {
                    given.lost += 1;
                    continue;
                }
                flows.add(frame.number, &frame.layers, frame.bytes, |record| {
                    for (rule, matched) in rules.iter().zip(&mut given.matched) {
                        *matched += u64::from(matches(&rule.value, record));
                    }
                    if compares && record.record.kind() == Kind::Flow {
                        given.records.add(frame.number, record);
                    }
                });
            }
        }
        given.exports = flows.finish();
        Ok(Some(given))
    }

    /// What it is, in words.
    fn described(&self) -> String {
        let exports = &self.exports;
        let mut parts = vec![format!(
            "{} of {} hold {} of flows and {} of options",
            count(exports.datagrams, "datagram"),
            count(exports.exporters.len() as u64, "exporter"),
            count(exports.sum(|exporter| exporter.records), "record"),
            thousands(exports.sum(|exporter| exporter.options_records)),
        )];
        let undecodable = exports.exporters.iter().flat_map(|exporter| &exporter.undecodable);
        for part in undecodable.take(3) {
            parts.push(format!(
                "{} can't be decoded: {} (first in frame {})",
                count(part.sets, "set"),
                part.why,
                part.first
            ));
        }
        if exports.unlisted_templates > 0 {
            let definitions = count(exports.unlisted_templates, "definition");
            parts.push(format!("{definitions} of templates beyond the limit are not counted"));
        }
        if self.lost > 0 {
            parts.push(format!(
                "{} {} lost, and {} not counted",
                count(self.lost, "frame"),
                agree(self.lost, "was", "were"),
                agree(self.lost, "is", "are")
            ));
        }
        parts.extend(self.of_unknown_losses());
        parts.join("; ")
    }

    /// What of it the records that can be compared are, in words.
    pub(super) fn not_compared(&self) -> String {
        let mut parts = Vec::new();
        let sets = self.exports.undecodable();
        if sets > 0 {
            parts.push(format!(
                "{} can't be decoded by any collector, and {} in no number",
                count(sets, "set"),
                agree(sets, "is", "are")
            ));
        }
        if self.lost > 0 {
            let lost = count(self.lost, "frame");
            parts.push(format!("what is in {lost} that {} lost is in no number", agree(self.lost, "was", "were")));
        }
        parts.extend(self.of_unknown_losses());
        parts.join("; ")
    }

    fn of_unknown_losses(&self) -> Option<String> {
        let (least, most) = self.unknown;
        let up_to = if least < most { "up to " } else { "" };
        let frames = count(most, "frame");
        let lost = agree(most, "was", "were");
        (most > 0)
            .then(|| format!("{up_to}{frames} {lost} lost, and it is not known which: what is in them is counted"))
    }
}

/// The frames that the ledger names as lost, and how many others were lost, at least and at most. `is_numbered`: whether a number is that of one frame.
fn lost(ledger: &Ledger, is_numbered: bool) -> (Vec<FrameSet>, (u64, u64)) {
    let (mut named, mut least, mut most) = (Vec::new(), 0, 0);
    for loss in &ledger.losses {
        let numbers =
            loss.numbers.as_ref().filter(|numbers| is_numbered && !numbers.ends_with('…') && !loss.numbers_assumed);
        match numbers.and_then(|numbers| numbers.parse().ok()) {
            Some(numbers) => named.push(numbers),
            None => {
                least += loss.frames.low();
                most += loss.frames.high();
            }
        }
    }
    (named, (least, most))
}

fn matches(rule: &FieldRule, record: &FlowRecord<'_>) -> bool {
    let mut met = vec![false; rule.matching.len()];
    record.record.each_field(|field| {
        for (wanted, met) in rule.matching.iter().zip(&mut met) {
            *met |= wanted.element == field.element && wanted.value.holds(&field.value());
        }
    });
    met.iter().all(|met| *met)
}

/// `destinationTransportPort = 443`, `octetDeltaCount >= 1000`.
fn named(wanted: &FieldMatch) -> String {
    match &wanted.value {
        FieldValue::Value(Wanted::Compared(comparison)) => format!("{} {comparison}", wanted.element),
        other => format!("{} = {other}", wanted.element),
    }
}

/// What is expected of a number.
struct WantedNumber<'a> {
    key: String,
    /// Whether it is about fields.
    is_field: bool,
    noun: &'static str,
    expected: Expected<'a>,
    actual: u64,
}

enum Expected<'a> {
    Written(&'a At<HowMany>),
    /// At least one, of what is written there.
    Some(Range<usize>),
}

/// Judges `[expect.flows]`.
pub(super) fn judge(scenario: &Scenario, given: Option<&Given>) -> Vec<Check> {
    let (Some(At { value: flows, .. }), Some(given)) = (&scenario.expect.flows, given) else { return Vec::new() };
    let exports = &given.exports;
    let FlowCounts { records, options, templates, exporters, undecodable: sets, fields } = flows;
    let counts = [
        ("records", "record", records, exports.sum(|exporter| exporter.records)),
        ("options", "options record", options, exports.sum(|exporter| exporter.options_records)),
        ("templates", "template", templates, exports.sum(|exporter| exporter.templates.len() as u64)),
        ("exporters", "exporter", exporters, exports.exporters.len() as u64),
        ("undecodable", "undecodable set", sets, exports.undecodable()),
    ];
    let counts = counts.into_iter().filter_map(|(key, noun, expected, actual)| {
        let expected = Expected::Written(expected.as_ref()?);
        Some(WantedNumber { key: key.to_owned(), is_field: false, noun, expected, actual })
    });
    let fields = fields.iter().zip(&given.matched).map(|(rule, matched)| {
        let names: Vec<String> = rule.value.matching.iter().map(named).collect();
        let expected = match &rule.value.count {
            Some(count) => Expected::Written(count),
            None => Expected::Some(rule.span.clone().unwrap_or_default()),
        };
        WantedNumber { key: names.join(", "), is_field: true, noun: "record", expected, actual: *matched }
    });
    counts.chain(fields).map(|wanted| wanted.judge(scenario, given)).collect()
}

impl WantedNumber<'_> {
    fn judge(&self, scenario: &Scenario, given: &Given) -> Check {
        let some = HowMany::at_least(1);
        let (how_many, span) = match &self.expected {
            Expected::Written(count) => (&count.value, count.span.clone()),
            Expected::Some(span) => (&some, Some(span.clone())),
        };
        let passed = how_many.holds(self.actual);
        let problem = (!passed).then(|| {
            let expected = match how_many.to_json().as_u64() {
                Some(number) => count(number, self.noun),
                None => format!("{how_many} {}", plural(2, self.noun)),
            };
            let with = if self.is_field { format!(" with {}", self.key) } else { String::new() };
            let sent = "in the flow exports that the receiver was given";
            Diagnostic::error(format!("expected {expected}{with} {sent}, there are {}", thousands(self.actual)))
                .why(given.described())
                .fix(self.fix(given))
                .at(&scenario.source, span.clone())
        });
        Check {
            what: CheckId::Other(format!("flows {}", self.key)),
            expected: how_many.to_json(),
            actual: json!(self.actual),
            passed,
            undecided: false,
            line: line(scenario, span.as_ref()),
            problem,
        }
    }

    fn fix(&self, given: &Given) -> &'static str {
        if self.key == "undecodable" && given.exports.undecodable() > 0 {
            "send the templates first with `[rewrite.flows] templates = \"first\"`, or take a part of the capture that has them; `restage inspect --flows` shows where each is"
        } else if given.exports.datagrams == 0 {
            "choose frames that hold flow exports; `restage inspect --flows` shows which a capture has"
        } else {
            "`restage inspect --flows` shows what the capture holds; write what is right, or choose other frames"
        }
    }
}

#[cfg(test)]
#[path = "../../tests/unit/given_flows.rs"]
mod tests;
