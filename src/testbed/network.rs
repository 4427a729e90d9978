//! The two namespaces of a scenario: sender and receiver, a veth pair between them, and a receiver whose settings are known.
//!
//! Nothing that happens in there reaches the machine, and nothing of the machine's configuration reaches in: a new namespace
//! inherits the IPv4 settings of the host, so all of them are written. Start reading at [`LabNetwork::up`].

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::link::End;
use super::polling;
use crate::diagnostic::{Diagnostic, Failure, Kind, Result};
use crate::host::ethtool;
use crate::host::namespace::Namespace;
use crate::host::rtnetlink::RouteSocket;
use crate::host::settings::write_lab_defaults;
use crate::host::sysctl;
use crate::packet::MacAddr;
use crate::scenario::topology::{EXISTING_RECEIVER, LAB_RECEIVER, LAB_SENDER};

/// The sender's MAC address, where nothing else is said.
pub const SENDER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// The receiver's MAC address, where nothing else is said.
pub const RECEIVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// The next hops of every way back: link-local addresses that the receiver does not have, and that are no broadcast or anycast address of
/// its networks. Permanent neighbours give them the sender's MAC address.
fn next_hops(plan: &LabPlan) -> [Option<IpAddr>; 2] {
    let own = plan.addresses.iter().flat_map(|net| [net.addr(), net.network(), net.broadcast()]);
    let own = own.chain(plan.existing.iter().flatten().copied());
    let taken: HashSet<IpAddr> = own.chain([plan.receiver_mac.link_local().into()]).collect();
    let first = [IpAddr::from(Ipv4Addr::new(169, 254, 0, 1)), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into()];
    first.map(|first| {
        let mut hosts = IpNet::new(first, if first.is_ipv4() { 16 } else { 64 }).ok()?.hosts();
        hosts.find(|host| *host >= first && !taken.contains(host))
    })
}

/// So many addresses are given to the interface one by one; more become routes of the local table.
const MOST_ADDRESSES: usize = 256;

/// The smallest MTU with which an interface has IPv6 (RFC 8200, section 5).
const IPV6_LEAST_MTU: u32 = 1280;

/// A veth pair has its carrier as soon as both ends are up; this is how long a stuck kernel is waited for.
const CARRIER_LIMIT: Duration = Duration::from_secs(5);

/// What a lab is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabPlan {
    /// The largest layer 3 packet of both interfaces, in bytes; 68 to 65,535.
    pub mtu: u32,
    pub receiver_mac: MacAddr,
    /// The sender's MAC address, to which every reply goes.
    pub sender_mac: MacAddr,
    /// The receiver's addresses. One with a prefix shorter than /32 or /128 has its prefix as a route, and its broadcast
    /// addresses.
    pub addresses: Vec<IpNet>,
    /// Those that it has a way back to, by prefix.
    pub routes: Vec<IpNet>,
    /// Dotted keys and values, set in the receiver's namespace in this order before the interfaces come up.
    pub sysctl: Vec<(String, String)>,
    /// How long the receiver waits for the fragments of a datagram, in whole seconds.
    pub reassembly: Duration,
    /// Whether a kernel thread is to poll the receiver's interface, later.
    pub polled: bool,
    /// Where the receiver's namespace is there already, the addresses that it has beside these; `None`: it is new.
    pub existing: Option<HashSet<IpAddr>>,
}

impl Default for LabPlan {
    /// A receiver without an address.
    fn default() -> Self {
        Self {
            mtu: 1500,
            receiver_mac: RECEIVER_MAC,
            sender_mac: SENDER_MAC,
            addresses: Vec::new(),
            routes: vec![Ipv4Net::default().into(), Ipv6Net::default().into()],
            sysctl: Vec::new(),
            reassembly: Duration::from_secs(1),
            polled: false,
            existing: None,
        }
    }
}

impl LabPlan {
    /// The name of the receiver's interface.
    fn interface(&self) -> &'static str {
        if self.existing.is_some() { EXISTING_RECEIVER } else { LAB_RECEIVER }
    }
}

/// Why a lab did not come up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUp {
    /// The problems, without a place.
    pub failure: Failure,
    /// For each problem of `failure`, in order, the entry of [`LabPlan::sysctl`] that it is about; empty where the problems
    /// are about something else.
    pub sysctl: Vec<usize>,
}

impl From<Failure> for NotUp {
    fn from(failure: Failure) -> Self {
        Self { failure, sysctl: Vec::new() }
    }
}

impl From<NotUp> for Failure {
    fn from(not_up: NotUp) -> Self {
        not_up.failure
    }
}

/// A lab that is up. It ends with the last descriptor, socket and process in its namespaces.
#[derive(Debug)]
pub struct LabNetwork {
    pub sender: Namespace,
    pub receiver: Namespace,
    /// Whether a kernel thread can poll the receiver's interface: [`super::polling::poll`].
    pub can_be_polled: bool,
    pub took: Duration,
}

impl LabNetwork {
    /// Makes both namespaces and everything in them; frames sent on one interface reach the other one when this returns.
    ///
    /// # Errors
    /// [`Kind::Blocked`] when the kernel refuses a namespace, [`Kind::Invalid`] for a sysctl that can't be set, with its place
    /// in the plan.
    pub fn up(plan: &LabPlan) -> std::result::Result<Self, NotUp> {
        Self::up_in(Namespace::create()?, Namespace::create()?, plan, || ())
    }

    /// The same in new namespaces. `before_pair` is called just before the kernel makes the veth pair.
    ///
    /// # Errors
    /// As [`Self::up`].
    pub fn up_in(
        sender: Namespace,
        receiver: Namespace,
        plan: &LabPlan,
        before_pair: impl FnOnce() + Send,
    ) -> std::result::Result<Self, NotUp> {
        let start = Instant::now();
        let mut sending = sender.run(|| -> Result<RouteSocket> {
            silence()?;
            RouteSocket::open().map_err(|error| system("open a netlink socket", &error))
        })??;
        let can_be_polled = receiver.run(|| -> std::result::Result<bool, NotUp> {
            let mut receiving = Receiver::new(plan)?;
            receiving.settings_known()?;
            before_pair();
            let can_be_polled = receiving.make_veth(&sender)?;
            receiving.settings_wanted()?;
            receiving.bring_up(&mut sending)?;
            receiving.add_addresses()?;
            receiving.add_ways_back()?;
            Ok(can_be_polled)
        })??;
        Ok(Self { sender, receiver, can_be_polled, took: start.elapsed() })
    }
}

/// Puts one end of a veth pair into a namespace that is there already, with the addresses and routes of the plan; returns the new namespace of the
/// other end, which holds the pair: with it the pair ends, and with that its addresses, routes and neighbours. Nothing else in the namespace is
/// changed.
///
/// # Errors
/// [`Kind::Blocked`] when the kernel refuses it.
pub fn put_into(receiver: &Namespace, plan: &LabPlan) -> Result<Namespace> {
    let sender = Namespace::create()?;
    let mut sending = sender.run(|| -> Result<RouteSocket> {
        silence()?;
        RouteSocket::open().map_err(|error| system("open a netlink socket", &error))
    })??;
    receiver.run(|| -> Result<()> {
        let mut receiving = Receiver::new(plan)?;
        receiving.make_veth(&sender)?;
        receiving.own_settings()?;
        receiving.bring_up(&mut sending)?;
        receiving.add_addresses()?;
        receiving.add_ways_back()
    })??;
    Ok(sender)
}

/// Removes the receiver's interface, and with it the pair.
///
/// # Errors
/// When the kernel refuses it.
pub fn remove_from(receiver: &Namespace) -> Result<()> {
    receiver.run(|| {
        let removed = RouteSocket::open().and_then(|mut netlink| {
            let Some(link) = netlink.link_by_name(EXISTING_RECEIVER)? else { return Ok(()) };
            netlink.remove_link(link.index)
        });
        removed.map_err(|error| system(&format!("remove `{EXISTING_RECEIVER}`"), &error))
    })?
}

/// What the receiver's new interface has of its own where the namespace is there already: frames of the capture configure nothing there, and none
/// is sent on to other hosts.
const OWN_SETTINGS: &[(&str, &str, &str)] = &[
    ("ipv4", "forwarding", "0"),
    ("ipv4", "accept_redirects", "0"),
    ("ipv6", "accept_ra", "0"),
    ("ipv6", "autoconf", "0"),
    ("ipv6", "accept_redirects", "0"),
    ("ipv6", "accept_dad", "0"),
    ("ipv6", "dad_transmits", "0"),
    ("ipv6", "router_solicitations", "0"),
];

/// The sender's namespace answers nothing: no address, no IPv6, no ARP.
fn silence() -> Result<()> {
    for conf in ["all", "default"] {
        sysctl::write_if_there(&format!("net.ipv6.conf.{conf}.disable_ipv6"), "1")?;
        sysctl::write(&format!("net.ipv4.conf.{conf}.arp_ignore"), "8")?;
        sysctl::write(&format!("net.ipv4.conf.{conf}.forwarding"), "0")?;
    }
    Ok(())
}

/// The receiver's side while it is being made. All of it runs in the receiver's namespace.
struct Receiver<'a> {
    plan: &'a LabPlan,
    netlink: RouteSocket,
    /// Whether this kernel has IPv6 at all, and the interface an MTU that allows it.
    ipv6: bool,
    index: u32,
    /// The next hop of each family.
    next_hops: [Option<IpAddr>; 2],
}

impl<'a> Receiver<'a> {
    fn new(plan: &'a LabPlan) -> Result<Self> {
        let netlink = RouteSocket::open().map_err(|error| system("open a netlink socket", &error))?;
        let kernel_has_ipv6 = Path::new("/proc/sys/net/ipv6").exists();
        let ipv6 = kernel_has_ipv6 && plan.mtu >= IPV6_LEAST_MTU;
        let wanted = plan.addresses.iter().find(|address| address.addr().is_ipv6());
        match wanted.filter(|_| !ipv6) {
            None => Ok(Self { plan, netlink, ipv6, index: 0, next_hops: next_hops(plan) }),
            Some(address) if kernel_has_ipv6 => Err(Failure::invalid(
                Diagnostic::error(format!("the receiver can't have the address `{}`", address.addr()))
                    .why(format!(
                        "IPv6 needs an MTU of {IPV6_LEAST_MTU} or more (RFC 8200), and the MTU is {}",
                        plan.mtu
                    ))
                    .fix(format!("set `[lab] mtu` to {IPV6_LEAST_MTU} or more")),
            )),
            Some(address) => Err(Failure::blocked(
                Diagnostic::error(format!("the receiver can't have the address `{}`", address.addr()))
                    .why("this kernel runs without IPv6")
                    .fix(
                        "boot it without `ipv6.disable=1`, or choose the IPv4 packets with `[capture] filter = \"ip\"`",
                    ),
            )),
        }
    }

    /// The lab's defaults, which an interface copies when it is made, and the plan's settings of `default`.
    fn settings_known(&self) -> std::result::Result<(), NotUp> {
        write_lab_defaults()?;
        // An incomplete datagram is given up within the time that a run settles in.
        let seconds = self.plan.reassembly.as_secs().max(1).to_string();
        sysctl::write_if_there("net.ipv4.ipfrag_time", &seconds)?;
        sysctl::write_if_there("net.ipv6.ip6frag_time", &seconds)?;
        // The default, 64, gives a datagram up for which its source has sent as many other fragments in between. Rewriting puts many
        // sources together in one, and repeating sends the identifiers again: those losses would be the lab's own.
        sysctl::write_if_there("net.ipv4.ipfrag_max_dist", "0")?;
        // Programs without privilege may bind ports below 1024.
        sysctl::write("net.ipv4.ip_unprivileged_port_start", "0")?;
        self.settings(is_default)
    }

    /// The plan's settings, but for those of `default`, which had to be there before the interface.
    fn settings_wanted(&mut self) -> std::result::Result<(), NotUp> {
        self.settings(|key| !is_default(key))?;
        // They may switch IPv6 off.
        let off = format!("net.ipv6.conf.{LAB_RECEIVER}.disable_ipv6");
        self.ipv6 = self.ipv6 && sysctl::read(&off)? == "0";
        Ok(())
    }

    /// The settings of the interface that is to be there for one run.
    fn own_settings(&self) -> Result<()> {
        for (family, name, value) in OWN_SETTINGS {
            sysctl::write_if_there(&format!("net.{family}.conf.{}.{name}", self.plan.interface()), value)?;
        }
        Ok(())
    }

    fn settings(&self, chosen: impl Fn(&str) -> bool) -> std::result::Result<(), NotUp> {
        let mut kind = Kind::Invalid;
        let (mut problems, mut entries) = (Vec::new(), Vec::new());
        for (entry, (key, value)) in self.plan.sysctl.iter().enumerate() {
            if !chosen(key) {
                continue;
            }
            let written = if key.starts_with("net") { sysctl::write(key, value) } else { Err(outside(key)) };
            if let Err(failure) = written {
                kind = kind.max(failure.kind);
                entries.extend(std::iter::repeat_n(entry, failure.problems.len()));
                problems.extend(failure.problems);
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(NotUp { failure: Failure { kind, problems }, sysctl: entries }) }
    }

    /// Says whether a kernel thread can poll it.
    fn make_veth(&mut self, sender: &Namespace) -> Result<bool> {
        let interface = self.plan.interface();
        let here = End { name: interface, mac: self.plan.receiver_mac };
        let there = End { name: LAB_SENDER, mac: self.plan.sender_mac };
        let can_be_polled =
            self.plan.polled && polling::make_veth(here, there, [&Namespace::current()?, sender], self.plan.mtu)?;
        let made = |netlink: &mut RouteSocket| match can_be_polled {
            true => Ok(()),
            false => netlink.make_veth(here, there, sender.as_fd(), self.plan.mtu),
        };
        made(&mut self.netlink).map_err(|error| {
            let what = format!(
                "can't make a veth pair with MTU {} and the MAC addresses `{}` and `{}`",
                self.plan.mtu, self.plan.sender_mac, self.plan.receiver_mac
            );
            match error.raw_os_error() {
                Some(nix::libc::EOPNOTSUPP) => Failure::blocked(
                    Diagnostic::error(what)
                        .why("the kernel's module `veth` is not loaded, and can't be loaded from here")
                        .fix("run `sudo modprobe veth`"),
                ),
                _ => Failure::system(what, &error),
            }
        })?;
        self.index = self.netlink.index(interface).map_err(|error| system("find the veth interface", &error))?;
        ethtool::switch(interface, ethtool::Feature::GenericReceive, ethtool::Switch::Off)
            .map_err(|error| system("switch receive offload off", &error))?;
        Ok(can_be_polled)
    }

    fn bring_up(&mut self, sending: &mut RouteSocket) -> Result<()> {
        let up = |netlink: &mut RouteSocket, name: &str| {
            let index = netlink.index(name)?;
            netlink.bring_up(index)
        };
        let interface = self.plan.interface();
        let is_new = self.plan.existing.is_none();
        if is_new {
            up(&mut self.netlink, "lo").map_err(|error| system("bring `lo` up", &error))?;
        }
        // What the application sends in segments (UDP_SEGMENT) is counted one by one then, what it sends itself and what it replies. An old
        // kernel can't: it counts too few.
        for name in ["lo", interface].into_iter().skip(usize::from(!is_new)) {
            let _ = self.netlink.index(name).and_then(|index| self.netlink.split_segments(index));
        }
        up(&mut self.netlink, interface)
            .and_then(|()| up(sending, LAB_SENDER))
            .and_then(|()| sending.wait_operational(LAB_SENDER, CARRIER_LIMIT))
            .and_then(|()| self.netlink.wait_operational(interface, CARRIER_LIMIT))
            .map_err(|error| system("bring the veth pair up", &error))
    }

    /// A few addresses become addresses of the interface. Many become routes of the local table, as few as will do, beside
    /// the first address of each family, which replies are sent from.
    fn add_addresses(&mut self) -> Result<()> {
        // Where IPv6 is off the kernel has no such address.
        let ipv6 = self.ipv6;
        let addresses: Vec<IpNet> =
            self.plan.addresses.iter().copied().filter(|address| ipv6 || address.addr().is_ipv4()).collect();
        if addresses.len() <= MOST_ADDRESSES {
            addresses.iter().try_for_each(|address| self.add_address(*address))?;
            return await_local(&addresses);
        }
        let first = |is_family: fn(&IpAddr) -> bool| addresses.iter().find(move |address| is_family(&address.addr()));
        for address in [first(IpAddr::is_ipv4), first(IpAddr::is_ipv6)].into_iter().flatten() {
            self.add_address(*address)?;
        }
        if first(IpAddr::is_ipv6).is_some() && self.plan.existing.is_none() {
            // bind(2) to an IPv6 address that is only a route asks for this; IPv4 doesn't.
            sysctl::write("net.ipv6.ip_nonlocal_bind", "1")?;
        }
        let hosts = addresses.iter().map(|address| IpNet::from(address.addr())).collect();
        for prefix in IpNet::aggregate(&hosts) {
            self.netlink
                .add_local(self.index, prefix)
                .map_err(|error| system(&format!("make the addresses `{prefix}` the receiver's"), &error))?;
        }
        let mut networks: Vec<IpNet> = addresses.iter().map(IpNet::trunc).collect();
        networks.sort_unstable();
        networks.dedup();
        networks.into_iter().try_for_each(|network| self.add_network(network))
    }

    fn add_address(&mut self, address: IpNet) -> Result<()> {
        self.netlink
            .add_address(self.index, address)
            .map_err(|error| system(&format!("give the receiver the address `{address}`"), &error))?;
        self.add_network(address.trunc())
    }

    /// The route to an address's own network. It goes by the next hop, so that replies need no ARP.
    fn add_network(&mut self, network: IpNet) -> Result<()> {
        if network.prefix_len() == network.max_prefix_len() { Ok(()) } else { self.add_way_back(network) }
    }

    fn add_ways_back(&mut self) -> Result<()> {
        self.plan.routes.iter().try_for_each(|prefix| self.add_way_back(prefix.trunc()))
    }

    fn add_way_back(&mut self, prefix: IpNet) -> Result<()> {
        let [four, six] = self.next_hops;
        let next_hop = if prefix.addr().is_ipv4() { four } else { six.filter(|_| self.ipv6) };
        let Some(next_hop) = next_hop else { return Ok(()) };
        self.netlink
            .add_neighbour(self.index, next_hop, self.plan.sender_mac)
            .and_then(|()| self.netlink.add_route(self.index, prefix, next_hop))
            .map_err(|error| system(&format!("give the receiver a route to `{prefix}`"), &error))
    }
}

/// Waits until the kernel takes packets to these addresses for its own: it makes an IPv6 address's local route later, in a thread of its
/// own, even where no duplicates are looked for.
fn await_local(addresses: &[IpNet]) -> Result<()> {
    let wanted: Vec<String> = addresses
        .iter()
        .filter_map(|address| match address {
            IpNet::V4(_) => None,
            IpNet::V6(address) => Some(format!("{:032x} 80 ", u128::from(address.addr()))),
        })
        .collect();
    let begun = Instant::now();
    let path = "/proc/thread-self/net/ipv6_route";
    while !wanted.is_empty() {
        let routes = fs::read_to_string(path).map_err(|error| system(&format!("read `{path}`"), &error))?;
        let is_local = |line: &str, prefix: &str| {
            // The flags are the ninth field; RTF_LOCAL is the highest bit.
            let flags = line.split_ascii_whitespace().nth(8).and_then(|flags| u32::from_str_radix(flags, 16).ok());
            line.starts_with(prefix) && flags.is_some_and(|flags| flags & 0x8000_0000 != 0)
        };
        if wanted.iter().all(|prefix| routes.lines().any(|line| is_local(line, prefix))) {
            break;
        }
        if begun.elapsed() > CARRIER_LIMIT {
            return Err(system("make an IPv6 address the receiver's", &io::ErrorKind::TimedOut.into()));
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

fn is_default(key: &str) -> bool {
    ["net.ipv4.conf.default.", "net.ipv6.conf.default.", "net/ipv4/conf/default/", "net/ipv6/conf/default/"]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

fn outside(key: &str) -> Failure {
    Failure::invalid(
        Diagnostic::error(format!("the lab can't set sysctl `{}`", key.escape_debug()))
            .why("only the sysctls below `net.` belong to a namespace; this one would change the machine")
            .fix("set it on the machine, and name it in `[require] sysctl`"),
    )
}

fn system(what: &str, error: &io::Error) -> Failure {
    Failure::system(format!("can't {what}"), error)
}
