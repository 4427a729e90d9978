//! `restage review`: what is proposed for snapshots, accepted or rejected.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use super::output::Output;
use super::status::Status;
use super::terminal::Terminal;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::expect::{PROPOSED, compared};
use crate::figures::count;
use crate::file::similar;

const EXAMPLES: &str = "\
Examples:
  restage review                    show each difference, and ask
  restage review scenarios --accept

Outside CI a run writes `NAME.snap.new` beside each snapshot that is missing or different. `git diff` shows what was accepted.";

/// So long the name of a snapshot ends.
const SNAPSHOT: &str = ".snap";

/// Accept or reject the snapshots that runs have proposed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Snapshots, and folders: every *.snap.new below them.
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,
    /// Accept all: each takes the place of its snapshot.
    #[arg(long, conflicts_with = "reject")]
    accept: bool,
    /// Reject all: each is removed.
    #[arg(long)]
    reject: bool,
}

/// What is done with a proposal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decision {
    Accept,
    Reject,
    Skip,
}

/// Shows the differences, and does what is decided.
pub(super) fn review(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    let mut proposals = Vec::new();
    for path in &arguments.paths {
        find(path, &mut proposals)?;
    }
    proposals.sort();
    proposals.dedup();
    let mut stdout = Output::stdout(terminal);
    if proposals.is_empty() {
        stdout.write("nothing to review\n");
        return Ok(stdout.status());
    }
    let decided = match (arguments.accept, arguments.reject) {
        (true, _) => Some(Decision::Accept),
        (false, true) => Some(Decision::Reject),
        (false, false) if std::io::stdin().is_terminal() => None,
        (false, false) => Some(Decision::Skip),
    };
    let mut counts = [0_u64; 3];
    for (index, proposal) in proposals.iter().enumerate() {
        let snapshot = snapshot_of(proposal);
        stdout.write(&format!("{} of {}: {}\n", index + 1, proposals.len(), snapshot.display()));
        stdout.write(&format!("{}\n", difference(&snapshot, proposal)?));
        let decision = match decided {
            Some(decision) => decision,
            None => ask()?,
        };
        match decision {
            Decision::Accept => {
                std::fs::rename(proposal, &snapshot).map_err(|error| cant("rename", proposal, &error))?
            }
            Decision::Reject => std::fs::remove_file(proposal).map_err(|error| cant("remove", proposal, &error))?,
            Decision::Skip => {}
        }
        counts[decision as usize] += 1;
    }
    let [accepted, rejected, left] = counts;
    stdout.write(&format!(
        "{}: {accepted} accepted, {rejected} rejected, {left} left\n",
        count(proposals.len() as u64, "snapshot")
    ));
    if left > 0 && decided.is_some() {
        let note = Diagnostic::note("nothing was asked: standard input is no terminal");
        Output::stderr(terminal).problems(&[note.fix("`--accept` or `--reject` decides for all")]);
        return Ok(Status::Fail);
    }
    Ok(stdout.status())
}

/// Every proposal at or below a path; a snapshot means what is proposed for it.
fn find(path: &Path, proposals: &mut Vec<PathBuf>) -> Result<()> {
    let metadata = std::fs::metadata(path).map_err(|error| match similar(path) {
        Some(near) => Failure::invalid(Diagnostic::error(format!("can't find `{}`", path.display())).fix(near)),
        None => cant("find", path, &error),
    })?;
    if !metadata.is_dir() {
        let named = if is_proposal(path) { path.to_owned() } else { with_ending(path) };
        if named.is_file() {
            proposals.push(named);
        }
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|error| cant("read", path, &error))?;
    for entry in entries {
        let entry = entry.map_err(|error| cant("read", path, &error))?;
        let kind = entry.file_type().map_err(|error| cant("read", &entry.path(), &error))?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        // A link may lead in circles.
        if kind.is_dir() && !hidden {
            find(&entry.path(), proposals)?;
        } else if kind.is_file() && is_proposal(&entry.path()) {
            proposals.push(without_dot(&entry.path()));
        }
    }
    Ok(())
}

/// `./a` as `a`.
fn without_dot(path: &Path) -> PathBuf {
    path.strip_prefix(".").unwrap_or(path).to_owned()
}

fn is_proposal(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.strip_suffix(PROPOSED).is_some_and(|snapshot| snapshot.ends_with(SNAPSHOT)))
}

fn with_ending(snapshot: &Path) -> PathBuf {
    PathBuf::from(format!("{}{PROPOSED}", snapshot.display()))
}

fn snapshot_of(proposal: &Path) -> PathBuf {
    let name = proposal.to_string_lossy();
    PathBuf::from(name.strip_suffix(PROPOSED).unwrap_or(&name))
}

fn difference(snapshot: &Path, proposal: &Path) -> Result<String> {
    let new = std::fs::read_to_string(proposal).map_err(|error| cant("read", proposal, &error))?;
    match std::fs::read_to_string(snapshot) {
        Ok(old) => {
            Ok(compared(&old, &new, &format!("`git diff --no-index {} {}`", snapshot.display(), proposal.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(format!("new:\n{}", new.lines().take(20).collect::<Vec<_>>().join("\n")))
        }
        Err(error) => Err(cant("read", snapshot, &error)),
    }
}

/// Asks on the terminal.
fn ask() -> Result<Decision> {
    loop {
        let mut stdout = std::io::stdout().lock();
        let asked = write!(stdout, "[a]ccept, [r]eject, [s]kip? ").and_then(|()| stdout.flush());
        drop(stdout);
        let mut answer = String::new();
        let read = asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer));
        let read = read.map_err(|error| Failure::system("can't ask on the terminal", &error))?;
        match (read, answer.trim()) {
            (_, "a" | "accept") => return Ok(Decision::Accept),
            (_, "r" | "reject") => return Ok(Decision::Reject),
            (0, _) | (_, "s" | "skip") => return Ok(Decision::Skip),
            _ => {}
        }
    }
}

fn cant(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::system(format!("can't {what} `{}`", path.display()), error)
}
