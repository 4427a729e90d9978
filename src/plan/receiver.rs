//! The receiver of a plan, wherever it is. Start at [`receiver`].

use super::survey::{Reassembly, Survey};
use super::{existing, lab_host};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::{Existing, Filter, Host, Socket};
use crate::scenario::Scenario;
use crate::scenario::topology::{AgentTopology, Topology};

/// A host on another machine, with the sockets of the application that is started there.
fn elsewhere(scenario: &Scenario, agent: &AgentTopology, survey: &Survey, host: Host) -> Host {
    let listens = lab_host::listeners(scenario, survey);
    if agent.runs_already {
        return Host { listens, ..host };
    }
    Host { sockets: listens.iter().copied().map(Socket::from).collect(), listens, joined: None, ..host }
}

/// The receiver that the scenario describes, where it is known, with the timeouts of the `reassembly` of one that is there already. `filter`: the lab's packet filter; `far`: the
/// host of an agent.
pub(super) fn receiver(
    scenario: &Scenario,
    filter: Filter,
    far: Option<Host>,
    existing: Option<&Existing>,
    survey: &Survey,
    reassembly: &mut Reassembly,
    notes: &mut Vec<Diagnostic>,
) -> Result<Option<Host>> {
    match &scenario.topology {
        Topology::Lab(lab) => Ok(Some(Host { filter, ..lab_host::host(scenario, lab, survey, notes) })),
        Topology::Existing(words) => {
            let Some(there) = existing else {
                return Err(Failure::error(Diagnostic::error("the receiver's network namespace was not looked at")));
            };
            *reassembly = Reassembly::new(there.reassembly.0, there.reassembly.1);
            existing::host(scenario, words, survey, there, notes).map(Some)
        }
        Topology::Target { agent, .. } => {
            Ok(far.zip(agent.as_ref()).map(|(host, agent)| elsewhere(scenario, agent, survey, host)))
        }
    }
}
