//! `run --watch`: scenarios run again when they, or a file that they name, have changed.
//!
//! Whether a file has changed is known by its size, its time and its inode. Events of the file system only say when to look: they are waited for
//! between two runs, never meanwhile, since a thread that waits for them would take the signals of a run. Start at [`watch`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};

use notify::event::{AccessKind, AccessMode};
use notify::{ErrorKind, Event, EventKind, RecursiveMode, Watcher};

use super::{Arguments, Ended, Reports, once};
use crate::cli::choose::{Choice, Chosen};
use crate::cli::output::Output;
use crate::cli::status::Status;
use crate::cli::terminal::Terminal;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::figures::count;
use crate::file::is_standard_input;
use crate::scenario::Scenario;

/// When nothing has changed for so long, an editor or a version control system has written what it writes.
const QUIET: Duration = Duration::from_millis(200);

/// What is known of a file; `None`: it is not there.
type State = Option<(u64, Option<SystemTime>, u64)>;

/// Files with their states.
type States = BTreeMap<PathBuf, State>;

/// Runs what is chosen, and from then on what has changed, until it is interrupted.
pub(super) fn watch(arguments: &Arguments, reports: &Reports, terminal: &Terminal) -> Result<Status> {
    if let Some(path) = arguments.choosing.paths.iter().find(|path| is_standard_input(path)) {
        let problem = Diagnostic::error(format!("`{}` can't be watched", path.display()));
        let problem =
            problem.why("`--watch` reads a scenario more than once, and standard input can be read only once");
        return Err(Failure::invalid(problem.fix("name a file, or leave `--watch` out")));
    }
    let mut stderr = Output::stderr(terminal);
    let mut seen = States::new();
    let mut choice = arguments.choice()?;
    loop {
        let now = states(&choice.scenarios);
        let (folders, written) = (folders(arguments, &now), written(arguments, &choice.scenarios));
        let all = choice.scenarios.len();
        choice.scenarios.retain(|chosen| is_due(chosen, &seen, &now));
        choice.left_out += all - choice.scenarios.len();
        seen = now;
        match once(arguments, choice, reports, terminal) {
            Ok((status, Ended::Interrupted)) => return Ok(status),
            Ok((_, Ended::ByItself)) => {}
            Err(failure) => stderr.problems(&failure.problems),
        }
        // What a run itself changes is no reason for another one.
        seen.iter_mut().filter(|(file, _)| written.contains(*file)).for_each(|(file, known)| *known = state(file));
        let watched = format!("{} in {}", count(all as u64, "scenario"), count(seen.len() as u64, "file"));
        stderr.write(&format!("\nwatching {watched}; Ctrl-C ends\n\n"));
        choice = wait(arguments, &seen, &folders, &mut stderr)?;
    }
}

/// Waits until a scenario is due; the choice as it is then.
fn wait(
    arguments: &Arguments,
    seen: &States,
    folders: &BTreeMap<PathBuf, RecursiveMode>,
    stderr: &mut Output,
) -> Result<Choice> {
    let (sender, events) = channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event.map_or(true, |event| changes_something(event.kind)) {
            // No one listens any more when the wait is over.
            let _ = sender.send(());
        }
    })
    .map_err(|error| cant_watch(&error))?;
    for (folder, mode) in folders {
        watcher.watch(folder, *mode).map_err(|error| cant_watch(&error))?;
    }
    let mut refused = None;
    loop {
        match arguments.choice() {
            Ok(choice) => {
                let now = states(&choice.scenarios);
                if choice.scenarios.iter().any(|chosen| is_due(chosen, seen, &now)) {
                    return Ok(choice);
                }
            }
            // Such as a folder whose only scenario was removed. It is said once.
            Err(failure) if refused.as_ref() != Some(&failure) => {
                stderr.problems(&failure.problems);
                refused = Some(failure);
            }
            Err(_) => {}
        }
        if !something_happens(&events) {
            return Err(Failure::error(Diagnostic::error("can't watch the files any more")));
        }
    }
}

/// Whether it is more than someone who reads, as this program does.
fn changes_something(event: EventKind) -> bool {
    match event {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Waits for an event, and then until there are no more; whether there can be any.
fn something_happens(events: &Receiver<()>) -> bool {
    let mut next = events.recv().map_err(|_| RecvTimeoutError::Disconnected);
    while next.is_ok() {
        next = events.recv_timeout(QUIET);
    }
    matches!(next, Err(RecvTimeoutError::Timeout))
}

/// The files that decide how a scenario's run goes.
fn files(chosen: &Chosen) -> impl Iterator<Item = PathBuf> {
    let scenario = chosen.checked.as_ref().ok();
    let named = scenario.into_iter().flat_map(|scenario| {
        let inputs = scenario.inputs().into_iter().map(|claim| claim.path().to_path_buf());
        inputs.chain(scenario.snapshots().map(|path| path.value.clone())).collect::<Vec<_>>()
    });
    [chosen.path.clone()].into_iter().chain(named)
}

/// The files that a run may write itself: those that its commands have for arguments, and the snapshots.
fn written(arguments: &Arguments, scenarios: &[Chosen]) -> BTreeSet<PathBuf> {
    let scenarios = || scenarios.iter().filter_map(|chosen| chosen.checked.as_ref().ok());
    let snapshots = scenarios().flat_map(Scenario::snapshots).map(|path| path.value.clone());
    let snapshots = snapshots.filter(|_| arguments.update_snapshots);
    scenarios().flat_map(Scenario::argument_files).chain(snapshots).collect()
}

/// The folders in which something may happen to files: theirs, and everything below those of the command line, where new scenarios may appear.
fn folders(arguments: &Arguments, files: &States) -> BTreeMap<PathBuf, RecursiveMode> {
    let existing = |file: &PathBuf| {
        let folders =
            file.ancestors().skip(1).map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
        folders
            .into_iter()
            .find(|folder| folder.is_dir())
            .map(|folder| (folder.to_path_buf(), RecursiveMode::NonRecursive))
    };
    let given = arguments.choosing.paths.iter().filter(|path| path.is_dir());
    files.keys().filter_map(existing).chain(given.map(|path| (path.clone(), RecursiveMode::Recursive))).collect()
}

fn states(scenarios: &[Chosen]) -> States {
    scenarios.iter().flat_map(files).map(|file| (state(&file), file)).map(|(state, file)| (file, state)).collect()
}

fn state(file: &Path) -> State {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.len(), metadata.modified().ok(), metadata.ino()))
}

/// Whether a file of the scenario is not as it was, or was not known.
fn is_due(chosen: &Chosen, seen: &States, now: &States) -> bool {
    files(chosen).any(|file| seen.get(&file) != now.get(&file))
}

fn cant_watch(error: &notify::Error) -> Failure {
    let problem = Diagnostic::error("can't watch the files of the scenarios");
    let problem = match error.paths.first() {
        Some(path) => problem.why(format!("{}: {error}", path.display())),
        None => problem.why(error.to_string()),
    };
    Failure::error(match error.kind {
        ErrorKind::MaxFilesWatch => {
            problem.fix("name fewer folders, or raise the limit: `sudo sysctl fs.inotify.max_user_watches=…`")
        }
        _ => problem.fix("check the permissions of the folders; `sysctl fs.inotify` shows the limits of this machine"),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn events_in_a_row_are_one() {
        let (sender, events) = channel();
        let writing = thread::spawn(move || {
            for _ in 0..10 {
                sender.send(()).expect("someone listens");
                thread::sleep(Duration::from_millis(1));
            }
            sender
        });
        assert!(something_happens(&events));
        assert!(events.try_recv().is_err(), "all of them were taken");
        drop(writing.join().expect("it sends"));
        assert!(!something_happens(&events), "no one sends any more");
    }
}
