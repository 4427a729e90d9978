//! `arrived`, `accepted`, `delivered`, `consumed`, `sent`, `order`, `losses`, and the losses that nothing allows.
//!
//! Which losses count is decided here and nowhere else: [`Judged`] has those that a scenario judges, [`mark`] says of each whether it made a
//! check fail; all others are expected. Reports and the search for a rate follow it.

use std::ops::Range;

use serde_json::{Value, json};

use super::{captured, line};
use crate::cause::Cause;
use crate::diagnostic::{At, Diagnostic};
use crate::evidence::{Evidence, Stack};
use crate::figures::{agree, count, thousands};
use crate::ledger::{observes_sockets, reads_past_the_sockets};
use crate::outcome::{Amount, Check, CheckId, Ledger, Loss, Stage};
use crate::plan::Plan;
use crate::predict::Carried;
use crate::scenario::Scenario;
use crate::scenario::expect::{AllowedLoss, Count};

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

impl Wanted {
    /// Whether it is met; `None` where that could not be observed.
    fn met(&self) -> Option<Met> {
        self.actual.as_ref().map(|actual| met(self.count, actual, self.base))
    }

    /// Whether it isn't met, and lost packets may be the reason.
    fn is_short(&self) -> bool {
        let fewest = self.actual.as_ref().map_or(u64::MAX, Amount::low);
        self.met().is_some_and(|met| met != Met::Yes) && fewest < least(self.count, self.base)
    }

    /// Whether the losses that are about its stage are as many as it lacks. Where they are not, what lacks is in frames that another
    /// protocol carries, such as datagrams in MPLS.
    fn is_explained(&self, ledger: &Ledger) -> bool {
        let about = ledger.losses.iter().filter(|loss| loss.stage <= self.stage && is_about(loss, self.stage));
        let lost: u64 = about.map(|loss| loss.frames.high()).sum();
        let fewest = self.actual.as_ref().map_or(u64::MAX, Amount::low);
        fewest.saturating_add(lost) >= least(self.count, self.base)
    }
}

pub(super) fn judge(scenario: &Scenario, plan: &Plan, evidence: &Evidence, ledger: &mut Ledger) -> Vec<Check> {
    let wanted = wanted(scenario, plan, ledger);
    mark(scenario, ledger, &wanted);
    let mut checks: Vec<Check> = wanted.iter().map(|wanted| stage(scenario, evidence, ledger, wanted)).collect();
    checks.extend(scenario.expect.order.iter().map(|order| in_order(scenario, evidence, order.span.as_ref())));
    checks.extend(scenario.expect.losses.iter().map(|allowed| allowed_loss(scenario, evidence, ledger, allowed)));
    // Where a count fails, its check names the loss already.
    if !checks.iter().any(|check| !check.passed && check.what.is_about_packets()) {
        checks.extend(losses(scenario, ledger, &Judged::of(scenario, ledger, &wanted)));
    }
    checks
}

/// The losses of a ledger that a scenario judges: of stages that it expects something of, and by causes that no `losses` allows.
pub(crate) fn judged(scenario: &Scenario, plan: &Plan, ledger: &Ledger) -> Vec<Loss> {
    Judged::of(scenario, ledger, &wanted(scenario, plan, ledger)).losses.into_iter().cloned().collect()
}

/// What is judged of the losses.
struct Judged<'a> {
    losses: Vec<&'a Loss>,
    /// So many packets may be lost at most.
    allowance: u64,
}

impl<'a> Judged<'a> {
    /// Losses up to the last stage that is judged, which no `losses` allows.
    fn of(scenario: &Scenario, ledger: &'a Ledger, wanted: &[Wanted]) -> Self {
        let last = wanted
            .iter()
            .map(|wanted| wanted.stage)
            .chain(ledger.losses.iter().filter(|loss| allowed(scenario, loss).is_some()).map(|loss| loss.stage))
            .max()
            .unwrap_or(Stage::Consumed);
        let allowance = wanted
            .iter()
            .filter(|wanted| wanted.stage == last)
            .map(|wanted| wanted.base.saturating_sub(least(wanted.count, wanted.base)))
            .min()
            .unwrap_or(0);
        let is_judged = |loss: &&Loss| {
            loss.stage <= last && is_about(loss, last) && loss.frames.high() > 0 && allowed(scenario, loss).is_none()
        };
        Self { losses: ledger.losses.iter().filter(is_judged).collect(), allowance }
    }

    fn lost(&self) -> Amount {
        self.losses.iter().map(|loss| loss.frames.clone()).sum()
    }

    /// Whether more was lost for certain than is allowed. What nothing explains is never allowed.
    fn exceeds(&self) -> bool {
        let unexplained = self.losses.iter().filter(|loss| loss.cause == Cause::Unexplained);
        let unexplained: u64 = unexplained.map(|loss| loss.frames.low()).sum();
        self.lost().low() > self.allowance || unexplained > 0
    }
}

/// The entry of `losses` that allows a loss.
fn allowed<'a>(scenario: &'a Scenario, loss: &Loss) -> Option<&'a AllowedLoss> {
    scenario.expect.losses.iter().find(|drop| loss.cause == drop.cause)
}

/// Whether a loss is one of what is counted at `stage`. Delivered and consumed are about datagrams: what only other protocols can be lost
/// by is none of theirs.
fn is_about(loss: &Loss, stage: Stage) -> bool {
    let others = [Cause::IpNoproto, Cause::TcpCsum, Cause::UnhandledProto];
    stage < Stage::Delivered || !others.contains(&loss.cause)
}

/// Says of each loss whether it is expected: whether none of the checks that fail is about it.
fn mark(scenario: &Scenario, ledger: &mut Ledger, wanted: &[Wanted]) {
    let judged = Judged::of(scenario, ledger, wanted);
    let exceeds = judged.exceeds();
    let counts = |loss: &Loss| match allowed(scenario, loss) {
        // More than is allowed.
        Some(drop) => {
            let actual = lost_as(ledger, drop.cause);
            met(drop.count, &actual, ledger.selected) != Met::Yes && actual.high() > least(drop.count, ledger.selected)
        }
        None => {
            let short = |wanted: &Wanted| {
                wanted.is_short()
                    && loss.stage <= wanted.stage
                    && (is_about(loss, wanted.stage) || !wanted.is_explained(ledger))
            };
            exceeds && judged.losses.contains(&loss) || wanted.iter().any(short)
        }
    };
    let expected: Vec<bool> = ledger.losses.iter().map(|loss| !counts(loss)).collect();
    for (loss, expected) in ledger.losses.iter_mut().zip(expected) {
        loss.expected = expected;
    }
}

/// How much was lost by a cause, at all stages.
fn lost_as(ledger: &Ledger, cause: Cause) -> Amount {
    ledger.losses.iter().filter(|loss| loss.cause == cause).map(|loss| loss.frames.clone()).sum()
}

/// What the scenario expects of each stage; the language's own expectation where it says nothing of any.
fn wanted(scenario: &Scenario, plan: &Plan, ledger: &Ledger) -> Vec<Wanted> {
    // Datagrams that are expected to be lost in their encapsulation are no datagrams to the receiver.
    let is_expected = scenario.expect.losses.iter().any(|drop| drop.cause == Cause::UnhandledProto);
    let hidden = if is_expected { plan.survey.hidden_udp_frames.count() } else { 0 };
    let datagrams = (plan.survey.udp_frames.count() - hidden) * plan.rounds;
    let of = |stage, count: Count, span| {
        let (base, actual) = match stage {
            Stage::Sent => (ledger.selected, Some(Amount::exact(ledger.sent))),
            Stage::Captured => (ledger.selected, ledger.captured.clone()),
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
        (Stage::Captured, &expect.captured),
        (Stage::Accepted, &expect.accepted),
        (Stage::Delivered, &expect.delivered),
        (Stage::Consumed, &expect.consumed),
    ]
    .into_iter()
    .filter_map(|(stage, count)| count.as_ref().map(|At { value, span }| of(stage, *value, span.clone())))
    .collect();
    if !written.is_empty() || !expect.losses.is_empty() {
        return written;
    }
    if plan.host.is_none() {
        return vec![of(Stage::Sent, Count::All, None)];
    }
    let mut default = vec![of(Stage::Arrived, Count::All, None)];
    // A sniffer is no reader of sockets, and what it is to see only a filter says.
    if observes_sockets(scenario, plan) && (ledger.captured.is_none() || ledger.consumed.is_some()) {
        default.push(of(Stage::Consumed, Count::All, None));
    }
    default
}

/// Frames that carry IP: nothing else passes routing.
fn ip_frames(plan: &Plan) -> u64 {
    let ip = plan.predictions.iter().filter(|prediction| matches!(prediction.class.key.carried, Carried::Ip { .. }));
    (ip.map(|prediction| prediction.class.frames.count()).sum::<u64>() + plan.survey.unclassed.count()) * plan.rounds
}

fn stage(scenario: &Scenario, evidence: &Evidence, ledger: &Ledger, wanted: &Wanted) -> Check {
    let (name, arrives) = (wanted.stage.name(), wanted.stage == Stage::Arrived);
    let met = wanted.met();
    let passed = met == Some(Met::Yes);
    let problem = (!passed).then(|| {
        let frames = words(wanted.count, wanted.base);
        let expected = if arrives { format!("{frames} to arrive") } else { format!("{frames} to be {name}") };
        let problem = match &wanted.actual {
            Some(actual) if met == Some(Met::Open) && wanted.stage == Stage::Captured => {
                captured::undecided(undecided(&expected, actual, evidence), actual)
            }
            Some(actual) if met == Some(Met::Open) => undecided(&expected, actual, evidence),
            Some(actual) => {
                let actual = if arrives { format!("{} did", range(actual)) } else { amount_words(actual) };
                let problem = Diagnostic::error(format!("expected {expected}, {actual}"));
                if wanted.stage == Stage::Captured {
                    return captured::missing(problem, ledger).at(&scenario.source, wanted.span.clone());
                }
                let before = ledger.losses.iter().filter(|loss| loss.stage <= wanted.stage);
                explain(problem, before)
            }
            None => unobserved(&expected, evidence, wanted.stage),
        };
        problem.at(&scenario.source, wanted.span.clone())
    });
    Check {
        what: CheckId::Reached(wanted.stage),
        expected: value(wanted.count),
        actual: json!(wanted.actual),
        passed,
        undecided: met == Some(Met::Open),
        line: line(scenario, wanted.span.as_ref()),
        problem,
    }
}

/// What lets more be seen.
const SLOWER: &str = "pace slower (`[pacing] rate`)";

/// A stage that could not be seen.
fn unobserved(expected: &str, evidence: &Evidence, stage: Stage) -> Diagnostic {
    let problem = Diagnostic::error(format!("expected {expected}, and that could not be observed"));
    if evidence.xdp {
        return problem
            .why("an XDP program on the receiver's interface takes frames before they can be counted")
            .fix("judge what the application made of the packets: `[[expect.output]]`");
    }
    if stage == Stage::Captured {
        return captured::unseen(problem);
    }
    if stage >= Stage::Delivered && reads_past_the_sockets(evidence) {
        return problem
            .why("the application has a packet socket, which may have given it what the queues of UDP sockets don't show")
            .fix("expect `captured`, or judge what the application made of the packets: `[[expect.output]]`");
    }
    match (&evidence.stack, stage) {
        (Some(Stack { layers, followed, .. }), _)
            if evidence.arriving.is_some() && evidence.is_shared() && followed.ends.is_none() =>
        {
            let why = format!(
                "others send to the receiver as well, and packets were not followed one by one there: {}",
                layers.followed_why
            );
            problem.why(why).fix(format!("{}; or expect `arrived`", layers.closer.as_deref().unwrap_or(SLOWER)))
        }
        (Some(stack), Stage::Accepted) => problem
            .why(format!("the receiver's stack was not tapped: {}", stack.layers.taps_why))
            .fix("let `restage run` tap it (`--evidence auto`), or expect `arrived` or `delivered`"),
        _ => problem.why("the receive ring lost frames, so that what arrived is not known").fix(SLOWER),
    }
}

fn allowed_loss(scenario: &Scenario, evidence: &Evidence, ledger: &Ledger, allowed: &AllowedLoss) -> Check {
    let actual = lost_as(ledger, allowed.cause);
    let met = met(allowed.count, &actual, ledger.selected);
    let problem = (met != Met::Yes).then(|| {
        let expected = format!("{} to be lost as {}", words(allowed.count, ledger.selected), allowed.cause);
        let problem = if met == Met::Open {
            undecided(&expected, &actual, evidence)
        } else {
            let problem = Diagnostic::error(format!("expected {expected}, {}", amount_words(&actual)));
            let is_more = actual.high() > least(allowed.count, ledger.selected);
            explain(problem, ledger.losses.iter().filter(|loss| (loss.cause == allowed.cause) == is_more))
        };
        problem.at(&scenario.source, Some(allowed.span.clone()))
    });
    Check {
        what: CheckId::Loss(allowed.cause),
        expected: value(allowed.count),
        actual: json!(actual),
        passed: met == Met::Yes,
        undecided: met == Met::Open,
        line: line(scenario, Some(&allowed.span)),
        problem,
    }
}

/// Adds the weightiest loss as the reason; those that are expected come last.
fn explain<'a>(problem: Diagnostic, losses: impl Iterator<Item = &'a Loss>) -> Diagnostic {
    let losses = losses.filter(|loss| loss.frames.high() > 0);
    let Some(loss) = losses.max_by_key(|loss| (!loss.expected, loss.frames.high())) else { return problem };
    let lost = format!("{}: {}; {}", loss.cause, packets(&loss.frames), loss.why);
    if loss.expected { problem.why(lost) } else { problem.why(lost).fix(loss.fix.clone()) }
}

fn in_order(scenario: &Scenario, evidence: &Evidence, span: Option<&Range<usize>>) -> Check {
    let arriving = evidence.arriving.as_ref();
    let reordered = arriving.map(|arriving| arriving.reordered);
    let problem = (reordered != Some(0)).then(|| {
        let problem = match arriving {
            Some(arriving) => Diagnostic::error(format!(
                "expected the frames in the captured order, {} arrived late, the first is frame {}",
                count(arriving.reordered, "frame"),
                arriving.first_reordered.unwrap_or_default()
            )),
            None => unobserved("the frames in the captured order", evidence, Stage::Arrived),
        };
        problem.at(&scenario.source, span.cloned())
    });
    Check {
        what: CheckId::Other("order".to_owned()),
        expected: json!("captured"),
        actual: json!({ "reordered": reordered }),
        passed: problem.is_none(),
        undecided: false,
        line: line(scenario, span),
        problem,
    }
}

/// The losses that neither a count nor `losses` allows.
fn losses(scenario: &Scenario, ledger: &Ledger, judged: &Judged<'_>) -> Option<Check> {
    if !judged.exceeds() {
        return None;
    }
    let weight = |loss: &&&Loss| (loss.cause == Cause::Unexplained, loss.frames.high());
    let worst = ledger.losses.iter().filter(|loss| judged.losses.contains(loss)).max_by_key(|loss| weight(&loss))?;
    let span = scenario.expect.losses.first().map(|drop| drop.span.clone());
    let were = agree(worst.frames.high(), "was", "were");
    let problem =
        Diagnostic::error(format!("{} {were} lost as {}, and nothing allows it", packets(&worst.frames), worst.cause))
            .at(&scenario.source, span.clone())
            .why(worst.why.clone())
            .fix(worst.fix.clone());
    Some(Check {
        what: CheckId::Losses,
        expected: json!(judged.allowance),
        actual: json!(judged.lost()),
        passed: false,
        undecided: false,
        line: line(scenario, span.as_ref()),
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
fn undecided(expected: &str, actual: &Amount, evidence: &Evidence) -> Diagnostic {
    let (low, high) = (thousands(actual.low()), thousands(actual.high()));
    let fix = match evidence.stack.as_ref().and_then(|stack| stack.layers.closer.as_ref()) {
        Some(closer) => {
            format!("{closer}; or let the application use a socket of its own for what it sends to itself")
        }
        None => format!("expect what the evidence can decide, such as `\">= {}\"`", actual.low()),
    };
    Diagnostic::error(format!("expected {expected}; can't be decided: the evidence says between {low} and {high}"))
        .why(actual.why().to_owned())
        .fix(fix)
}

pub(super) fn holds(count: Count, actual: u64, base: u64) -> bool {
    match count {
        Count::Exactly(expected) => actual == expected,
        Count::All => actual == base,
        Count::AtLeast(_) | Count::Percent(_) => actual >= least(count, base),
    }
}

/// `5,548 were`, or `180 to 200 were`.
fn amount_words(amount: &Amount) -> String {
    match amount.known() {
        Some(count) => format!("{} {}", thousands(count), agree(count, "was", "were")),
        None => format!("{} were", range(amount)),
    }
}

/// `5,548`, or `180 to 200`.
fn range(amount: &Amount) -> String {
    match amount.known() {
        Some(count) => thousands(count),
        None => format!("{} to {}", thousands(amount.low()), thousands(amount.high())),
    }
}

/// `5,548 packets`, or `180 to 200 packets`.
pub(super) fn packets(amount: &Amount) -> String {
    match amount.known() {
        Some(number) => count(number, "packet"),
        None => format!("{} packets", range(amount)),
    }
}

/// The lowest number that meets a count.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of at most 2^52 frames, 0 to 100 %, rounded up"
)]
pub(super) fn least(count: Count, base: u64) -> u64 {
    match count {
        Count::Exactly(expected) | Count::AtLeast(expected) => expected,
        Count::All => base,
        Count::Percent(share) => (base as f64 * share / 100.0 - 1e-9).ceil().max(0.0) as u64,
    }
}

fn words(expected: Count, base: u64) -> String {
    let frames = |number| count(number, "frame");
    match expected {
        Count::Exactly(expected) => frames(expected),
        Count::All if base > 1 => format!("all {}", frames(base)),
        Count::All => frames(base),
        Count::AtLeast(expected) => format!("at least {}", frames(expected)),
        Count::Percent(share) => {
            format!("at least {share} % of {} ({})", frames(base), thousands(least(expected, base)))
        }
    }
}

pub(super) fn value(count: Count) -> Value {
    match count {
        Count::Exactly(expected) => json!(expected),
        Count::All => json!("all"),
        Count::AtLeast(expected) => json!(format!(">= {expected}")),
        Count::Percent(share) => json!(format!("{share}%")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Amount, Count, Met, holds, least, met};

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
}
