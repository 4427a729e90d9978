//! The one error type: what is wrong, where, why, and what to do now.
//!
//! Every room reports through [`Problem`]; a [`Failure`] is all the problems of one stage together with the
//! exit status that they mean. [`render`] turns them into the text that a terminal shows. May use nothing else of
//! the crate. Start reading at [`Problem`].

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};
use serde::{Deserialize, Serialize};

/// A text file that problems can point into, with its whole text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The path as the user wrote it.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// A byte range of a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// Bytes of `source.text`; always on character boundaries and inside the text.
    pub span: Range<usize>,
}

impl Place {
    /// The 1-based line of the first byte.
    pub fn line(&self) -> usize {
        let before = self.source.text.get(..self.span.start).unwrap_or_default();
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }
}

/// A value together with the bytes of the scenario file that it was read from, so that what is found out
/// later can still point at its line. `span` is `None` for a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands in the scenario file.
    pub span: Option<Range<usize>>,
}

impl<T> At<T> {
    /// A value that no file wrote.
    pub fn default_value(value: T) -> Self {
        Self { value, span: None }
    }
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
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

impl Problem {
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
        self.place = span.map(|span| Place { source: Arc::clone(source), span });
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

/// All problems of one stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it means for the run.
    pub kind: Kind,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl Failure {
    /// A scenario, capture or command line that can't be used.
    pub fn invalid(problem: Problem) -> Self {
        Self { kind: Kind::Invalid, problems: vec![problem] }
    }

    /// A precondition that is not met, or a permission that is missing.
    pub fn blocked(problem: Problem) -> Self {
        Self { kind: Kind::Blocked, problems: vec![problem] }
    }

    /// The system failed.
    pub fn error(problem: Problem) -> Self {
        Self { kind: Kind::Error, problems: vec![problem] }
    }

    /// A system call that failed: `what` names the operation, the operating system's words are the why.
    pub fn system(what: impl Into<String>, error: &std::io::Error) -> Self {
        Self::error(Problem::error(what).why(error.to_string()))
    }
}

/// The result of every stage.
pub type Result<T> = std::result::Result<T, Failure>;

/// Reads a text file whole.
///
/// # Errors
/// [`Kind::Invalid`] when it can't be read or isn't UTF-8.
pub fn read_source(path: &Path) -> Result<Arc<Source>> {
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::invalid(Problem::error(format!("can't read `{}`", path.display())).why(error.to_string()))
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        Failure::invalid(
            Problem::error(format!("`{}` is not UTF-8 text", path.display()))
                .why(format!("byte {} is not part of a UTF-8 character", error.utf8_error().valid_up_to())),
        )
    })?;
    Ok(Arc::new(Source { path: path.to_path_buf(), text }))
}

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
pub fn render(problems: &[Problem], style: Style) -> String {
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

/// One problem in the words of annotate-snippets.
fn group(problem: &Problem) -> Group<'_> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = Group::with_title(level.primary_title(problem.what.as_str()));
    if let Some(place) = &problem.place {
        let (line, span) = first_line(place);
        let caret = AnnotationKind::Primary.span(span).label(problem.label.as_deref());
        let path = place.source.path.to_string_lossy().into_owned();
        group = group.element(Snippet::source(line).line_start(place.line()).path(path).annotation(caret));
    }
    // Messages may carry escape codes on purpose, as far as the crate knows: ours never do.
    let footers = [(Level::NOTE.with_name("why"), &problem.why), (Level::HELP.with_name("fix"), &problem.fix)];
    for (level, text) in footers {
        if let Some(text) = text {
            group = group.element(level.message(normalize_untrusted_str(text)));
        }
    }
    group
}

/// The line that a place begins on, without its end, and the place's bytes of that line. A place that isn't inside its
/// text, or splits a character, is moved back.
fn first_line(place: &Place) -> (&str, Range<usize>) {
    let text = place.source.text.as_str();
    let start = text.floor_char_boundary(place.span.start.min(text.len()));
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let line = text[line_start..line_end].trim_end_matches('\r');
    let begin = (start - line_start).min(line.len());
    let end = text.floor_char_boundary(place.span.end.min(text.len())).saturating_sub(line_start);
    (line, begin..end.clamp(begin, line.len()))
}
