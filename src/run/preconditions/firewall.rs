//! `[require] firewall`: does the receiver's ruleset let packets to a port through? A probe is sent, and the taps show how far it gets.
//!
//! Only while no application runs: it would get the probe. Start at [`find`].

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Finding;
use crate::cause::Cause;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::outcome::{EvidenceLevel, Hook};
use crate::packet::MacAddr;
use crate::packet::layers::{Layers, LinkType, protocol};
use crate::packet::probe::Probe;
use crate::plan::{LAB_RECEIVER_MAC, Plan};
use crate::predict::Carried;
use crate::predict::Disposition;
use crate::scenario::Scenario;
use crate::scenario::require::{Listener, Transport};
use crate::testbed::Testbed;
use crate::wire::taps::Installed;

/// A probe is through in microseconds; on a busy machine it may take longer.
const PATIENCE: Duration = Duration::from_millis(200);
/// One that another machine sends takes the network's time beside.
const FAR_PATIENCE: Duration = Duration::from_secs(1);
/// So often it is sent where the network may lose it.
const FAR_TRIES: u32 = 3;
/// The probe's source port: discard (RFC 863), which no capture sends from.
const SOURCE_PORT: u16 = 9;

/// The probes of a scenario, and who sends them.
#[derive(Default)]
pub(in crate::run) struct Probing<'a> {
    /// Of each rule, one for each family.
    probes: Vec<Vec<Probe>>,
    /// Has another machine send one, which has the same probes; `None` where this machine sends.
    far: Option<&'a dyn Fn(ProbePlace) -> Result<()>>,
}

/// Which of the probes: the index of its rule, and that among the rule's probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::run) struct ProbePlace(usize, usize);

impl<'a> Probing<'a> {
    /// The probes that this machine sends.
    pub(in crate::run) fn of(scenario: &Scenario, plan: &Plan, testbed: &Testbed) -> Result<Self> {
        let rules = &scenario.require.firewall;
        if rules.is_empty() {
            return Ok(Self::default());
        }
        let sender = testbed.sender();
        let own = sender.facts(sender.interface())?.and_then(|facts| facts.mac).unwrap_or_default();
        let macs = (own, plan.host.as_ref().map_or(LAB_RECEIVER_MAC, |host| host.mac));
        Ok(Self { probes: rules.iter().map(|rule| probes(plan, &rule.value, macs)).collect(), far: None })
    }

    /// The probes that another machine sends.
    pub(in crate::run) fn far(probes: Vec<Vec<Probe>>, send: &'a dyn Fn(ProbePlace) -> Result<()>) -> Self {
        Self { probes, far: Some(send) }
    }

    pub(in crate::run) fn probes(&self) -> &[Vec<Probe>] {
        &self.probes
    }

    /// Sends one of them, or has it sent.
    pub(in crate::run) fn send(&self, place: ProbePlace, testbed: &Testbed) -> Result<()> {
        if let Some(far) = self.far {
            return far(place);
        }
        let ProbePlace(rule, index) = place;
        let frame = self.probes.get(rule).and_then(|probes| probes.get(index)).and_then(Probe::frame);
        let frame = frame.ok_or_else(|| Failure::error(Diagnostic::error("there is no such probe")))?;
        testbed.sender().packet_sender()?.send(&[&frame], &mut Vec::new()).map(drop)
    }
}

/// Whether packets to each port are let through.
pub(super) fn find(scenario: &Scenario, probing: &Probing<'_>, testbed: &Testbed) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (number, (rule, probes)) in scenario.require.firewall.iter().zip(&probing.probes).enumerate() {
        let mut unmet = None;
        for (index, probe) in probes.iter().enumerate() {
            unmet = refused(probing, testbed, &rule.value, ProbePlace(number, index), probe)?;
            if unmet.is_some() {
                break;
            }
        }
        let seen = if unmet.is_some() { "stopped" } else { "let through" };
        findings.push(Finding {
            subject: format!("a packet to `{}`", rule.value),
            seen: seen.to_owned(),
            unmet: unmet.map(|problem| problem.at(&scenario.source, rule.span.clone())),
        });
    }
    Ok(findings)
}

/// A probe of each family that packets to this port come by: from the capture where they are in it, else any.
fn probes(plan: &Plan, rule: &Listener, macs: (MacAddr, MacAddr)) -> Vec<Probe> {
    let number = if rule.transport == Transport::Tcp { protocol::TCP } else { protocol::UDP };
    let mut ways: Vec<(IpAddr, IpAddr)> = Vec::new();
    for exact in [true, false] {
        // What the ruleset is predicted to drop is the very question.
        let comes = |end: Disposition| !matches!(end, Disposition::Lost(cause) if cause != Cause::NetfilterDrop);
        for prediction in plan.predictions.iter().filter(|prediction| comes(prediction.disposition)) {
            let Carried::Ip { source, destination, protocol, port } = prediction.class.key.carried else { continue };
            let is_it = protocol == number && port == Some(rule.port);
            let known = ways.iter().any(|(_, known)| known.is_ipv4() == destination.is_ipv4());
            let wanted = rule.address.is_none_or(|address| address == destination);
            if !known && wanted && (is_it || !exact) && !destination.is_multicast() {
                ways.push((source, destination));
            }
        }
        if !ways.is_empty() {
            break;
        }
    }
    let probe = |(source, destination)| Probe {
        macs,
        source: SocketAddr::new(source, SOURCE_PORT),
        destination: SocketAddr::new(destination, rule.port),
        tcp: rule.transport == Transport::Tcp,
    };
    ways.into_iter().map(probe).collect()
}

fn refused(
    probing: &Probing<'_>,
    testbed: &Testbed,
    listener: &Listener,
    place: ProbePlace,
    probe: &Probe,
) -> Result<Option<Diagnostic>> {
    let unknown = |why: String| {
        Ok(Some(
            Diagnostic::error(format!("whether packets to `{listener}` are let through can't be found out"))
                .why(why)
                .fix("use a kernel with nf_tables, or leave `firewall` out"),
        ))
    };
    // Where others send, too, counters count theirs.
    let is_shared = testbed.receiver().is_shared();
    let level = if is_shared { EvidenceLevel::Packets } else { EvidenceLevel::Counters };
    let mut taps = match testbed.receiver().taps(level, &[], None)? {
        Installed::Taps(taps) => taps,
        Installed::Absent(why) => return unknown(why),
    };
    if let Some(why) = taps.no_records.clone() {
        return unknown(why);
    }
    let (tries, patience) = if probing.far.is_some() { (FAR_TRIES, FAR_PATIENCE) } else { (1, PATIENCE) };
    let mut reached = BTreeSet::new();
    for _ in 0..tries {
        probing.send(place, testbed)?;
        let begun = Instant::now();
        while !reached.contains(&Hook::InputLast) && begun.elapsed() <= patience {
            if is_shared {
                taps.read(&mut |hook, packet| {
                    if is_from(packet, probe.source) {
                        reached.insert(hook);
                    }
                })?;
            } else {
                let counts = taps.counts()?;
                reached.extend(Hook::ALL.into_iter().filter(|hook| counts.get(*hook) > 0));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if !reached.is_empty() {
            break;
        }
    }
    let Some(stopped) = stopped(&reached) else { return Ok(None) };
    let Probe { source, destination, tcp, .. } = probe;
    let accept = format!("{} dport {} accept", if *tcp { "tcp" } else { "udp" }, listener.port);
    let problem = Diagnostic::error(format!("the packet filter does not let packets to `{listener}` through"))
        .why(format!("a probe from {source} to {destination} came {stopped}"));
    Ok(Some(if testbed.is_set_up_by_scenario() {
        problem.fix(format!("accept it in `[lab] ruleset`: `{accept}`"))
    } else if reached.is_empty() && probing.far.is_some() {
        Diagnostic { what: format!("a probe to `{listener}` did not arrive"), ..problem }
            .fix("look for what takes it between the two machines, beginning with the switches and routers there")
    } else {
        let firewall = testbed.receiver().firewall()?;
        let chain = firewall.input_chain().unwrap_or("inet filter input").to_owned();
        let prefix = testbed.command_prefix();
        problem.fix(format!("`{prefix}nft insert rule {chain} {accept}`; `{prefix}nft list ruleset` shows the rules"))
    }))
}

/// Whether a packet, of which this is the beginning, is from this address and port. Where it goes to a rule may have changed.
fn is_from(packet: &[u8], source: SocketAddr) -> bool {
    let layers = Layers::find(LinkType::RAW, packet);
    layers.addresses(packet).map(|(from, _)| from) == Some(source.ip())
        && layers.ports(packet).map(|(from, _)| from) == Some(source.port())
}

/// Where a probe ends that reached this hook and no later one, the last hook first.
const STOPPED: [(Hook, &str); 4] = [
    (Hook::InputFirst, "to the input hook, and not to its end: a rule or a policy there drops it"),
    (
        Hook::PreroutingLast,
        "past prerouting, and not to the input hook: it is not the filter, but routing that drops it",
    ),
    (Hook::PreroutingFirst, "to the prerouting hook, and not to its end: a rule or a policy there drops it"),
    (Hook::Ingress, "to the interface, and not to the prerouting hook: a rule of the netdev family drops it"),
];

/// Where a probe was stopped that reached these hooks; `None`: it was let through.
fn stopped(reached: &BTreeSet<Hook>) -> Option<&'static str> {
    let last = STOPPED.iter().find(|(hook, _)| reached.contains(hook));
    let place = last.map_or("not even to the interface's ingress hook", |(_, place)| place);
    (!reached.contains(&Hook::InputLast)).then_some(place)
}
