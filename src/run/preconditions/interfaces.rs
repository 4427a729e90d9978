//! Interfaces: that they are there, and how they are.

use super::Finding;
use crate::diagnostic::{At, Diagnostic, Result};
use crate::host::interface::InterfaceFacts;
use crate::predict::there;
use crate::scenario::Scenario;
use crate::scenario::require::{InterfaceRule, OffloadRule, Wanted};
use crate::scenario::topology::EXISTING_RECEIVER;
use crate::testbed::{Side, Testbed};

/// Where the interface is, for the remedies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    Lab,
    Machine,
}

pub(super) fn find(scenario: &Scenario, testbed: &Testbed) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for rule in &scenario.require.interface {
        let is_sender = rule.name == testbed.sender().interface();
        // The pair is restage's own wherever the receiver is.
        let is_of_the_pair = scenario.topology.pair().is_some() && (is_sender || rule.name == EXISTING_RECEIVER);
        let home = if testbed.is_set_up_by_scenario() || is_of_the_pair { Home::Lab } else { Home::Machine };
        let mut found = of_rule(rule, if is_sender { testbed.sender() } else { testbed.receiver() }, home)?;
        for (finding, span) in &mut found {
            let there = |problem: Diagnostic| {
                let fix = problem.fix.as_deref().map(|fix| there(fix, testbed.command_prefix()));
                Diagnostic { fix, ..problem }
            };
            finding.unmet =
                finding.unmet.take().map(there).map(|problem| problem.at(&scenario.source, Some(span.clone())));
        }
        findings.extend(found.into_iter().map(|(finding, _)| finding));
    }
    Ok(findings)
}

type Placed = (Finding, std::ops::Range<usize>);

fn of_rule(rule: &InterfaceRule, side: &Side, home: Home) -> Result<Vec<Placed>> {
    let name = &rule.name;
    let Some(facts) = side.facts(name)? else {
        let unmet = Some(absent(name, &side.interface_names()?));
        let finding = Finding { subject: format!("`{name}`"), seen: "gone".to_owned(), unmet };
        return Ok(vec![(finding, rule.span.clone())]);
    };
    let mut found =
        vec![(Finding { subject: format!("`{name}`"), seen: "there".to_owned(), unmet: None }, rule.span.clone())];
    let span = |written: Option<&std::ops::Range<usize>>| written.unwrap_or(&rule.span).clone();
    if let Some(wanted) = &rule.up {
        found.push((link(name, &facts, wanted.value, home), span(wanted.span.as_ref())));
    }
    if let Some(wanted) = &rule.mtu {
        found.push((mtu(name, facts.mtu_bytes, wanted, home), span(wanted.span.as_ref())));
    }
    for wanted in &rule.offloads {
        let on = side.offload(name, wanted.offload)?;
        found.push((offload(name, wanted, on, home), wanted.span.clone()));
    }
    Ok(found)
}

fn absent(name: &str, there: &[String]) -> Diagnostic {
    Diagnostic::error(format!("there is no interface `{name}`"))
        .why(format!("there are: {}", there.join(", ")))
        .fix("name one of them, or bring the missing one first; `ip -br link` lists them")
}

fn link(name: &str, facts: &InterfaceFacts, wanted: bool, home: Home) -> Finding {
    let seen = match (facts.up, facts.running) {
        (true, true) => "up",
        (true, false) => "up without a link",
        (false, _) => "down",
    };
    let unmet = (wanted != facts.running).then(|| {
        let problem = Diagnostic::error(format!("`{name}` is {seen}"));
        let problem = problem.why(if wanted {
            "required is that it is up: switched on, and with a link"
        } else {
            "required is that it is not up"
        });
        problem.fix(match (home, wanted, facts.up) {
            (Home::Lab, _, _) => "the interfaces of the lab are up: write `up = true`".to_owned(),
            (Home::Machine, true, true) => "it is switched on: plug in the cable, or bring its other end up".to_owned(),
            (Home::Machine, true, false) => format!("`ip link set {name} up`"),
            (Home::Machine, false, _) => format!("`ip link set {name} down`"),
        })
    });
    Finding { subject: format!("`{name}`"), seen: seen.to_owned(), unmet }
}

fn mtu(name: &str, seen: u32, wanted: &At<Wanted>, home: Home) -> Finding {
    let seen = seen.to_string();
    let unmet = (!wanted.value.holds(&seen)).then(|| {
        let value = wanted.value.example();
        Diagnostic::error(format!("the MTU of `{name}` is {seen}")).why(format!("required is {}", wanted.value)).fix(
            match home {
                Home::Lab if name == "lo" => "the lab leaves its loopback alone: remove `mtu`".to_owned(),
                Home::Lab => format!("give the lab that MTU: `[lab] mtu = {value}`"),
                Home::Machine => format!("`ip link set {name} mtu {value}`"),
            },
        )
    });
    Finding { subject: format!("the MTU of `{name}`"), seen, unmet }
}

fn offload(name: &str, wanted: &OffloadRule, on: bool, home: Home) -> Finding {
    let word = |on: bool| if on { "on" } else { "off" };
    let (feature, seen) = (wanted.offload.name(), word(on));
    let unmet = (on != wanted.on).then(|| {
        Diagnostic::error(format!("`{feature}` of `{name}` is {seen}"))
            .why(format!("required is {}; `ethtool -k` shows it", word(wanted.on)))
            .fix(match home {
                Home::Lab => format!("no word of the lab changes it: write `{feature} = {on}`, or remove the entry"),
                Home::Machine => {
                    format!("`ethtool -K {name} {} {}`", wanted.offload.ethtool_word(), word(wanted.on))
                }
            })
    });
    Finding { subject: format!("`{feature}` of `{name}`"), seen: seen.to_owned(), unmet }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::{Style, render};
    use crate::packet::MacAddr;
    use crate::scenario::require::{Comparison, Offload, Operator};

    fn told(findings: &[Finding]) -> String {
        let lines = findings.iter().map(|finding| match &finding.unmet {
            None => format!("{} is {}: met\n\n", finding.subject, finding.seen),
            Some(problem) => format!("{}\n", render(std::slice::from_ref(problem), Style::Plain)),
        });
        lines.collect()
    }

    #[test]
    fn an_interface_that_is_otherwise_says_what_to_type() {
        let facts = |up, running| InterfaceFacts { up, running, ..InterfaceFacts::veth("eth0", MacAddr::BROADCAST) };
        let at_least = At::default_value(Wanted::Compared(Comparison { operator: Operator::AtLeast, than: 9000 }));
        let gro = |on| OffloadRule { offload: Offload::GenericReceive, on, span: 0..0 };
        let mut findings = Vec::new();
        for home in [Home::Machine, Home::Lab] {
            findings.extend([
                link("eth0", &facts(false, false), true, home),
                link("eth0", &facts(true, false), true, home),
                link("eth0", &facts(true, true), false, home),
                link("eth0", &facts(true, true), true, home),
                mtu("eth0", 1500, &at_least, home),
                mtu("eth0", 9000, &at_least, home),
                offload("eth0", &gro(false), true, home),
                offload("eth0", &gro(true), true, home),
            ]);
        }
        let absent = absent("eth9", &["lo".to_owned(), "eth0".to_owned()]);
        findings.push(Finding { subject: String::new(), seen: String::new(), unmet: Some(absent) });
        insta::assert_snapshot!(told(&findings));
    }
}
