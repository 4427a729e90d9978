//! `rate = "find"`: the highest rate that the receiver takes without loss, by trials (RFC 2544 §26.1 in spirit).
//!
//! The first trial goes at top speed; if it loses packets, the rate is halved until nothing is lost, and what lies between is
//! bisected. Each trial sends all frames, and is observed and settled like any run. Start at [`search`].

use super::receiver::Receiver;
use super::site::Site;
use super::{Session, replay_once};
use crate::cause::Cause;
use crate::diagnostic::Result;
use crate::evidence::Evidence;
use crate::ledger;
use crate::outcome::{Find, Loss, Stage, Trial};
use crate::plan::Plan;
use crate::plan::fate::{End, Fate};
use crate::scenario::Scenario;
use crate::scenario::pacing::Rate;

/// The search ends when the rate is known so exactly.
const EXACT: f64 = 1.03;
/// The slowest trial takes so many seconds.
const SLOWEST_SECONDS: f64 = 10.0;

/// Searches; the evidence is that of the fastest trial without loss or, where there is none, of the slowest.
pub(super) fn search(
    scenario: &Scenario,
    plan: &Plan,
    site: &Site,
    receiver: &mut Receiver,
    session: &mut Session<'_>,
) -> Result<Evidence> {
    let mut bracket = Bracket::default();
    let mut trials = Vec::new();
    let (mut fastest_kept, mut slowest_lost): (Option<Evidence>, Option<Evidence>) = (None, None);
    let mut limit: Option<Loss> = None;
    #[expect(clippy::cast_precision_loss, reason = "frames of a capture are far below 2^53")]
    let slowest = plan.frames() as f64 / SLOWEST_SECONDS;
    let mut next = Some(Rate::TopSpeed);
    while let Some(rate) = next {
        let evidence = replay_once(scenario, plan, rate, site, receiver, session)?;
        let pps = reached(&evidence);
        let losses = losses(scenario, plan, &evidence);
        let lost: u64 = losses.iter().map(|loss| loss.packets.low()).sum();
        // What the plan foresaw is lost at any rate.
        let is_foreseen = lost > 0 && losses.iter().all(|loss| is_foreseen(plan, loss));
        let worst = losses.into_iter().max_by_key(|loss| loss.packets.high());
        let asked_pps = if let Rate::PacketsPerSecond(asked) = rate { Some(asked) } else { None };
        let sent = evidence.sending.sent;
        trials.push(Trial { asked_pps, pps, sent, lost, cause: worst.as_ref().map(|loss| loss.cause.clone()) });
        let is_over = is_foreseen || evidence.timed_out.is_some() || session.is_over() || receiver.has_ended()?;
        // A trial that was cut short says nothing of its rate.
        if evidence.sending.not_sent.is_empty() && evidence.timed_out.is_none() {
            bracket.tell(asked_pps.map_or(pps, |asked| asked.min(pps)), lost == 0);
        }
        // Each trial lies between those that are known: it is the fastest that kept all, or the slowest that did not.
        if lost == 0 {
            fastest_kept = Some(evidence);
        } else {
            slowest_lost = Some(evidence);
            limit = worst;
        }
        next = if is_over { None } else { bracket.next(slowest).map(Rate::PacketsPerSecond) };
    }
    let mut evidence = fastest_kept.or(slowest_lost).unwrap_or_default();
    evidence.find = Some(Find { pps: bracket.kept, limit, trials });
    Ok(evidence)
}

/// Frames per second from the first to the last send.
fn reached(evidence: &Evidence) -> f64 {
    let sending = &evidence.sending;
    #[expect(clippy::cast_precision_loss, reason = "frames of a capture are far below 2^53")]
    let sent = sending.sent as f64;
    sent / sending.seconds.max(1e-6)
}

/// What was lost up to the last stage that the scenario expects something of, but for causes that it allows.
fn losses(scenario: &Scenario, plan: &Plan, evidence: &Evidence) -> Vec<Loss> {
    let expect = &scenario.expect;
    let last = if expect.consumed.is_some()
        || (expect.arrived.is_none() && expect.accepted.is_none() && expect.delivered.is_none())
    {
        Stage::Consumed
    } else if expect.delivered.is_some() {
        Stage::Delivered
    } else if expect.accepted.is_some() {
        Stage::Accepted
    } else {
        Stage::Arrived
    };
    let allowed = |loss: &Loss| expect.drops.iter().any(|drop| drop.cause == loss.cause);
    let mut losses = ledger::account(scenario, plan, evidence).losses;
    losses.retain(|loss| loss.stage <= last && loss.cause != Cause::Kernel.name() && !allowed(loss));
    losses
}

/// Whether the plan says of so many frames that they are lost by this cause.
fn is_foreseen(plan: &Plan, loss: &Loss) -> bool {
    let by_it = |fate: &&Fate| matches!(fate.end, End::Lost(cause) if cause.name() == loss.cause);
    let foreseen: u64 = plan.fates.iter().filter(by_it).map(|fate| fate.frames.count()).sum();
    foreseen * plan.rounds >= loss.packets.high()
}

/// Between which rates the highest without loss lies, in frames per second.
#[derive(Debug, Default, PartialEq)]
struct Bracket {
    /// The highest at which nothing was lost.
    kept: Option<f64>,
    /// The lowest at which something was.
    lost: Option<f64>,
}

impl Bracket {
    /// What a trial at this rate came to.
    fn tell(&mut self, pps: f64, kept: bool) {
        if kept {
            self.kept = Some(self.kept.map_or(pps, |before| before.max(pps)));
        } else {
            self.lost = Some(self.lost.map_or(pps, |before| before.min(pps)));
        }
    }

    /// The rate to try next; none below `slowest`.
    fn next(&self, slowest: f64) -> Option<f64> {
        match (self.kept, self.lost) {
            // Nothing was lost at top speed: the sender is the limit.
            (_, None) => None,
            (None, Some(lost)) => Some(lost / 2.0).filter(|half| *half >= slowest),
            (Some(kept), Some(lost)) => (lost > kept * EXACT).then(|| f64::midpoint(kept, lost)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bracket, EXACT};

    /// Trials against a receiver that takes so much, from a sender that reaches 1,000,000.
    fn search(takes: f64, slowest: f64) -> (Option<f64>, usize) {
        let mut bracket = Bracket::default();
        let mut next = Some(1e6);
        let mut trials = 0;
        while let Some(rate) = next {
            bracket.tell(rate, rate <= takes);
            trials += 1;
            next = bracket.next(slowest);
        }
        (bracket.kept, trials)
    }

    #[test]
    fn the_highest_rate_is_found_in_few_trials() {
        for takes in [999_999.0, 400_000.0, 30_000.0, 1_234.0] {
            let (kept, trials) = search(takes, 1.0);
            let kept = kept.expect("found");
            assert!(kept <= takes && takes < kept * EXACT, "{kept} for {takes}");
            assert!(trials <= 18, "{trials}");
        }
    }

    #[test]
    fn at_top_speed_without_loss_one_trial_is_enough() {
        assert_eq!(search(2e6, 1.0), (Some(1e6), 1));
    }

    #[test]
    fn a_receiver_that_takes_nothing_ends_the_search() {
        let (kept, trials) = search(0.0, 1_000.0);
        assert_eq!((kept, trials), (None, 10));
    }
}
