//! `[[expect.command]]` and `[[expect.output]]`: what a text must be. Start at [`TextRule`].

use std::borrow::Cow;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use glob::Pattern;
use regex_automata::util::syntax;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::super::check::Checker;
use super::super::form::{self, Argument, DurationText, Entries, numbers, refused, values};
use super::super::receiver::{Receiver, check_name};
use super::super::vocabulary;
use super::flows::StoredFlows;
use super::how_many::HowMany;
use super::json::{self, JsonLines, JsonRule};
use crate::diagnostic::{At, Diagnostic};

/// Makes a table that has the keys of a rule, beside its own.
macro_rules! with_rule {
    ($(#[$meta:meta])* $visible:vis struct $name:ident { $($(#[$own_meta:meta])* $own:ident: $own_type:ty,)* }) => {
        $(#[$meta])*
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        $visible struct $name {
            $($(#[$own_meta])* $own: $own_type,)*
            /// It contains this.
            #[serde(default)]
            #[schemars(example = &"sourceIPv4Address")]
            pub contains: Option<At<String>>,
            /// It does not contain this.
            #[serde(default)]
            #[schemars(example = &"ERROR")]
            pub not_contains: Option<At<String>>,
            /// This regular expression (the `regex` crate's syntax) matches somewhere; ^ and $ are line ends.
            #[serde(default, deserialize_with = "form::pattern")]
            #[schemars(with = "String", example = &"^flows: [0-9]+$")]
            pub matches: Option<At<String>>,
            /// This regular expression matches nowhere.
            #[serde(default, deserialize_with = "form::pattern")]
            #[schemars(with = "String", example = &"(?i)error")]
            pub not_matches: Option<At<String>>,
            /// How often it has what `contains` or `matches` says: a number, or a comparison like ">= 3".
            #[serde(default)]
            #[schemars(example = 10)]
            pub count: Option<At<HowMany>>,
            /// It has this many lines: a number, or a comparison like ">= 3".
            #[serde(default)]
            #[schemars(example = 1401)]
            pub lines: Option<At<HowMany>>,
            /// It equals this file, relative to the scenario, byte for byte.
            #[serde(default)]
            #[schemars(example = &"expected/flows.csv")]
            pub equals_file: Option<At<PathBuf>>,
            /// It is a JSON text, in which each path (RFC 9535) selects this value.
            #[serde(default, deserialize_with = "json::rules")]
            #[schemars(with = "Entries<json::AnyValue>", example = json::example())]
            pub json: Vec<JsonRule>,
            /// Each of its lines is a JSON text: how many of them are such as this says.
            #[serde(default)]
            #[schemars(example = example_lines())]
            pub json_lines: Option<At<JsonLines>>,
            /// It has the records of the flow exports that were sent, as a collector stored them.
            #[serde(default)]
            #[schemars(example = example_flows())]
            pub flows: Option<At<StoredFlows>>,
        }
    };
}

with_rule! {
    /// What a text must be; every key that is written must hold.
    #[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
    pub struct TextRule {}
}

/// The keys that a rule has at least one of.
const RULE_KEYS: [&str; 9] =
    ["contains", "not-contains", "matches", "not-matches", "lines", "equals-file", "json", "json-lines", "flows"];

/// What is looked for in a text.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// The key of the rule.
    pub key: &'static str,
    pub wanted: &'a At<String>,
    /// Whether it is the text itself, and no regular expression.
    pub is_literal: bool,
    /// How often; `None`: at least once, or never where it is `negated`.
    pub count: Option<&'a At<HowMany>>,
    pub negated: bool,
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
    /// It is run again and again while the application runs, until it is as it should be, at most for this long.
    #[serde(default, deserialize_with = "form::duration")]
    #[schemars(with = "DurationText", example = &"30s")]
    pub within: Option<At<Duration>>,
    /// `running`: before the application is stopped; `stopped`: after it. Default: `running` with `within`, else `stopped`.
    #[serde(default)]
    #[schemars(example = &"running")]
    pub when: Option<At<When>>,
}

/// When a check looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// When the frames are read, before the application is stopped.
    Running,
    /// After it has stopped.
    Stopped,
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
    /// All files whose names match a pattern, placeholders still in it.
    Files(String),
}

/// A check of what the application wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputCheck {
    /// Where it looks.
    pub from: At<OutputFrom>,
    /// The process whose standard output or standard error it is; `None`: the application's.
    pub process: Option<At<String>>,
    /// What it must be.
    pub rule: TextRule,
    /// As in [`CommandCheck`].
    pub within: Option<At<Duration>>,
    /// As in [`CommandCheck`].
    pub when: Option<At<When>>,
    /// The table in the scenario.
    pub span: Range<usize>,
}

with_rule! {
    /// A check of what the application wrote: the keys of a rule, and whose text it is.
    #[derive(Debug, Deserialize, JsonSchema)]
    pub(super) struct OutputForm {
        /// `stdout`, `stderr`, a file that it writes, or a pattern like "{work}/nfcapd.*": all of these files, one after the other.
        #[schemars(example = &"stdout")]
        from: At<OutputFrom>,
        /// With `stdout` or `stderr`: the name of the `[[receiver.process]]` whose it is. Default: the application's.
        #[serde(default)]
        #[schemars(example = &"postgres")]
        process: Option<At<String>>,
        /// It is looked at again and again while the application runs, until it is as it should be, at most for this long.
        #[serde(default, deserialize_with = "form::duration")]
        #[schemars(with = "DurationText", example = &"30s")]
        within: Option<At<Duration>>,
        /// `running`: before the application is stopped; `stopped`: after it. Default: `running` with `within`, else `stopped`.
        #[serde(default)]
        #[schemars(example = &"running")]
        when: Option<At<When>>,
    }
}

pub(super) fn outputs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OutputCheck>, D::Error> {
    let forms = Vec::<At<OutputForm>>::deserialize(deserializer)?;
    let checks = forms.into_iter().map(|form| {
        let span = form.range();
        let OutputForm {
            from,
            process,
            within,
            when,
            contains,
            not_contains,
            matches,
            not_matches,
            count,
            lines,
            equals_file,
            json,
            json_lines,
            flows,
        } = form.value;
        let rule = TextRule {
            contains,
            not_contains,
            matches,
            not_matches,
            count,
            lines,
            equals_file,
            json,
            json_lines,
            flows,
        };
        OutputCheck { from, process, rule, within, when, span }
    });
    Ok(checks.collect())
}

values! {
    OutputFrom: Argument, |from: &Argument| output_from(&from.0);
}

numbers! {
    status -> At<i32>, 0..=255, "an exit status is from 0 to 255", "write 0 for success";
}

fn output_from(text: &str) -> Result<OutputFrom, Diagnostic> {
    match text {
        "stdout" => Ok(OutputFrom::Stdout),
        "stderr" => Ok(OutputFrom::Stderr),
        "" => Err(Diagnostic::error("`\u{2}` is empty")
            .fix("write \"stdout\", \"stderr\" or a file like \"{work}/flows.csv\"")),
        // As in a shell; the placeholders have no such characters.
        pattern if pattern.contains(['*', '?', '[']) => match Pattern::new(pattern) {
            Ok(_) => Ok(OutputFrom::Files(pattern.to_owned())),
            Err(error) => Err(refused(
                format!("it is no pattern for names of files: {}", error.msg),
                "write it like \"{work}/nfcapd.*\", with `*`, `?`, `[a-z]`, and `[[]` for `[`",
            )),
        },
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
    Err(form::error(&problem.fix(add_a_key())))
}

fn add_a_key() -> String {
    format!("add {}", vocabulary::one_of(&RULE_KEYS.map(|key| format!("`{key}`"))))
}

fn example_lines() -> serde_json::Value {
    serde_json::json!({ "match": json::example(), "count": 5 })
}

fn example_flows() -> serde_json::Value {
    serde_json::json!({ "format": "nfdump-json" })
}

fn example_rule() -> serde_json::Value {
    serde_json::json!({ "contains": "sourceIPv4Address" })
}

impl Search<'_> {
    /// The regular expression for it.
    pub fn pattern(&self) -> Cow<'_, str> {
        let wanted = self.wanted.value.as_str();
        if self.is_literal { regex::escape(wanted).into() } else { wanted.into() }
    }
}

impl TextRule {
    /// What is looked for, in the order of the keys.
    pub fn searches(&self) -> impl Iterator<Item = Search<'_>> {
        let keys = [
            ("contains", &self.contains, true, false),
            ("not-contains", &self.not_contains, true, true),
            ("matches", &self.matches, false, false),
            ("not-matches", &self.not_matches, false, true),
        ];
        keys.into_iter().filter_map(|(key, wanted, is_literal, negated)| {
            let count = self.count.as_ref().filter(|_| !negated);
            Some(Search { key, wanted: wanted.as_ref()?, is_literal, count, negated })
        })
    }

    pub(super) fn check(&mut self, checker: &mut Checker) {
        if let Some(file) = &mut self.equals_file {
            checker.join("equals-file", &mut file.value, file.span.as_ref());
        }
        if let Some(flows) = &self.flows {
            StoredFlows::check(flows, checker);
        }
        let Some(count) = &self.count else { return };
        let counted = |search: &Search<'_>| !search.negated;
        let problem = match (self.searches().find(counted), self.searches().filter(counted).count()) {
            (Some(search), 1) => {
                // A pattern that is broken was taken out.
                let shortest =
                    syntax::parse(&search.pattern()).ok().and_then(|pattern| pattern.properties().minimum_len());
                (shortest == Some(0)).then(|| {
                    Diagnostic::error(format!("`count` needs a `{}` of one character or more", search.key))
                        .why("what it says may be an empty text, which is between any two characters")
                        .fix("write what is to be counted so that it has one character or more, as `x+` for `x*`; `lines` counts lines")
                })
            }
            (_, 0) => Some(
                Diagnostic::error("`count` has nothing to count")
                    .why("it says how often the text has what `contains` or `matches` says")
                    .fix(
                        "add `contains` or `matches`; `lines` counts lines, and `json-lines` has a `count` of its own",
                    ),
            ),
            _ => Some(
                Diagnostic::error("`count` can't be that of `contains` and that of `matches`")
                    .why("it says how often the text has what one of them says")
                    .fix("write two rules, each with its own `count`"),
            ),
        };
        if let Some(problem) = problem {
            checker.refuse(count.range(), problem);
        }
    }
}

impl CommandCheck {
    pub fn is_of_running(&self) -> bool {
        is_of_running(self.within.as_ref(), self.when.as_ref())
    }

    pub(super) fn check(&mut self, checker: &mut Checker) {
        self.stdout.check(checker);
        self.stderr.check(checker);
        check_when(self.within.as_ref(), self.when.as_ref(), checker);
    }
}

/// Whether it looks while the application runs.
fn is_of_running(within: Option<&At<Duration>>, when: Option<&At<When>>) -> bool {
    within.is_some() || when.is_some_and(|when| when.value == When::Running)
}

fn check_when(within: Option<&At<Duration>>, when: Option<&At<When>>, checker: &mut Checker) {
    let (Some(within), Some(when)) = (within, when) else { return };
    if when.value == When::Stopped {
        let problem = Diagnostic::error("`when = \"stopped\"` and `within` exclude each other")
            .why("`within` is the time for which it is looked at again and again while the application runs; afterwards nothing changes")
            .fix("remove one of them");
        checker.refuse_because(when.range(), within.span.as_ref(), "", problem);
    }
}

impl OutputCheck {
    pub fn is_of_running(&self) -> bool {
        is_of_running(self.within.as_ref(), self.when.as_ref())
    }

    /// It needs an application, and a key.
    pub(super) fn check(&mut self, index: usize, lab: bool, receiver: &Receiver, checker: &mut Checker) {
        if receiver.program.command.is_none() {
            let problem = Diagnostic::error("`[[expect.output]]` needs an application")
                .why("it is about what `[receiver] command` writes, and there is none")
                .fix(if lab {
                    "add `[receiver] command`, or check by `[[expect.command]]`"
                } else {
                    "check by `[[expect.command]]`; or replace `[target]` by `[lab]`, and add `[receiver] command`"
                });
            checker.missing("receiver.command", self.span.clone(), problem);
        }
        if let Some(process) = &self.process {
            check_name("expect.output.process", process, receiver, checker);
            if matches!(self.from.value, OutputFrom::File(_) | OutputFrom::Files(_)) {
                let problem = Diagnostic::error("`expect.output.process` needs `from = \"stdout\"` or \"stderr\"")
                    .why("the files in {work} are those of all processes")
                    .fix("remove `process`");
                checker.refuse_because(process.range(), self.from.span.as_ref(), "", problem);
            }
        }
        if self.rule == TextRule::default() {
            let problem = Diagnostic::error("`[[expect.output]]` checks nothing");
            let keys = [&RULE_KEYS[..], &["count"]].concat();
            checker.missing_all(&format!("expect.output.{index}"), &keys, self.span.clone(), problem.fix(add_a_key()));
        }
        self.rule.check(checker);
        check_when(self.within.as_ref(), self.when.as_ref(), checker);
    }
}
