//! The `restage` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // What only restage itself calls comes first: it enters namespaces, which takes a process that has no threads yet.
    restage::entry::hidden_verb(arguments.get(1..).unwrap_or_default()).unwrap_or_else(|| restage::cli::main(arguments))
}
