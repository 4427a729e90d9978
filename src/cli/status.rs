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

impl Status {
    /// The status of all of them. Of none, as in an empty share, it is a pass: a choice of nothing fails before.
    pub(crate) fn of(ran: &Ran) -> Self {
        // What is not run because enough others failed adds nothing to their status.
        let counts = |verdict: &Verdict| ran.interrupted || *verdict != Verdict::NotRun;
        Self::of_verdicts(ran.outcomes.iter().map(|outcome| outcome.verdict).filter(counts))
    }

    fn of_verdicts(verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        verdicts.into_iter().map(Self::from).max().unwrap_or(Self::Pass)
    }
}

impl From<Verdict> for Status {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass | Verdict::Skipped => Self::Pass,
            Verdict::Fail => Self::Fail,
            Verdict::Invalid => Self::Invalid,
            Verdict::Blocked => Self::Blocked,
            Verdict::NotRun | Verdict::Error => Self::Error,
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
    use super::Status;
    use crate::outcome::Verdict;

    #[test]
    fn with_several_scenarios_the_highest_status_is_returned() {
        use Verdict::{Blocked, Error, Fail, Invalid, Pass};
        let of = |verdicts: &[Verdict]| Status::of_verdicts(verdicts.iter().copied());
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
    }
}
