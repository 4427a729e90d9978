//! Values of the application's environment that no report shows. Start at [`Secrets`].

use serde_json::Value as Json;

use crate::diagnostic::Diagnostic;
use crate::outcome::{CheckId, Outcome};
use crate::scenario::Scenario;
use crate::scenario::receiver::VariableValue;

/// What is shown in the place of a secret.
const REDACTED: &str = "***";
/// A text may be cut in the middle of a secret: so many characters of it are recognized as its beginning or end.
const PART: usize = 4;

/// The secrets of a scenario, the longest first: a shorter one may be a part of it.
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let names =
            scenario.receiver.programs().flat_map(|program| &program.env).filter_map(|variable| {
                match &variable.value.value {
                    VariableValue::FromEnv(name) => Some(name),
                    VariableValue::Text(_) => None,
                }
            });
        let mut secrets: Vec<String> =
            names.filter_map(|name| std::env::var(name).ok()).filter(|secret| !secret.is_empty()).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// Takes them out of everything that an outcome quotes.
    pub(super) fn redact(&self, outcome: &mut Outcome) {
        if self.0.is_empty() {
            return;
        }
        outcome.problems.iter_mut().for_each(|problem| self.redact_problem(problem));
        for check in &mut outcome.checks {
            if let CheckId::Other(name) = &mut check.what {
                self.redact_text(name);
            }
            self.redact_json(&mut check.expected);
            self.redact_json(&mut check.actual);
            check.problem.iter_mut().for_each(|problem| self.redact_problem(problem));
        }
        outcome.steps.iter_mut().for_each(|step| self.redact_text(&mut step.what));
        for application in outcome.application.iter_mut().chain(&mut outcome.processes) {
            let said = [&mut application.ended, &mut application.stdout, &mut application.stderr];
            application.command.iter_mut().chain(said).for_each(|text| self.redact_text(text));
        }
    }

    fn redact_problem(&self, problem: &mut Diagnostic) {
        let Diagnostic { severity: _, what, place, label, why, fix } = problem;
        let line = place.as_mut().map(|place| &mut place.text);
        let texts = [Some(what), line, label.as_mut(), why.as_mut(), fix.as_mut()];
        texts.into_iter().flatten().for_each(|text| self.redact_text(text));
    }

    fn redact_json(&self, value: &mut Json) {
        match value {
            Json::String(text) => self.redact_text(text),
            Json::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            Json::Object(entries) => entries.values_mut().for_each(|value| self.redact_json(value)),
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
    }

    pub(super) fn redact_text(&self, text: &mut String) {
        for secret in &self.0 {
            *text = text.replace(secret, REDACTED);
            let parts = || secret.char_indices().map(|(at, _)| at).skip(1);
            let mut tails = parts().map(|at| &secret[at..]).filter(|tail| tail.chars().count() >= PART);
            if let Some(tail) = tails.find(|tail| text.starts_with(tail)) {
                text.replace_range(..tail.len(), REDACTED);
            }
            let end = text.trim_end_matches('…').len();
            let heads: Vec<&str> =
                parts().map(|at| &secret[..at]).filter(|head| head.chars().count() >= PART).collect();
            if let Some(head) = heads.into_iter().rev().find(|head| text[..end].ends_with(head)) {
                text.replace_range(end - head.len()..end, REDACTED);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_whole_and_in_parts() {
        let secrets = Secrets(vec!["hunter2-and-more".to_owned(), "hunter2".to_owned(), "é1é2é3".to_owned()]);
        for (text, shown) in [
            ("a hunter2 b hunter2-and-more c", "a *** b *** c"),
            ("nter2-and-more is its end", "*** is its end"),
            ("its beginning is hunter2-an", "its beginning is ***"),
            ("its beginning is hunt…", "its beginning is ***…"),
            ("1é2é3", "***"),
            ("hun", "hun"),
            ("", ""),
        ] {
            let mut text = text.to_owned();
            secrets.redact_text(&mut text);
            assert_eq!(text, shown);
        }
    }
}
