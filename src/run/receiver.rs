//! Who receives: the application under test with the processes beside it, or the built-in receiver.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Options;
use super::application::{HASTY_GRACE, Launch, Prepared, Process, Site, has_done, how_it_runs_on, in_the_foreground};
use super::control::Control;
use super::remote::Agent;
use super::show_output::show_output;
use super::sniffers;
use super::work_watch::WorkWatch;
use crate::diagnostic::{At, Diagnostic, Failure, Kind as FailureKind, Result};
use crate::evidence::{Evidence, ProgramEnd};
use crate::expect::wrote_too_much;
use crate::figures::{agree, count, size};
use crate::host::sockets::{has_socket, owners};
use crate::outcome::Event;
use crate::plan::Brief;
use crate::process::inside::Inside;
use crate::process::order::Account;
use crate::process::work::{WorkFolder, is_root};
use crate::scenario::Scenario;
use crate::scenario::receiver::{Program, ReceiverPlace};
use crate::scenario::require::{Listener, Transport};
use crate::scenario::step::Action;
use crate::testbed::Testbed;
use crate::wire::built_in::{BuiltIn, Family};

/// A program joins its groups after it has bound its sockets. It is not about to once it has slept for so long, …
const ASLEEP: Duration = Duration::from_millis(100);
/// … or when this is over: some programs never sleep.
const AWAKE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(2);

/// Who receives, with the processes beside it.
pub(super) struct Receiver {
    kind: Kind,
    /// The multicast groups that frames are sent to.
    groups: BTreeSet<IpAddr>,
    /// In the order in which they were started.
    processes: Vec<Process>,
    /// What all of them find around them.
    inside: Option<Inside>,
    /// The run's folder, removed after what runs in it; only where something runs that needs one.
    folder: Option<WorkFolder>,
}

enum Kind {
    /// None of ours: the frames go to a target, or no UDP is among them.
    Absent,
    BuiltIn(BuiltIn),
    Application(Box<Process>),
    /// It was started by someone else, and runs already: the processes that have its sockets, as far as they are known.
    Running(Vec<u32>),
    /// On another machine.
    Elsewhere(Agent),
}

impl Receiver {
    /// Starts the receiver, and comes back when it is ready: the processes one after the other, then the application.
    pub(super) fn start(
        scenario: &Scenario,
        options: &Options,
        brief: &Brief,
        testbed: &Testbed,
        control: &mut Control<'_>,
    ) -> Result<Self> {
        let has_application = scenario.receiver.program.command.is_some();
        let runs_commands = scenario.steps.iter().any(|step| matches!(step.action, Action::Run(_)));
        let needs_folder = has_application || runs_commands || !scenario.expect.command.is_empty();
        let mut folder = if needs_folder { Some(WorkFolder::create(&scenario.name)?) } else { None };
        if let Some(folder) = folder.as_mut().filter(|_| options.keep_work) {
            let folder = folder.keep()?.display().to_string();
            (control.report)(Event::Kept { folder });
        }
        let mut receiver =
            Self { kind: Kind::Absent, groups: brief.groups.clone(), processes: Vec::new(), inside: None, folder };
        let runs_already = scenario.topology.runs_already();
        if runs_already {
            serves(scenario, testbed)?;
        }
        let without = || {
            if runs_already { running(scenario, brief, testbed).map(Kind::Running) } else { built_in(brief, testbed) }
        };
        let Some(site) = receiver.site(scenario, testbed) else {
            receiver.kind = without()?;
            return Ok(receiver);
        };
        let (programs, surroundings) = site.prepare(brief.first_ns)?;
        let inside = testbed.receiver().surround(&surroundings)?;
        if programs.is_empty() {
            receiver.kind = without()?;
            receiver.inside = inside;
            return Ok(receiver);
        }
        let site = Site { inside: inside.as_ref(), ..site };
        let started = start_all(site, &programs, &brief.listens, control);
        if started.is_err() && options.show_output {
            show_output(site, control);
        }
        let (processes, application) = started?;
        receiver.processes = processes;
        receiver.kind = Kind::Application(Box::new(application));
        receiver.inside = inside;
        receiver.await_groups(testbed, control)?;
        Ok(receiver)
    }

    /// One that an agent has started on another machine.
    pub(super) fn elsewhere(agent: Agent) -> Self {
        let kind = Kind::Elsewhere(agent);
        Self { kind, groups: BTreeSet::new(), processes: Vec::new(), inside: None, folder: None }
    }

    /// The agent, where it is on another machine.
    pub(super) fn agent(&self) -> Option<&Agent> {
        match &self.kind {
            Kind::Elsewhere(agent) => Some(agent),
            Kind::Absent | Kind::BuiltIn(_) | Kind::Application(_) | Kind::Running(_) => None,
        }
    }

    /// Waits until the groups of the frames are joined, or no program is about to join one.
    fn await_groups(&self, testbed: &Testbed, control: &Control<'_>) -> Result<()> {
        let begun = Instant::now();
        let mut awake = begun;
        while !self.groups.is_subset(&testbed.receiver().groups()?) {
            let sleeps = self.processes.iter().chain(self.application()).all(|process| process.running.sleeps());
            if !sleeps {
                awake = Instant::now();
            }
            if awake.elapsed() >= ASLEEP || begun.elapsed() >= AWAKE || control.is_over() {
                break;
            }
            sleep(LOOK);
        }
        Ok(())
    }

    /// Where the programs of the run are started; `None` where none is.
    pub(super) fn site<'a>(&'a self, scenario: &'a Scenario, testbed: &'a Testbed) -> Option<Site<'a>> {
        let folder = self.folder.as_ref()?;
        Some(Site { scenario, testbed, folder, inside: self.inside.as_ref() })
    }

    /// Whether it is restage's own, which has read a datagram as soon as it is counted.
    pub(super) fn is_built_in(&self) -> bool {
        matches!(self.kind, Kind::Absent | Kind::BuiltIn(_))
    }

    /// Reads what is there, if that is our part.
    pub(super) fn drain(&mut self) -> Result<()> {
        match &mut self.kind {
            Kind::BuiltIn(receiver) => receiver.drain().map(|_| ()),
            Kind::Absent | Kind::Application(_) | Kind::Running(_) | Kind::Elsewhere(_) => Ok(()),
        }
    }

    /// How much may be sent before [`Self::drain`] is called again, in bytes of receive buffer.
    pub(super) fn buffer_bytes(&self) -> usize {
        match &self.kind {
            Kind::BuiltIn(receiver) => receiver.buffer_bytes(),
            Kind::Absent | Kind::Application(_) | Kind::Running(_) | Kind::Elsewhere(_) => usize::MAX,
        }
    }

    /// The processes of all programs.
    pub(super) fn pids(&self) -> Vec<u32> {
        let others = match &self.kind {
            Kind::Running(pids) => pids.as_slice(),
            Kind::Absent | Kind::BuiltIn(_) | Kind::Application(_) | Kind::Elsewhere(_) => &[],
        };
        let started = self.processes.iter().chain(self.application()).flat_map(|process| process.running.pids());
        started.chain(others.iter().copied()).collect()
    }

    /// Whether the application has ended.
    pub(super) fn has_ended(&mut self) -> Result<bool> {
        match &mut self.kind {
            Kind::Application(process) => Ok(process.ended()?.is_some()),
            Kind::Running(pids) => Ok(!pids.is_empty() && !pids.iter().any(|pid| runs(*pid))),
            Kind::Elsewhere(agent) => agent.has_ended(),
            Kind::Absent | Kind::BuiltIn(_) => Ok(false),
        }
    }

    pub(super) fn application(&self) -> Option<&Process> {
        match &self.kind {
            Kind::Application(process) => Some(process),
            Kind::Absent | Kind::BuiltIn(_) | Kind::Running(_) | Kind::Elsewhere(_) => None,
        }
    }

    /// The process of this name; without a name, the application.
    pub(super) fn named(&self, name: Option<&At<String>>) -> Option<&Process> {
        let Some(name) = name else { return self.application() };
        self.processes.iter().find(|process| process.name.as_ref() == Some(&name.value))
    }

    /// The same, to be changed.
    pub(super) fn named_mut(&mut self, name: Option<&At<String>>) -> Option<&mut Process> {
        find_mut(&mut self.kind, &mut self.processes, name)
    }

    /// Stops a program, to be started again; how it ended. It is judged by the step that does so.
    pub(super) fn stop_named(
        &mut self,
        name: Option<&At<String>>,
        scenario: &Scenario,
        testbed: &Testbed,
        control: &Control<'_>,
    ) -> Result<ProgramEnd> {
        self.with_named(name, scenario, testbed, |process, site| {
            process.is_judged = true;
            process.stop(site, control)
        })
    }

    /// Starts a program again, and comes back when it is ready; why it isn't, otherwise.
    pub(super) fn start_again(
        &mut self,
        name: Option<&At<String>>,
        scenario: &Scenario,
        testbed: &Testbed,
        control: &Control<'_>,
    ) -> Result<std::result::Result<(), Diagnostic>> {
        match self.with_named(name, scenario, testbed, |process, site| process.start_again(site, control)) {
            Ok(()) => self.await_groups(testbed, control).map(Ok),
            Err(failure) if failure.kind == FailureKind::Blocked => {
                let problem = failure.problems.into_iter().next();
                Ok(Err(problem.unwrap_or_else(|| Diagnostic::error("it did not start again"))))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Does something with a program.
    fn with_named<T>(
        &mut self,
        name: Option<&At<String>>,
        scenario: &Scenario,
        testbed: &Testbed,
        act: impl FnOnce(&mut Process, Site<'_>) -> Result<T>,
    ) -> Result<T> {
        let process = find_mut(&mut self.kind, &mut self.processes, name);
        let (Some(process), Some(folder)) = (process, &self.folder) else {
            return Err(Failure::error(Diagnostic::error("there is no such program")));
        };
        act(process, Site { scenario, testbed, folder, inside: self.inside.as_ref() })
    }

    /// Stops the application.
    pub(super) fn stop_application(
        &mut self,
        scenario: &Scenario,
        testbed: &Testbed,
        control: &Control<'_>,
        evidence: &mut Evidence,
    ) -> Result<()> {
        let (Kind::Application(process), Some(folder)) = (&mut self.kind, &self.folder) else { return Ok(()) };
        stop(process, Site { scenario, testbed, folder, inside: self.inside.as_ref() }, control, evidence)
    }

    /// Stops the processes beside the application, the last one first.
    pub(super) fn stop_processes(
        &mut self,
        scenario: &Scenario,
        testbed: &Testbed,
        control: &Control<'_>,
        evidence: &mut Evidence,
    ) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let site = Site { scenario, testbed, folder, inside: self.inside.as_ref() };
        self.processes.iter_mut().rev().try_for_each(|process| stop(process, site, control, evidence))
    }

    /// Reports all that was printed.
    pub(super) fn show_output(&self, scenario: &Scenario, testbed: &Testbed, control: &mut Control<'_>) {
        if let (Some(site), Some(_)) = (self.site(scenario, testbed), self.application()) {
            show_output(site, control);
        }
    }
}

/// The process of this name; without a name, the application.
fn find_mut<'a>(
    kind: &'a mut Kind,
    processes: &'a mut [Process],
    name: Option<&At<String>>,
) -> Option<&'a mut Process> {
    match (kind, name) {
        (_, Some(name)) => processes.iter_mut().find(|process| process.name.as_ref() == Some(&name.value)),
        (Kind::Application(process), None) => Some(process),
        (Kind::Absent | Kind::BuiltIn(_) | Kind::Running(_) | Kind::Elsewhere(_), None) => None,
    }
}

/// Starts programs one after the other, each when the one before is ready; the last one is the application.
fn start_all(
    site: Site<'_>,
    programs: &[Prepared<'_>],
    listens: &[Listener],
    control: &Control<'_>,
) -> Result<(Vec<Process>, Process)> {
    let most = site.scenario.receiver.program.limits.work.value.bytes;
    let watch = Rc::new(WorkWatch::start(site.folder.work().to_owned(), most)?);
    let mut running: Vec<Process> = Vec::new();
    for prepared in programs {
        let is_application = prepared.words.name.is_none();
        let listens = if is_application { listens } else { prepared.words.named_sockets() };
        let started = Process::start(site, prepared, listens.to_vec(), Rc::clone(&watch), Launch::First, control);
        // That an earlier one has ended explains why a later one does not get ready.
        let result = match first_gone(site, &mut running, prepared.words) {
            Ok(None) => started,
            Ok(Some(gone)) => Err(gone),
            Err(failure) => Err(failure),
        };
        match result {
            Ok(process) => running.push(process),
            Err(failure) => {
                for process in running.iter_mut().rev() {
                    let stop = process.words(site.scenario).stop;
                    // What is wrong is known already.
                    let _ = process.running.stop(stop, HASTY_GRACE);
                }
                return Err(failure);
            }
        }
    }
    let application = running.pop().expect("the application is the last of them");
    Ok((running, application))
}

/// A process that ended before it should, while `next` was started.
fn first_gone(site: Site<'_>, running: &mut [Process], next: &Program) -> Result<Option<Failure>> {
    for process in running {
        let words = process.words(site.scenario);
        let Some(ended) = process.ended()?.filter(|ended| !has_done(words, ended)).cloned() else { continue };
        if process.wrote_too_much() {
            let problem = wrote_too_much(site.scenario, words);
            return Ok(Some(Failure::blocked(problem.at(&site.scenario.source, words.span()))));
        }
        let what = format!("{} ended before {} was ready: {ended}", words.who(), next.who());
        let said = format!("nothing was sent; {}", process.output.said());
        let problem = site.problem(what, words.span().as_ref()).why(said);
        return Ok(Some(Failure::blocked(problem.fix(how_it_runs_on(&process.found.command, &ended)))));
    }
    Ok(None)
}

/// Whether a program of this account runs as it: as root it was started so.
fn is_current(user: &str) -> bool {
    is_root() || Account::named(user).is_some_and(|account| account.is_current())
}

/// Stops a program, and says how it ended.
fn stop(process: &mut Process, site: Site<'_>, control: &Control<'_>, evidence: &mut Evidence) -> Result<()> {
    let end = process.stop(site, control)?;
    let words = process.words(site.scenario);
    let source = &site.scenario.source;
    if end.ending.background {
        let why = "its first process ended with exit status 0; the processes that it left were watched and stopped in its place";
        let note = Diagnostic::note(format!("{} went into the background", words.who())).at(source, words.span());
        evidence.notes.push(note.why(why).fix(in_the_foreground(&process.found.command)));
    }
    if let Some(user) = words.user.as_ref().filter(|user| !is_current(&user.value)) {
        let note = Diagnostic::note(format!("{} did not run as `{}`, but as this user", words.who(), user.value));
        let note = note.at(source, user.span.clone()).why("only root can become another user");
        evidence.notes.push(note.fix("run restage as root where it matters"));
    }
    let discarded: u64 = process.discarded().into_iter().sum();
    if discarded > 0 {
        let most = size(words.limits.output.value.bytes);
        let span = words.limits.output.span.clone();
        let whose = match &process.name {
            Some(name) => format!("the output of the process `{name}`"),
            None => "the application's output".to_owned(),
        };
        let what = format!("{} of {whose} {} discarded", count(discarded, "byte"), agree(discarded, "was", "were"));
        let why = format!(
            "of standard output and of standard error {most} are kept, the limit by `[{}] limits`, `output`",
            words.table()
        );
        let fix = "let it print less, or raise the limit: `limits = { output = \"1 GiB\" }`";
        evidence.notes.push(Diagnostic::note(what).at(source, span).why(why).fix(fix));
    }
    evidence.ends.push(end);
    Ok(())
}

/// Whether there is such a process, and it has not ended.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

/// The processes that have sockets for the capture's datagrams, or packet sockets, where the scenario names those.
fn running(scenario: &Scenario, brief: &Brief, testbed: &Testbed) -> Result<Vec<u32>> {
    let ports: BTreeSet<u16> = brief.udp_ports.iter().map(|(port, _)| *port).collect();
    let sockets = testbed.receiver().sockets()?.list(Transport::Udp)?;
    let mut inodes: Vec<u32> = sockets
        .iter()
        .filter(|socket| ports.contains(&socket.port) && socket.inode != 0)
        .map(|socket| socket.inode)
        .collect();
    if scenario.receiver.listens_on_packets() {
        let sockets: Vec<u32> = sniffers::on_interface(testbed.receiver())?.iter().map(|socket| socket.inode).collect();
        // The process that is named is the receiver, where it is a sniffer.
        if let Some(ReceiverPlace::Pid(pid)) = scenario.topology.existing().map(|existing| &existing.at.value)
            && sockets.iter().any(|inode| has_socket(*pid, *inode))
        {
            let mut pids = owners(&inodes);
            pids.retain(|owner| owner != pid);
            pids.push(*pid);
            return Ok(pids);
        }
        inodes.extend(sockets);
    }
    Ok(if inodes.is_empty() { Vec::new() } else { owners(&inodes) })
}

/// Whether a receiver that runs already has the sockets that the scenario names.
///
/// # Errors
/// [`FailureKind::Blocked`] where one is missing.
fn serves(scenario: &Scenario, testbed: &Testbed) -> Result<()> {
    let Some(listens) = &scenario.receiver.program.listens else { return Ok(()) };
    let receiver = testbed.receiver();
    if listens.value.packet && sniffers::on_interface(receiver)?.is_empty() {
        let interface = receiver.interface();
        let fix = if scenario.topology.existing().is_some() {
            format!("start it, on all interfaces (`tcpdump -i any`): restage makes `{interface}` for each run")
        } else {
            format!("start it, on `{interface}` or on all interfaces")
        };
        return Err(Failure::blocked(
            Diagnostic::error(format!("no packet socket takes frames of `{interface}` where the receiver is"))
                .at(&scenario.source, listens.span.clone())
                .why("`packet:{receiver}` says that the receiver has one")
                .fix(fix),
        ));
    }
    let table = receiver.sockets()?;
    let Some(missing) = table.first_unserved(&listens.value.sockets)? else { return Ok(()) };
    let there: Vec<String> = table.list(missing.transport)?.iter().map(ToString::to_string).collect();
    let why = if there.is_empty() {
        "no such socket is there".to_owned()
    } else {
        format!("there are: {}", there.join(", "))
    };
    let show = format!("`{}ss -lnp` shows them with their programs", testbed.command_prefix());
    Err(Failure::blocked(
        Diagnostic::error(format!("nothing listens on `{missing}` where the receiver is"))
            .at(&scenario.source, listens.span.clone())
            .why(why)
            .fix(format!("start the receiver, or name the sockets that it has; {show}")),
    ))
}

fn built_in(brief: &Brief, testbed: &Testbed) -> Result<Kind> {
    let Some(side) = testbed.observed().filter(|_| !brief.udp_ports.is_empty()) else {
        return Ok(Kind::Absent);
    };
    let captured = &brief.udp_ports;
    let families: BTreeSet<bool> = captured.iter().map(|(_, six)| *six).collect();
    let listens = brief.listens.iter().filter(|listener| listener.transport == Transport::Udp);
    let ports: Vec<(u16, Family)> = listens
        .flat_map(|listener| families.iter().map(|six| (listener.port, *six)))
        // A rule may send datagrams to a port that the capture has none for.
        .filter(|pair| captured.contains(pair) || !captured.iter().any(|(port, _)| *port == pair.0))
        .map(|(port, six)| (port, if six { Family::V6 } else { Family::V4 }))
        .collect();
    let groups: Vec<_> = brief.groups.iter().copied().collect();
    side.bind(&ports, &groups).map(Kind::BuiltIn)
}
