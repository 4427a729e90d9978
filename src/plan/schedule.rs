//! When each frame is sent: one schedule, counted from one anchor, so that nothing drifts.

use std::time::Duration;

use crate::scenario::pacing::{Pacing, Rate};

/// Turns capture times and frame lengths into deadlines.
#[derive(Debug, Clone)]
pub struct Schedule {
    rate: Rate,
    max_gap_ns: Option<u64>,
    /// Capture time of the previous frame.
    previous_ns: Option<u64>,
    /// Position on the capture's own time line, gaps already cut.
    position_ns: u128,
    frames: u64,
    bits: u64,
    backwards: u64,
    last: Duration,
}

impl Schedule {
    /// The schedule of a scenario.
    pub fn new(pacing: &Pacing) -> Self {
        Self {
            rate: pacing.rate.value,
            max_gap_ns: pacing.max_gap.as_ref().map(|gap| u64::try_from(gap.value.as_nanos()).unwrap_or(u64::MAX)),
            previous_ns: None,
            position_ns: 0,
            frames: 0,
            bits: 0,
            backwards: 0,
            last: Duration::ZERO,
        }
    }

    /// The deadline of the next frame, from the first one's; `None` at top speed.
    ///
    /// `time_ns` is the frame's time in the capture, `bytes` its length.
    pub fn next(&mut self, time_ns: u64, bytes: usize) -> Option<Duration> {
        let gap = match self.previous_ns {
            None => 0,
            Some(previous) if time_ns < previous => {
                self.backwards += 1;
                0
            }
            Some(previous) => time_ns - previous,
        };
        self.previous_ns = Some(time_ns);
        self.position_ns += u128::from(self.max_gap_ns.map_or(gap, |most| gap.min(most)));
        let deadline = match self.rate {
            Rate::TopSpeed | Rate::Find => return None,
            Rate::Captured => nanoseconds(self.position_ns),
            Rate::Speed(factor) => seconds(precise(self.position_ns) / factor / 1e9),
            Rate::PacketsPerSecond(rate) => seconds(precise(self.frames.into()) / rate),
            Rate::BitsPerSecond(rate) => seconds(precise(self.bits.into()) / rate),
            Rate::Every(interval) => nanoseconds(interval.as_nanos().saturating_mul(self.frames.into())),
        };
        self.frames += 1;
        self.bits += bytes as u64 * 8;
        self.last = deadline;
        Some(deadline)
    }

    /// The capture begins again: the next frame follows the last one without a gap.
    pub fn again(&mut self) {
        self.previous_ns = None;
    }

    /// How many frames had an earlier time than the one before.
    pub fn backwards(&self) -> u64 {
        self.backwards
    }

    /// The deadline of the last frame; `None` at top speed.
    pub fn duration(&self) -> Option<Duration> {
        (!matches!(self.rate, Rate::TopSpeed | Rate::Find)).then_some(self.last)
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ns are 104 days, 2^53 frames are more than any capture")]
fn precise(count: u128) -> f64 {
    count as f64
}

fn nanoseconds(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

fn seconds(count: f64) -> Duration {
    Duration::try_from_secs_f64(count).unwrap_or(Duration::from_nanos(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Schedule;
    use crate::diagnostic::At;
    use crate::scenario::pacing::{Pacing, Precision, Rate, SenderChoice};

    fn deadlines(rate: Rate, max_gap: Option<Duration>, times_ms: &[u64]) -> (Vec<Option<u128>>, u64) {
        let pacing = Pacing {
            rate: At::default_value(rate),
            max_gap: max_gap.map(At::default_value),
            repeat: At::default_value(1),
            burst: At::default_value(1),
            limit: None,
            precision: Precision::default(),
            sender: At::default_value(SenderChoice::default()),
        };
        let mut schedule = Schedule::new(&pacing);
        let deadlines = times_ms
            .iter()
            .map(|time| schedule.next(1_700_000_000_000_000_000 + time * 1_000_000, 125).map(|at| at.as_micros()))
            .collect();
        (deadlines, schedule.backwards())
    }

    #[test]
    fn captured_times_are_kept_from_the_first_frame() {
        assert_eq!(deadlines(Rate::Captured, None, &[5, 6, 9]).0, [Some(0), Some(1_000), Some(4_000)]);
    }

    #[test]
    fn a_time_that_goes_back_is_a_gap_of_nothing_and_is_counted() {
        assert_eq!(deadlines(Rate::Captured, None, &[5, 3, 4]), (vec![Some(0), Some(0), Some(1_000)], 1));
    }

    #[test]
    fn long_silences_are_cut_before_the_speed_applies() {
        let gap = Some(Duration::from_millis(10));
        assert_eq!(deadlines(Rate::Speed(2.0), gap, &[0, 4, 3_600_000]).0, [Some(0), Some(2_000), Some(7_000)]);
    }

    #[test]
    fn rates_count_from_the_anchor() {
        assert_eq!(deadlines(Rate::PacketsPerSecond(3.0), None, &[0, 0, 0, 0]).0[3], Some(1_000_000));
        assert_eq!(deadlines(Rate::BitsPerSecond(1e6), None, &[0, 0, 0]).0, [Some(0), Some(1_000), Some(2_000)]);
        assert_eq!(deadlines(Rate::Every(Duration::from_millis(10)), None, &[0, 0, 0]).0[2], Some(20_000));
        assert_eq!(deadlines(Rate::TopSpeed, None, &[0, 9]).0, [None, None]);
    }
}
