//! The scenario language: TOML with spans in, legal values out.
//!
//! One file for each table of the language holds its TOML form, its check and its meaning. May use `packet`,
//! `capture` (frame sets only) and `diagnostic`. Start at [`read`].

pub mod capture;
pub mod expect;
pub mod pacing;
pub mod placeholders;
pub mod receiver;
pub mod require;
pub mod rewrite;
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
mod vocabulary;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::text::{Looks, ScenarioText};

use self::check::Checker;
use self::form::Value;
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
    /// What stands before a relative path of the file.
    prefix: PathBuf,
    /// One line of text.
    pub summary: Option<String>,
    /// Vocabulary to choose by.
    pub tags: Vec<String>,
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
        }
    }

    /// Whether the receiver that it describes has a packet filter of its own.
    pub(crate) fn has_ruleset(&self) -> bool {
        matches!(&self.topology, topology::Topology::Lab(lab) if lab.ruleset.is_some())
    }
}

/// A scenario of restage: what was captured, how it is rewritten, where and how fast it is replayed, and what the receiver
/// must show afterwards.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "restage scenario")]
struct Form {
    /// The version of the language: 1.
    #[schemars(range(min = 1, max = 1), example = 1)]
    #[schemars(required)]
    format: Option<Value<i64>>,
    /// One line of text.
    #[schemars(example = &"AppFlow, captured in production, reaches the lab collector")]
    summary: Option<Value<String>>,
    /// Vocabulary to choose scenarios by.
    #[schemars(example = ["ipfix", "smoke"])]
    tags: Option<Vec<Value<String>>>,
    /// The limit of the whole run. Default: the planned duration and 30 s.
    #[schemars(regex(pattern = quantity::DURATION_PATTERN))]
    #[schemars(example = &"60s")]
    timeout: Option<Value<String>>,
    #[schemars(required)]
    capture: Option<Value<capture::Form>>,
    rewrite: Option<Value<rewrite::Form>>,
    target: Option<Value<topology::TargetForm>>,
    lab: Option<Value<topology::LabForm>>,
    pacing: Option<Value<pacing::Form>>,
    require: Option<Value<require::Form>>,
    receiver: Option<Value<receiver::Form>>,
    expect: Option<Value<expect::Form>>,
}

/// The JSON schema (draft 7) of a scenario file.
pub fn schema() -> serde_json::Value {
    vocabulary::schema::<Form>()
}

/// Reads and checks a scenario file; `-` is standard input.
///
/// # Errors
/// [`Kind::Invalid`] with every problem of the file, in its order.
pub fn read(path: &Path) -> Result<Scenario> {
    check(&ScenarioText::load(path)?)
}

/// Checks the text of a scenario file. Paths in it are joined with the folder of `source.path`.
///
/// # Errors
/// [`Kind::Invalid`] with every problem of the text, in its order.
pub fn check_text(source: Arc<Source>) -> Result<Scenario> {
    check(&ScenarioText::of(source)?)
}

/// Checks a scenario that has been read.
///
/// # Errors
/// [`Kind::Invalid`] with every problem of the text, in its order.
pub fn check(text: &ScenarioText) -> Result<Scenario> {
    let (form, broken, problems) = reading::read_form(&text.source);
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
    let is_target = form.target.is_some() && form.lab.is_none();
    let capture = capture::check(form.capture, top, checker);
    let topology = topology::check(form.lab, form.target, checker);
    let lab = match &topology {
        Some(topology::Topology::Lab(lab)) => Some(lab),
        Some(topology::Topology::Target { .. }) | None => None,
    };
    let rewrite = rewrite::check(form.rewrite, lab, checker);
    let receiver = receiver::check(form.receiver, is_target, checker);
    let pacing = pacing::check(form.pacing, is_target, checker);
    let expect = expect::check(form.expect, lab.is_some(), &receiver, &pacing.rate, checker);
    let require = require::check(form.require, topology.as_ref(), is_target, checker);
    let summary = form.summary.map(|summary| check_summary(summary, checker));
    let tags = check_tags(form.tags.unwrap_or_default(), checker);
    let timeout = form.timeout.and_then(|timeout| checker.duration("timeout", &timeout));
    let source = Arc::clone(&checker.source);
    Some(Scenario {
        name: text.name.clone(),
        source,
        folder: text.folder.clone(),
        prefix: text.prefix.clone(),
        summary,
        tags,
        timeout,
        capture: capture?,
        rewrite,
        topology: topology?,
        pacing,
        require,
        receiver,
        expect,
    })
}

fn check_format(format: Option<&Value<i64>>, checker: &mut Checker) {
    const WHY: &str = "a scenario says which version of the language it is written in";
    match format {
        None => {
            let problem = Diagnostic::error("`format` is missing").why(WHY).fix("write `format = 1` on the first line");
            checker.missing("format", 0..0, problem);
        }
        Some(format) if *format.get() != 1 => {
            let problem = Diagnostic::error(format!("`format` can't be {}", format.get()))
                .why("this version of restage reads format 1")
                .fix("write `format = 1`, or use the restage that the file was written for");
            checker.refuse(format.span(), problem);
        }
        Some(_) => {}
    }
}

fn check_summary(summary: Value<String>, checker: &mut Checker) -> String {
    if summary.get().contains('\n') {
        let problem = Diagnostic::error("`summary` has several lines").why("reports show it on one line");
        checker.refuse(summary.span(), problem.fix("write one line, and the rest as a comment"));
    }
    summary.into_inner()
}

fn check_tags(tags: Vec<Value<String>>, checker: &mut Checker) -> Vec<String> {
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    for tag in &tags {
        if tag.get().is_empty() || !tag.get().chars().all(legal) {
            let problem = Diagnostic::error(format!("`tags` can't hold \"{}\"", tag.get()))
                .why("scenarios are chosen by expressions like `tag(ipfix) and not tag(slow)`")
                .fix("write letters, digits, `-`, `_` and `.`");
            checker.refuse(tag.span(), problem);
        }
    }
    tags.into_iter().map(Value::into_inner).collect()
}
