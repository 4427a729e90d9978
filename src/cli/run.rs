//! `restage run`: every scenario in a process of its own, and their outcomes.
//!
//! Results are printed as they come in; the stories of what did not pass come at the end, in the order in which the
//! scenarios were given, and the summary last, where a reader looks first.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Instant;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::collect::{self, Found};
use super::output::Output;
use super::status::{Skipped, Status};
use super::terminal::Terminal;
use crate::diagnostic::{Diagnostic, Failure, Result};
use crate::file::{Claim, is_stream};
use crate::outcome::{Event, EvidenceLevel, Outcome, Report, Verdict};
use crate::process::signals::await_status_requests;
use crate::process::work;
use crate::report::progress::Progress;
use crate::report::{Destination, github, json, junit, save, text};
use crate::run::Options;
use crate::run::batch::{Batch, Update};
use crate::scenario;

const EXAMPLES: &str = "\
Examples:
  restage run scenarios                            everything below a folder
  restage run dns.toml --update-snapshots          review what changed with `git diff`
  restage run scenarios --report-junit junit.xml   for a CI server
  restage run wire.toml --allow-interface enp0s8   a [target] needs leave by name
  kill -USR1 PID                                   how far each scenario of a run is, on standard error";

/// Replay scenarios and judge what the receiver got.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Scenario files, and folders: every *.toml below them that has `format`; `-` is standard input.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Scenarios that run side by side; by default as many as there are processors.
    #[arg(long, short, value_name = "N", value_parser = number_of_jobs)]
    jobs: Option<NonZeroUsize>,
    /// Count a skipped scenario as blocked (exit status 3).
    #[arg(long)]
    strict: bool,
    /// Let scenarios with `[target] interface = "NAME"` send on that interface; may be repeated.
    #[arg(long, value_name = "NAME")]
    allow_interface: Vec<String>,
    /// Write the JSON report to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    report_json: Option<PathBuf>,
    /// Write the JUnit report to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    report_junit: Option<PathBuf>,
    /// Write the snapshots that scenarios name, instead of comparing with them.
    #[arg(long)]
    update_snapshots: bool,
    /// Keep what applications wrote, and say where: {work}, and their output beside it.
    #[arg(long)]
    keep_work: bool,
    /// Show all that applications printed, once they have ended.
    #[arg(long)]
    show_output: bool,
    /// How closely the receiver's stack is looked at: packets (each at each hook), counters, off (no drop reasons either), or auto:
    /// packets where the rate allows it.
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = evidence_level(), hide_possible_values = true)]
    evidence: std::option::Option<EvidenceLevel>,
}

/// Reads `--evidence`; `None`: as closely as the rate allows.
fn evidence_level() -> impl TypedValueParser<Value = Option<EvidenceLevel>> {
    let level = |word: String| match word.as_str() {
        "packets" => Some(EvidenceLevel::Packets),
        "counters" => Some(EvidenceLevel::Counters),
        "off" => Some(EvidenceLevel::Off),
        _ => None,
    };
    PossibleValuesParser::new(["auto", "packets", "counters", "off"]).map(level)
}

impl Arguments {
    fn options(&self, reports: &Reports) -> Options {
        let mut options = Options::default();
        options.allow_interfaces.clone_from(&self.allow_interface);
        options.update_snapshots = self.update_snapshots;
        options.evidence = self.evidence;
        options.keep_work = self.keep_work;
        options.show_output = self.show_output;
        options.report_folder = reports.folder().to_owned();
        options
    }
}

fn number_of_jobs(text: &str) -> std::result::Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "it is a whole number, 1 or more")
}

/// Runs everything and reports it.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    await_status_requests()?;
    let reports = Reports::new(arguments)?;
    work::sweep()?;
    let began = Instant::now();
    let collected = collect::scenarios(&arguments.paths)?;
    let scenarios =
        collected.found.into_iter().map(|Found { path, text }| (path, text.and_then(|text| scenario::check(&text))));
    let batch = Batch::new(scenarios.collect(), &arguments.options(&reports), &reports.claims())?;
    let mut show = Show::new(&batch, &reports, terminal);
    show.errors.problems(&collected.notes);
    for outcome in batch.outcomes() {
        show.ended(&outcome);
    }
    let at_once = arguments.jobs.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let outcomes = batch.run(at_once, &mut |update| match update {
        Update::Started(index) => show.progress.started(index),
        Update::Event(index, event) => show.event(index, event),
        Update::Ended(index) => show.progress.over(index),
        Update::Outcome(outcome) => show.ended(outcome),
        Update::StatusAsked => show.status(),
    });
    show.progress.end();
    let elapsed = began.elapsed().as_secs_f64();
    show.output.write(&conclusion(&outcomes, elapsed, show.output.look()));
    if terminal.annotations() {
        show.output.write(&github::annotations(&outcomes));
    }
    let skipped = if arguments.strict { Skipped::Blocked } else { Skipped::Tolerated };
    let status = Status::of(&outcomes, skipped).max(show.output.status());
    reports.save(outcomes, elapsed)?;
    Ok(status)
}

/// What the terminal shows while workers run.
struct Show {
    output: Output,
    errors: Output,
    progress: Progress,
    names: Vec<String>,
    name_width: usize,
    many: bool,
}

impl Show {
    fn new(batch: &Batch, reports: &Reports, terminal: &Terminal) -> Self {
        let names: Vec<_> = batch.names().map(str::to_owned).collect();
        let name_width = text::name_width(batch.names());
        // A report on standard output has it for itself.
        let output = if reports.on_stdout() { Output::stderr(terminal) } else { Output::stdout(terminal) };
        let many = names.len() > 1;
        let progress = if terminal.progress() {
            Progress::on_terminal(names.clone(), name_width)
        } else {
            Progress::hidden(names.clone())
        };
        Self { output, errors: Output::stderr(terminal), progress, names, name_width, many }
    }

    /// One line; of a single scenario that did not pass the story follows at once, and begins with that line.
    fn ended(&mut self, outcome: &Outcome) {
        if self.many || !has_story(outcome) {
            let line = text::line(outcome, self.name_width, self.output.look());
            self.progress.aside(|| self.output.write(&line));
        }
    }

    fn event(&mut self, index: usize, event: &Event) {
        let name = self.names.get(index).map(String::as_str).unwrap_or_default();
        let text = match event {
            Event::Output { stream, text } => text::output(name, stream, text),
            Event::Kept { folder } => text::kept(name, folder),
            _ => return self.progress.event(index, event),
        };
        self.progress.aside(|| self.errors.write(&text));
    }

    /// How far everything is that runs, on standard error.
    fn status(&mut self) {
        let lines = self.progress.status();
        self.progress.aside(|| self.errors.write(&lines));
    }
}

fn has_story(outcome: &Outcome) -> bool {
    !matches!(outcome.verdict, Verdict::Pass | Verdict::Skipped | Verdict::NotRun)
}

/// What is printed below the lines: the stories, and the summary.
fn conclusion(outcomes: &[Outcome], elapsed: f64, look: crate::report::Look) -> String {
    let mut stories: Vec<_> =
        outcomes.iter().filter(|outcome| has_story(outcome)).map(|outcome| text::story(outcome, look)).collect();
    stories.push(text::summary(outcomes, elapsed, look));
    let stories = stories.join("\n");
    // With one scenario nothing is printed above its story.
    if outcomes.len() == 1 && has_story(&outcomes[0]) { stories } else { format!("\n{stories}") }
}

/// The reports that the command line asks for.
#[derive(Debug)]
struct Reports {
    json: Option<Destination>,
    junit: Option<Destination>,
}

impl Reports {
    /// What can be known to be wrong is said before anything is sent.
    fn new(arguments: &Arguments) -> Result<Self> {
        let destination = |path: &Option<PathBuf>| path.as_deref().map(Destination::from);
        let reports = Self { json: destination(&arguments.report_json), junit: destination(&arguments.report_junit) };
        if reports.json == Some(Destination::Stdout) && reports.junit == Some(Destination::Stdout) {
            let problem = Diagnostic::error("both reports go to standard output").fix("write one of them to a file");
            return Err(Failure::invalid(problem));
        }
        for destination in [&reports.json, &reports.junit].into_iter().flatten() {
            if let Destination::File(path) = destination {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                    let problem = Diagnostic::error(format!("there is no folder for the report `{}`", path.display()))
                        .fix(format!("make it: `mkdir -p {}`", folder.display()));
                    return Err(Failure::invalid(problem));
                }
            }
        }
        Ok(reports)
    }

    /// The reports that are files, each with the word that asks for it.
    fn files(&self) -> impl Iterator<Item = (&Path, &'static str)> {
        [(&self.json, "--report-json"), (&self.junit, "--report-junit")].into_iter().filter_map(|(report, word)| {
            match report {
                Some(Destination::File(path)) => Some((path.as_path(), word)),
                Some(Destination::Stdout) | None => None,
            }
        })
    }

    /// Where what is kept goes: the folder of the JSON report, or else of the JUnit report, or else the current one.
    fn folder(&self) -> &Path {
        let folder = self.files().find(|(path, _)| !is_stream(path)).and_then(|(path, _)| path.parent());
        folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    fn claims(&self) -> Vec<Claim> {
        self.files().map(|(path, word)| Claim::new(path, format!("the report of {word}"))).collect()
    }

    fn on_stdout(&self) -> bool {
        [&self.json, &self.junit].into_iter().flatten().any(|destination| *destination == Destination::Stdout)
    }

    fn save(&self, scenarios: Vec<Outcome>, elapsed: f64) -> Result<()> {
        let report = Report { format: 1, scenarios };
        let json = self.json.as_ref().map_or(Ok(()), |place| save(place, &json::text(&report)?));
        // One that can't be written takes the other one with it no more than the run.
        let junit = self.junit.as_ref().map_or(Ok(()), |place| save(place, &junit::text(&report, elapsed)?));
        json.and(junit)
    }
}
