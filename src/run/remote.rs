//! A receiver on another machine. There an agent, another process of restage, does the receiver's part of a run: preconditions, application,
//! observing. Here frames are planned, rewritten and sent, and what was seen is judged. Both speak in lines of JSON over the standard input and
//! output of a program that people run already: ssh, `docker exec`, kubectl. Start at [`Agent`] and, for the other end, at [`agent::main`].

pub mod agent;
mod client;
mod given_files;
mod horizon;
mod messages;
mod outgoing;
mod push;

pub(super) use client::Agent;
pub(super) use horizon::Horizon;

use crate::diagnostic::Result;
use crate::plan::Facts;
use crate::scenario::Scenario;
use crate::testbed::Testbed;

/// What is known of the place that a scenario names, before it is planned. Where the receiver is on another machine, its agent is asked.
///
/// # Errors
/// As [`Testbed::facts`], and [`crate::diagnostic::Kind::Blocked`] where the machine can't be reached.
pub fn facts(scenario: &Scenario) -> Result<Facts> {
    facts_and_agent(scenario, false).map(|(facts, _)| facts)
}

/// The same, with the agent that was asked. `push`: copy this program there before.
pub(super) fn facts_and_agent(scenario: &Scenario, push: bool) -> Result<(Facts, Option<Agent>)> {
    let mut facts = Testbed::facts(scenario)?;
    let Some(words) = scenario.topology.agent() else { return Ok((facts, None)) };
    let agent = Agent::start(&words.at, scenario, push)?;
    facts.receiver = Some(Testbed::reached(scenario, agent.facts(scenario)?)?);
    Ok((facts, Some(agent)))
}
