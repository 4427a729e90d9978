//! Filter expressions: `tag(ipfix) and not name(/slow/)`. They are the part of nextest's filtersets that fits scenarios.
//!
//! An expression holds for a scenario, or doesn't, or can't be decided: of a scenario that can't be read the tags are not known. [`super::parse`]
//! reads expressions. Start at [`Expression::holds`].

use std::ops::Range;
use std::path::{Component, Path};

use glob::{MatchOptions, Pattern};
use regex::Regex;

/// What an expression knows of a scenario.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) name: &'a str,
    /// As [`PathGlob::matches`] takes it.
    pub(super) path: &'a Path,
    /// `None`: not known.
    pub(super) tags: Option<&'a [String]>,
}

/// What is chosen.
#[derive(Debug)]
pub(super) enum Expression {
    /// `all()`, `none()`
    Constant(bool),
    Is(Predicate),
    Not(Box<Expression>),
    Every(Vec<Expression>),
    Any(Vec<Expression>),
}

/// A property of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Tag,
    Name,
    Path,
}

/// `tag(…)`, `name(…)` or `path(…)`.
#[derive(Debug)]
pub(super) struct Predicate {
    pub(super) field: Field,
    pub(super) matcher: Matcher,
    /// Its bytes in the expression.
    pub(super) span: Range<usize>,
}

/// How a text is compared.
#[derive(Debug)]
pub(super) enum Matcher {
    /// `=text`
    Equal(String),
    /// `~text`
    Contains(String),
    /// `/regex/`, which may match any part.
    Regex(Regex),
    /// `#glob`, which matches the whole.
    Glob(Pattern),
    /// `#glob` of a path.
    Path(PathGlob),
}

impl Expression {
    /// Whether it holds; `None` where the tags decide and are not known.
    pub(super) fn holds(&self, subject: Subject<'_>) -> Option<bool> {
        match self {
            Self::Constant(value) => Some(*value),
            Self::Is(predicate) => predicate.holds(subject),
            Self::Not(inner) => inner.holds(subject).map(|holds| !holds),
            Self::Every(parts) => all(parts.iter().map(|part| part.holds(subject)), false),
            Self::Any(parts) => all(parts.iter().map(|part| part.holds(subject)), true),
        }
    }

    /// Its predicates, in the order in which they are written.
    pub(super) fn predicates(&self) -> Vec<&Predicate> {
        match self {
            Self::Constant(_) => Vec::new(),
            Self::Is(predicate) => vec![predicate],
            Self::Not(inner) => inner.predicates(),
            Self::Every(parts) | Self::Any(parts) => parts.iter().flat_map(Self::predicates).collect(),
        }
    }
}

/// `decisive` where one of them is; else unknown where one of them is; else the other.
fn all(mut parts: impl Iterator<Item = Option<bool>>, decisive: bool) -> Option<bool> {
    parts
        .try_fold(Some(!decisive), |so_far, part| match part {
            Some(value) if value == decisive => Err(Some(decisive)),
            Some(_) => Ok(so_far),
            None => Ok(None),
        })
        .unwrap_or_else(|decided| decided)
}

impl Predicate {
    pub(super) fn holds(&self, subject: Subject<'_>) -> Option<bool> {
        match self.field {
            Field::Tag => subject.tags.map(|tags| tags.iter().any(|tag| self.matcher.matches(tag))),
            Field::Name => Some(self.matcher.matches(subject.name)),
            Field::Path => Some(match &self.matcher {
                Matcher::Path(glob) => glob.matches(subject.path),
                matcher => matcher.matches(&subject.path.to_string_lossy()),
            }),
        }
    }
}

impl Matcher {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Equal(wanted) => text == wanted,
            Self::Contains(part) => text.contains(part.as_str()),
            Self::Regex(regex) => regex.is_match(text),
            Self::Glob(pattern) => pattern.matches(text),
            Self::Path(glob) => glob.matches(Path::new(text)),
        }
    }
}

/// A glob of paths, as `.gitignore` has them: it also means everything below a folder that it matches, and without `/` it is compared with each
/// component of the path.
#[derive(Debug, Clone)]
pub(super) struct PathGlob {
    pattern: Pattern,
    is_one_component: bool,
}

impl PathGlob {
    /// # Errors
    /// Where it is no glob: what is wrong, and at which byte of `text`.
    pub(super) fn new(text: &str) -> Result<Self, glob::PatternError> {
        let plain = text.strip_prefix("./").unwrap_or(text);
        let plain = plain.strip_suffix('/').unwrap_or(plain);
        let skipped = text.find(plain).unwrap_or_default();
        let pattern = Pattern::new(plain).map_err(|error| glob::PatternError { pos: error.pos + skipped, ..error })?;
        Ok(Self { is_one_component: !plain.contains('/'), pattern })
    }

    /// Whether it matches `path`, without `.` components, or a folder above it.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
        if self.is_one_component {
            let names = path.components().filter(|component| matches!(component, Component::Normal(_)));
            names.into_iter().any(|name| self.pattern.matches_path_with(Path::new(&name), options))
        } else {
            path.ancestors().any(|path| self.pattern.matches_path_with(path, options))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::expression;
    use super::*;

    /// Whether it holds for a scenario with this path, and these tags.
    fn holds(text: &str, path: &str, tags: Option<&[&str]>) -> Option<bool> {
        let tags: Option<Vec<String>> = tags.map(|tags| tags.iter().map(|tag| (*tag).to_owned()).collect());
        let path = Path::new(path);
        let name = path.file_stem().expect("it names a file").to_str().expect("it is UTF-8");
        let expression = expression(text).expect("it is an expression");
        expression.holds(Subject { name, path, tags: tags.as_deref() })
    }

    #[test]
    fn predicates_and_matchers_compare_as_nextest_does() {
        let cases = [
            // A tag is compared as a whole, and may be a glob.
            ("tag(ipfix)", true),
            ("tag(ipf)", false),
            ("tag(ipf*)", true),
            ("tag(=ipf*)", false),
            ("tag(~pfi)", true),
            ("tag(/^ip[a-z]ix$/)", true),
            ("tag(#smok?)", true),
            ("tag(IPFIX)", false),
            // A name need only contain it.
            ("name(flow)", true),
            ("name(=flow)", false),
            ("name(=app flow (v1\\))", true),
            ("name(#app*)", true),
            ("name(#flow)", false),
            ("name(/app.flow/)", true),
            ("name( ~flow )", true),
            // A path is a glob.
            ("path(scenarios/ipfix)", true),
            ("path(scenarios/*)", true),
            ("path(scenarios/*.toml)", false),
            ("path(scenarios/**/*.toml)", true),
            ("path(ipfix)", true),
            ("path(./scenarios/)", true),
            ("path(app*.toml)", true),
            ("path(pfix)", false),
            ("path(~pfix/app)", true),
            ("path(/x\\/app/)", true),
            ("all()", true),
            ("none( )", false),
        ];
        for (text, expected) in cases {
            let held = holds(text, "scenarios/ipfix/app flow (v1).toml", Some(&["ipfix", "smoke"]));
            assert_eq!(held, Some(expected), "{text}");
        }
    }

    #[test]
    fn not_is_stronger_than_and_which_is_stronger_than_or() {
        let cases = [
            ("tag(a) or tag(x) and tag(y)", true),
            ("(tag(a) or tag(x)) and tag(y)", false),
            ("not tag(x) and tag(a)", true),
            ("not (tag(x) or tag(a))", false),
            ("tag(a) - tag(b)", false),
            ("tag(a) - tag(x)", true),
            ("tag(a)-tag(x)&tag(b)|tag(x)", true),
            ("!!tag(a)", true),
            ("! not ! tag(a)", false),
            ("tag(x)+tag(b)", true),
            ("all()-tag(a) - tag(x)", false),
            ("\n tag(a)\tand\n tag(b) ", true),
        ];
        for (text, expected) in cases {
            assert_eq!(holds(text, "s.toml", Some(&["a", "b"])), Some(expected), "{text}");
        }
    }

    #[test]
    fn unknown_tags_decide_nothing() {
        let cases = [
            ("tag(a)", None),
            ("not tag(a)", None),
            ("tag(a) and name(s)", None),
            ("tag(a) and name(x)", Some(false)),
            ("tag(a) or name(s)", Some(true)),
            ("tag(a) or name(x)", None),
            ("path(s.toml) - name(s)", Some(false)),
        ];
        for (text, expected) in cases {
            assert_eq!(holds(text, "s.toml", None), expected, "{text}");
        }
    }
}
