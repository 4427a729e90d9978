//! The lab against the running kernel, as the user who runs the tests and, for root, as an ordinary user too.
//!
//! Every case is a process of its own: a lab is entered with one thread, and ends with its process. So each case is a test that starts this
//! program again as `restage __case NAME`, which `entry` takes over before `main` and its threads. A case that can't have a lab prints why and
//! passes, unless `RESTAGE_REQUIRE_LAB=1`.

#![expect(clippy::exit, reason = "a case is a program")]

mod application;
mod machine;
mod network;
mod worker;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::diagnostic::Kind;
use crate::host::namespace::{self, Privilege};
use crate::process::NAME;
use crate::testbed::network::{LabNetwork, LabPlan};

pub(crate) use worker::worker_main;

/// The hidden verb that runs a case.
pub(crate) const VERB: &str = "__case";

/// The user `nobody`.
const ORDINARY_USER: u32 = 65534;

/// Exit status of a case that can't have a lab.
const NO_LAB: i32 = 77;

/// A case: its name is its claim.
type Case = (&'static str, fn());

/// Makes these functions cases, and a test of each.
macro_rules! cases {
    ($($name:ident,)*) => {
        pub(super) const CASES: &[Case] = &[$((stringify!($name), $name)),*];

        mod cases {
            $(#[test] fn $name() { super::super::run(stringify!($name)); })*
        }
    };
}
use cases;

/// Runs the case with the name that is given.
pub(crate) fn case_main(arguments: &[OsString]) -> i32 {
    let cases = [network::CASES, machine::CASES, application::CASES, worker::CASES];
    let actors = [application::ACTORS, network::ACTORS, worker::ACTORS];
    let (_, case) = cases.iter().chain(&actors).copied().flatten().find(|(case, _)| *case == arguments[0]).unwrap();
    case();
    0
}

/// This program, which will run the case or actor.
fn case_command(name: &str) -> Command {
    // Unlike the program's own path, this one needs no access to the folders above it.
    let mut command = Command::new("/proc/self/exe");
    command.arg0(NAME).args([VERB, name]);
    command
}

/// Runs a case as the caller and, for root, as an ordinary user.
fn run(name: &str) {
    let root = nix::unistd::geteuid().is_root();
    let users: &[Option<u32>] = if root { &[None, Some(ORDINARY_USER)] } else { &[None] };
    for user in users {
        let mut command = case_command(name);
        command.stdin(Stdio::null()).current_dir("/tmp");
        // An ordinary user may not be able to read this project's folder.
        command.env("INSTA_WORKSPACE_ROOT", env!("CARGO_MANIFEST_DIR")).env("INSTA_UPDATE", "no");
        if let Some(user) = *user {
            command.uid(user).gid(user);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        println!("as {user:?}:\n{said}");
        let required = std::env::var("RESTAGE_REQUIRE_LAB").is_ok_and(|value| value == "1");
        let skipped = output.status.code() == Some(NO_LAB) && !required;
        assert!(output.status.success() || skipped, "as {user:?}: {}", output.status);
    }
}

/// Enters, and ends the case if this machine allows no lab.
fn enter() -> Privilege {
    namespace::enter().unwrap_or_else(|failure| {
        println!("no lab: {failure:?}");
        assert_eq!(failure.kind, Kind::Blocked);
        std::process::exit(NO_LAB)
    })
}

/// Enters, and makes a lab.
fn lab(plan: &LabPlan) -> (LabNetwork, Privilege) {
    let privilege = enter();
    (LabNetwork::up(plan).unwrap(), privilege)
}
