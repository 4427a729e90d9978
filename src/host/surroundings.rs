//! What the kernel says of a network namespace, whichever of its interfaces it is seen from. Start at [`Surroundings::read`].

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use super::firewall::Firewall;
use super::interface::{self, InterfaceFacts};
use super::routes::Route;
use super::rtnetlink::RouteSocket;
use super::sockets::{Socket, SocketTable};
use crate::diagnostic::{Failure, Result};
use crate::packet::MacAddr;
use crate::scenario::require::Transport;

/// The calling thread's network namespace.
pub(super) struct Surroundings {
    pub(super) links: Vec<InterfaceFacts>,
    /// Addresses, with the index of their interface.
    pub(super) addresses: Vec<(u32, IpNet)>,
    pub(super) routes: Vec<Route>,
    pub(super) further_rules: usize,
    pub(super) table: SocketTable,
    /// UDP sockets and TCP listeners.
    pub(super) sockets: Vec<Socket>,
    pub(super) firewall: Firewall,
    socket: RouteSocket,
}

impl Surroundings {
    /// Reads it. No privilege.
    ///
    /// # Errors
    /// [`Kind::Blocked`](crate::diagnostic::Kind::Blocked) where the kernel can't list sockets.
    pub(super) fn read() -> Result<Self> {
        let links = interface::all()?;
        let names: HashMap<u32, String> = links.iter().map(|link| (link.index, link.name.clone())).collect();
        let mut socket = RouteSocket::open().map_err(unanswered("addresses and routes"))?;
        let addresses = socket.addresses().map_err(unanswered("addresses"))?;
        let routes = socket.routes(&names).map_err(unanswered("routes"))?;
        let further_rules = socket.further_rules().map_err(unanswered("policy rules"))?;
        let table = SocketTable::open()?;
        let sockets = [table.list(Transport::Udp)?, table.list(Transport::Tcp)?].concat();
        Ok(Self { links, addresses, routes, further_rules, table, sockets, firewall: Firewall::read(), socket })
    }

    /// The prefixes of all routes, with their gateways.
    pub(super) fn gateways(&mut self) -> Result<Vec<(IpNet, Option<IpAddr>)>> {
        self.socket.gateways().map_err(unanswered("gateways"))
    }

    /// The neighbours on an interface whose MACs are known.
    pub(super) fn neighbours(&mut self, index: u32) -> Result<Vec<(IpAddr, MacAddr)>> {
        self.socket.neighbours(index).map_err(unanswered("neighbours"))
    }
}

fn unanswered(what: &str) -> impl FnOnce(io::Error) -> Failure {
    let what = format!("can't ask for {what}");
    move |error| Failure::system(what, &error)
}
