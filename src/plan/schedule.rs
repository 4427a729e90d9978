//! When each frame is sent: one schedule, counted from one anchor, so that nothing drifts.

use std::time::Duration;

use crate::scenario::pacing::{Limit, Pacing, Rate};

/// No capture has such a gap, but for frames without a time, which have that of 1970.
const YEAR_NS: u64 = 365 * 24 * 3600 * 1_000_000_000;

/// Turns capture times and frame lengths into deadlines.
#[derive(Debug, Clone)]
pub struct Schedule {
    rate: Rate,
    /// So many frames have one deadline: that of the first of them.
    burst: u64,
    max_gap_ns: Option<u64>,
    /// The latest capture time of this round.
    latest_ns: Option<u64>,
    /// Position on the capture's own time line, gaps already cut.
    position_ns: u128,
    frames: u64,
    bits: u64,
    backwards: u64,
    last: Duration,
    /// The deadline of the first frame of this part.
    base: Duration,
}

impl Schedule {
    /// The schedule of a scenario.
    pub fn new(pacing: &Pacing) -> Self {
        Self::at(pacing.rate.value, pacing)
    }

    /// The schedule of a scenario, at this rate instead of the written one.
    pub fn at(rate: Rate, pacing: &Pacing) -> Self {
        Self {
            rate,
            burst: u64::from(pacing.burst.value),
            max_gap_ns: pacing.max_gap.as_ref().map(|gap| u64::try_from(gap.value.as_nanos()).unwrap_or(u64::MAX)),
            latest_ns: None,
            position_ns: 0,
            frames: 0,
            bits: 0,
            backwards: 0,
            last: Duration::ZERO,
            base: Duration::ZERO,
        }
    }

    /// Another part of the replay begins: its first frame has the deadline of the last one, and what was sent before doesn't count.
    pub fn part(&mut self) {
        (self.latest_ns, self.position_ns, self.frames, self.bits) = (None, 0, 0, 0);
        self.base = self.last;
    }

    /// The deadline that [`Self::next`] would give this frame; it stays the next one.
    pub fn after(&self, time_ns: u64, bytes: usize) -> Option<Duration> {
        self.clone().next(time_ns, bytes)
    }

    /// The deadline of the next frame, from the first one's; `None` at top speed.
    ///
    /// `time_ns` is the frame's time in the capture, `bytes` its length.
    pub fn next(&mut self, time_ns: u64, bytes: usize) -> Option<Duration> {
        // A frame keeps its offset from the first one, and where that is past it is sent at once; so what follows keeps its own, too.
        let latest = self.latest_ns.unwrap_or(time_ns);
        self.backwards += u64::from(time_ns < latest);
        let gap = match time_ns.saturating_sub(latest) {
            // The file names no time for the frames before it.
            gap if latest == 0 && gap > YEAR_NS => 0,
            gap => gap,
        };
        self.latest_ns = Some(latest.max(time_ns));
        self.position_ns += u128::from(self.max_gap_ns.map_or(gap, |most| gap.min(most)));
        let continues_burst = !self.frames.is_multiple_of(self.burst);
        let in_part = match self.rate {
            Rate::TopSpeed | Rate::MaxLossless => return None,
            _ if continues_burst => self.in_part(),
            Rate::Captured => nanoseconds(self.position_ns),
            Rate::Speed(factor) => seconds(precise(self.position_ns) / factor / 1e9),
            Rate::PacketsPerSecond(rate) => seconds(precise(self.frames.into()) / rate),
            Rate::BitsPerSecond(rate) => seconds(precise(self.bits.into()) / rate),
            Rate::Every(interval) => nanoseconds(interval.as_nanos().saturating_mul((self.frames / self.burst).into())),
        };
        self.frames += 1;
        self.bits += bytes as u64 * 8;
        self.last = self.base + in_part;
        Some(self.last)
    }

    /// The capture begins again: the next frame follows the last one without a gap.
    pub fn again(&mut self) {
        self.latest_ns = None;
    }

    /// How many frames had an earlier time than one before them.
    pub fn backwards(&self) -> u64 {
        self.backwards
    }

    /// From the first deadline of this part to the last one so far; zero at top speed.
    pub fn in_part(&self) -> Duration {
        self.last.saturating_sub(self.base)
    }

    /// The deadline of the last frame; `None` where there are none.
    pub fn duration(&self) -> Option<Duration> {
        (!matches!(self.rate, Rate::TopSpeed | Rate::MaxLossless)).then_some(self.last)
    }
}

/// Where sending ends before the capture does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limiter {
    limit: Option<Limit>,
    packets: u64,
    bytes: u64,
}

impl Limiter {
    /// The limit of a scenario.
    pub fn new(pacing: &Pacing) -> Self {
        Self { limit: pacing.limit.as_ref().map(|limit| limit.value), packets: 0, bytes: 0 }
    }

    /// How many frames were asked about.
    pub fn admitted(&self) -> u64 {
        self.packets
    }

    /// Whether the next frame is sent: of this length, so long after the first one; at top speed `after` is only known while sending.
    pub fn admits(&mut self, after: Option<Duration>, bytes: usize) -> bool {
        self.packets += 1;
        self.bytes += bytes as u64;
        match (self.limit, after) {
            (Some(Limit::Packets(most)), _) => self.packets <= most,
            (Some(Limit::Bytes(most)), _) => self.bytes <= most,
            (Some(Limit::Duration(most)), Some(after)) => after <= most,
            (Some(Limit::Duration(_)), None) | (None, _) => true,
        }
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

    use super::{Limiter, Schedule};
    use crate::diagnostic::At;
    use crate::scenario::pacing::{Limit, Pacing, Precision, Rate, SenderChoice};

    fn pacing(rate: Rate) -> Pacing {
        Pacing {
            rate: At::default_value(rate),
            max_gap: None,
            repeat: At::default_value(1),
            burst: At::default_value(1),
            limit: None,
            precision: Precision::default(),
            sender: At::default_value(SenderChoice::default()),
        }
    }

    fn deadlines(rate: Rate, max_gap: Option<Duration>, times_ms: &[u64]) -> (Vec<Option<u128>>, u64) {
        deadlines_of(&Pacing { max_gap: max_gap.map(At::default_value), ..pacing(rate) }, times_ms)
    }

    fn deadlines_of(pacing: &Pacing, times_ms: &[u64]) -> (Vec<Option<u128>>, u64) {
        let mut schedule = Schedule::new(pacing);
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
    fn a_time_that_goes_back_is_sent_at_once_and_the_others_keep_their_offsets() {
        let of = |rate, gap, times: &[u64]| {
            let (deadlines, backwards) = deadlines(rate, gap, times);
            (deadlines.into_iter().flatten().collect::<Vec<_>>(), backwards)
        };
        assert_eq!(of(Rate::Captured, None, &[5, 3, 4, 7]), (vec![0, 0, 0, 2_000], 2));
        assert_eq!(of(Rate::Captured, None, &[1, 0, 3, 2, 5, 4]), (vec![0, 0, 2_000, 2_000, 4_000, 4_000], 3));
        assert_eq!(of(Rate::Speed(4.0), None, &[1, 0, 9, 2, 13]), (vec![0, 0, 2_000, 2_000, 3_000], 2));
        let gap = Some(Duration::from_millis(2));
        assert_eq!(of(Rate::Captured, gap, &[1, 0, 9, 2, 10]), (vec![0, 0, 2_000, 2_000, 3_000], 2));
    }

    #[test]
    fn the_next_round_begins_where_the_last_one_ended() {
        let mut schedule = Schedule::new(&pacing(Rate::Captured));
        let round = |schedule: &mut Schedule| [1_000, 5_000, 3_000].map(|time| schedule.next(time, 100));
        let nanoseconds = |times: [u64; 3]| times.map(|time| Some(Duration::from_nanos(time)));
        assert_eq!(round(&mut schedule), nanoseconds([0, 4_000, 4_000]));
        schedule.again();
        assert_eq!(round(&mut schedule), nanoseconds([4_000, 8_000, 8_000]));
    }

    #[test]
    fn each_part_begins_anew() {
        let of = |pacing: Pacing| {
            let mut schedule = Schedule::new(&pacing);
            let mut part = |times: [u64; 3]| {
                schedule.part();
                times.map(|time| schedule.next(time * 1_000_000, 125).map(|at| at.as_micros())).map(Option::unwrap)
            };
            [part([5, 6, 9]), part([70, 72, 73])]
        };
        assert_eq!(of(pacing(Rate::Captured)), [[0, 1_000, 4_000], [4_000, 6_000, 7_000]]);
        assert_eq!(of(pacing(Rate::PacketsPerSecond(1_000.0))), [[0, 1_000, 2_000], [2_000, 3_000, 4_000]]);
        let bursts = Pacing { burst: At::default_value(2), ..pacing(Rate::Every(Duration::from_millis(1))) };
        assert_eq!(of(bursts), [[0, 0, 1_000], [1_000, 1_000, 2_000]]);
        let back = Pacing { max_gap: Some(At::default_value(Duration::from_millis(1))), ..pacing(Rate::Speed(2.0)) };
        assert_eq!(of(back), [[0, 500, 1_000], [1_000, 1_500, 2_000]]);
    }

    #[test]
    fn frames_without_a_time_go_with_the_first_one_that_has_one() {
        let mut schedule = Schedule::new(&pacing(Rate::Captured));
        let now = 1_700_000_000_000_000_000;
        let deadlines = [0, 0, now, now + 3_000].map(|time| schedule.next(time, 100));
        assert_eq!(deadlines, [0, 0, 0, 3_000].map(|time| Some(Duration::from_nanos(time))));
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
        let duration = |rate| Schedule::new(&pacing(rate)).duration();
        assert_eq!(
            [Rate::TopSpeed, Rate::MaxLossless, Rate::Captured].map(duration),
            [None, None, Some(Duration::ZERO)]
        );
    }

    #[test]
    fn the_frames_of_a_burst_have_the_deadline_of_the_first() {
        let of = |rate| {
            let bursts = Pacing { burst: At::default_value(2), ..pacing(rate) };
            deadlines_of(&bursts, &[0, 3, 4, 9]).0.into_iter().flatten().collect::<Vec<_>>()
        };
        assert_eq!(of(Rate::Captured), [0, 0, 4_000, 4_000]);
        assert_eq!(of(Rate::PacketsPerSecond(1_000.0)), [0, 0, 2_000, 2_000]);
        assert_eq!(of(Rate::BitsPerSecond(1e6)), [0, 0, 2_000, 2_000]);
        assert_eq!(of(Rate::Every(Duration::from_millis(10))), [0, 0, 10_000, 10_000]);
    }

    #[test]
    fn a_limit_counts_packets_bytes_or_time() {
        let admitted = |limit, times_ms: &[u64]| {
            let mut limiter = Limiter::new(&Pacing { limit: Some(At::default_value(limit)), ..pacing(Rate::Captured) });
            let admits = |time: &&u64| limiter.admits(Some(Duration::from_millis(**time)), 100);
            times_ms.iter().take_while(admits).count()
        };
        assert_eq!(admitted(Limit::Packets(2), &[0, 1, 2, 3]), 2);
        assert_eq!(admitted(Limit::Bytes(399), &[0, 1, 2, 3]), 3);
        assert_eq!(admitted(Limit::Bytes(300), &[0, 1, 2, 3]), 3);
        assert_eq!(admitted(Limit::Duration(Duration::from_millis(1)), &[0, 1, 2, 3]), 2);
    }
}
