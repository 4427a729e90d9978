//! Whose turn it is: which scenarios run side by side, which alone, and which once more.
//!
//! Scenarios run in groups: those that may run side by side, then each of those that run alone; what failed in a group is tried again before the
//! next one. Nothing here starts a process: [`super::batch`] runs the groups. Start at [`Turns::next`].

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::outcome::{Outcome, Verdict};

/// How the scenarios of a batch take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Scenarios that run side by side.
    pub at_once: NonZeroUsize,
    /// So often a scenario that failed is tried again.
    pub retries: u32,
    /// How long after it failed; zero: at once.
    pub retry_delay: Duration,
    /// How the delay grows.
    pub backoff: Backoff,
    /// After so many scenarios have failed no other one is started; `None`: all are run.
    pub max_fail: Option<NonZeroUsize>,
}

/// How the delay before a retry grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backoff {
    /// It is always the same.
    #[default]
    Fixed,
    /// It doubles with each retry.
    Exponential,
}

impl Default for Rules {
    /// One scenario after the other, each once.
    fn default() -> Self {
        Self {
            at_once: NonZeroUsize::MIN,
            retries: 0,
            retry_delay: Duration::ZERO,
            backoff: Backoff::Fixed,
            max_fail: None,
        }
    }
}

/// Scenarios that run in one go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// In the order in which they are started.
    pub(super) scenarios: Vec<usize>,
    pub(super) at_once: NonZeroUsize,
}

/// What an outcome means for its scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// It is the scenario's.
    Done,
    /// It is that of one try, and there will be another one.
    Again,
}

/// Why scenarios were not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    Interrupted,
    /// So many had failed.
    Failures(NonZeroUsize),
}

/// Scenarios, by their indexes, and how far each is.
#[derive(Debug)]
pub(super) struct Turns {
    rules: Rules,
    /// Those that run alone.
    alone: BTreeSet<usize>,
    /// Those whose turn has not come.
    waiting: Vec<usize>,
    /// Those that have failed and are tried again.
    again: Vec<usize>,
    /// How often each has been tried.
    tries: BTreeMap<usize, u32>,
    /// So many have failed for good.
    failed: usize,
    /// Whether the running group starts no other scenario, because enough have failed.
    is_enough: bool,
    is_interrupted: bool,
}

impl Turns {
    /// `scenarios`: with whether each runs alone. `failed`: how many others are known to fail already.
    pub(super) fn new(rules: Rules, scenarios: impl Iterator<Item = (usize, bool)> + Clone, failed: usize) -> Self {
        Self {
            rules,
            alone: scenarios.clone().filter(|(_, runs_alone)| *runs_alone).map(|(index, _)| index).collect(),
            waiting: scenarios.map(|(index, _)| index).collect(),
            again: Vec::new(),
            tries: BTreeMap::new(),
            failed,
            is_enough: false,
            is_interrupted: false,
        }
    }

    /// Who is next, when the group before has ended. `None`: the run is over.
    pub(super) fn next(&mut self) -> Option<Group> {
        self.is_enough = false;
        if self.stopped().is_some() {
            return None;
        }
        let queue = if self.again.is_empty() { &mut self.waiting } else { &mut self.again };
        let (alone, side_by_side): (Vec<_>, Vec<_>) = queue.drain(..).partition(|index| self.alone.contains(index));
        if !side_by_side.is_empty() {
            *queue = alone;
            Some(Group { scenarios: side_by_side, at_once: self.rules.at_once })
        } else if !alone.is_empty() {
            Some(Group { scenarios: alone, at_once: NonZeroUsize::MIN })
        } else {
            None
        }
    }

    /// How long a scenario waits when its turn has come.
    pub(super) fn delay(&self, index: usize) -> Duration {
        match (self.tried(index), self.rules.backoff) {
            (0, _) => Duration::ZERO,
            (_, Backoff::Fixed) => self.rules.retry_delay,
            (tried, Backoff::Exponential) => self.rules.retry_delay.saturating_mul(2_u32.saturating_pow(tried - 1)),
        }
    }

    /// A scenario of the running group has this outcome.
    pub(super) fn ended(&mut self, index: usize, outcome: &Outcome) -> Then {
        let tried = self.tries.entry(index).or_default();
        *tried += 1;
        self.is_interrupted |= outcome.interrupted;
        // A scenario that can't be used never can.
        let may_pass = matches!(outcome.verdict, Verdict::Fail | Verdict::Blocked | Verdict::Error);
        if may_pass && *tried <= self.rules.retries && !self.is_interrupted {
            self.again.push(index);
            return Then::Again;
        }
        self.failed += usize::from(outcome.verdict.is_failure());
        Then::Done
    }

    /// The run is to end.
    pub(super) fn interrupt(&mut self) {
        self.is_interrupted = true;
    }

    /// A scenario of the running group was not started: because enough have failed, or else because of an interruption.
    pub(super) fn not_started(&mut self, index: usize) {
        self.is_interrupted |= !self.is_enough;
        if self.tried(index) == 0 { self.waiting.push(index) } else { self.again.push(index) }
    }

    /// Whether the running group is to start no other scenario. What is tried again counts as failed until it passes.
    pub(super) fn is_enough(&mut self) -> bool {
        let failed = self.failed + self.again.len();
        self.is_enough |= self.rules.max_fail.is_some_and(|most| failed >= most.get());
        self.is_enough
    }

    /// Why the run has ended before all scenarios had.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        if self.is_interrupted {
            return Some(Stopped::Interrupted);
        }
        self.rules.max_fail.filter(|most| self.failed >= most.get()).map(Stopped::Failures)
    }

    /// The scenarios that will have no other try: those that were not run, and those that were to be tried again.
    pub(super) fn left(&self) -> (&[usize], &[usize]) {
        (&self.waiting, &self.again)
    }

    /// So often the scenario has been tried.
    pub(super) fn tried(&self, index: usize) -> u32 {
        self.tries.get(&index).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn outcome(verdict: Verdict) -> Outcome {
        Outcome::blank("one", Path::new("one.toml"), verdict)
    }

    fn number(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).expect("it is above 0")
    }

    /// Turns of so many scenarios, of which these run alone.
    fn turns(scenarios: usize, alone: &[usize], rules: Rules) -> Turns {
        Turns::new(rules, (0..scenarios).map(|index| (index, alone.contains(&index))), 0)
    }

    fn next(turns: &mut Turns) -> (Vec<usize>, usize) {
        turns.next().map_or((Vec::new(), 0), |group| (group.scenarios, group.at_once.get()))
    }

    #[test]
    fn scenarios_run_side_by_side_and_then_those_that_run_alone() {
        let mut turns = turns(4, &[1, 3], Rules { at_once: number(2), ..Rules::default() });
        for group in [(vec![0, 2], 2), (vec![1, 3], 1)] {
            assert_eq!(next(&mut turns), group);
            for index in group.0 {
                assert_eq!(turns.ended(index, &outcome(Verdict::Pass)), Then::Done);
                assert!(!turns.is_enough());
            }
        }
        assert_eq!(next(&mut turns), (vec![], 0));
        assert_eq!((turns.left(), turns.stopped()), ((&[][..], &[][..]), None));
    }

    #[test]
    fn what_may_pass_is_tried_again_before_others_begin() {
        let mut turns = turns(5, &[4], Rules { at_once: number(8), retries: 2, ..Rules::default() });
        assert_eq!(next(&mut turns), (vec![0, 1, 2, 3], 8));
        let verdicts = [Verdict::Invalid, Verdict::Fail, Verdict::Blocked, Verdict::Error];
        let then = verdicts.map(|verdict| {
            turns.ended(verdicts.iter().position(|one| *one == verdict).unwrap_or(9), &outcome(verdict))
        });
        assert_eq!(then, [Then::Done, Then::Again, Then::Again, Then::Again]);
        assert_eq!(next(&mut turns), (vec![1, 2, 3], 8));
        assert_eq!(turns.ended(3, &outcome(Verdict::Pass)), Then::Done);
        assert_eq!(turns.ended(2, &outcome(Verdict::Fail)), Then::Again);
        assert_eq!(turns.ended(1, &outcome(Verdict::Fail)), Then::Again);
        assert_eq!(next(&mut turns), (vec![2, 1], 8));
        assert_eq!(turns.ended(2, &outcome(Verdict::Fail)), Then::Done);
        assert_eq!(turns.ended(1, &outcome(Verdict::Pass)), Then::Done);
        assert_eq!([1, 2, 3].map(|index| turns.tried(index)), [3, 3, 2]);
        assert_eq!(next(&mut turns), (vec![4], 1));
    }

    #[test]
    fn a_delay_is_fixed_or_doubles() {
        let seconds = Duration::from_secs;
        for (backoff, delays) in [(Backoff::Fixed, [0, 3, 3, 3]), (Backoff::Exponential, [0, 3, 6, 12])] {
            let rules = Rules { retries: 9, retry_delay: seconds(3), backoff, ..Rules::default() };
            let mut turns = turns(1, &[], rules);
            for delay in delays {
                assert_eq!(turns.delay(0), seconds(delay), "{backoff:?}");
                turns.ended(0, &outcome(Verdict::Fail));
            }
        }
        let rules =
            Rules { retries: 99, retry_delay: Duration::MAX, backoff: Backoff::Exponential, ..Rules::default() };
        let mut turns = turns(1, &[], rules);
        for _ in 0..70 {
            turns.ended(0, &outcome(Verdict::Fail));
        }
        assert_eq!(turns.delay(0), Duration::MAX);
    }

    #[test]
    fn enough_failures_end_the_run_and_what_may_pass_is_asked_first() {
        let mut turns = turns(5, &[], Rules { retries: 1, max_fail: Some(number(2)), ..Rules::default() });
        assert_eq!(next(&mut turns).0, [0, 1, 2, 3, 4]);
        turns.ended(0, &outcome(Verdict::Fail));
        assert!(!turns.is_enough());
        turns.ended(1, &outcome(Verdict::Fail));
        assert!(turns.is_enough());
        (2..5).for_each(|index| turns.not_started(index));
        assert_eq!(next(&mut turns).0, [0, 1]);
        turns.ended(0, &outcome(Verdict::Pass));
        turns.ended(1, &outcome(Verdict::Fail));
        assert!(!turns.is_enough());
        assert_eq!(next(&mut turns).0, [2, 3, 4]);
        turns.ended(2, &outcome(Verdict::Invalid));
        assert!(turns.is_enough());
        (3..5).for_each(|index| turns.not_started(index));
        assert_eq!(turns.next(), None);
        assert_eq!(turns.stopped(), Some(Stopped::Failures(number(2))));
        assert_eq!(turns.left().0, [3, 4]);
    }

    #[test]
    fn failures_that_are_known_before_count() {
        let rules = Rules { max_fail: Some(number(1)), ..Rules::default() };
        let mut turns = Turns::new(rules, [(0, false)].into_iter(), 1);
        assert_eq!(turns.next(), None);
        assert_eq!(turns.left().0, [0]);
    }

    #[test]
    fn nothing_begins_after_an_interruption() {
        let mut waits = turns(2, &[], Rules { retries: 1, ..Rules::default() });
        waits.next();
        waits.ended(0, &outcome(Verdict::Fail));
        waits.not_started(1);
        assert_eq!((waits.next(), waits.stopped()), (None, Some(Stopped::Interrupted)));
        assert_eq!(waits.left(), (&[1][..], &[0][..]));

        let mut runs = turns(2, &[1], Rules { retries: 1, ..Rules::default() });
        runs.next();
        assert_eq!(runs.ended(0, &Outcome { interrupted: true, ..outcome(Verdict::Error) }), Then::Done);
        assert_eq!((runs.next(), runs.left()), (None, (&[1][..], &[][..])));
    }
}
