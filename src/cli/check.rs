//! `restage check`: are these scenarios valid?

use std::path::PathBuf;

use super::collect;
use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use crate::diagnostic::Result;
use crate::file::{Claim, Claims};
use crate::scenario;

/// Say whether scenarios are valid, with all problems of all of them at once.
///
/// Reads nothing but the scenarios themselves, sends nothing, and needs no privilege.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Scenario files, and folders: every *.toml below them that has `format`; `-` is standard input.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// Each scenario gets its line on standard output, what is wrong goes to standard error.
pub(super) fn check(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let (mut stdout, mut stderr) = (Output::stdout(terminal), Output::stderr(terminal));
    let mut status = Status::Pass;
    let (mut valid, mut invalid) = (0, 0);
    let collected = collect::scenarios(&arguments.paths)?;
    Claims::new(collected.found.iter().map(|found| Claim::new(&found.path, "the scenario")).collect())?;
    for collect::Found { path, text } in collected.found {
        match text.and_then(|text| scenario::check(&text)) {
            Ok(_) => {
                valid += 1;
                stdout.write(&format!("valid    {}\n", path.display()));
            }
            Err(failure) => {
                invalid += 1;
                stdout.write(&format!("invalid  {}\n", path.display()));
                stderr.problems(&failure.problems);
                // So that the next scenario's line stands apart.
                stderr.write("\n");
                status = status.max(failure.kind.into());
            }
        }
    }
    stderr.problems(&collected.notes);
    stdout.write(&format!("{valid} valid, {invalid} invalid\n"));
    Ok(status.max(stdout.status()).max(stderr.status()))
}
