//! Receivers that restage did not start, in network namespaces that it did not make: what it says of them against what they say themselves, what it
//! leaves behind, what it refuses; and several machines that send to one.
//!
//! This program has its own `main`, since it is the receiver and the sender of other traffic, too. A filter on the command line runs the trials of
//! that name only. Start reading at [`truth`].

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test, but without `#[test]`")]

#[path = "../truth/application.rs"]
mod application;
#[path = "../common/mod.rs"]
mod common;
mod container;
mod far;
#[path = "../truth/frames.rs"]
mod frames;
mod kills;
mod place;
mod refusals;
mod senders;
mod truth;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use common::{User, users};

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    match words.split_first() {
        Some((verb, rest)) if verb == application::VERB => return application::main(rest),
        Some((verb, rest)) if verb == place::OTHERS => return place::send(rest),
        _ => {}
    }
    let arguments = Arguments::from_args();
    let users: &[User] = if arguments.list { &[User::Caller] } else { users() };
    let mut trials = truth::trials(users);
    trials.extend(words::trials(users));
    trials.extend(kills::trials(users));
    trials.extend(refusals::trials());
    trials.extend(container::trials());
    trials.extend(senders::trials());
    trials.extend(far::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A trial that has nothing to return.
fn trial(name: impl Into<String>, run: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        run();
        Ok(())
    })
}
