//! `restage check`: are these scenarios valid?

use std::path::Path;

use super::choose::{self, Choosing, Chosen};
use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use crate::diagnostic::{At, Diagnostic, Failure, Kind, Result};
use crate::file::{Claim, Claims};
use crate::host::program;
use crate::plan::{Selector, open_capture, reply_filter};
use crate::scenario::Scenario;
use crate::scenario::topology::Ruleset;

/// Report all errors in the scenarios, with line numbers.
///
/// Reads the scenarios and the beginning of their captures, sends nothing, and needs no privilege. `restage plan` reads the captures.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    choosing: Choosing,
}

/// Each scenario gets its line on standard output, what is wrong goes to standard error.
pub(super) fn check(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let (mut stdout, mut stderr) = (Output::stdout(terminal), Output::stderr(terminal));
    let mut status = Status::Pass;
    let (mut valid, mut invalid) = (0, 0);
    let choice = choose::scenarios(&arguments.choosing, None)?;
    Claims::new(choice.scenarios.iter().map(|chosen| Claim::new(&chosen.path, "the scenario")).collect())?;
    for Chosen { path, checked, .. } in choice.scenarios {
        match checked.and_then(|scenario| usable(&scenario)) {
            Ok(warnings) => {
                valid += 1;
                stdout.write(&format!("valid    {}\n", path.display()));
                stderr.problems(&warnings);
            }
            Err(failure) => {
                invalid += 1;
                stdout.write(&format!("invalid  {}\n", path.display()));
                stderr.problems(&failure.problems);
                // An empty line before the next scenario.
                stderr.write("\n");
                status = status.max(failure.kind.into());
            }
        }
    }
    stderr.problems(&choice.notes);
    stdout.write(&format!("{valid} valid, {invalid} invalid\n"));
    Ok(status.max(stdout.status()).max(stderr.status()))
}

/// Everything beside the text of a valid scenario that can be known to be wrong: its filter, its captures, the files that it names. Gives
/// the warnings: what may be there by the time of a run.
fn usable(scenario: &Scenario) -> Result<Vec<Diagnostic>> {
    let mut problems = Vec::new();
    problems.extend(Selector::new(scenario, None).err().into_iter().flat_map(|failure| failure.problems));
    problems.extend(reply_filter(scenario).err().into_iter().flat_map(|failure| failure.problems));
    // What is no file, such as a pipe, can be read only once.
    if scenario.capture.files.paths().all(|path| path.is_file() || !path.exists())
        && scenario.capture.files.standard_input().is_none()
    {
        problems.extend(open_capture(scenario).err().into_iter().flat_map(|failure| failure.problems));
    }
    let ruleset = scenario.topology.lab().and_then(|lab| lab.ruleset.as_ref());
    if let Some(At { value: Ruleset::File(path), span }) = ruleset {
        problems.extend(unreadable("the ruleset", path).map(|problem| problem.at(&scenario.source, span.clone())));
    }
    for file in scenario.expected_files() {
        let problem = unreadable("the expected output", &file.value);
        problems.extend(problem.map(|problem| problem.at(&scenario.source, file.span.clone())));
    }
    for (file, span) in scenario.receiver_files() {
        let problem = unreadable("a file of the receiver", file);
        problems.extend(problem.map(|problem| problem.at(&scenario.source, span.cloned())));
    }
    let mut warnings = Vec::new();
    for At { value: path, span } in scenario.snapshots().filter(|path| !path.value.exists()) {
        let warning = Diagnostic::warning(format!("there is no snapshot `{}` yet", path.display()));
        let warning = warning.fix("run with `--update-snapshots`, review the file, and check it in");
        warnings.push(warning.at(&scenario.source, span.clone()));
    }
    // Where a required command is absent, a run is skipped.
    if scenario.topology.agent().is_none()
        && scenario.require.commands.iter().all(|command| program::find(&command.value).is_some())
    {
        let absent = scenario.programs().filter(|program| program::find(&program.value).is_none());
        warnings.extend(absent.map(|absent| {
            let Diagnostic { what, why, fix, .. } = program::missing(&absent.value);
            Diagnostic { why, fix, ..Diagnostic::warning(what) }.at(&scenario.source, absent.span)
        }));
    }
    if problems.is_empty() {
        return Ok(warnings);
    }
    problems.extend(warnings);
    Err(Failure { kind: Kind::Invalid, problems })
}

/// Why a file that the scenario names can't be read.
fn unreadable(what: &str, path: &Path) -> Option<Diagnostic> {
    let error = std::fs::File::open(path).err()?;
    let problem = Diagnostic::error(format!("can't read {what} `{}`", path.display())).why(error.to_string());
    Some(problem.fix("check the name, which is relative to the scenario's folder, and the file's permissions"))
}
