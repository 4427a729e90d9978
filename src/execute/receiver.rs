//! Who receives: the application under test, or the built-in receiver.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Session;
use super::site::Site;
use crate::diagnostic::{At, Failure, Problem, Result};
use crate::evidence::Evidence;
use crate::lab::application::{Application, Ended, Start};
use crate::lab::program;
use crate::lab::work::WorkFolder;
use crate::outcome;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::scenario::require::{Listener, Transport};
use crate::wire::receiver::{BuiltIn, Family};
use crate::wire::sockets::{SocketTable, serves};

/// How long the application has to bind its sockets.
const READY: Duration = Duration::from_secs(10);
/// How often the sockets are looked at until then.
const LOOK: Duration = Duration::from_millis(2);
/// How long it has to end after its stop signal.
const GRACE: Duration = Duration::from_secs(5);
/// The same where the run is interrupted, and somebody waits.
const HASTY_GRACE: Duration = Duration::from_secs(1);
/// How much of its output a report holds.
const TAIL: usize = 4096;

/// Who receives.
pub(super) struct Receiver {
    kind: Kind,
    /// The run's folder; only where something runs that needs one.
    folder: Option<WorkFolder>,
}

enum Kind {
    /// Nobody of ours: the frames go to a target, or no UDP is among them.
    Nobody,
    /// The built-in receiver.
    BuiltIn(BuiltIn),
    /// The application under test.
    Application { running: Box<Application>, command: Vec<String>, ended: Option<Ended> },
}

impl Receiver {
    /// Starts the receiver, and comes back when its sockets are bound.
    pub(super) fn start(scenario: &Scenario, plan: &Plan, site: &Site, session: &mut Session<'_>) -> Result<Self> {
        let needs_folder = scenario.receiver.command.is_some() || !scenario.expect.command.is_empty();
        let folder = if needs_folder { Some(WorkFolder::create(&scenario.name)?) } else { None };
        let kind = match (&scenario.receiver.command, &folder) {
            (Some(command), Some(folder)) => application(scenario, plan, site, command, folder, session)?,
            _ => built_in(plan, site)?,
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
            Kind::Nobody | Kind::Application { .. } => Ok(()),
        }
    }

    /// How much may be sent before [`Self::drain`] is called again, in bytes of receive buffer.
    pub(super) fn room_bytes(&self) -> usize {
        match &self.kind {
            Kind::BuiltIn(receiver) => receiver.room_bytes(),
            Kind::Nobody | Kind::Application { .. } => usize::MAX,
        }
    }

    /// The processes of the application.
    pub(super) fn pids(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Application { running, .. } => running.pids(),
            Kind::Nobody | Kind::BuiltIn(_) => Vec::new(),
        }
    }

    /// Whether the application has ended by itself.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        match &mut self.kind {
            Kind::Application { running, ended, .. } => {
                if ended.is_none() {
                    *ended = running.ended()?;
                }
                Ok(ended.is_some())
            }
            Kind::Nobody | Kind::BuiltIn(_) => Ok(false),
        }
    }

    /// The folder of the run.
    pub(super) fn folder(&self) -> Option<&WorkFolder> {
        self.folder.as_ref()
    }

    /// Stops the application, and says how it ended.
    pub(super) fn stop(&mut self, scenario: &Scenario, session: &Session<'_>, evidence: &mut Evidence) -> Result<()> {
        let grace = if session.parent.parent_is_gone() { HASTY_GRACE } else { GRACE };
        let early = self.has_ended()?;
        let Kind::Application { running, command, ended } = &mut self.kind else { return Ok(()) };
        let span = scenario.receiver.command.as_ref().and_then(|command| command.span.clone());
        let incident = |what: String| Problem::error(what).at(&scenario.source, span.clone());
        let ended = match ended {
            Some(ended) => {
                if early && !matches!(ended, Ended::Exited(0)) {
                    evidence.incidents.push(
                        incident(format!("the application ended in the middle of the run: {ended}"))
                            .why(said(self.folder.as_ref()))
                            .fix(match self.folder.as_ref().filter(|folder| folder.is_full()) {
                                Some(folder) => format!(
                                    "the file system of `{{work}}`, `{}`, is full: free space there, or set `TMPDIR`",
                                    folder.work().display()
                                ),
                                None => "it should run in the foreground until it gets its stop signal".to_owned(),
                            }),
                    );
                }
                ended.to_string()
            }
            None => {
                let stopped = running.stop(scenario.receiver.stop, grace)?;
                if stopped.killed {
                    evidence.incidents.push(
                        incident(format!(
                            "the application did not end within {} s of its stop signal, and was killed",
                            grace.as_secs()
                        ))
                        .why(format!("signal {} was sent to it", scenario.receiver.stop))
                        .fix("choose the signal that it ends with: `[receiver] stop = \"SIGINT\"`"),
                    );
                }
                stopped.ended.to_string()
            }
        };
        let (stdout, stderr) =
            self.folder.as_ref().map(|folder| (tail(folder.stdout()), tail(folder.stderr()))).unwrap_or_default();
        evidence.application = Some(outcome::Application { command: command.clone(), ended, stdout, stderr });
        Ok(())
    }

    /// Removes the run's folder.
    pub(super) fn remove(self) {
        drop(self.kind);
        drop(self.folder);
    }
}

fn built_in(plan: &Plan, site: &Site) -> Result<Kind> {
    if !site.observed || plan.survey.udp_ports.is_empty() {
        return Ok(Kind::Nobody);
    }
    let listens =
        |port: u16| plan.listens().iter().any(|listener| listener.transport == Transport::Udp && listener.port == port);
    let ports: Vec<(u16, Family)> = plan
        .survey
        .udp_ports
        .iter()
        .filter(|(port, _)| listens(*port))
        .map(|(port, six)| (*port, if *six { Family::V6 } else { Family::V4 }))
        .collect();
    let groups: Vec<_> = plan.survey.groups.iter().copied().collect();
    let receiver = site.receiver.run(|| BuiltIn::bind(&ports, &groups, &site.receiver_interface))??;
    Ok(Kind::BuiltIn(receiver))
}

fn application(
    scenario: &Scenario,
    plan: &Plan,
    site: &Site,
    written: &At<Vec<String>>,
    folder: &WorkFolder,
    session: &mut Session<'_>,
) -> Result<Kind> {
    let command: Vec<String> = written.value.iter().map(|word| site.fill(word, folder.work())).collect();
    let problem = |what: String| Problem::error(what).at(&scenario.source, written.span.clone());
    let (name, arguments) =
        command.split_first().ok_or_else(|| Failure::invalid(problem("`command` is empty".to_owned())))?;
    let Some(path) = program::find(name) else {
        return Err(Failure::blocked(
            problem(format!("there is no program `{name}` here"))
                .why("it was looked for in PATH, then in /usr/sbin and /sbin")
                .fix(format!("install it; `[require] commands = [\"{name}\"]` skips the scenario where it is absent")),
        ));
    };
    let table = site.receiver.run(SocketTable::open)??;
    let mut running = Application::start(&Start {
        program: &path,
        arguments,
        folder: folder.work(),
        receiver: &site.receiver,
        stdout: create(folder.stdout())?,
        stderr: create(folder.stderr())?,
    })?;
    let begun = Instant::now();
    let limit = READY.min(session.left());
    let listens = plan.listens();
    loop {
        let (udp, tcp) = (table.udp()?, table.tcp_listeners()?);
        let bound = |listener: &&Listener| {
            udp.iter().any(|socket| serves(socket, listener)) || tcp.iter().any(|socket| serves(socket, listener))
        };
        let ended = running.ended()?;
        let Some(waiting) = listens.iter().find(|listener| !bound(listener)) else {
            // A program that needs no socket is ready when it runs.
            match ended {
                Some(ended) if !matches!(ended, Ended::Exited(0)) => return Err(not_up(&problem, &ended, folder)),
                ended => return Ok(Kind::Application { running: Box::new(running), command: command.clone(), ended }),
            }
        };
        if let Some(ended) = ended {
            return Err(not_up(&problem, &ended, folder));
        }
        if begun.elapsed() >= limit || session.is_over() {
            let there: Vec<String> =
                udp.iter().map(|socket| format!("udp:{}:{}", socket.address, socket.port)).collect();
            let bound = if there.is_empty() {
                "it has bound no UDP socket".to_owned()
            } else {
                format!("it has bound {}", there.join(", "))
            };
            let _ = running.stop(scenario.receiver.stop, Duration::from_secs(1));
            return Err(Failure::blocked(
                problem(format!("the application never listened on `{waiting}`"))
                    .why(format!(
                        "after {:.1} s {bound}; nothing was sent; {}",
                        begun.elapsed().as_secs_f64(),
                        said(Some(folder))
                    ))
                    .fix("let it listen there, or say where it listens: `[receiver] listens = [\"udp:…\"]`"),
            ));
        }
        std::thread::sleep(LOOK);
    }
}

fn not_up(problem: &dyn Fn(String) -> Problem, ended: &Ended, folder: &WorkFolder) -> Failure {
    Failure::blocked(
        problem(format!("the application ended before it listened: {ended}"))
            .why(format!("nothing was sent; {}", said(Some(folder))))
            .fix("it should run in the foreground, and be able to run as this user with its files in {work}"),
    )
}

/// The end of what the application wrote, in words.
fn said(folder: Option<&WorkFolder>) -> String {
    let Some(folder) = folder else { return "it said nothing".to_owned() };
    let text = [tail(folder.stderr()), tail(folder.stdout())].into_iter().find(|text| !text.trim().is_empty());
    match text {
        Some(text) => {
            let lines: Vec<&str> = text.trim_end().lines().collect();
            format!(
                "it said: {}",
                lines.iter().skip(lines.len().saturating_sub(5)).copied().collect::<Vec<_>>().join("\n")
            )
        }
        None => "it said nothing".to_owned(),
    }
}

/// The last lines of a file, at most [`TAIL`] bytes.
fn tail(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let cut = bytes.len().saturating_sub(TAIL);
    let text = String::from_utf8_lossy(bytes.get(cut..).unwrap_or_default()).into_owned();
    if cut > 0 { text.split_once('\n').map_or(text.clone(), |(_, rest)| rest.to_owned()) } else { text }
}

/// Makes a file for the output of a program.
pub(super) fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(|error| Failure::system(format!("can't write `{}`", path.display()), &error))
}
