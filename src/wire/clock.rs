//! Waiting for absolute deadlines: sleep until shortly before, then spin.
//!
//! One schedule hangs on one anchor, so that nothing drifts: deadlines are points of a clock, never gaps. Needs no
//! privilege. Start at [`Clock`].

use std::time::Duration;

use nix::sys::prctl;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

use crate::diagnostic::Diagnostic;
use crate::scenario::pacing::Precision;

/// How long before the deadline sleeping ends and spinning begins, for [`Precision::Balanced`]. A sleep ends 50 to 100 µs late on an
/// idle machine, and more on a busy one; 300 µs cost a third of a core at 1,000 frames a second.
const SPIN: Duration = Duration::from_micros(300);

/// The same for [`Precision::Spin`]: only what lies further in the future is slept through.
const ALWAYS_SPIN: Duration = Duration::from_millis(50);

/// The longest sleep without a look at `interrupted`.
const SLICE: Duration = Duration::from_millis(50);

/// The time, and waiting for it.
pub trait Clock {
    /// The time since the clock's own zero; never goes back.
    fn now(&self) -> Duration;

    /// Waits until `now() >= deadline`, and returns true; at once for a deadline that is past. Returns false as soon as
    /// `interrupted` says so: it is asked first, and then at least every 50 ms, but not while spinning.
    fn wait_until(&mut self, deadline: Duration, interrupted: &dyn Fn() -> bool) -> bool;
}

/// `CLOCK_MONOTONIC` (`clock_gettime(2)`): its zero is the boot of the machine, and it stands still in suspend.
#[derive(Debug)]
pub struct Monotonic {
    /// Timer slack belongs to a thread, so a clock made by one and used by another would sleep 50 µs too long.
    thread: Option<std::thread::ThreadId>,
    /// How long before a deadline it spins.
    spin: Duration,
}

impl Monotonic {
    /// A clock; the first wait of a thread sets that thread's timer slack to 1 ns (`PR_SET_TIMERSLACK`).
    pub const fn new() -> Self {
        Self { thread: None, spin: SPIN }
    }

    /// A clock that waits like this.
    pub const fn with(precision: Precision) -> Self {
        let spin = match precision {
            Precision::Spin => ALWAYS_SPIN,
            Precision::Balanced => SPIN,
            Precision::Frugal => Duration::ZERO,
        };
        Self { thread: None, spin }
    }

    /// Sets the timer slack of the calling thread, once. Where the kernel refuses, sleeps end up to 50 µs late, which
    /// spinning makes good.
    fn sharpen(&mut self) {
        let current = std::thread::current().id();
        if self.thread != Some(current) {
            self.thread = Some(current);
            let _ = prctl::set_timerslack(1);
        }
    }
}

impl Default for Monotonic {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        ClockId::CLOCK_MONOTONIC.now().expect("every Linux has CLOCK_MONOTONIC").into()
    }

    fn wait_until(&mut self, deadline: Duration, interrupted: &dyn Fn() -> bool) -> bool {
        if interrupted() {
            return false;
        }
        loop {
            let now = self.now();
            let Some(sleep) = deadline.saturating_sub(now).checked_sub(self.spin).filter(|sleep| !sleep.is_zero())
            else {
                break;
            };
            self.sharpen();
            let until = now + sleep.min(SLICE);
            // A signal (EINTR) only shortens the sleep; the loop looks at the time again.
            let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &until.into());
            if interrupted() {
                return false;
            }
        }
        while self.now() < deadline {
            std::hint::spin_loop();
        }
        true
    }
}

/// A step of the machine's time of day that is worth reporting.
const STEP: Duration = Duration::from_millis(1);

/// Up to this difference of the two clocks, times of one are converted to the other: less than it is the error of measuring it.
const EQUAL: Duration = Duration::from_micros(20);
/// How often the two clocks are compared; the comparison that took the shortest time counts.
const COMPARISONS: usize = 5;

/// `CLOCK_REALTIME` beside `CLOCK_MONOTONIC`: sending hangs on the second alone, the kernel's receive times on the first.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    /// What the first is ahead of the second, in nanoseconds.
    ahead: i128,
}

impl WallClock {
    /// Looks at both.
    pub fn start() -> Self {
        Self { ahead: Self::ahead() }
    }

    /// What to report, where the time of day was set meanwhile.
    pub fn stepped(&self) -> Option<Diagnostic> {
        Self::note(Self::ahead() - self.ahead)
    }

    /// Whether times of one clock can still be converted to the other, as at the start.
    pub fn is_steady(&self) -> bool {
        (Self::ahead() - self.ahead).unsigned_abs() < EQUAL.as_nanos()
    }

    /// A time of `CLOCK_REALTIME`, in nanoseconds since 1970, as nanoseconds of `CLOCK_MONOTONIC`, if no step came in between.
    pub fn monotonic_ns(&self, realtime_ns: u64) -> u64 {
        u64::try_from(i128::from(realtime_ns) - self.ahead).unwrap_or(0)
    }

    /// How far `CLOCK_REALTIME` is ahead, in nanoseconds. The thread may lose its processor between two looks, so the best of some counts.
    fn ahead() -> i128 {
        let now = |clock: ClockId| {
            let now: Duration = clock.now().expect("every Linux has both clocks").into();
            i128::try_from(now.as_nanos()).unwrap_or(i128::MAX)
        };
        let compare = |_| {
            let before = now(ClockId::CLOCK_MONOTONIC);
            let real = now(ClockId::CLOCK_REALTIME);
            let after = now(ClockId::CLOCK_MONOTONIC);
            (after - before, real - i128::midpoint(before, after))
        };
        (0..COMPARISONS).map(compare).min_by_key(|(took, _)| *took).map_or(0, |(_, ahead)| ahead)
    }

    fn note(step_ns: i128) -> Option<Diagnostic> {
        (step_ns.unsigned_abs() > STEP.as_nanos()).then(|| {
            #[expect(clippy::cast_precision_loss, reason = "shown in milliseconds")]
            let milliseconds = step_ns as f64 / 1e6;
            Diagnostic::warning(format!("the machine's time of day was set by {milliseconds:+.0} ms during the replay"))
                .why("frames were sent by CLOCK_MONOTONIC, which no step moves; the times of what arrived, where it is kept, have the step in them")
                .fix("compare times of kept frames only on one side of it")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_deadline_is_never_missed_early() {
        let mut clock = Monotonic::new();
        let start = clock.now();
        for micros in [0, 1, 50, 299, 301, 1_000, 3_000] {
            let deadline = start + Duration::from_micros(micros);
            assert!(clock.wait_until(deadline, &|| false));
            assert!(clock.now() >= deadline);
        }
    }

    #[test]
    fn a_step_of_the_time_of_day_is_told_and_a_drift_is_not() {
        assert!(WallClock::start().stepped().is_none());
        assert!(WallClock::start().is_steady());
        assert!(WallClock::note(-900_000).is_none());
        let note = WallClock::note(-3_600_000_000_000).expect("an hour back").what;
        assert_eq!(note, "the machine's time of day was set by -3600000 ms during the replay");
    }

    #[test]
    fn a_time_of_day_is_converted_to_the_monotonic_clock() {
        let clock = WallClock { ahead: 1_700_000_000_000_000_000 };
        assert_eq!(clock.monotonic_ns(1_700_000_000_000_000_123), 123);
        assert_eq!(clock.monotonic_ns(5), 0, "before the boot of the machine");
    }

    #[test]
    fn a_wait_of_hours_ends_when_interrupted() {
        let mut clock = Monotonic::new();
        let start = clock.now();
        let looks = Cell::new(0);
        let third_look = || {
            looks.set(looks.get() + 1);
            looks.get() == 3
        };
        assert!(!clock.wait_until(start + Duration::from_hours(10), &third_look));
        let waited = clock.now().saturating_sub(start);
        assert!(waited >= SLICE && waited < Duration::from_secs(5), "{waited:?}");
    }

    #[test]
    fn an_interruption_wins_over_a_past_deadline() {
        assert!(!Monotonic::new().wait_until(Duration::ZERO, &|| true));
    }
}
