//! What the application made of it: the commands of `[[expect.command]]`, the files of `[[expect.output]]`.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Session;
use super::receiver::{Receiver, create};
use super::site::Site;
use crate::diagnostic::Result;
use crate::evidence::{Evidence, Output};
use crate::lab::application::{Application, Ended, Start};
use crate::lab::program;
use crate::lab::work::WorkFolder;
use crate::scenario::Scenario;
use crate::scenario::expect::OutputFrom;

/// The most of a text that is looked at.
const MOST_BYTES: u64 = 64 << 20;
/// How long a command has, whatever the run's limit leaves.
const LEAST: Duration = Duration::from_secs(10);
/// How often it is looked whether the run is interrupted meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// Runs the commands and reads the files, in the receiver's namespace, after the application has stopped.
pub(super) fn collect(
    scenario: &Scenario,
    site: &Site,
    receiver: &Receiver,
    session: &mut Session<'_>,
    evidence: &mut Evidence,
) -> Result<()> {
    if session.parent.parent_is_gone() {
        return Ok(());
    }
    let Some(folder) = receiver.folder() else { return Ok(()) };
    for check in &scenario.expect.command {
        // Each has its time.
        session.phase("judge");
        let words: Vec<String> = check.run.value.iter().map(|word| site.fill(word, folder.work())).collect();
        evidence.commands.push(run(&words, site, folder, session)?);
    }
    for check in &scenario.expect.output {
        evidence.outputs.push(match &check.from.value {
            OutputFrom::Stdout => read(folder.stdout()),
            OutputFrom::Stderr => read(folder.stderr()),
            OutputFrom::File(file) => read(&folder.work().join(site.fill(file, folder.work()))),
        });
    }
    Ok(())
}

fn read(path: &Path) -> Output {
    let mut stdout = Vec::new();
    match File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut stdout)) {
        Ok(_) => Output { stdout, ..Output::default() },
        Err(error) => Output { failure: Some(format!("{}: {error}", path.display())), ..Output::default() },
    }
}

fn run(words: &[String], site: &Site, folder: &WorkFolder, session: &Session<'_>) -> Result<Output> {
    let failed = |why: String| Ok(Output { failure: Some(why), ..Output::default() });
    let Some((name, arguments)) = words.split_first() else { return failed("the command is empty".to_owned()) };
    let Some(path) = program::find(name) else {
        return failed(format!("there is no program `{name}` here (looked for in PATH, then in /usr/sbin and /sbin)"));
    };
    let (stdout, stderr) =
        (folder.stdout().with_file_name("check-stdout"), folder.stderr().with_file_name("check-stderr"));
    let mut running = Application::start(&Start {
        program: &path,
        arguments,
        folder: folder.work(),
        receiver: &site.receiver,
        stdout: create(&stdout)?,
        stderr: create(&stderr)?,
    })?;
    let limit = session.left().max(LEAST);
    let begun = Instant::now();
    let ended = loop {
        if let Some(ended) = running.wait(LOOK)? {
            break ended;
        }
        if begun.elapsed() >= limit || session.parent.parent_is_gone() {
            let _ = running.stop(9, Duration::from_secs(1));
            return failed(format!("it did not end within {:.0} s, and was killed", begun.elapsed().as_secs_f64()));
        }
    };
    let status = match ended {
        Ended::Exited(status) => Some(status),
        Ended::Signalled(_) => None,
        Ended::NotStarted(why) => return failed(format!("it could not be started: {why}")),
    };
    Ok(Output { stdout: read(&stdout).stdout, stderr: read(&stderr).stdout, status, failure: None })
}
