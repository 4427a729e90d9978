//! Sockets that must be bound.

use super::Finding;
use crate::diagnostic::{Diagnostic, Result};
use crate::scenario::Scenario;
use crate::testbed::Testbed;

pub(super) fn find(scenario: &Scenario, testbed: &Testbed) -> Result<Vec<Finding>> {
    let rules = &scenario.require.listens;
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    let table = testbed.receiver().sockets()?;
    let mut findings = Vec::new();
    for rule in rules {
        let sockets = table.list(rule.value.transport)?;
        let served = sockets.iter().any(|socket| socket.serves(&rule.value));
        let there: Vec<String> = sockets.iter().map(|socket| format!("{}:{}", socket.address, socket.port)).collect();
        let unmet = (!served).then(|| {
            Diagnostic::error(format!("nothing listens on `{}`", rule.value))
                .at(&scenario.source, rule.span.clone())
                .why(if there.is_empty() {
                    "no such socket is bound".to_owned()
                } else {
                    format!("bound are: {}", there.join(", "))
                })
                .fix("start the application before the replay, or let restage start it: `[receiver] command`")
        });
        let seen = if served { "bound" } else { "not bound" };
        findings.push(Finding { subject: format!("`{}`", rule.value), seen: seen.to_owned(), unmet });
    }
    Ok(findings)
}
