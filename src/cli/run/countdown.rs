//! Before frames leave by a real interface, a person at a terminal has time to think again.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use crate::cli::output::Output;
use crate::cli::terminal::Terminal;
use crate::run::batch::Candidate;

/// So many seconds.
const SECONDS: u64 = 3;

/// The real interfaces that scenarios send on and that are allowed.
pub(super) fn interfaces(scenarios: &[Candidate], allowed: &[String]) -> BTreeSet<String> {
    let usable = scenarios.iter().filter_map(|candidate| candidate.checked.as_ref().ok());
    let named = usable.flat_map(|scenario| scenario.topology.interfaces()).map(|interface| &interface.value);
    named.filter(|name| allowed.contains(name)).cloned().collect()
}

/// Counts down where there is an interface, and a person watches.
pub(super) fn count_down(interfaces: &BTreeSet<String>, stderr: &mut Output, terminal: &Terminal) {
    if interfaces.is_empty() || !terminal.progress() {
        return;
    }
    let names: Vec<_> = interfaces.iter().map(|name| format!("`{name}`")).collect();
    stderr.write(&format!("frames leave by {} soon; Ctrl-C ends this:", names.join(" and ")));
    for left in (1..=SECONDS).rev() {
        stderr.write(&format!(" {left}"));
        sleep(Duration::from_secs(1));
    }
    stderr.write("\n");
}
