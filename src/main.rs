//! The `restage` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    restage::cli::main(std::env::args_os())
}
