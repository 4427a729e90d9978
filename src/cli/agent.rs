//! `restage agent`: the receiver's part of a run, on the receiver's machine.

use super::status::Status;
use crate::run::remote::agent;

const MORE: &str = "\
It speaks with the run in lines of JSON over standard input and output, and ends when its standard input closes. `[receiver] at = \"ssh:HOST\"` starts it.";

/// Do the receiver's part of a run that sends from another machine. A run starts it there.
#[derive(Debug, clap::Args)]
#[command(hide = true, after_help = MORE)]
pub(super) struct Arguments {}

pub(super) fn agent() -> Status {
    if agent::main() == 0 { Status::Pass } else { Status::Error }
}
