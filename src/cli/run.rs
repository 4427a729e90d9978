//! `restage run`: every scenario in a process of its own, and their outcomes.
//!
//! Results are printed as they come in; the stories of what did not pass come at the end, in the order in which the
//! scenarios were given, and the summary last, where a reader looks first.

mod countdown;
mod last_run;
mod list;
mod messages;
mod show;
mod slow;
mod so_far;
mod watch;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use ipnet::IpNet;
use jiff::Timestamp;

use self::last_run::LastRun;
use self::messages::MessageFormat;
use self::show::{Detail, Show};
use self::so_far::SoFar;
use super::choose::{self, Choice, Choosing, Chosen, Partition};
use super::output::Output;
use super::profile;
use super::reports::{self, ReportArguments, Reports};
use super::status::Status;
use super::terminal::Terminal;
use crate::diagnostic::{Diagnostic, Failure, Result, Severity};
use crate::host::facts::{hostname, kernel_release};
use crate::outcome::{EvidenceLevel, Outcome, Report, RunFacts, now};
use crate::process::signals::await_status_requests;
use crate::process::work;
use crate::process::worker::Supervisor;
use crate::report::github;
use crate::run::Options;
use crate::run::batch::{Batch, Candidate, Update};
use crate::run::turns::{Backoff, Rules};
use crate::scenario::{self, Scenario};

const EXAMPLES: &str = "\
Examples:
  restage run scenarios                            everything below a folder
  restage run scenarios -E 'tag(smoke)' --list     which scenarios have a tag?
  restage run scenarios --rerun failed             again what failed
  restage run dns.toml --watch                     again whenever it, or its capture, has changed
  restage run dns.toml --update-snapshots          review what changed with `git diff`
  restage run scenarios --report-junit junit.xml   for a CI server
  restage run scenarios --message-format json      for a program that follows the run
  restage run wire.toml --allow-interface enp0s8   a [target] needs leave by name
  kill -USR1 PID                                   how far each scenario of a run is, on standard error";

/// Above these options in a help text.
const RUNNING: &str = "Running";

/// Replay scenarios and judge what the receiver got.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    choosing: Choosing,
    #[command(flatten)]
    _profile: profile::Choice,
    /// Run one share of the scenarios that are chosen: slice:M/N (in turn), or hash:M/N (by name, so that a scenario stays in its share).
    #[arg(long, value_name = "SHARE", help_heading = choose::HEADING)]
    partition: Option<Partition>,
    /// Run only those scenarios that failed, or were not run, when they were last to be run; all where there is none.
    #[arg(long, value_name = "WHICH", value_enum, help_heading = choose::HEADING)]
    rerun: Option<Rerun>,
    /// Print the scenarios that would run: path, tags and summary; with --quiet only the paths.
    #[arg(long, help_heading = choose::HEADING, conflicts_with_all = ["report_json", "report_junit", "report_tap", "report_html", "message_format", "update_snapshots"])]
    list: bool,
    /// Print the list as JSON.
    #[arg(long, requires = "list", help_heading = choose::HEADING)]
    json: bool,
    /// Run scenarios again when they, or files that they name, have changed; Ctrl-C ends it.
    #[arg(long, help_heading = RUNNING, conflicts_with_all = ["list", "rerun"])]
    watch: bool,
    /// Scenarios that run side by side; by default four for each processor, up to 16, or one for each where there are more processors.
    #[arg(long, short, value_name = "N", value_parser = a_number, help_heading = RUNNING)]
    jobs: Option<NonZeroUsize>,
    /// Start no other scenario after so many have failed; those that run are run to their end.
    #[arg(long, value_name = "N", value_parser = a_number, help_heading = RUNNING, overrides_with_all = ["fail_fast", "no_fail_fast"])]
    max_fail: Option<NonZeroUsize>,
    /// Start no other scenario after one has failed: --max-fail 1.
    #[arg(long, help_heading = RUNNING, overrides_with_all = ["max_fail", "no_fail_fast"])]
    fail_fast: bool,
    /// Run all scenarios, whatever fails: this is the default.
    #[arg(long, help_heading = RUNNING, overrides_with_all = ["max_fail", "fail_fast"])]
    no_fail_fast: bool,
    /// Try a scenario that failed again, so often; one that passes then is flaky, and counts as passed.
    #[arg(long, value_name = "N", value_parser = a_count::<u32>, allow_negative_numbers = true, help_heading = RUNNING)]
    retries: Option<u32>,
    /// How long to wait before a retry, such as 500ms or 2s.
    #[arg(long, value_name = "DURATION", value_parser = a_duration, requires = "retries", help_heading = RUNNING)]
    retry_delay: Option<Duration>,
    /// How the delay grows with each retry: fixed, or exponential (it doubles).
    #[arg(long, value_name = "HOW", value_enum, default_value_t, hide_possible_values = true, requires = "retry_delay", help_heading = RUNNING)]
    retry_backoff: RetryBackoff,
    /// Block a scenario whose programs are not installed (exit status 3), in the place of skipping it.
    #[arg(long)]
    strict: bool,
    /// Let scenarios with `[target] interface = "NAME"` send on that interface; may be repeated.
    #[arg(long, value_name = "NAME")]
    allow_interface: Vec<String>,
    /// Let scenarios with `[target]` send to this address or prefix, which hosts of others may have; may be repeated.
    #[arg(long, value_name = "PREFIX", value_parser = a_prefix)]
    allow_destination: Vec<IpNet>,
    /// Let scenarios with `[target]` send so many frames in a second; by default 10,000.
    #[arg(long, value_name = "FRAMES", value_parser = a_rate)]
    allow_rate: Option<u64>,
    /// Let scenarios with `[receiver] at` use the host's own network namespace: an interface, addresses and routes are added there for the run.
    #[arg(long)]
    allow_host: bool,
    /// Write what identifies each frame that is sent, for `restage watch --sent` where the receiver is; for one scenario with `[target]`.
    #[arg(long, value_name = "FILE")]
    sent: Option<PathBuf>,
    #[command(flatten)]
    reports: ReportArguments,
    #[command(flatten)]
    detail: Detail,
    /// What goes to standard output: human, or json: an event a line, as it happens; the text for people then goes to standard error.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true, help_heading = reports::HEADING)]
    message_format: MessageFormat,
    /// Write the snapshots that scenarios name, instead of comparing with them.
    #[arg(long)]
    update_snapshots: bool,
    /// Keep what applications wrote, and say where: {work}, and their output beside it.
    #[arg(long)]
    keep_work: bool,
    /// Show all that applications printed, once they have ended.
    #[arg(long)]
    show_output: bool,
    /// Copy this program to the machine of a receiver that is elsewhere, into ~/.cache/restage there, and start that one.
    #[arg(long)]
    push: bool,
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

/// `--rerun`
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Rerun {
    Failed,
}

/// `--retry-backoff`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum RetryBackoff {
    #[default]
    Fixed,
    Exponential,
}

impl Arguments {
    /// What is to be run.
    fn choice(&self) -> Result<Choice> {
        let mut choice = choose::scenarios(&self.choosing, self.partition)?;
        if self.rerun == Some(Rerun::Failed) {
            let last_run = LastRun::of_user().ok_or_else(LastRun::missing)?;
            choice.only(&last_run.failed(choice.scenarios.iter().map(|one| (one.path.as_path(), one.name.as_str()))));
        }
        Ok(choice)
    }

    /// Keeps the results for the next `--rerun`. What needs none ends no run because of that.
    fn keep(&self, outcomes: &[Outcome]) -> Vec<Diagnostic> {
        let kept = LastRun::of_user().map_or(Ok(()), |last_run| last_run.keep(outcomes));
        let failure = kept.err().filter(|_| self.rerun.is_some());
        let problems = failure.into_iter().flat_map(|failure| failure.problems);
        problems.map(|problem| Diagnostic { severity: Severity::Warning, ..problem }).collect()
    }

    fn rules(&self) -> Rules {
        Rules {
            at_once: self.jobs.unwrap_or_else(usual_jobs),
            retries: self.retries.unwrap_or_default(),
            retry_delay: self.retry_delay.unwrap_or_default(),
            backoff: match self.retry_backoff {
                RetryBackoff::Fixed => Backoff::Fixed,
                RetryBackoff::Exponential => Backoff::Exponential,
            },
            max_fail: if self.fail_fast { Some(NonZeroUsize::MIN) } else { self.max_fail },
        }
    }

    fn options(&self, reports: &Reports) -> Options {
        let mut options = Options::default();
        options.allow_interfaces.clone_from(&self.allow_interface);
        options.allow_destinations.clone_from(&self.allow_destination);
        options.allow_rate = self.allow_rate;
        options.allow_host = self.allow_host;
        options.update_snapshots = self.update_snapshots;
        options.push = self.push;
        options.sent.clone_from(&self.sent);
        // A CI has no one to review them, and its checkout stays as it is.
        options.propose_snapshots = std::env::var_os("CI").is_none();
        options.evidence = self.evidence;
        options.strict = self.strict;
        options.keep_work = self.keep_work;
        options.show_output = self.show_output;
        options.capture_digests = self.message_format == MessageFormat::Json || reports.need_digests();
        options.report_folder = reports.folder().to_owned();
        options
    }
}

/// How many scenarios run side by side, where `--jobs` does not say it. Most of a scenario's time is waiting for the kernel, which makes and
/// removes network namespaces one after the other: more of them at once take no less time.
fn usual_jobs() -> NonZeroUsize {
    let processors = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let most = NonZeroUsize::new(16).expect("it is above 0");
    processors.saturating_mul(NonZeroUsize::new(4).expect("it is above 0")).min(most.max(processors))
}

pub(super) fn a_number(text: &str) -> std::result::Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "it is a whole number, 1 or more")
}

fn a_prefix(text: &str) -> std::result::Result<IpNet, &'static str> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map_err(|_| "write an address like 198.51.100.7, or a prefix like 2001:db8::/32")
}

fn a_rate(text: &str) -> std::result::Result<u64, &'static str> {
    a_number(text).map(|number| number.get() as u64)
}

fn a_count<T: FromStr>(text: &str) -> std::result::Result<T, &'static str> {
    text.parse().map_err(|_| "it is a whole number, 0 or more")
}

pub(super) fn a_duration(text: &str) -> std::result::Result<Duration, String> {
    scenario::duration(text)
        .map_err(|problem| [problem.why, problem.fix].into_iter().flatten().collect::<Vec<_>>().join("; "))
}

/// When a run began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began(Timestamp, Instant);

impl Began {
    pub(super) fn now() -> Self {
        Self(now(), Instant::now())
    }

    /// The run, which has ended now.
    pub(super) fn facts(&self) -> RunFacts {
        RunFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.0,
            seconds: self.1.elapsed().as_secs_f64(),
            hostname: hostname(),
            kernel: kernel_release(),
        }
    }
}

/// Runs everything and reports it.
pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Status> {
    if arguments.list {
        let form = match (arguments.json, arguments.detail.quiet) {
            (true, _) => list::Form::Json,
            (false, true) => list::Form::Paths,
            (false, false) => list::Form::Text,
        };
        return list::list(arguments.choice()?, form, terminal);
    }
    await_status_requests()?;
    let reports = Reports::new(&arguments.reports, arguments.message_format.on_stdout())?;
    if arguments.watch {
        return watch::watch(arguments, &reports, terminal);
    }
    once(arguments, arguments.choice()?, &reports, terminal).map(|(status, _)| status)
}

/// Runs what is chosen, once, and reports it.
fn once(arguments: &Arguments, choice: Choice, reports: &Reports, terminal: &Terminal) -> Result<(Status, Ended)> {
    work::sweep()?;
    let scenarios: Vec<_> = choice.scenarios.into_iter().map(Chosen::into_candidate).collect();
    if arguments.sent.is_some() && scenarios.len() != 1 {
        let what = format!("`--sent` is for one scenario, and there are {}", scenarios.len());
        return Err(Failure::invalid(Diagnostic::error(what).fix("name one, or run them one after the other")));
    }
    let interfaces = countdown::interfaces(&scenarios, &arguments.allow_interface);
    let batch = Batch::new(scenarios, &arguments.options(reports), &reports.claims())?;
    let mut show = Show::new(&batch, reports, arguments.message_format, arguments.detail, terminal);
    show.errors.problems(&choice.notes);
    countdown::count_down(&interfaces, &mut show.errors, terminal);
    let began = Began::now();
    let course = Course { rules: arguments.rules(), left_out: choice.left_out, reports, terminal };
    let done = course.carry_out(batch, show, began)?;
    Output::stderr(terminal).problems(&arguments.keep(&done.report.scenarios));
    [done.saved, reports.save_streams(&done.report)].into_iter().collect::<Result<()>>()?;
    Ok((done.status, done.ended))
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    ByItself,
    Interrupted,
}

/// Runs a scenario that is in no file; its outcome, and the exit status.
pub(super) fn single(
    scenario: Scenario,
    options: Options,
    arguments: &ReportArguments,
    terminal: &Terminal,
) -> Result<(Outcome, Status)> {
    await_status_requests()?;
    let reports = Reports::new(arguments, None)?;
    work::sweep()?;
    let began = Began::now();
    let options =
        Options { capture_digests: reports.need_digests(), report_folder: reports.folder().to_owned(), ..options };
    let candidate = Candidate {
        name: scenario.name.clone(),
        path: scenario.source.path.clone(),
        summary: scenario.summary.clone(),
        tags: scenario.tags.clone(),
        checked: Ok(scenario),
    };
    let batch = Batch::new(vec![candidate], &options, &reports.claims())?;
    let show = Show::new(&batch, &reports, MessageFormat::default(), Detail::default(), terminal);
    let course = Course { rules: Rules::default(), left_out: 0, reports: &reports, terminal };
    let done = course.carry_out(batch, show, began)?;
    [done.saved, reports.save_streams(&done.report)].into_iter().collect::<Result<()>>()?;
    Ok((done.report.scenarios[0].clone(), done.status))
}

/// How a batch is run and reported.
struct Course<'a> {
    rules: Rules,
    /// So many scenarios were not chosen.
    left_out: usize,
    reports: &'a Reports,
    terminal: &'a Terminal,
}

/// A batch that has ended.
struct Done {
    report: Report,
    status: Status,
    ended: Ended,
    /// Whether its reports are written, but for those that are no regular files.
    saved: Result<()>,
}

impl Course<'_> {
    /// Runs a batch, shows it, and writes the reports that are regular files: no signal ends this process before.
    fn carry_out(&self, batch: Batch, mut show: Show<'_>, began: Began) -> Result<Done> {
        for (index, outcome) in batch.known() {
            show.update(&Update::Outcome(index, outcome));
        }
        // Threads that are started from here on have the signals blocked, and take none of them.
        let mut supervisor = Supervisor::new()?;
        let so_far = SoFar::start(self.reports, &batch, began);
        let ran = batch.run(&mut supervisor, self.rules, &mut |update| {
            if let (Some(so_far), Update::Outcome(index, outcome)) = (&so_far, &update) {
                so_far.add(*index, outcome);
            }
            show.update(&update);
        });
        drop(so_far);
        let mut status = Status::of(&ran);
        let report = Report::of_run(began.facts(), ran.outcomes);
        let saved = self.reports.save_files(&report);
        let interrupted = ran.interrupted || supervisor.is_interrupted();
        drop(supervisor);

        let outcomes = &report.scenarios;
        show.end(outcomes, began.facts().seconds, self.left_out);
        if self.terminal.annotations() {
            show.output.write(&github::annotations(outcomes, Terminal::workspace().as_deref()));
        }
        status = status.max(show.status());
        let ended = if interrupted { Ended::Interrupted } else { Ended::ByItself };
        Ok(Done { report, status, ended, saved })
    }
}
