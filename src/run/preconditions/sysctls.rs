//! Effective sysctl values.

use super::Finding;
use crate::diagnostic::{Diagnostic, Result};
use crate::host::sysctl::Effective;
use crate::predict::there;
use crate::scenario::Scenario;
use crate::scenario::require::{SysctlRule, Wanted, any_of};
use crate::testbed::Testbed;

pub(super) fn find(scenario: &Scenario, testbed: &Testbed) -> Result<Vec<Finding>> {
    let rules = &scenario.require.sysctl;
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let read = testbed.receiver().sysctls(rules.iter().map(|rule| rule.key.as_str()))?;
    let mut findings = Vec::new();
    for (rule, effective) in rules.iter().zip(read) {
        let at = |problem: Diagnostic| problem.at(&scenario.source, Some(rule.span.clone()));
        let subject = format!("`{}`", rule.key);
        match effective {
            Err(failure) => findings.extend(failure.problems.into_iter().map(|problem| Finding {
                subject: subject.clone(),
                seen: "unknown".to_owned(),
                unmet: Some(at(problem)),
            })),
            Ok(effective) => {
                let unmet = problem(rule, &effective, testbed.is_set_up_by_scenario());
                let there = |problem: Diagnostic| {
                    let fix = problem.fix.as_deref().map(|fix| there(fix, testbed.command_prefix()));
                    Diagnostic { fix, ..problem }
                };
                let unmet = unmet.map(there).map(at);
                findings.push(Finding { subject, seen: effective.value, unmet });
            }
        }
    }
    Ok(findings)
}

/// What is wrong with a value, if anything is.
fn problem(rule: &SysctlRule, effective: &Effective, lab: bool) -> Option<Diagnostic> {
    if rule.wanted.iter().any(|wanted| wanted.holds(&effective.value)) {
        return None;
    }
    let what = format!("`{}` is {}", rule.key, effective.value);
    let why = format!("required is {}; {}", any_of(&rule.wanted), effective.how);
    let value = rule.wanted.first().map(Wanted::example).unwrap_or_default();
    // All that count get the value: however the kernel combines them, that is the effective one.
    let fix = if lab && effective.own {
        let value = if value.parse::<i64>().is_ok() { value } else { format!("\"{value}\"") };
        let entries: Vec<_> = effective.keys.iter().map(|key| format!("\"{key}\" = {value}")).collect();
        format!("set it in the lab: `[lab] sysctl = {{ {} }}`", entries.join(", "))
    } else {
        let quote = if value.contains(char::is_whitespace) { "'" } else { "" };
        let entries: Vec<_> = effective.keys.iter().map(|key| format!("{quote}{key}={value}{quote}")).collect();
        format!("`sysctl -w {}`", entries.join(" "))
    };
    Some(Diagnostic::error(what).why(why).fix(fix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Style, render};
    use crate::scenario::require::{Comparison, Operator};

    fn told(keys: &[&str], value: &str, wanted: Vec<Wanted>, lab: bool) -> String {
        let key = keys.last().unwrap();
        let rule = SysctlRule { key: (*key).to_owned(), wanted, span: 0..0 };
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let own = key.starts_with("net.ipv4.");
        let effective = Effective { value: value.to_owned(), keys, own, how: "how".to_owned() };
        problem(&rule, &effective, lab).map_or("met\n".to_owned(), |problem| render(&[problem], Style::Plain))
    }

    #[test]
    fn an_unmet_value_says_what_to_type() {
        let at_least = |than| Wanted::Compared(Comparison { operator: Operator::AtLeast, than });
        let value = |text: &str| Wanted::Value(text.to_owned());
        let pair = ["net.ipv4.conf.all.rp_filter", "net.ipv4.conf.rx0.rp_filter"];
        let texts = [
            told(&pair, "1", vec![value("0"), value("2")], true),
            told(&pair, "1", vec![value("0"), value("2")], false),
            told(&["net.core.rmem_max"], "212991", vec![at_least(212_992)], true),
            told(&["vm.swappiness"], "60", vec![value("0")], true),
            told(&["net.ipv4.tcp_rmem"], "4096 1 2", vec![value("4096 131072 6291456")], true),
            told(&["net.ipv4.tcp_rmem"], "4096 1 2", vec![value("4096 131072 6291456")], false),
            told(&["net.core.rmem_max"], "212992", vec![value("0"), at_least(212_992)], false),
        ];
        insta::assert_snapshot!(texts.join("\n"));
    }
}
