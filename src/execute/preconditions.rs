//! `[require]`: checked before the first frame, and again after the last one.

use super::site::Site;
use crate::diagnostic::{Failure, Kind, Problem, Result};
use crate::lab::sysctl;
use crate::scenario::Scenario;
use crate::scenario::require::Transport;
use crate::wire::sockets::{SocketTable, serves};

/// The effective sysctl values.
pub(super) fn sysctls(scenario: &Scenario, site: &Site) -> Result<()> {
    blocked(sysctl_problems(scenario, site)?)
}

/// The sockets.
pub(super) fn listeners(scenario: &Scenario, site: &Site) -> Result<()> {
    blocked(listener_problems(scenario, site)?)
}

/// What held before the run and does not hold after it.
pub(super) fn drift(scenario: &Scenario, site: &Site) -> Vec<Problem> {
    let after = sysctl_problems(scenario, site).and_then(|mut problems| {
        problems.extend(listener_problems(scenario, site)?);
        Ok(problems)
    });
    let problems = after.unwrap_or_else(|failure| failure.problems);
    problems
        .into_iter()
        .map(|mut problem| {
            problem.what =
                format!("a precondition held before the replay and does not hold after it: {}", problem.what);
            problem
        })
        .collect()
}

fn blocked(problems: Vec<Problem>) -> Result<()> {
    if problems.is_empty() { Ok(()) } else { Err(Failure { kind: Kind::Blocked, problems }) }
}

fn sysctl_problems(scenario: &Scenario, site: &Site) -> Result<Vec<Problem>> {
    let rules = &scenario.require.sysctl;
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let read = site.receiver.run(|| rules.iter().map(|rule| sysctl::effective(&rule.key)).collect::<Vec<_>>())?;
    let mut problems = Vec::new();
    for (rule, effective) in rules.iter().zip(read) {
        let at = |problem: Problem| problem.at(&scenario.source, Some(rule.span.clone()));
        match effective {
            Err(failure) => problems.extend(failure.problems.into_iter().map(at)),
            Ok(effective) => {
                let same = |allowed: &String| words(allowed) == words(&effective.value);
                if !rule.allowed.iter().any(same) {
                    problems.push(at(Problem::error(format!("`{}` is {}", rule.key, effective.value))
                        .why(format!("required is {}; {}", rule.allowed.join(" or "), effective.how))
                        .fix(if site.observed {
                            format!(
                                "set it in the lab: `[lab] sysctl = {{ \"{}\" = {} }}`",
                                rule.key,
                                rule.allowed.join(" or ")
                            )
                        } else {
                            format!("`sysctl -w {}={}`", rule.key, rule.allowed.first().map_or("", String::as_str))
                        })));
                }
            }
        }
    }
    Ok(problems)
}

/// Values of several words (`4096 131072 6291456`) are separated by tabs in /proc/sys.
fn words(value: &str) -> Vec<&str> {
    value.split_whitespace().collect()
}

fn listener_problems(scenario: &Scenario, site: &Site) -> Result<Vec<Problem>> {
    let rules = &scenario.require.listener;
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let table = site.receiver.run(SocketTable::open)??;
    let (udp, tcp) = (table.udp()?, table.tcp_listeners()?);
    let mut problems = Vec::new();
    for rule in rules {
        let served = udp.iter().any(|socket| serves(socket, &rule.value))
            || tcp.iter().any(|socket| serves(socket, &rule.value));
        if !served {
            let there: Vec<String> = match rule.value.transport {
                Transport::Udp => udp.iter().map(|socket| format!("{}:{}", socket.address, socket.port)).collect(),
                Transport::Tcp => tcp.iter().map(|socket| format!("{}:{}", socket.address, socket.port)).collect(),
            };
            problems.push(
                Problem::error(format!("nothing listens on `{}`", rule.value))
                    .at(&scenario.source, rule.span.clone())
                    .why(if there.is_empty() {
                        "no such socket is bound".to_owned()
                    } else {
                        format!("bound are: {}", there.join(", "))
                    })
                    .fix("start the application before the replay, or let restage start it: `[receiver] command`"),
            );
        }
    }
    Ok(problems)
}
