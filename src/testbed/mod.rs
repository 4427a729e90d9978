//! Where a scenario runs. This is the one place that knows: a further kind of testbed is a variant of [`Testbed`], a file beside this one,
//! and its table in the scenario language.
//!
//! The kernel's state is changed only inside namespaces that a testbed made itself. Start at [`Testbed`].

mod existing;
mod lab;
mod link;
pub mod network;
pub(crate) mod polling;
pub mod receiving;
mod side;
pub mod target;

pub use side::Side;

use std::path::Path;

use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::figures::count;
use crate::host::Host;
use crate::host::interface::InterfaceKind;
use crate::plan::{Facts, Plan};
use crate::scenario::Scenario;
use crate::scenario::pacing::{Rate, SenderChoice};
use crate::scenario::placeholders::{Places, fill};
use crate::scenario::topology::Topology;
use crate::wire::ring::RingSize;
use crate::wire::sender::{Sender, xdp};
use existing::Existing;
use lab::Lab;
use receiving::Receiving;
use target::Target;

#[derive(Debug)]
pub enum Testbed {
    /// Two namespaces of restage's own, with a veth pair between them.
    Lab(Lab),
    /// A real interface of this machine; the receiver is behind it, where nothing can be observed.
    Target(Target),
    /// A namespace of this machine that is there already, with one end of a veth pair in it.
    Existing(Existing),
    /// An interface of this machine, where an agent runs: frames are sent from elsewhere.
    Receiving(Receiving),
}

/// The sizes of the receive rings of both sides.
#[derive(Debug, Clone, Copy)]
pub struct RingSizes {
    pub sender: RingSize,
    pub receiver: RingSize,
}

#[derive(Debug)]
pub struct OpenedSender {
    pub sender: Sender,
    pub why: String,
    /// Whether another processor takes in what is sent.
    pub is_received_elsewhere: bool,
}

impl OpenedSender {
    fn new(sender: Sender, why: impl Into<String>) -> Self {
        Self { sender, why: why.into(), is_received_elsewhere: false }
    }
}

impl Testbed {
    /// What is known of the place that a scenario names, before it is planned.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Invalid`] for a real interface that is not there or no Ethernet interface,
    /// [`crate::diagnostic::Kind::Blocked`] for one that is down.
    pub fn facts(scenario: &Scenario) -> Result<Facts> {
        match &scenario.topology {
            Topology::Lab(lab) => Ok(Facts { filter: lab::filter(lab, scenario), ..Facts::default() }),
            // Where others send, they are asked.
            Topology::Target { senders, .. } if !senders.is_empty() => Ok(Facts::default()),
            Topology::Target { interface, .. } => Ok(Facts {
                sender: Some(target::facts(interface, &scenario.source, scenario.rewrite.names_gateway())?),
                ..Facts::default()
            }),
            Topology::Existing(words) => existing::facts(words, scenario),
        }
    }

    /// A receiver on another machine, as frames reach it from here: they go to the MAC of the next hop.
    pub fn reached(scenario: &Scenario, host: Host) -> Result<Host> {
        match &scenario.topology {
            Topology::Target { interface, agent: Some(_), .. } => target::reached(&interface.value, host),
            _ => Ok(host),
        }
    }

    /// What is odd about sending these frames there.
    pub fn warnings(scenario: &Scenario, plan: &Plan) -> Result<Vec<Diagnostic>> {
        match &scenario.topology {
            Topology::Lab(_) | Topology::Existing(_) => Ok(Vec::new()),
            // What others know of their neighbours is not asked.
            Topology::Target { senders, .. } if !senders.is_empty() => Ok(Vec::new()),
            Topology::Target { interface, .. } => target::foreign_macs(interface, scenario, plan),
        }
    }

    /// Refuses a place that the caller has to allow, and has not: frames on a real interface reach other hosts, and the host's own network is
    /// not restage's to change.
    pub fn allow(scenario: &Scenario, interfaces: &[String], host: bool) -> Result<()> {
        match &scenario.topology {
            Topology::Lab(_) => Ok(()),
            Topology::Target { .. } => {
                scenario.topology.interfaces().try_for_each(|named| target::allow(named, &scenario.source, interfaces))
            }
            Topology::Existing(words) => existing::allow(words, &scenario.source, host),
        }
    }

    /// Refuses frames that go further than they may, or too fast: on a real interface they reach hosts of others.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`], with what allows it.
    pub fn limit(scenario: &Scenario, plan: &Plan, rate: Option<u64>) -> Result<()> {
        match &scenario.topology {
            Topology::Lab(_) | Topology::Existing(_) => Ok(()),
            Topology::Target { interface, .. } => target::limit(interface, scenario, plan, rate),
        }
    }

    /// Gets the permissions that the place needs; to be called while the process has one thread.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`], naming what refuses.
    pub fn enter(scenario: &Scenario) -> Result<()> {
        match &scenario.topology {
            Topology::Lab(_) => crate::host::namespace::enter().map(|_| ()),
            Topology::Target { .. } => Ok(()),
            Topology::Existing(words) => existing::enter(words, &scenario.source),
        }
    }

    /// Brings up the place that a scenario names. `rings`: the receive rings that will be asked for.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] when the kernel refuses it, [`crate::diagnostic::Kind::Invalid`] for a sysctl or a ruleset that
    /// it does not take.
    pub fn prepare(scenario: &Scenario, plan: &Plan, rings: Option<RingSizes>) -> Result<Self> {
        match &scenario.topology {
            Topology::Lab(lab) => Lab::prepare(lab, scenario, plan, rings).map(Self::Lab),
            Topology::Target { interface, .. } => Target::open(&interface.value).map(Self::Target),
            Topology::Existing(words) => Existing::prepare(words, scenario, plan).map(Self::Existing),
        }
    }

    /// The place that an agent observes.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Invalid`] where there is no such interface.
    pub fn receiving(interface: &str) -> Result<Self> {
        Receiving::open(interface).map(Self::Receiving)
    }

    pub fn sender(&self) -> &Side {
        match self {
            Self::Lab(lab) => &lab.sender,
            Self::Target(target) => &target.side,
            Self::Existing(existing) => &existing.sender,
            Self::Receiving(receiving) => &receiving.side,
        }
    }

    /// The side whose settings `[require]` checks, and that commands run in.
    pub fn receiver(&self) -> &Side {
        match self {
            Self::Lab(lab) => &lab.receiver,
            Self::Target(target) => &target.side,
            Self::Existing(existing) => &existing.receiver,
            Self::Receiving(receiving) => &receiving.side,
        }
    }

    /// The receiver's side, where what arrives can be observed.
    pub fn observed(&self) -> Option<&Side> {
        match self {
            Self::Lab(lab) => Some(&lab.receiver),
            Self::Target(_) => None,
            Self::Existing(existing) => Some(&existing.receiver),
            Self::Receiving(receiving) => Some(&receiving.side),
        }
    }

    /// What goes before a command of a remedy so that it runs where the receiver is: `ip netns exec NAME `, or nothing.
    pub fn command_prefix(&self) -> &str {
        match self {
            Self::Lab(_) | Self::Target(_) | Self::Receiving(_) => "",
            Self::Existing(existing) => &existing.prefix,
        }
    }

    /// Whether the scenario's own words set up the receiver's side, so that a remedy names them and not a command of the machine.
    pub fn is_set_up_by_scenario(&self) -> bool {
        match self {
            Self::Lab(_) => true,
            Self::Target(_) | Self::Existing(_) | Self::Receiving(_) => false,
        }
    }

    /// `text` with the placeholders replaced; `work` is the application's folder.
    pub fn fill(&self, text: &str, scenario: &Scenario, work: &Path) -> String {
        let places = Places {
            sender: self.sender().interface(),
            receiver: self.receiver().interface(),
            work,
            scenario: &scenario.folder,
        };
        fill(text, &places)
    }

    /// Opens the sender that the scenario names or, where it leaves the choice, the fastest that works here for this rate.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] when the one that is named does not work.
    pub fn open_sender(&self, scenario: &Scenario, plan: &Plan, rate: Rate) -> Result<OpenedSender> {
        let longest = longest_frame(plan);
        let choice = &scenario.pacing.sender;
        let xdp = || Ok(Sender::Xdp(Box::new(self.sender().xdp_sender()?)));
        let why = match choice.value {
            SenderChoice::Packet => "the scenario names it".to_owned(),
            SenderChoice::Xdp => {
                let opened = if longest > xdp::LONGEST { Err(too_long(longest)) } else { xdp() };
                let sender = opened.map_err(|failure| failure.at(&scenario.source, choice.span.as_ref()))?;
                return Ok(OpenedSender::new(sender, "the scenario names it"));
            }
            SenderChoice::Auto => match self.why_not_xdp(rate, longest) {
                Some(why) => why.to_owned(),
                None => match xdp() {
                    Ok(sender) => return Ok(OpenedSender::new(sender, "the fastest that works here, at top speed")),
                    Err(failure) => {
                        let first = failure.problems.first();
                        let what = first.map_or("", |problem| problem.what.as_str());
                        format!("{what}: {}", first.and_then(|problem| problem.why.as_deref()).unwrap_or_default())
                    }
                },
            },
        };
        Ok(OpenedSender::new(Sender::Packet(Box::new(self.sender().packet_sender()?.into())), why))
    }

    /// Why `AF_XDP` is not tried where the scenario leaves the choice.
    fn why_not_xdp(&self, rate: Rate, longest: usize) -> Option<&'static str> {
        let is_veth = |side: &Side| {
            side.facts(side.interface()).ok().flatten().is_some_and(|facts| facts.kind == InterfaceKind::Veth)
        };
        if matches!(self, Self::Target(target) if !is_veth(&target.side)) {
            Some("AF_XDP was measured on veth pairs only")
        } else if !matches!(rate, Rate::TopSpeed) {
            Some("frames go one by one at their deadlines, where AF_XDP gains nothing")
        } else if longest > xdp::LONGEST {
            Some("frames are longer than AF_XDP takes")
        } else {
            None
        }
    }

    /// Brings a second processor to the receiver's side, where that changes nothing but the speed.
    ///
    /// # Errors
    /// When a thread can't enter a namespace.
    pub fn receive_elsewhere(&self, opened: &mut OpenedSender) -> Result<()> {
        if let Self::Lab(lab) = self
            && lab.receive_elsewhere()?
        {
            opened.is_received_elsewhere = true;
            opened.why.push_str("; the receiver's interface is polled by another processor");
        }
        Ok(())
    }
}

/// The longest frame that may be sent, in bytes. The survey measures layer 3 packets, behind an Ethernet header with one tag; more tags are rare.
fn longest_frame(plan: &Plan) -> usize {
    plan.survey.longest as usize + 26
}

fn too_long(longest: usize) -> Failure {
    Failure::blocked(
        Diagnostic::error("AF_XDP does not send frames as long as these")
            .why(format!(
                "a frame may have {}, and one of these may have {longest}",
                count(xdp::LONGEST as u64, "byte")
            ))
            .fix("say `sender = \"packet\"`, or leave it out"),
    )
}
