//! What the checks of all tables share: where problems are collected, and what is already known to be broken.
//!
//! Start at [`Checker`].

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::form::Value;
use super::{placeholders, quantity, vocabulary};
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
    /// What stands before a relative path.
    prefix: PathBuf,
    broken: Broken,
    problems: Vec<Diagnostic>,
}

impl Checker {
    pub(super) fn new(source: Arc<Source>, prefix: PathBuf, broken: Broken, problems: Vec<Diagnostic>) -> Self {
        Self { source, prefix, broken, problems }
    }

    /// Reports a problem with what stands at `span`; silent where that is already known to be broken.
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

    /// A path of the file, joined with the scenario's folder.
    pub(super) fn path(&mut self, key: &str, written: &Value<String>) -> Option<At<PathBuf>> {
        if written.get().is_empty() {
            let what = format!("`{key}` is empty");
            self.refuse(written.span(), Diagnostic::error(what).fix("name a file, relative to the scenario's folder"));
            return None;
        }
        Some(written.with(self.prefix.join(written.get())))
    }

    /// Whether a path of the file is standard input.
    pub(super) fn is_standard_input(&self, written: &Value<String>) -> bool {
        written.get() == "-" || is_standard_input(&self.prefix.join(written.get()))
    }

    /// A duration of the file.
    pub(super) fn duration(&mut self, key: &str, written: &Value<String>) -> Option<At<Duration>> {
        match quantity::duration(written.get()) {
            Ok(duration) => Some(written.with(duration)),
            Err(misread) => {
                let what = format!("`{key}` can't be \"{}\"", written.get());
                self.refuse(written.span(), Diagnostic::error(what).why(misread.why).fix(misread.fix));
                None
            }
        }
    }

    /// A program with its arguments: not empty, only known placeholders.
    pub(super) fn command(&mut self, key: &str, written: Value<Vec<Value<String>>>) -> At<Vec<String>> {
        let program = written.get().first();
        if program.is_none_or(|program| program.get().trim().is_empty()) {
            let problem = Diagnostic::error(format!("`{key}` names no program"))
                .why("the first entry of the list is the program, the others are its arguments")
                .fix(format!(
                    "write it like {key} = [\"nfcapd\", \"-p\", \"4739\"]",
                    key = key.rsplit('.').next().unwrap_or(key)
                ));
            self.refuse(written.span(), problem);
        }
        for word in written.get() {
            self.placeholders(word, &placeholders::NAMES);
        }
        let span = written.span();
        At { value: written.into_inner().into_iter().map(Value::into_inner).collect(), span: Some(span) }
    }

    /// Refuses placeholders that are not among `known`.
    pub(super) fn placeholders(&mut self, written: &Value<String>, known: &[&str]) {
        for (name, _) in placeholders::find(written.get()) {
            if known.contains(&name) {
                continue;
            }
            let braced: Vec<_> = known.iter().map(|name| format!("{{{name}}}")).collect();
            let mut problem = Diagnostic::error(format!("unknown placeholder `{{{name}}}`"))
                .why(format!("known here: {}", braced.join(", ")));
            problem = match vocabulary::nearest(name, known.iter().copied()) {
                Some(near) => problem.label(format!("did you mean `{{{near}}}`?")).fix(format!("write {{{near}}}")),
                None => problem.fix("use one of these, or remove it"),
            };
            self.refuse(written.span(), problem);
        }
    }

    /// All problems, in the order of the file.
    pub(super) fn into_problems(mut self) -> Vec<Diagnostic> {
        self.problems.sort_by_key(|problem| problem.place.as_ref().map(|place| place.span.start));
        self.problems
    }
}
