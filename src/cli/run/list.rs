//! `run --list`: what would run.

use crate::cli::choose::{Choice, Chosen};
use crate::cli::output::Output;
use crate::cli::status::Status;
use crate::cli::terminal::Terminal;
use crate::diagnostic::Result;
use crate::report::list::{List, Listed, paths, text};

/// What is printed of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Path, tags and summary.
    Text,
    /// The path.
    Paths,
    Json,
}

/// Prints the scenarios; what is wrong with some of them goes to standard error.
pub(super) fn list(choice: Choice, form: Form, terminal: &Terminal) -> Result<Status> {
    let (mut stdout, mut stderr) = (Output::stdout(terminal), Output::stderr(terminal));
    let list = List { format: 1, scenarios: choice.scenarios.iter().map(listed).collect() };
    match form {
        Form::Text => stdout.write(&text(&list, stdout.look(), Terminal::stdout_is_one())),
        Form::Paths => stdout.write(&paths(&list)),
        Form::Json => stdout.json(&list)?,
    }
    let mut status = Status::Pass;
    let mut problems = Vec::new();
    for failure in choice.scenarios.into_iter().filter_map(|chosen| chosen.checked.err()) {
        status = status.max(failure.kind.into());
        problems.extend(failure.problems);
    }
    problems.extend(choice.notes);
    stderr.problems(&problems);
    Ok(status.max(stdout.status()).max(stderr.status()))
}

fn listed(chosen: &Chosen) -> Listed {
    Listed {
        name: chosen.name.clone(),
        file: chosen.path.display().to_string(),
        tags: chosen.tags().to_vec(),
        summary: chosen.summary.clone(),
        valid: chosen.checked.is_ok(),
    }
}
