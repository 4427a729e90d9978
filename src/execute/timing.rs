//! How far sends were from their schedule, in flat memory: HDR histograms of nanoseconds.

use hdrhistogram::Histogram;

use crate::outcome::Lateness;

/// What is later than this counts as this late.
const LATEST_NS: u64 = 3_600_000_000_000;
/// Digits that are told apart.
const DIGITS: u8 = 3;

/// The sends of a run.
#[derive(Debug)]
pub(super) struct Timing {
    late: Histogram<u64>,
    gap_error: Histogram<u64>,
    first: Option<u64>,
    previous: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { late: histogram(), gap_error: histogram(), first: None, previous: 0 }
    }
}

impl Timing {
    /// A frame was sent so many nanoseconds after its deadline: nothing is sent before.
    pub(super) fn sent(&mut self, late_ns: u64) {
        self.late.saturating_record(late_ns);
        if self.first.is_some() {
            self.gap_error.saturating_record(late_ns.abs_diff(self.previous));
        }
        self.first.get_or_insert(late_ns);
        self.previous = late_ns;
    }

    /// Deviations from the schedule as it lies through the median; `None` for fewer than two frames.
    pub(super) fn aligned_to_median(&self) -> Option<Lateness> {
        (self.late.len() > 1).then(|| self.deviations(self.late.value_at_quantile(0.5)))
    }

    /// Deviations from the schedule as it lies through the first frame.
    pub(super) fn aligned_to_first(&self) -> Option<Lateness> {
        self.first.filter(|_| self.late.len() > 1).map(|first| self.deviations(first))
    }

    /// Deviations of the gaps between consecutive sends.
    pub(super) fn gap_error(&self) -> Option<Lateness> {
        (!self.gap_error.is_empty()).then(|| percentiles(&self.gap_error))
    }

    fn deviations(&self, zero: u64) -> Lateness {
        let mut deviations = histogram();
        for late in self.late.iter_recorded() {
            deviations.saturating_record_n(late.value_iterated_to().abs_diff(zero), late.count_at_value());
        }
        percentiles(&deviations)
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATEST_NS, DIGITS).expect("the bounds and digits are legal")
}

fn percentiles(of: &Histogram<u64>) -> Lateness {
    #[expect(clippy::cast_precision_loss, reason = "an hour has fewer than 2^53 ns")]
    let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1e3;
    let at = |quantile| microseconds(of.value_at_quantile(quantile));
    Lateness { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: microseconds(of.max()) }
}

#[cfg(test)]
mod tests {
    use super::Timing;

    fn of(late_ns: &[u64]) -> Timing {
        let mut timing = Timing::default();
        for late in late_ns {
            timing.sent(*late);
        }
        timing
    }

    #[test]
    fn one_frame_has_no_deviation() {
        let timing = of(&[500]);
        assert_eq!((timing.aligned_to_median(), timing.aligned_to_first(), timing.gap_error()), (None, None, None));
    }

    #[test]
    fn both_alignments_and_the_gaps_are_told() {
        let timing = of(&[1_100, 100, 100, 100, 300]);
        let (median, first) = (timing.aligned_to_median().unwrap(), timing.aligned_to_first().unwrap());
        let nanoseconds = |microseconds: f64| (microseconds * 1e3).round();
        let gaps = timing.gap_error().unwrap();
        let found = [median.p50, median.max, first.p50, first.max, gaps.max].map(nanoseconds);
        assert_eq!(format!("{found:?}"), "[0.0, 1000.0, 1000.0, 1000.0, 1000.0]");
    }
}
