//! The kernel's version and the capabilities of this process.

use super::Finding;
use crate::diagnostic::Diagnostic;
use crate::host::facts::{Facts, Standing};
use crate::scenario::Scenario;
use crate::scenario::require::{Capability, KernelRule};

pub(super) fn find(scenario: &Scenario, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(rule) = &scenario.require.kernel {
        let release = facts.kernel.clone();
        let unmet = kernel(&rule.value, &release);
        let unmet = unmet.map(|problem| problem.at(&scenario.source, rule.span.clone()));
        findings.push(Finding { subject: "the kernel".to_owned(), seen: release, unmet });
    }
    for rule in &scenario.require.capabilities {
        let unmet = capability(rule.value, facts);
        let seen = if unmet.is_none() { "effective" } else { "not effective" };
        let unmet = unmet.map(|problem| problem.at(&scenario.source, rule.span.clone()));
        findings.push(Finding { subject: format!("`{}`", rule.value.name), seen: seen.to_owned(), unmet });
    }
    findings
}

fn kernel(rule: &KernelRule, release: &str) -> Option<Diagnostic> {
    let problem = Diagnostic::error(format!("the kernel is `{release}`"));
    let fix = format!("run it on a machine with a kernel {rule}");
    match rule.holds(release) {
        Some(true) => None,
        Some(false) => Some(problem.why(format!("required is {rule}; `uname -r` shows it")).fix(fix)),
        None => Some(problem.why(format!("required is {rule}, and this doesn't begin with a version")).fix(fix)),
    }
}

fn capability(wanted: Capability, facts: &Facts) -> Option<Diagnostic> {
    let name = wanted.name;
    let problem = Diagnostic::error(format!("restage does not have `{name}`"));
    let short = name.strip_prefix("CAP_").unwrap_or(name);
    match facts.standing(wanted.number) {
        Standing::Effective => None,
        Standing::InUserNamespace => Some(
            problem
                .why("it has it over a user namespace only, and the kernel asks for it over the whole machine")
                .fix("start restage outside of user namespaces (rootless containers are such), with `sudo`"),
        ),
        Standing::Absent if facts.uid == 0 => Some(
            problem
                .why("it is not among the effective capabilities, though this is root: a container or a service took it away")
                .fix(format!("start the container with `--cap-add={short}`")),
        ),
        Standing::Absent => Some(
            problem
                .why("it is not among the effective capabilities with which restage was started")
                .fix("run restage with `sudo`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::diagnostic::{Style, render};

    #[test]
    fn a_capability_counts_where_the_kernel_looks_for_it() {
        let bpf = Capability { number: 39, name: "CAP_BPF" };
        let net_admin = Capability { number: 12, name: "CAP_NET_ADMIN" };
        let both = 1 << 39 | 1 << 12;
        let mut text = String::new();
        let of =
            |capabilities, in_user_namespace, uid| Facts { uid, capabilities, in_user_namespace, ..Facts::default() };
        for (facts, name) in [
            (of(both, false, 0), "root"),
            (of(1 << 12, false, 0), "root in a container"),
            (of(both, true, 0), "root of a user namespace"),
            (of(0, false, 1000), "an ordinary user"),
        ] {
            for wanted in [bpf, net_admin] {
                let problem = capability(wanted, &facts);
                let told = problem.map_or("met\n".to_owned(), |problem| render(&[problem], Style::Plain));
                writeln!(text, "{name}, {}:\n{told}", wanted.name).unwrap();
            }
        }
        insta::assert_snapshot!(text);
    }
}
