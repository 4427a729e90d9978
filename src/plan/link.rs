//! The link that frames are sent over: whose MACs it has, and how much it takes. Start at [`roles`].

use super::lab_host::{commonest, sender_mac};
use super::survey::Survey;
use super::{Facts, LAB_RECEIVER_MAC, LAB_SENDER_MAC, LinkFacts, Medium};
use crate::diagnostic::At;
use crate::rewrite::{Framing, Roles};
use crate::scenario::Scenario;
use crate::scenario::rewrite::{MacMap, MacTarget, Side};
use crate::scenario::topology::{LabMac, LabTopology};

/// What "sender" and "receiver" stand for as MACs.
pub fn roles(scenario: &Scenario, facts: &Facts) -> Roles {
    let topology = &scenario.topology;
    let mut roles = match topology.pair() {
        None => {
            let own = facts.sender.as_ref();
            Roles { sender: own.map(|own| own.mac), gateway: own.and_then(|own| own.gateway), ..Roles::default() }
        }
        Some(pair) => {
            let receiver = match pair.mac.value {
                LabMac::Literal(mac) => mac,
                LabMac::Captured => LAB_RECEIVER_MAC,
            };
            let addresses = facts.existing.as_ref().map(|there| there.first_addresses);
            Roles { sender: Some(sender_mac(receiver)), receiver: Some(receiver), addresses, gateway: None }
        }
    };
    // A host that stands for the receiver; with a target only the one where frames are looked at as they come.
    let stands = topology.agent().is_some() || topology.interface().is_none();
    if let Some(host) = facts.receiver.as_ref().filter(|_| stands) {
        (roles.receiver, roles.addresses) = (Some(host.mac), Some(host.first_addresses()));
    }
    roles
}

/// The roles where some frames go to the MAC that stands for the receiver and others to MACs that were captured: the receiver will have
/// the commonest of these, and what is made or mapped for it goes there as well.
pub(super) fn settled(scenario: &Scenario, roles: &Roles, survey: &Survey) -> Option<Roles> {
    let Some(LabTopology { mac: At { value: LabMac::Captured, .. }, .. }) = scenario.topology.pair() else {
        return None;
    };
    let placeholder = roles.receiver.filter(|mac| *mac == LAB_RECEIVER_MAC && survey.macs.contains_key(mac))?;
    let captured = commonest(survey.macs.iter().filter(|(mac, _)| **mac != placeholder))?.0;
    Some(Roles { sender: Some(sender_mac(captured)), receiver: Some(captured), ..*roles })
}

/// What the sending interface takes.
pub(super) fn medium_of(scenario: &Scenario, target: Option<&LinkFacts>, roles: &Roles) -> Medium {
    let pair_mtu = scenario.topology.pair().map(|pair| pair.mtu.value);
    let mtu = pair_mtu.or(target.map(|facts| facts.mtu)).unwrap_or(u32::MAX);
    // With a target, only a scenario that names one MAC for all destinations knows the receiver's.
    let named = scenario.rewrite.sides.iter().rev().filter(|maps| matches!(maps.side, Side::Destination | Side::Both));
    let mut named = named.filter_map(|maps| match &maps.mac {
        Some(MacMap::All(At { value: MacTarget::Literal(mac), .. })) => Some(*mac),
        _ => None,
    });
    let receiver = roles.receiver.or(named.next());
    Medium { mtu, framing: Framing { sender: roles.sender.unwrap_or(LAB_SENDER_MAC), receiver } }
}
