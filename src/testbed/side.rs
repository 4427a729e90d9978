//! One side of a testbed: a network namespace of this machine, and the interface that frames leave or reach it by.
//!
//! Everything that has to happen in the namespace happens here: what is opened there belongs to it, and may be used from any thread.

use crate::diagnostic::Result;
use crate::host::interface::{self, InterfaceFacts};
use crate::host::namespace::Namespace;
use crate::host::sockets::SocketTable;
use crate::process::application::{Application, Start};
use crate::wire::trace::{self, PacketTrace};

/// One side of a testbed.
#[derive(Debug)]
pub struct Side {
    pub(super) namespace: Namespace,
    pub(super) interface: String,
}

impl Side {
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Moves the calling thread into the namespace. What reads packets there is to be in it, as an application is: by that the kernel's drop
    /// reasons show whose packet it is that is found to be wrong only when it is read.
    pub fn enter_thread(&self) -> Result<()> {
        self.namespace.enter_thread()
    }

    /// Opens something in the namespace, by the name of its interface.
    pub fn open<T: Send>(&self, open: impl FnOnce(&str) -> Result<T> + Send) -> Result<T> {
        self.namespace.run(|| open(&self.interface))?
    }

    pub fn sockets(&self) -> Result<SocketTable> {
        self.namespace.run(SocketTable::open)?
    }

    /// Listens to the kernel's tracepoints for packets of the namespace that arrive on the interface.
    pub fn trace(&self, mode: trace::Mode) -> Result<trace::Opened> {
        let index = self.facts(&self.interface)?.map_or(0, |facts| facts.index);
        PacketTrace::open(self.namespace.inode()?, index, mode)
    }

    pub fn start(&self, start: &Start<'_>) -> Result<Application> {
        Application::start(start, &self.namespace)
    }

    /// What the kernel says of an interface of the namespace; `None` where there is none of this name.
    pub fn facts(&self, name: &str) -> Result<Option<InterfaceFacts>> {
        self.namespace.run(|| interface::facts(name))?
    }
}
