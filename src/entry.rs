//! How the further processes of a run begin.
//!
//! A scenario runs in a process of its own, an application below an init of its own, and `restage doctor` tries a lab in a third one: each is
//! the running program again, started as `restage __VERB`. Every program that this library is linked into looks for such a verb before its
//! `main`, so that a Rust test can run scenarios as the `restage` program does. A program that is started in any other way sees nothing of it.
#![expect(unsafe_code, reason = "a function that the loader calls before `main`")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;

use crate::doctor;
use crate::process::{NAME, init, signals, worker};
use crate::run;

#[cfg(test)]
#[path = "../tests/unit/lab/mod.rs"]
mod lab_tests;

/// The loader calls these, in the main thread and before `main` (ELF gABI, "Initialization and Termination Functions").
// SAFETY: the section holds pointers to functions without arguments; the loader gives some, which the C calling convention lets a function
// ignore.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    // `std::env::args` is not there yet with every libc.
    let Ok(line) = fs::read("/proc/self/cmdline") else { return };
    let mut words = line.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec()));
    if words.next().is_none_or(|name| name != NAME) {
        return;
    }
    let Some(verb) = words.next() else { return };
    let mut arguments: Vec<OsString> = words.collect();
    // The last word ends with a NUL, too.
    arguments.pop();
    let main: fn(&[OsString]) -> i32 = match verb.to_str() {
        Some(init::VERB) => init::main,
        // With arguments it is a worker of the tests, which takes another kind of job.
        #[cfg(test)]
        Some(worker::VERB) if !arguments.is_empty() => lab_tests::worker_main,
        #[cfg(test)]
        Some(lab_tests::VERB) => lab_tests::case_main,
        Some(worker::VERB) => |_| run::worker::main(),
        Some(doctor::VERB) => |_| doctor::probe_main(),
        _ => return,
    };
    signals::let_writes_fail();
    #[expect(clippy::exit, reason = "`main` is another program's")]
    std::process::exit(std::panic::catch_unwind(|| main(&arguments)).unwrap_or(101));
}
