//! `sysctl`: effective values.

use std::ops::Range;

use serde::{Deserialize, Deserializer};

use super::super::check::Checker;
use super::super::form::{Entries, OneOrMore, Scalar, error_at};
use super::super::sysctl;
use super::comparison::Wanted;
use crate::diagnostic::Diagnostic;

/// One `sysctl` whose effective value must be one of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SysctlRule {
    /// Dotted key, placeholders already replaced.
    pub key: String,
    /// What will do; at least one.
    pub wanted: Vec<Wanted>,
    /// The entry in the scenario.
    pub span: Range<usize>,
}

/// The rules of a table, `{receiver}` still in their keys.
pub(super) fn rules<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SysctlRule>, D::Error> {
    let Entries(entries) = Entries::<OneOrMore<Scalar>, sysctl::Key>::deserialize(deserializer)?;
    let mut rules = Vec::with_capacity(entries.len());
    for entry in entries {
        let (span, key, place) = (entry.span(), entry.key.value.0, entry.value.span.clone());
        let wanted = entry.value.into_list().into_iter().map(|written| {
            Wanted::read(&written.value).map_err(|mut problem| {
                problem.what = format!("`{key}` can't be \"{}\"", written.value);
                error_at(&problem, place.clone())
            })
        });
        let wanted = wanted.collect::<Result<_, D::Error>>()?;
        rules.push(SysctlRule { key, wanted, span });
    }
    Ok(rules)
}

pub(super) fn check(rules: &mut [SysctlRule], receiver: &str, checker: &mut Checker) {
    for rule in rules.iter_mut() {
        if rule.wanted.is_empty() {
            let problem = Diagnostic::error(format!("no value is allowed for `{}`", rule.key));
            let fix = "write the allowed values, like [0, 2]; or remove the entry";
            checker.refuse(rule.span.clone(), problem.fix(fix));
        }
        rule.key = sysctl::fill(&rule.key, receiver);
    }
    checker.twice(rules.iter().map(|rule| (rule.key.as_str(), &rule.span)));
}
