//! The `restage` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    restage::main(std::env::args_os())
}
