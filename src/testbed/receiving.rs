//! The receiver's machine, as the agent on it sees it: frames come in on one of its interfaces, from another machine.

use std::net::IpAddr;

use super::Side;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::host::Host;
use crate::host::interface::{self, InterfaceKind};
use crate::host::namespace::Namespace;

/// The interface that frames come in on, in the namespace that the agent runs in.
#[derive(Debug)]
pub struct Receiving {
    pub(super) side: Side,
}

impl Receiving {
    pub(super) fn open(interface: &str) -> Result<Self> {
        interface::existing(interface)?;
        Ok(Self { side: Side::shared(Namespace::current()?, interface) })
    }
}

/// This machine, as seen from the interface of this name. Without a name it is the only one that is up or, where there are several, the one
/// that this login came in on.
///
/// # Errors
/// [`crate::diagnostic::Kind::Invalid`] where that is not clear, or there is no such interface.
pub fn host(named: Option<&str>) -> Result<Host> {
    let name = match named {
        Some(name) => name.to_owned(),
        None => only_one()?,
    };
    Host::read(&name)
}

fn only_one() -> Result<String> {
    let carries =
        |link: &interface::InterfaceFacts| link.up && link.mac.is_some() && link.kind != InterfaceKind::Loopback;
    let up: Vec<String> = interface::all()?.into_iter().filter(carries).map(|link| link.name).collect();
    if let [only] = up.as_slice() {
        return Ok(only.clone());
    }
    for name in &up {
        if Some(name) == up.iter().find(|name| has_login(name)) {
            return Ok(name.clone());
        }
    }
    let there = if up.is_empty() {
        "none that is up has MAC addresses".to_owned()
    } else {
        format!("there are: {}", up.join(", "))
    };
    Err(Failure::invalid(
        Diagnostic::error("it is not clear on which interface of the receiver's machine frames come in")
            .why(there)
            .fix("name it: `[receiver] interface = \"eth0\"`"),
    ))
}

/// Whether an interface has the address that ssh was called at (sshd(8): its third word).
fn has_login(name: &str) -> bool {
    let connection = std::env::var("SSH_CONNECTION").unwrap_or_default();
    let called: Option<IpAddr> = connection.split(' ').nth(2).and_then(|address| address.parse().ok());
    let Some(called) = called else { return false };
    Host::read(name).is_ok_and(|host| host.addresses.iter().any(|net| net.addr() == called))
}
