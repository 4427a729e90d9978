//! `arrived`, `delivered`, `consumed`, `sent`, `order`, `drops`, and the losses that nothing allows.

use std::ops::Range;

use serde_json::{Value, json};

use super::line;
use crate::cause::Cause;
use crate::diagnostic::{At, Problem};
use crate::evidence::Evidence;
use crate::ledger::observes_sockets;
use crate::outcome::{Amount, Check, Ledger, Loss, Stage};
use crate::plan::Plan;
use crate::plan::survey::Carried;
use crate::scenario::Scenario;
use crate::scenario::expect::Count;

/// A count that a stage must reach.
struct Wanted {
    stage: Stage,
    count: Count,
    span: Option<Range<usize>>,
    /// What "all" is.
    base: u64,
    /// What was counted.
    actual: Option<Amount>,
}

pub(super) fn judge(scenario: &Scenario, plan: &Plan, evidence: &Evidence, ledger: &Ledger) -> Vec<Check> {
    let wanted = wanted(scenario, plan, ledger);
    let mut checks: Vec<Check> = wanted.iter().map(|wanted| stage(scenario, ledger, wanted)).collect();
    if let Some(order) = &scenario.expect.order {
        checks.push(in_order(scenario, evidence, order.span.as_ref()));
    }
    checks.extend(scenario.expect.drops.iter().map(|drop| {
        let of_cause = ledger.losses.iter().filter(|loss| loss.cause == drop.cause);
        let actual: Amount = of_cause.map(|loss| loss.packets.clone()).sum();
        let met = met(drop.count, &actual, ledger.selected);
        let problem = (met != Met::Yes).then(|| {
            if met == Met::Open {
                return undecided(
                    &format!("{} lost as {}", words(drop.count, ledger.selected), drop.cause),
                    &actual,
                    ledger,
                )
                .at(&scenario.source, Some(drop.span.clone()));
            }
            let problem = Problem::error(format!(
                "expected {} lost as {}, {} were",
                words(drop.count, ledger.selected),
                drop.cause,
                amount_words(&actual)
            ))
            .at(&scenario.source, Some(drop.span.clone()));
            let other =
                ledger.losses.iter().filter(|loss| loss.cause != drop.cause && loss.cause != Cause::Kernel.name());
            explain(problem, other.max_by_key(|loss| loss.packets.high()))
        });
        Check {
            what: format!("drops.{}", drop.cause),
            expected: value(drop.count),
            actual: json!(actual),
            passed: met == Met::Yes,
            line: line(scenario, Some(&drop.span)),
            problem,
        }
    }));
    checks.extend(losses(scenario, ledger, &wanted, &checks));
    checks
}

/// What the scenario expects of each stage; the language's own expectation where it says nothing of any.
fn wanted(scenario: &Scenario, plan: &Plan, ledger: &Ledger) -> Vec<Wanted> {
    // Datagrams that are expected to be lost in their encapsulation are no datagrams to the receiver.
    let is_expected = scenario.expect.drops.iter().any(|drop| drop.cause == Cause::UnhandledProto.name());
    let hidden = if is_expected { plan.survey.hidden_udp_frames.count() } else { 0 };
    let datagrams = (plan.survey.udp_frames.count() - hidden) * plan.rounds;
    let of = |stage, count: Count, span| {
        let (base, actual) = match stage {
            Stage::Sent => (ledger.selected, Some(Amount::exact(ledger.sent))),
            Stage::Accepted => (ip_frames(plan), ledger.accepted.clone()),
            Stage::Delivered => (datagrams, ledger.delivered.clone()),
            Stage::Consumed => (datagrams, ledger.consumed.clone()),
            _ => (ledger.selected, ledger.arrived.clone()),
        };
        Wanted { stage, count, span, base, actual }
    };
    let expect = &scenario.expect;
    let written: Vec<Wanted> = [
        (Stage::Sent, &expect.sent),
        (Stage::Arrived, &expect.arrived),
        (Stage::Accepted, &expect.accepted),
        (Stage::Delivered, &expect.delivered),
        (Stage::Consumed, &expect.consumed),
    ]
    .into_iter()
    .filter_map(|(stage, count)| count.as_ref().map(|At { value, span }| of(stage, *value, span.clone())))
    .collect();
    if !written.is_empty() || !expect.drops.is_empty() {
        return written;
    }
    if plan.site.is_none() {
        return vec![of(Stage::Sent, Count::All, None)];
    }
    let mut default = vec![of(Stage::Arrived, Count::All, None)];
    if observes_sockets(scenario, plan) {
        default.push(of(Stage::Consumed, Count::All, None));
    }
    default
}

/// Frames that carry IP: nothing else passes routing.
fn ip_frames(plan: &Plan) -> u64 {
    let ip = plan.fates.iter().filter(|fate| matches!(fate.key.carried, Carried::Ip { .. }));
    (ip.map(|fate| fate.frames.count()).sum::<u64>() + plan.survey.unclassed.count()) * plan.rounds
}

fn stage(scenario: &Scenario, ledger: &Ledger, wanted: &Wanted) -> Check {
    let name = stage_name(wanted.stage);
    let met = wanted.actual.as_ref().map(|actual| met(wanted.count, actual, wanted.base));
    let passed = met == Some(Met::Yes);
    let problem = (!passed).then(|| {
        let expected = words(wanted.count, wanted.base);
        match &wanted.actual {
            Some(actual) if met == Some(Met::Open) => {
                undecided(&format!("{expected} {name}"), actual, ledger).at(&scenario.source, wanted.span.clone())
            }
            None if wanted.stage == Stage::Accepted => {
                let why = ledger.layers.as_ref().map_or("", |layers| layers.taps_why.as_str());
                Problem::error(format!("expected {expected} {name}, and that could not be observed"))
                    .at(&scenario.source, wanted.span.clone())
                    .why(format!("the receiver's stack was not tapped: {why}"))
                    .fix("let `restage run` tap it (`--evidence auto`), or expect `arrived` or `delivered`")
            }
            None => Problem::error(format!("expected {expected} {name}, and that could not be observed"))
                .at(&scenario.source, wanted.span.clone())
                .why("what arrived can't be told from what was seen: the receive ring lost frames, or the receiver is elsewhere")
                .fix("pace slower (`[pacing] rate`)"),
            Some(actual) => {
                let problem = Problem::error(format!("expected {expected} {name}, {} were", amount_words(actual)))
                    .at(&scenario.source, wanted.span.clone());
                let before = ledger.losses.iter().filter(|loss| loss.stage <= wanted.stage && loss.cause != Cause::Kernel.name());
                explain(problem, before.max_by_key(|loss| loss.packets.high()))
            }
        }
    });
    Check {
        what: name.to_owned(),
        expected: value(wanted.count),
        actual: json!(wanted.actual),
        passed,
        line: line(scenario, wanted.span.as_ref()),
        problem,
    }
}

/// Adds the weightiest loss as the reason.
fn explain(problem: Problem, loss: Option<&Loss>) -> Problem {
    match loss {
        None => problem,
        Some(loss) => problem
            .why(format!("{}: {} packets; {}", loss.cause, amount_words(&loss.packets), loss.why))
            .fix(loss.fix.clone()),
    }
}

fn in_order(scenario: &Scenario, evidence: &Evidence, span: Option<&Range<usize>>) -> Check {
    let reordered = evidence.arriving.as_ref().map(|arriving| arriving.reordered);
    let problem = (reordered != Some(0)).then(|| {
        let what = match (&evidence.arriving, reordered) {
            (Some(arriving), Some(reordered)) => format!(
                "expected the frames in the captured order, {} came late, the first is frame {}",
                thousands(reordered),
                arriving.first_reordered.unwrap_or_default()
            ),
            _ => "expected the frames in the captured order, and that could not be observed".to_owned(),
        };
        Problem::error(what).at(&scenario.source, span.cloned())
    });
    Check {
        what: "order".to_owned(),
        expected: json!("captured"),
        actual: json!({ "reordered": reordered }),
        passed: problem.is_none(),
        line: line(scenario, span),
        problem,
    }
}

/// Losses up to the last stage that is judged, which neither a count nor `drops` allows.
fn losses(scenario: &Scenario, ledger: &Ledger, wanted: &[Wanted], checks: &[Check]) -> Option<Check> {
    if checks.iter().any(|check| !check.passed) {
        return None; // the failed check names the loss already
    }
    let allowed_by_name = |loss: &Loss| scenario.expect.drops.iter().any(|drop| drop.cause == loss.cause);
    let last = wanted
        .iter()
        .map(|wanted| wanted.stage)
        .chain(ledger.losses.iter().filter(|loss| allowed_by_name(loss)).map(|loss| loss.stage))
        .max()
        .unwrap_or(Stage::Consumed);
    let allowance = wanted
        .iter()
        .filter(|wanted| wanted.stage == last)
        .map(|wanted| wanted.base.saturating_sub(least(wanted.count, wanted.base)))
        .min()
        .unwrap_or(0);
    // Delivered and consumed are about datagrams: what only other protocols can be lost by is not judged by them.
    let mut not_datagrams = vec![Cause::Kernel.name()];
    if last >= Stage::Delivered {
        not_datagrams.extend([Cause::IpNoproto, Cause::TcpCsum, Cause::UnhandledProto].map(Cause::name));
    }
    let judged: Vec<&Loss> = ledger
        .losses
        .iter()
        .filter(|loss| loss.stage <= last && !not_datagrams.contains(&loss.cause.as_str()) && !allowed_by_name(loss))
        .collect();
    let lost: Amount = judged.iter().map(|loss| loss.packets.clone()).sum();
    let is_unexplained = |loss: &&&Loss| loss.cause == Cause::Unexplained.name();
    let unexplained: u64 = judged.iter().filter(is_unexplained).map(|loss| loss.packets.low()).sum();
    if lost.low() <= allowance && unexplained == 0 {
        return None;
    }
    let worst = judged.into_iter().max_by_key(|loss| (loss.cause == Cause::Unexplained.name(), loss.packets.high()))?;
    let span = scenario.expect.drops.first().map(|drop| drop.span.clone());
    let problem = Problem::error(format!(
        "{} packets were lost as {}, which nothing allows",
        amount_words(&worst.packets),
        worst.cause
    ))
    .at(&scenario.source, span)
    .why(worst.why.clone())
    .fix(worst.fix.clone());
    Some(Check {
        what: "losses".to_owned(),
        expected: json!(allowance),
        actual: json!(lost),
        passed: false,
        line: line(scenario, scenario.expect.drops.first().map(|drop| &drop.span)),
        problem: Some(problem),
    })
}

/// Whether an expectation is met by what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Met {
    Yes,
    No,
    /// Some numbers that the evidence allows meet it, others don't.
    Open,
}

fn met(count: Count, actual: &Amount, base: u64) -> Met {
    let holds = |number| holds(count, number, base);
    match count {
        Count::Exactly(_) | Count::All => match actual.known() {
            Some(number) if holds(number) => Met::Yes,
            None if actual.meets(&Amount::exact(least(count, base))) => Met::Open,
            _ => Met::No,
        },
        Count::AtLeast(_) | Count::Percent(_) => match (holds(actual.low()), holds(actual.high())) {
            (true, _) => Met::Yes,
            (false, true) => Met::Open,
            (false, false) => Met::No,
        },
    }
}

/// The evidence leaves a range that doesn't decide it.
fn undecided(expected: &str, actual: &Amount, ledger: &Ledger) -> Problem {
    let (low, high) = (thousands(actual.low()), thousands(actual.high()));
    let is_followed = ledger.layers.as_ref().is_some_and(|layers| layers.followed);
    let fix = if is_followed {
        format!("expect what the evidence can decide, such as `\">= {}\"`", actual.low())
    } else {
        "run it as root, where each packet is followed to its reader; or let the application use a socket of its own for what it sends \
         itself"
            .to_owned()
    };
    Problem::error(format!("expected {expected}; can't be decided: the evidence says between {low} and {high}"))
        .why(actual.why().to_owned())
        .fix(fix)
}

fn holds(count: Count, actual: u64, base: u64) -> bool {
    match count {
        Count::Exactly(expected) => actual == expected,
        Count::All => actual == base,
        Count::AtLeast(_) | Count::Percent(_) => actual >= least(count, base),
    }
}

/// `5,548`, or `180 to 200`.
fn amount_words(amount: &Amount) -> String {
    match amount.known() {
        Some(count) => thousands(count),
        None => format!("{} to {}", thousands(amount.low()), thousands(amount.high())),
    }
}

/// The lowest number that meets a count.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of at most 2^52 frames, 0 to 100 %, rounded up"
)]
fn least(count: Count, base: u64) -> u64 {
    match count {
        Count::Exactly(expected) | Count::AtLeast(expected) => expected,
        Count::All => base,
        Count::Percent(share) => (base as f64 * share / 100.0 - 1e-9).ceil().max(0.0) as u64,
    }
}

fn words(count: Count, base: u64) -> String {
    match count {
        Count::Exactly(expected) => format!("{} frames", thousands(expected)),
        Count::All => format!("all {} frames", thousands(base)),
        Count::AtLeast(expected) => format!("at least {} frames", thousands(expected)),
        Count::Percent(share) => {
            format!("at least {share} % of {} frames ({})", thousands(base), thousands(least(count, base)))
        }
    }
}

fn value(count: Count) -> Value {
    match count {
        Count::Exactly(expected) => json!(expected),
        Count::All => json!("all"),
        Count::AtLeast(expected) => json!(format!(">= {expected}")),
        Count::Percent(share) => json!(format!("{share}%")),
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Read => "read",
        Stage::Selected => "selected",
        Stage::Rewritten => "rewritten",
        Stage::Sent => "sent",
        Stage::Arrived => "arrived",
        Stage::Accepted => "accepted",
        Stage::Delivered => "delivered",
        Stage::Consumed => "consumed",
    }
}

/// `5,548`.
fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::{Amount, Count, Met, holds, least, met, thousands};

    #[test]
    fn shares_are_rounded_up() {
        assert_eq!(least(Count::Percent(99.9), 1_000), 999);
        assert_eq!(least(Count::Percent(99.9), 1_001), 1_000);
        assert_eq!(least(Count::Percent(100.0), 7), 7);
    }

    #[test]
    fn all_is_neither_less_nor_more() {
        assert!(holds(Count::All, 5, 5) && !holds(Count::All, 4, 5) && !holds(Count::All, 6, 5));
    }

    #[test]
    fn a_range_passes_if_all_of_it_does_and_fails_if_none_of_it_does() {
        let range = |low, high| Amount::between(low, high, "a reason");
        for (count, low, high, expected) in [
            (Count::All, 5, 5, Met::Yes),
            (Count::All, 4, 5, Met::Open),
            (Count::All, 3, 4, Met::No),
            (Count::Exactly(4), 3, 5, Met::Open),
            (Count::AtLeast(4), 4, 5, Met::Yes),
            (Count::AtLeast(4), 3, 4, Met::Open),
            (Count::AtLeast(4), 2, 3, Met::No),
            (Count::Percent(80.0), 4, 5, Met::Yes),
            (Count::Percent(80.0), 0, 5, Met::Open),
        ] {
            assert_eq!(met(count, &range(low, high), 5), expected, "{count:?} of {low} to {high}");
        }
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
