//! `rate = "max-lossless"`: the highest rate that the receiver keeps up with, by repeated trials (RFC 2544 §26.1 in spirit).
//!
//! A trial keeps up if nothing was lost and the receiver's queues are read soon after the last send. [`decision`] chooses the rates and
//! counts the trials; [`backlog`] watches the queues; [`disturbance`] measures what other load took. Each trial is observed and settled like
//! any run. Start at [`search`].

mod backlog;
mod decision;
mod disturbance;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::Run;
use super::extent::Extent;
use super::receiver::Receiver;
use crate::diagnostic::{Diagnostic, Result};
use crate::evidence::{Evidence, Sending};
use crate::expect;
use crate::figures::{agree, count, pps, seconds};
use crate::ledger;
use crate::outcome::{Loss, RateSearch, Trial};
use crate::plan::Plan;
use crate::predict::{Disposition, Prediction};
use crate::scenario::pacing::Rate;
use crate::wire::closing;
use backlog::{Backlog, Drained};
use decision::{Ask, Search, Tried};
use disturbance::Load;

/// How long a trial sends at least.
const TRIAL: Duration = Duration::from_secs(1);
/// The longest time of a trial, in seconds, unless a part of the run's time is shorter.
const SLOWEST_SECONDS: f64 = 30.0;
/// This part.
const SLOWEST_PART: f64 = 0.2;
/// What a trial takes beside sending: settling, and a bit.
const BESIDE: Duration = Duration::from_secs(1);
/// The receiver keeps up if it has read everything after this time, ...
const READ: Duration = Duration::from_millis(10);
/// ... and this share of the time that sending took.
const READ_SHARE: f64 = 0.04;
/// But a probe is short, and the receiver may still be waking up.
const READ_LEAST: Duration = Duration::from_millis(20);
/// A burst that the sender makes after a pause disturbs a trial if it takes more than this share of a receive buffer.
const BURST_SHARE: f64 = 0.25;
/// Below this reached share of the rate that was asked for, the sender was not fast enough.
const REACHED: f64 = 0.95;

/// A trial, observed.
struct Tested {
    evidence: Evidence,
    trial: Trial,
    tried: Tried,
    /// The weightiest loss.
    worst: Option<Loss>,
    drained: Drained,
    rounds: u64,
    is_foreseen: bool,
}

impl Run<'_> {
    /// Searches; the evidence is that of the fastest trial that kept up or, where there is none, of the slowest. The plan's rounds become those
    /// of this trial.
    pub(super) fn search(&mut self) -> Result<Evidence> {
        let rounds = self.plan.rounds;
        let frames = per_second(self.plan.frames(), 1.0);
        let longest = SLOWEST_SECONDS.min(self.setup.control.left().as_secs_f64() * SLOWEST_PART);
        let mut search = Search::new(frames / longest);
        let mut trials = Vec::new();
        // Those that kept up, and those that did not: which of them count is known at the end.
        let (mut kept, mut lost): (Vec<Tested>, Vec<Tested>) = (Vec::new(), Vec::new());
        let mut unfinished = None;
        while let Some(ask) = search.next() {
            if let Ask::Rate(rate) = ask
                && let needed = Duration::from_secs_f64((frames / rate).max(TRIAL.as_secs_f64())) + BESIDE
                && self.setup.control.left() < needed
            {
                unfinished = Some(format!("the next trial, at {}, did not fit into the run's time", pps(rate)));
                break;
            }
            self.plan.rounds = rounds;
            let tested = self.trial(ask)?;
            trials.push(tested.trial.clone());
            let timed_out = tested.evidence.timed_out.is_some() || self.setup.control.is_over();
            // A trial that was cut short says nothing of its rate.
            if !timed_out && tested.evidence.sending.not_sent.is_empty() {
                search.record(tested.tried);
            }
            let is_foreseen = tested.is_foreseen;
            if tested.tried.kept_up {
                kept.push(tested);
            } else {
                lost.push(tested);
            }
            if timed_out {
                unfinished = Some("the run's time ended".to_owned());
                break;
            }
            if is_foreseen || self.setup.receiver.has_ended()? {
                break;
            }
        }
        if !search.is_over() && unfinished.is_none() && search.next().is_none() {
            unfinished = Some("too many trials gave no clear answer".to_owned());
        }
        let unfinished = unfinished.map(|why| format!("{why}; {}", between(&search)));
        let is_kept = |tested: &Tested| search.kept().is_some_and(|kept| tested.tried.pps <= kept * 1.01);
        let best = kept.into_iter().filter(is_kept).max_by(|one, other| one.tried.pps.total_cmp(&other.tried.pps));
        // A trial that was outvoted is slower than the lowest rate that was decided to be too high.
        let is_too_high = |tested: &&Tested| search.lost.is_none_or(|lost| tested.tried.pps >= lost * 0.99);
        let slowest = |one: &&Tested, other: &&Tested| one.tried.pps.total_cmp(&other.tried.pps);
        let slowest_lost = lost.iter().filter(is_too_high).min_by(slowest);
        let (queued, limit) = match slowest_lost {
            Some(tested) if search.lost.is_some() || best.is_none() => (queued(tested), tested.worst.clone()),
            _ => (None, None),
        };
        // What was still queued at the end is no part of what the receiver takes.
        let pps = best.as_ref().map(|best| {
            let queued = best.drained.time.saturating_sub(READ).as_secs_f64();
            best.tried.pps * best.trial.seconds / (best.trial.seconds + queued).max(1e-9)
        });
        let slowest_lost = slowest_lost.map(|tested| tested.trial.pps);
        let lost = lost.into_iter().find(|tested| slowest_lost.is_some_and(|pps| tested.trial.pps <= pps));
        let Some(shown) = best.or(lost) else { return Ok(Evidence::default()) };
        self.plan.rounds = shown.rounds;
        let mut evidence = shown.evidence;
        evidence.notes.extend(unfinished.as_ref().map(|why| {
            Diagnostic::warning("the search for the highest rate did not end")
                .at(&self.setup.scenario.source, self.setup.scenario.pacing.rate.span.clone())
                .why(why.clone())
                .fix("raise `timeout`, or replay fewer frames: `[capture] frames`, `[pacing] repeat`")
        }));
        evidence.max_lossless = Some(RateSearch { pps, limit, queued, unfinished, trials });
        Ok(evidence)
    }

    fn trial(&mut self, ask: Ask) -> Result<Tested> {
        let (rate, least) = match ask {
            Ask::Probe => (Rate::TopSpeed, Duration::ZERO),
            Ask::TopSpeed => (Rate::TopSpeed, TRIAL),
            Ask::Rate(rate) => (Rate::PacketsPerSecond(rate), TRIAL),
        };
        // A limit counts over all repetitions.
        let least = if self.setup.scenario.pacing.limit.is_some() { Duration::ZERO } else { least };
        let dropped = Arc::new(AtomicBool::new(false));
        let extent = Extent { least, stop: Some(Arc::clone(&dropped)) };
        // The built-in receiver reads in the thread that sends: it has no backlog.
        let backlog = match self.setup.testbed.observed().filter(|_| !self.setup.receiver.is_built_in()) {
            Some(side) => Some(Backlog::start(side, self.plan, dropped)?),
            None => None,
        };
        // At top speed whatever keeps the sender waiting lowers the answer, too.
        let pids = |receiver: &Receiver| {
            let own = (ask == Ask::TopSpeed).then(std::process::id);
            receiver.pids().into_iter().chain(own).collect::<Vec<_>>()
        };
        let before = Load::now(&pids(&self.setup.receiver));
        let sent = || {
            if let Some(backlog) = &backlog {
                backlog.sending_ended();
            }
        };
        // The kernel lets no second AF_XDP socket have a queue before the first is closed.
        closing::finish();
        let evidence = self.replay(rate, &extent, &sent)?;
        let load = Load::now(&pids(&self.setup.receiver)).disturbance_since(&before);
        let drained = backlog.map(Backlog::finish).transpose()?.unwrap_or_default();
        let (scenario, plan) = (self.setup.scenario, &*self.plan);
        let sending = &evidence.sending;
        let reached = reached(sending);
        let losses = expect::judged(scenario, plan, &ledger::account(scenario, plan, &evidence));
        let lost: u64 = losses.iter().map(|loss| loss.frames.low()).sum();
        // What the plan foresaw is lost at any rate.
        let is_foreseen = lost > 0 && losses.iter().all(|loss| is_foreseen(plan, loss));
        let worst = losses.into_iter().max_by_key(|loss| loss.frames.high());
        let kept_up = lost == 0 && drained.time <= time_to_read(sending.seconds);
        let seconds = sending.seconds + drained.time.as_secs_f64();
        let asked_pps = if let Ask::Rate(rate) = ask { Some(rate) } else { None };
        let disturbed = disturbed(&evidence, asked_pps, drained, lost).or(load);
        let tried = Tried {
            pps: reached,
            kept_up,
            disturbed: disturbed.is_some(),
            took: (!kept_up).then(|| per_second(sending.sent.saturating_sub(lost), seconds)),
            long: seconds >= TRIAL.as_secs_f64(),
        };
        let trial = Trial {
            asked_pps,
            pps: reached,
            sent: sending.sent,
            lost,
            cause: worst.as_ref().map(|loss| loss.cause),
            seconds: sending.seconds,
            drain_seconds: drained.time.as_secs_f64(),
            kept_up,
            disturbed: disturbed.filter(|_| {
                !kept_up || ask == Ask::TopSpeed || asked_pps.is_some_and(|asked| reached < asked * REACHED)
            }),
        };
        Ok(Tested { evidence, trial, tried, worst, drained, rounds: plan.rounds, is_foreseen })
    }
}

/// What something other than the receiver did to a trial.
fn disturbed(evidence: &Evidence, asked_pps: Option<f64>, drained: Drained, lost: u64) -> Option<String> {
    let sending = &evidence.sending;
    if evidence.arriving.is_none() {
        return Some("the receive ring lost frames".to_owned());
    }
    let asked = asked_pps?;
    if reached(sending) < asked * REACHED {
        return Some(format!("requested {}, achieved {}", pps(asked), pps(reached(sending))));
    }
    let late_us = sending.lateness?.max;
    #[expect(clippy::cast_precision_loss, reason = "bytes of a receive buffer")]
    let (buffer, frame_bytes) =
        (drained.buffer_bytes as f64, super::frame_batch::truesize(mean_bytes(sending.bytes, sending.sent)) as f64);
    let burst_bytes = late_us / 1e6 * asked * frame_bytes;
    let too_late = if lost > 0 {
        buffer > 0.0 && burst_bytes > buffer * BURST_SHARE
    } else {
        late_us / 1e6 > time_to_read(sending.seconds).as_secs_f64() / 2.0
    };
    too_late.then(|| format!("the sender was late by up to {}, and sent a burst then", seconds(late_us / 1e6)))
}

/// How long the receiver may read after the last send.
fn time_to_read(seconds: f64) -> Duration {
    (READ + Duration::from_secs_f64(seconds.max(0.0) * READ_SHARE)).max(READ_LEAST)
}

/// The queue that grew, in words; `None` where packets were lost instead.
fn queued(tested: &Tested) -> Option<String> {
    let unread = tested.drained.unread_bytes;
    (tested.trial.lost == 0 && !tested.trial.kept_up).then(|| {
        format!(
            "at {} the receiver's queue grows: {} {} unread after the last send, and reading took {}",
            pps(tested.tried.pps),
            count(unread, "byte"),
            agree(unread, "was", "were"),
            seconds(tested.trial.drain_seconds)
        )
    })
}

/// What is known of a rate that was not found.
fn between(search: &Search) -> String {
    let took = search.estimate.map(|took| format!("; the receiver took about {}", pps(took))).unwrap_or_default();
    match (search.kept(), search.lost) {
        (Some(kept), Some(lost)) => format!("the rate is between {} and {}{took}", pps(kept), pps(lost)),
        (None, Some(lost)) => format!("the rate is below {}{took}", pps(lost)),
        (Some(kept), None) => format!("the rate is at least {}", pps(kept)),
        (None, None) => format!("no rate was decided{took}"),
    }
}

/// Frames per second from the first send to the last.
fn reached(sending: &Sending) -> f64 {
    per_second(sending.sent.saturating_sub(1), sending.seconds)
}

fn mean_bytes(bytes: u64, frames: u64) -> usize {
    usize::try_from(bytes / frames.max(1)).unwrap_or(usize::MAX)
}

fn per_second(count: u64, seconds: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "frames of a capture are far below 2^53")]
    let count = count as f64;
    count / seconds.max(1e-6)
}

/// Whether the plan predicts that at least as many frames are lost by this cause.
fn is_foreseen(plan: &Plan, loss: &Loss) -> bool {
    let by_it =
        |prediction: &&Prediction| matches!(prediction.disposition, Disposition::Lost(cause) if loss.cause == cause);
    let foreseen: u64 = plan.predictions.iter().filter(by_it).map(|prediction| prediction.class.frames.count()).sum();
    foreseen * plan.rounds >= loss.frames.high()
}
