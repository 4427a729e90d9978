//! `[receiver] at`: a network namespace of this machine that is there already.
//!
//! One end of a veth pair is put into it, with the addresses and routes that the frames need. The other end is in a namespace of restage's own that
//! only descriptors hold: when restage ends, however it ends, the kernel removes that namespace, and with it the pair. Nothing else in the
//! receiver's namespace is changed. `place` finds it. Start at [`Existing::prepare`].

mod place;

use std::collections::HashSet;
use std::net::IpAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Side;
use super::network::{LabPlan, put_into, remove_from};
use crate::diagnostic::{Diagnostic, Failure, Result, Source};
use crate::host::facts::Facts as Machine;
use crate::host::namespace;
use crate::host::{self, RouteKind, interface};
use crate::plan::{Facts, Plan, lab_sender_mac};
use crate::scenario::Scenario;
use crate::scenario::receiver::ReceiverPlace;
use crate::scenario::topology::{EXISTING_RECEIVER, ExistingTopology, LAB_SENDER};
use crate::wire::built_in::BuiltIn;
use place::Found;

/// The name of the abstract socket that a run holds in the receiver's namespace, so that no other run is there (unix(7)).
const LOCK: &str = "restage-receiver";
/// What a run that was killed leaves is removed by the kernel soon after.
const LEFTOVER_LIMIT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// A namespace with the receiver's end of a veth pair in it. Dropped, it is as it was before.
#[derive(Debug)]
pub struct Existing {
    pub(super) sender: Side,
    pub(super) receiver: Side,
    pub(super) prefix: String,
    _lock: UnixDatagram,
    /// Is in the multicast groups that the receiver has joined elsewhere, and binds no port.
    members: Vec<BuiltIn>,
}

/// Refuses the namespace that restage itself was started in, unless the caller allows it: a mistake there reaches the machine's own network.
pub(super) fn allow(words: &ExistingTopology, source: &Arc<Source>, allowed: bool) -> Result<()> {
    if allowed {
        return Ok(());
    }
    let at = |failure: Failure| failure.at(source, words.at.span.as_ref());
    let found = place::find(&words.at.value).map_err(at)?;
    if !found.namespace.is_current().map_err(at)? {
        return Ok(());
    }
    let what = match &words.at.value {
        ReceiverPlace::Host => "a receiver on the host is not allowed".to_owned(),
        other => format!("`{other}` is in the network namespace of the host, which is not allowed"),
    };
    Err(Failure::blocked(
        Diagnostic::error(what)
            .at(source, words.at.span.clone())
            .why("restage would add an interface, addresses and routes to the host's own network: the command line must allow that as well")
            .fix("`restage run --allow-host …`; `restage plan` shows what would happen, without sending anything"),
    ))
}

/// What is known of the namespace before the frames are planned.
pub(super) fn facts(words: &ExistingTopology, scenario: &Scenario) -> Result<Facts> {
    let read = || -> Result<host::Existing> {
        let found = place::find(&words.at.value)?;
        if !found.namespace.is_current()? {
            rights(&found)?;
        }
        let inode = found.namespace.inode()?;
        let mut there = found.namespace.run(|| host::Existing::read(inode, &found.resolver))??;
        there.host.command_prefix.clone_from(&found.prefix);
        Ok(there)
    };
    let existing = read().map_err(|failure| failure.at(&scenario.source, words.at.span.as_ref()))?;
    Ok(Facts { existing: Some(existing), ..Facts::default() })
}

/// Gets the right to change the namespace; to be called while the process has one thread.
pub(super) fn enter(words: &ExistingTopology, source: &Arc<Source>) -> Result<()> {
    let found = place::find(&words.at.value);
    found.and_then(|found| rights(&found)).map_err(|failure| failure.at(source, words.at.span.as_ref()))
}

/// Gets the right to change a namespace: root has it; another user has it in the user namespaces that this user made, and moves there.
fn rights(found: &Found) -> Result<()> {
    let refused = |why: &str| {
        Err(Failure::blocked(
            Diagnostic::error(format!("restage may not change the network namespace of `{}`", found.name))
                .why(why)
                .fix("run restage with `sudo`"),
        ))
    };
    let Some(owner) = found.namespace.owner()? else {
        return refused("a user namespace owns it that this one is not above: only root of the machine may change it");
    };
    let is_own = owner.is_current()?;
    if Machine::read().privileged() {
        return namespace::enter().map(|_| ());
    }
    if is_own {
        return refused(
            "that takes CAP_SYS_ADMIN and CAP_NET_ADMIN in the user namespace that owns it, which is the one that restage was started in",
        );
    }
    match owner.enter() {
        Ok(()) => Ok(()),
        Err(nix::errno::Errno::EPERM) => refused("another user owns the user namespace that it belongs to"),
        Err(nix::errno::Errno::EINVAL) => refused(
            "the user namespace that it belongs to can be entered only by a process with one thread, as the program `restage` is",
        ),
        Err(errno) => Err(Failure::system("can't enter the user namespace of the receiver", &errno.into())),
    }
}

impl Existing {
    pub(super) fn prepare(words: &ExistingTopology, scenario: &Scenario, plan: &Plan) -> Result<Self> {
        Self::put_up(words, plan).map_err(|failure| failure.at(&scenario.source, words.at.span.as_ref()))
    }

    fn put_up(words: &ExistingTopology, plan: &Plan) -> Result<Self> {
        let Some(host) = &plan.host else {
            return Err(Failure::error(Diagnostic::error(
                "the plan of a receiver that is there already has no receiver",
            )));
        };
        let found = place::find(&words.at.value)?;
        if plan.namespace != Some(found.namespace.inode()?) {
            return Err(Failure::blocked(
                Diagnostic::error(format!(
                    "`{}` is in another network namespace now than when it was looked at",
                    found.name
                ))
                .why("it was stopped and started again meanwhile")
                .fix("run it again"),
            ));
        }
        let lock = found.namespace.run(|| lock(&found))??;
        found.namespace.run(|| await_absence(&found))??;
        let is_whole = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
        let local = host.routes.iter().filter(|route| route.kind == RouteKind::Local && is_whole(&route.prefix));
        let own = host.addresses.iter().map(IpNet::addr).collect::<HashSet<IpAddr>>();
        let others = local.map(|route| route.prefix.addr()).filter(|address| !own.contains(address)).collect();
        let ours =
            host.routes.iter().filter(|route| route.device == EXISTING_RECEIVER && route.kind == RouteKind::Unicast);
        let lab_plan = LabPlan {
            mtu: words.pair.mtu.value,
            receiver_mac: host.mac,
            sender_mac: lab_sender_mac(host.mac),
            addresses: host.addresses.clone(),
            routes: ours.map(|route| route.prefix).collect(),
            existing: Some(others),
            ..LabPlan::default()
        };
        // Where that fails, what is there of the pair goes with the sender's namespace.
        let sender = put_into(&found.namespace, &lab_plan)?;
        let sender = Side::own(sender, LAB_SENDER);
        let receiver = Side::shared(found.namespace, EXISTING_RECEIVER);
        // Dropped, it removes the interface, also where a group can't be joined.
        let mut existing = Self { sender, receiver, prefix: found.prefix, _lock: lock, members: Vec::new() };
        let groups: Vec<IpAddr> = host.joined.iter().flatten().copied().collect();
        if !groups.is_empty() {
            existing.members.push(existing.receiver.bind(&[], &groups)?);
        }
        Ok(existing)
    }
}

impl Drop for Existing {
    fn drop(&mut self) {
        // Otherwise the kernel does it when the last descriptor is closed, some time after this process has ended.
        let _ = remove_from(&self.receiver.namespace);
    }
}

/// Keeps other runs out of the namespace: abstract sockets belong to a network namespace, and end with the process.
fn lock(found: &Found) -> Result<UnixDatagram> {
    let bound = SocketAddr::from_abstract_name(LOCK).and_then(|name| UnixDatagram::bind_addr(&name));
    bound.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::blocked(
            Diagnostic::error(format!("another run of restage uses the network namespace of `{}`", found.name))
                .why("two runs would have the same interface, addresses and routes there")
                .fix("wait until the other one has ended"),
        ),
        _ => Failure::system("can't bind a socket in the receiver's network namespace", &error),
    })
}

/// Waits until there is no interface of the name that ours will have.
fn await_absence(found: &Found) -> Result<()> {
    let begun = Instant::now();
    while interface::facts(EXISTING_RECEIVER)?.is_some() {
        if begun.elapsed() > LEFTOVER_LIMIT {
            return Err(Failure::blocked(
                Diagnostic::error(format!(
                    "there is an interface `{EXISTING_RECEIVER}` in the network namespace of `{}`",
                    found.name
                ))
                .why("the run gives this name to its own interface")
                .fix(format!("rename or remove it: `{}ip link del {EXISTING_RECEIVER}`", found.prefix)),
            ));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
