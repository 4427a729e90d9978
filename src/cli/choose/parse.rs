//! Reads filter expressions. What is wrong with one is said at its place in the expression.
//!
//! ```text
//! expression = term { ("or" | "|" | "+") term }
//! term       = factor { ("and" | "&" | "-") factor }
//! factor     = { "not" | "!" } ( "(" expression ")" | predicate )
//! predicate  = ("all" | "none") "(" ")" | ("tag" | "name" | "path") "(" matcher ")"
//! matcher    = "=" text | "~" text | "#" glob | "/" regex "/" | text
//! ```
//!
//! In a text, `\` makes the next character an ordinary one: `\)`. Start at [`expression`].

use std::ops::Range;
use std::sync::Arc;

use glob::Pattern;
use regex::Regex;

use super::expression::{Expression, Field, Matcher, PathGlob, Predicate};
use crate::diagnostic::{Diagnostic, Source};

/// The option that has expressions, for messages.
pub(super) const OPTION: &str = "-E";

/// Parentheses may be so deep: deeper ones are no expression that a person wrote.
const DEEPEST: usize = 64;

const EXAMPLE: &str = "write an expression like `tag(ipfix) and not name(/slow/)`";
const PREDICATES: [&str; 5] = ["tag", "name", "path", "all", "none"];

type Parsed<T> = Result<T, Diagnostic>;

/// Reads an expression.
///
/// # Errors
/// The first thing that is wrong with it, at its place.
pub(super) fn expression(text: &str) -> Parsed<Expression> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let parsed = parser.expression()?;
    match parser.peek() {
        None => Ok(parsed),
        Some(')') => {
            let problem = Diagnostic::error("there is a `)` without its `(`");
            Err(parser.problem(parser.next_char(), "it closes nothing", problem.fix("remove it")))
        }
        Some(_) => {
            let token = parser.next_token();
            let problem = Diagnostic::error(format!("`{}` follows without `and` or `or`", &text[token.clone()]));
            let problem = match parser.peek_word() {
                "AND" | "And" => problem.fix("write `and`, in small letters"),
                "OR" | "Or" => problem.fix("write `or`, in small letters"),
                _ => problem.fix("join the two by `and` or `or`"),
            };
            Err(parser.problem(token, "expected `and`, `or`, `-` or the end", problem))
        }
    }
}

/// The place of an expression in a message.
pub(super) fn at(problem: Diagnostic, text: &str, span: Range<usize>) -> Diagnostic {
    problem.at(&Arc::new(Source { path: OPTION.into(), text: text.to_owned() }), Some(span))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn expression(&mut self) -> Parsed<Expression> {
        let mut parts = vec![self.term()?];
        while self.take_operator("or", &['|', '+']).is_some() {
            parts.push(self.term()?);
        }
        Ok(one_or(parts, Expression::Any))
    }

    fn term(&mut self) -> Parsed<Expression> {
        let mut parts = vec![self.factor()?];
        while let Some(operator) = self.take_operator("and", &['&', '-']) {
            let factor = self.factor()?;
            parts.push(if operator == "-" { Expression::Not(Box::new(factor)) } else { factor });
        }
        Ok(one_or(parts, Expression::Every))
    }

    fn factor(&mut self) -> Parsed<Expression> {
        let mut negated = false;
        while self.take('!') || self.take_word("not") {
            negated = !negated;
        }
        let open = self.at;
        let factor = if self.take('(') {
            self.depth += 1;
            if self.depth > DEEPEST {
                let problem = Diagnostic::error(format!("more than {DEEPEST} parentheses are open"));
                return Err(self.problem(open..open + 1, "one more", problem.fix("write it with fewer")));
            }
            let inner = self.expression()?;
            let fix = "write it, or `and` or `or` between two predicates";
            self.close(open..open + 1, "expected `and`, `or`, `-` or `)`", fix)?;
            self.depth -= 1;
            inner
        } else {
            self.predicate()?
        };
        Ok(if negated { Expression::Not(Box::new(factor)) } else { factor })
    }

    fn predicate(&mut self) -> Parsed<Expression> {
        self.skip_blanks();
        let (begin, word) = (self.at, self.peek_word());
        let span = begin..begin + word.len();
        if word.is_empty() || matches!(word, "and" | "or") {
            return Err(self.expected_predicate());
        }
        self.at = span.end;
        if !self.take('(') {
            let problem = Diagnostic::error(format!("`{word}` is no predicate"));
            let problem = if PREDICATES.contains(&word) {
                let argument = if matches!(word, "all" | "none") { "" } else { "ipfix" };
                Diagnostic::error(format!("`{word}` has no parentheses"))
                    .fix(format!("write it like `{word}({argument})`"))
            } else {
                problem.fix(format!(
                    "write `tag({word})` for scenarios with this tag, `name({word})` for those with it in their name"
                ))
            };
            return Err(self.problem(span, "expected a predicate", problem));
        }
        let open = self.at - 1;
        let parsed = match word {
            "all" | "none" => {
                if self.peek() != Some(')') {
                    let problem = Diagnostic::error(format!("`{word}` takes no argument"));
                    return Err(self.problem(
                        self.next_token(),
                        "expected `)`",
                        problem.fix(format!("write `{word}()`")),
                    ));
                }
                Expression::Constant(word == "all")
            }
            "tag" => self.matcher(Field::Tag, begin)?,
            "name" => self.matcher(Field::Name, begin)?,
            "path" => self.matcher(Field::Path, begin)?,
            _ => return Err(self.unknown(word, span)),
        };
        self.close(open..open + 1, "expected `)`", "write it behind the text")?;
        Ok(match parsed {
            Expression::Is(predicate) => Expression::Is(Predicate { span: begin..self.at, ..predicate }),
            other => other,
        })
    }

    /// What is between the parentheses of a predicate.
    fn matcher(&mut self, field: Field, begin: usize) -> Parsed<Expression> {
        let kind = self.peek();
        let matcher = match kind {
            Some('/') => self.regex()?,
            Some(sign @ ('=' | '~' | '#')) => {
                self.take(sign);
                let (text, span) = self.text()?;
                match sign {
                    '=' => Matcher::Equal(text),
                    '~' => Matcher::Contains(text),
                    _ => self.glob(field, &text, span)?,
                }
            }
            _ => {
                let (text, span) = self.text()?;
                if field == Field::Name { Matcher::Contains(text) } else { self.glob(field, &text, span)? }
            }
        };
        Ok(Expression::Is(Predicate { field, matcher, span: begin..self.at }))
    }

    /// A text up to the `)`, without the blanks around it, and its bytes.
    fn text(&mut self) -> Parsed<(String, Range<usize>)> {
        self.skip_blanks();
        let begin = self.at;
        let mut text = String::new();
        let mut end = begin;
        while let Some(c) = self.rest().chars().next().filter(|c| *c != ')') {
            self.at += c.len_utf8();
            let is_blank = c.is_whitespace();
            if c == '\\' {
                let escaped = self.rest().chars().next().filter(char::is_ascii_punctuation);
                let Some(escaped) = escaped else {
                    let problem = Diagnostic::error("a `\\` escapes nothing");
                    let problem =
                        problem.why("it makes the punctuation mark behind it an ordinary character, as in `\\)`");
                    return Err(self.problem(
                        self.at - 1..self.at,
                        "this one",
                        problem.fix("write `\\\\` for a backslash"),
                    ));
                };
                self.at += 1;
                text.push(escaped);
            } else {
                text.push(c);
            }
            if !is_blank {
                end = self.at;
            }
        }
        text.truncate(text.trim_end().len());
        if text.is_empty() {
            let problem = Diagnostic::error("there is nothing to compare with");
            return Err(self.problem(
                begin..begin,
                "expected a text",
                problem.fix("write it like `tag(ipfix)`, or `all()`"),
            ));
        }
        Ok((text, begin..end))
    }

    fn glob(&self, field: Field, text: &str, span: Range<usize>) -> Parsed<Matcher> {
        let glob = match field {
            Field::Path => PathGlob::new(text).map(Matcher::Path),
            Field::Tag | Field::Name => Pattern::new(text).map(Matcher::Glob),
        };
        glob.map_err(|error| {
            let problem = Diagnostic::error(format!("`{text}` is no glob")).why(error.msg);
            let place = (span.start + error.pos).min(span.end)..span.end;
            let fix = "in a glob, `*`, `?` and `[…]` are special; `=TEXT` and `~TEXT` take all characters as they are";
            self.problem(place, "here", problem.fix(fix))
        })
    }

    fn regex(&mut self) -> Parsed<Matcher> {
        let begin = self.at;
        let mut pattern = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        let length = loop {
            match chars.next() {
                None => {
                    let problem = Diagnostic::error("a regular expression has no end");
                    let problem = problem.fix("write it between two `/`, as in `name(/slow$/)`");
                    return Err(self.problem(begin..self.text.len(), "expected a `/` behind it", problem));
                }
                Some((at, '/')) => break at + 1,
                // What is behind it is the expression's, even if it is one more backslash.
                Some((_, '\\')) => match chars.next() {
                    Some((_, '/')) => pattern.push('/'),
                    escaped => {
                        pattern.push('\\');
                        pattern.extend(escaped.map(|(_, c)| c));
                    }
                },
                Some((_, c)) => pattern.push(c),
            }
        };
        self.at += length;
        Regex::new(&pattern).map(Matcher::Regex).map_err(|error| {
            // The crate's message is several lines, with its own caret; the last one says what is wrong.
            let message = error.to_string();
            let why = message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            let problem = Diagnostic::error(format!("`{pattern}` is no regular expression")).why(why);
            let fix = "correct it; its syntax is https://docs.rs/regex/latest/regex/#syntax";
            self.problem(begin..self.at, "this one", problem.fix(fix))
        })
    }

    /// Takes the `)` of the `(` at `open`.
    fn close(&mut self, open: Range<usize>, expected: &str, fix: &str) -> Parsed<()> {
        if self.take(')') {
            return Ok(());
        }
        if self.peek().is_none() {
            let problem = Diagnostic::error("a `(` is not closed");
            return Err(self.problem(open, "expected its `)` before the end", problem.fix("write the `)`")));
        }
        let problem = Diagnostic::error("a `)` is missing").fix(fix);
        Err(self.problem(self.next_token(), expected, problem))
    }

    fn expected_predicate(&mut self) -> Diagnostic {
        let expected = "expected a predicate, `not` or `(`";
        match self.peek() {
            None if self.text.trim().is_empty() => {
                self.problem(0..0, expected, Diagnostic::error("the expression is empty").fix(EXAMPLE))
            }
            None => self.problem(
                self.at..self.at,
                expected,
                Diagnostic::error("the expression ends too early").fix("write what follows, or remove the last word"),
            ),
            Some(sign @ ('&' | '|')) if self.text[..self.at].ends_with(sign) => {
                let word = if sign == '&' { "and" } else { "or" };
                let problem = Diagnostic::error(format!("there is no operator `{sign}{sign}`"));
                self.problem(self.at - 1..self.at + 1, "here", problem.fix(format!("write `{word}`, or `{sign}`")))
            }
            Some(_) => {
                let token = self.next_token();
                let problem = Diagnostic::error(format!("`{}` can't be here", &self.text[token.clone()]));
                self.problem(token, expected, problem.fix(EXAMPLE))
            }
        }
    }

    fn unknown(&self, word: &str, span: Range<usize>) -> Diagnostic {
        let problem = Diagnostic::error(format!("there is no predicate `{word}`"));
        let problem = problem.why("the predicates are `tag(…)`, `name(…)`, `path(…)`, `all()` and `none()`");
        let near = match word {
            // The words of nextest and pytest.
            "test" | "scenario" | "id" => Some("name"),
            "package" | "binary" | "file" | "dir" | "folder" => Some("path"),
            "mark" | "marker" | "group" | "kind" | "label" => Some("tag"),
            _ => super::super::usage::nearest(word, &PREDICATES),
        };
        match near {
            Some(near) => {
                self.problem(span, &format!("did you mean `{near}`?"), problem.fix(format!("write `{near}(…)`")))
            }
            None => self.problem(span, "expected a predicate", problem.fix(EXAMPLE)),
        }
    }

    /// Takes the operator that is next, as it is written.
    fn take_operator(&mut self, word: &str, signs: &[char]) -> Option<&'a str> {
        let next = self.peek()?;
        let begin = self.at;
        let is_one = if signs.contains(&next) { self.take(next) } else { self.take_word(word) };
        is_one.then(|| &self.text[begin..self.at])
    }

    fn problem(&self, span: Range<usize>, label: &str, problem: Diagnostic) -> Diagnostic {
        at(problem.label(label), self.text, span)
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// The next character that is no blank.
    fn peek(&mut self) -> Option<char> {
        self.skip_blanks();
        self.rest().chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.at += wanted.len_utf8();
        }
        is_next
    }

    /// The word that begins here; empty where none does.
    fn peek_word(&self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    }

    fn take_word(&mut self, wanted: &str) -> bool {
        self.skip_blanks();
        let is_next = self.peek_word() == wanted;
        if is_next {
            self.at += wanted.len();
        }
        is_next
    }

    /// The bytes of the next character.
    fn next_char(&self) -> Range<usize> {
        self.at..self.at + self.rest().chars().next().map_or(0, char::len_utf8)
    }

    /// The bytes of the next word, or else of the next character.
    fn next_token(&self) -> Range<usize> {
        match self.peek_word().len() {
            0 => self.next_char(),
            length => self.at..self.at + length,
        }
    }
}

/// The only part, or all of them joined.
fn one_or(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            join(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Style, render};

    #[test]
    fn a_wrong_expression_is_shown_where_it_is_wrong() {
        let wrong = [
            "",
            "  ",
            "ipfix",
            "tag",
            "tag ipfix",
            "tag(ipfix",
            "tag(ipfix))",
            "(tag(ipfix)",
            "(tag(a) tag(b))",
            "tag(a) tag(b)",
            "tag(a) AND tag(b)",
            "tag(a) && tag(b)",
            "tag(a) || tag(b)",
            "tag(a) and",
            "tag(a) and or tag(b)",
            "and tag(a)",
            "not",
            "tags(ipfix)",
            "test(slow)",
            "color(red)",
            "tag()",
            "name(= )",
            "all(x)",
            "all",
            "name(/slow)",
            "name(/slow/ x)",
            "name(/sl(ow/)",
            "tag(ip[fix)",
            "path(a/***/b)",
            "name(\\a)",
            "tag(日本) tag(日本)",
            ", tag(a)",
        ];
        let mut text = String::new();
        for wrong in wrong {
            let problem = expression(wrong).expect_err(wrong);
            text.push_str(&render(&[problem], Style::Plain));
            text.push('\n');
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth| format!("{}all(){}", "(".repeat(depth), ")".repeat(depth));
        assert!(expression(&nested(DEEPEST)).is_ok());
        let problem = expression(&nested(100_000)).expect_err("it is too deep");
        assert_eq!(problem.what, "more than 64 parentheses are open");
        assert!(expression(&"!".repeat(100_001)).is_err());
        assert!(expression(&format!("{}all()", "all() or ".repeat(50_000))).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_an_expression_or_a_problem_in_it(text in "[a-z()!&|/=~#\\\\ \\-é]{0,40}|\\PC*") {
            if let Err(problem) = expression(&text) {
                let place = problem.place.expect("it has a place");
                proptest::prop_assert!(place.span.end <= text.len());
            }
        }
    }
}
