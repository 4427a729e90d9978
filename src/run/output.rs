//! What the application made of it: the commands of `[[expect.command]]`, the files of `[[expect.output]]`.

use std::fs::File;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Run;
use super::application::{self, Site};
use super::control::Control;
use super::setting::Setting;
use crate::diagnostic::Result;
use crate::evidence::{Evidence, Output, Text};
use crate::expect::examine;
use crate::figures::{duration, size};
use crate::process::application::{Around, Ended};
use crate::scenario::Scenario;
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
        let process = self.receiver.process();
        let setting = process.map_or_else(|| Rc::new(site.plain_setting()), |process| Rc::clone(&process.setting));
        let around = process.and_then(|process| process.running.inside()).map(Around::After);
        for check in &self.scenario.expect.command {
            // Each has its time.
            self.control.phase("judge");
            evidence.commands.push(run(check, site, &setting, around, &self.control)?);
        }
        for check in &self.scenario.expect.output {
            let [stdout, stderr] = process.map_or([0; 2], |process| process.running.discarded());
            let seen = match &check.from.value {
                OutputFrom::Stdout => whole(self.scenario, stdout).and_then(|()| read(&check.rule, folder.stdout())),
                OutputFrom::Stderr => whole(self.scenario, stderr).and_then(|()| read(&check.rule, folder.stderr())),
                OutputFrom::File(file) => {
                    let path = folder.work().join(site.fill(file));
                    // As the application sees it: some folders are its own.
                    process.map_or_else(
                        || Ok(read(&check.rule, &path)),
                        |process| process.look(|| read(&check.rule, &path)),
                    )?
                }
            };
            evidence.outputs.push(match seen {
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

/// Refuses to judge an output of which a part was discarded.
fn whole(scenario: &Scenario, discarded: u64) -> std::result::Result<(), String> {
    if discarded == 0 {
        return Ok(());
    }
    let most = size(scenario.receiver.limits.output.value.bytes);
    Err(format!("it is longer than {most}, the limit by `[receiver] limits`, `output`, and the rest was discarded"))
}

fn run(
    check: &CommandCheck,
    site: Site<'_>,
    setting: &Setting,
    around: Option<Around<'_>>,
    control: &Control<'_>,
) -> Result<Output> {
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
    let mut running = site.start(&found, setting, around, &output)?;
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
    let [cut_stdout, cut_stderr] = running.discarded();
    let read_whole = |rule, path, cut| whole(site.scenario, cut).and_then(|()| read(rule, path));
    let stdout = read_whole(&check.stdout, &output.stdout, cut_stdout);
    match (stdout, read_whole(&check.stderr, &output.stderr, cut_stderr)) {
        (Ok(stdout), Ok(stderr)) => Ok(Output { stdout, stderr, status, failure: None }),
        (Err(why), _) | (_, Err(why)) => failed(why),
    }
}
