//! One program of the receiver, the application or a process beside it: how it is started, becomes ready, and is stopped. Start at
//! [`Process::start`].

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
use crate::evidence::{ApplicationEnd, ProgramEnd};
use crate::host::program;
use crate::host::sockets::SocketTable;
use crate::outcome;
use crate::process::application::{Application, Around, Ended, Start, Stopped};
use crate::process::inside::Inside;
use crate::process::work::{self, WorkFolder};
use crate::scenario::Scenario;
use crate::scenario::receiver::Program;
use crate::scenario::require::Listener;
use crate::testbed::Testbed;

/// How long it has to end after its stop signal.
const GRACE: Duration = Duration::from_secs(5);
/// The same where the run is interrupted.
pub(super) const HASTY_GRACE: Duration = Duration::from_secs(1);
/// How much of its output a report holds.
const TAIL: u64 = 4096;

/// Where the programs of a run are started.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) testbed: &'a Testbed,
    pub(super) folder: &'a WorkFolder,
    /// What all of them find around them; `None` where nothing of it can be made.
    pub(super) inside: Option<&'a Inside>,
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

    /// What a program finds around it that has processes of its own.
    pub(super) fn around(&self) -> Around<'_> {
        self.inside.map_or(Around::Machine, Around::In)
    }

    /// Runs `look` where the files are seen that `process` sees.
    pub(super) fn look<T: Send>(&self, process: Option<&Process>, look: impl FnOnce() -> T + Send) -> Result<T> {
        match process.and_then(|process| process.running.inside()).or(self.inside) {
            Some(inside) => inside.run(look),
            None => Ok(look()),
        }
    }

    /// Starts a program in the receiver's namespace.
    pub(super) fn start(
        &self,
        found: &Found,
        setting: &Setting,
        around: Around<'_>,
        output: &Output,
    ) -> Result<Application> {
        self.launch(found, setting, around, output, Launch::First)
    }

    /// The same; a program that is started again writes behind what it has written.
    fn launch(
        &self,
        found: &Found,
        setting: &Setting,
        around: Around<'_>,
        output: &Output,
        launch: Launch,
    ) -> Result<Application> {
        self.testbed.receiver().start(&Start {
            program: &found.program,
            arguments: found.command.get(1..).unwrap_or_default(),
            folder: &setting.folder,
            environment: &setting.environment,
            surroundings: around,
            rights: &setting.rights,
            most_output: Some(setting.most_output),
            stdout: open(&output.stdout, launch)?,
            stderr: open(&output.stderr, launch)?,
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

    /// That of the application, or of the process of this name.
    pub(super) fn of(folder: &WorkFolder, process: Option<&str>) -> Self {
        let file = |path: &Path, stream: &str| match process {
            Some(name) => path.with_file_name(format!("{stream}-{name}")),
            None => path.to_owned(),
        };
        Self { stdout: file(folder.stdout(), "stdout"), stderr: file(folder.stderr(), "stderr") }
    }

    /// What a report says of a program that wrote it.
    pub(super) fn report(&self, command: &[String], ended: &str) -> outcome::Application {
        let (stdout, stderr) = (tail(&self.stdout), tail(&self.stderr));
        outcome::Application { name: None, command: command.to_vec(), ended: ended.to_owned(), stdout, stderr }
    }

    /// Its last lines, in words.
    pub(super) fn said(&self) -> String {
        self.report(&[], "").said()
    }
}

/// A program of the receiver that can be started.
pub(super) struct Prepared<'a> {
    pub(super) words: &'a Program,
    pub(super) found: Rc<Found>,
    pub(super) setting: Rc<Setting>,
}

/// Whether a program is started for the first time in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Launch {
    First,
    Again,
}

/// A program of the receiver that runs.
pub(super) struct Process {
    pub(super) name: Option<String>,
    pub(super) running: Application,
    pub(super) found: Rc<Found>,
    pub(super) output: Output,
    /// How many bytes of standard output and standard error were discarded before it was started again.
    discarded_before: [u64; 2],
    /// What it finds, and the commands beside it.
    pub(super) setting: Rc<Setting>,
    ended: Option<Ended>,
    /// Whether a step that failed says how it ended.
    pub(super) is_judged: bool,
    watch: Rc<WorkWatch>,
    /// What it is to serve, and the sockets that are there.
    pub(super) listens: Vec<Listener>,
    pub(super) sockets: SocketTable,
}

impl Process {
    /// Starts a program, and comes back when it is ready. `listens`: the sockets that it binds until then.
    ///
    /// # Errors
    /// [`crate::diagnostic::Kind::Blocked`] where it can't be started or is not ready in time.
    pub(super) fn start(
        site: Site<'_>,
        prepared: &Prepared<'_>,
        listens: Vec<Listener>,
        watch: Rc<WorkWatch>,
        launch: Launch,
        control: &Control<'_>,
    ) -> Result<Self> {
        let Prepared { words, found, setting } = prepared;
        let conditions = ready::Conditions::of(site, words, Rc::clone(setting), launch)?;
        let name = words.name.as_ref().map(|name| name.value.clone());
        let output = Output::of(site.folder, name.as_deref());
        let sockets = site.testbed.receiver().sockets()?;
        let looks = conditions.begin(&output)?;
        let running = site
            .launch(found, setting, site.around(), &output, launch)
            .map_err(|failure| failure.at(&site.scenario.source, words.span().as_ref()))?;
        watch.add(running.killer()?);
        let mut process = Self {
            name,
            running,
            found: Rc::clone(found),
            output,
            discarded_before: [0; 2],
            setting: Rc::clone(setting),
            ended: None,
            is_judged: false,
            watch,
            listens,
            sockets,
        };
        conditions.await_all(&mut process, looks, control)?;
        Ok(process)
    }

    /// Starts it again, after it was stopped, and comes back when it is ready again.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(super) fn start_again(&mut self, site: Site<'_>, control: &Control<'_>) -> Result<()> {
        let words = self.words(site.scenario);
        let prepared = Prepared { words, found: Rc::clone(&self.found), setting: Rc::clone(&self.setting) };
        let discarded_before = self.discarded();
        let (listens, watch) = (self.listens.clone(), Rc::clone(&self.watch));
        *self = Self::start(site, &prepared, listens, watch, Launch::Again, control)?;
        self.discarded_before = discarded_before;
        Ok(())
    }

    /// How many bytes of its standard output and its standard error were discarded, once it has ended.
    pub(super) fn discarded(&self) -> [u64; 2] {
        let [stdout, stderr] = self.running.discarded();
        let [stdout_before, stderr_before] = self.discarded_before;
        [stdout_before + stdout, stderr_before + stderr]
    }

    /// What the scenario says of it.
    pub(super) fn words<'a>(&self, scenario: &'a Scenario) -> &'a Program {
        let receiver = &scenario.receiver;
        let is_it = |program: &&Program| program.name.as_ref().map(|name| &name.value) == self.name.as_ref();
        receiver.processes.iter().find(is_it).unwrap_or(&receiver.program)
    }

    /// How all of it ended, once it has.
    pub(super) fn ended(&mut self) -> Result<Option<&Ended>> {
        if self.ended.is_none() {
            self.ended = self.running.ended()?;
        }
        Ok(self.ended.as_ref())
    }

    /// Whether it was killed because too much was written into `{work}`.
    pub(super) fn wrote_too_much(&self) -> bool {
        self.watch.has_exceeded()
    }

    /// The first socket that it is to serve and does not.
    pub(super) fn first_unserved(&self) -> Result<Option<&Listener>> {
        self.sockets.first_unserved(&self.listens)
    }

    /// Stops it; how it ended, and what a report says of it.
    pub(super) fn stop(&mut self, site: Site<'_>, control: &Control<'_>) -> Result<ProgramEnd> {
        let grace = if control.is_interrupted() { HASTY_GRACE } else { GRACE };
        let words = self.words(site.scenario);
        self.ended()?;
        let background = self.running.has_left_others();
        // What goes on may be something else than the server.
        let serves = !background || self.first_unserved()?.is_none();
        let (stopped, was_stopped) = match &self.ended {
            Some(ended) => (Stopped { ended: ended.clone(), killed: false }, has_done(words, ended)),
            None if serves => (self.running.stop(words.stop, grace)?, true),
            None => {
                self.running.stop(words.stop, grace)?;
                (Stopped { ended: Ended::Exited(0), killed: false }, false)
            }
        };
        let (status, signal) = match stopped.ended {
            Ended::Exited(status) => (Some(status), None),
            Ended::Signalled(signal) => (None, Some(signal)),
            Ended::NotStarted(_) => (None, None),
        };
        let ending = ApplicationEnd {
            status,
            signal,
            stopped: was_stopped,
            killed_after: stopped.killed.then_some(grace),
            background,
            remedy: how_it_runs_on(&self.found.command, &stopped.ended),
            wrote_too_much: !was_stopped && self.wrote_too_much(),
            full: site.folder.is_full().then(|| site.folder.work().to_owned()),
        };
        let report = self.output.report(&self.found.command, &stopped.ended.to_string());
        let report = outcome::Application { name: self.name.clone(), ..report };
        Ok(ProgramEnd { process: self.name.clone(), ending, report, is_judged: self.is_judged })
    }
}

/// Whether a program that ended had done its work.
pub(super) fn has_done(words: &Program, ended: &Ended) -> bool {
    words.ready.exit.as_ref().is_some_and(|exit| *ended == Ended::Exited(exit.value))
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

/// Opens a file for the output of a program.
fn open(path: &Path, launch: Launch) -> Result<File> {
    let opened = match launch {
        Launch::First => File::create(path),
        Launch::Again => File::options().append(true).open(path),
    };
    opened.map_err(|error| Failure::system(format!("can't write `{}`", path.display()), &error))
}
