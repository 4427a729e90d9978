//! Where a run takes place: a lab of our own, or a real interface.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::diagnostic::{At, Diagnostic, Failure, Result};
use crate::figures::count;
use crate::file::read_source;
use crate::host::Filter;
use crate::host::capabilities::Capabilities;
use crate::host::namespace::{self, Namespace};
use crate::host::ruleset;
use crate::host::{interface, neighbours};
use crate::packet::layers::protocol;
use crate::plan::{Plan, TargetFacts, lab_sender_mac};
use crate::predict::Carried;
use crate::scenario::Scenario;
use crate::scenario::pacing::{Rate, SenderChoice};
use crate::scenario::placeholders::{Places, fill, fill_receiver};
use crate::scenario::require::Offload;
use crate::scenario::rewrite::MacMap;
use crate::scenario::topology::{LAB_RECEIVER, LAB_SENDER, Routes, Ruleset, Topology};
use crate::testbed::network::{Lab, LabPlan, LabRoutes};
use crate::testbed::polling;
use crate::wire::sender::{PacketSender, Sender, XdpSender, xdp};

/// So many destinations of a target are looked up in the neighbour table.
const MOST_NEIGHBOURS: usize = 256;

/// Where a run takes place.
#[derive(Debug)]
pub(super) struct Site {
    /// The namespace that frames are sent in.
    pub(super) sender: Namespace,
    /// The namespace of the receiver; with a target, the one that restage runs in.
    pub(super) receiver: Namespace,
    /// Whether the receiver's side can be observed.
    pub(super) observed: bool,
    /// The sending interface.
    pub(super) sender_interface: String,
    /// The receiving interface.
    pub(super) receiver_interface: String,
    /// The scenario's folder, absolute.
    scenario_folder: PathBuf,
}

/// A way to send that works here.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) sender: Sender,
    /// Why this one.
    pub(super) why: String,
}

/// Makes sure that namespaces can be made; before the process has threads. The capabilities from before that.
///
/// # Errors
/// [`crate::diagnostic::Kind::Blocked`], naming what refuses.
pub fn enter(scenario: &Scenario) -> Result<Capabilities> {
    let capabilities = Capabilities::read();
    match scenario.topology {
        Topology::Lab(_) => namespace::enter().map(|_| capabilities),
        Topology::Target { .. } => Ok(capabilities),
    }
}

/// What is known of the target's interface; `None` with a lab.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] for an interface that isn't there or can't carry Ethernet,
/// [`crate::diagnostic::Kind::Blocked`] for one that the command line does not allow or that is down.
pub fn target_facts(scenario: &Scenario, allowed: &[String]) -> Result<Option<TargetFacts>> {
    let Topology::Target { interface: named } = &scenario.topology else { return Ok(None) };
    let name = &named.value;
    let problem = |what: String| Diagnostic::error(what).at(&scenario.source, named.span.clone());
    if !allowed.contains(name) {
        return Err(Failure::blocked(
            problem(format!("sending on the real interface `{name}` is not allowed"))
                .why("frames on a real interface reach other hosts: the command line must name it as well")
                .fix(format!("`restage run --allow-interface {name} …`, if that network may have these frames")),
        ));
    }
    let Some(facts) = interface::facts(name)? else {
        return Err(Failure::invalid(
            problem(format!("there is no interface `{name}`"))
                .why(format!("there are: {}", interface::names()?.join(", "))),
        ));
    };
    let Some(mac) = facts.mac else {
        return Err(Failure::invalid(problem(format!("`{name}` is not an Ethernet interface"))));
    };
    if !facts.up {
        return Err(Failure::blocked(problem(format!("`{name}` is down")).fix(format!("`ip link set {name} up`"))));
    }
    Ok(Some(TargetFacts { mac, mtu: facts.mtu_bytes }))
}

/// As [`target_facts`], where nothing is sent, so that nobody has to allow the interface.
///
/// # Errors
/// As [`target_facts`].
pub fn named_target(scenario: &Scenario) -> Result<Option<TargetFacts>> {
    let Topology::Target { interface } = &scenario.topology else { return Ok(None) };
    target_facts(scenario, std::slice::from_ref(&interface.value))
}

/// Frames to a target whose destination MAC is none that this machine itself would use: most often still the captured one, which nothing
/// on this network has. Silent where a scenario gives all frames a MAC.
///
/// # Errors
/// When the kernel doesn't answer.
pub fn foreign_macs(scenario: &Scenario, plan: &Plan) -> Result<Vec<Diagnostic>> {
    let Topology::Target { interface } = &scenario.topology else { return Ok(Vec::new()) };
    let is_chosen = scenario.rewrite.sides.iter().any(|maps| matches!(maps.mac, Some(MacMap::All(_))));
    if is_chosen {
        return Ok(Vec::new());
    }
    let destinations: BTreeSet<IpAddr> =
        plan.sent_to.iter().map(|(address, _)| *address).take(MOST_NEIGHBOURS).collect();
    let hops = neighbours::next_hops(&interface.value, &destinations)?;
    let mut told = BTreeSet::new();
    let mut warnings = Vec::new();
    for (destination, mac) in &plan.sent_to {
        let Some(hop) = hops.get(destination).filter(|hop| hop.mac != *mac) else { continue };
        if !told.insert((*mac, hop.mac)) {
            continue;
        }
        let whose = if hop.address == *destination {
            format!("{destination} has {}", hop.mac)
        } else {
            format!("{destination} is behind {}, which has {}", hop.address, hop.mac)
        };
        warnings.push(
            Diagnostic::warning(format!(
                "frames to {destination} go to the MAC {mac}, and this machine knows another one"
            ))
            .at(&scenario.source, interface.span.clone())
            .why(format!(
                "by `ip neigh show dev {}`, {whose}; the host with another MAC drops the frames",
                interface.value
            ))
            .fix(format!("`[rewrite.destination] mac = {{ \"{mac}\" = \"{}\" }}`", hop.mac)),
        );
    }
    Ok(warnings)
}

impl Site {
    /// Brings the lab up, or opens the machine's own namespace.
    pub(super) fn up(scenario: &Scenario, plan: &Plan) -> Result<Self> {
        let scenario_folder = std::path::absolute(&scenario.folder).unwrap_or_else(|_| scenario.folder.clone());
        let (lab, site) = match (&scenario.topology, &plan.host) {
            (Topology::Lab(lab), Some(site)) => (lab, site),
            (Topology::Target { interface }, _) => {
                return Ok(Self {
                    sender: Namespace::current()?,
                    receiver: Namespace::current()?,
                    observed: false,
                    sender_interface: interface.value.clone(),
                    receiver_interface: interface.value.clone(),
                    scenario_folder,
                });
            }
            (Topology::Lab(_), None) => {
                return Err(Failure::error(Diagnostic::error("the plan of a lab has no receiver")));
            }
        };
        let lab_plan = LabPlan {
            mtu: lab.mtu.value,
            receiver_mac: site.mac,
            sender_mac: lab_sender_mac(site.mac),
            addresses: site.addresses.clone(),
            routes: match &lab.routes.value {
                Routes::Sources => LabRoutes::Default,
                Routes::Prefixes(prefixes) => LabRoutes::Prefixes(prefixes.iter().map(IpNet::trunc).collect()),
            },
            sysctl: lab.sysctl.iter().map(|setting| (setting.key.clone(), setting.value.clone())).collect(),
            reassembly: plan.lab_reassembly,
            unprivileged_ports: true,
        };
        let up = Lab::up(&lab_plan).map_err(|mut not_up| {
            for (problem, index) in not_up.failure.problems.iter_mut().zip(not_up.sysctl) {
                let span = lab.sysctl.get(index).map(|setting| setting.span.clone());
                *problem = problem.clone().at(&scenario.source, span);
            }
            not_up.failure
        })?;
        let site = Self {
            sender: up.sender,
            receiver: up.receiver,
            observed: true,
            sender_interface: LAB_SENDER.to_owned(),
            receiver_interface: LAB_RECEIVER.to_owned(),
            scenario_folder,
        };
        if let Some(ruleset) = &lab.ruleset {
            site.load(ruleset).map_err(|mut failure| {
                for problem in &mut failure.problems {
                    *problem = problem.clone().at(&scenario.source, ruleset.span.clone());
                }
                failure
            })?;
        }
        Ok(site)
    }

    /// Loads the receiver's ruleset.
    fn load(&self, ruleset: &At<Ruleset>) -> Result<()> {
        let (text, name) = ruleset_text(&ruleset.value)?;
        let text = fill_receiver(&text, &self.receiver_interface);
        ruleset::load(&self.receiver, &text, &name, &self.scenario_folder)
    }

    /// Moves the calling thread to the receiver's side. What reads there is to be in its namespace, as an application is: by that the
    /// kernel's drop reasons tell whose packet it is that is found to be wrong only when it is read.
    pub(super) fn enter_receiver(&self) -> Result<()> {
        if self.observed { self.receiver.enter_thread() } else { Ok(()) }
    }

    /// Opens the way to send that the scenario names or, where it leaves the choice, the fastest that works here for this rate.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] when the one that is named does not work.
    pub(super) fn open_sender(&self, scenario: &Scenario, plan: &Plan, rate: Rate) -> Result<Opened> {
        let packet = || -> Result<Sender> {
            let sender = self.sender.run(|| PacketSender::open(&self.sender_interface))??;
            Ok(Sender::Packet(Box::new(sender.into())))
        };
        let xdp = || -> Result<Sender> {
            let sender = self.sender.run(|| XdpSender::open(&self.sender_interface))??;
            Ok(Sender::Xdp(Box::new(sender)))
        };
        let choice = &scenario.pacing.sender;
        // Frames have at most 18 bytes before their layer 3 packet (802.1Q), which is what the survey measures; more tags are rare.
        let longest = plan.survey.longest as usize + 26;
        let at = |mut failure: Failure| {
            for problem in &mut failure.problems {
                *problem = problem.clone().at(&scenario.source, choice.span.clone());
            }
            failure
        };
        match choice.value {
            SenderChoice::Packet => Ok(Opened { sender: packet()?, why: "the scenario names it".to_owned() }),
            SenderChoice::Xdp if longest > xdp::LONGEST => Err(at(Failure::blocked(
                Diagnostic::error("AF_XDP does not send frames as long as these")
                    .why(format!(
                        "a frame may have {}, and one of these may have {longest}",
                        count(xdp::LONGEST as u64, "byte")
                    ))
                    .fix("say `sender = \"packet\"`, or leave it out"),
            ))),
            SenderChoice::Xdp => Ok(Opened { sender: xdp().map_err(at)?, why: "the scenario names it".to_owned() }),
            SenderChoice::Auto => {
                let why = if !self.observed {
                    "AF_XDP was measured in the lab only"
                } else if !matches!(rate, Rate::TopSpeed) {
                    "frames go one by one at their deadlines, where AF_XDP gains nothing"
                } else if longest > xdp::LONGEST {
                    "frames are longer than AF_XDP takes"
                } else {
                    match xdp() {
                        Ok(sender) => {
                            return Ok(Opened { sender, why: "the fastest that works here, at top speed".to_owned() });
                        }
                        Err(failure) => {
                            let said = failure.problems.first().map_or("", |problem| problem.what.as_str());
                            let why = failure.problems.first().and_then(|problem| problem.why.as_deref());
                            return Ok(Opened {
                                sender: packet()?,
                                why: format!("{said}: {}", why.unwrap_or_default()),
                            });
                        }
                    }
                };
                Ok(Opened { sender: packet()?, why: why.to_owned() })
            }
        }
    }

    /// Brings a second processor to the receiver's side, where that changes nothing but the speed: not for TCP and tunnels, whose
    /// segments the kernel would merge, and not where the scenario requires offloads that it changes. What to say of it.
    pub(super) fn receive_elsewhere(&self, scenario: &Scenario, plan: &Plan) -> Result<&'static str> {
        let merges = |protocol| matches!(protocol, protocol::TCP | protocol::GRE | protocol::IPV4 | protocol::IPV6);
        let may_merge = plan
            .predictions
            .iter()
            .any(|prediction| matches!(prediction.key.carried, Carried::Ip { protocol, .. } if merges(protocol)));
        // What a polled interface needs: receive offload here, and segmentation left alone there.
        let may_not = scenario.require.interface.iter().any(|rule| {
            let refuses = |offload, on| rule.offloads.iter().any(|wanted| wanted.offload == offload && wanted.on == on);
            (rule.name == self.receiver_interface && refuses(Offload::GenericReceive, false))
                || (rule.name == self.sender_interface && refuses(Offload::TcpSegmentation, true))
        });
        if !self.observed || may_not || may_merge || !plan.survey.unclassed.is_empty() {
            return Ok("");
        }
        let done = polling::poll_in_a_thread(&self.sender, &self.receiver)?;
        Ok(if done { "; the receiver's interface is polled by another processor" } else { "" })
    }

    /// `text` with the placeholders replaced; `work` is the application's folder.
    pub(super) fn fill(&self, text: &str, work: &Path) -> String {
        let places = Places {
            sender: &self.sender_interface,
            receiver: &self.receiver_interface,
            work,
            scenario: &self.scenario_folder,
        };
        fill(text, &places)
    }
}

/// The text of a ruleset, and its name.
fn ruleset_text(ruleset: &Ruleset) -> Result<(String, String)> {
    Ok(match ruleset {
        Ruleset::Text(text) => (text.clone(), "ruleset".to_owned()),
        Ruleset::File(path) => {
            let fix = "write the path relative to the scenario's folder; the file is text, as `nft -f` reads it";
            let source = read_source(path).map_err(|mut failure| {
                for problem in &mut failure.problems {
                    problem.fix.get_or_insert(fix.to_owned());
                }
                failure
            })?;
            (source.text.clone(), path.display().to_string())
        }
    })
}

/// The rules that the receiver of a scenario's lab will have, as the kernel shows them: they are loaded into a namespace of their own.
pub fn listed_ruleset(scenario: &Scenario) -> Filter {
    let Topology::Lab(lab) = &scenario.topology else { return Filter::None };
    let Some(ruleset) = &lab.ruleset else { return Filter::None };
    let Ok((text, _)) = ruleset_text(&ruleset.value) else {
        return Filter::Unseen("the file can't be read".to_owned());
    };
    let folder = scenario.source.path.parent().unwrap_or(std::path::Path::new("."));
    match ruleset::list(&fill_receiver(&text, LAB_RECEIVER), folder, LAB_RECEIVER) {
        Ok(json) => match crate::host::Ruleset::read(&json) {
            Some(rules) => Filter::Rules(rules),
            None => Filter::Unseen("`nft` lists it in a form that is not known".to_owned()),
        },
        Err(why) => Filter::Unseen(why),
    }
}
