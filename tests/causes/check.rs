//! What a run came to, beside what its row says; what was planned, beside what happened.
//!
//! Start at [`differences`].

use std::collections::BTreeMap;
use std::fmt;

use restage::Stage;
use serde_json::{Value, json};

use crate::rows::{Case, Expected, Loss, Said};

/// The stages after a frame was selected, in order.
const STAGES: [(Stage, &str); 6] = [
    (Stage::Selected, "selected"),
    (Stage::Sent, "sent"),
    (Stage::Arrived, "arrived"),
    (Stage::Accepted, "accepted"),
    (Stage::Delivered, "delivered"),
    (Stage::Consumed, "consumed"),
];

/// Whether root is told the kernel's own reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reasons {
    Heard,
    NotHeard,
}

/// Something that a row says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) what: String,
    pub(crate) expected: String,
    pub(crate) got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, expected, got } = self;
        write!(f, "{what}: expected {expected}, got {got}")
    }
}

fn different(what: impl Into<String>, expected: impl fmt::Display, got: impl fmt::Display) -> Difference {
    Difference { what: what.into(), expected: expected.to_string(), got: got.to_string() }
}

/// What differs from what the row says; empty if nothing does.
pub(crate) fn differences(case: &Case, outcome: &Value, reasons: Reasons) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut expect = |what: &str, expected: &Value, got: &Value| {
        if expected != got {
            all.push(different(what, expected, got));
        }
    };
    let (losses, udp) = match &case.expected {
        Expected::Refused(words) => {
            expect("verdict", &json!("invalid"), &outcome["verdict"]);
            expect("ledger", &Value::Null, &outcome["ledger"]);
            if !outcome["problems"].to_string().contains(words) {
                all.push(different("problems", words, &outcome["problems"]));
            }
            return all;
        }
        Expected::Ledger { losses, udp } => (losses, *udp),
    };
    let ledger = &outcome["ledger"];
    if ledger.is_null() {
        return vec![different("ledger", "one", format!("{}: {}", outcome["verdict"], outcome["problems"]))];
    }
    let verdict = if losses.iter().any(|loss| loss.stage <= Stage::Arrived) { "fail" } else { "pass" };
    expect("verdict", &json!(verdict), &outcome["verdict"]);
    let mut left = case.frames.len() as u64;
    for (stage, name) in STAGES {
        let lost = losses.iter().filter(|loss| loss.stage == stage).map(|loss| packets(loss, ledger)).sum::<u64>();
        left = left.saturating_sub(lost);
        let expected = if stage >= Stage::Delivered && !udp { Value::Null } else { json!(left) };
        expect(name, &expected, &ledger[name]);
    }
    all.extend(loss_differences(losses, ledger, reasons));
    all.extend(contradictions(ledger));
    all
}

/// How many packets a row's loss has: what is in the ledger, if the row allows it.
fn packets(loss: &Loss, ledger: &Value) -> u64 {
    let found = found(ledger).find(|found| found["cause"] == loss.cause);
    let packets = found.and_then(|found| found["frames"].as_u64()).unwrap_or(0);
    if loss.packets.contains(&packets) { packets } else { *loss.packets.start() }
}

/// The ledger's losses.
fn found(ledger: &Value) -> impl Iterator<Item = &Value> {
    ledger["losses"].as_array().into_iter().flatten()
}

/// How many packets a row's loss may have.
fn range(loss: &Loss) -> String {
    let (least, most) = (loss.packets.start(), loss.packets.end());
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}

fn loss_differences(losses: &[Loss], ledger: &Value, reasons: Reasons) -> Vec<Difference> {
    let mut all = Vec::new();
    let named = |cause: &str, stage: &Value| format!("{cause} before {}", stage.as_str().unwrap_or_default());
    for found in found(ledger) {
        let cause = found["cause"].as_str().unwrap_or_default();
        let name = named(cause, &found["stage"]);
        let Some(loss) = losses.iter().find(|loss| loss.cause == cause && json!(loss.stage) == found["stage"]) else {
            all.push(different(name, "none", &found["frames"]));
            continue;
        };
        if !found["frames"].as_u64().is_some_and(|packets| loss.packets.contains(&packets)) {
            all.push(different(&name, range(loss), &found["frames"]));
        }
        if let Some(frames) = &loss.frames
            && found["frame-numbers"] != json!(frames)
        {
            all.push(different(format!("{name}, frames"), frames, &found["frame-numbers"]));
        }
        let allowed: &[&str] = match (reasons, loss.evidence) {
            (Reasons::Heard, Said::ByKernel) => &["kernel"],
            (Reasons::Heard, Said::Otherwise) => &["kernel", "stage", "predicted"],
            (Reasons::NotHeard, _) => &["stage", "predicted"],
        };
        if !found["evidence"].as_str().is_some_and(|evidence| allowed.contains(&evidence)) {
            all.push(different(format!("{name}, evidence"), allowed.join(" or "), &found["evidence"]));
        }
        for word in ["why", "fix"] {
            if found[word].as_str().is_none_or(|text| text.trim().is_empty()) {
                all.push(different(format!("{name}, {word}"), "words", &found[word]));
            }
        }
    }
    for loss in losses {
        let there = found(ledger).any(|found| found["cause"] == loss.cause && found["stage"] == json!(loss.stage));
        if !there {
            all.push(different(named(loss.cause, &json!(loss.stage)), range(loss), "none"));
        }
    }
    all
}

/// Where the stages that were observed don't add up: a difference between neighbours is the losses between them.
fn contradictions(ledger: &Value) -> Vec<Difference> {
    let seen: Vec<(Stage, &str, u64)> =
        STAGES.iter().filter_map(|(stage, name)| Some((*stage, *name, ledger[*name].as_u64()?))).collect();
    let losses = |after: Stage, to: Stage| -> u64 {
        let all = ["losses", "absorbed"].into_iter().filter_map(|key| ledger[key].as_array()).flatten();
        let between = all.filter(|loss| {
            serde_json::from_value::<Stage>(loss["stage"].clone()).is_ok_and(|stage| stage > after && stage <= to)
        });
        between.filter_map(|loss| loss["frames"].as_u64()).sum()
    };
    let pairs = seen.iter().zip(seen.iter().skip(1));
    pairs
        .filter_map(|((from, before, more), (to, after, fewer))| {
            let (difference, lost) = (i128::from(*more) - i128::from(*fewer), losses(*from, *to));
            (difference != i128::from(lost))
                .then(|| different(format!("{before} {more}, {after} {fewer}"), format!("{difference} lost"), lost))
        })
        .collect()
}

/// Where the plan says of other frames or another number that they would be lost for a cause than the ledger does afterwards.
pub(crate) fn predicted_otherwise(plan: &Value, outcome: &Value) -> Option<Difference> {
    let mut planned: BTreeMap<String, u64> = BTreeMap::new();
    for fate in plan["predictions"].as_array().into_iter().flatten() {
        if let (Some(cause), Some(packets)) = (fate["cause"].as_str(), fate["frames"].as_u64()) {
            *planned.entry(cause.to_owned()).or_default() += packets;
        }
    }
    let mut happened: BTreeMap<String, u64> = BTreeMap::new();
    for loss in found(&outcome["ledger"]) {
        *happened.entry(loss["cause"].as_str().unwrap_or_default().to_owned()).or_default() +=
            loss["frames"].as_u64().unwrap_or(0);
    }
    (planned != happened).then(|| different("plan", format!("{happened:?}"), format!("{planned:?}")))
}

/// Whether any loss stands on the kernel's own reason.
pub(crate) fn drop_reasons_are_read<'a>(outcomes: impl IntoIterator<Item = &'a Value>) -> Reasons {
    let heard = outcomes.into_iter().any(|outcome| found(&outcome["ledger"]).any(|loss| loss["evidence"] == "kernel"));
    if heard { Reasons::Heard } else { Reasons::NotHeard }
}
