//! What came to pass against what was predicted: where they differ, the ledger shows both. Start at
//! [`Received::compare_with_prediction`].

use super::cause_evidence::predicted;
use super::received::{Received, unjoined};
use crate::cause::{Cause, TABLE};
use crate::evidence::Evidence;
use crate::outcome::{Amount, Disagreement, Layer, Loss, Stage};
use crate::plan::Plan;
use crate::predict::Disposition;

impl Received {
    /// What was predicted and did not happen, or happened and should have been predicted.
    pub(super) fn compare_with_prediction(&mut self, plan: &Plan, evidence: &Evidence) {
        let arrived = evidence.arriving.as_ref().map(|arriving| arriving.arrived);
        let all_came = arrived == Some(plan.frames()) && plan.survey.unclassed.is_empty();
        if !all_came || evidence.stack.is_none() || evidence.timed_out.is_some() {
            return;
        }
        let filtered = self.has(Cause::NetfilterDrop, Cause::NetfilterDrop.row().stage);
        let open = plan.predictions.iter().filter(|prediction| prediction.disposition == Disposition::Open);
        let open: u64 = open.map(|prediction| prediction.class.frames.count() * plan.rounds).sum();
        for row in TABLE.iter().filter(|row| row.is_predicted) {
            for stage in [Stage::Accepted, Stage::Delivered] {
                let foretold = predicted(plan, row.cause, stage).frames.count() * plan.rounds;
                let is_it = |loss: &&Loss| loss.stage == stage && loss.cause == row.cause;
                let found = self.losses.iter().find(is_it).map(|loss| (loss.frames.clone(), loss.evidence));
                let (seen, layer) = found.unwrap_or((Amount::exact(0), Layer::Stage));
                if seen.meets(&Amount::exact(foretold)) {
                    continue;
                }
                // What is open may end in any way.
                let is_open =
                    seen.low() > foretold && seen.low() <= foretold + open || row.cause == Cause::IpNoproto && open > 0;
                let groups_are_open = row.cause == Cause::MulticastNotJoined && !unjoined(plan, true).is_empty();
                // Where delivered can't be seen, nothing is said of it.
                let unseen = stage == Stage::Delivered && self.delivered.is_none() && seen.is_zero();
                // A rule may send datagrams to another port.
                let is_redirected = row.cause == Cause::NoSocket
                    && seen.high() < foretold
                    && evidence.stack.as_ref().is_some_and(|stack| !stack.filters.is_empty());
                // What a rule dropped met nothing else any more.
                if is_redirected || is_open || groups_are_open || unseen || filtered && seen.high() < foretold {
                    continue;
                }
                if let Some(told) = self.disagreements.iter_mut().find(|told| told.cause == row.cause) {
                    told.predicted = Some(foretold);
                    continue;
                }
                let seen = if seen.low() > foretold { seen.low() } else { seen.high() };
                self.disagreements.push(Disagreement {
                    cause: row.cause,
                    kernel: (layer == Layer::Kernel).then_some(seen),
                    stage: (layer == Layer::Stage).then_some(seen),
                    predicted: Some(foretold),
                });
            }
        }
    }
}
