//! How the other processes of a run begin: restage starts the running program again with a verb that only restage uses.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::doctor;
use crate::process::init;

/// Runs the verb that only restage itself calls, if `arguments` (without the program's name) begin with one: `__init` is pid 1 of the
/// application's pid namespace, `__probe-lab` makes a lab to see whether that works.
pub fn hidden_verb(arguments: &[OsString]) -> Option<ExitCode> {
    let (verb, rest) = arguments.split_first()?;
    match verb.to_str()? {
        init::VERB => Some(init::init_main(rest)),
        doctor::VERB => Some(doctor::probe_main()),
        _ => None,
    }
}
