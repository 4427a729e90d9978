//! A network namespace of this machine: its interfaces, addresses, routes, sysctls, sockets and packet filter, and what this process may do
//! there.
//!
//! One file for each kernel interface. Nothing here sends a frame. May use `diagnostic`, `packet` and `scenario` (their types), nix, libc and
//! the netlink crates.

mod borrow;
pub mod ethtool;
mod existing;
pub mod facts;
pub mod filter;
pub mod firewall;
pub mod groups;
pub mod interface;
mod model;
pub mod namespace;
pub mod neighbours;
pub(crate) mod netlink;
pub mod packet_sockets;
pub mod program;
mod routes;
pub(crate) mod rtnetlink;
pub mod ruleset;
pub(crate) mod settings;
pub mod sockets;
mod surroundings;
pub mod sysctl;

pub use existing::Existing;
pub use filter::Filter;
#[cfg(test)]
pub use filter::Ruleset;
pub use firewall::{Firewall, OWN_TABLE};
pub use model::Host;
pub use routes::{Route, RouteKind, RouteTable};
#[cfg(test)]
pub use settings::ByFamily;
pub use settings::Settings;
pub use sockets::{Arrival, Mismatch, Socket};
