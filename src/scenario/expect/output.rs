//! `[[expect.command]]` and `[[expect.output]]`: what a text must be. Start at [`TextRule`].

use std::ops::Range;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::super::check::Checker;
use super::super::form::{self, Argument, numbers, values};
use super::super::receiver::Receiver;
use crate::diagnostic::{At, Diagnostic};

/// What a text must be; every key that is written must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TextRule {
    /// It contains this.
    #[schemars(example = &"sourceIPv4Address")]
    pub contains: Option<At<String>>,
    /// This regular expression (the `regex` crate's syntax) matches somewhere; ^ and $ are line ends.
    #[serde(deserialize_with = "form::pattern")]
    #[schemars(with = "String", example = &"^flows: [0-9]+$")]
    pub matches: Option<At<String>>,
    /// It has this many lines.
    #[serde(deserialize_with = "lines")]
    #[schemars(with = "i64", range(min = 0), example = 1401)]
    pub lines: Option<At<u64>>,
    /// It equals this file, relative to the scenario, byte for byte.
    #[schemars(example = &"expected/flows.csv")]
    pub equals_file: Option<At<PathBuf>>,
}

/// A check of what the application made of it, in the receiver's namespace, after it has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CommandCheck {
    /// Program and arguments, placeholders still in them.
    #[serde(deserialize_with = "form::command")]
    #[schemars(with = "Vec<String>", length(min = 1), example = ["nfdump", "-R", "{work}", "-q", "-o", "csv"])]
    pub run: At<Vec<String>>,
    /// What its standard output must be.
    #[serde(default, deserialize_with = "rule")]
    #[schemars(example = example_rule())]
    pub stdout: TextRule,
    /// What its standard error must be.
    #[serde(default, deserialize_with = "rule")]
    #[schemars(example = example_rule())]
    pub stderr: TextRule,
    /// Its exit status. Default: 0.
    #[serde(default, deserialize_with = "status")]
    #[schemars(with = "i64", range(min = 0, max = 255), example = 0)]
    pub status: At<i32>,
}

/// Where `[[expect.output]]` looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputFrom {
    /// The application's standard output.
    Stdout,
    /// The application's standard error.
    Stderr,
    /// A file, placeholders still in it.
    File(String),
}

/// A check of what the application wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputCheck {
    /// Where it looks.
    pub from: At<OutputFrom>,
    /// What it must be.
    pub rule: TextRule,
    /// The table in the scenario.
    pub span: Range<usize>,
}

/// A check of what the application wrote: the keys of a rule, and whose text it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct OutputForm {
    /// `stdout`, `stderr`, or a file that it writes.
    #[schemars(example = &"stdout")]
    from: At<OutputFrom>,
    /// It contains this.
    #[schemars(example = &"sourceIPv4Address")]
    contains: Option<At<String>>,
    /// This regular expression matches somewhere; ^ and $ are line ends.
    #[serde(default, deserialize_with = "form::pattern")]
    #[schemars(with = "String", example = &"^flows: [0-9]+$")]
    matches: Option<At<String>>,
    /// It has this many lines.
    #[serde(default, deserialize_with = "lines")]
    #[schemars(with = "i64", range(min = 0), example = 1401)]
    lines: Option<At<u64>>,
    /// It equals this file, relative to the scenario, byte for byte.
    #[schemars(example = &"expected/flows.csv")]
    equals_file: Option<At<PathBuf>>,
}

pub(super) fn outputs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OutputCheck>, D::Error> {
    let forms = Vec::<At<OutputForm>>::deserialize(deserializer)?;
    let checks = forms.into_iter().map(|form| {
        let span = form.range();
        let OutputForm { from, contains, matches, lines, equals_file } = form.value;
        OutputCheck { from, rule: TextRule { contains, matches, lines, equals_file }, span }
    });
    Ok(checks.collect())
}

values! {
    OutputFrom: Argument, |from: &Argument| output_from(&from.0);
}

numbers! {
    lines -> Option<At<u64>>, 0..=i64::MAX, "a text has 0 lines or more", "write how many lines it has";
    status -> At<i32>, 0..=255, "an exit status is from 0 to 255", "write 0 for success";
}

fn output_from(text: &str) -> Result<OutputFrom, Diagnostic> {
    match text {
        "stdout" => Ok(OutputFrom::Stdout),
        "stderr" => Ok(OutputFrom::Stderr),
        "" => Err(Diagnostic::error("`\u{2}` is empty")
            .fix("write \"stdout\", \"stderr\" or a file like \"{work}/flows.csv\"")),
        file => Ok(OutputFrom::File(file.to_owned())),
    }
}

/// A rule that is written, and so has a key.
fn rule<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TextRule, D::Error> {
    let rule = TextRule::deserialize(deserializer)?;
    if rule != TextRule::default() {
        return Ok(rule);
    }
    let problem = Diagnostic::error("`\u{2}` checks nothing");
    Err(form::error(&problem.fix("add `contains`, `matches`, `lines` or `equals-file`")))
}

fn example_rule() -> serde_json::Value {
    serde_json::json!({ "contains": "sourceIPv4Address" })
}

impl TextRule {
    pub(super) fn join(&mut self, checker: &mut Checker) {
        if let Some(file) = &mut self.equals_file {
            checker.join("equals-file", &mut file.value, file.span.as_ref());
        }
    }
}

impl OutputCheck {
    /// It needs an application, and a key.
    pub(super) fn check(&mut self, index: usize, lab: bool, receiver: &Receiver, checker: &mut Checker) {
        if receiver.command.is_none() {
            let problem = Diagnostic::error("`[[expect.output]]` needs an application")
                .why("it is about what `[receiver] command` writes, and there is none")
                .fix(if lab {
                    "add `[receiver] command`, or check by `[[expect.command]]`"
                } else {
                    "check by `[[expect.command]]`; or replace `[target]` by `[lab]`, and add `[receiver] command`"
                });
            checker.missing("receiver.command", self.span.clone(), problem);
        }
        if self.rule == TextRule::default() {
            let problem = Diagnostic::error("`[[expect.output]]` checks nothing");
            let problem = problem.fix("add `contains`, `matches`, `lines` or `equals-file`");
            let keys = ["contains", "matches", "lines", "equals-file"];
            checker.missing_all(&format!("expect.output.{index}"), &keys, self.span.clone(), problem);
        }
        self.rule.join(checker);
    }
}
