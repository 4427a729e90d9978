//! Which rate is tried next, and when a rate is decided: pure, so that tests can play the receiver.
//!
//! Start at [`Search::next`] and [`Search::record`].

/// The search ends when the rate is known so exactly.
const EXACT: f64 = 1.04;
/// A trial at less than this share of its rate says nothing of that rate.
const REACHED: f64 = 0.95;
/// This many trials decide: 2 of 3.
const VOTES: u32 = 2;
/// So many disturbed trials at one rate are repeated; further ones count.
const MOST_DISTURBED: u32 = 3;
/// So many in the whole search: a machine that always disturbs is the machine that is measured.
const MOST_DISTURBED_IN_ALL: u32 = 15;
/// So many trials end any search.
const MOST_TRIALS: u32 = 100;
/// The step up from a rate that the receiver keeps up with, where what it took says that it takes hardly more.
const SMALL_STEP: f64 = 1.08;
/// The largest step up.
const LARGE_STEP: f64 = 2.0;
/// What the receiver took is near a rate if it differs by at most this share.
const NEAR: f64 = 0.15;
/// Where no rate was kept yet, the next one is at most this share of the last.
const DOWN: f64 = 0.9;
/// An estimate is a mean over times at which the receiver had nothing to do, too: a bit less is tried.
const OF_ESTIMATE: f64 = 0.98;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ask {
    /// The frames once, at top speed: a slow receiver shows with few frames how slow it is.
    Probe,
    /// At top speed, for the time that a trial takes.
    TopSpeed,
    /// At this rate in frames per second, for the same time.
    Rate(f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tried {
    /// Frames per second that were sent.
    pub(super) pps: f64,
    /// Whether nothing was lost and no queue grew.
    pub(super) kept_up: bool,
    /// Whether something other than the receiver may be the reason why not, or why it was no more.
    pub(super) disturbed: bool,
    /// Frames per second that the receiver took, where it did not keep up.
    pub(super) took: Option<f64>,
    /// Whether the trial was long enough to be sure at once, where the receiver took less than half.
    pub(super) long: bool,
}

/// The state of the rate that is asked for.
#[derive(Debug, Default)]
struct Votes {
    kept: u32,
    lost: u32,
    disturbed: u32,
}

/// The search for the highest rate that a receiver keeps up with.
#[derive(Debug)]
pub(super) struct Search {
    /// No rate below this is tried.
    slowest: f64,
    asked: Option<Ask>,
    votes: Votes,
    /// Rates that were kept, rising; the last one is the answer.
    kept: Vec<f64>,
    /// The lowest rate that was not.
    pub(super) lost: Option<f64>,
    /// Whether the highest kept rate had two trials.
    confirmed: bool,
    /// What the receiver took in the trial that was lost last.
    pub(super) estimate: Option<f64>,
    trials: u32,
    disturbed: u32,
}

impl Search {
    /// A search that tries nothing below `slowest` frames per second.
    pub(super) fn new(slowest: f64) -> Self {
        Self {
            slowest,
            asked: Some(Ask::Probe),
            votes: Votes::default(),
            kept: Vec::new(),
            lost: None,
            confirmed: false,
            estimate: None,
            trials: 0,
            disturbed: 0,
        }
    }

    /// What to try now; `None` when the search is over.
    pub(super) fn next(&self) -> Option<Ask> {
        self.asked.filter(|_| self.trials < MOST_TRIALS)
    }

    pub(super) fn kept(&self) -> Option<f64> {
        self.kept.last().copied()
    }

    /// Whether the answer is known as exactly as it can be.
    pub(super) fn is_over(&self) -> bool {
        self.asked.is_none()
    }

    /// Records the result of the trial that was asked for. Returns whether the trial was counted.
    pub(super) fn record(&mut self, tried: Tried) -> bool {
        let Some(asked) = self.asked else { return false };
        self.trials += 1;
        let rate = match asked {
            Ask::Rate(rate) => rate,
            Ask::Probe | Ask::TopSpeed => tried.pps,
        };
        if tried.took.is_some() {
            self.estimate = tried.took;
        }
        let too_slow = tried.kept_up && tried.pps < rate * REACHED;
        // A sender that waited for a processor could have sent faster.
        let starved = asked == Ask::TopSpeed && tried.kept_up && tried.disturbed;
        let doubtful = too_slow || starved || !tried.kept_up && tried.disturbed;
        if doubtful && self.votes.disturbed < MOST_DISTURBED && self.disturbed < MOST_DISTURBED_IN_ALL {
            self.votes.disturbed += 1;
            self.disturbed += 1;
            if tried.kept_up {
                self.keep(tried.pps, false);
            }
            return false;
        }
        if too_slow {
            // The sender can't reach it.
            self.keep(tried.pps, false);
            self.lose(rate);
        } else if tried.kept_up {
            self.votes.kept += 1;
            if self.votes.lost == 0 || self.votes.kept >= VOTES {
                match asked {
                    Ask::Probe => self.ask_for(Some(Ask::TopSpeed)),
                    Ask::TopSpeed => {
                        // The sender is the limit.
                        self.keep(rate, true);
                        self.ask_for(None);
                    }
                    Ask::Rate(_) => {
                        self.keep(rate, self.votes.kept >= VOTES);
                        self.ask();
                    }
                }
            }
        } else {
            self.votes.lost += 1;
            let is_clear = tried.long && !tried.disturbed && tried.took.is_some_and(|took| took < rate / 2.0);
            if self.votes.lost >= VOTES || is_clear && self.votes.kept == 0 {
                self.lose(rate);
            }
        }
        true
    }

    fn keep(&mut self, rate: f64, confirmed: bool) {
        if self.lost.is_some_and(|lost| rate >= lost) || self.kept().is_some_and(|kept| rate < kept) {
            return;
        }
        self.confirmed = confirmed;
        if self.kept() != Some(rate) {
            self.kept.push(rate);
        }
    }

    fn lose(&mut self, rate: f64) {
        let lost = self.lost.map_or(rate, |lost| lost.min(rate));
        self.lost = Some(lost);
        self.confirmed &= self.kept().is_some_and(|kept| kept < lost);
        self.kept.retain(|kept| *kept < lost);
        self.ask();
    }

    fn ask(&mut self) {
        let next = self.choose();
        // A rate that is asked for once more keeps the vote that it has.
        let confirms = next.is_some() && next == self.kept();
        self.ask_for(next.map(Ask::Rate));
        self.votes.kept = u32::from(confirms);
    }

    fn ask_for(&mut self, next: Option<Ask>) {
        self.asked = next;
        self.votes = Votes::default();
    }

    fn choose(&self) -> Option<f64> {
        let lost = self.lost?;
        let Some(kept) = self.kept() else {
            let next = self.estimate.map_or(lost / 2.0, |estimate| (estimate * OF_ESTIMATE).min(lost * DOWN));
            return Some(next).filter(|next| *next >= self.slowest);
        };
        if lost <= kept * EXACT {
            return (!self.confirmed).then_some(kept);
        }
        let middle = (kept * lost).sqrt();
        let estimated = |estimate: &f64| *estimate > kept * EXACT && *estimate < middle;
        if let Some(estimate) = self.estimate.map(|estimate| estimate * OF_ESTIMATE).filter(estimated) {
            return Some(estimate);
        }
        let is_near = self.estimate.is_some_and(|estimate| (estimate / kept - 1.0).abs() <= NEAR);
        Some((kept * if is_near { SMALL_STEP } else { LARGE_STEP }).min(middle))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Ask, EXACT, Search, Tried};

    const TOP: f64 = 1e6;

    /// A receiver that takes this rate on a machine that disturbs each trial with this probability.
    struct Machine {
        takes: f64,
        disturbs: f64,
        /// Of the disturbances, the share that is not noticed.
        unnoticed: f64,
        random: u64,
    }

    impl Machine {
        fn chance(&mut self) -> f64 {
            // xorshift
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            let share = (self.random >> 11) as f64 / (1u64 << 53) as f64;
            share
        }

        fn trial(&mut self, ask: Ask) -> Tried {
            let pps = match ask {
                Ask::Rate(rate) => rate.min(TOP),
                Ask::Probe | Ask::TopSpeed => TOP,
            };
            let disturbed = self.chance() < self.disturbs;
            let kept_up = pps <= self.takes && !disturbed;
            let noticed = disturbed && self.chance() >= self.unnoticed;
            // The estimate is that of a mean of a short time.
            let took = self.takes.min(pps) * if disturbed { 0.7 } else { 0.95 + 0.1 * self.chance() };
            Tried { pps, kept_up, disturbed: noticed, took: (!kept_up).then_some(took), long: ask != Ask::Probe }
        }
    }

    fn search(machine: &mut Machine, slowest: f64) -> (Option<f64>, u32) {
        let mut search = Search::new(slowest);
        while let Some(ask) = search.next() {
            search.record(machine.trial(ask));
        }
        assert!(search.is_over(), "{search:?}");
        (search.kept(), search.trials)
    }

    fn quiet(takes: f64) -> Machine {
        Machine { takes, disturbs: 0.0, unnoticed: 0.0, random: 7 }
    }

    #[test]
    fn a_quiet_machine_needs_few_trials() {
        for takes in [999_000.0, 400_000.0, 30_000.0, 1_234.0, 100.0] {
            let (kept, trials) = search(&mut quiet(takes), 1.0);
            let kept = kept.expect("found");
            assert!(kept <= takes && takes <= kept * EXACT, "{kept} for {takes}");
            assert!(trials <= 16, "{trials} for {takes}");
        }
    }

    #[test]
    fn top_speed_without_loss_needs_one_long_trial_after_the_probe() {
        assert_eq!(search(&mut quiet(2e6), 1.0), (Some(TOP), 2));
    }

    #[test]
    fn a_receiver_that_takes_nothing_ends_the_search() {
        let (kept, trials) = search(&mut quiet(0.0), 1_000.0);
        assert_eq!(kept, None);
        assert!(trials <= 12, "{trials}");
    }

    #[test]
    fn one_lost_trial_decides_nothing() {
        let mut search = Search::new(1.0);
        let tried = |kept_up| Tried { pps: TOP, kept_up, disturbed: false, took: None, long: false };
        search.record(tried(false));
        assert_eq!(search.next(), Some(Ask::Probe));
        search.record(tried(true));
        assert_eq!(search.next(), Some(Ask::Probe), "one of two");
        search.record(tried(true));
        assert_eq!(search.next(), Some(Ask::TopSpeed), "two of three");
    }

    #[test]
    fn a_disturbed_trial_is_repeated_and_not_counted_but_not_for_ever() {
        let mut search = Search::new(1.0);
        let lost = Tried { pps: TOP, kept_up: false, disturbed: true, took: None, long: true };
        let counted = [(); 5].map(|()| search.record(lost));
        assert_eq!(counted, [false, false, false, true, true]);
        assert_eq!(search.next(), Some(Ask::Rate(TOP / 2.0)));
    }

    #[test]
    fn a_rate_that_the_sender_cannot_reach_bounds_the_search() {
        let mut search = Search::new(1.0);
        let lost = Tried { pps: TOP, kept_up: false, disturbed: false, took: None, long: false };
        search.record(lost);
        search.record(lost);
        // Whatever is asked for, 300,000 are sent, and kept.
        while search.next().is_some() {
            search.record(Tried { pps: 300_000.0, kept_up: true, ..lost });
        }
        let kept = search.kept().expect("one");
        assert!((290_000.0..=320_000.0).contains(&kept), "{kept}");
    }

    #[test]
    fn a_starved_sender_at_top_speed_tries_again_and_its_best_trial_counts() {
        let mut search = Search::new(1.0);
        let kept = |pps, disturbed| Tried { pps, kept_up: true, disturbed, took: None, long: true };
        search.record(kept(TOP, false));
        search.record(kept(8_000.0, true));
        assert_eq!(search.next(), Some(Ask::TopSpeed));
        search.record(kept(60_000.0, true));
        search.record(kept(20_000.0, false));
        assert!(search.is_over());
        assert_eq!(search.kept(), Some(60_000.0));
    }

    proptest! {
        #[test]
        fn a_machine_that_disturbs_a_third_of_the_trials_gives_the_same_answer(takes in 100.0..900_000.0, random in 1u64..) {
            // Of which a tenth is not noticed.
            let mut machine = Machine { takes, disturbs: 0.33, unnoticed: 0.1, random };
            let within = (0..10).filter(|_| {
                let kept = search(&mut machine, 1.0).0.unwrap_or_default();
                kept <= takes * 1.001 && kept > takes * 0.9
            });
            prop_assert!(within.count() >= 8);
        }
    }
}
