//! What the checks of all tables share: where problems are collected, and what is already known to be broken.
//!
//! Start at [`Checker`].

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{At, Diagnostic, Source};
use crate::file::is_standard_input;

/// What reading the forms has already complained about, so that nothing is complained about twice.
#[derive(Debug, Default)]
pub(super) struct Broken {
    /// The bytes of keys and values that were taken out of the file.
    pub(super) spans: Vec<Range<usize>>,
    /// Dotted paths of the keys that were taken out, and of those that were meant by a mistyped key.
    pub(super) paths: Vec<String>,
    /// Lines with a syntax error: what was recovered from them is a guess.
    pub(super) lines: Vec<Range<usize>>,
}

impl Broken {
    /// Whether something broken lies inside `span`, or a syntax error on its lines.
    pub(super) fn touches(&self, span: &Range<usize>) -> bool {
        let inside = |broken: &Range<usize>| span.start <= broken.start && broken.end <= span.end;
        self.spans.iter().any(inside) || self.on_bad_line(span)
    }

    /// Whether a syntax error lies on one of the lines of `span`.
    pub(super) fn on_bad_line(&self, span: &Range<usize>) -> bool {
        self.lines.iter().any(|line| span.start <= line.end && line.start <= span.end)
    }
}

/// Collects the problems of one file.
#[derive(Debug)]
pub(super) struct Checker {
    pub(super) source: Arc<Source>,
    /// The folder that relative paths are joined with.
    prefix: PathBuf,
    broken: Broken,
    problems: Vec<Diagnostic>,
}

impl Checker {
    pub(super) fn new(source: Arc<Source>, prefix: PathBuf, broken: Broken, problems: Vec<Diagnostic>) -> Self {
        Self { source, prefix, broken, problems }
    }

    /// Reports a problem with the text at `span`, unless that is already known to be broken.
    pub(super) fn refuse(&mut self, span: Range<usize>, problem: Diagnostic) {
        if !self.broken.touches(&span) {
            self.problems.push(problem.at(&self.source, Some(span)));
        }
    }

    /// Reports that the key `path` is not there; `span` is the table that misses it. Silent where the key is there but broken.
    pub(super) fn missing(&mut self, path: &str, span: Range<usize>, problem: Diagnostic) {
        if self.broken.lines.is_empty() && !self.broken.paths.iter().any(|broken| broken == path) {
            self.problems.push(problem.at(&self.source, Some(span)));
        }
    }

    /// Like [`refuse`](Self::refuse), for a problem that comes from another key: silent if that one is broken.
    pub(super) fn refuse_because(
        &mut self,
        span: Range<usize>,
        cause: Option<&Range<usize>>,
        path: &str,
        problem: Diagnostic,
    ) {
        let known = cause.is_some_and(|cause| self.broken.touches(cause) || self.reported_inside(cause));
        if !known && !self.broken.paths.iter().any(|broken| broken == path) {
            self.refuse(span, problem);
        }
    }

    /// Whether a problem was already reported inside `span`.
    fn reported_inside(&self, span: &Range<usize>) -> bool {
        let places = self.problems.iter().filter_map(|problem| problem.place.as_ref());
        places.into_iter().any(|place| span.start <= place.span.start && place.span.end <= span.end)
    }

    /// Reports that none of the keys of a table is there.
    pub(super) fn missing_all(&mut self, table: &str, keys: &[&str], span: Range<usize>, problem: Diagnostic) {
        let known = |key: &&str| self.broken.paths.contains(&format!("{table}.{key}"));
        if !keys.iter().any(known) && !self.broken.touches(&span) {
            self.missing("", span, problem);
        }
    }

    /// The 1-based line of a byte.
    pub(super) fn line(&self, byte: usize) -> usize {
        let before = self.source.text.get(..byte).unwrap_or_default();
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    /// Joins a path of the file with the scenario's folder; an empty one is refused.
    pub(super) fn join(&mut self, key: &str, path: &mut PathBuf, span: Option<&Range<usize>>) {
        if path.as_os_str().is_empty() {
            let problem = Diagnostic::error(format!("`{key}` is empty"));
            self.refuse(
                span.cloned().unwrap_or_default(),
                problem.fix("name a file, relative to the scenario's folder"),
            );
        }
        *path = self.prefix.join(&*path);
    }

    /// The files that a pattern of the scenario names, in the order of their names; each has the pattern's place. None for a pattern that is
    /// none, which is refused, and where nothing matches.
    pub(super) fn matching(&mut self, key: &str, pattern: &At<PathBuf>) -> Vec<At<PathBuf>> {
        let written = pattern.value.to_string_lossy();
        let folder = glob::Pattern::escape(&self.prefix.to_string_lossy());
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::default() };
        match glob::glob_with(&Path::new(&folder).join(&*written).to_string_lossy(), options) {
            // What can't be entered has no files for this user.
            Ok(paths) => paths.flatten().filter(|path| path.is_file()).map(|path| pattern.with(path)).collect(),
            Err(wrong) => {
                let problem = Diagnostic::error(format!("`{key}` can't hold `{written}`"))
                    .why(format!("it is no pattern: {}", wrong.msg))
                    .fix("write a file's name, with `*`, `?` and `[a-z]` as in a shell; `[[]` is a `[`");
                self.refuse(pattern.range(), problem);
                Vec::new()
            }
        }
    }

    /// Whether a path of the file is standard input.
    pub(super) fn is_standard_input(&self, written: &At<PathBuf>) -> bool {
        written.value.as_os_str() == "-" || is_standard_input(&self.prefix.join(&written.value))
    }

    /// Reports each key that an entry before has, too.
    pub(super) fn twice<'a>(&mut self, entries: impl Iterator<Item = (&'a str, &'a Range<usize>)>) {
        let mut seen: Vec<(&str, &Range<usize>)> = Vec::new();
        for (key, span) in entries {
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == key) {
                let problem = Diagnostic::error(format!("`{key}` is written twice"))
                    .why(format!("line {} names it too", self.line(first.start)))
                    .fix("keep one of them");
                self.refuse(span.clone(), problem);
            } else {
                seen.push((key, span));
            }
        }
    }

    /// All problems, in the order of the file.
    pub(super) fn into_problems(mut self) -> Vec<Diagnostic> {
        self.problems.sort_by_key(|problem| problem.place.as_ref().map(|place| place.span.start));
        self.problems
    }
}
