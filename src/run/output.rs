//! What the application made of it: the commands of `[[expect.command]]`, the files of `[[expect.output]]`.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Run;
use super::application::{self, Setting, Site};
use super::control::Control;
use crate::diagnostic::Result;
use crate::evidence::{Evidence, Output, Text};
use crate::expect::examine;
use crate::figures::duration;
use crate::process::application::Ended;
use crate::scenario::expect::{CommandCheck, OutputFrom, TextRule};

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
        let site = Site { scenario: self.scenario, testbed: &self.testbed, folder };
        let setting = site.setting(&self.scenario.receiver)?;
        for check in &self.scenario.expect.command {
            // Each has its time.
            self.control.phase("judge");
            evidence.commands.push(run(check, site, &setting, &self.control)?);
        }
        for check in &self.scenario.expect.output {
            let path = match &check.from.value {
                OutputFrom::Stdout => folder.stdout().to_owned(),
                OutputFrom::Stderr => folder.stderr().to_owned(),
                OutputFrom::File(file) => folder.work().join(site.fill(file)),
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

fn run(check: &CommandCheck, site: Site<'_>, setting: &Setting, control: &Control<'_>) -> Result<Output> {
    let failed = |why: String| Ok(Output { failure: Some(why), ..Output::default() });
    let found = match site.find(&check.run) {
        Ok(found) => found,
        Err(failure) => {
            let said = failure.problems.into_iter().next();
            return failed(
                said.map_or_else(String::new, |said| format!("{}: {}", said.what, said.why.unwrap_or_default())),
            );
        }
    };
    let output = application::Output::beside(site.folder, "check");
    let mut running = site.start(&found, setting, None, &output)?;
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
    match (read(&check.stdout, &output.stdout), read(&check.stderr, &output.stderr)) {
        (Ok(stdout), Ok(stderr)) => Ok(Output { stdout, stderr, status, failure: None }),
        (Err(why), _) | (_, Err(why)) => failed(why),
    }
}
