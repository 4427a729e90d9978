//! The `restage` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    restage::lab::hidden_verb(&arguments).unwrap_or(ExitCode::SUCCESS)
}
