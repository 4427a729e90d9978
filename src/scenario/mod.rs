//! The scenario language: TOML with spans in, legal values out.
//!
//! One file for each table of the language holds its TOML form, its check and its meaning. May use `packet`,
//! `capture` (frame sets only) and `diagnostic`. Start at [`check`].

pub mod capture;
pub mod expect;
pub mod pacing;
pub mod placeholders;
pub mod receiver;
pub mod require;
pub mod rewrite;
pub mod sender;
mod set_line;
pub mod step;
pub mod topology;

mod address;
mod check;
mod form;
mod named_files;
mod quantity;
mod reading;
mod refused_words;
mod sysctl;
mod text;
mod toml_version;
mod variation;
mod vocabulary;

#[cfg(test)]
#[path = "../../tests/unit/accepted.rs"]
mod accepted_tests;
#[cfg(test)]
#[path = "../../tests/unit/rejected.rs"]
mod rejected_tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::text::{Looks, ScenarioText, quoted};
pub use self::variation::{Variation, cases, names};

use self::check::Checker;
use self::step::Action;
use crate::diagnostic::{At, Diagnostic, Failure, Kind, Result, Source};

/// One scenario, with legal values. What depends on the capture or on the machine is not known yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The file.
    pub source: Arc<Source>,
    /// The file's name without folder and `.toml`.
    pub name: String,
    /// The folder that paths are relative to, absolute: that of the file, wherever a symbolic link to it lies; of a scenario from a stream
    /// the current one.
    pub folder: PathBuf,
    /// The folder that relative paths are joined with.
    prefix: PathBuf,
    /// One line of text.
    pub summary: Option<String>,
    /// Words to choose by.
    pub tags: Vec<String>,
    /// Whether no other scenario runs meanwhile.
    pub exclusive: bool,
    /// Why it must fail, where it must.
    pub expect_failure: Option<At<String>>,
    /// What is said of it beside the file.
    variation: Variation,
    /// The whole run's limit; `None`: planned duration + 30 s.
    pub timeout: Option<At<Duration>>,
    /// The input.
    pub capture: capture::Capture,
    /// What changes.
    pub rewrite: rewrite::Rewrite,
    /// Where it goes.
    pub topology: topology::Topology,
    /// When.
    pub pacing: pacing::Pacing,
    /// What must hold.
    pub require: require::Require,
    /// Who receives.
    pub receiver: receiver::Receiver,
    /// What happens between the parts of the replay; empty where all is sent at once.
    pub steps: Vec<step::Step>,
    /// What must come out.
    pub expect: expect::Expect,
}

impl Scenario {
    /// The text that it was read from, for a process that is to read it again.
    pub(crate) fn text(&self) -> ScenarioText {
        ScenarioText {
            source: Arc::clone(&self.source),
            name: self.name.clone(),
            prefix: self.prefix.clone(),
            folder: self.folder.clone(),
            variation: self.variation.clone(),
        }
    }

    /// Whether neither frame numbers nor a filter nor steps leave frames out.
    pub(crate) fn selects_every_frame(&self) -> bool {
        self.capture.filter.is_none() && self.capture.frames.is_none() && self.steps.is_empty()
    }

    /// The step that sends the frame with this number; `None` where none does. Only where there are steps.
    pub fn step_of(&self, frame: u64) -> Option<usize> {
        self.steps.iter().position(|step| matches!(&step.action, Action::Frames(frames) if frames.contains(frame)))
    }

    /// Whether the receiver that it describes has its own packet filter.
    pub(crate) fn has_ruleset(&self) -> bool {
        self.topology.lab().is_some_and(|lab| lab.ruleset.is_some())
    }
}

/// A scenario of restage: what was captured, how it is rewritten, where and how fast it is replayed, and what the receiver
/// must show afterwards.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "restage scenario", extend("required" = ["format", "capture"]))]
struct Form {
    /// The version of the language: 1.
    #[schemars(range(min = 1, max = 1), example = 1)]
    format: Option<At<i64>>,
    /// One line of text.
    #[schemars(example = &"AppFlow, captured in production, reaches the lab collector")]
    summary: Option<At<String>>,
    /// Words to choose scenarios by.
    #[schemars(example = ["ipfix", "smoke"])]
    tags: Vec<At<String>>,
    /// Whether it runs alone, never beside other scenarios. Default: true if it measures: with `lateness`, `gap-error` or `within` in
    /// `[expect]`, or `rate = "max-lossless"`.
    #[schemars(example = true)]
    exclusive: Option<bool>,
    /// The scenario is expected to fail, for this reason: a failed expectation passes, and one that passes fails.
    #[serde(rename = "expect-failure")]
    #[schemars(example = &"the collector loses bursts until its buffer is larger")]
    expect_failure: Option<At<String>>,
    /// Variables: `{name}` in any string of the file is replaced by the value. `--var name=value` sets another one.
    #[schemars(with = "std::collections::BTreeMap<String, variation::Scalar>", example = variation::example_vars())]
    vars: serde::de::IgnoredAny,
    /// Lists of values, each a variable: the scenario is run once with each combination.
    #[schemars(with = "std::collections::BTreeMap<String, Vec<variation::Scalar>>", example = variation::example_matrix())]
    matrix: serde::de::IgnoredAny,
    /// The limit of the whole run. Default: the planned duration and 30 s.
    #[serde(deserialize_with = "form::duration")]
    #[schemars(with = "form::DurationText", example = &"60s")]
    timeout: Option<At<Duration>>,
    capture: Option<At<capture::Form>>,
    rewrite: rewrite::Form,
    target: Option<At<topology::TargetForm>>,
    /// The machines that send, each its share of the frames.
    sender: Vec<At<sender::Form>>,
    lab: Option<At<topology::LabTopology>>,
    pacing: pacing::Pacing,
    require: require::Require,
    receiver: Option<At<receiver::Form>>,
    /// The replay in parts, with something between.
    step: Vec<At<step::Form>>,
    expect: Option<expect::Expect>,
}

/// The JSON schema (draft 7) of a scenario file.
pub fn schema() -> serde_json::Value {
    vocabulary::schema::<Form>()
}

/// Reads a duration as scenarios have it: `250ms`, `1.5s`.
///
/// # Errors
/// Why it is none, and what to write.
pub fn duration(text: &str) -> std::result::Result<Duration, Diagnostic> {
    quantity::duration(text)
}

/// Reads a size as scenarios have it: `512 MiB`, `100MB`.
///
/// # Errors
/// Why it is none, and what to write.
pub fn size(text: &str) -> std::result::Result<u64, Diagnostic> {
    quantity::size(text)
}

/// Checks the text of a scenario file. Paths in it are joined with the folder of `source.path`.
///
/// # Errors
/// [`Kind::Invalid`] with every problem of the text, in its order.
#[cfg(test)]
pub fn check_text(source: Arc<Source>) -> Result<Scenario> {
    check(&ScenarioText::of(source)?)
}

/// Checks a scenario that has been read.
///
/// # Errors
/// [`Kind::Invalid`] with every problem of the text, in its order.
pub fn check(text: &ScenarioText) -> Result<Scenario> {
    let (form, broken, problems) = reading::read_form(text);
    let mut checker = Checker::new(Arc::clone(&text.source), text.prefix.clone(), broken, problems);
    let scenario = form.and_then(|form| check_form(form, text, &mut checker));
    let problems = checker.into_problems();
    match scenario {
        Some(scenario) if problems.is_empty() => Ok(scenario),
        _ => Err(Failure { kind: Kind::Invalid, problems }),
    }
}

/// The legal values; every problem is reported to the checker. `None` only if one was.
fn check_form(form: Form, text: &ScenarioText, checker: &mut Checker) -> Option<Scenario> {
    // Where a missing table is pointed at: the file's first line.
    let top = 0..0;
    check_format(form.format.as_ref(), checker);
    // With both, which is an error, nothing else is judged by the target.
    let senders = form.sender.first().map(At::range);
    let is_target = (form.target.is_some() || senders.is_some()) && form.lab.is_none();
    let at = form.receiver.as_ref().and_then(|receiver| receiver.value.place());
    let has_agent = at.as_ref().is_some_and(|at| matches!(at.value, receiver::Place::There(_)));
    // An agent sees what no one else sees of a target's receiver.
    let is_blind = is_target && !has_agent;
    let capture = capture::check(form.capture, top, checker);
    let senders = (sender::check(form.sender, checker), senders);
    let mut topology = topology::check(form.lab, form.target, senders, at, checker);
    let rewrite = rewrite::check(form.rewrite, topology.as_ref(), checker);
    let receiver = receiver::check(form.receiver, is_blind, checker);
    if let Some(topology) = &mut topology {
        topology.set_runs_already(receiver.program.command.is_none());
    }
    let runs_already = topology.as_ref().is_some_and(topology::Topology::runs_already);
    let pacing = form.pacing;
    pacing.check(is_target, runs_already, checker);
    let steps = step::check(form.step, &receiver, &pacing, is_blind, runs_already, checker);
    if topology.as_ref().is_some_and(|topology| !topology.senders().is_empty()) {
        sender::refuse_steps(&steps, checker);
        sender::refuse_limit(&pacing, checker);
        if let Some(order) = form.expect.as_ref().and_then(|expect| expect.order.as_ref()) {
            sender::refuse_order(order, checker);
        }
        if let Some(expect) = &form.expect {
            sender::refuse_flows(topology.as_ref().map_or(&[], topology::Topology::senders), expect, checker);
        }
    }
    let written = form.expect.is_some();
    let mut expect = expect::Expect { written, ..form.expect.unwrap_or_default() };
    let observed = topology.as_ref().is_some_and(topology::Topology::is_observed);
    expect.check(observed, runs_already, &receiver, &pacing.rate, checker);
    let mut require = form.require;
    require.check(topology.as_ref(), receiver.interface.as_ref(), is_blind, checker);
    let summary = form.summary.map(|summary| check_summary(summary, checker));
    let tags = check_tags(form.tags, checker);
    let timeout = form.timeout;
    // Two runs at once would have the same addresses in one namespace.
    let is_elsewhere = topology.as_ref().is_some_and(topology::Topology::is_there_already);
    let measures = expect.measures_time() || pacing.rate.value == pacing::Rate::MaxLossless;
    let exclusive = form.exclusive.unwrap_or(measures || is_elsewhere);
    let source = Arc::clone(&checker.source);
    Some(Scenario {
        name: text.name.clone(),
        source,
        folder: text.folder.clone(),
        prefix: text.prefix.clone(),
        summary,
        tags,
        exclusive,
        expect_failure: form.expect_failure,
        variation: text.variation.clone(),
        timeout,
        capture: capture?,
        rewrite,
        topology: topology?,
        pacing,
        require,
        receiver,
        steps,
        expect,
    })
}

fn check_format(format: Option<&At<i64>>, checker: &mut Checker) {
    const WHY: &str = "a scenario says which version of the language it is written in";
    match format {
        None => {
            let problem = Diagnostic::error("`format` is missing").why(WHY).fix("write `format = 1` on the first line");
            checker.missing("format", 0..0, problem);
        }
        Some(format) if format.value != 1 => {
            let problem = Diagnostic::error(format!("`format` can't be {}", format.value))
                .why("this version of restage reads format 1")
                .fix("write `format = 1`, or use the restage that the file was written for");
            checker.refuse(format.range(), problem);
        }
        Some(_) => {}
    }
}

fn check_summary(summary: At<String>, checker: &mut Checker) -> String {
    if summary.value.contains('\n') {
        let problem = Diagnostic::error("`summary` has several lines").why("reports show it on one line");
        checker.refuse(summary.range(), problem.fix("write one line, and the rest as a comment"));
    }
    summary.value
}

fn check_tags(tags: Vec<At<String>>, checker: &mut Checker) -> Vec<String> {
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    for tag in &tags {
        if tag.value.is_empty() || !tag.value.chars().all(legal) {
            let problem = Diagnostic::error(format!("`tags` can't hold \"{}\"", tag.value))
                .why("scenarios are chosen by expressions like `tag(ipfix) and not tag(slow)`")
                .fix("write letters, digits, `-`, `_` and `.`");
            checker.refuse(tag.range(), problem);
        }
    }
    tags.into_iter().map(|tag| tag.value).collect()
}
