//! What `[rewrite.flows] templates` needs: the templates of a capture, before its first frame is sent.

use super::stream::open_capture;
use crate::capture::Captures;
use crate::diagnostic::Result;
use crate::rewrite::{Rewriter, TemplateLearner};
use crate::scenario::Scenario;

/// Has the rewriter learn the templates that it sends, if it sends any and has not learnt them yet: all of the capture, selected or not,
/// or of the one that `from` names.
///
/// # Errors
/// A capture that can't be read.
pub fn learn_templates(scenario: &Scenario, rewriter: &Rewriter) -> Result<()> {
    let wanted = scenario.rewrite.flows.as_ref().and_then(|flows| flows.templates.as_ref());
    let Some(wanted) = wanted.filter(|_| !rewriter.knows_templates()) else { return Ok(()) };
    let mut captures = match &wanted.from {
        Some(files) => Captures::open(files, &scenario.source)?,
        None => open_capture(scenario)?,
    };
    let mut learner = TemplateLearner::default();
    while let Some(frame) = captures.next_frame()? {
        learner.add(&frame);
    }
    rewriter.learn_templates(learner.finish(wanted.from.is_some()));
    Ok(())
}
