//! What the application made of it: the commands of `[[expect.command]]`, the files of `[[expect.output]]`.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Run;
use super::control::Control;
use super::receiver::create;
use crate::diagnostic::Result;
use crate::evidence::{Evidence, Output, Text};
use crate::expect::examine;
use crate::figures::duration;
use crate::host::program;
use crate::process::application::{Ended, Start};
use crate::process::work::WorkFolder;
use crate::scenario::expect::{CommandCheck, OutputFrom, TextRule};
use crate::testbed::Side;

/// How long a command has, whatever the run's limit leaves.
const LEAST: Duration = Duration::from_secs(10);
/// How often it is looked whether the run is interrupted meanwhile.
const LOOK: Duration = Duration::from_millis(50);

impl Run<'_> {
    /// Runs the commands and reads the files, in the receiver's namespace, after the application has stopped.
    pub(super) fn examine_output(&mut self, evidence: &mut Evidence) -> Result<()> {
        if self.control.is_interrupted() {
            return Ok(());
        }
        let Some(folder) = self.receiver.folder() else { return Ok(()) };
        let fill = |text: &str| self.testbed.fill(text, self.scenario, folder.work());
        for check in &self.scenario.expect.command {
            // Each has its time.
            self.control.phase("judge");
            let words: Vec<String> = check.run.value.iter().map(|word| fill(word)).collect();
            evidence.commands.push(run(check, &words, self.testbed.receiver(), folder, &self.control)?);
        }
        for check in &self.scenario.expect.output {
            let path = match &check.from.value {
                OutputFrom::Stdout => folder.stdout().to_owned(),
                OutputFrom::Stderr => folder.stderr().to_owned(),
                OutputFrom::File(file) => folder.work().join(fill(file)),
            };
            evidence.outputs.push(match read(&check.rule, &path) {
                Ok(stdout) => Output { stdout, ..Output::default() },
                Err(why) => Output { failure: Some(why), ..Output::default() },
            });
        }
        Ok(())
    }
}

/// Looks into a file; why that can't be done otherwise.
fn read(rule: &TextRule, path: &Path) -> std::result::Result<Text, String> {
    let said = |error: std::io::Error| format!("{}: {error}", path.display());
    // A pipe would be waited for, and a device may have no end.
    if !std::fs::metadata(path).map_err(said)?.is_file() {
        return Err(format!("{}: it is not a regular file", path.display()));
    }
    examine(rule, || File::open(path)).map_err(said)
}

fn run(
    check: &CommandCheck,
    words: &[String],
    receiver: &Side,
    folder: &WorkFolder,
    control: &Control<'_>,
) -> Result<Output> {
    let failed = |why: String| Ok(Output { failure: Some(why), ..Output::default() });
    let Some((name, arguments)) = words.split_first() else { return failed("the command is empty".to_owned()) };
    let Some(path) = program::find(name) else {
        let problem = program::missing(name);
        return failed(format!("{}: {}", problem.what, problem.why.unwrap_or_default()));
    };
    let (stdout, stderr) =
        (folder.stdout().with_file_name("check-stdout"), folder.stderr().with_file_name("check-stderr"));
    let mut running = receiver.start(&Start {
        program: &path,
        arguments,
        folder: folder.work(),
        surroundings: folder.surroundings(),
        stdout: create(&stdout)?,
        stderr: create(&stderr)?,
    })?;
    let limit = control.left().max(LEAST);
    let begun = Instant::now();
    let ended = loop {
        if let Some(ended) = running.wait_for_program(LOOK)? {
            break ended;
        }
        if begun.elapsed() >= limit || control.is_interrupted() {
            let _ = running.stop(9, Duration::from_secs(1));
            return failed(format!("it did not end within {}, and was killed", duration(begun.elapsed())));
        }
    };
    let status = match ended {
        Ended::Exited(status) => Some(status),
        Ended::Signalled(_) => None,
        Ended::NotStarted(why) => return failed(format!("it could not be started: {why}")),
    };
    match (read(&check.stdout, &stdout), read(&check.stderr, &stderr)) {
        (Ok(stdout), Ok(stderr)) => Ok(Output { stdout, stderr, status, failure: None }),
        (Err(why), _) | (_, Err(why)) => failed(why),
    }
}
