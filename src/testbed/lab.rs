//! `[lab]`: two namespaces of restage's own, as a scenario describes them.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, mpsc};
use std::thread;

use super::network::{LabNetwork, LabPlan};
use super::side::RingThread;
use super::{RingSizes, Side, polling};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::file::read_source;
use crate::host::Filter;
use crate::host::namespace::Namespace;
use crate::host::ruleset;
use crate::packet::layers::protocol;
use crate::plan::{Plan, lab_sender_mac};
use crate::predict::Carried;
use crate::scenario::Scenario;
use crate::scenario::pacing::{Rate, SenderChoice};
use crate::scenario::placeholders::fill_receiver;
use crate::scenario::require::Offload;
use crate::scenario::topology::{LAB_RECEIVER, LAB_SENDER, LabTopology, Routes, Ruleset};
use crate::wire::ring::{Ring, RingSize};
use crate::wire::sender::xdp;

/// To switch polling on takes as long as it gains with so many frames.
const WORTH_POLLING: u64 = 10_000;

/// A lab that is up. It ends with the last descriptor, socket and process in its namespaces.
#[derive(Debug)]
pub struct Lab {
    pub(super) sender: Side,
    pub(super) receiver: Side,
    /// Whether another processor can poll the receiver's interface.
    can_be_polled: bool,
}

impl Lab {
    pub(super) fn prepare(
        words: &LabTopology,
        scenario: &Scenario,
        plan: &Plan,
        rings: Option<RingSizes>,
    ) -> Result<Self> {
        let Some(receiver) = &plan.host else {
            return Err(Failure::error(Diagnostic::error("the plan of a lab has no receiver")));
        };
        let lab_plan = LabPlan {
            mtu: words.mtu.value,
            receiver_mac: receiver.mac,
            sender_mac: lab_sender_mac(receiver.mac),
            addresses: receiver.addresses.clone(),
            routes: match &words.routes.value {
                Routes::Sources => LabPlan::default().routes,
                Routes::Prefixes(prefixes) => prefixes.clone(),
            },
            sysctl: words.sysctl.iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect(),
            reassembly: plan.lab_reassembly,
            polled: is_worth_polling(scenario, plan),
            existing: None,
        };
        let (sender, receiver) = (Namespace::create()?, Namespace::create()?);
        // The kernel takes longer for a ring than for all that follows, unless it makes a veth pair at the same time. Each ring waits for that until
        // its end of a channel is dropped.
        let mut waiting = Vec::new();
        let mut ring = |namespace: &Namespace, interface: &'static str, size: Option<RingSize>| -> Option<RingThread> {
            let (namespace, mtu, size) = (namespace.try_clone().ok()?, lab_plan.mtu, size?);
            let (pair, begins) = mpsc::channel::<()>();
            waiting.push(pair);
            let ready = move || _ = begins.recv();
            let make = move || namespace.enter_thread().and_then(|()| Ring::unbound(interface, mtu, size, &ready));
            thread::Builder::new().name("ring".to_owned()).spawn(make).ok()
        };
        let sender_ring = ring(&sender, LAB_SENDER, rings.map(|rings| rings.sender));
        let receiver_ring = ring(&receiver, LAB_RECEIVER, rings.map(|rings| rings.receiver));
        let up = LabNetwork::up_in(sender, receiver, &lab_plan, || drop(waiting)).map_err(|mut not_up| {
            for (problem, index) in not_up.failure.problems.iter_mut().zip(not_up.sysctl) {
                let span = words.sysctl.get(index).map(|setting| setting.span.clone());
                *problem = problem.clone().at(&scenario.source, span);
            }
            not_up.failure
        })?;
        let side = |namespace, interface, ring| Side { ring: Mutex::new(ring), ..Side::own(namespace, interface) };
        let lab = Self {
            sender: side(up.sender, LAB_SENDER, sender_ring),
            receiver: side(up.receiver, LAB_RECEIVER, receiver_ring),
            can_be_polled: up.can_be_polled,
        };
        if let Some(ruleset) = &words.ruleset {
            text(&ruleset.value)
                .and_then(|(text, name)| {
                    let text = fill_receiver(&text, LAB_RECEIVER);
                    ruleset::load(&lab.receiver.namespace, &text, &name, &scenario.folder)
                })
                .map_err(|failure| failure.at(&scenario.source, ruleset.span.as_ref()))?;
        }
        Ok(lab)
    }

    /// Has the receiver's interface polled by another processor, where that was prepared and one is free; whether it is.
    pub(super) fn receive_elsewhere(&self) -> Result<bool> {
        let is_polled = &self.receiver.is_polled;
        if !is_polled.load(Ordering::Relaxed)
            && self.can_be_polled
            && polling::has_free_processor()
            && polling::poll(&self.sender.namespace, &self.receiver.namespace)?
        {
            is_polled.store(true, Ordering::Relaxed);
        }
        Ok(is_polled.load(Ordering::Relaxed))
    }
}

/// Whether another processor is to poll the receiver's interface at top speed: not where that takes longer than it gains, and only where it changes
/// nothing but the speed. That is not so for an application, nor for TCP and tunnels, whose segments the kernel would merge, nor where the scenario
/// requires offloads that it changes.
fn is_worth_polling(scenario: &Scenario, plan: &Plan) -> bool {
    let merges = |protocol| matches!(protocol, protocol::TCP | protocol::GRE | protocol::IPV4 | protocol::IPV6);
    let may_merge = plan
        .predictions
        .iter()
        .any(|prediction| matches!(prediction.class.key.carried, Carried::Ip { protocol, .. } if merges(protocol)));
    // What a polled interface needs: receive offload here, and segmentation left alone there.
    let may_not = scenario.require.interface.iter().any(|rule| {
        let refuses = |offload, on| rule.offloads.iter().any(|wanted| wanted.offload == offload && wanted.on == on);
        (rule.name == LAB_RECEIVER && refuses(Offload::GenericReceive, false))
            || (rule.name == LAB_SENDER && refuses(Offload::TcpSegmentation, true))
    });
    // Where it does not work here, nothing polls either.
    let may_be_xdp = scenario.pacing.sender.value != SenderChoice::Packet && super::longest_frame(plan) <= xdp::LONGEST;
    plan.frames() >= WORTH_POLLING
        && matches!(scenario.pacing.rate.value, Rate::TopSpeed | Rate::MaxLossless)
        && scenario.receiver.program.command.is_none()
        && !(may_not || may_merge)
        && plan.survey.unclassed.is_empty()
        && (!may_be_xdp || polling::gains())
}

/// The text of a ruleset, and what errors call it.
fn text(ruleset: &Ruleset) -> Result<(String, String)> {
    match ruleset {
        Ruleset::Text(text) => Ok((text.clone(), "ruleset".to_owned())),
        Ruleset::File(path) => {
            let source = read_source(path).map_err(|mut failure| {
                let fix = "write the path relative to the scenario's folder; the file is text, as `nft -f` reads it";
                for problem in &mut failure.problems {
                    problem.fix.get_or_insert(fix.to_owned());
                }
                failure
            })?;
            Ok((source.text.clone(), path.display().to_string()))
        }
    }
}

/// The rules that the receiver of the lab will have, as the kernel shows them: they are loaded into a namespace of their own.
pub(super) fn filter(words: &LabTopology, scenario: &Scenario) -> Filter {
    let Some(ruleset) = &words.ruleset else { return Filter::None };
    let Ok((text, _)) = text(&ruleset.value) else {
        return Filter::Unseen("the file can't be read".to_owned());
    };
    let folder = scenario.source.path.parent().unwrap_or(Path::new("."));
    match ruleset::list(&fill_receiver(&text, LAB_RECEIVER), folder, LAB_RECEIVER) {
        Ok(json) => Filter::read(&json),
        Err(why) => Filter::Unseen(why),
    }
}
