//! Where the time of a scenario went. Start at [`Phase`].

use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A part of a scenario's time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Phase {
    /// `plan`: the capture is read; `shares`: the machines of `[[sender]]` are given their frames; `lab`: the place is made; `preconditions`: they are
    /// checked; `application`: it is started, until it is ready; `observe`: taps and rings are opened; `replay`: frames are sent; `step`: a `[[step]]`
    /// between them is taken; `settle`: what was sent is waited for; `expect`: checks wait while the application runs; `stop`: it is stopped;
    /// `judge`: what it left is judged.
    pub name: String,
    /// How long it took; of one that came several times, all of them together.
    pub seconds: f64,
}

/// When each phase began.
#[derive(Debug)]
pub(crate) struct Phases(Vec<(String, Instant)>);

impl Phases {
    /// The first one begins now.
    pub(crate) fn begin(name: &str) -> Self {
        Self(vec![(name.to_owned(), Instant::now())])
    }

    /// The next one begins now.
    pub(crate) fn next(&mut self, name: &str) {
        self.0.push((name.to_owned(), Instant::now()));
    }

    /// How long each took until `end`, in the order in which they came first.
    pub(crate) fn until(&self, end: Instant) -> Vec<Phase> {
        let ends = self.0.iter().skip(1).map(|(_, begun)| *begun).chain([end]);
        let mut phases: Vec<Phase> = Vec::new();
        for ((name, begun), end) in self.0.iter().zip(ends) {
            let seconds = end.saturating_duration_since(*begun).as_secs_f64();
            match phases.iter_mut().find(|phase| phase.name == *name) {
                Some(phase) => phase.seconds += seconds,
                None => phases.push(Phase { name: name.clone(), seconds }),
            }
        }
        phases
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_phase_that_comes_again_is_one() {
        let begun = Instant::now();
        let at = |milliseconds| begun + Duration::from_millis(milliseconds);
        let marks = [("plan", 0), ("replay", 250), ("settle", 500), ("replay", 1000)];
        let phases = Phases(marks.map(|(name, milliseconds)| (name.to_owned(), at(milliseconds))).to_vec());
        let phases: Vec<_> = phases.until(at(3000)).into_iter().map(|phase| (phase.name, phase.seconds)).collect();
        assert_eq!(phases, [("plan", 0.25), ("replay", 2.25), ("settle", 0.5)].map(|(name, took)| (name.into(), took)));
    }
}
