//! The one error type: what is wrong, where, why, and what to do now.
//!
//! Every room reports through [`Diagnostic`]; a [`Failure`] is all the problems of one stage together with the
//! exit status that they mean. [`render`] turns them into the text that a terminal shows. May use nothing else of
//! the crate. Start reading at [`Diagnostic`].

use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A text file that problems can point into, with its whole text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The path as the user wrote it.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// A place in a text file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    /// The path of the file, as the user wrote it.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The character of the line, counted from 1.
    pub column: usize,
    /// The line's text, without its end.
    pub text: String,
    /// The bytes of the file that are meant; they may go beyond the line.
    pub span: Range<usize>,
}

impl Place {
    /// Bytes of a text. A range that isn't inside the text, or splits a character, is moved back.
    pub fn new(source: &Source, span: Range<usize>) -> Self {
        let text = source.text.as_str();
        let start = text.floor_char_boundary(span.start.min(text.len()));
        let end = text.floor_char_boundary(span.end.min(text.len())).max(start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
        let line = text[line_start..line_end].trim_end_matches('\r');
        Self {
            file: source.path.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            text: line.to_owned(),
            span: start..end,
        }
    }

    /// The bytes of the line's text that are meant.
    pub(crate) fn caret(&self) -> Range<usize> {
        let begin = self.text.char_indices().nth(self.column - 1).map_or(self.text.len(), |(at, _)| at);
        let end = begin.saturating_add(self.span.len()).min(self.text.len());
        begin..self.text.floor_char_boundary(end)
    }
}

/// A value together with the bytes of the scenario file that it was read from, so that what is found out
/// later can still point at its line. `span` is `None` for a default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it is in the scenario file.
    pub span: Option<Range<usize>>,
}

impl<T> At<T> {
    /// A value that no file wrote.
    pub fn default_value(value: T) -> Self {
        Self { value, span: None }
    }
}

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Stops the run.
    Error,
    /// Shown, stops nothing.
    Warning,
    /// A fact that explains what restage chose.
    Note,
}

/// One problem: what, where, why, fix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostic {
    /// How bad.
    pub severity: Severity,
    /// A lower-case fragment, values in back-ticks.
    pub what: String,
    /// Where in a text file.
    pub place: Option<Place>,
    /// A few words under the caret.
    pub label: Option<String>,
    /// The rule or fact, with expected and actual.
    pub why: Option<String>,
    /// What the user can do now.
    pub fix: Option<String>,
}

impl Diagnostic {
    /// An error that says only what is wrong.
    pub fn error(what: impl Into<String>) -> Self {
        Self { severity: Severity::Error, what: what.into(), place: None, label: None, why: None, fix: None }
    }

    /// A warning that says only what is odd.
    pub fn warning(what: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(what) }
    }

    /// A note.
    pub fn note(what: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(what) }
    }

    /// Points at `span` of `source`; without a span, at nothing.
    #[must_use]
    pub fn at(mut self, source: &Arc<Source>, span: Option<Range<usize>>) -> Self {
        self.place = span.map(|span| Place::new(source, span));
        self
    }

    /// A few words under the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The rule or fact behind it.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// What to do now.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// What a [`Failure`] means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Usage, or a scenario or capture that can't be used (status 2).
    Invalid,
    /// A precondition is not met, or a permission is missing (status 3).
    Blocked,
    /// The system failed while running (status 4).
    Error,
}

/// All problems of one stage. It shows as a terminal shows it, for `{}` and for `{:?}` alike: that is what a failed Rust test prints.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it means for the run.
    pub kind: Kind,
    /// At least one.
    pub problems: Vec<Diagnostic>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(render(&self.problems, Style::Plain).trim_end())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// A scenario, capture or command line that can't be used.
    pub fn invalid(problem: Diagnostic) -> Self {
        Self { kind: Kind::Invalid, problems: vec![problem] }
    }

    /// A precondition that is not met, or a permission that is missing.
    pub fn blocked(problem: Diagnostic) -> Self {
        Self { kind: Kind::Blocked, problems: vec![problem] }
    }

    /// The system failed.
    pub fn error(problem: Diagnostic) -> Self {
        Self { kind: Kind::Error, problems: vec![problem] }
    }

    /// The same, about this place; a problem that has one keeps it.
    #[must_use]
    pub fn at(mut self, source: &Arc<Source>, span: Option<&Range<usize>>) -> Self {
        for problem in self.problems.iter_mut().filter(|problem| problem.place.is_none()) {
            *problem = problem.clone().at(source, span.cloned());
        }
        self
    }

    /// A system call that failed: `what` names the operation, the operating system's words are the why. Where a limit of the machine or of
    /// the process is the reason, the fix names it. A missing permission is no failure of the system: it blocks.
    pub fn system(what: impl Into<String>, error: &std::io::Error) -> Self {
        let problem = Diagnostic::error(what).why(error.to_string());
        let problem = match limit(error) {
            Some(fix) => problem.fix(fix),
            None => problem,
        };
        if error.kind() == ErrorKind::PermissionDenied { Self::blocked(problem) } else { Self::error(problem) }
    }
}

/// What to do about an error that says that a limit is reached.
fn limit(error: &std::io::Error) -> Option<&'static str> {
    /// Too many files are open in the whole machine (errno(3)); the library has no kind for these two.
    const ENFILE: i32 = 23;
    /// Too many are open in this process.
    const EMFILE: i32 = 24;
    match (error.raw_os_error(), error.kind()) {
        (Some(EMFILE), _) => {
            Some("raise the limit of open files of this process: `ulimit -n 1024` (`ulimit -Hn` is the highest)")
        }
        (Some(ENFILE), _) => {
            Some("raise the machine's limit of open files: `sudo sysctl fs.file-max=…`, or end what holds so many")
        }
        (_, ErrorKind::StorageFull) => {
            Some("free space there, or name a place on another file system (`TMPDIR` for the files of applications)")
        }
        (_, ErrorKind::QuotaExceeded) => Some("free space there: this user's quota is used up"),
        (_, ErrorKind::PermissionDenied) => {
            Some("run restage as a user who may do that; `restage doctor` names what this one lacks")
        }
        (_, ErrorKind::ReadOnlyFilesystem) => Some("name a place on a file system that can be written to"),
        _ => None,
    }
}

/// The result of every stage.
pub type Result<T> = std::result::Result<T, Failure>;

/// Whether [`render`] uses colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text alone.
    Plain,
    /// With ANSI escape codes, for a terminal.
    Colour,
}

/// The text that a terminal shows: one paragraph for each problem, an empty line between them, a newline at the end.
/// Without problems it is empty.
///
/// A problem with a place shows the line on which it begins, and a caret under its bytes of that line.
pub fn render(problems: &[Diagnostic], style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colour => Renderer::styled(),
    };
    let mut text = String::new();
    for (index, problem) in problems.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        text.push_str(&renderer.render(&[group(problem)]));
        text.push('\n');
    }
    text
}

/// One problem in the words of annotate-snippets. That normalizes the title and the source text itself; the other texts
/// could carry escape codes, and hold what untrusted files say.
fn group(problem: &Diagnostic) -> Group<'_> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = Group::with_title(level.primary_title(problem.what.as_str()));
    if let Some(place) = &problem.place {
        let label = problem.label.as_deref().map(normalize_untrusted_str);
        let caret = AnnotationKind::Primary.span(place.caret()).label(label);
        let path = normalize_untrusted_str(&place.file.to_string_lossy());
        group = group.element(Snippet::source(place.text.as_str()).line_start(place.line).path(path).annotation(caret));
    }
    let footers = [(Level::NOTE.with_name("why"), &problem.why), (Level::HELP.with_name("fix"), &problem.fix)];
    for (level, text) in footers {
        if let Some(text) = text {
            group = group.element(level.message(normalize_untrusted_str(text)));
        }
    }
    group
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, span: Range<usize>) -> Diagnostic {
        let source = Arc::new(Source { path: "scenarios/appflow.toml".into(), text: text.to_owned() });
        Diagnostic::error("source `10.44.1.17` has no route back").at(&source, Some(span))
    }

    #[test]
    fn what_where_why_and_fix_have_their_lines() {
        let text = "format = 1\n\n[rewrite.source]\nip = {}\n";
        let problem = at(text, 12..28).label("no entry maps 10.44.1.17").why("rp_filter is 1").fix("map the source");
        let plain = Diagnostic::warning("the capture is empty").fix("record another");
        let note = Diagnostic::note("`tx0` has no address");
        insta::assert_snapshot!(render(&[problem, plain, note], Style::Plain));
    }

    #[test]
    fn a_place_of_several_lines_shows_its_first() {
        insta::assert_snapshot!(render(&[at("a = [\r\n\t1,\r\n]\r\n", 4..14)], Style::Plain));
    }

    #[test]
    fn tabs_and_wide_characters_keep_the_caret_in_place() {
        insta::assert_snapshot!(render(&[at("\té = \t\"日本\" # x\n", 7..15)], Style::Plain));
    }

    #[test]
    fn the_end_of_a_text_can_be_pointed_at() {
        let problems = [at("a = 1\n", 6..6), at("a = 1", 5..5), at("", 0..0), at("a", 70..80)];
        insta::assert_snapshot!(render(&problems, Style::Plain));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("a = \"{}\" # {}\n", "x".repeat(300), "y".repeat(300));
        insta::assert_snapshot!(render(&[at(&text, 308..309)], Style::Plain));
    }

    #[test]
    fn control_characters_of_a_file_never_reach_the_terminal() {
        let text = "a = \"\u{1b}[31m\u{202e}\"\n".to_owned();
        let source = Arc::new(Source { path: "\u{1b}[31m.toml".into(), text });
        let problem = Diagnostic::error("\u{1b}[1m").at(&source, Some(4..10)).label("\u{1b}[1m");
        let problem = problem.why("\u{1b}[2J").fix("\u{7}");
        let text = render(&[problem], Style::Plain);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }

    #[test]
    fn colour_changes_no_character() {
        let problem = at("a = 1\n", 0..1).label("x").why("y").fix("z");
        let coloured = render(std::slice::from_ref(&problem), Style::Colour);
        let escapes = regex::Regex::new("\u{1b}\\[[0-9;]*m").expect("it is a pattern");
        assert!(escapes.is_match(&coloured));
        assert_eq!(escapes.replace_all(&coloured, ""), render(&[problem], Style::Plain));
    }
}
