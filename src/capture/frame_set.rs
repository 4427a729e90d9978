//! A set of frame numbers, as Wireshark shows them.

use std::fmt;
use std::str::FromStr;

/// Frame numbers from 1, written `1-100,200,300-`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrameSet {
    /// Inclusive ranges, sorted, neither overlapping nor touching.
    ranges: Vec<(u64, u64)>,
}

impl FrameSet {
    /// Its first frame; 0 for none.
    pub fn first(&self) -> u64 {
        self.ranges.first().map_or(0, |(first, _)| *first)
    }

    /// Its last frame; [`u64::MAX`] where its end is open.
    pub fn last(&self) -> u64 {
        self.ranges.last().map_or(0, |(_, last)| *last)
    }

    /// Whether the frame is in the set.
    pub fn contains(&self, number: u64) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        after > 0 && self.ranges.get(after - 1).is_some_and(|(_, last)| number <= *last)
    }
}

impl FromStr for FrameSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str, part: &str| match digits.trim().parse::<u64>() {
            Ok(0) => Err("frames are counted from 1".to_owned()),
            Ok(number) => Ok(number),
            Err(_) => Err(format!("`{}` is not a frame number or range like `7`, `1-100` or `300-`", part.trim())),
        };
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                None => {
                    let only = number(part, part)?;
                    (only, only)
                }
                Some((first, "")) => (number(first, part)?, u64::MAX),
                Some((first, last)) => (number(first, part)?, number(last, part)?),
            };
            if last < first {
                return Err(format!("the range `{}` ends before it begins", part.trim()));
            }
            ranges.push((first, last));
        }
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Ok(Self { ranges: merged })
    }
}

impl fmt::Display for FrameSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match (*first, *last) {
                (first, u64::MAX) => write!(f, "{first}-")?,
                (first, last) if first == last => write!(f, "{first}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}
