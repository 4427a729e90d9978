//! How many frames went by when, in flat memory: at most [`MOST`] buckets, which become wider as time goes on. Start at [`Series`].

use serde::{Deserialize, Serialize};

/// Buckets at most.
pub const MOST: usize = 64;
/// The narrowest bucket: 2^14 ns, some 16 µs.
const NARROWEST: u32 = 14;

/// Frames by the time at which they went by. All series have the same limits of buckets, where these are equally wide: multiples of a power of
/// two in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// A bucket is 2 to the power of this in nanoseconds.
    shift: u32,
    /// The time of the first bucket, in widths of a bucket.
    first: u64,
    buckets: Vec<Bucket>,
}

/// The frames of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bucket {
    /// How many.
    pub frames: u64,
    /// The number of the last of them; 0 where there is none.
    pub last: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self { shift: NARROWEST, first: 0, buckets: Vec::new() }
    }
}

impl Series {
    /// So many frames went by at this time, in nanoseconds of a clock; `last` is the number of the last of them. An earlier time than the
    /// first counts as the first.
    #[inline]
    pub fn add(&mut self, time_ns: u64, frames: u64, last: u64) {
        if frames == 0 {
            return;
        }
        if self.buckets.is_empty() {
            self.first = time_ns >> self.shift;
        }
        self.make_room(time_ns);
        let place = self.place(time_ns);
        if place >= self.buckets.len() {
            self.buckets.resize(place + 1, Bucket::default());
        }
        if let Some(bucket) = self.buckets.get_mut(place) {
            bucket.frames += frames;
            bucket.last = last;
        }
    }

    /// The width of a bucket, in seconds.
    pub fn bucket_seconds(&self) -> f64 {
        std::time::Duration::from_nanos(1 << self.shift).as_secs_f64()
    }

    /// The buckets of two series over the time of both, as many of one as of the other. Where the second is not there, its buckets are empty.
    pub fn aligned(mut self, other: Option<Self>) -> (Self, Self) {
        let mut other = other.unwrap_or_default();
        if other.buckets.is_empty() {
            (other.shift, other.first) = (self.shift, self.first);
        }
        if self.buckets.is_empty() {
            (self.shift, self.first) = (other.shift, other.first);
        }
        loop {
            let shift = self.shift.max(other.shift);
            for series in [&mut self, &mut other] {
                series.widen_to(shift);
            }
            let first = self.first.min(other.first);
            let end = [&self, &other].map(|series| series.first + series.buckets.len() as u64).into_iter().max();
            let count = usize::try_from(end.unwrap_or(first) - first).unwrap_or(usize::MAX);
            if count <= MOST {
                for series in [&mut self, &mut other] {
                    series.fill(first, count);
                }
                return (self, other);
            }
            self.widen_to(shift + 1);
        }
    }

    /// In their order.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    fn place(&self, time_ns: u64) -> usize {
        usize::try_from((time_ns >> self.shift).saturating_sub(self.first)).unwrap_or(usize::MAX)
    }

    fn make_room(&mut self, time_ns: u64) {
        while self.place(time_ns) >= MOST {
            self.widen_to(self.shift + 1);
        }
    }

    /// Makes buckets so wide; they never become narrower.
    fn widen_to(&mut self, shift: u32) {
        while self.shift < shift {
            let mut wide: Vec<Bucket> = Vec::with_capacity(self.buckets.len() / 2 + 1);
            let first = self.first >> 1;
            for (time, bucket) in (self.first..).zip(&self.buckets) {
                let place = usize::try_from((time >> 1) - first).unwrap_or(usize::MAX);
                match wide.get_mut(place) {
                    Some(there) => {
                        there.frames += bucket.frames;
                        there.last = if bucket.last > 0 { bucket.last } else { there.last };
                    }
                    None => wide.push(*bucket),
                }
            }
            (self.shift, self.first, self.buckets) = (self.shift + 1, first, wide);
        }
    }

    fn fill(&mut self, first: u64, count: usize) {
        let before = usize::try_from(self.first.saturating_sub(first)).unwrap_or_default();
        self.buckets.splice(0..0, std::iter::repeat_n(Bucket::default(), before));
        self.buckets.resize(count, Bucket::default());
        self.first = first;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(series: &Series) -> Vec<u64> {
        series.buckets().iter().map(|bucket| bucket.frames).collect()
    }

    #[test]
    fn buckets_become_wider_and_lose_no_frame() {
        let mut series = Series::default();
        let start = 12_345_678_901_234;
        for millisecond in 0..1_000 {
            series.add(start + millisecond * 1_000_000, 2, millisecond + 1);
        }
        assert!((MOST / 2..=MOST).contains(&series.buckets().len()), "{}", series.buckets().len());
        assert_eq!(frames(&series).iter().sum::<u64>(), 2_000);
        let lasts: Vec<_> = series.buckets().iter().map(|bucket| bucket.last).collect();
        assert!(lasts.is_sorted() && lasts.last() == Some(&1_000), "{lasts:?}");
    }

    #[test]
    fn a_silence_of_a_day_still_fits() {
        let mut series = Series::default();
        series.add(1, 1, 1);
        series.add(86_400_000_000_000, 1, 2);
        assert_eq!(frames(&series).iter().sum::<u64>(), 2);
        assert!(series.buckets().len() <= MOST);
    }

    #[test]
    fn what_is_late_is_in_a_later_bucket_of_the_same_axis() {
        let (mut sent, mut arrived) = (Series::default(), Series::default());
        let bucket = 1 << NARROWEST;
        sent.add(10 * bucket, 5, 5);
        sent.add(12 * bucket, 5, 10);
        arrived.add(12 * bucket, 9, 9);
        arrived.add(13 * bucket, 1, 10);
        let (sent, arrived) = sent.aligned(Some(arrived));
        assert_eq!((frames(&sent), frames(&arrived)), (vec![5, 0, 5, 0], vec![0, 0, 9, 1]));
        let (sent, nothing) = sent.aligned(None);
        assert_eq!((frames(&sent), frames(&nothing)), (vec![5, 0, 5, 0], vec![0; 4]));
    }

    proptest! {
        #[test]
        fn no_frame_is_lost_however_two_series_lie(
            one in proptest::collection::vec(0..1_u64 << 40, 0..200),
            other in proptest::collection::vec(0..1_u64 << 44, 0..200),
        ) {
            let series = |times: &[u64]| {
                let mut series = Series::default();
                for time in times {
                    series.add(*time, 1, 1);
                }
                series
            };
            let (left, right) = series(&one).aligned(Some(series(&other)));
            prop_assert_eq!(left.buckets().len(), right.buckets().len());
            prop_assert!(left.buckets().len() <= MOST);
            prop_assert_eq!(frames(&left).iter().sum::<u64>(), one.len() as u64);
            prop_assert_eq!(frames(&right).iter().sum::<u64>(), other.len() as u64);
        }
    }
}
