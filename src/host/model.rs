//! What is known of a receiver before anything is sent: its interface, addresses, routes, sysctls and sockets. Start at [`Host`].

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use serde::{Deserialize, Serialize};

use super::filter::Filter;
use super::firewall::Firewall;
use super::interface::{self, InterfaceFacts, InterfaceKind};
use super::routes::RouteTable;
use super::settings::Settings;
use super::sockets::{Arrival, Socket};
use super::surroundings::Surroundings;
use super::{groups, sysctl};
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::packet::MacAddr;
use crate::scenario::require::{Listener, Transport};
use crate::scenario::topology::EXISTING_RECEIVER;

/// A network namespace as seen from one of its interfaces, where packets arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub interface: InterfaceFacts,
    pub mac: MacAddr,
    /// Whether it is an interface of this machine, and not the lab's.
    pub real: bool,
    /// What goes before a command so that it runs in its namespace: `ip netns exec NAME `; empty where it is restage's own.
    pub command_prefix: String,
    /// The bridge, bond or VRF that takes its frames.
    pub master: Option<String>,
    /// The VLAN interfaces on it, which take tagged frames.
    pub vlans: Vec<String>,
    /// Its addresses. Those of other interfaces are local all the same: they are in `routes`.
    pub addresses: Vec<IpNet>,
    /// Where packets go that arrive on the interface: what is local, broadcasts, ways back, ways on.
    pub routes: RouteTable,
    /// Policy rules beyond the three that every machine has.
    pub further_rules: usize,
    pub settings: Settings,
    /// UDP sockets and TCP listeners that are bound, or will be.
    pub sockets: Vec<Socket>,
    /// The sockets that make the receiver ready: a plan says which.
    #[serde(skip)]
    pub listens: Vec<Listener>,
    pub firewall: Firewall,
    pub filter: Filter,
    /// Groups that are joined on the interface, or will be; `None` where the application decides.
    pub joined: Option<BTreeSet<IpAddr>>,
}

impl Host {
    /// A lab's receiver with nothing but an interface that is up, with an MTU of 1500 bytes.
    pub fn of_lab(name: &str, mac: MacAddr) -> Self {
        Self {
            interface: InterfaceFacts::veth(name, mac),
            mac,
            real: false,
            command_prefix: String::new(),
            master: None,
            vlans: Vec::new(),
            addresses: Vec::new(),
            routes: RouteTable::default(),
            further_rules: 0,
            settings: Settings::default(),
            sockets: Vec::new(),
            listens: Vec::new(),
            firewall: Firewall::None,
            filter: Filter::None,
            joined: None,
        }
    }

    /// Reads the calling thread's network namespace. No privilege.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::diagnostic::Kind::Invalid) for an interface that isn't there or isn't Ethernet,
    /// [`Kind::Blocked`](crate::diagnostic::Kind::Blocked) where the kernel can't list sockets.
    pub fn read(name: &str) -> Result<Self> {
        let interface = interface::existing(name)?;
        let Some(mac) = interface.mac else {
            return Err(Failure::invalid(
                Diagnostic::error(format!("`{name}` is not an Ethernet interface"))
                    .why("its frames have no MAC addresses, and captures of Ethernet don't come in there")
                    .fix("name one that `ip -br link` lists with a MAC address"),
            ));
        };
        let Surroundings { links, addresses, routes, further_rules, sockets, firewall, .. } = Surroundings::read()?;
        let name_of = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
        Ok(Self {
            mac,
            real: true,
            command_prefix: String::new(),
            master: interface.master.and_then(name_of),
            vlans: links
                .into_iter()
                .filter(|link| link.vlan_on == Some(interface.index))
                .map(|link| link.name)
                .collect(),
            addresses: addresses.iter().filter(|(index, _)| *index == interface.index).map(|(_, net)| *net).collect(),
            // Link-local addresses are each interface's own.
            routes: routes.into_iter().filter(|route| !route.is_link_local() || route.device == name).collect(),
            further_rules,
            settings: Settings::of(name, sysctl::read),
            sockets,
            listens: Vec::new(),
            filter: Filter::behind(&firewall),
            firewall,
            joined: Some(groups::joined(interface.index)),
            interface,
        })
    }

    /// Whether restage makes its interface in a namespace that is there already.
    pub fn is_there_already(&self) -> bool {
        self.interface.name == EXISTING_RECEIVER
    }

    /// Whether it is the receiver of a run that restage does not make: a scenario decides which frames it gets.
    pub fn is_of_a_run(&self) -> bool {
        self.is_there_already() || !self.command_prefix.is_empty()
    }

    /// Whether the interface is the loopback, which takes loopback addresses of IPv6.
    pub fn is_loopback(&self) -> bool {
        self.interface.kind == InterfaceKind::Loopback
    }

    /// A UDP datagram that arrives on the interface. Without a source port, it may come from any port of its source.
    pub fn arrival(&self, source: (IpAddr, Option<u16>), destination: IpAddr, port: u16) -> Arrival<'_> {
        let interface = Some(self.interface.name.as_str());
        Arrival { transport: Transport::Udp, source: Some(source), destination, port, interface }
    }

    /// The first IPv4 and the first IPv6 address of the interface; of IPv6, one that is not link-local before one that is.
    pub fn first_addresses(&self) -> (Option<IpAddr>, Option<IpAddr>) {
        let of = |v4: bool| self.addresses.iter().map(IpNet::addr).filter(move |address| address.is_ipv4() == v4);
        let is_link_local =
            |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        (of(true).next(), of(false).find(|address| !is_link_local(address)).or_else(|| of(false).next()))
    }

    /// What the interface has that a prediction does not consider.
    pub fn caveats(&self) -> Vec<Diagnostic> {
        let name = &self.interface.name;
        let down = Diagnostic::warning(format!("`{name}` is down: nothing comes in there"))
            .why("the prediction takes it for up")
            .fix(format!("`ip link set {name} up`"));
        let master = self.master.as_ref().map(|master| {
            Diagnostic::warning(format!("`{name}` belongs to `{master}`, which takes its frames"))
                .why("a bridge, bond or VRF is not looked at: the prediction takes the interface for itself")
                .fix(format!("ask about `{master}`"))
        });
        let rules = match self.further_rules {
            1 => "1 policy rule is".to_owned(),
            more => format!("{more} policy rules are"),
        };
        let rules = Diagnostic::note(format!("{rules} not looked at"))
            .why("only the tables local, main and default are")
            .fix("`ip rule` and `ip -6 rule` list them");
        let vlans = Diagnostic::note(format!(
            "tagged frames go to {}, if their tag is theirs: what becomes of them there is not looked at",
            self.vlans.join(", ")
        ));
        [
            (!self.interface.up).then_some(down),
            master,
            (self.further_rules > 0).then_some(rules),
            (!self.vlans.is_empty()).then_some(vlans),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
