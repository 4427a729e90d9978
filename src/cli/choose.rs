//! Which scenarios of the paths are run: `-E`, `--exclude`, `--partition`. [`super::collect`] finds what they choose from.
//!
//! A scenario that can't be used is chosen like any other, by what is known of it: its name, its path, and its tags if its TOML can be read. What
//! is not known leaves nothing out, so that no broken scenario goes unnoticed. Start at [`scenarios`].

mod expression;
mod parse;
mod partition;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(super) use partition::Partition;

use self::expression::{Expression, Field, Matcher, PathGlob, Predicate, Subject};
use super::collect::{self, Found};
use super::usage::nearest;
use super::varying::Varying;
use crate::diagnostic::{Diagnostic, Failure, Kind, Result};
use crate::figures::count;
use crate::run::batch::Candidate;
use crate::scenario::{self, Scenario};

/// So many tags are named in a message.
const MOST_TAGS: usize = 20;

/// How scenarios are chosen, by `run` and `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Choosing {
    /// Scenario files, and folders: every *.toml below them that has `format`; `-` is standard input.
    #[arg(required = true)]
    pub(super) paths: Vec<PathBuf>,
    #[command(flatten)]
    varying: Varying,
    /// Choose scenarios by an expression, such as 'tag(ipfix) and not name(/slow/)'; of several, one must hold. Predicates: tag(GLOB),
    /// name(PART), path(GLOB), all(), none(); each also with =TEXT, ~PART, /REGEX/, #GLOB. Operators: not, and, or, `-` (and not), ( ).
    #[arg(short = 'E', long, value_name = "EXPRESSION", help_heading = HEADING)]
    filterset: Vec<String>,
    /// Leave out files and folders, as .gitignore does; may be repeated.
    #[arg(long, value_name = "GLOB", value_parser = path_glob, help_heading = HEADING)]
    exclude: Vec<PathGlob>,
}

/// Above these options in a help text.
pub(super) const HEADING: &str = "Choosing";

fn path_glob(text: &str) -> std::result::Result<PathGlob, String> {
    PathGlob::new(text).map_err(|error| {
        format!("it is no glob: {}; in a glob, `*`, `?` and `[…]` are special, and `[[]` is a `[`", error.msg)
    })
}

/// A scenario that is chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    /// As it was given, or as it was found.
    pub(super) path: PathBuf,
    pub(super) name: String,
    /// `None`: its TOML can't be read.
    tags: Option<Vec<String>>,
    pub(super) summary: Option<String>,
    pub(super) checked: Result<Scenario>,
}

/// The scenarios that are chosen, at least one but where a share is empty.
#[derive(Debug)]
pub(super) struct Choice {
    /// In the order of the paths.
    pub(super) scenarios: Vec<Chosen>,
    /// What is worth knowing of the choice.
    pub(super) notes: Vec<Diagnostic>,
    /// How many were found and are not chosen.
    pub(super) left_out: usize,
}

impl Choice {
    /// Leaves out all but those that failed, by their place; where none did, all stay.
    pub(super) fn only(&mut self, failed: &[bool]) {
        if !failed.contains(&true) {
            let note = Diagnostic::note("no scenario failed when it was last run, so all that are chosen are run");
            self.notes.push(note);
            return;
        }
        let before = self.scenarios.len();
        let mut failed = failed.iter();
        self.scenarios.retain(|_| failed.next() == Some(&true));
        self.left_out += before - self.scenarios.len();
    }
}

/// Finds scenarios, checks them and chooses.
///
/// # Errors
/// Expressions that can't be read, and a choice of nothing.
pub(super) fn scenarios(choosing: &Choosing, share: Option<Partition>) -> Result<Choice> {
    let expressions = expressions(&choosing.filterset)?;
    let collected = collect::scenarios(&choosing.paths)?;
    let mut found: Vec<_> = choosing.varying.cases(collected.found)?.into_iter().map(Chosen::new).collect();
    let all = found.len();
    let here = std::env::current_dir().unwrap_or_default();
    let wanted: Vec<bool> = found.iter().map(|scenario| choosing.wants(&expressions, scenario, &here)).collect();
    if !wanted.contains(&true) {
        return Err(nothing(choosing, &expressions, &found, &here));
    }
    let mut wanted = wanted.into_iter();
    found.retain(|_| wanted.next().unwrap_or_default());
    let mut notes = collected.notes;
    if let Some(share) = share {
        let chosen = found.len();
        let mut place = 0..;
        found.retain(|scenario| place.next().is_some_and(|place| share.holds(place, &scenario.name)));
        if found.is_empty() {
            let problem = Diagnostic::warning(format!("no scenario is in the share `{share}`"));
            notes.push(problem.why(format!("{} chosen, all of them in other shares", are(chosen))));
        }
    }
    Ok(Choice { left_out: all - found.len(), scenarios: found, notes })
}

/// Reads all expressions; each with its text.
fn expressions(texts: &[String]) -> Result<Vec<(Expression, &str)>> {
    let mut problems = Vec::new();
    let mut expressions = Vec::new();
    for text in texts {
        match parse::expression(text) {
            Ok(expression) => expressions.push((expression, text.as_str())),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(expressions) } else { Err(Failure { kind: Kind::Invalid, problems }) }
}

impl Choosing {
    /// Whether a scenario is chosen, as far as is known.
    fn wants(&self, expressions: &[(Expression, &str)], scenario: &Chosen, here: &Path) -> bool {
        let path = comparable(&scenario.path, here);
        let subject = scenario.subject(&path);
        let holds = |(expression, _): &(Expression, _)| expression.holds(subject) != Some(false);
        (expressions.is_empty() || expressions.iter().any(holds))
            && !self.exclude.iter().any(|glob| glob.matches(&path))
    }
}

impl Chosen {
    fn new(found: Found) -> Self {
        let Found { path, text } = found;
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let (name, checked, labels) = match text {
            Err(failure) => (stem, Err(failure), None),
            Ok(text) => match scenario::check(&text) {
                Ok(scenario) => {
                    let (tags, summary) = (scenario.tags.clone(), scenario.summary.clone());
                    return Self { name: text.name, path, tags: Some(tags), summary, checked: Ok(scenario) };
                }
                Err(failure) => {
                    let labels = text.labels();
                    (text.name, Err(failure), labels)
                }
            },
        };
        let (tags, summary) = labels.map_or((None, None), |(tags, summary)| (Some(tags), summary));
        Self { path, name, tags, summary, checked }
    }

    /// Its tags; none where they are not known.
    pub(super) fn tags(&self) -> &[String] {
        self.tags.as_deref().unwrap_or_default()
    }

    /// To be run.
    pub(super) fn into_candidate(self) -> Candidate {
        let Self { path, name, tags, summary, checked } = self;
        Candidate { name, path, summary, tags: tags.unwrap_or_default(), checked }
    }

    fn subject<'a>(&'a self, path: &'a Path) -> Subject<'a> {
        Subject { name: &self.name, path, tags: self.tags.as_deref() }
    }
}

/// The path that is compared: the same whether it was given as `scenarios`, `./scenarios`, or absolute below the current folder.
fn comparable(path: &Path, here: &Path) -> PathBuf {
    let path = path.strip_prefix(here).unwrap_or(path);
    path.strip_prefix(".").unwrap_or(path).components().collect()
}

/// `1 scenario is`, `2 scenarios are`.
fn are(scenarios: usize) -> String {
    let scenarios = scenarios as u64;
    format!("{} {}", count(scenarios, "scenario"), crate::figures::agree(scenarios, "is", "are"))
}

/// Why nothing is chosen: the first predicate that holds for none of the scenarios, if there is one.
fn nothing(choosing: &Choosing, expressions: &[(Expression, &str)], found: &[Chosen], here: &Path) -> Failure {
    const LIST: &str = "`restage run --list PATHS` shows what there is to choose from";
    let problem = Diagnostic::error("no scenario is chosen");
    let paths: Vec<_> = found.iter().map(|scenario| comparable(&scenario.path, here)).collect();
    let holds_for_one = |predicate: &Predicate| {
        let mut subjects = found.iter().zip(&paths).map(|(scenario, path)| scenario.subject(path));
        subjects.any(|subject| predicate.holds(subject) == Some(true))
    };
    let empty = expressions.iter().find_map(|(expression, text)| {
        let predicate = expression.predicates().into_iter().find(|predicate| !holds_for_one(predicate))?;
        Some((predicate, *text))
    });
    let Some((predicate, text)) = empty else {
        let options = match (expressions.is_empty(), choosing.exclude.is_empty()) {
            (true, _) => "`--exclude` leaves out",
            (false, true) => "`-E` leaves out",
            (false, false) => "`-E` and `--exclude` leave out",
        };
        let why = format!("{} found, and {options} all of them", are(found.len()));
        return Failure::invalid(problem.why(why).fix(LIST));
    };
    let problem = problem.label(format!("holds for none of {}", count(found.len() as u64, "scenario")));
    let tags: BTreeSet<&str> = found.iter().flat_map(Chosen::tags).map(String::as_str).collect();
    let problem = match (&predicate.matcher, predicate.field) {
        (_, Field::Tag) if tags.is_empty() => problem
            .why("none of them has tags")
            .fix("write `tags = [\"…\"]` at the top of a scenario, or choose by `name(…)`"),
        (matcher, Field::Tag) => {
            let shown: Vec<_> = tags.iter().take(MOST_TAGS).map(|tag| format!("`{tag}`")).collect();
            let more = if tags.len() > MOST_TAGS { ", …" } else { "" };
            let problem = problem.why(format!("their tags are {}{more}", shown.join(", ")));
            let tags: Vec<&str> = tags.into_iter().collect();
            let written = match matcher {
                Matcher::Equal(text) | Matcher::Contains(text) => Some(text.as_str()),
                Matcher::Glob(pattern) => Some(pattern.as_str()),
                Matcher::Regex(_) | Matcher::Path(_) => None,
            };
            match written.and_then(|written| nearest(written, &tags)) {
                Some(near) => problem.fix(format!("did you mean `tag({near})`?")),
                None => problem.fix(LIST),
            }
        }
        (_, Field::Name | Field::Path) => problem.fix(LIST),
    };
    Failure::invalid(parse::at(problem, text, predicate.span.clone()))
}
