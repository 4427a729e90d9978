//! One program of the receiver: how it is started, becomes ready, and is stopped.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::control::Control;
use super::foreground;
use super::ready;
use super::setting::Setting;
use super::work_watch::WorkWatch;
use crate::diagnostic::{At, Diagnostic, Failure, Result};
use crate::evidence::ApplicationEnd;
use crate::host::program;
use crate::host::sockets::SocketTable;
use crate::outcome;
use crate::plan::Plan;
use crate::process::application::{Application, Around, Ended, Start, Stopped};
use crate::process::work::{self, WorkFolder};
use crate::scenario::Scenario;
use crate::scenario::require::Listener;
use crate::testbed::Testbed;

/// How long it has to end after its stop signal.
const GRACE: Duration = Duration::from_secs(5);
/// The same where the run is interrupted.
const HASTY_GRACE: Duration = Duration::from_secs(1);
/// How much of its output a report holds.
const TAIL: u64 = 4096;

/// Where the programs of a run are started.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) testbed: &'a Testbed,
    pub(super) folder: &'a WorkFolder,
}

/// A program that was found, with its arguments.
pub(super) struct Found {
    /// As it is written, placeholders filled in.
    pub(super) command: Vec<String>,
    program: PathBuf,
}

impl Found {
    pub(super) fn program(&self) -> &Path {
        &self.program
    }
}

impl Site<'_> {
    pub(super) fn fill(&self, text: &str) -> String {
        self.testbed.fill(text, self.scenario, self.folder.work())
    }

    /// A problem with what the scenario says here.
    pub(super) fn problem(&self, what: String, span: Option<&Range<usize>>) -> Diagnostic {
        Diagnostic::error(what).at(&self.scenario.source, span.cloned())
    }

    /// Finds a program.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] where it isn't there.
    pub(super) fn find(&self, written: &At<Vec<String>>) -> Result<Found> {
        let command: Vec<String> = written.value.iter().map(|word| self.fill(word)).collect();
        let problem = |what| self.problem(what, written.span.as_ref());
        let name = command.first().ok_or_else(|| Failure::invalid(problem("`command` is empty".to_owned())))?;
        let Some(program) = program::find(name) else {
            let Diagnostic { what, why, fix, .. } = program::missing(name);
            return Err(Failure::blocked(Diagnostic { why, fix, ..problem(what) }));
        };
        Ok(Found { command, program })
    }

    /// Starts a program in the receiver's namespace.
    pub(super) fn start(
        &self,
        found: &Found,
        setting: &Setting,
        around: Option<Around<'_>>,
        output: &Output,
    ) -> Result<Application> {
        self.testbed.receiver().start(&Start {
            program: &found.program,
            arguments: found.command.get(1..).unwrap_or_default(),
            folder: &setting.folder,
            environment: &setting.environment,
            surroundings: around.unwrap_or(Around::Own(&setting.surroundings)),
            rights: &setting.rights,
            most_output: Some(setting.most_output),
            stdout: create(&output.stdout)?,
            stderr: create(&output.stderr)?,
        })
    }
}

/// The files that the output of a program goes to.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub(super) stdout: PathBuf,
    pub(super) stderr: PathBuf,
}

impl Output {
    /// That of a helper of this name, beside the application's.
    pub(super) fn beside(folder: &WorkFolder, name: &str) -> Self {
        let file = |stream: &str| folder.stdout().with_file_name(format!("{name}-{stream}"));
        Self { stdout: file("stdout"), stderr: file("stderr") }
    }

    pub(super) fn of_application(folder: &WorkFolder) -> Self {
        Self { stdout: folder.stdout().to_owned(), stderr: folder.stderr().to_owned() }
    }

    /// What a report says of a program that wrote it.
    pub(super) fn report(&self, command: &[String], ended: &str) -> outcome::Application {
        let (stdout, stderr) = (tail(&self.stdout), tail(&self.stderr));
        outcome::Application { command: command.to_vec(), ended: ended.to_owned(), stdout, stderr }
    }

    /// Its last lines, in words.
    pub(super) fn said(&self) -> String {
        self.report(&[], "").said()
    }
}

/// A program of the receiver that runs.
pub(super) struct Process {
    pub(super) running: Application,
    pub(super) command: Vec<String>,
    pub(super) output: Output,
    /// What it finds, and the commands beside it.
    pub(super) setting: Rc<Setting>,
    ended: Option<Ended>,
    watch: WorkWatch,
    /// What it is to serve, and the sockets that are there.
    pub(super) listens: Vec<Listener>,
    pub(super) sockets: SocketTable,
}

impl Process {
    /// Starts the application, and comes back when it is ready.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] where it can't be started or is not ready in time.
    pub(super) fn start(site: Site<'_>, plan: &Plan, written: &At<Vec<String>>, control: &Control<'_>) -> Result<Self> {
        let words = &site.scenario.receiver;
        let found = site.find(written)?;
        let setting = Rc::new(site.setting(words, &found, plan.first_ns)?);
        let conditions = ready::Conditions::of(site, words, Rc::clone(&setting))?;
        let output = Output::of_application(site.folder);
        let sockets = site.testbed.receiver().sockets()?;
        let running = site
            .start(&found, &setting, None, &output)
            .map_err(|failure| failure.at(&site.scenario.source, written.span.as_ref()))?;
        let watch = WorkWatch::start(site.folder.work().to_owned(), words.limits.work.value.bytes, running.killer()?)?;
        let listens = plan.listens().to_vec();
        let mut process =
            Self { running, command: found.command, output, setting, ended: None, watch, listens, sockets };
        conditions.await_all(&mut process, control)?;
        Ok(process)
    }

    /// How all of it ended, once it has.
    pub(super) fn ended(&mut self) -> Result<Option<&Ended>> {
        if self.ended.is_none() {
            self.ended = self.running.ended()?;
        }
        Ok(self.ended.as_ref())
    }

    /// Whether it was killed because it wrote too much into `{work}`.
    pub(super) fn wrote_too_much(&self) -> bool {
        self.watch.has_exceeded()
    }

    /// Runs `look` where the application's files are seen.
    pub(super) fn look<T: Send>(&self, look: impl FnOnce() -> T + Send) -> Result<T> {
        match self.running.inside() {
            Some(inside) => inside.run(look),
            None => Ok(look()),
        }
    }

    /// The first socket that it is to serve and does not.
    pub(super) fn first_unserved(&self) -> Result<Option<&Listener>> {
        self.sockets.first_unserved(&self.listens)
    }

    /// Stops it; how it ended, and what a report says of it.
    pub(super) fn stop(
        &mut self,
        site: Site<'_>,
        control: &Control<'_>,
    ) -> Result<(ApplicationEnd, outcome::Application)> {
        let grace = if control.is_interrupted() { HASTY_GRACE } else { GRACE };
        let signal = site.scenario.receiver.stop;
        self.ended()?;
        let background = self.running.has_left_others();
        // What goes on may be something else than the server.
        let serves = !background || self.first_unserved()?.is_none();
        let (stopped, was_stopped) = match &self.ended {
            Some(ended) => (Stopped { ended: ended.clone(), killed: false }, false),
            None if serves => (self.running.stop(signal, grace)?, true),
            None => {
                self.running.stop(signal, grace)?;
                (Stopped { ended: Ended::Exited(0), killed: false }, false)
            }
        };
        let (status, signal) = match stopped.ended {
            Ended::Exited(status) => (Some(status), None),
            Ended::Signalled(signal) => (None, Some(signal)),
            Ended::NotStarted(_) => (None, None),
        };
        let end = ApplicationEnd {
            status,
            signal,
            stopped: was_stopped,
            killed_after: stopped.killed.then_some(grace),
            background,
            remedy: how_it_runs_on(&self.command, &stopped.ended),
            wrote_too_much: self.wrote_too_much(),
            full: site.folder.is_full().then(|| site.folder.work().to_owned()),
        };
        Ok((end, self.output.report(&self.command, &stopped.ended.to_string())))
    }
}

/// What lets an application run that ended before its stop signal. A shell and its like (`env`, `timeout`, `setpriv`) end with 127 where
/// they find no program, with 126 where they may not execute it (POSIX, XCU 2.8.2).
pub(super) fn how_it_runs_on(command: &[String], ended: &Ended) -> String {
    let remedy = match ended {
        Ended::Exited(0) => return in_the_foreground(command),
        Ended::Exited(127) => {
            "a program that the command starts was not found: install it, or write its whole path; \
             `[require] commands = [\"…\"]` skips the scenario where it is absent"
        }
        Ended::Exited(126) => {
            "a program that the command starts can't be executed: `chmod a+rx` it, or start it by its interpreter"
        }
        Ended::Signalled(_) => "start it by hand with the same arguments, and look at its core dump or its output",
        _ if work::is_root() => "start it by hand, and mend what it complains of; its files belong into {work}",
        _ => "start it by hand as this user, and mend what it complains of; its files belong into {work}",
    };
    remedy.to_owned()
}

/// How it stays in the foreground.
pub(super) fn in_the_foreground(command: &[String]) -> String {
    let own = foreground::advice(command);
    own.unwrap_or_else(|| {
        "start it with the option that keeps it in the foreground (-f, -n, -F, -d, `--foreground` …)".to_owned()
    })
}

/// The last lines of a file, at most [`TAIL`] bytes.
fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<(bool, Vec<u8>)> {
        let mut file = File::open(path)?;
        let cut = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(cut))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok((cut > 0, bytes))
    };
    let (cut, bytes) = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if cut { text.split_once('\n').map_or(text.clone(), |(_, rest)| rest.to_owned()) } else { text }
}

/// Makes a file for the output of a program.
pub(super) fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(|error| Failure::system(format!("can't write `{}`", path.display()), &error))
}
