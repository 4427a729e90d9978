//! `sysctl`: effective values.

use std::ops::Range;

use super::super::check::Checker;
use super::super::form::{Entries, ScalarOrList};
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

pub(super) fn check(form: Option<Entries<ScalarOrList>>, receiver: &str, checker: &mut Checker) -> Vec<SysctlRule> {
    let mut rules: Vec<SysctlRule> = Vec::new();
    for entry in form.map_or(Vec::new(), |entries| entries.0) {
        let span = entry.span();
        let mut wanted = Vec::new();
        for written in &entry.value.get().0 {
            match Wanted::read(written) {
                Ok(value) => wanted.push(value),
                Err(misread) => {
                    let problem = Diagnostic::error(format!("`{}` can't be \"{written}\"", entry.key.get()));
                    checker.refuse(entry.value.span(), problem.why(misread.why).fix(misread.fix));
                }
            }
        }
        if entry.value.get().0.is_empty() {
            let problem = Diagnostic::error(format!("no value is allowed for `{}`", entry.key.get()));
            checker
                .refuse(span.clone(), problem.fix("write the values that will do, like [0, 2]; or remove the entry"));
        }
        let Some(key) = sysctl::key(&entry.key, receiver, checker) else { continue };
        if sysctl::is_new(&key, &span, rules.iter().map(|rule| (&rule.key, &rule.span)), checker) {
            rules.push(SysctlRule { key, wanted, span });
        }
    }
    rules
}
