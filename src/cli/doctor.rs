//! `restage doctor`: can this machine make a lab, as this user; if not, what refuses, and the ways out.

use std::fmt::Write as _;

use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use crate::lab::doctor::{State, probe};

/// Say whether this machine can make a lab, as this user; if not, what refuses, and the ways out.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

/// Prints every finding. A lab that can't be made is blocked.
pub(super) fn doctor(_: &Arguments, terminal: &Terminal) -> Status {
    let findings = probe();
    let mut text = String::new();
    for finding in &findings {
        let state = match finding.state {
            State::Good => "good",
            State::Bad => "bad ",
            State::Unknown => "?   ",
        };
        let _infallible = writeln!(text, "{state}  {}\n      {}", finding.what, finding.why.replace('\n', "\n      "));
        if let Some(fix) = &finding.fix {
            let _infallible = writeln!(text, "      fix: {}", fix.replace('\n', "\n           "));
        }
    }
    let mut stdout = Output::stdout(terminal);
    stdout.write(&text);
    // The first finding is the lab itself; what works less well stops nothing.
    let bad = findings.first().is_some_and(|finding| finding.state == State::Bad);
    stdout.status().max(if bad { Status::Blocked } else { Status::Pass })
}
