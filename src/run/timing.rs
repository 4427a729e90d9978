//! How far sends were from their schedule, in flat memory: HDR histograms of nanoseconds.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::evidence::{Sending, Series};
use crate::outcome::{Lateness, LatenessBucket, TimedBy};
use crate::wire::clock::WallClock;

/// So many frames may be sent and not yet seen, or the other way round, before receive times are given up.
const MOST_UNPAIRED: usize = 1 << 17;

/// What is later than this counts as this late.
const LATEST_NS: u64 = 3_600_000_000_000;
/// While frames are sent, a histogram grows only for what is later than this.
const USUAL_NS: u64 = 1 << 20;
/// Significant digits of the histogram.
const DIGITS: u8 = 3;

#[derive(Debug)]
pub(super) struct Timing {
    late: Histogram<u64>,
    gap_error: Histogram<u64>,
    first: Option<u64>,
    previous: u64,
}

impl Default for Timing {
    fn default() -> Self {
        let with_room = || {
            let mut histogram =
                Histogram::new_with_bounds(1, USUAL_NS, DIGITS).expect("the bounds and digits are legal");
            histogram.auto(true);
            histogram
        };
        Self { late: with_room(), gap_error: with_room(), first: None, previous: 0 }
    }
}

impl Timing {
    /// A frame was sent this many nanoseconds after its deadline; nothing is sent before it.
    pub(super) fn sent(&mut self, late_ns: u64) {
        record(&mut self.late, late_ns, 1);
        if self.first.is_some() {
            record(&mut self.gap_error, late_ns.abs_diff(self.previous), 1);
        }
        self.first.get_or_insert(late_ns);
        self.previous = late_ns;
    }

    /// Deviations from the schedule as it lies through the median; `None` for fewer than two frames.
    fn aligned_to_median(&self) -> Option<Histogram<u64>> {
        (self.late.len() > 1).then(|| self.deviations(self.late.value_at_quantile(0.5)))
    }

    /// Deviations from the schedule as it lies through the first frame.
    fn aligned_to_first(&self) -> Option<Histogram<u64>> {
        self.first.filter(|_| self.late.len() > 1).map(|first| self.deviations(first))
    }

    /// Deviations of the gaps between consecutive sends.
    fn gap_error(&self) -> Option<Lateness> {
        (!self.gap_error.is_empty()).then(|| percentiles(&self.gap_error))
    }

    pub(super) fn apply(&self, sending: &mut Sending) {
        let deviations = self.aligned_to_median();
        sending.lateness = deviations.as_ref().map(percentiles);
        sending.lateness_histogram = deviations.as_ref().map(buckets).unwrap_or_default();
        sending.lateness_from_first = self.aligned_to_first().as_ref().map(percentiles);
        sending.gap_error = self.gap_error();
    }

    fn deviations(&self, zero: u64) -> Histogram<u64> {
        let mut deviations = Histogram::new(DIGITS).expect("the digits are legal");
        for late in self.late.iter_recorded() {
            record(&mut deviations, late.value_iterated_to().abs_diff(zero), late.count_at_value());
        }
        deviations
    }
}

/// The kernel's receive times of the frames that arrived.
#[derive(Debug)]
pub(super) struct Arrivals {
    clock: WallClock,
    over_time: Series,
    /// Only where frames have deadlines.
    timing: Option<ReceiveTiming>,
}

impl Arrivals {
    /// Times are converted by this clock.
    pub(super) fn new(clock: WallClock, has_deadlines: bool) -> Self {
        let timing = has_deadlines.then(|| ReceiveTiming::new(clock));
        Self { clock, over_time: Series::default(), timing }
    }

    /// Frames with these deadlines were sent, in this order.
    pub(super) fn sent(&mut self, due_ns: impl IntoIterator<Item = u64>) {
        if let Some(timing) = &mut self.timing {
            timing.sent(due_ns);
        }
    }

    /// The frame with this number arrived, at this time of day.
    pub(super) fn seen(&mut self, realtime_ns: u64, frame: u64) {
        let seen = self.clock.monotonic_ns(realtime_ns);
        self.over_time.add(seen, 1, frame);
        if let Some(timing) = &mut self.timing {
            timing.seen.push_back(seen);
        }
    }

    /// As [`ReceiveTiming::apply`].
    pub(super) fn apply(&self, sending: &mut Sending) {
        if let Some(timing) = &self.timing {
            timing.apply(sending);
        }
    }

    /// By the monotonic clock; `None` where the times can't be converted.
    pub(super) fn over_time(self) -> Option<Series> {
        Some(self.over_time).filter(|_| self.clock.is_steady())
    }
}

/// How far frames were from their schedule by the kernel's receive times: the n-th frame that was sent is the n-th that was seen, as long as all arrive in order.
///
/// A sender that loses its processor between its look at the clock and the system call records a time at which nothing was sent. On a veth
/// pair the kernel takes a receive time within some microseconds of the send.
#[derive(Debug)]
struct ReceiveTiming {
    clock: WallClock,
    timing: Timing,
    /// Deadlines of sent frames that were not seen yet, in nanoseconds of the monotonic clock.
    due: VecDeque<u64>,
    /// Receive times of frames whose deadlines are not known yet, in the same.
    seen: VecDeque<u64>,
    paired: u64,
    first: u64,
    last: u64,
    given_up: bool,
}

impl ReceiveTiming {
    /// Receive times are converted by this clock.
    fn new(clock: WallClock) -> Self {
        Self {
            clock,
            timing: Timing::default(),
            due: VecDeque::new(),
            seen: VecDeque::new(),
            paired: 0,
            first: 0,
            last: 0,
            given_up: false,
        }
    }

    /// These frames were sent, in this order.
    fn sent(&mut self, due_ns: impl IntoIterator<Item = u64>) {
        self.due.extend(due_ns);
        self.pair();
    }

    /// Records what is known of both.
    fn pair(&mut self) {
        let pairs = self.due.len().min(self.seen.len());
        for (due, seen) in self.due.drain(..pairs).zip(self.seen.drain(..pairs)) {
            if self.paired == 0 {
                self.first = seen;
            }
            self.last = self.last.max(seen);
            self.paired += 1;
            self.timing.sent(seen.saturating_sub(due));
        }
        if self.due.len().max(self.seen.len()) > MOST_UNPAIRED {
            self.given_up = true;
            self.due = VecDeque::new();
            self.seen = VecDeque::new();
        }
    }

    /// Replaces the sender's own times, where every sent frame has a receive time. The caller knows that they arrived in order.
    fn apply(&self, sending: &mut Sending) {
        if self.given_up || self.paired == 0 || self.paired != sending.sent || !self.clock.is_steady() {
            return;
        }
        sending.timed_by = TimedBy::Receiver;
        let time = Duration::from_nanos(self.last.saturating_sub(self.first));
        sending.seconds = time.saturating_sub(sending.paused).as_secs_f64();
        self.timing.apply(sending);
    }
}

/// Records it, the latest as [`LATEST_NS`]. The histogram grows with that: of its whole range it would be 264 KB, which take longer to clear than many a
/// run takes to send.
fn record(histogram: &mut Histogram<u64>, ns: u64, times: u64) {
    histogram.record_n(ns.min(LATEST_NS), times).expect("a histogram that grows takes every value");
}

fn percentiles(of: &Histogram<u64>) -> Lateness {
    #[expect(clippy::cast_precision_loss, reason = "an hour has fewer than 2^53 ns")]
    let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1e3;
    let at = |quantile| microseconds(of.value_at_quantile(quantile));
    Lateness { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: microseconds(of.max()) }
}

/// Counts by powers of two in microseconds, from the first to the last that has any.
fn buckets(of: &Histogram<u64>) -> Vec<LatenessBucket> {
    let mut buckets: Vec<LatenessBucket> = Vec::new();
    for value in of.iter_recorded() {
        let microseconds = value.value_iterated_to() / 1_000;
        let place = (u64::BITS - microseconds.leading_zeros()) as usize;
        while buckets.len() <= place {
            let below_us = buckets.last().map_or(1.0, |bucket| bucket.below_us * 2.0);
            buckets.push(LatenessBucket { below_us, frames: 0 });
        }
        if let Some(bucket) = buckets.get_mut(place) {
            bucket.frames += value.count_at_value();
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::{ReceiveTiming, Timing, buckets, percentiles};
    use crate::evidence::Sending;
    use crate::outcome::TimedBy;
    use crate::wire::clock::WallClock;

    /// The sender's own record says that nothing was late.
    fn in_time() -> Sending {
        let mut sending = Sending { sent: 3, ..Sending::default() };
        of(&[0, 0, 0]).apply(&mut sending);
        sending
    }

    #[test]
    fn receive_times_show_a_delay_that_the_sender_did_not_see() {
        let clock = WallClock::start();
        let start = clock.monotonic_ns(u64::MAX / 2);
        let mut receive = ReceiveTiming::new(clock);
        receive.sent([start, start + 1_000_000]);
        for late in [2_000, 2_000 + 1_000_000, 2_000 + 1_000_000 + 5_000_000] {
            receive.seen.push_back(start + late);
        }
        receive.sent([start + 2_000_000]);
        let mut sending = in_time();
        receive.apply(&mut sending);
        assert_eq!(sending.timed_by, TimedBy::Receiver);
        assert!((sending.seconds - 0.006).abs() < 1e-9, "{}", sending.seconds);
        let (late, gaps) = (sending.lateness.expect("three frames"), sending.gap_error.expect("two gaps"));
        // In milliseconds: the histograms keep three digits.
        let milliseconds = [late.p50, late.max, gaps.max].map(|late| (late / 1e3).round());
        assert_eq!(format!("{milliseconds:?}"), "[0.0, 4.0, 4.0]");
    }

    #[test]
    fn without_a_receive_time_of_each_frame_the_senders_clock_counts() {
        let mut receive = ReceiveTiming::new(WallClock::start());
        receive.sent([0, 0, 0]);
        receive.seen.push_back(1);
        receive.pair();
        let mut sending = in_time();
        receive.apply(&mut sending);
        assert_eq!(sending, in_time());
    }

    fn of(late_ns: &[u64]) -> Timing {
        let mut timing = Timing::default();
        for late in late_ns {
            timing.sent(*late);
        }
        timing
    }

    #[test]
    fn each_percentile_is_that_share_of_the_sends() {
        let late: Vec<u64> = (1..=1_000).map(|late| late * 1_000).collect();
        let gaps = of(&(0..=1_000).map(|n| if n % 2 == 0 { 0 } else { n * 1_000 }).collect::<Vec<_>>()).gap_error();
        let first = percentiles(&of(&late).aligned_to_first().expect("many"));
        // All but the first are off by 1 to 999 µs.
        let shown = [first.p50, first.p90, first.p99, first.p999, first.max].map(f64::round);
        assert_eq!(format!("{shown:?}"), "[499.0, 900.0, 990.0, 999.0, 1000.0]");
        assert!(gaps.is_some_and(|gaps| gaps.max.round() <= 1_000.0 && gaps.p50 > 490.0));
    }

    #[test]
    fn one_frame_has_no_deviation() {
        let timing = of(&[500]);
        assert_eq!((timing.aligned_to_median(), timing.aligned_to_first(), timing.gap_error()), (None, None, None));
    }

    #[test]
    fn deviations_are_counted_by_powers_of_two() {
        let shown = |late_ns: &[u64]| {
            let found = buckets(&of(late_ns).deviations(0));
            found.iter().map(|bucket| (bucket.below_us.round().to_string(), bucket.frames)).collect::<Vec<_>>()
        };
        let expected = [("1", 2), ("2", 1), ("4", 0), ("8", 2)].map(|(below, frames)| (below.to_owned(), frames));
        assert_eq!(shown(&[0, 999, 1_000, 4_000, 7_900]), expected);
        assert_eq!(shown(&[3_600_000_000_000]).len(), 33);
        assert!(shown(&[]).is_empty());
    }

    #[test]
    fn both_alignments_and_the_gaps_are_told() {
        let timing = of(&[1_100, 100, 100, 100, 300]);
        let [median, first] =
            [timing.aligned_to_median(), timing.aligned_to_first()].map(|found| percentiles(&found.unwrap()));
        let nanoseconds = |microseconds: f64| (microseconds * 1e3).round();
        let gaps = timing.gap_error().unwrap();
        let found = [median.p50, median.max, first.p50, first.max, gaps.max].map(nanoseconds);
        assert_eq!(format!("{found:?}"), "[0.0, 1000.0, 1000.0, 1000.0, 1000.0]");
    }
}
