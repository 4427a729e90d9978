//! The lab: network namespaces, a veth pair, addresses, routes, sysctls, and the application under test.
//!
//! This room changes the kernel's state, and only inside namespaces that it made itself. It may use `diagnostic`, `packet`,
//! `outcome`, nix, libc and the netlink crates. One file for each kernel interface:
//!
//! - [`namespace`] enters a user namespace where that is needed, and holds network namespaces by descriptor;
//! - [`network`] makes the two namespaces of a scenario and everything in them, through `link`, `ethtool` and [`sysctl`];
//! - [`ruleset`] loads an nftables ruleset into the receiver's namespace;
//! - [`polling`] brings a second processor to the receiver's side;
//! - [`application`] runs a program in the receiver's namespace, below an `init` of ours that takes everything with it, in
//!   [`surroundings`] of its own;
//! - [`work`] is the folder of one run, [`worker`] the process of one scenario, [`signals`] what
//!   a run takes of them;
//! - [`doctor`] says what this machine can and can't do, from the [`facts`]; [`capabilities`] what this process may do.
//!
//! Start reading at [`network::Lab::up`].

pub mod application;
pub mod capabilities;
pub mod doctor;
pub mod ethtool;
pub mod facts;
mod init;
pub(crate) mod leftover;
mod link;
pub mod namespace;
pub mod network;
pub mod parent;
pub mod polling;
pub mod program;
pub mod ruleset;
pub mod signals;
pub mod surroundings;
pub mod sysctl;
pub mod work;
pub mod worker;

use std::process::ExitCode;

/// Runs the verb that only restage itself calls, if `arguments` (without the program's name) begin with one.
///
/// `__init` is pid 1 of the application's pid namespace, `__probe-lab` makes a lab to see whether that works.
pub fn hidden_verb(arguments: &[std::ffi::OsString]) -> Option<ExitCode> {
    let (verb, rest) = arguments.split_first()?;
    match verb.to_str()? {
        init::VERB => Some(init::init_main(rest)),
        doctor::VERB => Some(doctor::probe_main()),
        _ => None,
    }
}
