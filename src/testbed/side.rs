//! One side of a testbed: a network namespace of this machine, and the interface that frames leave or reach it by.
//!
//! Everything that has to happen in the namespace happens here, as questions with a name and not as closures of the caller's, so that a side
//! can be on another machine one day. What is opened in the namespace belongs to it, and may be used from any thread.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::diagnostic::Result;
use crate::host::ethtool;
use crate::host::facts::{Facts, capability};
use crate::host::firewall::Firewall;
use crate::host::groups;
use crate::host::interface::{self, InterfaceFacts};
use crate::host::namespace::Namespace;
use crate::host::packet_sockets::PacketSocketTable;
use crate::host::sockets::SocketTable;
use crate::host::sysctl::{self, Effective};
use crate::outcome::EvidenceLevel;
use crate::process::application::{Application, Start};
use crate::process::inside::Inside;
use crate::process::surroundings::Surroundings;
use crate::scenario::require::Offload;
use crate::wire::built_in::{BuiltIn, Family};
use crate::wire::counters::CountersReader;
use crate::wire::ring::{Ring, RingSize, UnboundRing};
use crate::wire::sender::{PacketSender, XdpSender};
use crate::wire::taps::{Among, Installed, Taps};
use crate::wire::trace::{self, PacketTrace};

/// One side of a testbed.
#[derive(Debug)]
pub struct Side {
    pub(super) namespace: Namespace,
    pub(super) interface: String,
    /// Whether others use the namespace, too.
    pub(super) is_shared: bool,
    /// A receive ring that is being made, where that was begun before the interface was there.
    pub(super) ring: Mutex<Option<RingThread>>,
    /// Whether a kernel thread takes in what comes.
    pub(super) is_polled: AtomicBool,
}

/// A thread that makes a ring.
pub(super) type RingThread = JoinHandle<Result<UnboundRing>>;

impl Side {
    /// In a namespace of restage's own.
    pub(super) fn own(namespace: Namespace, interface: &str) -> Self {
        Self {
            namespace,
            interface: interface.to_owned(),
            is_shared: false,
            ring: Mutex::default(),
            is_polled: AtomicBool::new(false),
        }
    }

    /// In a namespace that others use, too.
    pub(super) fn shared(namespace: Namespace, interface: &str) -> Self {
        Self { is_shared: true, ..Self::own(namespace, interface) }
    }

    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Whether others use the namespace as well, so that what it counts is not the capture's alone.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Moves the calling thread into the namespace. What reads packets there is to be in it, as an application is: by that the kernel's drop
    /// reasons show whose packet it is that is found to be wrong only when it is read.
    pub fn enter_thread(&self) -> Result<()> {
        self.namespace.enter_thread()
    }

    pub fn packet_sender(&self) -> Result<PacketSender> {
        self.namespace.run(|| PacketSender::open(&self.interface))?
    }

    pub(super) fn xdp_sender(&self) -> Result<XdpSender> {
        self.namespace.run(|| XdpSender::open(&self.interface))?
    }

    /// Opens the receive ring, of at least this size.
    pub fn ring(&self, size: RingSize) -> Result<Ring> {
        let begun = self.ring.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Where it could not be made, the second try says why.
        let mut ring = match begun.map(JoinHandle::join) {
            Some(Ok(Ok(ring))) if ring.size() == size => self.namespace.run(|| ring.bind())?,
            _ => self.namespace.run(|| Ring::open(&self.interface, size))?,
        }?;
        if self.is_polled.load(Ordering::Relaxed) {
            ring.wake_for_each_block();
        }
        Ok(ring)
    }

    /// Opens a ring of the frames that the interface sends, of at least this size.
    pub fn ring_of_sent(&self, size: RingSize) -> Result<Ring> {
        self.namespace.run(|| Ring::of_sent(&self.interface, size))?
    }

    pub fn counters(&self) -> Result<CountersReader> {
        self.namespace.run(|| CountersReader::open(&self.interface))?
    }

    /// `frames`: how many come in, where that is known.
    pub fn taps(&self, level: EvidenceLevel, ports: &[u16], frames: Option<u64>) -> Result<Installed> {
        let among = if self.is_shared { Among::Others } else { Among::Own };
        self.namespace.run(|| Taps::install(&self.interface, level, ports, among, frames))?
    }

    /// Binds the built-in receiver.
    pub fn bind(&self, ports: &[(u16, Family)], groups: &[IpAddr]) -> Result<BuiltIn> {
        self.namespace.run(|| BuiltIn::bind(ports, groups, &self.interface))?
    }

    pub fn interface_names(&self) -> Result<Vec<String>> {
        self.namespace.run(interface::names)?
    }

    pub fn offload(&self, name: &str, offload: Offload) -> Result<bool> {
        self.namespace.run(|| ethtool::is_on(name, offload))?
    }

    /// The effective values of sysctls.
    pub fn sysctls<'a>(&self, keys: impl Iterator<Item = &'a str> + Send) -> Result<Vec<Result<Effective>>> {
        self.namespace.run(|| keys.map(sysctl::effective).collect())
    }

    pub fn sockets(&self) -> Result<SocketTable> {
        self.namespace.run(SocketTable::open)?
    }

    pub fn packet_sockets(&self) -> Result<PacketSocketTable> {
        self.namespace.run(PacketSocketTable::open)?
    }

    /// Listens to the kernel's tracepoints for packets of the namespace that arrive on the interface: so many, where that is known.
    pub fn trace(&self, mode: trace::Mode, frames: Option<u64>) -> Result<trace::Opened> {
        let index = self.facts(&self.interface)?.map_or(0, |facts| facts.index);
        PacketTrace::open(self.namespace.inode()?, index, mode, frames)
    }

    /// Makes the namespaces that programs of the receiver are started in; `None` where this process may not, as beside a target.
    pub fn surround(&self, surroundings: &Surroundings) -> Result<Option<Inside>> {
        let may = Facts::read().has(capability::SYS_ADMIN);
        may.then(|| Inside::new(surroundings, &self.namespace)).transpose()
    }

    pub fn start(&self, start: &Start<'_>) -> Result<Application> {
        Application::start(start, &self.namespace)
    }

    /// The packet filter of the namespace.
    pub fn firewall(&self) -> Result<Firewall> {
        self.namespace.run(Firewall::read)
    }

    /// The multicast groups that are joined on the interface.
    pub fn groups(&self) -> Result<BTreeSet<IpAddr>> {
        let index = self.facts(&self.interface)?.map_or(0, |facts| facts.index);
        self.namespace.run(|| groups::joined(index))
    }

    /// What the kernel says of an interface of the namespace; `None` where there is none of this name.
    pub fn facts(&self, name: &str) -> Result<Option<InterfaceFacts>> {
        self.namespace.run(|| interface::facts(name))?
    }
}
