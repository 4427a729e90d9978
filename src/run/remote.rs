//! Other machines of a run. Where the receiver is on another one, an agent there, another process of restage, does the receiver's part:
//! preconditions, application, observing; where others send, an agent on each sends its share. Here frames are planned and rewritten, and what was
//! seen is judged. Both ends speak in lines of JSON over the standard input and output of a program that people run already: ssh, `docker exec`,
//! kubectl. Start at [`Agent`], [`Senders`] and, for the other end, at [`agent::main`].

pub mod agent;
mod client;
mod connection;
mod given_files;
mod horizon;
mod messages;
mod outgoing;
mod outstanding;
mod push;
mod relay;
mod saved;
mod senders;
mod share;
mod upstream;

pub(super) use client::{Agent, Near};
pub(super) use connection::Program;
pub(super) use horizon::Horizon;
pub(super) use outstanding::Outstanding;
pub(super) use senders::Senders;
pub(super) use upstream::Upstream;

use crate::diagnostic::Result;
use crate::host::Host;
use crate::plan::Facts;
use crate::scenario::Scenario;
use crate::testbed::Testbed;

/// The agents of a run on other machines.
#[derive(Default)]
pub(super) struct Agents {
    /// That of the receiver.
    pub(super) receiver: Option<Agent>,
    /// Those that send; `None` where this machine does.
    pub(super) senders: Option<Senders>,
}

/// What is known of the place that a scenario names, before it is planned. Where the receiver is on another machine, its agent is asked.
///
/// # Errors
/// As [`Testbed::facts`], and [`crate::diagnostic::Kind::Blocked`] where a machine can't be reached.
pub fn facts(scenario: &Scenario) -> Result<Facts> {
    facts_and_agents(scenario, Program::Installed).map(|(facts, _)| facts)
}

/// The same, with the agents that were asked.
pub(super) fn facts_and_agents(scenario: &Scenario, program: Program) -> Result<(Facts, Agents)> {
    let mut facts = Testbed::facts(scenario)?;
    let Some(words) = scenario.topology.agent() else { return Ok((facts, Agents::default())) };
    let receiver = Agent::start(&words.at, scenario, program)?;
    let host = Host { command_prefix: words.at.value.prefix(), ..receiver.facts(scenario)? };
    let mut senders = None;
    if scenario.topology.senders().is_empty() {
        facts.receiver = Some(Testbed::reached(scenario, host)?);
    } else {
        let started = Senders::start(scenario, &host, program)?;
        facts = started.facts();
        senders = Some(started);
    }
    Ok((facts, Agents { receiver: Some(receiver), senders }))
}
