//! Who receives: the application under test, or the built-in receiver.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use super::control::Control;
use super::foreground;
use crate::diagnostic::{At, Diagnostic, Failure, Result};
use crate::evidence::{ApplicationEnd, Evidence};
use crate::figures::duration;
use crate::host::program;
use crate::host::sockets::SocketTable;
use crate::outcome;
use crate::plan::Plan;
use crate::process::application::{Application, Ended, Start, Stopped};
use crate::process::work::{self, WorkFolder};
use crate::scenario::Scenario;
use crate::scenario::require::{Listener, Transport};
use crate::testbed::Testbed;
use crate::wire::built_in::{BuiltIn, Family};

/// How often the sockets of an application that starts are read: at first, for how long, and later.
const LOOK: Duration = Duration::from_millis(2);
const LOOK_CLOSELY: Duration = Duration::from_secs(1);
const LOOK_LATER: Duration = Duration::from_millis(20);
/// How long it has to end after its stop signal.
const GRACE: Duration = Duration::from_secs(5);
/// The same where the run is interrupted.
const HASTY_GRACE: Duration = Duration::from_secs(1);
/// How much of its output a report holds.
const TAIL: u64 = 4096;

/// Who receives.
pub(super) struct Receiver {
    kind: Kind,
    /// The run's folder, removed after what runs in it; only where something runs that needs one.
    folder: Option<WorkFolder>,
}

enum Kind {
    /// None of ours: the frames go to a target, or no UDP is among them.
    Absent,
    BuiltIn(BuiltIn),
    Application {
        running: Box<Application>,
        command: Vec<String>,
        ended: Option<Ended>,
        /// What it is to serve, and the sockets that are there.
        listens: Vec<Listener>,
        sockets: SocketTable,
    },
}

impl Receiver {
    /// Starts the receiver, and comes back when its sockets are bound.
    pub(super) fn start(scenario: &Scenario, plan: &Plan, testbed: &Testbed, control: &Control<'_>) -> Result<Self> {
        let needs_folder = scenario.receiver.command.is_some() || !scenario.expect.command.is_empty();
        let folder = if needs_folder { Some(WorkFolder::create(&scenario.name)?) } else { None };
        let kind = match (&scenario.receiver.command, &folder) {
            (Some(command), Some(folder)) => application(scenario, plan, testbed, command, folder, control)?,
            _ => built_in(plan, testbed)?,
        };
        Ok(Self { kind, folder })
    }

    /// Whether it is restage's own, which has read a datagram as soon as it is counted.
    pub(super) fn is_built_in(&self) -> bool {
        !matches!(self.kind, Kind::Application { .. })
    }

    /// Reads what is there, if that is our part.
    pub(super) fn drain(&mut self) -> Result<()> {
        match &mut self.kind {
            Kind::BuiltIn(receiver) => receiver.drain().map(|_| ()),
            Kind::Absent | Kind::Application { .. } => Ok(()),
        }
    }

    /// How much may be sent before [`Self::drain`] is called again, in bytes of receive buffer.
    pub(super) fn buffer_bytes(&self) -> usize {
        match &self.kind {
            Kind::BuiltIn(receiver) => receiver.buffer_bytes(),
            Kind::Absent | Kind::Application { .. } => usize::MAX,
        }
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Application { running, .. } => running.pids(),
            Kind::Absent | Kind::BuiltIn(_) => Vec::new(),
        }
    }

    pub(super) fn has_ended(&mut self) -> Result<bool> {
        match &mut self.kind {
            Kind::Application { running, ended, .. } => {
                if ended.is_none() {
                    *ended = running.ended()?;
                }
                Ok(ended.is_some())
            }
            Kind::Absent | Kind::BuiltIn(_) => Ok(false),
        }
    }

    pub(super) fn folder(&self) -> Option<&WorkFolder> {
        self.folder.as_ref()
    }

    /// Stops the application, and says how it ended.
    pub(super) fn stop(&mut self, scenario: &Scenario, control: &Control<'_>, evidence: &mut Evidence) -> Result<()> {
        let grace = if control.is_interrupted() { HASTY_GRACE } else { GRACE };
        self.has_ended()?;
        let (Kind::Application { running, command, ended, listens, sockets }, Some(folder)) =
            (&mut self.kind, &self.folder)
        else {
            return Ok(());
        };
        let background = running.has_left_others();
        // What goes on may be something else than the server.
        let serves = !background || sockets.first_unserved(listens)?.is_none();
        let (stopped, was_stopped) = match ended {
            Some(ended) => (Stopped { ended: ended.clone(), killed: false }, false),
            None if serves => (running.stop(scenario.receiver.stop, grace)?, true),
            None => {
                running.stop(scenario.receiver.stop, grace)?;
                (Stopped { ended: Ended::Exited(0), killed: false }, false)
            }
        };
        let (status, signal) = match stopped.ended {
            Ended::Exited(status) => (Some(status), None),
            Ended::Signalled(signal) => (None, Some(signal)),
            Ended::NotStarted(_) => (None, None),
        };
        evidence.ending = Some(ApplicationEnd {
            status,
            signal,
            stopped: was_stopped,
            killed_after: stopped.killed.then_some(grace),
            background,
            remedy: how_it_runs_on(command, &stopped.ended),
            full: folder.is_full().then(|| folder.work().to_owned()),
        });
        evidence.application = Some(report(command, &stopped.ended, folder));
        if background {
            let span = scenario.receiver.command.as_ref().and_then(|command| command.span.clone());
            let why = "its first process ended with exit status 0; the processes that it left were watched and stopped in its place";
            let note = Diagnostic::note("the application went into the background").at(&scenario.source, span);
            evidence.notes.push(note.why(why).fix(in_the_foreground(command)));
        }
        Ok(())
    }
}

fn built_in(plan: &Plan, testbed: &Testbed) -> Result<Kind> {
    let Some(side) = testbed.observed().filter(|_| !plan.survey.udp_ports.is_empty()) else {
        return Ok(Kind::Absent);
    };
    let captured = &plan.survey.udp_ports;
    let families: BTreeSet<bool> = captured.iter().map(|(_, six)| *six).collect();
    let listens = plan.listens().iter().filter(|listener| listener.transport == Transport::Udp);
    let ports: Vec<(u16, Family)> = listens
        .flat_map(|listener| families.iter().map(|six| (listener.port, *six)))
        // A rule may send datagrams to a port that the capture has none for.
        .filter(|pair| captured.contains(pair) || !captured.iter().any(|(port, _)| *port == pair.0))
        .map(|(port, six)| (port, if six { Family::V6 } else { Family::V4 }))
        .collect();
    let groups: Vec<_> = plan.survey.groups.iter().copied().collect();
    side.bind(&ports, &groups).map(Kind::BuiltIn)
}

fn application(
    scenario: &Scenario,
    plan: &Plan,
    testbed: &Testbed,
    written: &At<Vec<String>>,
    folder: &WorkFolder,
    control: &Control<'_>,
) -> Result<Kind> {
    let command: Vec<String> = written.value.iter().map(|word| testbed.fill(word, scenario, folder.work())).collect();
    let problem = |what: String| Diagnostic::error(what).at(&scenario.source, written.span.clone());
    let (name, arguments) =
        command.split_first().ok_or_else(|| Failure::invalid(problem("`command` is empty".to_owned())))?;
    let Some(path) = program::find(name) else {
        let Diagnostic { what, why, fix, .. } = program::missing(name);
        return Err(Failure::blocked(Diagnostic { why, fix, ..problem(what) }));
    };
    let table = testbed.receiver().sockets()?;
    let mut running = testbed.receiver().start(&Start {
        program: &path,
        arguments,
        folder: folder.work(),
        surroundings: folder.surroundings(),
        stdout: create(folder.stdout())?,
        stderr: create(folder.stderr())?,
    })?;
    let begun = Instant::now();
    let limit = scenario.receiver.ready_within();
    let listens = plan.listens();
    loop {
        let missing = table.first_unserved(listens)?;
        let ended = running.ended()?;
        let failed = ended.as_ref().is_some_and(|ended| !matches!(ended, Ended::Exited(0)));
        let Some(waiting) = missing.filter(|_| !failed) else {
            if let Some(ended) = ended.as_ref().filter(|_| failed) {
                return Err(not_up(&problem, &running, ended, &report(&command, ended, folder)));
            }
            // A program that needs no socket is ready when it runs.
            return Ok(Kind::Application {
                running: Box::new(running),
                command,
                ended,
                listens: listens.to_vec(),
                sockets: table,
            });
        };
        if let Some(ended) = ended {
            return Err(not_up(&problem, &running, &ended, &report(&command, &ended, folder)));
        }
        if begun.elapsed() >= limit || control.is_over() {
            let background = running.has_left_others();
            let bound = bound(&table)?;
            let stopped = running.stop(scenario.receiver.stop, Duration::from_secs(1))?;
            let said = report(&command, &stopped.ended, folder).said();
            let what = if background { "the application went into the background, and" } else { "the application" };
            let listen = "let it listen there, or say where it listens: `[receiver] listens = [\"udp:…\"]`";
            let fix = if background {
                format!("{}; or {listen}", in_the_foreground(&command))
            } else {
                format!(
                    "{listen}; one that starts slowly gets more time by `[receiver] ready = {{ within = \"60s\" }}`"
                )
            };
            let time = if begun.elapsed() >= limit { "`[receiver] ready`" } else { "`timeout`" };
            return Err(Failure::blocked(
                problem(format!("{what} never listened on `{waiting}`"))
                    .why(format!(
                        "after {}, the limit by {time}, {bound}; nothing was sent; {said}",
                        duration(begun.elapsed())
                    ))
                    .fix(fix),
            ));
        }
        std::thread::sleep(if begun.elapsed() < LOOK_CLOSELY { LOOK } else { LOOK_LATER });
    }
}

/// What it has bound, in words.
fn bound(table: &SocketTable) -> Result<String> {
    let udp = table.list(Transport::Udp)?.into_iter().map(|socket| format!("udp:{}:{}", socket.address, socket.port));
    let tcp = table.list(Transport::Tcp)?.into_iter().map(|socket| format!("tcp:{}:{}", socket.address, socket.port));
    let there: Vec<String> = udp.chain(tcp).collect();
    Ok(if there.is_empty() {
        "it has bound no socket".to_owned()
    } else {
        format!("it has bound {}", there.join(", "))
    })
}

fn not_up(
    problem: &dyn Fn(String) -> Diagnostic,
    running: &Application,
    ended: &Ended,
    report: &outcome::Application,
) -> Failure {
    let what = if running.has_left_others() {
        format!("the application went into the background, and ended before it listened: {ended}")
    } else {
        format!("the application ended before it listened: {ended}")
    };
    let said = report.said();
    let changes_user = [
        "setuid",
        "setgid",
        "setgroups",
        "initgroups",
        "setresuid",
        "setresgid",
        "uid/gid",
        "group id",
        "user id",
        "privilege",
    ];
    let is_user = !work::is_root() && changes_user.iter().any(|word| said.to_lowercase().contains(word));
    let fix = if is_user {
        "an ordinary user can't become another one: start it without the option that changes its user, or run restage as root"
            .to_owned()
    } else {
        how_it_runs_on(&report.command, ended)
    };
    Failure::blocked(problem(what).why(format!("nothing was sent; {said}")).fix(fix))
}

/// What lets an application run that ended before its stop signal. A shell and its like (`env`, `timeout`, `setpriv`) end with 127 where
/// they find no program, with 126 where they may not execute it (POSIX, XCU 2.8.2).
fn how_it_runs_on(command: &[String], ended: &Ended) -> String {
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
fn in_the_foreground(command: &[String]) -> String {
    let own = foreground::advice(command);
    own.unwrap_or_else(|| {
        "start it with the option that keeps it in the foreground (-f, -n, -F, -d, `--foreground` …)".to_owned()
    })
}

/// What a report says of an application that has ended.
fn report(command: &[String], ended: &Ended, folder: &WorkFolder) -> outcome::Application {
    let (stdout, stderr) = (tail(folder.stdout()), tail(folder.stderr()));
    outcome::Application { command: command.to_vec(), ended: ended.to_string(), stdout, stderr }
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
