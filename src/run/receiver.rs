//! Who receives: the application under test, or the built-in receiver.

use std::collections::BTreeSet;

use super::Options;
use super::application::{Process, Site, in_the_foreground};
use super::control::Control;
use super::show_output::show_output;
use crate::diagnostic::{Diagnostic, Result};
use crate::evidence::Evidence;
use crate::figures::{agree, count, size};
use crate::outcome::Event;
use crate::plan::Plan;
use crate::process::work::WorkFolder;
use crate::scenario::Scenario;
use crate::scenario::require::Transport;
use crate::testbed::Testbed;
use crate::wire::built_in::{BuiltIn, Family};

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
    Application(Box<Process>),
}

impl Receiver {
    /// Starts the receiver, and comes back when it is ready.
    pub(super) fn start(
        scenario: &Scenario,
        options: &Options,
        plan: &Plan,
        testbed: &Testbed,
        control: &mut Control<'_>,
    ) -> Result<Self> {
        let needs_folder = scenario.receiver.command.is_some() || !scenario.expect.command.is_empty();
        let mut folder = if needs_folder { Some(WorkFolder::create(&scenario.name)?) } else { None };
        if let Some(folder) = folder.as_mut().filter(|_| options.keep_work) {
            let folder = folder.keep()?.display().to_string();
            (control.report)(Event::Kept { folder });
        }
        let kind = match (&scenario.receiver.command, &folder) {
            (Some(command), Some(folder)) => {
                let site = Site { scenario, testbed, folder };
                let started = Process::start(site, plan, command, control);
                if started.is_err() && options.show_output {
                    show_output(site, control);
                }
                Kind::Application(Box::new(started?))
            }
            _ => built_in(plan, testbed)?,
        };
        Ok(Self { kind, folder })
    }

    /// Whether it is restage's own, which has read a datagram as soon as it is counted.
    pub(super) fn is_built_in(&self) -> bool {
        !matches!(self.kind, Kind::Application(_))
    }

    /// Reads what is there, if that is our part.
    pub(super) fn drain(&mut self) -> Result<()> {
        match &mut self.kind {
            Kind::BuiltIn(receiver) => receiver.drain().map(|_| ()),
            Kind::Absent | Kind::Application(_) => Ok(()),
        }
    }

    /// How much may be sent before [`Self::drain`] is called again, in bytes of receive buffer.
    pub(super) fn buffer_bytes(&self) -> usize {
        match &self.kind {
            Kind::BuiltIn(receiver) => receiver.buffer_bytes(),
            Kind::Absent | Kind::Application(_) => usize::MAX,
        }
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Application(process) => process.running.pids(),
            Kind::Absent | Kind::BuiltIn(_) => Vec::new(),
        }
    }

    pub(super) fn has_ended(&mut self) -> Result<bool> {
        match &mut self.kind {
            Kind::Application(process) => Ok(process.ended()?.is_some()),
            Kind::Absent | Kind::BuiltIn(_) => Ok(false),
        }
    }

    /// The application.
    pub(super) fn process(&self) -> Option<&Process> {
        match &self.kind {
            Kind::Application(process) => Some(process),
            Kind::Absent | Kind::BuiltIn(_) => None,
        }
    }

    pub(super) fn folder(&self) -> Option<&WorkFolder> {
        self.folder.as_ref()
    }

    /// Stops the application, and says how it ended.
    pub(super) fn stop(
        &mut self,
        scenario: &Scenario,
        options: &Options,
        testbed: &Testbed,
        control: &mut Control<'_>,
        evidence: &mut Evidence,
    ) -> Result<()> {
        let (Kind::Application(process), Some(folder)) = (&mut self.kind, &self.folder) else { return Ok(()) };
        let site = Site { scenario, testbed, folder };
        let (ending, application) = process.stop(site, control)?;
        if options.show_output {
            show_output(site, control);
        }
        if ending.background {
            let span = scenario.receiver.command.as_ref().and_then(|command| command.span.clone());
            let why = "its first process ended with exit status 0; the processes that it left were watched and stopped in its place";
            let note = Diagnostic::note("the application went into the background").at(&scenario.source, span);
            evidence.notes.push(note.why(why).fix(in_the_foreground(&process.command)));
        }
        let discarded: u64 = process.running.discarded().into_iter().sum();
        if discarded > 0 {
            let most = size(scenario.receiver.limits.output.value.bytes);
            let span = scenario.receiver.limits.output.span.clone();
            let what = format!(
                "{} of the application's output {} discarded",
                count(discarded, "byte"),
                agree(discarded, "was", "were")
            );
            let why = format!(
                "of standard output and of standard error {most} are kept, the limit by `[receiver] limits`, `output`"
            );
            let fix = "let it print less, or raise the limit: `limits = { output = \"1 GiB\" }`";
            evidence.notes.push(Diagnostic::note(what).at(&scenario.source, span).why(why).fix(fix));
        }
        evidence.ending = Some(ending);
        evidence.application = Some(application);
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
