//! The exit status, in one place.
//!
//! | status | meaning |
//! |---|---|
//! | 0 | every expectation met, or only asked for something |
//! | 1 | an expectation was not met |
//! | 2 | usage, or a scenario or capture that can't be used |
//! | 3 | a precondition is not met, or a permission is missing |
//! | 4 | the system failed while running, or the run was interrupted |
//!
//! With several scenarios, the highest status is returned.

use crate::diagnostic::Kind;
use crate::outcome::Verdict;
use crate::run::batch::Ran;

/// What `restage` exits with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// 0
    Pass,
    /// 1
    Fail,
    /// 2
    Invalid,
    /// 3
    Blocked,
    /// 4
    Error,
}

/// What a skipped scenario counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// Nothing: 0.
    Tolerated,
    /// `--strict`: 3.
    Blocked,
}

impl Status {
    /// The status of all of them. Of none, as in an empty share, it is a pass: a choice of nothing fails before.
    pub(crate) fn of(ran: &Ran, skipped: Skipped) -> Self {
        // What is not run because enough others failed adds nothing to their status.
        let counts = |verdict: &Verdict| ran.interrupted || *verdict != Verdict::NotRun;
        Self::of_verdicts(ran.outcomes.iter().map(|outcome| outcome.verdict).filter(counts), skipped)
    }

    fn of_verdicts(verdicts: impl IntoIterator<Item = Verdict>, skipped: Skipped) -> Self {
        verdicts.into_iter().map(|verdict| Self::of_verdict(verdict, skipped)).max().unwrap_or(Self::Pass)
    }

    fn of_verdict(verdict: Verdict, skipped: Skipped) -> Self {
        match (verdict, skipped) {
            (Verdict::Pass, _) | (Verdict::Skipped, Skipped::Tolerated) => Self::Pass,
            (Verdict::Fail, _) => Self::Fail,
            (Verdict::Invalid, _) => Self::Invalid,
            (Verdict::Blocked, _) | (Verdict::Skipped, Skipped::Blocked) => Self::Blocked,
            (Verdict::NotRun | Verdict::Error, _) => Self::Error,
        }
    }
}

impl From<Kind> for Status {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Invalid => Self::Invalid,
            Kind::Blocked => Self::Blocked,
            Kind::Error => Self::Error,
        }
    }
}

impl From<Status> for std::process::ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Pass => 0,
            Status::Fail => 1,
            Status::Invalid => 2,
            Status::Blocked => 3,
            Status::Error => 4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Skipped, Status};
    use crate::outcome::Verdict;

    #[test]
    fn with_several_scenarios_the_highest_status_is_returned() {
        use Verdict::{Blocked, Error, Fail, Invalid, Pass};
        let of = |verdicts: &[Verdict]| Status::of_verdicts(verdicts.iter().copied(), Skipped::Tolerated);
        for (verdicts, status) in [
            (&[][..], Status::Pass),
            (&[Pass], Status::Pass),
            (&[Fail, Pass], Status::Fail),
            (&[Pass, Invalid, Fail], Status::Invalid),
            (&[Blocked, Invalid], Status::Blocked),
            (&[Pass, Error, Blocked], Status::Error),
            (&[Verdict::Skipped, Pass], Status::Pass),
            (&[Verdict::Skipped], Status::Pass),
        ] {
            assert_eq!(of(verdicts), status, "{verdicts:?}");
        }
        let strict = |verdicts: [Verdict; 2]| Status::of_verdicts(verdicts, Skipped::Blocked);
        assert_eq!(strict([Verdict::Skipped, Pass]), Status::Blocked);
        assert_eq!(strict([Fail, Pass]), Status::Fail);
    }
}
