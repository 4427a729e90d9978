//! `[require]`: checked before the first frame, and again after the last one.
//!
//! Each rule gives a [`Finding`]; checked again, the same rules give the same findings in the same order, so that what changed is
//! reported with both its values. One file for each kind. Start at [`Preconditions`].

mod firewall;
mod interfaces;
mod listeners;
mod machine;
mod sysctls;

use crate::diagnostic::{Diagnostic, Failure, Kind, Result};
use crate::host::facts::Facts;
use crate::scenario::Scenario;
use crate::testbed::Testbed;
pub(super) use firewall::{ProbePlace, Probing};

/// The result of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// What was looked at, with its name in back-ticks.
    subject: String,
    /// How it was found.
    seen: String,
    /// What is wrong with that.
    unmet: Option<Diagnostic>,
}

/// What the preconditions were found to be before the replay.
#[derive(Debug, Default)]
pub(super) struct Preconditions {
    settings: Vec<Finding>,
    firewall: Vec<Finding>,
    listeners: Vec<Finding>,
}

impl Preconditions {
    /// What must hold before the application starts: kernel, capabilities, sysctls, interfaces, the packet filter.
    ///
    /// # Errors
    /// [`Kind::Blocked`] with everything that does not hold.
    pub(super) fn before_application(
        scenario: &Scenario,
        probing: &Probing<'_>,
        testbed: &Testbed,
        facts: &Facts,
    ) -> Result<Self> {
        let settings = settings(scenario, testbed, facts)?;
        let firewall = firewall::find(scenario, probing, testbed)?;
        blocked(settings.iter().chain(&firewall))?;
        Ok(Self { settings, firewall, listeners: Vec::new() })
    }

    /// What must hold before the first frame: the sockets.
    pub(super) fn before_frames(&mut self, scenario: &Scenario, testbed: &Testbed) -> Result<()> {
        self.listeners = listeners::find(scenario, testbed)?;
        blocked(self.listeners.iter())
    }

    /// What held before the replay and does not hold after it.
    pub(super) fn drift(&self, scenario: &Scenario, testbed: &Testbed, facts: &Facts) -> Vec<Diagnostic> {
        let after = [settings(scenario, testbed, facts), listeners::find(scenario, testbed)];
        let before = [&self.settings, &self.listeners];
        before.into_iter().zip(after).flat_map(|(before, after)| changes(before, after)).collect()
    }

    /// Whether the packet filter lets as much through as before; once the application has stopped, which would get the probes.
    pub(super) fn drift_of_firewall(
        &self,
        scenario: &Scenario,
        probing: &Probing<'_>,
        testbed: &Testbed,
    ) -> Vec<Diagnostic> {
        changes(&self.firewall, firewall::find(scenario, probing, testbed))
    }
}

fn settings(scenario: &Scenario, testbed: &Testbed, facts: &Facts) -> Result<Vec<Finding>> {
    let mut findings = machine::find(scenario, facts);
    findings.extend(sysctls::find(scenario, testbed)?);
    findings.extend(interfaces::find(scenario, testbed)?);
    Ok(findings)
}

fn blocked<'a>(findings: impl Iterator<Item = &'a Finding>) -> Result<()> {
    let problems: Vec<Diagnostic> = findings.filter_map(|finding| finding.unmet.clone()).collect();
    if problems.is_empty() { Ok(()) } else { Err(Failure { kind: Kind::Blocked, problems }) }
}

/// The problems of what does not hold any more, with its value before and after.
fn changes(before: &[Finding], after: Result<Vec<Finding>>) -> Vec<Diagnostic> {
    match after {
        Ok(after) => before.iter().zip(after).filter_map(|(before, after)| change(before, after)).collect(),
        Err(failure) => failure
            .problems
            .into_iter()
            .map(|problem| {
                let what = format!("a precondition can't be checked again after the replay: {}", problem.what);
                Diagnostic { what, ..problem }
            })
            .collect(),
    }
}

fn change(before: &Finding, after: Finding) -> Option<Diagnostic> {
    let problem = after.unmet?;
    let what = format!("{} was {} before the replay and is {} after it", after.subject, before.seen, after.seen);
    let fix = "find what changed it while the scenario ran: the application, or another program on the machine";
    Some(Diagnostic { what, ..problem.fix(fix) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(seen: &str, unmet: bool) -> Finding {
        let unmet = unmet.then(|| Diagnostic::error("`net.a` is 1").why("required is 0").fix("`sysctl -w net.a=0`"));
        Finding { subject: "`net.a`".to_owned(), seen: seen.to_owned(), unmet }
    }

    #[test]
    fn drift_names_the_value_before_and_after() {
        let problems = changes(&[finding("0", false)], Ok(vec![finding("1", true)]));
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].what, "`net.a` was 0 before the replay and is 1 after it");
        assert_eq!(problems[0].why.as_deref(), Some("required is 0"));
    }

    #[test]
    fn what_still_holds_is_no_drift() {
        assert_eq!(changes(&[finding("0", false)], Ok(vec![finding("2", false)])), []);
    }

    #[test]
    fn everything_that_is_unmet_is_reported_together() {
        let failure = blocked([finding("1", true), finding("0", false), finding("1", true)].iter()).unwrap_err();
        assert_eq!((failure.kind, failure.problems.len()), (Kind::Blocked, 2));
    }
}
