//! `[[expect.command]]` and `[[expect.output]]`: what a text must be. Start at [`check_commands`].

use std::ops::Range;

use regex::RegexBuilder;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::check::Checker;
use super::super::form::Value;
use super::super::placeholders;
use super::super::receiver::Receiver;
use super::{CommandCheck, OutputCheck, OutputFrom, TextRule};
use crate::diagnostic::{At, Diagnostic};

/// A check of what the application made of it, in the receiver's namespace, after it has stopped.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct CommandForm {
    /// Program and arguments.
    #[schemars(required, length(min = 1), example = ["nfdump", "-R", "{work}", "-q", "-o", "csv"])]
    run: Option<Value<Vec<Value<String>>>>,
    /// What its standard output must be.
    #[schemars(example = example_rule())]
    stdout: Option<Value<RuleForm>>,
    /// What its standard error must be.
    #[schemars(example = example_rule())]
    stderr: Option<Value<RuleForm>>,
    /// Its exit status. Default: 0.
    #[schemars(range(min = 0, max = 255), example = 0)]
    status: Option<Value<i64>>,
}

/// What a text must be; every key that is written must hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RuleForm {
    /// It contains this.
    #[schemars(example = &"sourceIPv4Address")]
    contains: Option<Value<String>>,
    /// This regular expression matches somewhere; ^ and $ are line ends.
    #[schemars(example = &"^flows: [0-9]+$")]
    matches: Option<Value<String>>,
    /// It has this many lines.
    #[schemars(range(min = 0), example = 1401)]
    lines: Option<Value<i64>>,
    /// It equals this file, relative to the scenario, byte for byte.
    #[schemars(example = &"expected/flows.csv")]
    equals_file: Option<Value<String>>,
}

/// A check of what the application wrote.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct OutputForm {
    /// `stdout`, `stderr`, or a file that it writes.
    #[schemars(required, example = &"stdout")]
    from: Option<Value<String>>,
    /// It contains this.
    #[schemars(example = &"sourceIPv4Address")]
    contains: Option<Value<String>>,
    /// This regular expression matches somewhere; ^ and $ are line ends.
    #[schemars(example = &"^flows: [0-9]+$")]
    matches: Option<Value<String>>,
    /// It has this many lines.
    #[schemars(range(min = 0), example = 1401)]
    lines: Option<Value<i64>>,
    /// It equals this file, relative to the scenario, byte for byte.
    #[schemars(example = &"expected/flows.csv")]
    equals_file: Option<Value<String>>,
}

fn example_rule() -> serde_json::Value {
    serde_json::json!({ "contains": "sourceIPv4Address" })
}

/// The legal values of all `[[expect.command]]`.
pub(super) fn check_commands(forms: Vec<Value<CommandForm>>, checker: &mut Checker) -> Vec<CommandCheck> {
    let mut checks = Vec::with_capacity(forms.len());
    for (index, form) in forms.into_iter().enumerate() {
        let table = form.span();
        let form = form.into_inner();
        let Some(run) = form.run else {
            let problem = Diagnostic::error("`[[expect.command]]` has nothing to `run`");
            let problem = problem.fix("add `run = [\"PROGRAM\", \"ARGUMENT\"]`");
            checker.missing(&format!("expect.command.{index}.run"), table, problem);
            continue;
        };
        checks.push(CommandCheck {
            run: checker.command("expect.command.run", run),
            stdout: form.stdout.map_or(TextRule::default(), |rule| check_rule("stdout", rule, checker)),
            stderr: form.stderr.map_or(TextRule::default(), |rule| check_rule("stderr", rule, checker)),
            status: form.status.map_or(At::default_value(0), |status| check_status(&status, checker)),
        });
    }
    checks
}

fn check_status(written: &Value<i64>, checker: &mut Checker) -> At<i32> {
    let Ok(status) = u8::try_from(*written.get()) else {
        let problem = Diagnostic::error(format!("`expect.command.status` can't be {}", written.get()));
        checker.refuse(written.span(), problem.why("an exit status is from 0 to 255").fix("write 0 for success"));
        return written.with(0);
    };
    written.with(i32::from(status))
}

/// The legal values of all `[[expect.output]]`.
pub(super) fn check_outputs(
    forms: Vec<Value<OutputForm>>,
    lab: bool,
    receiver: &Receiver,
    checker: &mut Checker,
) -> Vec<OutputCheck> {
    let mut checks = Vec::with_capacity(forms.len());
    for (index, form) in forms.into_iter().enumerate() {
        let table = form.span();
        if receiver.command.is_none() {
            let problem = Diagnostic::error("`[[expect.output]]` needs an application")
                .why("it is about what `[receiver] command` writes, and there is none")
                .fix(if lab {
                    "add `[receiver] command`, or check by `[[expect.command]]`"
                } else {
                    "check by `[[expect.command]]`; or replace `[target]` by `[lab]`, and add `[receiver] command`"
                });
            checker.missing("receiver.command", table.clone(), problem);
        }
        let form = form.into_inner();
        let rule = RuleForm {
            contains: form.contains,
            matches: form.matches,
            lines: form.lines,
            equals_file: form.equals_file,
        };
        let path = format!("expect.output.{index}");
        let rule = rule.check(&path, table.clone(), "`[[expect.output]]`", checker);
        let Some(from) = form.from else {
            let problem = Diagnostic::error("`[[expect.output]]` doesn't say `from` where");
            let problem = problem.fix("add `from = \"stdout\"`, \"stderr\" or a file like \"{work}/flows.csv\"");
            checker.missing(&format!("{path}.from"), table, problem);
            continue;
        };
        checker.placeholders(&from, &placeholders::NAMES);
        let place = match from.get().as_str() {
            "stdout" => OutputFrom::Stdout,
            "stderr" => OutputFrom::Stderr,
            "" => {
                let problem = Diagnostic::error("`expect.output.from` is empty");
                checker.refuse(
                    from.span(),
                    problem.fix("write \"stdout\", \"stderr\" or a file like \"{work}/flows.csv\""),
                );
                continue;
            }
            file => OutputFrom::File(file.to_owned()),
        };
        checks.push(OutputCheck { from: from.with(place), rule });
    }
    checks
}

fn check_rule(key: &str, written: Value<RuleForm>, checker: &mut Checker) -> TextRule {
    let span = written.span();
    written.into_inner().check("", span, &format!("`expect.command.{key}`"), checker)
}

impl RuleForm {
    /// The legal values; `table` is pointed at if there are none. `path` leads to the table, where its keys may be broken.
    fn check(self, path: &str, table: Range<usize>, name: &str, checker: &mut Checker) -> TextRule {
        let keys = [self.contains.is_some(), self.matches.is_some(), self.lines.is_some(), self.equals_file.is_some()];
        if keys == [false; 4] {
            let problem = Diagnostic::error(format!("{name} checks nothing"))
                .fix("add `contains`, `matches`, `lines` or `equals-file`");
            checker.missing_all(path, &["contains", "matches", "lines", "equals-file"], table, problem);
        }
        TextRule {
            contains: self.contains.map(Value::into_at),
            matches: self.matches.and_then(|pattern| check_regex(pattern, checker)),
            lines: self.lines.and_then(|lines| check_lines(&lines, checker)),
            equals_file: self.equals_file.and_then(|path| checker.path("equals-file", &path)),
        }
    }
}

fn check_lines(written: &Value<i64>, checker: &mut Checker) -> Option<At<u64>> {
    let lines = u64::try_from(*written.get()).ok();
    if lines.is_none() {
        let problem = Diagnostic::error(format!("`lines` can't be {}", written.get()));
        checker.refuse(written.span(), problem.why("a text has 0 lines or more").fix("write how many lines it has"));
    }
    lines.map(|lines| written.with(lines))
}

fn check_regex(written: Value<String>, checker: &mut Checker) -> Option<At<String>> {
    let Err(error) = RegexBuilder::new(written.get()).multi_line(true).build() else { return Some(written.into_at()) };
    // The crate's message is several lines, with a caret of its own; the last one says what is wrong.
    let message = error.to_string();
    let why = message.lines().last().unwrap_or_default();
    let problem = Diagnostic::error("this is not a regular expression").why(why.trim_start_matches("error: "));
    let fix = "mend it; its syntax is https://docs.rs/regex/latest/regex/#syntax, and 'single quotes' keep backslashes";
    checker.refuse(written.span(), problem.fix(fix));
    None
}
