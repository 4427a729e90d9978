//! `[require] firewall`: does the receiver's ruleset let packets to a port through? A probe is sent, and the taps show how far it gets.
//!
//! Only while no application runs: it would get the probe. Start at [`find`].

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Finding;
use crate::cause::Cause;
use crate::diagnostic::{Diagnostic, Result};
use crate::outcome::{EvidenceLevel, Hook};
use crate::packet::layers::protocol;
use crate::packet::probe::Probe;
use crate::plan::{LAB_RECEIVER_MAC, Plan, lab_sender_mac};
use crate::predict::Carried;
use crate::predict::Disposition;
use crate::scenario::Scenario;
use crate::scenario::require::{Listener, Transport};
use crate::testbed::Testbed;
use crate::wire::taps::{Counts, Installed};

/// A probe is through in microseconds; on a busy machine it may take longer.
const PATIENCE: Duration = Duration::from_millis(200);
/// The probe's source port: discard (RFC 863), which no capture sends from.
const SOURCE_PORT: u16 = 9;

/// Whether packets to each port are let through.
pub(super) fn find(scenario: &Scenario, plan: Option<&Plan>, testbed: &Testbed) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    // Where frames come from elsewhere no probe can be sent.
    let Some(plan) = plan else { return Ok(findings) };
    for rule in &scenario.require.firewall {
        let mut unmet = None;
        for (source, destination) in ways(plan, &rule.value) {
            unmet = refused(plan, testbed, rule.value, source, destination)?;
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

/// One way of each family that packets to this port come: from the capture where they are in it, else any.
fn ways(plan: &Plan, rule: &Listener) -> Vec<(IpAddr, IpAddr)> {
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
    ways
}

fn refused(
    plan: &Plan,
    testbed: &Testbed,
    listener: Listener,
    source: IpAddr,
    destination: IpAddr,
) -> Result<Option<Diagnostic>> {
    let (from, to) = (SocketAddr::new(source, SOURCE_PORT), SocketAddr::new(destination, listener.port));
    let receiver = plan.host.as_ref().map_or(LAB_RECEIVER_MAC, |host| host.mac);
    let probe = Probe {
        macs: (lab_sender_mac(receiver), receiver),
        source: from,
        destination: to,
        tcp: listener.transport == Transport::Tcp,
    };
    let Some(frame) = probe.frame() else { return Ok(None) };
    let mut taps = match testbed.receiver().taps(EvidenceLevel::Counters, &[], None)? {
        Installed::Taps(taps) => taps,
        Installed::Absent(why) => {
            return Ok(Some(
                Diagnostic::error(format!("whether packets to `{listener}` are let through can't be found out"))
                    .why(why)
                    .fix("use a kernel with nf_tables, or leave `firewall` out"),
            ));
        }
    };
    let mut sender = testbed.sender().packet_sender()?;
    sender.send(&[&frame], &mut Vec::new())?;
    let begun = Instant::now();
    let counts = loop {
        let counts = taps.counts()?;
        if counts.get(Hook::InputLast) > 0 || begun.elapsed() > PATIENCE {
            break counts;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let Some(place) = stopped(&counts) else { return Ok(None) };
    Ok(Some(
        Diagnostic::error(format!("the packet filter does not let packets to `{listener}` through"))
            .why(format!("a probe from {from} to {to} came {place}"))
            .fix(format!(
                "accept it in `[lab] ruleset`: `{} dport {} accept`",
                if probe.tcp { "tcp" } else { "udp" },
                listener.port
            )),
    ))
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

/// Where a probe was stopped; `None`: it was let through.
fn stopped(counts: &Counts) -> Option<&'static str> {
    let last = STOPPED.iter().find(|(hook, _)| counts.get(*hook) > 0);
    let place = last.map_or("not even to the interface's ingress hook", |(_, place)| place);
    (counts.get(Hook::InputLast) == 0).then_some(place)
}
